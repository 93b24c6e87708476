"""Pull requests, their diffs, checks and reviews, read and written through the public door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.testing import Client
from services.github import diffs
from tests.services.github.conftest import Github
from tests.services.github.doubles.graphql import Graphql
from tests.services.github.doubles.loopback import Answer, Asked, json_answer
from tests.services.github.further import code, told
from tests.services.github.stage import (
    ME,
    REPO,
    SHA,
    STRANGER,
    Stage,
    comment,
    issue,
    paged,
    person,
    pull,
    staged,
)

PULLS = "/repos/octo/hello/pulls"
COMMIT = f"/repos/octo/hello/commits/{SHA}"
ONE = {**REPO, "pullNumber": 1}
WRITING = {"write": "pulls", "write_interval_s": 0}
THREAD = {
    "id": "PRRT_1",
    "isResolved": False,
    "isOutdated": False,
    "path": "a.py",
    "line": 3,
    "startLine": None,
    "diffSide": "RIGHT",
    "subjectType": "LINE",
}


def lines_of(name: str, count: int) -> str:
    """Return the diff of a new file."""
    added = "".join(f"+line {number} of {name}\n" for number in range(1, count + 1))
    return (
        f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n"
        f"@@ -0,0 +1,{count} @@\n{added}"
    )


DIFF = lines_of("src/a.py", 30) + lines_of("uv.lock", 40) + lines_of("docs/b.md", 30)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a GitHub that this test fills."""
    with staged() as found:
        yield found


@pytest.fixture
def queries(stage: Stage, graphql_double: Graphql) -> Graphql:
    """Give its GraphQL; the test fails when a query does not fit GitHub's schema."""
    stage.on("POST", "/graphql", graphql_double.answer)
    return graphql_double


def with_diff(stage: Stage, text: str, **more: Any) -> None:
    """Have pull request 1, with a diff."""

    def answer(asked: Asked) -> Any:
        if "diff" in asked.headers["accept"]:
            return Answer(200, text.encode(), {"Content-Type": "application/vnd.github.diff"})
        return pull(1, **more)

    stage.on("GET", f"{PULLS}/1", answer)


async def read(client: Client, method: str, **more: Any) -> dict[str, Any]:
    """Read pull request 1."""
    return told(await client.call("pull_request_read", **ONE, method=method, **more))


# --- lists ---------------------------------------------------------------------------------------


async def test_a_branch_without_its_owner_is_looked_for_in_the_repository(
    stage: Stage, github: Github
) -> None:
    """GitHub passes over a head without a colon, and lists everything."""
    stage.on("GET", PULLS, paged([pull(1), pull(2, **STRANGER)]))
    async with github(stage.url) as client:
        page = told(await client.call("list_pull_requests", **REPO, head="topic"))
        await client.call("list_pull_requests", **REPO, head="fork:topic", state="all")
        wrong = await client.call("list_pull_requests", **REPO, base="a..b")
    assert [query["head"] for query in stage.queries(PULLS)] == ["octo:topic", "fork:topic"]
    mine, theirs = page["items"]
    assert (mine["title"], mine["head"]["ref"]) == ("Issue 1", "topic")
    assert (theirs["number"], theirs["withheld"]) == (2, True)
    assert theirs["head"]["ref"] != "topic"  # its author named the branch
    assert code(wrong) == "BAD_NAME"


async def test_a_pull_request_is_read_whole_and_says_when_github_is_not_ready(
    stage: Stage, github: Github
) -> None:
    """GitHub works out in the background whether it can be merged."""
    stage.on("GET", f"{PULLS}/1", pull(1, mergeable=None, body="b" * 9_000, additions=3))
    async with github(stage.url) as client:
        page = await read(client, "get")
    assert page["pull_request"]["body"] == "b" * 9_000
    assert page["pull_request"]["additions"] == 3
    assert "still working" in page["warnings"][0]


# --- diffs ---------------------------------------------------------------------------------------


