"""Calls of the toolset discussions."""

from __future__ import annotations

from typing import Any

from tests.services.github.calls import REPO, Row

COMMENT: dict[str, Any] = {
    "id": "DC_1",
    "url": "https://github.com/octocat/Hello-World/discussions/3#discussioncomment-1",
    "body": "A comment",
    "isAnswer": False,
    "isMinimized": False,
    "minimizedReason": None,
    "createdAt": "2026-01-02T03:04:05Z",
    "upvoteCount": 0,
    "author": {"__typename": "User", "login": "octocat"},
    "authorAssociation": "OWNER",
}
DISCUSSION: dict[str, Any] = {
    "id": "D_1",
    "number": 3,
    "title": "A discussion",
    "url": "https://github.com/octocat/Hello-World/discussions/3",
    "body": "A text",
    "closed": False,
    "locked": False,
    "isAnswered": False,
    "upvoteCount": 1,
    "createdAt": "2026-01-02T03:04:05Z",
    "updatedAt": "2026-01-02T03:04:05Z",
    "category": {"name": "Q&A"},
    "answer": None,
    "author": {"__typename": "User", "login": "octocat"},
    "authorAssociation": "OWNER",
    "repository": {"nameWithOwner": "octocat/Hello-World"},
    "comments": {
        "totalCount": 1,
        "pageInfo": {"hasNextPage": False, "endCursor": None},
        "nodes": [{**COMMENT, "replies": {"totalCount": 1, "nodes": [COMMENT]}}],
    },
}
CATEGORY: dict[str, Any] = {
    "id": "DIC_1",
    "name": "Q&A",
    "slug": "q-a",
    "description": None,
    "isAnswerable": True,
}


def listed(node: dict[str, Any]) -> dict[str, Any]:
    """Return a list of one."""
    return {
        "totalCount": 1,
        "pageInfo": {"hasNextPage": False, "endCursor": None},
        "nodes": [node],
    }


DATA: dict[str, Any] = {
    "repository": {
        "nameWithOwner": "octocat/Hello-World",
        "discussion": DISCUSSION,
        "discussions": listed(DISCUSSION),
        "discussionCategories": listed(CATEGORY),
    },
    "node": {
        **COMMENT,
        "__typename": "DiscussionComment",
        "replies": listed(COMMENT),
        "discussion": DISCUSSION,
    },
    "addDiscussionComment": {"comment": COMMENT},
    "updateDiscussionComment": {"comment": COMMENT},
    "deleteDiscussionComment": {"comment": COMMENT},
    "markDiscussionCommentAsAnswer": {"discussion": DISCUSSION},
    "unmarkDiscussionCommentAsAnswer": {"discussion": DISCUSSION},
}


def row(tool: str, **arguments: Any) -> Row:
    """Return a call that is answered from `DATA`; deleting has to be confirmed."""
    return Row(
        tool=tool,
        arguments=arguments,
        graphql=DATA,
        operations=("graphql",),
        confirmed=arguments.get("method") == "delete",
    )


WRITE = "discussion_comment_write"
ROWS = [
    row("list_discussions", **REPO),
    row(
        "list_discussions",
        owner="octo-org",
        category="DIC_1",
        orderBy="UPDATED_AT",
        direction="DESC",
        state="OPEN",
        answered=False,
        after="Y3Vyc29y",
        perPage=5,
    ),
    row("get_discussion", **REPO, discussionNumber=3),
    row("get_discussion_comments", **REPO, discussionNumber=3),
    row("get_discussion_comments", **REPO, discussionNumber=3, includeReplies=True),
    row("list_discussion_categories", **REPO),
    row(WRITE, method="add", **REPO, discussionNumber=3, body="Thanks"),
    row(WRITE, method="reply", **REPO, discussionNumber=3, commentNodeID="DC_1", body="Thanks"),
    row(WRITE, method="update", commentNodeID="DC_1", body="Thanks"),
    row(WRITE, method="delete", commentNodeID="DC_1"),
    row(WRITE, method="mark_answer", **REPO, commentNodeID="DC_1"),
    row(WRITE, method="unmark_answer", commentNodeID="DC_1"),
]
