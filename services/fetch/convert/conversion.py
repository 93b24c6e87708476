"""One answer becomes one document: what it is decides who reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.untrusted import clean
from services.fetch.convert.charset import Decoded, decode
from services.fetch.convert.document import Document, Kind, Source, Wanted
from services.fetch.convert.images import dimensions
from services.fetch.convert.json_text import NotJson, pretty, pretty_lines
from services.fetch.convert.sniffing import Shape, Sniffed, sniff
from services.fetch.errors import BadSelector, ConversionFailed

if TYPE_CHECKING:
    from services.fetch.convert.feeds import Feed

PDF_SECONDS = 6.0
"""After which the rest of a PDF's pages is left out; within `convert_timeout_s`."""

TextReader = Callable[[str, Source, Wanted], Document]


def convert(source: Source, wanted: Wanted) -> Document:
    """Turn an answer into text.

    Raises:
        BadSelector: A selector does not parse, matches nothing, or the answer is no HTML.
        ConversionFailed: The document is damaged, encrypted, or not what the format asks for.
    """
    sniffed = sniff(source.body, source.content_type, source.url)
    if wanted.format == "raw":
        return _raw(source, sniffed)
    if (wanted.selector or wanted.remove_selector) and sniffed.shape != "html":
        raise BadSelector(
            f"CSS selectors need an HTML page, and this is {sniffed.media_type}.",
            hint="Leave selector and remove_selector out.",
            reason_code="not_html",
        )
    if sniffed.shape == "pdf":
        return _pdf(source, wanted)
    if sniffed.shape == "image":
        return _image(source, sniffed)
    if sniffed.shape == "binary":
        return _binary(source, sniffed)
    decoded = decode(
        source.body,
        source.content_type,
        declared_inside=sniffed.shape in ("html", "xml"),
        is_json=sniffed.shape in ("json", "ndjson"),
    )
    return _with_charset(_TEXT_READERS[sniffed.shape](decoded.text, source, wanted), decoded)


def _with_charset(document: Document, decoded: Decoded) -> Document:
    """Say how a document was decoded, and what could not be."""
    warnings = document.warnings
    if decoded.replaced:
        warnings += (
            f"{decoded.replaced} bytes are not {decoded.charset}; U+FFFD stands for them.",
        )
    return dataclasses.replace(
        document, charset=decoded.charset, charset_source=decoded.source, warnings=warnings
    )


_KINDS: dict[Shape, Kind] = {
    "html": "html",
    "json": "json",
    "ndjson": "json",
    "xml": "xml",
    "markdown": "markdown",
    "text": "text",
    "empty": "text",
    "pdf": "pdf",
    "image": "image",
    "binary": "binary",
}


def _raw(source: Source, sniffed: Sniffed) -> Document:
    """Return the text as it came, decoded and nothing else."""
    kind = _KINDS[sniffed.shape]
    if kind in ("pdf", "image", "binary"):
        raise ConversionFailed(
            f"format='raw' is for text; this is {sniffed.media_type}, {len(source.body)} bytes.",
            hint="Use another format: PDFs become text, images are shown, other binaries named.",
            reason_code="binary",
        )
    decoded = decode(
        source.body,
        source.content_type,
        declared_inside=kind in ("html", "xml"),
        is_json=kind == "json",
    )
    document = Document(content=decoded.text, format="raw", kind=kind, engine="raw")
    return _with_charset(document, decoded)


# --- bytes --------------------------------------------------------------------------------------


def _pdf(source: Source, wanted: Wanted) -> Document:
    from services.fetch.convert.pdf import read_pdf

    plain = wanted.format == "text"
    found = read_pdf(source.body, plain=plain, seconds=PDF_SECONDS)
    return Document(
        content=found.text,
        format="text" if plain else "markdown",
        kind="pdf",
        engine="pdf",
        metadata=found.metadata,
        outline=found.outline,
        hidden_removed=found.hidden,
        warnings=found.warnings,
    )


def _image(source: Source, sniffed: Sniffed) -> Document:
    size = dimensions(source.body, sniffed.media_type)
    pixels = f", {size[0]} x {size[1]} pixels" if size else ""
    return Document(
        content=f"Image: {sniffed.media_type}{pixels}, {len(source.body)} bytes.",
        format="text",
        kind="image",
        engine="image",
        binary=source.body,
    )


def _binary(source: Source, sniffed: Sniffed) -> Document:
    return Document(
        content=f"Binary file: {sniffed.media_type}, {len(source.body)} bytes. It is not shown.",
        format="text",
        kind="binary",
        engine="binary",
    )


