"""move_file, copy_file, delete_file and undo_change through the public door."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from core.testing import Client
from services.filesystem.backend.history import Change, History
from tests.conftest import missing
from tests.services.filesystem.answers import names, ok, refused
from tests.services.filesystem.conftest import client_of

SHM = Path("/dev/shm")


def tree(folder: Path) -> None:
    """Put a small tree of everything into a folder."""
    (folder / "src/sub").mkdir(parents=True)
    (folder / "src/a.txt").write_bytes(b"a")
    (folder / "src/sub/run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "src/sub/run.sh").chmod(0o750)
    (folder / "src/inner").symlink_to("sub/run.sh")
    (folder / "src/sub").chmod(0o705)


@contextmanager
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the test's, removed at the end."""
    if not SHM.is_dir() or SHM.stat().st_dev == tmp_path.stat().st_dev:
        missing("a second file system", "mount a tmpfs on /dev/shm")
    folder = SHM / f"mcp-test-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# --- moving ------------------------------------------------------------------------------------


async def test_files_directories_and_links_are_moved(client: Client, docs: Path) -> None:
    """A link is moved itself, whatever it leads to."""
    tree(docs)
    (docs / "out").symlink_to("/etc/passwd")
    for source, destination in (("src/a.txt", "b.txt"), ("src", "dst"), ("out", "dst/out")):
        result = ok(await client.call("move_file", source=source, destination=destination))
        assert result["destination"] == f"docs/{destination}"
    assert names(docs) == [
        "b.txt",
        "dst",
        "dst/inner",
        "dst/out",
        "dst/sub",
        "dst/sub/run.sh",
    ]
    assert (docs / "dst/out").is_symlink()


async def test_nothing_is_overwritten_by_a_move(client: Client, docs: Path) -> None:
    """A file, a directory, a link to nothing: all of them are something."""
    (docs / "a").write_bytes(b"a")
    (docs / "b").write_bytes(b"b")
    (docs / "dir").mkdir()
    (docs / "link").symlink_to("nothing")
    for destination in ("b", "dir", "link"):
        error = refused(await client.call("move_file", source="a", destination=destination))
        assert error["code"] == "FILE_EXISTS"
    assert (docs / "b").read_bytes() == b"b"


async def test_a_move_over_a_file_keeps_that_in_the_trash(client: Client, docs: Path) -> None:
    """Only when asked for; undo brings both back."""
    (docs / "a").write_bytes(b"a")
    (docs / "b").write_bytes(b"b")
    (docs / "dir").mkdir()
    result = ok(await client.call("move_file", source="a", destination="b", overwrite=True))
    assert result["replaced"] is True
    assert names(docs) == ["b", "dir"]
    assert (docs / "b").read_bytes() == b"a"
    ok(await client.call("undo_change", id=result["undo_id"]))
    assert (docs / "a").read_bytes() == b"a"
    assert (docs / "b").read_bytes() == b"b"
    error = refused(await client.call("move_file", source="a", destination="dir", overwrite=True))
    assert error["code"] == "FILE_EXISTS"


async def test_a_move_to_itself_or_into_itself_is_refused(client: Client, docs: Path) -> None:
    """Also by another spelling of the path."""
    tree(docs)
    (docs / "link").symlink_to("src")
    for destination in ("src", "src/sub/x", "link/x", "src/../src/x"):
        error = refused(await client.call("move_file", source="src", destination=destination))
        assert error["code"] == "INVALID_ARGUMENTS", destination
    error = refused(await client.call("move_file", source="docs", destination="x"))
    assert error["code"] == "BAD_PATH"


async def test_what_is_missing_cannot_be_moved(client: Client, docs: Path) -> None:
    """Neither from nor to directories that are not there."""
    (docs / "a").write_bytes(b"a")
    for source, destination in (("nothing", "b"), ("a", "nothing/b"), ("x/y", "b")):
        error = refused(await client.call("move_file", source=source, destination=destination))
        assert error["code"] == "FILE_NOT_FOUND"


