"""What servers tell by themselves reaches those whom it is for, once, and nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.services.bridge.bridges import bridged
from tests.services.bridge.talkative import COMMAND
from tests.wire.harness import JSON, Answer, LegacySession, Wire

ASKABLE: JSON = {"elicitation": {}, "roots": {}}
URI = "test://thing"
UPDATED = "notifications/resources/updated"
TOOLS_CHANGED = "notifications/tools/list_changed"
EVERYBODY = pytest.mark.parametrize("capabilities", [{}, {"elicitation": {}}], ids=["plain", "own"])


async def call(session: LegacySession, tool: str, **arguments: Any) -> str:
    """Call a tool and return its text."""
    result = await session.call(tool, **arguments)
    assert result["isError"] is False, result
    return str(result["content"][0]["text"])


def heard(stream: Answer, method: str) -> list[JSON]:
    """Return what a stream has told of a kind so far."""
    return [each.get("params", {}) for each in stream.messages if each.get("method") == method]


async def until(is_so: Callable[[], Any], limit_s: float = 10.0) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - what is looked at is another task's answer
            await asyncio.sleep(0.02)


async def listening(wire: Wire, **more: Any) -> tuple[LegacySession, Answer]:
    """Return a new session and its standalone stream."""
    session = await wire.session(**more)
    return session, await session.listen().begun()


async def crash(session: LegacySession) -> None:
    """End the process that a session's calls reach."""
    assert (await session.call("crash"))["isError"] is True


# --- resources -----------------------------------------------------------------------------------


@EVERYBODY
async def test_update_comes_once_to_who_is_subscribed(capabilities: JSON) -> None:
    """Not twice where the session has a process of its own, and not after unsubscribing."""
    async with bridged(command=COMMAND) as wire:
        session, stream = await listening(wire, capabilities=capabilities)
        other, silent = await listening(wire, capabilities=capabilities)
        await session.ask("resources/subscribe", {"uri": URI})
        assert json.loads(await call(session, "subs")) == [URI]
        await call(session, "update", uri=URI)
        await until(lambda: heard(stream, UPDATED))
        await session.ask("resources/unsubscribe", {"uri": URI})
        await call(session, "update", uri=URI)
        await call(other, "who")
        await asyncio.sleep(0.3)
        assert heard(stream, UPDATED) == [{"uri": URI}]
        assert heard(silent, UPDATED) == []


@EVERYBODY
async def test_subscription_and_log_level_outlive_a_crash(capabilities: JSON) -> None:
    """The process that takes the place of one that died is told what that one was told."""
    async with bridged(command=COMMAND) as wire:
        session, stream = await listening(wire, capabilities=capabilities)
        await session.ask("logging/setLevel", {"level": "error"})
        await session.ask("resources/subscribe", {"uri": URI})
        before = await call(session, "who")
        await crash(session)
        other = await wire.session(capabilities=capabilities)
        reader = session if capabilities else other
        async with asyncio.timeout(10):
            while await call(reader, "subs") != json.dumps([URI]):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        assert await call(session, "who") != before
        assert await call(session, "level") == "error"
        await call(session, "update", uri=URI)
        await until(lambda: heard(stream, UPDATED))


@EVERYBODY
async def test_subscription_that_the_server_refuses_is_refused(capabilities: JSON) -> None:
    """With its words."""
    async with bridged(command=COMMAND) as wire:
        session = await wire.session(capabilities=capabilities)
        answer = await session.ask("resources/subscribe", {"uri": "no:thing"})
        assert answer.error["message"] == "There is nothing to hear of it."


async def test_listen_stream_hears_of_the_shared_process() -> None:
    """2026-07-28: what was named, until it ends."""
    async with bridged(command=COMMAND) as wire:
        wanted = {"notifications": {"resourceSubscriptions": [URI], "toolsListChanged": True}}
        stream = await wire.modern("subscriptions/listen", wanted).begun()
        session = await wire.session()
        async with asyncio.timeout(10):
            while await call(session, "subs") != json.dumps([URI]):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        await call(session, "update", uri=URI)
        await until(lambda: heard(stream, UPDATED))
        await call(session, "add", name="later")
        await until(lambda: heard(stream, TOOLS_CHANGED))


# --- lists ---------------------------------------------------------------------------------------


async def test_tool_that_a_shared_process_adds_is_everybodys() -> None:
    """Listed, called, and told once."""
    async with bridged(command=COMMAND) as wire:
        session, stream = await listening(wire)
        other, second = await listening(wire)
        await call(session, "add", name="later")
        await until(lambda: heard(stream, TOOLS_CHANGED) and heard(second, TOOLS_CHANGED))
        names = [tool["name"] for tool in (await other.ask("tools/list")).result["tools"]]
        assert "later" in names
        assert await call(other, "later") == "I am later"
        assert len(heard(stream, TOOLS_CHANGED)) == 1


async def test_tool_that_a_sessions_own_process_adds_is_its_own() -> None:
    """Nobody else is told, lists it or can call it."""
    async with bridged(command=COMMAND) as wire:
        session, stream = await listening(wire, capabilities={"elicitation": {}})
        other, silent = await listening(wire, capabilities={"elicitation": {}})
        await call(other, "who")
        await call(session, "add", name="mine")
        await until(lambda: heard(stream, TOOLS_CHANGED))
        assert await call(session, "mine") == "I am mine"
        assert (await other.ask("tools/call", {"name": "mine"})).error["code"] == -32602
        assert heard(silent, TOOLS_CHANGED) == []


