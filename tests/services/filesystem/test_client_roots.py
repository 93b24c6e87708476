"""A client's roots narrow what its calls may use, in both eras, and are asked for rarely."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import Settings
from services.filesystem import client_roots
from services.filesystem.roots import Roots
from services.filesystem.service import create_server
from services.filesystem.settings import FilesystemSettings
from tests.services.filesystem.conftest import SEAL_KEY
from tests.wire.harness import JSON, Answer, LegacySession, Wire

WITH_ROOTS: JSON = {"roots": {"listChanged": True}}
Serving = Callable[..., AbstractAsyncContextManager[Wire]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two roots with a file in each of their directories, and something outside."""
    for name in ("docs/guide/a.txt", "docs/other/b.txt", "work/c.txt", "outside/secret.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.fixture
def serving(tree: Path) -> Serving:
    """Start a server on the two roots, with further settings."""

    @asynccontextmanager
    async def started(**more: Any) -> AsyncIterator[Wire]:
        settings = Settings.from_dict(
            {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": tree / "state"}}
        )
        more = {"roots": f"docs={tree / 'docs'}:delete,work={tree / 'work'}:delete", **more}
        server = create_server(settings, FilesystemSettings.from_dict(more))
        async with Wire(server) as wire:
            yield wire

    return started


class Client:
    """A legacy session whose client answers roots/list, and counts how often."""

    def __init__(self, session: LegacySession, roots: list[Path | str]) -> None:
        self.session = session
        self.roots = roots
        self.asked = 0

    async def call(self, tool: str, **arguments: Any) -> JSON:
        """Call a tool, and answer if asked."""
        return await self._through("tools/call", {"name": tool, "arguments": arguments})

    async def read(self, uri: str) -> JSON:
        """Read a resource, and answer if asked; return the whole response."""
        answer = self.session.start("resources/read", {"uri": uri})
        await self._serve(answer)
        return answer.response

    async def _through(self, method: str, params: JSON) -> JSON:
        answer = self.session.start(method, params)
        await self._serve(answer)
        return answer.result

    async def _serve(self, answer: Answer) -> None:
        await answer.until(lambda a: a.ended or any("method" in m for m in questions(a)))
        for question in questions(answer):
            self.asked += 1
            roots = [{"uri": r if isinstance(r, str) else r.as_uri()} for r in self.roots]
            response = {"jsonrpc": "2.0", "id": question["id"], "result": {"roots": roots}}
            await self.session.post(response)
        await answer.whole()


def questions(answer: Answer) -> list[JSON]:
    """Return the requests for roots on an answer's stream."""
    if not answer.is_stream:
        return []
    return [m for m in answer.messages if m.get("method") == "roots/list"]


def failure(result: JSON) -> str:
    """Return the code of a failed call, "" for a success."""
    if not result["isError"]:
        return ""
    text = result["content"][0]["text"]
    return str(text.split('"code":"')[1].split('"')[0])


async def reads(client: Client, *paths: str) -> list[str]:
    """Return the code that reading each path fails with, "" for a success."""
    return [failure(await client.call("read_text_file", path=path)) for path in paths]


# --- what is left --------------------------------------------------------------------------------

ALL = ("docs/guide/a.txt", "docs/other/b.txt", "work/c.txt")


async def narrowed(wire: Wire, *roots: Path | str) -> Client:
    """Return a client with these roots."""
    return Client(await wire.session(capabilities=WITH_ROOTS), list(roots))


async def test_a_root_inside_leaves_that_directory(serving: Serving, tree: Path) -> None:
    """Everything else of the operator's is outside for this client."""
    async with serving() as wire:
        client = await narrowed(wire, tree / "docs" / "guide")
        assert await reads(client, *ALL) == ["", "OUTSIDE_ROOT", "OUTSIDE_ROOT"]
        assert failure(await client.call("write_file", path="docs/new.txt", content="x"))
        assert not (tree / "docs" / "new.txt").exists()
        assert not failure(await client.call("write_file", path="docs/guide/n.txt", content="x"))


async def test_a_root_that_contains_one_of_ours_leaves_it_whole(
    serving: Serving, tree: Path
) -> None:
    """And what lies beside it stays outside."""
    async with serving() as wire:
        client = await narrowed(wire, tree)
        assert await reads(client, *ALL) == ["", "", ""]
        assert await reads(client, str(tree / "outside" / "secret.txt")) == ["OUTSIDE_ROOT"]


async def test_a_root_elsewhere_adds_nothing(serving: Serving, tree: Path) -> None:
    """Neither itself nor anything of ours."""
    async with serving() as wire:
        client = await narrowed(wire, tree / "outside", tree / "work")
        assert await reads(client, "work/c.txt") == [""]
        assert await reads(client, "docs/guide/a.txt") == ["OUTSIDE_ROOT"]
        assert await reads(client, str(tree / "outside" / "secret.txt")) == ["OUTSIDE_ROOT"]


async def test_roots_that_leave_nothing_are_an_error_that_names_both_sides(
    serving: Serving, tree: Path
) -> None:
    """Rather than a service in which nothing can be found."""
    async with serving() as wire:
        client = await narrowed(wire, tree / "outside", "vscode-remote://ssh/home", "file:///c:/x")
        result = await client.call("list_allowed_directories")
        assert failure(result) == "CLIENT_ROOTS"
        text = result["content"][0]["text"]
        assert (tree / "outside").as_uri() in text
        assert f"docs ({tree / 'docs'})" in text
        assert "MCP_FILESYSTEM_CLIENT_ROOTS=ignore" in text


async def test_an_empty_list_is_no_wish(serving: Serving) -> None:
    """A client without an open folder is not shut out."""
    async with serving() as wire:
        client = await narrowed(wire)
        assert await reads(client, *ALL) == ["", "", ""]


async def test_a_root_through_a_link_leaves_what_it_leads_to(serving: Serving, tree: Path) -> None:
    """What is opened is compared by where it really is."""
    (tree / "docs" / "link").symlink_to("guide")
    (tree / "docs" / "guide" / "out.txt").symlink_to("../other/b.txt")
    async with serving() as wire:
        client = await narrowed(wire, tree / "docs" / "link")
        paths = ("docs/link/a.txt", "docs/guide/a.txt", "docs/link/out.txt", "docs/other/b.txt")
        assert await reads(client, *paths) == ["", "", "OUTSIDE_ROOT", "OUTSIDE_ROOT"]


async def test_searches_lists_watches_and_resources_are_narrowed_too(
    serving: Serving, tree: Path
) -> None:
    """Everything begins with the same roots."""
    async with serving() as wire:
        client = await narrowed(wire, tree / "docs" / "guide")
        for tool in ("directory_tree", "watch_directory"):
            assert failure(await client.call(tool, path="docs/other")) == "OUTSIDE_ROOT"
        found = await client.call("search_files", path="docs/guide", pattern="**/*.txt")
        assert "a.txt" in str(found)
        assert "b.txt" not in str(found)
        assert "result" in await client.read(f"file://{tree}/docs/guide/a.txt")
        assert "error" in await client.read(f"file://{tree}/docs/other/b.txt")


# --- when the client is asked --------------------------------------------------------------------


async def test_a_session_is_asked_once(serving: Serving, tree: Path) -> None:
    """And again after its client said that its roots are others."""
    async with serving() as wire:
        client = await narrowed(wire, tree / "docs")
        assert await reads(client, "docs/guide/a.txt", "work/c.txt") == ["", "OUTSIDE_ROOT"]
        assert client.asked == 1
        client.roots = [tree / "work"]
        assert await reads(client, "work/c.txt") == ["OUTSIDE_ROOT"]
        await client.session.notify("notifications/roots/list_changed")
        assert await reads(client, "docs/guide/a.txt", "work/c.txt") == ["OUTSIDE_ROOT", ""]
        assert client.asked == 2


async def test_calls_at_once_ask_once(serving: Serving, tree: Path) -> None:
    """The others wait for the answer."""
    async with serving() as wire:
        client = await narrowed(wire, tree / "docs")
        codes = await asyncio.gather(*(reads(client, "work/c.txt") for _ in range(5)))
        assert codes == [["OUTSIDE_ROOT"]] * 5
        assert client.asked == 1


async def test_sessions_do_not_share_answers(serving: Serving, tree: Path) -> None:
    """Each client has its own roots."""
    async with serving() as wire:
        one, two = await narrowed(wire, tree / "docs"), await narrowed(wire, tree / "work")
        assert await reads(one, "work/c.txt") == ["OUTSIDE_ROOT"]
        assert await reads(two, "work/c.txt") == [""]


async def test_clients_without_roots_are_not_asked(serving: Serving) -> None:
    """Nor those of doors where nobody can be asked."""
    async with serving() as wire:
        client = Client(await wire.session(), [])
        assert await reads(client, *ALL) == ["", "", ""]
        session = await wire.session(capabilities=WITH_ROOTS)
        params = {"name": "read_text_file", "arguments": {"path": "work/c.txt"}}
        answer = await session.ask("tools/call", params, accept="application/json")
        assert not failure(answer.result)


@pytest.mark.parametrize(
    "more", [{"client_roots": "ignore"}, {"roots": ""}], ids=["ignored", "workspace"]
)
async def test_where_roots_mean_nothing_nobody_is_asked(
    serving: Serving, tree: Path, more: dict[str, Any]
) -> None:
    """When the operator says so, or has no roots: no client works in the server's workspace."""
    async with serving(**more) as wire:
        client = await narrowed(wire, tree / "outside")
        assert not failure(await client.call("list_allowed_directories"))
        assert client.asked == 0


async def test_a_client_that_does_not_answer_may_use_what_the_operator_gave(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a moment, and without waiting again at each call."""
    monkeypatch.setattr(client_roots, "ANSWER_LIMIT_S", 1.0)
    async with serving() as wire:
        session = await wire.session(capabilities=WITH_ROOTS)
        params = {"name": "read_text_file", "arguments": {"path": "work/c.txt"}}
        first = await session.ask("tools/call", params)
        second = await session.ask("tools/call", params)
        assert not failure(first.result)
        assert not failure(second.result)
        assert len(questions(first)) == 1
        assert questions(second) == []


async def modern(wire: Wire, path: str, **more: Any) -> JSON:
    """Read a file as a client of 2026-07-28 with roots."""
    params = {"name": "read_text_file", "arguments": {"path": path}, **more}
    return (await wire.ask_modern("tools/call", params, capabilities={"roots": {}})).result


async def test_the_newest_revision_is_only_asked_where_the_operator_wants_it(
    serving: Serving, tree: Path
) -> None:
    """It costs each call a second round."""
    async with serving() as wire:
        assert not failure(await modern(wire, "work/c.txt"))
    async with serving(client_roots="always") as wire:
        asked = await modern(wire, "work/c.txt")
        assert asked["resultType"] == "input_required"
        assert asked["inputRequests"]["client_roots"]["method"] == "roots/list"
        answers = {"client_roots": {"roots": [{"uri": (tree / "docs").as_uri()}]}}
        again = {"inputResponses": answers, "requestState": asked["requestState"]}
        assert failure(await modern(wire, "work/c.txt", **again)) == "OUTSIDE_ROOT"


NAMES = st.lists(st.sampled_from(["srv", "docs", "work", "..", ".", "a"]), max_size=5)


@given(client=NAMES)
def test_narrowing_never_widens(client: list[str]) -> None:
    """Whatever a client says, each directory that is left lies in a root of the operator."""
    specs = FilesystemSettings.from_dict({"roots": "docs=/srv/docs,work=/srv/work/a"})
    roots = Roots.of(specs, "/nowhere")
    for alias, rel in roots.common("file:///" + "/".join(client)):
        assert alias in ("docs", "work")
        assert b".." not in rel
        named = [name for name in client if name != "."]
        assert rel == () or rel[-1].decode() in named
