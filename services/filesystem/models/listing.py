"""What the listing tools return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from core.models import Facts, Page, Result
from services.filesystem.models.searching import Kind


class Listed(Facts):
    """An entry of a directory; its name is a file:// URI where it is no plain text."""

    name: str
    kind: Kind
    size_bytes: int | None
    mtime: str | None


class DirectoryList(Page):
    """A directory's entries."""

    path: str
    entries: list[Listed] = Field(description="name, kind, size_bytes, mtime.")
    content: str


class SizedDirectoryList(DirectoryList):
    """A directory's entries and what they come to; what list_directory lists is not repeated."""

    model_config = Facts.model_config

    total_files: int
    total_directories: int
    total_bytes: int


class Tree(Result):
    """A directory and what is below it."""

    path: str
    tree: list[JsonValue] = Field(
        description="Nodes {name, type}; a directory has children, and more if some are left out."
    )
    shown: int
    truncated: bool
    truncated_by: Literal["bytes", "depth", "time"] | None
    skipped: dict[str, int]


class FileInfo(Result):
    """What is known of a file, directory, link or special file."""

    path: str
    kind: Kind
    size_bytes: int
    mtime: str | None
    created: str | None
    accessed: str | None
    mode: str
    permissions: str
    owner: str
    group: str
    links: int
    mime_type: str | None
    target: str | None = Field(description="Of a link inside a root.")
    writable: bool
    sha256: str | None
    content: str
