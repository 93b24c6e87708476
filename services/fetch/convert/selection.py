"""CSS selectors: which part of a page is wanted, and which is not."""

from __future__ import annotations

from cssselect import HTMLTranslator, SelectorError
from lxml import etree
from lxml.etree import _Element as Element

from services.fetch.errors import BadSelector

MAX_CHARACTERS = 1000


def select(root: Element, selector: str) -> list[Element]:
    """Return the elements that a selector matches, in order, none inside of another.

    Raises:
        BadSelector: It does not parse, or uses what only a living page has (`:hover`).
    """
    if len(selector) > MAX_CHARACTERS:
        raise BadSelector(f"A selector has at most {MAX_CHARACTERS} characters.")
    try:
        path = etree.XPath(HTMLTranslator().css_to_xpath(selector))
        found = path(root)
    except (SelectorError, etree.XPathError) as error:
        raise BadSelector(
            f"{selector!r} is not a CSS selector: {error}.", selector=selector
        ) from None
    except RecursionError:
        raise BadSelector(f"The selector is nested too deeply: {selector[:80]!r}…") from None
    chosen = set(found)
    return [
        element
        for element in found
        if not any(ancestor in chosen for ancestor in element.iterancestors())
    ]
