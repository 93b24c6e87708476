"""Sockets as the kernel lists them, and the tool on this machine's own."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.testing import Client
from services.monitoring.backend.host import Host
from services.monitoring.backend.network import Network, parse_socket, states_of
from tests.services.monitoring.served import server_on
from tests.services.monitoring.trees import plant, stat_line

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid inode\n"


def _row(local: str, remote: str, state: str, inode: int = 1215, uid: int = 7) -> str:
    return f"   0: {local} {remote} {state} 00000010:00000020 00:00000000 0 {uid} 0 {inode} 1 0 0\n"


LISTEN = _row("0100007F:1F40", "00000000:0000", "0A")
ESTABLISHED = _row("0100007F:1F40", "0101A8C0:C350", "01", inode=99)
V6 = _row(
    "B80D0120000000000000000001000000:01BB", "00000000000000000000000000000000:0000", "0A", inode=5
)
MAPPED = _row(
    "0000000000000000FFFF00000100007F:0050", "0000000000000000FFFF00000200007F:0051", "08", inode=6
)


def test_addresses_are_words_in_the_machines_order() -> None:
    """127.0.0.1:8000 on a little-endian machine, as all are that we know of."""
    listener = parse_socket(LISTEN, "tcp")
    assert (listener.local_address, listener.local_port) == ("127.0.0.1", 8000)
    assert (listener.state, listener.uid, listener.inode) == ("listen", 7, 1215)
    assert (listener.unsent_bytes, listener.queued_bytes) == (16, 32)


def test_ipv6_is_read_and_mapped_ipv4_is_told_as_such() -> None:
    """A dual-stack server's connections are of IPv4 clients."""
    assert parse_socket(V6, "tcp").local_address == "2001:db8::1"
    mapped = parse_socket(MAPPED, "tcp")
    assert (mapped.local_address, mapped.remote_address) == ("127.0.0.1", "127.0.0.2")
    assert mapped.state == "close_wait"


@pytest.mark.parametrize(("state", "told"), [("07", "listen"), ("01", "established")])
def test_udp_has_two_states(state: str, told: str) -> None:
    """TCP_CLOSE is what an unconnected UDP socket is in."""
    assert parse_socket(_row("0100007F:0035", "00000000:0000", state), "udp").state == told


@pytest.mark.parametrize("row", ["", "0:", "0: zz:1 zz:1 0A", "a b c d e f g h i j"])
def test_what_is_no_row_is_an_error_of_its_own(row: str) -> None:
    """Never a socket that is not there."""
    with pytest.raises((ValueError, IndexError)):
        parse_socket(row, "tcp")


def test_a_foreign_host_is_read_through_its_first_process(tmp_path: Path) -> None:
    """Its own `net` would be this container's."""
    proc = plant(tmp_path, {"net/tcp": HEAD + LISTEN, "1/net/tcp": HEAD + ESTABLISHED})
    sockets, cut = Network(Host(proc, foreign=True)).sockets()
    assert ([s.state for s in sockets], cut) == (["established"], False)
    assert Network(Host(proc, foreign=True)).interfaces() == {}


def test_sockets_belong_to_who_has_them_open(tmp_path: Path) -> None:
    """By the links in fd; of several processes the first is told."""
    proc = plant(tmp_path, {"net/tcp": HEAD + LISTEN + V6 + ESTABLISHED})
    for pid in (30, 20):
        (proc / str(pid) / "fd").mkdir(parents=True)
        (proc / str(pid) / "fd" / "3").symlink_to("socket:[1215]")
        (proc / str(pid) / "fd" / "4").symlink_to("/dev/null")
    network = Network(Host(proc))
    sockets, _ = network.sockets()
    owners = network.owners({s.inode for s in sockets})
    assert dict(owners.pids) == {1215: 20}
    assert states_of(sockets) == {"listen": 2, "established": 1}


