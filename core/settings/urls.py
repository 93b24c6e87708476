"""Addresses of servers whose word is believed: HTTPS, or this machine itself."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PLAIN = re.compile(r"[\x21-\x7e]{1,2000}")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_secure_url(text: str) -> bool:
    """Return whether a text is an https URL, or an http one of loopback; without user or fragment.

    Whoever can change what comes from such an address decides who is let in.
    """
    if not _PLAIN.fullmatch(text) or '"' in text or "\\" in text:
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or "#" in text or port == 0 or not _HOST.fullmatch(host):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
