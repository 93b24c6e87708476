"""Streamable HTTP of the three older revisions that have it: §5."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.wire.harness import BOTH, STREAMABLE, Wire

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}},
}
COUNT = {"name": "count", "arguments": {"steps": 3, "pause_ms": 0}, "_meta": {"progressToken": "t"}}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


# --- POST -------------------------------------------------------------------------------------


async def test_call_without_notifications_is_one_json_object(wire: Wire) -> None:
    """§5: JSON where the handler emits nothing."""
    session = await wire.session()
    answer = await session.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    assert answer.headers["content-type"] == "application/json"
    assert answer.result["structuredContent"] == {"total": 3}


@pytest.mark.parametrize("revision", STREAMABLE)
async def test_notifications_of_a_call_travel_on_its_own_stream(wire: Wire, revision: str) -> None:
    """§5: progress and logs, then the response, which ends the stream; nothing on the GET one."""
    session = await wire.session(revision)
    get = await session.listen().begun()
    answer = await session.ask("tools/call", COUNT)
    assert answer.is_stream
    methods = [m.get("method", "response") for m in answer.messages]
    assert methods[-1] == "response"
    assert set(methods[:-1]) == {"notifications/progress", "notifications/message"}
    assert get.messages == []


@pytest.mark.parametrize("accept", ["application/json", "application/json;q=0.9", "application/*"])
async def test_client_that_accepts_json_alone_gets_json(wire: Wire, accept: str) -> None:
    """Notifications are left out, the result is the same."""
    session = await wire.session()
    answer = await session.ask("tools/call", COUNT, accept=accept)
    assert answer.headers["content-type"] == "application/json"
    assert answer.result["structuredContent"] == {"steps": 3}


async def test_client_that_accepts_streams_alone_gets_a_stream(wire: Wire) -> None:
    """§5: also for a call that emits nothing."""
    session = await wire.session()
    call = {"name": "add", "arguments": {"a": 1, "b": 2}}
    answer = await session.ask("tools/call", call, accept="text/event-stream")
    assert answer.is_stream
    assert answer.result["structuredContent"] == {"total": 3}


@pytest.mark.parametrize("accept", ["*/*", None])
async def test_missing_accept_and_any_type_mean_both(wire: Wire, accept: str | None) -> None:
    """Curl sends `*/*`."""
    headers = {} if accept is None else {"accept": accept}
    answer = await wire.ask("POST", "/mcp", json_=INITIALIZE, headers=headers)
    assert answer.status == 200


@pytest.mark.parametrize("accept", ["text/html", "image/png, text/plain", "nonsense"])
async def test_accept_of_neither_is_refused(wire: Wire, accept: str) -> None:
    """§5: 406."""
    answer = await wire.ask("POST", "/mcp", json_=INITIALIZE, headers={"accept": accept})
    assert answer.status == 406


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "", "application/json; charset=latin-1"]
)
async def test_other_content_types_are_refused(wire: Wire, kind: str) -> None:
    """§5: 415; this also stops simple cross-site posts."""
    headers = {"accept": BOTH, "content-type": kind}
    answer = await wire.ask("POST", "/mcp", json_=INITIALIZE, headers=headers)
    assert answer.status == 415


async def test_stream_has_the_headers_that_proxies_need(wire: Wire) -> None:
    """§5: no cache, no transformation, no buffering."""
    session = await wire.session()
    answer = await session.ask("tools/call", COUNT)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"


async def test_dropped_connection_does_not_cancel(wire: Wire) -> None:
    """§5: the call goes on, and its answer can be fetched by resuming the stream."""
    session = await wire.session()
    record = wire.demo.record
    answer = session.start("tools/call", {"name": "pause", "arguments": {}})
    first = await answer.event()
    await answer.until(lambda a: a.ended)
    await asyncio.wait_for(record.running.wait(), 5)
    record.release.set()
    resumed = await session.listen(first.id).whole()
    assert resumed.result["structuredContent"] == {"text": "after the pause"}
    assert not record.cancelled.is_set()


async def test_client_that_leaves_a_held_call_does_not_cancel_it(wire: Wire) -> None:
    """§5: leaving is not cancelling, `notifications/cancelled` is."""
    session = await wire.session()
    record = wire.demo.record
    answer = session.start("tools/call", {"name": "hold", "arguments": {}})
    await asyncio.wait_for(record.running.wait(), 5)
    await answer.until(lambda a: a.status != 0)
    answer.leave()
    record.release.set()
    await answer.finished()
    assert not record.cancelled.is_set()


# --- sessions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", STREAMABLE)
async def test_initialize_sets_an_unguessable_printable_session_id(
    wire: Wire, revision: str
) -> None:
    """§5: characters 0x21 to 0x7E, at least 128 random bits, another one each time."""
    ids = {(await wire.session(revision)).id for _ in range(5)}
    assert len(ids) == 5
    for id_ in ids:
        assert len(id_) >= 22
        assert all(0x21 <= ord(character) <= 0x7E for character in id_)


async def test_missing_session_id_is_400(wire: Wire) -> None:
    """§5."""
    answer = await wire.ask("POST", "/mcp", json_=PING, headers={"accept": BOTH})
    assert answer.status == 400
    assert answer.error["code"] == -32600
    assert answer.response["id"] == 1


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("id_", ["unknown", "", "x" * 5000, "é", "a.b.c"])
async def test_unknown_session_id_is_404(wire: Wire, method: str, id_: str) -> None:
    """§5: 404 tells the client to begin anew."""
    more: dict[str, Any] = {"json_": PING} if method == "POST" else {}
    headers = {"accept": BOTH, "mcp-session-id": id_}
    answer = await wire.ask(method, "/mcp", headers=headers, **more)
    assert answer.status == 404
    assert answer.error["code"] == -32600


async def test_changed_session_id_is_404(wire: Wire) -> None:
    """§5: the id is sealed; no character of it can be changed."""
    session = await wire.session()
    for position in (0, len(session.id) // 2, len(session.id) - 1):
        other = "A" if session.id[position] != "A" else "B"
        session_id = session.id[:position] + other + session.id[position + 1 :]
        headers = {"accept": BOTH, "mcp-session-id": session_id}
        answer = await wire.ask("POST", "/mcp", json_=PING, headers=headers)
        assert answer.status == 404


async def test_session_id_with_another_ending_is_404(wire: Wire) -> None:
    """§5: one session has one spelling of its id, so that ending it ends all of it."""
    session = await wire.session()
    answers = []
    for ending in ("=", "==", "\n", ".", "A"):
        headers = {"accept": BOTH, "mcp-session-id": session.id + ending}
        answers.append(await wire.ask("POST", "/mcp", json_=PING, headers=headers))
    assert [answer.status for answer in answers] == [404] * 5


async def test_deleted_session_is_gone(wire: Wire) -> None:
    """§5: DELETE is answered with 200 or 204, every later use with 404."""
    session = await wire.session()
    listening = await session.listen().begun()
    answer = await wire.ask("DELETE", "/mcp", headers=session.headers())
    assert answer.status in (200, 204)
    await listening.whole()
    assert (await session.ask("ping")).status == 404
    assert (await session.listen().whole()).status == 404
    assert (await wire.ask("DELETE", "/mcp", headers=session.headers())).status == 404


async def test_session_of_another_principal_is_404() -> None:
    """§5: an id is never authentication; other keys do not find it."""
    seal = {"security": {"seal_key": "s" * 64}}
    async with Wire(settings={**seal, "auth": {"api_key": "k" * 32}}, key="k" * 32) as with_key:
        session = await with_key.session()
        assert (await session.ask("ping")).status == 200
    async with Wire(settings=seal) as without:
        headers = {"accept": BOTH, "mcp-session-id": session.id}
        assert (await without.ask("POST", "/mcp", json_=PING, headers=headers)).status == 404


async def test_session_goes_on_in_another_process() -> None:
    """Another server with the same key accepts the id, capabilities included."""
    async with Wire() as first:
        session = await first.session("2025-06-18", capabilities={"elicitation": {}})
    async with Wire() as second:
        session.wire = second
        answer = session.start("tools/call", {"name": "ask_name", "arguments": {}})
        question = await answer.message()
        assert question["method"] == "elicitation/create"
        accepted = {"action": "accept", "content": {"name": "Ada"}}
        await session.post({"jsonrpc": "2.0", "id": question["id"], "result": accepted})
        await answer.whole()
        assert answer.result["structuredContent"] == {"text": "Hello, Ada!"}


async def test_session_of_another_key_is_404() -> None:
    """§5: a server with another sealing key does not know it."""
    async with Wire() as first:
        session = await first.session()
    async with Wire(settings={"security": {"seal_key": "t" * 64}}) as second:
        session.wire = second
        assert (await session.ask("ping")).status == 404


async def test_expired_session_is_404() -> None:
    """§5: an id is accepted for its lifetime, also while it is in memory."""
    async with Wire(settings={"server": {"session_lifetime_s": 0.001}}) as wire:
        message = {**INITIALIZE}
        answer = await wire.ask("POST", "/mcp", json_=message, headers={"accept": BOTH})
        headers = {"accept": BOTH, "mcp-session-id": answer.headers["mcp-session-id"]}
        for _ in range(200):
            found = await wire.ask("POST", "/mcp", json_=PING, headers=headers)
            if found.status == 404:
                break
            await asyncio.sleep(0.02)
        assert found.status == 404


async def test_too_many_sessions_make_room_for_new_ones() -> None:
    """§5: a cap on what is in memory; a dropped session comes back from its id."""
    async with Wire(settings={"server": {"max_sessions": 3}}) as wire:
        sessions = [await wire.session() for _ in range(10)]
        for session in sessions:
            assert (await session.ask("ping")).result == {}


async def test_full_server_of_busy_sessions_is_503() -> None:
    """§5: sessions with an open stream are not dropped; the next one is told to wait."""
    async with Wire(settings={"server": {"max_sessions": 2}}) as wire:
        for _ in range(2):
            session = await wire.session()
            await session.listen().begun()
        answer = await wire.ask("POST", "/mcp", json_=INITIALIZE, headers={"accept": BOTH})
        assert answer.status == 503


async def test_requests_before_initialized_are_served(wire: Wire) -> None:
    """§5: some clients are quicker than their own notification."""
    opened = await wire.ask("POST", "/mcp", json_=INITIALIZE, headers={"accept": BOTH})
    headers = {"accept": BOTH, "mcp-session-id": opened.headers["mcp-session-id"]}
    answer = await wire.ask("POST", "/mcp", json_=PING, headers=headers)
    assert answer.result == {}


async def test_stateless_mode_gives_no_session() -> None:
    """§5: without sessions there is no id, GET and DELETE are 405, and calls stand alone."""
    async with Wire(settings={"server": {"sessions": False}}) as wire:
        session = await wire.session()
        assert session.id == ""
        call = {"name": "add", "arguments": {"a": 1, "b": 2}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        answer = await wire.ask("POST", "/mcp", json_=message, headers={"accept": BOTH})
        assert answer.result["content"]
        for method in ("GET", "DELETE"):
            assert (await wire.ask(method, "/mcp", headers={"accept": BOTH})).status == 405


# --- GET and resuming -------------------------------------------------------------------------


async def test_get_needs_a_client_that_reads_streams(wire: Wire) -> None:
    """§5: 406 otherwise."""
    session = await wire.session()
    headers = session.headers(accept="application/json")
    assert (await wire.ask("GET", "/mcp", headers=headers)).status == 406


async def test_second_get_stream_is_409(wire: Wire) -> None:
    """§5: one standalone stream a session; the first one goes on, and a later one may follow."""
    session = await wire.session()
    first = await session.listen().begun()
    assert (await session.listen().whole()).status == 409
    await session.call("change_lists")
    assert (await first.message())["method"].endswith("list_changed")
    first.leave()
    await first.finished()
    assert (await session.listen().begun()).status == 200


async def test_resuming_takes_the_standalone_stream_over(wire: Wire) -> None:
    """Our choice: a client that resumes knows that its old connection is dead, before we do."""
    session = await wire.session()
    first = await session.listen().begun()
    await session.call("change_lists")
    heard = await first.until(lambda a: len(a.messages) == 3)
    second = await session.listen(heard.events[-1].id).begun()
    assert second.status == 200
    await first.finished()
    await session.call("change_lists")
    assert (await second.message())["method"].endswith("list_changed")


@pytest.mark.parametrize("revision", STREAMABLE)
async def test_only_2025_11_25_streams_begin_with_a_priming_event(
    wire: Wire, revision: str
) -> None:
    """§5: an event with an id and empty data; older clients cannot parse it."""
    session = await wire.session(revision)
    answer = await session.ask("tools/call", COUNT)
    listening = await session.listen().begun()
    if revision == "2025-11-25":
        await listening.event()
    for stream in (answer, listening):
        primed = [event for event in stream.events if event.data == ""]
        assert len(primed) == (1 if revision == "2025-11-25" else 0)
        if primed:
            assert stream.events[0].id


@pytest.mark.parametrize("revision", STREAMABLE)
async def test_event_ids_are_unique_in_the_session_and_name_their_stream(
    wire: Wire, revision: str
) -> None:
    """§5: `<stream>.<number>`."""
    session = await wire.session(revision)
    answers = [await session.ask("tools/call", COUNT) for _ in range(3)]
    ids = [event.id for answer in answers for event in answer.events if event.comment is None]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    for answer in answers:
        assert len({str(event.id).split(".")[0] for event in answer.events}) == 1


async def test_resuming_replays_what_followed_and_nothing_else(wire: Wire) -> None:
    """§5: `Last-Event-ID` names an event of one stream; that stream alone is replayed, and ends."""
    session = await wire.session()
    one = await session.ask("tools/call", COUNT)
    await session.ask("tools/call", COUNT)
    for seen in range(len(one.events)):
        resumed = await session.listen(one.events[seen].id).whole()
        assert resumed.status == 200
        assert [e.raw for e in resumed.events] == [e.raw for e in one.events[seen + 1 :]]


async def test_resuming_a_running_call_goes_on_live(wire: Wire) -> None:
    """§5: replay first, then what comes, then the response ends it."""
    session = await wire.session()
    record = wire.demo.record
    answer = session.start("tools/call", {"name": "pause", "arguments": {}})
    await answer.until(lambda a: a.ended)
    assert answer.events[0].id
    assert answer.events[0].retry == "20"
    resumed = await session.listen(answer.events[0].id).begun()
    assert resumed.messages == []
    record.release.set()
    await resumed.whole()
    assert resumed.result["structuredContent"] == {"text": "after the pause"}


async def test_resuming_the_standalone_stream_replays_changes(wire: Wire) -> None:
    """§5: what was said while the client was away is on the stream when it comes back."""
    session = await wire.session()
    first = await session.listen().begun()
    await session.call("change_lists")
    seen = await first.until(lambda a: len(a.messages) == 3)
    ids = [event.id for event in seen.events if event.name == "message"]
    first.leave()
    await first.finished()
    second = await session.listen(ids[0]).begun()
    await second.until(lambda a: len(a.messages) == 2)
    assert [e.id for e in second.events] == ids[1:]


@pytest.mark.parametrize("last", ["p99.1", "nonsense", "p1.x", "g.99999", "", "é.1", "p1.²"])
async def test_unknown_event_id_is_harmless(wire: Wire, last: str) -> None:
    """§5: it names nothing, so nothing is replayed; never an error of the server."""
    session = await wire.session()
    answer = await session.listen(last).begun()
    assert answer.status == 200
    assert answer.messages == []


async def test_event_ids_of_another_session_find_nothing(wire: Wire) -> None:
    """§5: streams belong to their session."""
    mine, theirs = await wire.session(), await wire.session()
    secret = await mine.ask("tools/call", COUNT)
    assert secret.events[0].id
    answer = await theirs.listen(secret.events[0].id).begun()
    assert answer.messages == []


@pytest.mark.parametrize("revision", STREAMABLE)
async def test_quiet_stream_gets_comments(revision: str) -> None:
    """§5: `: ping`, so that proxies keep the connection."""
    async with Wire(settings={"server": {"keepalive_interval_s": 0.05}}) as wire:
        session = await wire.session(revision)
        listening = await session.listen().begun()
        await listening.until(lambda a: sum(e.comment == "ping" for e in a.events) >= 2)


async def test_list_changes_go_to_the_get_stream(wire: Wire) -> None:
    """§5 and §12: what belongs to no request travels on the standalone stream, once."""
    session = await wire.session()
    listening = await session.listen().begun()
    answer = await session.ask("tools/call", {"name": "change_lists", "arguments": {}})
    await listening.until(lambda a: len(a.messages) == 3)
    assert [m["method"] for m in listening.messages] == [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    ]
    assert not answer.is_stream


# --- other addresses --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/sse", "/sse/", "/"])
async def test_streamable_http_is_spoken_wherever_users_paste_it(wire: Wire, path: str) -> None:
    """POST on `/sse` and `/` too, both spellings, never a redirect."""
    opened = await wire.ask("POST", path, json_=INITIALIZE, headers={"accept": BOTH})
    assert opened.status == 200
    headers = {"accept": BOTH, "mcp-session-id": opened.headers["mcp-session-id"]}
    assert (await wire.ask("POST", path, json_=PING, headers=headers)).result == {}
    listening = await wire.start("GET", path, headers=headers).begun()
    assert listening.is_stream
    listening.leave()
    assert (await wire.ask("DELETE", path, headers=headers)).status in (200, 204)
