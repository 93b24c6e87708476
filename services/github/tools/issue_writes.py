"""Writing issues: creating and changing them, comments, reactions, labels, milestones, locks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import InvalidArguments, ToolError, did_you_mean
from core.models import Arguments
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.models.common import Planned, RepositoryArguments, WriteArguments
from services.github.models.issues import Change
from services.github.policy.names import Repo, parse_label, parse_login
from services.github.tools import conversations
from services.github.tools.desk import Call, Desk
from services.github.tools.issues import (
    COMMENTS,
    ISSUE,
    ISSUES,
    LABEL,
    LABELS,
    MILESTONES,
    time_of,
)
from services.github.writes import Marker, Plan, Written

TOOLSET = "issues"
CHANGES = Annotations(read_only=False, destructive=False, idempotent=False, open_world=True)
DESTROYS = Annotations(read_only=False, destructive=True, idempotent=False, open_world=True)
MILESTONE = "/repos/{owner}/{repo}/milestones/{milestone_number}"
REACTIONS_TO = {
    "issue_number": f"{ISSUE}/reactions",
    "comment_id": "/repos/{owner}/{repo}/issues/comments/{comment_id}/reactions",
    "review_comment_id": "/repos/{owner}/{repo}/pulls/comments/{comment_id}/reactions",
}
MAX_TITLE_CHARS = 256
MAX_BODY_CHARS = 65_536
NEWEST = 30
"""Newest issues among which an earlier one of the same call is looked for."""
_COLOR = re.compile(r"#?([0-9a-fA-F]{6})")

Reaction = Literal["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"]
Json = Mapping[str, Any]


# --- arguments -----------------------------------------------------------------------------------


class KeyedArguments(WriteArguments):
    """Of tools that create something: a key by which a repeated call finds it."""

    idempotency_key: str | None = Field(None, min_length=1, max_length=200)


class FieldValue(Arguments):
    """A custom field to set or to clear."""

    field_name: str
    value: str | int | float | bool | None = None
    field_option_name: str | None = None
    delete: bool = False

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        given = [self.value is not None, self.field_option_name is not None, self.delete]
        if sum(given) != 1:
            raise ValueError("give exactly one of value, field_option_name and delete")
        return self


class WriteIssue(RepositoryArguments, KeyedArguments):
    """Arguments of issue_write, those of the official server."""

    method: Literal["create", "update"]
    issue_number: int | None = Field(None, ge=1)
    title: str | None = Field(None, min_length=1, max_length=MAX_TITLE_CHARS)
    body: str | None = Field(None, max_length=MAX_BODY_CHARS)
    assignees: list[str] | None = Field(None, description="All of them: others are removed.")
    labels: list[str] | None = Field(None, description="Likewise.")
    milestone: int | None = Field(None, ge=0, description="Number; 0 removes it.")
    type: str | None = Field(None, min_length=1, description="null removes it.")
    state: Literal["open", "closed"] | None = None
    state_reason: Literal["completed", "not_planned", "duplicate"] | None = None
    duplicate_of: int | None = Field(None, ge=1)
    issue_fields: list[FieldValue] = Field([])

    @model_validator(mode="after")
    def _fits_the_method(self) -> Self:
        creates = self.method == "create"
        if creates and (self.title is None or self.issue_number is not None):
            raise ValueError("to create an issue give a title and no issue_number")
        if creates and (self.state or self.state_reason):
            raise ValueError("an issue is created open; close it by an update")
        if not creates and self.issue_number is None:
            raise ValueError("to update an issue give its issue_number")
        if (self.state_reason == "duplicate") != (self.duplicate_of is not None):
            raise ValueError("duplicate_of and state_reason=duplicate belong together")
        if self.state == "open" and self.state_reason:
            raise ValueError("state_reason is for closing an issue")
        return self


class AddComment(RepositoryArguments, KeyedArguments):
    """Arguments of add_issue_comment, those of the official server."""

    issue_number: int = Field(ge=1)
    body: str | None = Field(None, min_length=1, max_length=MAX_BODY_CHARS)
    reaction: Reaction | None = None
    comment_id: int | None = Field(None, ge=1, description="Comment to react to.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.body is None and self.reaction is None:
            raise ValueError("give a body, a reaction, or both")
        if self.comment_id is not None and self.body is not None:
            raise ValueError("comment_id is for a reaction alone")
        return self


class WriteSubIssue(RepositoryArguments, WriteArguments):
    """Arguments of sub_issue_write, those of the official server."""

    method: Literal["add", "remove", "reprioritize"]
    issue_number: int = Field(ge=1)
    sub_issue_id: int = Field(ge=1, description="The id of issue_read, not the number.")
    replace_parent: bool | None = None
    after_id: int | None = Field(None, ge=1)
    before_id: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _fits_the_method(self) -> Self:
        places = [self.after_id, self.before_id]
        if (self.method == "reprioritize") != (places.count(None) == 1):
            raise ValueError("reprioritize, and nothing else, wants one of after_id and before_id")
        if self.replace_parent is not None and self.method != "add":
            raise ValueError("replace_parent is for add")
        return self


class React(RepositoryArguments, WriteArguments):
    """Arguments of react; one of the three says to what."""

    reaction: Reaction
    issue_number: int | None = Field(None, ge=1)
    comment_id: int | None = Field(None, ge=1)
    review_comment_id: int | None = Field(None, ge=1)
    remove: bool = False

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if sum(getattr(self, name) is not None for name in REACTIONS_TO) != 1:
            raise ValueError("give exactly one of issue_number, comment_id and review_comment_id")
        return self


class WriteLabel(RepositoryArguments, WriteArguments):
    """Arguments of label_write, those of the official server."""

    method: Literal["create", "update", "delete"]
    name: str
    new_name: str | None = None
    color: str | None = Field(None, description="Six hexadecimal digits.")
    description: str | None = Field(None, max_length=100)

    @model_validator(mode="after")
    def _color_is_one(self) -> Self:
        if self.color is not None and not _COLOR.fullmatch(self.color):
            raise ValueError("a color has six hexadecimal digits, such as d73a4a")
        if self.new_name is not None and self.method != "update":
            raise ValueError("new_name is for update")
        return self


class WriteMilestone(RepositoryArguments, WriteArguments):
    """Arguments of milestone_write."""

    method: Literal["create", "update", "delete"]
    milestone_number: int | None = Field(None, ge=1)
    title: str | None = Field(None, min_length=1, max_length=MAX_TITLE_CHARS)
    description: str | None = Field(None, max_length=MAX_BODY_CHARS)
    due_on: str | None = Field(None, description="ISO 8601.")
    state: Literal["open", "closed"] | None = None

    @model_validator(mode="after")
    def _fits_the_method(self) -> Self:
        creates = self.method == "create"
        if creates != (self.milestone_number is None):
            raise ValueError("update and delete, not create, want a milestone_number")
        if creates and self.title is None:
            raise ValueError("to create a milestone give a title")
        return self


class LockIssue(RepositoryArguments, WriteArguments):
    """Arguments of lock_issue."""

    issue_number: int = Field(ge=1)
    locked: bool = Field(True, description="false unlocks.")
    lock_reason: Literal["off-topic", "too heated", "resolved", "spam"] | None = None


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools that write issues."""
    tools = IssueWriteTools(desk)
    return [
        Listing(
            name="issue_write",
            title="Create or update an issue",
            description="Create an issue, or change one: text, labels, assignees, state.",
            handler=tools.issue_write,
            arguments=WriteIssue,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="add_issue_comment",
            title="Comment or react",
            description="Comment on an issue or pull request, or react to it or to a comment.",
            handler=tools.add_issue_comment,
            arguments=AddComment,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="sub_issue_write",
            title="Change sub-issues",
            description="Put an issue below another, take it out, or move it among the others.",
            handler=tools.sub_issue_write,
            arguments=WriteSubIssue,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="react",
            title="Add or remove a reaction",
            description="Give a reaction to an issue, pull request or comment, or take yours back.",
            handler=tools.react,
            arguments=React,
            result=Change,
            annotations=CHANGES,
        ),
        Listing(
            name="label_write",
            title="Create, change or delete a label",
            description="Labels of a repository; issue_write puts them on an issue.",
            handler=tools.label_write,
            arguments=WriteLabel,
            result=Change,
            annotations=DESTROYS,
        ),
        Listing(
            name="milestone_write",
            title="Create, change or delete a milestone",
            description="Milestones of a repository; issue_write puts an issue on one.",
            handler=tools.milestone_write,
            arguments=WriteMilestone,
            result=Change,
            annotations=DESTROYS,
        ),
        Listing(
            name="lock_issue",
            title="Lock or unlock a conversation",
            description="Let only those with push access comment on an issue or pull request.",
            handler=tools.lock_issue,
            arguments=LockIssue,
            result=Change,
            annotations=DESTROYS,
        ),
    ]


