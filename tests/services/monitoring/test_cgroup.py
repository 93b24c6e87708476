"""Control groups of every kind, as prepared trees, and the one this test runs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.monitoring.backend.cgroup import Cgroup
from services.monitoring.backend.rates import group_cpu_use
from tests.services.monitoring.trees import NO_LIMIT_V1, mount_line, plant, v2_group


def _v2(tmp_path: Path, path: str, groups: dict[str, dict[str, str]], root: str = "/") -> Cgroup:
    """Return the reader of a process in a tree of v2 groups."""
    top = tmp_path / "sys fs" / "cgroup"
    top.mkdir(parents=True)
    for name, files in groups.items():
        plant(top / name, files)
    proc = plant(
        tmp_path / "proc",
        {"cgroup": f"0::{path}\n", "mountinfo": mount_line(top, "cgroup2", root=root)},
    )
    return Cgroup(proc)


def _v1(tmp_path: Path, path: str, files: dict[str, dict[str, str]], lines: str = "") -> Cgroup:
    """Return the reader of a process in v1 hierarchies: controller → file below it → text."""
    mounts, membership = "", lines
    for number, (controllers, texts) in enumerate(files.items(), 2):
        top = plant(tmp_path / "cgroup" / controllers, texts)
        mounts += mount_line(top, "cgroup", f"rw,{controllers}")
        membership += f"{number}:{controllers}:{path}\n"
    proc = plant(tmp_path / "proc", {"cgroup": membership, "mountinfo": mounts})
    return Cgroup(proc)


def test_v2_tells_limit_usage_and_working_set(tmp_path: Path) -> None:
    """The working set is usage less inactive file cache, as kubelet counts."""
    group = v2_group(
        memory__max="100000000\n",
        memory__high="90000000\n",
        memory__events="oom 3\noom_kill 2\n",
        memory__swap__current="4096\n",
        cpu__max="150000 100000\n",
        cpu__stat="usage_usec 5000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 250000\n",
        pids__max="100\n",
    )
    reading = _v2(tmp_path, "/app", {"app": group}).read()
    assert (reading.version, reading.path) == ("v2", "/app")
    assert reading.memory is not None
    assert reading.memory.usage_bytes == 50_000_000
    assert reading.memory.working_set_bytes == 35_000_000
    assert reading.memory.limit_bytes == 100_000_000
    assert reading.memory.high_bytes == 90_000_000
    assert reading.memory.oom_kills == 2
    assert reading.memory.swap_bytes == 4096
    assert reading.cpu is not None
    assert (reading.cpu.cores, reading.cpu.usage_s, reading.cpu.throttled_s) == (1.5, 5.0, 0.25)
    assert (reading.cpu.periods, reading.cpu.throttled_periods) == (10, 4)
    assert reading.pids is not None
    assert (reading.pids.current, reading.pids.limit) == (7, 100)
    assert reading.pressure["memory"].some_avg10 == 1.5


def test_the_word_max_is_no_limit(tmp_path: Path) -> None:
    """An unlimited group has usage all the same."""
    reading = _v2(tmp_path, "/app", {"app": v2_group()}).read()
    assert reading.memory is not None
    assert reading.memory.limit_bytes is None
    assert reading.cpu is not None
    assert reading.cpu.cores is None
    assert reading.pids is not None
    assert reading.pids.limit is None


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    """A pod's limit ends a container that has none itself; memory and CPU may differ in who."""
    groups = {
        "pod": v2_group(memory__max="60000000\n", cpu__max="400000 100000\n"),
        "pod/app": v2_group(memory__max="900000000\n", cpu__max="50000 100000\n"),
    }
    reading = _v2(tmp_path, "/pod/app", groups).read()
    assert reading.path == "/pod/app"
    assert reading.memory is not None
    assert (reading.memory.group, reading.memory.limit_bytes) == ("/pod", 60_000_000)
    assert reading.cpu is not None
    assert (reading.cpu.group, reading.cpu.cores) == ("/pod/app", 0.5)


def test_inside_a_container_the_mounted_group_is_the_own(tmp_path: Path) -> None:
    """With a cgroup namespace the process is at `/`."""
    reading = _v2(tmp_path, "/", {"": v2_group(memory__max="70000000\n")}).read()
    assert reading.memory is not None
    assert reading.memory.limit_bytes == 70_000_000


