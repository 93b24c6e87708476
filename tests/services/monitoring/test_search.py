"""Searching logs: what is found, in which order, page by page, within a budget."""

from __future__ import annotations

import gzip
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadPattern
from services.monitoring.logs import finding, reading
from services.monitoring.logs.finding import (
    Wanted,
    any_line,
    literal,
    severe,
    wanted_regex,
    wanted_text,
)
from services.monitoring.logs.telling import histogram
from tests.services.monitoring.logbook import (
    NOON,
    PACKERS,
    found,
    iso,
    line,
    messages,
    paged,
    scanning,
    write,
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small files many blocks."""
    monkeypatch.setattr(reading, "BLOCK_BYTES", 700)
    monkeypatch.setattr(reading, "FIRST_BLOCK_BYTES", 300)
    monkeypatch.setattr(reading, "BACK_BLOCK_BYTES", 900)
    monkeypatch.setattr(reading, "MAX_BLOCK_BYTES", 8_192)


# --- what fits -----------------------------------------------------------------------------------


@given(
    st.text('abc_\\"é', min_size=1, max_size=5),
    st.lists(st.text('abc_\\"é', max_size=12), max_size=20),
    st.sampled_from([0, 1, 20]),
)
def test_text_is_found_where_it_is(text: str, lines: list[str], copies: int) -> None:
    """As `bytes.find` finds it, whatever part of it is rare or frequent in the sample."""
    needle, data = text.encode(), bytearray("\n".join(lines).encode())
    find, at, seen = literal(needle, copies * bytes(data)), 0, []
    while (span := find(data, at, len(data))) is not None:
        seen.append(span[0])
        at = span[0] + 1
    assert seen == [n for n in range(len(data)) if data.startswith(needle, n)]


@given(
    st.text("ab\n", max_size=30),
    st.sampled_from(["ab", "a+b", "b$", "^a", "a.b", "aab", "aab.?", "a[^b]?aab"]),
    st.sampled_from([b"", b"aab" * 20]),
)
def test_expressions_are_found_line_by_line(text: str, pattern: str, sample: bytes) -> None:
    """As a search of each line would find them, whether what they need is rare or frequent."""
    data = bytearray(text.encode())
    find, at, seen = wanted_regex(pattern, ignore_case=False).finder(sample), 0, set()
    while (span := find(data, at, len(data))) is not None:
        seen.add(data.count(b"\n", 0, span[0]))
        end = data.find(b"\n", span[0])
        at = end + 1 if end >= 0 else len(data) + 1
        if at > len(data):
            break
    compiled = wanted_regex(pattern, ignore_case=False)
    assert seen == {n for n, row in enumerate(text.split("\n")) if compiled.is_in(row.encode())}


@pytest.mark.parametrize(
    "wanted",
    [
        wanted_text("request 777 ", ignore_case=False),
        wanted_regex(r"request 7[7]7 ", ignore_case=False),
    ],
)
def test_words_that_every_line_has_are_not_looked_at_one_by_one(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred megabytes of such lines took ten seconds instead of a tenth of one."""
    rows = (b"%d request %d took\n" % (7_919**5 * (n + 1), n) for n in range(1_000))
    data = bytearray(b"".join(rows))
    looked: list[int] = []

    def counting(part: bytes) -> Any:
        compiled = re2.compile(re2.escape(part))

        def search(data: bytearray, at: int, end: int) -> Any:
            looked.append(at)
            return compiled.search(data, at, end)

        return SimpleNamespace(search=search)

    monkeypatch.setattr(finding, "_compiled", counting)
    found = wanted.finder(bytes(data))(data, 0, len(data))
    assert found is not None
    assert data[found[0] : found[1]] == b"request 777 "
    assert len(looked) <= 1


def test_text_is_found_as_json_writes_it(tmp_path: Path) -> None:
    """Escapes are how it stands in the file, not what was meant."""
    write(tmp_path / "a.log", '{"msg":"caf\\u00e9 \\"x\\""}\n{"msg":"café"}\n{"msg":"cafe"}\n')
    assert len(found(tmp_path, text="café")["entries"]) == 2
    assert len(found(tmp_path, text='"x"')["entries"]) == 1


LOG = "".join(
    [
        line(NOON, "request status=200 user=bob ms=12"),
        line(NOON + 1, "request status=500 user=eve ms=900", "ERROR"),
        "Traceback (most recent call last):\n  deep inside\nValueError: odd\n",
        line(NOON + 2, "slow ms=700", "WARN"),
        line(NOON + 3, "Done", "DEBUG"),
    ]
)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [3, 2, 1, 0]),
        ({"order": "oldest"}, [0, 1, 2, 3]),
        ({"text": "request"}, [1, 0]),
        ({"text": "done"}, []),
        ({"text": "done", "ignore_case": True}, [3]),
        ({"text": "deep inside"}, [1]),
        ({"regex": r"status=\d00 user=b"}, [0]),
        ({"regex": "(?i)DONE$"}, [3]),
        ({"regex": r"status=(200|500)"}, [1, 0]),
        ({"level": "warning"}, [2, 1]),
        ({"level": "error"}, [1]),
        ({"level": "trace"}, [3, 2, 1, 0]),
        ({"exclude": ["user=bob", "slow"]}, [3, 1]),
        ({"exclude": ["deep"], "text": "request"}, [0]),
        ({"since": NOON + 1, "until": NOON + 3}, [2, 1]),
        ({"since": NOON + 1, "level": "warning", "text": "ms="}, [2, 1]),
        ({"limit": 2}, [3, 2]),
    ],
)
def test_what_fits_is_found(tmp_path: Path, query: dict[str, Any], numbers: list[int]) -> None:
    """Text, expression, level, range and exclusion together, and all lines of an entry count."""
    write(tmp_path / "a.log", LOG)
    order = ["request status=200", "request status=500", "slow", "Done"]
    seen = messages(found(tmp_path, **query))
    assert [[m.startswith(start) for start in order].index(True) for m in seen] == numbers


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("status=500", [1]),
        ("status>=500", [1, 3]),
        ("status<300", [0]),
        ("status!=200", [1, 2, 3]),
        ("context.status=200", [0]),
        ("path~^/api/", [0, 1]),
        ("user=eve", [1]),
        ("level=error", [1, 3]),
        ("message=three", [2]),
        ("status>abc", []),
        ("nothing=1", []),
    ],
)
def test_fields_are_compared(tmp_path: Path, condition: str, numbers: list[int]) -> None:
    """By the whole dotted name or its last part; as numbers where both sides are."""
    rows = [
        '{"level":"info","msg":"one","context":{"status":200,"path":"/api/a"}}',
        '{"level":"error","msg":"two","status":500,"path":"/api/b","user":"eve"}',
        '{"level":"warn","msg":"three"}',
        '{"level":"error","msg":"four","status":"503"}',
    ]
    write(tmp_path / "a.log", "\n".join(rows))
    seen = messages(found(tmp_path, fields=[condition], order="oldest"))
    assert seen == [["one", "two", "three", "four"][n] for n in numbers]


