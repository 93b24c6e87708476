"""Writing projects: items and their fields, status updates, views, iteration fields, new ones.

GitHub's description has no way to change or delete a view, so there is none here either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import Conflict, InvalidArguments, RateLimited, ToolError, did_you_mean
from core.models import Arguments
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.errors import NotFoundOrNoAccess
from services.github.models.common import Planned, WriteArguments, unbounded
from services.github.models.projects import ItemChanged, ProjectChange
from services.github.policy.names import Repo, parse_node_id
from services.github.tools.desk import Call, Desk
from services.github.tools.projects import (
    ACCOUNT,
    FIELDS,
    ITEM,
    ITEMS,
    MAX_ID,
    MAX_NUMBER,
    Board,
    Json,
    OwnerType,
    board_of,
    by_id,
    facts_of,
    field_id,
    fields_of,
    named,
)
from services.github.writes import Marker, Permit, Plan, Written, mutation

TOOLSET = "projects"
WRITES = Annotations(read_only=False, destructive=True, idempotent=False, open_world=True)
VIEWS_OF = {"org": "/orgs/{org}", "user": "/users/{user_id}"}
VIEWS = "/projectsV2/{project_number}/views"
MAX_ITEMS = 50
MAX_BODY_CHARS = 65_536
LEFT_S = 2.0
"""Of a call's time, below which no further item is begun."""

CREATE = """mutation($input: CreateProjectV2Input!) { createProjectV2(input: $input) {
 projectV2 { id number url } } }"""
TELL = """mutation($input: CreateProjectV2StatusUpdateInput!) {
 createProjectV2StatusUpdate(input: $input) { statusUpdate { id } } }"""
NEWEST = """query($id: ID!) { node(id: $id) { ... on ProjectV2 {
 statusUpdates(first: 20, orderBy: {field: CREATED_AT, direction: DESC}) {
  nodes { id body createdAt author: creator { login __typename } } } } } }"""
_PLACES = "projectItems(first: 50) { nodes { fullDatabaseId project { id } } }"
PLACES = f"""query($owner: String!, $repo: String!, $number: Int!) {{
 repository(owner: $owner, name: $repo) {{ found: issueOrPullRequest(number: $number) {{
  ... on Issue {{ {_PLACES} }} ... on PullRequest {{ {_PLACES} }} }} }} }}"""
NODES = """query($ids: [ID!]!) { nodes(ids: $ids) { ... on ProjectV2Item {
 id fullDatabaseId project { id } } } }"""

Method = Literal[
    "add_project_item",
    "update_project_item",
    "update_project_items",
    "delete_project_item",
    "create_project_status_update",
    "create_project_view",
    "create_project",
    "create_iteration_field",
]
WANTS: dict[str, tuple[str, ...]] = {
    "add_project_item": ("project_number", "item_owner", "item_repo", "item_type"),
    "update_project_item": ("project_number", "updated_field"),
    "update_project_items": ("project_number", "updated_field", "items"),
    "delete_project_item": ("project_number", "item_id"),
    "create_project_status_update": ("project_number",),
    "create_project_view": ("project_number", "name", "layout"),
    "create_project": ("owner_type", "title"),
    "create_iteration_field": (
        "project_number",
        "field_name",
        "iteration_duration",
        "start_date",
    ),
}
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER, json_schema_extra=unbounded)]
Id = Annotated[int, Field(ge=1, le=MAX_ID, json_schema_extra=unbounded)]
Value = str | int | float | None


class UpdatedField(Arguments):
    """A field, by id or name, and its value."""

    id: Id | None = None
    name: str | None = None
    value: Value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.id is None) == (self.name is None):
            raise ValueError("give id or name")
        if isinstance(self.value, bool):
            raise ValueError("value is a text, a number or null")
        return self


