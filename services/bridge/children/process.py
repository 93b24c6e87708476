"""One child: its process, its pipes, what it may use, and its end, which is always told.

```
start ── lines, writes ──┬── it exits by itself ───────────────────────────┬── ended
                         ├── kill: SIGKILL to its group and all below it ──┤
                         └── stop: stdin closes, SIGTERM, SIGKILL ─────────┘
```

A pidfd tells the end (pidfd_open(2)), not the end of stdout, which a grandchild may hold open.
What is in the pipes then is read, the child is reaped, the listener is told, and what the child has
left behind is ended (`descendants`).

The kernel kills the child when this process dies (prctl(2), PR_SET_PDEATHSIG; it is the thread that
counts, so children are started by the loop's). setpriv(1) asks for that where it is installed:
without code of ours between fork and exec, Python uses vfork(2), which holds the loop up for a
fifth of a millisecond rather than for four to seven.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import resource
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from core.processes import end_with
from services.bridge.children.descendants import (
    FAMILIES,
    MARK,
    resident_bytes,
    spent_cpu_s,
    tree_of,
)
from services.bridge.children.last_words import last_words
from services.bridge.children.lines import Lines
from services.bridge.children.stderr import Stderr

logger = logging.getLogger(__name__)

DOES_NOT_READ: Final = "does not read"
CLOSED_STDOUT: Final = "closed its stdout"
TOO_MUCH_MEMORY: Final = "too much memory"
TOO_MUCH_CPU: Final = "too much CPU time"
EXITED: Final = "exited"

SPARE_BACKLOG_BYTES: Final = 1024 * 1024
"""What may wait for a child beside one line of the greatest length."""
SPARE_DATA_BYTES: Final = 256 * 1024 * 1024
"""What RLIMIT_DATA leaves above the limit for memory: stacks of threads count although unused."""
TERMINATE_AFTER_S: Final = 0.5
"""How long a child that is stopped has to notice that its stdin has ended."""
SUSPECT_S: Final = 1.0
"""How long a child may live on after it has closed stdin or stdout, as it does when it exits."""
KILLED_S: Final = 2.0
"""How long is waited for what was killed and is not our child itself; the kernel may hold it."""
MEASURE_EVERY_S: Final = 1.0
HEAD_BYTES: Final = 128
"""Of a line that is too long, by which its listener may tell whose it was."""
_READ_BYTES: Final = 64 * 1024
_TURN_LINES: Final = 256
"""Lines of one reading that are taken at once, as those of every server that behaves are."""
_TURN_BYTES: Final = 2048
"""What is taken in one turn of the loop of a reading that has more lines than that."""
_LAST_READS: Final = 64


class NotStarted(Exception):
    """The command could not be run; the message, for people, says why."""


class ChildGone(Exception):
    """The child has ended, or is not to be written to any more because it is being stopped."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use.

    Attributes:
        line_bytes: The longest line that is taken from it.
        memory_bytes: Of all its processes together, resident; looked at once a second. A single
            process is also refused more data than that and `SPARE_DATA_BYTES`.
        cpu_s: Processor seconds of a process (RLIMIT_CPU).
    """

    line_bytes: int
    memory_bytes: int | None
    cpu_s: int | None


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended.

    Attributes:
        code: Its exit status, unless a signal ended it.
        signal: The name of the signal that ended it.
        why: "exited" when it ended by itself or somebody else ended it, else what we ended it for.
        stderr: Its last lines on stderr, without secrets.
    """

    code: int | None
    signal: str | None
    why: str
    stderr: tuple[str, ...]

    def sentence(self) -> str:
        """Return it as a predicate: "exited with status 3; its last words: …"."""
        if self.why != EXITED:
            how = f"was ended ({self.why})"
        elif self.signal is not None:
            how = f"was killed by {self.signal}"
        else:
            how = f"exited with status {self.code}"
        return f"{how}; its last words: {words}" if (words := self.last_words) else how

    @property
    def last_words(self) -> str:
        """What of its last lines tells most, for clients; empty where it said nothing."""
        return last_words(self.stderr)


