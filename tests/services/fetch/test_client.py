"""The client over real sockets: redirects, bodies, time, errors, limits, robots.txt, HEAD."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import pairwise

import brotli
import pytest
import zstandard

from core.errors import Busy, InvalidArguments
from services.fetch.backend.connections import MAX_IDLE_CONNECTIONS
from services.fetch.errors import (
    AddressRefused,
    BadResponse,
    BadUrl,
    FetchTimeout,
    HostUnreachable,
    RedirectRefused,
    ResponseTooLarge,
    RobotsDisallowed,
    UrlRefused,
)
from tests.services.fetch.internet.certificates import authority
from tests.services.fetch.internet.site import (
    Handler,
    Request,
    Wire,
    answer,
    chunked,
    delayed,
    dribble,
    endless,
    endless_headers,
    in_turn,
    raw,
    redirect,
    silent,
    wrong_length,
)
from tests.services.fetch.visitor import ORIGIN, Visitor, visiting

MIB = 1024 * 1024


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    """A client with small limits and without a cache."""
    async with visiting(
        cache_bytes=0, max_wire_bytes=MIB, max_decoded_bytes=8 * MIB, max_redirects=3
    ) as made:
        yield made


# --- a page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_page_comes_whole(visitor: Visitor, scheme: str) -> None:
    """Body, headers and figures."""
    visitor.site.route("/page", answer("<p>Grüße</p>", headers={"X-Thing": "1"}))
    page = await visitor.get(f"{scheme}://example.org/page?q=1#part")
    assert page.body.decode() == "<p>Grüße</p>"
    assert page.url == page.final_url == f"{scheme}://example.org/page?q=1"
    assert (page.status, page.content_type) == (200, "text/html; charset=utf-8")
    assert page.headers["x-thing"] == "1"
    assert page.bytes_wire == page.bytes_decoded == len(page.body)
    assert (page.redirects, page.warnings, page.robots) == ((), (), None)
    assert page.elapsed_ms > 0
    assert visitor.site.requests[-1].secure is (scheme == "https")


async def test_the_request_is_what_we_want_to_send(visitor: Visitor) -> None:
    """No header but ours, and the host as the URL has it."""
    visitor.site.route("/", answer("x"))
    await visitor.get("http://EXAMPLE.org:8080/")
    request = visitor.site.requests[0]
    assert request.method == "GET"
    assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}
    assert request.headers["host"] == "example.org:8080"
    assert request.headers["accept"].startswith("text/markdown, text/html;q=0.9")
    assert request.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert request.headers["user-agent"].startswith("mcp-fetch/")


async def test_the_path_is_sent_as_whatwg_serialises_it(visitor: Visitor) -> None:
    """Nothing behind the check writes it anew."""
    visitor.site.route("*", answer("x"))
    await visitor.get("/a/./b/../ü%7e/{x}|y?q='z'&ü=[1]")
    assert visitor.site.requests[0].target == "/a/%C3%BC%7e/%7Bx%7D|y?q=%27z%27&%C3%BC=[1]"


async def test_an_ipv6_address_is_a_host(visitor: Visitor) -> None:
    """In brackets where HTTP wants them, without where sockets do."""
    site = await visitor.internet.site(addresses=["2606:2800:220:1::1"])
    site.route("/", answer("six"))
    assert (await visitor.get("https://[2606:2800:220:1::1]/")).body == b"six"
    assert site.requests[0].headers["host"] == "[2606:2800:220:1::1]"


async def test_error_statuses_are_answers(visitor: Visitor) -> None:
    """The caller decides about them."""
    for status in (404, 418, 500):
        visitor.site.route("/", answer("sorry", status=status))
        page = await visitor.get()
        assert (page.status, page.body) == (status, b"sorry")


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body_have_none(visitor: Visitor, status: int) -> None:
    """And the connection goes on (RFC 9112 §6.3)."""
    visitor.site.route("/", raw(b"HTTP/1.1 %d x\r\nContent-Length: 5\r\n\r\n" % status, hold=True))
    page = await visitor.get()
    assert (page.status, page.body) == (status, b"")


async def test_cookies_are_neither_kept_nor_told(visitor: Visitor) -> None:
    """Each request is the first one."""
    visitor.site.route("/", answer("x", headers={"Set-Cookie": "id=1"}))
    assert "set-cookie" not in (await visitor.get()).headers
    await visitor.get()
    assert all("cookie" not in request.headers for request in visitor.site.requests)


async def test_proxies_of_the_environment_are_not_used(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would connect where the dialler does not look."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    visitor.site.route("/", answer("direct"))
    assert (await visitor.get()).body == b"direct"


# --- headers of the caller ----------------------------------------------------------------------


async def test_a_caller_may_choose_form_and_language(visitor: Visitor) -> None:
    """Accept and Accept-Language, in any case."""
    visitor.site.route("/", answer("x"))
    await visitor.get(headers={"ACCEPT": "application/json", "accept-language": "de, en;q=0.5"})
    sent = visitor.site.requests[0].headers
    assert (sent["accept"], sent["accept-language"]) == ("application/json", "de, en;q=0.5")


@pytest.mark.parametrize(
    "name",
    ["Host", "Cookie", "Authorization", "User-Agent", "Range", "Connection", "X-A", "", "a\r\nb"],
)
async def test_other_headers_are_refused_by_name(visitor: Visitor, name: str) -> None:
    """Before anything is sent."""
    error = await visitor.refusal(headers={name: "x"})
    assert isinstance(error, InvalidArguments)
    assert repr(name) in error.message
    assert "Accept-Language" in error.hint
    assert visitor.site.requests == []


@pytest.mark.parametrize("value", ["", " ", "a\r\nX: y", "ü", "a\0", "x" * 501, " a", "a\t"])
async def test_header_values_are_one_printable_line(visitor: Visitor, value: str) -> None:
    """RFC 9110 §5.5, and a bound."""
    assert isinstance(await visitor.refusal(headers={"Accept": value}), InvalidArguments)


# --- redirects ----------------------------------------------------------------------------------


async def test_redirects_are_followed_and_told(visitor: Visitor) -> None:
    """Relative, absolute and of every kind; each to the next."""
    visitor.site.route("/a", redirect("b?x=1", status=301))
    visitor.site.route("/b", redirect("//www.example.org/c", status=307))
    visitor.site.route("/c", redirect("https://example.org/d", status=308))
    visitor.site.route("/d", answer("there"))
    page = await visitor.get("/a")
    assert page.body == b"there"
    assert page.url == f"{ORIGIN}/a"
    assert page.final_url == "https://example.org/d"
    assert [(r.status, r.url) for r in page.redirects] == [
        (301, f"{ORIGIN}/b?x=1"),
        (307, "http://www.example.org/c"),
        (308, "https://example.org/d"),
    ]


async def test_a_redirect_without_location_is_the_answer(visitor: Visitor) -> None:
    """As 300 and 304 are."""
    visitor.site.route("/", answer("choose", status=302))
    assert (await visitor.get()).body == b"choose"
    visitor.site.route("/", answer("choose", status=300, headers={"Location": "/x"}))
    assert (await visitor.get()).status == 300


async def test_locations_in_utf_8_are_understood(visitor: Visitor) -> None:
    """Servers send them, against RFC 9110, and browsers follow them."""
    visitor.site.route("/", redirect("/grün".encode().decode("latin-1")))
    visitor.site.route("/gr%C3%BCn", answer("green"))
    assert (await visitor.get()).body == b"green"


async def test_one_redirect_too_many_is_refused(visitor: Visitor) -> None:
    """Three are allowed here."""
    for number in range(5):
        visitor.site.route(f"/{number}", redirect(f"/{number + 1}"))
    visitor.site.route("/5", answer("far"))
    assert (await visitor.get("/2")).body == b"far"
    error = await visitor.refusal("/1")
    assert isinstance(error, RedirectRefused)
    assert error.facts["reason_code"] == "too_many_redirects"


@pytest.mark.parametrize("location", ["/", "/other"])
async def test_loops_are_named(visitor: Visitor, location: str) -> None:
    """To itself, or around."""
    visitor.site.route("/", redirect(location))
    visitor.site.route("/other", redirect("/"))
    error = await visitor.refusal()
    assert isinstance(error, RedirectRefused)
    assert error.facts["reason_code"] == "redirect_loop"


@pytest.mark.parametrize(
    ("location", "by", "reason"),
    [
        ("http://127.0.0.1/", AddressRefused, "loopback"),
        ("http://[::ffff:10.0.0.1]/", AddressRefused, "private"),
        ("http://169.254.169.254/latest/meta-data/", AddressRefused, "metadata"),
        ("http://2130706433/", AddressRefused, "loopback"),
        ("http://inner.example/", AddressRefused, "private"),
        ("http://example.org:22/", UrlRefused, "port"),
        ("file:///etc/passwd", (BadUrl, UrlRefused), None),
        ("gopher://example.org/", (BadUrl, UrlRefused), None),
        ("http://user:secret@example.org/", (BadUrl, UrlRefused), None),
        ("http://exa mple.org/", (BadUrl, UrlRefused), None),
        ("http://[::1/", (BadUrl, UrlRefused), None),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_leads_where_one_may_not_go(
    visitor: Visitor,
    location: str,
    by: type[Exception] | tuple[type[Exception], ...],
    reason: str | None,
    status: int,
) -> None:
    """Every rule is asked again; the message says which one, and no secret."""
    visitor.internet.names["inner.example"] = ["10.0.0.1"]
    visitor.site.route("/", redirect(f"{location}?token=secret", status=status))
    error = await visitor.refusal()
    assert isinstance(error, RedirectRefused)
    kinds = by if isinstance(by, tuple) else (by,)
    assert error.facts["refused_by"] in {kind.code for kind in kinds}  # type: ignore[attr-defined]  # they are SuiteErrors
    assert reason is None or error.facts["reason_code"] == reason
    assert "secret" not in str(error.to_dict())
    assert "10.0.0.1" not in error.message or "10.0.0.1" in location


async def test_what_the_first_url_may_not_be_is_refused_as_itself(visitor: Visitor) -> None:
    """Not as a redirect."""
    assert isinstance(await visitor.refusal("http://10.0.0.1/"), AddressRefused)
    assert isinstance(await visitor.refusal("ftp://example.org/"), UrlRefused | BadUrl)


async def test_a_redirect_to_plain_http_is_warned_of(visitor: Visitor) -> None:
    """It is followed: nothing secret is sent, but anybody can have changed what comes."""
    visitor.site.route("/", redirect("http://example.org/plain"))
    visitor.site.route("/plain", answer("x"))
    page = await visitor.get("https://example.org/")
    assert page.body == b"x"
    assert "http" in page.warnings[0]


async def test_headers_of_the_caller_stay_with_the_origin(visitor: Visitor) -> None:
    """Another host, and the same one over TLS, get ours."""
    visitor.site.route("/", redirect("/same"))
    visitor.site.route("/same", redirect("http://www.example.org/other"))
    visitor.site.route("/other", answer("x"))
    await visitor.get(headers={"Accept": "text/csv", "Accept-Language": "de"})
    accepted = [request.headers["accept"] for request in visitor.site.requests]
    assert accepted[:2] == ["text/csv", "text/csv"]
    assert accepted[2].startswith("text/markdown")
    assert "accept-language" not in visitor.site.requests[2].headers


async def test_the_body_of_a_redirect_is_not_waited_for(visitor: Visitor) -> None:
    """However endless or slow it is."""
    visitor.site.route("/", _redirecting_without_end)
    visitor.site.route("/there", answer("x"))
    began = time.monotonic()
    assert (await visitor.get()).body == b"x"
    assert time.monotonic() - began < 2


async def _redirecting_without_end(request: Request, wire: Wire) -> None:
    await wire.head(302, {"Location": "/there"})
    while True:
        await wire.send(b"x" * 65_536)


# --- bodies -------------------------------------------------------------------------------------

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: bytes(brotli.compress(data, quality=5)),
    "zstd": zstandard.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_bodies_are_decoded_and_counted_both_ways(visitor: Visitor, encoding: str) -> None:
    """By length and in chunks."""
    data = b"<p>text</p>" * 5_000
    encoded = ENCODINGS[encoding](data)
    headers = {"Content-Encoding": encoding}
    pieces = [encoded[i : i + 97] for i in range(0, len(encoded), 97)]
    visitor.site.route("/length", answer(encoded, headers=headers))
    visitor.site.route("/chunks", chunked(pieces, headers=headers))
    for path in ("/length", "/chunks"):
        page = await visitor.get(path)
        assert page.body == data
        assert (page.bytes_wire, page.bytes_decoded) == (len(encoded), len(data))


def _zeros(encoding: str, mebibytes: int) -> bytes:
    if encoding == "br":
        packer = brotli.Compressor(quality=5)
        parts = [packer.process(bytes(MIB)) for _ in range(mebibytes)]
        return b"".join([*parts, packer.finish()])
    if encoding == "zstd":
        frame = zstandard.ZstdCompressor().compressobj()
        return b"".join([*(frame.compress(bytes(MIB)) for _ in range(mebibytes)), frame.flush()])
    stream = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return b"".join([*(stream.compress(bytes(MIB)) for _ in range(mebibytes)), stream.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_bomb_ends_early_and_in_little_memory(visitor: Visitor, encoding: str) -> None:
    """256 MiB of zeros: refused by their ratio, or at the limit of 8 MiB."""
    bomb = _zeros(encoding, 256)
    visitor.site.route("/", answer(bomb, headers={"Content-Encoding": encoding}))
    tracemalloc.start()
    try:
        error = await visitor.refusal()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, ResponseTooLarge)
    assert error.facts["reason_code"] == ("bomb" if encoding in ("br", "zstd") else "decoded")
    assert peak < 24 * MIB


async def test_decoded_bytes_are_limited() -> None:
    """Also where the ratio is an honest one."""
    text = b"".join(b"%d " % (number * 7919 % 100_003) for number in range(1_500_000))
    async with visiting(max_wire_bytes=20 * MIB, max_decoded_bytes=8 * MIB) as wide:
        wide.site.route("/", answer(zstandard.compress(text), headers={"Content-Encoding": "zstd"}))
        error = await wide.refusal()
    assert isinstance(error, ResponseTooLarge)
    assert error.facts["reason_code"] == "decoded"
    assert error.facts["limit_bytes"] == 8 * MIB


async def test_an_announced_length_beyond_the_limit_is_refused_unread(visitor: Visitor) -> None:
    """Before a byte of it is waited for."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n"
    visitor.site.route("/", raw(head, hold=True))
    error = await visitor.refusal()
    assert isinstance(error, ResponseTooLarge)
    assert "5,000,000,000" in error.message
    assert error.facts["reason_code"] == "wire"


