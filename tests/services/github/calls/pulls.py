"""Calls of the toolset pulls."""

from __future__ import annotations

from typing import Any

from tests.services.github.calls import REPO, SHA, Row

PULL: dict[str, Any] = {**REPO, "pullNumber": 1347}
SAID = {
    "databaseId": 10,
    "url": "https://github.com/octocat/Hello-World/pull/1347#discussion_r10",
    "body": "Why?",
    "createdAt": "2026-01-02T03:04:05Z",
    "updatedAt": "2026-01-02T03:04:05Z",
    "authorAssociation": "MEMBER",
    "author": {"__typename": "User", "login": "octocat"},
}
THREADS = {
    "totalCount": 1,
    "pageInfo": {"hasNextPage": False, "endCursor": None},
    "nodes": [
        {
            "id": "PRRT_1",
            "isResolved": False,
            "isOutdated": False,
            "path": "file1.txt",
            "line": 3,
            "startLine": None,
            "diffSide": "RIGHT",
            "subjectType": "LINE",
            "comments": {"totalCount": 1, "nodes": [SAID]},
        }
    ],
}
RESOLVED: dict[str, Any] = {
    "repository": {"id": "R_1"},
    "node": {"__typename": "PullRequestReviewThread", "repository": {"id": "R_1"}},
    "resolveReviewThread": {"thread": {"id": "PRRT_1", "isResolved": True}},
    "unresolveReviewThread": {"thread": {"id": "PRRT_1", "isResolved": False}},
}


def read(method: str, *operations: str, **more: Any) -> Row:
    """Return a row of pull_request_read."""
    graphql, error = more.pop("graphql", {}), more.pop("error", None)
    return Row(
        tool="pull_request_read",
        arguments={**PULL, "method": method, **more},
        graphql=graphql,
        operations=operations,
        error=error,
    )


ROWS = [
    Row(
        tool="list_pull_requests",
        arguments={
            **REPO,
            "state": "all",
            "head": "new-topic",
            "base": "master",
            "sort": "long-running",
            "direction": "asc",
            "fields": ["number", "title", "user"],
        },
        operations=("pulls/list",),
    ),
    Row(
        tool="search_pull_requests",
        arguments={"query": "author:octocat is:merged", "owner": "octocat"},
        operations=("search/issues-and-pull-requests",),
    ),
    read("get", "pulls/get"),
    read(
        "get_diff",
        "pulls/get",
        paths=["src/**"],
        line_numbers=True,
        error="BAD_RESPONSE",  # Prism has JSON only
    ),
    read("get_status", "pulls/get", "repos/get-combined-status-for-ref"),
    read("get_files", "pulls/get", "pulls/list-files"),
    read("get_commits", "pulls/get", "pulls/list-commits"),
    read(
        "get_review_comments",
        "graphql",
        perPage=10,
        graphql={"repository": {"pullRequest": {"reviewThreads": THREADS}}},
    ),
    read("get_reviews", "pulls/list-reviews"),
    read("get_comments", "issues/list-comments"),
    read("get_check_runs", "pulls/get", "checks/list-for-ref", page=2),
    Row(
        tool="create_pull_request",
        arguments={
            **REPO,
            "title": "Amazing new feature",
            "head": "octocat:new-feature",
            "base": "master",
            "body": "Please pull these awesome changes in!",
            "draft": True,
            "maintainer_can_modify": True,
            "reviewers": ["hubot", "octo-org/justice-league"],
        },
        operations=("pulls/list", "pulls/create", "pulls/request-reviewers"),
    ),
    Row(
        tool="update_pull_request",
        arguments={
            **PULL,
            "title": "Another title",
            "state": "open",
            "base": "main",
            "draft": False,
            "reviewers": ["hubot"],
        },
        graphql={
            "markPullRequestReadyForReview": {"pullRequest": {"number": 1347, "isDraft": False}}
        },
        operations=("pulls/update", "pulls/request-reviewers", "graphql"),
    ),
    Row(
        tool="merge_pull_request",
        arguments={**PULL, "merge_method": "squash", "commit_title": "One thing"},
        operations=("pulls/get", "pulls/merge"),
        confirmed=True,
    ),
    Row(
        tool="update_pull_request_branch",
        arguments={**PULL, "expectedHeadSha": SHA},
        operations=("pulls/update-branch",),
    ),
    Row(
        tool="pull_request_review_write",
        arguments={
            **PULL,
            "method": "create",
            "body": "Good.",
            "event": "APPROVE",
            "commitID": SHA,
        },
        operations=("pulls/list-reviews", "pulls/create-review"),
    ),
    Row(
        tool="pull_request_review_write",
        arguments={**PULL, "method": "submit_pending", "event": "COMMENT"},
        operations=("pulls/list-reviews",),
        error="NOT_FOUND_OR_NO_ACCESS",  # the review of the example is submitted
    ),
    Row(
        tool="pull_request_review_write",
        arguments={**PULL, "method": "delete_pending"},
        operations=("pulls/list-reviews",),
        error="NOT_FOUND_OR_NO_ACCESS",
    ),
    Row(
        tool="pull_request_review_write",
        arguments={**PULL, "method": "resolve_thread", "threadId": "PRRT_1"},
        graphql=RESOLVED,
        operations=("graphql",),
    ),
    Row(
        tool="pull_request_review_write",
        arguments={**PULL, "method": "unresolve_thread", "threadId": "PRRT_1"},
        graphql=RESOLVED,
        operations=("graphql",),
    ),
    Row(
        tool="add_comment_to_pending_review",
        arguments={**PULL, "path": "a.py", "body": "Why?", "subjectType": "LINE", "line": 3},
        operations=("pulls/list-reviews",),
        error="NOT_FOUND_OR_NO_ACCESS",
    ),
    Row(
        tool="add_reply_to_pull_request_comment",
        arguments={**PULL, "commentId": 10, "body": "Because.", "reaction": "eyes"},
        operations=(
            "pulls/list-review-comments",
            "pulls/create-reply-for-review-comment",
            "reactions/create-for-pull-request-review-comment",
        ),
    ),
    Row(
        tool="request_copilot_review",
        arguments=PULL,
        operations=("pulls/request-reviewers",),
    ),
    Row(
        tool="request_pull_request_reviewers",
        arguments={**PULL, "reviewers": ["octo-org/justice-league"]},
        operations=("pulls/request-reviewers",),
    ),
]
