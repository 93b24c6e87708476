"""HTML source is rewritten where libxml2 would read it otherwise than a browser does.

Its tokenizer is HTML's since 2.14, the tree it builds is not: it takes `<div/>` for an empty
element, does not know all void ones, and drops what stands behind `</html>`. Each of these loses
text, or shows text that a browser hides.

Sources: HTML §13.2.5 (tokenization), §13.1.2 (void elements, self-closing syntax), §13.2.6.4.19
(what follows the body goes on with it).
"""

from __future__ import annotations

import re

from services.fetch.convert.tree import BLOCKS

_ATTRIBUTE = r"""[^\s/>][^\s/>=]*+
    (?:\s*+=\s*+(?:"[^"]*+(?:"|\Z) | '[^']*+(?:'|\Z) | [^\s>"'][^\s>]*+)?+)?+"""
_ATTRIBUTES = rf"(?:[\s/]++|{_ATTRIBUTE})*+(?:>|\Z)"
_PART = re.compile(rf"([\s/]++)|{_ATTRIBUTE}", re.VERBOSE)
_RAW = r"(?:script|style|title|textarea|xmp|iframe|noembed|noframes)(?=[\s/>])"
_VOID_TO_BROWSERS_ONLY = r"(?:bgsound|embed|keygen|source|track|wbr)(?=[\s/>])"
_FOREIGN = r"(?:svg|math)(?=[\s/>])"
_ENDS = r"/(?:body|html|svg|math)(?=[\s/>])"
# The first branch runs over what stays as it is. Every branch may end where the source ends, so
# that no character is looked at twice; no group is within a possessive loop, where CPython's
# engine loses count of it.
_TOKEN = re.compile(
    rf"""
      (?:
        <(?!{_RAW}|{_VOID_TO_BROWSERS_ONLY}|{_FOREIGN}|{_ENDS})/?[a-z][^\s/>]*+
        {_ATTRIBUTES}(?<!/>)[^<]*+
      )++
    | <!--(?:-?> | .*?(?:--!?>|\Z))
    | <(?P<end>{_ENDS})[^>]*+(?:>|\Z)
    | (?P<raw><(?P<raw_name>{_RAW}){_ATTRIBUTES})[^<]*+(?:<(?!/(?P=raw_name)[\s/>])[^<]*+)*+
    | <(?P<void>{_VOID_TO_BROWSERS_ONLY}){_ATTRIBUTES}
    | <(?P<foreign>{_FOREIGN}){_ATTRIBUTES}
    | <(?P<name>[a-z][^\s/>]*+){_ATTRIBUTES}
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_VOID_NAMES = "area base br col frame hr img input link meta param"
_VOID = frozenset(_VOID_NAMES.split())
_BREAKS_OUT = BLOCKS | frozenset(("b", "code", "em", "font", "i", "s", "span", "strong", "u"))


def as_browsers_read(source: str) -> str:
    """Return the source of a page so that libxml2 makes of it what browsers do."""
    pieces: list[str] = []
    position = 0
    is_foreign = False  # within svg or math, where a slash does close
    source = source.replace("\0", "")  # as in the body (§13.2.6.4.7)
    for token in _TOKEN.finditer(source):
        if token.lastgroup is None:
            continue
        if token.lastgroup == "foreign":
            is_foreign = not _is_closed(source, token.end("foreign"), token.end())
        elif token.lastgroup == "end" and token["end"][1:].lower() in ("svg", "math"):
            is_foreign = False
        elif change := _change(token, is_foreign=is_foreign):
            start, end, put = change
            pieces += (source[position:start], put)
            position = end
    return "".join(pieces) + source[position:]


def _change(token: re.Match[str], *, is_foreign: bool) -> tuple[int, int, str] | None:
    """Return from where to where a token is to be replaced, and by what."""
    source, end = token.string, token.end()
    if token["end"]:
        return token.start(), end, ""
    if token["void"]:
        return end - 1, end, " />"
    if token["raw"]:
        end = token.end("raw")
        return (end - 2, end, ">") if _is_closed(source, token.end("raw_name"), end) else None
    name = token["name"].lower()
    if name in _VOID or (is_foreign and name not in _BREAKS_OUT):
        return None
    return (end - 2, end, ">") if _is_closed(source, token.end("name"), end) else None


def _is_closed(source: str, start: int, end: int) -> bool:
    """Say whether a start tag, from behind its name, ends in a slash that belongs to no value."""
    if source[end - 2 : end] != "/>":
        return False
    *_, last = _PART.finditer(source, start, end - 1)
    return last[1] is not None
