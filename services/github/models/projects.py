"""What the tools about projects return."""

from __future__ import annotations

from typing import Any

from core.models import Facts
from services.github.models.common import (
    GitHubPage,
    GitHubResult,
    TrustLabel,
    Voice,
    WriteResult,
)


class Project(Facts):
    """A project.

    Attributes:
        public: Whether everybody can read it.
        trust: Of what its members wrote: trusted where it is private.
    """

    number: int
    id: int
    node_id: str
    owner: str | None
    title: str
    short_description: str | None
    state: str | None
    public: bool
    trust: TrustLabel
    created_at: str | None
    updated_at: str | None
    closed_at: str | None


class Field(Facts):
    """A field of a project; `options` of a selection and `iterations` by their ids."""

    id: int
    name: str
    data_type: str
    options: dict[str, str] | None = None
    iterations: dict[str, str] | None = None


class Item(Voice, Facts):
    """An issue, pull request or draft in a project, with its author's name.

    Attributes:
        type: Issue, PullRequest or DraftIssue.
        fields: Values by the names of the fields that were asked for.
        body: Of one item only.
    """

    id: int
    node_id: str | None
    type: str | None
    repository: str | None
    number: int | None
    title: str | None
    state: str | None
    html_url: str | None
    fields: dict[str, Any]
    created_at: str | None
    updated_at: str | None
    archived_at: str | None
    body: str | None = None


class StatusUpdate(Facts):
    """What was told of a project's state; dates without time."""

    id: str
    status: str | None
    start_date: str | None
    target_date: str | None
    creator: str | None
    created_at: str
    body: str | None


class View(Facts):
    """A view of a project; `visible_fields` are ids of fields."""

    id: str
    number: int
    name: str
    layout: str
    filter: str | None
    visible_fields: list[int]


class ProjectThings(GitHubPage, Facts):
    """What projects_list lists: the member of that name."""

    projects: list[Project] | None = None
    fields: list[Field] | None = None
    items: list[Item] | None = None
    status_updates: list[StatusUpdate] | None = None
    views: list[View] | None = None


class ProjectThing(GitHubResult, Facts):
    """What projects_get shows: the member of that name."""

    project: Project | None = None
    field: Field | None = None
    item: Item | None = None
    status_update: StatusUpdate | None = None
    view: View | None = None


class ItemChanged(Facts):
    """What became of one item of several; `error` is a code, and None where it was changed."""

    item_id: int
    error: str | None = None
    message: str | None = None


class ProjectChange(WriteResult, Facts):
    """What became of a project or something of it.

    Attributes:
        id: Of the thing that was made or changed, as the tools take it.
        number: Of a new project.
        items: Of update_project_items.
    """

    done: str
    id: int | str | None = None
    node_id: str | None = None
    number: int | None = None
    url: str | None = None
    items: list[ItemChanged] | None = None
