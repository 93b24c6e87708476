"""What containers returns."""

from __future__ import annotations

from core.models import Facts, Page


class MountFacts(Facts):
    """What a container sees of elsewhere; where on the machine it lies is not told."""

    target: str
    kind: str
    source: str | None
    writable: bool


class UsageFacts(Facts):
    """What a container uses now; CPU in percent of one core."""

    cpu_percent: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    memory_percent: float | None
    pids: int | None
    rx_bytes: int
    tx_bytes: int
    read_bytes: int
    written_bytes: int


class LogLineFacts(Facts):
    """One line that a container wrote."""

    at: str | None
    stream: str
    text: str


class ContainerFacts(Facts):
    """One container; `environment` has names only.

    Attributes:
        logs: None when they were not asked for, or could not be had (`logs_problem`).
    """

    id: str
    name: str
    image: str
    digest: str
    state: str
    status: str
    health: str | None
    restarts: int | None
    restart_policy: str | None
    exit_code: int | None
    oom_killed: bool
    error: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    command: list[str]
    ports: list[str]
    mounts: list[MountFacts]
    networks: list[str]
    labels: dict[str, str]
    environment: list[str]
    memory_bytes: int | None
    cpus: float | None
    pids: int | None
    privileged: bool
    findings: list[str]
    usage: UsageFacts | None = None
    logs: list[LogLineFacts] | None = None
    logs_truncated: bool = False
    logs_problem: str | None = None


class ContainerPage(Page):
    """Containers, newest first."""

    engine: str
    findings: list[str]
    containers: list[ContainerFacts]
