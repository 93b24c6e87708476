"""Actions: workflows, runs, jobs, their logs and artifacts; starting and stopping runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from core.context import Context
from core.errors import InvalidArguments, ToolError
from core.models import Arguments
from core.patterns import compile_pattern
from core.tools import Annotations, Listing
from services.github.archives import Archive
from services.github.backend.requests import Request
from services.github.job_logs import Read, joined, matching, read_log
from services.github.models.actions import (
    ActionDone,
    ActionsItem,
    ActionsList,
    Artifact,
    Job,
    JobLogs,
    LogExcerpt,
    Run,
    Step,
    Workflow,
)
from services.github.models.common import (
    PageArguments,
    RepositoryArguments,
    WriteArguments,
    unbounded,
)
from services.github.policy.names import Repo, parse_branch, parse_login, parse_ref, parse_slug
from services.github.policy.trust import Author
from services.github.tools.desk import WITHHELD, Call, Desk, Heard
from services.github.writes import Plan

TOOLSET = "actions"
READS_ACTIONS = Annotations(open_world=True)
RUNS = Annotations(read_only=False, destructive=True, idempotent=False, open_world=True)

WORKFLOWS = "/repos/{owner}/{repo}/actions/workflows"
WORKFLOW = "/repos/{owner}/{repo}/actions/workflows/{workflow_id}"
WORKFLOW_RUNS = "/repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs"
DISPATCHES = "/repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches"
ALL_RUNS = "/repos/{owner}/{repo}/actions/runs"
RUN = "/repos/{owner}/{repo}/actions/runs/{run_id}"
JOBS = "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs"
JOB = "/repos/{owner}/{repo}/actions/jobs/{job_id}"
JOB_LOGS = "/repos/{owner}/{repo}/actions/jobs/{job_id}/logs"
RUN_ARTIFACTS = "/repos/{owner}/{repo}/actions/runs/{run_id}/artifacts"
ALL_ARTIFACTS = "/repos/{owner}/{repo}/actions/artifacts"
ARTIFACT = "/repos/{owner}/{repo}/actions/artifacts/{artifact_id}"
ARTIFACT_ZIP = "/repos/{owner}/{repo}/actions/artifacts/{artifact_id}/zip"

MAX_ID = 2**63 - 1
DEFAULT_TAIL_LINES = 500
MAX_LINES = 5_000
LOG_TAIL_BYTES = 2 * 1024 * 1024
"""What is looked at of a log, from its end."""
MAX_FAILED_JOBS = 10
MAX_JOB_PAGES = 3
NOT_OK = frozenset({"failure", "timed_out", "cancelled", "startup_failure", "action_required"})
FINE = frozenset({"success", "skipped"})
FAILED = frozenset({"failure", "timed_out", "startup_failure"})

RUN_STATES = frozenset(
    """
    completed success failure cancelled skipped timed_out action_required neutral stale
    in_progress queued requested waiting pending
    """.split()  # noqa: SIM905 - the list that ruff asks for fills a page
)
ListMethod = Literal[
    "list_workflows", "list_workflow_runs", "list_workflow_jobs", "list_workflow_run_artifacts"
]
GetMethod = Literal[
    "get_workflow",
    "get_workflow_run",
    "get_workflow_job",
    "download_workflow_run_artifact",
    "get_workflow_run_usage",
    "get_workflow_run_logs_url",
]
TriggerMethod = Literal[
    "run_workflow",
    "rerun_workflow_run",
    "rerun_failed_jobs",
    "cancel_workflow_run",
    "delete_workflow_run_logs",
]


class RunsFilter(Arguments):
    """Which runs."""

    actor: str | None = None
    branch: str | None = None
    event: str | None = None
    status: str | None = None

    @field_validator("status")
    @classmethod
    def _is_state(cls, value: str | None) -> str | None:
        if value is not None and value not in RUN_STATES:
            raise ValueError(f"one of {', '.join(sorted(RUN_STATES))}")
        return value


class JobsFilter(Arguments):
    """Which jobs."""

    filter: Literal["latest", "all"] | None = None


class ListActions(RepositoryArguments, PageArguments):
    """Arguments of actions_list."""

    method: ListMethod
    resource_id: str | None = Field(None, description="Of a workflow or run.")
    workflow_runs_filter: RunsFilter | None = None
    workflow_jobs_filter: JobsFilter | None = None
    per_page: int | None = Field(None, ge=1, le=100, json_schema_extra=unbounded)


class GetAction(RepositoryArguments):
    """Arguments of actions_get."""

    method: GetMethod
    resource_id: str = Field(description="Id of that thing.")
    path: str | None = Field(None, description="File in it to read.")


class GetJobLogs(RepositoryArguments):
    """Arguments of get_job_logs."""

    job_id: int | None = Field(None, ge=1, le=MAX_ID, json_schema_extra=unbounded)
    run_id: int | None = Field(None, ge=1, le=MAX_ID, json_schema_extra=unbounded)
    failed_only: bool = Field(False, description="All failed jobs of run_id.")
    return_content: bool = True
    tail_lines: int = Field(DEFAULT_TAIL_LINES, ge=1, le=MAX_LINES, json_schema_extra=unbounded)
    pattern: str | None = Field(None, description="RE2: matching lines only.")
    context: int = Field(2, ge=0, le=50, json_schema_extra=unbounded)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.job_id is None) == (self.run_id is None):
            raise ValueError("give job_id, or run_id with failed_only=true")
        if self.run_id is not None and not self.failed_only:
            raise ValueError("with run_id, set failed_only=true")
        return self


class Trigger(RepositoryArguments, WriteArguments):
    """Arguments of actions_run_trigger."""

    method: TriggerMethod
    workflow_id: str | None = Field(None, description="Id or file name.")
    ref: str | None = Field(None, description="Branch or tag to run on.")
    inputs: dict[str, Any] | None = None
    run_id: int | None = Field(None, ge=1, le=MAX_ID, json_schema_extra=unbounded)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.method == "run_workflow":
            if self.workflow_id is None or self.ref is None:
                raise ValueError("run_workflow wants workflow_id and ref")
        elif self.run_id is None:
            raise ValueError(f"{self.method} wants run_id")
        return self


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = ActionTools(desk)
    return [
        Listing(
            name="actions_list",
            title="List Actions",
            description="Workflows, runs, jobs or artifacts.",
            handler=tools.actions_list,
            arguments=ListActions,
            result=ActionsList,
            annotations=READS_ACTIONS,
        ),
        Listing(
            name="actions_get",
            title="Look at Actions",
            description="A workflow, run, job; files of an artifact or of logs.",
            handler=tools.actions_get,
            arguments=GetAction,
            result=ActionsItem,
            annotations=READS_ACTIONS,
        ),
        Listing(
            name="get_job_logs",
            title="Read job logs",
            description="Log of a job, or of a run's failed ones.",
            handler=tools.get_job_logs,
            arguments=GetJobLogs,
            result=JobLogs,
            annotations=READS_ACTIONS,
        ),
        Listing(
            name="actions_run_trigger",
            title="Start or stop runs",
            description="Run a workflow; repeat or cancel a run; delete its logs. Cancelling and "
            "deleting have to be confirmed.",
            handler=tools.actions_run_trigger,
            arguments=Trigger,
            result=ActionDone,
            annotations=RUNS,
        ),
    ]


class ActionTools:
    """The tools about Actions, but for the failure report."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- reading --------------------------------------------------------------------------------

    async def actions_list(self, arguments: ListActions, context: Context) -> ActionsList:
        """List workflows, runs, jobs or artifacts."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(_with_page_size(arguments))
        route, values, member = _listed(arguments)
        reply = await call.page(
            route,
            repo=repo,
            query=_filters(arguments),
            page=window.page,
            per_page=window.per_page,
            **values,
        )
        items = window.rest(reply.data[member])
        total = reply.data.get("total_count")
        await call.origin(repo)
        parts = [_PARTS[member](item) for item in items]
        shown, members = window.cut(parts, reply.next_page, total=total)
        return ActionsList(**{member: shown}, **members, **call.members())

    async def actions_get(self, arguments: GetAction, context: Context) -> ActionsItem:
        """Look at one thing of Actions."""
        call, repo = self._desk.call(context), arguments.repository()
        found = await _ITEMS[arguments.method](call, repo, arguments)
        await call.origin(repo)
        return ActionsItem(**found, **call.members())

    async def get_job_logs(self, arguments: GetJobLogs, context: Context) -> JobLogs:
        """Read the log of one job, or of the failed ones of a run."""
        pattern = None if arguments.pattern is None else compile_pattern(arguments.pattern)
        call, repo = self._desk.call(context), arguments.repository()
        if arguments.job_id is not None:
            job = await call.get(JOB, repo=repo, job_id=arguments.job_id)
            run = await call.get(RUN, repo=repo, run_id=job["run_id"])
            jobs, failed = [job], None
        else:
            run = await call.get(RUN, repo=repo, run_id=arguments.run_id)
            every = await jobs_of(call, repo, int(run["id"]))
            jobs = [job for job in every if job.get("conclusion") in FAILED]
            failed = len(jobs)
        looked_at = jobs[:MAX_FAILED_JOBS]
        voice = await voice_of(call, repo, run)
        room = self._desk.settings.answer_bytes // max(1, len(looked_at))
        excerpts = (_excerpt(call, repo, job, voice, arguments, pattern, room) for job in looked_at)
        logs = list(await asyncio.gather(*excerpts))
        more = len(looked_at) < len(jobs)
        return JobLogs(
            logs=logs,
            failed_jobs=failed,
            truncated=more,
            truncated_by="limit" if more else None,
            **call.members(),
        )

    # -- writing --------------------------------------------------------------------------------

    async def actions_run_trigger(self, arguments: Trigger, context: Context) -> ActionDone:
        """Start, repeat, cancel a run, or delete its logs."""
        call, repo = self._desk.call(context), arguments.repository()
        request, what = _triggered(repo, arguments)
        plan = Plan(
            toolset=TOOLSET,
            what=f"{what} of {repo}",
            requests=[request],
            repo=repo,
            destructive=arguments.method in ("cancel_workflow_run", "delete_workflow_run_logs"),
        )
        written = await call.write(plan, arguments)
        data = written.data if isinstance(written.data, Mapping) else {}
        return ActionDone(
            method=arguments.method,
            run_id=arguments.run_id or data.get("workflow_run_id"),
            html_url=data.get("html_url"),
            text=_done(arguments, sent=written.planned is None),
            **written.members(),
            **call.members(),
        )


# --- lists ---------------------------------------------------------------------------------------


def _with_page_size(arguments: ListActions) -> ListActions:
    """Take per_page, as the official server calls it here, for perPage."""
    if arguments.per_page is None:
        return arguments
    return arguments.model_copy(update={"perPage": arguments.per_page})


def _listed(arguments: ListActions) -> tuple[str, dict[str, Any], str]:
    """Return the route of a list, what fills it, and the member of the answer that is the list."""
    about = arguments.resource_id
    if arguments.method == "list_workflows":
        if about is not None:
            raise InvalidArguments("list_workflows takes no resource_id: it lists all of them.")
        return WORKFLOWS, {}, "workflows"
    if arguments.method == "list_workflow_runs":
        if about is None:
            return ALL_RUNS, {}, "workflow_runs"
        return WORKFLOW_RUNS, {"workflow_id": parse_slug(about, "workflow")}, "workflow_runs"
    if arguments.method == "list_workflow_jobs":
        return JOBS, {"run_id": number_of(about, "run id")}, "jobs"
    if about is None:
        return ALL_ARTIFACTS, {}, "artifacts"
    return RUN_ARTIFACTS, {"run_id": number_of(about, "run id")}, "artifacts"


def _filters(arguments: ListActions) -> dict[str, Any]:
    """Return the query of a list.

    Raises:
        InvalidArguments: A filter of another method.
    """
    runs, jobs = arguments.workflow_runs_filter, arguments.workflow_jobs_filter
    if runs is not None and arguments.method != "list_workflow_runs":
        raise InvalidArguments("workflow_runs_filter is for list_workflow_runs.")
    if jobs is not None and arguments.method != "list_workflow_jobs":
        raise InvalidArguments("workflow_jobs_filter is for list_workflow_jobs.")
    if runs is not None:
        return {
            "actor": parse_login(runs.actor) if runs.actor else None,
            "branch": parse_branch(runs.branch) if runs.branch else None,
            "event": runs.event,
            "status": runs.status,
        }
    return {"filter": jobs.filter} if jobs is not None else {}


async def jobs_of(call: Call, repo: Repo, run_id: int) -> list[Mapping[str, Any]]:
    """Return the jobs of a run's newest attempt: the first 300, which is more than most have."""
    jobs: list[Mapping[str, Any]] = []
    for page in range(1, MAX_JOB_PAGES + 1):
        reply = await call.page(
            JOBS, repo=repo, run_id=run_id, query={"filter": "latest"}, page=page, per_page=100
        )
        jobs += reply.data["jobs"]
        if reply.next_page is None or len(jobs) >= reply.data.get("total_count", 0):
            return jobs
    call.warnings.append(f"The run has more than {len(jobs)} jobs; the first were looked at.")
    return jobs


