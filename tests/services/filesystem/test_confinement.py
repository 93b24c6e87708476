"""The service in a process of its own, confined: what it still does, and what it cannot."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.files import landlock
from core.settings import PROJECT_ROOT, Settings, SettingsError
from services.filesystem import confinement
from services.filesystem.confinement import confine
from services.filesystem.settings import FilesystemSettings
from tests.servers.processes import ServerProcess

pytestmark = pytest.mark.skipif(not landlock.version(), reason="the kernel has no Landlock")
PLANTED = "tests.services.filesystem.planted"


class Service(ServerProcess):
    """The service with a hole in it, on roots below a folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder / "state", environment=environment, module=PLANTED)

    def call(self, tool: str, **arguments: Any) -> Any:
        """Return what a tool answers: its result, or its error."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            params = {"name": tool, "arguments": arguments}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            answer = client.post(f"{self.url}/rpc", json=message).json()
        result = answer["result"]
        return result.get("structuredContent") or result["content"][0]["text"]

    def hole(self, how: str, path: Path | str) -> str:
        """Return what the system says when the hole is used."""
        return str(self.call("hole", how=how, path=str(path)))

    def health(self) -> Any:
        """Return what /health says of the confinement."""
        time.sleep(1.1)  # /health remembers for a second
        with httpx.Client(trust_env=False) as client:
            return client.get(f"{self.url}/health").json()["components"]["confinement"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two roots, and files outside them."""
    for name in ("docs/a.txt", "work/b.txt", "outside/secret.txt", "state/.keep"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    """A running service: docs to read, work to write, a log file."""
    roots = f"docs={folder / 'docs'}:read,work={folder / 'work'}:delete"
    with Service(
        folder,
        MCP_FILESYSTEM_ROOTS=roots,
        MCP_HTTP_LOGGING__FILE=str(folder / "logs" / "service.log"),
    ) as started:
        yield started


def test_the_kernel_refuses_what_lies_outside(service: Service, folder: Path) -> None:
    """Even to code that does not use the opener; through links and `..` as well."""
    assert service.health()["status"] == "up"
    (folder / "work" / "link").symlink_to(folder / "outside" / "secret.txt")
    for path in (
        folder / "outside" / "secret.txt",
        folder / "work" / "link",
        folder / "docs" / ".." / "outside" / "secret.txt",
        Path("/etc/passwd"),
        Path("/etc/shadow"),
        PROJECT_ROOT / "pyproject.toml",
        Path(f"/proc/{os.getpid()}/environ"),
        Path("/proc/1/status"),
    ):
        assert service.hole("read", path) == "Permission denied", path
    for path in (folder, folder / "outside", Path("/"), Path.home()):
        assert service.hole("list", path) == "Permission denied", path
    for path in (
        folder / "docs" / "a.txt",
        folder / "docs" / "new.txt",
        folder / "outside" / "new.txt",
        Path(confinement.__file__),
        Path("/tmp/planted"),
    ):
        assert service.hole("write", path) == "Permission denied", path
    assert service.hole("run", "/bin/true") == "Permission denied"
    for path in (folder / "docs" / "a.txt", Path("/proc/self/status"), Path("/proc/self/task")):
        assert service.hole("list" if path.name == "task" else "read", path) == "done", path
    assert service.hole("write", folder / "work" / "new.txt") == "done"


def test_the_service_does_everything_as_before(service: Service, folder: Path) -> None:
    """Reading, writing, undoing, trash, searching, watching, metrics, the log, and a restart."""
    assert service.call("read_text_file", path="docs/a.txt")["content"]
    assert service.call("write_file", path="work/sub/n.txt", content="x\n", make_parents=True)
    edits = [{"oldText": "x", "newText": "y"}]
    assert service.call("edit_file", path="work/sub/n.txt", edits=edits)
    assert (folder / "work" / "sub" / "n.txt").read_text() == "y\n"
    assert service.call("move_file", source="work/sub/n.txt", destination="work/m.txt")
    assert (folder / "work" / "m.txt").exists()
    service.call("delete_file", path="work/m.txt")
    assert not (folder / "work" / "m.txt").exists()
    service.call("undo_change")
    assert (folder / "work" / "m.txt").exists()
    assert "b.txt" in json.dumps(service.call("search_files", path="work", pattern="**/*.txt"))
    assert service.call("watch_directory", path="work", timeout_s=0.1)["ended_by"] == "timeout"
    with httpx.Client(trust_env=False) as client:
        assert "process_resident_memory_bytes" in client.get(f"{service.url}/metrics").text
        session = begin_session(client, service.url)
        assert client.delete(f"{service.url}/mcp", headers=session).status_code == 200
    assert service.terminate() == 0
    assert "Application startup complete" in (folder / "logs" / "service.log").read_text()
    with service, httpx.Client(trust_env=False) as client:
        assert ping(client, service.url, session).status_code == 404  # ended before the restart
        assert service.call("read_text_file", path="work/m.txt")["content"] == "y\n"


def begin_session(client: httpx.Client, url: str) -> dict[str, str]:
    """Return the headers of a new session."""
    client_info = {"name": "test", "version": "1"}
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client_info}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
    headers = {"accept": "application/json, text/event-stream"}
    answer = client.post(f"{url}/mcp", json=message, headers=headers)
    return {**headers, "mcp-session-id": answer.headers["mcp-session-id"]}


def ping(client: httpx.Client, url: str, session: dict[str, str]) -> httpx.Response:
    """Use a session."""
    message = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    return client.post(f"{url}/mcp", json=message, headers=session)


