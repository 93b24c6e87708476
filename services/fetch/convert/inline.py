"""Runs of inline content: gathered token by token, then written as CommonMark.

White space collapses across elements as in a browser, and moves out of emphasis and links, because
`** a **` is not emphasis in markdown. Emphasis that markdown cannot say at its place (CommonMark
0.31 §6.2, flanking delimiter runs) is written as the HTML element, which every renderer takes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, NamedTuple

Emphasis = Literal["em", "strong", "del"]

_PUNCTUATION = r"!-/:-@\[-`{-~"
_SPECIAL = re.compile(r"[\\*_`<&\[\]~]")
_ESCAPED = re.compile(
    rf"""\\(?=[{_PUNCTUATION}]|$)        # would escape what follows
    | (?<!\s)\*|\*(?!\s)|^\*|\*$         # emphasis, unless white space is on both sides
    | (?<![\s\w])_|_(?![\s\w])|^_|_$     # likewise; and inside of words it is nothing
    | (?<=\s)_(?=\w)|(?<=\w)_(?=\s)|_(?=_)|(?<=_)_
    | `
    | <(?=[A-Za-z/!?]|$)                 # a tag or an autolink
    | &(?=\#?\w+;)                       # an entity
    | \](?=[(\[:]|$)                     # the middle of a link, or a definition of one
    | ~(?=~)|(?<=~)~|~$|^~               # strikethrough and fences
    """,
    re.VERBOSE,
)
_IN_LINK = re.compile(_ESCAPED.pattern + r"|[\[\]]", re.VERBOSE)
_LINE_START = re.compile(
    r"""(?:\#{1,6}|[-+*])(?=\s|$)        # heading, list item
    | >                                  # quotation
    | ([-_*])[ ]*(?:\1[ ]*){2,}$         # thematic break
    | (?:=+|-+)[ ]*$                     # underline of a heading
    """,
    re.VERBOSE,
)
_NUMBERED = re.compile(r"(\d{1,9})([.)])(?=\s|$)")
_BACKTICKS = re.compile(r"`+")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_MARKS: dict[str, tuple[str, ...]] = {
    "em": ("*", "_"),
    "strong": ("**", "__"),
    "del": ("~~",),
}
_ENDS = ("open", "close")
_PASSES = 4
_UNSAFE_IN_URL = re.compile(r"[\x00-\x20<>\\\x7f]")
_SPACE, _MARK, _WORD = "space", "mark", "word"


class Token(NamedTuple):
    """A piece of a run: `text` is escaped when written, `raw` is not; the rest are brackets."""

    kind: Literal["text", "raw", "open", "close", "link", "end", "break"]
    value: str = ""


class Run:
    """One run of inline content.

    Args:
        plain: Write bare text: no escapes, no emphasis, no links.
        one_line: Line breaks become spaces, as in headings and table cells.
    """

    __slots__ = ("_gap", "_waiting", "one_line", "plain", "tokens")

    def __init__(self, *, plain: bool = False, one_line: bool = False) -> None:
        self.plain = plain
        self.one_line = one_line
        self.tokens: list[Token] = []
        self._waiting: list[Token] = []  # opened, and nothing visible in it yet
        self._gap = ""  # white space, or line breaks, before the next visible thing

    def text(self, text: str) -> None:
        """Add text; its white space collapses."""
        if text[0].isspace() and not self._gap:
            self._gap = " "
        words = text.split()
        if words:
            self._visible(Token("text", " ".join(words)))
            if text[-1].isspace():
                self._gap = " "

    def raw(self, markup: str) -> None:
        """Add something visible that is markdown already."""
        self._visible(Token("raw", markup))

    def line_break(self) -> None:
        """Begin a new line."""
        if self.one_line:
            self._gap = self._gap or " "
        else:
            self._gap = self._gap.replace(" ", "") + "\n"

    def open(self, kind: Emphasis) -> None:
        """Begin emphasis; of the same kind right after its end it goes on instead."""
        if self.plain:
            return
        if self.tokens and self.tokens[-1] == ("close", kind) and not (self._gap or self._waiting):
            self.tokens.pop()
        else:
            self._waiting.append(Token("open", kind))

    def close(self, kind: Emphasis) -> None:
        """End emphasis; nothing is written where it was empty."""
        if not self.plain:
            self._end(Token("close", kind))

    def open_link(self) -> None:
        """Begin a link."""
        if not self.plain:
            self._waiting.append(Token("link"))

    def close_link(self, target: str) -> None:
        """End a link; `target` is what stands between its parentheses."""
        if not self.plain:
            self._end(Token("end", target))

    def link_whole(self, target: str) -> None:
        """Make all of it one link."""
        self.tokens = [Token("link"), *self.tokens, Token("end", target)]

    def bare(self) -> str:
        """Return its words alone, for titles."""
        return "".join(
            " " if kind == "break" else value
            for kind, value in self.tokens
            if kind in ("text", "raw", "break")
        )

    def __bool__(self) -> bool:
        return bool(self.tokens)

    def _end(self, token: Token) -> None:
        if self._waiting:
            self._waiting.pop()
        else:
            self.tokens.append(token)

    def _visible(self, token: Token) -> None:
        if self._gap:
            if self.tokens:
                self.tokens.append(
                    Token("break", self._gap) if "\n" in self._gap else Token("text", " ")
                )
            self._gap = ""
        if self._waiting:
            self.tokens += self._waiting
            self._waiting.clear()
        self.tokens.append(token)

    def written(self) -> str:
        """Return it as markdown, or as plain text."""
        if self.plain:
            return "".join("\n" if kind == "break" else text for kind, text in self.tokens)
        text = "".join(_pieces(self.tokens))
        if "\n" not in text:
            return _line_started(text)
        return "\n".join(map(_line_started, text.split("\n")))


