"""list_allowed_directories and the tools that read files."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import astuple
from typing import Self

from pydantic import Field, model_validator

from core import content
from core.content import Block, ResourceContents, ToolResult
from core.context import Context
from core.errors import LimitExceeded
from core.models import Arguments, NoArguments
from core.paging import digest_of
from core.tools import Listing
from services.filesystem import media
from services.filesystem.backend import reading
from services.filesystem.backend.excerpts import Position, Wanted
from services.filesystem.backend.reading import Failed, Limits, PartOfFile, WholeFile
from services.filesystem.errors import FileChanged
from services.filesystem.models.reading import (
    Directories,
    ManyTexts,
    MediaOfFile,
    OneOfMany,
    SameText,
    TextOfFile,
)
from services.filesystem.tools.desk import Desk

TIME_SHARE = 0.8
"""Of a call's time, for reading; the rest is for the answer."""


class ReadFile(Arguments):
    """Arguments of read_file, those of the official server."""

    path: str
    head: int | None = Field(None, ge=0)
    tail: int | None = Field(None, ge=0)
    cursor: str | None = None

    @property
    def wanted(self) -> Wanted:
        """The part that is asked for; 0 lines mean all, as in the official server."""
        return Wanted(last_line=self.head or None, tail=self.tail or None)

    @model_validator(mode="after")
    def _one_part(self) -> Self:
        if self.head and self.tail:
            raise ValueError("head and tail exclude each other")
        return self


