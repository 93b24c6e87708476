"""Our bridge beside those of others, each with the same stdio server behind it, in one run.

`python -m benchmarks.bridge [--quick] [--child minimal|server-everything]`

All bridges run at once and are loaded in turns, one at a time; the turns are repeated and medians
are shown. Ratios, and what a bridge adds to the child's own time, are made within a round before
their median is taken. Then each is tried with what breaks bridges: a session for each call, a
result of 8 MiB, many sessions at once.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from benchmarks.bridges import children, servers
from benchmarks.bridges.children import Direct, direct
from benchmarks.bridges.servers import Peer
from benchmarks.bridges.visitor import Kind, NotAnswered, Visitor
from benchmarks.load import Load, generator, measure
from benchmarks.processes import Server

IN_FLIGHT = 16
SESSIONS, CALLS_A_SESSION = 20, 10
BLOB_MIB, BLOB_TIME_LIMIT_S = 8, 20.0
LENGTH_TOLERANCE = 0.1
LEAST_TURNS = 5
T = TypeVar("T")
ARGUMENTS = {"message": "The bridge has to bring exactly this back."}
GOAL_RATIO, GOAL_ADDED_MS, GOAL_SESSION_A_CALL = 4.0, 0.5, 2.0
DOORS: dict[Kind, str] = {
    "rpc": "/rpc",
    "session": "/mcp 2025-11-25 session",
    "modern": "/mcp 2026-07-28",
}


@dataclass(slots=True)
class Row:
    """One door of one bridge, and what was measured there, round by round.

    Attributes:
        singles: With one connection, so that nothing waits for anything else.
        added_ms: Median of `singles` less the child's own in the same round.
        cpu_us: Processor time of the bridge, without its children, for each call.
        session_a_call_ms: Initialize, initialized, tools/call, DELETE, all of them together.
        plain_ms: One call in a session that stays, in turns with `session_a_call_ms`.
        troubles: What did not work.
    """

    bridge: str
    kind: Kind
    server: Server
    visitor: Visitor
    loads: list[Load] = field(default_factory=list)
    singles: list[Load] = field(default_factory=list)
    added_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    session_a_call_ms: list[float] = field(default_factory=list)
    plain_ms: list[float] = field(default_factory=list)
    blob_ms: float | None = None
    right_sessions: int | None = None
    troubles: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return what the tables call it."""
        return f"{self.bridge} {DOORS[self.kind]}" if self.is_ours else self.bridge

    @property
    def is_ours(self) -> bool:
        """Return whether the bridge is ours."""
        return self.bridge == servers.OURS

    def calls_per_s(self) -> float:
        """Return the median over the rounds."""
        return statistics.median(load.calls_per_s for load in self.loads)

    def measure(self, seconds: float, child_ms: float) -> None:
        """Load it once; `child_ms` is what the child takes by itself."""
        cpu_s = self.server.cpu_s()
        load = self._load(IN_FLIGHT, seconds, self.loads)
        self.cpu_us.append((self.server.cpu_s() - cpu_s) / load.calls * 1e6)
        single = self._load(1, 1, self.singles)
        self.added_ms.append(single.p50_ms - child_ms)

    def _load(self, connections: int, seconds: float, before: list[Load]) -> Load:
        call = self.visitor.template("echo", ARGUMENTS)
        load = measure(self.server.port, call, connections=connections, seconds=seconds)
        before.append(load)
        expected = before[0].bytes_per_call
        if load.errors or abs(load.bytes_per_call - expected) > expected * LENGTH_TOLERANCE:
            raise NotAnswered(f"{self.name} under load: {load}")
        check_echo(self.visitor, ARGUMENTS["message"])
        return load

    def attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """Do what bridges are known to fail at; a failure is noted."""
        try:
            return work()
        except (OSError, NotAnswered) as error:
            self.troubles.append(f"{self.name}, {what}: {type(error).__name__} {error}"[:300])
            return None


def check_echo(visitor: Visitor, message: str) -> None:
    """Call `echo` once.

    Raises:
        NotAnswered: What comes back is something else.
    """
    said = visitor.call("echo", {"message": message})
    if said != f"Echo: {message}":
        raise NotAnswered(f"echo of {message!r} is {said[:100]!r}")


# --- what is tried once ---------------------------------------------------------------------------


def try_sessions(row: Row, seconds: float) -> None:
    """Let calls in a session that stays, and calls with a session to themselves, take turns."""
    with Visitor(row.server.port, row.kind) as visitor:

        def visit() -> None:
            visitor.begin()
            check_echo(visitor, "once")
            visitor.end()

        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline or len(row.plain_ms) < LEAST_TURNS:
            row.plain_ms.append(_ms(lambda: check_echo(row.visitor, "again")))
            if row.kind == "session":
                row.session_a_call_ms.append(_ms(visit))


