"""What tests of tools share: results, confirmed calls, lists of several pages."""

from __future__ import annotations

from typing import Any

from core.testing import CallResult, Client
from tests.services.github.doubles.loopback import Answer, Asked, json_answer
from tests.services.github.stage import Reaction, Stage

ON = {"toolsets": "all", "write": "all", "write_interval_s": 0}
HIDDEN = "\u200b"


def told(result: CallResult) -> dict[str, Any]:
    """Return what a call that went well returned."""
    assert result.structured is not None, result.error
    return result.structured


def code(result: CallResult) -> str:
    """Return the code of a call that was refused."""
    assert result.error is not None, result.structured
    return str(result.error["code"])


async def confirmed(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Make a call with the token of its dry run."""
    tried = told(await client.call(tool, **arguments, dry_run=True))
    return told(await client.call(tool, **arguments, confirm=tried["dry_run"]["confirm"]))


def graphql(stage: Stage, **data: Any) -> None:
    """Answer queries and mutations with those of the members that they ask for."""

    def answer(asked: Asked) -> Any:
        query = asked.json()["query"]
        return {"data": {name: value for name, value in data.items() if name in query}}

    stage.on("POST", "/graphql", answer)


def queries(stage: Stage) -> list[dict[str, Any]]:
    """Return the variables of every GraphQL request, with its text as `query`."""
    bodies = [asked.json() for asked in stage.asked if asked.path == "/graphql"]
    return [{"query": body["query"], **(body.get("variables") or {})} for body in bodies]


def leading(items: Any, query: str) -> Reaction:
    """Answer with a list whose next page is always of that query."""

    def answer(asked: Asked) -> Answer:
        made = json_answer(items)
        link = f'<http://here{asked.path}?{query}>; rel="next"'
        return Answer(made.status, made.body, {**made.headers, "Link": link})

    return answer


async def every_page(client: Client, tool: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return all pages of a list, which has to end within ten."""
    pages = [told(await client.call(tool, **arguments))]
    while cursor := pages[-1]["next_cursor"]:
        assert len(pages) < 10, "the list does not end"
        pages.append(told(await client.call(tool, **arguments, cursor=cursor)))
    return pages


PRIVATE = {"private": True, "permissions": {"pull": True, "push": True}}


async def guard_awake(client: Client, stage: Stage) -> None:
    """Read strangers' text and a private repository, so that the flow guard watches."""
    stage.repository("octo", "secret", **PRIVATE)
    stage.on("GET", "/repos/octo/hello/branches", [])
    for name in ("hello", "secret"):
        await client.call("get_repo", owner="octo", repo=name)
    told(await client.call("list_branches", owner="octo", repo="hello"))
