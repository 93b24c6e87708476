"""What the kernel tells of a directory that is held open."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.files.inotify import (
    APPEARED,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    DELETE_SELF,
    IGNORED,
    IS_DIR,
    MOVED_FROM,
    MOVED_TO,
    Event,
    Inotify,
)


@pytest.fixture
def queue() -> Iterator[Inotify]:
    """A queue that is closed at the end."""
    inotify = Inotify()
    yield inotify
    inotify.close()


def watched(queue: Inotify, folder: Path) -> int:
    """Watch a folder and return the watch's number."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return queue.add(fd)
    finally:
        os.close(fd)


def waiting(queue: Inotify) -> list[Event]:
    """Return what waits, after at most five seconds."""
    select.select([queue.fd], [], [], 5)
    return queue.read()


def test_names_of_entries_are_told(queue: Inotify, tmp_path: Path) -> None:
    """inotify(7): a write is a creation, a change and the end of writing."""
    number = watched(queue, tmp_path)
    (tmp_path / "été").write_text("x")
    (tmp_path / "folder").mkdir()
    events = waiting(queue)
    assert {e.watch for e in events} == {number}
    assert [e.name.decode() for e in events if e.mask & CREATE] == ["été", "folder"]
    assert any(e.mask & CLOSE_WRITE for e in events)
    assert events[-1].mask & IS_DIR


def test_both_halves_of_a_rename_have_one_cookie(queue: Inotify, tmp_path: Path) -> None:
    """inotify(7): so that they can be put together."""
    (tmp_path / "a").touch()
    watched(queue, tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    first, second = waiting(queue)
    assert (first.mask, first.name) == (MOVED_FROM, b"a")
    assert (second.mask, second.name) == (MOVED_TO, b"b")
    assert first.cookie == second.cookie != 0


def test_the_watch_stays_with_the_directory_that_was_opened(queue: Inotify, tmp_path: Path) -> None:
    """A link that is put in its place is not followed."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    fd = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    inside.rename(tmp_path / "old")
    inside.symlink_to(outside)
    queue.add(fd)
    os.close(fd)
    (inside / "secret").touch()
    (tmp_path / "old" / "mine").touch()
    assert {e.name for e in waiting(queue)} == {b"mine"}


def test_links_below_are_not_followed(queue: Inotify, tmp_path: Path) -> None:
    """What lies behind a link is another directory, which nobody asked to watch."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    watched(queue, inside)
    (outside / "secret").touch()
    (inside / "last").touch()
    assert {e.name for e in waiting(queue)} == {b"last"}


def test_the_end_of_a_directory_is_told(queue: Inotify, tmp_path: Path) -> None:
    """So that whoever watches it can look for the one that comes in its place."""
    folder = tmp_path / "folder"
    folder.mkdir()
    watched(queue, folder)
    folder.rmdir()
    assert [e.mask for e in waiting(queue)] == [DELETE_SELF, IGNORED]


def test_a_removed_watch_tells_nothing_more(queue: Inotify, tmp_path: Path) -> None:
    """But that it has ended."""
    number = watched(queue, tmp_path)
    queue.remove(number)
    queue.remove(number)
    (tmp_path / "a").touch()
    assert [e.mask for e in waiting(queue)] == [IGNORED]


def test_a_closed_queue_takes_nothing(tmp_path: Path) -> None:
    """A thread may come too late; the number of the descriptor may be another's by then."""
    queue = Inotify()
    queue.close()
    queue.close()
    assert queue.read() == []
    with pytest.raises(OSError, match="Bad file descriptor") as refused:
        watched(queue, tmp_path)
    assert refused.value.errno == errno.EBADF


def test_a_file_is_not_watched(queue: Inotify, tmp_path: Path) -> None:
    """Only directories are: a file that is replaced would end its watch."""
    (tmp_path / "a").touch()
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        queue.add(fd)
    os.close(fd)


def test_many_changes_come_in_order(queue: Inotify, tmp_path: Path) -> None:
    """In several reads, none lost."""
    watched(queue, tmp_path)
    names = [f"{number:0200}".encode() for number in range(1000)]
    for name in names:
        (tmp_path / name.decode()).symlink_to("nowhere")
    seen: list[bytes] = []
    while len(seen) < len(names):
        seen += [e.name for e in waiting(queue) if e.mask & (APPEARED | DELETE)]
    assert seen == names
