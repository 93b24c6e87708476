"""Serving for real: sockets, TLS, signals, and an orderly end.

`uvicorn.Server` drives the event loop, and this module says what it does differently:

```
SIGTERM ─▶ /ready says 503, answers end their connections   drain_delay_s, for balancers to notice
        ─▶ no new connections; streams end, except those that a running call will answer on
        ─▶ running calls finish                             graceful_timeout_s
        ─▶ what still runs is told "The server is stopping."
        ─▶ services stop, logs are written, exit status 0
```

A second signal skips all waiting. SIGHUP changes nothing: log files and certificates are
looked at anyway, settings need a restart, and a terminal that closes is no reason to stop. Sockets
are made here, before the event loop, so that several processes can be started on the same ones.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import uvicorn

from core.observability.health import Component
from core.observability.logs import LineWriter, set_up
from core.security.tls import DAYS_LEFT, TLS
from core.settings import ServerSection, Settings, SettingsError
from core.transports.connections import Connections, Limits
from core.transports.handshakes import TLSListener

if TYPE_CHECKING:
    from core.mcp_sse import MCPServer

WEAK_KEY_CHARS = 16
SPARE_FILES = 256
"""File descriptors that are kept for everything that is no connection."""
POLL_S = 0.05
TOLD_LIMIT_S = 1.0
"""For calls that are cut off to say so."""
LIFESPAN_LIMIT_S = 5.0
THREADS_LIMIT_S = 2.0
"""For threads of calls that were cut off, which cannot be stopped."""
STARTUP_FAILED = 3
WORKER_VARIABLE = "_MCP_WORKER"
"""In the environment of a worker, from its parent (core.prefork); no setting."""
KEEPALIVE = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 60,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 15,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 4,
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 120_000,
}
"""Linux gives accepted sockets the options of the listening one: a peer that vanished without a
word is found after two minutes, and so is one that takes nothing of what it is sent (tcp(7))."""
logger = logging.getLogger(__name__)


def serve(server: MCPServer, sockets: Sequence[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; running calls may finish, streams are ended.

    Exits with status 2 when the settings do not allow to start.

    Args:
        sockets: Bound ones, of a process that shares them; made here when not given.
    """
    settings = server.settings
    is_worker = WORKER_VARIABLE in os.environ
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited by the programs that services start
    try:
        server.check_address()
        tls = TLS(settings.tls) if any(dict(settings.tls).values()) else None
        if not is_worker:
            sockets = sockets or bound_sockets(settings.server.host, server.port)
        log_writer = _log_of(server)
        if not is_worker:
            _warn_of_weak_key(settings)
        if settings.server.workers > 1 and not is_worker:
            _serve_with_workers(settings, sockets or (), log_writer)
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    server.log_requests_to(log_writer)
    _note_tls(server, tls)

    def leave() -> None:
        log_writer.close()
        os._exit(0)

    try:
        if is_worker:
            from core.prefork import WorkerListener, place_of

            place = place_of(os.environ)
            sockets = [socket.socket(fileno=fd) for fd in place.sockets]
            WorkerListener(place, server, tls, leave=leave).run(sockets)
        else:
            Listener(server, tls, leave=leave).run(list(sockets or ()))
    finally:
        log_writer.close()


def _serve_with_workers(
    settings: Settings, sockets: Sequence[socket.socket], log_writer: LineWriter
) -> NoReturn:
    from core.prefork import run_workers  # which needs this module, as few servers need it

    try:
        sys.exit(run_workers(settings, sockets))
    finally:
        log_writer.close()


def _log_of(server: MCPServer) -> LineWriter:
    try:
        several = server.settings.server.workers > 1
        return set_up(server.settings.logging, server.name, shared=several)
    except OSError as error:
        raise SettingsError(f"logging.file: {error.filename}: {error.strerror}") from None


