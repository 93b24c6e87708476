"""One opened MCP server behind its process, whichever revision it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from core.protocol.messages import JSON

if TYPE_CHECKING:
    from services.bridge.children.process import End, Process
    from services.bridge.specs import ServerSpec


@dataclass(frozen=True, slots=True)
class Face:
    """What a child is told of its client.

    Attributes:
        capabilities: `roots`, `sampling` and `elicitation`, as far as the client has them.
        info: The client's `Implementation`: name, version and more.
    """

    capabilities: JSON = field(default_factory=dict)
    info: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lists:
    """All that a child offers, in its order; empty where it does not declare the capability."""

    tools: tuple[JSON, ...] = ()
    prompts: tuple[JSON, ...] = ()
    resources: tuple[JSON, ...] = ()
    templates: tuple[JSON, ...] = ()


class Owner(Protocol):
    """Who owns a child and hears what it says by itself."""

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Answer a request of the child's to its client; a `RemoteError` is its error."""
        ...

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Take a notification of the child's."""
        ...

    def ended(self, child: Child, end: End) -> None:
        """Hear that the child's process has ended; called once."""
        ...


class Child:
    """One bridged server that runs; spoken to once it is opened."""

    server: str
    process: Process
    face: Face | None
    modern: bool
    revision: str
    info: JSON
    instructions: str | None
    capabilities: JSON
    in_flight: int
    requests_done: int
    last_used: float

    @classmethod
    async def start(
        cls, spec: ServerSpec, *, environment: Mapping[str, str] | None = None, owner: Owner
    ) -> Child:
        """Start the process and say nothing to it yet."""
        raise NotImplementedError

    async def open(self, face: Face) -> None:
        """Agree on a revision and tell the child who its client is."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The process's id."""
        raise NotImplementedError

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        raise NotImplementedError

    @property
    def end(self) -> End | None:
        """How the process ended."""
        raise NotImplementedError

    async def request(
        self,
        method: str,
        params: JSON,
        *,
        timeout_s: float,
        max_s: float | None = None,
        on_progress: Callable[[JSON], None] | None = None,
        capabilities: JSON | None = None,
        client: JSON | None = None,
        log_level: str | None = None,
    ) -> JSON:
        """Return the result of one request."""
        raise NotImplementedError

    def notify(self, method: str, params: JSON) -> None:
        """Send a notification."""
        raise NotImplementedError

    async def lists(self) -> Lists:
        """Return all that the child offers."""
        raise NotImplementedError

    async def ping(self, timeout_s: float) -> float:
        """Return the seconds the child took to answer."""
        raise NotImplementedError

    async def subscribe(self, uri: str) -> None:
        """Have changes of a resource told."""
        raise NotImplementedError

    async def unsubscribe(self, uri: str) -> None:
        """Have changes of a resource no longer told."""
        raise NotImplementedError

    async def set_level(self, level: str) -> None:
        """Have log messages from a level on told."""
        raise NotImplementedError

    async def stop(self, why: str) -> End:
        """End the process."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Look at deadlines."""
        raise NotImplementedError
