"""What can go wrong between a path and the disk.

```
ToolError
├── InvalidArguments
│   ├── BadPath               NUL, a name or path that is too long, not encodable, `..` to write to
│   ├── NotAFile · NotADirectory                      fact: kind
│   └── TooManyLinks          symbolic links in a loop, or more than 40 of them
├── NotAllowed
│   ├── OutsideRoot           the path leaves its root, or what was opened is no longer below it
│   ├── AccessDenied · ReadOnlyDisk
├── NotFound
│   └── FileNotThere
├── Conflict
│   ├── FileExists · DirectoryNotEmpty · AcrossDisks
├── LimitExceeded
│   └── FileTooLarge
├── Busy
│   ├── FileBusy              something changed it again and again, or has it in use
│   └── TooManyOpenFiles
└── DependencyUnavailable
    ├── DiskFull · DiskFailed                         DiskFailed's fact: errno, by name
```

Every message names the path in the form the caller knows (fact `path`), never where it really is
and never where a link points to. `told` is the one map from the system's error numbers.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType

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


class BadPath(InvalidArguments):
    """The path cannot name anything here."""

    code = "BAD_PATH"
    default_hint = "Correct the path and call again."


class NotAFile(InvalidArguments):
    """The path names something else than a regular file; fact: kind."""

    code = "NOT_A_FILE"
    default_hint = "Name a regular file."


class NotADirectory(InvalidArguments):
    """The path, or a part of it that must be a directory, is something else."""

    code = "NOT_A_DIRECTORY"
    default_hint = "Name a directory; list the one above to see what is there."


class TooManyLinks(InvalidArguments):
    """The symbolic links on the way form a loop, or are more than 40."""

    code = "TOO_MANY_LINKS"
    default_hint = "Use the path of the file itself."


class OutsideRoot(NotAllowed):
    """The path leads out of its root, by `..` or by a symbolic link."""

    code = "OUTSIDE_ROOT"
    default_hint = "Only what lies below an allowed root can be used; links have to stay in it."


class AccessDenied(NotAllowed):
    """The system does not let the server's user do this."""

    code = "ACCESS_DENIED"
    default_hint = "The operator can change the permissions of the file or directory."


class ReadOnlyDisk(NotAllowed):
    """The file system is mounted read-only."""

    code = "READ_ONLY_DISK"


class FileNotThere(NotFound):
    """Nothing has that path."""

    code = "FILE_NOT_FOUND"
    default_hint = "List the directory above to see what is there."


class FileExists(Conflict):
    """Something has that path already."""

    code = "FILE_EXISTS"
    default_hint = "Choose another name, or allow overwriting."


class DirectoryNotEmpty(Conflict):
    """The directory still holds something."""

    code = "DIRECTORY_NOT_EMPTY"


class AcrossDisks(Conflict):
    """The two places are on different file systems, between which nothing can be renamed."""

    code = "ACROSS_DISKS"
    default_hint = "Copy it, then delete the original."


class FileTooLarge(LimitExceeded):
    """The file would be larger than the file system or the process may have."""

    code = "FILE_TOO_LARGE"


class FileBusy(Busy):
    """It is in use, or changes faster than it can be opened."""

    code = "FILE_BUSY"


class TooManyOpenFiles(Busy):
    """The process or the system is out of file descriptors or memory."""

    code = "TOO_MANY_OPEN_FILES"


class DiskFull(DependencyUnavailable):
    """No space, inode or quota is left."""

    code = "DISK_FULL"
    default_hint = "Delete something first, or ask the operator for space."


class DiskFailed(DependencyUnavailable):
    """The file system answered with an error that has no class of its own; fact: errno."""

    code = "DISK_FAILED"


_TOLD: dict[int, tuple[type[ToolError], str]] = {
    errno.ENOENT: (FileNotThere, "does not exist"),
    errno.ENOTDIR: (NotADirectory, "is not a directory, or a part of it is not"),
    errno.EISDIR: (NotAFile, "is a directory"),
    errno.EACCES: (AccessDenied, "may not be used by the server's user"),
    errno.EPERM: (AccessDenied, "may not be changed like this by the server's user"),
    errno.ELOOP: (TooManyLinks, "leads through a loop of symbolic links, or more than 40"),
    errno.ENAMETOOLONG: (BadPath, "is too long"),
    errno.EEXIST: (FileExists, "exists already"),
    errno.ENOTEMPTY: (DirectoryNotEmpty, "is a directory that is not empty"),
    errno.EXDEV: (AcrossDisks, "is on another file system"),
    errno.EROFS: (ReadOnlyDisk, "is on a file system that is mounted read-only"),
    errno.EFBIG: (FileTooLarge, "would be larger than a file may be here"),
    errno.ENOSPC: (DiskFull, "cannot be written: no space is left"),
    errno.EDQUOT: (DiskFull, "cannot be written: the quota is used up"),
    errno.EBUSY: (FileBusy, "is in use by the system"),
    errno.ETXTBSY: (FileBusy, "is a program that is running"),
    errno.EAGAIN: (FileBusy, "could not be opened: directories above it are being moved"),
    errno.EMFILE: (TooManyOpenFiles, "cannot be opened: the server has too many files open"),
    errno.ENFILE: (TooManyOpenFiles, "cannot be opened: the system has too many files open"),
    errno.ENOMEM: (TooManyOpenFiles, "cannot be opened: the system is out of memory"),
}

_KINDS = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def kind_of(mode: int) -> str:
    """Return the word for the type in an `st_mode`, such as ``regular file`` or ``FIFO``."""
    return _KINDS.get(stat.S_IFMT(mode), "file of unknown type")


def told(error: OSError, path: str) -> ToolError:
    """Return what a caller is told about an error of the system.

    Args:
        error: Only its number is used; its text may hold other paths.
        path: The path as the caller knows it, ``work/a.txt``.
    """
    number = error.errno or 0
    if number in _TOLD:
        cls, sentence = _TOLD[number]
        return cls(f"{path} {sentence}.", path=path)
    name = errno.errorcode.get(number, str(number))
    reason = os.strerror(number) if number else "unknown"
    return DiskFailed(f"The disk answered {name} ({reason}) for {path}.", path=path, errno=name)


class telling:
    """Turn each OSError of a block into what `told` makes of it: ``with telling("work/a"): …``."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Do nothing: only errors matter."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Raise the typed error in place of an OSError."""
        if isinstance(error, OSError):
            raise told(error, self.path) from error