def code_span(code: str) -> str:
    """Return code between backticks, more of them than it holds itself (CommonMark §6.1)."""
    code = code.replace("\n", " ")
    fence = "`" * (longest_run(code) + 1) if "`" in code else "`"
    padded = code[:1] == "`" or code[-1:] == "`" or (code[:1] == code[-1:] == " " and code.strip())
    return f"{fence} {code} {fence}" if padded else f"{fence}{code}{fence}"


def longest_run(code: str) -> int:
    """Return the length of the longest run of backticks."""
    return max(map(len, _BACKTICKS.findall(code)), default=0)


def destination(url: str, title: str = "") -> str:
    """Return what stands between the parentheses of a link (CommonMark §6.3)."""
    url = _ENTITY.sub(r"\&", _UNSAFE_IN_URL.sub(lambda found: _percent(found[0]), url))
    if not _parentheses_balance(url):
        url = url.replace("(", "\\(").replace(")", "\\)")
    if not title:
        return url
    quoted = _ENTITY.sub(r"\&", " ".join(title.split()).replace("\\", "\\\\"))
    return f"""{url} "{quoted.replace('"', chr(92) + '"')}\""""


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def _parentheses_balance(url: str) -> bool:
    depth = 0
    for char in url:
        depth += (char == "(") - (char == ")")
        if depth < 0:
            return False
    return depth == 0


def escaped(text: str, *, in_link: bool = False) -> str:
    """Return text so that markdown reads it as text, wherever in a line it stands."""
    if not _SPECIAL.search(text):
        return text
    return (_IN_LINK if in_link else _ESCAPED).sub(r"\\\g<0>", text)


def _line_started(line: str) -> str:
    """Escape what would begin a block at the start of a line."""
    if _LINE_START.match(line):
        return "\\" + line
    if numbered := _NUMBERED.match(line):
        return f"{numbered[1]}\\{line[numbered.end(1) :]}"
    return line


def _pieces(tokens: list[Token]) -> list[str]:
    """Write each token; delimiters are chosen last, when their neighbours are known."""
    pieces: list[str] = []
    pairs: list[_Pair] = []
    opened: list[_Pair] = []
    in_link = False
    for place, (kind, value) in enumerate(tokens):
        piece = ""
        if kind == "text":
            piece = escaped(value, in_link=in_link)
        elif kind == "raw":
            piece = value
        elif kind == "open":
            opened.append(_Pair(value, place, opened[-1] if opened else None))
            pairs.append(opened[-1])
        elif kind == "close":
            opened.pop().end = place
        elif kind == "break":
            apart = value.count("\n") > 1 and not (opened or in_link)
            piece = "\n\n" if apart else "\\\n"
        elif kind == "link":
            in_link, piece = True, "["
            if pieces and pieces[-1][-1:] == "!":
                pieces[-1] = pieces[-1][:-1] + "\\!"
        else:
            in_link, piece = False, f"]({value})"
        pieces.append(piece)
    for pair in pairs:
        pieces[pair.start], pieces[pair.end] = _delimiters(pair, tokens, pieces)
    for _ in range(_PASSES if len(pairs) > 1 else 0):
        if not _corrected(pairs, tokens, pieces):
            break
    return pieces


