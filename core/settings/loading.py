"""From defaults, a file and the environment to one checked, frozen object.

Everything that is wrong is told at once, each with the variable or the line that said it. Values
are never repeated, they may be secrets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from core.errors import did_you_mean
from core.settings.base import Key, Section, SettingsError
from core.settings.files import NO_FILE, OPEN_TO_STRANGERS, ConfigFile, read_config_file
from core.settings.variables import Setting, given, meant, settings_of, unknown

M = TypeVar("M", bound="Loadable")


@dataclass(frozen=True, slots=True)
class Reading(Generic[M]):
    """What came of reading all sources.

    Attributes:
        settings: What holds; of what was wrong, the defaults.
        places: Key → the variable or the line of a file that set it.
        problems: All that was wrong.
    """

    settings: M
    places: Mapping[Key, str]
    problems: tuple[str, ...]


class Loadable(BaseModel):
    """What `Settings` and `ServiceSettings` share: three ways to load, one kind of error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def prefix(cls) -> str:
        """Return what the variables of its settings begin with."""
        raise NotImplementedError

    @classmethod
    def title(cls) -> Key:
        """Return under which table of a file its settings are."""
        return ()

    @classmethod
    def others(cls) -> list[str]:
        """Return further tables that the file may have beside those of this class."""
        return []

    @classmethod
    def strays(cls, environ: Mapping[str, str]) -> Iterator[str]:
        """Yield a problem for each variable that is nearly one of this class, or of its like."""
        yield from ()

    @classmethod
    def settings(cls) -> list[Setting]:
        """Return each setting, in order."""
        return list(settings_of(cls, cls.prefix()))

    @classmethod
    def part_of(cls, file: ConfigFile) -> ConfigFile:
        """Return the part of a configuration file that belongs to this class."""
        return file

    @classmethod
    def from_env(cls) -> Self:
        """Return the defaults under the environment."""
        return cls.from_dict({})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the defaults under `data` under the environment."""
        return _whole(cls.read(NO_FILE.with_(dict(data))))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Return the defaults under a YAML, TOML or JSON file under the environment.

        Raises:
            SettingsError: The file cannot be read, or a key or value in it is wrong.
        """
        return _whole(cls.read(cls.part_of(read_config_file(path))))

    @classmethod
    def read(cls, file: ConfigFile, environ: Mapping[str, str] = os.environ) -> Reading[Self]:
        """Return what a file of this class and the environment say, and what of it is wrong."""
        draft = _Draft(cls, file, environ)
        while True:
            try:
                settings = cls.model_validate(draft.values)
                return Reading(settings, draft.places, tuple(draft.problems))
            except ValidationError as error:
                draft.refuse(error)


def _whole(reading: Reading[M]) -> M:
    if reading.problems:
        raise SettingsError(*reading.problems)
    return reading.settings


