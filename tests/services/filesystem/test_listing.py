"""list_directory, list_directory_with_sizes, directory_tree and get_file_info."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from core.testing import Client
from services.filesystem.backend.listing import size_text
from tests.services.filesystem.conftest import client_of
from tests.services.filesystem.official import official


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files and the directories above them."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that succeeds and return its structured result."""
    result = await client.call(tool, **{"path": "docs", **arguments})
    assert result.structured is not None, result.text
    return result.structured


async def code(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool that fails and return the error's code."""
    result = await client.call(tool, **arguments)
    assert result.error is not None, result.text
    return str(result.error["code"])


async def names(client: Client, **arguments: Any) -> list[str]:
    """Return the names that list_directory shows of docs."""
    found = await answer(client, "list_directory", **arguments)
    return [entry["name"] for entry in found["entries"]]


# --- one directory -------------------------------------------------------------------------------


async def test_a_directory_is_listed_with_kinds_sizes_and_times(client: Client, docs: Path) -> None:
    """Links as links; denied names not at all."""
    write(docs, {"b.txt": "12345", ".hidden": "", "a/x": "", ".env": "secret"})
    (docs / "link").symlink_to("a")
    os.utime(docs / "b.txt", (1_000_000_000, 1_000_000_000))
    found = await answer(client, "list_directory")
    kinds = {entry["name"]: entry["kind"] for entry in found["entries"]}
    assert kinds == {".hidden": "file", "a": "directory", "b.txt": "file", "link": "symlink"}
    assert found["entries"][2] == {
        "name": "b.txt",
        "kind": "file",
        "size_bytes": 5,
        "mtime": "2001-09-09T01:46:40Z",
    }
    assert found["content"] == "[FILE] .hidden\n[DIR] a\n[FILE] b.txt\n[LINK] link"
    assert found["total"] == 4


async def test_a_listing_is_filtered_and_sorted_as_asked(client: Client, docs: Path) -> None:
    """Names part what is alike, from A to Z."""
    write(docs, {"a": "xx", "b": "x", "c": "xx", ".d": "xxx"})
    (docs / "e").mkdir()
    for number, name in enumerate(("c", "a", "b")):
        os.utime(docs / name, (1_000 + number, 1_000 + number))
    some = {"kinds": ["file"], "include_hidden": False}
    assert await names(client, **some) == ["a", "b", "c"]
    assert await names(client, order="desc", **some) == ["c", "b", "a"]
    assert await names(client, sort="size", order="desc", **some) == ["a", "c", "b"]
    assert await names(client, sort="mtime", **some) == ["c", "a", "b"]
    assert await names(client, kinds=["directory"]) == ["e"]
    assert await names(client, sort="size", order="desc") == [".d", "a", "c", "b", "e"]


@pytest.mark.parametrize("sort", ["name", "size", "mtime"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_join_to_the_whole_directory(
    client: Client, docs: Path, sort: str, order: str
) -> None:
    """The next page begins behind a name, not at a number, so new names do not shift it."""
    write(docs, {f"f{number}": "x" * (number % 3) for number in range(10)})
    whole = await names(client, sort=sort, order=order)
    joined: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await answer(
            client, "list_directory", sort=sort, order=order, limit=3, cursor=cursor
        )
        joined += [entry["name"] for entry in page["entries"]]
        cursor = page["next_cursor"]
        assert page["total"] == 10
    assert joined == whole


@pytest.mark.parametrize(("order", "left"), [("asc", "defg"), ("desc", "dcba")])
async def test_a_page_begins_behind_a_name_that_is_gone(
    client: Client, docs: Path, order: str, left: str
) -> None:
    """And with names that came meanwhile, which are no text perhaps."""
    write(docs, dict.fromkeys("abcefg", ""))
    first = await answer(client, "list_directory", order=order, limit=3)
    gone = first["entries"][-1]["name"]
    (docs / gone).unlink()
    write(docs, {"d": ""})
    (docs / os.fsdecode(b"z\xff")).touch()
    page = await answer(client, "list_directory", order=order, cursor=first["next_cursor"])
    found = [entry["name"] for entry in page["entries"]]
    assert [name for name in found if len(name) == 1] == list(left)
    assert [name.endswith("z%FF") for name in found[len(left) :]] == [True] * (order == "asc")


async def test_a_large_listing_stays_within_its_bytes(client: Client, docs: Path) -> None:
    """And goes on with its cursor."""
    write(docs, {f"file-with-a-long-name-{number:05}": "" for number in range(500)})
    seen = 0
    cursor: str | None = ""
    while cursor is not None:
        arguments = {"path": "docs", "cursor": cursor, "max_bytes": 10_000}
        result = await client.call("list_directory", **arguments)
        assert len(result.text) <= 10_000
        assert result.structured is not None
        seen += result.structured["returned"]
        cursor = result.structured["next_cursor"]
    assert seen == 500


async def test_sizes_come_with_totals(client: Client, docs: Path) -> None:
    """Of the whole directory, also where a page shows less."""
    write(docs, {"a": "x" * 100, "b": "x" * 2_000, "d/e": "x" * 9})
    found = await answer(client, "list_directory_with_sizes", sortBy="size", limit=1)
    assert [entry["name"] for entry in found["entries"]] == ["b"]
    assert (found["total_files"], found["total_directories"], found["total_bytes"]) == (2, 1, 2100)
    assert found["content"].endswith("\n\nTotal: 2 files, 1 directories\nCombined size: 2.05 KB")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KB"), (1536, "1.50 KB"), (5 * 2**40, "5.00 TB")],
)
def test_sizes_are_written_as_the_official_server_does(size: int, text: str) -> None:
    """In powers of 1,024."""
    assert size_text(size) == text


async def test_the_official_server_lists_the_same(client: Client, docs: Path) -> None:
    """Its text is in our `content`, and its tree in ours."""
    write(docs, {"a.txt": "x" * 3_000, "d/b": "xx", "d/e/f": "", ".h": "", "node_modules/x": ""})
    with official(docs) as server:
        listed = server.call("list_directory", path=str(docs))["structuredContent"]["content"]
        sized = server.call("list_directory_with_sizes", path=str(docs), sortBy="size")
        excluded = ["node_modules", "*.txt"]
        tree = server.call("directory_tree", path=str(docs), excludePatterns=excluded)
        info = server.call("get_file_info", path=f"{docs}/a.txt")["structuredContent"]["content"]
    ours = await answer(client, "list_directory")
    assert sorted(ours["content"].splitlines()) == sorted(listed.splitlines())
    ours = await answer(client, "list_directory_with_sizes", sortBy="size")
    theirs = sized["structuredContent"]["content"].splitlines()
    assert sorted(ours["content"].splitlines()) == sorted(line.rstrip() for line in theirs)
    ours = await answer(client, "directory_tree", excludePatterns=excluded)
    assert ours["tree"] == sorted_tree(json.loads(tree["structuredContent"]["content"]))
    ours = await answer(client, "get_file_info", path="docs/a.txt")
    keys = [line.partition(":")[0] for line in info.splitlines()]
    assert [line.partition(":")[0] for line in ours["content"].splitlines()] == keys
    same = ("size", "isDirectory", "isFile", "permissions")
    assert facts(ours["content"], same) == facts(info, same)


def facts(content: str, keys: tuple[str, ...]) -> dict[str, str]:
    """Return some of the lines of get_file_info."""
    pairs = (line.partition(": ") for line in content.splitlines())
    return {key: value for key, _, value in pairs if key in keys}


def sorted_tree(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a tree with its nodes in the order of their names."""
    for node in nodes:
        if "children" in node:
            node["children"] = sorted_tree(node["children"])
    return sorted(nodes, key=lambda node: str(node["name"]))


async def test_several_roots_are_listed_where_no_root_is_named(tmp_path: Path) -> None:
    """As directories of one, so that a model can begin anywhere."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with client_of(
        tmp_path, roots=f"one={tmp_path / 'one'},two={tmp_path / 'two'}:write"
    ) as client:
        found = await answer(client, "list_directory", path=".")
        assert found["content"] == "[DIR] one\n[DIR] two"
        assert await code(client, "directory_tree", path=".") == "ROOT_NEEDED"


async def test_what_is_no_directory_is_refused(client: Client, docs: Path) -> None:
    """With its own code for each reason."""
    write(docs, {"file": "", ".ssh/x": ""})
    (docs / "out").symlink_to("/etc")
    assert await code(client, "list_directory", path="docs/file") == "NOT_A_DIRECTORY"
    assert await code(client, "list_directory", path="docs/none") == "FILE_NOT_FOUND"
    assert await code(client, "list_directory", path="docs/.ssh") == "PATH_DENIED"
    assert await code(client, "list_directory", path="docs/out") == "OUTSIDE_ROOT"
    assert await code(client, "directory_tree", path="docs/out") == "OUTSIDE_ROOT"


# --- a tree --------------------------------------------------------------------------------------


async def test_a_tree_has_the_kinds_and_children(client: Client, docs: Path) -> None:
    """Directories always have children, which may be none."""
    write(docs, {"a/b/c": "", "d": "", ".env": "x"})
    (docs / "e").mkdir()
    found = await answer(client, "directory_tree")
    below = {"name": "b", "type": "directory", "children": [{"name": "c", "type": "file"}]}
    assert found["tree"] == [
        {"name": "a", "type": "directory", "children": [below]},
        {"name": "d", "type": "file"},
        {"name": "e", "type": "directory", "children": []},
    ]
    assert (found["shown"], found["truncated"]) == (5, False)


async def test_what_lies_deeper_is_counted(client: Client, docs: Path) -> None:
    """By max_depth, and directories only when asked for."""
    write(docs, {"a/b": "", "a/c": "", "a/d/e": "", "f": ""})
    found = await answer(client, "directory_tree", max_depth=1)
    assert found["tree"] == [
        {"name": "a", "type": "directory", "children": [], "more": 3},
        {"name": "f", "type": "file"},
    ]
    assert found["truncated_by"] == "depth"
    found = await answer(client, "directory_tree", dirs_only=True)
    below = {"name": "d", "type": "directory", "children": []}
    assert found["tree"] == [{"name": "a", "type": "directory", "children": [below]}]


async def test_directories_share_the_room_of_a_tree(client: Client, docs: Path) -> None:
    """A large one does not hide its neighbours; what is missing is counted where it is."""
    write(docs, {f"large/{number:04}": "" for number in range(1_000)})
    write(docs, {f"small/{number}": "" for number in range(5)})
    result = await client.call("directory_tree", path="docs", max_bytes=6_000)
    assert len(result.text) <= 6_000
    assert result.structured is not None
    large, small = result.structured["tree"]
    assert len(small["children"]) == 5
    assert "more" not in small
    assert len(large["children"]) > 50
    assert len(large["children"]) + large["more"] == 1_000
    assert result.structured["truncated_by"] == "bytes"


async def test_a_tree_can_follow_gitignore(client: Client, docs: Path) -> None:
    """When asked to; the official server shows everything."""
    write(docs, {".gitignore": "out/", "out/x": "", "a/.gitignore": "b", "a/b": "", "a/c": ""})
    found = await answer(client, "directory_tree", respect_gitignore=True)
    assert [node["name"] for node in found["tree"]] == [".gitignore", "a"]
    assert [node["name"] for node in found["tree"][1]["children"]] == [".gitignore", "c"]
    assert found["skipped"] == {"ignored": 2}


# --- one file ------------------------------------------------------------------------------------


async def test_everything_known_of_a_file_is_told(client: Client, docs: Path) -> None:
    """The hash only when asked for."""
    write(docs, {"a.txt": "hello ä"})
    os.chmod(docs / "a.txt", 0o640)
    os.link(docs / "a.txt", docs / "b.txt")
    found = await answer(client, "get_file_info", path="docs/a.txt", hash="sha256")
    assert found["sha256"] == hashlib.sha256("hello ä".encode()).hexdigest()
    told = {
        k: found[k] for k in ("kind", "size_bytes", "mode", "permissions", "links", "mime_type")
    }
    assert told == {
        "kind": "file",
        "size_bytes": 8,
        "mode": "0640",
        "permissions": "-rw-r-----",
        "links": 2,
        "mime_type": "text/plain",
    }
    assert found["created"] is None or found["created"] <= found["mtime"]
    assert found["writable"] is True
    found = await answer(client, "get_file_info", path="docs")
    assert (found["kind"], found["sha256"]) == ("directory", None)


async def test_the_kind_of_bytes_is_told_where_a_character_is_cut(
    client: Client, docs: Path
) -> None:
    """Only the beginning is looked at, which may end inside a character."""
    for shift in range(4):
        write(docs, {"long.txt": "x" * shift + "ä€😀" * 10_000})
        found = await answer(client, "get_file_info", path="docs/long.txt")
        assert found["mime_type"] == "text/plain"
    (docs / "x.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    found = await answer(client, "get_file_info", path="docs/x.txt")
    assert found["mime_type"] == "image/png"


async def test_the_target_of_a_link_is_told_only_inside(client: Client, docs: Path) -> None:
    """Outside there is nothing to tell, and neither for what is denied or dangles."""
    write(docs, {"d/file": "x", ".env": "x"})
    for name, target in {
        "in": "d/file",
        "out": "/etc/passwd",
        "denied": ".env",
        "dangling": "nothing",
    }.items():
        (docs / name).symlink_to(target)
        found = await answer(client, "get_file_info", path=f"docs/{name}", follow=False)
        assert found["kind"] == "symlink"
        assert found["target"] == ("docs/d/file" if name == "in" else None)
        assert "passwd" not in json.dumps(found)
    assert (await answer(client, "get_file_info", path="docs/in"))["kind"] == "file"
    assert await code(client, "get_file_info", path="docs/out") == "OUTSIDE_ROOT"
    assert await code(client, "get_file_info", path="docs/denied") == "PATH_DENIED"


async def test_a_fifo_has_information_and_is_not_opened(client: Client, docs: Path) -> None:
    """Opening it would wait for a writer."""
    os.mkfifo(docs / "fifo")
    found = await answer(client, "get_file_info", path="docs/fifo", hash="sha256")
    assert (found["kind"], found["mime_type"], found["sha256"]) == ("other", None, None)


async def test_a_root_for_listing_only_tells_nothing_of_contents(docs: Path) -> None:
    """Neither the media type nor the hash."""
    write(docs, {"a": "x"})
    async with client_of(docs.parent, roots=f"docs={docs}:list") as client:
        found = await answer(client, "get_file_info", path="docs/a")
        assert (found["mime_type"], found["writable"]) == (None, False)
        arguments = {"path": "docs/a", "hash": "sha256"}
        assert await code(client, "get_file_info", **arguments) == "ROOT_MODE"
