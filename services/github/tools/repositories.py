"""Making repositories: new ones, and forks."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from core.context import Context
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.errors import AuthRequired
from services.github.models.common import Planned, RepositoryArguments, WriteArguments
from services.github.models.context import RepositoryMade
from services.github.policy.names import Repo, parse_owner, parse_repo_name
from services.github.tools.desk import Call, Desk
from services.github.writes import Plan

TOOLSET = "context"
MAKES = Annotations(read_only=False, destructive=False, idempotent=False, open_world=True)
FORKS = Annotations(read_only=False, destructive=False, idempotent=True, open_world=True)
MAX_DESCRIPTION_CHARS = 350


class CreateRepository(WriteArguments):
    """Arguments of create_repository, those of the official server."""

    name: str
    description: str | None = Field(None, max_length=MAX_DESCRIPTION_CHARS)
    organization: str | None = Field(None, description="Yours, when left out.")
    private: bool = True
    autoInit: bool = Field(False, description="With a README.")  # the official name


class ForkRepository(RepositoryArguments, WriteArguments):
    """Arguments of fork_repository."""

    organization: str | None = Field(None, description="To your account, when left out.")


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = RepositoryTools(desk)
    return [
        Listing(
            name="create_repository",
            title="Create a repository",
            description="Create a repository, private unless it is said otherwise.",
            handler=tools.create_repository,
            arguments=CreateRepository,
            result=RepositoryMade,
            annotations=MAKES,
        ),
        Listing(
            name="fork_repository",
            title="Fork a repository",
            description="Fork a repository; one that is forked already stays as it is. Its files "
            "appear a little later.",
            handler=tools.fork_repository,
            arguments=ForkRepository,
            result=RepositoryMade,
            annotations=FORKS,
        ),
    ]


class RepositoryTools:
    """The tools that make repositories."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create_repository(
        self, arguments: CreateRepository, context: Context
    ) -> RepositoryMade:
        """Create a repository of the credential's user or of an organisation."""
        call = self._desk.call(context)
        owner = await _owner(call, arguments.organization)
        repo = Repo(owner, parse_repo_name(arguments.name))
        body: dict[str, Any] = {
            "name": repo.name,
            "private": arguments.private,
            "auto_init": arguments.autoInit,
        }
        if arguments.description is not None:
            body["description"] = arguments.description
        request = Request(method="POST", route="/user/repos", body=body)
        if arguments.organization is not None:
            request = Request(
                method="POST", route="/orgs/{org}/repos", values={"org": owner}, body=body
            )
        kind = "private" if arguments.private else "public"
        plan = Plan(
            toolset=TOOLSET,
            what=f"create the {kind} repository {repo}",
            requests=[request],
            owner=owner,
            public=not arguments.private,
        )
        return await _made(call, plan, arguments, repo)

    async def fork_repository(self, arguments: ForkRepository, context: Context) -> RepositoryMade:
        """Fork a repository to the credential's user or to an organisation."""
        call = self._desk.call(context)
        source = arguments.repository()
        facts = await call.repository(source)
        owner = await _owner(call, arguments.organization)
        request = Request(
            method="POST",
            route="/repos/{owner}/{repo}/forks",
            values={"owner": source.owner, "repo": source.name},
            body={"organization": owner} if arguments.organization else {},
        )
        plan = Plan(
            toolset=TOOLSET,
            what=f"fork {source} to {owner}",
            requests=[request],
            owner=owner,
            public=not facts.private,
        )
        return await _made(call, plan, arguments, Repo(owner, source.name))


async def _owner(call: Call, organization: str | None) -> str:
    """Return whose the new repository will be."""
    if organization is not None:
        return parse_owner(organization)
    owner = await call.viewer("")
    if owner is None:
        raise AuthRequired(
            "The credential is nobody's own, so no account is there to make a repository in.",
            hint="Name the organization; or the operator sets a user's MCP_GITHUB_TOKEN.",
        )
    return owner


async def _made(call: Call, plan: Plan, arguments: WriteArguments, repo: Repo) -> RepositoryMade:
    """Carry the plan out, where the operator's lists name the repository that it makes."""
    call.desk.access.check_writes(TOOLSET)
    call.desk.access.check_write(repo)
    outcome = await call.permit(plan, arguments)
    if isinstance(outcome, Planned):
        return RepositoryMade(full_name=repo.full_name, dry_run=outcome, **call.members())
    data = (await outcome.send(plan.requests[0])).data
    return RepositoryMade(
        full_name=data["full_name"],
        html_url=data["html_url"],
        private=data["private"],
        default_branch=data["default_branch"],
        **call.members(),
    )
