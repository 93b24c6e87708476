"""Reading files; all of it runs in worker threads.

A file up to the limit is read as a whole: its text is checked to its end, its lines are counted and
its bytes hashed. Of a larger one only the wanted part is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from core.errors import LimitExceeded, ToolError
from core.files import telling
from core.paging import digest_of
from services.filesystem import media, text
from services.filesystem.backend import excerpts
from services.filesystem.backend.excerpts import Excerpt, Position, Source, Wanted
from services.filesystem.backend.globs import Globs
from services.filesystem.backend.walking import FILE, Level, Walk
from services.filesystem.backend.work import Stop
from services.filesystem.errors import FileChanged, Stopped, TooBigToRead
from services.filesystem.models.reading import Directory
from services.filesystem.roots import Place, RootEntry, Roots, RootState
from services.filesystem.settings import Mode
from services.filesystem.text import Charset, Newline

FRAME_BYTES = 500
"""What a file adds to an answer besides its text."""
LEAST_BYTES = 2_000
"""With less room than this no further file is begun."""
_GLOB_SIGNS = re.compile(r"[*?\[{\\]|[@+!]\(")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read and returned, in bytes.

    Attributes:
        whole: Up to here a file is read as a whole.
        answer: Of the text in JSON.
    """

    whole: int
    answer: int


@dataclass(frozen=True, slots=True)
class PartOfFile:
    """A part of a text file, and what is known of the file.

    Attributes:
        identity: Changes when the file does.
        sha256: Of the file's bytes; None when it was not read as a whole.
        total_lines: None when they were not counted.
    """

    place: Place
    identity: str
    charset: Charset
    newline: Newline
    size_bytes: int
    sha256: str | None
    mtime: str | None
    total_lines: int | None
    excerpt: Excerpt


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file's bytes and kind."""

    place: Place
    data: bytes
    media_type: str
    mtime: str | None


# --- roots ----------------------------------------------------------------------------------------


def directories(stop: Stop, roots: Roots) -> list[Directory]:
    """Return each root with its state and the space on its disk."""
    return [_directory(state) for state in roots.states()]


def _directory(state: RootState) -> Directory:
    free, total = None, None
    if state.entry is not None:
        disk = os.fstatvfs(state.entry.root.fd)
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return Directory(
        alias=state.alias,
        path=state.path,
        mode=state.mode.word,
        state="unavailable" if state.entry is None else "available",
        problem=state.problem,
        free_bytes=free,
        total_bytes=total,
    )


# --- text -----------------------------------------------------------------------------------------


def read_part(
    stop: Stop,
    roots: Roots,
    path: str,
    wanted: Wanted,
    encoding: str | None,
    limits: Limits,
    resume: tuple[str, Position] | None = None,
) -> PartOfFile:
    """Return a part of a text file.

    Args:
        path: As the caller gave it.
        resume: For a further page: the identity that the file had, and where the page begins.

    Raises:
        ToolError: Of the path, the file, its encoding or the part; see `errors`.
        FileChanged: It is not the file that the page before was of.
    """
    place = roots.place(path, Mode.READ)
    fd = roots.open_file(place)
    try:
        with telling(place.shown):
            return _read_part(stop, place, fd, wanted, encoding, limits, resume)
    finally:
        os.close(fd)


def _read_part(
    stop: Stop,
    place: Place,
    fd: int,
    wanted: Wanted,
    encoding: str | None,
    limits: Limits,
    resume: tuple[str, Position] | None,
) -> PartOfFile:
    status = os.fstat(fd)
    identity = identity_of(status)
    if resume is not None and resume[0] != identity:
        raise FileChanged(f"{place.shown} has changed since the page before.", path=place.shown)
    data = read_up_to(fd, limits.whole, stop) if status.st_size <= limits.whole else None
    if data is None:
        source, charset, newline = _large(fd, status.st_size, encoding)
    else:
        source, charset, newline = _held(data, encoding, wanted)
    position = None if resume is None else resume[1]
    found = excerpts.excerpt(source, wanted, position, limits.answer, stop)
    total = found.total_lines if data is None else excerpts.total_lines(source, stop)
    return PartOfFile(
        place=place,
        identity=identity,
        charset=charset,
        newline=newline,
        size_bytes=status.st_size if data is None else len(data),
        sha256=None if data is None else hashlib.sha256(data).hexdigest(),
        mtime=timestamp(status.st_mtime_ns),
        total_lines=total,
        excerpt=found,
    )