async def test_a_body_without_end_is_cut_off(visitor: Visitor) -> None:
    """At the limit on the wire."""
    visitor.site.route("/", endless())
    error = await visitor.refusal()
    assert isinstance(error, ResponseTooLarge)
    assert error.facts == {"reason_code": "wire", "limit_bytes": MIB}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (wrong_length(b"short", 100), "truncated"),
        (raw(b""), "truncated"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Ty"), "truncated"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "truncated"),
        (raw(b"<html>no head</html>\r\n\r\n"), "protocol"),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            "protocol",
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"), "truncated"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 999999 OK\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), "protocol"),
        (answer(b"plain", headers={"Content-Encoding": "gzip"}), "content_encoding"),
        (answer(b"\xff" * 9, headers={"Content-Encoding": "br"}), "content_encoding"),
        (answer(b"plain", headers={"Content-Encoding": "zstd"}), "content_encoding"),
        (answer(b"plain", headers={"Content-Encoding": "deflate"}), "content_encoding"),
        (answer(b"plain", headers={"Content-Encoding": "gzip, gzip"}), "content_encoding"),
        (answer(b"plain", headers={"Content-Encoding": "compress"}), "content_encoding"),
        (answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), "truncated"),
    ],
)
async def test_what_is_no_http_is_a_bad_response(
    visitor: Visitor, sent: Handler, reason: str
) -> None:
    """With a word for what is wrong, and never a broken tool."""
    visitor.site.route("/", sent)
    error = await visitor.refusal()
    assert isinstance(error, BadResponse)
    assert error.facts["reason_code"] == reason
    assert error.hint


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_body_that_ends_early_is_given_with_a_warning(
    visitor: Visitor, encoding: str
) -> None:
    """HTTP says that it is whole; browsers show it."""
    data = b"".join(b"line %d\n" % (number * 7919 % 100_003) for number in range(90_000))
    whole = ENCODINGS[encoding](data)
    cut = whole[: len(whole) * 3 // 4]
    visitor.site.route("/", answer(cut, headers={"Content-Encoding": encoding}))
    page = await visitor.get()
    assert 0 < len(page.body) < len(data)
    assert data.startswith(page.body)
    assert "ends too early" in page.warnings[0]


async def test_more_than_announced_is_dropped_with_its_connection(visitor: Visitor) -> None:
    """What stands behind an answer must not become the next one."""
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
    first = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + smuggled, hold=True)
    visitor.site.route("/", first)
    visitor.site.route("/next", answer("next"))
    page = await visitor.get()
    assert page.body == b"good"
    assert "more than it announced" in page.warnings[0]
    assert (await visitor.get("/next")).body == b"next"
    assert visitor.site.connections == 2


