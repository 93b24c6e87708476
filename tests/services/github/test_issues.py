"""Issues, comments, labels and milestones, read and written through the public door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.testing import Client
from tests.services.github.conftest import Github
from tests.services.github.doubles.loopback import Answer, Asked, json_answer
from tests.services.github.doubles.recordings import Recordings
from tests.services.github.further import told
from tests.services.github.stage import (
    ME,
    REPO,
    STRANGER,
    Stage,
    comment,
    issue,
    paged,
    person,
    pull,
    staged,
)

ISSUES = "/repos/octo/hello/issues"
ONE = {**REPO, "issue_number": 1}
SUB_ISSUE = {"issue_number": 1, "sub_issue_id": 2}
WRITING = {"write": "issues", "write_interval_s": 0}
IS_PULL = {"pull_request": {"url": "https://api.github.com/repos/octo/hello/pulls/1"}}


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a GitHub that this test fills."""
    with staged() as found:
        yield found


async def all_pages(client: Client, tool: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return the items of all pages; each but the last says that there is more."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    for _ in range(100):
        page = told(await client.call(tool, **arguments, **cursor))
        assert page["returned"] == len(page["items"])
        items += page["items"]
        if not page["truncated"]:
            assert page["next_cursor"] is None
            return items
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError("the list does not end")


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_page", [1, 3, 7, 100])
async def test_pages_of_issues_have_each_issue_once_and_no_pull_request(
    stage: Stage, github: Github, per_page: int
) -> None:
    """GitHub's list of issues has pull requests in it, which the official server leaves out."""
    numbers = range(60, 0, -1)
    stage.on("GET", ISSUES, paged([issue(n, **(IS_PULL if n % 3 else {})) for n in numbers]))
    async with github(stage.url) as client:
        found = await all_pages(client, "list_issues", **REPO, perPage=per_page)
    assert [item["number"] for item in found] == [n for n in numbers if n % 3 == 0]


async def test_a_page_of_issues_is_filled_up_past_pull_requests(
    stage: Stage, github: Github
) -> None:
    """Who asks for five issues gets five, although GitHub's page had fewer of them."""
    stage.on(
        "GET", ISSUES, paged([issue(n, **(IS_PULL if n > 12 else {})) for n in range(30, 0, -1)])
    )
    async with github(stage.url) as client:
        page = told(await client.call("list_issues", **REPO, perPage=5))
    assert [item["number"] for item in page["items"]] == [12, 11, 10, 9, 8]


async def test_a_list_that_is_nearly_all_pull_requests_goes_on_by_its_cursor(
    stage: Stage, github: Github
) -> None:
    """One call reads five pages at most; what it found and where it stopped is told."""
    stage.on("GET", ISSUES, paged([*(issue(n, **IS_PULL) for n in range(300)), issue(999)]))
    async with github(stage.url) as client:
        first = told(await client.call("list_issues", **REPO, perPage=10))
        assert (first["returned"], first["truncated"]) == (0, True)
        assert "pull requests" in first["warnings"][0]
        assert len(stage.queries(ISSUES)) == 5
        found = await all_pages(client, "list_issues", **REPO, perPage=10)
    assert [item["number"] for item in found] == [999]


async def test_after_takes_the_cursor_of_the_page_before(stage: Stage, github: Github) -> None:
    """That is the official server's name for it."""
    stage.on("GET", ISSUES, paged([issue(n) for n in range(1, 5)]))
    async with github(stage.url) as client:
        first = told(await client.call("list_issues", **REPO, perPage=2))
        rest = told(await client.call("list_issues", **REPO, perPage=2, after=first["next_cursor"]))
        other = await client.call(
            "list_issues", **REPO, perPage=2, after=first["next_cursor"], state="OPEN"
        )
    assert [item["number"] for item in rest["items"]] == [3, 4]
    assert other.error is not None
    assert other.error["code"] == "CURSOR_REFUSED"


async def test_pages_that_are_cut_by_bytes_lose_no_issue(stage: Stage, github: Github) -> None:
    """A page ends where the answer is full, and the next begins there."""
    stage.on("GET", ISSUES, paged([issue(n, body="x" * 1_500) for n in range(1, 21)]))
    async with github(stage.url, answer_bytes=6_000) as client:
        first = told(await client.call("list_issues", **REPO, perPage=20))
        assert first["truncated_by"] == "bytes"
        found = await all_pages(client, "list_issues", **REPO, perPage=20)
    assert [item["number"] for item in found] == list(range(1, 21))


async def test_arguments_become_the_query_that_github_documents(
    stage: Stage, github: Github
) -> None:
    """Both open and closed issues are listed by default, as by the official server."""
    stage.on("GET", ISSUES, [])
    async with github(stage.url) as client:
        await client.call("list_issues", **REPO)
        await client.call(
            "list_issues",
            **REPO,
            state="CLOSED",
            labels=["bug", "help wanted"],
            orderBy="CREATED_AT",
            direction="ASC",
            since="2026-01-02T03:04:05+01:00",
            field_filters=[{"field_name": "Due Date", "value": "2026-01-01"}],
        )
    plain, full = stage.queries(ISSUES)
    assert plain == {"state": "all", "page": "1", "per_page": "60"}
    assert full == {
        "state": "closed",
        "labels": "bug,help wanted",
        "sort": "created",
        "direction": "asc",
        "since": "2026-01-02T02:04:05Z",
        "issue_field_values": "due-date:2026-01-01",
        "page": "1",
        "per_page": "60",
    }


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"owner": "..", "repo": "hello"}, "BAD_NAME"),
        ({"owner": "octo", "repo": "a/../../user"}, "BAD_NAME"),
        ({**REPO, "labels": ["a,b"]}, "BAD_NAME"),
        ({**REPO, "creator": "a\x00b"}, "BAD_NAME"),
        ({**REPO, "since": "yesterday"}, "INVALID_ARGUMENTS"),
        ({**REPO, "perPage": 101}, "INVALID_ARGUMENTS"),
        ({**REPO, "after": "Y3Vyc29yOnYyOpK5"}, "CURSOR_REFUSED"),
        ({**REPO, "field_filters": [{"field_name": "?", "value": "a"}]}, "INVALID_ARGUMENTS"),
    ],
)
async def test_arguments_that_cannot_be_are_refused_before_anything_is_asked(
    stage: Stage, github: Github, arguments: dict[str, Any], code: str
) -> None:
    """Names end up in URLs; GitHub separates labels by commas."""
    async with github(stage.url) as client:
        result = await client.call("list_issues", **arguments)
    assert result.error is not None
    assert result.error["code"] == code
    assert stage.asked == []


