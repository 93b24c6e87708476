"""The list of promises and the tests that show them belong together, in both directions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.wire.requirements import REQUIREMENTS, SECTIONS, Requirement

HERE = Path(__file__).parent


def _tests() -> dict[str, str]:
    """Return `<module>.<test>` of every wire test, with its docstring."""
    found: dict[str, str] = {}
    for file in sorted(HERE.glob("test_*.py")):
        if file.name == Path(__file__).name:
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = node.name.removeprefix("test_")
                if name != node.name:
                    key = f"{file.stem.removeprefix('test_')}.{name}"
                    found[key] = ast.get_docstring(node) or ""
    return found


TESTS = _tests()


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.id)
def test_every_promise_is_shown_by_tests_that_exist(requirement: Requirement) -> None:
    """A promise without a test is a hope; a name without a test is a typo."""
    assert requirement.tests
    assert set(requirement.tests) <= set(TESTS)
    assert requirement.sentence.endswith(".")
    assert int(requirement.id.partition(".")[0]) in SECTIONS


def test_every_test_shows_a_promise() -> None:
    """A test that belongs to no promise says something that the list should."""
    shown = {test for requirement in REQUIREMENTS for test in requirement.tests}
    assert set(TESTS) - shown == set()


def test_ids_are_unique_and_in_order() -> None:
    """So that a reader finds them."""
    ids = [tuple(int(part) for part in r.id.split(".")) for r in REQUIREMENTS]
    assert ids == sorted(set(ids))
    assert {section for section, _ in ids} == set(SECTIONS)


@pytest.mark.parametrize("name", TESTS)
def test_sections_in_docstrings_exist(name: str) -> None:
    """`§5` in a docstring is section 5 of the list."""
    assert TESTS[name]
    for section in re.findall(r"§(\d+)", TESTS[name]):
        assert int(section) in SECTIONS
