"""What every tool works with: the desk of the server, and one `Call` for each tool call.

```
call = desk.call(context)
data = await call.get("/repos/{owner}/{repo}/issues/{issue_number}", repo=repo, issue_number=7)
(heard,) = await call.heard(repo, [data])
return Issue(body=heard.text(data["body"]), **heard.members(), **call.members())
```

Whatever is read or written passes the lists of what is allowed here, is remembered for the flow
guard here, and is asked with the credential and the time of the call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel

from core import untrusted
from core.backplane import Backplane
from core.context import Context
from core.errors import ToolError
from core.paging import FRAME_BYTES, Cursors, digest_of, fitting
from services.github import writes
from services.github.backend.requests import JSON, Download, Rate, Reply, Request
from services.github.excerpts import excerpt
from services.github.markdown import clean_markdown
from services.github.memory import Memory, Shared
from services.github.models.common import PageArguments, Planned, RateState, WriteArguments
from services.github.policy.access import Access
from services.github.policy.flow import FlowGuard, Reader, reader_of
from services.github.policy.names import Repo
from services.github.policy.trust import (
    Author,
    Repository,
    Trust,
    TrustLabel,
    author_of,
    is_withheld,
    origin,
)
from services.github.settings import GithubSettings

FINISH_S = 1.0
"""Left of a call's time for answering, when GitHub answers late."""
DEFAULT_PER_PAGE = 30
WITHHELD = "[withheld: written by someone without push access]"
MAX_TITLE_CHARS = 1_000
READ_AHEAD_CHARS = 1_000
REPOSITORY = "/repos/{owner}/{repo}"
FACTS = """fragment facts on Repository {
  nameWithOwner
  isPrivate
  visibility
  isArchived
  defaultBranchRef { name }
  viewerPermission
}"""
MUTATION = re.compile(r"\b(?:mutation|subscription)\b")
OWNERS = ("owner", "org", "login", "username", "organization")
"""Values of routes that choose the credential."""
PartT = TypeVar("PartT", bound=BaseModel)


class GitHub(Protocol):
    """What the desk needs of the backend."""

    def has_credential(self, owner: str | None) -> bool:
        """Whether requests for an owner carry a credential."""

    async def send(self, request: Request, *, owner: str | None, timeout_s: float) -> Reply:
        """Send a request; raises the errors of `services.github.errors`."""

    async def graphql(
        self,
        query: str,
        variables: Mapping[str, Any],
        *,
        owner: str | None,
        timeout_s: float,
        partial: bool = False,
    ) -> Reply:
        """Send a query; the reply's data is the member `data`.

        Args:
            partial: Parts that failed are null instead of an error.
        """

    async def download(
        self,
        request: Request,
        *,
        owner: str | None,
        timeout_s: float,
        max_bytes: int,
        tail_bytes: int | None = None,
    ) -> Download:
        """Fetch a file, log or archive."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Shared by all tools of one server.

    Attributes:
        known: Repositories by their keys.
        viewers: Logins of credentials' users by owner, "" for the general one; "" for no user.
        asks: Questions about repositories that are under way, by the repositories' keys.
    """

    github: GitHub
    settings: GithubSettings
    access: Access
    cursors: Cursors
    trust: Trust
    flow: FlowGuard
    writes: writes.Writes
    known: Memory[str, Repository]
    viewers: Memory[str, str]
    asks: Shared[str, Reply]

    @classmethod
    def of(
        cls,
        github: GitHub,
        settings: GithubSettings,
        cursors: Cursors,
        backplane: Backplane | None = None,
    ) -> Desk:
        """Return a desk as the settings describe it, beside those of other replicas."""
        return cls(
            github=github,
            settings=settings,
            access=Access(settings),
            cursors=cursors,
            trust=Trust(),
            flow=FlowGuard(
                on=settings.flow_guard, lifetime_s=settings.flow_memory_s, backplane=backplane
            ),
            writes=writes.Writes(
                settings.confirm_ttl_s, settings.repeat_window_s, backplane=backplane
            ),
            known=Memory(MAX_KNOWN, KNOWN_S),
            viewers=Memory(MAX_KNOWN, KNOWN_S),
            asks=Shared(),
        )

    def call(self, context: Context) -> Call:
        """Return what one call of a tool works with."""
        return Call(self, context)


