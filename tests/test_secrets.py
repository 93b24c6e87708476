"""No configured secret is ever seen outside: each gets a canary, and everything is searched.

Every service runs as a process of its own, at level DEBUG, with every secret setting set. All doors
and tools are used, rightly and wrongly; what they depend on is down, or says back what it was sent.
Then answers, logs, the audit log, the state folder and the command lines of processes are searched
for each canary, as it is, in hexadecimal and in base64.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from core.security.keys import hash_of
from core.settings import Settings
from core.settings.check import service_names, settings_class
from tests.servers.processes import ROOT, ServerProcess, free_port

CALL_LIMIT_S = 20.0


def canary(name: str) -> str:
    """Return a text that stands for one secret and occurs nowhere else."""
    return f"kanari{name}" + "q7Zw9Xv3Lm5Np8Rt"[: 32 - len(name)] * 2


def private_key() -> str:
    """Return the private key of a GitHub App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


APP_KEY = private_key()
DEAD_PORT = free_port()
JWT_HEAD = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ."
COMMON = {
    "MCP_HTTP_AUTH__API_KEY": canary("apikey"),
    "MCP_HTTP_AUTH__USER_JWT_SECRET": canary("userjwtsecret"),
    "MCP_HTTP_SECURITY__SEAL_KEY": canary("sealkey"),
    "MCP_HTTP_BACKPLANE__REDIS_URL": f"redis://:{canary('redis')}@127.0.0.1:{DEAD_PORT}/0",
}
OWN = {
    "postgres": {
        "MCP_POSTGRES_URL": f"postgresql://u:{canary('pgone')}@127.0.0.1:{DEAD_PORT}/d",
        "MCP_POSTGRES_SERVERS": json.dumps(
            {
                "two": f"postgresql://u:{canary('pgtwo')}@127.0.0.1:{DEAD_PORT}/d",
                "odd": f"postgresql://u:{canary('pgodd')}@127.0.0.1:port/d",
            }
        ),
    },
    "github": {
        "MCP_GITHUB_TOKEN": canary("ghtoken"),
        "MCP_GITHUB_TOKENS": json.dumps({"octo": canary("ghocto")}),
        "MCP_GITHUB_APP_PRIVATE_KEY": APP_KEY.replace("\n", "\\n"),
        "MCP_GITHUB_PROXY_URL": f"http://u:{canary('ghproxy')}@127.0.0.1:{DEAD_PORT}",
    },
    "monitoring": {"MCP_MONITORING_SERVICES_API_KEY": canary("siblings")},
    "fetch": {},
    "filesystem": {},
    "bridge": {},
}
"""The secret settings of each service; a new one fails the test below until it has a canary."""
TOLD = {"github": (canary("ghtoken"), canary("ghocto")), "monitoring": (canary("siblings"),)}
"""What really goes out, to a server that repeats it."""
CHILDS = canary("child")
"""What a bridged server gets from a file, and writes to standard error."""
LEAKY = "import os, sys; sys.stderr.write(str(dict(os.environ))); sys.exit(3)"
SENT = {
    "named key": canary("namedkey"),
    "wrong key": canary("wrongkey"),
    "token": JWT_HEAD + canary("token"),
    "person": JWT_HEAD + canary("person"),
    "query": canary("inquery"),
    "mistake": canary("mistake"),
}
"""What callers present, and a key that stands in the keys file where its hash should."""


def forms(secret: str) -> Iterator[bytes]:
    """Yield how a secret could be seen: each part that is the secret's own."""
    plain = secret.encode()
    yield plain
    yield plain.hex().encode()
    for lead in range(3):  # base64 of a text that the secret is only a part of
        encoded = base64.b64encode(b"x" * lead + plain)
        yield encoded[4 : len(encoded) - 4]


def secrets_of(name: str) -> dict[str, str]:
    """Return the canaries that one service knows or is sent."""
    configured = {**COMMON, **OWN[name]}
    found = {**SENT, "child": CHILDS}
    for variable, value in configured.items():
        if variable == "MCP_GITHUB_APP_PRIVATE_KEY":
            found[variable] = APP_KEY.splitlines()[10]
        else:
            for number, part in enumerate(value.split("kanari")[1:]):
                found[f"{variable} {number}"] = "kanari" + part[:32].split("@")[0].split('"')[0]
    return found


class Seen:
    """Everything that came out."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, bytes]] = []

    def add(self, where: str, content: bytes) -> None:
        """Keep what was seen somewhere."""
        self._parts.append((where, content))

    def answer(self, response: httpx.Response) -> None:
        """Keep an answer, head and body."""
        head = repr(response.headers.raw).encode()
        self.add(f"{response.request.method} {response.request.url.path}", head + response.content)

    def folder(self, folder: Path) -> None:
        """Keep every file below a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.add(path.name, path.read_bytes())

    def leaks(self, secrets: Mapping[str, str]) -> list[str]:
        """Return which secret was seen where."""
        return [
            f"{name} in {where}: …{content[max(0, content.find(form) - 150) :][:300]!r}"
            for name, secret in secrets.items()
            for form in set(forms(secret))
            for where, content in self._parts
            if form in content
        ]


