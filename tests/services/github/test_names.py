"""Names: what is one, what is none, and that no accepted one leads anywhere else in a URL."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from services.github.backend.client import Client
from services.github.backend.requests import Request
from services.github.errors import BadName
from services.github.policy import names
from services.github.policy.names import Repo
from services.github.settings import GithubSettings
from tests.services.github.doubles.own import octo, reply

CONTENTS = "/repos/{owner}/{repo}/contents/{+path}"
Parser = Callable[[str], object]

GOOD: list[tuple[Parser, list[str]]] = [
    (
        names.parse_owner,
        ["octocat", "a", "O-c-t-o", "x" * 39, "hubot_acme", "0", "old-", "double--hyphen"],
    ),
    (names.parse_login, ["octocat", "dependabot[bot]", "github-actions[bot]"]),
    (names.parse_repo_name, ["Hello-World", ".github", "a.b_c-d", "x" * 100, "...", "git", "-"]),
    (
        names.parse_ref,
        [
            "main",
            "feature/x",
            "refs/heads/x",
            "refs/pull/1/head",
            "v1.0.0",
            "HEAD",
            "a" * 40,
            "fähig/ünï",
            "100%",
            "a+b=c&d#e",
            "user@host",
            "x-",
        ],
    ),
    (names.parse_branch, ["main", "refs/heads/main", "a/b/c", "dependabot/npm_and_yarn/x-1.2"]),
    (names.parse_tag, ["v1", "refs/tags/v1", "release/2024-01"]),
    (names.parse_sha, ["abcd", "A" * 40, "0" * 64]),
    (
        names.parse_path,
        [
            "README.md",
            "src/a b/c.txt",
            ".github/workflows/ci.yml",
            "...",
            "..a/b..",
            "ü/é.txt",
            "100%.txt",
            "a%20b",
            "a?b#c&d=e;f:g@h",
            "😀.md",
            "x" * 4096,
            ".gitignore",
            "dir/.git",
        ],
    ),
    (names.parse_slug, ["core-team", "ci.yml", "GHSA-xxxx-1"]),
    (names.parse_node_id, ["PVT_kwDOA-_=", "MDQ6VXNlcjE="]),
    (names.parse_label, ["bug", "area/net", "good first issue", "c++", "ü"]),
]

EVERYWHERE_BAD = [
    "",
    "..",
    ".",
    "a\x00b",
    "a\nb",
    "a\r\nHost: evil",
    "a\x7fb",
    "a\x85b",
    "a\u2028b",
    "\ud800",
    "a\udfffb",
    "../x",
    "a/../b",
    "a/./b",
    "a//b",
    "/a",
    "a/",
    "%2e%2e",
    "%2E.",
    "a/%2e%2e/b",
    "%252e%252e",
    "%25252e%25252e/x",
    "a%2fb",
    "a%2Fb",
    "a%252fb",
    "a%5cb",
    "a\\b",
    "..\\b",
    "a%00b",
    "a%0d%0ab",
    "..;",
    "..;/a",
    ".;x",
    "%2e%2e;a=b",
    "%2e%2e%3b",
    "a%2f..%2fb",
    "x" * 5000,
    "é" * 2100,
]

BAD: list[tuple[Parser, list[str]]] = [
    (
        names.parse_owner,
        [
            "x" * 40,
            "-a",
            "a b",
            "a.b",
            "a/b",
            "ü",
            "dependabot[bot]",
            "a?b",
            "a#b",
            "a@b",
            "octo:cat",
            "\uff41",
        ],
    ),
    (names.parse_login, ["[bot]", "a[bot]b", "a b[bot]"]),
    (names.parse_repo_name, ["x" * 101, "a b", "ü", "x.git", "x.GIT", "a:b", "a?b", "a/b"]),
    (
        names.parse_ref,
        [
            "a b",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b]",
            "@",
            "a@{1}",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a.",
            "x" * 300,
            "main...dev",
        ],
    ),
    (names.parse_branch, ["-x", "refs/tags/v1", "refs/heads/", "refs/heads/refs/heads/x"]),
    (names.parse_tag, ["refs/heads/x", "-v1"]),
    (names.parse_sha, ["abc", "g" * 40, "a" * 65, "HEAD"]),
    (names.parse_path, [".git/config", ".GIT", ".git"]),
    (names.parse_slug, ["a b", "a/b", "-a", ".."]),
    (names.parse_node_id, ["", "..", "a b", 'a"b', "a" * 201, "a\n", "%2e", "\ud800"]),
    (names.parse_label, []),
]


def rows(table: list[tuple[Parser, list[str]]]) -> list[tuple[Parser, str]]:
    """Return a table with one value a row."""
    return [(parser, value) for parser, values in table for value in values]


@pytest.mark.parametrize(("parser", "value"), rows(GOOD))
def test_a_name_that_github_or_git_takes_is_taken(parser: Parser, value: str) -> None:
    """Nothing that exists may be out of reach; it comes back as it was, or without its prefix."""
    assert str(parser(value)).lower() in value.lower()


# Node ids are base64, with slashes, and go into variables of GraphQL, never into a URL.
@pytest.mark.parametrize("parser", [p for p, _ in BAD if p is not names.parse_node_id])
@pytest.mark.parametrize("value", EVERYWHERE_BAD)
def test_what_leads_elsewhere_is_no_name_of_anything(parser: Parser, value: str) -> None:
    """Dot segments, encoded slashes, control characters and lone surrogates fit nowhere."""
    with pytest.raises(BadName) as caught:
        parser(value)
    assert len(caught.value.message) < 300
    caught.value.message.encode()
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(("parser", "value"), rows(BAD))
def test_a_value_outside_the_rules_is_refused(parser: Parser, value: str) -> None:
    """GitHub's rules for logins and repositories, git check-ref-format for refs."""
    with pytest.raises(BadName) as caught:
        parser(value)
    assert caught.value.facts["what"]


