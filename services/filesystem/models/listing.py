"""What the listing tools return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from core.models import Page, Part, Result
from services.filesystem.models.searching import Kind


class Listed(Part):
    """An entry of a directory."""

    name: str = Field(description="A file:// URI, to be used as a path, where it is no plain text.")
    kind: Kind
    size_bytes: int | None = Field(description="Of files.")
    mtime: str | None


class DirectoryList(Page):
    """A directory's entries."""

    path: str
    entries: list[Listed]
    content: str = Field(description="The same as text.")


class SizedDirectoryList(DirectoryList):
    """A directory's entries, and what they come to."""

    total_files: int
    total_directories: int
    total_bytes: int


class Tree(Result):
    """A directory and what is below it."""

    path: str
    tree: list[JsonValue] = Field(
        description="Nodes {name, type: file/directory/symlink/other}; a directory has children, "
        "and more where entries are left out: how many (null: not counted)."
    )
    shown: int
    truncated: bool
    truncated_by: Literal["bytes", "depth", "time"] | None
    skipped: dict[str, int] = Field(description="What was left out, by reason.")


class FileInfo(Result):
    """What is known of a file, directory, link or special file."""

    path: str
    kind: Kind
    size_bytes: int
    mtime: str | None
    created: str | None
    accessed: str | None
    mode: str = Field(description="Octal, 0644.")
    permissions: str = Field(description="-rw-r--r--")
    owner: str
    group: str
    links: int
    mime_type: str | None = Field(description="By the first bytes, of files that may be read.")
    target: str | None = Field(description="Where a link leads, when that is inside a root.")
    writable: bool = Field(description="Whether this server lets it be changed.")
    sha256: str | None
    content: str = Field(description="The same as text.")
