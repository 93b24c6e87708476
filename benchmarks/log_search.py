"""How long searches in 1 GB of logs take, beside ripgrep and zgrep; and templates, beside drain3.

`python -m benchmarks.log_search [--megabytes 1000] [--rounds 3] [--without-drain]`

Logs of four formats, rotated and partly compressed, are made in a temporary folder. Each round runs
a search once in each program, one after the other, so that what else the machine does falls on all
alike; medians are shown, and medians of the rounds' ratios. Ours is one call over HTTP to a server
that runs: it takes every entry that matches apart, counts it by minute, and returns the newest ten.
ripgrep, with one thread, and zgrep only count lines. What they find is compared first.

Then one question about 30 seconds is asked of 10 MB, 100 MB and everything, which should take the
same. At last templates are found in 100 MB by log_patterns and by drain3 (in an environment of its
own, installed at first use), and in lines of known templates: which share of the lines is in groups
that are exactly right.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.logs.generate import END, NEEDLE, Set, generate, labelled
from benchmarks.peers import python_environment, versions
from benchmarks.processes import Server, free_port, our_environment, running
from services.monitoring.logs.patterns import mask, merge

DRAIN = ("drain3==0.9.11",)
SCRIPT = Path(__file__).parent / "logs" / "drain.py"
SMALL = (10, 100)
COMMON = "insufficient funds"
RARE_REGEX = r"needle_in_\w+"
NO_TEXT = r"[0-9a-f]{14}77 [a-z]{2} \d\d\."
WINDOW_S = 30
RIPGREP = ("rg", "-j1", "--no-config", "--no-ignore", "--no-filename", "-c")
LABELLED = 20_000


# --- programs ------------------------------------------------------------------------------------


class Ran(NamedTuple):
    """What a program did.

    Attributes:
        found: Lines, or entries.
        rss_kib: The most memory it had; 0 where it is not measured.
    """

    found: int
    seconds: float
    rss_kib: int = 0


class Ours:
    """Our server, called over one connection that stays open."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return the structured answer of a call; raises RuntimeError when there is none."""
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        self._http.request("POST", "/rpc", json.dumps(body), {"Content-Type": "application/json"})
        result = json.loads(self._http.getresponse().read())["result"]
        if result["isError"] or result["structuredContent"]["partial"]:
            raise RuntimeError(f"ours: {str(result)[:500]}")
        answer: dict[str, Any] = result["structuredContent"]
        return answer

    def search(self, **arguments: Any) -> Ran:
        """Count what search_logs finds."""
        started = time.perf_counter()
        answer = self.call("search_logs", count_all=True, limit=10, **arguments)
        return Ran(answer["matched"], time.perf_counter() - started)

    def memory_mib(self) -> tuple[float, float]:
        """Return the greatest resident memory so far of the server, and of its largest worker."""
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children")
        workers = [_peak_mib(int(pid)) for pid in children.read_text().split()]
        return _peak_mib(self.server.pid), max(workers, default=0.0)


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def our_monitoring(sets: Sequence[Set]) -> Iterator[Ours]:
    """Run our service on sets of logs, with limits that let one call read everything."""
    port = free_port()
    environment = our_environment("log-search", port)
    folders = [logs.path / kind for logs in sets for kind in ("plain", "packed")]
    environment |= {
        "MCP_MONITORING_LOG_ROOTS": ",".join(f"{name_of(path)}={path}" for path in folders),
        "MCP_MONITORING_LOG_MAX_BYTES": "4000000000",
        "MCP_MONITORING_LOG_TIME_LIMIT_S": "60",
    }
    command = [sys.executable, "-m", "services.monitoring"]
    with running("log-search", command, port=port, environment=environment) as server:
        yield Ours(server)


