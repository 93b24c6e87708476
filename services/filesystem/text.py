"""Text in files: which encoding it has, and back to exactly the same bytes.

Order of the detection: byte order mark, UTF-16 and UTF-32 by where their zero bytes are, UTF-8, and
at last a guess among the older encodings. A guess holds only if every character it gives is one
that texts have, and never for a file that is UTF-8 but for some broken bytes. Nothing is ever
replaced: ``encode(decode(data)) == data`` for all data that decodes.
"""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass
from encodings.aliases import aliases
from typing import Literal

from core.errors import nearest
from services.filesystem.errors import NotText, Undecodable, Unencodable, UnknownEncoding
from services.filesystem.media import binary_type

Newline = Literal["lf", "crlf", "cr", "mixed", "none"]

SAMPLE_BYTES = 64 * 1024
"""From so many bytes at its beginning the encoding of a large file is told."""
_GUESS_BYTES = 16 * 1024
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = {"utf-16-le": 2, "utf-16-be": 2, "utf-32-le": 4, "utf-32-be": 4}
# What Python calls an encoding that needs a mark or the machine's byte order to be known.
_UNMARKED = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
_NO_CHARSETS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}
_STATEFUL = ("iso2022", "hz", "utf-7", "utf_7")
# The more usual ones first: short texts fit several equally well.
# fmt: off
_GUESSED = (
    "cp1252", "cp932", "euc_jp", "euc_kr", "gb18030", "big5", "cp949", "cp1251", "koi8_r",
    "cp1250", "cp1254", "cp1253", "cp1257", "cp1255", "cp1256", "tis_620", "iso8859_2",
    "iso8859_5", "koi8_u", "cp866", "cp850", "cp437", "mac_roman",
)
# fmt: on
_ODD_CONTROLS = frozenset("\t\n\r\f\v\b\x1b\x1a")


@dataclass(frozen=True, slots=True)
class Charset:
    """How the characters of a file are written.

    Attributes:
        name: For `codecs`; never one that writes a mark of its own.
        mark: The byte order mark that the file begins with, or nothing.
        guessed: Neither a mark, nor the bytes' own pattern, nor the caller said so.
    """

    name: str
    mark: bytes = b""
    guessed: bool = False

    @property
    def width(self) -> int:
        """Bytes of one unit: characters begin at multiples of it."""
        return _WIDE.get(self.name, 1)

    @property
    def is_stateful(self) -> bool:
        """Whether what bytes mean depends on all bytes before them."""
        return self.name.startswith(_STATEFUL)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file's text, with all it takes to write the same bytes again.

    Attributes:
        text: Without the byte order mark, newlines as they are in the file.
        newline: What lines end with; none where there is one line without an end.
    """

    text: str
    charset: Charset
    newline: Newline

    @property
    def encoding(self) -> str:
        """The encoding's name."""
        return self.charset.name

    @property
    def bom(self) -> bool:
        """Whether the file begins with a byte order mark."""
        return bool(self.charset.mark)

    @property
    def guessed(self) -> bool:
        """Whether the encoding is a guess."""
        return self.charset.guessed


def decode(data: bytes, encoding: str | None = None) -> TextFile:
    """Return the text of a whole file.

    Args:
        encoding: As the caller says; found out when None.

    Raises:
        NotText: It is something else.
        Undecodable: It is not in that encoding, or in none that could be told.
        UnknownEncoding: There is no such encoding.
    """
    charset = detect(data, whole=True) if encoding is None else named(encoding, data)
    text = decoded(data[len(charset.mark) :], charset, at=len(charset.mark))
    return TextFile(text, charset, newline_of(text))


def encode(file: TextFile) -> bytes:
    """Return the bytes of a text in its encoding, with its byte order mark if it had one.

    Raises:
        Unencodable: The encoding has no such character.
    """
    try:
        return file.charset.mark + file.text.encode(file.charset.name)
    except UnicodeEncodeError as error:
        character = file.text[error.start]
        raise Unencodable(
            f"The encoding {file.encoding} has no character {character!r} "
            f"(U+{ord(character):04X}, at character {error.start}).",
            encoding=file.encoding,
            offset=error.start,
        ) from None