def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of a host, bound and ready to listen.

    Args:
        host: A name or an address; empty for all addresses.
        port: 0 for any that is free, the same for all.

    Raises:
        SettingsError: The address is not one of this machine's, or the port is taken.
    """
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in dict.fromkeys(found):
            chosen = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_bound(family, (address[0], chosen, *address[2:])))
            except OSError as error:
                problem = error
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    break  # a machine without IPv6 still serves "localhost"
                continue
    except OSError as error:
        problem = error
    if sockets and (problem is None or problem.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)):
        return sockets
    for opened in sockets:
        opened.close()
    reason = (problem.strerror or str(problem)).lower() if problem else "no address"
    raise SettingsError(f"Cannot listen on port {port} of {host or 'all addresses'}: {reason}.")


def _bound(family: int, address: tuple[str | int, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for (level, option), value in KEEPALIVE.items():
            opened.setsockopt(level, option, value)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def limits_of(section: ServerSection) -> Limits:
    """Return the limits of connections, as far as this process may open files for them."""
    return Limits.of(section, max_connections=_file_descriptors(section.max_connections))


class Listener(uvicorn.Server):
    """uvicorn with our connections, our TLS and our way to stop.

    Args:
        limits: Of connections; those of the settings when not given.
        leave: Ends the process, whatever its threads are doing; nobody can stop a thread.
    """

    def __init__(
        self,
        server: MCPServer,
        tls: TLS | None = None,
        *,
        limits: Limits | None = None,
        leave: Callable[[], None] | None = None,
    ) -> None:
        section = server.settings.server
        self._server = server
        self._tls = tls
        self._leave = leave
        limits = limits or limits_of(section)
        self._connections = Connections(limits, server.metrics)
        self._secure_listeners: list[TLSListener] = []
        self._stops_at: float | None = None
        server.on_tick(self._connections.tick)
        config = uvicorn.Config(
            server.app,
            http=self._connections.protocol,  # type: ignore[arg-type]  # any callable does
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=section.http_keepalive_s,
        )
        super().__init__(config)
        self.server_state.connections = self._connections.open

    # -- starting ---------------------------------------------------------------------------------

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the services, then listen.

        Raises:
            SystemExit: A service failed to start; the log has the reason.
        """
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILED)
        backlog, loop = self._server.settings.server.backlog, asyncio.get_running_loop()
        self.servers = []
        for opened in sockets or ():
            if self._tls is None:
                made = await loop.create_server(self._new_connection, sock=opened, backlog=backlog)
                self.servers.append(made)
            else:
                self._secure_listeners.append(self._secured(opened, self._tls, backlog))
            url = _url(opened, secure=self._tls is not None)
            logger.info("listening on %s", url)
            self._server.tell_address(url)
        self.started = True

    def _secured(self, opened: socket.socket, tls: TLS, backlog: int) -> TLSListener:
        return TLSListener(opened, backlog, self._connections, tls.context, self._new_connection)

    def _new_connection(self) -> asyncio.Protocol:
        return self._connections.protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    # -- stopping ---------------------------------------------------------------------------------

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; at once when it has begun already.

        Uvicorn would raise the signal again after the shutdown, which ends the process before its
        last log lines are written.
        """
        if self._stops_at is not None:
            self.force_exit = self.should_exit = True
            return
        delay_s = self._server.settings.server.drain_delay_s
        self._stops_at = time.monotonic() + delay_s
        self._connections.draining = True
        self._server.stop_being_ready()
        self.should_exit = delay_s == 0

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to stop."""
        is_over = self._stops_at is not None and time.monotonic() >= self._stops_at
        return await super().on_tick(counter) or is_over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no connections, let calls finish, stop the services."""
        self._stop_listening(sockets or ())
        self._server.close_streams()
        for connection in list(self._connections.open):
            connection.shutdown()
        await self._wait_for_answers(self._server.settings.server.graceful_timeout_s)
        await self._cut_off()
        await self._stop_services()
        if self._leave is not None:
            _after(0 if self.force_exit else THREADS_LIMIT_S, self._leave)

    def _stop_listening(self, sockets: Iterable[socket.socket]) -> None:
        logger.info("stopping: %d connections are open", len(self._connections.open))
        for server in self.servers:
            server.close()
        for listener in self._secure_listeners:
            listener.close()
        for opened in sockets:
            opened.close()

    async def _wait_for_answers(self, limit_s: float) -> None:
        until = time.monotonic() + limit_s
        state = self.server_state
        while (state.tasks or state.connections) and time.monotonic() < until:
            if self.force_exit:
                return
            await asyncio.sleep(POLL_S)

    async def _cut_off(self) -> None:
        """Stop what still runs: the calls first, so that their answers find a stream to go on."""
        tasks = self.server_state.tasks
        if tasks:
            logger.warning("%d requests are cut off", len(tasks))
        self._server.stop_calls()
        await self._wait_for_answers(0 if self.force_exit else TOLD_LIMIT_S)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks), timeout=TOLD_LIMIT_S)

    async def _stop_services(self) -> None:
        try:
            async with asyncio.timeout(TOLD_LIMIT_S if self.force_exit else LIFESPAN_LIMIT_S):
                await self.lifespan.shutdown()
        except TimeoutError:
            logger.error("the services did not stop in time")


def _warn_of_weak_key(settings: Settings) -> None:
    key = settings.auth.api_key
    if key is not None and len(key.get_secret_value()) < WEAK_KEY_CHARS:
        logger.warning(
            "the API key has fewer than %d characters and can be guessed; make one with: "
            "openssl rand -hex 32",
            WEAK_KEY_CHARS,
        )


def _note_tls(server: MCPServer, tls: TLS | None) -> None:
    if tls is None:

        async def off() -> Component:
            return Component("off")

        server.add_component("tls", off)
        return
    server.add_component("tls", tls.check)
    server.on_tick(tls.tick)
    server.metrics.observe(*DAYS_LEFT, lambda: tls.days_left)


def _file_descriptors(wanted: int) -> int:
    """Raise the limit of open files as far as is needed; return how many are for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if hard == resource.RLIM_INFINITY or hard >= needed:
        reached = max(soft, needed)
    else:
        reached = hard
        logger.info(
            "this process may open %d files: %d connections at most instead of %d (ulimit -n)",
            hard,
            max(hard - SPARE_FILES, hard // 2),
            wanted,
        )
    if reached > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reached, hard))
    return max(reached - SPARE_FILES, reached // 2)


def _url(opened: socket.socket, *, secure: bool) -> str:
    host, port = opened.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def _after(seconds: float, action: Callable[[], None]) -> None:
    """Call something later, unless the process has ended by then."""
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
