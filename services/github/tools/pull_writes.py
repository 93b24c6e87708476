"""Writing pull requests: opening, changing, merging, reviewing them and answering reviews.

What REST cannot do (draft and ready, a comment on a pending review, resolving a thread) are
mutations of GraphQL; they are shown, confirmed and sent like the other requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import InvalidArguments
from core.tools import Listing
from services.github.errors import NotFoundOrNoAccess, ValidationFailed
from services.github.models.common import RepositoryArguments, WriteArguments
from services.github.models.issues import Change
from services.github.policy.names import (
    Repo,
    parse_branch,
    parse_login,
    parse_node_id,
    parse_path,
    parse_sha,
    parse_slug,
)
from services.github.tools.desk import Call, Desk
from services.github.tools.issue_writes import (
    CHANGES,
    DESTROYS,
    MAX_BODY_CHARS,
    MAX_TITLE_CHARS,
    NEWEST,
    KeyedArguments,
    Reaction,
    Target,
    also,
    begin,
    change,
    given,
    in_turn,
    newest_below,
    reaction_to,
)
from services.github.tools.pulls import PULL, PULLS
from services.github.writes import Marker, Plan, Written, mutation

TOOLSET = "pulls"
COPILOT = "copilot-pull-request-reviewer[bot]"
REVIEWS = f"{PULL}/reviews"
REVIEW = f"{PULL}/reviews/{{review_id}}"
REVIEWERS = f"{PULL}/requested_reviewers"

DRAFT = """mutation($input: ConvertPullRequestToDraftInput!) {
  convertPullRequestToDraft(input: $input) { pullRequest { number isDraft } } }"""
READY = """mutation($input: MarkPullRequestReadyForReviewInput!) {
  markPullRequestReadyForReview(input: $input) { pullRequest { number isDraft } } }"""
COMMENT = """mutation($input: AddPullRequestReviewThreadInput!) {
  addPullRequestReviewThread(input: $input) { thread { id path line } } }"""
RESOLVE = """mutation($input: ResolveReviewThreadInput!) {
  resolveReviewThread(input: $input) { thread { id isResolved } } }"""
UNRESOLVE = """mutation($input: UnresolveReviewThreadInput!) {
  unresolveReviewThread(input: $input) { thread { id isResolved } } }"""
RESOLVING = {"resolve_thread": ("resolve", RESOLVE), "unresolve_thread": ("unresolve", UNRESOLVE)}
THREAD = """query($owner: String!, $repo: String!, $id: ID!) {
  repository(owner: $owner, name: $repo) { id }
  node(id: $id) { ... on PullRequestReviewThread { repository { id } } } }"""

Line = Literal["LEFT", "RIGHT"]
Json = Mapping[str, Any]


# --- arguments -----------------------------------------------------------------------------------


class PullArguments(RepositoryArguments, WriteArguments):
    """Names a pull request that is written to."""

    pullNumber: int = Field(ge=1)  # the official name


class CreatePullRequest(RepositoryArguments, KeyedArguments):
    """Arguments of create_pull_request, those of the official server."""

    title: str = Field(min_length=1, max_length=MAX_TITLE_CHARS)
    head: str = Field(description="branch, or user:branch of a fork")
    base: str
    body: str | None = Field(None, max_length=MAX_BODY_CHARS)
    draft: bool | None = None
    maintainer_can_modify: bool | None = None
    reviewers: list[str] = Field([], max_length=50, description="Logins, ORG/team-slug.")


class UpdatePullRequest(PullArguments):
    """Arguments of update_pull_request, those of the official server."""

    title: str | None = Field(None, min_length=1, max_length=MAX_TITLE_CHARS)
    body: str | None = Field(None, max_length=MAX_BODY_CHARS)
    state: Literal["open", "closed"] | None = None
    base: str | None = None
    draft: bool | None = Field(None, description="false: ready for review.")
    maintainer_can_modify: bool | None = None
    reviewers: list[str] = Field([], max_length=50, description="To request.")


class MergePullRequest(PullArguments):
    """Arguments of merge_pull_request: those of the official server, and what has to be merged."""

    commit_title: str | None = Field(None, max_length=MAX_TITLE_CHARS)
    commit_message: str | None = Field(None, max_length=MAX_BODY_CHARS)
    merge_method: Literal["merge", "squash", "rebase"] | None = None
    expectedHeadSha: str | None = Field(None, description="The newest one, when left out.")


class UpdatePullRequestBranch(PullArguments):
    """Arguments of update_pull_request_branch, those of the official server."""

    expectedHeadSha: str | None = None  # the official name


class WriteReview(PullArguments, KeyedArguments):
    """Arguments of pull_request_review_write, those of the official server."""

    method: Literal[
        "create", "submit_pending", "delete_pending", "resolve_thread", "unresolve_thread"
    ]
    body: str | None = Field(None, max_length=MAX_BODY_CHARS)
    event: Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"] | None = Field(
        None, description="create without it: pending."
    )
    commitID: str | None = None  # the official name
    threadId: str | None = None  # the official name

    @model_validator(mode="after")
    def _fits_the_method(self) -> Self:
        if self.method in RESOLVING and not self.threadId:
            raise ValueError(f"{self.method} wants a threadId, of get_review_comments")
        if self.method == "submit_pending" and self.event is None:
            raise ValueError("submit_pending wants an event")
        wants_body = self.method == "create" and self.event in ("REQUEST_CHANGES", "COMMENT")
        if wants_body and not self.body:
            raise ValueError(f"a review with event={self.event} wants a body")
        return self


class AddPendingComment(PullArguments, KeyedArguments):
    """Arguments of add_comment_to_pending_review, those of the official server."""

    path: str
    body: str = Field(min_length=1, max_length=MAX_BODY_CHARS)
    subjectType: Literal["FILE", "LINE"]  # the official name
    line: int | None = Field(None, ge=1)
    side: Line | None = None
    startLine: int | None = Field(None, ge=1)  # the official name
    startSide: Line | None = None  # the official name

    @model_validator(mode="after")
    def _lines_for_line(self) -> Self:
        if (self.subjectType == "LINE") != (self.line is not None):
            raise ValueError("line goes with subjectType=LINE, and only with it")
        if self.startLine is not None and (self.line is None or self.startLine > self.line):
            raise ValueError("startLine is before line")
        return self


class AddReply(RepositoryArguments, KeyedArguments):
    """Arguments of add_reply_to_pull_request_comment, those of the official server."""

    commentId: int = Field(ge=1)  # the official name
    pullNumber: int | None = Field(None, ge=1)  # the official name
    body: str | None = Field(None, min_length=1, max_length=MAX_BODY_CHARS)
    reaction: Reaction | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.body is None and self.reaction is None:
            raise ValueError("give a body, a reaction, or both")
        if self.body is not None and self.pullNumber is None:
            raise ValueError("a body wants the pullNumber too")
        return self


class RequestReviewers(PullArguments):
    """Arguments of request_pull_request_reviewers, those of the official server."""

    reviewers: list[str] = Field(min_length=1, max_length=50, description="Logins, ORG/team-slug.")


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools that write pull requests."""
    tools = PullWriteTools(desk)
    return [
        Listing(
            name="create_pull_request",
            title="Open a pull request",
            description="Open a pull request.",
            handler=tools.create_pull_request,
            arguments=CreatePullRequest,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="update_pull_request",
            title="Change a pull request",
            description="Change text, state, base or draft state, or request reviewers.",
            handler=tools.update_pull_request,
            arguments=UpdatePullRequest,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="merge_pull_request",
            title="Merge a pull request",
            description="Merge exactly the commit that was looked at; has to be confirmed.",
            handler=tools.merge_pull_request,
            arguments=MergePullRequest,
            result=Change,
            annotations=DESTROYS,
        ),
        Listing(
            name="update_pull_request_branch",
            title="Update a pull request's branch",
            description="Merge the base branch into a pull request's branch.",
            handler=tools.update_pull_request_branch,
            arguments=UpdatePullRequestBranch,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="pull_request_review_write",
            title="Write a review",
            description="Create a review (pending without an event), submit or delete your "
            "pending one, resolve or unresolve a thread.",
            handler=tools.pull_request_review_write,
            arguments=WriteReview,
            result=Change,
            annotations=DESTROYS,
        ),
        Listing(
            name="add_comment_to_pending_review",
            title="Comment in a pending review",
            description="Comment on a file or on lines of the diff, in your pending review.",
            handler=tools.add_comment_to_pending_review,
            arguments=AddPendingComment,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="add_reply_to_pull_request_comment",
            title="Reply to a review comment",
            description="Reply to a review comment, react to it, or both.",
            handler=tools.add_reply_to_pull_request_comment,
            arguments=AddReply,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="request_copilot_review",
            title="Request a review by Copilot",
            description="Ask GitHub Copilot for a review.",
            handler=tools.request_copilot_review,
            arguments=PullArguments,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="request_pull_request_reviewers",
            title="Request reviewers",
            description="Ask people or teams for a review.",
            handler=tools.request_pull_request_reviewers,
            arguments=RequestReviewers,
            result=Change,
            annotations=CHANGES,
        ),
    ]


