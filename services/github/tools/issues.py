"""Reading issues: lists, searches, one issue with all that belongs to it, labels, milestones.

What GitHub's REST API tells without a credential is asked there. It lists pull requests among the
issues, so list_issues leaves them out and reads on until the page is full.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from core.context import Context
from core.errors import InvalidArguments, ToolError
from core.models import Arguments
from core.paging import fitting
from core.tools import Annotations, Listing
from services.github.errors import BadName, NotFoundOrNoAccess, ValidationFailed
from services.github.excerpts import excerpt
from services.github.models.common import (
    PageArguments,
    RepositoryArguments,
    select,
    unbounded,
)
from services.github.models.issues import (
    Issue,
    IssueRead,
    Issues,
    IssueType,
    IssueTypes,
    Labels,
    Milestones,
    OneLabel,
)
from services.github.models.pulls import PullRequest
from services.github.policy.names import Repo, parse_label, parse_login, parse_owner
from services.github.tools import conversations
from services.github.tools.context import note_left_out
from services.github.tools.desk import Call, Desk, Window

ASKS = Annotations(open_world=True)
ISSUES = "/repos/{owner}/{repo}/issues"
ISSUE = "/repos/{owner}/{repo}/issues/{issue_number}"
COMMENTS = "/repos/{owner}/{repo}/issues/{issue_number}/comments"
LABELS = "/repos/{owner}/{repo}/labels"
LABEL = "/repos/{owner}/{repo}/labels/{+name}"
MILESTONES = "/repos/{owner}/{repo}/milestones"

MAX_PAGES = 5
"""Pages of GitHub that one call of list_issues reads."""
MAX_PER_PAGE = 100
FRAME_BYTES = 4_000
"""Room for what is told of an issue besides its body."""
ALWAYS = ("number", "trust", "withheld")
OFFICIAL_NAMES = {
    "user": "author",
    "assignee": "assignees",
    "repository_url": "repository",
    "pull_request": "html_url",
}
"""Names of members in the argument `fields` of the official server, where ours are others."""

CLOSING = """query($owner: String!, $repo: String!, $number: Int!) {
  repository(owner: $owner, name: $repo) { issue(number: $number) {
    closedByPullRequestsReferences(first: 10, includeClosedPrs: true) {
      nodes { number repository { nameWithOwner } } } } } }"""

_Sort = Literal[
    "comments",
    "reactions",
    "reactions-+1",
    "reactions--1",
    "reactions-smile",
    "reactions-thinking_face",
    "reactions-heart",
    "reactions-tada",
    "interactions",
    "created",
    "updated",
]
# The names are GitHub's, and many: a model that guesses wrong is told them.
Sort = Annotated[_Sort, WithJsonSchema({"type": "string"})]
Json = Mapping[str, Any]


# --- arguments -----------------------------------------------------------------------------------


class FieldFilter(Arguments):
    """A value that a custom field has to have."""

    field_name: str
    value: str


class ListIssues(RepositoryArguments):
    """Arguments of list_issues: those of the official server, and whose issues."""

    state: Literal["OPEN", "CLOSED"] | None = None
    labels: list[str] = Field([])
    creator: str | None = None
    assignee: str | None = None
    milestone: str | None = Field(None, description="A number, or * or none.")
    since: str | None = None
    field_filters: list[FieldFilter] = Field([])
    orderBy: Literal["CREATED_AT", "UPDATED_AT", "COMMENTS"] | None = None  # the official name
    direction: Literal["ASC", "DESC"] | None = None
    fields: list[str] = Field([])
    perPage: int | None = Field(None, ge=1, le=100, json_schema_extra=unbounded)  # official name
    after: str | None = None
    cursor: str | None = None


class SearchIssues(PageArguments):
    """Arguments of search_pull_requests, those of the official server."""

    query: str = Field(min_length=1)
    owner: str | None = None
    repo: str | None = None
    sort: Sort | None = None
    order: Literal["asc", "desc"] | None = None
    fields: list[str] = Field([])


class SearchIssuesByMeaning(SearchIssues):
    """Arguments of search_issues: those of the official server, and how words are compared."""

    search_type: Literal["hybrid", "semantic", "lexical"] | None = None


class ReadIssue(RepositoryArguments, PageArguments):
    """Arguments of issue_read, those of the official server."""

    method: Literal["get", "get_comments", "get_sub_issues", "get_parent", "get_labels", "timeline"]
    issue_number: int = Field(ge=1, json_schema_extra=unbounded)


class ListIssueTypes(Arguments):
    """Arguments of list_issue_types, those of the official server."""

    owner: str
    repo: str | None = None


class ListLabels(RepositoryArguments, PageArguments):
    """Arguments of list_label."""


class GetLabel(RepositoryArguments):
    """Arguments of get_label, those of the official server."""

    name: str


class ListMilestones(RepositoryArguments, PageArguments):
    """Arguments of list_milestones."""

    state: Literal["open", "closed", "all"] | None = None


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools that read issues."""
    tools = IssueTools(desk)
    return [
        Listing(
            name="list_issues",
            title="List issues",
            description="Issues of a repository, without pull requests.",
            handler=tools.list_issues,
            arguments=ListIssues,
            result=Issues,
            annotations=ASKS,
        ),
        Listing(
            name="search_issues",
            title="Search issues",
            description="Find issues in plain words and GitHub's qualifiers: `crash is:open "
            "label:bug`.",
            handler=tools.search_issues,
            arguments=SearchIssuesByMeaning,
            result=Issues,
            annotations=ASKS,
        ),
        Listing(
            name="issue_read",
            title="Read an issue",
            description="An issue or pull request's conversation: all of it (get), or a list.",
            handler=tools.issue_read,
            arguments=ReadIssue,
            result=IssueRead,
            annotations=ASKS,
        ),
        Listing(
            name="list_issue_types",
            title="List issue types",
            description="Types that issues of a repository or organisation can have.",
            handler=tools.list_issue_types,
            arguments=ListIssueTypes,
            result=IssueTypes,
            annotations=ASKS,
        ),
        Listing(
            name="list_label",
            title="List labels",
            description="Labels of a repository, by name.",
            handler=tools.list_label,
            arguments=ListLabels,
            result=Labels,
            annotations=ASKS,
        ),
        Listing(
            name="get_label",
            title="Get a label",
            description="One label.",
            handler=tools.get_label,
            arguments=GetLabel,
            result=OneLabel,
            annotations=ASKS,
        ),
        Listing(
            name="list_milestones",
            title="List milestones",
            description="Milestones of a repository, the next one first.",
            handler=tools.list_milestones,
            arguments=ListMilestones,
            result=Milestones,
            annotations=ASKS,
        ),
    ]


