"""What lines of logs say, in the formats that are common."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitoring.logs.formats import (
    FORMATS,
    LEVELS,
    PLAIN,
    Format,
    Reader,
    format_of,
    is_at_least,
    level_of,
    parts_of,
    shown,
    shown_field,
)
from services.monitoring.logs.times import Calendar, iso
from tests.services.monitoring.logbook import NOON


def reader_of(*lines: bytes) -> Reader:
    """Return the reader of a file with these lines, written in October 2026, in UTC."""
    return Reader(format_of(b"\n".join(lines) + b"\n"), Calendar(NOON + 86_400 * 300, 0))


AT = "2026-02-03T04:05:06.000Z"
CASES: list[tuple[str, str, str | None, str, dict[str, str]]] = [
    (
        '{"timestamp":"2026-02-03T04:05:06.000Z","level":"WARNING","logger":"core.request",'
        '"message":"request","service":"fetch","context":{"status":503,"ok":true}}',
        "json",
        "warning",
        "request",
        {"logger": "core.request", "service": "fetch", "context.status": "503"},
    ),
    (
        '{"name":"app","hostname":"h","pid":1,"level":50,"msg":"boom","time":"2026-02-03T04:05:06Z","v":0}',
        "json",
        "error",
        "boom",
        {"hostname": "h"},
    ),
    ('{"level":40,"time":1770091506000,"msg":"slow"}', "json", "warning", "slow", {}),
    (
        '{"level":"error","ts":1770091506.0,"caller":"a.go:1","msg":"x","stacktrace":"main\\n\\ta.go"}',
        "json",
        "error",
        "x",
        {"caller": "a.go:1", "stacktrace": "main\n\ta.go"},
    ),
    (
        '{"@timestamp":"2026-02-03T05:05:06+01:00","@version":"1","message":"m","level":"WARN"}',
        "json",
        "warning",
        "m",
        {"@version": "1"},
    ),
    (
        '{"version":"1.1","host":"h","short_message":"gelf","level":3,"timestamp":1770091506}',
        "json",
        "error",
        "gelf",
        {"host": "h"},
    ),
    (
        '{"__REALTIME_TIMESTAMP":"1770091506000000","PRIORITY":"4","MESSAGE":"unit","_PID":"7"}',
        "json",
        "warning",
        "unit",
        {"_PID": "7"},
    ),
    (
        '{"log":"2026-02-03 04:05:06 ERROR boom\\n","stream":"stderr",'
        '"time":"2026-02-03T04:05:06Z"}',
        "docker",
        "error",
        "boom",
        {"stream": "stderr"},
    ),
    (
        '{"log":"{\\"level\\":\\"warn\\",\\"msg\\":\\"in\\",\\"n\\":1}\\n","stream":"stdout",'
        '"time":"2026-02-03T04:05:06Z"}',
        "docker",
        "warning",
        "in",
        {"stream": "stdout", "n": "1"},
    ),
    (
        '2026-02-03T04:05:06.000000000Z stderr F level=error msg="x y" n=1',
        "cri",
        "error",
        "x y",
        {"stream": "stderr", "n": "1"},
    ),
    (
        'time="2026-02-03T04:05:06Z" level=warning msg="a \\"b\\"" path=/x',
        "logfmt",
        "warning",
        'a "b"',
        {"path": "/x"},
    ),
    (
        "<11>Feb  3 04:05:06 web sshd[12]: Failed password for root",
        "syslog",
        "error",
        "Failed password for root",
        {"host": "web", "program": "sshd", "pid": "12"},
    ),
    (
        '<165>1 2026-02-03T04:05:06Z web app 12 ID7 [ex@1 iut="3" k="a\\"b"] hello',
        "syslog5424",
        "notice",
        "hello",
        {"program": "app", "pid": "12", "iut": "3"},
    ),
    (
        '10.0.0.1 - bob [03/Feb/2026:05:05:06 +0100] "GET /a?b=1 HTTP/1.1" 502 12 '
        '"-" "curl/8" 0.250',
        "access",
        "error",
        "GET /a?b=1 502",
        {"user": "bob", "status": "502", "user_agent": "curl/8", "request_time": "0.250"},
    ),
    (
        '::1 - - [03/Feb/2026:04:05:06 +0000] "\\x16\\x03" 400 0',
        "access",
        "warning",
        "\\x16\\x03 400",
        {"remote_addr": "::1"},
    ),
    (
        "2026/02/03 04:05:06 [crit] 12#3: *4 open() failed, client: 1.2.3.4, "
        'server: _, request: "GET /x"',
        "nginx_error",
        "critical",
        'open() failed, client: 1.2.3.4, server: _, request: "GET /x"',
        {"client": "1.2.3.4", "request": "GET /x"},
    ),
    (
        "[Tue Feb 03 04:05:06.000000 2026] [core:error] [pid 1:tid 2] [client 1.2.3.4:5] m",
        "apache_error",
        "error",
        "m",
        {"module": "core", "pid": "1", "client": "1.2.3.4:5"},
    ),
    (
        '2026-02-03 04:05:06.000 UTC [12] bob@db ERROR:  relation "x" does not exist',
        "postgres",
        "error",
        'relation "x" does not exist',
        {"pid": "12", "user": "bob", "database": "db"},
    ),
    (
        "2026-02-03 04:05:06,000 - app.web - CRITICAL - boom",
        "python",
        "critical",
        "boom",
        {"logger": "app.web"},
    ),
    (
        "2026-02-03 04:05:06,000 ERROR app.web: boom",
        "python",
        "error",
        "boom",
        {"logger": "app.web"},
    ),
    (
        "2026-02-03T05:05:06+0100 web systemd[1]: Started x.",
        "short_iso",
        None,
        "Started x.",
        {"host": "web", "program": "systemd", "pid": "1"},
    ),
    (
        "E0203 04:05:06.000000    1 a.go:12] boom",
        "klog",
        "error",
        "boom",
        {"source": "a.go:12"},
    ),
    ("2026-02-03 04:05:06.000 | WARNING  | m:f:1 - odd", "stamped", "warning", "m:f:1 - odd", {}),
    ("2026-02-03T04:05:06Z plain words", "stamped", None, "plain words", {}),
    ("1770091506 words", "stamped", None, "words", {}),
]


@pytest.mark.parametrize(("line", "name", "level", "message", "fields"), CASES)
def test_a_line_is_taken_apart(
    line: str, name: str, level: str | None, message: str, fields: dict[str, str]
) -> None:
    """Time, level, message and fields, in the format that the file is recognised to have."""
    reader = reader_of(line.encode())
    said = reader.line(line.encode())
    assert said is not None
    assert said.at is not None
    assert (reader.format.name, iso(said.at)) == (name, AT)
    assert (said.level, said.message) == (level, message)
    assert fields.items() <= said.fields.items()


@pytest.mark.parametrize(
    ("line", "level", "message", "fields"),
    [
        ("INFO:     started", "info", "started", {}),
        (
            'INFO:     127.0.0.1:52 - "GET /x HTTP/1.1" 404 Not Found',
            "info",
            '127.0.0.1:52 - "GET /x HTTP/1.1" 404 Not Found',
            {"status": "404", "path": "/x"},
        ),
        ("WARNING:root:careful", "warning", "careful", {"logger": "root"}),
        ("something ERROR happened", "error", "something ERROR happened", {}),
        ("no level at all", None, "no level at all", {}),
    ],
)
def test_lines_without_a_time_still_say_something(
    line: str, level: str | None, message: str, fields: dict[str, str]
) -> None:
    """Uvicorn and Python's basicConfig tell no time."""
    reader = reader_of(line.encode())
    said = reader.line(line.encode())
    assert said is not None
    assert said.at is None
    assert (said.level, said.message) == (level, message)
    assert fields.items() <= said.fields.items()


