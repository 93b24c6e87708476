"""Walks over trees that are deep, wide, odd, hostile, or changing meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.files import renameat2
from core.testing import Client
from services.filesystem.backend import walking
from services.filesystem.backend.contents import Limits, Wanted
from services.filesystem.backend.globs import Globs
from services.filesystem.backend.searching import (
    GoOn,
    NameQuery,
    Scope,
    TextQuery,
    search_names,
    search_text,
)
from services.filesystem.backend.walking import Tally
from services.filesystem.backend.work import Stop
from services.filesystem.roots import Roots
from services.filesystem.settings import FilesystemSettings, Mode
from tests.services.filesystem.conftest import client_of

CANARY = "canary-7f3a"


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that succeeds and return its structured result."""
    result = await client.call(tool, **{"path": "docs", **arguments})
    assert result.structured is not None, result.text
    return result.structured


def open_descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def scope_of(docs: Path, *, max_depth: int = 64, gitignore: bool = False) -> Scope:
    """Return all of a directory as what is searched."""
    roots = Roots.of(FilesystemSettings.from_dict({"roots": f"docs={docs}"}), docs)
    return Scope(roots, roots.place("docs", Mode.LIST), max_depth, gitignore)


def text_query(pattern: str, limit: int = 10_000) -> TextQuery:
    """Return a search for plain text."""
    wanted = Wanted.of(pattern, is_regex=False, ignore_case=False, word=False, multiline=False)
    return TextQuery(wanted, "lines", None, Limits(), limit, 900_000)


# --- odd things ----------------------------------------------------------------------------------


async def test_special_files_are_listed_and_never_opened(client: Client, docs: Path) -> None:
    """Opening the FIFO would block, reading the device would not end."""
    os.mkfifo(docs / "fifo")
    (docs / "text").write_text(CANARY)
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(docs):
        listener.bind("socket")
        expected = 2
        with contextlib.suppress(PermissionError):  # only root may make devices
            os.mknod("zero", 0o600 | 0o020000, os.makedev(1, 5))
            expected = 3
        found = await answer(client, "grep_files", pattern=CANARY)
        named = await answer(client, "search_files", pattern="*", kind="other")
    assert [file["path"] for file in found["files"]] == ["docs/text"]
    assert found["skipped"] == {"special": expected}
    assert named["returned"] == expected


async def test_links_are_shown_and_not_followed(client: Client, docs: Path, tmp_path: Path) -> None:
    """Neither into a loop nor to the outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text(CANARY)
    (docs / "d").mkdir()
    (docs / "d/loop").symlink_to("..")
    (docs / "out").symlink_to(tmp_path / "outside")
    (docs / "file").symlink_to(tmp_path / "outside/secret")
    found = await answer(client, "search_files", pattern="**")
    assert [(entry["path"], entry["kind"]) for entry in found["entries"]] == [
        ("docs/d", "directory"),
        ("docs/file", "symlink"),
        ("docs/out", "symlink"),
        ("docs/d/loop", "symlink"),
    ]
    assert (await answer(client, "grep_files", pattern=CANARY))["files"] == []


async def test_odd_names_come_back_as_uris_that_work(client: Client, docs: Path) -> None:
    """Bytes that are no UTF-8, line ends, marks of direction; cursors go over them, too."""
    names = [b"a\xff", b"b\nc", "d\u202ee".encode(), b"plain"]
    for name in names:
        (docs / os.fsdecode(name)).write_bytes(name + CANARY.encode())
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await answer(client, "search_files", pattern="**", limit=1, cursor=cursor)
        seen += [entry["path"] for entry in page["entries"]]
        cursor = page["next_cursor"]
    assert len(seen) == 4
    assert [path.startswith("file://") for path in seen] == [True, True, True, False]
    for path in seen:
        info = await client.call("get_file_info", path=path)
        assert info.structured is not None, info.text
    found = await answer(client, "grep_files", pattern=CANARY)
    assert [file["path"] for file in found["files"]] == seen


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_what_may_not_be_read_is_counted(client: Client, docs: Path) -> None:
    """The rest is found."""
    (docs / "closed").mkdir(mode=0)
    (docs / "file").write_text(CANARY)
    (docs / "file2").touch(mode=0)
    found = await answer(client, "grep_files", pattern=CANARY)
    assert (found["returned"], found["skipped"]) == (1, {"unreadable": 2})


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOENT, None),
        (errno.ELOOP, None),
        (errno.ENOTDIR, None),
        (errno.EACCES, "unreadable"),
        (errno.EPERM, "unreadable"),
        (errno.ENXIO, "special"),
        (errno.ESPIPE, "special"),
        (errno.EIO, "failed"),
    ],
)
def test_an_error_of_the_system_has_its_reason(number: int, reason: str | None) -> None:
    """None for what vanished, or turned into a link, since its name was read."""
    assert walking.reason_of(OSError(number, "")) == reason


# --- deep and wide -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directories, 10,000 below each other."""
    folder = tmp_path_factory.mktemp("deep") / "docs"
    folder.mkdir()
    fd = os.open(folder, os.O_DIRECTORY)
    for _ in range(10_000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)  # shutil recurses


