"""What the tools about Actions return."""

from __future__ import annotations

from typing import Any

from core.models import Facts, Part
from services.github.models.common import GitHubPage, GitHubResult, TrustLabel, WriteResult


class Workflow(Facts):
    """One workflow."""

    id: int
    name: str
    path: str
    state: str
    html_url: str | None


class Run(Facts):
    """One run of a workflow.

    Attributes:
        title: Of the commit or pull request that it is about; written by its author.
        from_fork: Whether the code came from another repository.
    """

    id: int
    name: str | None
    title: str | None
    number: int
    attempt: int
    event: str
    status: str | None
    conclusion: str | None
    branch: str | None
    sha: str
    actor: str | None
    from_fork: bool
    pull_requests: list[int]
    created_at: str
    updated_at: str
    html_url: str


class Step(Facts):
    """One step of a job."""

    number: int
    name: str
    status: str
    conclusion: str | None
    started_at: str | None
    completed_at: str | None


class Job(Facts):
    """One job of a run; steps that succeeded or were skipped are counted only."""

    id: int
    name: str
    status: str
    conclusion: str | None
    started_at: str | None
    completed_at: str | None
    runner: str | None
    steps: int
    steps_not_ok: list[Step]
    html_url: str | None


class Artifact(Facts):
    """What a run has kept."""

    id: int
    name: str
    size_bytes: int
    expired: bool
    created_at: str | None
    expires_at: str | None


class ActionsList(GitHubPage, Facts):
    """What a list of Actions holds; the member of its kind is there, the others are null."""

    workflows: list[Workflow] | None = None
    workflow_runs: list[Run] | None = None
    jobs: list[Job] | None = None
    artifacts: list[Artifact] | None = None


class ArchiveEntry(Facts):
    """One file of an archive."""

    path: str
    size_bytes: int


class ActionsItem(GitHubResult, Facts):
    """One thing of Actions; the member of its kind is there, the others are null.

    Attributes:
        files: Of an archive (artifact or logs); `content` is that of the one asked for.
        usage: Milliseconds by operating system, as GitHub counts them.
    """

    workflow: Workflow | None = None
    run: Run | None = None
    job: Job | None = None
    artifact: Artifact | None = None
    usage: dict[str, Any] | None = None
    files: list[ArchiveEntry] | None = None
    files_total: int | None = None
    content: str | None = None
    content_truncated: bool = False


class LogExcerpt(Part):
    """The log of one job, or a part of it.

    Attributes:
        lines_read: Lines of what was read; `beginning_missing` says that there are earlier ones.
        matches: Lines in which the pattern is found; null without one.
        secrets_removed: Secrets that were replaced, besides GitHub's own masks.
        error: Why there is no log.
    """

    job_id: int
    job: str | None
    conclusion: str | None
    text: str | None
    lines_shown: int
    lines_read: int
    beginning_missing: bool
    matches: int | None = None
    trust: TrustLabel
    withheld: bool
    hidden_removed: int
    secrets_removed: int
    html_url: str | None
    error: str | None = None


class JobLogs(GitHubResult, Facts):
    """Logs of one job, or of all failed ones of a run."""

    logs: list[LogExcerpt]
    failed_jobs: int | None = None
    truncated: bool = False
    truncated_by: str | None = None


class Annotation(Facts):
    """What a job has marked in the code."""

    level: str
    path: str
    start_line: int | None
    end_line: int | None
    title: str | None
    message: str


class FailedJob(Facts):
    """One job that did not succeed, with what tells why.

    Attributes:
        log: The lines around errors of its failed steps, or their last ones.
        error_lines: Lines that tell of an error, shown or not.
        log_error: Why there is no log.
    """

    id: int
    name: str
    conclusion: str | None
    failed_steps: list[Step]
    annotations: list[Annotation]
    log: str | None
    log_lines_shown: int
    error_lines: int
    log_error: str | None
    html_url: str | None


class FailureReport(GitHubResult, Facts):
    """Why a run of a workflow failed.

    Attributes:
        summary: In words.
        jobs: Those that did not succeed, at most as many as one call looks at.
        withheld: Whether logs and annotations are left out (MCP_GITHUB_LOCKDOWN).
    """

    summary: str
    run: Run | None
    jobs: list[FailedJob]
    jobs_total: int
    jobs_failed: int
    trust: TrustLabel
    withheld: bool
    truncated: bool
    truncated_by: str | None
    hidden_removed: int
    secrets_removed: int


class ActionDone(WriteResult):
    """What became of a run."""

    method: str
    run_id: int | None = None
    html_url: str | None = None
    text: str
