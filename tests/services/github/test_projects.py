"""Projects: whose words items hold, values by name, many items at once, and what needs a yes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.github.conftest import Github
from tests.services.github.doubles.loopback import Answer, Asked, json_answer
from tests.services.github.further import (
    ON,
    PRIVATE,
    code,
    confirmed,
    every_page,
    graphql,
    guard_awake,
    leading,
    told,
)
from tests.services.github.stage import ME, Stage, staged

BASE = "/orgs/octo/projectsV2/1"
PROJECT = {"owner": "octo", "owner_type": "org", "project_number": 1}
FIELDS = [
    {"id": 10, "name": "Title", "data_type": "title"},
    {
        "id": 11,
        "name": "Status",
        "data_type": "single_select",
        "options": [{"id": "a1", "name": {"raw": "Todo"}}, {"id": "b2", "name": {"raw": "Done"}}],
    },
    {
        "id": 12,
        "name": "Sprint",
        "data_type": "iteration",
        "configuration": {"iterations": [{"id": "c3", "title": {"raw": "One"}}]},
    },
    {"id": 13, "name": "Points", "data_type": "number"},
]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a GitHub with a private project."""
    with staged() as found:
        found.on("GET", BASE, project())
        found.on("GET", f"{BASE}/fields", FIELDS)
        found.on("GET", "/users/octo", {"type": "Organization", "id": 7, "node_id": "O_1"})
        yield found


def project(*, public: bool = False) -> dict[str, Any]:
    """Return the project."""
    return {"id": 5, "node_id": "PVT_1", "number": 1, "title": "Plans", "public": public}


def item(number: int, login: str = "octo", name: str = "hello") -> dict[str, Any]:
    """Return an item that is an issue."""
    title = f"Title {number}"
    return {
        "id": number,
        "node_id": f"PVTI_{number}",
        "content_type": "Issue",
        "content": {
            "url": f"https://api.github.com/repos/octo/{name}/issues/{number}",
            "html_url": f"https://github.com/octo/{name}/issues/{number}",
            "number": number,
            "title": title,
            "body": f"Body {number}",
            "state": "open",
            "user": {"login": login},
            "author_association": "OWNER" if login == "octo" else "NONE",
        },
        "fields": [
            {"id": 10, "name": "Title", "data_type": "title", "value": {"raw": title}},
            {
                "id": 11,
                "name": "Status",
                "data_type": "single_select",
                "value": {"id": "a1", "name": {"raw": "Todo"}},
            },
            {"id": 14, "name": "Assignees", "data_type": "assignees", "value": [{"login": "ann"}]},
            {
                "id": 15,
                "name": "Parent",
                "data_type": "parent_issue",
                "value": {"title": title, "number": 9, "url": "https://x/9"},
            },
        ],
    }


async def test_titles_of_items_are_of_who_opened_the_issue(github: Github, stage: Stage) -> None:
    """Also where a field repeats them; titles of other issues are left out."""
    stage.on("GET", f"{BASE}/items", [item(1, "mallory"), item(2)])
    async with github(stage.url, **ON) as client:
        result = told(await client.call("projects_list", method="list_project_items", **PROJECT))
    strange, own = result["items"]
    assert (strange["withheld"], strange["number"]) == (True, 1)
    assert "Title 1" not in str(result)
    assert own["title"] == "Title 2"
    assert own["fields"] == {
        "Title": "Title 2",
        "Status": "Todo",
        "Assignees": ["ann"],
        "Parent": "https://x/9",
    }


async def test_items_of_repositories_that_may_not_be_read_are_left_out(
    github: Github, stage: Stage
) -> None:
    """By itself such an item is refused, and so is a project of an owner nothing is allowed of."""
    stage.on("GET", f"{BASE}/items", [item(1, name="other"), item(2)])
    stage.on("GET", f"{BASE}/items/1", item(1, name="other"))
    async with github(stage.url, **ON, allow_repositories="octo/hello") as client:
        result = told(await client.call("projects_list", method="list_project_items", **PROJECT))
        one = await client.call("projects_get", method="get_project_item", **PROJECT, item_id=1)
        acme = {**PROJECT, "owner": "acme"}
        elsewhere = await client.call("projects_get", method="get_project", **acme)
    assert [found["id"] for found in result["items"]] == [2]
    assert code(one) == code(elsewhere) == "REPOSITORY_NOT_ALLOWED"


async def test_a_private_project_counts_as_private_reading(github: Github, stage: Stage) -> None:
    """So does a private issue in any project."""
    stage.on("GET", "/repos/octo/hello/branches", [])
    stage.on("GET", "/gists", [])
    async with github(stage.url, **ON) as client:
        told(await client.call("projects_get", method="get_project", **PROJECT))
        told(await client.call("list_branches", owner="octo", repo="hello"))
        refused = await client.call("create_gist", filename="a", content="b", public=True)
    assert refused.error is not None
    assert "the project octo/1" in refused.error["message"]


