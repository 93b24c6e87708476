"""write_file, edit_file, create_directory and diff_files through the public door."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.testing import Client
from tests.conftest import missing
from tests.services.filesystem.answers import names, ok, refused, sha256
from tests.services.filesystem.conftest import client_of

# --- write_file --------------------------------------------------------------------------------


async def test_a_new_file_holds_exactly_what_was_given(client: Client, docs: Path) -> None:
    """UTF-8 and no newline more or less; the mode is that of any new file."""
    content = "größer\r\n日本語\n\ttail"
    result = ok(await client.call("write_file", path="docs/a.txt", content=content))
    assert (docs / "a.txt").read_bytes() == content.encode()
    assert result["created"] is True
    assert result["sha256_before"] is None
    assert result["sha256_after"] == sha256(content.encode())
    assert result["bytes"] == len(content.encode())
    (docs / "b.txt").write_text("")
    assert (docs / "a.txt").stat().st_mode == (docs / "b.txt").stat().st_mode
    assert names(docs) == ["a.txt", "b.txt"]


async def test_overwriting_keeps_the_mode_and_shows_the_difference(
    client: Client, docs: Path
) -> None:
    """The file is another one, which looks the same in all but its content."""
    file = docs / "a.sh"
    file.write_bytes(b"one\ntwo\n")
    file.chmod(0o751)
    result = ok(await client.call("write_file", path="a.sh", content="one\n2\n"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o751
    assert result["sha256_before"] == sha256(b"one\ntwo\n")
    assert result["diff"] == "--- docs/a.sh\n+++ docs/a.sh\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert names(docs) == ["a.sh"]


async def test_attributes_of_a_file_survive(client: Client, docs: Path) -> None:
    """What the user stored with a file goes over to its next content."""
    file = docs / "a.txt"
    file.write_bytes(b"1")
    try:
        os.setxattr(file, "user.origin", b"here")
    except OSError:
        missing("extended attributes", "use a file system that has them")
    ok(await client.call("write_file", path="a.txt", content="2"))
    assert os.getxattr(file, "user.origin") == b"here"


async def test_the_bits_that_run_a_program_as_another_are_taken_away(
    client: Client, docs: Path
) -> None:
    """The kernel does so on every write; a rename must not be a way around it."""
    file = docs / "tool"
    file.write_bytes(b"1")
    file.chmod(0o6755)
    ok(await client.call("write_file", path="tool", content="2"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o755


async def test_create_refuses_what_exists(client: Client, docs: Path) -> None:
    """And leaves it."""
    (docs / "a.txt").write_bytes(b"old")
    error = refused(await client.call("write_file", path="a.txt", content="new", mode="create"))
    assert error["code"] == "FILE_EXISTS"
    assert (docs / "a.txt").read_bytes() == b"old"


async def test_append_adds_to_the_bytes_that_are_there(client: Client, docs: Path) -> None:
    """Also to a file that is not there yet."""
    ok(await client.call("write_file", path="log", content="1\n", mode="append"))
    (docs / "log").write_bytes(b"\xff\xfe1\n")
    ok(await client.call("write_file", path="log", content="2\n", mode="append"))
    assert (docs / "log").read_bytes() == b"\xff\xfe1\n2\n"


async def test_bytes_travel_as_base64(client: Client, docs: Path) -> None:
    """A binary file has no diff, which is said."""
    data = bytes(range(256))
    result = ok(
        await client.call("write_file", path="b", content_base64=base64.b64encode(data).decode())
    )
    assert (docs / "b").read_bytes() == data
    assert result["diff"] == ""
    assert "no text" in result["notes"][0]
    error = refused(await client.call("write_file", path="b", content_base64="not base64!"))
    assert error["code"] == "INVALID_ARGUMENTS"


async def test_content_can_be_written_in_another_encoding(client: Client, docs: Path) -> None:
    """What the encoding lacks is refused instead of replaced."""
    ok(await client.call("write_file", path="a", content="é", encoding="latin-1"))
    assert (docs / "a").read_bytes() == b"\xe9"
    error = refused(await client.call("write_file", path="a", content="\u03b1", encoding="latin-1"))
    assert error["code"] == "UNENCODABLE"
    error = refused(await client.call("write_file", path="a", content="a", encoding="base64"))
    assert error["code"] == "UNKNOWN_ENCODING"
    assert (docs / "a").read_bytes() == b"\xe9"


@pytest.mark.parametrize(
    "arguments", [{}, {"content": "a", "content_base64": ""}, {"content": "a", "mode": "replace"}]
)
async def test_write_needs_one_content_and_a_known_mode(
    client: Client, arguments: dict[str, str]
) -> None:
    """Nothing is guessed."""
    error = refused(await client.call("write_file", path="a", **arguments))
    assert error["code"] == "INVALID_ARGUMENTS"


async def test_if_sha256_lets_only_the_known_content_be_replaced(
    client: Client, docs: Path
) -> None:
    """Otherwise it is told what is there now, and nothing is written."""
    (docs / "a").write_bytes(b"1")
    error = refused(
        await client.call("write_file", path="a", content="2", if_sha256=sha256(b"other"))
    )
    assert error["code"] == "FILE_CHANGED"
    assert error["sha256"] == sha256(b"1")
    ok(await client.call("write_file", path="a", content="2", if_sha256=sha256(b"1").upper()))
    gone = refused(await client.call("write_file", path="b", content="2", if_sha256=sha256(b"")))
    assert gone["sha256"] is None
    assert names(docs) == ["a"]


async def test_missing_directories_are_made_when_asked_for(client: Client, docs: Path) -> None:
    """And removed again when the file then cannot be written."""
    error = refused(await client.call("write_file", path="x/y/a", content="1"))
    assert error["code"] == "FILE_NOT_FOUND"
    ok(await client.call("write_file", path="x/y/a", content="1", make_parents=True))
    assert (docs / "x/y/a").read_bytes() == b"1"
    wrong = sha256(b"?")
    refused(
        await client.call(
            "write_file", path="p/q/a", content="", make_parents=True, if_sha256=wrong
        )
    )
    assert names(docs) == ["x", "x/y", "x/y/a"]


async def test_a_dry_run_changes_nothing(client: Client, docs: Path) -> None:
    """It answers as the call would."""
    (docs / "a").write_bytes(b"1\n")
    result = ok(await client.call("write_file", path="a", content="2\n", dry_run=True))
    assert "+2\n" in result["diff"]
    assert result["undo_id"] is None
    result = ok(
        await client.call("write_file", path="x/b", content="2", dry_run=True, make_parents=True)
    )
    assert result["created"] is False
    assert names(docs) == ["a"]
    assert (docs / "a").read_bytes() == b"1\n"


async def test_writing_what_is_there_already_writes_nothing(client: Client, docs: Path) -> None:
    """The file stays the very same."""
    (docs / "a").write_bytes(b"1")
    before = (docs / "a").stat()
    assert ok(await client.call("write_file", path="a", content="1"))["changed"] is False
    after = (docs / "a").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_too_much_is_refused_with_the_limit(docs: Path) -> None:
    """The setting bounds what is written, also by appending."""
    async with client_of(docs.parent, roots=f"docs={docs}:write", max_write_bytes=1024) as client:
        error = refused(await client.call("write_file", path="a", content="x" * 1025))
        assert error["code"] == "LIMIT_EXCEEDED"
        assert error["limit_bytes"] == 1024
        ok(await client.call("write_file", path="a", content="x" * 1000))
        error = refused(await client.call("write_file", path="a", content="x" * 25, mode="append"))
        assert error["size_bytes"] == 1025
        (docs / "big").write_bytes(b"x" * 5000)
        error = refused(
            await client.call("edit_file", path="big", edits=[{"oldText": "x", "newText": ""}])
        )
        assert error["code"] == "TOO_BIG_TO_READ"
        result = ok(await client.call("write_file", path="big", content="small"))
        assert result["sha256_before"] is None
        assert result["undo_id"] is None


# --- where -------------------------------------------------------------------------------------


async def test_a_link_that_stays_inside_is_written_through(client: Client, docs: Path) -> None:
    """The file that it leads to is replaced, and the link stays one."""
    (docs / "real").mkdir()
    (docs / "real/a.txt").write_bytes(b"1")
    (docs / "link.txt").symlink_to("real/a.txt")
    result = ok(await client.call("write_file", path="link.txt", content="2"))
    assert result["notes"] == ["docs/link.txt leads to docs/real/a.txt, which was written."]
    assert (docs / "link.txt").is_symlink()
    assert (docs / "real/a.txt").read_bytes() == b"2"


@pytest.mark.parametrize("tool", ["write_file", "edit_file"])
async def test_a_link_that_leads_out_is_refused(client: Client, docs: Path, tool: str) -> None:
    """Nothing outside is written, and where it leads to is not told."""
    secret = docs.parent / "outside.txt"
    secret.write_bytes(b"out")
    (docs / "absolute").symlink_to(secret)
    (docs / "relative").symlink_to("../outside.txt")
    (docs / "dir").symlink_to("..")
    what: dict[str, Any] = (
        {"content": "x"}
        if tool == "write_file"
        else {"edits": [{"oldText": "out", "newText": "x"}]}
    )
    for path in ("absolute", "relative", "dir/outside.txt", "../outside.txt", str(secret)):
        error = refused(await client.call(tool, path=path, **what))
        assert error["code"] == "OUTSIDE_ROOT"
        assert "outside.txt" not in error["message"] or "outside.txt" in path
    assert secret.read_bytes() == b"out"


async def test_a_link_to_nothing_is_refused(client: Client, docs: Path) -> None:
    """What was meant is not clear; the link is neither followed nor replaced."""
    (docs / "link").symlink_to("nothing")
    error = refused(await client.call("write_file", path="link", content="x"))
    assert error["code"] == "FILE_NOT_FOUND"
    assert names(docs) == ["link"]


@pytest.mark.parametrize("path", ["docs/dir", "docs", "fifo"])
async def test_only_regular_files_are_written(client: Client, docs: Path, path: str) -> None:
    """A directory, the root itself, a FIFO, which would block."""
    (docs / "dir").mkdir()
    os.mkfifo(docs / "fifo")
    error = refused(await client.call("write_file", path=path, content="x"))
    assert error["code"] == "NOT_A_FILE"
    assert names(docs) == ["dir", "fifo"]


async def test_other_names_of_a_file_keep_what_they_held(client: Client, docs: Path) -> None:
    """Replacing breaks a hard link, which the result says."""
    (docs / "a").write_bytes(b"1")
    os.link(docs / "a", docs / "b")
    result = ok(await client.call("write_file", path="a", content="2"))
    assert "2 names" in result["notes"][0]
    assert (docs / "b").read_bytes() == b"1"


async def test_denied_paths_are_not_written(client: Client, docs: Path) -> None:
    """By their own name, through a link, below a denied directory, and the server's own ones."""
    (docs / ".git/hooks").mkdir(parents=True)
    (docs / "hooks").symlink_to(".git/hooks")
    (docs / "inside").symlink_to(".git")
    (docs / ".env").write_bytes(b"SECRET=1")
    (docs / "env").symlink_to(".env")
    for path in (
        ".env",
        "env",
        ".git/config",
        "hooks/post-commit",
        "inside/new/config",
        ".mcp-trash/x",
        ".mcp-0123456789abcdef.tmp",
    ):
        error = refused(await client.call("write_file", path=path, content="x", make_parents=True))
        assert error["code"] == "PATH_DENIED", path
    assert names(docs) == [".env", ".git", ".git/hooks", "env", "hooks", "inside"]
    assert (docs / ".env").read_bytes() == b"SECRET=1"


