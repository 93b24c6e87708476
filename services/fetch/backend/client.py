"""Fetch a page: rules on URLs, robots.txt, the cache, redirects; one deadline around all of it.

```
URL ── UrlPolicy ── robots.txt ── cache ── exchange ── 3xx with Location? ─┐
           ▲                                                               │
           └───────────────────── at most max_redirects times ─────────────┘
```

Every hop begins anew: what may not be asked for directly may not be reached by a redirect either.
The rule on addresses is the network backend's, where connections are made.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import httpcore

from core.errors import InvalidArguments, NotFound, ToolError
from core.observability.health import Component
from services.fetch.backend.cache import (
    Cache,
    Entry,
    age_s,
    is_confirmed,
    needs_asking,
    refreshed,
    validators,
)
from services.fetch.backend.decoders import ACCEPT_ENCODING
from services.fetch.backend.dialler import Dialler
from services.fetch.backend.download import (
    CacheMode,
    CacheState,
    Download,
    Head,
    Progress,
    Redirect,
    RobotsVerdict,
)
from services.fetch.backend.exchange import Body, Exchanges, Limits, Reply
from services.fetch.backend.resolver import SystemResolver
from services.fetch.backend.robots import MAX_ROBOTS_BYTES, RobotsBook, SiteRules, product_token
from services.fetch.backend.trip import Trip, shown
from services.fetch.errors import (
    AddressRefused,
    BadResponse,
    BadUrl,
    HostUnreachable,
    RedirectRefused,
    ResponseTooLarge,
    RobotsDisallowed,
    UrlRefused,
)
from services.fetch.policy.addresses import AddressRule
from services.fetch.policy.urls import Target, UrlPolicy
from services.fetch.settings import FetchSettings

ACCEPT = (
    "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, application/json;q=0.8, "
    "application/rss+xml;q=0.8, application/atom+xml;q=0.8, application/pdf;q=0.7, "
    "text/plain;q=0.7, application/xml;q=0.7, */*;q=0.5"
)
HEADERS_OF_CALLERS = ("accept", "accept-language")
MAX_HEADER_CHARS = 500
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_ROBOTS_REDIRECTS = 5
"""RFC 9309 §2.3.1.2: at least five."""
HEAD_NOT_TAKEN = frozenset({405, 501})
TOLD_HEADERS = frozenset(
    {
        "accept-ranges", "age", "allow", "cache-control", "content-disposition",
        "content-encoding", "content-language", "content-length", "content-location",
        "content-security-policy", "content-type", "date", "etag", "expires", "last-modified",
        "link", "location", "permissions-policy", "referrer-policy", "retry-after", "server",
        "strict-transport-security", "vary", "via", "www-authenticate", "x-content-type-options",
        "x-frame-options", "x-robots-tag",
    }
)  # fmt: skip

_COOKIE_NOTE = ", after setting a cookie, and none is kept here"
_REFRESH = re.compile(r"\s*[\d.]+\s*[;,]\s*(?:url\s*=)?", re.IGNORECASE)
"""https://html.spec.whatwg.org/ §4.2.4.3, shared declarative refresh steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one hop came to, from the server or from the cache."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    wire_bytes: int = 0
    cache: CacheState = "bypass"
    certificate_expires_at: str | None = None
    sets_cookie: bool = False


@dataclass(frozen=True, slots=True)
class Hop:
    """One request for a page that a call makes."""

    target: Target
    headers: Mapping[str, str]
    mode: CacheMode
    trip: Trip
    caller: str


Ask = Callable[[Target], Awaitable[Answer]]


