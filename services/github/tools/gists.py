"""Gists: lists, one with its files, and writing them.

A gist is in no repository, so the operator's lists of repositories do not decide about it. One's
own is trusted, and private as long as it is secret; everybody else's holds text of strangers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from core.context import Context
from core.errors import InvalidArguments, NotFound
from core.models import Arguments
from core.paging import digest_of
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.errors import BadName
from services.github.excerpts import excerpt
from services.github.models.common import PageArguments, WriteArguments
from services.github.models.gists import Gist, GistDetails, GistFile, Gists, GistWritten
from services.github.policy.names import checked_segments, checked_text, parse_login, parse_slug
from services.github.policy.trust import Author
from services.github.tools.commits import Moment
from services.github.tools.conversations import as_documented
from services.github.tools.desk import Call, Desk, Heard
from services.github.writes import Plan, Written

TOOLSET = "gists"
READS_GISTS = Annotations(open_world=True)
MAKES = Annotations(read_only=False, destructive=False, idempotent=False, open_world=True)
CHANGES = Annotations(read_only=False, destructive=False, idempotent=True, open_world=True)

MINE = "/gists"
OF_USER = "/users/{username}/gists"
ONE = "/gists/{gist_id}"
MAX_CONTENT_CHARS = 1_000_000
MAX_NAME_BYTES = 255
LOOKED_AT = 10
"""Of one's newest gists, when a repetition is looked for."""
Json = Mapping[str, Any]


class ListGists(PageArguments):
    """Arguments of list_gists."""

    username: str | None = Field(None, description="You, when left out.")
    since: Moment | None = None


class GetGist(Arguments):
    """Arguments of get_gist."""

    gist_id: str
    filename: str | None = Field(None, description="This file only.")
    cursor: str | None = None


class CreateGist(WriteArguments):
    """Arguments of create_gist."""

    filename: str
    content: str = Field(min_length=1, max_length=MAX_CONTENT_CHARS)
    description: str | None = Field(None, max_length=1_000)
    public: bool = False


class UpdateGist(WriteArguments):
    """Arguments of update_gist."""

    gist_id: str
    filename: str
    content: str = Field(min_length=1, max_length=MAX_CONTENT_CHARS)
    description: str | None = Field(None, max_length=1_000)


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = GistTools(desk)
    return [
        Listing(
            name="list_gists",
            title="List gists",
            description="Gists of a user, or yours.",
            handler=tools.list_gists,
            arguments=ListGists,
            result=Gists,
            annotations=READS_GISTS,
        ),
        Listing(
            name="get_gist",
            title="Read a gist",
            description="A gist with its files; go on in a long one with filename and its cursor.",
            handler=tools.get_gist,
            arguments=GetGist,
            result=GistDetails,
            annotations=READS_GISTS,
        ),
        Listing(
            name="create_gist",
            title="Create a gist",
            description="Create a gist of one file, secret unless public is true.",
            handler=tools.create_gist,
            arguments=CreateGist,
            result=GistWritten,
            annotations=MAKES,
        ),
        Listing(
            name="update_gist",
            title="Change a gist",
            description="Add a file to a gist, or replace one.",
            handler=tools.update_gist,
            arguments=UpdateGist,
            result=GistWritten,
            annotations=CHANGES,
        ),
    ]


