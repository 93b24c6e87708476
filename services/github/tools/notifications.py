"""Notifications of the credential's user: lists, one of them, reading marks and subscriptions.

Titles are texts of whoever opened the issue. Notifications do not say who that is, so GitHub is
asked about all of a page at once; where it does not tell, the author counts as a stranger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import ToolError
from core.models import Arguments
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.errors import BadName, NotFoundOrNoAccess
from services.github.models.common import PageArguments, RepositoryArguments, WriteArguments
from services.github.models.notifications import (
    Notification,
    NotificationDetails,
    Notifications,
    NotificationsChanged,
)
from services.github.policy.names import Repo, checked_text
from services.github.policy.trust import Author
from services.github.tools.commits import Moment
from services.github.tools.context import note_left_out
from services.github.tools.conversations import as_documented
from services.github.tools.desk import Call, Desk, Heard
from services.github.writes import Plan

TOOLSET = "notifications"
READS_NOTIFICATIONS = Annotations(open_world=True)
MARKS = Annotations(read_only=False, destructive=False, idempotent=True, open_world=True)
SUBSCRIBES = Annotations(read_only=False, destructive=True, idempotent=True, open_world=True)

ALL = "/notifications"
OF_REPOSITORY = "/repos/{owner}/{repo}/notifications"
THREAD = "/notifications/threads/{thread_id}"
THREAD_SUBSCRIPTION = "/notifications/threads/{thread_id}/subscription"
WATCHING = "/repos/{owner}/{repo}/subscription"
PEOPLE = ("Issue", "PullRequest")
"""Subjects that anybody can open."""
AUTHORS = " ".join(f"... on {kind} {{ author {{ login }} authorAssociation }}" for kind in PEOPLE)
BY_WHO_MAY_PUSH = frozenset({"Release", "CheckSuite", "WorkflowRun", "Commit"})
MAX_ID_DIGITS = 19
Action = Literal["ignore", "watch", "delete"]
Json = Mapping[str, Any]


class MaybeRepository(Arguments):
    """May name a repository."""

    owner: str | None = None
    repo: str | None = Field(None, description="With owner: of this repository only.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.owner is None) != (self.repo is None):
            raise ValueError("give owner and repo together")
        return self

    @property
    def named(self) -> Repo | None:
        """The repository that is named; raises `BadName`."""
        return None if self.owner is None else Repo.parse(self.owner, self.repo or "")


class ListNotifications(MaybeRepository, PageArguments):
    """Arguments of list_notifications."""

    filter: Literal["default", "include_read_notifications", "only_participating"] | None = None
    since: Moment | None = None
    before: Moment | None = None


class GetNotification(Arguments):
    """Arguments of get_notification_details."""

    notificationID: str


class Dismiss(WriteArguments):
    """Arguments of dismiss_notification."""

    threadID: str
    state: Literal["read", "done"]


class MarkAllRead(MaybeRepository, WriteArguments):
    """Arguments of mark_all_notifications_read."""

    lastReadAt: Moment | None = Field(None, description="Those until then; now, when left out.")


class ManageThread(WriteArguments):
    """Arguments of manage_notification_subscription."""

    notificationID: str
    action: Action


class ManageRepository(RepositoryArguments, WriteArguments):
    """Arguments of manage_repository_notification_subscription."""

    action: Action


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = NotificationTools(desk)
    return [
        Listing(
            name="list_notifications",
            title="List notifications",
            description="Your notifications: what waits for you on GitHub, and why.",
            handler=tools.list_notifications,
            arguments=ListNotifications,
            result=Notifications,
            annotations=READS_NOTIFICATIONS,
        ),
        Listing(
            name="get_notification_details",
            title="Look at a notification",
            description="One notification and its subscription.",
            handler=tools.get_notification_details,
            arguments=GetNotification,
            result=NotificationDetails,
            annotations=READS_NOTIFICATIONS,
        ),
        Listing(
            name="dismiss_notification",
            title="Dismiss a notification",
            description="Mark a notification as read or done.",
            handler=tools.dismiss_notification,
            arguments=Dismiss,
            result=NotificationsChanged,
            annotations=MARKS,
        ),
        Listing(
            name="mark_all_notifications_read",
            title="Mark all notifications as read",
            description="Mark all notifications as read, or those of a repository.",
            handler=tools.mark_all_notifications_read,
            arguments=MarkAllRead,
            result=NotificationsChanged,
            annotations=MARKS,
        ),
        Listing(
            name="manage_notification_subscription",
            title="Subscribe to a thread",
            description="Watch or ignore a notification's thread, or delete its subscription, "
            "which has to be confirmed.",
            handler=tools.manage_notification_subscription,
            arguments=ManageThread,
            result=NotificationsChanged,
            annotations=SUBSCRIBES,
        ),
        Listing(
            name="manage_repository_notification_subscription",
            title="Subscribe to a repository",
            description="Watch or ignore a repository, or delete its subscription, which has to be "
            "confirmed.",
            handler=tools.manage_repository_notification_subscription,
            arguments=ManageRepository,
            result=NotificationsChanged,
            annotations=SUBSCRIBES,
        ),
    ]


class NotificationTools:
    """The tools about notifications."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- reading ----------------------------------------------------------------------------------

    async def list_notifications(
        self, arguments: ListNotifications, context: Context
    ) -> Notifications:
        """List notifications of repositories that may be read."""
        call, repo = self._desk.call(context), arguments.named
        window = call.window(arguments)
        reply = await call.page(
            ALL if repo is None else OF_REPOSITORY,
            query=_filters(arguments),
            page=window.page,
            per_page=window.per_page,
            **({} if repo is None else {"repo": repo}),
        )
        allowed = [item for item in reply.data if call.may_read(_repository(item))]
        note_left_out(call, len(reply.data) - len(allowed))
        items = window.rest(allowed)
        heard = await _heard(call, items)
        parts = [_notification(item, one) for item, one in zip(items, heard, strict=True)]
        shown, members = window.cut(parts, reply.next_page)
        return Notifications(notifications=shown, **members, **call.members())

    async def get_notification_details(
        self, arguments: GetNotification, context: Context
    ) -> NotificationDetails:
        """Return one notification."""
        call, thread = self._desk.call(context), thread_id(arguments.notificationID)
        item = await call.get(THREAD, thread_id=thread)
        call.desk.access.check_read(Repo.parse_full(_repository(item)))
        (heard,) = await _heard(call, [item])
        return NotificationDetails(
            notification=_notification(item, heard),
            subscription=await _subscription(call, thread),
            **call.members(),
        )

    # -- writing ----------------------------------------------------------------------------------

    async def dismiss_notification(
        self, arguments: Dismiss, context: Context
    ) -> NotificationsChanged:
        """Mark a notification as read or done."""
        thread = thread_id(arguments.threadID)
        method = "PATCH" if arguments.state == "read" else "DELETE"
        request = Request(method=method, route=THREAD, values={"thread_id": thread})
        what = f"mark the notification {thread} as {arguments.state}"
        return await self._changed(arguments, context, request, what)

    async def mark_all_notifications_read(
        self, arguments: MarkAllRead, context: Context
    ) -> NotificationsChanged:
        """Mark all notifications as read, or those of a repository."""
        repo, body = arguments.named, {}
        if arguments.lastReadAt is not None:
            body["last_read_at"] = arguments.lastReadAt
        request, what = Request(method="PUT", route=ALL, body=body), "mark all notifications"
        if repo is not None:
            request = _of_repository("PUT", OF_REPOSITORY, repo, body)
            what += f" of {repo}"
        return await self._changed(arguments, context, request, f"{what} as read", repo)

    async def manage_notification_subscription(
        self, arguments: ManageThread, context: Context
    ) -> NotificationsChanged:
        """Watch or ignore a thread, or delete what was decided about it."""
        thread, action = thread_id(arguments.notificationID), arguments.action
        request = Request(
            method="DELETE" if action == "delete" else "PUT",
            route=THREAD_SUBSCRIPTION,
            values={"thread_id": thread},
            body=None if action == "delete" else {"ignored": action == "ignore"},
        )
        what = f"{_verb(action)} the thread {thread}"
        return await self._changed(
            arguments, context, request, what, destructive=action == "delete"
        )

    async def manage_repository_notification_subscription(
        self, arguments: ManageRepository, context: Context
    ) -> NotificationsChanged:
        """Watch or ignore a repository, or delete what was decided about it."""
        repo, action = arguments.repository(), arguments.action
        body = {"ignored": True} if action == "ignore" else {"subscribed": True, "ignored": False}
        request = _of_repository(
            "DELETE" if action == "delete" else "PUT",
            WATCHING,
            repo,
            None if action == "delete" else body,
        )
        what = f"{_verb(action)} {repo}"
        return await self._changed(
            arguments, context, request, what, repo, destructive=action == "delete"
        )

    async def _changed(
        self,
        arguments: WriteArguments,
        context: Context,
        request: Request,
        what: str,
        repo: Repo | None = None,
        *,
        destructive: bool = False,
    ) -> NotificationsChanged:
        """Carry out what concerns nobody but the user, who sees it alone."""
        call = self._desk.call(context)
        if repo is not None:
            call.desk.access.check_read(repo)
        plan = Plan(
            toolset=TOOLSET,
            what=what,
            requests=[request],
            owner=None if repo is None else repo.owner,
            public=False,
            destructive=destructive,
        )
        written = await call.write(plan, arguments)
        done = what if written.planned is None else "nothing"
        return NotificationsChanged(done=done, **written.members(), **call.members())


