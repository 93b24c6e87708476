"""Feeds, as items that read like a page: RSS and Atom (read in `xml_documents`), JSON Feed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from lxml.etree import _Element as Element

from services.fetch.convert.document import Heading, Link, PageMetadata
from services.fetch.convert.inline import escaped
from services.fetch.convert.markdown import absolute, write
from services.fetch.convert.tree import parse
from services.fetch.convert.visibility import remove_hidden, without_invisible_characters

MAX_ENTRIES = 1000
_MAX_ENTRY_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item; its body is HTML."""

    title: str | None
    link: str | None
    date: str | None
    author: str | None
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed."""

    title: str | None
    description: str | None = None
    link: str | None = None
    updated: str | None = None
    language: str | None = None
    entries: list[Entry] = field(default_factory=list)
    total: int = 0  # how many entries it has, of which the first ones were read


def read_json_feed(text: str) -> Feed | None:
    """Read a JSON Feed (jsonfeed.org, version 1.1); None when it is other JSON."""
    if "jsonfeed.org/version" not in text[:2000]:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("items"), list):
        return None
    items = [item for item in data["items"] if isinstance(item, dict)]
    return Feed(
        title=_string(data.get("title")),
        description=_string(data.get("description")),
        link=_string(data.get("home_page_url")),
        language=_string(data.get("language")),
        entries=[_json_entry(item) for item in items[:MAX_ENTRIES]],
        total=len(items),
    )


def _json_entry(item: dict[str, Any]) -> Entry:
    authors = item.get("authors")
    first_author = authors[0] if isinstance(authors, list) and authors else item.get("author")
    text = _string(item.get("content_text")) or _string(item.get("summary")) or ""
    return Entry(
        title=_string(item.get("title")),
        link=_string(item.get("url")) or _string(item.get("external_url")),
        date=_string(item.get("date_published")) or _string(item.get("date_modified")),
        author=_string(first_author.get("name")) if isinstance(first_author, dict) else None,
        html=_string(item.get("content_html"))
        or text.replace("&", "&amp;").replace("<", "&lt;").replace("\n\n", "<p>"),
    )


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


@dataclass(slots=True)
class _Text:
    """Text under way, and the headings in it."""

    pieces: list[str] = field(default_factory=list)
    outline: list[Heading] = field(default_factory=list)
    length: int = 0

    def add(self, text: str) -> None:
        """Add a paragraph."""
        self.pieces.append(text + "\n\n")
        self.length += len(text) + 2

    def head(self, level: int, title: str, *, plain: bool) -> None:
        """Add a heading."""
        self.outline.append(Heading(level, title, self.length))
        self.add(title if plain else f"{'#' * level} {escaped(title)}")


def feed_text(feed: Feed, base_url: str, *, plain: bool) -> tuple[str, tuple[Heading, ...], int]:
    """Write a feed; return the text, its headings and how much hidden content was removed."""
    text = _Text()
    hidden = 0
    text.head(1, _bare(feed.title) or "Feed", plain=plain)
    if feed.description:
        text.add(_bare(feed.description) or "")
    for entry in feed.entries:
        text.head(2, _bare(entry.title) or "(no title)", plain=plain)
        facts = [_bare(entry.date), _bare(entry.author)]
        if entry.link:
            url = absolute(base_url, entry.link)
            facts.append(url if plain else f"<{url}>")
        if line := " · ".join(fact for fact in facts if fact):
            text.add(line)
        body, removed = _body(entry.html, base_url, plain=plain)
        hidden += removed
        if body:
            text.add(body)
    return "".join(text.pieces).rstrip(), tuple(text.outline), hidden


def _body(html: str, base_url: str, *, plain: bool) -> tuple[str, int]:
    html, hidden = without_invisible_characters(html[: 10 * _MAX_ENTRY_CHARACTERS])
    tree = parse(html)
    if tree is None:
        return "", hidden
    hidden += remove_hidden(tree.root).elements
    text = write(tree.root, base_url, plain=plain, images=False).text
    if len(text) > _MAX_ENTRY_CHARACTERS:
        text = text[:_MAX_ENTRY_CHARACTERS] + " …"
    return text, hidden


def _bare(text: str | None) -> str | None:
    """Return text without the markup that titles of feeds may hold."""
    if text and ("<" in text or "&" in text):
        tree = parse(text)
        text = "".join(tree.root.itertext()) if tree else ""
    return " ".join((text or "").split())[:1000] or None


def feed_links(feed: Feed, base_url: str) -> tuple[Link, ...]:
    """Return where the items lead, each once."""
    found: dict[str, Link] = {}
    for entry in feed.entries:
        if entry.link:
            url = absolute(base_url, entry.link)
            if url.startswith(("http://", "https://")):
                found.setdefault(url, Link(url, _bare(entry.title) or "", "link"))
    return tuple(found.values())


def feed_metadata(feed: Feed) -> PageMetadata:
    """Return what the feed says about itself."""
    return PageMetadata(
        title=_bare(feed.title),
        description=_bare(feed.description),
        modified=_bare(feed.updated),
        canonical_url=feed.link if (feed.link or "").startswith("http") else None,
        language=_bare(feed.language),
    )


def local(element: Element) -> str:
    """Return an element's name without its namespace; empty for what is no element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def first(element: Element, name: str) -> Element | None:
    """Return the first child of that name, in any namespace."""
    return next((child for child in element if local(child) == name), None)


def own_text(element: Element) -> str:
    """Return all text in an element, trimmed."""
    return "".join(element.itertext()).strip()