async def test_moves_to_another_disk_are_whole(tmp_path: Path) -> None:
    """Files, directories with modes and links; back again by undo."""
    here = tmp_path / "here"
    here.mkdir()
    with other_disk(tmp_path) as there:
        tree(here)
        (here / "link").symlink_to("src")
        async with client_of(tmp_path, roots=f"here={here}:delete,there={there}:delete") as client:
            moves = [("src/a.txt", "a.txt"), ("src", "dst"), ("link", "link")]
            for source, destination in moves:
                arguments = {"source": f"here/{source}", "destination": f"there/{destination}"}
                ok(await client.call("move_file", **arguments))
            assert names(here) == []
            found = ["a.txt", "dst", "dst/inner", "dst/sub", "dst/sub/run.sh", "link"]
            assert names(there) == found
            assert stat.S_IMODE((there / "dst/sub/run.sh").stat().st_mode) == 0o750
            assert stat.S_IMODE((there / "dst/sub").stat().st_mode) == 0o705
            ok(await client.call("undo_change", last=3))
            assert names(here) == [
                "link",
                "src",
                "src/a.txt",
                "src/inner",
                "src/sub",
                "src/sub/run.sh",
            ]
            assert names(there) == []
            os.mkfifo(here / "src/sub/fifo")
            error = refused(
                await client.call("move_file", source="here/src", destination="there/x")
            )
            assert error["code"] == "HOLDS_DENIED"
            assert names(there) == []
            assert (here / "src/a.txt").exists()


# --- denied ------------------------------------------------------------------------------------


async def test_directories_that_hold_what_is_denied_stay(client: Client, docs: Path) -> None:
    """Neither moved nor deleted; a copy leaves it out and says so."""
    (docs / "app/deep").mkdir(parents=True)
    (docs / "app/main.py").write_bytes(b"1")
    (docs / "app/deep/.env").write_bytes(b"SECRET")
    (docs / "repo/.git").mkdir(parents=True)
    for name in ("app", "repo"):
        error = refused(await client.call("move_file", source=name, destination="x"))
        assert error["code"] == "HOLDS_DENIED"
        for to_trash in (True, False):
            error = refused(
                await client.call("delete_file", path=name, recursive=True, to_trash=to_trash)
            )
            assert error["code"] == "HOLDS_DENIED"
            assert ".env" not in error["message"]
    result = ok(await client.call("copy_file", source="app", destination="y", recursive=True))
    assert result["skipped_total"] == 1
    assert result["skipped"] == [{"path": None, "reason": "denied"}]
    assert names(docs / "y") == ["deep", "main.py"]
    for tool, arguments in (
        ("move_file", {"source": "app/main.py", "destination": ".env"}),
        ("move_file", {"source": "app/deep/.env", "destination": "seen"}),
        ("copy_file", {"source": "app/deep/.env", "destination": "seen"}),
        ("copy_file", {"source": "app/main.py", "destination": "id_rsa"}),
        ("delete_file", {"path": "app/deep/.env"}),
        ("diff_files", {"a": "app/main.py", "b": "app/deep/.env"}),
    ):
        assert refused(await client.call(tool, **arguments))["code"] == "PATH_DENIED"


async def test_a_move_may_not_bring_entries_to_paths_that_are_denied(docs: Path) -> None:
    """A rule for one place counts for what comes there with a directory."""
    (docs / "a").mkdir()
    (docs / "a/keys.txt").write_bytes(b"1")
    roots = f"docs={docs}:delete"
    async with client_of(docs.parent, roots=roots, deny_also="/vault/keys.txt") as client:
        error = refused(await client.call("move_file", source="a", destination="vault"))
        assert error["code"] == "HOLDS_DENIED"
        result = ok(await client.call("copy_file", source="a", destination="vault", recursive=True))
        assert result["skipped_total"] == 1


async def test_moving_and_deleting_need_the_mode_for_it(docs: Path) -> None:
    """A root for writing keeps what it has."""
    other = docs.parent / "other"
    other.mkdir()
    (docs / "a").write_bytes(b"1")
    (other / "b").write_bytes(b"2")
    async with client_of(docs.parent, roots=f"docs={docs}:write,other={other}:delete") as client:
        for tool, arguments in (
            ("move_file", {"source": "docs/a", "destination": "other/a"}),
            ("move_file", {"source": "other/b", "destination": "docs/a", "overwrite": True}),
            ("delete_file", {"path": "docs/a"}),
        ):
            assert refused(await client.call(tool, **arguments))["code"] == "ROOT_MODE"
        ok(await client.call("move_file", source="other/b", destination="docs/b"))
    assert names(docs) == ["a", "b"]


