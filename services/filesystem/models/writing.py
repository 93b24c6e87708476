"""What the tools that change files return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Result


class Changed(Result):
    """One file after a change of its content, or as it would be."""

    path: str
    changed: bool
    sha256_before: str | None
    sha256_after: str
    diff: str
    diff_truncated: bool
    undo_id: int | None
    notes: list[str]
    content: str


class Written(Changed):
    """One file after it was written."""

    created: bool
    bytes: int


class Edited(Changed):
    """One file after edits."""

    replacements: int
    encoding: str | None = Field(description="null: edited as bytes.")


class Made(Result):
    """A directory that is there now."""

    path: str
    created: bool
    undo_id: int | None
    content: str


class Skipped(Facts):
    """Something that was not copied; the path of what is denied is not told."""

    path: str | None
    reason: str


class Moved(Result):
    """What was moved."""

    source: str
    destination: str
    replaced: bool
    undo_id: int | None
    content: str


class CopyMade(Result):
    """What was copied, or would be."""

    destination: str
    files: int
    directories: int
    links: int
    bytes: int
    skipped: list[Skipped]
    skipped_total: int
    undo_id: int | None
    notes: list[str]
    content: str


class Deleted(Result):
    """What was deleted, or would be."""

    path: str
    kind: str
    entries: int = Field(description="Below a directory.")
    bytes: int
    in_trash: bool
    undo_id: int | None
    content: str


class ChangeInfo(Facts):
    """One change."""

    id: int
    kind: Literal["write", "create_directory", "move", "copy", "delete"]
    path: str
    destination: str | None
    at: str
    status: Literal["undone", "can_be_undone", "refused"]
    reason: str | None


class Undone(Result):
    """The changes that were taken back, newest first; or those that could be."""

    changes: list[ChangeInfo]
    content: str


class FileDiff(Result):
    """How two files differ."""

    identical: bool
    binary: bool
    diff: str
    diff_truncated: bool
    lines_added: int
    lines_removed: int
    content: str
