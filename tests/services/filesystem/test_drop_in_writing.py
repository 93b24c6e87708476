"""The same changes by the official server and by ours, each on its own copy of the files.

Where ours is meant to differ: several places for one oldText are refused instead of the first one
changed; newlines, byte order marks and other encodings survive an edit; text that matches but for
its blanks is indented right in every line; directories above a file are only made when asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.testing import Client
from tests.services.filesystem.answers import names
from tests.services.filesystem.conftest import client_of
from tests.services.filesystem.official import Official, official

FILES = {
    "a.txt": b"one\ntwo\nthree\n",
    "code.py": b"def f():\n    if x:\n        return 1\n    return 2\n",
    "bare.txt": b"no newline",
    "dir/b.txt": b"b",
    "full/c.txt": b"c",
}
LONG = "".join(f"line {i}\n" for i in range(60))

Call = tuple[str, dict[str, Any]]
ALIKE: dict[str, list[Call]] = {
    "a new file": [("write_file", {"path": "new.txt", "content": "größer\n"})],
    "overwriting": [("write_file", {"path": "a.txt", "content": "x"})],
    "writing nothing": [("write_file", {"path": "a.txt", "content": ""})],
    "a directory as file": [("write_file", {"path": "dir", "content": "x"})],
    "a missing directory": [("write_file", {"path": "no/x", "content": "x"})],
    "outside": [("write_file", {"path": "../x", "content": "x"})],
    "an edit": [("edit_file", {"path": "a.txt", "edits": [{"oldText": "two", "newText": "2"}]})],
    "two edits": [
        (
            "edit_file",
            {
                "path": "a.txt",
                "edits": [
                    {"oldText": "one\ntwo", "newText": "1"},
                    {"oldText": "1\nthree", "newText": "2"},
                ],
            },
        )
    ],
    "an edit of blanks": [
        (
            "edit_file",
            {"path": "code.py", "edits": [{"oldText": "  return 1", "newText": "  return 3"}]},
        )
    ],
    "an edit of indented lines": [
        (
            "edit_file",
            {
                "path": "code.py",
                "edits": [{"oldText": "if x:  \n        return 1", "newText": "pass"}],
            },
        )
    ],
    "special characters": [
        ("edit_file", {"path": "a.txt", "edits": [{"oldText": "two", "newText": "$& \\1 $1"}]})
    ],
    "text that is not there": [
        ("edit_file", {"path": "a.txt", "edits": [{"oldText": "four", "newText": ""}]})
    ],
    "the second is not there": [
        (
            "edit_file",
            {
                "path": "a.txt",
                "edits": [
                    {"oldText": "one", "newText": "1"},
                    {"oldText": "four", "newText": ""},
                ],
            },
        )
    ],
    "a dry run": [
        (
            "edit_file",
            {"path": "a.txt", "edits": [{"oldText": "two", "newText": "2"}], "dryRun": True},
        )
    ],
    "a directory": [("create_directory", {"path": "x"})],
    "nested directories": [("create_directory", {"path": "x/y/z"})],
    "a directory that is there": [("create_directory", {"path": "dir"})],
    "a directory over a file": [("create_directory", {"path": "a.txt"})],
    "a rename": [("move_file", {"source": "a.txt", "destination": "z.txt"})],
    "a move": [("move_file", {"source": "a.txt", "destination": "dir/a.txt"})],
    "a directory's move": [("move_file", {"source": "dir", "destination": "full/dir"})],
    "a move over a file": [("move_file", {"source": "a.txt", "destination": "bare.txt"})],
    "a move over a directory": [("move_file", {"source": "dir", "destination": "full"})],
    "a move of nothing": [("move_file", {"source": "no", "destination": "x"})],
    "a move into itself": [("move_file", {"source": "dir", "destination": "dir/x"})],
    "a move outside": [("move_file", {"source": "a.txt", "destination": "../x"})],
}


def planted(folder: Path) -> Path:
    """Return a folder with the files."""
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "long.txt").write_text(LONG)
    return folder


@pytest.fixture(scope="module")
def official_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the official server, emptied by each test."""
    return tmp_path_factory.mktemp("theirs") / "docs"