# --- copying -----------------------------------------------------------------------------------


async def test_a_directory_is_copied_with_modes_and_links(client: Client, docs: Path) -> None:
    """Links only where they stay inside; what is special is left out and said."""
    tree(docs)
    (docs / "src/out").symlink_to("../../outside")
    (docs / "src/root").symlink_to("/etc")
    os.mkfifo(docs / "src/fifo")
    result = ok(await client.call("copy_file", source="src", destination="dst", recursive=True))
    counts = [result[k] for k in ("files", "directories", "links", "bytes", "skipped_total")]
    assert counts == [2, 1, 1, 11, 3]
    assert {s["path"]: s["reason"] for s in result["skipped"]} == {
        "docs/src/fifo": "FIFO",
        "docs/src/out": "link that leads out",
        "docs/src/root": "link that leads out",
    }
    assert names(docs / "dst") == ["a.txt", "inner", "sub", "sub/run.sh"]
    assert stat.S_IMODE((docs / "dst/sub/run.sh").stat().st_mode) == 0o750
    assert stat.S_IMODE((docs / "dst/sub").stat().st_mode) == 0o705
    assert (docs / "dst/inner").readlink() == Path("sub/run.sh")


async def test_copies_do_not_replace_unless_asked(client: Client, docs: Path) -> None:
    """And a copy that replaces can be taken back."""
    (docs / "a").write_bytes(b"a" * 100_000)
    (docs / "b").write_bytes(b"b")
    (docs / "b").chmod(0o640)
    error = refused(await client.call("copy_file", source="a", destination="b"))
    assert error["code"] == "FILE_EXISTS"
    result = ok(await client.call("copy_file", source="a", destination="b", overwrite=True))
    assert (docs / "b").read_bytes() == b"a" * 100_000
    ok(await client.call("undo_change", id=result["undo_id"]))
    assert (docs / "b").read_bytes() == b"b"
    assert stat.S_IMODE((docs / "b").stat().st_mode) == 0o640
    error = refused(await client.call("copy_file", source="a", destination="a", overwrite=True))
    assert error["code"] == "INVALID_ARGUMENTS"


async def test_copies_are_bounded(docs: Path) -> None:
    """By bytes and by entries; nothing is left of what was too much."""
    tree(docs)
    (docs / "big").write_bytes(b"x" * 5_000)
    settings: dict[str, Any] = {"roots": f"docs={docs}:delete", "max_tree_entries": 3}
    async with client_of(docs.parent, **settings, max_copy_bytes=2_000) as client:
        before = names(docs)
        error = refused(await client.call("copy_file", source="big", destination="x"))
        assert error["code"] == "LIMIT_EXCEEDED"
        error = refused(
            await client.call("copy_file", source="src", destination="x", recursive=True)
        )
        assert error["limit"] == 3
        error = refused(await client.call("delete_file", path="src", recursive=True))
        assert error["code"] == "LIMIT_EXCEEDED"
        assert names(docs) == before


async def test_a_directory_is_not_copied_into_itself(client: Client, docs: Path) -> None:
    """It would never end."""
    tree(docs)
    for destination in ("src", "src/sub/x"):
        error = refused(
            await client.call("copy_file", source="src", destination=destination, recursive=True)
        )
        assert error["code"] in ("INVALID_ARGUMENTS", "FILE_EXISTS")
    error = refused(await client.call("copy_file", source="src", destination="x"))
    assert "recursive" in error["hint"]
    result = ok(
        await client.call("copy_file", source="src", destination="x", recursive=True, dry_run=True)
    )
    assert result["files"] == 2
    assert not (docs / "x").exists()


# --- deleting ----------------------------------------------------------------------------------