class ItemRef(Arguments):
    """An item: by node id, by id, or by the issue that it is."""

    node_id: str | None = None
    item_id: Id | None = None
    item_owner: str | None = None
    item_repo: str | None = None
    issue_number: Number | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        issue = (self.item_owner, self.item_repo, self.issue_number)
        ways = [self.node_id is not None, self.item_id is not None, None not in issue]
        if sum(ways) != 1 or (not ways[2] and any(part is not None for part in issue)):
            raise ValueError("give node_id, item_id, or item_owner, item_repo and issue_number")
        return self


class Iteration(Arguments):
    """One iteration of a new field."""

    title: str = Field(min_length=1, max_length=200)
    start_date: Day
    duration: int = Field(ge=1, le=366, description="Days.", json_schema_extra=unbounded)


class WriteProject(WriteArguments):
    """Arguments of projects_write."""

    method: Method
    owner: str
    owner_type: OwnerType | None = None
    project_number: Number | None = None
    title: str | None = Field(None, min_length=1, max_length=256, description="Of a new project.")
    item_id: Id | None = None
    item_owner: str | None = None
    item_repo: str | None = None
    item_type: Literal["issue", "pull_request"] | None = None
    issue_number: Number | None = None
    pull_request_number: Number | None = None
    items: list[ItemRef] | None = Field(None, min_length=1, max_length=MAX_ITEMS)
    updated_field: UpdatedField | None = Field(None, description="null clears; options by name.")
    body: str | None = Field(None, min_length=1, max_length=MAX_BODY_CHARS)
    status: Literal["INACTIVE", "ON_TRACK", "AT_RISK", "OFF_TRACK", "COMPLETE"] | None = None
    start_date: Day | None = None
    target_date: Day | None = None
    name: str | None = Field(None, min_length=1, max_length=200, description="Of a new view.")
    layout: Literal["table", "board", "roadmap"] | None = None
    filter: str | None = Field(None, max_length=2_000)
    visible_fields: list[str] | None = Field(None, max_length=50, description="Ids.")
    visible_field_names: list[str] | None = Field(None, max_length=50)
    field_name: str | None = Field(None, min_length=1, max_length=200)
    iteration_duration: int | None = Field(None, ge=1, le=366, json_schema_extra=unbounded)
    iterations: list[Iteration] | None = Field(None, max_length=50)
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name in WANTS[self.method]:
            if getattr(self, name) is None:
                raise ValueError(f"{self.method} wants {name}")
        if self.visible_fields and self.visible_field_names:
            raise ValueError("give visible_fields or visible_field_names")
        if self.layout == "roadmap" and (self.visible_fields or self.visible_field_names):
            raise ValueError("a roadmap shows no fields")
        return self


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    return [
        Listing(
            name="projects_write",
            title="Write projects",
            description="Create a project; add, update (up to 50 at once) or delete its items; add "
            "a status update, view or iteration field. Deleting has to be confirmed.",
            handler=ProjectWriteTools(desk).projects_write,
            arguments=WriteProject,
            result=ProjectChange,
            annotations=WRITES,
        )
    ]


