"""search_files and grep_files through the public door, on real trees."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from core.patterns import required_text
from core.testing import Client
from services.filesystem.backend.contents import Wanted
from tests.conftest import missing
from tests.services.filesystem.conftest import client_of
from tests.services.filesystem.official import official


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    """Write files and the directories above them."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that succeeds and return its structured result."""
    result = await client.call(tool, **arguments)
    assert result.structured is not None, result.text
    return result.structured


async def code(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool that fails and return the error's code."""
    result = await client.call(tool, **arguments)
    assert result.error is not None, result.text
    return str(result.error["code"])


async def paths(client: Client, **arguments: Any) -> list[str]:
    """Return the paths that search_files finds below docs."""
    found = await answer(client, "search_files", **{"path": "docs", **arguments})
    return [entry["path"].removeprefix("docs/") for entry in found["entries"]]


async def lines(client: Client, **arguments: Any) -> list[tuple[str, int, str]]:
    """Return path, number and text of the lines that grep_files finds below docs."""
    found = await answer(client, "grep_files", **{"path": "docs", **arguments})
    return [
        (file["path"].removeprefix("docs/"), line["line"], line["text"])
        for file in found["files"]
        for line in file["lines"]
    ]


# --- by name -------------------------------------------------------------------------------------


async def test_a_glob_counts_from_the_path(client: Client, docs: Path) -> None:
    """*.md is what lies there, **/*.md also what lies below, hidden or not."""
    write(docs, {"a.md": "", "b.txt": "", "x/c.md": "", "x/.hidden/d.md": ""})
    assert await paths(client, pattern="*.md") == ["a.md"]
    assert await paths(client, pattern="**/*.md") == ["a.md", "x/c.md", "x/.hidden/d.md"]
    assert await paths(client, path="docs/x", pattern="*.md") == ["x/c.md"]
    assert await paths(client, pattern="**", kind="directory") == ["x", "x/.hidden"]


async def test_what_is_excluded_is_not_entered(client: Client, docs: Path) -> None:
    """A directory that a glob excludes hides all that is in it, as in the official server."""
    write(docs, {"a.md": "", "skip/b.md": "", "skip/x/c.md": "", "keep/d.md": ""})
    found = await paths(client, pattern="**/*.md", excludePatterns=["skip"])
    assert found == ["a.md", "keep/d.md"]


async def test_the_official_server_finds_the_same(client: Client, docs: Path) -> None:
    """The same calls side by side, on a tree with all kinds of names."""
    write(docs, {f"{a}/{b}.{c}": "" for a in ("x", "x/y", ".z") for b in "ab" for c in ("md", "c")})
    write(docs, {"build/a.md": "", "[b].md": "", "ä ö.md": ""})
    calls = [
        ("**/*.md", []),
        ("*.md", []),
        ("**", ["build"]),
        ("**/[ab].{md,c}", ["x/y/**"]),
        ("x/**/a.*", []),
        ("!**/*.md", ["**/.z/**"]),
    ]
    with official(docs) as server:
        for pattern, excluded in calls:
            arguments = {"path": str(docs), "pattern": pattern, "excludePatterns": excluded}
            result = server.call("search_files", **arguments)
            theirs = result["structuredContent"]["content"].splitlines()
            ours = await paths(client, pattern=pattern, excludePatterns=excluded)
            assert {f"{docs}/{path}" for path in ours} == set(theirs), pattern


async def test_entries_are_filtered_by_kind_size_and_time(client: Client, docs: Path) -> None:
    """Limits include their ends; only files have a size."""
    write(docs, {"small": "x", "large": "x" * 100, "d/old": "xx"})
    os.utime(docs / "d/old", (1_000_000_000, 1_000_000_000))
    (docs / "link").symlink_to("small")
    assert await paths(client, pattern="**", min_size=2, max_size=100) == ["large", "d/old"]
    assert await paths(client, pattern="**", kind="symlink") == ["link"]
    assert await paths(client, pattern="**", modified_before="2001-09-09T01:46:40Z") == ["d/old"]
    assert await paths(client, pattern="**", modified_after="2002-01-01", kind="file") == [
        "large",
        "small",
    ]
    assert await code(client, "search_files", path="docs", pattern="*", modified_after="soon") == (
        "INVALID_ARGUMENTS"
    )


async def test_results_are_sorted_as_asked(client: Client, docs: Path) -> None:
    """By size or time all are looked at, and the total is known."""
    write(docs, {"b": "x" * 3, "a": "x" * 5, "c/d": "x" * 4})
    for number, name in enumerate(("a", "b", "c/d")):
        os.utime(docs / name, (1_000_000_000 + number, 1_000_000_000 + number))
    by = {"pattern": "**", "kind": "file"}
    assert await paths(client, sort="size", **by) == ["b", "c/d", "a"]
    assert await paths(client, sort="size", order="desc", **by) == ["a", "c/d", "b"]
    assert await paths(client, sort="modified", order="desc", **by) == ["c/d", "b", "a"]
    assert await paths(client, order="desc", **by) == ["c/d", "b", "a"]
    found = await answer(client, "search_files", path="docs", sort="size", limit=1, **by)
    assert (found["total"], found["truncated_by"]) == (3, "limit")


@pytest.mark.parametrize("sort", ["path", "size"])
async def test_pages_join_to_the_whole(client: Client, docs: Path, sort: str) -> None:
    """Each page goes on behind the last entry of the one before."""
    write(docs, {f"{a}/{b}/{c}": "x" * len(a + b + c) for a in "ab" for b in "ab" for c in "abc"})
    whole = await paths(client, pattern="**", sort=sort)
    joined: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await answer(
            client, "search_files", path="docs", pattern="**", sort=sort, limit=5, cursor=cursor
        )
        joined += [entry["path"].removeprefix("docs/") for entry in page["entries"]]
        cursor = page["next_cursor"]
        assert page["truncated"] is (cursor is not None)
    assert joined == whole
    assert len(joined) == 18


async def test_a_cursor_belongs_to_its_arguments(client: Client, docs: Path) -> None:
    """It may be used with another limit, and with nothing else."""
    write(docs, dict.fromkeys("abcd", ""))
    page = await answer(client, "search_files", path="docs", pattern="*", limit=1)
    cursor = page["next_cursor"]
    assert await paths(client, pattern="*", limit=2, cursor=cursor) == ["b", "c"]
    assert await code(client, "search_files", path="docs", pattern="**", cursor=cursor) == (
        "CURSOR_REFUSED"
    )


async def test_a_page_goes_on_in_a_tree_that_has_changed(client: Client, docs: Path) -> None:
    """What was removed meanwhile is no trouble, not even the place of the cursor."""
    write(docs, {f"d{number}/f": "" for number in range(6)})
    page = await answer(client, "search_files", path="docs", pattern="**/f", limit=3)
    shutil.rmtree(docs / "d2")
    rest = await paths(client, pattern="**/f", limit=3, cursor=page["next_cursor"])
    assert rest == ["d3/f", "d4/f", "d5/f"]


async def test_denied_entries_are_hidden_and_not_counted(client: Client, docs: Path) -> None:
    """As if they were not there, in names and contents."""
    write(docs, {".env": "secret", "a/.ssh/id": "secret", "key.pem": "secret", "a/b": "secret"})
    found = await answer(client, "search_files", path="docs", pattern="**")
    assert [entry["path"] for entry in found["entries"]] == ["docs/a", "docs/a/b"]
    assert found["skipped"] == {}
    assert await lines(client, pattern="secret") == [("a/b", 1, "secret")]
    assert await code(client, "grep_files", path="docs/.env", pattern="x") == "PATH_DENIED"


# --- by content ----------------------------------------------------------------------------------


async def test_lines_are_found_with_number_column_and_text(client: Client, docs: Path) -> None:
    """Columns are bytes from 1, as ripgrep counts them."""
    write(docs, {"a.txt": "eins\nzwei\ndrei äxi\n", "b/c.txt": "xi"})
    found = await answer(client, "grep_files", path="docs", pattern="x?i$")
    assert found["files"][0] == {
        "path": "docs/a.txt",
        "matches": 2,
        "more": False,
        "lines": [
            {"line": 2, "column": 4, "text": "zwei", "cut": None},
            {"line": 3, "column": 8, "text": "drei äxi", "cut": None},
        ],
    }
    assert (found["matches"], found["searched"], found["total"]) == (3, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ({"pattern": "a.c", "literal": True}, [2]),
        ({"pattern": "a.c"}, [1, 2]),
        ({"pattern": "ABC", "ignore_case": True}, [1]),
        ({"pattern": "ABC", "ignore_case": True, "literal": True}, [1]),
        ({"pattern": "foo", "word": True}, [4]),
        ({"pattern": "-foo", "literal": True, "word": True}, [4]),
        ({"pattern": "b\\s+f"}, []),
        ({"pattern": "b\\s+-f", "multiline": True}, [3, 4]),
        ({"pattern": "foob\n-foo", "literal": True}, [3, 4]),
        ({"pattern": "^$"}, [5]),
        ({"pattern": "Ä", "ignore_case": True}, [6]),
        ({"pattern": "bar$"}, [4]),
    ],
)
async def test_the_pattern_means_what_its_options_say(
    client: Client, docs: Path, arguments: dict[str, Any], numbers: list[int]
) -> None:
    """Lines end in CR LF here, which is a line's end to `$`, too."""
    write(docs, {"f": "abc\r\na.c\r\nfoob\r\n-foo bar\r\n\r\nä\r\n"})
    assert [line for _, line, _ in await lines(client, **arguments)] == numbers


