"""Reading files through the public doors."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.testing import CallResult, Client
from tests.services.filesystem.conftest import client_of

SMALL = 4_096
"""max_read_bytes of the server on which files are soon large."""
NUMBERED = b"".join(b"line %d\n" % n for n in range(1, 20_001))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the servers of this module have as their root `docs`."""
    folder = tmp_path_factory.mktemp("reading") / "docs"
    folder.mkdir()
    return folder


@pytest.fixture
def docs(folder: Path) -> Iterator[Path]:
    """The same directory, empty for each test."""
    yield folder
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@pytest.fixture(scope="module")
async def client(folder: Path, anyio_backend: str) -> AsyncIterator[Client]:
    """A client of a server with default limits."""
    async with client_of(folder.parent, roots=f"docs={folder}:delete") as connected:
        yield connected


@pytest.fixture(scope="module")
async def small(folder: Path, anyio_backend: str) -> AsyncIterator[Client]:
    """A client of a server that reads files of at most 4 KiB as a whole."""
    async with client_of(folder.parent, roots=f"docs={folder}", max_read_bytes=SMALL) as connected:
        yield connected


def structured(result: CallResult) -> dict[str, Any]:
    """Return the structured content of a success."""
    assert result.structured is not None, result.text
    return result.structured


def code(result: CallResult) -> str:
    """Return the code of an error."""
    assert result.error is not None, result.text
    return str(result.error["code"])


async def read(client: Client, path: str = "a.txt", **more: Any) -> dict[str, Any]:
    """Return what read_text_file returns."""
    return structured(await client.call("read_text_file", path=path, **more))


async def read_to_the_end(client: Client, path: str, **more: Any) -> tuple[str, int]:
    """Return the content of all pages together, and their number."""
    content, cursor, count = "", None, 0
    while count == 0 or cursor:
        page = await read(client, path, cursor=cursor, **more)
        content, cursor, count = content + page["content"], page["next_cursor"], count + 1
    return content, count


# --- read_text_file -------------------------------------------------------------------------------


async def test_a_file_is_returned_with_what_is_known_of_it(client: Client, docs: Path) -> None:
    """What a later edit or write needs to be sure that it is still the same file."""
    data = b"\xef\xbb\xbfone\r\ntwo\r\n"
    (docs / "a.txt").write_bytes(data)
    os.utime(docs / "a.txt", ns=(0, 1_700_000_000_123_456_789))
    result = await client.call("read_text_file", path="docs/a.txt")
    assert structured(result) == {
        "path": "docs/a.txt",
        "encoding": "utf-8",
        "encoding_guessed": False,
        "bom": True,
        "newline": "crlf",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "mtime": "2023-11-14T22:13:20.123456Z",
        "total_lines": 2,
        "start_line": 1,
        "end_line": 2,
        "truncated": False,
        "next_cursor": None,
        "content": "one\r\ntwo\r\n",
    }
    assert list(json.loads(result.text))[-1] == "content"


async def test_an_empty_file_is_an_empty_text(client: Client, docs: Path) -> None:
    """With no lines."""
    (docs / "a.txt").touch()
    answer = await read(client)
    assert (answer["content"], answer["total_lines"], answer["newline"]) == ("", 0, "none")


@pytest.mark.parametrize(
    ("part", "content", "first", "last"),
    [
        ({"head": 2}, "line 1\nline 2\n", 1, 2),
        ({"tail": 2}, "line 19999\nline 20000\n", 19_999, 20_000),
        ({"start_line": 7, "end_line": 8}, "line 7\nline 8\n", 7, 8),
        ({"start_line": 20_000}, "line 20000\n", 20_000, 20_000),
        ({"start_line": 19_999, "end_line": 99_999}, "line 19999\nline 20000\n", 19_999, 20_000),
        ({"offset": 5, "length": 5}, "1\nlin", 1, 2),
        ({"length": 4}, "line", 1, 1),
        ({"tail": 1, "line_numbers": True}, " 20000\tline 20000\n", 20_000, 20_000),
        ({"head": 1, "line_numbers": True}, "     1\tline 1\n", 1, 1),
    ],
)
async def test_a_part_is_what_was_asked_for(
    client: Client, docs: Path, part: dict[str, Any], content: str, first: int, last: int
) -> None:
    """Exact, and with the numbers of its lines."""
    (docs / "a.txt").write_bytes(NUMBERED)
    answer = await read(client, **part)
    assert answer["content"] == content
    assert (answer["start_line"], answer["end_line"]) == (first, last)
    assert answer["total_lines"] == 20_000
    assert not answer["truncated"]