# --- tools ---------------------------------------------------------------------------------------


class IssueTools:
    """The tools that read issues."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_issues(self, arguments: ListIssues, context: Context) -> Issues:
        """List the issues of a repository."""
        call = self._desk.call(context)
        repo = arguments.repository()
        query = _query_of(arguments)
        window = call.window(_Pages.of(arguments))
        found, after = await _without_pulls(call, repo, query, window)
        heard = await call.heard(repo, [item for _, item in found])
        limit = self._desk.settings.body_chars
        parts = [
            conversations.issue(item, ear, limit=limit)
            for (_, item), ear in zip(found, heard, strict=True)
        ]
        parts = select(Issue, parts, official(arguments.fields), always=ALWAYS)
        fit = fitting(parts, window.max_bytes)
        position = found[fit][0] if fit < len(parts) else after
        members = page_members(window, fit, position, by_bytes=fit < len(parts))
        return Issues(items=parts[:fit], **members, **call.members())

    async def search_issues(self, arguments: SearchIssuesByMeaning, context: Context) -> Issues:
        """Find issues."""
        call = self._desk.call(context)
        kind = arguments.search_type or default_search(call, arguments.owner)
        if kind == "lexical":
            return await found_issues(call, arguments, "issue", None)
        try:
            return await found_issues(call, arguments, "issue", kind)
        except ValidationFailed as error:
            if arguments.search_type is not None:
                raise
            call.warnings.append(f"Compared by words only, not by meaning: {error.message}")
            return await found_issues(call, arguments, "issue", None)

    async def issue_read(self, arguments: ReadIssue, context: Context) -> IssueRead:
        """Return one issue, or a list that belongs to it."""
        call = self._desk.call(context)
        reading = IssueReading(call, arguments)
        ways: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "get": reading.issue,
            "get_comments": reading.comments,
            "get_sub_issues": reading.sub_issues,
            "get_parent": reading.parent,
            "get_labels": reading.labels,
            "timeline": reading.timeline,
        }
        members = await ways[arguments.method]()
        return IssueRead(**members, **call.members())

    async def list_issue_types(self, arguments: ListIssueTypes, context: Context) -> IssueTypes:
        """List the types that issues can have."""
        call = self._desk.call(context)
        if arguments.repo is None:
            found = await call.get("/orgs/{org}/issue-types", org=parse_owner(arguments.owner))
        else:
            repo = Repo.parse(arguments.owner, arguments.repo)
            found = await call.get("/repos/{owner}/{repo}/issue-types", repo=repo)
        kept = ("id", "name", "description", "color", "is_enabled")
        types = [IssueType(**{name: item.get(name) for name in kept}) for item in found or ()]
        return IssueTypes(types=types, **call.members())

    async def list_label(self, arguments: ListLabels, context: Context) -> Labels:
        """List the labels of a repository."""
        call = self._desk.call(context)
        window, reply = await _page_of(call, arguments, LABELS)
        parts = [conversations.label(item) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, reply.next_page)
        return Labels(labels=shown, **members, **call.members())

    async def get_label(self, arguments: GetLabel, context: Context) -> OneLabel:
        """Return one label."""
        call = self._desk.call(context)
        repo = arguments.repository()
        found = await call.get(LABEL, repo=repo, name=parse_label(arguments.name))
        return OneLabel(label=conversations.label(found), **call.members())

    async def list_milestones(self, arguments: ListMilestones, context: Context) -> Milestones:
        """List the milestones of a repository."""
        call = self._desk.call(context)
        window, reply = await _page_of(call, arguments, MILESTONES, state=arguments.state)
        parts = [conversations.milestone(item) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, reply.next_page)
        return Milestones(milestones=shown, **members, **call.members())


async def _page_of(
    call: Call, arguments: ListLabels | ListMilestones, route: str, **query: Any
) -> tuple[Window, Any]:
    repo, window = arguments.repository(), call.window(arguments)
    reply = await call.page(
        route, query=query, page=window.page, per_page=window.per_page, repo=repo
    )
    return window, reply


# --- lists without pull requests -----------------------------------------------------------------


class _Pages(PageArguments):
    """The page of list_issues; GitHub's own pages have pull requests in them."""

    asked: dict[str, Any]

    @classmethod
    def of(cls, arguments: ListIssues) -> _Pages:
        """Return the page that the arguments ask for."""
        return cls(
            perPage=arguments.perPage,
            cursor=arguments.after or arguments.cursor,
            asked=arguments.model_dump(exclude={"after", "cursor", "perPage"}),
        )