class ProjectWriteTools:
    """The tool that writes projects."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def projects_write(self, arguments: WriteProject, context: Context) -> ProjectChange:
        """Write a project or something of it."""
        call = self._desk.call(context)
        call.desk.access.check_writes(TOOLSET)
        number = None if arguments.method == "create_project" else arguments.project_number
        board = await board_of(call, arguments.owner, arguments.owner_type, number)
        call.desk.access.check_owner(board.owner, writes=True)
        target = Target(call, board, arguments)
        if number is not None:
            target = Target(call, board, arguments, await facts_of(call, board))
        return await _METHODS[arguments.method](target)


@dataclass(frozen=True, slots=True)
class Target:
    """What is written to; `facts` is the project as GitHub tells it, empty for a new one."""

    call: Call
    board: Board
    arguments: WriteProject
    facts: Json = field(default_factory=dict)

    def plan(self, what: str, requests: Sequence[Request], *, destructive: bool = False) -> Plan:
        """Return a plan of writing to the project."""
        return Plan(
            toolset=TOOLSET,
            what=what,
            requests=requests,
            owner=self.board.owner,
            public=bool(self.facts.get("public")),  # a new one is private
            destructive=destructive,
        )

    async def write(
        self, what: str, request: Request, marker: Marker | None = None, **options: bool
    ) -> Written:
        """Carry out one request."""
        plan = self.plan(what, [request], **options)
        return await self.call.write(plan, self.arguments, marker)

    def change(self, what: str, written: Written, **told: Any) -> ProjectChange:
        """Return what became of it; `told` only once something was sent."""
        sent = written.planned is None
        return ProjectChange(
            done=what if sent else "nothing",
            **(told if sent else {}),
            **written.members(),
            **self.call.members(),
        )


# --- items ---------------------------------------------------------------------------------------


async def _add(target: Target) -> ProjectChange:
    """Add an issue or pull request; GitHub leaves one that is there already as it is."""
    asked, board = target.arguments, target.board
    is_issue = asked.item_type == "issue"
    number = asked.issue_number if is_issue else asked.pull_request_number
    if number is None:
        wanted = "issue_number" if is_issue else "pull_request_number"
        raise InvalidArguments(f"add_project_item of an {asked.item_type} wants {wanted}.")
    repo = Repo.parse(asked.item_owner or "", asked.item_repo or "")
    target.call.desk.access.check_read(repo)
    body = {
        "type": "Issue" if is_issue else "PullRequest",
        "owner": repo.owner,
        "repo": repo.name,
        "number": number,
    }
    what = f"add {repo}#{number} to {board}"
    written = await target.write(what, board.request(ITEMS, method="POST", body=body))
    data = _item_of(written.data)
    return target.change(what, written, id=data.get("id"), node_id=data.get("node_id"))


def _item_of(data: Any) -> Json:
    """Return the item that a write answered with."""
    return data if isinstance(data, Mapping) else {}


async def _update(target: Target) -> ProjectChange:
    asked = target.arguments
    if asked.item_id is not None:
        item_id = asked.item_id
    elif asked.item_owner and asked.item_repo and asked.issue_number:
        repo = Repo.parse(asked.item_owner, asked.item_repo)
        item_id = await _item_of_issue(target, repo, asked.issue_number)
    else:
        raise InvalidArguments(
            "update_project_item wants item_id, or item_owner, item_repo and issue_number."
        )
    request = _update_of(target.board, item_id, await _fields(target))
    what = f"change item {item_id} of {target.board}"
    written = await target.write(what, request)
    return target.change(what, written, id=item_id)


async def _update_many(target: Target) -> ProjectChange:
    """Change a field of several items, one after the other; each is told on its own."""
    refs = target.arguments.items or []
    ids = await _ids(target, refs)
    if len(set(ids)) < len(ids):
        raise InvalidArguments("items: two of them are the same item.")
    body = await _fields(target)
    requests = [_update_of(target.board, item_id, body) for item_id in ids]
    what = f"change {len(ids)} items of {target.board}"
    outcome = await target.call.permit(target.plan(what, requests), target.arguments)
    if isinstance(outcome, Planned):
        return target.change(what, Written(planned=outcome))
    changed = await _each(target.call, outcome, ids, requests)
    failed = sum(1 for one in changed if one.error is not None)
    if failed:
        target.call.warnings.append(f"{failed} of {len(changed)} items were not changed.")
    return target.change(what, Written(), items=changed)


async def _each(
    call: Call, permit: Permit, ids: Sequence[int], requests: Sequence[Request]
) -> list[ItemChanged]:
    """Send the requests until there is no time or quota for more."""
    changed: list[ItemChanged] = []
    stopped = False
    for item_id, request in zip(ids, requests, strict=True):
        stopped = stopped or call.context.remaining_s < LEFT_S
        if stopped:
            changed.append(ItemChanged(item_id=item_id, error="NOT_SENT"))
            continue
        try:
            await permit.send(request)
        except ToolError as error:
            stopped = isinstance(error, RateLimited)
            changed.append(ItemChanged(item_id=item_id, error=error.code, message=error.message))
        else:
            changed.append(ItemChanged(item_id=item_id))
    return changed


async def _delete(target: Target) -> ProjectChange:
    item_id = target.arguments.item_id or 0
    request = target.board.request(ITEM, method="DELETE", values={"item_id": item_id})
    what = f"delete item {item_id} of {target.board}"
    return target.change(what, await target.write(what, request, destructive=True), id=item_id)


def _update_of(board: Board, item_id: int, body: Json) -> Request:
    return board.request(ITEM, method="PATCH", values={"item_id": item_id}, body=body)


# --- which items ---------------------------------------------------------------------------------


async def _ids(target: Target, refs: Sequence[ItemRef]) -> list[int]:
    """Return the ids of items in the order of what names them; raises where one is none."""
    nodes = await _by_node(target, [ref.node_id for ref in refs if ref.node_id is not None])
    return list(await asyncio.gather(*(_id(target, ref, nodes) for ref in refs)))


async def _id(target: Target, ref: ItemRef, nodes: Mapping[str, int]) -> int:
    if ref.item_id is not None:
        return ref.item_id
    if ref.node_id is not None:
        return nodes[ref.node_id]
    repo = Repo.parse(ref.item_owner or "", ref.item_repo or "")
    return await _item_of_issue(target, repo, ref.issue_number or 0)


async def _by_node(target: Target, node_ids: Sequence[str]) -> dict[str, int]:
    if not node_ids:
        return {}
    wanted = [parse_node_id(node_id, "node_id") for node_id in node_ids]
    data = await target.call.graphql(NODES, of_owner=target.board.owner, ids=wanted)
    found = {}
    for node_id, node in zip(wanted, data["nodes"], strict=True):
        if not node or not _is_here(target, node):
            raise NotFoundOrNoAccess(f"{target.board} has no item {node_id}.")
        found[node_id] = int(node["fullDatabaseId"])
    return found


async def _item_of_issue(target: Target, repo: Repo, number: int) -> int:
    """Return the item that an issue or pull request is in the project."""
    data = await target.call.graphql(PLACES, repo=repo, number=number)
    found = (data.get("repository") or {}).get("found") or {}
    for node in (found.get("projectItems") or {}).get("nodes") or ():
        if node and _is_here(target, node):
            return int(node["fullDatabaseId"])
    raise NotFoundOrNoAccess(
        f"{repo}#{number} is not in {target.board}.", hint="add_project_item adds it."
    )


def _is_here(target: Target, item: Json) -> bool:
    project = item.get("project") or {}
    return bool(project.get("id") == target.facts["node_id"])


# --- fields --------------------------------------------------------------------------------------


async def _fields(target: Target) -> Json:
    """Return what is sent of a field's new value."""
    wanted = target.arguments.updated_field
    if wanted is None:
        raise InvalidArguments("updated_field is missing.")
    if wanted.name is None:
        return {"fields": [{"id": wanted.id, "value": wanted.value}]}
    found = named(await fields_of(target.call, target.board), wanted.name)
    return {"fields": [{"id": found["id"], "value": _choice(found, wanted.value)}]}