async def test_context_is_shown_once_and_in_order(client: Client, docs: Path) -> None:
    """Lines around matches that are close are not repeated."""
    write(docs, {"f": "\n".join(f"{n} {'x' if n in (3, 5, 12) else '-'}" for n in range(1, 16))})
    found = await lines(client, pattern="x", context=2)
    assert [number for _, number, _ in found] == [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14]
    found = await lines(client, pattern="x", before=1, after=0)
    assert [number for _, number, _ in found] == [2, 3, 4, 5, 11, 12]


async def test_context_reaches_over_the_parts_of_a_large_file(client: Client, docs: Path) -> None:
    """A file is read in parts of a MiB; numbers, context and matches do not notice."""
    rows = [f"line {number} ".ljust(60, ".") for number in range(1, 60_001)]
    marked = {1, 1_092, 17_476, 17_477, 34_953, 60_000}
    rows = [f"{row} MARK" if n in marked else row for n, row in enumerate(rows, 1)]
    write(docs, {"large": "\n".join(rows)})
    found = await lines(client, pattern="MARK", context=1)
    wanted = sorted({n + d for n in marked for d in (-1, 0, 1)} - {0, 60_001})
    assert [(number, text) for _, number, text in found] == [(n, rows[n - 1]) for n in wanted]


