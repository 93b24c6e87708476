"""The audit log: what stands in it, that it cannot be changed unseen, and what a disk can do to it.

Each line follows from the one before and is signed; `scripts/verify-audit` is what an auditor runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.observability import audit, audit_file
from core.observability.audit import MAX_BODY_BYTES, MAX_QUEUED, MAX_QUEUED_BYTES, AuditLog
from core.observability.audit_chain import BEGINNING, AuditKey, check, sealed
from core.observability.audit_repeats import MAX_KINDS, Kind, Repeats
from core.security.keys import hash_of
from core.settings import LoggingSection, SettingsError
from scripts import verify_audit
from tests.servers.processes import ServerProcess
from tests.wire.harness import Wire

KEY = "the-right-key-of-this-test"
SEAL_KEY = "k" * 64
SQL = "SELECT salary FROM people"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the log is."""
    return tmp_path / "logs" / "audit.jsonl"


def log_at(file: Path, *, max_bytes: int = 1024 * 1024, secret: str = SEAL_KEY) -> AuditLog:
    """Return a log that nobody has opened yet."""
    section = LoggingSection(audit_file=file, max_file_bytes=max_bytes)
    return AuditLog("demo", "1.0.0", section, secret)


def written(file: Path, count: int = 5, **more: Any) -> list[bytes]:
    """Return the lines of a log with `count` notes, between file and start, and stop."""
    log = log_at(file, **more)
    log.open()
    for number in range(count):
        log.noted("note", number=number)
    log.close()
    return file.read_bytes().splitlines(keepends=True)


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Return what a log says, but for the line that each file begins with."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line for line in lines if line["event"] != "file"]


def is_in(file: Path, text: str) -> bool:
    """Return whether a log has a text anywhere."""
    return text in file.read_text()


def verified(*files: Path, options: tuple[str, ...] = ()) -> int:
    """Run `verify-audit`; return its exit status."""
    key = files[0].parent / "seal.key"
    if not key.exists():
        key.write_text(SEAL_KEY + "\n")
    return verify_audit.main([*map(str, files), "--seal-key", str(key), *options])


def audited(file: Path, **more: Any) -> Wire:
    """Return a server with an audit log and a key."""
    settings = {
        "auth": {"api_key": KEY},
        "logging": {"audit_file": str(file)},
        "security": {"seal_key": SEAL_KEY},
        **more,
    }
    return Wire(settings=settings, key=KEY)


def rpc(method: str, **params: Any) -> dict[str, Any]:
    """Return a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


# --- what stands in it ----------------------------------------------------------------------------


async def test_each_door_leaves_a_line_for_each_call(file: Path) -> None:
    """Who, from where, what, with what outcome; of arguments names and sizes."""
    async with audited(file) as wire:
        headers = {
            "x-forwarded-for": "203.0.113.9",
            "x-request-id": "r-1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
        body = rpc("tools/call", name="echo", arguments={"text": SQL})
        await wire.ask("POST", "/rpc", json_=body, headers=headers)
        await wire.ask("POST", "/tools/echo", json_={"text": SQL})
        session = await wire.session()
        await session.call("echo", text=SQL)
        await session.call("fail")
        await wire.ask_modern("tools/call", {"name": "echo", "arguments": {"text": SQL}})
        await wire.ask("POST", "/rpc", json_=rpc("tools/list"))
    start, *calls, stop = lines_of(file)
    assert (start["event"], stop["event"]) == ("start", "stop")
    assert [line["event"] for line in calls] == ["tool_call"] * 5
    assert [line["outcome"] for line in calls] == ["ok", "ok", "ok", "NOT_FOUND", "ok"]
    first = calls[0]
    assert first["principal"] == "api-key"
    assert first["auth"] == "api_key"
    assert first["address"] == "203.0.113.9"
    assert first["request_id"] == "r-1"
    assert first["traceparent"] == headers["traceparent"]
    assert first["name"] == "echo"
    assert first["arguments"] == {"text": len(SQL) + 2}
    assert first["duration_ms"] >= 0
    assert first["time"].endswith("Z")
    assert calls[2]["client"] == {"name": "wire", "version": "1"}
    assert len(calls[2]["session"]) == 16
    digests = [line["arguments_digest"] for line in calls]
    assert digests[0] == digests[1] == digests[2] != digests[3]
    assert not is_in(file, SQL)
    assert verified(file) == 0


async def test_resources_and_prompts_leave_lines_too(file: Path) -> None:
    """The name that the server gave them, never the caller's text."""
    async with audited(file) as wire:
        await wire.ask("POST", "/rpc", json_=rpc("resources/read", uri="demo://item/7"))
        await wire.ask("POST", "/rpc", json_=rpc("resources/read", uri="demo://none/hunter2"))
        await wire.ask("POST", "/rpc", json_=rpc("prompts/get", name="show", arguments={}))
        await wire.ask("POST", "/rpc", json_=rpc("prompts/get", name="hunter2-prompt"))
    found = [(x["event"], x["name"], x["outcome"]) for x in lines_of(file)[1:-1]]
    assert found == [
        ("resource_read", "demo://item/7", "ok"),
        ("resource_read", "unknown", "RESOURCE_NOT_FOUND"),
        ("prompt_get", "show", "ok"),
        ("prompt_get", "unknown", "UNKNOWN_PROMPT"),
    ]
    assert not is_in(file, "hunter2")


