"""Projects of users and organisations: lists, and one thing of them.

A project is in no repository: the operator's lists decide by its owner, and about each item by the
item's repository. Its fields and status updates are its members' texts; titles and bodies of items
are those of whoever opened the issue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field as Argument
from pydantic import model_validator

from core.context import Context
from core.errors import InvalidArguments, did_you_mean
from core.models import Arguments
from core.tools import Annotations, Listing
from core.untrusted import clean
from services.github.backend.requests import Reply, Request, after_of
from services.github.errors import BadResponse, NotFoundOrNoAccess
from services.github.models.common import PageArguments, TrustLabel, unbounded
from services.github.models.projects import (
    Field,
    Item,
    Project,
    ProjectThing,
    ProjectThings,
    StatusUpdate,
    View,
)
from services.github.policy.names import Repo, parse_node_id, parse_owner
from services.github.policy.trust import author_of
from services.github.tools.context import note_left_out
from services.github.tools.conversations import as_documented, login, place_of
from services.github.tools.desk import Call, Desk, Heard, Window

TOOLSET = "projects"
READS_PROJECTS = Annotations(open_world=True)

ACCOUNT = "/users/{username}"
BASES = {"org": "/orgs/{org}/projectsV2", "user": "/users/{username}/projectsV2"}
OWNER_NAMES = {"org": "org", "user": "username"}
ONE = "/{project_number}"
FIELDS = "/{project_number}/fields"
FIELD = "/{project_number}/fields/{field_id}"
ITEMS = "/{project_number}/items"
ITEM = "/{project_number}/items/{item_id}"
MAX_ID = 2**63 - 1
MAX_NUMBER = 2**31 - 1
MAX_FIELD_PAGES = 3
MAX_PER_PAGE = 50
Json = Mapping[str, Any]

_PROJECT = "project { number public owner { ... on Organization { login } ... on User { login } } }"
_STATUS = "id body status startDate targetDate createdAt creator { login }"
_VIEW = """id number name layout filter
  visibleFields(first: 100) { nodes { ... on ProjectV2FieldCommon { databaseId } } }"""
_LIST = """query($id: ID!, $first: Int!, $after: String) { node(id: $id) { ... on ProjectV2 {
 listed: LIST { totalCount pageInfo { hasNextPage endCursor } nodes { FACTS } } } } }"""
STATUS_UPDATES = _LIST.replace(
    "LIST",
    "statusUpdates(first: $first, after: $after, orderBy: {field: CREATED_AT, direction: DESC})",
).replace("FACTS", _STATUS)
VIEWS = _LIST.replace("LIST", "views(first: $first, after: $after)").replace("FACTS", _VIEW)
STATUS_UPDATE = f"""query($id: ID!) {{ node(id: $id) {{
 ... on ProjectV2StatusUpdate {{ {_STATUS} {_PROJECT} }} }} }}"""
VIEW = f"query($id: ID!) {{ node(id: $id) {{ ... on ProjectV2View {{ {_VIEW} {_PROJECT} }} }} }}"

ListMethod = Literal[
    "list_projects",
    "list_project_fields",
    "list_project_items",
    "list_project_status_updates",
    "list_project_views",
]
GetMethod = Literal[
    "get_project",
    "get_project_field",
    "get_project_item",
    "get_project_status_update",
    "get_project_view",
]
OwnerType = Literal["user", "org"]


class ChosenFields(Arguments):
    """Which fields of items are shown."""

    fields: list[str] | None = Argument(None, max_length=50, description="Ids, of items.")
    field_names: list[str] | None = Argument(None, max_length=50, description="Instead of ids.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.fields and self.field_names:
            raise ValueError("give fields or field_names")
        return self


class ListProjects(ChosenFields, PageArguments):
    """Arguments of projects_list."""

    method: ListMethod
    owner: str
    owner_type: OwnerType | None = None
    project_number: int | None = Argument(None, ge=1, le=MAX_NUMBER, json_schema_extra=unbounded)
    query: str | None = Argument(None, description="Of projects or items: `roadmap is:open`.")
    per_page: int | None = Argument(None, ge=1, le=100, json_schema_extra=unbounded)
    after: str | None = None
    before: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.method == "list_projects") != (self.project_number is None):
            raise ValueError("every method but list_projects wants project_number")
        if self.before is not None and self.method in GRAPHQL_LISTS:
            raise ValueError(f"{self.method} takes no before")
        return self


class GetProject(ChosenFields):
    """Arguments of projects_get."""

    method: GetMethod
    owner: str | None = None
    owner_type: OwnerType | None = None
    project_number: int | None = Argument(None, ge=1, le=MAX_NUMBER, json_schema_extra=unbounded)
    field_id: int | None = Argument(None, ge=1, le=MAX_ID, json_schema_extra=unbounded)
    item_id: int | None = Argument(None, ge=1, le=MAX_ID, json_schema_extra=unbounded)
    status_update_id: str | None = None
    view_id: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name in WANTS[self.method]:
            if getattr(self, name) is None:
                raise ValueError(f"{self.method} wants {name}")
        return self


WANTS: dict[str, tuple[str, ...]] = {
    "get_project": ("owner", "project_number"),
    "get_project_field": ("owner", "project_number", "field_id"),
    "get_project_item": ("owner", "project_number", "item_id"),
    "get_project_status_update": ("status_update_id",),
    "get_project_view": ("view_id",),
}


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = ProjectTools(desk)
    return [
        Listing(
            name="projects_list",
            title="List projects and things of them",
            description="Projects of an owner; fields, items, status updates or views of one.",
            handler=tools.projects_list,
            arguments=ListProjects,
            result=ProjectThings,
            annotations=READS_PROJECTS,
        ),
        Listing(
            name="projects_get",
            title="Look at a project or a thing of it",
            description="A project, or one field, item, status update or view of it.",
            handler=tools.projects_get,
            arguments=GetProject,
            result=ProjectThing,
            annotations=READS_PROJECTS,
        ),
    ]


# --- whose project -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Board:
    """A project, as it is named: by an owner of a kind and, but for lists, a number."""

    owner: str
    kind: OwnerType
    number: int | None = None

    def __str__(self) -> str:
        return f"the project {self.owner}/{self.number}"

    def request(self, rest: str, *, method: str = "GET", **more: Any) -> Request:
        """Return a request for something of it; `more` may have values, query and body."""
        values: dict[str, str | int] = {OWNER_NAMES[self.kind]: self.owner}
        if self.number is not None:
            values["project_number"] = self.number
        values |= more.pop("values", {})
        return Request(method=method, route=BASES[self.kind] + rest, values=values, **more)


async def board_of(
    call: Call, owner: str, kind: OwnerType | None, number: int | None = None
) -> Board:
    """Return a project; GitHub is asked what its owner is, where that is not said.

    Raises:
        RepositoryNotAllowed: The operator's list names nothing of the owner.
    """
    name = parse_owner(owner)
    call.desk.access.check_owner(name)
    if kind is None:
        account = await call.get(ACCOUNT, username=name)
        kind = "org" if account.get("type") == "Organization" else "user"
    return Board(name, kind, number)


async def facts_of(call: Call, board: Board) -> Json:
    """Return what GitHub says of a project, and remember what reading it means."""
    found: Json = (await call.reply(board.request(ONE))).data
    remember(call, str(board), public=bool(found.get("public")))
    return found


def remember(call: Call, name: str, *, public: bool) -> TrustLabel:
    """Note for the flow guard that a project was read; return whether its members are ours."""
    if public:
        call.heard_in_public(name)
        return "untrusted"
    call.read_private(name)
    return "trusted"


# --- the tools -----------------------------------------------------------------------------------


class ProjectTools:
    """The tools that read projects."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def projects_list(self, arguments: ListProjects, context: Context) -> ProjectThings:
        """List projects or things of one."""
        call = self._desk.call(context)
        size = min(arguments.perPage or arguments.per_page or MAX_PER_PAGE, MAX_PER_PAGE)
        window = call.window(arguments.model_copy(update={"perPage": size, "per_page": None}))
        board = await board_of(
            call, arguments.owner, arguments.owner_type, arguments.project_number
        )
        found = await _LISTS[arguments.method](call, board, arguments, window)
        return ProjectThings(**found, **call.members())

    async def projects_get(self, arguments: GetProject, context: Context) -> ProjectThing:
        """Look at a project or one thing of it."""
        call = self._desk.call(context)
        found = await _ITEMS[arguments.method](call, arguments)
        return ProjectThing(**found, **call.members())