# --- asking --------------------------------------------------------------------------------------


def thread_id(text: str) -> str:
    """Return the id of a notification's thread; raises `BadName`."""
    checked_text(text, "notification id")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS):
        raise BadName(
            f"{text[:80]!r} is not a notification id: it has digits only.", what="notification id"
        )
    return text


def _filters(arguments: ListNotifications) -> dict[str, Any]:
    return {
        "all": True if arguments.filter == "include_read_notifications" else None,
        "participating": True if arguments.filter == "only_participating" else None,
        "since": arguments.since,
        "before": arguments.before,
    }


async def _subscription(call: Call, thread: str) -> Literal["watching", "ignored"] | None:
    try:
        found = await call.get(THREAD_SUBSCRIPTION, thread_id=thread)
    except NotFoundOrNoAccess:
        return None
    return "ignored" if found.get("ignored") else "watching"


# --- whose words ---------------------------------------------------------------------------------


async def _heard(call: Call, items: Sequence[Json]) -> list[Heard]:
    """Return who is heard in each notification, and remember which are of private repositories."""
    for item in items:
        if item["repository"].get("private", True):
            call.read_private(_repository(item))
    opened = await _opened(call, items)
    names = dict.fromkeys(_repository(item) for item in items)
    await asyncio.gather(*(call.facts(Repo.parse_full(name)) for name in names))
    return [await _heard_one(call, item, opened.get(_place(item))) for item in items]


