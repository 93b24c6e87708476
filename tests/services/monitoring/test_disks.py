"""Which file systems are told, and how full they are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from services.monitoring.backend.disks import Asker, Disks, DiskUse, folded, without_doubles
from services.monitoring.backend.mounts import parse_mount
from tests.services.monitoring.trees import plant


def _mount(point: str, fstype: str = "ext4", device: str = "8:1", root: str = "/") -> str:
    return f"31 23 {device} {root} {point} rw - {fstype} /dev/{device} rw"


def _folded(*lines: str) -> list[DiskUse]:
    return folded([parse_mount(line) for line in lines])


@pytest.mark.parametrize(
    "line",
    [
        _mount("/proc", "proc"),
        _mount("/sys/fs/cgroup", "tmpfs"),
        _mount("/dev", "devtmpfs"),
        _mount("/snap/core/1", "squashfs"),
        _mount("/var/lib/lxcfs", "fuse.lxcfs"),
        _mount("/var/lib/docker/overlay2/abc/merged", "overlay"),
        _mount("/run/docker/netns/1", "nsfs"),
    ],
)
def test_what_cannot_be_full_is_left_out(line: str) -> None:
    """Pseudo file systems, images that are full by nature, layers of containers."""
    assert _folded(line) == []


def test_bind_mounts_are_folded_into_their_file_system() -> None:
    """One disk, one row; the mount of its root goes first, however long its path."""
    rows = _folded(_mount("/a", root="/data/a"), _mount("/mnt/disk"), _mount("/b", root="/data/b"))
    assert [(row.mount, row.also) for row in rows] == [("/mnt/disk", ("/a", "/b"))]


def test_of_two_mounts_at_one_point_the_later_is_seen() -> None:
    """It covers the first."""
    rows = _folded(_mount("/x", device="8:1"), _mount("/x", device="8:2"))
    assert [row.source for row in rows] == ["/dev/8:2"]


def test_files_that_are_bound_into_a_container_are_its_overlays_disk() -> None:
    """/etc/hosts has the room of the disk below the overlay."""
    overlay = DiskUse("/", "overlay", "overlay", False, total_bytes=100, used_bytes=40)
    hosts = DiskUse("/etc/hosts", "ext4", "/dev/sda1", False, total_bytes=100, used_bytes=40)
    volume = DiskUse("/data", "ext4", "/dev/sdb1", False, total_bytes=100, used_bytes=41)
    empty = DiskUse("/nothing", "fuse.x", "x", False, total_bytes=0, used_bytes=0)
    rows = without_doubles([overlay, volume, hosts, empty])
    assert [(row.mount, row.also) for row in rows] == [("/", ("/etc/hosts",)), ("/data", ())]


def test_an_overlays_disk_is_known_while_it_is_written_to() -> None:
    """The two are asked one after the other; a volume of another size or use is another disk."""
    overlay = DiskUse("/", "overlay", "overlay", False, total_bytes=10**12, used_bytes=4 * 10**11)
    hosts = replace(overlay, mount="/etc/hosts", fstype="ext4", used_bytes=4 * 10**11 + 10**8)
    volume = replace(hosts, mount="/data", used_bytes=4 * 10**11 + 10**10)
    silent = replace(hosts, mount="/nfs", total_bytes=None, used_bytes=None)
    rows = without_doubles([overlay, volume, hosts, silent])
    assert [row.mount for row in rows] == ["/", "/data", "/nfs"]
    assert rows[0].also == ("/etc/hosts",)


def test_the_use_is_counted_as_df_counts(tmp_path: Path) -> None:
    """Of what users can have, without root's reserve."""
    answer = os.statvfs_result((4096, 4096, 1000, 300, 200, 500, 100, 100, 0, 255))
    proc = plant(tmp_path, {"mountinfo": _mount("/")})
    (row,) = Disks(proc, Asker(lambda path: answer)).read()
    assert (row.total_bytes, row.used_bytes, row.available_bytes) == (
        1000 * 4096,
        700 * 4096,
        200 * 4096,
    )
    assert row.used_percent == pytest.approx(100 * 700 / 900)
    assert row.inodes_used_percent == pytest.approx(80)


def test_a_file_system_without_inodes_has_no_share_of_them(tmp_path: Path) -> None:
    """FAT, btrfs and many networks count none."""
    answer = os.statvfs_result((4096, 4096, 1000, 300, 200, 0, 0, 0, 0, 255))
    (row,) = Disks(plant(tmp_path, {"mountinfo": _mount("/")}), Asker(lambda path: answer)).read()
    assert (row.inodes_total, row.inodes_used_percent) == (None, None)


def test_a_file_system_that_may_not_be_asked_says_why(tmp_path: Path) -> None:
    """One row without numbers, and the others with theirs."""

    def stat(path: str) -> os.statvfs_result:
        if path == "/locked":
            raise PermissionError(13, "Permission denied")
        return os.statvfs("/")

    proc = plant(
        tmp_path, {"mountinfo": f"{_mount('/')}\n{_mount('/locked', 'fuse.sshfs', '0:9')}\n"}
    )
    root, locked = Disks(proc, Asker(stat)).read()
    assert root.total_bytes is not None
    assert (locked.total_bytes, locked.problem) == (None, "permission denied")


def test_the_disk_of_this_machine_is_told_as_the_system_tells_it() -> None:
    """The root file system, between two answers of statvfs(2)."""
    rows = {row.mount: row for row in Disks().read()}
    if "/" not in rows:
        pytest.skip("the root of this machine is a pseudo file system")
    whole = os.statvfs("/")
    assert rows["/"].total_bytes == whole.f_blocks * whole.f_frsize
