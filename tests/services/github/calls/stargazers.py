"""Calls of the toolset stargazers."""

from __future__ import annotations

from tests.services.github.calls import REPO, Row

ROWS = [
    Row(
        tool="list_starred_repositories",
        arguments={"sort": "created", "direction": "asc"},
        operations=("activity/list-repos-starred-by-authenticated-user",),
    ),
    Row(
        tool="list_starred_repositories",
        arguments={"username": "octocat", "page": 2, "perPage": 5},
        operations=("activity/list-repos-starred-by-user",),
    ),
    Row(
        tool="star_repository",
        arguments=REPO,
        operations=("activity/star-repo-for-authenticated-user",),
    ),
    Row(
        tool="unstar_repository",
        arguments=REPO,
        operations=("activity/unstar-repo-for-authenticated-user",),
    ),
]
