"""An API that says what a test tells it to, by method and path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from pydantic_core import to_json

from tests.services.github.doubles.loopback import Answer, Asked, json_answer, serving


@dataclass(slots=True)
class Scripted:
    """What answers; anything that was not told is not found.

    Attributes:
        requests: What came, in order.
    """

    url: str = ""
    requests: list[Asked] = field(default_factory=list)
    _answers: dict[tuple[str, str], list[tuple[dict[str, str], Answer]]] = field(
        default_factory=dict
    )

    def on(
        self,
        method: str,
        target: str,
        value: Any = None,
        status: int = 200,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer requests to a path, of which those come first that have the query's members.

        Args:
            value: Sent as JSON.
            raw: Sent as it is, instead.
        """
        path, _, query = target.partition("?")
        kind = "application/json" if raw is None else "application/octet-stream"
        body = (b"" if status == 204 else to_json(value)) if raw is None else raw
        answer = Answer(status, body, {"Content-Type": kind, **(headers or {})})
        self._answers.setdefault((method, path), []).append((dict(parse_qsl(query)), answer))

    def answer(self, asked: Asked) -> Answer:
        """Answer a request."""
        self.requests.append(asked)
        query = dict(parse_qsl(asked.query))
        found = [
            (len(wanted), answer)
            for wanted, answer in self._answers.get((asked.method, unquote(asked.path)), ())
            if wanted.items() <= query.items()
        ]
        if not found:
            return json_answer({"message": "Not Found"}, 404)
        return max(found, key=lambda one: one[0])[1]

    def sent(self) -> list[str]:
        """Return the requests that write, as method and path."""
        return [f"{one.method} {one.path}" for one in self.requests if one.method != "GET"]


@contextmanager
def scripted() -> Iterator[Scripted]:
    """Serve one that knows nothing yet."""
    double = Scripted()
    with serving(double.answer) as url:
        double.url = url
        yield double
