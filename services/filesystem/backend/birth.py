"""When a file was made, which only statx(2) tells and Python does not ask."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_MASK, _BTIME = struct.Struct("=I"), struct.Struct("=qI")
_BTIME_AT = 80
_BYTES = 256

_statx: Any = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def birth_of(fd: int) -> int | None:
    """Return the birth time of an open file in ns since 1970; None where nobody knows it."""
    if _statx is None:
        return None
    buffer = ctypes.create_string_buffer(_BYTES)
    if _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer) != 0:
        return None
    if not _MASK.unpack_from(buffer)[0] & _STATX_BTIME:
        return None
    seconds, nanoseconds = _BTIME.unpack_from(buffer, _BTIME_AT)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
