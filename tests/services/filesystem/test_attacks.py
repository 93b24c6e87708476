"""Attacks on the running service from outside, each of which once found a mistake."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.testing import Client
from services.filesystem.backend import atomic, moving, undoing
from tests.services.filesystem.answers import names, ok, refused, sha256
from tests.services.filesystem.conftest import client_of
from tests.services.filesystem.test_moving import other_disk, tree

TERABYTE = 1 << 40


# --- large files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("write_file", {"content": "x", "mode": "create"}, "FILE_EXISTS"),
        ("write_file", {"content": "x", "mode": "append"}, "TOO_BIG_TO_READ"),
        ("edit_file", {"edits": [{"oldText": "a", "newText": "b"}]}, "TOO_BIG_TO_READ"),
    ],
)
async def test_what_is_too_large_to_change_is_refused_without_reading_it(
    client: Client, docs: Path, tool: str, arguments: dict[str, Any], code: str
) -> None:
    """Reading it would take minutes, in which nobody else could write in its directory."""
    (docs / "sparse").touch()
    os.truncate(docs / "sparse", TERABYTE)
    async with asyncio.timeout(10):
        error = refused(await client.call(tool, path="sparse", **arguments))
    assert error["code"] == code


async def test_a_large_file_is_replaced_without_reading_it(client: Client, docs: Path) -> None:
    """Its hash is only computed for a caller who says which it has to be."""
    (docs / "sparse").touch()
    os.truncate(docs / "sparse", TERABYTE)
    async with asyncio.timeout(10):
        result = ok(await client.call("write_file", path="sparse", content="x"))
    assert result["sha256_before"] is None
    assert (docs / "sparse").read_bytes() == b"x"


async def test_a_large_file_is_only_replaced_if_it_has_the_hash_that_was_said(
    docs: Path,
) -> None:
    """As smaller ones; what was there cannot come back."""
    roots = f"docs={docs}:write"
    (docs / "a").write_bytes(b"a" * 5000)
    async with client_of(docs.parent, roots=roots, max_write_bytes=4096) as client:
        call = {"path": "a", "content": "new"}
        error = refused(await client.call("write_file", **call, if_sha256=sha256(b"other")))
        assert error["code"] == "FILE_CHANGED"
        assert error["sha256"] == sha256(b"a" * 5000)
        ok(await client.call("write_file", **call, if_sha256=sha256(b"a" * 5000)))
    assert (docs / "a").read_bytes() == b"new"


# --- moves between disks -----------------------------------------------------------------------


def make_read_only(folder: Path) -> None:
    """Mount a file system again, so that nothing can be changed on it."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


async def test_what_cannot_be_removed_is_not_copied_to_another_disk_either(
    docs: Path, mounted: Path
) -> None:
    """A move is whole or not at all: nothing stays at the destination."""
    tree(mounted)
    (mounted / "link").symlink_to("src")
    make_read_only(mounted)
    roots = f"here={mounted}:delete,docs={docs}:delete"
    async with client_of(docs.parent, roots=roots) as client:
        for source in ("src/a.txt", "src", "link"):
            arguments = {"source": f"here/{source}", "destination": "docs/new"}
            error = refused(await client.call("move_file", **arguments))
            assert error["code"] == "READ_ONLY_DISK"
            assert names(docs) == []
        error = refused(await client.call("delete_file", path="here/src/a.txt"))
        assert error["code"] == "READ_ONLY_DISK"