@pytest.mark.parametrize(
    ("part", "content", "first", "total"),
    [
        ({"head": 1}, "line 1\n", 1, None),
        ({"tail": 1}, "line 20000\n", None, None),
        ({"start_line": 19_000, "end_line": 19_000}, "line 19000\n", 19_000, None),
        ({"start_line": 20_000}, "line 20000\n", 20_000, 20_000),
        ({"offset": 5, "length": 4}, "1\nli", 1, None),
    ],
)
async def test_of_a_large_file_only_the_part_is_read(
    small: Client, docs: Path, part: dict[str, Any], content: str, first: int | None, total: Any
) -> None:
    """Then nobody counted its lines or hashed it, which is said by null."""
    (docs / "a.txt").write_bytes(NUMBERED)
    answer = await read(small, **part)
    assert answer["content"] == content
    assert (answer["start_line"], answer["total_lines"]) == (first, total)
    assert answer["sha256"] is None
    assert answer["size_bytes"] == len(NUMBERED)


async def test_a_part_behind_the_end_is_refused_with_where_the_end_is(
    client: Client, docs: Path
) -> None:
    """An empty answer would look like an empty line."""
    (docs / "a.txt").write_text("one\ntwo\n")
    result = await client.call("read_text_file", path="a.txt", start_line=3)
    assert code(result) == "BEYOND_END"
    assert result.error is not None
    assert result.error["total_lines"] == 2
    result = await client.call("read_text_file", path="a.txt", offset=9)
    assert code(result) == "BEYOND_END"


@pytest.mark.parametrize(
    "part",
    [
        {"head": 1, "tail": 1},
        {"head": 1, "start_line": 1},
        {"tail": 1, "offset": 0},
        {"end_line": 4, "length": 4},
        {"start_line": 5, "end_line": 4},
        {"head": -1},
        {"start_line": 0},
        {"length": 0},
        {"max_bytes": 1},
        {"lines": 5},
        {"head": "5"},
    ],
)
async def test_parts_that_contradict_each_other_are_refused(
    client: Client, docs: Path, part: dict[str, Any]
) -> None:
    """Rather than one of them silently winning."""
    (docs / "a.txt").touch()
    assert code(await client.call("read_text_file", path="a.txt", **part)) == "INVALID_ARGUMENTS"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be", "latin-1", "shift_jis"])
async def test_pages_make_up_the_file(client: Client, docs: Path, encoding: str) -> None:
    """In any encoding; each answer stays within the limit."""
    text = "".join(f'{n}: "äö\\\t"\r\n' for n in range(9_000))
    text = text.replace("äö", "日本") if encoding == "shift_jis" else text
    (docs / "a.txt").write_bytes(text.encode(encoding))
    content, count = await read_to_the_end(client, "a.txt", encoding=encoding)
    assert content == text
    assert count > 2
    result = await client.call("read_text_file", path="a.txt", encoding=encoding)
    assert len(result.text.encode()) <= 64_000 + 1_500


async def test_a_line_that_fits_into_no_answer_comes_in_pieces(client: Client, docs: Path) -> None:
    """Minified programs are one line."""
    text = "x" * 150_000 + "é" * 10_000
    (docs / "a.txt").write_text(text)
    content, count = await read_to_the_end(client, "a.txt")
    assert content == text
    assert count == 3


async def test_large_files_come_in_pages_too(small: Client, docs: Path) -> None:
    """With the same numbers of lines."""
    (docs / "a.txt").write_bytes(NUMBERED)
    content, count = await read_to_the_end(small, "a.txt", max_bytes=50_000)
    assert content.encode() == NUMBERED
    assert count == 5
    content, _ = await read_to_the_end(small, "a.txt", tail=10_000)
    assert content.encode() == NUMBERED[NUMBERED.index(b"line 10001\n") :]


async def test_a_page_of_a_file_that_has_changed_is_refused(client: Client, docs: Path) -> None:
    """Otherwise two halves of different files would look like one."""
    (docs / "a.txt").write_bytes(NUMBERED)
    page = await read(client)
    (docs / "a.txt").write_bytes(NUMBERED + b"more\n")
    result = await client.call("read_text_file", path="a.txt", cursor=page["next_cursor"])
    assert code(result) == "FILE_CHANGED"


