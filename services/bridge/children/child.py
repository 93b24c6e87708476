"""One opened MCP server behind its process, whichever revision it speaks.

```
Process ── lines ──► Connection ── ids, deadlines ──► Child ──► Owner (the pool, the forwarding)
                                      Legacy or Modern ┘ what the child's era wants to hear
```

A child is started and, later on, opened: what is started and not opened yet knows of no client, and
can be had ready for one. `auto` opens with `initialize`, which costs servers of the legacy
revisions nothing, and asks `server/discover` when that is refused. Not the other way round: the
Python library 1.3 ends when it is sent a method that it does not know.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from core.errors import ToolError
from core.protocol.messages import JSON
from services.bridge.children.connection import INVALID_PARAMS, METHOD_NOT_FOUND, Connection
from services.bridge.children.entries import PROMPT, RESOURCE, TEMPLATE, TOOL, Fit
from services.bridge.children.identity import Face, Identity, NotOpened
from services.bridge.children.legacy import Legacy, open_legacy
from services.bridge.children.modern import Modern, open_modern
from services.bridge.children.process import End, Limits, NotStarted, Process
from services.bridge.environment import environment_of, secrets_of
from services.bridge.errors import (
    BridgeBusy,
    ChildNotStarted,
    RemoteError,
    RequestTimeout,
    facts_of,
)
from services.bridge.specs import ServerSpec

__all__ = ["Child", "Face", "Lists", "Owner"]

MAX_PAGES: Final = 1_000
MAX_ENTRIES: Final = 10_000
RESOURCE_NOT_FOUND: Final = -32002
LATE_LOGS_S: Final = 5.0
"""For so long, log messages of a request that was given up may still be on their way."""
_UNKNOWN: Final = Identity("", {}, {}, None)


@dataclass(frozen=True, slots=True)
class Lists:
    """All that a child offers, in its order; empty where it does not declare the capability."""

    tools: tuple[JSON, ...] = ()
    prompts: tuple[JSON, ...] = ()
    resources: tuple[JSON, ...] = ()
    templates: tuple[JSON, ...] = ()


_LISTED: Final = {
    "tools": ("tools", "tools/list", "tools", "name", TOOL),
    "prompts": ("prompts", "prompts/list", "prompts", "name", PROMPT),
    "resources": ("resources", "resources/list", "resources", "uri", RESOURCE),
    "templates": (
        "resources",
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
        TEMPLATE,
    ),
}
"""Member of `Lists` → capability, method, member of the result, and what each entry has and is."""


class Owner(Protocol):
    """Who owns a child and hears what it says by itself."""

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Answer a question of the child's to its client; a `RemoteError` is its answer, too.

        Args:
            method: `sampling/createMessage`, `elicitation/create` or `roots/list`; only what the
                child's face says that the client has.
            params: As 2025-11-25 has them.
        """
        ...

    def refused(self, child: Child, method: str, params: JSON) -> None:
        """Hear of a question that was refused: the child's client cannot be asked it."""
        ...

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Take a notification of the child's: of changes, of a log message, of an elicitation."""
        ...

    def ended(self, child: Child, end: End) -> None:
        """Hear that the child's process has ended; called once, for each child that was started."""
        ...


