"""Calls of the toolset projects.

The description's example of a list of projects or items is a single one, which the service does not
take for a list.
"""

from __future__ import annotations

from typing import Any

from tests.services.github.calls import Row

NODE_ID = "MDc6UHJvamVjdDEwMDI2MDM="
ORG = {"owner": "octo-org", "owner_type": "org", "project_number": 2}
USER = {"owner": "octocat", "owner_type": "user", "project_number": 2}
ITEM_PLACE = {"item_owner": "octocat", "item_repo": "Hello-World"}
PROJECT = {
    "__typename": "ProjectV2",
    "id": NODE_ID,
    "number": 2,
    "public": True,
    "url": "https://github.com/orgs/octo-org/projects/2",
    "owner": {"__typename": "Organization", "login": "octo-org"},
}
PLACE = {"__typename": "ProjectV2Item", "id": "PVTI_1", "fullDatabaseId": "13", "project": PROJECT}
STATUS: dict[str, Any] = {
    "__typename": "ProjectV2StatusUpdate",
    "id": "PVTSU_1",
    "body": "On our way",
    "status": "ON_TRACK",
    "startDate": "2026-01-02",
    "targetDate": None,
    "createdAt": "2026-01-02T03:04:05Z",
    "creator": {"__typename": "User", "login": "octocat"},
    "project": PROJECT,
}
VIEW: dict[str, Any] = {
    "__typename": "ProjectV2View",
    "id": "PVTV_1",
    "number": 1,
    "name": "Board",
    "layout": "BOARD_LAYOUT",
    "filter": None,
    "visibleFields": {"nodes": [{"__typename": "ProjectV2Field", "databaseId": 12}]},
    "project": PROJECT,
}


def listed(node: dict[str, Any]) -> dict[str, Any]:
    """Return a list of one."""
    return {
        "totalCount": 1,
        "pageInfo": {"hasNextPage": False, "endCursor": None},
        "nodes": [node],
    }


BOARD = {"node": {**PROJECT, "statusUpdates": listed(STATUS), "views": listed(VIEW)}}
PLACES = {
    "nodes": [PLACE],
    "repository": {
        "issueOrPullRequest": {"__typename": "Issue", "projectItems": {"nodes": [PLACE]}}
    },
}
STATUS_FIELD = {"name": "status", "value": "in progress"}


def write(method: str, *operations: str, **arguments: Any) -> Row:
    """Return a call of projects_write."""
    data = {
        **BOARD,
        **PLACES,
        "createProjectV2": {"projectV2": PROJECT},
        "createProjectV2StatusUpdate": {"statusUpdate": STATUS},
    }
    return Row(
        tool="projects_write",
        arguments={"method": method, **arguments},
        graphql=data,
        operations=operations,
        confirmed=method.startswith("delete"),
    )


ROWS = [
    Row(
        tool="projects_list",
        arguments={"method": "list_projects", "owner": "octo-org", "query": "x", "after": "abc"},
        operations=("users/get-by-username", "projects/list-for-user"),
        error="BAD_RESPONSE",
    ),
    Row(
        tool="projects_list",
        arguments={"method": "list_projects", "owner": "octo-org", "owner_type": "org"},
        operations=("projects/list-for-org",),
        error="BAD_RESPONSE",
    ),
    Row(
        tool="projects_list",
        arguments={**ORG, "method": "list_project_fields", "per_page": 50, "before": "abc"},
        operations=("projects/list-fields-for-org",),
    ),
    Row(
        tool="projects_list",
        arguments={
            **USER,
            "method": "list_project_items",
            "field_names": ["status", "Priority"],
            "query": "is:open",
        },
        operations=("projects/list-fields-for-user", "projects/list-items-for-user"),
        error="BAD_RESPONSE",
    ),
    Row(
        tool="projects_list",
        arguments={**ORG, "method": "list_project_items", "fields": ["12", "13"]},
        operations=("projects/list-items-for-org",),
        error="BAD_RESPONSE",
    ),
    Row(
        tool="projects_list",
        arguments={**ORG, "method": "list_project_status_updates"},
        graphql=BOARD,
        operations=("projects/get-for-org", "graphql"),
    ),
    Row(
        tool="projects_list",
        arguments={**USER, "method": "list_project_views", "after": "abc"},
        graphql=BOARD,
        operations=("projects/get-for-user", "graphql"),
    ),
    Row(
        tool="projects_get",
        arguments={**ORG, "method": "get_project"},
        operations=("projects/get-for-org",),
    ),
    Row(
        tool="projects_get",
        arguments={**USER, "method": "get_project_field", "field_id": 12},
        operations=("projects/get-field-for-user",),
    ),
    Row(
        tool="projects_get",
        arguments={**ORG, "method": "get_project_item", "item_id": 13, "fields": ["12"]},
        operations=("projects/get-org-item",),
    ),
    Row(
        tool="projects_get",
        arguments={"method": "get_project_status_update", "status_update_id": "PVTSU_1"},
        graphql={"node": STATUS},
        operations=("graphql",),
    ),
    Row(
        tool="projects_get",
        arguments={"method": "get_project_view", "view_id": "PVTV_1"},
        graphql={"node": VIEW},
        operations=("graphql",),
    ),
    write(
        "add_project_item",
        "projects/add-item-for-org",
        **ORG,
        **ITEM_PLACE,
        item_type="issue",
        issue_number=3,
    ),
    write(
        "add_project_item",
        "projects/add-item-for-user",
        **USER,
        **ITEM_PLACE,
        item_type="pull_request",
        pull_request_number=4,
    ),
    write(
        "update_project_item",
        "projects/list-fields-for-org",
        "projects/update-item-for-org",
        **ORG,
        item_id=13,
        updated_field=STATUS_FIELD,
    ),
    write(
        "update_project_item",
        "graphql",
        "projects/update-item-for-user",
        **USER,
        **ITEM_PLACE,
        issue_number=3,
        updated_field={"id": 12, "value": "2026-01-02"},
    ),
    write(
        "update_project_items",
        "projects/update-item-for-org",
        **ORG,
        items=[
            {"node_id": "PVTI_1"},
            {"item_id": 14},
        ],
        updated_field={"name": "Story points", "value": 3.5},
    ),
    write("delete_project_item", "projects/delete-item-for-org", **ORG, item_id=13),
    write("delete_project_item", "projects/delete-item-for-user", **USER, item_id=13),
    write(
        "create_project_status_update",
        "graphql",
        **ORG,
        body="On our way",
        status="ON_TRACK",
        start_date="2026-01-02",
        target_date="2026-02-02",
    ),
    write(
        "create_project_view",
        "projects/create-view-for-org",
        **ORG,
        name="Board",
        layout="board",
        filter="is:open",
        visible_field_names=["Status"],
    ),
    write(
        "create_project_view",
        "projects/create-view-for-user",
        **USER,
        name="Table",
        layout="table",
        visible_fields=["12"],
    ),
    write("create_project", "graphql", owner="octo-org", owner_type="org", title="Plans"),
    write(
        "create_iteration_field",
        "projects/add-field-for-org",
        **ORG,
        field_name="Cycle",
        iteration_duration=14,
        start_date="2026-01-02",
        iterations=[{"title": "One", "start_date": "2026-01-02", "duration": 7}],
    ),
]