async def test_long_lines_are_cut_around_the_match(client: Client, docs: Path) -> None:
    """What was left out is told, and characters stay whole."""
    write(docs, {"min.js": "ä" * 50_000 + "needle" + "ö" * 50_000})
    found = await answer(client, "grep_files", path="docs", pattern="needle")
    line = found["files"][0]["lines"][0]
    before, after = line["cut"]
    assert line["column"] == 100_001
    assert "needle" in line["text"]
    assert "�" not in line["text"]
    assert before + len(line["text"].encode()) + after == 200_006


async def test_output_can_be_files_or_counts(client: Client, docs: Path) -> None:
    """Which cost less."""
    write(docs, {"a": "x\nx\n", "b": "x", "c": "y"})
    found = await answer(client, "grep_files", path="docs", pattern="x", output="files")
    assert (found["paths"], found["files"], found["returned"]) == (["docs/a", "docs/b"], [], 2)
    found = await answer(client, "grep_files", path="docs", pattern="x", output="counts")
    assert [(file["path"], file["matches"]) for file in found["files"]] == [
        ("docs/a", 2),
        ("docs/b", 1),
    ]


async def test_include_and_exclude_count_in_every_directory(client: Client, docs: Path) -> None:
    """A glob without a slash is a name, as in ripgrep's -g."""
    write(docs, {"a.py": "x", "d/b.py": "x", "d/c.txt": "x", "gen/e.py": "x", "d/gen/f.py": "x"})
    found = await lines(client, pattern="x", include=["*.py"], exclude=["gen"])
    assert [path for path, _, _ in found] == ["a.py", "d/b.py"]
    found = await lines(client, pattern="x", include=["d/*"])
    assert [path for path, _, _ in found] == ["d/b.py", "d/c.txt"]


