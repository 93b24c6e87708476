"""Calls of the toolset branches: branches, tags and commits."""

from __future__ import annotations

from tests.services.github.calls import REPO, SHA, Row

ROWS = [
    Row(tool="list_branches", arguments=REPO, operations=("repos/list-branches",)),
    Row(
        tool="list_tags",
        arguments={**REPO, "page": 2, "perPage": 10},
        operations=("repos/list-tags",),
    ),
    Row(
        tool="get_tag",
        arguments={**REPO, "tag": "release/v1.0"},
        operations=("git/get-ref",),
    ),
    Row(
        tool="create_branch",
        arguments={**REPO, "branch": "feature/x"},
        operations=("repos/get-commit", "git/create-ref"),
    ),
    Row(
        tool="create_branch",
        arguments={**REPO, "branch": "feature/x", "from_branch": SHA},
        operations=("git/create-ref",),
    ),
    Row(
        tool="delete_branch",
        arguments={**REPO, "branch": "feature/x"},
        confirmed=True,
        operations=("git/delete-ref",),
    ),
    Row(
        tool="create_tag",
        arguments={**REPO, "tag": "v1", "message": "The first"},
        operations=("git/create-tag", "git/create-ref"),
    ),
    Row(
        tool="delete_tag",
        arguments={**REPO, "tag": "v1"},
        confirmed=True,
        operations=("git/delete-ref",),
    ),
    Row(
        tool="list_commits",
        arguments={
            **REPO,
            "sha": "feature/x",
            "path": "docs",
            "author": "octocat",
            "since": "2026-01-01",
            "until": "2026-02-01T10:00:00Z",
            "fields": ["html_url"],
        },
        operations=("repos/list-commits",),
    ),
    Row(
        tool="list_commits",
        arguments={**REPO, "query": "css", "perPage": 5},
        operations=("search/commits",),
    ),
    Row(
        tool="get_commit",
        arguments={**REPO, "sha": "feature/x", "detail": "full_patch", "perPage": 10},
        operations=("repos/get-commit",),
    ),
    Row(
        tool="compare",
        arguments={**REPO, "base": "main", "head": "octocat:feature/x", "detail": "full_patch"},
        operations=("repos/compare-commits-with-basehead",),
    ),
    Row(
        tool="commit_status",
        arguments={**REPO, "ref": "feature/x"},
        operations=("repos/get-combined-status-for-ref", "checks/list-for-ref"),
    ),
]
