"""What kind of file bytes are, by how they begin; names and endings are never believed.

Sources: the WHATWG MIME Sniffing standard (mimesniff.spec.whatwg.org), file(1)'s magic, and the
formats' own specifications.
"""

from __future__ import annotations

HEAD_BYTES = 512
"""So many bytes of a file's beginning are enough for `binary_type`."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"8BPS\x00", "image/vnd.adobe.photoshop"),
    (b"\xffO\xffQ", "image/jp2"),
    (b"\xff\x0a", "image/jxl"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"(\xb5/\xfd", "application/zstd"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x7fELF", "application/x-elf"),
    (b"\x00asm", "application/wasm"),
    (b"\xca\xfe\xba\xbe", "application/java-vm"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x00\x01\x00\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The kinds of image that models look at; others would make their interfaces refuse the answer."""
SOUNDS = frozenset({"audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/mp4", "audio/aac"})
SEEN_OR_HEARD = IMAGES | SOUNDS


def binary_type(head: bytes) -> str | None:
    """Return the media type of a binary format, or None when the bytes begin like none known.

    Magic that is made of letters is believed only where bytes follow that texts do not have.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return None if magic.isascii() and _reads_like_text(head) else kind
    return _boxed(head) or _framed(head)


def _reads_like_text(head: bytes) -> bool:
    part = head[:HEAD_BYTES]
    return not part.startswith(b"%PDF-") and all(
        byte >= 0x20 or byte in b"\t\n\r\f\x1b" for byte in part
    )


def _boxed(head: bytes) -> str | None:
    """Tell formats whose name stands behind a length."""
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if head[:4] == b"OggS" and head[4:5] == b"\x00":
        return "video/ogg" if b"theora" in head[:HEAD_BYTES] else "audio/ogg"
    if head[4:8] == b"ftyp" and head[:3] == b"\x00\x00\x00":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[:2] == b"BM" and head[6:10] == b"\x00\x00\x00\x00" and len(head) > 26:
        return "image/bmp"
    return "application/x-tar" if head[257:262] == b"ustar" else None


def _framed(head: bytes) -> str | None:
    """Tell MPEG audio without a tag by its frame header (ISO/IEC 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or head[1] == 0xFF:
        return None
    layer, rate, sampling = head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if layer == 0:
        return "audio/aac" if head[1] & 0xF6 == 0xF0 and sampling != 3 else None
    version = head[1] >> 3 & 3
    return "audio/mpeg" if version != 1 and rate not in (0, 15) and sampling != 3 else None


def media_type(data: bytes) -> str:
    """Return the media type of a whole file: of a known format, of text, or unknown bytes."""
    if kind := binary_type(data):
        return kind
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "application/octet-stream"
    if "\0" in text:
        return "application/octet-stream"
    start = text[:HEAD_BYTES].lstrip("\ufeff \t\r\n")
    is_svg = start.startswith("<svg") or (start.startswith("<?xml") and "<svg" in text[:4096])
    return "image/svg+xml" if is_svg else "text/plain"
