"""What can be asked of `deploy.sh keys`, and what was. Standard library only."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.deploy.errors import UsageError

DEFAULT_GRACE = timedelta(hours=24)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"([0-9]{1,5})([mhd])")


@dataclass(frozen=True, kw_only=True)
class KeysRequest:
    """One `keys` command line, understood.

    Attributes:
        action: `create`, `list`, `revoke` or `rotate`.
        name: The key's; empty for `list`.
        scopes: As typed; empty for everything.
        expires: After what time, or when; None for never, or as it was.
        grace: How long a rotated key is still taken.
    """

    action: str
    name: str = ""
    scopes: tuple[str, ...] = ()
    read_only: bool = False
    expires: timedelta | datetime | None = None
    calls_per_minute: float | None = None
    burst: int | None = None
    calls_per_day: int | None = None
    grace: timedelta = DEFAULT_GRACE


@dataclass(frozen=True)
class _Option:
    """One option: the field that it sets, and how its word is read; a switch has no word."""

    field: str
    read: Callable[[str, str], Any] | None = None
    repeated: bool = False


@dataclass(frozen=True)
class _Action:
    """What follows one word after `keys`."""

    has_name: bool
    options: dict[str, _Option] = field(default_factory=dict)


def parse(words: Sequence[str]) -> KeysRequest:
    """Understand what follows `keys`.

    Raises:
        UsageError: Unknown, missing or wrong words; names the nearest known one.
    """
    rest = list(words)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    if name not in ACTIONS:
        what = f"keys knows no {name!r}." if name else "keys needs a word more."
        raise UsageError(f"{what} {_nearest(name, ACTIONS)}")
    action = ACTIONS[name]
    plain: list[str] = []
    values: dict[str, Any] = {}
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            _take_option(name, word, rest, values)
        else:
            plain.append(word)
    if len(plain) != action.has_name:
        wanted = "the name of one key" if action.has_name else "no name"
        raise UsageError(f"keys {name} takes {wanted}, not {' '.join(plain) or 'none'!r}.")
    return KeysRequest(action=name, name="".join(plain), **values)


def _take_option(action: str, word: str, rest: list[str], values: dict[str, Any]) -> None:
    known = ACTIONS[action].options
    option, equals, value = word.partition("=")
    if option not in known:
        raise UsageError(f"keys {action} does not know {option}. {_nearest(option, known)}")
    row = known[option]
    if row.read is None:
        if equals:
            raise UsageError(f"{option} takes no value.")
        values[row.field] = True
        return
    if not equals:
        value = rest.pop(0) if rest and not rest[0].startswith("--") else ""
    if row.repeated:
        values[row.field] = (*values.get(row.field, ()), row.read(option, value))
    elif row.field in values:
        raise UsageError(f"{option} is given twice.")
    else:
        values[row.field] = row.read(option, value)


def _text(option: str, value: str) -> str:
    if not value:
        raise UsageError(f"{option} needs a value.")
    return value


def _whole(option: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value) or int(value) == 0:
        raise UsageError(f"{option} needs a whole number above 0, not {value[:20]!r}.")
    return int(value)


def _number(option: str, value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value) or float(value) == 0:
        raise UsageError(f"{option} needs a number above 0, not {value!r}.")
    return float(value)


def _span(option: str, value: str) -> timedelta:
    found = _SPAN.fullmatch(value)
    if value != "0" and found is None:
        raise UsageError(f"{option} needs a time such as 30m, 24h, 90d or 0, not {value!r}.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()


def _end(option: str, value: str) -> timedelta | datetime:
    if _SPAN.fullmatch(value):
        return _span(option, value)
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} needs a time from now such as 90d, or a date such as 2027-01-31, "
            f"not {value!r}."
        ) from None


_EXPIRES = {"--expires": _Option("expires", _end)}
ACTIONS = {
    "create": _Action(
        has_name=True,
        options={
            "--scope": _Option("scopes", _text, repeated=True),
            "--read-only": _Option("read_only"),
            **_EXPIRES,
            "--calls-per-minute": _Option("calls_per_minute", _number),
            "--burst": _Option("burst", _whole),
            "--calls-per-day": _Option("calls_per_day", _whole),
        },
    ),
    "list": _Action(has_name=False),
    "revoke": _Action(has_name=True),
    "rotate": _Action(has_name=True, options={"--grace": _Option("grace", _span), **_EXPIRES}),
}


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known are: {', '.join(names)}." if names else "It has no options."