def test_a_deep_tree_costs_few_descriptors(deep: Path) -> None:
    """As deep as paths can be told; the rest is counted, and nothing recurses."""
    scope, tally = scope_of(deep, max_depth=100_000), Tally()
    gc.collect()  # closes the roots of earlier tests now rather than meanwhile
    before = open_descriptors()
    most = 0
    fd = scope.roots.open_dir(scope.place)
    depth = 0
    for level in scope.walk(fd, Stop(), tally, None):
        depth = max(depth, len(level.names))
        most = max(most, open_descriptors())
    os.close(fd)
    assert 1_900 < depth < 2_000
    assert tally.skipped["too_deep"] == 1
    assert most - before < walking.HELD_OPEN + 8
    assert open_descriptors() == before


async def test_the_setting_for_depth_is_kept_and_told(deep: Path, tmp_path: Path) -> None:
    """Sixty-four directories below each other, unless the operator says otherwise."""
    async with client_of(tmp_path, roots=f"docs={deep}") as client:
        found = await answer(client, "search_files", pattern="**/d")
    assert found["returned"] == 65
    assert found["skipped"] == {"too_deep": 1}


def test_a_walk_comes_back_to_directories_that_it_had_closed(docs: Path) -> None:
    """Which it does for each one above the 32 that it keeps open."""
    path = docs
    for depth in range(100):
        for name in ("b", "c"):
            (path / name).mkdir()
        (path / f"f{depth}").touch()
        path = path / "b"
    query = NameQuery(Globs(["**/c", "**/f*"]))
    page = search_names(
        Stop(), scope_of(docs, max_depth=500), query, Tally(), after=None, limit=999
    )
    assert len(page.hits) == 200
    assert page.total == 200


