"""What can be set: the sections of every server, and what each service has besides."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Set
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from core.errors import nearest
from core.settings.base import (
    MAX_BYTES,
    MAX_CALLS,
    MAX_COUNT,
    MAX_SECONDS,
    PROJECT_ROOT,
    Key,
    Section,
    SettingsError,
)
from core.settings.files import ConfigFile
from core.settings.loading import Loadable
from core.settings.urls import host_header_of, is_secure_url, require_host, require_origin
from core.settings.variables import Also, strays

MIN_HS256_BYTES = 32
MIN_SEAL_KEY_BYTES = 22
"""128 random bits in base64."""
SIGNATURE_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""What tokens may be signed with: private keys only (RFC 8725 §3.2)."""
MAX_BACKLOG = 65_535
TABLES_OF_CLIENTS = (
    frozenset({"mcpServers"}),
    frozenset({"mcpServers", "servers", "inputs"}),
)
"""Tables in which MCP clients name servers, which the bridge starts: in any file, and in JSON."""
_SLIP = 0.75
"""How like the name of a section (difflib's ratio) a name is that was meant to be it."""


def _long_secret(value: SecretStr | None, least: int) -> SecretStr | None:
    secret = value.get_secret_value().strip() if value is not None else ""
    if 0 < len(secret.encode()) < least:
        raise ValueError(f"fewer than {least} characters; make one with: openssl rand -hex 32")
    return SecretStr(secret) if secret else None


