"""What the client sends and how it reads what comes: over real sockets, on loopback."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Busy, InvalidArguments, ToolError
from services.github.backend.client import Client
from services.github.backend.connections import Connections, Origin, WrongTarget
from services.github.backend.credentials import NOBODY
from services.github.backend.exchange import Answer, Exchange, Reading, Target
from services.github.backend.prepared import Api
from services.github.backend.requests import RAW, Request
from services.github.errors import (
    AuthRequired,
    BadResponse,
    Forbidden,
    GithubConflict,
    GithubDown,
    GithubError,
    MissingScope,
    NotFoundOrNoAccess,
    NotReady,
    OutcomeUnknown,
    PrimaryRateLimited,
    RepositoryMoved,
    RepositoryNotAllowed,
    SecondaryRateLimited,
)
from services.github.settings import GithubSettings
from tests.services.github.connected import CREATE, ISSUES, REPO, TOKEN, USER, connected, error_of
from tests.services.github.doubles.own import (
    Manner,
    echo,
    moved,
    octo,
    raw,
    refusal,
    reply,
    silence,
    then_close,
    unicorn,
    unless_known,
    used_up,
    zipped,
)

QUERY = "query($n: Int) { viewer { login } }"
MUTATION = "mutation($id: ID!) { x(id: $id) { y } }"

# --- what is sent ---------------------------------------------------------------------------------


async def test_a_request_says_who_asks_for_what() -> None:
    """Token, API version, user agent and media type as GitHub's documentation asks."""
    async with connected() as (double, client):
        double.on("GET", "/user", reply({"login": "octocat"}))
        answer = await client.send(USER, owner=None)
    headers = double.asked[0].headers
    assert answer.data == {"login": "octocat"}
    assert headers["authorization"] == f"token {TOKEN}"
    assert headers["accept"] == "application/vnd.github+json"
    assert headers["x-github-api-version"] == "2022-11-28"
    assert headers["user-agent"].startswith("mcp-github")


async def test_without_a_credential_no_authorization_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor is one taken from a .netrc, which requests would do."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with connected(token=None) as (double, client):
        double.on("GET", "/user", reply({}))
        await client.send(USER, owner=None)
    assert "authorization" not in double.asked[0].headers


async def test_proxies_of_the_environment_play_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would see the token's requests; nothing listens on port 9 here."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with connected() as (double, client):
        double.on("GET", "/user", reply({}))
        await client.send(USER, owner=None)
    assert double.paths == ["GET /user"]


async def test_a_body_is_sent_as_json() -> None:
    """And the answer's status comes back."""
    async with connected() as (double, client):
        double.on("POST", "/repos/octo/hello/issues", reply({"number": 7}, 201))
        answer = await client.send(CREATE, owner="octo")
    assert double.asked[0].json() == {"title": "x"}
    assert (answer.status, answer.data) == (201, {"number": 7})


async def test_a_text_with_half_a_surrogate_pair_is_not_sent() -> None:
    """JSON could write it; GitHub could not keep it."""
    async with connected() as (double, client):
        request = Request(method="POST", route="/user/repos", body={"a": ["x", {"b": "\ud800"}]})
        await error_of(InvalidArguments, client.send(request, owner=None))
        await error_of(InvalidArguments, client.graphql(QUERY, {"n": "\udc00"}, owner=None))
    assert double.asked == []


async def test_one_connection_serves_many_requests() -> None:
    """A TLS handshake with GitHub costs more than most requests."""
    async with connected() as (double, client):
        double.on("GET", "/user", reply({}))
        double.on("GET", "/repos/octo/hello", refusal(404, "Not Found"))
        for _ in range(3):
            await client.send(USER, owner=None)
            await error_of(NotFoundOrNoAccess, client.send(REPO, owner="octo"))
    assert {asked.connection for asked in double.asked} == {1}