@pytest.fixture(scope="module")
def server(official_folder: Path) -> Iterator[Official]:
    """The official server on it."""
    official_folder.mkdir()
    with official(official_folder) as running:
        yield running


@pytest.fixture
def theirs(official_folder: Path) -> Path:
    """The official server's files, as they are at the start."""
    for path in sorted(official_folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return planted(official_folder)


@pytest.fixture
async def ours(docs: Path, anyio_backend: str) -> AsyncIterator[Client]:
    """Our server on its own copy."""
    planted(docs)
    async with client_of(docs.parent, roots=f"docs={docs}:delete") as client:
        yield client


def absolute(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return arguments with absolute paths, which both servers take."""
    return {
        name: f"{folder}/{value}" if name in ("path", "source", "destination") else value
        for name, value in arguments.items()
    }


def held(folder: Path) -> dict[str, bytes]:
    """Return each path below a folder with what it holds."""
    paths = {name: folder / name for name in names(folder)}
    return {name: path.read_bytes() if path.is_file() else b"" for name, path in paths.items()}


@pytest.mark.parametrize("case", ALIKE)
async def test_both_servers_leave_the_same_files(
    case: str, server: Official, theirs: Path, ours: Client, docs: Path
) -> None:
    """And both succeed, or both refuse."""
    for tool, arguments in ALIKE[case]:
        official_result = server.call(tool, **absolute(arguments, theirs))
        our_result = await ours.call(tool, **absolute(arguments, docs))
        assert bool(official_result.get("isError")) == our_result.is_error, official_result
    assert held(docs) == held(theirs)


async def test_diffs_have_the_same_hunks(
    server: Official, theirs: Path, ours: Client, docs: Path
) -> None:
    """Both are unified diffs of least size with, in theirs, four lines of context."""
    edits = [
        {"oldText": "line 3\nline 4", "newText": "line 3\nnew"},
        {"oldText": "line 30\n", "newText": ""},
        {"oldText": "line 59\n", "newText": "line 59\nend\n"},
    ]
    arguments = {"path": "long.txt", "edits": edits, "dryRun": True}
    text = server.call("edit_file", **absolute(arguments, theirs))["content"][0]["text"]
    result = await ours.call("edit_file", **absolute(arguments, docs))
    assert result.structured is not None

    def changes(diff: str) -> list[str]:
        lines = [line for line in diff.splitlines() if line[:1] in ("+", "-")]
        return [line for line in lines if line[:3] not in ("---", "+++")]

    assert changes(result.structured["diff"]) == changes(text)
    assert held(docs) == held(theirs)


async def test_what_the_official_server_would_harm_is_kept(
    server: Official, theirs: Path, ours: Client, docs: Path
) -> None:
    """Newlines and bytes that are not UTF-8; and of two places neither is chosen for the caller."""
    raw = b"one\r\ntwo\r\ncaf\xe9\r\n"
    for folder in (theirs, docs):
        (folder / "crlf.txt").write_bytes(raw)
    arguments = {"path": "crlf.txt", "edits": [{"oldText": "one\ntwo", "newText": "1\n2"}]}
    server.call("edit_file", **absolute(arguments, theirs))
    await ours.call("edit_file", **absolute(arguments, docs))
    assert (theirs / "crlf.txt").read_bytes() == "1\n2\ncaf\ufffd\n".encode()
    assert (docs / "crlf.txt").read_bytes() == b"1\r\n2\r\ncaf\xe9\r\n"
    arguments = {"path": "code.py", "edits": [{"oldText": "return", "newText": "yield"}]}
    assert not server.call("edit_file", **absolute(arguments, theirs)).get("isError")
    refused = await ours.call("edit_file", **absolute(arguments, docs))
    assert refused.error is not None
    assert refused.error["lines"] == [3, 4]
