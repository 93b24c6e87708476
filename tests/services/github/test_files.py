"""Files and directories, read from a repository that git itself keeps."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from core.testing import Client
from tests.services.github.conftest import Github
from tests.services.github.doubles.git import Repository
from tests.services.github.doubles.graphql import Graphql

TOOLS = {"owner": "octo", "repo": "tools"}
FILE, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
GUIDE = b"# Guide\n\none\ntwo\nthree\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
HIDDEN = "see\u200b the\U000e0041 door\n".encode()


async def read(client: Client, **arguments: Any) -> dict[str, Any]:
    """Call get_file_contents, which has to succeed."""
    result = await client.call("get_file_contents", **TOOLS, **arguments)
    assert result.structured is not None, result.error
    return result.structured


async def test_a_file_comes_with_what_a_write_wants(repository: Repository, github: Github) -> None:
    """The sha is the blob's, which create_or_update_file takes."""
    repository.commit({"docs/guide.md": (FILE, GUIDE)})
    async with github(repository.url) as client:
        told = await read(client, path="/docs/guide.md")
    assert told["content"] == GUIDE.decode()
    assert told["sha"] == repository.blob(GUIDE)
    assert (told["total_lines"], told["truncated"], told["trust"]) == (5, False, "trusted")


async def test_lines_of_a_file_are_counted_from_one(repository: Repository, github: Github) -> None:
    """Both ends are included, and lines that the file does not have are none."""
    repository.commit({"guide.md": (FILE, GUIDE)})
    async with github(repository.url) as client:
        told = await read(client, path="guide.md", start_line=3, end_line=4)
        beyond = await read(client, path="guide.md", start_line=9)
    assert (told["content"], told["start_line"], told["end_line"]) == ("one\ntwo\n", 3, 4)
    assert (beyond["content"], beyond["total_lines"]) == ("", 5)


async def test_pages_of_a_file_are_of_one_version(repository: Repository, github: Github) -> None:
    """Page two is read from the blob of page one, whatever was pushed between them."""
    text = "".join(f"line {number} of the old file\n" for number in range(1_000))
    repository.commit({"long.txt": (FILE, text.encode())})
    async with github(repository.url, answer_bytes=8_000) as client:
        told = await read(client, path="long.txt")
        repository.commit({"long.txt": (FILE, b"new\n" * 9_000)})
        pages = [told["content"]]
        while cursor := told.get("next_cursor"):
            told = await read(client, path="long.txt", cursor=cursor)
            pages.append(told["content"])
    assert len(pages) > 2
    assert "".join(pages) == text


async def test_a_file_of_more_than_a_megabyte_is_read_as_a_blob(
    repository: Repository, github: Github
) -> None:
    """GitHub's contents API leaves its content out, and says so with encoding none."""
    text = "0123456789abcde\n" * 70_000
    repository.commit({"large.txt": (FILE, text.encode())})
    async with github(repository.url) as client:
        told = await read(client, path="large.txt", start_line=70_000)
    assert (told["content"], told["total_lines"]) == ("0123456789abcde\n", 70_000)


async def test_a_directory_is_listed_with_the_members_that_were_asked_for(
    repository: Repository, github: Github
) -> None:
    """Submodules, which GitHub calls files there, are told as what they are."""
    repository.commit({"b/c.txt": (FILE, b"c"), "a.txt": (FILE, b"a")})
    repository.git("read-tree", "main")
    sha = repository.word("rev-parse", "main")
    tree = repository.tree("main", [(SUBMODULE, sha, "lib")])
    repository.git("update-ref", "refs/heads/main", repository.committed(tree, "lib", [sha]))
    async with github(repository.url) as client:
        told = await read(client, fields=["name", "type"])
    assert told["entries"] == [
        {"type": "file", "name": "a.txt"},
        {"type": "dir", "name": "b"},
        {"type": "submodule", "name": "lib"},
    ]


async def test_a_long_directory_comes_in_pages(repository: Repository, github: Github) -> None:
    """No entry is lost between them."""
    names = [f"file-{number:03}.txt" for number in range(200)]
    repository.commit({name: (FILE, name.encode()) for name in names})
    async with github(repository.url, answer_bytes=8_000) as client:
        told = await read(client)
        found = told["entries"]
        while cursor := told.get("next_cursor"):
            told = await read(client, cursor=cursor)
            found += told["entries"]
    assert [entry["name"] for entry in found] == names


async def test_a_link_is_followed_and_told(repository: Repository, github: Github) -> None:
    """GitHub sends the target's content under the link's sha; a link to nowhere has a target."""
    repository.commit(
        {"a.txt": (FILE, b"a\n"), "here": (LINK, b"a.txt"), "away": (LINK, b"../etc/passwd")}
    )
    async with github(repository.url) as client:
        here, away = await read(client, path="here"), await read(client, path="away")
    assert (here["content"], here["target"]) == ("a\n", "a.txt")
    assert (away["type"], away["target"]) == ("symlink", "../etc/passwd")
    assert "content" not in away


