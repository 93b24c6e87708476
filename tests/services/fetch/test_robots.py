"""robots.txt: RFC 9309 as a table, and nothing that takes long."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetch.backend.robots import (
    BOOK_BYTES,
    MAX_ROBOTS_BYTES,
    RobotsBook,
    RobotsFile,
    SiteRules,
    product_token,
)

URL = "https://example.org/robots.txt"

GROUPS = """\
# a comment
User-Agent: foobot
Disallow: /foo
Crawl-delay: 2.5
Sitemap: https://example.org/map.xml
Allow: /foo/open

User-agent: *
Disallow: /all
user-agent: BARBOT
user-agent: bazbot/2.0
Disallow: /bar
disalow: /typo

User-agent: foobot
Disallow: /again
User-agent: empty
Disallow:
"""


@pytest.mark.parametrize(
    ("token", "path", "allowed", "line"),
    [
        ("foobot", "/foo", False, 3),
        ("FooBot", "/foo/closed", False, 3),
        ("foobot", "/foo/open/page", True, 6),
        ("foobot", "/again", False, 16),
        ("foobot", "/all", True, None),
        ("barbot", "/bar", False, 12),
        ("bazbot", "/bar", False, 12),
        ("bazbot", "/typo", False, 13),
        ("barbot", "/all", True, None),
        ("other", "/all/of/it", False, 9),
        ("foo", "/all", False, 9),
        ("foobots", "/all", False, 9),
        ("empty", "/all", True, None),
        ("other", "/FOO", True, None),
    ],
)
def test_the_group_of_the_token_decides(
    token: str, path: str, allowed: bool, line: int | None
) -> None:
    """§2.2.1: groups of one token count together, * only where none names it."""
    decision = RobotsFile.parse(GROUPS.encode()).decide(path, token)
    assert decision.allowed is allowed
    assert (decision.rule.line if decision.rule else None) == line


def test_delay_and_sitemaps_are_told() -> None:
    """The delay is a group's, sitemaps are everybody's."""
    file = RobotsFile.parse(GROUPS.encode())
    assert file.decide("/", "foobot").crawl_delay_s == 2.5
    assert file.decide("/", "other").crawl_delay_s is None
    assert file.sitemaps == ("https://example.org/map.xml",)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/", "/anything", True),
        ("/fish", "/fish.html", True),
        ("/fish", "/fishheads/yummy.html?id=1", True),
        ("/fish", "/Fish.asp", False),
        ("/fish", "/catfish", False),
        ("/fish*", "/fishheads", True),
        ("/fish/", "/fish/?id=anything", True),
        ("/fish/", "/fish", False),
        ("/*.php", "/folder/filename.php?parameters", True),
        ("/*.php", "/windows.PHP", False),
        ("/*.php$", "/filename.php", True),
        ("/*.php$", "/filename.php?x", False),
        ("/*.php$", "/filename.php5", False),
        ("/fish*.php", "/fishheads/catfish.php?x", True),
        ("/$", "/", True),
        ("/$", "/x", False),
        ("*", "/x", True),
        ("*/end$", "/a/end", True),
        ("/a*b*c$", "/abc", True),
        ("/a*bc$", "/abbc", True),
        ("/a*ab$", "/ab", False),
        ("/**x", "/yx", True),
        ("/?q=", "/?q=1", True),
        ("/a=b", "/a%3Db", False),
        # Percent-encoding, the examples of §2.2.2 and §2.2.3.
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html", True),
        ("/path/foo-%24", "/path/foo-$", True),
        ("/a%2Fb", "/a/b", False),
        ("/mid$dle", "/mid$dle", True),
        ("/a b", "/a%20b", True),
    ],
)
def test_patterns_match_as_the_rfc_says(pattern: str, path: str, matches: bool) -> None:
    """§2.2.2 and §2.2.3; the examples are theirs and Google's."""
    file = RobotsFile.parse(f"User-agent: *\nDisallow: {pattern}\n".encode())
    assert file.decide(path, "us").allowed is not matches


