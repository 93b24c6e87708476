"""The fetch service through its public doors: pages, parts of pages, search and links."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from core.context import Caller, Context, Principal
from core.errors import CursorRefused
from core.protocol.revisions import MODERN
from core.testing import Client
from services.fetch.backend import Converters
from services.fetch.errors import SnapshotGone
from services.fetch.models import UNTRUSTED
from services.fetch.tools.lookups import FetchSearch
from services.fetch.tools.pages import Fetch
from tests.services.fetch.browsing import SENTENCE, Browser, browsing, chapters, page, paragraphs
from tests.services.fetch.internet.site import answer, in_turn, redirect

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg=="
)
BOOK = chapters("Spring", "Neap", "Storm", each=6)


# --- one page -----------------------------------------------------------------------------------


async def test_fetch_returns_a_page_as_markdown(browser: Browser) -> None:
    """With what it says of itself, how it came, and whose words it is."""
    site = await browser.internet.site("tides.example")
    head = '<meta name="author" content="Ada"><meta name="description" content="About tides">'
    site.route("/", answer(page("<h1>Tides</h1>", paragraphs(4), head=head)))
    result = await browser.ok("fetch", url="https://tides.example/")
    assert "# Tides" in result["content"]
    assert "Part 4." in result["content"]
    assert result["status"] == 200
    assert result["final_url"] == "https://tides.example/"
    assert result["kind"] == "html"
    assert result["metadata"]["author"] == "Ada"
    assert result["charset"] == "utf-8"
    assert result["untrusted"] == UNTRUSTED
    assert result["truncated"] is False
    assert result["total_chars"] == result["returned_chars"] == len(result["content"])


async def test_the_text_stands_last_in_a_result(browser: Browser) -> None:
    """Some clients cut long answers: what they cut is then text, which `truncated` announced."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    raw = (await browser.client.call("fetch", url="https://tides.example/")).text
    names = list(json.loads(raw))
    assert names[-1] == "content"
    assert names.index("truncated") < names.index("next_cursor") < names.index("content")


async def test_redirects_are_told(browser: Browser) -> None:
    """Each with its status and where it led."""
    site = await browser.internet.site("tides.example")
    site.route("/old", redirect("/new", status=301))
    site.route("/new", answer(page(paragraphs(2))))
    result = await browser.ok("fetch", url="https://tides.example/old")
    assert result["url"] == "https://tides.example/old"
    assert result["final_url"] == "https://tides.example/new"
    assert [r["status"] for r in result["redirects"]] == [301]


async def test_json_of_an_api_is_pretty(browser: Browser) -> None:
    """So that it can be read in parts and cited by line."""
    site = await browser.internet.site("api.example")
    site.route("/v1", answer('{"b":[1,2],"a":"é"}', content_type="application/json"))
    result = await browser.ok("fetch", url="https://api.example/v1", format="json")
    assert result["kind"] == "json"
    assert json.loads(result["content"]) == {"b": [1, 2], "a": "é"}
    assert "\n" in result["content"]


