"""What log_patterns and error_summary return.

Times are UTC; `histogram` counts lines in equal parts of the window, oldest first. `ref` names a
line for log_context. What lines say is text of strangers, with secrets and hidden characters taken
out.
"""

from __future__ import annotations

from typing import Literal

from core.models import Facts, Page, Result


class PatternFacts(Facts):
    """Lines that one statement of a program has written.

    Attributes:
        id: The same from call to call.
        template: `<*>` stands for what varies.
        share: Of all lines in the window.
        change: Against the baseline; `few` is a difference that so few lines cannot prove.
        factor: Rate now over rate in the baseline.
        chance: Probability that equal rates would differ as much.
        example: The first line.
    """

    id: str
    template: str
    level: str | None
    count: int
    share: float
    change: Literal["new", "gone", "spike", "drop", "few", "same"] | None
    factor: float | None
    chance: float | None
    baseline_count: int | None
    first_at: str | None
    last_at: str | None
    histogram: list[int]
    sources: list[str]
    example: str
    ref: str | None


class LogPatterns(Page):
    """The templates of the lines in a window."""

    since: str
    until: str
    baseline: str | None
    lines: int
    baseline_lines: int | None
    patterns: list[PatternFacts]
    scanned_bytes: int
    partial: str | None
    notes: list[str]
    redacted: int
    removed: int
    skipped: list[str]


class ExceptionFacts(Facts):
    """Exceptions of one type that went through the same functions.

    Attributes:
        frames: The innermost, where it was raised, first.
        causes: Types of the exceptions that it came from.
        example: The first one as it was logged.
    """

    fingerprint: str
    language: str
    type: str
    message: str
    causes: list[str]
    count: int
    first_at: str | None
    last_at: str | None
    histogram: list[int]
    frames: list[str]
    sources: list[str]
    example: str
    ref: str | None


class MessageFacts(Facts):
    """Lines of level error or critical by template; `sqlstate` where PostgreSQL logs it."""

    id: str
    template: str
    level: str
    sqlstate: str | None
    count: int
    first_at: str | None
    last_at: str | None
    histogram: list[int]
    sources: list[str]
    example: str
    ref: str | None


class FailureFacts(Facts):
    """Requests for one route that got one status of 400 or above; `requests` got any."""

    method: str
    route: str
    status: int
    count: int
    requests: int
    p50_ms: float | None
    p95_ms: float | None
    first_at: str | None
    last_at: str | None
    histogram: list[int]
    sources: list[str]
    example: str
    ref: str | None


class RouteFacts(Facts):
    """One route and how long its requests take."""

    method: str
    route: str
    requests: int
    p50_ms: float | None
    p95_ms: float | None


class HttpFacts(Facts):
    """All requests in the access logs of a window; percentiles are within 2.5 %."""

    requests: int
    status_4xx: int
    status_5xx: int
    p50_ms: float | None
    p95_ms: float | None
    failures: list[FailureFacts]
    failures_total: int
    slowest: list[RouteFacts]


class ErrorSummary(Result):
    """What went wrong in a window; each list is cut at `limit`, the totals are of all."""

    since: str
    until: str
    lines: int
    exceptions_total: int
    exceptions: list[ExceptionFacts]
    messages_total: int
    messages: list[MessageFacts]
    http: HttpFacts | None
    truncated: bool
    scanned_bytes: int
    partial: str | None
    notes: list[str]
    redacted: int
    removed: int
    skipped: list[str]
