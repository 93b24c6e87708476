"""What the tools about notifications return."""

from __future__ import annotations

from typing import Literal

from core.models import Facts
from services.github.models.common import GitHubPage, GitHubResult, Voice, WriteResult


class Notification(Voice, Facts):
    """One thread of notifications.

    Attributes:
        reason: Why it was sent: mention, review_requested, assign, author, subscribed ….
        type: Of what it is about: Issue, PullRequest, Release, Discussion, CheckSuite ….
        number: Of the issue or pull request.
        author: Of the issue or pull request; None for others, whose authors are not told.
    """

    id: str
    repository: str
    private: bool
    reason: str
    unread: bool
    type: str
    title: str | None
    number: int | None
    url: str | None
    updated_at: str
    last_read_at: str | None


class Notifications(GitHubPage, Facts):
    """Notifications, newest first."""

    notifications: list[Notification]


class NotificationDetails(GitHubResult, Facts):
    """One notification, and what was decided about its thread.

    Attributes:
        subscription: None where the thread has none of its own.
    """

    notification: Notification
    subscription: Literal["watching", "ignored"] | None


class NotificationsChanged(WriteResult, Facts):
    """What became of notifications or a subscription."""

    done: str