async def test_a_cursor_belongs_to_its_call(client: Client, docs: Path) -> None:
    """Other arguments, or an invented cursor, are refused."""
    (docs / "a.txt").write_bytes(NUMBERED)
    (docs / "b.txt").write_bytes(NUMBERED)
    cursor = (await read(client))["next_cursor"]
    for arguments in (
        {"path": "b.txt", "cursor": cursor},
        {"path": "a.txt", "start_line": 2, "cursor": cursor},
        {"path": "a.txt", "cursor": "invented"},
        {"path": "a.txt", "cursor": cursor[:-2]},
    ):
        assert code(await client.call("read_text_file", **arguments)) == "CURSOR_REFUSED"


# --- encodings ------------------------------------------------------------------------------------


async def test_a_file_in_an_old_encoding_is_read_as_the_caller_says(
    client: Client, docs: Path
) -> None:
    """Or by a guess that is called one."""
    (docs / "a.txt").write_bytes("Füße\n".encode("latin-1"))
    assert (await read(client))["encoding_guessed"] is True
    answer = await read(client, encoding="iso-8859-15")
    assert (answer["content"], answer["encoding"]) == ("Füße\n", "iso8859-15")
    assert answer["encoding_guessed"] is False


async def test_bytes_that_are_no_text_are_refused_not_replaced(client: Client, docs: Path) -> None:
    """With the place, and what would help."""
    (docs / "a.txt").write_bytes("äöü\n".encode() + b"\xff\n")
    result = await client.call("read_text_file", path="a.txt")
    assert code(result) == "UNDECODABLE"
    assert result.error is not None
    assert result.error["offset"] == 7
    assert "read_media_file" in result.error["hint"]
    assert (await read(client, head=1))["content"] == "äöü\n"
    assert code(await client.call("read_text_file", path="a.txt", tail=1)) == "UNDECODABLE"


async def test_a_binary_file_is_named(client: Client, docs: Path) -> None:
    """By what it is; its name does not count."""
    (docs / "a.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    result = await client.call("read_text_file", path="a.txt")
    assert code(result) == "NOT_TEXT"
    assert result.error is not None
    assert result.error["mime_type"] == "image/png"


async def test_an_unknown_encoding_is_refused(client: Client, docs: Path) -> None:
    """Also one that is a codec, but for bytes."""
    (docs / "a.txt").touch()
    for name in ("klingon", "base64"):
        result = await client.call("read_text_file", path="a.txt", encoding=name)
        assert code(result) == "UNKNOWN_ENCODING"


async def test_lines_that_end_with_cr_are_numbered_too(client: Client, docs: Path) -> None:
    """As old Macs wrote them."""
    (docs / "a.txt").write_bytes(b"one\rtwo\rthree")
    answer = await read(client, start_line=2, line_numbers=True)
    assert answer["content"] == "     2\ttwo\r     3\tthree"
    assert (answer["newline"], answer["total_lines"]) == ("cr", 3)


@pytest.mark.parametrize("lead", range(4))
async def test_a_character_across_the_end_of_the_sample_does_not_hide_the_encoding(
    client: Client, docs: Path, lead: int
) -> None:
    """The encoding of a large file is told from its beginning, which ends anywhere."""
    text = "x" * lead + "日本語のテキストです。これはテストです。\n" * 400_000
    (docs / "a.txt").write_bytes(text.encode("shift_jis"))
    answer = await read(client, tail=1)
    assert answer["content"] == "日本語のテキストです。これはテストです。\n"
    assert answer["encoding_guessed"]


async def test_a_stateful_encoding_of_a_large_file_is_refused(small: Client, docs: Path) -> None:
    """A part of it cannot be understood without all before it."""
    (docs / "a.txt").write_bytes("日本語\n".encode("iso2022_jp") * 1_000)
    result = await small.call("read_text_file", path="a.txt", encoding="iso-2022-jp", tail=1)
    assert code(result) == "TOO_BIG_TO_READ"


# --- odd files ------------------------------------------------------------------------------------


async def test_files_of_the_system_that_have_no_size_are_read(tmp_path: Path) -> None:
    """As in /proc, where an operator serves it."""
    async with client_of(tmp_path, roots="proc=/proc/self") as client:
        answer = await read(client, "proc/status")
    assert answer["content"].startswith("Name:")
    assert answer["size_bytes"] == len(answer["content"].encode()) > 0


async def test_a_sparse_file_of_a_terabyte_is_answered_at_once(client: Client, docs: Path) -> None:
    """Its beginning says what it is."""
    with (docs / "a.txt").open("wb") as file:
        file.truncate(1 << 40)
    assert code(await client.call("read_text_file", path="a.txt", tail=5)) == "NOT_TEXT"
    assert code(await client.call("read_media_file", path="a.txt")) == "TOO_BIG_TO_READ"


async def test_a_file_that_grows_while_it_is_read_has_an_end(client: Client, docs: Path) -> None:
    """A log under a busy program."""
    (docs / "a.txt").write_bytes(b"x\n")
    done = threading.Event()

    def grow() -> None:
        with (docs / "a.txt").open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"more\n" * 100)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(20):
            answer = await read(client, tail=1)
            # A write that crosses a page becomes visible in two parts, so the line may be cut.
            assert "more\n".startswith(answer["content"]) or answer["content"] == "x\n"
    finally:
        done.set()
        writer.join()


