"""Keys files for tests, written as an operator's program would: whole, by renaming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.security.keys import hash_of

CREATED = "2026-01-01T00:00:00Z"


def key_of(name: str) -> str:
    """Return the key that a name has in tests; as long as a real one."""
    return f"mcp_{name:x<43}"


def row(name: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    """Return the row of a key; everything is allowed unless `more` says otherwise."""
    hashed = hash_of(key_of(name) if key is None else key)
    return {"name": name, "hash": hashed, "scopes": ["*"], "created": CREATED, **more}


def write_keys(path: Path, *rows: dict[str, Any], mode: int = 0o600) -> Path:
    """Write a keys file and return its path."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps({"version": 1, "keys": list(rows)}))
    new.chmod(mode)
    return new.rename(path)
