"""search_files and grep_files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.errors import InvalidArguments
from core.models import Arguments
from core.paging import Cut, cut, digest_of
from core.tools import Listing
from services.filesystem.backend.contents import Limits, Wanted
from services.filesystem.backend.globs import Globs, globs_of
from services.filesystem.backend.searching import (
    GoOn,
    NamePage,
    NameQuery,
    Output,
    Scope,
    Sort,
    TextPage,
    TextQuery,
    search_names,
    search_sorted,
    search_text,
)
from services.filesystem.backend.walking import Tally
from services.filesystem.models.searching import FoundFiles, FoundText, Kind
from services.filesystem.settings import Mode
from services.filesystem.tools.desk import Desk
from services.filesystem.tools.progress import reporting_seen

MAX_GLOBS = 100
MAX_LINE_BYTES = 1_000
NOTHING = "No matches found"
"""What the official server says."""

GlobList = list[str]


class SearchFiles(Arguments):
    """Arguments of search_files."""

    path: str
    pattern: str = Field(description="Glob relative to path: *.md only there, **/*.md everywhere.")
    excludePatterns: GlobList = Field(  # the official name
        [], max_length=MAX_GLOBS, description="Likewise: **/*.pyc."
    )
    kind: Kind | None = None
    min_size: int | None = Field(None, ge=0, description="Bytes.")
    max_size: int | None = Field(None, ge=0)
    modified_after: str | None = Field(None, description="ISO 8601.")
    modified_before: str | None = None
    sort: Sort = "path"
    order: Literal["asc", "desc"] = "asc"
    respect_gitignore: bool = False
    limit: int = Field(1_000, ge=1, le=10_000)
    cursor: str | None = None
    max_bytes: int | None = Field(None, ge=4_000)


class GrepFiles(Arguments):
    """Arguments of grep_files."""

    path: str = Field(description="A directory or a file.")
    pattern: str = Field(description="RE2 expression, or plain text with literal.")
    literal: bool = False
    ignore_case: bool = False
    word: bool = False
    multiline: bool = Field(False, description="Matches may span lines.")
    include: GlobList = Field(
        [], max_length=MAX_GLOBS, description="Globs of files; *.py is for all directories."
    )
    exclude: GlobList = Field([], max_length=MAX_GLOBS, description="Of files and directories.")
    respect_gitignore: bool = True
    output: Output = "lines"
    context: int = Field(0, ge=0, le=50, description="Lines around each match.")
    before: int | None = Field(None, ge=0, le=50)
    after: int | None = Field(None, ge=0, le=50)
    max_per_file: int = Field(100, ge=1, le=10_000, description="Matching lines.")
    limit: int = Field(500, ge=1, le=10_000, description="Lines, else files.")
    cursor: str | None = None
    max_bytes: int | None = Field(None, ge=4_000)


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the searching tools."""
    tools = SearchingTools(desk)
    return [
        Listing(
            name="search_files",
            title="Search files by name",
            description="Find files and directories, hidden ones too, by glob, kind, size and "
            "time.",
            handler=tools.search_files,
            arguments=SearchFiles,
            result=FoundFiles,
        ),
        Listing(
            name="grep_files",
            title="Search in files",
            description="Find lines in the files below a directory by RE2 expression or plain "
            "text. output=files or counts costs less. What .gitignore ignores, .git and binary "
            "files are left out.",
            handler=tools.grep_files,
            arguments=GrepFiles,
            result=FoundText,
        ),
    ]


