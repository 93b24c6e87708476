"""Prism on GitHub's own OpenAPI description: every request of ours is checked against it.

```
the service ──► our proxy ──► Prism          checks path, query and body; answers with the example
                   │  └─────► GraphQL        POST /graphql: checked against GitHub's schema
                   └ parameters and members that are not described, which Prism lets pass;
                     storage: what a redirect to a download leads to, which must not get the token
```

The proxy asks Prism for JSON whatever the client accepts, since the description has examples of
nothing else.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic_core import from_json

from tests.services.github.doubles.description import Description
from tests.services.github.doubles.graphql import Graphql, patient
from tests.services.github.doubles.loopback import Answer, Asked, json_answer, serving
from tests.services.github.doubles.programs import MODULES, running

PROGRAM = MODULES / "@stoplight/prism-cli/dist/index.js"
STORAGE = "/_storage/"
DOWNLOAD = b"2026-01-01T00:00:00.0000000Z a line of the file that was downloaded\n"
_PASSED_ON = ("content-type", "link", "etag", "retry-after")


@dataclass(slots=True)
class Prism:
    """What stands in for the API.

    Attributes:
        url: What the service is pointed to.
        graphql: What answers `POST /graphql`; give it `data`.
        requests: What came since `clear`, in order, downloads and GraphQL included.
        operations: Their operation ids, as "issues/list-for-repo".
        violations: What was wrong with them.
    """

    description: Description
    upstream: str
    client: httpx.Client
    graphql: Graphql
    url: str = ""
    requests: list[Asked] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    _violations: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """What was wrong with the requests, those of GraphQL included."""
        return [*self._violations, *self.graphql.violations]

    def clear(self) -> None:
        """Forget what came."""
        self.requests.clear()
        self.operations.clear()
        self._violations.clear()
        self.graphql.clear()

    def answer(self, asked: Asked) -> Answer:
        """Check one request and answer it."""
        self.requests.append(asked)
        if asked.path == "/graphql":
            return self.graphql.answer(asked)
        if asked.path.startswith(STORAGE):
            return self._download(asked)
        found = self.description.find(asked.method, asked.path)
        if found is None:
            self._violated(asked, ["GitHub has no such operation"])
            return json_answer({"message": "Not Found"}, 404)
        self.operations.append(found.operation.id)
        self._violated(asked, found.operation.excess(asked))
        return self._from_prism(asked, found.path)

    def _from_prism(self, asked: Asked, path: str) -> Answer:
        kept = {k: v for k, v in asked.headers.items() if k in ("content-type", "authorization")}
        response = self.client.request(
            asked.method,
            f"{self.upstream}{path}" + (f"?{asked.query}" if asked.query else ""),
            content=asked.body,
            headers={**kept, "Accept": "application/json"},
        )
        told = from_json(response.headers.get("sl-violations", "[]"))
        if response.headers.get("content-type", "").startswith("application/problem+json"):
            problem = response.json()
            told += problem.get("validation") or [{**problem, "message": problem["detail"]}]
        of_request = [one for one in told if one.get("location", [""])[0] != "response"]
        self._violated(asked, [one["message"] for one in of_request])
        headers = {k: response.headers[k] for k in _PASSED_ON if k in response.headers}
        if response.is_redirect:
            headers["Location"] = self.url + STORAGE + path.strip("/").replace("/", "-")
        return Answer(response.status_code, response.content, headers)

    def _download(self, asked: Asked) -> Answer:
        if "authorization" in asked.headers:
            self._violated(asked, ["the token went along to storage"])
        archive = asked.path.rpartition("-")[2] == "zip" or "-runs-" in asked.path
        body = zipped(DOWNLOAD) if archive else DOWNLOAD
        kind = "application/zip" if archive else "text/plain"
        return Answer(200, body, {"Content-Type": kind})

    def _violated(self, asked: Asked, what: list[str]) -> None:
        self._violations += [f"{asked.method} {asked.path}?{asked.query}: {one}" for one in what]


def zipped(text: bytes) -> bytes:
    """Return an archive of one file, as that of a run's logs."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("0_build.txt", text)
    return archive.getvalue()


@contextmanager
def checking(folder: Path, checker: str) -> Iterator[Prism]:
    """Run Prism and the proxy before it; takes some five seconds to start.

    Args:
        folder: Where the description is written for it.
        checker: URL of what checks GraphQL.
    """
    description, file = Description(), folder / "api.github.com.json"
    description.write(file)
    options = ("mock", "--host", "127.0.0.1", "--port", "0", str(file))
    with running(PROGRAM, *options) as upstream, patient() as client:
        double = Prism(description, upstream, client, Graphql(checker, client))
        with serving(double.answer) as url:
            double.url = url
            yield double