async def _heard_one(call: Call, item: Json, opened: Json | None) -> Heard:
    repo = Repo.parse_full(_repository(item))
    if item["subject"].get("type") in BY_WHO_MAY_PUSH:
        return Heard(Author(None, None), await call.origin(repo), withheld=False)
    (heard,) = await call.heard(repo, [opened or {}])
    return heard


Place = tuple[str, int]


async def _opened(call: Call, items: Iterable[Json]) -> dict[Place | None, Json]:
    """Return who opened the issues and pull requests, by one query; nobody where it fails."""
    places = list(dict.fromkeys(place for item in items if (place := _place(item))))
    if not places:
        return {}
    query, variables = _question(places)
    try:
        data = await call.graphql(query, **variables)
    except ToolError:
        call.warnings.append("GitHub did not say who opened these: they count as strangers.")
        return {}
    found = {place: (data.get(f"at{at}") or {}).get("it") for at, place in enumerate(places)}
    return {place: one for place, one in found.items() if one}


def _question(places: Sequence[Place]) -> tuple[str, dict[str, Any]]:
    """Return a query about the authors of issues and pull requests, and its variables."""
    declared, asked = [], []
    variables: dict[str, Any] = {}
    for at, (full_name, number) in enumerate(places):
        repo = Repo.parse_full(full_name)
        variables |= {f"owner{at}": repo.owner, f"name{at}": repo.name, f"number{at}": number}
        declared.append(f"$owner{at}: String!, $name{at}: String!, $number{at}: Int!")
        asked.append(
            f"at{at}: repository(owner: $owner{at}, name: $name{at}) {{ "
            f"it: issueOrPullRequest(number: $number{at}) {{ {AUTHORS} }} }}"
        )
    return f"query({', '.join(declared)}) {{ {' '.join(asked)} }}", variables


def _place(item: Json) -> Place | None:
    """Return the repository and number that a notification is about; None for other subjects."""
    if item["subject"].get("type") not in PEOPLE:
        return None
    number = _number(item)
    return None if number is None else (_repository(item), number)


def _number(item: Json) -> int | None:
    last = str(item["subject"].get("url") or "").rpartition("/")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) <= 9 else None


def _repository(item: Json) -> str:
    return str((item.get("repository") or {}).get("full_name") or "")


# --- telling -------------------------------------------------------------------------------------


@as_documented
def _notification(item: Json, heard: Heard) -> Notification:
    subject = item["subject"]
    title = heard.line(subject.get("title"))
    number = _number(item) if subject.get("type") in PEOPLE else None
    return Notification(
        **heard.members(),
        **{name: item[name] for name in ("id", "reason", "unread", "updated_at")},
        repository=item["repository"]["full_name"],
        private=bool(item["repository"].get("private", True)),
        type=subject["type"],
        title=title,
        number=number,
        url=_page(item, number),
        last_read_at=item.get("last_read_at"),
    )


def _page(item: Json, number: int | None) -> str | None:
    """Return the page of an issue or pull request, as people open it."""
    base: str | None = item["repository"].get("html_url")
    if number is None or base is None:
        return base
    kind = "pull" if item["subject"]["type"] == "PullRequest" else "issues"
    return f"{base}/{kind}/{number}"


def _of_repository(method: str, route: str, repo: Repo, body: Any) -> Request:
    return Request(
        method=method, route=route, values={"owner": repo.owner, "repo": repo.name}, body=body
    )


def _verb(action: Action) -> str:
    return "delete the subscription of" if action == "delete" else action
