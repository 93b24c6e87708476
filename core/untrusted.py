"""Text of strangers, before a model reads it: what people cannot see is taken out and counted.

Instructions can hide in characters that no screen shows: zero-width and bidirectional controls
(CVE-2021-42574), Unicode tags that spell ASCII, variation selectors that carry bytes. Models read
them all the same. What is visible stays as it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Joiners are invisible but meant between letters of Arabic, Indic scripts and in emoji; elsewhere
# they only hide something, as do runs of them. The same holds for a variation selector that does
# not follow a character it could select a form of.
_ALWAYS_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_JOINING = r"[\u0600-\u08ff\u0900-\u0dff\u0e00-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc]"
_PICTURE = r"[\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff]"
# England, Scotland and Wales are a flag followed by tags; nothing else is spelt with them.
_FLAG = "(?:\U0001f3f4(?:\U000e0067\U000e0062)(?:\U000e0065\U000e006e\U000e0067|"
_FLAG += "\U000e0073\U000e0063\U000e0074|\U000e0077\U000e006c\U000e0073)\U000e007f)"
_HIDDEN = re.compile(
    f"({_FLAG}|(?<={_JOINING})[\u200c\u200d](?={_JOINING})"
    f"|(?<={_PICTURE})\u200d(?={_PICTURE})|(?<=[#*0-9\u00a9\u00ae\u203c-\ufdff\ufe10-\U0001ffff])[\ufe0e\ufe0f])"
    f"|[{_ALWAYS_HIDDEN}\u200c\u200d\ufe00-\ufe0f{_CONTROLS}]"
)
_ANY = re.compile(f"[{_ALWAYS_HIDDEN}\u200c\u200d\ufe00-\ufe0f{_CONTROLS}]")


class Cleaned(NamedTuple):
    """A text without what cannot be seen.

    Attributes:
        removed: Characters that were taken out.
    """

    text: str
    removed: int


def clean(text: str) -> Cleaned:
    """Return a text without invisible characters; tabs and line ends stay."""
    if text.isascii() and text.isprintable():
        return Cleaned(text, 0)
    if _ANY.search(text) is None:
        return Cleaned(text, 0)
    cleaned, before = _without_hidden(text), text
    while cleaned != before:  # what stood behind something invisible stands behind something else
        cleaned, before = _without_hidden(cleaned), cleaned
    return Cleaned(cleaned, len(text) - len(cleaned))


def _without_hidden(text: str) -> str:
    return _HIDDEN.sub(lambda found: found[1] or "", text)