def test_what_may_not_be_looked_at_is_counted() -> None:
    """Without CAP_SYS_PTRACE the descriptors of other users' processes are closed to us."""
    was = os.geteuid()
    nobody = 65_534 if was == 0 else was
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and _owner(pid) != nobody]
    if not others:
        pytest.skip("every process here is this user's")
    os.seteuid(nobody)
    try:
        unseen = Network(Host("/proc")).owners({1}).unseen
    finally:
        os.seteuid(was)
    assert unseen > 0


def _owner(pid: str) -> int | None:
    with contextlib.suppress(OSError):
        return (Path("/proc") / pid).stat().st_uid
    return None


# --- through the tool -----------------------------------------------------------------------------


@pytest.fixture
async def client(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service that watches this machine."""
    async with Client(server_on(None, tmp_path)) as connected:
        yield connected


async def _call(client: Client, **arguments: Any) -> dict[str, Any]:
    result = await client.call("network", **arguments)
    assert result.structured is not None, result.text
    return result.structured


@pytest.mark.parametrize(
    ("family", "address", "local", "exposed"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}", False),
        (socket.AF_INET, "0.0.0.0", "0.0.0.0:{}", True),
        (socket.AF_INET6, "::1", "[::1]:{}", False),
    ],
)
async def test_a_listener_is_told_with_its_process(
    client: Client, family: socket.AddressFamily, address: str, local: str, exposed: bool
) -> None:
    """And whether others than this machine can reach it."""
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with server:
        port = server.getsockname()[1]
        answer = await _call(client, view="listeners", port=port)
    (row,) = answer["sockets"]
    assert (row["local"], row["pid"], row["exposed"]) == (local.format(port), os.getpid(), exposed)
    assert row["process"]
    assert row["remote"] is None


async def test_connections_are_told_from_both_ends_and_by_state(client: Client) -> None:
    """Both ends are this process's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as near, server.accept()[0]:
            answer = await _call(client, view="connections", port=port, state="established")
            none = await _call(client, view="connections", port=port, state="close_wait")
            own = await _call(client, view="connections", pid=os.getpid(), q=str(port))
            assert near.getpeername()[1] == port
    assert answer["returned"] == 2
    assert {row["pid"] for row in answer["sockets"]} == {os.getpid()}
    assert answer["states"]["established"] >= 2
    assert none["sockets"] == []
    assert own["returned"] == 2


async def test_interfaces_are_told_with_rates_and_addresses(client: Client) -> None:
    """The loopback is on every machine."""
    answer = await _call(client)
    loopback = next(row for row in answer["interfaces"] if row["name"] == "lo")
    assert "127.0.0.1" in loopback["addresses"]
    assert loopback["rx_bytes_s"] is not None
    assert loopback["rx_bytes"] == loopback["tx_bytes"]
    assert (await _call(client, q="127.0.0.1"))["interfaces"][0]["name"] == "lo"


async def test_a_long_list_is_paged(tmp_path: Path) -> None:
    """A machine with many connections, read from its table."""
    rows = "".join(_row(f"0100007F:{port:04X}", "0101A8C0:C350", "01") for port in range(1, 301))
    proc = plant(tmp_path / "proc", {"net/tcp": HEAD + rows, "1/stat": stat_line(1)})
    async with Client(server_on(proc, tmp_path)) as client:
        first = await _call(client, view="connections", limit=200)
        rest = await _call(client, view="connections", limit=200, cursor=first["next_cursor"])
    ports = [int(row["local"].rpartition(":")[2]) for row in first["sockets"] + rest["sockets"]]
    assert ports == list(range(1, 301))
    assert (first["total"], rest["next_cursor"]) == (300, None)


async def test_a_machine_that_tells_no_sockets_says_so(tmp_path: Path) -> None:
    """A typed error that names what could not be read."""
    proc = plant(tmp_path / "proc", {"1/stat": stat_line(1)})
    async with Client(server_on(proc, tmp_path)) as client:
        error = (await client.call("network", view="listeners")).error
    assert error is not None
    assert error["code"] == "DEPENDENCY_UNAVAILABLE"
    assert error["retryable"] is False
