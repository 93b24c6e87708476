"""Discussions: lists, one with its comments, and commenting. GitHub has them in GraphQL only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import InvalidArguments
from core.paging import fitting
from core.tools import Annotations, Listing
from core.untrusted import clean
from services.github.errors import NotFoundOrNoAccess
from services.github.models.common import PageArguments, WriteArguments, unbounded
from services.github.models.discussions import (
    Categories,
    Category,
    Discussion,
    DiscussionChange,
    DiscussionComment,
    DiscussionComments,
    DiscussionDetails,
    Discussions,
    Reply,
)
from services.github.policy.names import Repo, parse_node_id
from services.github.tools.conversations import as_documented
from services.github.tools.desk import Call, Desk, Heard
from services.github.writes import Marker, Plan, Written, mutation

TOOLSET = "discussions"
READS_DISCUSSIONS = Annotations(open_world=True)
WRITES = Annotations(read_only=False, destructive=True, idempotent=False, open_world=True)
OF_THE_ORGANISATION = ".github"
"""The repository that holds an organisation's discussions, as github-mcp-server takes it."""
MAX_BODY_CHARS = 65_536
MAX_CATEGORIES = 100
Json = Mapping[str, Any]

_FACTS = """number id title url closed locked isAnswered upvoteCount createdAt updatedAt
  category { name } answer { id } comments { totalCount } author { login } authorAssociation"""
LIST = """query($owner: String!, $repo: String!, $first: Int!, $after: String, $category: ID,
 $order: DiscussionOrder, $states: [DiscussionState!], $answered: Boolean) {
 repository(owner: $owner, name: $repo) {
  discussions(first: $first, after: $after, categoryId: $category, orderBy: $order,
   states: $states, answered: $answered) {
   totalCount pageInfo { hasNextPage endCursor } nodes { FACTS } } } }""".replace("FACTS", _FACTS)
ONE = """query($owner: String!, $repo: String!, $number: Int!) {
 repository(owner: $owner, name: $repo) { discussion(number: $number) { body FACTS } } }""".replace(
    "FACTS", _FACTS
)
_COMMENT = """id url body isAnswer isMinimized minimizedReason createdAt upvoteCount
  author { login __typename } authorAssociation"""
COMMENTS = """query($owner: String!, $repo: String!, $number: Int!, $first: Int!, $after: String,
 $replies: Boolean!) { repository(owner: $owner, name: $repo) { discussion(number: $number) {
  comments(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor }
   nodes { COMMENT replies(first: 100) { totalCount nodes @include(if: $replies) { COMMENT } } }
 } } } }""".replace("COMMENT", _COMMENT)
CATEGORIES = """query($owner: String!, $repo: String!, $first: Int!, $after: String) {
 repository(owner: $owner, name: $repo) { discussionCategories(first: $first, after: $after) {
  totalCount pageInfo { hasNextPage endCursor }
  nodes { id name slug description isAnswerable } } } }"""
NEWEST = """query($owner: String!, $repo: String!, $number: Int!) {
 repository(owner: $owner, name: $repo) { discussion(number: $number) { id
  comments(last: 50) { nodes { COMMENT } } } } }""".replace("COMMENT", _COMMENT)
_PLACE = """node(id: $id) { ... on DiscussionComment {
  id replies(last: 50) { nodes { COMMENT } }
  discussion { id number repository { nameWithOwner } } } }""".replace("COMMENT", _COMMENT)
PLACE = f"query($id: ID!) {{ {_PLACE} }}"
PLACE_IN = f"""query($owner: String!, $repo: String!, $id: ID!) {{
 repository(owner: $owner, name: $repo) {{ nameWithOwner }} {_PLACE} }}"""

_ANSWERED = "comment { id url }"
ADD = f"""mutation($input: AddDiscussionCommentInput!) {{
 addDiscussionComment(input: $input) {{ {_ANSWERED} }} }}"""