@pytest.mark.parametrize(
    ("allow", "disallow", "allowed"),
    [
        ("/p", "/", True),
        ("/folder", "/folder", True),
        ("/page", "/*.htm", False),
        ("/$", "/", True),
        ("/example/page/", "/example/page/disallowed.gif", False),
    ],
)
def test_the_longest_rule_wins_and_allow_wins_a_tie(
    allow: str, disallow: str, allowed: bool
) -> None:
    """§2.2.2, in either order of the lines."""
    path = "/" if allow == "/$" else "/page.htm" if "htm" in disallow else disallow
    path = {"/p": "/page", "/folder": "/folder/page"}.get(allow, path)
    lines = [f"Allow: {allow}", f"Disallow: {disallow}"]
    for order in (lines, lines[::-1]):
        file = RobotsFile.parse("\n".join(["User-agent: *", *order]).encode())
        assert file.decide(path, "us").allowed is allowed


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfUser-agent: *\nDisallow: /x",
        b"User-agent: *\rDisallow: /x\r",
        b"User-agent: *\r\nDisallow: /x\r\n",
        b"  user-AGENT :  *  # us\n\n\n  DISALLOW\t: /x # no\n",
        b"User-agent: *\nUnknown: y\nDisallow: /x",
        b"\xff\xfe\x00garbage\nUser-agent: *\nDisallow: /x\n\xff",
        b"Disallow: /y\nUser-agent: *\nSitemap: s\nUser-agent: z\nDisallow: /x",
    ],
)
def test_lines_are_read_however_they_are_written(body: bytes) -> None:
    """§2.2, and §2.2.4: other records do not come between."""
    file = RobotsFile.parse(body)
    assert not file.decide("/x", "us").allowed
    assert file.decide("/y", "us").allowed


@given(st.binary(max_size=2_000), st.text(max_size=50))
def test_any_bytes_are_a_robots_txt(body: bytes, path: str) -> None:
    """Parsing and matching raise nothing."""
    file = RobotsFile.parse(body)
    file.decide(f"/{path}", "us")


@given(
    st.lists(st.tuples(st.sampled_from(["allow", "disallow"]), st.text("/ab*$", max_size=6))),
    st.text("/ab", max_size=8),
)
def test_rules_match_as_regular_expressions_would(rules: list[tuple[str, str]], tail: str) -> None:
    """The matcher without backtracking says what one with it says."""
    path = f"/{tail}"
    lines = [f"{word}: {pattern}" for word, pattern in rules]
    decision = RobotsFile.parse("\n".join(["user-agent: *", *lines]).encode()).decide(path, "us")
    assert decision.allowed is _by_regular_expressions(rules, path)


def _by_regular_expressions(rules: list[tuple[str, str]], path: str) -> bool:
    best, verdict = -1, True
    for word, pattern in rules:
        if not pattern:
            continue
        body, end = (pattern[:-1], r"\Z") if pattern.endswith("$") else (pattern, "")
        regex = ".*".join(re.escape(part) for part in body.split("*")) + end
        # A $ that anchors nothing is written %24, so it is never in these paths; it counts three.
        length = len(body.replace("$", "%24")) + bool(end)
        if "$" in body or not re.match(regex, path):
            continue
        if length > best or (length == best and word == "allow"):
            best, verdict = length, word == "allow"
    return verdict


@pytest.mark.parametrize(
    ("agent", "token"),
    [
        ("mcp-fetch/0.1 (single pages)", "mcp-fetch"),
        ("GPTBot", "gptbot"),
        (" Mozilla/5.0 (compatible)", "mozilla"),
        ("Two Words", "two"),
    ],
)
def test_the_product_token_is_the_word_before_the_slash(agent: str, token: str) -> None:
    """§2.2.1."""
    assert product_token(agent) == token


@pytest.mark.parametrize(
    ("status", "allowed", "unreachable"),
    [
        (204, True, False),
        (302, True, False),
        (400, True, False),
        (401, True, False),
        (403, True, False),
        (404, True, False),
        (410, True, False),
        (429, False, True),
        (500, False, True),
        (503, False, True),
        (None, False, True),
    ],
)
async def test_the_status_decides_where_there_is_no_file(
    status: int | None, allowed: bool, unreachable: bool
) -> None:
    """§2.3.1: unavailable allows, unreachable disallows; 429 as Google has it."""
    rules = SiteRules.read(URL, status)
    assert (await rules.verdict("/page", "us")).allowed is allowed
    assert rules.is_unreachable is unreachable