MAX_KNOWN, KNOWN_S = 10_000, 300.0
MAX_ASKED_ABOUT = 10
"""Repositories that one call asks about one by one."""


class Call:
    """One call of a tool.

    Attributes:
        warnings: What the reader of the result should know; tools may add to it.
        untrusted: Whether strangers' text is in the result; tools may set it.
        reader: Whom the flow guard remembers.
    """

    def __init__(self, desk: Desk, context: Context) -> None:
        self.desk = desk
        self.context = context
        self.reader: Reader = reader_of(context)
        self.warnings: list[str] = []
        self.untrusted = False
        self._rate: Rate | None = None
        self._withheld = 0
        self._asked_about = 0

    # -- reading ----------------------------------------------------------------------------------

    async def get(
        self,
        route: str,
        /,
        *,
        query: Mapping[str, Any] | None = None,
        accept: str = JSON,
        **values: Any,
    ) -> Any:
        """Return the JSON of a GET (text where `accept` asks for another media type).

        Args:
            values: What fills the route; `repo` may be a `Repo`, which gives `owner` too.

        Raises:
            ToolError: Of `services.github.errors`.
        """
        return (await self.reply(_request(route, query or {}, accept, values))).data

    async def page(
        self,
        route: str,
        /,
        *,
        query: Mapping[str, Any] | None = None,
        page: int | None = None,
        per_page: int | None = None,
        **values: Any,
    ) -> Reply:
        """Return one page of a list with the number of the next; raises as `get`."""
        paged = {**(query or {}), "page": page, "per_page": per_page}
        return await self.reply(_request(route, paged, JSON, values))

    async def reply(self, request: Request) -> Reply:
        """Return the whole answer to a GET or HEAD; raises as `get`."""
        if not request.reads:
            raise ValueError(f"{request.method} {request.route}: writes go through `write`")
        await self._enter(request)
        reply = await self.send(request, owner=owner_of(request.values))
        if request.route == REPOSITORY:
            self._learn(Repository.of(reply.data))
        return reply

    async def graphql(
        self,
        query: str,
        /,
        *,
        repo: Repo | None = None,
        of_owner: str | None = None,
        **variables: Any,
    ) -> Any:
        """Return the data of a query (not a mutation); raises as `get`.

        Args:
            repo: What the query reads; it is checked and remembered, and fills the variables owner
                and repo. A query that finds repositories by itself has to ask `may_read` for each.
            of_owner: Whose credential is used, where no variable says it.
        """
        if MUTATION.search(query):
            raise ValueError("mutations go through `write`")
        if repo is not None:
            await self._reads(repo)
            variables = {"owner": repo.owner, "repo": repo.name, **variables}
        owner = of_owner or owner_of(variables)
        reply = await self.desk.github.graphql(
            query, variables, owner=owner, timeout_s=self.timeout_s
        )
        return self._noted(reply).data

    async def download(
        self, request: Request, *, max_bytes: int | None = None, tail_bytes: int | None = None
    ) -> Download:
        """Return a file, log or archive; raises as `get`.

        Args:
            tail_bytes: Only so many bytes of its end.
        """
        await self._enter(request)
        limit = self.desk.settings.max_download_bytes
        return await self.desk.github.download(
            request,
            owner=owner_of(request.values),
            timeout_s=self.timeout_s,
            max_bytes=min(max_bytes or limit, limit),
            tail_bytes=tail_bytes,
        )

    async def send(self, request: Request, *, owner: str | None) -> Reply:
        """Send a request as it is: for `reply` and for permits of `services.github.writes`."""
        github, timeout_s = self.desk.github, self.timeout_s
        if request.route == writes.GRAPHQL:
            query, variables = request.body["query"], request.body["variables"]
            return self._noted(
                await github.graphql(query, variables, owner=owner, timeout_s=timeout_s)
            )
        return self._noted(await github.send(request, owner=owner, timeout_s=timeout_s))

    @property
    def timeout_s(self) -> float:
        """Seconds the next request may take."""
        left_s = self.context.remaining_s - FINISH_S
        return max(0.1, min(self.desk.settings.timeout_s, left_s))

    def _noted(self, reply: Reply) -> Reply:
        self._rate = reply.rate or self._rate
        self.warnings.extend(reply.warnings)
        return reply

    async def _enter(self, request: Request) -> None:
        """Check the repository that a request names."""
        request.path()  # refuses what leads elsewhere, before anything is asked
        owner, name = request.values.get("owner"), request.values.get("repo")
        if isinstance(owner, str) and isinstance(name, str):
            repo = Repo.parse(owner, name)
            if request.route == REPOSITORY:  # its answer says what `_reads` would ask for
                self.desk.access.check_read(repo)
            else:
                await self._reads(repo)

    async def _reads(self, repo: Repo) -> None:
        """Check that a repository may be read, and remember it when it is private."""
        self.desk.access.check_read(repo)
        if self.desk.flow.on and self.has_credential(repo.owner):
            facts = await self.facts(repo)
            if facts is None or facts.private:
                self.read_private(repo.full_name)

    # -- what is known of repositories and people -------------------------------------------------

    def may_read(self, full_name: str) -> bool:
        """Whether a repository that an answer names may be shown."""
        try:
            return self.desk.access.may_read(Repo.parse_full(full_name))
        except ToolError:
            return False

    async def repository(self, repo: Repo) -> Repository:
        """Return what is known of a repository; GitHub is asked once in a while.

        Raises:
            ToolError: As `get`.
        """
        self.desk.access.check_read(repo)
        known = self.desk.known.get(repo.key)
        if known is None:
            reply = await self.desk.asks.share(repo.key, lambda: self._ask_for(repo))
            known = Repository.of(self._noted(reply).data)
            self.desk.known.put(repo.key, known)
        return known

    async def _ask_for(self, repo: Repo) -> Reply:
        """Ask what a repository is, for whichever calls wait for it."""
        request = _request(REPOSITORY, {}, JSON, {"repo": repo})
        timeout_s = self.desk.settings.timeout_s
        return await self.desk.github.send(request, owner=repo.owner, timeout_s=timeout_s)

    def _learn(self, found: Repository) -> None:
        """Keep what GitHub told about a repository, and remember that a private one was read."""
        self.desk.known.put(found.full_name.lower(), found)
        if found.private:
            self.read_private(found.full_name)

    async def facts(self, repo: Repo) -> Repository | None:
        """Return what is known of a repository, None where GitHub does not say.

        One call asks about a few repositories at most; `learn` asks about many at once.
        """
        if self.desk.known.get(repo.key) is None:
            self._asked_about += 1
            if self._asked_about > MAX_ASKED_ABOUT:
                return None
        try:
            return await self.repository(repo)
        except ToolError:
            return None

    async def learn(self, repos: Iterable[Repo]) -> None:
        """Ask what several repositories are, in one request; for lists over many of them."""
        unknown = {repo.key: repo for repo in repos if self.desk.known.get(repo.key) is None}
        if len(unknown) < 2 or not self.has_credential(None):
            return
        names = [{"owner": repo.owner, "name": repo.name} for repo in unknown.values()]
        variables = {f"{part}{i}": name[part] for i, name in enumerate(names) for part in name}
        try:
            reply = await self.desk.github.graphql(
                many_repositories(len(names)),
                variables,
                owner=None,
                timeout_s=self.timeout_s,
                partial=True,
            )
        except ToolError:  # what is not known counts as private for reading, public for writing
            return
        for found in (reply.data or {}).values():
            if found is not None:
                known = Repository.of_graphql(found)
                self.desk.known.put(known.full_name.lower(), known)

    def has_credential(self, owner: str | None) -> bool:
        """Whether requests for an owner carry a credential."""
        return self.desk.github.has_credential(owner)

    async def ask(self, route: str, /, **values: Any) -> Any:
        """Return the answer to a GET that is about a repository checked before."""
        request = _request(route, {}, JSON, values)
        return (await self.send(request, owner=owner_of(request.values))).data

    async def viewer(self, owner: str) -> str | None:
        """Return the login of the credential's user; None for Apps and without one."""
        if not self.has_credential(owner):
            return None
        settings = self.desk.settings
        has_own = settings.app_id is not None or owner.lower() in settings.tokens
        whose = owner.lower() if has_own else ""
        known = self.desk.viewers.get(whose)
        if known is None:
            known = await self._ask_viewer(owner)
            self.desk.viewers.put(whose, known)
        return known or None

    async def _ask_viewer(self, owner: str) -> str:
        try:
            reply = await self.send(Request(route="/user"), owner=owner)
        except ToolError:  # an installation of an App is no user
            return ""
        return str(reply.data.get("login") or "")

    # -- strangers' text --------------------------------------------------------------------------

    async def heard(self, repo: Repo, items: Sequence[Mapping[str, Any]]) -> list[Heard]:
        """Return who wrote each of a repository's items (issues, comments …), ready for its text.

        Args:
            items: JSON objects as GitHub sent them, with `user` or `author`.
        """
        authors = [author_of(item) for item in items]
        public_only = not self.has_credential(repo.owner)
        facts = None if public_only else await self.facts(repo)
        labels = await self.desk.trust.labels(self, repo, authors, facts)
        heard = []
        for author, label in zip(authors, labels, strict=True):
            withheld = is_withheld(label, facts, self.desk.settings.lockdown)
            self._note_stranger(repo.full_name, label, facts, withheld)
            heard.append(Heard(author, label, withheld))
        for one, item in zip(heard, items, strict=True):
            await one.ahead(item.get("body"))
        return heard

    async def origin(self, repo: Repo, ref: str | None = None) -> TrustLabel:
        """Return whose files, diffs and logs a repository has, and remember strangers' ones."""
        facts = await self.facts(repo) if self.has_credential(repo.owner) else None
        label = origin(facts, ref)
        self._note_stranger(repo.full_name, label, facts, withheld=False)
        return label

    def heard_in_public(self, place: str) -> None:
        """Note text of strangers that is in no repository, such as a gist."""
        self.untrusted = True
        self.desk.flow.read_untrusted(self.reader, place)

    def read_private(self, thing: str) -> None:
        """Note for the flow guard that something was read which not everybody can read."""
        self.desk.flow.read_private(self.reader, thing)

    def _note_stranger(
        self, place: str, label: TrustLabel, facts: Repository | None, withheld: bool
    ) -> None:
        if label == "trusted":
            return
        self.untrusted = True
        if withheld:
            self._withheld += 1
        elif facts is None or not facts.private:
            self.desk.flow.read_untrusted(self.reader, place)

    # -- writing ----------------------------------------------------------------------------------

    async def write(
        self,
        plan: writes.Plan,
        arguments: WriteArguments,
        marker: writes.Marker | None = None,
    ) -> writes.Written:
        """Carry out a plan of one request; see `services.github.writes.write`."""
        return await writes.write(self, plan, arguments, marker)

    async def permit(self, plan: writes.Plan, arguments: WriteArguments) -> writes.Permit | Planned:
        """Decide about a plan of several requests; see `services.github.writes.permit`."""
        return await writes.permit(self, plan, arguments)

    # -- the result -------------------------------------------------------------------------------

    def window(self, arguments: PageArguments, *, per_page: int = DEFAULT_PER_PAGE) -> Window:
        """Return the part of a list that the arguments ask for.

        Raises:
            CursorRefused: The cursor is of another call.
        """
        asked = arguments.model_dump(exclude={"page", "cursor", "after"})
        digest = digest_of(type(arguments).__name__, asked, self.context.principal.name)
        position = self.desk.cursors.position_of(arguments.cursor, digest)
        first = getattr(arguments, "after", None) or arguments.page or 1
        start, skip = (first, 0) if position is None else position
        return Window(
            start=start,
            per_page=arguments.perPage or per_page,
            skip=skip,
            digest=digest,
            cursors=self.desk.cursors,
            max_bytes=self.desk.settings.answer_bytes,
        )

    def rate(self) -> RateState | None:
        """Return the quota after the last request."""
        rate = self._rate
        if rate is None:
            return None
        return RateState(
            remaining=rate.remaining,
            limit=rate.limit,
            reset_at=rate.reset_at,
            resource=rate.resource,
        )

    def members(self) -> dict[str, Any]:
        """Return the members that every `GitHubResult` has; asked for last."""
        return {
            "rate": self.rate(),
            "warnings": list(dict.fromkeys([*self.warnings, *self._lockdown_told()])),
            "untrusted": self.untrusted,
        }

    def passage(self, text: str | None, cursor: str | None, *of: Any) -> Passage:
        """Return the part of a text that fits into an answer.

        Args:
            cursor: Where an earlier part of it ended.
            of: What names the text; the cursor is good for no other.

        Raises:
            CursorRefused: The cursor is of another call.
        """
        cursors = self.desk.cursors
        digest = digest_of(*of, self.context.principal.name)
        start_at = cursors.position_of(cursor, digest)
        if not text:
            return Passage(text, None)
        max_bytes = self.desk.settings.answer_bytes - FRAME_BYTES
        part = excerpt(text, start_at=start_at, max_bytes=max_bytes)
        at = part.next_at
        return Passage(part.text, None if at is None else cursors.make(at, digest))

    def _lockdown_told(self) -> list[str]:
        if not self._withheld:
            return []
        return [
            f"Texts are withheld ({self._withheld} in all) because their authors have no push "
            f"access: MCP_GITHUB_LOCKDOWN={self.desk.settings.lockdown}, set by the operator."
        ]


