"""What every tool works with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.context import Context
from core.paging import Cursors
from services.filesystem.backend import Backend
from services.filesystem.client_roots import ClientRoots
from services.filesystem.roots import Roots
from services.filesystem.settings import FilesystemSettings


@dataclass(frozen=True, slots=True)
class Desk:
    """Shared by all tools of one server, or narrowed to one call.

    Attributes:
        roots: What the call may use.
        client_roots: Narrows them for calls.
    """

    backend: Backend
    roots: Roots
    settings: FilesystemSettings
    cursors: Cursors
    client_roots: ClientRoots

    async def for_call(self, context: Context) -> Desk:
        """Return the desk of one call; every tool begins with it.

        Raises:
            NothingInCommon: The client's roots leave nothing.
        """
        roots = await self.client_roots.of(context, self.roots)
        return self if roots is self.roots else replace(self, roots=roots)

    def answer_bytes(self, asked: int | None) -> int:
        """Return how long an answer may be: what was asked for, within the settings."""
        return min(asked or self.settings.answer_bytes, self.settings.max_answer_bytes)
