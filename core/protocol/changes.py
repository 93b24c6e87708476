"""Change notifications: from whoever changed something to whoever wants to know.

Both eras subscribe the same way: a legacy session hears every list change and the resources it
subscribed to; a `subscriptions/listen` stream hears what it named, with its subscription id on each
message. Changes go through the backplane, so that a change on one replica is told by all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.backplane import Backplane, Message
from core.context import notification

CHANNEL = "changes"
TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
RESOURCES = "notifications/resources/list_changed"
UPDATED = "notifications/resources/updated"
LIST_CHANGES = frozenset({TOOLS, PROMPTS, RESOURCES})


class Subscriber:
    """One stream that hears about changes; who changes `uris` calls `Changes.tell_watchers`.

    Attributes:
        methods: The list changes it wants.
        uris: The resources it wants to hear of; a session's own set.
        push: Sends one message; must not block.
        meta: `_meta` of each message, for a listen stream.
    """

    __slots__ = ("meta", "methods", "push", "uris")

    def __init__(
        self,
        push: Callable[[bytes], None],
        *,
        methods: frozenset[str] = LIST_CHANGES,
        uris: set[str] | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        self.push = push
        self.methods = methods
        self.uris: set[str] = set() if uris is None else uris
        self.meta = meta

    def wants(self, message: Message) -> bool:
        """Return whether this subscriber asked for a change."""
        if message["method"] == UPDATED:
            return message["uri"] in self.uris
        return message["method"] in self.methods


class Changes:
    """Hands changes from the backplane to this replica's subscribers."""

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane
        self._subscribers: set[Subscriber] = set()
        self._watchers: list[Callable[[frozenset[str]], None]] = []
        backplane.subscribe(CHANNEL, self._deliver)

    def on_interest(self, watcher: Callable[[frozenset[str]], None]) -> None:
        """Call `watcher` with all URIs subscribed to on this replica, whenever they change."""
        self._watchers.append(watcher)

    def forget_watchers(self) -> None:
        """Tell nobody any more what there is interest in."""
        self._watchers.clear()

    def add(self, subscriber: Subscriber) -> None:
        """Begin to send changes."""
        self._subscribers.add(subscriber)
        self.tell_watchers()

    def remove(self, subscriber: Subscriber) -> None:
        """Stop sending changes."""
        self._subscribers.discard(subscriber)
        self.tell_watchers()

    def tell_watchers(self) -> None:
        """Tell who looks for changes what there is interest in now."""
        if self._watchers:
            uris = frozenset().union(*(subscriber.uris for subscriber in self._subscribers))
            for watcher in self._watchers:
                watcher(uris)

    async def publish(self, method: str, uri: str | None = None) -> None:
        """Tell all replicas of a change."""
        message: Message = {"method": method}
        if uri is not None:
            message["uri"] = uri
        await self._backplane.publish(CHANNEL, message)

    def _deliver(self, message: Message) -> None:
        params = {"uri": message["uri"]} if "uri" in message else {}
        plain = notification(message["method"], params)
        for subscriber in list(self._subscribers):
            if not subscriber.wants(message):
                continue
            if subscriber.meta is None:
                subscriber.push(plain)
            else:
                marked = {**params, "_meta": subscriber.meta}
                subscriber.push(notification(message["method"], marked))
