"""Whose credential it is, what is left of its quota; which repositories and people there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from core.context import Context
from core.models import NoArguments
from core.tools import Annotations, Listing
from core.untrusted import clean
from services.github.backend.requests import Request, iso_time
from services.github.models.common import PageArguments, RepositoryArguments
from services.github.models.context import (
    Me,
    Quota,
    Quotas,
    Repositories,
    RepositoryDetails,
    RepositoryFacts,
    User,
    Users,
)
from services.github.policy.names import Repo, parse_owner
from services.github.tools.desk import Call, Desk, Window

TOOLSET = "context"
ASKS = Annotations(open_world=True)
MAX_QUERY_CHARS = 256
FEATURES = ("issues", "projects", "wiki", "pages", "discussions", "downloads")
MERGE_METHODS = {
    "merge": "allow_merge_commit",
    "squash": "allow_squash_merge",
    "rebase": "allow_rebase_merge",
}

Order = Literal["asc", "desc"]


def _query(text: str) -> str:
    """Check a search's words, as GitHub does with 422."""
    if not text.strip() or len(text) > MAX_QUERY_CHARS:
        raise ValueError(f"a search has 1 to {MAX_QUERY_CHARS} characters")
    return text


SearchQuery = Annotated[str, AfterValidator(_query)]
"""What is searched for; its limits are left out of listed schemas."""


class ListRepos(PageArguments):
    """Arguments of list_repos."""

    owner: str | None = None
    sort: Literal["pushed", "updated", "full_name"] | None = None


class SearchRepositories(PageArguments):
    """Arguments of search_repositories, those of the official server."""

    query: SearchQuery
    sort: Literal["stars", "forks", "help-wanted-issues", "updated"] | None = None
    order: Order | None = None
    minimal_output: bool = True


class SearchUsers(PageArguments):
    """Arguments of search_users, those of the official server."""

    query: SearchQuery
    sort: Literal["followers", "repositories", "joined"] | None = None
    order: Order | None = None


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = ContextTools(desk)
    return [
        Listing(
            name="get_me",
            title="Who am I",
            description="Whose credential this is, with its scopes.",
            handler=tools.get_me,
            arguments=NoArguments,
            result=Me,
            annotations=ASKS,
        ),
        Listing(
            name="rate_limit",
            title="Rate limits",
            description="What is left of each quota. Costs nothing.",
            handler=tools.rate_limit,
            arguments=NoArguments,
            result=Quotas,
            annotations=ASKS,
        ),
        Listing(
            name="list_repos",
            title="List repositories",
            description="Repositories of an owner, or your own.",
            handler=tools.list_repos,
            arguments=ListRepos,
            result=Repositories,
            annotations=ASKS,
        ),
        Listing(
            name="get_repo",
            title="Get a repository",
            description="Default branch, your permissions, features, state.",
            handler=tools.get_repo,
            arguments=RepositoryArguments,
            result=RepositoryDetails,
            annotations=ASKS,
        ),
        Listing(
            name="search_repositories",
            title="Search repositories",
            description="Find repositories: `topic:react stars:>9 user:octo`.",
            handler=tools.search_repositories,
            arguments=SearchRepositories,
            result=Repositories,
            annotations=ASKS,
        ),
        Listing(
            name="search_users",
            title="Search users",
            description="Find people: `john location:seattle`.",
            handler=tools.search_users,
            arguments=SearchUsers,
            result=Users,
            annotations=ASKS,
        ),
    ]


