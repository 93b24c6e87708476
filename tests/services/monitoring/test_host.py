"""The machine's numbers: formats of several kernels, and what this machine's own files say."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitoring.backend.host import CpuTimes, Host, parse_pressure
from services.monitoring.backend.mounts import parse_mount
from services.monitoring.backend.names import printable
from services.monitoring.backend.rates import cpu_use, device_rates, interface_rates
from services.monitoring.backend.sample import Attempts
from services.monitoring.backend.scope import scope_of
from tests.services.monitoring.trees import plant

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo: 100 2 0 0 0 0 0 0 100 2 0 0 0 0 0 0
eth0:8224599885  271505    1    2    0     0 0 0 20732308  174970    3    4    0 0 0 0
"""
DISKSTATS = """   7       0 loop0 9 0 9 9 0 0 0 0 0 0 0
 254       0 vda 100 5 2000 50 200 6 4000 150 0 77 200
 254       1 vda1 100 5 2000 50 200 6 4000 150 0 77 200
 259       0 nvme0n1 10 0 80 1 0 0 0 0 0 1 1 0 0 0 0 0 0
 259       1 nvme0n1p1 10 0 80 1 0 0 0 0 0 1 1
   8       0 sda 0 0 0 0 0 0 0 0 0 0 0
   9       0 md0 1 0 8 0 0 0 0 0 0 0 0
 253       0 dm-0 1 0 8 0 0 0 0 0 0 0 0
"""


def test_this_machine_is_read_as_psutil_reads_it() -> None:
    """Another reader of the same files; what moves is held between two of its readings."""
    host = Host("/proc")
    memory = host.memory()
    assert memory.total_bytes == psutil.virtual_memory().total
    assert memory.swap_total_bytes == psutil.swap_memory().total
    assert len(host.cpus().cores) == psutil.cpu_count()
    assert abs(host.booted_at() - psutil.boot_time()) <= 2
    before, ours, after = (
        psutil.net_io_counters(pernic=True),
        host.interfaces(),
        psutil.net_io_counters(pernic=True),
    )
    assert set(ours) == set(before)
    for name, counters in ours.items():
        assert before[name].bytes_recv <= counters.rx_bytes <= after[name].bytes_recv
        assert before[name].packets_sent <= counters.tx_packets <= after[name].packets_sent


def test_load_and_tasks_are_told(tmp_path: Path) -> None:
    """The fourth field is runnable/all."""
    load = Host(plant(tmp_path, {"loadavg": "0.50 1.25 2.00 3/412 9999\n"})).load()
    assert (load.one, load.five, load.fifteen, load.runnable, load.tasks) == (0.5, 1.25, 2, 3, 412)


def test_guest_time_is_not_counted_twice(tmp_path: Path) -> None:
    """Guest and guest_nice are in user and nice already (proc(5))."""
    text = "cpu  100 10 20 500 30 1 2 7 60 5\ncpu0 100 10 20 500 30 1 2 7 60 5\nintr 1\nbtime 5\n"
    host = Host(plant(tmp_path, {"stat": text}))
    times = host.cpus().all
    assert times == CpuTimes(user=110, system=23, idle=500, iowait=30, steal=7)
    assert times.total == 670
    assert host.booted_at() == 5


def test_an_old_kernel_without_steal_is_understood(tmp_path: Path) -> None:
    """Columns were added over the years."""
    host = Host(plant(tmp_path, {"stat": "cpu 1 2 3 4\ncpu3 1 2 3 4\n"}))
    assert host.cpus().all.steal == 0
    assert list(host.cpus().cores) == [3]


def test_memory_that_old_kernels_do_not_tell_is_estimated(tmp_path: Path) -> None:
    """MemAvailable is there since 3.14."""
    text = (
        "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 200 kB\nHugePages_Total: 0\n"
    )
    memory = Host(plant(tmp_path, {"meminfo": text})).memory()
    assert memory.available_bytes == 350 * 1024
    assert memory.used_bytes == 650 * 1024


