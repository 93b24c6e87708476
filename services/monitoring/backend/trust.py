"""Whom a probe believes when a service speaks TLS, and when its certificate expires."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

from cryptography import x509

from core.settings import TLSSection


@dataclass(frozen=True, slots=True)
class Trust:
    """What is needed to speak TLS with the services of this suite.

    Attributes:
        authority: PEM file of the authority that signed their certificates.
        own: This server's own TLS settings. deploy.sh gives all services one certificate, so the
            others' is known here: it is trusted itself, whatever name it is for.
    """

    authority: Path | None = None
    own: TLSSection = field(default_factory=TLSSection)

    def context(self) -> ssl.SSLContext:
        """Return the context of the probes.

        Raises:
            OSError, ssl.SSLError: A file cannot be read, or is no PEM file.
        """
        context = ssl.create_default_context()
        if self.authority is not None:
            context = ssl.create_default_context(cafile=str(self.authority))
        elif self.own.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=str(self.own.certificate))
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.check_hostname = False
        if self.own.client_ca is not None and self.own.certificate is not None:
            context.load_cert_chain(self.own.certificate, self.own.key)
        return context


def unverified() -> ssl.SSLContext:
    """Return a context that takes any certificate: to look at one, never to send a key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def expiry_of(certificate: bytes) -> float:
    """Return when a certificate (DER) expires, seconds since the epoch.

    Raises:
        ValueError: It is no certificate.
    """
    return (
        x509.load_der_x509_certificate(certificate).not_valid_after_utc.astimezone(UTC).timestamp()
    )