async def test_ignored_and_binary_files_are_left_out_and_counted(
    client: Client, docs: Path
) -> None:
    """.git is never searched while .gitignore counts; other hidden files are."""
    write(
        docs,
        {
            ".gitignore": "*.log\n!keep.log\n/out/\n",
            "sub/.gitignore": "!special.log\n",
            "a.log": "x",
            "keep.log": "x",
            "sub/special.log": "x",
            "sub/b.log": "x",
            "out/c": "x",
            "sub/out/d": "x",
            ".git/config": "x",
            ".hidden": "x",
            "bin": b"x\0x",
        },
    )
    found = await answer(client, "grep_files", path="docs", pattern="x")
    assert [file["path"].removeprefix("docs/") for file in found["files"]] == [
        ".hidden",
        "keep.log",
        "sub/special.log",
        "sub/out/d",
    ]
    assert found["skipped"] == {"binary": 1, "ignored": 4}
    below = await lines(client, path="docs/sub", pattern="x")
    assert [path for path, _, _ in below] == ["sub/special.log", "sub/out/d"]
    everything = await lines(client, pattern="x", respect_gitignore=False)
    assert len(everything) == 8


async def test_charsets(client: Client, docs: Path) -> None:
    """UTF-16 is decoded by its mark; other bytes are searched as they are."""
    write(
        docs,
        {
            "utf16le": "näme\nzwei\n".encode("utf-16"),
            "utf16be": b"\xfe\xff" + "näme\n".encode("utf-16-be"),
            "bom": b"\xef\xbb\xbfname\n",
            "latin1": "näme name\n".encode("latin-1"),
        },
    )
    assert await lines(client, pattern="n.me") == [
        ("bom", 1, "name"),
        ("latin1", 1, "n�me name"),
        ("utf16be", 1, "näme"),
        ("utf16le", 1, "näme"),
    ]
    assert await lines(client, pattern="^name") == [("bom", 1, "name")]


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
@pytest.mark.parametrize("output", ["lines", "files", "counts"])
async def test_pages_of_lines_join_to_the_whole(
    client: Client, docs: Path, limit: int, output: str
) -> None:
    """Also where a page ends inside a file."""
    write(docs, {f"{a}/{b}": "x\n-\n" * 5 for a in "abc" for b in "de"})
    seen: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await answer(
            client,
            "grep_files",
            path="docs",
            pattern="x",
            limit=limit,
            output=output,
            cursor=cursor,
        )
        assert page["returned"] <= limit
        seen += [(path, 0) for path in page["paths"]]
        for file in page["files"]:
            seen += [(file["path"], line["line"]) for line in file["lines"]] or [
                (file["path"], file["matches"])
            ]
        cursor = page["next_cursor"]
    names = [f"docs/{a}/{b}" for a in "abc" for b in "de"]
    numbers = {"lines": [1, 3, 5, 7, 9], "files": [0], "counts": [5]}[output]
    assert seen == [(name, number) for name in names for number in numbers]


async def test_an_answer_stays_within_its_bytes(client: Client, docs: Path) -> None:
    """And goes on in the file, at the line, where it was cut."""
    write(docs, {f"f{n}": "".join(f"x{n} {m} {'.' * 100}\n" for m in range(200)) for n in range(3)})
    seen: list[tuple[str, int, str]] = []
    cursor: str | None = ""
    while cursor is not None:
        arguments = {"path": "docs", "pattern": "x", "max_bytes": 8_000, "cursor": cursor}
        result = await client.call("grep_files", **arguments, max_per_file=1_000, limit=10_000)
        assert len(result.text) <= 8_000
        page = result.structured
        assert page is not None
        seen += [(f["path"], x["line"], x["text"]) for f in page["files"] for x in f["lines"]]
        cursor = page["next_cursor"]
        assert page["truncated_by"] == ("bytes" if cursor else None)
    assert len(seen) == 600
    assert seen == sorted(seen, key=lambda row: (row[0], row[1]))


