"""Changes at the same time: of two callers, two processes, programs outside, and a kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.files import FileBusy, renameat2
from core.testing import CallResult, Client
from services.filesystem.backend import atomic
from services.filesystem.backend.work import Stop
from services.filesystem.errors import FileChanged
from services.filesystem.roots import Roots
from services.filesystem.settings import FilesystemSettings, Mode
from tests.servers.processes import ServerProcess
from tests.services.filesystem.answers import names, ok, sha256
from tests.services.filesystem.conftest import client_of

ROUNDS = 200


def outcome(results: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return how many calls succeeded, and the codes of the others."""
    codes = [result["code"] for result in results if "code" in result]
    return len(results) - len(codes), codes


def either(result: CallResult) -> dict[str, Any]:
    """Return the result or the error of a call."""
    found = result.structured or result.error
    assert found is not None
    return found


# --- two writers -------------------------------------------------------------------------------


async def test_of_two_callers_with_the_same_hash_one_wins(docs: Path) -> None:
    """In one server, each round; the file holds what the winner wrote."""
    file = docs / "a"
    file.write_bytes(b"start")
    async with client_of(docs.parent, roots=f"docs={docs}:write", fsync=False) as client:
        for round_ in range(ROUNDS):
            known = sha256(file.read_bytes())
            contents = [f"{round_} {name}" for name in "ab"]
            calls = [
                client.call("write_file", path="a", content=content, if_sha256=known)
                for content in contents
            ]
            results = [either(result) for result in await asyncio.gather(*calls)]
            assert outcome(results) == (1, ["FILE_CHANGED"])
            (won,) = [i for i, result in enumerate(results) if "code" not in result]
            assert file.read_text() == contents[won]
    assert names(docs) == ["a"]


