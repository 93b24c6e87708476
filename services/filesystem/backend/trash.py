"""Deleted things, kept for a while in a hidden directory of their root.

They are renamed there, so it costs nothing and works for directories of any size. The deny globs
hide the directory from every tool; `undo_change` brings things back by the history's word.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from errno import EDQUOT, ENOSPC, EROFS, EXDEV

from core.errors import ToolError
from core.files import AccessDenied, AcrossDisks, FileNotThere, telling
from services.filesystem.backend import trees
from services.filesystem.backend.atomic import Spot, rename_new, sync
from services.filesystem.backend.history import Change
from services.filesystem.backend.work import Stop
from services.filesystem.roots import RootEntry

logger = logging.getLogger(__name__)

TRASH = b".mcp-trash"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Trash:
    """The trash of one root, held open; a context manager that closes it.

    Raises:
        AccessDenied: It cannot be made, or what has its name is not this server's directory.
        ToolError: The disk is full or read-only.
    """

    def __init__(self, entry: RootEntry) -> None:
        try:
            self.fd = _opened(entry.root.fd)
        except OSError as error:
            if error.errno in (EDQUOT, ENOSPC, EROFS):
                with telling(entry.alias):
                    raise
            raise AccessDenied(
                f"The root {entry.alias} has no trash, and none can be made there.",
                hint="to_trash=false deletes for good; the operator can let the server write to "
                "the root's top directory.",
            ) from error

    def __enter__(self) -> Trash:
        """Do nothing: it is open."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close it."""
        os.close(self.fd)

    def name_for(self, name: bytes) -> bytes:
        """Return a free name for something, by which a person recognises it."""
        return (b"%s-%s" % (secrets.token_hex(8).encode(), name))[:255]

    def put(self, spot: Spot, name: bytes) -> None:
        """Move what has a name into the trash.

        Raises:
            AcrossDisks: It is on another file system than the root's directory.
        """
        try:
            rename_new(spot.fd, spot.name, self.fd, name)
        except OSError as error:
            if error.errno == EXDEV:
                raise AcrossDisks(
                    f"{spot.shown} is on another file system than its root's trash.",
                    hint="to_trash=false deletes it for good.",
                ) from error
            with telling(spot.shown):
                raise
        sync(self.fd)

    def take(self, name: bytes, spot: Spot) -> None:
        """Move something out of the trash to a name that is free."""
        if not self.holds(name):
            raise FileNotThere(f"{spot.shown} is no longer in the trash.")
        with telling(spot.shown):
            rename_new(self.fd, name, spot.fd, spot.name)
        sync(spot.fd)

    def holds(self, name: bytes) -> bool:
        """Tell whether something is in the trash."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def drop(self, name: bytes) -> None:
        """Remove something for good."""
        with contextlib.suppress(FileNotFoundError):
            trees.remove(Stop(), self.fd, name)

    def drop_strays(self, known: set[str], older_than: float) -> None:
        """Remove what no history knows of and what has lain here since before a time."""
        for name in os.listdir(self.fd):
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                if name not in known and status.st_ctime < older_than:
                    trees.remove(Stop(), self.fd, os.fsencode(name))


def _opened(root: int) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(TRASH, 0o700, dir_fd=root)
    fd = os.open(TRASH, _DIRECTORY, dir_fd=root)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        os.close(fd)
        raise PermissionError
    return fd


def exists(entry: RootEntry) -> bool:
    """Tell whether a root has a trash."""
    try:
        os.stat(TRASH, dir_fd=entry.root.fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def drop_trash_of(change: Change, entry: RootEntry) -> None:
    """Remove for good what a change that is no longer kept had put into the trash."""
    name = change.facts.get("trash")
    if name is None or change.state == "undone" or entry.root.path != change.root:
        return
    try:
        with Trash(entry) as trash:
            trash.drop(os.fsencode(name))
    except (OSError, ToolError) as error:
        logger.warning("something in the trash of %s cannot be removed: %s", entry.alias, error)
