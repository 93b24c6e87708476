"""GitHub's GraphQL schema: checks what we ask for and answers it from data that a test gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.services.github.doubles.loopback import Answer, Asked, json_answer, serving
from tests.services.github.doubles.programs import ENVIRONMENT, running

SCRIPT = Path(__file__).with_suffix(".mjs")


@dataclass(slots=True)
class Graphql:
    """Answers GraphQL requests.

    Attributes:
        checker: URL of the program that knows the schema.
        data: What queries find, from the root on: `{"repository": {"name": …}}`; a member of an
            interface or union type needs `__typename`. Members that were not asked for are left
            out of answers; one that was asked for, is not given and may not be null is a mistake
            of the test, and listed under `violations` as well.
        requests: The bodies that came, in order.
        violations: What was wrong with them.
    """

    checker: str
    client: httpx.Client
    url: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def clear(self, **data: Any) -> None:
        """Begin anew, with other data."""
        self.data = data
        self.requests.clear()
        self.violations.clear()

    def answer(self, asked: Asked) -> Answer:
        """Answer one request as GitHub would: 200 with `data`, or with `errors`."""
        body = asked.json()
        self.requests.append(body)
        if "authorization" not in asked.headers:
            return json_answer({"message": "This endpoint requires you to be authenticated."}, 401)
        response = self.client.post(self.checker, json={**body, "data": self.data})
        checked = response.raise_for_status().json()
        wrong, answer = checked["violations"], checked["answer"]
        self.violations += [f"GraphQL: {one}" for one in wrong]
        if wrong:
            return json_answer({"errors": [{"message": one} for one in wrong]})
        self.violations += [f"GraphQL data: {one['message']}" for one in answer.get("errors", ())]
        return json_answer(answer)


def patient() -> httpx.Client:
    """Return a client that waits for programs of a machine which has other things to do."""
    return httpx.Client(timeout=60, trust_env=False)


@contextmanager
def checking() -> Iterator[str]:
    """Run the program that knows the schema; yields its URL."""
    with running(SCRIPT, str(ENVIRONMENT)) as url:
        yield url


@contextmanager
def answering(checker: str) -> Iterator[Graphql]:
    """Serve `POST /graphql` and nothing else."""
    with patient() as client:
        double = Graphql(checker, client)

        def answer(asked: Asked) -> Answer:
            if (asked.method, asked.path) == ("POST", "/graphql"):
                return double.answer(asked)
            return json_answer({"message": "Not Found"}, 404)

        with serving(answer) as url:
            double.url = url
            yield double
