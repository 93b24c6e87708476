"""Processes that a service starts beside itself."""

from __future__ import annotations

import ctypes
import os
import signal

from core.files.syscalls import libc

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG).

    Args:
        parent: The process that started this one.

    Returns:
        False when the parent ended before that took hold, so that nothing will kill this process.
    """
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *map(ctypes.c_ulong, (0, 0, 0)))
    return os.getppid() == parent
