"""Searching with helper processes: the same answers, whatever becomes of the helpers."""

from __future__ import annotations

import mmap
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.filesystem.backend import helpers as module
from services.filesystem.backend.contents import Limits
from services.filesystem.backend.helpers import Helper, Helpers, helpers_for
from services.filesystem.backend.searching import TextPage, TextQuery, search_text
from services.filesystem.backend.walking import Tally
from services.filesystem.backend.work import Stop
from tests.servers.processes import ServerProcess
from tests.services.filesystem.test_walking import scope_of, text_query

WORDS = ("alpha", "Beta", "gamma", "needle", "ünïcode", "x")


class Service(ServerProcess):
    """The service in a process of its own, with so many helpers."""

    def __init__(self, folder: Path, roots: str, helpers: int, **more: str) -> None:
        state = Path(tempfile.mkdtemp(dir=folder))
        environment = {
            "MCP_FILESYSTEM_ROOTS": roots,
            "MCP_FILESYSTEM_SEARCH_PROCESSES": str(helpers),
            "MCP_FILESYSTEM_HARD_LINKS": "refuse",
            **more,
        }
        super().__init__(state, environment=environment, module="services.filesystem")

    def grep(self, **arguments: Any) -> dict[str, Any]:
        """Return the structured answer of grep_files."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            params = {"name": "grep_files", "arguments": arguments}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            result = client.post(f"{self.url}/rpc", json=message).json()["result"]
        assert not result["isError"], result
        answer: dict[str, Any] = result["structuredContent"]
        return answer

    def pages(self, most: int = 1_000, **arguments: Any) -> list[dict[str, Any]]:
        """Return the pages of a search; of the sealed cursors only whether there is one."""
        found: list[dict[str, Any]] = []
        cursor = None
        while len(found) < most:
            page = self.grep(**arguments, cursor=cursor)
            cursor = page["next_cursor"]
            found.append({**page, "next_cursor": cursor is not None})
            if cursor is None:
                break
        return found

    def helpers(self) -> list[int]:
        """Return the processes that it has started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children if status_of(int(pid)) != "Z"]

    def health(self) -> dict[str, Any]:
        """Return what /health says of the roots and the helpers."""
        time.sleep(1.1)  # /health remembers for a second
        with httpx.Client(trust_env=False) as client:
            facts: dict[str, Any] = client.get(f"{self.url}/health").json()["components"]["roots"]
        return facts


def status_of(pid: int) -> str | None:
    """Return the state of a process (proc(5)); None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def eventually(is_so: Callable[[], bool]) -> bool:
    """Wait until something is so, for at most five seconds."""
    deadline = time.monotonic() + 5
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def grow(root: Path, seed: int, files: int = 500) -> None:
    """Write a tree of all kinds of files, the same for the same seed."""
    chance = random.Random(seed)
    root.mkdir()
    (root / ".gitignore").write_text("*.log\nskipped/\n")
    directories = [root]
    for number in range(files // 5):
        directories.append(chance.choice(directories[-12:]) / chance.choice(("d", "skipped", "é")))
        directories[-1] = directories[-1].with_name(f"{directories[-1].name}{number}")
        directories[-1].mkdir()
    for number in range(files):
        name = os.fsencode(f"f{number}.{chance.choice(('py', 'md', 'log', 'txt'))}")
        name += chance.choice((b"", b"", b"", b"\xff", b"\n", " ü".encode()))
        path = os.path.join(os.fsencode(chance.choice(directories)), name)
        with open(path, "wb") as file:
            file.write(contents(chance))
        if chance.random() < 0.02:
            os.link(path, path + b"-link")
        if chance.random() < 0.02:
            os.symlink(path, path + b"-symlink")
        if chance.random() < 0.02:
            os.mkfifo(path + b"-fifo")


def contents(chance: random.Random) -> bytes:
    """Return a file: mostly small text; some large, binary, UTF-16, of Windows, of long lines."""
    kind = chance.random()
    lines = 4_000 if kind < 0.02 else chance.randint(0, 20)
    width = 400 if kind > 0.98 else 6
    rows = (" ".join(chance.choices(WORDS, k=chance.randint(0, width))) for _ in range(lines))
    text = chance.choice(("\n", "\n", "\r\n")).join(rows)
    if 0.02 < kind < 0.06:
        return b"\0" + text.encode()
    return text.encode("utf-16" if 0.06 < kind < 0.1 else "utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some trees, and one with a file whose matches are more than a helper can tell at once."""
    folder = tmp_path_factory.mktemp("helpers")
    (folder / "trees").mkdir()
    for seed in range(4):
        grow(folder / "trees" / f"t{seed}", seed)
    large = folder / "trees" / "t0" / "zz"
    large.mkdir()
    (large / "large.txt").write_text(("needle" * 150 + "\n") * 2_000)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Iterator[Service]:
    """The service without helpers."""
    with Service(folder, f"trees={folder / 'trees'}:read", 0) as service:
        yield service


