"""Every knob of the {{name}} service: `MCP_{{NAME}}_<KEY>`, or `{{name}}:` in the file."""

from __future__ import annotations

from pydantic import Field

from core.settings import ServiceSettings


class {{Class}}Settings(ServiceSettings):
    """How this service does its work, within which limits."""

    section = "{{name}}"

    max_echo_chars: int = Field(
        1_000, ge=1, le=100_000, description="Characters that {{name}}_echo repeats at most."
    )
