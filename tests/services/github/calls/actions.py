"""Calls of the toolset actions."""

from __future__ import annotations

from tests.services.github.calls import REPO, Row

RUN = "actions/get-workflow-run"

ROWS = [
    Row(
        tool="actions_list",
        arguments={**REPO, "method": "list_workflows", "per_page": 5},
        operations=("actions/list-repo-workflows",),
    ),
    Row(
        tool="actions_list",
        arguments={
            **REPO,
            "method": "list_workflow_runs",
            "resource_id": "ci.yaml",
            "workflow_runs_filter": {
                "actor": "octocat",
                "branch": "main",
                "event": "push",
                "status": "failure",
            },
        },
        operations=("actions/list-workflow-runs",),
    ),
    Row(
        tool="actions_list",
        arguments={**REPO, "method": "list_workflow_runs"},
        operations=("actions/list-workflow-runs-for-repo",),
    ),
    Row(
        tool="actions_list",
        arguments={
            **REPO,
            "method": "list_workflow_jobs",
            "resource_id": "30433642",
            "workflow_jobs_filter": {"filter": "all"},
        },
        operations=("actions/list-jobs-for-workflow-run",),
    ),
    Row(
        tool="actions_list",
        arguments={**REPO, "method": "list_workflow_run_artifacts", "resource_id": "30433642"},
        operations=("actions/list-workflow-run-artifacts",),
    ),
    Row(
        tool="actions_list",
        arguments={**REPO, "method": "list_workflow_run_artifacts"},
        operations=("actions/list-artifacts-for-repo",),
    ),
    Row(
        tool="actions_get",
        arguments={**REPO, "method": "get_workflow", "resource_id": "ci.yaml"},
        operations=("actions/get-workflow",),
    ),
    Row(
        tool="actions_get",
        arguments={**REPO, "method": "get_workflow_run", "resource_id": "30433642"},
        operations=(RUN,),
    ),
    Row(
        tool="actions_get",
        arguments={**REPO, "method": "get_workflow_job", "resource_id": "399444496"},
        operations=("actions/get-job-for-workflow-run",),
    ),
    Row(
        tool="actions_get",
        arguments={**REPO, "method": "get_workflow_run_usage", "resource_id": "30433642"},
        operations=("actions/get-workflow-run-usage",),
    ),
    Row(
        tool="actions_get",
        arguments={**REPO, "method": "download_workflow_run_artifact", "resource_id": "11"},
        operations=("actions/get-artifact", "actions/download-artifact"),
    ),
    Row(
        tool="actions_get",
        arguments={**REPO, "method": "get_workflow_run_logs_url", "resource_id": "30433642"},
        operations=(RUN, "actions/download-workflow-run-logs"),
    ),
    Row(
        tool="get_job_logs",
        arguments={**REPO, "job_id": 399444496},
        operations=(
            "actions/get-job-for-workflow-run",
            "actions/download-job-logs-for-workflow-run",
        ),
    ),
    Row(
        tool="failure_report",
        arguments={**REPO, "branch": "main"},
        operations=("actions/list-workflow-runs-for-repo", "actions/list-jobs-for-workflow-run"),
    ),
    Row(
        tool="failure_report",
        arguments={**REPO, "pullNumber": 7},
        operations=("pulls/get", "actions/list-workflow-runs-for-repo"),
    ),
    Row(
        tool="actions_run_trigger",
        arguments={
            **REPO,
            "method": "run_workflow",
            "workflow_id": "ci.yaml",
            "ref": "main",
            "inputs": {"level": "debug"},
        },
        operations=("actions/create-workflow-dispatch",),
    ),
    Row(
        tool="actions_run_trigger",
        arguments={**REPO, "method": "rerun_workflow_run", "run_id": 30433642},
        operations=("actions/re-run-workflow",),
    ),
    Row(
        tool="actions_run_trigger",
        arguments={**REPO, "method": "rerun_failed_jobs", "run_id": 30433642},
        operations=("actions/re-run-workflow-failed-jobs",),
    ),
    Row(
        tool="actions_run_trigger",
        arguments={**REPO, "method": "cancel_workflow_run", "run_id": 30433642},
        operations=("actions/cancel-workflow-run",),
        confirmed=True,
    ),
    Row(
        tool="actions_run_trigger",
        arguments={**REPO, "method": "delete_workflow_run_logs", "run_id": 30433642},
        operations=("actions/delete-workflow-run-logs",),
        confirmed=True,
    ),
]
