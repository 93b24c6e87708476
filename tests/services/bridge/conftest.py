"""What is to be undone after tests of the bridge's processes in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from core.files.syscalls import libc

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="module", autouse=True)
def orphans_are_inits_again() -> Iterator[None]:
    """Leave orphans of other tests to init (prctl(2)); a bridge in this process takes them all."""
    _take_orphans(1)
    yield
    _take_orphans(0)


def _take_orphans(is_on: int) -> None:
    libc.prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (is_on, 0, 0, 0)))