# --- tools ---------------------------------------------------------------------------------------


class IssueWriteTools:
    """The tools that write issues."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def issue_write(self, arguments: WriteIssue, context: Context) -> Change:
        """Create an issue, or change one."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        values = await _field_values(call, target.repo, arguments.issue_fields)
        body = await _body_of(call, target.repo, arguments)
        if arguments.method == "create":
            return await _create(call, target, arguments, body, values)
        return await _update(call, target, arguments, body, values)

    async def add_issue_comment(self, arguments: AddComment, context: Context) -> Change:
        """Comment on an issue, react to it or to a comment, or do both."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        reaction = None
        if arguments.reaction is not None:
            reaction = reaction_to(target, arguments.reaction, subject_of(arguments))
        if arguments.body is None:
            assert reaction is not None
            return change(call, reaction, await call.write(reaction, arguments))
        return await commented(call, _comment(target, arguments, arguments.body), reaction)

    async def sub_issue_write(self, arguments: WriteSubIssue, context: Context) -> Change:
        """Change which issues are below another, or their order."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        number = arguments.issue_number
        ways = {
            "add": ("POST", f"{ISSUE}/sub_issues", "put issue {} below"),
            "remove": ("DELETE", f"{ISSUE}/sub_issue", "take issue {} out from below"),
            "reprioritize": (
                "PATCH",
                f"{ISSUE}/sub_issues/priority",
                "move issue {} among those below",
            ),
        }
        method, route, what = ways[arguments.method]
        body = given(arguments, "sub_issue_id", "replace_parent", "after_id", "before_id")
        plan = target.plan(
            f"{what.format(f'with id {arguments.sub_issue_id}')} #{number}",
            target.request(method, route, body, issue_number=number),
        )
        return change(call, plan, await call.write(plan, arguments))

    async def react(self, arguments: React, context: Context) -> Change:
        """Give a reaction, or take one back."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        subject = subject_of(arguments)
        if not arguments.remove:
            plan = reaction_to(target, arguments.reaction, subject)
        else:
            plan = await _reaction_taken_back(call, target, arguments.reaction, subject)
        return change(call, plan, await call.write(plan, arguments))

    async def label_write(self, arguments: WriteLabel, context: Context) -> Change:
        """Create, change or delete a label."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        name = parse_label(arguments.name)
        body = given(arguments, "color", "description")
        if arguments.color is not None:
            body["color"] = arguments.color.removeprefix("#")
        if arguments.new_name is not None:
            body["new_name"] = parse_label(arguments.new_name)
        plan = {
            "create": lambda: target.plan(
                f"create the label {name!r}", target.request("POST", LABELS, {"name": name, **body})
            ),
            "update": lambda: target.plan(
                f"change the label {name!r}", target.request("PATCH", LABEL, body, name=name)
            ),
            "delete": lambda: target.plan(
                f"delete the label {name!r}, also from issues",
                target.request("DELETE", LABEL, name=name),
                destructive=True,
            ),
        }[arguments.method]()
        return change(call, plan, await call.write(plan, arguments))

    async def milestone_write(self, arguments: WriteMilestone, context: Context) -> Change:
        """Create, change or delete a milestone."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        number = arguments.milestone_number
        body = given(arguments, "title", "description", "state")
        if arguments.due_on is not None:
            body["due_on"] = time_of(arguments.due_on, "due_on")
        if number is None:
            request = target.request("POST", MILESTONES, body)
            plan = target.plan(f"create the milestone {arguments.title!r}", request)
        elif arguments.method == "update":
            request = target.request("PATCH", MILESTONE, body, milestone_number=number)
            plan = target.plan(f"change milestone {number}", request)
        else:
            request = target.request("DELETE", MILESTONE, milestone_number=number)
            plan = target.plan(
                f"delete milestone {number}, also from issues", request, destructive=True
            )
        return change(call, plan, await call.write(plan, arguments))

    async def lock_issue(self, arguments: LockIssue, context: Context) -> Change:
        """Lock or unlock a conversation."""
        call, target = begin(self._desk, arguments, context, TOOLSET)
        number = arguments.issue_number
        route = f"{ISSUE}/lock"
        if arguments.locked:
            body = given(arguments, "lock_reason") or None
            request = target.request("PUT", route, body, issue_number=number)
        else:
            request = target.request("DELETE", route, issue_number=number)
        verb = "lock" if arguments.locked else "unlock"
        plan = target.plan(
            f"{verb} the conversation of #{number}", request, destructive=arguments.locked
        )
        return change(call, plan, await call.write(plan, arguments))


# --- plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """The repository that is written to, by a tool of a toolset."""

    repo: Repo
    toolset: str

    def request(self, method: str, route: str, body: Any = None, /, **values: Any) -> Request:
        """Return a request about the repository."""
        filled = {"owner": self.repo.owner, "repo": self.repo.name, **values}
        return Request(method=method, route=route, values=filled, body=body)

    def plan(self, what: str, *requests: Request, destructive: bool = False) -> Plan:
        """Return what would be done there."""
        return Plan(
            toolset=self.toolset,
            what=f"{what} in {self.repo}",
            requests=requests,
            repo=self.repo,
            destructive=destructive,
        )


def begin(
    desk: Desk, arguments: RepositoryArguments, context: Context, toolset: str
) -> tuple[Call, Target]:
    """Return the call and what it writes to, when the toolset may write there.

    Raises:
        BadName: The arguments name no repository.
        WritesOff: The toolset only reads.
        RepositoryNotAllowed: The repository may not be written to.
    """
    call, repo = desk.call(context), arguments.repository()
    desk.access.check_writes(toolset)
    desk.access.check_write(repo)
    return call, Target(repo, toolset)


def given(arguments: Arguments, *names: str) -> dict[str, Any]:
    """Return the arguments that are not None."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def change(call: Call, plan: Plan, written: Written) -> Change:
    """Return what became of a plan."""
    data = written.data if isinstance(written.data, Mapping) else {}
    names = ("number", "id", "node_id", "name", "state", "sha", "html_url")
    return Change(
        what=plan.what,
        **{name: data.get(name) for name in names},
        **written.members(),
        **call.members(),
    )


