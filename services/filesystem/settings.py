"""Every knob of the filesystem service: `MCP_FILESYSTEM_<KEY>`, or `filesystem:` in the file."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import ServiceSettings


class FilesystemSettings(ServiceSettings):
    """How this service does its work, within which limits."""

    model_config = SettingsConfigDict(env_prefix="MCP_FILESYSTEM_")
    section = "filesystem"

    max_echo_chars: int = Field(
        1_000, ge=1, le=100_000, description="Characters that filesystem_echo repeats at most."
    )
