"""Issues, pull requests and what is said below them: from GitHub's JSON to parts of results.

Nothing is asked here. Text of people comes through the `Heard` of its author, which cleans it, or
withholds it; `members` of that is asked for last, when it knows what it removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from core.errors import ToolError
from core.untrusted import clean
from services.github.errors import BadResponse
from services.github.models.issues import Comment, Event, Issue, Label, Milestone
from services.github.models.pulls import Check, Commit, PullRequest, Review, Side, Thread
from services.github.policy.names import Repo
from services.github.policy.trust import Author
from services.github.tools.desk import Heard

Json = Mapping[str, Any]

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")
MAX_NAME_CHARS = 200

ArgumentsT = ParamSpec("ArgumentsT")
PartT = TypeVar("PartT")


def as_documented(tell: Callable[ArgumentsT, PartT]) -> Callable[ArgumentsT, PartT]:
    """Say of JSON that lacks what GitHub documents that it is a bad answer."""

    @wraps(tell)
    def told(*args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> PartT:
        try:
            return tell(*args, **kwargs)
        except (KeyError, ValidationError) as error:
            what = tell.__name__.replace("_", " ")
            raise BadResponse(f"GitHub's answer is no {what} as it documents it.") from error

    return told


# --- issues --------------------------------------------------------------------------------------


@as_documented
def issue(item: Json, heard: Heard, *, limit: int | None, elsewhere: str | None = None) -> Issue:
    """Return an issue, or a pull request that a list of issues holds.

    Args:
        limit: Characters of the body; None for all.
        elsewhere: Its repository, where the list is of several.
    """
    title = heard.line(item["title"])
    body = heard.text(item.get("body"), limit=limit, more="issue_read")
    return Issue(
        **heard.members(),
        **_of(item, "number", "id", "state", "state_reason", "html_url", "draft"),
        **_of(item, "comments", "created_at", "updated_at", "closed_at"),
        repository=elsewhere,
        title=title or "",
        type=(item.get("type") or {}).get("name"),
        labels=labels(item),
        assignees=logins(item.get("assignees")),
        milestone=_title(item.get("milestone")),
        reactions=reactions(item),
        locked=_locked(item),
        closed_by=login(item.get("closed_by")),
        sub_issues=_sub_issues(item.get("sub_issues_summary")),
        parent=place_of(item.get("parent_issue_url")),
        blocked_by=(item.get("issue_dependencies_summary") or {}).get("blocked_by") or None,
        field_values=_field_values(item.get("issue_field_values")),
        body=body,
    )


@as_documented
def issue_id(item: Json) -> int:
    """Return the id of an issue, which is not its number."""
    return int(item["id"])


@as_documented
def comment(item: Json, heard: Heard, *, limit: int | None = None) -> Comment:
    """Return a comment of REST, below an issue or on a line of a pull request."""
    body = heard.text(item.get("body"), limit=limit)
    return Comment(
        **heard.members(),
        **_of(item, "id", "html_url", "created_at", "updated_at"),
        reactions=reactions(item),
        body=body,
    )


@as_documented
def label(item: Json) -> Label:
    """Return a label; who may push makes them."""
    return Label(
        name=_name(item["name"]),
        color=item["color"],
        description=_name(item.get("description")) or None,
        default=item.get("default"),
    )


@as_documented
def milestone(item: Json) -> Milestone:
    """Return a milestone; who may push makes them."""
    return Milestone(
        **_of(item, "number", "state", "html_url", "open_issues", "closed_issues"),
        **_of(item, "due_on", "closed_at"),
        creator=login(item.get("creator")),
        title=_name(item["title"]),
        description=clean(item.get("description") or "").text or None,
    )


def labels(item: Json) -> list[str]:
    """Return the names of an item's labels, which old issues hold as plain strings."""
    found = item.get("labels") or ()
    return [_name(one if isinstance(one, str) else one.get("name")) for one in found]


def logins(people: Any) -> list[str]:
    """Return the logins of a list of people."""
    return [person["login"] for person in people or () if person]


def login(person: Any) -> str | None:
    """Return somebody's login; None for nobody."""
    return person.get("login") if isinstance(person, Mapping) else None


def reactions(item: Json) -> dict[str, int] | None:
    """Return how often each reaction was given; None when none was."""
    counts = item.get("reactions") or {}
    return {name: counts[name] for name in REACTIONS if counts.get(name)} or None