async def test_a_hundred_thousand_entries_are_listed_in_pages(client: Client, docs: Path) -> None:
    """In one directory; each page takes a fraction of a second."""
    fd = os.open(docs, os.O_DIRECTORY)
    for number in range(100_000):
        os.close(os.open(f"{number:06}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    page = await answer(client, "list_directory", limit=10)
    assert (page["returned"], page["total"]) == (10, 100_000)
    page = await answer(client, "list_directory", limit=10, cursor=page["next_cursor"])
    assert page["entries"][0]["name"] == "000010"
    found = await answer(client, "search_files", pattern="09999?")
    assert found["returned"] == 10
    tree = await answer(client, "directory_tree")
    assert tree["truncated_by"] == "bytes"
    assert len(tree["tree"]) == tree["shown"] + 1
    assert tree["tree"][-1]["name"] == f"… {100_000 - tree['shown']} more"


# --- changes meanwhile ---------------------------------------------------------------------------


@contextlib.contextmanager
def repeating(action: Callable[[], None]) -> Iterator[None]:
    """Repeat something in a thread until the block ends."""
    done = threading.Event()

    def repeat() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_swapped_entries_never_lead_outside(docs: Path, tmp_path: Path) -> None:
    """Thousands of searches, while a directory and a file turn into links and back.

    The names and contents outside never appear; a walk by paths shows them within a second.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in (f"name-{CANARY}", "file"):
        (outside / name).write_text(CANARY)
    for name in ("d", "d2"):
        (docs / name).mkdir()
        (docs / name / "file").write_text("inside")
    (docs / "dir-link").symlink_to(outside)
    (docs / "file-link").symlink_to(outside / "file")

    def swap() -> None:
        exchange(docs, "d", "dir-link")
        exchange(docs / "d2", "file", "../file-link")

    scope = scope_of(docs)
    names, text = NameQuery(Globs(["**"])), text_query(CANARY)
    found_inside = 0
    with repeating(swap):
        for _ in range(2_000):
            assert not search_text(Stop(), scope, text, Tally(), after=None).files
            page = search_names(Stop(), scope, names, Tally(), after=None, limit=1_000)
            assert not [hit.path for hit in page.hits if CANARY in hit.path]
            found_inside += sum(hit.name == "file" for hit in page.hits)
    assert found_inside > 2_000


def exchange(folder: Path, one: str, other: str) -> None:
    """Exchange two names in one step, so that both are always there."""
    fd = os.open(folder, os.O_DIRECTORY)
    try:
        renameat2(fd, one.encode(), fd, other.encode(), exchange=True)
    finally:
        os.close(fd)


def test_what_is_moved_outside_is_not_shown(docs: Path, tmp_path: Path) -> None:
    """A directory that leaves its root while it is open is still open, and nothing of it shows."""
    (docs / "d").mkdir()
    (docs / "d/file").write_text("inside")
    scope, tally = scope_of(docs), Tally()
    fd = scope.roots.open_dir(scope.place)
    walk = scope.walk(fd, Stop(), tally, None)
    seen = []
    for level in walk.levels():
        if level.names == ("d",):
            os.rename(docs / "d", tmp_path / "moved")
            (tmp_path / "moved/file").write_text(CANARY)
        seen.append((level.names, walk.is_in_place(level)))
    os.close(fd)
    assert seen == [((), True), (("d",), False)]
    assert tally.skipped == {"moved": 1}


async def test_entries_that_come_and_go_are_no_error(client: Client, docs: Path) -> None:
    """Directories are made and removed while searches run."""
    (docs / "stays").write_text("x")

    def churn() -> None:
        (docs / "t/u").mkdir(parents=True)
        (docs / "t/u/f").write_text("x")
        shutil.rmtree(docs / "t", ignore_errors=True)

    with repeating(churn):
        for _ in range(200):
            found = await answer(client, "grep_files", pattern="x")
            assert "docs/stays" in [file["path"] for file in found["files"]]
            await answer(client, "directory_tree")
            await answer(client, "list_directory_with_sizes")
    assert "failed" not in found["skipped"]


# --- an end before the end -----------------------------------------------------------------------


class Late(Stop):
    """Asked to stop after it was looked at so many times."""

    __slots__ = ("left",)

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    @property
    def is_late(self) -> bool:
        """Whether the looks are used up."""
        self.left -= 1
        return self.left < 0


def wide(docs: Path) -> None:
    """Make some directories with files in each."""
    for number in range(60):
        folder = docs / f"d{number % 4}" / f"e{number}"
        folder.mkdir(parents=True)
        for name in "abcdefghijklmnopqrstuvwxyz":
            (folder / name).write_text(f"x {name}\n" * 3)


def test_a_search_that_ran_out_of_time_goes_on_where_it_was(docs: Path) -> None:
    """Pages that each end after a while join to the whole, line by line."""
    wide(docs)
    scope, query = scope_of(docs), text_query("x")
    whole = search_text(Stop(), scope, query, Tally(), after=None)
    lines = [(file.path, line.line) for file in whole.files for line in file.lines]
    assert len(lines) == 60 * 26 * 3
    seen: list[tuple[str, int]] = []
    after: GoOn | None = None
    pages = 0
    while True:
        page = search_text(Late(200), scope, query, Tally(), after=after)
        seen += [(file.path, line.line) for file in page.files for line in file.lines]
        pages += 1
        if page.ended is None:
            break
        assert page.ended == "time"
        after = GoOn.from_json(page.go_on.to_json() if page.go_on else None)
    assert pages > 3
    assert seen == lines


def test_a_last_line_without_an_end_is_found_once(docs: Path) -> None:
    """Also when time is over just after it was found."""
    for name in ("a", "b"):
        (docs / name).write_text("x\nx")
    scope, query = scope_of(docs), text_query("x")
    pages = set()
    for looks in range(12):
        seen, after, count = [], None, 0
        for count in range(9):
            page = search_text(Late(looks), scope, query, Tally(), after=after)
            seen += [(file.path, line.line) for file in page.files for line in file.lines]
            after = page.go_on
            if page.ended is None:
                assert seen == [(f"docs/{name}", line) for name in "ab" for line in (1, 2)]
                pages.add(count)
                break
    assert {0, 1} <= pages  # with too few looks, no page gets as far as a file


def test_a_search_by_name_goes_on_after_its_time_was_over(docs: Path) -> None:
    """Behind the last directory that it had seen as a whole."""
    wide(docs)
    scope, query = scope_of(docs), NameQuery(Globs(["**/[a-m]"]))
    seen: list[str] = []
    after: GoOn | None = None
    pages = 0
    while True:
        page = search_names(Late(40), scope, query, Tally(), after=after, limit=10_000)
        seen += [hit.path for hit in page.hits]
        pages += 1
        if not page.is_late:
            break
        after = page.late_at
    assert pages > 3
    assert len(seen) == len(set(seen)) == 60 * 13


async def test_the_time_limit_gives_what_was_found(docs: Path) -> None:
    """With truncated_by=time; the server has a limit of a millisecond here."""
    wide(docs)
    async with client_of(docs.parent, roots=f"docs={docs}", search_time_limit_s=0.001) as client:
        found = await answer(client, "grep_files", pattern="nothing of this kind")
        named = await answer(client, "search_files", pattern="nothing")
        tree = await answer(client, "directory_tree")
    assert (found["truncated_by"], found["total"]) == ("time", None)
    assert (named["truncated_by"], named["total"]) == ("time", None)
    assert tree["truncated_by"] == "time"


async def test_a_cancelled_search_ends_within_milliseconds(docs: Path) -> None:
    """The thread is free again while a search of the whole would have gone on."""
    wide(docs)
    stop = Stop()
    started = threading.Event()
    scope = scope_of(docs)
    count = 0

    def endless() -> None:
        nonlocal count
        while not stop.is_set:
            search_text(stop, scope, text_query("nothing of this kind"), Tally(), after=None)
            count += 1
            started.set()

    task = asyncio.create_task(asyncio.to_thread(endless))
    await asyncio.to_thread(started.wait)
    asked_at = time.monotonic()
    stop.set()
    await task
    assert time.monotonic() - asked_at < 0.25
    page = search_text(stop, scope, text_query("x"), Tally(), after=None)
    assert (page.files, page.ended) == ([], "time")


async def test_no_descriptor_is_left_open(client: Client, docs: Path) -> None:
    """After pages that ended early, errors and whole searches."""
    wide(docs)
    await answer(client, "grep_files", pattern="x")
    before = open_descriptors()
    for _ in range(5):
        await answer(client, "grep_files", pattern="x", limit=3)
        await answer(client, "search_files", pattern="**", limit=3)
        await answer(client, "directory_tree", max_depth=1)
        await client.call("grep_files", path="docs/none", pattern="x")
        await client.call("list_directory", path="docs/d0/e0/a")
    assert open_descriptors() == before