class Echo(BaseHTTPRequestHandler):
    """A GitHub, or a service, that repeats what it was sent in its errors."""

    statuses = itertools.cycle((401, 500, 403, 200, 404))
    heard: ClassVar[list[str]] = []

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        said = f"{self.requestline} {self.headers} {self.rfile.read(length)!r}"
        self.heard.append(said)
        is_probe = self.path in ("/health", "/ready")  # what the key is sent after
        content: dict[str, Any] = {"message": said, "errors": [{"message": said}]}
        if is_probe:
            content |= {"status": "healthy", "service": "echo", "ready": True}
        body = json.dumps(content).encode()
        self.send_response(200 if is_probe else next(self.statuses))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    """Return the address of a server that says back what it was sent."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def keys_file(folder: Path, hash_: str) -> Path:
    """Write a keys file with one key."""
    path = folder / "keys.json"
    entry = {"name": "named", "hash": hash_, "scopes": ["*"], "created": "2026-01-01T00:00:00Z"}
    path.touch(mode=0o600)
    path.write_text(json.dumps({"version": 1, "keys": [entry]}))
    return path


def servers_file(folder: Path) -> Path:
    """Write a file with one server that tells what it knows; beside the folder that is searched."""
    beside = folder.with_name(f"{folder.name}-beside")
    beside.mkdir()
    secret = beside / "token"
    secret.touch(mode=0o600)
    secret.write_text(CHILDS)
    entry = {
        "command": sys.executable,
        "args": ["-c", LEAKY],
        "secrets": {"API_TOKEN": str(secret)},
    }
    path = beside / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"leaky": entry}}))
    return path


def environment(name: str, folder: Path, echo: str) -> dict[str, str]:
    """Return the settings of a service, every secret among them."""
    more = {
        "github": {"MCP_GITHUB_API_URL": echo, "MCP_GITHUB_APP_ID": "12"},
        "filesystem": {"MCP_FILESYSTEM_ROOTS": f"work={folder}/work:write"},
        "monitoring": {"MCP_MONITORING_SERVICES": f"echo={echo}"},
        "fetch": {"MCP_FETCH_ALLOW_NETWORKS": "127.0.0.0/8"},
        "bridge": {"MCP_BRIDGE_SERVERS": str(servers_file(folder))},
    }
    return {
        **COMMON,
        **OWN[name],
        **more.get(name, {}),
        "MCP_HTTP_AUTH__KEYS_FILE": str(keys_file(folder, hash_of(SENT["named key"]))),
        "MCP_HTTP_LOGGING__LEVEL": "DEBUG",
        "MCP_HTTP_LOGGING__AUDIT_FILE": str(folder / "audit.jsonl"),
        "MCP_HTTP_RATE_LIMIT__CALLS_PER_DAY": "100000",
    }


def test_every_secret_setting_has_a_canary() -> None:
    """A new secret has to be searched for as well."""
    assert set(OWN) == set(service_names())
    found = {s.names[0] for s in Settings.settings() if s.is_secret}
    assert found - {"MCP_HTTP_API_KEY"} == set(COMMON)
    for name in service_names():
        own = {s.names[0] for s in settings_class(name).settings() if s.is_secret}
        assert own == set(OWN[name]), name


def test_search_finds_each_form() -> None:
    """A search that finds nothing would prove nothing."""
    secret = SENT["wrong key"]
    hidden = [
        f"Bearer {secret}".encode(),
        b"x " + secret.encode().hex().encode(),
        base64.b64encode(f"user:{secret}".encode()),
        base64.b64encode(f"users:{secret}".encode()),
        base64.b64encode(f"userss:{secret} and more".encode()),
    ]
    for content in hidden:
        seen = Seen()
        seen.add("here", content)
        assert seen.leaks({"wrong key": secret}), content


def arguments_for(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the right types for a tool."""
    samples = {"string": "octo", "integer": 1, "number": 1, "boolean": True, "object": {}}
    properties = schema.get("properties", {})
    found: dict[str, Any] = {}
    for name in schema.get("required", ()):
        kind = properties[name].get("type", "string")
        kind = kind[0] if isinstance(kind, list) else kind
        choice = properties[name].get("enum")
        found[name] = choice[0] if choice else samples.get(kind, ["octo"])
    return found