async def test_requests_run_at_once_up_to_the_number_of_workers() -> None:
    """The third waits until one of the first two has ended."""
    async with connected(workers=2) as (double, client):
        double.on("GET", "/user", silence)
        calls = [asyncio.create_task(client.send(USER, owner=None)) for _ in range(3)]
        await double.wait_for(2)
        await asyncio.sleep(0.05)
        assert len(double.asked) == 2
        calls[0].cancel()
        await double.wait_for(3)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_writes_of_one_credential_keep_their_distance() -> None:
    """GitHub asks for it; reading waits for nobody."""
    async with connected(write_interval_s=0.2) as (double, client):
        double.on("POST", "/repos/octo/hello/issues", reply({}, 201))
        double.on("GET", "/user", reply({}))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(client.send(CREATE, owner="octo") for _ in range(3)))
        assert loop.time() - began >= 0.4
        await client.send(USER, owner=None)


@pytest.mark.parametrize("request_", [USER, CREATE])
async def test_a_connection_that_was_closed_meanwhile_is_not_used_again(request_: Request) -> None:
    """Least of all for a write, whose outcome nobody would know."""
    async with connected() as (double, client):
        double.on("GET", "/user", then_close(reply({})))
        double.on("POST", "/repos/octo/hello/issues", then_close(reply({}, 201)))
        for turn in (1, 2, 3):
            await client.send(request_, owner="octo")
            await double.wait_for_ends(turn)
    assert [asked.connection for asked in double.asked] == [1, 2, 3]


async def test_an_idle_connection_does_not_live_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub closes them after a minute; a request that is on its way then would be lost."""
    monkeypatch.setattr("services.github.backend.connections.KEEP_ALIVE_S", 0)
    async with connected() as (double, client):
        double.on("GET", "/user", reply({}))
        await client.send(USER, owner=None)
        await client.send(USER, owner=None)
    assert [asked.connection for asked in double.asked] == [1, 2]


async def test_cancelled_calls_never_end_the_exchange_of_another() -> None:
    """A connection changes hands between a call that is cancelled and the next one."""
    chance = random.Random(4)
    async with connected(workers=4) as (double, client):

        async def ask(number: int) -> object:
            double.on("GET", f"/users/{number}", echo)
            request = Request(route="/users/{username}", values={"username": number})
            return (await client.send(request, owner=None)).data["target"]

        async def ask_and_leave(number: int) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.random() * 0.02):
                    await ask(number)

        for _ in range(10):
            leaving = [ask_and_leave(number) for number in range(1_000, 1_030)]
            staying = [ask(number) for number in range(30)]
            mixed = [call for pair in zip(leaving, staying, strict=True) for call in pair]
            answers = await asyncio.gather(*mixed)
            assert answers[1::2] == [f"/users/{number}" for number in range(30)]


def test_what_was_not_ordered_is_not_sent() -> None:
    """The last look before the socket: PyGithub, or a bug, may have made another URL of it."""
    target = Target(Origin("http", "127.0.0.1", 9), "/repos/a/b")
    connections = Connections(ca_file=None, max_idle=1)
    for method, path in (("GET", "/user"), ("POST", "/repos/a/b"), ("GET", "/repos/a/../b")):
        exchange = Exchange(
            connections, "GET", target, Reading(100), connect_timeout_s=1, timeout_s=1
        )
        with pytest.raises(WrongTarget):
            exchange.request(method, path, None, {})
        assert not exchange.sent


# --- what comes back ------------------------------------------------------------------------------


async def test_the_quota_and_the_pages_are_told() -> None:
    """From the headers, as numbers and UTC times."""
    link = (
        '<https://api.github.com/x?per_page=5&page=3>; rel="next", '
        '<https://api.github.com/x?page=9&per_page=5>; rel="last"'
    )
    async with connected() as (double, client):
        double.on("GET", "/user", reply([], Link=link))
        answer = await client.send(USER, owner=None)
    assert (answer.next_page, answer.last_page) == (3, 9)
    assert answer.rate is not None
    assert (answer.rate.limit, answer.rate.remaining, answer.rate.resource) == (5000, 4987, "core")
    assert answer.rate.reset_at == "2030-03-17T17:46:40Z"


async def test_a_quota_of_odd_numbers_is_no_error() -> None:
    """Enterprise Server has sent 4999.0; what is no number is left out."""
    odd = {"X_RateLimit_Limit": "5000.0", "X_RateLimit_Remaining": "many", "X_RateLimit_Reset": "?"}
    async with connected() as (double, client):
        double.on("GET", "/user", reply({}, 200, **odd))
        rate = (await client.send(USER, owner=None)).rate
    assert rate is not None
    assert (rate.limit, rate.remaining, rate.reset_at) == (5000, None, None)


async def test_what_single_sign_on_left_out_is_said() -> None:
    """GitHub says it in a header only: a list without an organisation looks whole."""
    async with connected() as (double, client):
        header = "partial-results; organizations=21955855,20582480"
        double.on("GET", "/user", reply([], X_GitHub_SSO=header))
        answer = await client.send(USER, owner=None)
    assert len(answer.warnings) == 1


async def test_other_media_types_come_as_text() -> None:
    """Raw files and diffs; bytes that are no UTF-8 are marked."""
    request = Request(route="/readme", accept=RAW)
    async with connected() as (double, client):
        double.on("GET", "/readme", raw(b"# \xff\n", 200, Content_Type="text/plain"))
        answer = await client.send(request, owner="octo")
    assert answer.data == "# \ufffd\n"


async def test_nothing_comes_as_none() -> None:
    """204 has no body."""
    request = Request(method="DELETE", route="/gists/{id}", values={"id": "1"})
    async with connected() as (double, client):
        double.on("DELETE", "/gists/1", raw(b"", 204))
        answer = await client.send(request, owner=None)
    assert (answer.status, answer.data) == (204, None)


async def test_compressed_answers_are_unpacked() -> None:
    """And larger ones parsed beside the event loop."""
    value = [{"n": number} for number in range(50_000)]
    async with connected() as (double, client):
        double.on("GET", "/user", zipped(json.dumps(value).encode()))
        answer = await client.send(USER, owner=None)
    assert answer.data == value


async def test_half_a_surrogate_pair_in_an_answer_becomes_a_replacement_character() -> None:
    """JSON's escapes can write it, and nothing could be told of it afterwards."""
    body = b'{"title": "a \\ud83d b", "ok": "\\ud83d\\ude00"}'
    async with connected() as (double, client):
        double.on("GET", "/user", raw(body, Content_Type="application/json"))
        answer = await client.send(USER, owner=None)
    assert answer.data == {"title": "a \ufffd b", "ok": "\U0001f600"}


