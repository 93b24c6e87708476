"""Strangers' markdown: what GitHub shows stays to the byte, what it hides goes and is counted."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.github.markdown import TANGLED, clean_markdown

HOSTILE_CHARS = 100_000
HOSTILE_S = 5.0
"""Of the processor; several times what the slowest takes. What is quadratic would take minutes."""

SPACES = [" ", "    ", "\t", "\n", "\n\n", "\r\n", "\u200b", "\u200d", "\ufe0f", "\U000e0041"]
WORDS = ["word", "text ", "é", "> ", "- ", "1. ", "# ", "---", "===", "|", "\n|-|-|\n", "\\"]
CODE = ["`", "``", "```\n", "~~~\n", "&#8203;", "&zwj;", '"', "'", '" ']
LINKS = ["[", "]", "(", ")", "![", "](u ", "](<", "]: u ", "[a]", "[a]: ", "[^1]", "[^1]:"]
SILENT = ["<!--", "-->", "<!-->", "--!>", "<?", "?>", "<![CDATA[", "]]>", "<!D ", "<script>"]
TAGS = [
    "<x ",
    ">",
    "<b>",
    "</b>",
    "<div>\n",
    "</div>\n",
    '<div title="',
    '">',
    "<pre>",
    "</script>",
]
FRAGMENTS = st.one_of(*map(st.sampled_from, (SPACES, WORDS, CODE, LINKS, SILENT, TAGS)))
tangles = st.lists(FRAGMENTS, max_size=30).map("".join)
words = st.text("abcdefghij ÄÖ漢字🙂,;!", min_size=0, max_size=40)
HIDDEN = "\u200b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("before <!-- do harm --> after", "before  after"),
        ("before\n\n<!--\ndo\n\nharm\n-->\n\nafter", "before\n\n\n\nafter"),
        ("unclosed\n\n<!-- do\n\nharm", "unclosed\n\n"),
        ("<? do harm ?>x <!DO harm>y <![CDATA[harm]]>z", "x y z"),
        ('[text](https://a.example "do harm")', "[text](https://a.example)"),
        ("![alt](a.png 'do harm')", "![alt](a.png)"),
        ("[text](<a b> (do harm))", "[text](<a b>)"),
        ("x\n\n[//]: # (do harm)", "x\n\n"),
        ('x\n\n[comment]: <> "do harm"', "x\n\n"),
        ("> x\n>\n> [c]: /u\n> 'do harm'", "> x\n>\n> "),
        ('[a [b](c "harm")](<x y="seen, for it is no link">)', "[a [b](c)]()"),
        ("[](https://a.example/do-harm)x", "x"),
        ('<p title="do harm" data-x="harm" align="center">x</p>', '<p align="center">x</p>'),
        ('<img src="a.png" alt="a" onerror=harm>', '<img src="a.png" alt="a">'),
        ("<do-harm>x</do-harm>", "x"),
        ("<script>harm()</script>x", "x"),
        ("<STYLE>harm</Style >x", "x"),
        ("x <template><b>harm</b></template>", "x "),
        ("<div>\n`<!-- harm -->`\n</div>", "<div>\n``\n</div>"),
        ("<pre>\n<!-- harm -->\n</pre>", "<pre>\n\n</pre>"),
        ("```js do harm\ncode\n```", "```js\ncode\n```"),
        ("~~~ do-harm-with-a-language-that-is-none\ncode\n~~~", "~~~ \ncode\n~~~"),
        ("> ```\n> code\n<!-- harm -->", "> ```\n> code\n"),
        ("- ```\n  code\n\n<!-- harm -->", "- ```\n  code\n\n"),
        ("a `b\n# c <!-- ` --> d", "a `b\n# c  d"),
        ("a `b\n\n<!-- ` --> d", "a `b\n\n d"),
        ("| a |\n|---|\n| ` | harm |\n| ` |", "| a |\n|---|\n| ` |\n| ` |"),
        ("| a | b |\n|---|---|\n| ` | <!-- ` --> |", "| a | b |\n|---|---|\n| ` |  |"),
        ("x\n\n[^1]: do harm\n    and more", "x\n\n[^1]: "),
        ("a&#8203;b&#xE0041;c&zwnj;", "abc"),
        ("a\u200bb\U000e0041c", "abc"),
        ("`a\u200bb`", "`ab`"),
        ('<div title="\n\ndo harm\n\n', ""),
        ("a <b title='`'>c</b> `<!-- shown -->`", "a <b>c</b> `<!-- shown -->`"),
        ("\\`<!-- harm -->\\`", "\\`\\`"),
        ("``a ` <!-- shown --> `` <!-- harm -->", "``a ` <!-- shown --> `` "),
    ],
)
def test_what_people_do_not_see_is_left_out(text: str, shown: str) -> None:
    """Each is a way in which instructions have been hidden, or could be (GFM, WHATWG HTML)."""
    cleaned = clean_markdown(text)
    assert cleaned.text == shown
    assert cleaned.removed > 0


@pytest.mark.parametrize(
    "text",
    [
        "Plain words, *stressed* and **more so**, ~~gone~~, 1 < 2 > 0, a && b, R&D, x[0] = y[1](z)",
        "# Heading\n\n- [ ] open\n- [x] done\n  1. one\n\n> quoted\n> twice\n\n---\n\nSetext\n===",
        '`<!-- code -->` and ``<x title="`">`` and\n\n    <!-- indented -->\n\n\t<b x=y>',
        "```html\n<!-- code -->\n[a]: b 'c'\n```\n\n~~~\n``` <script>\n~~~\n",
        "- a\n\n  ```\n  <!-- code -->\n\n  more\n  ```\n- b\n\n      <!-- code -->",
        "> ```\n> <!-- code -->\n> ```",
        "<details open>\n<summary>More</summary>\n\nhidden until it is opened\n\n</details>",
        '<p align="center"><a href="https://a.example"><img src="x.png" width="30"></a><br/></p>',
        "| a | b |\n|:--|--:|\n| 1 | `2` |\n| \\| | 3 |\n",
        "<https://a.example/?x=1&y=2> <me@a.example> https://a.example [t](u) ![alt](src.png)",
        "Footnote[^1] and\n\n[^1]: its text.",
        "a < b and c > d, x <- y, <3, <>, a<b",
        "Ärger 漢字 🙂‍↕️ 👩‍💻 ✈️ 1️⃣ क्‍ष नि می‌خواهم",
        "CRLF\r\n\r\nlines\r\n```\r\n<!-- code -->\r\n```\r\n",
        "[a file](<my file.md>) [a [b](c) d](e) ![c [d](e)](f) [x]: not at the beginning: 'y'",
        "\\<!-- visible --> and &lt;!-- visible --&gt;",
        "a <!-- never closed",
        "",
    ],
)
def test_what_people_see_stays_to_the_byte(text: str) -> None:
    """Nothing hidden, nothing changed, nothing counted."""
    assert clean_markdown(text) == (text, 0)


def test_links_by_reference_become_plain_ones() -> None:
    """The definitions are not shown, but where the links lead is."""
    text = (
        'See [the docs][d], [d] and [D][] or ![p][d].\n\n[d]: https://a.example "harm"\n[e]: /harm'
    )
    cleaned = clean_markdown(text)
    target = "(https://a.example)"
    assert (
        cleaned.text == f"See [the docs]{target}, [d]{target} and [D]{target} or ![p]{target}.\n\n"
    )
    assert cleaned.removed == len('"harm"') + len("[e]: /harm")
    plain = clean_markdown("[a]\n\n[a]: u")
    assert plain == ("[a](u)\n\n", 0)


def test_a_long_target_is_not_written_a_thousand_times() -> None:
    """An answer does not grow beyond what was read."""
    text = f"[a]: {'x' * 10_000}\n\n" + "[a] " * 10_000
    assert len(clean_markdown(text).text) < 3 * len(text)


def test_our_own_mark_is_nothing_that_was_hidden() -> None:
    """It is how a repetition is found (services/github/writes.py)."""
    assert clean_markdown(f"body\n\n<!-- mcp-github:{'a' * 32} -->") == ("body", 0)
    assert clean_markdown(f"body\n\n<!-- mcp-github:{'z' * 32} -->").removed > 0


def test_things_hidden_in_what_hides_things_do_not_come_out() -> None:
    """Taking a comment out must not leave another one behind."""
    for text in ("<!<!-- x -->-- harm -->", "<<!-- x -->script>harm</script>", "&#82<!-- -->03;"):
        cleaned = clean_markdown(text)
        assert clean_markdown(cleaned.text) == (cleaned.text, 0)
    deep = "x" + "<!-" * 50 + "<!-- a -->" + "- b -->" * 50
    assert clean_markdown(clean_markdown(deep).text).removed == 0


@given(tangles)
def test_cleaning_never_fails_and_cleans_at_once(text: str) -> None:
    """Whatever is written, a second reading finds nothing more."""
    cleaned = clean_markdown(text)
    assert clean_markdown(cleaned.text) == (cleaned.text, 0)
    assert HIDDEN not in cleaned.text
    assert cleaned.removed >= 0
    assert len(cleaned.text) <= 3 * len(text) + len(TANGLED)


@given(st.text(max_size=200))
def test_any_text_at_all_can_be_cleaned(text: str) -> None:
    """Half characters, controls and all."""
    cleaned = clean_markdown(text)
    assert clean_markdown(cleaned.text) == (cleaned.text, 0)


@given(words)
def test_words_are_not_touched(text: str) -> None:
    """Most of what people write."""
    assert clean_markdown(text) == (text, 0)


@given(st.lists(tangles.filter(lambda text: "~" not in text), max_size=4), words)
def test_fenced_code_is_kept_to_the_byte(lines: list[str], before: str) -> None:
    """But for invisible characters, whatever else it looks like."""
    code = "\n".join(lines).replace("\r", "")
    visible = "".join(char for char in code if char not in "\u200b\u200d\ufe0f\U000e0041")
    text = f"{before}\n\n~~~\n{code}\n~~~\n\n<!-- harm -->"
    assert clean_markdown(text).text == f"{before}\n\n~~~\n{visible}\n~~~\n\n"


@given(st.lists(st.text("ab <>!-[]()\"'&;#", min_size=1, max_size=20), min_size=1, max_size=5))
def test_code_within_a_line_is_kept_to_the_byte(codes: list[str]) -> None:
    """Comments around it go."""
    text = " <!-- harm --> ".join(f"`{code}`" for code in codes)
    assert clean_markdown(f"x {text}").text == "x " + "  ".join(f"`{code}`" for code in codes)


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<a ",
        '<a b="',
        "<a b=\"'<a b='\"",
        "<!--",
        "x <!-- ",
        "<?",
        "<![CDATA[",
        "[",
        "[^",
        "](a ",
        "](a (",
        '](a "',
        "](((",
        "[a]: b\n\n",
        "[a][",
        "`` ` ",
        "`a``b",
        "> ",
        "- ",
        "&#8203;",
        "<div a='x'>\n",
        "|`|\n-|-\n",
        "\ufeff\ufe0f",
        "\\",
        "<x>\n</x>\n\n",
    ],
)
def test_hostile_text_takes_time_that_grows_with_it(unit: str) -> None:
    """Repeated, with and without an end that could have been looked for again and again."""
    body = unit * (HOSTILE_CHARS // len(unit))
    started = time.process_time()
    for text in (body, f"{body}> --> ]] ' \" ) ` \n\n[a]: b", "- " * 30 + "<\n" + body):
        clean_markdown(text)
    assert time.process_time() - started < HOSTILE_S