async def test_no_descriptor_is_left_behind(client: Client, docs: Path) -> None:
    """Neither by successes nor by errors."""
    (docs / "a.txt").write_text("text")
    (docs / "bin").write_bytes(bytes(9))
    (docs / "link").symlink_to(".env")
    (docs / ".env").touch()
    os.mkfifo(docs / "fifo")

    async def all_ways() -> None:
        for path in ("a.txt", "bin", "link", "fifo", ".env", "nothing", "", "../x", "a.txt/x"):
            await client.call("read_text_file", path=path)
            await client.call("read_media_file", path=path)
        await client.call("read_multiple_files", glob="docs/**/*")

    await all_ways()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await all_ways()
    assert len(os.listdir("/proc/self/fd")) <= before


# --- read_multiple_files --------------------------------------------------------------------------


async def test_several_files_each_have_their_text_or_their_error(
    client: Client, docs: Path
) -> None:
    """One that cannot be read does not stop the others."""
    (docs / "a.txt").write_text("a")
    (docs / "bin").write_bytes(bytes(9))
    (docs / ".env").write_text("secret")
    paths = ["docs/a.txt", "nothing", "bin", ".env", "../x"]
    answer = structured(await client.call("read_multiple_files", paths=paths))
    files = answer["files"]
    assert files[0]["content"] == "a"
    codes = [file["error"]["code"] for file in files[1:]]
    assert codes == ["FILE_NOT_FOUND", "NOT_TEXT", "PATH_DENIED", "OUTSIDE_ROOT"]
    assert (answer["returned"], answer["total"], answer["truncated"]) == (5, 5, False)


async def test_a_glob_names_files_without_links_and_what_is_denied(
    client: Client, docs: Path
) -> None:
    """Sorted, below the directory that stands before its first sign."""
    for name in ("b.md", "a.md", "sub/c.md", "sub/c.txt", ".env", "sub/.ssh/d.md"):
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(name)
    (docs / "link.md").symlink_to("a.md")
    for glob, expected in (
        ("docs/**/*.md", ["a.md", "b.md", "sub/c.md"]),
        ("docs/*.md", ["a.md", "b.md"]),
        ("docs/sub/*", ["sub/c.md", "sub/c.txt"]),
        ("**/c.{md,txt}", ["sub/c.md", "sub/c.txt"]),
        (f"{docs}/*.md", ["a.md", "b.md"]),
        ("docs/a.md", ["a.md"]),
        ("docs/*.none", []),
    ):
        answer = structured(await client.call("read_multiple_files", glob=glob))
        assert [file["content"] for file in answer["files"]] == expected, glob


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "INVALID_ARGUMENTS"),
        ({"paths": []}, "INVALID_ARGUMENTS"),
        ({"paths": ["a"], "glob": "*"}, "INVALID_ARGUMENTS"),
        ({"paths": ["x"] * 101}, "LIMIT_EXCEEDED"),
        ({"glob": "docs/many/*"}, "LIMIT_EXCEEDED"),
        ({"glob": "docs/none/*"}, "FILE_NOT_FOUND"),
        ({"glob": "../*"}, "OUTSIDE_ROOT"),
        ({"glob": "/etc/*"}, "OUTSIDE_ROOT"),
        ({"glob": "docs/.ssh/*"}, "PATH_DENIED"),
        ({"glob": "docs/!(x)"}, "BAD_PATTERN"),
    ],
)
async def test_calls_for_several_files_have_limits(
    client: Client, docs: Path, arguments: dict[str, Any], expected: str
) -> None:
    """And the same policy."""
    (docs / "many").mkdir()
    for number in range(101):
        (docs / "many" / str(number)).touch()
    assert code(await client.call("read_multiple_files", **arguments)) == expected


