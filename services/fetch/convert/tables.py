"""Tables as grids: which cell stands where, spans filled (HTML §4.9.12)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lxml.etree import _Element as Element

MAX_COLUMNS = 200  # further ones go into no line anyone reads; colspan alone may say 1000
MAX_SPANNED_CELLS = 100_000  # that all spans of a page may cover; beyond, they are ignored


_PART_NAMES = "caption colgroup col thead tbody tfoot tr td th"
TABLE_PARTS = frozenset(_PART_NAMES.split())


class Cell(NamedTuple):
    """A td or th."""

    element: Element


class Grid(NamedTuple):
    """Rows from left to right, of any length; None where a span left a cell empty."""

    rows: list[list[Cell | None]]
    has_head: bool


def is_for_layout(table: Element) -> bool:
    """Say whether a table only arranges a page: its cells are then written one after the other.

    As screen readers guess it: nested tables, one column only, or blocks in it that no line of a
    markdown table can hold.
    """
    if table.get("role") in ("presentation", "none"):
        return True
    if table.find(".//table") is not None or table.find(".//pre") is not None:
        return True
    if table.find(".//th") is not None:
        return False
    if table.find(".//h2") is not None or table.find(".//article") is not None:
        return True
    return all(len(row) < 2 for row in own_rows(table))


def limit_spans(root: Element) -> None:
    """Take all spans out of a page that has more of them than any table means, in place.

    A cell may say that it spans 1,000 columns and 65,534 rows, and there may be many such cells.
    """
    spanning = root.xpath("//*[@rowspan or @colspan]")
    covered = sum(_span(cell, "rowspan") * _span(cell, "colspan") for cell in spanning)
    for cell in spanning:
        for name in ("rowspan", "colspan"):
            if covered > MAX_SPANNED_CELLS or _span(cell, name) == MAX_COLUMNS:
                cell.attrib.pop(name, None)


def own_rows(table: Element) -> list[list[Element]]:
    """Return the cells of each row, not those of tables within; cells without a row are one."""
    rows: list[list[Element]] = []
    loose: list[Element] | None = None
    for part in _parts(table):
        if part.tag == "tr":
            rows.append(list(part.iterchildren("td", "th")))
            loose = None
        else:
            if loose is None:
                loose = []
                rows.append(loose)
            loose.append(part)
    return rows


def _parts(table: Element) -> Iterator[Element]:
    """Yield rows, and cells that the page forgot to put into one."""
    for child in table:
        if child.tag in ("tr", "td", "th"):
            yield child
        elif child.tag in ("thead", "tbody", "tfoot"):
            yield from child.iterchildren("tr", "td", "th")


def read_grid(table: Element) -> Grid:
    """Read the rows; a cell that spans rows is repeated in each, one that spans columns is not."""
    rows: list[list[Cell | None]] = []
    hanging: dict[int, tuple[int, Cell]] = {}  # column: rows still to come, and the cell
    for row in own_rows(table):
        line: list[Cell | None] = []
        for element in row:
            _hang(line, hanging)
            cell = Cell(element)
            down = _span(element, "rowspan")
            for number in range(_span(element, "colspan")):
                if len(line) >= MAX_COLUMNS:
                    break
                if down > 1:
                    hanging[len(line)] = (down - 1, cell)
                line.append(None if number else cell)
        _hang(line, hanging)
        rows.append(line)
    return Grid(rows, _has_head(table))


def _hang(line: list[Cell | None], hanging: dict[int, tuple[int, Cell]]) -> None:
    """Put the cells from above that reach into this row at their places."""
    while len(line) in hanging:
        left, cell = hanging.pop(len(line))
        if left > 1:
            hanging[len(line)] = (left - 1, cell)
        line.append(cell)


def _span(element: Element, name: str) -> int:
    text = element.get(name, "1").strip()
    return max(1, min(int(text), MAX_COLUMNS)) if re.fullmatch(r"[0-9]{1,6}", text) else 1


def _has_head(table: Element) -> bool:
    """Say whether the first row names the columns."""
    first = next(iter(own_rows(table)), None)
    if not first:
        return False
    row = first[0].getparent()
    if row is not None and (row.tag == "thead" or _tag_above(row) == "thead"):
        return True
    return all(cell.tag == "th" for cell in first)


def _tag_above(element: Element) -> object:
    above = element.getparent()
    return None if above is None else above.tag
