"""What what_changed returns."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from core.models import Facts, Result


class ChangeFacts(Facts):
    """One difference.

    Attributes:
        score: 0 to 1: how telling it is by itself, times how near the moment it began.
        evidence: Numbers, references for log_context, metrics for metrics_history.
    """

    rank: int
    score: float
    part: Literal["deploy", "lifecycle", "log", "metric", "alert"]
    kind: str
    subject: str
    at: str
    sentence: str
    evidence: dict[str, JsonValue]


class WhatChanged(Result):
    """What differs between before and after `at`, the most telling first."""

    at: str | None
    at_is: Literal["given", "found", "none"]
    before: str
    after: str
    summary: str
    changes: list[ChangeFacts]
    timeline: list[str]
    total: int
    truncated: bool
    scanned_bytes: int
    partial: str | None
    notes: list[str]
    redacted: int
    removed: int
    skipped: list[str]
