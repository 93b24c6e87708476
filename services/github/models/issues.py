"""What the tools of issues, comments, labels and milestones return."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from core.models import Facts
from services.github.models.common import (
    GitHubPage,
    GitHubResult,
    Selectable,
    TrustLabel,
    Voice,
    WriteResult,
)


class Terse(Selectable, Facts):
    """Base of parts that leave out what says nothing, unless it was asked for by `fields`."""

    @model_serializer(mode="wrap")
    def _chosen(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # as in Selectable
        members = handler(self)
        if self._kept is not None:
            return {name: value for name, value in members.items() if name in self._kept}
        return {name: value for name, value in members.items() if not _says_nothing(name, value)}


def _says_nothing(name: str, value: Any) -> bool:
    return value is None or (name in ("withheld", "hidden_removed") and not value)


class Told(Voice, Terse):
    """Base of what people wrote."""


class Issue(Told):
    """One issue; also a pull request, where a search found one.

    Attributes:
        id: What sub_issue_write wants.
        repository: owner/name, where the list is of several repositories.
        reactions: How often each was given; none that was not.
        sub_issues: How many it has, and how many of them are completed.
        parent: The issue it belongs to, as owner/name#number.
        blocked_by: Open issues that it waits for.
        closed_by_pull_requests: Pull requests that will close it, or did, as owner/name#number.
        field_values: Custom fields of the organisation by their names.
    """

    number: int
    id: int
    repository: str | None = None
    title: str
    state: str
    state_reason: str | None = None
    html_url: str
    draft: bool | None = None
    type: str | None = None
    labels: list[str]
    assignees: list[str]
    milestone: str | None = None
    comments: int | None = None
    reactions: dict[str, int] | None = None
    locked: str | None = None
    created_at: str
    updated_at: str | None = None
    closed_at: str | None = None
    closed_by: str | None = None
    sub_issues: dict[str, int] | None = None
    parent: str | None = None
    blocked_by: int | None = None
    closed_by_pull_requests: list[str] | None = None
    field_values: dict[str, Any] | None = None
    body: str | None = None


class Comment(Told):
    """One comment below an issue or a pull request."""

    id: int
    html_url: str
    created_at: str
    updated_at: str | None = None
    reactions: dict[str, int] | None = None
    body: str | None = None


class Event(Terse):
    """One thing that happened to an issue or a pull request.

    Attributes:
        event: GitHub's word: labeled, cross-referenced, closed, commented, committed ….
        subject: What it was about: a label, login, milestone, owner/name#number or commit.
        detail: What else is known, such as why it was closed or what the title was.
        trust: Of the author, where there is text of theirs.
    """

    event: str
    created_at: str | None = None
    author: str | None = None
    author_association: str | None = None
    trust: TrustLabel | None = None
    withheld: bool = False
    hidden_removed: int = 0
    subject: str | None = None
    detail: str | None = None
    html_url: str | None = None
    body: str | None = None


class Label(Facts):
    """A label of a repository."""

    name: str
    color: str
    description: str | None
    default: bool | None = None


class Milestone(Terse):
    """A milestone of a repository; `due_on` is its date."""

    number: int
    title: str
    state: str
    html_url: str
    open_issues: int
    closed_issues: int
    creator: str | None = None
    due_on: str | None = None
    closed_at: str | None = None
    description: str | None = None


class IssueType(Facts):
    """A type that issues of an organisation may have."""

    id: int
    name: str
    description: str | None
    color: str | None = None
    is_enabled: bool | None = None


# --- results -------------------------------------------------------------------------------------


class Issues(GitHubPage):
    """Some issues, or pull requests that a search found."""

    model_config = Facts.model_config

    incomplete_results: bool = False
    items: list[Issue]


class IssueRead(GitHubPage):
    """One issue, or a list that belongs to it."""

    model_config = Facts.model_config

    issue: Issue | None = None
    items: list[Comment | Event | Issue | Label] = Field(default_factory=list)


class Labels(GitHubPage):
    """Labels of a repository."""

    model_config = Facts.model_config

    labels: list[Label]


class OneLabel(GitHubResult):
    """One label of a repository."""

    model_config = Facts.model_config

    label: Label


class Milestones(GitHubPage):
    """Milestones of a repository."""

    model_config = Facts.model_config

    milestones: list[Milestone]


class IssueTypes(GitHubResult):
    """The types that issues may have."""

    model_config = Facts.model_config

    types: list[IssueType]


class Change(WriteResult):
    """What a writing tool did; after a dry run only `what` and `dry_run` are there.

    Attributes:
        number: Of the issue, pull request or milestone.
        id: Of the issue, comment, review or reaction.
        state: After the change.
    """

    model_config = Facts.model_config

    what: str
    number: int | None = None
    id: int | None = None
    node_id: str | None = None
    name: str | None = None
    state: str | None = None
    sha: str | None = None
    html_url: str | None = None
