"""What callers are told of the system's errors."""

from __future__ import annotations

import errno
import os

import pytest

from core.errors import (
    Busy,
    Conflict,
    DependencyUnavailable,
    InvalidArguments,
    LimitExceeded,
    NotAllowed,
    NotFound,
    ToolError,
)
from core.files import DiskFailed, DiskFull, kind_of, telling, told

BRANCHES: list[tuple[int, type[ToolError]]] = [
    (errno.ENOENT, NotFound),
    (errno.ENOTDIR, InvalidArguments),
    (errno.EISDIR, InvalidArguments),
    (errno.ELOOP, InvalidArguments),
    (errno.ENAMETOOLONG, InvalidArguments),
    (errno.EACCES, NotAllowed),
    (errno.EPERM, NotAllowed),
    (errno.EROFS, NotAllowed),
    (errno.EEXIST, Conflict),
    (errno.ENOTEMPTY, Conflict),
    (errno.EXDEV, Conflict),
    (errno.EFBIG, LimitExceeded),
    (errno.EBUSY, Busy),
    (errno.ETXTBSY, Busy),
    (errno.EAGAIN, Busy),
    (errno.EMFILE, Busy),
    (errno.ENOSPC, DependencyUnavailable),
    (errno.EDQUOT, DependencyUnavailable),
    (errno.EIO, DependencyUnavailable),
    (errno.ESTALE, DependencyUnavailable),
]


@pytest.mark.parametrize(("number", "branch"), BRANCHES, ids=lambda value: str(value))
def test_number_becomes_an_error_of_its_branch(number: int, branch: type[ToolError]) -> None:
    """It names the path that the caller knows, and not the one in the system's error."""
    error = told(OSError(number, os.strerror(number), "/srv/secret/place"), "work/a.txt")
    assert isinstance(error, branch)
    assert "work/a.txt" in error.message
    assert error.facts["path"] == "work/a.txt"
    assert "/srv" not in str(error.to_dict())


def test_any_number_is_told() -> None:
    """Also one that Linux does not have, and an OSError without one."""
    for number in range(200):
        assert told(OSError(number, "?"), "work/a").message.endswith(".")
    nameless = told(OSError("odd"), "work/a")
    assert isinstance(nameless, DiskFailed)
    assert told(OSError(errno.EIO, "x"), "work/a").facts["errno"] == "EIO"


def test_full_disk_is_told_by_a_block() -> None:
    """/dev/full answers every write with ENOSPC (full(4))."""
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(DiskFull, match=r"work/a\.txt") as full, telling("work/a.txt"):
        os.write(fd, b"x")
    os.close(fd)
    assert isinstance(full.value.__cause__, OSError)


def test_block_leaves_other_errors_and_results_alone() -> None:
    """Only the system's errors are its matter."""
    with pytest.raises(ZeroDivisionError), telling("work/a.txt"):
        _ = 1 / 0
    with telling("work/a.txt"):
        pass


def test_kinds_have_words() -> None:
    """Also one that no Linux has."""
    assert kind_of(os.stat("/dev/null").st_mode) == "character device"
    assert kind_of(0) == "file of unknown type"
