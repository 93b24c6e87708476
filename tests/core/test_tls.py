"""TLS: what starts, what is refused, and new files without a restart."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from core.security.tls import DAY_S, TLS
from core.settings import SettingsError, TLSSection
from tests.servers.certificates import Authority, Pair
from tests.servers.processes import ROOT, ServerProcess, free_port

AUTHORITY = Authority()
OTHERS = Authority("somebody else")
GOOD = AUTHORITY.sign()
LIMIT_S = 10.0


def section(folder: Path, pair: Pair = GOOD, client_ca: bytes | None = None) -> TLSSection:
    """Write files and return the settings that name them."""
    certificate, key = pair.write(folder)
    authority = None
    if client_ca is not None:
        authority = folder / "client-ca.pem"
        authority.write_bytes(client_ca)
    return TLSSection(certificate=certificate, key=key, client_ca=authority)


def client_context(
    folder: Path, pair: Pair | None = None, *, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return what a client needs to trust our authority, and to show a certificate of its own."""
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if pair is not None:
        folder.mkdir(exist_ok=True)
        context.load_cert_chain(*pair.write(folder))
    return context


# --- at the start -----------------------------------------------------------------------------

RSA_1024 = rsa.generate_private_key(public_exponent=65537, key_size=1024)
WRONG: dict[str, tuple[Pair, str]] = {
    "another key": (Pair(GOOD.certificate, AUTHORITY.sign().key), "does not belong to"),
    "an encrypted key": (AUTHORITY.sign(password=b"secret"), "openssl pkey -in"),
    "no certificate": (Pair(b"nothing", GOOD.key), "no certificate in PEM form"),
    "an empty certificate": (Pair(b"", GOOD.key), "no certificate in PEM form"),
    "no key": (Pair(GOOD.certificate, b"nothing"), "no private key in PEM form"),
    "the two mixed up": (Pair(GOOD.key, GOOD.certificate), "no certificate in PEM form"),
    "an expired one": (AUTHORITY.sign(valid_for=datetime.timedelta(hours=-2)), "expired at"),
    "one of tomorrow": (
        AUTHORITY.sign(valid_for=datetime.timedelta(days=3), starts_in=datetime.timedelta(days=1)),
        "this machine's clock",
    ),
    "a weak key": (AUTHORITY.sign(key=RSA_1024), "too weak"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_told(tmp_path: Path, name: str) -> None:
    """Which file, and what to do."""
    pair, words = WRONG[name]
    with pytest.raises(SettingsError, match=words) as refused:
        TLS(section(tmp_path, pair))
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca"])
def test_missing_file_is_told(tmp_path: Path, missing: str) -> None:
    """With its path."""
    files = section(tmp_path, client_ca=AUTHORITY.certificate)
    path = getattr(files, missing)
    path.unlink()
    with pytest.raises(SettingsError, match=f"{path.name} cannot be read: No such file"):
        TLS(files)


@pytest.mark.parametrize("given", ["certificate", "key", "client_ca"])
def test_one_of_two_files_is_not_enough(tmp_path: Path, given: str) -> None:
    """The setting that is missing is named."""
    alone = TLSSection(**{given: tmp_path / "x.pem"})
    with pytest.raises(SettingsError, match=r"MCP_HTTP_TLS__(KEY|CERTIFICATE) is not set"):
        TLS(alone)


def test_server_with_wrong_files_does_not_start(tmp_path: Path) -> None:
    """Status 2 and one sentence; nothing listens."""
    files = section(tmp_path, WRONG["another key"][0])
    refused = subprocess.run(
        [sys.executable, "-m", "tests.servers.demo", "--port", str(free_port())],
        cwd=ROOT,
        env={"MCP_HTTP_SERVER__STATE_DIR": str(tmp_path), **environment_of(files)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: The key in ")
    assert refused.stderr.count("\n") == 1


# --- while it runs ----------------------------------------------------------------------------


def environment_of(files: TLSSection) -> dict[str, str]:
    """Return the variables that name the files."""
    named = {"CERTIFICATE": files.certificate, "KEY": files.key, "CLIENT_CA": files.client_ca}
    return {f"MCP_HTTP_TLS__{name}": str(path) for name, path in named.items() if path is not None}


class SecureProcess(ServerProcess):
    """The demo server behind TLS."""

    def __init__(
        self, folder: Path, files: TLSSection, context: ssl.SSLContext, **more: str
    ) -> None:
        environment = environment_of(files) | {"MCP_HTTP_SERVER__HEAD_TIME_LIMIT_S": "1"} | more
        super().__init__(folder, environment=environment, verify=context)


@contextmanager
def serving(
    folder: Path, files: TLSSection, context: ssl.SSLContext, **more: str
) -> Iterator[SecureProcess]:
    """Run the server; whatever clients do, its log has no traceback."""
    with SecureProcess(folder, files, context, **more) as server:
        yield server
        assert server.terminate() == 0
    assert "Traceback" not in server.output.read_text()


def get(server: ServerProcess, context: ssl.SSLContext, path: str = "/health") -> httpx.Response:
    """Ask over a connection of its own."""
    return httpx.get(server.url + path, verify=context, trust_env=False, timeout=LIMIT_S)


def certificate_of(server: ServerProcess, context: ssl.SSLContext) -> dict[str, Any]:
    """Return the certificate that the server shows, as Python's `getpeercert` has it."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return dict(secure.getpeercert() or {})


def test_answers_come_over_tls_with_hsts(tmp_path: Path) -> None:
    """Health says for how many days, a metric too; browsers are told to come this way only."""
    context = client_context(tmp_path)
    with serving(tmp_path, section(tmp_path), context) as server:
        answer = get(server, context)
        tls = answer.json()["components"]["tls"]
        assert tls["status"] == "up"
        assert 0.9 < tls["days_left"] <= 1
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        metrics = get(server, context, "/metrics").text
        assert 'tls_certificate_days_left{service="demo"} 0.99' in metrics


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """With forward secrecy."""
    context = client_context(tmp_path, version=version)
    with (
        serving(tmp_path, section(tmp_path), client_context(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        cipher = secure.cipher()
        assert cipher is not None
        assert cipher[0].startswith(("ECDHE-", "TLS_"))


def test_strangers_to_tls_are_turned_away(tmp_path: Path) -> None:
    """Plain HTTP, old versions, half a handshake, and nothing: no traceback, no place taken."""
    context = client_context(tmp_path)
    with serving(tmp_path, section(tmp_path), context) as server:
        address = ("127.0.0.1", server.port)
        for greeting in (b"GET /health HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x16"):
            with socket.create_connection(address, timeout=LIMIT_S) as plain:
                plain.sendall(greeting)
                while plain.recv(1000):
                    pass  # the handshake's alert, and then the end
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("AES128-SHA")  # without forward secrecy
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(address, timeout=LIMIT_S) as plain,
            pytest.raises(ssl.SSLError),
        ):
            old.wrap_socket(plain)
        started = time.monotonic()
        with socket.create_connection(address, timeout=LIMIT_S) as silent:
            assert silent.recv(1) == b""
        assert time.monotonic() - started < 5
        assert get(server, context).status_code == 200


def test_connections_are_counted_before_they_have_shaken_hands(tmp_path: Path) -> None:
    """Half handshakes are neither more than the limit nor for long, and they are told."""
    files = section(tmp_path)
    limits = {"MCP_HTTP_SERVER__MAX_CONNECTIONS": "8", "MCP_HTTP_SERVER__HEAD_TIME_LIMIT_S": "2"}
    with serving(tmp_path, files, client_context(tmp_path), **limits) as server:
        files_before = psutil.Process(server.pid).num_fds()
        half = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        try:
            for connection in half[-20:]:
                connection.settimeout(1)
                assert connection.recv(1) == b""  # closed before a word of TLS
            assert psutil.Process(server.pid).num_fds() - files_before <= 12
            assert half[0].recv(1) == b""  # its time is over
        finally:
            for connection in half:
                connection.close()
        wait_for(lambda: psutil.Process(server.pid).num_fds() <= files_before)
        metrics = get(server, client_context(tmp_path), "/metrics").text
    assert 'http_connections_refused_total{reason="TLS_HANDSHAKE",service="demo"}' in metrics
    assert 'http_connections_refused_total{reason="SERVER_BUSY",service="demo"}' in metrics


def wait_for(condition: Any) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_new_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    """New handshakes get it, open connections go on; wrong files change nothing but health."""
    context = client_context(tmp_path)
    files = section(tmp_path)
    first = AUTHORITY.sign("first")
    first.write(tmp_path)
    with (
        serving(tmp_path, files, context) as server,
        httpx.Client(base_url=server.url, verify=context, trust_env=False) as held,
    ):
        assert held.get("/health").json()["components"]["tls"]["status"] == "up"
        before = certificate_of(server, context)
        AUTHORITY.sign("second", valid_for=datetime.timedelta(days=5)).write(tmp_path)
        wait_for(lambda: certificate_of(server, context)["serialNumber"] != before["serialNumber"])
        assert held.get("/health").json()["components"]["tls"]["days_left"] > 4

        assert files.key is not None
        files.key.write_bytes(first.key)
        wait_for(lambda: held.get("/health").json()["status"] == "degraded")
        tls = held.get("/health").json()["components"]["tls"]
        assert "does not belong to" in tls["detail"]
        assert certificate_of(server, context)["notAfter"] != before["notAfter"]

        AUTHORITY.sign("third").write(tmp_path)
        wait_for(lambda: held.get("/health").json()["components"]["tls"]["status"] == "up")
    log = [json.loads(line)["message"] for line in server.output.read_text().splitlines()]
    assert [line for line in log if line.startswith("TLS ")] == [
        "TLS uses the new certificate of CN=second",
        f"TLS goes on with the files it has: The key in {files.key} does not belong to the "
        f"certificate in {files.certificate}",
        "TLS uses the new certificate of CN=third",
    ]


def test_only_clients_with_a_certificate_are_let_in(tmp_path: Path) -> None:
    """`client_ca`: none, or another authority's, ends the handshake; whose it was is logged."""
    known = client_context(tmp_path / "known", AUTHORITY.sign("agent seven"))
    stranger = client_context(tmp_path / "stranger", OTHERS.sign("stranger"))
    nobody = client_context(tmp_path)
    files = section(tmp_path, client_ca=AUTHORITY.certificate)
    with serving(tmp_path, files, known) as server:
        assert get(server, known).status_code == 200
        for context in (stranger, nobody):
            with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
                get(server, context)
        wait_for(lambda: "CN=agent seven" in server.output.read_text())


def test_changed_authority_of_clients_holds_for_new_connections(tmp_path: Path) -> None:
    """A client of the old one cannot come back by resuming its session."""
    old = client_context(tmp_path / "old", AUTHORITY.sign("old"))
    new = client_context(tmp_path / "new", OTHERS.sign("new"))
    files = section(tmp_path, client_ca=AUTHORITY.certificate)
    with serving(tmp_path, files, old) as server:
        address = ("127.0.0.1", server.port)
        with (
            socket.create_connection(address, timeout=LIMIT_S) as plain,
            old.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secure.recv(20).startswith(b"HTTP/1.1 200 ")
            session = secure.session
        assert files.client_ca is not None
        files.client_ca.write_bytes(OTHERS.certificate)
        wait_for(lambda: "TLS uses the new certificate" in server.output.read_text())
        assert get(server, new).status_code == 200
        with socket.create_connection(address, timeout=LIMIT_S) as plain:
            assert not is_served(old, plain, session)


def is_served(
    context: ssl.SSLContext, plain: socket.socket, session: ssl.SSLSession | None
) -> bool:
    """Return whether a request is answered on a connection that resumes a session."""
    try:
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as secure:
            secure.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return secure.recv(20) != b""
    except OSError:  # the alert of TLS 1.3 comes with the first read
        return False


# --- in this process: what time and files do --------------------------------------------------


class Clock:
    """A wall clock that tests set."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now


@pytest.mark.parametrize(
    ("days", "later_days", "status"),
    [
        (90, 0, "up"),
        (90, 80, "up"),
        (90, 82, "degraded"),
        (90, 91, "degraded"),
        (400, 380, "up"),
        (400, 387, "degraded"),
        (1, 0.85, "up"),
        (1, 0.95, "degraded"),
    ],
)
async def test_certificate_that_ends_soon_degrades_health(
    tmp_path: Path, days: int, later_days: float, status: str
) -> None:
    """A tenth of its lifetime before its end, at most 14 days: short-lived ones are no alarm."""
    clock = Clock()
    tls = TLS(section(tmp_path, AUTHORITY.sign(valid_for=datetime.timedelta(days=days))), clock)
    clock.now += later_days * DAY_S
    component = await tls.check()
    assert component.status == status
    assert component.facts["days_left"] == pytest.approx(days - later_days, abs=0.01)


async def test_files_are_loaded_when_they_have_settled(tmp_path: Path) -> None:
    """A certificate that was written before its key is no error to tell of."""
    tls = TLS(section(tmp_path))
    new = AUTHORITY.sign(valid_for=datetime.timedelta(days=9))
    (tmp_path / "certificate.pem").write_bytes(new.certificate)
    tls.tick(1)
    assert (await tls.check()).status == "up"
    (tmp_path / "key.pem").write_bytes(new.key)
    tls.tick(2)
    assert tls.days_left < 2
    tls.tick(2.5)  # looked at once a second
    assert tls.days_left < 2
    tls.tick(3)
    assert tls.days_left > 8
    assert (await tls.check()).status == "up"


async def test_linked_files_are_followed(tmp_path: Path) -> None:
    """Kubernetes changes a link behind which the files lie; the links to the files stay."""
    for name, pair in (
        ("one", GOOD),
        ("two", AUTHORITY.sign(valid_for=datetime.timedelta(days=9))),
    ):
        (tmp_path / name).mkdir()
        pair.write(tmp_path / name)
    data = tmp_path / "data"
    data.symlink_to("one")
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).symlink_to(f"data/{name}")
    tls = TLS(TLSSection(certificate=tmp_path / "certificate.pem", key=tmp_path / "key.pem"))
    data.unlink()
    data.symlink_to("two")
    for now in (1, 2):
        tls.tick(now)
    assert tls.days_left > 8


async def test_files_that_vanish_change_nothing_but_health(tmp_path: Path) -> None:
    """And all is well again when they are back."""
    tls = TLS(section(tmp_path))
    (tmp_path / "key.pem").unlink()
    for now in (1, 2):
        tls.tick(now)
    component = await tls.check()
    assert component.status == "degraded"
    assert "cannot be read" in str(component.detail)
    GOOD.write(tmp_path)
    for now in (3, 4):
        tls.tick(now)
    assert (await tls.check()).status == "up"


def test_key_that_everybody_can_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not refused: some platforms mount secrets so."""
    files = section(tmp_path)
    assert files.key is not None
    files.key.chmod(0o644)
    TLS(files)
    assert "chmod 600" in caplog.text