class GistTools:
    """The tools about gists."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_gists(self, arguments: ListGists, context: Context) -> Gists:
        """List gists, without the contents of their files."""
        call = self._desk.call(context)
        window = call.window(arguments)
        route, values = MINE, {}
        if arguments.username is not None:
            route, values = OF_USER, {"username": parse_login(arguments.username)}
        reply = await call.page(
            route,
            query={"since": arguments.since},
            page=window.page,
            per_page=window.per_page,
            **values,
        )
        viewer = await call.viewer("")
        parts = [_gist(call, item, viewer, []) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, reply.next_page)
        return Gists(gists=shown, **members, **call.members())

    async def get_gist(self, arguments: GetGist, context: Context) -> GistDetails:
        """Return a gist with as much of its files as fits."""
        call, gist_id = self._desk.call(context), parse_slug(arguments.gist_id, "gist id")
        item = await call.get(ONE, gist_id=gist_id)
        files = _files(item)
        if arguments.filename is not None:
            files = [file for file in files if file["filename"] == arguments.filename]
            if not files:
                names = ", ".join(file["filename"] for file in _files(item)[:20])
                raise NotFound(
                    f"The gist {gist_id} has no such file.", hint=f"It has {names or 'none'}."
                )
        elif arguments.cursor is not None:
            raise InvalidArguments("A cursor goes on in one file.", hint="Give its filename too.")
        viewer = await call.viewer("")
        gist = _gist(call, item, viewer, files, arguments.cursor)
        return GistDetails(gist=gist, **call.members())

    async def create_gist(self, arguments: CreateGist, context: Context) -> GistWritten:
        """Create a gist, unless the same was created just now."""
        call, body = self._desk.call(context), _body(arguments)
        body["public"] = arguments.public
        if (there := await _existing(call, arguments)) is not None:
            return _written(call, Written(data=there, repeated=True))
        kind = "public" if arguments.public else "secret"
        plan = Plan(
            toolset=TOOLSET,
            what=f"create a {kind} gist with the file {arguments.filename}",
            requests=[Request(method="POST", route=MINE, body=body)],
            public=arguments.public,
        )
        return _written(call, await call.write(plan, arguments))

    async def update_gist(self, arguments: UpdateGist, context: Context) -> GistWritten:
        """Add a file to a gist, or replace one; its history keeps what was there."""
        call, body = self._desk.call(context), _body(arguments)
        gist_id = parse_slug(arguments.gist_id, "gist id")
        call.desk.access.check_writes(TOOLSET)
        there = await call.get(ONE, gist_id=gist_id)
        plan = Plan(
            toolset=TOOLSET,
            what=f"write the file {arguments.filename} of the gist {gist_id}",
            requests=[Request(method="PATCH", route=ONE, values={"gist_id": gist_id}, body=body)],
            public=bool(there.get("public", True)),
        )
        return _written(call, await call.write(plan, arguments))


# --- reading -------------------------------------------------------------------------------------


def _gist(
    call: Call, item: Json, viewer: str | None, files: Sequence[Json], cursor: str | None = None
) -> Gist:
    """Return a gist with the contents of these files, and remember what reading it means."""
    heard = _heard(call, item, viewer)
    room = call.desk.settings.answer_bytes // max(1, len(files))
    contents = {file["filename"]: _content(call, item, file, heard, room, cursor) for file in files}
    return _told(item, heard, contents)


@as_documented
def _told(item: Json, heard: Heard, contents: Mapping[str, dict[str, Any]]) -> Gist:
    description = heard.line(item.get("description")) or None
    files = [
        GistFile(
            filename=heard.line(file["filename"]) or "",
            language=file.get("language"),
            size=file["size"],
            **contents.get(file["filename"], {}),
        )
        for file in _files(item)
        if not contents or file["filename"] in contents
    ]
    return Gist(
        **heard.members(),
        **{name: item[name] for name in ("id", "html_url", "public", "created_at", "updated_at")},
        comments=item.get("comments") or 0,
        description=description,
        files=files,
    )


def _heard(call: Call, item: Json, viewer: str | None) -> Heard:
    """Return who is heard in a gist: what is one's own is trusted, and private when secret."""
    login = (item.get("owner") or {}).get("login")
    if viewer and login and login.lower() == viewer.lower():
        if not item.get("public"):
            call.read_private(f"the gist {item['id']}")
        return Heard(Author(login, "OWNER"), "trusted", withheld=False)
    call.heard_in_public(f"the gist {item['id']}")
    return Heard(Author(login, None), "untrusted", withheld=False)


def _files(item: Json) -> list[Json]:
    return [file for file in (item.get("files") or {}).values() if file]


def _content(
    call: Call, item: Json, file: Json, heard: Heard, room: int, cursor: str | None
) -> dict[str, Any]:
    """Return a part of a file; a cursor is of one state of it."""
    text = file.get("content")
    if text is None:
        return {"truncated": True}
    if file.get("truncated"):
        call.warnings.append(f"GitHub leaves out the end of {file['filename']}: it is too large.")
    digest = digest_of("gist", item["id"], item.get("updated_at"), file["filename"])
    start_at = call.desk.cursors.position_of(cursor, digest)
    part = excerpt(text, start_at=start_at, max_bytes=room)
    more = part.next_at is not None
    return {
        "content": part.text if heard.trust == "trusted" else heard.plain(part.text),
        "truncated": more or bool(file.get("truncated")),
        "next_cursor": call.desk.cursors.make(part.next_at, digest) if more else None,
    }


# --- writing -------------------------------------------------------------------------------------


def _body(arguments: CreateGist | UpdateGist) -> dict[str, Any]:
    """Return what is sent; only what was given changes."""
    body: dict[str, Any] = {
        "files": {_filename(arguments.filename): {"content": arguments.content}}
    }
    if arguments.description is not None:
        body["description"] = arguments.description
    return body


def _filename(name: str) -> str:
    """Return a file's name; a gist has no folders."""
    checked_text(name, "filename", max_bytes=MAX_NAME_BYTES)
    if len(checked_segments(name, "filename")) > 1:
        raise BadName(f"{name!r} is not a filename: a gist has no folders.", what="filename")
    return name


async def _existing(call: Call, arguments: CreateGist) -> Json | None:
    """Return the gist that the same call made just now; a mark in it would be seen."""
    if arguments.dry_run or not call.desk.access.writes(TOOLSET):
        return None
    newest = (await call.page(MINE, per_page=LOOKED_AT)).data
    for item in newest:
        if _looks_same(call, item, arguments):
            whole: Json = await call.get(ONE, gist_id=item["id"])
            if [file.get("content") for file in _files(whole)] == [arguments.content]:
                return whole
    return None


def _looks_same(call: Call, item: Json, arguments: CreateGist) -> bool:
    writes = call.desk.writes
    try:
        made = datetime.fromisoformat(str(item.get("created_at"))).timestamp()
    except ValueError:
        return False
    return (
        writes.clock() - made <= writes.repeat_window_s
        and bool(item.get("public")) == arguments.public
        and (item.get("description") or "") == (arguments.description or "")
        and [file["filename"] for file in _files(item)] == [arguments.filename]
    )


def _written(call: Call, written: Written) -> GistWritten:
    told = {name: (written.data or {}).get(name) for name in ("id", "html_url", "public")}
    return GistWritten(**told, **written.members(), **call.members())