async def test_writing_to_a_public_project_asks_the_flow_guard(
    github: Github, stage: Stage
) -> None:
    """What the project is now decides; a private one can be written to."""
    stage.on("POST", f"{BASE}/items", {"id": 3, "node_id": "PVTI_3"})
    add = {
        **PROJECT,
        "method": "add_project_item",
        "item_owner": "octo",
        "item_repo": "hello",
        "item_type": "issue",
        "issue_number": 3,
    }
    async with github(stage.url, **ON) as client:
        await guard_awake(client, stage)
        added = told(await client.call("projects_write", **add))
        stage.on("GET", BASE, project(public=True))
        refused = await client.call("projects_write", **add)
    assert added["id"] == 3
    assert code(refused) == "FLOW_GUARD"


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ({"name": "status", "value": "done"}, {"id": 11, "value": "b2"}),
        ({"name": "Status", "value": "a1"}, {"id": 11, "value": "a1"}),
        ({"name": "Sprint", "value": "one"}, {"id": 12, "value": "c3"}),
        ({"name": "Points", "value": 2.5}, {"id": 13, "value": 2.5}),
        ({"name": "Points", "value": None}, {"id": 13, "value": None}),
        ({"id": 99, "value": "x"}, {"id": 99, "value": "x"}),
    ],
)
async def test_fields_and_choices_are_found_by_their_names(
    github: Github, stage: Stage, field: dict[str, Any], sent: dict[str, Any]
) -> None:
    """GitHub wants ids; null clears a value."""
    stage.on("PATCH", f"{BASE}/items/1", item(1))
    async with github(stage.url, **ON) as client:
        told(
            await client.call(
                "projects_write",
                **PROJECT,
                method="update_project_item",
                item_id=1,
                updated_field=field,
            )
        )
    assert stage.sent("PATCH") == [(f"{BASE}/items/1", {"fields": [sent]})]


@pytest.mark.parametrize(
    ("field", "hint"),
    [({"name": "Statu", "value": "Done"}, "Status"), ({"name": "Status", "value": "Don"}, "Done")],
)
async def test_unknown_names_are_refused_with_the_nearest(
    github: Github, stage: Stage, field: dict[str, Any], hint: str
) -> None:
    """Nothing is sent."""
    update = {**PROJECT, "method": "update_project_item", "item_id": 1, "updated_field": field}
    async with github(stage.url, **ON) as client:
        result = await client.call("projects_write", **update)
    assert result.error is not None
    assert hint in result.error["hint"]
    assert stage.sent("PATCH") == []


async def test_of_many_items_each_is_told_on_its_own(github: Github, stage: Stage) -> None:
    """One that fails does not stop the others; its code says why."""
    here = {"id": "PVT_1"}
    nodes = [{"id": "PVTI_1", "fullDatabaseId": "1", "project": here}]
    places = {"nodes": [{"fullDatabaseId": "3", "project": here}]}
    graphql(stage, nodes=nodes, repository={"found": {"projectItems": places}})
    stage.on("PATCH", f"{BASE}/items/1", item(1))
    stage.on("PATCH", f"{BASE}/items/3", item(3))
    issue = {"item_owner": "octo", "item_repo": "hello", "issue_number": 3}
    update = {
        **PROJECT,
        "method": "update_project_items",
        "items": [{"node_id": "PVTI_1"}, {"item_id": 2}, issue],
        "updated_field": {"name": "Status", "value": "Done"},
    }
    async with github(stage.url, **ON) as client:
        tried = told(await client.call("projects_write", **update, dry_run=True))
        result = told(await client.call("projects_write", **update))
    assert len(tried["dry_run"]["requests"]) == 3
    assert [(one["item_id"], one["error"]) for one in result["items"]] == [
        (1, None),
        (2, "NOT_FOUND_OR_NO_ACCESS"),
        (3, None),
    ]
    assert result["warnings"] == ["1 of 3 items were not changed."]


async def test_without_quota_the_rest_of_many_items_is_not_sent(
    github: Github, stage: Stage
) -> None:
    """Asking on would only make the wait longer."""
    headers = {"Content-Type": "application/json", "Retry-After": "60"}
    limited = b'{"message": "You have exceeded a secondary rate limit."}'
    stage.on("PATCH", f"{BASE}/items/1", Answer(403, limited, headers))
    update = {
        **PROJECT,
        "method": "update_project_items",
        "items": [{"item_id": 1}, {"item_id": 2}],
        "updated_field": {"id": 13, "value": 1},
    }
    async with github(stage.url, **ON) as client:
        result = told(await client.call("projects_write", **update))
    codes = [one["error"] for one in result["items"]]
    assert codes == ["SECONDARY_RATE_LIMITED", "NOT_SENT"]
    assert len(stage.sent("PATCH")) == 1


