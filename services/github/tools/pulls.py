"""Reading pull requests: lists, searches, and one with its diff, checks, reviews and threads.

A diff is told in pages that end between hunks (`services.github.diffs`); lock files and generated
ones are folded unless `paths` names some. What a pull request brings counts as text of its author:
where that is withheld, so are its diff, files and commits.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from pydantic_core import to_json

from core.context import Context
from core.tools import Listing
from core.untrusted import clean
from services.github import diffs
from services.github.backend.requests import DIFF
from services.github.diffs import FileDiff, Position, Style
from services.github.errors import (
    AuthRequired,
    BadResponse,
    GithubConflict,
    LockedDown,
    ResponseTooLarge,
)
from services.github.models.common import (
    PageArguments,
    RepositoryArguments,
    select,
    unbounded,
)
from services.github.models.issues import Issues
from services.github.models.pulls import (
    ChangedFile,
    Check,
    PullRequest,
    PullRequestRead,
    PullRequests,
    Thread,
)
from services.github.policy.names import parse_branch
from services.github.tools import conversations
from services.github.tools.desk import Call, Desk, Heard, Window
from services.github.tools.issues import (
    ALWAYS,
    ASKS,
    COMMENTS,
    SearchIssues,
    found_issues,
    official,
    page_members,
    whole,
)

PULLS = "/repos/{owner}/{repo}/pulls"
PULL = "/repos/{owner}/{repo}/pulls/{pull_number}"
COMMIT = "/repos/{owner}/{repo}/commits/{ref}"

MAX_PER_PAGE = 100
MAX_FILE_PAGES = 10
"""Pages of changed files that are read where GitHub has no diff of all of them."""
DIFF_SHARE = 0.75
"""Of an answer, for the diff; the rest is for what is told of its files."""
MIN_DIFF_BYTES = 1_000
INLINE_CHARS = 500_000
"""Up to here a diff is taken apart in some ten milliseconds; longer ones are in a thread."""
FAILED = frozenset({"failure", "timed_out", "cancelled", "action_required", "startup_failure"})
DONE = frozenset({*FAILED, "success", "neutral", "skipped", "stale"})

THREADS = """query($owner: String!, $repo: String!, $number: Int!, $first: Int!, $after: String) {
  repository(owner: $owner, name: $repo) { pullRequest(number: $number) {
    reviewThreads(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor }
      nodes { id isResolved isOutdated path line startLine diffSide subjectType
        comments(first: 50) { totalCount nodes {
          databaseId url body createdAt updatedAt authorAssociation author { login }
        } } } } } } }"""

Json = Mapping[str, Any]


# --- arguments -----------------------------------------------------------------------------------


class ListPullRequests(RepositoryArguments, PageArguments):
    """Arguments of list_pull_requests, those of the official server."""

    state: Literal["open", "closed", "all"] | None = None
    head: str | None = Field(None, description="branch or user:branch")
    base: str | None = None
    sort: Literal["created", "updated", "popularity", "long-running"] | None = None
    direction: Literal["asc", "desc"] | None = None
    fields: list[str] = Field([])


class ReadPullRequest(RepositoryArguments, PageArguments):
    """Arguments of pull_request_read: those of the official server, and what of a diff."""

    method: Literal[
        "get",
        "get_diff",
        "get_status",
        "get_files",
        "get_commits",
        "get_review_comments",
        "get_reviews",
        "get_comments",
        "get_check_runs",
    ]
    pullNumber: int = Field(ge=1, json_schema_extra=unbounded)  # the official name
    after: str | None = None
    paths: list[str] = Field([], description="Of get_diff: globs or folders.")
    line_numbers: bool = False


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools that read pull requests."""
    tools = PullTools(desk)
    return [
        Listing(
            name="list_pull_requests",
            title="List pull requests",
            description="Pull requests of a repository; by author: search_pull_requests.",
            handler=tools.list_pull_requests,
            arguments=ListPullRequests,
            result=PullRequests,
            annotations=ASKS,
        ),
        Listing(
            name="search_pull_requests",
            title="Search pull requests",
            description="Find pull requests: `author:octocat is:merged`.",
            handler=tools.search_pull_requests,
            arguments=SearchIssues,
            result=Issues,
            annotations=ASKS,
        ),
        Listing(
            name="pull_request_read",
            title="Read a pull request",
            description="A pull request (get), its diff in pages (lock files folded unless paths "
            "name them), or a list; get_review_comments: threads.",
            handler=tools.pull_request_read,
            arguments=ReadPullRequest,
            result=PullRequestRead,
            annotations=ASKS,
        ),
    ]


# --- tools ---------------------------------------------------------------------------------------


