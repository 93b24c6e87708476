"""list_log_sources, search_logs and log_context through the public door."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.testing import CallResult, Client
from services.monitoring.logs.sources import LogRoot, log_roots
from tests.services.monitoring.logbook import NOON, client_of, line, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three logs, one of them rotated."""
    write(tmp_path / "app.log.1.gz", "".join(line(NOON + n, f"old{n}") for n in range(100)))
    write(
        tmp_path / "app.log",
        "".join(
            line(NOON + 100 + n, f"m{n}", "ERROR" if n % 10 == 0 else "INFO") for n in range(100)
        ),
    )
    write(tmp_path / "web" / "access.log", "".join(_access(n) for n in range(50)))
    write(tmp_path / "plain.txt", "no times\n")
    return tmp_path


def _access(number: int) -> str:
    status = 500 if number % 10 == 0 else 200
    return (
        f"10.0.0.1 - - [01/Jan/2026:12:00:{number:02} +0000] "
        f'"GET /p{number}?token=abcdef{number} HTTP/1.1" {status} 12 "-" "curl/8"\n'
    )


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[Client]:
    """A client of a service that reads them."""
    async with client_of(f"t={folder}") as connected:
        yield connected


def told(result: CallResult) -> dict[str, Any]:
    """Return the structured result of a call that worked."""
    assert result.structured is not None, result.text
    return result.structured


def error_of(result: CallResult) -> dict[str, Any]:
    """Return the error of a call that did not."""
    assert result.is_error
    error: dict[str, Any] = json.loads(result.text)
    inner: dict[str, Any] = error.get("error", error)
    return inner


async def test_logs_are_listed_with_what_they_are(client: Client) -> None:
    """Rotated files are part of the log they were."""
    rows = {row["name"]: row for row in told(await client.call("list_log_sources"))["logs"]}
    mine = {name: row for name, row in rows.items() if name.startswith("t/")}
    assert list(mine) == ["t/app.log", "t/plain.txt", "t/web/access.log"]
    assert (mine["t/app.log"]["files"], mine["t/app.log"]["compressed"]) == (2, 1)
    assert mine["t/app.log"]["first_at"] == "2026-01-01T12:00:00.000Z"
    assert [row["format"] for row in mine.values()] == ["stamped", "plain", "access"]
    first = told(await client.call("list_log_sources", sources=["t"], limit=2))
    rest = await client.call(
        "list_log_sources", sources=["t"], limit=2, cursor=first["next_cursor"]
    )
    assert [row["name"] for row in told(rest)["logs"]] == ["t/web/access.log"]


async def test_entries_are_found_over_all_logs_page_by_page(client: Client) -> None:
    """Newest first, through the rotated file, in as many pages as it takes."""
    seen: list[str] = []
    cursor = None
    while True:
        found = told(
            await client.call("search_logs", sources=["t/app.log"], limit=45, cursor=cursor)
        )
        seen += [entry["message"] for entry in found["entries"]]
        cursor = found["next_cursor"]
        assert found["truncated"] is (cursor is not None)
        if cursor is None:
            break
    assert seen == [f"m{n}" for n in range(99, -1, -1)] + [f"old{n}" for n in range(99, -1, -1)]


async def test_an_entry_says_what_the_line_says(client: Client) -> None:
    """With its fields; a secret in it is taken out, and counted."""
    found = told(
        await client.call("search_logs", fields=["status>=500"], sources=["t"], until="2026-01-02")
    )
    entry = found["entries"][0]
    assert entry["source"] == "t/web/access.log"
    assert entry["level"] == "error"
    assert entry["fields"]["path"] == "/p40?token=[redacted]"
    assert found["returned"] == found["matched"] == 5
    assert found["redacted"] >= 5
    assert found["untrusted"] is True
    assert found["histogram"] == {"step_s": 60, "buckets": [["2026-01-01T12:00Z", 5]]}


async def test_a_ref_leads_to_the_lines_around(client: Client, folder: Path) -> None:
    """Also when the file was rotated and compressed since."""
    found = told(await client.call("search_logs", text="m50", sources=["t"], limit=1))
    ref = found["entries"][0]["ref"]
    for _ in range(2):
        context = told(await client.call("log_context", ref=ref, before=2, after=3))
        assert context["entry"]["message"] == "m50"
        assert [text.split()[-1] for text in context["before"]] == ["m48", "m49"]
        assert [text.split()[-1] for text in context["after"]] == ["m51", "m52", "m53"]
        write(folder / "app.log.2.gz", (folder / "app.log").read_bytes())
        write(folder / "app.log", line(NOON + 900, "new"))
    assert context["file"] == "t/app.log.2.gz"
    (folder / "app.log.2.gz").unlink()
    gone = error_of(await client.call("log_context", ref=ref))
    assert gone["code"] == "UNKNOWN_LOG"