class Caller:
    """Calls tools of a server process."""

    def __init__(self, server: ServerProcess) -> None:
        self._url = f"{server.url}/rpc"
        self._http = httpx.Client(trust_env=False, timeout=30)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return the result or the error."""
        params = {"name": tool, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        result = self._http.post(self._url, json=message).json()["result"]
        if "structuredContent" in result:
            found: dict[str, Any] = result["structuredContent"]
            return found
        return {"code": result["content"][0]["text"]}

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def process(docs: Path, **settings: str) -> ServerProcess:
    """Return a server process, to be started, that serves a folder."""
    environment = {
        "MCP_FILESYSTEM_ROOTS": f"docs={docs}:delete",
        **settings,
    }
    state = docs.parent / "state"
    state.mkdir(exist_ok=True)
    return ServerProcess(state, environment=environment, module="services.filesystem")


def test_of_two_processes_with_the_same_hash_one_wins(docs: Path) -> None:
    """Two servers on the same files and the same state folder."""
    file = docs / "a"
    file.write_bytes(b"start")
    quick = {"MCP_FILESYSTEM_FSYNC": "false"}
    with (
        process(docs, **quick) as one,
        process(docs, **quick) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        callers = [Caller(one), Caller(two)]
        for round_ in range(ROUNDS):
            known = sha256(file.read_bytes())
            futures = [
                pool.submit(
                    caller.call, "write_file", path="a", content=f"{round_} {i}", if_sha256=known
                )
                for i, caller in enumerate(callers)
            ]
            results = [future.result() for future in futures]
            won = [i for i, result in enumerate(results) if "code" not in result]
            assert len(won) == 1, results
            assert "FILE_CHANGED" in results[1 - won[0]]["code"]
            assert file.read_text() == f"{round_} {won[0]}"
        for caller in callers:
            caller.close()
    assert names(docs) == ["a"]


async def test_callers_that_edit_different_parts_lose_nothing(docs: Path) -> None:
    """Without a hash, edits of one file wait for each other."""
    (docs / "a").write_text("".join(f"<{i}>\n" for i in range(40)))
    async with client_of(docs.parent, roots=f"docs={docs}:write", fsync=False) as client:
        edits = [[{"oldText": f"<{i}>", "newText": f"[{i}]"}] for i in range(40)]
        calls = [client.call("edit_file", path="a", edits=edit) for edit in edits]
        for result in await asyncio.gather(*calls):
            ok(result)
    assert (docs / "a").read_text() == "".join(f"[{i}]\n" for i in range(40))


# --- programs outside --------------------------------------------------------------------------


def spot_of(docs: Path, name: str) -> tuple[atomic.Spot, Roots]:
    """Return the open spot of a file."""
    settings = FilesystemSettings.from_dict({"roots": f"docs={docs}:delete"})
    roots = Roots.of(settings, docs)
    return atomic.open_spot(roots, roots.place(name, Mode.WRITE), Mode.WRITE), roots


def replaced(docs: Path, spot: atomic.Spot, change: Callable[[], None]) -> None:
    """Replace a file while something else happens between the look and the exchange."""
    with (
        spot,
        atomic.current_of(Stop(), spot, 1000) as current,
        atomic.draft(spot, atomic.temp_name(), private=True) as new,
    ):
        atomic.fill(Stop(), new.fd, b"ours")
        change()
        atomic.commit(spot, new, current)


def saved_by_rename(docs: Path) -> None:
    """Save as many editors do."""
    (docs / "draft").write_bytes(b"theirs")
    (docs / "draft").rename(docs / "a")


def saved_in_place(docs: Path) -> None:
    """Save as others do, with the same size and time."""
    status = (docs / "a").stat()
    (docs / "a").write_bytes(b"THEIRS")
    os.utime(docs / "a", ns=(status.st_atime_ns, status.st_mtime_ns))


def made_a_directory(docs: Path) -> None:
    """Put something else there."""
    (docs / "a").unlink()
    (docs / "a").mkdir()


@pytest.mark.parametrize(
    ("change", "left"),
    [(saved_by_rename, b"theirs"), (saved_in_place, b"THEIRS"), (made_a_directory, None)],
)
def test_what_an_editor_saves_meanwhile_is_not_lost(
    docs: Path, change: Callable[[Path], None], left: bytes | None
) -> None:
    """What comes out of the exchange is not what was read, so it goes back."""
    (docs / "a").write_bytes(b"before")
    spot, _ = spot_of(docs, "a")
    with pytest.raises(FileChanged):
        replaced(docs, spot, lambda: change(docs))
    assert names(docs) == ["a"]
    assert (docs / "a").is_dir() if left is None else (docs / "a").read_bytes() == left


def test_what_is_saved_while_it_is_put_back_is_not_lost(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor saves twice, before the exchange and before the second one: its last word stays."""
    (docs / "a").write_bytes(b"before")
    spot, _ = spot_of(docs, "a")
    count = 0

    def rename(*arguments: Any, **flags: Any) -> None:
        nonlocal count
        count += 1
        if count <= 2:
            (docs / "draft").write_bytes(b"theirs %d" % count)
            (docs / "draft").rename(docs / "a")
        renameat2(*arguments, **flags)

    monkeypatch.setattr(atomic, "renameat2", rename)
    with pytest.raises(FileChanged):
        replaced(docs, spot, lambda: None)
    assert (docs / "a").read_bytes() == b"theirs 2"
    assert names(docs) == ["a"]


def kept_beside(docs: Path, error: FileChanged) -> Path:
    """Return the file that an error names as kept, which everybody sees."""
    kept = str(error.facts["kept"])
    assert kept in error.message
    assert kept.startswith("docs/a.conflict-")
    return docs.parent / kept