async def test_what_is_deleted_comes_back(client: Client, docs: Path) -> None:
    """The very same files, from a directory that no tool shows."""
    tree(docs)
    (docs / "link").symlink_to("src")
    before = (docs / "src/a.txt").stat().st_ino
    link = ok(await client.call("delete_file", path="link"))
    assert link["kind"] == "symbolic link"
    assert (docs / "src").exists()
    result = ok(await client.call("delete_file", path="src", recursive=True))
    assert (result["kind"], result["entries"], result["in_trash"]) == ("directory", 4, True)
    assert names(docs) == []
    for path in (".mcp-trash", str(next((docs / ".mcp-trash").iterdir()))):
        error = refused(await client.call("create_directory", path=path))
        assert error["code"] == "PATH_DENIED"
    ok(await client.call("undo_change", id=result["undo_id"]))
    assert (docs / "src/a.txt").stat().st_ino == before
    assert stat.S_IMODE((docs / ".mcp-trash").stat().st_mode) == 0o700


async def test_deleting_for_good_leaves_nothing(client: Client, docs: Path) -> None:
    """Links are removed, never followed."""
    tree(docs)
    outside = docs.parent / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"1")
    (docs / "src/out").symlink_to(outside)
    result = ok(await client.call("delete_file", path="src", recursive=True, to_trash=False))
    assert (result["in_trash"], result["undo_id"]) == (False, None)
    assert names(docs) == []
    assert (outside / "kept").exists()


async def test_a_large_directory_is_deleted_by_its_count(docs: Path) -> None:
    """The dry run tells it; another count is refused."""
    (docs / "many").mkdir()
    for i in range(5):
        (docs / f"many/{i}").write_bytes(b"")
    async with client_of(docs.parent, roots=f"docs={docs}:delete", confirm_entries=4) as client:
        call = {"path": "many", "recursive": True}
        error = refused(await client.call("delete_file", **call))
        assert (error["code"], error["confirm_count"]) == ("COUNT_NEEDED", 5)
        assert ok(await client.call("delete_file", **call, dry_run=True))["entries"] == 5
        assert refused(await client.call("delete_file", **call, confirm_count=4))["code"] == (
            "COUNT_NEEDED"
        )
        ok(await client.call("delete_file", **call, confirm_count=5))
    assert names(docs) == []


async def test_a_directory_needs_recursive_unless_it_is_empty(client: Client, docs: Path) -> None:
    """And the root itself is no entry of anything."""
    tree(docs)
    (docs / "empty").mkdir()
    ok(await client.call("delete_file", path="empty"))
    error = refused(await client.call("delete_file", path="src"))
    assert (error["code"], error["entries"]) == ("NOT_A_FILE", 4)
    error = refused(await client.call("delete_file", path="docs", recursive=True))
    assert error["code"] == "BAD_PATH"
    assert refused(await client.call("delete_file", path="none"))["code"] == "FILE_NOT_FOUND"


async def test_a_trash_that_is_not_the_server_s_own_is_not_used(client: Client, docs: Path) -> None:
    """A link by that name would move things to where somebody else wants them."""
    (docs / "a").write_bytes(b"1")
    (docs.parent / "elsewhere").mkdir()
    (docs / ".mcp-trash").symlink_to(docs.parent / "elsewhere")
    error = refused(await client.call("delete_file", path="a"))
    assert error["code"] == "ACCESS_DENIED"
    assert (docs / "a").exists()
    assert list((docs.parent / "elsewhere").iterdir()) == []


async def test_what_is_on_another_disk_below_a_root_is_kept_apart(
    tmp_path: Path, mounted: Path
) -> None:
    """A mount is no part of a directory to delete, and nothing on it fits into the root's trash."""
    (mounted / "file").write_bytes(b"1")
    async with client_of(tmp_path / "other", roots=f"all={tmp_path}:delete") as client:
        (tmp_path / "dir").mkdir()
        for path in ("tiny/file", "tiny"):
            error = refused(await client.call("delete_file", path=path, recursive=True))
            assert error["code"] in ("ACROSS_DISKS", "FILE_BUSY"), error
        ok(await client.call("move_file", source="tiny/file", destination="dir/file"))
        ok(await client.call("undo_change"))
        assert (mounted / "file").read_bytes() == b"1"
        ok(await client.call("delete_file", path="tiny/file", to_trash=False))
    async with client_of(tmp_path / "other", roots=f"all={tmp_path.parent}:delete") as client:
        (mounted / "file").write_bytes(b"1")
        for tool, arguments in (
            ("delete_file", {"path": tmp_path.name, "recursive": True}),
            ("move_file", {"source": tmp_path.name, "destination": "x"}),
        ):
            assert refused(await client.call(tool, **arguments))["code"] == "HOLDS_DENIED"
        arguments = {"source": tmp_path.name, "destination": "copy", "recursive": True}
        result = ok(await client.call("copy_file", **arguments))
        assert "on another file system" in [skipped["reason"] for skipped in result["skipped"]]
        ok(await client.call("delete_file", path="copy", recursive=True, to_trash=False))


