"""Calls of the toolset pulls."""

from __future__ import annotations

from typing import Any

from tests.services.github.calls import REPO, Row

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
]
