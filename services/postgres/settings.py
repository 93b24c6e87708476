"""Every knob of the postgres service: `MCP_POSTGRES_<KEY>`, or `postgres:` in the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from core.settings import MAX_COUNT, MAX_SECONDS, Also, ServiceSettings

AccessMode = Literal["restricted", "unrestricted"]


class PostgresSettings(ServiceSettings):
    """Which databases are served, in which mode, within which limits."""

    section = "postgres"

    url: Annotated[SecretStr | None, Also("DATABASE_URL", "POSTGRES_URL")] = Field(
        None,
        description="postgresql://user:password@host:port/database of the default server; "
        "parameters such as ?sslmode=verify-full are understood. Also DATABASE_URL, POSTGRES_URL.",
    )
    servers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Further servers: name → URL, as JSON or MCP_POSTGRES_SERVERS__<NAME>; called "
        "with database='name' or 'name/database'.",
    )
    databases: tuple[str, ...] = Field(
        (),
        description="Databases that may be named in calls, comma-separated; every one the role can "
        "connect to when empty.",
    )
    access_mode: AccessMode = Field(
        "restricted",
        description="restricted: reading only. unrestricted: writes too, each confirmed by a "
        "person or by the token of a dry run.",
    )
    allow_superuser: bool = Field(
        False, description="Work as a superuser role although no restriction holds for it."
    )
    pool_min: int = Field(2, ge=0, le=100, description="Connections kept open.")
    pool_max: int = Field(10, ge=1, le=100, description="Connections at most, for each server.")
    pool_wait_s: float = Field(
        5, gt=0, le=60, description="Seconds a call waits for a free connection, then POOL_BUSY."
    )
    connect_timeout_s: float = Field(
        4, gt=0, le=60, description="Seconds in which a connection has to be made."
    )
    max_databases: int = Field(
        8, ge=1, le=100, description="Databases besides the configured ones with open connections."
    )
    database_pool_max: int = Field(
        4, ge=1, le=100, description="Connections at most, for each such further database."
    )
    database_idle_s: float = Field(
        300,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds after which an unused further database is disconnected.",
    )
    statement_timeout_ms: int = Field(
        30_000, ge=1, le=3_600_000, description="Milliseconds a statement may run by default."
    )
    max_statement_timeout_ms: int = Field(
        45_000, ge=1, le=3_600_000, description="Milliseconds that timeout_ms may ask for."
    )
    lock_timeout_ms: int = Field(
        2_000, ge=1, le=600_000, description="Milliseconds a statement waits for a lock."
    )
    idle_transaction_timeout_ms: int = Field(
        60_000,
        ge=1_000,
        le=2**31 - 1,
        description="Milliseconds after which PostgreSQL ends a stuck transaction.",
    )
    search_path: str = Field(
        '"$user", public', description="search_path of every connection, as in SET search_path."
    )
    application_name: str = Field(
        "mcp-postgres",
        min_length=1,
        max_length=63,
        pattern=r"^[ -~]+$",
        description="How the connections call themselves in pg_stat_activity.",
    )
    default_rows: int = Field(
        100, ge=1, le=MAX_COUNT, description="Rows execute_sql returns by default."
    )
    max_rows: int = Field(10_000, ge=1, le=MAX_COUNT, description="Rows that max_rows may ask for.")
    default_cell_chars: int = Field(
        2_000,
        ge=10,
        le=MAX_COUNT,
        description="Characters of one value that execute_sql returns by default.",
    )
    max_cell_chars: int = Field(
        200_000, ge=10, le=MAX_COUNT, description="Characters that max_cell_chars may ask for."
    )
    answer_bytes: int = Field(
        64_000, ge=4_096, le=1_000_000, description="Bytes of JSON after which an answer is cut."
    )
    catalog_ttl_s: float = Field(
        60,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds for which the guard trusts what it knows of the functions.",
    )
    stats_interval_s: float = Field(
        60,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds between readings of pg_stat_statements for query_stats since=minutes; "
        "0 for none.",
    )
    confirm_ttl_s: float = Field(
        300,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds for which the confirm token of a dry run is accepted.",
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else _checked_url(value)

    @field_validator("servers")
    @classmethod
    def _are_named_urls(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in value:
            if not name or "/" in name or name == "default":
                raise ValueError("a server's name is not empty, has no slash and is not 'default'")
        return {name: _checked_url(url) for name, url in value.items()}

    @model_validator(mode="after")
    def _limits_fit(self) -> PostgresSettings:
        for low, high in (
            ("pool_min", "pool_max"),
            ("statement_timeout_ms", "max_statement_timeout_ms"),
            ("default_rows", "max_rows"),
            ("default_cell_chars", "max_cell_chars"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is larger than {high}")
        return self


def _checked_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("a database URL begins with postgresql:// or postgres://")
    return url