def test_a_level_is_looked_for_in_all_its_forms(tmp_path: Path) -> None:
    """Numbers of bunyan and GELF, priorities of syslog, letters of klog, statuses, tracebacks."""
    rows = [
        '{"level":50,"msg":"a"}',
        '{"version":"1.1","short_message":"b","level":3}',
        "<11>Feb  3 04:05:06 web app[1]: c",
        "E0203 04:05:06.000000    1 a.go:12] d",
        '::1 - - [03/Feb/2026:04:05:06 +0000] "GET /e HTTP/1.1" 503 0',
        '{"log":"{\\"level\\":50,\\"msg\\":\\"f\\"}\\n","stream":"stdout",'
        '"time":"2026-02-03T04:05:06Z"}',
        '{"severity":"E","message":"g"}',
    ]
    for number, row in enumerate(rows):
        write(tmp_path / f"{number}.log", f"{row}\n")
    assert len(found(tmp_path, level="error")["entries"]) == len(rows)
    assert found(tmp_path, level="critical")["entries"] == []
    for level in ("info", "trace"):
        assert severe(level).finder(b"") is any_line


@pytest.mark.parametrize("query", [{"regex": "("}, {"exclude": ["["]}, {"fields": ["a~("]}])
def test_expressions_that_are_none_are_refused(tmp_path: Path, query: dict[str, Any]) -> None:
    """Before anything is read."""
    with pytest.raises(BadPattern):
        found(tmp_path, **query)


