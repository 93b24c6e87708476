"""Calls of the toolset issues."""

from __future__ import annotations

from typing import Any

from tests.services.github.calls import REPO, Row

ISSUE: dict[str, Any] = {**REPO, "issue_number": 1347}
CLOSED_BY = {
    "repository": {
        "issue": {
            "closedByPullRequestsReferences": {
                "nodes": [{"number": 7, "repository": {"nameWithOwner": "octocat/Hello-World"}}]
            }
        }
    }
}

ROWS = [
    Row(
        tool="list_issues",
        arguments={
            **REPO,
            "state": "OPEN",
            "labels": ["bug", "help wanted"],
            "creator": "octocat",
            "assignee": "none",
            "milestone": "*",
            "since": "2026-01-01",
            "field_filters": [{"field_name": "Priority", "value": "P1"}],
            "orderBy": "UPDATED_AT",
            "direction": "DESC",
            "perPage": 5,
        },
        operations=("issues/list-for-repo",),
    ),
    Row(
        tool="search_issues",
        arguments={**REPO, "query": "crash", "sort": "created", "order": "asc", "page": 2},
        operations=("search/issues-and-pull-requests",),
    ),
    Row(
        tool="issue_read",
        arguments={**ISSUE, "method": "get"},
        graphql=CLOSED_BY,
        operations=("issues/get", "graphql"),
        error="BAD_RESPONSE",  # the description's example is a reference to nowhere
    ),
    Row(
        tool="issue_read",
        arguments={**ISSUE, "method": "get_comments", "page": 2, "perPage": 10},
        operations=("issues/list-comments",),
    ),
    Row(
        tool="issue_read",
        arguments={**ISSUE, "method": "get_sub_issues"},
        operations=("issues/list-sub-issues",),
    ),
    Row(
        tool="issue_read",
        arguments={**ISSUE, "method": "get_parent"},
        operations=("issues/get-parent",),
    ),
    Row(
        tool="issue_read",
        arguments={**ISSUE, "method": "get_labels"},
        operations=("issues/list-labels-on-issue",),
    ),
    Row(
        tool="issue_read",
        arguments={**ISSUE, "method": "timeline"},
        operations=("issues/list-events-for-timeline",),
    ),
    Row(
        tool="list_issue_types",
        arguments={"owner": "octo-org"},
        operations=("orgs/list-issue-types",),
    ),
    Row(tool="list_issue_types", arguments=REPO),
    Row(
        tool="list_label",
        arguments={**REPO, "perPage": 100},
        operations=("issues/list-labels-for-repo",),
    ),
    Row(
        tool="get_label",
        arguments={**REPO, "name": "good first issue"},
        operations=("issues/get-label",),
    ),
    Row(
        tool="list_milestones",
        arguments={**REPO, "state": "all"},
        operations=("issues/list-milestones",),
    ),
]