async def test_pages_of_a_diff_joined_are_the_diff(stage: Stage, github: Github) -> None:
    """Paths ask for lock files too; every page says which files it has and where it goes on."""
    whole = "".join(lines_of(name, 200) for name in ("src/a.py", "uv.lock", "docs/b.md"))
    with_diff(stage, whole)
    texts, files, cursor = [], [], None
    async with github(stage.url, answer_bytes=4_096) as client:
        while True:
            page = await read(client, "get_diff", paths=["**"], cursor=cursor)
            assert len(str(page["diff"])) < 4_096
            texts.append(page["diff"])
            files += [(file["filename"], file.get("new_line")) for file in page["files"]]
            assert page["total"] == 3
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert "".join(texts) == whole
    assert len(texts) > 3
    assert {name for name, _ in files} == {"src/a.py", "uv.lock", "docs/b.md"}


async def test_lock_files_are_folded_and_told(stage: Stage, github: Github) -> None:
    """Forty lines of a lock file cost a header; nobody overlooks that it changed."""
    with_diff(stage, DIFF)
    async with github(stage.url) as client:
        page = await read(client, "get_diff")
        chosen = await read(client, "get_diff", paths=["uv.lock"], line_numbers=True)
        none = await read(client, "get_diff", paths=["nowhere/**"])
    folded = next(file for file in page["files"] if file["filename"] == "uv.lock")
    assert (folded["folded"], folded["additions"]) == ("lock file", 40)
    assert "of uv.lock" not in page["diff"]
    assert "of docs/b.md" in page["diff"]
    assert page["truncated"] is False
    assert "          7 +line 7 of uv.lock\n" in chosen["diff"]
    assert (none["diff"], none["returned"]) == ("", 0)
    assert "No changed file" in none["warnings"][0]


async def test_the_next_page_is_never_of_another_diff(stage: Stage, github: Github) -> None:
    """A push between two pages would join halves that do not fit."""
    with_diff(stage, lines_of("a", 500))
    async with github(stage.url, answer_bytes=4_096) as client:
        first = await read(client, "get_diff")
        with_diff(stage, lines_of("a", 501))
        result = await client.call(
            "pull_request_read", **ONE, method="get_diff", cursor=first["next_cursor"]
        )
    assert code(result) == "CONFLICT"


async def test_a_diff_that_is_too_large_is_put_together_from_its_files(
    stage: Stage, github: Github
) -> None:
    """GitHub answers 406 beyond 20,000 lines or 300 files."""
    errors = [{"resource": "PullRequest", "field": "diff", "code": "too_large"}]
    too_large = {
        "message": "Sorry, the diff exceeded the maximum number of lines",
        "errors": errors,
    }

    def answer(asked: Asked) -> Any:
        if "diff" in asked.headers["accept"]:
            return json_answer(too_large, 406)
        return pull(1, changed_files=150)

    files = [
        {"filename": f"f{n}", "status": "modified", "additions": 1, "deletions": 1, "patch": patch}
        for n, patch in enumerate(["@@ -1 +1 @@\n-a\n+b"] * 149)
    ]
    files.append({"filename": "big", "status": "modified", "additions": 9_000, "deletions": 0})
    stage.on("GET", f"{PULLS}/1", answer)
    stage.on("GET", f"{PULLS}/1/files", paged(files))
    async with github(stage.url) as client:
        page = await read(client, "get_diff")
    assert page["diff"].startswith(
        "diff --git a/f0 b/f0\n--- a/f0\n+++ b/f0\n@@ -1 +1 @@\n-a\n+b\n"
    )
    assert (page["total"], page["files"][-1]["problem"]) == (150, "too large")
    assert "put together" in page["warnings"][0]


async def test_hidden_characters_of_a_diff_are_left_out_and_counted(
    stage: Stage, github: Github
) -> None:
    """Bidirectional controls make code look other than it is (CVE-2021-42574)."""
    with_diff(stage, lines_of("a", 1).replace("line", "li\u202ene"))
    async with github(stage.url) as client:
        page = await read(client, "get_diff")
    assert "+line 1 of a\n" in page["diff"]
    assert page["warnings"] == ["1 characters of the changes that nobody would see are left out."]


