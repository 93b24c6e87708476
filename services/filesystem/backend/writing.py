"""Changing what files hold, and making directories; all of it runs in worker threads.

Every change of a content is one `_put`: open the spot, lock its directory, read what is there, make
the new content of it, write that down in the history, put it in place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from core.errors import LimitExceeded, ToolError
from core.files import FileExists, FileNotThere, NotADirectory, Rel, telling
from services.filesystem import text
from services.filesystem.backend import trash
from services.filesystem.backend.atomic import (
    Current,
    Spot,
    check_names_file,
    commit,
    current_of,
    draft,
    fill,
    identity,
    make_above,
    make_directory,
    name_spot,
    open_spot,
    read_all,
    resemble,
    sync,
    temp_name,
)
from services.filesystem.backend.atomic import locked as locked_spots
from services.filesystem.backend.diffs import Diff, unified
from services.filesystem.backend.edits import (
    Edited,
    LineEdit,
    TextEdit,
    apply_lines,
    apply_patch,
    apply_texts,
)
from services.filesystem.backend.exact import Exact, exact
from services.filesystem.backend.history import Change, History, as_fact
from services.filesystem.backend.work import Stop
from services.filesystem.errors import FileChanged, TooBigToRead, Unencodable
from services.filesystem.models import writing as models
from services.filesystem.roots import Place, Roots
from services.filesystem.settings import FilesystemSettings, Mode

MAX_IMAGE_SHARE = 4
"""A content that would fill more than a quarter of the history is not kept."""
NO_WAY_BACK = "The earlier content was not kept, so undo_change cannot bring it back."


@dataclass(frozen=True, slots=True)
class Job:
    """What every change needs: for one call.

    Attributes:
        principal: Whose changes they are; callers undo only their own.
    """

    roots: Roots
    settings: FilesystemSettings
    history: History
    principal: str

    def change(
        self,
        kind: Literal["write", "create_directory", "move", "copy", "delete"],
        spot: Spot,
        facts: dict[str, object],
        *,
        image: bytes | None = None,
        trash_bytes: int = 0,
    ) -> int | None:
        """Write down a change that is about to be made; return its id."""
        root = spot.entry.root.path
        change = Change(kind, spot.entry.alias, root, spot.rel, facts)
        return self.history.begin(change, self.principal, image=image, trash_bytes=trash_bytes)

    def finish(self, change_id: int | None, **facts: object) -> int | None:
        """Write down that a change was made, and drop what is too old; return its id."""
        undo_id = self.history.finish(change_id, **facts)
        drop_old(self.roots, self.history)
        return undo_id

    def keeps(self, size: int) -> bool:
        """Tell whether the history takes an earlier content of so many bytes."""
        return size <= self.history.max_bytes // MAX_IMAGE_SHARE and self.history.max_changes > 0


def drop_old(roots: Roots, history: History) -> None:
    """Drop what the history has too much of, with what of it is in the trash."""
    for change in history.prune():
        with contextlib.suppress(ToolError, KeyError):
            trash.drop_trash_of(change, roots.entry(change.alias))


# --- one new content ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Put:
    """How a content is to be changed.

    Attributes:
        if_sha256: What the file has to be now, in small letters; None for anything.
        must_exist: There has to be a file (True) or must not be one (False); None for either.
    """

    if_sha256: str | None = None
    must_exist: bool | None = None
    make_parents: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file.

    Attributes:
        before: Its earlier bytes; None when there was none, or it was too large.
    """

    before: bytes | None
    after: bytes
    created: bool
    changed: bool
    sha256_before: str | None
    sha256_after: str
    undo_id: int | None
    notes: tuple[str, ...]


Make = Callable[[Current | None], bytes]


def put(stop: Stop, job: Job, place: Place, make: Make, how: Put) -> Outcome:
    """Give a file the content that `make` returns for what it is now.

    Raises:
        FileExists, FileNotThere: Against `how.must_exist`.
        FileChanged: It is not what `how.if_sha256` says, or changed meanwhile.
        LimitExceeded: The content is too large.
        ToolError: Of `core.files` (BadPath for one that asks for a directory), the roots' rules,
            or `make`.
    """
    check_names_file(place)
    try:
        spot = open_spot(
            job.roots,
            place,
            Mode.WRITE,
            make_parents=how.make_parents and not how.dry_run,
            if_missing=None if how.must_exist else "make_parents=true makes it.",
        )
    except FileNotThere:
        if not (how.dry_run and how.make_parents):
            raise
        return _planned(job, place, make, how)
    with spot:
        try:
            with (
                locked_spots(stop, spot),
                current_of(
                    stop,
                    spot,
                    job.settings.max_write_bytes,
                    hashed=how.if_sha256 is not None,
                ) as current,
            ):
                return _put(stop, job, place, spot, current, make, how)
        except BaseException:
            remove_made(spot)
            raise


