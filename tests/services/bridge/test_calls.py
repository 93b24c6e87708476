"""Calls through the bridge: right answers, time limits, crashes, and who shares a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.services.bridge.bridges import bridge, bridged
from tests.wire.harness import JSON, Answer, LegacySession, Wire

ASKABLE: JSON = {"elicitation": {}, "sampling": {}, "roots": {}}


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A bridge in front of the hostile server."""
    async with bridged() as made:
        yield made


async def call(wire: Wire, tool: str, headers: JSON | None = None, **arguments: Any) -> JSON:
    """Call a tool on `/rpc` and return its result."""
    params: JSON = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": wire.next_id(), "method": "tools/call", "params": params}
    return (await wire.ask("POST", "/rpc", json_=message, headers=headers or {})).result


def text_of(result: JSON) -> str:
    """Return the text of a result that is no error."""
    assert result["isError"] is False, result
    return str(result["content"][0]["text"])


def error_of(result: JSON) -> JSON:
    """Return the error that a model reads."""
    assert result["isError"] is True, result
    error: JSON = json.loads(result["content"][0]["text"])
    return error


async def until(wire: Wire, is_so: Callable[[JSON], bool]) -> None:
    """Wait until something is true of what `/stats` tells of the server."""
    async with asyncio.timeout(20):
        while not is_so((await wire.ask("GET", "/stats")).json["servers"]["bridge"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def who(session: LegacySession) -> str:
    """Return which process answers a session."""
    return text_of(await session.call("who"))


# --- answers -------------------------------------------------------------------------------------


async def test_many_sessions_at_once_each_get_their_own_answer(wire: Wire) -> None:
    """500 clients with the same ids behind one process: the ids that it sees are ours."""
    sessions = await asyncio.gather(*(wire.session() for _ in range(500)))

    async def echo(number: int, session: LegacySession) -> bool:
        params = {"name": "echo", "arguments": {"text": f"secret of {number}"}}
        answer = await session.ask("tools/call", params, id_=1)
        return text_of(answer.result) == f"secret of {number}"

    assert all(await asyncio.gather(*(echo(n, s) for n, s in enumerate(sessions))))


@pytest.mark.parametrize("habit", ["twice", "foreign_id", "garbage"])
async def test_what_a_server_says_amiss_reaches_nobody(wire: Wire, habit: str) -> None:
    """Second answers, answers to others' calls, lines that are none: everybody gets the own one."""
    arguments: JSON = {"text": "right"} if habit == "twice" else {}
    waiting = [asyncio.create_task(call(wire, "slow", seconds=0.3)) for _ in range(3)]
    bad = await call(wire, habit, **arguments)
    assert bad["isError"] is False
    assert not any(result["isError"] for result in await asyncio.gather(*waiting))
    assert text_of(await call(wire, "echo", text="after")) == "after"


async def test_large_answers_arrive_whole(wire: Wire) -> None:
    """8 MiB in one line."""
    assert len(text_of(await call(wire, "big", bytes=8 * 1024 * 1024))) >= 8_000_000


async def test_answer_beyond_the_limit_is_refused_and_the_server_lives_on() -> None:
    """One line may have so many bytes; what comes after it is read."""
    async with bridged(line_bytes=1024 * 1024) as wire:
        error = error_of(await call(wire, "big", bytes=2 * 1024 * 1024))
        assert error["code"] == "ANSWER_TOO_LARGE"
        assert text_of(await call(wire, "echo", text="after")) == "after"


async def test_unknown_tool_is_told_without_asking_the_server(wire: Wire) -> None:
    """As from every server of this suite, with the nearest name."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ecko"}}
    error = (await wire.ask("POST", "/rpc", json_=message)).error
    assert error["code"] == -32602
    assert "echo" in error["message"]


# --- time ----------------------------------------------------------------------------------------


async def test_call_that_takes_too_long_is_told_and_cancelled_in_the_server() -> None:
    """REQUEST_TIMEOUT reaches the model; the server hears notifications/cancelled."""
    async with bridged(request_timeout_s=0.5) as wire:
        error = error_of(await call(wire, "hang"))
        assert error["code"] == "REQUEST_TIMEOUT"
        assert error["retryable"] is True
        assert "X-MCP-Timeout" in error["hint"]
        assert len(json.loads(text_of(await call(wire, "cancelled")))) == 1


async def test_request_can_ask_for_its_own_time() -> None:
    """By header or by `_meta`, in seconds, more or less than the default."""
    async with bridged(request_timeout_s=0.5) as wire:
        assert text_of(await call(wire, "slow", {"x-mcp-timeout": "5"}, seconds=1))
        params: JSON = {"name": "slow", "arguments": {"seconds": 1}}
        params["_meta"] = {"mcp-bridge/timeout": 5}
        session = await wire.session()
        assert text_of((await session.ask("tools/call", params)).result)
        assert error_of(await call(wire, "slow", seconds=1))["code"] == "REQUEST_TIMEOUT"


@pytest.mark.parametrize("wrong", ["soon", "-1", "nan", "inf", "0"])
async def test_time_that_is_none_is_refused(wire: Wire, wrong: str) -> None:
    """With what to send instead."""
    error = error_of(await call(wire, "echo", {"x-mcp-timeout": wrong}, text="x"))
    assert error["code"] == "INVALID_ARGUMENTS"
    assert "seconds" in error["hint"]


async def test_progress_extends_the_time_and_reaches_the_client() -> None:
    """A call that shows signs of life may take longer than the limit."""
    async with bridged(request_timeout_s=0.6) as wire:
        session = await wire.session()
        params: JSON = {"name": "progress", "arguments": {"steps": 6, "seconds": 1.5}}
        params["_meta"] = {"progressToken": "mine"}
        answer = await session.ask("tools/call", params)
        assert text_of(answer.result)
        told = [m["params"] for m in answer.messages if m.get("method")]
        assert {each["progressToken"] for each in told} == {"mine"}
        assert [each["progress"] for each in told] == sorted(each["progress"] for each in told)


async def test_cancelled_call_is_cancelled_in_the_server(wire: Wire) -> None:
    """By notifications/cancelled of a session, and by leaving a request that stands alone."""
    session = await wire.session()
    started = session.start("tools/call", {"name": "hang"}, id_=77)
    leaving = wire.modern("tools/call", {"name": "hang", "arguments": {}})
    await until(wire, lambda server: server["queue"] == 2)
    await session.notify("notifications/cancelled", {"requestId": 77})
    leaving.leave()
    await asyncio.gather(started.finished(), leaving.finished())
    assert len(json.loads(text_of(await call(wire, "cancelled")))) == 2


# --- crashes -------------------------------------------------------------------------------------


async def test_crash_is_told_with_status_and_last_words_and_the_next_call_works(wire: Wire) -> None:
    """Every call that waited hears it; the server is started again."""
    assert text_of(await call(wire, "stderr", lines=1, bytes=20))
    waiting = [asyncio.create_task(call(wire, "slow", seconds=5)) for _ in range(5)]
    await asyncio.sleep(0.2)
    crashed = error_of(await call(wire, "crash", code=3))
    errors = [crashed, *map(error_of, await asyncio.gather(*waiting))]
    assert {error["code"] for error in errors} == {"SUBPROCESS_DIED"}
    assert {error["exit_code"] for error in errors} == {3}
    assert all(error["last_stderr"] for error in errors)
    assert text_of(await call(wire, "echo", text="again")) == "again"


async def test_server_that_does_not_start_is_told_to_everybody_plainly() -> None:
    """initialize, lists and calls say why; /health is degraded with the same words."""
    async with bridged(command=["/no/such/program"]) as wire:
        error = error_of(await call(wire, "anything"))
        assert error["code"] == "SUBPROCESS_NOT_STARTED"
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
        answer = await wire.ask("POST", "/mcp", json_=message, headers={"accept": "*/*"})
        assert "could not be started" in answer.error["message"]
        health = (await wire.ask("GET", "/health")).json
        assert health["status"] == "degraded"
        assert health["components"]["subprocess"]["status"] == "down"
        assert (await wire.ask("GET", "/ready")).status == 200
        assert (await wire.ask("GET", "/tools")).status == 424


async def test_rest_says_by_its_status_what_went_wrong(wire: Wire) -> None:
    """424 for a server that died, 408 for one that takes too long."""
    died = await wire.ask("POST", "/tools/crash", json_={"code": 1})
    assert (died.status, died.json["error"]["code"]) == (424, "SUBPROCESS_DIED")
    slow = await wire.ask("POST", "/tools/hang", json_={}, headers={"x-mcp-timeout": "0.3"})
    assert (slow.status, slow.json["error"]["code"]) == (408, "REQUEST_TIMEOUT")


# --- who shares a process ------------------------------------------------------------------------


async def test_clients_that_cannot_be_asked_share_a_process(wire: Wire) -> None:
    """Sessions, requests of 2026-07-28, `/rpc`: one process."""
    sessions = [await wire.session(revision) for revision in ("2025-03-26", "2025-11-25")]
    found = {await who(session) for session in sessions}
    found.add(text_of(await call(wire, "who")))
    modern = await wire.ask_modern("tools/call", {"name": "who", "arguments": {}})
    found.add(text_of(modern.result))
    assert len(found) == 1


async def test_client_that_can_be_asked_has_a_process_of_its_own(wire: Wire) -> None:
    """For the time of its session; it ends with the session."""
    first, second = [await wire.session(capabilities=ASKABLE) for _ in range(2)]
    shared = await wire.session()
    found = [await who(session) for session in (first, second, shared)]
    assert len(set(found)) == 3
    assert [await who(session) for session in (first, second, shared)] == found
    ended = await wire.ask("DELETE", "/mcp", headers=first.headers())
    assert ended.status == 200
    await until(wire, lambda server: found[0] not in {str(c["pid"]) for c in server["children"]})


@pytest.mark.parametrize(("isolation", "processes"), [("shared", 1), ("per-session", 3)])
async def test_operator_decides_who_shares(isolation: str, processes: int) -> None:
    """Whatever clients can be asked."""
    async with bridged(isolation=isolation) as wire:
        given: list[JSON] = [{}, {}, ASKABLE]
        sessions = [await wire.session(capabilities=each) for each in given]
        assert len({await who(session) for session in sessions}) == processes


async def test_session_id_is_taken_by_a_bridge_that_was_restarted(tmp_path: Any) -> None:
    """With another process behind it, and no new initialize."""
    async with Wire(bridge(str(tmp_path))) as wire:
        session = await wire.session()
        before = await who(session)
    async with Wire(bridge(str(tmp_path))) as wire:
        session.wire = wire
        assert await who(session) != before


async def test_vanished_clients_leave_no_process() -> None:
    """Their processes end after the idle time."""
    async with bridged(idle_timeout_s=0.5, start="lazy") as wire:
        sessions = [await wire.session(capabilities=ASKABLE) for _ in range(5)]
        assert len({await who(session) for session in sessions}) == 5

        await until(wire, lambda server: not server["children"])


async def test_statistics_count_calls_and_errors(wire: Wire) -> None:
    """Per tool, with codes and quantiles."""
    for _ in range(3):
        await call(wire, "echo", text="x")
    await call(wire, "crash", code=9)
    told: Answer = await wire.ask("GET", "/stats")
    server = told.json["servers"]["bridge"]
    assert server["tools"]["echo"]["calls"] == 3
    assert server["tools"]["crash"]["errors_by_code"] == {"SUBPROCESS_DIED": 1}
    assert server["tools"]["echo"]["p50_ms"] <= server["tools"]["echo"]["p95_ms"]