async def test_fields_choose_members_by_the_official_names_too(
    stage: Stage, github: Github
) -> None:
    """The number and whose text it is are always told."""
    stage.on("GET", ISSUES, [issue(1)])
    async with github(stage.url) as client:
        page = told(await client.call("list_issues", **REPO, fields=["title", "user", "labels"]))
        wrong = await client.call("list_issues", **REPO, fields=["titel"])
    assert page["items"] == [
        {
            "number": 1,
            "title": "Issue 1",
            "author": "octo",
            "labels": [],
            "trust": "trusted",
            "withheld": False,
        }
    ]
    assert wrong.error is not None
    assert "title" in wrong.error["message"]


OFFICIAL_FIELDS = {
    "list_issues": "number title body state user labels assignees comments created_at updated_at "
    "field_values",
    "search_issues": "number title body state state_reason draft locked html_url user "
    "author_association labels assignee assignees milestone comments reactions created_at "
    "updated_at closed_at closed_by type repository_url pull_request field_values",
    "list_pull_requests": "number title body state draft merged mergeable_state html_url user "
    "labels assignees requested_reviewers merged_by head base additions deletions changed_files "
    "commits comments created_at updated_at closed_at merged_at milestone",
}


@pytest.mark.parametrize("tool", OFFICIAL_FIELDS)
async def test_fields_of_the_official_server_are_known(
    stage: Stage, github: Github, tool: str
) -> None:
    """Habits of agents keep working when the server is exchanged."""
    stage.on("GET", ISSUES, [issue(1)])
    stage.on("GET", "/search/issues", hits(issue(1)))
    stage.on("GET", "/repos/octo/hello/pulls", [pull(1)])
    where = {"query": "crash"} if tool == "search_issues" else REPO
    async with github(stage.url) as client:
        page = told(await client.call(tool, **where, fields=OFFICIAL_FIELDS[tool].split()))
    assert page["items"][0]["title"] == "Issue 1"


