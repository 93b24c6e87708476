"""Markdown of strangers, without what GitHub does not show.

Left out and counted: invisible characters (also as entities), HTML comments, tags and attributes
that GitHub drops, titles of links and pictures, definitions of links, footnotes that nothing refers
to, links without text, and what follows the language in the first line of fenced code. Links by
reference become plain ones. `<details>` and its like stay, as does all code, to the byte but for
invisible characters. A text in which nothing is hidden comes back as it was.

Where a text could be read in two ways, it is read so that more is left out. Every search moves
forward only, so the time grows with the text: what could be begun again and again without success
is remembered, or, for tags, has a budget. What is not stable after a few rounds (things hidden in
what hides things) is left out as a whole.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.untrusted import Cleaned, clean
from services.github.blocks import Block, blocks_of

MAX_ROUNDS = 4
TANGLED = "[left out: this text hides things within things]"
OWN_MARK = re.compile(r"(?:\n\n)?<!-- mcp-github:[0-9a-f]{32} -->")
"""What this service puts into what it creates; nothing that a reader would miss."""

_SUSPICIOUS = re.compile(r"[<\[&\]|]|[`~]{3}")
_LANGUAGE = re.compile(r"([`~]+[ \t]*)([A-Za-z0-9+#._-]{0,30}(?![^ \t]))?")
_SPECIAL = re.compile(r"[\\`<\[\]&]")
_BACKTICKS = re.compile(r"`+")
_ENTITY = re.compile(r"&#?[A-Za-z0-9]{1,32};")
_TABLE_RULE = re.compile(
    r"^[ \t]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*$", re.M
)
_CELL_START = re.compile(r"[ \t]*+\|")
_BAR = re.compile(r"(?<!\\)\|")
_CELL_END = re.compile(r"\n|(?<!\\)\|")
_AUTOLINK = re.compile(
    r"<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*+|[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]++@[A-Za-z0-9.-]++)>"
)
_TAG_HEAD = re.compile(
    r"<([A-Za-z][A-Za-z0-9-]*+)"
    r"(?:\s++[A-Za-z_:][A-Za-z0-9_.:-]*+(?:\s*+=\s*+(?:[^\s\"'=<>`]++|'[^']*+'|\"[^\"]*+\"))?+)*+\s*+/?"
)
_END_TAG = re.compile(r"</([A-Za-z][A-Za-z0-9-]*+)\s*+>")
# A tag as browsers read it, up to its end or to where it goes wrong (WHATWG HTML, 13.2.5).
_LOOSE_TAG = re.compile(
    r"</?([A-Za-z][^\s/>]*+)"
    r"(?:[\s/]++|[^\s/>=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'>])[^\s>]++))?+)*+"
)
_OPEN_QUOTE = re.compile(r"=\s*+[\"']")
_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]++)(?:\s*+=\s*+(\"[^\"]*+\"|'[^']*+'|[^\s\"'=<>`]++))?+")
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.){1,999})\]", re.S)
_NOTE = re.compile(r"\[\^([^\[\]\s]{1,999})\]")
_TARGET = re.compile(r"\(\s*+(<(?:[^<>\n\\]|\\.)*+>|(?!<)(?:[^\s()\\]|\\.)*+)")
_DEFINITION = re.compile(
    r"[ \t]*+\[((?:[^\[\]\\]|\\.){1,999})\]:[ \t]*+\n?[ \t]*+(<(?:[^<>\n\\]|\\.)*+>|(?!<)\S++)"
)
_DEFINITION_TITLE = re.compile(
    r"(?:[ \t]++\n?|\n)[ \t]*+(?:\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|\((?:[^()\\]|\\.)*+\))"
    r"[ \t]*+(?:\n|\Z)",
    re.S,
)
_LINK_TITLE = re.compile(
    r"([ \t\n]++(?:\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|\((?:[^()\\]|\\.)*+\)))\s*+\)", re.S
)
_LINK_END = re.compile(r"\s*+\)")
_SILENT = (
    ("<!--", "-->", "--!>"),
    ("<![cdata[", "]]>", ">"),
    ("<?", "?>", ">"),
    ("<!", ">", ">"),
)
_SILENT_INLINE = re.compile(r"<(?:!--|\?|!\[CDATA\[|![A-Za-z])")
_SHORT_COMMENT = re.compile("<!---?>")
_TAG_OR_ENTITY = re.compile("[<&]")
_LINE_END = re.compile(r"[ \t]*+(?:\n|\Z)")

# What GitHub's sanitizer lets through, as far as it shows anything.
SHOWN_TAGS = frozenset(
    {"a", "abbr", "b", "bdo", "blockquote", "br", "caption", "center", "cite", "code", "dd", "del"}
    | {"details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "font", "h1", "h2", "h3"}
    | {"h4", "h5", "h6", "h7", "h8", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre"}
    | {"picture", "q", "rp", "rt", "ruby", "s", "samp", "small", "source", "span", "strike", "sub"}
    | {"strong", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "tt", "u"}
    | {"ul", "var", "video", "wbr"}
)
SHOWN_ATTRIBUTES = frozenset(
    {"href", "src", "alt", "width", "height", "align", "valign", "open", "colspan", "rowspan"}
    | {"start", "type", "dir", "lang"}
)
SILENT_TAGS = frozenset(
    {"script", "style", "template", "title", "textarea", "iframe", "noembed", "noframes", "xmp"}
)
"""Elements whose content is not shown either."""
_LOWER = {ord(char): char.lower() for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
MAX_LABEL_CHARS = 999
MAX_PARENTHESES = 32
"""Within each other in the target of a link; the same limit as cmark's."""


