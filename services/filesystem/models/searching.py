"""What the searching tools return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Part, Result

Kind = Literal["file", "directory", "symlink", "other"]


class LongPage(Result):
    """Base of the results of work that may also run out of time."""

    returned: int
    total: int | None = Field(description="Null when the search ended before everything was seen.")
    truncated: bool
    truncated_by: Literal["limit", "bytes", "time"] | None
    next_cursor: str | None = Field(
        description="Goes on behind the last result. Changes meanwhile are not frozen: what is "
        "new before that place is not shown."
    )
    skipped: dict[str, int] = Field(
        description="What was left out, by reason: ignored, binary, too_large, too_deep, special, "
        "unreadable, hard_linked, moved, failed."
    )


class Found(Part):
    """A file or directory that fits."""

    path: str
    kind: Kind
    size_bytes: int | None = Field(description="Of files.")
    mtime: str | None


class FoundFiles(LongPage):
    """What search_files found, by directory and name unless sorted otherwise."""

    entries: list[Found]
    seen: int = Field(description="Entries looked at for this page.")
    content: str = Field(description="The paths, one per line.")


class FoundLine(Part):
    """A line of a file."""

    line: int
    column: int | None = Field(description="Byte at which the match begins, from 1; null: context.")
    text: str
    cut: tuple[int, int] | None = Field(description="Bytes left out before and after, if any.")


class FoundIn(Part):
    """A file in which something was found."""

    path: str
    matches: int = Field(description="Lines that match, of this page.")
    more: bool = Field(description="Whether max_per_file ended the search of this file.")
    lines: list[FoundLine]


class FoundText(LongPage):
    """What grep_files found, by directory and name."""

    files: list[FoundIn]
    paths: list[str] = Field(description="Instead of `files` with output=files.")
    matches: int = Field(description="Lines that match, of this page.")
    searched: int = Field(description="Files searched for this page.")
