"""Finding text and headings in a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.patterns import compile_pattern
from services.fetch.convert import Heading
from services.fetch.errors import SectionNotFound
from services.fetch.search import MAX_MATCHES, outline_of, search, section_extent

TEXT = (
    "# Tides\n\nThey rise.\n\n## Spring\n\nHigh water.\n\n"
    "### Moon\n\nNew or full.\n\n## Neap\n\nLow."
)
HEADINGS = [
    Heading(1, "Tides", TEXT.index("# Tides")),
    Heading(2, "Spring", TEXT.index("## Spring")),
    Heading(3, "Moon", TEXT.index("### Moon")),
    Heading(2, "Neap", TEXT.index("## Neap")),
]


def test_a_section_ends_where_one_as_high_begins() -> None:
    """Its subsections belong to it."""
    extent = section_extent(HEADINGS, "Spring", len(TEXT))
    assert TEXT[extent.start : extent.stop].startswith("## Spring")
    assert TEXT[extent.start : extent.stop].endswith("New or full.\n\n")


@pytest.mark.parametrize("name", ["s4", "Neap", "neap", " NEAP ", "Neap:"])
def test_a_section_is_named_by_id_or_title(name: str) -> None:
    """Case and punctuation do not matter; the last one ends with the text."""
    extent = section_extent(HEADINGS, name, len(TEXT))
    assert TEXT[extent.start : extent.stop] == "## Neap\n\nLow."


def test_an_unknown_section_is_told_the_nearest() -> None:
    """Models misspell."""
    with pytest.raises(SectionNotFound) as caught:
        section_extent(HEADINGS, "Sprung", len(TEXT))
    assert caught.value.facts["nearest"] == ["Spring"]


def test_two_sections_of_one_name_are_told_apart_by_id() -> None:
    """The first one would often be the wrong one."""
    twice = [Heading(2, "Notes", 0), Heading(2, "Other", 5), Heading(2, "Notes", 9)]
    with pytest.raises(SectionNotFound) as caught:
        section_extent(twice, "Notes", 20)
    assert caught.value.facts["candidates"] == ["s1", "s3"]


def test_an_outline_leaves_out_the_deepest_levels_first() -> None:
    """Chapters say more than their hundred notes; ids stay those of the whole."""
    headings = [Heading(2 if n % 10 == 0 else 4, f"h{n}", n) for n in range(200)]
    shown = outline_of(headings)
    assert [section.title for section in shown] == [f"h{n}" for n in range(0, 200, 10)]
    assert shown[1].id == "s11"


def test_a_hit_has_its_place_line_and_headings() -> None:
    """Enough to cite it and to read on from there."""
    found = search(TEXT, compile_pattern("full", literal=True), HEADINGS, context_chars=5)
    [hit] = found.hits
    assert TEXT[hit.offset :].startswith("full")
    assert hit.line == 11
    assert hit.heading == "Tides > Spring > Moon"
    assert "full" in hit.excerpt


def test_matches_side_by_side_are_one_hit() -> None:
    """The same words are not shown over and over."""
    found = search("tide tide tide", compile_pattern("tide"), [], context_chars=50)
    assert (len(found.hits), found.hits[0].matches, found.total) == (1, 3, 3)


def test_empty_matches_are_none() -> None:
    """`x*` matches everywhere and says nothing."""
    assert search("abc", compile_pattern("x*"), [], context_chars=5).hits == []


def test_counting_ends_somewhere() -> None:
    """A pattern that is everywhere needs no exact number."""
    found = search("a " * (MAX_MATCHES + 5), compile_pattern("a"), [], context_chars=0)
    assert found.total is None
    assert len(found.hits) <= MAX_MATCHES


@given(
    text=st.text(st.sampled_from("ab \n漢é"), max_size=200),
    word=st.text(st.sampled_from("ab漢"), min_size=1, max_size=3),
    context=st.integers(0, 20),
)
def test_every_match_is_within_a_hit(text: str, word: str, context: int) -> None:
    """Offsets are characters of the text, and no match is lost by merging."""
    found = search(text, compile_pattern(word, literal=True), [], context_chars=context)
    assert all(text.startswith(word, hit.offset) for hit in found.hits)
    assert all(word in hit.excerpt for hit in found.hits)
    assert found.total == text.count(word) == sum(hit.matches for hit in found.hits)
