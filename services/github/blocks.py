"""The blocks of a GitHub markdown text: which lines are code, which HTML, which text.

This is the first phase of CommonMark (section "Phase 1: block structure" of its appendix) with
GitHub's footnotes: containers (quotes, list items, footnotes) hold leaves, and what a line is
depends on the containers that it continues. Only what decides about code, HTML and the ends of
paragraphs is kept.

Sources: https://spec.commonmark.org/0.31.2/, https://github.github.com/gfm/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

MAX_CONTAINERS = 20
"""Deeper ones are taken for text, which is searched for hidden things where code would not be."""
TAB_STOP = 4
CODE_INDENT = 4
MAX_ORDERED_DIGITS = 9

Kind = Literal["text", "code", "fence", "html"]

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|$)")
_FENCE = re.compile(r"`{3,}+(?!.*`)|~{3,}")
_RULE = re.compile(r"(?:\*[ \t]*){3,}+$|(?:_[ \t]*){3,}+$|(?:-[ \t]*){3,}+$")
_SETEXT = re.compile(r"(?:=+|-+)[ \t]*$")
_BULLET = re.compile(r"[*+-]|(\d{1,9})[.)]")
_NOTE = re.compile(r"\[\^([^\[\]\s]{1,999})\]:")
_BLOCK_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|"
    "dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|"
    "hr|html|iframe|legend|li|link|main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|"
    "search|section|source|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul"
)
_ATTRIBUTE = (
    r"\s++[A-Za-z_:][A-Za-z0-9_.:-]*+(?:\s*+=\s*+(?:[^\s\"'=<>`]++|'[^'\n]*+'|\"[^\"\n]*+\"))?+"
)
_WHOLE_TAG = rf"<(?:[A-Za-z][A-Za-z0-9-]*+(?:{_ATTRIBUTE})*+\s*+/?|/[A-Za-z][A-Za-z0-9-]*+\s*+)>"
_HTML_STARTS = (
    (
        re.compile(r"<(?:script|pre|style|textarea)(?:\s|>|$)", re.I),
        re.compile(r"</(?:script|pre|style|textarea)>", re.I),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(rf"</?(?:{_BLOCK_NAMES})(?:\s|/?>|$)", re.I), None),
)
_HTML_ALONE = re.compile(rf"{_WHOLE_TAG}[ \t]*$")


@dataclass(slots=True)
class Block:
    """A leaf.

    Attributes:
        kind: `fence` is the line that opens fenced code; the code itself is `code`.
        lines: Start and end in the text of each line's content, without containers and line end.
        note: Label of the footnote that it belongs to.
    """

    kind: Kind
    note: str | None
    lines: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Container:
    """A quote (no width), or an item or footnote whose content is indented by `width` columns."""

    width: int | None
    note: str | None = None


class _Line:
    """A line that is consumed column by column."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.at = start
        self.end = end
        self.column = 0
        self.look()

    def look(self) -> None:
        """Find where the next character that is no blank stands, and how many columns away."""
        at, column = self.at, self.column
        while at < self.end and (char := self.text[at]) in " \t":
            column += 1 if char == " " else TAB_STOP - column % TAB_STOP
            at += 1
        self.next, self.indent = at, column - self.column

    @property
    def blank(self) -> bool:
        """Whether nothing but blanks is left."""
        return self.next >= self.end

    def skip_blanks(self) -> None:
        """Go to the next character that is no blank."""
        self.column += self.indent
        self.at = self.next
        self.indent = 0

    def skip_columns(self, count: int) -> None:
        """Go on so many columns; of a tab, a part can be left."""
        while count > 0 and self.at < self.end:
            width = 1
            if self.text[self.at] == "\t":
                width = TAB_STOP - self.column % TAB_STOP
            self.column += min(width, count)
            self.at += width <= count
            count -= width
        self.look()

    def skip_characters(self, count: int) -> None:
        """Go on so many characters, none of which is a tab."""
        self.at += count
        self.column += count
        self.look()

    def skip_one_blank(self) -> None:
        """Go over the blank that may follow a container's mark."""
        if self.at < self.end and self.text[self.at] in " \t":
            self.skip_columns(1)


