"""Settings: defaults, under a YAML or TOML file, under the environment.

`Settings` has the sections of every server (`MCP_HTTP_<SECTION>__<KEY>`); each service adds a
`ServiceSettings` of its own (`MCP_<SERVICE>_<KEY>`). One file may hold both: the sections of
`Settings` at the top level and the service's keys under its name. Objects are frozen; unknown keys
are refused with the nearest name.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from core.errors import did_you_mean

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class SettingsError(ValueError):
    """A setting is wrong; the message names it, where it came from and what would be right."""


class Section(BaseModel):
    """Base of the sections: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSection(Section):
    """Where the server listens and how much it takes on."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port to listen on; each service has its own default."
    )
    state_dir: Path = Field(
        PROJECT_ROOT / ".run" / "state", description="Folder for what survives a restart."
    )
    max_body_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, description="Largest request body; more is answered with 413."
    )
    body_time_limit_s: float = Field(
        30, gt=0, description="Seconds in which a request body has to arrive."
    )
    max_json_depth: int = Field(
        100, ge=8, description="Deepest nesting of arrays and objects in a request body."
    )
    max_head_bytes: int = Field(
        64 * 1024, ge=4096, description="Largest request line and headers; more is answered 431."
    )
    max_headers: int = Field(100, ge=20, description="Header lines of a request.")
    head_time_limit_s: float = Field(
        15, gt=0, description="Seconds in which request line and headers have to arrive."
    )
    max_connections: int = Field(
        20_000, ge=1, description="Connections open at once; further ones are closed with 503."
    )
    tool_time_limit_s: float = Field(
        50, gt=0, description="Seconds a tool call may take; clients give up at 60."
    )
    max_concurrent_calls: int = Field(
        100, ge=1, description="Tool calls that run at once; more are told BUSY."
    )
    max_result_bytes: int = Field(
        1024 * 1024, ge=1024, description="Largest structured result of a tool call."
    )
    max_sessions: int = Field(10_000, ge=1, description="Sessions with state held in memory.")
    session_idle_s: float = Field(
        1800, gt=0, description="Seconds after which an unused session's state is dropped."
    )
    session_lifetime_s: float = Field(
        86_400, gt=0, description="Seconds for which a session id is accepted."
    )
    sessions: bool = Field(
        True, description="Give older revisions a session; without, each request stands alone."
    )
    max_streams: int = Field(10_000, ge=1, description="Event streams open at once.")
    keepalive_interval_s: float = Field(
        15, gt=0, description="Seconds of silence after which an event stream gets a comment."
    )
    announce_capabilities: bool = Field(
        True, description="Send the capabilities event at the start of each /sse stream."
    )
    rpc: bool = Field(True, description="Serve POST /rpc.")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve the port.")
    backlog: int = Field(2048, ge=1, description="Connections the system queues for us.")
    http_keepalive_s: int = Field(75, ge=1, description="Seconds an idle connection stays open.")
    graceful_timeout_s: int = Field(
        10, ge=0, description="Seconds running calls get to finish when the server stops."
    )
    drain_delay_s: float = Field(
        0,
        ge=0,
        description="Seconds between the signal to stop, from which /ready says 503, and the end "
        "of taking connections; as long as a balancer needs to notice.",
    )


class TLSSection(Section):
    """TLS, when the server itself ends it; changed files are read again while it runs."""

    certificate: Path | None = Field(None, description="PEM file with the certificate chain.")
    key: Path | None = Field(None, description="PEM file with the private key.")
    client_ca: Path | None = Field(
        None, description="PEM file; clients must present a certificate signed by it."
    )


class AuthSection(Section):
    """Who may call."""

    api_key: SecretStr | None = Field(
        None, description="The key; also MCP_HTTP_API_KEY. Without one only loopback is served."
    )
    keys_file: Path | None = Field(
        None,
        description="JSON file of named keys, hashed (./deploy.sh keys writes it); read again when "
        "it changes.",
    )
    user_jwt_secret: SecretStr | None = Field(
        None,
        description="Open WebUI's FORWARD_USER_INFO_HEADER_JWT_SECRET: checks its "
        "X-OpenWebUI-User-Jwt header, which says who the person is.",
    )
    user_headers: bool = Field(
        False,
        description="Believe who the person is from plain X-OpenWebUI-User-* headers of callers "
        "with credentials.",
    )
    public_openapi: bool = Field(
        True, description="Serve /openapi.json, / and OPTIONS without credentials."
    )
    public_metrics: bool = Field(False, description="Serve /metrics without credentials.")

    @field_validator("api_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if not value.get_secret_value().isascii() or " " in value.get_secret_value():
            raise ValueError("only ASCII characters without blanks fit into a header")
        return value


class OAuthSection(Section):
    """Access tokens of an OAuth 2.1 authorisation server."""

    issuer: str | None = Field(
        None, description="URL of the authorisation server, as in its tokens; switches OAuth on."
    )
    resource: str | None = Field(
        None,
        description="Public URL of this server's MCP endpoint, such as "
        "https://tools.example.org/postgres/mcp.",
    )
    audience: tuple[str, ...] = Field(
        (), description="Audiences that are accepted; oauth.resource when empty."
    )
    jwks_url: str | None = Field(
        None, description="Where the server's public keys are; found through its metadata if unset."
    )
    algorithms: tuple[str, ...] = Field(
        ("RS256", "PS256", "ES256", "EdDSA"), description="Signature algorithms that are accepted."
    )
    leeway_s: float = Field(30, ge=0, le=600, description="Seconds by which clocks may differ.")
    scope_prefix: str = Field(
        "mcp:",
        description="What scopes for these servers begin with: mcp:postgres, mcp:github:get_*, "
        "mcp:*, mcp:read.",
    )


class RateLimitSection(Section):
    """How often a caller may call tools."""

    calls_per_minute: float = Field(
        0, ge=0, description="Tool calls a minute for each caller; 0 for no limit."
    )
    burst: int = Field(60, ge=1, description="Tool calls a caller may make at once.")
    calls_per_day: int = Field(
        0, ge=0, description="Tool calls a day (UTC) for each caller; 0 for no limit."
    )
    tools: dict[str, float] = Field(
        {},
        description="Tool name, with * as wildcard, to calls a minute for each caller: "
        '{"execute_sql": 30}.',
    )
    per_person: bool = Field(
        True, description="Count each verified person behind a gateway's key for themselves."
    )
    requests_per_minute: float = Field(
        0, ge=0, description="HTTP requests a minute from one address, of any kind; 0 for no limit."
    )
    failures_per_minute: float = Field(
        20,
        ge=0,
        description="Wrong credentials a minute from one address; more are answered 429. "
        "0 for no limit.",
    )


class MonitoringSection(Section):
    """Metrics."""

    metrics: bool = Field(True, description="Serve /metrics.")
    otlp_endpoint: str | None = Field(
        None,
        description="OpenTelemetry collector that takes traces over OTLP/HTTP, such as "
        "http://127.0.0.1:4318; also OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    trace_sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of traces that are recorded where no caller decided."
    )


class SecuritySection(Section):
    """What requests are let in."""

    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host names besides localhost that requests may name, without port; * for any.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks (10.0.0.0/8) of proxies whose X-Forwarded-* headers "
        "are believed.",
    )
    allow_unauthenticated: bool = Field(
        False, description="Listen on other addresses than loopback without a key."
    )
    seal_key: SecretStr | None = Field(
        None,
        description="Secret that seals session ids and cursors; replicas share it. Made and kept "
        "in server.state_dir when not set.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"{text!r} is neither an address nor a network") from None
        return value


class CORSSection(Section):
    """Browsers of other origins."""

    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins such as https://chat.example.org; * for any."
    )


class LoggingSection(Section):
    """The log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is written."
    )
    format: Literal["json", "text"] = Field("json", description="JSON lines, or text for people.")
    file: Path | None = Field(None, description="File to append to instead of standard output.")
    max_file_bytes: int = Field(
        20 * 1024 * 1024, ge=4096, description="Size at which the file is put aside for a new one."
    )
    old_files: int = Field(3, ge=0, le=1000, description="Files put aside that are kept.")
    requests: bool = Field(True, description="Write a line for each request.")
    audit_file: Path | None = Field(
        None,
        description="File that gets a line for each tool call and refusal, chained by hashes "
        "(scripts/verify-audit).",
    )