def decoded(data: bytes, charset: Charset, *, at: int = 0) -> str:
    """Return a part of a file, whole characters without a mark, as text.

    Args:
        at: Where in the file the part begins, for errors.

    Raises:
        Undecodable: A character is broken, or would not be written as it is.
    """
    try:
        text = data.decode(charset.name)
    except UnicodeDecodeError as error:
        raise broken(charset, at + error.start) from None
    except UnicodeError:
        raise broken(charset, at) from None
    if charset.name != "utf-8" and charset.width == 1 and not _is_exact(text, data, charset):
        raise Undecodable(
            f"Written as {charset.name} again, the file would have other bytes.",
            encoding=charset.name,
            offset=at,
        )
    return text


def broken(charset: Charset, offset: int) -> Undecodable:
    """Return the error that says where bytes are that are not in an encoding."""
    return Undecodable(
        f"The bytes at offset {offset} are not {charset.name}; the file was not read.",
        encoding=charset.name,
        offset=offset,
    )


def newline_of(text: str) -> Newline:
    """Tell how the lines of a text end."""
    crlf = text.count("\r\n")
    lf, cr = text.count("\n") - crlf, text.count("\r") - crlf
    if not (lf or cr or crlf):
        return "none"
    if bool(lf) + bool(cr) + bool(crlf) > 1:
        return "mixed"
    return "lf" if lf else "crlf" if crlf else "cr"


# --- which encoding -----------------------------------------------------------------------------


def named(encoding: str, data: bytes) -> Charset:
    """Return the charset that a caller names, with the mark that the data begin with.

    Raises:
        UnknownEncoding: There is none of that name.
    """
    name = _known(encoding)
    for mark, marked in _MARKS:
        if data.startswith(mark) and marked in (name, _UNMARKED.get(name)):
            return Charset(marked, mark)
        if data.startswith(mark) and name in ("utf-16", "utf-32") and marked.startswith(name):
            return Charset(marked, mark)
    return Charset(_UNMARKED.get(name, name))


def _known(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding[:60])
    except (LookupError, ValueError):
        info = None
    # Codecs for bytes, such as base64, are no charsets.
    if (
        info is None or not info._is_text_encoding or info.name in _NO_CHARSETS
    ):  # private in name only: str.encode asks it too
        raise UnknownEncoding(
            f"There is no encoding {encoding[:60]!r}.", nearest=nearest(encoding, _charset_names())
        )
    return str(info.name)


def _charset_names() -> list[str]:
    """Return the names that an encoding may have; ``base64_codec`` and its like are for bytes."""
    return [
        name
        for name, module in aliases.items()
        if not module.endswith("_codec") and module != "rot_13" and module not in _NO_CHARSETS
    ]


def detect(data: bytes, *, whole: bool) -> Charset:
    """Find out the encoding of a file from all of it, or from its beginning.

    Raises:
        NotText: It is not text; says what it seems to be.
        Undecodable: It may be text, but in no encoding that could be told.
    """
    if (charset := _marked(data, whole)) is not None:
        return charset
    if kind := binary_type(data):
        raise _not_text(kind)
    if b"\0" in data:
        is_utf8 = _bad_utf8(data, whole) is None
        if (charset := _wide(data[:SAMPLE_BYTES], is_utf8=is_utf8)) is not None:
            return charset
        raise _not_text("application/octet-stream", hint=_NUL_HINT if is_utf8 else None)
    bad = _bad_utf8(data, whole)
    if bad is None:
        return Charset("utf-8")
    if _mostly_utf8(data):
        # It will be read as far as the part that was asked for is whole.
        return Charset("utf-8")
    if (charset := _guess(data if whole else _whole_lines(data))) is not None:
        return charset
    raise Undecodable(
        f"The bytes at offset {bad} are not UTF-8, and no other encoding could be told.",
        encoding=None,
        offset=bad,
    )


_NUL_HINT = (
    "encoding='utf-8' reads it as text that holds NUL characters; read_media_file returns any file "
    "as it is."
)


def _not_text(kind: str, hint: str | None = None) -> NotText:
    return NotText(f"The file is not text but {kind}.", hint=hint, mime_type=kind)