class PullTools:
    """The tools that read pull requests."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_pull_requests(
        self, arguments: ListPullRequests, context: Context
    ) -> PullRequests:
        """List the pull requests of a repository."""
        call = self._desk.call(context)
        repo, window = arguments.repository(), call.window(arguments)
        reply = await call.page(
            PULLS, query=_query_of(arguments), page=window.page, per_page=window.per_page, repo=repo
        )
        items = window.rest(reply.data)
        heard = await call.heard(repo, items)
        limit = self._desk.settings.body_chars
        parts = [
            conversations.pull(item, ear, limit=limit)
            for item, ear in zip(items, heard, strict=True)
        ]
        parts = select(PullRequest, parts, official(arguments.fields), always=ALWAYS)
        shown, members = window.cut(parts, reply.next_page)
        return PullRequests(items=shown, **members, **call.members())

    async def search_pull_requests(self, arguments: SearchIssues, context: Context) -> Issues:
        """Find pull requests."""
        return await found_issues(self._desk.call(context), arguments, "pr", None)

    async def pull_request_read(
        self, arguments: ReadPullRequest, context: Context
    ) -> PullRequestRead:
        """Return one pull request, some of its diff, or a list that belongs to it."""
        call = self._desk.call(context)
        reading = PullReading(call, arguments)
        ways: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "get": reading.pull,
            "get_diff": reading.diff,
            "get_status": reading.status,
            "get_files": reading.files,
            "get_commits": reading.commits,
            "get_review_comments": reading.threads,
            "get_reviews": reading.reviews,
            "get_comments": reading.comments,
            "get_check_runs": reading.check_runs,
        }
        members = await ways[arguments.method]()
        return PullRequestRead(**members, **call.members())


def _query_of(arguments: ListPullRequests) -> dict[str, Any]:
    """Return the query; GitHub would pass over a head that does not name its owner."""
    head = arguments.head
    return {
        "state": arguments.state,
        "head": f"{arguments.owner}:{head}" if head and ":" not in head else head,
        "base": arguments.base and parse_branch(arguments.base),
        "sort": arguments.sort,
        "direction": arguments.direction,
    }


# --- one pull request ----------------------------------------------------------------------------


class PullReading:
    """The ways to read one pull request; each returns the members of a `PullRequestRead`."""

    def __init__(self, call: Call, arguments: ReadPullRequest) -> None:
        self._call = call
        self._arguments = arguments
        self._repo = arguments.repository()
        self._number = arguments.pullNumber
        cursor = arguments.after or arguments.cursor
        self._window = call.window(arguments.model_copy(update={"cursor": cursor, "after": None}))

    async def pull(self) -> dict[str, Any]:
        """Return the pull request itself."""
        item, heard = await self._brought()
        pull = conversations.pull(item, heard, limit=None)
        if pull.mergeable is None and pull.state == "open":
            self._call.warnings.append(
                "GitHub is still working out whether it can be merged; ask again in a moment."
            )
        return {"pull_request": pull, **whole(pull, self._window)}

    async def comments(self) -> dict[str, Any]:
        """Return the comments of the conversation, oldest first."""
        return await self._told(COMMENTS, conversations.comment, issue_number=self._number)

    async def reviews(self) -> dict[str, Any]:
        """Return the reviews, oldest first."""
        return await self._told(f"{PULL}/reviews", conversations.review, pull_number=self._number)

    async def commits(self) -> dict[str, Any]:
        """Return the commits, oldest first; GitHub tells 250 at most."""
        _, heard = await self._brought(open_only=True)
        reply = await self._page(f"{PULL}/commits", pull_number=self._number)
        parts = [conversations.commit(item, heard) for item in self._window.rest(reply.data)]
        shown, members = self._window.cut(parts, reply.next_page)
        return {"items": shown, **members}

    async def files(self) -> dict[str, Any]:
        """Return the changed files with the beginning of each patch."""
        item, heard = await self._brought(open_only=True)
        reply = await self._page(f"{PULL}/files", pull_number=self._number)
        items = self._window.rest(reply.data)
        limit = self._call.desk.settings.body_chars
        parts = []
        for data, file in zip(items, diffs.from_files(items), strict=True):
            part = _changed(file)
            part.patch = heard.plain(data.get("patch"), limit=limit, more="get_diff with paths")
            parts.append(part)
        self._tell_hidden(heard)
        shown, members = self._window.cut(parts, reply.next_page, total=item.get("changed_files"))
        return {"files": shown, **members}

    async def status(self) -> dict[str, Any]:
        """Return the statuses of the newest commit, and what they say together."""
        sha = (await self._get(PULL))["head"]["sha"]
        reply = await self._page(f"{COMMIT}/status", ref=sha)
        parts = [conversations.status(one) for one in self._window.rest(reply.data["statuses"])]
        shown, members = self._window.cut(
            parts, reply.next_page, total=reply.data.get("total_count")
        )
        return {"sha": sha, "state": reply.data.get("state"), "items": shown, **members}

    async def check_runs(self) -> dict[str, Any]:
        """Return the check runs of the newest commit, and what they say together."""
        sha = (await self._get(PULL))["head"]["sha"]
        reply = await self._page(f"{COMMIT}/check-runs", ref=sha)
        runs = reply.data["check_runs"]
        parts = [conversations.check_run(run) for run in self._window.rest(runs)]
        shown, members = self._window.cut(
            parts, reply.next_page, total=reply.data.get("total_count")
        )
        state = state_of(parts) if len(parts) == reply.data.get("total_count") else None
        return {"sha": sha, "state": state, "items": shown, **members}

    # -- threads ----------------------------------------------------------------------------------

    async def threads(self) -> dict[str, Any]:
        """Return the review threads; without a token, which GraphQL wants, by way of REST."""
        try:
            return await self._threads_of_graphql()
        except AuthRequired:
            self._call.warnings.append("Whether threads are resolved is told only to a credential.")
            return await self._threads_of_rest()

    async def _threads_of_graphql(self) -> dict[str, Any]:
        window = self._window
        found = await self._call.graphql(
            THREADS,
            repo=self._repo,
            number=self._number,
            first=window.per_page,
            after=window.after,
        )
        listed = found["repository"]["pullRequest"]["reviewThreads"]
        nodes = window.rest([node for node in listed["nodes"] if node])
        said = [[one for one in node["comments"]["nodes"] if one] for node in nodes]
        heard = iter(await self._call.heard(self._repo, [one for many in said for one in many]))
        parts = [
            conversations.thread_of_graphql(
                node, [conversations.comment_of_graphql(one, next(heard)) for one in many]
            )
            for node, many in zip(nodes, said, strict=True)
        ]
        info = listed["pageInfo"]
        following = info["endCursor"] if info["hasNextPage"] else None
        shown, members = window.cut(parts, following, total=listed["totalCount"])
        return {"items": shown, **members}

    async def _threads_of_rest(self) -> dict[str, Any]:
        reply = await self._page(f"{PULL}/comments", pull_number=self._number)
        heard = await self._call.heard(self._repo, reply.data)
        parts = self._window.rest(_grouped(zip(reply.data, heard, strict=True)))
        shown, members = self._window.cut(parts, reply.next_page)
        return {"items": shown, **members}

    # -- the diff ---------------------------------------------------------------------------------

    async def diff(self) -> dict[str, Any]:
        """Return as much of the diff as fits."""
        item, heard = await self._brought(open_only=True)
        files = await self._diff_of(item)
        digest = _digest(files)
        files = diffs.chosen(files, self._arguments.paths)
        if self._arguments.paths and not files:
            self._call.warnings.append("No changed file fits paths; get_files lists them.")
        page, parts = _page_of_diff(
            files, _position(self._window, digest), self._window.max_bytes, self._style()
        )
        position = None if page.next is None else [_mark(digest, page.next), 0]
        text = heard.plain(page.text) or ""
        self._tell_hidden(heard)
        return {
            "sha": item["head"]["sha"],
            "files": parts,
            "diff": text,
            **page_members(self._window, len(parts), position, by_bytes=True),
            "total": len(files),
        }

    def _style(self) -> Style:
        return Style(folding=not self._arguments.paths, numbered=self._arguments.line_numbers)

    async def _diff_of(self, item: Json) -> tuple[FileDiff, ...]:
        """Return the whole diff; where GitHub finds it too large, put together from its files."""
        try:
            text = await self._get(PULL, accept=DIFF)
        except ResponseTooLarge:
            return diffs.from_files(await self._all_files(item.get("changed_files") or 0))
        if not isinstance(text, str):
            raise BadResponse("GitHub's answer to a request for a diff is none.")
        if len(text) <= INLINE_CHARS:
            return diffs.parse(text)
        return await asyncio.to_thread(diffs.parse, text)

    async def _all_files(self, count: int) -> list[Json]:
        wanted = range(1, min(-(-count // MAX_PER_PAGE), MAX_FILE_PAGES) + 1)
        replies = await asyncio.gather(
            *(
                self._call.page(
                    f"{PULL}/files",
                    page=number,
                    per_page=MAX_PER_PAGE,
                    repo=self._repo,
                    pull_number=self._number,
                )
                for number in wanted
            )
        )
        files = [file for reply in replies for file in reply.data]
        self._call.warnings.append(
            "GitHub has no diff as large as this; it is put together from the files, of which it "
            f"leaves large patches out ({len(files)} of {count} files)."
        )
        return files

    # -- asking -----------------------------------------------------------------------------------

    async def _brought(self, *, open_only: bool = False) -> tuple[Json, Heard]:
        """Return the pull request and its author.

        Args:
            open_only: Refuse where the author's texts are withheld.

        Raises:
            LockedDown: They are.
        """
        item = await self._get(PULL)
        (heard,) = await self._call.heard(self._repo, [item])
        if open_only and heard.withheld:
            raise LockedDown(
                f"What #{self._number} changes is withheld: {heard.author.login or 'its author'} "
                "has no push access.",
                author=heard.author.login,
                author_association=heard.author.association,
            )
        return item, heard

    def _tell_hidden(self, heard: Heard) -> None:
        if heard.hidden_removed:
            self._call.warnings.append(
                f"{heard.hidden_removed} characters of the changes that nobody would see are left "
                "out."
            )

    async def _get(self, route: str, **options: Any) -> Any:
        return await self._call.get(route, repo=self._repo, pull_number=self._number, **options)

    async def _page(self, route: str, **values: Any) -> Any:
        window = self._window
        return await self._call.page(
            route, page=window.page, per_page=window.per_page, repo=self._repo, **values
        )

    async def _told(
        self, route: str, tell: Callable[[Json, Heard], Any], **values: Any
    ) -> dict[str, Any]:
        """Return a list of what people said."""
        reply = await self._page(route, **values)
        items = self._window.rest(reply.data)
        heard = await self._call.heard(self._repo, items)
        parts = [tell(item, ear) for item, ear in zip(items, heard, strict=True)]
        shown, members = self._window.cut(parts, reply.next_page)
        return {"items": shown, **members}


# --- what is told --------------------------------------------------------------------------------


def state_of(checks: Sequence[Check]) -> str:
    """Return what checks say together: failure, pending or success."""
    states = {check.state for check in checks}
    if states & FAILED:
        return "failure"
    return "success" if states <= DONE and checks else "pending"


def _grouped(said: Iterable[tuple[Json, Heard]]) -> list[Thread]:
    """Return the comments of a page of REST as threads, in the order of their first ones."""
    threads: dict[int, list[tuple[Json, Heard]]] = {}
    for item, heard in said:
        threads.setdefault(item.get("in_reply_to_id") or item["id"], []).append((item, heard))
    return [
        conversations.thread_of_rest(many[0][0], [conversations.comment(*one) for one in many])
        for many in threads.values()
    ]


def _changed(file: FileDiff) -> ChangedFile:
    modes = file.modes
    return ChangedFile(
        filename=clean(file.path).text,
        previous_filename=clean(file.old_path).text if file.old_path else None,
        status=file.status,
        additions=file.additions,
        deletions=file.deletions,
        modes=f"{modes[0]} → {modes[1]}" if modes else None,
        folded=file.folded,
        problem="binary" if file.binary else "too large" if file.too_large else None,
    )


def _page_of_diff(
    files: Sequence[FileDiff], start: Position, max_bytes: int, style: Style
) -> tuple[diffs.PageOfDiff, list[ChangedFile]]:
    """Return a page of a diff and its files, both together within the bytes of an answer."""
    room = int(max_bytes * DIFF_SHARE)
    while True:
        page = diffs.page(files, start, room, style)
        parts = [_shown(shown) for shown in page.shown]
        if room <= MIN_DIFF_BYTES or len(to_json(parts)) + room <= max_bytes:
            return page, parts
        room //= 2


def _shown(shown: diffs.Shown) -> ChangedFile:
    part = _changed(shown.file)
    part.folded, part.old_line, part.new_line = shown.folded, shown.old_line, shown.new_line
    return part


def _digest(files: Iterable[FileDiff]) -> str:
    """Return what a diff is known by, so that no two pages are of different ones."""
    known = hashlib.sha256()
    for file in files:
        for piece in file.pieces:
            known.update(piece.text.encode("utf-8", "surrogatepass"))
    return known.hexdigest()[:16]


def _mark(digest: str, position: Position) -> str:
    return ":".join([digest, *map(str, position)])


def _position(window: Window, digest: str) -> Position:
    """Return where the page begins.

    Raises:
        GithubConflict: The pull request has another diff by now.
    """
    if window.after is None:
        return Position()
    known, *position = window.after.split(":")
    if known != digest:
        raise GithubConflict(
            "The pull request was changed since the page before was read.",
            hint="Read its diff again from the beginning, without cursor.",
        )
    return Position(*map(int, position))