@pytest.fixture(scope="module")
def helped(folder: Path) -> Iterator[Service]:
    """The service with two."""
    with Service(folder, f"trees={folder / 'trees'}:read", 2) as service:
        yield service


def searches() -> st.SearchStrategy[dict[str, Any]]:
    """Return arguments of grep_files."""
    return st.fixed_dictionaries(
        {
            "path": st.sampled_from(["trees", "trees/t0", "trees/t1", "trees/t2", "trees/t3"]),
            "pattern": st.sampled_from(
                [*WORDS, "a", "^x", "m+a$", r"\w+edle", r"a\s+B", "nothing"]
            ),
        },
        optional={
            "ignore_case": st.booleans(),
            "word": st.booleans(),
            "multiline": st.booleans(),
            "include": st.sampled_from([["*.py"], ["*.md", "*.txt"], ["d1*/**"]]),
            "exclude": st.sampled_from([["*.txt"], ["d2*"]]),
            "respect_gitignore": st.booleans(),
            "output": st.sampled_from(["lines", "files", "counts"]),
            "context": st.integers(0, 3),
            "max_per_file": st.sampled_from([1, 2, 7, 100, 10_000]),
            "limit": st.sampled_from([1, 3, 50, 500, 10_000]),
            "max_bytes": st.sampled_from([4_000, 20_000, 900_000]),
        },
    )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(searches())
def test_answers_are_the_same_with_helpers(
    alone: Service, helped: Service, arguments: dict[str, Any]
) -> None:
    """Page by page, with all numbers, whatever the limits."""
    assert len(helped.helpers()) == 2
    assert helped.pages(8, **arguments) == alone.pages(8, **arguments)


def test_helpers_take_part(helped: Service) -> None:
    """Their processor time grows with searches, which the rest of the tests would not show."""

    def ticks() -> list[int]:
        stats = (Path(f"/proc/{pid}/stat").read_text() for pid in helped.helpers())
        return [sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in stats]

    before = ticks()

    def both_grew() -> bool:
        helped.grep(path="trees", pattern=r"[a-m]+\w+e", limit=10_000, max_bytes=900_000)
        return all(now > then for now, then in zip(ticks(), before, strict=True))

    assert eventually(both_grew)


def test_searches_side_by_side_share_them(alone: Service, helped: Service) -> None:
    """Each gets its own answer, also when others end early meanwhile."""
    calls: list[dict[str, Any]] = [
        {
            "path": f"trees/t{number % 4}",
            "pattern": WORDS[number % 6],
            "limit": 1 + number % 3 * 400,
        }
        for number in range(12)
    ]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda call: helped.pages(3, **call), calls * 2))
    assert found == [alone.pages(3, **call) for call in calls] * 2


def test_nothing_is_left_open(helped: Service) -> None:
    """Neither in the service nor in a helper, after whole searches and pages that ended early."""

    def open_files() -> list[int]:
        processes = (helped.pid, *helped.helpers())
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in processes]

    few = [4, 4]  # three standard ones, and the socket
    assert eventually(lambda: open_files()[1:] == few)
    before = open_files()[0]
    for limit in (1, 5, 200, 10_000) * 3:
        helped.grep(path="trees", pattern="x", limit=limit)
    assert eventually(lambda: open_files()[1:] == few)
    assert open_files()[0] <= before + 2  # connections of this test


def test_what_time_cuts_goes_on_later(folder: Path, alone: Service) -> None:
    """Pages of a few milliseconds, in which helpers are at work, join to the whole."""
    whole = alone.grep(path="trees/t1", pattern="x", limit=10_000, max_bytes=900_000)
    roots = f"trees={folder / 'trees'}:read"
    limit = {"MCP_FILESYSTEM_SEARCH_TIME_LIMIT_S": "0.004"}
    with Service(folder, roots, 1, **limit) as hurried:
        pages = hurried.pages(path="trees/t1", pattern="x", limit=10_000, max_bytes=900_000)
    assert len(pages) > 1

    def lines(page: dict[str, Any]) -> list[tuple[str, int]]:
        return [(file["path"], line["line"]) for file in page["files"] for line in file["lines"]]

    joined = [line for page in pages for line in lines(page)]
    assert len(set(joined)) == len(joined)
    # A file that ran out of time goes on by its lines, so max_per_file counts anew in it.
    assert set(lines(whole)) <= set(joined)


