"""Edits of texts: what is replaced, what is refused; all else stays the same to the byte."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidArguments, LimitExceeded, ToolError
from services.filesystem.backend.diffs import changes, lines_of, unified
from services.filesystem.backend.edits import (
    LineEdit,
    TextEdit,
    apply_lines,
    apply_patch,
    apply_texts,
)
from services.filesystem.backend.exact import exact
from services.filesystem.errors import BadPatch, EditAmbiguous, EditNotFound, Unencodable

LIMIT = 1_000_000
TOKEN = "zQ7-token-Jx9"
PIECES = st.sampled_from(
    [b"a", b"b\r\n", b"\n", b"\r", b" ", b"\xe9", b"\xc3\xa9", b"\x00", b"x\n"]
)
RAW = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join))
LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"\n", b"c\n"]), max_size=14).map(b"".join)


def texts(body: bytes, *edits: TextEdit) -> bytes:
    """Return a body after text edits."""
    return apply_texts(body, edits, max_bytes=LIMIT).body


# --- everything else stays the same ------------------------------------------------------------


@given(before=RAW, after=RAW, mark=st.sampled_from([b"", codecs.BOM_UTF8]))
def test_what_an_edit_does_not_match_stays_the_same_to_the_byte(
    before: bytes, after: bytes, mark: bytes
) -> None:
    """Whatever the bytes around are, also no text: only the token becomes the new text."""
    raw = mark + before + TOKEN.encode() + after
    found = exact(raw)
    assert found.bytes_of(found.body) == raw
    try:
        edited = texts(found.body, TextEdit(TOKEN, "new"))
    except EditNotFound:  # read as an encoding in which these bytes are other characters
        assert found.encoding not in (None, "utf-8")
        return
    assert found.bytes_of(edited) == mark + before + b"new" + after


@given(
    text=st.text(max_size=60),
    tail=st.text(max_size=60),
    charset=st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-8"]),
)
def test_marked_unicode_is_edited_in_its_own_encoding(text: str, tail: str, charset: str) -> None:
    """A file with a byte order mark keeps it, and what is put in is written as the rest."""
    mark = "\ufeff".encode(charset)
    raw = mark + (text + TOKEN + tail).encode(charset, "surrogatepass")
    found = exact(raw)
    edited = found.bytes_of(texts(found.body, TextEdit(TOKEN, "neü")))
    assert edited == mark + (text + "neü" + tail).encode(charset, "surrogatepass")


@given(lines=st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from(["\n", "\r\n"]))))
def test_only_the_changed_line_of_a_block_is_written_anew(lines: list[tuple[str, str]]) -> None:
    """In a file of mixed newlines the context in oldText keeps the newlines that it has."""
    body = "".join(text + end for text, end in [*lines, ("here", "\r\n"), *lines]).encode()
    whole = "".join(text + "\n" for text, _ in [*lines, ("here", ""), *lines])
    edited = texts(body, TextEdit(whole, whole.replace("here", "there")))
    assert edited == body.replace(b"here", b"there")


@given(a=LINES, b=LINES, context=st.integers(0, 4), cut=st.booleans())
def test_a_patch_that_was_made_here_applies_here(
    a: bytes, b: bytes, context: int, cut: bool
) -> None:
    """Diff and patch are inverse, also without a newline at the end."""
    b = b.removesuffix(b"\n") if cut else b
    diff = unified(a, b, names=("a", "b"), context=context)
    if a != b:
        assert apply_patch(a, diff.text, max_bytes=LIMIT).body == b


@given(a=LINES, b=LINES)
def test_a_diff_changes_as_few_lines_as_can_be(a: bytes, b: bytes) -> None:
    """What is common is a longest common subsequence."""
    old, new = lines_of(a), lines_of(b)
    longest = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, x in enumerate(old):
        for j, y in enumerate(new):
            longest[i + 1][j + 1] = (
                longest[i][j] + 1 if x == y else max(longest[i][j + 1], longest[i + 1][j])
            )
    found = changes(old, new)
    changed = sum(c.a_end - c.a_start + c.b_end - c.b_start for c in found)
    assert changed == len(old) + len(new) - 2 * longest[-1][-1]


def test_texts_with_nothing_in_common_are_compared_in_bounded_time() -> None:
    """Two long lists of other lines count as changed as a whole, instead of taking minutes."""
    old = [b"%d\n" % i for i in range(30_000)]
    new = [b"-%d\n" % i for i in range(30_000)]
    (change,) = changes([b"head\n", *old], [b"head\n", *new])
    assert (change.a_start, change.a_end, change.b_end) == (1, 30_001, 30_001)


# --- texts -------------------------------------------------------------------------------------

TABLE = [
    (b"one two", "two", "2", b"one 2"),
    (b"a\r\nb\r\nc\r\n", "a\nb", "A\nB", b"A\r\nB\r\nc\r\n"),
    (b"a\nb\n", "a\r\nb", "x\r\ny", b"x\ny\n"),
    (b"a\rb\rc", "b\nc", "B\nX\nc", b"a\rB\rX\rc"),
    (b"a\r\nb", "\nb", "", b"a"),
    (b"", "", "new\n", b"new\n"),
    (b"x\ty", "x\ty", "x y", b"x y"),
    (b"only", "only", "", b""),
    ("é=1".encode(), "é", "è", "è=1".encode()),
    (b"a.b axb", "a.b", "c", b"c axb"),
    (b"p\\1q", "p", "\\1", b"\\1\\1q"),
    (b"mixed\r\nend\n", "end", "end\nmore", b"mixed\r\nend\nmore\n"),
]


@pytest.mark.parametrize(("body", "old", "new", "expected"), TABLE)
def test_text_is_replaced_with_the_newlines_of_the_file(
    body: bytes, old: str, new: str, expected: bytes
) -> None:
    """LF in a request stands for whatever ends lines there; nothing in newText is special."""
    assert texts(body, TextEdit(old, new)) == expected


def test_edits_apply_one_after_the_other() -> None:
    """The second sees what the first left."""
    assert texts(b"a", TextEdit("a", "bb"), TextEdit("bb", "c")) == b"c"


@pytest.mark.parametrize(
    ("body", "lines"), [(b"x\ny\nx\n", [1, 3]), (b"xyx", [1]), (b"a\nx x", [2])]
)
def test_text_in_two_places_is_refused_with_its_lines(body: bytes, lines: list[int]) -> None:
    """Which of them was meant cannot be known; overlapping places count too."""
    with pytest.raises(EditAmbiguous) as refused:
        texts(body, TextEdit("x", "z"))
    assert refused.value.facts["places"] == 2
    assert refused.value.facts["lines"] == lines
    with pytest.raises(EditAmbiguous):
        texts(b"aaa", TextEdit("aa", "b"))


def test_count_says_how_many_places_there_have_to_be() -> None:
    """0 is any number; another number has to be right."""
    assert texts(b"a a a", TextEdit("a", "b", 0)) == b"b b b"
    assert texts(b"a a a", TextEdit("a", "b", 3)) == b"b b b"
    with pytest.raises(EditAmbiguous, match="3 places, where 2 places"):
        texts(b"a a a", TextEdit("a", "b", 2))
    with pytest.raises(EditNotFound):
        texts(b"a a a", TextEdit("z", "b", 0))


def test_empty_old_text_is_refused_in_a_file_that_holds_something() -> None:
    """It would be found everywhere."""
    with pytest.raises(InvalidArguments, match="empty"):
        texts(b"a", TextEdit("", "b"))


def test_text_that_is_not_there_is_answered_with_what_is_closest() -> None:
    """The model sees at once what it misremembered, and where."""
    body = b"".join(b"def f%d(x):\n    return x + %d\n\n" % (i, i) for i in range(50))
    with pytest.raises(EditNotFound) as refused:
        texts(body, TextEdit("def f7(x, y):\n    return x * 7\n", ""))
    closest = refused.value.facts["closest"]
    assert (closest["start_line"], closest["end_line"]) == (22, 23)
    assert "-def f7(x, y):\n" in closest["diff"]
    assert "+def f7(x):\n" in closest["diff"]


def test_text_like_nothing_in_the_file_is_answered_without_a_guess() -> None:
    """A wrong guess would mislead."""
    with pytest.raises(EditNotFound) as refused:
        texts(b"alpha\nbeta\n", TextEdit("0123456789" * 3, ""))
    assert "closest" not in refused.value.facts


def test_lines_that_differ_in_blanks_only_match_where_that_is_clear() -> None:
    """As in the official server, but with the indentation of each line, and said."""
    body = b"class A:\n    def f(self):\n        return 1  \n"
    found = apply_texts(
        body,
        [TextEdit("def f(self):\n    return 1", "def f(self):\n    x = 2\n    return x")],
        max_bytes=LIMIT,
    )
    assert found.body == b"class A:\n    def f(self):\n        x = 2\n        return x\n"
    assert "lines 2 to 3" in found.notes[0]
    tabs = texts(b"if a:\n\tif b:\n\t\tc\n", TextEdit("if b:\n        c", "if b:\n        d"))
    assert tabs == b"if a:\n\tif b:\n\t\td\n"
    with pytest.raises(EditAmbiguous):
        texts(b"  a\n    a\n", TextEdit("\ta", "b"))
    with pytest.raises(EditNotFound):
        texts(b"a\n\n\nb\n", TextEdit("   \n   ", "x"))


@given(body=LINES, old=st.text(alphabet="abc\n ", min_size=1, max_size=6))
def test_an_edit_to_itself_changes_nothing(body: bytes, old: str) -> None:
    """Whatever is matched, exactly or by lines, replacing it by itself leaves the file."""
    try:
        found = apply_texts(body, [TextEdit(old, old)], max_bytes=LIMIT)
    except (EditAmbiguous, EditNotFound):
        return
    if not found.notes:
        assert found.body == body


def test_replacements_may_not_grow_beyond_the_limit() -> None:
    """It is refused before it is built."""
    with pytest.raises(LimitExceeded):
        apply_texts(b"a" * 10_000, [TextEdit("a", "b" * 1_000, 0)], max_bytes=LIMIT)
    with pytest.raises(LimitExceeded):
        apply_texts(b"a" * 10_000, [TextEdit("a", r"\0" * 5_000, 0, regex=True)], max_bytes=LIMIT)


# --- expressions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "old", "new", "count", "expected"),
    [
        (b"foo(1)\r\nfoo(2)\r\n", r"foo\((\d)\)$", r"bar[\1]", 0, b"bar[1]\r\nbar[2]\r\n"),
        (b"a b", r"(\w) (\w)", r"\2 \1\\", 1, b"b a\\"),
        (b"a\nb\n", r"^", "> ", 0, b"> a\n> b\n> "),
        (b"k=v", r"(k)=(z)?v", r"\1:\2", 1, b"k:"),
        (b"\xe9x\xe9", r"x", "y", 1, b"\xe9y\xe9"),
        (b"a\r\nb", r"a\nb", "c\nd", 1, b"c\r\nd"),
    ],
)
def test_expressions_replace_with_their_groups(
    body: bytes, old: str, new: str, count: int, expected: bytes
) -> None:
    """RE2 over lines: ^ and $ are their ends; bytes that are no text match nothing."""
    assert texts(body, TextEdit(old, new, count, regex=True)) == expected


@pytest.mark.parametrize("new", [r"\3", r"\n", "\\", r"\g<1>"])
def test_templates_with_unknown_escapes_are_refused(new: str) -> None:
    """They would be guesses; JSON has newlines of its own."""
    with pytest.raises(InvalidArguments, match="means nothing"):
        texts(b"a", TextEdit("(a)", new, regex=True))


def test_an_expression_that_is_slow_elsewhere_is_quick() -> None:
    """RE2 does not backtrack."""
    with pytest.raises(EditNotFound):
        texts(b"a" * 50_000, TextEdit("(a+)+$b", "", regex=True))


# --- lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "edit", "expected"),
    [
        (b"a\nb\nc\n", LineEdit(2, 2, "B"), b"a\nB\nc\n"),
        (b"a\nb\nc\n", LineEdit(2, 3, ""), b"a\n"),
        (b"a\nb\nc", LineEdit(3, 3, "C"), b"a\nb\nC"),
        (b"a\nb\nc", LineEdit(3, 3, "C\n"), b"a\nb\nC\n"),
        (b"a\r\nb\r\n", LineEdit(1, 0, "0\n1"), b"0\r\n1\r\na\r\nb\r\n"),
        (b"a\nb", LineEdit(3, 2, "c"), b"a\nb\nc"),
        (b"a\nb\n", LineEdit(3, 2, "c"), b"a\nb\nc\n"),
        (b"", LineEdit(1, 0, "a"), b"a\n"),
        (b"a\rb\r", LineEdit(2, 2, "B"), b"a\rB\r"),
    ],
)
def test_lines_are_replaced_by_number(body: bytes, edit: LineEdit, expected: bytes) -> None:
    """Both ends are included; one less than the start inserts; a missing last newline stays so."""
    assert apply_lines(body, [edit], max_bytes=LIMIT).body == expected


def test_line_numbers_count_in_the_file_as_it_was() -> None:
    """So the order of the edits means nothing."""
    edits = [LineEdit(3, 3, "C\nC"), LineEdit(1, 1, ""), LineEdit(2, 1, "x")]
    assert apply_lines(b"a\nb\nc\n", edits, max_bytes=LIMIT).body == b"x\nb\nC\nC\n"


@pytest.mark.parametrize(
    "edits",
    [
        [LineEdit(4, 4, "")],
        [LineEdit(5, 4, "")],
        [LineEdit(2, 0, "")],
        [LineEdit(1, 2, ""), LineEdit(2, 3, "")],
    ],
)
def test_lines_that_are_not_there_or_overlap_are_refused(edits: list[LineEdit]) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidArguments):
        apply_lines(b"a\nb\nc\n", edits, max_bytes=LIMIT)


# --- patches -----------------------------------------------------------------------------------


def test_a_patch_of_git_applies() -> None:
    """Headers say which file it is, which the call says already."""
    patch = (
        "diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n"
        "@@ -1,3 +1,3 @@ def f():\n a\n-b\n+B\n c\n"
    )
    assert apply_patch(b"a\r\nb\r\nc\r\n", patch, max_bytes=LIMIT).body == b"a\r\nB\r\nc\r\n"


def test_a_hunk_that_moved_is_found_in_its_only_place() -> None:
    """And it is said that it was not where the patch says."""
    found = apply_patch(b"0\n0\na\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n+B\n", max_bytes=LIMIT)
    assert found.body == b"0\n0\na\nB\n"
    assert found.notes == ("Hunk 1 fits at line 3, not 1.",)


def test_a_patch_whose_counts_are_wrong_applies_by_its_lines() -> None:
    """Models miscount; the lines themselves say what is meant."""
    patch = "@@ -1,9 +1,7 @@\n a\n\n-b\n+c"
    assert apply_patch(b"a\n\nb", patch, max_bytes=LIMIT).body == b"a\n\nc"


@pytest.mark.parametrize(
    ("body", "patch", "error"),
    [
        (b"a\n", "nothing", BadPatch),
        (b"a\n", "", BadPatch),
        (
            b"a\n",
            "--- a\n+++ a\n@@ -1 +1 @@\n-a\n+b\n--- c\n+++ c\n@@ -1 +1 @@\n-a\n+b\n",
            BadPatch,
        ),
        (b"a\n", "@@ -1 +1 @@\n-a\n?b\n", BadPatch),
        (b"a\n", "@@ -1 +1 @@\n-b\n+c\n", EditNotFound),
        (b"ab\n", "@@ -1 +1 @@\n-a\n+c\n", EditNotFound),
        (b"0\na\n0\na\n", "@@ -1 +1 @@\n-a\n+c\n", EditAmbiguous),
        (b"a\n", "@@ -9,0 +10 @@\n+c\n", EditNotFound),
    ],
)
def test_patches_that_do_not_fit_are_refused(
    body: bytes, patch: str, error: type[ToolError]
) -> None:
    """A part of a line is no line, and of two places none is chosen."""
    with pytest.raises(error):
        apply_patch(body, patch, max_bytes=LIMIT)


# --- encodings ---------------------------------------------------------------------------------


def test_text_that_the_encoding_lacks_is_refused() -> None:
    """A file in Latin-1 has no Greek; what it has is written as the file writes it."""
    found = exact("caf\u00e9 = 1".encode("latin-1"), "latin-1")
    assert found.bytes_of(texts(found.body, TextEdit("café", "thé"))) == b"th\xe9 = 1"
    with pytest.raises(Unencodable):
        found.bytes_of(texts(found.body, TextEdit("1", "\u03b1")))


def test_bytes_that_are_no_text_are_edited_in_ascii_only() -> None:
    """How other characters would have to be written is not known."""
    found = exact(b"\x00\xff\xfe name=1 \x9d\x81\x00")
    assert found.encoding is None
    assert found.bytes_of(texts(found.body, TextEdit("name=1", "name=22"))) == (
        b"\x00\xff\xfe name=22 \x9d\x81\x00"
    )
    found.check_new("plain")
    with pytest.raises(Unencodable):
        found.check_new("é")


def test_half_a_character_in_a_request_is_refused() -> None:
    r"""JSON can carry a lone \ud800, which is no text."""
    with pytest.raises(InvalidArguments, match="surrogate"):
        texts(b"a", TextEdit("a", "\ud800"))
