"""What processes returns."""

from __future__ import annotations

from pydantic import Field

from core.models import Facts, Page


class ProcessRow(Facts):
    """A process; CPU in percent of one core, null when it cannot be told yet."""

    pid: int
    parent: int
    depth: int | None
    name: str
    command: str
    user: str | None
    state: str
    cpu_percent: float | None
    rss_bytes: int
    threads: int
    started: str | None
    container: str | None


class ProcessDetails(Facts):
    """What is known of one process besides; null is what this service's user may not see."""

    argv: list[str]
    cpu_s: float
    fds: int | None
    fd_limit: int | None
    limits: dict[str, list[str]]
    listens: list[str] | None
    cgroup: str | None
    executable: str | None
    working_directory: str | None
    swap_bytes: int | None
    peak_rss_bytes: int | None
    ancestors: list[str]
    children: list[int]
    pid_in_namespaces: list[int]


class ProcessList(Page):
    """Processes, or one with its details."""

    processes: list[ProcessRow] = Field(
        description="pid, parent, depth (tree), name, command (secrets redacted), user, state, "
        "cpu_percent (of a core), rss_bytes, threads, started, container."
    )
    details: ProcessDetails | None
    running: int
    kernel_threads: int
    cpu_over_s: float | None
    notes: list[str]
    summary: str
