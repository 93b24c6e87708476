"""What a hostile tester found: odd answers, echoed tokens, headers that are no numbers."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest
from pydantic_core import to_json

from services.github.backend.failures import retry_after
from services.github.errors import BadResponse, GithubDown, OutcomeUnknown
from tests.services.github.conftest import TOKEN, Github
from tests.services.github.connected import CREATE, REPO, connected, error_of
from tests.services.github.connected import TOKEN as SENT_TOKEN
from tests.services.github.doubles.loopback import Answer, json_answer
from tests.services.github.doubles.own import reply
from tests.services.github.stage import REPO as HELLO
from tests.services.github.stage import Stage, comment, staged

JSON_TYPE = {"Content-Type": "application/json"}
UNREADABLE = {
    "half JSON": Answer(201, b'{"number":', JSON_TYPE),
    "a web page": Answer(200, b"<html>", {"Content-Type": "text/html"}),
    "no media type": Answer(201, b'{"number": 1}'),
    "an encoding": Answer(201, b"{}", {**JSON_TYPE, "Content-Encoding": "br"}),
    "no gzip": Answer(201, b"{}", {**JSON_TYPE, "Content-Encoding": "gzip"}),
    "too much": Answer(201, b'"' + b"x" * 5_000 + b'"', JSON_TYPE),
    "unchanged": Answer(304),
}
WRONG: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a list of nulls": [None],
    "an empty object": {},
    "text": "x",
    "a number": 1,
}


@pytest.mark.parametrize("given", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_a_write_whose_answer_cannot_be_read_may_have_happened(
    github: Github, given: Answer
) -> None:
    """GitHub took the request: an error that sounds like a refusal would have it sent again."""
    with staged() as stage:
        stage.on("POST", "/repos/octo/hello/labels", given)
        settings = {"write": "all", "max_response_bytes": 4_096}
        async with github(stage.url, **settings) as client:
            result = await client.call("label_write", **HELLO, method="create", name="bug")
        assert (result.error or {}).get("code") == "OUTCOME_UNKNOWN", result.error
        assert len(stage.sent("POST")) == 1


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize(
    ("tool", "path"),
    [
        ("get_repo", ""),
        ("list_branches", "/branches"),
        ("get_repository_tree", "/git/trees/HEAD"),
        ("list_releases", "/releases"),
        ("get_file_contents", "/contents/"),
    ],
)
async def test_an_answer_of_another_shape_is_an_error_that_says_so(
    github: Github, tool: str, path: str, given: Any
) -> None:
    """What answers may be an old Enterprise Server or a proxy: the caller is told what is wrong."""
    with staged() as stage:
        stage.on("GET", f"/repos/octo/hello{path}", given)
        async with github(stage.url) as client:
            result = await client.call(tool, **HELLO)
    assert (result.error or {}).get("code") in (None, "BAD_RESPONSE", "NOT_FOUND_OR_NO_ACCESS")


async def test_a_write_after_which_an_answer_is_misread_may_have_happened(github: Github) -> None:
    """The requests of push_files follow each other; the first one here is answered with a list."""
    with staged() as stage:
        on_a_branch(stage)
        stage.on("POST", "/repos/octo/hello/git/trees", [])
        async with github(stage.url, write="all") as client:
            result = await client.call(
                "push_files",
                **HELLO,
                branch="main",
                message="x",
                files=[{"path": "a.txt", "content": "a"}],
            )
    assert (result.error or {}).get("code") == "OUTCOME_UNKNOWN", result.error


def on_a_branch(stage: Stage) -> None:
    """Have a branch with a commit."""
    sha, below = "1" * 40, "/repos/octo/hello/git"
    stage.on("GET", f"{below}/ref/heads/main", {"object": {"sha": sha, "type": "commit"}})
    stage.on("GET", f"{below}/commits/{sha}", {"sha": sha, "tree": {"sha": "2" * 40}})
    stage.on("GET", f"{below}/trees/{'2' * 40}", {"sha": "2" * 40, "tree": [], "truncated": False})


async def test_a_quota_without_a_reset_time_is_told(github: Github) -> None:
    """Some proxies leave the headers out; the door writes no Retry-After then."""
    with staged() as stage:
        refusal = json_answer({"message": "API rate limit exceeded for user ID 1."}, 403)
        stage.on("GET", "/repos/octo/hello/releases", refusal)
        async with github(stage.url) as client:
            response = await client.http.post("/tools/list_releases", json=HELLO)
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "RATE_LIMITED"
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [("60", 60.0), ("²", None), ("٣", None), ("9" * 400, None), ("99999999", 3600.0), ("-1", None)],
)
def test_silence_lasts_an_hour_at_most(text: str, wait_s: float | None) -> None:
    """One odd header must not switch a credential off until the next start."""
    assert retry_after({"retry-after": text}) == wait_s


async def test_headers_show_no_credential() -> None:
    """What stands between us and GitHub may echo what it was sent, in any header."""
    async with connected() as (double, client):
        double.on(
            "GET", "/repos/octo/hello", reply({}, X_RateLimit_Resource=SENT_TOKEN, X_Odd=SENT_TOKEN)
        )
        found = await client.send(REPO, owner="octo")
        health = await client.component()
    assert found.rate is not None
    assert SENT_TOKEN not in f"{found.headers} {found.rate} {health}"


async def test_files_in_base64_show_no_credential(github: Github) -> None:
    """The target of a link is read from its blob, which GitHub sends in base64."""
    with staged() as stage:
        content = base64.b64encode(f"see {TOKEN}\n".encode()).decode()
        told = {"type": "file", "name": "a", "path": "a", "size": 9, "sha": "3" * 40}
        told |= {"encoding": "base64", "content": content, "html_url": None, "git_url": None}
        stage.on("GET", "/repos/octo/hello/contents/a", told)
        stage.on("GET", f"/repos/octo/hello/git/blobs/{'3' * 40}", told)
        async with github(stage.url) as client:
            result = await client.call("get_file_contents", **HELLO, path="a")
    assert TOKEN not in to_json(result.structured or result.error).decode()


async def test_an_answer_that_is_no_json_is_not_taken_for_text() -> None:
    """Tools that asked for JSON would take the text for it."""
    with staged() as stage:
        stage.on("GET", "/repos/octo/hello", Answer(200, b"hello", {"Content-Type": "text/plain"}))
        async with connected(api_url=stage.url) as (_, client):
            await error_of(BadResponse, client.send(REPO, owner="octo"))
            stage.on("POST", "/repos/octo/hello/issues", Answer(201, b"hello"))
            await error_of(OutcomeUnknown, client.send(CREATE, owner="octo"))


async def test_others_are_answered_while_long_texts_are_read(github: Github) -> None:
    """Cleaning a page of GitHub's longest comments takes seconds, away from the event loop."""
    over = asyncio.Event()
    with staged() as stage:
        told = [comment(number, body="<b></b>" * 9_000) for number in range(12)]
        stage.on("GET", "/repos/octo/hello/issues/1/comments", told)
        async with github(stage.url, lockdown="off") as client:
            ticking = asyncio.create_task(_longest_wait(over))
            started = time.monotonic()
            arguments = {**HELLO, "method": "get_comments", "issue_number": 1}
            result = await client.call("issue_read", **arguments)
            took_s = time.monotonic() - started
            over.set()
    assert result.structured is not None, result.error
    assert await ticking < took_s / 2


