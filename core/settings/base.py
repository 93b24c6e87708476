"""What the other modules of the settings share: the base of sections, and the error."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 1 << 40
MAX_SECONDS = 366 * 86_400
MAX_COUNT = 10_000_000
MAX_CALLS = 1_000_000_000
"""Bounds of what no machine needs more of; larger numbers are mistakes, and overflow later."""
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")

Key = tuple[str, ...]
"""A setting as a path through the tables of a file: `("server", "port")`."""


class SettingsError(ValueError):
    """Settings are wrong; the message names each, where it came from and what would be right.

    Attributes:
        problems: The message, one setting at a time.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches, or is, a host."""
    if host in LOOPBACK_HOSTS:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Section(BaseModel):
    """Base of the sections: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
