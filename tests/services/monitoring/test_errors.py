"""Exceptions in logs: found, read and told apart."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.testing import Client
from services.monitoring.logs import errors, mining
from services.monitoring.logs.errors import Faults, Trace, find, parse
from tests.services.monitoring.incidents import NOW, watched

AFTER = "2026-11-20 11:00:09 INFO next"

PYTHON = """2026-11-20 11:00:00 ERROR request failed
Traceback (most recent call last):
  File "/app/db.py", line 10, in connect
    raise OSError("no")
OSError: no

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/main.py", line 20, in run
    connect()
    ~~~~~~~^^
  File "/app/db.py", line 12, in connect
    raise DatabaseDown("down")
app.errors.DatabaseDown: down"""

SYSLOG = """Nov 20 11:00:00 host app[12]: Traceback (most recent call last):
Nov 20 11:00:00 host app[12]:   File "/app/db.py", line 10, in connect
Nov 20 11:00:00 host app[12]:     raise OSError("no")
Nov 20 11:00:00 host app[12]: OSError: no"""

GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/app/a.py", line 3, in <module>
  |     raise ExceptionGroup("g", [ValueError(1)])
  | ExceptionGroup: g (1 sub-exception)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +------------------------------------"""

JAVA = """2026-11-20 11:00:00,123 ERROR [main] c.f.App - could not charge
java.lang.IllegalStateException: payment gateway gone
\tat com.foo.Pay.charge(Pay.java:12)
\tat com.foo.Pay$$EnhancerBySpringCGLIB$$1a2b3c.charge(<generated>)
\tat java.base/java.lang.Thread.run(Thread.java:829)
Caused by: java.net.ConnectException: Connection refused
\tat com.foo.Net.open(Net.java:44)
\t... 23 more"""

NODE = """TypeError: Cannot read properties of undefined (reading 'id')
    at Object.<anonymous> (/app/index.js:10:15)
    at async handler (file:///app/x.mjs:1:2)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"""

GO = """2026/11/20 11:00:00 starting
panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.pick(0xc000010000, 0x5)
\t/app/main.go:12 +0x1d
main.main()
\t/app/main.go:5 +0x20
exit status 2"""

RUST = """thread 'main' panicked at src/main.rs:2:5:
index out of bounds: the len is 3 but the index is 99
stack backtrace:
   0: rust_begin_unwind
             at /rustc/abc/library/std/src/panicking.rs:647:5
   1: core::panicking::panic_fmt::h0123456789abcdef
             at /rustc/abc/library/core/src/panicking.rs:72:14
   2: demo::main
             at ./src/main.rs:2:5
note: run with `RUST_BACKTRACE=full` for a verbose backtrace."""

RUST_OLD = """thread 'tokio-1' panicked at 'called `Option::unwrap()` on a `None`', src/lib.rs:7:9
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"""

DOTNET = """Unhandled exception. System.InvalidOperationException: Sequence contains no elements
   at System.Linq.ThrowHelper.ThrowNoElementsException()
   at Demo.Program.Main(String[] args) in /src/Program.cs:line 12"""


def traces(text: str) -> list[Trace]:
    """Return the exceptions in a text that another entry follows."""
    block = f"{text}\n{AFTER}".encode()
    found = [(place, parse(place.lines)) for place in find(block)]
    for place, _ in found:
        assert AFTER not in "\n".join(place.lines)
    return [trace for _, trace in found if trace is not None]


def is_head(line: bytes) -> bool:
    """Say whether a line begins with a time."""
    return line.startswith(b"2026-")


@pytest.mark.parametrize(
    ("text", "language", "kind", "message", "frames"),
    [
        (PYTHON, "python", "app.errors.DatabaseDown", "down", ["connect (/app/db.py:12)"]),
        (SYSLOG, "python", "OSError", "no", ["connect (/app/db.py:10)"]),
        (GROUP, "python", "ExceptionGroup", "g (1 sub-exception)", ["<module> (/app/a.py:3)"]),
        (
            JAVA,
            "java",
            "java.lang.IllegalStateException",
            "payment gateway gone",
            ["com.foo.Pay.charge (Pay.java:12)"],
        ),
        (
            NODE,
            "node",
            "TypeError",
            "Cannot read properties of undefined (reading 'id')",
            ["Object.<anonymous> (/app/index.js:10)", "handler (file:///app/x.mjs:1)"],
        ),
        (
            GO,
            "go",
            "runtime error",
            "index out of range [5] with length 3",
            ["main.pick (/app/main.go:12)", "main.main (/app/main.go:5)"],
        ),
        (
            RUST,
            "rust",
            "panic",
            "index out of bounds: the len is 3 but the index is 99",
            ["panicked (src/main.rs:2)"],
        ),
        (
            RUST_OLD,
            "rust",
            "panic",
            "called `Option::unwrap()` on a `None`",
            ["panicked (src/lib.rs:7)"],
        ),
        (
            DOTNET,
            "dotnet",
            "System.InvalidOperationException",
            "Sequence contains no elements",
            ["System.Linq.ThrowHelper.ThrowNoElementsException"],
        ),
    ],
)
def test_exceptions_of_six_languages_are_read(
    text: str, language: str, kind: str, message: str, frames: list[str]
) -> None:
    """Type, message and the innermost frames come out as each runtime writes them."""
    (trace,) = traces(text)
    assert (trace.language, trace.type, trace.message) == (language, kind, message)
    assert [str(frame) for frame in trace.frames[: len(frames)]] == frames


