"""Which environment variables are which settings, and what a text in one means.

Lists are written `a,b` or as JSON, tables `name=value,name=value` or as JSON; of a table each entry
may have a variable of its own, `…__<NAME>`. A secret may stand in a file that `…_FILE` names, as
containers are given them. An empty variable is none.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from core.errors import did_you_mean
from core.settings.base import Key, Section, SettingsError
from core.settings.files import read_secret_file

FILE_SUFFIX = "_FILE"
NEARLY = 0.8
"""How alike two words are, of 1, that count as one misspelt: FETSH is FETCH, GIT is not GITHUB."""


@dataclass(frozen=True, slots=True, init=False)
class Also:
    """Further variables from which a setting is read, in the order in which they count."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a class.

    Attributes:
        key: Its path in a file: `("server", "port")`.
        names: Its variables, its own one first.
    """

    key: Key
    field: FieldInfo
    names: tuple[str, ...]

    @property
    def is_table(self) -> bool:
        """Whether it has named entries, each of which may have a variable."""
        return get_origin(self.field.annotation) is dict

    @property
    def is_secret(self) -> bool:
        """Whether its value, or a part of it, is one."""
        return _names_secret(self.field.annotation)

    def within(self, table: Any) -> Any:
        """Return its value in nested tables; None where they do not say."""
        for part in self.key:
            table = table.get(part) if isinstance(table, Mapping) else None
        return table


@dataclass(frozen=True, slots=True)
class Given:
    """What the environment says of a setting, or of one entry of a table.

    Attributes:
        value: A text as it stands there.
        place: The variable.
    """

    key: Key
    value: str
    place: str


def settings_of(cls: type[BaseModel], prefix: str, above: Key = ()) -> Iterator[Setting]:
    """Yield each setting of a class, and of its sections."""
    for name, field in cls.model_fields.items():
        annotation, key = field.annotation, (*above, name)
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from settings_of(annotation, prefix, key)
            continue
        own = prefix + "__".join(key).upper()
        further = [n for mark in field.metadata if isinstance(mark, Also) for n in mark.names]
        yield Setting(key, field, (own, *further))


def variables_of(cls: Any) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the variable of each setting of a settings class, with its field."""
    for setting in cls.settings():
        yield setting.names[0], setting.field


def given(
    settings: list[Setting], environ: Mapping[str, str], problems: list[str]
) -> Iterator[Given]:
    """Yield what the environment says; what cannot be had of it becomes a problem."""
    taken = {name for setting in settings for name in setting.names}
    for setting in settings:
        found = _first(setting, environ, taken, problems)
        if found is not None:
            yield found
        if setting.is_table:
            yield from _entries(setting, environ)


def unknown(settings: list[Setting], prefix: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each variable of a prefix that is no setting."""
    known = {name for setting in settings for name in setting.names}
    files = {name + FILE_SUFFIX for s in settings if s.is_secret for name in s.names}
    tables = tuple(f"{name}__" for s in settings if s.is_table for name in s.names)
    for variable in sorted(environ):
        if variable.startswith(prefix) and variable not in known | files:
            if tables and variable.startswith(tables):
                continue
            hint = did_you_mean(variable, known | files) or "docs/configuration.md lists all."
            yield f"{variable}: no such setting. {hint}"


def strays(environ: Mapping[str, str], sections: Iterable[str]) -> Iterator[str]:
    """Yield a problem for each variable that no prefix claims but that is meant for one.

    Other programs have variables that begin with MCP_, too: those only are refused whose second
    word is nearly one of ours.

    Args:
        sections: What follows MCP_ in names of settings: `http`, and the services.
    """
    words = [name.upper() for name in sections]
    for variable in sorted(environ):
        ours, _, name = variable.partition("_")
        word, _, rest = name.partition("_")
        if ours != "MCP" or not rest or word in words:
            continue
        near = next((w for w in words if _is_slip(word, w)), None)
        if near is not None:
            yield (
                f"{variable}: no such setting. Did you mean one that begins with 'MCP_{near}_'? "
                "What belongs to another program has to be kept from here."
            )


def _is_slip(word: str, meant_word: str) -> bool:
    """Return whether a word is another with a letter or two wrong, or in another order."""
    alike = difflib.SequenceMatcher(None, word, meant_word).ratio() >= NEARLY
    return alike or sorted(word) == sorted(meant_word)


def meant(annotation: Any, text: str) -> Any:
    """Return what a text means for a setting of a type; lists and tables, others as they are.

    Raises:
        SettingsError: It begins like JSON and is none, or is no table.
    """
    kind = get_origin(annotation)
    if kind not in (tuple, dict):
        return text
    if text.lstrip().startswith(("[", "{")):
        return _json(text)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return parts if kind is tuple else dict(_pair(part) for part in parts)


def _first(
    setting: Setting, environ: Mapping[str, str], taken: set[str], problems: list[str]
) -> Given | None:
    for name in setting.names:
        file_variable = name + FILE_SUFFIX
        # A setting may have a name that ends so itself: github's app_private_key_file.
        may_be_file = setting.is_secret and file_variable not in taken
        file = environ.get(file_variable) if may_be_file else None
        if environ.get(name) and file:
            problems.append(f"{name} and {file_variable} are both set; one has to go.")
            return None
        if environ.get(name):
            return Given(setting.key, environ[name], name)
        if file:
            return _from_file(setting, file, file_variable, problems)
    return None


def _from_file(setting: Setting, file: str, variable: str, problems: list[str]) -> Given | None:
    try:
        return Given(setting.key, read_secret_file(Path(file)), variable)
    except SettingsError as error:
        problems.append(f"{variable}: {error}")
        return None


def _entries(setting: Setting, environ: Mapping[str, str]) -> Iterator[Given]:
    for name in reversed(setting.names):
        for variable, value in environ.items():
            entry = variable.removeprefix(f"{name}__")
            if entry != variable and entry and value:
                yield Given((*setting.key, entry.lower()), value, variable)


def _names_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_names_secret, get_args(annotation)))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        told = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise SettingsError(f"not JSON: {told}") from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingsError("expected name=value, separated by commas, or a JSON object")
    return name.strip(), value.strip()
