"""A child of 2026-07-28, to which each request says by itself what it is about.

It keeps nothing of its clients, so one process may serve all of them: version, capabilities, name
and log level of the client are in each request's `_meta`. It never asks; a result of the kind
`input_required` says what it has to know first.

Changes come through `subscriptions/listen`, a request whose answer is its end. One such stream is
open, for everything that is wanted; when that changes, a new one is opened and the old one is
cancelled once the new one is acknowledged, so that nothing is missed.

```
wanted ──► listen (id 7) ──► acknowledged ──► notifications with subscriptionId 7 ──► told
   changes: listen (id 9) ──► acknowledged ──► cancelled 7
   ends:    listen again after 1, 2, 4 … 30 s
```

Log messages do not say which request they belong to, and over stdio nothing else does. So they are
told only while a single request has asked for them: they are its own then.

Sources: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio and
https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from core.errors import ToolError
from core.protocol.messages import JSON
from core.protocol.revisions import (
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    META_SERVER,
    META_SUBSCRIPTION,
    META_VERSION,
    MODERN,
    MODERN_METHODS,
    PREFIX,
)
from services.bridge.children.connection import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Connection,
    Pending,
)
from services.bridge.children.identity import (
    Face,
    Identity,
    NotOpened,
    identity_of,
    supported_in,
)
from services.bridge.errors import BadAnswer, ChildDied, RemoteError, RequestTimeout

logger = logging.getLogger(__name__)

UNSUPPORTED_VERSION: Final = -32022
LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_CHANGES: Final = {
    "notifications/tools/list_changed": ("tools", "toolsListChanged"),
    "notifications/prompts/list_changed": ("prompts", "promptsListChanged"),
    "notifications/resources/list_changed": ("resources", "resourcesListChanged"),
}
"""What tells of a changed list, the capability it belongs to, and how it is listened for."""
_UPDATED: Final = "notifications/resources/updated"
_HINTS: Final = ("resultType", "ttlMs", "cacheScope")
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 30.0


class Modern:
    """What is said to a child of 2026-07-28, and how its answers are read."""

    modern: Final = True

    def __init__(
        self, connection: Connection, identity: Identity, face: Face, *, timeout_s: float
    ) -> None:
        self.identity = identity
        self._connection = connection
        self._face = face
        self._changes = Changes(connection, identity, _meta(face), timeout_s=timeout_s)

    def params(
        self,
        method: str,
        params: JSON,
        *,
        capabilities: JSON | None,
        client: JSON | None,
        log_level: str | None,
    ) -> JSON:
        """Return the params of a request, with what it has to say of its client.

        Raises:
            RemoteError: The revision has no such method, or it is not for one request's time.
        """
        if method not in MODERN_METHODS or method == LISTEN:
            raise RemoteError(METHOD_NOT_FOUND, f"Method not found: {method}")
        face = self._face
        own: JSON = {
            META_VERSION: self.identity.revision,
            META_CAPABILITIES: face.capabilities if capabilities is None else capabilities,
        }
        if info := client or face.info:
            own[META_CLIENT] = info
        if log_level is not None:
            own[META_LOG_LEVEL] = log_level
        said = {**params, "_meta": {**_without_ours(params.get("_meta")), **own}}
        said.pop("task", None)  # of 2025-11-25; tasks are an extension here, which is not offered
        return said

    def result(self, method: str, result: JSON) -> JSON:
        """Return a result without what belongs to the protocol; what asks back stays as it is.

        Raises:
            BadAnswer: It is of a kind that nobody has asked for.
        """
        kind = result.get("resultType", "complete")
        if kind == "input_required":
            return result
        if kind != "complete":
            server = self._connection.server
            raise BadAnswer(
                f"The server {server} answered {method} with a result of the kind {kind!r}, "
                "which its client does not know.",
                server=server,
            )
        kept = {name: value for name, value in result.items() if name not in _HINTS}
        meta = _without_ours(kept.pop("_meta", None))
        return {**kept, "_meta": meta} if meta else kept

    def notify(self, method: str, params: JSON) -> None:
        """Send nothing: the revision has no notification of a client's but the cancelling one."""

    def hears(self, method: str, params: JSON) -> JSON | None:
        """Return the params of a notification of the child's; None if it is not to be told."""
        return self._changes.hears(method, params)

    def question(self, method: str, params: JSON) -> JSON:
        """Refuse: a server of this revision does not ask (2026-07-28, stdio)."""
        raise RemoteError(METHOD_NOT_FOUND, f"Method not found: {method}")

    def reply(self, method: str, result: JSON) -> JSON:
        """Return an answer as it is; there are none in this era."""
        return result

    def begin(self) -> None:
        """Begin to listen for what the child says that it tells."""
        self._connection.takes_questions = False
        self._changes.begin()

    async def ping(self, timeout_s: float) -> None:
        """Have the child answer anything; the revision has no `ping`."""
        params = {"_meta": _meta(self._face)}
        await self._connection.request("server/discover", params, timeout_s=timeout_s)

    async def subscribe(self, uri: str) -> None:
        """Have changes of a resource told."""
        await self._changes.add(uri)

    async def unsubscribe(self, uri: str) -> None:
        """Have them no longer told."""
        await self._changes.remove(uri)

    async def set_level(self, level: str) -> None:
        """Do nothing: each request names its own level."""

    def tick(self, now: float) -> None:
        """Listen again when a stream has ended."""
        self._changes.tick(now)