# --- lists ---------------------------------------------------------------------------------------


async def _projects(
    call: Call, board: Board, arguments: ListProjects, window: Window
) -> dict[str, Any]:
    reply = await _page(call, board, "", window, arguments, q=arguments.query)
    parts = []
    for item in window.rest(items_of(reply)):
        public = bool(item.get("public"))
        trust = remember(call, f"the project {board.owner}/{item.get('number')}", public=public)
        parts.append(_project(item, trust))
    shown, members = window.cut(parts, after_of(reply.headers))
    return {"projects": shown, **members}


async def _fields(
    call: Call, board: Board, arguments: ListProjects, window: Window
) -> dict[str, Any]:
    await facts_of(call, board)
    reply = await _page(call, board, FIELDS, window, arguments)
    parts = [_field(item) for item in window.rest(items_of(reply))]
    shown, members = window.cut(parts, after_of(reply.headers))
    return {"fields": shown, **members}


async def _items(
    call: Call, board: Board, arguments: ListProjects, window: Window
) -> dict[str, Any]:
    """List items, but for those of repositories that may not be read."""
    public = bool((await facts_of(call, board)).get("public"))
    chosen = await _chosen(call, board, arguments)
    reply = await _page(call, board, ITEMS, window, arguments, q=arguments.query, fields=chosen)
    items = items_of(reply)
    allowed = [item for item in items if _may_read(call, item)]
    note_left_out(call, len(items) - len(allowed))
    parts = [_item(item, await _heard(call, item, public), None) for item in window.rest(allowed)]
    shown, members = window.cut(parts, after_of(reply.headers))
    return {"items": shown, **members}


