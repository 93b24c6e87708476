"""Files and directories as resources: listed, read, completed, and told of when they change."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core.files.inotify import Inotify
from core.settings import Settings
from core.testing import Client
from services.filesystem import subscriptions
from services.filesystem.service import create_server
from services.filesystem.settings import FilesystemSettings
from tests.services.filesystem.conftest import SEAL_KEY, client_of
from tests.wire.harness import Answer, Wire

UPDATED = "notifications/resources/updated"
RESOURCES = "notifications/resources/list_changed"


async def read(client: Client, uri: str) -> dict[str, Any]:
    """Return the contents that a URI has."""
    answer = await client.rpc("resources/read", {"uri": uri})
    assert "result" in answer, answer
    (contents,) = answer["result"]["contents"]
    assert contents["uri"] == uri
    found: dict[str, Any] = contents
    return found


async def refused(client: Client, uri: str) -> dict[str, Any]:
    """Return the error that reading a URI gives."""
    answer = await client.rpc("resources/read", {"uri": uri})
    assert "error" in answer, answer
    error: dict[str, Any] = answer["error"]
    return error


async def completed(client: Client, value: str) -> list[str]:
    """Return what completes a path."""
    ref = {"type": "ref/resource", "uri": "file:///{+path}"}
    params = {"ref": ref, "argument": {"name": "path", "value": value}}
    values: list[str] = (await client.rpc("completion/complete", params))["result"]["completion"][
        "values"
    ]
    return values


# --- listed and read -----------------------------------------------------------------------------


async def test_each_root_is_a_resource(client: Client, docs: Path) -> None:
    """By its URI, with its alias as name."""
    (resource,) = (await client.rpc("resources/list"))["result"]["resources"]
    assert resource["uri"] == f"file://{docs}/"
    assert resource["name"] == "docs"
    (template,) = (await client.rpc("resources/templates/list"))["result"]["resourceTemplates"]
    assert template["uriTemplate"] == "file:///{+path}"


async def test_a_directory_is_its_entries(client: Client, docs: Path) -> None:
    """With the URIs that they are read by; denied ones and our own are not there."""
    (docs / "sub dir").mkdir()
    (docs / "a.txt").write_text("x")
    (docs / os.fsdecode(b"caf\xe9")).write_text("x")
    for hidden in (".env", ".mcp-1.tmp"):
        (docs / hidden).write_text("x")
    for uri in (f"file://{docs}/", f"file://{docs}"):
        listing = json.loads((await read(client, uri))["text"])
        assert listing["path"] == "docs"
        assert [(e["name"], e["type"], e["uri"]) for e in listing["entries"]] == [
            ("a.txt", "file", f"file://{docs}/a.txt"),
            ("caf%E9", "file", f"file://{docs}/caf%E9"),
            ("sub dir", "directory", f"file://{docs}/sub%20dir/"),
        ]
    assert json.loads((await read(client, f"file://{docs}/sub%20dir"))["text"])["entries"] == []


async def test_a_text_is_text_and_anything_else_a_blob(client: Client, docs: Path) -> None:
    """Exactly as it is in the file."""
    text = "\ufeffgrüße\r\nzwei\n"
    (docs / "a b.txt").write_bytes(text.encode())
    (docs / "latin").write_bytes("grüße".encode("latin-1"))
    (docs / "picture").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    for written in ("a%20b.txt", "a b.txt", "%61%20b.txt"):
        contents = await read(client, f"file://{docs}/{written}")
        assert contents["text"] == text
        assert contents["mimeType"] == "text/plain"
    picture = await read(client, f"file://{docs}/picture")
    assert picture["mimeType"] == "image/png"
    assert base64.b64decode(picture["blob"]) == b"\x89PNG\r\n\x1a\n\0\0"
    latin = await read(client, f"file://{docs}/latin")
    assert base64.b64decode(latin["blob"]) == "grüße".encode("latin-1")


@pytest.mark.parametrize(
    "path", ["nowhere", ".env", "%2e%65nv", ".ssh/config", "out", "../../../../etc/passwd", "a%00b"]
)
async def test_what_may_not_be_seen_is_not_found(client: Client, docs: Path, path: str) -> None:
    """The specification's error for it, and not a word of what is there."""
    (docs / ".env").write_text("SECRET")
    (docs / ".ssh").mkdir()
    (docs / "out").symlink_to("/etc/passwd")
    uri = f"file://{docs}/{path}"
    error = await refused(client, uri)
    assert error["code"] in (-32002, -32602)
    assert "SECRET" not in json.dumps(error)
    if path != "a%00b":
        assert error["data"]["uri"] == uri


