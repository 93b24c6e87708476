"""Diffs taken apart and told in pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import BadPattern
from services.github import diffs
from services.github.diffs import FileDiff, Position, Style

TWO_FILES = """\
diff --git a/src/app.py b/src/app.py
index 1111111..2222222 100644
--- a/src/app.py
+++ b/src/app.py
@@ -1,3 +1,4 @@ def first():
 one
-two
+2
+2.5
 three
@@ -10,2 +11,2 @@ def second():
-ten
+10
 eleven
diff --git a/uv.lock b/uv.lock
index 1111111..2222222 100644
--- a/uv.lock
+++ b/uv.lock
@@ -5 +5 @@
-version = "1"
+version = "2"
"""


def joined(text: str, max_bytes: int, style: Style = diffs.PLAIN) -> str:
    """Return all pages of a diff, one after the other; each has to make progress."""
    files, position, pages = diffs.parse(text), Position(), []
    while True:
        page = diffs.page(files, position, max_bytes, style)
        pages.append(page.text)
        if page.next is None:
            return "".join(pages)
        assert page.next > position
        position = page.next


def only(text: str) -> FileDiff:
    """Return the one file of a diff."""
    (file,) = diffs.parse(text)
    return file


def test_a_file_has_its_name_counts_and_hunks() -> None:
    """The counts are those of `git diff --numstat`."""
    app, lock = diffs.parse(TWO_FILES)
    assert (app.path, app.status, app.additions, app.deletions) == ("src/app.py", "modified", 3, 2)
    _, first, second = app.pieces
    assert (first.old_start, first.new_start, first.section) == (1, 1, "def first():")
    assert (second.old_start, second.new_start) == (10, 11)
    assert (lock.path, lock.additions, lock.folded) == ("uv.lock", 1, "lock file")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(
            "new file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/x y\t\n@@ -0,0 +1 @@\n+a\n",
            ("x y", None, "added", None, False),
            id="added",
        ),
        pytest.param(
            "deleted file mode 100644\nindex 1..0\n--- a/x y\t\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n",
            ("x y", None, "removed", None, False),
            id="removed",
        ),
        pytest.param(
            "similarity index 90%\nrename from old\nrename to x y\n",
            ("x y", "old", "renamed", None, False),
            id="renamed",
        ),
        pytest.param(
            "similarity index 100%\ncopy from old\ncopy to x y\n",
            ("x y", "old", "copied", None, False),
            id="copied",
        ),
        pytest.param(
            "old mode 100644\nnew mode 100755\n",
            ("x y", None, "changed", ("100644", "100755"), False),
            id="mode",
        ),
        pytest.param(
            "index 1..2 100644\nBinary files a/x y and b/x y differ\n",
            ("x y", None, "modified", None, True),
            id="binary",
        ),
        pytest.param(
            "new file mode 100644\nindex 0..1\n",
            ("x y", None, "added", None, False),
            id="empty file",
        ),
    ],
)
def test_headers_tell_what_happened_to_a_file(
    header: str, expected: tuple[str, str | None, str, tuple[str, str] | None, bool]
) -> None:
    """The words are those of GitHub's list of changed files."""
    file = only(f"diff --git a/x y b/x y\n{header}")
    assert (file.path, file.old_path, file.status, file.modes, file.binary) == expected


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (r'diff --git "a/\303\244 \"q\".txt" "b/\303\244 \"q\".txt"', 'ä "q".txt'),
        (r'diff --git a/plain "b/\tab"', "\tab"),
        ("diff --git a/a b/a b/a b/a", "a b/a"),
        ("diff --git a/ b/", ""),
    ],
)
def test_names_are_read_from_the_first_line_where_no_other_tells_them(line: str, path: str) -> None:
    """Git quotes names with unusual bytes, not those with blanks (git-config core.quotePath)."""
    assert only(f"{line}\nBinary files differ\n").path == path


def test_lines_that_look_like_headers_belong_to_the_hunk_that_counts_them() -> None:
    """A removed `-- a/x` reads like the name of a file, an added `++ b/x` too."""
    text = (
        "diff --git a/x.sql b/x.sql\n--- a/x.sql\n+++ b/x.sql\n@@ -1,2 +1,2 @@\n"
        "--- a/other\n+++ b/other\n @@ -1 +1 @@\n"
    )
    file = only(text)
    assert (file.path, file.additions, file.deletions, len(file.pieces)) == ("x.sql", 1, 1, 2)


def test_a_hunk_that_promises_more_than_it_has_ends_at_the_next_file() -> None:
    """A count that is too large must not swallow the file after it."""
    text = TWO_FILES.replace("@@ -10,2 +11,2 @@", "@@ -10,900 +11,900 @@")
    assert [file.path for file in diffs.parse(text)] == ["src/app.py", "uv.lock"]