def test_a_lost_helper_is_done_without(folder: Path, alone: Service) -> None:
    """Killed while it is at work; the answer is whole, and /health says what happened."""
    call: dict[str, Any] = {"path": "trees", "pattern": r"\w+a", "limit": 10_000}
    expected = alone.pages(2, **call)
    roots = f"trees={folder / 'trees'}:read"
    with Service(folder, roots, 2) as service:
        first, second = service.helpers()
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(service.pages, 2, **call) for _ in range(12)]
            os.kill(first, signal.SIGKILL)
            assert [answer.result() for answer in answers] == [expected] * 12
        assert service.pages(2, **call) == expected
        assert service.helpers() == [second]
        assert service.health()["search_processes_lost"] == 1
        os.kill(second, signal.SIGKILL)
        assert service.pages(2, **call) == expected


def test_a_helper_that_hangs_costs_one_search_its_time(folder: Path, alone: Service) -> None:
    """It ends with what was found before, soon after its time is over; others do not wait."""
    call: dict[str, Any] = {"path": "trees", "pattern": r"\w+a", "limit": 10_000}
    roots = f"trees={folder / 'trees'}:read"
    with Service(folder, roots, 1, MCP_FILESYSTEM_SEARCH_TIME_LIMIT_S="2") as service:
        (helper,) = service.helpers()
        os.kill(helper, signal.SIGSTOP)
        assert service.grep(**call, max_bytes=900_000)["truncated_by"] == "time"
        expected = alone.grep(**call, max_bytes=900_000)
        assert {**service.grep(**call, max_bytes=900_000), "next_cursor": ""} == {
            **expected,
            "next_cursor": "",
        }


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_helpers_end_with_the_service(folder: Path, how: signal.Signals) -> None:
    """Also when it is killed; signals that are sent to all of them do not end helpers before it."""
    roots = f"trees={folder / 'trees'}:read"
    with Service(folder, roots, 2) as service:
        helpers = service.helpers()
        assert len(helpers) == 2
        for pid in helpers:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        service.grep(path="trees", pattern="x")
        assert service.helpers() == helpers
        service.signal(how)
        service.wait()
        assert eventually(lambda: not any(map(status_of, helpers)))


# --- without a service ---------------------------------------------------------------------------


def test_there_are_none_where_threads_run() -> None:
    """A fork copies only one thread, and the locks that others hold for ever."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    helpers = Helpers()
    try:
        helpers.start(1)
    finally:
        done.set()
        thread.join()
    assert (helpers.all, helpers.facts()) == ([], {})


def test_as_many_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """But the first, and at most three; what is set counts as it is."""
    for cores, count in ((1, 0), (2, 1), (4, 3), (64, 3)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert helpers_for("auto") <= count
    assert [helpers_for(0), helpers_for(7)] == [0, 7]


@pytest.mark.parametrize(
    "answer",
    [
        b"x",
        b"\x09\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
    ],
)
def test_an_odd_answer_counts_as_a_lost_helper(docs: Path, answer: bytes) -> None:
    """What it was given is searched here."""
    for number in range(300):
        (docs / f"{number:03}").write_text(f"x{number}\n")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    helpers = Helpers()
    helper = Helper(process.pid, ours, mmap.mmap(-1, 2 * module._SLOT_BYTES))
    helpers.all.append(helper)
    helpers.idle.append(helper)
    theirs.send(answer)
    with ours, theirs:
        page = found(docs, text_query("x"), helpers)
        assert page == found(docs, text_query("x"), Helpers())
    assert len(page.files) == 300
    assert helpers.facts() == {"search_processes": 0, "search_processes_lost": 1}
    process.wait(5)


def found(docs: Path, query: TextQuery, helpers: Helpers) -> TextPage:
    """Return what a search finds."""
    assert query.limits == Limits()
    return search_text(Stop(), scope_of(docs), query, Tally(), after=None, helpers=helpers)