def _forever(start: bytes, again: bytes) -> Handler:
    async def handle(request: Request, wire: Wire) -> None:
        await wire.send(start)
        while True:
            await wire.send(again)

    return handle


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        _forever(CHUNKED, b"1\r\nx\r\n" * 5_000),
        _forever(CHUNKED, b"1;" + b"a" * 60_000 + b"\r\nx\r\n"),
        _forever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000),
    ],
    ids=["tiny chunks", "chunk extensions", "interim answers"],
)
async def test_framing_without_content_ends(visitor: Visitor, sent: Handler) -> None:
    """The limits on bodies do not see it; long before the time is over, and others have theirs."""
    visitor.site.route("/", sent)
    error = await visitor.refusal(timeout_s=30)
    assert isinstance(error, BadResponse)
    assert "more framing than content" in error.message
    assert (await visitor.web.component()).facts["running_requests"] == 0


async def test_small_chunks_are_welcome(visitor: Visitor) -> None:
    """As servers send them that write line by line; over a kept connection too."""
    visitor.site.route("/", chunked([b"<p>a line of text</p>\n"] * 30_000))
    for _ in range(2):
        assert (await visitor.get()).bytes_wire == 22 * 30_000
    assert visitor.site.connections == 1


# --- time ---------------------------------------------------------------------------------------