def test_logs_are_put_aside_confined(folder: Path) -> None:
    """A file that is full is renamed and a new one made, which a rule on it alone would forbid."""
    log = folder / "logs" / "service.log"
    with Service(
        folder,
        MCP_FILESYSTEM_ROOTS=f"docs={folder / 'docs'}",
        MCP_FILESYSTEM_CONFINE="require",
        MCP_HTTP_LOGGING__FILE=str(log),
        MCP_HTTP_LOGGING__MAX_FILE_BYTES="4096",
    ) as service:
        deadline = time.monotonic() + 20
        with httpx.Client(trust_env=False, base_url=service.url) as client:
            # First one is renamed, then the other is made.
            for path in (log.with_name("service.log.1"), log):
                while not path.exists() and time.monotonic() < deadline:
                    client.get("/tools")
                assert path.exists()


def test_tls_works_confined(folder: Path) -> None:
    """The certificate and its key are read after the confinement, from wherever they are."""
    certificate, key = self_signed(folder / "outside")
    process = Service(
        folder,
        MCP_FILESYSTEM_ROOTS=f"docs={folder / 'docs'}",
        MCP_FILESYSTEM_CONFINE="require",
        MCP_HTTP_TLS__CERTIFICATE=str(certificate),
        MCP_HTTP_TLS__KEY=str(key),
    )
    with process.output.open("ab") as output:
        command = [sys.executable, "-m", PLANTED, "--port", str(process.port)]
        running = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=process._environment, stdout=output, stderr=output
        )
    try:
        trusted = ssl.create_default_context(cafile=str(certificate))
        url = f"https://127.0.0.1:{process.port}/health"
        with httpx.Client(trust_env=False, verify=trusted) as client:
            for _ in range(200):
                try:
                    health = client.get(url).json()
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
        assert health["components"]["confinement"]["status"] == "up"
    finally:
        running.kill()
        running.wait()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Return the files of a certificate for loopback and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "server.pem", folder / "server.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def test_a_root_that_appears_later_is_used_and_one_that_is_replaced_needs_a_restart(
    folder: Path,
) -> None:
    """The rules are about directories: of the missing root the one above has it, and it is said."""
    late = folder / "mounts" / "late"
    late.parent.mkdir()
    roots = f"docs={folder / 'docs'},late={late}:write"
    with Service(folder, MCP_FILESYSTEM_ROOTS=roots) as service:
        assert service.health()["wider_for"] == ["late"]
        late.mkdir()
        assert service.call("write_file", path="late/n.txt", content="x")
        assert (late / "n.txt").read_text() == "x"
        assert service.hole("read", folder / "outside" / "secret.txt") == "Permission denied"
        shutil.move(folder / "docs", folder / "mounts" / "old")
        (folder / "docs").mkdir()
        (folder / "docs" / "new.txt").write_text("x")
        refused = json.loads(service.call("read_text_file", path="docs/new.txt"))
        assert refused["code"] == "ACCESS_DENIED"
        health = service.health()
        assert health["status"] == "degraded"
        assert health["detail"] == "restart the service to use docs"
        service.terminate()
        service.start()
        assert service.call("read_text_file", path="docs/new.txt")["content"] == "x"
        assert service.health()["status"] == "up"


def test_it_can_be_switched_off(folder: Path) -> None:
    """For kernels and sandboxes with which it does not agree."""
    roots = f"docs={folder / 'docs'}"
    with Service(folder, MCP_FILESYSTEM_ROOTS=roots, MCP_FILESYSTEM_CONFINE="off") as service:
        assert service.hole("read", folder / "outside" / "secret.txt") == "done"
        assert service.health()["status"] == "off"


def test_where_it_is_required_and_not_possible_the_service_does_not_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it is not required, it says that it does not hold."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    settings = Settings.from_dict({"server": {"state_dir": folder / "state"}})
    with pytest.raises(SettingsError, match="the kernel has no Landlock"):
        confine(settings, FilesystemSettings.from_dict({"confine": "require"}))
    made = confine(settings, FilesystemSettings.from_dict({}))
    assert not made.holds
    assert made.reason == "the kernel has no Landlock, or it is switched off"
    monkeypatch.setattr(landlock, "version", lambda: 1)
    with pytest.raises(SettingsError, match="forbids to move files"):
        confine(settings, FilesystemSettings.from_dict({"confine": "require"}))


def test_a_state_folder_that_cannot_be_made_does_not_end_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would keep ends with the process then, as in the other services."""
    restricted: list[object] = []

    def restrict_self(**rules: object) -> bool:
        restricted.append(rules["write"])
        return True

    monkeypatch.setattr(landlock, "restrict_self", restrict_self)
    monkeypatch.setattr(os, "listdir", lambda path: ["1"])
    there, absent = folder / "state", folder / "docs" / "a.txt" / "state"
    for state in (there, absent):
        settings = Settings.from_dict({"server": {"state_dir": state}})
        assert confine(settings, FilesystemSettings.from_dict({})).holds
    assert [str(there) in str(restricted[0]), str(absent) in str(restricted[1])] == [True, False]


def test_it_comes_before_all_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs already would stay free: then nothing is claimed."""
    restricted: list[object] = []
    monkeypatch.setattr(landlock, "restrict_self", lambda **rules: restricted.append(rules))
    monkeypatch.setattr(os, "listdir", lambda path: ["1", "2"])
    settings = Settings.from_dict({"server": {"state_dir": folder / "state"}})
    made = confine(settings, FilesystemSettings.from_dict({}))
    assert not made.holds
    assert restricted == []
