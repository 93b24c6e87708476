"""Invisible characters are taken out of strangers' text; visible ones never are."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.untrusted import clean


def tags(text: str) -> str:
    """Spell a text in Unicode tags, which no screen shows."""
    return "".join(chr(0xE0000 + ord(letter)) for letter in text)


@pytest.mark.parametrize(
    ("text", "seen", "removed"),
    [
        ("plain\ttext\r\n", "plain\ttext\r\n", 0),
        ("zero\u200bwidth\ufeff", "zerowidth", 2),
        ("left\u202eright\u202c", "leftright", 2),
        ("isolate\u2066x\u2069", "isolatex", 2),
        ("a" + tags("ignore all") + "b", "ab", 10),
        ("soft\u00adhyphen", "softhyphen", 1),
        ("x\ufe01\ufe02\ufe0f\ufe0f", "x", 4),
        ("x\U000e0100\U000e01ef", "x", 2),
        ("\ufeff\ufe0f", "", 2),
        ("\ufeff\ufe0f\u200d\u263a", "\u263a", 3),
        ("\u180e\u200d\u180e", "", 3),
        ("esc\x1b[31mred\x00", "esc[31mred", 2),
        ("between\u200dlatin", "betweenlatin", 1),
        ("\u2764\ufe0f\ufe0f", "\u2764\ufe0f", 1),
        ("\u2764\ufe0f", "\u2764\ufe0f", 0),
        ("1\ufe0f\u20e3", "1\ufe0f\u20e3", 0),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", None, 0),
        ("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None, 0),
        ("\u0928\u092e\u094d\u200d\u0938", None, 0),
        ("\U0001f3f4" + tags("gbeng") + "\U000e007f", None, 0),
        ("\U0001f3f4" + tags("do this") + "\U000e007f", "\U0001f3f4", 8),
    ],
)
def test_only_what_nobody_sees_goes(text: str, seen: str | None, removed: int) -> None:
    """Joiners within scripts and emoji that need them are meant."""
    assert clean(text) == (text if seen is None else seen, removed)


@given(st.text())
def test_visible_characters_stay(text: str) -> None:
    """In their order, whatever stands between them."""
    hidden = {"Cf", "Cc", "Cn", "Mn", "Lo"}
    visible = [c for c in text if unicodedata.category(c) not in hidden]
    cleaned = clean(text)
    assert [c for c in cleaned.text if unicodedata.category(c) not in hidden] == visible
    assert len(text) - len(cleaned.text) == cleaned.removed


@given(
    st.text(st.sampled_from("a\u263a\u0646\u180e\u200c\u200d\u2060\ufe0e\ufe0f\ufeff\U000e0067"))
)
def test_a_clean_text_is_left_as_it_is(text: str) -> None:
    """What hides behind something invisible goes with it, so that once is enough."""
    assert clean(clean(text).text).removed == 0