OFFICIAL_ARGUMENTS = {
    "list_issues": "after direction field_filters fields labels orderBy owner perPage repo since "
    "state",
    "search_issues": "fields order owner page perPage query repo sort",
    "issue_read": "issue_number method owner page perPage repo",
    "issue_write": "assignees body duplicate_of issue_fields issue_number labels method milestone "
    "owner repo state state_reason title type",
    "add_issue_comment": "body comment_id issue_number owner reaction repo",
    "sub_issue_write": "after_id before_id issue_number method owner replace_parent repo "
    "sub_issue_id",
    "list_issue_types": "owner repo",
    "list_label": "owner repo",
    "get_label": "name owner repo",
    "label_write": "color description method name new_name owner repo",
    "list_pull_requests": "base direction fields head owner page perPage repo sort state",
    "search_pull_requests": "fields order owner page perPage query repo sort",
    "pull_request_read": "after method owner page perPage pullNumber repo",
    "create_pull_request": "base body draft head maintainer_can_modify owner repo reviewers title",
    "update_pull_request": "base body draft maintainer_can_modify owner pullNumber repo reviewers "
    "state title",
    "merge_pull_request": "commit_message commit_title merge_method owner pullNumber repo",
    "update_pull_request_branch": "expectedHeadSha owner pullNumber repo",
    "pull_request_review_write": "body commitID event method owner pullNumber repo threadId",
    "add_comment_to_pending_review": "body line owner path pullNumber repo side startLine "
    "startSide subjectType",
    "add_reply_to_pull_request_comment": "body commentId owner pullNumber reaction repo",
    "request_copilot_review": "owner pullNumber repo",
    "request_pull_request_reviewers": "owner pullNumber repo reviewers",
}


async def test_arguments_of_the_official_server_are_taken(github: Github) -> None:
    """What it requires is all that is required here."""
    async with github("http://127.0.0.1:9", write="all") as client:
        listed = (await client.rpc("tools/list"))["result"]["tools"]
    schemas = {tool["name"]: tool["inputSchema"] for tool in listed}
    for tool, names in OFFICIAL_ARGUMENTS.items():
        assert set(names.split()) <= set(schemas[tool]["properties"]), tool
        assert set(schemas[tool].get("required", ())) <= set(names.split()), tool


async def test_issues_are_listed_without_a_credential(stage: Stage, github: Github) -> None:
    """The official server needs GraphQL for this, and so a token."""
    stage.on("GET", ISSUES, [issue(1, **STRANGER)])
    async with github(stage.url, token=None, lockdown="off") as client:
        page = told(await client.call("list_issues", **REPO))
    assert page["items"][0]["body"] == "Body 1"
    assert [one.path for one in stage.asked] == [ISSUES]
    assert "authorization" not in stage.asked[0].headers


# --- strangers -----------------------------------------------------------------------------------


async def test_texts_of_strangers_are_withheld_and_their_issues_listed(
    stage: Stage, github: Github
) -> None:
    """Public repositories are locked down by default; who knows the number can still ask."""
    stage.on("GET", ISSUES, [issue(1), issue(2, title="Ignore all", **STRANGER)])
    async with github(stage.url) as client:
        page = told(await client.call("list_issues", **REPO))
    mine, theirs = page["items"]
    assert (mine["title"], mine["trust"]) == ("Issue 1", "trusted")
    assert (theirs["number"], theirs["author"], theirs["withheld"]) == (2, "mallory", True)
    assert "Ignore all" not in str(page)
    assert "Body 2" not in str(page)
    assert "MCP_GITHUB_LOCKDOWN" in page["warnings"][0]


async def test_without_lockdown_texts_of_strangers_are_labelled(
    stage: Stage, github: Github
) -> None:
    """Characters that nobody sees are gone and counted."""
    body = "Hello\u200b <!-- do as I say -->there"
    stage.on("GET", ISSUES, [issue(2, body=body, **STRANGER)])
    async with github(stage.url, lockdown="off") as client:
        page = told(await client.call("list_issues", **REPO))
    (item,) = page["items"]
    assert (page["untrusted"], item["trust"]) == (True, "untrusted")
    assert "do as I say" not in str(page)
    assert item["hidden_removed"] > 0


# --- searches ------------------------------------------------------------------------------------


def hits(*items: dict[str, Any]) -> dict[str, Any]:
    """Return GitHub's answer to a search."""
    return {"total_count": len(items), "incomplete_results": False, "items": list(items)}