async def test_the_mode_of_the_root_decides_what_is_offered(docs: Path) -> None:
    """A tool that nothing allows is not listed; one root's mode does not hold for another."""
    expected = {
        "list": set(),
        "read": {"diff_files"},
        "write": {"write_file", "edit_file", "create_directory", "copy_file", "undo_change"},
        "delete": {"move_file", "delete_file"},
    }
    for mode, names_ in expected.items():
        async with client_of(docs.parent, roots=f"docs={docs}:{mode}") as client:
            listed = {t["name"] for t in (await client.rpc("tools/list"))["result"]["tools"]}
        below = list(expected)[: list(expected).index(mode) + 1]
        offered = set().union(*(expected[m] for m in below))
        assert listed & set().union(*expected.values()) == offered, names_
    other = docs.parent / "other"
    other.mkdir()
    async with client_of(docs.parent, roots=f"docs={docs}:read,other={other}:write") as client:
        error = refused(await client.call("write_file", path="docs/a", content="x"))
        assert error["code"] == "ROOT_MODE"
    assert names(docs) == []


async def test_hard_linked_files_are_refused_where_the_operator_says_so(docs: Path) -> None:
    """One of the names may lie outside."""
    (docs / "a").write_bytes(b"1")
    os.link(docs / "a", docs.parent / "b")
    async with client_of(docs.parent, roots=f"docs={docs}:delete", hard_links="refuse") as client:
        calls: list[tuple[str, dict[str, Any]]] = [
            ("write_file", {"path": "a", "content": "2"}),
            ("move_file", {"source": "a", "destination": "c"}),
            ("copy_file", {"source": "a", "destination": "c"}),
            ("delete_file", {"path": "a"}),
        ]
        for tool, arguments in calls:
            assert refused(await client.call(tool, **arguments))["code"] == "HARD_LINKED"
    assert names(docs) == ["a"]


