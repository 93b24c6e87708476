"""Addresses: of servers whose word is believed, hosts, and origins of browsers."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PLAIN = re.compile(r"[\x21-\x7e]{1,2000}")
_NAME = re.compile(r"(?=.{1,253}\.?\Z)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
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


def require_host(text: str) -> str:
    """Return a host as it is: a name, an IPv4 or an IPv6 address, or nothing for all addresses.

    Numbers with dots are addresses, which are whole (RFC 1123 §2.1).

    Raises:
        ValueError: It is none, such as a URL, or has a port.
    """
    try:
        ipaddress.ip_address(text or "::")
    except ValueError:
        is_number = text.rstrip(".").rpartition(".")[2].isdecimal()
        if is_number or not _NAME.fullmatch(text):
            raise ValueError(
                f"{text[:100]!r} is neither a host name nor an address; without scheme, port and "
                "path"
            ) from None
    return text


def host_header_of(text: str) -> str:
    """Return a host as the header Host names it, without port: IPv6 addresses in brackets.

    Raises:
        ValueError: It is neither a name nor an address.
    """
    host = require_host(text.removeprefix("[").removesuffix("]") or ".")
    return f"[{host}]" if ":" in host else host


def require_origin(text: str) -> str:
    """Return an origin of a browser as it is: scheme, host and perhaps port (RFC 6454 §6.2).

    Raises:
        ValueError: It is none.
    """
    try:
        parts = urlsplit(text)
        whole = _SCHEME.fullmatch(parts.scheme) and parts.hostname and parts.port != 0
        extra = parts.path.removeprefix("/") or parts.query or parts.fragment or "@" in parts.netloc
    except ValueError:
        whole, extra = None, ""
    if not whole or extra or not _PLAIN.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no origin; write it as https://chat.example.org")
    return text