async def _status_updates(
    call: Call, board: Board, arguments: ListProjects, window: Window
) -> dict[str, Any]:
    listed = await _listed(call, board, STATUS_UPDATES, window)
    limit = call.desk.settings.body_chars
    parts = [await _status_update(node, limit) for node in window.rest(_nodes(listed))]
    shown, members = window.cut(parts, _following(listed), total=listed["totalCount"])
    return {"status_updates": shown, **members}


async def _views(
    call: Call, board: Board, arguments: ListProjects, window: Window
) -> dict[str, Any]:
    listed = await _listed(call, board, VIEWS, window)
    parts = [_view(node) for node in window.rest(_nodes(listed))]
    shown, members = window.cut(parts, _following(listed), total=listed["totalCount"])
    return {"views": shown, **members}


Lister = Callable[[Call, Board, ListProjects, Window], Awaitable[dict[str, Any]]]
_LISTS: dict[str, Lister] = {
    "list_projects": _projects,
    "list_project_fields": _fields,
    "list_project_items": _items,
    "list_project_status_updates": _status_updates,
    "list_project_views": _views,
}
GRAPHQL_LISTS = ("list_project_status_updates", "list_project_views")


async def _page(
    call: Call, board: Board, rest: str, window: Window, arguments: ListProjects, **query: Any
) -> Reply:
    before = arguments.before if window.after is None else None
    paged = {**query, "after": window.after, "before": before, "per_page": window.per_page}
    return await call.reply(board.request(rest, query=paged))


async def _listed(call: Call, board: Board, query: str, window: Window) -> Json:
    """Return a list of GraphQL, of a project that REST knows."""
    node_id = (await facts_of(call, board))["node_id"]
    data = await call.graphql(
        query, of_owner=board.owner, id=node_id, first=window.per_page, after=window.after
    )
    return _there(data, f"{board} as GraphQL knows it")["listed"]  # type: ignore[no-any-return]  # JSON


def _nodes(listed: Json) -> list[Json]:
    return [node for node in listed["nodes"] or () if node]


def _following(listed: Json) -> str | None:
    info = listed["pageInfo"]
    return info["endCursor"] if info["hasNextPage"] else None


def _there(data: Json, what: str) -> Json:
    node: Json | None = data.get("node")
    if not node:
        raise NotFoundOrNoAccess(f"There is no {what.removeprefix('the ')}.")
    return node


def items_of(reply: Reply) -> Sequence[Json]:
    """Return the items of a list.

    Raises:
        BadResponse: The answer is none.
    """
    if not isinstance(reply.data, list):
        raise BadResponse("GitHub's answer to a request for a list is none.")
    return reply.data


async def fields_of(call: Call, board: Board) -> list[Json]:
    """Return the fields of a project: the first 300, which is more than GitHub allows."""
    fields: list[Json] = []
    after: str | None = None
    for _ in range(MAX_FIELD_PAGES):
        query = {"after": after, "per_page": 100}
        reply = await call.reply(board.request(FIELDS, query=query))
        fields += items_of(reply)
        following = after_of(reply.headers)
        if following in (None, after):
            break
        after = following
    return fields


