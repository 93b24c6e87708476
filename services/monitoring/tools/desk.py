"""What every tool works with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from core.context import Context
from core.paging import Cursors, Cut, cut, digest_of
from core.progress import reporting
from services.monitoring.backend import Backend
from services.monitoring.settings import MonitoringSettings

ItemT = TypeVar("ItemT")
RowT = TypeVar("RowT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Desk:
    """Shared by all tools of one server.

    Attributes:
        clock: Seconds since 1970.
    """

    backend: Backend
    settings: MonitoringSettings
    cursors: Cursors
    clock: Callable[[], float] = time.time

    def page(
        self,
        items: Sequence[ItemT],
        make: Callable[[ItemT], RowT],
        *,
        limit: int,
        cursor: str | None,
        call: Sequence[Any],
    ) -> tuple[list[RowT], Cut]:
        """Return the rows of one page and what to say about the rest.

        Args:
            items: What the rows are made of, all of them, in an order that holds between calls.
            make: Makes a row; called for those of this page only.
            call: The tool and those arguments that decide what the items are.

        Raises:
            CursorRefused: The cursor is not of this call.
        """
        digest = digest_of(*call)
        offset = self.cursors.offset_of(cursor, digest)
        return cut(
            [make(item) for item in items[offset : offset + limit]],
            limit=limit,
            max_bytes=self.settings.answer_bytes,
            offset=offset,
            total=len(items),
            cursors=self.cursors,
            digest=digest,
        )

    async def read_logs(
        self, context: Context, job: str, payload: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what a job on logs returns; clients that asked for it are told that it goes on.

        Raises:
            BadPattern, LogsUnavailable, Busy: As `Logs.run`.
        """
        async with reporting(context, "Reading logs", self.settings.log_time_limit_s):
            return await self.backend.logs.run(job, payload)
