"""A child of 2024-11-05 to 2025-11-25, which is opened with `initialize`.

It knows one client, the one it was opened for, and may ask it: for a completion of its model, for
its roots, from 2025-06-18 on for something the person fills in. Questions come out as 2025-11-25
has them, and their answers go in as the child's revision has them.

Sources: https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle and
https://modelcontextprotocol.io/specification/2025-11-25/changelog, and those of the earlier ones.
"""

from __future__ import annotations

import time
from typing import Any, Final

from core.protocol.messages import JSON
from core.protocol.revisions import (
    LATEST_LEGACY,
    LEGACY,
    LEGACY_METHODS,
    V2025_06_18,
    V2025_11_25,
)
from services.bridge.children.connection import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Connection,
)
from services.bridge.children.identity import (
    QUESTIONS,
    Face,
    Identity,
    NotOpened,
    identity_of,
    supported_in,
)
from services.bridge.children.meta import without_gaps, without_ours
from services.bridge.errors import RemoteError

_NOTIFICATIONS: Final = frozenset({"notifications/roots/list_changed"})
_BESIDE: Final = ("task", "inputResponses", "requestState")
"""Params that only a server of another revision understands. A client is told of no tasks."""


class Legacy:
    """What is said to a child of a legacy revision, and how its answers are read."""

    modern: Final = False

    def __init__(
        self, connection: Connection, identity: Identity, face: Face, *, timeout_s: float
    ) -> None:
        self.identity = identity
        self._connection = connection
        self._face = face
        self._timeout_s = timeout_s

    def params(
        self,
        method: str,
        params: JSON,
        *,
        capabilities: JSON | None,
        client: JSON | None,
        log_level: str | None,
    ) -> JSON:
        """Return the params of a request as this revision has them.

        Raises:
            RemoteError: The revision has no such method; some servers end when they see one
                (the Python library 1.3).
        """
        if method not in LEGACY_METHODS or method == "initialize":
            raise _no_such(method)
        if not params or not ("_meta" in params or any(name in params for name in _BESIDE)):
            return params
        kept = {name: value for name, value in params.items() if name not in _BESIDE}
        meta = kept.get("_meta")
        if isinstance(meta, dict):
            kept["_meta"] = without_ours(meta)
        return kept

    def result(self, method: str, result: JSON) -> JSON:
        """Return a result; one of a legacy revision is complete, whatever it says."""
        return without_gaps({k: v for k, v in result.items() if k != "resultType"})

    def notify(self, method: str, params: JSON) -> None:
        """Send a notification, if it means anything to the child."""
        if method in _NOTIFICATIONS and "roots" in self._face.capabilities:
            self._connection.notify(method, params)

    def hears(self, method: str, params: JSON) -> JSON | None:
        """Return the params of a notification of the child's; None if it is not to be told."""
        return params

    def question(self, method: str, params: JSON) -> JSON:
        """Return what the child asks, in the shape of 2025-11-25.

        Raises:
            RemoteError: There is no such question, or the client has not said that it can be asked.
        """
        capability = QUESTIONS.get(method)
        if capability is None or capability not in self._face.capabilities:
            raise _no_such(method)
        if method != "elicitation/create":
            return params
        if self.identity.revision < V2025_06_18:
            raise _no_such(method)
        mode = params.get("mode", "form")
        if type(mode) is not str or not _can_elicit(self._face.capabilities["elicitation"], mode):
            raise RemoteError(INVALID_PARAMS, f"The client cannot be asked in the mode {mode!r}.")
        return {**params, "mode": mode}

    def reply(self, method: str, result: JSON) -> JSON:
        """Return the answer to a question as the child's revision has it."""
        if method == "sampling/createMessage" and self.identity.revision < V2025_11_25:
            return {**result, "content": _one_block(result.get("content"))}
        return result

    def begin(self) -> None:
        """Tell the child that it is opened."""
        self._connection.notify("notifications/initialized", {})

    async def ping(self, timeout_s: float) -> None:
        """Have the child answer anything."""
        await self._connection.request("ping", {}, timeout_s=timeout_s)

    async def subscribe(self, uri: str) -> None:
        """Have changes of a resource told."""
        await self._about(uri, "resources/subscribe")

    async def unsubscribe(self, uri: str) -> None:
        """Have them no longer told."""
        await self._about(uri, "resources/unsubscribe")

    async def set_level(self, level: str) -> None:
        """Have log messages from a level on told."""
        if not self.identity.offers("logging"):
            raise _no_such("logging/setLevel")
        params = {"level": level}
        await self._connection.request("logging/setLevel", params, timeout_s=self._timeout_s)

    def tick(self, now: float) -> None:
        """Nothing of this era waits for a time."""

    async def _about(self, uri: str, method: str) -> None:
        if not self.identity.offers("resources", "subscribe"):
            raise _no_such(method)
        await self._connection.request(method, {"uri": uri}, timeout_s=self._timeout_s)