# --- one thing -----------------------------------------------------------------------------------


async def _workflow(call: Call, repo: Repo, arguments: GetAction) -> dict[str, Any]:
    name = parse_slug(arguments.resource_id, "workflow")
    return {"workflow": workflow_of(await call.get(WORKFLOW, repo=repo, workflow_id=name))}


async def _run(call: Call, repo: Repo, arguments: GetAction) -> dict[str, Any]:
    run_id = number_of(arguments.resource_id, "run id")
    return {"run": run_of(await call.get(RUN, repo=repo, run_id=run_id))}


async def _job(call: Call, repo: Repo, arguments: GetAction) -> dict[str, Any]:
    job_id = number_of(arguments.resource_id, "job id")
    return {"job": job_of(await call.get(JOB, repo=repo, job_id=job_id))}


async def _usage(call: Call, repo: Repo, arguments: GetAction) -> dict[str, Any]:
    run_id = number_of(arguments.resource_id, "run id")
    return {"usage": await call.get(f"{RUN}/timing", repo=repo, run_id=run_id)}


async def _artifact(call: Call, repo: Repo, arguments: GetAction) -> dict[str, Any]:
    artifact_id = number_of(arguments.resource_id, "artifact id")
    values: dict[str, Any] = {"repo": repo, "artifact_id": artifact_id}
    found = await call.get(ARTIFACT, **values)
    run_id = (found.get("workflow_run") or {}).get("id")
    run = await call.get(RUN, repo=repo, run_id=run_id) if run_id else {}
    voice = await voice_of(call, repo, run)
    return {"artifact": artifact_of(found)} | await _archive(
        call, repo, ARTIFACT_ZIP, values, arguments.path, voice
    )


