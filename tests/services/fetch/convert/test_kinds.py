"""Everything that is not an HTML page: what it is taken for, and what becomes of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetch.convert.charset import decode
from services.fetch.convert.json_text import NotJson, pretty
from services.fetch.convert.sniffing import sniff
from services.fetch.errors import BadSelector, ConversionFailed
from tests.services.fetch.convert.pages import converted

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x20\x08\x02"


@pytest.mark.parametrize(
    ("body", "content_type", "shape"),
    [
        (b"<!DOCTYPE html><p>x", "text/html; charset=x", "html"),
        (b"<html>", None, "html"),
        (b"<html>", "application/octet-stream", "html"),
        (b"<p>x</p>", "text/plain", "text"),
        (b'{"a": 1}', "application/json", "json"),
        (b'{"a": 1}', "application/vnd.api+json", "json"),
        (b'{"a": 1}', None, "json"),
        (b'{"a": 1}', "text/html", "json"),
        (b"{}\n{}", "application/x-ndjson", "ndjson"),
        (b"<?xml version='1.0'?><rss/>", "text/html", "xml"),
        (b"<rss>", "application/rss+xml", "xml"),
        (b"<!doctype html><p>", "application/xml", "html"),
        (b"# x", "text/markdown", "markdown"),
        (b"# x", "text/plain", "markdown"),
        (b"a,b\n1,2", "text/csv", "text"),
        (b"%PDF-1.7", "text/html", "pdf"),
        (b"<!doctype html><p>log in first", "application/pdf", "html"),
        (PNG, "text/html", "image"),
        (b"<svg xmlns='x'/>", "image/svg+xml", "xml"),
        (b"PK\x03\x04", "application/vnd.oasis.opendocument.text", "binary"),
        (b"\0\1\2\3", None, "binary"),
        (b"abc", "application/x-unknown", "binary"),
        (b"BMW is a car", None, "text"),
        (b"  \n", "text/html", "empty"),
        (b"\0<\0p\0>\0x", "text/html", "html"),
        (b"<p>" + b"\0" * 400, "text/html", "html"),
        ("<p>漢字".encode("utf-16-le"), "text/html; charset=utf-16", "html"),
        (b"<p>" + b"\1\2\3" * 40, "text/html", "binary"),
    ],
)
def test_kind_follows_the_header_unless_the_bytes_say_otherwise(
    body: bytes, content_type: str | None, shape: str
) -> None:
    """WHATWG MIME Sniffing, in the small; lying headers are common."""
    url = "https://example.org/readme.md" if body == b"# x" else "https://example.org/"
    assert sniff(body, content_type, url).shape == shape


@pytest.mark.parametrize(
    ("body", "content_type", "text", "charset", "source"),
    [
        ("é".encode("utf-8-sig"), "text/html; charset=latin1", "é", "utf-8", "bom"),
        ("é".encode("utf-16"), None, "é", "utf-16le", "bom"),
        (b"\x80\x93", "text/html; charset=ISO-8859-1", "€“", "windows-1252", "http"),
        ("€𠮷".encode("gb18030"), "text/html; charset=gb2312", "€𠮷", "gbk", "http"),
        ("①".encode("cp932"), "text/html; charset=x-sjis", "①", "shift_jis", "http"),
        ("é".encode(), 'text/html; charset="UTF8"', "é", "utf-8", "http"),
        (b"<meta charset=koi8-r>\xc1", None, "<meta charset=koi8-r>\u0430", "koi8-r", "meta"),
        (b"<meta charset=utf-16>\xc3\xa9", None, "<meta charset=utf-16>é", "utf-8", "meta"),
        (b"<meta charset=utf-7>+ADw-", None, "<meta charset=utf-7>+ADw-", "utf-8", "detected"),
        (b"<!--<meta charset=big5>-->\xc3\xa9", None, "<!--<meta charset=big5>-->é", "utf-8",
         "detected"),
        (b"<?xml version='1.0' encoding='iso-8859-2'?>\xb1", None,
         "<?xml version='1.0' encoding='iso-8859-2'?>ą", "iso8859-2", "meta"),
        (b"abc", "text/html; charset=nonsense", "abc", "utf-8", "detected"),
        (b"abc", "text/html; charset=rot13", "abc", "utf-8", "detected"),
    ],
)  # fmt: skip
def test_charset_is_found_as_browsers_find_it(
    body: bytes, content_type: str | None, text: str, charset: str, source: str
) -> None:
    """BOM over header over declaration over detection; labels mean what the web means by them."""
    decoded = decode(body, content_type)
    assert (decoded.text, decoded.charset, decoded.source) == (text, charset, source)


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le", "utf-16be"])
def test_utf_16_without_its_mark_is_decoded(charset: str) -> None:
    """The header says it; every second byte of English is NUL, and few of Chinese are."""
    codec = "utf-16-be" if charset == "utf-16be" else "utf-16-le"
    for text in ("English", "漢字"):
        body = f"<p>{text}</p>".encode(codec)
        assert converted(body, f"text/html; charset={charset}").content == text


def test_json_is_utf_8_whatever_the_header_says() -> None:
    """RFC 8259 has no charset parameter; what cannot be UTF-8 is what the header says."""
    for format_ in ("json", "raw"):
        for body in ('["é"]'.encode(), '["é"]'.encode("latin1")):
            document = converted(body, "application/json; charset=iso-8859-1", format=format_)
            assert "é" in document.content


def test_one_bad_byte_does_not_make_a_page_windows_1252() -> None:
    """What is UTF-8 but for a byte is UTF-8; the byte is replaced, and told of."""
    for body in ("<p>" + "é" * 50).encode() + b"\xe9 ", b"<p>\xff " + ("naïve " * 60).encode():
        document = converted(body)
        assert document.charset == "utf-8"
        assert "1 bytes are not utf-8" in document.warnings[0]
    assert converted("<p>naïve café".encode("latin1")).charset != "utf-8"


def test_undeclared_russian_is_detected() -> None:
    """Old pages declare nothing; the bytes tell."""
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5
    assert decode(text.encode("cp1251"), None).text == text


def test_bytes_that_mean_nothing_are_replaced_and_counted() -> None:
    """A cut or mixed-up page is still readable, and the reader is told."""
    document = converted(b"<p>a\xffb\xfec</p>", "text/html; charset=utf-8")
    assert document.content == "a\ufffdb\ufffdc"
    assert "2 bytes are not utf-8" in document.warnings[0]


@given(st.binary(max_size=300), st.sampled_from([None, "text/html", "text/plain;charset=big5"]))
def test_any_bytes_decode(body: bytes, content_type: str | None) -> None:
    """Decoding never fails; that is what the default is for."""
    assert isinstance(decode(body, content_type).text, str)


def test_json_keeps_every_digit() -> None:
    """Numbers are never parsed: ids and prices stay what they are."""
    body = '{"id":12345678901234567890,"p":1.10,"e":1E400,"s":"\\u00e9\\u0000\\ud800 /","l":[]}'
    assert converted(body, "application/json").content == (
        '{\n  "id": 12345678901234567890,\n  "p": 1.10,\n  "e": 1E400,\n'
        '  "s": "\\u00e9\\u0000\\ud800 /",\n  "l": []\n}'
    )


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_pretty_json_is_the_same_json(value: object) -> None:
    """Set out for reading, a document says what it said."""
    assert json.loads(pretty(json.dumps(value))) == value


@given(st.text(alphabet='[]{}:,"\\0123456789.eE+-truefalsn \n', max_size=30))
def test_what_is_json_is_what_python_takes_for_it(text: str) -> None:
    """Neither more nor less than RFC 8259, judged by another reader of it."""
    try:
        json.loads(text, parse_constant=lambda _: 1 / 0)
        is_json = True
    except (ValueError, ZeroDivisionError):
        is_json = False
    try:
        pretty(text)
    except NotJson:
        assert not is_json
    else:
        assert is_json


def test_broken_json_is_shown_with_a_warning() -> None:
    """The text may still be what the reader needs."""
    document = converted('{"a": tru}', "application/json")
    assert (document.kind, document.content) == ("json", '{"a": tru}')
    assert "broken at character 5" in document.warnings[0]


def test_lines_of_json_are_set_out_one_by_one() -> None:
    """NDJSON, declared or not."""
    for content_type in ("application/x-ndjson", "application/json"):
        assert converted('{"a":1}\n[2]\n', content_type).content == '{\n  "a": 1\n}\n[\n  2\n]'


RSS = """<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>F</title>
<link>https://example.org/</link><item><title>A &amp; *B*</title><link>/a</link>
<pubDate>Mon, 06 May 2024 00:00:00 GMT</pubDate><dc:creator>Ann</dc:creator>
<description>&lt;p&gt;Hi &lt;b&gt;x&lt;/b&gt;&lt;span hidden&gt;no&lt;/span&gt;</description>
</item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>F</title>
<entry><title>A &amp; *B*</title>
<link rel="edit" href="/e"/><link href="/a"/><published>Mon, 06 May 2024 00:00:00 GMT</published>
<author><name>Ann</name></author><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">
<p>Hi <b>x</b></p></div></content></entry></feed>"""
JSON_FEED = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "F",
        "items": [
            {
                "title": "A & *B*",
                "url": "https://example.org/a",
                "date_published": "Mon, 06 May 2024 00:00:00 GMT",
                "authors": [{"name": "Ann"}],
                "content_html": "<p>Hi <b>x</b>",
            }
        ],
    }
)


@pytest.mark.parametrize("body", [RSS, ATOM, JSON_FEED], ids=["RSS", "Atom", "JSON Feed"])
def test_feeds_read_as_items(body: str) -> None:
    """Title, link, date, author and text of each, whichever format it is in."""
    content_type = "application/feed+json" if body == JSON_FEED else "application/xml"
    document = converted(body, content_type)
    assert document.kind == "feed"
    assert document.content == (
        "# F\n\n## A & \\*B\\*\n\nMon, 06 May 2024 00:00:00 GMT · Ann · <https://example.org/a>"
        "\n\nHi **x**"
    )
    assert [link.url for link in document.links] == ["https://example.org/a"]
    for heading in document.outline:
        assert document.content[heading.offset] == "#"


def test_a_sitemap_lists_its_pages() -> None:
    """Addresses with the time of their last change; links for those who follow them."""
    document = converted(
        "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><url><loc>https://e.org/a</loc>"
        "<lastmod>2024-01-01</lastmod></url><url><loc> https://e.org/b </loc></url></urlset>",
        "application/xml",
    )
    assert document.content.endswith("- <https://e.org/a> (2024-01-01)\n- <https://e.org/b>")
    assert len(document.links) == 2


def test_entities_of_xml_are_never_expanded() -> None:
    """Neither a billion laughs nor a file of ours comes back (CVE-2003-1564, XXE)."""
    for entity in ('"lol"', 'SYSTEM "file:///etc/passwd"'):
        document = converted(
            f"<!DOCTYPE a [<!ENTITY b {entity}>]><rss><channel><title>&b;</title></channel></rss>",
            "application/xml",
        )
        assert document.kind == "xml"
        assert "<!ENTITY" in document.content
        assert "root:" not in document.content


def test_markdown_stays_as_it_is_and_gets_an_outline() -> None:
    """Servers that send markdown have done the work already."""
    text = "# A #\n\nx\n\n```\n# no\n```\n\nB\n---\n"
    document = converted(text, "text/markdown")
    assert document.content == text
    assert [(h.level, h.text, h.offset) for h in document.outline] == [(1, "A", 0), (2, "B", 24)]


def test_images_bring_their_bytes_and_size() -> None:
    """The tool shows the picture itself."""
    document = converted(PNG, "image/png")
    assert (document.kind, document.binary) == ("image", PNG)
    assert "16 x 32 pixels" in document.content


def test_binaries_are_named_and_not_dumped() -> None:
    """Bytes are no use to a reader of text."""
    document = converted(b"PK\x03\x04" + b"\0" * 100, "application/zip")
    assert document.content == "Binary file: application/zip, 104 bytes. It is not shown."


def test_raw_is_the_text_as_it_came() -> None:
    """Decoded, and nothing else; binaries are refused."""
    page = "<p hidden>a\u200b</p>\r\n"
    assert converted(page, format="raw").content == page
    with pytest.raises(ConversionFailed, match="raw"):
        converted(PNG, "image/png", format="raw")


def test_selectors_need_a_page() -> None:
    """A selector on JSON is a mistake that is better told than passed over."""
    with pytest.raises(BadSelector, match="application/json"):
        converted("{}", "application/json", selector="p")


def _pdf(*texts: str) -> bytes:
    """Write a PDF with a page for each text (PDF 32000-1, the least that is valid)."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for text in texts:
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number + 1} 0 R"
            " /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
            " >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    objects.append("<< /Title (The title) /CreationDate (D:20240131120000+01'00') >>")
    body = "%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return (
        f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
        f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n"
        f"startxref\n{len(body)}\n%%EOF"
    ).encode()


