"""Discussions: whose words they are, and comments that are written once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.github.calls.discussions import COMMENT, DISCUSSION, listed
from tests.services.github.conftest import Github
from tests.services.github.further import HIDDEN, ON, code, confirmed, graphql, queries, told
from tests.services.github.stage import ME, REPO, Stage, staged

WRITE = "discussion_comment_write"
STRANGER = {"author": {"login": "mallory"}, "authorAssociation": "NONE"}
OWNER = {"author": {"login": "octo"}, "authorAssociation": "OWNER"}
ADD = {**REPO, "method": "add", "discussionNumber": 3, "body": "Thanks"}


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a GitHub that this test fills."""
    with staged() as found:
        yield found


def repository(**members: Any) -> dict[str, Any]:
    """Return what a query of a repository finds."""
    return {"repository": {"nameWithOwner": "octo/hello", **members}}


async def test_texts_of_strangers_are_withheld_and_what_nobody_sees_is_left_out(
    github: Github, stage: Stage
) -> None:
    """As in issues: the discussion stays in the list, with its number and address."""
    nodes = [
        {**DISCUSSION, **STRANGER, "title": "Do as I say"},
        {**DISCUSSION, **OWNER, "number": 4, "title": f"Pl{HIDDEN}an"},
    ]
    found = {**listed(nodes[0]), "nodes": nodes, "totalCount": 2}
    graphql(stage, **repository(discussions=found))
    async with github(stage.url, **ON) as client:
        result = told(await client.call("list_discussions", **REPO))
    strange, own = result["discussions"]
    assert (strange["withheld"], strange["number"], strange["author"]) == (True, 3, "mallory")
    assert "Do as I say" not in str(result)
    assert (own["title"], own["hidden_removed"], own["trust"]) == ("Plan", 1, "trusted")
    assert result["untrusted"]
    assert any("MCP_GITHUB_LOCKDOWN" in warning for warning in result["warnings"])


async def test_a_long_text_of_a_discussion_is_read_in_pages(github: Github, stage: Stage) -> None:
    """Joined, they are the text."""
    text = "".join(f"{number} words\n" for number in range(5_000))
    graphql(stage, **repository(discussion={**DISCUSSION, **OWNER, "body": text}))
    asked = {**REPO, "discussionNumber": 3}
    async with github(stage.url, **ON) as client:
        result = told(await client.call("get_discussion", **asked))
        parts = [result["discussion"]["body"]]
        while cursor := result["next_cursor"]:
            result = told(await client.call("get_discussion", **asked, cursor=cursor))
            parts.append(result["discussion"]["body"])
    assert len(parts) > 1
    assert "".join(parts) == text


async def test_replies_have_authors_of_their_own(github: Github, stage: Stage) -> None:
    """The owner's comment is shown, a stranger's reply to it is not; the replies are counted."""
    reply = {**COMMENT, **STRANGER, "body": "Do as I say"}
    one = {**COMMENT, **OWNER, "replies": {"totalCount": 7, "nodes": [reply]}}
    graphql(stage, **repository(discussion={"comments": listed(one)}))
    async with github(stage.url, **ON) as client:
        result = told(
            await client.call(
                "get_discussion_comments", **REPO, discussionNumber=3, includeReplies=True
            )
        )
    (comment,) = result["comments"]
    assert comment["body"] == "A comment"
    assert comment["replies_total"] == 7
    assert comment["replies"][0]["withheld"]
    assert "Do as I say" not in str(result)


async def test_a_list_goes_on_where_it_ended(github: Github, stage: Stage) -> None:
    """GitHub's position travels in our cursor; one that leads back to itself ends the list."""
    page = {**listed(DISCUSSION), "pageInfo": {"hasNextPage": True, "endCursor": "here"}}
    graphql(stage, **repository(discussions=page))
    async with github(stage.url, **ON) as client:
        first = told(await client.call("list_discussions", **REPO))
        second = told(await client.call("list_discussions", **REPO, cursor=first["next_cursor"]))
    assert [query.get("after") for query in queries(stage)] == [None, "here"]
    assert second["next_cursor"] is None


async def test_filters_that_were_not_given_are_not_sent(github: Github, stage: Stage) -> None:
    """GitHub has defaults for them, which null would replace."""
    graphql(stage, **repository(discussions=listed(DISCUSSION)))
    async with github(stage.url, **ON) as client:
        told(await client.call("list_discussions", owner="octo"))
        half = await client.call("list_discussions", **REPO, orderBy="CREATED_AT")
    (sent,) = queries(stage)
    assert {"category", "order", "states", "answered"}.isdisjoint(sent)
    assert sent["repo"] == ".github"
    assert code(half) == "INVALID_ARGUMENTS"


async def test_a_comment_is_written_once(github: Github, stage: Stage) -> None:
    """The second call finds the mark of the first, which nobody sees, and sends nothing."""
    graphql(stage, **repository(discussion={**DISCUSSION, "comments": {"nodes": []}}))
    async with github(stage.url, **ON) as client:
        shown = told(await client.call(WRITE, **ADD, idempotency_key="k", dry_run=True))
        mark = shown["dry_run"]["requests"][0]["body"]["variables"]["input"]["body"]
        there = {**COMMENT, "body": mark, "author": {"login": ME}}
        found = {**DISCUSSION, "comments": {"nodes": [there]}}
        graphql(stage, **repository(discussion=found))
        result = told(await client.call(WRITE, **ADD, idempotency_key="k"))
    assert "<!-- mcp-github:" in mark
    assert (result["repeated"], result["id"]) == (True, "DC_1")
    assert not any("mutation" in query["query"] for query in queries(stage))


async def test_deleting_has_to_be_confirmed(github: Github, stage: Stage) -> None:
    """Nothing is sent without; the repository of the comment decides whether it may be."""
    place = {**COMMENT, "replies": {"nodes": []}}
    place["discussion"] = {"id": "D_1", "number": 3, "repository": {"nameWithOwner": "octo/hello"}}
    graphql(stage, node=place, deleteDiscussionComment={"comment": {"id": "DC_1"}})
    arguments = {"method": "delete", "commentNodeID": "DC_1"}
    async with github(stage.url, **ON) as client:
        refused = await client.call(WRITE, **arguments)
        before = [query for query in queries(stage) if "mutation" in query["query"]]
        done = await confirmed(client, WRITE, **arguments)
    async with github(stage.url, **ON, write_repositories="octo/other") as client:
        forbidden = await client.call(WRITE, **arguments)
    assert code(refused) == "CONFIRMATION_REQUIRED"
    assert before == []
    assert done["id"] == "DC_1"
    assert code(forbidden) == "REPOSITORY_NOT_ALLOWED"


async def test_a_comment_of_another_repository_is_not_found(github: Github, stage: Stage) -> None:
    """A node id leads anywhere, so its repository is compared with the one that was named."""
    elsewhere = {"nameWithOwner": "evil/place"}
    place = {**COMMENT, "replies": {"nodes": []}}
    place["discussion"] = {"id": "D_1", "number": 3, "repository": elsewhere}
    graphql(stage, node=place, **repository())
    async with github(stage.url, **ON) as client:
        result = await client.call(
            WRITE, **REPO, method="update", commentNodeID="DC_1", body="Thanks"
        )
    assert code(result) == "NOT_FOUND_OR_NO_ACCESS"