def test_the_top_folder_is_a_path_where_folders_are_meant() -> None:
    """As github-mcp-server takes it: "/" and "" mean the top, a slash in front is left out."""
    assert [names.parse_path(p, root=True) for p in ("", "/", "/src", "src/")] == [
        "",
        "",
        "src",
        "src",
    ]
    with pytest.raises(BadName):
        names.parse_path("//", root=True)


def test_a_full_sha_is_told_from_a_short_one() -> None:
    """Only a whole one names the same commit for ever."""
    with pytest.raises(BadName):
        names.parse_sha("abcdef0", full=True)
    assert names.parse_sha("A" * 40, full=True) == "a" * 40
    assert names.is_full_sha("0" * 64)
    assert not names.is_full_sha("abcdef0")


def test_a_repository_is_read_from_its_full_name() -> None:
    """Redirects and search results name repositories so."""
    repo = Repo.parse_full("Octo/Hello-World")
    assert (repo.owner, repo.name, repo.key) == ("Octo", "Hello-World", "octo/hello-world")
    for wrong in ("octo", "octo/", "/x", "a/b/c", "octo/.."):
        with pytest.raises(BadName):
            Repo.parse_full(wrong)


def test_clone_urls_are_told_what_is_wrong_with_them() -> None:
    """Models paste them; the message has to get them out of it."""
    with pytest.raises(BadName, match=r"\.git of clone URLs"):
        names.parse_repo_name("hello.git")
    with pytest.raises(BadName, match="owner is an argument of its own"):
        names.parse_repo_name("octo/hello")


# --- routes ---------------------------------------------------------------------------------------

NASTY = st.text(
    st.one_of(
        st.sampled_from(list("./\\%2eEfF5cC;?#@:&=+ ~^[]{}0dDaA\x00\n\r\t")),
        st.characters(),
    ),
    max_size=24,
)
SPLICED = st.lists(
    st.sampled_from(
        [
            "..",
            ".",
            "%2e",
            "%2E",
            "%2f",
            "%5c",
            "%25",
            ";",
            "/",
            "\\",
            "a",
            "b c",
            "ü",
            "\uff0e",
            "\uff05",
            "\u2044",
        ]
    ),
    max_size=8,
).map("".join)
VALUES = st.one_of(NASTY, SPLICED)


def accepted(**values: str) -> str | None:
    """Return the path that a route gets, or None when the values are refused."""
    try:
        return Request(route=CONTENTS, values=values).path()
    except BadName:
        return None


@given(VALUES, VALUES, VALUES)
def test_a_filled_route_keeps_its_shape(owner: str, repo: str, path: str) -> None:
    """Even without the parsers: each value stays between the slashes that the route gave it."""
    url = accepted(owner=owner, repo=repo, path=path)
    if url is None:
        return
    parts = url.split("/")
    assert parts[:2] == ["", "repos"]
    assert [unquote(part) for part in parts[2:4]] == [owner, repo]
    assert parts[4] == "contents"
    assert "/".join(unquote(part) for part in parts[5:]) == path
    assert url.isascii()
    assert not set(url) & set('?#;\\ "<>')