@pytest.mark.parametrize(
    "ref",
    ["", "x", "t/app.log@0", "t/../../etc/passwd@0-0-0-0", "t/app.log@fff-400-0-1", "@0-0-0-0"],
)
async def test_a_ref_leads_nowhere_else(client: Client, ref: str) -> None:
    """It names a log and a place; a file that is no log has no name."""
    error = error_of(await client.call("log_context", ref=ref))
    assert error["code"] in ("INVALID_ARGUMENTS", "UNKNOWN_LOG")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ({"sources": ["nothing"]}, "UNKNOWN_LOG", "nothing"),
        ({"regex": "("}, "BAD_PATTERN", "not valid"),
        ({"text": "a", "regex": "b"}, "INVALID_ARGUMENTS", "exclude each other"),
        ({"text": ""}, "INVALID_ARGUMENTS", "empty"),
        ({"fields": ["what"]}, "INVALID_ARGUMENTS", "condition"),
        ({"since": "soon"}, "INVALID_ARGUMENTS", "since"),
        ({"since": "5m", "until": "1h"}, "INVALID_ARGUMENTS", "before"),
        ({"cursor": "made up"}, "CURSOR_REFUSED", "cursor"),
        ({"limit": 0}, "INVALID_ARGUMENTS", "limit"),
        ({"sorces": []}, "INVALID_ARGUMENTS", "sources"),
    ],
)
async def test_what_cannot_be_is_refused(
    client: Client, arguments: dict[str, Any], code: str, says: str
) -> None:
    """With what to do about it."""
    error = error_of(await client.call("search_logs", **arguments))
    assert error["code"] == code
    assert says in json.dumps(error)


async def test_a_cursor_belongs_to_its_call(client: Client) -> None:
    """Other arguments would be another search; how many to show may change."""
    first = told(await client.call("search_logs", sources=["t"], limit=2))
    other = await client.call("search_logs", sources=["t"], text="m", cursor=first["next_cursor"])
    assert error_of(other)["code"] == "CURSOR_REFUSED"
    more = await client.call("search_logs", sources=["t"], limit=9, cursor=first["next_cursor"])
    assert told(more)["returned"] == 9


async def test_some_unknown_names_are_a_note(client: Client) -> None:
    """The others are searched."""
    found = told(await client.call("search_logs", sources=["nothing", "t/app.log"], limit=1))
    assert found["returned"] == 1
    assert any("nothing" in note for note in found["notes"])


async def test_answers_stay_small(folder: Path) -> None:
    """By bytes, whatever the limit; the next page goes on behind."""
    write(folder / "big.log", "".join(line(NOON + n, f"{n} " + "x" * 3_000) for n in range(100)))
    async with client_of(f"t={folder}", answer_bytes=40_000) as client:
        seen: list[str] = []
        cursor = None
        while len(seen) < 100:
            result = await client.call(
                "search_logs", sources=["t/big.log"], limit=100, order="oldest", cursor=cursor
            )
            found = told(result)
            assert len(json.dumps(found)) < 64_000
            seen += [entry["message"].split()[0] for entry in found["entries"]]
            cursor = found["next_cursor"]
            assert cursor is None or found["truncated_by"] == "bytes"
    assert seen == [str(n) for n in range(100)]


async def test_new_logs_and_new_roots_are_seen_at_once(tmp_path: Path) -> None:
    """Even a root that was not there when the service began, though its worker is confined."""
    root = tmp_path / "later"
    async with client_of(f"t={root}") as client:
        before = told(await client.call("list_log_sources", sources=["t"]))
        assert before["logs"] == []
        assert any("t: not there" in one for one in before["skipped"])
        write(root / "a.log", line(NOON, "here"))
        found = told(await client.call("search_logs", sources=["t"]))
        assert [entry["message"] for entry in found["entries"]] == ["here"]
        os.rename(root, tmp_path / "moved")
        write(root / "a.log", line(NOON, "again"))
        found = told(await client.call("search_logs", sources=["t"]))
        assert [entry["message"] for entry in found["entries"]] == ["again"]


async def test_searches_run_side_by_side(client: Client) -> None:
    """Two workers; the others wait their turn."""
    calls = (client.call("search_logs", sources=["t"], text=f"m{n}", limit=1) for n in range(12))
    results = await asyncio.gather(*calls)
    assert [told(result)["returned"] for result in results] == [1] * 12


def test_the_suites_own_logs_need_no_configuration() -> None:
    """Where deploy has put them, unless another root has their name."""
    names = [root.name for root in log_roots(["nginx=/var/log/nginx"])]
    assert names in (["suite", "nginx"], ["nginx"])
    assert log_roots(["suite=/x/*.log"]) == [LogRoot("suite", "/x", "*.log")]
