"""Calls of the toolset releases."""

from __future__ import annotations

from tests.services.github.calls import REPO, Row

ROWS = [
    Row(
        tool="list_releases",
        arguments={**REPO, "fields": ["tag_name"]},
        operations=("repos/list-releases",),
    ),
    Row(tool="get_latest_release", arguments=REPO, operations=("repos/get-latest-release",)),
    Row(
        tool="get_release_by_tag",
        arguments={**REPO, "tag": "release/v1.0"},
        operations=("repos/get-release-by-tag",),
    ),
    Row(
        tool="get_release_by_tag",
        arguments={**REPO, "tag": "v1.0", "asset": "example.zip"},
        operations=("repos/get-release-by-tag", "repos/get-release-asset"),
    ),
    Row(
        tool="release_write",
        arguments={
            **REPO,
            "method": "create",
            "tag": "v2",
            "target": "main",
            "name": "Two",
            "body": "News",
            "draft": True,
            "prerelease": False,
            "make_latest": "true",
            "generate_release_notes": False,
        },
        operations=("repos/create-release",),
    ),
    Row(
        tool="release_write",
        arguments={**REPO, "method": "update", "release_id": 1, "name": "Two", "draft": False},
        operations=("repos/update-release",),
    ),
    Row(
        tool="release_write",
        arguments={**REPO, "method": "delete", "release_id": 1},
        confirmed=True,
        operations=("repos/delete-release",),
    ),
    Row(
        tool="release_write",
        arguments={**REPO, "method": "delete_asset", "asset_id": 1},
        confirmed=True,
        operations=("repos/delete-release-asset",),
    ),
    Row(
        tool="release_write",
        arguments={**REPO, "method": "generate_notes", "tag": "v2", "previous_tag": "v1"},
        operations=("repos/generate-release-notes",),
    ),
]
