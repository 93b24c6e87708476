"""Files of a certificate for localhost, as the shipped proxies want them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from tests.servers.certificates import Authority


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of one certificate.

    Attributes:
        authority: PEM file of the authority that clients have to trust.
        chain, key: PEM files.
        both: Chain and key in one PEM file.
    """

    authority: Path
    chain: Path
    key: Path
    both: Path

    def context(self) -> ssl.SSLContext:
        """Return what a client needs to trust it."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificate(folder: Path) -> Certificate:
    """Make an authority and a certificate for localhost and 127.0.0.1, good for a day."""
    authority = Authority()
    pair = authority.sign()
    files = Certificate(*(folder / f"{n}.pem" for n in ("authority", "chain", "key", "both")))
    files.authority.write_bytes(authority.certificate)
    files.chain.write_bytes(pair.certificate)
    files.key.write_bytes(pair.key)
    files.both.write_bytes(pair.certificate + pair.key)
    return files