class ContextTools:
    """The tools about the credential, repositories and people."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def get_me(self, arguments: NoArguments, context: Context) -> Me:
        """Tell whose credential it is."""
        call = self._desk.call(context)
        reply = await call.reply(Request(route="/user"))
        user, scopes = reply.data, reply.headers.get("x-oauth-scopes")
        return Me(
            **_members(user, "login", "id", "type", "html_url", "created_at", "email"),
            **_lines(user, "name", "company", "location", "bio"),
            **_members(user, "public_repos", "total_private_repos"),
            scopes=None if scopes is None else [s.strip() for s in scopes.split(",") if s.strip()],
            **call.members(),
        )

    async def rate_limit(self, arguments: NoArguments, context: Context) -> Quotas:
        """Tell what is left of each quota."""
        call = self._desk.call(context)
        found = (await call.get("/rate_limit"))["resources"]
        quotas = {
            name: Quota(
                **_members(one, "limit", "used", "remaining"), reset_at=iso_time(one["reset"])
            )
            for name, one in found.items()
        }
        return Quotas(resources=quotas, **call.members())

    async def list_repos(self, arguments: ListRepos, context: Context) -> Repositories:
        """List the repositories of an owner, or of the credential."""
        call = self._desk.call(context)
        window = call.window(arguments)
        request = await _list_of(call, arguments, window)
        reply = await call.reply(request)
        items = allowed(call, reply.data)
        shown, members = window.cut(
            [repository_of(item) for item in window.rest(items)], reply.next_page
        )
        call.heard_in_public("descriptions of repositories")
        return Repositories(items=shown, **members, **call.members())

    async def get_repo(self, arguments: RepositoryArguments, context: Context) -> RepositoryDetails:
        """Tell what there is to know of a repository."""
        call = self._desk.call(context)
        repo = arguments.repository()
        data = await call.get("/repos/{owner}/{repo}", repo=repo)
        await call.origin(repo)
        return RepositoryDetails(**_details(data, repo), **call.members())

    async def search_repositories(
        self, arguments: SearchRepositories, context: Context
    ) -> Repositories:
        """Search repositories."""
        call = self._desk.call(context)
        window = call.window(arguments)
        data, following = await search(
            call,
            "repositories",
            arguments.query,
            window,
            sort=arguments.sort,
            order=arguments.order,
        )
        items = window.rest(allowed(call, data["items"]))
        whole = not arguments.minimal_output
        shown, members = window.cut(
            [repository_of(item, whole) for item in items], following, total=data["total_count"]
        )
        call.heard_in_public("a search of repositories")
        return Repositories(
            items=shown, incomplete=data["incomplete_results"], **members, **call.members()
        )

    async def search_users(self, arguments: SearchUsers, context: Context) -> Users:
        """Search people; organisations are left out, as in the official server."""
        call = self._desk.call(context)
        window = call.window(arguments)
        query = f"{arguments.query} type:user"
        data, following = await search(
            call, "users", query, window, sort=arguments.sort, order=arguments.order
        )
        shown, members = window.cut(
            [account_of(item) for item in window.rest(data["items"])],
            following,
            total=data["total_count"],
        )
        return Users(
            items=shown, incomplete=data["incomplete_results"], **members, **call.members()
        )


# --- asking --------------------------------------------------------------------------------------


async def search(
    call: Call,
    what: str,
    query: str,
    window: Window,
    *,
    sort: str | None = None,
    order: str | None = None,
    repo: Repo | None = None,
) -> tuple[Any, int | None]:
    """Return GitHub's answer to a search and the number of its next page.

    Args:
        what: Of the route: repositories, users, commits ….
        repo: What is searched, where it is one repository; it is checked.
    """
    reply = await call.page(
        f"/search/{what}",
        query={"q": query, "sort": sort, "order": order},
        page=window.page,
        per_page=window.per_page,
        **({} if repo is None else {"repo": repo}),
    )
    if reply.data.get("incomplete_results"):
        call.warnings.append("GitHub's search ran out of time: results may be missing.")
    return reply.data, reply.next_page


async def _list_of(call: Call, arguments: ListRepos, window: Window) -> Request:
    """Return the request that lists an owner's repositories, those of organisations too."""
    query: dict[str, Any] = {
        "sort": arguments.sort or "pushed",
        "page": window.page,
        "per_page": window.per_page,
    }
    if arguments.owner is None:
        return Request(route="/user/repos", query=query)
    owner = parse_owner(arguments.owner)
    if (await call.viewer(owner) or "").lower() == owner.lower():
        return Request(route="/user/repos", query={**query, "affiliation": "owner"})
    account = await call.get("/users/{username}", username=owner)
    if account.get("type") == "Organization":
        return Request(route="/orgs/{org}/repos", values={"org": owner}, query=query)
    return Request(route="/users/{username}/repos", values={"username": owner}, query=query)


def allowed(call: Call, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the repositories that may be shown; what is private is remembered."""
    shown = [item for item in items if call.may_read(item["full_name"])]
    for item in shown:
        if item.get("private"):
            call.read_private(item["full_name"])
    note_left_out(call, len(items) - len(shown))
    return shown


def note_left_out(call: Call, count: int) -> None:
    """Say how many results the operator's list leaves out."""
    if count:
        call.warnings.append(
            f"{count} results of repositories that MCP_GITHUB_ALLOW_REPOSITORIES does not name "
            "are left out."
        )


# --- telling -------------------------------------------------------------------------------------


def repository_of(item: Mapping[str, Any], whole: bool = False) -> RepositoryFacts:
    """Return a repository; `whole` is for all that GitHub says of it."""
    return RepositoryFacts(
        **_members(item, "full_name", "html_url", "visibility", "language", "default_branch"),
        **_members(item, "pushed_at", "updated_at"),
        **_lines(item, "description"),
        private=bool(item.get("private")),
        fork=bool(item.get("fork")),
        archived=bool(item.get("archived")),
        topics=item.get("topics") or [],
        stargazers_count=item.get("stargazers_count") or 0,
        forks_count=item.get("forks_count") or 0,
        open_issues_count=item.get("open_issues_count") or 0,
        more=dict(item) if whole else None,
    )


def _details(data: Mapping[str, Any], asked: Repo) -> dict[str, Any]:
    name = str(data["full_name"])
    return {
        **_members(data, "full_name", "id", "node_id", "html_url", "homepage", "visibility"),
        **_members(data, "default_branch", "language", "created_at", "updated_at", "pushed_at"),
        **_members(data, "delete_branch_on_merge"),
        **_lines(data, "description"),
        **{flag: bool(data.get(flag)) for flag in ("private", "archived", "disabled", "fork")},
        **{
            count: data.get(count) or 0
            for count in ("stargazers_count", "forks_count", "open_issues_count")
        },
        "renamed_from": None if name.lower() == asked.key else asked.full_name,
        "parent": (data.get("parent") or {}).get("full_name"),
        "template": bool(data.get("is_template")),
        "license": (data.get("license") or {}).get("spdx_id"),
        "topics": data.get("topics") or [],
        "watchers_count": data.get("subscribers_count") or 0,
        "size_kb": data.get("size") or 0,
        "permissions": [n for n, given in (data.get("permissions") or {}).items() if given],
        "features": [feature for feature in FEATURES if data.get(f"has_{feature}")],
        "merge_methods": [name for name, flag in MERGE_METHODS.items() if data.get(flag)],
    }


def account_of(item: Mapping[str, Any]) -> User:
    """Return a person or organisation that a search found."""
    return User(**_members(item, "login", "id", "type", "avatar_url"), profile_url=item["html_url"])


def _members(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: item.get(name) for name in names}


def _lines(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return texts that people wrote, without what cannot be seen."""
    return {name: clean(item[name]).text if item.get(name) else None for name in names}
