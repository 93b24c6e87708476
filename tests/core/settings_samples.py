"""Two values for each setting of the suite, as a file and as a variable have them."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr

from core.settings import Setting
from core.settings.check import service_names, settings_class
from core.settings.loading import Loadable
from core.settings.sections import Settings

SPECIAL: dict[str, tuple[Any, Any]] = {
    "MCP_HTTP_SERVER__HOST": ("tools.example", "::1"),
    "MCP_HTTP_SECURITY__SEAL_KEY": ("o" * 22, "t" * 40),
    "MCP_HTTP_CORS__ALLOWED_ORIGINS": (["https://a.example"], ["null", "http://b.example:1"]),
    "MCP_HTTP_SECURITY__TRUSTED_PROXIES": (["10.0.0.0/8"], ["192.0.2.1", "::1"]),
    "MCP_HTTP_RATE_LIMIT__TOOLS": ({"execute_sql": 30}, {"fetch_*": 5.5, "read_file": 2}),
    "MCP_HTTP_AUTH__USER_JWT_SECRET": ("o" * 32, "t" * 40),
    "MCP_HTTP_OAUTH__ALGORITHMS": (["ES384"], ["RS512", "PS512"]),
    "MCP_BRIDGE_HOST": ("tools.example", "::1"),
    "MCP_BRIDGE_REQUEST_TIMEOUT_S": (5, 60),
    "MCP_BRIDGE_MAX_REQUEST_TIMEOUT_S": (60, 900),
    "MCP_BRIDGE_INHERIT_ENV": (["HTTP_PROXY"], ["A_TOKEN", "B_TOKEN"]),
    "MCP_BRIDGE_COMMAND": ("npx -y one", "npx 'the other'"),
    "MCP_BRIDGE_NAME": ("one", "the-other"),
    "MCP_BRIDGE_SECRETS": ({"A_TOKEN": "/run/a"}, {"B": "/run/b", "C": "/run/c"}),
    "MCP_BRIDGE_ENV_FROM_HEADERS": ({"x-token": "TOKEN"}, {"x-a": "A", "x-b": "B"}),
    "MCP_POSTGRES_URL": ("postgresql://u:p@h/d", "postgres://other/d?sslmode=disable"),
    "MCP_POSTGRES_SERVERS": ({"reports": "postgresql://a/b"}, {"x": "postgres://c/d"}),
    "MCP_POSTGRES_POOL_MIN": (3, 4),
    "MCP_POSTGRES_POOL_MAX": (20, 30),
    "MCP_POSTGRES_STATEMENT_TIMEOUT_MS": (7, 8),
    "MCP_POSTGRES_MAX_STATEMENT_TIMEOUT_MS": (50_000, 60_000),
    "MCP_POSTGRES_DEFAULT_ROWS": (7, 8),
    "MCP_POSTGRES_DEFAULT_CELL_CHARS": (70, 80),
    "MCP_POSTGRES_MAX_ROWS": (20_000, 30_000),
    "MCP_POSTGRES_MAX_CELL_CHARS": (300_000, 400_000),
    "MCP_FETCH_PORTS": ([443], [80, 8080]),
    "MCP_FETCH_ALLOW_NETWORKS": (["10.1.0.0/16"], ["10.2.0.0/16", "fd00::/8"]),
    "MCP_FETCH_CONNECT_TIMEOUT_S": (3, 4),
    "MCP_FETCH_TIMEOUT_S": (15, 16),
    "MCP_FETCH_MAX_TIMEOUT_S": (50, 60),
    "MCP_FETCH_ALLOW_HOSTS": (["example.org"], ["*.example.net", "a.example"]),
    "MCP_FETCH_DENY_HOSTS": (["example.org"], ["*.example.net"]),
    "MCP_FETCH_WORKER_MEMORY_BYTES": (256 * 1024**2, 300 * 1024**2),
    "MCP_FILESYSTEM_ROOTS": (["docs=/srv/docs:read"], {"work": "/srv/work:write"}),
    "MCP_FILESYSTEM_SEARCH_PROCESSES": (2, 3),
    "MCP_GITHUB_API_URL": ("https://one.example/api/v3", "https://two.example/api/v3"),
    "MCP_GITHUB_APP_ID": ("12", "34"),
    "MCP_GITHUB_TOKENS": ({"octo": "t1"}, {"acme": "t2", "other": "t3"}),
    "MCP_GITHUB_PROXY_URL": ("http://proxy.example:3128", "http://u:p@proxy.example:8080"),
    "MCP_GITHUB_TOOLSETS": (["files"], ["issues", "pulls"]),
    "MCP_GITHUB_WRITE": (["files"], ["issues", "pulls"]),
    "MCP_GITHUB_ALLOW_REPOSITORIES": (["octo/cat"], ["octo/*", "a/b"]),
    "MCP_GITHUB_WRITE_REPOSITORIES": (["octo/cat"], ["octo/*"]),
    "MCP_MONITORING_HOST_PROC": ("/proc", "/proc/"),
    "MCP_MONITORING_SERVICES": (["fetch=http://127.0.0.1:8002"], {"a": "http://b:1"}),
    "MCP_MONITORING_LOG_ROOTS": (["var=/var/log"], ["a=/srv/*.log", "b=/x"]),
    "MCP_MONITORING_ALERT_RULES": (
        [{"name": "disk_full", "metric": "disk.*.used_percent", "above": 95}],
        [{"name": "busy", "metric": "cpu.percent", "above": 50, "for_s": 60}],
    ),
}
"""Values for settings with rules of their own."""
COMPANIONS: dict[str, dict[str, Any]] = {
    "MCP_HTTP_OAUTH__ISSUER": {"resource": "https://tools.example/mcp"},
    "MCP_GITHUB_APP_ID": {"app_private_key": "pem"},
    "MCP_GITHUB_APP_PRIVATE_KEY": {"app_id": "12"},
    "MCP_GITHUB_APP_PRIVATE_KEY_FILE": {"app_id": "12"},
}
"""What has to be set with a setting."""


class Sample(NamedTuple):
    """One setting with two values that differ from its default."""

    cls: type[Loadable]
    setting: Setting
    values: tuple[Any, Any]

    @property
    def variable(self) -> str:
        """The setting's own variable, which also names the test."""
        return self.setting.names[0]


