"""What the reading tools return."""

from __future__ import annotations

from pydantic import Field

from core.models import Part, Result


class Directory(Part):
    """One root."""

    alias: str = Field(description="What paths begin with.")
    path: str
    mode: str = Field(description="list, read, write or delete; each includes those before it.")
    state: str = Field(description="available, or unavailable.")
    problem: str | None
    free_bytes: int | None
    total_bytes: int | None


class Directories(Result):
    """The roots of a server."""

    directories: list[Directory]
    content: str = Field(description="The same as text.")
