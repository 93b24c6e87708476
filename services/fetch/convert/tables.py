"""Tables as grids: which cell stands where, spans filled (HTML §4.9.12)."""

from __future__ import annotations

import re
from typing import NamedTuple

from lxml.etree import _Element as Element

MAX_COLUMNS = 200  # further ones go into no line anyone reads; colspan alone may say 1000
MAX_FILLED_CELLS = 200_000  # cells that spans may add


class Cell(NamedTuple):
    """A td or th."""

    element: Element


class Grid(NamedTuple):
    """Rows of equal length; None where a span or a short row left a cell empty."""

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
    return all(len(row) < 2 for row in table.iter("tr"))


def read_grid(table: Element) -> Grid:
    """Read the rows; a cell that spans rows is repeated in each, one that spans columns is not."""
    rows: list[list[Cell | None]] = []
    hanging: dict[int, tuple[int, Cell]] = {}  # column: rows still to come, and the cell
    filled = 0
    for row in table.iter("tr"):
        line: list[Cell | None] = []
        cells = [cell for cell in row if cell.tag in ("td", "th")]
        for element in cells:
            filled += _hang(line, hanging)
            cell = Cell(element)
            down = min(_span(element, "rowspan"), 1000)
            for number in range(_span(element, "colspan")):
                if len(line) >= MAX_COLUMNS:
                    break
                if down > 1 and filled < MAX_FILLED_CELLS:
                    hanging[len(line)] = (down - 1, cell)
                line.append(None if number else cell)
        filled += _hang(line, hanging)
        rows.append(line)
    width = max(map(len, rows), default=0)
    for line in rows:
        line += [None] * (width - len(line))
    return Grid(rows, _has_head(table))


def _hang(line: list[Cell | None], hanging: dict[int, tuple[int, Cell]]) -> int:
    """Put the cells from above that reach into this row at their places; return how many."""
    count = 0
    while len(line) in hanging:
        left, cell = hanging.pop(len(line))
        if left > 1:
            hanging[len(line)] = (left - 1, cell)
        line.append(cell)
        count += 1
    return count


def _span(element: Element, name: str) -> int:
    text = element.get(name, "1").strip()
    return max(1, min(int(text), MAX_COLUMNS)) if re.fullmatch(r"[0-9]{1,6}", text) else 1


def _has_head(table: Element) -> bool:
    """Say whether the first row names the columns."""
    first = next(table.iter("tr"), None)
    if first is None:
        return False
    above = first.getparent()
    if above is not None and above.tag == "thead":
        return True
    cells = [cell for cell in first if cell.tag in ("td", "th")]
    return bool(cells) and all(cell.tag == "th" for cell in cells)
