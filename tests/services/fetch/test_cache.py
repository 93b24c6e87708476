"""The HTTP cache: RFC 9111 as tables of values, and through the client with a clock of our own."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import NotFound
from services.fetch.backend.cache import (
    ENTRY_BYTES,
    VARIANTS_PER_URL,
    Cache,
    Entry,
    age_s,
    directives,
    is_confirmed,
    lifetime_s,
    may_be_stored,
    needs_asking,
    refreshed,
    validators,
    varies_alike,
)
from services.fetch.errors import RobotsDisallowed, UrlRefused
from tests.services.fetch.internet.site import (
    Handler,
    Request,
    Wire,
    answer,
    in_turn,
    raw,
    redirect,
)
from tests.services.fetch.visitor import ORIGIN, Visitor, visiting

NOW = 1_800_000_000.0
DAY = 86_400.0


def date(offset_s: float = 0) -> str:
    """Return an HTTP-date so many seconds after the tests' now."""
    return formatdate(NOW + offset_s, usegmt=True)


def entry(
    headers: Mapping[str, str] | None = None,
    *,
    url: str = f"{ORIGIN}/",
    status: int = 200,
    body: bytes = b"",
    asked: Mapping[str, str] | None = None,
    took_s: float = 0,
) -> Entry:
    """Return an answer that came at the tests' now."""
    return Entry(
        url=url,
        asked=asked or {},
        status=status,
        headers=headers or {},
        body=body,
        asked_at=NOW - took_s,
        came_at=NOW,
    )


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", {}),
        ("no-store", {"no-store": ""}),
        ("Max-Age=60, PRIVATE", {"max-age": "60", "private": ""}),
        ('private="set-cookie, x", max-age="5"', {"private": "set-cookie, x", "max-age": "5"}),
        ("max-age = 7 ,, public", {"max-age": "7", "public": ""}),
        ("max-age=1, max-age=2", {"max-age": "1"}),
        ("max-age=; no-store", {"max-age": "", "no-store": ""}),
        ('x="a\\"b, no-store", y', {"x": 'a\\"b, no-store', "y": ""}),
    ],
)
def test_cache_control_is_a_list_of_directives(text: str, meaning: dict[str, str]) -> None:
    """§5.2: tokens or quoted strings, names in any case; the first of two counts."""
    assert directives(text) == meaning


@given(st.text(max_size=200))
def test_any_text_is_a_cache_control(text: str) -> None:
    """Whatever a server sends, it is read without an error."""
    made = entry({"cache-control": text, "expires": text, "date": text, "age": text, "vary": text})
    may_be_stored(made)
    needs_asking(made, NOW)


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ({"cache-control": "max-age=60"}, 60),
        ({"cache-control": "max-age=0"}, 0),
        ({"cache-control": "max-age=-5"}, 0),
        ({"cache-control": "max-age=soon"}, 0),
        ({"cache-control": "max-age=99999999999999999999"}, 2**31),
        ({"cache-control": "s-maxage=60"}, 0),
        ({"cache-control": "s-maxage=60, max-age=5"}, 5),
        ({"cache-control": "max-age=60", "expires": date(9)}, 60),
        ({"expires": date(100), "date": date()}, 100),
        ({"expires": date(100), "date": date(-50)}, 150),
        ({"expires": date(100)}, 100),
        ({"expires": "0"}, 0),
        ({"expires": "-1", "last-modified": date(-DAY)}, 0),
        ({"expires": date(-1)}, -1),
        ({"last-modified": date(-1000)}, 100),
        ({"last-modified": date(-1000), "date": date(-500)}, 50),
        ({"last-modified": date(-1000 * DAY)}, DAY),
        ({"last-modified": date(1000)}, 0),
        ({"last-modified": "yesterday"}, 0),
        ({}, 0),
    ],
)
def test_the_first_that_says_how_long_counts(headers: dict[str, str], lifetime: float) -> None:
    """§4.2.1: max-age, Expires, a tenth of the time since the last change; s-maxage never."""
    assert lifetime_s(entry(headers)) == pytest.approx(lifetime)