class Listener(Protocol):
    """Who hears a child."""

    def line(self, line: bytes) -> None:
        """Take a line of stdout, without its newline; called on the loop."""
        ...

    def torn(self, begun: bytes) -> None:
        """Take what there is of a last line, whose newline the child has not written."""
        ...

    def line_too_long(self, limit: int, head: bytes) -> None:
        """Hear that a line had more bytes than that and was thrown away; these are its first."""
        ...

    def ended(self, end: End) -> None:
        """Hear, once and last, that the child is gone and reaped."""
        ...


class Process:
    """A running child; made by `start`.

    Attributes:
        pid: Its process id, also that of its group and session.
        started_at: Monotonic seconds.
        backlog: Bytes that it has not taken yet.
        end: How it ended, once it has.
    """

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None,
        limits: Limits,
        label: str,
        redact: Callable[[str], str],
        listener: Listener,
    ) -> Process:
        """Run a command, never through a shell.

        Args:
            command: The program, sought in the PATH of `env`, and its arguments.
            env: All of its environment; one variable of ours is added.
            cwd: Where it runs; here by default.
            limits: What it may use.
            label: Names it in the log.
            redact: Takes secrets out of what it says on stderr.
            listener: Hears it.

        Raises:
            NotStarted: The command could not be run.
        """
        mark = secrets.token_hex(8)
        popen = _spawn(command, {**env, MARK: mark}, cwd)
        try:
            pidfd = os.pidfd_open(popen.pid)
        except OSError as error:
            _undo(popen)
            raise NotStarted(f"{command[0]} was started in vain: {error.strerror}.") from error
        _limit(popen.pid, limits)
        return cls(popen, pidfd, mark, limits, Stderr(label, redact), listener)

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        pidfd: int,
        mark: str,
        limits: Limits,
        stderr: Stderr,
        listener: Listener,
    ) -> None:
        self.pid = popen.pid
        self.started_at = time.monotonic()
        self.backlog = 0
        self.end: End | None = None
        self._loop = asyncio.get_running_loop()
        self._popen = popen
        self._limits = limits
        self._stderr = stderr
        self._listener = listener
        self._lines = Lines(limits.line_bytes, self._take, self._too_long)
        self._unfed = b""
        self._last_reads: int | None = None
        self._turn: list[bytes] = []
        self._waiting: deque[memoryview] = deque()
        self._gone = asyncio.Event()
        self._why: str | None = None
        self._stopping: asyncio.Task[End] | None = None
        self._spares_until = 0.0
        self._suspect: tuple[float, str] | None = None
        self._next_measure = self.started_at + MEASURE_EVERY_S
        self._family = FAMILIES.add(self.pid, mark)
        self._pidfd = pidfd
        self._pipes = tuple(_pipes(popen))
        self._stdin, self._stdout, self._errors = map(_unblocked, self._pipes)
        self._loop.add_reader(self._stdout, self._read_stdout)
        self._loop.add_reader(self._errors, self._read_stderr)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.end is None

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """Its last lines on stderr, without secrets."""
        return self._stderr.tail() if self.end is None else self.end.stderr

    def rss_bytes(self) -> int:
        """Return what all its processes have in memory; what they share counts for each."""
        return sum(resident_bytes(pid) for pid in set(self._all_pids()))

    def write(self, data: bytes) -> None:
        """Write to its stdin, as soon as it reads.

        A child that lets more than a longest line and `SPARE_BACKLOG_BYTES` wait is killed.

        Raises:
            ChildGone: It has ended, or is being stopped.
        """
        if self.end is not None or (self._stdin < 0 and self._why is not None):
            raise ChildGone
        if self._stdin < 0:
            return  # it has closed its stdin and is about to end, or to be killed
        if self._waiting:
            self._wait(memoryview(data))
            return
        if not self._turn:
            self._loop.call_soon(self._write_turn)
        self._turn.append(data)
        self.backlog += len(data)

    def kill(self, why: str) -> None:
        """End it and all its processes now; `ended` follows."""
        if self.end is not None or self._last_reads is not None:
            return  # it has ended, and what it has written is being read
        self._why = self._why or why
        self._spares_until = 0.0
        self._send(signal.SIGKILL)

    async def stop(self, why: str, grace_s: float) -> End:
        """End it kindly, and return when it and all its processes are gone.

        Its stdin is closed; after a moment comes SIGTERM, after `grace_s` seconds SIGKILL. Who asks
        while it is being stopped waits with the others.
        """
        if self._stopping is None:
            self._write_turn()
            self._why = self._why or why
            self._stopping = self._loop.create_task(self._stop(why, grace_s))
        return await asyncio.shield(self._stopping)

    def tick(self, now: float) -> None:
        """Look at what it uses and what it left behind (monotonic seconds)."""
        self._stderr.tick(now)
        FAMILIES.tick(now)
        if self.end is not None:
            return
        if self._suspect is not None and now >= self._suspect[0]:
            self.kill(self._suspect[1])
        if self._limits.memory_bytes is not None and now >= self._next_measure:
            self._next_measure = now + MEASURE_EVERY_S
            if self.rss_bytes() > self._limits.memory_bytes:
                self.kill(TOO_MUCH_MEMORY)

    # --- stdin ------------------------------------------------------------------------------------

    def _write_some(self, data: bytes | memoryview) -> int:
        """Write what the pipe takes; return how much that was."""
        try:
            return os.write(self._stdin, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self._close_stdin()
            self._suspects(DOES_NOT_READ)
            return 0

    def _write_turn(self) -> None:
        """Write what one turn of the loop has brought: the calls of several clients at once."""
        if not self._turn:
            return
        data = self._turn[0] if len(self._turn) == 1 else b"".join(self._turn)
        self._turn.clear()
        if self._stdin < 0:
            return
        self.backlog -= len(data)
        written = self._write_some(data)
        if written < len(data) and self._stdin >= 0:
            self._loop.add_writer(self._stdin, self._write_waiting)
            self._wait(memoryview(data)[written:])

    def _wait(self, data: memoryview) -> None:
        self._waiting.append(data)
        self.backlog += len(data)
        if self.backlog > self._limits.line_bytes + SPARE_BACKLOG_BYTES:
            self.kill(DOES_NOT_READ)

    def _write_waiting(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            written = self._write_some(data)
            if self._stdin < 0:
                return
            self.backlog -= written
            if written < len(data):
                self._waiting[0] = data[written:]
                return
            self._waiting.popleft()
        self._loop.remove_writer(self._stdin)

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            self._loop.remove_writer(self._stdin)
            self._pipes[0].close()
            self._stdin = -1
            self._turn.clear()
            self._waiting.clear()
            self.backlog = 0

    # --- stdout and stderr ------------------------------------------------------------------------

    def _read_stdout(self) -> None:
        if self._unfed or self._last_reads is not None:
            return  # what comes next has its turn
        data = _read_some(self._stdout)
        if data:
            self._feed(data)
            if self._unfed:
                self._loop.call_soon(self._feed_turn)
        elif data == b"":
            self._loop.remove_reader(self._stdout)
            self._suspects(CLOSED_STDOUT)

    def _feed(self, data: bytes) -> None:
        """Take what was read, or a part of it: nobody else waits for a flood of small lines."""
        if data.count(b"\n") > _TURN_LINES:
            data, self._unfed = data[:_TURN_BYTES], data[_TURN_BYTES:]
        else:
            self._unfed = b""
        self._lines.feed(data)

    def _feed_turn(self) -> None:
        if self._unfed:
            self._feed(self._unfed)
        if self._unfed:
            self._loop.call_soon(self._feed_turn)

    def _read_stderr(self) -> None:
        data = _read_some(self._errors)
        if data:
            self._stderr.feed(data)
        elif data == b"":
            self._loop.remove_reader(self._errors)

    def _take(self, line: bytes) -> None:
        self._tell(self._listener.line, line)

    def _too_long(self, head: bytes) -> None:
        self._tell(self._listener.line_too_long, self._limits.line_bytes, head[:HEAD_BYTES])

    def _tell(self, hear: Callable[..., None], *what: object) -> None:
        """Tell the listener; what breaks there does not break the reading."""
        try:
            hear(*what)
        except Exception:
            logger.exception("the listener of process %d broke", self.pid)

    def _suspects(self, why: str) -> None:
        if self._suspect is None:
            self._suspect = (time.monotonic() + SUSPECT_S, why)

    # --- its end ----------------------------------------------------------------------------------

    async def _stop(self, why: str, grace_s: float) -> End:
        started = time.monotonic()
        self._spares_until = until = started + grace_s
        self._close_stdin()
        try:
            await _is_set_by(self._gone, started + min(TERMINATE_AFTER_S, grace_s / 2))
            self._send(signal.SIGTERM)
            await _is_set_by(self._gone, until)
            await _is_set_by(self._family.is_alone, until)
        finally:
            self.kill(why)
            self._family.spares_until = 0.0
            FAMILIES.look_soon()
        await self._gone.wait()
        await _is_set_by(self._family.is_alone, time.monotonic() + KILLED_S)
        assert self.end is not None
        return self.end

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to its group, to what it started and to what it left."""
        self._family.send(number)
        if self.end is not None:
            return
        pids = list(tree_of(self.pid))
        self._family.seen.update(pids[1:])
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _all_pids(self) -> Iterator[int]:
        if self.end is None:
            yield from tree_of(self.pid)
        for pid in self._family.orphans:
            yield from tree_of(pid)

    def _exited(self) -> None:
        """Read what it has left in its pipes, reap it, tell its end, end what it left behind.

        The loop calls again until it is reaped: its last words have their turns, too.
        """
        if self._last_reads is None:
            self._last_reads = 0
            if time.monotonic() >= self._spares_until:
                self._send(signal.SIGKILL)
        if self._reads_on(self._last_reads):
            return
        self._loop.remove_reader(self._pidfd)
        self._read_last_words()
        cpu_s = spent_cpu_s(self.pid)
        status = self._popen.wait()  # it is a zombie: this does not wait
        self._close_stdin()
        for pipe in self._pipes[1:]:
            self._loop.remove_reader(pipe.fileno())
            pipe.close()
        os.close(self._pidfd)
        self.end = end = self._end_of(status, cpu_s)
        self._gone.set()
        FAMILIES.end(self._family, spares_until=self._spares_until)
        self._tell(self._listener.ended, end)

    def _reads_on(self, reads: int) -> bool:
        """Take a part of what is in its stdout; return whether there may be more."""
        if self._unfed:
            self._feed(self._unfed)
            return True
        # A grandchild may go on writing for ever.
        data = _read_some(self._stdout) if reads < _LAST_READS else None
        if data:
            self._last_reads = reads + 1
            self._feed(data)
        return bool(data)

    def _read_last_words(self) -> None:
        if torn := self._lines.begun:
            self._tell(self._listener.torn, torn)
        for _ in range(_LAST_READS):
            data = _read_some(self._errors)
            if not data:
                break
            self._stderr.feed(data)
        self._stderr.close()

    def _end_of(self, status: int, cpu_s: float) -> End:
        name = signal.Signals(-status).name if status < 0 else None
        # Who ignores SIGXCPU is sent SIGKILL a second later: setrlimit(2).
        most_s = self._limits.cpu_s
        is_spent = name == "SIGKILL" and most_s is not None and cpu_s >= most_s
        by_itself = TOO_MUCH_CPU if is_spent or name == "SIGXCPU" else EXITED
        code = status if status >= 0 else None
        return End(code, name, self._why or by_itself, self._stderr.tail())


def _read_some(descriptor: int) -> bytes | None:
    """Return what is there: nothing at the end of the stream, None when there is nothing yet."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return None


def _pipes(popen: subprocess.Popen[bytes]) -> Iterator[IO[bytes]]:
    for pipe in (popen.stdin, popen.stdout, popen.stderr):
        assert pipe is not None
        yield pipe


def _unblocked(pipe: IO[bytes]) -> int:
    """Return the descriptor of a pipe, ready for the loop."""
    os.set_blocking(pipe.fileno(), False)
    return pipe.fileno()


async def _is_set_by(event: asyncio.Event, deadline: float) -> None:
    """Wait for an event, until a time on the monotonic clock at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(deadline - time.monotonic()):
            await event.wait()


# --- starting ------------------------------------------------------------------------------------


def _spawn(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None
) -> subprocess.Popen[bytes]:
    program = _found(command, env, cwd)
    prefix = _setpriv()
    try:
        with _default_signals():
            return subprocess.Popen(  # noqa: S603 - the operator's command is what we are for
                [*prefix, program, *command[1:]],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=None if prefix else functools.partial(_end_with, os.getpid()),
            )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotStarted(f"{command[0]} could not be started: {reason}.") from error


def _undo(popen: subprocess.Popen[bytes]) -> None:
    os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()
    for pipe in _pipes(popen):
        pipe.close()


def _found(command: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> str:
    """Return the path of the program; say what is wrong with it before setpriv(1) would."""
    if not command:
        raise NotStarted("The command is empty.")
    if cwd is not None and not cwd.is_dir():
        what = "is no folder" if cwd.exists() else "does not exist"
        raise NotStarted(f"The folder {cwd}, in which it should run, {what}.")
    if any("\0" in text for text in (*command, *env, *env.values())):
        raise NotStarted("The command or its environment has a zero byte.")
    name = command[0]
    if "/" not in name:
        found = shutil.which(name, path=env.get("PATH", os.defpath))
        if found is None:
            raise NotStarted(f"The command {name} is not in the PATH of its environment.")
        return os.path.abspath(found)
    path = Path.cwd() / (cwd or "") / name
    if os.path.isdir(path):  # unlike Path's, it does not raise where it may not look
        raise NotStarted(f"{name} is a folder, no program.")
    if not os.path.exists(path):
        raise NotStarted(f"There is no file {name}.")
    if not os.access(path, os.X_OK):
        raise NotStarted(f"The file {name} is not executable.")
    return str(path)


@functools.cache
def _setpriv() -> tuple[str, ...]:
    """Return the beginning of a command that ends with us; empty where setpriv(1) cannot do it."""
    program = shutil.which("setpriv", path=os.defpath)
    if program is None:
        return ()
    prefix = (program, "--pdeathsig", "KILL", "--")
    probe = subprocess.run(  # noqa: S603 - a path of the system's
        [*prefix, program, "--version"], capture_output=True, check=False
    )
    return prefix if probe.returncode == 0 else ()


def _end_with(parent: int) -> None:
    if not end_with(parent):
        os._exit(1)


@contextlib.contextmanager
def _default_signals() -> Iterator[None]:
    """Have a new process begin with no signal ignored or blocked, whatever this one does.

    exec(2) keeps what is ignored, but not handlers: what we ignore has one meanwhile. Only the main
    thread may do that; elsewhere there is no server but in tests.
    """
    is_main = threading.current_thread() is threading.main_thread()
    ignored = [each for each in _IGNORABLE if is_main and signal.getsignal(each) is signal.SIG_IGN]
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        for each in ignored:
            signal.signal(each, _nothing)
        yield
    finally:
        for each in ignored:
            signal.signal(each, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


_IGNORABLE = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGCHLD,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
"""What shells, nohup(1) and supervisors ignore; subprocess sees to SIGPIPE and SIGXFSZ."""


def _nothing(_number: int, _frame: object) -> None:
    """Ignore a signal without having it ignored."""


def _limit(pid: int, limits: Limits) -> None:
    """Limit a process that was just started, before it has become the command."""
    wanted = [(resource.RLIMIT_CORE, 0, 0)]
    if limits.cpu_s is not None:
        wanted.append((resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1))
    if limits.memory_bytes is not None:
        most = limits.memory_bytes + SPARE_DATA_BYTES
        wanted.append((resource.RLIMIT_DATA, most, most))
    for kind, soft, hard in wanted:
        with contextlib.suppress(ProcessLookupError):
            ours = resource.getrlimit(kind)[1]
            most = hard if ours == resource.RLIM_INFINITY else min(hard, ours)
            resource.prlimit(pid, kind, (min(soft, most), most))