async def test_of_a_root_for_listing_only_the_entries_are_read(tmp_path: Path, docs: Path) -> None:
    """Its files are not."""
    (docs / "a.txt").write_text("x")
    async with client_of(tmp_path, roots=f"docs={docs}:list") as client:
        listing = json.loads((await read(client, f"file://{docs}/"))["text"])
        assert [e["name"] for e in listing["entries"]] == ["a.txt"]
        error = await refused(client, f"file://{docs}/a.txt")
        assert "reading" in error["message"]


async def test_a_file_that_is_too_large_is_refused_with_both_sizes(
    tmp_path: Path, docs: Path
) -> None:
    """Nothing of it is sent."""
    (docs / "big").write_bytes(b"x" * 5_000)
    async with client_of(tmp_path, roots=f"docs={docs}", max_media_bytes=4_000) as client:
        error = await refused(client, f"file://{docs}/big")
        assert error["data"]["code"] == "TOO_BIG_TO_READ"
        assert "5000" in error["message"]
        assert "4000" in error["message"]


async def test_paths_are_completed_inside_roots_only(client: Client, docs: Path) -> None:
    """Percent-encoded, as they stand in a URI; a directory with a slash, to go on with."""
    (docs / "guide").mkdir()
    (docs / "guide" / "a b.md").write_text("x")
    (docs / "guide" / "a.md").write_text("x")
    (docs / "guide" / ".env").write_text("x")
    top = str(docs)[1:]
    assert await completed(client, "") == [f"{top}/"]
    assert await completed(client, top[:3]) == [f"{top}/"]
    assert await completed(client, f"{top}/") == [f"{top}/guide/"]
    assert await completed(client, f"{top}/gu") == [f"{top}/guide/"]
    assert await completed(client, f"{top}/guide/a") == [
        f"{top}/guide/a%20b.md",
        f"{top}/guide/a.md",
    ]
    assert await completed(client, f"{top}/guide/.e") == []
    assert await completed(client, f"{top}/../") == []
    assert await completed(client, "etc/pass") == []
    assert await completed(client, f"{top}/nowhere/x") == []


# --- told ----------------------------------------------------------------------------------------


@pytest.fixture
async def wire(docs: Path, anyio_backend: str) -> AsyncIterator[Wire]:
    """A server with the root `docs`, spoken to message by message."""
    settings = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": docs.parent / "state"}}
    )
    roots = FilesystemSettings.from_dict({"roots": f"docs={docs}:delete"})
    async with Wire(create_server(settings, roots)) as connected:
        yield connected