@pytest.mark.parametrize("method", ["get_diff", "get_files", "get_commits"])
async def test_what_a_stranger_changes_is_withheld(
    stage: Stage, github: Github, method: str
) -> None:
    """Code, names of files and messages of commits are text as much as a comment is."""
    with_diff(stage, DIFF, **STRANGER)
    async with github(stage.url) as client:
        result = await client.call("pull_request_read", **ONE, method=method)
        listed = await read(client, "get")
    assert code(result) == "LOCKED_DOWN"
    assert result.error is not None
    assert result.error["author"] == "mallory"
    assert listed["pull_request"]["withheld"] is True
    assert not any("diff" in one.headers["accept"] for one in stage.asked)


async def test_a_strangers_diff_is_shown_and_labelled_without_lockdown(
    stage: Stage, github: Github
) -> None:
    """The result says once that it holds such text."""
    with_diff(stage, DIFF, **STRANGER)
    async with github(stage.url, lockdown="off") as client:
        page = await read(client, "get_diff")
    assert page["untrusted"] is True
    assert "of docs/b.md" in page["diff"]


async def test_files_are_told_with_the_beginning_of_their_patches(
    stage: Stage, github: Github
) -> None:
    """What is cut says what shows the rest."""
    patch = "@@ -0,0 +1,900 @@\n" + "+x\n" * 900
    told_file = {"filename": "a", "status": "added", "additions": 900, "deletions": 0}
    stage.on("GET", f"{PULLS}/1", pull(1, changed_files=1))
    stage.on("GET", f"{PULLS}/1/files", [{**told_file, "patch": patch}])
    async with github(stage.url, body_chars=500) as client:
        page = await read(client, "get_files")
    (file,) = page["files"]
    assert (file["status"], file["additions"], page["total"]) == ("added", 900, 1)
    assert "get_diff with paths shows all" in file["patch"]


async def test_commits_are_told_with_who_made_them(stage: Stage, github: Github) -> None:
    """The trust is that of who opened the pull request: they brought the commits."""
    made = {
        "sha": SHA,
        "html_url": f"https://github.com/octo/hello/commit/{SHA}",
        "author": person("helper"),
        "commit": {"message": "Fix it", "author": {"date": "2026-01-02T03:04:05Z"}},
    }
    stage.on("GET", f"{PULLS}/1", pull(1))
    stage.on("GET", f"{PULLS}/1/commits", [made])
    async with github(stage.url) as client:
        page = await read(client, "get_commits")
    (commit,) = page["items"]
    assert (commit["author"], commit["message"], commit["trust"]) == ("helper", "Fix it", "trusted")


# --- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "state"),
    [
        ([("completed", "success"), ("completed", "skipped")], "success"),
        ([("completed", "success"), ("in_progress", None)], "pending"),
        ([("completed", "failure"), ("queued", None)], "failure"),
        ([], "pending"),
    ],
)
async def test_check_runs_say_together_how_it_stands(
    stage: Stage, github: Github, runs: list[tuple[str, str | None]], state: str
) -> None:
    """One failure is enough; a run that has not ended leaves it open."""
    told_runs = [
        {"id": n, "name": f"job {n}", "status": status, "conclusion": conclusion}
        for n, (status, conclusion) in enumerate(runs)
    ]
    stage.on("GET", f"{PULLS}/1", pull(1))
    stage.on("GET", f"{COMMIT}/check-runs", {"total_count": len(runs), "check_runs": told_runs})
    async with github(stage.url) as client:
        page = await read(client, "get_check_runs")
    assert (page["sha"], page["state"], page["total"]) == (SHA, state, len(runs))


async def test_statuses_are_those_of_the_newest_commit(stage: Stage, github: Github) -> None:
    """The older API beside check runs."""
    one = {"context": "ci/build", "state": "failure", "description": "It broke"}
    stage.on("GET", f"{PULLS}/1", pull(1))
    stage.on("GET", f"{COMMIT}/status", {"state": "failure", "total_count": 1, "statuses": [one]})
    async with github(stage.url) as client:
        page = await read(client, "get_status")
    assert page["state"] == "failure"
    assert page["items"] == [{"name": "ci/build", "state": "failure", "description": "It broke"}]


# --- reviews -------------------------------------------------------------------------------------