async def test_a_file_with_many_matches_leaves_room_for_others(client: Client, docs: Path) -> None:
    """max_per_file ends its search and says so."""
    write(docs, {"a": "x\n" * 50, "b": "x\n"})
    found = await answer(client, "grep_files", path="docs", pattern="x", max_per_file=3)
    assert [(file["matches"], file["more"]) for file in found["files"]] == [(3, True), (1, False)]
    assert found["truncated"] is False


async def test_one_file_can_be_searched(client: Client, docs: Path) -> None:
    """Its path is shown as with a directory; ignored or not."""
    write(docs, {".gitignore": "*", "d/a": "1\nx\n"})
    assert await lines(client, path="docs/d/a", pattern="x") == [("d/a", 2, "x")]
    assert await code(client, "grep_files", path="docs/none", pattern="x") == "FILE_NOT_FOUND"
    write(docs, {"bin": b"x\0x"})
    found = await answer(client, "grep_files", path="docs/bin", pattern="x")
    assert (found["returned"], found["skipped"]) == (0, {"binary": 1})
    page = await answer(client, "grep_files", path="docs/d/a", pattern="[1x]", limit=1)
    rest = await lines(client, path="docs/d/a", pattern="[1x]", cursor=page["next_cursor"])
    assert rest == [("d/a", 2, "x")]


@pytest.mark.parametrize("pattern", ["", "(", "(?=x)", r"\1", "x" * 1_001])
async def test_a_pattern_that_re2_does_not_take_is_refused(client: Client, pattern: str) -> None:
    """With its reason, before anything is searched."""
    assert await code(client, "grep_files", path="docs", pattern=pattern) == "BAD_PATTERN"


async def test_a_root_for_listing_only_is_not_searched(docs: Path) -> None:
    """Names may be searched there, contents not."""
    write(docs, {"a": "x"})
    async with client_of(docs.parent, roots=f"docs={docs}:list") as client:
        assert await paths(client, pattern="*") == ["a"]
        assert await code(client, "grep_files", path="docs", pattern="x") == "ROOT_MODE"


async def test_files_with_several_names_are_left_out_where_the_operator_says(docs: Path) -> None:
    """One of the names may lie outside."""
    write(docs, {"a": "x", "b": "x"})
    os.link(docs / "b", docs.parent / "outside")
    async with client_of(docs.parent, roots=f"docs={docs}", hard_links="refuse") as client:
        found = await answer(client, "grep_files", path="docs", pattern="x")
    assert [file["path"] for file in found["files"]] == ["docs/a"]
    assert found["skipped"] == {"hard_linked": 1}


# --- beside ripgrep ------------------------------------------------------------------------------


def grown(folder: Path, chance: random.Random) -> None:
    """Write a random tree of text files."""
    words = ["foo", "bar", "Foo", "fo", "o", "x-foo", "foo_bar", "é", " ", "\t", "123", "a.b", ""]
    for number in range(60):
        depth = chance.randint(0, 3)
        parts = [chance.choice("abc") for _ in range(depth)]
        ending = chance.choice(("\n", "\n", "\r\n"))
        rows = ["".join(chance.choices(words, k=chance.randint(0, 6))) for _ in range(40)]
        text = ending.join(rows) + chance.choice(("", ending))
        write(folder, {"/".join([*parts, f"f{number}"]): text})


PATTERNS: list[tuple[list[str], dict[str, Any]]] = [
    (["-F", "foo"], {"pattern": "foo", "literal": True}),
    (["-F", "-i", "FOO"], {"pattern": "FOO", "literal": True, "ignore_case": True}),
    (["-w", "foo"], {"pattern": "foo", "word": True}),
    (["-w", "-F", "a.b"], {"pattern": "a.b", "word": True, "literal": True}),
    ([r"fo+\s*bar"], {"pattern": r"fo+\s*bar"}),
    (["^foo"], {"pattern": "^foo"}),
    ([r"\d+.?é"], {"pattern": r"\d+.?é"}),
    (["--crlf", "o$"], {"pattern": "o$"}),
    ([r"(foo|bar)(é|x)"], {"pattern": r"(foo|bar)(é|x)"}),
    (["[^a-z]foo"], {"pattern": "[^a-z]foo"}),
    (["-C2", "x-foo"], {"pattern": "x-foo", "context": 2}),
    (["-B1", "-A3", "é123"], {"pattern": "é123", "before": 1, "after": 3}),
]


