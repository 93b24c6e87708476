"""What a search asks for: text or a pattern, conditions on fields, a level, times."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.monitoring.logs.finding import (
    EVERYTHING,
    Wanted,
    any_of,
    severe,
    wanted_regex,
    wanted_text,
)
from services.monitoring.logs.formats import Line, shown_field
from services.monitoring.logs.scan import range_of

_CONDITION = re.compile(r"\s*([\w.@/-]{1,100})\s*(!=|>=|<=|=|>|<|~)\s*(.*?)\s*", re.DOTALL)
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}
_SURE_VALUE = re.compile(r"[A-Za-z0-9_.:-]{3,}")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a field has to be.

    Attributes:
        name: Of a field, or the last part of its dotted name; `message` for the message.
        pattern: Of RE2, with the operator `~`.
    """

    name: str
    operator: str
    value: str
    pattern: Any = None

    @classmethod
    def parse(cls, text: str) -> Condition | None:
        """Return what `k=v`, `k!=v`, `k>v`, `k~regex` say; None when it is none of these.

        Raises:
            BadPattern: RE2 does not take the expression.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            return None
        name, operator, value = match.groups()
        pattern = any_of([value]) if operator == "~" else None
        return cls(name, operator, value, pattern)

    def fits(self, line: Line) -> bool:
        """Tell whether an entry has it, by what is shown of the field."""
        values = [shown_field(name, value).text for name, value in self._values(line)]
        if self.operator == "!=":
            return all(value != self.value for value in values)
        return any(self._holds(value) for value in values)

    def _values(self, line: Line) -> Iterator[tuple[str, str]]:
        for name, value in line.fields.items():
            if name == self.name or name.rpartition(".")[2] == self.name:
                yield name, value
        if self.name in ("message", "msg"):
            yield "message", line.message
        if self.name == "level" and line.level is not None:
            yield "level", line.level

    def _holds(self, value: str) -> bool:
        if self.operator == "=":
            return value == self.value or _same_number(value, self.value)
        if self.operator == "~":
            return self.pattern.search(value.encode("utf-8", "replace")) is not None
        numbers = _number(value), _number(self.value)
        if None in numbers:
            return False
        return _COMPARED[self.operator](*numbers)  # type: ignore[arg-type]  # no None is left


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _same_number(one: str, other: str) -> bool:
    number = _number(one)
    return number is not None and number == _number(other)


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, in which range.

    Attributes:
        look: What is looked for in blocks: what cannot be missing.
        text: What has to be in what is shown; None for anything.
    """

    look: Wanted
    text: Wanted | None
    conditions: tuple[Condition, ...]
    level: str | None
    exclude: Any
    since: float
    until: float

    @property
    def is_told_by_text(self) -> bool:
        """Whether an entry's text alone tells if it fits: it need not be taken apart."""
        has_range = self.since > -math.inf or self.until < math.inf
        return not (self.conditions or self.level or self.exclude is not None or has_range)

    @classmethod
    def of(cls, payload: dict[str, Any]) -> Query:
        """Return what a payload asks for.

        Raises:
            BadPattern: An expression is not valid.
        """
        text = _text_of(payload)
        level = payload.get("level")
        parsed = (Condition.parse(one) for one in payload.get("fields") or ())
        conditions = tuple(condition for condition in parsed if condition is not None)
        since, until = range_of(payload)
        return cls(
            look=text or _sure(conditions) or (severe(level) if level else EVERYTHING),
            text=text,
            conditions=conditions,
            level=level,
            exclude=any_of(payload.get("exclude") or ()),
            since=since,
            until=until,
        )


def _text_of(payload: dict[str, Any]) -> Wanted | None:
    ignore_case = bool(payload.get("ignore_case"))
    if payload.get("regex"):
        return wanted_regex(payload["regex"], ignore_case=ignore_case)
    if payload.get("text"):
        return wanted_text(payload["text"], ignore_case=ignore_case)
    return None


def _sure(conditions: Sequence[Condition]) -> Wanted | None:
    """Return what every line has that fits some condition, if it can be told without reading."""
    for condition in conditions:
        value = condition.value
        is_exact = condition.operator == "=" and condition.name != "level"
        is_plain = _SURE_VALUE.fullmatch(value) and (_number(value) is None or value.isdigit())
        if is_exact and is_plain:
            return wanted_text(value, ignore_case=False)
    return None
