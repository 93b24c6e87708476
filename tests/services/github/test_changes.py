"""Changes of files: what git has afterwards, and what is left alone."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from core.testing import CallResult, Client
from tests.services.github.conftest import Github
from tests.services.github.doubles.git import Repository

TOOLS = {"owner": "octo", "repo": "tools"}
FILE, EXECUTABLE, LINK = "100644", "100755", "120000"
PUSH = {**TOOLS, "branch": "main", "message": "Change"}
PNG = b"\x89PNG\r\n\x1a\n\xff\xfe"


def writing(github: Github, repository: Repository, **settings: Any) -> Client:
    """Return a client of a server that may write."""
    return github(repository.url, write="all", write_interval_s=0, **settings)


async def done(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Make a call that has to succeed."""
    result = await client.call(tool, **arguments)
    assert result.structured is not None, result.error
    return result.structured


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Make a call that has to be refused; returns the error."""
    result: CallResult = await client.call(tool, **arguments)
    assert result.error is not None, result.structured
    return result.error


async def confirmed(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Make a call after its dry run, with the token of that."""
    planned = (await done(client, tool, **arguments, dry_run=True))["dry_run"]
    return await done(client, tool, **arguments, confirm=planned["confirm"])


async def test_many_files_become_one_commit(repository: Repository, github: Github) -> None:
    """Text and bytes are written exactly, what is deleted is gone, modes stay as they are."""
    begun = repository.commit(
        {
            "run.sh": (EXECUTABLE, b"true\n"),
            "old.txt": (FILE, b"old\n"),
            "kept/a.txt": (FILE, b"a\n"),
            "link": (LINK, b"kept/a.txt"),
        }
    )
    files = [
        {"path": "run.sh", "content": "false\n"},
        {"path": "new/ä.txt", "content": "one\r\ntwo"},
        {"path": "logo.png", "content": base64.b64encode(PNG).decode(), "encoding": "base64"},
        {"path": "tool", "content": "#!/bin/sh\n", "executable": True},
        {"path": "link", "content": "a file now\n"},
        {"path": "old.txt", "delete": True},
    ]
    async with writing(github, repository) as client:
        told = await confirmed(client, "push_files", **PUSH, files=files)
    assert repository.files() == {
        "kept/a.txt": (FILE, b"a\n"),
        "link": (FILE, b"a file now\n"),
        "logo.png": (FILE, PNG),
        "new/ä.txt": (FILE, b"one\r\ntwo"),
        "run.sh": (EXECUTABLE, b"false\n"),
        "tool": (EXECUTABLE, b"#!/bin/sh\n"),
    }
    assert (told["commit"], told["parent"]) == (repository.head(), begun)
    assert repository.word("rev-list", "--count", "main") == "2"


async def test_a_dry_run_shows_every_request_and_sends_none(
    repository: Repository, github: Github
) -> None:
    """What an earlier answer would tell is named in words."""
    begun = repository.commit({"a.txt": (FILE, b"a\n")})
    files = [{"path": "b.png", "content": base64.b64encode(PNG).decode(), "encoding": "base64"}]
    async with writing(github, repository) as client:
        told = await done(client, "push_files", **PUSH, files=files, dry_run=True)
    requests = told["dry_run"]["requests"]
    assert [f"{r['method']} {r['url'].removeprefix(repository.url)}" for r in requests] == [
        "POST /repos/octo/tools/git/blobs",
        "POST /repos/octo/tools/git/trees",
        "POST /repos/octo/tools/git/commits",
        "PATCH /repos/octo/tools/git/refs/heads/main",
    ]
    assert requests[1]["body"]["tree"][0]["sha"] == "(SHA of the blob of b.png)"
    assert requests[2]["body"]["parents"] == [begun]
    assert requests[3]["body"] == {"sha": "(SHA of the commit)", "force": False}
    assert repository.sent() == []


async def test_a_push_that_is_repeated_changes_nothing(
    repository: Repository, github: Github
) -> None:
    """Whoever does not know whether a push arrived can send it again."""
    repository.commit({"a.txt": (FILE, b"a\n")})
    files = [{"path": "b.txt", "content": "b\n"}]
    async with writing(github, repository) as client:
        first = await done(client, "push_files", **PUSH, files=files)
        sent = repository.sent()
        second = await done(client, "push_files", **PUSH, files=files)
    assert (second["unchanged"], second["parent"]) == (True, first["commit"])
    assert repository.sent() == sent


async def test_a_branch_that_moves_meanwhile_is_left_alone(
    repository: Repository, github: Github
) -> None:
    """The ref moves without force, so the other push is not lost."""
    repository.commit({"a.txt": (FILE, b"a\n")})
    repository.before_move = lambda: repository.commit({"theirs.txt": (FILE, b"theirs\n")})
    async with writing(github, repository) as client:
        error = await refused(
            client, "push_files", **PUSH, files=[{"path": "ours.txt", "content": "ours\n"}]
        )
    assert error["code"] == "CONFLICT"
    assert set(repository.files()) == {"a.txt", "theirs.txt"}
    assert "ours.txt" in str(repository.entries(error["commit"]))


