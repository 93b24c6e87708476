"""HTML becomes markdown that says the same, judged by a CommonMark renderer where it can be."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.services.fetch.convert.pages import converted, markdown

GOLDEN = {
    "headings and paragraphs": ("<h1>A</h1><p>b\n c</p><h3>d <br> e</h3>", "# A\n\nb c\n\n### d e"),
    "white space moves out of emphasis": ("<p>a<b> b </b>c</p>", "a **b** c"),
    "adjacent emphasis goes on": ("<p><b>a</b><b>b</b></p>", "**ab**"),
    "emphasis where markdown has none": ("<p>a<b>“b”</b>c</p>", "a<strong>“b”</strong>c"),
    "em filling strong": ("<p><b><i>a</i></b></p>", "**_a_**"),
    "empty emphasis": ("<p>a<b> </b>b</p>", "a b"),
    "deleted": ("<p><del>a</del> b</p>", "~~a~~ b"),
    "line break": ("<p>a<br>b</p>", "a\\\nb"),
    "two line breaks are a paragraph": ("<p>a<br><br>b</p>", "a\n\nb"),
    "escapes only where needed": ("<p>2 * 3 snake_case 1.5 [x] a*b</p>",
                                  "2 * 3 snake_case 1.5 [x] a\\*b"),
    "what would begin a block": ("<p># a</p><p>- b</p><p>1. c</p><p>> d</p>",
                                 "\\# a\n\n\\- b\n\n1\\. c\n\n\\> d"),
    "text that looks like HTML": ("<p>&lt;b&gt; &amp;amp; a &lt; b</p>", "\\<b> \\&amp; a < b"),
    "code with backticks": ("<p><code>a`b</code></p>", "``a`b``"),
    "link, title, parentheses": ('<p><a href="/a_(b" title=\'say "x"\'>c</a></p>',
                                 '[c](https://example.org/a_\\(b "say \\"x\\"")'),
    "autolink": ("<p><a href=https://a.b/>https://a.b/</a></p>", "<https://a.b/>"),
    "a script is no target": ("<p><a href='javascript:x()'>a</a></p>", "a"),
    "link around blocks": ("<a href=/x><h2>T</h2><p>d</p></a>",
                           "## [T](https://example.org/x)\n\nd"),
    "base": ("<base href=https://b.c/d/><p><a href=e>f</a></p>", "[f](https://b.c/d/e)"),
    "image": ("<p><img src=a.png alt='b [c]' title=d></p>",
              '![b \\[c\\]](https://example.org/docs/a.png "d")'),
    "image data is not dumped": ("<p>a<img src='data:image/png;base64,AAAA' alt=b></p>", "a"),
    "lazy image": ("<p><img data-src=a.png alt=b></p>", "![b](https://example.org/docs/a.png)"),
    "nested lists": ("<ul><li>a<ol start=9><li>b<li>c</ol><li>d</ul>",
                     "- a\n\n  9. b\n  10. c\n- d"),
    "a list beside a list": ("<ul><li>a</ul><ul><li>b</ul>", "- a\n\n* b"),
    "loose list": ("<ul><li><p>a</p><li><p>b</p></ul>", "- a\n\n- b"),
    "task list": ("<ul><li><input type=checkbox checked> a<li><input type=checkbox> b</ul>",
                  "- [x] a\n- [ ] b"),
    "quotation": ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n>\n> b"),
    "code keeps its white space": ("<pre><code class='hljs language-py'>a\n\n  b\n</code></pre>",
                                   "```py\na\n\n  b\n```"),
    "code with fences": ("<pre>```\na\n```</pre>", "````\n```\na\n```\n````"),
    "highlighted code": ("<div class='highlight-source-rust'><pre><span>fn</span> a</pre></div>",
                         "```rust\nfn a\n```"),
    "line numbers are left out": ("<pre><span class=linenos>1</span>a</pre>", "```\na\n```"),
    "line breaks in code": ("<pre>a<br>b</pre>", "```\na\nb\n```"),
    "lines of code in divs": ("<pre><code><div class=l>a</div><div class=l></div><div>b</div>",
                              "```\na\n\nb\n```"),
    "lines of code with breaks": ("<pre><code><div>a\n</div>\n<div>b\n</div></code></pre>",
                                  "```\na\nb\n```"),
    "lines of code in a list": ("<pre><ol class=linenums><li>a<li>  b</ol></pre>",
                                "```\na\n  b\n```"),
    "lines of code in spans": ("<pre><span style='display: block'>a</span>"
                               "<span style='display:block'>b</span></pre>", "```\na\nb\n```"),
    "lines of code as Shiki has them": ("<pre><code><span class=line>a</span>\n"
                                        "<span class=line>b</span></code></pre>",
                                        "```\na\nb\n```"),
    "lines of code as Starlight has them": (
        "<pre data-language=js><code><div class=ec-line><div class=gutter><p class=ln>1</div>"
        "<div class=code>a</div></div><div class=ec-line><div class=gutter><div class=ln>2</div>"
        "</div><div class=code>  b</div></div></code></pre>", "```js\na\n  b\n```"),
    "lines of code as GitHub has them": (
        "<table class=highlight><tr><td class='blob-num' data-line-number=1></td><td class="
        "'blob-code'>a</td></tr><tr><td class='blob-num' data-line-number=2></td><td class="
        "'blob-code'>  b</td></tr></table>", "```\na\n  b\n```"),
    "lines of code as Hexo has them": (
        "<table><tr><td class=gutter><pre>1\n2</pre></td><td class=code><pre>a\nb</table>",
        "```\na\nb\n```"),
    "lines of code as Rouge has them": (
        "<pre><code><table class=rouge-table><tr><td class=rouge-gutter><pre class=lineno>"
        "1\n2\n</pre></td><td class=rouge-code><pre>a\nb\n</pre></td></tr></tbody></table></code>",
        "```\na\nb\n```"),
    "a number that is code": ("<pre><span class=line data-line-number=1>x = </span>42</pre>",
                              "```\nx = 42\n```"),
    "table": ("<table><tr><th>a<th>b<tr><td>1|2<td>c<br>d</table>",
              "| a | b |\n| --- | --- |\n| 1\\|2 | c<br>d |"),
    "table without head": ("<table><tr><td>a<td>b</table>", "|  |  |\n| --- | --- |\n| a | b |"),
    "spans": ("<table><tr><th rowspan=2>a<th colspan=2>b<tr><th>c<th>d</table>",
              "| a | b |  |\n| --- | --- | --- |\n| a | c | d |"),
    "table for layout": ("<table><tr><td><table><tr><td>a<td>b</table></table>",
                         "|  |  |\n| --- | --- |\n| a | b |"),
    "definitions": ("<dl><dt>a<dd>b<dt>c<dd><p>d</p><p>e</p></dl>",
                    "**a**\n: b\n\n**c**\n\nd\n\ne"),
    "a term that means two things": ("<dl><dt>a<dd>b</dd><dd>c</dl>", "**a**\n: b\n: c"),
    "image with sizes only": ("<p><img srcset='/a.png 1x, /b.png 2x' alt=c></p>",
                              "![c](https://example.org/a.png)"),
    "picture with sources only": ("<picture><source srcset=/a.webp><img alt=c></picture>",
                                  "![c](https://example.org/a.webp)"),
    "fraction": ("<math><mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mn>1</mn></mrow></mfrac>",
                 "a/(b+1)"),
    "shadow tree": ("<x-y><template shadowrootmode=open><p>a</p></template></x-y>", "a"),
    "details": ("<details><summary>a</summary>b</details>", "**a**\n\nb"),
    "sub and sup": ("<p>H<sub>2</sub>O x<sup>2</sup></p>", "H<sub>2</sub>O x<sup>2</sup>"),
    "formula": ("<p><math alttext='x^2'><mi>x</mi></math></p>", "$x^2$"),
    "MathJax": ("<p>a <script type='math/tex'>x_1</script></p>", "a $x_1$"),
    "rule": ("<p>a</p><hr><p>b</p>", "a\n\n---\n\nb"),
    "ruby": ("<p><ruby>漢<rt>kan</rt></ruby></p>", "漢(kan)"),
    "pilcrow of a heading": ("<h2>a<a class=headerlink href=#a>¶</a></h2>", "## a"),
    "video": ("<p>a <video src=/v.mp4></video></p>", "a [video](https://example.org/v.mp4)"),
    "exclamation before a link": ("<p>!<a href=/x>a</a></p>", "\\![a](https://example.org/x)"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_small_pages_are_written_as_a_person_would_write_them(name: str) -> None:
    """Each case is one rule of CommonMark, of GitHub's dialect or of our own taste."""
    html, expected = GOLDEN[name]
    assert markdown(html) == expected


