"""The sampler: rates, what fails alone, jumps of the clock, processes of interest, its own cost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.monitoring.backend.cgroup import Cgroup
from services.monitoring.backend.disks import Asker, Disks
from services.monitoring.backend.events import Event, Events
from services.monitoring.backend.growth import MB, Described, Growth
from services.monitoring.backend.host import Host
from services.monitoring.backend.listening import Door
from services.monitoring.backend.processes import Processes, Stat
from services.monitoring.backend.sample import Sample
from services.monitoring.backend.sampler import Clocks, Sampler
from services.monitoring.backend.watching import Interest, ProcessWatch
from tests.services.monitoring.trees import plant, stat_line

STAT = "cpu {busy} 0 0 {idle} 0 0 0 0\ncpu0 {busy} 0 0 {idle} 0 0 0 0\nbtime 1000\n"
MEMINFO = "MemTotal: 1000 kB\nMemFree: 500 kB\nMemAvailable: 600 kB\nBuffers: 0 kB\nCached: 9 kB\n"
VMSTAT = "pswpin 0\npswpout 0\npgmajfault 0\noom_kill {kills}\n"
DEADLINE_S = 10.0


@dataclass
class Time:
    """Clocks that a test moves."""

    wall: float = 5_000.0
    monotonic: float = 100.0
    asleep: float = 0.0

    def clocks(self) -> Clocks:
        """Return them as the sampler takes them."""
        return Clocks(
            lambda: self.wall, lambda: self.monotonic, lambda: self.monotonic + self.asleep
        )

    def pass_by(self, seconds: float) -> None:
        """Let time go on as it does."""
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A small machine with one processor."""
    return plant(
        tmp_path / "proc",
        {
            "stat": STAT.format(busy=100, idle=100),
            "meminfo": MEMINFO,
            "vmstat": VMSTAT.format(kills=3),
            "loadavg": "0.10 0.20 0.30 1/20 99\n",
            "net/dev": "a\nb\n  eth0: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n",
            "self/mountinfo": "",
            "1/stat": stat_line(1, "init", parent=0),
        },
    )


def _sampler(proc: Path, now: Time) -> Sampler:
    disks = Disks(proc / "self")
    return Sampler(
        Host(proc),
        cgroup=Cgroup(proc / "self"),
        disks=disks,
        processes=Processes(proc, clock=lambda: now.monotonic),
        clocks=now.clocks(),
    )


def test_the_first_sample_has_no_rates_and_the_second_has(proc: Path) -> None:
    """One reading of a counter says nothing; psutil calls it 0.0."""
    now = Time()
    sampler = _sampler(proc, now)
    first = sampler.tick()
    assert (first.cpu, first.elapsed_s, first.interfaces) == (None, None, {})
    assert "cpu.percent" not in sampler.metrics()
    plant(proc, {"stat": STAT.format(busy=150, idle=250)})
    now.pass_by(2)
    second = sampler.tick()
    assert second.cpu is not None
    assert (second.cpu.percent, second.elapsed_s) == (25, 2)
    assert sampler.latest() is second
    points = sampler.history("cpu.percent", 0, 9_999).points
    assert [(point.at, point.mean) for point in points] == [(5_002, 25)]


def test_a_part_that_cannot_be_read_is_null_with_its_reason(proc: Path) -> None:
    """The rest of the sample is there."""
    (proc / "meminfo").write_text("nonsense\n")
    sample = _sampler(proc, Time()).tick()
    assert sample.readings.memory is None
    assert sample.readings.load is not None
    assert sample.problems["pressure"] == "this system does not tell it"
    assert "not understood" in sample.problems["memory"]


@pytest.mark.parametrize(
    "name", ["stat", "meminfo", "vmstat", "loadavg", "net/dev", "self/mountinfo", "1/stat"]
)
@pytest.mark.parametrize("text", ["", "\n", "x", "cpu\n", "a: \n", "1 2 3 4 5\n", "é ) S\n"])
def test_no_contents_of_a_file_stop_the_sampler(proc: Path, name: str, text: str) -> None:
    """Whatever a kernel, a sandbox or a container runtime puts there."""
    (proc / name).write_text(text)
    now = Time()
    sampler = _sampler(proc, now)
    sampler.tick()
    now.pass_by(2)
    assert isinstance(sampler.tick(), Sample)


