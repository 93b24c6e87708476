"""Calls of the toolset gists."""

from __future__ import annotations

from tests.services.github.calls import Row

ROWS = [
    Row(tool="list_gists", arguments={"since": "2026-01-02"}, operations=("gists/list",)),
    Row(
        tool="list_gists",
        arguments={"username": "octocat", "page": 2, "perPage": 5},
        operations=("gists/list-for-user",),
    ),
    Row(tool="get_gist", arguments={"gist_id": "aa5a315d61ae9438b18d"}, operations=("gists/get",)),
    Row(
        tool="create_gist",
        arguments={"filename": "a.py", "content": "1", "description": "One", "public": True},
        operations=("gists/create",),
    ),
    Row(
        tool="update_gist",
        arguments={"gist_id": "aa5a315d61ae9438b18d", "filename": "a.py", "content": "2"},
        operations=("gists/update",),
    ),
]
