"""Logs are written by strangers, while they are read, and by programs that fail."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core.files import landlock
from services.monitoring.errors import LogsUnavailable
from services.monitoring.logs import lookups, pool
from services.monitoring.logs.pool import Logs
from services.monitoring.logs.sources import LogRoot
from tests.services.monitoring.logbook import (
    NOON,
    PACKERS,
    found,
    line,
    messages,
    scanning,
    write,
)
from tests.services.monitoring.nosy_worker import PROGRAM

MIB = 1024 * 1024


# --- what is written -----------------------------------------------------------------------------


def test_a_bomb_costs_the_budget_and_no_more(tmp_path: Path) -> None:
    """100 MB in 100 kB: decoded in steps, counted, and left where the budget ends."""
    write(tmp_path / "a.log.1.gz", b"boom " * (20 * MIB))
    for order in ("newest", "oldest"):
        answer = found(tmp_path, text="nothing", order=order, budget={"bytes": 5_000_000})
        assert answer["partial"] == "bytes"
        assert answer["scanned_bytes"] < 8_000_000


def test_a_frame_that_wants_gigabytes_is_refused(tmp_path: Path) -> None:
    """A header of zstd names its window; RFC 8878, section 3.1.1.1.2."""
    frame = b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x29\x00\x00hello"
    (tmp_path / "a.log.1.zst").write_bytes(frame)
    answer = found(tmp_path)
    assert answer["entries"] == []
    assert any("damaged zstd" in one for one in answer["skipped"])


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_damaged_files_are_read_as_far_as_they_are_right(tmp_path: Path, ending: str) -> None:
    """And what is no such file at all is said to be none."""
    rows = "".join(line(NOON + n, f"m{n}") for n in range(2_000))
    path = write(tmp_path / f"a.log.1{ending}", rows)
    data = path.read_bytes()
    for part in range(1, 10):
        cut = len(data) * part // 10
        path.write_bytes(data[:cut])
        seen = messages(found(tmp_path, order="oldest", limit=2_000))
        assert seen[:-1] == [f"m{n}" for n in range(len(seen) - 1)]
        path.write_bytes(data[:cut] + b"\xff\xfe" + data[cut + 2 :])
        found(tmp_path, order="oldest")  # no matter what, it ends
    path.write_bytes(b"not compressed\n")
    assert any("damaged" in one for one in found(tmp_path)["skipped"])


def test_binary_files_are_left_out_and_holes_are_not(tmp_path: Path) -> None:
    """A log that was truncated under a program that writes on begins with NULs: ftruncate(2)."""
    write(tmp_path / "binary.log", bytes(range(256)) * 100)
    with (tmp_path / "hole.log").open("wb") as file:
        file.seek(3 * MIB)
        file.write(line(NOON, "behind").encode())
    answer = found(tmp_path, text="behind")
    assert len(answer["entries"]) == 1
    assert "t/binary.log: binary" in answer["skipped"]


def test_bytes_that_are_no_text_are_counted(tmp_path: Path) -> None:
    """Shown as U+FFFD; one that was written as such is none of them."""
    write(tmp_path / "a.log", line(NOON, "x").encode()[:-1] + b"\xff\xfe caf\xe9 \xef\xbf\xbd\n")
    answer = found(tmp_path)
    assert messages(answer) == ["x\ufffd\ufffd caf\ufffd \ufffd"]
    assert answer["undecodable"] == 3


def test_what_terminals_would_obey_is_taken_out(tmp_path: Path) -> None:
    """Colours, titles, links, and text that hides; secrets behind them are found."""
    text = "\x1b[31mred\x1b[0m \x1b]0;title\x07 a\u202eb pass\x1b[0mword=hunter2hunter2"
    write(tmp_path / "a.log", line(NOON, text))
    answer = found(tmp_path)
    assert messages(answer) == ["red  ab password=[redacted]"]
    assert (answer["removed"] > 10, answer["redacted"]) == (True, 1)


def test_a_key_in_many_lines_is_one_secret(tmp_path: Path) -> None:
    """In a log without times each line would be an entry, and the key's lines look like nothing."""
    body = "\n".join(["MIIEpAIBAAKCAQEA" * 4] * 12)
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    for start in ("", line(NOON, "dump:")):
        write(tmp_path / "a.log", f"{start or 'before'}\n{key}\nafter\n")
        for query in ({}, {"text": "MIIEpAIBAAKCAQEA"}, {"text": "after", "context": 9}):
            answer = found(tmp_path, **query)
            assert "MIIEpAI" not in repr(answer["entries"])


