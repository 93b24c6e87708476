"""Templates of log lines, and whether their rates have changed."""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.testing import Client
from services.monitoring.logs import patterns
from services.monitoring.logs.comparison import Counted, compare, dispersion, step_in, upper_tail
from services.monitoring.logs.patterns import Miner, Told, mask, merge, shapes_of
from tests.services.monitoring.incidents import NOW, watched

USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")
TEMPLATES = (
    "user {user} logged in from {ip}",
    "user {user} logged out after {n} s",
    "connection {n} to {ip}:{n} closed",
    "GET /api/items/{n} took {f} ms",
    "job {uuid} finished with status ok",
    "job {uuid} finished with status failed",
    "cache miss for key {hex}",
    "worker-{n} is idle",
    "could not open file '/var/lib/app/{hex}.dat': permission denied",
    "retrying request {hex} in {f}s (attempt {n} of 5)",
)


def generated(count: int, seed: int) -> list[tuple[int, str]]:
    """Return lines with the number of the template that each was made of."""
    chance = random.Random(seed)
    lines = []
    for _ in range(count):
        number = chance.randrange(len(TEMPLATES))
        values = {
            "user": chance.choice(USERS),
            "ip": ".".join(str(chance.randrange(256)) for _ in range(4)),
            "n": chance.randrange(10_000),
            "f": f"{chance.random() * 100:.2f}",
            "hex": f"{chance.getrandbits(64):016x}",
            "uuid": f"{chance.getrandbits(32):08x}-0b1c-4d2e-8f3a-{chance.getrandbits(48):012x}",
        }
        lines.append((number, TEMPLATES[number].format(**values)))
    return lines


def read(line: bytes) -> Told | None:
    """Read a line of tests: "LEVEL message"; what begins with a blank continues another."""
    if line.startswith(b" "):
        return None
    level, _, message = line.decode().partition(" ")
    return Told(level.lower(), message)


def mined(block: str, *, buckets: int = 1, bucket: int = 0) -> Miner:
    """Return a miner that has counted one block."""
    miner = Miner(buckets)
    miner.add(block.encode(), read, bucket=bucket, file=0)
    return miner


# --- masking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("took 12 ms", "took <*> ms"),
        ("took 12ms", "took <*>"),
        ("at 0x7ffe12ab", "at <*>"),
        ("from 10.0.0.1:5432 to fe80::1%eth0", "from <*> to <*>"),
        ("id 6ba7b810-9dad-11d1-80b4-00c04fd430c8 gone", "id <*> gone"),
        ("mail to ann.lee@example.com sent", "mail to <*> sent"),
        ('relation "users" does not exist', "relation <*> does not exist"),
        ("open /var/log/app.log failed", "open <*> failed"),
        ("see https://example.com/a?b=c now", "see <*> now"),
        ("worker-3 is idle", "worker-<*> is idle"),
        ("sizes 1, 2, 3 and 4", "sizes <*> and <*>"),
        ("since Fri Jun 17 07:07:00 2005 it runs", "since <*> it runs"),
        ("can't stop, won't stop", "can't stop, won't stop"),
        ("key=a1b2c3d4 hit", "key=<*> hit"),
    ],
)
def test_what_varies_is_masked(message: str, template: str) -> None:
    """Numbers, addresses, ids, paths and quoted text vary; words and apostrophes do not."""
    assert mask(message) == template


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_text_has_a_template_without_digits_of_ascii(text: str) -> None:
    """Whatever a line says, masking ends and leaves no number that could split a template."""
    template = mask(text)
    assert not any(word.isascii() and word.isdigit() for word in template.split())


@given(st.lists(st.binary(max_size=80).filter(lambda line: b"\n" not in line), min_size=1))
def test_a_block_has_as_many_shapes_as_lines(lines: list[bytes]) -> None:
    """Shapes are matched with lines by number, so blurring must never touch a line's end."""
    assert len(shapes_of(b"\n".join(lines))) == len(lines)


