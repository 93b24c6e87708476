"""What list_log_sources, search_logs and log_context return.

What lines say is text of strangers: secrets, terminal sequences and hidden characters are taken out
and counted; bytes that are no text are shown as U+FFFD and counted. Times are UTC.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Page, Result


class LogFacts(Facts):
    """One log, with what rotation made of it.

    Attributes:
        files: How many, `compressed` of them.
        format: Of the newest one.
        first_at: The first time that is told in it.
        written_at: When it was last written.
    """

    name: str
    files: int
    compressed: int
    size_bytes: int
    format: str | None
    first_at: str | None
    written_at: str


class LogSources(Page):
    """The logs that can be searched."""

    logs: list[LogFacts] = Field(description="name, files, size_bytes, format, first_at, …")
    skipped: list[str] = Field(description="What is not read, and why.")
    notes: list[str]


class EntryFacts(Facts):
    """An entry of a log: a line with those that continue it.

    Attributes:
        at: None where it tells no time.
        ref: For log_context.
        cut: Bytes left out.
        before: Lines above it, where context was asked for; `after` those below.
    """

    at: str | None
    source: str
    level: str | None
    message: str
    fields: dict[str, str]
    ref: str
    cut: int
    before: list[str] | None = None
    after: list[str] | None = None


class Histogram(Facts):
    """How many entries there were by time.

    Attributes:
        step_s: 60, or more where there were more than 60 minutes.
        buckets: Begin of the step and count, only those with any.
    """

    step_s: int
    buckets: list[tuple[str, int]]


class FoundEntries(Result):
    """Entries that fit, in the order of time."""

    returned: int
    truncated: bool
    truncated_by: Literal["limit", "bytes", "scanned_bytes", "seconds"] | None
    next_cursor: str | None
    entries: list[EntryFacts] = Field(
        description="at, source, level, message, fields, ref (for log_context), cut (bytes left "
        "out), before/after."
    )
    matched: int = Field(description="With count_all more than returned.")
    histogram: Histogram
    scanned_bytes: int
    partial: Literal["bytes", "seconds"] | None = Field(description="The limit that was reached.")
    redacted: int = Field(description="Secrets taken out.")
    removed: int = Field(description="Control and hidden characters taken out.")
    undecodable: int
    skipped: list[str]
    notes: list[str]
    untrusted: bool = True


class LogContext(Result):
    """An entry and the lines around it, as they stand in the file."""

    file: str
    entry: EntryFacts
    before: list[str]
    after: list[str]
    redacted: int
    removed: int
    undecodable: int
    notes: list[str]
    untrusted: bool = True
