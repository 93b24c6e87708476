"""The keys file: several named keys, hashed, each with its scopes, its end and its limits.

```json
{"version": 1, "keys": [{
  "name": "alice", "hash": "sha256:…", "scopes": ["postgres", "github:get_*"], "read_only": false,
  "expires": "2027-01-01T00:00:00Z", "calls_per_minute": 60, "burst": 20, "calls_per_day": null,
  "created": "2026-01-01T00:00:00Z",
  "previous": {"hash": "sha256:…", "expires": "2026-06-02T00:00:00Z"}
}]}
```

`previous` is the key that this one has replaced, for as long as both are taken. A key is 256 random
bits, so its plain SHA-256 cannot be turned back and needs neither salt nor a slow hash, which are
for passwords (OWASP Password Storage Cheat Sheet).

The file is watched. One that has become wrong, or has vanished, changes nothing: the keys that were
read last stay in force, and `/health` says so, until it is mended.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from core.context import Allowance, Principal
from core.errors import did_you_mean
from core.grants import SCOPE_RULE, Grant, is_scope
from core.settings import MAX_CALLS, SettingsError

MAX_FILE_BYTES = 4 * 1024 * 1024
CHECK_INTERVAL_S = 1.0
MAX_PROBLEMS_TOLD = 5
NAME_RULE = "1 to 64 characters of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
NEVER = float("inf")
# Principals that are not of the file.
RESERVED_NAMES = ("api-key", "anonymous")
# Others may neither read the file nor write it; a group may read it, such as a container's.
_FORBIDDEN_MODE = 0o027
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = r"^sha256:[0-9a-f]{64}$"
# What `sha256sum` makes of a variable that was not set.
_HASH_OF_NOTHING = f"sha256:{hashlib.sha256().hexdigest()}"
logger = logging.getLogger(__name__)


def is_name(text: str) -> bool:
    """Return whether a key may have this name; the `@` of OAuth's names is not in it."""
    return _NAME.fullmatch(text) is not None and text not in RESERVED_NAMES


def _require_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text[:70]!r} cannot be a key's name; {NAME_RULE}")
    return text


def _require_scope(text: str) -> str:
    if not is_scope(text):
        raise ValueError(f"{text[:100]!r} is not a scope; {SCOPE_RULE}")
    return text


def _require_content(text: str) -> str:
    if text == _HASH_OF_NOTHING:
        raise ValueError("it is the hash of an empty text; ./deploy.sh keys create makes keys")
    return text


Name = Annotated[str, AfterValidator(_require_name)]
Scope = Annotated[str, AfterValidator(_require_scope)]
Hash = Annotated[str, Field(pattern=_HASH), AfterValidator(_require_content)]


class _Member(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Previous(_Member):
    """A key that was replaced and is taken for a while longer."""

    hash: Hash
    expires: AwareDatetime


class Key(_Member):
    """One key of the file; the limits are those of `core.context.Allowance`.

    Attributes:
        expires: From when it is not taken any more; None for never.
    """

    name: Name
    hash: Hash
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    read_only: bool = False
    expires: AwareDatetime | None = None
    calls_per_minute: Annotated[float, Field(gt=0, le=MAX_CALLS)] | None = None
    burst: Annotated[int, Field(ge=1, le=MAX_CALLS)] | None = None
    calls_per_day: Annotated[int, Field(ge=1, le=MAX_CALLS)] | None = None
    created: AwareDatetime
    previous: Previous | None = None

    @property
    def principal(self) -> Principal:
        """Who calls with this key."""
        limits = (self.calls_per_minute, self.burst, self.calls_per_day)
        return Principal(
            self.name,
            authenticated=True,
            method="api_key",
            grant=Grant(None if "*" in self.scopes else self.scopes, self.read_only),
            allowance=Allowance(*limits) if any(limits) else None,
        )

    @property
    def hashes(self) -> tuple[str, ...]:
        """Its own hash, and that of the key before it."""
        return (self.hash,) if self.previous is None else (self.hash, self.previous.hash)


class Keys(_Member):
    """The whole file."""

    version: Literal[1]
    keys: tuple[Key, ...]

    @model_validator(mode="after")
    def _tell_apart(self) -> Self:
        twice = _first_repeated(key.name for key in self.keys)
        if twice is not None:
            raise ValueError(f"there are two keys of the name {twice!r}")
        if _first_repeated(text for key in self.keys for text in key.hashes) is not None:
            raise ValueError("two keys have the same hash")
        return self


class Entry(NamedTuple):
    """What a presented key is held against.

    Attributes:
        digest: SHA-256 of the key.
        ends_at: Seconds since the epoch.
    """

    digest: bytes
    principal: Principal
    ends_at: float


Ring = Mapping[bytes, Entry]
"""Entries by their digests."""
OnChange = Callable[[Ring, Ring], None]


def changes_between(before: Ring, after: Ring) -> dict[str, list[str]]:
    """Return the names of keys that were `added`, `removed` or `changed`; no empty lists."""
    old, new = _by_name(before), _by_name(after)
    found = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }
    return {what: names for what, names in found.items() if names}


