"""Processes: as the kernel tells them, against readings by hand, and through the tool."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.testing import Client
from services.monitoring.backend.processes import (
    TICKS_PER_S,
    Processes,
    Scan,
    container_of,
    cpu_percents,
    parse_stat,
)
from tests.services.monitoring.served import server_on
from tests.services.monitoring.trees import mount_line, plant, stat_line

SECRET = "hunter2hunter2"
MANY = 400
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python process with code and arguments; it is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(
        code: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        ready = "import sys; sys.stdout.write('\\n'); sys.stdout.flush()\n"
        child = subprocess.Popen(
            [sys.executable, "-c", ready + code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        started.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    yield begin
    for child in started:
        child.kill()
        child.communicate()


WAIT = "sys.stdin.read()"
SPIN = "while True: pass"


# --- as the kernel tells them ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", ") S 1", "((x)", "", "tab\tbed", "new\nline"])
def test_any_name_of_a_program_is_read(name: str) -> None:
    """It stands in brackets and is not escaped: the last bracket ends it."""
    stat = parse_stat(stat_line(7, name, parent=3, ticks=90, threads=4).encode())
    assert (stat.pid, stat.name, stat.parent, stat.ticks, stat.threads) == (7, name, 3, 90, 4)


@given(st.binary(max_size=15), st.integers(1, 2**22), st.sampled_from("RSDZTtIX"))
def test_any_bytes_as_a_name_leave_the_other_fields_right(
    name: bytes, pid: int, state: str
) -> None:
    """prctl(PR_SET_NAME) takes any byte but NUL."""
    line = stat_line(pid, "NAME", state=state, started=55).encode().replace(b"NAME", name)
    stat = parse_stat(line)
    assert (stat.pid, stat.started_ticks) == (pid, 55)
    assert stat.state != "unknown"


def test_threads_of_the_kernel_are_known_by_their_flag() -> None:
    """PF_KTHREAD; an empty command line is no proof, a zombie has none either."""
    assert parse_stat(stat_line(2, "kthreadd", flags=0x208040).encode()).is_kernel
    assert not parse_stat(stat_line(2, "zombie", state="Z").encode()).is_kernel


def test_processes_that_vanish_while_they_are_read_are_left_out(tmp_path: Path) -> None:
    """A directory without stat, an empty stat, a cut one: all were seen on busy machines."""
    proc = plant(
        tmp_path,
        {
            "1/stat": stat_line(1, "init", parent=0),
            "2/stat": "",
            "3/stat": "3 (cut) S 1 3",
            "4/status": "",
            "self/stat": stat_line(99),
        },
    )
    processes = Processes(proc)
    assert list(processes.scan().stats) == [1]
    assert processes.argv(77) == []
    assert processes.user_id(77) is None
    assert processes.details(77).fds is None


def test_a_new_process_with_an_old_pid_does_not_get_the_old_ones_time() -> None:
    """It is another one when it started at another time."""
    old = Scan(0.0, {5: parse_stat(stat_line(5, ticks=5_000, started=1).encode())}, 0)
    new = Scan(2.0, {5: parse_stat(stat_line(5, ticks=100, started=9).encode())}, 0)
    assert cpu_percents(old, new) == {5: pytest.approx(100 * 100 / TICKS_PER_S / 2)}


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ("0::/system.slice/docker-0123456789abcdef0123.scope\n", "0123456789ab"),
        ("12:memory:/docker/fedcba98765432100123\n0::/\n", "fedcba987654"),
        ("0::/machine.slice/libpod-aaaaaaaaaaaaaaaa.scope/container\n", "aaaaaaaaaaaa"),
        (
            "0::/kubepods/burstable/pod0b1c/" + "ab" * 32 + "\n",
            "abababababab",
        ),
        ("0::/kubepods.slice/x.slice/cri-containerd-" + "cd" * 32 + ".scope\n", "cdcdcdcdcdcd"),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        ("", None),
        (None, None),
    ],
)
def test_containers_are_named_by_their_groups(groups: str | None, found: str | None) -> None:
    """Docker, podman, containerd and Kubernetes, v1 and v2."""
    assert container_of(groups) == found


@pytest.mark.parametrize(
    ("options", "hidden"),
    [
        ("rw", False),
        ("rw,hidepid=0", False),
        ("rw,hidepid=invisible", True),
        ("rw,hidepid=2", True),
    ],
)
def test_a_proc_that_hides_processes_is_known(tmp_path: Path, options: str, hidden: bool) -> None:
    """proc(5), mount options; otherwise a short list would look like an idle machine."""
    proc = plant(tmp_path, {"self/mountinfo": mount_line("/proc", "proc", options)})
    assert Processes(proc).are_hidden() is hidden


# --- against readings by hand ---------------------------------------------------------------------


def _ticks_by_hand(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_the_cpu_of_a_busy_process_is_what_the_kernel_counted(start: Start) -> None:
    """Between the readings by hand that enclose both scans, however busy the machine is."""
    pid = start(SPIN).pid
    processes = Processes()
    earliest = _ticks_by_hand(pid)
    first = processes.scan()
    after_first = _ticks_by_hand(pid)
    time.sleep(0.5)
    before_second = _ticks_by_hand(pid)
    second = processes.scan()
    latest = _ticks_by_hand(pid)
    ticks = cpu_percents(first, second)[pid] / 100 * TICKS_PER_S * (second.at - first.at)
    assert before_second - after_first - 0.01 <= ticks <= latest - earliest + 0.01
    assert ticks > 0


def test_a_process_is_read_as_psutil_reads_it(start: Start) -> None:
    """Another reader of the same files."""
    pid = start(WAIT, "one", "two words").pid
    processes, theirs = Processes(), psutil.Process(pid)
    stat = processes.scan().stats[pid]
    assert (stat.parent, stat.threads) == (theirs.ppid(), theirs.num_threads())
    # The kernel counts pages in batches for each processor, and the process is still starting.
    assert stat.rss_bytes == pytest.approx(theirs.memory_info().rss, rel=0.3)
    assert processes.argv(pid) == theirs.cmdline()
    assert processes.user_id(pid) == theirs.uids().real
    assert processes.details(pid).fds == theirs.num_fds()
    assert processes.details(pid).executable == theirs.exe()


def test_limits_of_this_process_are_told() -> None:
    """As getrlimit(2) tells them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    details = Processes().details(os.getpid())
    assert details.fd_limit == (None if soft == resource.RLIM_INFINITY else soft)
    assert details.limits["Max open files"][0] in (str(soft), "unlimited")


