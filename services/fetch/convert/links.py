"""Where a page leads: its links, and the feeds and sitemaps that its head names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lxml.etree import _Element as Element

from services.fetch.convert.document import Link, LinkKind
from services.fetch.convert.markdown import absolute

MAX_LINKS = 50_000
MAX_CHARACTERS = 4_000_000  # of all their addresses and texts
_MAX_TEXT = 200
_REFRESH = re.compile(
    r"""[\d.]*+(?:\s*+[;,]|\s)\s*+(?:url\s*+=\s*+)?+(?:"([^"]+)|'([^']+)|([^"'\s][^\n]*))""",
    re.IGNORECASE,
)
_WEB = re.compile(r"https?://(?:[^/?#@]*@)?(?:[^/?#@:\s\[]|\[[0-9A-Fa-f:.]+\])")
_FEEDS = frozenset(
    ("application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml")
)


class Links(NamedTuple):
    """The links of a page; `is_whole` is False where there were more than may be kept."""

    found: tuple[Link, ...]
    is_whole: bool


def read_links(root: Element, base_url: str, page_url: str) -> Links:
    """Return every place a page leads to once, absolute and without fragment, in order.

    Left out are places that are no pages (`mailto:`, `javascript:`, `data:`, …) and jumps within
    this one.
    """
    here = page_url.split("#", 1)[0]
    found: dict[str, Link] = {}
    characters = 0
    for href, text, kind in _references(root):
        url = absolute(base_url, href).split("#", 1)[0]
        if not _is_web(url) or (kind == "link" and url == here):
            continue
        before = found.get(url)
        if before is None:
            characters += len(url) + len(text)
            if len(found) >= MAX_LINKS or characters > MAX_CHARACTERS:
                return Links(tuple(found.values()), is_whole=False)
        if before is None or (before.kind == kind == "link" and not before.text):
            found[url] = Link(url, text, kind)
    return Links(tuple(found.values()), is_whole=True)


def base_of(root: Element, page_url: str) -> str:
    """Return what relative links are resolved against: `<base href>`, or the page itself."""
    for base in root.iter("base"):
        href = base.get("href")
        if href:
            url = absolute(page_url, href)
            return url if _is_web(url) else page_url
    return page_url


def _references(root: Element) -> Iterator[tuple[str, str, LinkKind]]:
    for link in root.iter("link"):
        kind = _kind(link)
        if kind and link.get("href"):
            yield link.get("href"), _one_line(link.get("title") or link.get("hreflang")), kind
    if (target := refresh_target(root)) is not None:
        yield target, "", "link"
    for anchor in root.iter("a", "area", "frame"):
        href = anchor.get("src" if anchor.tag == "frame" else "href")
        if href:
            yield href, _text(anchor), "link"


def _kind(link: Element) -> LinkKind | None:
    relations = (link.get("rel") or "").lower().split()
    if "sitemap" in relations:
        return "sitemap"
    if "next" in relations or "prev" in relations:
        return "link"
    if "alternate" not in relations or "stylesheet" in relations:
        return None
    return "feed" if (link.get("type") or "").strip().lower() in _FEEDS else "alternate"


def _text(anchor: Element) -> str:
    text = _one_line("".join(anchor.itertext()))
    if text:
        return text
    image = anchor.find(".//img")
    alt = image.get("alt") if image is not None else None
    names = ("aria-label", "title", "alt", "name")
    return _one_line(alt or next(filter(None, map(anchor.get, names)), None))


def refresh_target(root: Element) -> str | None:
    """Return where a page forwards to by `<meta http-equiv=refresh>` (HTML §4.2.5.3)."""
    for meta in root.iter("meta"):
        is_refresh = (meta.get("http-equiv") or "").strip().lower() == "refresh"
        if is_refresh and (found := _REFRESH.match((meta.get("content") or "").strip())):
            return found[1] or found[2] or found[3]
    return None


def _one_line(text: str | None) -> str:
    return " ".join((text or "")[: 5 * _MAX_TEXT].split())[:_MAX_TEXT]


def _is_web(url: str) -> bool:
    return bool(_WEB.match(url))