async def test_a_deletion_that_the_disk_refuses_leaves_the_directory_in_its_place(
    client: Client, docs: Path
) -> None:
    """An entry that cannot be removed keeps its directory, under its own name."""
    tree(docs)

    def protect(flag: str) -> int:
        return subprocess.run(["chattr", flag, docs / "src/a.txt"], check=False).returncode

    if shutil.which("chattr") is None or protect("+i") != 0:
        missing("chattr +i", "run as root on ext4 or the like")
    try:
        call = {"path": "src", "recursive": True, "to_trash": False}
        error = refused(await client.call("delete_file", **call))
        assert error["code"] == "ACCESS_DENIED"
        assert "src/a.txt" in names(docs)
        for tool, arguments in (
            ("write_file", {"path": "src/a.txt", "content": "x"}),
            ("delete_file", {"path": "src/a.txt"}),
            ("move_file", {"source": "src/a.txt", "destination": "b"}),
        ):
            assert refused(await client.call(tool, **arguments))["code"] == "ACCESS_DENIED"
    finally:
        protect("-i")
    assert not [name for name in names(docs) if ".mcp-" in name]


# --- undoing -----------------------------------------------------------------------------------


async def test_contents_and_modes_come_back(client: Client, docs: Path) -> None:
    """Newest first, each only once."""
    (docs / "a").write_bytes(b"0\r\n\xff")
    (docs / "a").chmod(0o600)
    ok(await client.call("write_file", path="a", content="1"))
    ok(await client.call("edit_file", path="a", edits=[{"oldText": "1", "newText": "2"}]))
    ok(await client.call("write_file", path="x/y/new", content="3", make_parents=True))
    listed = ok(await client.call("undo_change", list=True))["changes"]
    assert [(c["kind"], c["path"]) for c in listed] == [
        ("write", "docs/x/y/new"),
        ("write", "docs/a"),
        ("write", "docs/a"),
    ]
    done = ok(await client.call("undo_change", last=3))["changes"]
    assert [c["status"] for c in done] == ["undone"] * 3
    assert (docs / "a").read_bytes() == b"0\r\n\xff"
    assert stat.S_IMODE((docs / "a").stat().st_mode) == 0o600
    assert names(docs) == ["a"]
    assert refused(await client.call("undo_change"))["code"] == "CHANGE_UNKNOWN"


async def test_a_change_is_not_undone_over_a_later_one(client: Client, docs: Path) -> None:
    """By whomever: another's content is never lost, and the call says what is there."""
    (docs / "a").write_bytes(b"1")
    change = ok(await client.call("write_file", path="a", content="2"))["undo_id"]
    (docs / "a").write_bytes(b"theirs")
    error = refused(await client.call("undo_change", id=change))
    assert error["code"] == "FILE_CHANGED"
    assert (docs / "a").read_bytes() == b"theirs"
    made = ok(await client.call("create_directory", path="x/y"))["undo_id"]
    (docs / "x/y/file").write_bytes(b"")
    assert refused(await client.call("undo_change", id=made))["code"] == "DIRECTORY_NOT_EMPTY"
    moved = ok(await client.call("move_file", source="a", destination="b"))["undo_id"]
    (docs / "a").write_bytes(b"new")
    assert refused(await client.call("undo_change", id=moved))["code"] == "FILE_EXISTS"
    gone = ok(await client.call("delete_file", path="b"))["undo_id"]
    (docs / "b").write_bytes(b"newer")
    assert refused(await client.call("undo_change", id=gone))["code"] == "FILE_EXISTS"
    copied = ok(await client.call("copy_file", source="a", destination="c"))["undo_id"]
    (docs / "c").write_bytes(b"changed")
    assert refused(await client.call("undo_change", id=copied))["code"] == "FILE_CHANGED"
    assert (docs / "c").read_bytes() == b"changed"


