"""What the tools that change files return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Part, Result

UNDO_ID = Field(description="For undo_change; null when it cannot be taken back.")


class Written(Result):
    """One file after a change of its content, or as it would be."""

    path: str
    created: bool
    changed: bool = Field(description="False when it held this already.")
    dry_run: bool
    bytes: int
    sha256_before: str | None
    sha256_after: str = Field(description="For if_sha256 of the next change.")
    diff: str = Field(description="Unified; empty for binary files and for no change.")
    diff_truncated: bool
    lines_added: int
    lines_removed: int
    undo_id: int | None = UNDO_ID
    notes: list[str]
    content: str


class Edited(Written):
    """One file after edits, or as it would be."""

    replacements: int
    encoding: str | None = Field(description="null when unknown; it was edited as bytes.")


class Made(Result):
    """A directory that is there now."""

    path: str
    created: bool = Field(description="False when it was there.")
    undo_id: int | None = UNDO_ID
    content: str


class Skipped(Facts):
    """Something that was not copied; the path of what is denied is not told."""

    path: str | None
    reason: str


class Moved(Result):
    """What was moved."""

    source: str
    destination: str
    replaced: bool = Field(description="What was at the destination is in the trash.")
    undo_id: int | None = UNDO_ID
    notes: list[str]
    content: str


class CopyMade(Result):
    """What was copied, or would be."""

    source: str
    destination: str
    dry_run: bool
    files: int
    directories: int
    links: int
    bytes: int
    skipped: list[Skipped] = Field(description="The first ones.")
    skipped_total: int
    undo_id: int | None = UNDO_ID
    notes: list[str]
    content: str


class Deleted(Result):
    """What was deleted, or would be."""

    path: str
    dry_run: bool
    kind: str
    entries: int = Field(description="Below a directory; the confirm_count.")
    bytes: int
    in_trash: bool
    undo_id: int | None = UNDO_ID
    content: str


class ChangeInfo(Part):
    """One change."""

    id: int
    kind: str = Field(description="write, create_directory, move, copy or delete.")
    path: str
    destination: str | None
    at: str = Field(description="UTC.")
    status: Literal["undone", "can_be_undone", "refused"]
    reason: str | None


class Undone(Result):
    """The changes that were taken back, newest first; or those that could be."""

    changes: list[ChangeInfo]
    content: str


class FileDiff(Result):
    """How two files differ."""

    a: str
    b: str
    identical: bool = Field(description="To the byte.")
    binary: bool = Field(description="One is no text, so there is no diff.")
    diff: str
    diff_truncated: bool
    lines_added: int
    lines_removed: int
    bytes_a: int
    bytes_b: int
    sha256_a: str
    sha256_b: str
    notes: list[str]
