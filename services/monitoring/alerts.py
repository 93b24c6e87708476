"""Alerts: rules over readings, and what state each is in. Pure: readings in, alerts out.

```
            over the limit              … for `for_s`
   nothing ───────────────▶ pending ─────────────────▶ firing
      ▲                        │                          │
      └──── within the limit ──┘     past `clear`, or no  │
      └──────────────── resolved ◀── reading any more ────┘
```

Times are those of the readings, so that a pause of the machine, or of this service, makes nothing
fire that was not seen. Between the limit and `clear` a firing alert goes on (hysteresis), and a
pending one ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

Severity = Literal["info", "warning", "critical"]
State = Literal["pending", "firing", "resolved"]

STALE_S = 60.0
GONE_S = 900.0
"""A firing alert without a reading for so long is over: what it was about is not there any more."""
CLEAR_SHARE = 0.05
"""How far a value has to go back when a rule does not say it: this share of the limit."""


class Rule(BaseModel):
    """When to raise an alert: a metric, a limit, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    metric: str = Field(min_length=1, max_length=200)
    above: float | None = Field(None, allow_inf_nan=False)
    below: float | None = Field(None, allow_inf_nan=False)
    clear: float | None = Field(None, allow_inf_nan=False)
    for_s: float = Field(60.0, ge=0, le=86_400)
    severity: Severity = "warning"
    summary: str = Field("", max_length=200)
    advice: str = Field("", max_length=400)
    enabled: bool = True

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"rule {self.name}: give one limit, above or below")
        if self.metric.count("*") > 1:
            raise ValueError(f"rule {self.name}: metric may have one *, for what differs")
        if self.clear is not None and self.is_over(self.clear):
            raise ValueError(f"rule {self.name}: clear has to lie on the good side of the limit")
        return self

    @property
    def limit(self) -> float:
        """The value beyond which it is wrong."""
        limit = self.above if self.above is not None else self.below
        assert limit is not None, "the validator has seen to it"
        return limit

    @property
    def cleared_at(self) -> float:
        """The value at which it is well again."""
        if self.clear is not None:
            return self.clear
        margin = abs(self.limit) * CLEAR_SHARE
        return self.limit - margin if self.above is not None else self.limit + margin

    def is_over(self, value: float) -> bool:
        """Whether a value is beyond the limit."""
        return value > self.limit if self.above is not None else value < self.limit

    def is_clear(self, value: float) -> bool:
        """Whether a value has gone back far enough."""
        at = self.cleared_at
        return value <= at if self.above is not None else value >= at

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        before, star, after = self.metric.partition("*")
        return re.compile(re.escape(before) + ("(.+)" if star else "()") + re.escape(after))

    def subject_in(self, metric: str) -> str | None:
        """Return what the star stands for in a metric; None when the rule is not about it."""
        found = self._pattern.fullmatch(metric)
        return None if found is None else found[1]

    @property
    def condition(self) -> str:
        """The rule in words."""
        side = "above" if self.above is not None else "below"
        return f"{self.metric} {side} {self.limit:g} for {self.for_s:g} s"


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of a metric.

    Attributes:
        at: Seconds since the epoch.
    """

    metric: str
    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that a metric has broken.

    Attributes:
        since: When the value first was over the limit.
        fired_at: When that had lasted long enough; None while pending.
        resolved_at: When it was over; None before.
        value: The newest.
        worst: The worst while it lasted.
        seen_at: When the newest value was read.
        ended_by: Why it was resolved.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    rule: str
    metric: str
    subject: str
    severity: Severity
    state: State
    since: float
    value: float
    worst: float
    seen_at: float
    fired_at: float | None = None
    resolved_at: float | None = None
    ended_by: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What it is about: at most one alert of each is active."""
        return self.rule, self.metric

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {name: getattr(self, name) for name in _MEMBERS}

    @classmethod
    def of(cls, data: Any) -> Alert:
        """Return what `to_dict` made.

        Raises:
            ValueError: It is something else.
        """
        return _SAVED.validate_python(data)