def test_links_and_images_can_be_left_out() -> None:
    """A model that only reads saves their addresses; the text of a link stays."""
    html = "<p><a href=/x>a</a> <img src=y alt=b> <a href=/z><img src=y alt=c></a></p>"
    assert markdown(html, links=False, images=False) == "a c"


def test_the_outline_tells_where_headings_begin() -> None:
    """Offsets are characters into the content, so that a section can be cut out."""
    document = converted(
        "<h1>A <b>b</b></h1><p>x</p><ul><li><h2>C*</h2></ul>", main_content="never"
    )
    assert [(h.level, h.text) for h in document.outline] == [(1, "A b"), (2, "C*")]
    assert [document.content[h.offset :].split("\n")[0] for h in document.outline] == [
        "# A **b**",
        "## C\\*",
    ]


def test_plain_text_has_no_marks() -> None:
    """format='text' is for reading aloud and for diffs."""
    html = "<h1>a*</h1><p><b>b</b> <a href=/x>c</a> <code>d</code></p><ul><li>e</ul>"
    assert markdown(html, format="text") == "a*\n\nb c d\n\n- e"


WORD = st.text("abcxyz*_`<>&[]()#+-.!~\\|=1 é漢", min_size=1, max_size=12)
INLINE = ("b", "i", "em", "strong", "del", "span", "code", "a", "q", "sup")
BLOCK = ("p", "div", "ul", "ol", "li", "blockquote", "h2", "pre", "table", "tr", "td", "dl", "dd")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _element(names: tuple[str, ...], inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda name, parts: f"<{name} href=/x>{''.join(parts)}</{name}>",
        st.sampled_from(names),
        st.lists(inner, max_size=4),
    )


