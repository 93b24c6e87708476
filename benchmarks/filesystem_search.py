"""How long searches take in a tree of 12,000 files, beside ripgrep and the official server.

`python -m benchmarks.filesystem_search [--rounds 9] [--files 12000] [--processes auto]`

Each round runs every search once in each program, one after the other, so that what else the
machine does falls on all alike; medians are shown, and medians of the rounds' ratios. Ours is one
call over HTTP to a server that runs, with all results in the answer; like ripgrep it looks into
files with every core (`--processes` says otherwise), but one walks and tells. ripgrep is a process
of its own for each search, its start included; the official server answers on the pipes it is made
for, and has no search in contents. What they find is compared before anything is measured.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import CACHE
from benchmarks.processes import Server, free_port, our_environment, running

OFFICIAL = "@modelcontextprotocol/server-filesystem@2026.8.31"
RARE, COMMON = "needle_in_haystack", "CommonMarker"
RIPGREP = ["rg", "--no-config", "--hidden", "--glob=!.git", "--no-require-git", "--no-heading"]
ALL = {"limit": 10_000, "max_bytes": 900_000}
EXTENSIONS = ("py", "ts", "js", "md", "json", "txt", "c", "h", "yaml", "css", "log", "pyc")
IGNORED = "*.pyc\nnode_modules/\n*.log\n!keep.log\n/dist\n**/cache/*.bin\n"
IGNORED_BELOW = "*.tmp\n/build/\n"
LINES_OF_COMMON = f"def handler(request):\n    return {COMMON}(request)\n"


# --- the tree ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tree:
    """The files that are searched; the same for the same number of files."""

    path: Path
    files: int
    bytes: int
    directories: int


def tree_of(files: int) -> Tree:
    """Return the tree, made at first use below the cache."""
    path = CACHE / f"search-tree-{files}"
    facts = path.with_suffix(".json")
    if not facts.exists():
        shutil.rmtree(path, ignore_errors=True)
        size, directories = _grow(path, files)
        facts.write_text(json.dumps([size, directories]), encoding="utf-8")
    size, directories = json.loads(facts.read_text(encoding="utf-8"))
    return Tree(path, files, size, directories)


def _grow(root: Path, files: int) -> tuple[int, int]:
    """Write files of log-normal sizes (median 3 kB) in nested directories; some binary, ignored."""
    chance = random.Random(files)  # the same tree each time
    vocabulary = _vocabulary(chance)
    text = _text(chance, vocabulary, 4_000_000)
    directories = _directories(chance, root, files // 10)
    total = 0
    for number in range(files):
        data = _contents(chance, text, number)
        ending = "png" if data[:1] == b"\x89" else chance.choice(EXTENSIONS)
        name = f"{chance.choice(vocabulary)}_{number}.{ending}"
        (chance.choice(directories) / name).write_bytes(data)
        total += len(data)
    return total, len(directories)


def _vocabulary(chance: random.Random) -> list[str]:
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = range(26, 0, -1)
    return [
        "".join(chance.choices(letters, weights, k=chance.randint(2, 11))) for _ in range(3_000)
    ]


def _text(chance: random.Random, vocabulary: list[str], size: int) -> bytes:
    lines: list[str] = []
    left = size
    while left > 0:
        words = " ".join(chance.choices(vocabulary, k=chance.randint(1, 12)))
        lines.append("    " * chance.randint(0, 4) + words)
        left -= len(lines[-1]) + 1
    return "\n".join(lines).encode()


def _directories(chance: random.Random, root: Path, count: int) -> list[Path]:
    root.mkdir(parents=True)
    (root / ".gitignore").write_text(IGNORED, encoding="utf-8")
    made = [root]
    for number in range(count):
        parent = chance.choice(made[-400:])
        while len(parent.relative_to(root).parts) > 9:
            parent = chance.choice(made)
        word = chance.choice(("src", "lib", "test", "docs", "core", "util", "api", "ui", "data"))
        made.append(parent / f"{word}_{number}")
        made[-1].mkdir()
        if chance.random() < 0.03:
            (made[-1] / ".gitignore").write_text(IGNORED_BELOW, encoding="utf-8")
            made.append(made[-1] / "build")
            made[-1].mkdir()
    return made


def _contents(chance: random.Random, text: bytes, number: int) -> bytes:
    size = min(int(chance.lognormvariate(8.0, 1.2)), 1_000_000)
    if chance.random() < 0.04:
        return b"\x89PNG\r\n\x1a\n\0\0" + chance.randbytes(size)
    start = text.find(b"\n", chance.randrange(len(text) - 1_000_000)) + 1
    data = text[start : start + size]
    if number % 2_000 == 17:
        data += f"\nthe {RARE} is here\n".encode()
    return data + b"\n" + LINES_OF_COMMON.encode() if number % 5 == 0 else data


# --- the programs --------------------------------------------------------------------------------


class Ours:
    """Our server, called over one connection that stays open."""

    def __init__(self, server: Server) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def call(self, tool: str, **arguments: Any) -> bytes:
        """Return the body of the answer to a call."""
        params = {"name": tool, "arguments": {"path": "tree", **arguments}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        self._http.request("POST", "/rpc", json.dumps(body), {"Content-Type": "application/json"})
        return self._http.getresponse().read()


def ours_found(body: bytes) -> int:
    """Return how many results an answer of ours has; raises RuntimeError when not all."""
    result = json.loads(body)["result"]
    if result["isError"] or result["structuredContent"]["truncated"]:
        raise RuntimeError(f"ours: {str(result)[:500]}")
    returned: int = result["structuredContent"]["returned"]
    return returned


class Official:
    """The official server, called on its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        client = {"name": "benchmark", "version": "1"}
        self._ask(
            "initialize",
            {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client},
        )
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _ask(self, method: str, params: dict[str, Any]) -> bytes:
        self._send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the official server has ended")
        return line

    def search(self, path: Path, pattern: str) -> bytes:
        """Return the answer of search_files."""
        arguments = {"path": str(path), "pattern": pattern}
        return self._ask("tools/call", {"name": "search_files", "arguments": arguments})