def said(number: int, author: str, association: str) -> dict[str, Any]:
    """Return a review comment of GraphQL."""
    return {
        "databaseId": number,
        "url": f"https://github.com/octo/hello/pull/1#discussion_r{number}",
        "body": f"Comment {number}",
        "createdAt": "2026-01-02T03:04:05Z",
        "updatedAt": "2026-01-02T03:04:05Z",
        "authorAssociation": association,
        "author": {"__typename": "User", "login": author},
    }


async def test_threads_come_with_their_comments_and_whether_they_are_resolved(
    stage: Stage, github: Github, queries: Graphql
) -> None:
    """A stranger's comment is withheld within a thread that is shown."""
    comments = [said(1, "octo", "OWNER"), said(2, "mallory", "NONE")]
    listed = {
        "totalCount": 3,
        "pageInfo": {"hasNextPage": True, "endCursor": "Y3Vyc29y"},
        "nodes": [{**THREAD, "comments": {"totalCount": 60, "nodes": comments}}],
    }
    queries.data = {"repository": {"pullRequest": {"reviewThreads": listed}}}
    async with github(stage.url) as client:
        page = await read(client, "get_review_comments", perPage=1)
        await read(client, "get_review_comments", perPage=1, after=page["next_cursor"])
    (thread,) = page["items"]
    assert (thread["id"], thread["is_resolved"], thread["line"]) == ("PRRT_1", False, 3)
    assert (thread["comments_left_out"], page["total"]) == (58, 3)
    mine, theirs = thread["comments"]
    assert (mine["body"], theirs["withheld"]) == ("Comment 1", True)
    assert [one["variables"]["after"] for one in queries.requests] == [None, "Y3Vyc29y"]


async def test_threads_are_read_without_a_credential_too(stage: Stage, github: Github) -> None:
    """REST has the comments; only whether a thread is resolved is not told."""
    place = {"path": "a.py", "line": 3, "side": "RIGHT", "subject_type": "line"}
    comments = [
        {**comment(1), **place},
        {**comment(2), **place, "line": None},
        {**comment(3), **place, "in_reply_to_id": 1},
    ]
    stage.on("GET", f"{PULLS}/1/comments", paged(comments))
    async with github(stage.url, token=None) as client:
        page = await read(client, "get_review_comments")
    first, second = page["items"]
    assert [one["id"] for one in first["comments"]] == [1, 3]
    assert "is_resolved" not in first
    assert second["is_outdated"] is True
    assert "only to a credential" in page["warnings"][0]


async def test_reviews_and_comments_are_told_with_their_authors(
    stage: Stage, github: Github
) -> None:
    """Strangers' ones are listed without their text."""
    told_review = {"id": 5, "state": "APPROVED", "html_url": "https://github.com/r", "body": "Fine"}
    stage.on("GET", f"{PULLS}/1/reviews", [{**told_review, **STRANGER}])
    stage.on("GET", "/repos/octo/hello/issues/1/comments", [comment(7)])
    async with github(stage.url) as client:
        (review,) = (await read(client, "get_reviews"))["items"]
        (remark,) = (await read(client, "get_comments"))["items"]
    assert (review["state"], review["withheld"]) == ("APPROVED", True)
    assert "Fine" not in str(review)
    assert remark["body"] == "Comment 7"


# --- writing -------------------------------------------------------------------------------------


async def test_a_merge_is_of_the_commit_that_was_shown(stage: Stage, github: Github) -> None:
    """Who pushes between the dry run and the yes does not get their commit merged."""
    stage.on("GET", f"{PULLS}/1", pull(1))
    stage.on("PUT", f"{PULLS}/1/merge", {"sha": "1" * 40, "merged": True})
    async with github(stage.url, **WRITING) as client:
        unconfirmed = await client.call("merge_pull_request", **ONE)
        tried = told(await client.call("merge_pull_request", **ONE, dry_run=True))
        confirm = tried["dry_run"]["confirm"]
        moved = pull(1, head={"ref": "topic", "sha": "2" * 40, "repo": None})
        stage.on("GET", f"{PULLS}/1", moved)
        late = await client.call("merge_pull_request", **ONE, confirm=confirm)
        assert stage.sent("PUT") == []
        done = told(
            await client.call("merge_pull_request", **ONE, expectedHeadSha=SHA, confirm=confirm)
        )
    assert code(unconfirmed) == "CONFIRMATION_REQUIRED"
    assert tried["dry_run"]["requests"][0]["body"] == {"sha": SHA}
    assert code(late) == "BAD_CONFIRMATION"
    assert stage.sent("PUT") == [(f"{PULLS}/1/merge", {"sha": SHA})]
    assert done["sha"] == "1" * 40


