"""JSON is set out for reading, digit by digit as it came.

No value is ever parsed into a number, so that `1e400`, `0.1000` and long ids stay what they are;
strings keep their escapes unless they can be shown as the character they mean. One pass without
recursion, so that nesting costs nothing.
"""

from __future__ import annotations

import json
import re

MAX_DEPTH = 500  # deeper levels stay on one line
_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:
      ("(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")
    | (-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)
    | ([\[\]{},:])
    )""",
    re.VERBOSE,
)
_UNICODE_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")


class NotJson(ValueError):
    """The text is not JSON; says where."""

    def __init__(self, position: int) -> None:
        super().__init__(f"not JSON at character {position}")
        self.position = position


def pretty(text: str) -> str:
    """Return a JSON document with two spaces of indentation.

    Raises:
        NotJson: It is not one document as RFC 8259 has it.
    """
    pieces: list[str] = []
    stack: list[str] = []
    expected = "value"  # value, first (of an array), key, colon, after, end
    position = 0
    end = len(text.rstrip(" \t\n\r"))
    while position < end:
        token = _TOKEN.match(text, position, end)
        if token is None:
            raise NotJson(position)
        string, scalar, mark = token.groups()
        if mark is None:
            if string is not None and expected in ("key", "first-key"):
                pieces.append(_shown(string))
                expected = "colon"
            elif expected in ("value", "first"):
                pieces.append(_shown(string) if string is not None else scalar)
                expected = "after" if stack else "end"
            else:
                raise NotJson(token.end())
        else:
            expected = _marked(mark, expected, stack, pieces, token.end())
        position = token.end()
    if expected != "end":
        raise NotJson(end)
    return "".join(pieces)


def _marked(mark: str, expected: str, stack: list[str], pieces: list[str], position: int) -> str:
    """Write a bracket, comma or colon, and return what may follow."""
    if mark in "[{" and expected in ("value", "first"):
        stack.append("]" if mark == "[" else "}")
        pieces += (mark, _line(len(stack)))
        return "first" if mark == "[" else "first-key"
    if mark in "]}" and stack and stack[-1] == mark and expected in ("after", "first", "first-key"):
        depth = len(stack)
        stack.pop()
        if expected == "after":
            pieces += (_line(depth - 1), mark)
        else:
            pieces[-1] = mark
        return "after" if stack else "end"
    if mark == "," and expected == "after":
        pieces += (",", _line(len(stack)))
        return "value" if stack[-1] == "]" else "key"
    if mark == ":" and expected == "colon":
        pieces.append(": ")
        return "value"
    raise NotJson(position)


def _line(depth: int) -> str:
    return "\n" + "  " * depth if depth <= MAX_DEPTH else ""


def _shown(string: str) -> str:
    r"""Show `\u00e9` as é, where that is a character that can be seen and encoded."""
    if "\\u" not in string or not _UNICODE_ESCAPE.search(string):
        return string
    try:
        shown = json.dumps(json.loads(string), ensure_ascii=False)
        shown.encode()
    except (ValueError, UnicodeEncodeError):
        return string
    return shown if shown.isprintable() else string


def pretty_lines(text: str) -> tuple[str, int]:
    """Set out newline-delimited JSON, a document per line; return how many lines are not JSON."""
    documents = []
    bad = 0
    for line in text.splitlines():
        if not line.strip("\x1e \t"):
            continue
        try:
            documents.append(pretty(line.lstrip("\x1e")))
        except NotJson:
            documents.append(line)
            bad += 1
    return "\n".join(documents), bad
