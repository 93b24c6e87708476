"""Stars: repositories that somebody marked, and giving and taking one's own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.models.common import PageArguments, RepositoryArguments, WriteArguments
from services.github.models.context import Repositories
from services.github.models.stargazers import Star
from services.github.policy.names import parse_login
from services.github.tools.context import allowed, repository_of
from services.github.tools.desk import Desk
from services.github.writes import Plan

TOOLSET = "stargazers"
READS_STARS = Annotations(open_world=True)
STARS = Annotations(read_only=False, destructive=False, idempotent=True, open_world=True)

MINE = "/user/starred"
OF_USER = "/users/{username}/starred"
ONE = "/user/starred/{owner}/{repo}"


class ListStarred(PageArguments):
    """Arguments of list_starred_repositories."""

    username: str | None = Field(None, description="You, when left out.")
    sort: Literal["created", "updated"] | None = Field(None, description="Starred or pushed to.")
    direction: Literal["asc", "desc"] | None = None


class ChangeStar(RepositoryArguments, WriteArguments):
    """Arguments of star_repository and unstar_repository."""


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = StarTools(desk)
    return [
        Listing(
            name="list_starred_repositories",
            title="List starred repositories",
            description="Repositories that somebody starred.",
            handler=tools.list_starred_repositories,
            arguments=ListStarred,
            result=Repositories,
            annotations=READS_STARS,
        ),
        Listing(
            name="star_repository",
            title="Star a repository",
            description="Star a repository.",
            handler=tools.star_repository,
            arguments=ChangeStar,
            result=Star,
            annotations=STARS,
        ),
        Listing(
            name="unstar_repository",
            title="Unstar a repository",
            description="Take the star of a repository back.",
            handler=tools.unstar_repository,
            arguments=ChangeStar,
            result=Star,
            annotations=STARS,
        ),
    ]


class StarTools:
    """The tools about stars."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_starred_repositories(
        self, arguments: ListStarred, context: Context
    ) -> Repositories:
        """List what somebody starred, without what may not be read."""
        call = self._desk.call(context)
        window = call.window(arguments)
        values: dict[str, Any] = {}
        if arguments.username is not None:
            values["username"] = parse_login(arguments.username)
        reply = await call.page(
            OF_USER if values else MINE,
            query={"sort": arguments.sort, "direction": arguments.direction},
            page=window.page,
            per_page=window.per_page,
            **values,
        )
        items = window.rest(allowed(call, reply.data))
        call.heard_in_public("descriptions of repositories")
        shown, members = window.cut([repository_of(item) for item in items], reply.next_page)
        return Repositories(items=shown, **members, **call.members())

    async def star_repository(self, arguments: ChangeStar, context: Context) -> Star:
        """Star a repository."""
        return await self._set(arguments, context, starred=True)

    async def unstar_repository(self, arguments: ChangeStar, context: Context) -> Star:
        """Take a star back."""
        return await self._set(arguments, context, starred=False)

    async def _set(self, arguments: ChangeStar, context: Context, *, starred: bool) -> Star:
        """Give or take a star, which is the user's and changes nothing of the repository."""
        call, repo = self._desk.call(context), arguments.repository()
        call.desk.access.check_read(repo)
        plan = Plan(
            toolset=TOOLSET,
            what=f"{'star' if starred else 'unstar'} {repo}",
            requests=[
                Request(
                    method="PUT" if starred else "DELETE",
                    route=ONE,
                    values={"owner": repo.owner, "repo": repo.name},
                )
            ],
            owner=repo.owner,
            public=False,  # nothing that was read can go with a star
        )
        written = await call.write(plan, arguments)
        return Star(
            repository=repo.full_name,
            starred=starred if written.planned is None else None,
            **written.members(),
            **call.members(),
        )
