"""Commits: lists, searches, one with its files, two compared, and how one fares in its checks."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from core.context import Context
from core.tools import Annotations, Listing
from services.github.backend.requests import Reply
from services.github.errors import BadName
from services.github.models.branches import (
    ChangedFile,
    Check,
    Commit,
    CommitDetails,
    Commits,
    CommitStatus,
    Comparison,
)
from services.github.models.common import PageArguments, RepositoryArguments, select
from services.github.policy.names import Repo, parse_login, parse_path, parse_ref
from services.github.policy.trust import TrustLabel
from services.github.tools.context import SearchQuery, search
from services.github.tools.desk import Call, Desk, Window, clipped
from services.github.tools.files import COMMIT, seen

READS_COMMITS = Annotations(open_world=True)
LIST = "/repos/{owner}/{repo}/commits"
COMPARE = "/repos/{owner}/{repo}/compare/{+basehead}"
MAX_MESSAGE_CHARS = 500
MAX_CHECKS = 100
"""Statuses, and check runs, of one request."""
MAX_COMPARED_FILES = 300
FAILURES = frozenset({"failure", "error", "timed_out", "cancelled", "action_required", "stale"})
RUNNING = frozenset({"pending", "queued", "in_progress", "waiting", "requested", "expected"})

Detail = Literal["none", "stats", "full_patch"]

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?", re.ASCII)


def _moment(text: str) -> str:
    """Return a day as the moment at which it begins, which is what GitHub wants."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("a time is written 2026-01-31 or 2026-01-31T12:00:00Z")
    return text if "T" in text else f"{text}T00:00:00Z"


Moment = Annotated[str, AfterValidator(_moment)]


class ListCommits(RepositoryArguments, PageArguments):
    """Arguments of list_commits."""

    sha: str | None = None
    path: str | None = Field(None, description="Its history")
    author: str | None = None
    since: Moment | None = Field(None, description="ISO 8601")
    until: Moment | None = None
    query: SearchQuery | None = Field(None, description="Search messages instead")
    fields: list[str] = Field([])

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.query and (self.sha or self.path or self.author or self.since or self.until):
            raise ValueError("query goes with none of sha, path, author, since and until")
        return self


class GetCommit(RepositoryArguments, PageArguments):
    """Arguments of get_commit."""

    sha: str = Field(description="Or branch, tag")
    detail: Detail | None = None


class Compare(RepositoryArguments, PageArguments):
    """Arguments of compare."""

    base: str
    head: str = Field(description="Or owner:branch")
    detail: Detail | None = None


class GetCommitStatus(RepositoryArguments):
    """Arguments of commit_status."""

    ref: str


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = CommitTools(desk)
    return [
        Listing(
            name="list_commits",
            title="List commits",
            description="Commits of a branch, tag or SHA.",
            handler=tools.list_commits,
            arguments=ListCommits,
            result=Commits,
            annotations=READS_COMMITS,
        ),
        Listing(
            name="get_commit",
            title="Look at a commit",
            description="A commit with its changed files.",
            handler=tools.get_commit,
            arguments=GetCommit,
            result=CommitDetails,
            annotations=READS_COMMITS,
        ),
        Listing(
            name="compare",
            title="Compare two refs",
            description="Commits and changed files of head that base lacks.",
            handler=tools.compare,
            arguments=Compare,
            result=Comparison,
            annotations=READS_COMMITS,
        ),
        Listing(
            name="commit_status",
            title="Checks of a commit",
            description="Statuses and check runs of a commit.",
            handler=tools.commit_status,
            arguments=GetCommitStatus,
            result=CommitStatus,
            annotations=READS_COMMITS,
        ),
    ]


