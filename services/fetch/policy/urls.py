"""Which URLs may be fetched, and how one is read.

The reading of record is the WHATWG URL standard's, by ada-url: what browsers make of a text, and
what is requested. httpx, a reader of RFC 3986 made by others, has to read the serialised result
alike, part by part; otherwise the URL is refused, because whoever else looks at it, a proxy or the
caller's own list of hosts, may see a third thing. What WHATWG repairs in silence
(tabs and newlines dropped, backslashes turned, missing slashes added, percent signs and invisible
characters in a host removed) is refused as well: it is how one host is made to look like another.

A host may be written in any way (2130706433, 0x7f.1, full-width digits): it is judged, here by the
lists of hosts and in the dialler by `addresses`, as what WHATWG says it is.

Source: https://url.spec.whatwg.org/ (URL parsing, host parsing), RFC 3986 §3.2, RFC 1123 §2.1.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ada_url
import httpx

from core.errors import ToolError
from services.fetch.errors import BadUrl, UrlRefused
from services.fetch.policy.addresses import unmapped

MAX_URL_CHARS = 8_000
"""Of the text and of what it is serialised to: RFC 9110 §4.1 asks for 8,000 octets to work."""

AROUND = " \t\r\n"
"""What may stand around a URL that a caller gives; within it nothing of this may stand."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_FORM = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?:(?P<slashes>/{2,})(?P<authority>[^/?#]*))?"
)
_COPIED_ALONG = re.compile(r"[<\[(\"'`].*?(https?://[^\s<>\[\]()\"'`]+)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
# Characters that IDNA drops without a trace (UTS #46, "ignored"), variation selectors of emoji
# aside, which people copy without knowing.
_DROPPED = frozenset("\u00ad\u034f\u200b\u2060\u2064\ufeff")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was checked.

    Attributes:
        url: As WHATWG serialises it, without its fragment and its host's trailing dot.
        scheme: http or https.
        host: Lower case ASCII, IDNs in punycode; an address without brackets.
        port: The scheme's own where the URL names none.
        fragment: What stood behind #, percent-encoded; empty for none.
    """

    url: str
    scheme: str
    host: str
    port: int
    fragment: str

    @property
    def origin(self) -> str:
        """The part of the URL before its path."""
        return "/".join(self.url.split("/", 3)[:3])


class UrlPolicy:
    """Reads URLs and refuses what may not be fetched.

    Args:
        ports: Those that URLs may name or mean.
        allow_hosts: Patterns of hosts that may be fetched; all when empty. example.org is that host
            only, *.example.org every one below it; an address stands for itself.
        deny_hosts: Patterns of hosts that may not be fetched, allowed ones included.

    Raises:
        ValueError: A pattern is none.
    """

    def __init__(
        self,
        *,
        ports: Iterable[int],
        allow_hosts: Iterable[str] = (),
        deny_hosts: Iterable[str] = (),
    ) -> None:
        self._ports = frozenset(ports)
        self._allowed = tuple(map(_pattern, allow_hosts))
        self._denied = tuple(map(_pattern, deny_hosts))

    def check(self, url: str, *, base: str | None = None) -> Target:
        """Read a URL.

        Args:
            url: White space around it is dropped, as WHATWG does: it is copied along.
            base: What a relative one is relative to, such as the URL that redirected; itself
                checked before. Only spaces are dropped then, since no person copied it.

        Raises:
            BadUrl: It is no URL, or not one that every reader understands alike.
            UrlRefused: It is one, and a rule forbids it.
        """
        text = url.strip(AROUND if base is None else " ")
        _check_characters(text)
        _check_form(text, relative=base is not None)
        target = _read(text, base)
        _check_agreement(target)
        self._check_port(target)
        self._check_lists(target)
        return target

    def _check_port(self, target: Target) -> None:
        if target.port not in self._ports:
            raise _refusal(
                "port",
                f"Port {target.port} is not fetched from.",
                f"Ports that may be named: {', '.join(map(str, sorted(self._ports)))}.",
            )

    def _check_lists(self, target: Target) -> None:
        if any(_matches(target.host, pattern) for pattern in self._denied):
            raise _refusal(
                "host_denied", f"The operator does not let {target.host} be fetched.", _OTHER_HOST
            )
        if self._allowed and not any(_matches(target.host, p) for p in self._allowed):
            raise _refusal(
                "host_not_allowed",
                f"{target.host} is none of the hosts that the operator lets be fetched.",
                _OTHER_HOST,
            )


_OTHER_HOST = "Use another source; the operator sets MCP_FETCH_ALLOW_HOSTS and _DENY_HOSTS."
_WRITE_PLAIN = "Write the host as it is, e.g. https://example.org/path."


# --- the text ---------------------------------------------------------------------------------


def _check_characters(text: str) -> None:
    _check_length(text)
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise BadUrl("The URL holds half a surrogate pair.", reason_code="not_unicode")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise BadUrl(
            "The URL holds a control character, such as a tab or a line break.",
            hint="Remove it, or write it percent-encoded if it belongs to the path or query.",
            reason_code="control_character",
        )
    if "\\" in text.partition("#")[0]:
        raise _refusal(
            "backslash",
            "The URL holds a backslash, which some readers take for a slash.",
            "Write / for a separator, or %5C for a backslash in path or query.",
        )


def _check_length(text: str) -> None:
    if len(text) > MAX_URL_CHARS:
        raise BadUrl(
            f"The URL is longer than {MAX_URL_CHARS} characters, percent-encoded.",
            hint="Give the page's own URL, without tracking parameters.",
            reason_code="too_long",
        )


def _check_form(text: str, *, relative: bool) -> None:
    """Refuse what WHATWG would repair before the path, and name what is missing."""
    form = _FORM.match(text)
    assert form is not None  # every part is optional
    scheme, authority = form["scheme"], form["authority"]
    if not text and not relative:
        raise BadUrl("The URL is empty.", reason_code="empty")
    if scheme is None and not relative:
        raise _no_scheme(text)
    if scheme is not None and scheme.lower() not in DEFAULT_PORTS:
        raise _other_scheme(scheme, text)
    if scheme is not None and authority is None:
        raise _refusal(
            "ambiguous",
            f"{scheme}: is not followed by two slashes, and readers differ on what that means.",
            _WRITE_PLAIN,
        )
    if authority is not None:
        _check_authority(form["slashes"], authority)


def _check_authority(slashes: str, authority: str) -> None:
    """Judge the text between // and the path."""
    if "@" in authority:
        raise _refusal(
            "userinfo",
            "The URL has an @ before its path: a user name, or a host made to look like one.",
            "Leave out everything up to the @; pages that need a password cannot be fetched.",
        )
    if len(slashes) > len("//") or not authority or authority.startswith(":"):
        raise BadUrl("The URL has no host after its two slashes.", reason_code="missing_host")
    if "%" in authority:
        raise _refusal(
            "percent_in_host",
            "The host holds a percent sign, which readers decode or not.",
            _WRITE_PLAIN,
        )
    if not _DROPPED.isdisjoint(authority):
        raise _refusal(
            "invisible_character", "The host holds an invisible character.", _WRITE_PLAIN
        )


def _no_scheme(text: str) -> BadUrl:
    within = _COPIED_ALONG.match(text)
    meant = within[1] if within else f"https://{text.lstrip('/')}"
    return BadUrl(
        "The URL has no scheme.",
        hint=f"Did you mean {meant[:208]}?",
        reason_code="missing_scheme",
    )


def _other_scheme(scheme: str, text: str) -> BadUrl | UrlRefused:
    """Tell host:port, which parses as a scheme, from a scheme that is not fetched."""
    rest = text[len(scheme) + 1 :]
    if re.match(r"[0-9]{1,5}(?:[/?#]|$)", rest) or ("." in scheme and not rest.startswith("//")):
        return _no_scheme(text)
    return _refusal(
        "scheme",
        f"URLs of the scheme {scheme[:40].lower()} are not fetched.",
        "Only http and https are fetched.",
    )


# --- the URL ----------------------------------------------------------------------------------


def _read(text: str, base: str | None) -> Target:
    """Read a text as WHATWG does; drop the fragment and the dot that ends a full name."""
    try:
        url = ada_url.URL(text, base)
        url.hostname = url.hostname.removesuffix(".")
    except ValueError as error:
        raise _unreadable(text) from error
    host = url.hostname
    if url.host_type == ada_url.HostType.DEFAULT:
        _check_name(host)
    fragment = url.hash.removeprefix("#")
    del url.hash
    _check_length(url.href)
    scheme = url.protocol.removesuffix(":")
    return Target(
        url=url.href,
        scheme=scheme,
        host=host.strip("[]"),
        port=int(url.port) if url.port else DEFAULT_PORTS[scheme],
        fragment=fragment,
    )


def _unreadable(text: str) -> BadUrl:
    """Say what is wrong with a URL that WHATWG does not read: its port or its host."""
    form = _FORM.match(text)
    authority = (form and form["authority"]) or ""
    port = re.search(r":([^:\]]*)$", authority)
    if port and not (port[1].isascii() and port[1].isdigit() and int(port[1][:9]) <= 65_535):
        return BadUrl(
            "The URL's port is not a number up to 65535.",
            hint="Leave the port out, or write digits, e.g. https://example.org:8443/.",
            reason_code="bad_port",
        )
    return BadUrl(
        "The URL's host is neither a host name nor an address.",
        hint=_WRITE_PLAIN,
        reason_code="bad_host",
    )


def _check_name(host: str) -> None:
    """Refuse names that DNS cannot hold, or that say in punycode what no IDN says."""
    if not _NAME.fullmatch(host) or not all(map(_is_sound_label, host.split("."))):
        raise BadUrl(
            "The URL's host is not a host name: labels of 1 to 63 letters, digits and hyphens, "
            "253 characters in all.",
            reason_code="bad_host",
        )


def _is_sound_label(label: str) -> bool:
    """Whether a punycode label is what its own decoded form is encoded as."""
    if not label.startswith("xn--"):
        return True
    try:
        decoded = label.removeprefix("xn--").encode("ascii").decode("punycode")
        return bool(ada_url.idna_to_ascii(decoded) == label.encode())
    except (UnicodeError, ValueError):
        return False


def _check_agreement(target: Target) -> None:
    """Refuse a URL that httpx reads otherwise."""
    try:
        url = httpx.URL(target.url)
        port = DEFAULT_PORTS[url.scheme] if url.port is None else url.port
        seen = (url.scheme, url.userinfo, url.raw_host, port, url.raw_path)
    except (httpx.InvalidURL, ValueError, KeyError):
        seen = None
    path = target.url[len(target.origin) :]
    if seen != (target.scheme, b"", target.host.encode(), target.port, path.encode()):
        raise _refusal(
            "ambiguous", "Readers of this URL differ on its host, port or path.", _WRITE_PLAIN
        )


def _refusal(reason_code: str, message: str, hint: str) -> UrlRefused:
    facts: dict[str, Any] = {"reason_code": reason_code}
    return UrlRefused(message, hint=hint, **facts)


# --- patterns of hosts ------------------------------------------------------------------------


def _pattern(text: str) -> str:
    """Return a pattern as the hosts of targets are written."""
    below, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    url = f"http://[{name}]/" if ":" in name and not name.startswith("[") else f"http://{name}/"
    try:
        _check_characters(url)
        _check_form(url, relative=False)
        target = _read(url, None)
        if re.search(r"[/?#]|\]:", name) or (below and _ip(target.host)):
            raise ValueError("more than a host, or below an address")
    except (ValueError, ToolError) as error:
        raise ValueError(
            f"{text!r} is no pattern of hosts; write example.org, *.example.org or an address"
        ) from error
    return below + target.host


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern or (_ip(host) is not None and _ip(host) == _ip(pattern))


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, so that an IPv4-mapped one matches its IPv4 pattern."""
    try:
        return unmapped(ipaddress.ip_address(host))
    except ValueError:
        return None