def place_of(url: str | None) -> str | None:
    """Return owner/name#number of an issue's API URL, owner/name of a repository's."""
    parts = (url or "").partition("/repos/")[2].split("/")
    if len(parts) == 4 and parts[2] in ("issues", "pulls"):
        return f"{parts[0]}/{parts[1]}#{parts[3]}"
    return "/".join(parts) if len(parts) == 2 else None


def repo_of(item: Json) -> Repo | None:
    """Return the repository that an item of a search is of."""
    try:
        return Repo.parse_full(place_of(item.get("repository_url")) or "")
    except ToolError:
        return None


def _of(item: Json, *names: str) -> dict[str, Any]:
    return {name: item.get(name) for name in names}


def _name(text: str | None) -> str:
    return clean(text or "").text[:MAX_NAME_CHARS]


def _title(item: Json | None) -> str | None:
    return _name(item["title"]) if item else None


def _locked(item: Json) -> str | None:
    return (item.get("active_lock_reason") or "yes") if item.get("locked") else None


def _sub_issues(summary: Json | None) -> dict[str, int] | None:
    if not summary or not summary.get("total"):
        return None
    return {"total": summary["total"], "completed": summary.get("completed", 0)}


def _field_values(values: Any) -> dict[str, Any] | None:
    """Return custom fields by name; of a selection, the names of its options."""
    return {
        _name(value.get("issue_field_name") or str(value.get("issue_field_id"))): (
            (value.get("single_select_option") or {}).get("name")
            or [option["name"] for option in value.get("multi_select_options") or ()]
            or value.get("value")
        )
        for value in values or ()
    } or None


# --- what happened -------------------------------------------------------------------------------


@as_documented
def event(item: Json, heard: Heard | None, *, limit: int | None) -> Event:
    """Return one entry of a timeline.

    Args:
        heard: Its author, where the entry `has_words`.
    """
    body, detail = None, _detail(item)
    if heard is not None:
        body = heard.text(item.get("body") or item.get("message"), limit=limit)
        detail = heard.line(_renamed(item)) or detail
    members = {"author": login(item.get("actor") or item.get("user"))}
    return Event(
        **(members if heard is None else heard.members()),
        event=item.get("event") or "commented",
        created_at=item.get("created_at") or item.get("submitted_at") or _date(item),
        html_url=item.get("html_url"),
        subject=_subject(item),
        detail=detail,
        body=body,
    )


def has_words(item: Json) -> bool:
    """Return whether an entry of a timeline holds text of its author."""
    return bool(item.get("body") or item.get("message") or item.get("rename"))


_SUBJECTS: tuple[tuple[str, Callable[[Any], str | None]], ...] = (
    ("label", lambda label: _name(label.get("name"))),
    ("milestone", lambda milestone: _name(milestone.get("title"))),
    ("assignee", login),
    ("requested_reviewer", login),
    ("requested_team", lambda team: team.get("slug")),
    ("source", lambda source: _place_of_source(source)),
    ("issue_type", lambda kind: kind.get("name")),
    ("commit_id", str),
    ("sha", str),
)


def _subject(item: Json) -> str | None:
    return next((told(item[name]) for name, told in _SUBJECTS if item.get(name)), None)


def _place_of_source(source: Json) -> str | None:
    return place_of((source.get("issue") or {}).get("url"))


def _detail(item: Json) -> str | None:
    """Return what else a timeline's entry says in words of GitHub."""
    source = (item.get("source") or {}).get("issue") or {}
    if source:
        kind = "pull request" if source.get("pull_request") else "issue"
        return f"{kind}, {source.get('state')}"
    return item.get("state_reason") or item.get("lock_reason") or item.get("state")


def _renamed(item: Json) -> str | None:
    rename = item.get("rename")
    return f"{rename.get('from')} → {rename.get('to')}" if rename else None


def _date(item: Json) -> str | None:
    return (item.get("author") or {}).get("date")


# --- pull requests -------------------------------------------------------------------------------