async def in_turn(call: Call, plan: Plan, arguments: WriteArguments) -> Written:
    """Carry out a plan of several requests; what fails after the first becomes a warning."""
    outcome = await call.permit(plan, arguments)
    if isinstance(outcome, Planned):
        return Written(planned=outcome)
    first, *later = plan.requests
    data = (await outcome.send(first)).data
    for request in later:
        try:
            await outcome.send(request)
        except ToolError as error:
            call.warnings.append(f"Done in part only: {error.message}")
    return Written(data=data)


async def newest_below(call: Call, route: str, /, **values: Any) -> Sequence[Json]:
    """Return the newest entries of a list that GitHub tells oldest first."""
    reply = await call.page(route, per_page=100, **values)
    if (reply.last_page or 1) > 1:
        reply = await call.page(route, per_page=100, page=reply.last_page, **values)
    found: Sequence[Json] = reply.data or ()
    return found


# --- issues --------------------------------------------------------------------------------------


async def _body_of(call: Call, repo: Repo, arguments: WriteIssue) -> dict[str, Any]:
    """Return what is sent of an issue; only what was given changes."""
    body = given(arguments, "title", "body", "state", "state_reason", "type")
    if arguments.assignees is not None:
        body["assignees"] = [parse_login(login) for login in arguments.assignees]
    if arguments.labels is not None:
        body["labels"] = [parse_label(label) for label in arguments.labels]
    if arguments.milestone is not None:
        body["milestone"] = arguments.milestone or None
    if arguments.method == "update" and "type" in arguments.model_fields_set:
        body["type"] = arguments.type
    if arguments.state_reason is not None:
        body["state"] = "closed"  # GitHub passes over a reason without it
    if arguments.duplicate_of is not None:
        original = await call.get(ISSUE, repo=repo, issue_number=arguments.duplicate_of)
        body["duplicate_issue_id"] = conversations.issue_id(original)
    return body