async def test_a_push_upon_another_head_than_was_read_is_refused(
    repository: Repository, github: Github
) -> None:
    """head_sha is what the caller decided upon; the error tells the head of now."""
    begun = repository.commit({"a.txt": (FILE, b"a\n")})
    now = repository.commit({"a.txt": (FILE, b"newer\n")})
    files = [{"path": "a.txt", "content": "mine\n"}]
    async with writing(github, repository) as client:
        error = await refused(client, "push_files", **PUSH, files=files, head_sha=begun)
        await done(client, "push_files", **PUSH, files=files, head_sha=now[:10])
    assert (error["code"], error["sha"]) == ("CONFLICT", now)
    assert repository.files() == {"a.txt": (FILE, b"mine\n")}


async def test_a_token_is_for_the_head_of_the_dry_run(
    repository: Repository, github: Github
) -> None:
    """What was shown was a commit upon that head."""
    repository.commit({"a.txt": (FILE, b"a\n"), "b.txt": (FILE, b"b\n")})
    files = [{"path": "a.txt", "delete": True}]
    async with writing(github, repository) as client:
        planned = await done(client, "push_files", **PUSH, files=files, dry_run=True)
        repository.commit({"c.txt": (FILE, b"c\n")})
        token = planned["dry_run"]["confirm"]
        error = await refused(client, "push_files", **PUSH, files=files, confirm=token)
    assert error["code"] == "BAD_CONFIRMATION"
    assert "a.txt" in repository.files()


async def test_a_branch_that_is_not_there_begins_with_the_push(
    repository: Repository, github: Github
) -> None:
    """As in github-mcp-server, upon the default branch; it appears with its commit."""
    begun = repository.commit({"a.txt": (FILE, b"a\n")})
    arguments = {**PUSH, "branch": "feature/x", "files": [{"path": "b.txt", "content": "b\n"}]}
    async with writing(github, repository) as client:
        told = await done(client, "push_files", **arguments)
    assert (told["created_branch"], told["parent"]) == (True, begun)
    assert set(repository.files("feature/x")) == {"a.txt", "b.txt"}
    assert repository.head() == begun


async def test_an_empty_repository_begins_with_one_file(
    repository: Repository, github: Github
) -> None:
    """Git's own objects cannot be made there yet, as GitHub says with 409."""
    files = [{"path": "a.txt", "content": "a\n"}]
    async with writing(github, repository) as client:
        error = await refused(client, "push_files", **PUSH, files=files)
        await done(client, "create_or_update_file", **PUSH, path="a.txt", content="a\n")
    assert (error["code"], error["hint"]) == ("CONFLICT", "Begin with create_or_update_file.")
    assert repository.files() == {"a.txt": (FILE, b"a\n")}


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([{"path": "../x", "content": ""}], "BAD_NAME"),
        ([{"path": ".git/config", "content": ""}], "BAD_NAME"),
        ([{"path": "a", "content": "?", "encoding": "base64"}], "INVALID_ARGUMENTS"),
        ([{"path": "a", "content": ""}, {"path": "a", "delete": True}], "INVALID_ARGUMENTS"),
        ([{"path": "a"}], "INVALID_ARGUMENTS"),
        ([{"path": "a", "content": "", "delete": True}], "INVALID_ARGUMENTS"),
        ([{"path": "none.txt", "delete": True}], "NOT_FOUND_OR_NO_ACCESS"),
        ([], "INVALID_ARGUMENTS"),
    ],
)
async def test_a_push_that_makes_no_sense_sends_nothing(
    repository: Repository, github: Github, files: list[dict[str, Any]], code: str
) -> None:
    """All of it is looked at before the first object is made."""
    repository.commit({"x.txt": (FILE, b"x\n")})
    async with writing(github, repository) as client:
        error = await refused(client, "push_files", **PUSH, files=files)
    assert error["code"] == code
    assert repository.sent() == []


# --- one file ------------------------------------------------------------------------------------


async def test_a_file_is_replaced_by_those_who_have_read_it(
    repository: Repository, github: Github
) -> None:
    """Without its sha, or with an older one, the write is refused and tells the sha of now."""
    repository.commit({"a.txt": (FILE, b"old\n")})
    arguments = {**PUSH, "path": "a.txt", "content": "new\n"}
    sha = repository.blob(b"old\n")
    async with writing(github, repository) as client:
        blind = await refused(client, "create_or_update_file", **arguments)
        late = await refused(client, "create_or_update_file", **arguments, sha="f" * 40)
        told = await done(client, "create_or_update_file", **arguments, sha=sha)
    assert [error["sha"] for error in (blind, late)] == [sha, sha]
    assert (told["commit"], told["content_sha"]) == (repository.head(), repository.blob(b"new\n"))
    assert repository.files() == {"a.txt": (FILE, b"new\n")}


