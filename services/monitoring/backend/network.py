"""Interfaces, connections and listeners, read from /proc and asked of the kernel.

A socket is named by its inode in /proc/net/tcp and in /proc/pid/fd of the process that has it. The
latter may only be looked at for own processes, or with CAP_SYS_PTRACE; what cannot be seen is
counted and said. Of a host whose /proc is mounted, the tables of its process 1 are read.

Source: proc(5), Documentation/networking/proc_net_tcp.rst, include/net/tcp_states.h.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.monitoring.backend.host import Host
from services.monitoring.backend.names import printable

MAX_SOCKETS = 200_000
"""Rows of one table that are read."""

TCP_STATES = {
    1: "established",
    2: "syn_sent",
    3: "syn_recv",
    4: "fin_wait1",
    5: "fin_wait2",
    6: "time_wait",
    7: "close",
    8: "close_wait",
    9: "last_ack",
    10: "listen",
    11: "closing",
    12: "new_syn_recv",
}
_TABLES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
_SOCKET = re.compile(rb"socket:\[(\d+)\]")
_UDP_UNCONNECTED = 7


@dataclass(frozen=True, slots=True)
class Socket:
    """One TCP or UDP socket.

    Attributes:
        state: Of TCP as `ss` names it; of UDP `listen` where it receives from anywhere.
        queued_bytes: Received and not yet read; of a listener, connections not yet accepted.
        inode: 0 where no process has it any more (time_wait).
    """

    protocol: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    state: str
    uid: int
    queued_bytes: int
    unsent_bytes: int
    inode: int


@dataclass(frozen=True, slots=True)
class Owners:
    """Which process has which socket.

    Attributes:
        pids: Inode → the least pid that has it open.
        unseen: Processes whose sockets this service may not look at.
    """

    pids: Mapping[int, int]
    unseen: int


@dataclass(frozen=True, slots=True)
class Interface:
    """What an interface is, beside its counters; None where it belongs to another namespace."""

    is_up: bool | None
    speed_mbit: int | None
    mtu: int | None
    addresses: tuple[str, ...]


class Network:
    """Reads the network of one machine."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def sockets(self) -> tuple[list[Socket], bool]:
        """Return TCP and UDP sockets, and whether there were more than are read.

        Raises:
            OSError: There is no table of TCP.
        """
        found: list[Socket] = []
        cut = False
        for table, protocol in _TABLES:
            try:
                with (self._host.net / table).open() as lines:
                    next(lines, None)
                    rows, is_cut = _up_to(MAX_SOCKETS, lines)
            except OSError:
                if table == "tcp":
                    raise
                continue
            cut = cut or is_cut
            found += (parse_socket(row, protocol) for row in rows)
        return found, cut

    def owners(self, inodes: set[int]) -> Owners:
        """Return which processes have some sockets."""
        pids: dict[int, int] = {}
        unseen = 0
        for pid in _pids(self._host.proc):
            try:
                held = set(_held(self._host.proc / str(pid) / "fd"))
            except PermissionError:
                unseen += 1
                continue
            except OSError:
                continue
            for inode in held & inodes:
                pids[inode] = min(pid, pids.get(inode, pid))
        return Owners(pids, unseen)

    def held_by(self, pid: int) -> set[int] | None:
        """Return the inodes of a process's sockets; None where they may not be looked at."""
        try:
            return set(_held(self._host.proc / str(pid) / "fd"))
        except OSError:
            return None

    def interfaces(self) -> dict[str, Interface]:
        """Return the interfaces of this process's network namespace; of a foreign host none."""
        if self._host.foreign:
            return {}
        with contextlib.suppress(OSError):
            addresses = psutil.net_if_addrs()
            return {
                printable(name): Interface(
                    is_up=state.isup,
                    speed_mbit=state.speed or None,
                    mtu=state.mtu,
                    addresses=_addresses(addresses.get(name, ())),
                )
                for name, state in psutil.net_if_stats().items()
            }
        return {}


def parse_socket(row: str, protocol: str) -> Socket:
    """Return what a row of /proc/net/tcp and its like says.

    Raises:
        ValueError, IndexError: It is no such row.
    """
    fields = row.split()
    local_address, local_port = _endpoint(fields[1])
    remote_address, remote_port = _endpoint(fields[2])
    unsent, _, queued = fields[4].partition(":")
    return Socket(
        protocol=protocol,
        local_address=local_address,
        local_port=local_port,
        remote_address=remote_address,
        remote_port=remote_port,
        state=_state(int(fields[3], 16), protocol),
        uid=int(fields[7]),
        queued_bytes=int(queued, 16),
        unsent_bytes=int(unsent, 16),
        inode=int(fields[9]),
    )


def _state(number: int, protocol: str) -> str:
    if protocol == "udp":
        return "listen" if number == _UDP_UNCONNECTED else "established"
    return TCP_STATES.get(number, "unknown")


def _endpoint(text: str) -> tuple[str, int]:
    """Return address and port of `0100007F:1F40`: words of 32 bits in the machine's own order."""
    address, _, port = text.partition(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    found = ipaddress.ip_address(packed)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found), int(port, 16)


def _up_to(limit: int, lines: Iterable[str]) -> tuple[list[str], bool]:
    rows: list[str] = []
    for line in lines:
        if len(rows) == limit:
            return rows, True
        rows.append(line)
    return rows, False


def _pids(proc: Path) -> Iterator[int]:
    for name in os.listdir(proc):
        if name.isdigit():
            yield int(name)


def _held(folder: Path) -> Iterator[int]:
    """Yield the inodes of the sockets that a process has open."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(descriptor):
            with contextlib.suppress(OSError):
                found = _SOCKET.fullmatch(os.readlink(os.fsencode(name), dir_fd=descriptor))
                if found is not None:
                    yield int(found[1])
    finally:
        os.close(descriptor)


def _addresses(rows: Iterable[psutil._ntuples.snicaddr]) -> tuple[str, ...]:
    kinds = (socket.AF_INET, socket.AF_INET6)
    return tuple(row.address for row in rows if row.family in kinds and row.address)


def states_of(sockets: Iterable[Socket]) -> dict[str, int]:
    """Return how many sockets are in which state, the most first; UDP as one."""
    counts = Counter(s.state if s.protocol == "tcp" else "udp" for s in sockets)
    return dict(counts.most_common())