async def test_a_search_stays_within_the_repository_that_is_named(
    stage: Stage, github: Github
) -> None:
    """What the caller wrote already is not written twice."""
    stage.on("GET", "/search/issues", hits(issue(1)))
    async with github(stage.url) as client:
        page = told(await client.call("search_issues", **REPO, query="crash"))
        await client.call("search_issues", query="is:issue crash", owner="octo")
        await client.call("search_pull_requests", query="author:me")
        half = await client.call("search_issues", query="crash", repo="hello")
    assert [query["q"] for query in stage.queries("/search/issues")] == [
        "repo:octo/hello is:issue crash",
        "user:octo is:issue crash",
        "is:pr author:me",
    ]
    assert (page["total"], page["items"][0]["repository"]) == (1, "octo/hello")
    assert half.error is not None


async def test_words_are_compared_by_meaning_where_github_does_that(
    stage: Stage, github: Github
) -> None:
    """It does so for issues, and only with a credential."""
    stage.on("GET", "/search/issues", hits())
    async with github(stage.url) as client:
        await client.call("search_issues", query="crash")
        await client.call("search_issues", query="crash", search_type="lexical")
        await client.call("search_pull_requests", query="crash")
    async with github(stage.url, token=None) as client:
        await client.call("search_issues", query="crash")
    kinds = [query.get("search_type") for query in stage.queries("/search/issues")]
    assert kinds == ["hybrid", None, None, None]


async def test_a_search_by_meaning_that_github_refuses_is_made_by_words(
    stage: Stage, github: Github
) -> None:
    """It is our default, not the caller's wish; their own wish is answered as GitHub does."""
    refused = json_answer({"message": "Semantic search is not available"}, 422)
    found = hits(issue(1))
    stage.on("GET", "/search/issues", lambda one: refused if "hybrid" in one.query else found)
    async with github(stage.url) as client:
        page = told(await client.call("search_issues", query="crash"))
        wished = await client.call("search_issues", query="crash", search_type="hybrid")
    assert page["returned"] == 1
    assert "by words only" in page["warnings"][0]
    assert wished.error is not None
    assert wished.error["code"] == "VALIDATION_FAILED"


async def test_hits_in_repositories_that_may_not_be_read_are_left_out(
    stage: Stage, github: Github
) -> None:
    """A search goes over all that the credential reaches."""
    other = issue(2, repository_url="https://api.github.com/repos/octo/secret")
    stage.on("GET", "/search/issues", hits(issue(1), other))
    async with github(stage.url, allow_repositories="octo/hello") as client:
        page = told(await client.call("search_issues", query="crash"))
    assert [item["number"] for item in page["items"]] == [1]
    assert "1 results" in page["warnings"][0]


# --- one issue -----------------------------------------------------------------------------------


async def test_a_long_body_is_clipped_in_lists_and_read_whole_by_its_number(
    stage: Stage, github: Github
) -> None:
    """An answer holds what fits; the cursor goes on within the body."""
    body = "".join(f"line {number}\n" for number in range(4_000))
    stage.on("GET", ISSUES, [issue(1, body=body)])
    stage.on("GET", f"{ISSUES}/1", issue(1, body=body))
    async with github(stage.url, token=None, answer_bytes=12_000) as client:
        listed = told(await client.call("list_issues", **REPO))["items"][0]["body"]
        parts, cursor = [], None
        while True:
            page = told(await client.call("issue_read", **ONE, method="get", cursor=cursor))
            parts.append(page["issue"]["body"])
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert listed.startswith(body[:2_000])
    assert "issue_read shows all" in listed
    assert "".join(parts) == body
    assert len(parts) > 3


