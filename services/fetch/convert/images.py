"""The size of a picture, read from its first bytes."""

from __future__ import annotations

from collections.abc import Callable

Size = tuple[int, int]


def dimensions(body: bytes, media_type: str) -> Size | None:
    """Return width and height in pixels; None where they cannot be read cheaply."""
    read = _READERS.get(media_type)
    try:
        return read(body) if read else None
    except IndexError:
        return None


def _png(body: bytes) -> Size | None:
    if body[12:16] != b"IHDR" or len(body) < 24:
        return None
    return int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")


def _gif(body: bytes) -> Size | None:
    if len(body) < 10:
        return None
    return int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")


def _bmp(body: bytes) -> Size | None:
    if len(body) < 26:
        return None
    width = int.from_bytes(body[18:22], "little", signed=True)
    return width, abs(int.from_bytes(body[22:26], "little", signed=True))


def _webp(body: bytes) -> Size | None:
    kind = body[12:16]
    if len(body) < 30:
        return None
    if kind == b"VP8X":
        width = int.from_bytes(body[24:27], "little") + 1
        return width, int.from_bytes(body[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width = int.from_bytes(body[26:28], "little") & 0x3FFF
        return width, int.from_bytes(body[28:30], "little") & 0x3FFF
    return None


def _jpeg(body: bytes) -> Size | None:
    """Walk the segments to the frame header (ITU T.81 §B.2.2)."""
    position = 2
    while position + 9 < len(body) and body[position] == 0xFF:
        marker = body[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(body[position + 5 : position + 7], "big")
            return int.from_bytes(body[position + 7 : position + 9], "big"), height
        if marker == 0xFF:
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
        else:
            position += 2 + int.from_bytes(body[position + 2 : position + 4], "big")
    return None


_READERS: dict[str, Callable[[bytes], Size | None]] = {
    "image/png": _png,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/jpeg": _jpeg,
}