async def _logs(call: Call, repo: Repo, arguments: GetAction) -> dict[str, Any]:
    run_id = number_of(arguments.resource_id, "run id")
    values: dict[str, Any] = {"repo": repo, "run_id": run_id}
    run = await call.get(RUN, **values)
    voice = await voice_of(call, repo, run)
    return {"run": run_of(run)} | await _archive(
        call, repo, f"{RUN}/logs", values, arguments.path, voice
    )


async def _archive(
    call: Call, repo: Repo, route: str, values: Mapping[str, Any], path: str | None, voice: Heard
) -> dict[str, Any]:
    """Return what an archive holds, and the text of one file of it."""
    filled = {**values, "owner": repo.owner, "repo": repo.name}
    download = await call.download(Request(route=route, values=filled))
    archive = await Archive.open(download)
    members: dict[str, Any] = {
        "files": archive.entries(),
        "files_total": archive.total,
    }
    if path is None:
        return members
    text, truncated = await archive.text(path, call.desk.settings.answer_bytes)
    shown = await asyncio.to_thread(read_log, text)
    content = WITHHELD if voice.withheld else joined(shown.lines)
    return {**members, "content": content, "content_truncated": truncated}


_ITEMS = {
    "get_workflow": _workflow,
    "get_workflow_run": _run,
    "get_workflow_job": _job,
    "get_workflow_run_usage": _usage,
    "download_workflow_run_artifact": _artifact,
    "get_workflow_run_logs_url": _logs,
}


