"""The images' health check against servers that speak plain HTTP and TLS."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from core import probe
from scripts.deploy.ports import any_free_port

PROGRAM = Path(probe.__file__)


class Answering(BaseHTTPRequestHandler):
    """Answers `/health` with 200, and nothing else."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


class Sick(Answering):
    """Answers everything with 503."""

    def do_GET(self) -> None:
        """Refuse."""
        self.send_error(503)


class Quiet(ThreadingHTTPServer):
    """A server that says nothing about handshakes that clients give up."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler] = Answering, context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve on a port of loopback, with TLS where a context is given."""
    with Quiet(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for another host than this one, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    files = f"-keyout {folder}/key.pem -out {folder}/certificate.pem"
    options = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command = f"openssl req -x509 {options} -subj /CN=tools.example.org {files}"
    subprocess.run(command.split(), check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return both


def tls(certificate: Path, *, of_clients: bool = False) -> ssl.SSLContext:
    """Return a server's context; `of_clients` wants a certificate of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if of_clients:
        context.load_verify_locations(certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def probed(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program as an image does, with nothing but these variables."""
    return subprocess.run(
        [sys.executable, "-I", PROGRAM],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_server_that_answers_is_healthy() -> None:
    """On whatever port the server was told to listen."""
    with serving() as port:
        result = probed(MCP_HTTP_SERVER__HOST="0.0.0.0", MCP_HTTP_SERVER__PORT=str(port))
    assert (result.returncode, result.stderr) == (0, "")


def test_without_an_answer_it_says_why() -> None:
    """Docker shows the sentence in `docker inspect`."""
    port = any_free_port()
    result = probed(MCP_HTTP_SERVER__PORT=str(port))
    assert (result.returncode, result.stderr) == (1, f"port {port}: Connection refused\n")
    result = probed()
    assert (result.returncode, "MCP_HTTP_SERVER__PORT" in result.stderr) == (1, True)


def test_another_status_is_no_health() -> None:
    """A server that runs and refuses is none that can be used."""
    with serving(Sick) as port, pytest.raises(probe.Unhealthy, match="status 503"):
        probe.ask("127.0.0.1", port, secure=False)


@pytest.mark.parametrize("certificate_set", [True, False], ids=["environment", "file"])
def test_tls_is_spoken_wherever_it_was_switched_on(
    certificate: Path, certificate_set: bool
) -> None:
    """Of a configuration file the probe knows nothing; it sees that plain HTTP is not spoken."""
    with serving(context=tls(certificate)) as port:
        probe.ask("127.0.0.1", port, secure=certificate_set)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_clients_certificate_answers_by_saying_so(
    certificate: Path, newest: ssl.TLSVersion
) -> None:
    """The probe has none to show, and the refusal comes from the living server."""
    context = tls(certificate, of_clients=True)
    context.maximum_version = newest
    with serving(context=context) as port:
        probe.ask("127.0.0.1", port, secure=True)


@pytest.mark.parametrize("how", ["plain", "tls", "certificates of clients"])
def test_a_service_of_ours_is_probed_as_it_runs(
    tmp_path: Path, certificate: Path, how: str
) -> None:
    """The probe's variables and address are those of the real server."""
    variables = {
        "MCP_HTTP_SERVER__PORT": str(any_free_port()),
        "MCP_HTTP_SERVER__STATE_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    if how != "plain":
        variables["MCP_HTTP_TLS__CERTIFICATE"] = str(certificate)
        variables["MCP_HTTP_TLS__KEY"] = str(certificate)
    if how == "certificates of clients":
        variables["MCP_HTTP_TLS__CLIENT_CA"] = str(certificate)
    with subprocess.Popen(
        [sys.executable, "-m", "services.filesystem"],
        cwd=PROGRAM.parent.parent,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            while (found := probed(**variables)).returncode != 0:
                assert server.poll() is None
                assert "Connection refused" in found.stderr
        finally:
            server.terminate()
    assert probed(**variables).returncode == 1
