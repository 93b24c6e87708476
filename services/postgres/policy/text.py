"""From the text of a statement to its tree: limits, libpg_query, and back to the text.

Depth is the enemy here. libpg_query turns left-recursive chains such as 1+1+1… into trees as deep
as the text is long and then writes them out by recursion without looking at the C stack, and
Python's json reads them by recursion too. Measured with pgparse 1.0.3: 64 bytes of C stack per
level, two levels per operator, hence at most 65 bytes of stack per byte of SQL; everything that
nests to the right is stopped by the parser's own limit of 10,000 symbols. So

- short texts are parsed where the caller stands, longer ones in a thread whose stack is eight times
  what their length can ask for: the bound holds for every text, there is nothing to guess;
- trees too deep for json.loads are read by a loop instead;
- trees deeper than PostgreSQL itself takes with its default max_stack_depth are refused.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from itertools import accumulate
from typing import Any, TypeVar

import pgparse

Node = dict[str, Any]
T = TypeVar("T")

DEFAULT_MAX_SQL_BYTES = 128 * 1024

INLINE_BYTES = 4096
"""Texts up to this length need at most 266 kB of stack, which every thread has."""

STACK_BYTES_PER_SQL_BYTE = 512
MIN_STACK_BYTES = 16 * 1024 * 1024
"""Also enough for json.loads of Python 3.12 and later, which goes 10,000 levels deep."""

MAX_TREE_DEPTH = 40_000
"""Levels of the tree's JSON. PostgreSQL 15 gives up at 12,000 (a+a…) to 36,000 (a::b::b…)."""

_MAX_COMMENT_WORK = 2_000_000
"""Characters that the scanner may look at again for nested comments; 10 ms' worth."""

_OPERATOR_RUN = re.compile(r"[-+*/<>=~!@#%^&|`?]{512,}")

_thread_lock = threading.Lock()


