"""Releases, their texts and their files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic_core import to_json

from core.testing import Client
from tests.services.github.conftest import Github
from tests.services.github.doubles.loopback import Answer
from tests.services.github.stage import Stage, staged

TOOLS = {"owner": "octo", "repo": "tools"}
BASE = "/repos/octo/tools"


@pytest.fixture
def api() -> Iterator[Stage]:
    """The API of a public repository of others."""
    with staged() as double:
        double.on("GET", BASE, {"full_name": "octo/tools", "private": False})
        yield double


def release(number: int = 1, *assets: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a release as GitHub tells it."""
    return {
        "id": number,
        "tag_name": f"v{number}",
        "name": f"Version {number}",
        "html_url": f"https://github.com/octo/tools/releases/tag/v{number}",
        "draft": False,
        "prerelease": False,
        "body": "News\u200b",
        "author": {"login": "octo"},
        "assets": list(assets),
        **more,
    }


def asset(name: str, content: bytes, number: int = 7) -> dict[str, Any]:
    """Return a file of a release."""
    url = f"https://github.com/octo/tools/releases/download/v1/{name}"
    return {"id": number, "name": name, "size": len(content), "browser_download_url": url}


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Make a call that has to succeed."""
    result = await client.call(tool, **TOOLS, **arguments)
    assert result.structured is not None, result.error
    return result.structured


async def test_texts_are_cut_in_lists_and_whole_in_the_release(api: Stage, github: Github) -> None:
    """What cannot be seen is left out of both, and counted."""
    whole = "News\u200b" + " and more" * 100
    api.on("GET", f"{BASE}/releases", [release(body=whole)])
    api.on("GET", f"{BASE}/releases/latest", release(body=whole))
    async with github(api.url, body_chars=100) as client:
        listed = (await called(client, "list_releases"))["releases"][0]
        newest = (await called(client, "get_latest_release"))["release"]
    assert listed["body"].endswith("more characters; get_release_by_tag shows all]")
    assert newest["body"] == whole.replace("\u200b", "")
    assert (newest["hidden_removed"], newest["trust"]) == (1, "untrusted")


async def test_a_long_text_of_a_release_is_read_in_pages(api: Stage, github: Github) -> None:
    """The newest one's too, whose cursor get_release_by_tag takes; joined, they are the text."""
    text = "".join(f'{number} "changes"\n' for number in range(8_000))
    for path in ("latest", "tags/v1"):
        api.on("GET", f"{BASE}/releases/{path}", release(body=text))
    api.on("GET", f"{BASE}/releases/tags/v2", release(2, body=text))
    async with github(api.url) as client:
        told = await called(client, "get_latest_release")
        first, parts = told["next_cursor"], [told["release"]["body"]]
        while cursor := told["next_cursor"]:
            assert len(to_json(told)) < 40_000
            told = await called(client, "get_release_by_tag", tag="v1", cursor=cursor)
            parts.append(told["release"]["body"])
        other = await client.call("get_release_by_tag", **TOOLS, tag="v2", cursor=first)
    assert "".join(parts) == text
    assert other.error is not None
    assert other.error["code"] == "CURSOR_REFUSED"


async def test_of_a_thousand_assets_those_are_shown_that_fit(api: Stage, github: Github) -> None:
    """How many are missing is said."""
    many = [asset(f"tool-{number}.zip", b"") for number in range(1_000)]
    api.on("GET", f"{BASE}/releases/latest", release(1, *many))
    async with github(api.url) as client:
        told = await called(client, "get_latest_release")
    left = 1_000 - len(told["release"]["assets"])
    assert len(to_json(told)) < 40_000
    assert told["warnings"] == [f"{left} more assets are not shown: there are too many."]


async def test_members_of_a_list_are_chosen(api: Stage, github: Github) -> None:
    """The id is always there; a member that there is not is refused with those that there are."""
    api.on("GET", f"{BASE}/releases", [release()])
    async with github(api.url) as client:
        told = await called(client, "list_releases", fields=["tag_name"])
        wrong = await client.call("list_releases", **TOOLS, fields=["tag"])
    assert told["releases"] == [{"id": 1, "tag_name": "v1"}]
    assert wrong.error is not None
    assert "tag_name" in wrong.error["hint"]