async def test_raw_returns_the_source(browser: Browser) -> None:
    """As the official server's argument of that name does."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    result = await browser.ok("fetch", url="https://tides.example/", raw=True, max_length=100_000)
    assert result["content"] == BOOK


async def test_an_image_comes_as_an_image(browser: Browser) -> None:
    """In a block of its own beside the facts."""
    site = await browser.internet.site("tides.example")
    site.route("/dot.png", answer(PIXEL, content_type="image/png"))
    raw = (await browser.client.call("fetch", url="https://tides.example/dot.png")).raw
    [block] = [block for block in raw["content"] if block["type"] == "image"]
    assert block["mimeType"] == "image/png"
    assert base64.b64decode(block["data"]) == PIXEL
    assert raw["structuredContent"]["kind"] == "image"


async def test_an_image_that_is_not_shown_says_why(browser: Browser) -> None:
    """Too large, or of a type that clients do not take."""
    site = await browser.internet.site("tides.example")
    site.route("/big.png", answer(PIXEL + b"\0" * 3_000_000, content_type="image/png"))
    site.route("/old.bmp", answer(b"BM" + b"\0" * 60, content_type="image/bmp"))
    for name, why in (("big.png", "3000070 bytes"), ("old.bmp", "image/bmp")):
        raw = (await browser.client.call("fetch", url=f"https://tides.example/{name}")).raw
        assert [block["type"] for block in raw["content"]] == ["text"]
        assert why in json.dumps(raw["structuredContent"]["warnings"])


async def test_links_are_listed_when_asked_for(browser: Browser) -> None:
    """With the page's beginning; `links=false` leaves their targets out of the text too."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(page(paragraphs(2), '<p>See the <a href="/log">log of 1953</a>.</p>')))
    url = "https://tides.example/"
    plain = await browser.ok("fetch", url=url)
    assert (plain["links"], plain["links_total"]) == ([], 1)
    assert "https://tides.example/log" in plain["content"]
    listed = await browser.ok("fetch", url=url, links=True)
    assert [link["url"] for link in listed["links"]] == ["https://tides.example/log"]
    without = await browser.ok("fetch", url=url, links=False)
    assert "https://tides.example/log" not in without["content"]
    assert "log of 1953" in without["content"]


async def test_a_wrong_option_says_so_before_anything_is_asked_for(browser: Browser) -> None:
    """Two formats at once, two places at once, unknown names."""
    site = await browser.internet.site("tides.example")
    url = "https://tides.example/"
    wrong: list[dict[str, Any]] = [
        {"raw": True, "format": "text"},
        {"section": "Neap", "start_index": 5},
        {"snapshot": "x", "cache": "reload"},
        {"max_lenght": 5},
        {"max_length": 0},
        {"headers": {"Accept-Language": 5}},
    ]
    for arguments in wrong:
        error = await browser.error("fetch", url=url, **arguments)
        assert error["code"] == "INVALID_ARGUMENTS", arguments
    assert site.requests == []


# --- parts of a page ----------------------------------------------------------------------------


async def test_a_long_page_is_read_on_with_its_cursor(browser: Browser) -> None:
    """Put together, the parts are the page; the site is asked once."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    url = "https://tides.example/"
    whole = await browser.ok("fetch", url=url, max_length=500_000)
    asked = len(site.paths())
    result = await browser.ok("fetch", url=url, snapshot=whole["snapshot"], max_length=3_000)
    text = result["content"]
    while result["next_cursor"]:
        assert result["truncated_by"] == "length"
        result = await browser.ok("fetch", url=url, cursor=result["next_cursor"], max_length=3_000)
        text += result["content"]
    assert text == whole["content"]
    assert len(site.paths()) == asked


async def test_page_two_is_of_the_same_version_as_page_one(browser: Browser) -> None:
    """Also when the page has changed since, and even when somebody has fetched it anew."""
    site = await browser.internet.site("tides.example")
    old, new = (page("<h1>Log</h1>", paragraphs(30, word=word)) for word in ("old ", "new "))
    no_store = {"Cache-Control": "no-store"}
    site.route("/", in_turn(answer(old, headers=no_store), answer(new, headers=no_store)))
    url = "https://tides.example/"
    first = await browser.ok("fetch", url=url, max_length=2_000)
    assert "Part new 1." in (await browser.ok("fetch", url=url, max_length=2_000))["content"]
    second = await browser.ok("fetch", url=url, cursor=first["next_cursor"], max_length=2_000)
    assert "Part old" in second["content"]
    assert "Part new" not in second["content"]


async def test_windows_are_counted_as_the_official_server_counts(browser: Browser) -> None:
    """`start_index` and `max_length` are characters of the text, exactly."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    url = "https://tides.example/"
    whole = (await browser.ok("fetch", url=url, max_length=500_000))["content"]
    result = await browser.ok("fetch", url=url, start_index=1_003, max_length=777)
    assert result["content"] == whole[1_003:1_780]
    assert result["start_index"] == 1_003
    assert result["cache"] == "snapshot"
    behind = await browser.ok("fetch", url=url, start_index=len(whole), max_length=777)
    assert (behind["content"], behind["truncated"]) == ("", False)
    assert "behind the end" in behind["warnings"][-1]