TRACE = [
    b"2026-02-03 04:05:06,000 ERROR app.web: boom",
    b"Traceback (most recent call last):",
    b'  File "a.py", line 3, in f',
    b"    g()",
    b"ValueError: bad",
]


def test_lines_that_continue_an_entry_are_part_of_it() -> None:
    """A traceback belongs to the line above it."""
    reader = reader_of(*TRACE)
    assert [reader.is_start(line) for line in TRACE] == [True, False, False, False, False]
    said = reader.entry(TRACE)
    assert said.message == "boom\n" + b"\n".join(TRACE[1:]).decode()
    assert said.level == "error"


def test_a_traceback_alone_is_one_entry_of_level_error() -> None:
    """In logs without times, too; its last line is not indented and still belongs to it."""
    lines = [*TRACE[1:], b"next line"]
    reader = reader_of(b"plain words", *lines)
    starts = [reader.is_start(b, a) for a, b in zip([None, *lines], lines, strict=False)]
    assert starts == [True, False, False, False, True]
    assert reader.entry(lines[:-1]).level == "error"


def test_statements_of_postgresql_belong_to_their_error() -> None:
    """It writes each as a line of its own, with a time."""
    lines = [
        b"2026-02-03 04:05:06.000 UTC [12] ERROR:  bad",
        b"2026-02-03 04:05:06.000 UTC [12] DETAIL:  why",
        b"2026-02-03 04:05:06.000 UTC [12] STATEMENT:  SELECT 1",
        b"2026-02-03 04:05:07.000 UTC [12] LOG:  ok",
    ]
    reader = reader_of(*lines)
    assert [reader.is_start(line) for line in lines] == [True, False, False, True]