class Web:
    """The web, as far as the settings let it be seen.

    Args:
        network: What makes connections; a `Dialler` over the system's resolver by default.
        clock: Seconds since 1970, for the cache and robots.txt.
        ssl_context: What certificates have to be like; the system's authorities by default.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
        clock: Callable[[], float] = time.time,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._resolver = SystemResolver(time_limit_s=settings.connect_timeout_s)
        self._policy = UrlPolicy(
            ports=settings.ports,
            allow_hosts=settings.allow_hosts,
            deny_hosts=settings.deny_hosts,
        )
        self._exchanges = Exchanges(
            network
            or Dialler(
                AddressRule(settings.allow_networks),
                self._resolver,
                connect_timeout_s=settings.connect_timeout_s,
            ),
            ssl_context or ssl.create_default_context(),
            at_once=settings.max_concurrent_requests,
            at_once_per_host=settings.max_requests_per_host,
            connect_timeout_s=settings.connect_timeout_s,
            clock=clock,
        )
        self._limits = Limits(settings.max_wire_bytes, settings.max_decoded_bytes)
        self._cache = Cache(settings.cache_bytes)
        self._book = RobotsBook(ttl_s=settings.robots_ttl_s, clock=clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close connections and threads at the end."""
        try:
            yield
        finally:
            await self._exchanges.close()
            self._resolver.close()

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        cache: CacheMode = "normal",
        caller: str = "",
        on_progress: Progress | None = None,
    ) -> Download:
        """Fetch one page.

        Args:
            headers: Accept and Accept-Language, in place of ours; not sent to another origin that
                a redirect leads to.
            timeout_s: Seconds for all of it: queue, robots.txt, redirects, body.
            caller: Whose private answers may come from the cache.

        Raises:
            BadUrl, UrlRefused, AddressRefused, RobotsDisallowed, RedirectRefused: A rule says no.
            InvalidArguments: Another header, or one that is none.
            NotFound: `cache` is "only" and nothing fresh is kept.
            ResponseTooLarge, FetchTimeout, Busy: A limit.
            BadResponse, HostUnreachable: The other side.
        """
        wanted = self._headers(headers or {})
        target = self._policy.check(url)
        trip = Trip(target.url, timeout_s=timeout_s, on_progress=on_progress)

        async def ask(to: Target) -> Answer:
            sent = wanted if to.origin == target.origin else self._headers({})
            return await self._page(Hop(to, sent, cache, trip, caller))

        async with trip.limited():
            final, answer = await self._walk(target, ask, trip, self._settings.max_redirects)
        self._warn_of_oddities(final, answer, trip)
        return Download(
            url=target.url,
            final_url=final.url,
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            content_type=answer.headers.get("content-type"),
            bytes_wire=answer.wire_bytes,
            bytes_decoded=len(answer.body),
            redirects=tuple(trip.redirects),
            cache=answer.cache,
            robots=trip.robots,
            elapsed_ms=trip.elapsed_ms,
            warnings=tuple(trip.warnings),
        )

    def _warn_of_oddities(self, target: Target, answer: Answer, trip: Trip) -> None:
        """Tell the reader why an answer may not be the page."""
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            said = answer.headers.get("content-range", "")
            part = f": {said}" if re.fullmatch(r"bytes \d+-\d+/(?:\d+|\*)", said, re.ASCII) else ""
            trip.warn(f"The server sent only a part of the page, unasked{part[:80]}.")
        refresh = answer.headers.get("refresh", "")
        if (begin := _REFRESH.match(refresh)) and not answer.body.strip():
            with suppress(BadUrl, UrlRefused):
                url = refresh[begin.end() :].strip(" \"'")
                led_to = self._policy.check(url, base=target.url).url
                trip.warn(f"The page is empty and leads to {led_to}.")

    async def head(self, url: str, *, timeout_s: float) -> Head:
        """Ask about a page: by HEAD, or by GET without its body where HEAD is not taken.

        Raises:
            ToolError: As `get` does.
        """
        target = self._policy.check(url)
        trip = Trip(target.url, timeout_s=timeout_s)
        async with trip.limited():
            ask = partial(self._without_body, trip=trip)
            final, answer = await self._walk(target, ask, trip, self._settings.max_redirects)
        length = answer.headers.get("content-length", "")
        return Head(
            url=target.url,
            final_url=final.url,
            status=answer.status,
            headers={name: v for name, v in answer.headers.items() if name in TOLD_HEADERS},
            redirects=tuple(trip.redirects),
            content_type=answer.headers.get("content-type"),
            size_bytes=int(length) if length.isascii() and length.isdigit() else None,
            certificate_expires_at=answer.certificate_expires_at,
            elapsed_ms=trip.elapsed_ms,
        )

    async def robots(
        self, url: str, *, user_agent: str | None = None, timeout_s: float
    ) -> RobotsVerdict:
        """Say what robots.txt says about a URL, also where it is not respected.

        Args:
            user_agent: Whom it is about; us by default.

        Raises:
            ToolError: As `get` does, but for robots.txt that says no.
        """
        target = self._policy.check(url)
        trip = Trip(target.url, timeout_s=timeout_s)
        async with trip.limited():
            rules = await self._rules(target, trip)
            token = product_token(user_agent or self._settings.user_agent)
            return await rules.verdict(_path(target), token)

    async def component(self) -> Component:
        """Say what is going on; nobody is asked for it."""
        facts = {
            "running_requests": self._exchanges.running,
            "cache_bytes": self._cache.bytes,
            "cache_entries": len(self._cache),
            "robots_entries": len(self._book),
        }
        return Component("up", facts=facts)

    # -- redirects --------------------------------------------------------------------------------

    async def _walk(
        self, target: Target, ask: Ask, trip: Trip, max_redirects: int
    ) -> tuple[Target, Answer]:
        """Ask, and follow redirects; return where it ended."""
        came_from: Target | None = None
        seen = {target.url}
        cookies = False
        while True:
            try:
                answer = await ask(target)
            except (AddressRefused, RobotsDisallowed) as error:
                if came_from is None:
                    raise
                raise _refused_redirect(came_from, target.url, error) from error
            location = answer.headers.get("location")
            if answer.status not in REDIRECTS or not location:
                return target, answer
            came_from, target = target, self._led_to(target, location)
            cookies = cookies or answer.sets_cookie
            if target.url in seen:
                what = f"where it had been before{_COOKIE_NOTE if cookies else ''}"
                raise _endless(came_from, target, answer.status, "redirect_loop", what)
            if len(trip.redirects) == max_redirects:
                what = f"which would be redirect no. {max_redirects + 1} of {max_redirects}"
                what += _COOKIE_NOTE if cookies else ""
                raise _endless(came_from, target, answer.status, "too_many_redirects", what)
            seen.add(target.url)
            trip.redirects.append(Redirect(answer.status, target.url))
            if came_from.scheme == "https" and target.scheme == "http":
                trip.warn(f"{shown(came_from.url)} redirected to http, which anybody can read.")

    def _led_to(self, target: Target, location: str) -> Target:
        try:
            # Servers send UTF-8 here, whatever RFC 9110 says; as bytes of latin-1 it came.
            text = location.encode("latin-1").decode("utf-8", "replace")
            return self._policy.check(text, base=target.url)
        except (BadUrl, UrlRefused) as error:
            raise _refused_redirect(target, location, error) from error

    # -- one hop ----------------------------------------------------------------------------------

    async def _page(self, hop: Hop) -> Answer:
        """Answer one hop from the cache, or from the server with the cache's help."""
        await self._obey(hop.target, hop.trip, ask=hop.mode != "only")
        entry = None
        if hop.mode != "reload":
            entry = self._cache.find(hop.target.url, hop.headers, hop.caller)
        now = self._clock()
        if entry is not None and not needs_asking(entry, now):
            return _kept(entry, now, "hit")
        if hop.mode == "only":
            raise _not_kept(hop.target)
        if entry is not None and validators(entry):
            answer = await self._revalidate(hop, entry)
            if answer is not None:
                return answer
        return await self._download(hop)

    async def _revalidate(self, hop: Hop, entry: Entry) -> Answer | None:
        """Ask whether an entry still holds; None when the server confirms another one."""
        headers = {**hop.headers, **validators(entry)}
        async with self._exchanges.ask("GET", hop.target, headers, hop.trip) as reply:
            if reply.status != 304:
                return await self._take(hop, reply)
            await reply.drain()
            if not is_confirmed(entry, reply.headers):
                self._cache.drop(hop.target.url, hop.headers, hop.caller)
                return None
            times = {"asked_at": reply.asked_at, "came_at": reply.came_at}
            entry = refreshed(entry, reply.headers, **times)
        self._cache.keep(entry)
        return _kept(entry, entry.came_at, "revalidated")

    async def _download(self, hop: Hop) -> Answer:
        reload = {"cache-control": "no-cache"} if hop.mode == "reload" else {}  # for those between
        headers = {**hop.headers, **reload}
        async with self._exchanges.ask("GET", hop.target, headers, hop.trip) as reply:
            return await self._take(hop, reply)

    async def _take(self, hop: Hop, reply: Reply) -> Answer:
        """Read a reply and keep it, unless it came in part or is a failure of the server."""
        if reply.status in REDIRECTS and reply.headers.get("location"):
            await reply.drain()
            body = Body(b"", 0, whole=True)
        else:
            body = await reply.read(self._limits, hop.trip)
        if body.whole and reply.status < 500:
            self._cache.keep(
                Entry(
                    url=hop.target.url,
                    asked=hop.headers,
                    status=reply.status,
                    headers=reply.headers,
                    body=body.data,
                    asked_at=reply.asked_at,
                    came_at=reply.came_at,
                    caller=hop.caller,
                )
            )
        asked = hop.mode == "reload" or not self._cache.capacity_bytes
        return Answer(
            status=reply.status,
            headers=reply.headers,
            body=body.data,
            wire_bytes=body.wire_bytes,
            sets_cookie=reply.sets_cookie,
            cache="bypass" if asked else "miss",
        )

    async def _without_body(self, target: Target, *, trip: Trip) -> Answer:
        """Ask for headers only, unencoded, so that Content-Length is the page's own."""
        await self._obey(target, trip)
        headers = {**self._headers({}), "accept-encoding": "identity"}
        answer = await self._headers_of("HEAD", target, headers, trip)
        if answer.status in HEAD_NOT_TAKEN:
            answer = await self._headers_of("GET", target, headers, trip)
        return answer

    async def _headers_of(
        self, method: str, target: Target, headers: Mapping[str, str], trip: Trip
    ) -> Answer:
        async with self._exchanges.ask(method, target, headers, trip) as reply:
            if method == "HEAD":
                await reply.drain()
            return Answer(
                status=reply.status,
                headers=reply.headers,
                sets_cookie=reply.sets_cookie,
                certificate_expires_at=reply.certificate_expires_at,
            )

    def _headers(self, of_caller: Mapping[str, str]) -> dict[str, str]:
        """Return our headers, with those of the caller in place of ours."""
        chosen = {name.lower(): _header(name, value) for name, value in of_caller.items()}
        ours = {
            "user-agent": self._settings.user_agent,
            "accept": ACCEPT,
            "accept-encoding": ACCEPT_ENCODING,
        }
        return {**ours, **chosen}

    # -- robots.txt -------------------------------------------------------------------------------

    async def _obey(self, target: Target, trip: Trip, *, ask: bool = True) -> None:
        """Refuse what robots.txt disallows.

        Args:
            ask: Whether robots.txt may be fetched; otherwise only what is known of it counts.
        """
        if self._settings.robots == "ignore":
            return
        rules = await self._rules(target, trip) if ask else self._book.known(_robots_url(target))
        if rules is None:
            trip.robots = None
            return
        verdict = await rules.verdict(_path(target), product_token(self._settings.user_agent))
        if not verdict.allowed:
            raise _disallowed(target, rules, verdict)
        trip.robots = verdict

    async def _rules(self, target: Target, trip: Trip) -> SiteRules:
        """Return the rules of an origin; what robots.txt needs counts for the call that needs it.

        Raises:
            AddressRefused, HostUnreachable: The origin itself, which the page would meet too.
        """
        url = _robots_url(target)
        trip.aside = Trip(url, timeout_s=0)
        rules = await self._book.rules(url, partial(self._load, url, trip.aside))
        trip.aside = None
        return rules

    async def _load(self, url: str, trip: Trip) -> SiteRules:
        limits = Limits(self._limits.wire_bytes, MAX_ROBOTS_BYTES, cut=True)
        headers = {**self._headers({}), "accept": "text/plain, */*;q=0.5"}

        async def ask(hop: Target) -> Answer:
            async with self._exchanges.ask("GET", hop, headers, trip) as reply:
                if 200 <= reply.status < 300:
                    data = (await reply.read(limits, trip)).data
                else:
                    data = b""
                    await reply.drain()
                return Answer(status=reply.status, headers=reply.headers, body=data)

        try:
            _, answer = await self._walk(self._policy.check(url), ask, trip, MAX_ROBOTS_REDIRECTS)
        except RedirectRefused as error:
            # Too many redirects mean that there is no such file (§2.3.1.2).
            unavailable = error.facts["reason_code"] in ("redirect_loop", "too_many_redirects")
            return SiteRules.read(url, error.facts["status"] if unavailable else None)
        except (BadResponse, ResponseTooLarge):
            return SiteRules.read(url, None)
        except HostUnreachable as error:
            if not trip.redirects and error.facts.get("reason_code") != "reset":
                raise
            return SiteRules.read(url, None)
        return await asyncio.to_thread(SiteRules.read, url, answer.status, answer.body)