async def open_modern(
    connection: Connection, face: Face, *, until: float, timeout_s: float
) -> Modern:
    """Open a child with `server/discover`; arguments as for `open_legacy`.

    Raises:
        NotOpened: It does not speak 2026-07-28, or does not answer as MCP has it.
        RemoteError: It refused.
        RequestTimeout, ChildDied, BadAnswer, AnswerTooLarge: As for `Connection.request`.
    """
    left_s = max(until - time.monotonic(), 0)
    try:
        said = await connection.request("server/discover", {"_meta": _meta(face)}, timeout_s=left_s)
    except RemoteError as error:
        if error.code == UNSUPPORTED_VERSION:
            raise NotOpened(_disjoint(supported_in(error.data))) from error
        raise
    supported = supported_in({"supported": said.get("supportedVersions")})
    if MODERN not in supported:
        raise NotOpened(_disjoint(supported))
    meta = said.get("_meta")
    info = meta.get(META_SERVER) if isinstance(meta, dict) else None
    identity = identity_of(MODERN, said, info)
    return Modern(connection, identity, face, timeout_s=timeout_s)


class Changes:
    """Keeps one `subscriptions/listen` stream open for all that is wanted to be told.

    Args:
        meta: What each request says of the client.
        timeout_s: Seconds in which a stream has to be acknowledged.
    """

    def __init__(
        self, connection: Connection, identity: Identity, meta: JSON, *, timeout_s: float
    ) -> None:
        self._connection = connection
        self._identity = identity
        self._meta = meta
        self._timeout_s = timeout_s
        self._lists = {
            key: True
            for capability, key in _CHANGES.values()
            if identity.offers(capability, "listChanged")
        }
        self._uris: dict[str, None] = {}
        self._listened: JSON = {}
        self._heard: JSON = {}
        self._stream: Pending | None = None
        self._opening: tuple[Pending, asyncio.Future[JSON]] | None = None
        self._turn = asyncio.Lock()
        self._again: asyncio.Task[None] | None = None
        self._again_at: float | None = None
        self._delay_s = _FIRST_DELAY_S

    def begin(self) -> None:
        """Open a stream, if there is anything to listen for; when that fails, try again later."""
        if self._wanted():
            self._again = asyncio.create_task(self._try(), name=LISTEN)

    async def _try(self) -> None:
        try:
            await self._settle()
        except (RemoteError, ToolError) as error:
            self._later(error)

    async def add(self, uri: str) -> None:
        """Have changes of a resource told.

        Raises:
            RemoteError: The child does not tell them, of any resource or of this one.
            RequestTimeout, ChildDied: The stream was not acknowledged.
        """
        if not self._identity.offers("resources", "subscribe"):
            raise RemoteError(METHOD_NOT_FOUND, "Method not found: resources/subscribe")
        self._uris[uri] = None
        try:
            await self._settle()
        except BaseException:
            self._uris.pop(uri, None)
            raise
        if self._stream is not None and not self._heard.get("resourceSubscriptions"):
            self._uris.pop(uri, None)
            raise RemoteError(INVALID_PARAMS, "The server does not tell of changes of resources.")

    async def remove(self, uri: str) -> None:
        """Have changes of a resource no longer told; it is no matter when they were not."""
        if uri in self._uris:
            del self._uris[uri]
            await self._settle()

    def hears(self, method: str, params: JSON) -> JSON | None:
        """Return what a notification tells; None when it is the protocol's own, or nobody's."""
        meta = params.get("_meta")
        stream = meta.get(META_SUBSCRIPTION) if isinstance(meta, dict) else None
        if method == ACKNOWLEDGED:
            self._acknowledged(stream, params)
            return None
        if method in _CHANGES or method == _UPDATED:
            if self._stream is None or stream != self._stream.id:
                return None
            rest = _without_ours(meta)
            told = {name: value for name, value in params.items() if name != "_meta"}
            return {**told, "_meta": rest} if rest else told
        return params

    def tick(self, now: float) -> None:
        """Listen again when it is time."""
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self.begin()

    def _wanted(self) -> JSON:
        uris = {"resourceSubscriptions": list(self._uris)} if self._uris else {}
        return {**self._lists, **uris}

    async def _settle(self) -> None:
        """Bring the stream in line with what is wanted; who waits meanwhile may find it done."""
        async with self._turn:
            wanted = self._wanted()
            if self._stream is not None and self._listened == wanted:
                return
            before, opened = self._stream, None
            if wanted:
                opened = await self._open(wanted)
            self._stream, self._listened = opened, wanted
            if opened is not None and opened.answer.done():
                self._ended(opened, opened.answer)  # it came right behind the acknowledgement
            if before is not None:
                self._connection.give_up(before, "Another stream has taken its place.")

    async def _open(self, wanted: JSON) -> Pending:
        """Return a stream that the child has acknowledged."""
        params = {"_meta": self._meta, "notifications": wanted}
        stream = self._connection.start(LISTEN, params)
        acknowledged: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
        self._opening = (stream, acknowledged)
        stream.answer.add_done_callback(lambda answer: self._ended(stream, answer))
        try:
            async with asyncio.timeout(self._timeout_s):
                self._heard = await acknowledged
        except TimeoutError:
            self._connection.give_up(stream, "It was not acknowledged.")
            server = self._connection.server
            raise RequestTimeout(
                f"The server {server} did not acknowledge {LISTEN}.", server=server
            ) from None
        except asyncio.CancelledError:
            self._connection.give_up(stream, "The caller no longer waits for it.")
            raise
        finally:
            self._opening = None
        self._delay_s = _FIRST_DELAY_S
        return stream

    def _acknowledged(self, id_: Any, params: JSON) -> None:
        if self._opening is None or self._opening[0].id != id_:
            return
        heard = params.get("notifications")
        if not self._opening[1].done():
            self._opening[1].set_result(heard if isinstance(heard, dict) else {})

    def _ended(self, stream: Pending, answer: asyncio.Future[JSON]) -> None:
        """Hear that a stream has got its answer, which is its end."""
        if answer.cancelled():
            return
        error = answer.exception() or RemoteError(-32603, "The server has ended the stream.")
        if self._opening is not None and self._opening[0] is stream:
            if not self._opening[1].done():
                self._opening[1].set_exception(error)
        elif self._stream is stream:
            self._stream = None
            self._later(error)

    def _later(self, error: BaseException) -> None:
        """Listen again after a while, unless the child has ended or knows no streams."""
        if isinstance(error, ChildDied):
            return
        if isinstance(error, RemoteError) and error.code == METHOD_NOT_FOUND:
            logger.warning("the server %s tells of no changes", self._connection.server)
            return
        self._again_at = time.monotonic() + self._delay_s
        self._delay_s = min(self._delay_s * 2, _LONGEST_DELAY_S)


def _meta(face: Face) -> JSON:
    """Return what a request says that no client has made."""
    meta: JSON = {META_VERSION: MODERN, META_CAPABILITIES: face.capabilities}
    return {**meta, META_CLIENT: face.info} if face.info else meta


def _without_ours(meta: object) -> JSON:
    """Return a `_meta` without the members that belong to the protocol."""
    if type(meta) is not dict:
        return {}
    return {name: value for name, value in meta.items() if not name.startswith(PREFIX)}


def _disjoint(supported: tuple[str, ...]) -> str:
    named = ", ".join(one[:40] for one in supported[:10]) or "none"
    return f"it names the revisions {named}, of which {MODERN} is none"
