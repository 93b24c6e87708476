"""docker-compose.yml, from the registry.

Both compose v2 and docker-compose 1.29 read it; what only one of them knows is left out.
"""

from __future__ import annotations

from typing import Any

import yaml

from scripts.deploy.docker import (
    DATABASE_ADMIN,
    DATABASE_PASSWORDS,
    DATABASE_PROFILE,
    DATABASE_READY,
    image_of,
)
from scripts.deploy.registry import Database, Registry, Service

HEADER = """\
# Written by scripts/docs from config/services.yaml and config/networks.yaml; change those.
#
# ./deploy.sh up --docker runs it. Without deploy.sh: docker compose up --detach --build, with
# MCP_<SERVICE>_ENV_FILE naming a file of settings and secrets (mode 600) for each service.
# The profile "database" adds a PostgreSQL with demo data; deploy.sh switches it on where no
# DATABASE_URL is given. Every port is published on 127.0.0.1 only.
"""
EMPTY_ENV_FILE = "./config/secrets.env.example"
DATABASE_FOLDER = "/var/lib/postgresql/data"
FILES_FOLDER = "/srv/files"
"""Where a container has the folder of this machine that its `folder_variable` names."""
NOTHING = "/dev/null"
"""What a container has in the place of a mount that was not asked for."""
OWN_GROUP = "10001"
"""The group that images run as, which a container is in anyway."""
ADMIN_PASSWORD, READER_PASSWORD = DATABASE_PASSWORDS

LOGGING = {"driver": "json-file", "options": {"max-size": "20m", "max-file": "4"}}
"""As much as of a local deployment; without it the engine keeps all there ever was."""
HARDENED: dict[str, Any] = {
    "restart": "unless-stopped",
    "logging": LOGGING,
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "tmpfs": ["/tmp"],  # noqa: S108  the container's own, in memory
}


def render(registry: Registry) -> str:
    """Return the text of docker-compose.yml."""
    services = {s.container: _service(s) for s in registry.services.values()}
    services[registry.database.container] = _database(registry.database)
    document = {
        "services": services,
        "networks": {name: {"name": name} for name in registry.networks},
        "volumes": {
            **{name: {} for s in registry.services.values() for name in _volumes(s)},
            f"{registry.database.container}-data": {},
        },
    }
    body = yaml.safe_dump(document, sort_keys=False, width=100, allow_unicode=True)
    return f"{HEADER}\n{body}"


def _service(service: Service) -> dict[str, Any]:
    url = f"http://127.0.0.1:{service.port}/health"
    probe = f"import urllib.request as r; r.urlopen('{url}', timeout=4)"
    return {
        "container_name": service.container,
        "image": image_of(service),
        "build": {
            "context": ".",
            "dockerfile": f"services/{service.name}/Dockerfile",
            "args": {
                "PYTHON_IMAGE": "${PYTHON_IMAGE:-python:3.12-slim}",
                "PIP_INDEX_URL": "${PIP_INDEX_URL:-}",
            },
        },
        "env_file": [f"${{{service.env_file_variable}:-{EMPTY_ENV_FILE}}}"],
        # The port below is published on loopback only, so the service may go without a key.
        "environment": {"MCP_HTTP_SECURITY__ALLOW_UNAUTHENTICATED": "1"},
        "ports": [f"127.0.0.1:${{{service.port_variable}:-{service.port}}}:{service.port}"],
        "networks": list(service.networks),
        "extra_hosts": ["host.docker.internal:host-gateway"],
        "volumes": [*_volumes(service).values(), *_mounts(service)],
        "healthcheck": {
            "test": ["CMD", "python", "-c", probe],
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
    return mounted


def _mounts(service: Service) -> list[str]:
    """Return the paths of the machine that a container is given read-only where it is asked for."""
    return [f"${{{m.variable}:-{NOTHING}}}:{m.target}:ro" for m in service.mounts]


def _groups(service: Service) -> dict[str, Any]:
    """Return the groups of the machine that a container needs to use what is mounted."""
    variables = [m.group_variable for m in service.mounts if m.group_variable]
    return {"group_add": [f"${{{v}:-{OWN_GROUP}}}" for v in variables]} if variables else {}


def _database(database: Database) -> dict[str, Any]:
    return {
        "container_name": database.container,
        "image": f"${{{database.image_variable}:-{database.image}}}",
        "profiles": [DATABASE_PROFILE],
        "command": ["postgres", "-c", "shared_preload_libraries=pg_stat_statements"],
        "environment": {
            "POSTGRES_USER": DATABASE_ADMIN,
            "POSTGRES_DB": "postgres",
            # Images of version 18 and later would look elsewhere.
            "PGDATA": DATABASE_FOLDER,
            "POSTGRES_PASSWORD": f"${{{ADMIN_PASSWORD}:-}}",
            READER_PASSWORD: f"${{{READER_PASSWORD}:-}}",
        },
        "networks": list(database.networks),
        "volumes": [
            f"{database.container}-data:{DATABASE_FOLDER}",
            "./scripts/demo_database:/opt/mcp/demo:ro",
            "./scripts/demo_database/container:/docker-entrypoint-initdb.d:ro",
            "./services/postgres/role.sql:/opt/mcp/role.sql:ro",
        ],
        "healthcheck": {
            "test": ["CMD", *DATABASE_READY],
            "interval": "5s",
            "timeout": "5s",
            "retries": 20,
        },
        "logging": LOGGING,
        "shm_size": "128m",
        "mem_limit": "1g",
        "restart": "unless-stopped",
        "security_opt": ["no-new-privileges:true"],
    }
