"""Ranking of what schema_search found: pure, so that the order is a table of values in a test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from services.postgres.models import Hit

ObjectKind = Literal[
    "schema", "table", "view", "column", "index", "constraint", "function", "type", "trigger"
]
MAX_WORDS = 8
MAX_TEXT_CHARS = 300

# How much a kind counts when two names match equally well.
_WEIGHT = {"table": 1.0, "partitioned": 1.0, "view": 0.98, "matview": 0.98, "foreign": 0.98}
_OTHER_WEIGHT = 0.9


def words_of(q: str) -> list[str]:
    """Return the words to look for; the whole text where it has none."""
    words = re.findall(r"[^\W_]+", q)[:MAX_WORDS]
    return words or [q.strip() or q]


def ranked(rows: Iterable[Mapping[str, Any]], q: str) -> list[Hit]:
    """Return the hits, best first; equal ones by path."""
    words = [_stem(word) for word in words_of(q)]
    whole = "_".join(words)
    hits = [_hit(row, words, whole) for row in rows]
    return sorted((hit for hit in hits if hit.score > 0), key=lambda h: (-h.score, h.path))


def _hit(row: Mapping[str, Any], words: list[str], whole: str) -> Hit:
    name = row["name"].lower()
    context = " ".join(filter(None, (row["parent"], row["schema"]))).lower()
    comment = " ".join(filter(None, (row["comment"], row["detail"]))).lower()
    scores = [_word_score(word, name, context, comment) for word in words]
    score = sum(scores) / len(scores)
    if "_".join(_tokens(name)) == whole:
        score = 1.0
    weight = _WEIGHT.get(row["kind"], _OTHER_WEIGHT)
    parts = [row["schema"]]
    if row["kind"] != "schema":
        parts += [row["parent"], row["name"]]
    path = ".".join(filter(None, parts))
    if row["kind"] == "function":
        path += f"({row['detail'] or ''})"
    return Hit(
        kind=row["kind"],
        path=path,
        score=round(score * weight, 3),
        detail=_short(row["detail"]),
        comment=_short(row["comment"]),
    )


def _stem(word: str) -> str:
    """Return a word without case and plural."""
    word = word.lower()
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _tokens(text: str) -> list[str]:
    return [_stem(token) for token in re.findall(r"[^\W_]+", text)]


def _word_score(word: str, name: str, context: str, comment: str) -> float:
    tokens = _tokens(name)
    if word in tokens:
        return 0.85 + 0.1 / len(tokens)
    if name.startswith(word):
        return 0.8
    if word in name:
        return 0.7
    if word in comment:
        return 0.45
    return 0.3 if word in context else 0.0


def _short(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_TEXT_CHARS:
        return text
    return text[:MAX_TEXT_CHARS] + "…"
