"""What CSS keeps from being seen: inline styles, and the simple rules of a page's own style sheets.

Read are rules whose selector is one compound of an element's name, classes and ids (`p`, `.a`,
`p.a.b#c`), alone or in a list, outside of at-rules or in `@media all` and `@media screen`. Later
and more specific ones win over others, and the element's own style over both, as in a browser
(CSS Cascade §6). What a sheet hides only to fade it in, or for a trick of layout, is not hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lxml.etree import _Element as Element

MAX_SHEET_CHARS = 300_000  # of all sheets of a page together
MAX_RULES_OF_A_NAME = 30

Declarations = dict[str, str]

_ZERO = r"0*(?:\.0+)?(?:px|em|rem|pt|%|vw|vh)?(?=[;!}]|$)"
_AWAY = "left|right|top|bottom|text-indent|margin-left|margin-top"
_NOTHING = r"0*\.?0*%?"
_CERTAIN = rf"""
      display:none | visibility:(?:hidden|collapse) | content-visibility:hidden
    | transform:(?:scale(?:x|y|3d)?\({_NOTHING}[,)]|translate[xy]?\(-\d{{4,}}px)
    | clip:rect\((?:0|1px) | clip-path:(?:inset\((?:50|100)%|circle\({_NOTHING}(?:px)?\))
    | filter:opacity\({_NOTHING}\)
    | color:(?:transparent|\#[0-9a-f]{{3}}0(?=;|$)|\#[0-9a-f]{{6}}00(?=;|$)
             |(?:rgb|hsl)a?\((?:(?:[^,;]*,){{3}}|[^,;/]*/){_NOTHING}\))
"""
_HIDING = re.compile(
    rf"""(?:^|;)(?:{_CERTAIN}
    | opacity:{_ZERO} | font-size:(?:{_ZERO}|[01](?:\.\d+)?px)
    | (?:{_AWAY}):-\d{{3,}}(?:px|em|rem|%|vw|vh)
    )""",
    re.VERBOSE,
)
_SHEET_HIDING = re.compile(rf"(?:^|;)(?:{_CERTAIN}|(?:{_AWAY}):-\d{{4,}}(?:px|em|rem))", re.VERBOSE)
_TRANSPARENT = re.compile(rf"(?:^|;)opacity:{_ZERO}")
_TINY = re.compile(rf"(?:^|;)font-size:(?:{_ZERO}|[01](?:\.\d+)?px)")
_CLIPPED = re.compile(rf"(?:^|;)(?:max-)?(?:height|width):(?:{_ZERO}|1px)")
_OVERFLOW = re.compile(r"overflow(?:-[xy])?:(?:hidden|clip)")
_BACKGROUND_CLIP = ("background-clip", "-webkit-background-clip")

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)
_HINT = re.compile(
    r"(?i)none|hidden|collapse|opacity|font-size\s*:\s*[01.]|-\d{3}|scale|clip|transparent"
    r"|[bl]a\s*\(|#\w{3}(?:\w{3}0)?0\b|\([^)]{0,60}/|\\"
)
_COLOURED = re.compile(r"(?i)(?:^|[;{\s])color\s*:")
_NAME = r"(?:[\w-]|[^\x00-\x7f]|\\[0-9a-fA-F]{1,6}\s?|\\.)++"
_COMPOUND = re.compile(rf"({_NAME})?((?:[.#]{_NAME})*)$")
_PARTS = re.compile(rf"[.#]{_NAME}")
_APPLIED = re.compile(r"(?i)@media\s+(?:only\s+)?(?:screen|all)\s*$")
_FADED_IN = re.compile(r"(?i)opacity\s*:\s*(?:0*\.\d*[1-9]|0*[1-9])")


def hides(style: str) -> bool:
    """Say whether an inline style keeps text from being seen."""
    if not _is_suspect(style):
        return False
    declared = read_declarations(style)
    return bool(_HIDING.search(_written(declared))) or _is_gone(declared)


def _is_suspect(css: str) -> bool:
    """Look cheaply whether something may be hidden, before a close look."""
    if _HINT.search(css):
        return True
    return "background" in css.lower() and bool(_COLOURED.search(css))


def read_declarations(style: str) -> Declarations:
    """Return the declarations of a style by property, lower case and without white space."""
    if "\\" in style:
        style = _unescaped(style)
    style = re.sub(r"\s+", "", _COMMENT.sub("", style.lower()))
    found: Declarations = {}
    for declaration in style.split(";"):
        name, colon, value = declaration.partition(":")
        if colon and (value.endswith("!important") or "!" not in found.get(name, "")):
            found[name] = value
    return found


def _written(declared: Mapping[str, str]) -> str:
    """Return declarations for the patterns; letters that a picture is seen through have no colour.

    That is what `background-clip: text` is for.
    """
    is_painted = any(declared.get(name, "")[:4] == "text" for name in _BACKGROUND_CLIP)
    return ";".join(
        f"{name}:{value.partition('!')[0]}"
        for name, value in declared.items()
        if not (is_painted and name == "color")
    )


def _is_gone(declared: Mapping[str, str]) -> bool:
    """Say whether a box has no room for its text, or none is to be told from what is behind it."""
    style = _written(declared)
    if _OVERFLOW.search(style) and _CLIPPED.search(style):
        return True
    return _is_invisible(declared)


def _is_invisible(declared: Mapping[str, str]) -> bool:
    """Say whether text has the colour of what is behind it."""
    background = declared.get("background-color") or declared.get("background")
    return background is not None and declared.get("color") == background


def _unescaped(text: str) -> str:
    r"""Undo escapes: `d\69splay` (CSS Syntax §4.3.7)."""
    return _ESCAPE.sub(lambda found: found[2] or _character(int(found[1], 16)), text)


def _character(number: int) -> str:
    is_one = 0 < number < 0x110000 and not 0xD800 <= number < 0xE000
    return chr(number) if is_one else "\ufffd"


# --- style sheets -------------------------------------------------------------------------------


class _Rule(NamedTuple):
    """A compound selector and what it declares; `parts` are its `.class` and `#id`."""

    tag: str
    parts: frozenset[str]
    declared: Declarations

    @property
    def specificity(self) -> tuple[int, int, int]:
        ids = sum(part[0] == "#" for part in self.parts)
        return ids, len(self.parts) - ids, bool(self.tag)

    def names(self) -> tuple[str, ...]:
        return tuple(self.parts) or (self.tag,)


class StyleSheets:
    """The rules of a page's own style sheets that bear on what is hidden."""

    def __init__(self, root: Element) -> None:
        blocks = list(_blocks(root))
        hiding = {
            name
            for selectors, body in blocks
            if _is_suspect(body) and _may_hide(read_declarations(body))
            for rule in _rules(selectors, {})
            for name in rule.names()
        }
        self._faded_in = _faded_in(blocks) if hiding else frozenset()
        self._rules: dict[str, list[_Rule]] = {}
        for selectors, body in blocks if hiding else ():
            self._add(selectors, body, hiding)
        self._known: dict[tuple[str | None, ...], bool] = {}

    def _add(self, selectors: str, body: str, hiding: set[str]) -> None:
        declared: Declarations = {}
        for rule in _rules(selectors, declared):
            name = next((name for name in rule.names() if name in hiding), None)
            if name is not None:
                declared.update({} if declared else read_declarations(body))
                rules = self._rules.setdefault(name, [])
                if len(rules) < MAX_RULES_OF_A_NAME:
                    rules.append(rule)

    def hidden(self, root: Element) -> list[Element]:
        """Return the elements that the rules hide."""
        if not self._rules:
            return []
        tags = [name for name in self._rules if name[0] not in ".#"]
        found = root.xpath("//*[@class or @id]")
        if tags:
            found += root.iter(*tags)
        return [element for element in found if self._hides(element)]

    def _hides(self, element: Element) -> bool:
        if element.tag in ("html", "body"):
            return False  # a page that a script fades in
        key = (element.tag, element.get("class"), element.get("id"), element.get("style"))
        key += ("leaf",) if not len(element) else ()
        if key not in self._known:
            self._known[key] = self._judged(element)
        return self._known[key]

    def _judged(self, element: Element) -> bool:
        names = {f".{name}" for name in element.get("class", "").split()}
        names.add(f"#{element.get('id')}")
        matching = [
            rule
            for name in (element.tag, *names)
            for rule in self._rules.get(name, ())
            if rule.parts <= names and rule.tag in ("", element.tag)
        ]
        if not matching:
            return False
        matching.sort(key=lambda rule: rule.specificity)
        layers = [rule.declared for rule in matching]
        layers.append(read_declarations(element.get("style", "")))
        declared = _cascaded(layers)
        if names & self._faded_in:
            declared.pop("opacity", None)
        if len(element):
            declared.pop("font-size", None)  # what is in it may have its own
        return _may_hide(declared)


def _cascaded(layers: list[Declarations]) -> Declarations:
    found: Declarations = {}
    for layer in layers:
        for name, value in layer.items():
            if "!" in value or "!" not in found.get(name, ""):
                found[name] = value
    return found


def _may_hide(declared: Declarations) -> bool:
    """Say whether a rule hides what it matches; a sheet also moves, fades in and crops."""
    style = _written(declared)
    if _SHEET_HIDING.search(style) or _is_invisible(declared):
        return True
    fades = any(name.startswith("animation") for name in declared)
    return bool(_TINY.search(style) or (_TRANSPARENT.search(style) and not fades))


def _rules(selectors: str, declared: Declarations) -> Iterator[_Rule]:
    """Yield a rule for each selector of a list that is a single compound."""
    for selector in selectors.split(","):
        found = _COMPOUND.match(selector.strip())
        if found and found[0]:
            parts = frozenset(map(_unescaped, _PARTS.findall(found[2])))
            yield _Rule((found[1] or "").lower(), parts, declared)


def _faded_in(blocks: list[tuple[str, str]]) -> frozenset[str]:
    """Return the classes and ids that some rule shows, whatever else it asks for."""
    return frozenset(
        name
        for selectors, body in blocks
        if _FADED_IN.search(body)
        for name in _PARTS.findall(selectors)
    )


def _blocks(root: Element) -> Iterator[tuple[str, str]]:
    """Yield selectors and declarations of the rules that apply to a screen, in order."""
    left = MAX_SHEET_CHARS
    for sheet in root.iter("style"):
        text = sheet.text or ""
        left -= len(text)
        if left < 0:
            return
        if _is_suspect(text):
            yield from _blocks_of(_COMMENT.sub("", text))


def _blocks_of(sheet: str) -> Iterator[tuple[str, str]]:
    depth = ignored = 0  # ignored: the depth from which an at-rule does not apply
    prelude = ""
    for part in re.split(r"([{}])", sheet):
        if part == "{":
            depth += 1
            if prelude[:1] == "@" and not _APPLIED.match(prelude) and not ignored:
                ignored = depth
        elif part == "}":
            depth = max(0, depth - 1)
            ignored = 0 if depth < ignored else ignored
            prelude = ""
        else:
            if depth and prelude[:1] != "@" and prelude and not ignored:
                yield prelude, part
            prelude = part.rpartition(";")[2].strip()