def test_a_clock_that_is_set_is_an_event_and_no_rate_suffers(proc: Path) -> None:
    """Rates are over the monotonic clock."""
    now = Time()
    sampler = _sampler(proc, now)
    sampler.tick()
    plant(proc, {"net/dev": "a\nb\n  eth0: 1200 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n"})
    now.pass_by(2)
    now.wall -= 3_600
    sample = sampler.tick()
    assert sample.interfaces["eth0"].rx_bytes_s == 100
    jumps = [e for e in sampler.events(0, 1e10) if e.kind == "clock_jumped"]
    assert len(jumps) == 1
    assert "-3600.0 s" in jumps[0].detail


def test_a_machine_that_slept_is_told_apart_from_a_clock_that_was_set(proc: Path) -> None:
    """CLOCK_BOOTTIME goes on while the machine sleeps, CLOCK_MONOTONIC does not."""
    now = Time()
    sampler = _sampler(proc, now)
    sampler.tick()
    now.pass_by(2)
    now.wall += 600
    now.asleep += 600
    sampler.tick()
    kinds = [event.kind for event in sampler.events(0, 1e10)]
    assert kinds == ["boot", "suspended"]


def test_a_kill_for_memory_is_an_event(proc: Path) -> None:
    """Those before the first sample are not."""
    now = Time()
    sampler = _sampler(proc, now)
    sampler.tick()
    plant(proc, {"vmstat": VMSTAT.format(kills=5)})
    now.pass_by(2)
    sampler.tick()
    kills = [event for event in sampler.events(0, 1e10) if event.kind == "oom_kill"]
    assert [(event.subject, event.at) for event in kills] == [("host", 5_002)]
    assert "killed 2" in kills[0].detail


def test_boot_is_an_event_of_its_own_time(proc: Path) -> None:
    """What changed around it can be told."""
    sampler = _sampler(proc, Time())
    sampler.tick()
    assert [(e.kind, e.at) for e in sampler.events(0, 2_000)] == [("boot", 1_000)]
    assert sampler.booted_at == 1_000


def test_others_record_series_and_events_of_their_own(proc: Path) -> None:
    """Probes, alerts and logs use the same memory."""
    sampler = _sampler(proc, Time())
    sampler.record("service.fetch.up", 10.0, 1.0)
    sampler.note(Event(20.0, "down", "service fetch", "no answer"))
    assert sampler.history("service.fetch.up", 0, 100).points[0].mean == 1
    assert [event.subject for event in sampler.events(15, 25)] == ["service fetch"]


# --- as a thread ----------------------------------------------------------------------------------


async def _until(condition: threading.Event) -> None:
    assert await asyncio.to_thread(condition.wait, DEADLINE_S)


async def test_it_samples_by_itself_and_tells_on_the_loop() -> None:
    """The real machine, its second sample is the first with rates."""
    sampler = Sampler(Host("/proc"), interval_s=0.5)
    loop_thread, seen = threading.get_ident(), asyncio.Queue[tuple[int, Sample]]()
    sampler.on_tick(lambda sample: seen.put_nowait((threading.get_ident(), sample)))
    async with sampler.running():
        sample = await sampler.with_rates(DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S):
            told = [await seen.get() for _ in range(2)]
        assert sample is not None
        assert sample.elapsed_s is not None
        component = await sampler.component()
        assert component.status == "up"
        assert component.facts["metrics"] > 10
        assert 0 < component.facts["cpu_percent"] < 50
    assert {thread for thread, _ in told} == {loop_thread}
    assert not [t for t in threading.enumerate() if t.name == "sampler"]


async def test_a_listener_that_fails_stops_neither_the_sampler_nor_the_others() -> None:
    """Alerts are not worth the readings."""
    sampler = Sampler(Host("/proc"), interval_s=0.5)
    seen = asyncio.Event()

    def fail(sample: Sample) -> None:
        raise ValueError("a listener's own fault")

    sampler.on_tick(fail)
    sampler.on_tick(lambda sample: seen.set() if sample.elapsed_s else None)
    async with sampler.running(), asyncio.timeout(DEADLINE_S):
        await seen.wait()


async def test_the_sampler_survives_a_reading_that_breaks_badly() -> None:
    """Anything unforeseen costs one sample, and the next one comes."""
    broken = threading.Event()
    again = threading.Event()

    class Breaking(Cgroup):
        def read(self) -> None:  # type: ignore[override]  # it never returns
            (again if broken.is_set() else broken).set()
            raise ZeroDivisionError

    sampler = Sampler(Host("/proc"), cgroup=Breaking(), interval_s=0.5)
    async with sampler.running():
        await _until(again)


