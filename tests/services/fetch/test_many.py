"""fetch_many: several pages at once."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.context import Caller, Context
from core.protocol.revisions import MODERN
from services.fetch.backend import Converters
from services.fetch.tools.many import FetchMany, fair_shares
from tests.services.fetch.browsing import Browser, browsing, page, paragraphs
from tests.services.fetch.internet.site import Handler, Request, Wire, answer, silent


async def test_every_page_comes_back_or_says_why_not(browser: Browser) -> None:
    """In the order of the URLs; what fails takes nothing from the others."""
    site = await browser.internet.site("tides.example")
    site.route("/a", answer(page(paragraphs(1, word="a"), title="A")))
    site.route("/b", answer(page(paragraphs(1, word="b"), title="B")))
    urls = [
        "https://tides.example/a",
        "https://tides.example/none",
        "http://127.0.0.1/",
        "not a url",
        "https://tides.example/b",
    ]
    result = await browser.ok("fetch_many", urls=urls)
    assert [p["url"] for p in result["pages"]] == urls
    assert (result["succeeded"], result["failed"]) == (2, 3)
    codes = [p["error"] and p["error"]["code"] for p in result["pages"]]
    assert codes == [None, "HTTP_STATUS", "ADDRESS_REFUSED", "BAD_URL", None]
    assert result["pages"][1]["error"]["facts"]["status"] == 404
    assert result["pages"][4]["title"] == "B"
    assert "Part b1." in result["pages"][4]["content"]


async def test_a_url_that_is_named_twice_is_fetched_once(browser: Browser) -> None:
    """With or without a fragment; its page is not shown twice either."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(page(paragraphs(1))))
    site.route("/other", answer(page(paragraphs(1))))
    url = "https://tides.example/"
    result = await browser.ok("fetch_many", urls=[url, url + "other", url, url + "#top"])
    assert [p["url"] for p in result["pages"]] == [url, url + "other"]
    assert result["requested"] == 4
    assert result["duplicates"] == [{"url": 2, "page": 0}, {"url": 3, "page": 0}]
    assert sorted(site.paths()) == ["/", "/other"]


async def test_one_silent_site_does_not_hold_up_the_rest(browser: Browser) -> None:
    """Its own time limit is its own."""
    site = await browser.internet.site("tides.example")
    site.route("/fast", answer(page(paragraphs(1))))
    site.route("/slow", silent())
    urls = ["https://tides.example/slow", "https://tides.example/fast"]
    result = await browser.ok("fetch_many", urls=urls, timeout_s=0.3)
    slow, fast = result["pages"]
    assert slow["error"]["code"] == "FETCH_TIMEOUT"
    assert slow["error"]["retryable"] is True
    assert fast["error"] is None


async def test_what_is_finished_when_the_time_is_up_is_returned(browser: Browser) -> None:
    """The call's own limit: the rest says FETCH_TIMEOUT, and its downloads are stopped."""
    site = await browser.internet.site("tides.example")
    left = asyncio.Event()
    site.route("/fast", answer(page(paragraphs(1))))
    site.route("/slow", _noting(left))
    handler = browser.server.catalogue.tools["fetch_many"].handler
    urls = [f"https://tides.example/{name}" for name in ("fast", "slow")]
    context = Context(Caller(MODERN), time_limit_s=2.0)
    result = await handler(FetchMany(urls=urls), context)
    assert [p.error and p.error.code for p in result.pages] == [None, "FETCH_TIMEOUT"]
    async with asyncio.timeout(5):
        await left.wait()


async def test_no_more_run_at_once_than_asked_for(browser: Browser) -> None:
    """Four by default."""
    site = await browser.internet.site("tides.example")
    counter = _Counter(answer(page(paragraphs(1))))
    site.route("*", counter)
    urls = [f"https://tides.example/{n}" for n in range(12)]
    await browser.ok("fetch_many", urls=urls, concurrency=2)
    assert counter.most == 2