def counted(command: Sequence[str | Path]) -> Ran:
    """Run a program that prints lines or counts, and return what it has found."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    counts = (line.rpartition(b":")[2] for line in output.splitlines())
    return Ran(sum(map(int, counts)), time.perf_counter() - started, usage.ru_maxrss)


# --- searches ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Search:
    """One search: what each program does for it, and how it went in each round."""

    name: str
    programs: dict[str, Callable[[], Ran]]
    runs: dict[str, list[Ran]] = field(default_factory=lambda: defaultdict(list))

    def check(self) -> int:
        """Return what all programs find, which has to be the same; also warms the caches."""
        found = {name: run().found for name, run in self.programs.items()}
        if len(set(found.values())) != 1:
            raise RuntimeError(f"{self.name}: {found}")
        return next(iter(found.values()))

    def measure(self) -> None:
        """Run it once in each program."""
        for name, run in self.programs.items():
            self.runs[name].append(run())

    def show(self) -> None:
        """Print its row."""
        (peer,) = (name for name in self.programs if name != "ours")
        ours, theirs = self.runs["ours"], self.runs[peer]
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True))
        seconds = [statistics.median(run.seconds for run in runs) for runs in (ours, theirs)]
        rss = max(run.rss_kib for run in theirs) / 1024
        print(
            f"{self.name:34}{seconds[0]:>9.3f}{peer:>9}{seconds[1]:>9.3f}{ratio:>9.2f}{rss:>12.0f}",
            flush=True,
        )


def searches(ours: Ours, logs: Set) -> list[Search]:
    """Return the table of searches in one set; compressed files are searched beside zgrep."""
    plain, packed = (name_of(logs.path / kind) for kind in ("plain", "packed"))

    def beside(peer: str, name: str, command: list[str | Path], **arguments: Any) -> Search:
        return Search(
            name,
            {"ours": lambda: ours.search(**arguments), peer: lambda: counted(command)},
        )

    def ripgrep(name: str, options: list[str], **arguments: Any) -> Search:
        command: list[str | Path] = [*RIPGREP, *options, logs.path / "plain"]
        return beside("rg -j1", name, command, sources=[plain], **arguments)

    def zgrep(name: str, options: list[str], **arguments: Any) -> Search:
        command: list[str | Path] = ["zgrep", "-hc", *options, *logs.packed]
        return beside("zgrep", name, command, sources=[packed], order="oldest", **arguments)

    return [
        ripgrep("text, rare", ["-F", NEEDLE], text=NEEDLE),
        ripgrep("expression, rare", [RARE_REGEX], regex=RARE_REGEX),
        ripgrep("expression, no text in it", [NO_TEXT], regex=NO_TEXT),
        ripgrep("text, common, all counted", ["-F", COMMON], text=COMMON),
        zgrep("compressed: text, rare", ["-F", NEEDLE], text=NEEDLE),
        zgrep("compressed: expression, rare", ["-P", RARE_REGEX], regex=RARE_REGEX),
    ]


def name_of(folder: Path) -> str:
    """Return the name of a root."""
    return f"{folder.name}-{folder.parent.name}"


def measure_searches(ours: Ours, logs: Set, rounds: int) -> None:
    """Run the searches in turn and print them."""
    table = searches(ours, logs)
    print(f"\n{'':34}{'ours s':>9}{'peer':>9}{'peer s':>9}{'ratio':>9}{'peer MiB':>12}")
    for search in table:
        found = search.check()
        for _ in range(rounds):
            search.measure()
        search.name += f" ({found:,})"
        search.show()


# --- one question, whatever the size -------------------------------------------------------------


def measure_window(ours: Ours, sets: Sequence[Set], rounds: int) -> None:
    """Ask all sizes about the same half minute, near the end, and print how long that took."""
    middle = END - 60
    window = {"since": _iso(middle), "until": _iso(middle + WINDOW_S)}
    print(f"\n{f'{WINDOW_S} s of logs, by text':34}{'found':>9}{'ms':>9}{'read MB':>12}")
    for logs in sets:
        sources = [name_of(logs.path / "plain")]
        times = []
        for _ in range(max(3, rounds)):
            started = time.perf_counter()
            answer = ours.call(
                "search_logs", sources=sources, text=COMMON, count_all=True, limit=10, **window
            )
            times.append(time.perf_counter() - started)
        read = answer["scanned_bytes"] / 1e6
        ms = statistics.median(times) * 1e3
        print(f"{logs.bytes / 1e6:>11,.0f} MB{answer['matched']:>29}{ms:>9.1f}{read:>12.1f}")


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


# --- templates -----------------------------------------------------------------------------------


def drain_python() -> str:
    """Return the interpreter of drain3's environment, made at first use."""
    return python_environment("log-peers", DRAIN)