async def _create(
    call: Call, target: Target, arguments: WriteIssue, body: Json, values: FieldChanges
) -> Change:
    sent = {**body, "issue_field_values": values.changed} if values.changed else body
    plan = target.plan(
        f"create the issue {arguments.title!r}", target.request("POST", ISSUES, sent)
    )

    async def newest() -> Sequence[Json]:
        query = {"state": "all", "sort": "created", "direction": "desc"}
        reply = await call.page(ISSUES, query=query, per_page=NEWEST, repo=target.repo)
        found: Sequence[Json] = reply.data
        return found

    marker = Marker(newest=newest, key=arguments.idempotency_key)
    return change(call, plan, await call.write(plan, arguments, marker))


async def _update(
    call: Call, target: Target, arguments: WriteIssue, body: Json, values: FieldChanges
) -> Change:
    number = arguments.issue_number
    fields = f"{ISSUE}/issue-field-values"
    requests = [target.request("PATCH", ISSUE, body, issue_number=number)] if body else []
    if values.changed:
        sent = {"issue_field_values": values.changed}
        requests.append(target.request("POST", fields, sent, issue_number=number))
    requests += [
        target.request(
            "DELETE", f"{fields}/{{issue_field_id}}", issue_number=number, issue_field_id=one
        )
        for one in values.cleared
    ]
    if not requests:
        raise InvalidArguments(f"issue_write: nothing to change of #{number} was given.")
    changed = [*body, *(["issue_fields"] if arguments.issue_fields else [])]
    plan = target.plan(f"update #{number} ({', '.join(changed)})", *requests)
    return change(call, plan, await in_turn(call, plan, arguments))