def _path(target: Target) -> str:
    return target.url.removeprefix(target.origin)


def _robots_url(target: Target) -> str:
    return f"{target.origin}/robots.txt"


def _header(name: str, value: str) -> str:
    """Return a caller's header, if it may be set and is one."""
    if name.lower() not in HEADERS_OF_CALLERS:
        allowed = " and ".join(allowed.title() for allowed in HEADERS_OF_CALLERS)
        raise InvalidArguments(
            f"headers: {name[:80]!r} may not be set.",
            hint=f"Only {allowed} may be set.",
            reason_code="header_name",
        )
    if len(value) > MAX_HEADER_CHARS or not re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", value):
        raise InvalidArguments(
            f"headers: the value of {name} has to be printable ASCII, without spaces around it, "
            f"and of {MAX_HEADER_CHARS} characters at most.",
            reason_code="header_value",
        )
    return value


def _kept(entry: Entry, now: float, state: CacheState) -> Answer:
    """Return an entry as an answer; its Age is required (RFC 9111 §4)."""
    headers = {**entry.headers, "age": str(int(age_s(entry, now)))}
    return Answer(status=entry.status, headers=headers, body=entry.body, cache=state)


def _not_kept(target: Target) -> NotFound:
    return NotFound(
        f"Nothing fresh is kept of {shown(target.url)}.",
        hint="Call again with cache='normal'.",
        reason_code="not_cached",
    )