async def test_a_verdict_names_the_line_that_decides() -> None:
    """As the site's owner wrote it."""
    rules = SiteRules.read(URL, 200, GROUPS.encode())
    verdict = await rules.verdict("/foo/bar?x=1", "foobot")
    assert verdict.rule == "line 3: Disallow: /foo"
    assert "Line 3 of robots.txt disallows it" in verdict.reason
    assert (await rules.verdict("/", "foobot")).rule is None
    closed = SiteRules.read(URL, 200, b"User-agent: *\nDisallow: /")
    assert (await closed.verdict("/robots.txt", "us")).allowed


def _agents_then_rules() -> bytes:
    agents = "".join(f"User-agent: a{number}\n" for number in range(13_000))
    return (agents + "".join(f"Allow: /{number}\n" for number in range(18_000))).encode()


HOSTILE = {
    "many agents, then many rules": _agents_then_rules(),
    "stars": b"User-agent: *\n" + b"Disallow: /*a*a*a*a*a*a*a*a*b\n" * 17_000,
    "stars only": b"User-agent: *\nDisallow: /" + b"*" * 500_000,
    "nearly alike": b"User-agent: *\n"
    + (b"Disallow: /*" + b"a" * 60 + b"b" + b"a" * 60 + b"\n") * 3_700,
    "one line": b"User-agent: *\nDisallow: /" + b"a" * 500_000,
    "groups": b"User-agent: a\nAllow: /\n" * 22_000,
    "empty lines": b"\n" * 500_000,
    "sitemaps": b"Sitemap: https://example.org/s\n" * 17_000,
    "percent": b"User-agent: *\nDisallow: /" + b"%" * 500_000,
    "nul": bytes(500_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_takes_long(name: str) -> None:
    """500 KiB, and a path of 10,000 characters that nearly matches."""
    began = time.process_time()
    file = RobotsFile.parse(HOSTILE[name][:MAX_ROBOTS_BYTES])
    file.decide("/" + "a" * 10_000, "us")
    assert time.process_time() - began < 2


async def test_what_stands_behind_the_limit_is_not_read() -> None:
    """§2.5: 500 KiB; what is before it holds."""
    body = b"User-agent: *\nDisallow: /early\n" + b"#" * MAX_ROBOTS_BYTES + b"\nDisallow: /late\n"
    rules = SiteRules.read(URL, 200, body)
    assert not (await rules.verdict("/early", "us")).allowed
    assert (await rules.verdict("/late", "us")).allowed


# --- the book ---------------------------------------------------------------------------------


async def test_rules_are_loaded_once_for_all_who_ask() -> None:
    """And again when their time is over."""
    now, loads = 0.0, 0
    book = RobotsBook(ttl_s=60, clock=lambda: now)

    async def load() -> SiteRules:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        return SiteRules.read(URL, 404)

    await asyncio.gather(*(book.rules(URL, load) for _ in range(10)))
    assert loads == 1
    now = 59.0
    await book.rules(URL, load)
    assert (loads, book.known(URL) is not None) == (1, True)
    now = 60.0
    assert book.known(URL) is None
    await book.rules(URL, load)
    assert loads == 2


async def test_one_who_gives_up_does_not_stop_the_others() -> None:
    """The next in line loads."""
    book = RobotsBook(ttl_s=60)
    begun = asyncio.Event()

    async def stuck() -> SiteRules:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def load() -> SiteRules:
        return SiteRules.read(URL, 404)

    first = asyncio.create_task(book.rules(URL, stuck))
    await begun.wait()
    second = asyncio.create_task(book.rules(URL, load))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status == 404


async def test_a_failure_is_believed_for_a_minute() -> None:
    """A server that comes back is asked again."""
    now = 0.0
    book = RobotsBook(ttl_s=3600, clock=lambda: now)

    async def load() -> SiteRules:
        return SiteRules.read(URL, 503)

    await book.rules(URL, load)
    now = 59.0
    assert book.known(URL) is not None
    now = 61.0
    assert book.known(URL) is None


async def test_the_book_stays_small() -> None:
    """The oldest are forgotten."""
    book = RobotsBook(ttl_s=3600)
    body = b"User-agent: *\nDisallow: /\n#" + b"x" * 300_000

    async def load() -> SiteRules:
        return SiteRules.read(URL, 200, body)

    for number in range(20):
        await book.rules(f"https://{number}.example/robots.txt", load)
    assert len(book) == BOOK_BYTES // 300_600
    assert book.known("https://19.example/robots.txt") is not None
    assert book.known("https://0.example/robots.txt") is None
