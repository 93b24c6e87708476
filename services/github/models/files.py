"""What the tools about files return."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from core.models import Facts
from services.github.models.common import (
    GitHubPage,
    GitHubResult,
    Selectable,
    TrustLabel,
    WriteResult,
)

Kind = Literal["file", "dir", "symlink", "submodule"]


class Entry(Selectable, Facts):
    """One entry of a directory, as GitHub lists it."""

    type: Kind
    name: str
    path: str
    size: int
    sha: str
    url: str | None
    git_url: str | None
    html_url: str | None
    download_url: str | None


class OneFile(Facts):
    """One file of several, or why there is none.

    Attributes:
        error: As a tool's error: code, message, hint.
    """

    path: str
    sha: str | None = None
    size: int | None = None
    total_lines: int | None = None
    truncated: bool = False
    hidden_removed: int = 0
    content: str | None = None
    error: dict[str, Any] | None = None


class FileContents(GitHubResult, Facts):
    """A file, a directory, or several files; members that say nothing are left out.

    Attributes:
        sha: Of the blob: what create_or_update_file wants.
        encoding: utf-8, or binary; None where there is no content.
        content: The lines that were asked for; a binary file comes as a block of its own.
        target: Where a symbolic link points to; GitHub follows those to files of the repository,
            so `content` is the target's then.
        submodule_url: The repository that stands in this place.
        lfs: Id and size of the file that the content stands for (Git LFS).
        entries: Of a directory.
        files: Of several paths.
        not_read: Paths that did not fit into the answer; ask for them again.
    """

    path: str | None = None
    type: Kind | None = None
    ref: str | None
    sha: str | None = None
    size: int | None = None
    html_url: str | None = None
    trust: TrustLabel
    encoding: Literal["utf-8", "binary"] | None = None
    start_line: int | None = None
    end_line: int | None = None
    total_lines: int | None = None
    truncated: bool = False
    next_cursor: str | None = None
    hidden_removed: int = 0
    target: str | None = None
    submodule_url: str | None = None
    lfs: dict[str, Any] | None = None
    content: str | None = None
    entries: list[Entry] | None = None
    files: list[OneFile] | None = None
    not_read: list[str] | None = None

    @model_serializer(mode="wrap")
    # With a type, pydantic would list that type instead of the members.
    def _said(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        return {name: value for name, value in handler(self).items() if value is not None}


class TreeEntry(Selectable, Facts):
    """One entry of a tree; `size` of files, in bytes."""

    path: str
    type: Literal["blob", "tree", "commit"]
    mode: str
    sha: str
    size: int | None


class Tree(GitHubPage, Facts):
    """A tree, in the order of git.

    Attributes:
        incomplete: GitHub cut the tree (over 100,000 entries or 7 MB): ask for folders singly.
    """

    sha: str
    incomplete: bool
    tree: list[TreeEntry]


class CodeHit(Selectable, Facts):
    """One file in which a search found something.

    Attributes:
        text_matches: Fragments around what was found.
    """

    name: str
    path: str
    sha: str
    repository: str
    html_url: str
    text_matches: list[str]


class CodeHits(GitHubPage, Facts):
    """What a search of code found."""

    items: list[CodeHit]
    incomplete: bool = False


class BlameRange(Facts):
    """Lines that one commit changed last."""

    start_line: int
    end_line: int
    commit: str


class BlameCommit(Facts):
    """A commit that ranges name."""

    message: str
    author: str | None
    login: str | None
    date: str | None
    html_url: str


class Blame(GitHubPage, Facts):
    """Who changed the lines of a file last.

    Attributes:
        commits: By the SHA that ranges name.
        total_ranges: Of the lines that were asked for.
    """

    path: str
    sha: str
    ranges: list[BlameRange]
    commits: dict[str, BlameCommit]
    total_ranges: int


class FileWritten(WriteResult, Facts):
    """What became of a change of files.

    Attributes:
        commit: SHA of the new commit; None when nothing was to be changed, or after a dry run.
        parent: The commit that it was made upon.
        unchanged: The files are so already; no commit was made.
        content_sha: Of the file that was written, where it was one.
        created_branch: The branch did not exist and begins with this commit.
    """

    branch: str
    commit: str | None = None
    parent: str | None = None
    html_url: str | None = None
    unchanged: bool = False
    content_sha: str | None = None
    created_branch: bool = False
