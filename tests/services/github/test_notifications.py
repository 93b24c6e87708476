"""Notifications: strangers' titles, private repositories, and what needs a yes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.github.conftest import Github
from tests.services.github.doubles.loopback import json_answer
from tests.services.github.further import (
    HIDDEN,
    ON,
    PRIVATE,
    code,
    confirmed,
    every_page,
    graphql,
    leading,
    queries,
    told,
)
from tests.services.github.stage import REPO, Stage, staged

THREAD = "/notifications/threads/1"
ANSWERS = {
    "mallory": {"author": {"login": "mallory"}, "authorAssociation": "NONE"},
    "octo": {"author": {"login": "octo"}, "authorAssociation": "OWNER"},
}


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a GitHub that this test fills."""
    with staged() as found:
        yield found


def notification(number: int, name: str = "hello", *, private: bool = False) -> dict[str, Any]:
    """Return a notification of an issue."""
    return {
        "id": str(number),
        "reason": "mention",
        "unread": True,
        "updated_at": "2026-01-02T03:04:05Z",
        "last_read_at": None,
        "subject": {
            "title": f"Ti{HIDDEN}tle {number}",
            "type": "Issue",
            "url": f"https://api.github.com/repos/octo/{name}/issues/{number}",
        },
        "repository": {
            "full_name": f"octo/{name}",
            "private": private,
            "html_url": f"https://github.com/octo/{name}",
        },
    }


def opened_by(*logins: str) -> dict[str, Any]:
    """Return what the query about authors finds."""
    return {f"at{at}": {"it": ANSWERS[login]} for at, login in enumerate(logins)}


async def test_titles_are_shown_by_who_opened_the_issue(github: Github, stage: Stage) -> None:
    """One query asks about a whole page; a stranger's title is withheld, its place is not."""
    stage.on("GET", "/notifications", [notification(1), notification(2)])
    graphql(stage, **opened_by("mallory", "octo"))
    async with github(stage.url, **ON) as client:
        result = told(await client.call("list_notifications"))
    strange, own = result["notifications"]
    assert strange["withheld"]
    assert strange["url"] == "https://github.com/octo/hello/issues/1"
    assert "tle 1" not in str(result)
    assert (own["title"], own["hidden_removed"], own["author"]) == ("Title 2", 1, "octo")
    (asked,) = queries(stage)
    assert (asked["number0"], asked["number1"], asked["owner0"]) == (1, 2, "octo")


async def test_authors_that_github_does_not_tell_are_strangers(
    github: Github, stage: Stage
) -> None:
    """The list is there all the same, and says why titles are missing."""
    stage.on("GET", "/notifications", [notification(1)])
    stage.on("POST", "/graphql", json_answer({"message": "Server Error"}, 500))
    async with github(stage.url, **ON) as client:
        result = told(await client.call("list_notifications"))
    assert result["notifications"][0]["withheld"]
    assert any("count as strangers" in warning for warning in result["warnings"])


async def test_notifications_of_private_repositories_count_as_private_reading(
    github: Github, stage: Stage
) -> None:
    """Together with strangers' text, a public write has to be confirmed afterwards."""
    stage.repository("octo", "secret", **PRIVATE)
    stage.on("GET", "/notifications", [notification(1, "secret", private=True)])
    stage.on("GET", "/gists", [])
    stage.on("GET", "/users/mallory/starred", [])
    graphql(stage, **opened_by("octo"))
    async with github(stage.url, **ON) as client:
        told(await client.call("list_notifications"))
        told(await client.call("list_starred_repositories", username="mallory"))
        refused = await client.call("create_gist", filename="a", content="b", public=True)
    assert code(refused) == "FLOW_GUARD"
    assert refused.error is not None
    assert "octo/secret" in refused.error["message"]


async def test_repositories_that_may_not_be_read_are_left_out(github: Github, stage: Stage) -> None:
    """Also by the id of the thread, which does not name them."""
    stage.on("GET", "/notifications", [notification(1, "other"), notification(2)])
    stage.on("GET", THREAD, notification(1, "other"))
    graphql(stage, **opened_by("octo"))
    async with github(stage.url, **ON, allow_repositories="octo/hello") as client:
        result = told(await client.call("list_notifications"))
        refused = await client.call("get_notification_details", notificationID="1")
    assert [one["id"] for one in result["notifications"]] == ["2"]
    assert any("ALLOW_REPOSITORIES" in warning for warning in result["warnings"])
    assert code(refused) == "REPOSITORY_NOT_ALLOWED"


async def test_dismissing_needs_no_yes_but_deleting_a_subscription_does(
    github: Github, stage: Stage
) -> None:
    """A notification that is read can be found again; a subscription is lost."""
    subscription = f"{THREAD}/subscription"
    stage.on("PATCH", THREAD, json_answer(None, 205))
    stage.on("DELETE", THREAD, json_answer(None, 204))
    stage.on("DELETE", subscription, json_answer(None, 204))
    stage.on("PUT", subscription, {"ignored": True, "subscribed": False})
    manage, arguments = "manage_notification_subscription", {"notificationID": "1"}
    async with github(stage.url, **ON) as client:
        for state in ("read", "done"):
            told(await client.call("dismiss_notification", threadID="1", state=state))
        told(await client.call(manage, **arguments, action="ignore"))
        refused = await client.call(manage, **arguments, action="delete")
        assert stage.sent("DELETE") == [(THREAD, None)]
        done = await confirmed(client, manage, **arguments, action="delete")
    assert code(refused) == "CONFIRMATION_REQUIRED"
    assert "delete the subscription" in done["done"]
    assert stage.sent("PUT") == [(subscription, {"ignored": True})]


async def test_marking_all_as_read_is_not_done_by_a_dry_run(github: Github, stage: Stage) -> None:
    """It shows the request; GitHub's 202 to the real one is a yes, not something to wait for."""
    stage.on("PUT", "/repos/octo/hello/notifications", json_answer({"message": "soon"}, 202))
    async with github(stage.url, **ON) as client:
        tried = told(await client.call("mark_all_notifications_read", **REPO, dry_run=True))
        assert stage.sent("PUT") == []
        done = told(await client.call("mark_all_notifications_read", **REPO))
    assert tried["done"] == "nothing"
    assert "octo/hello" in done["done"]
    assert len(stage.sent("PUT")) == 1


async def test_a_list_ends_whatever_its_links_say(github: Github, stage: Stage) -> None:
    """A link to the page itself would be followed for ever."""
    stage.on("GET", "/notifications", leading([notification(1)], "page=1"))
    graphql(stage, **opened_by("octo"))
    async with github(stage.url, **ON) as client:
        pages = await every_page(client, "list_notifications")
    assert len(pages) == 1


@pytest.mark.parametrize("thread", ["1/subscription", "..", "1?x", "abc", "9" * 40])
async def test_ids_lead_nowhere(github: Github, stage: Stage, thread: str) -> None:
    """An id has digits; nothing is sent."""
    async with github(stage.url, **ON) as client:
        result = await client.call("get_notification_details", notificationID=thread)
    assert code(result) == "BAD_NAME"
    assert stage.asked == []