async def test_a_default_answer_is_bounded_and_ends_well(browser: Browser) -> None:
    """By characters; the end is the end of a paragraph."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(page("<h1>Long</h1>", paragraphs(200))))
    result = await browser.ok("fetch", url="https://tides.example/")
    assert result["truncated_by"] == "length"
    assert 18_000 <= result["returned_chars"] <= 20_000
    assert result["content"].endswith(".\n\n")


async def test_an_answer_is_bounded_by_bytes_too(converters: Converters) -> None:
    """Characters may have three bytes; the whole result stays below the setting."""
    async with browsing(converters, answer_bytes=8_000) as browser:
        site = await browser.internet.site("tides.example")
        site.route("/", answer(page(*[f"<p>{'潮' * 300}</p>" for _ in range(100)])))
        raw = await browser.client.call("fetch", url="https://tides.example/")
        assert raw.structured is not None
        assert raw.structured["truncated_by"] == "bytes"
        assert 6_000 < len(raw.text.encode()) <= 8_000


async def test_an_answer_never_passes_a_megabyte(browser: Browser) -> None:
    """Whatever max_length asks for."""
    site = await browser.internet.site("tides.example")
    site.route("/big.txt", answer('"quoted"\n' * 150_000, content_type="text/plain"))
    raw = await browser.client.call("fetch", url="https://tides.example/big.txt", max_length=10**6)
    assert raw.structured is not None
    assert raw.structured["truncated_by"] == "bytes"
    assert 900_000 < len(raw.text.encode()) <= 1_000_000


async def test_a_section_is_read_alone(browser: Browser) -> None:
    """By its heading or by its id in the outline, from the version that the outline was of."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    url = "https://tides.example/"
    outline = (await browser.ok("fetch", url=url, max_length=100))["outline"]
    assert [h["title"] for h in outline if h["level"] == 2] == ["Spring", "Neap", "Storm"]
    [neap] = [h for h in outline if h["title"] == "Neap"]
    by_name = await browser.ok("fetch", url=url, section="neap", max_length=100_000)
    by_id = await browser.ok("fetch", url=url, section=neap["id"], max_length=100_000)
    assert by_name["content"] == by_id["content"]
    assert by_name["content"].startswith("## Neap")
    assert "Neap details" in by_name["content"]
    assert "Storm" not in by_name["content"]
    assert by_name["section"] == "Neap"
    assert by_name["truncated"] is False


async def test_a_cursor_within_a_section_ends_with_it(browser: Browser) -> None:
    """The next section is not what was asked for."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    url = "https://tides.example/"
    result = await browser.ok("fetch", url=url, section="Neap", max_length=1_500)
    text = result["content"]
    while result["next_cursor"]:
        result = await browser.ok("fetch", url=url, cursor=result["next_cursor"], max_length=1_500)
        assert result["section"] == "Neap"
        text += result["content"]
    assert text == (await browser.ok("fetch", url=url, section="Neap", max_length=10**5))["content"]


async def test_an_unknown_section_names_the_nearest(browser: Browser) -> None:
    """So that the next call can be right."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    error = await browser.error("fetch", url="https://tides.example/", section="Neep")
    assert error["code"] == "SECTION_NOT_FOUND"
    assert error["nearest"][0] == "Neap"


