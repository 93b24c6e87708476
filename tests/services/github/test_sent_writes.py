"""Writes through the server's door: what was shown is what is sent, for whom it was shown."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import httpx
import pytest

from core.context import Principal
from core.security.auth import Authenticator
from core.testing import Client
from core.transports.http import HTTPRequest
from services.github.backend.requests import Request
from services.github.tools import listings
from services.github.writes import url_of
from tests.services.github.calls import Row, rows
from tests.services.github.conftest import Github
from tests.services.github.doubles.own import Octo, reply
from tests.services.github.doubles.prism import Prism
from tests.services.github.fake import FakeGitHub, desk_of
from tests.services.github.further import PRIVATE
from tests.services.github.stage import REPO, staged
from tests.services.github.test_every_request import EVERYTHING

HOME = "/repos/octo/hello"
TITLE = 'Ünï "cødé" 🐙 \\ \u2028 </script>'
ODD = TITLE + "\n\ttab \x7f\r\n"
BRANCH = {**REPO, "branch": "old"}


class ByKey(Authenticator):
    """Everybody is who their key says, as far as there are several on one server."""

    required = False

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return who calls."""
        return Principal(request.headers.get(b"x-api-key", b"alice").decode())


@pytest.fixture(autouse=True)
def _several_principals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers tell callers apart."""
    monkeypatch.setattr("core.security.callers.authenticator_for", lambda *_: ByKey())


# --- what is shown is what is sent ---------------------------------------------------------------


async def test_a_dry_run_shows_the_bytes_that_are_sent(own: Octo, github: Github) -> None:
    """Letters of all kinds, quotes and controls: address and body are those on the socket."""
    own.on("GET", "/user", reply({"login": "me"}))
    own.on("GET", HOME, reply({"full_name": "octo/hello", "private": False}))
    own.on("GET", f"{HOME}/issues", reply([]))
    own.on("POST", f"{HOME}/issues", reply({"number": 1, "id": 2, "title": "t"}, 201))
    arguments = {**REPO, "method": "create", "title": TITLE, "body": ODD * 50, "labels": ["bug ü"]}
    async with github(own.url, write="issues", write_interval_s=0) as client:
        tried = (await client.call("issue_write", **arguments, dry_run=True)).structured
        assert tried is not None
        assert tried["dry_run"]["requests"][0]["body"]["title"] == TITLE
        assert [asked for asked in own.asked if asked.method == "POST"] == []
        token = tried["dry_run"]["confirm"]
        await client.call("issue_write", **arguments, confirm=token)
    (shown,) = tried["dry_run"]["requests"]
    (sent,) = (asked for asked in own.asked if asked.method == "POST")
    assert (shown["method"], shown["url"]) == (sent.method, own.url + sent.target)
    assert sent.body == json.dumps(shown["body"]).encode()


def test_the_query_is_shown_as_it_is_sent() -> None:
    """Encoded, and in the order of the address on the socket."""
    values = {"owner": "octo", "repo": "hello", "path": "a b/ü"}
    route = "/repos/{owner}/{repo}/contents/{+path}"
    query = {"sha": "1", "message": "a&b=c d/ü+%", "branch": None}
    request = Request(method="DELETE", route=route, values=values, query=query)
    assert url_of("https://api.github.com", request) == (
        "https://api.github.com/repos/octo/hello/contents/a%20b/%C3%BC"
        "?message=a%26b%3Dc+d%2F%C3%BC%2B%25&sha=1"
    )


def tools() -> list[list[Row]]:
    """Return the rows of each tool that may write."""
    desk = desk_of(FakeGitHub())
    writing = {tool.name for _, tool in listings(desk) if "dry_run" in tool.arguments.model_fields}
    wanted = [row for row in rows() if row.error is None and row.tool in writing]
    ordered = sorted(wanted, key=lambda row: row.tool)
    return [list(found) for _, found in groupby(ordered, key=lambda row: row.tool)]


@pytest.mark.parametrize("table", tools(), ids=lambda table: table[0].tool)
async def test_every_write_is_sent_as_its_dry_run_shows_it(
    prism_unjudged: Prism, github: Github, table: list[Row]
) -> None:
    """Of a call of one request, all of it; of several, the bodies depend on what comes back.

    Reviewers of a new pull request are shown in words: their request needs its number.
    """
    async with github(prism_unjudged.url, **EVERYTHING, flow_guard=False) as client:
        for row in table:
            prism_unjudged.graphql.data = dict(row.graphql)
            arguments = dict(row.arguments)
            tried = await client.call(row.tool, **arguments, dry_run=True)
            assert tried.structured is not None, tried.error
            prism_unjudged.requests.clear()
            planned = tried.structured["dry_run"]
            done = await client.call(row.tool, **arguments, confirm=planned["confirm"])
            assert done.structured is not None, done.error
            sent = assert_sent(prism_unjudged, planned["requests"])
            assert sent > 0 or done.structured["repeated"], row.name


def assert_sent(prism: Prism, planned: list[dict[str, Any]]) -> int:
    """Check that what was sent had been shown; return how many requests that were."""
    asked = [one for one in prism.requests if one.method != "GET" and not _is_query(one.body)]
    told = [
        (one.method, f"{prism.url}{one.path}" + f"?{one.query}" * bool(one.query), one.body)
        for one in asked
    ]
    shown = [(one["method"], one["url"], _bytes(one["body"])) for one in planned]
    if len(planned) == 1:
        assert told[:1] in (shown, []), "nothing is sent where the example is the thing already"
        assert all(url.endswith("/requested_reviewers") for _, url, _ in told[1:])
    else:
        assert {one[:2] for one in told} <= {one[:2] for one in shown}
    return len(told)


def _is_query(body: bytes) -> bool:
    """Whether a POST only reads."""
    return b'"query": "' in body and b'"query": "mutation' not in body


def _bytes(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()


# --- for whom it was shown -----------------------------------------------------------------------


async def test_the_token_of_somebody_else_confirms_nothing(github: Github) -> None:
    """It stays good for whom it was made."""
    with staged() as stage:
        stage.on("DELETE", f"{HOME}/git/refs/heads/old", {})
        stage.on("GET", f"{HOME}/branches/old", {"name": "old", "protected": False})
        stage.on("GET", f"{HOME}/git/ref/heads/old", {"object": {"sha": "0" * 40}})
        async with github(stage.url, write="all", write_interval_s=0) as client:
            tried = await called(client, "alice", "delete_branch", **BRANCH, dry_run=True)
            token = tried["structuredContent"]["dry_run"]["confirm"]
            stolen = await called(client, "bob", "delete_branch", **BRANCH, confirm=token)
            assert stage.sent("DELETE") == []
            own = await called(client, "alice", "delete_branch", **BRANCH, confirm=token)
        assert stolen["isError"]
        assert "BAD_CONFIRMATION" in stolen["content"][0]["text"]
        assert not own["isError"], own
        assert len(stage.sent("DELETE")) == 1


async def test_the_flow_guard_watches_each_session_by_itself(github: Github) -> None:
    """What one conversation read, the model of another has not seen, though the caller is one."""
    with staged() as stage:
        stage.repository("octo", "secret", **PRIVATE)
        stage.on("GET", f"{HOME}/branches", [])
        stage.on("POST", f"{HOME}/labels", {"id": 1, "name": "bug", "color": "f00"})
        label = {**REPO, "method": "create", "name": "bug", "color": "ff0000"}
        async with github(stage.url, write="all", write_interval_s=0) as client:
            reader, other = await session(client), await session(client)
            await called(client, "alice", "get_repo", reader, owner="octo", repo="secret")
            await called(client, "alice", "list_branches", reader, **REPO)
            refused = await called(client, "alice", "label_write", reader, **label)
            assert stage.sent("POST") == []
            done = await called(client, "alice", "label_write", other, **label)
        assert refused["isError"]
        assert "FLOW_GUARD" in refused["content"][0]["text"]
        assert not done["isError"], done
        assert len(stage.sent("POST")) == 1


async def session(client: Client, who: str = "alice") -> str:
    """Begin a session of somebody; return its id."""
    opening = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    answer = await posted(client, who, "initialize", opening)
    return answer.headers["mcp-session-id"]


async def called(
    client: Client, who: str, tool: str, begun: str | None = None, **arguments: Any
) -> dict[str, Any]:
    """Call a tool as somebody, in a session of theirs; return the result."""
    params = {"name": tool, "arguments": arguments}
    answer = await posted(client, who, "tools/call", params, begun or await session(client, who))
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = [line for line in text.splitlines() if line.startswith("data: {")][-1][6:]
    found: dict[str, Any] = json.loads(text)["result"]
    return found


async def posted(
    client: Client, who: str, method: str, params: Any, begun: str | None = None
) -> httpx.Response:
    """Send a message to the endpoint that has sessions."""
    headers = {"accept": "application/json, text/event-stream", "x-api-key": who}
    if begun is not None:
        headers["mcp-session-id"] = begun
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return await client.http.post("/mcp", json=message, headers=headers)