def use_everything(client: httpx.Client, seen: Seen) -> None:
    """Use each door and each tool, rightly and wrongly."""
    right = {"authorization": f"Bearer {COMMON['MCP_HTTP_AUTH__API_KEY']}"}
    credentials = [
        right,
        {"x-api-key": SENT["named key"], "x-openwebui-user-jwt": SENT["person"]},
        {"authorization": f"Bearer {SENT['wrong key']}"},
        {"authorization": f"Basic {base64.b64encode(SENT['wrong key'].encode()).decode()}"},
        {"authorization": f"Bearer {SENT['token']}", "x-openwebui-user-jwt": SENT["person"]},
        {"x-api-key": SENT["wrong key"]},
        {},
    ]
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for headers in credentials:
        query = {"token": SENT["query"], "api_key": SENT["query"]}
        for path in ("/health", "/ready", "/metrics", "/tools", "/openapi.json", "/", "/nothing"):
            seen.answer(client.get(path, headers=headers, params=query))
        for path in ("/mcp", "/rpc", "/messages", "/tools/nothing", "/sse"):
            seen.answer(client.post(path, headers=headers, params=query, json=ping))
            seen.answer(client.post(path, headers=headers, content=b"{" * 500))
    for tool in client.get("/tools", headers=right).json()["tools"]:
        for arguments in ({}, arguments_for(tool["inputSchema"])):
            params = {"name": tool["name"], "arguments": arguments}
            call = {**ping, "method": "tools/call", "params": params}
            seen.answer(client.post("/rpc", headers=right, json=call))
        seen.answer(client.post(f"/tools/{tool['name']}", headers=right, json={"no": "such"}))
    for method in ("resources/list", "resources/templates/list", "prompts/list"):
        seen.answer(client.post("/rpc", headers=right, json={**ping, "method": method}))
    listed = client.post("/rpc", headers=right, json={**ping, "method": "resources/list"}).json()
    for resource in listed.get("result", {}).get("resources", ())[:10]:
        read = {**ping, "method": "resources/read", "params": {"uri": resource["uri"]}}
        seen.answer(client.post("/rpc", headers=right, json=read))


def command_lines(pid: int) -> bytes:
    """Return what `ps` shows of a process and those it started."""
    process = psutil.Process(pid)
    found = [process, *process.children(recursive=True)]
    return "\n".join(" ".join(each.cmdline()) for each in found).encode()


@pytest.mark.parametrize("name", sorted(OWN))
def test_no_secret_is_seen_anywhere(name: str, tmp_path: Path, echo: str) -> None:
    """Not by callers, not in logs, not by other users of the machine."""
    state, seen = tmp_path / "state", Seen()
    (tmp_path / "work").mkdir()
    state.mkdir()
    given = environment(name, tmp_path, echo)
    server = ServerProcess(state, environment=given, module=f"services.{name}")
    with server, httpx.Client(base_url=server.url, trust_env=False, timeout=CALL_LIMIT_S) as client:
        use_everything(client, seen)
        keys_file(tmp_path, SENT["mistake"])  # the key itself, where its hash should stand
        health = client.get("/health")
        while "degraded" not in str(health.json()["components"]["authentication"]):
            health = client.get("/health")
        seen.answer(health)
        seen.add("ps", command_lines(server.pid))
        server.terminate()
    (tmp_path / "keys.json").unlink()
    seen.folder(tmp_path)
    assert (tmp_path / "audit.jsonl").stat().st_size > 1000
    assert b'"message":"request"' in server.output.read_bytes()
    assert all(any(secret in said for said in Echo.heard) for secret in TOLD.get(name, ()))
    assert name != "bridge" or b"API_TOKEN" in server.output.read_bytes()
    assert seen.leaks(secrets_of(name)) == []


def said_by(module: str, *arguments: str, given: Mapping[str, str]) -> tuple[int, bytes]:
    """Run a command with some settings; return its exit status and what it says."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**plain, **given},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(OWN))
def test_effective_configuration_hides_secrets(name: str, tmp_path: Path, echo: str) -> None:
    """What `--check` prints can be shown to anybody."""
    given = environment(name, tmp_path, echo)
    (tmp_path / "work").mkdir()
    _, said = said_by("core.settings", "--check", "--service", name, given=given)
    assert b"MCP_HTTP_AUTH__API_KEY" in said
    seen = Seen()
    seen.add("--check", said)
    assert seen.leaks(secrets_of(name)) == []


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("fetch", "MCP_HTTP_AUTH__API_KEY", "two words {}"),
        ("fetch", "MCP_HTTP_AUTH__USER_JWT_SECRET", "{}"),
        ("postgres", "MCP_POSTGRES_URL", "no url {}"),
        ("postgres", "MCP_POSTGRES_SERVERS", '{{"two": "{}"'),
        ("postgres", "MCP_POSTGRES_SERVERS", '{{"two": ["{}"]}}'),
        ("github", "MCP_GITHUB_TOKEN", "two words {}"),
        ("github", "MCP_GITHUB_TOKENS", '["{}"]'),
        ("github", "MCP_GITHUB_APP_PRIVATE_KEY", "{}"),
        ("github", "MCP_GITHUB_PROXY_URL", "ftp://u:{}@h"),
    ],
)
def test_start_that_fails_does_not_repeat_the_value(name: str, variable: str, value: str) -> None:
    """Whoever misspells a secret finds the name of the setting in the terminal, not the value."""
    secret = canary("wrong") if "JWT" not in variable else "kanarishort"
    given = {variable: value.format(secret), "MCP_HTTP_SERVER__PORT": "0"}
    for module, arguments in (
        ("core.settings", ("--check", "--service", name)),
        (f"services.{name}", ("--port", str(free_port()))),
    ):
        status, said = said_by(module, *arguments, given=given)
        assert status != 0, (module, said)
        seen = Seen()
        seen.add(module, said)
        assert seen.leaks({variable: secret}) == []
        assert b"Traceback" not in said