async def test_a_sampler_without_news_is_degraded(proc: Path) -> None:
    """A thread that hangs in the kernel is seen in /health."""
    now = Time()
    sampler = _sampler(proc, now)
    sampler.tick()
    now.pass_by(60)
    component = await sampler.component()
    assert (component.status, component.detail) == ("degraded", "the last sample is old")


def test_sampling_costs_less_than_a_hundredth_of_a_core() -> None:
    """20 ms of processor time every 2 s would be one; measured is one or two."""
    sampler = Sampler(Host("/proc"))
    sampler.tick()
    began = time.thread_time()
    for _ in range(10):
        sampler.tick()
    assert (time.thread_time() - began) / 10 < 0.020


# --- disks ----------------------------------------------------------------------------------------


def test_a_mount_that_hangs_holds_up_nothing_and_is_not_asked_twice() -> None:
    """As statvfs(2) does on an NFS mount whose server is gone."""
    release, calls = threading.Event(), []

    def stat(path: str) -> os.statvfs_result:
        calls.append(path)
        if path == "/gone":
            release.wait(DEADLINE_S)
        return os.statvfs("/")

    asker = Asker(stat, limit_s=0.2)
    began = time.monotonic()
    answers = asker.ask(["/gone", "/"])
    assert time.monotonic() - began < DEADLINE_S / 2
    assert answers["/gone"] is None
    assert isinstance(answers["/"], os.statvfs_result)
    assert asker.hanging == ["/gone"]
    assert asker.ask(["/gone", "/"])["/gone"] is None
    assert calls.count("/gone") == 1
    release.set()
    while asker.hanging:
        time.sleep(0.001)
    assert asker.ask(["/gone"])["/gone"] is not None


# --- processes of interest ------------------------------------------------------------------------


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended with the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.communicate()