@pytest.mark.parametrize("letters", [b"a", b"ab", b"a0", b"0", b"-"])
def test_an_endless_line_is_blurred_in_time_that_grows_with_it(letters: bytes) -> None:
    """A megabyte of hex letters without a digit once took minutes."""
    started = time.perf_counter()
    shapes_of(letters * (1_000_000 // len(letters)))
    assert time.perf_counter() - started < 2


def test_statuses_of_access_logs_are_told_apart_by_class() -> None:
    """A 500 is an error and a 200 is none, though both are three digits."""
    lines = b'"GET /a HTTP/1.1" 200 5\n"GET /a HTTP/1.1" 201 5\n"GET /a HTTP/1.1" 503 5'
    ok, created, failed = shapes_of(lines, is_access=True)
    assert ok == created != failed


# --- merging -------------------------------------------------------------------------------------


def test_three_words_in_one_place_are_a_variable_and_two_are_not() -> None:
    """Names vary; "in" and "out" are two things that a program says."""
    names = [f"user {user} logged in" for user in USERS[:3]]
    merged = merge([*names, "door goes in", "door goes out"])
    assert {merged[name] for name in names} == {"user <*> logged in"}
    assert merged["door goes in"] != merged["door goes out"]


def test_what_words_share_stays_around_the_variable() -> None:
    """`code=` and the bracket are the program's, the word between them is not."""
    merged = merge([f"declined (code={code})" for code in ("expired", "stolen", "limit")])
    assert set(merged.values()) == {"declined (code=<*>)"}


@given(st.lists(st.sampled_from([f"{a} {b} {c}" for a in "ab" for b in "cdef" for c in "gh"])))
def test_merging_does_not_depend_on_the_order(templates: list[str]) -> None:
    """The same lines give the same patterns whichever file is read first."""
    assert merge(templates) == merge(list(reversed(templates)))


def test_generated_lines_are_grouped_by_the_templates_they_were_made_of() -> None:
    """Grouping accuracy, as the field measures it: lines in groups that are exactly right.

    Source: Zhu et al., Tools and Benchmarks for Automated Log Parsing, ICSE-SEIP 2019.
    """
    lines = generated(3_000, seed=7)
    merged = merge(mask(message) for _, message in lines)
    truth, found = defaultdict(set), defaultdict(set)
    for number, (template, message) in enumerate(lines):
        truth[template].add(number)
        found[merged[mask(message)]].add(number)
    right = {frozenset(group) for group in truth.values()}
    accuracy = sum(len(g) for g in found.values() if frozenset(g) in right) / len(lines)
    assert accuracy == 1.0


# --- counting ------------------------------------------------------------------------------------


def test_lines_are_counted_by_template_level_and_bucket() -> None:
    """The counts of all buckets together are the lines; levels stay apart."""
    miner = Miner(3)
    miner.add(b"INFO took 1 ms\nINFO took 22 ms\nERROR took 3 ms", read, bucket=0, file=0)
    miner.add(b"INFO took 4 ms", read, bucket=2, file=0, offset=48)
    assert {(p.level, p.template): list(p.counts) for p in miner.merged()} == {
        ("info", "took <*> ms"): [2, 0, 1],
        ("error", "took <*> ms"): [1, 0, 0],
    }
    assert miner.lines == 4


def test_lines_that_continue_others_are_no_patterns() -> None:
    """The frames below an error belong to it; they are not events of their own."""
    miner = mined("ERROR it broke\n  frame 1\n  frame 2")
    assert [(p.template, p.count) for p in miner.merged()] == [("it broke", 1)]


def test_a_pattern_knows_its_first_and_last_line() -> None:
    """First and last are of the whole pattern, also when its lines had different shapes."""
    block = "INFO user alice came\nINFO user bob came\nINFO user carol came\nINFO other thing"
    (pattern,) = (p for p in mined(block).merged() if p.count == 3)
    ends = pattern.files[0]
    assert (ends.first, ends.offset) == (b"INFO user alice came", 0)
    assert ends.last == b"INFO user carol came"


def test_files_keep_their_own_ends() -> None:
    """Which of two files was first is known by their times, which the miner does not read."""
    miner = Miner(1)
    miner.add(b"INFO took 1 ms", read, bucket=0, file=0)
    miner.add(b"INFO took 2 ms", read, bucket=0, file=1)
    (pattern,) = miner.merged()
    assert {n: ends.first for n, ends in pattern.files.items()} == {
        0: b"INFO took 1 ms",
        1: b"INFO took 2 ms",
    }


def test_endlessly_many_templates_are_folded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, the frequent patterns stay whole, and no line is lost."""
    monkeypatch.setattr(patterns, "MAX_TEMPLATES", 300)
    monkeypatch.setattr(patterns, "KEPT_TEMPLATES", 50)
    letters = random.Random(3)
    miner = Miner(1)
    for number in range(10):
        words = ["".join(letters.choices("ghijklmnop", k=12)) for _ in range(400)]
        noise = [f"INFO {a} {b}" for a, b in zip(words[::2], words[1::2], strict=True)]
        block = "\n".join([*noise, *["ERROR disk is full"] * 20]).encode()
        miner.add(block, read, bucket=0, file=0, offset=number * 100_000)
    found = miner.merged()
    assert next(p for p in found if p.template == "disk is full").count == 200
    assert sum(p.count for p in found) + miner.folded_lines == miner.lines == 2_200
    assert len(found) <= 300 + 200
    assert miner.folded_templates > 0


def test_forgotten_shapes_are_learnt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are a cache only: counts are the same with next to no room for them."""
    lines = "\n".join(f"INFO {message}" for _, message in generated(500, seed=1)).encode()
    once, twice = Miner(1), Miner(1)
    once.add(lines, read, bucket=0, file=0)
    monkeypatch.setattr(patterns, "MAX_SHAPE_BYTES", 1)
    for part in lines.split(b"\n"):
        twice.add(part, read, bucket=0, file=0)
    counts = [Counter({p.template: p.count for p in m.merged()}) for m in (once, twice)]
    assert counts[0] == counts[1]


# --- rates ---------------------------------------------------------------------------------------

HOUR = 3_600.0


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (0, 1, "few"),
        (0, 3, "few"),
        (0, 8, "new"),
        (3, 0, "few"),
        (8, 0, "gone"),
        (2, 5, "few"),
        (10, 60, "spike"),
        (60, 10, "drop"),
        (1_000, 1_500, "same"),
        (100_000, 300_000, "spike"),
        (0, 0, "same"),
    ],
)
def test_few_lines_prove_nothing(before: int, after: int, kind: str) -> None:
    """Small counts differ by chance; what is certain but less than double is no news."""
    change = compare(Counted(before, HOUR), Counted(after, HOUR), tests=100)
    assert change.kind == kind


