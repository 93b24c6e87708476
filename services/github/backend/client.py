"""What asks GitHub: requests in bounded threads, each within its time.

```
send graphql download
   └── _answered      repeats what only reads; cache; redirects
         └── _once    one exchange in a thread: limits before, errors and health after
               └── PyGithub ── Exchange ── Connection
```

PyGithub's own retries, waiting and spacing are off: they sleep in the thread, which neither a
deadline nor a cancelled call can end, and send a POST again after a 5xx.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from github import Github

from core.errors import Busy, InvalidArguments, ToolError
from core.observability.health import Component
from services.github.backend.cache import Cache, Key
from services.github.backend.connections import Connections, Origin
from services.github.backend.credentials import Credential, Credentials
from services.github.backend.exchange import Answer, Exchange, Reading, Target
from services.github.backend.failures import (
    BREAKAGES,
    Redactor,
    breakage,
    graphql_refusal,
    outcome_unknown,
    refusal,
    retry_after,
)
from services.github.backend.health import Record
from services.github.backend.limits import Limits
from services.github.backend.parsing import parsed
from services.github.backend.requests import JSON, Download, Reply, Request, pages
from services.github.errors import (
    AuthRequired,
    BadName,
    BadResponse,
    GithubDown,
    GithubError,
    GithubTimeout,
    GithubUnreachable,
    NotFoundOrNoAccess,
    NotReady,
    RepositoryMoved,
)
from services.github.policy.access import Access
from services.github.policy.names import Repo, checked_segments
from services.github.settings import GithubSettings

API_VERSION = "2022-11-28"
USER_AGENT = "mcp-github (PyGithub)"
MAX_REDIRECTS = 3
FIRST_PAUSE_S = 0.25
NOT_READY_PAUSE_S = 1.0
PARSE_IN_THREAD_BYTES = 200_000
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One request on its way: what is sent where, as whom, and what may come back.

    Attributes:
        path: Below the API's base URL.
        asked: For messages; without the query, which may be long.
        writes: Whether it changes something.
        repeats: Whether it may be sent again.
        signed: Through PyGithub, with the credential; False for storage elsewhere.
    """

    method: str
    target: Target
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str]
    body: Any = None
    credential: Credential
    asked: str
    writes: bool
    repeats: bool
    reading: Reading
    signed: bool = True


