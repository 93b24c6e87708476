"""What a bridged server offers, as core's catalogue: its lists, kept until it says they changed.

Entries are listed as the server lists them. Lists can depend on what a client can be asked and on
variables that its headers give, so that there is one catalogue for each such kind of caller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from core.catalogue import Catalogue, Completer, ResourceHandler
from core.content import ForeignResult
from core.context import Caller, Context
from core.errors import InvalidParams
from core.protocol.messages import JSON
from core.protocol.revisions import V2025_03_26
from core.tools import foreign_tool
from services.bridge.children.child import Lists
from services.bridge.specs import ServerSpec

MAX_NAME = 256
"""Characters of a tool's name, which becomes part of metrics and logs; no client takes as many."""
MAX_TOOLS = 2000
"""More than any model can be shown."""
Forward = Callable[[str, JSON, Context], Awaitable[JSON]]
"""Asks the server: method, params, the call's context → result."""


class Forwarded(Catalogue):
    """The catalogue of one kind of caller.

    Args:
        find_out: Fills it for a caller; awaited while it is not known.
        take: Hears of sessions' log levels and subscriptions; returns whether it keeps them.
        take_roots: Hears of sessions whose clients' roots have changed.

    Attributes:
        declared: The server's capabilities.
        is_known: Whether the server has been asked.
    """

    def __init__(
        self,
        spec: ServerSpec,
        forward: Forward,
        find_out: Callable[[Forwarded, Caller], Awaitable[None]],
        take: Callable[[str, JSON, Caller], Awaitable[bool]],
        take_roots: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.declared: JSON = {}
        self.is_known = False
        self._spec = spec
        self._forward = forward
        self._find_out = find_out
        self._take = take
        self._take_roots = take_roots

    async def load(self, caller: Caller) -> None:
        """Ask the server, once; a failure is told to who waits, and the next one asks again."""
        if not self.is_known:
            await self._find_out(self, caller)

    async def take(self, method: str, params: JSON, caller: Caller) -> bool:
        """Hand a session's log level or subscription on."""
        return await self._take(method, params, caller)

    def take_roots(self, session: str) -> None:
        """Hand on that a session's client has other roots now."""
        self._take_roots(session)

    def fill(self, declared: JSON, lists: Lists) -> frozenset[str]:
        """Take over what the server offers now; return which of its lists are others."""
        before = {kind: self.entries(kind) for kind in _KINDS}
        self.declared = declared
        self.tools = {
            entry["name"]: foreign_tool(
                _callable(entry),
                self._tool_handler(entry["name"]),
                time_limit_s=self._spec.max_request_timeout_s,
            )
            for entry in lists.tools[:MAX_TOOLS]
            if len(entry["name"]) <= MAX_NAME and self._is_allowed(entry["name"])
        }
        rows: Any = {e["name"]: _Prompt(e, self._prompt_handler(e["name"])) for e in lists.prompts}
        self.prompts = rows  # core's rows have more, which it never asks a forwarded one for
        rows = {entry["uri"]: _Listed(entry) for entry in lists.resources}
        self.resources = rows
        rows = {entry["uriTemplate"]: _Listed(entry) for entry in lists.templates}
        self.templates = rows
        self.is_known = True
        self.version += 1
        return frozenset(kind for kind in _KINDS if self.entries(kind) != before[kind])

    def take_from(self, other: Forwarded) -> None:
        """Take over what another catalogue of the same server has."""
        self.declared, self.is_known = other.declared, other.is_known
        self.tools, self.prompts = other.tools, other.prompts
        self.resources, self.templates = other.resources, other.templates
        self.version += 1

    def capabilities(self, revision: str) -> JSON:
        """Return what the server declares and this one can hand on; lists may always change."""
        said = self.declared if self.is_known else _ASSUMED
        declared: JSON = {}
        if "tools" in said:
            declared["tools"] = {"listChanged": True}
        if "prompts" in said:
            declared["prompts"] = {"listChanged": True}
        if "resources" in said:
            given = said["resources"]
            subscribes = isinstance(given, dict) and given.get("subscribe") is True
            declared["resources"] = {"subscribe": subscribes, "listChanged": True}
        if "logging" in said:
            declared["logging"] = {}
        if revision >= V2025_03_26 and "completions" in said:
            declared["completions"] = {}
        return declared

    def offers(self, method: str) -> bool:
        """Return whether the server declares what a method belongs to; a call finds it out."""
        if not self.is_known:
            return True
        if method == "logging/setLevel":
            return "logging" in self.declared
        if method == "completion/complete":  # 2024-11-05 has it without a capability
            return bool({"completions", "prompts", "resources"} & self.declared.keys())
        area, _, _ = method.partition("/")
        return area not in ("tools", "prompts", "resources") or area in self.declared

    def reader_of(self, uri: str) -> tuple[ResourceHandler, str | None]:
        """Return what reads any URI: the server knows which it has, listed or not."""

        async def read(context: Context) -> ForeignResult:
            return ForeignResult(await self._forward("resources/read", {"uri": uri}, context))

        return read, None

    def listed_as(self, uri: str) -> str | None:
        """Return the URI when it is listed."""
        return uri if uri in self.resources else None

    def completer_of(self, ref: Mapping[str, Any], argument: str) -> Completer:
        """Return what asks the server to complete an argument."""

        async def complete(
            value: str, chosen: Mapping[str, str], context: Context
        ) -> ForeignResult:
            params: JSON = {"ref": ref, "argument": {"name": argument, "value": value}}
            if chosen:
                params["context"] = {"arguments": dict(chosen)}
            return ForeignResult(await self._forward("completion/complete", params, context))

        return complete

    def _is_allowed(self, name: str) -> bool:
        spec = self._spec
        if any(fnmatchcase(name, pattern) for pattern in spec.deny_tools):
            return False
        return not spec.allow_tools or any(fnmatchcase(name, p) for p in spec.allow_tools)

    def _tool_handler(self, name: str) -> Callable[..., Awaitable[ForeignResult]]:
        forward = self._forward

        async def call(arguments: JSON, context: Context) -> ForeignResult:
            params = {"name": name, "arguments": arguments}
            return ForeignResult(await forward("tools/call", params, context))

        return call

    def _prompt_handler(self, name: str) -> Callable[..., Awaitable[ForeignResult]]:
        async def get(arguments: JSON, context: Context) -> ForeignResult:
            params = {"name": name, "arguments": arguments}
            return ForeignResult(await self._forward("prompts/get", params, context))

        return get


_ASSUMED: JSON = {"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "logging": {}}
"""What a server may turn out to declare, for who listens for changes before it was asked."""
_KINDS = ("tools", "prompts", "resources", "templates")


def _callable(entry: JSON) -> JSON:
    """Return a tool's entry without what says that it runs as a task, which nobody asks it to."""
    return {key: value for key, value in entry.items() if key != "execution"}


@dataclass(frozen=True, slots=True)
class _Listed:
    """A resource or a template, as the server lists it."""

    entry: JSON

    def to_dict(self) -> JSON:
        return self.entry


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt, as the server lists it."""

    entry: JSON
    handler: Callable[..., Awaitable[ForeignResult]]

    def to_dict(self) -> JSON:
        return self.entry

    def parse(self, arguments: Any) -> JSON:
        if type(arguments) is not dict or not all(type(v) is str for v in arguments.values()):
            raise InvalidParams("prompts/get: arguments have to be an object of strings.")
        return arguments