def test_a_mount_of_a_part_is_found_by_the_hosts_name(tmp_path: Path) -> None:
    """Without a cgroup namespace the container's group is named as on the host."""
    group = {"": v2_group(memory__max="70000000\n")}
    reading = _v2(tmp_path, "/docker/abc", group, root="/docker/abc").read()
    assert reading.memory is not None
    assert reading.memory.limit_bytes == 70_000_000


def test_a_path_that_leads_out_ends_at_what_is_mounted(tmp_path: Path) -> None:
    """A process that joined from outside is at `/../..`, which must not be followed."""
    (tmp_path / "sys fs").mkdir()
    (tmp_path / "sys fs" / "memory.current").write_text("1\n")
    reading = _v2(tmp_path, "/../", {"": v2_group(memory__max="70000000\n")}).read()
    assert reading.memory is not None
    assert reading.memory.limit_bytes == 70_000_000


@pytest.mark.parametrize("missing", ["memory.stat", "memory.max", "memory.events", "cpu.max"])
def test_a_missing_file_costs_its_own_number_only(tmp_path: Path, missing: str) -> None:
    """Controllers come and go with kernels and configurations."""
    group = v2_group()
    del group[missing]
    reading = _v2(tmp_path, "/app", {"app": group}).read()
    assert reading.memory is not None
    assert reading.memory.usage_bytes == 50_000_000
    assert reading.cpu is not None


def test_a_group_without_controllers_has_no_numbers(tmp_path: Path) -> None:
    """The root of a machine has neither usage nor limits in v2."""
    reading = _v2(tmp_path, "/", {"": {"cgroup.procs": "1\n"}}).read()
    assert (reading.memory, reading.cpu, reading.pids) == (None, None, None)


MEMORY_V1 = {
    "app/memory.usage_in_bytes": "50000000\n",
    "app/memory.limit_in_bytes": "200000000\n",
    "app/memory.memsw.limit_in_bytes": "300000000\n",
    "app/memory.stat": "cache 1\ntotal_inactive_file 20000000\ntotal_swap 4096\n",
    "app/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
    "memory.usage_in_bytes": "900000000\n",
    "memory.limit_in_bytes": f"{NO_LIMIT_V1}\n",
}
CPU_V1 = {
    "app/cpu.cfs_quota_us": "200000\n",
    "app/cpu.cfs_period_us": "100000\n",
    "app/cpu.stat": "nr_periods 100\nnr_throttled 25\nthrottled_time 3000000000\n",
    "app/cpuacct.usage": "7000000000\n",
    "cpu.cfs_quota_us": "-1\n",
    "cpu.cfs_period_us": "100000\n",
    "cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
}


def test_v1_tells_the_same(tmp_path: Path) -> None:
    """Other files, other units (nanoseconds), controllers mounted together."""
    reading = _v1(tmp_path, "/app", {"memory": MEMORY_V1, "cpu,cpuacct": CPU_V1}).read()
    assert reading.version == "v1"
    assert reading.memory is not None
    assert (reading.memory.usage_bytes, reading.memory.working_set_bytes) == (
        50_000_000,
        30_000_000,
    )
    assert (reading.memory.limit_bytes, reading.memory.swap_limit_bytes) == (
        200_000_000,
        100_000_000,
    )
    assert (reading.memory.swap_bytes, reading.memory.oom_kills) == (4096, 5)
    assert reading.cpu is not None
    assert (reading.cpu.cores, reading.cpu.usage_s, reading.cpu.throttled_s) == (2.0, 7.0, 3.0)


def test_v1_writes_no_limit_as_a_huge_number(tmp_path: Path) -> None:
    """9223372036854771712 is 2^63 less a page; a quota of -1 is none."""
    files = {**MEMORY_V1, "app/memory.limit_in_bytes": f"{NO_LIMIT_V1}\n"}
    cpu = {**CPU_V1, "app/cpu.cfs_quota_us": "-1\n"}
    reading = _v1(tmp_path, "/app", {"memory": files, "cpu,cpuacct": cpu}).read()
    assert reading.memory is not None
    assert reading.memory.limit_bytes is None
    assert reading.memory.swap_limit_bytes is None
    assert reading.cpu is not None
    assert reading.cpu.cores is None