def _choice(found: Json, value: Value) -> Value:
    """Return the id of an option or iteration that is named; other values as they are.

    Raises:
        InvalidArguments: There is no such choice.
    """
    configuration = found.get("configuration") or {}
    choices = {
        "single_select": lambda: by_id(found.get("options") or (), "name"),
        "iteration": lambda: by_id(configuration.get("iterations") or (), "title"),
    }.get(str(found.get("data_type")))
    if choices is None or not isinstance(value, str):
        return value
    names = choices()
    if value in names:
        return value
    chosen = [at for at, name in names.items() if name.lower() == value.lower()]
    if len(chosen) != 1:
        known = list(names.values())
        raise InvalidArguments(
            f"The field has {len(chosen) or 'no'} choices called {value[:80]!r}.",
            hint=f"{did_you_mean(value, known)} There are {', '.join(known[:50])}.".strip(),
        )
    return chosen[0]


async def _create_iterations(target: Target) -> ProjectChange:
    asked = target.arguments
    every = await fields_of(target.call, target.board)
    if any(str(one["name"]).lower() == str(asked.field_name).lower() for one in every):
        raise Conflict(f"{target.board} has a field called {asked.field_name} already.")
    configuration: dict[str, Any] = {
        "start_date": asked.start_date,
        "duration": asked.iteration_duration,
    }
    if asked.iterations:
        configuration["iterations"] = [one.model_dump() for one in asked.iterations]
    body = {
        "name": asked.field_name,
        "data_type": "iteration",
        "iteration_configuration": configuration,
    }
    what = f"create the field {asked.field_name} of {target.board}"
    written = await target.write(what, target.board.request(FIELDS, method="POST", body=body))
    data = _item_of(written.data)
    return target.change(what, written, id=data.get("id"), node_id=data.get("node_id"))


