"""Code as it stands on the screen: its lines, without the gutter that numbers them.

Highlighters make lines of divs, list items, table rows or spans shown as blocks, with or without
line breaks of their own.
"""

from __future__ import annotations

import re

from lxml.etree import _Element as Element

from services.fetch.convert.tables import own_rows
from services.fetch.convert.tree import BLOCKS, SKIPPED

_CELLS = frozenset(("td", "th", "tbody", "thead", "tfoot"))
_LINES = BLOCKS - _CELLS
_BLOCK_STYLE = re.compile(r"(?i)(?:^|[;\s])display\s*:\s*(?:block|flex|grid|table-row|list-item)")
_GUTTER_CLASS = re.compile(
    r"(?i)(?:^|[\s_-])(?:lineno|linenos|linenodiv|line-?numbers?(?:-rows)?|hljs-ln-numbers|ln"
    r"|blob-num|gutter|rouge-gutter)(?:[\s_-]|$)"
)
_GUTTER_TEXT = re.compile(r"[\s\d]*$")
_CANDIDATES = ".//*[@class or @data-line-number]"
_CODE_CELL = re.compile(r"(?:^|\s)(?:blob-code|hljs-ln-code|code|rouge-code)(?:[\s_-]|$)")


def exact_text(element: Element) -> str:
    """Return text with its white space, a line for each block, gutters of line numbers not."""
    if not len(element):
        return element.text or ""
    for gutter in element.xpath(_CANDIDATES):
        if _is_gutter(gutter):
            gutter.text = None
            gutter[:] = []
            gutter.tag = "span"
    pieces: list[str] = []
    _gather(element, pieces)
    return "".join(pieces)


def table_of_code(table: Element) -> str | None:
    """Return the code of a table whose rows are its lines, numbered in the first cell; or None."""
    rows = own_rows(table)
    if not rows or not all(len(row) > 1 and _is_line(row) for row in rows):
        return None
    return "\n".join(exact_text(row[-1]).strip("\r\n") for row in rows)


def without_gutter(cells: list[Element]) -> list[Element]:
    """Return the cells of a row but the one that numbers the lines of the next."""
    if len(cells) == 2 and cells[1].find(".//pre") is not None and _is_gutter(cells[0]):
        return cells[1:]
    return cells


def _is_line(row: list[Element]) -> bool:
    return _is_gutter(row[0]) and bool(_CODE_CELL.search(row[-1].get("class", "")))


def _is_gutter(element: Element) -> bool:
    """Say whether an element holds nothing but line numbers, and calls itself so."""
    if element.get("data-line-number") is None and not _GUTTER_CLASS.search(
        element.get("class", "")
    ):
        return False
    return all(_GUTTER_TEXT.match(text) for text in element.itertext())


def _gather(element: Element, pieces: list[str]) -> None:
    """Add what stands in an element; the caller knows whether it is a line itself."""
    if element.text:
        pieces.append(element.text)
    for child in element:
        if child.tag == "br":
            pieces.append("\n")
        elif child.tag not in SKIPPED:
            _add(child, pieces)
        if child.tail:
            pieces.append(_without_break(child.tail) if _is_block(child) else child.tail)


def _add(child: Element, pieces: list[str]) -> None:
    if not _is_block(child):
        _gather(child, pieces)
        return
    _end_line(pieces)
    before = len(pieces)
    _gather(child, pieces)
    if not any(pieces[before:]) or pieces[-1][-1:] != "\n":
        pieces.append("\n")


def _end_line(pieces: list[str]) -> None:
    """Begin a new line unless one has just begun; indentation between lines is none of code."""
    while pieces and not pieces[-1].strip(" \t"):
        pieces.pop()
    if pieces and pieces[-1][-1:] != "\n":
        pieces.append("\n")


def _without_break(tail: str) -> str:
    """Return what stands behind a line, which has ended already."""
    first, line_break, rest = tail.partition("\n")
    return rest if line_break and not first.strip() else tail


def _is_block(element: Element) -> bool:
    return element.tag in _LINES or bool(_BLOCK_STYLE.search(element.get("style", "")))
