"""Variables that a file of servers asks for: `${NAME}`, as bridged servers are given them.

A service gets no variable of the operator's but those that are named for it. What such a file
writes as `${NAME}`, `${NAME:-default}` or `${env:NAME}`, or lists under `inheritEnv`, is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.deploy.paths import Project
from scripts.deploy.registry import Service

MAX_FILE_BYTES = 1024 * 1024
_PLACE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}")
_INHERITED = re.compile(r"[\"']?inherit_?env[\"']?\s*:\s*(\[[^\]]*\]|(?:\n\s*-[^\n]*)+)", re.I)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = ("MCP_", "LITELLM_MASTER_KEY")


def named_for(project: Project, service: Service, values: Mapping[str, str]) -> set[str]:
    """Return the variables that a service's files and commands ask for; none of the suite's own."""
    texts = [values.get(name, "") for name in service.wanted_by if name not in service.files]
    texts += _texts(project, service, values)
    return {name for text in texts for name in names_in(text) if not name.startswith(_OURS)}


def names_in(text: str) -> set[str]:
    """Return the names that a text asks for; a wrong one asks for too much, which is harmless."""
    inherited = " ".join(_INHERITED.findall(text))
    return {*_PLACE.findall(text), *_NAME.findall(inherited)}


def _texts(project: Project, service: Service, values: Mapping[str, str]) -> Iterator[str]:
    for setting, mount in service.files.items():
        path = values.get(mount.variable) or values.get(setting)
        if not path:
            continue
        try:
            with (project.root / Path(path).expanduser()).open("rb") as file:
                yield file.read(MAX_FILE_BYTES).decode(errors="replace")
        except (OSError, RuntimeError):
            continue  # the service says so, and serves what it had
