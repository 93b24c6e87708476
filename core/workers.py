"""Processes that do one kind of work for a service, where that work may break, hang or hog.

A worker is a fresh interpreter, never a fork of the service with its threads and secrets: it gets
an empty environment and two pipes. It is started when first needed, kept warm, and killed when a
job takes too long or is cancelled; the others go on. What it sends back is JSON and read as a
stranger's.

```
service                               worker
Pool.take ── starts, or wakes ──────▶ serving(parent) … ready
Worker.run(job, body) ── frame ─────▶ receive ─ the work ─ send
Pool.give_back, or Worker.kill
```

A frame is four bytes of length and JSON; the body of a job follows its frame as it is, as long as
the job's `size` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, BinaryIO

from core.files import landlock
from core.files.syscalls import libc
from core.observability import tracing
from core.processes import end_with

IDLE_S = 120.0
"""After which a worker without work is ended, to give its memory back."""
START_S = 30.0
"""In which a worker has to be ready; it takes half a second on an idle machine."""
MEMORY_KILLS = frozenset((-9, -6, -11))
"""Exit statuses of the OOM killer, and of C code that got no memory."""

_DRAINED_BYTES = 64 * 1024
_LENGTH = struct.Struct("!I")
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


class WorkerDied(Exception):
    """The process ended in the middle of a job, or sent what is no result."""


class WorkerNotStarted(Exception):
    """The process does not get ready."""


class ResultTooLarge(Exception):
    """A worker wants to send more than the service takes; the argument says how many bytes."""


# --- the service's side --------------------------------------------------------------------------


class Pool:
    """The workers of a service: those that live, and those of them that rest.

    How many there may be at once is for the caller to bound.

    Args:
        program: Module that is run.
        arguments: Of the program, after the parent's process id, as they are now; a worker that was
            started with other ones is not taken again.
        idle_s: After how many seconds without work a worker ends.
    """

    def __init__(
        self, program: str, arguments: Callable[[], Iterable[str]], *, idle_s: float = IDLE_S
    ) -> None:
        self._program = program
        self._arguments = arguments
        self._idle_s = idle_s
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lend workers until the block is left; then end every one."""
        try:
            yield
        finally:
            self._idle.clear()
            await asyncio.gather(*(worker.end() for worker in list(self._all)))

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that live."""
        return tuple(worker.pid for worker in self._all)

    async def take(self) -> Worker:
        """Return an idle worker, the last used first, or start one.

        Raises:
            WorkerNotStarted: It does not get ready within `START_S`.
        """
        arguments = tuple(self._arguments())
        while self._idle:
            worker = self._idle.pop()
            worker.wake()
            if worker.is_alive and worker.arguments == arguments:
                return worker
            worker.kill()
        return await self._start(arguments)

    async def _start(self, arguments: tuple[str, ...]) -> Worker:
        worker = await Worker.start(self._program, arguments)
        self._all.add(worker)
        worker.when_ended(self._all.discard)
        try:
            async with asyncio.timeout(START_S):
                await worker.receive()
        except (TimeoutError, WorkerDied) as error:
            worker.kill()
            raise WorkerNotStarted from error
        except BaseException:
            worker.kill()
            raise
        return worker

    def give_back(self, worker: Worker, *, keep: bool) -> None:
        """Let a worker rest until it is taken again, or end it."""
        if keep and worker.is_alive:
            self._idle.append(worker)
            worker.end_after(self._idle_s, self._forget)
        else:
            worker.kill()

    def _forget(self, worker: Worker) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)


class Worker:
    """One process and its two pipes.

    Attributes:
        arguments: What it was started with.
    """

    def __init__(self, process: asyncio.subprocess.Process, arguments: tuple[str, ...]) -> None:
        self.arguments = arguments
        self._process = process
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.ensure_future(process.wait())
        self._draining: asyncio.Future[None] | None = None

    @classmethod
    async def start(cls, program: str, arguments: tuple[str, ...]) -> Worker:
        """Start the process; what it sends first says that it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            program,
            str(os.getpid()),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"},
        )
        return cls(process, arguments)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    async def run(
        self, job: dict[str, Any], body: bytes = b"", *, max_bytes: int | None = None
    ) -> dict[str, Any]:
        """Give it a job and return what it says.

        Args:
            max_bytes: Of the result; None for all that a frame can hold.

        Raises:
            WorkerDied: It ended, or sent what is no result.
            ResultTooLarge: As it says.
        """
        head = json.dumps({**job, "size": len(body)}).encode()
        with tracing.span("worker", {"process.pid": self.pid, "mcp.worker.bytes": len(body)}):
            await self._send(head, body)
            return await self.receive(max_bytes)

    async def _send(self, head: bytes, body: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(_LENGTH.pack(len(head)) + head)
            stdin.write(body)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied from error

    async def receive(self, max_bytes: int | None = None) -> dict[str, Any]:
        """Return the next frame.

        Raises:
            WorkerDied, ResultTooLarge: As `run`.
        """
        stdout = self._process.stdout
        assert stdout is not None
        try:
            (length,) = _LENGTH.unpack(await stdout.readexactly(_LENGTH.size))
            if max_bytes is not None and length > max_bytes:
                raise ResultTooLarge(length)
            result = json.loads(await stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ValueError, RecursionError) as error:
            raise WorkerDied from error
        if not isinstance(result, dict):
            raise WorkerDied
        return result

    def end_after(self, seconds: float, forget: Callable[[Worker], None]) -> None:
        """End it when it was not woken before."""

        def end() -> None:
            forget(self)
            self.kill()

        self._timer = asyncio.get_running_loop().call_later(seconds, end)

    def wake(self) -> None:
        """Take it back to work."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def when_ended(self, tell: Callable[[Worker], None]) -> None:
        """Call with the worker when its process is gone."""
        self._ended.add_done_callback(lambda _: tell(self))

    def kill(self) -> None:
        """End it now; `wait` says when it is gone."""
        self.wake()
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        """Read what nobody wants: asyncio tells of the end of a process when its pipes have ended.

        A result that was refused because of its size would stand in the pipe for ever.
        """
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(RuntimeError):  # a job that waits for its result reads on itself
            while await stdout.read(_DRAINED_BYTES):
                pass

    async def wait(self) -> int:
        """Return its exit status when it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await asyncio.shield(self._ended)

    async def end(self) -> None:
        """End it and wait until it is gone."""
        self.kill()
        await self.wait()


# --- the worker's side ---------------------------------------------------------------------------


def live_with(parent: int) -> None:
    """Have this process die with its parent, and leave Ctrl-C to that."""
    if not end_with(parent):
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us


def give_up_rights(
    *, memory: int, read: Iterable[str] = (), open_files: int = 16, network: bool = False
) -> None:
    """Bound memory and files, and shut the file system but what may be read, and the network.

    Whatever the kernel does not know or allow is left out.

    Args:
        memory: Bytes of address space.
        read: Directories below which files may still be read.
        network: True to stay in the machine's network: leaving it takes a user namespace, in which
            root may no longer read what belongs to others.
    """
    if not network:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    landlock.restrict_self(read=read, write=())
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, open_files),
    ):
        resource.setrlimit(limit, (value, value))


def open_statm() -> int:
    """Return this process's /proc/self/statm, open, for when no file can be opened any more."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def memory_of(statm: int) -> tuple[int, int]:
    """Return the bytes of address space and of memory in use (proc(5)); most is parsers' code.

    Not getrusage: its maximum is that of the process that started this one, where that is larger.
    """
    pages = os.pread(statm, 100, 0).split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def limit_cpu(seconds: int) -> None:
    """Let the kernel end a job that the parent for some reason does not (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def receive(jobs: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Return the next job and its body; None when the parent has closed the pipe."""
    head = jobs.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    job = json.loads(jobs.read(_LENGTH.unpack(head)[0]))
    return job, jobs.read(job.pop("size"))


def send(results: BinaryIO, result: dict[str, Any]) -> None:
    """Send one frame."""
    data = json.dumps(result).encode()
    results.write(_LENGTH.pack(len(data)) + data)
    results.flush()