def test_windows_of_different_lengths_are_compared_by_rate() -> None:
    """An hour of a rate against a day of the same rate is no change."""
    change = compare(Counted(2_400, 24 * HOUR), Counted(100, HOUR))
    assert (change.kind, change.factor) == ("same", 1.0)


def test_what_always_came_in_bursts_has_to_change_by_more() -> None:
    """Thirty lines in one minute of ten are a spike in a steady log, and usual in a bursty one."""
    steady, bursty = [5] * 10, [50] + [0] * 9
    after = Counted(150, 600, [15] * 10)
    assert compare(Counted(50, 600, steady), after, tests=10).kind == "spike"
    assert compare(Counted(50, 600, bursty), after, tests=10).kind == "few"
    assert dispersion(bursty) > 40 > 1 > dispersion(steady)


def test_equal_rates_are_seldom_taken_for_a_change() -> None:
    """Over a thousand pairs of equal rates, false alarms stay as rare as was promised."""
    chance = random.Random(5)
    kinds: Counter[str] = Counter()
    for _ in range(1_000):
        rate = chance.choice((0.5, 2, 10, 50))
        counts = [sum(chance.random() < rate / 200 for _ in range(200)) for _ in range(2)]
        kinds[compare(Counted(counts[0], HOUR), Counted(counts[1], HOUR), tests=50).kind] += 1
    assert kinds["spike"] + kinds["drop"] == 0
    assert kinds["new"] + kinds["gone"] <= 20


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.01, 0.99))
def test_the_tail_of_a_binomial_is_a_probability_that_falls(k: int, n: int, share: float) -> None:
    """More successes are never more probable than fewer, and all are within 0 and 1."""
    assert 0 <= upper_tail(k + 1, n, share) <= upper_tail(k, n, share) <= 1 + 1e-9


def test_the_exact_tail_and_its_limit_agree() -> None:
    """At the seam between both, neither jumps."""
    exact, limit = upper_tail(530, 1_000, 0.5), upper_tail(531, 1_001, 0.5)
    assert exact == pytest.approx(limit, rel=0.1)


def test_the_step_in_a_rate_is_found() -> None:
    """Twice the log-likelihood ratio is largest where the rate really changed."""
    assert step_in([2, 3, 2, 2, 9, 8, 11, 9])[0] == 4
    assert step_in([0, 0, 0, 5])[0] == 3
    assert step_in([4, 4, 4, 4])[1] == 0
    assert step_in([])[1] == 0


# --- through the public door ---------------------------------------------------------------------