async def test_a_server_that_is_silent_ends_with_the_time(visitor: Visitor) -> None:
    """And the error says what was waited for."""
    visitor.site.route("/", silent())
    began = time.monotonic()
    error = await visitor.refusal(timeout_s=0.3)
    assert isinstance(error, FetchTimeout)
    assert 0.25 < time.monotonic() - began < 1
    assert error.facts["reason_code"] == "headers"
    assert error.retryable


async def test_a_dribbling_body_ends_with_the_time(visitor: Visitor) -> None:
    """Bytes that come do not extend it; the error says how many came."""
    visitor.site.route("/", dribble(b"x" * 1000, every_s=0.02))
    error = await visitor.refusal(timeout_s=0.5)
    assert isinstance(error, FetchTimeout)
    assert 1 <= error.facts["bytes_wire"] <= 25
    assert "of 1,000 bytes" in error.message


async def test_redirects_share_one_time(visitor: Visitor) -> None:
    """Three hops of 0.2 s do not fit into 0.5 s."""
    for number in range(3):
        visitor.site.route(f"/{number}", delayed(redirect(f"/{number + 1}"), 0.2))
    visitor.site.route("/3", answer("late"))
    assert isinstance(await visitor.refusal("/0", timeout_s=0.5), FetchTimeout)


