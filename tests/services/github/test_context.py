"""Whose credential it is, and which repositories and people there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.services.github.conftest import Github
from tests.services.github.doubles.recordings import Recordings
from tests.services.github.stage import Stage, staged


@pytest.fixture
def api() -> Iterator[Stage]:
    """An API that knows nothing yet."""
    with staged() as double:
        yield double


def repository(name: str, **more: Any) -> dict[str, Any]:
    """Return a repository as lists have it."""
    return {
        "full_name": name,
        "html_url": f"https://github.com/{name}",
        "description": None,
        "private": False,
        **more,
    }


def found(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the answer to a search."""
    return {"total_count": len(items), "incomplete_results": False, "items": items, **more}


async def test_the_credential_says_what_it_may(api: Stage, github: Github) -> None:
    """GitHub tells the scopes of classic tokens in a header; others have none to tell."""
    user = {"login": "octo", "id": 1, "html_url": "https://github.com/octo", "bio": "a\u200bb"}
    api.on("GET", "/user", user, X_OAuth_Scopes="repo, read:org")
    async with github(api.url) as client:
        told = (await client.call("get_me")).structured
    assert told is not None
    assert (told["login"], told["scopes"], told["bio"]) == ("octo", ["repo", "read:org"], "ab")


async def test_without_a_credential_nobody_is_anybody(github: Github, api: Stage) -> None:
    """The error names the variable that the operator sets."""
    api.on("GET", "/user", {"message": "Requires authentication"}, status=401)
    async with github(api.url, token=None) as client:
        error = (await client.call("get_me")).error
    assert error is not None
    assert error["code"] == "AUTH_REQUIRED"
    assert "GITHUB_TOKEN" in error["hint"]


async def test_quotas_say_when_they_are_full_again(api: Stage, github: Github) -> None:
    """GitHub's seconds since 1970 become a time."""
    core = {"limit": 5000, "used": 1, "remaining": 4999, "reset": 1_767_323_045}
    api.on("GET", "/rate_limit", {"resources": {"core": core}})
    async with github(api.url) as client:
        told = (await client.call("rate_limit")).structured
    assert told is not None
    assert told["resources"]["core"] == {
        "limit": 5000,
        "used": 1,
        "remaining": 4999,
        "reset_at": "2026-01-02T03:04:05Z",
    }


@pytest.mark.parametrize(
    ("owner", "path"),
    [
        (None, "/user/repos"),
        ("OCTO", "/user/repos"),
        ("acme", "/orgs/acme/repos"),
        ("hubot", "/users/hubot/repos"),
    ],
)
async def test_repositories_are_asked_for_where_all_of_them_are(
    api: Stage, github: Github, owner: str | None, path: str
) -> None:
    """The list of a user has public ones only, so ours and an organisation's are other lists."""
    api.on("GET", "/user", {"login": "octo", "id": 1, "html_url": ""})
    api.on("GET", "/users/acme", {"login": "acme", "type": "Organization"})
    api.on("GET", "/users/hubot", {"login": "hubot", "type": "User"})
    api.on("GET", path, [repository("some/thing", private=True)])
    async with github(api.url) as client:
        arguments = {} if owner is None else {"owner": owner}
        told = (await client.call("list_repos", **arguments)).structured
    assert told is not None
    assert [item["full_name"] for item in told["items"]] == ["some/thing"]


async def test_what_the_operator_does_not_allow_is_in_no_list(api: Stage, github: Github) -> None:
    """The count of what is left out is told, not the names."""
    items = (repository("octo/tools"), repository("secret/plans"))
    api.on("GET", "/search/repositories", found(*items))
    code = [
        {
            "name": "a.py",
            "path": "a.py",
            "sha": "a" * 40,
            "html_url": f"https://github.com/{name}",
            "repository": {"full_name": name, "private": False},
            "text_matches": [{"fragment": "def a\u200b():"}],
        }
        for name in ("octo/tools", "secret/plans")
    ]
    api.on("GET", "/search/code", found(*code))
    async with github(api.url, allow_repositories="octo/*") as client:
        named = await client.call("search_repositories", query="tools")
        written = await client.call("search_code", query="def")
        refused = await client.call("get_repo", owner="secret", repo="plans")
    for result in (named, written):
        assert result.structured is not None
        assert result.structured["returned"] == 1
        assert "1 results of repositories" in result.structured["warnings"][0]
        assert "secret" not in result.text
    assert written.structured is not None
    assert written.structured["items"][0]["text_matches"] == ["def a():"]
    assert refused.error is not None
    assert refused.error["code"] == "REPOSITORY_NOT_ALLOWED"


