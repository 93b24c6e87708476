"""What the reading tools return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Result


class Directory(Facts):
    """One root; `mode` includes what comes before it: list, read, write, delete."""

    alias: str
    path: str
    mode: str
    state: Literal["available", "unavailable"]
    problem: str | None
    free_bytes: int | None
    total_bytes: int | None


class Directories(Result):
    """The roots of a server."""

    directories: list[Directory] = Field(
        description="alias, path, mode (list < read < write < delete), state, problem, "
        "free_bytes, total_bytes."
    )
    content: str


class TextOfFile(Result):
    """A part of a text file; `content` is last, so that what is known of it is read first."""

    path: str
    encoding: str
    encoding_guessed: bool
    bom: bool
    newline: str = Field(description="lf, crlf, cr, mixed or none.")
    size_bytes: int
    sha256: str | None = Field(description="Of the whole file; null: too large.")
    mtime: str | None
    total_lines: int | None
    start_line: int | None
    end_line: int | None
    truncated: bool
    next_cursor: str | None
    content: str


class SameText(TextOfFile):
    """What read_file returns, without saying again what that is."""

    model_config = Facts.model_config


class OneOfMany(Facts):
    """One of several files: its text, or why there is none."""

    path: str
    error: dict[str, object] | None = None
    encoding: str | None = None
    newline: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    mtime: str | None = None
    total_lines: int | None = None
    truncated: bool = False
    next_cursor: str | None = None
    content: str | None = None


class ManyTexts(Result):
    """Several files, in the order in which they were asked for."""

    files: list[OneOfMany] = Field(
        description="path, content or error, total_lines, sha256, …; its next_cursor is for "
        "read_text_file."
    )
    returned: int
    total: int
    truncated: bool
    next_cursor: str | None = Field(description="To further files.")


class MediaOfFile(Result):
    """What is known of a file whose bytes stand in the block beside this."""

    path: str
    mime_type: str
    size_bytes: int
    sha256: str
    mtime: str | None