async def open_legacy(
    connection: Connection,
    face: Face,
    *,
    until: float,
    timeout_s: float,
    revision: str = LATEST_LEGACY,
) -> Legacy:
    """Open a child with `initialize` and take any legacy revision that it answers.

    Args:
        until: When it has to have answered (monotonic seconds).
        timeout_s: Seconds for what is asked of it by itself later on.
        revision: What is offered. A child that refuses it and names others is offered the newest
            of them that we speak.

    Raises:
        NotOpened: It answered with a revision that is none of these, or not as MCP has it.
        RemoteError: It refused; so do children that speak only 2026-07-28.
        RequestTimeout, ChildDied, BadAnswer, AnswerTooLarge: As for `Connection.request`.
    """
    offer = {
        "protocolVersion": revision,
        "capabilities": _capabilities(face.capabilities, revision),
    }
    # The schema wants both members of it, and the official libraries refuse to do without.
    offer["clientInfo"] = {"name": "unknown", "version": "0", **face.info}
    left_s = max(until - time.monotonic(), 0)
    try:
        said = await connection.request("initialize", offer, timeout_s=left_s)
    except RemoteError as error:
        spoken = sorted(LEGACY.intersection(supported_in(error.data)) - {revision})
        if revision != LATEST_LEGACY or not spoken:
            raise
        return await open_legacy(
            connection, face, until=until, timeout_s=timeout_s, revision=spoken[-1]
        )
    answered = said.get("protocolVersion")
    if answered not in LEGACY:
        raise NotOpened(f"it answers initialize with the revision {answered!r}, which is unknown")
    identity = identity_of(answered, said, said.get("serverInfo"))
    return Legacy(connection, identity, face, timeout_s=timeout_s)


def _capabilities(declared: JSON, revision: str) -> JSON:
    """Return a client's capabilities as far as a revision has them."""
    if revision >= V2025_11_25:
        return declared
    known = {name: {} if name == "sampling" else value for name, value in declared.items()}
    form = "elicitation" in declared and _can_elicit(declared["elicitation"], "form")
    known.pop("elicitation", None)
    return {**known, "elicitation": {}} if form and revision >= V2025_06_18 else known


def _can_elicit(capability: Any, mode: str) -> bool:
    """Return whether a client can be asked so; one that names no mode has forms (2025-11-25)."""
    modes = capability if isinstance(capability, dict) else {}
    return mode in modes or (mode == "form" and "url" not in modes)


def _one_block(content: Any) -> Any:
    """Return the content of a model's message as one block, which older revisions have there."""
    if not isinstance(content, list):
        return content
    blocks = [block for block in content if isinstance(block, dict)]
    texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
    return {"type": "text", "text": "\n".join(texts)} if texts or not blocks else blocks[0]


def _no_such(method: str) -> RemoteError:
    return RemoteError(METHOD_NOT_FOUND, f"Method not found: {method}")