@pytest.mark.parametrize("every_s", [0, 0.02])
async def test_headers_without_end_end(visitor: Visitor, every_s: float) -> None:
    """By size when they are fast, by time when they are slow."""
    visitor.site.route("/", endless_headers(every_s))
    error = await visitor.refusal(timeout_s=0.7)
    assert isinstance(error, FetchTimeout if every_s else BadResponse)


async def test_a_black_hole_is_unreachable_before_the_time_is_over(visitor: Visitor) -> None:
    """Connecting has its own limit, in the dialler."""
    visitor.internet.names["hole.example"] = ["93.184.216.200"]
    visitor.internet.cable.black_holes.add("93.184.216.200")
    error = await visitor.refusal("http://hole.example/")
    assert isinstance(error, HostUnreachable)
    assert error.facts["reason_code"] == "timeout"
    error = await visitor.refusal("http://hole.example/", timeout_s=0.2)
    assert isinstance(error, FetchTimeout)
    assert error.facts["reason_code"] == "connect"


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_cancelling_closes_the_connection_at_once(visitor: Visitor, sent: bytes) -> None:
    """The server sees it: before the headers, within them, within the body."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()
        reached.set()
        with suppress(ConnectionError):
            await reader.read()
        left.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    visitor.internet.cable.ends["93.184.216.1", 80] = server.sockets[0].getsockname()[1]
    call = asyncio.create_task(visitor.get(timeout_s=30))
    await reached.wait()
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert visitor.internet.cable.open == 0
    async with asyncio.timeout(1):
        await left.wait()
    server.close()


async def test_a_charset_in_place_of_an_encoding_is_told(visitor: Visitor) -> None:
    """The page is what it is, and its reader learns why it may look odd."""
    visitor.site.route("/", answer("text", headers={"Content-Encoding": "utf-8"}))
    page = await visitor.get()
    assert page.body == b"text"
    assert page.warnings == ("Content-Encoding: utf-8 is no encoding; the body was not decoded.",)


async def test_a_part_that_nobody_asked_for_is_called_one(visitor: Visitor) -> None:
    """A 206 answers a Range (RFC 9110 §15.3.7), and none is ever sent."""
    headers = {"Content-Range": "bytes 0-3/4000"}
    visitor.site.route("/", answer("text", status=206, headers=headers))
    assert (await visitor.get()).warnings == (
        "The server sent only a part of the page, unasked: bytes 0-3/4000.",
    )
    visitor.site.route("/", answer("text", status=206, headers={"Content-Range": "all you need"}))
    assert (await visitor.get()).warnings == ("The server sent only a part of the page, unasked.",)


@pytest.mark.parametrize(
    ("refresh", "led_to"),
    [
        ("0;url=/next", "http://example.org/next"),
        ("5; URL='https://other.example/a'", "https://other.example/a"),
        ("0, https://other.example/a", "https://other.example/a"),
        ("0;url=javascript:alert(1)", None),
        ("30", None),
    ],
)
async def test_an_empty_page_that_sends_browsers_on_says_where(
    visitor: Visitor, refresh: str, led_to: str | None
) -> None:
    """The header does what a redirect does (HTML §4.2.4.3), but is followed by browsers only."""
    visitor.site.route("/", answer(" ", headers={"Refresh": refresh}))
    warnings = (await visitor.get()).warnings
    assert warnings == (() if led_to is None else (f"The page is empty and leads to {led_to}.",))
    visitor.site.route("/", answer("text", headers={"Refresh": refresh}))
    assert (await visitor.get()).warnings == ()


async def test_a_loop_that_waits_for_a_cookie_says_so(visitor: Visitor) -> None:
    """Such a site shows its page to who brings the cookie along; we never do."""
    cookie = {"Set-Cookie": "seen=1"}
    visitor.site.route("/", redirect("/", headers=cookie))
    error = await visitor.refusal()
    assert error.facts["reason_code"] == "redirect_loop"
    assert "cookie" in error.message
    with pytest.raises(RedirectRefused, match="cookie"):
        await visitor.web.head(f"{ORIGIN}/", timeout_s=5)
    for number in range(10):
        visitor.site.route(f"/{number}", redirect(f"/{number + 1}", headers=cookie))
    assert "cookie" in (await visitor.refusal("/0")).message
    visitor.site.route("/", redirect("/"))
    assert "cookie" not in (await visitor.refusal()).message


async def test_progress_is_told_now_and_then(visitor: Visitor) -> None:
    """Bytes on the wire and how many it will be, at most every 100 ms."""
    told: list[tuple[int, int | None, float]] = []

    async def on_progress(came: int, total: int | None) -> None:
        told.append((came, total, time.monotonic()))

    visitor.site.route("/", dribble(b"x" * 40, every_s=0.01))
    await visitor.get(on_progress=on_progress)
    assert 2 <= len(told) <= 6
    assert all(total == 40 for _, total, _ in told)
    assert [came for came, _, _ in told] == sorted(came for came, _, _ in told)
    gaps = [later[2] - earlier[2] for earlier, later in pairwise(told)]
    assert min(gaps) >= 0.09


# --- errors of the network ----------------------------------------------------------------------


async def test_hosts_that_cannot_be_reached_are_told_apart(visitor: Visitor) -> None:
    """No such name, no listener, no route."""
    internet = visitor.internet
    internet.names["closed.example"] = ["93.184.216.201"]
    internet.names["far.example"] = ["93.184.216.202"]
    internet.cable.unreachable.add("93.184.216.202")
    for host, reason in (
        ("nowhere.example", "dns_failed"),
        ("closed.example", "connection_refused"),
        ("far.example", "unreachable"),
    ):
        error = await visitor.refusal(f"http://{host}/")
        assert isinstance(error, HostUnreachable)
        assert error.facts["reason_code"] == reason


@pytest.mark.parametrize(
    "sent",
    [raw(b"", reset=True), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", reset=True)],
)
async def test_a_broken_connection_is_a_reset(visitor: Visitor, sent: Handler) -> None:
    """Before and within the body."""
    visitor.site.route("/", sent)
    error = await visitor.refusal()
    assert isinstance(error, HostUnreachable)
    assert (error.facts["reason_code"], error.retryable) == ("reset", True)


async def test_certificates_are_checked(visitor: Visitor) -> None:
    """Each failure has its word."""
    ca = authority()
    expired = ca.server_context("expired.example", expires_in=-datetime.timedelta(hours=1))
    for host, tls, word in (
        ("expired.example", expired, "expired"),
        ("wrong.example", ca.server_context("right.example"), "wrong_host"),
        ("stranger.example", type(ca)().server_context("stranger.example"), "untrusted"),
    ):
        await visitor.internet.site(host, tls=tls)
        error = await visitor.refusal(f"https://{host}/")
        assert isinstance(error, HostUnreachable), error
        assert (error.facts["reason_code"], error.facts["tls"]) == ("tls_failed", word)
        assert not error.retryable


async def test_tls_to_a_server_without_it_says_so(visitor: Visitor) -> None:
    """Port 8443 leads to a plain server here."""
    site = visitor.site
    visitor.internet.cable.ends["93.184.216.1", 8443] = site.plain_port
    error = await visitor.refusal("https://example.org:8443/")
    assert isinstance(error, HostUnreachable | BadResponse)
    assert error.facts["reason_code"] in ("tls_failed", "reset", "unreachable")


# --- connections and limits ---------------------------------------------------------------------


async def test_a_connection_is_kept_for_its_origin(visitor: Visitor) -> None:
    """And asks nobody for the address again; another origin has its own."""
    visitor.site.route("/", answer("x"))
    for _ in range(3):
        await visitor.get()
    assert (visitor.site.connections, visitor.internet.names.lookups) == (1, ["example.org"])
    await visitor.get("http://www.example.org/")
    await visitor.get("https://example.org/")
    assert visitor.site.connections == 3


async def test_a_name_that_changes_its_mind_is_judged_again(visitor: Visitor) -> None:
    """DNS rebinding: the kept connection leads where it led; a new one is refused."""
    site = await visitor.internet.site("rebind.example")
    public = visitor.internet.names["rebind.example"]
    visitor.internet.names["rebind.example"] = [public, ["127.0.0.1"]]
    site.route("/", answer("x"))
    site.route("/last", answer("x", headers={"Connection": "close"}))
    assert (await visitor.get("http://rebind.example/")).body == b"x"
    assert (await visitor.get("http://rebind.example/last")).body == b"x"
    assert isinstance(await visitor.refusal("http://rebind.example/"), AddressRefused)
    assert site.connections == 1


async def test_a_kept_connection_that_was_closed_is_replaced(visitor: Visitor) -> None:
    """The server closes between two requests, without saying so before."""
    visitor.site.route("/", in_turn(_closing, answer("again")))
    await visitor.get()
    await asyncio.sleep(0.05)
    assert (await visitor.get()).body == b"again"


async def _closing(request: Request, wire: Wire) -> None:
    await answer("once")(request, wire)
    wire.close()


async def test_a_kept_connection_that_breaks_on_use_is_replaced(visitor: Visitor) -> None:
    """The close and the request cross each other (RFC 9112 §9.3.1); a new connection is not."""
    visitor.site.route("/", answer("x"))
    visitor.site.route("/odd", in_turn(raw(b""), answer("second")))
    await visitor.get()
    assert (await visitor.get("/odd")).body == b"second"
    visitor.site.route("/gone", raw(b""))
    assert isinstance(await visitor.refusal("/gone"), BadResponse)


async def test_requests_to_one_host_are_bounded() -> None:
    """Two at once; the others wait, and a different host does not wait for them."""
    async with visiting(max_requests_per_host=2, max_concurrent_requests=3) as visitor:
        at_once = most = 0

        async def counted(request: Request, wire: Wire) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.05)
            at_once -= 1
            await answer("x")(request, wire)

        visitor.site.route("*", counted)
        other = await visitor.internet.site("other.example")
        other.route("/", answer("other"))
        calls = [asyncio.create_task(visitor.get(f"/{number}")) for number in range(6)]
        await asyncio.sleep(0.02)
        assert (await visitor.get("http://other.example/")).body == b"other"
        assert not any(call.done() for call in calls)
        await asyncio.gather(*calls)
        assert most == 2


async def test_waiting_for_others_ends_as_busy() -> None:
    """The call's time bounds the queue too."""
    async with visiting(max_requests_per_host=1) as visitor:
        visitor.site.route("/", silent())
        first = asyncio.create_task(visitor.refusal(timeout_s=1))
        await asyncio.sleep(0.05)
        assert isinstance(await visitor.refusal(timeout_s=0.2), Busy)
        assert isinstance(await first, FetchTimeout)


