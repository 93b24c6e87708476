"""What was changed, kept so that it can be taken back, and cleaned up after a crash.

One database in the state folder, outside of all roots. A change is written down before it is made
(`pending`, with the name of its temporary file) and again when it is made (`done`). What is pending
of a process that has ended was cut short: `abandoned` gives it to whoever cleans up. A process
shows that it lives by a lock on a file of its own, which the system takes away when it ends.

A history that cannot be written (its disk is full) does not keep files from being changed; they
are then changed without a way back, and the result says so.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from core.files import Rel
from services.filesystem.settings import FilesystemSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")
Kind = Literal["write", "create_directory", "move", "copy", "delete"]
State = Literal["pending", "done", "undone"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    principal TEXT NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    alias TEXT NOT NULL,
    root TEXT NOT NULL,
    rel BLOB NOT NULL,
    facts TEXT NOT NULL,
    image BLOB,
    trash_bytes INTEGER NOT NULL DEFAULT 0
)
"""
_COLUMNS = "id, kind, at, alias, root, rel, facts, state"
BUSY_TIMEOUT_S = 5.0


def as_fact(rel: Rel) -> str:
    """Return a path as text for `Change.facts`; `from_fact` gives it back."""
    return os.fsdecode(b"/".join(rel))


def from_fact(path: str) -> Rel:
    """Return the path that `as_fact` wrote."""
    return tuple(os.fsencode(path).split(b"/"))


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the files.

    Attributes:
        id: 0 before it is written down.
        at: When, in seconds since 1970.
        root: The real path of the root, which another directory may have taken the alias of.
        rel: What was changed, below the root.
        facts: What it takes to undo it, as JSON values; names in them by `os.fsdecode`.
    """

    kind: Kind
    alias: str
    root: str
    rel: Rel
    facts: dict[str, Any] = field(default_factory=dict)
    id: int = 0
    at: float = 0.0
    state: State = "pending"

    @property
    def left_at(self) -> tuple[str, Rel]:
        """Where what was changed is afterwards: the root's alias, and the path below it."""
        if "to" in self.facts:
            return self.facts["to_alias"], from_fact(self.facts["to"])
        return self.alias, self.rel


