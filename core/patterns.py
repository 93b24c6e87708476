"""Regular expressions of callers, matched in time that grows with the text only.

RE2 has no look-around and no back-references, and so no pattern that takes for ever. Services that
use this module name `google-re2` in their requirements.
"""

from __future__ import annotations

import re
from typing import Any

import re2

from core.errors import BadPattern

MAX_PATTERN_CHARS = 1_000
MAX_PROGRAM_BYTES = 8 * 1024 * 1024


def compile_pattern(
    pattern: str,
    *,
    ignore_case: bool = False,
    literal: bool = False,
    multiline: bool = False,
    over_bytes: bool = False,
    within_lines: bool = False,
) -> Any:
    r"""Compile a caller's pattern.

    Args:
        literal: The text itself is looked for.
        multiline: `^` and `$` match at the lines' ends, and `.` never a line's end.
        within_lines: Nothing matches LF, whatever the pattern says (`\s` and `[^a]` included).
        over_bytes: The text is bytes in UTF-8; where it is not, no character matches.

    Returns:
        An object of `re2`, which has the methods of `re.Pattern`.

    Raises:
        BadPattern: It is empty, too long, or RE2 does not take it; says why.
    """
    if not pattern:
        raise BadPattern("The pattern is empty.", hint="Give the text or expression to look for.")
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BadPattern(
            f"The pattern has {len(pattern)} characters; the limit is {MAX_PATTERN_CHARS}.",
            hint="Look for something shorter.",
        )
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.literal = literal
    options.never_nl = within_lines
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    source = f"(?m){pattern}" if multiline and not literal else pattern
    try:
        return re2.compile(source.encode() if over_bytes else source, options=options)
    except (re2.error, UnicodeEncodeError) as error:
        raise BadPattern(f"The pattern is not valid: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a character (a lone surrogate)"
    argument: Any = error.args[0] if error.args else error
    text = argument.decode("utf-8", "replace") if isinstance(argument, bytes) else str(argument)
    return text.rstrip(".")


# --- text that a pattern cannot match without ----------------------------------------------------

_PART = re.compile(
    r"\\.|\[(?:\\.|\[:\w+:\]|[^\]\\])*\]|(?P<quantity>[*+?]\??|\{\d+(?:,\d*)?\}\??)|.", re.DOTALL
)
_UNSURE = re.compile(r"\(\?(?!:|P?<)|\[\^?\]|\\[^\WAbBdDsSwWztnrfav]")
# Flags, a class that begins with its bracket, and escapes that go on, as x41, pL, Q and 07 do.


def required_text(pattern: str) -> str | None:
    r"""Return the longest text that each match of an expression contains; None when unsure.

    Only what stands outside all groups counts, and nothing where the expression has a choice there
    or sets flags: `\w+Marker\(` cannot match without `Marker(`.
    """
    if _UNSURE.search(pattern):
        return None
    runs, depth = [""], 0
    for match in _PART.finditer(pattern):
        part = match[0]
        if depth == 0 and part == "|":
            return None
        if match["quantity"]:
            runs[-1] = runs[-1] if part[0] == "+" else runs[-1][:-1]
            runs.append("")
        elif depth == 0 and (char := _literal(part)) is not None:
            runs[-1] += char
        else:
            runs.append("")
        depth += (part == "(") - (part == ")")
    return max(runs, key=len) or None


def _literal(part: str) -> str | None:
    """Return the character that a part of an expression stands for, if it is just one."""
    if len(part) == 1:
        return None if part in "^$.()|[]{}\n" else part
    if part[0] == "\\" and part[1].isascii() and not part[1].isalnum():
        return part[1]
    return None