def number_of(text: str | None, what: str) -> int:
    """Return an id that is a number.

    Raises:
        InvalidArguments: It is none.
    """
    if text is None or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_ID:
        raise InvalidArguments(
            f"resource_id has to be the {what}, a number.", hint="actions_list shows the ids."
        )
    return int(text)


def workflow_of(item: Mapping[str, Any]) -> Workflow:
    """Read a workflow."""
    return Workflow(**{k: item.get(k) for k in ("id", "name", "path", "state", "html_url")})


def run_of(item: Mapping[str, Any]) -> Run:
    """Read a run."""
    return Run(
        id=item["id"],
        name=item.get("name"),
        title=item.get("display_title"),
        number=item.get("run_number") or 0,
        attempt=item.get("run_attempt") or 1,
        event=item.get("event") or "",
        status=item.get("status"),
        conclusion=item.get("conclusion"),
        branch=item.get("head_branch"),
        sha=item.get("head_sha") or "",
        actor=(item.get("triggering_actor") or item.get("actor") or {}).get("login"),
        from_fork=is_from_fork(item),
        pull_requests=[pull["number"] for pull in item.get("pull_requests") or ()],
        created_at=item["created_at"],
        updated_at=item["updated_at"],
        html_url=item["html_url"],
    )


def is_from_fork(run: Mapping[str, Any]) -> bool:
    """Whether the code of a run came from another repository; so where GitHub does not say."""
    head, base = run.get("head_repository") or {}, run.get("repository") or {}
    return head.get("id") is None or head.get("id") != base.get("id")


