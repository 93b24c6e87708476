"""Which part of a page is worth reading.

trafilatura says which text belongs to the article, but hands it out in a lossy tree of its own. So
its text is looked up in the page, block by block and in order: a block whose text it kept is kept
with all that is in it, and so are pictures, code and tables between kept blocks.

In doubt nothing is left out. A page that does not say of itself that it is an article, and whose
running text trafilatura would not keep nearly all of (documentation, listings, forums, products),
is taken from its `<main>` element, or whole.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

import trafilatura
from lxml import etree
from lxml.etree import _Element as Element

from services.fetch.convert.document import MainContent
from services.fetch.convert.tree import BLOCKS, SKIPPED
from services.fetch.convert.visibility import remove

Engine = Literal["article", "main", "body"]

MAX_ELEMENTS = 30_000  # trafilatura takes a second for them; larger pages are taken whole
_MANY_CELLS = "count(.//td) > 3000"  # likewise, and it is no article that has them
_MIN_CHARACTERS = 200  # of an article, letters and digits only
_ANCHOR = 40  # characters of a block that can be found anywhere; shorter ones only in between
_REACH = 400  # how far a short block may stand behind the last anchor
_ROOT_SHARE = 0.85  # of the article's text, in the element that is taken for its root
_ENOUGH_OF_TEXT = 0.75  # of the page's running text, where the page does not call itself article
_ENOUGH_OF_ARTICLE = 0.2  # where it does: comments and further articles may be most of it
_NOT_WORDS = re.compile(r"\W+")
_ARTICLE_TYPE = re.compile(
    r'"@type"\s*:\s*(?:\[\s*)?"(?:[A-Z]\w*)?(?:Article|BlogPosting|Report|LiveBlogPosting)"'
)
_ALIKE_SHARE = 0.3  # of the article's text, in blocks that stand alike
_CONTROL_NAMES = re.compile(
    r"(?i)(?:^|[\s_-])(?:onetrust|cookiebot|cybotcookiebot\w*|mw-editsection|(?:cookies?|consent)"
    r"[\w-]{0,40}(?:banner|overlay|sdk|notice|notification|bar|popup|modal|dialog|law|prompt|message))"
    r"(?:[\s_-]|$)"
)
_ASIDE = frozenset(("nav", "footer", "aside", "form", "menu", "button"))
_ASIDE_NAMES = re.compile(
    r"(?i)(?:^|[\s_-])(?:related|recirc|newsletter|sign-?up|promo|shar(?:e|ing)|social|breadcrumbs?"
    r"|menu|nav|navigation|footer|sidebar|widget|advert\w*|comments?|disqus|tags?|taglist"
    r"|author-?bio|read-?more|more-?(?:stories|news|from)|most-?(?:read|popular)|recommended"
    r"|trending|outbrain|taboola|subscribe)(?:[\s_-]|$)"
)


def choose(
    body: Element, wanted: MainContent, *, says_article: bool, elements: int, title: str | None
) -> tuple[Element, Engine]:
    """Return the element to write, its boilerplate taken out in place, and how it was chosen.

    Args:
        says_article: What `says_article` said of the page while its head was whole.
        elements: How many there are in it.
        title: What the reader is told besides; a heading that says more is written in any case.
    """
    if wanted == "never":
        return body, "body"
    _take_controls_out(body)
    if elements > MAX_ELEMENTS or body.xpath(_MANY_CELLS):
        return body, "body"
    heading = _main_heading(body, title)
    part, engine = _chosen(body, wanted, says_article=says_article)
    if heading is not None and not any(_key("".join(h1.itertext())) for h1 in part.iter("h1")):
        part = _under(heading, part)
    return part, engine


def _take_controls_out(body: Element) -> None:
    """Take out what asks for consent, and what edits the page."""
    for element in list(body.iter("div", "section", "span")):
        names = f"{element.get('class', '')} {element.get('id', '')}"
        if (
            len(names) > 1
            and _CONTROL_NAMES.search(names)
            and not element.xpath(".//main | .//article | .//h1")
        ):
            remove(element)


def _main_heading(body: Element, title: str | None) -> Element | None:
    """Return a copy of the only h1 that is no part of the title, wherever it is."""
    found = [(key, h1) for h1 in body.iter("h1") if (key := _key("".join(h1.itertext())))]
    if len(found) != 1 or found[0][0] in _key(title or "") or _is_aside(found[0][1], {}):
        return None
    heading = copy.deepcopy(found[0][1])
    heading.tail = None
    return heading


def _under(heading: Element, part: Element) -> Element:
    """Put a heading over a part of the page."""
    if part.tag == "body":
        heading.tail, part.text = part.text, None
        part.insert(0, heading)
        return part
    around = etree.Element("div")
    part.tail = None
    around.extend((heading, part))
    return around


def _chosen(body: Element, wanted: MainContent, *, says_article: bool) -> tuple[Element, Engine]:
    """Choose between the article, the main element and the whole page."""
    blocks = _Blocks(body)
    kept = _kept(body, blocks)
    main = None if says_article and wanted == "auto" else _main(body, blocks)
    if wanted == "auto" and main is not None and not _is_mostly_in(main, blocks, kept):
        return main, "main"
    if wanted == "always" or _is_article(blocks, kept, says_article):
        if kept:
            if not says_article and wanted == "auto":
                kept = _whole(body, blocks, kept)
            kept = _with_headings(blocks, kept)
            return _pruned(body, blocks, kept), "article"
        if wanted == "always":
            main = _main(body, blocks)
            return (body, "body") if main is None else (main, "main")
    main = _main(body, blocks)
    return (main, "main") if main is not None else (body, "body")


class _Blocks:
    """The blocks of a page that have text of their own, in order.

    Attributes:
        keys: Their text without white space and punctuation; line breaks stay.
        sizes: Its length.
        linked: How much of it is in links.
        asides: Whether it stands in navigation, comments, advertisements and the like.
    """

    def __init__(self, body: Element) -> None:
        texts: dict[Element, list[str]] = {}
        linked: dict[Element, int] = {}
        stack: list[Element] = []
        links = 0

        def add(text: str | None) -> None:
            if text and stack and (key := _key(text)):
                texts.setdefault(stack[-1], []).append(key)
                if links:
                    linked[stack[-1]] = linked.get(stack[-1], 0) + len(key)

        for event, element in etree.iterwalk(body, events=("start", "end")):
            tag = element.tag
            if event == "start":
                if tag in BLOCKS:
                    stack.append(element)
                    texts.setdefault(element, [])
                links += tag == "a"
                if tag not in SKIPPED:
                    add(element.text)
            else:
                links -= tag == "a"
                if tag in BLOCKS:
                    stack.pop()
                elif tag == "br" and stack:
                    texts[stack[-1]].append("\n")
                add(element.tail)
        found = {element: "".join(parts).strip() for element, parts in texts.items()}
        self.body = body
        self.elements = [element for element, key in found.items() if key]
        self.keys = [found[element] for element in self.elements]
        self.sizes = [len(key.replace("\n", "")) for key in self.keys]
        self.linked = [linked.get(element, 0) for element in self.elements]
        named: dict[Element, bool] = {}
        self.asides = [_is_aside(element, named) for element in self.elements]

    def is_running(self, place: int) -> bool:
        """Say whether a block is prose: long enough, not mostly links, not in an aside."""
        size = self.sizes[place]
        return size >= _ANCHOR and self.linked[place] * 2 <= size and not self.asides[place]


def _key(text: str) -> str:
    return _NOT_WORDS.sub("", text)


def _kept(body: Element, blocks: _Blocks) -> set[int]:
    """Return the places of the blocks whose text trafilatura keeps."""
    above = body.getparent()
    page = body if above is None else above
    try:
        found = trafilatura.bare_extraction(page, include_comments=False, fast=True)
    except Exception:  # it has crashed on pages, and the page is readable without it
        return set()
    text = getattr(found, "text", None) or ""
    key = _key(text)
    if len(key) < _MIN_CHARACTERS:
        return set()
    kept = _found_in(key, blocks)
    return _with_alike(blocks, _without_asides(blocks, _in_root(blocks, kept)))


def _found_in(text: str, blocks: _Blocks) -> set[int]:
    """Look the blocks up in the article's text: long ones first, short ones between them."""
    starts = _anchors(text, blocks)
    kept = set(starts)
    ends = [len(text)] * (len(blocks.keys) + 1)
    for place in range(len(blocks.keys) - 1, -1, -1):
        ends[place] = starts.get(place, ends[place + 1])
    position = 0
    for place, key in enumerate(blocks.keys):
        size = blocks.sizes[place]
        if place in starts:
            position = starts[place] + size
        elif size < _ANCHOR:
            end = ends[place] if ends[place] >= position else position + _REACH
            at = text.find(key.replace("\n", ""), max(0, position - 2), end + 2)
            if at >= 0:
                kept.add(place)
                position = at + size
    return kept


