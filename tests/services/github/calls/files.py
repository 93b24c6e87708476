"""Calls of the toolset files."""

from __future__ import annotations

from tests.services.github.calls import REPO, SHA, Row

BLOB = "3d21ec53a331a6f037a91c368710b99387d012c1"
"""The file of GitHub's example."""

BLAMED = {
    "__typename": "Commit",
    "oid": SHA,
    "blame": {
        "ranges": [
            {
                "startingLine": 1,
                "endingLine": 3,
                "commit": {
                    "oid": SHA,
                    "messageHeadline": "Begin",
                    "committedDate": "2026-01-02T03:04:05Z",
                    "url": "https://github.com/octocat/Hello-World/commit/1",
                    "author": {"name": "Octo Cat", "user": {"login": "octocat"}},
                },
            }
        ]
    },
}

ROWS = [
    Row(
        tool="get_file_contents",
        arguments={**REPO, "path": "docs/guide.md", "ref": "feature/x", "start_line": 1},
        operations=("repos/get-content",),
    ),
    Row(
        tool="get_file_contents",
        arguments={**REPO, "sha": SHA, "fields": ["name", "type"]},
        operations=("repos/get-content",),
    ),
    Row(
        tool="get_file_contents",
        arguments={**REPO, "paths": ["README.md", "docs/guide.md"], "ref": "main"},
        operations=("repos/get-content",),
    ),
    Row(
        tool="get_repository_tree",
        arguments={**REPO, "recursive": True, "path_filter": "sub"},
        operations=("git/get-tree",),
    ),
    Row(
        tool="get_repository_tree",
        arguments={**REPO, "tree_sha": "feature/x"},
        operations=("repos/get-commit", "git/get-tree"),
    ),
    Row(
        tool="search_code",
        arguments={"query": "addClass repo:jquery/jquery", "sort": "indexed", "order": "desc"},
        operations=("search/code",),
    ),
    Row(
        tool="get_file_blame",
        arguments={**REPO, "path": "docs/guide.md", "ref": "main", "start_line": 2},
        graphql={"repository": {"object": BLAMED}},
        operations=("graphql",),
    ),
    Row(
        tool="push_files",
        arguments={
            **REPO,
            "branch": "feature/x",
            "message": "Two files",
            "files": [
                {"path": "docs/guide.md", "content": "# Guide\n"},
                {"path": "logo.png", "content": "iVBORw0KGgo=", "encoding": "base64"},
                {"path": "run.sh", "content": "true\n", "executable": True},
            ],
        },
        operations=("git/create-blob", "git/create-tree", "git/create-commit", "git/update-ref"),
    ),
    Row(
        tool="push_files",
        arguments={
            **REPO,
            "branch": "main",
            "message": "One less",
            "files": [{"path": "file.rb", "delete": True}],
        },
        confirmed=True,
        operations=("git/create-tree", "git/update-ref"),
    ),
    Row(
        tool="create_or_update_file",
        arguments={
            **REPO,
            "branch": "main",
            "path": "README.md",
            "content": "Hello",
            "message": "Greet",
            "sha": BLOB,
            "allow_symlink_write": True,
        },
        operations=("repos/create-or-update-file-contents",),
    ),
    Row(
        tool="delete_file",
        arguments={**REPO, "branch": "main", "path": "README.md", "message": "Delete"},
        confirmed=True,
        operations=("repos/delete-file",),
    ),
]
