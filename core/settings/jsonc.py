"""JSON as people keep it in files: read strictly, each key with its line.

Comments (`// …`, `/* … */`) and a comma behind the last member are taken, as VS Code takes them in
files of its own; all else is as RFC 8259 has it. A key that stands twice is refused, since one of
the two would be lost.

Source: https://code.visualstudio.com/docs/languages/json#_json-with-comments
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Any, Final, NoReturn

from core.settings.base import Key

MAX_DEPTH: Final = 100
"""Lists and tables within each other; no file for people has more."""
_BETWEEN = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STARTS: Final = frozenset('"-0123456789tfn')
_NO_VALUE: Final = "expected a text in double quotes, a number, true, false or null"
_WRONG_TEXTS: Final = {
    "Unterminated string": "this text has no end; a double quote is missing",
    "Invalid control": "a text ends with its line; a double quote is missing, or write \\n",
    "Invalid \\": "a backslash within a text is written twice: \\\\",
}


class Malformed(ValueError):
    """A text is not JSON; the message has line and column, and repeats nothing of the text."""


def parse(text: str) -> tuple[Any, dict[Key, int]]:
    """Return the value that a text is, and the line of each key and of each member of a list.

    Raises:
        Malformed: It is not JSON with comments.
        ValueError: A number is too long to be read.
    """
    return (reader := _Reader(text)).whole(), reader.lines


def _no_number(_word: str) -> NoReturn:
    raise json.JSONDecodeError("no number of JSON", "", 0)


_SCALARS = json.JSONDecoder(parse_constant=_no_number)


class _Reader:
    """One pass over a text, from left to right; a table or list calls for its members."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Key, int] = {}
        self._text, self._at, self._behind = text, 0, 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def whole(self) -> Any:
        """Return the value, behind which nothing may follow."""
        value = self._value(())
        if self._next():
            self._refuse("this stands behind the end of the whole")
        return value

    def _value(self, key: Key) -> Any:
        first = self._next()
        if first in ("{", "["):
            if len(key) == MAX_DEPTH:
                self._refuse("lists or tables are nested too deeply")
            opened, self._at = self._at, self._at + 1
            value = self._table(key, opened) if first == "{" else self._list(key, opened)
            self._at += 1
        else:
            value = self._scalar(first)
        self._behind = self._at
        return value

    def _table(self, above: Key, opened: int) -> dict[str, Any]:
        table: dict[str, Any] = {}
        while (first := self._next()) != "}":
            if first != '"':
                self._refuse_end(first, opened)
                self._refuse("expected a key in double quotes, or }")
            line, at = self._place(self._at)[0], self._at
            name = self._scalar(first)
            if name in table:
                self._refuse(f"{name[:100]} stands twice", at)
            self.lines[(*above, name)] = line
            self._behind = self._at
            if self._next() != ":":
                self._refuse("a colon is missing behind the key", self._behind)
            self._at += 1
            table[name] = self._value((*above, name))
            self._to_next_member("}", opened)
        return table

    def _list(self, above: Key, opened: int) -> list[Any]:
        members: list[Any] = []
        while (first := self._next()) != "]":
            self._refuse_end(first, opened)
            key = (*above, str(len(members)))
            self.lines[key] = self._place(self._at)[0]
            members.append(self._value(key))
            self._to_next_member("]", opened)
        return members

    def _to_next_member(self, closing: str, opened: int) -> None:
        found = self._next()
        if found == ",":
            self._at += 1
        elif found != closing:
            self._refuse_end(found, opened)
            self._refuse(f"a comma or {closing} is missing here", self._behind)

    def _scalar(self, first: str) -> Any:
        if first == "'":
            self._refuse("texts stand in double quotes")
        try:
            if first not in _STARTS:
                _no_number(first)
            value, self._at = _SCALARS.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            told = (why for start, why in _WRONG_TEXTS.items() if error.msg.startswith(start))
            self._refuse(next(told, _NO_VALUE))
        return value

    def _next(self) -> str:
        """Go to what comes next; return its first character, nothing at the end."""
        match = _BETWEEN.match(self._text, self._at)
        assert match is not None  # it takes nothing, too
        self._at = match.end()
        if self._text.startswith("/*", self._at):
            self._refuse("this comment has no end")
        return self._text[self._at : self._at + 1]

    def _refuse_end(self, first: str, opened: int) -> None:
        if not first:
            line, column = self._place(opened)
            bracket = self._text[opened]
            self._refuse(f"the file ends; the {bracket} of line {line}, column {column} is open")

    def _refuse(self, why: str, at: int | None = None) -> NoReturn:
        line, column = self._place(self._at if at is None else at)
        raise Malformed(f"line {line}, column {column}: {why}")

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, at)
        return line, at - self._line_starts[line - 1] + 1
