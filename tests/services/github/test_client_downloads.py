"""Logs, archives and files: read in bounds, and fetched from storage without the credential."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.github.backend.requests import Request
from services.github.errors import (
    BadResponse,
    GithubDown,
    GithubError,
    GithubTimeout,
    GithubUnreachable,
    NotFoundOrNoAccess,
)
from tests.services.github.certificates import certified
from tests.services.github.connected import CREATE, REPO, TOKEN, USER, connected, error_of
from tests.services.github.doubles.own import (
    Manner,
    connecting_proxy,
    cut_short,
    endless,
    moved,
    octo,
    ranged,
    raw,
    refusal,
    reply,
    silence,
    unicorn,
    zipped,
)

LOG = Request(
    route="/repos/{owner}/{repo}/actions/jobs/{job_id}/logs", values={**REPO.values, "job_id": 3}
)
PATH = "/repos/octo/hello/actions/jobs/3/logs"
SIGNED = "/blob/log.txt?se=2030-01-01T00%3A00%3A00Z&sig=a%2Bb%2F%3D&x=~"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat at once."""
    monkeypatch.setattr("services.github.backend.client.FIRST_PAUSE_S", 0.001)


async def test_storage_gets_the_signed_url_as_it_is_and_no_credential(tmp_path: Path) -> None:
    """Whoever keeps logs is not GitHub's API; one byte changed in the URL breaks its signature."""
    tls, authority = certified(tmp_path)
    async with octo(tls) as storage, connected(ca_file=authority, workers=1) as (double, client):
        double.on("GET", PATH, moved(f"{storage.url}{SIGNED}", 302))
        storage.on("GET", "/blob/log.txt", raw(b"line 1\nline 2\n", Content_Type="text/plain"))
        download = await client.download(LOG, owner="octo")
    assert storage.paths == [f"GET {SIGNED}"]
    assert double.asked[0].headers["authorization"] == f"token {TOKEN}"
    assert "authorization" not in storage.asked[0].headers
    assert TOKEN not in str(storage.asked[0].headers)
    assert (download.text, download.total_bytes) == ("line 1\nline 2\n", 14)
    assert (download.truncated, download.media_type) == (False, "text/plain")
    assert download.rate is not None


async def test_storage_on_the_apis_own_origin_gets_no_credential_either() -> None:
    """Enterprise Server keeps logs beside its API; so do doubles without TLS."""
    async with connected("/api/v3") as (double, client):
        double.on("GET", f"/api/v3{PATH}", moved(f"{double.url}/storage/x?token=y", 302))
        double.on("GET", "/storage/x", raw(b"text"))
        assert (await client.download(LOG, owner="octo")).content == b"text"
    assert "authorization" not in double.asked[1].headers


@pytest.mark.parametrize(
    "location",
    [
        "http://storage.example/log",
        "ftp://storage.example/log",
        "file:///etc/passwd",
        "https://user:password@storage.example/log",
        "https:///log",
        "/blob/log.txt",
        "https://[::1/log",
        "https://storage.example/a b",
        "https://storage.example/\xe4",
        "https://storage.example:99999/log",
        "",
    ],
)
async def test_storage_without_tls_or_host_is_not_asked(location: str) -> None:
    """A log in clear text would be read, and changed, by everybody on the way."""
    async with connected() as (double, client):
        double.on("GET", PATH, moved(location, 302))
        await error_of(BadResponse, client.download(LOG, owner="octo"))
    assert len(double.asked) == 1


async def test_storage_with_a_wrong_certificate_is_not_asked(tmp_path: Path) -> None:
    """TLS is verified everywhere."""
    tls, _ = certified(tmp_path)
    async with octo(tls) as storage, connected() as (double, client):
        double.on("GET", PATH, moved(f"{storage.url}/log", 302))
        error = await error_of(GithubUnreachable, client.download(LOG, owner="octo"))
    assert storage.asked == []
    assert not error.retryable
    assert "certificate" in error.message