def _corrected(pairs: list[_Pair], tokens: list[Token], pieces: list[str]) -> bool:
    """Look at every choice again, now that its neighbours are chosen too; say if one was wrong."""
    changed = False
    for pair in pairs:
        mark = pieces[pair.start]
        if mark[0] != "<" and not _can_delimit(mark, pair, tokens, pieces):
            pieces[pair.start], pieces[pair.end] = f"<{pair.kind}>", f"</{pair.kind}>"
            changed = True
    return changed


@dataclass(slots=True)
class _Pair:
    """The two ends of one emphasis, as places in the list of tokens."""

    kind: str
    start: int
    parent: _Pair | None
    end: int = -1

    def is_in_its_like(self) -> bool:
        """Whether emphasis of the same kind is around it."""
        above = self.parent
        while above is not None and above.kind != self.kind:
            above = above.parent
        return above is not None

    def fills(self) -> bool:
        """Whether nothing stands between the ends of this and those of its parent."""
        above = self.parent
        return above is not None and above.start == self.start - 1 and above.end == self.end + 1


def _delimiters(pair: _Pair, tokens: list[Token], pieces: list[str]) -> tuple[str, str]:
    marks = _MARKS[pair.kind]
    if pair.fills() and pair.kind == "em":
        marks = marks[::-1]
    for mark in marks:
        if _can_delimit(mark, pair, tokens, pieces):
            return mark, mark
    return f"<{pair.kind}>", f"</{pair.kind}>"


def _can_delimit(mark: str, pair: _Pair, tokens: list[Token], pieces: list[str]) -> bool:
    """Say whether CommonMark reads this pair of delimiter runs as this emphasis (§6.2)."""
    before, after = _outside(tokens, pieces, pair.start, mark[0])
    inner, outer = _outside(tokens, pieces, pair.end, mark[0])
    if after == _SPACE or (after == _MARK and before == _WORD):
        return False
    if inner == _SPACE or (inner == _MARK and outer == _WORD):
        return False
    follows_an_end = pair.start > 0 and tokens[pair.start - 1].kind == "close"
    if follows_an_end and pieces[pair.start - 1][:1] in ("", mark[0]):
        return False  # the two runs would be read as one
    if pair.parent is not None and not (_one_way(before, after) and _one_way(outer, inner)):
        return False  # it could open as well as close, and so pair with what is around it
    if pair.is_in_its_like():
        return _may_nest(mark, pair, tokens)
    if mark[0] != "_":
        return True
    return (before != _WORD or tokens[pair.start - 1].kind in _ENDS) and (
        outer != _WORD or tokens[pair.end + 1].kind in _ENDS
    )


def _may_nest(mark: str, pair: _Pair, tokens: list[Token]) -> bool:
    """Say whether emphasis can stand within its like: alone, filling it or well inside of it."""
    above = pair.parent
    if pair.kind == "del" or above is None:
        return False
    if any(token.kind == "open" for token in tokens[pair.start + 1 : pair.end]):
        return False
    if pair.fills() and above.kind == pair.kind:
        return above.parent is None and mark in ("_", "**")
    ends = (tokens[pair.start - 1].kind, tokens[pair.end + 1].kind)
    return mark[0] == "*" and not any(kind in _ENDS for kind in ends)


def _one_way(outside: str, inside: str) -> bool:
    """Say whether a run can only open, or at the other end only close."""
    return outside == _SPACE or (outside == _MARK and inside == _WORD)


def _outside(tokens: list[Token], pieces: list[str], place: int, char: str) -> tuple[str, str]:
    """Return the classes of the characters around a run of delimiters, chosen or still open."""
    alike = ("", char)
    left = place - 1
    while left >= 0 and tokens[left].kind in _ENDS and pieces[left][:1] in alike:
        left -= 1
    right = place + 1
    while right < len(tokens) and tokens[right].kind in _ENDS and pieces[right][:1] in alike:
        right += 1
    return (
        _class_of(pieces[left][-1:] if left >= 0 else ""),
        _class_of(pieces[right][:1] if right < len(tokens) else ""),
    )


def _class_of(char: str) -> str:
    if not char or char.isspace():
        return _SPACE
    return _MARK if unicodedata.category(char)[0] in "PS" else _WORD
