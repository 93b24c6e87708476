"""Containers over the Docker socket: read only, without secrets, and clear when there is none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import Settings
from core.testing import CallResult, Client
from services.monitoring.backend.containers import ContainerWatch
from services.monitoring.backend.docker import (
    ALLOWED,
    Docker,
    container_of,
    engine_of,
    log_lines,
    usage_of,
)
from services.monitoring.backend.events import Event
from services.monitoring.backend.log_stream import demultiplexed
from services.monitoring.errors import DockerUnavailable
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings
from tests.services.monitoring.engine import RECORDED, Engine, engine

SECRETS = ("ghp_abcdefghij", "hunter2", "sk-verysecret", "abcdefghijklmnopqrstuvwxyz123456")


@contextlib.asynccontextmanager
async def watching(folder: Path, docker_socket: str) -> AsyncIterator[Client]:
    """The service, over that socket and without services to watch."""
    settings = Settings.from_dict({"server": {"state_dir": str(folder)}})
    own = {"docker_socket": docker_socket, "services": "none=http://127.0.0.1:1"}
    server = create_server(settings, MonitoringSettings.from_dict(own))
    async with Client(server) as client:
        yield client


def rows_of(result: CallResult) -> dict[str, dict[str, Any]]:
    """Return the containers of an answer by name."""
    assert result.structured is not None, result.text
    return {row["name"]: row for row in result.structured["containers"]}


async def call(folder: Path, **arguments: Any) -> tuple[CallResult, Engine]:
    """Call the tool over the recorded engine."""
    async with engine(folder) as recorded, watching(folder, recorded.socket) as client:
        return await client.call("containers", **arguments), recorded


# --- what is told ---------------------------------------------------------------------------------


async def test_running_containers_are_listed_and_stopped_ones_on_demand(tmp_path: Path) -> None:
    """As `docker ps` and `docker ps --all`."""
    running, _ = await call(tmp_path)
    every, _ = await call(tmp_path, all=True)
    assert set(rows_of(every)) - set(rows_of(running)) == {"shop-dead", "shop-oom"}
    assert every.structured is not None
    assert every.structured["engine"] == "docker 20.10.24+dfsg1"
    assert every.structured["total"] == 7


async def test_what_is_wrong_is_said_in_sentences(tmp_path: Path) -> None:
    """Exit codes, restart loops, kills for want of memory, failing health checks."""
    result, _ = await call(tmp_path, all=True)
    rows = rows_of(result)
    assert (rows["shop-dead"]["state"], rows["shop-dead"]["exit_code"]) == ("exited", 3)
    assert rows["shop-oom"]["oom_killed"] is True
    assert rows["shop-loop"]["restarts"] > 3
    assert rows["shop-sick"]["health"] == "unhealthy"
    assert result.structured is not None
    findings = "\n".join(result.structured["findings"])
    assert "shop-dead: It ended with exit code 3" in findings
    assert "shop-oom: The kernel killed it for want of memory" in findings
    assert "shop-loop: It was restarted" in findings
    assert "shop-sick: Its health check fails." in findings
    assert "shop-tty" not in findings


async def test_limits_and_mounts_are_told_but_no_folder_of_the_machine(tmp_path: Path) -> None:
    """Which volume, and which mounts are dangerous; where a folder lies is the machine's affair."""
    result, _ = await call(tmp_path)
    rows = rows_of(result)
    assert rows["shop-chatty"]["memory_bytes"] == 64 * 1024**2
    mounted = rows["shop-mounted"]
    assert (mounted["cpus"], mounted["pids"]) == (0.5, 32)
    mounts = {mount["target"]: mount for mount in mounted["mounts"]}
    assert mounts["/vol"]["source"] == "shopvol"
    assert mounts["/data"] == {
        "target": "/data",
        "kind": "bind",
        "source": None,
        "writable": True,
    }
    assert mounts["/var/run/docker.sock"]["source"] == "an engine's socket"
    assert mounts["/host/etc"]["source"] == "the machine's configuration"
    assert "/srv" not in result.text


async def test_no_secret_of_a_container_is_told(tmp_path: Path) -> None:
    """Variables by name only; labels, arguments and log lines with what looks like one replaced."""
    assert all(secret in json.dumps(RECORDED) for secret in SECRETS[:3])
    result, _ = await call(tmp_path, all=True, logs=50, stats=True)
    assert not [secret for secret in SECRETS if secret in result.text]
    rows = rows_of(result)
    assert rows["shop-chatty"]["environment"] == ["SECRET_TOKEN"]
    assert rows["shop-chatty"]["labels"] == {"api.key": "[redacted]", "team": "x"}
    assert rows["shop-mounted"]["command"][-1] == "--password=[redacted]"