async def test_a_pull_request_is_opened_once_and_its_reviewers_are_requested(
    stage: Stage, github: Github
) -> None:
    """Teams are written ORG/slug, as by the official server."""
    made: list[dict[str, Any]] = []

    def create(asked: Asked) -> Any:
        sent = {k: v for k, v in asked.json().items() if k in ("title", "body")}
        made.append(pull(9, user=person(ME), created_at="2999-01-01T00:00:00Z", **sent))
        return json_answer(made[-1], 201)

    stage.on("GET", PULLS, lambda asked: list(made))
    stage.on("POST", PULLS, create)
    stage.on("POST", f"{PULLS}/9/requested_reviewers", pull(9))
    wanted = {**REPO, "title": "T", "body": "B", "head": "topic", "base": "main"}
    reviewers = ["hubot", "octo-org/justice-league"]
    for repeated in (False, True):
        async with github(stage.url, **WRITING) as client:
            done = told(await client.call("create_pull_request", **wanted, reviewers=reviewers))
        assert (done["number"], done["repeated"], done["warnings"]) == (9, repeated, [])
    assert stage.sent("POST")[1:] == [
        (
            f"{PULLS}/9/requested_reviewers",
            {"reviewers": ["hubot"], "team_reviewers": ["justice-league"]},
        )
    ]
    assert stage.queries(PULLS)[0]["head"] == "octo:topic"


async def test_a_pull_request_that_stands_is_told_when_its_reviewers_are_refused(
    stage: Stage, github: Github
) -> None:
    """Else it would be opened again."""
    stage.on("GET", PULLS, [])
    stage.on("POST", PULLS, lambda asked: json_answer(pull(9), 201))
    wanted = {**REPO, "title": "T", "head": "topic", "base": "main", "reviewers": ["nobody"]}
    async with github(stage.url, **WRITING) as client:
        done = told(await client.call("create_pull_request", **wanted))
    assert done["number"] == 9
    assert "in part only" in done["warnings"][0]


async def test_an_update_shows_and_sends_everything_that_changes(
    stage: Stage, github: Github, queries: Graphql
) -> None:
    """Text by REST, reviewers beside it, and draft by GraphQL, which alone can."""
    stage.on("GET", f"{PULLS}/1", pull(1))
    stage.on("PATCH", f"{PULLS}/1", pull(1))
    stage.on("POST", f"{PULLS}/1/requested_reviewers", pull(1))
    queries.data = {"convertPullRequestToDraft": {"pullRequest": {"number": 1, "isDraft": True}}}
    change = {**ONE, "title": "T", "draft": True, "reviewers": ["hubot"]}
    async with github(stage.url, **WRITING) as client:
        tried = told(await client.call("update_pull_request", **change, dry_run=True))
        assert stage.sent("PATCH") == []
        told(await client.call("update_pull_request", **change))
        nothing = await client.call("update_pull_request", **ONE)
    urls = [request["url"].removeprefix(stage.url) for request in tried["dry_run"]["requests"]]
    assert urls == [f"{PULLS}/1", f"{PULLS}/1/requested_reviewers", "/graphql"]
    assert stage.sent("PATCH") == [(f"{PULLS}/1", {"title": "T"})]
    (asked,) = queries.requests
    assert asked["variables"] == {"input": {"pullRequestId": "PR_1"}}
    assert code(nothing) == "INVALID_ARGUMENTS"


PENDING = {
    "id": 5,
    "node_id": "PRR_5",
    "state": "PENDING",
    "html_url": "https://github.com/octo/hello/pull/1#pullrequestreview-5",
    "user": person(ME),
    "body": "",
}


