"""Paths below a root: what they parse to, what is refused, how they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.files import BadPath, Rel, asks_directory, parse_rel, shown

NAMES = (
    st.binary(min_size=1, max_size=255)
    .map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"_"))
    .filter(lambda name: name != b".")
)
TEXT_NAMES = st.text(min_size=1, max_size=60).filter(
    lambda name: name.isprintable() and "/" not in name and name != "."
)


@pytest.mark.parametrize(
    ("text", "rel"),
    [
        ("", ()),
        (".", ()),
        ("./", ()),
        ("a", (b"a",)),
        ("a/b", (b"a", b"b")),
        ("a//b/./c/", (b"a", b"b", b"c")),
        ("a/b/../c", (b"a", b"b", b"..", b"c")),
        ("..", (b"..",)),
        ("...", (b"...",)),
        (" a ", (b" a ",)),
        ("a\\b", (b"a\\b",)),
        ("~/x", (b"~", b"x")),
        ("%2e%2e/x", (b"%2e%2e", b"x")),
        ("é", (b"\xc3\xa9",)),
        ("e\u0301", (b"e\xcc\x81",)),
        (b"\xff/x", (b"\xff", b"x")),
        ("n" * 255, (b"n" * 255,)),
        ("é" * 127, ("é".encode() * 127,)),
    ],
)
def test_path_becomes_its_names(text: str | bytes, rel: tuple[bytes, ...]) -> None:
    """Empty and `.` parts go; all else stays as it was written, byte for byte."""
    assert parse_rel(text) == rel


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\0b", "NUL"),
        ("\0", "NUL"),
        (b"a/\0", "NUL"),
        ("/etc/passwd", "absolute"),
        ("//a", "absolute"),
        ("n" * 256, "255"),
        ("a/" + "é" * 128 + "/b", "255"),
        ("ab/" * 1366, "4095"),
        ("\ud800", "surrogate"),
        ("a/\udcff", "surrogate"),
    ],
)
def test_path_that_can_name_nothing_is_refused(text: str | bytes, why: str) -> None:
    """The message says which rule answered, in text that any log and wire can carry."""
    with pytest.raises(BadPath, match=why) as refused:
        parse_rel(text)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 200


def test_longest_path_is_accepted() -> None:
    """PATH_MAX counts the NUL, so 4095 bytes are left."""
    assert len(parse_rel("a/" * 2047 + "b")) == 2048


@given(st.lists(NAMES, max_size=12).map(tuple))
def test_names_come_back_from_the_joined_path(rel: Rel) -> None:
    """Whatever bytes they are."""
    assert parse_rel(b"/".join(rel)) == rel


@given(st.lists(st.one_of(NAMES, TEXT_NAMES.map(str.encode)), max_size=6).map(tuple))
def test_what_is_shown_parses_to_the_same_names(rel: Rel) -> None:
    """A caller can copy it; what could not be copied is not shown as text."""
    text = shown(rel)
    if text is not None:
        assert parse_rel(text) == rel
        assert text.isprintable()


@given(st.text(max_size=200))
def test_any_text_is_names_or_a_bad_path(text: str) -> None:
    """Never another error; and no name is empty, `.`, or holds a slash or NUL."""
    try:
        rel = parse_rel(text)
    except BadPath:
        return
    assert not any(name in (b"", b".") or b"/" in name or b"\0" in name for name in rel)


@pytest.mark.parametrize(
    ("rel", "text"),
    [
        ((), ""),
        ((b"a", b"b c"), "a/b c"),
        (("Übung".encode(), b"..", b"x"), "Übung/../x"),
        ((b"\xff",), None),
        ((b"a\nb",), None),
        ((b"a\x1b[31m",), None),
        (("gpj.\u202eexe".encode(),), None),
        (("9.41\u202fAM.png".encode(),), None),
        ((b"\xed\xa0\x80",), None),
    ],
)
def test_only_names_that_print_are_shown_as_text(rel: Rel, text: str | None) -> None:
    """Controls, marks of direction and odd spaces would be copied wrongly or not be seen."""
    assert shown(rel) == text


@pytest.mark.parametrize(
    ("text", "asks"),
    [("a", False), ("a/", True), ("a/.", True), ("a/..", True), ("", True), (b"a/b", False)],
)
def test_slash_at_the_end_asks_for_a_directory(text: str | bytes, asks: bool) -> None:
    """As in a shell; `/.` and `/..` can mean nothing else either (path_resolution(7))."""
    assert asks_directory(text) is asks