@pytest.mark.parametrize(
    ("headers", "took_s", "age"),
    [
        ({}, 0, 0),
        ({"date": date()}, 0, 0),
        ({"date": date(-30)}, 0, 30),
        ({"date": date(30)}, 0, 0),
        ({"age": "50"}, 0, 50),
        ({"age": "50"}, 3, 53),
        ({"age": "50", "date": date(-80)}, 3, 80),
        ({"age": "x"}, 2, 2),
        ({"age": "7, 9"}, 0, 7),
    ],
)
def test_age_counts_from_where_the_answer_was_made(
    headers: dict[str, str], took_s: float, age: float
) -> None:
    """§4.2.3, and then it grows with the clock, which may go backwards."""
    made = entry(headers, took_s=took_s)
    assert age_s(made, NOW) == age
    assert age_s(made, NOW + 10) == age + 10
    assert age_s(made, NOW - 10) == age


@pytest.mark.parametrize(
    ("headers", "status", "stored"),
    [
        ({"cache-control": "max-age=60"}, 200, True),
        ({"cache-control": "private, max-age=60"}, 200, True),
        ({"cache-control": "no-store, max-age=60"}, 200, False),
        ({"cache-control": "NO-STORE", "etag": '"1"'}, 200, False),
        ({"cache-control": "no-cache"}, 200, False),
        ({"cache-control": "no-cache", "etag": '"1"'}, 200, True),
        ({"cache-control": "max-age=0", "last-modified": date(-9)}, 200, True),
        ({"cache-control": "s-maxage=60"}, 200, False),
        ({"etag": '"1"'}, 200, True),
        ({"last-modified": date(-1000)}, 200, True),
        ({"expires": date(60)}, 200, True),
        ({}, 200, False),
        ({"cache-control": "max-age=60", "vary": "*"}, 200, False),
        ({"cache-control": "max-age=60", "vary": "accept"}, 200, True),
        ({"cache-control": "max-age=60"}, 404, True),
        ({"last-modified": date(-1000)}, 410, True),
        ({"cache-control": "max-age=60"}, 206, False),
        ({"cache-control": "max-age=60"}, 304, False),
        ({"etag": '"1"'}, 301, False),
        ({"last-modified": date(-1000)}, 308, False),
        ({"cache-control": "max-age=60"}, 301, True),
        ({"cache-control": "max-age=60"}, 302, True),
        ({"expires": date(60)}, 307, True),
        ({"etag": '"1"'}, 418, False),
    ],
)
def test_what_may_be_stored(headers: dict[str, str], status: int, stored: bool) -> None:
    """§3, for a private cache; redirects only where they say so, and nothing of no use."""
    assert may_be_stored(entry(headers, status=status)) is stored


def test_what_was_asked_with_credentials_is_never_stored() -> None:
    """Nothing sends them today; the rule stands here all the same."""
    made = entry({"cache-control": "public, max-age=60"}, asked={"authorization": "Basic x"})
    assert not may_be_stored(made)


@pytest.mark.parametrize(
    ("vary", "asked", "now_asked", "alike"),
    [
        ("", {"accept": "a"}, {"accept": "b"}, True),
        ("Accept", {"accept": "a"}, {"accept": "a"}, True),
        ("Accept", {"accept": "a"}, {"accept": "b"}, False),
        ("ACCEPT", {"accept": "a,b"}, {"accept": "a, b"}, True),
        ("accept", {}, {"accept": "a"}, False),
        ("accept-language, accept", {"accept": "a"}, {"accept": "a"}, True),
        ("cookie", {}, {"accept": "b"}, True),
        ("*", {}, {}, False),
        ("accept, *", {"accept": "a"}, {"accept": "a"}, False),
    ],
)
def test_vary_names_what_has_to_be_alike(
    vary: str, asked: dict[str, str], now_asked: dict[str, str], alike: bool
) -> None:
    """§4.1."""
    assert varies_alike(entry({"vary": vary}, asked=asked), now_asked) is alike


def test_validators_are_asked_with() -> None:
    """§4.3.1: both, where both are there and can be read."""
    made = entry({"etag": 'W/"1"', "last-modified": date(-9)})
    assert validators(made) == {"if-none-match": 'W/"1"', "if-modified-since": date(-9)}
    assert validators(entry({"last-modified": "once"})) == {}


