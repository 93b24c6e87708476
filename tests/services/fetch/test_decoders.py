"""Content-encodings are undone exactly, in bounded steps, whatever comes."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.fetch.backend.decoders import DAMAGED, Decoder, decoder_for
from services.fetch.errors import BadResponse

MIB = 1024 * 1024


def bare_deflate(data: bytes) -> bytes:
    """Compress without zlib's header, as some servers do."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "br": ("br", lambda data: bytes(brotli.compress(data, quality=5))),
    "zstd": ("zstd", zstandard.compress),
    "identity": ("identity", bytes),
    "none": ("", bytes),
}
COMPRESSED = [name for name in ENCODERS if name not in ("identity", "none")]


def decoded(decoder: Decoder, data: bytes, *, step: int = 65_536) -> bytes:
    """Feed data in steps and return all that comes."""
    out = bytearray()
    for start in range(0, len(data), step):
        for piece in decoder.feed(data[start : start + step]):
            out += piece
    return bytes(out)


@pytest.mark.parametrize("name", ENCODERS)
@given(data=st.binary(max_size=2_000), step=st.integers(1, 300), times=st.integers(1, 40))
def test_what_was_encoded_comes_back(name: str, data: bytes, step: int, times: int) -> None:
    """However the wire cuts it."""
    header, encode = ENCODERS[name]
    decoder = decoder_for(header)
    assert decoded(decoder, encode(data * times), step=step) == data * times
    assert decoder.ended
    assert not decoder.extra


@pytest.mark.parametrize("name", COMPRESSED)
def test_large_data_comes_back_in_small_pieces(name: str) -> None:
    """5 MiB with matches of every length, in pieces of at most 2 MiB."""
    header, encode = ENCODERS[name]
    data = b"".join(b"%d " % (number * number % 9973) * (number % 50) for number in range(40_000))
    decoder = decoder_for(header)
    pieces = [piece for part in (encode(data),) for piece in decoder.feed(part)]
    assert b"".join(pieces) == data
    assert decoder.ended
    assert max(map(len, pieces)) <= 2 * MIB


@pytest.mark.parametrize("length", [262_143, 262_144, 262_145, 262_400, 524_288, 524_289])
def test_bare_deflate_ends_at_every_length(length: int) -> None:
    """Its last bytes have no checksum behind them to push them out of zlib."""
    decoder = decoder_for("deflate")
    assert decoded(decoder, bare_deflate(bytes(length))) == bytes(length)
    assert decoder.ended


@pytest.mark.parametrize("name", COMPRESSED)
@given(data=st.binary(min_size=1, max_size=500), cut=st.floats(0, 1, exclude_max=True))
def test_truncated_data_is_noticed(name: str, data: bytes, cut: float) -> None:
    """What is there comes out, and the decoder knows that the end is missing."""
    header, encode = ENCODERS[name]
    whole = encode(data)
    decoder = decoder_for(header)
    part = decoded(decoder, whole[: int(len(whole) * cut)])
    assert data.startswith(part)
    assert not decoder.ended


@pytest.mark.parametrize("name", COMPRESSED)
@given(data=st.binary(max_size=3_000))
def test_garbage_is_an_error_of_a_known_kind_or_decodes(name: str, data: bytes) -> None:
    """Nothing else than the libraries' own errors leaves a decoder."""
    decoder = decoder_for(ENCODERS[name][0])
    with suppress(*DAMAGED):
        decoded(decoder, data)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_and_frames_one_after_the_other_are_one_text(name: str) -> None:
    """RFC 1952 §2.2 and RFC 8878 §3.1."""
    header, encode = ENCODERS[name]
    decoder = decoder_for(header)
    for step in (1, 7, 65_536):
        decoder = decoder_for(header)
        whole = encode(b"one ") + encode(b"") + encode(b"two")
        assert decoded(decoder, whole, step=step) == b"one two"
        assert decoder.ended
        assert not decoder.extra


@pytest.mark.parametrize(
    ("tail", "extra"), [(b"junk", True), (b"\0" * 512, False), (b"\x1f", False), (b"\x1fx", True)]
)
@pytest.mark.parametrize("step", [1, 65_536])
def test_what_stands_behind_gzip_is_dropped(tail: bytes, extra: bool, step: int) -> None:
    """As browsers do; zeros are padding."""
    decoder = decoder_for("gzip")
    assert decoded(decoder, gzip.compress(b"page") + tail, step=step) == b"page"
    assert decoder.extra is extra


def test_a_wrong_checksum_is_damage() -> None:
    """The CRC is compared."""
    whole = bytearray(gzip.compress(b"page" * 100))
    whole[-5] ^= 1
    with pytest.raises(DAMAGED):
        decoded(decoder_for("gzip"), bytes(whole))


def test_a_window_beyond_eight_mebibytes_is_refused() -> None:
    """RFC 9659: the sender decides how much memory a window takes, up to there."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    whole = packer.compress(b"page" * 1000) + packer.flush()
    with pytest.raises(DAMAGED):
        decoded(decoder_for("zstd"), whole)


@pytest.mark.parametrize("header", ["gzip, gzip", "br,gzip", "gzip, br, zstd"])
def test_stacked_encodings_are_refused(header: str) -> None:
    """Each one multiplies."""
    with pytest.raises(BadResponse, match="several times"):
        decoder_for(header)


@pytest.mark.parametrize(
    "header",
    [
        "compress",
        "x-compress",
        "exi",
        "aes128gcm",
        "dcb",
        "pack200-gzip",
        "sdch",
        "zz",
        "base64",
        "utf-8x",
    ],
)
def test_other_encodings_are_refused(header: str) -> None:
    """Nothing was asked for but what is undone."""
    with pytest.raises(BadResponse, match="unasked"):
        decoder_for(header)


@pytest.mark.parametrize("header", ["utf-8", "UTF8", " none", "binary", "ISO-8859-1", "8bit"])
def test_what_is_no_coding_at_all_changes_nothing(header: str) -> None:
    """Servers write charsets there, and browsers show their pages all the same."""
    assert decoded(decoder_for(header), b"text") == b"text"
    with pytest.raises(BadResponse, match="several times"):
        decoder_for(f"{header}, gzip")


@pytest.mark.parametrize("header", ["", "identity", " Identity ", "GZIP", "identity, gzip"])
def test_encodings_are_named_in_any_case(header: str) -> None:
    """RFC 9110 §8.4.1: tokens, case-insensitive; identity means nothing."""
    assert decoder_for(header) is not None


def zeros(name: str) -> bytes:
    """Return 256 MiB of zeros, encoded; made in steps."""
    packers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "deflate": zlib.compressobj,
        "br": lambda: _BrotliPacker(),
        "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
    }
    packer = packers[name]()
    return b"".join(packer.compress(bytes(MIB)) for _ in range(256)) + bytes(packer.flush())


class _BrotliPacker:
    def __init__(self) -> None:
        inner = brotli.Compressor(quality=5)
        self.compress, self.flush = inner.process, inner.finish


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_stops_where_the_reader_stops(name: str) -> None:
    """The 256 MiB are never there: what Python allocates stays below a few MiB."""
    bomb = zeros(name)
    assert len(bomb) < 2 * MIB
    decoder, came = decoder_for(name), 0
    tracemalloc.start()
    try:
        for piece in decoder.feed(bomb):
            came += len(piece)
            if came > 30 * MIB:
                break
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 30 * MIB < came < 33 * MIB
    assert peak < 10 * MIB
