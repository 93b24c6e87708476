"""What a body is: by its header, and by its first bytes where the header is silent or wrong.

Source: WHATWG MIME Sniffing, in the small.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Shape = Literal[
    "html", "json", "ndjson", "xml", "markdown", "text", "pdf", "image", "binary", "empty"
]

_START_BYTES = 1445
_MAGIC: tuple[tuple[bytes, Shape, str], ...] = (
    (b"%PDF-", "pdf", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image", "image/png"),
    (b"\xff\xd8\xff", "image", "image/jpeg"),
    (b"GIF87a", "image", "image/gif"),
    (b"GIF89a", "image", "image/gif"),
    (b"PK\x03\x04", "binary", "application/zip"),
    (b"\x1f\x8b\x08", "binary", "application/gzip"),
    (b"Rar!\x1a\x07", "binary", "application/vnd.rar"),
    (b"7z\xbc\xaf\x27\x1c", "binary", "application/x-7z-compressed"),
    (b"\x28\xb5\x2f\xfd", "binary", "application/zstd"),
    (b"BZh", "binary", "application/x-bzip2"),
    (b"\xfd7zXZ\x00", "binary", "application/x-xz"),
    (b"\x7fELF", "binary", "application/x-executable"),
    (b"MZ\x90", "binary", "application/x-msdownload"),
    (b"wOFF", "binary", "font/woff"),
    (b"wOF2", "binary", "font/woff2"),
    (b"OggS\x00", "binary", "application/ogg"),
    (b"ID3", "binary", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "binary", "video/webm"),
    (b"SQLite format 3\x00", "binary", "application/vnd.sqlite3"),
    (b"\x00asm", "binary", "application/wasm"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "binary", "application/x-ole-storage"),
    (b"BM", "image", "image/bmp"),
)
_TEXT_TYPES = re.compile(
    r"text/|application/(?:javascript|x-javascript|ecmascript|sql|graphql|x-sh|toml|yaml|x-yaml"
    r"|x-httpd-php|rtf|x-tex|x-latex|x-subrip|vnd\.apple\.mpegurl|x-www-form-urlencoded)$"
)
_HTML_START = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|script|iframe|h1|div|font|table|a|style|title|b|br|p|meta"
    rb"|!--)[\s>/]",
    re.IGNORECASE,
)
_JSON_START = re.compile(rb"[\[{]\s*(?:[\"\[{\]}\d-]|true|false|null)")
_UTF_16 = re.compile(r"(?i);\s*charset\s*=\s*[\"']?(?:utf-?16|ucs-?2|unicode)")
_BINARY_BYTES = bytes(sorted({*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)}))


class Sniffed(NamedTuple):
    """What to treat a body as, and its media type without parameters."""

    shape: Shape
    media_type: str


def sniff(body: bytes, content_type: str | None, url: str = "") -> Sniffed:
    """Decide what a body is.

    Args:
        url: Its file extension tells markdown from other plain text.
    """
    declared = (content_type or "").split(";", 1)[0].strip().lower()
    start = body[:_START_BYTES]
    if not body.strip():
        return Sniffed("empty", declared or "text/plain")
    if magic := _magic(start, declared):
        return magic
    if shape := _declared_shape(declared, url):
        wide = _UTF_16.search(content_type or "") is not None
        return Sniffed(shape, declared) if wide else _checked(shape, declared, start)
    if declared.startswith("image/"):
        return Sniffed("image", declared)
    if _is_binary(start):
        return Sniffed("binary", declared or "application/octet-stream")
    if declared == "application/pdf" and _HTML_START.match(_bare(start)):
        return Sniffed("html", "text/html")
    if declared and not declared.endswith(("/octet-stream", "/unknown", "/*")):
        return Sniffed("text" if _TEXT_TYPES.match(declared) else "binary", declared)
    return _guess(start, url)


def _magic(start: bytes, declared: str) -> Sniffed | None:
    for magic, shape, media_type in _MAGIC:
        if start.startswith(magic):
            if magic in (b"BM", b"ID3", b"BZh", b"MZ\x90") and not _is_binary(start):
                continue
            office = magic.startswith((b"PK", b"\xd0")) and declared.startswith("application/")
            return Sniffed(shape, declared if office else media_type)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return Sniffed("image", "image/webp")
    if start[4:8] == b"ftyp":
        if start[8:12] in (b"avif", b"avis"):
            return Sniffed("image", "image/avif")
        return Sniffed("binary", declared or "video/mp4")
    return None


def _declared_shape(declared: str, url: str) -> Shape | None:
    if declared in ("text/html", "application/xhtml+xml"):
        return "html"
    if declared in ("application/x-ndjson", "application/jsonl", "application/json-seq"):
        return "ndjson"
    if declared in ("application/json", "text/json") or declared.endswith("+json"):
        return "json"
    if declared == "image/svg+xml" or declared.endswith(("/xml", "+xml")):
        return "xml"
    if declared in ("text/markdown", "text/x-markdown"):
        return "markdown"
    if declared == "text/plain" and _names_markdown(url):
        return "markdown"
    return None


def _checked(shape: Shape, declared: str, start: bytes) -> Sniffed:
    """Correct headers that lie in the usual ways; NUL in a page is nothing to a browser."""
    nothing = start.count(0) if shape == "html" else 0
    if (_controls(start) - nothing) * 10 > len(start) - nothing and _is_binary(start):
        return Sniffed("binary", "application/octet-stream")
    bare = _bare(start)
    if shape == "html" and _is_xml_document(bare):
        return Sniffed("xml", "application/xml")
    if shape == "html" and not _HTML_START.search(start) and b"<" not in start:
        found = _guess(start, "")
        if found.shape == "json":
            return found
    if shape == "xml" and re.match(rb"(?i)<!doctype html|<html[\s>]", bare):
        return Sniffed("html", declared)
    return Sniffed(shape, declared)


def _is_xml_document(bare: bytes) -> bool:
    """Say whether something sent as HTML is a feed or sitemap, as browsers look for feeds."""
    bare = re.sub(rb"^(?:<\?.*?\?>|<!--.*?-->|\s+)+", b"", bare, flags=re.DOTALL)
    return bool(re.match(rb"<(?:rss|feed|rdf:RDF|urlset|sitemapindex)[\s>/]", bare))


def _guess(start: bytes, url: str) -> Sniffed:
    if _is_binary(start):
        return Sniffed("binary", "application/octet-stream")
    bare = _bare(start)
    if bare.startswith(b"<?xml") or _is_xml_document(bare):
        return Sniffed("xml", "application/xml")
    if _HTML_START.match(bare):
        return Sniffed("html", "text/html")
    if _JSON_START.match(bare):
        return Sniffed("json", "application/json")
    if _names_markdown(url):
        return Sniffed("markdown", "text/markdown")
    return Sniffed("text", "text/plain")


def _names_markdown(url: str) -> bool:
    return url.split("?", 1)[0].split("#", 1)[0].lower().endswith((".md", ".markdown", "/llms.txt"))


def _bare(start: bytes) -> bytes:
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()


def _is_binary(start: bytes) -> bool:
    """Say whether bytes hold controls that no text has (MIME Sniffing §7.2)."""
    if start.startswith((b"\xfe\xff", b"\xff\xfe")):
        return False
    found = _controls(start)
    if not found:
        return False
    zeros = start.count(0)
    return not (zeros == found and zeros * 3 > len(start))  # UTF-16 without its mark


def _controls(start: bytes) -> int:
    return len(start) - len(start.translate(None, _BINARY_BYTES))