@pytest.mark.parametrize(
    ("stored", "confirmed", "same"),
    [
        ('"1"', '"1"', True),
        ('W/"1"', '"1"', True),
        ('"1"', '"2"', False),
        (None, '"2"', True),
        ('"1"', None, True),
    ],
)
def test_a_304_means_the_entry_with_its_etag(
    stored: str | None, confirmed: str | None, same: bool
) -> None:
    """§4.3.4."""
    made = entry({"etag": stored} if stored else {})
    assert is_confirmed(made, {"etag": confirmed} if confirmed else {}) is same


def test_a_304_brings_new_headers_and_keeps_the_bodys() -> None:
    """§3.2: what describes the stored bytes stays."""
    old = entry(
        {
            "content-type": "text/html",
            "content-length": "9",
            "etag": '"1"',
            "x-old": "1",
            "age": "99",
            "date": date(-DAY),
        },
        body=b"body",
    )
    said = {
        "cache-control": "max-age=5",
        "content-length": "0",
        "content-type": "x/y",
        "etag": '"1"',
    }
    new = refreshed(old, said, asked_at=NOW + 50, came_at=NOW + 50)
    assert new.headers == {
        "content-type": "text/html",
        "content-length": "9",
        "etag": '"1"',
        "x-old": "1",
        "cache-control": "max-age=5",
    }
    assert (new.body, age_s(new, NOW + 54), needs_asking(new, NOW + 54)) == (b"body", 4, False)
    assert needs_asking(new, NOW + 55)


# --- the store ----------------------------------------------------------------------------------

FRESH = {"cache-control": "max-age=60"}


def test_the_least_recently_used_is_given_up() -> None:
    """And bytes are counted to the last one."""
    size = entry(FRESH, url="http://a/", body=b"x" * 1000).size
    cache = Cache(3 * size)
    for name in "abc":
        cache.keep(entry(FRESH, url=f"http://{name}/", body=b"x" * 1000))
    assert cache.find("http://a/", {}) is not None
    cache.keep(entry(FRESH, url="http://d/", body=b"x" * 1000))
    assert cache.find("http://b/", {}) is None
    assert cache.find("http://a/", {}) is not None
    assert (len(cache), cache.bytes) == (3, 3 * size)
    for name in "acd":
        cache.drop(f"http://{name}/", {})
    assert (len(cache), cache.bytes) == (0, 0)


def test_what_is_private_is_its_callers() -> None:
    """§5.2.2.7: for a single user. What is public anybody gets; nobody drops another's."""
    cache = Cache(100_000)
    private = dataclasses.replace(entry({"cache-control": "private, max-age=60"}), caller="a")
    cache.keep(private)
    assert cache.find(private.url, {}, "a") is private
    assert cache.find(private.url, {}, "b") is None
    cache.drop(private.url, {}, "b")
    cache.keep(dataclasses.replace(private, caller="b"))
    assert cache.find(private.url, {}, "a") is private
    public = dataclasses.replace(entry(FRESH, url="http://p/"), caller="a")
    cache.keep(public)
    assert cache.find(public.url, {}, "b") is public


def test_variants_are_bounded() -> None:
    """The oldest of a URL goes."""
    cache = Cache(100 * ENTRY_BYTES * 2)
    vary = {**FRESH, "vary": "accept"}
    for number in range(VARIANTS_PER_URL + 2):
        cache.keep(entry(vary, asked={"accept": str(number)}))
    assert len(cache) == VARIANTS_PER_URL
    assert cache.find(f"{ORIGIN}/", {"accept": "1"}) is None
    assert cache.find(f"{ORIGIN}/", {"accept": "5"}) is not None