def _query_of(arguments: ListIssues) -> dict[str, Any]:
    """Return the query of REST that says the same."""
    for label in arguments.labels:
        if "," in parse_label(label):
            raise BadName(
                f"{label!r} has a comma, by which GitHub's list of issues separates labels.",
                hint='Use search_issues with label:"…" instead.',
                what="label",
            )
    order = arguments.orderBy
    return {
        "state": (arguments.state or "all").lower(),
        "labels": arguments.labels or None,
        "creator": arguments.creator and parse_login(arguments.creator),
        "assignee": _assignee(arguments.assignee),
        "milestone": arguments.milestone,
        "since": arguments.since and time_of(arguments.since, "since"),
        "issue_field_values": [_filter(one) for one in arguments.field_filters] or None,
        "sort": order and order.removesuffix("_AT").lower(),
        "direction": arguments.direction and arguments.direction.lower(),
    }


def _assignee(assignee: str | None) -> str | None:
    return assignee if assignee in (None, "*", "none") else parse_login(assignee)


def _filter(wanted: FieldFilter) -> str:
    """Return a filter as GitHub writes it: the slug of the field's name, and the value."""
    slug = re.sub(r"[^a-z0-9]+", "-", wanted.field_name.lower()).strip("-")
    if not slug or "," in wanted.value:
        raise InvalidArguments("field_filters: a name has letters, a value has no comma.")
    return f"{slug}:{wanted.value}"