async def test_what_is_saved_while_a_file_is_moved_to_another_disk_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is of the earlier content, so it is not kept, and the file stays where it is."""
    copy_bytes = moving._copy_bytes
    here = tmp_path / "here"
    here.mkdir()
    (here / "a").write_bytes(b"old")

    def saved_meanwhile(*arguments: Any, **more: Any) -> os.stat_result:
        status = copy_bytes(*arguments, **more)
        (here / "new").write_bytes(b"new")
        (here / "new").rename(here / "a")
        return status

    monkeypatch.setattr(moving, "_copy_bytes", saved_meanwhile)
    with other_disk(tmp_path) as there:
        async with client_of(tmp_path, roots=f"here={here}:delete,there={there}:delete") as client:
            error = refused(await client.call("move_file", source="here/a", destination="there/a"))
        assert error["code"] == "FILE_CHANGED"
        assert names(there) == []
    assert names(here) == ["a"]
    assert (here / "a").read_bytes() == b"new"


# --- deletions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("to_trash", [True, False])
async def test_a_directory_that_is_exchanged_after_the_look_at_it_is_not_deleted(
    client: Client, docs: Path, monkeypatch: pytest.MonkeyPatch, to_trash: bool
) -> None:
    """What is deleted for good is what was found free of denied files; the trash loses nothing."""
    (docs / "a").mkdir()
    (docs / "b").mkdir()
    (docs / "b/.env").write_bytes(b"secret")
    check = moving._check_confirmed

    def exchanged(*arguments: Any) -> None:
        check(*arguments)
        (docs / "a").rename(docs / "c")
        (docs / "b").rename(docs / "a")

    monkeypatch.setattr(moving, "_check_confirmed", exchanged)
    result = await client.call("delete_file", path="a", recursive=True, to_trash=to_trash)
    if to_trash:
        ok(await client.call("undo_change"))
    else:
        assert refused(result)["code"] == "FILE_CHANGED"
    assert names(docs) == ["a", "a/.env", "c"]


# --- crashes -----------------------------------------------------------------------------------


def pending(docs: Path) -> list[bytes]:
    """Return the names of the temporary files that a next start would remove now."""
    database = docs.parent / "state/filesystem/changes.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as db:
        sql = "SELECT json_extract(facts, '$.temp') FROM changes WHERE state = 'pending'"
        return [os.fsencode(name) for (name,) in db.execute(sql) if name]


async def test_the_temporary_file_of_an_undo_is_removed_after_a_crash(
    client: Client, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down before there is one, when a file is restored and when it is removed."""
    known = []

    def commit(spot: atomic.Spot, new: atomic.Draft, current: atomic.Current | None) -> None:
        known.append(new.name in pending(docs))
        atomic.commit(spot, new, current)

    def take_aside(spot: atomic.Spot, temp: bytes, status: os.stat_result) -> bool:
        known.append(temp in pending(docs))
        return atomic.take_aside(spot, temp, status)

    monkeypatch.setattr(undoing, "commit", commit)
    monkeypatch.setattr(undoing, "take_aside", take_aside)
    ok(await client.call("write_file", path="a", content="1"))
    ok(await client.call("write_file", path="a", content="2"))
    ok(await client.call("undo_change", last=2))
    assert known == [True, True]
    assert names(docs) == []
    assert pending(docs) == []


# --- what errors say ---------------------------------------------------------------------------


async def test_the_closest_line_is_told_as_one_line(client: Client, docs: Path) -> None:
    """A model reads it: one line is not "lines 3 to 3"."""
    (docs / "a").write_bytes(b"x\ny\nlast line\n")
    error = refused(
        await client.call("edit_file", path="a", edits=[{"oldText": "lost line", "newText": "y"}])
    )
    assert error["message"] == "Edit 0's oldText is not in the file; closest is line 3."
    assert (error["closest"]["start_line"], error["closest"]["end_line"]) == (3, 3)


@pytest.mark.parametrize(
    ("tool", "arguments", "hint"),
    [
        ("write_file", {"path": "no/x", "content": ""}, "make_parents=true makes it."),
        ("create_directory", {"path": "no/x", "parents": False}, "parents=true makes those above."),
        ("copy_file", {"source": "a", "destination": "no/x"}, "Make it first: create_directory."),
        ("move_file", {"source": "a", "destination": "no/x"}, "Make it first: create_directory."),
    ],
)
async def test_where_the_directory_above_is_missing_the_hint_says_what_makes_it(
    client: Client, docs: Path, tool: str, arguments: dict[str, Any], hint: str
) -> None:
    """Listing the directory above, which is said elsewhere, would not help."""
    (docs / "a").touch()
    error = refused(await client.call(tool, **arguments))
    assert (error["code"], error["message"]) == ("FILE_NOT_FOUND", "docs/no does not exist.")
    assert error["hint"] == hint


