"""What the tools about gists return."""

from __future__ import annotations

from core.models import Facts
from services.github.models.common import GitHubPage, GitHubResult, Voice, WriteResult


class GistFile(Facts):
    """A file of a gist; lists do not show its content.

    Attributes:
        size: Bytes.
        truncated: More follows: `next_cursor`, with the file's name, or what GitHub left out.
    """

    filename: str
    language: str | None
    size: int
    content: str | None = None
    truncated: bool = False
    next_cursor: str | None = None


class Gist(Voice, Facts):
    """A gist.

    Attributes:
        public: Whether it is listed; who has its address can read it in any case.
    """

    id: str
    html_url: str
    description: str | None
    public: bool
    created_at: str
    updated_at: str
    comments: int
    files: list[GistFile]


class Gists(GitHubPage, Facts):
    """Gists, newest first."""

    gists: list[Gist]


class GistDetails(GitHubResult, Facts):
    """One gist with its files."""

    gist: Gist


class GistWritten(WriteResult, Facts):
    """What became of a gist."""

    id: str | None = None
    html_url: str | None = None
    public: bool | None = None