async def test_lone_request_whose_process_tells_of_no_change_tells_nobody() -> None:
    """A fresh process may say that its lists have changed while it registers them."""
    async with bridged(command=COMMAND) as wire:
        _, stream = await listening(wire)
        params: JSON = {"name": "changed", "arguments": {}}
        answer = await wire.ask_modern("tools/call", params, capabilities={"elicitation": {}})
        assert answer.result["isError"] is False
        await asyncio.sleep(0.5)
        assert heard(stream, TOOLS_CHANGED) == []


# --- log messages --------------------------------------------------------------------------------


@EVERYBODY
async def test_log_message_reaches_the_only_call_that_runs(capabilities: JSON) -> None:
    """On its stream."""
    async with bridged(command=COMMAND) as wire:
        session = await wire.session(capabilities=capabilities)
        params = {"name": "log", "arguments": {"text": "working"}}
        answer = await session.ask("tools/call", params)
        assert [each["data"] for each in heard(answer, "notifications/message")] == ["working"]


# --- roots ---------------------------------------------------------------------------------------


async def test_changed_roots_are_known_before_the_next_call() -> None:
    """The client says that they changed, the server asks, and then comes the call."""
    async with bridged(command=COMMAND) as wire:
        session, stream = await listening(wire, capabilities=ASKABLE)
        roots = {"roots": [{"uri": "file:///first"}]}

        async def answer_questions() -> None:
            while True:
                question = await stream.message()
                if question.get("method") == "roots/list":
                    await session.post({"jsonrpc": "2.0", "id": question["id"], "result": roots})

        answering = asyncio.create_task(answer_questions())
        try:
            for place in ("file:///first", "file:///second"):
                roots["roots"] = [{"uri": place}]
                await session.notify("notifications/roots/list_changed")
                started = session.start("tools/call", {"name": "roots", "arguments": {}})
                await _answer_on(started, session, roots)
                assert place in str((await started.whole()).result)
        finally:
            answering.cancel()


async def _answer_on(started: Answer, session: LegacySession, result: JSON) -> None:
    """Answer a question that may come on a call's stream; it may come on the session's, too."""
    await started.until(lambda answer: bool(answer.messages) or answer.ended)
    question = started.messages[0]
    if question.get("method") == "roots/list":
        await session.post({"jsonrpc": "2.0", "id": question["id"], "result": result})


# --- one owner, several sessions -----------------------------------------------------------------


async def test_sessions_of_one_owner_share_a_process_and_no_questions() -> None:
    """`per-key`: each is asked its own, one after the other, whoever came first or has left."""
    async with bridged(command=COMMAND, isolation="per-key") as wire:
        first = await wire.session(capabilities={"elicitation": {}})
        second = await wire.session(capabilities={"elicitation": {}})
        assert await call(first, "who") == await call(second, "who")
        for session, name in ((second, "ben"), (first, "ann"), (second, "ben")):
            params: JSON = {"name": "ask", "arguments": {"message": f"for {name}"}}
            started = session.start("tools/call", params)
            question = await started.message()
            assert question["params"]["message"] == f"for {name}"
            answer = {"action": "accept", "content": {"name": name}}
            await session.post({"jsonrpc": "2.0", "id": question["id"], "result": answer})
            assert name in str((await started.whole()).result)
        await wire.ask("DELETE", "/mcp", headers=first.headers())
        started = second.start("tools/call", {"name": "ask", "arguments": {"message": "still"}})
        question = await started.message()
        assert question["params"]["message"] == "still"
        declined = {"action": "decline"}
        await second.post({"jsonrpc": "2.0", "id": question["id"], "result": declined})
        assert "decline" in str((await started.whole()).result)


# --- questions that are withdrawn, and those that come before a call -----------------------------


@pytest.mark.parametrize("isolation", ["auto", "per-key"])
async def test_question_that_the_server_withdraws_is_withdrawn_from_the_client(
    isolation: str,
) -> None:
    """notifications/cancelled under the client's own id, on the stream where it was asked."""
    async with bridged(command=COMMAND, isolation=isolation) as wire:
        session = await wire.session(capabilities={"elicitation": {}})
        started = session.start("tools/call", {"name": "ask_in_vain", "arguments": {}})
        question = await started.message()
        assert question["method"] == "elicitation/create"
        await started.whole()
        withdrawn = heard(started, "notifications/cancelled")
        assert [each["requestId"] for each in withdrawn] == [question["id"]]


async def test_client_of_2026_07_28_is_asked_for_its_roots_before_its_first_call() -> None:
    """A server that wants them right after it was opened, whose lists were read meanwhile."""
    async with bridged(command=COMMAND) as wire:
        params: JSON = {"name": "roots", "arguments": {}}
        asked = await wire.ask_modern("tools/call", params, capabilities={"roots": {}})
        assert asked.result["resultType"] == "input_required", asked.result
        ((key, question),) = asked.result["inputRequests"].items()
        assert question["method"] == "roots/list"
        more: JSON = {
            "inputResponses": {key: {"roots": [{"uri": "file:///mine"}]}},
            "requestState": asked.result["requestState"],
        }
        done = await wire.ask_modern("tools/call", {**params, **more}, capabilities={"roots": {}})
        assert "file:///mine" in str(done.result["content"])