def _disallowed(target: Target, rules: SiteRules, verdict: RobotsVerdict) -> RobotsDisallowed:
    unreachable = rules.is_unreachable
    return RobotsDisallowed(
        f"{shown(target.url)} may not be fetched: {verdict.reason}",
        hint="Try again in a minute." if unreachable else None,
        retryable=unreachable,
        reason_code="robots_unreachable" if unreachable else "robots_disallowed",
        rule=verdict.rule,
        robots_url=verdict.url,
    )


def _refused_redirect(came_from: Target, led_to: str, error: ToolError) -> RedirectRefused:
    """Say where a redirect led, and which rule refuses that."""
    return RedirectRefused(
        f"{shown(came_from.url)} redirects to {shown(led_to)}: {error.message}",
        hint=error.hint,
        retryable=error.retryable,
        reason_code=error.facts.get("reason_code", error.code.lower()),
        refused_by=error.code,
        redirect_url=shown(led_to),
    )


def _endless(
    came_from: Target, target: Target, status: int, word: str, what: str
) -> RedirectRefused:
    return RedirectRefused(
        f"{shown(came_from.url)} redirects to {shown(target.url)}, {what}.",
        hint="Use another source; the operator sets MCP_FETCH_MAX_REDIRECTS.",
        reason_code=word,
        redirect_url=shown(target.url),
        status=status,
    )
