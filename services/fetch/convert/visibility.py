"""What a browser would not show is taken out of a page before anything reads it.

Text that only machines see is where instructions for models hide. What a click opens (`<details>`)
is there for people and stays; so does `aria-hidden`, which hides from screen readers only.

Judged are attributes and inline styles, and rules of the page's own style sheets that name one
class or id outside of any `@media` and say `display: none` or `visibility: hidden`. What a style
sheet from elsewhere hides is not known here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from lxml.etree import _Element as Element

from core.untrusted import clean

_NEVER_SHOWN = ("script", "style", "template", "noframes", "noembed")
_ZERO = r"0*(?:\.0+)?(?:px|em|rem|pt|%|vw|vh)?(?=[;!}]|$)"
_HIDING = re.compile(
    rf"""(?:^|;)(?:
      display:none | visibility:(?:hidden|collapse) | content-visibility:hidden
    | opacity:{_ZERO} | font-size:(?:{_ZERO}|[01](?:\.\d+)?px)
    | (?:left|right|top|bottom|text-indent|margin-left|margin-top):-\d{{3,}}(?:px|em|rem|%|vw|vh)
    | transform:(?:scale\(0|translate[xy]?\(-\d{{4,}}px)
    | clip:rect\((?:0|1px) | clip-path:(?:inset\((?:50|100)%|circle\(0)
    | color:transparent
    )""",
    re.VERBOSE,
)
_CLIPPED = re.compile(rf"(?:^|;)(?:max-)?(?:height|width):(?:{_ZERO}|1px)")
_OVERFLOW = re.compile(r"overflow(?:-[xy])?:(?:hidden|clip)")
_COLOUR = re.compile(r"(?:^|;)color:([^;!]+)")
_BACKGROUND = re.compile(r"(?:^|;)background(?:-color)?:([^;!]+)")
_ONE_NAME = re.compile(r"[.#][A-Za-z_][\w-]*$")
_SHEET_HIDES = re.compile(r"(?i)(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)")
_MAX_SHEET_CHARS = 300_000
_REFERENCE = re.compile(
    r"&(?:#[xX]?[0-9a-fA-F]{1,8}|zwn?j|[lr]rm|shy|NoBreak|af|it|ic|ApplyFunction"
    r"|InvisibleTimes|InvisibleComma|ZeroWidthSpace|NegativeThinSpace|NegativeMediumSpace"
    r"|NegativeThickSpace|NegativeVeryThinSpace);"
)


class Removed(NamedTuple):
    """What was taken out.

    Attributes:
        elements: Hidden elements, each with all that is in it; never-shown ones such as scripts
            are not counted.
        characters: How much text was in the hidden ones.
    """

    elements: int
    characters: int


def without_invisible_characters(text: str) -> tuple[str, int]:
    """Return a page's source without characters nobody sees, written as such or as references.

    References to them are resolved first, so that one rule decides which are meant, as joiners in
    Persian or emoji are.
    """
    if "&" in text:
        text = _REFERENCE.sub(_resolved, text)
    return clean(text)


def _resolved(reference: re.Match[str]) -> str:
    char = html.unescape(reference[0])
    return char if clean(f"a{char}a").removed else reference[0]


def remove_hidden(root: Element) -> Removed:
    """Take everything out that is not shown, in place; `<noscript>` is left to the caller."""
    names = _hidden_names(root)
    hidden = [element for element in root.xpath(_SUSPECTS) if _is_hidden(element)]
    if names:
        named = root.xpath("//*[@class or @id]")
        hidden += [element for element in named if _is_named(element, names)]
    hidden += root.iter("template")
    characters = count = 0
    for element in hidden:
        if element.getparent() is not None:
            characters += sum(len(text.strip()) for text in element.itertext())
            count += 1
            remove(element)
    for element in list(root.iter(*_NEVER_SHOWN)):
        if not _became_formula(element):
            remove(element)
    return Removed(count, characters)


_SUSPECTS = "//*[@hidden or @style or self::dialog or (@aria-hidden and @class)]"


def remove(element: Element) -> None:
    """Take an element out; the text behind it stays."""
    above = element.getparent()
    if above is None:
        return
    if element.tail:
        before = element.getprevious()
        if before is None:
            above.text = (above.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
    above.remove(element)


def _is_hidden(element: Element) -> bool:
    if element.tag in ("html", "body"):
        return False  # a page that a script fades in
    hidden = element.get("hidden")
    if hidden is not None and hidden.strip().lower() != "until-found":
        return True
    if element.tag == "dialog" and element.get("open") is None:
        return True
    if "katex-html" in element.get("class", ""):
        return True  # the formula a second time, in pieces
    style = element.get("style")
    return style is not None and hides(style)


def hides(style: str) -> bool:
    """Say whether an inline style keeps text from being seen."""
    style = re.sub(r"/\*.*?\*/|\s+", "", style.lower())
    if _HIDING.search(style):
        return True
    if _OVERFLOW.search(style) and _CLIPPED.search(style):
        return True
    colour, background = _COLOUR.search(style), _BACKGROUND.search(style)
    return bool(colour and background and colour[1] == background[1])


def _hidden_names(root: Element) -> frozenset[str]:
    """Return the classes (`.x`) and ids (`#x`) that the page's own style sheets hide."""
    names: set[str] = set()
    left = _MAX_SHEET_CHARS
    for sheet in root.iter("style"):
        text = sheet.text or ""
        left -= len(text)
        if left < 0:
            break
        if "none" not in text and "hidden" not in text:
            continue
        names.update(_names_hidden_by(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))
    return frozenset(names)


def _names_hidden_by(sheet: str) -> Iterator[str]:
    """Yield the single classes and ids that rules outside of any at-rule hide."""
    depth = 0
    selectors = ""
    for part in re.split(r"([{}])", sheet):
        if part == "{":
            depth += 1
        elif part == "}":
            depth = max(0, depth - 1)
        elif depth == 0:
            selectors = part.rpartition(";")[2].strip()
        elif depth == 1 and selectors[:1] != "@" and _SHEET_HIDES.search(part):
            yield from filter(_ONE_NAME.match, map(str.strip, selectors.split(",")))


def _is_named(element: Element, names: frozenset[str]) -> bool:
    if element.tag in ("html", "body"):
        return False
    if f"#{element.get('id')}" in names:
        return True
    return any(f".{name}" in names for name in element.get("class", "").split())


def _became_formula(element: Element) -> bool:
    """Turn a MathJax script into the `math` it stands for; say whether it was one."""
    kind = element.get("type") or ""
    if element.tag != "script" or not kind.startswith("math/tex"):
        return False
    tex = element.text or ""
    element.tag = "math"
    element.text = None
    element.set("alttext", tex)
    if "mode=display" in kind:
        element.set("display", "block")
    return True
