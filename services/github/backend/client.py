"""What asks GitHub for the tools: repeats what only reads, keeps answers, follows renamed names.

```
send graphql download
   └── _answered       redirects within the API, each put to the allow lists again
         └── _cached   If-None-Match
               └── _repeatedly   5xx, broken connections and 202, when the request only reads
                     └── Transport.answer
```
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from core.observability.health import Component
from services.github.backend.cache import Cache, Key
from services.github.backend.credentials import Credential, Credentials
from services.github.backend.exchange import Answer, Reading
from services.github.backend.failures import Redactor, graphql_refusal, unreadable
from services.github.backend.parsing import parsed
from services.github.backend.prepared import MOVED, Api, Prepared
from services.github.backend.requests import DIFF, RAW, Download, Rate, Reply, Request, pages
from services.github.backend.transport import Transport
from services.github.errors import (
    AuthRequired,
    BadCredentials,
    BadResponse,
    GithubDown,
    GithubUnreachable,
    NotReady,
)
from services.github.policy.access import Access
from services.github.policy.names import Repo
from services.github.settings import GithubSettings

MAX_REDIRECTS = 3
FIRST_PAUSE_S = 0.25
NOT_READY_PAUSE_S = 1.0
PARSE_IN_THREAD_BYTES = 200_000


class Client:
    """GitHub's API, REST and GraphQL.

    Args:
        settings: Where, as whom, within which limits.
        access: What redirects are put to again; of the settings when not given.
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
        self._api = Api(settings)
        self._transport = Transport(settings, self._redactor, wall_clock)
        self._cache = Cache(settings.cache_bytes)
        self._credentials = Credentials(
            settings, self._as_app, learn=self._redactor.learn, wall_clock=wall_clock
        )

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
        credential = await self._credentials.of(owner, deadline)
        prepared = self._api.rest(request, credential)
        return await self._reply(prepared, *await self._answered(prepared, deadline))

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
            partial: Return what there is when a part failed, with `warnings`; without, that is an
                error.

        Raises:
            AuthRequired: There is no credential; GraphQL answers to nobody.
            ToolError: See `services.github.errors`.
        """
        deadline = self._deadline(timeout_s)
        credential = await self._credentials.of(owner, deadline)
        if credential.auth is None:
            raise AuthRequired("GraphQL, which this needs, answers only to a credential.")
        prepared = self._api.graphql(query, variables, credential)
        reply = await self._reply(prepared, *await self._answered(prepared, deadline))
        return self._graphql_reply(reply, prepared, partial)

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
        prepared = self._api.rest(request, await self._credentials.of(owner, deadline))
        reading = Reading(max_bytes or self.settings.max_download_bytes, False, tail_bytes)
        prepared = replace(prepared, reading=reading)
        answer, _ = await self._answered(prepared, deadline)
        rate = Rate.of(answer.headers)
        for _ in range(MAX_REDIRECTS):
            if answer.status not in MOVED:
                break
            prepared = self._api.storage(prepared, answer)
            answer = await self._repeatedly(prepared, deadline)
        if answer.status in MOVED:
            raise _astray(prepared)
        answer = await self._end_of(prepared, answer, deadline)
        return _download(answer, self._redactor.known_bytes(answer.body), rate)

    async def component(self) -> Component:
        """Say which credentials there are and how the last request went; sends nothing."""
        return self._transport.component(self._credentials.kinds())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """Serve; afterwards everything that is under way ends."""
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """End what is under way and close every connection."""
        self._transport.close()

    # --- answers ----------------------------------------------------------------------------------

    def _deadline(self, timeout_s: float | None) -> float:
        return asyncio.get_running_loop().time() + (timeout_s or self.settings.timeout_s)

    async def _answered(self, prepared: Prepared, deadline: float) -> tuple[Answer, bool]:
        """Return the answer and whether it is from the cache.

        A download's 302 is returned: it leads to storage, where the credential must not go.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer, cached = await self._cached(prepared, deadline)
            stored = answer.status == 302 and not prepared.reading.whole
            if answer.status not in MOVED or stored:
                return answer, cached
            prepared = self._api.moved(prepared, answer)
            await self._admit(prepared, deadline)
        raise _astray(prepared)

    async def _cached(self, prepared: Prepared, deadline: float) -> tuple[Answer, bool]:
        if prepared.method != "GET" or not prepared.reading.whole:
            return await self._repeatedly(prepared, deadline), False
        key = Key(prepared.credential.name, prepared.target.url, prepared.headers["Accept"])
        kept = self._cache.get(key)
        if kept is not None:
            headers = {**prepared.headers, "If-None-Match": kept.headers["etag"]}
            prepared = replace(prepared, headers=headers)
        answer = await self._repeatedly(prepared, deadline)
        if kept is not None and answer.status == 304:
            return replace(kept, headers={**kept.headers, **_of_now(answer.headers)}), True
        if answer.status == 200:
            self._cache.put(key, answer)
        return answer, False

    async def _repeatedly(self, prepared: Prepared, deadline: float) -> Answer:
        """Send it, and again when it only reads and GitHub fails; never later than the deadline."""
        tries = 0
        while True:
            try:
                return await self._transport.answer(prepared, deadline)
            except BadCredentials:
                self._credentials.forget(prepared.credential)
                raise
            except (GithubDown, GithubUnreachable, NotReady) as error:
                pause_s = FIRST_PAUSE_S * 2**tries
                if isinstance(error, NotReady):
                    pause_s = NOT_READY_PAUSE_S
                late = asyncio.get_running_loop().time() + pause_s >= deadline
                if not prepared.repeats or tries == self.settings.retries or late:
                    raise
                if not error.retryable:
                    raise
            tries += 1
            await asyncio.sleep(pause_s)

    async def _admit(self, moved: Prepared, deadline: float) -> None:
        """Put a repository to the lists again, under the name that it has now."""
        parts = moved.path.split("/")
        if not self._access.narrowed or parts[1] not in ("repos", "repositories"):
            return
        full_name = "/".join(parts[2:4])
        if parts[1] == "repositories":
            full_name = await self._name_of(parts[2], moved.credential, deadline)
        self._access.check_read(Repo.parse_full(full_name))

    async def _name_of(self, number: str, credential: Credential, deadline: float) -> str:
        request = Request(route="/repositories/{id}", values={"id": number})
        prepared = self._api.rest(request, credential)
        answer, _ = await self._cached(prepared, deadline)
        data = parsed(answer, prepared.asked, self._redactor)
        return str(data.get("full_name")) if isinstance(data, dict) else ""

    async def _end_of(self, prepared: Prepared, answer: Answer, deadline: float) -> Answer:
        """Ask for the last bytes alone, when the whole is larger than what is read."""
        tail, total = prepared.reading.tail_bytes, answer.total_bytes
        if tail is None or total is None or total <= prepared.reading.max_bytes:
            return answer
        headers = {**prepared.headers, "Range": f"bytes={max(0, total - tail)}-"}
        last = await self._repeatedly(replace(prepared, headers=headers), deadline)
        return replace(last, total_bytes=total, truncated=True) if last.status == 206 else answer

    async def _as_app(self, request: Request, app: Credential, deadline: float) -> Any:
        """Ask what only the App itself may: its installations and their tokens."""
        prepared = replace(self._api.rest(request, app), writes=False)
        answer = await self._repeatedly(prepared, deadline)
        return parsed(answer, prepared.asked, Redactor())

    # --- replies ----------------------------------------------------------------------------------

    async def _reply(self, prepared: Prepared, answer: Answer, cached: bool) -> Reply:
        data = await self._data(prepared, answer)
        next_page, last_page = pages(answer.headers)
        return Reply(
            status=answer.status,
            data=data,
            headers=answer.headers,
            rate=Rate.of(answer.headers),
            next_page=next_page,
            last_page=last_page,
            cached=cached,
            warnings=_left_out(answer.headers),
        )

    async def _data(self, prepared: Prepared, answer: Answer) -> Any:
        """Return what an answer says; that to a write which cannot be read leaves it open."""
        text = prepared.headers["Accept"] in (RAW, DIFF)
        read = functools.partial(parsed, answer, prepared.asked, self._redactor, text=text)
        try:
            if len(answer.body) > PARSE_IN_THREAD_BYTES:
                return await asyncio.to_thread(read)
            return read()
        except BadResponse as error:
            raise unreadable(error, prepared.asked, writes=prepared.writes) from error

    def _graphql_reply(self, reply: Reply, prepared: Prepared, partial: bool) -> Reply:
        document = reply.data if isinstance(reply.data, dict) else {}
        data, errors = document.get("data"), document.get("errors") or ()
        if not errors and data is not None:
            return replace(reply, data=data)
        if not errors:
            odd = BadResponse("GraphQL: the answer has neither data nor errors.")
            raise unreadable(odd, prepared.asked, writes=prepared.writes)
        now, writes = self._wall_clock(), prepared.writes
        error = graphql_refusal(errors, reply.headers, self._redactor, now, writes=writes)
        has_data = isinstance(data, dict) and any(part is not None for part in data.values())
        if partial and has_data:
            return replace(reply, data=data, warnings=(error.message,))
        self._transport.limits.note_refusal(prepared.credential.name, error)
        raise error


def _left_out(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Say that an answer is not whole, as GitHub does in a header only.

    Source: https://docs.github.com/en/rest/authentication/authenticating-to-the-rest-api
    """
    if not headers.get("x-github-sso", "").startswith("partial-results"):
        return ()
    return ("Left out: what belongs to organisations for whose SSO the token is not authorised.",)


def _of_now(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a 304 that tell of now: the quota, the date."""
    return {k: v for k, v in headers.items() if k.startswith("x-ratelimit-") or k == "date"}


def _download(answer: Answer, content: bytes, rate: Rate | None) -> Download:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Download(content, answer.total_bytes, answer.truncated, media_type or None, rate)


def _astray(prepared: Prepared) -> BadResponse:
    return BadResponse(f"{prepared.asked}: redirected more than {MAX_REDIRECTS} times.")
