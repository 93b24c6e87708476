"""What calls came back with, and what a folder holds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from core.testing import CallResult


def ok(result: CallResult) -> dict[str, Any]:
    """Return what a call that has to succeed came back with."""
    assert result.structured is not None, result.error
    return result.structured


def refused(result: CallResult) -> dict[str, Any]:
    """Return the error of a call that has to fail."""
    assert result.error is not None, result.structured
    return result.error


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def names(folder: Path) -> list[str]:
    """Return all that is below a folder, the server's own trash aside."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in found if not name.startswith(".mcp-trash"))