def _planned(job: Job, place: Place, make: Make, how: Put) -> Outcome:
    """Say what would be in a directory that would be made first."""
    _check_expected(place.shown, None, how)
    return _outcome(None, _checked_size(job, place, make(None)))


def _put(
    stop: Stop, job: Job, place: Place, spot: Spot, current: Current | None, make: Make, how: Put
) -> Outcome:
    if current is not None:
        job.roots.check_links(place, current.status)
    _check_expected(spot.shown, current, how)
    data = _checked_size(job, place, make(current))
    stop.check()
    if how.dry_run or (current is not None and current.data == data):
        return _outcome(current, data)
    return _committed(stop, job, place, spot, current, data)


def _check_expected(shown: str, current: Current | None, how: Put) -> None:
    if current is not None and how.must_exist is False:
        raise FileExists(f"{shown} exists already.", sha256=current.sha256)
    if current is None and how.must_exist:
        raise FileNotThere(f"{shown} does not exist.")
    if how.if_sha256 is None:
        return
    found = None if current is None else current.sha256
    if found != how.if_sha256:
        state = "does not exist" if found is None else "holds something else now"
        raise FileChanged(f"{shown} {state}; nothing was written.", sha256=found)


def _checked_size(job: Job, place: Place, data: bytes) -> bytes:
    limit = job.settings.max_write_bytes
    if len(data) > limit:
        raise LimitExceeded(
            f"{place.shown} would have {len(data)} bytes; at most {limit} are written.",
            size_bytes=len(data),
            limit_bytes=limit,
        )
    return data


def _outcome(
    current: Current | None, data: bytes, undo_id: int | None = None, notes: Sequence[str] = ()
) -> Outcome:
    before = None if current is None else current.data
    return Outcome(
        before=before,
        after=data,
        created=current is None,
        changed=current is None or before != data,
        sha256_before=None if current is None else current.sha256,
        sha256_after=hashlib.sha256(data).hexdigest(),
        undo_id=undo_id,
        notes=tuple(notes),
    )


def _committed(
    stop: Stop, job: Job, place: Place, spot: Spot, current: Current | None, data: bytes
) -> Outcome:
    image = None if current is None else current.data
    keeps = current is None or (image is not None and job.keeps(len(image)))
    notes = [] if keeps else [NO_WAY_BACK]
    if place.rel != spot.rel:
        notes.append(f"{place.shown} leads to {spot.entry.shown(spot.rel)}, which was written.")
    if current is not None and current.status.st_nlink > 1:
        notes.append(
            f"It had {current.status.st_nlink} names; the others still hold the earlier content."
        )
    name = temp_name()
    facts: dict[str, object] = {
        "temp": name.decode(),
        "created": current is None,
        "after": hashlib.sha256(data).hexdigest(),
        "mode": None if current is None else current.status.st_mode & 0o7777,
        "was": None if current is None else identity(current.status),
        "made": [as_fact(rel) for rel in spot.made],
    }
    change_id = job.change("write", spot, facts, image=image if keeps else None)
    try:
        notes += place_file(stop, job, spot, current, name, data)
    except BaseException:
        job.history.forget(change_id)
        raise
    if not keeps:
        job.history.forget(change_id)
        change_id = None
    undo_id = job.finish(change_id)
    return _outcome(current, data, undo_id, notes)


def place_file(
    stop: Stop, job: Job, spot: Spot, current: Current | None, name: bytes, data: bytes
) -> list[str]:
    """Write a file and put it in the place of the one that was read; return what to say of it."""
    notes: list[str] = []
    with draft(spot, name, private=current is not None) as new:
        with telling(spot.shown):
            fill(stop, new.fd, data)
            if current is not None:
                notes = resemble(new.fd, current.fd)
            if job.settings.fsync:
                os.fsync(new.fd)
        commit(spot, new, current)
    if job.settings.fsync:
        sync(spot.fd)
    return notes