class CommitTools:
    """The tools about commits."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_commits(self, arguments: ListCommits, context: Context) -> Commits:
        """List commits, newest first, or those that a search finds."""
        call = self._desk.call(context)
        repo = arguments.repository()
        window = call.window(arguments)
        if arguments.query is not None:
            return await _searched(call, repo, arguments, window)
        ref = parse_ref(arguments.sha) if arguments.sha else None
        query = {
            "sha": ref,
            "path": parse_path(arguments.path) if arguments.path else None,
            "author": arguments.author,
            "since": arguments.since,
            "until": arguments.until,
        }
        reply = await call.page(
            LIST, repo=repo, query=query, page=window.page, per_page=window.per_page
        )
        trust = await call.origin(repo, ref)
        parts = [_commit(item, trust) for item in window.rest(reply.data)]
        shown, members = window.cut(
            select(Commit, parts, arguments.fields, always=("sha",)), reply.next_page
        )
        return Commits(commits=shown, **members, **call.members())

    async def get_commit(self, arguments: GetCommit, context: Context) -> CommitDetails:
        """Return a commit; its files come in pages."""
        call = self._desk.call(context)
        repo, ref = arguments.repository(), parse_ref(arguments.sha)
        window = call.window(arguments)
        reply = await call.page(
            COMMIT, repo=repo, ref=ref, page=window.page, per_page=window.per_page
        )
        data, trust = reply.data, await call.origin(repo, ref)
        files = [] if arguments.detail == "none" else data.get("files") or []
        parts = [
            _file(file, arguments.detail, trust, window.max_bytes) for file in window.rest(files)
        ]
        following = None if arguments.detail == "none" else reply.next_page
        shown, members = window.cut(parts, following)
        return CommitDetails(
            **_facts(data, trust, None),
            stats=data.get("stats"),
            files=shown,
            **members,
            **call.members(),
        )

    async def compare(self, arguments: Compare, context: Context) -> Comparison:
        """Tell what one commit has that another lacks."""
        call = self._desk.call(context)
        repo = arguments.repository()
        base = _side(call, repo, arguments.base, "base")
        head = _side(call, repo, arguments.head, "head")
        window = call.window(arguments)
        reply = await call.page(
            COMPARE,
            repo=repo,
            basehead=f"{base}...{head}",
            page=window.page,
            per_page=window.per_page,
        )
        trust: TrustLabel = "untrusted" if ":" in head else await call.origin(repo, head)
        if ":" in head:
            call.heard_in_public(head)
        return _comparison(call, arguments, reply, trust)

    async def commit_status(self, arguments: GetCommitStatus, context: Context) -> CommitStatus:
        """Tell the statuses and check runs of a commit, with what they come to."""
        call = self._desk.call(context)
        repo, ref = arguments.repository(), parse_ref(arguments.ref)
        query = {"per_page": MAX_CHECKS}
        status, runs = await asyncio.gather(
            call.get(f"{COMMIT}/status", repo=repo, ref=ref, query=query),
            call.get(f"{COMMIT}/check-runs", repo=repo, ref=ref, query=query),
        )
        trust = await call.origin(repo, ref)
        checks = [
            *(_status(item, trust) for item in status["statuses"]),
            *(_run(item, trust) for item in runs["check_runs"]),
        ]
        return CommitStatus(
            sha=status["sha"],
            state=together(check.state for check in checks),
            counts=dict(Counter(check.state for check in checks)),
            checks=checks,
            truncated=len(checks) < status["total_count"] + runs["total_count"],
            **call.members(),
        )


# --- searching -----------------------------------------------------------------------------------


async def _searched(call: Call, repo: Repo, arguments: ListCommits, window: Window) -> Commits:
    """Return the commits of a repository whose messages a search finds."""
    query = f"{arguments.query} repo:{repo}"
    data, following = await search(call, "commits", query, window, repo=repo)
    items = [i for i in data["items"] if i["repository"]["full_name"].lower() == repo.key]
    trust = await call.origin(repo)
    parts = [_commit(item, trust) for item in window.rest(items)]
    shown, members = window.cut(
        select(Commit, parts, arguments.fields, always=("sha",)),
        following,
        total=data["total_count"],
    )
    return Commits(
        commits=shown, incomplete=data["incomplete_results"], **members, **call.members()
    )


# --- comparing -----------------------------------------------------------------------------------


def _side(call: Call, repo: Repo, text: str, what: str) -> str:
    """Return one side of a comparison: a ref, or `owner:branch` of a fork that may be read too."""
    owner, colon, ref = text.rpartition(":")
    if not colon:
        return parse_ref(text)
    if ":" in owner:
        raise BadName(f"{text[:80]!r} is not a {what}: it is written branch or owner:branch.")
    call.desk.access.check_read(Repo.parse(owner, repo.name))
    return f"{parse_login(owner)}:{parse_ref(ref)}"


def _comparison(call: Call, arguments: Compare, reply: Reply, trust: TrustLabel) -> Comparison:
    """Return a page: first the files, which come with GitHub's first page, then the commits."""
    data, window = reply.data, call.window(arguments)
    files = [] if arguments.detail == "none" or window.page > 1 or window.skip else data["files"]
    if len(files) >= MAX_COMPARED_FILES:
        call.warnings.append(f"GitHub tells {MAX_COMPARED_FILES} files of a comparison at most.")
    told = _fitting(
        [_file(file, arguments.detail, trust, window.max_bytes // 2) for file in files],
        window.max_bytes // 2,
    )
    if len(told) < len(files):
        call.warnings.append(
            f"{len(files) - len(told)} more files do not fit; ask for less detail, or get_commit."
        )
    commits = [_commit(item, trust) for item in window.rest(data["commits"])]
    shown, members = window.cut(commits, reply.next_page, total=data["total_commits"])
    return Comparison(
        status=data["status"],
        ahead_by=data["ahead_by"],
        behind_by=data["behind_by"],
        merge_base=data["merge_base_commit"]["sha"],
        html_url=data["html_url"],
        commits=shown,
        files=told,
        **members,
        **call.members(),
    )


def _fitting(files: Sequence[ChangedFile], max_bytes: int) -> list[ChangedFile]:
    """Return as many files as fit."""
    shown: list[ChangedFile] = []
    for file in files:
        max_bytes -= len(file.model_dump_json())
        if max_bytes < 0 and shown:
            break
        shown.append(file)
    return shown


# --- telling -------------------------------------------------------------------------------------


def _commit(item: Mapping[str, Any], trust: TrustLabel) -> Commit:
    repository = (item.get("repository") or {}).get("full_name")
    return Commit(**_facts(item, trust, MAX_MESSAGE_CHARS), repository=repository)


def _facts(item: Mapping[str, Any], trust: TrustLabel, limit: int | None) -> dict[str, Any]:
    commit = item["commit"]
    message = seen(commit["message"], trust).text
    return {
        "sha": item["sha"],
        "html_url": item["html_url"],
        "commit": {
            "message": clipped(message, limit, "get_commit"),
            "author": _person(commit.get("author"), trust),
            "committer": _person(commit.get("committer"), trust),
            "verified": (commit.get("verification") or {}).get("verified"),
        },
        "author": (item.get("author") or {}).get("login"),
        "committer": (item.get("committer") or {}).get("login"),
        "parents": [parent["sha"] for parent in item.get("parents") or ()],
    }


def _person(person: Mapping[str, Any] | None, trust: TrustLabel) -> dict[str, Any] | None:
    """Return a signature of a commit, which says what its author wanted it to say."""
    if person is None:
        return None
    name = seen(person.get("name") or "", trust).text
    return {"name": name, "email": person.get("email"), "date": person.get("date")}


def _file(
    item: Mapping[str, Any], detail: Detail | None, trust: TrustLabel, max_chars: int
) -> ChangedFile:
    patch = item.get("patch") if detail == "full_patch" else None
    if patch is not None:
        patch = clipped(seen(patch, trust).text, max_chars // 2, "get_file_contents")
    return ChangedFile(
        filename=item["filename"],
        previous_filename=item.get("previous_filename"),
        status=item["status"],
        additions=item["additions"],
        deletions=item["deletions"],
        changes=item["changes"],
        patch=patch,
    )


def _status(item: Mapping[str, Any], trust: TrustLabel) -> Check:
    return Check(
        kind="status",
        name=item["context"],
        state=item["state"],
        description=seen(item.get("description") or "", trust).text or None,
        url=item.get("target_url"),
    )


def _run(item: Mapping[str, Any], trust: TrustLabel) -> Check:
    title = (item.get("output") or {}).get("title") or ""
    return Check(
        kind="check_run",
        name=item["name"],
        state=item.get("conclusion") or item["status"],
        description=seen(title, trust).text or None,
        url=item.get("html_url"),
    )


def together(states: Iterable[str]) -> str | None:
    """Return what several states come to; None when there are none."""
    found = set(states)
    if found & FAILURES:
        return "failure"
    if found & RUNNING:
        return "pending"
    return "success" if found else None