async def test_tokens_in_answers_are_left_out() -> None:
    """GitHub puts a credential for cloning into private repositories; ours belongs nowhere."""
    body = {"temp_clone_token": "AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "description": f"x {TOKEN} y"}
    async with connected() as (double, client):
        double.on("GET", "/repos/octo/hello", reply(body))
        answer = await client.send(REPO, owner="octo")
    assert answer.data == {"temp_clone_token": None, "description": "x [redacted] y"}


@pytest.mark.parametrize(
    "manner",
    [
        raw(b"<!DOCTYPE html><p>Sign in", Content_Type="text/html; charset=utf-8"),
        raw(b'{"a": ', Content_Type="application/json"),
        raw(b"[" * 100_000, Content_Type="application/json"),
        raw(b'{"a": "\xff"}', Content_Type="application/json"),
        raw(b"{}", Content_Type="application/json", Content_Encoding="br"),
        raw(b"{}", Content_Type="application/json", Content_Encoding="gzip"),
    ],
)
async def test_what_is_no_answer_of_the_api_is_said_to_be_none(manner: Manner) -> None:
    """A proxy's sign-in page, broken or nested JSON, an encoding that nobody asked for."""
    async with connected() as (double, client):
        double.on("GET", "/user", manner)
        error = await error_of(BadResponse, client.send(USER, owner=None))
    assert not error.retryable


# --- the cache ------------------------------------------------------------------------------------


async def test_what_did_not_change_comes_from_the_cache() -> None:
    """A 304 costs no quota; the answer is whole and the quota is the new one's."""
    async with connected() as (double, client):
        double.on("GET", "/user", unless_known({"login": "x"}, '"e1"'))
        first = await client.send(USER, owner=None)
        second = await client.send(USER, owner=None)
    assert (first.cached, second.cached) == (False, True)
    assert second.status == 200
    assert second.data == first.data
    assert second.data is not first.data
    assert double.asked[1].headers["if-none-match"] == '"e1"'


async def test_what_changed_replaces_what_was_kept() -> None:
    """The next question names the new ETag."""
    async with connected() as (double, client):
        double.on("GET", "/user", reply(1, ETag='"a"'), reply(2, ETag='"b"'), raw(b"", 304))
        data = [(await client.send(USER, owner=None)).data for _ in range(3)]
    assert data == [1, 2, 2]
    assert [asked.headers.get("if-none-match") for asked in double.asked] == [None, '"a"', '"b"']


async def test_one_credential_never_gets_what_another_one_saw() -> None:
    """Nor one media type another's."""
    async with connected(tokens="other=another-token-of-the-tests") as (double, client):
        double.on("GET", "/repos/octo/hello", unless_known({}, '"e"'))
        plain = Request(route=REPO.route, values=REPO.values, accept=RAW)
        for owner, request in (("octo", REPO), ("other", REPO), ("octo", plain)):
            assert not (await client.send(request, owner=owner)).cached
    assert not any("if-none-match" in asked.headers for asked in double.asked)


async def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    """It is bounded in bytes; what is larger than a quarter of it is not kept at all."""
    async with connected(cache_bytes=20_000) as (double, client):
        for name in "abcdef":
            double.on("GET", f"/users/{name}", unless_known("x" * 2_000, f'"{name}"'))
        double.on("GET", "/users/large", unless_known("x" * 6_000, '"l"'))
        for name in ("a", "b", "c", "d", "a", "e", "f", "a", "b", "large", "large"):
            request = Request(route="/users/{username}", values={"username": name})
            await client.send(request, owner=None)
    known = [a.target[-1] for a in double.asked if "if-none-match" in a.headers]
    assert known == ["a", "a"]


# --- redirects ------------------------------------------------------------------------------------

HOME = "/repos/octo/hello"
HOST = "github.example"
LOCATIONS = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(
            [*"@:?#; /\\\t", "//", "https:", "/api/v3", "..", "%2e%2e", "%2f", "[::1]", HOST]
        ),
        max_size=9,
    ).map("".join),
    st.text("./%2ef?#", max_size=12).map("https://github.example/api/v3/{}".format),
)