def test_pdf_becomes_text_page_by_page() -> None:
    """Each page has a heading; a page without text is said to be a picture."""
    document = converted(_pdf("First page", "Second", ""), "application/pdf")
    assert document.content == "## Page 1\n\nFirst page\n\n## Page 2\n\nSecond\n\n## Page 3"
    assert [document.content[h.offset :][:9] for h in document.outline] == [
        "## Page 1", "## Page 2", "## Page 3",
    ]  # fmt: skip
    assert document.metadata.title == "The title"
    assert document.metadata.published == "2024-01-31T12:00:00+01:00"
    assert document.warnings == ("1 of 3 pages have no text; they may be pictures.",)


def test_a_damaged_pdf_is_refused() -> None:
    """PDFium cannot open it, and says so."""
    with pytest.raises(ConversionFailed, match="damaged"):
        converted(b"%PDF-1.4 nothing", "application/pdf")


@given(
    st.binary(max_size=200), st.sampled_from(["text/html", "application/xml", "image/png", None])
)
def test_no_bytes_break_the_conversion(body: bytes, content_type: str | None) -> None:
    """Whatever comes, a document or one of our errors goes out."""
    for prefix in (b"", b"<p>", b"%PDF-", b"<rss><channel>", b"{"):
        try:
            converted(prefix + body, content_type)
        except ConversionFailed:
            assert prefix == b"%PDF-" or body.startswith(b"%PDF-")