def named(fields: Iterable[Json], name: str) -> Json:
    """Return the field of a name, whatever its case.

    Raises:
        InvalidArguments: There is none, or more than one.
    """
    every = list(fields)
    found = [field for field in every if str(field["name"]).lower() == name.lower()]
    if len(found) != 1:
        names = [clean(str(field["name"])).text for field in every]
        raise InvalidArguments(
            f"The project has {len(found) or 'no'} fields called {name[:80]!r}.",
            hint=did_you_mean(name, names) or "projects_list, list_project_fields shows their ids.",
        )
    return found[0]


async def _chosen(call: Call, board: Board, arguments: ChosenFields) -> list[int] | None:
    """Return the ids of the fields that were asked for."""
    if arguments.field_names:
        every = await fields_of(call, board)
        return [named(every, name)["id"] for name in arguments.field_names]
    return [field_id(text) for text in arguments.fields] if arguments.fields else None


def field_id(text: str) -> int:
    """Return the id of a field; raises `InvalidArguments`."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= MAX_ID):
        raise InvalidArguments(f"{text[:80]!r} is no id of a field: that is a number.")
    return int(text)


# --- one thing -----------------------------------------------------------------------------------


async def _board(call: Call, arguments: GetProject) -> Board:
    return await board_of(
        call, arguments.owner or "", arguments.owner_type, arguments.project_number
    )


async def _get_project(call: Call, arguments: GetProject) -> dict[str, Any]:
    found = await facts_of(call, await _board(call, arguments))
    return {"project": _project(found, "untrusted" if found.get("public") else "trusted")}


async def _get_field(call: Call, arguments: GetProject) -> dict[str, Any]:
    board = await _board(call, arguments)
    await facts_of(call, board)
    reply = await call.reply(board.request(FIELD, values={"field_id": arguments.field_id}))
    return {"field": _field(reply.data)}


async def _get_item(call: Call, arguments: GetProject) -> dict[str, Any]:
    board = await _board(call, arguments)
    public = bool((await facts_of(call, board)).get("public"))
    chosen = await _chosen(call, board, arguments)
    request = board.request(ITEM, values={"item_id": arguments.item_id}, query={"fields": chosen})
    item = (await call.reply(request)).data
    if (repo := _repo_of(item)) is not None:
        call.desk.access.check_read(repo)
    return {"item": _item(item, await _heard(call, item, public), call.desk.settings.answer_bytes)}


async def _get_status_update(call: Call, arguments: GetProject) -> dict[str, Any]:
    node_id = parse_node_id(arguments.status_update_id or "", "status_update_id")
    node = await _of_project(call, arguments, STATUS_UPDATE, node_id)
    return {"status_update": await _status_update(node, None)}


async def _get_view(call: Call, arguments: GetProject) -> dict[str, Any]:
    node_id = parse_node_id(arguments.view_id or "", "view_id")
    return {"view": _view(await _of_project(call, arguments, VIEW, node_id))}


async def _of_project(call: Call, arguments: GetProject, query: str, node_id: str) -> Json:
    """Return something that is named without its project, once that may be read.

    The owner may be left out; where it is given, it chooses the credential.
    """
    named = None if arguments.owner is None else parse_owner(arguments.owner)
    data = await call.graphql(query, of_owner=named, id=node_id)
    node = _there(data, f"{node_id} in any project")
    project = node["project"]
    owner = (project["owner"] or {}).get("login") or ""
    call.desk.access.check_owner(owner)
    remember(call, f"the project {owner}/{project['number']}", public=project["public"])
    return node


Getter = Callable[[Call, GetProject], Awaitable[dict[str, Any]]]
_ITEMS: dict[str, Getter] = {
    "get_project": _get_project,
    "get_project_field": _get_field,
    "get_project_item": _get_item,
    "get_project_status_update": _get_status_update,
    "get_project_view": _get_view,
}


# --- whose words ---------------------------------------------------------------------------------


def _repo_of(item: Json) -> Repo | None:
    """Return the repository of an item; None for a draft, which has none."""
    place = place_of((item.get("content") or {}).get("url"))
    return None if place is None else Repo.parse_full(place.partition("#")[0])


def _may_read(call: Call, item: Json) -> bool:
    repo = _repo_of(item)
    return repo is None or call.may_read(repo.full_name)


async def _heard(call: Call, item: Json, public: bool) -> Heard:
    """Return who is heard in an item: whoever opened it, or the project's members in a draft."""
    repo = _repo_of(item)
    if repo is None:
        heard = Heard(author_of(item), "untrusted" if public else "trusted", withheld=False)
        return await heard.ahead((item.get("content") or {}).get("body"))
    facts = await call.facts(repo)
    if facts is None or facts.private:
        call.read_private(repo.full_name)
    (heard,) = await call.heard(repo, [item["content"]])
    return heard