def remove_made(spot: Spot) -> None:
    """Remove the directories that were made for something that then was not, if still empty."""
    for rel in reversed(spot.made):
        with contextlib.suppress(ToolError, OSError):
            parent, name = spot.entry.root.open_parent(rel)
            try:
                os.rmdir(name, dir_fd=parent)
            finally:
                os.close(parent)


# --- write_file --------------------------------------------------------------------------------


def write_file(
    stop: Stop,
    job: Job,
    place: Place,
    data: bytes,
    how: Put,
    *,
    append: bool = False,
) -> models.Written:
    """Write a whole file, or append to one."""

    def make(current: Current | None) -> bytes:
        if not append or current is None:
            return data
        return _all_of(job, place, current) + data

    outcome = put(stop, job, place, make, how)
    members = _members(place, outcome)
    verb = ("Appended to" if append else "Wrote") if outcome.changed else "Nothing changed in"
    return models.Written(
        **members,
        created=outcome.created and not how.dry_run,
        bytes=len(outcome.after),
        content=_sentence(verb, place, how),
    )


def encoded(content: str, encoding: str | None) -> bytes:
    """Return the bytes of new content, in UTF-8 unless another encoding is named.

    utf-8-sig, utf-16 and utf-32 begin with a byte order mark.

    Raises:
        UnknownEncoding: There is none of that name.
        Unencodable: It has no such character.
    """
    charset = encoding or "utf-8"
    text.named(charset, b"")
    try:
        return content.encode(charset)
    except UnicodeEncodeError as error:
        raise Unencodable(
            f"{charset} has no {content[error.start]!r}, at character {error.start}.",
            encoding=charset,
        ) from None


def _all_of(job: Job, place: Place, current: Current) -> bytes:
    if current.data is None:
        limit = job.settings.max_write_bytes
        raise TooBigToRead(
            f"{place.shown} has {current.status.st_size} bytes; at most {limit} can be changed.",
            size_bytes=current.status.st_size,
            limit_bytes=limit,
        )
    return current.data


def _sentence(verb: str, place: Place, how: Put) -> str:
    return f"{verb} {place.shown}." if not how.dry_run else f"Would change {place.shown}; dry run."


def _members(
    place: Place, outcome: Outcome, texts: tuple[Exact, Exact] | None = None
) -> dict[str, object]:
    """Return the members that all results of content changes have."""
    diff, notes = _diff(place, outcome, texts)
    return {
        "path": place.shown,
        "changed": outcome.changed,
        "sha256_before": outcome.sha256_before,
        "sha256_after": outcome.sha256_after,
        "diff": diff.text,
        "diff_truncated": diff.truncated,
        "undo_id": outcome.undo_id,
        "notes": [*outcome.notes, *notes],
    }


def _diff(
    place: Place, outcome: Outcome, texts: tuple[Exact, Exact] | None
) -> tuple[Diff, list[str]]:
    none = Diff("", 0, 0, truncated=False)
    if outcome.before is None and not outcome.created:
        return none, ["No diff: the file was too large."]
    before, after = texts or (exact(outcome.before or b""), exact(outcome.after))
    if texts is None and (before.charset is None or after.charset is None):
        return none, ["No diff: it is no text."] if outcome.changed else []
    names = ("/dev/null" if outcome.created else place.shown, place.shown)
    diff = unified(before.body, after.body, names=names)
    if not diff.text and outcome.changed and not outcome.created:
        return diff, ["The text is the same; encoding or byte order mark changed."]
    return diff, []


# --- edit_file ---------------------------------------------------------------------------------

Edits = Sequence[TextEdit] | Sequence[LineEdit] | str
"""Text edits in order, line ranges, or a patch."""


def edit_file(
    stop: Stop, job: Job, place: Place, edits: Edits, how: Put, *, encoding: str | None = None
) -> models.Edited:
    """Edit a file; what no edit matches stays the same to the byte."""
    seen: list[tuple[Exact, Edited]] = []

    def make(current: Current | None) -> bytes:
        assert current is not None  # must_exist
        found = exact(_all_of(job, place, current), encoding)
        for new in _new_texts(edits):
            found.check_new(new)
        edited = _apply(stop, found.body, edits, job.settings.max_write_bytes)
        seen.append((found, edited))
        return found.bytes_of(edited.body)

    outcome = put(stop, job, place, make, how)
    before, edited = seen[-1]
    after = Exact(edited.body, before.charset)
    members = _members(place, outcome, (before, after))
    members["notes"] = [*edited.notes, *outcome.notes]
    places = "1 place" if edited.replacements == 1 else f"{edited.replacements} places"
    verb = f"Replaced {places} in" if outcome.changed else "Nothing changed in"
    return models.Edited(
        **members,
        replacements=edited.replacements,
        encoding=before.encoding,
        content=_sentence(verb, place, how),
    )