TREES = st.recursive(
    WORD.map(_escaped), lambda inner: _element(INLINE + BLOCK, inner), max_leaves=20
)
PARAGRAPHS = st.recursive(
    WORD.map(_escaped), lambda inner: _element(("b", "i", "del", "span"), inner), max_leaves=8
)


class _Text(HTMLParser):
    """Gathers the text of rendered HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def _rendered_text(text: str) -> str:
    reader = _Text()
    reader.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
    reader.close()
    return re.sub(r"\s", "", "".join(reader.found))


@given(TREES)
def test_no_visible_letter_is_lost(html: str) -> None:
    """Whatever the tree, each letter of its text is in the markdown, in number."""
    letters = "abcxyzé漢"
    text = re.sub(r"<[^>]*>|&amp;|&lt;", "", html)
    written = re.sub(r"https://example.org/x|<br>|</?(?:strong|em|del|sup|q)>", "", markdown(html))
    for letter in letters:
        assert written.count(letter) >= text.count(letter)


@given(PARAGRAPHS)
def test_a_paragraph_renders_as_the_text_it_was(html: str) -> None:
    """Escapes are right: rendered again, the text is what the page said, mark for mark."""
    wanted = re.sub(r"\s", "", re.sub(r"<[^>]*>", "", html).replace("&lt;", "<"))
    wanted = wanted.replace("&amp;", "&")
    assert _rendered_text(markdown(f"<p>{html}</p>")) == wanted
