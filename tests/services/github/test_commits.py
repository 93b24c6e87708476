"""Commits, comparisons and checks; branches and tags in lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from core.testing import Client
from services.github.tools.commits import together
from tests.services.github.conftest import Github
from tests.services.github.stage import Stage, staged

TOOLS = {"owner": "octo", "repo": "tools"}
BASE = "/repos/octo/tools"


@pytest.fixture
def api() -> Iterator[Stage]:
    """The API of a public repository that the credential may push to."""
    with staged() as double:
        double.on(
            "GET",
            BASE,
            {
                "full_name": "octo/tools",
                "private": False,
                "default_branch": "main",
                "permissions": {"push": True},
            },
        )
        yield double


def commit(number: int, message: str = "Change") -> dict[str, Any]:
    """Return a commit as GitHub lists it."""
    person = {"name": "Octo", "email": "o@example.org", "date": "2026-01-02T03:04:05Z"}
    return {
        "sha": f"{number:040x}",
        "html_url": f"https://github.com/octo/tools/commit/{number}",
        "commit": {"message": message, "author": person, "committer": person},
        "author": {"login": "octo"},
        "committer": None,
        "parents": [{"sha": f"{number - 1:040x}"}],
    }


def changed(name: str, patch: str = "@@ -1 +1 @@\n-a\n+b") -> dict[str, Any]:
    """Return a file of a commit."""
    counts = {"additions": 1, "deletions": 1, "changes": 2}
    return {"filename": name, "status": "modified", "patch": patch, **counts}


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Make a call that has to succeed."""
    result = await client.call(tool, **TOOLS, **arguments)
    assert result.structured is not None, result.error
    return result.structured


async def test_a_list_goes_on_within_a_page_that_was_cut(api: Stage, github: Github) -> None:
    """What did not fit by bytes comes first on the next page, and then GitHub's next page."""
    pages = [[commit(n, "x" * 400) for n in range(p, p + 30)] for p in (100, 200)]
    following = f'<{api.url}{BASE}/commits?page=2>; rel="next"'
    api.on("GET", f"{BASE}/commits?page=1", pages[0], Link=following)
    api.on("GET", f"{BASE}/commits?page=2", pages[1])
    async with github(api.url, answer_bytes=8_000) as client:
        told = await called(client, "list_commits")
        found, rounds = told["commits"], [told["truncated_by"]]
        while cursor := told["next_cursor"]:
            told = await called(client, "list_commits", cursor=cursor)
            found += told["commits"]
            rounds.append(told["truncated_by"])
    assert [c["sha"] for c in found] == [c["sha"] for page in pages for c in page]
    assert {"bytes", "limit", None} <= set(rounds)


async def test_long_messages_are_cut_in_lists_and_whole_in_the_commit(
    api: Stage, github: Github
) -> None:
    """The note says what is missing and which tool shows it."""
    whole = "Title\n\n" + "reason " * 200
    api.on("GET", f"{BASE}/commits", [commit(1, whole)])
    api.on("GET", f"{BASE}/commits/main", {**commit(1, whole), "stats": {"total": 2}, "files": []})
    async with github(api.url) as client:
        listed = (await called(client, "list_commits"))["commits"][0]["commit"]["message"]
        shown = (await called(client, "get_commit", sha="main"))["commit"]["message"]
    assert listed.endswith("more characters; get_commit shows all]")
    assert shown == whole


async def test_a_day_is_the_moment_at_which_it_begins(api: Stage, github: Github) -> None:
    """GitHub takes moments only; github-mcp-server takes days too."""
    api.on("GET", f"{BASE}/commits", [])
    async with github(api.url) as client:
        await called(client, "list_commits", since="2026-01-02", until="2026-01-03T10:00:00+02:00")
        wrong = await client.call("list_commits", **TOOLS, since="yesterday")
    query = parse_qs(api.asked[-1].query)
    assert query["since"] == ["2026-01-02T00:00:00Z"]
    assert query["until"] == ["2026-01-03T10:00:00+02:00"]
    assert wrong.is_error