def test_lines_that_a_runtime_has_split_are_joined() -> None:
    """Kubernetes marks parts with P, and the last one with F."""
    lines = [
        b"2026-02-03T04:05:06Z stdout P one ",
        b"2026-02-03T04:05:06Z stdout P two ",
        b"2026-02-03T04:05:06Z stdout F three",
        b"2026-02-03T04:05:07Z stdout F next",
    ]
    reader = reader_of(*lines)
    pairs = zip([None, *lines], lines, strict=False)
    assert [reader.is_start(b, a) for a, b in pairs] == [True, False, False, True]
    assert reader.entry(lines[:3]).message == "one two three"


def test_a_traceback_in_a_container_is_joined() -> None:
    """Each of its lines is a record of its own there."""

    def record(text: str) -> bytes:
        return json.dumps({"log": text + "\n", "stream": "stderr", "time": AT}).encode()

    lines = [record(text.decode()) for text in (TRACE[0], TRACE[2], TRACE[3])]
    reader = reader_of(*lines)
    assert [reader.is_start(line) for line in lines] == [True, False, False]
    assert reader.entry(lines).message == 'boom\n  File "a.py", line 3, in f\n    g()'


@pytest.mark.parametrize(
    "record",
    [
        "2026-02-03T04:05:06.000000000Z stderr F {}",
        '{{"log":"{}\\n","stream":"stderr","time":"2026-02-03T04:05:06Z"}}',
    ],
    ids=["cri", "docker"],
)
def test_a_traceback_in_a_containers_log_is_one_entry(record: str) -> None:
    """Its last line has the time of its own that the runtime gives every line."""
    trace = [line.decode().replace('"', "'") for line in TRACE[1:]]
    lines = [record.format(line).encode() for line in ("ready", *trace, "ready again")]
    reader = reader_of(*lines)
    starts = [reader.is_start(b, a) for a, b in zip([None, *lines], lines, strict=False)]
    assert starts == [True, True, *[False] * (len(trace) - 1), True]


def test_other_lines_in_a_file_are_read_as_what_they_are() -> None:
    """A service that logs JSON also prints what its libraries print."""
    lines = [json.dumps({"timestamp": AT, "level": "INFO", "message": f"m{n}"}) for n in range(9)]
    reader = reader_of(*(line.encode() for line in lines), b"INFO:     started")
    assert reader.format.name == "json"
    said = reader.line(b"2026-02-03 04:05:06 ERROR raw")
    assert said is not None
    assert (said.level, said.message) == ("error", "raw")
    said = reader.line(b"INFO:     started")
    assert said is not None
    assert said.message == "started"