async def test_many_cancelled_calls_leave_nothing_behind() -> None:
    """Cancelled at any moment, by the caller or by the time: no connection but idle ones stays."""
    async with visiting(max_requests_per_host=3) as visitor:
        visitor.site.route("*", delayed(answer("x" * 1000), 0.01))
        for number in range(60):
            scheme = ("http", "https")[number % 2]
            url, timeout_s = f"{scheme}://example.org/", (5, 0.01, 0.02)[number % 3]
            calls = [
                asyncio.create_task(visitor.get(f"{url}{n}", timeout_s=timeout_s)) for n in range(5)
            ]
            await asyncio.sleep(number * 0.0005)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        assert visitor.internet.cable.open <= 6
        assert (await visitor.web.component()).facts["running_requests"] == 0
        assert (await visitor.get("/end")).status == 200


async def test_idle_connections_are_bounded() -> None:
    """The one that was used first is closed."""
    async with visiting() as visitor:
        visitor.site.route("/", answer("x"))
        for number in range(40):
            visitor.internet.names[f"{number}.example"] = ["93.184.216.1"]
            await visitor.get(f"http://{number}.example/")
        assert visitor.internet.cable.open == MAX_IDLE_CONNECTIONS
        await visitor.get("http://39.example/")
        assert visitor.site.connections == 40
        await visitor.get("http://0.example/")
        assert visitor.site.connections == 41


