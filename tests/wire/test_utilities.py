"""Pagination, progress, cancellation, logging and completion: §10."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.protocol.revisions import META_LOG_LEVEL
from tests.servers.demo import ITEMS
from tests.wire.harness import JSON, STREAMABLE, Answer, Wire

LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


def of_method(answer: Answer, method: str) -> list[JSON]:
    """Return the parameters of an answer's notifications of one method."""
    return [m["params"] for m in answer.messages if m.get("method") == method]


# --- pagination -------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [*STREAMABLE, "2026-07-28"])
async def test_pages_hold_everything_once(wire: Wire, revision: str) -> None:
    """§10: `nextCursor` until it is absent."""
    session = None if revision == "2026-07-28" else await wire.session(revision)
    uris: list[str] = []
    params: JSON = {}
    while True:
        if session is None:
            page = (await wire.ask_modern("resources/list", params)).result
        else:
            page = (await session.ask("resources/list", params)).result
        uris += [resource["uri"] for resource in page["resources"]]
        if "nextCursor" not in page:
            break
        params = {"cursor": page["nextCursor"]}
    assert len(uris) == len(set(uris)) == ITEMS + 3


async def test_cursor_belongs_to_its_list(wire: Wire) -> None:
    """§10: sealed with its purpose; anything else is -32602."""
    session = await wire.session()
    cursor = (await session.ask("resources/list")).result["nextCursor"]
    changed = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    wrong: list[tuple[str, Any]] = [
        ("tools/list", cursor),
        ("prompts/list", cursor),
        ("resources/list", changed),
        ("resources/list", cursor + "A"),
        ("resources/list", "200"),
        ("resources/list", ""),
        ("resources/list", 200),
        ("resources/list", ["x"]),
        ("resources/list", session.id),
    ]
    for method, value in wrong:
        answer = await session.ask(method, {"cursor": value})
        assert answer.error["code"] == -32602, (method, value)


# --- progress ---------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["t", 0, 7, -1, ""])
async def test_progress_carries_the_token_and_increases(wire: Wire, token: str | int) -> None:
    """§10: strictly, and nothing after the response."""
    session = await wire.session()
    params = {"name": "count", "arguments": {"steps": 4, "pause_ms": 30}}
    answer = await session.ask("tools/call", {**params, "_meta": {"progressToken": token}})
    told = of_method(answer, "notifications/progress")
    assert [step["progress"] for step in told] == [1, 2, 3, 4]
    assert all(step["progressToken"] == token for step in told)
    assert all(step["total"] == 4 for step in told)
    assert "result" in answer.messages[-1]


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"progressToken": None},
        {"progressToken": 1.5},
        {"progressToken": True},
        {"progressToken": {}},
    ],
)
async def test_no_token_no_progress(wire: Wire, meta: JSON) -> None:
    """§10: only when the client asked, with a string or an integer."""
    session = await wire.session()
    params = {"name": "count", "arguments": {"pause_ms": 0}, "_meta": meta}
    answer = await session.ask("tools/call", params)
    assert of_method(answer, "notifications/progress") == []


async def test_progress_is_rate_limited(wire: Wire) -> None:
    """§10: a tool that reports each of a thousand steps sends few, and always the last."""
    session = await wire.session()
    params = {"name": "count", "arguments": {"steps": 300, "pause_ms": 0, "level": "debug"}}
    answer = await session.ask("tools/call", {**params, "_meta": {"progressToken": "t"}})
    told = [step["progress"] for step in of_method(answer, "notifications/progress")]
    assert len(told) < 100
    assert told[-1] == 300
    assert told == sorted(set(told))


async def test_progress_message_came_with_2025_03_26(wire: Wire) -> None:
    """§10."""
    stream = await wire.old_stream("2024-11-05")
    params = {"name": "count", "arguments": {"pause_ms": 0, "steps": 1}}
    await stream.request("tools/call", {**params, "_meta": {"progressToken": "t"}})
    told = of_method(stream.stream, "notifications/progress")
    assert told
    assert all("message" not in step for step in told)


# --- cancellation -----------------------------------------------------------------------------


