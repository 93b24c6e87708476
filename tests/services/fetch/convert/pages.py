"""Small pages, and the shortest way to convert them."""

from __future__ import annotations

from typing import Any

from services.fetch.convert import Document, Source, Wanted
from services.fetch.convert.conversion import convert

URL = "https://example.org/docs/page"


def converted(
    body: str | bytes, content_type: str | None = "text/html", *, url: str = URL, **wanted: Any
) -> Document:
    """Convert a body; text is sent as UTF-8."""
    data = body.encode() if isinstance(body, str) else body
    return convert(Source(body=data, content_type=content_type, url=url), Wanted(**wanted))


def markdown(body: str, **wanted: Any) -> str:
    """Return the whole page as markdown."""
    return converted(body, main_content="never", **wanted).content
