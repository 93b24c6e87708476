"""Markdown of strangers, without what GitHub does not show."""

from __future__ import annotations

from core.untrusted import Cleaned, clean


def clean_markdown(text: str) -> Cleaned:
    """Return what a reader of the page sees; says how many characters were left out."""
    return clean(text)
