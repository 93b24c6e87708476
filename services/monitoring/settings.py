"""Every knob of the monitoring service: `MCP_MONITORING_<KEY>`, or `monitoring:` in the file."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import ServiceSettings


class MonitoringSettings(ServiceSettings):
    """How this service does its work, within which limits."""

    model_config = SettingsConfigDict(env_prefix="MCP_MONITORING_")
    section = "monitoring"

    max_echo_chars: int = Field(
        1_000, ge=1, le=100_000, description="Characters that monitoring_echo repeats at most."
    )
