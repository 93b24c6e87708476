"""What a server offers: tools, resources, templates, prompts, and who completes their arguments."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from core.content import ForeignResult, PromptResult, ResourceContents
from core.context import Caller, Context
from core.errors import InvalidParams, did_you_mean
from core.grants import PROMPTS, RESOURCES, Grant
from core.models import NoArguments, input_schema_of
from core.protocol.revisions import V2025_03_26
from core.tools import NAME_PATTERN, Tool, invalid_arguments

Completer = Callable[[str, Mapping[str, str], Context], Awaitable[Sequence[str] | ForeignResult]]
"""Completes an argument: what is typed so far, the other arguments, the context → values."""

ResourceData = str | bytes | ResourceContents | ForeignResult
ResourceHandler = Callable[[Context], Awaitable[ResourceData]]
TemplateHandler = Callable[[dict[str, str], Context], Awaitable[ResourceData]]
PromptHandler = Callable[[Any, Context], Awaitable[str | PromptResult | ForeignResult]]
AnyHandler = Callable[..., Awaitable[Any]]
"""A handler as it is registered: the context may be left out."""

MAX_KEPT = 2000
_VARIABLE = re.compile(r"\{(\+?[a-zA-Z_][a-zA-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource with a fixed URI."""

    uri: str
    name: str
    handler: ResourceHandler
    description: str | None = None
    title: str | None = None
    mime_type: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the `resources/list` entry."""
        return {"uri": self.uri, **_described(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTemplate:
    """A family of resources: an RFC 6570 template such as ``postgres://{db}/{table}``.

    ``{name}`` stands for text within one path segment. ``{+name}`` stands for a path with its
    slashes, and is handed on as it is written, percent signs and all.
    """

    uri_template: str
    name: str
    handler: TemplateHandler
    description: str | None = None
    title: str | None = None
    mime_type: str | None = None
    completions: Mapping[str, Completer] = field(default_factory=dict)
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compile the template.

        Raises:
            ValueError: A segment has two variables, which an address can match in many ways.
        """
        if any(len(_VARIABLE.findall(part)) > 1 for part in self.uri_template.split("/")):
            raise ValueError(f"{self.uri_template!r}: at most one variable between two slashes")
        parts = _VARIABLE.split(self.uri_template)
        source = "".join(
            _group(part) if index % 2 else re.escape(part) for index, part in enumerate(parts)
        )
        object.__setattr__(self, "pattern", re.compile(source))

    def match(self, uri: str) -> dict[str, str] | None:
        """Return the variables of a URI of this family, decoded; None for any other."""
        found = self.pattern.fullmatch(uri)
        if found is None:
            return None
        as_written = {name[1:] for name in _VARIABLE.findall(self.uri_template) if name[0] == "+"}
        return {k: v if k in as_written else unquote(v) for k, v in found.groupdict().items()}

    def reader(self, variables: dict[str, str]) -> ResourceHandler:
        """Return what reads the resource with these variables."""

        async def read(context: Context) -> ResourceData:
            return await self.handler(variables, context)

        return read

    def to_dict(self) -> dict[str, Any]:
        """Return the `resources/templates/list` entry."""
        return {"uriTemplate": self.uri_template, **_described(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt; its arguments are the fields of a model of strings."""

    name: str
    description: str
    handler: PromptHandler
    arguments: type[BaseModel] = NoArguments
    title: str | None = None
    completions: Mapping[str, Completer] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the `prompts/list` entry."""
        schema = input_schema_of(self.arguments)
        required = schema.get("required", [])
        arguments = [
            {
                "name": name,
                **({"description": part["description"]} if "description" in part else {}),
                "required": name in required,
            }
            for name, part in schema["properties"].items()
        ]
        entry: dict[str, Any] = {"name": self.name, "description": self.description}
        if self.title is not None:
            entry["title"] = self.title
        if arguments:
            entry["arguments"] = arguments
        return entry

    def parse(self, arguments: dict[str, Any]) -> BaseModel:
        """Return the validated arguments.

        Raises:
            InvalidParams: One is missing, unknown or not a string.
        """
        try:
            return self.arguments.model_validate(arguments)
        except ValidationError as error:
            told = invalid_arguments(error, list(self.arguments.model_fields))
            raise InvalidParams(told.message, **told.facts) from None


def _group(variable: str) -> str:
    name = variable.removeprefix("+")
    return f"(?P<{name}>[^?#]+)" if variable.startswith("+") else f"(?P<{name}>[^/?#]+)"


def _described(item: Resource | ResourceTemplate) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": item.name}
    if item.title is not None:
        entry["title"] = item.title
    if item.description is not None:
        entry["description"] = item.description
    if item.mime_type is not None:
        entry["mimeType"] = item.mime_type
    return entry


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why a tool is not offered here, as those are told who call it all the same.

    Attributes:
        hint: What to do about it; empty for what the door has to say.
    """

    message: str
    hint: str


class Catalogue:
    """The registry of one server, in the order of registration."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}
        self.resources: dict[str, Resource] = {}
        self.templates: dict[str, ResourceTemplate] = {}
        self.prompts: dict[str, Prompt] = {}
        self.withheld: dict[str, Withheld] = {}
        self.version = 0
        self.kept: dict[Any, Any] = {}
        self._kept_version = 0

    async def load(self, caller: Caller) -> None:
        """Wait until the entries are known; here they are from the beginning.

        Raises:
            ToolError: They cannot be found out now.
        """

    async def take(self, method: str, params: dict[str, Any], caller: Caller) -> bool:
        """Hear of a session's log level or subscription, before it is noted.

        Returns:
            Whether it is kept by whom the catalogue stands for, and not to be noted; here never.

        Raises:
            SuiteError: The subscription is refused.
        """
        return False

    def take_roots(self, session: str) -> None:
        """Hear that a session's client has other roots now; nothing to do here."""

    def keep(self, key: Any, value: Any) -> None:
        """Keep what was worked out from the entries until they change.

        At the limit everything is forgotten: tokens may come with any number of grants.
        """
        if len(self.kept) >= MAX_KEPT or self._kept_version != self.version:
            self.kept.clear()
            self._kept_version = self.version
        self.kept[key] = value

    def recall(self, key: Any) -> Any:
        """Return what `keep` kept, None when the entries have changed since."""
        return self.kept.get(key) if self._kept_version == self.version else None

    def add_tool(self, tool: Tool) -> None:
        """Add a tool; ValueError when its name is taken."""
        _refuse_taken("tool", tool.name, self.tools)
        self.tools[tool.name] = tool
        self.version += 1

    def withhold(self, name: str, why: Withheld) -> None:
        """Remember why a tool is not there; ValueError when it is there."""
        _refuse_taken("tool", name, self.tools)
        self.withheld[name] = why

    def why_no_tool(self, name: str) -> Withheld:
        """Say to somebody who asks for a tool that is not there what would be right."""
        if name in self.withheld:
            return self.withheld[name]
        guess = did_you_mean(name, self.tools)
        return Withheld(f"Unknown tool: {name[:100]!r}. {guess}".strip(), "")

    def add_resource(self, resource: Resource) -> None:
        """Add a resource; ValueError when its URI is taken."""
        _refuse_taken("resource", resource.uri, self.resources)
        self.resources[resource.uri] = resource
        self.version += 1

    def add_template(self, template: ResourceTemplate) -> None:
        """Add a template; ValueError when it is there already."""
        _refuse_taken("resource template", template.uri_template, self.templates)
        self.templates[template.uri_template] = template
        self.version += 1

    def add_prompt(self, prompt: Prompt) -> None:
        """Add a prompt; ValueError when its name is taken or not fit for clients."""
        _refuse_taken("prompt", prompt.name, self.prompts)
        if not NAME_PATTERN.fullmatch(prompt.name):
            raise ValueError(
                f"prompt name {prompt.name!r}: 1 to 64 characters of A-Z a-z 0-9 _ . -"
            )
        self.prompts[prompt.name] = prompt
        self.version += 1

    def remove_tool(self, name: str) -> None:
        """Remove a tool; KeyError when there is none of that name."""
        del self.tools[name]
        self.version += 1

    def remove_resource(self, uri: str) -> None:
        """Remove a resource; KeyError when there is none of that URI."""
        del self.resources[uri]
        self.version += 1

    def seen_by(self, grant: Grant, service: str) -> Catalogue:
        """Return the part that a grant lets use, as it is now."""
        seen = Catalogue()
        seen.tools = {
            name: tool
            for name, tool in self.tools.items()
            if grant.allows(service, name, reads=tool.reads_only)
        }
        if grant.allows(service, RESOURCES, reads=True):
            seen.resources, seen.templates = dict(self.resources), dict(self.templates)
        if grant.allows(service, PROMPTS, reads=True):
            seen.prompts = dict(self.prompts)
        seen.withheld, seen.version = dict(self.withheld), self.version
        return seen

    def capabilities(self, revision: str) -> dict[str, Any]:
        """Return what the server declares in a revision, which is what it has handlers for."""
        declared: dict[str, Any] = {"tools": {"listChanged": True}, "logging": {}}
        if self.prompts:
            declared["prompts"] = {"listChanged": True}
        if self.resources or self.templates:
            declared["resources"] = {"subscribe": True, "listChanged": True}
        if revision >= V2025_03_26 and self.has_completions():
            declared["completions"] = {}
        return declared

    def offers(self, method: str) -> bool:
        """Return whether the capability behind a method is declared."""
        if method.startswith("prompts/"):
            return bool(self.prompts)
        if method.startswith("resources/"):
            return bool(self.resources or self.templates)
        if method == "completion/complete":
            return self.has_completions()
        return True

    def reader_of(self, uri: str) -> tuple[ResourceHandler, str | None] | None:
        """Return what reads a resource, and its media type; None for an unknown URI."""
        resource = self.resources.get(uri)
        if resource is not None:
            return resource.handler, resource.mime_type
        for template in self.templates.values():
            variables = template.match(uri)
            if variables is not None:
                return template.reader(variables), template.mime_type
        return None

    def listed_as(self, uri: str) -> str | None:
        """Return the URI or template that a resource is listed by; None for an unknown URI."""
        if uri in self.resources:
            return uri
        matching = (name for name, t in self.templates.items() if t.match(uri) is not None)
        return next(matching, None)

    def completer_of(self, ref: Mapping[str, Any], argument: str) -> Completer | None:
        """Return what completes an argument; None where nothing does.

        Args:
            ref: `type` is `ref/prompt` with a name, or `ref/resource` with the URI of a template.

        Raises:
            InvalidParams: There is no such prompt or template.
        """
        if ref["type"] == "ref/prompt":
            prompt = self.prompts.get(str(ref.get("name")))
            if prompt is not None:
                return prompt.completions.get(argument)
        else:
            template = self.templates.get(str(ref.get("uri")))
            if template is not None:
                return template.completions.get(argument)
            if str(ref.get("uri")) in self.resources:
                return None
        raise InvalidParams("ref names no prompt or resource template of this server.")

    def entries(self, what: str) -> list[dict[str, Any]]:
        """Return the list entries of `tools`, `resources`, `templates` or `prompts`."""
        return [item.to_dict() for item in getattr(self, what).values()]

    def has_completions(self) -> bool:
        """Return whether anything completes its arguments."""
        return any(p.completions for p in self.prompts.values()) or any(
            t.completions for t in self.templates.values()
        )

    def digest(self) -> str:
        """Return a short fingerprint of the tools: the same tools, the same digest."""
        return hashlib.sha256(to_json(self.entries("tools"))).hexdigest()[:16]


def _refuse_taken(what: str, key: str, taken: Mapping[str, Any]) -> None:
    if key in taken:
        raise ValueError(f"there is a {what} {key!r} already")