async def test_a_file_that_may_not_be_written_is_not_replaced_either(
    client: Client, docs: Path
) -> None:
    """A rename would need no permission of the file; the system is asked what this user may."""
    (docs / "a").write_bytes(b"1")
    (docs / "a").chmod(0o444)
    result = await client.call("write_file", path="a", content="2")
    if os.access(docs / "a", os.W_OK):  # as root may
        ok(result)
    else:
        assert refused(result)["code"] == "ACCESS_DENIED"
    assert stat.S_IMODE((docs / "a").stat().st_mode) == 0o444


# --- edit_file ---------------------------------------------------------------------------------


async def test_an_edit_keeps_newlines_mark_and_encoding(client: Client, docs: Path) -> None:
    """What was not matched stays the same to the byte."""
    raw = "\ufeffone\r\ntwo ü\r\nthree".encode("utf-16-le")
    (docs / "a").write_bytes(raw)
    result = ok(
        await client.call("edit_file", path="a", edits=[{"oldText": "one\ntwo", "newText": "1\n2"}])
    )
    assert (docs / "a").read_bytes() == raw.decode("utf-16-le").replace("one", "1").replace(
        "two", "2"
    ).encode("utf-16-le")
    assert result["encoding"] == "utf-16-le"
    assert result["replacements"] == 1


