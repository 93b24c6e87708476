"""One request after the other, each in a worker thread and within its time.

```
Transport.answer ── limits ── turn to write ── thread: PyGithub ── Exchange ── Connection
                                                   └── errors, quotas and health of what came back
```

PyGithub's own retries, waiting and spacing are off: they sleep in the thread, which neither a
deadline nor a cancelled call can end, and would send a POST again after a 5xx. An object of
PyGithub's is not made for several threads, and making one takes 6 µs: each request has its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.errors import Busy, ToolError
from core.observability import tracing
from core.observability.health import Component
from services.github.backend.connections import Connections, Proxy
from services.github.backend.exchange import Answer, Exchange
from services.github.backend.failures import (
    BREAKAGES,
    Redactor,
    breakage,
    outcome_unknown,
    refusal,
    retry_after,
    unreadable,
)
from services.github.backend.health import Record
from services.github.backend.limits import Limits
from services.github.backend.prepared import MOVED, USER_AGENT, Prepared
from services.github.errors import (
    BadResponse,
    GithubDown,
    GithubError,
    GithubTimeout,
    NotFoundOrNoAccess,
    NotReady,
    ResponseTooLarge,
)
from services.github.settings import GithubSettings

if TYPE_CHECKING:
    from github import Github

API_VERSION = "2022-11-28"
NOT_READY_S = 5.0

# PyGithub logs whole bodies for debugging, urllib3 URLs whose query is a signature.
logging.getLogger("github.Requester").setLevel(logging.INFO)
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


class Transport:
    """Threads, connections and what their answers told about GitHub.

    Args:
        settings: Limits.
        redactor: Takes credentials out of what GitHub says.
        wall_clock: Seconds since 1970.
    """

    def __init__(
        self,
        settings: GithubSettings,
        redactor: Redactor,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._redactor = redactor
        self._wall_clock = wall_clock
        proxy = settings.proxy_url
        self._connections = Connections(
            ca_file=settings.ca_file,
            max_idle=settings.workers,
            proxy=None if proxy is None else Proxy.of(proxy.get_secret_value()),
        )
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="github")
        self._under_way: set[Exchange] = set()
        self._next_write: dict[str, float] = {}
        self._closed = False
        self._record = Record(wall_clock)
        self.limits = Limits(wall_clock)

    async def answer(self, prepared: Prepared, deadline: float) -> Answer:
        """Send a request once and return its answer, whose status is below 400.

        Args:
            deadline: On the event loop's clock; then the connection is cut and the thread is free.

        Raises:
            ToolError: What GitHub, the network or the time said; see `services.github.errors`.
        """
        if self._closed:
            raise Busy(f"{prepared.asked}: the service is stopping.")
        name = prepared.credential.name
        if prepared.signed:
            self.limits.check(name, prepared.path, prepared.asked)
        if prepared.writes:
            await self._turn_to_write(name, deadline)
        try:
            origin = prepared.target.origin
            with tracing.outgoing(prepared.method, origin.host, origin.port) as span:
                answer = await self._exchanged(prepared, deadline)
                span.set("http.response.status_code", answer.status)
            if prepared.signed:
                self.limits.note(name, prepared.path, answer.headers)
            self._check(prepared, answer)
        except ToolError as error:
            self.limits.note_refusal(name, error)
            self._record.failed(error)
            raise
        self._record.worked()
        return answer

    def component(self, credentials: list[dict[str, str]]) -> Component:
        """Return the state for /health."""
        return self._record.component(credentials, self.limits.states())

    def close(self) -> None:
        """End what is under way and close every connection."""
        self._closed = True
        for exchange in list(self._under_way):
            exchange.end()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    async def _exchanged(self, prepared: Prepared, deadline: float) -> Answer:
        loop = asyncio.get_running_loop()
        exchange = Exchange(
            self._connections,
            prepared.method,
            prepared.target,
            prepared.reading,
            connect_timeout_s=self._settings.connect_timeout_s,
            timeout_s=max(deadline - loop.time(), 0.001),
        )
        self._under_way.add(exchange)
        try:
            async with asyncio.timeout_at(deadline):
                await loop.run_in_executor(self._threads, self._carry_out, prepared, exchange)
        except TimeoutError:
            exchange.end()
            raise self._too_late(prepared, exchange) from None
        except asyncio.CancelledError:
            exchange.end()
            raise
        except BREAKAGES as error:
            raise breakage(
                error, prepared.asked, writes=prepared.writes, sent=exchange.sent
            ) from error
        except (BadResponse, ResponseTooLarge) as error:
            raise unreadable(error, prepared.asked, writes=prepared.writes) from error
        finally:
            self._under_way.discard(exchange)
        assert exchange.answer is not None
        return self._without_secrets(exchange.answer)

    def _without_secrets(self, answer: Answer) -> Answer:
        """Return an answer whose headers hold no credential; its body is read by `parsed`."""
        known = self._redactor.known
        return replace(answer, headers={name: known(text) for name, text in answer.headers.items()})

    def _carry_out(self, prepared: Prepared, exchange: Exchange) -> None:
        """Run in a worker thread: let PyGithub write the request, into the exchange."""
        if not prepared.signed:
            exchange.request(prepared.method, prepared.target.path, None, prepared.headers)
            return
        cnx: Any = exchange  # has what PyGithub uses of its own connection class
        self._github(prepared).requester.requestJson(
            prepared.method,
            prepared.target.url.partition("?")[0],
            dict(prepared.parameters),
            dict(prepared.headers),
            prepared.body,
            cnx=cnx,
        )

    def _github(self, prepared: Prepared) -> Github:
        from github import Github  # see `credentials` for why not above

        auth = prepared.credential.auth
        return Github(
            auth=None if auth is None else auth(),
            base_url=self._settings.api_url,
            user_agent=USER_AGENT,
            per_page=50,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            lazy=True,
            api_version=API_VERSION,
        )

    async def _turn_to_write(self, credential: str, deadline: float) -> None:
        """Wait until `write_interval_s` have gone by since the credential's last write."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next_write.get(credential, 0.0))
        if turn >= deadline:
            raise Busy("Too many writes are waiting for their turn; nothing was sent.")
        self._next_write[credential] = turn + self._settings.write_interval_s
        await asyncio.sleep(turn - now)

    def _too_late(self, prepared: Prepared, exchange: Exchange) -> ToolError:
        if not exchange.started:
            places = self._settings.workers
            return Busy(f"{prepared.asked}: all {places} places were in use; nothing was sent.")
        if prepared.writes and exchange.sent:
            return outcome_unknown(prepared.asked, "no answer came in time")
        return GithubTimeout(f"{prepared.asked}: GitHub did not answer in time.")

    def _check(self, prepared: Prepared, answer: Answer) -> None:
        if answer.status == 202 and prepared.repeats:
            raise NotReady(
                f"{prepared.asked}: GitHub is still working the answer out.",
                retry_after_s=retry_after(answer.headers) or NOT_READY_S,
            )
        if answer.status < 300 or answer.status in MOVED:
            return
        if answer.status == 304 and not prepared.writes:
            return
        if answer.status < 400:
            odd = BadResponse(f"{prepared.asked}: answered with {answer.status}, unasked.")
            raise unreadable(odd, prepared.asked, writes=prepared.writes)
        if not prepared.signed:
            raise _storage_refusal(prepared, answer)
        if answer.status >= 500 and prepared.writes:
            raise outcome_unknown(prepared.asked, f"GitHub failed with {answer.status}")
        raise refusal(
            answer,
            prepared.asked,
            authenticated=prepared.credential.auth is not None,
            now=self._wall_clock(),
            redactor=self._redactor,
        )


def _storage_refusal(prepared: Prepared, answer: Answer) -> ToolError:
    what = f"{prepared.asked}: GitHub's storage answers with {answer.status}."
    if answer.status >= 500:
        return GithubDown(what, status=answer.status)
    if answer.status in (404, 410):
        return NotFoundOrNoAccess(what, hint="It has expired, or was deleted.")
    return GithubError(what, status=answer.status, hint="Try again for a new link.")
