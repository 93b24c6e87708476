"""WebSockets below their door: frames in both directions, and what a peer may do.

The sans-I/O half of `websockets` parses frames and keeps to RFC 6455. Here are the bounds:

```
arrives ─▶ Connection ─▶ receive ─▶ whole messages wait ─▶ next ─▶ the door
              │             │         16, or one too large   (more: the peer is read no further)
              │             └── pings answered; what is wrong closes: 1002, 1003, 1009
              └── the peer takes nothing of what it is sent: read no further, then dropped
```

A message has `message_s` to arrive, as a request body has; its parts hold no timer, the connection
has a deadline. Two pings without any sign of life close the socket. Nothing is compressed: what is
secret and what a stranger chose would share a window, and a small frame could be a large one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from core.transports.connections import NEVER, Connection

MAX_WAITING = 16
"""Messages of one peer that are taken before the door has asked for them."""
MAX_UNANSWERED = 2
UNSUPPORTED = 1003
POLICY = 1008
INTERNAL = 1011
_SILENT = logging.Logger("websockets", logging.CRITICAL + 1)  # noqa: LOG001  nobody can turn it up
"""For a library that would log what is sent."""


class WebSocket:
    """One WebSocket of a connection that was switched.

    Args:
        max_bytes: Largest message.
        message_s: Seconds in which the rest of a message has to arrive.

    Attributes:
        over: Done once nothing more is taken: either side has begun to close.
    """

    def __init__(self, connection: Connection, *, max_bytes: int, message_s: float) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._linger_s = connection.owner.limits.linger_s
        self._max_bytes = max_bytes
        self._message_s = message_s
        self._protocol = Protocol(Side.SERVER, max_size=max_bytes, logger=_SILENT)
        self._begun = bytearray()  # of a message in fragments
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._unanswered = 0

    # -- what arrives -----------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether the peer is to be read no further for now."""
        if self.over.done():
            return False
        return (
            len(self._waiting) >= MAX_WAITING
            or self._waiting_bytes >= self._max_bytes
            or self._connection.flow.write_paused
        )

    async def next(self) -> bytes | None:
        """Return the next message; None when there will be none."""
        while not self._waiting and not self.over.done():
            self._arrived.clear()
            await self._arrived.wait()
        if self.over.done():
            return None
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        self._connection.read_on()
        return message

    def receive(self, data: bytes) -> None:
        """Take what has arrived."""
        self._protocol.receive_data(data)
        frames = self._protocol.events_received()
        if not self._protocol.eof_sent:  # what came with the peer's close, or a mistake, is void
            for frame in frames:
                assert isinstance(frame, Frame)
                self._take(frame)
        self._note_unfinished(is_whole=bool(frames) and self._protocol.current_size is None)
        self._send_due()

    def _take(self, frame: Frame) -> None:
        self._unanswered = 0
        if self.over.done() or frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            return
        if frame.opcode is Opcode.BINARY:
            self.close(UNSUPPORTED, "Messages have to be text.")
            return
        self._begun += frame.data
        if frame.fin:
            self._waiting.append(bytes(self._begun))
            self._waiting_bytes += len(self._begun)
            self._begun.clear()
            self._arrived.set()

    def _note_unfinished(self, *, is_whole: bool) -> None:
        """Give the rest of a message its time, from when its beginning was seen."""
        if self.over.done():
            return
        if is_whole:
            self._connection.deadline = NEVER
        elif self._connection.deadline == NEVER:
            self._connection.deadline = time.monotonic() + self._message_s

    # -- what is sent -----------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Write frames, and wait while the peer takes none."""
        transport = self._connection.transport
        if not self.over.done() and not transport.is_closing():
            transport.write(data)
            await self._connection.flow.drain()

    def ping(self) -> None:
        """Ask for a sign of life, and give up a peer that has given none twice."""
        if self.over.done():
            return
        if self.is_full:  # it may have answered, and we have not looked
            self._unanswered = 0
        if self._unanswered >= MAX_UNANSWERED:
            self._fail(INTERNAL, "The pings were not answered.")
        else:
            self._unanswered += 1
            self._protocol.send_ping(b"")
            self._send_due()

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close; the peer has a few seconds to agree.

        Args:
            reason: Up to 123 bytes.
        """
        if not self.over.done():
            self._protocol.send_close(code, reason)
            self._send_due()
            self._finish()
            self._connection.deadline = time.monotonic() + self._linger_s
            self._connection.read_on()  # which has the peer's answer

    def _fail(self, code: int, reason: str) -> None:
        """Close without waiting for the peer to agree (7.1.7)."""
        self._protocol.fail(code, reason)
        self._send_due()

    def _send_due(self) -> None:
        """Send what the protocol owes; end the connection when it is through."""
        connection, protocol = self._connection, self._protocol
        due = b"".join(protocol.data_to_send())
        if connection.transport.is_closing():
            return
        if due:
            connection.transport.write(due)
        if not protocol.eof_sent:
            return
        self._finish()
        if protocol.close_rcvd is not None and protocol.parser_exc is None:
            connection.transport.close()
            connection.deadline = time.monotonic() + self._linger_s
        else:
            connection.linger()

    # -- the end ----------------------------------------------------------------------------------

    def expire(self) -> None:
        """End a connection whose deadline has passed: for a message, or for the peer's close."""
        if self.over.done():
            self._connection.transport.close()
            self._connection.deadline = time.monotonic() + self._linger_s
        else:
            limit_s = self._message_s
            self._fail(POLICY, f"The message did not arrive within {limit_s:g} s.")

    def lost(self) -> None:
        """Note that the connection is closed."""
        self._finish()

    @property
    def code(self) -> int:
        """The code it was closed with; 1006 when there was none."""
        close = self._protocol.close_sent or self._protocol.close_rcvd
        return 1006 if close is None else int(close.code)

    def _finish(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
        self._waiting.clear()
        self._begun.clear()
        self._arrived.set()