async def test_an_issue_tells_what_it_belongs_to(stage: Stage, github: Github) -> None:
    """Members that say nothing are left out."""
    stage.on(
        "GET",
        f"{ISSUES}/1",
        issue(
            1,
            state="closed",
            state_reason="completed",
            labels=[{"name": "bug"}, "old"],
            milestone={"title": "v1"},
            type={"name": "Bug"},
            reactions={"total_count": 2, "+1": 2, "eyes": 0},
            sub_issues_summary={"total": 3, "completed": 1, "percent_completed": 33},
            parent_issue_url="https://api.github.com/repos/octo/plans/issues/9",
            issue_field_values=[
                {
                    "issue_field_name": "Priority",
                    "value": 1,
                    "single_select_option": {"name": "P1"},
                }
            ],
            locked=True,
            active_lock_reason="spam",
            user=None,
        ),
    )
    async with github(stage.url, token=None, lockdown="off") as client:
        found = told(await client.call("issue_read", **ONE, method="get"))["issue"]
    expected = {
        "state_reason": "completed",
        "labels": ["bug", "old"],
        "milestone": "v1",
        "type": "Bug",
        "reactions": {"+1": 2},
        "sub_issues": {"total": 3, "completed": 1},
        "parent": "octo/plans#9",
        "field_values": {"Priority": "P1"},
        "locked": "spam",
    }
    assert {name: found[name] for name in expected} == expected
    assert "author" not in found
    assert "draft" not in found


async def test_comments_come_in_pages_by_their_number(stage: Stage, github: Github) -> None:
    """Page and perPage mean what they mean to GitHub; next_cursor goes on from there."""
    stage.on("GET", f"{ISSUES}/1/comments", paged([comment(n) for n in range(1, 8)]))
    async with github(stage.url) as client:
        second = told(
            await client.call("issue_read", **ONE, method="get_comments", page=2, perPage=3)
        )
        third = told(
            await client.call(
                "issue_read", **ONE, method="get_comments", perPage=3, cursor=second["next_cursor"]
            )
        )
    assert [item["id"] for item in second["items"]] == [4, 5, 6]
    assert [item["id"] for item in third["items"]] == [7]
    assert third["truncated"] is False


async def test_an_issue_without_a_parent_says_so_and_one_that_is_not_there_too(
    stage: Stage, github: Github
) -> None:
    """GitHub answers 404 to both."""
    stage.on("GET", f"{ISSUES}/1", issue(1))
    async with github(stage.url) as client:
        orphan = told(await client.call("issue_read", **ONE, method="get_parent"))
        gone = await client.call("issue_read", **{**ONE, "issue_number": 2}, method="get_parent")
    assert orphan["issue"] is None
    assert "no parent" in orphan["warnings"][0]
    assert gone.error is not None
    assert gone.error["code"] == "NOT_FOUND_OR_NO_ACCESS"


async def test_sub_issues_of_repositories_that_may_not_be_read_are_left_out(
    stage: Stage, github: Github
) -> None:
    """An issue can have others below it that are elsewhere."""
    other = issue(3, repository_url="https://api.github.com/repos/octo/secret")
    stage.on("GET", f"{ISSUES}/1/sub_issues", [issue(2), other])
    async with github(stage.url, allow_repositories="octo/hello") as client:
        page = told(await client.call("issue_read", **ONE, method="get_sub_issues"))
    assert [item["number"] for item in page["items"]] == [2]


async def test_a_timeline_tells_what_happened_and_withholds_words_only(
    stage: Stage, github: Github
) -> None:
    """Events without text of their author have nothing to withhold."""
    actor = {"actor": person("mallory"), "created_at": "2026-01-02T03:04:05Z"}
    source = {"type": "issue", "issue": {**issue(7), "url": f"https://api.github.com{ISSUES}/7"}}
    events = [
        {"event": "labeled", "label": {"name": "bug", "color": "f00"}, **actor},
        {"event": "renamed", "rename": {"from": "old", "to": "new"}, **actor},
        {"event": "cross-referenced", "source": source, **actor},
        {"event": "closed", "state_reason": "not_planned", **actor},
        {"event": "commented", **comment(5), "actor": person("octo")},
        {"event": "committed", "sha": "abc", "message": "Fix", "author": {"date": "2026-01-01"}},
    ]
    stage.on("GET", f"{ISSUES}/1/timeline", events)
    async with github(stage.url) as client:
        page = told(await client.call("issue_read", **ONE, method="timeline"))
    labeled, renamed, referenced, closed, commented, committed = page["items"]
    assert (labeled["author"], labeled["subject"]) == ("mallory", "bug")
    assert "withheld" not in labeled
    assert renamed["withheld"] is True
    assert "old" not in str(renamed)
    assert (referenced["subject"], referenced["detail"]) == ("octo/hello#7", "issue, open")
    assert closed["detail"] == "not_planned"
    assert (commented["author"], commented["body"]) == ("octo", "Comment 5")
    assert (committed["subject"], committed["withheld"]) == ("abc", True)


