"""An HTML tree is written as CommonMark with GitHub's tables, or as plain text.

The tree is walked once and nothing of its visible text is left out: what has no markdown of its own
is written as its content. Depth is bounded before (`tree.parse`), so that recursion is too.

Sources: CommonMark 0.31; GitHub Flavored Markdown 0.29 §4.10 (tables), §6.5 (strikethrough).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple
from urllib.parse import urljoin

from lxml.etree import _Element as Element

from services.fetch.convert.code_blocks import exact_text, table_of_code, without_gutter
from services.fetch.convert.document import Heading
from services.fetch.convert.inline import (
    Emphasis,
    Run,
    code_span,
    destination,
    escaped,
    longest_run,
)
from services.fetch.convert.tables import (
    TABLE_PARTS,
    Cell,
    Grid,
    is_for_layout,
    own_rows,
    read_grid,
)
from services.fetch.convert.tree import BLOCKS, SKIPPED

BlockKind = Literal["paragraph", "heading", "list", "numbered", "code", "quote", "table", "rule"]

_EMPHASIS: dict[str, Emphasis] = {
    "em": "em",
    "i": "em",
    "cite": "em",
    "dfn": "em",
    "var": "em",
    "strong": "strong",
    "b": "strong",
    "del": "del",
    "s": "del",
    "strike": "del",
}
_CODE = frozenset(("code", "kbd", "samp", "tt"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_PERMALINK_TEXTS = frozenset(("", "¶", "#", "§", "🔗", "Permalink"))
_BREAKS = re.compile(r"[\t\r\n]")
_ABSOLUTE = re.compile(r"https?://[^/?#]+(?:/(?!\.)[^/?#]*)*(?:[?#].*)?$")
_NO_TARGET = re.compile(r"(?i)[\x00-\x20]*(?:javascript|vbscript|data|blob|file):")
_AUTOLINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*$")
_MAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*$", re.ASCII)
_LANGUAGE = re.compile(r"(?:^|\s)(?:language-|lang-|highlight-source-|highlight-)([^\s`]+)")
_LANGUAGE_NAME = re.compile(r"[\w+#.-]{1,30}$")
_BRUSH = re.compile(r"(?:^|\s)brush:\s*([\w+#-]+)")
_NOT_LANGUAGES = frozenset(("default", "none", "notranslate", "text", "highlighter-rouge"))
_CLOSING, _BACKSLASHED = re.compile(r"(?<!\\)(#+)$"), r"\\\1"
_HEADING_MARK = re.compile("\x02(\\d+)\x02")


class Block(NamedTuple):
    """A block as lines of markdown, without the blank lines around it."""

    kind: BlockKind
    text: str


class Written(NamedTuple):
    """The text, and where its headings begin."""

    text: str
    outline: tuple[Heading, ...]


def write(
    root: Element,
    base_url: str,
    *,
    links: bool = True,
    images: bool = True,
    plain: bool = False,
) -> Written:
    """Write a tree.

    Args:
        base_url: What relative links are resolved against.
        plain: Write text for reading instead of markdown.
    """
    writer = _Writer(root, base_url, links=links, images=images, plain=plain)
    blocks: list[Block] = []
    writer.block(root, blocks)
    return _with_outline(_joined(blocks), writer.headings)


def _with_outline(text: str, headings: list[tuple[int, str]]) -> Written:
    """Take the marks of headings out and note their places."""
    pieces: list[str] = []
    outline: list[Heading] = []
    length = position = 0
    for mark in _HEADING_MARK.finditer(text):
        pieces.append(text[position : mark.start()])
        length += mark.start() - position
        position = mark.end()
        level, title = headings[int(mark[1])]
        outline.append(Heading(level, title, length))
    pieces.append(text[position:])
    return Written("".join(pieces), tuple(outline))


def _joined(blocks: Iterable[Block], *, tight: bool = False) -> str:
    """Join blocks by blank lines; in a tight list item only where markdown needs them."""
    pieces: list[str] = []
    before: Block | None = None
    for block in blocks:
        if before is not None:
            close = tight and (
                before.kind == "heading" or block.kind in ("list", "code", "quote", "heading")
            )
            pieces.append("\n" if close else "\n\n")
        pieces.append(block.text)
        before = block
    return "".join(pieces)


def _indented(text: str, by: str) -> str:
    """Indent all lines but the first; blank lines stay empty."""
    return re.sub(r"\n(?=[^\n])", "\n" + by, text)


class _Writer:
    """Writes one tree; knows what the caller wants and the headings so far."""

    def __init__(
        self, root: Element, base_url: str, *, links: bool, images: bool, plain: bool
    ) -> None:
        self.base_url = base_url
        self.links = links and not plain
        self.images = images and not plain
        self.plain = plain
        self.headings: list[tuple[int, str]] = []
        self._lifted: str | None = None  # the target of a link around blocks, not yet written
        self._with_blocks = _inline_with_blocks(root)
        self._writers: dict[str, Callable[[Element, list[Block]], None]] = {
            **dict.fromkeys(_HEADINGS, self._heading),
            "ul": self._list,
            "ol": self._list,
            "menu": self._list,
            "dir": self._list,
            "pre": self._code,
            "listing": self._code,
            "xmp": self._code,
            "blockquote": self._quote,
            "table": self._table,
            "hr": self._rule,
            "dt": self._term,
            "summary": self._term,
            "dd": self._definition,
            "a": self._link_around,
            "li": self._stray_item,
        }

    # --- blocks ---------------------------------------------------------------------------------

    def block(self, element: Element, out: list[Block]) -> None:
        """Write an element as what its name says."""
        self._writers.get(element.tag, self.flow)(element, out)

    def flow(self, element: Element, out: list[Block]) -> None:
        """Write the content of an element: blocks, and paragraphs of the inline between them."""
        run = self._run()
        if element.text:
            run.text(element.text)
        for child in element:
            tag = child.tag
            if tag in SKIPPED:
                pass
            elif tag in BLOCKS or child in self._with_blocks:
                self._paragraph(run, out)
                run = self._run()
                self.block(child, out)
            else:
                self._inline(child, run)
            if child.tail:
                run.text(child.tail)
        self._paragraph(run, out)

    def _run(self, *, one_line: bool = False) -> Run:
        return Run(plain=self.plain, one_line=one_line)

    def _paragraph(self, run: Run, out: list[Block]) -> None:
        if run:
            self._lift(run)
            out.append(Block("paragraph", run.written()))

    def _lift(self, run: Run) -> None:
        """Give the link around several blocks to the first of them that says something."""
        if self._lifted is not None:
            run.link_whole(self._lifted)
            self._lifted = None

    def _heading(self, element: Element, out: list[Block]) -> None:
        if element in self._with_blocks:  # a table or list in a heading: keep their shape
            self.flow(element, out)
            return
        run = self._run(one_line=True)
        self._content(element, run)
        if not run:
            return
        title = run.bare()
        self._lift(run)
        level = int(element.tag[1])
        self.headings.append((level, title))
        mark = f"\x02{len(self.headings) - 1}\x02"
        text = run.written()
        if not self.plain:
            text = f"{'#' * level} {_CLOSING.sub(_BACKSLASHED, text)}"
        out.append(Block("heading", mark + text))

    def _quote(self, element: Element, out: list[Block]) -> None:
        inner: list[Block] = []
        self.flow(element, inner)
        if inner:
            text = re.sub(r"(?m)^(?=.)", "> ", _joined(inner))
            out.append(Block("quote", re.sub(r"(?m)^$", ">", text)))

    def _rule(self, element: Element, out: list[Block]) -> None:
        within = element.getparent()
        in_item = within is not None and within.tag == "li"
        out.append(Block("rule", "___" if in_item else "---"))

    def _code(self, element: Element, out: list[Block]) -> None:
        self._fenced(exact_text(element).removesuffix("\n"), element, out)

    def _fenced(self, code: str, element: Element, out: list[Block]) -> None:
        if not code.strip():
            return
        if self.plain:
            out.append(Block("code", code))
            return
        fence = "`" * max(3, longest_run(code) + 1)
        out.append(Block("code", f"{fence}{_language(element)}\n{code}\n{fence}"))

    def _term(self, element: Element, out: list[Block]) -> None:
        """Write the name of what follows: bold, unless it brings its own weight."""
        inner: list[Block] = []
        self.flow(element, inner)
        for block in inner:
            bare = block.kind == "paragraph" and not self.plain
            if bare and not re.search(r"[*_`\[\n]", block.text):
                out.append(Block("paragraph", f"**{block.text}**"))
            else:
                out.append(block)

    def _definition(self, element: Element, out: list[Block]) -> None:
        """Write what a term means; a short one goes to the line below its term."""
        inner: list[Block] = []
        self.flow(element, inner)
        short = len(inner) == 1 and inner[0].kind == "paragraph"
        if short and out and _can_be_defined(element, out[-1]):
            term = out.pop()
            out.append(Block("paragraph", f"{term.text}\n: {inner[0].text}"))
        else:
            out += inner

    def _link_around(self, element: Element, out: list[Block]) -> None:
        before = self._lifted
        self._lifted = self._target(element)
        self.flow(element, out)
        self._lifted = before

    # --- lists ----------------------------------------------------------------------------------

    def _list(self, element: Element, out: list[Block]) -> None:
        numbered = element.tag == "ol"
        tight = element.find("li/p") is None
        other = bool(out) and out[-1].kind in ("list", "numbered")
        number = _number(element.get("start"), 1) if numbered else 0
        first = number
        items: list[str] = []
        self._stray_text(element, out)
        for child in element:
            text = self._item(child, tight=tight)
            if child.tag != "li" and items and text:
                items[-1] += "\n" + _indented("  " + text, "  ")
                continue
            if numbered and child.tag == "li":
                number = _number(child.get("value"), number)
                marker = f"{number}{')' if other else '.'}"
                number += 1
            else:
                marker = "*" if other else "-"
            if text:
                items.append(f"{marker} {_indented(text, ' ' * (len(marker) + 1))}")
        if items:
            kind: BlockKind = "numbered" if numbered and first != 1 else "list"
            out.append(Block(kind, ("\n" if tight else "\n\n").join(items)))

    def _stray_text(self, element: Element, out: list[Block]) -> None:
        """Write text that stands in a list or table, but in none of its items or cells."""
        run = self._run()
        for text in (element.text, *(child.tail for child in element)):
            if text and not text.isspace():
                run.text(f" {text} ")
        self._paragraph(run, out)

    def _item(self, element: Element, *, tight: bool) -> str:
        inner: list[Block] = []
        if element.tag == "li":
            self.flow(element, inner)
        elif element.tag in BLOCKS:
            self.block(element, inner)
        elif element.tag not in SKIPPED:
            self.flow(element, inner)
        return _task_box(element) + _joined(inner, tight=tight) if inner else ""

    def _stray_item(self, element: Element, out: list[Block]) -> None:
        """Write an item outside of any list."""
        text = self._item(element, tight=True)
        if text:
            out.append(Block("list", f"- {_indented(text, '  ')}"))

    # --- tables ---------------------------------------------------------------------------------

    def _table(self, element: Element, out: list[Block]) -> None:
        caption = element.find("caption")
        if caption is not None:
            self.flow(caption, out)
        sections = list(element.iterchildren("thead", "tbody", "tfoot"))
        rows = [row for part in (element, *sections) for row in part.iterchildren("tr")]
        for part in (element, *sections, *rows):
            self._stray_text(part, out)
            for child in part:
                if child.tag not in TABLE_PARTS and child.tag not in SKIPPED:
                    self.block(child, out)
        if (code := table_of_code(element)) is not None:
            self._fenced(code, element, out)
            return
        if is_for_layout(element):
            for cells in own_rows(element):
                for cell in without_gutter(cells):
                    self.flow(cell, out)
            return
        grid = read_grid(element)
        if lines := self._rows(grid):
            out.append(Block("table", "\n".join(lines)))

    def _rows(self, grid: Grid) -> list[str]:
        texts = {id(cell): self._cell(cell) for row in grid.rows for cell in row if cell}
        rows = [[texts[id(cell)] if cell else "" for cell in row] for row in grid.rows]
        rows = [row for row in rows if any(row)]
        if not rows:
            return []
        if self.plain:
            return ["\t".join(row) for row in rows]
        width = max(map(len, rows))
        head, body = (rows[0], rows[1:]) if grid.has_head else ([], rows)
        lines = [head + [""] * (width - len(head)), ["---"] * width, *body]
        return [f"| {' | '.join(line)} |" for line in lines]

    def _cell(self, cell: Cell) -> str:
        if cell.element in self._with_blocks or _has_block(cell.element):
            inner: list[Block] = []
            self.flow(cell.element, inner)
            text = "\n".join(block.text for block in inner)
        else:
            run = self._run()
            self._content(cell.element, run)
            text = run.written()
        text = _HEADING_MARK.sub("", text)
        if self.plain:
            return " ".join(text.split())
        return re.sub(r"\\?\n+", "<br>", text).replace("|", "\\|")

    # --- inline ---------------------------------------------------------------------------------

    def _content(self, element: Element, run: Run) -> None:
        if element.text:
            run.text(element.text)
        for child in element:
            if child.tag not in SKIPPED:
                self._inline(child, run)
            if child.tail:
                run.text(child.tail)

    def _inline(self, element: Element, run: Run) -> None:
        tag = element.tag
        if tag in _EMPHASIS:
            run.open(_EMPHASIS[tag])
            self._content(element, run)
            run.close(_EMPHASIS[tag])
        elif tag == "a":
            self._link(element, run)
        elif tag == "br":
            run.line_break()
        elif tag == "img":
            self._image(element, run)
        elif tag in _CODE:
            self._code_span(element, run)
        elif tag in _SMALL:
            _SMALL[tag](self, element, run)
        else:
            self._content(element, run)

    def _link(self, element: Element, run: Run) -> None:
        target = self._target(element)
        if target is None:
            self._content(element, run)
        elif not len(element) and _is_autolink(element.text, element.get("href", "")):
            run.raw(f"<{element.text}>")
        elif not _is_permalink(element):
            run.open_link()
            self._content(element, run)
            run.close_link(target)

    def _target(self, element: Element) -> str | None:
        """Return the destination of a link, or None when it is to be written as text."""
        href = element.get("href")
        if href is None or not self.links or _NO_TARGET.match(href):
            return None
        return destination(absolute(self.base_url, href), element.get("title", ""))

    def _image(self, element: Element, run: Run) -> None:
        alt = " ".join(element.get("alt", "").split())
        if "mwe-math" in element.get("class", "") and alt:
            run.raw(f"${alt}$")
            return
        source = _image_source(element)
        if not self.images or source is None:
            if alt and _is_all_of_a_link(element):
                run.text(alt)
            return
        target = destination(absolute(self.base_url, source), element.get("title", ""))
        run.raw(f"![{escaped(alt, in_link=True)}]({target})")

    def _code_span(self, element: Element, run: Run) -> None:
        code = exact_text(element)
        if not code.strip():
            if code:
                run.text(" ")
        elif self.plain:
            run.raw(code)
        elif len(element) == 1 and element[0].tag == "a" and not (element.text or element[0].tail):
            target = self._target(element[0])
            if target is None:
                run.raw(code_span(code))
            else:
                run.raw(f"[{code_span(code)}]({target})")
        else:
            run.raw(code_span(code))

    def _quotation(self, element: Element, run: Run) -> None:
        run.raw("“")
        self._content(element, run)
        run.raw("”")

    def _raised(self, element: Element, run: Run) -> None:
        """Write sup and sub as themselves, markdown has nothing for them; not around footnotes."""
        if self.plain or element.find(".//a") is not None:
            self._content(element, run)
            return
        inner = self._run(one_line=True)
        self._content(element, inner)
        if inner:
            run.raw(f"<{element.tag}>{inner.written()}</{element.tag}>")

    def _math(self, element: Element, run: Run) -> None:
        tex = element.get("alttext") or "".join(
            note.text or ""
            for note in element.iter("annotation")
            if note.get("encoding") == "application/x-tex"
        )
        if tex := " ".join(tex.split()):
            run.raw(f"$${tex}$$" if element.get("display") == "block" else f"${tex}$")
        else:
            self._content(element, run)

    def _fraction(self, element: Element, run: Run) -> None:
        """Write a fraction on one line; what has several parts goes into parentheses."""
        for number, part in enumerate(element):
            inner = self._run(one_line=True)
            self._inline(part, inner)
            text = inner.written()
            run.raw(("/" if number else "") + (f"({text})" if len(part) > 1 else text))

    def _embedded(self, element: Element, run: Run) -> None:
        """Name what is embedded by a link; what stands inside is for browsers without it."""
        source = element.get("src")
        nested = element.find("source")
        if source is None and nested is not None:
            source = nested.get("src")
        if source and self.links and not _NO_TARGET.match(source):
            title = element.get("title") or (element.get("name") if element.tag == "frame" else "")
            name = " ".join((title or "").split()) or element.tag
            run.text(" ")
            run.open_link()
            run.text(name)
            run.close_link(destination(absolute(self.base_url, source)))
            run.text(" ")

    def _reading(self, element: Element, run: Run) -> None:
        """Write ruby text in parentheses, where the page has none for old browsers."""
        around = element.getparent()
        bare = around is None or around.find("rp") is None
        inner = self._run(one_line=True)
        self._content(element, inner)
        if inner:
            run.raw(f"({inner.written()})" if bare else inner.written())


_SMALL: dict[str, Callable[[_Writer, Element, Run], None]] = {
    "q": _Writer._quotation,
    "sup": _Writer._raised,
    "sub": _Writer._raised,
    "math": _Writer._math,
    "mfrac": _Writer._fraction,
    "iframe": _Writer._embedded,
    "frame": _Writer._embedded,
    "video": _Writer._embedded,
    "audio": _Writer._embedded,
    "embed": _Writer._embedded,
    "rt": _Writer._reading,
}


def absolute(base_url: str, url: str) -> str:
    """Resolve a reference; one that cannot be read stays as it is."""
    url = _BREAKS.sub("", url.strip())
    if _ABSOLUTE.match(url):
        return url
    try:
        return urljoin(base_url, url)
    except ValueError:
        return url


def _inline_with_blocks(root: Element) -> set[Element]:
    """Return the inline elements that hold blocks somewhere: `<a><div>…</div></a>`."""
    found: set[Element] = set()
    for element in root.iter(*BLOCKS):
        above = element.getparent()
        while (
            above is not None
            and above not in found
            and (above.tag not in BLOCKS or above.tag in _HEADINGS)
        ):
            found.add(above)
            above = above.getparent()
    return found


def _has_block(cell: Element) -> bool:
    return next(cell.iterchildren(*BLOCKS), None) is not None


def _language(element: Element) -> str:
    """Return the language of a code block as its classes tell (Prism, Pygments, GitHub, …)."""
    code = element.find("code")
    above = element.getparent()
    further = above.getparent() if above is not None else None
    for place in (code, element, above, further):
        if place is None:
            continue
        classes = place.get("class") or ""
        if found := _LANGUAGE.search(classes) or _BRUSH.search(classes):
            return "" if found[1] in _NOT_LANGUAGES else found[1]
        named = place.get("data-language") or place.get("data-lang") or ""
        if _LANGUAGE_NAME.match(named) and named not in _NOT_LANGUAGES:
            return named
    return ""


def _can_be_defined(definition: Element, block: Block) -> bool:
    """Say whether a block is the term of a definition, with or without one already."""
    before = _previous_tag(definition)
    if block.kind != "paragraph" or before not in ("dt", "dd"):
        return False
    return before == "dt" or "\n: " in block.text


def _previous_tag(element: Element) -> object:
    before = element.getprevious()
    return None if before is None else before.tag


def _number(text: str | None, default: int) -> int:
    """Read a number that an ordered list can begin with (at most nine digits, CommonMark §5.2)."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,9}", text.strip()) else default