async def test_what_is_not_found_in_a_missing_directory_is_looked_for_above(client: Client) -> None:
    """To make the directory would not help to find what should be in it."""
    edits = [{"oldText": "a", "newText": "b"}]
    for tool, arguments in (
        ("edit_file", {"path": "no/x", "edits": edits}),
        ("move_file", {"source": "no/x", "destination": "y"}),
        ("delete_file", {"path": "no/x"}),
    ):
        error = refused(await client.call(tool, **arguments))
        assert error["hint"] == "List the directory above to see what is there."


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_file_moved_onto_a_directory_is_told_how_to_move_into_it(
    client: Client, docs: Path, overwrite: bool
) -> None:
    """Overwriting is never possible there, so it is not offered."""
    (docs / "a").touch()
    (docs / "dir").mkdir()
    arguments = {"source": "a", "destination": "dir", "overwrite": overwrite}
    error = refused(await client.call("move_file", **arguments))
    assert error["code"] == "FILE_EXISTS"
    assert error["hint"] == "To move it into the directory, name docs/dir/a as destination."


async def test_a_codec_of_bytes_is_not_suggested_as_encoding(client: Client, docs: Path) -> None:
    """Who writes base64 is told the argument that takes it."""
    error = refused(await client.call("write_file", path="a", content="", encoding="base64"))
    assert error["code"] == "UNKNOWN_ENCODING"
    assert not {"base64", "base_64"} & set(error["nearest"])
    assert "content_base64" in error["hint"]


@pytest.mark.parametrize("digest", ["xyz", "0" * 63, "g" * 64, "0" * 65])
async def test_what_is_no_sha256_is_not_told_as_a_change(
    client: Client, docs: Path, digest: str
) -> None:
    """Reading again would not help a caller who passes something else."""
    (docs / "a").touch()
    arguments = {"path": "a", "content": "x", "if_sha256": digest}
    error = refused(await client.call("write_file", **arguments))
    assert error["code"] == "INVALID_ARGUMENTS"
    assert "if_sha256" in error["message"]
    assert "64 hexadecimal digits" in error["message"]


async def test_a_sha256_in_capitals_is_the_same(client: Client, docs: Path) -> None:
    """Some programs write it so; and an empty one says nothing, as models send for null."""
    (docs / "a").touch()
    digest = sha256(b"").upper()
    ok(await client.call("write_file", path="a", content="x", if_sha256=digest))
    ok(await client.call("write_file", path="a", content="y", if_sha256=""))


async def test_an_ambiguous_edit_tells_each_line_once(client: Client, docs: Path) -> None:
    """Several places may be in one line."""
    (docs / "a").write_bytes(b"aaa\nb\na\n")
    edit = {"oldText": "a", "newText": "b"}
    error = refused(await client.call("edit_file", path="a", edits=[edit]))
    assert error["message"].endswith("one place was asked for; lines 1, 3.")
    assert (error["places"], error["lines"]) == (4, [1, 3])
    error = refused(await client.call("edit_file", path="a", edits=[{**edit, "oldText": "aa"}]))
    assert error["message"].endswith("one place was asked for; line 1.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"edits": '[{"oldText": "a", "newText": "b"}]'},
            "edits: an array of objects is expected, not a string with one",
        ),
        (
            {"edits": [{"old_string": "a", "new_string": "b"}]},
            "edits.0: old_string is called oldText here, new_string is called newText",
        ),
        (
            {"edits": [{"oldText": "a", "new_text": "b"}]},
            "edits.0: new_text is called newText here",
        ),
        (
            {"old_string": "a", "new_string": "b"},
            "texts to replace are expected as edits: [{oldText, newText}]",
        ),
    ],
)
async def test_edits_as_other_tools_take_them_are_told_how_they_are_written_here(
    client: Client, docs: Path, arguments: dict[str, Any], said: str
) -> None:
    """They are not guessed: what is accepted silently is in no schema."""
    (docs / "a").write_bytes(b"a")
    error = refused(await client.call("edit_file", path="a", **arguments))
    assert error["code"] == "INVALID_ARGUMENTS"
    assert error["message"] == f"Invalid arguments: {said}."
    assert (docs / "a").read_bytes() == b"a"