async def test_an_item_of_another_project_is_not_changed(github: Github, stage: Stage) -> None:
    """A node id leads anywhere."""
    graphql(stage, nodes=[{"id": "PVTI_1", "fullDatabaseId": "1", "project": {"id": "PVT_2"}}])
    update = {
        **PROJECT,
        "method": "update_project_items",
        "items": [{"node_id": "PVTI_1"}],
        "updated_field": {"id": 13, "value": 1},
    }
    async with github(stage.url, **ON) as client:
        result = await client.call("projects_write", **update)
    assert code(result) == "NOT_FOUND_OR_NO_ACCESS"
    assert stage.sent("PATCH") == []


async def test_deleting_has_to_be_confirmed_and_the_owner_allowed(
    github: Github, stage: Stage
) -> None:
    """A project is of an owner: one repository of theirs that may be written to is enough."""
    stage.on("DELETE", f"{BASE}/items/1", json_answer(None, 204))
    delete = {**PROJECT, "method": "delete_project_item", "item_id": 1}
    async with github(stage.url, **ON, write_repositories="octo/hello") as client:
        refused = await client.call("projects_write", **delete)
        done = await confirmed(client, "projects_write", **delete)
    async with github(stage.url, **ON, write_repositories="acme/*") as client:
        forbidden = await client.call("projects_write", **delete)
    assert code(refused) == "CONFIRMATION_REQUIRED"
    assert done["id"] == 1
    assert len(stage.sent("DELETE")) == 1
    assert code(forbidden) == "REPOSITORY_NOT_ALLOWED"


async def test_a_status_update_is_told_once(github: Github, stage: Stage) -> None:
    """The mark of the first is found among the newest ones."""
    tell = {**PROJECT, "method": "create_project_status_update", "body": "Fine"}
    made = {"createProjectV2StatusUpdate": {"statusUpdate": {"id": "PVTSU_1"}}}
    graphql(stage, node={"statusUpdates": {"nodes": []}}, **made)
    async with github(stage.url, **ON) as client:
        first = told(await client.call("projects_write", **tell, idempotency_key="k"))
    body = next(
        asked.json()["variables"]["input"]["body"]
        for asked in stage.asked
        if asked.path == "/graphql" and "input" in asked.json()["variables"]
    )
    there = {"id": "PVTSU_1", "body": body, "createdAt": "2020-01-01T00:00:00Z"}
    there["author"] = {"login": ME, "__typename": "User"}
    graphql(stage, node={"statusUpdates": {"nodes": [there]}})
    async with github(stage.url, **ON) as client:
        second = told(await client.call("projects_write", **tell, idempotency_key="k"))
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert first["id"] == second["id"] == "PVTSU_1"


async def test_a_project_is_asked_for_with_its_owners_credential(
    github: Github, stage: Stage
) -> None:
    """Also by GraphQL, whose queries name it by its node id only."""
    token = "-".join(("token", "of", "octo"))
    info = {"hasNextPage": False, "endCursor": None}
    graphql(stage, node={"listed": {"totalCount": 0, "pageInfo": info, "nodes": []}})
    async with github(stage.url, **ON, tokens={"octo": token}) as client:
        told(await client.call("projects_list", method="list_project_views", **PROJECT))
    assert [asked.path for asked in stage.asked] == [BASE, "/graphql"]
    assert all(token in asked.headers["authorization"] for asked in stage.asked)


async def test_lists_end_whatever_their_links_say(github: Github, stage: Stage) -> None:
    """Both those that are handed on, and that of the fields, which is read to its end."""

    def fields(asked: Asked) -> Answer:
        number = sum(1 for one in stage.asked if one.path == asked.path)
        answer: Answer = leading(FIELDS if number == 1 else [], f"after=p{number}")(asked)
        return answer

    stage.on("GET", f"{BASE}/items", leading([item(2)], "after=here"))
    stage.on("GET", f"{BASE}/fields", fields)
    arguments = {**PROJECT, "method": "list_project_items"}
    async with github(stage.url, **ON) as client:
        pages = await every_page(client, "projects_list", **arguments)
        told(await client.call("projects_list", **arguments, field_names=["status"]))
    assert len(pages) == 2
    assert len(stage.queries(f"{BASE}/fields")) == 3


async def test_a_status_update_of_an_owner_that_is_not_allowed_is_not_shown(
    github: Github, stage: Stage
) -> None:
    """It is asked for by its node id, which does not say whose it is."""
    stage.repository("octo", "secret", **PRIVATE)
    node = {"project": {"number": 1, "public": False, "owner": {"login": "acme"}}}
    graphql(stage, node=node)
    get = {"method": "get_project_status_update", "status_update_id": "PVTSU_1"}
    async with github(stage.url, **ON, allow_repositories="octo/*") as client:
        result = await client.call("projects_get", **get)
    assert code(result) == "REPOSITORY_NOT_ALLOWED"