async def test_a_pending_review_is_found_submitted_and_deleted(
    stage: Stage, github: Github
) -> None:
    """Its comments are lost with it, so deleting wants a yes."""
    others = [{**PENDING, "id": n, "state": "COMMENTED"} for n in range(100, 240)]
    stage.on("GET", f"{PULLS}/1/reviews", paged([*others, PENDING]))
    stage.on("POST", f"{PULLS}/1/reviews/5/events", {**PENDING, "state": "APPROVED"})
    stage.on("DELETE", f"{PULLS}/1/reviews/5", PENDING)
    review = {**ONE, "method": "submit_pending", "event": "APPROVE", "body": "Fine."}
    delete = {**ONE, "method": "delete_pending"}
    async with github(stage.url, **WRITING) as client:
        done = told(await client.call("pull_request_review_write", **review))
        refused = await client.call("pull_request_review_write", **delete)
        tried = told(await client.call("pull_request_review_write", **delete, dry_run=True))
        confirm = tried["dry_run"]["confirm"]
        told(await client.call("pull_request_review_write", **delete, confirm=confirm))
    assert done["state"] == "APPROVED"
    assert stage.sent("POST") == [
        (f"{PULLS}/1/reviews/5/events", {"body": "Fine.", "event": "APPROVE"})
    ]
    assert code(refused) == "CONFIRMATION_REQUIRED"
    assert [path for path, _ in stage.sent("DELETE")] == [f"{PULLS}/1/reviews/5"]


async def test_a_comment_goes_into_the_pending_review_with_a_mark(
    stage: Stage, github: Github, queries: Graphql
) -> None:
    """A line that the diff does not have is answered with where to find the right ones."""
    stage.on("GET", f"{PULLS}/1/reviews", [PENDING])
    stage.on("GET", f"{PULLS}/1/reviews/5/comments", [])
    queries.data = {"addPullRequestReviewThread": {"thread": THREAD}}
    wanted = {**ONE, "path": "a.py", "body": "Why?", "subjectType": "LINE", "line": 3}
    async with github(stage.url, **WRITING) as client:
        done = told(await client.call("add_comment_to_pending_review", **wanted))
        queries.data = {"addPullRequestReviewThread": {"thread": None}}
        nowhere = await client.call("add_comment_to_pending_review", **{**wanted, "line": 900})
        outside = await client.call("add_comment_to_pending_review", **{**wanted, "path": "../a"})
        no_line = {k: v for k, v in wanted.items() if k != "line"}
        missing = await client.call("add_comment_to_pending_review", **no_line)
    sent = queries.requests[0]["variables"]["input"]
    assert (sent["pullRequestReviewId"], sent["line"]) == ("PRR_5", 3)
    assert sent["body"].startswith("Why?\n\n<!-- mcp-github:")
    assert done["node_id"] == "PRRT_1"
    assert code(nowhere) == "VALIDATION_FAILED"
    assert code(outside) == "BAD_NAME"
    assert code(missing) == "INVALID_ARGUMENTS"


async def test_without_a_pending_review_it_is_said_how_to_begin_one(
    stage: Stage, github: Github
) -> None:
    """Nobody sees the pending reviews of others."""
    stage.on("GET", f"{PULLS}/1/reviews", [{**PENDING, "state": "COMMENTED"}])
    wanted = {**ONE, "path": "a.py", "body": "Why?", "subjectType": "FILE"}
    async with github(stage.url, **WRITING) as client:
        result = await client.call("add_comment_to_pending_review", **wanted)
    assert result.error is not None
    assert "method=create" in result.error["hint"]


async def test_a_thread_is_resolved_in_the_repository_that_was_named_only(
    stage: Stage, github: Github, queries: Graphql
) -> None:
    """Its id says nothing of where it is, and the operator's lists hold for repositories."""
    done = {"thread": {"id": "PRRT_1", "isResolved": True}}
    node = {"__typename": "PullRequestReviewThread", "repository": {"id": "R_other"}}
    queries.data = {"repository": {"id": "R_1"}, "node": node, "resolveReviewThread": done}
    wanted = {**ONE, "method": "resolve_thread", "threadId": "PRRT_1"}
    async with github(stage.url, **WRITING) as client:
        elsewhere = await client.call("pull_request_review_write", **wanted)
        assert all(one["query"].startswith("query") for one in queries.requests)
        queries.data["node"] = {**node, "repository": {"id": "R_1"}}
        resolved = told(await client.call("pull_request_review_write", **wanted))
        hostile = await client.call(
            "pull_request_review_write", **{**wanted, "threadId": 'x"){id}'}
        )
    assert code(elsewhere) == "NOT_FOUND_OR_NO_ACCESS"
    assert resolved["state"] == "resolved"
    assert code(hostile) == "BAD_NAME"