class Refused(Exception):
    """The text is refused before there is a tree to look at."""

    def __init__(
        self, code: str, reason: str, suggestion: str, position: int | None = None
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.suggestion = suggestion
        self.position = position


def check_text(sql: object, max_sql_bytes: int) -> str:
    """Return the text if it is a string that PostgreSQL could receive, else raise `Refused`."""
    if not isinstance(sql, str):
        raise Refused(
            "SQL_BAD_TEXT",
            f"The statement must be a string, not {type(sql).__name__}.",
            "Send the SQL as one string.",
        )
    if len(sql) > max_sql_bytes:
        raise _too_large(len(sql), max_sql_bytes)
    if "\x00" in sql:
        raise Refused(
            "SQL_BAD_TEXT",
            "The statement holds a NUL character, which PostgreSQL cannot store or parse.",
            "Remove it.",
            sql.index("\x00") + 1,
        )
    try:
        size = len(sql.encode())
    except UnicodeEncodeError as error:
        raise Refused(
            "SQL_BAD_TEXT",
            "The statement holds half of a surrogate pair, which is not valid UTF-8.",
            "Send whole characters.",
            error.start + 1,
        ) from None
    if size > max_sql_bytes:
        raise _too_large(size, max_sql_bytes)
    _check_comments(sql)
    return sql


def _too_large(size: int, limit: int) -> Refused:
    """Return the refusal of a text over the limit."""
    return Refused(
        "SQL_TOO_LARGE",
        f"The statement has {size:,} bytes; the limit is {limit:,}.",
        "Pass long lists as one array parameter, for example = ANY($1).",
    )


def _check_comments(sql: str) -> None:
    """Refuse runs such as /*/*/*…, over which the scanner spends quadratic time.

    PostgreSQL's scanner takes an opening /* together with all operator characters behind it, gives
    them back, and starts again two characters on: 120 kB of them take 9 seconds, in the server too.
    """
    for run in _OPERATOR_RUN.finditer(sql):
        if run.group().count("/*") * len(run.group()) > _MAX_COMMENT_WORK:
            raise Refused(
                "SQL_TOO_DEEP",
                "The statement opens too many comments one right after the other.",
                "Remove the comments.",
                run.start() + 1,
            )


def understood(sql: str) -> tuple[str, list[Node]]:
    """Return the text that was parsed and libpg_query's statements for it, or raise `Refused`.

    Each statement is a dict with `stmt` and, unless 0, `stmt_location` and `stmt_len` in bytes.

    The text is the one given, or, if only that can be parsed, the same with blanks for comments:
    libpg_query keeps comments as tokens, and where the grammar looks two words ahead (WITH
    ORDINALITY, NULLS LAST, NOT IN) it does not look behind them, as the server does. What is judged
    then is what is run, so that nothing depends on where we think that a comment ends.
    """
    try:
        return sql, parse(sql)
    except Refused as error:
        blanked = without_comments(sql)
        if error.code != "SQL_SYNTAX_ERROR" or blanked == sql:
            raise
        try:
            return blanked, parse(blanked)
        except Refused:
            raise error from None


_LEXEME = re.compile(
    r"""
    [eE]'(?:[^'\\]|\\.|'')*'                      # E'it\'s'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | (?P<dollar>\$(?:[^\W\d]\w*)?\$)             # $tag$ … $tag$
    | [^\W\d][\w$]* | \d[\w.]*                    # so that date'…' is not taken for E'…'
    | (?P<line>--[^\r\n]*)
    | (?P<block>/\*)
    """,
    re.VERBOSE | re.DOTALL,
)


def without_comments(sql: str) -> str:
    """Return the text with a blank for every character of a comment, if all of it can be read."""
    parts = []
    place = kept = 0
    while found := _LEXEME.search(sql, place):
        place = found.end()
        if tag := found["dollar"]:
            place = sql.find(tag, place) + len(tag)
            if place < found.end():
                return sql
        elif found["line"] or found["block"]:
            if found["block"]:
                place = _skip_block(sql, found.start())
            if place == 0:
                return sql
            parts.append(sql[kept : found.start()] + " " * (place - found.start()))
            kept = place
    return "".join(parts) + sql[kept:]


def parse(sql: str) -> list[Node]:
    """Parse on a stack that is large enough."""
    try:
        # Four bytes is the most that a character takes.
        if len(sql) * 4 <= INLINE_BYTES:
            return _parse_here(sql)
        return _with_stack(lambda: _parse_here(sql), len(sql.encode()) * STACK_BYTES_PER_SQL_BYTE)
    except pgparse.PGQueryError as error:
        raise _syntax_error(error) from None


def _syntax_error(error: Any) -> Refused:
    """Turn the parser's error into a refusal; its position counts characters from 1."""
    message = str(error.message)
    position = error.position if isinstance(error.position, int) and error.position > 0 else None
    if message.startswith("memory exhausted"):
        return Refused(
            "SQL_TOO_DEEP",
            "The statement is nested too deeply for PostgreSQL's parser.",
            "Split it, or use WITH to name parts.",
            position,
        )
    return Refused("SQL_SYNTAX_ERROR", f"{message[:300]}.", "Correct the statement.", position)


def _parse_here(sql: str) -> list[Node]:
    """Parse on the calling thread's stack."""
    try:
        statements: list[Node] = pgparse.parse(sql)
    except RecursionError as error:
        return _statements(_unread_document(error))
    return statements


def _unread_document(error: RecursionError) -> str:
    """Return the JSON document that json.loads gave up on.

    pgparse has no call that returns the text, and calls json.loads itself; the text is still there
    as the argument of that frame.
    """
    frame = error.__traceback__
    while frame is not None:
        variables = frame.tb_frame.f_locals
        if frame.tb_frame.f_code is json.loads.__code__ and isinstance(variables.get("s"), str):
            return str(variables["s"])
        frame = frame.tb_next
    raise _too_deep()


def _statements(document: str) -> list[Node]:
    """Decode a deep document and return its statements, as pgparse does."""
    if tree_depth(document) > MAX_TREE_DEPTH:
        raise _too_deep()
    tree = decode_deep(document)
    statements: list[Node] = tree["stmts"]
    return statements


def _too_deep() -> Refused:
    """Return the refusal of a tree that PostgreSQL would not take either."""
    return Refused(
        "SQL_TOO_DEEP",
        "The statement is nested too deeply: PostgreSQL would refuse it with "
        '"stack depth limit exceeded".',
        "Replace a long chain of one operator: = ANY(ARRAY[…]), sum() over VALUES, concat().",
    )


def _with_stack(work: Callable[[], T], stack_bytes: int) -> T:
    """Run the work in a thread with so much stack; the memory is used only as it is touched."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    with _thread_lock:
        page = 4096
        before = threading.stack_size(max(MIN_STACK_BYTES, stack_bytes) // page * page)
        try:
            thread = threading.Thread(target=run, name="sql-parse")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NOT_BRACKET = re.compile(r"[^\[\]{}]+")
_STEP = {"{": 1, "[": 1, "}": -1, "]": -1}


def tree_depth(document: str) -> int:
    """Return how deeply a JSON document nests, in time linear in its length."""
    brackets = _NOT_BRACKET.sub("", _STRING.sub("", document))
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|([{}\[\]])|([^\s,:{}\[\]"]+)')


def decode_deep(document: str) -> Any:
    """Decode a JSON document of any depth without recursion; it must be well-formed."""
    root: list[Any] = []
    stack: list[Any] = []
    container: Any = root
    key: str | None = None
    for text, bracket, word in _TOKEN.findall(document):
        value: Any
        if bracket in ("}", "]") and bracket:
            container, key = stack.pop(), None
            continue
        if bracket:
            value = {} if bracket == "{" else []
        elif text:
            value = json.loads(text) if "\\" in text else text[1:-1]
            if key is None and type(container) is dict:
                key = value
                continue
        else:
            value = json.loads(word)
        if type(container) is dict:
            container[key] = value
            key = None
        else:
            container.append(value)
        if bracket:
            stack.append(container)
            container = value
    return root[0]


def statement_text(sql: str, statement: Node) -> tuple[str, int]:
    """Return the text of the one statement and the byte offset at which it starts.

    What follows the statement is a semicolon, blanks or comments. A comment inside the text may be
    its last line: whoever puts something behind it has to begin a new line.
    """
    encoded = sql.encode()
    start = int(statement.get("stmt_location", 0))
    length = int(statement.get("stmt_len", 0))
    chosen = encoded[start : start + length] if length else encoded[start:]
    text = chosen.decode()
    stripped = text.lstrip(" \t\r\n\f\v")
    return stripped.rstrip(" \t\r\n\f\v"), start + len(text) - len(stripped)


def character_position(sql: str, byte_offset: int | None) -> int | None:
    """Turn libpg_query's byte offset into a 1-based character position."""
    if byte_offset is None or byte_offset < 0:
        return None
    return len(sql.encode()[:byte_offset].decode(errors="replace")) + 1


_BLANK_OR_LINE_COMMENT = re.compile(r"(?:[ \t\r\n\f\v]+|--[^\r\n]*)+")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_EXPLAIN = re.compile(r"explain", re.IGNORECASE)
_OLD_OPTION = re.compile(r"(?:analyze|analyse|verbose)(?![\w$\x80-\U0010ffff])", re.IGNORECASE)
_OPTION_PART = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()]|[^'\"()/-]+|[/-]")


def explained_text(statement: str, *, has_options: bool) -> str:
    """Return what follows EXPLAIN and its options.

    Only for text that PostgreSQL's parser has found to be an EXPLAIN, so there is no guessing: the
    options are either words or, if the tree has options and a parenthesis follows, a list.
    """
    place = _skip_blank(statement, 0)
    found = _EXPLAIN.match(statement, place)
    place = _skip_blank(statement, found.end() if found else place)
    if has_options and statement.startswith("(", place):
        return statement[_skip_blank(statement, _closing(statement, place)) :]
    while word := _OLD_OPTION.match(statement, place):
        place = _skip_blank(statement, word.end())
    return statement[place:]


def _skip_blank(text: str, place: int) -> int:
    """Return the first place at or after `place` that is neither blank nor in a comment."""
    while True:
        if found := _BLANK_OR_LINE_COMMENT.match(text, place):
            place = found.end()
        elif text.startswith("/*", place):
            place = _skip_block(text, place) or len(text)
        else:
            return place


def _skip_block(text: str, place: int) -> int:
    """Return the place behind the comment that begins at `place`, 0 if it never ends."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, place):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return 0


def _closing(text: str, place: int) -> int:
    """Return the place behind the parenthesis that closes the one at `place`."""
    depth = 0
    while place < len(text):
        if text.startswith(("--", "/*"), place):
            place = _skip_blank(text, place)
            continue
        part = _OPTION_PART.match(text, place)
        if part is None:
            break
        depth += {"(": 1, ")": -1}.get(part.group(), 0)
        place = part.end()
        if depth == 0:
            break
    return place