async def test_edits_are_all_or_nothing(client: Client, docs: Path) -> None:
    """The first fits, the second does not, the file stays."""
    (docs / "a").write_bytes(b"one two")
    edits = [{"oldText": "one", "newText": "1"}, {"oldText": "three", "newText": "3"}]
    error = refused(await client.call("edit_file", path="a", edits=edits))
    assert error["code"] == "EDIT_NOT_FOUND"
    assert error["edit"] == 1
    assert (docs / "a").read_bytes() == b"one two"


async def test_the_three_kinds_of_edits(client: Client, docs: Path) -> None:
    """Texts, lines and patches, each through the tool."""
    file = docs / "a"
    file.write_bytes(b"a\nb\nc\n")
    ok(await client.call("edit_file", path="a", edits=[{"start_line": 2, "newText": "B"}]))
    assert file.read_bytes() == b"a\nB\nc\n"
    ok(await client.call("edit_file", path="a", patch="@@ -1 +1,2 @@\n a\n+x\n"))
    assert file.read_bytes() == b"a\nx\nB\nc\n"
    edit = {"oldText": "([a-z])$", "newText": r"<\1>", "regex": True, "count": 0}
    result = ok(await client.call("edit_file", path="a", edits=[edit]))
    assert file.read_bytes() == b"<a>\n<x>\nB\n<c>\n"
    assert result["replacements"] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"edits": []},
        {"edits": [{"newText": "x"}]},
        {"edits": [{"oldText": "a", "start_line": 1, "newText": ""}]},
        {"edits": [{"end_line": 1, "oldText": "a", "newText": ""}]},
        {"edits": [{"start_line": 1, "newText": "", "regex": True}]},
        {"edits": [{"start_line": 1, "newText": ""}, {"oldText": "a", "newText": ""}]},
        {"edits": [{"oldText": "a", "newText": "b"}], "patch": "@@ -1 +1 @@\n-a\n+b\n"},
        {"edits": [{"oldText": "(", "newText": "", "regex": True}]},
    ],
)
async def test_edits_that_contradict_themselves_are_refused(
    client: Client, docs: Path, arguments: dict[str, Any]
) -> None:
    """Nothing is guessed, nothing is written."""
    (docs / "a").write_bytes(b"a")
    error = refused(await client.call("edit_file", path="a", **arguments))
    assert error["code"] in ("INVALID_ARGUMENTS", "BAD_PATTERN")
    assert (docs / "a").read_bytes() == b"a"


