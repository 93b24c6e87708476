"""Calls of the toolset orgs."""

from __future__ import annotations

from tests.services.github.calls import REPO, Row

TEAM = {"name": "Core", "slug": "core", "description": None, "url": "https://github.com/orgs/o"}
TEAMS = {
    "user": {
        "organizations": {
            "pageInfo": {"hasNextPage": False, "endCursor": None},
            "nodes": [{"login": "octo-org", "teams": {"totalCount": 1, "nodes": [TEAM]}}],
        }
    }
}
ROWS = [
    Row(
        tool="search_orgs",
        arguments={"query": "octo", "sort": "joined", "order": "desc", "perPage": 3},
        operations=("search/users",),
    ),
    Row(tool="get_teams", graphql=TEAMS, operations=("users/get-authenticated", "graphql")),
    Row(tool="get_teams", arguments={"user": "hubot"}, graphql=TEAMS, operations=("graphql",)),
    Row(
        tool="get_team_members",
        arguments={"org": "octo-org", "team_slug": "core", "perPage": 3},
        operations=("teams/list-members-in-org",),
    ),
    Row(
        tool="list_repository_collaborators",
        arguments={**REPO, "affiliation": "outside", "page": 1},
        operations=("repos/list-collaborators",),
    ),
]
