"""What the tools take and return."""

from __future__ import annotations

from pydantic import Field

from core.models import InputModel, OutputModel


class EchoArguments(InputModel):
    """What to repeat."""

    text: str = Field(min_length=1, description="What to repeat.")


class Echo(OutputModel):
    """What was said, once more."""

    text: str = Field(description="The text, cut to the service's limit.")
    truncated: bool = Field(description="Whether something was cut off.")
    uptime_s: float = Field(ge=0, description="Seconds since the service was made.")
