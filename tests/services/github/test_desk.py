"""What every tool works with: requests, lists, rate, and what is remembered of reading."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from core.errors import CursorRefused, InvalidArguments
from core.models import Part, output_schema_of
from services.github.backend.client import Client
from services.github.backend.requests import Reply, Request
from services.github.errors import BadName, NotFoundOrNoAccess, RepositoryNotAllowed
from services.github.models.common import (
    GitHubPage,
    GitHubResult,
    PageArguments,
    Selectable,
    select,
)
from services.github.policy.names import Repo
from services.github.settings import GithubSettings
from services.github.tools.desk import Desk, clipped, owner_of
from tests.services.github.doubles.graphql import Graphql
from tests.services.github.fake import HELLO, FakeGitHub, context_of, desk_of, moving

ISSUES = "/repos/{owner}/{repo}/issues"
SECRET = Repo("octo", "secret")


class Entry(Selectable):
    """An item of a list."""

    number: int
    text: str | None


class Entries(GitHubPage):
    """A list."""

    items: list[Entry]


class Word(Part):
    """An item whose size tests choose."""

    text: str


class ListEntries(PageArguments):
    """Arguments of a list."""

    state: str | None = None


class SlowGitHub(FakeGitHub):
    """Answers when it is told to.

    Attributes:
        asked: Set by the first request.
        go_on: Set by the test.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def send(self, request: Request, *, owner: str | None, timeout_s: float) -> Reply:
        """Answer a request."""
        reply = super().send(request, owner=owner, timeout_s=timeout_s)
        self.asked.set()
        await self.go_on.wait()
        return await reply


# --- requests ------------------------------------------------------------------------------------


async def test_a_repository_fills_owner_and_repo_of_a_route() -> None:
    """Tools hand over what they parsed."""
    fake = FakeGitHub()
    fake.on("GET", "/repos/octo/hello/issues/7", {"number": 7})
    call = desk_of(fake).call(context_of())
    found = await call.get(f"{ISSUES}/{{issue_number}}", repo=HELLO, issue_number=7)
    assert found == {"number": 7}
    assert fake.sent[-1].values["owner"] == "octo"


async def test_what_leads_elsewhere_is_refused_before_anything_is_sent() -> None:
    """Also where a tool forgot to parse."""
    fake = FakeGitHub()
    call = desk_of(fake).call(context_of())
    for owner, repo in (("octo", ".."), ("octo", "a/../../user"), ("..", "x"), ("octo", "a%2fb")):
        with pytest.raises(BadName):
            await call.get(ISSUES, owner=owner, repo=repo)
    assert fake.sent == []


async def test_reading_cannot_be_used_to_write() -> None:
    """Whatever changes something goes through a plan."""
    call = desk_of(FakeGitHub()).call(context_of())
    with pytest.raises(ValueError, match="write"):
        await call.reply(Request(method="POST", route="/user/repos", body={}))
    for query in ("mutation { x }", "  mutation($a: ID!) { x }", "query { a } mutation { x }"):
        with pytest.raises(ValueError, match="write"):
            await call.graphql(query)


async def test_the_allow_list_is_asked_for_every_way_of_reading() -> None:
    """GET, pages, GraphQL and the facts of a repository."""
    fake = FakeGitHub()
    call = desk_of(fake, allow_repositories="octo/hello").call(context_of())
    other = Repo("octo", "other")
    for reading in (
        call.get(ISSUES, repo=other),
        call.get("/repos/{owner}/{repo}", repo=other),
        call.page(ISSUES, repo=other),
        call.graphql("query { x }", repo=other),
        call.repository(other),
        call.download(Request(route=ISSUES, values={"owner": "octo", "repo": "other"})),
    ):
        with pytest.raises(RepositoryNotAllowed):
            await reading
    assert await call.facts(other) is None
    assert call.may_read("octo/hello")
    assert not call.may_read("octo/other")
    assert not call.may_read("no name")
    assert fake.sent == []


async def test_the_result_tells_the_quota_after_the_last_request() -> None:
    """And nothing when nothing was asked."""
    fake = FakeGitHub()
    call = desk_of(fake).call(context_of())
    assert call.members()["rate"] is None
    await call.get("/repos/{owner}/{repo}", repo=HELLO)
    rate = call.members()["rate"]
    assert (rate.remaining, rate.limit, rate.resource) == (4_987, 5_000, "core")
    assert rate.reset_at == "2030-01-01T00:00:00Z"


