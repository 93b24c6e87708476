"""What goes into a conversion and what comes out; values only, no parser is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Format = Literal["markdown", "text", "html", "json", "raw"]
MainContent = Literal["auto", "always", "never"]
Kind = Literal["html", "json", "feed", "pdf", "text", "markdown", "xml", "image", "binary"]
LinkKind = Literal["link", "feed", "sitemap", "alternate"]
CharsetSource = Literal["bom", "http", "meta", "detected", "default"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One answer as it came.

    Args:
        body: The bytes, after content-encoding was undone.
        content_type: The header as sent, parameters included.
        url: Where it came from in the end; relative links are made absolute with it.
    """

    body: bytes
    content_type: str | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the caller would like to have of it.

    Args:
        main_content: Whether menus, footers and the like are left out: when the page is clearly an
            article, always, or never.
        selector: CSS; only what matches is converted.
        remove_selector: CSS; what matches is left out.
        links: Whether link targets are written, or only their text.
        images: Whether images are written.
    """

    format: Format = "markdown"
    main_content: MainContent = "auto"
    selector: str | None = None
    remove_selector: str | None = None
    links: bool = True
    images: bool = True


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the content and where it begins, in characters."""

    level: int
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the page, absolute."""

    url: str
    text: str
    kind: LinkKind


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMetadata:
    """What a document says about itself; times as they were written there."""

    title: str | None = None
    author: str | None = None
    published: str | None = None
    modified: str | None = None
    site_name: str | None = None
    language: str | None = None
    canonical_url: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The text of a page, and what is known about it.

    Args:
        format: Of `content`; plain text where the kind has no markdown of its own.
        engine: What chose the content: `article`, `body`, `selector`, or the name of the kind.
        hidden_removed: Elements that a browser would not show and invisible characters, left out.
        binary: The bytes of an image; None for everything else.
    """

    content: str
    format: Format
    kind: Kind
    engine: str
    metadata: PageMetadata = field(default_factory=PageMetadata)
    outline: tuple[Heading, ...] = ()
    links: tuple[Link, ...] = ()
    charset: str | None = None
    charset_source: CharsetSource | None = None
    hidden_removed: int = 0
    needs_javascript: bool = False
    warnings: tuple[str, ...] = ()
    binary: bytes | None = None