async def test_a_cursor_of_a_page_that_is_gone_says_what_to_do(converters: Converters) -> None:
    """The page was driven out by others."""
    async with browsing(converters, snapshot_bytes=60_000) as browser:
        site = await browser.internet.site("tides.example")
        for n in range(4):
            site.route(f"/{n}", answer(page(paragraphs(60, word=f"{n} "))))
        first = await browser.ok("fetch", url="https://tides.example/0", max_length=500)
        for n in range(1, 4):
            await browser.ok("fetch", url=f"https://tides.example/{n}", max_length=500)
        error = await browser.error(
            "fetch", url="https://tides.example/0", cursor=first["next_cursor"]
        )
        assert error["code"] == "SNAPSHOT_GONE"
        assert "Fetch the URL again" in error["hint"]


async def test_a_page_too_large_to_be_kept_promises_no_cursor(converters: Converters) -> None:
    """It says how to read on all the same."""
    async with browsing(converters, snapshot_bytes=2_000) as browser:
        site = await browser.internet.site("tides.example")
        site.route("/", answer(BOOK))
        url = "https://tides.example/"
        result = await browser.ok("fetch", url=url, max_length=500)
        assert (result["snapshot"], result["next_cursor"]) == (None, None)
        assert any("start_index" in warning for warning in result["warnings"])
        next_part = await browser.ok("fetch", url=url, max_length=500, start_index=500)
        assert next_part["start_index"] == 500


async def test_cursors_are_for_their_own_page_only(browser: Browser) -> None:
    """Of another URL, of another format, and made up."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    site.route("/other", answer(BOOK))
    url = "https://tides.example/"
    cursor = (await browser.ok("fetch", url=url, max_length=500))["next_cursor"]
    other = await browser.error("fetch", url=url + "other", cursor=cursor)
    assert other["code"] == "INVALID_ARGUMENTS"
    raw = await browser.error("fetch", url=url, cursor=cursor, raw=True)
    assert raw["code"] == "INVALID_ARGUMENTS"
    made_up = await browser.error("fetch", url=url, cursor="AAAA")
    assert made_up["code"] == "CURSOR_REFUSED"


async def test_reload_fetches_the_page_anew(browser: Browser) -> None:
    """Where start_index alone would read what is kept."""
    site = await browser.internet.site("tides.example")
    site.route("/", in_turn(answer(page(paragraphs(9))), answer(page(paragraphs(9, word="new ")))))
    url = "https://tides.example/"
    await browser.ok("fetch", url=url, max_length=500)
    kept = await browser.ok("fetch", url=url, start_index=500)
    assert "Part new" not in kept["content"]
    anew = await browser.ok("fetch", url=url, start_index=500, cache="reload")
    assert "Part new" in anew["content"]


async def test_only_what_is_kept_is_read_without_asking(browser: Browser) -> None:
    """A snapshot counts as kept; nothing kept is an error that says how to get it."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK, headers={"Cache-Control": "no-store"}))
    url = "https://tides.example/"
    error = await browser.error("fetch", url=url, cache="only")
    assert (error["code"], site.requests) == ("NOT_FOUND", [])
    await browser.ok("fetch", url=url)
    asked = len(site.requests)
    kept = await browser.ok("fetch", url=url, cache="only")
    assert (kept["cache"], len(site.requests)) == ("snapshot", asked)


