"""What every tool works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from core.paging import Cursors
from services.monitoring.backend import Backend
from services.monitoring.settings import MonitoringSettings


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
