"""Calls of the toolset context."""

from __future__ import annotations

from tests.services.github.calls import Row

ROWS: list[Row] = []
