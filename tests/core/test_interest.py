"""What a service learns of the resources that clients are subscribed to."""

from __future__ import annotations

from tests.wire.harness import Wire

ONE, TWO = "demo://item/1", "demo://item/2"


async def test_a_service_learns_what_is_subscribed_to() -> None:
    """So that it looks for changes of these only, and stops when nobody wants them."""
    async with Wire() as wire:
        seen: list[frozenset[str]] = []
        wire.server.on_interest(seen.append)
        session = await wire.session()
        await session.ask("resources/subscribe", {"uri": ONE})
        assert seen[-1] == {ONE}
        wanted = {"notifications": {"resourceSubscriptions": [TWO]}}
        stream = await wire.modern("subscriptions/listen", wanted).begun()
        await stream.message()
        assert seen[-1] == {ONE, TWO}
        await session.ask("resources/unsubscribe", {"uri": ONE})
        assert seen[-1] == {TWO}
        stream.leave()
        await stream.finished()
        assert seen[-1] == frozenset()
