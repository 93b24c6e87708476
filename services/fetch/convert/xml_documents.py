"""XML: feeds become their items, sitemaps their addresses, the rest is shown as it is.

Parsed without DTD, entities and network; a document that declares entities of its own is shown as
text only, so that none is ever expanded (CVE-2003-1564, "billion laughs").
"""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree
from lxml.etree import _Element as Element

from services.fetch.convert.document import Link
from services.fetch.convert.feeds import MAX_ENTRIES, Entry, Feed, first, local, own_text
from services.fetch.convert.links import MAX_LINKS

MAX_ADDRESSES = 50_000  # what one sitemap may list by its own rules (sitemaps.org)


class Sitemap(NamedTuple):
    """The pages, or further sitemaps, that a site lists."""

    addresses: tuple[tuple[str, str | None], ...]
    is_index: bool
    total: int


def parse_xml(text: str) -> Element | None:
    """Parse XML, repairing what is broken; None for what must not or cannot be parsed."""
    if "<!ENTITY" in text[:100_000]:
        return None
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        dtd_validation=False,
        recover=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        encoding="utf-8",
    )
    try:
        return etree.fromstring(text.encode("utf-8", "replace"), parser=parser)
    except etree.XMLSyntaxError:
        return None


def is_html(root: Element) -> bool:
    """Say whether a document is XHTML."""
    return str(root.tag) in ("html", "{http://www.w3.org/1999/xhtml}html")


def read_sitemap(root: Element) -> Sitemap | None:
    """Read a sitemap or an index of them; None when it is something else."""
    name = local(root)
    if name not in ("urlset", "sitemapindex"):
        return None
    addresses: list[tuple[str, str | None]] = []
    total = 0
    for entry in root:
        place = first(entry, "loc")
        url = own_text(place) if place is not None else ""
        if not url:
            continue
        total += 1
        if len(addresses) < MAX_ADDRESSES:
            changed = first(entry, "lastmod")
            addresses.append((url, own_text(changed) if changed is not None else None))
    return Sitemap(tuple(addresses), name == "sitemapindex", total)


def sitemap_text(sitemap: Sitemap, *, plain: bool) -> str:
    """Write a sitemap as a list."""
    what = "sitemaps" if sitemap.is_index else "pages"
    lines = [f"{'' if plain else '# '}Sitemap: {sitemap.total} {what}", ""]
    lines += [
        f"{'' if plain else '- '}{url if plain else f'<{url}>'}{f' ({changed})' if changed else ''}"
        for url, changed in sitemap.addresses
    ]
    return "\n".join(lines)


def sitemap_links(sitemap: Sitemap) -> tuple[Link, ...]:
    """Return its addresses as links."""
    kind = "sitemap" if sitemap.is_index else "link"
    return tuple(
        Link(url, "", kind)  # type: ignore[arg-type] # mypy widens the literals of `kind`
        for url, _ in sitemap.addresses[:MAX_LINKS]
        if url.startswith(("http://", "https://"))
    )


def read_feed(root: Element) -> Feed | None:
    """Read RSS 0.9 to 2.0, RDF and Atom; None when it is something else."""
    name = local(root)
    if name == "feed":
        return Feed(
            title=_text(root, "title"),
            description=_text(root, "subtitle"),
            link=_atom_link(root),
            updated=_text(root, "updated"),
            entries=[_atom_entry(item) for item in _children(root, "entry")[:MAX_ENTRIES]],
            total=len(_children(root, "entry")),
        )
    if name not in ("rss", "RDF"):
        return None
    channel = first(root, "channel")
    channel = root if channel is None else channel
    items = _children(channel, "item") or _children(root, "item")
    return Feed(
        title=_text(channel, "title"),
        description=_text(channel, "description"),
        link=_text(channel, "link"),
        updated=_text(channel, "lastBuildDate") or _text(channel, "pubDate"),
        entries=[_rss_entry(item) for item in items[:MAX_ENTRIES]],
        total=len(items),
    )


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if local(child) == name]


def _text(element: Element, *names: str) -> str | None:
    for name in names:
        child = first(element, name)
        if child is not None and (text := own_text(child)):
            return text
    return None


def _rss_entry(item: Element) -> Entry:
    guid = first(item, "guid")
    permanent = guid is not None and guid.get("isPermaLink", "true") == "true"
    address = _text(item, "link") or (own_text(guid) if guid is not None and permanent else None)
    return Entry(
        title=_text(item, "title"),
        link=address,
        date=_text(item, "pubDate", "date", "published"),
        author=_text(item, "creator", "author"),
        html=_text(item, "encoded", "description", "summary") or "",
    )


def _atom_entry(item: Element) -> Entry:
    author = first(item, "author")
    body = first(item, "content")
    if body is None or not (body.text or len(body)):
        body = first(item, "summary")
    return Entry(
        title=_text(item, "title"),
        link=_atom_link(item),
        date=_text(item, "published", "updated"),
        author=_text(author, "name") if author is not None else None,
        html=_atom_content(body) if body is not None else "",
    )


def _atom_content(body: Element) -> str:
    """Return content as HTML: escaped, inline XHTML, or text (RFC 4287 §3.1)."""
    kind = body.get("type", "text")
    if kind == "xhtml":
        return "".join(etree.tostring(child, encoding="unicode") for child in body)
    text = "".join(body.itertext())
    if kind in ("html", "text/html"):
        return text
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _atom_link(element: Element) -> str | None:
    links = [child for child in element if local(child) == "link" and child.get("href")]
    best = next((link for link in links if link.get("rel", "alternate") == "alternate"), None)
    chosen = best if best is not None else next(iter(links), None)
    return None if chosen is None else str(chosen.get("href"))