def _held(data: bytes, encoding: str | None, wanted: Wanted) -> tuple[Source, Charset, Newline]:
    """Return a file in memory, as UTF-8; where only a part is wanted, the rest may be broken."""
    charset = text.detect(data, whole=True) if encoding is None else text.named(encoding, data)
    body = data[len(charset.mark) :]
    try:
        file = text.decoded(body, charset, at=len(charset.mark))
    except ToolError:
        if wanted.is_all or charset.is_stateful:
            raise
        return _source_of(data, charset), charset, text.newline_of(_roughly(body, charset))
    inner = body if charset.name == "utf-8" else file.encode()
    return _source_of(inner, Charset("utf-8")), charset, text.newline_of(file)


def _source_of(data: bytes, charset: Charset) -> Source:
    has_lf = "\n".encode(charset.name) in data
    end = "\n" if has_lf or b"\r" not in data else "\r"
    mark = end.encode(charset.name)
    return Source(lambda at, count: data[at : at + count], len(data), charset, mark, is_held=True)


def _roughly(data: bytes, charset: Charset) -> str:
    return data.decode(charset.name, "replace")


def _large(fd: int, size: int, encoding: str | None) -> tuple[Source, Charset, Newline]:
    """Return a file that stays on the disk; its beginning tells encoding and newlines."""
    sample = os.pread(fd, text.SAMPLE_BYTES, 0)
    charset = text.detect(sample, whole=False) if encoding is None else text.named(encoding, sample)
    if charset.is_stateful:
        raise TooBigToRead(
            f"The file has {size} bytes, too many to read parts of it in {charset.name}.",
            size_bytes=size,
        )
    newline = text.newline_of(_roughly(sample[len(charset.mark) :], charset))
    mark = ("\r" if newline == "cr" else "\n").encode(charset.name)

    def read(at: int, count: int) -> bytes:
        return _pread(fd, min(count, size - at), at)  # what is written meanwhile is not looked at

    return Source(read, size, charset, mark, is_held=False), charset, newline


def _pread(fd: int, count: int, at: int) -> bytes:
    """Read exactly so many bytes, or up to the end."""
    parts = []
    while count and (part := os.pread(fd, count, at)):
        parts.append(part)
        count -= len(part)
        at += len(part)
    return b"".join(parts)


def read_up_to(fd: int, limit: int, stop: Stop) -> bytes | None:
    """Return all bytes of a file from where it stands; None when they are more than the limit."""
    parts, left = [], limit + 1
    while left and (part := os.read(fd, min(left, excerpts.CHUNK))):
        stop.check()
        parts.append(part)
        left -= len(part)
    return b"".join(parts) if left else None


def identity_of(status: os.stat_result) -> str:
    """Return what is another after any change of a file."""
    return digest_of(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )[:16]


def timestamp(nanoseconds: int) -> str | None:
    """Return a time of the file system as ISO 8601 in UTC; None beyond the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
    return f"{moment.isoformat()}Z"


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC; without saying so it is told twice as fast


# --- several files --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that could not be read."""

    path: str
    error: ToolError


@dataclass(frozen=True, slots=True)
class ManyFiles:
    """Some of the files that were asked for.

    Attributes:
        next: Index of the first file that did not fit; None when none is left.
    """

    files: list[PartOfFile | Failed]
    next: int | None