@given(LOCATIONS)
def test_whatever_a_redirect_says_the_token_stays_with_the_api(location: str) -> None:
    """Same origin, below the base path, without a dot segment; anything else is refused."""
    api = Api(GithubSettings.from_dict({"api_url": "https://github.example/api/v3"}))
    prepared = api.rest(REPO, NOBODY)
    answer = Answer(301, {"location": location}, b"", 0, False)
    try:
        moved_to = api.moved(prepared, answer)
    except BadResponse:
        pass
    else:
        assert moved_to.target.origin == prepared.target.origin
        path = unquote(moved_to.target.path.partition("?")[0])
        assert path.startswith("/api/v3/")
        assert not {".", ".."} & set(path.split("/"))
    try:
        stored = api.storage(prepared, answer)
    except BadResponse:
        return
    assert stored.target.origin.scheme == "https"
    assert not stored.signed
    assert stored.target.path.startswith("/")
    assert stored.target.path.isascii()


async def test_a_renamed_repository_is_followed_when_reading() -> None:
    """GitHub answers 301 with the repository's number; the query goes along."""
    request = Request(route=ISSUES.route, values=ISSUES.values, query={"state": "all"})
    async with connected("/api/v3") as (double, client):
        there = f"{double.url}/api/v3/repositories/17/issues?state=all"
        double.on("GET", f"/api/v3{HOME}/issues", moved(there))
        double.on("GET", "/api/v3/repositories/17/issues", reply([1]))
        answer = await client.send(request, owner="octo")
    assert answer.data == [1]
    assert double.paths[1] == "GET /api/v3/repositories/17/issues?state=all"
    assert double.asked[1].headers["authorization"] == f"token {TOKEN}"