class History:
    """The changes of all processes that share a state folder. Thread-safe.

    Args:
        folder: Made at the first use, for the server's user only.
        max_bytes: Of earlier contents together; older ones are dropped.
        max_trash_bytes: Of deleted things together.
        max_age_s: Seconds after which a change is dropped.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_changes: int,
        max_bytes: int,
        max_trash_bytes: int,
        max_age_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_changes = max_changes
        self.max_bytes = max_bytes
        self._max_trash_bytes = max_trash_bytes
        self._max_age_s = max_age_s
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._owner = secrets.token_hex(8)
        self._owner_fd = -1

    @property
    def oldest(self) -> float:
        """The time, in seconds since 1970, before which nothing is kept."""
        return self._clock() - self._max_age_s

    @classmethod
    def of(cls, settings: FilesystemSettings, state_dir: Path) -> History:
        """Return the history that the settings describe, below the server's state folder."""
        return cls(
            state_dir / "filesystem",
            max_changes=settings.history_changes,
            max_bytes=settings.history_bytes,
            max_trash_bytes=settings.trash_bytes,
            max_age_s=settings.trash_days * 86_400,
        )

    # --- writing down -------------------------------------------------------------------------

    def begin(
        self, change: Change, principal: str, *, image: bytes | None = None, trash_bytes: int = 0
    ) -> int | None:
        """Write down a change that is about to be made; return its id, None when that failed.

        Args:
            image: The content that it replaces.
            trash_bytes: The size of what it moves to the trash.
        """
        row = (
            "pending",
            self._owner,
            principal,
            self._clock(),
            change.kind,
            change.alias,
            change.root,
            b"/".join(change.rel),
            json.dumps(change.facts),
            image,
            trash_bytes,
        )

        def insert(db: sqlite3.Connection) -> int | None:
            return db.execute(
                "INSERT INTO changes (state, owner, principal, at, kind, alias, root, rel, facts, "
                "image, trash_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid

        return self._try("write down a change", insert, None)

    def finish(self, change_id: int | None, **facts: Any) -> int | None:
        """Write down that a change was made; return its id, None when it cannot be undone."""
        if change_id is None:
            return None

        def update(db: sqlite3.Connection) -> int | None:
            (known,) = db.execute("SELECT facts FROM changes WHERE id = ?", (change_id,)).fetchone()
            db.execute(
                "UPDATE changes SET state = 'done', facts = ? WHERE id = ?",
                (json.dumps({**json.loads(known), **facts}), change_id),
            )
            return change_id if self.max_changes else None

        return self._try("write down a change", update, None)

    def forget(self, change_id: int | None) -> None:
        """Drop a change that was not made, or that is of no more use."""
        if change_id is not None:
            self._change("DELETE FROM changes WHERE id = ?", change_id)

    def mark_undone(self, change_id: int) -> None:
        """Write down that a change was taken back."""
        self._change("UPDATE changes SET state = 'undone' WHERE id = ?", change_id)

    def _change(self, sql: str, change_id: int) -> None:
        self._try("change what it has", lambda db: db.execute(sql, (change_id,)), None)

    def is_now(self, undone: Change, now: list[int], stamp: list[int] | None) -> None:
        """Write down that a file which earlier changes left is there again as another.

        Taking back a later change made it anew, so the earlier ones know it no more. They are
        found by the way that the file went: numbers of files that are gone are used again.

        Args:
            undone: What was taken back; its fact `was` told the file from all others.
            now: What tells it now, and `stamp` its state.
        """

        def update(db: sqlite3.Connection) -> None:
            place = (undone.alias, undone.rel)
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM changes WHERE state = 'done' AND id < ? ORDER BY id DESC",  # noqa: S608 - constant
                (undone.id,),
            )
            for change in [_change(row) for row in rows]:
                facts = change.facts
                if facts.get("identity") == undone.facts["was"] and change.left_at == place:
                    text = json.dumps({**facts, "identity": now, "stamp": stamp})
                    db.execute("UPDATE changes SET facts = ? WHERE id = ?", (text, change.id))
                    place = (change.alias, change.rel)

        self._try("follow a file", update, None)

    # --- looking up ---------------------------------------------------------------------------

    def recent(self, principal: str, count: int) -> list[Change]:
        """Return a caller's last changes that were not undone, newest first."""
        return self._found(
            f"SELECT {_COLUMNS} FROM changes WHERE principal = ? AND state = 'done' "  # noqa: S608 - constant
            "ORDER BY id DESC LIMIT ?",
            principal,
            count,
        )

    def find(self, principal: str, change_id: int) -> Change | None:
        """Return one of a caller's changes that were made and not undone."""
        found = self._found(
            f"SELECT {_COLUMNS} FROM changes WHERE principal = ? AND state = 'done' "  # noqa: S608 - constant
            "AND id = ?",
            principal,
            change_id,
        )
        return found[0] if found else None

    def _found(self, sql: str, *values: object) -> list[Change]:
        def select(db: sqlite3.Connection) -> list[Change]:
            return [_change(row) for row in db.execute(sql, values)]

        return self._try("look up changes", select, [])

    def image(self, change_id: int) -> bytes | None:
        """Return the content that a change replaced."""

        def select(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT image FROM changes WHERE id = ?", (change_id,)).fetchone()
            return row[0] if row else None

        return self._try("read an earlier content", select, None)

    # --- cleaning up --------------------------------------------------------------------------

    def prune(self) -> list[Change]:
        """Drop what is too old or too much, and return it, so that its trash can be emptied."""
        return self._try("drop old changes", self._pruned, [])

    def _pruned(self, db: sqlite3.Connection) -> list[Change]:
        rows = db.execute(
            "SELECT id, at, coalesce(length(image), 0), trash_bytes FROM changes "
            "WHERE state != 'pending' ORDER BY id DESC"
        ).fetchall()
        dropped = list(self._beyond(rows))
        if not dropped:
            return []
        chosen = f"WHERE id IN ({', '.join('?' * len(dropped))})"
        found = db.execute(f"SELECT {_COLUMNS} FROM changes {chosen}", dropped)  # noqa: S608 - marks
        changes = [_change(row) for row in found]
        db.execute(f"DELETE FROM changes {chosen}", dropped)  # noqa: S608 - marks only
        return changes

    def _beyond(self, rows: list[tuple[int, float, int, int]]) -> Iterator[int]:
        count = image_bytes = trash_bytes = 0
        for change_id, at, image, trash in rows:
            count, image_bytes, trash_bytes = count + 1, image_bytes + image, trash_bytes + trash
            if (
                count > self.max_changes
                or (image and image_bytes > self.max_bytes)
                or (trash and trash_bytes > self._max_trash_bytes)
                or at < self.oldest
            ):
                yield change_id

    def abandoned(self) -> list[Change]:
        """Return the changes that processes began which have ended, and take them over."""
        return self._try("look for what was cut short", self._taken_over, [])

    def _taken_over(self, db: sqlite3.Connection) -> list[Change]:
        owners = db.execute(
            "SELECT DISTINCT owner FROM changes WHERE state = 'pending' AND owner != ?",
            (self._owner,),
        ).fetchall()
        changes: list[Change] = []
        for (owner,) in owners:
            if self._has_ended(owner):
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM changes WHERE state = 'pending' AND owner = ?",  # noqa: S608 - constant
                    (owner,),
                )
                changes += [_change(row) for row in rows]
                db.execute(
                    "UPDATE changes SET owner = ? WHERE state = 'pending' AND owner = ?",
                    (self._owner, owner),
                )
        return changes

    def trash_names(self, alias: str) -> set[str] | None:
        """Return the names in a root's trash that belong to a change; None when that failed."""

        def select(db: sqlite3.Connection) -> set[str] | None:
            rows = db.execute("SELECT facts FROM changes WHERE alias = ?", (alias,))
            return {str(json.loads(facts).get("trash")) for (facts,) in rows}

        return self._try("list the trash", select, None)

    # --- the database and the sign of life ----------------------------------------------------

    def _try(self, purpose: str, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Return what some work in one transaction returns; `otherwise` where it fails."""
        try:
            with self._lock, self._open() as db:
                return work(db)
        except (sqlite3.Error, OSError) as error:
            logger.warning("the history of changes failed to %s: %s", purpose, error)
            return otherwise

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._owner_fd = os.open(
                self._owner_file(self._owner), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._owner_fd, fcntl.LOCK_EX)
            file = self._folder / "changes.sqlite"
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            db = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            db.execute("PRAGMA auto_vacuum = FULL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(_SCHEMA)
            self._db = db
        return self._db

    def _owner_file(self, owner: str) -> Path:
        return self._folder / f"process-{owner}.lock"

    def _has_ended(self, owner: str) -> bool:
        file = self._owner_file(owner)
        try:
            fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            file.unlink(missing_ok=True)
            return True
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the database and take the sign of life back."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None
            if self._owner_fd >= 0:
                self._owner_file(self._owner).unlink(missing_ok=True)
                os.close(self._owner_fd)
                self._owner_fd = -1


def _change(row: tuple[Any, ...]) -> Change:
    change_id, kind, at, alias, root, rel, facts, state = row
    names = tuple(rel.split(b"/")) if rel else ()
    return Change(kind, alias, root, names, json.loads(facts), change_id, at, state)
