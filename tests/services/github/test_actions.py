"""Actions through the public door: lists, logs, archives, why a run failed, what starts runs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.testing import Client
from tests.services.github.conftest import Github
from tests.services.github.doubles.own import Octo, moved, octo, raw, refusal, reply, unicorn

REPO = {"owner": "octo", "repo": "hello"}
BASE = "/repos/octo/hello"
SECRET = "ghp_" + "A" * 36
LOG = "\n".join(
    [
        "2026-01-02T03:04:00.1Z ##[group]Set up",
        "2026-01-02T03:04:01.1Z error: of a step that went on",
        "2026-01-02T03:04:05.1Z ##[group]Run pytest",
        *[f"2026-01-02T03:04:06.{n:03}Z test {n} passed" for n in range(200)],
        f"2026-01-02T03:04:07.1Z E   ValueError: token {SECRET} is wrong\u200b",
        "2026-01-02T03:04:08.1Z ##[error]Process completed with exit code 1.",
        "2026-01-02T03:04:20.1Z Post job cleanup.",
    ]
)
STEPS = [
    {
        "number": 1,
        "name": "Set up",
        "status": "completed",
        "conclusion": "success",
        "started_at": "2026-01-02T03:04:00Z",
        "completed_at": "2026-01-02T03:04:02Z",
    },
    {
        "number": 2,
        "name": "Run pytest",
        "status": "completed",
        "conclusion": "failure",
        "started_at": "2026-01-02T03:04:05Z",
        "completed_at": "2026-01-02T03:04:08Z",
    },
]


def run(**more: Any) -> dict[str, Any]:
    """Return a run as GitHub describes it."""
    return {
        "id": 7,
        "name": "CI",
        "display_title": "Change things",
        "run_number": 42,
        "run_attempt": 1,
        "event": "push",
        "status": "completed",
        "conclusion": "failure",
        "head_branch": "main",
        "head_sha": "a" * 40,
        "actor": {"login": "stranger"},
        "repository": {"id": 1},
        "head_repository": {"id": 1},
        "pull_requests": [],
        "created_at": "2026-01-02T03:04:00Z",
        "updated_at": "2026-01-02T03:05:00Z",
        "html_url": "https://github.com/octo/hello/actions/runs/7",
        **more,
    }


def job(number: int, **more: Any) -> dict[str, Any]:
    """Return a failed job as GitHub describes it."""
    return {
        "id": number,
        "run_id": 7,
        "name": f"test {number}",
        "status": "completed",
        "conclusion": "failure",
        "started_at": "2026-01-02T03:04:00Z",
        "completed_at": "2026-01-02T03:04:20Z",
        "steps": STEPS,
        "check_run_url": f"https://api.github.com{BASE}/check-runs/9{number}",
        "html_url": f"https://github.com/octo/hello/job/{number}",
        **more,
    }


def packed(**files: str) -> bytes:
    """Return a zip archive of text files."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".txt", text)
    return data.getvalue()


@pytest.fixture
async def double() -> AsyncIterator[Octo]:
    """A public repository in which run 7 failed: one job of two."""
    async with octo() as github:
        github.on("GET", BASE, reply({"full_name": "octo/hello", "private": False}))
        github.on("GET", f"{BASE}/actions/runs/7", reply(run()))
        jobs = [job(1), job(2, conclusion="success", steps=STEPS[:1])]
        github.on("GET", f"{BASE}/actions/runs/7/jobs", reply({"total_count": 2, "jobs": jobs}))
        github.on("GET", f"{BASE}/actions/jobs/1", reply(job(1)))
        github.on("GET", f"{BASE}/actions/jobs/1/logs", moved(f"{github.url}/storage/1", 302))
        github.on("GET", "/storage/1", raw(LOG.encode(), Content_Type="text/plain"))
        annotation = {
            "annotation_level": "failure",
            "path": "a.py",
            "start_line": 3,
            "end_line": 3,
            "title": None,
            "message": "ValueError",
        }
        github.on("GET", f"{BASE}/check-runs/91/annotations", reply([annotation]))
        yield github


