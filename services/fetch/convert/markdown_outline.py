"""The headings of a document that came as markdown."""

from __future__ import annotations

import re

from services.fetch.convert.document import Heading

_LINE = re.compile(
    r"^(?:(?P<fence>[ ]{0,3}(?:`{3,}|~{3,}))|[ ]{0,3}(?P<marks>\#{1,6})[ \t]+(?P<text>\S.*?)"
    r"(?:[ \t]+\#+)?[ \t]*$|(?P<title>[^\s>#|*+-][^\n]*)\n(?P<underline>=+|-{3,})[ \t]*$)",
    re.MULTILINE,
)


def outline_of(text: str) -> tuple[Heading, ...]:
    """Find ATX and setext headings outside of code fences, with their offsets."""
    found: list[Heading] = []
    fence = ""
    position = 0
    while line := _LINE.search(text, position):
        position = line.end() + 1
        if line["fence"]:
            mark = line["fence"].strip()
            if not fence:
                fence = mark
            elif mark.startswith(fence) and not text[line.end() : line.end() + 1].strip():
                fence = ""
        elif fence:
            continue
        elif line["marks"]:
            found.append(Heading(len(line["marks"]), line["text"], line.start()))
        else:
            level = 1 if line["underline"][0] == "=" else 2
            found.append(Heading(level, line["title"].strip(), line.start()))
    return tuple(found)
