"""One write for one answer.

ASGI sends the head and the body of an answer as two messages, uvicorn writes each to the socket as
it comes, and uvloop hands each to the kernel at once. The second system call, and waking the client
for a head that it cannot use yet, cost a fifth of a whole tool call. So the first write waits for
the second one, or for the end of the event loop's turn, whichever comes first.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoiningTransport:
    """A transport that holds a write until the next one, at most for one turn of the loop.

    It never holds more than one write, so flow control works as before.
    """

    __slots__ = ("_held", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write what is held and `data` at once, or hold `data` if nothing is held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._held = data
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        """Write what is held and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's protocol on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(JoiningTransport(transport))  # type: ignore[arg-type]