UPDATE = f"""mutation($input: UpdateDiscussionCommentInput!) {{
 updateDiscussionComment(input: $input) {{ {_ANSWERED} }} }}"""
DELETE = """mutation($input: DeleteDiscussionCommentInput!) {
 deleteDiscussionComment(input: $input) { comment { id } } }"""
MARK = """mutation($input: MarkDiscussionCommentAsAnswerInput!) {
 markDiscussionCommentAsAnswer(input: $input) { discussion { id url } } }"""
UNMARK = """mutation($input: UnmarkDiscussionCommentAsAnswerInput!) {
 unmarkDiscussionCommentAsAnswer(input: $input) { discussion { id url } } }"""

Method = Literal["add", "reply", "update", "delete", "mark_answer", "unmark_answer"]
WANTS: dict[str, tuple[str, ...]] = {
    "add": ("owner", "repo", "discussionNumber", "body"),
    "reply": ("owner", "repo", "discussionNumber", "commentNodeID", "body"),
    "update": ("commentNodeID", "body"),
    "delete": ("commentNodeID",),
    "mark_answer": ("commentNodeID",),
    "unmark_answer": ("commentNodeID",),
}
CHANGES = {
    "update": (UPDATE, "commentId", "change"),
    "delete": (DELETE, "id", "delete"),
    "mark_answer": (MARK, "id", "mark as answer"),
    "unmark_answer": (UNMARK, "id", "no longer mark as answer"),
}
"""What is sent for a comment that is there: the mutation, the name of its id, and in words."""


class OwnerArguments(PageArguments):
    """Names a repository, or an organisation for its own discussions."""

    owner: str
    repo: str | None = Field(None, description="The organisation's, when left out.")


class ListDiscussions(OwnerArguments):
    """Arguments of list_discussions."""

    after: str | None = None
    category: str | None = Field(None, description="Its id.")
    orderBy: Literal["CREATED_AT", "UPDATED_AT"] | None = None
    direction: Literal["ASC", "DESC"] | None = None
    state: Literal["OPEN", "CLOSED"] | None = None
    answered: bool | None = None


class GetDiscussion(OwnerArguments):
    """Arguments of get_discussion."""

    repo: str
    discussionNumber: int = Field(ge=1, le=2**31 - 1, json_schema_extra=unbounded)


class GetComments(GetDiscussion):
    """Arguments of get_discussion_comments."""

    after: str | None = None
    includeReplies: bool = False


class WriteComment(WriteArguments):
    """Arguments of discussion_comment_write."""

    method: Method
    owner: str | None = None
    repo: str | None = None
    discussionNumber: int | None = Field(None, ge=1, le=2**31 - 1, json_schema_extra=unbounded)
    commentNodeID: str | None = Field(None, description="Of reply: a top-level comment.")
    body: str | None = Field(None, min_length=1, max_length=MAX_BODY_CHARS)
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name in WANTS[self.method]:
            if getattr(self, name) is None:
                raise ValueError(f"{self.method} wants {name}")
        if (self.owner is None) != (self.repo is None):
            raise ValueError("give owner and repo together")
        return self


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = DiscussionTools(desk)
    return [
        Listing(
            name="list_discussions",
            title="List discussions",
            description="Discussions of a repository or organisation.",
            handler=tools.list_discussions,
            arguments=ListDiscussions,
            result=Discussions,
            annotations=READS_DISCUSSIONS,
        ),
        Listing(
            name="get_discussion",
            title="Read a discussion",
            description="A discussion with its text.",
            handler=tools.get_discussion,
            arguments=GetDiscussion,
            result=DiscussionDetails,
            annotations=READS_DISCUSSIONS,
        ),
        Listing(
            name="get_discussion_comments",
            title="Read comments of a discussion",
            description="Comments of a discussion, with replies where asked for.",
            handler=tools.get_discussion_comments,
            arguments=GetComments,
            result=DiscussionComments,
            annotations=READS_DISCUSSIONS,
        ),
        Listing(
            name="list_discussion_categories",
            title="List categories of discussions",
            description="Categories of discussions with their ids.",
            handler=tools.list_discussion_categories,
            arguments=OwnerArguments,
            result=Categories,
            annotations=READS_DISCUSSIONS,
        ),
        Listing(
            name="discussion_comment_write",
            title="Comment discussions",
            description="Add, reply to, update or delete a comment of a discussion, or (un)mark it "
            "as the answer. Deleting has to be confirmed.",
            handler=tools.discussion_comment_write,
            arguments=WriteComment,
            result=DiscussionChange,
            annotations=WRITES,
        ),
    ]