# --- telling -------------------------------------------------------------------------------------


@as_documented
def _project(item: Json, trust: TrustLabel) -> Project:
    names = ("number", "id", "node_id", "state", "created_at", "updated_at", "closed_at")
    return Project(
        **{name: item.get(name) for name in names},
        owner=login(item.get("owner")),
        title=clean(item["title"]).text,
        short_description=clean(item.get("short_description") or "").text or None,
        public=bool(item.get("public")),
        trust=trust,
    )


@as_documented
def _field(item: Json) -> Field:
    options, configuration = item.get("options"), item.get("configuration") or {}
    iterations = configuration.get("iterations")
    return Field(
        id=item["id"],
        name=clean(item["name"]).text,
        data_type=item["data_type"],
        options=None if options is None else by_id(options, "name"),
        iterations=None if iterations is None else by_id(iterations, "title"),
    )


def by_id(choices: Iterable[Json], name: str) -> dict[str, str]:
    """Return the names of options or iterations by their ids."""
    return {str(choice["id"]): raw(choice.get(name)) for choice in choices}


def raw(text: Any) -> str:
    """Return a text that GitHub tells twice, as it was written and as HTML."""
    return clean(str((text.get("raw") if isinstance(text, Mapping) else text) or "")).text


@as_documented
def _item(item: Json, heard: Heard, limit: int | None) -> Item:
    """Return an item; `limit` is of its body, None for no body."""
    content = item.get("content") or {}
    repo, title = _repo_of(item), heard.line(content.get("title"))
    body = None if limit is None else heard.text(content.get("body"), limit=limit)
    fields = {clean(field["name"]).text: _value(field, heard) for field in item.get("fields") or ()}
    return Item(
        **heard.members(),
        **{name: item.get(name) for name in ("id", "node_id", "created_at", "updated_at")},
        type=item.get("content_type"),
        repository=None if repo is None else repo.full_name,
        number=content.get("number"),
        title=title,
        state=content.get("state"),
        html_url=content.get("html_url"),
        fields=fields,
        archived_at=item.get("archived_at"),
        body=body,
    )


def _value(field: Json, heard: Heard) -> Any:
    """Return the value of a field, short; titles of other issues are left out."""
    value, kind = field.get("value"), field.get("data_type")
    if kind == "title":
        return heard.line(raw(value))
    if isinstance(value, list):
        return [short for one in value if (short := _short(one)) is not None]
    return _short(value)


_NAMES = ("login", "full_name", "html_url")


def _short(value: Any) -> Any:
    """Return what one value is called."""
    if isinstance(value, str):
        return clean(value).text
    if not isinstance(value, Mapping):
        return value
    if isinstance(reviewer := value.get("reviewer"), Mapping):
        return reviewer.get("login") or reviewer.get("name")
    if "number" in value and "url" in value and "open_issues" not in value:
        return value.get("html_url") or value.get("url")  # an issue or pull request
    known = next((value[name] for name in _NAMES[:2] if value.get(name)), None)
    return known or raw(value.get("name") or value.get("title") or value.get("raw")) or None


async def _status_update(node: Json, limit: int | None) -> StatusUpdate:
    heard = Heard(author_of(node), "untrusted", withheld=False)
    return _update(node, await heard.ahead(node.get("body")), limit)


@as_documented
def _update(node: Json, heard: Heard, limit: int | None) -> StatusUpdate:
    body = heard.text(node["body"], limit=limit, more="projects_get")
    return StatusUpdate(
        id=node["id"],
        status=node["status"],
        start_date=node["startDate"],
        target_date=node["targetDate"],
        creator=login(node["creator"]),
        created_at=node["createdAt"],
        body=body,
    )


@as_documented
def _view(node: Json) -> View:
    fields = [field for field in (node["visibleFields"] or {}).get("nodes") or () if field]
    return View(
        id=node["id"],
        number=node["number"],
        name=clean(node["name"]).text,
        layout=node["layout"].removesuffix("_LAYOUT").lower(),
        filter=clean(node["filter"] or "").text or None,
        visible_fields=[field["databaseId"] for field in fields if field.get("databaseId")],
    )
