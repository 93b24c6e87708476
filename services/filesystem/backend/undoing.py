"""Taking changes back, and cleaning up what a crash left; all of it runs in worker threads.

A change is only taken back while what it left is still there as it left it: the same content, the
same file or directory, an empty directory. Otherwise it is refused, and nothing is lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime

from core.errors import ToolError
from core.files import FileNotThere, NotADirectory, telling
from services.filesystem.backend import trash as trashes
from services.filesystem.backend import trees
from services.filesystem.backend.atomic import (
    Current,
    Spot,
    commit,
    current_of,
    draft,
    fill,
    identity,
    locked,
    name_spot,
    resemble,
    stamp,
    sync,
    take_aside,
)
from services.filesystem.backend.history import Change, History, from_fact
from services.filesystem.backend.moving import move_back, written_down
from services.filesystem.backend.trash import Trash
from services.filesystem.backend.work import Stop
from services.filesystem.backend.writing import Job, drop_old, remove_made
from services.filesystem.errors import ChangeUnknown, FileChanged
from services.filesystem.models import writing as models
from services.filesystem.roots import Place, Roots
from services.filesystem.settings import Mode

logger = logging.getLogger(__name__)


def list_changes(stop: Stop, job: Job, count: int) -> models.Undone:
    """Return the last changes that can be taken back, newest first."""
    found = job.history.recent(job.principal, count)
    changes = [_info(job, change, "can_be_undone") for change in found]
    lines = [f"{c.id}: {c.kind} {c.path}" for c in changes]
    return models.Undone(changes=changes, content="\n".join(lines) or "No changes to undo.")


def undo(stop: Stop, job: Job, *, change_id: int | None, last: int) -> models.Undone:
    """Take back one change, or the last ones until one cannot be.

    Raises:
        ChangeUnknown: There is nothing to take back.
        ToolError: Why the first of them cannot be.
    """
    if change_id is not None:
        one = job.history.find(job.principal, change_id)
        found = [one] if one else []
    else:
        found = job.history.recent(job.principal, last)
    if not found:
        what = "are no changes" if change_id is None else f"is no change {change_id}"
        raise ChangeUnknown(f"There {what} of yours to take back.")
    done: list[models.ChangeInfo] = []
    for change in found:
        try:
            _undo_one(stop, job, job.history.find(job.principal, change.id) or change)
        except ToolError as error:
            if not done:
                raise
            done.append(_info(job, change, "refused", error.message))
            break
        job.history.mark_undone(change.id)
        done.append(_info(job, change, "undone"))
    lines = [f"{c.status} {c.id}: {c.kind} {c.path}" for c in done]
    return models.Undone(changes=done, content="\n".join(lines))


def _info(job: Job, change: Change, status: str, reason: str | None = None) -> models.ChangeInfo:
    to = change.facts.get("to")
    return models.ChangeInfo.model_validate(
        {
            "id": change.id,
            "kind": change.kind,
            "path": _shown(job.roots, change.alias, change.rel),
            "destination": None
            if to is None
            else _shown(job.roots, change.facts["to_alias"], from_fact(to)),
            "at": datetime.fromtimestamp(change.at, UTC).isoformat(timespec="seconds"),
            "status": status,
            "reason": reason,
        }
    )


def _shown(roots: Roots, alias: str, rel: tuple[bytes, ...]) -> str:
    try:
        return roots.entry(alias).shown(rel)
    except (ToolError, KeyError):
        return f"{alias}/…"


def _place(roots: Roots, alias: str, root: str, rel: tuple[bytes, ...], needs: Mode) -> Place:
    """Return a place of the history that may still be changed by this call.

    Raises:
        ChangeUnknown: Its root is another directory now, or none.
    """
    entry = roots.entry(alias) if alias in roots.aliases else None
    if entry is None or entry.root.path != root:
        raise ChangeUnknown(f"The root {alias} of that change is not the same any more.")
    place = Place(entry, rel)
    roots.require(place, needs)
    return place


def _own_place(job: Job, change: Change, needs: Mode = Mode.WRITE) -> Place:
    return _place(job.roots, change.alias, change.root, change.rel, needs)


def _undo_one(stop: Stop, job: Job, change: Change) -> None:
    _UNDO[change.kind](stop, job, change)


def _changed_since(shown: str, sha256: str | None = None) -> FileChanged:
    return FileChanged(
        f"{shown} was changed since, so that change cannot be taken back.",
        hint="Undo the later changes first, or change the file by hand.",
        sha256=sha256,
    )


# --- contents ----------------------------------------------------------------------------------


def _undo_write(stop: Stop, job: Job, change: Change) -> None:
    place = _own_place(job, change)
    with (
        name_spot(job.roots, place, Mode.WRITE) as spot,
        locked(stop, spot),
        current_of(stop, spot, job.settings.max_write_bytes) as current,
    ):
        if current is None or current.sha256 != change.facts["after"]:
            raise _changed_since(spot.shown, None if current is None else current.sha256)
        _restore(stop, job, change, spot, current)


def _restore(stop: Stop, job: Job, change: Change, spot: Spot, current: Current) -> None:
    """Give a file its earlier content and mode, or remove it where there was none."""
    if change.facts["created"]:
        _remove(job, spot, current)
        spot.made = [from_fact(path) for path in change.facts.get("made", [])]
        remove_made(spot)
    else:
        image = job.history.image(change.id)
        if image is None:
            raise ChangeUnknown(f"The earlier content of {spot.shown} was not kept.")
        with written_down(job, spot) as temp, draft(spot, temp, private=True) as new:
            with telling(spot.shown):
                fill(stop, new.fd, image)
                resemble(new.fd, current.fd)
                os.fchmod(new.fd, change.facts["mode"] & ~(stat.S_ISUID | stat.S_ISGID))
                os.fsync(new.fd)
                status = os.fstat(new.fd)
            commit(spot, new, current)
        job.history.is_now(change, identity(status), stamp(status))
    sync(spot.fd)


def _remove(job: Job, spot: Spot, current: Current) -> None:
    """Remove a file, if it is the one that was read: it is taken aside first and looked at."""
    with written_down(job, spot) as temp, telling(spot.shown):
        if not take_aside(spot, temp, current.status):
            raise _changed_since(spot.shown)
        os.unlink(temp, dir_fd=spot.fd)


# --- names -------------------------------------------------------------------------------------


def _undo_create_directory(stop: Stop, job: Job, change: Change) -> None:
    made = [from_fact(path) for path in change.facts["made"]]
    for rel in reversed(made):
        place = _place(job.roots, change.alias, change.root, rel, Mode.WRITE)
        with name_spot(job.roots, place, Mode.WRITE) as spot, telling(spot.shown):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(spot.name, dir_fd=spot.fd)
            sync(spot.fd)


def _undo_move(stop: Stop, job: Job, change: Change) -> None:
    facts = change.facts
    to = _place(job.roots, facts["to_alias"], facts["to_root"], from_fact(facts["to"]), Mode.WRITE)
    place = _own_place(job, change)
    with (
        name_spot(job.roots, to, Mode.WRITE) as from_,
        name_spot(job.roots, place, Mode.WRITE) as back,
        locked(stop, from_, back),
    ):
        status = from_.status()
        if (
            status is None
            or identity(status) != facts["identity"]
            or stamp(status) != facts["stamp"]
        ):
            raise _changed_since(from_.shown)
        move_back(stop, job, from_, back, status)
        now = back.status()
        if now is not None and identity(now) != facts["was"]:  # it came from another disk
            job.history.is_now(change, identity(now), stamp(now))
        if "trash" in facts:
            with Trash(to.entry) as trash:
                trash.take(os.fsencode(facts["trash"]), from_)
        sync(from_.fd)
        sync(back.fd)


def _undo_copy(stop: Stop, job: Job, change: Change) -> None:
    place = _own_place(job, change)
    with name_spot(job.roots, place, Mode.WRITE) as spot, locked(stop, spot):
        status = spot.status()
        if status is None or identity(status) != change.facts["identity"]:
            raise _changed_since(spot.shown)
        if stat.S_ISDIR(status.st_mode):
            _put_away(job, spot)
            return
        with current_of(stop, spot, 0) as current:
            if current is None or stamp(status) != change.facts["stamp"]:
                raise _changed_since(spot.shown)
            _restore(stop, job, change, spot, current)


def _put_away(job: Job, spot: Spot) -> None:
    """Move a copied directory to the trash: what was added to it since is not lost."""
    with Trash(spot.entry) as trash:
        name = trash.name_for(spot.name)
        facts: dict[str, object] = {"trash": os.fsdecode(name)}
        change_id = job.change("delete", spot, facts, trash_bytes=1)
        try:
            trash.put(spot, name)
        except BaseException:
            job.history.forget(change_id)
            raise
    job.finish(change_id)


def _undo_delete(stop: Stop, job: Job, change: Change) -> None:
    place = _own_place(job, change)
    try:
        spot = name_spot(job.roots, place, Mode.WRITE)
    except (FileNotThere, NotADirectory) as error:
        raise FileNotThere(
            f"The directory in which {place.shown} was is not there any more.",
            hint="Create it, then undo again.",
        ) from error
    with spot, locked(stop, spot), Trash(place.entry) as trash:
        trash.take(os.fsencode(change.facts["trash"]), spot)


_UNDO: dict[str, Callable[[Stop, Job, Change], None]] = {
    "write": _undo_write,
    "create_directory": _undo_create_directory,
    "move": _undo_move,
    "copy": _undo_copy,
    "delete": _undo_delete,
}


# --- after a crash -----------------------------------------------------------------------------


def clean_up(stop: Stop, roots: Roots, history: History) -> None:
    """Finish or forget what ended processes had begun, and drop what is too old."""
    for change in history.abandoned():
        try:
            _settle(roots, history, change)
        except (ToolError, KeyError, OSError) as error:
            logger.warning("change %d was cut short and is forgotten: %s", change.id, error)
            history.forget(change.id)
    drop_old(roots, history)
    for entry in roots.entries:
        known = history.trash_names(entry.alias)
        if entry.mode == Mode.DELETE and known is not None and trashes.exists(entry):
            with contextlib.suppress(ToolError), Trash(entry) as trash:
                trash.drop_strays(known, history.oldest)


def _settle(roots: Roots, history: History, change: Change) -> None:
    """Remove the temporary file of a change, which is finished where it had come that far."""
    entry = roots.entry(change.alias)
    if entry.root.path != change.root:
        return
    fd, name = entry.root.open_parent(change.rel)
    with Spot(entry, fd, name, change.rel, entry.shown(change.rel)) as spot:
        if temp := change.facts.get("temp"):
            with contextlib.suppress(FileNotFoundError):
                trees.remove(Stop(), spot.fd, os.fsencode(temp))
        if _was_made(change, spot):
            history.finish(change.id)
        else:
            history.forget(change.id)


def _was_made(change: Change, spot: Spot) -> bool:
    if change.kind == "write":
        with current_of(Stop(), spot, 0, hashed=True) as current:
            return current is not None and current.sha256 == change.facts["after"]
    if change.kind in ("delete", "move"):
        status = spot.status()
        return status is None or identity(status) != change.facts.get("identity")
    return False
