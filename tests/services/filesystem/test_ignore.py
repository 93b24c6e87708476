""".gitignore files are read as git reads them."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from services.filesystem.backend.globs import lines_of
from services.filesystem.backend.ignore import MAX_RULES, parse
from tests.conftest import missing

CASES = [
    ("*.log", "a/x.log", False, True),
    ("*.log\n!keep.log", "keep.log", False, False),
    ("!keep.log\n*.log", "keep.log", False, True),
    ("build/", "build", True, True),
    ("build/", "build", False, False),
    ("build/", "a/build", True, True),
    ("/build", "a/build", True, False),
    ("a/b", "a/b", False, True),
    ("a/b", "x/a/b", False, False),
    ("**/b", "x/y/b", False, True),
    ("a/**", "a/x/y", False, True),
    ("a/**", "a", True, False),
    ("a/**/b", "a/b", False, True),
    ("a/**/b", "a/x/y/b", False, True),
    ("# not a rule", "# not a rule", False, False),
    ("\\#x", "#x", False, True),
    ("\\!x", "!x", False, True),
    ("x  ", "x", False, True),
    ("x\\ ", "x ", False, True),
    ("x\r", "x", False, True),
    ("\ufeffx", "x", False, True),
    ("[ab].c", "b.c", False, True),
    ("[!a].c", "a.c", False, False),
    ("[a", "[a", False, False),
    ("a?c", "abc", False, True),
    ("*", "anything", False, True),
    ("/*\n!/src", "src", True, False),
    ("@(a)", "a", False, False),
    ("{a,b}", "a", False, False),
    ("a//b", "a/b", False, False),
    ("\\", "\\", False, False),
    ("/", "x", True, False),
    ("", "x", False, False),
]


def is_ignored(rules: bytes, path: str, is_directory: bool) -> bool:
    """Tell what a file at the top says of a path, whose directories are not ignored."""
    file = parse(rules)
    if file is None:
        return False
    above, slash, name = path.rpartition("/")
    ignored: set[int] = set()
    file.decide(above + slash, lines_of(["other", name + "/" * is_directory]), ignored)
    return 1 in ignored


@pytest.mark.parametrize(("rules", "path", "is_directory", "expected"), CASES)
def test_a_rule_ignores_what_gitignore_5_says(
    rules: str, path: str, is_directory: bool, expected: bool
) -> None:
    """One rule of the manual each."""
    assert is_ignored(rules.encode(), path, is_directory) is expected


@pytest.mark.parametrize(("rules", "path", "is_directory", "expected"), CASES)
def test_git_itself_says_the_same(
    tmp_path: Path, rules: str, path: str, is_directory: bool, expected: bool
) -> None:
    """The table above, asked of `git check-ignore`."""
    repository = made_repository(tmp_path)
    place = repository / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if is_directory:
        place.mkdir(exist_ok=True)
    (repository / ".gitignore").write_bytes(rules.encode())
    assert (path in ignored_by_git(repository, [path])) is expected


def test_random_rules_ignore_what_git_ignores(tmp_path: Path) -> None:
    """40 files of rules over a tree; parents decide first, as in a walk.

    Left out of the rules: `?` beside letters that take two bytes, which git compares as bytes, and
    `**` behind text in one name, of which git forgets the text when it has a slash.
    """
    chance = random.Random(20_261_120)
    repository = made_repository(tmp_path)
    names = ["a", "b", "ab", "c.c", "a.c", "(", "+a", "# a", "!b", "a b", "[", "a*", "cc", "]"]
    paths: dict[str, bool] = dict.fromkeys(names, True)
    for above in names:
        for name in names:
            paths[f"{above}/{name}"] = chance.random() < 0.3
    for path, is_directory in paths.items():
        if is_directory:
            (repository / path).mkdir(parents=True, exist_ok=True)
    atoms = ["*", "?", "a", "b", "ab", ".", "/", "**/", "/**", "[ab]", "[!a]", "\\*", "[a-c]"]
    atoms += ["(", "+", "\\ ", "#", "]", "*.c"]
    for _ in range(40):
        lines = [
            ("!" if chance.random() < 0.2 else "")
            + "".join(chance.choices(atoms, k=chance.randint(1, 5)))
            for _ in range(chance.randint(1, 4))
        ]
        lines = [line for line in lines if not quirk(line)]
        rules = "\n".join(lines).encode()
        (repository / ".gitignore").write_bytes(rules)
        ours = {path for path, is_dir in paths.items() if ignored_in_walk(rules, path, is_dir)}
        assert ours == ignored_by_git(repository, list(paths)), lines


def quirk(line: str) -> bool:
    """Tell whether a rule is one of those that git reads in its own way."""
    parts = line.lstrip("!").split("/")
    return "//" in line or any("**" in part and part.strip("*") for part in parts)


def ignored_in_walk(rules: bytes, path: str, is_directory: bool) -> bool:
    """Tell whether a path or a directory above it is ignored."""
    parts = path.split("/")
    return any(
        is_ignored(rules, "/".join(parts[:end]), is_directory if end == len(parts) else True)
        for end in range(1, len(parts) + 1)
    )


def made_repository(folder: Path) -> Path:
    """Return a new repository, or skip where git is missing."""
    if shutil.which("git") is None:
        missing("git", "apt-get install git")
    repository = folder / "repository"
    subprocess.run(["git", "init", "--quiet", repository], check=True)
    return repository


def ignored_by_git(repository: Path, paths: list[str]) -> set[str]:
    """Return which paths `git check-ignore` names."""
    command = ["git", "-C", str(repository), "check-ignore", "-z", "--stdin", "--no-index"]
    done = subprocess.run(command, input="\0".join(paths).encode(), capture_output=True)
    return set(done.stdout.decode().split("\0")) - {""}


def test_a_hostile_file_is_read_in_time_and_without_harm() -> None:
    """It may be anybody's: too many rules, deep stars, bytes that are no text."""
    assert is_ignored(b"\xff\n" * 10 + b"x\n" * (MAX_RULES * 2), "x", False)
    assert not is_ignored(b"*a" * 400, "a" * 200 + "b", False)