def test_missing_newline_at_the_end_of_a_file_stays_with_its_hunk() -> None:
    r"""`\ No newline at end of file` is counted as a line of neither file."""
    text = (
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n"
        "+b\n\\ No newline at end of file\n"
    )
    file = only(text)
    assert len(file.pieces) == 2
    assert diffs.page((file,), Position(), 9_000, Style(numbered=True)).text.endswith(
        "@@ -1 +1 @@\n"
        "    1       -a\n\\ No newline at end of file\n"
        "          1 +b\n\\ No newline at end of file\n"
    )


# --- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_bytes", [1, 7, 60, 150, 300, 10_000])
def test_pages_joined_are_the_diff(max_bytes: int) -> None:
    """Nothing is lost between pages of any size, and nothing is told twice."""
    assert joined(TWO_FILES, max_bytes) == TWO_FILES


def test_a_page_ends_between_hunks_and_the_next_says_where_it_goes_on() -> None:
    """A model that sees page two alone has to know the file and its lines."""
    files = diffs.parse(TWO_FILES)
    first = diffs.page(files, Position(), 190)
    assert first.text.endswith("+2.5\n three\n")
    assert first.next == Position(0, 2)
    (app, lock) = diffs.page(files, first.next, 9_000).shown
    assert (app.file.path, app.old_line, app.new_line) == ("src/app.py", 10, 11)
    assert (lock.old_line, lock.new_line) == (None, None)


def test_no_header_stands_alone_at_the_end_of_a_page() -> None:
    """It goes to the next page, with the first of its hunks."""
    files = diffs.parse(TWO_FILES)
    header_fits = len(TWO_FILES) + TWO_FILES.count("\n") - 30
    page = diffs.page(files, Position(), header_fits)
    assert page.next == Position(1)
    assert "uv.lock" not in page.text


def test_a_hunk_larger_than_a_page_is_cut_between_lines() -> None:
    """Its rest is told with the lines it goes on at."""
    lines = "".join(f"+line {number}\n" for number in range(1, 101))
    text = f"diff --git a/n b/n\n--- /dev/null\n+++ b/n\n@@ -0,0 +1,100 @@\n{lines}"
    files = diffs.parse(text)
    first = diffs.page(files, Position(), 300)
    assert first.text.endswith("\n")
    assert first.next is not None
    (rest,) = diffs.page(files, first.next, 300).shown
    assert rest.new_line == first.text.count("\n+line") + 1


def test_numbered_lines_count_on_over_pages() -> None:
    """Whatever the size of the pages, each line has the numbers it has in the whole."""
    whole = joined(TWO_FILES, 100_000, Style(folding=False, numbered=True))
    assert "    2       -two\n          2 +2\n          3 +2.5\n    3     4  three\n" in whole
    assert joined(TWO_FILES, 120, Style(folding=False, numbered=True)) == whole


def test_lock_files_and_generated_files_are_folded_unless_asked_for() -> None:
    """Their headers stay, so that nobody overlooks that they changed."""
    files = diffs.parse(TWO_FILES)
    page = diffs.page(files, Position(), 9_000, Style(folding=True))
    assert page.text == TWO_FILES[: TWO_FILES.index("@@ -5 +5 @@")]
    assert [shown.folded for shown in page.shown] == [None, "lock file"]


# --- choosing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        ([], ["src/app.py", "src/deep/b.py", "README.md"]),
        (["src"], ["src/app.py", "src/deep/b.py"]),
        (["src/"], ["src/app.py", "src/deep/b.py"]),
        (["src/*.py"], ["src/app.py"]),
        (["src/**/*.py"], ["src/app.py", "src/deep/b.py"]),
        (["*.py"], ["src/app.py", "src/deep/b.py"]),
        (["b.py", "README.md"], ["src/deep/b.py", "README.md"]),
        (["READM?.md"], ["README.md"]),
        (["README+md"], []),
    ],
)
def test_globs_choose_files(globs: list[str], expected: list[str]) -> None:
    """As in .gitignore: without a slash at any depth, a folder with all below it."""
    names = ["src/app.py", "src/deep/b.py", "README.md"]
    files = [FileDiff(path=name, status="modified", pieces=()) for name in names]
    assert [file.path for file in diffs.chosen(files, globs)] == expected


def test_a_renamed_file_is_found_by_its_old_name_too() -> None:
    """Who asks about a path wants to learn that it is gone."""
    file = FileDiff(path="new.py", old_path="old.py", status="renamed", pieces=())
    assert diffs.chosen([file], ["old.py"]) == (file,)


@pytest.mark.parametrize("glob", ["", "/", "x" * 2_000, "\ud800"])
def test_globs_that_cannot_be_are_refused(glob: str) -> None:
    """An empty glob would fit everything or nothing; neither was meant."""
    with pytest.raises(BadPattern):
        diffs.chosen([FileDiff(path="a", status="added", pieces=())], [glob])


# --- from GitHub's list of files ----------------------------------------------------------------


