"""Pages that are nested too deeply for libxml2 (2,048 levels), read without a tree.

Only the text is left, a paragraph for each block. What is hidden stays hidden, or nesting would be
a way to smuggle it past.
"""

from __future__ import annotations

from html.parser import HTMLParser

from lxml import etree
from lxml.etree import _Element as Element

from services.fetch.convert.styles import hides
from services.fetch.convert.tree import BLOCKS, SKIPPED

_VOID_NAMES = "area base br col embed hr img input link meta source track wbr"
_VOID = frozenset(_VOID_NAMES.split())
_SILENT = SKIPPED - _VOID | {"noscript"}


def parse_flat(text: str) -> Element:
    """Return a page whose body has a `<p>` for each stretch of visible text."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    root = etree.Element("html")
    body = etree.SubElement(root, "body")
    for line in "".join(reader.pieces).split("\n"):
        if words := line.split():
            etree.SubElement(body, "p").text = " ".join(words)
    return root


class _Reader(HTMLParser):
    """Gathers text; blocks begin lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._open: list[str] = []
        self._counts: dict[str, int] = {}
        self._silent_from: int | None = None  # depth of the element that hides all in it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BLOCKS or tag == "br":
            self.pieces.append("\n")
        if tag in _VOID:
            return
        if self._silent_from is None and (tag in _SILENT or _is_hidden(dict(attrs))):
            self._silent_from = len(self._open)
        self._open.append(tag)
        self._counts[tag] = self._counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")
        if not self._counts.get(tag):
            return
        while (closed := self._open.pop()) != tag:
            self._counts[closed] -= 1
        self._counts[tag] -= 1
        if self._silent_from is not None and len(self._open) <= self._silent_from:
            self._silent_from = None

    def handle_data(self, data: str) -> None:
        if self._silent_from is None:
            self.pieces.append(data)


def _is_hidden(attributes: dict[str, str | None]) -> bool:
    return "hidden" in attributes or "popover" in attributes or hides(attributes.get("style") or "")