def test_what_is_larger_than_all_is_not_kept() -> None:
    """Nor anything where there is no cache."""
    cache = Cache(10_000)
    cache.keep(entry(FRESH, url="http://a/"))
    cache.keep(entry(FRESH, url="http://b/", body=b"x" * 10_000))
    assert (cache.find("http://a/", {}) is not None, len(cache)) == (True, 1)
    off = Cache(0)
    off.keep(entry(FRESH))
    assert (len(off), off.bytes) == (0, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from("xyz"),
            st.sampled_from(["max-age=9", "no-store"]),
            st.sampled_from(["", "accept"]),
            st.integers(0, 4_000),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_the_count_of_bytes_is_right_whatever_happens(steps: list[Any]) -> None:
    """Kept, replaced, dropped and given up: the sum is that of what is there, and fits."""
    cache = Cache(12_000)
    for name, accept, control, vary, length, keep in steps:
        asked = {"accept": accept}
        made = entry(
            {"cache-control": control, "vary": vary},
            url=f"http://{name}/",
            body=bytes(length),
            asked=asked,
        )
        if keep:
            cache.keep(made)
            assert (cache.find(made.url, asked) is made) is (control != "no-store")
        else:
            cache.drop(made.url, asked)
            assert cache.find(made.url, asked) is None
        kept = [e for variants in cache._kept.values() for e in variants]
        assert cache.bytes == sum(e.size for e in kept) <= 12_000
        assert len(cache) == len(kept)


# --- through the client -------------------------------------------------------------------------


class Time:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now


@pytest.fixture
def clock() -> Time:
    """The clock of the client."""
    return Time()


@pytest.fixture
async def visitor(clock: Time) -> AsyncIterator[Visitor]:
    """A client with a cache."""
    async with visiting(clock=clock) as made:
        yield made


def cached(body: str, **headers: str) -> Handler:
    """Answer with a body and headers, whose names have _ for -."""
    return answer(body, headers={name.replace("_", "-"): v for name, v in headers.items()})


def checked(body: str, *, etag: str, **headers: str) -> Handler:
    """Answer 304 to who knows the ETag already."""
    fields = {"etag": etag, **{name.replace("_", "-"): v for name, v in headers.items()}}

    async def handle(request: Request, wire: Wire) -> None:
        if request.headers.get("if-none-match") == etag:
            await wire.head(304, fields)
        else:
            await answer(body, headers=fields)(request, wire)

    return handle


async def test_what_is_fresh_is_not_asked_for(visitor: Visitor, clock: Time) -> None:
    """Until its time is over; the second answer says how old it is."""
    visitor.site.route("/", cached("one", Cache_Control="max-age=60"))
    first = await visitor.get()
    clock.now += 59
    second = await visitor.get()
    assert (first.cache, second.cache) == ("miss", "hit")
    assert second.body == b"one"
    assert (second.bytes_wire, second.bytes_decoded) == (0, 3)
    assert second.headers["age"] == "59"
    assert len(visitor.site.requests) == 1
    clock.now += 1
    assert (await visitor.get()).cache == "miss"


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache_Control": "no-store"},
        {"Cache_Control": "max-age=60, no-store"},
        {"Cache_Control": "no-cache"},
        {"Cache_Control": "s-maxage=60"},
        {"Cache_Control": "max-age=60", "Vary": "*"},
        {"Expires": "0"},
        {},
    ],
)
async def test_what_may_not_be_kept_is_asked_for_again(
    visitor: Visitor, headers: dict[str, str]
) -> None:
    """Each time."""
    visitor.site.route("/", cached("x", **headers))
    assert [(await visitor.get()).cache for _ in range(2)] == ["miss", "miss"]
    assert (await visitor.web.component()).facts["cache_entries"] == 0


@pytest.mark.parametrize("control", ["max-age=10", "max-age=10, must-revalidate", "no-cache"])
async def test_what_is_stale_is_checked_by_etag(
    visitor: Visitor, clock: Time, control: str
) -> None:
    """A 304 renews it: the body is the kept one, the headers are new."""
    visitor.site.route("/", checked("one", etag='"1"', Cache_Control=control, X_Seen="1"))
    await visitor.get()
    clock.now += 11
    visitor.site.route("/", checked("two", etag='"1"', Cache_Control=control, X_Seen="2"))
    page = await visitor.get()
    assert (page.cache, page.body, page.status) == ("revalidated", b"one", 200)
    assert (page.headers["x-seen"], page.bytes_wire) == ("2", 0)
    assert visitor.site.requests[1].headers["if-none-match"] == '"1"'
    assert (await visitor.get()).cache == ("revalidated" if control == "no-cache" else "hit")
    assert visitor.site.connections == 1