def test_causes_are_told_nearest_first() -> None:
    """A chained exception names what it came from, in Python and in Java."""
    assert traces(PYTHON)[0].causes == ("OSError",)
    assert traces(JAVA)[0].causes == ("java.net.ConnectException",)


def test_a_trace_inside_a_json_line_is_the_same_fault() -> None:
    """Structured logs escape what others print below the line."""
    text = "\n".join(PYTHON.split("\n")[1:5])
    line = json.dumps({"level": "ERROR", "message": "broke", "exc": {"stack": f"Sorry\n{text}\n"}})
    plain, escaped = traces(text), traces(line)
    assert plain[0].fingerprint == escaped[0].fingerprint


def test_a_trace_in_a_containers_log_is_the_same_fault() -> None:
    """What the runtime puts around a program's JSON, or before each of its lines, is no part."""
    text = "\n".join(PYTHON.split("\n")[1:5])
    line = json.dumps({"level": "ERROR", "message": "broke", "exception": text})
    before = "2026-01-01T00:00:00.000000000Z stderr F "
    docker = json.dumps({"log": f"{line}\n", "stream": "stderr", "time": "2026-01-01T00:00:00Z"})
    found = [
        traces("\n".join(before + part for part in text.split("\n"))),
        traces(before + line),
        traces(docker),
    ]
    assert [[trace.fingerprint for trace in each] for each in found] == [
        [traces(text)[0].fingerprint]
    ] * 3


def test_a_list_of_lines_in_a_json_line_is_a_trace() -> None:
    """Some libraries log the stack as an array."""
    stack = PYTHON.split("\n")[1:5]
    (trace,) = traces(json.dumps({"level": "ERROR", "stack": stack}))
    assert trace.type == "OSError"


def test_fingerprints_forget_numbers_and_keep_functions() -> None:
    """Another line number or address is the same fault; another function is not."""
    moved = PYTHON.replace("line 12", "line 99").replace("line 20", "line 4")
    elsewhere = PYTHON.replace("in connect", "in reconnect")
    same, other = traces(moved)[0].fingerprint, traces(elsewhere)[0].fingerprint
    assert traces(PYTHON)[0].fingerprint == same != other
    builds = [JAVA, JAVA.replace("1a2b3c", "9f8e7d")]
    assert len({traces(text)[0].fingerprint for text in builds}) == 1


def test_recursion_to_any_depth_is_one_fault() -> None:
    """Where a stack overflows differs from time to time."""
    frame = '  File "/app/r.py", line 3, in walk\n    walk()\n'
    texts = [
        f"Traceback (most recent call last):\n{frame * depth}RecursionError: too deep"
        for depth in (20, 30)
    ]
    assert len({traces(text)[0].fingerprint for text in texts}) == 1


def test_two_exceptions_in_a_row_are_two() -> None:
    """A traceback after another one's entry is not linked to it."""
    entry = "\n".join(PYTHON.split("\n")[:5])
    assert [trace.type for trace in traces(f"{entry}\n{entry}")] == ["OSError", "OSError"]


def test_faults_are_counted_with_the_lines_that_announce_them() -> None:
    """First and last are the log lines above the traces, which have the times."""
    entry = "\n".join(PYTHON.split("\n")[:5])
    later = entry.replace("11:00:00", "11:00:07")
    faults = Faults(2)
    faults.add(f"{AFTER}\n{entry}\n{later}".encode(), is_head, bucket=1, file=4, offset=100)
    (fault,) = faults.found()
    ends = fault.files[4]
    assert list(fault.counts) == [0, 2]
    assert ends.first == b"2026-11-20 11:00:00 ERROR request failed"
    assert ends.last == b"2026-11-20 11:00:07 ERROR request failed"
    assert ends.offset == 100 + len(AFTER) + 1


