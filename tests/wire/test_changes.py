"""Change notifications of both eras: §12."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.harness import Answer, Wire

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
RESOURCES = "notifications/resources/list_changed"
UPDATED = "notifications/resources/updated"
ONE = "demo://item/1"


async def listen(wire: Wire, wanted: Any, **more: Any) -> Answer:
    """Open a listen stream and wait for its head."""
    answer = wire.modern("subscriptions/listen", {"notifications": wanted}, **more)
    return await answer.begun()


# --- subscriptions/listen ---------------------------------------------------------------------


@pytest.mark.parametrize("id_", [7, "seven"])
async def test_first_frame_acknowledges_what_is_honoured(wire: Wire, id_: Any) -> None:
    """§12: with the id of the request, of its own type, as subscription id."""
    answer = await listen(wire, {**ALL, "resourceSubscriptions": [ONE]}, id_=id_)
    assert answer.is_stream
    first = await answer.message()
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"]["notifications"] == {**ALL, "resourceSubscriptions": [ONE]}
    assert first["params"]["_meta"][SUBSCRIPTION] == id_
    assert type(first["params"]["_meta"][SUBSCRIPTION]) is type(id_)


async def test_unknown_and_false_kinds_are_left_out(wire: Wire) -> None:
    """§12: the honoured subset."""
    wanted = {"toolsListChanged": True, "promptsListChanged": False, "taskIds": ["t"], "new": 1}
    first = await (await listen(wire, wanted)).message()
    assert first["params"]["notifications"] == {"toolsListChanged": True}


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        [],
        "all",
        {"toolsListChanged": "yes"},
        {"toolsListChanged": 1},
        {"resourceSubscriptions": ONE},
        {"resourceSubscriptions": [1]},
        {"resourceSubscriptions": [f"demo://{n}" for n in range(2000)]},
    ],
)
async def test_wrong_wish_is_refused_before_a_stream_begins(wire: Wire, wanted: Any) -> None:
    """§12: -32602."""
    params = {} if wanted is None else {"notifications": wanted}
    answer = await wire.ask_modern("subscriptions/listen", params)
    assert answer.status == 400
    assert answer.error["code"] == -32602


async def test_listen_stream_hears_what_it_named_and_nothing_else(wire: Wire) -> None:
    """§12: every frame carries the subscription id."""
    tools = await listen(wire, {"toolsListChanged": True}, id_="tools")
    items = await listen(wire, {"resourceSubscriptions": [ONE]}, id_="items")
    await wire.ask_modern("tools/call", {"name": "change_lists", "arguments": {}})
    for uri in (ONE, "demo://item/2"):
        await wire.ask_modern("tools/call", {"name": "touch", "arguments": {"uri": uri}})
    wire.server.tools_changed()
    await tools.until(lambda a: len(a.messages) == 3)
    await items.until(lambda a: len(a.messages) == 2)
    assert [m["method"] for m in tools.messages[1:]] == [TOOLS, TOOLS]
    assert [m["method"] for m in items.messages[1:]] == [UPDATED]
    assert items.messages[1]["params"]["uri"] == ONE
    for answer, id_ in ((tools, "tools"), (items, "items")):
        assert all(m["params"]["_meta"][SUBSCRIPTION] == id_ for m in answer.messages)


async def test_client_that_leaves_is_forgotten(wire: Wire) -> None:
    """§12: and changes after that are no error."""
    answer = await listen(wire, ALL)
    await answer.message()
    answer.leave()
    await answer.finished()
    wire.server.tools_changed()
    assert (await wire.ask_modern("server/discover")).status == 200


async def test_server_ends_a_listen_stream_with_its_result(wire: Wire) -> None:
    """§12: the final response names the subscription; then the stream closes."""
    answer = await listen(wire, ALL, id_="bye")
    await answer.message()
    wire.server.close_streams()
    await answer.whole()
    assert answer.response["id"] == "bye"
    assert answer.result["resultType"] == "complete"
    assert answer.result["_meta"][SUBSCRIPTION] == "bye"


async def test_quiet_listen_stream_gets_comments() -> None:
    """§12: every 15 s, shorter here."""
    async with Wire(settings={"server": {"keepalive_interval_s": 0.05}}) as wire:
        answer = await listen(wire, ALL)
        await answer.until(lambda a: sum(e.comment == "ping" for e in a.events) >= 2)
        assert all(event.id is None for event in answer.events)


async def test_too_many_listen_streams_are_refused_before_the_acknowledgement() -> None:
    """§12: a cap on streams."""
    async with Wire(settings={"server": {"max_streams": 1}}) as wire:
        await listen(wire, ALL)
        answer = await wire.ask_modern("subscriptions/listen", {"notifications": ALL})
        assert answer.status == 503
        assert answer.error["code"] == -32603


async def test_listen_needs_a_client_that_reads_streams(wire: Wire) -> None:
    """§12: always an event stream, so `Accept: application/json` alone is 406."""
    answer = await wire.ask_modern(
        "subscriptions/listen", {"notifications": ALL}, accept="application/json"
    )
    assert answer.status == 406


# --- the older revisions ----------------------------------------------------------------------


async def test_session_hears_the_resources_it_subscribed_to(wire: Wire) -> None:
    """§12: until it unsubscribes; on its GET stream."""
    session = await wire.session()
    listening = await session.listen().begun()
    assert (await session.ask("resources/subscribe", {"uri": ONE})).result == {}
    for uri in ("demo://item/2", ONE):
        await session.call("touch", uri=uri)
    await listening.until(lambda a: len(a.messages) == 1)
    assert listening.messages[0]["method"] == UPDATED
    assert listening.messages[0]["params"] == {"uri": ONE}
    assert (await session.ask("resources/unsubscribe", {"uri": ONE})).result == {}
    await session.call("touch", uri=ONE)
    wire.server.tools_changed()
    await listening.until(lambda a: len(a.messages) == 2)
    assert listening.messages[1]["method"] == TOOLS


async def test_subscription_is_of_one_session(wire: Wire) -> None:
    """§12."""
    mine, theirs = await wire.session(), await wire.session()
    my_stream, their_stream = await mine.listen().begun(), await theirs.listen().begun()
    await mine.ask("resources/subscribe", {"uri": ONE})
    wire.server.resource_updated(ONE)
    wire.server.prompts_changed()
    await my_stream.until(lambda a: len(a.messages) == 2)
    await their_stream.until(lambda a: len(a.messages) == 1)
    assert [m["method"] for m in my_stream.messages] == [UPDATED, PROMPTS]
    assert [m["method"] for m in their_stream.messages] == [PROMPTS]


async def test_unsubscribing_from_nothing_is_no_error(wire: Wire) -> None:
    """§12: an empty result."""
    session = await wire.session()
    assert (await session.ask("resources/unsubscribe", {"uri": ONE})).result == {}


async def test_changes_are_told_on_both_transports_and_in_both_eras(wire: Wire) -> None:
    """§12: one publisher, three kinds of streams."""
    session = await wire.session()
    streams = [
        await session.listen().begun(),
        (await wire.old_stream()).stream,
        await listen(wire, ALL),
    ]
    wire.server.resources_changed()
    for stream in streams:
        await stream.until(lambda a: any(m.get("method") == RESOURCES for m in a.messages))


async def test_subscriptions_in_a_session_are_limited(wire: Wire) -> None:
    """§15: a limit on what one client may make the server remember."""
    session = await wire.session()
    for number in range(1000):
        await session.ask("resources/subscribe", {"uri": f"demo://item/{number}"})
    answer = await session.ask("resources/subscribe", {"uri": "demo://item/1001"})
    assert answer.error["code"] == -32602