def test_partitions_and_loops_are_left_out_and_sectors_are_512_bytes(tmp_path: Path) -> None:
    """A partition's work is its disk's; a disk that was never used says nothing."""
    devices = Host(plant(tmp_path, {"diskstats": DISKSTATS})).devices()
    assert set(devices) == {"vda", "nvme0n1", "md0", "dm-0"}
    assert devices["vda"].read_bytes == 2000 * 512
    assert (devices["vda"].written_bytes, devices["vda"].busy_ms) == (4000 * 512, 77)


def test_interfaces_are_read_with_and_without_a_blank_behind_the_colon(tmp_path: Path) -> None:
    """Large counters leave no room for it."""
    eth0 = Host(plant(tmp_path, {"net/dev": NET_DEV})).interfaces()["eth0"]
    assert (eth0.rx_bytes, eth0.rx_errors, eth0.rx_drops) == (8224599885, 1, 2)
    assert (eth0.tx_bytes, eth0.tx_errors, eth0.tx_drops) == (20732308, 3, 4)


def test_a_mounted_proc_of_the_host_tells_the_hosts_network(tmp_path: Path) -> None:
    """Its `net` is a link to the reader's own namespace, which is the container's; 1/net is not."""
    other = NET_DEV.replace("eth0", "host0")
    proc = plant(tmp_path, {"net/dev": NET_DEV, "1/net/dev": other})
    assert "host0" in Host(proc, foreign=True).interfaces()
    assert "eth0" in Host(proc).interfaces()


def test_pressure_of_an_old_kernel_has_no_full_for_the_processor() -> None:
    """The line came with 5.13."""
    pressure = parse_pressure("some avg10=1.40 avg60=1.06 avg300=0.95 total=37\n")
    assert (pressure.some_avg10, pressure.full_avg10) == (1.4, 0)


def test_a_kernel_without_pressure_raises_what_the_sampler_tells(tmp_path: Path) -> None:
    """CONFIG_PSI may be off."""
    with pytest.raises(OSError, match="pressure"):
        Host(tmp_path).pressure()


def test_mounts_have_optional_fields_and_escaped_blanks() -> None:
    """proc(5): zero or more fields before the dash."""
    plain = parse_mount("27 1 254:0 / / rw - ext4 /dev/vda rw,discard")
    shared = parse_mount(
        r"42 27 0:1 /a\040b /mnt/x\011y ro shared:1 master:2 - nfs4 srv:/a\134b rw"
    )
    assert (plain.point, plain.read_only) == ("/", False)
    assert (shared.root, shared.point, shared.source) == ("/a b", "/mnt/x\ty", "srv:/a\\b")
    assert shared.read_only


@pytest.mark.parametrize("line", ["", "1 2 3", "27 1 254:0 / / rw ext4 /dev/vda rw", "a - b"])
def test_what_is_no_mount_is_refused(line: str) -> None:
    """The sampler tells it as a reason."""
    with pytest.raises(ValueError, match="mountinfo"):
        parse_mount(line)


def test_names_that_are_no_utf_8_can_be_told() -> None:
    """A lone surrogate would break the JSON of the whole answer."""
    name = os.fsdecode(b"/mnt/\xff\xe2\x80\x8bx\ny")
    assert printable(name) == "/mnt/\ufffdx y"
    printable(name).encode()


READERS = {
    "stat": (Host.cpus, Host.booted_at),
    "meminfo": (Host.memory,),
    "vmstat": (Host.paging,),
    "loadavg": (Host.load,),
    "diskstats": (Host.devices,),
    "net/dev": (Host.interfaces,),
    "pressure/cpu": (Host.pressure,),
}
LIKELY = st.text("cpu0 12:.-/=\n\tavgMemTotal|\u00e9\ud800", max_size=60)


