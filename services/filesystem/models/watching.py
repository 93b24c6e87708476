"""What watch_directory returns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Result


class Change(Facts):
    """What has become of one entry from the beginning of the call to its end.

    Attributes:
        kind: created, modified, deleted, or moved (from `origin`).
        at: When it was noticed last, UTC.
    """

    path: str
    kind: str
    is_directory: bool
    origin: str | None
    at: str


class Changes(Result):
    """The changes below a directory, in the order in which they were noticed first."""

    path: str
    changes: list[Change] = Field(description="path, kind (moved: from origin), is_directory, at.")
    returned: int
    truncated: bool
    ended_by: Literal["quiet", "timeout", "limit", "gone"]
    waited_ms: int
    watched_directories: int
    complete: bool = Field(description="false: see warnings.")
    warnings: list[str]