class Tangled(Exception):
    """Too much of the text has to be looked at again."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What stands in place of a part of a text.

    Attributes:
        hides: Characters that a reader of the page does not see.
    """

    start: int
    end: int
    text: str = ""
    hides: int = 0


def hidden(start: int, end: int, text: str = "") -> Edit:
    """Return the edit that leaves out what is not shown."""
    return Edit(start, end, text, max(0, end - start - len(text)))


def clean_markdown(text: str) -> Cleaned:
    """Return what a reader of the page sees, and how many characters that leaves out."""
    visible, removed = clean(text)
    visible = OWN_MARK.sub("", visible)
    for _ in range(MAX_ROUNDS):
        if _SUSPICIOUS.search(visible) is None:
            return Cleaned(visible, removed)
        try:
            edits, hides = _edits(visible)
        except Tangled:
            break
        if not edits:
            return Cleaned(visible, removed)
        edited, count = clean(_applied(visible, edits))
        visible, removed = OWN_MARK.sub("", edited), removed + hides + count
    return Cleaned(TANGLED, removed + len(visible))


def _applied(text: str, edits: Iterable[Edit]) -> str:
    parts, done = [], 0
    for edit in edits:
        parts += [text[done : max(done, edit.start)], edit.text]
        done = max(done, edit.end)
    return "".join([*parts, text[done:]])


def _edits(text: str) -> tuple[list[Edit], int]:
    """Return what one round changes, in order and apart, and how much of it is hidden."""
    blocks = list(blocks_of(text))
    leaves = {id(block): Leaf(text, block) for block in blocks if block.kind in ("text", "html")}
    definitions = Definitions(leaves.values(), len(text))
    shown_notes = _shown_notes(leaves.values())
    edits: list[Edit] = []
    done = 0
    for block in blocks:
        for edit in _block_edits(text, block, leaves.get(id(block)), definitions, shown_notes):
            if edit.end > done or edit.start == edit.end == done:
                edits.append(edit)
                done = edit.end
    return edits, sum(edit.hides for edit in edits) + definitions.hidden()


def _block_edits(
    text: str, block: Block, leaf: Leaf | None, definitions: Definitions, shown_notes: set[str]
) -> Iterator[Edit]:
    start, end = block.lines[0][0], block.lines[-1][1]
    if block.note is not None and block.note not in shown_notes:
        if start < end:
            yield hidden(start, end)
    elif block.kind == "fence":
        mark = _LANGUAGE.match(text, start, end)
        if mark is not None and text[mark.end() : end].strip(" \t"):
            yield hidden(mark.end(), end)
    elif leaf is not None:
        scanner = Html(leaf) if block.kind == "html" else Inline(leaf, definitions)
        yield from (leaf.located(edit) for edit in scanner.edits())


# --- leaves --------------------------------------------------------------------------------------


