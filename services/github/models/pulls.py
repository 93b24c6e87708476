"""What the tools of pull requests and their reviews return."""

from __future__ import annotations

from typing import Literal

from core.models import Facts
from services.github.models.common import GitHubPage
from services.github.models.issues import Comment, Terse, Told


class Side(Facts):
    """One end of a pull request: a branch and its newest commit.

    Attributes:
        repo: owner/name; None when the fork is gone.
    """

    ref: str
    sha: str
    repo: str | None


class PullRequest(Told):
    """One pull request; lists know less of each than pull_request_read.

    Attributes:
        mergeable: None while GitHub still works it out.
        mergeable_state: clean, dirty (conflicts), blocked, behind, unstable, draft or unknown.
        requested_reviewers: Logins, and org/team.
    """

    number: int
    title: str
    state: str
    draft: bool | None = None
    merged: bool | None = None
    html_url: str
    head: Side
    base: Side
    mergeable: bool | None = None
    mergeable_state: str | None = None
    auto_merge: str | None = None
    labels: list[str]
    assignees: list[str]
    requested_reviewers: list[str]
    milestone: str | None = None
    locked: str | None = None
    commits: int | None = None
    changed_files: int | None = None
    additions: int | None = None
    deletions: int | None = None
    comments: int | None = None
    review_comments: int | None = None
    maintainer_can_modify: bool | None = None
    created_at: str
    updated_at: str | None = None
    closed_at: str | None = None
    merged_at: str | None = None
    merged_by: str | None = None
    merge_commit_sha: str | None = None
    body: str | None = None


class ChangedFile(Terse):
    """One file that a pull request changes.

    Attributes:
        folded: Why get_diff leaves it out unless it is asked for.
        problem: Why there is no patch.
        old_line: Line of the old file at which a page of a diff goes on within this file.
        new_line: Line of the new file, likewise.
    """

    filename: str
    status: str
    additions: int
    deletions: int
    previous_filename: str | None = None
    modes: str | None = None
    folded: str | None = None
    problem: Literal["binary", "too large"] | None = None
    old_line: int | None = None
    new_line: int | None = None
    patch: str | None = None


class Commit(Told):
    """One commit of a pull request."""

    sha: str
    html_url: str
    date: str | None = None
    verified: bool | None = None
    message: str


class Review(Told):
    """One review; its comments are among the threads.

    Attributes:
        state: APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED or PENDING.
    """

    id: int
    state: str
    html_url: str
    commit_id: str | None = None
    submitted_at: str | None = None
    body: str | None = None


class Thread(Terse):
    """Review comments on one place of the code, oldest first.

    Attributes:
        id: What pull_request_review_write wants to resolve it; None when read without a token.
        is_resolved: None when read without a token.
        line: In the newest diff; None where the code is gone.
        comments_left_out: Further comments of the thread that GitHub has.
    """

    id: str | None = None
    is_resolved: bool | None = None
    is_outdated: bool | None = None
    path: str
    line: int | None = None
    start_line: int | None = None
    side: str | None = None
    subject_type: str | None = None
    comments_left_out: int = 0
    comments: list[Comment]


class Check(Terse):
    """One check run, or one status of the older API.

    Attributes:
        state: Of a check: its conclusion, or queued, in_progress …; of a status: success, failure,
            error or pending.
    """

    name: str
    state: str
    app: str | None = None
    description: str | None = None
    url: str | None = None
    id: int | None = None
    started_at: str | None = None
    completed_at: str | None = None


class PullRequests(GitHubPage):
    """Some pull requests."""

    model_config = Facts.model_config

    items: list[PullRequest]


class PullRequestRead(GitHubPage):
    """One pull request, or a list that belongs to it, or some of its diff.

    Attributes:
        sha: The newest commit, which checks and statuses belong to.
        state: What all checks or statuses together say.
        diff: As git writes it; files says what is in it and where it goes on.
    """

    model_config = Facts.model_config

    pull_request: PullRequest | None = None
    sha: str | None = None
    state: str | None = None
    files: list[ChangedFile] | None = None
    items: list[Comment | Commit | Review | Thread | Check] | None = None
    diff: str | None = None
