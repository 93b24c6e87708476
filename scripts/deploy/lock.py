"""One at a time: a lock on a folder, held by the process and gone with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from scripts.deploy import console


@contextlib.contextmanager
def alone(folder: Path, who: str) -> Iterator[None]:
    """Wait until nobody else holds the folder, and hold it.

    Args:
        who: Said while somebody does, as in "Another installation is running here".
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say(f"{who}; waiting for it …")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