# --- robots.txt ---------------------------------------------------------------------------------


CLOSED = gzip.compress(b"User-agent: *\nDisallow: /")


def robots(text: str) -> Handler:
    """Answer with a robots.txt."""
    return answer(text, content_type="text/plain")


async def test_robots_txt_is_respected_and_asked_for_once() -> None:
    """By product token; over the same connection as the page."""
    async with visiting(robots="respect", user_agent="tester/1.0 (x)", cache_bytes=0) as visitor:
        visitor.site.route("/robots.txt", robots("User-agent: Tester\nDisallow: /no\n"))
        visitor.site.route("*", answer("x"))
        page = await visitor.get("/yes")
        assert page.robots is not None
        assert page.robots.allowed
        assert page.robots.url == f"{ORIGIN}/robots.txt"
        error = await visitor.refusal("/no/way")
        assert isinstance(error, RobotsDisallowed)
        assert error.facts["rule"] == "line 2: Disallow: /no"
        assert (error.facts["reason_code"], error.retryable) == ("robots_disallowed", False)
        assert [r.target for r in visitor.site.requests] == ["/robots.txt", "/yes"]
        assert visitor.site.connections == 1


async def test_robots_txt_is_asked_for_at_every_origin() -> None:
    """Both schemes, and each host; redirects too."""
    async with visiting(robots="respect") as visitor:
        visitor.site.route("/", redirect("https://example.org/next"))
        other = await visitor.internet.site("other.example")
        other.route("/robots.txt", robots("User-agent: *\nDisallow: /private"))
        visitor.site.route("/next", redirect("http://other.example/private/x"))
        error = await visitor.refusal()
        assert isinstance(error, RedirectRefused)
        assert error.facts["refused_by"] == "ROBOTS_DISALLOWED"
        assert other.paths() == []
        asked = [r.secure for r in visitor.site.requests if r.path == "/robots.txt"]
        assert asked == [False, True]


@pytest.mark.parametrize(
    ("handler", "allowed"),
    [
        (answer("", status=404), True),
        (answer("", status=403), True),
        (answer("", status=429), False),
        (answer("", status=503), False),
        (raw(b"", reset=True), False),
        (raw(b"garbage\r\n\r\n"), False),
        (wrong_length(b"User", 100), False),
        (answer("<html>not found</html>"), True),
        (answer(b"\xff" * 1000), True),
        (redirect("/robots.txt"), True),
        (redirect("/else.txt"), False),
        (redirect("/0"), True),
        (redirect("http://127.0.0.1/robots.txt"), False),
        (redirect("http://nowhere.example/robots.txt"), False),
        (endless(b"# nothing to say\n" * 1000), True),
        (answer(b"# no\n" * 150_000 + b"User-agent: *\nDisallow: /"), True),
        (answer(CLOSED, headers={"Content-Encoding": "gzip"}), False),
    ],
)  # fmt: skip
async def test_what_robots_txt_cannot_say_is_decided_as_rfc_9309_does(
    handler: Handler, allowed: bool
) -> None:
    """Unavailable allows, unreachable disallows and may be tried again."""
    async with visiting(robots="respect") as visitor:
        visitor.site.route("/robots.txt", handler)
        visitor.site.route("/else.txt", robots("User-agent: *\nDisallow: /"))
        for number in range(7):
            visitor.site.route(f"/{number}", redirect(f"/{number + 1}"))
        visitor.site.route("/page", answer("x"))
        verdict = await visitor.web.robots(f"{ORIGIN}/page", timeout_s=5)
        assert verdict.allowed is allowed
        if allowed:
            assert (await visitor.get("/page")).body == b"x"
        else:
            error = await visitor.refusal("/page")
            assert isinstance(error, RobotsDisallowed)
            assert error.retryable is (verdict.status != 200)


