"""What watch_directory returns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Part, Result


class Change(Part):
    """What has become of one entry from the beginning of the call to its end."""

    path: str
    kind: str = Field(description="created, modified, deleted, or moved (from `origin`).")
    is_directory: bool
    origin: str | None
    at: str = Field(description="When it was noticed last, UTC.")


class Changes(Result):
    """The changes below a directory, in the order in which they were noticed first."""

    path: str
    changes: list[Change]
    returned: int
    truncated: bool = Field(description="There were more than `limit`; list what is there.")
    ended_by: Literal["quiet", "timeout", "limit", "gone"]
    waited_ms: int
    watched_directories: int
    complete: bool = Field(description="false: `warnings` says what may have been missed.")
    warnings: list[str]
