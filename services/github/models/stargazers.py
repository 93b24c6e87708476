"""What the tools about stars return."""

from __future__ import annotations

from core.models import Facts
from services.github.models.common import WriteResult


class Star(WriteResult, Facts):
    """What became of a star; `starred` as it is afterwards, None after a dry run."""

    repository: str
    starred: bool | None = None
