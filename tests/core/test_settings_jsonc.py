"""JSON files that people write: what is taken, where a key stands, and how mistakes are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import SettingsError, read_config_file
from core.settings.jsonc import MAX_DEPTH, Malformed, parse

REFUSED = object()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(VALUES, st.sampled_from([None, 0, 3]), st.booleans())
def test_all_json_is_read_as_it_is(value: Any, indent: int | None, ascii_only: bool) -> None:
    """Whatever program wrote it."""
    assert parse(json.dumps(value, indent=indent, ensure_ascii=ascii_only))[0] == value


@given(st.text(st.sampled_from("{}[]\",:/*\\ \n\t-1.etruen'a\x00"), max_size=30))
def test_any_text_is_read_like_json_or_refused_in_words(text: str) -> None:
    """Beside comments and last commas, which json(3) refuses, nothing is taken that it refuses."""
    expected = _read(lambda: json.loads(text, object_pairs_hook=_once))
    found = _read(lambda: parse(text)[0])
    if found is REFUSED:
        assert expected is REFUSED
    else:
        extended = "," in text or "//" in text or "/*" in text
        assert found == expected or (expected is REFUSED and extended)


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ValueError:
        return REFUSED


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def test_comments_and_last_commas_are_taken() -> None:
    """Files of editors have them; within a text both are text."""
    text = """// ours
    {
      /* several
         lines */ "a": [1, 2,], // why
      "url": "http://h/*no*/", "comma": ",}",
    } /**/ // end"""
    value, lines = parse(text)
    assert value == {"a": [1, 2], "url": "http://h/*no*/", "comma": ",}"}
    assert lines == {("a",): 4, ("a", "0"): 4, ("a", "1"): 4, ("url",): 5, ("comma",): 5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1, column 1: expected"),
        ('{"a": 1', "line 1, column 8: the file ends; the { of line 1, column 1 is open"),
        ('{\n "a": [1,\n 2', "line 3, column 3: the file ends; the [ of line 2, column 7 is open"),
        ('{\n "a": 1\n "b": 2}', "line 2, column 8: a comma or } is missing here"),
        ('["a" "b"]', "line 1, column 5: a comma or ] is missing here"),
        ('{"a" 1}', "line 1, column 5: a colon is missing behind the key"),
        ("{a: 1}", "line 1, column 2: expected a key in double quotes, or }"),
        ("{,}", "line 1, column 2: expected a key in double quotes, or }"),
        ("[,]", "line 1, column 2: expected a text in double quotes"),
        ("{'a': 1}", "line 1, column 2: expected a key in double quotes, or }"),
        ("{\"a\": 'b'}", "line 1, column 7: texts stand in double quotes"),
        ('{"a": True}', "line 1, column 7: expected a text in double quotes, a number, true"),
        ('{"a": NaN}', "line 1, column 7: expected a text in double quotes"),
        ('{"a": "b\n}', "line 1, column 7: a text ends with its line"),
        ('{"a": "b', "line 1, column 7: this text has no end"),
        ('{"a": "C:\\Users"}', "line 1, column 7: a backslash within a text is written twice"),
        ('{"a": 1, "a": 2}', "line 1, column 10: a stands twice"),
        ("{} /* x", "line 1, column 4: this comment has no end"),
        ("{}\n{}", "line 2, column 1: this stands behind the end"),
        ("[" * (MAX_DEPTH + 2), "nested too deeply"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(text: str, told: str) -> None:
    """Who edits such a file need not know the words of a grammar."""
    with pytest.raises(Malformed) as refused:
        parse(text)
    assert told in str(refused.value)


def test_settings_in_json_are_refused_with_their_line(tmp_path: Path) -> None:
    """As those in YAML are."""
    file = tmp_path / "mcp.json"
    file.write_text('{\n  // where\n  "server": {\n    "prot": 1\n  }\n}')
    assert read_config_file(file).place(("server", "prot")) == "mcp.json, line 4"
    file.write_text('{"server": {"port": hunter2}}')
    with pytest.raises(SettingsError, match=r"mcp\.json, line 1, column 21: expected") as refused:
        read_config_file(file)
    assert "hunter2" not in str(refused.value)


def test_members_of_lists_in_yaml_have_their_lines_too(tmp_path: Path) -> None:
    """Arguments stand in lists."""
    file = tmp_path / "mcp.yaml"
    file.write_text("a:\n  args:\n    - x\n    - y\n")
    assert read_config_file(file).place(("a", "args", "1")) == "mcp.yaml, line 4"