def _stamp(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _shop() -> str:
    """Return two hours of a log: what is new, gone, spiking, rare and steady in the second one."""
    chance = random.Random(9)
    lines = []
    for second in range(0, 7_200, 5):
        at, late = NOW - 7_200 + second, second >= 3_600
        user = chance.choice(USERS)
        lines.append((at, f"INFO user {user} logged in from 10.0.0.{chance.randrange(256)}"))
        if not late:
            lines.append((at, "INFO old cache warmed"))
        if late and second % 20 == 0:
            lines.append((at, f"ERROR tax service gave no rate for order {chance.randrange(9**9)}"))
        if second % (10 if late else 100) == 0:
            lines.append(
                (at, f"WARNING slow query: {chance.randrange(9_000)} ms, token=abcdef123456")
            )
    lines.append((NOW - 30, "INFO certificate renewed"))
    return "".join(f"{_stamp(at)} {text}\n" for at, text in lines)


@pytest.fixture
async def shop(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service that has the shop's log."""
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "shop.log"
    log.write_text(_shop(), encoding="utf-8")
    os.utime(log, (NOW, NOW))
    server, _ = watched(tmp_path, log_roots=(f"shop={tmp_path / 'logs'}",))
    async with Client(server) as client:
        yield client


async def _call(client: Client, **arguments: Any) -> dict[str, Any]:
    result = await client.call("log_patterns", sources=["shop"], **arguments)
    assert result.structured is not None, result.text
    return result.structured


async def test_patterns_are_compared_with_the_hour_before(shop: Client) -> None:
    """New, gone and more frequent ones are told as such; one line proves nothing."""
    answer = await _call(shop, order="change", changes=["new", "gone", "spike", "few", "same"])
    told = {row["template"]: row for row in answer["patterns"]}
    assert {template: row["change"] for template, row in told.items()} == {
        "tax service gave no rate for order <*>": "new",
        "old cache warmed": "gone",
        "slow query: <*> ms, token=<*>": "spike",
        "certificate renewed": "few",
        "user <*> logged in from <*>": "same",
    }
    assert [row["change"] for row in answer["patterns"][:3]] == ["new", "gone", "spike"]
    spike = told["slow query: <*> ms, token=<*>"]
    assert (spike["count"], spike["baseline_count"], spike["factor"]) == (360, 36, 10.0)
    assert sum(spike["histogram"]) == 360
    assert "abcdef123456" not in spike["example"]
    assert answer["redacted"] > 0


async def test_a_pattern_tells_when_and_where_it_was_seen(shop: Client) -> None:
    """First and last time, share, level, and a reference that leads to the line."""
    (row,) = (await _call(shop, level="error"))["patterns"]
    assert (row["level"], row["count"]) == ("error", 180)
    assert row["first_at"] == "2026-11-20T11:00:00.000Z"
    assert row["last_at"] == "2026-11-20T11:59:40.000Z"
    assert row["sources"] == ["shop/shop.log"]
    found = await shop.call("log_context", ref=row["ref"], before=0, after=0)
    assert found.structured is not None
    assert found.structured["entry"]["at"] == row["first_at"]


async def test_pages_are_of_one_window(shop: Client) -> None:
    """The patterns of all pages together are those of one large page, each once."""
    whole = await _call(shop, baseline="none")
    pages, cursor = [], None
    while True:
        page = await _call(shop, baseline="none", limit=2, cursor=cursor)
        pages += page["patterns"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == whole["patterns"]
    assert len(pages) == whole["total"] == 4
    assert all(row["change"] is None for row in pages)


async def test_an_empty_baseline_is_said_and_makes_nothing_new(shop: Client) -> None:
    """A log that began later than the baseline would otherwise be new altogether."""
    answer = await _call(shop, since="2h", baseline="9h/8h")
    assert {row["change"] for row in answer["patterns"]} == {None}
    assert any("nothing to compare" in note for note in answer["notes"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"since": "yesterdayish"}, "INVALID_ARGUMENTS"),
        ({"since": "1h", "until": "2h"}, "INVALID_ARGUMENTS"),
        ({"baseline": "1h"}, "INVALID_ARGUMENTS"),
        ({"sources": ["shpo"]}, "UNKNOWN_LOG"),
        ({"changes": ["newish"]}, "INVALID_ARGUMENTS"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    shop: Client, arguments: dict[str, Any], code: str
) -> None:
    """With a code, and what to do instead."""
    result = await shop.call("log_patterns", **arguments)
    assert result.error is not None
    assert (result.error["code"], bool(result.error["hint"])) == (code, True)