async def test_logs_are_told_of_both_streams_and_of_terminals(tmp_path: Path) -> None:
    """The last lines, oldest first, with the engine's times."""
    result, _ = await call(tmp_path, all=True, logs=2)
    rows = rows_of(result)
    assert [line["text"] for line in rows["shop-tty"]["logs"]] == ["tty line"]
    assert [line["text"] for line in rows["shop-dead"]["logs"]] == ["bye"]
    chatty = rows["shop-chatty"]["logs"]
    assert len(chatty) == 2
    assert all(line["text"].startswith("line ") for line in chatty)
    assert chatty[0]["at"] < chatty[1]["at"]
    assert rows["shop-oom"]["logs"] == []


async def test_use_is_told_of_running_containers(tmp_path: Path) -> None:
    """Memory without the cache that can be taken back, as docker stats."""
    result, recorded = await call(tmp_path, stats=True)
    usage = rows_of(result)["shop-chatty"]["usage"]
    memory = recorded.recorded["stats"][recorded.id_of("shop-chatty")]["memory_stats"]
    assert usage["memory_bytes"] == memory["usage"] - memory["stats"]["total_inactive_file"]
    assert usage["memory_limit_bytes"] == 64 * 1024**2
    assert usage["pids"] == 2
    assert rows_of(result)["shop-loop"]["usage"] is None


async def test_a_page_is_cut_and_goes_on(tmp_path: Path) -> None:
    """Only the containers of the page are asked about."""
    async with engine(tmp_path) as recorded, watching(tmp_path, recorded.socket) as client:
        await recorded.was_looked_at.wait()  # by what watches in the background
        recorded.asked.clear()
        first = await client.call("containers", all=True, limit=3)
        assert first.structured is not None
        asked = sum("/json" in path for _, path in recorded.asked)
        cursor = first.structured["next_cursor"]
        rest = await client.call("containers", all=True, cursor=cursor, limit=50)
        chosen = await client.call("containers", all=True, q="DEAD")
        exited = await client.call("containers", all=True, q="exited")
    assert asked == 1 + 3
    assert len(rows_of(first)) == 3
    assert len({**rows_of(first), **rows_of(rest)}) == 7
    assert set(rows_of(chosen)) == {"shop-dead"}
    assert set(rows_of(exited)) == {"shop-dead", "shop-oom"}


async def test_a_container_that_goes_away_meanwhile_is_left_out(tmp_path: Path) -> None:
    """Between the list and the look at it."""
    async with engine(tmp_path) as recorded, watching(tmp_path, recorded.socket) as client:
        del recorded.recorded["inspect"][recorded.id_of("shop-tty")]
        del recorded.recorded["logs"][recorded.id_of("shop-sick")]
        result = await client.call("containers", logs=3)
    assert "shop-tty" not in rows_of(result)
    assert rows_of(result)["shop-sick"]["logs"] is None
    assert rows_of(result)["shop-sick"]["logs_problem"]


async def test_long_logs_are_cut_to_the_newest_lines(tmp_path: Path) -> None:
    """Within one answer, and said."""
    body = b"".join(b"2026-11-20T11:48:12.0Z %d %s\n" % (i, b"x" * 900) for i in range(200))
    async with engine(tmp_path) as recorded, watching(tmp_path, recorded.socket) as client:
        id_ = recorded.id_of("shop-tty")

        recorded.recorded["logs"][id_] = base64.b64encode(body).decode()
        result = await client.call("containers", q="shop-tty", logs=200)
    row = rows_of(result)["shop-tty"]
    assert row["logs_truncated"] is True
    assert row["logs"][-1]["text"].startswith("199 ")
    assert 10 < len(row["logs"]) < 60
    assert len(result.text) < 60_000


# --- what is asked --------------------------------------------------------------------------------


async def test_the_engine_is_asked_with_get_and_nothing_else(tmp_path: Path) -> None:
    """Who may write to that socket is root on the machine."""
    _, recorded = await call(tmp_path, all=True, stats=True, logs=5, q="shop")
    assert {method for method, _ in recorded.asked} == {"GET"}
    assert all(ALLOWED.fullmatch(path.partition("?")[0]) for _, path in recorded.asked)


