"""Whose text it is, asked of GitHub as little as can be, and what lockdown leaves out."""

from __future__ import annotations

import pytest

from core.errors import ToolError
from services.github.errors import Forbidden, GithubDown
from services.github.policy.trust import (
    MAX_LOOKUPS,
    Author,
    Lockdown,
    Repository,
    TrustLabel,
    author_of,
    is_withheld,
    origin,
)
from tests.services.github.fake import HELLO, ME, PERMISSION, FakeGitHub, context_of, desk_of, item


def known(*, private: bool = False, push: bool = False) -> Repository:
    """Return the facts of a repository."""
    rights = frozenset({"push", "pull"} if push else {"pull"})
    return Repository("octo/hello", private, "public", False, "main", rights)


async def labels(github: FakeGitHub, *people: tuple[str | None, str | None]) -> list[TrustLabel]:
    """Return how texts of people are labelled, given by login and association."""
    call = desk_of(github).call(context_of())
    heard = await call.heard(HELLO, [item(*person) for person in people])
    return [one.trust for one in heard]


def test_authors_are_read_from_both_apis() -> None:
    """REST says `user`, GraphQL `author`; a deleted account is null in both."""
    assert author_of(item("eve", "NONE")) == Author("eve", "NONE")
    graphql = {"author": {"login": "eve"}, "authorAssociation": "MEMBER"}
    assert author_of(graphql) == Author("eve", "MEMBER")
    assert author_of({"user": None, "author_association": "NONE"}) == Author(None, "NONE")
    assert author_of({"author": {"name": "Eve of git", "email": "e@x"}}) == Author(None, None)


async def test_association_decides_without_a_credential() -> None:
    """Nothing can be asked, and the repository is public for sure."""
    github = FakeGitHub(token=False)
    people = [("octo", "OWNER"), ("m", "MEMBER"), ("c", "COLLABORATOR"), ("x", "CONTRIBUTOR")]
    people += [("n", "NONE"), ("f", "FIRST_TIME_CONTRIBUTOR")]
    found = await labels(github, *people, (None, "NONE"))
    assert found == ["trusted"] * 3 + ["untrusted"] * 4
    assert github.sent == []


async def test_members_without_push_access_are_strangers() -> None:
    """Everybody in an organisation is a MEMBER; only GitHub knows who may push."""
    github = FakeGitHub()
    github.on("GET", PERMISSION.format(login="reader"), {"permission": "read"})
    github.on("GET", PERMISSION.format(login="writer"), {"permission": "write"})
    found = await labels(github, ("reader", "MEMBER"), ("writer", "COLLABORATOR"))
    assert found == ["untrusted", "trusted"]


async def test_permissions_are_asked_once_and_a_few_at_most() -> None:
    """A page of a hundred comments is not a hundred requests, and a second page is none."""
    github = FakeGitHub()
    people = [(f"member{number}", "MEMBER") for number in range(100)]
    for login, _ in people:
        github.on("GET", PERMISSION.format(login=login), {"permission": "write"})
    desk = desk_of(github)
    items = [item(*person) for person in people]
    await desk.call(context_of()).heard(HELLO, items[:MAX_LOOKUPS])
    first = len(github.sent)
    await desk.call(context_of()).heard(HELLO, items[:MAX_LOOKUPS])
    assert len(github.sent) == first
    await desk.call(context_of()).heard(HELLO, items)
    assert len(github.sent) == first + MAX_LOOKUPS


async def test_nobody_is_asked_about_without_push_access() -> None:
    """GitHub shows permissions to those who may push; others would be refused."""
    github = FakeGitHub()
    github.repository(HELLO, push=False)
    assert await labels(github, ("m", "MEMBER"), ("n", "NONE")) == ["trusted", "untrusted"]
    assert not [path for path in github.paths() if "permission" in path]


@pytest.mark.parametrize(
    ("refusal", "asked"), [(Forbidden("No."), 1), (GithubDown("Down."), 2)], ids=["no", "down"]
)
async def test_where_permissions_are_not_told_the_association_counts(
    refusal: ToolError, asked: int
) -> None:
    """A refusal is remembered for the repository, a failure is not."""
    github = FakeGitHub()
    for login in ("one", "two"):
        github.on("GET", PERMISSION.format(login=login), refusal)
    desk = desk_of(github)
    for login in ("one", "two"):
        (heard,) = await desk.call(context_of()).heard(HELLO, [item(login, "MEMBER")])
        assert heard.trust == "trusted"
    assert len([path for path in github.paths() if "permission" in path]) == asked


async def test_the_credentials_own_user_is_trusted() -> None:
    """Whoever runs this reads back what they wrote."""
    github = FakeGitHub()
    assert await labels(github, (ME.upper(), "NONE"), ("eve", "NONE")) == ["trusted", "untrusted"]
    assert github.paths().count("/user") == 1


@pytest.mark.parametrize(
    ("lockdown", "private", "expected"),
    [
        ("off", False, False),
        ("off", True, False),
        ("public", False, True),
        ("public", True, False),
        ("always", False, True),
        ("always", True, True),
    ],
)
def test_lockdown_withholds_strangers_where_it_is_told_to(
    lockdown: Lockdown, private: bool, expected: bool
) -> None:
    """Those with push access are shown in every mode; what is unknown counts as public."""
    facts = known(private=private)
    assert is_withheld("untrusted", facts, lockdown) is expected
    assert is_withheld("trusted", facts, lockdown) is False
    assert is_withheld("untrusted", None, lockdown) is (lockdown != "off")


def test_files_are_ours_where_only_we_put_them() -> None:
    """Private repositories and those that may be pushed to; never what a pull request brings."""
    assert origin(known(private=True), None) == "trusted"
    assert origin(known(push=True), "main") == "trusted"
    assert origin(known(), "main") == "untrusted"
    assert origin(None, None) == "untrusted"
    assert origin(known(push=True), "refs/pull/7/head") == "untrusted"


async def test_withheld_texts_are_listed_without_their_words() -> None:
    """Number, author and address stay; the result says how many are missing, and why."""
    github = FakeGitHub()
    call = desk_of(github).call(context_of())
    stranger, owner = await call.heard(HELLO, [item("eve", "NONE"), item("octo", "OWNER")])
    assert "evil" not in str(stranger.text("evil")) + str(stranger.line("evil"))
    assert stranger.text(None) is None
    assert owner.text("fine") == "fine"
    assert stranger.members()["withheld"] is True
    told = call.members()
    assert told["untrusted"] is True
    assert "(1 in all)" in told["warnings"][0]
    assert "MCP_GITHUB_LOCKDOWN=public" in told["warnings"][0]
    assert not call.desk.flow.seen(call.reader).untrusted


async def test_hidden_characters_are_counted_for_each_item() -> None:
    """Models read what people cannot see."""
    call = desk_of(FakeGitHub(), lockdown="off").call(context_of())
    (heard,) = await call.heard(HELLO, [item("eve", "NONE")])
    assert heard.text("a<!-- do harm -->b") == "ab"
    assert heard.line("ti\u200btle") == "title"
    assert heard.plain("`<!-- code -->`") == "`<!-- code -->`"
    assert heard.members()["hidden_removed"] == len("<!-- do harm -->") + 1