def job_of(item: Mapping[str, Any]) -> Job:
    """Read a job."""
    steps = item.get("steps") or ()
    return Job(
        id=item["id"],
        name=item["name"],
        status=item["status"],
        conclusion=item.get("conclusion"),
        started_at=item.get("started_at"),
        completed_at=item.get("completed_at"),
        runner=item.get("runner_name"),
        steps=len(steps),
        steps_not_ok=[
            step_of(s) for s in steps if s.get("conclusion") not in ("success", "skipped")
        ],
        html_url=item.get("html_url"),
    )


def step_of(item: Mapping[str, Any]) -> Step:
    """Read a step."""
    names = ("number", "name", "status", "conclusion", "started_at", "completed_at")
    return Step(**{name: item.get(name) for name in names})


def artifact_of(item: Mapping[str, Any]) -> Artifact:
    """Read an artifact."""
    return Artifact(
        id=item["id"],
        name=item["name"],
        size_bytes=item["size_in_bytes"],
        expired=bool(item.get("expired")),
        created_at=item.get("created_at"),
        expires_at=item.get("expires_at"),
    )


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "workflows": workflow_of,
    "workflow_runs": run_of,
    "jobs": job_of,
    "artifacts": artifact_of,
}
"""The member of GitHub's answer, and of ours, that is a list → what reads its items."""


# --- logs ----------------------------------------------------------------------------------------


async def voice_of(call: Call, repo: Repo, run: Mapping[str, Any]) -> Heard:
    """Return whose words the logs of a run are: the repository's, or whose code it was."""
    if not is_from_fork(run):
        return Heard(Author(None, None), await call.origin(repo), withheld=False)
    (heard,) = await call.heard(repo, [{"user": run.get("triggering_actor") or run.get("actor")}])
    return heard