async def test_an_image_is_one_to_look_at(repository: Repository, github: Github) -> None:
    """Other files that are no text come as bytes; the name does not tell which is which."""
    repository.commit({"logo.txt": (FILE, PNG), "data.bin": (FILE, b"\0\1\2")})
    async with github(repository.url) as client:
        image = await client.call("get_file_contents", **TOOLS, path="logo.txt")
        other = await client.call("get_file_contents", **TOOLS, path="data.bin")
    block = image.raw["content"][-1]
    assert (block["type"], block["mimeType"]) == ("image", "image/png")
    assert image.structured is not None
    assert image.structured["encoding"] == "binary"
    resource = other.raw["content"][-1]["resource"]
    assert resource["uri"] == "repo://octo/tools/contents/data.bin"
    assert base64.b64decode(resource["blob"]) == b"\0\1\2"


async def test_a_pointer_of_lfs_says_what_it_stands_for(
    repository: Repository, github: Github
) -> None:
    """Who reads it should not take the three lines for the file."""
    digest = hashlib.sha256(b"large").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 5000\n"
    repository.commit({"model.bin": (FILE, pointer.encode())})
    async with github(repository.url) as client:
        told = await read(client, path="model.bin")
    assert told["lfs"] == {"oid": f"sha256:{digest}", "size": 5000}


async def test_hidden_characters_stay_in_our_files_and_leave_those_of_strangers(
    repository: Repository, github: Github
) -> None:
    """Where the credential cannot push, the file is a stranger's."""
    repository.commit({"note.txt": (FILE, HIDDEN)})
    async with github(repository.url) as client:
        ours = await read(client, path="note.txt")
    repository.facts["permissions"] = {"pull": True}
    async with github(repository.url) as client:
        theirs = await read(client, path="note.txt")
    assert (ours["content"], ours["untrusted"]) == (HIDDEN.decode(), False)
    assert (theirs["content"], theirs["untrusted"]) == ("see the door\n", True)
    assert theirs["hidden_removed"] == 2


async def test_a_pull_request_holds_files_of_strangers(
    repository: Repository, github: Github
) -> None:
    """Anybody can open one in a public repository, ours too."""
    repository.commit({"note.txt": (FILE, HIDDEN)}, branch="main")
    repository.git("update-ref", "refs/pull/7/head", "refs/heads/main")
    async with github(repository.url) as client:
        told = await read(client, path="note.txt", ref="refs/pull/7/head")
    assert (told["trust"], told["content"]) == ("untrusted", "see the door\n")


async def test_a_wrong_path_is_answered_with_the_right_one(
    repository: Repository, github: Github
) -> None:
    """github-mcp-server looks for paths with the same end, too."""
    repository.commit({"src/app/main.py": (FILE, b"")})
    async with github(repository.url) as client:
        result = await client.call("get_file_contents", **TOOLS, path="app/main.py")
    assert result.error is not None
    assert result.error["code"] == "NOT_FOUND_OR_NO_ACCESS"
    assert result.error["nearest"] == ["src/app/main.py"]


async def test_a_guessed_main_is_the_default_branch(repository: Repository, github: Github) -> None:
    """As in github-mcp-server: models write main where the branch is another, and are told."""
    repository.commit({"a.txt": (FILE, b"a")}, branch="trunk")
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    repository.facts["default_branch"] = "trunk"
    async with github(repository.url) as client:
        told = await read(client, path="a.txt", ref="master")
        wrong = await client.call("get_file_contents", **TOOLS, path="a.txt", ref="release")
    assert told["content"] == "a"
    assert "There is no master; this is the default branch." in told["warnings"]
    assert wrong.is_error


async def test_several_files_are_read_at_once(repository: Repository, github: Github) -> None:
    """One that cannot be read has an error of its own."""
    repository.commit({"a.txt": (FILE, b"a\n"), "d/b.txt": (FILE, b"b\n")})
    async with github(repository.url) as client:
        told = await read(client, paths=["a.txt", "d/b.txt", "d", "none.txt"])
    first, second, folder, missing = told["files"]
    assert (first["content"], second["content"]) == ("a\n", "b\n")
    assert "is no file but a dir" in folder["error"]["message"]
    assert missing["error"]["code"] == "NOT_FOUND_OR_NO_ACCESS"


async def test_files_that_do_not_fit_are_named(repository: Repository, github: Github) -> None:
    """Nothing is left out without a word."""
    names = [f"{letter}.txt" for letter in "abcd"]
    repository.commit(dict.fromkeys(names, (FILE, b"x" * 100 + b"\n" * 3000)))
    async with github(repository.url, answer_bytes=8_000) as client:
        told = await read(client, paths=names)
    told_names = [file["path"] for file in told["files"]]
    assert told["truncated"]
    assert told_names + told["not_read"] == names


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "../../user"},
        {"path": "a/%2e%2e/b"},
        {"path": "a//b"},
        {"path": "a\\b"},
        {"path": "a\nb"},
        {"path": "a", "ref": "main..evil"},
        {"path": "a", "sha": "main"},
        {"path": "a", "start_line": 5, "end_line": 2},
        {"path": "a", "paths": ["b"]},
        {"paths": ["x"] * 21},
    ],
)
async def test_what_leads_elsewhere_is_refused_before_anything_is_asked(
    repository: Repository, github: Github, arguments: dict[str, Any]
) -> None:
    """PyGithub would ask for /user instead."""
    async with github(repository.url) as client:
        result = await client.call("get_file_contents", **TOOLS, **arguments)
    assert result.error is not None
    assert result.error["code"] in ("BAD_NAME", "INVALID_ARGUMENTS")
    assert repository.requests == []


