"""Differences of texts, line by line: as few changed lines as can be, in bounded time.

The algorithm is Myers' greedy one (An O(ND) Difference Algorithm and Its Variations, 1986), which
git and most others use, after the lines that both sides begin and end with are put aside. Where
two texts have so little in common that it would take long, all that is between counts as changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_CHANGED_LINES = 1_000
MAX_STEPS = 2_000_000
"""Comparisons of lines before the search for the least difference is given up; about 0.3 s."""
MAX_LINE_CHARS = 1_000
NO_NEWLINE = "\\ No newline at end of file"


@dataclass(frozen=True, slots=True)
class Change:
    """Lines `a_start` up to `a_end` became lines `b_start` up to `b_end`; counted from 0."""

    a_start: int
    a_end: int
    b_start: int
    b_end: int


@dataclass(frozen=True, slots=True)
class Diff:
    """A unified diff.

    Attributes:
        text: Empty when nothing differs.
        added: Lines that only the second text has, also where `text` was cut.
        truncated: Whether `text` lacks hunks, or the ends of long lines.
    """

    text: str
    added: int
    removed: int
    truncated: bool


def lines_of(body: bytes, newline: bytes = b"\n") -> list[bytes]:
    """Return the lines of a text, each with its end; the last one may have none."""
    lines = body.split(newline)
    last = lines.pop()
    kept = [line + newline for line in lines]
    return [*kept, last] if last else kept


def unified(
    before: bytes,
    after: bytes,
    *,
    names: tuple[str, str],
    context: int = 3,
    max_chars: int = 16_000,
) -> Diff:
    r"""Return the unified diff of two texts in UTF-8 (bytes that are not are shown as ``\xe9``).

    Args:
        names: What the two headers say.
        context: Unchanged lines around each change.
        max_chars: Of the text; whole hunks' lines are left out beyond.
    """
    a, b = lines_of(before), lines_of(after)
    found = changes(a, b)
    if not found:
        return Diff("", 0, 0, truncated=False)
    plain = _ends_alike(before) and _ends_alike(after) and (b"\r" in before) == (b"\r" in after)
    out = _Bounded(max_chars, hide_cr=plain)
    out.add(f"--- {names[0]}")
    out.add(f"+++ {names[1]}")
    for hunk in _hunks(found, context, len(a), len(b)):
        if not out.is_full:
            _write(out, hunk, a, b)
    return Diff(
        text=out.text,
        added=sum(c.b_end - c.b_start for c in found),
        removed=sum(c.a_end - c.a_start for c in found),
        truncated=out.is_full or out.was_cut,
    )


def _ends_alike(body: bytes) -> bool:
    crlf = body.count(b"\r\n")
    return crlf == body.count(b"\r") and crlf in (0, body.count(b"\n"))


# --- which lines differ ------------------------------------------------------------------------


def changes(a: Sequence[bytes], b: Sequence[bytes]) -> list[Change]:
    """Return where two lists of lines differ, in order."""
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])
    old, new = _numbered(a[head : len(a) - tail], b[head : len(b) - tail])
    if not old and not new:
        return []
    matched = _matches(old, new) if old and new else []
    if matched is None:
        matched = []
    found, x, y = [], 0, 0
    for i, j in [*matched, (len(old), len(new))]:
        if i > x or j > y:
            found.append(Change(head + x, head + i, head + y, head + j))
        x, y = i + 1, j + 1
    return found


def _common(a: Sequence[bytes], b: Sequence[bytes]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


def _numbered(a: Sequence[bytes], b: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """Return the lines as numbers, which compare faster."""
    numbers: dict[bytes, int] = {}
    return (
        [numbers.setdefault(line, len(numbers)) for line in a],
        [numbers.setdefault(line, len(numbers)) for line in b],
    )


def _matches(a: list[int], b: list[int]) -> list[tuple[int, int]] | None:
    """Return the pairs of equal lines of a shortest edit script; None when it takes too long.

    `layers[d][i]` is how far into `a` one gets with d changes on diagonal 2i - d.
    """
    layers: list[list[int]] = []
    steps = 0
    for d in range(min(len(a) + len(b), MAX_CHANGED_LINES) + 1):
        before = layers[-1] if layers else []
        layer = []
        for i in range(d + 1):
            x = _start(before, i, d)
            y = x - (2 * i - d)
            begin = x
            while x < len(a) and y < len(b) and a[x] == b[y]:
                x, y = x + 1, y + 1
            steps += x - begin + 1
            layer.append(x)
            if x >= len(a) and y >= len(b):
                return _traced(layers, i, x)
        layers.append(layer)
        if steps > MAX_STEPS:
            break
    return None


def _start(before: list[int], i: int, d: int) -> int:
    """Return where diagonal i of layer d begins: after a deletion or an insertion."""
    if d == 0:
        return 0
    if i == 0:
        return before[0]
    if i == d:
        return before[i - 1] + 1
    return max(before[i - 1] + 1, before[i])


def _traced(layers: list[list[int]], i: int, x: int) -> list[tuple[int, int]]:
    pairs = []
    for d in range(len(layers), -1, -1):
        diagonal = 2 * i - d
        begin = _start(layers[d - 1] if d else [], i, d)
        pairs += [(k, k - diagonal) for k in range(x - 1, begin - 1, -1)]
        if d == 0:
            break
        before = layers[d - 1]
        from_deletion = i == d or (i > 0 and before[i - 1] + 1 >= before[i])
        x, i = (before[i - 1], i - 1) if from_deletion else (before[i], i)
    return pairs[::-1]


# --- hunks -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Hunk:
    changes: list[Change]
    a_start: int
    a_end: int
    b_start: int
    b_end: int


def _hunks(found: list[Change], context: int, a_lines: int, b_lines: int) -> Iterator[_Hunk]:
    group: list[Change] = []
    for change in found:
        if group and change.a_start - group[-1].a_end > 2 * context:
            yield _hunk(group, context, a_lines, b_lines)
            group = []
        group.append(change)
    yield _hunk(group, context, a_lines, b_lines)


def _hunk(group: list[Change], context: int, a_lines: int, b_lines: int) -> _Hunk:
    first, last = group[0], group[-1]
    before = min(context, first.a_start)
    after = min(context, a_lines - last.a_end)
    return _Hunk(
        group,
        first.a_start - before,
        last.a_end + after,
        first.b_start - before,
        last.b_end + after,
    )


def _range(start: int, end: int) -> str:
    """Return a range as diff(1) writes it: an empty one names the line before it."""
    count = end - start
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"


def _write(out: _Bounded, hunk: _Hunk, a: list[bytes], b: list[bytes]) -> None:
    out.add(f"@@ -{_range(hunk.a_start, hunk.a_end)} +{_range(hunk.b_start, hunk.b_end)} @@")
    at = hunk.a_start
    for change in hunk.changes:
        out.lines(" ", a[at : change.a_start])
        out.lines("-", a[change.a_start : change.a_end])
        out.lines("+", b[change.b_start : change.b_end])
        at = change.a_end
    out.lines(" ", a[at : hunk.a_end])


class _Bounded:
    """Text that ends where it would get too long."""

    def __init__(self, max_chars: int, *, hide_cr: bool) -> None:
        self._room = max_chars
        self._hide_cr = hide_cr
        self._parts: list[str] = []
        self.is_full = False
        self.was_cut = False

    @property
    def text(self) -> str:
        return "\n".join(self._parts) + "\n"

    def add(self, line: str) -> None:
        self._room -= len(line) + 1
        if self._room < 0:
            self.is_full = True
        if not self.is_full:
            self._parts.append(line)

    def lines(self, sign: str, lines: list[bytes]) -> None:
        for line in lines:
            if self.is_full:
                return
            self.add(sign + self._shown(line))
            if not line.endswith(b"\n"):
                self.add(NO_NEWLINE)

    def _shown(self, line: bytes) -> str:
        end = b"\r\n" if self._hide_cr and line.endswith(b"\r\n") else b"\n"
        text = line.removesuffix(end)
        if len(text) <= MAX_LINE_CHARS:
            return text.decode("utf-8", "backslashreplace")
        self.was_cut = True
        return text[:MAX_LINE_CHARS].decode("utf-8", "backslashreplace") + "…"
