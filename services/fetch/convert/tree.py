"""HTML text becomes a tree, and a tree becomes safe to recurse through."""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree, html
from lxml.etree import _Element as Element

from services.fetch.convert.attributes import bound_attributes

MAX_DEPTH = 150  # levels; pages of people have 30 to 60
MAX_ELEMENTS = 200_000  # beyond, only the text is taken

_BLOCK_NAMES = (
    "address article aside blockquote body caption center col colgroup dd details dialog dir div dl"
    " dt fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html"
    " legend li listing main menu nav noscript ol optgroup p pre search section summary table tbody"
    " td tfoot th thead tr ul xmp"
)
_SKIPPED_NAMES = (
    "script style template head title meta link base object param source track canvas svg select"
    " datalist input area noframes noembed"
)
BLOCKS = frozenset(_BLOCK_NAMES.split())
SKIPPED = frozenset(_SKIPPED_NAMES.split())


# What trafilatura needs; asking lxml.html for the class of each element takes a tenth of all time.
_ONE_CLASS = etree.ElementDefaultClassLookup(element=html.HtmlElement)


class Tree(NamedTuple):
    """A parsed page.

    Args:
        elements: How many there are in it.
        is_whole: False where it was nested so deeply that the parser gave up on the rest.
    """

    root: Element
    elements: int
    is_whole: bool


def parse(text: str) -> Tree | None:
    """Parse a page as forgivingly as a browser; None when there is nothing in it."""
    parser = etree.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True
    )
    parser.set_element_class_lookup(_ONE_CLASS)
    if not text.strip():
        return None
    try:
        source = bound_attributes(text).encode("utf-8", "replace")
        root = html.document_fromstring(source, parser=parser)
    except etree.ParserError:
        return None
    except etree.XMLSyntaxError as error:  # nothing in HTML is an error; libxml2 got no memory
        raise MemoryError from error
    limits = parser.error_log.filter_types([etree.ErrorTypes.ERR_RESOURCE_LIMIT])
    return Tree(root, int(root.xpath("count(//*)")), not limits)


def flatten(root: Element) -> int:
    """Turn what is nested too deeply to recurse through into text, in place.

    Returns:
        How many elements lost their inner elements that way.
    """
    deepest = root.xpath("/*" * MAX_DEPTH + "[*]")
    for element in deepest:
        text = " ".join("".join(element.itertext()).split())
        tail = element.tail
        element.clear()
        element.text, element.tail = text, tail
    return len(deepest)
