"""What system_overview and metrics_history return."""

from __future__ import annotations

from core.models import Result


class Overview(Result):
    """How the machine is doing."""

    load: list[float]
    memory_total_bytes: int
    memory_used_bytes: int