async def test_an_edit_with_dry_run_only_shows_the_diff(client: Client, docs: Path) -> None:
    """The argument has the official server's name."""
    (docs / "a").write_bytes(b"a\n")
    edits = [{"oldText": "a", "newText": "b"}]
    result = ok(await client.call("edit_file", path="a", edits=edits, dryRun=True))
    assert result["diff"].endswith("-a\n+b\n")
    assert (docs / "a").read_bytes() == b"a\n"


async def test_a_file_of_unknown_encoding_is_edited_without_harm(
    client: Client, docs: Path
) -> None:
    """Bytes that are no text stay; new text that is not ASCII needs the encoding."""
    raw = b"\x00\x9d name = caf\xe9 \x81\r\n"
    (docs / "a").write_bytes(raw)
    edits = [{"oldText": "name", "newText": "title"}]
    result = ok(await client.call("edit_file", path="a", edits=edits))
    assert (docs / "a").read_bytes() == raw.replace(b"name", b"title")
    assert result["encoding"] is None
    edits = [{"oldText": "title", "newText": "título"}]
    error = refused(await client.call("edit_file", path="a", edits=edits))
    assert error["code"] == "UNENCODABLE"
    ok(await client.call("edit_file", path="a", edits=edits, encoding="latin-1"))
    assert (docs / "a").read_bytes() == raw.replace(b"name", b"t\xedtulo")


async def test_an_edit_of_a_missing_file_says_so(client: Client, docs: Path) -> None:
    """It makes none."""
    edits = [{"oldText": "", "newText": "x"}]
    assert refused(await client.call("edit_file", path="a", edits=edits))["code"] == (
        "FILE_NOT_FOUND"
    )
    assert names(docs) == []


# --- create_directory, diff_files --------------------------------------------------------------


async def test_directories_are_made_with_those_above_and_once(client: Client, docs: Path) -> None:
    """One that is there is fine, as with the official server; a file of that name is not."""
    assert ok(await client.call("create_directory", path="x/y"))["created"] is True
    assert ok(await client.call("create_directory", path="x/y"))["created"] is False
    assert ok(await client.call("create_directory", path="docs"))["created"] is False
    error = refused(await client.call("create_directory", path="p/q", parents=False))
    assert error["code"] == "FILE_NOT_FOUND"
    (docs / "file").write_bytes(b"")
    assert refused(await client.call("create_directory", path="file"))["code"] == "FILE_EXISTS"
    error = refused(await client.call("create_directory", path="file/x"))
    assert error["code"] == "NOT_A_DIRECTORY"
    assert names(docs) == ["file", "x", "x/y"]


