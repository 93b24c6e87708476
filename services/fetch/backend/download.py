"""What the client hands back: values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

CacheMode = Literal["normal", "reload", "only"]
"""`reload` asks the server whatever is kept, `only` never asks it."""

CacheState = Literal["hit", "miss", "revalidated", "bypass"]
"""`bypass`: the cache was not asked, because of `reload` or because it is off."""

Progress = Callable[[int, int | None], Awaitable[None]]
"""Awaited with the bytes that came over the wire so far, and how many it will be, if known."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """One redirect that was followed: its status, and the URL that it led to."""

    status: int
    url: str


@dataclass(frozen=True, slots=True)
class RobotsVerdict:
    """What a site's robots.txt says about one URL.

    Attributes:
        rule: The line that decided, as written and with its number; None when none did.
        crawl_delay_s: Seconds between two requests that the site asks for.
        sitemaps: URLs as the file names them, unchecked.
        url: Of the robots.txt.
        status: With which it was answered; None when no answer came.
        reason: One sentence for people.
    """

    allowed: bool
    rule: str | None
    crawl_delay_s: float | None
    sitemaps: tuple[str, ...]
    url: str
    status: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One page, whole.

    Attributes:
        url: The URL that was asked for, as WHATWG serialises it.
        final_url: Where the body came from, after redirects.
        status: 4xx and 5xx are answers too.
        headers: Names in lower case; those of the connection and cookies are left out.
        body: After its content-encoding was undone.
        bytes_wire: Bytes of the body that came over the wire in this call, compressed; 0 from the
            cache.
        robots: About the final URL; None when robots.txt is not asked for.
        elapsed_ms: Of the whole call.
        warnings: Sentences for the reader: what is odd about how the page came.
    """

    url: str
    final_url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    content_type: str | None
    bytes_wire: int
    bytes_decoded: int
    redirects: tuple[Redirect, ...]
    cache: CacheState
    robots: RobotsVerdict | None
    elapsed_ms: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a server says about a page without sending it.

    Attributes:
        headers: Those on an allow list, names in lower case.
        size_bytes: Content-Length, if the server gives one.
        certificate_expires_at: UTC, ISO 8601; None for http.
    """

    url: str
    final_url: str
    status: int
    headers: Mapping[str, str]
    redirects: tuple[Redirect, ...]
    content_type: str | None
    size_bytes: int | None
    certificate_expires_at: str | None
    elapsed_ms: float