async def test_a_reply_is_made_once_and_a_reaction_beside_it(stage: Stage, github: Github) -> None:
    """A dry run shows both requests."""
    replies: list[dict[str, Any]] = []

    def create(asked: Asked) -> Any:
        body = asked.json()["body"]
        replies.append(comment(8, body=body, user=person(ME), created_at="2999-01-01T00:00:00Z"))
        return json_answer(replies[-1], 201)

    stage.on("GET", f"{PULLS}/1/comments", lambda asked: list(replies))
    stage.on("POST", f"{PULLS}/1/comments/7/replies", create)
    stage.on("POST", f"{PULLS}/comments/7/reactions", {"id": 1, "content": "eyes"})
    wanted = {**ONE, "commentId": 7, "body": "Because.", "reaction": "eyes"}
    async with github(stage.url, **WRITING) as client:
        tried = told(await client.call("add_reply_to_pull_request_comment", **wanted, dry_run=True))
        assert len(tried["dry_run"]["requests"]) == 2
        assert stage.sent("POST") == []
    for repeated in (False, True):
        async with github(stage.url, **WRITING) as client:
            done = told(await client.call("add_reply_to_pull_request_comment", **wanted))
        assert (done["id"], done["repeated"]) == (8, repeated)
    assert len(replies) == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("create_pull_request", {"title": "T", "head": "a..b", "base": "main"}, "BAD_NAME"),
        ("create_pull_request", {"title": "T", "head": "a/b:c", "base": "main"}, "BAD_NAME"),
        ("request_pull_request_reviewers", {**ONE, "reviewers": ["org/../x"]}, "BAD_NAME"),
        ("request_pull_request_reviewers", {**ONE, "reviewers": []}, "INVALID_ARGUMENTS"),
        ("merge_pull_request", {**ONE, "expectedHeadSha": "abc"}, "BAD_NAME"),
        ("pull_request_review_write", {**ONE, "method": "resolve_thread"}, "INVALID_ARGUMENTS"),
        ("pull_request_review_write", {**ONE, "method": "submit_pending"}, "INVALID_ARGUMENTS"),
        (
            "pull_request_review_write",
            {**ONE, "method": "create", "event": "COMMENT"},
            "INVALID_ARGUMENTS",
        ),
        ("add_reply_to_pull_request_comment", {"commentId": 1, "body": "B"}, "INVALID_ARGUMENTS"),
    ],
)
async def test_writes_that_cannot_be_are_refused_before_anything_is_asked(
    stage: Stage, github: Github, tool: str, arguments: dict[str, Any], expected: str
) -> None:
    """Names go into URLs and bodies as they were checked."""
    async with github(stage.url, **WRITING) as client:
        result = await client.call(tool, **{**REPO, **arguments})
    assert code(result) == expected
    assert stage.asked == []


async def test_a_file_that_is_no_diff_is_told_as_it_came(stage: Stage, github: Github) -> None:
    """What is not understood is header text of no file, and lost nowhere."""
    text = "what is this?\n" + DIFF
    with_diff(stage, text)
    async with github(stage.url) as client:
        page = await read(client, "get_diff", paths=[])
    assert page["diff"].startswith("what is this?\n")
    assert diffs.parse(text)[0].path == ""


async def test_an_issue_of_that_number_is_no_pull_request(stage: Stage, github: Github) -> None:
    """Issues and pull requests share their numbers."""
    stage.on("GET", "/repos/octo/hello/issues/1", issue(1))
    async with github(stage.url) as client:
        result = await client.call("pull_request_read", **ONE, method="get")
    assert code(result) == "NOT_FOUND_OR_NO_ACCESS"
