"""The two system calls that Python does not have: openat2(2) and renameat2(2).

Both raise OSError with the number that the kernel gave. ctypes lets other threads run meanwhile,
and `use_errno` keeps one error number per thread.
"""

from __future__ import annotations

import ctypes
import functools
import os
from errno import EAGAIN, EINTR, ENOSYS

_OPENAT2 = 437  # the same on every architecture that Python runs on but alpha
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_TRIES = 128

libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


def _how(flags: int) -> ctypes._Pointer[_OpenHow]:
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
    return ctypes.pointer(_OpenHow(flags | os.O_CLOEXEC, 0, resolve))


# Built once and only ever read, by us and by the kernel: all threads share them.
_FOLLOW = _how(os.O_PATH)
_NOFOLLOW = _how(os.O_PATH | os.O_NOFOLLOW)
_HOW_BYTES = ctypes.sizeof(_OpenHow)


# A second handle, so that these argument types are nobody else's.
_openat2 = ctypes.CDLL(None, use_errno=True).syscall
_openat2.restype = ctypes.c_long
_openat2.argtypes = [
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(_OpenHow),
    ctypes.c_size_t,
]


def open_beneath(root: int, path: bytes, *, follow: bool) -> int:
    """Return an O_PATH descriptor of `path` below the directory `root`, as openat2(2) finds it.

    Args:
        path: Relative and without NUL, at which ctypes would cut it.
        follow: Whether a symbolic link at the end is followed.

    Raises:
        OSError: EXDEV where the path leads out; ELOOP for loops and for magic links of /proc;
            EAGAIN where directories were being moved at each of 128 tries.
    """
    how = _FOLLOW if follow else _NOFOLLOW
    for _ in range(_TRIES):
        fd: int = _openat2(_OPENAT2, root, path, how, _HOW_BYTES)
        if fd >= 0:
            return fd
        if (number := ctypes.get_errno()) not in (EAGAIN, EINTR):
            break
    raise OSError(number, os.strerror(number))


@functools.cache
def has_openat2() -> bool:
    """Ask the kernel, once: Linux 5.6 has the call, some sandboxes refuse it."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(open_beneath(root, b".", follow=True))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


def _find_renameat2() -> ctypes._NamedFuncPointer | None:
    function = getattr(libc, "renameat2", None)
    if function is not None:
        function.argtypes = [
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_uint,
        ]
    return function


_renameat2 = _find_renameat2()


def renameat2(
    src_fd: int,
    src_name: bytes,
    dst_fd: int,
    dst_name: bytes,
    *,
    no_replace: bool = False,
    exchange: bool = False,
) -> None:
    """Rename a name of one directory to a name of another, in one step (renameat2(2)).

    Args:
        no_replace: Fail with EEXIST where the destination exists.
        exchange: Swap the two; both have to exist.

    Raises:
        OSError: EINVAL where the file system cannot do what was asked; ENOSYS where libc has no
            such function (glibc has it since 2.28).
    """
    if b"\0" in src_name or b"\0" in dst_name:
        raise ValueError("a name holds NUL, at which ctypes would cut it")
    if _renameat2 is None:
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    flags = no_replace * _RENAME_NOREPLACE | exchange * _RENAME_EXCHANGE
    if _renameat2(src_fd, src_name, dst_fd, dst_name, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
