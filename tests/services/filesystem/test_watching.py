"""watch_directory: what is told, when it ends, and what nobody is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.testing import CallResult, Client
from services.filesystem.backend import watching
from services.filesystem.backend.watching import Ledger, TreeWatch
from services.filesystem.backend.work import Stop
from services.filesystem.roots import Roots
from services.filesystem.settings import FilesystemSettings, Mode
from tests.services.filesystem.conftest import client_of


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set when a watch has begun."""
    begun = asyncio.Event()
    wait = watching.wait

    async def told(*args: Any) -> Any:
        begun.set()
        return await wait(*args)

    monkeypatch.setattr(watching, "wait", told)
    return begun


async def changes_of(
    client: Client, watched: asyncio.Event, act: Callable[[], object], **arguments: Any
) -> dict[str, Any]:
    """Return what the tool answers when `act` is done while it waits."""
    call = asyncio.create_task(client.call("watch_directory", path="docs", **arguments))
    await watched.wait()
    await asyncio.to_thread(act)
    result: CallResult = await call
    assert result.structured is not None, result.text
    return result.structured


def inotify_descriptors() -> int:
    """Return how many queues of changes this process has open."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += "inotify" in os.readlink(f"/proc/self/fd/{number}")
    return count


def told(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return kind and path of each change."""
    return [(change["kind"], change["path"]) for change in answer["changes"]]


# --- what is told ----------------------------------------------------------------------------


