"""What the searching tools return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Result

Kind = Literal["file", "directory", "symlink", "other"]


class LongPage(Result):
    """Base of the results of work that may also run out of time."""

    returned: int
    total: int | None = Field(description="null: not everything was seen.")
    truncated: bool
    truncated_by: Literal["limit", "bytes", "time"] | None
    next_cursor: str | None
    skipped: dict[str, int] = Field(description="Left out, by reason.")


class Found(Facts):
    """A file or directory that fits."""

    path: str
    kind: Kind
    size_bytes: int | None
    mtime: str | None


class FoundFiles(LongPage):
    """What search_files found, by directory and name unless sorted otherwise."""

    entries: list[Found] = Field(description="path, kind, size_bytes, mtime.")
    seen: int
    content: str


class FoundLine(Facts):
    """A line of a file.

    Attributes:
        column: Byte at which the match begins, from 1; None of context.
        cut: Bytes left out before and after, if any.
    """

    line: int
    column: int | None
    text: str
    cut: tuple[int, int] | None


class FoundIn(Facts):
    """A file in which something was found.

    Attributes:
        matches: Lines that match, of this page.
        more: Whether max_per_file ended the search of this file.
    """

    path: str
    matches: int
    more: bool
    lines: list[FoundLine]


class FoundText(LongPage):
    """What grep_files found, by directory and name."""

    files: list[FoundIn] = Field(
        description="path, matches, more (max_per_file ended it), lines {line, column (null: "
        "context), text, cut}."
    )
    paths: list[str] = Field(description="With output=files.")
    matches: int = Field(description="Lines of this page.")
    searched: int
