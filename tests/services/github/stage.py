"""A GitHub of a few answers that a test gives, for what descriptions and recordings do not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.services.github.doubles.loopback import Answer, Asked, json_answer, serving

REPO = {"owner": "octo", "repo": "hello"}
ME = "me"
SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
Reaction = Callable[[Asked], Any]


class Stage:
    """Answers by method and path; whatever else is asked for does not exist.

    Attributes:
        url: What the service is pointed to.
        asked: Every request so far.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], dict[str, Any]] = {}
        self.on("GET", "/user", {"login": ME, "type": "User"})
        self.repository("octo", "hello")

    def on(self, method: str, target: str, answer: Any, status: int = 200, **headers: str) -> None:
        """Answer a path; where it has a query, requests that have its members.

        Args:
            answer: Sent as JSON, as it is by then; an `Answer`, or what a function returns of the
                request, as it is.
            status: This and headers are for values alone.
            headers: Further ones; underscores in their names are hyphens.
        """
        path, _, query = target.partition("?")
        if status != 200 or headers:
            made = json_answer(answer, status)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = Answer(status, made.body, {**made.headers, **named})
        self._answers.setdefault((method, path), {})[query] = answer

    def repository(self, owner: str, name: str, **facts: Any) -> None:
        """Have a repository, public and without push access unless told otherwise."""
        told = {
            "full_name": f"{owner}/{name}",
            "private": False,
            "default_branch": "main",
            "permissions": {"pull": True, "push": False},
        }
        self.on("GET", f"/repos/{owner}/{name}", {**told, **facts})

    def answer(self, asked: Asked) -> Answer:
        """Answer one request."""
        self.asked.append(asked)
        found = self._found(asked)
        if found is ...:
            return json_answer({"message": "Not Found"}, 404)
        if callable(found):
            found = found(asked)
        return found if isinstance(found, Answer) else json_answer(found)

    def _found(self, asked: Asked) -> Any:
        """Return the answer whose query has the most that was asked for; the ellipsis for none."""
        query = dict(parse_qsl(asked.query)).items()
        answers = self._answers.get((asked.method, asked.path)) or self._answers.get(
            (asked.method, unquote(asked.path)), {}
        )
        fitting = [one for one in answers if dict(parse_qsl(one)).items() <= query]
        return answers[max(fitting, key=len)] if fitting else ...

    def sent(self, method: str) -> list[tuple[str, Any]]:
        """Return path and body of every request of a method."""
        return [(one.path, one.json()) for one in self.asked if one.method == method]

    def queries(self, path: str) -> list[dict[str, str]]:
        """Return the queries of every GET of a path."""
        return [dict(parse_qsl(one.query)) for one in self.asked if one.path == path]


@contextmanager
def staged() -> Iterator[Stage]:
    """Serve a stage while the block runs."""
    stage = Stage()
    with serving(stage.answer) as url:
        stage.url = url
        yield stage


def paged(items: list[Any]) -> Reaction:
    """Answer with the page that is asked for, and links to others as GitHub gives them."""

    def answer(asked: Asked) -> Answer:
        query = dict(parse_qsl(asked.query))
        page, size = int(query.get("page", 1)), int(query.get("per_page", 30))
        last = max(1, -(-len(items) // size))
        links = {"next": page + 1} if page < last else {}
        links |= {"last": last} if page < last else {}
        told = ", ".join(
            f'<http://here{asked.path}?page={number}>; rel="{rel}"' for rel, number in links.items()
        )
        made = json_answer(items[(page - 1) * size : page * size])
        return Answer(made.status, made.body, {**made.headers, **({"Link": told} if told else {})})

    return answer


# --- what GitHub tells ---------------------------------------------------------------------------


def person(login: str | None) -> dict[str, Any] | None:
    """Return somebody; None for a deleted account."""
    return {"login": login, "type": "User"} if login else None


def issue(number: int, **more: Any) -> dict[str, Any]:
    """Return an issue by the owner, unless told otherwise."""
    return {
        "number": number,
        "id": 1_000 + number,
        "title": f"Issue {number}",
        "state": "open",
        "html_url": f"https://github.com/octo/hello/issues/{number}",
        "repository_url": "https://api.github.com/repos/octo/hello",
        "user": person("octo"),
        "author_association": "OWNER",
        "labels": [],
        "assignees": [],
        "comments": 0,
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "body": f"Body {number}",
        **more,
    }


def pull(number: int, **more: Any) -> dict[str, Any]:
    """Return a pull request by the owner, unless told otherwise."""
    return {
        **issue(number),
        "node_id": "PR_1",
        "html_url": f"https://github.com/octo/hello/pull/{number}",
        "draft": False,
        "mergeable": True,
        "mergeable_state": "clean",
        "changed_files": 2,
        "requested_reviewers": [],
        "head": {"ref": "topic", "sha": SHA, "repo": {"full_name": "octo/hello"}},
        "base": {"ref": "main", "sha": "0" * 40, "repo": {"full_name": "octo/hello"}},
        **more,
    }


def comment(number: int, **more: Any) -> dict[str, Any]:
    """Return a comment by the owner, unless told otherwise."""
    return {
        "id": number,
        "html_url": f"https://github.com/octo/hello/issues/1#issuecomment-{number}",
        "user": person("octo"),
        "author_association": "OWNER",
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "body": f"Comment {number}",
        **more,
    }


STRANGER = {"user": person("mallory"), "author_association": "NONE"}
