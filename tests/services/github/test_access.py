"""The operator's lists: repositories and toolsets, for reading and for writing."""

from __future__ import annotations

from typing import Any

import pytest

from services.github.errors import RepositoryNotAllowed, WritesOff
from services.github.policy.access import Access
from services.github.policy.names import Repo
from services.github.settings import DEFAULT_TOOLSETS, TOOLSETS, GithubSettings


def access(**settings: Any) -> Access:
    """Return what these settings allow."""
    return Access(GithubSettings.from_dict(settings))


def test_by_default_everything_is_read_and_nothing_written() -> None:
    """Writing is what the operator switches on."""
    default = access()
    assert default.may_read(Repo("octo", "hello"))
    assert not default.narrowed
    assert default.toolsets == set(DEFAULT_TOOLSETS)
    assert default.writing == set()
    for toolset in TOOLSETS:
        with pytest.raises(WritesOff, match=toolset) as caught:
            default.check_writes(toolset)
        assert "MCP_GITHUB_WRITE" in caught.value.hint


@pytest.mark.parametrize(
    ("pattern", "full_name", "allowed"),
    [
        ("octo/hello", "octo/hello", True),
        ("Octo/Hello", "OCTO/hello", True),
        ("octo/hello", "octo/hello2", False),
        ("octo/hello", "octo/hell", False),
        ("octo/*", "octo/anything.at-all_", True),
        ("octo/*", "octopus/hello", False),
        ("octo/*", "x-octo/hello", False),
        ("*/hello", "anyone/hello", True),
        ("oct*/hel?o", "octopus/helxo", True),
        ("*/*", "a/b", True),
        ("octo/a.b", "octo/axb", False),
        ("*o/x", "octo/x", True),
    ],
)
def test_a_pattern_names_owner_and_repository_apart(
    pattern: str, full_name: str, allowed: bool
) -> None:
    """No star reaches over the slash, and case does not matter, as on GitHub."""
    assert access(allow_repositories=pattern).may_read(Repo.parse_full(full_name)) is allowed


def test_a_repository_outside_the_list_is_refused_with_its_name() -> None:
    """And with the variable that the operator sets."""
    narrow = access(allow_repositories="octo/*, acme/site")
    narrow.check_read(Repo("acme", "site"))
    with pytest.raises(RepositoryNotAllowed, match="stranger/x") as caught:
        narrow.check_read(Repo("stranger", "x"))
    assert "MCP_GITHUB_ALLOW_REPOSITORIES" in caught.value.hint
    assert caught.value.facts == {"repository": "stranger/x"}


def test_only_what_may_be_read_may_be_written_to() -> None:
    """The list for writing narrows the one for reading; alone it does not narrow reading."""
    both = access(allow_repositories="octo/*", write_repositories="*/hello")
    verdicts = {
        name: (both.may_read(Repo.parse_full(name)), both.may_write(Repo.parse_full(name)))
        for name in ("octo/hello", "octo/x", "stranger/hello")
    }
    assert verdicts == {
        "octo/hello": (True, True),
        "octo/x": (True, False),
        "stranger/hello": (False, False),
    }
    with pytest.raises(RepositoryNotAllowed, match="written to"):
        both.check_write(Repo("octo", "x"))
    with pytest.raises(RepositoryNotAllowed, match="be read"):
        both.check_write(Repo("stranger", "hello"))
    writing_only = access(write_repositories="octo/hello")
    assert writing_only.may_read(Repo("stranger", "x"))
    assert not writing_only.may_write(Repo("stranger", "x"))


def test_owners_of_the_list_are_known() -> None:
    """For what belongs to an owner and no repository."""
    assert access().may_use_owner("anyone")
    narrow = access(allow_repositories="octo/*,acme/site,x*/y")
    assert [narrow.may_use_owner(o) for o in ("OCTO", "acme", "xyz", "stranger")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("toolsets", "write", "on", "writing"),
    [
        ("all", "all", TOOLSETS, TOOLSETS),
        ("default", "issues", DEFAULT_TOOLSETS, ("issues",)),
        ("issues,pulls", "all", ("issues", "pulls"), ("issues", "pulls")),
        ("issues", "pulls", ("issues",), ()),
        ("default,gists", "", (*DEFAULT_TOOLSETS, "gists"), ()),
        ("repos,pull_requests", "", ("files", "branches", "releases", "pulls"), ()),
        ("Issues", "ISSUES", ("issues",), ("issues",)),
    ],
)
def test_toolsets_are_named_as_github_mcp_server_names_them_too(
    toolsets: str, write: str, on: tuple[str, ...], writing: tuple[str, ...]
) -> None:
    """Only toolsets that are on can write."""
    given = access(toolsets=toolsets, write=write)
    assert given.toolsets == set(on)
    assert given.writing == set(writing)
    for toolset in TOOLSETS:
        assert given.is_on(toolset) is (toolset in on)
        assert given.writes(toolset) is (toolset in writing)
