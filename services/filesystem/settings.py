"""Every knob of the filesystem service: `MCP_FILESYSTEM_<KEY>`, or `filesystem:` in the file."""

from __future__ import annotations

import enum
import os.path
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from core.settings import MAX_BYTES, MAX_COUNT, ServiceSettings

ALIAS = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

DENIED = (
    ".env",
    "secrets.env",
    ".env.*",
    "!.env.example",
    "!.env.sample",
    "!.env.template",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".ssh/",
    ".gnupg/",
    ".aws/credentials",
    ".docker/config.json",
    ".kube/config",
    ".netrc",
    ".git-credentials",
    ".pgpass",
    ".my.cnf",
    ".htpasswd",
    ".git/hooks/",
    ".run/secrets/",  # where deploy.sh keeps what the services are started with
)
WRITE_DENIED = (".git",)


class Mode(enum.IntEnum):
    """What may be done below a root; each mode includes the ones before it."""

    LIST = 1
    READ = 2
    WRITE = 3
    DELETE = 4

    @property
    def word(self) -> str:
        """The mode as it is written in settings and shown: ``read``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class RootSpec:
    """One root as the operator wrote it.

    Attributes:
        path: Absolute, without `.`, `..` and doubled slashes.
    """

    alias: str
    path: str
    mode: Mode = Mode.READ


class FilesystemSettings(ServiceSettings):
    """Which directories are served, for what, within which limits."""

    section = "filesystem"
    one_process = "it keeps earlier contents for undo_change in one place and watches files once"

    @property
    def folders(self) -> tuple[str, ...]:
        """The directories of the roots."""
        return tuple(root.path for root in self.roots)

    # --- what is served ---
    roots: tuple[RootSpec, ...] = Field(
        (),
        description="The directories that are served, as docs=/srv/docs:read,work=/srv/work:write; "
        "in a file also a mapping of alias to path:mode. The modes are list, read, write and "
        "delete, each with the ones before it; read when none is given. Without roots there is "
        "one, `workspace`, an empty directory in server.state_dir in which everything may be done.",
    )
    deny: tuple[str, ...] = Field(
        DENIED,
        description="Globs, comma-separated, of what is neither shown nor opened, compared without "
        "regard to case. A name counts in every directory, one that begins with / from the root; "
        "! takes back what an earlier glob denied.",
    )
    deny_also: tuple[str, ...] = Field((), description="Further globs, after those of deny.")
    deny_write: tuple[str, ...] = Field(
        WRITE_DENIED, description="Globs of what may be read but not changed."
    )
    hard_links: Literal["allow", "refuse"] = Field(
        "allow",
        description="refuse: files with several names are not read, since one of the names may lie "
        "outside the roots.",
    )

    client_roots: Literal["narrow", "always", "ignore"] = Field(
        "narrow",
        description="What the roots mean that a client gives (roots/list): narrow uses only what "
        "lies in both, in sessions, where the client is asked once; always does so in revision "
        "2026-07-28 too, where each call is sent twice for it; ignore for clients whose paths are "
        "not those of this machine. Without roots here they mean nothing.",
    )
    confine: Literal["auto", "off", "require"] = Field(
        "auto",
        description="Whether the kernel (Landlock) refuses the service all files but those it "
        "needs; require: it does not start where that is not possible.",
    )

    # --- limits ---
    workers: int = Field(8, ge=1, le=64, description="Threads that work on the disk at once.")
    search_processes: Literal["auto"] | Annotated[int, Field(ge=0, le=16)] = Field(
        "auto",
        description="Processes, forked at the start, that look into files beside the service's "
        "own when grep_files searches; auto: one less than there are cores, at most 3.",
    )
    max_read_bytes: int = Field(
        10 * 1024 * 1024,
        ge=1024,
        le=256 * 1024 * 1024,
        description="Bytes up to which a file is read as a whole; of larger text files only parts "
        "can be read.",
    )
    max_media_bytes: int = Field(
        3_500_000,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Bytes up to which read_media_file returns images and sounds; base64 makes "
        "them a third more. Other files are returned up to three quarters of max_answer_bytes.",
    )
    answer_bytes: int = Field(
        64_000, ge=4_000, le=900_000, description="Bytes of JSON after which an answer is cut."
    )
    max_answer_bytes: int = Field(
        900_000,
        ge=4_000,
        le=64 * 1024 * 1024,
        description="Bytes that a call may ask for with max_bytes; server.max_result_bytes has to "
        "be larger.",
    )
    max_files: int = Field(
        100, ge=1, le=1_000, description="Files that read_multiple_files reads in one call."
    )
    max_depth: int = Field(
        64, ge=1, le=512, description="Directories below each other that are listed and searched."
    )
    search_time_limit_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Seconds after which a search returns what it has found; its cursor goes on. "
        "server.tool_time_limit_s has to be longer.",
    )

    # --- changes ---
    max_write_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=256 * 1024 * 1024,
        description="Bytes up to which a file is written, edited and appended to; what one call "
        "brings is bounded by server.max_body_bytes too.",
    )
    fsync: bool = Field(
        True, description="Have each change on the disk before it is answered, against power loss."
    )
    max_tree_entries: int = Field(
        50_000,
        ge=1,
        le=MAX_COUNT,
        description="Entries of a directory up to which it is copied, moved or deleted as a whole.",
    )
    max_copy_bytes: int = Field(
        1024**3,
        ge=1024,
        le=MAX_BYTES,
        description="Bytes up to which a file or directory is copied.",
    )
    confirm_entries: int = Field(
        20,
        ge=0,
        le=MAX_COUNT,
        description="A directory with more entries than this is only deleted with confirm_count.",
    )
    history_changes: int = Field(
        500, ge=0, le=MAX_COUNT, description="Changes that undo_change can take back; 0 for none."
    )
    history_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        le=MAX_BYTES,
        description="Bytes of earlier contents kept for undo_change, in server.state_dir.",
    )
    trash_bytes: int = Field(
        1024**3,
        ge=0,
        le=MAX_BYTES,
        description="Bytes of deleted files kept for undo_change, in .mcp-trash of each root.",
    )
    trash_days: float = Field(
        7,
        gt=0,
        le=3660,
        description="Days after which deleted files and earlier contents are dropped.",
    )

    @field_validator("roots", mode="before")
    @classmethod
    def _read_roots(cls, value: Any) -> Any:
        return apart(tuple(_specs(value)))

    @field_validator("deny", "deny_also", "deny_write", mode="before")
    @classmethod
    def _read_globs(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not all(isinstance(g, str) for g in value):
            raise ValueError("expected globs, separated by commas")
        return tuple(glob.strip() for glob in value if glob.strip())


def _specs(value: Any) -> Iterable[RootSpec]:
    """Yield the roots that a setting names: a list of texts, or a mapping by alias."""
    if isinstance(value, Mapping):
        for alias, what in value.items():
            yield _spec(str(alias), what)
        return
    if not isinstance(value, list | tuple):
        raise ValueError("expected alias=/path:mode, separated by commas, or a mapping")
    for item in value:
        if isinstance(item, RootSpec):
            yield item
        elif str(item).strip():
            alias, equals, what = str(item).strip().partition("=")
            yield _spec(alias, what) if equals and "/" not in alias else _spec(None, str(item))


def _spec(alias: str | None, what: Any) -> RootSpec:
    """Return one root; `what` is path:mode, or a mapping of both (for paths with odd letters)."""
    if isinstance(what, Mapping):
        if unknown := set(what) - {"path", "mode"}:
            raise ValueError(f"a root has path and mode, not {', '.join(map(str, unknown))}")
        path, word = str(what.get("path", "")), str(what.get("mode", "read"))
    else:
        path, colon, word = str(what).strip().rpartition(":")
        if not colon or "/" in word:
            path, word = str(what).strip(), "read"
    path = os.path.normpath(os.path.expanduser(path.strip())) if path.strip() else ""
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"the path of a root has to be absolute, unlike {path or 'an empty one'}")
    path = path.replace("//", "/", 1) if path.startswith("//") else path
    return RootSpec(_alias(alias, path), path, _mode(word))


def _mode(word: str) -> Mode:
    modes = {mode.word: mode for mode in Mode}
    if word.strip().lower() not in modes:
        raise ValueError(f"{word[:20]!r} is not a mode: {', '.join(modes)}")
    return modes[word.strip().lower()]


def _alias(alias: str | None, path: str) -> str:
    name = (PurePosixPath(path).name.lower() if alias is None else alias).strip()
    if not ALIAS.fullmatch(name):
        raise ValueError(
            f"{name[:40]!r} is not an alias: up to 32 of a-z, 0-9, _ and -, as in docs=/srv/docs"
        )
    return name


def apart(specs: tuple[RootSpec, ...]) -> tuple[RootSpec, ...]:
    """Return roots that have different aliases and share no directory.

    Raises:
        ValueError: Two have one alias, or one lies in the other, where their modes would differ.
    """
    aliases = [spec.alias for spec in specs]
    if twice := sorted({alias for alias in aliases if aliases.count(alias) > 1}):
        raise ValueError(f"two roots are called {twice[0]}")
    for outer, inner in permutations(specs, 2):
        if PurePosixPath(inner.path).is_relative_to(outer.path):
            raise ValueError(
                f"the root {inner.alias} lies in the root {outer.alias}; roots have to be apart"
            )
    return specs