class Heard:
    """One item with a known author; its texts are told through it.

    Attributes:
        hidden_removed: Characters left out so far; ask for `members` after the texts.
        ready: Texts that were cleaned before they are asked for.
    """

    def __init__(self, author: Author, trust: TrustLabel, withheld: bool) -> None:
        self.author = author
        self.trust = trust
        self.withheld = withheld
        self.hidden_removed = 0
        self.ready: dict[str, untrusted.Cleaned] = {}

    async def ahead(self, value: Any) -> Heard:
        """Clean a text beside the event loop, if it is long, before it is asked for; return self.

        Cleaning GitHub's longest takes 0.2 s, in which nobody else would be answered.
        """
        if isinstance(value, str) and len(value) > READ_AHEAD_CHARS and not self.withheld:
            self.ready[value] = await asyncio.to_thread(clean_markdown, value)
        return self

    def text(
        self, value: str | None, *, limit: int | None = None, more: str = "cursor"
    ) -> str | None:
        """Return a markdown text as people see it, or that it is withheld.

        Args:
            limit: Characters that are shown; None for all.
            more: The tool or argument that shows all of it.
        """
        if value is None or self.withheld:
            return WITHHELD if value else None
        cleaned = self.ready.get(value) or clean_markdown(value)
        return clipped(self._kept(cleaned), limit, more)

    def line(self, value: str | None) -> str | None:
        """Return a title or name, which GitHub shows as it is."""
        if value is None or self.withheld:
            return WITHHELD if value else None
        return clipped(self._kept(untrusted.clean(value)), MAX_TITLE_CHARS, "the page")

    def plain(self, value: str | None, *, limit: int | None = None, more: str = "") -> str | None:
        """Return text that is no markdown (a diff, a commit's message), or that it is withheld."""
        if value is None or self.withheld:
            return WITHHELD if value else None
        return clipped(self._kept(untrusted.clean(value)), limit, more)

    def _kept(self, cleaned: untrusted.Cleaned) -> str:
        self.hidden_removed += cleaned.removed
        return cleaned.text

    def members(self) -> dict[str, Any]:
        """Return the members that every `Voice` has."""
        return {
            "author": self.author.login,
            "author_association": self.author.association,
            "trust": self.trust,
            "withheld": self.withheld,
            "hidden_removed": self.hidden_removed,
        }


