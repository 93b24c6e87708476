"""Several processes on one port: `server.workers` above 1.

```
parent ── binds, starts, restarts, passes signals on; serves nothing
  ├─ worker 0 ─┐  each takes connections from the sockets of the parent, and is a replica:
  ├─ worker 1 ─┤  what they share goes through Redis (core.backplane.redis)
  └─ …         ┘  a private socket for each, through which the others read its metrics
```

A worker is the same program with the same command line, and one variable more. The first one is
started alone: what keeps it from starting would keep all of them, and is told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from core.observability.health import Component
from core.observability.merged_metrics import merged
from core.processes import end_with
from core.security.tls import TLS
from core.serving import WORKER_VARIABLE, Listener
from core.settings import ServerSection, Settings, SettingsError

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from core.mcp_sse import MCPServer

FIRST_DELAY_S = 0.1
LAST_DELAY_S = 5.0
MAX_FOLDER_BYTES = 99
"""With the name of a socket in it: 107, and a zero byte (unix(7))."""
LONG_S = 60.0
"""A worker that lived for so long is started again at once."""
ASK_LIMIT_S = 1.0
END_NOW = signal.SIGUSR1
"""What a second signal to the parent becomes. Service managers and terminals may send the first
one to the workers as well, so to them a second SIGTERM says nothing new."""
WHOLE = b"# EOF\n"
REPORTING = (
    b"# HELP http_workers_reporting Workers whose metrics these are.\n"
    b"# TYPE http_workers_reporting gauge\n"
    b'http_workers_reporting{service="%b"} %d\n'
)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is told by its parent.

    Attributes:
        number: Its own, from 0.
        workers: How many there are.
        parent: Process id.
        sockets: Descriptors of the bound sockets.
        ready: Descriptor of a pipe: a byte in it says that the worker serves.
        folder: Where the sockets for metrics are.
    """

    number: int
    workers: int
    parent: int
    sockets: tuple[int, ...]
    ready: int
    folder: str


def place_of(environ: MutableMapping[str, str]) -> Place:
    """Take the place of this worker out of its environment; end with the parent from now on."""
    place = Place(**json.loads(environ.pop(WORKER_VARIABLE)))
    for fd in (*place.sockets, place.ready):
        os.set_inheritable(fd, False)
    if not end_with(place.parent):
        sys.exit(0)
    return place


# -- the parent -----------------------------------------------------------------------------------


def run_workers(settings: Settings, sockets: Sequence[socket.socket]) -> int:
    """Serve with as many workers as the settings say, until SIGTERM or SIGINT.

    Returns:
        The exit status: that of the first worker where it did not start.

    Raises:
        SettingsError: The workers would have no key, or no folder, in common.
    """
    section = settings.server
    kept = os.access(section.state_dir / "seal.key", os.R_OK)
    if settings.security.seal_key is None and not kept:
        raise SettingsError(
            "server.workers: workers need one key and server.state_dir cannot keep it; set "
            "security.seal_key"
        )
    try:
        folder = tempfile.TemporaryDirectory(prefix="mcp-workers-")
    except OSError as error:
        raise SettingsError(f"server.workers: no folder for sockets: {error.strerror}") from None
    with folder as path:
        if len(os.fsencode(path)) > MAX_FOLDER_BYTES:
            raise SettingsError(f"server.workers: {path} is too long for sockets; set TMPDIR")
        return asyncio.run(_Parent(section, sockets, path).run())


