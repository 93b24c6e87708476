"""What is shipped for proxies and their clients names every service, and is what it says it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings, variables_of
from scripts.deploy.environment import read_env_file
from scripts.deploy.paths import project_here
from scripts.deploy.registry import Registry
from scripts.deploy.registry import load as load_registry
from scripts.generate import proxies
from tests.conftest import missing
from tests.proxies.shipped import SERVICES, SHIPPED

CLIENTS = ("cursor", "cline", "windsurf", "claude-desktop")
PROFILES = ("nginx", "caddy", "traefik", "haproxy", "apache")


@pytest.fixture(scope="module")
def known() -> Registry:
    """The registry."""
    return load_registry(project_here())


# --- written by scripts/docs ---------------------------------------------------------------------


def test_lines_between_the_marks_are_made_of_the_pattern(known: Registry) -> None:
    """One copy for each service, as deep as the mark; writing twice is writing once."""
    text = (
        "before\n  # each service:\n  # on <name> {\n  #   to <container>:<port> <NAME> <other>\n"
        "  # }\n  old\n  # each service: end\nafter\n"
    )
    once = proxies.refresh(text, known)
    assert once.startswith("before\n  # each service:\n  # on <name> {\n")
    assert "  on fetch {\n    to mcp-fetch:8002 FETCH <other>\n  }\n" in once
    assert once.endswith("  # each service: end\nafter\n")
    assert once.count("  on ") == len(SERVICES)
    assert "old" not in once
    assert proxies.refresh(once, known) == once


def test_every_region_of_a_file_is_written(known: Registry) -> None:
    """What stands between two of them stays."""
    region = "# each service:\n# <name>\n# each service: end\n"
    written = proxies.refresh(f"{region}between\n{region}", known)
    assert written.count("\npostgres\nfetch\n") == 2
    assert written.count("between") == 1


def test_clients_settings_are_made_like_the_first_entry(known: Registry) -> None:
    """Only the prefix in the address changes: a command may well contain the name."""
    entry = {"command": "postgres", "args": ["https://host/postgres/mcp"]}
    settings = json.loads(proxies.clients(json.dumps({"mcpServers": {"postgres": entry}}), known))
    assert list(settings["mcpServers"]) == [service.name for service in known.regular]
    fetch = {"command": "postgres", "args": ["https://host/fetch/mcp"]}
    assert settings["mcpServers"]["fetch"] == fetch


def test_what_is_shipped_is_what_would_be_written(known: Registry) -> None:
    """`scripts/docs --check` says the same, for everything that is generated."""
    root = project_here().root
    files = dict(proxies.files(root, known))
    assert len(files) >= 11
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, path


def test_a_clone_without_the_examples_is_left_alone(known: Registry, tmp_path: Path) -> None:
    """Images and copies for tests have none."""
    assert list(proxies.files(tmp_path, known)) == []


# --- clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_have_an_entry_for_each_service(client: str) -> None:
    """Each on its own path of one host, over https, with a key that is not in the file."""
    text = (SHIPPED / "clients" / f"{client}.json").read_text(encoding="utf-8")
    entries = json.loads(text)["mcpServers"]
    assert set(entries) == {name for name, row in SERVICES.items() if not row.is_optional}
    for name, entry in entries.items():
        assert f"https://mcp.example.org/{name}/mcp" in json.dumps(entry)
    for credentials in re.findall(r"Bearer ([^\"]*)", text):
        assert credentials in ("${env:MCP_API_KEY}", "PASTE-THE-KEY-HERE")


def test_clients_settings_have_the_names_that_each_client_reads() -> None:
    """Cline takes an address without a type for the old transport, Windsurf has its own word."""

    def first(client: str) -> dict[str, Any]:
        text = (SHIPPED / "clients" / f"{client}.json").read_text(encoding="utf-8")
        return dict(next(iter(json.loads(text)["mcpServers"].values())))

    assert set(first("cursor")) == {"url", "headers"}
    assert set(first("windsurf")) == {"serverUrl", "headers"}
    assert first("cline")["type"] == "streamableHttp"
    desktop = first("claude-desktop")
    # A blank in an argument does not survive on Windows, so the header's value is a variable.
    assert not any(" " in argument for argument in desktop["args"])
    assert "Authorization:${MCP_AUTHORIZATION}" in desktop["args"]
    assert desktop["env"]["MCP_AUTHORIZATION"].startswith("Bearer ")


# --- Traefik, which Debian does not have ----------------------------------------------------------


def traefik(file: str) -> dict[str, Any]:
    """Read a file of Traefik's, with the variables' defaults filled in."""
    text = (SHIPPED / "traefik" / file).read_text(encoding="utf-8")
    default = re.compile(r'{{ env "MCP_PROXY_[A-Z_]+" \| default "([^"]+)" }}')
    return dict(yaml.safe_load(default.sub(r"\1", text)))


def test_traefik_routes_every_service() -> None:
    """Each router has its middlewares and its service, and each of these is used."""
    http = traefik("dynamic.yml")["http"]
    used = {name for router in http["routers"].values() for name in router["middlewares"]}
    assert used == set(http["middlewares"])
    assert {router["service"] for router in http["routers"].values()} == set(http["services"])
    for name, service in SERVICES.items():
        (server,) = http["services"][name]["loadBalancer"]["servers"]
        assert server["url"] == f"http://127.0.0.1:{service.port}"
        headers = http["middlewares"][f"{name}-prefix"]["headers"]["customRequestHeaders"]
        assert headers["X-Forwarded-Prefix"] == f"/{name}"


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/postgres", ("postgres", "/")),
        ("/postgres/", ("postgres", "/")),
        ("/postgres/mcp", ("postgres", "/mcp")),
        ("/fetch/tools/fetch", ("fetch", "/tools/fetch")),
        (
            "/.well-known/oauth-protected-resource/github/mcp",
            ("github", "/.well-known/oauth-protected-resource/mcp"),
        ),
        ("/postgres/metrics", None),
        ("/postgres/metrics/", None),
        ("/postgresx/mcp", None),
        ("/mcp", None),
        ("/.well-known/oauth-protected-resource", None),
    ],
)
def test_traefiks_rules_lead_where_they_should(path: str, leads_to: tuple[str, str] | None) -> None:
    """Its rules are Go's regular expressions; these mean the same in Python."""
    http = traefik("dynamic.yml")["http"]
    found = []
    for router in http["routers"].values():
        parts = router["rule"].split(" && ")
        patterns = [re.fullmatch(r"(!?)PathRegexp\(`(.*)`\)", part) for part in parts]
        assert all(patterns)
        if all(bool(p[1]) != bool(re.search(p[2], path)) for p in patterns if p):
            rewrite = http["middlewares"][router["middlewares"][0]]["replacePathRegex"]
            replacement = re.sub(r"\$\{(\d)\}", r"\\\1", rewrite["replacement"])
            found.append((router["service"], re.sub(rewrite["regex"], replacement, path)))
    assert found == ([leads_to] if leads_to else [])