async def test_a_write_does_not_follow_a_renamed_repository() -> None:
    """What was meant may not be what is there now; PyGithub would send it again."""
    async with connected() as (double, client):
        double.on("POST", f"{HOME}/issues", moved(f"{double.url}/repositories/17/issues", 307))
        await error_of(RepositoryMoved, client.send(CREATE, owner="octo"))
    assert len(double.asked) == 1


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/repos/octo/hello",
        "//evil.example/x",
        "http://127.0.0.1:9/api/v3/x",
        "{url}/other/x",
        "{url}/api/v3",
        "{url}/api/v3/../admin",
        "{url}/api/v3/repos/a/%2e%2e/b",
        "{url}/api/v3/repos//x",
        "http://user@127.0.0.1/api/v3/x",
        "/api/v3/x",
        "javascript:1",
        "http://[::1/x",
        "{url}/api/v3/x y",
        "{url}/api/v3/\xe4",
        "",
    ],
)
async def test_no_redirect_leads_away_from_the_api(location: str) -> None:
    """The token goes with the request, so the origin and the base path have to be the same."""
    async with connected("/api/v3") as (double, client):
        double.on("GET", f"/api/v3{HOME}", moved(location.replace("{url}", double.url)))
        await error_of(BadResponse, client.send(REPO, owner="octo"))
    assert len(double.asked) == 1


async def test_redirects_that_never_end_are_ended() -> None:
    """Three are followed."""
    async with connected() as (double, client):
        double.on("GET", HOME, moved(f"{double.url}{HOME}"))
        await error_of(BadResponse, client.send(REPO, owner="octo"))
    assert len(double.asked) == 4


async def test_the_new_name_of_a_repository_is_put_to_the_list_again() -> None:
    """Else a rename would lead a reader out of the list."""
    for full_name, refused in (("octo/new", False), ("stranger/new", True)):
        async with connected(allow_repositories="octo/*") as (double, client):
            double.on("GET", HOME, moved(f"{double.url}/repositories/17"))
            double.on("GET", "/repositories/17", reply({"full_name": full_name}))
            if refused:
                await error_of(RepositoryNotAllowed, client.send(REPO, owner="octo"))
            else:
                answer = await client.send(REPO, owner="octo")
                assert answer.data == {"full_name": full_name}
        async with connected(allow_repositories="octo/*") as (double, client):
            double.on("GET", HOME, moved(f"{double.url}/repos/{full_name}"))
            double.on("GET", f"/repos/{full_name}", reply({}))
            if refused:
                await error_of(RepositoryNotAllowed, client.send(REPO, owner="octo"))
                assert len(double.asked) == 1
            else:
                await client.send(REPO, owner="octo")


# --- GraphQL --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "path"),
    [("", "/graphql"), ("/api/v3", "/api/graphql"), ("/github/api/v3", "/github/api/graphql")],
)
async def test_graphql_is_where_the_server_has_it(base: str, path: str) -> None:
    """On Enterprise Server it stands beside the REST API."""
    async with connected(base) as (double, client):
        double.on("POST", path, reply({"data": {"viewer": {"login": "x"}}}))
        answer = await client.graphql(QUERY, {"n": 1}, owner=None)
    assert answer.data == {"viewer": {"login": "x"}}
    assert double.asked[0].json() == {"query": QUERY, "variables": {"n": 1}}


