"""A GitHub of dictionaries, for tests of what stands before the backend; no socket, no thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.context import Caller, Context, Principal
from core.errors import ToolError
from core.paging import Cursors
from core.sealing import Sealer
from services.github.backend.requests import Download, Rate, Reply, Request
from services.github.errors import NotFoundOrNoAccess
from services.github.policy.names import Repo
from services.github.settings import GithubSettings
from services.github.tools.desk import Desk

HELLO = Repo("octo", "hello")
ME = "me"
RATE = Rate(5_000, 4_987, 13, "2030-01-01T00:00:00Z", "core")
Answer = Any
PERMISSION = "/repos/octo/hello/collaborators/{login}/permission"


class FakeGitHub:
    """Answers requests by method and path; whatever else is asked for does not exist.

    Args:
        token: Whether requests carry a credential.

    Attributes:
        sent: Every request so far.
        next_page: What lists say of their next page.
    """

    def __init__(self, *, token: bool = True) -> None:
        self.token = token
        self.sent: list[Request] = []
        self.next_page: int | None = None
        self._answers: dict[tuple[str, str], Answer] = {}
        if token:
            self.on("GET", "/user", {"login": ME})
        self.repository(HELLO)

    def on(self, method: str, path: str, answer: Answer) -> None:
        """Answer with a value, raise an error, or ask a function of the request."""
        self._answers[method, path] = answer

    def repository(self, repo: Repo, *, private: bool = False, push: bool = True) -> None:
        """Have a repository."""
        facts = {
            "full_name": repo.full_name,
            "private": private,
            "archived": False,
            "default_branch": "main",
            "permissions": {"pull": True, "push": push},
        }
        self.on("GET", f"/repos/{repo}", facts)

    def has_credential(self, owner: str | None) -> bool:
        """Whether requests carry a credential."""
        return self.token

    async def send(self, request: Request, *, owner: str | None, timeout_s: float) -> Reply:
        """Answer a request."""
        assert timeout_s > 0
        self.sent.append(request)
        answer = self._answers.get((request.method, request.path()))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, ToolError):
            raise answer
        if answer is None:
            raise NotFoundOrNoAccess(f"{request.method} {request.path()}: there is none.")
        return Reply(200, answer, {}, rate=RATE, next_page=self.next_page)

    async def graphql(
        self,
        query: str,
        variables: Mapping[str, Any],
        *,
        owner: str | None,
        timeout_s: float,
        partial: bool = False,
    ) -> Reply:
        """Answer a query as a POST."""
        body = {"query": query, "variables": dict(variables)}
        request = Request(method="POST", route="/graphql", body=body)
        return await self.send(request, owner=owner, timeout_s=timeout_s)

    async def download(
        self,
        request: Request,
        *,
        owner: str | None,
        timeout_s: float,
        max_bytes: int,
        tail_bytes: int | None = None,
    ) -> Download:
        """Answer with text."""
        reply = await self.send(request, owner=owner, timeout_s=timeout_s)
        data = str(reply.data).encode()
        return Download(data[:max_bytes], len(data), len(data) > max_bytes)

    def paths(self, method: str = "GET") -> list[str]:
        """Return the paths that were asked for."""
        return [request.path() for request in self.sent if request.method == method]


class Person:
    """Somebody behind the client who answers every question alike.

    Attributes:
        asked: The questions.
    """

    can_request = True

    def __init__(self, *, agrees: bool) -> None:
        self._answer = {"action": "accept", "content": {"run": agrees}}
        self.asked: list[str] = []

    async def notify(self, message: bytes) -> None:
        """Take a notification."""

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        """Answer a question."""
        self.asked.append(params["message"])
        return self._answer

    async def pause(self, retry_ms: int) -> None:
        """Close nothing."""


def desk_of(github: FakeGitHub, **settings: Any) -> Desk:
    """Return a desk; everything may be written unless the settings say otherwise."""
    own = GithubSettings.from_dict({"write": "all", **settings})
    return Desk.of(github, own, Cursors(Sealer("a secret of the tests, never for use"), "github"))


def context_of(
    name: str = "alice", session: str | None = None, person: Person | None = None
) -> Context:
    """Return the context of a call."""
    capabilities: dict[str, Any] = {} if person is None else {"elicitation": {}}
    return Context(
        Caller(
            revision="2025-06-18",
            principal=Principal(name),
            capabilities=capabilities,
            channel=person,
            session=session,
        )
    )


def item(login: str | None, association: str | None, **more: Any) -> dict[str, Any]:
    """Return an issue or comment as GitHub sends it."""
    user = None if login is None else {"login": login, "type": "User"}
    return {"user": user, "author_association": association, "body": "text", **more}


def moving(start: float = 1_000.0) -> tuple[list[float], Callable[[], float]]:
    """Return a time that a test can move, and a clock that shows it."""
    now = [start]
    return now, lambda: now[0]