@pytest.mark.parametrize("id_", ["a", 7])
async def test_cancelled_request_stops_and_has_no_result(wire: Wire, id_: str | int) -> None:
    """§10: `notifications/cancelled` with the id of the request, of its own type."""
    session = await wire.session()
    record = wire.demo.record
    answer = session.start("tools/call", {"name": "hold", "arguments": {}}, id_=id_)
    await asyncio.wait_for(record.running.wait(), 5)
    other: str | int = str(id_) if isinstance(id_, int) else 7
    await session.notify("notifications/cancelled", {"requestId": other})
    assert not record.cancelled.is_set()
    noted = await session.notify("notifications/cancelled", {"requestId": id_, "reason": "enough"})
    assert noted.status == 202
    await asyncio.wait_for(record.cancelled.wait(), 5)
    await answer.whole()
    assert "result" not in (answer.json if not answer.is_stream else {})


async def test_ending_the_session_stops_its_calls(wire: Wire) -> None:
    """§5: also one whose client has dropped the connection; nobody can fetch its answer."""
    session = await wire.session()
    record = wire.demo.record
    answer = session.start("tools/call", {"name": "hold", "arguments": {}})
    await asyncio.wait_for(record.running.wait(), 5)
    answer.leave()
    assert (await wire.ask("DELETE", "/mcp", headers=session.headers())).status == 200
    await asyncio.wait_for(record.cancelled.wait(), 5)


async def test_cancelled_stream_just_ends(wire: Wire) -> None:
    """§10: a request that has begun its stream gets no response on it."""
    session = await wire.session()
    params = {"name": "count", "arguments": {"steps": 1000, "pause_ms": 10_000}}
    answer = session.start("tools/call", params, id_="c")
    await answer.message()
    await session.notify("notifications/cancelled", {"requestId": "c"})
    await answer.whole()
    assert all("id" not in message for message in answer.messages)


@pytest.mark.parametrize(
    "params", [{}, {"requestId": "none"}, {"requestId": None}, {"requestId": [1]}]
)
async def test_cancel_of_nothing_is_ignored(wire: Wire, params: JSON) -> None:
    """§10: unknown ids are ignored."""
    session = await wire.session()
    assert (await session.notify("notifications/cancelled", params)).status == 202


async def test_cancel_reaches_requests_of_its_own_session_only(wire: Wire) -> None:
    """§10: ids are per session; another client's equal id is untouched."""
    mine, theirs = await wire.session(), await wire.session()
    record = wire.demo.record
    answer = mine.start("tools/call", {"name": "hold", "arguments": {}}, id_=1)
    await asyncio.wait_for(record.running.wait(), 5)
    await theirs.notify("notifications/cancelled", {"requestId": 1})
    record.release.set()
    await answer.whole()
    assert answer.result["structuredContent"] == {"text": "released"}


async def test_equal_ids_of_two_sessions_do_not_mix(wire: Wire) -> None:
    """Six users with id 1 once got each other's answers elsewhere."""
    sessions = [await wire.session() for _ in range(6)]
    answers = [
        session.start("tools/call", {"name": "echo", "arguments": {"text": f"user {n}"}}, id_=1)
        for n, session in enumerate(sessions)
    ]
    for n, answer in enumerate(answers):
        await answer.whole()
        assert answer.result["structuredContent"] == {"text": f"user {n}"}


# --- logging ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", LEVELS)
async def test_session_hears_its_level_and_above(wire: Wire, wanted: str) -> None:
    """§10: `logging/setLevel` for the session; its result is exactly `{}`."""
    session = await wire.session()
    assert (await session.ask("logging/setLevel", {"level": wanted})).result == {}
    for level in LEVELS:
        arguments = {"steps": 1, "pause_ms": 0, "level": level}
        answer = await session.ask("tools/call", {"name": "count", "arguments": arguments})
        heard = of_method(answer, "notifications/message") if answer.is_stream else []
        assert len(heard) == (LEVELS.index(level) >= LEVELS.index(wanted))
        assert all(message["level"] == level for message in heard)


