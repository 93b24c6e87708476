"""What a page says about itself: JSON-LD, OpenGraph, Dublin Core, plain `<meta>`, its own text.

Read before anything is taken out of the page. Times stay as the page wrote them; no guessing from
prose, which costs more than all the rest of a conversion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lxml.etree import _Element as Element

from services.fetch.convert.document import PageMetadata
from services.fetch.convert.markdown import absolute

_MAX_CHARACTERS = 1000  # of one value
_MAX_SCRIPT_CHARACTERS = 500_000
_MAX_NODES = 2000  # of one JSON-LD block
_DATE = re.compile(r"[12]\d{3}-[01]\d(?:-[0-3]\d.{0,30})?$|[12]\d{3}[01]\d[0-3]\d.{0,20}$")
_CONTENT_TYPES = re.compile(
    r"Article|Posting|WebPage|Report|Recipe|Product|Event|Video|Book|QAPage"
)
_BYLINE = (
    ".//*[@rel='author'] | .//*[@itemprop='author']"
    " | .//*[contains(concat(' ', normalize-space(@class), ' '), ' author ')]"
    " | .//*[contains(concat(' ', normalize-space(@class), ' '), ' byline ')]"
)
# For each field the names of `<meta>` elements, best first.
_META = {
    "title": ("og:title", "twitter:title", "dc.title", "dcterms.title", "citation_title"),
    "author": ("author", "article:author", "dc.creator", "dcterms.creator", "citation_author",
               "parsely-author", "sailthru.author", "byl"),
    "published": ("article:published_time", "og:published_time", "datepublished", "date",
                  "dc.date", "dcterms.date", "dc.date.issued", "dcterms.created", "pubdate",
                  "parsely-pub-date", "sailthru.date", "citation_publication_date",
                  "article:published"),
    "modified": ("article:modified_time", "og:updated_time", "datemodified", "last-modified",
                 "dcterms.modified"),
    "site_name": ("og:site_name", "application-name", "apple-mobile-web-app-title"),
    "description": ("og:description", "description", "twitter:description", "dc.description"),
    "language": ("og:locale", "content-language", "dc.language"),
}  # fmt: skip


def read_metadata(root: Element, base_url: str) -> PageMetadata:
    """Read what a page says about itself."""
    metas = _metas(root)
    node = _main_node(root)
    meta = {field: _first(metas, names) for field, names in _META.items()}
    return PageMetadata(
        title=_title(root, node, meta["title"]),
        author=_names(node.get("author")) or _no_url(meta["author"]) or _byline(root),
        published=_text(node.get("datePublished")) or meta["published"] or _time(root),
        modified=_text(node.get("dateModified")) or meta["modified"],
        site_name=meta["site_name"] or _names(node.get("publisher")),
        language=_language(root, meta["language"]),
        canonical_url=_canonical(root, metas, base_url),
        description=meta["description"] or _text(node.get("description")),
    )


def _metas(root: Element) -> dict[str, str]:
    """Return the page's `<meta>` elements by lower-case name; the first of each name counts."""
    found: dict[str, str] = {}
    for element in root.iter("meta"):
        name = (
            element.get("property")
            or element.get("name")
            or element.get("itemprop")
            or element.get("http-equiv")
        )
        content = _text(element.get("content"))
        if name and content:
            found.setdefault(name.strip().lower(), content)
    return found


def _first(metas: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((metas[name] for name in names if name in metas), None)


def _text(value: object) -> str | None:
    """Return a value as one line of bounded length; None for what is no text."""
    if not isinstance(value, str):
        return None
    return " ".join(value[: 4 * _MAX_CHARACTERS].split())[:_MAX_CHARACTERS] or None


def _title(root: Element, node: Mapping[str, Any], named: str | None) -> str | None:
    """Choose a title: what is meant for sharing, or the only h1 when `<title>` begins with it."""
    whole = next((_content(element) for element in root.iter("title")), None)
    if named:
        return named
    if headline := _text(node.get("headline")):
        return headline
    headings = [text for element in root.iter("h1") if (text := _content(element))]
    if len(headings) == 1 and (whole is None or headings[0] in whole):
        return headings[0]
    return whole or (headings[0] if headings else None)


def _content(element: Element) -> str | None:
    return _text("".join(element.itertext()))


def _byline(root: Element) -> str | None:
    for element in root.xpath(_BYLINE)[:5]:
        text = _content(element)
        if text and len(text) <= 80:
            return re.sub(r"(?i)^(?:written\s+|posted\s+)?by:?\s+", "", text) or None
    return None


def _no_url(text: str | None) -> str | None:
    return None if text and text.startswith(("http://", "https://", "@")) else text


def _time(root: Element) -> str | None:
    """Return the first date of a `<time>` element, or of schema.org's attribute."""
    for element in root.xpath(
        "(.//*[@itemprop='datePublished'] | .//time[@datetime])[position()<6]"
    ):
        text = _text(element.get("datetime") or element.get("content"))
        if text and _DATE.match(text):
            return text
    return None


def _language(root: Element, named: str | None) -> str | None:
    language = _text(root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang"))
    language = language or named
    if language and re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*", language):
        return language.replace("_", "-")
    return None


def _canonical(root: Element, metas: Mapping[str, str], base_url: str) -> str | None:
    for link in root.iter("link"):
        if "canonical" in (link.get("rel") or "").lower().split() and link.get("href"):
            return _web(absolute(base_url, link.get("href")))
    named = metas.get("og:url")
    return _web(absolute(base_url, named)) if named else None


def _web(url: str) -> str | None:
    return url if url.startswith(("http://", "https://")) else None


# --- JSON-LD ------------------------------------------------------------------------------------


def embedded_json(root: Element) -> list[str]:
    """Return the texts of a page's data blocks: JSON-LD first, then what its app starts from."""
    scripts = root.xpath(
        "//script[@type='application/ld+json'] | //script[@type='application/json']"
    )
    scripts.sort(key=lambda script: script.get("type") != "application/ld+json")
    return [text for script in scripts if (text := (script.text or "").strip())]


def _main_node(root: Element) -> Mapping[str, Any]:
    """Return the JSON-LD node that tells most about the page; an empty one when there is none."""
    best: Mapping[str, Any] = {}
    for script in root.iterfind(".//script[@type='application/ld+json']"):
        text = script.text or ""
        if len(text) > _MAX_SCRIPT_CHARACTERS:
            continue
        try:
            data = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            continue
        for node in _nodes(data):
            if _worth(node) > _worth(best):
                best = node
    return best


def _nodes(data: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the nodes of a JSON-LD document, not those that are values of others."""
    waiting = [data]
    for _ in range(_MAX_NODES):
        if not waiting:
            return
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item[:_MAX_NODES]))
        elif isinstance(item, dict):
            yield item
            inner = map(item.get, ("@graph", "mainEntity", "mainEntityOfPage"))
            waiting += [value for value in inner if isinstance(value, dict | list)]


def _worth(node: Mapping[str, Any]) -> int:
    if not _CONTENT_TYPES.search(str(node.get("@type"))[:200]):
        return 0
    fields = ("headline", "author", "datePublished", "dateModified", "publisher")
    return 1 + sum(name in node for name in fields)


def _names(value: Any) -> str | None:
    """Return the names of a person or several."""
    if isinstance(value, list):
        names = [name for item in value[:10] if (name := _names(item))]
        return ", ".join(dict.fromkeys(names)) or None
    if isinstance(value, dict):
        return _names(value.get("name"))
    return _no_url(_text(value))