async def test_whatever_is_refused_before_it_begins_leaves_a_line(file: Path) -> None:
    """Names that somebody tries, on both doors; a state that was stolen; completions."""
    reference = {"type": "ref/prompt", "name": "none"}
    async with audited(file) as wire:
        await wire.ask("POST", "/rpc", json_=rpc("tools/call", name="hunter2", arguments={}))
        await wire.ask("POST", "/tools/hunter2", json_={})
        stolen = {"name": "echo", "arguments": {"text": "x"}, "requestState": "stolen"}
        await wire.ask_modern("tools/call", stolen)
        argument = {"name": "x", "value": "hunter2"}
        body = rpc("completion/complete", ref=reference, argument=argument)
        await wire.ask("POST", "/rpc", json_=body)
    found = [(x["event"], x["name"], x["outcome"]) for x in lines_of(file)[1:-1]]
    assert found == [
        ("tool_call", "unknown", "UNKNOWN_TOOL"),
        ("tool_call", "unknown", "UNKNOWN_TOOL"),
        ("tool_call", "echo", "BAD_REQUEST_STATE"),
        ("completion", "unknown", "INVALID_PARAMS"),
    ]
    assert not is_in(file, "hunter2")


async def test_outcomes_tell_what_broke_from_what_was_cancelled(file: Path) -> None:
    """A resource that fails was not cancelled; a call that was, was not refused."""
    async with audited(file) as wire:
        session = await wire.session("2025-11-25")
        await session.ask("resources/read", {"uri": "demo://broken"})
        holding = session.start("tools/call", {"name": "hold", "arguments": {}}, id_=77)
        await wire.demo.record.running.wait()
        await session.notify("notifications/cancelled", {"requestId": 77})
        await holding.whole()
    found = [(x["event"], x["outcome"]) for x in lines_of(file)[1:-1]]
    assert found == [("resource_read", "INTERNAL_ERROR"), ("tool_call", "cancelled")]


async def test_refusals_leave_lines_but_no_flood_of_them(file: Path) -> None:
    """Wrong keys up to the limit, then one line a minute; whoever sent none guessed nothing."""
    limits = {"failures_per_minute": 3, "calls_per_minute": 1, "burst": 1}
    async with audited(file, rate_limit=limits) as wire:
        for _ in range(20):
            headers = {"authorization": "Bearer hunter2"}
            await wire.ask("POST", "/rpc", json_=rpc("ping"), headers=headers)
        await wire.ask("POST", "/rpc", json_=rpc("ping"), headers={"authorization": ""})
        for _ in range(2):
            await wire.ask("POST", "/tools/echo", json_={"text": "x"})
    lines = lines_of(file)[1:-1]
    events = ["refused"] * 3 + ["flood"] + ["tool_call"] * 2 + ["flood"]
    assert [line["event"] for line in lines] == events
    assert lines[0]["outcome"] == "UNAUTHORIZED"
    assert lines[0]["reason"] == "wrong"
    assert lines[0]["path"] == "/rpc"
    assert lines[3]["kind"] == "failures"
    assert [line["outcome"] for line in lines[4:6]] == ["ok", "RATE_LIMITED"]
    assert (lines[3]["requests"], lines[6]["requests"]) == (1, 16)
    assert lines[6]["addresses"] == {"127.0.0.1": 16}
    assert not is_in(file, "hunter2")