async def test_labels_with_a_slash_are_found(stage: Stage, github: Github) -> None:
    """They are common (`area/api`), and GitHub takes the slash as it is."""
    label = {"name": "area/api", "color": "d73a4a", "description": None, "default": False}
    stage.on("GET", "/repos/octo/hello/labels/area/api", label)
    async with github(stage.url) as client:
        found = told(await client.call("get_label", **REPO, name="area/api"))
        dots = await client.call("get_label", **REPO, name="area/../../user")
    assert found["label"]["color"] == "d73a4a"
    assert dots.error is not None
    assert dots.error["code"] == "BAD_NAME"


async def test_an_answer_that_is_no_issue_is_a_bad_response(stage: Stage, github: Github) -> None:
    """Something between us and GitHub may answer in its place."""
    stage.on("GET", f"{ISSUES}/1", {"ok": True})
    async with github(stage.url) as client:
        result = await client.call("issue_read", **ONE, method="get")
    assert result.error is not None
    assert result.error["code"] == "BAD_RESPONSE"


# --- writing -------------------------------------------------------------------------------------


async def test_tools_that_write_say_how_they_are_switched_on(stage: Stage, github: Github) -> None:
    """Reading only is the default."""
    async with github(stage.url) as client:
        answer = await client.rpc(
            "tools/call", {"name": "issue_write", "arguments": {**REPO, "method": "create"}}
        )
    assert "MCP_GITHUB_WRITE" in str(answer["error"])


async def test_a_dry_run_shows_the_request_and_sends_nothing(stage: Stage, github: Github) -> None:
    """The body is exactly what would be sent, mark included."""
    async with github(stage.url, **WRITING) as client:
        tried = told(
            await client.call(
                "issue_write", **REPO, method="create", title="T", body="B", dry_run=True
            )
        )
    (request,) = tried["dry_run"]["requests"]
    assert (request["method"], request["url"]) == ("POST", f"{stage.url}{ISSUES}")
    assert request["body"]["title"] == "T"
    assert request["body"]["body"].startswith("B\n\n<!-- mcp-github:")
    assert stage.sent("POST") == []


async def test_the_same_issue_is_not_created_twice(stage: Stage, github: Github) -> None:
    """A restarted server finds it by its mark: written by us, and lately."""
    made: list[dict[str, Any]] = []

    def create(asked: Asked) -> Any:
        sent = asked.json()
        made.append(issue(1, user=person(ME), created_at="2999-01-01T00:00:00Z", **sent))
        return json_answer(made[-1], 201)

    stage.on("POST", ISSUES, create)
    stage.on("GET", ISSUES, lambda asked: list(made))
    wanted = {**REPO, "method": "create", "title": "T", "body": "B"}
    for repeated in (False, True):
        async with github(stage.url, **WRITING) as client:
            done = told(await client.call("issue_write", **wanted))
        assert (done["number"], done["repeated"]) == (1, repeated)
    async with github(stage.url, **WRITING) as client:
        told(await client.call("issue_write", **{**wanted, "body": "Another"}))
    assert len(made) == 2


async def test_a_comment_is_looked_for_on_the_last_page(stage: Stage, github: Github) -> None:
    """GitHub lists comments oldest first, and a long issue has many of them."""
    comments = [comment(n) for n in range(150)]

    def create(asked: Asked) -> Any:
        body = asked.json()["body"]
        comments.append(comment(999, body=body, user=person(ME), created_at="2999-01-01T00:00:00Z"))
        return json_answer(comments[-1], 201)

    stage.on("POST", f"{ISSUES}/1/comments", create)
    stage.on("GET", f"{ISSUES}/1/comments", lambda asked: paged(comments)(asked))
    for repeated in (False, True):
        async with github(stage.url, **WRITING) as client:
            done = told(await client.call("add_issue_comment", **ONE, body="Me too."))
        assert (done["id"], done["repeated"]) == (999, repeated)