_PROBE = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def _start(children: list[subprocess.Popen[bytes]], port: int = 0) -> int:
    """Start what looks like a service of the suite; return the port it listens on."""
    command = [sys.executable, "-c", _PROBE, str(port), "-m", "services.probe_of_this_test"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdout is not None
    return int(child.stdout.readline())


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def test_services_of_the_suite_are_recorded_and_their_changes_noted(
    children: list[subprocess.Popen[bytes]],
) -> None:
    """Started, restarted, ended: seen between two looks at the real processes."""
    events = Events()
    port = _start(children)
    _end(children[0])
    doors = {"probe_of_this_test": Door(port, is_here=True)}
    watch = ProcessWatch(Processes(), Interest(doors=doors), events.note)
    watch.look(1.0)
    _start(children, port)
    metrics = dict(watch.look(2.0))
    assert metrics["process.probe_of_this_test.rss_bytes"] > 1024 * 1024
    assert metrics["process.probe_of_this_test.count"] == 1
    _end(children[1])
    watch.look(3.0)
    _start(children, port)
    watch.look(4.0)
    _end(children[2])
    assert dict(watch.look(5.0))["process.probe_of_this_test.count"] == 0
    watch.look(30.0)
    noted = events.between(0, 99)
    assert [(e.at, e.kind) for e in noted] == [(2, "started"), (3, "restarted"), (5, "ended")]
    assert f"pid {children[1].pid} → {children[2].pid}" in noted[1].detail


def test_what_runs_the_module_of_a_service_elsewhere_is_not_the_service(
    children: list[subprocess.Popen[bytes]],
) -> None:
    """Another checkout's instance listens on another port: it is no restart of this one."""
    events = Events()
    port = _start(children)
    doors = {"probe_of_this_test": Door(port, is_here=True)}
    watch = ProcessWatch(Processes(), Interest(doors=doors), events.note)
    watch.look(1.0)
    for at in (2.0, 3.0):
        _start(children)
        assert dict(watch.look(at))["process.probe_of_this_test.count"] == 1
        _end(children[-1])
    watch.look(60.0)
    assert events.between(0, 99) == []


def test_this_service_knows_its_own_process(tmp_path: Path) -> None:
    """By its pid; before it listens, and beside others of its name."""
    command = "python\0-m\0services.monitoring\0"
    proc = plant(
        tmp_path,
        {
            f"{pid}/{name}": text
            for pid in (5, 6)
            for name, text in (("stat", stat_line(pid)), ("cmdline", command))
        },
    )
    (proc / "self").symlink_to("6")
    watch = ProcessWatch(Processes(proc), Interest(itself="monitoring"), lambda _: None)
    assert dict(watch.look(1.0))["process.monitoring.count"] == 1


# --- whose memory grew ----------------------------------------------------------------------------


def _stat(pid: int, mb: float, started: int = 1) -> Stat:
    return Stat(pid, "prog", "sleeping", 1, 0, 1, started, int(mb * MB), False)


def _growth() -> Growth:
    return Growth(lambda stat: Described(stat.name, f"prog {stat.pid}", None))


def test_processes_that_grow_are_remembered_with_their_readings() -> None:
    """From where they were first seen; what hardly moves is not."""
    growth = _growth()
    for second in range(0, 600, 2):
        grown = max(0, second - 300)
        growth.look(1_000 + second, [_stat(1, 50), _stat(2, 80 + grown), _stat(3, 9)])
    (found,) = growth.between(0, 9_999)
    assert (found.pid, found.who.command, found.ended) == (2, "prog 2", False)
    values = [found.points[0], found.points[-1]]
    assert values == [(1_000, 80 * MB), (1_598, (80 + 298) * MB)]
    for at, value in found.points:
        assert value == pytest.approx((80 + max(0, at - 1_300)) * MB, abs=4 * MB)


def test_a_new_process_begins_at_nothing_and_one_that_ended_is_kept() -> None:
    """So that what it took is seen afterwards."""
    growth = _growth()
    growth.look(10, [])
    for second in range(12, 40, 2):
        growth.look(second, [_stat(2, second * 10)])
    growth.look(40, [])
    (found,) = growth.between(0, 100)
    assert (found.is_new, found.ended) == (True, True)
    assert found.points[0] == (10, 0)
    assert found.points[-1] == (38, 380 * MB)


def test_the_memory_of_growth_is_bounded() -> None:
    """Of very many processes that move, those that moved most are kept, with few readings."""
    growth = _growth()
    for turn in range(600):
        growth.look(turn, [_stat(pid, 10 + turn * pid / 10) for pid in range(400)])
    found = growth.between(0, 9_999)
    assert {process.pid for process in found} <= set(range(200, 400))
    assert len(found) == 150
    assert all(len(process.points) < 500 for process in found)


def test_programs_that_the_operator_names_are_recorded(tmp_path: Path) -> None:
    """By the program's name; of several processes the sum."""
    proc = plant(
        tmp_path,
        {
            "1/stat": stat_line(1, "init", parent=0),
            "5/stat": stat_line(5, "nginx", rss_pages=10),
            "6/stat": stat_line(6, "nginx", parent=5, rss_pages=5),
        },
    )
    events = Events()
    watch = ProcessWatch(Processes(proc), Interest(frozenset({"nginx"})), events.note)
    metrics = dict(watch.look(1.0))
    assert metrics["process.nginx.count"] == 2
    assert metrics["process.nginx.rss_bytes"] == 15 * os.sysconf("SC_PAGE_SIZE")
    plant(proc, {"7/stat": stat_line(7, "nginx", parent=5)})
    watch.look(2.0)
    assert events.between(0, 9) == [], "a worker that its master starts is no restart"


def test_many_processes_are_looked_at_less_often(tmp_path: Path) -> None:
    """A scan that took 40 ms is worth it every ten seconds."""
    watch = ProcessWatch(
        Processes(plant(tmp_path, {"1/stat": stat_line(1)})), Interest(), lambda _: None
    )
    assert watch.is_due(0)
    watch.look(1.0)
    assert watch.last is not None
    object.__setattr__(watch.last, "seconds", 0.04)
    assert not watch.is_due(watch.last.at + 9)
    assert watch.is_due(watch.last.at + 11)


def test_zombies_are_counted_with_whose_they_are(tmp_path: Path) -> None:
    """Who does not ask how its children ended is the one to repair."""
    zombies = {f"{pid}/stat": stat_line(pid, "dead", state="Z", parent=9) for pid in range(20, 25)}
    proc = plant(tmp_path, {"9/stat": stat_line(9, "sloppy"), **zombies})
    watch = ProcessWatch(Processes(proc), Interest(), lambda _: None)
    watch.look(1.0)
    assert watch.summary is not None
    assert watch.summary.zombies == 5
    assert watch.summary.zombies_of == (9, "sloppy", 5)