class SearchingTools:
    """The tools that search."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- search_files ---------------------------------------------------------------------------

    async def search_files(self, arguments: SearchFiles, context: Context) -> FoundFiles:
        """Search by name."""
        desk = await self._desk.for_call(context)
        query, tally = _name_query(arguments), Tally()
        digest = _digest("search_files", arguments)
        position = desk.cursors.position_of(arguments.cursor, digest)
        scope = await _scope(desk, arguments, Mode.LIST, globs_of(arguments.excludePatterns))
        by_path = arguments.sort == "path" and arguments.order == "asc"
        search: Callable[..., NamePage] = (
            partial(search_names, after=GoOn.from_json(position))
            if by_path
            else partial(
                search_sorted,
                sort=arguments.sort,
                descending=arguments.order == "desc",
                offset=int(position or 0),
            )
        )
        async with reporting_seen(context, tally):
            page = await desk.backend.run_for(
                desk.settings.search_time_limit_s,
                search,
                scope,
                query,
                tally,
                limit=arguments.limit,
            )
        found = self._found(
            desk, arguments, page, tally, digest, None if by_path else position or 0
        )
        if found.entries or found.truncated or position is not None:
            return found
        return found.model_copy(update={"content": _nothing(arguments.pattern, scope.place.shown)})

    def _found(
        self,
        desk: Desk,
        arguments: SearchFiles,
        page: NamePage,
        tally: Tally,
        digest: str,
        offset: int | None,
    ) -> FoundFiles:
        entries, how = cut(
            [hit.shown() for hit in page.hits],
            limit=arguments.limit,
            # The paths are told twice.
            max_bytes=desk.answer_bytes(arguments.max_bytes) * 2 // 3,
        )
        go_on: Any = None
        if how.truncated:
            last = page.hits[len(entries) - 1]
            go_on = last.place.to_json() if offset is None else offset + len(entries)
        elif page.late_at is not None:
            go_on = page.late_at.to_json()
        return FoundFiles(
            **_members(how, page.is_late),
            total=page.total,
            next_cursor=desk.cursors.make(go_on, digest) if go_on is not None else None,
            skipped=tally.left_out(),
            seen=tally.seen,
            entries=entries,
            content="\n".join(entry.path for entry in entries) or NOTHING,
        )

    # -- grep_files -----------------------------------------------------------------------------

    async def grep_files(self, arguments: GrepFiles, context: Context) -> FoundText:
        """Search by content."""
        desk = await self._desk.for_call(context)
        query = _text_query(arguments, desk.answer_bytes(arguments.max_bytes))
        digest, tally = _digest("grep_files", arguments), Tally()
        after = GoOn.from_json(desk.cursors.position_of(arguments.cursor, digest))
        exclude = globs_of(map(anywhere, arguments.exclude))
        scope = await _scope(desk, arguments, Mode.READ, exclude)
        async with reporting_seen(context, tally):
            page = await desk.backend.run_for(
                desk.settings.search_time_limit_s,
                search_text,
                scope,
                query,
                tally,
                after=after,
                helpers=desk.backend.helpers,
            )
        return _found_text(desk, query, page, tally, digest, is_first=after is None)


async def _scope(
    desk: Desk, arguments: SearchFiles | GrepFiles, needs: Mode, exclude: Globs | None
) -> Scope:
    """Return where a call searches."""
    place = await desk.backend.run(_placed, desk, arguments.path, needs)
    depth = desk.settings.max_depth
    return Scope(desk.roots, place, depth, arguments.respect_gitignore, exclude)


def _placed(stop: Any, desk: Desk, path: str, needs: Mode) -> Any:
    return desk.roots.place(path, needs)


def _digest(tool: str, arguments: Arguments) -> str:
    return digest_of(tool, arguments.model_dump(exclude={"cursor", "limit", "max_bytes"}))


def _members(how: Cut, is_late: bool) -> dict[str, Any]:
    """Return what is said about the rest; work that ran out of time may have missed some."""
    members = {k: v for k, v in how.members().items() if k not in ("total", "next_cursor")}
    if is_late and not how.truncated:
        members |= {"truncated": True, "truncated_by": "time"}
    return members


def _found_text(
    desk: Desk, query: TextQuery, page: TextPage, tally: Tally, digest: str, *, is_first: bool
) -> FoundText:
    by_line = query.output == "lines"
    returned = page.matches if by_line else len(page.files)
    paths = [file.path for file in page.files] if query.output == "files" else []
    return FoundText(
        returned=returned,
        total=returned if page.ended is None and is_first else None,
        truncated=page.ended is not None,
        truncated_by=page.ended,
        next_cursor=desk.cursors.make(page.go_on.to_json(), digest) if page.go_on else None,
        skipped=tally.left_out(),
        files=[] if query.output == "files" else page.files,
        paths=paths,
        matches=page.matches,
        searched=tally.files,
    )


def anywhere(glob: str) -> str:
    """Return a glob that counts in every directory when it has no slash but at its end."""
    negated = "!" if glob.startswith("!") and not glob.startswith("!(") else ""
    body = glob.removeprefix(negated)
    return glob if "/" in body[:-1] else f"{negated}**/{body}"


def _nothing(pattern: str, shown: str) -> str:
    """Return what a search without a match says; of a glob of one name, where it has looked."""
    if "/" in pattern or pattern == "**" or pattern.startswith("!"):
        return NOTHING
    return f"{NOTHING} directly in {shown}; **/{pattern} looks in all directories below it too."


def _name_query(arguments: SearchFiles) -> NameQuery:
    return NameQuery(
        globs=Globs([arguments.pattern]),
        kinds=frozenset([arguments.kind] if arguments.kind else []),
        min_size=arguments.min_size,
        max_size=arguments.max_size,
        modified_after=_seconds("modified_after", arguments.modified_after),
        modified_before=_seconds("modified_before", arguments.modified_before),
    )


def _seconds(argument: str, text: str | None) -> float | None:
    """Return a time in seconds since 1970.

    Raises:
        InvalidArguments: It is no time in ISO 8601.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidArguments(
            f"{argument}: {text[:40]!r} is not a time in ISO 8601.",
            hint="Write 2026-01-31 or 2026-01-31T12:00:00Z.",
        ) from None


def _text_query(arguments: GrepFiles, max_bytes: int) -> TextQuery:
    around = arguments.context
    limits = Limits(
        before=around if arguments.before is None else arguments.before,
        after=around if arguments.after is None else arguments.after,
        matches=arguments.max_per_file if arguments.output == "lines" else 1_000_000_000,
        line_bytes=MAX_LINE_BYTES,
    )
    if arguments.output != "lines":
        limits = replace(limits, before=0, after=0)
    return TextQuery(
        wanted=Wanted.of(
            arguments.pattern,
            is_regex=not arguments.literal,
            ignore_case=arguments.ignore_case,
            word=arguments.word,
            multiline=arguments.multiline,
        ),
        output=arguments.output,
        include=globs_of(map(anywhere, arguments.include)),
        limits=limits,
        limit=arguments.limit,
        max_bytes=max_bytes,
    )