# --- text ---------------------------------------------------------------------------------------


def _html(text: str, source: Source, wanted: Wanted) -> Document:
    from services.fetch.convert.page import convert_page

    return convert_page(text, source.url, wanted)


def _json(text: str, source: Source, wanted: Wanted) -> Document:
    from services.fetch.convert.feeds import read_json_feed

    if wanted.format != "json" and (feed := read_json_feed(text)):
        return _feed(feed, source, wanted)
    cleaned = clean(text)
    try:
        content, warnings = pretty(cleaned.text), ()
    except NotJson as error:
        return _not_json(text, source, wanted, error)
    return Document(
        content=content,
        format="json",
        kind="json",
        engine="json",
        hidden_removed=cleaned.removed,
        warnings=warnings,
    )


def _not_json(text: str, source: Source, wanted: Wanted, error: NotJson) -> Document:
    """Show broken JSON as text; several documents, one a line, are taken as such."""
    lines = [line for line in text.splitlines()[:3] if line.strip()]
    if len(lines) > 1:
        _, bad = pretty_lines("\n".join(lines))
        if not bad:
            return _ndjson(text, source, wanted)
    document = _text(text, source, wanted)
    warning = f"This says it is JSON, and is broken at character {error.position}."
    return dataclasses.replace(document, kind="json", warnings=(warning,))


def _ndjson(text: str, source: Source, wanted: Wanted) -> Document:
    cleaned = clean(text)
    content, bad = pretty_lines(cleaned.text)
    return Document(
        content=content,
        format="json",
        kind="json",
        engine="ndjson",
        hidden_removed=cleaned.removed,
        warnings=(f"{bad} lines are not JSON; they are shown as they came.",) if bad else (),
    )


def _xml(text: str, source: Source, wanted: Wanted) -> Document:
    from services.fetch.convert import xml_documents

    root = xml_documents.parse_xml(text)
    if root is None:
        document = _text(text, source, wanted)
        warning = "This XML declares entities or is broken; it is shown as text."
        return dataclasses.replace(document, kind="xml", warnings=(warning,))
    if xml_documents.is_html(root):
        return _html(text, source, wanted)
    if feed := xml_documents.read_feed(root):
        return _feed(feed, source, wanted)
    if sitemap := xml_documents.read_sitemap(root):
        return Document(
            content=xml_documents.sitemap_text(sitemap, plain=wanted.format == "text"),
            format="text" if wanted.format == "text" else "markdown",
            kind="xml",
            engine="sitemap",
            links=xml_documents.sitemap_links(sitemap),
            warnings=_left_out(len(sitemap.addresses), sitemap.total, "addresses"),
        )
    return dataclasses.replace(_text(text, source, wanted), kind="xml", engine="xml")


def _feed(feed: Feed, source: Source, wanted: Wanted) -> Document:
    from services.fetch.convert import feeds

    plain = wanted.format == "text"
    content, outline, hidden = feeds.feed_text(feed, source.url, plain=plain)
    return Document(
        content=content,
        format="text" if plain else "markdown",
        kind="feed",
        engine="feed",
        metadata=feeds.feed_metadata(feed),
        outline=outline,
        links=feeds.feed_links(feed, source.url),
        hidden_removed=hidden,
        warnings=_left_out(len(feed.entries), feed.total, "items"),
    )


def _left_out(shown: int, total: int, what: str) -> tuple[str, ...]:
    return (f"Only the first {shown} of {total} {what} are shown.",) if shown < total else ()


def _text(text: str, source: Source, wanted: Wanted) -> Document:
    cleaned = clean(text)
    return Document(
        content=cleaned.text,
        format="text",
        kind="text",
        engine="text",
        hidden_removed=cleaned.removed,
    )


def _markdown(text: str, source: Source, wanted: Wanted) -> Document:
    from services.fetch.convert.markdown_outline import outline_of

    cleaned = clean(text)
    return Document(
        content=cleaned.text,
        format="markdown",
        kind="markdown",
        engine="markdown",
        outline=outline_of(cleaned.text),
        hidden_removed=cleaned.removed,
    )


def _empty(text: str, source: Source, wanted: Wanted) -> Document:
    return Document(
        content="",
        format="text",
        kind="text",
        engine="text",
        warnings=("The answer has no content.",),
    )


_TEXT_READERS: dict[Shape, TextReader] = {
    "html": _html,
    "json": _json,
    "ndjson": _ndjson,
    "xml": _xml,
    "markdown": _markdown,
    "text": _text,
    "empty": _empty,
}