async def test_files_are_compared(client: Client, docs: Path) -> None:
    """As text where they are text; that they have the same text in other bytes is said."""
    (docs / "a").write_bytes(b"one\ntwo\n")
    (docs / "b").write_bytes(b"one\n2\n3\n")
    result = ok(await client.call("diff_files", a="a", b="b", context=0))
    assert result["diff"] == "--- docs/a\n+++ docs/b\n@@ -2 +2,2 @@\n-two\n+2\n+3\n"
    assert (result["lines_added"], result["lines_removed"]) == (2, 1)
    (docs / "c").write_bytes("\ufeffone\ntwo\n".encode("utf-16-le"))
    result = ok(await client.call("diff_files", a="a", b="c"))
    assert (result["identical"], result["diff"]) == (False, "")
    assert "same text" in result["content"]
    (docs / "d").write_bytes(b"\x00\x01")
    assert ok(await client.call("diff_files", a="a", b="d"))["binary"] is True
    assert ok(await client.call("diff_files", a="d", b="d"))["identical"] is True
    (docs / "e").write_bytes(b"one\r\ntwo\n")
    result = ok(await client.call("diff_files", a="a", b="e"))
    assert "-one\n+one\r\n" in result["diff"]


async def test_a_long_diff_is_cut_and_says_so(client: Client, docs: Path) -> None:
    """The counts are still whole."""
    (docs / "a").write_bytes(b"".join(b"%d\n" % i for i in range(20_000)))
    (docs / "b").write_bytes(b"".join(b"%d!\n" % i for i in range(20_000)))
    result = ok(await client.call("diff_files", a="a", b="b"))
    assert result["diff_truncated"] is True
    assert len(result["diff"]) <= 32_000
    assert result["lines_added"] == 20_000


# --- disks that do not do what they should -------------------------------------------------------


async def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, mounted: Path) -> None:
    """Nothing half-written, no temporary file, and an error that says what is wrong."""
    async with client_of(tmp_path, roots=f"tiny={mounted}:delete") as client:
        ok(await client.call("write_file", path="a", content="old" * 1000))
        big = "x" * 100_000
        error = refused(await client.call("write_file", path="a", content=big))
        assert error["code"] == "DISK_FULL"
        assert refused(await client.call("write_file", path="b", content=big))["code"] == (
            "DISK_FULL"
        )
        (mounted / "c").write_bytes(b"y" * 30_000)
        error = refused(await client.call("copy_file", source="c", destination="d"))
        assert error["code"] == "DISK_FULL"
        (mounted / "e").mkdir()
        os.link(mounted / "c", mounted / "e/c")
        error = refused(await client.call("copy_file", source="e", destination="f", recursive=True))
        assert error["code"] == "DISK_FULL"
    assert (mounted / "a").read_bytes() == b"old" * 1000
    assert names(mounted) == ["a", "c", "e", "e/c"]


def _make_read_only(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)


async def test_a_read_only_disk_is_told_as_such(tmp_path: Path, mounted: Path) -> None:
    """For every kind of change."""
    (mounted / "a").write_bytes(b"1")
    (mounted / "dir").mkdir()
    _make_read_only(mounted)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("write_file", {"path": "a", "content": "2"}),
        ("write_file", {"path": "b", "content": "2"}),
        ("edit_file", {"path": "a", "edits": [{"oldText": "1", "newText": "2"}]}),
        ("create_directory", {"path": "new"}),
        ("move_file", {"source": "a", "destination": "c"}),
        ("copy_file", {"source": "a", "destination": "c"}),
        ("delete_file", {"path": "a", "to_trash": False}),
        ("delete_file", {"path": "dir", "to_trash": False}),
        ("delete_file", {"path": "a"}),
    ]
    async with client_of(tmp_path, roots=f"tiny={mounted}:delete") as client:
        for tool, arguments in calls:
            error = refused(await client.call(tool, **arguments))
            assert error["code"] == "READ_ONLY_DISK", (tool, error)
    assert names(mounted) == ["a", "dir"]
