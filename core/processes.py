"""Processes that a service starts beside itself, and what they may not see of it."""

from __future__ import annotations

import ctypes
import os
import signal

from core.files.syscalls import libc

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def end_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG).

    Args:
        parent: The process that started this one.

    Returns:
        False when the parent ended before that took hold, so that nothing will kill this process.
    """
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *map(ctypes.c_ulong, (0, 0, 0)))
    return os.getppid() == parent


def keep_memory_private() -> None:
    """Keep the environment and memory of this process from others of the same user.

    They can no longer read /proc/PID/environ or attach to it, and it leaves no core file; root
    can. What it starts is not concerned: execve(2) makes that readable again (prctl(2),
    PR_SET_DUMPABLE; ptrace(2), "Ptrace access mode checking").
    """
    libc.prctl(_PR_SET_DUMPABLE, *map(ctypes.c_ulong, (0, 0, 0, 0)))