@dataclass(frozen=True, slots=True)
class FieldChanges:
    """Custom fields by their ids: what is set, and what is cleared."""

    changed: list[dict[str, Any]]
    cleared: list[int]


async def _field_values(call: Call, repo: Repo, wanted: Sequence[FieldValue]) -> FieldChanges:
    """Return custom fields by the ids that the organisation has for their names.

    Raises:
        InvalidArguments: There is no such field or option; says which there are.
    """
    if not wanted:
        return FieldChanges([], [])
    found = await call.get("/orgs/{org}/issue-fields", org=repo.owner)
    known = {field["name"].lower(): field for field in found}
    fields = [(one, _among(known, one.field_name, "field")) for one in wanted]
    return FieldChanges(
        changed=[
            {"field_id": field["id"], "value": _value(one, field)}
            for one, field in fields
            if not one.delete
        ],
        cleared=[field["id"] for one, field in fields if one.delete],
    )


def _value(wanted: FieldValue, field: Json) -> Any:
    if wanted.field_option_name is None:
        return wanted.value
    options = {option["name"].lower(): option for option in field.get("options") or ()}
    return _among(options, wanted.field_option_name, f"option of {field['name']}")["name"]


def _among(known: Mapping[str, Json], name: str, what: str) -> Json:
    found = known.get(name.lower())
    if found is None:
        names = [str(one["name"]) for one in known.values()]
        raise InvalidArguments(
            f"issue_fields: there is no {what} {name[:80]!r}. {did_you_mean(name, names)}".rstrip(),
            hint=f"There are: {', '.join(names) or 'none'}.",
        )
    return found