@dataclass(slots=True)
class _Draft:
    """Values on their way from the sources to a model, and what is known of each."""

    cls: type[Loadable]
    file: ConfigFile
    environ: Mapping[str, str]
    values: dict[str, Any] = field(init=False)
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.cls.settings()
        self.values = self._of_table(self.cls, self.file.values, ())
        self._refuse_open_secrets(settings)
        for said in given(settings, self.environ, self.problems):
            self._put(said.key, said.value, said.place)
        self.problems += unknown(settings, self.cls.prefix(), self.environ)
        self.problems += self.cls.strays(self.environ)

    def _of_table(self, cls: type[BaseModel], table: Any, above: Key) -> Any:
        """Return a table of the file with its texts understood and without what it leaves empty."""
        if not isinstance(table, Mapping):
            return table
        values: dict[str, Any] = {}
        for name, value in table.items():
            key = (*above, name)
            known = cls.model_fields.get(name)
            if known is None or value is None:
                values |= {} if known else {name: value}
            elif isinstance(known.annotation, type) and issubclass(known.annotation, Section):
                values[name] = self._of_table(known.annotation, value, key)
            else:
                self._keep(values, key, value, known.annotation, self._place_in_file(key))
        return values

    def _keep(
        self, table: dict[str, Any], key: Key, value: Any, annotation: Any, place: str
    ) -> None:
        try:
            table[key[-1]] = meant(annotation, value) if isinstance(value, str) else value
            self.places[key] = place
        except SettingsError as error:
            self.problems.append(f"{self._named(key, place)}: {error}")

    def _put(self, key: Key, value: str, variable: str) -> None:
        """Put what a variable says over what the file said."""
        table, annotation = self.values, _annotation(self.cls, key)
        for part in key[:-1]:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        self._keep(table, key, value, annotation, variable)

    def _refuse_open_secrets(self, settings: list[Setting]) -> None:
        secrets = [setting for setting in settings if setting.is_secret]
        if self.file.mode & OPEN_TO_STRANGERS and any(s.within(self.values) for s in secrets):
            self.problems.append(
                f"{self.file.path} holds secrets and is open to other users "
                f"(mode {self.file.mode:o}); chmod 600 {self.file.path}"
            )

    def refuse(self, error: ValidationError) -> None:
        """Note what a validation found, and take the wrong values out."""
        for detail in error.errors(include_url=False, include_input=False):
            self.problems.append(self._explained(detail))
            if not self._take_out(detail["loc"]):
                # It is about several values, of which none alone is wrong.
                self.values, self.places = {}, {}

    def _take_out(self, location: tuple[int | str, ...]) -> bool:
        """Remove the value that a location names or lies in; False where there is none."""
        table: Any = self.values
        within: list[tuple[dict[str, Any], str]] = []
        for part in map(str, location):
            if not isinstance(table, dict) or part not in table:
                break
            within.append((table, part))
            table = table[part]
            if tuple(name for _, name in within) in self.places:
                break
        if not within:
            return False
        table, name = within[-1]
        del table[name]
        taken = tuple(name for _, name in within)
        self.places = {k: p for k, p in self.places.items() if k[: len(taken)] != taken}
        return True

    def _explained(self, detail: ErrorDetails) -> str:
        location = detail["loc"]
        key = tuple(map(str, location))
        named = self._named(key, self._variable_of(key) or self._place_in_file(key))
        if detail["type"] == "extra_forbidden":
            known = known_keys(self.cls, location) + (self.cls.others() if len(key) == 1 else [])
            guess = did_you_mean(key[-1], known)
            return f"{named}: no such setting. {guess}".strip()
        told = detail["msg"].removeprefix("Value error, ").replace("Input should", "has to", 1)
        quoted = "; put it in quotes" if detail["type"] == "string_type" else ""
        return f"{named}: {told}{quoted}"

    def _variable_of(self, key: Key) -> str:
        """Return the variable that said a value, what it lies in, or entries of it; "" for none."""
        above = (key[:length] for length in range(len(key), 0, -1))
        place = next((self.places[part] for part in above if part in self.places), None)
        within = [place] if place else [p for k, p in self.places.items() if k[: len(key)] == key]
        return ", ".join(p for p in within if key and p in self.environ)

    def _place_in_file(self, key: Key) -> str:
        return self.file.place(key) if self.file.path.name else ""

    def _named(self, key: Key, place: str) -> str:
        """Return a setting as its user knows it: the variable, or the line of the file and key."""
        if place.partition(", ")[0] in self.environ:
            return place
        dotted = ".".join((*self.cls.title(), *key)) or "settings"
        return f"{place}: {dotted}" if place else dotted


def _annotation(cls: type[BaseModel], key: Key) -> Any:
    """Return the type of a setting; of an entry of a table, the type of its values."""
    model: Any = cls
    for part in key:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation
        else:
            model = get_args(model)[1]
    return model


def known_keys(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that there are where a validation found one that is none."""
    model: Any = cls
    for part in location[:-1]:
        model = _inside(model, part)
    return list(getattr(model, "model_fields", ()))


def _inside(annotation: Any, part: int | str) -> Any:
    """Return the type of what a value of a type has at a name or a number."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields[str(part)].annotation
    inner = [arg for arg in get_args(annotation) if arg is not type(None)]
    kind = get_origin(annotation)
    if kind is dict:
        return inner[1]
    return inner[0] if kind in (tuple, list) or not inner else _inside(inner[0], part)
