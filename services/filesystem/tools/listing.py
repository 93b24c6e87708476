"""list_directory, list_directory_with_sizes, directory_tree and get_file_info."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.models import Arguments
from core.paging import cut, digest_of
from core.tools import Listing
from services.filesystem.backend.globs import globs_of, tree_excludes
from services.filesystem.backend.listing import (
    MARKS,
    ListQuery,
    Row,
    Rows,
    SortBy,
    TreeQuery,
    directory_tree,
    file_info,
    list_directory,
    listed,
    size_text,
)
from services.filesystem.backend.walking import FILE, Tally
from services.filesystem.backend.work import Stop
from services.filesystem.models.listing import (
    DirectoryList,
    FileInfo,
    Listed,
    SizedDirectoryList,
    Tree,
)
from services.filesystem.models.searching import Kind
from services.filesystem.roots import Place
from services.filesystem.settings import Mode
from services.filesystem.tools.desk import Desk
from services.filesystem.tools.progress import reporting_seen

MAX_GLOBS = 100
_NAME_WIDTH, _SIZE_WIDTH = 30, 10


class ListDirectory(Arguments):
    """Arguments of list_directory."""

    path: str
    sort: SortBy = "name"
    order: Literal["asc", "desc"] = "asc"
    kinds: list[Kind] | None = Field(None, description="Only these.")
    include_hidden: bool = Field(True, description="Names that begin with a dot.")
    limit: int = Field(1_000, ge=1, le=10_000)
    cursor: str | None = None
    max_bytes: int | None = Field(None, ge=4_000)


class ListDirectoryWithSizes(Arguments):
    """Arguments of list_directory_with_sizes."""

    path: str
    sortBy: Literal["name", "size"] = "name"  # the official name
    limit: int = Field(1_000, ge=1, le=10_000)
    cursor: str | None = None
    max_bytes: int | None = Field(None, ge=4_000)


class DirectoryTree(Arguments):
    """Arguments of directory_tree."""

    path: str
    excludePatterns: list[str] = Field(  # the official name
        [], max_length=MAX_GLOBS, description="Names or globs: node_modules, **/*.pyc."
    )
    max_depth: int | None = Field(None, ge=1, description="1: only what is directly there.")
    dirs_only: bool = False
    respect_gitignore: bool = False
    max_bytes: int | None = Field(None, ge=4_000)


class GetFileInfo(Arguments):
    """Arguments of get_file_info."""

    path: str
    hash: Literal["none", "sha256"] = "none"
    follow: bool = Field(True, description="false: about a symbolic link itself.")


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the listing tools."""
    tools = ListingTools(desk)
    return [
        Listing(
            name="list_directory",
            title="List a directory",
            description="List the entries of one directory with kind, size and time. Links are "
            "shown as links.",
            handler=tools.list_directory,
            arguments=ListDirectory,
            result=DirectoryList,
        ),
        Listing(
            name="list_directory_with_sizes",
            title="List a directory with sizes",
            description="List a directory with sizes (largest first with sortBy=size) and totals.",
            handler=tools.list_directory_with_sizes,
            arguments=ListDirectoryWithSizes,
            result=SizedDirectoryList,
        ),
        Listing(
            name="directory_tree",
            title="Directory tree",
            description="Show what is below a directory as a tree, upper levels first. What has no "
            "room is counted as `more`: call again for that directory.",
            handler=tools.directory_tree,
            arguments=DirectoryTree,
            result=Tree,
        ),
        Listing(
            name="get_file_info",
            title="File information",
            description="Show size, times, permissions, owner, media type and, if asked, the "
            "SHA-256 of a file, directory or link.",
            handler=tools.get_file_info,
            arguments=GetFileInfo,
            result=FileInfo,
        ),
    ]


