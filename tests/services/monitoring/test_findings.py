"""What deserves attention: each rule at, below and above its threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.monitoring.backend.cgroup import CgroupReading, CpuQuota, MemoryUse, PidUse
from services.monitoring.backend.disks import DiskUse
from services.monitoring.backend.events import Event
from services.monitoring.backend.host import (
    Cpus,
    CpuTimes,
    Load,
    Memory,
    Paging,
    Pressure,
)
from services.monitoring.backend.rates import GroupCpuUse, InterfaceRates, PagingRates
from services.monitoring.backend.sample import ProcessSummary, Readings, Sample
from services.monitoring.backend.tracks import Series, Tracks
from services.monitoring.findings import Evidence, Finding, findings_of

NOW = 1_795_000_000.0
GIB = 1024**3
MIB = 1024**2
CORE = CpuTimes(1, 1, 1, 1, 1)
CALM = Pressure(0, 0, 0, 0, 0, 0)


def _memory(available: int = 8 * GIB, swap_free: int = 2 * GIB) -> Memory:
    return Memory(16 * GIB, available, available, 0, 0, 0, 2 * GIB, swap_free)


def _group(memory: int = 1, pids: int = 1) -> CgroupReading:
    return CgroupReading(
        "v2",
        "/app",
        MemoryUse("/app", memory, memory, 100 * MIB, None, 0, None, 0),
        CpuQuota("/app", 0.5, 1.0, 1, 0, 0.0),
        PidUse(pids, 100),
    )


CALM_READINGS = Readings(
    monotonic_s=10.0,
    load=Load(0.5, 0.5, 0.5, 1, 100),
    cpus=Cpus(CORE, {0: CORE, 1: CORE}),
    memory=_memory(),
    paging=Paging(0, 0, 0, 0),
    pressure={"cpu": CALM, "memory": CALM, "io": CALM},
    cgroup=_group(),
)
CALM_SAMPLE = Sample(
    at=NOW,
    elapsed_s=2.0,
    readings=CALM_READINGS,
    paging=PagingRates(0, 0, 0),
    group_cpu=GroupCpuUse(0.1, 20, 0.0),
    disks=(
        DiskUse("/", "ext4", "/dev/sda", False, (), 100 * GIB, 40 * GIB, 60 * GIB, 40.0, 9, 9.0),
    ),
    processes=ProcessSummary(10, 1, 0, 0, 20, (), (), NOW),
)


def _read(**changes: Any) -> Sample:
    return replace(CALM_SAMPLE, readings=replace(CALM_READINGS, **changes))


def _found(
    sample: Sample = CALM_SAMPLE,
    *,
    tracks: Tracks | None = None,
    events: list[Event] | None = None,
    booted_at: float | None = 0.0,
) -> list[Finding]:
    memory = tracks or Tracks(2.0, 100)

    def history(metric: str, start: float, end: float) -> Series:
        return memory.series(metric, start, end)

    return findings_of(Evidence(sample, history, events or [], NOW, booted_at))


def _steady(metric: str, value: float) -> Tracks:
    """Return five minutes of one value."""
    tracks = Tracks(2.0, 100)
    for step in range(150):
        tracks.record(metric, NOW - 300 + 2 * step, value)
    return tracks


def test_a_calm_machine_has_no_findings() -> None:
    """An empty list is the answer that says that nothing is wrong."""
    assert _found() == []


def test_a_sample_of_nothing_has_no_findings() -> None:
    """On a system that tells nothing, nothing is claimed."""
    assert _found(Sample(NOW, None, Readings(0.0)), booted_at=None) == []


@pytest.mark.parametrize(
    ("sample", "subject", "severity"),
    [
        (_read(memory=_memory(available=int(1.5 * GIB))), "memory", "warning"),
        (_read(memory=_memory(available=GIB // 2)), "memory", "critical"),
        (_read(memory=_memory(swap_free=0)), "swap", "warning"),
        (_read(cgroup=_group(memory=92 * MIB)), "memory of the control group", "warning"),
        (_read(cgroup=_group(memory=98 * MIB)), "memory of the control group", "critical"),
        (_read(cgroup=_group(pids=85)), "processes of the control group", "warning"),
        (_read(load=Load(9, 5, 3, 9, 100)), "load", "warning"),
        (_read(pressure={"memory": replace(CALM, some_avg60=12)}), "pressure on memory", "warning"),
        (_read(pressure={"io": replace(CALM, some_avg60=85)}), "pressure on io", "critical"),
        (_read(pressure={"cpu": replace(CALM, some_avg60=99)}), "pressure on cpu", "warning"),
        (
            _read(cgroup=replace(_group(), pressure={"memory": replace(CALM, some_avg60=50)})),
            "pressure on memory in the control group",
            "critical",
        ),
        (_read(paging=Paging(0, 0, 0, 4)), "memory of the host", "info"),
        (
            replace(CALM_SAMPLE, paging=PagingRates(2 * MIB, 2 * MIB, 9)),
            "swap",
            "critical",
        ),
        (
            replace(CALM_SAMPLE, group_cpu=GroupCpuUse(0.5, 100, 40.0)),
            "cpu of the control group",
            "warning",
        ),
        (
            replace(CALM_SAMPLE, group_cpu=GroupCpuUse(None, None, 90.0)),
            "cpu of the control group",
            "critical",
        ),
        (
            replace(
                CALM_SAMPLE,
                processes=ProcessSummary(50, 1, 0, 30, 50, (), (), NOW, (9, "sloppy", 29)),
            ),
            "processes",
            "warning",
        ),
    ],
)
def test_what_passes_a_threshold_is_found(sample: Sample, subject: str, severity: str) -> None:
    """One finding each, with the number and the threshold in its words."""
    (finding,) = _found(sample)
    assert (finding.subject, finding.severity) == (subject, severity)
    if finding.threshold is not None:
        assert "threshold" in finding.message
        assert finding.value is not None
        assert finding.value >= finding.threshold


@pytest.mark.parametrize(
    "sample",
    [
        _read(memory=_memory(available=2 * GIB)),
        _read(cgroup=_group(memory=89 * MIB, pids=79)),
        _read(load=Load(3.9, 3.9, 3.9, 4, 100)),
        replace(CALM_SAMPLE, paging=PagingRates(50 * MIB, 0, 9)),
        replace(CALM_SAMPLE, group_cpu=GroupCpuUse(0.5, 100, 24.0)),
        _read(pressure={"cpu": replace(CALM, some_avg10=100)}),
    ],
)
def test_what_stays_below_is_not(sample: Sample) -> None:
    """Swapping in alone is a program that was away; ten seconds of pressure are no trouble."""
    assert _found(sample) == []


@pytest.mark.parametrize(
    ("metric", "value", "subject"),
    [
        ("cpu.percent", 95, "cpu"),
        ("cpu.steal_percent", 15, "cpu"),
        ("cpu.iowait_percent", 40, "cpu"),
        ("net.eth0.drops_s", 20, "network eth0"),
    ],
)
def test_what_lasts_five_minutes_is_found(metric: str, value: float, subject: str) -> None:
    """A peak is no finding; neither is the same from a service that began a minute ago."""
    sample = replace(CALM_SAMPLE, interfaces={"eth0": InterfaceRates(0, 0, 0, 0, 0, 0)})
    (finding,) = _found(sample, tracks=_steady(metric, value))
    assert (finding.subject, finding.metric) == (subject, metric)
    short = Tracks(2.0, 10)
    short.record(metric, NOW - 2, value)
    assert _found(sample, tracks=short) == []


def _disk(**changes: Any) -> Sample:
    return replace(CALM_SAMPLE, disks=(replace(CALM_SAMPLE.disks[0], **changes),))


@pytest.mark.parametrize(
    ("sample", "severity", "word"),
    [
        (_disk(used_percent=91.0), "warning", "are left"),
        (_disk(used_percent=99.0), "critical", "are left"),
        (_disk(inodes_used_percent=98.0), "critical", "inodes"),
        (_disk(problem="does not answer", available_bytes=None), "critical", "does not answer"),
    ],
)
def test_full_and_silent_disks_are_found(sample: Sample, severity: str, word: str) -> None:
    """Bytes, inodes, and a server that is gone."""
    (finding,) = _found(sample)
    assert (finding.subject, finding.severity) == ("disk /", severity)
    assert word in finding.message


def test_a_read_only_disk_may_be_full() -> None:
    """Nothing can be written to it anyway."""
    assert _found(_disk(used_percent=100.0, read_only=True)) == []


def _filling(hours_left: float) -> Tracks:
    """Return an hour of a disk that is full after so many more."""
    tracks = Tracks(30.0, 10)
    for step in range(121):
        left = hours_left + 1 - step / 120
        tracks.record("disk./.available_bytes", NOW - 3600 + 30 * step, left * 10 * GIB)
    return tracks


def test_a_disk_that_fills_is_found_with_the_time_that_is_left() -> None:
    """From the trend of the last hours; a week is too far away to be worth a word."""
    (soon,) = _found(tracks=_filling(3))
    assert soon.severity == "critical"
    assert soon.value == pytest.approx(3 * 3600, rel=0.01)
    assert "10 GiB an hour" in soon.message
    assert "full in 3 h" in soon.message
    (later,) = _found(tracks=_filling(20))
    assert later.severity == "warning"
    assert _found(tracks=_filling(170)) == []


def test_kills_jumps_and_a_fresh_boot_are_found() -> None:
    """Things that happened within the last hour."""
    events = [
        Event(NOW - 600, "oom_kill", "cgroup", "the kernel killed 1"),
        Event(NOW - 60, "clock_jumped", "host", "the clock was set by +99.0 s"),
        Event(NOW - 50, "started", "process x", ""),
    ]
    found = _found(events=events, booted_at=NOW - 120)
    assert [(f.severity, f.subject) for f in found] == [
        ("critical", "memory of the cgroup"),
        ("warning", "clock"),
        ("info", "machine"),
    ]
    assert "10 min ago" in found[0].message


def test_a_limit_beyond_the_machine_does_not_count() -> None:
    """Then the machine's memory is what ends the process."""
    group = _group(memory=99 * MIB)
    assert group.memory is not None
    wide = replace(group, memory=replace(group.memory, limit_bytes=64 * GIB))
    sample = _read(cgroup=wide)
    assert not sample.limited_memory
    assert _found(sample) == []
    assert _read(cgroup=group).limited_memory