def test_the_credential_follows_the_owner() -> None:
    """Of a repository, an organisation or a user; else the general one."""
    assert owner_of({"owner": "octo", "repo": "x"}) == "octo"
    assert owner_of({"org": "acme"}) == "acme"
    assert owner_of({"username": "eve"}) == "eve"
    assert owner_of({"gist_id": "1"}) is None


# --- what is remembered --------------------------------------------------------------------------


async def test_reading_a_private_repository_is_remembered_at_the_price_of_one_request() -> None:
    """For the flow guard, which asks GitHub once in a while for what a repository is."""
    fake = FakeGitHub()
    fake.repository(SECRET, private=True)
    fake.on("GET", "/repos/octo/secret/issues", [])
    desk = desk_of(fake)
    for _ in range(3):
        call = desk.call(context_of())
        await call.get(ISSUES, repo=SECRET)
    assert desk.flow.seen(call.reader).private == ("octo/secret",)
    assert fake.paths().count("/repos/octo/secret") == 1


async def test_a_hundred_calls_at_once_ask_what_a_repository_is_once() -> None:
    """The one that asked may go away; an error is everybody's, and asked about again later."""
    fake = SlowGitHub()
    desk = desk_of(fake)
    first = asyncio.create_task(desk.call(context_of()).repository(HELLO))
    calls = [asyncio.create_task(desk.call(context_of()).repository(HELLO)) for _ in range(99)]
    await fake.asked.wait()
    first.cancel()
    fake.go_on.set()
    assert {found.full_name for found in await asyncio.gather(*calls)} == {"octo/hello"}
    assert fake.paths() == ["/repos/octo/hello"]
    gone = [desk.call(context_of()).repository(SECRET) for _ in range(3)]
    errors = await asyncio.gather(*gone, return_exceptions=True)
    assert {type(error) for error in errors} == {NotFoundOrNoAccess}
    assert fake.paths().count("/repos/octo/secret") == 1
    fake.repository(SECRET, private=True)
    assert (await desk.call(context_of()).repository(SECRET)).private


async def test_a_repository_that_is_read_itself_is_not_asked_for_twice() -> None:
    """Its answer says whether it is private."""
    fake = FakeGitHub()
    fake.repository(SECRET, private=True)
    call = desk_of(fake).call(context_of())
    await call.get("/repos/{owner}/{repo}", repo=SECRET)
    assert fake.paths() == ["/repos/octo/secret"]
    assert call.desk.flow.seen(call.reader).private == ("octo/secret",)
    assert (await call.repository(SECRET)).private
    assert len(fake.sent) == 1


async def test_without_a_credential_nothing_is_private() -> None:
    """So nobody has to be asked."""
    fake = FakeGitHub(token=False)
    fake.on("GET", "/repos/octo/hello/issues", [])
    call = desk_of(fake).call(context_of())
    await call.get(ISSUES, repo=HELLO)
    assert fake.paths() == ["/repos/octo/hello/issues"]
    assert call.desk.flow.seen(call.reader).private == ()


async def test_a_repository_nothing_is_known_of_counts_as_private() -> None:
    """It was read, and who else may is not known."""
    fake = FakeGitHub()
    fake.on("GET", "/repos/octo/odd/issues", [])
    call = desk_of(fake).call(context_of())
    await call.get(ISSUES, repo=Repo("octo", "odd"))
    assert call.desk.flow.seen(call.reader).private == ("octo/odd",)


async def test_what_does_not_exist_is_told_as_github_tells_it() -> None:
    """The look at the repository hides no error."""
    call = desk_of(FakeGitHub()).call(context_of())
    with pytest.raises(NotFoundOrNoAccess, match="/repos/octo/gone/issues"):
        await call.get(ISSUES, repo=Repo("octo", "gone"))


async def test_strangers_files_are_remembered_and_ours_are_not() -> None:
    """By whether the credential may push."""
    fake = FakeGitHub()
    theirs = Repo("eve", "theirs")
    fake.repository(theirs, push=False)
    call = desk_of(fake).call(context_of())
    assert await call.origin(HELLO, "main") == "trusted"
    assert call.untrusted is False
    assert await call.origin(theirs, "main") == "untrusted"
    assert call.untrusted is True
    assert call.desk.flow.seen(call.reader).untrusted == ("eve/theirs",)