def test_hostile_expressions_take_no_longer(tmp_path: Path) -> None:
    """RE2 keeps all it could be at once; backtracking would take years."""
    write(tmp_path / "a.log", "a" * 60_000 + "!\n")
    answer = found(tmp_path, regex="(a+)+$", budget={"seconds": 5})
    assert (answer["entries"], answer["partial"]) == ([], None)


def test_lines_around_an_entry_are_shown(tmp_path: Path, small_blocks: None) -> None:
    """Also where they are in another block."""
    write(tmp_path / "a.log", "".join(line(NOON + n, f"m{n}") for n in range(200)))
    (entry,) = found(tmp_path, text=" m100", context=3)["entries"]
    assert [row[-4:].strip() for row in entry["before"]] == ["m97", "m98", "m99"]
    assert [row[-4:] for row in entry["after"]] == ["m101", "m102", "m103"]
    (entry,) = found(tmp_path, regex=" m0$", context=2)["entries"]
    assert entry["before"] == []


# --- order and pages -----------------------------------------------------------------------------


def spread(folder: Path, chance: random.Random) -> list[tuple[float, str]]:
    """Write three logs, rotated and compressed; returns what is in them, in the order of time."""
    rows: list[tuple[float, str]] = []
    for name in ("a.log", "b.log", "c.log"):
        at, number = NOON + chance.random() * 100, 0
        endings = [".3.gz", ".2.xz", ".1", ""] if name != "c.log" else [".1.zst", ""]
        for ending in endings:
            text = ""
            for _ in range(chance.randrange(0, 60)):
                at += chance.random() * 20 + 0.002
                rows.append((round(at, 3), f"{name[0]}{number} x"))
                text += line(round(at, 3), f"{name[0]}{number} x")
                text += "  more\n" * chance.choice((0, 0, 2))
                number += 1
            write(folder / f"{name}{ending}", text, mtime=at + 1)
    return sorted(rows)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_are_the_whole_in_order(
    tmp_path: Path, small_blocks: None, seed: int, order: str
) -> None:
    """Over several logs, their rotated files and any length of pages: nothing twice or missing."""
    chance = random.Random(seed)
    rows = spread(tmp_path, chance)
    expected = [name for _, name in (rows if order == "oldest" else rows[::-1])]
    for limit in (1, 7, 50, 1_000):
        seen = [m.split("\n")[0] for m in paged(tmp_path, order=order, limit=limit)]
        assert seen == expected
    since, until = rows[len(rows) // 3][0], rows[len(rows) * 2 // 3][0]
    part = [name for at, name in rows if since <= at < until]
    seen = [
        m.split("\n")[0] for m in paged(tmp_path, order=order, limit=9, since=since, until=until)
    ]
    assert seen == (part if order == "oldest" else part[::-1])


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("ending", ["", *PACKERS])
def test_a_search_goes_on_where_it_was_though_logs_were_rotated(
    tmp_path: Path, order: str, ending: str
) -> None:
    """Found again by what it is: the file was renamed, compressed, and a new one has begun."""
    rows = [line(NOON + n, f"m{n}") for n in range(400)]
    path = write(tmp_path / "app.log", "".join(rows))
    first = found(tmp_path, order=order, limit=150)
    with path.open("a") as file:
        file.write(line(NOON + 400, "m400"))
    path.rename(tmp_path / "app.log.1")
    if ending:
        write(tmp_path / f"app.log.1{ending}", (tmp_path / "app.log.1").read_bytes())
        (tmp_path / "app.log.1").unlink()
    write(tmp_path / "app.log", line(NOON + 401, "m401"))
    seen = messages(first)
    while first["places"] is not None:
        first = found(tmp_path, order=order, limit=150, places=first["places"])
        seen += messages(first)
    wanted = [f"m{n}" for n in range(400)]
    assert seen == (wanted[::-1] if order == "newest" else [*wanted, "m400", "m401"])


def test_the_last_entry_may_still_grow(tmp_path: Path) -> None:
    """Who follows a log gets an entry that was incomplete once more, and others only once."""
    path = write(tmp_path / "a.log", line(NOON, "one") + line(NOON + 1, "two"))
    write(tmp_path / "z.log", line(NOON + 5, "last"))
    answer = found(tmp_path, order="oldest", limit=2)
    assert messages(answer) == ["one", "two"]
    with path.open("a") as file:
        file.write("  traceback\n" + line(NOON + 2, "three"))
    answer = found(tmp_path, order="oldest", limit=9, places=answer["places"])
    assert messages(answer) == ["two\n  traceback", "three", "last"]


def test_a_log_that_was_replaced_is_gone_on_with_by_time(tmp_path: Path) -> None:
    """What the place was in is gone; what is older than it is still to come."""
    write(tmp_path / "app.log", "".join(line(NOON + n, f"m{n}") for n in range(50)))
    answer = found(tmp_path, limit=10)
    assert messages(answer)[-1] == "m40"
    (tmp_path / "app.log").unlink()
    write(tmp_path / "app.log", "".join(line(NOON + n + 0.5, f"new{n}") for n in range(50)))
    answer = found(tmp_path, limit=5, places=answer["places"])
    assert messages(answer) == [f"new{n}" for n in range(39, 34, -1)]
    assert any("replaced" in one for one in answer["skipped"])


def test_minutes_are_counted_also_beyond_the_page(tmp_path: Path) -> None:
    """With `count_all`; the next page begins behind this one all the same."""
    write(tmp_path / "a.log", "".join(line(NOON + n * 10, f"m{n}") for n in range(60)))
    answer = found(tmp_path, limit=5, count_all=True)
    assert answer["matched"] == 60
    assert answer["histogram"] == {
        "step_s": 60,
        "buckets": [[f"2026-01-01T12:{n:02}Z", 6] for n in range(10)],
    }
    following = found(tmp_path, limit=5, count_all=True, places=answer["places"])
    assert messages(following) == [f"m{n}" for n in range(54, 49, -1)]
    assert following["matched"] == 55


@given(st.dictionaries(st.integers(0, 60 * 24 * 900), st.integers(1, 9), max_size=80))
@settings(max_examples=50)
def test_a_histogram_has_sixty_steps_at_most(minutes: dict[int, int]) -> None:
    """And counts everything."""
    told = histogram(Counter(minutes))
    assert len(told["buckets"]) <= 60
    assert sum(count for _, count in told["buckets"]) == sum(minutes.values())


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_budget_ends_a_page_and_the_next_goes_on(
    tmp_path: Path, small_blocks: None, order: str
) -> None:
    """What was read in vain is not read again, so that each page gets further."""
    text = "".join(
        line(NOON + n, f"m{n} rare" if n % 500 == 250 else f"m{n}") for n in range(5_000)
    )
    write(tmp_path / "a.log", text)
    places, seen, calls = None, [], 0
    while True:
        answer = found(tmp_path, text="rare", order=order, places=places, budget={"bytes": 20_000})
        seen += messages(answer)
        places, calls = answer["places"], calls + 1
        if places is None:
            break
        assert (answer["partial"], answer["more"]) == ("bytes", "scanned_bytes")
        assert answer["scanned_bytes"] < 40_000
    assert len(seen) == len(set(seen)) == 10
    assert 5 < calls < 30


def test_time_that_is_over_ends_a_search(tmp_path: Path) -> None:
    """At the next block, with what was found."""
    write(tmp_path / "a.log", line(NOON, "x") * 1_000)
    answer = found(tmp_path, budget={"seconds": 0})
    assert (answer["partial"], answer["entries"]) == ("seconds", [])
    assert answer["places"] is not None


def test_lines_of_any_length_are_searched(tmp_path: Path, small_blocks: None) -> None:
    """Also where no line ends within a block: parts overlap, so nothing is missed between them."""
    for at in (10, 8_190, 8_192, 12_000, 50_000):
        data = bytearray(b"x" * 60_000)
        data[at : at + 6] = b"needle"
        write(tmp_path / "a.log", bytes(data))
        for order in ("newest", "oldest"):
            answer = found(tmp_path, text="needle", order=order)
            assert len(answer["entries"]) == 1, (at, order)
            assert "needle" in answer["entries"][0]["message"]
    write(tmp_path / "a.log", line(NOON, "a") + line(NOON + 1, "y" * 100_000) + line(NOON + 2, "b"))
    seen = messages(found(tmp_path, order="oldest"))
    assert (seen[0], seen[-1]) == ("a", "b")


def test_files_without_lines_are_no_trouble(tmp_path: Path) -> None:
    """Empty ones, one line without an end, and line ends alone."""
    write(tmp_path / "empty.log", "")
    write(tmp_path / "one.log", "only")
    write(tmp_path / "ends.log", "\n" * 5_000)
    write(tmp_path / "crlf.log", "2026-01-01T12:00:00Z INFO windows\r\n")
    assert sorted(messages(found(tmp_path))) == ["only", "windows"]
    assert messages(found(tmp_path, text="windows")) == ["windows"]


def test_files_without_times_count_for_any_range_and_it_is_said(tmp_path: Path) -> None:
    """Unless they were last written before it."""
    write(tmp_path / "a.log", "no time\n", mtime=NOON)
    answer = found(tmp_path, since=NOON - 60)
    assert messages(answer) == ["no time"]
    assert answer["untimed"] == ["t/a.log"]
    assert found(tmp_path, since=NOON + 60)["entries"] == []


def test_a_compressed_file_that_takes_several_budgets_is_searched_from_its_end(
    tmp_path: Path, small_blocks: None
) -> None:
    """It has to be read from its beginning; pages that find nothing lead there, and then back."""
    rows = "".join(line(NOON + n, f"m{n}") for n in range(4_000))
    write(tmp_path / "a.log.1.gz", rows)
    write(tmp_path / "a.log", line(NOON + 30_000, "live"))
    budget = {"bytes": 60_000}
    answer = found(tmp_path, limit=100, budget=budget)
    assert messages(answer) == ["live"]
    assert (answer["partial"], answer["more"]) == ("bytes", "scanned_bytes")
    seen = messages(answer)
    for _ in range(1_000):
        if answer["places"] is None:
            break
        answer = found(tmp_path, limit=100, budget=budget, places=answer["places"])
        seen += messages(answer)
    assert seen == ["live", *(f"m{n}" for n in range(3_999, -1, -1))]
    whole = found(tmp_path, limit=3)
    assert messages(whole) == ["live", "m3999", "m3998"]


def test_a_compressed_file_that_cannot_be_reached_in_time_is_left_and_it_is_said(
    tmp_path: Path,
) -> None:
    """Else every page would end at the same place for ever."""
    write(tmp_path / "a.log.2.gz", line(NOON - 9, "old"))
    write(tmp_path / "a.log.1.gz", "".join(line(NOON + n, f"m{n}") for n in range(40_000)))
    answer = found(tmp_path, budget={"bytes": 1_000_000})
    assert (answer["entries"], answer["partial"]) == ([], "bytes")
    slow = {"seconds": 10, "clock": itertools.count().__next__}  # each look at it takes a second
    answer = found(tmp_path, budget=slow, places=answer["places"])
    assert any("too large to be searched from its end" in one for one in answer["skipped"])
    number = int(messages(found(tmp_path, places=answer["places"]))[0][1:])
    assert 27_000 < number < 39_000  # where the first page came to, by whole blocks


def test_members_of_a_gzip_file_are_one_stream(tmp_path: Path) -> None:
    """Appending to a .gz file makes another member: RFC 1952, section 2.2."""
    data = b"".join(gzip.compress(line(NOON + n, f"m{n}").encode()) for n in range(5))
    (tmp_path / "a.log.gz").write_bytes(data)
    assert messages(found(tmp_path, order="oldest")) == [f"m{n}" for n in range(5)]


def test_chunks_are_cut_where_entries_begin(tmp_path: Path, small_blocks: None) -> None:
    """For those who count lines by time: each line once, in the bucket of its entry."""
    rows = [(NOON + n, f"n{n}") for n in range(2_000)]
    text = "".join(
        line(at, name) + ("  more\n" if n % 3 else "") for n, (at, name) in enumerate(rows)
    )
    write(tmp_path / "a.log", text)
    edges = [NOON + 100, NOON + 400, NOON + 401, NOON + 1_500]
    counts, size = [0, 0, 0], 0
    with scanning(tmp_path) as scan:
        for file in scan.files([], edges[0], edges[-1]):
            for chunk in scan.chunks(file, edges):
                assert chunk.data.startswith(b"2026-")
                assert text.encode()[chunk.offset :].startswith(chunk.data)
                counts[chunk.bucket] += chunk.data.count(b"INFO")
                size += chunk.data.count(b"more")
    assert counts == [300, 1, 1_099]
    assert size == sum(1 for n in range(100, 1_500) if n % 3)


def test_rare_ends_of_a_text_are_chosen() -> None:
    """Where the first letters are everywhere, the search begins with others."""
    assert finding._rarest(b"aaaazqaaaa", b"a" * 1_000) == (4, 5)
    assert wanted_text("plain", ignore_case=False).pattern is None


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    """Also by searches that end early."""
    for number in range(20):
        write(tmp_path / f"{number}.log", line(NOON + number, "x") * 50)
    before = len(os.listdir("/proc/self/fd"))
    found(tmp_path, limit=1)
    found(tmp_path, budget={"bytes": 1})
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("seed", range(6))
def test_both_orders_find_the_same_entries(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever is in a log, and wherever blocks end in it: entries are the same from both sides."""
    monkeypatch.setattr(reading, "MAX_BLOCK_BYTES", 16_384)
    monkeypatch.setattr(reading, "MAX_START_BYTES", 8_192)
    chance = random.Random(seed)
    at = NOON
    pieces: tuple[Callable[[], bytes], ...] = (
        lambda: f'{{"timestamp":{at:.0f},"level":"INFO","message":"m"}}\n'.encode(),
        lambda: line(at, "words", "ERROR").encode(),
        lambda: b"Traceback (most recent call last):\n  File x\nValueError: y\n",
        lambda: chance.randbytes(chance.randrange(80)) + b"\n",
        lambda: b"x" * chance.randrange(300) + b"\n",
        lambda: b"\n" * chance.randrange(5),
        lambda: f"{line(at, '')[:-7]} stdout P part\n".encode(),
    )
    for name in ("a.log", "b.log", "c.log.1.gz"):
        usual, data = chance.choice(pieces), b""
        for _ in range(80):
            at += chance.choice((0, 1, 5, -3, 100))
            data += (usual if chance.random() < 0.7 else chance.choice(pieces))()
        write(tmp_path / name, data)
    queries: tuple[dict[str, Any], ...] = ({}, {"text": "m"}, {"regex": "o+"}, {"level": "error"})
    for query in queries:
        seen = []
        for order in ("newest", "oldest"):
            for limit in (13, 1_000):
                refs, places = [], None
                while True:
                    answer = found(tmp_path, order=order, limit=limit, places=places, **query)
                    refs += [entry["ref"] for entry in answer["entries"]]
                    places = answer["places"]
                    if places is None:
                        break
                assert len(refs) == len(set(refs))
                seen.append(sorted(refs))
        assert seen[0] == seen[1] == seen[2] == seen[3]


def test_short_lines_without_times_are_entries_of_their_own(tmp_path: Path) -> None:
    """Words and checksums look like parts of a key, but none has begun."""
    rows = ["ok", "done", "a" * 64, "b" * 64, "OK", "done"]
    write(tmp_path / "a.log", "\n".join(rows) + "\n")
    assert messages(found(tmp_path, order="oldest")) == rows


# --- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", *PACKERS])
@pytest.mark.parametrize("limit", [1, 10, 100, 1_000])
def test_all_of_a_log_can_be_paged_and_is_counted(tmp_path: Path, ending: str, limit: int) -> None:
    """Compressed files are read from their beginning; what is not kept is not lost."""
    rows = [f"m{n}" for n in range(1_300)]
    text = "".join(line(NOON + n, row) for n, row in enumerate(rows))
    write(tmp_path / f"a.log.1{ending}", text, mtime=NOON + 1_500)
    answer = found(tmp_path, limit=limit, count_all=True)
    assert answer["matched"] == 1_300
    assert sum(count for _, count in answer["histogram"]["buckets"]) == 1_300
    if limit > 10:
        assert paged(tmp_path, limit=limit, count_all=True) == rows[::-1]


def test_entries_too_large_to_keep_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a compressed file, where a page has room for more than memory has."""
    monkeypatch.setattr("services.monitoring.logs.streams.MAX_KEPT_BYTES", 20_000)
    text = "".join(line(NOON + n, f"m{n} {'x' * 3_000}") for n in range(100))
    write(tmp_path / "a.log.1.gz", text)
    seen = paged(tmp_path, limit=70)
    assert [message.split()[0] for message in seen] == [f"m{n}" for n in range(99, -1, -1)]
    assert found(tmp_path, limit=30, count_all=True)["matched"] == 100


_PIECES = (
    '{{"timestamp":{at:.0f},"level":"INFO","message":"x {word}"}}',
    "{iso} INFO {word} x",
    "{iso} INFO {word} token=x{word}x",
    "{iso} ERROR \x1b[1mpass\x1b[0mword=x{word}x",
    "2026-02-31T10:00:00Z {word} x",
    '1.2.3.4 - - [01/Jan/2026:12:00:00 +0000] "GET /{word}x HTTP/1.1" 200 5',
    "Traceback (most recent call last):\n  File {word} x\nValueError: x",
    "  more {word} x",
    "{word}\r",
    "-----BEGIN PRIVATE KEY-----\nMIIx{word}\n-----END PRIVATE KEY-----",
    "caf\u00e9 \u202e{word} x",
    "{at:.0f} {word} x",
    "",
)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_counted_in_bulk_is_what_is_found(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Behind a page entries are not taken apart, and yet each is counted once, where it fits."""
    chance = random.Random(seed)
    at = NOON
    for name in ("a.log", "b.log", "c.log.1.gz", "d.log.1.zst"):
        usual, text = chance.choice(_PIECES), ""
        for _ in range(120):
            at += chance.choice((0, 0, 1, 70))
            piece = usual if chance.random() < 0.6 else chance.choice(_PIECES)
            text += piece.format(at=at, iso=iso(at), word=chance.choice("abc")) + "\n"
            text += "  deep x\n" * (chance.random() < 0.01) * 310
        write(tmp_path / name, text)
    queries: tuple[dict[str, Any], ...]
    queries = ({}, {"text": "x"}, {"text": "a"}, {"regex": "[ab]x|deep"}, {"text": "b\nV"})
    for query in queries:
        refs, places = [], None
        while True:
            answer = found(tmp_path, limit=37, places=places, **query)
            refs += [entry["ref"] for entry in answer["entries"]]
            places = answer["places"]
            if places is None:
                break
        for order in ("newest", "oldest"):
            counted = found(tmp_path, limit=1, count_all=True, order=order, **query)
            assert counted["matched"] == len(set(refs)) == len(refs)


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pages_are_the_whole_though_the_rest_is_counted(
    tmp_path: Path, small_blocks: None, order: str, ending: str
) -> None:
    """Wherever a page ends in a block, also at its end."""
    rows = [f"m{n} {'x' * (n % 50)}" for n in range(80)]
    text = "".join(line(NOON + n, row) for n, row in enumerate(rows))
    write(tmp_path / f"a.log{ending}", text)
    for limit in (1, 3):
        seen = paged(tmp_path, order=order, limit=limit, count_all=True)
        assert seen == (rows[::-1] if order == "newest" else rows)