async def test_graphql_needs_a_credential() -> None:
    """The error names what the operator sets; nothing is sent."""
    async with connected(token=None) as (double, client):
        error = await error_of(AuthRequired, client.graphql(QUERY, {}, owner=None))
    assert "GITHUB_TOKEN" in error.hint
    assert double.asked == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NOT_FOUND", NotFoundOrNoAccess),
        ("FORBIDDEN", Forbidden),
        ("INSUFFICIENT_SCOPES", MissingScope),
        ("RATE_LIMITED", PrimaryRateLimited),
        ("STALE_DATA", GithubConflict),
    ],
)
async def test_errors_of_graphql_are_told_by_their_type(
    kind: str, expected: type[NotFoundOrNoAccess]
) -> None:
    """They come with status 200."""
    errors = [{"type": kind, "message": f"said with {TOKEN}", "path": ["x"]}]
    async with connected() as (double, client):
        double.on("POST", "/graphql", reply({"data": {"x": None}, "errors": errors}))
        error = await error_of(expected, client.graphql(QUERY, {}, owner=None))
    assert TOKEN not in str(error.to_dict())
    assert error.facts.get("reset_at", "2030-03-17T17:46:40Z") == "2030-03-17T17:46:40Z"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"errors": [{"message": "x", "extensions": {"code": "FORBIDDEN"}}]}, Forbidden),
        (
            {"errors": [{"message": "Secondary rate limit, wait"}]},
            SecondaryRateLimited,
        ),
        ({"errors": ["x"]}, GithubError),
        ({"data": None}, BadResponse),
        ([1], BadResponse),
    ],
)
async def test_odd_answers_of_graphql_are_errors(body: object, expected: type[ToolError]) -> None:
    """Whatever their shape."""
    async with connected() as (double, client):
        double.on("POST", "/graphql", reply(body))
        await error_of(expected, client.graphql(QUERY, {}, owner=None))


async def test_a_part_of_graphql_can_be_enough() -> None:
    """Boards list items that the token may not see; the rest is wanted, with a warning."""
    body = {"data": {"a": 1, "b": None}, "errors": [{"type": "FORBIDDEN", "message": "no b"}]}
    async with connected() as (double, client):
        double.on("POST", "/graphql", reply(body))
        answer = await client.graphql(QUERY, {}, owner=None, partial=True)
        await error_of(Forbidden, client.graphql(QUERY, {}, owner=None))
    assert answer.data == {"a": 1, "b": None}
    assert "no b" in answer.warnings[0]


async def test_a_failing_mutation_leaves_its_outcome_unknown() -> None:
    """A failing query does not: it changes nothing. Neither is sent twice."""
    async with connected() as (double, client):
        double.on("POST", "/graphql", unicorn(502))
        await error_of(OutcomeUnknown, client.graphql(MUTATION, {"id": "x"}, owner=None))
        await error_of(GithubDown, client.graphql(QUERY, {}, owner=None))
    assert len(double.asked) == 2


# --- the end --------------------------------------------------------------------------------------


async def test_closing_the_client_ends_what_is_under_way() -> None:
    """No thread waits for a server that never answers."""
    async with octo() as double:
        client = Client(GithubSettings.from_dict({"api_url": double.url}))
        double.on("GET", "/user", silence)
        async with client.running():
            call = asyncio.create_task(client.send(USER, owner=None, timeout_s=30))
            await double.wait_for(1)
        await error_of(Busy, call)
        await double.wait_for_ends(1)


async def test_not_ready_is_asked_again_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics are worked out when somebody asks: 202, then the answer."""
    monkeypatch.setattr("services.github.backend.client.NOT_READY_PAUSE_S", 0.01)
    async with connected() as (double, client):
        double.on("GET", "/user", reply({}, 202), reply({"a": 1}))
        assert (await client.send(USER, owner=None)).data == {"a": 1}
        double.on("GET", "/user", reply({}, 202, Retry_After="7"))
        error = await error_of(NotReady, client.send(USER, owner=None))
        double.on("POST", f"{HOME}/issues", reply({"job": 1}, 202))
        assert (await client.send(CREATE, owner="octo")).status == 202
    assert error.retryable
    assert error.facts["retry_after_s"] == 7
    assert len(double.asked) == 2 + 3 + 1


async def test_a_used_up_quota_is_no_reason_to_wait() -> None:
    """PyGithub would sleep until the reset."""
    async with connected(clock=lambda: 1_800_000_000.0) as (double, client):
        double.on("GET", "/user", used_up(1_800_000_600))
        error = await error_of(PrimaryRateLimited, client.send(USER, owner=None))
    assert error.facts["retry_after_s"] == 601