# --- status, views, new ones ---------------------------------------------------------------------


async def _tell(target: Target) -> ProjectChange:
    asked, project = target.arguments, target.facts["node_id"]
    members = {
        "body": asked.body,
        "status": asked.status,
        "startDate": asked.start_date,
        "targetDate": asked.target_date,
    }
    content = {name: value for name, value in members.items() if value is not None}
    if not content:
        raise InvalidArguments("A status update wants a body, status or date.")

    async def newest() -> Sequence[Json]:
        data = await target.call.graphql(NEWEST, of_owner=target.board.owner, id=project)
        return [node for node in data["node"]["statusUpdates"]["nodes"] or () if node]

    request = mutation(TELL, {"input": {"projectId": project, **content}})
    within = ("variables", "input", "body")
    marker = Marker(newest=newest, key=asked.idempotency_key, within=within) if asked.body else None
    what = f"add a status update to {target.board}"
    written = await target.write(what, request, marker)
    data = written.data or {}
    made = data if "id" in data else (data.get("createProjectV2StatusUpdate") or {})
    made = made.get("statusUpdate", made)
    return target.change(what, written, id=made.get("id"))


async def _create_view(target: Target) -> ProjectChange:
    asked, board = target.arguments, target.board
    body: dict[str, Any] = {"name": asked.name, "layout": asked.layout}
    if asked.filter is not None:
        body["filter"] = asked.filter
    if asked.visible_field_names:
        every = await fields_of(target.call, board)
        body["visible_fields"] = [named(every, name)["id"] for name in asked.visible_field_names]
    elif asked.visible_fields:
        body["visible_fields"] = [field_id(text) for text in asked.visible_fields]
    values: dict[str, str | int] = {"project_number": board.number or 0, "org": board.owner}
    if board.kind == "user":
        account = await target.call.get(ACCOUNT, username=board.owner)
        values = {"project_number": board.number or 0, "user_id": int(account["id"])}
    route = VIEWS_OF[board.kind] + VIEWS
    request = Request(method="POST", route=route, values=values, body=body)
    what = f"create the view {asked.name} of {board}"
    written = await target.write(what, request)
    data = _item_of(written.data)
    told = {"id": data.get("id"), "node_id": data.get("node_id"), "url": data.get("html_url")}
    return target.change(what, written, **told, number=data.get("number"))


async def _create(target: Target) -> ProjectChange:
    asked, owner = target.arguments, target.board.owner
    account = await target.call.get(ACCOUNT, username=owner)
    content = {"ownerId": account["node_id"], "title": asked.title}
    what = f"create the project {asked.title} of {owner}"
    written = await target.write(what, mutation(CREATE, {"input": content}))
    data = (written.data or {}).get("createProjectV2") or {}
    made = data.get("projectV2") or {}
    return target.change(
        what, written, node_id=made.get("id"), number=made.get("number"), url=made.get("url")
    )


_METHODS: dict[str, Callable[[Target], Awaitable[ProjectChange]]] = {
    "add_project_item": _add,
    "update_project_item": _update,
    "update_project_items": _update_many,
    "delete_project_item": _delete,
    "create_project_status_update": _tell,
    "create_project_view": _create_view,
    "create_project": _create,
    "create_iteration_field": _create_iterations,
}