def test_a_hybrid_machine_is_read_where_each_controller_is(tmp_path: Path) -> None:
    """Systemd's hybrid: v1 controllers, and a v2 tree with pressure only."""
    reader = _v1(tmp_path, "/app", {"memory": MEMORY_V1}, lines="0::/app\n")
    unified = plant(tmp_path / "unified", {"app/memory.pressure": v2_group()["memory.pressure"]})
    with (tmp_path / "proc" / "mountinfo").open("a") as mountinfo:
        mountinfo.write(mount_line(unified, "cgroup2"))
    reading = reader.read()
    assert reading.version == "hybrid"
    assert reading.memory is not None
    assert reading.memory.limit_bytes == 200_000_000
    assert reading.pressure["memory"].full_avg10 == 0.5


def test_a_process_that_is_moved_is_read_where_it_is_now(tmp_path: Path) -> None:
    """The place is remembered only as long as it is true."""
    groups = {"a": v2_group(memory__max="1000\n"), "b": v2_group(memory__max="2000\n")}
    reader = _v2(tmp_path, "/a", groups)
    first = reader.read().memory
    (tmp_path / "proc" / "cgroup").write_text("0::/b\n")
    second = reader.read().memory
    assert first is not None
    assert second is not None
    assert (first.limit_bytes, second.limit_bytes) == (1000, 2000)


def test_throttling_is_told_where_the_time_is_counted_elsewhere(tmp_path: Path) -> None:
    """In v1 cpu and cpuacct may be hierarchies of their own, with the process in other groups."""
    apart = {name: text for name, text in CPU_V1.items() if "cpuacct" not in name}
    reader = _v1(tmp_path, "/app", {"cpu": apart, "cpuacct": {"cpuacct.usage": "9\n"}})
    before = reader.read()
    stat = "nr_periods 110\nnr_throttled 30\nthrottled_time 4000000000\n"
    (tmp_path / "cgroup" / "cpu" / "app" / "cpu.stat").write_text(stat)
    use = group_cpu_use(before, reader.read(), 2.0, 4)
    assert use is not None
    assert (use.cores, use.percent, use.throttled_percent) == (None, None, 50)


def test_the_use_of_a_quota_is_told_in_cores_and_percent(tmp_path: Path) -> None:
    """Half of a quota of one core and a half; without a quota, of the machine."""
    group = v2_group(cpu__max="150000 100000\n")
    reader = _v2(tmp_path, "/app", {"app": group})
    before = reader.read()
    stat = group["cpu.stat"].replace("5000000", "6500000")
    (tmp_path / "sys fs" / "cgroup" / "app" / "cpu.stat").write_text(stat)
    use = group_cpu_use(before, reader.read(), 2.0, 4)
    assert use is not None
    assert (use.cores, use.percent, use.throttled_percent) == (0.75, 50, 0)


def test_a_machine_with_a_controller_that_says_nothing_of_use_is_no_error(tmp_path: Path) -> None:
    """Only freezer is mounted: there is a group, and no numbers."""
    reading = _v1(tmp_path, "/app", {"freezer": {"app/freezer.state": "THAWED\n"}}).read()
    assert (reading.path, reading.memory, reading.cpu) == ("/app", None, None)


def test_a_machine_without_control_groups_says_so(tmp_path: Path) -> None:
    """The sampler makes a reason of it."""
    proc = plant(tmp_path, {"cgroup": "", "mountinfo": mount_line("/", "ext4")})
    with pytest.raises(LookupError):
        Cgroup(proc).read()


def test_the_group_of_this_process_can_be_read() -> None:
    """Whatever it is on the machine that runs the test."""
    if not Path("/proc/self/cgroup").exists():
        pytest.skip("no control groups in this kernel")
    try:
        reading = Cgroup().read()
    except LookupError:
        pytest.skip("no control group is mounted here")
    if reading.memory is not None:
        assert 0 <= reading.memory.working_set_bytes <= reading.memory.usage_bytes