async def test_a_deletion_needs_its_directory_to_be_taken_back(client: Client, docs: Path) -> None:
    """And its thing in the trash, which an operator may have emptied."""
    tree(docs)
    first = ok(await client.call("delete_file", path="src/a.txt"))["undo_id"]
    ok(await client.call("move_file", source="src", destination="elsewhere"))
    error = refused(await client.call("undo_change", id=first))
    assert error["code"] == "FILE_NOT_FOUND"
    assert "Create it" in error["hint"]
    (docs / "src").mkdir()
    shutil.rmtree(docs / ".mcp-trash")
    error = refused(await client.call("undo_change", id=first))
    assert "no longer in the trash" in error["message"]


async def test_several_changes_are_undone_until_one_cannot_be(client: Client, docs: Path) -> None:
    """What was undone stays undone, and the one that stopped it is named."""
    ok(await client.call("write_file", path="a", content="1"))
    ok(await client.call("write_file", path="b", content="1"))
    (docs / "a").write_bytes(b"changed")
    done = ok(await client.call("undo_change", last=2))["changes"]
    assert [(c["path"], c["status"]) for c in done] == [
        ("docs/b", "undone"),
        ("docs/a", "refused"),
    ]
    assert names(docs) == ["a"]


async def test_a_copied_directory_goes_to_the_trash_when_undone(client: Client, docs: Path) -> None:
    """What was added to it since is not lost."""
    tree(docs)
    copied = ok(await client.call("copy_file", source="src", destination="dst", recursive=True))
    (docs / "dst/added").write_bytes(b"1")
    ok(await client.call("undo_change", id=copied["undo_id"]))
    assert not (docs / "dst").exists()
    ok(await client.call("undo_change"))
    assert (docs / "dst/added").exists()


async def test_changes_survive_a_restart(docs: Path) -> None:
    """They are kept in the state folder, which nobody else can read."""
    (docs / "a").write_bytes(b"1")
    roots = f"docs={docs}:delete"
    async with client_of(docs.parent, roots=roots) as client:
        change = ok(await client.call("write_file", path="a", content="2"))["undo_id"]
        ok(await client.call("delete_file", path="a"))
    folder = docs.parent / "state/filesystem"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "changes.sqlite").stat().st_mode) == 0o600
    async with client_of(docs.parent, roots=roots) as client:
        ok(await client.call("undo_change"))
        ok(await client.call("undo_change", id=change))
    assert (docs / "a").read_bytes() == b"1"


async def test_a_root_that_is_another_directory_now_is_left_alone(docs: Path) -> None:
    """The alias is the same, the files are not."""
    other = docs.parent / "other"
    other.mkdir()
    async with client_of(docs.parent, roots=f"docs={docs}:delete") as client:
        ok(await client.call("write_file", path="a", content="1"))
    (other / "a").write_bytes(b"1")
    async with client_of(docs.parent, roots=f"docs={other}:delete") as client:
        assert refused(await client.call("undo_change"))["code"] == "CHANGE_UNKNOWN"
    assert (other / "a").read_bytes() == b"1"


async def test_the_history_and_the_trash_are_bounded(docs: Path) -> None:
    """The oldest changes go first, and what they had put into the trash with them."""
    settings: dict[str, Any] = {"roots": f"docs={docs}:delete", "trash_bytes": 1_000}
    async with client_of(docs.parent, **settings, history_changes=4) as client:
        for i in range(6):
            (docs / f"{i}").write_bytes(b"x" * 400)
            ok(await client.call("delete_file", path=f"{i}"))
        assert len(list((docs / ".mcp-trash").iterdir())) == 2
        for i in range(6):
            ok(await client.call("write_file", path="a", content=str(i)))
        listed = ok(await client.call("undo_change", list=True, last=100))["changes"]
        assert len(listed) == 4
        assert list((docs / ".mcp-trash").iterdir()) == []
    async with client_of(docs.parent, **settings, history_changes=0) as client:
        assert ok(await client.call("write_file", path="a", content="z"))["undo_id"] is None
        assert refused(await client.call("undo_change"))["code"] == "CHANGE_UNKNOWN"