async def test_a_host_that_is_not_there_is_told_as_that() -> None:
    """Not as a robots.txt that says no."""
    async with visiting(robots="respect") as visitor:
        assert isinstance(await visitor.refusal("http://nowhere.example/"), HostUnreachable)
        assert isinstance(await visitor.refusal("http://10.0.0.1/"), AddressRefused)


async def test_a_robots_txt_that_does_not_come_takes_the_time_of_the_call() -> None:
    """The message names it."""
    async with visiting(robots="respect") as visitor:
        visitor.site.route("/robots.txt", silent())
        error = await visitor.refusal(timeout_s=0.3)
        assert isinstance(error, FetchTimeout)
        assert "/robots.txt" in error.message


async def test_anybody_can_be_asked_about() -> None:
    """By user agent; also where robots.txt is ignored, and then the page has no verdict."""
    async with visiting(robots="ignore") as visitor:
        text = "User-agent: GPTBot\nDisallow: /\nCrawl-delay: 3\nSitemap: /map.xml\n"
        visitor.site.route("/robots.txt", robots(text))
        visitor.site.route("/", answer("x"))
        verdict = await visitor.web.robots(ORIGIN, user_agent="GPTBot/1.2", timeout_s=5)
        assert (verdict.allowed, verdict.crawl_delay_s) == (False, 3.0)
        assert verdict.sitemaps == ("http://example.org/map.xml",)
        assert (await visitor.web.robots(ORIGIN, timeout_s=5)).allowed
        assert (await visitor.get()).robots is None


# --- HEAD ---------------------------------------------------------------------------------------


async def test_head_tells_about_a_page_without_its_body(visitor: Visitor) -> None:
    """Redirects, size, type, the certificate's end, and headers on the list."""
    visitor.site.route("/old", redirect("https://example.org/file", status=301))
    headers = {"ETag": '"1"', "X-Secret": "1", "Set-Cookie": "a=b"}
    visitor.site.route("/file", answer(b"x" * 5000, content_type="image/png", headers=headers))
    head = await visitor.web.head(f"{ORIGIN}/old", timeout_s=5)
    assert [r.method for r in visitor.site.requests] == ["HEAD", "HEAD"]
    assert (head.status, head.size_bytes, head.content_type) == (200, 5000, "image/png")
    assert (head.final_url, len(head.redirects)) == ("https://example.org/file", 1)
    assert head.headers["etag"] == '"1"'
    assert not {"x-secret", "set-cookie"} & set(head.headers)
    assert head.certificate_expires_at is not None
    ends = datetime.datetime.fromisoformat(head.certificate_expires_at)
    assert ends > datetime.datetime.now(datetime.UTC)
    plain = await visitor.web.head(f"{ORIGIN}/file", timeout_s=5)
    assert plain.certificate_expires_at is None


@pytest.mark.parametrize("status", [405, 501])
async def test_where_head_is_refused_get_asks_without_reading(
    visitor: Visitor, status: int
) -> None:
    """However large the page is."""

    async def no_head(request: Request, wire: Wire) -> None:
        if request.method == "HEAD":
            await answer("", status=status)(request, wire)
        else:
            await endless(headers={"ETag": '"2"'})(request, wire)

    visitor.site.route("/", no_head)
    head = await visitor.web.head(ORIGIN, timeout_s=5)
    assert (head.status, head.size_bytes, head.headers["etag"]) == (200, None, '"2"')


async def test_head_obeys_robots_txt_and_the_rules() -> None:
    """It is a request like any other."""
    async with visiting(robots="respect") as visitor:
        visitor.site.route("/robots.txt", robots("User-agent: *\nDisallow: /"))
        with pytest.raises(RobotsDisallowed):
            await visitor.web.head(f"{ORIGIN}/x", timeout_s=5)
        with pytest.raises(AddressRefused):
            await visitor.web.head("http://127.0.0.1/", timeout_s=5)
        assert visitor.site.paths() == []


async def test_the_component_is_up_and_asks_nobody(visitor: Visitor) -> None:
    """Facts for the health page."""
    component = await visitor.web.component()
    assert component.status == "up"
    assert component.facts["running_requests"] == 0
    assert visitor.internet.cable.reached == []