async def test_pages_share_one_answer_fairly(converters: Converters) -> None:
    """A short page is whole, long ones get the same; each can be read on."""
    async with browsing(converters, answer_bytes=30_000) as browser:
        site = await browser.internet.site("tides.example")
        site.route("/short", answer(page(paragraphs(1))))
        for name in ("long", "longer"):
            site.route(f"/{name}", answer(page(paragraphs(300, word=f"{name} "))))
        urls = [f"https://tides.example/{name}" for name in ("long", "short", "longer")]
        raw = await browser.client.call("fetch_many", urls=urls)
        assert raw.structured is not None
        assert 20_000 < len(raw.text.encode()) <= 30_000
        long, short, longer = raw.structured["pages"]
        assert short["truncated"] is False
        assert long["truncated_by"] == longer["truncated_by"] == "bytes"
        assert abs(long["returned_chars"] - longer["returned_chars"]) < 2_000
        on = await browser.ok("fetch", url=urls[0], cursor=long["next_cursor"], max_length=100)
        assert on["start_index"] == long["returned_chars"]


async def test_too_many_urls_are_refused_with_the_limit(converters: Converters) -> None:
    """The operator sets it."""
    async with browsing(converters, max_urls=2) as browser:
        urls = [f"https://tides.example/{n}" for n in range(3)]
        error = await browser.error("fetch_many", urls=urls)
        assert error["code"] == "LIMIT_EXCEEDED"
        assert "2" in error["message"]
        assert (await browser.error("fetch_many", urls=[]))["code"] == "INVALID_ARGUMENTS"


async def test_options_that_contradict_each_other_fail_the_call(browser: Browser) -> None:
    """Once, and before anything is asked for; not page by page."""
    error = await browser.error(
        "fetch_many", urls=["https://tides.example/"], raw=True, format="text"
    )
    assert error["code"] == "INVALID_ARGUMENTS"
    assert browser.internet.cable.reached == []


async def test_progress_names_each_page_as_it_is_done(browser: Browser) -> None:
    """A client can show how far it is."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(page(paragraphs(1))))
    channel = _Channel()
    context = Context(Caller(MODERN, channel=channel), progress_token=7)
    handler = browser.server.catalogue.tools["fetch_many"].handler
    urls = ["https://tides.example/", "http://127.0.0.1/"]
    await handler(FetchMany(urls=urls), context)
    assert channel.said
    assert b'"total":2' in channel.said[-1]
    assert b"https://tides.example/" in b"".join(channel.said)


class _Channel:
    """A client that hears progress."""

    can_request = False

    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def notify(self, message: bytes) -> None:
        self.said.append(message)

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        raise AssertionError("nothing is asked")

    async def pause(self, retry_ms: int) -> None:
        raise AssertionError("nothing is paused")


class _Counter:
    """A handler that counts how many of its requests run at once."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._now = 0
        self.most = 0

    async def __call__(self, request: Request, wire: Wire) -> None:
        self._now += request.path != "/robots.txt"
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.02)
        await self._handler(request, wire)
        self._now -= request.path != "/robots.txt"


def _noting(left: asyncio.Event) -> Handler:
    """Send a body slowly until the client has left, and note that."""

    async def handle(request: Request, wire: Wire) -> None:
        try:
            await wire.head(200, {"Content-Type": "text/html", "Connection": "close"})
            while True:
                await wire.send(b"<p>more")
                await asyncio.sleep(0.02)
        finally:
            left.set()

    return handle


@given(wishes=st.lists(st.integers(0, 100), max_size=8), budget=st.integers(-10, 500))
def test_shares_are_fair(wishes: list[int], budget: int) -> None:
    """Nobody gets more than wished; who gets less than wished gets as much as anybody."""
    shares = fair_shares(wishes, budget)
    assert len(shares) == len(wishes)
    assert sum(shares) <= max(0, budget)
    assert all(share <= wish for share, wish in zip(shares, wishes, strict=True))
    short = [share for share, wish in zip(shares, wishes, strict=True) if share < wish]
    if short:
        assert min(short) >= max(shares) - 1 - len(wishes)
        assert sum(shares) == max(0, budget)