# --- comments and reactions ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commenting:
    """A comment to be made."""

    plan: Plan
    arguments: KeyedArguments
    route: str
    values: Json


def _comment(target: Target, arguments: AddComment, body: str) -> Commenting:
    number = arguments.issue_number
    request = target.request("POST", COMMENTS, {"body": body}, issue_number=number)
    plan = target.plan(f"comment on #{number}", request)
    return Commenting(plan, arguments, COMMENTS, {"repo": target.repo, "issue_number": number})


async def commented(call: Call, comment: Commenting, reaction: Plan | None) -> Change:
    """Make a comment, and give a reaction after it where that was asked for too."""
    marker = Marker(
        newest=lambda: newest_below(call, comment.route, **comment.values),
        key=comment.arguments.idempotency_key,
    )
    written = await call.write(comment.plan, comment.arguments, marker)
    if reaction is not None:
        await also(call, reaction, comment.arguments, written)
    return change(call, comment.plan, written)


async def also(call: Call, plan: Plan, arguments: WriteArguments, written: Written) -> None:
    """Carry out a second plan after one that was; a dry run shows both."""
    dry_run = arguments.dry_run
    try:
        more = await call.write(plan, WriteArguments(dry_run=dry_run))
    except ToolError as error:
        call.warnings.append(f"Done in part only, not to {plan.what}: {error.message}")
        return
    if written.planned is not None and more.planned is not None:
        written.planned.requests.extend(more.planned.requests)


def subject_of(arguments: AddComment | React) -> tuple[str, int]:
    """Return to what a reaction is given: the name of the argument that says so, and the id."""
    for name in ("review_comment_id", "comment_id"):
        value = getattr(arguments, name, None)
        if value is not None:
            return name, value
    return "issue_number", arguments.issue_number or 0


def reaction_to(target: Target, content: str, subject: tuple[str, int]) -> Plan:
    """Return the plan to give a reaction; `subject` is as `subject_of` returns it."""
    kind, number = subject
    body = {"content": content}
    request = target.request("POST", REACTIONS_TO[kind], body, **_hole(kind, number))
    return target.plan(f"react with {content} to {kind.replace('_', ' ')} {number}", request)


async def _reaction_taken_back(
    call: Call, target: Target, content: str, subject: tuple[str, int]
) -> Plan:
    """Return the plan to remove a reaction of the credential's user.

    Raises:
        InvalidArguments: They gave none.
    """
    kind, number = subject
    route, hole = REACTIONS_TO[kind], _hole(kind, number)
    viewer = await call.viewer(target.repo.owner)
    reply = await call.page(
        route, query={"content": content}, per_page=100, repo=target.repo, **hole
    )
    mine = [one["id"] for one in reply.data if (one.get("user") or {}).get("login") == viewer]
    if not mine:
        raise InvalidArguments(f"{viewer or 'The credential'} gave no {content} there.")
    request = target.request("DELETE", f"{route}/{{reaction_id}}", **hole, reaction_id=mine[0])
    return target.plan(f"take back {content} from {kind.replace('_', ' ')} {number}", request)


def _hole(kind: str, number: int) -> dict[str, int]:
    """Return what fills the route of a reaction."""
    return {"issue_number" if kind == "issue_number" else "comment_id": number}