def _ms(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def blob_ms(row: Row) -> float:
    """Return how long a large result takes, in a session of its own."""
    with Visitor(row.server.port, row.kind, time_limit_s=BLOB_TIME_LIMIT_S) as visitor:
        visitor.begin()
        started = time.perf_counter()
        said = visitor.call("blob", {"mebibytes": BLOB_MIB})
        took_s = time.perf_counter() - started
        if len(said) != BLOB_MIB * 1024 * 1024:
            raise NotAnswered(f"{len(said):,} characters came of {BLOB_MIB} MiB")
        visitor.end()
        return took_s * 1e3


def right_sessions(row: Row) -> int:
    """Return how many of many sessions at once got their own answers only.

    All use the same JSON-RPC id, which is what bridges with one child have mixed up.
    """
    start = threading.Barrier(SESSIONS)
    right: list[int] = []

    def visit(number: int) -> None:
        with Visitor(row.server.port, row.kind) as visitor:
            try:
                visitor.begin()
            finally:
                start.wait()
            for turn in range(CALLS_A_SESSION):
                check_echo(visitor, f"secret {number} of turn {turn}")
            right.append(number)
            visitor.end()

    def try_to_visit(number: int) -> None:
        row.attempt(f"session {number}", partial(visit, number))

    threads = [threading.Thread(target=try_to_visit, args=(n,)) for n in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(right)


# --- one child ------------------------------------------------------------------------------------


@contextmanager
def all_rows(child: str, options: argparse.Namespace) -> Iterator[list[Row]]:
    """Start every bridge and yield the doors, each of which has answered."""
    with ExitStack() as stack:
        rows: list[Row] = []

        def add(bridge: str, server: Server, kind: Kind) -> None:
            visitor = stack.enter_context(Visitor(server.port, kind))
            visitor.begin()
            check_echo(visitor, "first")
            rows.append(Row(bridge, kind, server, visitor))

        if not options.without_ours:
            server = stack.enter_context(servers.ours(child))
            for kind in DOORS:
                add(servers.OURS, server, kind)
        for peer in options.peers:
            add(peer.name, stack.enter_context(servers.peer(peer, child)), "session")
        yield rows


@dataclass(slots=True)
class Alone:
    """The child without a bridge, round by round."""

    p50_ms: list[float] = field(default_factory=list)
    calls_per_s: list[float] = field(default_factory=list)

    def measure(self, child: Direct, seconds: float) -> float:
        """Measure once and return the median in milliseconds."""
        params = {"name": "echo", "arguments": ARGUMENTS}
        self.p50_ms.append(child.p50_ms(params, seconds))
        self.calls_per_s.append(child.calls_per_s(params, seconds, IN_FLIGHT))
        return self.p50_ms[-1]


def measure_child(child: str, options: argparse.Namespace) -> None:
    """Measure all bridges in front of one child and print what came of it."""
    alone = Alone()
    with all_rows(child, options) as rows, direct(child) as spoken_to:
        for number in range(options.rounds):
            child_ms = alone.measure(spoken_to, options.seconds / 2)
            for row in rows:
                _tell(f"{child}, round {number + 1}: {row.name}")
                row.measure(options.seconds, child_ms)
        for row in rows:
            _tell(f"{child}, sessions: {row.name}")
            row.attempt("sessions", partial(try_sessions, row, options.seconds))
            row.right_sessions = right_sessions(row)
            if child == children.MINIMAL:
                row.blob_ms = row.attempt(f"{BLOB_MIB} MiB", partial(blob_ms, row))
    _tell("")
    show(child, alone, rows)


def _tell(what: str) -> None:
    print(f"\r{what:70}\r", end="", file=sys.stderr, flush=True)


# --- what is shown --------------------------------------------------------------------------------


def show(child: str, alone: Alone, rows: list[Row]) -> None:
    """Print the tables of one child."""
    print(
        f"\n{child}: spoken to directly {statistics.median(alone.p50_ms):.2f} ms a call, "
        f"{statistics.median(alone.calls_per_s):,.0f} calls/s with {IN_FLIGHT} in flight\n"
    )
    print(
        f"{'':31}{'calls/s':>9}{'CPU us':>8}{'p50 ms':>8}{'p99 ms':>8}{'added ms':>10}"
        f"{'plain ms':>10}{'session a call':>16}{f'{BLOB_MIB} MiB ms':>10}{'right':>7}"
    )
    for row in rows:
        print(
            f"{row.name:31}{row.calls_per_s():>9,.0f}{statistics.median(row.cpu_us):>8.0f}"
            f"{statistics.median(load.p50_ms for load in row.loads):>8.2f}"
            f"{statistics.median(load.p99_ms for load in row.loads):>8.1f}"
            f"{statistics.median(row.added_ms):>10.2f}{_median(row.plain_ms):>10}"
            f"{_median(row.session_a_call_ms):>16}{_cell(row.blob_ms, 0):>10}"
            f"{f'{row.right_sessions}/{SESSIONS}':>7}"
        )
    for trouble in dict.fromkeys(trouble for row in rows for trouble in row.troubles):
        print(f"  ! {trouble}")
    ours = [row for row in rows if row.is_ours]
    others = [row for row in rows if not row.is_ours]
    if ours and others:
        show_ratios(ours, others)
    if ours:
        show_goals(ours, others)


def _median(values: list[float]) -> str:
    return _cell(statistics.median(values) if values else None, 2)


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def show_ratios(ours: list[Row], others: list[Row]) -> None:
    """Print our calls a second, and those of a second of processor time, as multiples of theirs."""
    print("\nour calls/s as a multiple of theirs")
    _show_matrix(ours, others, lambda mine, other: _ratio(mine, [other]))
    print("\nour calls per second of processor time as a multiple of theirs")
    _show_matrix(ours, others, _cpu_ratio)


def _show_matrix(ours: list[Row], others: list[Row], ratio: Callable[[Row, Row], float]) -> None:
    print(" " * 31 + "".join(f"{row.bridge:>26}" for row in others))
    for mine in ours:
        print(f"{mine.name:31}" + "".join(f"{ratio(mine, row):>26.1f}" for row in others))


def _cpu_ratio(mine: Row, other: Row) -> float:
    pairs = zip(mine.cpu_us, other.cpu_us, strict=True)
    return statistics.median(theirs / ours for ours, theirs in pairs)


def _ratio(mine: Row, others: list[Row]) -> float:
    best = [max(load.calls_per_s for load in loads) for loads in _rounds(others)]
    pairs = zip(mine.loads, best, strict=True)
    return statistics.median(load.calls_per_s / most for load, most in pairs)


def _rounds(rows: list[Row]) -> Iterator[tuple[Load, ...]]:
    return zip(*(row.loads for row in rows), strict=True)


def show_goals(ours: list[Row], others: list[Row]) -> None:
    """Print what was promised beside what was measured."""
    print()
    for row in ours:
        if others:
            ratio = _ratio(row, others)
            _goal(f"{row.name}: {ratio:.1f} times the best peer", ratio >= GOAL_RATIO, GOAL_RATIO)
        added_ms = statistics.median(row.added_ms)
        _goal(f"{row.name}: {added_ms:.2f} ms added", added_ms <= GOAL_ADDED_MS, GOAL_ADDED_MS)
        if row.session_a_call_ms:
            pairs = zip(row.session_a_call_ms, row.plain_ms, strict=True)
            times = statistics.median(visit / plain for visit, plain in pairs)
            what = f"{row.name}: a session a call (4 requests) takes {times:.1f} plain calls"
            _goal(what, times <= GOAL_SESSION_A_CALL, GOAL_SESSION_A_CALL)


def _goal(what: str, is_met: bool, goal: float) -> None:
    print(f"{'met   ' if is_met else 'MISSED'}  {what} (goal {goal:g})")


def show_conditions(options: argparse.Namespace) -> None:
    """Print what has to stand beside the numbers."""
    version = subprocess.run([children.node(), "--version"], capture_output=True, check=True)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, bridge {' '.join(sys.argv[1:])}")
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, Node.js {version.stdout.decode().strip()}, load generator: "
        f"{generator()}"
    )
    if not options.without_peers:
        how = "as pip installs them" if options.plain_peers else "with uvicorn[standard]"
        print(f"peers: {', '.join(servers.versions_of_peers())}; those in Python {how}")
    print(
        f"{options.rounds} rounds; {IN_FLIGHT} connections for {options.seconds} s, then one for "
        f"1 s; medians"
    )


def _peers(options: argparse.Namespace) -> tuple[Peer, ...]:
    if options.without_peers:
        return ()
    return servers.plain_peers() if options.plain_peers else servers.fast_peers()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round with the minimal")
    parser.add_argument("--child", choices=children.NAMES, help="both by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help=f"with {IN_FLIGHT} connections")
    parser.add_argument("--plain-peers", action="store_true", help="peers as pip installs them")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--without-ours", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1
        options.child = options.child or children.MINIMAL
    options.peers = _peers(options)
    show_conditions(options)
    started = time.monotonic()
    for child in [options.child] if options.child else children.NAMES:
        measure_child(child, options)
    print(f"\ntook {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