def time_of(text: str, what: str) -> str:
    """Return a time of ISO 8601 as GitHub writes it; without an offset it is UTC.

    Raises:
        InvalidArguments: It is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArguments(f"{what}: not a time of ISO 8601: 2026-01-31T12:00:00Z.") from None
    time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


Place = tuple[int, int]
"""A page of GitHub, and the index of an item on it."""


async def _without_pulls(
    call: Call, repo: Repo, query: Json, window: Window
) -> tuple[list[tuple[Place, Json]], Place | None]:
    """Return as many issues as are wanted, each with its place, and the place after them."""
    found: list[tuple[Place, Json]] = []
    page: int | None = window.page
    skip, per_page = window.skip, min(2 * window.per_page, MAX_PER_PAGE)
    for _ in range(MAX_PAGES):
        reply = await call.page(ISSUES, query=query, page=page, per_page=per_page, repo=repo)
        found += [
            ((page or 1, index), item)
            for index, item in enumerate(reply.data)
            if index >= skip and "pull_request" not in item
        ]
        page, skip = reply.next_page, 0
        if len(found) > window.per_page:
            return found[: window.per_page], found[window.per_page][0]
        if page is None or len(found) == window.per_page:
            return found, (page, 0) if page else None
    call.warnings.append("Most of what was read were pull requests; next_cursor reads on.")
    return found, (page, 0) if page else None


def page_members(
    window: Window, returned: int, position: Sequence[Any] | None, *, by_bytes: bool
) -> dict[str, Any]:
    """Return the members of a `Page` whose rest begins at a position; None at the end."""
    more = position is not None
    return {
        "returned": returned,
        "total": None,
        "truncated": more,
        "truncated_by": ("bytes" if by_bytes else "limit") if more else None,
        "next_cursor": window.cursors.make(list(position or ()), window.digest) if more else None,
    }


def official(fields: Sequence[str]) -> list[str]:
    """Return the names of members, where the official server has others for them."""
    return [OFFICIAL_NAMES.get(name, name) for name in fields]


# --- searches ------------------------------------------------------------------------------------


def default_search(call: Call, owner: str | None) -> str:
    """Return how words are compared: by meaning too, where GitHub does that.

    It does so for those it knows, and not on Enterprise Servers.
    """
    by_meaning = call.has_credential(owner) and not call.desk.settings.api_url.endswith("/v3")
    return "hybrid" if by_meaning else "lexical"


async def found_issues(
    call: Call, arguments: SearchIssues, kind: Literal["issue", "pr"], search_type: str | None
) -> Issues:
    """Return what a search finds, of the repositories that may be read."""
    window, query = call.window(arguments), _search_query(arguments, kind)
    reply = await call.page(
        "/search/issues",
        query={
            "q": query,
            "sort": arguments.sort,
            "order": arguments.order,
            "search_type": search_type,
            "advanced_search": "true" if "field." in query else None,
        },
        page=window.page,
        per_page=window.per_page,
    )
    parts = await issues_of(call, reply.data["items"], window, home=None)
    parts = select(Issue, parts, official(arguments.fields), always=ALWAYS)
    shown, members = window.cut(parts, reply.next_page, total=reply.data["total_count"])
    incomplete = bool(reply.data.get("incomplete_results"))
    if incomplete:
        call.warnings.append("GitHub's search ran out of time: results may be missing.")
    return Issues(items=shown, incomplete_results=incomplete, **members, **call.members())


def _search_query(arguments: SearchIssues, kind: str) -> str:
    """Return the query within the repository, or the owner, that was named beside it."""
    words = [arguments.query]
    if not re.search(rf"(^|\s)is:{kind}(\s|$)", arguments.query):
        words.insert(0, f"is:{kind}")
    if arguments.owner is not None and arguments.repo is not None:
        words.insert(0, f"repo:{Repo.parse(arguments.owner, arguments.repo)}")
    elif arguments.owner is not None:
        words.insert(0, f"user:{parse_owner(arguments.owner)}")
    elif arguments.repo is not None:
        raise InvalidArguments("repo: give its owner too.")
    return " ".join(words)


async def issues_of(
    call: Call, items: Sequence[Json], window: Window, *, home: Repo | None
) -> list[Issue]:
    """Return issues of several repositories, without those that may not be read.

    Args:
        home: The repository that is not named with its issues.
    """
    named = [(conversations.repo_of(item) or home, item) for item in items]
    allowed = [(repo, item) for repo, item in named if repo and call.may_read(repo.full_name)]
    note_left_out(call, len(items) - len(allowed))
    rest = window.rest(allowed)
    repos = {repo.key: repo for repo, _ in rest}
    await call.learn(repos.values())
    ears = dict(
        await asyncio.gather(
            *(
                _heard_in(call, repo, [item for of, item in rest if of.key == key])
                for key, repo in repos.items()
            )
        )
    )
    limit = call.desk.settings.body_chars
    return [
        conversations.issue(
            item,
            ears[repo.key].pop(0),
            limit=limit,
            elsewhere=None if home and repo.key == home.key else repo.full_name,
        )
        for repo, item in rest
    ]


async def _heard_in(call: Call, repo: Repo, items: list[Json]) -> tuple[str, list[Any]]:
    """Return the key of a repository and who is heard there; a private one is remembered."""
    if call.has_credential(repo.owner):
        facts = await call.facts(repo)
        if facts is None or facts.private:
            call.read_private(repo.full_name)
    return repo.key, await call.heard(repo, items)


# --- one issue -----------------------------------------------------------------------------------


class IssueReading:
    """The ways to read one issue; each returns the members of an `IssueRead`."""

    def __init__(self, call: Call, arguments: ReadIssue) -> None:
        self._call = call
        self._repo = arguments.repository()
        self._number = arguments.issue_number
        self._window = call.window(arguments)

    async def issue(self) -> dict[str, Any]:
        """Return the issue itself."""
        item = await self._get(ISSUE)
        (heard,), closing = await asyncio.gather(
            self._call.heard(self._repo, [item]), self._closing(item)
        )
        issue = conversations.issue(item, heard, limit=None)
        issue.closed_by_pull_requests = closing
        return {"issue": issue, **whole(issue, self._window)}

    async def comments(self) -> dict[str, Any]:
        """Return its comments, oldest first."""
        reply = await self._page(COMMENTS)
        items = self._window.rest(reply.data)
        heard = await self._call.heard(self._repo, items)
        parts = [conversations.comment(*pair) for pair in zip(items, heard, strict=True)]
        shown, members = self._window.cut(parts, reply.next_page)
        return {"items": shown, **members}

    async def sub_issues(self) -> dict[str, Any]:
        """Return the issues below it, in their order."""
        reply = await self._page(f"{ISSUE}/sub_issues")
        parts = await issues_of(self._call, reply.data, self._window, home=self._repo)
        shown, members = self._window.cut(parts, reply.next_page)
        return {"items": shown, **members}

    async def parent(self) -> dict[str, Any]:
        """Return the issue that it is below, if there is one."""
        try:
            found = [await self._get(f"{ISSUE}/parent")]
        except NotFoundOrNoAccess:
            await self._get(ISSUE)  # says so when it is the issue that is not there
            self._call.warnings.append(f"Issue #{self._number} has no parent that can be read.")
            found = []
        parts = await issues_of(self._call, found, self._window, home=self._repo)
        shown, members = self._window.cut(parts, None, total=len(parts))
        return {"issue": next(iter(shown), None), **members}

    async def labels(self) -> dict[str, Any]:
        """Return its labels."""
        reply = await self._page(f"{ISSUE}/labels")
        parts = [conversations.label(item) for item in self._window.rest(reply.data)]
        shown, members = self._window.cut(parts, reply.next_page)
        return {"items": shown, **members}

    async def timeline(self) -> dict[str, Any]:
        """Return what happened to it, oldest first."""
        reply = await self._page(f"{ISSUE}/timeline")
        items = self._window.rest(reply.data)
        worded = [item for item in items if conversations.has_words(item)]
        authors = [{**item, "user": item.get("actor") or item.get("user")} for item in worded]
        heard = iter(await self._call.heard(self._repo, authors))
        limit = self._call.desk.settings.body_chars
        parts = [
            conversations.event(
                item, next(heard) if conversations.has_words(item) else None, limit=limit
            )
            for item in items
        ]
        shown, members = self._window.cut(parts, reply.next_page)
        return {"items": shown, **members}

    async def _closing(self, item: Json) -> list[str] | None:
        """Return the pull requests that close it; only GraphQL knows, and only with a token."""
        if "pull_request" in item or not self._call.has_credential(self._repo.owner):
            return None
        try:
            found = await self._call.graphql(CLOSING, repo=self._repo, number=self._number)
        except ToolError as error:
            self._call.warnings.append(f"closed_by_pull_requests is missing: {error.message}")
            return None
        issue = (found.get("repository") or {}).get("issue") or {}
        nodes = (issue.get("closedByPullRequestsReferences") or {}).get("nodes") or ()
        return [f"{n['repository']['nameWithOwner']}#{n['number']}" for n in nodes if n] or None

    async def _get(self, route: str) -> Any:
        return await self._call.get(route, repo=self._repo, issue_number=self._number)

    async def _page(self, route: str) -> Any:
        return await self._call.page(
            route,
            page=self._window.page,
            per_page=self._window.per_page,
            repo=self._repo,
            issue_number=self._number,
        )


def whole(item: Issue | PullRequest, window: Window) -> dict[str, Any]:
    """Cut the body of the one item of an answer where it does not fit; return the page's members.

    The cursor goes on within the body.
    """
    part = excerpt(
        item.body or "", start_at=window.skip or None, max_bytes=window.max_bytes - FRAME_BYTES
    )
    if item.body:
        item.body = part.text
    position = None if part.next_at is None else [1, part.next_at]
    return page_members(window, 1, position, by_bytes=True) | {"total": 1}