def _task_box(element: Element) -> str:
    """Return `[x] ` or `[ ] ` for an item that begins with a checkbox (GFM §5.3)."""
    box = element.find("input")
    if box is None:
        box = element.find("p/input")
    if box is None or box.get("type") != "checkbox":
        return ""
    return "[ ] " if box.get("checked") is None else "[x] "


def _is_autolink(text: str | None, href: str) -> bool:
    """Say whether a link's text is its target, so that `<…>` says it all (CommonMark §6.4)."""
    if not text or not (text == href or f"mailto:{text}" == href):
        return False
    return bool(_AUTOLINK.match(text) or _MAIL.match(text))


def _is_permalink(element: Element) -> bool:
    """Say whether a link is the pilcrow that documentation puts behind headings."""
    text = "".join(element.itertext()).strip()
    return (
        text in _PERMALINK_TEXTS
        and element.get("href", "").startswith("#")
        and element.find(".//img") is None
    )


def _image_source(element: Element) -> str | None:
    """Return where an image is; lazy loaders keep it in another attribute, pictures in several."""
    for name in ("src", "data-src", "data-original", "data-lazy-src"):
        source: str | None = element.get(name)
        if source and not _NO_TARGET.match(source):
            return source
    above = element.getparent()
    around = above.iterchildren("source") if above is not None and above.tag == "picture" else ()
    for place in (element, *around):
        found = (place.get("srcset") or place.get("data-srcset") or "").split(None, 1)
        if found and not _NO_TARGET.match(found[0]):
            return str(found[0]).rstrip(",")
    return None


def _is_all_of_a_link(element: Element) -> bool:
    above = element.getparent()
    return above is not None and above.tag == "a" and not "".join(above.itertext()).strip()
