"""docker-compose.yml, from the registry.

Both compose v2 and docker-compose 1.29 read it; what only one of them knows is left out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scripts.deploy.contents import (
    ADMIN_PASSWORD,
    FILES_INSIDE,
    MASTER_KEY,
    READER_PASSWORD,
    REDIS_PASSWORD,
    REVISION,
    USER_ID,
    image_of,
    profile_of,
)
from scripts.deploy.docker import DATABASE_ADMIN, DATABASE_READY
from scripts.deploy.environment import API_KEYS
from scripts.deploy.paths import project_here
from scripts.deploy.registry import Bundled, Database, LiteLLM, Mount, Redis, Registry, Service

HEADER = """\
# Written by scripts/docs from config/services.yaml and config/networks.yaml; change those.
#
# ./deploy.sh up --docker runs it. Without deploy.sh: docker compose up --detach --build, with
# MCP_<SERVICE>_ENV_FILE naming a file of settings and secrets (mode 600) for each service.
# Further parts come with COMPOSE_PROFILES: "database", a PostgreSQL with demo data, which deploy.sh
# switches on where no DATABASE_URL is given; "redis"; "litellm"; "bridge". docs/deploy.md has what
# each needs. Every port is published on 127.0.0.1 only.
"""
EMPTY_ENV_FILE = "./config/secrets.env.example"
DATABASE_FOLDER = "/var/lib/postgresql/data"
FILES_FOLDER = str(FILES_INSIDE)
HOME_FOLDER = "/home/mcpuser"
"""Where programs that a container starts keep what they download; see the Dockerfile."""
NOTHING = "/dev/null"
"""What a container has in the place of a mount that was not asked for."""
OWN_GROUP = str(USER_ID)
"""The group that images run as, which a container is in anyway."""
PROBE = ["CMD", "python", "-I", "/app/core/probe.py"]
GATEWAY_CONFIG = "./examples/litellm/config.yaml"
REDIS_MEMORY = "192mb"
REDIS_POLICY = "noeviction"
"""What is told to it must not vanish: limits, confirmations, which sessions have ended. A full one
refuses, and services say so."""

LOGGING = {"driver": "json-file", "options": {"max-size": "20m", "max-file": "4"}}
"""As much as of a local deployment; without it the engine keeps all there ever was."""
KEPT: dict[str, Any] = {
    "restart": "unless-stopped",
    "logging": LOGGING,
    "security_opt": ["no-new-privileges:true"],
}
HARDENED: dict[str, Any] = {
    **KEPT,
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "tmpfs": ["/tmp"],  # noqa: S108  the container's own, in memory
}


def render(registry: Registry) -> str:
    """Return the text of docker-compose.yml."""
    root = project_here().root
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    build = {
        "PYTHON_IMAGE": f"${{PYTHON_IMAGE:-{_base_image(root)}}}",
        "PIP_INDEX_URL": "${PIP_INDEX_URL:-}",
        "VERSION": project["project"]["version"],
        "REVISION": f"${{{REVISION}:-unknown}}",
    }
    services = {s.container: _service(registry, s, build) for s in registry.services.values()}
    services[registry.database.container] = _database(registry.database)
    services[registry.redis.container] = _redis(registry.redis)
    services[registry.litellm.container] = _litellm(registry.litellm, registry)
    document = {
        "services": services,
        "networks": {name: {"name": name} for name in registry.networks},
        "volumes": {
            **{name: {} for s in registry.services.values() for name in _volumes(s)},
            f"{registry.database.container}-data": {},
        },
    }
    body = yaml.dump(document, Dumper=_Plain, sort_keys=False, width=100, allow_unicode=True)
    return f"{HEADER}\n{body}"


class _Plain(yaml.SafeDumper):
    """Writes what stands in several places in each of them, for readers and small parsers."""

    def ignore_aliases(self, data: object) -> bool:
        """Never refer to another place."""
        return True


def _base_image(root: Path) -> str:
    """Return what the Dockerfile builds on by default."""
    text = (root / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert found is not None, "the Dockerfile names its base image"
    return found[1]


def _service(registry: Registry, service: Service, build: Mapping[str, str]) -> dict[str, Any]:
    return {
        "container_name": service.container,
        "image": image_of(service),
        **({"profiles": [profile_of(service)]} if service.is_optional else {}),
        "build": {
            "context": ".",
            "args": {
                **build,
                "SERVICE": service.name,
                "PORT": str(service.port),
                "CONTAINER": service.container,
            },
        },
        "env_file": [f"${{{service.env_file_variable}:-{EMPTY_ENV_FILE}}}"],
        # The port below is published on loopback only, so the service may go without a key.
        "environment": {"MCP_HTTP_SECURITY__ALLOW_UNAUTHENTICATED": "1"},
        "ports": [f"127.0.0.1:${{{service.port_variable}:-{service.port}}}:{service.port}"],
        "networks": list(service.networks),
        "extra_hosts": ["host.docker.internal:host-gateway"],
        "volumes": [
            *_volumes(service).values(),
            *map(_mount, registry.mounts_of(service)),
        ],
        "healthcheck": {
            "test": PROBE,
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "20s",
        },
        "stop_grace_period": "20s",
        "mem_limit": service.memory,
        "cpus": float(service.cpus),
        "pids_limit": service.pids,
        **_groups(service),
        **HARDENED,
    }


def _volumes(service: Service) -> dict[str, str]:
    """Return the volumes of a service by name, each as its container mounts it."""
    state, files = f"{service.container}-state", f"{service.container}-files"
    mounted = {state: f"{state}:/var/lib/mcp"}
    if service.folder_variable is not None:
        mounted[files] = f"${{{service.folder_variable}:-{files}}}:{FILES_FOLDER}"
    if service.home:
        home = f"{service.container}-home"
        mounted[home] = f"{home}:{HOME_FOLDER}"
    return mounted


def _mount(mount: Mount) -> str:
    """Return a path of the machine that a container is given read-only where it is asked for."""
    return f"${{{mount.variable}:-{NOTHING}}}:{mount.target}:ro"


def _groups(service: Service) -> dict[str, Any]:
    """Return the groups of the machine that a container needs to use what is mounted."""
    variables = [m.group_variable for m in service.mounts if m.group_variable]
    return {"group_add": [f"${{{v}:-{OWN_GROUP}}}" for v in variables]} if variables else {}


def _bundled(bundled: Bundled) -> dict[str, Any]:
    return {
        "container_name": bundled.container,
        "image": f"${{{bundled.image_variable}:-{bundled.image}}}",
        "profiles": [profile_of(bundled)],
        "networks": list(bundled.networks),
        "mem_limit": bundled.memory,
        **KEPT,
    }


def _health(test: list[str], *, interval_s: int, retries: int) -> dict[str, Any]:
    return {"test": test, "interval": f"{interval_s}s", "timeout": "5s", "retries": retries}


def _database(database: Database) -> dict[str, Any]:
    return {
        **_bundled(database),
        "command": ["postgres", "-c", "shared_preload_libraries=pg_stat_statements"],
        "environment": {
            "POSTGRES_USER": DATABASE_ADMIN,
            "POSTGRES_DB": "postgres",
            # Images of version 18 and later would look elsewhere.
            "PGDATA": DATABASE_FOLDER,
            "POSTGRES_PASSWORD": f"${{{ADMIN_PASSWORD}:-}}",
            READER_PASSWORD: f"${{{READER_PASSWORD}:-}}",
        },
        "volumes": [
            f"{database.container}-data:{DATABASE_FOLDER}",
            "./scripts/demo_database:/opt/mcp/demo:ro",
            "./scripts/demo_database/container:/docker-entrypoint-initdb.d:ro",
            "./services/postgres/role.sql:/opt/mcp/role.sql:ro",
        ],
        "healthcheck": _health(["CMD", *DATABASE_READY], interval_s=5, retries=20),
        "shm_size": "128m",
    }


def _redis(redis: Redis) -> dict[str, Any]:
    """Return a Redis that keeps nothing on a disk and has its password on no command line.

    It reads its configuration from standard input (redis-server(1), the file name `-`).
    """
    settings = [
        # Compose makes one dollar of two; the shell in the container takes the variable.
        'requirepass "$$REDISCLI_AUTH"',
        'save ""',
        f"maxmemory {REDIS_MEMORY}",
        f"maxmemory-policy {REDIS_POLICY}",
    ]
    script = "\n".join(["exec redis-server - <<END", *settings, "END"])
    return {
        **_bundled(redis),
        **HARDENED,
        "user": "999:999",
        "entrypoint": ["sh", "-c", script],
        "environment": {"REDISCLI_AUTH": f"${{{REDIS_PASSWORD}:-}}"},
        "tmpfs": ["/tmp", "/data"],  # noqa: S108  the container's own, in memory
        "healthcheck": _health(
            ["CMD-SHELL", "redis-cli ping | grep -q PONG"], interval_s=5, retries=12
        ),
        "pids_limit": 64,
    }


def _litellm(litellm: LiteLLM, registry: Registry) -> dict[str, Any]:
    """Return a LiteLLM that does not start without a key for its callers.

    Not every release refuses that by itself, and `${…:?}` would fail without its profile, too.
    """
    url = "http://127.0.0.1:4000/health/liveliness"
    probe = f"import urllib.request as r; r.urlopen('{url}', timeout=4)"
    # Compose makes one dollar of two; `litellm` is what the image's own entry point runs.
    script = f': "$${{{MASTER_KEY}:?is not set}}"\nexec litellm "$$@"'
    return {
        **_bundled(litellm),
        "entrypoint": ["sh", "-c", script, "litellm"],
        "command": ["--config", "/app/config.yaml", "--port", "4000"],
        "env_file": [f"${{MCP_LITELLM_ENV_FILE:-{EMPTY_ENV_FILE}}}"],
        "environment": {
            MASTER_KEY: f"${{{MASTER_KEY}:-}}",
            API_KEYS[-1]: f"${{{API_KEYS[-1]}:-}}",
        },
        "ports": [f"127.0.0.1:${{{litellm.port_variable}:-{litellm.port}}}:4000"],
        "volumes": [f"${{MCP_LITELLM_CONFIG:-{GATEWAY_CONFIG}}}:/app/config.yaml:ro"],
        # It lists the tools of each once, when it starts.
        "depends_on": {
            service.container: {"condition": "service_healthy"} for service in registry.regular
        },
        "healthcheck": _health(["CMD", "python3", "-c", probe], interval_s=5, retries=36),
    }