_SAVED = TypeAdapter(Alert)
_MEMBERS = tuple(Alert.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the newest readings came to.

    Attributes:
        active: Pending and firing alerts.
        fired: Those that began to fire.
        resolved: Those that ended.
    """

    active: dict[tuple[str, str], Alert]
    fired: tuple[Alert, ...]
    resolved: tuple[Alert, ...]


def evaluate(
    rules: Sequence[Rule],
    readings: Iterable[Reading],
    active: Mapping[tuple[str, str], Alert],
    now: float,
    *,
    stale_s: float = STALE_S,
) -> Evaluation:
    """Hold the newest readings against the rules.

    Args:
        active: What was pending or firing before.
        now: Seconds since the epoch.
        stale_s: An older reading says nothing about now.
    """
    after: dict[tuple[str, str], Alert] = {}
    seen: set[tuple[str, str]] = set()
    for reading in readings:
        for rule in rules:
            subject = rule.subject_in(reading.metric) if rule.enabled else None
            if subject is None:
                continue
            key = (rule.name, reading.metric)
            seen.add(key)
            is_stale = now - reading.at > stale_s
            before = active.get(key)
            if is_stale:
                alert = _without_reading(before, reading, now)
            else:
                alert = _next(rule, subject, reading, before, stale_s)
            if alert is not None:
                after[key] = alert
    for key, alert in active.items():
        if key not in seen and alert.state == "firing":
            after[key] = _resolved(
                alert, now, "there is no such reading, or no such rule, any more"
            )
    fired_before = {key for key, alert in active.items() if alert.state == "firing"}
    return Evaluation(
        active={key: alert for key, alert in after.items() if alert.state != "resolved"},
        fired=tuple(
            alert
            for key, alert in after.items()
            if alert.state == "firing" and key not in fired_before
        ),
        resolved=tuple(a for a in after.values() if a.state == "resolved"),
    )


def _without_reading(before: Alert | None, last: Reading, now: float) -> Alert | None:
    """Return the alert when the last reading is old: what fires goes on for a while."""
    if before is None or before.state != "firing":
        return None
    is_gone = now - last.at > GONE_S
    return _resolved(before, now, "there was no reading for a while") if is_gone else before


def _next(
    rule: Rule, subject: str, reading: Reading, before: Alert | None, stale_s: float
) -> Alert | None:
    """Return the alert after a reading; None when there is none."""
    if before is None or (before.state == "pending" and _paused(before, reading, stale_s)):
        return _begun(rule, subject, reading) if rule.is_over(reading.value) else None
    if before.state == "pending" and not rule.is_over(reading.value):
        return None
    worse = max if rule.above is not None else min
    alert = replace(
        before,
        value=reading.value,
        worst=worse(before.worst, reading.value),
        seen_at=reading.at,
        since=min(before.since, reading.at),
        severity=rule.severity,
    )
    if before.state == "firing":
        done = rule.is_clear(reading.value)
        return _resolved(alert, reading.at, "the value is well again") if done else alert
    return _fired(rule, alert)


def _paused(before: Alert, reading: Reading, stale_s: float) -> bool:
    """Return whether nothing was seen in between: the machine slept, or its clock was set."""
    return abs(reading.at - before.seen_at) > stale_s


def _begun(rule: Rule, subject: str, reading: Reading) -> Alert:
    alert = Alert(
        rule=rule.name,
        metric=reading.metric,
        subject=subject,
        severity=rule.severity,
        state="pending",
        since=reading.at,
        value=reading.value,
        worst=reading.value,
        seen_at=reading.at,
    )
    return _fired(rule, alert)


def _fired(rule: Rule, alert: Alert) -> Alert:
    if alert.seen_at - alert.since < rule.for_s:
        return alert
    return replace(alert, state="firing", fired_at=alert.seen_at)


def _resolved(alert: Alert, at: float, why: str) -> Alert:
    return replace(alert, state="resolved", resolved_at=at, ended_by=why)


def rules_of(given: Sequence[Rule], defaults: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return the default rules with those of the configuration over and behind them.

    Raises:
        ValueError: Two have one name.
    """
    names = [rule.name for rule in given]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two rules are named {', '.join(sorted(twice))}")
    own = {rule.name: rule for rule in given}
    kept = [own.pop(rule.name, rule) for rule in defaults]
    return (*kept, *own.values())


def told(value: float) -> str:
    """Return a value for reading."""
    return f"{value:.4g}" if math.isfinite(value) else "none"
