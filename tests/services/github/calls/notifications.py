"""Calls of the toolset notifications."""

from __future__ import annotations

from tests.services.github.calls import REPO, Row

BY_OWNER = {
    "repository": {
        "issueOrPullRequest": {
            "__typename": "Issue",
            "author": {"__typename": "User", "login": "octocat"},
            "authorAssociation": "OWNER",
        }
    }
}
THREAD, WATCHING = "manage_notification_subscription", "manage_repository_notification_subscription"
ROWS = [
    Row(
        tool="list_notifications",
        arguments={"filter": "include_read_notifications", "since": "2026-01-02", "perPage": 5},
        graphql=BY_OWNER,
        operations=("activity/list-notifications-for-authenticated-user", "graphql"),
    ),
    Row(
        tool="list_notifications",
        arguments={**REPO, "filter": "only_participating", "before": "2026-01-02T03:04:05Z"},
        graphql=BY_OWNER,
        operations=("activity/list-repo-notifications-for-authenticated-user",),
    ),
    Row(
        tool="get_notification_details",
        arguments={"notificationID": "1"},
        graphql=BY_OWNER,
        operations=(
            "activity/get-thread",
            "activity/get-thread-subscription-for-authenticated-user",
        ),
    ),
    Row(
        tool="dismiss_notification",
        arguments={"threadID": "1", "state": "read"},
        operations=("activity/mark-thread-as-read",),
    ),
    Row(
        tool="dismiss_notification",
        arguments={"threadID": "1", "state": "done"},
        operations=("activity/mark-thread-as-done",),
    ),
    Row(
        tool="mark_all_notifications_read",
        arguments={"lastReadAt": "2026-01-02T03:04:05Z"},
        operations=("activity/mark-notifications-as-read",),
    ),
    Row(
        tool="mark_all_notifications_read",
        arguments=REPO,
        operations=("activity/mark-repo-notifications-as-read",),
    ),
    Row(
        tool=THREAD,
        arguments={"notificationID": "1", "action": "ignore"},
        operations=("activity/set-thread-subscription",),
    ),
    Row(
        tool=THREAD,
        arguments={"notificationID": "1", "action": "watch"},
        operations=("activity/set-thread-subscription",),
    ),
    Row(
        tool=THREAD,
        arguments={"notificationID": "1", "action": "delete"},
        confirmed=True,
        operations=("activity/delete-thread-subscription",),
    ),
    Row(
        tool=WATCHING,
        arguments={**REPO, "action": "ignore"},
        operations=("activity/set-repo-subscription",),
    ),
    Row(
        tool=WATCHING,
        arguments={**REPO, "action": "watch"},
        operations=("activity/set-repo-subscription",),
    ),
    Row(
        tool=WATCHING,
        arguments={**REPO, "action": "delete"},
        confirmed=True,
        operations=("activity/delete-repo-subscription",),
    ),
]
