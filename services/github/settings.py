"""Every knob of the github service: `MCP_GITHUB_<KEY>`, or `github:` in the file."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import ServiceSettings


class GithubSettings(ServiceSettings):
    """How this service does its work, within which limits."""

    model_config = SettingsConfigDict(env_prefix="MCP_GITHUB_")
    section = "github"

    max_echo_chars: int = Field(
        1_000, ge=1, le=100_000, description="Characters that github_echo repeats at most."
    )