class Leaf:
    """The lines of a block in one piece, without what marks their containers.

    Attributes:
        text: The lines, joined by LF.
        begins: Where the text begins that is shown: after definitions of links.
    """

    def __init__(self, whole: str, block: Block) -> None:
        self.block = block
        self.whole_end = len(whole)
        self.text = "\n".join(whole[start:end] for start, end in block.lines)
        self.begins = 0
        self._offsets = [0]
        for start, end in block.lines:
            self._offsets.append(self._offsets[-1] + end - start + 1)

    def located(self, edit: Edit) -> Edit:
        """Return an edit of this text as one of the whole."""
        start = self._place(edit.start)
        if edit.end > len(self.text):  # what goes on beyond this block
            return hidden(start, self.whole_end)
        return Edit(start, self._place(edit.end), edit.text, edit.hides)

    def _place(self, at: int) -> int:
        line = min(bisect_right(self._offsets, at) - 1, len(self.block.lines) - 1)
        return self.block.lines[line][0] + at - self._offsets[line]


def _shown_notes(leaves: Iterable[Leaf]) -> set[str]:
    """Return the labels of footnotes that shown text refers to, directly or by another note."""
    refers: dict[str | None, set[str]] = {}
    for leaf in leaves:
        found = {match[1].casefold() for match in _NOTE.finditer(leaf.text)}
        refers.setdefault(leaf.block.note, set()).update(found)
    shown, waiting = set(), list(refers.get(None, ()))
    while waiting:
        label = waiting.pop()
        if label not in shown:
            shown.add(label)
            waiting.extend(refers.get(label, ()))
    return shown


class Definitions:
    """Where links by reference lead: `[label]: target "title"` at the beginning of paragraphs.

    Args:
        leaves: All of a text; those that begin with definitions learn where they end.
        budget: Characters that may be written in place of references.
    """

    def __init__(self, leaves: Iterable[Leaf], budget: int) -> None:
        self._targets: dict[str, str] = {}
        self._unused: dict[str, int] = {}
        self._titles = 0
        self._budget = budget + 10_000
        for leaf in leaves:
            if leaf.block.kind == "text":
                self._learn(leaf)

    def _learn(self, leaf: Leaf) -> None:
        text = leaf.text
        while found := _DEFINITION.match(text, leaf.begins):
            titled = _DEFINITION_TITLE.match(text, found.end())
            ended = titled or _LINE_END.match(text, found.end())
            if ended is None:
                return
            leaf.begins = ended.end()
            self._titles += len(titled.group().strip()) if titled else 0
            label = _label(found[1])
            self._unused[label] = self._unused.get(label, 0) + len(found.group().strip())
            self._targets.setdefault(label, _target(found[2]))

    def target(self, label: str) -> str | None:
        """Return where a label leads, ready to stand behind a link's text; "" when too long."""
        name = _label(label)
        target = self._targets.get(name)
        if target is None:
            return None
        self._unused.pop(name, None)
        self._budget -= len(target)
        return f"({target})" if self._budget > 0 else ""

    def hidden(self) -> int:
        """Return how many characters of definitions no reader sees: titles, and unused ones."""
        return self._titles + sum(self._unused.values())


def _label(text: str) -> str:
    return " ".join(text.split()).casefold()


def _target(text: str) -> str:
    return f"<{text}>" if re.search(r"[()\\]", text) and text[0] != "<" else text


# --- HTML ----------------------------------------------------------------------------------------