class Client:
    """GitHub's API, REST and GraphQL.

    Args:
        settings: Where, as whom, within which limits.
        access: What redirects are put to again.
        wall_clock: Seconds since 1970, which GitHub tells resets in.
    """

    def __init__(
        self,
        settings: GithubSettings,
        access: Access | None = None,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._access = access or Access(settings)
        self._wall_clock = wall_clock
        self._redactor = Redactor()
        self._credentials = Credentials(settings)
        self._redactor.learn(*self._credentials.secrets())
        base = urlsplit(settings.api_url)
        self._origin = Origin.of(base)
        self._prefix = base.path
        self._connections = Connections(ca_file=settings.ca_file, max_idle=settings.workers)
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="github")
        self._running: set[Exchange] = set()
        self._cache = Cache(settings.cache_bytes)
        self._limits = Limits(wall_clock)
        self._record = Record(wall_clock)
        self._next_write: dict[str, float] = {}

    # --- what callers use ---------------------------------------------------------------------

    def has_credential(self, owner: str | None) -> bool:
        """Whether requests for an owner carry a credential."""
        return self._credentials.any_for(owner)

    async def send(
        self, request: Request, *, owner: str | None, timeout_s: float | None = None
    ) -> Reply:
        """Send a request and return its answer, following renamed repositories when it reads.

        Args:
            owner: Whose credential is used; None for the general one.
            timeout_s: Seconds for everything; of the settings when not given.

        Raises:
            BadName: A value does not fit into the route; nothing was sent.
            ToolError: See `services.github.errors`.
        """
        deadline = self._deadline(timeout_s)
        errand = self._errand(request, await self._credential(owner, deadline))
        answer, cached = await self._answered(errand, deadline)
        return await self._reply(errand, answer, cached)

    async def graphql(
        self,
        query: str,
        variables: Mapping[str, Any],
        *,
        owner: str | None,
        timeout_s: float | None = None,
        partial: bool = False,
    ) -> Reply:
        """Send a GraphQL query or mutation and return its data.

        Args:
            query: The document, written by us; what callers say goes into variables.
            partial: Return what there is when a part failed, with `warnings`; without, it is an
                error.

        Raises:
            AuthRequired: There is no credential; GraphQL answers to nobody.
            ToolError: See `services.github.errors`.
        """
        deadline = self._deadline(timeout_s)
        credential = await self._credential(owner, deadline)
        if credential.auth is None:
            raise AuthRequired("GraphQL, which this needs, answers only to a credential.")
        errand = self._graphql_errand(query, variables, credential)
        answer, _ = await self._answered(errand, deadline)
        reply = await self._reply(errand, answer, cached=False)
        return self._graphql_reply(reply, credential, partial)

    async def download(
        self,
        request: Request,
        *,
        owner: str | None,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
        tail_bytes: int | None = None,
    ) -> Download:
        """Read a file, log or archive, following GitHub to its storage without the credential.

        Args:
            max_bytes: Bytes that are read at most; of the settings when not given.
            tail_bytes: Return only so many, the last ones.
        """
        deadline = self._deadline(timeout_s)
        reading = Reading(max_bytes or self.settings.max_download_bytes, False, tail_bytes)
        errand = self._errand(request, await self._credential(owner, deadline))
        errand = replace(errand, reading=reading)
        answer, _ = await self._answered(errand, deadline)
        for _ in range(MAX_REDIRECTS):
            if answer.status not in _REDIRECTS:
                break
            errand = self._storage_errand(errand, answer)
            answer, _ = await self._answered(errand, deadline)
        else:
            raise BadResponse(f"{errand.asked}: redirected more than {MAX_REDIRECTS} times.")
        return _download(await self._end_of(errand, answer, deadline), reading)

    async def component(self) -> Component:
        """Say which credentials there are and how the last request went; sends nothing."""
        return self._record.component(self._credentials.kinds(), self._limits.states())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """Serve; afterwards everything that is under way ends."""
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """End what is under way and close every connection."""
        for exchange in list(self._running):
            exchange.end()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    # --- errands ------------------------------------------------------------------------------

    def _deadline(self, timeout_s: float | None) -> float:
        return asyncio.get_running_loop().time() + (timeout_s or self.settings.timeout_s)

    async def _credential(self, owner: str | None, deadline: float) -> Credential:
        return await self._credentials.of(owner)

    def _errand(self, request: Request, credential: Credential) -> Errand:
        path = request.path()
        parameters = request.parameters()
        _check_text(request.body)
        return Errand(
            method=request.method,
            target=self._target(self._prefix + path, parameters),
            path=path,
            parameters=parameters,
            headers={"Accept": request.accept},
            body=request.body,
            credential=credential,
            asked=f"{request.method} {path}",
            writes=not request.reads,
            repeats=request.reads,
            reading=Reading(self.settings.max_response_bytes),
        )

    def _graphql_errand(
        self, query: str, variables: Mapping[str, Any], credential: Credential
    ) -> Errand:
        """GitHub Enterprise Server has it beside the REST API: /api/v3 and /api/graphql."""
        _check_text(variables)
        return Errand(
            method="POST",
            target=self._target(self._prefix.removesuffix("/v3") + "/graphql", {}),
            path="/graphql",
            headers={"Accept": JSON},
            body={"query": query, "variables": dict(variables)},
            credential=credential,
            asked="POST /graphql",
            writes=query.lstrip().startswith("mutation"),
            repeats=False,
            reading=Reading(self.settings.max_response_bytes),
        )

    def _storage_errand(self, errand: Errand, answer: Answer) -> Errand:
        """Follow a download to where GitHub keeps it: https, or the API's own origin."""
        parts = urlsplit(answer.headers.get("location", ""))
        try:
            origin = Origin.of(parts)
        except ValueError:
            raise BadResponse(f"{errand.asked}: redirected to what is no URL.") from None
        if origin.scheme != "https" and origin != self._origin:
            raise BadResponse(f"{errand.asked}: redirected to a place without TLS.")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return replace(
            errand,
            target=Target(origin, path),
            headers={"Accept": "*/*", "User-Agent": USER_AGENT},
            signed=False,
        )

    def _target(self, path: str, parameters: Mapping[str, str]) -> Target:
        query = f"?{urlencode(sorted(parameters.items()))}" if parameters else ""
        return Target(self._origin, path + query)

    # --- answers ------------------------------------------------------------------------------

    async def _answered(self, errand: Errand, deadline: float) -> tuple[Answer, bool]:
        """Return the answer and whether it is from the cache."""
        for _ in range(MAX_REDIRECTS):
            answer, cached = await self._conditionally(errand, deadline)
            stored = not errand.signed or (answer.status == 302 and not errand.reading.whole)
            if answer.status not in _REDIRECTS or stored:
                return answer, cached
            errand = await self._moved(errand, answer, deadline)
        raise BadResponse(f"{errand.asked}: redirected more than {MAX_REDIRECTS} times.")

    async def _conditionally(self, errand: Errand, deadline: float) -> tuple[Answer, bool]:
        if errand.method != "GET" or not errand.reading.whole:
            return await self._repeatedly(errand, deadline), False
        key = Key(errand.credential.name, errand.target.url, errand.headers["Accept"])
        kept = self._cache.get(key)
        if kept is not None:
            headers = {**errand.headers, "If-None-Match": kept.headers["etag"]}
            errand = replace(errand, headers=headers)
        answer = await self._repeatedly(errand, deadline)
        if kept is not None and answer.status == 304:
            return replace(kept, headers={**kept.headers, **_fresh(answer.headers)}), True
        if answer.status == 200:
            self._cache.put(key, answer)
        return answer, False

    async def _repeatedly(self, errand: Errand, deadline: float) -> Answer:
        """Send it, and again when it only reads and GitHub fails; never later than the deadline."""
        for left in range(self.settings.retries if errand.repeats else 0, -1, -1):
            try:
                return await self._once(errand, deadline)
            except (GithubDown, GithubUnreachable, NotReady) as error:
                pause = FIRST_PAUSE_S * 2 ** (self.settings.retries - left)
                if isinstance(error, NotReady):
                    pause = NOT_READY_PAUSE_S
                late = asyncio.get_running_loop().time() + pause >= deadline
                if not left or late or not error.retryable:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _once(self, errand: Errand, deadline: float) -> Answer:
        """Make one exchange; an answer of 400 or above is an error."""
        name = errand.credential.name
        try:
            if errand.signed:
                self._limits.check(name, errand.path, errand.asked)
            if errand.writes:
                await self._turn_to_write(name, deadline)
            answer = await self._exchanged(errand, deadline)
            if errand.signed:
                self._limits.note(name, errand.path, answer.headers)
            self._check_status(errand, answer)
        except ToolError as error:
            self._limits.note_refusal(name, error)
            self._record.failed(error)
            raise
        self._record.worked()
        return answer

    async def _exchanged(self, errand: Errand, deadline: float) -> Answer:
        loop = asyncio.get_running_loop()
        remaining_s = deadline - loop.time()
        exchange = Exchange(
            self._connections,
            errand.method,
            errand.target,
            errand.reading,
            connect_timeout_s=self.settings.connect_timeout_s,
            timeout_s=max(remaining_s, 0.001),
        )
        self._running.add(exchange)
        try:
            async with asyncio.timeout_at(deadline):
                await loop.run_in_executor(self._threads, self._carry_out, errand, exchange)
        except TimeoutError:
            exchange.end()
            raise self._too_late(errand, exchange) from None
        except asyncio.CancelledError:
            exchange.end()
            raise
        except BREAKAGES as error:
            raise breakage(error, errand.asked, writes=errand.writes, sent=exchange.sent) from error
        finally:
            self._running.discard(exchange)
        assert exchange.answer is not None
        return exchange.answer

    def _carry_out(self, errand: Errand, exchange: Exchange) -> None:
        """Run in a worker thread: let PyGithub write the request, into the exchange."""
        if not errand.signed:
            exchange.request(errand.method, errand.target.path, None, errand.headers)
            return
        github = Github(
            auth=errand.credential.auth,
            base_url=self.settings.api_url,
            timeout=max(1, int(self.settings.timeout_s)),
            user_agent=USER_AGENT,
            per_page=50,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            lazy=True,
            api_version=API_VERSION,
        )
        url = errand.target.url.partition("?")[0]
        github.requester.requestJson(
            errand.method,
            url,
            dict(errand.parameters),
            dict(errand.headers),
            errand.body,
            cnx=exchange,  # type: ignore[arg-type]  # has what PyGithub uses of its own class
        )

    async def _turn_to_write(self, credential: str, deadline: float) -> None:
        """Wait until `write_interval_s` have gone by since the credential's last write."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next_write.get(credential, 0.0))
        if turn >= deadline:
            raise Busy("Too many writes are waiting; nothing was sent.")
        self._next_write[credential] = turn + self.settings.write_interval_s
        await asyncio.sleep(turn - now)

    def _too_late(self, errand: Errand, exchange: Exchange) -> ToolError:
        if not exchange.started:
            return Busy(
                f"{errand.asked}: all {self.settings.workers} places for requests were in use; "
                "nothing was sent."
            )
        if errand.writes and exchange.sent:
            return outcome_unknown(errand.asked, "no answer came in time")
        return GithubTimeout(f"{errand.asked}: GitHub did not answer in time.")

    def _check_status(self, errand: Errand, answer: Answer) -> None:
        if answer.status == 202 and errand.repeats:
            raise NotReady(
                f"{errand.asked}: GitHub is still working the answer out.",
                retry_after_s=retry_after(answer.headers) or 5,
            )
        if answer.status < 400:
            return
        if not errand.signed:
            raise _storage_refusal(errand, answer)
        if answer.status >= 500 and errand.writes:
            raise outcome_unknown(errand.asked, f"GitHub failed with {answer.status}")
        raise refusal(
            answer,
            errand.asked,
            authenticated=errand.credential.auth is not None,
            now=self._wall_clock(),
            redactor=self._redactor,
        )

    # --- redirects ----------------------------------------------------------------------------

    async def _moved(self, errand: Errand, answer: Answer, deadline: float) -> Errand:
        """Return the errand to where GitHub's API has moved something.

        Raises:
            RepositoryMoved: It writes, and what it meant may not be what is there.
            BadResponse: It leads away from the API.
            RepositoryNotAllowed: The repository is not in the lists under its new name.
        """
        if not errand.repeats:
            raise RepositoryMoved(f"{errand.asked}: the repository has another name now.")
        parts = urlsplit(answer.headers.get("location", ""))
        try:
            path = self._below_base(Origin.of(parts), parts.path)
            parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        except (ValueError, BadName):
            raise BadResponse(f"{errand.asked}: redirected away from GitHub's API.") from None
        moved = replace(
            errand,
            target=self._target(self._prefix + path, parameters),
            path=path,
            parameters=parameters,
        )
        await self._admit(moved, deadline)
        return moved

    def _below_base(self, origin: Origin, path: str) -> str:
        if origin != self._origin or not path.startswith(self._prefix + "/"):
            raise ValueError("another origin, or another path of it")
        below = path.removeprefix(self._prefix)
        checked_segments(below[1:], "path")
        return below

    async def _admit(self, moved: Errand, deadline: float) -> None:
        """Put a repository to the lists again, under the name that it has now."""
        parts = moved.path.split("/")
        if not self._access.narrowed or parts[1] not in ("repos", "repositories"):
            return
        if parts[1] == "repos":
            full_name = "/".join(parts[2:4])
        else:
            request = Request(route="/repositories/{id}", values={"id": parts[2]})
            named = self._errand(request, moved.credential)
            answer, _ = await self._conditionally(named, deadline)
            full_name = str(parsed(answer, moved.asked, self._redactor)["full_name"])
        self._access.check_read(Repo.parse_full(full_name))

    async def _end_of(self, errand: Errand, answer: Answer, deadline: float) -> Answer:
        """Ask for the last bytes alone, when the whole is larger than what is read."""
        tail, total = errand.reading.tail_bytes, answer.total_bytes
        if tail is None or total is None or total <= errand.reading.max_bytes:
            return answer
        headers = {**errand.headers, "Range": f"bytes={max(0, total - tail)}-"}
        last, _ = await self._answered(replace(errand, headers=headers), deadline)
        return replace(last, total_bytes=total) if last.status == 206 else answer

    # --- replies ------------------------------------------------------------------------------

    async def _reply(self, errand: Errand, answer: Answer, cached: bool) -> Reply:
        if len(answer.body) > PARSE_IN_THREAD_BYTES:
            data = await asyncio.to_thread(parsed, answer, errand.asked, self._redactor)
        else:
            data = parsed(answer, errand.asked, self._redactor)
        next_page, last_page = pages(answer.headers)
        return Reply(
            status=answer.status,
            data=data,
            headers=answer.headers,
            rate=self._limits.note(errand.credential.name, errand.path, answer.headers),
            next_page=next_page,
            last_page=last_page,
            cached=cached,
        )

    def _graphql_reply(self, reply: Reply, credential: Credential, partial: bool) -> Reply:
        document = reply.data if isinstance(reply.data, dict) else {}
        data, errors = document.get("data"), document.get("errors") or ()
        if not errors and data is not None:
            return replace(reply, data=data)
        error = graphql_refusal(errors, self._redactor, self._wall_clock())
        has_data = isinstance(data, dict) and any(part is not None for part in data.values())
        if partial and has_data:
            return replace(reply, data=data, warnings=(error.message,))
        self._limits.note_refusal(credential.name, error)
        raise error


def _fresh(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a 304 that tell of now: the quota, the date."""
    return {k: v for k, v in headers.items() if k.startswith("x-ratelimit-") or k == "date"}


def _download(answer: Answer, reading: Reading) -> Download:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Download(
        content=answer.body,
        total_bytes=answer.total_bytes,
        truncated=answer.truncated or len(answer.body) < (answer.total_bytes or 0),
        media_type=media_type or None,
    )


def _storage_refusal(errand: Errand, answer: Answer) -> ToolError:
    what = f"{errand.asked}: GitHub's storage answers with {answer.status}."
    if answer.status >= 500:
        return GithubDown(what, status=answer.status)
    if answer.status in (404, 410):
        return NotFoundOrNoAccess(what, hint="It has expired, or was deleted.")
    return GithubError(what, status=answer.status, hint="Try again for a new link.")


def _check_text(value: Any) -> None:
    """Refuse lone surrogates in what is sent: JSON can write them, GitHub cannot keep them."""
    try:
        _encode_all(value)
    except UnicodeEncodeError:
        raise InvalidArguments("A text has half a surrogate pair, which is no character.") from None


def _encode_all(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, Mapping):
        for name, member in value.items():
            _encode_all(name)
            _encode_all(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _encode_all(member)