@pytest.mark.parametrize(
    "path",
    [
        "/containers/create",
        "/v1.41/containers/abcdefabcdef/kill",
        "/v1.41/containers/abcdefabcdef/exec",
        "/v1.41/containers/../images/json",
        "/v1.41/containers/ABC/json",
        "/v1.41/containers/abcdefabcdef/json?x",
        "/v1.41/containers/abcdefabcdef/archive",
        "/images/json",
        "/containers/json\n",
    ],
)
async def test_other_paths_cannot_be_asked_for(tmp_path: Path, path: str) -> None:
    """Not even by a mistake in this service."""
    async with engine(tmp_path) as recorded:
        docker = Docker(recorded.socket)
        with pytest.raises(AssertionError, match="not to be asked"):
            async with docker._client() as client:
                await docker._get(client, path, {})
        assert recorded.asked == []


async def test_an_id_that_is_none_never_gets_into_a_path(tmp_path: Path) -> None:
    """What the engine lists is checked like anything else."""
    async with engine(tmp_path) as recorded, watching(tmp_path, recorded.socket) as client:
        recorded.recorded["list"][0]["Id"] = "../../images"
        result = await client.call("containers", all=True)
    assert result.error is not None
    assert result.error["code"] == "DOCKER_UNAVAILABLE"
    assert not [path for _, path in recorded.asked if "images" in path]


# --- when it cannot be asked ----------------------------------------------------------------------


@contextlib.contextmanager
def dead_socket(folder: Path) -> Iterator[str]:
    """A socket that nobody listens on any more."""
    path = str(folder / "dead.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
    yield path


@pytest.mark.parametrize(
    ("kind", "says", "advice"),
    [
        ("none", "There is no Docker socket here", "MCP_MONITORING_SOCKET_MOUNT"),
        ("/dev/null", "There is no Docker socket here", "MCP_MONITORING_SOCKET_MOUNT"),
        ("/dev/null/below", "There is no Docker socket here", "MCP_MONITORING_SOCKET_MOUNT"),
        ("dead", "no engine behind it", "systemctl start docker"),
    ],
)
async def test_without_an_engine_it_is_said_what_to_do(
    tmp_path: Path, kind: str, says: str, advice: str
) -> None:
    """A mount that was not asked for is /dev/null."""
    with dead_socket(tmp_path) as dead:
        path = {"none": str(tmp_path / "none.sock"), "dead": dead}.get(kind, kind)
        async with watching(tmp_path, path) as client:
            result = await client.call("containers")
    assert result.error is not None
    assert result.error["code"] == "DOCKER_UNAVAILABLE"
    assert says in result.error["message"]
    assert advice in result.error["hint"]
    assert result.error["retryable"] is True


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which only root may")
def test_a_socket_that_lets_nobody_in_is_told_apart() -> None:
    """Found by a process of another user, because no mode keeps root out."""
    script = """
import asyncio, os, sys
from services.monitoring.backend.docker import Docker
from services.monitoring.errors import DockerUnavailable

def ask():
    try:
        asyncio.run(Docker(sys.argv[1], seconds=0.2).engine())
    except DockerUnavailable as error:
        print(error.message, error.hint)

ask()  # as root, which is let in and gets no answer; it also imports everything
os.setgroups([]); os.setgid(65534); os.setuid(65534)
ask()
"""

    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder, "engine.sock")
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        path.parent.chmod(0o755)
        result = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    as_root, as_nobody = result.stdout.splitlines()
    assert "does not answer in time" in as_root
    assert "does not let this service in" in as_nobody
    assert "MCP_MONITORING_SOCKET_GROUP" in as_nobody


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "status 403"), (404, "status 404"), (500, "status 500"), (301, "status 301")],
)
async def test_a_refusal_of_the_engine_is_told(tmp_path: Path, status: int, says: str) -> None:
    """Such as of a proxy that guards the socket."""
    async with engine(tmp_path) as recorded:
        recorded.statuses["/containers/json"] = status
        with pytest.raises(DockerUnavailable, match=says):
            await Docker(recorded.socket).listed(include_stopped=True)


@pytest.mark.parametrize(
    "version",
    [
        {},
        [],
        {"ApiVersion": "1.41"},
        {"ApiVersion": "x", "MinAPIVersion": "1.1", "Version": "1"},
        {"ApiVersion": "1.12", "MinAPIVersion": "1.12", "Version": "1"},
    ],
)
async def test_what_is_no_engine_of_today_is_told(tmp_path: Path, version: Any) -> None:
    """Rather than a failure in the middle."""
    async with engine(tmp_path) as recorded:
        recorded.recorded["version"] = version
        with pytest.raises(DockerUnavailable, match="API"):
            await Docker(recorded.socket).engine()