async def test_headers_of_the_caller_are_part_of_what_a_page_is(browser: Browser) -> None:
    """The German page is not read on in English."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK, headers={"Vary": "Accept-Language"}))
    url = "https://tides.example/"
    await browser.ok("fetch", url=url, max_length=500)
    result = await browser.ok("fetch", url=url, start_index=500, headers={"Accept-Language": "de"})
    assert result["cache"] != "snapshot"
    assert site.requests[-1].headers["accept-language"] == "de"


# --- answers that are no pages ------------------------------------------------------------------


async def test_an_error_status_is_an_error_with_what_the_server_says(browser: Browser) -> None:
    """The text of its page, short; whether trying again helps."""
    site = await browser.internet.site("tides.example")
    site.route("/gone", answer(page("<h1>Gone</h1><p>We moved.</p>"), status=410))
    busy = {"Retry-After": "120"}
    site.route(
        "/busy",
        answer('{"error": "slow down"}', status=429, headers=busy, content_type="application/json"),
    )
    gone = await browser.error("fetch", url="https://tides.example/gone")
    assert (gone["code"], gone["status"], gone["retryable"]) == ("HTTP_STATUS", 410, False)
    assert "We moved." in gone["page_text"]
    busy_error = await browser.error("fetch", url="https://tides.example/busy")
    assert (busy_error["retryable"], busy_error["retry_after_s"]) == (True, 120)
    assert "slow down" in busy_error["page_text"]


async def test_a_bot_wall_is_called_one(browser: Browser) -> None:
    """Instead of passing for the page."""
    site = await browser.internet.site("tides.example")
    site.route(
        "/",
        answer(
            page("<p>Checking your browser</p>", title="Just a moment..."),
            status=403,
            headers={"Server": "cloudflare", "cf-mitigated": "challenge"},
        ),
    )
    site.route("/soft", answer(page("<p>Please verify you are a human to go on.</p>")))
    error = await browser.error("fetch", url="https://tides.example/")
    assert error["wall"] == "Cloudflare"
    assert "another source" in error["hint"]
    soft = await browser.ok("fetch", url="https://tides.example/soft")
    assert any("wall" in warning for warning in soft["warnings"])


async def test_a_url_is_judged_as_it_was_given(browser: Browser) -> None:
    """No part of it is tidied away before the policy has seen it."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    for url in (
        "\x0bhttps://tides.example/",
        "https://tides.example/#a\tb",
        "https://a@tides.example/",
    ):
        for tool, arguments in (("fetch", {"url": url}), ("fetch_links", {"url": url})):
            error = await browser.error(tool, **arguments)
            assert error["code"] in ("BAD_URL", "URL_REFUSED"), url
        [many] = (await browser.ok("fetch_many", urls=[url]))["pages"]
        assert many["error"]["code"] in ("BAD_URL", "URL_REFUSED"), url
    assert site.requests == []


async def test_an_address_that_is_not_public_is_refused(browser: Browser) -> None:
    """Wherever it is written: in the URL, in DNS, in a redirect; and nothing is connected to."""
    site = await browser.internet.site("tides.example")
    site.route("/in", redirect("http://10.0.0.5/"))
    browser.internet.names["inner.example"] = ["192.168.1.9"]
    for url in ("http://127.0.0.1/", "https://inner.example/", "http://[::1]:8080/"):
        error = await browser.error("fetch", url=url)
        assert error["code"] == "ADDRESS_REFUSED", url
    error = await browser.error("fetch", url="https://tides.example/in")
    assert error["code"] in ("REDIRECT_REFUSED", "ADDRESS_REFUSED")
    assert "192.168.1.9" not in json.dumps(error)


# --- search and links ---------------------------------------------------------------------------


async def test_search_finds_the_place_to_read_on_from(browser: Browser) -> None:
    """Its offset is a start_index of fetch; the site is asked once."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK.replace("Part Storm4.", "Part Storm4. The gale of 1953.")))
    url = "https://tides.example/"
    found = await browser.ok("fetch_search", url=url, text="gale of 1953", context=40)
    [hit] = found["hits"]
    assert "gale of 1953" in hit["excerpt"]
    assert hit["heading"].endswith("Storm")
    asked = len(site.paths())
    part = await browser.ok("fetch", url=url, start_index=hit["offset"], max_length=12)
    assert part["content"] == "gale of 1953"
    assert len(site.paths()) == asked


async def test_search_that_finds_nothing_says_what_there_is(browser: Browser) -> None:
    """How long the page is, and its headings."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    found = await browser.ok("fetch_search", url="https://tides.example/", text="submarine")
    assert (found["hits"], found["total"], found["matches"]) == ([], 0, 0)
    assert "Neap" in found["headings"]
    assert found["total_chars"] > 5_000