@as_documented
def pull(item: Json, heard: Heard, *, limit: int | None) -> PullRequest:
    """Return a pull request; `limit` is of its body, None for all."""
    title = heard.line(item["title"])
    head = _side(item["head"], heard)
    body = heard.text(item.get("body"), limit=limit, more="pull_request_read")
    merged = item.get("merged")
    return PullRequest(
        **heard.members(),
        **_of(item, "number", "state", "draft", "html_url", "mergeable", "mergeable_state"),
        **_of(item, "commits", "changed_files", "additions", "deletions", "comments"),
        **_of(item, "review_comments", "maintainer_can_modify", "merge_commit_sha"),
        **_of(item, "created_at", "updated_at", "closed_at", "merged_at"),
        title=title or "",
        merged=bool(item.get("merged_at")) if merged is None else merged,
        head=head,
        base=_side(item["base"], None),
        auto_merge=(item.get("auto_merge") or {}).get("merge_method"),
        labels=labels(item),
        assignees=logins(item.get("assignees")),
        requested_reviewers=_reviewers(item),
        milestone=_title(item.get("milestone")),
        locked=_locked(item),
        merged_by=login(item.get("merged_by")),
        body=body,
    )


def _side(side: Json, heard: Heard | None) -> Side:
    """Return one end of a pull request; the branch of the other side is named by its author."""
    ref = side["ref"] if heard is None else heard.line(side["ref"])
    return Side(ref=ref or "", sha=side["sha"], repo=(side.get("repo") or {}).get("full_name"))


def _reviewers(item: Json) -> list[str]:
    teams = [f"@{team['slug']} (team)" for team in item.get("requested_teams") or ()]
    return [*logins(item.get("requested_reviewers")), *teams]


@as_documented
def commit(item: Json, author: Heard) -> Commit:
    """Return a commit of a pull request, whose author brought it, whoever made it."""
    told = item.get("commit") or {}
    signed = told.get("author") or {}
    heard = Heard(Author(login(item.get("author")), None), author.trust, author.withheld)
    message = heard.plain(told.get("message"))
    return Commit(
        **heard.members(),
        sha=item["sha"],
        html_url=item["html_url"],
        date=signed.get("date"),
        verified=(told.get("verification") or {}).get("verified"),
        message=message or "",
    )


@as_documented
def review(item: Json, heard: Heard) -> Review:
    """Return a review."""
    body = heard.text(item.get("body") or None)
    return Review(
        **heard.members(),
        **_of(item, "id", "state", "html_url", "commit_id", "submitted_at"),
        body=body,
    )


@as_documented
def thread_of_graphql(node: Json, comments: list[Comment]) -> Thread:
    """Return a review thread of GraphQL."""
    total = node["comments"]["totalCount"]
    return Thread(
        id=node["id"],
        is_resolved=node["isResolved"],
        is_outdated=node["isOutdated"],
        path=clean(node["path"]).text,
        line=node.get("line"),
        start_line=node.get("startLine"),
        side=node.get("diffSide"),
        subject_type=node.get("subjectType"),
        comments_left_out=total - len(comments),
        comments=comments,
    )


@as_documented
def comment_of_graphql(node: Json, heard: Heard) -> Comment:
    """Return a review comment of GraphQL."""
    body = heard.text(node.get("body"))
    return Comment(
        **heard.members(),
        id=node.get("databaseId") or 0,
        html_url=node["url"],
        created_at=node["createdAt"],
        updated_at=node.get("updatedAt"),
        body=body,
    )


@as_documented
def thread_of_rest(first: Json, comments: list[Comment]) -> Thread:
    """Return a review thread of REST, which does not say whether it is resolved."""
    return Thread(
        is_outdated=first.get("line") is None and first.get("subject_type") != "file",
        path=clean(first["path"]).text,
        line=first.get("line"),
        start_line=first.get("start_line"),
        side=first.get("side"),
        subject_type=(first.get("subject_type") or "").upper() or None,
        comments=comments,
    )


@as_documented
def check_run(item: Json) -> Check:
    """Return a check run; its name may be a stranger's, who can change workflow files."""
    return Check(
        name=_name(item["name"]),
        state=item.get("conclusion") or item["status"],
        app=(item.get("app") or {}).get("slug"),
        description=_name((item.get("output") or {}).get("title")) or None,
        url=item.get("details_url") or item.get("html_url"),
        **_of(item, "id", "started_at", "completed_at"),
    )


@as_documented
def status(item: Json) -> Check:
    """Return one status of the older API."""
    return Check(
        name=_name(item["context"]),
        state=item["state"],
        description=_name(item.get("description")) or None,
        url=item.get("target_url"),
        started_at=item.get("created_at"),
        completed_at=item.get("updated_at"),
    )