class Html:
    """Reads a block of HTML as a browser does: everything between `<` and `>` is a tag."""

    def __init__(self, leaf: Leaf) -> None:
        self.text = leaf.text
        self.end = len(leaf.text)
        self._beyond = leaf.whole_end + 1
        self._lower = leaf.text.translate(_LOWER)
        self._places: dict[str, tuple[int, int]] = {}

    def edits(self) -> Iterator[Edit]:
        """Yield what is not shown."""
        at = 0
        while (found := _TAG_OR_ENTITY.search(self.text, at)) is not None:
            at = found.start()
            edit = entity(self.text, at) if found.group() == "&" else self._tag(at)
            if edit is not None and (edit.start != edit.end or edit.text):
                yield edit
            at = max(at + 1, edit.end if edit is not None else 0)
            if at > self.end:
                return

    def find(self, wanted: str, start: int) -> int:
        """Return where a string ends that begins at `start` or later; -1 when it is not there.

        Args:
            wanted: In lower case; the text's case does not matter.
        """
        asked, place = self._places.get(wanted, (start + 1, -1))
        if not (asked <= start and (place < 0 or start <= place)):
            place = self._lower.find(wanted, start)
            self._places[wanted] = start, place
        return -1 if place < 0 else place + len(wanted)

    def _tag(self, at: int) -> Edit | None:
        """Return what becomes of a `<`."""
        if (end := self._silent_end(at)) is not None:
            return self._until(at, end)
        tag = _LOOSE_TAG.match(self.text, at)
        if tag is None:
            is_end = self.text.startswith("</", at)
            return self._until(at, self.find(">", at)) if is_end else None
        end = self._loose_end(tag)
        if self.text.startswith(">", tag.end()):
            return self.told(at, end, tag[1].lower())
        return hidden(at, end)

    def _silent_end(self, at: int) -> int | None:
        """Return where a comment or the like ends, -1 when it does not; None for anything else.

        Some readers see an earlier end (browsers take `<!-->` for whole, and end `<?` at the first
        `>`). What would be a tag for them is left out with it.
        """
        for opening, closing, earlier in _SILENT:
            if self._lower.startswith(opening, at):
                end = self.find(closing, at + len(opening))
                early = self.find(earlier, at + len(opening))
                if opening == "<!--" and (short := _SHORT_COMMENT.match(self.text, at)):
                    early = short.end()
                return self._later(end, early)
        return None

    def _later(self, end: int, early: int) -> int:
        """Return the end of a comment or the like that some end earlier, or not at all."""
        return max(end, early) if end < 0 or early < 0 else self._behind_tags(early, end)

    def _behind_tags(self, start: int, end: int) -> int:
        """Return where the last tag ends that begins between two places, at least the second."""
        at = self.text.find("<", start, end)
        while at >= 0:
            at = self._plain_end(at)
            end = max(end, at)
            at = self.text.find("<", at, end)
        return end

    def _plain_end(self, at: int) -> int:
        """Return where a browser sees the end of what begins with a `<`."""
        if self.text.startswith("<!--", at):
            end = self.find("-->", at + 4)
            return self._beyond if end < 0 else end
        if self.text.startswith(("<!", "<?"), at):
            end = self.find(">", at)
            return self._beyond if end < 0 else end
        tag = _LOOSE_TAG.match(self.text, at)
        return at + 1 if tag is None else self._loose_end(tag)

    def _loose_end(self, tag: re.Match[str]) -> int:
        """Return where a tag ends for a browser; it goes on for ever in a quote that stays open."""
        if self.text.startswith(">", tag.end()):
            return tag.end() + 1
        if _OPEN_QUOTE.match(self.text, tag.end()):
            return self._beyond
        end = self.find(">", tag.end())
        return self.end if end < 0 else end

    def _until(self, at: int, end: int) -> Edit:
        """Hide up to an end; to the end of the whole text where there is none."""
        return hidden(at, end if end >= 0 else self._beyond)

    def told(self, at: int, end: int, name: str) -> Edit:
        """Return what is left of a whole tag."""
        tag = self.text[at:end]
        if name in SILENT_TAGS:
            return hidden(at, end if tag[1] == "/" else self.closing(end, name))
        if name not in SHOWN_TAGS:
            return hidden(at, end)
        shown = tag if tag[1] == "/" and tag[2:-1].strip().lower() == name else _rewritten(tag)
        return Edit(at, at) if shown == tag else hidden(at, end, shown)

    def closing(self, start: int, name: str) -> int:
        """Return where a silent element ends, which goes on for ever when it is not closed."""
        end = self.find(f"</{name}", start)
        if end < 0:
            return self._beyond
        closed = self.find(">", end)
        return self.end if closed < 0 else closed


def _rewritten(tag: str) -> str:
    """Return a tag with the attributes that show something; the same one if it has no others."""
    opening = "</" if tag[1] == "/" else "<"
    name, *_ = re.split(r"[\s/>]", tag[len(opening) :], maxsplit=1)
    rest = tag[len(opening) + len(name) : -1]
    if opening == "</":
        return f"</{name}>"
    attributes = list(_ATTRIBUTE.finditer(rest))
    kept = [a.group() for a in attributes if a[1].lower() in SHOWN_ATTRIBUTES]
    if len(kept) == len(attributes) and not _ATTRIBUTE.sub("", rest).strip(" \t\n/"):
        return tag
    closing = "/>" if rest.rstrip().endswith("/") else ">"
    return f"<{' '.join([name, *kept])}{closing}"


