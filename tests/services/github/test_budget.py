"""Answers stay within their budget, however long what GitHub sends is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from core.untrusted import Cleaned
from services.github.budget import MARK, fit
from services.github.markdown import clean_markdown
from services.github.models.common import GitHubResult
from services.github.tools import desk
from tests.services.github.calls import Row, rows
from tests.services.github.conftest import Github
from tests.services.github.doubles.loopback import Answer, Asked, serving
from tests.services.github.doubles.prism import Prism
from tests.services.github.test_every_request import EVERYTHING, made

MAX_BYTES = 64_000
LONG = 'a "long" text\n' * 14_000
TEXTS = frozenset(
    {
        *("body", "message", "description", "text", "title", "summary", "details", "help"),
        *("patch", "name", "notes", "content", "note", "bio", "company", "reason", "comment"),
        *("excerpt", "short_description", "public_description", "label"),
    }
)
"""Members that people write; others have a form that tools read."""


def swollen(value: Any, name: str = "") -> Any:
    """Return an answer whose every text is 200 kB."""
    if isinstance(value, dict):
        return {key: swollen(member, key) for key, member in value.items()}
    if isinstance(value, list):
        return [swollen(member, name) for member in value]
    return LONG if name in TEXTS and isinstance(value, str) else value


@contextmanager
def swelling(prism: Prism) -> Iterator[str]:
    """Serve Prism's answers with long texts; yields the URL."""

    def answer(asked: Asked) -> Answer:
        told = prism.answer(asked)
        try:
            return Answer(told.status, to_json(swollen(from_json(told.body))), told.headers)
        except ValueError:
            return Answer(told.status, told.body, told.headers)

    with serving(answer) as url:
        yield url


def tools() -> list[list[Row]]:
    """Return the rows of each tool."""
    ordered = sorted(rows(), key=lambda row: row.tool)
    return [list(found) for _, found in groupby(ordered, key=lambda row: row.tool)]


@pytest.mark.parametrize("table", tools(), ids=lambda table: table[0].tool)
async def test_no_answer_is_longer_than_its_budget(
    prism_unjudged: Prism, github: Github, table: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the tool: titles, bodies, messages and descriptions are all 200 kB.

    Nor does the event loop wait while one of them is cleaned.
    """
    on_the_loop: list[int] = []

    def cleaning(text: str) -> Cleaned:
        if len(text) > 10_000 and threading.current_thread() is threading.main_thread():
            on_the_loop.append(len(text))
        return clean_markdown(text)

    monkeypatch.setattr(desk, "clean_markdown", cleaning)
    with swelling(prism_unjudged) as url:
        async with github(url, **EVERYTHING, flow_guard=False) as client:
            for row in table:
                prism_unjudged.graphql.data = dict(row.graphql)
                result = await made(client, row)
                assert (result.error or {}).get("code") not in ("LIMIT_EXCEEDED", "TOOL_FAILED")
                assert len(to_json(result.structured)) <= MAX_BYTES, row.name
                assert len(to_json(result.error)) <= MAX_BYTES, row.name
    assert on_the_loop == []


class Note(GitHubResult):
    """A result with texts, some of them deep down."""

    texts: list[str]
    facts: dict[str, str]
    next_cursor: str | None = None


@given(
    texts=st.lists(st.text(max_size=3_000), max_size=30),
    facts=st.dictionaries(st.sampled_from("abc"), st.text(max_size=6_000)),
)
def test_what_is_too_long_is_cut_to_the_budget_and_what_fits_stays(
    texts: list[str], facts: dict[str, str]
) -> None:
    """Escapes count as JSON writes them; the cursor stays whole."""
    result = Note(texts=texts, facts=facts, next_cursor="c" * 300)
    before = result.model_copy(deep=True)
    fit(result, 2_000)
    assert len(to_json(result)) <= 2_000
    assert result.next_cursor == before.next_cursor
    if len(to_json(before)) <= 2_000:
        assert result == before
    else:
        assert result.warnings


def test_only_the_longest_texts_are_cut_and_say_how_much_is_missing() -> None:
    """A short text beside a long one is whole."""
    result = Note(texts=["short", "x" * 10_000], facts={})
    fit(result, 2_000)
    short, long = result.texts
    assert short == "short"
    assert long.endswith(MARK)
    shown, _, missing = long.partition("… [")
    assert len(shown) + int(missing.split()[0]) == 10_000
