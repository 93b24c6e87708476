"""Undo a content-encoding in bounded steps.

`feed` yields pieces of at most a few MiB whatever the input is, so that the caller can stop between
two of them: 809 bytes of brotli expand to 1 GiB, and the libraries' plain interfaces give all of it
at once. What bounds each:

```
gzip, deflate   zlib's `max_length`
br              `output_buffer_limit` of brotli ≥ 1.2, which goes up to one block beyond it
zstd            slices of 64 bytes: a block takes 4 bytes or more and holds at most 128 KiB
```

Sources: RFC 9110 §8.4 (codings), RFC 1950-1952 (zlib, deflate, gzip), RFC 7932 (brotli), RFC 8878
§3.1.1 (zstd's blocks), RFC 9659 (zstd's window).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli
import zstandard

from services.fetch.errors import BadResponse

ACCEPT_ENCODING = "gzip, deflate, br, zstd"

PIECE_BYTES = 256 * 1024
ZSTD_SLICE_BYTES = 64
ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""RFC 9659 §3: no more than a sender may need of a receiver."""

DAMAGED = (zlib.error, brotli.error, zstandard.ZstdError)


class Decoder(Protocol):
    """Undoes one content-encoding, piece by piece."""

    @property
    def ended(self) -> bool:
        """Whether the encoded data was seen to its end."""
        ...

    @property
    def extra(self) -> bool:
        """Whether something that belongs to nothing stood behind the end; it was dropped."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the wire decode to.

        Raises:
            zlib.error, brotli.error, zstandard.ZstdError: They are damaged; see `DAMAGED`.
        """
        ...


class Identity:
    """Nothing to undo; where it ends is for HTTP to know."""

    ended = True
    extra = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes as they are."""
        yield data


class Gzip:
    """gzip: one member after the other (RFC 1952 §2.2)."""

    def __init__(self) -> None:
        self.ended = False
        self.extra = False
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._start = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the bytes decode to; what follows a member and is none is dropped."""
        while data and not self.extra:
            if self.ended:
                data = self._next_member(data)
                continue
            yield from _inflate(self._member, data)
            self.ended, data = self._member.eof, self._member.unused_data

    def _next_member(self, data: bytes) -> bytes:
        """Begin a member, if that is what comes, and return its bytes so far."""
        data = self._start + data
        if data[:2] == b"\x1f\x8b":
            self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            self._start, self.ended = b"", False
            return data
        self._start = data if data == b"\x1f" else b""
        self.extra = not self._start and any(data)  # zeros pad to a block size, as tar does
        return b""


class Deflate:
    """deflate: zlib's format (RFC 9110 §8.4.1.2), or the bare one that some servers send."""

    def __init__(self) -> None:
        self.ended = False
        self.extra = False
        self._start = b""
        self._inner: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the bytes decode to; the first two tell which format it is."""
        if self._inner is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            self._inner = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        if self.ended:
            self.extra = self.extra or bool(data)
            return
        yield from _inflate(self._inner, data)
        self.ended, self.extra = self._inner.eof, bool(self._inner.unused_data)


class Brotli:
    """br."""

    def __init__(self) -> None:
        self.extra = False
        self._inner = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        """Whether the last block was seen."""
        return bool(self._inner.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the bytes decode to."""
        if self.ended:
            self.extra = self.extra or bool(data)
            return
        piece = self._inner.process(data, output_buffer_limit=PIECE_BYTES)
        while piece or not self._inner.can_accept_more_data():
            yield piece
            # Until nothing comes: taking more input does not mean that all output is out.
            piece = b"" if self.ended else self._inner.process(b"", output_buffer_limit=PIECE_BYTES)


class Zstd:
    """zstd: one frame after the other (RFC 8878 §3.1)."""

    def __init__(self) -> None:
        self.ended = False
        self.extra = False
        self._frames = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
        self._frame = self._frames.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the bytes decode to."""
        for start in range(0, len(data), ZSTD_SLICE_BYTES):
            part = data[start : start + ZSTD_SLICE_BYTES]
            while part:
                if self.ended:
                    self._frame, self.ended = self._frames.decompressobj(), False
                yield self._frame.decompress(part)
                self.ended, part = self._frame.eof, self._frame.unused_data


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": Gzip,
    "x-gzip": Gzip,  # RFC 9110 §8.4.1.3
    "deflate": Deflate,
    "br": Brotli,
    "zstd": Zstd,
}


_NO_CODING = re.compile(
    r"none|binary|text|plain|[78]bit|utf-?(?:8|16|32)(?:[lb]e)?|(?:us-)?ascii|latin-?\d"
    r"|iso-?8859-\d{1,2}|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|shift[_-]jis|sjis|big5|euc-\w{2}"
    r"|gb(?:2312|k|18030)",
    re.ASCII | re.IGNORECASE,
)


def names_no_coding(content_encoding: str) -> bool:
    """Whether a header's value is a charset or a word for nothing, put there by mistake.

    Browsers show such bodies as they are; none of these words is a registered coding
    (https://www.iana.org/assignments/http-parameters, content codings).
    """
    return _NO_CODING.fullmatch(content_encoding.strip()) is not None


def decoder_for(content_encoding: str) -> Decoder:
    """Return what undoes a Content-Encoding header's value.

    Raises:
        BadResponse: It names a coding that was not asked for, or several: nobody compresses twice
            but to hide how much comes out.
    """
    codings = [word.strip().lower() for word in content_encoding.split(",")]
    codings = [word for word in codings if word not in ("", "identity")]
    if not codings or names_no_coding(content_encoding):
        return Identity()
    if len(codings) > 1:
        raise _not_understood("The server compressed its answer several times", content_encoding)
    if codings[0] not in _DECODERS:
        raise _not_understood("The server encoded its answer unasked", content_encoding)
    return _DECODERS[codings[0]]()


def _not_understood(what: str, content_encoding: str) -> BadResponse:
    return BadResponse(
        f"{what} (Content-Encoding: {content_encoding[:80]}).",
        hint=f"Only one of these is undone: {ACCEPT_ENCODING}. Use another source.",
        reason_code="content_encoding",
    )


def _inflate(inner: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    full = False
    while (data or full) and not inner.eof:
        piece = inner.decompress(data, PIECE_BYTES)
        yield piece
        # Also without input left: zlib may hold the end of a long match back.
        data, full = inner.unconsumed_tail, len(piece) == PIECE_BYTES


def _is_zlib(start: bytes) -> bool:
    """Whether two bytes are a zlib header (RFC 1950 §2.2): method 8, and a multiple of 31."""
    return start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
