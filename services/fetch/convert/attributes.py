"""Bounds the attributes of a tag before the parser sees them.

libxml2 appends each attribute of an element by walking over those before it: 50,000 of them take
eight seconds, 200,000 minutes. Pages of people have a few dozen at most.

Tags are found as HTML's tokeniser finds them, in one pass whose every step consumes what it matched
(possessive quantifiers), so that the scan itself is linear. It is no parser: what it takes for a
tag within exotic scripts may be none, and then nothing but more than `MAX_ATTRIBUTES` words in a
row would be cut; time limits remain behind it.

Source: https://html.spec.whatwg.org/ §13.2.5 (tokenisation).
"""

from __future__ import annotations

import itertools
import re

MAX_ATTRIBUTES = 1_000

_LEAST_CHARACTERS = 2  # that an attribute takes, its separator included
_SPACE = r"[ \t\n\f\r]"
_ATTRIBUTE = (
    rf"(?>(?:{_SPACE}|/)*+[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"|'[^']*+'|[^ \t\n\f\r>\"'][^ \t\n\f\r>]*+|(?=>)))?+)"
)
_ONE = re.compile(_ATTRIBUTE)
_NAME_ENDS = r"(?=[ \t\n\f\r/>])"
_MARKUP = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"  # a comment
    r"|<(?:[!?]|/[^a-z])[^>]*+"  # a bogus one
    rf"|</[a-z](?:{_ATTRIBUTE})*+"  # an end tag
    rf"|<(?:(?P<raw>script|style|textarea|title|xmp|iframe|noembed|noframes){_NAME_ENDS}"
    rf"|[a-z][^ \t\n\f\r/>]*+)(?P<attributes>(?:{_ATTRIBUTE})*+)"
    rf"(?(raw)(?:{_SPACE}|/)*+>[^<]*+(?:<(?!/(?P=raw){_NAME_ENDS})[^<]*+)*+)",  # no tags in these
    re.IGNORECASE | re.DOTALL,
)


def bound_attributes(text: str, limit: int = MAX_ATTRIBUTES) -> str:
    """Return a page without the attributes of each tag behind its first `limit`."""
    pieces: list[str] = []
    done = 0
    for tag in _MARKUP.finditer(text):
        start, end = tag.span("attributes")  # -1 of what is no tag
        if end - start <= limit * _LEAST_CHARACTERS:
            continue
        last = next(itertools.islice(_ONE.finditer(text, start, end), limit - 1, None), None)
        if last is not None:
            pieces.append(text[done : last.end()])
            done = end
    return "".join([*pieces, text[done:]]) if pieces else text
