"""What the tools about branches, tags and commits return."""

from __future__ import annotations

from typing import Any

from core.models import Facts
from services.github.models.common import GitHubPage, GitHubResult, Selectable, WriteResult


class Branch(Selectable, Facts):
    """One branch; `sha` is its head."""

    name: str
    sha: str
    protected: bool


class Branches(GitHubPage, Facts):
    """Branches, by name."""

    branches: list[Branch]


class Tag(Selectable, Facts):
    """One tag; `sha` is the commit that it names."""

    name: str
    sha: str


class Tags(GitHubPage, Facts):
    """Tags, newest name first, as GitHub sorts them."""

    tags: list[Tag]


class TagDetails(GitHubResult, Facts):
    """One tag.

    Attributes:
        sha: Of the tag object; of the commit, for a tag without one.
        target: What it names, and of which type: commit, tree, blob.
        message: Of a tag with an object.
        verified: Whether its signature holds; None where there is no object to sign.
    """

    tag: str
    sha: str
    annotated: bool
    target: str
    target_type: str
    message: str | None = None
    tagger: dict[str, Any] | None = None
    verified: bool | None = None
    hidden_removed: int = 0


class Commit(Selectable, Facts):
    """One commit, in GitHub's shape.

    Attributes:
        commit: message, author and committer (name, email, date), verified.
        author: login of the account that GitHub takes for the author.
    """

    sha: str
    html_url: str
    commit: dict[str, Any]
    author: str | None
    committer: str | None
    parents: list[str]
    repository: str | None = None


class Commits(GitHubPage, Facts):
    """Commits, newest first."""

    commits: list[Commit]
    incomplete: bool = False


class ChangedFile(Facts):
    """One file of a commit or comparison.

    Attributes:
        status: added, removed, modified, renamed, copied, changed or unchanged.
        patch: The hunks, where they were asked for and GitHub tells them.
    """

    filename: str
    previous_filename: str | None
    status: str
    additions: int
    deletions: int
    changes: int
    patch: str | None = None


class CommitDetails(GitHubPage, Facts):
    """One commit with its files.

    Attributes:
        stats: additions, deletions and total of all files.
    """

    sha: str
    html_url: str
    commit: dict[str, Any]
    author: str | None
    committer: str | None
    parents: list[str]
    stats: dict[str, int] | None
    files: list[ChangedFile]


class Comparison(GitHubPage, Facts):
    """What one commit has that another lacks.

    Attributes:
        status: identical, ahead, behind or diverged, of the head as seen from the base.
        merge_base: The commit from which both come.
        commits: Oldest first; the page is theirs.
        files: At most 300, with the first page only.
    """

    status: str
    ahead_by: int
    behind_by: int
    merge_base: str
    html_url: str
    commits: list[Commit]
    files: list[ChangedFile]


class Check(Facts):
    """One status or check run.

    Attributes:
        state: success, failure, error, pending …; of a check run its conclusion, or its status
            while it runs.
    """

    name: str
    state: str
    description: str | None
    url: str | None
    kind: str


class CommitStatus(GitHubResult, Facts):
    """How a commit fares.

    Attributes:
        state: failure, pending or success, of statuses and check runs together; None without any.
        counts: How many there are of each state.
    """

    sha: str
    state: str | None
    counts: dict[str, int]
    checks: list[Check]
    truncated: bool


class RefWritten(WriteResult, Facts):
    """What became of a branch or tag.

    Attributes:
        ref: In full, `refs/heads/…` or `refs/tags/…`.
        sha: What it names now; what it named, where it was deleted.
    """

    ref: str
    sha: str | None = None
    html_url: str | None = None
