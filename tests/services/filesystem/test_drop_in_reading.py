"""The same calls to the official server and to ours.

Where ours is meant to differ: text blocks hold the whole result as JSON; line ends stay as they are
in the file, also behind the last line of a part; a line end at the end of a file begins no further
line; what is no UTF-8 is not replaced; the kind of a file is told by its bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.testing import Client
from tests.services.filesystem.conftest import client_of
from tests.services.filesystem.official import Official, official

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
WAV = b"RIFF\x10\x00\x00\x00WAVEfmt " + bytes(32)
FILES = {
    "lf.txt": b"one\ntwo\nthree",
    "crlf.txt": b"one\r\ntwo\r\nthree\r\n",
    "unicode.txt": "größer, 日本語, 🐘\n".encode(),
    "empty.txt": b"",
    "long.txt": b"".join(b"line %d\n" % i for i in range(500)) + b"end",
    "dir/below.txt": b"below",
    "picture.png": PNG,
    "sound.wav": WAV,
    "blob.bin": bytes(range(256)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files."""
    folder = tmp_path_factory.mktemp("drop-in") / "docs"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "link.txt").symlink_to("lf.txt")
    (folder / "out.txt").symlink_to("/etc/hostname")
    return folder


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Iterator[Official]:
    """The official server on it."""
    with official(folder) as server:
        yield server


@pytest.fixture(scope="module")
async def ours(folder: Path, anyio_backend: str) -> AsyncIterator[Client]:
    """Our server on it."""
    async with client_of(folder.parent, roots=f"docs={folder}:delete") as client:
        yield client


@pytest.mark.parametrize("tool", ["read_text_file", "read_file"])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("lf.txt", {}),
        ("crlf.txt", {}),
        ("unicode.txt", {}),
        ("empty.txt", {}),
        ("long.txt", {}),
        ("dir/below.txt", {}),
        ("dir/../lf.txt", {}),
        ("link.txt", {}),
        ("lf.txt", {"head": 2}),
        ("lf.txt", {"head": 9}),
        ("lf.txt", {"head": 0}),
        ("lf.txt", {"tail": 0}),
        ("lf.txt", {"tail": 1}),
        ("lf.txt", {"tail": 2}),
        ("lf.txt", {"tail": 9}),
        ("long.txt", {"head": 300}),
        ("long.txt", {"tail": 300}),
        ("empty.txt", {"head": 1}),
        ("empty.txt", {"tail": 1}),
    ],
)
async def test_texts_are_the_same(
    ours: Client, theirs: Official, folder: Path, tool: str, name: str, part: dict[str, Any]
) -> None:
    """By the absolute path that clients of the official server know."""
    path = f"{folder}/{name}"
    expected = theirs.call(tool, path=path, **part)["structuredContent"]["content"]
    result = await ours.call(tool, path=path, **part)
    assert result.structured is not None, result.text
    content = result.structured["content"]
    assert (content.removesuffix("\n") if "head" in part else content) == expected


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_text_file", {"path": "{}/nothing"}),
        ("read_text_file", {"path": "{}"}),
        ("read_text_file", {"path": "{}/dir"}),
        ("read_text_file", {"path": "{}/out.txt"}),
        ("read_text_file", {"path": "/etc/hostname"}),
        ("read_text_file", {"path": "{}/../../x"}),
        ("read_text_file", {"path": "{}-evil/x"}),
        ("read_text_file", {"path": "{}/lf.txt", "head": 1, "tail": 1}),
        ("read_text_file", {"path": "{}/lf.txt\0"}),
        ("read_text_file", {}),
        ("read_media_file", {"path": "{}/nothing"}),
        ("read_multiple_files", {"paths": []}),
    ],
)
async def test_what_they_refuse_we_refuse(
    ours: Client, theirs: Official, folder: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """An error there is an error here."""
    given = {
        key: value.format(folder) if isinstance(value, str) else value
        for key, value in arguments.items()
    }
    assert theirs.call(tool, **given)["isError"]
    assert (await ours.call(tool, **given)).is_error


async def test_several_files_are_the_same(ours: Client, theirs: Official, folder: Path) -> None:
    """Theirs is one text with marks between files; ours has each file by itself."""
    paths = [f"{folder}/{name}" for name in ("lf.txt", "nothing", "unicode.txt")]
    text = theirs.call("read_multiple_files", paths=paths)["structuredContent"]["content"]
    parts = text.split("\n---\n")
    result = await ours.call("read_multiple_files", paths=paths)
    assert result.structured is not None
    files = result.structured["files"]
    assert len(files) == len(parts)
    for file, part, path in zip(files, parts, paths, strict=True):
        if file["error"]:
            assert part.startswith(f"{path}: Error - ")
        else:
            assert part == f"{path}:\n{file['content']}\n"


@pytest.mark.parametrize("name", ["picture.png", "sound.wav", "blob.bin"])
async def test_media_blocks_are_the_same(
    ours: Client, theirs: Official, folder: Path, name: str
) -> None:
    """An image, a sound, and any other file as a resource."""
    (expected,) = theirs.call("read_media_file", path=f"{folder}/{name}")["content"]
    result = await ours.call("read_media_file", path=f"{folder}/{name}")
    assert result.raw["content"][-1] == expected


async def test_the_directories_are_the_same(ours: Client, theirs: Official, folder: Path) -> None:
    """Ours says more of each."""
    text = theirs.call("list_allowed_directories")["structuredContent"]["content"]
    result = await ours.call("list_allowed_directories")
    assert result.structured is not None
    assert text.splitlines()[1:] == [d["path"] for d in result.structured["directories"]]


async def test_our_tools_take_all_their_arguments(ours: Client, theirs: Official) -> None:
    """By name and type; required there is required here at most."""
    listed = {tool["name"]: tool for tool in (await ours.rpc("tools/list"))["result"]["tools"]}
    names = ["read_file", "read_text_file", "read_media_file", "read_multiple_files"]
    for tool in theirs.request("tools/list")["tools"]:
        if tool["name"] not in [*names, "list_allowed_directories"]:
            continue
        schema = listed[tool["name"]]["inputSchema"]
        for name, wanted in tool["inputSchema"].get("properties", {}).items():
            kinds = {wanted["type"], "integer"} if wanted["type"] == "number" else {wanted["type"]}
            assert schema["properties"][name]["type"] in kinds, (tool["name"], name)
        required = set(schema.get("required", []))
        assert required <= set(tool["inputSchema"].get("required", []))