@given(st.lists(st.binary(max_size=120), min_size=1, max_size=12))
def test_any_bytes_are_some_log(lines: list[bytes]) -> None:
    """Nothing that a program writes breaks the reader, and no text is lost but bad bytes."""
    reader = reader_of(*lines)
    said = reader.entry(lines)
    assert said.level is None or said.level in LEVELS
    for line in lines:
        reader.line(line)


@given(
    st.sampled_from([case[0] for case in CASES]),
    st.integers(0, 200),
    st.binary(min_size=1, max_size=6),
)
def test_damaged_lines_are_read_without_fault(line: str, at: int, damage: bytes) -> None:
    """Logs are cut in the middle of lines when disks fill up."""
    data = line.encode()
    for broken in (data[:at], data[:at] + damage + data[at + 1 :]):
        reader_of(data).entry([broken])
        assert parts_of(broken, FORMATS) is None or isinstance(broken, bytes)


@pytest.mark.parametrize("row", [*FORMATS, PLAIN], ids=lambda row: row.name)
def test_hostile_lines_cost_no_more_than_others(row: Format) -> None:
    """What formats look for, many times over, in the longest line that is read."""
    for part in (b"[", b'"', b"{", b"a=", b'{"a":', b": ", b"1", b'\\"', b"[a:", b"<1>", b"a@b "):
        for start in (b"", b"2026-02-03 04:05:06 ", b"Feb  3 04:05:06 ", b"<1>1 "):
            row.parse((start + part * 65_536)[:65_536], row.kinds)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        *(("WARN", "warning"), ("fatal", "critical"), ("Information", "info"), ("E", "error")),
        *((50, "error"), (35, "info"), (3, None), (True, None), (None, None), ("odd", None)),
        *((float("inf"), None), (float("nan"), None)),
    ],
)
def test_levels_have_many_names(value: object, level: str | None) -> None:
    """Of syslog, PostgreSQL, Java, .NET, bunyan and pino."""
    assert level_of(value) == level


def test_levels_are_ordered() -> None:
    """What has none is not severe."""
    assert is_at_least("error", "warning")
    assert not is_at_least("info", "warning")
    assert not is_at_least(None, "trace")


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seen", "redacted", "removed"),
    [
        ("plain", "plain", 0, 0),
        ("\x1b[1;31mred\x1b[0m", "red", 0, 11),
        ("\x1b]0;title\x07x\x1b]8;;http://a\x1b\\link", "xlink", 0, 25),
        ("a\u202eb\x00c\u200bd", "abcd", 0, 3),
        ("pass\x1b[0mword=hunter2", "password=[redacted]", 1, 4),
        ("pass\u200bword=hunter2", "password=[redacted]", 1, 1),
        ("token=abcdef1", "token=[redacted]", 1, 0),
    ],
)
def test_what_is_shown_is_clean(text: str, seen: str, redacted: int, removed: int) -> None:
    """Terminal sequences and hidden characters go first: secrets could hide behind them."""
    assert shown(text) == (seen, redacted, removed)


def test_fields_are_secret_by_their_name() -> None:
    """The value alone does not tell."""
    assert shown_field("context.password", "hunter2").text == "[redacted]"
    assert shown_field("password", "null").text == "null"
    assert shown_field("path", "/a?token=abcdef1").text == "/a?token=[redacted]"


def test_every_format_has_a_case() -> None:
    """So that none is only believed to work."""
    tried: set[Any] = {case[1] for case in CASES} | {"uvicorn"}
    assert tried == {row.name for row in FORMATS}


@pytest.mark.parametrize(
    ("text", "level"),
    [
        (b"<11>1 2026-01-01T12:00:00Z h p 1 - - failed", "error"),
        (b'1.2.3.4 - - [01/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 503 5', "error"),
        (b"2026-01-01T12:00:00Z failed", None),
    ],
)
def test_lines_of_other_formats_are_read_as_what_they_are(text: bytes, level: str | None) -> None:
    """Also in a file whose lines begin with any stamp, as these do."""
    row = next(row for row in FORMATS if row.name == "stamped")
    found = Reader(row, Calendar(1_767_268_800.0, 0)).line(text)
    assert found is not None
    assert found.level == level
