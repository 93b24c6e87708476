"""What a browser would not show is taken out of a page before anything reads it.

Text that only machines see is where instructions for models hide. What a click opens (`<details>`)
is there for people and stays; so does `aria-hidden`, which hides from screen readers only.

Judged are attributes, inline styles and the page's own style sheets (`styles`). What a style sheet
from elsewhere hides is not known here.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from lxml.etree import _Element as Element

from core.untrusted import clean
from services.fetch.convert.styles import StyleSheets, hides

_NEVER_SHOWN = ("script", "style", "template", "noframes", "noembed")
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
    _open_shadow_roots(root)
    hidden = [element for element in root.xpath(_SUSPECTS) if _is_hidden(element)]
    hidden += StyleSheets(root).hidden(root)
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


def _open_shadow_roots(root: Element) -> None:
    """Show the templates that are the shadow tree of their parent (HTML §4.12.3)."""
    for template in root.iter("template"):
        if (template.get("shadowrootmode") or "").lower() in ("open", "closed"):
            template.tag = "div"


_SUSPECTS = "//*[@hidden or @style or @popover or self::dialog or (@aria-hidden and @class)]"


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
    if element.get("popover") is not None:
        return True
    if element.tag == "dialog" and element.get("open") is None:
        return True
    if "katex-html" in element.get("class", ""):
        return True  # the formula a second time, in pieces
    style = element.get("style")
    return style is not None and hides(style)


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