def _anchors(text: str, blocks: _Blocks) -> dict[int, int]:
    """Return where long blocks stand in the text; each stretch of it is given away once."""
    starts: dict[int, int] = {}
    taken: set[int] = set()
    position = 0
    for place, key in enumerate(blocks.keys):
        if blocks.sizes[place] < _ANCHOR:
            continue
        bare = key.replace("\n", "")
        at = text.find(bare, position)
        if at >= 0:
            position = at + len(bare)
        else:
            at = text.find(bare)
            if at < 0:
                at = _part_of(text, key, bare)
            elif at in taken:
                continue
        if at >= 0:
            starts[place] = at
            taken.add(at)
    return starts


def _part_of(text: str, key: str, bare: str) -> int:
    """Find a block of which the article has only most, without a link or a line of it."""
    lines = [line for line in key.split("\n") if len(line) >= 15 and line in text]
    if "\n" in key and sum(map(len, lines)) * 2 > len(bare):
        return text.find(lines[0])
    middle = len(bare) // 2
    samples = bare[:30], bare[middle - 15 : middle + 15], bare[-30:]
    found = [at for at in map(text.find, samples) if at >= 0]
    return found[0] if len(bare) >= 60 and len(found) > 1 else -1


def _in_root(blocks: _Blocks, kept: set[int]) -> set[int]:
    """Leave out what was found far from the rest: the same words in a list of further articles."""
    body = blocks.body
    inside = set(_root(body, _weights(blocks, kept), _ROOT_SHARE).iter())
    return {place for place in kept if blocks.elements[place] in inside}