async def test_a_search_stays_in_its_repository(api: Stage, github: Github) -> None:
    """Whatever qualifiers the words hold, commits of other repositories are not shown."""
    ours = {**commit(1), "repository": {"full_name": "octo/tools", "private": False}}
    theirs = {**commit(2), "repository": {"full_name": "else/where", "private": True}}
    found = {"total_count": 2, "incomplete_results": False, "items": [ours, theirs]}
    api.on("GET", "/search/commits", found)
    async with github(api.url) as client:
        told = await called(client, "list_commits", query="fix repo:else/where")
        mixed = await client.call("list_commits", **TOOLS, query="fix", path="docs")
    assert parse_qs(api.asked[-1].query)["q"] == ["fix repo:else/where repo:octo/tools"]
    assert [c["sha"] for c in told["commits"]] == [ours["sha"]]
    assert mixed.is_error


async def test_the_detail_of_a_commit_is_chosen(api: Stage, github: Github) -> None:
    """As in github-mcp-server: none, stats, full_patch."""
    data = {**commit(1), "stats": {"total": 2}, "files": [changed("a.py")]}
    api.on("GET", f"{BASE}/commits/v1", data)
    async with github(api.url) as client:
        none, stats, patch = [
            (await called(client, "get_commit", sha="v1", detail=detail))["files"]
            for detail in ("none", "stats", "full_patch")
        ]
    assert none == []
    assert (stats[0]["additions"], stats[0]["patch"]) == (1, None)
    assert patch[0]["patch"].startswith("@@ -1 +1 @@")


async def test_a_comparison_tells_both_sides(api: Stage, github: Github) -> None:
    """Slashes in branches stay; the head may be in a fork, whose files are a stranger's."""
    data = {
        "status": "diverged",
        "ahead_by": 1,
        "behind_by": 2,
        "total_commits": 1,
        "merge_base_commit": {"sha": "b" * 40},
        "html_url": "https://github.com/octo/tools/compare/x",
        "commits": [commit(1, "see\u200b")],
        "files": [changed("a.py")],
    }
    api.on("GET", f"{BASE}/compare/main...fork:feature/x", data)
    async with github(api.url) as client:
        told = await called(client, "compare", base="main", head="fork:feature/x")
        wrong = await client.call("compare", **TOOLS, base="main", head="a:b:c")
    assert (told["status"], told["ahead_by"], told["behind_by"]) == ("diverged", 1, 2)
    assert told["commits"][0]["commit"]["message"] == "see"
    assert told["untrusted"]
    assert wrong.error is not None
    assert wrong.error["code"] == "BAD_NAME"


async def test_checks_and_statuses_come_to_one_state(api: Stage, github: Github) -> None:
    """GitHub keeps them apart; a commit is good when both are."""
    status = {"context": "ci/old", "state": "success", "description": None, "target_url": None}
    run = {"name": "build", "status": "in_progress", "conclusion": None, "html_url": None}
    api.on(
        "GET",
        f"{BASE}/commits/feature/x/status",
        {"sha": "c" * 40, "statuses": [status], "total_count": 1},
    )
    api.on(
        "GET",
        f"{BASE}/commits/feature/x/check-runs",
        {"check_runs": [{**run, "output": {"title": "Half"}}], "total_count": 3},
    )
    async with github(api.url) as client:
        told = await called(client, "commit_status", ref="feature/x")
    assert told["state"] == "pending"
    assert told["counts"] == {"success": 1, "in_progress": 1}
    assert told["truncated"]


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], None),
        (["success", "skipped", "neutral"], "success"),
        (["success", "queued"], "pending"),
        (["queued", "timed_out"], "failure"),
    ],
)
def test_the_worst_state_counts(states: list[str], state: str | None) -> None:
    """One failure is enough; what is skipped is no failure."""
    assert together(states) == state


async def test_a_tag_is_told_with_its_object(api: Stage, github: Github) -> None:
    """A tag without one is told by the commit that it names."""
    api.on("GET", f"{BASE}/git/ref/tags/v1", {"object": {"type": "tag", "sha": "a" * 40}})
    api.on("GET", f"{BASE}/git/ref/tags/v2", {"object": {"type": "commit", "sha": "c" * 40}})
    api.on(
        "GET",
        f"{BASE}/git/tags/{'a' * 40}",
        {
            "tag": "v1",
            "sha": "a" * 40,
            "message": "First",
            "tagger": {"name": "Octo"},
            "object": {"type": "commit", "sha": "b" * 40},
            "verification": {"verified": True},
        },
    )
    async with github(api.url) as client:
        first = await called(client, "get_tag", tag="v1")
        second = await called(client, "get_tag", tag="refs/tags/v2")
    assert (first["annotated"], first["target"], first["verified"]) == (True, "b" * 40, True)
    assert (second["annotated"], second["target"]) == (False, "c" * 40)