class BackplaneSection(Section):
    """What replicas share."""

    redis_url: SecretStr | None = Field(
        None,
        description="redis://… through which replicas share notifications, ended sessions and "
        "limits; without it each process stands alone.",
    )


class _Loadable(BaseSettings):
    """What `Settings` and `ServiceSettings` share: three ways to load, one kind of error."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)
    _file_data: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def from_env(cls) -> Self:
        """Return the defaults under the environment."""
        return cls._load({})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the defaults under `data` under the environment."""
        return cls._load(data)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Return the defaults under a YAML or TOML file under the environment.

        Raises:
            SettingsError: The file cannot be read, or a key or value in it is wrong.
        """
        return cls._load(cls._part_of(read_config_file(path)))

    @classmethod
    def _part_of(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return data

    @classmethod
    def _load(cls, data: Mapping[str, Any]) -> Self:
        try:
            return cls(**dict(data))
        except ValidationError as error:
            raise SettingsError(_explain(cls, error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment over what the file said."""
        return (env_settings, init_settings)


class Settings(_Loadable):
    """The settings every server has, section by section."""

    model_config = SettingsConfigDict(
        env_prefix="MCP_HTTP_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    server: ServerSection = ServerSection()
    tls: TLSSection = TLSSection()
    auth: AuthSection = AuthSection()
    oauth: OAuthSection = OAuthSection()
    rate_limit: RateLimitSection = RateLimitSection()
    monitoring: MonitoringSection = MonitoringSection()
    security: SecuritySection = SecuritySection()
    cors: CORSSection = CORSSection()
    logging: LoggingSection = LoggingSection()
    backplane: BackplaneSection = BackplaneSection()
    api_key: SecretStr | None = Field(None, description="Short for auth.api_key.", exclude=True)

    @classmethod
    def _part_of(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        services = {name for name in data if (PROJECT_ROOT / "services" / str(name)).is_dir()}
        return {key: value for key, value in data.items() if key not in services}

    def model_post_init(self, context: Any) -> None:
        """Carry the short form of the key to its section."""
        if self.api_key is not None and self.auth.api_key is None:
            auth = AuthSection.model_validate(
                {**self.auth.model_dump(), "api_key": self.api_key.get_secret_value()}
            )
            object.__setattr__(self, "auth", auth)


class ServiceSettings(_Loadable):
    """Base of a service's own settings: `MCP_<SERVICE>_<KEY>`, or the usual aliases.

    A service sets `section` to its name and `model_config` to
    ``SettingsConfigDict(env_prefix="MCP_<SERVICE>_")``.
    """

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        env_ignore_empty=True,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
    )
    section: ClassVar[str] = ""

    @classmethod
    def _part_of(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        part = data.get(cls.section, {})
        if not isinstance(part, Mapping):
            raise SettingsError(f"{cls.section}: expected a section with keys")
        return part


def read_config_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML or TOML file, by its ending.

    Raises:
        SettingsError: It cannot be read, is not YAML or TOML, or is not a table of sections.
    """
    file = Path(path)
    try:
        content = file.read_text(encoding="utf-8")
        if file.suffix == ".toml":
            data: Any = tomllib.loads(content)
        elif file.suffix in (".yaml", ".yml"):
            data = yaml.safe_load(content) or {}
        else:
            raise SettingsError(f"{file.name}: the name has to end in .yaml, .yml or .toml")
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror or 'cannot be read'}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file}: {error}") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{file}: expected sections with keys at the top level")
    return data


def refuse_unknown_variables(
    known: Mapping[str, type[_Loadable]], *, also: Collection[str] = ()
) -> None:
    """Refuse environment variables of our prefixes that no setting reads.

    Args:
        known: Prefix (`MCP_HTTP_`, `MCP_POSTGRES_`) → the settings class behind it.
        also: Variables that something else reads.

    Raises:
        SettingsError: Names the variable and the nearest known one.
    """
    for prefix, cls in known.items():
        names = {name.upper() for name, _ in variables_of(cls)} | set(also)
        for variable in os.environ:
            if variable.startswith(prefix) and variable not in names:
                if any(variable.startswith(name + "__") for name in names):
                    continue
                hint = did_you_mean(variable, names) or "docs/configuration.md lists all."
                raise SettingsError(f"{variable}: no such setting. {hint}")


def variables_of(cls: type[_Loadable]) -> Iterator[tuple[str, Any]]:
    """Yield each environment variable that a settings class reads, with its field."""
    prefix = str(cls.model_config.get("env_prefix") or "")
    for name, field in cls.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            for key, inner in annotation.model_fields.items():
                yield f"{prefix}{name}__{key}".upper(), inner
        else:
            yield f"{prefix}{name}".upper(), field


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in detail["loc"])
        line = f"{path}: {detail['msg']}"
        if detail["type"] == "extra_forbidden":
            guess = did_you_mean(str(detail["loc"][-1]), _keys(cls, detail["loc"]))
            line = f"{path}: no such setting. {guess}"
        lines.append(line.strip())
    return "; ".join(lines)


def _keys(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    model: Any = cls
    for part in location[:-1]:
        # A number is a place in a list, whose items are of the first type that it names.
        inside = get_args(model)[:1] if isinstance(part, int) else ()
        model = inside[0] if inside else model.model_fields[str(part)].annotation
    return list(model.model_fields)
