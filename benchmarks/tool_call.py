"""How many tool calls a second, through every door, beside the peers and a bare FastAPI handler.

`python -m benchmarks.tool_call [--quick]`

All servers run at once, each one process with one worker, and are loaded in turns, one at a time;
the turns are repeated and medians are shown, so that what else the machine does falls on all alike.
Ratios are made within a round before their median is taken.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks import doors
from benchmarks.load import Call, Load, generator, measure
from benchmarks.peers import peer_python, versions
from benchmarks.processes import Server, bare_fastapi, our_server, peer

CONNECTIONS, MANY_CONNECTIONS = 16, 64
OUR_PACKAGES = ("fastapi", "pydantic", "uvicorn", "uvloop", "httptools", "prometheus-client")
PEER_PACKAGES = ("fastmcp", "mcp", "pydantic", "uvicorn", "uvloop", "httptools")
LENGTH_TOLERANCE = 0.1
OURS, BARE, FASTMCP, SDK = "ours", "bare FastAPI", "FastMCP", "SDK"


@dataclass(slots=True)
class Row:
    """One door of one server, and what was measured there, round by round.

    Attributes:
        vendor: Whose server it is.
        cpu_us: Processor time of the server per call; what else runs changes it little.
        door: The way in; its last word heads a column of the ratios.
    """

    vendor: str
    door: str
    server: Server
    call: Call
    loads: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    busy_loads: list[Load] = field(default_factory=list)
    rss_kib: int = 0

    @property
    def name(self) -> str:
        """Return what the tables call it."""
        return f"{self.vendor} {self.door}"

    def measure(self, seconds: float, busy_seconds: float) -> None:
        """Load it once."""
        cpu_s = self.server.cpu_s()
        load = self._load(CONNECTIONS, seconds)
        self.loads.append(load)
        self.cpu_us.append((self.server.cpu_s() - cpu_s) / load.calls * 1e6)
        self.busy_loads.append(self._load(MANY_CONNECTIONS, busy_seconds))
        self.rss_kib = self.server.rss_kib()

    def _load(self, connections: int, seconds: float) -> Load:
        load = measure(self.server.port, self.call, connections=connections, seconds=seconds)
        expected = (self.loads or [load])[0].bytes_per_call
        if load.errors or abs(load.bytes_per_call - expected) > expected * LENGTH_TOLERANCE:
            raise doors.WrongAnswer(f"{self.name} under load: {load}")
        doors.check(self.server, self.call)
        return load

    def median(self, value: Callable[[Load], float], *, busy: bool = False) -> float:
        """Return the median over the rounds."""
        return statistics.median(value(load) for load in (self.busy_loads if busy else self.loads))


@contextmanager
def all_rows(options: argparse.Namespace) -> Iterator[list[Row]]:
    """Start every server and yield the doors, each checked once."""
    with ExitStack() as stack:
        rows: list[Row] = []

        def add(
            vendor: str, server: Server, door: doors.Door, name: str, key: bool = False
        ) -> None:
            call = door(server, key)
            doors.check(server, call)
            rows.append(Row(vendor, name, server, call))

        bare = stack.enter_context(bare_fastapi())
        add(BARE, bare, doors.bare, "/add")
        for key in (False, True):
            with_key = ", key" if key else ""
            ours = stack.enter_context(our_server("ours-key" if key else "ours", key=key))
            add(OURS, ours, doors.rpc, "/rpc" + with_key, key)
            add(OURS, ours, doors.session, "/mcp 2025-06-18 session" + with_key, key)
            add(OURS, ours, doors.modern, "/mcp 2026-07-28" + with_key, key)
        if not options.without_peers:
            python, level = peer_python(), "WARNING" if options.quiet_peers else "INFO"
            for vendor, package in ((FASTMCP, "fastmcp"), (SDK, "sdk")):
                free = stack.enter_context(peer(python, package, "stateless", log_level=level))
                held = stack.enter_context(peer(python, package, "stateful", log_level=level))
                add(vendor, free, doors.stateless, "/mcp 2025-06-18 stateless")
                add(vendor, held, doors.session, "/mcp 2025-06-18 session")
                add(vendor, free, doors.modern, "/mcp 2026-07-28")
        yield rows


# --- what is shown ----------------------------------------------------------------------------


def show(rows: list[Row]) -> None:
    """Print the table of doors and the tables of ratios."""
    busy = f"p99 ms, {MANY_CONNECTIONS} connections"
    print(f"\n{'':34}{'calls/s':>9}{'CPU us':>8}{'p50 ms':>8}{'p99 ms':>8}{busy:>24}{'RSS MB':>8}")
    for row in rows:
        print(
            f"{row.name:34}{row.median(lambda load: load.calls_per_s):>9,.0f}"
            f"{statistics.median(row.cpu_us):>8.0f}"
            f"{row.median(lambda load: load.p50_ms):>8.2f}"
            f"{row.median(lambda load: load.p99_ms):>8.2f}"
            f"{row.median(lambda load: load.p99_ms, busy=True):>24.1f}{row.rss_kib / 1024:>8.0f}"
        )
    others = [row for row in rows if row.vendor != OURS]
    print("\nour calls/s as a multiple of theirs")
    _show_matrix(rows, others, _calls_ratio)
    print("\nour calls per second of processor time as a multiple of theirs")
    _show_matrix(rows, others, _cpu_ratio)
    print(f"\nour p99 at {MANY_CONNECTIONS} connections as a multiple of theirs")
    _show_matrix(rows, others, _tail_ratio)


def _show_matrix(rows: list[Row], others: list[Row], ratio: Callable[[Row, Row], float]) -> None:
    print(" " * 34 + "".join(f"{row.vendor:>13}" for row in others))
    print(" " * 34 + "".join(f"{row.door.split()[-1]:>13}" for row in others))
    for mine in (row for row in rows if row.vendor == OURS):
        print(f"{mine.name:34}" + "".join(f"{ratio(mine, other):>13.2f}" for other in others))


def _calls_ratio(mine: Row, other: Row) -> float:
    pairs = zip(mine.loads, other.loads, strict=True)
    return statistics.median(a.calls_per_s / b.calls_per_s for a, b in pairs)


def _cpu_ratio(mine: Row, other: Row) -> float:
    pairs = zip(mine.cpu_us, other.cpu_us, strict=True)
    return statistics.median(theirs / ours for ours, theirs in pairs)


def _tail_ratio(mine: Row, other: Row) -> float:
    pairs = zip(mine.busy_loads, other.busy_loads, strict=True)
    return statistics.median(a.p99_ms / b.p99_ms for a, b in pairs)


def show_conditions(options: argparse.Namespace) -> None:
    """Print what has to stand beside the numbers."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, tool_call {' '.join(sys.argv[1:])}")
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, load generator: {generator()}"
    )
    print(f"ours: {versions(sys.executable, *OUR_PACKAGES)}")
    if not options.without_peers:
        logging = "their logs at WARNING" if options.quiet_peers else "logging as by default"
        print(f"peers: {versions(peer_python(), *PEER_PACKAGES)}; {logging}")
    print(
        f"{options.rounds} rounds; {CONNECTIONS} connections for {options.seconds} s, then "
        f"{MANY_CONNECTIONS} for {options.busy_seconds} s; medians"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, within 40 s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help=f"with {CONNECTIONS} connections")
    parser.add_argument("--busy-seconds", type=int, default=1, help=f"with {MANY_CONNECTIONS}")
    parser.add_argument("--without-peers", action="store_true", help="ours and bare FastAPI only")
    parser.add_argument("--quiet-peers", action="store_true", help="their log level at WARNING")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1
    if not options.without_peers:
        peer_python()
    show_conditions(options)
    started = time.monotonic()
    with all_rows(options) as rows:
        for number in range(options.rounds):
            for row in rows:
                print(f"\rround {number + 1}: {row.name:40}", end="", file=sys.stderr, flush=True)
                row.measure(options.seconds, options.busy_seconds)
        print(f"\r{'':50}\r", end="", file=sys.stderr)
        show(rows)
    print(f"\ntook {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
