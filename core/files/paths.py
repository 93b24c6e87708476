"""Paths below a root, as tuples of names in bytes.

A file name on Linux is any bytes but NUL and `/` (path_resolution(7)): a backslash is an ordinary
character, and two spellings of an accented letter are two names. So nothing is normalised but empty
and `.` parts. `..` stays: what it means depends on the symbolic links before it, which only the
opener knows.
"""

from __future__ import annotations

from core.files.errors import BadPath

Rel = tuple[bytes, ...]
"""Names from a root downwards; () is the root itself."""

MAX_NAME_BYTES = 255
"""NAME_MAX of Linux."""
MAX_PATH_BYTES = 4095
"""PATH_MAX of Linux, which counts the NUL at the end, less one."""
_SHOWN_CHARS = 80


def parse_rel(text: str | bytes) -> Rel:
    """Return the names of a relative path, without `.` and empty parts; `..` is kept.

    A slash at the end is dropped: `asks_directory` tells whether there was one.

    Raises:
        BadPath: It is absolute, holds NUL or half a surrogate pair, or it or a name is too long.
    """
    path = _encoded(text) if isinstance(text, str) else text
    if len(path) > MAX_PATH_BYTES:
        raise _bad(path, f"has {len(path)} bytes; at most {MAX_PATH_BYTES} are possible")
    if b"\0" in path:
        raise _bad(path, "holds a NUL character")
    if path.startswith(b"/"):
        raise _bad(path, "is absolute, where one below a root is needed")
    rel = tuple(name for name in path.split(b"/") if name not in (b"", b"."))
    if rel and len(max(rel, key=len)) > MAX_NAME_BYTES:
        raise _bad(path, f"has a name of more than {MAX_NAME_BYTES} bytes")
    return rel


def asks_directory(text: str | bytes) -> bool:
    """Tell whether a path can only mean a directory: it ends in `/`, `/.` or `/..`."""
    path = _encoded(text) if isinstance(text, str) else text
    return path.rpartition(b"/")[2] in (b"", b".", b"..")


def shown(rel: Rel) -> str | None:
    """Return a path as text that `parse_rel` turns back into the same names.

    None when a name is not UTF-8, or holds a character that does not print (`str.isprintable`:
    controls, line separators, unusual spaces, marks of direction): nobody can copy what cannot be
    seen, so the caller shows such a path percent-encoded.
    """
    try:
        text = b"/".join(rel).decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _bad(text.encode(errors="replace"), "holds half a surrogate pair") from None


def _bad(path: bytes, why: str) -> BadPath:
    text = path[: 4 * _SHOWN_CHARS].decode(errors="backslashreplace")
    text = text if text.isprintable() else ascii(text)[1:-1]
    if len(text) > _SHOWN_CHARS or len(path) > 4 * _SHOWN_CHARS:
        text = text[:_SHOWN_CHARS] + "…"
    return BadPath(f"The path “{text}” {why}.")