class _Parent:
    """Keeps the workers running."""

    def __init__(
        self, section: ServerSection, sockets: Sequence[socket.socket], folder: str
    ) -> None:
        self._workers = section.workers
        self._sockets = sockets
        self._folder = folder
        self._running: dict[int, Process] = {}
        self._one_serves = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Return the exit status when all have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        first = asyncio.create_task(self._keep(0))
        serves = asyncio.create_task(self._one_serves.wait())
        await asyncio.wait({first, serves}, return_when=asyncio.FIRST_COMPLETED)
        serves.cancel()
        further = range(1, self._workers if self._one_serves.is_set() else 1)
        statuses = await asyncio.gather(first, *map(self._keep, further))
        return next((status for status in statuses if status), 0)

    def _stop(self) -> None:
        """Pass a signal on; no connection waits in a queue that nobody empties any more."""
        number = END_NOW if self._stopping.is_set() else signal.SIGTERM
        self._stopping.set()
        for opened in self._sockets:
            opened.close()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, number: int) -> int:
        """Run a worker, again and again until all are to end; return its last exit status."""
        delay_s, status = FIRST_DELAY_S, 0
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._run(number)
            if self._stopping.is_set() or not self._one_serves.is_set():
                break
            lived_s = time.monotonic() - began
            delay_s = FIRST_DELAY_S if lived_s > LONG_S else min(2 * delay_s, LAST_DELAY_S)
            logger.error(
                "worker %d ended with status %d and is started again in %g s",
                number,
                status,
                delay_s,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
        # A worker that was starting has no handlers yet, and dies of the signal itself.
        was_asked = self._stopping.is_set() and status in (-signal.SIGTERM, -END_NOW)
        return 0 if was_asked else status if status >= 0 else 128 - status

    async def _run(self, number: int) -> int:
        told, ready = os.pipe()
        fds = tuple(opened.fileno() for opened in self._sockets)
        place = Place(number, self._workers, os.getpid(), fds, ready, self._folder)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *sys.orig_argv[1:],
                env={**os.environ, WORKER_VARIABLE: json.dumps(asdict(place))},
                pass_fds=(*fds, ready),
            )
        except OSError as error:
            logger.error("worker %d cannot be started: %s", number, error.strerror)
            os.close(told)
            return 1
        finally:
            os.close(ready)
        self._running[number] = process
        try:
            if self._stopping.is_set():
                process.terminate()
            if await _has_byte(told):
                logger.info("worker %d serves: process %d", number, process.pid)
                self._one_serves.set()
            return await process.wait()
        finally:
            del self._running[number]


async def _has_byte(fd: int) -> bool:
    """Wait for a byte, or for the end of a pipe, and close it."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
        return os.read(fd, 1) != b""
    finally:
        loop.remove_reader(fd)
        os.close(fd)


# -- a worker -------------------------------------------------------------------------------------


class WorkerListener(Listener):
    """Listens on the sockets of the parent, and tells of all workers what one is asked for."""

    def __init__(
        self, place: Place, server: MCPServer, tls: TLS | None, *, leave: Callable[[], None]
    ) -> None:
        super().__init__(server, tls, leave=leave)
        self._place = place
        self._teller: asyncio.Server | None = None
        server.metrics.of_all = self._metrics
        server.add_component("workers", self._check)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the services, listen, and say so."""
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(END_NOW, self._end_now)
        self._teller = await asyncio.start_unix_server(
            self._tell, self._socket_of(self._place.number)
        )
        os.write(self._place.ready, b".")
        os.close(self._place.ready)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, once."""
        if self._stops_at is None:
            super().handle_exit(sig, frame)

    def _end_now(self) -> None:
        super().handle_exit(END_NOW, None)
        self.force_exit = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as one process alone does; metrics are told until the end."""
        await super().shutdown(sockets)
        if self._teller is not None:
            self._teller.close()

    # -- what is known of the others --------------------------------------------------------------

    async def _metrics(self) -> bytes:
        """Return the metrics of all workers that tell theirs within a second."""
        texts = await self._texts()
        counted = REPORTING % (self._server.name.encode(), len(texts))
        return merged({str(number): text for number, text in texts.items()}) + counted

    async def _check(self) -> Component:
        answer, wanted = len(await self._texts()), self._place.workers
        facts = {"worker": self._place.number}
        is_whole = answer == wanted
        return Component("up" if is_whole else "degraded", f"{answer} of {wanted} answer", facts)

    async def _texts(self) -> dict[int, bytes]:
        own, workers = self._place.number, range(self._place.workers)
        others = [number for number in workers if number != own]
        found = await asyncio.gather(*(_ask(self._socket_of(number)) for number in others))
        texts = {own: self._server.metrics.render(), **dict(zip(others, found, strict=True))}
        return {number: text for number, text in sorted(texts.items()) if text is not None}

    def _socket_of(self, number: int) -> Path:
        return Path(self._place.folder, f"{number}.sock")

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._server.metrics.render() + WHOLE)
        writer.close()


async def _ask(path: Path) -> bytes | None:
    """Return the metrics of another worker; None when it does not tell them in time."""
    try:
        async with asyncio.timeout(ASK_LIMIT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                text = await reader.read()
            finally:
                writer.close()
    except OSError:  # also a timeout
        return None
    return text.removesuffix(WHOLE) if text.endswith(WHOLE) else None