@pytest.mark.parametrize(
    "query",
    [
        {"text": "hunter"},
        {"regex": "password=h"},
        {"regex": "password=[a-m]"},
        {"fields": ["password=hunter22"]},
        {"fields": ["password~^h"]},
        {"fields": ["message~password=h"]},
    ],
)
def test_nobody_learns_a_secret_by_asking_for_its_letters(
    tmp_path: Path, query: dict[str, Any]
) -> None:
    """What is looked for has to be in what is shown: otherwise each hit tells a letter."""
    write(tmp_path / "a.log", line(NOON, "login password=hunter22 ok"))
    write(tmp_path / "b.log", '{"msg":"login","password":"hunter22"}\n')
    answer = found(tmp_path, **query)
    assert (answer["entries"], answer["matched"]) == ([], 0)
    assert len(found(tmp_path, exclude=["hunter", "password=h"])["entries"]) == 2
    assert len(found(tmp_path, text="login")["entries"]) == 2


# --- while it is read ----------------------------------------------------------------------------


@pytest.fixture
def meddling(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Have something done before every read of a block."""

    def with_each_read(meddle: Callable[[int], None]) -> None:
        count, preadv = 0, os.preadv

        def read(fd: int, buffers: Any, offset: int) -> int:
            nonlocal count
            count += 1
            meddle(count)
            return preadv(fd, buffers, offset)

        monkeypatch.setattr(os, "preadv", read)

    return with_each_read


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_log_that_is_truncated_while_it_is_read_ends_there(
    tmp_path: Path, meddling: Callable[[Callable[[int], None]], None], order: str
) -> None:
    """No signal, no wait for what is gone; it is said, and other logs are searched."""
    path = write(tmp_path / "a.log", "".join(line(NOON + n, "x" * 90) for n in range(30_000)))
    write(tmp_path / "b.log", line(NOON, "needle"))
    meddling(lambda count: os.truncate(path, 1_000) if count == 3 else None)
    answer = found(tmp_path, text="needle", order=order)
    assert messages(answer) == ["needle"]
    assert any("t/a.log: truncated while it was read" in one for one in answer["skipped"])


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_log_that_grows_while_it_is_read_is_read_as_it_was(
    tmp_path: Path, meddling: Callable[[Callable[[int], None]], None], order: str
) -> None:
    """Faster than it is read: a search that followed would never end."""
    path = write(tmp_path / "a.log", "".join(line(NOON + n, "old") for n in range(20_000)))
    size = path.stat().st_size

    def grow(count: int) -> None:
        with path.open("a") as file:
            file.write(line(NOON + 90_000, "new") * 20_000)

    meddling(grow)
    answer = found(tmp_path, order=order, limit=10, count_all=True)
    assert answer["matched"] == 20_000
    assert answer["scanned_bytes"] == size


def test_a_log_that_is_rotated_between_listing_and_opening_is_found(tmp_path: Path) -> None:
    """By what it is, not by the name that it had."""
    path = write(tmp_path / "a.log", line(NOON, "old"))
    with scanning(tmp_path) as scan:
        (family,) = scan.families()
        path.rename(tmp_path / "a.log.1")
        write(path, line(NOON + 1, "new"))
        ((member, _, _),) = scan.ordered(family)
        assert member.name == "a.log.1"
        (tmp_path / "a.log.1").unlink()
        assert scan.ordered(family) == []
        assert any("rotated away" in one for one in scan.told()["skipped"])


def test_a_writer_at_full_speed_disturbs_no_search(tmp_path: Path) -> None:
    """It appends and rotates all the time; each answer is right for what was there."""
    path = write(tmp_path / "a.log", "".join(line(NOON + n, f"m{n}") for n in range(1_000)))
    ended = threading.Event()
    block = "".join(line(NOON + 5_000, "noise") for _ in range(5_000))

    def work() -> None:
        number = 0
        while not ended.is_set() and number < 200:
            number += 1
            with path.open("a") as file:
                file.write(block)
            if number % 20 == 0:
                path.rename(tmp_path / f"a.log.{number}")

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(10):
            answer = found(tmp_path, regex=r" m\d+$", until=NOON + 4_000, limit=1_000)
            assert messages(answer) == [f"m{n}" for n in range(999, -1, -1)]
    finally:
        ended.set()
        writer.join()


# --- the process that reads ----------------------------------------------------------------------


@pytest.fixture
async def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Logs]:
    """Workers that know more jobs."""
    monkeypatch.setattr(pool, "PROGRAM", PROGRAM)
    write(tmp_path / "logs" / "a.log", line(NOON, "x"))
    found_logs = Logs([LogRoot("t", str(tmp_path / "logs"))], seconds=1, workers=2)
    async with found_logs.running():
        yield found_logs
    assert not found_logs.pids


async def test_a_worker_reads_logs_and_nothing_else(logs: Logs, tmp_path: Path) -> None:
    """The kernel sees to it, should a path ever be opened past the opener."""
    write(tmp_path / "outside.log", "x")
    inside = str(tmp_path / "logs" / "a.log")
    told = await logs.run(
        "look_around",
        {"inside": inside, "outside": str(tmp_path / "outside.log"), "etc": "/etc/passwd"},
    )
    assert told["environment"] in (["LANG", "PYTHONPATH"], ["LANG", "LC_CTYPE", "PYTHONPATH"])
    assert told["inside"] == "read"
    assert told["write"] != "written"
    if landlock.version():
        assert (told["outside"], told["etc"]) == ("PermissionError", "PermissionError")


async def test_a_job_that_hangs_is_ended(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not answer holds its process, and nobody else."""
    monkeypatch.setattr(pool, "GRACE_S", 0.2)
    with pytest.raises(LogsUnavailable, match="did not end"):
        await logs.run("sleep", {})
    assert (await logs.run("search", {}))["matched"] == 1


async def test_a_call_that_is_cancelled_ends_its_process(logs: Logs) -> None:
    """Nobody waits for the answer any more."""
    await logs.run("search", {})
    (pid,) = logs.pids
    call = asyncio.create_task(logs.run("sleep", {}))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(5):
        while pid in logs.pids:  # noqa: ASYNC110 - the kernel's event, seen from outside
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("job", ["eat", "die", "no such job"])
async def test_a_job_that_fails_is_an_error_and_the_next_one_runs(logs: Logs, job: str) -> None:
    """Whatever it died of."""
    with pytest.raises(LogsUnavailable):
        await logs.run(job, {})
    assert (await logs.run("search", {}))["matched"] == 1


async def test_a_search_takes_little_memory(tmp_path: Path) -> None:
    """The same for a file of any size: blocks are used again."""
    write(tmp_path / "a.log", line(NOON, "y" * 400) * 100_000)
    found_logs = Logs([LogRoot("t", str(tmp_path))])
    async with found_logs.running():
        await found_logs.run("sources", {})
        (pid,) = found_logs.pids
        before = _peak(pid)
        answer = await found_logs.run("search", {"text": "nothing"})
        assert answer["scanned_bytes"] > 40_000_000
        assert _peak(pid) - before < 16 * MIB


def _peak(pid: int) -> int:
    status = (Path("/proc") / str(pid) / "status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


# --- compressed files that are not what they should be --------------------------------------------


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_what_is_right_of_a_damaged_file_is_found_from_the_end_too(
    tmp_path: Path, ending: str
) -> None:
    """It is read from its beginning, and what came before the damage is kept."""
    chance = random.Random(1)
    rows = [f"m{n} {chance.random()}" for n in range(60_000)]
    text = "".join(line(NOON + n, row) for n, row in enumerate(rows))
    path = write(tmp_path / f"a.log.1{ending}", text)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3] + b"\xff" * 300_000 * (ending == ".zst"))
    newest = found(tmp_path, limit=5, count_all=True)
    assert newest["matched"] > 1_000
    assert any("damaged" in one for one in newest["skipped"])
    assert newest["matched"] == found(tmp_path, limit=5, count_all=True, order="oldest")["matched"]
    last = newest["matched"] - 1
    assert messages(newest)[1:] == rows[last - 1 : last - 5 : -1]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_zeros_behind_a_compressed_file_are_none_of_it(tmp_path: Path, ending: str) -> None:
    """Blocks of tapes and images are filled up with them; gzip(1) and xz(1) ignore them, too."""
    path = write(tmp_path / f"a.log.1{ending}", line(NOON, "x"))
    path.write_bytes(path.read_bytes() + bytes(300_000))
    for order in ("newest", "oldest"):
        answer = found(tmp_path, order=order)
        assert (messages(answer), answer["skipped"]) == (["x"], [])


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_a_file_that_holds_nothing_over_and_over_is_left(tmp_path: Path, ending: str) -> None:
    """Millions of empty members take hours to decode, and a budget of bytes is never spent."""
    empty = PACKERS[ending](b"")
    path = tmp_path / f"a.log.1{ending}"
    path.write_bytes(empty * (8 * MIB // len(empty)) + PACKERS[ending](line(NOON, "x").encode()))
    write(tmp_path / "b.log", line(NOON, "there"))
    started = time.monotonic()
    answer = found(tmp_path)
    assert time.monotonic() - started < 4
    assert messages(answer) == ["there"]
    assert any("holds nothing" in one for one in answer["skipped"])


def test_a_page_that_took_all_the_time_still_leads_on(tmp_path: Path) -> None:
    """Else the next one does the same again, and no caller ever comes to the end."""
    for number in range(3):
        rows = "".join(line(NOON + n, f"{number}-{n}") for n in range(3_000))
        write(tmp_path / f"{number}.log.1.gz", rows, mtime=NOON + 9_000)
    seen: list[str] = []
    places = None
    for _ in range(40):
        answer = found(tmp_path, limit=1_000, places=places, budget={"bytes": 150_000})
        seen += messages(answer)
        places = answer["places"]
        if places is None:
            break
    assert len(seen) == len(set(seen)) == 9_000


# --- secrets that are cut in two ------------------------------------------------------------------

SECRET = "hunter22hunter22hunter22"


def shown_around(folder: Path, ref: str) -> str:
    """Return all that log_context shows of a ref."""
    with scanning(folder) as scan:
        told = lookups.context(scan, {"ref": ref, "before": 50, "after": 50})
        return repr((told["entry"], told["before"], told["after"]))


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("padding", [0, 200_000])
def test_a_made_up_ref_cuts_no_secret_off_its_name(
    tmp_path: Path, ending: str, padding: int
) -> None:
    """A ref is text that callers can change, and a secret without its name looks like nothing."""
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET * 2}\n{SECRET * 2}\n-----END PRIVATE KEY-----\n"
    text = line(NOON, "first") + line(NOON + 1, f"{'x' * padding} password={SECRET} {'y' * 50}")
    text += line(NOON + 2, f"password:\n  {SECRET}") + line(NOON + 3, f"key\n{key}")
    write(tmp_path / f"a.log{ending}", text)
    ref = found(tmp_path, order="oldest", limit=1)["entries"][0]["ref"]
    name, rest = ref.split("@")[0], ref.split("-", 1)[1]
    for at in range(padding + 30 if padding else 0, len(text)):
        if at % 3 == 0 or padding == 0:
            assert "unter22hunter22" not in shown_around(tmp_path, f"{name}@{at:x}-{rest}")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_what_is_shown_around_a_match_far_out_cuts_no_secret_off_its_name(
    tmp_path: Path, ending: str
) -> None:
    """Of an endless line only a part is shown, and callers choose around which text."""
    marks = "".join(f"<{n:05}>" for n in range(800))
    text = line(NOON, f"{'x ' * 50_000}password={SECRET} {marks}")
    write(tmp_path / f"a.log.1{ending}", text)
    for n in range(250, 300):
        answer = found(tmp_path, text=f"<{n:05}>")
        assert answer["matched"] == 1
        assert f"<{n:05}>" in repr(answer["entries"])
        assert "unter22" not in repr(answer["entries"])


def test_lines_around_an_entry_begin_where_lines_do(tmp_path: Path) -> None:
    """What is read for them does not, and a secret may be cut there."""
    rows = "".join(line(NOON + n, f"password={SECRET * 100}  {n}") for n in range(40))
    write(tmp_path / "a.log.1.gz", rows + line(NOON + 99, "x" * 70_000) + line(NOON + 100, "end"))
    for text in ("end", *(f"  {n}" for n in range(40))):
        assert "unter22" not in repr(found(tmp_path, text=text, context=20)["entries"])


# --- lines that claim any time -------------------------------------------------------------------


def test_a_first_line_from_the_future_hides_no_log(tmp_path: Path) -> None:
    """Clocks are set, and anybody may write any time: one line says little about a file."""
    rows = "".join(line(NOON + n, f"m{n}") for n in range(50))
    write(tmp_path / "a.log", line(NOON + 86_400 * 30, "future") + rows)
    answer = found(tmp_path, since=NOON + 5, until=NOON + 7)
    assert messages(answer) == ["m6", "m5"]


@pytest.mark.parametrize("factor", [1_000, 1_000_000, 1_000_000_000])
def test_moments_of_the_epoch_are_exact_whatever_their_unit(tmp_path: Path, factor: int) -> None:
    """Dividing again and again loses the last digit, and with it the first entry of a range."""
    millis = [1_774_744_356_274 + 997 * n for n in range(200)]
    rows = "".join(f'{{"ts": {m * factor // 1_000}, "msg": "{m}"}}\n' for m in millis)
    write(tmp_path / "a.log", rows)
    for m in millis[::20]:
        assert messages(found(tmp_path, since=m / 1_000, until=(m + 1) / 1_000)) == [str(m)]