def _by_name(ring: Ring) -> dict[str, set[Entry]]:
    found: dict[str, set[Entry]] = {}
    for entry in ring.values():
        found.setdefault(entry.principal.name, set()).add(entry)
    return found


def new_key() -> str:
    """Return a new key: 256 random bits behind a prefix that scanners for secrets can look for."""
    return f"mcp_{secrets.token_urlsafe(32)}"


def digest_of(key: bytes) -> bytes:
    """Return what is known of a key where it is kept."""
    return hashlib.sha256(key).digest()


def hash_of(key: str) -> str:
    """Return the `hash` member of a key."""
    return f"sha256:{digest_of(key.encode()).hex()}"


def parse(content: bytes) -> Keys:
    """Return the keys of a file's content.

    Raises:
        ValueError: Says which member of which key is wrong; repeats no hash.
    """
    try:
        return Keys.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(_explain(error)) from None


def ring_of(keys: Iterable[Key]) -> Ring:
    """Return the entries of keys, and of those before them."""
    entries = []
    for key in keys:
        principal, ends_at = key.principal, key.expires.timestamp() if key.expires else NEVER
        entries.append(Entry(_digest_in(key.hash), principal, ends_at))
        if key.previous is not None:
            ends_sooner = min(ends_at, key.previous.expires.timestamp())
            entries.append(Entry(_digest_in(key.previous.hash), principal, ends_sooner))
    return {entry.digest: entry for entry in entries}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What tells one state of a file from another; the change time is that of a chmod, too."""

    changed_ns: int
    written_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        return cls(found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)


class KeysFile:
    """The keys that are in force.

    Args:
        on_change: Told the entries of before and those of now, each time that it was read again.

    Attributes:
        ring: The entries of the last good state of the file.
        problem: What is wrong with the file now; None when nothing is.

    Raises:
        SettingsError: The file cannot be used from the start; says what to do.
    """

    def __init__(self, path: Path, on_change: OnChange | None = None) -> None:
        self._path = path
        self._on_change = on_change
        self._checked_at = float("-inf")
        self._seen: _Seen | None = None
        self.problem: str | None = None
        self.ring: Ring = {}
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise SettingsError(f"auth.keys_file: {_said(path, error)}") from None

    def tick(self, now: float) -> None:
        """Read the file again when it has changed; looks once a second.

        Args:
            now: Monotonic seconds.
        """
        if now - self._checked_at < CHECK_INTERVAL_S:
            return
        self._checked_at = now
        before = self.ring
        try:
            if _Seen.of(self._path.stat()) == self._seen:
                return
            self._read()
        except OSError as error:
            self._seen = None  # it may come back as it was
            self._note(_said(self._path, error))
        except ValueError as error:
            self._note(_said(self._path, error))
        else:
            self.problem = None
            logger.info("the keys file was read again; it has %d keys", len(self.ring))
            if self._on_change is not None:
                self._on_change(before, self.ring)

    def _read(self) -> None:
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            self._seen = _Seen.of(found)
            _require_private(self._path, found)
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
        self.ring = ring_of(parse(content).keys)

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            logger.error("the keys of before stay in force: %s", problem)


def _require_private(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if mode & _FORBIDDEN_MODE:
        raise ValueError(f"it is open to other users (mode {mode:o}); chmod 600 {path}")


def _said(path: Path, error: OSError | ValueError) -> str:
    said = error.strerror if isinstance(error, OSError) else str(error)
    return f"{path}: {said or 'cannot be read'}"


def _first_repeated(texts: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def _digest_in(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("sha256:"))


def _explain(error: ValidationError) -> str:
    details = error.errors(include_url=False, include_input=False, include_context=False)
    told = []
    for detail in details[:MAX_PROBLEMS_TOLD]:
        place, said = detail["loc"], detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            said = f"no such member. {did_you_mean(str(place[-1]), _members_at(place))}".strip()
        told.append(": ".join(filter(None, (".".join(str(part)[:80] for part in place), said))))
    return "; ".join(told)


def _members_at(place: tuple[int | str, ...]) -> Iterable[str]:
    if len(place) == 1:
        return Keys.model_fields
    return Previous.model_fields if "previous" in place[:-1] else Key.model_fields