def keys_file(folder: Path, **keys: str) -> Path:
    """Write a keys file: name → scope; the keys are `mcp_` and the name."""
    path = folder / "keys.json"
    made = "2026-01-01T00:00:00Z"
    entries = [
        {"name": name, "hash": hash_of(f"mcp_{name}"), "scopes": [scope], "created": made}
        for name, scope in keys.items()
    ]
    path.touch(mode=0o600)
    path.write_text(json.dumps({"version": 1, "keys": entries}))
    return path


async def test_keys_that_change_and_those_that_do_not_suffice_leave_lines(
    file: Path, tmp_path: Path
) -> None:
    """By name; what a key may not use, and what it may use nothing of."""
    path = keys_file(tmp_path, narrow="demo:add", foreign="postgres", old="*")
    async with audited(file, auth={"keys_file": str(path)}) as wire:

        async def call(key: str) -> int:
            headers = {"authorization": f"Bearer mcp_{key}"}
            answer = await wire.ask("POST", "/tools/echo", json_={"text": "x"}, headers=headers)
            return answer.status

        assert [await call(key) for key in ("narrow", "foreign", "old")] == [403, 403, 200]
        keys_file(tmp_path, narrow="demo", foreign="postgres", new="*")
        wire.server._authenticator.tick(time.monotonic() + 60)
        assert [await call(key) for key in ("narrow", "old")] == [200, 401]
    lines = lines_of(file)[1:-1]
    seen = [(line["event"], line.get("principal"), line.get("outcome")) for line in lines]
    assert seen == [
        ("tool_call", "narrow", "NOT_PERMITTED"),
        ("refused", "foreign", "INSUFFICIENT_SCOPE"),
        ("tool_call", "old", "ok"),
        ("keys", None, None),
        ("tool_call", "narrow", "ok"),
        ("refused", "anonymous", "UNAUTHORIZED"),
    ]
    changes = {name: lines[3].get(name) for name in ("added", "removed", "changed")}
    assert changes == {"added": ["new"], "removed": ["old"], "changed": ["narrow"]}


async def test_whoever_is_refused_is_named_where_that_is_known(file: Path, tmp_path: Path) -> None:
    """A right key with a forged person, and a key that has expired."""
    path = keys_file(tmp_path, gateway="*", late="*")
    entries = json.loads(path.read_text())
    entries["keys"][1]["expires"] = "2026-01-02T00:00:00Z"
    path.write_text(json.dumps(entries))
    auth = {"keys_file": str(path), "user_jwt_secret": "s" * 40}
    async with audited(file, auth=auth) as wire:
        for key in ("gateway", "late"):
            headers = {"authorization": f"Bearer mcp_{key}", "x-openwebui-user-jwt": "a.b.c"}
            await wire.ask("POST", "/rpc", json_=rpc("ping"), headers=headers)
    found = [(x["event"], x["principal"], x["outcome"]) for x in lines_of(file)[1:-1]]
    assert found == [
        ("refused", "gateway", "UNAUTHORIZED"),
        ("refused", "late", "UNAUTHORIZED"),
    ]


async def test_refusals_that_no_limit_holds_back_are_summed(file: Path, tmp_path: Path) -> None:
    """Ten lines of a kind in a minute, then one that counts the others."""
    path = keys_file(tmp_path, foreign="postgres", narrow="demo:add")
    async with audited(file, auth={"keys_file": str(path)}) as wire:
        for key in ("foreign", "narrow"):
            for _ in range(25):
                headers = {"authorization": f"Bearer mcp_{key}"}
                await wire.ask("POST", "/tools/echo", json_={"text": "x"}, headers=headers)
    lines = lines_of(file)[1:]
    told = [(x["event"], x["principal"], x["outcome"]) for x in lines[:20]]
    refused, call = "refused", "tool_call"
    assert (
        told
        == [(refused, "foreign", "INSUFFICIENT_SCOPE")] * 10
        + [(call, "narrow", "NOT_PERMITTED")] * 10
    )
    summed = [x for x in lines if x["event"] == "repeated"]
    assert [(x["of"], x["principal"], x["lines"]) for x in summed] == [
        (refused, "foreign", 15),
        (call, "narrow", 15),
    ]
    assert verified(file) == 0