# --- tools ---------------------------------------------------------------------------------------


class PullWriteTools:
    """The tools that write pull requests."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create_pull_request(self, arguments: CreatePullRequest, context: Context) -> Change:
        """Open a pull request; reviewers are requested once it has a number."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        reviewers = reviewers_of(arguments.reviewers) if arguments.reviewers else None
        head = _head(arguments.head)
        body = given(arguments, "title", "body", "draft", "maintainer_can_modify")
        body |= {"head": head, "base": parse_branch(arguments.base)}
        plan = target.plan(
            f"open the pull request {arguments.title!r} of {head}"
            + (f" and request reviews of {', '.join(arguments.reviewers)}" if reviewers else ""),
            target.request("POST", PULLS, body),
        )

        async def newest() -> Sequence[Json]:
            named = head if ":" in head else f"{target.repo.owner}:{head}"
            query = {"state": "all", "head": named, "sort": "created", "direction": "desc"}
            reply = await call.page(PULLS, query=query, per_page=NEWEST, repo=target.repo)
            found: Sequence[Json] = reply.data
            return found

        marker = Marker(newest=newest, key=arguments.idempotency_key)
        written = await call.write(plan, arguments, marker)
        if reviewers and written.planned is None and not written.repeated:
            number = written.data["number"]
            await also(call, _requesting(target, number, reviewers), arguments, written)
        return change(call, plan, written)

    async def update_pull_request(self, arguments: UpdatePullRequest, context: Context) -> Change:
        """Change a pull request."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        number = arguments.pullNumber
        body = given(arguments, "title", "body", "state", "maintainer_can_modify")
        if arguments.base is not None:
            body["base"] = parse_branch(arguments.base)
        requests = [target.request("PATCH", PULL, body, pull_number=number)] if body else []
        changed = list(body)
        if arguments.reviewers:
            plan = _requesting(target, number, reviewers_of(arguments.reviewers))
            requests += plan.requests
            changed.append("reviewers")
        if arguments.draft is not None:
            node_id = (await call.get(PULL, repo=target.repo, pull_number=number))["node_id"]
            query = DRAFT if arguments.draft else READY
            requests.append(mutation(query, {"input": {"pullRequestId": node_id}}))
            changed.append("draft")
        if not requests:
            raise InvalidArguments(
                f"update_pull_request: nothing to change of #{number} was given."
            )
        plan = target.plan(f"update #{number} ({', '.join(changed)})", *requests)
        return change(call, plan, await in_turn(call, plan, arguments))

    async def merge_pull_request(self, arguments: MergePullRequest, context: Context) -> Change:
        """Merge the commit that was looked at; where another is the newest now, GitHub refuses."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        number, sha = arguments.pullNumber, arguments.expectedHeadSha
        if sha is None:
            sha = (await call.get(PULL, repo=target.repo, pull_number=number))["head"]["sha"]
        body = given(arguments, "commit_title", "commit_message", "merge_method")
        body["sha"] = parse_sha(sha, full=True)
        request = target.request("PUT", f"{PULL}/merge", body, pull_number=number)
        plan = target.plan(f"merge #{number} at {sha[:10]}", request, destructive=True)
        return change(call, plan, await call.write(plan, arguments))

    async def update_pull_request_branch(
        self, arguments: UpdatePullRequestBranch, context: Context
    ) -> Change:
        """Merge the base branch into a pull request's branch."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        number, sha = arguments.pullNumber, arguments.expectedHeadSha
        body = {"expected_head_sha": parse_sha(sha, full=True)} if sha else None
        request = target.request("PUT", f"{PULL}/update-branch", body, pull_number=number)
        plan = target.plan(f"update the branch of #{number}", request)
        written = await call.write(plan, arguments)
        if written.planned is None:
            call.warnings.append("GitHub has begun; the new commit appears in a moment.")
        return change(call, plan, written)

    async def pull_request_review_write(self, arguments: WriteReview, context: Context) -> Change:
        """Create, submit or delete a review, or say that a thread is resolved or not."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        ways = {
            "create": _review_created,
            "submit_pending": _review_submitted,
            "delete_pending": _review_deleted,
            "resolve_thread": _thread_resolved,
            "unresolve_thread": _thread_resolved,
        }
        return await ways[arguments.method](call, target, arguments)

    async def add_comment_to_pending_review(
        self, arguments: AddPendingComment, context: Context
    ) -> Change:
        """Add a comment to the pending review of the credential's user."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        number = arguments.pullNumber
        review = await pending_review(call, target.repo, number)
        names = ("body", "subjectType", "line", "side", "startLine", "startSide")
        content = {
            "pullRequestReviewId": review["node_id"],
            "path": parse_path(arguments.path),
            **given(arguments, *names),
        }
        plan = target.plan(
            f"comment on {arguments.path} in the pending review of #{number}",
            mutation(COMMENT, {"input": content}),
        )
        values = {"repo": target.repo, "pull_number": number, "review_id": review["id"]}
        marker = Marker(
            newest=lambda: newest_below(call, f"{REVIEW}/comments", **values),
            key=arguments.idempotency_key,
            within=("variables", "input", "body"),
        )
        written = await call.write(plan, arguments, marker)
        return change(call, plan, _with_thread(written))

    async def add_reply_to_pull_request_comment(
        self, arguments: AddReply, context: Context
    ) -> Change:
        """Reply to a review comment, react to it, or do both."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        comment, number = arguments.commentId, arguments.pullNumber
        reaction = None
        if arguments.reaction is not None:
            reaction = reaction_to(target, arguments.reaction, ("review_comment_id", comment))
        if arguments.body is None:
            assert reaction is not None
            return change(call, reaction, await call.write(reaction, arguments))
        route, body = f"{PULL}/comments/{{comment_id}}/replies", {"body": arguments.body}
        request = target.request("POST", route, body, pull_number=number, comment_id=comment)
        plan = target.plan(f"reply to review comment {comment} of #{number}", request)

        async def newest() -> Sequence[Json]:
            query = {"sort": "created", "direction": "desc"}
            values: dict[str, Any] = {"repo": target.repo, "pull_number": number}
            reply = await call.page(f"{PULL}/comments", query=query, per_page=NEWEST, **values)
            found: Sequence[Json] = reply.data
            return found

        marker = Marker(newest=newest, key=arguments.idempotency_key)
        written = await call.write(plan, arguments, marker)
        if reaction is not None:
            await also(call, reaction, arguments, written)
        return change(call, plan, written)

    async def request_copilot_review(self, arguments: PullArguments, context: Context) -> Change:
        """Ask GitHub Copilot for a review."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        plan = _requesting(target, arguments.pullNumber, {"reviewers": [COPILOT]})
        return change(call, plan, await call.write(plan, arguments))

    async def request_pull_request_reviewers(
        self, arguments: RequestReviewers, context: Context
    ) -> Change:
        """Ask people and teams for a review."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        plan = _requesting(target, arguments.pullNumber, reviewers_of(arguments.reviewers))
        return change(call, plan, await call.write(plan, arguments))


