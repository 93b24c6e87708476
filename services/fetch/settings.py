"""Every knob of the fetch service: `MCP_FETCH_<KEY>`, or `fetch:` in the file."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import ServiceSettings


class FetchSettings(ServiceSettings):
    """How this service does its work, within which limits."""

    model_config = SettingsConfigDict(env_prefix="MCP_FETCH_")
    section = "fetch"

    max_echo_chars: int = Field(
        1_000, ge=1, le=100_000, description="Characters that fetch_echo repeats at most."
    )