async def test_an_update_changes_what_was_given_and_nothing_else(
    stage: Stage, github: Github
) -> None:
    """Null removes a type and 0 a milestone; what is left out stays."""
    stage.on("PATCH", f"{ISSUES}/1", issue(1))
    stage.on("GET", f"{ISSUES}/7", issue(7))
    async with github(stage.url, **WRITING) as client:
        changes: list[dict[str, Any]] = [
            {"labels": []},
            {"type": None, "milestone": 0},
            {"state_reason": "duplicate", "duplicate_of": 7},
        ]
        for more in changes:
            told(await client.call("issue_write", **ONE, method="update", **more))
        nothing = await client.call("issue_write", **ONE, method="update")
    assert [body for _, body in stage.sent("PATCH")] == [
        {"labels": []},
        {"milestone": None, "type": None},
        {"state": "closed", "state_reason": "duplicate", "duplicate_issue_id": 1_007},
    ]
    assert nothing.error is not None
    assert nothing.error["code"] == "INVALID_ARGUMENTS"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("issue_write", {"method": "create", "body": "no title"}),
        ("issue_write", {"method": "create", "title": "T", "state": "closed"}),
        ("issue_write", {"method": "update", "title": "T"}),
        ("issue_write", {"method": "update", "issue_number": 1, "state_reason": "duplicate"}),
        ("add_issue_comment", {"issue_number": 1}),
        ("add_issue_comment", {"issue_number": 1, "comment_id": 2, "body": "B"}),
        ("sub_issue_write", {**SUB_ISSUE, "method": "reprioritize"}),
        (
            "sub_issue_write",
            {"method": "remove", "issue_number": 1, "sub_issue_id": 2, "after_id": 3},
        ),
        ("react", {"reaction": "heart"}),
        ("react", {"reaction": "heart", "issue_number": 1, "comment_id": 2}),
        ("label_write", {"method": "create", "name": "bug", "color": "red"}),
        ("label_write", {"method": "delete", "name": "bug", "new_name": "b"}),
        ("milestone_write", {"method": "create"}),
        ("milestone_write", {"method": "update", "title": "T"}),
    ],
)
async def test_writes_that_contradict_themselves_are_refused(
    stage: Stage, github: Github, tool: str, arguments: dict[str, Any]
) -> None:
    """Nothing is asked of GitHub for them."""
    async with github(stage.url, **WRITING) as client:
        result = await client.call(tool, **REPO, **arguments)
    assert result.error is not None
    assert result.error["code"] == "INVALID_ARGUMENTS"
    assert stage.asked == []


@pytest.mark.parametrize(
    ("tool", "arguments", "method", "path"),
    [
        ("label_write", {"method": "delete", "name": "area/api"}, "DELETE", "/labels/area/api"),
        ("milestone_write", {"method": "delete", "milestone_number": 2}, "DELETE", "/milestones/2"),
        ("lock_issue", {"issue_number": 1}, "PUT", "/issues/1/lock"),
    ],
)
async def test_what_destroys_something_is_confirmed_first(
    stage: Stage, github: Github, tool: str, arguments: dict[str, Any], method: str, path: str
) -> None:
    """A client that cannot be asked makes a dry run, and repeats the call with its token."""
    path = f"/repos/octo/hello{path}"
    stage.on(method, path, Answer(204))
    async with github(stage.url, **WRITING) as client:
        refused = await client.call(tool, **REPO, **arguments)
        assert stage.sent(method) == []
        tried = told(await client.call(tool, **REPO, **arguments, dry_run=True))
        confirm = tried["dry_run"]["confirm"]
        told(await client.call(tool, **REPO, **arguments, confirm=confirm))
        again = await client.call(tool, **REPO, **arguments, confirm=confirm)
    assert refused.error is not None
    assert refused.error["code"] == "CONFIRMATION_REQUIRED"
    assert [sent for sent, _ in stage.sent(method)] == [path]
    assert again.error is not None
    assert again.error["code"] == "BAD_CONFIRMATION"


async def test_what_fails_after_the_first_request_is_told_beside_what_was_done(
    stage: Stage, github: Github
) -> None:
    """A comment that stands there must not look like a failure, or it is made again."""
    stage.on("GET", f"{ISSUES}/1/comments", [])
    stage.on("POST", f"{ISSUES}/1/comments", lambda asked: json_answer(comment(5), 201))
    async with github(stage.url, **WRITING) as client:
        done = told(await client.call("add_issue_comment", **ONE, body="B", reaction="+1"))
    assert done["id"] == 5
    assert "in part only" in done["warnings"][0]


