"""Encodings: told from bytes, and back to the same bytes."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import ToolError
from services.filesystem import media, text
from services.filesystem.errors import NotText, Undecodable, Unencodable, UnknownEncoding

NAMES = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-be",
    "utf-32-le",
    "latin-1",
    "windows-1252",
    "koi8-r",
    "shift_jis",
    "euc-jp",
    "iso-2022-jp",
    "gb18030",
    "big5",
    "utf-7",
    "cp437",
    "ascii",
]
MARKS = [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE]


@given(st.binary(max_size=200), st.sampled_from(MARKS))
@example(b"a\x00b\x00", codecs.BOM_UTF16_LE)
@example(b"\x00\x00", codecs.BOM_UTF16_LE)
@example(b"", codecs.BOM_UTF8)
@example("żółć\r\n".encode("cp1250"), b"")
def test_what_decodes_is_written_back_to_the_byte(data: bytes, mark: bytes) -> None:
    """Nothing is replaced, normalised or dropped on the way."""
    try:
        file = text.decode(mark + data)
    except (NotText, Undecodable):
        return
    assert text.encode(file) == mark + data


@given(st.binary(max_size=200), st.sampled_from(MARKS), st.sampled_from(NAMES))
def test_what_decodes_in_a_named_encoding_is_written_back_to_the_byte(
    data: bytes, mark: bytes, name: str
) -> None:
    """Encodings with several ways to write a character are refused where it would be another."""
    try:
        file = text.decode(mark + data, name)
    except Undecodable:
        return
    assert text.encode(file) == mark + data


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=200))
def test_every_text_in_utf_8_is_read_as_it_is(written: str) -> None:
    """Unless it begins like a known format; NUL, which texts do not have, means other encodings."""
    data = written.encode()
    try:
        file = text.decode(data)
    except NotText:
        assert media.binary_type(data)
        return
    assert file.encoding == "utf-8"
    assert file.text == written.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("written", "encoding", "told"),
    [
        ("plain\n", "ascii", "utf-8"),
        ("grün\n", "utf-8", "utf-8"),
        ("grün\n", "utf-8-sig", "utf-8"),
        ("grün\n", "utf-16", "utf-16-le"),
        ("日本語\n", "utf-16-le", "utf-16-le"),
        ("日本語\n", "utf-16-be", "utf-16-be"),
        ("hi\n", "utf-32-le", "utf-32-le"),
        ("hi\n", "utf-32-be", "utf-32-be"),
        ("hi\n", "utf-32", "utf-32-le"),
    ],
)
def test_unicode_encodings_are_told(written: str, encoding: str, told: str) -> None:
    """By their mark, or by where their zero bytes are."""
    file = text.decode(written.encode(encoding))
    assert (file.text, file.encoding, file.guessed) == (written, told, False)


@pytest.mark.parametrize(
    ("written", "encoding"),
    [
        ("Le café du résumé naïf\n", "cp1252"),
        ("Grüße aus Köln, schöne Straße, „Zitat“\n", "cp1252"),
        ("Привет, мир! Как дела сегодня?\n", "cp1251"),
        ("Привет, мир! Как дела сегодня?\n", "koi8-r"),
        ("Zażółć gęślą jaźń\n", "cp1250"),
        ("日本語のテキストです。これはテストです。\n", "cp932"),
        ("日本語のテキストです。これはテストです。\n", "euc_jp"),
        ("你好世界。这是一个测试文件。\n", "gb18030"),
    ],
)
def test_older_encodings_are_guessed_and_said_to_be(written: str, encoding: str) -> None:
    """A model that knows it is a guess can pass the right name."""
    file = text.decode(written.encode(encoding))
    assert file.text == written
    assert file.guessed


def test_broken_utf_8_is_not_taken_for_something_else() -> None:
    """Otherwise one wrong byte would turn every other character into two."""
    data = "größer als äöü\n".encode() + b"\xff" + "später\n".encode()
    with pytest.raises(Undecodable) as refused:
        text.decode(data)
    assert refused.value.facts["offset"] == data.index(b"\xff")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"PK\x03\x04....", "application/zip"),
        (b"\x7fELF\x02\x01\x01\x00", "application/x-elf"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"\x00\x00\x00\x18ftypavif....", "image/avif"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00", "audio/mpeg"),
        (b"\xff\xfb\x90\x00" + b"\0" * 20, "audio/mpeg"),
        (bytes(range(256)), "application/octet-stream"),
        (b"text\0more", "application/octet-stream"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, kind: str) -> None:
    """By its first bytes; the model then knows which tool to use."""
    with pytest.raises(NotText) as refused:
        text.decode(data)
    assert refused.value.facts["mime_type"] == kind
    assert media.media_type(data) == kind


@pytest.mark.parametrize("written", ["BZh is a prefix\n", "ID3 tags\n", "GIF89a\n", "wOFF\n"])
def test_text_that_begins_like_a_format_is_text(written: str) -> None:
    """Magic made of letters is not enough."""
    assert text.decode(written.encode()).text == written


def test_utf_16_that_begins_like_mpeg_is_text() -> None:
    """Its mark, FF FE, is a frame header too."""
    assert text.decode("hello\n".encode("utf-16")).text == "hello\n"


@pytest.mark.parametrize(
    ("written", "newline"),
    [
        ("", "none"),
        ("a", "none"),
        ("a\nb\n", "lf"),
        ("a\r\nb", "crlf"),
        ("a\rb", "cr"),
        ("a\nb\r\n", "mixed"),
        ("a\rb\n", "mixed"),
        ("a\u2028b\x85c\x0b", "none"),
    ],
)
def test_line_ends_are_told(written: str, newline: str) -> None:
    """As editors count them."""
    assert text.newline_of(written) == newline


@pytest.mark.parametrize("name", ["base64", "rot13", "idna", "nothing", "", "utf-8\0", "x" * 5000])
def test_what_is_no_encoding_is_refused_by_name(name: str) -> None:
    """Python has codecs that turn bytes into other bytes; they are none either."""
    with pytest.raises(UnknownEncoding):
        text.decode(b"abc", name)


def test_a_misspelt_encoding_gets_the_nearest_names() -> None:
    """As everywhere."""
    with pytest.raises(UnknownEncoding) as refused:
        text.decode(b"abc", "latin_11")
    assert refused.value.facts["nearest"]


def test_a_character_that_the_encoding_lacks_is_named() -> None:
    """An edit can bring one into an old file."""
    file = text.decode("café\n".encode("latin-1"), "latin-1")
    changed = text.TextFile(file.text + "→", file.charset, file.newline)
    with pytest.raises(Unencodable, match=r"U\+2192"):
        text.encode(changed)


@given(st.binary(max_size=400))
def test_any_bytes_give_text_or_one_of_our_errors(data: bytes) -> None:
    """No codec's own error comes through."""
    for encoding in (None, "utf-16", "shift_jis", "utf-7", "iso2022_jp_2", "hz"):
        try:
            text.decode(data, encoding)
        except ToolError:
            continue
