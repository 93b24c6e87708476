"""Organisations, teams, and who has access: what not everybody can see counts as private."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.tools import Annotations, Listing
from core.untrusted import clean
from services.github.errors import AuthRequired, NotFoundOrNoAccess
from services.github.models.common import PageArguments, RepositoryArguments
from services.github.models.context import Users
from services.github.models.orgs import Member, Members, Team, Teams
from services.github.policy.names import parse_login, parse_owner, parse_slug
from services.github.tools.context import Order, SearchQuery, account_of, search
from services.github.tools.conversations import as_documented
from services.github.tools.desk import Call, Desk

TOOLSET = "orgs"
READS_ORGS = Annotations(open_world=True)

TEAM_MEMBERS = "/orgs/{org}/teams/{team_slug}/members"
COLLABORATORS = "/repos/{owner}/{repo}/collaborators"
TEAMS = """query($login: String!, $first: Int!, $after: String) { user(login: $login) {
 organizations(first: $first, after: $after) { pageInfo { hasNextPage endCursor } nodes { login
  teams(first: 100, userLogins: [$login]) {
   totalCount nodes { name slug description url } } } } } }"""
Json = Mapping[str, Any]


class SearchOrgs(PageArguments):
    """Arguments of search_orgs, those of the official server."""

    query: SearchQuery
    sort: Literal["followers", "repositories", "joined"] | None = None
    order: Order | None = None


class GetTeams(PageArguments):
    """Arguments of get_teams."""

    user: str | None = Field(None, description="You, when left out.")


class GetTeamMembers(PageArguments):
    """Arguments of get_team_members."""

    org: str
    team_slug: str


class ListCollaborators(RepositoryArguments, PageArguments):
    """Arguments of list_repository_collaborators."""

    affiliation: Literal["outside", "direct", "all"] = "all"


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = OrgTools(desk)
    return [
        Listing(
            name="search_orgs",
            title="Search organisations",
            description="Find organisations: `github location:california`.",
            handler=tools.search_orgs,
            arguments=SearchOrgs,
            result=Users,
            annotations=READS_ORGS,
        ),
        Listing(
            name="get_teams",
            title="List teams of a person",
            description="Teams that somebody is in, of organisations that you can see.",
            handler=tools.get_teams,
            arguments=GetTeams,
            result=Teams,
            annotations=READS_ORGS,
        ),
        Listing(
            name="get_team_members",
            title="List members of a team",
            description="Members of a team.",
            handler=tools.get_team_members,
            arguments=GetTeamMembers,
            result=Members,
            annotations=READS_ORGS,
        ),
        Listing(
            name="list_repository_collaborators",
            title="List who has access",
            description="People with access to a repository, and their permissions.",
            handler=tools.list_repository_collaborators,
            arguments=ListCollaborators,
            result=Members,
            annotations=READS_ORGS,
        ),
    ]


class OrgTools:
    """The tools about organisations."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def search_orgs(self, arguments: SearchOrgs, context: Context) -> Users:
        """Search organisations."""
        call = self._desk.call(context)
        window = call.window(arguments)
        query = f"{arguments.query} type:org"
        data, after = await search(
            call, "users", query, window, sort=arguments.sort, order=arguments.order
        )
        parts = [account_of(item) for item in window.rest(data["items"])]
        shown, members = window.cut(parts, after, total=data["total_count"])
        incomplete = data["incomplete_results"]
        return Users(items=shown, incomplete=incomplete, **members, **call.members())

    async def get_teams(self, arguments: GetTeams, context: Context) -> Teams:
        """List the teams of somebody."""
        call = self._desk.call(context)
        login = await _login(call, arguments.user)
        window = call.window(arguments)
        data = await call.graphql(TEAMS, login=login, first=window.per_page, after=window.after)
        if data["user"] is None:
            raise NotFoundOrNoAccess(f"There is no user {login}.")
        found = data["user"]["organizations"]
        call.read_private(f"teams of {login}")
        teams = [team for org in found["nodes"] or () if org for team in _teams(call, org)]
        info = found["pageInfo"]
        after = info["endCursor"] if info["hasNextPage"] else None
        shown, members = window.cut(window.rest(teams), after)
        return Teams(teams=shown, **members, **call.members())

    async def get_team_members(self, arguments: GetTeamMembers, context: Context) -> Members:
        """List the members of a team."""
        call, org = self._desk.call(context), parse_owner(arguments.org)
        call.desk.access.check_owner(org)
        team = parse_slug(arguments.team_slug, "team")
        window = call.window(arguments)
        reply = await call.page(
            TEAM_MEMBERS, org=org, team_slug=team, page=window.page, per_page=window.per_page
        )
        call.read_private(f"the team {org}/{team}")
        parts = [_member(item, item.get("role")) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, reply.next_page)
        return Members(members=shown, **members, **call.members())

    async def list_repository_collaborators(
        self, arguments: ListCollaborators, context: Context
    ) -> Members:
        """List who has access to a repository, which only they can see."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        reply = await call.page(
            COLLABORATORS,
            repo=repo,
            query={"affiliation": arguments.affiliation},
            page=window.page,
            per_page=window.per_page,
        )
        call.read_private(f"collaborators of {repo}")
        parts = [_member(item, item.get("role_name")) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, reply.next_page)
        return Members(members=shown, **members, **call.members())


async def _login(call: Call, user: str | None) -> str:
    """Return whose teams are asked for."""
    if user is not None:
        return parse_login(user)
    viewer = await call.viewer("")
    if viewer is None:
        raise AuthRequired(
            "The credential is nobody's own, so it is in no team.", hint="Name the user."
        )
    return viewer


def _teams(call: Call, org: Json) -> list[Team]:
    """Return somebody's teams of an organisation, where the operator's list names any of it."""
    if not call.desk.access.may_use_owner(org["login"]):
        return []
    found = [team for team in org["teams"]["nodes"] or () if team]
    if org["teams"]["totalCount"] > len(found):
        call.warnings.append(f"More teams of {org['login']} are there than are shown.")
    return [_team(org["login"], team) for team in found]


@as_documented
def _team(org: str, item: Json) -> Team:
    return Team(
        org=org,
        slug=item["slug"],
        name=clean(item["name"]).text,
        description=clean(item["description"] or "").text or None,
        url=item["url"],
    )


@as_documented
def _member(item: Json, role: str | None) -> Member:
    given = item.get("permissions")
    return Member(
        login=item["login"],
        id=item["id"],
        type=item.get("type"),
        role=role,
        permissions=None if given is None else [name for name, has in given.items() if has],
    )