async def test_an_engine_that_hangs_costs_its_time_only(tmp_path: Path) -> None:
    """Whether it is silent about everything, or about one container."""
    async with engine(tmp_path) as recorded:
        docker = Docker(recorded.socket, seconds=0.3)
        recorded.silent = (recorded.id_of("shop-tty"),)
        _, rows = await docker.listed(include_stopped=True)
        began = time.monotonic()
        found = await docker.inspect(rows)
        recorded.silent = ("/containers",)
        with pytest.raises(DockerUnavailable, match="does not answer in time"):
            await docker.listed(include_stopped=True)
        assert time.monotonic() - began < 2
    assert len(found) == 6


@pytest.mark.parametrize(
    ("api", "oldest", "spoken"),
    [("1.41", "1.12", "1.41"), ("1.52", "1.44", "1.47"), ("1.60", "1.50", "1.50")],
)
def test_the_newest_version_that_both_know_is_spoken(api: str, oldest: str, spoken: str) -> None:
    """Engines drop old versions of the API; podman serves Docker's."""
    version: dict[str, Any] = {"ApiVersion": api, "MinAPIVersion": oldest, "Version": "29"}
    assert engine_of(version).api == spoken
    assert engine_of(version).name == "docker"
    podman = {**version, "Components": [{"Name": "Podman Engine"}]}
    assert engine_of(podman).name == "podman"


# --- over time ------------------------------------------------------------------------------------


async def test_containers_that_end_start_and_begin_anew_are_events(tmp_path: Path) -> None:
    """What was so from the beginning is none; an engine that goes away is none either."""
    events: list[Event] = []
    async with engine(tmp_path) as recorded:
        watch = ContainerWatch(Docker(recorded.socket), events.append, every_s=600)
        await watch.look()
        assert events == []
        inspect, rows = recorded.recorded["inspect"], recorded.recorded["list"]
        chatty, tty = recorded.id_of("shop-chatty"), recorded.id_of("shop-tty")
        inspect[chatty]["State"]["StartedAt"] = "2027-01-01T00:00:00Z"
        inspect[tty]["State"] |= {"Status": "exited", "Running": False, "ExitCode": 1}
        dead = recorded.id_of("shop-dead")
        inspect[dead]["State"] |= {"Status": "running", "Running": True, "StartedAt": "2027-01-01"}
        sick = recorded.id_of("shop-sick")
        rows[:] = [row for row in rows if row["Id"] != sick]
        await watch.look()
        told = sorted((event.subject, event.kind, event.detail) for event in events)
        assert told == [
            ("container shop-chatty", "restarted", "It runs since 2027-01-01T00:00:00Z."),
            ("container shop-dead", "started", "Its image is shop/busybox:1."),
            ("container shop-sick", "ended", "It was removed."),
            ("container shop-tty", "ended", "Exit code 1."),
        ]
    events.clear()
    await watch.look()
    assert events == []


# --- pure -----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30))))
def test_frames_come_back_as_they_went_in(pieces: list[tuple[int, bytes]]) -> None:
    """Stream and bytes of each."""
    data = b"".join(bytes([s, 0, 0, 0]) + len(b).to_bytes(4, "big") + b for s, b in pieces)
    found = [({"stdout": 1, "stderr": 2}[stream], piece) for stream, piece in demultiplexed(data)]
    assert found == pieces


@given(st.binary(max_size=200), st.booleans())
def test_whatever_a_log_is_its_lines_can_be_told(data: bytes, has_tty: bool) -> None:
    """Torn frames and broken UTF-8 included; nothing that a terminal would act on is left."""
    for line in log_lines(data, has_tty=has_tty):
        assert not [c for c in line.text if c < " " and c != "\t"]
        assert "\x7f" not in line.text


def test_a_line_in_two_pieces_is_one_and_colours_are_taken_out() -> None:
    """Engines cut long lines into frames of 16 kB; streams do not mix."""
    frames = [(1, b"2026-01-01T00:00:00Z \x1b[31mhal"), (2, b"err\n"), (1, b"f\x1b[0m\r\nend")]
    data = b"".join(bytes([s, 0, 0, 0]) + len(b).to_bytes(4, "big") + b for s, b in frames)
    lines = log_lines(data, has_tty=False)
    assert [(line.at, line.stream, line.text) for line in lines] == [
        (None, "stderr", "err"),
        ("2026-01-01T00:00:00Z", "stdout", "half"),
        (None, "stdout", "end"),
    ]


