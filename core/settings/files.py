"""Configuration files, YAML, TOML or JSON (also with comments) by their ending, read strictly.

YAML as its version 1.2 has it, so that `off`, `no`, `22:30` and `2027-01-01` are the texts that
they look like. What would silently mean something else is refused: keys that stand twice, aliases
(a few lines of which can stand for gigabytes), tags, keys that are no text.

Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.settings import jsonc
from core.settings.base import Key, SettingsError

MAX_FILE_BYTES = 1024 * 1024
OPEN_TO_STRANGERS = 0o007
CONTAINERS_OWN = (Path("/run/secrets"), Path("/var/run/secrets"))
"""Where Docker, Podman and Kubernetes mount secrets for one container alone, readable by all."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says.

    Attributes:
        values: Its tables, nested.
        lines: Key, as a path through the tables → line, where the format tells.
        mode: Its permissions.
    """

    path: Path
    values: dict[str, Any]
    lines: Mapping[Key, int] = field(default_factory=dict)
    mode: int = 0o600

    def place(self, key: Key) -> str:
        """Return where a key stands, or would: `mcp.yaml, line 3`."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.lines:
                return f"{self.path.name}, line {self.lines[key[:length]]}"
        return self.path.name

    def with_(self, values: dict[str, Any], under: Key = ()) -> ConfigFile:
        """Return a part of the file; `under` is where in the file its tables are."""
        lines = {k[len(under) :]: n for k, n in self.lines.items() if k[: len(under)] == under}
        return ConfigFile(self.path, values, lines, self.mode)


NO_FILE = ConfigFile(Path(), {})
"""What there is where nobody named a file."""


def read_config_file(path: str | os.PathLike[str]) -> ConfigFile:
    """Read a YAML, TOML or JSON file.

    Raises:
        SettingsError: It cannot be read, is no regular file, is too large, is not what its ending
            says, or is not a table of sections. The message repeats nothing of the content.
    """
    file = Path(path)
    if file.suffix not in (".yaml", ".yml", ".toml", ".json"):
        raise SettingsError(f"{file.name}: the name has to end in .yaml, .yml, .toml or .json")
    content, mode = read_text(file)
    try:
        if file.suffix == ".toml":
            return ConfigFile(file, tomllib.loads(content), mode=mode)
        if file.suffix == ".json":
            return _from_json(file, content, mode)
        return _from_yaml(file, content, mode)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: {error}") from None
    except jsonc.Malformed as error:
        raise SettingsError(f"{file}, {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        told = ", ".join(filter(None, (error.context, error.problem)))
        raise SettingsError(f"{file}{line}: {told}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise SettingsError(f"{file}: its lists or tables are nested too deeply") from None
    except SettingsError:
        raise
    except ValueError:  # a number of thousands of digits
        raise SettingsError(f"{file}: a number in it cannot be read") from None


def read_text(file: Path) -> tuple[str, int]:
    """Return the text of a regular file of bounded size, and the file's mode.

    Raises:
        SettingsError: There is none, or it may not or cannot be read as UTF-8.
    """
    try:
        # Without O_NONBLOCK the open of a named pipe waits for its writer.
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as opened:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise SettingsError(f"{file}: not a regular file")
            data = opened.read(MAX_FILE_BYTES + 1)
    except ValueError:
        raise SettingsError(f"{str(file)!r}: not a path") from None
    except OSError as error:
        why = "is a directory" if error.errno == errno.EISDIR else error.strerror
        raise SettingsError(f"{file}: {why or 'cannot be read'}") from None
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8-sig"), stat.S_IMODE(found.st_mode)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8 text, at byte {error.start}") from None


def read_secret_file(file: Path) -> str:
    """Return what a file of one secret holds, without the line end that editors add.

    Raises:
        SettingsError: It cannot be read, is empty, or is open to other users.
    """
    text, mode = read_text(file)
    resolved = file.resolve()
    if mode & OPEN_TO_STRANGERS and not any(resolved.is_relative_to(p) for p in CONTAINERS_OWN):
        raise SettingsError(f"{file} is open to other users (mode {mode:o}); chmod 600 {file}")
    if not text.strip():
        raise SettingsError(f"{file}: empty")
    return text.strip()


# --- JSON ----------------------------------------------------------------------------------------


def _from_json(file: Path, content: str, mode: int) -> ConfigFile:
    values, lines = jsonc.parse(content)
    if not isinstance(values, dict):
        raise SettingsError(f"{file}: expected sections with keys at the top level")
    return ConfigFile(file, values, lines, mode)


# --- YAML ----------------------------------------------------------------------------------------


def _from_yaml(file: Path, content: str, mode: int) -> ConfigFile:
    loader = _StrictLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return ConfigFile(file, {}, mode=mode)
        values = loader.construct_document(node)
    finally:
        loader.dispose()
    if not isinstance(values, dict):
        raise SettingsError(f"{file}: expected sections with keys at the top level")
    return ConfigFile(file, values, dict(_lines(node, ())), mode)


def _lines(node: yaml.Node, above: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            key = (*above, name.value)
            yield key, name.start_mark.line + 1
            yield from _lines(value, key)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            key = (*above, str(number))
            yield key, value.start_mark.line + 1
            yield from _lines(value, key)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader with the types of YAML 1.2's core schema, that refuses what misleads."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  as PyYAML declares it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # of the stubs
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not used here", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse keys that stand twice, and keys that are no text."""
        seen = set()
        for name, _ in node.value:
            if name.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(
                    None, None, "a key has to be text; put it in quotes", name.start_mark
                )
            if name.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name.value[:100]} stands twice", name.start_mark
                )
            seen.add(name.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """Return a whole number; one with leading zeros is decimal."""
        text = str(self.construct_scalar(node)).lower()
        base = {"0x": 16, "0o": 8}.get(text[:2], 10)
        return int(text, base)


_TYPES = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
for _name, (_pattern, _first) in _TYPES.items():
    _StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}",
        re.compile(rf"(?:{_pattern})\Z"),
        ["" if letter == "\0" else letter for letter in _first],
    )
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_number)
