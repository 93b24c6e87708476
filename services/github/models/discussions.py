"""What the tools about discussions return."""

from __future__ import annotations

from core.models import Facts
from services.github.models.common import GitHubPage, GitHubResult, Voice, WriteResult


class Category(Facts):
    """A category of discussions; `id` is what list_discussions takes."""

    id: str
    name: str
    slug: str
    description: str | None
    is_answerable: bool


class Categories(GitHubPage, Facts):
    """Categories of a repository's discussions."""

    categories: list[Category]


class Discussion(Voice, Facts):
    """A discussion; `body` is left out of lists.

    Attributes:
        answer_id: Node id of the comment that is the answer.
    """

    number: int
    id: str
    title: str
    url: str
    category: str | None
    closed: bool
    locked: bool
    is_answered: bool | None
    answer_id: str | None
    upvotes: int
    comments: int
    created_at: str
    updated_at: str
    body: str | None = None


class Discussions(GitHubPage, Facts):
    """Discussions of a repository."""

    discussions: list[Discussion]


class DiscussionDetails(GitHubResult, Facts):
    """One discussion with its text; `next_cursor` goes on in one that does not fit."""

    discussion: Discussion
    next_cursor: str | None = None


class Reply(Voice, Facts):
    """A reply to a comment; `id` is its node id."""

    id: str
    url: str
    created_at: str
    is_answer: bool
    minimized: str | None
    body: str | None


class DiscussionComment(Reply, Facts):
    """A comment of a discussion.

    Attributes:
        replies_total: How many there are; `replies` are the oldest that fit.
    """

    upvotes: int
    replies_total: int
    replies: list[Reply]


class DiscussionComments(GitHubPage, Facts):
    """Comments of a discussion, oldest first."""

    comments: list[DiscussionComment]


class DiscussionChange(WriteResult, Facts):
    """What became of a comment, or of the discussion whose answer it is; ids are node ids."""

    id: str | None = None
    url: str | None = None
