"""Logs of four formats, rotated and partly compressed, the same for the same size.

Lines are written at a constant rate that ends at `END`, so that twice the size is twice the time,
and any window near the end holds as much in every size. Each line is made of a template of
`TEMPLATES`, whose number is known to whoever asks (`labelled`).
"""

from __future__ import annotations

import calendar
import gzip
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

END = 1_795_176_000.0  # 2026-11-20 12:00:00 UTC
LINES_A_SECOND = 100
NEEDLE = "needle_in_haystack"
NEEDLES = 5
POOL = 5_000
USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
TABLES = ("users", "orders", "items", "payments", "sessions")
TEMPLATES = (
    "user {user} logged in from {ip}",
    "user {user} logged out after {n} s",
    "connection {n} to {ip}:{port} closed by peer",
    "cache miss for key {hex} in {f} ms",
    "cache hit for key {hex}",
    "job {uuid} finished in {f}s with status ok",
    "job {uuid} finished in {f}s with status failed",
    "worker-{n} picked up task {uuid} from queue default",
    "query on table {table} took {f} ms, {n} rows",
    "slow query on table {table}: {f} ms",
    "could not open file '/var/lib/app/{hex}.dat': permission denied",
    "retrying request {hex} in {f}s (attempt {n} of 5)",
    "payment {n} for order {hex} accepted",
    "payment {n} for order {hex} declined: insufficient funds",
    "sent mail to {user}@example.com in {n} ms",
    "disk /dev/sda1 at {n} percent",
    "heartbeat from node {hex} received",
    "configuration reloaded from /etc/app/{table}.yaml",
    "certificate for {ip} expires in {n} days",
    "rate limit reached for client {ip}, {n} requests dropped",
)
LEVELS = ("DEBUG", "INFO", "INFO", "INFO", "INFO", "WARNING", "ERROR")
PATHS = ("/", "/health", "/api/users/{n}", "/api/orders/{hex}", "/static/app.js", "/login")


@dataclass(frozen=True, slots=True)
class Set:
    """A set of logs.

    Attributes:
        path: Its folder, with `plain` and `packed`, each with one folder for each source.
        plain: The files that are not compressed.
        packed: The others.
    """

    path: Path
    plain: list[Path]
    packed: list[Path]

    @property
    def bytes(self) -> int:
        """Of the plain files."""
        return sum(path.stat().st_size for path in self.plain)


def _filled(chance: random.Random, template: str) -> str:
    return template.format(
        user=chance.choice(USERS),
        table=chance.choice(TABLES),
        ip=".".join(str(chance.randrange(1, 255)) for _ in range(4)),
        port=chance.randrange(1024, 65_536),
        n=chance.randrange(10_000),
        f=f"{chance.random() * 100:.2f}",
        hex=f"{chance.getrandbits(64):016x}",
        uuid=f"{chance.getrandbits(32):08x}-0b1c-4d2e-8f3a-{chance.getrandbits(48):012x}",
    )


def labelled(count: int, seed: int = 1) -> list[tuple[int, str]]:
    """Return messages, each with the number of its template."""
    chance = random.Random(seed)
    numbers = [chance.randrange(len(TEMPLATES)) for _ in range(count)]
    return [(number, _filled(chance, TEMPLATES[number])) for number in numbers]


# --- formats -------------------------------------------------------------------------------------


def _json(chance: random.Random) -> Callable[[str], str]:
    level, message = chance.choice(LEVELS), _filled(chance, chance.choice(TEMPLATES))
    rest = (
        f'"level":"{level}","logger":"app","message":"{message}","service":"shop",'
        f'"correlation_id":"{chance.getrandbits(128):032x}"}}'
    )
    return lambda stamp: f'{{"timestamp":"{stamp}Z",{rest}'