async def test_ripgrep_finds_the_same_lines(client: Client, docs: Path) -> None:
    """On random trees, with context, words, cases and both kinds of line ends."""
    if shutil.which("rg") is None:
        missing("ripgrep", "apt-get install ripgrep")
    grown(docs, random.Random(7))
    everything = {"limit": 10_000, "max_bytes": 900_000, "max_per_file": 10_000}
    for options, arguments in PATTERNS:
        ours = await lines(client, **everything, **arguments)
        assert sorted(ours) == by_ripgrep(docs, options), options
        assert ours


def by_ripgrep(folder: Path, options: list[str]) -> list[tuple[str, int, str]]:
    """Return path, number and text of the lines that ripgrep finds, sorted."""
    command = ["rg", "--no-config", "--no-heading", "-nH0", *options, str(folder)]
    done = subprocess.run(command, capture_output=True)
    rows = (
        re.fullmatch(r"([^\0]+)\0(\d+)[:-](.*?)\r?", row)
        for row in done.stdout.decode().split("\n")
    )
    return sorted(
        (row[1].removeprefix(f"{folder}/"), int(row[2]), row[3]) for row in rows if row is not None
    )


@given(
    st.sampled_from([r"\w+foo\b", "^foo", "foo$", r"\s*foo.+", "(a|b)foo", r"foo\W", "[^a]foo"]),
    st.lists(st.text("abfo \t", max_size=8), max_size=6).map("\n".join),
)
def test_lines_that_lack_the_needed_text_are_not_missed(pattern: str, text: str) -> None:
    """Looking at lines with the text only finds what looking at everything finds."""
    how = {"is_regex": True, "ignore_case": False, "word": False, "multiline": False}
    quick = Wanted.of(pattern, **how)
    thorough = dataclasses.replace(quick, text=None)
    assert quick.by_line
    assert not thorough.by_line
    data = text.encode()
    for at in range(len(data)):
        if at == 0 or data[at - 1 : at] == b"\n":
            assert quick.find(data, at) == thorough.find(data, at)


# --- text that an expression needs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\w+Marker\(", "Marker("),
        ("^def \\w+", "def "),
        ("ab*cd", "cd"),
        ("ab+cd", "ab"),
        ("foo(bar|baz)qux", "foo"),
        ("a|b", None),
        (r"\x41b", None),
        (r"\pLabc", None),
        ("(?i)abc", None),
        ("[]abc]", None),
        (r"\Qa.b\E", None),
        ("x{3}abc", "abc"),
        (".*", None),
    ],
)
def test_the_text_that_an_expression_needs_is_found(pattern: str, text: str | None) -> None:
    """None wherever it is not certain."""
    assert required_text(pattern) == text


# fmt: off
_ATOMS = st.sampled_from([
    "a", "b", "ab", ".", r"\.", r"\w", r"\d", "[ab]", "[^a]", "^", "$", "(a|b)", "(?:ab)", "(a)b",
    "|", "?", "*", "+", "{2}", "{0,1}", "{,2}", r"\b", r"\x61", r"\141", r"\pL", "[[:alpha:]]",
    r"\t", r"\{", "}", "-", "(?P<n>a)", r"\Qa\E", "(?i:a)", "]", r"\\",
])
# fmt: on


@given(st.lists(_ATOMS, max_size=6).map("".join), st.text("ab.1 \t{}-\\]A", max_size=12))
def test_no_match_lacks_the_text_that_its_expression_needs(pattern: str, text: str) -> None:
    """Otherwise files with matches would be passed over."""
    options = re2.Options()
    options.log_errors = False
    try:
        match = re2.search(pattern, text, options)
    except re2.error:
        return
    needed = required_text(pattern)
    if match is not None and needed is not None:
        assert needed in match.group()