async def test_the_api_with_a_wrong_certificate_gets_no_token(tmp_path: Path) -> None:
    """Neither one that nobody vouches for nor one for another host; the right one does."""
    tls, authority = certified(tmp_path)
    (tmp_path / "other").mkdir()
    for_other, other_authority = certified(tmp_path / "other", "127.0.0.9")
    for context, file, trusted in (
        (tls, None, False),
        (for_other, other_authority, False),
        (tls, authority, True),
    ):
        async with octo(context) as server, connected(api_url=server.url, ca_file=file) as (_, c):
            server.on("GET", "/user", reply({}))
            if trusted:
                await c.send(USER, owner=None)
                await c.send(USER, owner=None)
                assert {asked.connection for asked in server.asked} == {1}
            else:
                await error_of(GithubUnreachable, c.send(USER, owner=None))
                assert server.asked == []


async def test_a_tls_handshake_that_hangs_is_left_at_the_deadline() -> None:
    """A server that accepts and then says nothing; the one worker is free again."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            pass
        writer.close()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, connected(api_url=url, workers=1, retries=0) as (_, client):
        await error_of(GithubTimeout, client.send(USER, owner=None, timeout_s=0.3))
        async with asyncio.timeout(1):
            await gone.wait()


async def test_a_configured_proxy_sees_hosts_and_nothing_else(tmp_path: Path) -> None:
    """TLS goes through it to GitHub, so that neither token nor path is read on the way."""
    tls, authority = certified(tmp_path)
    async with octo(tls) as server, connecting_proxy() as proxy:
        server.on("GET", "/user", reply({}))
        proxied = f"http://me:pass%40word@{proxy.address}"
        async with connected(api_url=server.url, ca_file=authority, proxy_url=proxied) as (
            _,
            client,
        ):
            await client.send(USER, owner=None)
            await client.send(USER, owner=None)
            assert "word" not in repr(client.settings)
    host = server.url.removeprefix("https://")
    assert proxy.heads[0].startswith(f"CONNECT {host} HTTP/1.")
    assert "Proxy-Authorization: Basic bWU6cGFzc0B3b3Jk" in proxy.heads[0]
    assert len(proxy.heads) == 1
    assert TOKEN not in proxy.heads[0]
    assert "proxy-authorization" not in server.asked[0].headers


async def test_a_write_that_the_proxy_refuses_was_not_sent(tmp_path: Path) -> None:
    """What the proxy was told is no part of it."""
    async with (
        connecting_proxy(status=407) as proxy,
        connected(api_url="https://127.0.0.1:9", proxy_url=f"http://{proxy.address}") as (
            _,
            client,
        ),
    ):
        await error_of(GithubUnreachable, client.send(CREATE, owner=None))
    assert len(proxy.heads) == 1


async def test_redirects_of_storage_end() -> None:
    """Three are followed, and none back into the API with the token."""
    async with connected() as (double, client):
        double.on("GET", PATH, moved(f"{double.url}/a", 302))
        double.on("GET", "/a", moved(f"{double.url}/a", 302))
        await error_of(BadResponse, client.download(LOG, owner="octo"))
    assert len(double.asked) == 4
    assert ["authorization" in asked.headers for asked in double.asked] == [True] + 3 * [False]


async def test_a_renamed_repositorys_log_is_found() -> None:
    """301 stays in the API, and takes the credential along; 302 leads to storage."""
    async with connected() as (double, client):
        double.on("GET", PATH, moved(f"{double.url}/repositories/1/logs", 301))
        double.on("GET", "/repositories/1/logs", moved(f"{double.url}/blob", 302))
        double.on("GET", "/blob", raw(b"x"))
        await client.download(LOG, owner="octo")
    assert ["authorization" in asked.headers for asked in double.asked] == [True, True, False]


# --- how much -------------------------------------------------------------------------------------

LINES = b"".join(b"line %05d\n" % number for number in range(2_000))  # 22,000 bytes


async def test_the_beginning_of_what_is_too_large_is_read() -> None:
    """And the size of the whole is told, where it is known."""
    async with connected() as (double, client):
        double.on("GET", PATH, raw(LINES))
        part = await client.download(LOG, owner="octo", max_bytes=1_000)
        whole = await client.download(LOG, owner="octo", max_bytes=22_000)
    assert (part.content, part.truncated, part.total_bytes) == (LINES[:1_000], True, 22_000)
    assert (whole.content, whole.truncated, whole.total_bytes) == (LINES, False, 22_000)


async def test_the_end_of_a_log_is_read() -> None:
    """Where errors are."""
    async with connected() as (double, client):
        double.on("GET", PATH, raw(LINES), zipped(LINES))
        for _ in range(2):
            tail = await client.download(LOG, owner="octo", tail_bytes=110)
            assert (tail.content, tail.truncated) == (LINES[-110:], True)
            assert tail.total_bytes == 22_000
        all_of_it = await client.download(LOG, owner="octo", tail_bytes=50_000)
    assert (all_of_it.content, all_of_it.truncated) == (LINES, False)


async def test_the_end_of_what_is_too_large_is_asked_for_alone() -> None:
    """The storage knows ranges (RFC 9110 section 14)."""
    async with connected() as (double, client):
        double.on("GET", PATH, moved(f"{double.url}/blob?sig=1", 302))
        double.on("GET", "/blob", ranged(LINES))
        tail = await client.download(LOG, owner="octo", max_bytes=5_000, tail_bytes=110)
    assert (tail.content, tail.total_bytes, tail.truncated) == (LINES[-110:], 22_000, True)
    assert double.asked[2].headers["range"] == "bytes=21890-"


async def test_storage_that_knows_no_ranges_gives_what_was_read() -> None:
    """The end of the first part, said to be a part."""
    async with connected() as (double, client):
        double.on("GET", PATH, raw(LINES))
        tail = await client.download(LOG, owner="octo", max_bytes=5_000, tail_bytes=100)
    assert (tail.content, tail.truncated) == (LINES[4_900:5_000], True)


async def test_a_download_without_end_is_left_at_its_limit() -> None:
    """And its connection closed."""
    async with connected() as (double, client):
        double.on("GET", PATH, endless())
        part = await client.download(LOG, owner="octo", max_bytes=200_000)
        await double.wait_for_ends(1)
    assert (len(part.content), part.truncated, part.total_bytes) == (200_000, True, None)


async def test_our_own_token_in_a_log_is_left_out() -> None:
    """A workflow may have printed it."""
    async with connected() as (double, client):
        double.on("GET", PATH, raw(f"::add {TOKEN}!".encode()))
        assert (await client.download(LOG, owner="octo")).text == "::add [redacted]!"


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manner", "expected"),
    [
        (raw(b"<Error>BlobNotFound</Error>", 404), NotFoundOrNoAccess),
        (raw(b"<Error>AuthenticationFailed</Error>", 403), GithubError),
        (unicorn(503), GithubDown),
        (cut_short, GithubUnreachable),
    ],
)
async def test_what_storage_refuses_is_told(manner: Manner, expected: type[GithubError]) -> None:
    """It answers in XML, and its URLs hold signatures, which are not told."""
    async with connected() as (double, client):
        double.on("GET", PATH, moved(f"{double.url}/blob?sig=secret-signature", 302))
        double.on("GET", "/blob", manner)
        error = await error_of(expected, client.download(LOG, owner="octo"))
    assert PATH in error.message
    assert "signature" not in str(error.to_dict())


async def test_refusals_of_the_api_are_told_as_ever() -> None:
    """Logs that do not exist, and those that take too long."""
    async with connected() as (double, client):
        double.on("GET", PATH, refusal(404, "Not Found"), silence)
        call = client.download(LOG, owner="octo", tail_bytes=10)
        await error_of(NotFoundOrNoAccess, call)
        await error_of(GithubTimeout, client.download(LOG, owner="octo", timeout_s=0.2))
