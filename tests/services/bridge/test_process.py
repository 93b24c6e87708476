"""Children that behave badly, on both event loops: what is read, what is told, and what is left."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from core.redaction import redact
from services.bridge.children import process as process_module
from services.bridge.children.process import (
    SPARE_DATA_BYTES,
    ChildGone,
    End,
    Limits,
    NotStarted,
    Process,
)
from tests.services.bridge.hostile import COMMAND

MIB = 1024 * 1024
WAIT_S = 10


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run everything here on both loops."""
    return "asyncio", {"use_uvloop": request.param}


class Heard:
    """A listener that keeps what it hears, and a process to talk to."""

    def __init__(self) -> None:
        self.process: Process
        self.lines: list[bytes] = []
        self.torn_lines: list[bytes] = []
        self.too_long: list[int] = []
        self.ends: list[End] = []
        self._news = asyncio.Event()

    def line(self, line: bytes) -> None:
        """Keep a line."""
        self.lines.append(line)
        self._news.set()
        if line == b"break the listener":
            raise ValueError(line)

    def torn(self, begun: bytes) -> None:
        """Keep the beginning of a line."""
        self.torn_lines.append(begun)

    def line_too_long(self, limit: int, head: bytes) -> None:
        """Keep that there was one."""
        self.too_long.append(limit)
        self._news.set()

    def ended(self, end: End) -> None:
        """Keep the end."""
        self.ends.append(end)
        self._news.set()

    async def until(self, seen: Callable[[], Any]) -> None:
        """Wait, with the clock that the process needs, until something is true."""
        async with asyncio.timeout(WAIT_S):
            while not seen():
                self._news.clear()
                try:
                    await asyncio.wait_for(self._news.wait(), 0.02)
                except TimeoutError:
                    self.process.tick(time.monotonic())

    async def end(self) -> End:
        """Wait for the end."""
        await self.until(lambda: self.ends)
        return self.ends[0]

    def call(self, name: str, **arguments: object) -> None:
        """Call a tool."""
        params = {"name": name, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        self.process.write(json.dumps(message).encode() + b"\n")

    async def answer(self, name: str, **arguments: object) -> str:
        """Call a tool and return the text of the next message."""
        count = len(self.lines)
        self.call(name, **arguments)
        await self.until(lambda: len(self.lines) > count)
        text: str = json.loads(self.lines[-1])["result"]["content"][0]["text"]
        return text


Start = Callable[..., Awaitable[Heard]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start commands, the hostile child by default; afterwards nothing is left of them."""
    started: list[Heard] = []

    async def run(*arguments: str, **options: Any) -> Heard:
        heard = Heard()
        limits: dict[str, Any] = {"line_bytes": 8 * MIB, "memory_bytes": None, "cpu_s": None}
        limits |= {name: options.pop(name) for name in list(options) if name in limits}
        heard.process = await Process.start(
            options.pop("command", (*COMMAND, *arguments)),
            env=options.pop("env", dict(os.environ)),
            cwd=options.pop("cwd", None),
            limits=Limits(**limits),
            label="hostile",
            redact=lambda text: redact(text).text,
            listener=heard,
        )
        started.append(heard)
        return heard

    yield run
    for heard in started:
        await heard.process.stop("stopped", 0)
        assert len(heard.ends) == 1


def is_there(pid: int) -> bool:
    """Tell whether a process exists, as a zombie too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_lines_go_there_and_back(start: Start) -> None:
    """The pipes work."""
    heard = await start()
    assert await heard.answer("echo", text="hé") == "hé"
    assert await heard.answer("who") == str(heard.process.pid)
    assert heard.process.is_alive
    assert heard.process.rss_bytes() > MIB


async def test_a_line_of_64_mib_arrives_and_a_longer_one_is_thrown_away(start: Start) -> None:
    """Reading goes on behind it; `cat` returns what it gets."""
    heard = await start(command=("cat",), line_bytes=64 * MIB)
    for size in (64 * MIB, 64 * MIB + 1, 3):
        heard.process.write(b"x" * size + b"\n")
        await heard.until(lambda: not heard.process.backlog)
    await heard.until(lambda: len(heard.lines) == 2)
    assert [len(line) for line in heard.lines] == [64 * MIB, 3]
    assert heard.too_long == [64 * MIB]


async def test_garbage_comes_as_it_is(start: Start) -> None:
    """What is no message is for the connection to tell."""
    heard = await start("garbage")
    heard.call("echo", text="here")
    await heard.until(lambda: b'"text":"here"' in heard.lines[-1] if heard.lines else False)
    assert b"Server started, have fun!" in heard.lines
    assert b"[" * 100_000 in heard.lines


async def test_a_listener_that_breaks_is_told_the_rest(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """One bad line must not stop the reading."""
    heard = await start(command=("printf", "break the listener\\nnext\\n"))
    await heard.end()
    assert heard.lines == [b"break the listener", b"next"]
    assert "listener of process" in caplog.text


async def test_an_exit_is_told_with_its_status_and_last_words(start: Start) -> None:
    """Secrets are not among them."""
    heard = await start('stderr={"lines":30}', 'crash={"code":3}')
    end = await heard.end()
    assert (end.code, end.signal, end.why, len(end.stderr)) == (3, None, "exited", 20)
    assert end.sentence().startswith("exited with status 3; its last words: line 30 ...")
    with pytest.raises(ChildGone):
        heard.process.write(b"hello\n")
    assert not is_there(heard.process.pid)


async def test_a_signal_is_told_by_name(start: Start) -> None:
    """A crash in native code ends so."""
    end = await (await start('crash={"by":"SIGSEGV"}')).end()
    assert (end.code, end.signal, end.sentence()) == (None, "SIGSEGV", "was killed by SIGSEGV")


async def test_half_a_line_comes_before_the_end(start: Start) -> None:
    """Everything that it wrote is told first."""
    heard = await start()
    heard.call("half_line", code=4)
    assert (await heard.end()).code == 4
    assert not heard.lines
    assert len(heard.torn_lines) == 1
    assert heard.torn_lines[0].startswith(b'{"jsonrpc"')


@pytest.mark.parametrize("lives_on", [True, False])
async def test_a_flood_of_small_lines_holds_nobody_up(start: Start, lives_on: bool) -> None:
    """A reading with many lines is taken in parts, the last one too; between two come the others.

    How long the loop is held up depends on the machine; how many lines it takes at a time does not.
    """
    script = "yes '{}' | head -n 100000; " + ("exec cat" if lives_on else "")
    heard = await start(command=("sh", "-c", script))
    most = count = 0
    async with asyncio.timeout(WAIT_S):
        while len(heard.lines) < 100_000:
            await asyncio.sleep(0)
            most, count = max(most, len(heard.lines) - count), len(heard.lines)
    assert most <= 2048, "two portions of 683 between two turns of ours, and a last one"
    if not lives_on:
        assert (await heard.end()).code == 0
    assert len(heard.lines) == 100_000
    assert set(heard.lines) == {b"{}"}


async def test_who_does_not_read_is_killed(start: Start) -> None:
    """What waits for it is bounded: one longest line and a little."""
    heard = await start()
    await heard.answer("stop_reading")
    for _ in range(9):
        heard.process.write(b"x" * MIB)
    assert heard.process.is_alive
    assert heard.process.backlog > 8 * MIB
    heard.process.write(b"x" * MIB)
    assert (await heard.end()).why == "does not read"


async def test_who_closes_its_stdin_is_killed(start: Start) -> None:
    """It can be told nothing any more."""
    heard = await start(command=("sh", "-c", "exec 0<&-; echo closed; exec sleep 600"))
    await heard.until(lambda: heard.lines)
    heard.process.write(b"hello\n")
    assert (await heard.end()).why == "does not read"


async def test_who_closes_its_stdout_is_killed(start: Start) -> None:
    """It can answer nothing any more."""
    heard = await start()
    heard.call("close_stdout")
    assert (await heard.end()).why == "closed its stdout"


async def test_a_child_ends_with_its_stdin(start: Start) -> None:
    """The kind way comes first: the server exits with status 0 when its input ends."""
    heard = await start()
    await heard.answer("echo")
    end = await heard.process.stop("idle", 3)
    assert (end.code, end.why, end.sentence()) == (0, "idle", "was ended (idle)")


async def test_who_ignores_sigterm_is_killed_after_the_grace(start: Start) -> None:
    """And who asks meanwhile, or is cancelled while waiting, changes nothing."""
    heard = await start("ignore_sigterm", "stop_reading")
    await heard.until(lambda: _ignores_sigterm(heard.process.pid))
    heard.call("echo")
    began = time.monotonic()
    given_up = asyncio.ensure_future(heard.process.stop("stopped", 0.6))
    await asyncio.sleep(0)
    given_up.cancel()
    ends = await asyncio.gather(*(heard.process.stop("later", 60) for _ in range(3)))
    assert 0.5 < time.monotonic() - began < 3
    assert {(end.signal, end.why) for end in ends} == {("SIGKILL", "stopped")}


def _ignores_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("kind", ["group", "session", "double"])
@pytest.mark.parametrize("how", ["crash", "kill", "stop"])
async def test_nothing_is_left_of_grandchildren(start: Start, kind: str, how: str) -> None:
    """They hold stdout open, ignore SIGTERM, and leave the group and the tree."""
    heard = await start("ignore_sigterm")
    grandchildren = [int(await heard.answer("fork", kind=kind)) for _ in range(2)]
    if how == "crash":
        heard.call("crash")
        assert (await heard.end()).code == 1
    elif how == "kill":
        heard.process.kill("does not answer")
        assert (await heard.end()).why == "does not answer"
    else:
        await heard.process.stop("stopped", 0.2)
    await heard.until(lambda: not any(map(is_there, grandchildren)))


async def test_an_orphan_that_ends_is_reaped_while_the_child_lives(start: Start) -> None:
    """It became our child when its parent ended; nobody else waits for it."""
    heard = await start()
    await heard.answer("echo")
    alone = heard.process.rss_bytes()
    orphan = int(await heard.answer("fork", kind="double"))
    await heard.until(lambda: heard.process.rss_bytes() > 1.2 * alone)  # it is counted with it
    os.kill(orphan, signal.SIGKILL)
    await heard.until(lambda: not is_there(orphan))
    assert heard.process.is_alive


async def test_processes_of_others_are_left_alone(start: Start) -> None:
    """Only what bears the mark or the session of a child is ended and waited for."""
    other = subprocess.Popen(  # noqa: ASYNC220 - what somebody else here may do
        ["sleep", "600"], start_new_session=True
    )
    heard = await start()
    await heard.answer("fork", kind="double")
    await heard.process.stop("stopped", 0)
    assert other.poll() is None
    other.send_signal(signal.SIGUSR1)
    assert other.wait() == -signal.SIGUSR1


async def test_stderr_is_logged_without_secrets_and_colours(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Line by line, whatever bytes they have, cut to 2,000 characters."""
    caplog.set_level(logging.INFO, "bridge.hostile")
    script = r"printf '\033[31mred\033[0m\npassword=hunter2222\n\377\376\nrest' >&2"
    end = await (await start(command=("sh", "-c", script))).end()
    assert end.stderr == ("red", "password=[redacted]", "\ufffd\ufffd", "rest")
    assert [record.message for record in caplog.records] == list(end.stderr)
    end = await (await start('stderr={"bytes":5000000,"newline":false}', "crash")).end()
    assert [len(line) for line in end.stderr] == [2000]


async def test_a_flood_on_stderr_is_counted(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """The log is for people; the last lines are kept all the same."""
    caplog.set_level(logging.INFO, "bridge.hostile")
    end = await (await start('stderr={"lines":20000}', "crash")).end()
    assert end.stderr[-1].startswith("line 20000 ")
    assert 200 <= len(caplog.records) < 400
    assert "lines more on stderr" in caplog.records[-1].message


async def test_what_stderr_says_is_seen_while_the_child_lives(start: Start) -> None:
    """Also what has no newline yet, like a question for a password."""
    heard = await start('stderr={"bytes":20,"newline":false}')
    await heard.until(lambda: heard.process.stderr_tail)
    assert heard.process.stderr_tail == ("line 1 .............",)


async def test_too_much_memory_is_the_end_of_all_processes_together(start: Start) -> None:
    """The limit is of what they have in memory, looked at once a second."""
    heard = await start(memory_bytes=80 * MIB)
    heard.call("memory", bytes=100 * MIB)
    assert (await heard.end()).why == "too much memory"


async def test_a_single_process_is_refused_much_more(start: Start) -> None:
    """The kernel refuses what could be taken between two looks (RLIMIT_DATA)."""
    heard = await start(memory_bytes=64 * MIB)
    answer = await heard.answer("memory", bytes=64 * MIB + SPARE_DATA_BYTES)
    assert answer.startswith("MemoryError")


async def test_too_much_cpu_time_is_told(start: Start) -> None:
    """SIGXCPU comes from RLIMIT_CPU alone."""
    heard = await start(cpu_s=1)
    heard.call("spin", seconds=30)
    end = await heard.end()
    assert (end.signal, end.why) == ("SIGXCPU", "too much CPU time")


async def test_who_ignores_sigxcpu_is_told_of_alike(start: Start) -> None:
    """The kernel kills it a second later (setrlimit(2), RLIMIT_CPU)."""
    script = "trap '' XCPU; while :; do :; done"
    end = await (await start(command=("sh", "-c", script), cpu_s=1)).end()
    assert (end.signal, end.why) == ("SIGKILL", "too much CPU time")


async def test_who_is_killed_by_somebody_has_not_used_too_much(start: Start) -> None:
    """A limit of processor time alone does not tell who sent SIGKILL."""
    end = await (await start('crash={"by":"SIGKILL"}', cpu_s=60)).end()
    assert (end.signal, end.why) == ("SIGKILL", "exited")


@pytest.mark.parametrize("has_setpriv", [True, False])
async def test_nothing_of_ours_leaks_into_the_child(
    start: Start, has_setpriv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptors, ignored or blocked signals; its own session; it ends with us."""
    if not has_setpriv:
        monkeypatch.setattr(process_module, "_setpriv", tuple)
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        script = "ls /proc/self/fd; grep Sig /proc/self/status; exec sleep 600"
        heard = await start(command=("sh", "-c", script))
        await heard.until(lambda: any(line.startswith(b"SigCgt") for line in heard.lines))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGHUP, before)
        os.close(reading)
        os.close(writing)
    descriptors = [line for line in heard.lines if line.isdigit()]
    assert descriptors == [b"0", b"1", b"2", b"3"]  # the last is the folder that ls reads
    signals = dict(line.split(b":\t") for line in heard.lines if line.startswith(b"Sig"))
    assert int(signals[b"SigBlk"], 16) == int(signals[b"SigIgn"], 16) == 0
    assert os.getsid(heard.process.pid) == os.getpgid(heard.process.pid) == heard.process.pid


def test_a_loop_of_another_thread_can_have_children() -> None:
    """Tests run servers so; handlers of signals are the main thread's alone."""

    async def run() -> End:
        heard = Heard()
        limits = Limits(1000, None, None)
        heard.process = await Process.start(
            ["true"], env={}, cwd=None, limits=limits, label="x", redact=str, listener=heard
        )
        return await heard.end()

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(asyncio.run, run()).result().code == 0


def test_a_child_dies_with_us() -> None:
    """Whatever ends us, SIGKILL too: the kernel sees to it."""
    script = """
import asyncio, os, signal
from services.bridge.children.process import Limits, Process
from tests.services.bridge.test_process import Heard

async def main():
    child = await Process.start(["sh", "-c", "trap '' TERM HUP; exec sleep 600"],
        env=dict(os.environ), cwd=None, limits=Limits(1000, None, None), label="x", redact=str,
        listener=Heard())
    await asyncio.sleep(0.2)
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    pid = int(ran.stdout)
    deadline = time.monotonic() + WAIT_S
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Tell whether a process exists and is no zombie, which whoever is its parent now may keep."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("command", "cwd", "told"),
    [
        ((), None, "empty"),
        (("no-such-command",), None, "not in the PATH"),
        (("./no-such-file",), None, "no file"),
        (("/etc/passwd",), None, "not executable"),
        (("/etc",), None, "/etc is a folder"),
        (("cat",), Path("/no/such/folder"), "does not exist"),
        (("cat",), Path("/etc/passwd"), "is no folder"),
        (("cat", "a\0b"), None, "zero byte"),
    ],
)
async def test_a_command_that_cannot_run_is_told(
    start: Start, command: tuple[str, ...], cwd: Path | None, told: str
) -> None:
    """The operator reads what is wrong."""
    with pytest.raises(NotStarted, match=told):
        await start(command=command, cwd=cwd)


async def test_a_command_is_found_in_its_folder(start: Start, tmp_path: Path) -> None:
    """A relative path is meant from where it runs, whatever is our folder."""
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    heard = await start(command=("./server",), cwd=tmp_path)
    assert (await heard.end()).code == 0
    assert heard.lines == [str(tmp_path).encode()]


async def test_nothing_stays_open(start: Start) -> None:
    """Three pipes and a pidfd per child, given back when it has ended."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        heard = await start("crash")
        await heard.end()
    assert len(os.listdir("/proc/self/fd")) == before