def samples() -> list[Sample]:
    """Return a sample of each setting that there is."""
    classes: list[type[Loadable]] = [Settings, *map(settings_class, service_names())]
    return [
        Sample(cls, setting, SPECIAL.get(setting.names[0]) or _two(setting))
        for cls in classes
        for setting in cls.settings()
    ]


def as_text(value: Any) -> str:
    """Return a value as one would write it into a variable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def as_toml(value: Any) -> str:
    """Return a value as TOML writes it; JSON but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


def plain(value: Any) -> Any:
    """Return a value of a settings object with its secrets in the open, for comparing."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def _two(setting: Setting) -> tuple[Any, Any]:
    annotation, default = setting.field.annotation, setting.field.get_default()
    choices = _choices(annotation)
    if choices:
        other = [choice for choice in choices if choice != default]
        return other[0], other[-1]
    kinds = _kinds(annotation)
    if bool in kinds:
        return not default, not default
    if kinds & {int, float}:
        return _numbers(setting, default, whole=float not in kinds)
    if get_origin(annotation) is tuple:
        return ["one.example"], ["two.example", "three.example"]
    if Path in kinds:
        return "/srv/one", "/srv/two"
    assert kinds & {str, SecretStr}, f"{setting.names[0]}: a type without samples: {annotation}"
    return "https://one.example", "https://two.example"


def _numbers(setting: Setting, default: Any, *, whole: bool) -> tuple[Any, Any]:
    """Return two numbers within the bounds of a setting, neither of them the default."""
    bounds = {type(mark): mark for mark in setting.field.metadata}
    least = bounds.get(annotated_types.Ge)
    most = bounds.get(annotated_types.Le)
    low = least.ge if isinstance(least, annotated_types.Ge) else 0
    high = most.le if isinstance(most, annotated_types.Le) else low + 1000  # type: ignore[operator]  # a number
    steps = [low + (high - low) * part / 8 for part in (1, 3, 5, 7)]  # type: ignore[operator]  # numbers
    fitting = [int(step) if whole else step for step in steps]
    one, other, *_ = [number for number in fitting if number != default]
    return one, other


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    return {annotation}
