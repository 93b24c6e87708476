"""PDF becomes its text, page by page."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from core.untrusted import clean
from services.fetch.convert.document import Heading, PageMetadata
from services.fetch.errors import ConversionFailed

MAX_PAGES = 500
MAX_CHARACTERS = 4_000_000
_TIME = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(Z|[+-]\d{2})?'?(\d{2})?")


class PdfText(NamedTuple):
    """The text of a PDF with a heading for each page."""

    text: str
    outline: tuple[Heading, ...]
    metadata: PageMetadata
    hidden: int
    warnings: tuple[str, ...]


def read_pdf(body: bytes, *, plain: bool, seconds: float) -> PdfText:
    """Take the text out of a PDF.

    Args:
        plain: Leave the marks of headings out.
        seconds: After that long the rest of the pages is left out, which is said.

    Raises:
        ConversionFailed: It is encrypted or damaged.
    """
    try:
        document = pdfium.PdfDocument(body)
    except pdfium.PdfiumError as error:
        raise _failed(error) from error
    try:
        return _read(document, plain=plain, deadline=time.monotonic() + seconds)
    finally:
        document.close()


def _failed(error: pdfium.PdfiumError) -> ConversionFailed:
    if getattr(error, "err_code", None) == pdfium_c.FPDF_ERR_PASSWORD:
        return ConversionFailed(
            "The PDF is encrypted and opens with a password only.",
            hint="Ask the person for a copy without a password.",
            reason_code="encrypted",
        )
    return ConversionFailed("The PDF is damaged and cannot be opened.", reason_code="damaged")


def _read(document: pdfium.PdfDocument, *, plain: bool, deadline: float) -> PdfText:
    pieces: list[str] = []
    outline: list[Heading] = []
    warnings: list[str] = []
    length = empty = hidden = 0
    pages = len(document)
    for number in range(pages):
        if number >= MAX_PAGES or length > MAX_CHARACTERS or time.monotonic() > deadline:
            warnings.append(f"Only the first {number} of {pages} pages were read.")
            break
        text, removed = clean(_page_text(document, number))
        hidden += removed
        empty += not text
        title = f"Page {number + 1}"
        outline.append(Heading(2, title, length))
        piece = f"{'' if plain else '## '}{title}\n\n{text}".rstrip() + "\n\n"
        pieces.append(piece)
        length += len(piece)
    if empty and empty == len(outline):
        warnings.append("The PDF has no text: its pages are pictures, and no OCR is done.")
    elif empty:
        warnings.append(f"{empty} of {len(outline)} pages have no text; they may be pictures.")
    text = "".join(pieces).rstrip()
    return PdfText(text, tuple(outline), _metadata(document), hidden, tuple(warnings))


def _page_text(document: pdfium.PdfDocument, number: int) -> str:
    try:
        page = document[number]
        text = page.get_textpage().get_text_bounded()
        page.close()
    except pdfium.PdfiumError:
        return ""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "").replace("\x02", "")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def _metadata(document: pdfium.PdfDocument) -> PageMetadata:
    values = document.get_metadata_dict(skip_empty=True)
    return PageMetadata(
        title=_line(values.get("Title")),
        author=_line(values.get("Author")),
        description=_line(values.get("Subject")),
        published=_moment(values.get("CreationDate")),
        modified=_moment(values.get("ModDate")),
    )


def _line(text: str | None) -> str | None:
    return " ".join((text or "").split())[:1000] or None


def _moment(text: str | None) -> str | None:
    """Turn `D:20240131120000+01'00'` into ISO 8601 (PDF 32000-1 §7.9.4)."""
    found = _TIME.match(text or "")
    if not found:
        return None
    year, month, day, hour, minute, second, zone, zone_minutes = found.groups()
    if not (month and day):
        return str(year)
    if hour is None or minute is None:
        return f"{year}-{month}-{day}"
    offset = "" if zone is None else "Z" if zone == "Z" else f"{zone}:{zone_minutes or '00'}"
    return f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{offset}"