def _access(chance: random.Random) -> Callable[[str], str]:
    path = _filled(chance, chance.choice(PATHS))
    status = chance.choice((200, 200, 200, 200, 304, 404, 500))
    ip = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
    rest = (
        f'"GET {path} HTTP/1.1" {status} {chance.randrange(20_000)} "-" '
        f'"Mozilla/5.0 (X11; Linux x86_64)" {chance.random():.3f}'
    )

    def line(stamp: str) -> str:
        day, clock = stamp[:10].split("-"), stamp[11:19]
        return f"{ip} - - [{day[2]}/{_MONTHS[int(day[1])]}/{day[0]}:{clock} +0000] {rest}"

    return line


_MONTHS = ("", *calendar.month_abbr[1:])


def _text(chance: random.Random) -> Callable[[str], str]:
    rest = f"{chance.choice(LEVELS)} worker {_filled(chance, chance.choice(TEMPLATES))}"
    return lambda stamp: f"{stamp[:10]} {stamp[11:19]},{stamp[20:23]} {rest}"


def _syslog(chance: random.Random) -> Callable[[str], str]:
    rest = f"host app[{chance.randrange(30_000)}]: {_filled(chance, chance.choice(TEMPLATES))}"
    return lambda stamp: f"{_MONTHS[int(stamp[5:7])]} {stamp[8:10]:>2} {stamp[11:19]} {rest}"


SOURCES = (
    ("app/app.log", _json, 0.4),
    ("web/access.log", _access, 0.3),
    ("jobs/worker.log", _text, 0.2),
    ("sys/syslog", _syslog, 0.1),
)
GENERATIONS = ((".2.gz", 0.25), (".1", 0.25), ("", 0.5))
"""Ending after rotation and share of the source's bytes, oldest first."""


# --- files ---------------------------------------------------------------------------------------


def generate(folder: Path, megabytes: int) -> Set:
    """Write a set of so many MB, compressed files counted as they are unpacked."""
    plain: list[Path] = []
    packed: list[Path] = []
    for number, (name, make, share) in enumerate(SOURCES):
        total = int(megabytes * 1e6 * share)
        lines = _lines(make, number, total)
        for ending, part in GENERATIONS:
            kind = "packed" if ending.endswith(".gz") else "plain"
            path = folder / kind / f"{name}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            last = _write(path, lines, int(total * part))
            os.utime(path, (last, last))
            (packed if kind == "packed" else plain).append(path)
    return Set(folder, plain, packed)


def _lines(
    make: Callable[[random.Random], Callable[[str], str]], seed: int, total: int
) -> Iterator[tuple[float, str]]:
    """Yield (time, line) for ever, so that `total` bytes end at `END`."""
    chance = random.Random(seed)
    pool = [make(chance) for _ in range(POOL)]
    length = sum(len(line("2026-11-20T12:00:00.000")) + 1 for line in pool) / POOL
    at = END - int(total / length) / LINES_A_SECOND
    step, number = 1 / LINES_A_SECOND, 0
    while True:
        second = f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%S}"
        until = int(at) + 1
        while at < until:
            number += 1
            stamp = f"{second}.{int((at % 1) * 1000):03d}"
            yield at, pool[number * 7_919 % POOL](stamp)
            at += step


def _write(path: Path, lines: Iterator[tuple[float, str]], size: int) -> float:
    """Write lines up to a size, with a needle here and there; returns the last one's time."""
    written, last, needles = 0, 0.0, 0
    with gzip.open(path, "wb", 5) if path.suffix == ".gz" else open(path, "wb") as file:
        while written < size:
            batch = [next(lines) for _ in range(min(5_000, 1 + (size - written) // 300))]
            last = batch[-1][0]
            if written >= needles * size / NEEDLES:
                needles += 1
                batch[0] = (batch[0][0], f"{batch[0][1]} {NEEDLE}")
            data = "\n".join(line for _, line in batch).encode() + b"\n"
            file.write(data)
            written += len(data)
    return last