class ListingTools:
    """The tools that list."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_directory(self, arguments: ListDirectory, context: Context) -> DirectoryList:
        """List a directory, or the roots where there are several and the path names none."""
        desk = await self._desk.for_call(context)
        digest = _digest("list_directory", arguments)
        query = ListQuery(
            sort=arguments.sort,
            descending=arguments.order == "desc",
            hidden=arguments.include_hidden,
            kinds=frozenset(arguments.kinds or ()),
            after=desk.cursors.position_of(arguments.cursor, digest),
            limit=arguments.limit,
        )
        if desk.roots.is_top(arguments.path):
            return _top(desk, arguments.path)
        place, rows = await desk.backend.run_for(
            desk.settings.search_time_limit_s, _list, desk, arguments.path, query
        )
        shown, members = _page(desk, place, rows, query, arguments.max_bytes, digest)
        content = "\n".join(f"{MARKS.get(e.kind, '[OTHER]')} {e.name}" for e in shown)
        return DirectoryList(path=place.shown, entries=shown, content=content, **members)

    async def list_directory_with_sizes(
        self, arguments: ListDirectoryWithSizes, context: Context
    ) -> SizedDirectoryList:
        """List a directory and add up."""
        desk = await self._desk.for_call(context)
        digest = _digest("list_directory_with_sizes", arguments)
        by_size = arguments.sortBy == "size"
        query = ListQuery(
            sort="size" if by_size else "name",
            descending=by_size,
            measured=True,
            after=desk.cursors.position_of(arguments.cursor, digest),
            limit=arguments.limit,
        )
        place, rows = await desk.backend.run_for(
            desk.settings.search_time_limit_s, _list, desk, arguments.path, query
        )
        shown, members = _page(desk, place, rows, query, arguments.max_bytes, digest)
        return SizedDirectoryList(
            path=place.shown,
            entries=shown,
            content=_sized_text(shown, rows),
            total_files=rows.files,
            total_directories=rows.directories,
            total_bytes=rows.bytes,
            **members,
        )

    async def directory_tree(self, arguments: DirectoryTree, context: Context) -> Tree:
        """Show a tree."""
        desk = await self._desk.for_call(context)
        deepest = desk.settings.max_depth
        query = TreeQuery(
            max_depth=min(arguments.max_depth or deepest, deepest),
            dirs_only=arguments.dirs_only,
            gitignore=arguments.respect_gitignore,
            skip=globs_of(tree_excludes(arguments.excludePatterns)),
            max_bytes=desk.answer_bytes(arguments.max_bytes),
        )
        tally = Tally()
        async with reporting_seen(context, tally):
            place, page = await desk.backend.run_for(
                desk.settings.search_time_limit_s, _tree, desk, arguments.path, query, tally
            )
        children = page.top.get("children")
        return Tree(
            path=place.shown,
            tree=_with_more(children if isinstance(children, list) else [], page.top),
            shown=page.shown,
            truncated=page.cut_by is not None,
            truncated_by=page.cut_by,
            skipped=tally.left_out(),
        )

    async def get_file_info(self, arguments: GetFileInfo, context: Context) -> FileInfo:
        """Tell what is known of a path."""
        desk = await self._desk.for_call(context)
        return await desk.backend.run_for(desk.settings.search_time_limit_s, _info, desk, arguments)


def _list(stop: Stop, desk: Desk, path: str, query: ListQuery) -> tuple[Place, Rows]:
    place = desk.roots.place(path, Mode.LIST)
    return place, list_directory(stop, desk.roots, place, query)


def _tree(stop: Stop, desk: Desk, path: str, query: TreeQuery, tally: Tally) -> Any:
    place = desk.roots.place(path, Mode.LIST)
    return place, directory_tree(stop, desk.roots, place, query, tally)


def _info(stop: Stop, desk: Desk, arguments: GetFileInfo) -> FileInfo:
    place = desk.roots.place(arguments.path, Mode.LIST)
    hashed = arguments.hash == "sha256"
    return file_info(stop, desk.roots, place, follow=arguments.follow, hashed=hashed)


def _digest(tool: str, arguments: Arguments) -> str:
    return digest_of(tool, arguments.model_dump(exclude={"cursor", "limit", "max_bytes"}))


def _page(
    desk: Desk, place: Place, rows: Rows, query: ListQuery, max_bytes: int | None, digest: str
) -> tuple[list[Listed], dict[str, Any]]:
    shown, how = cut(
        [listed(row, place.entry, place.rel) for row in rows.rows],
        limit=query.limit,
        # The names are told twice.
        max_bytes=desk.answer_bytes(max_bytes) * 2 // 3,
    )
    members = how.members() | {"total": rows.total}
    if how.truncated:
        last: Row = rows.rows[len(shown) - 1]
        members["next_cursor"] = desk.cursors.make(last.position(), digest)
    return shown, members


def _top(desk: Desk, path: str) -> DirectoryList:
    """Return the roots as if they were directories of one."""
    entries = [
        Listed(name=alias, kind="directory", size_bytes=None, mtime=None)
        for alias in desk.roots.aliases
    ]
    shown, how = cut(entries, limit=len(entries) + 1, max_bytes=desk.answer_bytes(None))
    content = "\n".join(f"[DIR] {entry.name}" for entry in shown)
    return DirectoryList(path=path, entries=shown, content=content, **how.members())


def _sized_text(shown: list[Listed], rows: Rows) -> str:
    """Return the lines and totals that the official server has."""
    lines = []
    for entry in shown:
        size = size_text(entry.size_bytes or 0) if entry.kind == FILE else ""
        mark = MARKS.get(entry.kind, "[OTHER]")
        lines.append(f"{mark} {entry.name:<{_NAME_WIDTH}} {size:>{_SIZE_WIDTH}}".rstrip())
    lines += [
        "",
        f"Total: {rows.files} files, {rows.directories} directories",
        f"Combined size: {size_text(rows.bytes)}",
    ]
    return "\n".join(lines)


def _with_more(children: list[Any], top: dict[str, Any]) -> list[Any]:
    """Return the nodes of the first level; what is left out there is told by a last node."""
    if "more" not in top:
        return children
    count = top["more"]
    return [*children, {"name": f"… {'?' if count is None else count} more", "type": "other"}]
