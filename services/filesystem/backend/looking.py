"""Looking into some files of a directory, and what there is to tell of them.

The service and its helper processes run this same code, so that an answer does not depend on who
looked.
"""

from __future__ import annotations

import os
import stat
from dataclasses import astuple, dataclass, field
from typing import NamedTuple

from pydantic_core import from_json, to_json

from services.filesystem.backend import contents
from services.filesystem.backend.contents import Finder, Limits, Line, Skipped, Wanted
from services.filesystem.backend.walking import OPEN_FILE, reason_of
from services.filesystem.backend.work import Asking

_STOP_EVERY_FILES = 16

ShownLine = tuple[int, int | None, str, tuple[int, int] | None]
"""A line as the tool shows it: number, column, text, and what was cut off."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for, and how much of it is told.

    Attributes:
        limits: For each file.
        enough: Matches (or files, where lines are not told), after which looking pauses.
    """

    wanted: Wanted
    limits: Limits
    refuse_hard_links: bool
    enough: int

    def to_json(self) -> bytes:
        """Return it as another process may be given it."""
        return to_json(
            [self.wanted.asked, astuple(self.limits), self.refuse_hard_links, self.enough]
        )

    @classmethod
    def from_json(cls, data: bytes) -> Sought:
        """Return what `to_json` was made of."""
        (pattern, how), limits, refuse_hard_links, enough = from_json(data)
        return cls(Wanted.of(pattern, **how), Limits(*limits), refuse_hard_links, enough)


class Told(NamedTuple):
    """What there is to tell of a file; of one that was searched in vain there is nothing.

    Attributes:
        number: Its place in the list of names.
        left_out: Why it was not searched; "" when it has vanished, None when it was searched.
        was_read: Whether it counts as searched.
        is_late: Whether time was over in it.
        next_line: The first that was not looked at.
    """

    number: int
    left_out: str | None
    was_read: bool
    matches: int = 0
    is_complete: bool = True
    is_late: bool = False
    next_line: int = 1
    lines: list[ShownLine] = []  # noqa: RUF012 - of a tuple, and never changed


@dataclass(slots=True)
class Files:
    """Files of one directory, and how far they were looked into.

    Attributes:
        directory: Open.
        from_line: The first that is looked at in the first file.
        done: How many of them were looked into.
        counted: Of how many it was told.
    """

    directory: int
    names: list[str]
    from_line: int = 1
    done: int = 0
    counted: int = 0
    told: list[Told] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether all were looked into."""
        return self.done >= len(self.names)

    def look(self, sought: Sought, stop: Asking) -> None:
        """Go on to look, until the stop is asked for or enough was found.

        One read tells of most files that they are of no interest.
        """
        told, directory, wanted, found = self.told, self.directory, sought.wanted, 0
        is_out, first_bytes = contents.is_out, contents.FIRST_BYTES
        open_, pread, close = os.open, os.pread, os.close
        for number, name in enumerate(self.names[self.done :], self.done):
            if found > sought.enough or (not number % _STOP_EVERY_FILES and stop.asked):
                return
            self.done = number + 1
            was_read = False
            try:
                fd = open_(name, OPEN_FILE, dir_fd=directory)
            except OSError as error:
                told.append(Told(number, reason_of(error) or "", was_read))
                continue
            try:
                data = pread(fd, first_bytes, 0)
                was_read = True
                if not is_out(data, wanted):
                    first = self.from_line if number == 0 else 1
                    one = look_into(fd, data, sought, stop, first, number)
                    if one is not None:
                        told.append(one)
                        found += one.matches if sought.limits.lines else 1
                        if one.is_late:
                            return
            except Skipped as why:
                told.append(Told(number, str(why), was_read))
            except OSError as error:
                told.append(Told(number, reason_of(error) or "", was_read))
            finally:
                close(fd)


def look_into(
    fd: int, data: bytes, sought: Sought, stop: Asking, from_line: int = 1, number: int = 0
) -> Told | None:
    """Search a file of which `data` was read; return what was found, None for nothing.

    Raises:
        Skipped: It is not searched.
        OSError: It cannot be read.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Skipped("special")
    if sought.refuse_hard_links and status.st_nlink > 1:
        raise Skipped("hard_linked")
    limits = sought.limits
    finder = Finder(sought.wanted, limits, stop, from_line)
    context = max(limits.before, limits.after)
    for block in contents.blocks(fd, data, sought.wanted, context, stop):
        if not finder.search(block):
            break
    is_late = stop.asked
    if not finder.matches and finder.is_complete and not is_late:
        return None
    return Told(
        number,
        None,
        True,
        finder.matches,
        finder.is_complete,
        is_late,
        finder.next_line,
        [shown_line(line) for line in finder.lines],
    )


def shown_line(line: Line) -> ShownLine:
    """Return a line as the tool shows it."""
    cut = (line.cut_before, line.cut_after)
    return (
        line.number,
        line.cut_before + line.found_at + 1 if line.found_at >= 0 else None,
        line.data.decode("utf-8", "replace"),
        cut if any(cut) else None,
    )