async def call(github: Github, double: Octo, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool about the repository without a token, and return what it found."""
    async with github(double.url, token=None) as client:
        return succeeded(await client.call(tool, **REPO, **arguments))


def succeeded(result: Any) -> dict[str, Any]:
    """Return the structured result of a call that went well."""
    assert result.error is None, result.error
    structured: dict[str, Any] = result.structured
    return structured


async def test_a_failure_report_names_job_step_annotation_and_lines(
    github: Github, double: Octo
) -> None:
    """In one call, and without what belongs to other steps."""
    found = await call(github, double, "failure_report", run_id=7)
    assert found["summary"] == "CI #42: failure. Failed: test 1 (Run pytest)."
    (failed,) = found["jobs"]
    assert [step["name"] for step in failed["failed_steps"]] == ["Run pytest"]
    assert failed["annotations"][0]["path"] == "a.py"
    assert "ValueError: token [redacted] is wrong" in failed["log"]
    assert "of a step that went on" not in failed["log"]
    assert "Post job cleanup" not in failed["log"]
    assert (found["jobs_total"], found["jobs_failed"], found["secrets_removed"]) == (2, 1, 1)
    assert found["untrusted"] is True


async def test_no_token_goes_to_the_storage_of_logs(github: Github, double: Octo) -> None:
    """The credential is GitHub's, and logs lie elsewhere."""
    async with github(double.url) as client:
        succeeded(await client.call("get_job_logs", **REPO, job_id=1))
    stored = [asked for asked in double.asked if asked.path == "/storage/1"]
    assert stored
    assert all("authorization" not in asked.headers for asked in stored)


async def test_a_log_that_is_gone_is_told_beside_the_rest(github: Github, double: Octo) -> None:
    """The report still says which step failed."""
    double.on("GET", f"{BASE}/actions/jobs/1/logs", refusal(410, "Gone"))
    double.on("GET", f"{BASE}/check-runs/91/annotations", refusal(403, "Forbidden"))
    found = await call(github, double, "failure_report", run_id=7)
    (failed,) = found["jobs"]
    assert failed["log"] is None
    assert failed["log_error"]
    assert any("annotations" in warning for warning in found["warnings"])


async def test_the_newest_failed_run_of_a_branch_is_found(github: Github, double: Octo) -> None:
    """Without its number, which nobody knows by heart."""
    double.on("GET", f"{BASE}/actions/runs", reply({"total_count": 1, "workflow_runs": [run()]}))
    found = await call(github, double, "failure_report", branch="main")
    assert found["run"]["id"] == 7
    assert any("branch=main" in path and "status=failure" in path for path in double.paths)


async def test_a_branch_without_failures_is_said(github: Github, double: Octo) -> None:
    """No run is no error of ours, but nothing to report either."""
    double.on("GET", f"{BASE}/actions/runs", reply({"total_count": 0, "workflow_runs": []}))
    async with github(double.url) as client:
        result = await client.call("failure_report", **REPO, branch="main")
    assert result.error is not None
    assert result.error["code"] == "NOT_FOUND"


async def test_logs_of_a_strangers_code_are_withheld_in_public(
    github: Github, double: Octo
) -> None:
    """A pull request from a fork prints what its author wants a model to read."""
    double.on("GET", f"{BASE}/actions/runs/7", reply(run(head_repository={"id": 2})))
    found = await call(github, double, "failure_report", run_id=7)
    assert found["withheld"] is True
    assert "ValueError" not in str(found)
    assert any("MCP_GITHUB_LOCKDOWN" in warning for warning in found["warnings"])


async def test_the_log_of_a_job_is_cut_from_its_end(github: Github, double: Octo) -> None:
    """What went wrong stands there."""
    found = await call(github, double, "get_job_logs", job_id=1, tail_lines=2)
    (log,) = found["logs"]
    assert log["text"].splitlines()[-1] == "Post job cleanup."
    assert (log["lines_shown"], log["lines_read"]) == (2, 206)


async def test_a_log_is_searched(github: Github, double: Octo) -> None:
    """With RE2, so the pattern that kills others takes no time."""
    found = await call(github, double, "get_job_logs", job_id=1, pattern="test 19\\d p", context=0)
    (log,) = found["logs"]
    assert log["matches"] == 10
    assert log["text"].splitlines()[0] == "test 190 passed"


async def test_the_logs_of_all_failed_jobs_come_at_once(github: Github, double: Octo) -> None:
    """As the official server has it: failed_only with run_id."""
    found = await call(github, double, "get_job_logs", run_id=7, failed_only=True)
    assert found["failed_jobs"] == 1
    assert [log["job_id"] for log in found["logs"]] == [1]


async def test_an_artifact_is_listed_and_read(github: Github, double: Octo) -> None:
    """Without unpacking it anywhere."""
    artifact = {
        "id": 11,
        "name": "report",
        "size_in_bytes": 5,
        "expired": False,
        "created_at": None,
        "expires_at": None,
        "workflow_run": {"id": 7},
    }
    double.on("GET", f"{BASE}/actions/artifacts/11", reply(artifact))
    double.on("GET", f"{BASE}/actions/artifacts/11/zip", moved(f"{double.url}/storage/2", 302))
    double.on(
        "GET", "/storage/2", raw(packed(a="one", b__c="two\n"), Content_Type="application/zip")
    )
    arguments = {"method": "download_workflow_run_artifact", "resource_id": "11"}
    found = await call(github, double, "actions_get", **arguments)
    assert found["files"] == [
        {"path": "a.txt", "size_bytes": 3},
        {"path": "b/c.txt", "size_bytes": 4},
    ]
    found = await call(github, double, "actions_get", **arguments, path="b/c.txt")
    assert found["content"] == "two"
    async with github(double.url, token=None) as client:
        missing = await client.call("actions_get", **REPO, **arguments, path="c.txt")
    assert missing.error is not None
    assert missing.error["nearest"] == ["b/c.txt"]


async def test_an_archive_that_is_none_is_said(github: Github, double: Octo) -> None:
    """A broken answer is a typed error."""
    double.on("GET", f"{BASE}/actions/runs/7/logs", moved(f"{double.url}/storage/3", 302))
    double.on("GET", "/storage/3", raw(b"no zip", Content_Type="application/zip"))
    async with github(double.url, token=None) as client:
        result = await client.call(
            "actions_get", **REPO, method="get_workflow_run_logs_url", resource_id="7"
        )
    assert result.error is not None
    assert result.error["code"] == "BAD_RESPONSE"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"method": "list_workflow_jobs"}, "INVALID_ARGUMENTS"),
        ({"method": "list_workflow_jobs", "resource_id": "../../user"}, "INVALID_ARGUMENTS"),
        ({"method": "list_workflow_runs", "resource_id": "..%2f..%2fuser"}, "BAD_NAME"),
        ({"method": "list_workflow_runs", "resource_id": ".."}, "BAD_NAME"),
        ({"method": "list_workflows", "resource_id": "1"}, "INVALID_ARGUMENTS"),
        ({"method": "list_workflows", "workflow_runs_filter": {}}, "INVALID_ARGUMENTS"),
    ],
)
async def test_wrong_arguments_send_nothing(
    github: Github, double: Octo, arguments: dict[str, Any], code: str
) -> None:
    """Ids end up in URLs."""
    async with github(double.url) as client:
        result = await client.call("actions_list", **REPO, **arguments)
    assert result.error is not None
    assert result.error["code"] == code
    assert double.asked == []