@given(st.sampled_from(sorted(READERS)), st.one_of(LIKELY, st.binary(max_size=60)))
def test_no_contents_of_a_file_are_an_unforeseen_error(name: str, contents: str | bytes) -> None:
    """What a reader raises is what the sampler makes a reason of."""
    data = contents if isinstance(contents, bytes) else contents.encode("utf-8", "surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder), {name: ""})
        (Path(folder) / name).write_bytes(data)
        for read in READERS[name]:
            attempts = Attempts()
            attempts.get(name, partial(read, Host(folder)))
            assert all("/" not in reason for reason in attempts.problems.values())


# --- rates --------------------------------------------------------------------------------------


def _cpus(tmp_path: Path, name: str, line: str) -> Host:
    return Host(plant(tmp_path / name, {"stat": f"cpu {line}\ncpu0 {line}\n"}))


def test_shares_are_of_the_time_between_two_readings(tmp_path: Path) -> None:
    """10 user, 10 system, 20 iowait, 10 steal and 50 idle ticks of 100."""
    before = _cpus(tmp_path, "a", "1000 0 1000 1000 100 0 0 0").cpus()
    now = _cpus(tmp_path, "b", "1010 0 1010 1050 120 0 0 10").cpus()
    use = cpu_use(before, now)
    assert use is not None
    assert (use.user, use.system, use.iowait, use.steal, use.percent) == (10, 10, 20, 10, 20)
    assert use.cores == {0: 20}


def test_iowait_that_goes_back_counts_as_none(tmp_path: Path) -> None:
    """It is not reliable (proc(5)); a negative share would be nonsense."""
    before = _cpus(tmp_path, "a", "0 0 0 0 100 0 0 0").cpus()
    now = _cpus(tmp_path, "b", "50 0 0 50 90 0 0 0").cpus()
    use = cpu_use(before, now)
    assert use is not None
    assert (use.iowait, use.percent) == (0, 50)


def test_within_one_tick_there_is_no_share(tmp_path: Path) -> None:
    """Nothing divided by nothing; psutil says 0.0 here."""
    cpus = _cpus(tmp_path, "a", "1 2 3 4 5 6 7 8").cpus()
    assert cpu_use(cpus, cpus) is None


def test_rates_of_disks_and_interfaces_are_for_each_second(tmp_path: Path) -> None:
    """Two seconds between the readings."""
    before = Host(plant(tmp_path / "a", {"diskstats": DISKSTATS, "net/dev": NET_DEV}))
    after = Host(
        plant(
            tmp_path / "b",
            {
                "diskstats": " 254 0 vda 110 5 2200 60 210 6 4400 190 0 1077 200\n",
                "net/dev": NET_DEV.replace("8224599885", "8224599985"),
            },
        )
    )
    vda = device_rates(before.devices(), after.devices(), 2.0)["vda"]
    assert (vda.read_bytes_s, vda.written_bytes_s) == (100 * 512, 200 * 512)
    assert (vda.operations_s, vda.busy_percent, vda.wait_ms) == (10, 50, 2.5)
    eth0 = interface_rates(before.interfaces(), after.interfaces(), 2.0)["eth0"]
    assert eth0.rx_bytes_s == 50


def test_an_interface_that_was_made_anew_has_no_rate(tmp_path: Path) -> None:
    """Its counters begin again, which is no negative traffic."""
    old = Host(plant(tmp_path / "a", {"net/dev": NET_DEV})).interfaces()
    new = Host(plant(tmp_path / "b", {"net/dev": NET_DEV.replace("8224599885", "5")})).interfaces()
    assert "eth0" not in interface_rates(old, new, 2.0)


# --- scope --------------------------------------------------------------------------------------


def test_a_container_is_known_by_its_marks(tmp_path: Path) -> None:
    """Docker, podman, Kubernetes; a mounted /proc of the host makes it the host's again."""
    assert scope_of(None, root=tmp_path, environment={}).kind == "host"
    assert scope_of(None, root=tmp_path, environment={"container": "podman"}).kind == "container"
    (tmp_path / ".dockerenv").touch()
    assert scope_of(None, root=tmp_path, environment={}).kind == "container"
    assert scope_of("/host/proc", root=tmp_path, environment={}).kind == "host"