class Child:
    """One bridged server that runs; spoken to once it is opened.

    Attributes:
        server: Its name.
        face: What it was told of its client; None until it is opened.
        in_flight: Requests that wait for it.
        last_used: When a request began or ended (monotonic seconds).
    """

    process: Process

    def __init__(self, spec: ServerSpec, owner: Owner, redact: Callable[[str], str]) -> None:
        self.server = spec.name
        self.face: Face | None = None
        self.in_flight = 0
        self.last_used = time.monotonic()
        self._spec = spec
        self._owner = owner
        self._era: Legacy | Modern | None = None
        self._end: End | None = None
        self._logs: list[Callable[[JSON], None]] = []
        self._unclear_until = -math.inf
        self._connection = Connection(spec.name, self, line_bytes=spec.line_bytes, redact=redact)

    @classmethod
    async def start(
        cls, spec: ServerSpec, *, environment: Mapping[str, str] | None = None, owner: Owner
    ) -> Child:
        """Start the process and say nothing to it yet.

        Args:
            environment: Variables over those of the spec, from the caller's headers.

        Raises:
            ChildNotStarted: The command cannot be run, or a secret cannot be read.
        """
        env = environment_of(spec, environment or {}, os.environ)
        redact = secrets_of(spec, env)
        child = cls(spec, owner, redact)
        try:
            child.process = await Process.start(
                spec.command,
                env=env,
                cwd=spec.cwd,
                limits=Limits(spec.line_bytes, spec.memory_bytes, spec.cpu_s),
                label=spec.name,
                redact=redact,
                listener=child._connection,
            )
        except NotStarted as error:
            raise ChildNotStarted(
                f"The server {spec.name} could not be started: {error}", server=spec.name
            ) from error
        child._connection.attach(child.process)
        return child

    async def open(self, face: Face) -> None:
        """Agree on a revision and tell the child who its client is.

        A child that does not open is killed.

        Raises:
            ChildNotStarted: It does not open as an MCP server in time, or ended before it had.
        """
        try:
            self._era = era = await self._opened(face)
            self.face = face
            era.begin()
            await asyncio.sleep(0)  # a stream of changes begins before what may change is read
        except RequestTimeout as error:
            self.process.kill("did not open in time")
            raise self._too_slow() from error
        except (NotOpened, RemoteError, ToolError) as error:
            self.process.kill("did not open")
            raise self._not_opened(_why(error)) from error
        except BaseException:
            self.process.kill("was not wanted any more")
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._end is None and self.process.is_alive

    @property
    def end(self) -> End | None:
        """How the process ended."""
        return self._end

    @property
    def modern(self) -> bool:
        """Whether 2026-07-28 is spoken with it; no before it is opened."""
        return self._era is not None and self._era.modern

    @property
    def revision(self) -> str:
        """The revision that is spoken with it."""
        return self._identity.revision

    @property
    def info(self) -> JSON:
        """Its `Implementation`, as it tells it."""
        return self._identity.info

    @property
    def instructions(self) -> str | None:
        """How a model should use it, as it tells."""
        return self._identity.instructions

    @property
    def capabilities(self) -> JSON:
        """What it says that it can do."""
        return self._identity.capabilities

    @property
    def oddities(self) -> Mapping[str, int]:
        """What it has sent that was dropped, and how often."""
        return self._connection.oddities

    @property
    def last_heard(self) -> float:
        """When it last sent a message of any kind (monotonic seconds)."""
        return self._connection.last_heard

    async def request(
        self,
        method: str,
        params: JSON,
        *,
        timeout_s: float,
        max_s: float | None = None,
        on_progress: Callable[[JSON], None] | None = None,
        on_log: Callable[[JSON], None] | None = None,
        capabilities: JSON | None = None,
        client: JSON | None = None,
        log_level: str | None = None,
    ) -> JSON:
        """Return the result of one request; cancelling the task cancels it in the child, too.

        Args:
            timeout_s: Seconds for the answer, anew with each sign of progress.
            max_s: Seconds at most when there is progress; without it, progress changes nothing.
            on_progress: Takes the params of each progress notification.
            on_log: Takes the params of log messages of this request, which only a modern child
                sends; another's come through `Owner.told`.
            capabilities: Of this request's client, for a modern child; its face's otherwise.
            client: Of this request's client, as above.
            log_level: From which on this request wants log messages, as above.

        Returns:
            The result without members of the protocol; from a modern child also one whose
            `resultType` is `input_required`, as it is.

        Raises:
            RemoteError: The child answered with an error; no resource is always -32002.
            ChildDied: It ended.
            RequestTimeout: It did not answer in time, and was told to stop.
            BridgeBusy: Too many requests wait for it already.
            AnswerTooLarge, RequestTooLarge: More bytes than a line may have.
            BadAnswer: It was no answer of MCP.
        """
        era = self._opened_era
        if self.in_flight >= self._spec.max_in_flight:
            raise BridgeBusy(
                f"{self.in_flight} requests wait for the server {self.server}, which is the limit.",
                server=self.server,
            )
        said = era.params(
            method, params, capabilities=capabilities, client=client, log_level=log_level
        )
        self.in_flight += 1
        self.last_used = time.monotonic()
        log = on_log or _unheard
        if log_level is not None:
            self._logs.append(log)
        try:
            result = await self._connection.request(
                method, said, timeout_s=timeout_s, max_s=max_s, on_progress=on_progress
            )
            return era.result(method, result)
        except RemoteError as error:
            raise _alike(method, error) from None
        except (asyncio.CancelledError, RequestTimeout):
            if log_level is not None:
                self._unclear_until = time.monotonic() + LATE_LOGS_S
            raise
        finally:
            self.in_flight -= 1
            self.last_used = time.monotonic()
            if log_level is not None:
                self._logs.remove(log)

    def notify(self, method: str, params: JSON) -> None:
        """Send a notification, if the child's era has it and it knows of what it is about."""
        if self._era is not None:
            self._era.notify(method, params)

    async def lists(self) -> Lists:
        """Return all that the child offers: all pages of the lists that it declares.

        Raises:
            RemoteError, ChildDied, RequestTimeout, AnswerTooLarge, BadAnswer: As for `request`.
        """
        return Lists(**{name: await self._list(*how) for name, how in _LISTED.items()})

    async def ping(self, timeout_s: float) -> float:
        """Return the seconds the child took to answer.

        Raises:
            RemoteError, ChildDied, RequestTimeout, BridgeBusy: It did not answer as it should.
        """
        began = time.monotonic()
        await self._opened_era.ping(timeout_s)
        return time.monotonic() - began

    async def subscribe(self, uri: str) -> None:
        """Have changes of a resource told.

        Raises:
            RemoteError: The child tells of none, or refuses this one.
            ChildDied, RequestTimeout: As for `request`.
        """
        await self._opened_era.subscribe(uri)

    async def unsubscribe(self, uri: str) -> None:
        """Have changes of a resource no longer told; errors as for `subscribe`."""
        await self._opened_era.unsubscribe(uri)

    async def set_level(self, level: str) -> None:
        """Have log messages from a level on told; a modern child is told by each request.

        Raises:
            RemoteError: The child sends no log messages, or does not know the level.
            ChildDied, RequestTimeout: As for `request`.
        """
        await self._opened_era.set_level(level)

    async def stop(self, why: str) -> End:
        """End the process, and return how it ended."""
        return await self.process.stop(why, self._spec.stop_grace_s)

    def tick(self, now: float) -> None:
        """Look at deadlines; now is in monotonic seconds."""
        self.process.tick(now)
        self._connection.tick(now)
        if self._era is not None and self._end is None:
            self._era.tick(now)

    # --- what the connection hears ----------------------------------------------------------------

    async def asked(self, method: str, params: JSON) -> JSON:
        """Ask the client, in the child's name."""
        era = self._era
        if not isinstance(era, Legacy):  # and of a legacy one nothing but ping before it is opened
            raise RemoteError(METHOD_NOT_FOUND, f"Method not found: {method}")
        try:
            question = era.question(method, params)
        except RemoteError:
            self._owner.refused(self, method, params)
            raise
        return era.reply(method, await self._owner.asked(self, method, question))

    def told(self, method: str, params: JSON) -> None:
        """Hand a notification on, to whom it is for."""
        heard = self._era.hears(method, params) if self._era is not None else None
        if heard is None or self._era is None:
            return
        if method == "notifications/message" and self._era.modern:
            if len(self._logs) == 1 and time.monotonic() >= self._unclear_until:
                self._logs[0](heard)
            return
        self._owner.told(self, method, heard)

    def ended(self, end: End) -> None:
        """Hear that the process has ended."""
        self._end = end
        self._owner.ended(self, end)

    # --- opening and listing ----------------------------------------------------------------------

    async def _opened(self, face: Face) -> Legacy | Modern:
        until = time.monotonic() + self._spec.start_timeout_s
        timeout_s = self._spec.request_timeout_s
        connection, protocol = self._connection, self._spec.protocol
        if protocol == "modern":
            return await open_modern(connection, face, until=until, timeout_s=timeout_s)
        try:
            return await open_legacy(connection, face, until=until, timeout_s=timeout_s)
        except RemoteError as refused:
            if protocol == "legacy":
                raise
            try:
                return await open_modern(connection, face, until=until, timeout_s=timeout_s)
            except (RemoteError, NotOpened, RequestTimeout) as error:
                raise NotOpened(f"{_why(refused)}; then {_why(error)}") from error

    @property
    def _opened_era(self) -> Legacy | Modern:
        if self._era is None:
            raise self._not_opened("it was not opened")
        return self._era

    @property
    def _identity(self) -> Identity:
        return _UNKNOWN if self._era is None else self._era.identity

    def _not_opened(self, why: str) -> ChildNotStarted:
        end = self._end if self._end is not None else self.process.end
        if end is not None and end.why == "exited":
            why = f"it {end.sentence()}"
        return ChildNotStarted(
            f"The server {self.server} did not open: {why}.", **facts_of(self.server, end)
        )

    def _too_slow(self) -> ChildNotStarted:
        """Return that the time for its start was over before it had answered."""
        method = "server/discover" if self._spec.protocol == "modern" else "initialize"
        other = "; or it speaks 2026-07-28 only, and needs protocol: modern"
        return ChildNotStarted(
            f"The server {self.server} did not answer {method} within "
            f"{self._spec.start_timeout_s:g} s, its startTimeoutS, which may have to be longer"
            f"{other if self._spec.protocol == 'auto' else ''}.",
            server=self.server,
        )

    async def _list(
        self, capability: str, method: str, member: str, key: str, fit: Fit
    ) -> tuple[JSON, ...]:
        if not self._identity.offers(capability):
            return ()
        entries: dict[str, JSON] = {}
        params: JSON = {}
        seen: set[str] = set()
        try:
            for _ in range(MAX_PAGES):
                page = await self._page(method, params)
                entries.update(self._entries(method, page.get(member), key, fit))
                cursor = page.get("nextCursor")
                if type(cursor) is not str or cursor in seen or len(entries) >= MAX_ENTRIES:
                    break
                seen.add(cursor)
                params = {"cursor": cursor}
        except RemoteError as error:
            if error.code != METHOD_NOT_FOUND:  # declared, and not there
                raise
        return tuple(entries.values())[:MAX_ENTRIES]

    def _entries(
        self, method: str, listed: object, key: str, fit: Fit
    ) -> Iterator[tuple[str, JSON]]:
        """Yield the entries of a page that can be listed; of two with one name the last counts."""
        for entry in listed if isinstance(listed, list) else ():
            if (fitting := fit(entry)) is not None:
                yield fitting[key], fitting
            else:
                self._connection.note_odd(f"an entry of {method} that has no proper name", entry)

    async def _page(self, method: str, params: JSON) -> JSON:
        era = self._opened_era
        said = era.params(method, params, capabilities=None, client=None, log_level=None)
        timeout_s = self._spec.request_timeout_s
        return era.result(method, await self._connection.request(method, said, timeout_s=timeout_s))


def _unheard(params: JSON) -> None:
    """Take the log messages of a request whose caller has not said where they go."""


def _alike(method: str, error: RemoteError) -> RemoteError:
    """Return an error with the code that legacy revisions have for a resource that is not there.

    2026-07-28 has -32602 for it, as the TypeScript library always had, and says which in `data`.
    """
    missing = isinstance(error.data, dict) and "uri" in error.data
    missing = missing or "not found" in error.message.lower()
    if method == "resources/read" and error.code == INVALID_PARAMS and missing:
        return RemoteError(RESOURCE_NOT_FOUND, error.message, error.data)
    return error


def _why(error: Exception) -> str:
    if isinstance(error, RemoteError):
        return f"it refused ({error.message[:200]}, {error.code})"
    if isinstance(error, ToolError):
        return error.message.rstrip(".")
    return str(error)
