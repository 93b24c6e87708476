"""Children without processes, for tests of who gets which and when they end.

A `Server` stands for the program: what it does when it is started and opened is set on it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, cast

from core.protocol.messages import JSON
from services.bridge.children.child import Child, Face, Owner
from services.bridge.children.isolation import Want
from services.bridge.children.pool import Pool
from services.bridge.children.process import End
from services.bridge.errors import ChildDied, ChildNotStarted, RequestTimeout
from services.bridge.specs import ServerSpec

NAME = "toy"
OWN_FACE = Face(info={"name": "bridge", "version": "1"})


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class FakeProcess:
    """What a pool looks at of a process."""

    def __init__(self, child: FakeChild) -> None:
        self._child = child
        self.measured = 0
        self.stderr_tail: tuple[str, ...] = ("its last words",)

    def rss_bytes(self) -> int:
        """Return some memory."""
        self.measured += 1
        return 4096

    def kill(self, why: str) -> None:
        """End it."""
        self._child.ends(End(code=None, signal="SIGKILL", why=why, stderr=self.stderr_tail))


class FakeChild:
    """A child that does as its server says."""

    def __init__(self, server: Server, environment: Mapping[str, str], owner: Owner) -> None:
        self.server = NAME
        self.program = server
        self.environment = dict(environment)
        self.pid = next(server.pids)
        self.info: JSON = {"name": NAME, "version": "1"}
        self.process = FakeProcess(self)
        self.modern = server.modern
        self.face: Face | None = None
        self.in_flight = 0
        self.last_heard = server.clock()
        self.pings = 0
        self.end: End | None = None
        self._owner = owner
        self._ended = asyncio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.end is None

    async def open(self, face: Face) -> None:
        """Open when the server's gate is."""
        await self._first_of(self.program.gate.wait(), self._ended.wait())
        if self.end is not None or self.program.exits_at_once:
            self.ends(End(code=3, signal=None, why="exited", stderr=("no config",)))
            raise ChildNotStarted(f"The server {NAME} did not open: it exited with status 3.")
        self.face = face

    @staticmethod
    async def _first_of(*waits: Any) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def ping(self, timeout_s: float) -> float:
        """Answer, if the server answers pings."""
        self.pings += 1
        await asyncio.sleep(0)
        if self.end is not None:
            raise ChildDied("it has ended")
        if not self.program.answers_pings:
            raise RequestTimeout("no answer")
        self.says_something()
        return 0.002

    def says_something(self) -> None:
        """Send a message of any kind."""
        self.last_heard = self.program.clock()

    def ends(self, end: End) -> None:
        """End, by itself or because it is told to."""
        if self.end is None:
            self.end = end
            self._ended.set()
            self.program.alive.discard(self)
            self._owner.ended(cast(Child, self), end)

    def crash(self) -> None:
        """End by itself."""
        self.ends(End(code=7, signal=None, why="exited", stderr=("a bug",)))

    async def stop(self, why: str) -> End:
        """End when it is allowed to."""
        self.program.stops += 1
        await self.program.may_stop.wait()
        self.ends(End(code=0, signal=None, why=why, stderr=()))
        assert self.end is not None
        return self.end

    def tick(self, now: float) -> None:
        """Look at the time."""

    def asks(self, method: str) -> asyncio.Future[JSON]:
        """Ask the client something."""
        return asyncio.ensure_future(self._owner.asked(cast(Child, self), method, {}))


class Server:
    """The program: what it does, and what was started of it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.modern = False
        self.exits_at_once = False
        self.not_found = False
        self.answers_pings = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.pids = itertools.count(1)
        self.alive: set[FakeChild] = set()
        self.started = 0
        self.stops = 0

    async def start(
        self, spec: ServerSpec, *, environment: Mapping[str, str], owner: Owner
    ) -> Child:
        """Start one."""
        self.started += 1
        await asyncio.sleep(0)
        if self.not_found:
            raise ChildNotStarted(f"The server {NAME} could not be started: no such program.")
        child = FakeChild(self, environment, owner)
        self.alive.add(child)
        return cast(Child, child)


class Toy:
    """A pool on such a server, with a clock of its own and what was heard of its children."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.server = Server(self.clock)
        self.streams: set[str] = set()
        self.ends: list[End] = []
        self.spec = ServerSpec(**{"name": NAME, "command": ("toy",), "spares": 0, **options})
        self.pool = Pool(
            self.spec,
            owner=self,
            own_face=OWN_FACE,
            is_open=self.streams.__contains__,
            clock=self.clock,
            start_child=self.server.start,
        )

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Answer with the question."""
        return {"asked": method, "pid": child.pid}

    def refused(self, child: Child, method: str, params: JSON) -> None:
        """Do nothing."""

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Hear a notification."""

    def ended(self, child: Child, end: End) -> None:
        """Hear of an end."""
        self.ends.append(end)

    async def after(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Let time pass: tick as often as that, and let what is started by it go on."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + step_s)
            self.pool.tick(self.clock.now)
            await settle()

    def child_of(self, lease: Any) -> FakeChild:
        """Return the child as what it is."""
        return cast(FakeChild, lease.child)

    @property
    def kinds(self) -> list[str]:
        """For whom the opened children are."""
        return sorted(child.kind for child in self.pool.status().children)


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


ASKABLE: JSON = {"elicitation": {}}


def want(
    session: str | None = None, *, owner: str = "anna", capabilities: JSON | None = None, **env: str
) -> Want:
    """Return a want."""
    face = Face(capabilities=capabilities or {}, info={"name": "test", "version": "1"})
    return Want(session=session, owner=owner, face=face, environment=tuple(sorted(env.items())))