def _new_texts(edits: Edits) -> list[str]:
    if isinstance(edits, str):
        return [row for row in edits.splitlines() if row.startswith("+")]
    return [edit.new for edit in edits]


def _apply(stop: Stop, body: bytes, edits: Edits, max_bytes: int) -> Edited:
    if isinstance(edits, str):
        return apply_patch(body, edits, max_bytes=max_bytes)
    lines = [edit for edit in edits if isinstance(edit, LineEdit)]
    if lines:
        return apply_lines(body, lines, max_bytes=max_bytes)
    texts = [edit for edit in edits if isinstance(edit, TextEdit)]
    return apply_texts(body, texts, max_bytes=max_bytes, check=stop.check)


# --- create_directory --------------------------------------------------------------------------


def create_directory(stop: Stop, job: Job, place: Place, *, parents: bool) -> models.Made:
    """Make a directory, and those above it; one that is there already is fine."""
    made: list[Rel] = []
    if place.rel:
        made = make_above(job.roots, place, Mode.WRITE) if parents else []
        hint = "parents=true makes those above."
        if make_directory(job.roots, place, Mode.WRITE, told=place, if_missing=hint):
            made.append(place.rel)
    _check_directory(job, place)
    undo_id = None
    if made:
        with name_spot(job.roots, place, Mode.WRITE) as spot:
            sync(spot.fd)
            facts: dict[str, object] = {"made": [as_fact(rel) for rel in made]}
            undo_id = job.finish(job.change("create_directory", spot, facts))
    verb = "Created" if made else "There is already a"
    return models.Made(
        path=place.shown,
        created=bool(made),
        undo_id=undo_id,
        content=f"{verb} directory {place.shown}.",
    )


def _check_directory(job: Job, place: Place) -> None:
    try:
        os.close(job.roots.open_dir(place))
    except NotADirectory as error:
        raise FileExists(
            f"{place.shown} exists already and is no directory.", hint="Choose another name."
        ) from error


# --- diff_files --------------------------------------------------------------------------------


def diff_files(
    stop: Stop, job: Job, a: Place, b: Place, *, context: int, max_chars: int
) -> models.FileDiff:
    """Compare two files."""
    one, two = _readable(stop, job, a), _readable(stop, job, b)
    left, right = exact(one), exact(two)
    binary = one != two and (left.charset is None or right.charset is None)
    none = Diff("", 0, 0, truncated=False)
    names = (a.shown, b.shown)
    diff = (
        none
        if binary or one == two
        else unified(left.body, right.body, names=names, context=context, max_chars=max_chars)
    )
    return models.FileDiff(
        identical=one == two,
        binary=binary,
        diff=diff.text,
        diff_truncated=diff.truncated,
        lines_added=diff.added,
        lines_removed=diff.removed,
        content=_compared(a, b, diff, same=one == two, binary=binary),
    )


def _compared(a: Place, b: Place, diff: Diff, *, same: bool, binary: bool) -> str:
    if same:
        return f"{a.shown} and {b.shown} are the same."
    if binary:
        return f"{a.shown} and {b.shown} differ; one of them is no text."
    if not diff.text:
        return f"{a.shown} and {b.shown} have the same text, but another encoding or mark."
    return f"{b.shown} has {diff.added} lines more and {diff.removed} less than {a.shown}."


def _readable(stop: Stop, job: Job, place: Place) -> bytes:
    fd = job.roots.open_file(place, Mode.READ)
    try:
        size, limit = os.fstat(fd).st_size, job.settings.max_read_bytes
        if size > limit:
            raise TooBigToRead(
                f"{place.shown} has {size} bytes; at most {limit} are compared.",
                size_bytes=size,
                limit_bytes=limit,
            )
        with telling(place.shown):
            return read_all(stop, fd)
    finally:
        os.close(fd)