async def test_what_has_changed_replaces_what_is_kept(visitor: Visitor, clock: Time) -> None:
    """Also when the new answer may not be kept."""
    visitor.site.route("/", checked("one", etag='"1"', Cache_Control="max-age=10"))
    await visitor.get()
    clock.now += 11
    visitor.site.route("/", checked("two", etag='"2"', Cache_Control="max-age=10"))
    page = await visitor.get()
    assert (page.cache, page.body) == ("miss", b"two")
    assert (await visitor.get()).body == b"two"
    clock.now += 11
    visitor.site.route("/", cached("three", Cache_Control="no-store"))
    assert (await visitor.get()).body == b"three"
    assert (await visitor.web.component()).facts["cache_entries"] == 0


async def test_what_has_only_a_date_is_checked_by_it(visitor: Visitor, clock: Time) -> None:
    """Last-Modified; and a tenth of the time since is a guess at how long it holds."""
    changed = date(-1000)

    async def handle(request: Request, wire: Wire) -> None:
        if request.headers.get("if-modified-since") == changed:
            await wire.head(304, {"Last-Modified": changed})
        else:
            await cached("x", Last_Modified=changed)(request, wire)

    visitor.site.route("/", handle)
    await visitor.get()
    clock.now += 99
    assert (await visitor.get()).cache == "hit"
    clock.now += 2
    assert (await visitor.get()).cache == "revalidated"


async def test_a_304_for_another_entity_is_not_believed(visitor: Visitor, clock: Time) -> None:
    """The page is asked for without conditions then."""
    visitor.site.route("/", cached("one", ETag='"1"'))
    await visitor.get()
    odd = raw(b'HTTP/1.1 304 Not Modified\r\nETag: "2"\r\n\r\n')
    visitor.site.route("/", in_turn(odd, cached("two", ETag='"2"')))
    page = await visitor.get()
    assert (page.cache, page.body) == ("miss", b"two")
    assert "if-none-match" not in visitor.site.requests[-1].headers


async def test_a_server_in_trouble_does_not_take_the_entry_away(
    visitor: Visitor, clock: Time
) -> None:
    """Its 503 is the answer now; afterwards the entry is checked as before."""
    good = checked("one", etag='"1"', Cache_Control="max-age=10")
    visitor.site.route("/", good)
    await visitor.get()
    clock.now += 11
    visitor.site.route("/", answer("sorry", status=503, headers={"Cache-Control": "max-age=99"}))
    assert (await visitor.get()).status == 503
    visitor.site.route("/", good)
    page = await visitor.get()
    assert (page.cache, page.body) == ("revalidated", b"one")


async def test_a_private_page_is_asked_for_again_for_another_caller(visitor: Visitor) -> None:
    """It may name the first one; also when it is checked, and when it may come from here only."""
    visitor.site.route("/", cached("text", Cache_Control="private, max-age=60", ETag='"1"'))
    states = [(await visitor.get(caller=name)).cache for name in "abab"]
    assert states == ["miss", "miss", "hit", "hit"]
    assert isinstance(await visitor.refusal(caller="c", cache="only"), NotFound)
    visitor.site.route("/all", cached("text", Cache_Control="max-age=60"))
    assert [(await visitor.get("/all", caller=name)).cache for name in "ab"] == ["miss", "hit"]


async def test_forms_of_a_page_are_kept_apart(visitor: Visitor) -> None:
    """Vary: Accept."""

    async def handle(request: Request, wire: Wire) -> None:
        body = request.headers["accept"][:9]
        await cached(body, Cache_Control="max-age=60", Vary="Accept")(request, wire)

    visitor.site.route("/", handle)
    csv: Any = {"headers": {"Accept": "text/csv"}}
    assert (await visitor.get(**csv)).body == b"text/csv"
    assert (await visitor.get()).body == b"text/mark"
    assert [(await visitor.get(**csv)).cache, (await visitor.get()).cache] == ["hit", "hit"]
    assert (await visitor.get(**csv)).body == b"text/csv"