async def test_many_repositories_are_asked_about_in_one_request() -> None:
    """Lists over many name them all; what GitHub does not tell stays unknown."""
    fake = FakeGitHub()

    def answer(request: Request) -> dict[str, Any]:
        names = request.body["variables"]
        found = [f"{names[f'owner{i}']}/{names[f'name{i}']}" for i in range(len(names) // 2)]
        facts = {"isPrivate": True, "visibility": "PRIVATE", "isArchived": False}
        more = {"defaultBranchRef": {"name": "main"}, "viewerPermission": "WRITE"}
        return {
            f"r{i}": None if name.endswith("/r3") else {"nameWithOwner": name, **facts, **more}
            for i, name in enumerate(found)
        }

    fake.on("POST", "/graphql", answer)
    call = desk_of(fake).call(context_of())
    repos = [Repo("octo", f"r{number}") for number in range(30)]
    await call.learn(repos)
    await call.learn(repos[:3])
    known = [await call.facts(repo) for repo in repos]
    assert [facts is None for facts in known] == [number == 3 for number in range(30)]
    assert known[0] is not None
    assert known[0].private
    assert known[0].can_push
    assert known[0].permissions == {"pull", "triage", "push"}
    assert fake.paths("POST") == ["/graphql"]
    assert fake.paths() == ["/repos/octo/r3"]


async def test_the_question_about_many_repositories_fits_githubs_schema(
    graphql_double: Graphql,
) -> None:
    """As its own schema has it; the answer of the double has the shape of the question."""
    graphql_double.data = {
        "repository": {
            "nameWithOwner": "octo/hello",
            "isPrivate": False,
            "visibility": "PUBLIC",
            "isArchived": True,
            "defaultBranchRef": None,
            "viewerPermission": "READ",
        }
    }
    own = GithubSettings.from_dict({"api_url": graphql_double.url, "token": "t" * 20})
    client = Client(own)
    async with client.running():
        desk = Desk.of(client, own, desk_of(FakeGitHub()).cursors)
        call = desk.call(context_of())
        await call.learn([HELLO, Repo("octo", "other")])
        facts = await call.facts(HELLO)
    assert facts is not None
    assert (facts.private, facts.archived, facts.default_branch) == (False, True, "")
    assert facts.permissions == {"pull"}


async def test_one_call_asks_about_a_few_repositories_one_by_one() -> None:
    """Beyond them a repository is unknown: private for what is read, public for lockdown."""
    fake = FakeGitHub()
    call = desk_of(fake).call(context_of())
    repos = [Repo("octo", f"r{number}") for number in range(30)]
    for repo in repos:
        fake.repository(repo)
    known = [await call.facts(repo) for repo in repos]
    assert [facts is not None for facts in known] == [number < 10 for number in range(30)]
    again = desk_of(fake).call(context_of())
    assert await again.facts(repos[29]) is not None


async def test_the_general_credential_has_one_user_whoever_the_owner_is() -> None:
    """So it is asked once; an owner with a token of their own has another."""
    fake = FakeGitHub()
    desk = desk_of(fake, token="t" * 20, tokens="acme=" + "u" * 20)
    for owner in ("octo", "eve", "acme", "ACME"):
        assert await desk.call(context_of()).viewer(owner) == "me"
    assert fake.paths() == ["/user", "/user"]


# --- lists ---------------------------------------------------------------------------------------


def test_a_page_is_named_by_number_or_by_cursor() -> None:
    """As in the official server, and beyond it."""
    call = desk_of(FakeGitHub()).call(context_of())
    window = call.window(ListEntries(page=3, perPage=10))
    assert (window.page, window.per_page, window.skip) == (3, 10, 0)
    _, members = window.cut([Word(text="x")], 4)
    assert members["truncated_by"] == "limit"
    following = call.window(ListEntries(perPage=10, cursor=members["next_cursor"]))
    assert following.page == 4
    assert window.cut([], None)[1]["next_cursor"] is None


def test_a_cursor_is_for_the_same_arguments_of_the_same_caller() -> None:
    """It goes on in one list."""
    desk = desk_of(FakeGitHub())
    call = desk.call(context_of())
    _, members = call.window(ListEntries(state="open")).cut([], 2)
    cursor = members["next_cursor"]
    assert call.window(ListEntries(state="open", cursor=cursor)).page == 2
    for other, who in (
        (ListEntries(state="closed", cursor=cursor), "alice"),
        (ListEntries(state="open", cursor=cursor), "bob"),
        (ListEntries(state="open", cursor="made up"), "alice"),
    ):
        with pytest.raises(CursorRefused):
            desk.call(context_of(who)).window(other)


@given(
    sizes=st.lists(st.integers(0, 6_000), max_size=25),
    per_page=st.integers(1, 10),
)
def test_following_cursors_shows_every_item_once(sizes: list[int], per_page: int) -> None:
    """Whether a page is cut by bytes or ends; each answer holds at least one item."""
    desk = desk_of(FakeGitHub(), answer_bytes=4_096)
    words = [Word(text=f"{number}:{'x' * size}") for number, size in enumerate(sizes)]
    seen, cursor = [], None
    for _ in range(2 * len(words) + 2):
        window = desk.call(context_of()).window(ListEntries(perPage=per_page, cursor=cursor))
        begin = (window.page - 1) * per_page
        of_github = words[begin : begin + per_page]
        following = window.page + 1 if begin + per_page < len(words) else None
        shown, members = window.cut(window.rest(of_github), following)
        assert shown or not words
        seen += shown
        cursor = members["next_cursor"]
        assert members["truncated"] is (cursor is not None)
        if cursor is None:
            break
    assert seen == words


def test_graphql_lists_go_on_after_a_position() -> None:
    """Their pages have no numbers."""
    call = desk_of(FakeGitHub()).call(context_of())
    window = call.window(ListEntries())
    assert window.after is None
    _, members = window.cut([], "Y3Vyc29yOjE=")
    assert call.window(ListEntries(cursor=members["next_cursor"])).after == "Y3Vyc29yOjE="


# --- results -------------------------------------------------------------------------------------


def test_chosen_fields_are_shown_and_unknown_ones_named() -> None:
    """`fields` saves the reader's room; the listed schema is that of all members."""
    entries = select(Entry, [Entry(number=1, text="long")], ["text"])
    result = Entries(
        items=entries, returned=1, total=None, truncated=False, truncated_by=None, next_cursor=None
    )
    shown = from_json(result.__pydantic_serializer__.to_json(result))
    assert shown["items"] == [{"text": "long"}]
    kept = select(Entry, [Entry(number=1, text=None)], ["text"], always=["number"])
    assert kept[0].model_dump() == {"number": 1, "text": None}
    with pytest.raises(InvalidArguments, match="text") as refused:
        select(Entry, [], ["texts"])
    assert "number, text" in refused.value.hint
    listed = output_schema_of(Entries)["properties"]["items"]["items"]["properties"]
    assert set(listed) == {"number", "text"}


def test_what_every_result_has_is_not_listed_for_each_tool() -> None:
    """The instructions tell of it once; tools/list is read by models, which pay for it."""
    assert output_schema_of(GitHubResult).get("properties", {}) == {}
    assert set(GitHubResult().model_dump()) == {"rate", "warnings", "untrusted"}


def test_long_texts_say_how_much_is_missing() -> None:
    """And what shows it."""
    assert clipped("short", 10, "issue_read") == "short"
    assert (
        clipped("x" * 15, 10, "issue_read")
        == "x" * 10 + "… [5 more characters; issue_read shows all]"
    )
    assert clipped("x" * 15, None, "") == "x" * 15


async def test_requests_get_the_time_that_the_call_has_left() -> None:
    """An answer that comes after the call's end helps nobody."""
    now, clock = moving()
    context = context_of()
    context._clock, context.started_at, context.time_limit_s = clock, now[0], 30.0
    call = desk_of(FakeGitHub(), timeout_s=20).call(context)
    assert call.timeout_s == 20
    now[0] += 25
    assert call.timeout_s == 4
    now[0] += 25
    assert 0 < call.timeout_s < 1


async def test_private_things_outside_of_repositories_are_remembered() -> None:
    """Tools say so: notifications, secret gists."""
    call: Any = desk_of(FakeGitHub()).call(context_of())
    call.read_private("your notifications")
    call.heard_in_public("a gist of eve")
    assert call.desk.flow.seen(call.reader).meets
