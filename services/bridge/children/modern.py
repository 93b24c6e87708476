"""A child of 2026-07-28, to which each request says by itself what it is about.

It keeps nothing of its clients, so one process may serve all of them: version, capabilities, name
and log level of the client are in each request's `_meta`. It never asks; a result of the kind
`input_required` says what it has to know first.

Changes come through a stream of their own: `listening`.

Log messages do not say which request they belong to, and over stdio nothing else does. So they are
told only while a single request has asked for them: they are its own then.

Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

from __future__ import annotations

import time
from typing import Final

from core.protocol.messages import JSON
from core.protocol.revisions import (
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    META_SERVER,
    META_VERSION,
    MODERN,
    MODERN_METHODS,
)
from services.bridge.children.connection import METHOD_NOT_FOUND, Connection
from services.bridge.children.identity import (
    Face,
    Identity,
    NotOpened,
    identity_of,
    supported_in,
)
from services.bridge.children.listening import LISTEN, Changes
from services.bridge.children.meta import meta_of, without_gaps, without_ours
from services.bridge.errors import BadAnswer, RemoteError

UNSUPPORTED_VERSION: Final = -32022
_HINTS: Final = ("resultType", "ttlMs", "cacheScope")


class Modern:
    """What is said to a child of 2026-07-28, and how its answers are read."""

    modern: Final = True

    def __init__(
        self, connection: Connection, identity: Identity, face: Face, *, timeout_s: float
    ) -> None:
        self.identity = identity
        self._connection = connection
        self._face = face
        self._changes = Changes(connection, identity, meta_of(face), timeout_s=timeout_s)

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
        said = {**params, "_meta": {**without_ours(params.get("_meta")), **own}}
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
                f"The server {server} answered {method} with a result of the kind "
                f"{str(kind)[:40]!r}, which its client does not know.",
                server=server,
            )
        kept = {name: value for name, value in result.items() if name not in _HINTS}
        meta = without_ours(kept.pop("_meta", None))
        return without_gaps({**kept, "_meta": meta} if meta else kept)

    def notify(self, method: str, params: JSON) -> None:
        """Send nothing: the revision has no notification of a client's but the cancelling one."""

    def hears(self, method: str, params: JSON) -> JSON | None:
        """Return the params of a notification of the child's; None if it is not to be told."""
        return self._changes.hears(method, params)

    def begin(self) -> None:
        """Begin to listen for what the child says that it tells."""
        self._connection.takes_questions = False
        self._changes.begin()

    async def ping(self, timeout_s: float) -> None:
        """Have the child answer anything; the revision has no `ping`."""
        params = {"_meta": meta_of(self._face)}
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
        said = await connection.request(
            "server/discover", {"_meta": meta_of(face)}, timeout_s=left_s
        )
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


def _disjoint(supported: tuple[str, ...]) -> str:
    named = ", ".join(one[:40] for one in supported[:10]) or "none"
    return f"it names the revisions {named}, of which {MODERN} is none"
