"""Globs mean what they mean to the official server, whose matcher is minimatch 10 (dot: true)."""

from __future__ import annotations

import time

import pytest

from core.errors import BadPattern
from services.filesystem.backend.globs import Globs, spelt_out, tree_excludes

LIKE_THE_OFFICIAL_SERVER = [
    ("a/**", "a", False),
    ("a/**", "a/b/c", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("**", "a/b", True),
    ("**/*", "a", True),
    ("**/**", "a", True),
    ("*", "a/b", False),
    ("*", ".hidden", True),
    ("**a", "x/a", False),
    ("**a", "xa", True),
    ("a**/b", "ax/b", True),
    ("*.ext", ".ext", True),
    ("**/*.ext", "a/b.ext", True),
    ("**/.git", "x/.git", True),
    ("?", "é", True),
    ("[!a]b", "cb", True),
    ("[]a]", "]", True),
    ("[a-z]", "B", False),
    ("[z-a]", "b", False),
    ("[[:alpha:]]", "x", True),
    ("[[:digit:]x]", "x", True),
    ("[a-]", "-", True),
    ("[\\]]", "]", True),
    ("[a", "[a", True),
    ("a[/]b", "a/b", False),
    ("{a,b}.txt", "b.txt", True),
    ("a{,b}", "a", True),
    ("{1..3}", "2", True),
    ("{01..03}", "02", True),
    ("{1..5..2}", "4", False),
    ("{a..c}", "b", True),
    ("{a}", "{a}", True),
    ("{a,b", "{a,b", True),
    ("\\{a,b\\}", "{a,b}", True),
    ("+(a|b)", "abab", True),
    ("@(a|b)/c", "b/c", True),
    ("a?(b|c)", "ac", True),
    ("*(a|b)x", "x", True),
    ("(a|b)", "(a|b)", True),
    ("a\\*b", "a*b", True),
    ("!a", "b", True),
    ("!a", "a", False),
    ("!!a", "a", True),
    ("a//b", "a/b", True),
    ("a/../b", "b", True),
    ("../a", "a", False),
]


@pytest.mark.parametrize(("glob", "path", "expected"), LIKE_THE_OFFICIAL_SERVER)
def test_a_glob_matches_what_the_official_server_would_find(
    glob: str, path: str, expected: bool
) -> None:
    """Each row was asked of minimatch 10.2.6."""
    assert one_by_one(glob, path) is expected
    assert all_at_once(glob, path) is expected


def one_by_one(glob: str, path: str, *, is_directory: bool = False) -> bool:
    """Ask about one path."""
    return Globs([glob]).matches(path, path.rpartition("/")[2], is_directory)


def all_at_once(glob: str, path: str, *, is_directory: bool = False) -> bool:
    """Ask about a directory in which the path is the second of three names."""
    above, slash, name = path.rpartition("/")
    names = ["zzz\n", name, "yyy"]
    return 1 in Globs([glob]).among(above + slash, names, {1} if is_directory else set())


@pytest.mark.parametrize(
    ("glob", "path", "is_directory", "expected"),
    [
        ("build/", "build", True, True),
        ("build/", "build", False, False),
        ("**/build/", "a/build", True, True),
        ("/a", "a", False, True),
        ("./a", "a", False, True),
    ],
)
def test_a_glob_may_ask_for_a_directory_and_begin_at_the_top(
    glob: str, path: str, is_directory: bool, expected: bool
) -> None:
    """The official server finds nothing for these, which helps nobody."""
    assert one_by_one(glob, path, is_directory=is_directory) is expected
    assert all_at_once(glob, path, is_directory=is_directory) is expected


def test_names_that_are_no_text_match_a_character_for_each_byte() -> None:
    """They come as surrogates; a line's end in a name is a character like others."""
    for name in ("b\udcff", "b\n"):
        assert one_by_one("b?", name)
        assert one_by_one("**/b*", f"x/{name}")
        assert not one_by_one("b", name)


@pytest.mark.parametrize(
    "glob",
    ["", "!(a)", "a/!(b)c", "a" * 1_001, "{1..2000}", "{a,b}" * 11, "a\0b"],
)
def test_what_cannot_be_matched_is_refused(glob: str) -> None:
    """RE2 has no negative look-ahead, and braces multiply."""
    with pytest.raises(BadPattern):
        Globs([glob])


def test_a_glob_of_many_stars_takes_no_time() -> None:
    """A matcher that goes back takes 30! steps for this."""
    started = time.monotonic()
    assert not one_by_one("**/" * 30 + "*a" * 30 + "b", "a/" * 100 + "a" * 200)
    assert time.monotonic() - started < 1


def test_braces_are_spelt_out_as_a_shell_does() -> None:
    """Nested ones from the outside in."""
    assert spelt_out("a{b,c{d,e}}f") == ["abf", "acdf", "acef"]
    assert spelt_out("{3..1}") == ["3", "2", "1"]
    assert spelt_out("${a,b}") == ["${a,b}"]


def test_an_exclusion_of_a_tree_without_a_star_counts_everywhere() -> None:
    """As in the official server's directory_tree."""
    globs = Globs(tree_excludes(["node_modules", "*.pyc"]))
    assert globs.matches("a/node_modules", "node_modules", True)
    assert globs.matches("x.pyc", "x.pyc", False)
    assert not globs.matches("a/x.pyc", "x.pyc", False)
