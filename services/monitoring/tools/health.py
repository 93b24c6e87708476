"""services_health and alerts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, TypeVar

from pydantic import Field

from core.errors import nearest
from core.models import Arguments
from core.paging import Cut, cut, digest_of
from core.protocol.revisions import SUPPORTED
from core.tools import READS, Listing
from services.monitoring.alerts import Alert, Rule, Severity
from services.monitoring.backend.asking import LOOK_AT_LOG
from services.monitoring.backend.probes import DAY_S, Memory, Probe
from services.monitoring.drift import Drift
from services.monitoring.errors import UnknownService
from services.monitoring.models.health import (
    AlertFacts,
    AlertPage,
    CertificateFacts,
    CheckFacts,
    DriftFacts,
    LatencyFacts,
    RuleFacts,
    ServiceHealth,
    ServicesHealth,
    ServiceStatus,
)
from services.monitoring.times import told_at, told_at_or_none
from services.monitoring.tools.desk import Desk

HOUR_S = 3_600.0
SLOW_MS = 1_000.0
EXPIRES_SOON_DAYS = 14.0
MAX_NEAREST = 3


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools about services and alerts."""
    tools = HealthTools(desk)
    return [
        Listing(
            name="services_health",
            title="How the services are doing",
            description="Probe every service of this suite now: health, MCP handshakes, tools and "
            "how they changed, certificate, restarts; says what is wrong and what to do.",
            handler=tools.services_health,
            arguments=ServicesHealthOf,
            result=ServicesHealth,
        ),
        Listing(
            name="alerts",
            title="Alerts",
            description="Alerts that fire or are pending, those that are over, or the rules. "
            "monitor://alerts can be subscribed to.",
            handler=tools.alerts,
            arguments=AlertsOf,
            result=AlertPage,
            annotations=READS,
        ),
    ]


FactsT = TypeVar("FactsT", AlertFacts, RuleFacts)


class ServicesHealthOf(Arguments):
    """Arguments of services_health."""

    service: str | None = Field(None, max_length=100, description="Only this one.")
    deep: bool = Field(False, description="Also tools/list, /rpc and /sse.")


class AlertsOf(Arguments):
    """Arguments of alerts."""

    view: Literal["active", "history", "rules"] = "active"
    q: str | None = Field(None, max_length=200, description="Part of rule or metric.")
    severity: Severity | None = None
    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = None


class HealthTools:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def services_health(self, arguments: ServicesHealthOf) -> ServicesHealth:
        """Return how the services are doing now; never later than the probes' time limit."""
        siblings = self._desk.backend.siblings
        names = self._names(arguments.service)
        began, at = time.perf_counter(), self._desk.clock()
        probes = await siblings.fresh(names, deep=arguments.deep)
        told = [self.told(probe) for probe in probes.values()]
        return ServicesHealth(
            checked_at=told_at(at),
            elapsed_ms=round((time.perf_counter() - began) * 1000, 1),
            up=sum(service.status == "up" for service in told),
            degraded=sum(service.status == "degraded" for service in told),
            down=sum(service.status == "down" for service in told),
            services=told,
        )

    def latest(self) -> list[ServiceHealth]:
        """Return the same as the last probes saw it, without asking anybody."""
        return [self.told(probe) for probe in self._desk.backend.siblings.latest.values()]

    def told(self, probe: Probe) -> ServiceHealth:
        """Return one probe and what is remembered of its service."""
        siblings, name = self._desk.backend.siblings, probe.target.name
        return service_health(probe, siblings.memories[name], siblings.digest_of(name))

    def _names(self, service: str | None) -> list[str]:
        known = list(self._desk.backend.siblings.targets)
        if service is None:
            return known
        if service not in known:
            raise UnknownService(
                f"There is no service {service!r} in this suite.",
                nearest=nearest(service, known, at_most=MAX_NEAREST),
                services=known,
            )
        return [service]

    async def alerts(self, arguments: AlertsOf) -> AlertPage:
        """Return alerts or rules, a page of them."""
        alerts = self._desk.backend.alerts
        if arguments.view == "rules":
            rules = [rule for rule in alerts.rules.values() if _fits_rule(rule, arguments)]
            shown, page = self._cut([self._rule(rule) for rule in rules], arguments)
            return self._page(page, rules=shown)
        rows = alerts.history if arguments.view == "history" else self._active()
        newest_first = reversed(rows) if arguments.view == "history" else rows
        facts = [self.alert(a) for a in newest_first if _fits(a, arguments)]
        shown_alerts, page = self._cut(facts, arguments)
        return self._page(page, alerts=shown_alerts)

    def alert(self, alert: Alert) -> AlertFacts:
        """Return one alert as it is told."""
        rule = self._desk.backend.alerts.rules.get(alert.rule)
        return AlertFacts(
            rule=alert.rule,
            state=alert.state,
            severity=alert.severity,
            subject=alert.subject,
            sentence=self._desk.backend.alerts.sentence(alert),
            metric=alert.metric,
            value=alert.value,
            worst=alert.worst,
            limit=rule.limit if rule else None,
            since=told_at(alert.since),
            fired_at=told_at_or_none(alert.fired_at),
            resolved_at=told_at_or_none(alert.resolved_at),
            ended_by=alert.ended_by or None,
            advice=(rule.advice or None) if rule else None,
        )

    def _active(self) -> list[Alert]:
        alerts = self._desk.backend.alerts
        pending = (alert for alert in alerts.active.values() if alert.state == "pending")
        return [*alerts.firing, *sorted(pending, key=lambda alert: alert.since)]

    def _rule(self, rule: Rule) -> RuleFacts:
        metrics = self._desk.backend.sampler.metrics()
        return RuleFacts(
            name=rule.name,
            condition=rule.condition,
            clear_at=rule.cleared_at,
            severity=rule.severity,
            summary=rule.summary,
            advice=rule.advice,
            enabled=rule.enabled,
            metrics=sum(rule.subject_in(metric) is not None for metric in metrics),
        )

    def _cut(self, rows: Sequence[FactsT], arguments: AlertsOf) -> tuple[list[FactsT], Cut]:
        desk = self._desk
        digest = digest_of("alerts", arguments.view, arguments.q, arguments.severity)
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        return cut(
            rows[offset:],
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(rows),
            cursors=desk.cursors,
            digest=digest,
        )

    def _page(
        self,
        page: Cut,
        *,
        alerts: Sequence[AlertFacts] = (),
        rules: Sequence[RuleFacts] = (),
    ) -> AlertPage:
        active = self._desk.backend.alerts.active.values()
        return AlertPage(
            **page.members(),
            firing=sum(alert.state == "firing" for alert in active),
            pending=sum(alert.state == "pending" for alert in active),
            alerts=list(alerts),
            rules=list(rules),
        )