def official_found(line: bytes) -> int:
    """Return how many paths an answer of the official server has."""
    content: str = json.loads(line)["result"]["structuredContent"]["content"]
    return len(content.splitlines())


@contextmanager
def our_filesystem(tree: Tree, processes: str = "auto") -> Iterator[Ours]:
    """Run our service on the tree, with so many search processes."""
    port = free_port()
    environment = our_environment("filesystem-search", port)
    environment["MCP_FILESYSTEM_ROOTS"] = f"tree={tree.path}:read"
    environment["MCP_FILESYSTEM_SEARCH_PROCESSES"] = processes
    command = [sys.executable, "-m", "services.filesystem"]
    with running("filesystem-search", command, port=port, environment=environment) as server:
        yield Ours(server)


@contextmanager
def official_server(tree: Tree) -> Iterator[Official]:
    """Run the official server on the tree; installed at first use."""
    place = CACHE / "node"
    script = place / "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
    if not script.exists():
        subprocess.run(["npm", "install", "--silent", "--prefix", place, OFFICIAL], check=True)
    process = subprocess.Popen(
        ["node", script, tree.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Official(process)
    finally:
        process.terminate()
        process.communicate()


def ripgrep(tree: Tree, *arguments: str) -> bytes:
    """Return what ripgrep prints."""
    done = subprocess.run([*RIPGREP, *arguments, tree.path], capture_output=True, check=True)
    return done.stdout


def ripgrep_found(output: bytes) -> int:
    """Return how many lines ripgrep has printed."""
    return output.count(b"\n")


FOUND = {"ours": ours_found, "ripgrep": ripgrep_found, "official": official_found}


# --- the searches --------------------------------------------------------------------------------


@dataclass(slots=True)
class Search:
    """One search: what each program does for it, returning its answer as bytes.

    Attributes:
        times_ms: By program, one per round.
    """

    name: str
    programs: dict[str, Callable[[], bytes]]
    times_ms: dict[str, list[float]] = field(default_factory=dict)

    def check(self) -> int:
        """Return what all programs find, which has to be the same; also warms the caches."""
        found = {name: FOUND[name](run()) for name, run in self.programs.items()}
        if len(set(found.values())) != 1:
            raise RuntimeError(f"{self.name}: {found}")
        return next(iter(found.values()))

    def measure(self) -> None:
        """Run it once in each program."""
        for name, run in self.programs.items():
            started = time.perf_counter()
            run()
            self.times_ms.setdefault(name, []).append((time.perf_counter() - started) * 1e3)

    def median_ms(self, program: str) -> float | None:
        """Return a program's median."""
        times = self.times_ms.get(program)
        return statistics.median(times) if times else None

    def ratio(self, program: str) -> float | None:
        """Return our time as a multiple of a program's: the median over the rounds."""
        if program not in self.times_ms:
            return None
        pairs = zip(self.times_ms["ours"], self.times_ms[program], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def searches(tree: Tree, ours: Ours, official: Official | None) -> list[Search]:
    """Return the table of searches."""

    def grep(name: str, rg: list[str], **arguments: Any) -> Search:
        return Search(
            name,
            {
                "ours": lambda: ours.call("grep_files", **ALL, **arguments),
                "ripgrep": lambda: ripgrep(tree, *rg),
            },
        )

    def names(name: str, pattern: str) -> Search:
        programs: dict[str, Callable[[], bytes]] = {
            "ours": lambda: ours.call("search_files", pattern=pattern, **ALL),
            "ripgrep": lambda: ripgrep(tree, "--files", "--no-ignore", f"--glob={pattern}"),
        }
        if official is not None:
            programs["official"] = lambda: official.search(tree.path, pattern)
        return Search(name, programs)

    marked = r"\w+Marker\("
    no_text = r"[qxz]\d+[A-Z]|[A-Z]\w+[A-Z]\w+\("
    shouted = RARE.upper()
    return [
        grep("text, rare", ["-Fn", RARE], pattern=RARE, literal=True),
        grep("text, common", ["-Fn", COMMON], pattern=COMMON, literal=True),
        grep(
            "text, common, files only",
            ["-Fl", COMMON],
            pattern=COMMON,
            literal=True,
            output="files",
        ),
        grep("text, any case", ["-Fin", shouted], pattern=shouted, literal=True, ignore_case=True),
        grep("expression", ["-n", marked], pattern=marked),
        grep("expression, no text in it", ["-n", no_text], pattern=no_text),
        names("names, ending", "**/*.md"),
        names("names, pattern", "**/*a*_1?3*.{md,py}"),
    ]


def show(found: list[Search]) -> None:
    """Print the table."""
    programs = ("ours", "ripgrep", "official")
    heads = "".join(f"{name + ' ms':>13}" for name in programs)
    print(f"\n{'':28}{heads}{'ours/ripgrep':>14}{'ours/official':>15}")
    for search in found:
        times = "".join(_cell(search.median_ms(name), 13, 1) for name in programs)
        print(
            f"{search.name:28}{times}"
            f"{_cell(search.ratio('ripgrep'), 14, 2)}{_cell(search.ratio('official'), 15, 2)}"
        )


def _cell(value: float | None, width: int, digits: int) -> str:
    return "-".rjust(width) if value is None else f"{value:>{width}.{digits}f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--files", type=int, default=12_000)
    parser.add_argument("--processes", default="auto", help="search processes; 0 for none")
    parser.add_argument("--without-official", action="store_true", help="needs node and npm")
    options = parser.parse_args()
    tree = tree_of(options.files)
    version = subprocess.run(["rg", "--version"], capture_output=True, text=True, check=True)
    print(
        f"{tree.files:,} files, {tree.bytes / 1e6:.0f} MB, {tree.directories:,} directories; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{version.stdout.splitlines()[0]}; {options.rounds} rounds"
    )
    with ExitStack() as stack:
        ours = stack.enter_context(our_filesystem(tree, options.processes))
        official = None
        if not options.without_official:
            official = stack.enter_context(official_server(tree))
        table = searches(tree, ours, official)
        for search in table:
            print(f"{search.name}: {search.check():,} found by each")
        for _ in range(options.rounds):
            for search in table:
                search.measure()
        show(table)


if __name__ == "__main__":
    main()
