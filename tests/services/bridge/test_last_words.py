"""Which of a program's last lines is told, as npx, uvx, Node.js and Python really end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.children.last_words import MAX_CHARACTERS, last_words
from services.bridge.children.process import End
from services.bridge.errors import facts_of

NPM = """\
npm error code E404
npm error 404 Not Found - GET https://registry.npmjs.org/no-such-server - Not found
npm error 404
npm error 404  'no-such-server@*' is not in this registry.
npm error 404
npm error 404 Note that you can also install from a
npm error 404 tarball, folder, http url, or git folder.
npm error A complete log of this run can be found in: /home/ann/.npm/_logs/2026-01-01-debug-0.log"""
NODE = """\
node:internal/modules/cjs/loader:1210
throw err;
^
Error: Cannot find module '/opt/servers/index.js'
at Function._resolveFilename (node:internal/modules/cjs/loader:1207:15)
at node:internal/main/run_main_module:28:49 {
code: 'MODULE_NOT_FOUND',
requireStack: []
}
Node.js v22.1.0"""
PYTHON = """\
Traceback (most recent call last):
File "/srv/app/server.py", line 3, in <module>
import missing
ModuleNotFoundError: No module named 'missing'"""
GROUP = """\
+ Exception Group Traceback (most recent call last):
| File "/srv/app/server.py", line 9, in main
+-+---------------- 1 ----------------
| ValueError: the token is too short
+------------------------------------"""
UV = """\
x No solution found when resolving tool dependencies:
╰─▶ Because no-such-server was not found in the registry, it cannot be used."""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            NPM,
            "npm error 404 Not Found - GET https://registry.npmjs.org/no-such-server - Not found",
        ),
        ("npm ERR! code E401\nnpm ERR! Incorrect password.", "npm ERR! Incorrect password."),
        (NODE, "Error: Cannot find module '…/index.js'"),
        (PYTHON, "ModuleNotFoundError: No module named 'missing'"),
        (GROUP, "| ValueError: the token is too short"),
        (UV, "╰─▶ Because no-such-server was not found in the registry, it cannot be used."),
        ("fatal: no repository\nsee the manual", "fatal: no repository"),
        ("starting\nlistening on stdio", "listening on stdio"),
        ("npm error code E404", "npm error code E404"),
        ("config /etc/app/x.json, error at line 3", "config …/x.json, error at line 3"),
        ("see file:///home/ann/app/x.js:3", "see …/x.js:3"),
        ("", ""),
    ],
)
def test_the_line_that_tells_why_is_told(said: str, told: str) -> None:
    """And not where a log is, or which version of Node.js it was."""
    assert last_words(said.splitlines()) == told


@given(st.lists(st.text(max_size=400), max_size=20))
def test_whatever_a_program_says_is_one_short_line(lines: list[str]) -> None:
    """Something is told whenever something was said."""
    told = last_words(lines)
    assert len(told) <= MAX_CHARACTERS
    assert bool(told) == any(line.strip() for line in lines)


def test_clients_are_told_that_line() -> None:
    """In the sentence and as a fact of errors; a program that said nothing is told of without."""
    end = End(1, None, "exited", tuple(NODE.splitlines()))
    told = "Error: Cannot find module '…/index.js'"
    assert end.sentence() == f"exited with status 1; its last words: {told}"
    assert facts_of("x", end)["last_stderr"] == told
    assert "last_stderr" not in facts_of("x", End(1, None, "exited", ()))