async def test_a_write_goes_through_no_link(repository: Repository, github: Github) -> None:
    """GitHub would change where the link points to; that has to be asked for."""
    repository.commit({"a.txt": (FILE, b"a\n"), "b.txt": (FILE, b"b\n"), "link": (LINK, b"a.txt")})
    arguments = {**PUSH, "path": "link", "content": "b.txt", "sha": repository.blob(b"a.txt")}
    async with writing(github, repository) as client:
        error = await refused(client, "create_or_update_file", **arguments)
        await done(client, "create_or_update_file", **arguments, allow_symlink_write=True)
    assert error["code"] == "CONFLICT"
    assert repository.files()["link"] == (LINK, b"b.txt")


async def test_a_file_that_is_so_already_is_not_written(
    repository: Repository, github: Github
) -> None:
    """A repeated call makes no empty commit."""
    repository.commit({"a.txt": (FILE, b"same\n")})
    sha = repository.blob(b"same\n")
    async with writing(github, repository) as client:
        told = await done(
            client, "create_or_update_file", **PUSH, path="a.txt", content="same\n", sha=sha
        )
    assert told["unchanged"]
    assert repository.sent() == []


async def test_deleting_a_file_has_to_be_confirmed(repository: Repository, github: Github) -> None:
    """The token of the dry run is for this blob, so a file that changed stays."""
    repository.commit({"a.txt": (FILE, b"a\n"), "b.txt": (FILE, b"b\n")})
    arguments = {**PUSH, "path": "a.txt"}
    async with writing(github, repository) as client:
        error = await refused(client, "delete_file", **arguments)
        planned = await done(client, "delete_file", **arguments, dry_run=True)
        repository.commit({"a.txt": (FILE, b"changed\n")})
        token = planned["dry_run"]["confirm"]
        stale = await refused(client, "delete_file", **arguments, confirm=token)
        await confirmed(client, "delete_file", **arguments)
    assert (error["code"], stale["code"]) == ("CONFIRMATION_REQUIRED", "BAD_CONFIRMATION")
    assert repository.files() == {"b.txt": (FILE, b"b\n")}


async def test_writing_is_off_by_default(repository: Repository, github: Github) -> None:
    """The tool is not listed, and who calls it is told which setting decides."""
    repository.commit({"a.txt": (FILE, b"a\n")})
    async with github(repository.url) as client:
        response = await client.rpc(
            "tools/call", {"name": "delete_file", "arguments": {**PUSH, "path": "a.txt"}}
        )
    assert "MCP_GITHUB_WRITE" in str(response["error"])
    assert repository.requests == []


# --- branches and tags ---------------------------------------------------------------------------


async def test_a_branch_begins_where_it_was_said(repository: Repository, github: Github) -> None:
    """At the default branch, at another, or at a commit."""
    first = repository.commit({"a.txt": (FILE, b"a\n")})
    second = repository.commit({"a.txt": (FILE, b"b\n")})
    async with writing(github, repository) as client:
        await done(client, "create_branch", **TOOLS, branch="one")
        await done(client, "create_branch", **TOOLS, branch="two", from_branch=first)
        await done(client, "create_branch", **TOOLS, branch="three", from_branch="two")
        twice = await refused(client, "create_branch", **TOOLS, branch="one")
    assert [repository.head(name) for name in ("one", "two", "three")] == [second, first, first]
    assert twice["code"] in ("VALIDATION_FAILED", "CONFLICT")


async def test_a_branch_that_moved_is_not_deleted_with_an_old_token(
    repository: Repository, github: Github
) -> None:
    """The dry run named the commit that would be lost."""
    repository.commit({"a.txt": (FILE, b"a\n")})
    repository.git("update-ref", "refs/heads/topic", "refs/heads/main")
    arguments = {**TOOLS, "branch": "topic"}
    async with writing(github, repository) as client:
        planned = await done(client, "delete_branch", **arguments, dry_run=True)
        repository.commit({"b.txt": (FILE, b"b\n")}, branch="topic")
        token = planned["dry_run"]["confirm"]
        stale = await refused(client, "delete_branch", **arguments, confirm=token)
        default = await refused(client, "delete_branch", **TOOLS, branch="main")
        moved = await refused(client, "delete_branch", **arguments, sha="f" * 40)
        await confirmed(client, "delete_branch", **arguments)
    assert (stale["code"], default["code"], moved["code"]) == (
        "BAD_CONFIRMATION",
        "CONFLICT",
        "CONFLICT",
    )
    assert repository.head("topic") is None
    assert repository.head() is not None