async def test_custom_fields_are_set_and_cleared_by_their_names(
    stage: Stage, github: Github
) -> None:
    """GitHub takes ids; a name that is none is answered with those that there are."""
    known = [
        {"id": 1, "name": "Priority", "options": [{"name": "High"}, {"name": "Low"}]},
        {"id": 2, "name": "Notes"},
    ]
    stage.on("GET", "/orgs/octo/issue-fields", known)
    values = f"{ISSUES}/1/issue-field-values"
    stage.on("POST", values, [])
    stage.on("DELETE", f"{values}/2", Answer(204))
    fields = [
        {"field_name": "priority", "field_option_name": "high"},
        {"field_name": "Notes", "delete": True},
    ]
    wrong = [{"field_name": "Priority", "field_option_name": "Hihg"}]
    async with github(stage.url, **WRITING) as client:
        told(await client.call("issue_write", **ONE, method="update", issue_fields=fields))
        refused = await client.call("issue_write", **ONE, method="update", issue_fields=wrong)
    sent = {"issue_field_values": [{"field_id": 1, "value": "High"}]}
    assert stage.sent("POST") == [(values, sent)]
    assert stage.sent("DELETE") == [(f"{values}/2", None)]
    assert refused.error is not None
    assert "High" in refused.error["message"]


async def test_only_ones_own_reaction_is_taken_back(stage: Stage, github: Github) -> None:
    """GitHub lists everybody's, and a maintainer could delete those of others."""
    given = [
        {"id": 5, "content": "heart", "user": person("octo")},
        {"id": 6, "content": "heart", "user": person(ME)},
    ]
    path = f"{ISSUES}/1/reactions"
    stage.on("GET", path, given)
    stage.on("DELETE", f"{path}/6", Answer(204))
    async with github(stage.url, **WRITING) as client:
        told(await client.call("react", **ONE, reaction="heart", remove=True))
        given.pop()
        none = await client.call("react", **ONE, reaction="heart", remove=True)
    assert [sent for sent, _ in stage.sent("DELETE")] == [f"{path}/6"]
    assert none.error is not None


async def test_a_repository_that_may_only_be_read_is_not_written_to(
    stage: Stage, github: Github
) -> None:
    """The operator's list holds for every tool."""
    async with github(stage.url, **WRITING, write_repositories="octo/other") as client:
        result = await client.call("issue_write", **REPO, method="create", title="T")
    assert result.error is not None
    assert result.error["code"] == "REPOSITORY_NOT_ALLOWED"
    assert stage.sent("POST") == []


# --- recorded ------------------------------------------------------------------------------------


async def test_a_recorded_label_is_made_changed_and_deleted(
    fixtures_server: Recordings, github: Github
) -> None:
    """The requests have to be those that GitHub once answered so, in their order and bodies."""
    api = fixtures_server.play("labels")
    names = {"owner": "octokit-fixture-org", "repo": "labels"}
    label = {**names, "name": "test-label"}
    delete = {**names, "method": "delete", "name": "test-label-updated"}
    async with github(api, **WRITING) as client:
        listed = told(await client.call("list_label", **names))
        made = told(await client.call("label_write", **label, method="create", color="#663399"))
        found = told(await client.call("get_label", **label))
        update = {"method": "update", "new_name": "test-label-updated", "color": "BADA55"}
        changed = told(await client.call("label_write", **label, **update))
        tried = told(await client.call("label_write", **delete, dry_run=True))
        told(await client.call("label_write", **delete, confirm=tried["dry_run"]["confirm"]))
    assert "bug" in [one["name"] for one in listed["labels"]]
    assert (made["name"], found["label"]["color"]) == ("test-label", "663399")
    assert changed["name"] == "test-label-updated"


async def test_a_recorded_conversation_is_locked_and_unlocked(
    fixtures_server: Recordings, github: Github
) -> None:
    """GitHub answers both with nothing."""
    api = fixtures_server.play("lock-issue")
    target = {"owner": "octokit-fixture-org", "repo": "lock-issue", "issue_number": 1}
    async with github(api, **WRITING) as client:
        tried = told(await client.call("lock_issue", **target, dry_run=True))
        locked = told(
            await client.call("lock_issue", **target, confirm=tried["dry_run"]["confirm"])
        )
        unlocked = told(await client.call("lock_issue", **target, locked=False))
    assert "lock the conversation" in locked["what"]
    assert unlocked["dry_run"] is None