def _marked(data: bytes, whole: bool) -> Charset | None:
    for mark, name in _MARKS:
        if data.startswith(mark):
            charset = Charset(name, mark)
            if name != "utf-32-le" or _begins_with(data[len(mark) :], charset, whole):
                return charset
    return None


def _begins_with(data: bytes, charset: Charset, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(charset.name)().decode(data, final=whole)
    except UnicodeError:
        return False
    return True


def _wide(sample: bytes, *, is_utf8: bool) -> Charset | None:
    """Tell UTF-16 and UTF-32 without a mark, if the sample is text in one of them.

    Args:
        is_utf8: It may also be text with some NUL between; then most high bytes have to be zero.
    """
    for name, width in sorted(_WIDE.items(), key=lambda item: -item[1]):
        part = sample[: len(sample) // width * width]
        if len(sample) % width and len(sample) < SAMPLE_BYTES:
            continue
        charset = Charset(name)
        zeros = len(part) // width // 2 if is_utf8 else 0
        fits = part and _zeros_fit(part, width, zeros, little=name.endswith("le"))
        if fits and _is_text(part, charset):
            return charset
    return None


def _zeros_fit(part: bytes, width: int, above: int, *, little: bool) -> bool:
    """Tell whether zero bytes are where the high bytes of common characters are, and only there.

    Args:
        above: So many characters and more have to have one.
    """
    columns = [part[i::width].count(0) for i in range(width)]
    units = len(part) // width
    low, *high = columns if little else columns[::-1]
    if width == 4:
        return low == 0 and high[-1] == units and high[-2] > 0
    return low == 0 and high[0] > above


def _is_text(part: bytes, charset: Charset, *, exact: bool = False) -> bool:
    """Tell whether bytes are usual characters; if `exact` to the end, and written like this."""
    try:
        text = codecs.getincrementaldecoder(charset.name)().decode(part, final=exact)
    except UnicodeError:
        return False
    if exact and not _is_exact(text, part, charset):
        return False
    return all(_is_usual(char) for char in set(text))


def _is_usual(char: str) -> bool:
    if char in _ODD_CONTROLS:
        return True
    return unicodedata.category(char) not in ("Cc", "Cn", "Co", "Cs")


def _bad_utf8(data: bytes, whole: bool) -> int | None:
    """Return where the first byte is that is not UTF-8; a last character may be cut in a sample."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _mostly_utf8(data: bytes) -> bool:
    """Tell whether there are more characters beyond ASCII in UTF-8 than bytes that are broken."""
    text = data[: 4 * SAMPLE_BYTES].decode("utf-8", "surrogateescape")
    broken_bytes = sum("\udc80" <= char <= "\udcff" for char in text)
    beyond = sum(char > "\x7f" for char in text) - broken_bytes
    return beyond > broken_bytes


def _guess(data: bytes) -> Charset | None:
    for name in _ranked(_around_the_unusual(data)):
        charset = Charset(codecs.lookup(name).name, guessed=True)
        if _is_text(data[:SAMPLE_BYTES], charset) and _is_text(data, charset, exact=True):
            return charset
    return None


def _ranked(sample: bytes) -> list[str]:
    """Return the encodings that a sample may have, best first."""
    from charset_normalizer import from_bytes  # takes 3 MB, and few files need it

    scores = {
        name: (round(match.chaos, 2), -round(match.coherence, 2), _GUESSED.index(name))
        for match in from_bytes(sample, cp_isolation=list(_GUESSED), threshold=0.3)
        for name in match.could_be_from_charset
        if name in _GUESSED
    }
    return sorted(scores, key=scores.__getitem__)


def _around_the_unusual(data: bytes) -> bytes:
    """Return the lines that are not ASCII, which alone tell encodings apart."""
    if len(data) <= _GUESS_BYTES:
        return data
    lines = [line for line in data.splitlines(keepends=True) if not line.isascii()]
    return _whole_lines(b"".join(lines)[:_GUESS_BYTES])


def _whole_lines(data: bytes) -> bytes:
    """Leave out a last line that may be cut within a character; unless it is the only one."""
    return data[: data.rfind(b"\n") + 1] or data


def _is_exact(text: str, data: bytes, charset: Charset) -> bool:
    try:
        return text.encode(charset.name) == data
    except UnicodeError:
        return False
