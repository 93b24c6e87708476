"""Files and directories as MCP resources: what a client can attach, complete and subscribe to.

Each root that is there is listed; any file or directory below one can be read by its `file://` URI.
A file comes as text when it is UTF-8, else as bytes; a directory as JSON with its entries.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from pydantic_core import to_json

from core.content import ResourceContents
from core.context import Context
from core.errors import NotAllowed, NotFound, ResourceNotFound, ToolError
from core.files import shown
from core.mcp_sse import MCPServer
from services.filesystem.backend import Stop, reading
from services.filesystem.backend.walking import read_directory, visible
from services.filesystem.backend.watching import is_ours
from services.filesystem.roots import Place, RootEntry, Roots, uri_below
from services.filesystem.settings import Mode
from services.filesystem.subscriptions import Subscriptions
from services.filesystem.tools.desk import Desk

JSON = "application/json"
FILE = "file:///{+path}"
MAX_ENTRIES = 2_000
MAX_COMPLETED = 1_000


def register(server: MCPServer, desk: Desk) -> None:
    """Register the resources on a server, and what watches those that are subscribed to."""
    resources = Resources(desk)
    server.register_resource_template(
        uri_template=FILE,
        name="file",
        title="A file or directory",
        description="The text or bytes of a file, or the entries of a directory, below a root. "
        "Can be subscribed to.",
        handler=resources.file,
        completions={"path": resources.complete_path},
    )
    listed = ListedRoots(server, resources)
    subscriptions = Subscriptions(desk.backend, server.resource_updated, listed.are)
    server.on_interest(subscriptions.interest)
    server.add_lifespan(subscriptions.running)


class ListedRoots:
    """The roots in `resources/list`: those that are there."""

    def __init__(self, server: MCPServer, resources: Resources) -> None:
        self._server = server
        self._resources = resources
        self._uris: list[str] = []

    def are(self, entries: Iterable[RootEntry]) -> None:
        """List these and no others, and tell clients."""
        for uri in self._uris:
            self._server.catalogue.remove_resource(uri)
        self._uris = [self._list(entry) for entry in entries]
        self._server.resources_changed()

    def _list(self, entry: RootEntry) -> str:
        uri = directory_uri(uri_below(entry.path, ()))

        async def read(context: Context) -> ResourceContents:
            return await self._resources.read(uri, context)

        self._server.register_resource(
            uri=uri,
            name=entry.alias,
            title=f"Directory {entry.alias}",
            description=f"What is in the root {entry.alias}, whose mode is {entry.mode.word}.",
            mime_type=JSON,
            handler=read,
        )
        return uri


class Resources:
    """The handlers of resources and of completions for their paths."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def file(self, variables: dict[str, str], context: Context) -> ResourceContents:
        """Return a file's contents, or a directory's entries."""
        return await self.read(f"file:///{variables['path']}", context)

    async def read(self, uri: str, context: Context) -> ResourceContents:
        """Return what has a URI.

        Raises:
            ResourceNotFound: Nothing has it, or the operator does not allow it.
            ToolError: It is too large, or cannot be read for another reason.
        """
        desk = await self._desk.for_call(context)
        try:
            return await desk.backend.run(_contents, desk.roots, uri, desk.settings.max_media_bytes)
        except (NotFound, NotAllowed) as error:
            hint = "resources/list names the directories that can be read."
            raise ResourceNotFound(error.message, hint=hint, uri=uri) from error

    async def complete_path(
        self, value: str, chosen: Mapping[str, str], context: Context
    ) -> Sequence[str]:
        """Return the paths that begin so, percent-encoded as in a URI, without the first slash."""
        desk = await self._desk.for_call(context)
        return await desk.backend.run(_completed, desk.roots, value)


def directory_uri(uri: str) -> str:
    """Return the URI of a directory with a slash at its end."""
    return uri.rstrip("/") + "/"


# --- in a worker thread --------------------------------------------------------------------------


def _contents(stop: Stop, roots: Roots, uri: str, max_bytes: int) -> ResourceContents:
    if _is_directory(roots, roots.place(uri, Mode.LIST)):
        return _listing(stop, roots, uri)
    file = reading.read_whole(stop, roots, uri, max_bytes, max_bytes)
    try:
        data: str | bytes = file.data if b"\0" in file.data else file.data.decode("utf-8")
    except UnicodeDecodeError:
        data = file.data
    return ResourceContents(uri, data, file.media_type)


def _is_directory(roots: Roots, place: Place) -> bool:
    fd = roots.open_any(place)
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _listing(stop: Stop, roots: Roots, uri: str) -> ResourceContents:
    place = roots.place(uri, Mode.LIST)
    found = sorted(_entries(stop, roots, place))
    told = [_told(place, name, kind) for name, kind in found[:MAX_ENTRIES]]
    listing = {
        "path": place.shown,
        "uri": directory_uri(place.uri),
        "entries": told,
        "truncated": len(found) > len(told),
    }
    return ResourceContents(uri, to_json(listing, indent=1).decode(), JSON)


def _entries(stop: Stop, roots: Roots, place: Place) -> list[tuple[bytes, str]]:
    """Return the names in a directory that may be seen, and what they are."""
    fd = roots.open_dir(place)
    try:
        real = tuple(os.fsdecode(name) for name in place.entry.root.real(fd))
        found = visible(roots, place.entry, real, read_directory(fd, stop))
    finally:
        os.close(fd)
    names = ((os.fsencode(name), kind) for name, kind in found)
    return [(name, kind) for name, kind in names if not is_ours(name)]


def _told(place: Place, name: bytes, kind: str) -> dict[str, Any]:
    uri = uri_below(place.entry.path, (*place.rel, name))
    uri = directory_uri(uri) if kind == "directory" else uri
    return {"name": shown((name,)) or quote(name), "type": kind, "uri": uri}


def _completed(stop: Stop, roots: Roots, value: str) -> list[str]:
    tops = [directory_uri(uri_below(entry.path, ())) for entry in roots.entries]
    uri = f"file:///{value}"
    found = [top for top in tops if top.startswith(uri) and top != uri]
    if not found and any(uri.startswith(top) for top in tops):
        found = sorted(_below(stop, roots, uri))
    return [path.removeprefix("file:///") for path in islice(found, MAX_COMPLETED)]


def _below(stop: Stop, roots: Roots, uri: str) -> Iterator[str]:
    above, _, typed = uri.rpartition("/")
    try:
        place = roots.place(above + "/", Mode.LIST)
        entries = _entries(stop, roots, place)
    except ToolError:
        return
    begin = unquote_to_bytes(typed)
    for name, kind in entries:
        if name.startswith(begin):
            yield f"{above}/{quote(name)}{'/' if kind == 'directory' else ''}"