async def test_a_text_file_of_a_release_is_read_in_pages(api: Stage, github: Github) -> None:
    """Checksums and such; joined, the pages are the file."""
    text = "".join(f"{number:064x}  file-{number}\n" for number in range(300))
    item = asset("sums.txt", text.encode())
    api.on("GET", f"{BASE}/releases/tags/v1", release(1, item))
    api.on("GET", f"{BASE}/releases/assets/7", Answer(200, text.encode()))
    async with github(api.url, answer_bytes=8_000) as client:
        told = await called(client, "get_release_by_tag", tag="v1", asset="sums.txt")
        pages = [told["asset"]["content"]]
        while cursor := told["asset"]["next_cursor"]:
            told = await called(
                client, "get_release_by_tag", tag="v1", asset="sums.txt", cursor=cursor
            )
            pages.append(told["asset"]["content"])
    assert len(pages) > 1
    assert "".join(pages) == text


async def test_a_file_that_is_no_text_is_only_named(api: Stage, github: Github) -> None:
    """So is one that is too large to be read, which is not fetched at all."""
    large = {**asset("large.txt", b"", 8), "size": 10**9}
    api.on("GET", f"{BASE}/releases/tags/v1", release(1, asset("tool", b"\x7fELF\0"), large))
    api.on("GET", f"{BASE}/releases/assets/7", Answer(200, b"\x7fELF\0"))
    async with github(api.url) as client:
        binary = await called(client, "get_release_by_tag", tag="v1", asset="tool")
        huge = await called(client, "get_release_by_tag", tag="v1", asset="large.txt")
        missing = await client.call("get_release_by_tag", **TOOLS, tag="v1", asset="none")
    assert binary["asset"]["content"] is None
    assert huge["asset"]["content"] is None
    assert not any("assets/8" in asked.path for asked in api.asked)
    assert missing.error is not None
    assert missing.error["hint"] == "It has tool, large.txt."


async def test_a_release_is_made_once(api: Stage, github: Github) -> None:
    """The same call again finds the release of the tag and sends nothing."""
    arguments = {**TOOLS, "method": "create", "tag": "v2", "name": "Version 2", "body": "News"}
    api.on("POST", f"{BASE}/releases", release(2, body="News"), 201)
    async with github(api.url, write="releases", write_interval_s=0) as client:
        first = (await client.call("release_write", **arguments)).structured
        api.on("GET", f"{BASE}/releases/tags/v2", release(2, body="News"))
        second = (await client.call("release_write", **arguments)).structured
    assert first is not None
    assert second is not None
    assert (first["repeated"], second["repeated"], second["id"]) == (False, True, 2)
    assert [path for path, _ in api.sent("POST")] == [f"{BASE}/releases"]


async def test_deleting_has_to_be_confirmed(api: Stage, github: Github) -> None:
    """Creating has not."""
    api.on("DELETE", f"{BASE}/releases/assets/7", Answer(204))
    arguments = {**TOOLS, "method": "delete_asset", "asset_id": 7}
    async with github(api.url, write="releases", write_interval_s=0) as client:
        refused = await client.call("release_write", **arguments)
        planned = (await client.call("release_write", **arguments, dry_run=True)).structured
        assert planned is not None
        token = planned["dry_run"]["confirm"]
        done = await client.call("release_write", **arguments, confirm=token)
    assert refused.error is not None
    assert refused.error["code"] == "CONFIRMATION_REQUIRED"
    assert not done.is_error, done.error
    assert api.sent("DELETE") == [(f"{BASE}/releases/assets/7", None)]


@pytest.mark.parametrize("method", ["create", "update", "delete", "delete_asset"])
async def test_each_method_says_what_it_wants(api: Stage, github: Github, method: str) -> None:
    """Before anything is asked."""
    async with github(api.url, write="releases") as client:
        error = (await client.call("release_write", **TOOLS, method=method)).error
    assert error is not None
    assert f"{method} wants" in error["message"]
    assert api.asked == []
