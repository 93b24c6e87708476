"""Requests as GitHub's documentation writes them, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from services.github.errors import BadName
from services.github.policy.names import checked_segments, checked_text

JSON = "application/vnd.github+json"
RAW = "application/vnd.github.raw+json"
DIFF = "application/vnd.github.diff"

MAX_PARAMETER_BYTES = 4096

_HOLE = re.compile(r"\{(\+?)([a-z_]+)\}")
_LINK = re.compile(r'<([^<>]*)>\s*;[^,]*?\brel="?(\w+)"?')
Query = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to the REST API.

    Attributes:
        method: GET, HEAD, POST, PATCH, PUT or DELETE.
        route: As documented, ``/repos/{owner}/{repo}/issues/{issue_number}``; ``{+path}`` is filled
            with slashes kept.
        values: What fills the route.
        query: Members that are None are left out; lists are joined with commas.
        body: JSON value, sent when not None.
        accept: Media type that is asked for.
    """

    method: str = "GET"
    route: str
    values: Mapping[str, str | int] = field(default_factory=dict)
    query: Query = field(default_factory=dict)
    body: Any = None
    accept: str = JSON

    @property
    def reads(self) -> bool:
        """Whether it changes nothing, so that it may be repeated (RFC 9110 section 9.2.1)."""
        return self.method in ("GET", "HEAD")

    def path(self) -> str:
        """Return the path that the final URL has to have, percent-encoded.

        Raises:
            BadName: A value would lead somewhere else than the route says.
        """
        return _HOLE.sub(self._filled, self.route)

    def parameters(self) -> dict[str, str]:
        """Return the query as it is sent.

        Raises:
            BadName: A value has control characters or half a surrogate pair, or is too long.
        """
        return {
            name: _parameter(name, value) for name, value in self.query.items() if value is not None
        }

    def _filled(self, hole: re.Match[str]) -> str:
        with_slashes, name = hole.groups()
        value = str(self.values[name])
        parts = checked_segments(value, name)
        if len(parts) > 1 and not with_slashes:
            raise BadName(f"{value!r} is not a {name}: it has a slash.", what=name)
        return "/".join(quote(part, safe="") for part in parts)


def query_of(parameters: Mapping[str, str]) -> str:
    """Return parameters as they stand in the URL, with the question mark; "" for none."""
    return f"?{urlencode(sorted(parameters.items()))}" if parameters else ""


def _parameter(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return checked_text(text, name, max_bytes=MAX_PARAMETER_BYTES) if text else text


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of a quota is left, as the last answer said.

    Attributes:
        resource: Which quota: core, search, code_search, graphql …
        reset_at: When it is full again; UTC, ISO 8601.
    """

    limit: int | None
    remaining: int | None
    used: int | None
    reset_at: str | None
    resource: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Rate | None:
        """Read the headers of an answer (names in lower case); None when they say nothing."""
        if "x-ratelimit-limit" not in headers:
            return None
        reset = _number(headers.get("x-ratelimit-reset"))
        return cls(
            limit=_number(headers.get("x-ratelimit-limit")),
            remaining=_number(headers.get("x-ratelimit-remaining")),
            used=_number(headers.get("x-ratelimit-used")),
            reset_at=moment(reset),
            resource=headers.get("x-ratelimit-resource"),
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API.

    Attributes:
        status: HTTP status, below 300.
        data: The JSON, or text where another media type was asked for; None for an empty answer.
        headers: Names in lower case.
        rate: The quota it was counted against.
        next_page: Of the Link header; None on the last page.
        last_page: Likewise; None when GitHub does not say.
        cached: Whether the content is from the cache, after GitHub said that it still holds.
        warnings: What was missing in the answer, in words.
    """

    status: int
    data: Any
    headers: Mapping[str, str]
    rate: Rate | None = None
    next_page: int | None = None
    last_page: int | None = None
    cached: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes of a file, log or archive.

    Attributes:
        content: At most as many as were asked for, from the beginning or from the end.
        total_bytes: Size of the whole; None when it is not known.
        truncated: Whether something is missing from `content`.
        media_type: As the server names it, without parameters.
        rate: The quota that the request was counted against.
    """

    content: bytes
    total_bytes: int | None
    truncated: bool
    media_type: str | None = None
    rate: Rate | None = None

    @property
    def text(self) -> str:
        """The content as UTF-8, with replacement characters where it is not."""
        return self.content.decode("utf-8", errors="replace")


def pages(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return the numbers of the next and the last page in a Link header (RFC 8288)."""
    links = {rel: url for url, rel in _LINK.findall(headers.get("link", ""))}
    return _page_of(links.get("next")), _page_of(links.get("last"))


def after_of(headers: Mapping[str, str]) -> str | None:
    """Return where the next page of a list begins that has positions instead of page numbers.

    Such are alerts, advisories and projects: their Link header says ``?after=…``.
    """
    links = {rel: url for url, rel in _LINK.findall(headers.get("link", ""))}
    found = parse_qs(urlsplit(links.get("next", "")).query).get("after")
    return found[0] if found else None


def _page_of(url: str | None) -> int | None:
    if url is None:
        return None
    return _number(parse_qs(urlsplit(url).query).get("page", [""])[0])


def _number(text: str | None) -> int | None:
    """Read a number; GitHub Enterprise has sent such headers as ``4999.0``."""
    try:
        return None if text is None else int(float(text))
    except (ValueError, OverflowError):
        return None


def moment(seconds: float | None) -> str | None:
    """Return a time; None for what is none, such as milliseconds taken for seconds."""
    try:
        return None if seconds is None else iso_time(seconds)
    except (ValueError, OverflowError, OSError):
        return None


def iso_time(seconds: float) -> str:
    """Write seconds since 1970 in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
