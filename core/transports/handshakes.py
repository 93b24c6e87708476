"""TLS handshakes, counted from the moment a connection is accepted.

`create_server(ssl=…)` tells a protocol of its connection when the handshake is over: until then no
limit would hold for an accepted socket. So connections are accepted here, counted or closed, and
then handed to the event loop; handshakes that fail are counted by their reason.

Source: https://docs.python.org/3/library/asyncio-eventloop.html (`connect_accepted_socket`)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from core.transports.connections import Connections

FAILED = "TLS_HANDSHAKE"
RETRY_S = 0.5
"""Until the next try when no file can be opened."""
logger = logging.getLogger(__name__)


class TLSListener:
    """Accepts the connections of a socket and leads them into TLS.

    Args:
        opened: Bound; begins to listen.
        backlog: Connections that wait to be accepted.
        owner: Whose limits hold, of numbers and of time: `head_s` for a handshake.
        context: For the server's side.
        protocol: Makes what takes over after a handshake.
    """

    def __init__(
        self,
        opened: socket.socket,
        backlog: int,
        owner: Connections,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._socket = opened
        self._backlog = backlog
        self._owner = owner
        self._context = context
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        opened.setblocking(False)
        opened.listen(backlog)
        self._watch()

    def close(self) -> None:
        """Accept no more, and give up the handshakes that are going on."""
        self._is_closed = True
        self._loop.remove_reader(self._socket.fileno())
        for task in list(self._owner.handshakes):
            task.cancel()

    def _watch(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(self._backlog):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("no connection can be accepted: %s", error)
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(RETRY_S, self._watch)
                return
            self._begin(accepted, address[0])

    def _begin(self, accepted: socket.socket, address: str) -> None:
        if self._owner.too_many:
            self._owner.count_dropped()
            accepted.close()
            return
        accepted.setblocking(False)
        task = self._loop.create_task(self._shake_hands(accepted, address))
        self._owner.handshakes.add(task)
        task.add_done_callback(self._owner.handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket, address: str) -> None:
        limits = self._owner.limits
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=limits.head_s,
                ssl_shutdown_timeout=limits.linger_s,
            )
        except OSError as error:  # also SSLError, TimeoutError, and peers that leave
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            self._owner.refused(address, FAILED, f"no TLS handshake: {reason}")
