"""An HTML page becomes a document: hidden parts out, the wanted part chosen, written."""

from __future__ import annotations

import re
from typing import NamedTuple

from lxml import etree
from lxml.etree import _Element as Element

from services.fetch.convert import article, markdown
from services.fetch.convert.document import Document, Heading, PageMetadata, Wanted
from services.fetch.convert.flat import parse_flat
from services.fetch.convert.json_text import NotJson, pretty
from services.fetch.convert.links import base_of, read_links, refresh_target
from services.fetch.convert.metadata import embedded_json, read_metadata
from services.fetch.convert.repair import as_browsers_read
from services.fetch.convert.selection import select
from services.fetch.convert.tables import limit_spans
from services.fetch.convert.tree import BLOCKS, MAX_ELEMENTS, SKIPPED, flatten, parse
from services.fetch.convert.visibility import remove, remove_hidden, without_invisible_characters
from services.fetch.errors import BadSelector, ConversionFailed

_LITTLE_TEXT = 200  # characters; a page with less is empty for a reader
_EXTERNAL_CHARACTERS = 1000  # of a script that is elsewhere, for comparison
_APP_ROOTS = (
    "//*[@id='root' or @id='app' or @id='__next' or @id='__nuxt' or @id='___gatsby' or @id='svelte'"
    " or @id='main-app' or self::app-root or @data-reactroot or @ng-app or @ng-version]"
)
_ASKS_FOR_SCRIPTS = re.compile(
    r"(?i)(?:enable|requires?|need|turn on|activate|without|activer|activez|aktivieren|habilit|"
    r"включ)[^.]{0,60}java\s?script|java\s?script[^.]{0,60}"
    r"(?:enable|require|disabled|needed|activ|deaktiviert|désactivé)"
)
_UNWANTED_ATTRIBUTES = re.compile(r"on|style$|data-|srcdoc$|nonce$|integrity$")


class _Scripts(NamedTuple):
    """How many scripts a page has, and how long they are, guessed for those from elsewhere."""

    number: int
    characters: int


def convert_page(text: str, url: str, wanted: Wanted) -> Document:
    """Convert an HTML page.

    Args:
        text: Its source, decoded.
        url: Where it came from in the end.

    Raises:
        BadSelector: A selector does not parse, or `selector` matches nothing.
        ConversionFailed: JSON is wanted, and the page has none in it.
    """
    text, invisible = without_invisible_characters(text)
    warnings: list[str] = []
    text = as_browsers_read(text)
    tree = parse(text)
    if tree is None:
        return _empty(wanted, invisible)
    if not tree.is_whole:
        tree = tree._replace(root=parse_flat(text))
        warnings.append("The page is nested too deeply to be parsed; only its text was kept.")
    root = tree.root
    base_url = base_of(root, url)
    metadata = read_metadata(root, base_url)
    if wanted.format == "json":
        return _embedded(root, metadata, invisible)
    says_article = article.says_article(root)
    scripts = _scripts(root)
    removed = remove_hidden(root)
    limit_spans(root)
    if flattened := flatten(root):
        warnings.append(
            f"The page is nested very deeply; {flattened} of its elements were kept as mere text."
        )
    body = _body(root)
    asks = _settle_noscript(body)
    needs_javascript = _needs_javascript(body, scripts, asks)
    if needs_javascript:
        warnings.append(
            "This page needs JavaScript: a script writes its text, and none is run here. Look for "
            "an API, a feed, or another page with the same content."
        )
    elif removed.characters > 2000 and removed.characters > _size(body):
        warnings.append(
            "Most of this page's text is hidden until a script shows it, and was left out; "
            "format='raw' has the source."
        )
    links = read_links(root, base_url, url)
    if not links.is_whole:
        warnings.append(f"Only the first {len(links.found)} links of this page were kept.")
    warnings += _leads_elsewhere(root, body, base_url)
    part, engine = _part(
        body,
        wanted,
        warnings,
        says_article=says_article,
        elements=tree.elements,
        title=metadata.title,
    )
    content, outline = _written(part, base_url, wanted, warnings)
    return Document(
        content=content,
        format=wanted.format,
        kind="html",
        engine=engine,
        metadata=metadata,
        outline=outline,
        links=links.found,
        hidden_removed=removed.elements + invisible,
        needs_javascript=needs_javascript,
        warnings=tuple(warnings),
    )


def _empty(wanted: Wanted, invisible: int) -> Document:
    return Document(
        content="",
        format=wanted.format,
        kind="html",
        engine="body",
        hidden_removed=invisible,
        warnings=("The page is empty.",),
    )


def _body(root: Element) -> Element:
    body = root.find("body")
    if body is None:
        body = root.find("frameset")
    return root if body is None else body


def _leads_elsewhere(root: Element, body: Element, base_url: str) -> list[str]:
    """Say where the text is, of a page that only forwards or is made of frames."""
    if body.tag == "frameset":
        return ["This page only arranges frames; fetch the one you want by its link."]
    target = refresh_target(root)
    if target is None or _size(body) >= _LITTLE_TEXT:
        return []
    return [f"This page forwards its visitors to {markdown.absolute(base_url, target)[:2000]}."]


# --- pages that their scripts write -------------------------------------------------------------


