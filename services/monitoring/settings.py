"""Every knob of the monitoring service: `MCP_MONITORING_<KEY>`, or `monitoring:` in the file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from core.settings import ServiceSettings


class MonitoringSettings(ServiceSettings):
    """What is watched, how often, and within which limits it is told."""

    model_config = SettingsConfigDict(env_prefix="MCP_MONITORING_")
    section = "monitoring"

    # --- the machine ---------------------------------------------------------------------------
    sample_interval_s: float = Field(
        2, ge=0.5, le=60, description="Seconds between two readings of the machine."
    )
    host_proc: str | None = Field(
        None,
        description="Where the host's /proc is mounted, in a container; without it the container "
        "is what is watched.",
    )
    watch_processes: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names of programs whose CPU, memory and restarts are recorded, "
        "comma-separated; the services of this suite always are.",
    )
    max_metrics: int = Field(
        400, ge=50, le=10_000, description="Series kept in memory, of some 40 kB each."
    )
    answer_bytes: int = Field(
        48_000, ge=4_096, le=1_000_000, description="Bytes of JSON after which a list is cut."
    )

    @field_validator("watch_processes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("host_proc")
    @classmethod
    def _is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("the path of the host's /proc is absolute, such as /host/proc")
        return value