async def test_a_glob_with_nul_is_not_called_too_long(client: Client) -> None:
    """The error says which of the two rules it breaks."""
    for pattern, said in (("a\0b", "NUL"), ("a" * 1001, "1001 characters")):
        error = refused(await client.call("search_files", path="docs", pattern=pattern))
        assert error["code"] == "BAD_PATTERN"
        assert said in error["message"]
        assert ("NUL" in error["message"]) == (said == "NUL")


async def test_text_with_nul_is_not_text_until_its_encoding_is_said(
    client: Client, docs: Path
) -> None:
    """The hint names what works; for what is no UTF-8 it would not. One NUL makes no UTF-16."""
    (docs / "nul.log").write_bytes(b"one\0two\n")
    (docs / "binary").write_bytes(b"\0\xff\xfe\x01\0\xc3\0")
    error = refused(await client.call("read_text_file", path="nul.log"))
    assert error["code"] == "NOT_TEXT"
    assert "encoding='utf-8'" in error["hint"]
    read = ok(await client.call("read_text_file", path="nul.log", encoding="utf-8"))
    assert read["content"] == "one\0two\n"
    error = refused(await client.call("read_text_file", path="binary"))
    assert "utf-8" not in error["hint"]


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("write_file", {"path": "new/", "content": "x"}),
        ("write_file", {"path": "a/", "content": "x"}),
        ("write_file", {"path": "a/.", "content": "x", "mode": "append"}),
        ("edit_file", {"path": "docs/a/", "edits": [{"oldText": "a", "newText": "b"}]}),
        ("copy_file", {"source": "a", "destination": "new/"}),
        ("copy_file", {"source": "a/", "destination": "new"}),
        ("move_file", {"source": "a", "destination": "new/"}),
        ("move_file", {"source": "a/", "destination": "new"}),
        ("move_file", {"source": "link/", "destination": "new"}),
        ("delete_file", {"path": "a/"}),
    ],
)
async def test_a_path_with_a_slash_at_its_end_means_no_file(
    client: Client, docs: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """As for the kernel (path_resolution(7)): who writes it means a directory."""
    (docs / "a").write_bytes(b"a")
    (docs / "link").symlink_to("a")
    error = refused(await client.call(tool, **arguments))
    assert error["code"] == "BAD_PATH"
    assert "slash" in error["message"]
    assert names(docs) == ["a", "link"]
    assert (docs / "a").read_bytes() == b"a"


async def test_a_uri_with_a_slash_at_its_end_means_no_file_either(
    client: Client, docs: Path
) -> None:
    """All forms of a path say the same."""
    for path in (f"file://{docs}/new/", f"{docs}/new/"):
        error = refused(await client.call("write_file", path=path, content="x"))
        assert error["code"] == "BAD_PATH"
    assert names(docs) == []


async def test_directories_may_be_named_with_a_slash_at_their_end(
    client: Client, docs: Path
) -> None:
    """Models write them so."""
    ok(await client.call("create_directory", path="a/"))
    ok(await client.call("copy_file", source="a/", destination="b/", recursive=True))
    ok(await client.call("move_file", source="b/", destination="c/"))
    ok(await client.call("delete_file", path="a/"))
    assert names(docs) == ["c"]


# --- undoing -----------------------------------------------------------------------------------


async def test_as_many_changes_are_listed_as_were_asked_for(client: Client) -> None:
    """Twenty where nothing is said."""
    for number in range(22):
        ok(await client.call("write_file", path="a", content=str(number)))
    for arguments, count in (({}, 20), ({"last": 6}, 6), ({"last": 1}, 1), ({"last": 100}, 22)):
        listed = ok(await client.call("undo_change", list=True, **arguments))
        assert len(listed["changes"]) == count


# --- deep directories --------------------------------------------------------------------------


async def test_directories_as_deep_as_paths_can_name_are_moved_and_deleted(
    client: Client, docs: Path
) -> None:
    """What can be made can be removed, with one descriptor open and without recursion."""
    deep = "/".join(["a"] * 2_000)
    ok(await client.call("create_directory", path=deep))
    ok(await client.call("move_file", source="a", destination="b"))
    (docs / "b/a/a/f").touch()
    deleted = ok(
        await client.call(
            "delete_file", path="b", recursive=True, to_trash=False, confirm_count=2_000
        )
    )
    assert deleted["entries"] == 2_000
    assert names(docs) == []


async def test_directories_that_are_too_deep_to_copy_are_told_as_such(client: Client) -> None:
    """The copy holds several descriptors of each; nothing of it stays."""
    ok(await client.call("create_directory", path="/".join(["a"] * 300)))
    error = refused(await client.call("copy_file", source="a", destination="b", recursive=True))
    assert error["code"] == "LIMIT_EXCEEDED"
    assert "200 directories" in error["message"]
    listed = ok(await client.call("list_directory", path="."))
    assert [entry["name"] for entry in listed["entries"]] == ["a"]


async def test_a_directory_that_moves_away_while_it_is_removed_is_not_followed(
    client: Client, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back up is only taken to where it came from: what is elsewhere now stays."""
    outside = docs.parent / "outside"
    (outside / "a").mkdir(parents=True)
    (outside / "a/canary").touch()
    (docs / "top/a/b").mkdir(parents=True)
    (docs / "top/a/b/f").touch()
    unlink = os.unlink

    def moved_away(path: Any, *, dir_fd: int | None = None) -> None:
        if path == b"f":
            (b,) = docs.glob("**/b")
            b.rename(outside / "b")
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", moved_away)
    error = refused(await client.call("delete_file", path="top", recursive=True, to_trash=False))
    monkeypatch.undo()
    assert error["code"] == "FILE_BUSY"
    assert names(docs) == ["top", "top/a"]
    assert names(outside) == ["a", "a/canary", "b"]


# --- searching by name -------------------------------------------------------------------------


async def test_a_glob_of_one_name_that_finds_nothing_says_where_it_looked(
    client: Client, docs: Path
) -> None:
    """As the official server it looks only directly there, which is seldom what is meant."""
    (docs / "src").mkdir()
    (docs / "src/a.py").touch()
    for path in ("docs", "docs/src/.."):
        found = ok(await client.call("search_files", path=path, pattern="*.py"))
        assert found["content"].startswith("No matches found directly in docs")
        assert "**/*.py" in found["content"]
    for pattern in ("**/*.txt", "src/*.txt", "!**"):
        found = ok(await client.call("search_files", path="docs", pattern=pattern))
        assert found["content"] == "No matches found"
    found = ok(await client.call("search_files", path="docs", pattern="*.py", sort="size"))
    assert "**/*.py" in found["content"]


async def test_excluded_names_count_only_directly_in_the_directory_as_said(
    client: Client, docs: Path
) -> None:
    """The official server matches them with the path too; the schema says what to write."""
    (docs / "src").mkdir()
    for path in ("a.test.py", "src/b.test.py"):
        (docs / path).touch()
    call = {"path": "docs", "pattern": "**/*.py"}
    found = ok(await client.call("search_files", **call, excludePatterns=["*.test.py"]))
    assert found["content"] == "docs/src/b.test.py"
    found = ok(await client.call("search_files", **call, excludePatterns=["**/*.test.py"]))
    assert found["content"] == "No matches found"
    tools = {tool["name"]: tool for tool in (await client.rpc("tools/list"))["result"]["tools"]}
    schema = tools["search_files"]["inputSchema"]["properties"]["excludePatterns"]
    assert "**/" in schema["description"]