def _scripts(root: Element) -> _Scripts:
    scripts = [script for script in root.iter("script") if "json" not in (script.get("type") or "")]
    characters = sum(
        _EXTERNAL_CHARACTERS if script.get("src") else len(script.text or "") for script in scripts
    )
    return _Scripts(len(scripts), characters)


def _settle_noscript(body: Element) -> bool:
    """Show what is meant for browsers without scripts when there is little else.

    Returns:
        Whether it asks the reader to switch scripts on.
    """
    found = list(body.iter("noscript"))
    messages = " ".join(" ".join(element.itertext()) for element in found)
    asks = bool(_ASKS_FOR_SCRIPTS.search(messages[:20_000]))
    show = bool(found) and _size(body) - len(messages) < _LITTLE_TEXT
    for element in found:
        if show:
            element.tag = "div"
        else:
            remove(element)
    return asks


def _size(body: Element) -> int:
    """Return how many characters of text there are, white space aside."""
    return len("".join("".join(body.itertext()).split()))


def _needs_javascript(body: Element, scripts: _Scripts, asks: bool) -> bool:
    size = _size(body)
    if size >= _LITTLE_TEXT and not (asks and size < 3 * _LITTLE_TEXT):
        return False
    if not scripts.number:
        return False
    if asks or scripts.characters >= 20 * max(size, 50):
        return True
    return bool(body.xpath(_APP_ROOTS))


# --- the part that is wanted --------------------------------------------------------------------


def _part(
    body: Element,
    wanted: Wanted,
    warnings: list[str],
    *,
    says_article: bool,
    elements: int,
    title: str | None,
) -> tuple[Element, str]:
    if wanted.remove_selector:
        unwanted = select(body, wanted.remove_selector)
        if not unwanted:
            warnings.append(f"remove_selector {wanted.remove_selector!r} matches nothing.")
        for element in unwanted:
            remove(element)
    if not wanted.selector:
        return article.choose(
            body, wanted.main_content, says_article=says_article, elements=elements, title=title
        )
    found = select(body, wanted.selector)
    if not found:
        raise _matches_nothing(body, wanted.selector)
    part = etree.Element("div")
    for element in found:
        element.tail = None
        part.append(element)
    return part, "selector"


def _matches_nothing(body: Element, selector: str) -> BadSelector:
    headings = markdown.write(body, "", links=False, images=False).outline
    named = [
        f"#{name}" for name in body.xpath("//*/@id")[:200] if re.match(r"[A-Za-z][\w-]*$", name)
    ]
    return BadSelector(
        f"The selector {selector!r} matches nothing on this page.",
        hint="Fetch the page without a selector to see what it has.",
        reason_code="no_match",
        headings=[heading.text[:100] for heading in headings[:10]],
        ids=named[:20],
    )


def _written(
    part: Element, base_url: str, wanted: Wanted, warnings: list[str]
) -> tuple[str, tuple[Heading, ...]]:
    if wanted.format == "html":
        return _cleaned_html(part, base_url), ()
    if int(part.xpath("count(.//*)")) > MAX_ELEMENTS:
        warnings.append(f"The page has more than {MAX_ELEMENTS} elements; only its text was taken.")
        return _bare_text(part), ()
    return markdown.write(
        part,
        base_url,
        links=wanted.links,
        images=wanted.images,
        plain=wanted.format == "text",
    )


def _bare_text(part: Element) -> str:
    """Return the text, a line for each block, at the least cost for an element."""
    pieces: list[str] = []
    for element in part.iter():
        tag = element.tag
        if tag in BLOCKS or tag == "br":
            pieces.append("\n")
        if element.text and tag not in SKIPPED:
            pieces.append(element.text)
        if element.tail:
            pieces.append(element.tail)
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _cleaned_html(part: Element, base_url: str) -> str:
    """Return the part as HTML: links absolute, no scripts, no styles, no event handlers."""
    for element in list(part.iter(*SKIPPED)):
        remove(element)
    for element in part.iter():
        for name in element.keys():  # noqa: SIM118 # an element iterates over its children
            if _UNWANTED_ATTRIBUTES.match(name):
                del element.attrib[name]
            elif name in ("href", "src", "cite", "action", "poster"):
                element.set(name, _safe(markdown.absolute(base_url, element.get(name))))
    return str(etree.tostring(part, encoding="unicode", method="html", with_tail=False))


def _safe(url: str) -> str:
    return "" if re.match(r"(?i)[\x00-\x20]*(?:javascript|vbscript|data):", url) else url


# --- the data in a page -------------------------------------------------------------------------


def _embedded(root: Element, metadata: PageMetadata, invisible: int) -> Document:
    """Return the JSON that a page carries in its scripts, as one array, exactly as it is there."""
    blocks = []
    warnings = []
    for text in embedded_json(root):
        try:
            blocks.append(pretty(text))
        except NotJson as error:
            warnings.append(f"A block of JSON in the page is broken at character {error.position}.")
    if not blocks:
        raise ConversionFailed(
            "The page carries no JSON: no JSON-LD and no data of an app.",
            hint="Fetch it with format='markdown'.",
            reason_code="no_json",
        )
    content = pretty(f"[{','.join(blocks)}]")
    return Document(
        content=content,
        format="json",
        kind="html",
        engine="json",
        metadata=metadata,
        hidden_removed=invisible,
        warnings=tuple(warnings),
    )
