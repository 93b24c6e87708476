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
    Row(
        tool="issue_write",
        arguments={
            **REPO,
            "method": "create",
            "title": "It breaks",
            "body": "Every time.",
            "labels": ["bug", "area/api"],
            "assignees": ["octocat"],
            "milestone": 1,
            "type": "Bug",
        },
        operations=("issues/list-for-repo", "issues/create"),
    ),
    Row(
        tool="issue_write",
        arguments={
            **ISSUE,
            "method": "update",
            "state_reason": "not_planned",
            "milestone": 2,
            "type": "Bug",
            "issue_fields": [
                {"field_name": "text field", "value": "me"},
                {"field_name": "Priority", "delete": True},
            ],
        },
        operations=(
            "issues/update",
            "issues/add-issue-field-values",
            "issues/delete-issue-field-value",
        ),
    ),
    Row(
        tool="add_issue_comment",
        arguments={**ISSUE, "body": "Me too.", "reaction": "+1"},
        operations=("issues/list-comments", "issues/create-comment", "reactions/create-for-issue"),
    ),
    Row(
        tool="sub_issue_write",
        arguments={**ISSUE, "method": "add", "sub_issue_id": 6, "replace_parent": True},
        operations=("issues/add-sub-issue",),
    ),
    Row(
        tool="sub_issue_write",
        arguments={**ISSUE, "method": "remove", "sub_issue_id": 6},
        operations=("issues/remove-sub-issue",),
    ),
    Row(
        tool="sub_issue_write",
        arguments={**ISSUE, "method": "reprioritize", "sub_issue_id": 6, "after_id": 5},
        operations=("issues/reprioritize-sub-issue",),
    ),
    Row(
        tool="react",
        arguments={**REPO, "review_comment_id": 1, "reaction": "heart"},
        operations=("reactions/create-for-pull-request-review-comment",),
    ),
    Row(
        tool="react",
        arguments={**REPO, "comment_id": 1, "reaction": "heart", "remove": True},
        operations=("reactions/list-for-issue-comment", "reactions/delete-for-issue-comment"),
    ),
    Row(
        tool="label_write",
        arguments={**REPO, "method": "create", "name": "area/api", "color": "#d73a4a"},
        operations=("issues/create-label",),
    ),
    Row(
        tool="label_write",
        arguments={**REPO, "method": "update", "name": "bug", "new_name": "defect"},
        operations=("issues/update-label",),
    ),
    Row(
        tool="label_write",
        arguments={**REPO, "method": "delete", "name": "bug"},
        operations=("issues/delete-label",),
        confirmed=True,
    ),
    Row(
        tool="milestone_write",
        arguments={**REPO, "method": "create", "title": "v2", "due_on": "2026-12-24"},
        operations=("issues/create-milestone",),
    ),
    Row(
        tool="milestone_write",
        arguments={**REPO, "method": "update", "milestone_number": 1, "state": "closed"},
        operations=("issues/update-milestone",),
    ),
    Row(
        tool="milestone_write",
        arguments={**REPO, "method": "delete", "milestone_number": 1},
        operations=("issues/delete-milestone",),
        confirmed=True,
    ),
    Row(
        tool="lock_issue",
        arguments={**ISSUE, "lock_reason": "too heated"},
        operations=("issues/lock",),
        confirmed=True,
    ),
    Row(
        tool="lock_issue",
        arguments={**ISSUE, "locked": False},
        operations=("issues/unlock",),
    ),
]