@given(VALUES, VALUES, VALUES)
def test_no_library_on_the_way_changes_an_accepted_url(owner: str, repo: str, path: str) -> None:
    """Requests unquotes %2e and removes dot segments, urllib3 normalises: nothing is left to do."""
    url = accepted(owner=owner, repo=repo, path=path)
    if url is None:
        return
    whole = f"https://api.github.com{url}"
    assert requests.Request("GET", whole).prepare().url == whole
    assert urllib3.util.parse_url(whole).url == whole
    assert urlsplit(whole).path == url


@given(VALUES, VALUES)
def test_an_accepted_name_of_a_repository_is_one_segment_each(owner: str, repo: str) -> None:
    """What the parsers accept, the route accepts, unquoted as it is."""
    try:
        parsed = Repo.parse(owner, repo)
    except BadName:
        return
    request = Request(
        route="/repos/{owner}/{repo}", values={"owner": parsed.owner, "repo": parsed.name}
    )
    assert request.path() == f"/repos/{owner}/{repo}"


@given(VALUES)
def test_an_accepted_ref_or_path_fits_into_a_route(value: str) -> None:
    """No parser lets through what the route then refuses."""
    for parser in (names.parse_ref, names.parse_branch, names.parse_path, names.parse_label):
        try:
            text = str(parser(value))
        except BadName:
            continue
        assert accepted(owner="a", repo="b", path=text) is not None


@pytest.mark.parametrize("value", EVERYWHERE_BAD)
@pytest.mark.parametrize("hole", ["owner", "repo", "path"])
def test_a_route_refuses_by_itself_what_leads_elsewhere(value: str, hole: str) -> None:
    """The parsers may have been forgotten."""
    values = {"owner": "a", "repo": "b", "path": "c", hole: value}
    assert accepted(**values) is None


def test_a_slash_stays_only_where_the_route_says_so() -> None:
    """`{+path}` keeps slashes (RFC 6570 section 3.2.3), `{repo}` refuses them."""
    assert accepted(owner="a", repo="b", path="c/d") == "/repos/a/b/contents/c/d"
    assert accepted(owner="a/b", repo="c", path="d") is None


# --- what arrives ---------------------------------------------------------------------------------


async def test_hostile_values_are_refused_before_a_connection_is_made() -> None:
    """Nothing of them reaches a socket, in no hole and no query."""
    async with octo() as double:
        client = Client(GithubSettings.from_dict({"api_url": f"{double.url}/api/v3"}))
        async with client.running():
            for value in EVERYWHERE_BAD:
                request = Request(route=CONTENTS, values={"owner": "a", "repo": "b", "path": value})
                with pytest.raises(BadName):
                    await client.send(request, owner="a")
            for value in ("a\x00", "\ud800", "a\nb", "x" * 5000):
                request = Request(route="/user", query={"q": value})
                with pytest.raises(BadName):
                    await client.send(request, owner=None)
    assert double.asked == []


@pytest.mark.parametrize(
    "value", [value for parser, value in rows(GOOD) if parser is names.parse_path]
)
async def test_what_arrives_is_the_path_that_was_meant(value: str) -> None:
    """PyGithub and urllib3 are in between; the request line is looked at as it came."""
    async with octo() as double:
        client = Client(GithubSettings.from_dict({"api_url": f"{double.url}/api/v3"}))
        request = Request(route=CONTENTS, values={"owner": "a", "repo": "b", "path": value})
        double.on("GET", f"/api/v3{request.path()}", reply({}))
        async with client.running():
            await client.send(request, owner="a")
        target = double.asked[0].target
    prefix = "/api/v3/repos/a/b/contents/"
    assert target.startswith(prefix)
    assert unquote(target.removeprefix(prefix)) == value


async def test_a_query_arrives_as_it_was_meant() -> None:
    """What has a meaning in URLs is escaped; None is left out, lists are joined, false is said."""
    async with octo() as double:
        client = Client(GithubSettings.from_dict({"api_url": double.url}))
        double.on("GET", "/search/issues", reply({}))
        request = Request(
            route="/search/issues",
            query={
                "q": "a&b=c #d ü+%2e",
                "p": 2,
                "x": None,
                "y": False,
                "z": ["p", "q"],
                "e": "",
            },
        )
        async with client.running():
            await client.send(request, owner=None)
        query = double.asked[0].target.partition("?")[2]
    assert query == "e=&p=2&q=a%26b%3Dc+%23d+%C3%BC%2B%252e&y=false&z=p%2Cq"
