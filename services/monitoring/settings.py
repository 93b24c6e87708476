"""Every knob of the monitoring service: `MCP_MONITORING_<KEY>`, or `monitoring:` in the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator

from core.settings import ServiceSettings
from services.monitoring import registry
from services.monitoring.alerts import Rule, rules_of
from services.monitoring.logs.sources import LogRoot
from services.monitoring.registry import Target
from services.monitoring.rules import DEFAULT_RULES


class MonitoringSettings(ServiceSettings):
    """What is watched, how often, and within which limits it is told."""

    section = "monitoring"
    one_process = "it remembers readings and tells an alert once"

    # --- the machine ---------------------------------------------------------------------------
    sample_interval_s: float = Field(
        2, ge=0.5, le=60, description="Seconds between two readings of the machine."
    )
    host_proc: str | None = Field(
        None,
        description="Where the host's /proc is mounted, in a container; without it the container "
        "is what is watched.",
    )
    watch_processes: tuple[str, ...] = Field(
        (),
        description="Names of programs whose CPU, memory and restarts are recorded, "
        "comma-separated; the services of this suite always are.",
    )
    max_metrics: int = Field(
        400, ge=50, le=10_000, description="Series kept in memory, of some 50 kB each."
    )
    answer_bytes: int = Field(
        48_000, ge=4_096, le=1_000_000, description="Bytes of JSON after which a list is cut."
    )

    # --- the services of the suite, alerts, containers -----------------------------------------
    services: tuple[Target, ...] = Field(
        (),
        description="The services to watch, as name=http://host:port, comma-separated; those of "
        "config/services.yaml on their default ports when empty. deploy.sh sets it.",
    )
    services_api_key: SecretStr | None = Field(
        None, description="The key that they ask for; this server's own when not set."
    )
    services_ca: Path | None = Field(
        None,
        description="PEM file of the authority behind their certificates; this server's own "
        "certificate, or else those the system trusts, when not set.",
    )
    probe_interval_s: float = Field(
        15, ge=1, le=600, description="Seconds between two probes of each service."
    )
    probe_time_limit_s: float = Field(
        5, ge=0.5, le=30, description="Seconds after which services_health answers, come what may."
    )
    alert_rules: tuple[Rule, ...] = Field(
        (),
        description="Rules besides the default ones, or in place of those of the same name, as a "
        'JSON list: [{"name": "disk_full", "metric": "disk.*.used_percent", "above": 95}]; also '
        "clear, below, for_s, severity, summary, advice, enabled.",
    )
    docker_socket: str = Field(
        "/var/run/docker.sock", description="Socket of the Docker engine; only asked with GET."
    )

    # --- logs ----------------------------------------------------------------------------------
    log_roots: tuple[str, ...] = Field(
        (),
        description="Where logs are besides those of this suite, as name=/path or "
        "name=/path/**/*.log, comma-separated; names may repeat. Rotated and compressed files "
        "belong to the log they were made of; links that lead out of a root are refused.",
    )
    log_containers: tuple[str, ...] = Field(
        (),
        description="Containers whose logs are read besides those of this suite, as names or "
        "globs, comma-separated; asked for over the Docker socket, where there is one.",
    )
    log_container_bytes: int = Field(
        16_000_000,
        ge=100_000,
        le=1_000_000_000,
        description="Bytes kept of the log of each container, the newest, in the state folder.",
    )
    log_max_bytes: int = Field(
        256_000_000, ge=1_000_000, le=100_000_000_000, description="Bytes that one call may read."
    )
    log_time_limit_s: float = Field(
        5, ge=0.5, le=60, description="Seconds that one call may read logs."
    )
    log_workers: int = Field(2, ge=1, le=8, description="Processes that read logs.")

    @field_validator("services", mode="before")
    @classmethod
    def _targets(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            value = [f"{name}={url}" for name, url in value.items()]
        is_told = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return registry.parse(",".join(value)) if is_told else value

    @field_validator("alert_rules")
    @classmethod
    def _named_once(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        rules_of(value, DEFAULT_RULES)
        return value

    @field_validator("log_roots")
    @classmethod
    def _are_roots(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for root in value:
            LogRoot.parse(root)
        return value

    @field_validator("host_proc")
    @classmethod
    def _is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("the path of the host's /proc is absolute, such as /host/proc")
        if value is not None and not Path(value, "stat").is_file():
            raise ValueError(f"there is no {value}/stat, so the host's /proc is not mounted there")
        return value

    @field_validator("services_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().isprintable():
            raise ValueError("it has a line break or another character that no header takes")
        return value
