"""Fetched bytes become text for models.

Nothing in here does I/O or keeps state: `conversion.convert` takes a `Source` and a `Wanted` and
returns a `Document`. It runs in a worker process (`backend.workers`), because a page from anywhere
may make a parser slow, large or dead. Only the values are exported here, so that the service itself
never imports a parser.

```
bytes ─ sniffing ─┬─ charset ─ repair ─ tree ─ visibility ─ article ─ markdown   HTML  (page.py)
                  ├─ charset ─ json_text                                JSON, NDJSON
                  ├─ xml_documents ─ feeds                              RSS, Atom, sitemaps, XML
                  ├─ pdf · images                                       PDF, pictures
                  └─ charset                                            text, markdown, CSV
```
"""

from services.fetch.convert.document import (
    CharsetSource,
    Document,
    Format,
    Heading,
    Kind,
    Link,
    LinkKind,
    MainContent,
    PageMetadata,
    Source,
    Wanted,
)

__all__ = [
    "CharsetSource",
    "Document",
    "Format",
    "Heading",
    "Kind",
    "Link",
    "LinkKind",
    "MainContent",
    "PageMetadata",
    "Source",
    "Wanted",
]
