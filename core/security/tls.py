"""TLS that the server ends itself: what it presents, and new certificates without a restart.

The files are looked at once a second. Once they have changed and then stayed the same for a look
(a certificate and its key are seldom written at the same moment), a new context is made and
checked; new handshakes use it, open connections go on. Files that are not right change nothing:
the last good ones stay, the log says what is wrong, and `/health` is degraded.

asyncio and uvloop hold on to the context that they were started with, so it hands each handshake to
the current one (`sni_callback`, which OpenSSL also calls for clients that name no server).

Certificates of clients ask for TLS 1.3 without tickets: a client that resumes a session is not
asked for its certificate again, so a changed `client_ca` would not hold for it.

Source: https://docs.python.org/3/library/ssl.html, https://wiki.mozilla.org/Security/Server_Side_TLS
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from core.observability.health import Component
from core.settings import SettingsError, TLSSection

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; those of 1.3 are all good. Forward secrecy and authenticated encryption only."""
LOOK_INTERVAL_S = 1.0
DAY_S = 86_400.0
RENEWAL_DUE = 0.1
"""Share of a certificate's lifetime, or 14 days, before whose end /health is degraded."""
MAX_RENEWAL_DUE_S = 14 * DAY_S
OTHERS = 0o007
DAYS_LEFT = ("tls_certificate_days_left", "Days until the certificate ends.")
"""Name and description of the metric."""
Stamp = tuple[tuple[int, int, int], ...]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Material:
    """The files of one moment, checked.

    Attributes:
        not_before, not_after: Seconds since the epoch between which the certificate is valid.
        subject: Whom it names, for the log.
    """

    context: ssl.SSLContext
    not_before: float
    not_after: float
    subject: str

    def renewal_due_s(self) -> float:
        """Return how long before its end the certificate should have been replaced."""
        return min((self.not_after - self.not_before) * RENEWAL_DUE, MAX_RENEWAL_DUE_S)


