"""Calls of the toolset context."""

from __future__ import annotations

from tests.services.github.calls import REPO, Row

ROWS = [
    Row(tool="get_me", operations=("users/get-authenticated",)),
    Row(tool="rate_limit", operations=("rate-limit/get",)),
    Row(tool="list_repos", operations=("repos/list-for-authenticated-user",)),
    Row(
        tool="list_repos",
        arguments={"owner": "octo-org", "sort": "full_name", "page": 2, "perPage": 5},
        operations=("repos/list-for-user",),
    ),
    Row(
        tool="list_repos",
        arguments={"owner": "octocat"},
        operations=("repos/list-for-authenticated-user",),
    ),
    Row(tool="get_repo", arguments=REPO, operations=("repos/get",)),
    Row(
        tool="search_repositories",
        arguments={"query": "tetris", "sort": "stars", "order": "desc", "minimal_output": False},
        operations=("search/repos",),
    ),
    Row(
        tool="search_users",
        arguments={"query": "octo", "sort": "followers", "order": "asc", "perPage": 3},
        operations=("search/users",),
    ),
    Row(
        tool="create_repository",
        arguments={"name": "new", "description": "A new one", "autoInit": True},
        operations=("repos/create-for-authenticated-user",),
    ),
    Row(
        tool="create_repository",
        arguments={"name": "new", "organization": "octo-org", "private": False},
        operations=("repos/create-in-org",),
    ),
    Row(
        tool="fork_repository",
        arguments={**REPO, "organization": "octo-org"},
        operations=("repos/create-fork",),
    ),
]