@pytest.fixture
async def writer(github: Github, double: Octo) -> AsyncIterator[Client]:
    """A client of a server that may start and stop runs."""
    async with github(double.url, write="actions", write_interval_s=0) as client:
        yield client


async def test_cancelling_takes_a_token_of_a_dry_run(writer: Client, double: Octo) -> None:
    """What is lost has to be confirmed, for exactly this run."""
    double.on("POST", f"{BASE}/actions/runs/7/cancel", reply({}, 202))
    arguments = {**REPO, "method": "cancel_workflow_run", "run_id": 7}
    refused = await writer.call("actions_run_trigger", **arguments)
    assert refused.error is not None
    assert refused.error["code"] == "CONFIRMATION_REQUIRED"
    planned = succeeded(await writer.call("actions_run_trigger", **arguments, dry_run=True))
    token = planned["dry_run"]["confirm"]
    other = {**arguments, "run_id": 8}
    wrong = await writer.call("actions_run_trigger", **other, confirm=token)
    assert wrong.error is not None
    assert not any(path.startswith("POST") for path in double.paths)
    succeeded(await writer.call("actions_run_trigger", **arguments, confirm=token))
    assert double.paths[-1] == f"POST {BASE}/actions/runs/7/cancel"


async def test_an_order_that_fails_halfway_is_sent_once(writer: Client, double: Octo) -> None:
    """A workflow that is run twice deploys twice."""
    path = f"{BASE}/actions/workflows/ci.yml/dispatches"
    double.on("POST", path, unicorn(502))
    result = await writer.call(
        "actions_run_trigger", **REPO, method="run_workflow", workflow_id="ci.yml", ref="main"
    )
    assert result.error is not None
    assert result.error["code"] == "OUTCOME_UNKNOWN"
    assert double.paths.count(f"POST {path}") == 1


async def test_a_wrong_pattern_sends_nothing(github: Github, double: Octo) -> None:
    """It is known to be wrong before GitHub is asked for a log."""
    async with github(double.url) as client:
        result = await client.call("get_job_logs", **REPO, job_id=1, pattern="(")
    assert result.error is not None
    assert result.error["code"] == "BAD_PATTERN"
    assert double.asked == []