async def test_search_takes_a_regular_expression_and_pages(browser: Browser) -> None:
    """RE2, lines by themselves; a bad one is told with its fault."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    url = "https://tides.example/"
    query = {"url": url, "regex": r"Part Storm\d", "context": 0, "limit": 4}
    first = await browser.ok("fetch_search", **query)
    assert (first["returned"], first["total"], first["matches"]) == (4, 6, 6)
    second = await browser.ok("fetch_search", **query, cursor=first["next_cursor"])
    assert (second["returned"], second["truncated"]) == (2, False)
    bad = await browser.error("fetch_search", url=url, regex="(")
    assert bad["code"] == "BAD_PATTERN"
    for both in ({}, {"text": "a", "regex": "a"}):
        error = await browser.error("fetch_search", url=url, **both)
        assert error["code"] == "INVALID_ARGUMENTS"


async def test_search_and_links_take_a_snapshot(browser: Browser) -> None:
    """Also one that was fetched in another way than they would."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    made = await browser.ok("fetch", url="https://tides.example/", raw=True)
    found = await browser.ok("fetch_search", snapshot=made["snapshot"], text="<h2>Neap</h2>")
    assert found["matches"] == 1
    gone = await browser.error("fetch_links", snapshot="no-such-snapshot")
    assert gone["code"] == "SNAPSHOT_GONE"
    neither = await browser.error("fetch_search", text="tide")
    assert neither["code"] == "INVALID_ARGUMENTS"


async def test_links_are_absolute_filtered_and_paged(browser: Browser) -> None:
    """Same site, pattern and kind narrow the list."""
    site = await browser.internet.site("tides.example")
    links = "".join(f'<li><a href="/log/{n}">Log {n}</a></li>' for n in range(30))
    feed = '<link rel="alternate" type="application/rss+xml" title="News" href="/feed.xml">'
    outside = '<p><a href="https://other.example/log/x">Elsewhere</a></p>'
    site.route("/", answer(page(paragraphs(2), f"<ul>{links}</ul>", outside, head=feed)))
    url = "https://tides.example/"
    query: dict[str, Any] = {"url": url, "same_site": True, "pattern": r"/log/", "limit": 20}
    first = await browser.ok("fetch_links", **query)
    assert (first["returned"], first["total"]) == (20, 30)
    assert first["links"][0] == {"url": url + "log/0", "text": "Log 0", "kind": "link"}
    second = await browser.ok("fetch_links", **query, cursor=first["next_cursor"])
    assert second["returned"] == 10
    feeds = await browser.ok("fetch_links", url=url, kinds=["feed"])
    assert [link["url"] for link in feeds["links"]] == [url + "feed.xml"]