def _without_asides(blocks: _Blocks, kept: set[int]) -> set[int]:
    """Leave out what stands in parts called related, share, comments, …; not if that is most."""
    asides = {place for place in kept if blocks.asides[place]}
    sizes = blocks.sizes
    if sum(sizes[place] for place in asides) * 2 > sum(sizes[place] for place in kept):
        return kept
    return kept - asides


def _with_alike(blocks: _Blocks, kept: set[int]) -> set[int]:
    """Add running text that stands in the page just as most of the article does.

    An article may be in several containers, between advertisements, and trafilatura takes one.
    """
    total = sum(blocks.sizes[place] for place in kept)
    places = {place: _standing(blocks.elements[place]) for place in kept}
    weights: Counter[object] = Counter()
    for place, standing in places.items():
        weights[standing] += blocks.sizes[place]
    usual = {standing for standing, weight in weights.items() if weight >= _ALIKE_SHARE * total}
    homes = {_home(blocks.elements[place]) for place in kept if blocks.sizes[place] >= _ANCHOR}
    more = {
        place
        for place, element in enumerate(blocks.elements)
        if place not in kept
        and blocks.is_running(place)
        and _standing(element) in usual
        and _home(element) in homes
    }
    return kept | more


def _standing(element: Element) -> object:
    """Return the name and class of an element and the two around it."""
    names = []
    around: Element | None = element
    for _ in range(3):
        if around is not None:
            names.append((around.tag, around.get("class")))
            around = around.getparent()
    return tuple(names)


def _home(element: Element) -> Element | None:
    return next(element.iterancestors("article", "main"), None)


def _root(body: Element, weights: dict[Element, int], share: float) -> Element:
    """Return the innermost element that holds that share of the text."""
    needed = share * weights.get(body, 0)
    root = body
    while True:
        deeper = next((child for child in root if weights.get(child, 0) >= needed), None)
        if deeper is None or not needed:
            return root
        root = deeper


def _weights(blocks: _Blocks, kept: Iterable[int]) -> dict[Element, int]:
    """Return how much kept text every element holds, ancestors included."""
    weights: dict[Element, int] = {}
    for place in kept:
        element: Element | None = blocks.elements[place]
        while element is not None:
            weights[element] = weights.get(element, 0) + blocks.sizes[place]
            element = element.getparent()
    return weights


