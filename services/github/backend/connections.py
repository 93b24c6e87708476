"""Connections to GitHub: verified, kept while nobody uses them, and ended from any thread.

urllib3's connections without its pools, sessions and retries: what is asked for is sent once, to
the host that was asked for. No proxy or `.netrc` of the environment plays a part. The last thing
before the socket, `putrequest`, compares the request line with the one that was ordered.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection

from core.settings import SettingsError

KEEP_ALIVE_S = 45.0
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection goes (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str | SplitResult) -> Origin:
        """Return the origin of an http or https URL.

        Raises:
            ValueError: It is of another kind, or has no host, or a user.
        """
        parts = urlsplit(url) if isinstance(url, str) else url
        if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
            raise ValueError("not an http or https URL")
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


class WrongTarget(Exception):
    """Something would have been sent elsewhere than it was ordered to; nothing was."""


class Connection(HTTPConnection):
    """A connection that knows what may be sent over it, and can be ended by another thread.

    Attributes:
        ordered: Method and target that the next request line has to have.
        sent: Whether any byte of the request went out.
    """

    ordered: tuple[str, str] | None = None
    sent = False
    _handle: socket.socket | None = None
    _ended = False

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Begin a request, if it is the ordered one."""
        if (method, url) != self.ordered:
            raise WrongTarget(f"{method} {url} was not ordered")
        super().putrequest(method, url, *args, **kwargs)

    def connect(self) -> None:
        """Connect, unless ended meanwhile; what a proxy is told for it is not the request."""
        try:
            super().connect()
        finally:
            self.sent = False
        if self._ended:
            raise ConnectionAbortedError("ended")

    def _new_conn(self) -> socket.socket:
        """Keep a second handle: the first is swallowed by TLS, whose handshake can hang too."""
        connected = super()._new_conn()
        self._handle = connected.dup()
        return connected

    def send(self, data: Any) -> None:
        """Send bytes, and remember that some were."""
        if self.sock is None:
            self.connect()
        self.sent = True
        super().send(data)

    def end(self) -> None:
        """Make the thread that waits on this connection fail at once; from any thread."""
        self._ended = True
        if (handle := self._handle) is not None:
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both handles."""
        try:
            super().close()
        finally:
            handle, self._handle = self._handle, None
            if handle is not None:
                handle.close()


class SecureConnection(Connection, HTTPSConnection):
    """The same over TLS, with the certificate and its name verified."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that lets TLS through to other hosts (RFC 9110 section 9.3.6).

    Attributes:
        headers: For the proxy alone; hold its password.
    """

    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Proxy:
        """Read a URL that the settings have checked."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        if parts.username is None:
            return cls(parts.hostname, parts.port, {})
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        basic = base64.b64encode(user.encode()).decode()
        return cls(parts.hostname, parts.port, {"Proxy-Authorization": f"Basic {basic}"})

    def connection(self, origin: Origin, tls: ssl.SSLContext) -> Connection:
        """Return a connection to an origin through the proxy."""
        connection = SecureConnection(self.host, self.port, ssl_context=tls)
        connection.set_tunnel(origin.host, origin.port, self.headers, scheme="http")
        return connection


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return what verifies certificates: against certifi's authorities, and the operator's.

    Raises:
        SettingsError: The operator's file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            reason = "not a PEM file" if isinstance(error, ssl.SSLError) else error.strerror
            raise SettingsError(f"ca_file: {reason}") from None
    return context


class Connections:
    """All connections of one client; used from several threads.

    Args:
        ca_file: Further certificate authorities; read at once.
        max_idle: Connections kept open while nobody uses them.
        proxy: For https; plain http stays on this machine.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None,
        max_idle: int,
        proxy: Proxy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ca_file = ca_file
        self._proxy = proxy
        self._tls = None if ca_file is None else tls_context(ca_file)
        self._max_idle = max_idle
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Origin, Connection]] = []

    def take(self, origin: Origin) -> Connection:
        """Return a connection for one exchange: the idle one used last, or one to be connected."""
        while (kept := self._kept(origin)) is not None:
            since, connection = kept
            if self._clock() - since < KEEP_ALIVE_S and connection.is_connected:
                connection.sent = False
                return connection
            connection.close()
        if origin.scheme == "https" and self._proxy is not None:
            return self._proxy.connection(origin, self._verifying())
        if origin.scheme == "https":
            return SecureConnection(origin.host, origin.port, ssl_context=self._verifying())
        return Connection(origin.host, origin.port)

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        connection.ordered = None
        with self._lock:
            self._idle.append((self._clock(), origin, connection))
            surplus = self._idle[: -self._max_idle]
            del self._idle[: -self._max_idle]
        for _, _, old in surplus:
            old.close()

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, connection in idle:
            connection.close()

    def _verifying(self) -> ssl.SSLContext:
        """Return the TLS context, made when first needed: it takes longer than a request."""
        with self._lock:
            if self._tls is None:
                self._tls = tls_context(self._ca_file)
            return self._tls

    def _kept(self, origin: Origin) -> tuple[float, Connection] | None:
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index][1] == origin:
                    since, _, connection = self._idle.pop(index)
                    return since, connection
        return None