async def test_a_search_of_people_leaves_organisations_out(api: Stage, github: Github) -> None:
    """As github-mcp-server does."""
    user = {"login": "octo", "id": 1, "type": "User", "html_url": "https://github.com/octo"}
    api.on("GET", "/search/users?q=octo type:user", found(user, incomplete_results=True))
    async with github(api.url) as client:
        told = (await client.call("search_users", query="octo")).structured
    assert told is not None
    assert told["items"][0]["profile_url"] == "https://github.com/octo"
    assert told["incomplete"]
    assert "ran out of time" in told["warnings"][0]


async def test_a_quota_that_ends_at_no_time_is_told_all_the_same(
    api: Stage, github: Github
) -> None:
    """Proxies and recordings have sent milliseconds for seconds, which no calendar holds."""
    headers = {
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1507651200000",
    }
    api.on("GET", "/user", {"message": "API rate limit exceeded"}, 403, **headers)
    async with github(api.url) as client:
        error = (await client.call("get_me")).error
    assert error is not None
    assert (error["code"], error["reset_at"]) == ("RATE_LIMITED", None)


@pytest.mark.parametrize("query", ["", "   ", "x" * 257])
async def test_a_search_for_nothing_or_too_much_is_refused(
    api: Stage, github: Github, query: str
) -> None:
    """GitHub takes 256 characters; nothing is asked."""
    async with github(api.url) as client:
        error = (await client.call("search_repositories", query=query)).error
    assert error is not None
    assert error["code"] == "INVALID_ARGUMENTS"
    assert api.asked == []


async def test_a_renamed_repository_is_found_under_its_old_name(
    fixtures_server: Recordings, github: Github
) -> None:
    """GitHub answers 301, as it was recorded; the result says which name was asked for."""
    api = fixtures_server.play("rename-repository")
    repository = f"{api}/repos/octokit-fixture-org/rename-repository"
    async with httpx.AsyncClient(trust_env=False) as other:
        await other.patch(repository, json={"name": "rename-repository-newname"})
    async with github(api, flow_guard=False) as client:
        result = await client.call(
            "get_repo", owner="octokit-fixture-org", repo="rename-repository"
        )
    assert result.structured is not None, result.error
    assert result.structured["full_name"] == "octokit-fixture-org/rename-repository-newname"
    assert result.structured["renamed_from"] == "octokit-fixture-org/rename-repository"


async def test_a_recorded_repository_has_its_permissions(
    fixtures_server: Recordings, github: Github
) -> None:
    """Its quota's reset, which recordings have in milliseconds, is left out as no time."""
    api = fixtures_server.play("get-repository")
    async with github(api, flow_guard=False) as client:
        result = await client.call("get_repo", owner="octokit-fixture-org", repo="hello-world")
    assert result.structured is not None, result.error
    assert "issues" in result.structured["features"]
    assert result.structured["default_branch"] == "master"
    assert result.structured["rate"]["reset_at"] is None


async def test_a_recorded_folder_is_listed(fixtures_server: Recordings, github: Github) -> None:
    """The top folder, as GitHub answered once."""
    api = fixtures_server.play("get-content")
    names = {"owner": "octokit-fixture-org", "repo": "hello-world"}
    async with github(api) as client:
        folder = await client.call("get_file_contents", **names)
    assert folder.structured is not None, folder.error
    assert [entry["path"] for entry in folder.structured["entries"]] == ["README.md"]


async def test_a_repository_is_made_only_where_the_lists_allow_it(
    api: Stage, github: Github
) -> None:
    """Private unless it is said otherwise; a name that the operator does not list sends nothing."""
    api.on("GET", "/user", {"login": "octo", "id": 1, "html_url": ""})
    made = repository("octo/lab-1", private=True, default_branch="main")
    api.on("POST", "/user/repos", made, 201)
    settings = {"write": "context", "write_repositories": "octo/lab-*", "write_interval_s": 0}
    async with github(api.url, **settings) as client:
        refused = await client.call("create_repository", name="tools")
        done = await client.call("create_repository", name="lab-1")
    assert refused.error is not None
    assert refused.error["code"] == "REPOSITORY_NOT_ALLOWED"
    assert done.structured is not None, done.error
    assert done.structured["private"]
    assert [path for path, _ in api.sent("POST")] == ["/user/repos"]
    assert api.asked[-1].json()["private"] is True