async def test_a_tree_comes_in_pages_of_one_version(repository: Repository, github: Github) -> None:
    """The cursor holds the tree, so that a push between two pages changes nothing."""
    names = [f"src/{number:03}.txt" for number in range(150)]
    repository.commit(dict.fromkeys([*names, "README.md"], (FILE, b"")))
    arguments = {**TOOLS, "recursive": True, "path_filter": "src/"}
    async with github(repository.url, answer_bytes=8_000) as client:
        told = (await client.call("get_repository_tree", **arguments)).structured
        assert told is not None
        found = [entry["path"] for entry in told["tree"]]
        repository.commit({"src/000.txt": (EXECUTABLE, b"new"), "src/new.txt": (FILE, b"")})
        while cursor := told["next_cursor"]:
            told = (await client.call("get_repository_tree", **arguments, cursor=cursor)).structured
            assert told is not None
            found += [entry["path"] for entry in told["tree"]]
    assert found == names


async def test_a_tree_of_a_branch_with_a_slash_is_found(
    repository: Repository, github: Github
) -> None:
    """Trees are addressed by one segment, so such a name is looked up as a commit first."""
    repository.commit({"a.txt": (FILE, b"a")}, branch="feature/x")
    async with github(repository.url) as client:
        result = await client.call("get_repository_tree", **TOOLS, tree_sha="feature/x")
    assert result.structured is not None
    assert [entry["path"] for entry in result.structured["tree"]] == ["a.txt"]


def blamed(*lines: tuple[int, int, str]) -> dict[str, Any]:
    """Return a repository whose file was changed by these commits."""
    ranges = [
        {
            "startingLine": first,
            "endingLine": last,
            "commit": {
                "oid": sha * 40,
                "messageHeadline": f"Commit {sha}",
                "committedDate": "2026-01-02T03:04:05Z",
                "url": "https://github.com/octo/tools/commit/1",
                "author": {"name": "Octo", "user": None},
            },
        }
        for first, last, sha in lines
    ]
    commit = {"__typename": "Commit", "oid": "f" * 40, "blame": {"ranges": ranges}}
    return {"repository": {"object": commit}}


async def test_blame_tells_the_window_and_goes_on(graphql_double: Graphql, github: Github) -> None:
    """Ranges are cut to the lines that were asked for; commits are told once, by their sha."""
    graphql_double.data = blamed((1, 4, "a"), (5, 5, "b"), (6, 9, "a"), (10, 20, "c"))
    arguments = {**TOOLS, "path": "a.py", "start_line": 3, "end_line": 8, "perPage": 2}
    async with github(graphql_double.url) as client:
        first = (await client.call("get_file_blame", **arguments)).structured
        assert first is not None
        second = (
            await client.call("get_file_blame", **arguments, after=first["next_cursor"])
        ).structured
    assert second is not None
    lines = [(r["start_line"], r["end_line"], r["commit"][0]) for r in first["ranges"]]
    assert lines == [(3, 4, "a"), (5, 5, "b")]
    assert [(r["start_line"], r["end_line"]) for r in second["ranges"]] == [(6, 8)]
    assert (first["total_ranges"], second["next_cursor"]) == (3, None)
    assert set(second["commits"]) == {"a" * 40}
    assert graphql_double.requests[1]["variables"]["expression"] == "f" * 40


async def test_blame_of_a_tag_is_that_of_its_commit(
    graphql_double: Graphql, github: Github
) -> None:
    """An annotated tag is an object of its own."""
    commit = blamed((1, 2, "a"))["repository"]["object"]
    tag = {"__typename": "Tag", "target": commit}
    graphql_double.data = {"repository": {"object": tag}}
    async with github(graphql_double.url) as client:
        result = await client.call("get_file_blame", **TOOLS, path="a.py", ref="v1")
    assert result.structured is not None
    assert result.structured["sha"] == "f" * 40


async def test_blame_of_nothing_is_not_found(graphql_double: Graphql, github: Github) -> None:
    """GraphQL answers null for a ref that there is not."""
    graphql_double.data = {"repository": {"object": None}}
    async with github(graphql_double.url) as client:
        result = await client.call("get_file_blame", **TOOLS, path="a.py", ref="nope")
    assert result.error is not None
    assert result.error["code"] == "NOT_FOUND_OR_NO_ACCESS"
