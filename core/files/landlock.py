"""Landlock: the kernel itself keeps the process within the directories that it needs (landlock(7)).

A second wall behind `core.files.root`: should a path ever be opened past the opener, the kernel
refuses it. No privilege is needed, and nothing can be taken back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterable

from core.files.syscalls import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_ASK_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

# Rights of linux/landlock.h, LANDLOCK_ACCESS_FS_*.
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14

_READ = _READ_FILE | _READ_DIR
_WRITE = (
    _READ
    | (_WRITE_FILE | _TRUNCATE | _REFER)
    | (_REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM)
)
_OF_FILES = _READ_FILE | _WRITE_FILE | _TRUNCATE
"""The rights that a rule for something else than a directory may name."""

_KNOWN_BITS = ((5, 16), (3, 15), (2, 14), (1, 13))
"""From which version of Landlock on how many rights are known: REFER came with the second, TRUNCATE
with the third, IOCTL_DEV with the fifth."""


class _RulesetAttr(ctypes.Structure):
    """`struct landlock_ruleset_attr`, the part that is about files."""

    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


class _PathBeneathAttr(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def version() -> int:
    """Return the version of Landlock that the kernel has (its ABI); 0 for none, or switched off."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)))


def restrict_self(*, read: Iterable[str], write: Iterable[str]) -> bool:
    """Restrict this thread, and the threads and processes that it starts, for good.

    To be called before the first other thread starts: those that run already stay unrestricted.
    Files that are open already stay usable, and so does a `Root`, for what the rules allow below
    it. No program can be started any more. With version 1 (before Linux 5.19) nothing can be
    renamed from one directory to another; the answer is EXDEV then, as across file systems.

    Args:
        read: Files, and directories with everything below them, that may be read.
        write: Those that may also be written, created, renamed and deleted. A path in either that
            does not exist, or cannot be opened, gets no rule and so cannot be used.

    Returns:
        Whether the restriction holds; False where the kernel has no Landlock, or it is switched
        off, or refuses (at most 16 layers can be stacked).
    """
    handled = _known_rights(version())
    if not handled:
        return False
    attr = _RulesetAttr(handled)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(8), 0)
    if ruleset < 0:
        return False
    try:
        for rights, paths in ((_READ, read), (_WRITE, write)):
            for path in paths:
                with contextlib.suppress(OSError, ValueError):
                    _allow(ruleset, path, rights & handled)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _known_rights(abi: int) -> int:
    return next(((1 << bits) - 1 for since, bits in _KNOWN_BITS if abi >= since), 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        attr = _PathBeneathAttr(rights, fd)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(attr), 0)
    finally:
        os.close(fd)