class ReadTextFile(ReadFile):
    """Arguments of read_text_file."""

    start_line: int | None = Field(None, ge=1)
    end_line: int | None = Field(None, ge=1, description="Included.")
    offset: int | None = Field(None, ge=0)
    length: int | None = Field(None, ge=1)
    encoding: str | None = Field(None, description="When told wrong: latin-1, cp1251, …")
    line_numbers: bool = Field(False, description="Before each line, with a tab.")
    max_bytes: int | None = Field(None, ge=1_000, description="Of the answer.")

    @property
    def wanted(self) -> Wanted:
        """The part that is asked for."""
        if self.offset is not None or self.length is not None:
            return Wanted(offset=self.offset or 0, length=self.length, numbered=self.line_numbers)
        return Wanted(
            first_line=self.start_line or 1,
            last_line=self.head or self.end_line,
            tail=self.tail or None,
            numbered=self.line_numbers,
        )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = {
            "head": self.head,
            "tail": self.tail,
            "start_line and end_line": self.start_line or self.end_line,
            "offset and length": self.offset is not None or self.length,
        }
        given = [name for name, value in ways.items() if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        if self.start_line and self.end_line and self.end_line < self.start_line:
            raise ValueError("end_line is before start_line")
        return self


class ReadMultipleFiles(Arguments):
    """Arguments of read_multiple_files."""

    paths: list[str] = Field([], max_length=1_000)
    glob: str | None = Field(None, description="Instead of paths: docs/**/*.md")
    max_bytes_per_file: int | None = Field(None, ge=1_000)
    max_bytes: int | None = Field(None, ge=4_000)
    cursor: str | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if bool(self.paths) == bool(self.glob):
            raise ValueError("give either paths or a glob")
        return self


class ReadMediaFile(Arguments):
    """Arguments of read_media_file."""

    path: str


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the reading tools."""
    tools = ReadingTools(desk)
    return [
        Listing(
            name="list_allowed_directories",
            title="List allowed directories",
            description="List the roots: the alias that paths begin with, what is allowed there, "
            "free space. Start here.",
            handler=tools.list_allowed_directories,
            arguments=NoArguments,
            result=Directories,
        ),
        Listing(
            name="read_text_file",
            title="Read a text file",
            description="Read a text file, or a part: head, tail, start_line to end_line, or "
            "offset and length in characters. The content is exact, line ends too; its sha256 is "
            "the if_sha256 of a later write. What does not fit comes with next_cursor.",
            handler=tools.read_text,
            arguments=ReadTextFile,
            result=TextOfFile,
        ),
        Listing(
            name="read_file",
            title="Read a file",
            description="Older name of read_text_file, with fewer options.",
            handler=tools.read_file,
            arguments=ReadFile,
            result=SameText,
        ),
        Listing(
            name="read_multiple_files",
            title="Read several files",
            description="Read several text files, by paths or by a glob. One that cannot be read "
            "has an error of its own; long ones are cut at max_bytes_per_file.",
            handler=tools.read_multiple,
            arguments=ReadMultipleFiles,
            result=ManyTexts,
        ),
        Listing(
            name="read_media_file",
            title="Read a media file",
            description="Return an image or sound to look at or listen to, or any other file's "
            "bytes as base64. Bytes tell the kind, not the name.",
            handler=tools.read_media,
            arguments=ReadMediaFile,
            result=MediaOfFile,
        ),
    ]


class ReadingTools:
    """The tools that read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_allowed_directories(
        self, arguments: NoArguments, context: Context
    ) -> Directories:
        """List the roots."""
        desk = await self._desk.for_call(context)
        found = await desk.backend.run(reading.directories, desk.roots)
        lines = [f"{d.alias} ({d.mode}): {d.path}" for d in found]
        return Directories(directories=found, content="\n".join(["Allowed directories:", *lines]))

    # -- text -----------------------------------------------------------------------------------

    async def read_text(self, arguments: ReadFile, context: Context) -> TextOfFile:
        """Read a text file, or a page of it."""
        desk = await self._desk.for_call(context)
        encoding = arguments.encoding if isinstance(arguments, ReadTextFile) else None
        asked = arguments.max_bytes if isinstance(arguments, ReadTextFile) else None
        digest = _digest(arguments.path, arguments.wanted, encoding)
        state = desk.cursors.position_of(arguments.cursor, digest)
        part = await desk.backend.run_for(
            context.remaining_s * TIME_SHARE,
            reading.read_part,
            desk.roots,
            arguments.path,
            arguments.wanted,
            encoding,
            Limits(desk.settings.max_read_bytes, desk.answer_bytes(asked)),
            None if state is None else (state[0], Position(*state[1:])),
        )
        excerpt = part.excerpt
        numbered = arguments.wanted.numbered and excerpt.first_line is not None
        return TextOfFile(
            path=part.place.shown,
            encoding=part.charset.name,
            encoding_guessed=part.charset.guessed,
            bom=bool(part.charset.mark),
            newline=part.newline,
            size_bytes=part.size_bytes,
            sha256=part.sha256,
            mtime=part.mtime,
            total_lines=part.total_lines,
            start_line=excerpt.first_line,
            end_line=excerpt.last_line,
            truncated=excerpt.next is not None,
            next_cursor=_cursor(desk, part, digest),
            content=_numbered(part) if numbered else excerpt.text,
        )

    async def read_file(self, arguments: ReadFile, context: Context) -> SameText:
        """Read a text file under the tool's older name."""
        return SameText(**dict(await self.read_text(arguments, context)))

    # -- several files --------------------------------------------------------------------------

    async def read_multiple(self, arguments: ReadMultipleFiles, context: Context) -> ManyTexts:
        """Read several files, or the next ones of them."""
        desk = await self._desk.for_call(context)
        settings, limit_s = desk.settings, context.remaining_s * TIME_SHARE
        paths = arguments.paths
        if arguments.glob:
            paths = await desk.backend.run_for(
                limit_s,
                reading.matching,
                desk.roots,
                arguments.glob,
                settings.max_files,
                settings.max_depth,
            )
        elif len(paths) > settings.max_files:
            raise _too_many(len(paths), settings.max_files)
        start, digest, files_digest = self._start(desk, arguments, paths)
        answer = desk.answer_bytes(arguments.max_bytes)
        each = min(arguments.max_bytes_per_file or answer // 2, answer)
        found = await desk.backend.run_for(
            context.remaining_s * TIME_SHARE,
            reading.read_many,
            desk.roots,
            paths,
            start,
            Limits(settings.max_read_bytes, each),
            answer,
        )
        more = found.next
        return ManyTexts(
            files=[_one_of_many(desk, file) for file in found.files],
            returned=len(found.files),
            total=len(paths),
            truncated=more is not None,
            next_cursor=None if more is None else desk.cursors.make([more, files_digest], digest),
        )

    def _start(
        self, desk: Desk, arguments: ReadMultipleFiles, paths: list[str]
    ) -> tuple[int, str, str]:
        """Return the index of the first file, and what binds a cursor to the call and the files."""
        digest = digest_of("many", arguments.paths, arguments.glob)
        files_digest = digest_of(paths)
        state = desk.cursors.position_of(arguments.cursor, digest)
        if state is not None and state[1] != files_digest:
            raise FileChanged("The glob matches other files than for the page before.")
        return (0 if state is None else state[0]), digest, files_digest

    # -- media ----------------------------------------------------------------------------------

    async def read_media(self, arguments: ReadMediaFile, context: Context) -> ToolResult:
        """Return a file's bytes as the block that fits them."""
        desk = await self._desk.for_call(context)
        settings = desk.settings
        file = await desk.backend.run(
            reading.read_whole,
            desk.roots,
            arguments.path,
            settings.max_media_bytes,
            min(settings.max_media_bytes, settings.max_answer_bytes * 3 // 4),
        )
        block, sha256 = await asyncio.to_thread(_block_and_digest, file)
        known = MediaOfFile(
            path=file.place.shown,
            mime_type=file.media_type,
            size_bytes=len(file.data),
            sha256=sha256,
            mtime=file.mtime,
        )
        return ToolResult(content=[block], structured=known)


def _too_many(count: int, limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"{count} paths were given; at most {limit} files are read in one call.",
        hint="Read them in several calls.",
        limit=limit,
    )


def _digest(path: str, wanted: Wanted, encoding: str | None) -> str:
    """Return what binds the cursor of a text file to its path and part."""
    return digest_of("text", path, astuple(wanted), encoding)


def _cursor(desk: Desk, part: PartOfFile, digest: str) -> str | None:
    position = part.excerpt.next
    if position is None:
        return None
    return desk.cursors.make([part.identity, *astuple(position)], digest)


def _numbered(part: PartOfFile) -> str:
    """Return a text with their numbers before the lines, as `cat -n` does."""
    end = "\r" if part.newline == "cr" else "\n"
    lines, first = part.excerpt.text.split(end), part.excerpt.first_line or 1
    last = len(lines) - (not lines[-1])
    return end.join(
        f"{first + index:>6}\t{line}" if index < last else line for index, line in enumerate(lines)
    )


def _one_of_many(desk: Desk, file: PartOfFile | Failed) -> OneOfMany:
    if isinstance(file, Failed):
        return OneOfMany(path=file.path, error=file.error.to_dict())
    path = file.place.shown
    return OneOfMany(
        path=path,
        encoding=file.charset.name,
        newline=file.newline,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        mtime=file.mtime,
        total_lines=file.total_lines,
        truncated=file.excerpt.next is not None,
        next_cursor=_cursor(desk, file, _digest(path, Wanted(), None)),
        content=file.excerpt.text,
    )


def _block_and_digest(file: WholeFile) -> tuple[Block, str]:
    sha256 = hashlib.sha256(file.data).hexdigest()
    if file.media_type in media.IMAGES:
        return content.image(file.data, file.media_type), sha256
    if file.media_type in media.SOUNDS:
        return content.audio(file.data, file.media_type), sha256
    resource = ResourceContents(file.place.uri, file.data, file.media_type)
    return content.embedded(resource), sha256
