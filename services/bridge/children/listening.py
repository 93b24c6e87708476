"""Changes of a 2026-07-28 child, which come through `subscriptions/listen`.

That is a request whose answer is its end. One such stream is open, for everything that is wanted;
when that changes, a new one is opened, and the old one is cancelled once the new one is
acknowledged, so that nothing is missed.

```
wanted ──► listen (id 7) ──► acknowledged ──► notifications with subscriptionId 7 ──► told
   changes: listen (id 9) ──► acknowledged ──► cancelled 7
   ends:    listen again after 1, 2, 4 … 30 s
```

Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from core.errors import ToolError
from core.protocol.messages import JSON
from core.protocol.revisions import META_SUBSCRIPTION
from services.bridge.children.connection import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Connection,
    Pending,
)
from services.bridge.children.identity import Identity
from services.bridge.children.meta import without_ours
from services.bridge.errors import ChildDied, RemoteError, RequestTimeout

logger = logging.getLogger(__name__)

LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_CHANGES: Final = {
    "notifications/tools/list_changed": ("tools", "toolsListChanged"),
    "notifications/prompts/list_changed": ("prompts", "promptsListChanged"),
    "notifications/resources/list_changed": ("resources", "resourcesListChanged"),
}
"""What tells of a changed list, the capability it belongs to, and how it is listened for."""
_UPDATED: Final = "notifications/resources/updated"
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 30.0


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
            rest = without_ours(meta)
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
        error = answer.exception() or RemoteError(
            INTERNAL_ERROR, "The server has ended the stream."
        )
        if self._opening is not None and self._opening[0] is stream:
            if not self._opening[1].done():
                self._opening[1].set_exception(error)
        elif self._stream is stream:
            self._stream = None
            if time.monotonic() - stream.sent > _LONGEST_DELAY_S:
                self._delay_s = _FIRST_DELAY_S
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
