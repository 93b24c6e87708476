"""Starts the proxies of examples/mcp-reverse-proxy, from the files as they are shipped.

What a place decides goes through the variables that the files name. nginx has none, so there the
same is done as an operator would: the line is edited. Each edit has to find what it replaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from scripts.deploy import registry
from scripts.deploy.paths import project_here
from tests.conftest import missing
from tests.proxies.certificates import Certificate
from tests.proxies.talking import PLAIN
from tests.servers.processes import free_port

SHIPPED = project_here().root / "examples" / "mcp-reverse-proxy"
SERVICES = registry.load(project_here()).services
START_LIMIT_S = 20.0
STOP_LIMIT_S = 2.0
AS_ROOT = os.geteuid() == 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy runs, and what it stands before.

    Attributes:
        folder: For its files; empty.
        upstreams: Service → host:port.
        certificate: For TLS; plain HTTP without.
        silence_s: Seconds that a stream may be silent, instead of the shipped hour.
    """

    folder: Path
    upstreams: Mapping[str, str]
    certificate: Certificate | None = None
    silence_s: int | None = None
    port: int = field(default_factory=free_port)

    @property
    def upstream_variables(self) -> dict[str, str]:
        """The variables that name the services."""
        return {f"MCP_PROXY_{name.upper()}": where for name, where in self.upstreams.items()}

    def file(self, name: str, *edits: tuple[str, str]) -> Path:
        """Copy a shipped file and edit the copy."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (SHIPPED / name).read_text(encoding="utf-8")
        for old, new in edits:
            assert old in text, f"{name} has no {old!r}"
            text = text.replace(old, new)
        target.write_text(text, encoding="utf-8")
        return target


Started = tuple[list[str], dict[str, str]]
"""A command, and its environment."""


def nginx(place: Place) -> Started:
    """Run nginx with http.conf or https.conf in the middle of a plain nginx.conf."""
    where = [(f"127.0.0.1:{SERVICES[n].port}", to) for n, to in place.upstreams.items()]
    place.file("nginx/mcp/upstreams.conf", *where)
    place.file("nginx/mcp/services.conf")
    silence = [("3600s", f"{place.silence_s}s")] if place.silence_s else []
    place.file("nginx/mcp/proxy.conf", *silence)
    if place.certificate:
        site = place.file(
            "nginx/https.conf",
            ("listen 443", f"listen 127.0.0.1:{place.port}"),
            ("/etc/mcp/tls/certificate.pem", str(place.certificate.chain)),
            ("/etc/mcp/tls/key.pem", str(place.certificate.key)),
        )
    else:
        site = place.file("nginx/http.conf", ("listen 80", f"listen 127.0.0.1:{place.port}"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    around = [
        "user root;" if AS_ROOT else "",
        "daemon off; pid nginx.pid; error_log stderr; worker_processes 1;",
        "events { worker_connections 1024; }",
        "http { access_log off;",
        *(f"{kind}_temp_path {kind};" for kind in kinds),
        f"include {site}; }}",
    ]
    main = place.folder / "nginx" / "nginx.conf"
    main.write_text("\n".join(around) + "\n", encoding="utf-8")
    return ["nginx", "-e", "stderr", "-p", str(main.parent), "-c", str(main)], {}


def caddy_version() -> str:
    """Return the version of the Caddy that is here; empty without one."""
    program = shutil.which("caddy")
    command = [program, "version"] if program else ["true"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.lstrip("v")


def caddy(place: Place) -> Started:
    """Run Caddy, with its certificates below the folder."""
    file = place.file("caddy/Caddyfile")
    folders = {"HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder)}
    site = f"http://:{place.port}"
    tls = ""
    if place.certificate:
        site = f"https://localhost:{place.port}"
        tls = f"tls {place.certificate.chain} {place.certificate.key}"
    variables = {"MCP_PROXY_SITE": site, "MCP_PROXY_TLS": tls, **place.upstream_variables}
    if caddy_version().startswith("2.6."):
        variables["MCP_PROXY_BODIES"] = "buffer_requests"
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)], {
        **folders,
        **variables,
    }


def haproxy(place: Place) -> Started:
    """Run HAProxy in the foreground."""
    edits = [("1h", f"{place.silence_s}s")] if place.silence_s else []
    if not AS_ROOT:
        edits += [("    user haproxy\n    group haproxy\n", "")]
    file = place.file("haproxy/haproxy.cfg", *edits)
    variables = {"MCP_PROXY_PORT": str(place.port), **place.upstream_variables}
    if place.certificate:
        variables["MCP_PROXY_SCHEME"] = "https"
        variables["MCP_PROXY_CERTIFICATE"] = str(place.certificate.both)
    return ["haproxy", "-db", "-f", str(file)], variables


def apache(place: Place) -> Started:
    """Run Apache with the whole shipped configuration, httpd.conf around mcp.conf."""
    silence = [("ProxyTimeout 3600", f"ProxyTimeout {place.silence_s}")] if place.silence_s else []
    defined = {
        "MCP_PROXY_CONFIGURATION": str(place.file("apache/mcp.conf", *silence)),
        "MCP_PROXY_RUN": str(place.folder),
        "MCP_PROXY_PORT": str(place.port),
        **place.upstream_variables,
    }
    if place.certificate:
        defined["MCP_PROXY_CERTIFICATE"] = str(place.certificate.chain)
        defined["MCP_PROXY_KEY"] = str(place.certificate.key)
    options = [part for name, value in defined.items() for part in ("-C", f"Define {name} {value}")]
    options += ["-D", "MCP_PROXY_https"] if place.certificate else []
    main = place.file("apache/httpd.conf")
    root = "/usr/lib/apache2"
    return ["apache2", "-D", "FOREGROUND", "-d", root, *options, "-f", str(main)], {}


PROXIES: dict[str, Callable[[Place], Started]] = {
    "nginx": nginx,
    "caddy": caddy,
    "haproxy": haproxy,
    "apache": apache,
}
PACKAGES = {"nginx": "nginx", "caddy": "caddy", "haproxy": "haproxy", "apache": "apache2-bin"}


class ProxyProcess:
    """One running proxy; a context manager that ends it.

    Attributes:
        url: Where it listens.
        said: The file that has what it wrote.
    """

    def __init__(self, kind: str, place: Place) -> None:
        self.kind = kind
        self.place = place
        self.url = (
            f"https://localhost:{place.port}"
            if place.certificate
            else f"http://127.0.0.1:{place.port}"
        )
        self.said = place.folder / "said.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        (program, *arguments), variables = PROXIES[self.kind](self.place)
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        found = shutil.which(program, path=path)
        if found is None:
            missing(self.kind, f"apt-get install {PACKAGES[self.kind]}")
        assert found
        with self.said.open("wb") as said:
            self._process = subprocess.Popen(
                [found, *arguments],
                env={"PATH": path, **variables},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End it."""
        self._end()

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_LIMIT_S
        certificate = self.place.certificate
        verify = certificate.context() if certificate else PLAIN
        with httpx.Client(trust_env=False, verify=verify) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    client.get(f"{self.url}/nothing-here", timeout=2)
                    return
                except httpx.TransportError:
                    time.sleep(0.02)
        raise AssertionError(f"{self.kind} did not start: {self.said.read_text()[-3000:]}")

    def _end(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            # Apache waits ten seconds for a thread whose silent stream has lost its client.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_LIMIT_S)
