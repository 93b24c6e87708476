"""Bytes become text as in a browser, and a little beyond.

In this order: a byte order mark, the header's charset, what the document declares in its first
bytes (`<meta>`, `<?xml`), what its bytes look like, windows-1252. Labels mean what they mean to
browsers: `latin1` is windows-1252, `gb2312` is gbk.

Sources: WHATWG Encoding §4.2 (labels), §6 (decode); HTML §13.2.3.2 (prescan).
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from services.fetch.convert.document import CharsetSource

_PRESCAN_BYTES = 1024
_SAMPLE_BYTES = 16_384  # what detection looks at, from the first bytes that are not ASCII
_FOR_ONE_BAD = 20  # bytes of good UTF-8 sequences, for each byte that is none
_MULTIBYTE = re.compile(
    rb"(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})+"
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)
_META = re.compile(rb"<meta\b[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"<\?xml\b[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']", re.IGNORECASE)
_CSS = re.compile(rb'@charset "([\w.:-]{1,40})";')
_COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)
_PARAMETER = re.compile(
    r";\s*charset\s*=\s*(?:\"([^\"]{1,80})\"|'?([^\s;'\"]{1,80}))", re.IGNORECASE
)

# Python's codec that decodes as browsers do: WHATWG's labels for it. What is missing here is called
# the same by both, or decodes alike.
_BROWSER_LABELS = {
    "cp1252": "ascii ansi_x3.4-1968 cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1"
    " iso88591 iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 x-user-defined",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601"
    " ksc_5601 windows-949",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "cp1254": "csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 l5 latin5"
    " windows-1254 x-cp1254",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    "utf-16-be": "unicodefffe utf-16be",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "iso8859-8": "visual logical csisolatinhebrew hebrew iso-8859-8-i",
    "cp1250": "x-cp1250",
    "cp1251": "x-cp1251",
    "cp1253": "x-cp1253",
    "cp1255": "x-cp1255",
    "cp1256": "x-cp1256",
    "cp1257": "x-cp1257",
    "cp1258": "x-cp1258",
}
_CODECS = {label: codec for codec, labels in _BROWSER_LABELS.items() for label in labels.split()}
# How the decoders of Python are called on the web, for the answer.
_NAMES = {
    "cp932": "shift_jis", "cp949": "euc-kr", "big5hkscs": "big5", "gb18030": "gbk",
    "utf-16-le": "utf-16le", "utf-16-be": "utf-16be", "mac-roman": "macintosh",
    **{f"cp125{digit}": f"windows-125{digit}" for digit in range(9)},
}  # fmt: skip
# Codecs of Python that browsers refuse as unsafe, or that are no character sets.
_REFUSED = re.compile(r"(?:utf[-_]?(?:7|32).*|idna|punycode|.*escape|iso-?2022-(?:kr|cn).*|hz.*)$")


ALL_CODECS = (
    *_BROWSER_LABELS,
    *(f"iso8859-{part}" for part in range(2, 17) if part != 12),
    "cp866",
)
"""What `decode` may need; a process that can open no file later loads them with this."""


class Decoded(NamedTuple):
    """Text, and how it came about.

    Attributes:
        charset: The name by which browsers know it.
        replaced: Bytes that mean nothing in it; U+FFFD stands for them.
    """

    text: str
    charset: str
    source: CharsetSource
    replaced: int


def decode(
    body: bytes, content_type: str | None, *, declared_inside: bool = True, is_json: bool = False
) -> Decoded:
    """Decode a document.

    Args:
        content_type: The header, with its charset parameter.
        is_json: It is in UTF-8 whatever the header says, if it can be (RFC 8259 §8.1 and §11).
        declared_inside: Whether the document may declare its charset itself, as HTML and XML do.
    """
    for mark, codec in _BOMS:
        if body.startswith(mark):
            return _decoded(body[len(mark) :], codec, "bom")
    named = codec_of(_parameter(content_type))
    if named and is_json and (text := _as_utf_8(body)) is not None:
        return Decoded(text, "utf-8", "detected", 0)
    if named:
        return _decoded(body, named, "http")
    if declared_inside and (named := _declared(body)):
        return _decoded(body, named, "meta")
    return _detected(body)


def _as_utf_8(body: bytes) -> str | None:
    try:
        return body.decode("utf-8") if b"\0" not in body else None
    except UnicodeDecodeError:
        return None


def codec_of(label: str | None) -> str | None:
    """Return Python's codec for a label as browsers understand it; None for an unknown one."""
    if not label:
        return None
    label = label.strip().lower()
    if known := _CODECS.get(label):
        return known
    if _REFUSED.match(label):
        return None
    try:
        found = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    return found.name if found._is_text_encoding else None


def _parameter(content_type: str | None) -> str | None:
    found = _PARAMETER.search(content_type or "")
    return (found[1] or found[2]) if found else None


def _declared(body: bytes) -> str | None:
    """Prescan the first bytes; a document that was readable so far is not in UTF-16."""
    start = _COMMENT.sub(b"", body[:_PRESCAN_BYTES])
    for pattern in (_META, _XML, _CSS):
        if found := pattern.search(start):
            codec = codec_of(found[1].decode("ascii", "replace"))
            if codec:
                return "utf-8" if codec.startswith("utf-16") else codec
    return None


def _detected(body: bytes) -> Decoded:
    if body.isascii():
        return Decoded(body.decode("ascii"), "utf-8", "detected", 0)
    try:
        return Decoded(body.decode("utf-8"), "utf-8", "detected", 0)
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" or _is_mostly_utf_8(body):
            return _decoded(body, "utf-8", "detected")
        first = max(0, error.start - 256)
    codec = _guessed(body[first : first + _SAMPLE_BYTES])
    return _decoded(body, codec, "detected") if codec else _decoded(body, "cp1252", "default")


def _is_mostly_utf_8(body: bytes) -> bool:
    """Say whether what is not ASCII is UTF-8 but for a few bytes; by chance it never is."""
    bad = body.decode("utf-8", "replace").count("\ufffd")
    good = sum(map(len, _MULTIBYTE.findall(body)))
    return good >= _FOR_ONE_BAD * bad


def _guessed(sample: bytes) -> str | None:
    """Ask charset-normalizer about a sample."""
    if sample.count(0) * 4 > len(sample):  # ASCII in UTF-16 is half zeros
        return "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"
    import charset_normalizer  # takes 20 ms, and few pages need it

    best = charset_normalizer.from_bytes(sample, preemptive_behaviour=False).best()
    return codec_of(best.encoding) if best else None


def _decoded(body: bytes, codec: str, source: CharsetSource) -> Decoded:
    name = _NAMES.get(codec, codec)
    try:
        return Decoded(body.decode(codec), name, source, 0)
    except UnicodeDecodeError:
        pass
    text = body.decode(codec, "replace")
    already = body.count("\ufffd".encode()) if codec == "utf-8" else 0
    return Decoded(text, name, source, text.count("\ufffd") - already)