def test_kinds_of_refusals_are_bounded() -> None:
    """What comes from ever new addresses is counted together; a new minute begins anew."""
    told: list[tuple[str, int]] = []
    now = [0.0]
    repeats = Repeats(lambda kind, count: told.append((kind.address, count)), lambda: now[0])
    room = [repeats.has_room(Kind("refused", "x", str(n), "NO")) for n in range(MAX_KINDS + 50)]
    assert room == [True] * MAX_KINDS + [False] * 50
    repeats.tick()
    assert told == []
    now[0] = 61.0
    repeats.tick()
    assert told == [("others", 50)]
    assert repeats.has_room(Kind("refused", "x", "7", "NO"))


async def test_odd_arguments_are_no_way_around_it(file: Path) -> None:
    """What does not fit the schema leaves a line as well, of bounded size."""
    async with audited(file) as wire:
        fat = {"\x01" * 98 + f"{n:02}": 0 for n in range(50)}
        odd: list[Any] = [fat, {"x" * 5000: 1}, {str(n): n for n in range(1000)}, [1], "text", None]
        for arguments in odd:
            body = rpc("tools/call", name="echo", arguments=arguments)
            await wire.ask("POST", "/rpc", json_=body)
    lines = lines_of(file)[1:-1]
    assert len(lines) == len(odd)
    assert all(len(json.dumps(line)) < 3000 for line in lines)
    assert verified(file) == 0


def test_text_that_is_no_unicode_can_be_noted(file: Path) -> None:
    """Half a surrogate pair is written in another way."""
    log = log_at(file)
    log.open()
    log.noted("note", text="\ud800")
    log.close()
    assert verified(file) == 0


# --- what cannot be done to it --------------------------------------------------------------------