class DiscussionTools:
    """The tools about discussions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- reading ----------------------------------------------------------------------------------

    async def list_discussions(self, arguments: ListDiscussions, context: Context) -> Discussions:
        """List discussions, without their texts."""
        call, repo = self._desk.call(context), _repo(arguments)
        window = call.window(arguments)
        found = await _found(
            call, LIST, repo, first=window.per_page, after=window.after, **_filters(arguments)
        )
        listed = found["discussions"]
        nodes = window.rest(_nodes(listed))
        heard = await call.heard(repo, nodes)
        parts = [_discussion(node, one) for node, one in zip(nodes, heard, strict=True)]
        shown, members = window.cut(parts, _following(listed), total=listed["totalCount"])
        return Discussions(discussions=shown, **members, **call.members())

    async def get_discussion(self, arguments: GetDiscussion, context: Context) -> DiscussionDetails:
        """Return a discussion with its whole text."""
        call, repo = self._desk.call(context), _repo(arguments)
        found = await _discussion_of(call, ONE, repo, arguments.discussionNumber)
        (heard,) = await call.heard(repo, [found])
        told = _discussion(found, heard)
        part = call.passage(told.body, arguments.cursor, "discussion", told.id, told.updated_at)
        told.body = part.text
        return DiscussionDetails(discussion=told, next_cursor=part.next_cursor, **call.members())

    async def get_discussion_comments(
        self, arguments: GetComments, context: Context
    ) -> DiscussionComments:
        """List the comments of a discussion."""
        call, repo = self._desk.call(context), _repo(arguments)
        window = call.window(arguments)
        found = await _discussion_of(
            call,
            COMMENTS,
            repo,
            arguments.discussionNumber,
            first=window.per_page,
            after=window.after,
            replies=arguments.includeReplies,
        )
        listed = found["comments"]
        nodes = window.rest(_nodes(listed))
        voices = [one for node in nodes for one in (node, *_nodes(node["replies"]))]
        heard = iter(await call.heard(repo, voices))
        parts = [_comment(call, node, heard) for node in nodes]
        shown, members = window.cut(parts, _following(listed), total=listed["totalCount"])
        return DiscussionComments(comments=shown, **members, **call.members())

    async def list_discussion_categories(
        self, arguments: OwnerArguments, context: Context
    ) -> Categories:
        """List the categories of discussions; who may push makes them."""
        call, repo = self._desk.call(context), _repo(arguments)
        window = call.window(arguments, per_page=MAX_CATEGORIES)
        found = await _found(call, CATEGORIES, repo, first=window.per_page, after=window.after)
        await call.origin(repo)
        listed = found["discussionCategories"]
        parts = [_category(node) for node in window.rest(_nodes(listed))]
        shown, members = window.cut(parts, _following(listed), total=listed["totalCount"])
        return Categories(categories=shown, **members, **call.members())

    # -- writing ----------------------------------------------------------------------------------

    async def discussion_comment_write(
        self, arguments: WriteComment, context: Context
    ) -> DiscussionChange:
        """Write a comment of a discussion, or do something with one."""
        call = self._desk.call(context)
        call.desk.access.check_writes(TOOLSET)
        if arguments.method == "add":
            written = await _add(call, arguments)
        else:
            place, repo = await _place(call, arguments)
            act = _reply if arguments.method == "reply" else _change
            written = await act(call, arguments, place, repo)
        return DiscussionChange(**_told(written), **written.members(), **call.members())


# --- asking --------------------------------------------------------------------------------------


async def _found(call: Call, query: str, repo: Repo, **variables: Any) -> Any:
    """Return the repository of an answer."""
    found = (await call.graphql(query, repo=repo, **variables)).get("repository")
    if found is None:
        raise NotFoundOrNoAccess(f"There is no repository {repo}.")
    return found


async def _discussion_of(
    call: Call, query: str, repo: Repo, number: int, **variables: Any
) -> dict[str, Any]:
    found = await _found(call, query, repo, number=number, **variables)
    if found["discussion"] is None:
        raise NotFoundOrNoAccess(f"There is no discussion #{number} in {repo}.")
    discussion: dict[str, Any] = found["discussion"]
    return discussion


def _filters(arguments: ListDiscussions) -> dict[str, Any]:
    """Return the variables that were asked for; GitHub has defaults for those that are not there.

    Raises:
        InvalidArguments: Only one of orderBy and direction.
    """
    if (arguments.orderBy is None) != (arguments.direction is None):
        raise InvalidArguments("orderBy and direction go together.")
    found: dict[str, Any] = {}
    if arguments.category is not None:
        found["category"] = parse_node_id(arguments.category, "category")
    if arguments.orderBy is not None:
        found["order"] = {"field": arguments.orderBy, "direction": arguments.direction}
    if arguments.state is not None:
        found["states"] = [arguments.state]
    if arguments.answered is not None:
        found["answered"] = arguments.answered
    return found


def _nodes(listed: Json) -> list[Json]:
    return [node for node in listed.get("nodes") or () if node]


def _following(listed: Json) -> str | None:
    info = listed["pageInfo"]
    return info["endCursor"] if info["hasNextPage"] else None


def _repo(arguments: OwnerArguments) -> Repo:
    return Repo.parse(arguments.owner, arguments.repo or OF_THE_ORGANISATION)


# --- telling -------------------------------------------------------------------------------------


@as_documented
def _discussion(node: Json, heard: Heard) -> Discussion:
    title = heard.line(node["title"])
    body = heard.text(node.get("body"))
    return Discussion(
        **heard.members(),
        **{name: node[name] for name in ("number", "id", "url", "closed", "locked")},
        title=title or "",
        category=clean((node["category"] or {}).get("name") or "").text or None,
        is_answered=node["isAnswered"],
        answer_id=(node["answer"] or {}).get("id"),
        upvotes=node["upvoteCount"],
        comments=node["comments"]["totalCount"],
        created_at=node["createdAt"],
        updated_at=node["updatedAt"],
        body=body,
    )


@as_documented
def _comment(call: Call, node: Json, heard: Iterator[Heard]) -> DiscussionComment:
    """Return a comment with as many replies as half an answer holds."""
    own = _words(node, next(heard))
    settings = call.desk.settings
    replies = [
        Reply(**_words(one, next(heard), settings.body_chars)) for one in _nodes(node["replies"])
    ]
    return DiscussionComment(
        **own,
        upvotes=node["upvoteCount"],
        replies_total=node["replies"]["totalCount"],
        replies=replies[: fitting(replies, settings.answer_bytes // 2)],
    )


def _words(node: Json, heard: Heard, limit: int | None = None) -> dict[str, Any]:
    body = heard.text(node["body"], limit=limit, more="its url")
    return {
        **heard.members(),
        "id": node["id"],
        "url": node["url"],
        "created_at": node["createdAt"],
        "is_answer": node["isAnswer"],
        "minimized": (node["minimizedReason"] or "yes") if node["isMinimized"] else None,
        "body": body,
    }


@as_documented
def _category(node: Json) -> Category:
    return Category(
        id=node["id"],
        name=clean(node["name"]).text,
        slug=node["slug"],
        description=clean(node["description"] or "").text or None,
        is_answerable=node["isAnswerable"],
    )


# --- writing -------------------------------------------------------------------------------------


async def _add(call: Call, arguments: WriteComment) -> Written:
    repo = Repo.parse(arguments.owner or "", arguments.repo or "")
    number = arguments.discussionNumber or 0
    there = await _discussion_of(call, NEWEST, repo, number)
    content = {"discussionId": there["id"], "body": arguments.body}
    plan = _plan(repo, f"comment discussion #{number}", mutation(ADD, {"input": content}))
    return await _marked(call, plan, arguments, _nodes(there["comments"]))


async def _reply(call: Call, arguments: WriteComment, place: Json, repo: Repo) -> Written:
    discussion = place["discussion"]
    content = {
        "discussionId": discussion["id"],
        "replyToId": place["id"],
        "body": arguments.body,
    }
    what = f"reply to comment {place['id']} of discussion #{discussion['number']}"
    plan = _plan(repo, what, mutation(ADD, {"input": content}))
    return await _marked(call, plan, arguments, _nodes(place["replies"]))


async def _change(call: Call, arguments: WriteComment, place: Json, repo: Repo) -> Written:
    query, id_name, verb = CHANGES[arguments.method]
    content = {id_name: place["id"]}
    if arguments.method == "update":
        content["body"] = arguments.body
    what = f"{verb} comment {place['id']} of discussion #{place['discussion']['number']}"
    deletes = arguments.method == "delete"
    plan = _plan(repo, what, mutation(query, {"input": content}), destructive=deletes)
    return await call.write(plan, arguments)


async def _place(call: Call, arguments: WriteComment) -> tuple[Json, Repo]:
    """Return a comment that is there and its repository, which may be left out of the arguments.

    Raises:
        NotFoundOrNoAccess: There is no such comment, or not where the arguments say.
    """
    node_id = parse_node_id(arguments.commentNodeID or "", "commentNodeID")
    if arguments.owner is None:
        data = await call.graphql(PLACE, id=node_id)
    else:
        named = Repo.parse(arguments.owner, arguments.repo or "")
        data = await call.graphql(PLACE_IN, repo=named, id=node_id)
    place = data["node"] or {}
    found = place.get("discussion")
    if found is None or not _is_where(data, found, arguments.discussionNumber):
        raise NotFoundOrNoAccess(
            f"There is no comment {node_id} of a discussion there.",
            hint="Take its id from get_discussion_comments.",
        )
    return place, Repo.parse_full(found["repository"]["nameWithOwner"])


def _is_where(data: Json, discussion: Json, number: int | None) -> bool:
    """Whether a comment's discussion has the number, and is in the repository, that were named."""
    named = data.get("repository") or discussion["repository"]
    return named == discussion["repository"] and number in (None, discussion["number"])


def _plan(repo: Repo, what: str, request: Any, *, destructive: bool = False) -> Plan:
    return Plan(
        toolset=TOOLSET,
        what=f"{what} of {repo}",
        requests=[request],
        repo=repo,
        destructive=destructive,
    )


async def _marked(
    call: Call, plan: Plan, arguments: WriteComment, newest: Sequence[Json]
) -> Written:
    """Create a comment, unless it is one of the newest ones."""

    async def there() -> Sequence[Json]:
        return newest

    within = ("variables", "input", "body")
    marker = Marker(newest=there, key=arguments.idempotency_key, within=within)
    return await call.write(plan, arguments, marker)


def _told(written: Written) -> dict[str, Any]:
    """Return id and address of what a mutation answered, or of the comment that was there."""
    found = written.data or {}
    if "id" not in found:
        payload = next(iter(found.values()), None) or {}
        found = payload.get("comment") or payload.get("discussion") or {}
    return {"id": found.get("id"), "url": found.get("url")}