async def test_each_kind_of_change_is_told(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """As it is at the end of the call, compared with its beginning."""
    for name in ("old.txt", "gone.txt", "from.txt"):
        (docs / name).write_text("before")

    def act() -> None:
        (docs / "old.txt").write_text("after")
        (docs / "new.txt").write_text("new")
        (docs / "gone.txt").unlink()
        (docs / "from.txt").rename(docs / "to.txt")
        (docs / "folder").mkdir()

    answer = await changes_of(client, watched, act)
    assert told(answer) == [
        ("modified", "docs/old.txt"),
        ("created", "docs/new.txt"),
        ("deleted", "docs/gone.txt"),
        ("moved", "docs/to.txt"),
        ("created", "docs/folder"),
    ]
    assert answer["changes"][3]["origin"] == "docs/from.txt"
    assert [c["is_directory"] for c in answer["changes"]] == [False] * 4 + [True]
    assert answer["ended_by"] == "quiet"
    assert answer["complete"]
    assert answer["returned"] == 5
    assert not answer["truncated"]


async def test_the_answer_comes_when_it_is_quiet(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """A tenth of a second after the last of a series of changes, long before the timeout."""

    def act() -> None:
        for number in range(5):
            (docs / f"{number}.txt").write_text("x")
            time.sleep(0.05)

    answer = await changes_of(client, watched, act, timeout_s=20)
    assert answer["returned"] == 5
    assert answer["waited_ms"] < 3_000


async def test_no_changes_is_an_answer(client: Client, docs: Path) -> None:
    """At the end of the time that the caller gave."""
    result = await client.call("watch_directory", path="docs", timeout_s=0.2)
    assert result.structured is not None
    assert result.structured["changes"] == []
    assert result.structured["ended_by"] == "timeout"
    assert 150 <= result.structured["waited_ms"] < 3_000


async def test_a_file_that_an_editor_replaces_is_modified(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """Editors write another file and rename it, or move the old one away first."""
    (docs / "one.txt").write_text("before")
    (docs / "two.txt").write_text("before")

    def act() -> None:
        (docs / "one.txt.swap").write_text("after")
        (docs / "one.txt.swap").rename(docs / "one.txt")
        (docs / "two.txt").rename(docs / "two.txt~")
        (docs / "two.txt").write_text("after")
        (docs / "two.txt~").unlink()

    answer = await changes_of(client, watched, act)
    assert sorted(told(answer)) == [("modified", "docs/one.txt"), ("modified", "docs/two.txt")]


async def test_directories_that_appear_are_watched_too(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """With all that is in them, however fast it was put there."""

    def act() -> None:
        (docs / "a" / "b" / "c").mkdir(parents=True)
        (docs / "a" / "b" / "c" / "deep.txt").write_text("x")
        time.sleep(0.05)
        (docs / "a" / "b" / "later.txt").write_text("x")

    answer = await changes_of(client, watched, act)
    assert set(told(answer)) == {
        ("created", "docs/a"),
        ("created", "docs/a/b"),
        ("created", "docs/a/b/c"),
        ("created", "docs/a/b/c/deep.txt"),
        ("created", "docs/a/b/later.txt"),
    }


async def test_what_changes_in_a_directory_that_was_moved_has_its_new_path(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """The kernel's watch stays with the directory; the path that is told does not."""
    (docs / "a" / "sub").mkdir(parents=True)
    (docs / "a" / "sub" / "x.txt").write_text("x")

    def act() -> None:
        (docs / "a" / "sub" / "x.txt").write_text("y")
        (docs / "a").rename(docs / "b")
        time.sleep(0.05)
        (docs / "b" / "sub" / "new.txt").write_text("x")

    answer = await changes_of(client, watched, act)
    assert sorted(told(answer)) == [
        ("created", "docs/b/sub/new.txt"),
        ("modified", "docs/b/sub/x.txt"),
        ("moved", "docs/b"),
    ]


async def test_only_the_directory_itself_when_not_recursive(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """What lies deeper is not watched."""
    (docs / "sub").mkdir()

    def act() -> None:
        (docs / "sub" / "deep.txt").write_text("x")
        (docs / "flat.txt").write_text("x")

    answer = await changes_of(client, watched, act, recursive=False)
    assert told(answer) == [("created", "docs/flat.txt")]
    assert answer["watched_directories"] == 1


async def test_patterns_choose_what_is_told_and_waited_for(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """A change of something else does not end the call."""

    def act() -> None:
        (docs / "a.log").write_text("x")
        time.sleep(0.3)
        (docs / "sub").mkdir()
        (docs / "sub" / "a.py").write_text("x")

    answer = await changes_of(client, watched, act, patterns=["**/*.py"])
    assert told(answer) == [("created", "docs/sub/a.py")]


async def test_more_changes_than_the_limit_end_the_call(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """And it is said that there are more."""

    def act() -> None:
        for number in range(50):
            (docs / f"{number:02}.txt").write_text("x")

    answer = await changes_of(client, watched, act, limit=10)
    assert answer["returned"] == 10
    assert answer["truncated"]
    assert answer["ended_by"] == "limit"


async def test_names_that_are_no_text_are_told_as_uris(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """The same form as everywhere, which can be used as an argument."""
    answer = await changes_of(
        client, watched, lambda: (docs / os.fsdecode(b"caf\xe9\n.txt")).write_text("x")
    )
    assert told(answer) == [("created", f"file://{docs}/caf%E9%0A.txt")]


# --- what nobody is told -----------------------------------------------------------------------


async def test_denied_and_own_temporary_files_are_not_told(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """Neither their names nor that something happened; a directory of them is not watched."""
    (docs / ".ssh").mkdir()

    def act() -> None:
        (docs / ".env").write_text("x")
        (docs / ".ssh" / "config").write_text("x")
        (docs / ".mcp-abc.tmp").write_text("x")
        (docs / "secret.txt").write_text("x")
        (docs / "secret.txt").rename(docs / "id_rsa")
        time.sleep(0.3)
        (docs / "seen.txt").write_text("x")

    answer = await changes_of(client, watched, act)
    assert told(answer) == [("created", "docs/seen.txt")]
    assert answer["watched_directories"] == 1


async def test_what_is_renamed_to_and_from_denied_names_appears_and_goes(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """A move would tell the other name."""
    (docs / "a.txt").write_text("x")
    (docs / ".env").write_text("x")

    def act() -> None:
        (docs / "a.txt").rename(docs / "x.pem")
        (docs / ".env").rename(docs / "b.txt")

    answer = await changes_of(client, watched, act)
    assert sorted(told(answer)) == [("created", "docs/b.txt"), ("deleted", "docs/a.txt")]
    assert [c["origin"] for c in answer["changes"]] == [None, None]


async def test_links_that_lead_out_are_not_followed(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """Whether they were there before or come while it waits, or are put for a directory."""
    outside = docs.parent / "outside"
    outside.mkdir()
    (docs / "link").symlink_to(outside)
    (docs / "sub").mkdir()

    def act() -> None:
        (outside / "one").write_text("x")
        (docs / "sub").rmdir()
        (docs / "sub").symlink_to(outside)
        (docs / "new").symlink_to(outside)
        time.sleep(0.05)
        (outside / "two").write_text("x")

    answer = await changes_of(client, watched, act)
    assert told(answer) == [("modified", "docs/sub"), ("created", "docs/new")]


async def test_a_directory_that_is_moved_out_tells_nothing_more(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """Its watch goes with it, but is ended before later changes are looked at."""
    (docs / "sub").mkdir()

    def act() -> None:
        (docs / "sub").rename(docs.parent / "out")
        (docs.parent / "out" / "secret.txt").write_text("x")

    answer = await changes_of(client, watched, act)
    assert told(answer) == [("deleted", "docs/sub")]


async def test_nothing_is_told_when_the_directory_itself_was_moved_out(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """Also when it went with a directory above it, of which the kernel tells nothing."""
    (docs / "a" / "b").mkdir(parents=True)
    call = asyncio.create_task(client.call("watch_directory", path="docs/a/b"))
    await watched.wait()
    (docs / "a").rename(docs.parent / "out")
    (docs.parent / "out" / "b" / "secret.txt").write_text("x")
    result = await call
    assert result.structured is not None
    assert result.structured["ended_by"] == "gone"
    assert result.structured["changes"] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("docs/nowhere", "FILE_NOT_FOUND"),
        ("docs/file.txt", "NOT_A_DIRECTORY"),
        ("docs/.ssh", "PATH_DENIED"),
        ("docs/out", "OUTSIDE_ROOT"),
        ("/etc", "OUTSIDE_ROOT"),
    ],
)
async def test_only_directories_below_a_root_are_watched(
    client: Client, docs: Path, path: str, code: str
) -> None:
    """With the errors of every tool."""
    (docs / "file.txt").write_text("x")
    (docs / "out").symlink_to("/etc")
    result = await client.call("watch_directory", path=path, timeout_s=0.1)
    assert result.error is not None
    assert result.error["code"] == code


# --- limits and ends ---------------------------------------------------------------------------


async def test_of_a_large_tree_the_uppermost_directories_are_watched(
    client: Client, docs: Path, watched: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the answer says so."""
    monkeypatch.setattr(watching, "MAX_DIRECTORIES", 4)
    for number in range(9):
        (docs / f"{number}" / "deep").mkdir(parents=True)
    answer = await changes_of(client, watched, lambda: (docs / "top.txt").write_text("x"))
    assert told(answer) == [("created", "docs/top.txt")]
    assert answer["watched_directories"] == 4
    assert not answer["complete"]
    assert "Only the uppermost 4 directories" in answer["warnings"][0]


async def test_a_system_without_watches_left_is_an_error(
    client: Client, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which says what the operator can do."""

    def refused(self: object, directory: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.files.inotify.Inotify.add", refused)
    result = await client.call("watch_directory", path="docs", timeout_s=5)
    assert result.error is not None
    assert result.error["code"] == "WATCH_UNAVAILABLE"
    assert "max_user_watches" in result.error["hint"]


async def test_cancelling_ends_the_watch_at_once(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """No descriptor and no work is left."""
    before = await asyncio.to_thread(inotify_descriptors)
    call = asyncio.create_task(client.call("watch_directory", path="docs", timeout_s=30))
    await watched.wait()
    call.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - began < 1
    left = await asyncio.to_thread(inotify_descriptors)
    assert left <= before


async def test_watching_does_not_take_the_threads_of_others(docs: Path) -> None:
    """Ten calls wait at once on two threads, and another is answered meanwhile."""
    async with client_of(docs.parent, roots=f"docs={docs}", workers=2) as client:
        calls = [
            asyncio.create_task(client.call("watch_directory", path="docs", timeout_s=1))
            for _ in range(10)
        ]
        await asyncio.sleep(0)
        began = time.monotonic()
        await client.call("list_allowed_directories")
        assert time.monotonic() - began < 0.8
        assert not any([(await call).is_error for call in calls])


async def test_changes_of_another_process_are_seen(
    client: Client, docs: Path, watched: asyncio.Event
) -> None:
    """It is the kernel that tells."""
    script = f"open({str(docs / 'theirs.txt')!r}, 'w').write('x')"
    answer = await changes_of(
        client, watched, lambda: subprocess.run([sys.executable, "-c", script], check=True)
    )
    assert told(answer) == [("created", "docs/theirs.txt")]


# --- adding up ---------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("move"), NAMES, NAMES),
    ),
    max_size=12,
)


@given(before=st.sets(NAMES), steps=STEPS)
def test_changes_add_up_to_what_is_there(before: set[str], steps: list[tuple[str, ...]]) -> None:
    """Whatever happens in between: what was there and the changes give what is there."""
    ledger = Ledger(clock=lambda: 0.0)
    there = set(before)
    for step in steps:
        at = (step[1].encode(),)
        if step[0] == "write" and step[1] in there:
            ledger.modified(at, False)
        elif step[0] == "write":
            ledger.appeared(at, False, replaces=False)
            there.add(step[1])
        elif step[1] not in there or (step[1] == step[-1] and step[0] == "move"):
            continue
        elif step[0] == "delete":
            ledger.went(at, False)
            there.discard(step[1])
        else:
            to = (step[2].encode(),)
            ledger.moved(at, to, False, replaces=step[2] in there)
            there = there - {step[1]} | {step[2]}
    changes = ledger.changes()
    expected = set(before)
    for noted in changes.values():
        if noted.origin is not None:
            expected.discard(noted.origin[0].decode())
    for rel, noted in changes.items():
        name = rel[0].decode()
        expected = expected - {name} if noted.kind == "deleted" else expected | {name}
    assert expected == there


def test_a_tree_that_is_swapped_all_the_time_never_shows_what_is_outside(tmp_path: Path) -> None:
    """A directory and a link to another outside change places while everything is watched."""
    docs, outside = tmp_path / "docs", tmp_path / "outside"
    for folder in (docs / "x", outside / "inner"):
        folder.mkdir(parents=True)
    swapper = subprocess.Popen([sys.executable, "-c", SWAPPER, str(docs), str(outside)])
    try:
        roots = Roots.of(FilesystemSettings.from_dict({"roots": f"docs={docs}"}), tmp_path)
        seen: set[bytes] = set()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            watch = TreeWatch(roots, roots.place("docs", Mode.LIST), recursive=True, limit=10_000)
            watch.begin(Stop())
            time.sleep(0.02)
            watch.collect(Stop())
            watch.close()
            seen |= {name for rel in watch.ledger.changes() for name in rel}
    finally:
        swapper.kill()
        swapper.wait()
    assert b"mine" in seen
    assert b"secret" not in seen


SWAPPER = """
import os, sys
docs, outside = sys.argv[1:]
x, kept, link = docs + "/x", docs + "/kept", docs + "/link"
os.symlink(outside + "/inner", link)
while True:
    os.rename(x, kept)
    os.rename(link, x)
    open(outside + "/inner/secret", "w").close()
    os.unlink(outside + "/inner/secret")
    os.rename(x, link)
    os.rename(kept, x)
    open(x + "/mine", "w").close()
    os.unlink(x + "/mine")
    open(docs + "/mine", "w").close()
"""


async def test_a_deleted_tree_is_told(client: Client, docs: Path, watched: asyncio.Event) -> None:
    """Each entry, and the directory itself."""
    (docs / "a" / "b").mkdir(parents=True)
    (docs / "a" / "b" / "x.txt").write_text("x")
    answer = await changes_of(client, watched, lambda: shutil.rmtree(docs / "a"))
    assert set(told(answer)) == {
        ("deleted", "docs/a/b/x.txt"),
        ("deleted", "docs/a/b"),
        ("deleted", "docs/a"),
    }
