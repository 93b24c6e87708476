"""The error tree and its one table of wire codes.

`Wire §5` is section 5 of `tests/wire/requirements.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from http import HTTPStatus

import pytest

import core
from core import errors
from core.errors import SuiteError, did_you_mean, nearest, wire_of
from core.protocol.messages import encode_error


def tree(cls: type[SuiteError]) -> Iterator[type[SuiteError]]:
    """Yield a class and everything below it."""
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


for module in pkgutil.walk_packages(core.__path__, "core."):
    if not module.name.endswith(".__main__"):  # those are commands
        importlib.import_module(module.name)  # so that the tree is whole
CORE_CLASSES = sorted(
    {cls for cls in tree(SuiteError) if cls.__module__.startswith("core.")},
    key=lambda cls: cls.__name__,
)
SHARE_A_ROW = {"UnknownTool", "UnknownPrompt", "BadCursor", "BadRequestState"}
"""Kinds of wrong parameters: the row of `InvalidParams` is theirs."""
BRANCHES = {"core.files.errors"}
"""Modules whose classes take the rows of their ancestors, as the branches of services do."""


@pytest.mark.parametrize("cls", CORE_CLASSES)
def test_every_error_has_a_row_of_its_own(cls: type[SuiteError]) -> None:
    """Nothing falls through to an ancestor by accident."""
    assert cls in errors._WIRE or cls.__name__ in SHARE_A_ROW or cls.__module__ in BRANCHES
    row = wire_of(cls)
    assert HTTPStatus(row.status)
    assert -32768 <= row.jsonrpc <= -32000


def test_table_names_no_class_twice_and_none_that_is_gone() -> None:
    """The table and the tree agree in both directions."""
    assert set(errors._WIRE) <= set(CORE_CLASSES)


@pytest.mark.parametrize("cls", CORE_CLASSES)
def test_error_tells_code_message_hint_and_whether_to_retry(cls: type[SuiteError]) -> None:
    """On every door the same object."""
    error = cls("Something is wrong.", limit=7)
    told = error.to_dict()
    assert told["code"].isupper()
    assert told["message"] == "Something is wrong."
    assert isinstance(told["hint"], str)
    assert isinstance(told["retryable"], bool)
    assert told["limit"] == 7


def test_codes_are_unique() -> None:
    """A code names one class; NOT_FOUND is shared by the path and the thing that is not there."""
    codes: dict[str, list[str]] = {}
    for cls in CORE_CLASSES:
        codes.setdefault(cls.code, []).append(cls.__name__)
    shared = {code: names for code, names in codes.items() if len(names) > 1}
    assert shared == {"NOT_FOUND": ["NotFound", "PathNotFound"]}


@pytest.mark.parametrize("cls", CORE_CLASSES)
def test_json_rpc_codes_are_those_that_may_be_used(cls: type[SuiteError]) -> None:
    """Wire §11: nothing in -32000…-32019, of -32020…-32099 the three that are specified."""
    code = wire_of(cls).jsonrpc
    assert code not in range(-32019, -31999)
    if -32099 <= code <= -32020:
        assert code in (-32020, -32021, -32022)


def test_descendants_of_services_take_the_row_of_their_ancestor() -> None:
    """A service's branch needs no row."""

    class QueryRefused(errors.NotAllowed):
        code = "QUERY_REFUSED"

    assert wire_of(QueryRefused("No.")) == wire_of(errors.NotAllowed)
    with pytest.raises(TypeError):
        wire_of(ValueError)  # type: ignore[arg-type]  # the point of the test


def test_not_found_has_another_code_in_older_revisions() -> None:
    """Wire §9: -32002 there, -32602 in 2026-07-28."""
    error = errors.ResourceNotFound("No.", uri="x://y")
    assert b'"code":-32002' in encode_error(1, error)
    assert b'"code":-32602' in encode_error(1, error, modern=True)


@pytest.mark.parametrize(
    ("name", "guess"),
    [("ad", "add"), ("ADD", ""), ("exeucte_sql", "execute_sql"), ("zzz", ""), ("", "")],
)
def test_nearest_name_is_suggested(name: str, guess: str) -> None:
    """The nearest known name, or nothing where none is near."""
    known = ["add", "execute_sql", "list_tables"]
    assert did_you_mean(name, known) == (f"Did you mean {guess!r}?" if guess else "")


def test_very_long_names_are_looked_up_quickly() -> None:
    """Comparing names is quadratic, so only their beginning is compared."""
    assert nearest("x" * 1_000_000, ["add"] * 50) == []


def test_nearest_names_are_told_in_the_hint() -> None:
    """REST's `detail` has message and hint only, and some clients show a model nothing else."""
    error = errors.NotFound(
        "There is no table 'ordrs'.", hint="list_tables lists all.", nearest=["orders"]
    )
    assert error.hint == "Did you mean orders? list_tables lists all."
    assert error.to_dict()["nearest"] == ["orders"]
    assert errors.NotFound("Nothing.", hint="Look.", nearest=[]).hint == "Look."
