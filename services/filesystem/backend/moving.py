"""Moving, copying and deleting; all of it runs in worker threads.

Names are worked on as they are: a symbolic link at the end of a path is itself moved and deleted,
and is followed only by a copy's source and where a copy replaces a file. What may not be changed
(deny globs) also holds for what a directory holds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import InvalidArguments
from core.files import FileExists, FileNotThere, NotAFile, kind_of, renameat2, telling
from services.filesystem.backend import trees
from services.filesystem.backend.atomic import (
    Current,
    Spot,
    changed,
    check_names_file,
    commit,
    current_of,
    draft,
    held,
    identity,
    locked,
    name_spot,
    open_spot,
    put_back,
    rename_new,
    resemble,
    stamp,
    sync,
    take_aside,
    temp_name,
)
from services.filesystem.backend.history import as_fact
from services.filesystem.backend.trash import Trash
from services.filesystem.backend.trees import Census, Copied, Copier
from services.filesystem.backend.work import Stop
from services.filesystem.backend.writing import NO_WAY_BACK, Job
from services.filesystem.errors import CountNeeded, FileChanged, HoldsDenied
from services.filesystem.models import writing as models
from services.filesystem.roots import Place
from services.filesystem.settings import Mode

MAKE_FIRST = "Make it first: create_directory."
"""The hint where the directory of a destination is missing."""


def _there(spot: Spot) -> os.stat_result:
    """Return the status of what has a name; raises FileNotThere."""
    status = spot.status()
    if status is None:
        raise FileNotThere(f"{spot.shown} does not exist.", path=spot.shown)
    return status


def _is_directory(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode)


def _census(stop: Stop, job: Job, spot: Spot) -> Census:
    """Count what a spot holds."""
    limit = job.settings.max_tree_entries
    with telling(spot.shown):
        return trees.census(stop, job.roots, spot.entry, spot.rel, spot.fd, spot.name, limit=limit)


def _free_of_denied(stop: Stop, job: Job, spot: Spot, what: str) -> Census:
    """Count a directory of which everything may be changed.

    Raises:
        HoldsDenied: It holds what may not be, or another file system.
    """
    found = _census(stop, job, spot)
    if found.denied:
        raise HoldsDenied(
            f"{spot.shown} holds things that may not be changed, so it cannot be {what}.",
            entries=found.denied,
        )
    if found.others:
        raise HoldsDenied(f"Another file system is mounted below {spot.shown}.")
    return found


def _check_not_inside(source: Spot, target: Spot) -> None:
    same_root = source.entry.root.path == target.entry.root.path
    if same_root and target.rel[: len(source.rel)] == source.rel:
        inside = "the same as" if target.rel == source.rel else "inside"
        raise InvalidArguments(
            f"The destination {target.shown} is {inside} the source {source.shown}.",
            hint="Choose a destination outside of the source.",
        )


# --- moving ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Move:
    """One move, ready to be made."""

    source: Spot
    target: Spot
    status: os.stat_result


def move_file(
    stop: Stop, job: Job, source: Place, destination: Place, *, overwrite: bool
) -> models.Moved:
    """Move or rename a file, directory or link."""
    with (
        name_spot(job.roots, source, Mode.DELETE) as from_,
        name_spot(job.roots, destination, Mode.WRITE, if_missing=MAKE_FIRST) as to,
        locked(stop, from_, to),
    ):
        status = _there(from_)
        _check_not_inside(from_, to)
        if _is_directory(status):
            _free_of_denied(stop, job, from_, "moved")
            _free_of_denied(stop, job, _as_if_at(from_, to), "moved there")
        else:
            check_names_file(source, destination)
        if stat.S_ISREG(status.st_mode):
            job.roots.check_links(source, status)
        move = Move(from_, to, status)
        replaced = to.status()
        if replaced is not None:
            _check_overwrite(job, destination, move, replaced, overwrite=overwrite)
            undo_id = _moved_over(job, move, replaced)
        else:
            undo_id = _moved(stop, job, move)
        sync(from_.fd)
        sync(to.fd)
    return models.Moved(
        source=source.shown,
        destination=destination.shown,
        replaced=replaced is not None,
        undo_id=undo_id,
        content=f"Moved {source.shown} to {destination.shown}.",
    )


def _as_if_at(spot: Spot, at: Spot) -> Spot:
    """Return a spot whose entries are judged by the paths that they will have."""
    return Spot(at.entry, spot.fd, spot.name, at.rel, spot.shown)


def _check_overwrite(
    job: Job, destination: Place, move: Move, replaced: os.stat_result, *, overwrite: bool
) -> None:
    shown = destination.shown
    if _is_directory(replaced):
        inside = destination.entry.shown((*destination.rel, move.source.name))
        raise FileExists(
            f"{shown} is a directory that exists already; directories are not replaced.",
            hint=f"To move it into the directory, name {inside} as destination.",
            path=shown,
        )
    if _is_directory(move.status):
        raise FileExists(
            f"{shown} exists already; directories are not moved over things.",
            hint="Choose another name, or move or delete it first.",
            path=shown,
        )
    if not overwrite:
        raise FileExists(f"{shown} exists already.", path=shown)
    job.roots.require(destination, Mode.DELETE)


def _facts(move: Move) -> dict[str, object]:
    to = move.target
    return {
        "to_alias": to.entry.alias,
        "to_root": to.entry.root.path,
        "to": as_fact(to.rel),
        "identity": identity(move.status),
        "stamp": stamp(move.status),
        "was": identity(move.status),
    }


def _moved(stop: Stop, job: Job, move: Move) -> int | None:
    from_, to = move.source, move.target
    change_id = job.change("move", from_, _facts(move))
    copy: dict[str, object] = {}
    try:
        try:
            rename_new(from_.fd, from_.name, to.fd, to.name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                with telling(_blamed(error, from_, to)):
                    raise
            copy = _across(stop, job, move)
    except BaseException:
        job.history.forget(change_id)
        raise
    return job.finish(change_id, **copy)


def move_back(stop: Stop, job: Job, from_: Spot, back: Spot, status: os.stat_result) -> None:
    """Move something back to where it was, also to another file system, without a history."""
    try:
        rename_new(from_.fd, from_.name, back.fd, back.name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            with telling(_blamed(error, from_, back)):
                raise
        _across(stop, job, Move(from_, back, status))


def _blamed(error: OSError, from_: Spot, to: Spot) -> str:
    return to.shown if error.errno in (errno.EEXIST, errno.ENOTEMPTY) else from_.shown


def _moved_over(job: Job, move: Move, replaced: os.stat_result) -> int | None:
    """Exchange the two, so that the destination is never missing, and put the old one away."""
    from_, to = move.source, move.target
    with Trash(to.entry) as trash:
        name = trash.name_for(to.name)
        facts = {**_facts(move), "trash": os.fsdecode(name)}
        change_id = job.change("move", from_, facts, trash_bytes=max(1, replaced.st_size))
        try:
            with telling(to.shown):
                renameat2(from_.fd, from_.name, to.fd, to.name, exchange=True)
            try:
                trash.put(from_, name)
            except BaseException:
                renameat2(from_.fd, from_.name, to.fd, to.name, exchange=True)
                raise
        except BaseException:
            job.history.forget(change_id)
            raise
    return job.finish(change_id)


def _across(stop: Stop, job: Job, move: Move) -> dict[str, object]:
    """Copy to another file system, then remove the source; return the facts of the copy."""
    from_, to = move.source, move.target
    with _looked_at(from_) as there, written_down(job, to) as temp:
        status = os.fstat(there)
        if stat.S_ISLNK(status.st_mode):
            with telling(to.shown):
                os.symlink(os.readlink(b"", dir_fd=there), to.name, dir_fd=to.fd)
        elif _is_directory(status):
            _copy_tree(stop, job, from_, there, to, temp, moves=True)
        else:
            _copy_bytes(stop, job, there, to, temp, None, moves=True)
    copy = _there(to)
    _remove_copied(job, from_, status, to, copy)
    return {"identity": identity(copy), "stamp": stamp(copy)}


def _remove_copied(
    job: Job, from_: Spot, status: os.stat_result, to: Spot, copy: os.stat_result
) -> None:
    """Remove what was copied to another file system; if it has to stay, the copy goes.

    What of a directory cannot be removed comes back to its place; then the copy, which is whole,
    stays too.

    Raises:
        FileChanged: It is not what was copied any more.
    """
    with written_down(job, from_) as temp:
        try:
            with telling(from_.shown):
                if not take_aside(from_, temp, status):
                    raise changed(from_)
        except BaseException:
            with written_down(job, to) as copied, contextlib.suppress(OSError, FileChanged):
                if take_aside(to, copied, copy):
                    trees.remove(Stop(), to.fd, copied)
            raise
        try:
            with telling(from_.shown):
                trees.remove(Stop(), from_.fd, temp)
        except BaseException:
            put_back(from_, temp)
            raise


# --- copying -----------------------------------------------------------------------------------


def copy_file(
    stop: Stop,
    job: Job,
    source: Place,
    destination: Place,
    *,
    overwrite: bool,
    recursive: bool,
    dry_run: bool,
) -> models.CopyMade:
    """Copy a file, or a directory with what it holds."""
    with (
        held(job.roots, source, Mode.READ) as (there, rel),
        open_spot(job.roots, destination, Mode.WRITE, if_missing=MAKE_FIRST) as to,
    ):
        status = os.fstat(there)
        if _is_directory(status):
            _check_recursive(source, recursive=recursive)
            from_ = Spot(source.entry, there, b".", rel, source.shown)
            _check_not_inside(from_, to)
            found, undo_id = _tree_copy(stop, job, from_, there, to, dry_run=dry_run)
            return _copy_made(source, destination, found, undo_id, [], dry_run=dry_run)
        if not stat.S_ISREG(status.st_mode):
            kind = kind_of(status.st_mode)
            raise NotAFile(f"{source.shown} is not a regular file but a {kind}.", kind=kind)
        check_names_file(source, destination)
        job.roots.check_links(source, status)
        found = Copied(files=1, bytes=status.st_size)
        with locked(stop, to), current_of(stop, to, job.settings.max_write_bytes) as current:
            _check_copy_over(job, destination, current, status, overwrite=overwrite)
            undo_id, notes = (None, []) if dry_run else _file_copy(stop, job, there, to, current)
        return _copy_made(source, destination, found, undo_id, notes, dry_run=dry_run)


def _check_recursive(source: Place, *, recursive: bool) -> None:
    if not recursive:
        raise NotAFile(
            f"{source.shown} is a directory.",
            hint="recursive=true copies a directory with what it holds.",
            kind="directory",
        )


def _check_copy_over(
    job: Job,
    destination: Place,
    current: Current | None,
    source: os.stat_result,
    *,
    overwrite: bool,
) -> None:
    if current is None:
        return
    if os.path.samestat(current.status, source):
        raise InvalidArguments(f"{destination.shown} is the source itself.")
    if not overwrite:
        raise FileExists(f"{destination.shown} exists already.", sha256=current.sha256)
    job.roots.check_links(destination, current.status)


def _file_copy(
    stop: Stop, job: Job, there: int, to: Spot, current: Current | None
) -> tuple[int | None, list[str]]:
    keeps = current is None or (current.data is not None and job.keeps(len(current.data)))
    image = current.data if current is not None and keeps else None
    mode = None if current is None else current.status.st_mode & 0o7777
    temp = temp_name()
    facts: dict[str, object] = {
        "temp": temp.decode(),
        "created": current is None,
        "mode": mode,
        "was": None if current is None else identity(current.status),
    }
    change_id = job.change("copy", to, facts, image=image)
    try:
        status = _copy_bytes(stop, job, there, to, temp, current, moves=False)
    except BaseException:
        job.history.forget(change_id)
        raise
    if not keeps:
        job.history.forget(change_id)
        return None, [NO_WAY_BACK]
    return job.finish(change_id, identity=identity(status), stamp=stamp(status)), []


def _copy_bytes(
    stop: Stop, job: Job, there: int, to: Spot, temp: bytes, current: Current | None, *, moves: bool
) -> os.stat_result:
    """Copy a file, given by an O_PATH descriptor, and put the copy in its place."""
    with telling(to.shown):
        source = trees.reopened(there)
    try:
        with draft(to, temp, private=True) as new:
            with telling(to.shown):
                trees.copy_bytes(stop, source, new.fd, job.settings.max_copy_bytes)
                resemble(new.fd, source, owner=moves, times=moves)
                if job.settings.fsync:
                    os.fsync(new.fd)
                status = os.fstat(new.fd)
            commit(to, new, current)
    finally:
        os.close(source)
    if job.settings.fsync:
        sync(to.fd)
    return status


def _tree_copy(
    stop: Stop, job: Job, from_: Spot, there: int, to: Spot, *, dry_run: bool
) -> tuple[Copied, int | None]:
    if to.status() is not None:
        raise FileExists(
            f"{to.shown} exists already; a directory is only copied to a new name.",
            hint="Choose another name.",
            path=to.shown,
        )
    if dry_run:
        return _planned(stop, job, from_), None
    temp = temp_name()
    change_id = job.change("copy", to, {"temp": temp.decode(), "created": True})
    try:
        found = _copy_tree(stop, job, from_, there, to, temp, moves=False)
        undo_id = job.finish(change_id, identity=identity(_there(to)))
    except BaseException:
        job.history.forget(change_id)
        raise
    return found, undo_id


def _planned(stop: Stop, job: Job, from_: Spot) -> Copied:
    census = _census(stop, job, from_)
    found = Copied(census.files, census.directories, census.links, census.bytes)
    for reason, count in (("denied", census.denied), ("special file", census.special)):
        if count:
            found.reasons[reason] += count
    return found


def _copy_tree(
    stop: Stop, job: Job, from_: Spot, there: int, to: Spot, temp: bytes, *, moves: bool
) -> Copied:
    """Copy a directory, given by an O_PATH descriptor, and put the whole copy in its place.

    Args:
        moves: Keep owner and times, and refuse it when anything has to be left out.
    """
    settings = job.settings
    try:
        with telling(to.shown):
            os.mkdir(temp, 0o700, dir_fd=to.fd)
            made = os.open(temp, trees.DIRECTORY, dir_fd=to.fd)
            try:
                copier = Copier(
                    stop,
                    job.roots,
                    (from_.entry, from_.rel),
                    (to.entry, to.rel),
                    settings.max_tree_entries,
                    settings.max_copy_bytes,
                    settings.fsync,
                    moves,
                )
                found = copier.copy(there, b".", made)
                if moves and found.reasons:
                    raise _not_whole(from_, found)
                trees.finish_directory(made, os.fstat(there), moves=moves)
            finally:
                os.close(made)
            rename_new(to.fd, temp, to.fd, to.name)
    except BaseException:
        with contextlib.suppress(OSError):
            trees.remove(Stop(), to.fd, temp)
        raise
    if settings.fsync:
        sync(to.fd)
    return found


def _not_whole(from_: Spot, found: Copied) -> HoldsDenied:
    return HoldsDenied(
        f"{from_.shown} holds things that cannot be moved to another file system: "
        f"{', '.join(found.reasons)}.",
        entries=found.reasons.total(),
    )


@contextlib.contextmanager
def _looked_at(spot: Spot) -> Iterator[int]:
    """Hold what has a name by an O_PATH descriptor."""
    with telling(spot.shown):
        fd = os.open(spot.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=spot.fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def written_down(job: Job, to: Spot) -> Iterator[bytes]:
    """Give a name for something temporary that is cleaned up even after a crash."""
    temp = temp_name()
    change_id = job.change("copy", to, {"temp": temp.decode(), "created": True})
    try:
        yield temp
    finally:
        job.history.forget(change_id)


def _copy_made(
    source: Place,
    destination: Place,
    found: Copied,
    undo_id: int | None,
    notes: list[str],
    *,
    dry_run: bool,
) -> models.CopyMade:
    skipped = [
        models.Skipped(path=source.entry.shown((*source.rel, *rel)) if rel else None, reason=reason)
        for rel, reason in found.skipped
    ]
    verb = "Would copy" if dry_run else "Copied"
    return models.CopyMade(
        destination=destination.shown,
        files=found.files,
        directories=found.directories,
        links=found.links,
        bytes=found.bytes,
        skipped=skipped,
        skipped_total=found.reasons.total(),
        undo_id=undo_id,
        notes=notes,
        content=f"{verb} {source.shown} to {destination.shown}.",
    )


# --- deleting ----------------------------------------------------------------------------------


def delete_file(
    stop: Stop,
    job: Job,
    place: Place,
    *,
    recursive: bool,
    to_trash: bool,
    dry_run: bool,
    confirm_count: int | None,
) -> models.Deleted:
    """Delete a file, link or directory."""
    with name_spot(job.roots, place, Mode.DELETE) as spot, locked(stop, spot):
        status = _there(spot)
        if not _is_directory(status):
            check_names_file(place)
        if stat.S_ISREG(status.st_mode):
            job.roots.check_links(place, status)
        found = Census(bytes=status.st_size)
        if _is_directory(status):
            found = _free_of_denied(stop, job, spot, "deleted")
            _check_directory(job, spot, found, recursive=recursive)
            if not dry_run:
                _check_confirmed(job, spot, found, confirm_count)
        undo_id = None
        if not dry_run:
            undo_id = _deleted(job, spot, status, found, to_trash=to_trash)
            sync(spot.fd)
    kind, entries = kind_of(status.st_mode), found.entries
    verb = "Would delete" if dry_run else "Deleted"
    return models.Deleted(
        path=place.shown,
        kind=kind,
        entries=entries,
        bytes=found.bytes,
        in_trash=to_trash and not dry_run,
        undo_id=undo_id,
        content=f"{verb} the {kind} {place.shown}"
        + (f" with {entries} entries." if _is_directory(status) else "."),
    )


def _check_directory(job: Job, spot: Spot, found: Census, *, recursive: bool) -> None:
    if found.entries and not recursive:
        raise NotAFile(
            f"{spot.shown} is a directory with {found.entries} entries.",
            hint="recursive=true deletes a directory with what it holds.",
            kind="directory",
            entries=found.entries,
        )


def _check_confirmed(job: Job, spot: Spot, found: Census, confirm_count: int | None) -> None:
    if found.entries > job.settings.confirm_entries and confirm_count is None:
        raise CountNeeded(
            f"{spot.shown} holds {found.entries} entries, more than "
            f"{job.settings.confirm_entries}; say that you mean it.",
            confirm_count=found.entries,
        )
    if confirm_count is not None and confirm_count != found.entries:
        raise CountNeeded(
            f"{spot.shown} holds {found.entries} entries, not {confirm_count}.",
            confirm_count=found.entries,
        )


def _remove(job: Job, spot: Spot, status: os.stat_result) -> None:
    """Remove something for good; a directory is out of the way at once, and gone or there again.

    What cannot be removed comes back to its place, with what of it is left.
    """
    with telling(spot.shown):
        if not _is_directory(status):
            os.unlink(spot.name, dir_fd=spot.fd)
            return
        with written_down(job, spot) as temp:
            if not take_aside(spot, temp, status):
                raise changed(spot)
            try:
                trees.remove(Stop(), spot.fd, temp)
            except BaseException:
                put_back(spot, temp)
                raise


def _deleted(
    job: Job, spot: Spot, status: os.stat_result, found: Census, *, to_trash: bool
) -> int | None:
    if not to_trash:
        _remove(job, spot, status)
        return None
    with Trash(spot.entry) as trash:
        name = trash.name_for(spot.name)
        facts: dict[str, object] = {"trash": os.fsdecode(name), "identity": identity(status)}
        change_id = job.change("delete", spot, facts, trash_bytes=max(1, found.bytes))
        try:
            trash.put(spot, name)
        except BaseException:
            job.history.forget(change_id)
            raise
    return job.finish(change_id)