async def test_what_no_history_knows_is_dropped_from_the_trash_in_time(docs: Path) -> None:
    """The state folder may have been lost; what has come there lately stays."""
    roots = f"docs={docs}:delete"
    (docs / "a").write_bytes(b"1")
    async with client_of(docs.parent, roots=roots) as client:
        ok(await client.call("delete_file", path="a"))
    (kept,) = (docs / ".mcp-trash").iterdir()
    shutil.rmtree(docs.parent / "state")
    async with client_of(docs.parent, roots=roots):
        assert kept.exists()
    async with client_of(docs.parent, roots=roots, trash_days=1e-9):
        assert not kept.exists()


def test_changes_are_dropped_when_they_are_old(tmp_path: Path) -> None:
    """On the clock that the history was given."""
    now = [1_000.0]
    limits: dict[str, Any] = {"max_changes": 9, "max_bytes": 100, "max_trash_bytes": 100}
    history = History(tmp_path / "h", **limits, max_age_s=60, clock=lambda: now[0])
    change_id = history.begin(Change("write", "docs", "/x", (b"a",)), "me", image=b"old")
    history.finish(change_id)
    assert [c.id for c in history.recent("me", 9)] == [change_id]
    assert history.recent("another", 9) == []
    now[0] += 61
    assert [c.id for c in history.prune()] == [change_id]
    assert history.recent("me", 9) == []
    history.close()


async def test_a_history_that_cannot_be_written_keeps_nothing_from_being_changed(
    docs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The change has no way back, which its result says; the log says why."""
    state = docs.parent / "state"
    state.mkdir()
    (state / "filesystem").write_bytes(b"in the way")
    async with client_of(docs.parent, roots=f"docs={docs}:delete") as client:
        assert ok(await client.call("write_file", path="a", content="1"))["undo_id"] is None
    assert (docs / "a").read_bytes() == b"1"
    assert "history of changes failed" in caplog.text


@pytest.mark.parametrize("seed", range(8))
async def test_undoing_all_changes_brings_everything_back(docs: Path, seed: int) -> None:
    """Whatever calls were made, in whatever order: contents, modes, links, directories."""
    tree(docs)
    (docs / "b.bin").write_bytes(bytes(range(256)))
    (docs / "loop").symlink_to("loop")
    random = Random(seed)
    places = ["src", "src/a.txt", "src/sub", "src/sub/run.sh", "b.bin", "x", "x/y", "x/y/z", "loop"]

    def held() -> dict[str, tuple[int, bytes]]:
        return {
            name: (
                (docs / name).lstat().st_mode,
                (docs / name).read_bytes() if (docs / name).is_file() else b"",
            )
            for name in names(docs)
        }

    before, done = held(), 0
    settings: dict[str, Any] = {"fsync": False, "confirm_entries": 99}
    async with client_of(docs.parent, roots=f"docs={docs}:delete", **settings) as client:
        for i in range(40):
            one, two = random.choice(places), random.choice(places)
            flag = random.random() < 0.7
            calls: list[tuple[str, dict[str, Any]]] = [
                ("write_file", {"path": one, "content": f"{i}", "make_parents": flag}),
                ("write_file", {"path": one, "content": f"{i}", "mode": "append"}),
                ("edit_file", {"path": one, "edits": [{"start_line": 1, "newText": f"e{i}"}]}),
                ("create_directory", {"path": one}),
                ("move_file", {"source": one, "destination": two, "overwrite": flag}),
                (
                    "copy_file",
                    {"source": one, "destination": two, "overwrite": flag, "recursive": True},
                ),
                ("delete_file", {"path": one, "recursive": flag}),
            ]
            tool, arguments = random.choice(calls)
            result = await client.call(tool, **arguments)
            assert result.error is None or result.error["code"] != "TOOL_FAILED", result.error
            changed = result.structured is not None and result.structured["undo_id"] is not None
            done += changed
        assert done > 5
        undone = ok(await client.call("undo_change", last=done))["changes"]
        assert [change for change in undone if change["status"] != "undone"] == []
    assert held() == before
