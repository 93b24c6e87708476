"""Logs of containers as sources of the log tools: whose, what of them, and what is left on disk."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.files import Root
from core.settings import Settings
from core.testing import Client
from services.monitoring.backend import container_logs
from services.monitoring.backend.container_logs import ContainerLogs, Whose
from services.monitoring.backend.docker import Docker
from services.monitoring.backend.log_stream import MAX_LINE_BYTES, LogStream, Piece
from services.monitoring.logs.sources import discover
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings
from tests.services.monitoring.engine import Engine, engine, framed

STARTED = datetime.now(UTC) - timedelta(minutes=5)
FAILURE = (
    "Traceback (most recent call last):",
    '  File "/app/shop.py", line 7, in pay',
    "    charge(card)",
    "ValueError: the card has no number",
)


def at(seconds: float, text: str) -> str:
    """Return a line with the engine's time before it, so many seconds after the start."""
    moment = (STARTED + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{moment}000Z {text}\n"


@contextlib.asynccontextmanager
async def serving(folder: Path, docker_socket: str, **own: Any) -> AsyncIterator[Client]:
    """The service over that socket; what it may see besides the suite's is given."""
    settings = Settings.from_dict({"server": {"state_dir": str(folder / "state")}})
    own = {"docker_socket": docker_socket, "services": "none=http://127.0.0.1:1", **own}
    server = create_server(settings, MonitoringSettings.from_dict(own))
    async with Client(server) as client:
        yield client


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return what a tool answers."""
    result = await client.call(tool, **arguments)
    assert result.structured is not None, result.text
    return result.structured


async def texts(client: Client, **arguments: Any) -> list[str]:
    """Return the messages that a search finds in the logs of containers, the oldest first."""
    arguments = {"sources": ["container"], "order": "oldest", **arguments}
    return [row["message"] for row in (await told(client, "search_logs", **arguments))["entries"]]


def rename(recorded: Engine, name: str, to: str) -> None:
    """Give a container another name."""
    row = next(row for row in recorded.recorded["list"] if row["Names"] == [f"/{name}"])
    row["Names"] = [f"/{to}"]


@dataclass
class Clock:
    """The time, in seconds after the start."""

    seconds: float = 0

    def __call__(self) -> float:
        """Return it in seconds since 1970."""
        return STARTED.timestamp() + self.seconds


@contextlib.asynccontextmanager
async def copying(
    folder: Path, *, max_bytes: int = 1_000_000
) -> AsyncIterator[tuple[Engine, Clock, ContainerLogs]]:
    """An engine whose container mcp-fetch has written nothing yet, and copies of its log."""
    clock = Clock()
    async with engine(folder) as recorded:
        rename(recorded, "shop-oom", "mcp-fetch")
        docker, whose = Docker(recorded.socket), Whose(frozenset({"mcp-fetch"}))
        logs = ContainerLogs(docker, whose, folder, max_bytes=max_bytes, clock=clock)
        async with logs.running():
            yield recorded, clock, logs


def folders(state_dir: Path) -> set[Path]:
    """Return the folders of copied logs."""
    return set(state_dir.glob("container-logs-*"))


def copies(folder: Path) -> list[Path]:
    """Return the files of copied logs below a state folder."""
    return sorted(folder.glob("container-logs-*/*"))


def lines_of(folder: Path) -> list[str]:
    """Return the copied lines, the oldest first, without what stands before them."""
    text = "".join(file.read_text() for file in reversed(copies(folder)))
    return [line.split(" ", 3)[3] for line in text.splitlines()]


def in_pieces_of(size: int) -> Callable[..., AsyncIterator[bytes]]:
    """Return how an answer comes in when the network gives so many bytes at once."""

    async def pieces(response: httpx.Response, _: int | None = None) -> AsyncIterator[bytes]:
        data = b"".join([part async for part in response.aiter_raw()])
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return pieces


# --- whose ----------------------------------------------------------------------------------------


async def test_containers_of_the_suite_are_sources_and_no_others(tmp_path: Path) -> None:
    """By the names of the registry; the log of another is not even asked for."""
    async with engine(tmp_path) as recorded:
        rename(recorded, "shop-chatty", "mcp-postgres")
        rename(recorded, "shop-dead", "mcp-database")
        async with serving(tmp_path, recorded.socket) as client:
            found = await told(client, "list_log_sources", sources=["container"])
        ids = {recorded.id_of("mcp-postgres"), recorded.id_of("mcp-database")}
    assert {row["name"] for row in found["logs"]} == {
        "container/mcp-postgres",
        "container/mcp-database",
    }
    assert found["skipped"] == []
    assert {path.split("/")[3] for _, path in recorded.asked if "/logs?" in path} == ids


async def test_others_are_read_where_the_operator_names_them(tmp_path: Path) -> None:
    """By name or glob, also stopped ones and those with a terminal."""
    async with (
        engine(tmp_path) as recorded,
        serving(tmp_path, recorded.socket, log_containers="shop-d*, shop-tty") as client,
    ):
        found = await told(client, "list_log_sources", sources=["container/*"])
        assert [row["name"] for row in found["logs"]] == [
            "container/shop-dead",
            "container/shop-tty",
        ]
        assert sorted(await texts(client)) == ["bye", "tty line"]
        assert sorted(await texts(client)) == ["bye", "tty line"]


@pytest.mark.parametrize(
    ("hostname", "seen"),
    [
        ("0123456789ab", ["mcp-x", "us", "db"]),
        ("0123456789ac", ["mcp-x"]),
        ("machine", ["mcp-x"]),
        ("", ["mcp-x"]),
    ],
)
def test_containers_of_the_own_compose_project_are_the_suites(
    hostname: str, seen: list[str]
) -> None:
    """In a container the host name is, by default, the beginning of its id."""
    label = "com.docker.compose.project"

    def row(id_: str, name: str, **labels: str) -> dict[str, Any]:
        return {"Id": id_, "Names": [f"/{name}"], "Labels": labels}

    rows = [
        row("a" * 64, "mcp-x"),
        row("0123456789ab" + "0" * 52, "us", **{label: "suite"}),
        row("b" * 64, "db", **{label: "suite"}),
        row("c" * 64, "stranger", **{label: "other"}),
        row("d" * 64, "lonely"),
    ]
    whose = Whose(frozenset({"mcp-x"}), hostname=hostname)
    assert [row["Names"][0][1:] for row in whose.chosen(rows)] == seen


# --- what of them ---------------------------------------------------------------------------------


async def test_every_log_tool_reads_them(tmp_path: Path) -> None:
    """Lines of the suite's own format, and of programs that tell no time; both streams."""
    async with engine(tmp_path) as recorded:
        rename(recorded, "shop-oom", "mcp-fetch")
        own = {"time": STARTED.isoformat(), "level": "warning", "message": "slow", "tool": "fetch"}
        recorded.write("mcp-fetch", (2, at(1, json.dumps(own))), (1, at(2, "hello")))
        recorded.write("mcp-fetch", *((2, at(3 + n / 1e5, line)) for n, line in enumerate(FAILURE)))
        async with serving(tmp_path, recorded.socket) as client:
            sources = ["container/mcp-fetch"]
            slow = await told(client, "search_logs", sources=sources, fields=["tool=fetch"])
            assert [(row["message"], row["level"]) for row in slow["entries"]] == [
                ("slow", "warning")
            ]
            context = await told(client, "log_context", ref=slow["entries"][0]["ref"], after=1)
            assert context["after"][0].endswith("hello")
            errors = await told(client, "error_summary", sources=sources)
            assert errors["exceptions"][0]["type"] == "ValueError"
            patterns = await told(client, "log_patterns", sources=sources, baseline="none")
            assert "hello" in {row["template"] for row in patterns["patterns"]}
            changed = await told(client, "what_changed", sources=sources, minutes=120)
            assert changed["scanned_bytes"] > 0


async def test_what_comes_later_is_added_once(tmp_path: Path) -> None:
    """Each reading goes on where the last one ended, also where two lines are of one moment."""
    async with copying(tmp_path) as (recorded, clock, logs):
        recorded.write("mcp-fetch", (1, at(1, "one")), (2, at(1, "also one")))
        recorded.write("mcp-fetch", (1, at(9.9, "too new: an earlier one may still come")))
        clock.seconds = 10
        assert await logs.refresh() == []
        assert lines_of(tmp_path) == ["one", "also one"]
        clock.seconds = 20
        recorded.write("mcp-fetch", (1, at(19, "last")))
        for _ in range(2):
            assert await logs.refresh() == []
        assert lines_of(tmp_path)[2:] == ["too new: an earlier one may still come", "last"]


async def test_a_long_line_is_one_and_a_line_without_end_is_told(tmp_path: Path) -> None:
    """The engine cuts lines after 16 KiB."""
    async with copying(tmp_path) as (recorded, clock, logs):
        parts = [at(1, part * 16_384).rstrip("\n") for part in "abc"]
        recorded.write("mcp-fetch", *((1, part) for part in parts), (1, at(1, "d")))
        recorded.write("mcp-fetch", (2, at(2, "its last words").rstrip("\n")))
        clock.seconds = 10
        await logs.refresh()
        long, last = lines_of(tmp_path)
        assert long == "a" * 16_384 + "b" * 16_384 + "c" * 16_384 + "d"
        assert last == "its last words"


async def test_a_log_outlives_its_container_while_the_service_runs(tmp_path: Path) -> None:
    """A container that was made anew goes on under its name."""
    async with copying(tmp_path) as (recorded, clock, logs):
        recorded.write("mcp-fetch", (1, at(1, "the first")))
        clock.seconds = 5
        await logs.refresh()
        recorded.recorded["list"] = [
            row for row in recorded.recorded["list"] if row["Names"] != ["/mcp-fetch"]
        ]
        rename(recorded, "shop-sick", "mcp-fetch")
        recorded.write("mcp-fetch", (1, at(9, "the second")))
        clock.seconds = 10
        await logs.refresh()
        assert lines_of(tmp_path) == ["the first", "the second"]


async def test_secrets_are_taken_out_of_what_is_shown(tmp_path: Path) -> None:
    """As of any log."""
    async with (
        engine(tmp_path) as recorded,
        serving(tmp_path, recorded.socket, log_containers="shop-mounted") as client,
    ):
        found = await client.call("search_logs", sources=["container/shop-mounted"])
    assert "Authorization" in found.text
    assert "abcdefghijklmnopqrstuvwxyz" not in found.text


# --- when it does not work ------------------------------------------------------------------------


async def test_without_a_socket_nothing_is_said(tmp_path: Path) -> None:
    """There is no engine, so no container lacks."""
    async with serving(tmp_path, str(tmp_path / "none.sock")) as client:
        found = await told(client, "list_log_sources")
    assert not [row for row in found["logs"] if row["name"].startswith("container/")]
    assert not [line for line in found["skipped"] if line.startswith("container")]


async def test_other_logs_are_read_when_the_engine_does_not_answer(tmp_path: Path) -> None:
    """It is said, and the engine is left alone for a while, so that calls do not wait for it."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_text(f"{STARTED.isoformat()} INFO here\n")
    async with engine(tmp_path) as recorded:
        recorded.statuses = {"/version": 503}
        root = f"app={tmp_path}/logs"
        async with serving(tmp_path, recorded.socket, log_roots=root) as client:
            found = await told(client, "search_logs", sources=["app"])
            asked = len(recorded.asked)
            again = await told(client, "search_logs", sources=["app"], text="here")
    assert [row["message"] for row in again["entries"]] == ["here"]
    assert found["skipped"] == again["skipped"]
    assert "container: The Docker engine answered with status 503." in found["skipped"]
    assert len([path for _, path in recorded.asked[asked:] if "json" in path]) == 0


async def test_a_log_that_the_engine_does_not_give_is_told(tmp_path: Path) -> None:
    """A logging driver that cannot be read, or a proxy that forbids it."""
    async with engine(tmp_path) as recorded:
        rename(recorded, "shop-chatty", "mcp-fetch")
        recorded.statuses = {"/logs": 501}
        async with serving(tmp_path, recorded.socket) as client:
            found = await told(client, "list_log_sources")
    assert "container/mcp-fetch: the engine does not give its log" in found["skipped"]


# --- on disk --------------------------------------------------------------------------------------


async def test_only_the_newest_lines_are_kept_and_nothing_after_the_end(tmp_path: Path) -> None:
    """In two files of half the size, one log; others cannot read them."""
    async with copying(tmp_path, max_bytes=100_000) as (recorded, clock, logs):
        for part in range(8):
            lines = [at(10 * part + n / 1000, f"{part}-{n} " + "x" * 200) for n in range(150)]
            recorded.write("mcp-fetch", *((1, line) for line in lines))
            clock.seconds = 10 * (part + 1)
            assert await logs.refresh() == []
        kept = copies(tmp_path)
        assert [file.name for file in kept] == ["mcp-fetch", "mcp-fetch.1"]
        assert 50_000 < sum(file.stat().st_size for file in kept) <= 100_000
        assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
        assert kept[0].parent.stat().st_mode & 0o777 == 0o700
        assert lines_of(tmp_path)[-1].startswith("7-149 ")
        found = discover([(root, Root.open(root.path)) for root in logs.roots()])
        assert [family.name for family in found.families] == ["container/mcp-fetch"]
    assert copies(tmp_path) == []


async def test_of_a_log_that_is_too_long_the_newest_lines_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said that others were left out."""
    monkeypatch.setattr(container_logs, "TAIL", 10)
    monkeypatch.setattr(container_logs, "MANY", 9)
    async with copying(tmp_path) as (recorded, clock, logs):
        recorded.write("mcp-fetch", *((1, at(n / 100, str(n))) for n in range(30)))
        clock.seconds = 5
        told = await logs.refresh()
        assert told == ["container/mcp-fetch: more came than the 10 lines read at once"]
        assert lines_of(tmp_path) == [str(n) for n in range(20, 30)]


async def test_a_log_that_could_not_be_read_to_its_end_goes_on_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nothing comes twice."""
    monkeypatch.setattr(container_logs, "MAX_READ_BYTES", 999)
    monkeypatch.setattr(httpx.Response, "aiter_bytes", in_pieces_of(1000))
    async with copying(tmp_path) as (recorded, clock, logs):
        recorded.write("mcp-fetch", *((1, at(n / 100, str(n))) for n in range(100)))
        clock.seconds = 5
        assert await logs.refresh() == [
            "container/mcp-fetch: not read to its end; the rest comes next time"
        ]
        assert 10 < len(lines_of(tmp_path)) < 50
        for _ in range(20):
            last = await logs.refresh()
        assert last == []
        assert lines_of(tmp_path) == [str(n) for n in range(100)]


async def test_what_a_killed_process_left_is_removed_but_not_what_another_uses(
    tmp_path: Path,
) -> None:
    """Whose process lives holds a lock on its folder."""
    left, used = tmp_path / "container-logs-left", tmp_path / "container-logs-used"
    for folder in (left, used):
        folder.mkdir()
        (folder / "mcp-fetch").write_text("a line\n")
    held = os.open(used, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    logs = ContainerLogs(Docker("/none"), Whose(frozenset()), tmp_path, max_bytes=1000)
    async with logs.running():
        own = {Path(root.path) for root in logs.roots()}
        assert folders(tmp_path) == {used, *own}
    assert folders(tmp_path) == {used}
    os.close(held)


async def test_a_folder_that_cannot_be_made_costs_the_logs_of_containers_only(
    tmp_path: Path,
) -> None:
    """The rest of the service does not need it."""
    (tmp_path / "file").write_text("")
    logs = ContainerLogs(Docker("/none"), Whose(frozenset()), tmp_path / "file", max_bytes=1000)
    async with logs.running():
        assert logs.roots() == ()
        assert await logs.refresh() == []


# --- pure -----------------------------------------------------------------------------------------

STAMP = b"2026-01-01T00:00:00.000000001Z "


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))),
    st.lists(st.integers(1, 60), min_size=1),
)
def test_a_log_in_pieces_says_what_it_says_as_a_whole(
    messages: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    """Wherever the network cuts it, inside frames or between."""
    data = b"".join(framed(stream, STAMP + message + b"\n") for stream, message in messages)
    whole, log = LogStream(has_tty=False), LogStream(has_tty=False)
    parts: list[Piece] = []
    begin = 0
    for size in sizes * (len(data) // sum(sizes) + 1):
        parts += log.feed(data[begin : begin + size])
        begin += size
    assert parts == list(whole.feed(data))
    assert [*log.end(), *whole.end()] == []


def test_messages_of_one_long_line_are_joined_without_their_times() -> None:
    """The engine cuts after 16 KiB and puts the same time before each; another stream between."""
    log = LogStream(has_tty=False)
    data = [(1, b"aaa"), (2, b"err\n"), (1, b"bbb"), (1, b"end\n"), (1, b"unfinished")]
    pieces = [p for stream, text in data for p in log.feed(framed(stream, STAMP + text))]
    assert pieces == [("stderr", STAMP + b"err", True), ("stdout", STAMP + b"aaabbbend", True)]
    assert list(log.end()) == [("stdout", STAMP + b"unfinished", True)]


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    """It is given in pieces, each with the time."""
    log = LogStream(has_tty=False)
    message = framed(1, STAMP + b"x" * 16_384)
    pieces = [p for _ in range(40) for p in log.feed(message)]
    assert {is_whole for _, _, is_whole in pieces} == {False}
    assert all(text.startswith(STAMP + b"x") for _, text, _ in pieces)
    assert all(len(text) < MAX_LINE_BYTES + 20_000 for _, text, _ in pieces)