@pytest.mark.parametrize("first", range(5))
def test_private_keys_are_taken_out_as_a_whole(first: int) -> None:
    """Also when the lines that were asked for begin in the middle of one."""
    key = [
        "before",
        "-----BEGIN RSA PRIVATE KEY-----",
        "MIIEow",
        "IBAAKC",
        "-----END RSA PRIVATE KEY-----",
    ]
    data = "".join(f"{line}\n" for line in [*key, "after"]).encode()
    texts = [line.text for line in log_lines(data, has_tty=True)][first:]
    later = "".join(f"{line}\n" for line in [*key, "after"][first:]).encode()
    cut = [line.text for line in log_lines(later, has_tty=True)]
    assert not [text for text in (*texts, *cut) if "MIIE" in text or "IBAA" in text]
    assert texts[-1] == cut[-1] == "after"


def test_use_is_counted_between_two_readings() -> None:
    """Half a second of processor time in half a second is one whole core; version 2 of cgroups."""
    before = {"read": "2026-01-01T00:00:00.123456789Z", "cpu_stats": _cpu(1_000_000_000)}
    after = {
        "read": "2026-01-01T00:00:00.623456789Z",
        "cpu_stats": _cpu(1_500_000_000),
        "memory_stats": {"usage": 900, "limit": 1_000, "stats": {"inactive_file": 400}},
        "networks": {"eth0": {"rx_bytes": 5, "tx_bytes": 6}, "eth1": {"rx_bytes": 1}},
        "blkio_stats": {
            "io_service_bytes_recursive": [{"op": "read", "value": 7}, {"op": "Write"}]
        },
    }
    usage = usage_of(before, after)
    assert usage.cpu_percent == pytest.approx(100)
    assert (usage.memory_bytes, usage.memory_limit_bytes) == (500, 1_000)
    assert (usage.rx_bytes, usage.tx_bytes, usage.read_bytes, usage.written_bytes) == (6, 6, 7, 0)
    assert usage_of(None, after).cpu_percent is None
    assert usage_of({}, {}).memory_bytes is None


def _cpu(nanoseconds: int) -> dict[str, Any]:
    return {"cpu_usage": {"total_usage": nanoseconds}}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(["State", "HostConfig", "Config", "Mounts", "NetworkSettings"]), JSON_VALUES)
def test_an_answer_of_another_shape_is_an_error_of_ours(part: str, value: Any) -> None:
    """Podman and later engines may leave out or change what is described."""
    row = RECORDED["list"][0]
    facts = {**RECORDED["inspect"][row["Id"]], part: value}
    with contextlib.suppress(DockerUnavailable):
        container_of(row, facts)
    usage_of(value, {"cpu_stats": value, "memory_stats": value, "networks": value})


# --- a real engine --------------------------------------------------------------------------------

REAL = os.environ.get("MCP_TEST_DOCKER_SOCKET", "")
BUSYBOX = Path("/bin/busybox")


@pytest.fixture
def real_container(tmp_path: Path) -> Iterator[str]:
    """A container on a real engine, of an image that is made here; both are removed."""
    if not REAL or not BUSYBOX.exists():
        pytest.skip(
            "MCP_TEST_DOCKER_SOCKET names the socket of an engine to try (and busybox-static)"
        )
    name = f"mcp-test-{os.getpid()}"
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
    docker = ["docker", "--host", f"unix://{REAL}"]

    def run(*words: str) -> None:
        subprocess.run([*docker, *words], check=True, capture_output=True, timeout=60)

    run("import", str(archive), f"{name}:1")
    script = "echo password=hunter2hunter2; echo to stderr >&2; sleep 1000"
    try:
        options = ["--detach", "--name", name, "--network", "none", "--env", "TOKEN=hunter2"]
        run("run", *options, f"{name}:1", "/bin/busybox", "sh", "-c", script)
        yield name
    finally:
        run("rm", "--force", "--volumes", name)
        run("image", "rm", f"{name}:1")


async def test_a_real_engine_is_understood(tmp_path: Path, real_container: str) -> None:
    """List, inspect, use and logs of a container that runs."""
    async with watching(tmp_path, REAL) as client, asyncio.timeout(20):
        result = await client.call("containers", q=real_container, stats=True, logs=10)
    row = rows_of(result)[real_container]
    assert row["state"] == "running"
    assert "TOKEN" in row["environment"]
    assert row["usage"]["memory_bytes"] > 0
    assert {(line["stream"], line["text"]) for line in row["logs"]} == {
        ("stdout", "password=[redacted]"),
        ("stderr", "to stderr"),
    }
    assert "hunter2" not in result.text
