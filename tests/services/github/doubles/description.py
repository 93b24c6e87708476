"""GitHub's own OpenAPI description: which operation a request is, and what it may carry."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import from_json, to_json

from tests.services.github.doubles.loopback import Asked
from tests.services.github.doubles.programs import MODULES, need

SOURCE = MODULES / "@octokit/openapi/generated/api.github.com.json"
SPANS_SEGMENTS = frozenset({"path", "ref", "basehead", "branch", "tag"})
"""Parameters whose values may have slashes in them, which OpenAPI 3.0 has no way to say."""

CONTENT = b"# Hello\n\nThe content of a file.\n"

_PARAMETER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the description.

    Attributes:
        id: `operationId`, as "repos/get-content".
        query: Names of its query parameters.
        members: Names that an object in its body may have; None where any name may be.
    """

    id: str
    method: str
    route: str
    query: frozenset[str]
    members: frozenset[str] | None

    def excess(self, asked: Asked) -> list[str]:
        """Return what a request carries that is not described; Prism lets that pass."""
        names = dict.fromkeys(name for name, _ in parse_qsl(asked.query, keep_blank_values=True))
        found = [f"query parameter {name!r} is unknown" for name in names if name not in self.query]
        body = asked.json() if self.members is not None else None
        if isinstance(body, dict) and self.members is not None:
            found += [f"body member {n!r} is unknown" for n in body if n not in self.members]
        return found


@dataclass(frozen=True, slots=True)
class Match:
    """An operation, and the request's path as Prism finds it: slashes in values encoded."""

    operation: Operation
    path: str


class Description:
    """The description, ready for Prism.

    Its server is the one that is asked, `nullable` stands only beside a `type` (Prism refuses it
    elsewhere), webhooks are left out since they take a second to read, and the base64 of examples,
    which is cut off, is some that can be read.
    """

    def __init__(self) -> None:
        need()
        self._document = from_json(SOURCE.read_bytes())
        self._document["servers"] = [{"url": "/"}]
        self._document.pop("x-webhooks", None)
        _repair(self._document)
        self._routes = sorted(self._compiled(), key=lambda row: row[0])

    def write(self, file: Path) -> None:
        """Write it for Prism."""
        file.write_bytes(to_json(self._document))

    def find(self, method: str, path: str) -> Match | None:
        """Return the operation of a request; that with the most fixed segments wins."""
        for _, pattern, operation in self._routes:
            if operation.method == method and (found := pattern.fullmatch(path)):
                return Match(operation, _filled(operation.route, found.groups()))
        return None

    def _compiled(self) -> Iterator[tuple[int, re.Pattern[str], Operation]]:
        for route, item in self._document["paths"].items():
            for method in item.keys() & {"get", "post", "put", "patch", "delete"}:
                yield -_fixed(route), _pattern(route), self._operation(route, method, item)

    def _operation(self, route: str, method: str, item: Mapping[str, Any]) -> Operation:
        described = item[method]
        listed = [*item.get("parameters", ()), *described.get("parameters", ())]
        parameters = [self._resolved(parameter) for parameter in listed]
        content = self._resolved(described.get("requestBody", {})).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        return Operation(
            id=described["operationId"],
            method=method.upper(),
            route=route,
            query=frozenset(p["name"] for p in parameters if p["in"] == "query"),
            members=None if schema is None else self._members(schema),
        )

    def _members(self, schema: Any) -> frozenset[str] | None:
        """Return the names of an object's members, of all of its forms together."""
        schema = self._resolved(schema)
        if schema.get("additionalProperties"):
            return None
        names = frozenset(schema.get("properties", ()))
        for form in (*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())):
            names |= self._members(form) or frozenset()
        return names or None

    def _resolved(self, node: Any) -> Any:
        while "$ref" in node:
            found = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node


def _filled(route: str, values: Sequence[str]) -> str:
    """Return the path that has each value in one segment.

    The root directory is an empty path, which Prism would take for a missing one.
    """
    rest = iter(values)
    return _PARAMETER.sub(lambda _: next(rest).replace("/", "%2F") or "%2F", route)


def _fixed(route: str) -> int:
    """Return how many segments of a route are fixed."""
    return sum(not _PARAMETER.search(segment) for segment in route.split("/"))


def _pattern(route: str) -> re.Pattern[str]:
    """Return what the paths of a route look like; names and values take turns in the split."""
    pieces = _PARAMETER.split(route)
    for index in range(0, len(pieces), 2):
        pieces[index] = re.escape(pieces[index])
    for index in range(1, len(pieces), 2):
        pieces[index] = "(.*)" if pieces[index] in SPANS_SEGMENTS else "([^/]+)"
    return re.compile("".join(pieces))


def _repair(node: Any) -> None:
    if isinstance(node, dict):
        if node.get("nullable") in (True, False) and "type" not in node:
            del node["nullable"]
        if node.get("encoding") == "base64" and isinstance(node.get("content"), str):
            node["content"] = base64.b64encode(CONTENT).decode()
        for value in node.values():
            _repair(value)
    elif isinstance(node, list):
        for value in node:
            _repair(value)