def _excess(text: str, rule: re.Match[str]) -> list[tuple[int, int]]:
    """Return the cells of a table that have no column, which GitHub leaves out (GFM 4.10)."""
    columns = len(list(_cells(text, rule.start(), rule.end())))
    found = []
    at = rule.end() + 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        cells = list(_cells(text, at, end))
        if len(cells) > columns and text[cells[columns] : end].strip():
            found.append((cells[columns], end))
        at = end + 1
    return found


def _cells(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where each cell of a row begins; a bar at the end of the row begins none."""
    at = _CELL_START.match(text, start, end)
    yield start if at is None else at.end()
    for bar in _BAR.finditer(text, start if at is None else at.end(), end):
        if text[bar.end() : end].strip():
            yield bar.end()


def entity(text: str, at: int) -> Edit | None:
    """Return the edit of an entity that stands for an invisible character."""
    found = _ENTITY.match(text, at)
    if found is None:
        return None
    meant = html.unescape(found.group())
    if meant != found.group() and clean(meant).removed and meant.strip("\t\r\n "):
        return hidden(at, found.end())
    return Edit(found.end(), found.end())


# --- text ----------------------------------------------------------------------------------------


class Inline(Html):
    """Reads the inlines of a paragraph or heading, as far as they can hide something."""

    def __init__(self, leaf: Leaf, definitions: Definitions) -> None:
        super().__init__(leaf)
        self._begins = leaf.begins
        self._definitions = definitions
        self._openers: list[tuple[int, bool]] = []  # where brackets are open, and if of images
        self._dead = 0  # how many of them are before a link
        self._cell = self._next_cell = 0
        self._work = 0
        self._runs: dict[int, list[int]] = {}
        for run in reversed(list(_BACKTICKS.finditer(self.text))):
            self._runs.setdefault(len(run.group()), []).append(run.start())
        rule = _TABLE_RULE.search(self.text) if "|" in self.text else None
        self._is_table = rule is not None
        self._cuts = [] if rule is None else _excess(self.text, rule)[::-1]

    def edits(self) -> Iterator[Edit]:
        """Yield what is not shown."""
        at = self._begins
        if at:  # definitions of links, which are counted where they are used
            yield Edit(0, at)
        while at < self.end:
            found = _SPECIAL.search(self.text, at)
            place = self.end if found is None else found.start()
            if self._cuts and self._cuts[-1][0] <= place:
                start, end = self._cuts.pop()
                yield hidden(start, end)
                at = max(at, end)
                continue
            if found is None:
                return
            edit, at = self._special(place)
            if edit is not None:
                yield edit

    def _special(self, at: int) -> tuple[Edit | None, int]:
        """Return what becomes of a special character, and where to go on."""
        char = self.text[at]
        if char == "\\":
            return None, at + 2
        if char == "`":
            return None, self._after_code(at)
        if char == "[":
            self._openers.append((at, self.text.startswith("!", max(0, at - 1))))
            return None, at + 1
        if char == "]":
            return self._closed(at)
        edit = self._html(at) if char == "<" else entity(self.text, at)
        if edit is None:
            return None, at + 1
        nothing = edit.start == edit.end and not edit.text
        return None if nothing else edit, max(at + 1, edit.end)

    # -- code -------------------------------------------------------------------------------------

    def _after_code(self, at: int) -> int:
        """Return where a code span ends, or the run of backticks that opens none."""
        opened = _BACKTICKS.match(self.text, at)
        assert opened is not None
        runs = self._runs.get(len(opened.group()), [])
        while runs and runs[-1] < opened.end():
            runs.pop()
        if not runs:
            return opened.end()
        if self._is_table and _CELL_END.search(self.text, opened.end(), runs[-1]):
            return opened.end()
        return runs[-1] + len(opened.group())

    # -- HTML -------------------------------------------------------------------------------------

    def _html(self, at: int) -> Edit | None:
        """Return what becomes of a `<`; a tag has to be whole (CommonMark 6.6)."""
        text = self.text
        if link := _AUTOLINK.match(text, at):
            return Edit(link.end(), link.end())
        if _SILENT_INLINE.match(text, at):
            end = self._silent_end(at)
            return hidden(at, end) if end is not None and end >= 0 else None
        if tag := _END_TAG.match(text, at):
            return self.told(at, tag.end(), tag[1].lower())
        return self._open_tag(at)

    def _open_tag(self, at: int) -> Edit | None:
        if self.find(">", at) < 0:
            return None
        tag = _TAG_HEAD.match(self.text, at)
        if tag is None:
            return None
        self._work += tag.end() - at
        if self._work > 8 * self.end + 10_000:
            raise Tangled
        if not self.text.startswith(">", tag.end()):
            return None
        return self.told(at, tag.end() + 1, tag[1].lower())

    def _later(self, end: int, early: int) -> int:
        """Return the end as CommonMark sees it; without it, only `<!-->` is whole."""
        if end < 0:
            return early if early >= 0 and self.text.startswith("->", early - 2) else -1
        return super()._later(end, early)

    def closing(self, start: int, name: str) -> int:
        """Return where a silent element ends in this paragraph; else where its content begins."""
        end = super().closing(start, name)
        return start if end > self.end else end

    # -- links ------------------------------------------------------------------------------------

    def _closed(self, at: int) -> tuple[Edit | None, int]:
        """Return what becomes of a `]`, and where to go on: behind the link that it may end.

        Links hold no links: where one is, brackets that were opened before it open none
        (CommonMark, "look for link or image").
        """
        if not self._openers:
            return None, at + 1
        opened, is_image = self._openers.pop()
        is_dead = not is_image and len(self._openers) < self._dead
        self._dead = min(self._dead, len(self._openers))
        if is_dead or opened < self._cell_of(at):
            return None, at + 1
        found = self._link(opened, at, is_image=is_image)
        if found is None:
            return None, at + 1
        if not is_image:
            self._dead = len(self._openers)
        return found

    def _cell_of(self, at: int) -> int:
        """Return where the cell of a table begins that a place is in; links end with it."""
        while self._next_cell <= at:
            self._cell = self._next_cell
            found = _CELL_END.search(self.text, self._cell) if self._is_table else None
            self._next_cell = self.end + 1 if found is None else found.end()
        return self._cell

    def _link(self, opened: int, at: int, *, is_image: bool) -> tuple[Edit | None, int] | None:
        """Return what becomes of a link whose text stands between two brackets; None for none."""
        if (tail := self._tail(at + 1)) is not None:
            title, end = tail
            if not is_image and not self.text[opened + 1 : at].strip():
                return hidden(opened, end), end
            return (None if title is None else hidden(*title)), end
        label = _LABEL.match(self.text, at + 1)
        if label is not None:
            return self._reference(label[1], at + 1, label.end())
        end = at + 3 if self.text.startswith("[]", at + 1) else at + 1
        if at - opened > MAX_LABEL_CHARS:
            return None
        return self._reference(self.text[opened + 1 : at], at + 1, end)

    def _reference(self, label: str, start: int, end: int) -> tuple[Edit, int] | None:
        """Return the link's target in place of its label, if it is defined."""
        target = self._definitions.target(label)
        return None if target is None else (Edit(start, end, target), end)

    def _tail(self, at: int) -> tuple[tuple[int, int] | None, int] | None:
        """Return where the title stands in the tail of a link, and where the tail ends."""
        place = self._after_target(at)
        if place is None:
            return None
        if titled := _LINK_TITLE.match(self.text, place):
            return titled.span(1), titled.end()
        ended = _LINK_END.match(self.text, place)
        return None if ended is None else (None, ended.end())

    def _after_target(self, at: int) -> int | None:
        """Return where the target ends in the tail of a link, whose parentheses are balanced."""
        found = _TARGET.match(self.text, at)
        if found is None or found[1].startswith("<"):
            return None if found is None else found.end()
        place, depth = found.end(), 0
        while place < self.end and (char := self.text[place]) not in " \t\n":
            depth += (char == "(") - (char == ")")
            if depth < 0:
                break
            if depth > MAX_PARENTHESES:
                return None
            place += 2 if char == "\\" else 1
        return min(place, self.end)
