"""The official Python client on a server of its own process, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequestParams, ElicitResult

from tests.servers.processes import ServerProcess
from tests.services.github.doubles.own import Octo, moved, raw, refusal, reply, silence
from tests.services.github.stage import REPO, SHA, comment, issue

ERAS = ["legacy", "2026-07-28"]
BASE = "/repos/octo/hello"
LOCK = f"{BASE}/issues/1/lock"
LIMIT_S = 2.0
WORKERS = 2


@pytest.fixture
async def server(own: Octo, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """The service, which may write issues of a public repository of our own double."""
    facts = {"full_name": "octo/hello", "private": False, "default_branch": "main"}
    own.on("GET", "/user", reply({"login": "me", "type": "User"}))
    own.on("GET", BASE, reply({**facts, "permissions": {"push": True}}))
    own.on("GET", f"{BASE}/issues", reply([issue(1), issue(2)]))
    own.on("GET", f"{BASE}/issues/1", reply(issue(1)))
    own.on("GET", f"{BASE}/issues/1/comments", reply([]))
    own.on("PUT", LOCK, raw(b"", 204))
    environment = {
        "MCP_GITHUB_API_URL": own.url,
        "MCP_GITHUB_TOKEN": "a-token-of-the-tests-0123456789",
        "MCP_GITHUB_TOOLSETS": "context,files,issues,pulls,actions",
        "MCP_GITHUB_WRITE": "issues",
        "MCP_GITHUB_WRITE_INTERVAL_S": "0",
        "MCP_GITHUB_WORKERS": str(WORKERS),
    }
    process = ServerProcess(tmp_path, environment=environment, module="services.github")
    await asyncio.to_thread(process.start)
    yield process
    await asyncio.to_thread(process.kill)


class Person:
    """Somebody before the client, who answers every question alike.

    Attributes:
        asked: The questions.
    """

    def __init__(self, **answer: Any) -> None:
        self._answer = answer
        self.asked: list[str] = []

    async def __call__(self, context: object, params: ElicitRequestParams) -> ElicitResult:
        """Answer."""
        self.asked.append(params.message)
        return ElicitResult(**self._answer)


def connected(server: ServerProcess, era: str, person: Person | None = None) -> Client:
    """Return a client, to be entered; without a person it cannot ask anybody."""
    return Client(f"{server.url}/mcp", mode=era, elicitation_callback=person)


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the structured result of a call about the repository, which has to work."""
    result = await client.call_tool(tool, {**REPO, **arguments})
    assert not result.is_error, result
    found: dict[str, Any] = result.structured_content
    return found


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the error of a call about the repository, which has to fail."""
    result = await client.call_tool(tool, {**REPO, **arguments})
    assert result.is_error, result
    error: dict[str, Any] = json.loads(getattr(result.content[0], "text", ""))
    return error


@pytest.mark.parametrize("era", ERAS)
async def test_tools_are_listed_and_issues_read(server: ServerProcess, era: str) -> None:
    """As models do: see what there is, list, look at one."""
    async with connected(server, era) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        listed = await called(client, "list_issues")
        found = await called(client, "issue_read", method="get", issue_number=1)
    assert {"list_issues", "issue_read", "lock_issue", "failure_report"} <= names
    assert [row["number"] for row in listed["items"]] == [1, 2]
    assert (found["issue"]["title"], found["issue"]["body"]) == ("Issue 1", "Body 1")


@pytest.mark.parametrize("era", ERAS)
async def test_a_comment_is_written_once(server: ServerProcess, own: Octo, era: str) -> None:
    """What creates needs no question, and carries the mark by which a repetition is known."""
    own.on("POST", f"{BASE}/issues/1/comments", reply(comment(5), 201))
    async with connected(server, era) as client:
        said = {"issue_number": 1, "body": "Thank you."}
        first = await called(client, "add_issue_comment", **said)
        again = await called(client, "add_issue_comment", **said)
    assert (first["repeated"], again["repeated"]) == (False, True)
    (sent,) = [asked for asked in own.asked if asked.method == "POST"]
    assert sent.json()["body"].startswith("Thank you.\n\n<!-- mcp-github:")


@pytest.mark.parametrize("era", ERAS)
async def test_a_person_says_yes_to_a_write(server: ServerProcess, own: Octo, era: str) -> None:
    """Asked on the stream of the call, or by an answer that the client repeats the call after."""
    person = Person(action="accept", content={"run": True})
    async with connected(server, era, person) as client:
        await called(client, "lock_issue", issue_number=1)
    (question,) = person.asked
    assert "lock the conversation of #1" in question
    assert f"PUT {own.url}{LOCK}" in question
    assert own.paths.count(f"PUT {LOCK}") == 1


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "answer",
    [{"action": "decline"}, {"action": "cancel"}, {"action": "accept", "content": {"run": False}}],
    ids=["decline", "cancel", "unticked"],
)
async def test_without_a_yes_nothing_is_sent(
    server: ServerProcess, own: Octo, era: str, answer: dict[str, Any]
) -> None:
    """Whichever way the person does not agree."""
    person = Person(**answer)
    async with connected(server, era, person) as client:
        error = await refused(client, "lock_issue", issue_number=1)
    assert len(person.asked) == 1
    assert error["code"] == "CONFIRMATION_REQUIRED"
    assert f"PUT {LOCK}" not in own.paths


@pytest.mark.parametrize("era", ERAS)
async def test_a_dry_run_gives_the_token_for_the_write(
    server: ServerProcess, own: Octo, era: str
) -> None:
    """For clients that can ask nobody: shown first, sent with the token, and only once."""
    async with connected(server, era) as client:
        error = await refused(client, "lock_issue", issue_number=1)
        plan = (await called(client, "lock_issue", issue_number=1, dry_run=True))["dry_run"]
        assert f"PUT {LOCK}" not in own.paths
        await called(client, "lock_issue", issue_number=1, confirm=plan["confirm"])
        again = await refused(client, "lock_issue", issue_number=1, confirm=plan["confirm"])
    assert error["code"] == "CONFIRMATION_REQUIRED"
    assert [request["method"] for request in plan["requests"]] == ["PUT"]
    assert again["code"] == "BAD_CONFIRMATION"
    assert own.paths.count(f"PUT {LOCK}") == 1


def failed_run(own: Octo) -> None:
    """Have a run whose only job failed, with its log."""
    run = {
        "id": 7,
        "name": "CI",
        "display_title": "Change things",
        "run_number": 42,
        "run_attempt": 1,
        "event": "push",
        "status": "completed",
        "conclusion": "failure",
        "head_branch": "main",
        "head_sha": SHA,
        "actor": {"login": "octo"},
        "repository": {"id": 1},
        "head_repository": {"id": 1},
        "pull_requests": [],
        "created_at": "2026-01-02T03:04:00Z",
        "updated_at": "2026-01-02T03:05:00Z",
        "html_url": "https://github.com/octo/hello/actions/runs/7",
    }
    job = {"id": 1, "run_id": 7, "name": "test", "status": "completed", "conclusion": "failure"}
    own.on("GET", f"{BASE}/actions/runs/7", reply(run))
    own.on("GET", f"{BASE}/actions/runs/7/jobs", reply({"total_count": 1, "jobs": [job]}))
    own.on("GET", f"{BASE}/actions/jobs/1/logs", moved(f"{own.url}/storage/1", 302))
    own.on("GET", "/storage/1", raw(b"2026-01-02T03:04:05Z ##[error]boom\n"))
    own.on("GET", f"{BASE}/check-runs/1/annotations", reply([]))


@pytest.mark.parametrize("era", ERAS)
async def test_a_failure_report_tells_how_far_it_is(
    server: ServerProcess, own: Octo, era: str
) -> None:
    """Reading logs takes its time."""
    failed_run(own)
    seen: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with connected(server, era) as client:
        arguments = {**REPO, "run_id": 7}
        result = await client.call_tool("failure_report", arguments, progress_callback=note)
    assert result.structured_content is not None
    assert "boom" in result.structured_content["jobs"][0]["log"]
    assert seen[0] == (0, 1, "1 jobs did not succeed")


@pytest.mark.parametrize("era", ERAS)
async def test_cancelled_calls_give_their_places_back(
    server: ServerProcess, own: Octo, era: str
) -> None:
    """As many calls as there are places wait for a GitHub that is silent; another is answered."""
    own.on("GET", f"{BASE}/issues/3", silence)
    async with connected(server, era) as client:
        await called(client, "issue_read", method="get", issue_number=1)
        before = len(own.asked)
        hanging = [
            asyncio.create_task(called(client, "issue_read", method="get", issue_number=3))
            for _ in range(WORKERS)
        ]
        await own.wait_for(before + WORKERS)
        for call in hanging:
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        began = time.monotonic()
        await called(client, "issue_read", method="get", issue_number=1)
        assert time.monotonic() - began < LIMIT_S
        async with httpx.AsyncClient(trust_env=False) as http:
            assert await running_calls(http, server) == 0


async def running_calls(http: httpx.AsyncClient, server: ServerProcess) -> int:
    """Return how many calls the server works on."""
    health = (await http.get(f"{server.url}/health")).json()
    return int(health["components"]["server"]["running_calls"])


@pytest.mark.parametrize("era", ERAS)
async def test_files_are_attached_and_prompts_filled_in(
    server: ServerProcess, own: Octo, era: str
) -> None:
    """What people choose rather than models."""
    content = base64.b64encode(b"print(1)\n").decode()
    file = {"type": "file", "path": "a.py", "size": 9, "encoding": "base64", "sha": SHA}
    own.on("GET", f"{BASE}/contents/a.py", reply({**file, "content": content}))
    async with connected(server, era) as client:
        templates = (await client.list_resource_templates()).resource_templates
        (attached,) = (await client.read_resource("repo://octo/hello/contents/a.py")).contents
        with pytest.raises(MCPError, match="gone"):
            await client.read_resource("repo://octo/hello/contents/gone.py")
        names = {prompt.name for prompt in (await client.list_prompts()).prompts}
        prompt = await client.get_prompt("triage_issue", {**REPO, "issue_number": "1"})
    assert "repo://{owner}/{repo}/contents/{+path}" in {t.uri_template for t in templates}
    assert getattr(attached, "text", None) == "print(1)\n"
    assert names == {"review_pull_request", "triage_issue", "why_did_ci_fail"}
    assert "Triage issue 1 of octo/hello." in getattr(prompt.messages[0].content, "text", "")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "variable"),
    [("merge_pull_request", "MCP_GITHUB_WRITE"), ("list_releases", "MCP_GITHUB_TOOLSETS")],
)
async def test_a_tool_that_is_switched_off_says_what_switches_it_on(
    server: ServerProcess, era: str, tool: str, variable: str
) -> None:
    """Called by its name, which models know from elsewhere."""
    async with connected(server, era) as client:
        assert tool not in {listed.name for listed in (await client.list_tools()).tools}
        with pytest.raises(MCPError, match=f"{tool} is switched off") as caught:
            await client.call_tool(tool, {})
    assert variable in json.dumps(caught.value.error.data)


@pytest.mark.parametrize("era", ERAS)
async def test_a_refusal_of_github_arrives_with_code_and_advice(
    server: ServerProcess, own: Octo, era: str
) -> None:
    """As an error of the tool, which models read."""
    own.on("GET", f"{BASE}/issues/1", refusal(404, "Not Found"))
    async with connected(server, era) as client:
        error = await refused(client, "issue_read", method="get", issue_number=1)
    assert error["code"] == "NOT_FOUND_OR_NO_ACCESS"
    assert error["hint"]
