"""What the tools about releases return."""

from __future__ import annotations

from core.models import Facts
from services.github.models.common import GitHubPage, GitHubResult, Selectable, Voice, WriteResult


class Asset(Facts):
    """A file of a release; `size` in bytes."""

    id: int
    name: str
    content_type: str | None
    size: int
    digest: str | None
    download_count: int
    browser_download_url: str


class Release(Voice, Selectable, Facts):
    """One release; `body` is cut in lists."""

    id: int
    tag_name: str
    target_commitish: str | None
    name: str | None
    html_url: str
    draft: bool
    prerelease: bool
    created_at: str | None
    published_at: str | None
    assets: list[Asset]
    body: str | None


class Releases(GitHubPage, Facts):
    """Releases, newest first."""

    releases: list[Release]


class AssetText(Facts):
    """A file of a release; `content` is None where it is no text.

    Attributes:
        truncated: More follows: go on with `next_cursor`.
    """

    name: str
    size: int
    content: str | None = None
    total_lines: int | None = None
    truncated: bool = False
    next_cursor: str | None = None
    hidden_removed: int = 0


class ReleaseDetails(GitHubResult, Facts):
    """One release, and the file of it that was asked for.

    Attributes:
        next_cursor: With it get_release_by_tag goes on in the release's text.
    """

    release: Release
    asset: AssetText | None = None
    next_cursor: str | None = None


class ReleaseWritten(WriteResult, Facts):
    """What became of a release or asset; `release` as it is now, None where it was deleted."""

    id: int | None = None
    tag_name: str | None = None
    html_url: str | None = None
    name: str | None = None
    body: str | None = None
