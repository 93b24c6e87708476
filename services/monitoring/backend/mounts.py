"""What is mounted where, as a process sees it (proc(5), /proc/pid/mountinfo)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount.

    Attributes:
        device: major:minor; the same for every mount of one file system.
        root: The directory of the file system that is seen at `point`; "/" unless it is bound.
        source: A device, a server's export, or a name.
    """

    device: str
    root: str
    point: str
    fstype: str
    source: str
    read_only: bool
    super_options: str


def mounts_of(proc: Path) -> list[Mount]:
    """Return the mounts of the process with that directory, in the order they were made.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no mountinfo.
    """
    text = (proc / "mountinfo").read_text(errors="surrogateescape")
    return [parse_mount(line) for line in text.splitlines()]


def parse_mount(line: str) -> Mount:
    """Return what a line says; the fields before the lone dash vary in number.

    Raises:
        ValueError: It is no line of mountinfo.
    """
    before, dash, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(rest) < 3:
        raise ValueError("not a line of mountinfo")
    return Mount(
        device=fields[2],
        root=_plain(fields[3]),
        point=_plain(fields[4]),
        fstype=rest[0],
        source=_plain(rest[1]),
        read_only="ro" in fields[5].split(",") or "ro" in rest[2].split(","),
        super_options=rest[2],
    )


def _plain(text: str) -> str:
    r"""Return a path with its blanks, which the kernel writes as \040 and the like."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