class Heard:
    """A listen stream and the notifications on it."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    @property
    def uris(self) -> list[str]:
        """The resources that were told, in order."""
        messages = [m for m in self.answer.messages if m.get("method") == UPDATED]
        return [message["params"]["uri"] for message in messages]

    async def until(self, count: int) -> None:
        """Wait until so many were told."""
        await self.answer.until(lambda _: len(self.uris) >= count)

    async def settled(self) -> list[str]:
        """Return what was told, after everything has been looked at again."""
        await asyncio.sleep(subscriptions.SPACING_S * 2 + 0.1)
        return self.uris


def list_changes(answer: Answer) -> int:
    """Return how often the list of resources was told to be another."""
    return sum(message.get("method") == RESOURCES for message in answer.messages)


async def listening(wire: Wire, *uris: str) -> Heard:
    """Subscribe to resources and wait until they are watched.

    What was changed in the last tick of the clock would be told as changed since then.
    """
    await asyncio.sleep(0.02)
    wanted = {"notifications": {"resourceSubscriptions": list(uris)}}
    answer = await wire.modern("subscriptions/listen", wanted).begun()
    await asyncio.sleep(0.15)
    return Heard(answer)


def by_another(script: str, *arguments: object) -> None:
    """Run Python in another process."""
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True)


def replace(path: Path) -> None:
    """Write another file and rename it, as editors and write_file do."""
    path.with_name(".mcp-1.tmp").write_text(f"after {time.monotonic_ns()}")
    path.with_name(".mcp-1.tmp").rename(path)


WAYS: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text("after"),
    "appended": lambda path: path.open("a").write("more"),
    "same bytes": lambda path: path.write_text("before"),
    "replaced": replace,
    "deleted": lambda path: path.unlink(),
    "renamed": lambda path: path.rename(path.with_name("elsewhere")),
    "by another process": lambda path: by_another(
        "import sys; open(sys.argv[1], 'a').write('x')", path
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the file that is appended to is not closed
async def test_a_change_of_a_file_is_told(wire: Wire, docs: Path, way: str) -> None:
    """Whoever makes it, in whatever way, soon."""
    path = docs / "a.txt"
    path.write_text("before")
    heard = await listening(wire, f"file://{path}")
    await asyncio.to_thread(WAYS[way], path)
    began = time.monotonic()
    await heard.until(1)
    assert time.monotonic() - began < 1
    assert set(heard.uris) == {f"file://{path}"}


async def test_the_uri_is_told_as_it_was_subscribed_to(wire: Wire, docs: Path) -> None:
    """Clients compare it letter by letter."""
    path = docs / "a b.txt"
    path.write_text("before")
    ways = [f"file://{docs}/a b.txt", f"file://{docs}/a%20b.txt", f"file://{docs}/x/../%61%20b.txt"]
    heard = await listening(wire, *ways)
    path.write_text("after")
    await heard.until(3)
    assert sorted(heard.uris) == sorted(ways)


async def test_a_file_is_followed_through_deletion_and_renamed_directories(
    wire: Wire, docs: Path
) -> None:
    """Each thing that happens to its path is told, once or a few times."""
    path = docs / "a" / "b" / "c.txt"
    heard = await listening(wire, f"file://{path}")
    told = 0
    for act in (
        lambda: path.parent.mkdir(parents=True),
        lambda: path.write_text("1"),
        lambda: path.unlink(),
        lambda: path.write_text("2"),
        lambda: (docs / "a").rename(docs / "z"),
        lambda: (docs / "z").rename(docs / "a"),
        lambda: path.write_text("3"),
    ):
        act()
        if path.parent.exists() and not path.exists() and told == 0:
            assert await heard.settled() == []
            continue
        await heard.until(told + 1)
        told = len(await heard.settled())


async def test_a_burst_is_told_a_few_times_and_after_its_last_write(wire: Wire, docs: Path) -> None:
    """A thousand writes are not a thousand notifications; who reads after the last sees all."""
    path = docs / "a.txt"
    path.write_text("0")
    heard = await listening(wire, f"file://{path}")
    seen_at: list[float] = []

    async def note() -> None:
        while True:
            await heard.until(len(seen_at) + 1)
            seen_at.append(time.monotonic())

    noting = asyncio.create_task(note())
    for number in range(1000):
        path.write_text(str(number))
        if number % 100 == 0:
            await asyncio.sleep(0)
    last_write_at = time.monotonic()
    await heard.settled()
    noting.cancel()
    assert 1 <= len(seen_at) <= 6
    assert seen_at[-1] >= last_write_at


async def test_neighbours_and_what_is_hidden_are_never_told(wire: Wire, docs: Path) -> None:
    """Nor anything else below the roots that nobody subscribed to."""
    (docs / "a.txt").write_text("x")
    (docs / ".env").write_text("x")
    heard = await listening(wire, f"file://{docs}/a.txt", f"file://{docs}/.env", "file:///etc/motd")
    (docs / "b.txt").write_text("x")
    (docs / ".env").write_text("y")
    (docs / "a.txt.swp").write_text("x")
    (docs / ".mcp-2.tmp").write_text("x")
    (docs / "sub").mkdir()
    (docs / "sub" / "a.txt").write_text("x")
    assert await heard.settled() == []


async def test_a_directory_is_told_when_its_entries_change(wire: Wire, docs: Path) -> None:
    """Names that come and go; not what happens inside the files, deeper, or hidden."""
    (docs / "a.txt").write_text("x")
    (docs / "sub").mkdir()
    uri = f"file://{docs}/"
    heard = await listening(wire, uri)
    (docs / "a.txt").write_text("y")
    (docs / "sub" / "deep.txt").write_text("x")
    (docs / ".env").write_text("x")
    replace(docs / "a.txt")
    assert await heard.settled() == []
    (docs / "b.txt").write_text("x")
    await heard.until(1)
    told = len(await heard.settled())
    (docs / "a.txt").unlink()
    await heard.until(told + 1)
    assert set(heard.uris) == {uri}


async def test_a_file_behind_a_link_is_followed_inside_its_root(wire: Wire, docs: Path) -> None:
    """Both the file and the link; a link that leads out is nothing."""
    (docs / "real").mkdir()
    (docs / "real" / "a.txt").write_text("x")
    (docs / "link.txt").symlink_to("real/a.txt")
    outside = docs.parent / "secret.txt"
    outside.write_text("x")
    (docs / "out.txt").symlink_to(outside)
    heard = await listening(wire, f"file://{docs}/link.txt", f"file://{docs}/out.txt")
    (docs / "real" / "a.txt").write_text("y")
    await heard.until(1)
    told = len(await heard.settled())
    outside.write_text("y")
    assert len(await heard.settled()) == told
    (docs / "link.txt").unlink()
    await heard.until(told + 1)
    assert set(heard.uris) == {f"file://{docs}/link.txt"}


async def test_a_change_right_after_the_subscription_is_told(wire: Wire, docs: Path) -> None:
    """Even when it came before the file could be watched."""
    (docs / "a.txt").write_text("x")
    os.utime(docs / "a.txt", (1, 1))
    uri = f"file://{docs}/a.txt"
    wanted = {"notifications": {"resourceSubscriptions": [uri]}}
    heard = Heard(await wire.modern("subscriptions/listen", wanted).begun())
    (docs / "a.txt").write_text("y")
    await heard.until(1)


async def test_watches_end_with_the_last_subscriber(wire: Wire, docs: Path) -> None:
    """And are shared until then: one directory is watched once for everybody."""
    (docs / "a.txt").write_text("x")
    uri = f"file://{docs}/a.txt"
    first, second = await listening(wire, uri), await listening(wire, uri)
    assert await asyncio.to_thread(watched_directories) == 1
    first.answer.leave()
    await first.answer.finished()
    (docs / "a.txt").write_text("y")
    await second.until(1)
    second.answer.leave()
    await second.answer.finished()
    for _ in range(100):
        if await asyncio.to_thread(watched_directories) == 0:
            break
        await asyncio.sleep(0.05)
    assert await asyncio.to_thread(watched_directories) == 0


def watched_directories() -> int:
    """Return how many directories the kernel watches for this process (proc(5), fdinfo)."""
    count = 0
    for number in os.listdir("/proc/self/fdinfo"):
        try:
            text = Path(f"/proc/self/fdinfo/{number}").read_text()
        except OSError:
            continue
        count += sum(line.startswith("inotify wd:") for line in text.splitlines())
    return count


async def test_sessions_of_older_revisions_are_told_on_their_stream(wire: Wire, docs: Path) -> None:
    """By resources/subscribe, until resources/unsubscribe."""
    (docs / "a.txt").write_text("x")
    uri = f"file://{docs}/a.txt"
    session = await wire.session()
    stream = await session.listen().begun()
    await session.ask("resources/subscribe", {"uri": uri})
    await asyncio.sleep(0.15)
    (docs / "a.txt").write_text("y")
    await Heard(stream).until(1)
    await session.ask("resources/unsubscribe", {"uri": uri})
    told = len(Heard(stream).uris)
    (docs / "a.txt").write_text("z")
    assert len(await Heard(stream).settled()) == told


async def test_our_own_write_is_told(wire: Wire, docs: Path) -> None:
    """write_file replaces the file by a rename."""
    (docs / "a.txt").write_text("x")
    heard = await listening(wire, f"file://{docs}/a.txt")
    session = await wire.session()
    result = await session.call("write_file", path="docs/a.txt", content="y")
    assert not result["isError"], result
    await heard.until(1)


async def test_without_the_kernels_word_changes_are_looked_for(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system, or when the user has too many watches."""

    def refused(self: Inotify) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", refused)
    monkeypatch.setattr(subscriptions, "SWEEP_S", 0.1)
    settings = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": docs.parent / "state"}}
    )
    roots = FilesystemSettings.from_dict({"roots": f"docs={docs}"})
    (docs / "a.txt").write_text("x")
    async with Wire(create_server(settings, roots)) as wire:
        heard = await listening(wire, f"file://{docs}/a.txt")
        (docs / "a.txt").write_text("longer")
        await heard.until(1)


async def test_roots_that_come_and_go_change_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients are told, and what is subscribed to in them is followed."""
    monkeypatch.setattr(subscriptions, "SWEEP_S", 0.1)
    late = tmp_path / "late"
    settings = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": tmp_path / "state"}}
    )
    server = create_server(settings, FilesystemSettings.from_dict({"roots": f"late={late}"}))
    async with Wire(server) as wire:
        session = await wire.session()
        stream = await session.listen().begun()
        assert (await session.ask("resources/list")).result["resources"] == []
        await session.ask("resources/subscribe", {"uri": f"file://{late}/a.txt"})
        late.mkdir()
        await stream.until(lambda answer: list_changes(answer) > 0)
        (resource,) = (await session.ask("resources/list")).result["resources"]
        assert resource["uri"] == f"file://{late}/"
        (late / "a.txt").write_text("x")
        await Heard(stream).until(1)
        told = list_changes(stream)
        (late / "a.txt").unlink()
        late.rmdir()
        await stream.until(lambda answer: list_changes(answer) > told)
        assert (await session.ask("resources/list")).result["resources"] == []