async def _longest_wait(over: asyncio.Event) -> float:
    """Return the most seconds that the event loop kept this waiting until it was over."""
    longest_s = 0.0
    while not over.is_set():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        longest_s = max(longest_s, time.monotonic() - before)
    return longest_s


async def test_comparing_with_a_fork_needs_the_fork_to_be_allowed(github: Github) -> None:
    """`owner:branch` reads another repository than the one that is named."""
    with staged() as stage:
        async with github(stage.url, allow_repositories="octo/*") as client:
            result = await client.call("compare", **HELLO, base="main", head="mallory:main")
        assert (result.error or {}).get("code") == "REPOSITORY_NOT_ALLOWED"
        assert stage.asked == []


GAVE_UP = (
    "Something went wrong while executing your query. This may be the result of a timeout, or it "
    "could be a GitHub bug. Please include `1234:5678` when reporting this issue."
)


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {"x": None}}])
async def test_a_mutation_that_github_gave_up_on_may_have_happened(data: dict[str, Any]) -> None:
    """GraphQL's own timeout is answered 200; a query of which it says so can be asked again.

    Source: https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api
    """
    with staged() as stage:
        stage.on("POST", "/graphql", {**data, "errors": [{"message": GAVE_UP}]})
        async with connected(api_url=stage.url) as (_, client):
            await error_of(OutcomeUnknown, client.graphql("mutation { x }", {}, owner="octo"))
            down = await error_of(GithubDown, client.graphql("query { x }", {}, owner="octo"))
    assert down.retryable


@pytest.mark.parametrize("given", [None, [], {}, {"data": None}, {"data": None, "errors": []}])
async def test_graphql_that_says_nothing_leaves_a_mutation_open(given: Any) -> None:
    """Neither data nor errors is no refusal: only a query can be called unread."""
    with staged() as stage:
        stage.on("POST", "/graphql", given)
        async with connected(api_url=stage.url) as (_, client):
            await error_of(BadResponse, client.graphql("query { x }", {}, owner="octo"))
            await error_of(OutcomeUnknown, client.graphql("mutation { x }", {}, owner="octo"))