class ServerSection(Section):
    """Where the server listens and how much it takes on."""

    host: Annotated[str, AfterValidator(require_host)] = Field(
        "127.0.0.1", description="Address to listen on."
    )
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of a service that is started alone; each has its own default.",
    )
    state_dir: Path = Field(
        PROJECT_ROOT / ".run" / "state", description="Folder for what survives a restart."
    )
    max_body_bytes: int = Field(
        4 * 1024 * 1024,
        ge=1024,
        le=MAX_BYTES,
        description="Largest request body, or message on a WebSocket; more is answered with 413.",
    )
    body_time_limit_s: float = Field(
        30, gt=0, le=MAX_SECONDS, description="Seconds in which a request body has to arrive."
    )
    max_json_depth: int = Field(
        100, ge=8, le=200, description="Deepest nesting of arrays and objects in a request body."
    )
    max_head_bytes: int = Field(
        64 * 1024,
        ge=4096,
        le=MAX_BYTES,
        description="Largest request line and headers; more is answered 431.",
    )
    max_headers: int = Field(100, ge=20, le=MAX_COUNT, description="Header lines of a request.")
    head_time_limit_s: float = Field(
        15,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds in which request line and headers have to arrive.",
    )
    max_connections: int = Field(
        20_000,
        ge=1,
        le=MAX_COUNT,
        description="Connections open at once; further ones are closed with 503.",
    )
    tool_time_limit_s: float = Field(
        50, gt=0, le=MAX_SECONDS, description="Seconds a tool call may take; clients give up at 60."
    )
    max_concurrent_calls: int = Field(
        100, ge=1, le=MAX_COUNT, description="Tool calls that run at once; more are told BUSY."
    )
    max_result_bytes: int = Field(
        1024 * 1024, ge=1024, le=MAX_BYTES, description="Largest structured result of a tool call."
    )
    max_sessions: int = Field(
        10_000, ge=1, le=MAX_COUNT, description="Sessions with state held in memory."
    )
    session_idle_s: float = Field(
        1800,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds after which an unused session's state is dropped.",
    )
    session_lifetime_s: float = Field(
        86_400, gt=0, le=MAX_SECONDS, description="Seconds for which a session id is accepted."
    )
    sessions: bool = Field(
        True, description="Give older revisions a session; without, each request stands alone."
    )
    max_streams: int = Field(
        10_000, ge=1, le=MAX_COUNT, description="Event streams and WebSockets open at once."
    )
    keepalive_interval_s: float = Field(
        15,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds of silence after which an event stream gets a comment, a WebSocket a "
        "ping.",
    )
    announce_capabilities: bool = Field(
        True, description="Send the capabilities event at the start of each /sse stream."
    )
    rpc: bool = Field(True, description="Serve POST /rpc.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that serve the port; several need Redis and a service that can.",
    )
    backlog: int = Field(
        2048, ge=1, le=MAX_BACKLOG, description="Connections the system queues for us."
    )
    http_keepalive_s: int = Field(
        75, ge=1, le=MAX_SECONDS, description="Seconds an idle connection stays open."
    )
    graceful_timeout_s: int = Field(
        10,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds running calls get to finish when the server stops.",
    )
    drain_delay_s: float = Field(
        0,
        ge=0,
        le=MAX_SECONDS,
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

    api_key: Annotated[SecretStr | None, Also("MCP_HTTP_API_KEY")] = Field(
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
        if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("only ASCII characters without blanks and line ends fit into a header")
        return value

    @field_validator("user_jwt_secret")
    @classmethod
    def _is_hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse secrets that whoever sees a signed header could try out (RFC 7518 §3.2)."""
        return _long_secret(value, MIN_HS256_BYTES)


class OAuthSection(Section):
    """Access tokens of an OAuth 2.1 authorisation server."""

    issuer: str | None = Field(
        None, description="URL of the authorisation server, as in its tokens; switches OAuth on."
    )
    resource: str | None = Field(
        None,
        description="Public URL of this server's MCP endpoint, such as "
        "https://tools.example.org/postgres/mcp; {service} in it stands for the service's name.",
    )
    audience: tuple[str, ...] = Field(
        (), description="Audiences that are accepted instead of oauth.resource."
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

    @field_validator("issuer", "resource", "jwks_url")
    @classmethod
    def _is_secure(cls, value: str | None) -> str | None:
        if value is not None and not is_secure_url(value):
            raise ValueError("no https URL (http is taken for 127.0.0.1 and localhost only)")
        return value

    @field_validator("algorithms")
    @classmethod
    def _are_asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse `none` and HS256, with which whoever knows a public key could sign."""
        if not value or not set(value) <= SIGNATURE_ALGORITHMS:
            raise ValueError(f"expected some of {', '.join(sorted(SIGNATURE_ALGORITHMS))}")
        return value

    @field_validator("scope_prefix")
    @classmethod
    def _is_of_scopes(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9:/._-]*", value):
            raise ValueError("only letters, digits and : / . _ - are taken")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer is not None and self.resource is None:
            raise ValueError(
                "oauth.resource is needed with oauth.issuer: the URL that clients ask tokens for"
            )
        return self


class RateLimitSection(Section):
    """How often a caller may call tools."""

    calls_per_minute: float = Field(
        0, ge=0, le=MAX_CALLS, description="Tool calls a minute for each caller; 0 for no limit."
    )
    burst: int = Field(60, ge=1, le=MAX_CALLS, description="Tool calls a caller may make at once.")
    calls_per_day: int = Field(
        0, ge=0, le=MAX_CALLS, description="Tool calls a day (UTC) for each caller; 0 for no limit."
    )
    tools: dict[str, Annotated[float, Field(gt=0, le=MAX_CALLS)]] = Field(
        {},
        description="Tool name, with * as wildcard, to calls a minute for each caller: "
        '{"execute_sql": 30}.',
    )
    per_person: bool = Field(
        True, description="Count each verified person behind a gateway's key for themselves."
    )
    requests_per_minute: float = Field(
        0,
        ge=0,
        le=MAX_CALLS,
        description="HTTP requests a minute from one address, of any kind; 0 for no limit.",
    )
    failures_per_minute: float = Field(
        20,
        ge=0,
        le=MAX_CALLS,
        description="Wrong credentials a minute from one address; more are answered 429. "
        "0 for no limit.",
    )


class MonitoringSection(Section):
    """Metrics."""

    metrics: bool = Field(True, description="Serve /metrics.")
    otlp_endpoint: Annotated[str | None, Also("OTEL_EXPORTER_OTLP_ENDPOINT")] = Field(
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
        False,
        description="Listen on other addresses than loopback without a key, and take what proxies "
        "bring from elsewhere.",
    )
    seal_key: SecretStr | None = Field(
        None,
        description="Secret that seals session ids and cursors; replicas share it. Made and kept "
        "in server.state_dir when not set.",
    )

    @field_validator("seal_key")
    @classmethod
    def _is_hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse secrets that whoever has a session id could try out."""
        return _long_secret(value, MIN_SEAL_KEY_BYTES)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("*" if text == "*" else host_header_of(text) for text in value)

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

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if text not in ("*", "null"):
                require_origin(text)
        return value


class LoggingSection(Section):
    """The log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is written."
    )
    format: Literal["auto", "json", "text"] = Field(
        "auto", description="JSON lines, or text for people; auto is text on a terminal."
    )
    file: Path | None = Field(None, description="File to append to instead of standard output.")
    max_file_bytes: int = Field(
        20 * 1024 * 1024,
        ge=4096,
        le=MAX_BYTES,
        description="Size at which the file is put aside for a new one.",
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


class Settings(Loadable):
    """The settings every server has, section by section."""

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

    @classmethod
    def prefix(cls) -> str:
        """Return what the variables of its settings begin with."""
        return "MCP_HTTP_"

    @classmethod
    def others(cls) -> list[str]:
        """Return further tables that the file may have: the services."""
        return sorted(_service_folders())

    @classmethod
    def strays(cls, environ: Mapping[str, str]) -> Iterator[str]:
        """Yield a problem for each variable whose second word is nearly HTTP or a service."""
        yield from strays(environ, ("http", *sorted(_service_folders())))

    @classmethod
    def part_of(cls, file: ConfigFile) -> ConfigFile:
        """Return the sections of every server; a service that shares a name has the other keys."""
        services = _services_among(file.values.keys())
        not_ours = {*_tables_of_clients(file), *passed_over(file)}
        values: dict[str, Any] = {}
        for name, value in file.values.items():
            if name in not_ours:
                continue
            if name not in services:
                values[name] = value
            elif name in cls.model_fields and isinstance(value, Mapping):
                own = _keys_of(name)
                values[name] = {key: v for key, v in value.items() if key in own}
        return file.with_(values)


class ServiceSettings(Loadable):
    """Base of a service's own settings: `MCP_<SERVICE>_<KEY>`, or the usual further names.

    A service sets `section` to its name, and `one_process` to why several workers cannot serve it;
    empty where they can. `of_every_server` has those of its settings that stand for one of every
    server's, where that is not set from as near a source. Further variables of a setting are
    marked: `Annotated[SecretStr | None, Also("DATABASE_URL")]`.
    """

    section: ClassVar[str] = ""
    one_process: ClassVar[str] = ""
    of_every_server: ClassVar[Mapping[str, Key]] = {"port": ("server", "port")}

    port: int | None = Field(
        None, ge=0, le=65535, description="Port to listen on, where server.port does not say."
    )

    @property
    def folders(self) -> tuple[str, ...]:
        """Absolute paths of the folders that the service is for; none of them its state."""
        return ()

    def broken(self, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
        """Yield what is wrong with files that settings name; asked where the service is to run."""
        yield from ()

    @classmethod
    def prefix(cls) -> str:
        """Return what the variables of its settings begin with."""
        return f"MCP_{cls.section}_".upper()

    @classmethod
    def title(cls) -> Key:
        """Return under which table of a file its settings are."""
        return (cls.section,)

    @classmethod
    def part_of(cls, file: ConfigFile) -> ConfigFile:
        """Return the table of the service; without the keys of a section that shares its name."""
        part = file.values.get(cls.section)
        if part is None:
            return file.with_({}, (cls.section,))
        if not isinstance(part, Mapping):
            place = file.place((cls.section,))
            raise SettingsError(f"{place}: {cls.section}: expected a section with keys")
        of_every_server = _keys_of(cls.section)
        own = {key: value for key, value in part.items() if key not in of_every_server}
        return file.with_(own, (cls.section,))


def passed_over(file: ConfigFile) -> list[str]:
    """Return which tables of a client's own file, such as Claude Desktop's, say nothing to us.

    Only JSON that names MCP servers is such a file. What is nearly the name of a section is not
    passed over: it may be a slip that leaves a server without its key.
    """
    of_clients = _tables_of_clients(file)
    if file.path.suffix != ".json" or of_clients.isdisjoint(file.values):
        return []
    known = {*Settings.model_fields, *_service_folders()}
    return [
        str(name)
        for name in file.values
        if name not in of_clients and not get_close_matches(name, known, 1, _SLIP)
    ]


def _tables_of_clients(file: ConfigFile) -> frozenset[str]:
    return TABLES_OF_CLIENTS[file.path.suffix == ".json"]


def _service_folders() -> set[str]:
    return {path.parent.name for path in PROJECT_ROOT.glob("services/*/__main__.py")}


def _services_among(names: Set[str]) -> Set[str]:
    """Return which names of tables are names of services.

    An image has one service and knows of no other: there every name counts as one's that is not
    close to a name that is known.
    """
    folders = _service_folders()
    if (PROJECT_ROOT / "config" / "services.yaml").exists():
        return names & folders
    known = folders | Settings.model_fields.keys()
    return {name for name in names if name in folders or not nearest(name, known)}


def _keys_of(section: str) -> frozenset[str]:
    """Return the keys of a section of every server; none where there is no such section."""
    found = Settings.model_fields.get(section)
    model = found.annotation if found is not None else None
    if isinstance(model, type) and issubclass(model, Section):
        return frozenset(model.model_fields)
    return frozenset()
