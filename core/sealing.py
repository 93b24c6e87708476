"""Sealed tokens: what a client keeps for us and must not read or change.

Session ids, cursors and `requestState` carry their own content, encrypted and authenticated with
AES-GCM, so that any replica with the same key accepts them, also after a restart. Each use has its
own purpose, bound as associated data: a cursor is never a session id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
MAX_TOKEN_CHARS = 256 * 1024
logger = logging.getLogger(__name__)


class Sealer:
    """Seals and opens tokens under one secret.

    Args:
        secret: Any text with at least 128 bits of randomness; hashed to the key.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._cipher = AESGCM(hashlib.sha256(b"mcp-seal-v1:" + secret.encode()).digest())

    def within(self, name: str) -> Sealer:
        """Return a sealer whose tokens are worth nothing outside a part of this server."""
        return Sealer(f"{self._secret}/{name}")

    def seal(self, purpose: str, payload: bytes) -> str:
        """Return a URL-safe token that holds `payload`."""
        return _encode(self.seal_bytes(purpose, payload))

    def seal_bytes(self, purpose: str, payload: bytes) -> bytes:
        """Return `payload` sealed, for where any byte may stand."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, payload, purpose.encode())

    def open(self, purpose: str, token: str) -> bytes:
        """Return the payload of a token.

        Raises:
            ValueError: It was not sealed by this key for this purpose.
        """
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise ValueError("not a token of this server")
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if _encode(raw) != token:  # one content, one spelling: what is denied stays denied
                raise ValueError("not canonical")
        except (binascii.Error, ValueError):
            raise ValueError("not a token of this server") from None
        return self.open_bytes(purpose, raw)

    def open_bytes(self, purpose: str, sealed: bytes) -> bytes:
        """Return the payload of what `seal_bytes` made.

        Raises:
            ValueError: It was not sealed by this key for this purpose.
        """
        try:
            nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return self._cipher.decrypt(nonce, rest, purpose.encode())
        except (InvalidTag, ValueError):
            raise ValueError("not a token of this server") from None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def load_or_make_secret(state_dir: Path) -> str:
    """Return the sealing secret kept in `state_dir`, made at the first start.

    Where the folder cannot be written, the secret lives as long as the process, and so do the
    sessions; the log says so.
    """
    file = state_dir / "seal.key"
    try:
        return _read(file)
    except FileNotFoundError:
        pass
    except OSError:
        return _for_this_process(file)
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = state_dir / f".seal.{os.getpid()}.{secrets.token_hex(4)}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_hex(32))
        try:
            os.link(draft, file)  # of several services that start at once, the first one wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return _read(file)
    except OSError:
        return _for_this_process(file)


def _read(file: Path) -> str:
    secret = file.read_text(encoding="ascii").strip()
    if len(secret) < 32:
        raise OSError(f"{file.name} is too short to be a secret")
    return secret


def _for_this_process(file: Path) -> str:
    logger.warning(
        "cannot keep %s in the state folder; sessions will end with this process. "
        "Set MCP_HTTP_SECURITY__SEAL_KEY or a writable MCP_HTTP_SERVER__STATE_DIR.",
        file.name,
    )
    return secrets.token_hex(32)