def test_too_many_kinds_of_exceptions_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, and what is left out is said."""
    monkeypatch.setattr(errors, "MAX_EXCEPTIONS", 3)
    names = ["Ash", "Birch", "Cedar", "Date", "Elm"]
    text = "\n".join(
        f'2026-11-20 ERROR x\nTraceback (most recent call last):\n  File "/a.py", line 1, in f\n'
        f"    f()\n{name}Error: no"
        for name in [*names, *names]
    )
    faults = Faults(1)
    faults.add(text.encode(), is_head, bucket=0, file=0)
    assert (len(faults.found()), faults.folded) == (3, 4)


@given(st.text(alphabet='Traceback (mosrecnl):\nFi"/, 0panic: Er\tatx.j', max_size=400))
def test_no_text_breaks_the_search_for_traces(text: str) -> None:
    """What only looks like a trace is read to its end and yields one or none, in order."""
    places = list(find(text.encode()))
    for place in places:
        parse(place.lines)
    assert all(a.end <= b.start or a.start <= b.start for a, b in pairwise(places))


def test_ten_thousand_lines_of_a_stack_take_no_time() -> None:
    """The search goes on behind what it has read, so time grows with the text only."""
    text = "x\n" + "    at a.b.C.d(C.java:1)\n" * 50_000
    started = time.perf_counter()
    list(find(text.encode()))
    assert time.perf_counter() - started < 5


# --- through the public door ---------------------------------------------------------------------


def _log(folder: Path, name: str, text: str) -> None:
    path = folder / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (NOW, NOW))


def _access() -> str:
    lines = []
    for second in range(0, 600, 2):
        status = 502 if second >= 300 and second % 10 == 0 else 200
        stamp = f"{datetime.fromtimestamp(NOW - 600 + second, UTC):%d/%b/%Y:%H:%M:%S} +0000"
        took = 2.5 if status == 502 else 0.02
        path = f"/api/orders/{second}"
        lines.append(f'10.0.0.1 - - [{stamp}] "GET {path} HTTP/1.1" {status} 12 "-" "a b" {took}\n')
    return "".join(lines)


@pytest.fixture
async def shop(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service that has logs of a program, of PostgreSQL and of nginx."""
    entry = PYTHON.replace("2026-11-20 11:00:00", "2026-11-20 11:5{}:00")
    program = "".join(f"{entry.format(n)}\n2026-11-20 11:5{n}:01 INFO fine\n" for n in range(8))
    _log(tmp_path, "app.log", program)
    database = (
        '2026-11-20 11:51:00.000 UTC [12] 42P01 app@shop ERROR:  relation "tax" does not exist\n'
        "2026-11-20 11:51:00.000 UTC [12] 42P01 app@shop STATEMENT:  SELECT * FROM tax\n"
        "2026-11-20 11:52:00.000 UTC [13] 28P01 a@b FATAL:  "
        'password authentication failed for user "a"\n'
    )
    _log(tmp_path, "postgresql.log", database)
    _log(tmp_path, "access.log", _access())
    server, _ = watched(tmp_path, log_roots=(f"shop={tmp_path / 'logs'}",))
    async with Client(server) as client:
        yield client


async def test_what_went_wrong_is_summed_up(shop: Client) -> None:
    """Exceptions by fingerprint, messages by template with SQLSTATE, HTTP failures by route."""
    result = await shop.call("error_summary", sources=["shop"])
    assert result.structured is not None, result.text
    answer = result.structured
    (fault,) = answer["exceptions"]
    assert (fault["type"], fault["count"]) == ("app.errors.DatabaseDown", 8)
    assert fault["causes"] == ["OSError"]
    assert fault["frames"][0] == "connect (/app/db.py:12)"
    assert (fault["first_at"], fault["last_at"]) == (
        "2026-11-20T11:50:00.000Z",
        "2026-11-20T11:57:00.000Z",
    )
    messages = {row["template"]: row for row in answer["messages"]}
    assert messages["relation <*> does not exist"]["sqlstate"] == "42P01"
    assert messages["password authentication failed for user <*>"]["sqlstate"] == "28P01"
    assert messages["password authentication failed for user <*>"]["level"] == "critical"
    assert messages["request failed"]["count"] == 8
    http = answer["http"]
    assert (http["requests"], http["status_5xx"], http["status_4xx"]) == (300, 30, 0)
    (failure,) = http["failures"]
    assert (failure["route"], failure["status"]) == ("/api/orders/{id}", 502)
    assert (failure["count"], failure["requests"]) == (30, 300)
    assert failure["p95_ms"] == pytest.approx(2_500, rel=0.03)
    assert http["p50_ms"] == pytest.approx(20, rel=0.03)
    assert failure["first_at"] == "2026-11-20T11:55:00.000Z"


async def test_a_window_limits_what_is_summed_up(shop: Client) -> None:
    """Before half past ten nothing was logged."""
    result = await shop.call("error_summary", sources=["shop"], since="5h", until="2h")
    assert result.structured is not None
    assert result.structured["lines"] == 0
    assert result.structured["exceptions"] == result.structured["messages"] == []
    assert result.structured["http"] is None


@pytest.mark.parametrize(
    ("line", "sqlstate"),
    [
        ("2026-11-20 UTC [12] ERROR:  42P01: relation does not exist", "42P01"),
        ("2026-11-20 UTC [12] 23505 a@b ERROR:  duplicate key", "23505"),
        ("2026-11-20 UTC [23505] ERROR:  duplicate key", None),
        ('{"error_severity":"ERROR","state_code":"22012","message":"division by zero"}', "22012"),
        ("2026-11-20 UTC [12] XX000 FATAL:  internal", "XX000"),
        ("2026-11-20 UTC [12] LOG:  00000 is fine", None),
    ],
)
def test_sqlstates_are_told_from_process_ids(line: str, sqlstate: str | None) -> None:
    """Five digits in brackets are a process; a state stands where log_line_prefix puts %e."""
    assert mining.sqlstate_of(line) == sqlstate