# --- through the tool -----------------------------------------------------------------------------


@pytest.fixture
async def client(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service that watches this machine."""
    async with Client(server_on(None, tmp_path)) as connected:
        yield connected


async def _call(client: Client, **arguments: Any) -> dict[str, Any]:
    result = await client.call("processes", **arguments)
    assert result.structured is not None, result.text
    return result.structured


async def test_secrets_in_arguments_are_redacted_and_the_environment_is_never_told(
    client: Client, start: Start
) -> None:
    """Neither in the list nor in the details, nor by searching for them."""
    pid = start(
        WAIT, "--mark-of-this-test", f"--password={SECRET}", environment={"TOKEN": "in-the-env"}
    ).pid
    listed = await client.call("processes", q="--mark-of-this-test")
    one = await client.call("processes", pid=pid)
    assert listed.structured is not None
    assert [row["pid"] for row in listed.structured["processes"]] == [pid]
    for result in (listed, one):
        assert SECRET not in str(result.raw)
        assert "in-the-env" not in str(result.raw)
    assert "--mark-of-this-test" in str(one.raw)
    assert (await _call(client, q=SECRET))["total"] == 0


async def test_one_process_is_told_with_its_ports_files_and_family(
    client: Client, start: Start
) -> None:
    """What one asks next about a process that stands out."""
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    child = start(code)
    assert child.stdout is not None
    port = int(child.stdout.readline())
    answer = await _call(client, pid=child.pid)
    row, details = answer["processes"][0], answer["details"]
    assert row["parent"] == os.getpid()
    assert details["listens"] == [f"tcp 127.0.0.1:{port}"]
    assert details["fds"] >= 4
    assert details["ancestors"][0].startswith(f"{os.getpid()} ")
    assert details["limits"]["Max open files"]
    parent = await _call(client, pid=os.getpid())
    assert child.pid in parent["details"]["children"]


async def test_a_pid_that_is_not_there_is_a_typed_error(client: Client) -> None:
    """2^22 is beyond the kernel's greatest pid."""
    error = (await client.call("processes", pid=2**22 + 1)).error
    assert error is not None
    assert (error["code"], error["pid"]) == ("UNKNOWN_PROCESS", 2**22 + 1)


async def test_cpu_is_of_two_readings_and_the_busiest_comes_first(
    client: Client, start: Start
) -> None:
    """Never the 0.0 that a single reading would be."""
    pid = start(SPIN).pid
    answer = await _call(client, limit=1_000)
    shares = [row["cpu_percent"] for row in answer["processes"]]
    assert shares == sorted(shares, reverse=True)
    assert next(row for row in answer["processes"] if row["pid"] == pid)["cpu_percent"] > 0
    assert answer["cpu_over_s"] > 0


# --- on prepared machines -------------------------------------------------------------------------


def _machine(tmp_path: Path, processes: dict[int, str], uid: int = 0) -> Path:
    files = {
        "stat": "cpu 1 1 1 1 1 1 1 1\ncpu0 1 1 1 1 1 1 1 1\nbtime 1700000000\n",
        "self/mountinfo": "",
    }
    for pid, line in processes.items():
        files[f"{pid}/stat"] = line
        files[f"{pid}/status"] = f"Name:\tx\nUid:\t{uid + pid % 2}\t0\t0\t0\n"
        files[f"{pid}/cmdline"] = f"/bin/prog\0--number\0{pid}\0"
    return plant(tmp_path / "proc", files)


async def test_a_tree_shows_each_process_below_its_parent(tmp_path: Path) -> None:
    """Those that match with their ancestors; the siblings in the order that was asked for."""
    proc = _machine(
        tmp_path,
        {
            1: stat_line(1, "init", parent=0),
            10: stat_line(10, "shell", rss_pages=1),
            11: stat_line(11, "worker", parent=10, rss_pages=5),
            12: stat_line(12, "worker", parent=10, rss_pages=9),
            20: stat_line(20, "other", rss_pages=99),
        },
    )
    async with Client(server_on(proc, tmp_path)) as client:
        answer = await _call(client, tree=True, q="worker", sort="memory")
    rows = [(row["pid"], row["depth"]) for row in answer["processes"]]
    assert rows == [(1, 0), (10, 1), (12, 2), (11, 2)]


async def test_kernel_threads_are_counted_and_not_listed(tmp_path: Path) -> None:
    """They are half of the list on a small machine and never what is looked for."""
    proc = _machine(
        tmp_path,
        {1: stat_line(1, "init"), 2: stat_line(2, "kthreadd", parent=0, flags=0x208040)},
    )
    async with Client(server_on(proc, tmp_path)) as client:
        answer = await _call(client)
    assert [row["name"] for row in answer["processes"]] == ["init"]
    assert (answer["running"], answer["kernel_threads"]) == (1, 1)


async def test_users_are_found_by_number_too(tmp_path: Path) -> None:
    """A name may be unknown here, as in a container that sees its host."""
    proc = _machine(tmp_path, {pid: stat_line(pid) for pid in (3, 4, 5)}, uid=54_321)
    async with Client(server_on(proc, tmp_path)) as client:
        answer = await _call(client, user="54322", sort="pid")
    assert [row["pid"] for row in answer["processes"]] == [3, 5]
    assert answer["processes"][0]["user"] == "54322"


async def test_many_processes_are_paged_without_loss(tmp_path: Path) -> None:
    """Each once, whatever the pages are cut by."""
    proc = _machine(tmp_path, {pid: stat_line(pid, started=pid) for pid in range(1, MANY + 1)})
    seen: list[int] = []
    async with Client(server_on(proc, tmp_path, answer_bytes=400_000)) as client:
        cursor = None
        while True:
            answer = await _call(client, sort="pid", limit=150, cursor=cursor)
            seen += [row["pid"] for row in answer["processes"]]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        refused = await client.call("processes", sort="cpu", cursor="not-one")
    assert seen == list(range(1, MANY + 1))
    assert refused.error is not None
    assert refused.error["code"] == "CURSOR_REFUSED"


async def test_a_user_of_the_search_does_not_see_hidden_text(tmp_path: Path) -> None:
    """Names and arguments are text of strangers."""
    proc = _machine(tmp_path, {7: stat_line(7, "x\u202ey")})
    plant(proc, {"7/cmdline": "prog\0\u200bhid\u2066den\x1b[2J\0"})
    async with Client(server_on(proc, tmp_path)) as client:
        row = (await _call(client))["processes"][0]
    assert row["name"] == "xy"
    assert "\u200b" not in row["command"]
    assert "\x1b" not in row["command"]
