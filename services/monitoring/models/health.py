"""What services_health and alerts return."""

from __future__ import annotations

from typing import Literal

from core.models import Facts, Page, Result

ServiceStatus = Literal["up", "degraded", "down"]


class CheckFacts(Facts):
    """One door that was tried; milliseconds from before the connection to the last byte."""

    check: str
    ok: bool
    ms: float | None
    detail: str


class DriftFacts(Facts):
    """What became different in a service's list of tools; `announced` by another version."""

    at: str
    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]
    version_before: str | None
    version_after: str | None
    announced: bool


class CertificateFacts(Facts):
    """The certificate of a service that speaks TLS."""

    trusted: bool
    expires_at: str | None
    days_left: float | None


class LatencyFacts(Facts):
    """The MCP handshake over the last probes, about an hour of them."""

    probes: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None


class ServiceHealth(Facts):
    """One service.

    Attributes:
        problem: What is wrong, in a sentence; None when nothing is.
        revision: The newest of the protocol that it speaks.
        digest: Of its list of tools, as they were seen last.
        drift: What changed of them within the last day, latest last.
        components: Those that are not well, with what it says about them.
    """

    name: str
    url: str
    status: ServiceStatus
    problem: str | None
    advice: str | None
    code: str | None
    version: str | None
    revision: str | None
    revisions: list[str]
    uptime_s: float | None
    started_at: str | None
    restarts_1h: int
    restarts_24h: int
    seen_at: str | None
    tools: int | None
    digest: str | None
    drift: list[DriftFacts]
    certificate: CertificateFacts | None
    latency: LatencyFacts
    components: dict[str, str]
    checks: list[CheckFacts]


class ServicesHealth(Result):
    """How the services of the suite are doing."""

    checked_at: str
    elapsed_ms: float
    up: int
    degraded: int
    down: int
    services: list[ServiceHealth]


class AlertFacts(Facts):
    """One alert: what, since when, how bad, and what to do."""

    rule: str
    state: Literal["pending", "firing", "resolved"]
    severity: str
    subject: str
    sentence: str
    metric: str
    value: float
    worst: float
    limit: float | None
    since: str
    fired_at: str | None
    resolved_at: str | None
    ended_by: str | None
    advice: str | None


class RuleFacts(Facts):
    """One rule."""

    name: str
    condition: str
    clear_at: float
    severity: str
    summary: str
    advice: str
    enabled: bool
    metrics: int


class AlertPage(Page):
    """Alerts or rules."""

    firing: int
    pending: int
    alerts: list[AlertFacts]
    rules: list[RuleFacts]