def _pruned(body: Element, blocks: _Blocks, kept: set[int]) -> Element:
    """Take the blocks that were not kept out, and return the element around the rest."""
    above: set[Element] = set()
    for place in kept:
        element: Element | None = blocks.elements[place]
        while element is not None and element not in above:
            above.add(element)
            element = element.getparent()
    for place, element in enumerate(blocks.elements):
        if place not in kept and element not in above:
            remove(_outermost(element, above))
    return _root(body, _weights(blocks, kept), 1.0)


def _whole(body: Element, blocks: _Blocks, kept: set[int]) -> set[int]:
    """Return all of the element around an article but its asides, for pages that may be none."""
    root = _root(body, _weights(blocks, kept), 1.0)
    if root in blocks.elements and root is not body:  # a single paragraph is around nothing
        root = root.getparent()
    inside = set(root.iter())
    more = {
        place
        for place, element in enumerate(blocks.elements)
        if element in inside and not blocks.asides[place]
    }
    return kept | more


def _with_headings(blocks: _Blocks, kept: set[int]) -> set[int]:
    """Add the headings over kept text, but the page's title: that is told beside the text."""
    found = set(kept)
    first = min(kept)
    for place in range(len(blocks.elements) - 2, first, -1):
        is_heading = blocks.elements[place].tag in ("h2", "h3", "h4", "h5", "h6")
        if is_heading and place + 1 in found and not blocks.asides[place]:
            found.add(place)
    return found


def _outermost(element: Element, above: set[Element]) -> Element:
    """Climb to the largest part without kept text; a caption goes without its picture."""
    while True:
        parent = element.getparent()
        if parent is None or parent in above:
            return element
        if element.tag == "figcaption" and parent.getparent() in above:
            return element
        element = parent


def _is_article(blocks: _Blocks, kept: set[int], says_article: bool) -> bool:
    """Say whether what was kept is what the page is for."""
    own = sum(
        size
        for size, linked, aside in zip(blocks.sizes, blocks.linked, blocks.asides, strict=True)
        if linked * 2 <= size and not aside
    )
    share = _ENOUGH_OF_ARTICLE if says_article else _ENOUGH_OF_TEXT
    return bool(kept) and sum(blocks.sizes[place] for place in kept) >= share * own


def _is_aside(element: Element | None, known: dict[Element, bool]) -> bool:
    """Say whether an element or one around it is an aside by name, class or id."""
    if element is None or element.tag == "body":
        return False
    if element not in known:
        names = f"{element.get('class', '')} {element.get('id', '')}"
        known[element] = (
            element.tag in _ASIDE
            or bool(_ASIDE_NAMES.search(names))
            or _is_aside(element.getparent(), known)
        )
    return known[element]


def says_article(root: Element) -> bool:
    """Say whether the page calls itself an article, by OpenGraph or schema.org."""
    for meta in root.iterfind(".//meta[@property='og:type']"):
        if (meta.get("content") or "").strip().lower() == "article":
            return True
    return any(
        _ARTICLE_TYPE.search(script.text or "")
        for script in root.iterfind(".//script[@type='application/ld+json']")
    )


def _is_mostly_in(part: Element, blocks: _Blocks, kept: set[int]) -> bool:
    inside = set(part.iter())
    within = sum(blocks.sizes[place] for place in kept if blocks.elements[place] in inside)
    return within * 2 >= sum(blocks.sizes[place] for place in kept)


def _main(body: Element, blocks: _Blocks) -> Element | None:
    """Return the only `<main>` of a page, when it holds most of what is not navigation."""
    mains = set(body.xpath(".//main | .//*[@role='main']"))
    outer = [main for main in mains if not any(above in mains for above in main.iterancestors())]
    if len(outer) != 1:
        return None
    inside = set(outer[0].iter())
    total = within = 0
    for element, size, aside in zip(blocks.elements, blocks.sizes, blocks.asides, strict=True):
        if element in inside:
            within += size
            total += size
        elif not aside:
            total += size
    return outer[0] if within >= _ENOUGH_OF_TEXT * total else None
