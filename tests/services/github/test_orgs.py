"""Organisations, teams, access and stars: what the operator's lists leave of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.github.conftest import Github
from tests.services.github.doubles.loopback import json_answer
from tests.services.github.further import ON, code, every_page, graphql, leading, queries, told
from tests.services.github.stage import ME, REPO, Stage, staged

STARRED = "/user/starred/octo/hello"
TEAM = {"name": "Core", "slug": "core", "description": None, "url": "https://x"}


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a GitHub that this test fills."""
    with staged() as found:
        yield found


def organisation(name: str, *, total: int = 1) -> dict[str, Any]:
    """Return an organisation with a team."""
    return {"login": name, "teams": {"totalCount": total, "nodes": [TEAM]}}


def teams(*organisations: dict[str, Any]) -> dict[str, Any]:
    """Return what the query about teams finds."""
    info = {"hasNextPage": False, "endCursor": None}
    return {"user": {"organizations": {"pageInfo": info, "nodes": list(organisations)}}}


async def test_teams_are_yours_unless_somebody_is_named(github: Github, stage: Stage) -> None:
    """Organisations of which the operator's list names nothing are left out."""
    graphql(stage, **teams(organisation("octo", total=200), organisation("acme")))
    async with github(stage.url, **ON, allow_repositories="octo/*") as client:
        own = told(await client.call("get_teams"))
        told(await client.call("get_teams", user="hubot"))
        refused = await client.call("get_team_members", org="acme", team_slug="core")
    assert [(team["org"], team["slug"]) for team in own["teams"]] == [("octo", "core")]
    assert any("More teams of octo" in warning for warning in own["warnings"])
    assert [query["login"] for query in queries(stage)] == [ME, "hubot"]
    assert code(refused) == "REPOSITORY_NOT_ALLOWED"


async def test_who_has_access_is_private_reading(github: Github, stage: Stage) -> None:
    """Only who may push sees it, also of a public repository."""
    person = {"login": "ann", "id": 1, "role_name": "write", "permissions": {"push": True}}
    stage.on("GET", "/repos/octo/hello/collaborators", [person])
    stage.on("GET", "/repos/octo/hello/branches", [])
    stage.on("GET", "/gists", [])
    async with github(stage.url, **ON) as client:
        result = told(await client.call("list_repository_collaborators", **REPO))
        told(await client.call("list_branches", **REPO))
        refused = await client.call("create_gist", filename="a", content="b", public=True)
    assert result["members"] == [
        {"login": "ann", "id": 1, "type": None, "role": "write", "permissions": ["push"]}
    ]
    assert code(refused) == "FLOW_GUARD"


async def test_members_of_a_team_end_whatever_their_links_say(github: Github, stage: Stage) -> None:
    """A link back would be followed for ever."""
    path = "/orgs/octo/teams/core/members"
    stage.on("GET", path, leading([{"login": "ann", "id": 1}], "page=2"))
    async with github(stage.url, **ON) as client:
        pages = await every_page(client, "get_team_members", org="octo", team_slug="core")
    assert [query["page"] for query in stage.queries(path)] == ["1", "2"]
    assert len(pages) == 2


async def test_a_star_is_given_and_taken(github: Github, stage: Stage) -> None:
    """Neither has to be confirmed; the repository has to be one that may be read."""
    for method in ("PUT", "DELETE"):
        stage.on(method, STARRED, json_answer(None, 204))
    async with github(stage.url, **ON) as client:
        tried = told(await client.call("star_repository", **REPO, dry_run=True))
        assert stage.sent("PUT") == []
        given = told(await client.call("star_repository", **REPO))
        taken = told(await client.call("unstar_repository", **REPO))
    async with github(stage.url, **ON, allow_repositories="acme/*") as client:
        refused = await client.call("star_repository", **REPO)
    assert [tried["starred"], given["starred"], taken["starred"]] == [None, True, False]
    assert [stage.sent("PUT"), stage.sent("DELETE")] == [[(STARRED, None)]] * 2
    assert code(refused) == "REPOSITORY_NOT_ALLOWED"


async def test_starred_repositories_that_may_not_be_read_are_left_out(
    github: Github, stage: Stage
) -> None:
    """Cut by bytes, the list goes on where it was, and shows each of the others once."""
    names = [f"{owner}/r{number}" for number in range(30) for owner in ("octo", "acme")]
    items = [
        {"full_name": name, "html_url": "https://x", "description": "d" * 300} for name in names
    ]
    stage.on("GET", "/user/starred", items)
    limits = {"allow_repositories": "octo/*", "answer_bytes": 4_096}
    async with github(stage.url, **ON, **limits) as client:
        pages = await every_page(client, "list_starred_repositories")
    shown = [item["full_name"] for page in pages for item in page["items"]]
    assert len(pages) > 1
    assert shown == [name for name in names if name.startswith("octo/")]


async def test_toolsets_that_are_off_say_what_switches_them_on(
    github: Github, stage: Stage
) -> None:
    """None of these is on by default."""
    async with github(stage.url) as client:
        answer = await client.rpc("tools/call", {"name": "star_repository", "arguments": REPO})
    assert "stargazers" in str(answer["error"])