@pytest.mark.parametrize(("control", "asked"), [("max-age=60", 1), ("", 2)])
async def test_redirects_are_kept_where_they_say_so(
    visitor: Visitor, control: str, asked: int
) -> None:
    """Also permanent ones only then: a mistake would last."""
    headers = {"Cache-Control": control} if control else {}
    visitor.site.route("/old", redirect("/new", status=301, headers=headers))
    visitor.site.route("/new", cached("x", Cache_Control="max-age=60"))
    for _ in range(2):
        page = await visitor.get("/old")
        assert (page.final_url, len(page.redirects)) == (f"{ORIGIN}/new", 1)
    assert visitor.site.paths().count("/old") == asked
    assert visitor.site.paths().count("/new") == 1
    assert page.cache == "hit"


async def test_reload_asks_whatever_is_kept(visitor: Visitor) -> None:
    """And tells caches on the way; what comes is kept."""
    visitor.site.route("/", in_turn(*(cached(n, Cache_Control="max-age=60") for n in "12")))
    await visitor.get()
    page = await visitor.get(cache="reload")
    assert (page.cache, page.body) == ("bypass", b"2")
    sent = visitor.site.requests[1].headers
    assert sent["cache-control"] == "no-cache"
    assert "if-none-match" not in sent
    page = await visitor.get()
    assert (page.cache, page.body) == ("hit", b"2")


async def test_only_asks_nobody(visitor: Visitor, clock: Time) -> None:
    """Neither for what is missing nor for what is stale."""
    visitor.site.route("/", checked("one", etag='"1"', Cache_Control="max-age=10"))
    error = await visitor.refusal(cache="only")
    assert isinstance(error, NotFound)
    assert error.facts["reason_code"] == "not_cached"
    assert visitor.internet.cable.reached == []
    await visitor.get()
    assert (await visitor.get(cache="only")).cache == "hit"
    clock.now += 11
    assert isinstance(await visitor.refusal(cache="only"), NotFound)
    assert len(visitor.site.requests) == 1


async def test_what_came_in_part_is_not_kept(visitor: Visitor) -> None:
    """A compressed body that ends early."""
    headers = {"Content-Encoding": "deflate", "Cache-Control": "max-age=60"}
    visitor.site.route("/", answer(b"\x78\x9c\xcb\x48\xcd\xc9\xc9", headers=headers))
    page = await visitor.get()
    assert (page.body, len(page.warnings)) == (b"hello"[: len(page.body)], 1)
    assert (await visitor.get()).cache == "miss"


async def test_a_kept_page_is_not_given_where_robots_txt_forbids_it_now(clock: Time) -> None:
    """The file is asked for anew when its time is over; `only` goes by what is known of it."""
    async with visiting(clock=clock, robots="respect", robots_ttl_s=100) as visitor:
        visitor.site.route("/", cached("x", Cache_Control="max-age=1000"))
        await visitor.get()
        visitor.site.route("/robots.txt", answer("User-agent: *\nDisallow: /"))
        assert (await visitor.get()).cache == "hit"
        clock.now += 101
        page = await visitor.get(cache="only")
        assert (page.cache, page.robots) == ("hit", None)
        assert isinstance(await visitor.refusal(), RobotsDisallowed)
        assert isinstance(await visitor.refusal(cache="only"), RobotsDisallowed)


async def test_a_kept_redirect_is_judged_like_a_new_one(visitor: Visitor) -> None:
    """The rules are asked at every hop, wherever the hop comes from."""
    headers = {"Cache-Control": "max-age=60"}
    visitor.site.route("/", redirect("http://example.org:22/", headers=headers))
    for _ in range(2):
        error = await visitor.refusal()
        assert error.facts["refused_by"] == UrlRefused.code
    assert len(visitor.site.requests) == 1


async def test_the_cache_can_be_off() -> None:
    """Every answer says so."""
    async with visiting(cache_bytes=0) as visitor:
        visitor.site.route("/", cached("x", Cache_Control="max-age=60", ETag='"1"'))
        assert [(await visitor.get()).cache for _ in range(2)] == ["bypass", "bypass"]
        assert "if-none-match" not in visitor.site.requests[1].headers
