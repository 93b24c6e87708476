"""How good a conversion is: shingles of an article's words, and markdown that renders as it was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from html import unescape
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin

from markdown_it import MarkdownIt

BASE_URL = "https://example.org/page"
_EXAMPLE = re.compile(
    r"^`{32} example\n([\s\S]*?)^\.\n([\s\S]*?)^`{32}$|^#{1,6} *(.*)$", re.MULTILINE
)
_ONLY_HTML = ("HTML blocks", "Raw HTML")
_BLOCK = re.compile(r" *(</?(?:p|ul|ol|li|blockquote|h[1-6]|hr|pre|div)\b[^>]*>|<br>) *")
_PRE = re.compile(r"(<pre.*?</pre>)", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark")
_TABLES = MarkdownIt("commonmark").enable("table")


class Score(NamedTuple):
    """Precision and recall, each the mean over pages, and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Return the harmonic mean."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def shingle_score(pairs: Iterable[tuple[str, str]]) -> Score:
    """Score (wanted, found) texts by their sequences of four words.

    As scrapinghub/article-extraction-benchmark does it: counts of shingles, each page with the same
    weight, precision over pages where something was found, recall where something was wanted.
    """
    precisions, recalls = [], []
    for wanted, found in pairs:
        expected, got = _shingles(wanted), _shingles(found)
        both = sum((expected & got).values())
        if got:
            precisions.append(both / sum(got.values()))
        if expected:
            recalls.append(both / sum(expected.values()))
    return Score(sum(precisions) / len(precisions), sum(recalls) / len(recalls))


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    shingles = (tuple(words[at : at + 4]) for at in range(max(1, len(words) - 3)))
    return Counter(shingle for shingle in shingles if shingle)


def text_of_markdown(text: str) -> str:
    """Return what a reader of rendered markdown reads: no pictures, no targets of links."""
    return re.sub(r"<[^>]*>", "", unescape(re.sub(r"<img[^>]*>", "", _TABLES.render(text))))


def commonmark_examples(spec: str) -> list[str]:
    """Return the HTML of the specification's examples that are not about HTML itself."""
    found = []
    section = ""
    for example in _EXAMPLE.finditer(spec):
        if example[3] is not None:
            section = example[3]
        elif section not in _ONLY_HTML and example[2].strip():
            found.append(example[2].replace("→", "\t"))
    return found


def renders_as(markdown: str, html: str) -> bool:
    """Say whether markdown, rendered, is that HTML but for white space and relative links."""
    return _normal(_MARKDOWN.render(markdown)) == _normal(html)


def _normal(html: str) -> str:
    reader = _Normaliser()
    reader.feed(html)
    reader.close()
    parts = _PRE.split("".join(reader.pieces))
    return "".join(
        part if number % 2 else re.sub(r"\s+", " ", _BLOCK.sub(r"\1", part))
        for number, part in enumerate(parts)
    ).strip()


class _Normaliser(HTMLParser):
    """Writes HTML with sorted attributes, links absolute, white space of one kind."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._in_pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_pre += tag == "pre"
        told = "".join(
            f' {name}="{urljoin(BASE_URL, value or "") if name in ("href", "src") else value}"'
            for name, value in sorted(attrs, key=lambda pair: pair[0])
        )
        self.pieces.append(f"<{tag}{told}>")

    def handle_endtag(self, tag: str) -> None:
        self._in_pre -= tag == "pre"
        if tag not in ("br", "hr", "img"):
            self.pieces.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data if self._in_pre else re.sub(r"\s+", " ", data))
