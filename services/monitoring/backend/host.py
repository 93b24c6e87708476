"""The machine's own numbers, read from a /proc directory.

Source of all formats: proc(5), and Documentation/filesystems/proc.rst of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory, as `free` counts them."""

    total_bytes: int
    available_bytes: int

    @property
    def used_bytes(self) -> int:
        """What cannot be given to a program without swapping."""
        return self.total_bytes - self.available_bytes


class Host:
    """Reads one machine.

    Args:
        proc: Its /proc.
    """

    def __init__(self, proc: str | Path) -> None:
        self.proc = Path(proc)

    def load(self) -> tuple[float, float, float]:
        """Return the load averages over 1, 5 and 15 minutes."""
        one, five, fifteen = (self.proc / "loadavg").read_text().split()[:3]
        return float(one), float(five), float(fifteen)

    def memory(self) -> Memory:
        """Return the memory of the machine."""
        fields = dict(line.split(":", 1) for line in self._lines("meminfo"))
        sizes = {name: int(rest.split()[0]) * KIB for name, rest in fields.items()}
        return Memory(sizes["MemTotal"], sizes["MemAvailable"])

    def _lines(self, name: str) -> list[str]:
        return (self.proc / name).read_text().splitlines()
