"""Tags with absurdly many attributes are cut before a parser spends minutes on them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree, html

from services.fetch.convert import Source, Wanted
from services.fetch.convert.attributes import MAX_ATTRIBUTES, bound_attributes
from services.fetch.convert.conversion import convert

LIMIT = 20
MANY = " ".join(f"a{n}=1" for n in range(100))


def most_attributes(text: str) -> int:
    """Return how many attributes libxml2 gives to one element at most."""
    root = html.document_fromstring(text.encode(), parser=etree.HTMLParser(huge_tree=True))
    return max(len(element.attrib) for element in root.iter())


@pytest.mark.parametrize(
    "text",
    [
        f"<p {MANY}>x",
        f"<P {MANY.upper()}>x",
        "<p " + " ".join(f"a{n}='>'" for n in range(100)) + ">x",
        "<p " + "".join(f'a{n}=""' for n in range(100)) + ">x",
        "<p/" + "/".join(f"a{n}" for n in range(100)) + ">x",
        "<p\r" + "\r\n".join(f"a{n} = {n}" for n in range(100)) + ">x",
        f'<p ="><p {MANY}>x',
        f"<p x<p {MANY}>x",
        f'<!x "><p {MANY}>x"',
        f'<?x a="><p {MANY}>x"',
        f'<!--><a b="--><p {MANY}>x"><p {MANY}>x',
        f'<script>x<a b="</script><p {MANY}>x"',
        f'<script>a</scripts><a b="</script><p {MANY}>x"',
        f'<title><a b="</title><p {MANY}>x"',
        f"<style {MANY}>x</style>",
    ],
)
def test_no_way_of_writing_them_brings_more_to_the_parser(text: str) -> None:
    """Tags are found where HTML's tokeniser finds them (HTML §13.2.5), not by their brackets."""
    assert most_attributes(text) >= 99
    assert most_attributes(bound_attributes(text, LIMIT)) <= LIMIT


@given(st.text(alphabet="<>/='\"!-? apscript\n", max_size=200))
def test_other_text_stays_as_it_is(text: str) -> None:
    """Pages have no such tags, and nothing of them may change; any text is taken."""
    assert bound_attributes(text) == text


@given(st.lists(st.sampled_from(["<", ">", "p", " a", "=", "'", '"', "/", "<!--", "<script>"])))
def test_only_attributes_are_lost(pieces: list[str]) -> None:
    """What is dropped stood in one place for each tag; the rest keeps its order."""
    text = "".join(pieces)
    left = iter(text)
    assert all(character in left for character in bound_attributes(text, 1))


@pytest.mark.parametrize(
    "text",
    [
        "<a " * 500_000,
        "<a b='" * 300_000,
        '<p a="' * 300_001,
        "<!--" * 500_000,
        "<script>" * 200_000,
        "<title>" + "</titl" * 200_000,
        "<p " + "= " * 500_000,
        ("<p a" + " " * 1000) * 1000,
    ],
)
def test_the_scan_is_linear(text: str) -> None:
    """A guard that can be made slow is none: a quadratic one would take hours here."""
    began = time.process_time()
    bound_attributes(text)
    assert time.process_time() - began < 3


def test_a_page_of_attributes_is_read_in_no_time() -> None:
    """The finding: 200,000 attributes of one element held a worker until it was killed."""
    attributes = " ".join(f"a{n}=1" for n in range(200_000))
    for body in (
        f"<p {attributes}>text</p>",
        f"<rss><channel><item><title>text</title><description>&lt;p {attributes}&gt;x"
        "</description></item></channel></rss>",
    ):
        began = time.process_time()
        source = Source(body=body.encode(), content_type=None, url="https://example.org/")
        assert "text" in convert(source, Wanted()).content
        assert time.process_time() - began < 4
    assert MAX_ATTRIBUTES == 1_000