class Blocks:
    """Reads a text into its blocks, in order.

    Args:
        text: Markdown; any string.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._stack: list[_Container] = []
        self._leaf: Block | None = None
        self._fence: tuple[str, int] | None = None  # its character and length, while it is open
        self._html_end: re.Pattern[str] | None = None
        self._item_is_empty = False
        self._found: list[Block] = []

    def read(self) -> list[Block]:
        """Return the blocks."""
        for match in _LINE.finditer(self._text):
            if match.group():
                self._read_line(_Line(self._text, match.start(1), match.end(1)))
        return self._found

    # -- a line -----------------------------------------------------------------------------------

    def _read_line(self, line: _Line) -> None:
        matched = self._continued(line)
        whole = matched == len(self._stack)
        if whole and self._leaf_goes_on(line):
            return
        interrupts = self._is_paragraph()
        if self._opens(line, matched, interrupts=interrupts):
            return
        if line.blank:
            if not whole:
                del self._stack[matched:]
            self._leaf = None
        elif interrupts and self._leaf is not None:  # also where a container is left out (lazily)
            self._leaf.lines.append((line.next, line.end))
        else:
            del self._stack[matched:]
            self._begin("text", line.next, line)

    def _continued(self, line: _Line) -> int:
        """Consume the marks of the containers that a line continues; return how many do."""
        for count, container in enumerate(self._stack):
            if container.width is None:
                if line.indent >= CODE_INDENT or not self._at(line, ">"):
                    return count
                line.skip_blanks()
                line.skip_characters(1)
                line.skip_one_blank()
            elif line.blank:
                if self._item_is_empty and count == len(self._stack) - 1:
                    return count
                line.skip_blanks()
            elif line.indent >= container.width:
                line.skip_columns(container.width)
            else:
                return count
        return len(self._stack)

    def _leaf_goes_on(self, line: _Line) -> bool:
        """Give a line to the code or HTML that is open, if it belongs there."""
        leaf = self._leaf
        if leaf is None:
            return False
        if self._fence is not None and leaf.kind == "code":
            if self._closes_fence(line):
                self._fence = self._leaf = None
            else:
                leaf.lines.append((line.at, line.end))
            return True
        if leaf.kind == "html":
            return self._html_goes_on(leaf, line)
        if leaf.kind == "code" and (line.blank or line.indent >= CODE_INDENT):
            leaf.lines.append((line.at, line.end))
            return True
        return False

    def _html_goes_on(self, leaf: Block, line: _Line) -> bool:
        if self._html_end is None:
            if line.blank:
                return False
            leaf.lines.append((line.at, line.end))
            return True
        leaf.lines.append((line.at, line.end))
        if self._html_end.search(self._text, line.at, line.end):
            self._leaf = None
        return True

    def _closes_fence(self, line: _Line) -> bool:
        assert self._fence is not None
        char, length = self._fence
        mark = self._text[line.next : line.end].rstrip(" \t")
        return line.indent < CODE_INDENT and len(mark) >= length and set(mark) == {char}

    def _at(self, line: _Line, char: str) -> bool:
        return not line.blank and self._text[line.next] == char

    def _is_paragraph(self) -> bool:
        return self._leaf is not None and self._leaf.kind == "text"

    # -- what begins ------------------------------------------------------------------------------

    def _opens(self, line: _Line, matched: int, *, interrupts: bool) -> bool:
        """Open the containers and the leaf that begin on a line; return whether that used it up."""
        opened = False
        whole = matched == len(self._stack)
        while not line.blank:
            if line.indent >= CODE_INDENT:
                if interrupts and not opened:
                    return False
                self._leave(matched, opened=opened)
                self._begin("code", line.at, line)
                return True
            in_paragraph = interrupts and whole and not opened
            if self._opens_leaf(line, matched, in_paragraph, lazy=interrupts, opened=opened):
                return True
            container = self._container(line, in_paragraph=in_paragraph)
            if container is None or len(self._stack) >= MAX_CONTAINERS:
                break
            self._leave(matched, opened=opened)
            self._leaf = None
            self._stack.append(container)
            opened = True
            self._item_is_empty = line.blank and container.width is not None
        if opened and not line.blank:
            self._begin("text", line.next, line)
        return opened

    def _leave(self, matched: int, *, opened: bool) -> None:
        if not opened:
            del self._stack[matched:]

    def _opens_leaf(
        self, line: _Line, matched: int, in_paragraph: bool, *, lazy: bool, opened: bool
    ) -> bool:
        text, at, end = self._text, line.next, line.end
        if _HEADING.match(text, at, end):
            self._leave(matched, opened=opened)
            self._begin("text", at, line)
            self._leaf = None
        elif fence := _FENCE.match(text, at, end):
            self._leave(matched, opened=opened)
            self._begin("fence", at, line)
            self._leaf = Block("code", self._note())
            self._found.append(self._leaf)
            self._fence = (text[at], len(fence.group()))
        elif self._opens_html(line, matched, lazy=lazy and not opened, opened=opened):
            pass
        elif in_paragraph and _SETEXT.match(text, at, end):
            self._leaf = None
        elif _RULE.match(text, at, end):
            self._leave(matched, opened=opened)
            self._leaf = None
        else:
            return False
        return True

    def _opens_html(self, line: _Line, matched: int, *, lazy: bool, opened: bool) -> bool:
        text, at, end = self._text, line.next, line.end
        if text[at] != "<":
            return False
        for start, stop in _HTML_STARTS:
            if begun := start.match(text, at, end):
                self._leave(matched, opened=opened)
                self._begin("html", line.at, line)
                self._html_end = stop
                # A comment may end with the hyphens that it begins with: <!-->.
                after = begun.end() - 2 if begun.group() == "<!--" else at
                if stop is not None and stop.search(text, after, end):
                    self._leaf = None
                return True
        if not lazy and _HTML_ALONE.match(text, at, end):
            self._leave(matched, opened=opened)
            self._begin("html", line.at, line)
            self._html_end = None
            return True
        return False

    def _container(self, line: _Line, *, in_paragraph: bool) -> _Container | None:
        """Consume the mark of a container and return it."""
        text, at, end = self._text, line.next, line.end
        if text[at] == ">":
            line.skip_blanks()
            line.skip_characters(1)
            line.skip_one_blank()
            return _Container(None)
        if note := _NOTE.match(text, at, end):
            line.skip_blanks()
            line.skip_characters(len(note.group()))
            line.skip_blanks()
            return _Container(CODE_INDENT, note[1].casefold())
        bullet = _BULLET.match(text, at, end)
        if bullet is None or (bullet.end() < end and text[bullet.end()] not in " \t"):
            return None
        if in_paragraph and (
            not text[bullet.end() : end].strip(" \t") or (bullet[1] and int(bullet[1]) != 1)
        ):
            return None
        return self._item(line, len(bullet.group()))

    def _item(self, line: _Line, mark: int) -> _Container:
        """Consume the mark of a list item and the blanks that count as its indentation."""
        offset = line.indent
        line.skip_blanks()
        line.skip_characters(mark)
        blanks = line.indent
        if line.blank or blanks > CODE_INDENT:
            line.skip_one_blank()
            return _Container(offset + mark + 1, self._note())
        line.skip_columns(blanks)
        return _Container(offset + mark + blanks, self._note())

    def _begin(self, kind: Kind, at: int, line: _Line) -> None:
        self._leaf = Block(kind, self._note(), [(at, line.end)])
        self._fence = None
        self._item_is_empty = False
        self._found.append(self._leaf)

    def _note(self) -> str | None:
        """Return the footnote that is open."""
        return next((c.note for c in reversed(self._stack) if c.note is not None), None)


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the blocks of a text that have content."""
    return (block for block in Blocks(text).read() if block.lines)