async def log_of(call: Call, repo: Repo, job_id: int) -> tuple[Read, bool]:
    """Return the end of a job's log, and whether its beginning is missing."""
    values: dict[str, str | int] = {"owner": repo.owner, "repo": repo.name, "job_id": job_id}
    found = await call.download(Request(route=JOB_LOGS, values=values), tail_bytes=LOG_TAIL_BYTES)
    # Cleaning two megabytes takes half a second.
    read = await asyncio.to_thread(read_log, found.text, partial=found.truncated)
    return read, found.truncated


async def _excerpt(
    call: Call,
    repo: Repo,
    job: Mapping[str, Any],
    voice: Heard,
    arguments: GetJobLogs,
    pattern: Any,
    max_bytes: int,
) -> LogExcerpt:
    head: dict[str, Any] = {
        "job_id": job["id"],
        "job": job.get("name"),
        "conclusion": job.get("conclusion"),
        "trust": voice.trust,
        "withheld": voice.withheld,
        "html_url": job.get("html_url"),
    }
    nothing = {"text": None, "lines_shown": 0, "lines_read": 0, "beginning_missing": False}
    nothing |= {"hidden_removed": 0, "secrets_removed": 0}
    if not arguments.return_content:
        return LogExcerpt(**head, **nothing)
    try:
        read, missing = await log_of(call, repo, job["id"])
    except ToolError as error:
        if arguments.job_id is not None:
            raise
        return LogExcerpt(**head, **nothing, error=f"{error.code}: {error.message}")
    lines, matches = read.lines, None
    if pattern is not None:
        lines, matches = matching(lines, pattern, arguments.context)
    shown = lines[-arguments.tail_lines :]
    while len(text := joined(shown)) > max_bytes and len(shown) > 1:
        shown = shown[len(shown) // 4 or 1 :]
    return LogExcerpt(
        **head,
        text=WITHHELD if voice.withheld else text[-max_bytes:],
        lines_shown=0 if voice.withheld else len(shown),
        lines_read=len(read.lines),
        beginning_missing=missing,
        matches=matches,
        hidden_removed=read.hidden,
        secrets_removed=read.secrets,
    )


# --- writing -------------------------------------------------------------------------------------

_ON_RUNS = {
    "rerun_workflow_run": ("POST", f"{RUN}/rerun", "run {} again"),
    "rerun_failed_jobs": ("POST", f"{RUN}/rerun-failed-jobs", "run the failed jobs of {} again"),
    "cancel_workflow_run": ("POST", f"{RUN}/cancel", "cancel run {}"),
    "delete_workflow_run_logs": ("DELETE", f"{RUN}/logs", "delete the logs of run {}"),
}


def _triggered(repo: Repo, arguments: Trigger) -> tuple[Request, str]:
    values: dict[str, Any] = {"owner": repo.owner, "repo": repo.name}
    if arguments.method != "run_workflow":
        method, route, what = _ON_RUNS[arguments.method]
        assert arguments.run_id is not None, "the arguments are validated"
        values["run_id"] = arguments.run_id
        return Request(method=method, route=route, values=values), what.format(arguments.run_id)
    assert arguments.workflow_id is not None, "the arguments are validated"
    assert arguments.ref is not None, "the arguments are validated"
    workflow, ref = parse_slug(arguments.workflow_id, "workflow"), parse_ref(arguments.ref)
    values["workflow_id"] = workflow
    body: dict[str, Any] = {"ref": ref}
    if arguments.inputs:
        body["inputs"] = arguments.inputs
    request = Request(method="POST", route=DISPATCHES, values=values, body=body)
    return request, f"run the workflow {workflow} on {ref}"


def _done(arguments: Trigger, *, sent: bool) -> str:
    if not sent:
        return "Nothing was sent: a dry run."
    if arguments.method == "run_workflow":
        return "GitHub has taken the order; actions_list shows the run in a few seconds."
    return "GitHub has taken the order."