async def test_level_is_of_one_session(wire: Wire) -> None:
    """§10."""
    quiet, loud = await wire.session(), await wire.session()
    await quiet.ask("logging/setLevel", {"level": "emergency"})
    params = {"name": "count", "arguments": {"pause_ms": 0}}
    assert not (await quiet.ask("tools/call", params)).is_stream
    assert (await loud.ask("tools/call", params)).is_stream


@pytest.mark.parametrize(("asked", "heard"), [(None, 0), ("debug", 3), ("info", 3), ("error", 0)])
async def test_modern_request_hears_logs_only_if_it_asks(
    wire: Wire, asked: str | None, heard: int
) -> None:
    """§10: `logLevel` in the request's own `_meta`."""
    answer = await wire.ask_modern(
        "tools/call",
        {"name": "count", "arguments": {"pause_ms": 0}},
        meta={META_LOG_LEVEL: asked},
    )
    logs = of_method(answer, "notifications/message") if answer.is_stream else []
    assert len(logs) == heard


@pytest.mark.parametrize("method", ["ping", "logging/setLevel", "resources/subscribe"])
async def test_empty_results_are_exactly_empty(wire: Wire, method: str) -> None:
    """§7: the conformance suite compares with `{}`."""
    session = await wire.session()
    params = {"level": "debug", "uri": "demo://item/1"}
    assert (await session.ask(method, params)).result == {}


# --- completion -------------------------------------------------------------------------------


async def test_completion_of_prompt_arguments(wire: Wire) -> None:
    """§10: values for what is typed so far; other arguments may narrow them (2025-06-18)."""
    session = await wire.session()
    ref = {"type": "ref/prompt", "name": "explain"}
    argument = {"name": "language", "value": "E"}
    completed = await session.ask("completion/complete", {"ref": ref, "argument": argument})
    assert completed.result["completion"]["values"] == ["English", "Esperanto"]
    narrowed = await session.ask(
        "completion/complete",
        {
            "ref": ref,
            "argument": {"name": "language", "value": ""},
            "context": {"arguments": {"topic": "Rome"}},
        },
    )
    assert narrowed.result["completion"]["values"] == ["Latin"]


async def test_completion_has_at_most_100_values(wire: Wire) -> None:
    """§9: with the total, and that there are more."""
    answer = await wire.ask_modern(
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "demo://book/{book}/{number}"},
            "argument": {"name": "book", "value": "m"},
        },
    )
    completion = answer.result["completion"]
    assert len(completion["values"]) == 100
    assert completion["total"] == 150
    assert completion["hasMore"] is True


@pytest.mark.parametrize(
    ("ref", "argument"),
    [
        ({"type": "ref/prompt", "name": "none"}, {"name": "x", "value": ""}),
        ({"type": "ref/resource", "uri": "demo://none"}, {"name": "x", "value": ""}),
        ({"type": "ref/resource", "uri": ["demo://none"]}, {"name": "x", "value": ""}),
        ({"type": "ref/resource", "uri": {}}, {"name": "x", "value": ""}),
        ({"type": "ref/other"}, {"name": "x", "value": ""}),
        ("ref/prompt", {"name": "x", "value": ""}),
        ({"type": "ref/prompt", "name": "explain"}, {"name": 7, "value": ""}),
        ({"type": "ref/prompt", "name": "explain"}, {"name": "language", "value": 7}),
        ({"type": "ref/prompt", "name": "explain"}, "language"),
    ],
)
async def test_completion_of_something_else_is_invalid(wire: Wire, ref: Any, argument: Any) -> None:
    """§10: -32602."""
    session = await wire.session()
    answer = await session.ask("completion/complete", {"ref": ref, "argument": argument})
    assert answer.error["code"] == -32602


async def test_argument_without_completions_has_none(wire: Wire) -> None:
    """§10: an empty list, not an error."""
    session = await wire.session()
    for ref in (
        {"type": "ref/prompt", "name": "explain"},
        {"type": "ref/resource", "uri": "demo://item/1"},
    ):
        argument = {"name": "topic", "value": ""}
        answer = await session.ask("completion/complete", {"ref": ref, "argument": argument})
        assert answer.result["completion"]["values"] == []