def read_many(
    stop: Stop, roots: Roots, paths: Sequence[str], start: int, per_file: Limits, answer: int
) -> ManyFiles:
    """Read files one after the other, until an answer is full or the time is over.

    Args:
        start: Index of the first.
        per_file: Of each file.
        answer: Bytes of the whole answer.
    """
    files: list[PartOfFile | Failed] = []
    left = answer
    for index in range(start, len(paths)):
        if files and (left < LEAST_BYTES or stop.asked):
            return ManyFiles(files, index)
        room = min(per_file.answer, max(left, LEAST_BYTES))
        file = _read_one(stop, roots, paths[index], Limits(per_file.whole, room))
        if files and room < per_file.answer and isinstance(file, PartOfFile) and file.excerpt.next:
            return ManyFiles(files, index)
        files.append(file)
        left -= _size_of(file)
    return ManyFiles(files, None)


def _read_one(stop: Stop, roots: Roots, path: str, limits: Limits) -> PartOfFile | Failed:
    try:
        return read_part(stop, roots, path, Wanted(), None, limits)
    except Stopped:
        raise
    except ToolError as error:
        return Failed(path, error)


def _size_of(file: PartOfFile | Failed) -> int:
    if isinstance(file, Failed):
        return FRAME_BYTES + excerpts.json_bytes(file.error.message + file.error.hint)
    return FRAME_BYTES + excerpts.json_bytes(file.excerpt.text)


def matching(stop: Stop, roots: Roots, glob: str, max_files: int, max_depth: int) -> list[str]:
    """Return the files that a glob names, links left out.

    Raises:
        LimitExceeded: They are more than `max_files`.
    """
    names = glob.split("/")
    plain = next((i for i, name in enumerate(names) if _GLOB_SIGNS.search(name)), len(names) - 1)
    place = roots.place("/".join(names[:plain]) or glob[:1].strip("*?[{(!"), Mode.LIST)
    globs = Globs(["/".join(names[plain:])])
    fd = roots.open_dir(place)
    try:
        start = tuple(map(os.fsdecode, place.entry.root.real(fd)))
        walk = Walk(roots, place.entry, fd, start, stop, max_depth)
        with contextlib.closing(walk.levels()) as levels:
            found = list(islice(_files_of(place.entry, levels, globs), max_files + 1))
    finally:
        os.close(fd)
    stop.check()
    if len(found) > max_files:
        raise LimitExceeded(
            f"The glob matches more than {max_files} files.",
            hint="Use a narrower one, or search_files and several calls.",
            limit=max_files,
        )
    return found


def _files_of(entry: RootEntry, levels: Iterable[Level], globs: Globs) -> Iterator[str]:
    for level in levels:
        for name, kind in level.entries:
            if kind == FILE and globs.matches(level.below + name, name, False):
                yield entry.shown((*level.rel, os.fsencode(name)))


# --- bytes ----------------------------------------------------------------------------------------


def read_whole(
    stop: Stop, roots: Roots, path: str, media_bytes: int, other_bytes: int
) -> WholeFile:
    """Return all bytes of a file.

    Args:
        media_bytes: How many a picture or sound may have.
        other_bytes: How many any other file may have.

    Raises:
        TooBigToRead: It has more.
    """
    place = roots.place(path, Mode.READ)
    fd = roots.open_file(place)
    try:
        with telling(place.shown):
            status = os.fstat(fd)
            kind = media.binary_type(os.pread(fd, media.HEAD_BYTES, 0))
            limit = media_bytes if kind in media.SEEN_OR_HEARD else other_bytes
            data = read_up_to(fd, limit, stop) if status.st_size <= limit else None
    finally:
        os.close(fd)
    if data is None:
        raise TooBigToRead(
            f"{place.shown} has {status.st_size} bytes; files like it are returned up to {limit}.",
            hint="Read a part of it with read_text_file, if it is text.",
            size_bytes=status.st_size,
            limit_bytes=limit,
        )
    return WholeFile(place, data, media.media_type(data), timestamp(status.st_mtime_ns))