def _fits(alert: Alert, arguments: AlertsOf) -> bool:
    q = (arguments.q or "").lower()
    is_meant = q in alert.rule or q in alert.metric.lower()
    return is_meant and arguments.severity in (None, alert.severity)


def _fits_rule(rule: Rule, arguments: AlertsOf) -> bool:
    q = (arguments.q or "").lower()
    is_meant = q in rule.name or q in rule.metric.lower()
    return is_meant and arguments.severity in (None, rule.severity)


# --- what a probe comes to ------------------------------------------------------------------------


def service_health(probe: Probe, memory: Memory, digest: str | None) -> ServiceHealth:
    """Return one service as it is told."""
    known = memory.known
    status, code, problem, advice = verdict(probe, memory)
    by_age = [revision for revision in SUPPORTED if revision in probe.revisions]
    failed = sum(ms is None for _, ms in memory.latencies)
    return ServiceHealth(
        name=probe.target.name,
        url=probe.target.url,
        status=status,
        problem=problem,
        advice=advice,
        code=code,
        version=probe.version,
        revision=by_age[0] if by_age else None,
        revisions=by_age,
        uptime_s=probe.uptime_s,
        started_at=told_at_or_none(known.started_at if probe.is_up else None),
        restarts_1h=memory.restarts_since(probe.at - HOUR_S),
        restarts_24h=memory.restarts_since(probe.at - DAY_S),
        seen_at=told_at_or_none(known.seen_at),
        tools=None if known.tools is None else len(known.tools),
        digest=digest,
        drift=[_drift(drift) for drift in memory.drifts_since(probe.at - DAY_S)],
        certificate=_certificate(probe),
        latency=LatencyFacts(
            probes=len(memory.latencies),
            failed=failed,
            p50_ms=_rounded(memory.percentile(0.5)),
            p95_ms=_rounded(memory.percentile(0.95)),
        ),
        components=probe.troubled_components,
        checks=[
            CheckFacts(check=o.check, ok=o.ok, ms=_rounded(o.ms), detail=o.detail)
            for o in probe.outcomes
        ],
    )


Verdict = tuple[ServiceStatus, str | None, str | None, str | None]


def verdict(probe: Probe, memory: Memory) -> Verdict:
    """Return status, code, problem and advice: the worst that there is to say of a service."""
    name, trouble = probe.target.name, probe.trouble
    if not probe.is_up:
        assert trouble is not None, "a probe that found no service says why"
        never = "" if memory.known.seen_at is not None else " It has never answered so far."
        return "down", trouble.code, trouble.problem + never, trouble.advice
    if trouble is not None:
        return "degraded", trouble.code, trouble.problem, trouble.advice
    if probe.health.get("status") not in ("healthy", "starting"):
        parts = probe.troubled_components
        what = "; ".join(f"{part}: {detail}" for part, detail in parts.items()) or "it says no more"
        advice = f"Look at what it depends on. {LOOK_AT_LOG}".replace("{name}", name)
        return "degraded", "DEGRADED", f"It says that it is not well: {what}.", advice
    days = probe.certificate.days_left(probe.at) if probe.certificate else None
    if days is not None and days < EXPIRES_SOON_DAYS:
        problem = f"Its certificate expires in {days:.1f} days."
        return "degraded", "CERTIFICATE_EXPIRES", problem, "Renew it and restart the service."
    slowest = max((o for o in probe.outcomes), key=lambda o: o.ms or 0.0)
    if (slowest.ms or 0) > SLOW_MS:
        problem = f"It is slow: {slowest.check} took {(slowest.ms or 0) / 1000:.1f} s."
        advice = "system_overview tells whether the machine is busy; its log what it does."
        return "degraded", "SLOW", problem, advice
    return "up", None, None, None


def _drift(drift: Drift) -> DriftFacts:
    facts = {**drift.to_dict(), "at": told_at(drift.at), "announced": not drift.is_unannounced}
    return DriftFacts.model_validate(facts)


def _certificate(probe: Probe) -> CertificateFacts | None:
    certificate = probe.certificate
    if certificate is None:
        return None
    return CertificateFacts(
        trusted=certificate.is_trusted,
        expires_at=told_at_or_none(certificate.expires_at),
        days_left=_rounded(certificate.days_left(probe.at)),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