async def test_llms_txt_and_sitemaps_are_links_too(browser: Browser) -> None:
    """The one is looked for when asked, the others stand in robots.txt."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(page(paragraphs(2))))
    site.route("/llms.txt", answer("# Tides\n\n- [Log](/log)", content_type="text/markdown"))
    site.route(
        "/robots.txt",
        answer("Sitemap: https://tides.example/map.xml\n", content_type="text/plain"),
    )
    plain = await browser.ok("fetch_links", url="https://tides.example/")
    assert [link["url"] for link in plain["links"]] == ["https://tides.example/map.xml"]
    found = await browser.ok("fetch_links", url="https://tides.example/", kinds=["llms_txt"])
    assert [link["url"] for link in found["links"]] == ["https://tides.example/llms.txt"]


# --- without a page -----------------------------------------------------------------------------


async def test_metadata_is_had_without_the_content(browser: Browser) -> None:
    """By HEAD; an error status is a fact there, not an error."""
    site = await browser.internet.site("tides.example")
    site.route("/a.pdf", answer(b"x" * 5_000, content_type="application/pdf"))
    told = await browser.ok("fetch_metadata", url="https://tides.example/a.pdf")
    assert (told["status"], told["size_bytes"]) == (200, 5_000)
    assert told["certificate_expires_at"] is not None
    assert site.requests[-1].method == "HEAD"
    missing = await browser.ok("fetch_metadata", url="https://tides.example/none")
    assert missing["status"] == 404


async def test_robots_txt_decides_and_can_be_asked(browser: Browser) -> None:
    """For us, and for any other agent."""
    site = await browser.internet.site("tides.example")
    site.route("/private/x", answer(page(paragraphs(1))))
    rules = "User-agent: *\nDisallow: /private\nCrawl-delay: 3\n\nUser-agent: friend\nDisallow:\n"
    site.route("/robots.txt", answer(rules, content_type="text/plain"))
    url = "https://tides.example/private/x"
    error = await browser.error("fetch", url=url)
    assert error["code"] == "ROBOTS_DISALLOWED"
    verdict = await browser.ok("robots_check", url=url)
    assert (verdict["allowed"], verdict["crawl_delay_s"]) == (False, 3)
    assert "/private" in verdict["rule"]
    friend = await browser.ok("robots_check", url=url, user_agent="friend")
    assert friend["allowed"] is True
    assert site.paths() == []


# --- around the tools ---------------------------------------------------------------------------


async def test_health_names_network_and_converter(browser: Browser) -> None:
    """Without going out: nothing is asked for."""
    body = (await browser.client.http.get("/health")).json()
    assert body["status"] == "healthy"
    assert {"network", "converter"} <= body["components"].keys()
    assert browser.internet.cable.reached == []


async def test_a_page_can_be_attached_as_a_resource(browser: Browser) -> None:
    """Its URL is percent-encoded, query and all."""
    site = await browser.internet.site("tides.example")
    site.route("/log", answer(page("<h1>Log</h1>", paragraphs(3))))
    uri = "fetch://page/https%3A%2F%2Ftides.example%2Flog%3Fyear%3D1953"
    answered = await browser.client.rpc("resources/read", {"uri": uri})
    [contents] = answered["result"]["contents"]
    assert contents["uri"] == uri
    assert contents["mimeType"] == "text/markdown"
    assert "# Log" in contents["text"]
    assert site.paths() == ["/log?year=1953"]


async def test_the_prompts_bring_a_page_and_a_way_to_read_it(client_prompts: Client) -> None:
    """`fetch` is the official server's."""
    text = await _prompt(client_prompts, "fetch", url="https://tides.example/")
    assert SENTENCE.strip() in text
    failed = await _prompt(client_prompts, "fetch", url="https://nowhere.example/")
    assert "could not be fetched" in failed
    told = await _prompt(
        client_prompts, "summarise_page", url="https://tides.example/", focus="dates"
    )
    assert "https://tides.example/" in told
    assert "dates" in told


@pytest.fixture
async def client_prompts(browser: Browser) -> Client:
    """A client with one page to ask for."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(page("<h1>Tides</h1>", paragraphs(3))))
    return browser.client


async def _prompt(client: Client, name: str, **arguments: str) -> str:
    answered = await client.rpc("prompts/get", {"name": name, "arguments": arguments})
    [message] = answered["result"]["messages"]
    return str(message["content"]["text"])


async def test_other_callers_cannot_read_a_page_by_its_snapshot_or_cursor(
    browser: Browser,
) -> None:
    """Both belong to the principal that they were made for."""
    site = await browser.internet.site("tides.example")
    site.route("/", answer(BOOK))
    url = "https://tides.example/"
    made = await browser.ok("fetch", url=url, max_length=500)
    search, fetch = (browser.server.catalogue.tools[name] for name in ("fetch_search", "fetch"))
    other = Context(Caller(MODERN, principal=Principal("somebody else")))
    with pytest.raises(SnapshotGone):
        await search.handler(FetchSearch(snapshot=made["snapshot"], text="tide"), other)
    with pytest.raises(SnapshotGone):
        await fetch.handler(Fetch(url=url, snapshot=made["snapshot"]), other)
    with pytest.raises(CursorRefused):
        await fetch.handler(Fetch(url=url, cursor=made["next_cursor"]), other)
