"""fetch_metadata and robots_check: what can be known of a URL before it is fetched."""

from __future__ import annotations

from pydantic import Field

from core.context import Context
from core.models import Arguments
from core.untrusted import clean
from services.fetch.backend import RobotsVerdict
from services.fetch.models import FetchMetadata, Redirect, RobotsResult
from services.fetch.tools.desk import Desk
from services.fetch.tools.options import MIN_TIMEOUT_S, Url

MAX_SITEMAPS = 100
MAX_RULE_CHARS = 500


class FetchMetadataOf(Arguments):
    """Arguments of fetch_metadata."""

    url: Url
    timeout_s: float | None = Field(None, ge=MIN_TIMEOUT_S)


class RobotsCheck(Arguments):
    """Arguments of robots_check."""

    url: Url
    user_agent: str | None = Field(
        None, min_length=1, max_length=200, description="Ours when absent."
    )


class ProbeTools:
    """The tools that fetch no page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def fetch_metadata(self, arguments: FetchMetadataOf, context: Context) -> FetchMetadata:
        """Ask for the headers of a URL; an error status is an answer too."""
        timeout_s = self._desk.timeout_s(arguments.timeout_s, context)
        head = await self._desk.backend.web.head(arguments.url, timeout_s=timeout_s)
        return FetchMetadata(
            url=arguments.url,
            final_url=head.final_url,
            status=head.status,
            redirects=[Redirect(status=r.status, url=r.url) for r in head.redirects],
            content_type=head.content_type,
            size_bytes=head.size_bytes,
            headers=dict(head.headers),
            certificate_expires_at=head.certificate_expires_at,
            elapsed_ms=round(head.elapsed_ms, 1),
        )

    async def robots_check(self, arguments: RobotsCheck, context: Context) -> RobotsResult:
        """Say whether robots.txt lets a URL be fetched."""
        verdict = await self._desk.backend.web.robots(
            arguments.url,
            user_agent=arguments.user_agent,
            timeout_s=self._desk.timeout_s(None, context),
        )
        return RobotsResult(
            url=arguments.url,
            user_agent=arguments.user_agent or self._desk.settings.user_agent,
            allowed=verdict.allowed,
            reason=shortened(verdict.reason),
            rule=shortened(verdict.rule) if verdict.rule else None,
            crawl_delay_s=verdict.crawl_delay_s,
            sitemaps=sitemaps_of(verdict)[:MAX_SITEMAPS],
            sitemaps_total=len(verdict.sitemaps),
            robots_url=verdict.url,
            robots_status=verdict.status,
        )


def sitemaps_of(verdict: RobotsVerdict) -> list[str]:
    """Return the sitemaps that a robots.txt names, as a model may read them."""
    return [clean(url).text for url in verdict.sitemaps]


def shortened(text: str) -> str:
    """Return what a stranger wrote into one line, as a model may read it."""
    text = clean(text).text
    return text if len(text) <= MAX_RULE_CHARS else text[: MAX_RULE_CHARS - 1] + "…"