def test_a_list_of_files_becomes_the_same_diff() -> None:
    """GitHub has the list where the diff as a whole is too large for it."""
    (file,) = diffs.from_files(
        [
            {
                "filename": "b",
                "previous_filename": "a",
                "status": "renamed",
                "additions": 1,
                "deletions": 1,
                "patch": "@@ -1 +1 @@\n-a\n+b",
            }
        ]
    )
    assert (file.path, file.old_path, file.status) == ("b", "a", "renamed")
    text = "".join(piece.text for piece in file.pieces)
    assert text == "diff --git a/a b/b\n--- a/a\n+++ b/b\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize(
    ("additions", "too_large", "binary"), [(9_000, True, False), (0, False, True)]
)
def test_files_without_a_patch_are_too_large_or_binary(
    additions: int, too_large: bool, binary: bool
) -> None:
    """GitHub leaves the patch out of both; only the first has changed lines."""
    told = {"filename": "a", "status": "modified", "additions": additions, "deletions": 0}
    (file,) = diffs.from_files([told])
    assert (file.too_large, file.binary) == (too_large, binary)


# --- whatever comes -----------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        "diff --git a/x b/x",
        'diff --git "a/\\303 b/x',
        "--- a/x",
        "+++ b/x",
        "--- /dev/null",
        "@@ -1,2 +1,3 @@ here",
        "@@ -0,0 +1 @@",
        "@@ -1,999999999 +1,999999999 @@",
        "@@@ -1 -1 +1 @@@",
        " context",
        "+added",
        "-removed",
        "\\ No newline at end of file",
        "rename from x",
        "rename to ",
        "Binary files differ",
        "",
        "\r",
        "ä€😀\u2028\x00\x1b",
    ]
)
DIFFS = st.one_of(
    st.lists(LINES, max_size=40).map("\n".join),
    st.text(max_size=300),
    st.integers(0, len(TWO_FILES)).map(lambda end: TWO_FILES[:end]),
)


@given(DIFFS, st.integers(1, 200), st.booleans())
@example("diff --git a/uv.lock b/uv.lock\n@@ -1 +1 @@\n", 1, True)
def test_any_text_is_told_whole_in_pages(text: str, max_bytes: int, numbered: bool) -> None:
    """Half diffs and hostile ones never raise; joined, the pages are the text again.

    Numbered lines are those of one large page, wherever the pages end.
    """
    style = Style(folding=False, numbered=numbered)
    assert joined(text, max_bytes, style) == joined(text, 10**9, style)
    assert joined(text, max_bytes) == text


@given(DIFFS, st.integers(50, 400), st.booleans(), st.booleans())
def test_no_page_is_larger_than_it_may_be(
    text: str, max_bytes: int, folding: bool, numbered: bool
) -> None:
    """Fifty bytes hold any one line's number and first character."""
    files, position = diffs.parse(text), Position()
    while True:
        page = diffs.page(files, position, max_bytes, Style(folding, numbered))
        assert diffs.json_bytes(page.text) <= max_bytes
        if page.next is None:
            break
        position = page.next


@given(st.lists(st.text(max_size=20), max_size=3), st.text(min_size=1, max_size=30))
def test_any_glob_is_used_or_refused(globs: list[str], path: str) -> None:
    """What people type as a path is no regular expression."""
    try:
        diffs.chosen([FileDiff(path=path, status="added", pieces=())], globs)
    except BadPattern:
        assert any(not glob.strip("/") for glob in globs)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*?/"), min_size=1))
def test_a_name_without_wildcards_fits_itself(name: str) -> None:
    """Nothing in a name has a meaning besides the wildcards."""
    file = FileDiff(path=name, status="added", pieces=())
    assert diffs.chosen([file], [name]) == (file,)


def test_what_git_writes_is_counted_as_git_counts(tmp_path: Path) -> None:
    """`git diff --numstat` of a folder with odd names and contents agrees."""

    def git(*arguments: str) -> str:
        options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false"]
        command = ["git", "-C", str(tmp_path), *options, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    before = {"a b": "1\n2\n3\n", "ä": "x", "gone": "-- a/x\n++ b\n", "crlf": "1\r\n2\r\n"}
    after = {"a b": "1\n2.5\n3\n\n", "ä": "y\n", "crlf": "1\r\n3\r\n", "new": "\n\n+\n"}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content.encode())
    git("add", "-A")
    git("commit", "-qm", "before")
    (tmp_path / "gone").unlink()
    for name, content in after.items():
        (tmp_path / name).write_bytes(content.encode())
    git("add", "-A")
    text = subprocess.run(
        ["git", "-C", str(tmp_path), "diff", "--cached"], check=True, capture_output=True
    ).stdout.decode()
    files = diffs.parse(text)
    counted = sorted((str(f.additions), str(f.deletions), f.path) for f in files)
    numstat = git("diff", "--cached", "--numstat", "-z").strip("\0").split("\0")
    assert counted == sorted(tuple(line.split("\t")) for line in numstat)
    assert re.search(r"@@ .* @@", text)
    assert "".join(piece.text for file in files for piece in file.pieces) == text