def test_what_cannot_go_back_is_kept_under_a_name_that_is_told(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor saves, removes the file and saves once more, each time just before a rename."""
    (docs / "a").write_bytes(b"before")
    spot, _ = spot_of(docs, "a")
    count = 0

    def rename(*arguments: Any, **flags: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            (docs / "a").unlink()
        elif count <= 3:
            (docs / "a").write_bytes(b"theirs %d" % count)
        renameat2(*arguments, **flags)

    monkeypatch.setattr(atomic, "renameat2", rename)
    with pytest.raises(FileChanged) as refused:
        replaced(docs, spot, lambda: None)
    kept = kept_beside(docs, refused.value)
    assert kept.read_bytes() == b"theirs 1"
    assert (docs / "a").read_bytes() == b"theirs 3"
    assert names(docs) == sorted(["a", kept.name])


def test_an_editor_that_saves_without_end_loses_nothing(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries its last but one word is kept beside its last one."""
    (docs / "a").write_bytes(b"before")
    spot, _ = spot_of(docs, "a")
    count = 0

    def rename(*arguments: Any, **flags: Any) -> None:
        nonlocal count
        if flags.get("exchange"):
            count += 1
            (docs / "draft").write_bytes(b"theirs %d" % count)
            (docs / "draft").rename(docs / "a")
        renameat2(*arguments, **flags)

    monkeypatch.setattr(atomic, "renameat2", rename)
    with pytest.raises(FileChanged) as refused:
        replaced(docs, spot, lambda: None)
    found = {kept_beside(docs, refused.value).read_bytes(), (docs / "a").read_bytes()}
    assert found == {b"theirs %d" % (count - 1), b"theirs %d" % count}
    assert len(names(docs)) == 2


def test_what_is_taken_aside_by_mistake_is_kept_when_its_name_is_gone(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs save while a file is about to be removed; the longest name has room too."""
    name = "a" * 255
    (docs / name).write_bytes(b"one")
    spot, _ = spot_of(docs, name)
    status = (docs.parent).stat()

    def rename(*arguments: Any, **flags: Any) -> None:
        if not (docs / name).exists():
            (docs / name).write_bytes(b"two")
        renameat2(*arguments, **flags)

    monkeypatch.setattr(atomic, "renameat2", rename)
    with spot, pytest.raises(FileChanged) as refused:
        atomic.take_aside(spot, atomic.temp_name(), status)
    assert (docs.parent / str(refused.value.facts["kept"])).read_bytes() == b"one"
    assert (docs / name).read_bytes() == b"two"
    assert len(names(docs)) == 2


def test_a_file_that_is_removed_meanwhile_is_not_made_again(docs: Path) -> None:
    """Somebody deleted it on purpose."""
    (docs / "a").write_bytes(b"before")
    spot, _ = spot_of(docs, "a")
    with pytest.raises(FileChanged):
        replaced(docs, spot, lambda: (docs / "a").unlink())
    assert names(docs) == []


async def test_a_file_system_that_cannot_exchange_is_written_all_the_same(
    client: Client, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a look and a plain rename, and with a second name instead of RENAME_NOREPLACE."""

    def refuse(*arguments: Any, **flags: Any) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(atomic, "renameat2", refuse)
    ok(await client.call("write_file", path="a", content="1", mode="create"))
    ok(await client.call("write_file", path="a", content="2"))
    assert (docs / "a").read_bytes() == b"2"
    assert names(docs) == ["a"]


def test_a_directory_that_another_holds_locked_is_busy(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call does not wait for ever."""
    monkeypatch.setattr(atomic, "LOCK_LIMIT_S", 0.02)
    one, _ = spot_of(docs, "a")
    two, _ = spot_of(docs, "b")
    with one, two, atomic.locked(Stop(), one), pytest.raises(FileBusy):
        atomic.locked(Stop(), two).__enter__()


# --- directories that are swapped ----------------------------------------------------------------


@contextlib.contextmanager
def swapping(folder: Path, outside: Path) -> Iterator[None]:
    """Let `folder/dir` be a directory and a link to the outside in turns, as fast as it goes."""
    (folder / "dir").mkdir()
    (folder / "link").symlink_to(outside)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            renameat2(fd, b"dir", fd, b"link", exchange=True)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.close(fd)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return each path below a folder with its mode and content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


async def test_nothing_outside_changes_while_directories_are_swapped_for_links(
    docs: Path,
) -> None:
    """Thousands of changes whose parent is a link to the outside half of the time."""
    outside = docs.parent / "outside"
    (outside / "sub").mkdir(parents=True)
    for i in range(4):
        (outside / f"{i}").write_bytes(b"canary %d" % i)
        (outside / f"sub/{i}").write_bytes(b"canary %d" % i)
    (docs / "source").write_bytes(b"source")
    (docs / "tree").mkdir()
    (docs / "tree/file").write_bytes(b"1")
    before = contents(outside)
    codes: dict[str, int] = {}

    async def hammer(client: Client, worker: int) -> None:
        for i in range(60):
            name = f"dir/{(i + worker) % 4}"
            edits = [{"oldText": "canary", "newText": "dead"}]
            calls: list[tuple[str, dict[str, Any]]] = [
                ("write_file", {"path": name, "content": str(i)}),
                ("write_file", {"path": f"dir/sub/{i}/x", "content": "", "make_parents": True}),
                ("edit_file", {"path": name, "edits": edits}),
                ("create_directory", {"path": f"dir/made/{i}"}),
                ("copy_file", {"source": "source", "destination": name, "overwrite": True}),
                ("copy_file", {"source": "tree", "destination": f"dir/t{i}", "recursive": True}),
                ("move_file", {"source": name, "destination": f"moved-{worker}-{i}"}),
                ("move_file", {"source": "tree/file", "destination": "dir/file"}),
                ("move_file", {"source": "dir/file", "destination": "tree/file"}),
                ("delete_file", {"path": name}),
                ("delete_file", {"path": "dir/sub", "recursive": True, "to_trash": False}),
                ("undo_change", {}),
            ]
            for tool, arguments in calls:
                result = await client.call(tool, **arguments)
                code = "ok" if result.error is None else result.error["code"]
                codes[code] = codes.get(code, 0) + 1

    settings: dict[str, Any] = {"fsync": False, "confirm_entries": 10_000}
    with swapping(docs, outside):
        async with client_of(docs.parent, roots=f"docs={docs}:delete", **settings) as client:
            await asyncio.gather(*(hammer(client, worker) for worker in range(4)))
    assert contents(outside) == before
    assert codes["ok"] > 100, codes
    assert codes["OUTSIDE_ROOT"] > 100, codes
    assert "TOOL_FAILED" not in codes, codes


# --- a crash -----------------------------------------------------------------------------------


def test_a_server_that_is_killed_leaves_whole_files(docs: Path) -> None:
    """In the middle of a thousand writes; what was left over is gone when it is back."""
    size = 200_000
    for i in range(10):
        (docs / f"{i}").write_bytes(b"o" * size)
    server = process(docs)
    with server:
        written = threading.Semaphore(0)

        def write(worker: int) -> None:
            caller = Caller(server)
            with contextlib.suppress(httpx.HTTPError):
                for i in range(250):
                    caller.call("write_file", path=f"{(i + worker) % 10}", content="n" * size)
                    caller.call("copy_file", source="0", destination=f"c{worker}-{i}")
                    written.release()
            caller.close()

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            assert written.acquire(timeout=30)
        server.kill()
        for thread in threads:
            thread.join()
    with process(docs) as again:
        caller = Caller(again)
        listed = caller.call("search_files", path="docs", pattern="**")
        assert ".mcp-" not in str(listed)
        result = caller.call("write_file", path="0", content="after")
        assert "code" not in result, result
        caller.close()
    assert not [name for name in names(docs) if ".mcp-" in name]
    (docs / "0").unlink()
    for path in docs.iterdir():
        assert path.read_bytes() in (b"o" * size, b"n" * size), path


def crash(docs: Path) -> list[str]:
    """Make the last changes look as if their process had ended before it could say so.

    Returns:
        The names of their temporary files.
    """
    with contextlib.closing(sqlite3.connect(docs.parent / "state/filesystem/changes.sqlite")) as db:
        found = db.execute("SELECT json_extract(facts, '$.temp') FROM changes").fetchall()
        db.execute("UPDATE changes SET state = 'pending', owner = 'gone'")
        db.commit()
    return [name for (name,) in found if name]


async def test_what_a_crash_left_is_settled_at_the_next_start(docs: Path) -> None:
    """A change that came far enough can be undone; temporary files are gone."""
    roots = f"docs={docs}:delete"
    (docs / "a").write_bytes(b"old")
    (docs / "b").write_bytes(b"1")
    (docs / "c").write_bytes(b"1")
    async with client_of(docs.parent, roots=roots) as client:
        ok(await client.call("write_file", path="a", content="new"))
        ok(await client.call("delete_file", path="b"))
        ok(await client.call("move_file", source="c", destination="d"))
    for name in crash(docs):
        (docs / name).write_bytes(b"old")
    async with client_of(docs.parent, roots=roots) as client:
        assert names(docs) == ["a", "d"]
        ok(await client.call("undo_change", last=3))
    assert names(docs) == ["a", "b", "c"]
    assert (docs / "a").read_bytes() == b"old"


async def test_what_a_crash_kept_from_happening_is_forgotten(docs: Path) -> None:
    """Half a copy of a directory is removed, and what was not changed is not undone."""
    roots = f"docs={docs}:delete"
    (docs / "src").mkdir()
    async with client_of(docs.parent, roots=roots) as client:
        ok(await client.call("copy_file", source="src", destination="dst", recursive=True))
        ok(await client.call("write_file", path="a", content="new"))
        ok(await client.call("create_directory", path="gone"))
    temp, draft = crash(docs)
    (docs / "dst").rename(docs / temp)
    (docs / temp / "half").write_bytes(b"")
    (docs / "a").rename(docs / draft)
    async with client_of(docs.parent, roots=roots) as client:
        assert names(docs) == ["gone", "src"]
        error = (await client.call("undo_change")).error
        assert error is not None
        assert error["code"] == "CHANGE_UNKNOWN"


async def test_the_changes_of_a_living_process_are_not_cleaned_up(docs: Path) -> None:
    """Another server on the same state folder may be in the middle of one."""
    roots = f"docs={docs}:delete"
    async with client_of(docs.parent, roots=roots) as first:
        ok(await first.call("write_file", path="a", content="new"))
        with contextlib.closing(
            sqlite3.connect(docs.parent / "state/filesystem/changes.sqlite")
        ) as db:
            (temp,) = db.execute("SELECT json_extract(facts, '$.temp') FROM changes").fetchone()
            db.execute("UPDATE changes SET state = 'pending'")
            db.commit()
        (docs / temp).write_bytes(b"half")
        async with client_of(docs.parent, roots=roots):
            assert (docs / temp).exists()
    async with client_of(docs.parent, roots=roots):
        assert not (docs / temp).exists()


async def test_readers_and_writers_of_one_file_do_not_disturb_each_other(docs: Path) -> None:
    """Each read gives one whole content, and none fails because the file was replaced meanwhile."""
    (docs / "a").write_text("0" * 5_000)
    async with client_of(docs.parent, roots=f"docs={docs}:write", fsync=False) as client:

        async def write() -> None:
            for i in range(100):
                ok(await client.call("write_file", path="a", content=str(i % 10) * 5_000))

        async def read() -> None:
            for _ in range(100):
                text = ok(await client.call("read_text_file", path="a"))["content"]
                assert len(set(text)) == 1

        await asyncio.gather(write(), read(), read())
