"""Which services there are, and where: from configuration, never from a caller.

`MCP_MONITORING_SERVICES` names them as `name=url, …` (deploy.sh passes it); without it they are
those of `config/services.yaml` on their default ports of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from core.settings import PROJECT_ROOT, SettingsError

REGISTRY_FILE = PROJECT_ROOT / "config" / "services.yaml"
ITSELF = "monitoring"
MAX_TARGETS = 50
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Target:
    """One service and where it answers.

    Attributes:
        url: Scheme, host and port, without a slash at its end.
    """

    name: str
    url: str

    @property
    def is_secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.url.startswith("https:")


def parse(text: str) -> tuple[Target, ...]:
    """Return the services that `name=url, name=url` names.

    Raises:
        ValueError: A name or URL is none, a name is given twice, or there are too many.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MAX_TARGETS:
        raise ValueError(f"{len(parts)} services; the limit is {MAX_TARGETS}")
    targets = tuple(_target(part) for part in parts)
    names = [target.name for target in targets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"named twice: {', '.join(sorted(twice))}")
    return targets


def _target(part: str) -> Target:
    name, equals, url = (piece.strip() for piece in part.partition("="))
    if not equals or not _NAME.fullmatch(name):
        raise ValueError(f"{part[:80]!r}: expected name=url, such as fetch=http://127.0.0.1:8002")
    return Target(name, base_url(url, name))


def base_url(url: str, name: str) -> str:
    """Return the URL of a service as scheme, host and port.

    Raises:
        ValueError: It has anything else, or lacks one of them; a password is never repeated.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{name}: not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name}: the URL holds credentials; the key has a setting of its own")
    if parts.scheme not in ("http", "https") or not host or not _HOST.fullmatch(host):
        raise ValueError(f"{name}: expected http://host:port or https://host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{name}: the URL has more than scheme, host and port")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def targets(configured: tuple[Target, ...], file: Path = REGISTRY_FILE) -> tuple[Target, ...]:
    """Return the services to watch, this one not among them.

    Args:
        file: The suite's registry; in a container there is none.

    Raises:
        SettingsError: The file is not the suite's registry.
    """
    known = configured or _of_file(file)
    return tuple(target for target in known if target.name != ITSELF)


def containers(configured: tuple[Target, ...], file: Path = REGISTRY_FILE) -> frozenset[str]:
    """Return the names of the suite's containers.

    They are also the names of their hosts, so in a container, where there is no file, those of the
    configured services are taken.

    Raises:
        SettingsError: As `targets`.
    """
    data = _read(file)
    if data is None:
        return frozenset(urlsplit(target.url).hostname or "" for target in configured)
    rows = [*_rows(data, file).values(), data.get("database")]
    names = (row.get("container") for row in rows if isinstance(row, Mapping))
    return frozenset(str(name) for name in names if name)


def _of_file(file: Path) -> tuple[Target, ...]:
    data = _read(file)
    if data is None:
        return ()
    rows = _rows(data, file)
    try:
        # What runs only where somebody wants it may well be absent: that is no finding.
        always = {name: row for name, row in rows.items() if "wanted_by" not in row}
        return parse(
            ",".join(f"{name}=http://127.0.0.1:{row['port']}" for name, row in always.items())
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{file.name}: {error}") from None


def _read(file: Path) -> Mapping[str, Any] | None:
    try:
        data: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file.name} cannot be read: {error}") from None
    return data if isinstance(data, Mapping) else {}


def _rows(data: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    rows = data.get("services")
    if not isinstance(rows, Mapping):
        raise SettingsError(f"{file.name} has no section services")
    return rows