async def test_files_that_do_not_fit_come_on_the_next_page(client: Client, docs: Path) -> None:
    """Whole, as long as each is within its own limit."""
    names = [f"{number}.txt" for number in range(10)]
    for name in names:
        (docs / name).write_text(name + "x" * 20_000)
    found: list[dict[str, Any]] = []
    cursor, count = None, 0
    while count == 0 or cursor:
        result = await client.call("read_multiple_files", paths=names, cursor=cursor)
        assert len(result.text.encode()) <= 64_000 + 1_500
        answer = structured(result)
        assert answer["returned"] == len(answer["files"]) > 0
        found += answer["files"]
        cursor, count = answer["next_cursor"], count + 1
    assert [file["content"] for file in found] == [name + "x" * 20_000 for name in names]
    assert not any(file["truncated"] for file in found)
    assert count == 4


async def test_a_file_that_was_cut_goes_on_in_read_text_file(client: Client, docs: Path) -> None:
    """With its own cursor."""
    (docs / "a.txt").write_bytes(NUMBERED)
    answer = structured(
        await client.call("read_multiple_files", paths=["a.txt"], max_bytes_per_file=5_000)
    )
    (file,) = answer["files"]
    assert file["truncated"]
    rest = await read(client, file["path"], cursor=file["next_cursor"], max_bytes=500_000)
    assert (file["content"] + rest["content"]).encode() == NUMBERED


async def test_a_glob_that_matches_other_files_by_the_next_page_is_refused(
    client: Client, docs: Path
) -> None:
    """A file would be skipped, or read twice."""
    for number in range(5):
        (docs / f"{number}.txt").write_text("x" * 30_000)
    answer = structured(await client.call("read_multiple_files", glob="*.txt"))
    (docs / "00.txt").touch()
    cursor = answer["next_cursor"]
    result = await client.call("read_multiple_files", glob="*.txt", cursor=cursor)
    assert code(result) == "FILE_CHANGED"


# --- read_media_file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "block", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "image", "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "image", "image/jpeg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image", "image/webp"),
        (b"OggS\x00\x02" + bytes(30), "audio", "audio/ogg"),
        (b"II*\x00" + bytes(9), "resource", "image/tiff"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "resource", "image/svg+xml"),
        (b"%PDF-1.7\n", "resource", "application/pdf"),
        (b"plain text", "resource", "text/plain"),
        (bytes(9), "resource", "application/octet-stream"),
        (b"", "resource", "text/plain"),
    ],
)
async def test_a_file_is_the_block_that_its_bytes_ask_for(
    client: Client, docs: Path, data: bytes, block: str, kind: str
) -> None:
    """Only images that models can look at are images; all bytes come through."""
    (docs / "x.mp3").write_bytes(data)
    result = await client.call("read_media_file", path="docs/x.mp3")
    known, found = structured(result), result.raw["content"][-1]
    assert (known["mime_type"], known["size_bytes"]) == (kind, len(data))
    assert known["sha256"] == hashlib.sha256(data).hexdigest()
    assert found["type"] == block
    inner = found["resource"] if block == "resource" else found
    assert inner["mimeType"] == kind
    assert base64.b64decode(inner["blob" if block == "resource" else "data"]) == data
    if block == "resource":
        assert inner["uri"] == f"file://{docs}/x.mp3"


async def test_media_have_a_limit_and_other_files_a_smaller_one(tmp_path: Path) -> None:
    """An image is a few hundred tokens, base64 as text a million."""
    (tmp_path / "docs").mkdir()
    image = tmp_path / "docs" / "a.png"
    async with client_of(
        tmp_path, roots=f"docs={tmp_path}/docs", max_media_bytes=10_000, max_answer_bytes=8_000
    ) as client:
        for data, allowed in (
            (b"\x89PNG\r\n\x1a\n" + bytes(9_000), True),
            (b"\x89PNG\r\n\x1a\n" + bytes(10_000), False),
            (bytes(6_000), True),
            (bytes(6_001), False),
        ):
            image.write_bytes(data)
            result = await client.call("read_media_file", path="a.png")
            assert result.is_error is not allowed
            if not allowed:
                assert code(result) == "TOO_BIG_TO_READ"


# --- policy ---------------------------------------------------------------------------------------


async def test_files_in_a_root_for_listing_are_not_read(tmp_path: Path) -> None:
    """The mode of the root is asked by every tool."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.txt").write_text("text")
    async with client_of(tmp_path, roots=f"docs={tmp_path}/docs:list") as client:
        for tool in ("read_text_file", "read_file", "read_media_file"):
            assert code(await client.call(tool, path="a.txt")) == "ROOT_MODE"
        answer = structured(await client.call("read_multiple_files", glob="docs/*"))
    assert answer["files"][0]["error"]["code"] == "ROOT_MODE"