Change = Callable[[list[bytes]], list[bytes]]
CHANGES: dict[str, tuple[Change, str]] = {
    "edited": (lambda x: [*x[:4], x[4].replace(b'"number":2', b'"number":9'), *x[5:]], "line 5: w"),
    "cut out": (lambda x: [*x[:2], *x[3:]], "line 3: has the number 4 and follows 2"),
    "moved": (lambda x: [x[0], x[2], x[1], *x[3:]], "line 2: has the number 3 and follows 1"),
    "repeated": (lambda x: [*x[:3], *x[2:]], "line 4: has the number 3 and does not follow 3"),
    "inserted": (lambda x: [*x[:2], b'{"event":"tool_call"}\n', *x[2:]], "line 3: is not a line"),
    "cut off": (lambda x: x[:-2], "ends with number 6, but 8 was written"),
    "cut off at the top": (lambda x: x[2:], "line 1: is not the first of a file"),
    "all gone": (lambda x: [], "ends with number 0, but 8 was written"),
    "half gone": (lambda x: [*x[:-1], x[-1][:-20]], "line 8: is not finished"),
    "renumbered": (lambda x: [x[0].replace(b":1,", b":2,", 1), *x[1:]], "line 1: was changed"),
    "foreign key": (lambda x: [x[0].replace(b'"key":"', b'"key":"0'), *x[1:]], "another key"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_found(name: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the first bad line is named."""
    lines = written(file)
    assert verified(file) == 0
    change, said = CHANGES[name]
    file.write_bytes(b"".join(change(lines)))
    assert verified(file) == 1
    assert said in capsys.readouterr().err


def test_whoever_writes_it_anew_without_the_key_is_found(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The chain alone fits; that is what `--without-key` is good for, and what not."""
    lines = written(file)
    link, forged = BEGINNING, []
    for line in lines[:-1]:
        body = json.dumps({"event": json.loads(line)["event"]}).encode()
        new, link = sealed(link, body, AuditKey("another secret"))
        forged.append(new + b"\n")
    file.write_bytes(b"".join(forged))
    assert verified(file) == 1
    assert "line 1: is signed with another key" in capsys.readouterr().err
    assert verify_audit.main([str(file), "--without-key"]) == 0
    assert "could have written it anew" in capsys.readouterr().out


@given(st.data())
def test_no_changed_byte_goes_unseen(data: st.DataObject) -> None:
    """Wherever it is, whatever it becomes."""
    key = AuditKey(SEAL_KEY)
    link, lines = BEGINNING, []
    for number in range(3):
        line, link = sealed(link, b'{"event":"file","number":%d}' % number, key)
        lines.append(line + b"\n")
    content = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    lines = bytes(content).splitlines(keepends=True)
    found = check(iter(lines), {key.name: key}, log="audit.jsonl")
    assert found.problem is not None or found.last != link


@pytest.mark.parametrize("content", [b"", b"5 x y z\n", b"\xff\xfe", b"1 2 3\n" * 1000])
def test_head_that_was_changed_is_found(
    file: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is signed too; an empty one is as bad as a wrong one."""
    written(file)
    file.with_name("audit.jsonl.head").write_bytes(content)
    assert verified(file) == 1
    assert "head was changed" in capsys.readouterr().err


def test_head_kept_elsewhere_finds_what_one_beside_the_log_cannot(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can put back both files of yesterday is found by a copy of today's head."""
    written(file)
    head = file.with_name("audit.jsonl.head")
    old = file.read_bytes(), head.read_bytes()
    written(file)
    copy = tmp_path / "head.kept"
    shutil.copy(head, copy)
    file.write_bytes(old[0])
    head.write_bytes(old[1])
    assert verified(file) == 0
    assert verified(file, options=("--head", str(copy))) == 1
    assert "were cut off" in capsys.readouterr().err


def test_lines_cut_off_while_nobody_looked_are_missing_for_ever(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server goes on after the line that is gone, not after the one that is left."""
    lines = written(file)
    file.write_bytes(b"".join(lines[:-2]))
    written(file)
    assert "lines are gone" in caplog.text
    assert verified(file) == 1


def test_lines_cut_off_under_a_running_server_are_missed(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It knows what it wrote, also when the head is gone; it says so, and numbers go on."""
    log = log_at(file)
    log.open()
    for number in range(5):
        log.noted("note", number=number)
    log.flush()
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    file.with_name("audit.jsonl.head").unlink()
    log.noted("note", number=5)
    log.close()
    assert "lines are gone" in caplog.text
    gap, note = lines_of(file)[-3:-1]
    assert (gap["event"], gap["sequence"], note["number"]) == ("gap", 8, 5)
    assert verified(file) == 1


def test_head_that_is_gone_is_said_by_the_auditor_and_at_the_next_start(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it nobody can tell whether lines were cut off."""
    lines = written(file)
    file.write_bytes(b"".join(lines[:-2]))
    file.with_name("audit.jsonl.head").unlink()
    assert verified(file) == 1
    assert "there is no .head file" in capsys.readouterr().err
    assert verified(file, options=("--to", "6")) == 0
    written(file)
    assert verified(file) == 1
    assert "line 7: says that lines before it may be missing" in capsys.readouterr().err
    assert verified(file, options=("--from", "8")) == 0


def test_log_of_which_only_the_head_is_left_is_missed(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nobody names it."""
    monkeypatch.setattr(verify_audit, "ROOT", file.parent)
    monkeypatch.setattr(verify_audit, "LOGS", ".")
    written(file)
    written(file.with_name("other.jsonl"))
    file.unlink()
    assert verified(file) == 1
    key = str(file.parent / "seal.key")
    assert verify_audit.main(["--seal-key", key]) == 1
    said = capsys.readouterr()
    assert "audit.jsonl: is gone" in said.err
    assert "other.jsonl: whole" in said.out


def test_log_of_another_service_is_not_taken_for_this_one(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even with its head."""
    other = file.with_name("other.jsonl")
    written(file)
    written(other)
    shutil.copy(other, file)
    shutil.copy(other.with_name("other.jsonl.head"), file.with_name("audit.jsonl.head"))
    assert verified(other) == 0
    assert verified(file) == 1
    assert "of a log with another name" in capsys.readouterr().err
    written(file)
    assert verified(file) == 1


@pytest.mark.parametrize("arguments", [["none.jsonl"], ["."], ["--seal-key", "none", "x"], ["--x"]])
def test_what_cannot_be_checked_is_no_verdict(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, as for a wrong command line."""
    try:
        status = verify_audit.main(arguments)
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert "error: " in capsys.readouterr().err


# --- over restarts, rotation and several writers --------------------------------------------------


def test_chain_goes_on_after_a_restart_and_another_key(file: Path) -> None:
    """The old key has to be given to check the old lines."""
    written(file)
    written(file)
    assert [line["sequence"] for line in lines_of(file)] == list(range(2, 16))
    assert verified(file) == 0
    written(file, secret="another" * 10)
    assert verified(file) == 1
    other = file.parent / "other.key"
    other.write_text("another" * 10)
    assert verified(file, options=("--seal-key", str(other))) == 0


def test_line_that_a_crash_tore_is_set_aside(file: Path) -> None:
    """Its bytes are kept, and a line says how many they were."""
    written(file)
    with file.open("ab") as out:
        out.write(b'{"sequence":8,"previous":"12')
    assert verified(file) == 1
    written(file)
    assert verified(file) == 0
    said = [line for line in lines_of(file) if line["event"] == "set_aside"]
    assert [line["bytes"] for line in said] == [28]
    assert file.with_name("audit.jsonl.torn").read_bytes() == b'{"sequence":8,"previous":"12\n'


def test_large_file_is_put_aside_and_the_chain_goes_on(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file is ever deleted; one that is missing between two others is missed."""
    for _ in range(4):
        written(file, count=40, max_bytes=8192)
    files = sorted(file.parent.glob("audit*.jsonl"))
    assert len(files) >= 3
    assert verified(*files) == 0
    assert f"numbers 1 to {168 + len(files)}" in capsys.readouterr().out
    assert verified(*files[1:]) == 1
    assert "lines from 1 on are missing" in capsys.readouterr().err
    first = json.loads(files[1].read_bytes().splitlines()[0])["sequence"]
    assert verified(*files[1:], options=("--from", str(first))) == 0
    assert "what came before was not looked at" in capsys.readouterr().out
    assert verified(files[0], options=("--to", str(first - 1))) == 0
    assert verified(files[0], options=("--to", str(first))) == 1
    assert f"ends with number {first - 1}" in capsys.readouterr().err
    middle = sorted(path for path in files if path != file)[1]
    assert verified(*(path for path in files if path != middle)) == 1
    assert "lines are missing" in capsys.readouterr().err


def test_file_that_somebody_moved_away_is_begun_anew(file: Path) -> None:
    """As logrotate does; the new one goes on from the old one."""
    log = log_at(file)
    log.open()
    log.noted("note")
    log.flush()
    moved = file.rename(file.with_name("audit-000000000003.jsonl"))
    log.noted("note")
    log.close()
    assert lines_of(file)[0]["sequence"] == 5
    assert verified(moved, file) == 0


def test_several_writers_make_one_chain(file: Path) -> None:
    """Workers of one service, or services that were given one file: a lock orders them."""
    logs = [log_at(file) for _ in range(4)]

    def write(log: AuditLog) -> None:
        log.open()
        for number in range(50):
            log.noted("note", number=number)
            log.flush()
        log.close()

    threads = [threading.Thread(target=write, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while any(log._queue for log in logs):
        for log in logs:
            log.flush()
    assert len(lines_of(file)) == 4 * 52
    assert verified(file) == 0


def test_process_that_is_killed_loses_a_tenth_of_a_second(tmp_path: Path) -> None:
    """What was answered 300 ms before stands in the file."""
    file = tmp_path / "audit.jsonl"
    environment = {
        "MCP_HTTP_LOGGING__AUDIT_FILE": str(file),
        "MCP_HTTP_SECURITY__SEAL_KEY": SEAL_KEY,
    }
    server = ServerProcess(tmp_path, environment=environment)
    with server, httpx.Client(base_url=server.url, trust_env=False) as client:
        for _ in range(20):
            client.post("/tools/echo", json={"text": SQL})
        time.sleep(0.3)  # what may be lost
        server.signal(signal.SIGKILL)
        server.wait()
    assert [line["event"] for line in lines_of(file)] == ["start"] + ["tool_call"] * 20
    assert verified(file) == 0


# --- what a disk can do to it ---------------------------------------------------------------------


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Let no file below grow over a few kilobytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(path.stat().st_size for path in folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1500, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_full_disk_stops_no_call_and_is_said(file: Path) -> None:
    """Calls go on, lines wait, `/health` is degraded; with space they are written, none torn."""
    async with audited(file) as wire:
        log = wire.server._audit
        log.flush()
        with full_disk(file.parent):
            for _ in range(30):
                assert (await wire.ask("POST", "/tools/echo", json_={"text": SQL})).status == 200
            log.flush()
            wire.server.health._last = None
            report = json.loads((await wire.ask("GET", "/health")).body)
            assert report["status"] == "degraded"
            assert report["components"]["audit"]["status"] == "degraded"
            assert report["components"]["audit"]["waiting_lines"] == 30
            assert verified(file) == 0
        log.flush()
        wire.server.health._last = None
        report = json.loads((await wire.ask("GET", "/health")).body)
        assert report["components"]["audit"] == {
            "status": "up",
            "waiting_lines": 0,
            "lost_lines": 0,
        }
    assert len(lines_of(file)) == 32
    assert verified(file) == 0


def test_lines_that_were_lost_are_counted_in_the_log(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more than 10,000 wait."""
    log = log_at(file)
    log.open()
    log.flush()
    with full_disk(file.parent):
        for number in range(MAX_QUEUED + 123):
            log.noted("note", number=number)
        log.flush()
    log.close()
    lost = [line for line in lines_of(file) if line["event"] == "lost"]
    assert sum(line["lines"] for line in lost) >= 123
    assert verified(*file.parent.glob("*.jsonl")) == 0
    assert f"lost {sum(line['lines'] for line in lost)} lines" in capsys.readouterr().out


def test_disk_of_a_megabyte_fills_up_and_is_emptied(tmp_path: Path) -> None:
    """A real one: what is written before and after is whole."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting needs root; the test above fills a disk without")
    try:
        file = folder / "audit.jsonl"
        log = log_at(file, max_bytes=2**30)
        log.open()
        log.flush()
        (folder / "ballast").write_bytes(b"x" * 900_000)
        for number in range(1000):
            log.noted("note", number=number)
        log.flush()
        assert log._problem == os.strerror(28)
        assert file.read_bytes().endswith(b"\n")
        (folder / "ballast").unlink()
        log.close()
        assert log._problem is None
        assert len(lines_of(file)) == 1002
        assert verified(file) == 0
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_lines_that_wait_at_a_stop_are_counted_by_the_next_start(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The number of them fits on a full disk, since there is room for it beforehand."""
    log = log_at(file)
    log.open()
    log.flush()
    with full_disk(file.parent):
        for number in range(100):
            log.noted("note", number=number)
        log.close()
    waited = 101
    assert f"{waited} lines of the audit log could not be written" in caplog.text
    written(file)
    lost = [line["lines"] for line in lines_of(file) if line["event"] == "lost"]
    assert lost == [waited]
    written(file)
    assert [line["lines"] for line in lines_of(file) if line["event"] == "lost"] == [waited]
    assert verified(file) == 0


async def test_lock_that_somebody_holds_is_said_and_stops_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may read the head can lock it: the owner only. Lines wait, also at a start."""
    monkeypatch.setattr(audit, "LOCK_WAIT_S", 0.2)
    monkeypatch.setattr(audit_file, "LOCK_WAIT_S", 0.2)
    written(file)
    head = file.with_name("audit.jsonl.head")
    head.chmod(0o640)
    written(file)
    assert stat.S_IMODE(head.stat().st_mode) == 0o600
    with head.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        log = log_at(file)
        log.open()
        log.noted("note")
        log.flush()
        report = await log.check()
        assert report.status == "degraded"
        assert "another process holds its lock" in str(report.detail)
        assert "another process holds its lock" in caplog.text
        log.close()
        assert "3 lines of the audit log could not be written" in caplog.text
    written(file)
    assert [line["lines"] for line in lines_of(file) if line["event"] == "lost"] == [3]
    assert verified(file) == 0


def test_what_waits_is_bounded_in_bytes_too(file: Path) -> None:
    """A caller decides how long a line is, within limits."""
    log = log_at(file)
    log.open()
    log.flush()
    with full_disk(file.parent):
        for _ in range(1000):
            log.noted("note", text="x" * 12_000)
        log.noted("note", names=["x" * 100] * 1000)
        assert sum(map(len, log._queue)) < MAX_QUEUED_BYTES + MAX_BODY_BYTES
        assert log.lost > 100
    log.close()
    assert verified(*file.parent.glob("*.jsonl")) == 0


def test_file_that_can_never_be_written_refuses_the_start(tmp_path: Path) -> None:
    """A folder, or one below a file: whoever asked for an audit log gets one, or no server."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "audit.jsonl"):
        with pytest.raises(SettingsError, match=r"logging\.audit_file: "):
            log_at(path).open()


def test_verify_audit_is_a_command(file: Path) -> None:
    """From any folder, with paths of that folder."""
    written(file)
    command = [sys.executable, "-P", "-m", "scripts.verify_audit", file.name]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "MCP_HTTP_SECURITY__SEAL_KEY": SEAL_KEY,
    }
    done = subprocess.run(
        command, cwd=file.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "whole and unchanged: 8 lines, numbers 1 to 8, of demo" in done.stdout
