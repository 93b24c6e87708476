"""Gists: one's own and those of strangers, secret and public ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.services.github.conftest import Github
from tests.services.github.further import (
    HIDDEN,
    ON,
    code,
    confirmed,
    every_page,
    guard_awake,
    leading,
    told,
)
from tests.services.github.stage import ME, Stage, staged

ID = "aa5a315d61ae9438b18d"
PATH = f"/gists/{ID}"
NEW = {"filename": "a.txt", "content": "text"}


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a GitHub that this test fills."""
    with staged() as found:
        yield found


def gist(content: str = "text", *, owner: str = ME, public: bool = True, **more: Any) -> Any:
    """Return a gist of one file."""
    return {
        "id": ID,
        "html_url": f"https://gist.github.com/{ID}",
        "description": "Notes",
        "public": public,
        "owner": {"login": owner},
        "comments": 0,
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "files": {"a.txt": {"filename": "a.txt", "size": len(content), "content": content}},
        **more,
    }


async def test_gists_of_others_are_text_of_strangers(github: Github, stage: Stage) -> None:
    """What nobody sees is left out and counted; one's own comes as it is."""
    async with github(stage.url, **ON) as client:
        stage.on("GET", PATH, gist(f"Hel{HIDDEN}lo", owner="mallory"))
        strange = told(await client.call("get_gist", gist_id=ID))
        stage.on("GET", PATH, gist(f"Hel{HIDDEN}lo"))
        own = told(await client.call("get_gist", gist_id=ID))
    assert strange["untrusted"]
    assert strange["gist"]["files"][0]["content"] == "Hello"
    assert (strange["gist"]["trust"], strange["gist"]["hidden_removed"]) == ("untrusted", 1)
    assert not own["untrusted"]
    assert own["gist"]["files"][0]["content"] == f"Hel{HIDDEN}lo"


async def test_a_public_gist_after_private_reading_asks_the_flow_guard(
    github: Github, stage: Stage
) -> None:
    """A secret one does not, since nobody finds it; the public one goes with a confirmation."""
    stage.on("GET", "/gists", [])
    stage.on("POST", "/gists", gist())
    async with github(stage.url, **ON) as client:
        await guard_awake(client, stage)
        refused = await client.call("create_gist", **NEW, public=True)
        assert stage.sent("POST") == []
        secret = told(await client.call("create_gist", **NEW))
        public = await confirmed(client, "create_gist", **NEW, public=True)
    assert code(refused) == "FLOW_GUARD"
    assert secret["id"] == public["id"] == ID
    assert [body["public"] for _, body in stage.sent("POST")] == [False, True]


async def test_own_secret_gists_and_gists_of_strangers_meet(github: Github, stage: Stage) -> None:
    """Both are remembered: the one as private, the other as strangers' text."""
    stage.on("GET", PATH, gist(public=False))
    stage.on("GET", "/gists/bb", gist(owner="mallory", id="bb"))
    stage.on("GET", "/gists", [])
    async with github(stage.url, **ON) as client:
        told(await client.call("get_gist", gist_id=ID))
        told(await client.call("get_gist", gist_id="bb"))
        refused = await client.call("create_gist", **NEW, public=True)
    assert code(refused) == "FLOW_GUARD"
    assert refused.error is not None
    assert f"the gist {ID}" in refused.error["message"]


async def test_changing_a_public_gist_is_writing_to_a_public_place(
    github: Github, stage: Stage
) -> None:
    """What it is now decides, not what the call says."""
    stage.on("PATCH", PATH, gist())
    async with github(stage.url, **ON) as client:
        await guard_awake(client, stage)
        stage.on("GET", PATH, gist())
        public = await client.call("update_gist", gist_id=ID, **NEW)
        stage.on("GET", PATH, gist(public=False))
        secret = told(await client.call("update_gist", gist_id=ID, **NEW))
    assert code(public) == "FLOW_GUARD"
    assert secret["id"] == ID
    assert stage.sent("PATCH") == [(PATH, {"files": {"a.txt": {"content": "text"}}})]


async def test_the_same_gist_is_created_once(github: Github, stage: Stage) -> None:
    """A mark would be seen in it, so the newest ones are compared; an old one does not count."""
    now = datetime.now(UTC).isoformat()
    stage.on("POST", "/gists", gist())
    async with github(stage.url, **ON) as client:
        for made in (now, "2020-01-02T03:04:05Z"):
            there = gist(public=False, description=None, created_at=made)
            stage.on("GET", "/gists", [there])
            stage.on("GET", PATH, there)
            result = told(await client.call("create_gist", **NEW))
            assert result["repeated"] == (made == now)
    assert len(stage.sent("POST")) == 1


async def test_a_long_file_is_read_in_pages(github: Github, stage: Stage) -> None:
    """Joined, they are the file; a cursor without its file's name is refused."""
    text = "".join(f"line {number}\n" for number in range(2_000))
    stage.on("GET", PATH, gist(text))
    async with github(stage.url, **ON, answer_bytes=8_000) as client:
        told_once = told(await client.call("get_gist", gist_id=ID, filename="a.txt"))
        file = told_once["gist"]["files"][0]
        parts = [file["content"]]
        while cursor := file["next_cursor"]:
            more = await client.call("get_gist", gist_id=ID, filename="a.txt", cursor=cursor)
            file = told(more)["gist"]["files"][0]
            parts.append(file["content"])
        nameless = await client.call("get_gist", gist_id=ID, cursor="x")
        missing = await client.call("get_gist", gist_id=ID, filename="b.txt")
    assert len(parts) > 1
    assert "".join(parts) == text
    assert code(nameless) == "INVALID_ARGUMENTS"
    assert missing.error is not None
    assert missing.error["hint"] == "It has a.txt."


@pytest.mark.parametrize("name", ["../a", "a/b", "a\nb", "..", ""])
async def test_names_of_files_lead_nowhere(github: Github, stage: Stage, name: str) -> None:
    """A gist has no folders, and nothing is sent."""
    async with github(stage.url, **ON) as client:
        result = await client.call("create_gist", filename=name, content="x")
    assert code(result) == "BAD_NAME"
    assert stage.sent("POST") == []


async def test_a_list_ends_whatever_its_links_say(github: Github, stage: Stage) -> None:
    """A next page that is this one, or one before, is none."""
    stage.on("GET", "/users/mallory/gists", leading([gist(owner="mallory")], "page=2"))
    async with github(stage.url, **ON) as client:
        pages = await every_page(client, "list_gists", username="mallory")
    assert [page["truncated"] for page in pages] == [True, False]
    assert all("content" not in str(page["gists"][0]["files"][0]["content"]) for page in pages)
