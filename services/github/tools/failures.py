"""failure_report: why a run failed, in one call — jobs, steps, annotations, lines around errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import NotFound, ToolError
from core.paging import fitting
from core.tools import Listing
from services.github.job_logs import Line, around_errors, joined, of_step
from services.github.models.actions import Annotation, FailedJob, FailureReport, Step
from services.github.models.common import RepositoryArguments, unbounded
from services.github.policy.names import Repo, parse_branch
from services.github.tools.actions import (
    ALL_RUNS,
    FAILED,
    MAX_FAILED_JOBS,
    MAX_ID,
    NOT_OK,
    READS_ACTIONS,
    RUN,
    jobs_of,
    log_of,
    run_of,
    step_of,
    voice_of,
)
from services.github.tools.desk import WITHHELD, Call, Desk, Heard

ANNOTATIONS = "/repos/{owner}/{repo}/check-runs/{check_run_id}/annotations"
PULL = "/repos/{owner}/{repo}/pulls/{pull_number}"
MAX_ANNOTATIONS = 20
MAX_LOG_LINES = 120
"""Lines shown of one job, and fewer of each where several failed."""


class FailureReportOf(RepositoryArguments):
    """Arguments of failure_report."""

    run_id: int | None = Field(None, ge=1, le=MAX_ID, json_schema_extra=unbounded)
    pullNumber: int | None = Field(None, ge=1, le=MAX_ID, json_schema_extra=unbounded)
    branch: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(x is not None for x in (self.run_id, self.pullNumber, self.branch)) > 1:
            raise ValueError("give one of run_id, pullNumber and branch, or none")
        return self


def listings(desk: Desk) -> list[Listing]:
    """Return the row of this tool."""
    tools = FailureTools(desk)
    return [
        Listing(
            name="failure_report",
            title="Why did CI fail?",
            description="Why a run (the newest failed one) failed: steps, annotations, log "
            "lines around errors.",
            handler=tools.failure_report,
            arguments=FailureReportOf,
            result=FailureReport,
            annotations=READS_ACTIONS,
        )
    ]


class FailureTools:
    """The failure report."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def failure_report(self, arguments: FailureReportOf, context: Context) -> FailureReport:
        """Report why a run failed."""
        call = self._desk.call(context)
        repo = arguments.repository()
        run = await _run(call, repo, arguments)
        voice = await voice_of(call, repo, run)
        jobs = await jobs_of(call, repo, int(run["id"]))
        failed = [job for job in jobs if job.get("conclusion") in FAILED] or [
            job for job in jobs if job.get("conclusion") in NOT_OK
        ]
        looked_at = failed[:MAX_FAILED_JOBS]
        max_lines = max(20, MAX_LOG_LINES // max(1, len(looked_at)))
        looks = [_Look(call, repo, job, voice, max_lines) for job in looked_at]
        await context.progress(0, len(looks), f"{len(failed)} jobs did not succeed")
        reports = await asyncio.gather(*(look.report() for look in looks))
        shown = reports[: fitting(reports, self._desk.settings.answer_bytes)]
        by_bytes = len(shown) < len(reports)
        truncated = by_bytes or len(looked_at) < len(failed)
        return FailureReport(
            summary=_summary(run, failed),
            run=run_of(run),
            jobs=shown,
            jobs_total=len(jobs),
            jobs_failed=len(failed),
            trust=voice.trust,
            withheld=voice.withheld,
            truncated=truncated,
            truncated_by=("bytes" if by_bytes else "limit") if truncated else None,
            hidden_removed=sum(look.hidden for look in looks) + voice.hidden_removed,
            secrets_removed=sum(look.secrets for look in looks),
            **call.members(),
        )


async def _run(call: Call, repo: Repo, arguments: FailureReportOf) -> Mapping[str, Any]:
    """Return the run that is asked for.

    Raises:
        NotFound: No run failed there.
    """
    if arguments.run_id is not None:
        found: Mapping[str, Any] = await call.get(RUN, repo=repo, run_id=arguments.run_id)
        return found
    query: dict[str, Any] = {"status": "failure"}
    where = str(repo)
    if arguments.branch is not None:
        query["branch"] = parse_branch(arguments.branch)
        where = f"the branch {arguments.branch} of {repo}"
    if arguments.pullNumber is not None:
        pull = await call.get(PULL, repo=repo, pull_number=arguments.pullNumber)
        query["head_sha"] = pull["head"]["sha"]
        where = f"the newest commit of #{arguments.pullNumber} of {repo}"
    runs = (await call.page(ALL_RUNS, repo=repo, query=query, per_page=1)).data["workflow_runs"]
    if not runs:
        raise NotFound(
            f"No run of Actions failed for {where}.",
            hint="actions_list shows the runs; commit_status other checks than Actions.",
        )
    newest: Mapping[str, Any] = runs[0]
    return newest


def _summary(run: Mapping[str, Any], failed: list[Mapping[str, Any]]) -> str:
    name = run.get("name") or "The run"
    state = run.get("conclusion") or run.get("status")
    if not failed:
        return f"{name} #{run.get('run_number')}: {state}; no job of it has failed."
    steps = [
        f"{job['name']} ({', '.join(s.name for s in failed_steps(job)) or job['conclusion']})"
        for job in failed[:MAX_FAILED_JOBS]
    ]
    return f"{name} #{run.get('run_number')}: {state}. Failed: {'; '.join(steps)}."


def failed_steps(job: Mapping[str, Any]) -> list[Step]:
    """Return the steps of a job that did not succeed."""
    return [step_of(step) for step in job.get("steps") or () if step.get("conclusion") in NOT_OK]


class _Look:
    """Looks at one job that did not succeed.

    Attributes:
        hidden: Characters of its texts that cannot be seen.
        secrets: Secrets of its log that were replaced.
    """

    def __init__(
        self, call: Call, repo: Repo, job: Mapping[str, Any], voice: Heard, max_lines: int
    ) -> None:
        self._call = call
        self._repo = repo
        self._job = job
        self._voice = voice
        self._max_lines = max_lines
        self.hidden = 0
        self.secrets = 0

    async def report(self) -> FailedJob:
        """Return what tells why; a part that GitHub does not give is told, not raised."""
        steps = failed_steps(self._job)
        annotations, (lines, telling, problem) = await asyncio.gather(
            self._annotations(), self._log(steps)
        )
        shown = WITHHELD if self._voice.withheld else joined(lines)
        return FailedJob(
            id=self._job["id"],
            name=self._job["name"],
            conclusion=self._job.get("conclusion"),
            failed_steps=steps,
            annotations=annotations,
            log=shown if problem is None else None,
            log_lines_shown=0 if self._voice.withheld else len(lines),
            error_lines=telling,
            log_error=problem,
            html_url=self._job.get("html_url"),
        )

    async def _annotations(self) -> list[Annotation]:
        check = str(self._job.get("check_run_url") or "").rsplit("/", 1)[-1]
        check_run_id = int(check) if check.isdigit() else self._job["id"]
        try:
            reply = await self._call.page(
                ANNOTATIONS, repo=self._repo, check_run_id=check_run_id, per_page=MAX_ANNOTATIONS
            )
        except ToolError as error:
            self._call.warnings.append(
                f"No annotations of {self._job['name']}: {error.code}: {error.message}"
            )
            return []
        return [self._annotation(item) for item in reply.data]

    def _annotation(self, item: Mapping[str, Any]) -> Annotation:
        return Annotation(
            level=item.get("annotation_level") or "",
            path=item.get("path") or "",
            start_line=item.get("start_line"),
            end_line=item.get("end_line"),
            title=self._voice.line(item.get("title")),
            message=self._voice.plain(item.get("message"), limit=1_000, more="the page") or "",
        )

    async def _log(self, steps: list[Step]) -> tuple[list[Line], int, str | None]:
        """Return the lines to show, how many tell of errors, and why there is no log."""
        try:
            read, _ = await log_of(self._call, self._repo, self._job["id"])
        except ToolError as error:
            return [], 0, f"{error.code}: {error.message}"
        self.hidden, self.secrets = read.hidden, read.secrets
        chosen = await asyncio.to_thread(_telling, read.lines, steps, self._max_lines)
        return *chosen, None


def _telling(lines: list[Line], steps: list[Step], max_lines: int) -> tuple[list[Line], int]:
    """Return the lines around errors of the steps, and how many lines tell of one."""
    parts = [of_step(lines, s.started_at, s.completed_at) for s in steps] or [lines]
    share = max(10, max_lines // len(parts))
    found = [around_errors(part, max_lines=share) for part in parts]
    chosen = {line.number: line for shown, _ in found for line in shown}
    return [chosen[n] for n in sorted(chosen)], sum(count for _, count in found)