def measure_templates(ours: Ours, logs: Set, python: str) -> None:
    """Find templates in one set with both, and print lines a second."""
    plain = name_of(logs.path / "plain")
    started = time.perf_counter()
    answer = ours.call("log_patterns", sources=[plain], since="10000d", until=_iso(END + 60))
    seconds = time.perf_counter() - started
    done = subprocess.run([python, SCRIPT, *logs.plain], capture_output=True, check=True)
    theirs = json.loads(done.stdout)
    rates = (answer["lines"] / seconds, theirs["lines"] / theirs["seconds"])
    print(f"\n{f'templates in {logs.bytes / 1e6:,.0f} MB':34}{'lines/s':>12}{'templates':>12}")
    print(f"{'ours, log_patterns':34}{rates[0]:>12,.0f}{answer['total']:>12,}")
    print(f"{'drain3':34}{rates[1]:>12,.0f}{theirs['templates']:>12,}")
    print(f"{'ours/drain3':34}{rates[0] / rates[1]:>12.1f}")


def measure_grouping(python: str) -> None:
    """Group lines of known templates with both, and print the share that is exactly right."""
    lines = labelled(LABELLED)
    messages = [message for _, message in lines]
    merged = merge(map(mask, messages))
    done = subprocess.run(
        [python, SCRIPT, "-"], input="\n".join(messages), capture_output=True, check=True, text=True
    )
    truth = [number for number, _ in lines]
    for name, groups in (
        ("ours", [merged[mask(message)] for message in messages]),
        ("drain3", done.stdout.split()),
    ):
        share = accuracy(truth, groups)
        print(f"{f'{name}, grouping accuracy':34}{share:>12.3f}{len(set(groups)):>12,}")


def accuracy(truth: Sequence[Any], groups: Sequence[Any]) -> float:
    """Return the share of lines whose group has exactly the lines of one template.

    Source: Zhu et al., Tools and Benchmarks for Automated Log Parsing, ICSE-SEIP 2019.
    """
    right = set(_sets(truth))
    return sum(len(group) for group in _sets(groups) if group in right) / len(truth)


def _sets(labels: Sequence[Any]) -> list[frozenset[int]]:
    members: dict[Any, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        members[label].append(number)
    return [frozenset(numbers) for numbers in members.values()]


# --- all of it -----------------------------------------------------------------------------------


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Make the logs and measure everything."""
    sizes = [*(size for size in SMALL if size < options.megabytes), options.megabytes]
    sets = [generate(folder / str(size), size) for size in sizes]
    largest = sets[-1]
    packed = sum(path.stat().st_size for path in largest.packed)
    print(
        f"{largest.bytes / 1e6:,.0f} MB in {len(largest.plain)} files, {packed / 1e6:,.0f} MB in "
        f"{len(largest.packed)} compressed ones; {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}; {options.rounds} rounds"
    )
    with our_monitoring(sets) as ours:
        ours.search(sources=[name_of(sets[0].path / "plain")], text=NEEDLE)
        before = ours.memory_mib()
        measure_window(ours, sets, options.rounds)
        measure_searches(ours, largest, options.rounds)
        after = ours.memory_mib()
        print("\nour memory at most, MiB: server, worker")
        print(f"{'after 10 MB':34}{before[0]:>9.0f}{before[1]:>9.0f}")
        print(f"{'after everything':34}{after[0]:>9.0f}{after[1]:>9.0f}")
        if not options.without_drain:
            python = drain_python()
            print(f"\n{versions(python, 'drain3')}")
            measure_templates(ours, sets[min(1, len(sets) - 1)], python)
            measure_grouping(python)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-drain", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="log-search-") as folder:
        measure(options, Path(folder))


if __name__ == "__main__":
    main()
