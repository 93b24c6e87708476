"""`subscriptions/listen` of 2026-07-28: what a client hears of, on whatever stream it listens.

Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/subscriptions
"""

from __future__ import annotations

from collections.abc import Callable

from core.context import Principal, notification
from core.errors import InvalidParams
from core.protocol.changes import Subscriber
from core.protocol.dispatch import LISTEN_KINDS
from core.protocol.messages import JSON, RequestId, encode_result
from core.protocol.revisions import META_SUBSCRIPTION, MODERN
from core.transports.callers import MAX_SUBSCRIPTIONS
from core.transports.runtime import Runtime


class Listening:
    """One request to listen, from its acknowledgement to its response.

    Attributes:
        farewell: The response, which the client gets when the server ends it.

    Raises:
        InvalidParams: The request does not say what to listen for in the way it has to.
    """

    def __init__(
        self, runtime: Runtime, id_: RequestId, params: JSON, principal: Principal
    ) -> None:
        self._changes = runtime.changes
        self._honoured = _honoured(runtime, params, principal)
        self._meta = {META_SUBSCRIPTION: id_}
        self._subscriber: Subscriber | None = None
        end = runtime.dispatcher.encoder.result({"_meta": self._meta}, modern=True)
        self.farewell = encode_result(id_, end)

    def begin(self, push: Callable[[bytes], None]) -> None:
        """Acknowledge the request, and send changes from now on; none in between is missed.

        Args:
            push: Sends one message; must not block.
        """
        honoured = self._honoured
        self._subscriber = Subscriber(
            push,
            methods=frozenset(LISTEN_KINDS[kind] for kind in honoured if kind in LISTEN_KINDS),
            uris=set(honoured.get("resourceSubscriptions", ())),
            meta=self._meta,
        )
        self._changes.add(self._subscriber)
        acknowledged = {"notifications": honoured, "_meta": self._meta}
        push(notification("notifications/subscriptions/acknowledged", acknowledged))

    def end(self) -> None:
        """Send nothing any more."""
        if self._subscriber is not None:
            self._changes.remove(self._subscriber)


def _honoured(runtime: Runtime, params: JSON, principal: Principal) -> JSON:
    """Return what of the wanted notifications there is, in the words of the request."""
    wanted = params.get("notifications")
    if type(wanted) is not dict:
        raise InvalidParams("subscriptions/listen needs the member notifications, an object.")
    declared = runtime.dispatcher.catalogue.capabilities(MODERN)
    honoured: JSON = {}
    for kind in LISTEN_KINDS:
        flag = wanted.get(kind, False)
        if type(flag) is not bool:
            raise InvalidParams(f"notifications.{kind} has to be a boolean.")
        if flag and kind.removesuffix("ListChanged") in declared:
            honoured[kind] = True
    uris = wanted.get("resourceSubscriptions", [])
    if type(uris) is not list or not all(type(uri) is str for uri in uris):
        raise InvalidParams("notifications.resourceSubscriptions has to be a list of URIs.")
    if len(uris) > MAX_SUBSCRIPTIONS:
        raise InvalidParams(f"At most {MAX_SUBSCRIPTIONS} resource subscriptions in a stream.")
    if uris:
        runtime.dispatcher.require_resources(principal)
    if uris and "resources" in declared:
        honoured["resourceSubscriptions"] = uris
    return honoured