def test_traefik_lets_go_of_connections_before_the_services_close_them() -> None:
    """They do after 75 s; and nothing compresses or buffers."""
    static = traefik("traefik.yml")
    assert static["serversTransport"]["forwardingTimeouts"]["idleConnTimeout"] == "60s"
    assert not {"compress", "buffering"} & {
        kind for m in traefik("dynamic.yml")["http"]["middlewares"].values() for kind in m
    }


# --- compose --------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    """Read the compose file."""
    return dict(yaml.safe_load((SHIPPED / "docker-compose.yml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_accepts_the_file(profile: str) -> None:
    """With each profile, in a clean environment."""
    plugin = (
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if (shutil.which("docker"))
        else None
    )
    command = ["docker", "compose"] if plugin and plugin.returncode == 0 else ["docker-compose"]
    if shutil.which(command[0]) is None:
        missing("docker-compose", "apt-get install docker-compose")
    result = subprocess.run(
        [*command, "-f", "docker-compose.yml", "--profile", profile, "config"],
        cwd=SHIPPED,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert profile in yaml.safe_load(result.stdout)["services"]


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_mounts_what_is_there_and_names_every_service(profile: str) -> None:
    """Read-only, on loopback unless it is told otherwise, in the network of the suite."""
    service = compose()["services"][profile]
    assert service["profiles"] == [profile]
    assert service["networks"] == ["litellm-net"]
    mounts = [mount for mount in service["volumes"] if mount.startswith("./")]
    assert mounts
    for mount in mounts:
        source = re.sub(r"\$\{MCP_PROXY_SCHEME:-http\}", "http", mount).split(":")[0]
        assert (SHIPPED / source).exists(), mount
        assert mount.endswith(":ro")
    for port in service["ports"]:
        assert port.startswith("${MCP_PROXY_ADDRESS:-127.0.0.1}:"), port
    addresses = {name: f"{row.container}:{row.port}" for name, row in SERVICES.items()}
    text = json.dumps(service)
    if profile == "nginx":
        text = (SHIPPED / "nginx" / "compose" / "upstreams.conf").read_text(encoding="utf-8")
    for address in addresses.values():
        assert address in text


def test_compose_joins_the_network_of_the_suite() -> None:
    """Which is there already."""
    assert compose()["networks"] == {"litellm-net": {"external": True}}


def test_haproxy_in_a_container_reads_the_key_before_it_becomes_its_user() -> None:
    """As on a machine; its image would start as that user, who cannot read a key of root's."""
    assert compose()["services"]["haproxy"]["user"] == "root"
    configuration = (SHIPPED / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
    assert re.search(r"^ +user haproxy\n +group haproxy$", configuration, re.MULTILINE)


# --- what is written about them -------------------------------------------------------------------

README = SHIPPED / "README.md"


def test_settings_of_the_readme_can_be_put_into_the_secrets_file(tmp_path: Path) -> None:
    """Filled in or not: no comment becomes a value."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "\nMCP_HTTP_API_KEY=" in block)
    file = tmp_path / "secrets.env"
    file.touch(mode=0o600)
    file.write_text(block, encoding="utf-8")
    values = read_env_file(file)
    assert values.pop("MCP_HTTP_API_KEY") == ""
    assert values == {"MCP_HTTP_SECURITY__ALLOWED_HOSTS": '["mcp.example.org"]'}


def test_links_of_the_readme_lead_somewhere() -> None:
    """To files of the project; addresses of others are not asked."""
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    files = [link for link in links if not link.startswith("https://")]
    assert len(files) > 10
    assert [link for link in files if not (SHIPPED / link.partition("#")[0]).exists()] == []


def test_variables_in_the_readme_are_read_by_something() -> None:
    """Settings of the services, or variables of the files beside it."""
    text = README.read_text(encoding="utf-8") + (
        project_here().root / "docs" / "proxies.md"
    ).read_text(encoding="utf-8")
    shipped = "".join(
        path.read_text(encoding="utf-8")
        for path in SHIPPED.rglob("*")
        if path != README
        if path.is_file()
    )
    settings = {variable for variable, _ in variables_of(Settings)} | {
        "MCP_TLS_FOLDER",
        "MCP_HTTP_API_KEY",
    }
    for name in set(re.findall(r"\bMCP_[A-Z_a-z]+\b", text)) - {"MCP_API_KEY"}:
        assert name in settings or name in shipped, name