class TLS:
    """The certificate of one server.

    Args:
        section: With `certificate` and `key`.
        clock: Seconds since the epoch.

    Attributes:
        context: For the listening sockets.

    Raises:
        SettingsError: A file is missing or wrong, and what to do.
    """

    def __init__(self, section: TLSSection, clock: Callable[[], float] = time.time) -> None:
        self._files = _Files.of(section)
        self._clock = clock
        self._loaded = self._seen = self._files.stamp()
        self._current = self._files.load(clock())
        self._problem: str | None = None
        self._looked_at = -LOOK_INTERVAL_S
        self.context = self._current.context
        self.context.sni_callback = self._hand_over
        _warn_of_open_key(self._files.key)

    def tick(self, now: float) -> None:
        """Look whether the files are others now.

        Args:
            now: Monotonic seconds.
        """
        if now - self._looked_at < LOOK_INTERVAL_S:
            return
        self._looked_at = now
        stamp = self._files.stamp()
        settled, self._seen = stamp == self._seen, stamp
        if settled and stamp != self._loaded:
            self._loaded = stamp
            self._reload()

    @property
    def days_left(self) -> float:
        """Days until the certificate ends; negative when it has."""
        return (self._current.not_after - self._clock()) / DAY_S

    async def check(self) -> Component:
        """Return the component of `/health`."""
        left_s = self._current.not_after - self._clock()
        ends = datetime.fromtimestamp(self._current.not_after, UTC).isoformat()
        facts = {"not_after": ends, "days_left": round(self.days_left, 2)}
        if self._problem is not None:
            return Component("degraded", f"the changed files are not used: {self._problem}", facts)
        if left_s < 0:
            return Component("degraded", "the certificate has expired", facts)
        if left_s < self._current.renewal_due_s():
            return Component("degraded", "the certificate ends soon", facts)
        return Component("up", None, facts)

    def _reload(self) -> None:
        try:
            self._current = self._files.load(self._clock())
        except SettingsError as error:
            self._problem = str(error)
            logger.error("TLS goes on with the files it has: %s", error)
        else:
            self._problem = None
            logger.info("TLS uses the new certificate of %s", self._current.subject)

    def _hand_over(
        self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> None:
        handshake.context = self._current.context


@dataclass(frozen=True, slots=True)
class _Files:
    certificate: Path
    key: Path
    client_ca: Path | None

    @classmethod
    def of(cls, section: TLSSection) -> _Files:
        if section.certificate is None or section.key is None:
            missing = "CERTIFICATE" if section.certificate is None else "KEY"
            raise SettingsError(
                f"TLS needs a certificate and its key; MCP_HTTP_TLS__{missing} is not set."
            )
        return cls(section.certificate, section.key, section.client_ca)

    def stamp(self) -> Stamp:
        """Return what changes when a file is written or another one takes its place."""
        return tuple(_stamp_of(path) for path in (self.certificate, self.key, self.client_ca))

    def load(self, now: float) -> Material:
        """Return the checked content of the files.

        Args:
            now: Seconds since the epoch.

        Raises:
            SettingsError: Which file is wrong, and what to do.
        """
        leaf = self._leaf()
        not_before = leaf.not_valid_before_utc.timestamp()
        not_after = leaf.not_valid_after_utc.timestamp()
        self._require_valid(now, not_before, not_after)
        return Material(self._context(), not_before, not_after, leaf.subject.rfc4514_string())

    def _leaf(self) -> x509.Certificate:
        content = _read(self.certificate)
        try:
            return x509.load_pem_x509_certificates(content)[0]
        except ValueError:
            raise SettingsError(
                f"{self.certificate} has no certificate in PEM form "
                "(-----BEGIN CERTIFICATE-----); convert DER with: openssl x509 -inform der"
            ) from None

    def _require_valid(self, now: float, not_before: float, not_after: float) -> None:
        if now > not_after:
            ended = datetime.fromtimestamp(not_after, UTC).isoformat()
            raise SettingsError(
                f"The certificate in {self.certificate} expired at {ended}; renew it."
            )
        if now < not_before:
            begins = datetime.fromtimestamp(not_before, UTC).isoformat()
            raise SettingsError(
                f"The certificate in {self.certificate} is valid from {begins} on; look at this "
                "machine's clock."
            )

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        self._load_pair(context)
        if self.client_ca is not None:
            self._require_client_certificates(context, self.client_ca)
        return context

    def _load_pair(self, context: ssl.SSLContext) -> None:
        _read(self.key)  # for its own words when it is not there
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._refuse_password)
        except ssl.SSLError as error:
            raise SettingsError(self._pair_problem(error)) from None

    def _refuse_password(self) -> str:
        raise SettingsError(
            f"The key in {self.key} is encrypted and nobody can type its password here; store it "
            f"decrypted, readable for this user only: openssl pkey -in {self.key} -out NEW.pem"
        )

    def _pair_problem(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"The key in {self.key} does not belong to the certificate in {self.certificate}"
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
            return (
                f"The certificate in {self.certificate} is too weak ({error.reason}); use an RSA "
                "key of 2048 bits or more, or P-256, and SHA-256"
            )
        return f"{self.key} has no private key in PEM form (-----BEGIN PRIVATE KEY-----)"

    @staticmethod
    def _require_client_certificates(context: ssl.SSLContext, authority: Path) -> None:
        _read(authority)
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError:
            raise SettingsError(f"{authority} has no certificate in PEM form") from None
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _stamp_of(path: Path | None) -> tuple[int, int, int]:
    """Return what tells one content of a file from another; zeros when it is not there.

    Kubernetes and others replace files behind symbolic links, so links are followed. The time is
    that of the inode, which a `chmod` that makes a file readable changes too.
    """
    if path is None:
        return (0, 0, 0)
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_ctime_ns, found.st_size)


def _warn_of_open_key(path: Path) -> None:
    if os.stat(path).st_mode & OTHERS:
        logger.warning("the TLS key %s can be read by every user of this machine: chmod 600", path)