def clipped(text: str, limit: int | None, more: str) -> str:
    """Return the beginning of a text, with a note of how much is missing and what shows it."""
    if limit is None or len(text) <= limit:
        return text
    shows = f"; {more} shows all" if more else ""
    return f"{text[:limit]}… [{len(text) - limit} more characters{shows}]"


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a long text; `next_cursor` goes on behind it, None at the end."""

    text: str | None
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a list that one call returns.

    Attributes:
        start: Number of GitHub's page, or the `after` of a GraphQL list.
        skip: Items of that page that earlier calls returned.
    """

    start: int | str
    per_page: int
    skip: int
    digest: str
    cursors: Cursors
    max_bytes: int

    @property
    def page(self) -> int:
        """The number of the page, for lists of REST."""
        return self.start if isinstance(self.start, int) else 1

    @property
    def after(self) -> str | None:
        """The position, for lists of GraphQL."""
        return self.start if isinstance(self.start, str) else None

    def rest(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return the items of GitHub's page that were not returned before."""
        return items[self.skip :]

    def cut(
        self, parts: Sequence[PartT], following: int | str | None, *, total: int | None = None
    ) -> tuple[list[PartT], dict[str, Any]]:
        """Return the parts that fit into an answer, and the members of a `Page` about the rest.

        Args:
            parts: One for each item of `rest`.
            following: The next page's number (`Reply.next_page`) or `after`; None at the end.
            total: Of the whole list, when GitHub says it.
        """
        shown = list(parts[: fitting(parts, self.max_bytes)])
        by_bytes = len(shown) < len(parts)
        following = following if self._leads_on(following) else None
        position = [self.start, self.skip + len(shown)] if by_bytes else [following, 0]
        more = by_bytes or following is not None
        reason: Literal["bytes", "limit"] = "bytes" if by_bytes else "limit"
        return shown, {
            "returned": len(shown),
            "total": total,
            "truncated": more,
            "truncated_by": reason if more else None,
            "next_cursor": self.cursors.make(position, self.digest) if more else None,
        }

    def _leads_on(self, following: int | str | None) -> bool:
        """Whether a next page is one: a link back to this page would be followed for ever."""
        if isinstance(following, int) and isinstance(self.start, int):
            return following > self.start
        return following != self.start


def many_repositories(count: int) -> str:
    """Return the query for what is known of so many repositories."""
    holes = ", ".join(f"$owner{i}: String!, $name{i}: String!" for i in range(count))
    asked = "\n".join(
        f"  r{i}: repository(owner: $owner{i}, name: $name{i}) {{ ...facts }}" for i in range(count)
    )
    return f"query({holes}) {{\n{asked}\n}}\n{FACTS}"


def owner_of(values: Mapping[str, Any]) -> str | None:
    """Return the owner whose credential a request takes; None for the general one."""
    for name in OWNERS:
        if isinstance(value := values.get(name), str):
            return value
    return None


def _request(
    route: str, query: Mapping[str, Any], accept: str, values: Mapping[str, Any]
) -> Request:
    repo = values.get("repo")
    if isinstance(repo, Repo):
        values = {**values, "owner": repo.owner, "repo": repo.name}
    return Request(route=route, values=values, query=query, accept=accept)
