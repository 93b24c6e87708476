"""Tools: what a service registers, and how one call runs through its models.

`Tool` is the same frozen row for every tool. Both directions are compiled at registration: `parse`
turns JSON arguments into the validated input model, `dump` turns the output model into JSON bytes.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.context import Context
from core.errors import InvalidArguments, did_you_mean
from core.models import input_schema_of, output_schema_of

NAME_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
HEADER_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
MAX_PROBLEMS_TOLD = 10

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Hints about a tool's behaviour (MCP `ToolAnnotations`), for clients that ask for approval."""

    read_only: bool = True
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = False

    def to_dict(self) -> dict[str, bool]:
        """Return the wire names."""
        return {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool: how it is listed and how it is called.

    Attributes:
        handler: `async (arguments, context)`; returns an output model or a `ToolResult`.
        parse: Arguments as JSON values → what the handler gets; raises `InvalidArguments`.
        dump: What the handler returned → JSON bytes of `structuredContent`.
        time_limit_s: Seconds a call may take; None for the server's default.
        header_params: Argument name → header suffix (`x-mcp-header`, 2026-07-28).
        entry: How another server lists it, which is how it is listed here.
    """

    name: str
    description: str
    handler: Handler
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    parse: Callable[[dict[str, Any]], Any]
    dump: Callable[[Any], bytes]
    output_model: type[BaseModel] | None = None
    title: str | None = None
    annotations: Annotations | None = None
    icons: tuple[Mapping[str, Any], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    time_limit_s: float | None = None
    header_params: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    entry: Mapping[str, Any] | None = None

    @property
    def reads_only(self) -> bool:
        """Whether it says that it changes nothing; one without annotations says nothing."""
        return self.annotations is not None and self.annotations.read_only

    def to_dict(self) -> dict[str, Any]:
        """Return the `tools/list` entry of the newest revision."""
        if self.entry is not None:
            return dict(self.entry)
        entry: dict[str, Any] = {"name": self.name}
        if self.title is not None:
            entry["title"] = self.title
        entry["description"] = self.description
        entry["inputSchema"] = dict(self.input_schema)
        if self.output_schema is not None:
            entry["outputSchema"] = dict(self.output_schema)
        if self.annotations is not None:
            entry["annotations"] = self.annotations.to_dict()
        if self.icons:
            entry["icons"] = [dict(icon) for icon in self.icons]
        if self.meta:
            entry["_meta"] = dict(self.meta)
        return entry


READS = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One row of a service's table of tools.

    Attributes:
        handler: `async (arguments, context)`.
        arguments: Its input model.
        result: Its output model.
    """

    name: str
    title: str
    description: str
    handler: Handler
    arguments: type[BaseModel]
    result: type[BaseModel]
    annotations: Annotations = READS
    time_limit_s: float | None = None


def icons(emoji: str) -> tuple[dict[str, str], ...]:
    """Return an emoji as the icon of tools, in as few characters as can be.

    tools/list is read by models, which pay for each of them.
    """
    source = f"<svg xmlns='http://www.w3.org/2000/svg'><text y='16'>{emoji}</text></svg>"
    return ({"src": f"data:image/svg+xml,{source}"},)


def build_tool(
    *,
    name: str,
    handler: Handler,
    input_schema: type[BaseModel] | Mapping[str, Any],
    description: str,
    output_schema: type[BaseModel] | None = None,
    annotations: Annotations | None = None,
    title: str | None = None,
    icons: tuple[Mapping[str, Any], ...] = (),
    time_limit_s: float | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Tool:
    """Compile a tool from its handler and models.

    Args:
        input_schema: The model of the arguments; or a JSON Schema, which is listed as it is while
            the handler gets the arguments unchecked, for tools that live in another server.

    Raises:
        ValueError: A name, description, schema or header annotation that clients would reject.
        TypeError: The handler is not a coroutine function, or a model is not a model.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"tool name {name!r}: 1 to 64 characters of A-Z a-z 0-9 _ . -")
    if not description.strip():
        raise ValueError(f"tool {name!r} has no description; a model could not choose it")
    parse: Callable[[dict[str, Any]], Any]
    if isinstance(input_schema, Mapping):
        schema, parse = dict(input_schema), _unchecked
    else:
        _require_model(name, "input_schema", input_schema)
        schema, parse = input_schema_of(input_schema), _parser(input_schema)
    if output_schema is not None:
        _require_model(name, "output_schema", output_schema)
    return Tool(
        name=name,
        title=title,
        description=inspect.cleandoc(description),
        handler=with_context(handler, positional=1),
        input_schema=schema,
        output_schema=None if output_schema is None else output_schema_of(output_schema),
        output_model=output_schema,
        parse=parse,
        dump=_dumper(name, output_schema),
        annotations=annotations,
        icons=icons,
        meta=meta or {},
        time_limit_s=time_limit_s,
        header_params=header_params_of(schema),
    )


def foreign_tool(
    entry: Mapping[str, Any], handler: Handler, *, time_limit_s: float | None = None
) -> Tool:
    """Return a tool that another server lists and runs.

    Args:
        entry: As that server lists it, which is how it is listed here; but for what of its
            schemas would make clients refuse the whole list.
        handler: `async (arguments, context)`; gets the arguments unchecked and returns a
            `core.content.ForeignResult`.
    """
    given = entry.get("inputSchema")
    schema = _listable({**(given if isinstance(given, Mapping) else {}), "type": "object"})
    output, hints = _output_schema(entry.get("outputSchema")), entry.get("annotations")
    listed = {key: value for key, value in entry.items() if key != "outputSchema"}
    listed |= {"inputSchema": schema} | ({} if output is None else {"outputSchema": output})
    try:
        header_params = header_params_of(schema)
    except ValueError:  # clients leave such a tool out; nobody will send its headers
        header_params = {}
    return Tool(
        name=entry["name"],
        description=str(entry.get("description") or ""),
        handler=handler,
        input_schema=schema,
        output_schema=output,
        parse=_unchecked,
        dump=_dumper(entry["name"], None),
        annotations=_annotations_of(hints if isinstance(hints, Mapping) else {}),
        time_limit_s=time_limit_s,
        header_params=header_params,
        entry=listed,
    )


def _output_schema(given: object) -> dict[str, Any] | None:
    """Return an output schema as an object; None for what is none.

    True is one (2020-12 §4.3.2), which takes everything; so does the empty object.
    """
    if given is True:
        return {}
    return _listable(given) if isinstance(given, Mapping) else None


def _listable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema whose `properties` are objects and whose `required` are names.

    The TypeScript library 1.x refuses a list of tools in which one schema has others. True and
    false are schemas, too, for which there are objects; what is no schema says nothing.
    """
    listable = dict(schema)
    if "properties" in schema:
        given = schema["properties"]
        parts = given.items() if isinstance(given, Mapping) else ()
        listable["properties"] = {name: _as_object(part) for name, part in parts}
    if "required" in schema:
        names = schema["required"]
        names = names if isinstance(names, list) else []
        listable["required"] = [name for name in names if isinstance(name, str)]
    return listable


def _as_object(schema: object) -> Mapping[str, Any]:
    if isinstance(schema, Mapping):
        return schema
    return {"not": {}} if schema is False else {}


def _annotations_of(hints: Mapping[str, Any]) -> Annotations:
    """Return hints with the defaults of the specification for those that are not given."""
    return Annotations(
        read_only=hints.get("readOnlyHint") is True,
        destructive=hints.get("destructiveHint") is not False,
        idempotent=hints.get("idempotentHint") is True,
        open_world=hints.get("openWorldHint") is not False,
    )


def with_context(handler: Handler, *, positional: int) -> Handler:
    """Return the handler as one that takes `positional` arguments and a context.

    Raises:
        TypeError: It is not a coroutine function, or takes another number of arguments.
    """
    call = handler if inspect.isroutine(handler) else type(handler).__call__
    if not inspect.iscoroutinefunction(inspect.unwrap(call)):
        raise TypeError(
            f"{handler!r} is not `async def`; run blocking work with asyncio.to_thread inside it"
        )
    count = len(
        [
            p
            for p in inspect.signature(handler).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    )
    if count == positional + 1:
        return handler
    if count == positional:

        async def without_context(*arguments: Any) -> Any:
            return await handler(*arguments[:-1])

        return without_context
    raise TypeError(f"{handler!r} takes {count} arguments; expected {positional} and a context")


def models_of(handler: Handler) -> tuple[type[BaseModel], type[BaseModel] | None]:
    """Return input and output model as a handler's annotations name them.

    Raises:
        TypeError: The first argument is not annotated with a model.
    """
    hints = typing.get_type_hints(handler)
    returned = hints.pop("return", None)
    models = [h for h in hints.values() if isinstance(h, type) and issubclass(h, BaseModel)]
    if not models:
        raise TypeError(f"{handler!r}: annotate its first argument with an input model")
    if isinstance(returned, types.UnionType) or not isinstance(returned, type):
        returned = None
    is_model = returned is not None and issubclass(returned, BaseModel)
    return models[0], returned if is_model else None


def _require_model(tool: str, what: str, model: Any) -> None:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"tool {tool!r}: {what} has to be a pydantic model class")


def _unchecked(arguments: dict[str, Any]) -> Any:
    return arguments


def _parser(model: type[BaseModel]) -> Callable[[dict[str, Any]], Any]:
    validate = model.__pydantic_validator__.validate_python
    known = [f.alias or name for name, f in model.model_fields.items()]

    def parse(arguments: dict[str, Any]) -> BaseModel:
        try:
            parsed: BaseModel = validate(arguments)
        except ValidationError as error:
            if any(detail["type"] == "int_type" for detail in error.errors(include_url=False)):
                with contextlib.suppress(ValidationError):
                    again: BaseModel = validate(_with_whole_numbers(arguments))
                    return again
            raise invalid_arguments(error, known) from None
        except RecursionError:
            raise InvalidArguments("The arguments are nested too deeply.") from None
        return parsed

    return parse


def _with_whole_numbers(value: Any) -> Any:
    """Return JSON values with 3.0 as 3, which JSON Schema takes for an integer (2020-12 §6.1.1)."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def invalid_arguments(error: ValidationError, known: list[str]) -> InvalidArguments:
    """Say which arguments are wrong and what would be right; never repeats their values."""
    details = error.errors(include_url=False, include_input=False)
    told: dict[str, str] = {}
    for detail in details:
        path, problem = _path(detail), _problem(detail, known)
        told[path] = f"{told[path]}; or {problem}" if path in told else problem
    problems = [{"argument": a, "problem": p} for a, p in list(told.items())[:MAX_PROBLEMS_TOLD]]
    sentence = "; ".join(f"{p['argument']}: {p['problem']}" for p in problems)
    sentence = sentence.removeprefix(f"{_ALL_OF_THEM}: ")
    if len(told) > len(problems):
        sentence += f"; and {len(told) - len(problems)} more"
    end = "" if sentence.endswith(("?", ".")) else "."
    return InvalidArguments(f"Invalid arguments: {sentence}{end}", problems=problems)


_ALL_OF_THEM = "arguments"
"""Where a problem is that no single argument has."""

# What pydantic puts into a location besides members and indexes: the branch of a union it tried.
_UNION_BRANCH = re.compile(r"(?:str|int|float|bool|none|list|dict|constrained-\w+)$|.*\[")


def _path(detail: ErrorDetails) -> str:
    """Return where a problem is, as the caller sees the arguments."""
    first, *rest = detail["loc"] or (_ALL_OF_THEM,)
    parts = [first, *(part for part in rest if not _UNION_BRANCH.match(str(part)))]
    return ".".join(str(part)[:80] for part in parts)


def _problem(detail: ErrorDetails, known: list[str]) -> str:
    if detail["type"] != "extra_forbidden":
        return detail["msg"].removeprefix("Value error, ")
    if len(detail["loc"]) > 1:
        return "unknown argument"
    guess = did_you_mean(str(detail["loc"][0]), known)
    return (
        f"unknown argument. {guess}"
        if guess
        else (f"unknown argument, known are: {', '.join(known) or 'none'}")
    )


def _dumper(name: str, model: type[BaseModel] | None) -> Callable[[Any], bytes]:
    if model is None:

        def refuse(value: Any) -> bytes:
            raise TypeError(
                f"tool {name!r} returned a {type(value).__name__} but has no output model"
            )

        return refuse

    to_json = model.__pydantic_serializer__.to_json

    def dump(value: Any) -> bytes:
        if not isinstance(value, model):
            value = model.model_validate(value)
        data: bytes = to_json(value, by_alias=True)
        return data

    return dump


def header_params_of(schema: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """Return the `x-mcp-header` annotations of an input schema: property path → header suffix.

    Raises:
        ValueError: An annotation that breaks the rules of 2026-07-28 (clients drop such tools).
    """
    found: dict[tuple[str, ...], str] = {}

    def walk(node: Any, path: tuple[str, ...] | None) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item, None)
        if not isinstance(node, dict):
            return
        if "x-mcp-header" in node:
            found[_checked_header_path(node, path)] = node["x-mcp-header"]
        for key, value in node.items():
            if key == "properties" and isinstance(value, dict) and path is not None:
                for name, child in value.items():
                    walk(child, (*path, name))
            elif key not in ("default", "const", "enum", "examples"):
                walk(value, None)

    walk(schema, ())
    names = [name.lower() for name in found.values()]
    if len(names) != len(set(names)):
        raise ValueError("two arguments share one x-mcp-header name")
    return found


def _checked_header_path(node: Mapping[str, Any], path: tuple[str, ...] | None) -> tuple[str, ...]:
    name = node["x-mcp-header"]
    if not path:
        raise ValueError("x-mcp-header is only allowed on properties reached through properties")
    if not isinstance(name, str) or not HEADER_TOKEN.fullmatch(name):
        raise ValueError(f"x-mcp-header {name!r} is not a header token")
    if node.get("type") not in ("string", "integer", "boolean"):
        raise ValueError(f"x-mcp-header {name!r}: only string, integer or boolean arguments")
    return path


__all__ = [
    "READS",
    "Annotations",
    "Context",
    "Handler",
    "Listing",
    "Tool",
    "build_tool",
    "header_params_of",
    "icons",
    "invalid_arguments",
    "models_of",
    "with_context",
]
