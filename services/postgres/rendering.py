"""Rows as an answer: converted, cut to the answer's size, and written in the wanted format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import to_json

from services.postgres.backend.statements import Caps, Column, RowSet
from services.postgres.models import ResultColumn
from services.postgres.values import converter_of

FRAME_BYTES = 1_000
MIN_CELL_CHARS = 10
NULL_TEXT = "NULL"

Record = list[Any] | dict[str, Any]


@dataclass(slots=True)
class Answer:
    """The part of a query result that depends on rows and format."""

    columns: list[ResultColumn]
    rows: list[Record] | None
    text: str | None
    row_count: int
    truncated_by: Literal["rows", "bytes", "cells"] | None
    cut_cells: int

    def members(self) -> dict[str, Any]:
        """Return them as arguments of a `QueryResult`."""
        return {
            "columns": self.columns,
            "rows": self.rows,
            "text": self.text,
            "row_count": self.row_count,
            "returned": self.row_count,
            "truncated": self.truncated_by is not None,
            "truncated_by": self.truncated_by,
            "cut_cells": self.cut_cells,
        }


def rendered(rows: RowSet, caps: Caps, form: str, max_bytes: int) -> Answer:
    """Return the rows in a format, as many as fit into `max_bytes` of JSON; at least one."""
    columns = [ResultColumn(name=c.name, type=c.type) for c in rows.columns]
    write = _FORMATS[form](rows.columns)
    room = max_bytes - FRAME_BYTES - size_of([c.model_dump() for c in columns])
    converters = [converter_of(column.type) for column in rows.columns]
    written: list[Any] = []
    cut_cells = 0
    by_bytes = False
    for row in rows.rows[: caps.rows]:
        cells, cut = _cells(row, converters, rows.cell_chars)
        size = size_of(write(cells)) + 1
        if size > room and written:
            by_bytes = True
            break
        limit = max(MIN_CELL_CHARS, room // (2 * max(1, len(cells))))
        while size > room:
            cells, cut = _cells(row, converters, min(rows.cell_chars, limit))
            size = size_of(write(cells)) + 1
            if limit == MIN_CELL_CHARS:
                break
            limit = max(MIN_CELL_CHARS, limit // 2)  # a character takes up to six bytes of JSON
        written.append(write(cells))
        room -= size
        cut_cells += cut
    more_rows = len(rows.rows) > caps.rows
    reason: Literal["rows", "bytes", "cells"] | None = None
    if by_bytes or (rows.stopped and not more_rows):
        reason = "bytes"
    elif more_rows:
        reason = "rows"
    elif cut_cells:
        reason = "cells"
    as_text = form in ("tsv", "markdown")
    return Answer(
        columns=columns,
        rows=None if as_text else written,
        text="\n".join([*_HEADS[form](rows.columns), *written]) if as_text else None,
        row_count=len(written),
        truncated_by=reason,
        cut_cells=cut_cells,
    )


def _cells(
    row: Sequence[str | None],
    converters: Sequence[Callable[[str], Any] | None],
    cell_chars: int,
) -> tuple[list[Any], int]:
    cells: list[Any] = []
    cut = 0
    for value, convert in zip(row, converters, strict=True):
        if value is None:
            cells.append(None)
        elif len(value) > cell_chars:
            cells.append(value[:cell_chars] + "…")
            cut += 1
        else:
            cells.append(value if convert is None else convert(value))
    return cells, cut


def size_of(value: Any) -> int:
    """Return how many bytes a value takes as JSON."""
    return len(to_json(value))


def cut_text(text: str, max_bytes: int) -> str:
    """Return the beginning of a text, in whole lines, that takes at most so many bytes."""
    kept: list[str] = []
    for line in text.splitlines():
        max_bytes -= size_of(line)
        if max_bytes < 0:
            break
        kept.append(line)
    return "\n".join(kept)


# --- formats -----------------------------------------------------------------------------------


def _as_list(columns: Sequence[Column]) -> Callable[[list[Any]], Any]:
    return lambda cells: cells


def _as_record(columns: Sequence[Column]) -> Callable[[list[Any]], Any]:
    names = unique_names([column.name for column in columns])
    return lambda cells: dict(zip(names, cells, strict=True))


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names with a number behind those that came before: id, id_2."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        result.append(candidate)
    return result


_TSV = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_MARKDOWN = str.maketrans({"|": "\\|", "\n": "<br>", "\r": ""})


def _as_tsv(columns: Sequence[Column]) -> Callable[[list[Any]], Any]:
    return lambda cells: "\t".join(
        "\\N" if cell is None else _plain(cell).translate(_TSV) for cell in cells
    )


def _as_markdown(columns: Sequence[Column]) -> Callable[[list[Any]], Any]:
    return lambda cells: _markdown_row(
        NULL_TEXT if cell is None else _plain(cell).translate(_MARKDOWN) for cell in cells
    )


def _plain(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)


def _markdown_row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _tsv_head(columns: Sequence[Column]) -> list[str]:
    return ["\t".join(column.name.translate(_TSV) for column in columns)]


def _markdown_head(columns: Sequence[Column]) -> list[str]:
    names = [column.name.translate(_MARKDOWN) for column in columns]
    return [_markdown_row(names), _markdown_row("---" for _ in names)]


_FORMATS: dict[str, Callable[[Sequence[Column]], Callable[[list[Any]], Any]]] = {
    "rows": _as_list,
    "records": _as_record,
    "tsv": _as_tsv,
    "markdown": _as_markdown,
}
_HEADS: dict[str, Callable[[Sequence[Column]], list[str]]] = {
    "tsv": _tsv_head,
    "markdown": _markdown_head,
}