# --- reviewers -----------------------------------------------------------------------------------


def reviewers_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Return people and teams as GitHub takes them, for logins and `ORG/team-slug`.

    Raises:
        BadName: One is neither.
    """
    people = [parse_login(name) for name in names if "/" not in name]
    teams = [parse_slug(name.partition("/")[2], "team") for name in names if "/" in name]
    found: dict[str, list[str]] = {"reviewers": [*people], "team_reviewers": teams}
    return {kind: who for kind, who in found.items() if who}


def _requesting(target: Target, number: int, reviewers: dict[str, list[str]]) -> Plan:
    who = ", ".join(name for names in reviewers.values() for name in names)
    request = target.request("POST", REVIEWERS, reviewers, pull_number=number)
    return target.plan(f"request reviews of #{number} from {who}", request)


def _head(head: str) -> str:
    """Return a branch, with the owner of its fork where that is named; raises `BadName`."""
    owner, colon, branch = head.rpartition(":")
    return f"{parse_login(owner)}:{parse_branch(branch)}" if colon else parse_branch(head)


# --- reviews -------------------------------------------------------------------------------------


async def pending_review(call: Call, repo: Repo, number: int) -> Json:
    """Return the pending review of the credential's user; nobody sees those of others.

    Raises:
        NotFoundOrNoAccess: There is none.
    """
    reviews = await newest_below(call, REVIEWS, repo=repo, pull_number=number)
    found = next((review for review in reversed(reviews) if review["state"] == "PENDING"), None)
    if found is None:
        raise NotFoundOrNoAccess(
            f"You have no pending review of #{number} in {repo}.",
            hint="Begin one with pull_request_review_write, method=create, without event.",
        )
    return found


async def _review_created(call: Call, target: Target, arguments: WriteReview) -> Change:
    number = arguments.pullNumber
    body = given(arguments, "body", "event")
    if arguments.commitID is not None:
        body["commit_id"] = parse_sha(arguments.commitID, full=True)
    kind = arguments.event or "pending"
    plan = target.plan(
        f"create a review ({kind}) of #{number}",
        target.request("POST", REVIEWS, body, pull_number=number),
    )
    # Without a text there is nothing to put a mark into.
    marker = None
    if arguments.body:
        values = {"repo": target.repo, "pull_number": number}
        marker = Marker(
            newest=lambda: newest_below(call, REVIEWS, **values), key=arguments.idempotency_key
        )
    return change(call, plan, await call.write(plan, arguments, marker))


async def _review_submitted(call: Call, target: Target, arguments: WriteReview) -> Change:
    number = arguments.pullNumber
    review = await pending_review(call, target.repo, number)
    body = given(arguments, "body", "event")
    plan = target.plan(
        f"submit the pending review of #{number} ({arguments.event})",
        target.request(
            "POST", f"{REVIEW}/events", body, pull_number=number, review_id=review["id"]
        ),
    )
    return change(call, plan, await call.write(plan, arguments))


async def _review_deleted(call: Call, target: Target, arguments: WriteReview) -> Change:
    number = arguments.pullNumber
    review = await pending_review(call, target.repo, number)
    plan = target.plan(
        f"delete the pending review of #{number} with its comments",
        target.request("DELETE", REVIEW, pull_number=number, review_id=review["id"]),
        destructive=True,
    )
    return change(call, plan, await call.write(plan, arguments))


async def _thread_resolved(call: Call, target: Target, arguments: WriteReview) -> Change:
    """Resolve a thread or take that back, when it is one of the repository that was named."""
    thread = parse_node_id(arguments.threadId or "", "threadId")
    found = await call.graphql(THREAD, repo=target.repo, id=thread)
    if (found.get("node") or {}).get("repository") != found["repository"]:
        raise NotFoundOrNoAccess(
            f"There is no review thread {thread} in {target.repo}.",
            hint="Take the thread's id from pull_request_read, method=get_review_comments.",
        )
    verb, query = RESOLVING[arguments.method]
    request = mutation(query, {"input": {"threadId": thread}})
    plan = target.plan(f"{verb} review thread {thread}", request)
    return change(call, plan, _with_thread(await call.write(plan, arguments)))


def _with_thread(written: Written) -> Written:
    """Return what a mutation of a thread did, with the thread as its data.

    Raises:
        ValidationFailed: It made none: the line is not part of the diff.
    """
    if written.planned is not None or written.repeated:
        return written
    (answer,) = written.data.values()
    thread = answer.get("thread")
    if thread is None:
        raise ValidationFailed(
            "GitHub made no comment: the path or line is not part of the diff on that side.",
            hint="Take line numbers from pull_request_read, method=get_diff, line_numbers=true.",
            fields=[],
        )
    resolved = {True: "resolved", False: "unresolved"}.get(thread.get("isResolved"))
    return Written(data={"node_id": thread["id"], "state": resolved})
