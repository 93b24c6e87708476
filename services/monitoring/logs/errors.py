"""Exceptions in logs, gathered by fingerprint: their type and the functions they went through.

```
Python   Traceback (most recent call last): … Type: message, with what caused it before
Java     Type: message, lines of "at", "Caused by:" after (.NET and Node.js write nearly the same)
Go       panic: message, goroutine N [running]:, pairs of function and file
Rust     thread 'main' panicked at place: message, then "stack backtrace:" where it is switched on
```

They stand in lines of their own below a log line, after a prefix on every line (syslog,
containers), or escaped inside a JSON line. Two are the same when type, chain of causes and frames
are, whatever the numbers of lines, addresses and messages. A trace whose blurred bytes were seen
before is counted without being read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import re2

from services.monitoring.logs.patterns import MAX_EXAMPLE_BYTES, Ends, mask, shapes_of

MAX_TRACE_LINES = 400
MAX_TRACE_BYTES = 128 * 1024
FIRST_LOOK_BYTES = 4 * 1024
MAX_FRAMES = 50
MAX_EXCEPTIONS = 500
MAX_SEEN = 5_000
TOO_MANY = ""
"""The fingerprint of those that are only counted together."""

LINES_ABOVE = 5
"""How far above a trace the log line that announces it may be."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of a stack.

    Attributes:
        file: As the program names it; empty where it does not.
        line: From 1; None where it is not told.
    """

    function: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """Return it as people write it."""
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return f"{self.function} ({place})" if place else self.function


@dataclass(frozen=True, slots=True)
class Trace:
    """One exception as it was logged.

    Attributes:
        frames: The innermost, where it was raised, first.
        causes: Types of what it came from, the nearest first.
    """

    language: str
    type: str
    message: str
    frames: tuple[Frame, ...]
    causes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return twelve hex digits, the same for the same fault."""
        parts = [self.language, self.type, *self.causes]
        parts += _without_repeats([_normal(frame) for frame in self.frames])
        if not self.frames:
            parts.append(mask(self.message))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


_CHANGING = re.compile(r"0x[0-9a-f]+|\$\$[\w$]+|[0-9]+")


def _normal(frame: Frame) -> str:
    """Return a frame without what differs between builds and runs."""
    name = frame.file.replace("\\", "/").rpartition("/")[2]
    return _CHANGING.sub("#", f"{frame.function}@{name}")


def _without_repeats(names: Sequence[str]) -> list[str]:
    """Return the names with each repetition told once: recursion may end at any depth."""
    return list(dict.fromkeys(names))


# --- one trace -----------------------------------------------------------------------------------

_PY_START = "Traceback (most recent call last):"
_PY_FRAME = re.compile(
    r'\s*(?:[|+-]\s*)*File "(?P<file>[^"]*)", line (?P<line>\d+)(?:, in (?P<name>.+))?'
)
_GROUP = re.compile(r"\A\s*[|+](?: |-+\+?)")
_PY_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_TYPE = re.compile(
    r"(?P<type>[A-Za-z_$][\w$]*(?:[.:]{1,2}[A-Za-z_$<][\w$<>]*)*)(?:\s\[[A-Z_]+\])?"
    r"(?:: ?(?P<message>.*))?\Z"
)
_THROWN = re.compile(
    r"(?P<type>\b(?:[A-Za-z_$][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Throwable|Fault|Failure)\b"
    r"|\b[a-z][\w$]*(?:\.[\w$]+)+\.[A-Z][\w$]*|\bError\b)(?:\s\[[A-Z_]+\])?(?::\s?(?P<message>.*))?"
)
_AT = re.compile(r"\s+at (?P<rest>.+)")
_JAVA_AT = re.compile(
    r"(?:[\w.@-]+/+)*(?P<name>[\w$.<>/]+)\((?P<file>[^():]*)(?::(?P<line>\d+))?\)"
)
_NODE_AT = re.compile(
    r"(?:async )?(?:(?P<name>.+?) \()?(?P<file>(?:[a-z+]+:|[A-Z]:)?[^():]*)"
    r"(?::(?P<line>\d+))?(?::\d+)?\)?\Z"
)
_NET_AT = re.compile(r"(?P<name>[^()]+)\(.*?\)(?: in (?P<file>.+):line (?P<line>\d+))?\Z")
_CAUSED = re.compile(r"\s*(?:Caused by|\[cause\]|Suppressed): ?(?P<rest>.*)")
_GO_PLACE = re.compile(r"\s+(?P<file>\S+):(?P<line>\d+)(?: \+0x[0-9a-f]+)?")
_RUST_START = re.compile(
    r"thread '[^']*'(?: \(\d+\))? panicked at (?:'(?P<old>.*)', )?"
    r"(?P<file>[^\s,']+?):(?P<line>\d+)(?::\d+)?:?\Z"
)
_RUST_STEP = re.compile(r"\s+\d+:\s+(?:0x[0-9a-f]+ - )?(?P<name>\S.*)")
_RUST_PLACE = re.compile(r"\s+at (?P<file>\S+?):(?P<line>\d+)(?::\d+)?\Z")
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}\Z")


def parse(lines: Sequence[str]) -> Trace | None:
    """Return the exception that lines tell, from its first line on; None when they tell none."""
    first = lines[0] if lines else ""
    if _PY_START in first or "Exception Group Traceback" in first:
        return _python(lines)
    if "panicked at" in first:
        return _rust(lines)
    if "panic: " in first or "fatal error: " in first:
        return _go(lines)
    return _thrown(lines)


def _python(lines: Sequence[str]) -> Trace | None:
    """Read one or several linked tracebacks; the last one is what was raised."""
    found: list[Trace] = []
    frames: list[Frame] = []
    is_group = "Exception Group" in lines[0]
    for line in (_GROUP.sub("", line) for line in lines) if is_group else lines:
        if step := _PY_FRAME.match(line):
            frames.append(Frame(step["name"] or "<module>", step["file"], int(step["line"])))
        elif frames and line[:1].strip() and (said := _TYPE.match(line)):
            nearest = tuple(reversed(frames))[:MAX_FRAMES]
            found.append(Trace("python", said["type"], said["message"] or "", nearest))
            frames = []
    if not found:
        return None
    *before, last = found
    return replace(last, causes=tuple(trace.type for trace in reversed(before)))


def _thrown(lines: Sequence[str]) -> Trace | None:
    """Read what Java, .NET and Node.js write."""
    head = _THROWN.search(lines[0])
    if head is None:
        return None
    frames: list[Frame] = []
    causes: list[str] = []
    languages: set[str] = set()
    for line in lines[1:]:
        if caused := _CAUSED.match(line):
            cause = _THROWN.search(caused["rest"])
            causes += [cause["type"]] if cause else []
        elif (step := _AT.match(line)) and not causes:
            language, frame = _step(step["rest"].removesuffix("{").strip())
            languages.add(language)
            frames.append(frame)
    if not frames:
        return None
    message = head["message"] or ""
    language = next((name for name in ("dotnet", "node") if name in languages), "java")
    return Trace(language, head["type"], message, tuple(frames[:MAX_FRAMES]), tuple(causes))


def _step(text: str) -> tuple[str, Frame]:
    """Return language and frame of what follows "at"."""
    if java := _JAVA_AT.fullmatch(text):
        is_java = not java["file"] or java["file"].endswith((".java", ".kt", ".scala", ".groovy"))
        if is_java or java["file"] in ("Native Method", "Unknown Source", "<generated>"):
            return "java", Frame(java["name"], java["file"], _number(java["line"]))
    if " in " in text and ":line " in text and (net := _NET_AT.match(text)):
        return "dotnet", Frame(net["name"], net["file"] or "", _number(net["line"]))
    if node := _NODE_AT.match(text):
        name = node["name"] or "<anonymous>"
        return "node", Frame(name, node["file"], _number(node["line"]))
    return "java", Frame(text[:200])


def _go(lines: Sequence[str]) -> Trace:
    """Read a panic: the frames of the goroutine that runs."""
    kind, _, message = lines[0][_start_of(lines[0], ("panic: ", "fatal error: ")) :].partition(": ")
    frames: list[Frame] = []
    pending = ""
    for line in lines[1:]:
        if pending and (place := _GO_PLACE.match(line)):
            frames.append(Frame(pending, place["file"], int(place["line"])))
            pending = ""
        elif line.startswith("goroutine ") and frames:
            break
        elif "(" in line and not line[:1].isspace():
            pending = line.removeprefix("created by ").rpartition("(")[0]
    is_runtime = message.startswith("runtime error: ")
    text = re.sub(r" \[recovered.*", "", message.removeprefix("runtime error: "))
    told = "runtime error" if is_runtime else kind
    kept = [f for f in frames if f.function not in ("panic", "runtime.gopanic", "runtime.goexit")]
    return Trace("go", told, text, tuple(kept[:MAX_FRAMES]))


def _rust(lines: Sequence[str]) -> Trace | None:
    """Read a panic; without a backtrace its place is the only frame."""
    first = lines[0][_start_of(lines[0], ("thread '",)) :]
    start = _RUST_START.match(first)
    if start is None:
        return None
    message = start["old"] or (lines[1] if len(lines) > 1 else "")
    frames = [Frame("panicked", start["file"], int(start["line"]))]
    for line in lines[1:]:
        if step := _RUST_STEP.match(line):
            frames.append(Frame(_RUST_HASH.sub("", step["name"].strip())))
        elif (place := _RUST_PLACE.match(line)) and len(frames) > 1:
            frames[-1] = Frame(frames[-1].function, place["file"], int(place["line"]))
    return Trace("rust", "panic", message, tuple(frames[:MAX_FRAMES]))


def _start_of(line: str, words: Sequence[str]) -> int:
    return min((at for word in words if (at := line.find(word)) >= 0), default=0)


def _number(text: str | None) -> int | None:
    return int(text) if text else None


# --- where traces begin and end ------------------------------------------------------------------

_MARK = re2.compile(
    rb"(?m)Traceback \(most recent call last\)|^[^\n]{0,200}?\bpanic: |^fatal error: "
    rb"|\bpanicked at |^[ \t]+at [\w$.<>/@\[\]]|\\n(?:\\t| +)at |[^\n]\t+at [\w$.]+\("
)
_GOES_ON = re.compile(
    r"\s+\S|\s*\Z|Traceback |During handling|The above exception|Caused by: |goroutine |created by "
    r"|\[signal |stack backtrace:|note: |[\w./*()$-]+\(.*\)\Z|\.\.\. \d+ |exit status|\s*[|+-]"
)
_JSON = re.compile(rb"(?:\S{10,40} std(?:out|err) [FP](?::\S*)? )?[ \t]*\{")
"""A line of JSON, also where a container's runtime puts time and stream before it."""
_IS_TYPE = re.compile(r"[A-Za-z_][\w.]*(?::\s|\Z)")


@dataclass(frozen=True, slots=True)
class Place:
    """A trace in a block.

    Attributes:
        start: Of its first line.
        end: After its last line.
        lines: Without what stands before each of them.
    """

    start: int
    end: int
    lines: list[str]


def find(block: bytes) -> Iterator[Place]:
    """Find the traces in a block of whole lines."""
    at = 0
    while mark := _MARK.search(block, at):
        place = _place(block, mark.start(), at)
        yield place
        at = max(place.end, mark.end())


def _place(block: bytes, mark: int, least: int) -> Place:
    start = block.rfind(b"\n", least, mark) + 1 or least
    if (json_from := _JSON.match(block, start, start + 200)) is not None:
        return _inside_json(block, start, json_from.end() - 1)
    if block[start:mark].strip() == b"" and b"at " in block[mark : mark + 40].split(b"\n", 1)[0]:
        start = block.rfind(b"\n", least, max(least, start - 1)) + 1 or least
    for size in (FIRST_LOOK_BYTES, MAX_TRACE_BYTES):
        raw = block[start : start + size].split(b"\n")[:MAX_TRACE_LINES]
        lines = _own_lines([line.decode("utf-8", "replace") for line in raw])
        if len(lines) + 3 < len(raw):
            break
    taken = sum(map(len, raw[: len(lines)])) + len(lines)
    return Place(start, min(start + taken, len(block)), lines)


def _own_lines(lines: list[str]) -> list[str]:
    """Return the lines of the trace that the first one starts, without a prefix they all have."""
    first, rest = lines[0], lines[1:]
    width = _prefix_width(rest[0] if rest else "")
    rest = [line[width:] for line in rest]
    is_python = _PY_START in first or "Exception Group Traceback" in first
    own = _python_lines(rest) if is_python else _other_lines(rest, panicked="panicked at" in first)
    return [first[width:] if is_python and first[width:] else first, *own]


def _python_lines(rest: list[str]) -> list[str]:
    """Return the lines up to the last exception of linked tracebacks."""
    own: list[str] = []
    waiting = True
    for number, line in enumerate(rest):
        if waiting:
            waiting = not (line[:1].strip() and _IS_TYPE.match(line))
            if waiting and not _GOES_ON.match(line):
                break
        elif not _is_link(rest, number):
            break
        else:
            waiting = line.startswith("Traceback ")
        own.append(line)
    return own


def _other_lines(rest: list[str], *, panicked: bool) -> list[str]:
    """Return the lines that look like parts of a stack; after a Rust panic its message too."""
    own = list(rest[:1]) if panicked else []
    own += itertools.takewhile(_GOES_ON.match, rest[len(own) :])
    while own and not own[-1].strip():
        own.pop()
    return own


def _is_link(rest: list[str], number: int) -> bool:
    """Say whether a line after an exception leads to another traceback that is linked to it."""
    told = next((line for line in rest[number : number + 3] if line.strip()), "")
    if told.startswith("Traceback "):
        return any(line.startswith(_PY_LINKS) for line in rest[max(0, number - 2) : number])
    return told.startswith(_PY_LINKS)


def _prefix_width(line: str) -> int:
    """Return how many characters stand before each line, as syslog and containers put them."""
    if line[:1].isspace():
        return 0
    return max(0, *(line.find(sign) for sign in ('  File "', "\tat ", "    at ")))


def _inside_json(block: bytes, start: int, json_from: int) -> Place:
    """Return the trace that is a member of a line's JSON."""
    end = block.find(b"\n", start)
    end = len(block) if end < 0 else end
    try:
        entry = json.loads(block[json_from:end])
    except (ValueError, RecursionError):
        return Place(start, end, [])
    text = max(_texts(entry), key=len, default="")
    return Place(start, end, _from_mark(text.split("\n"))[:MAX_TRACE_LINES])


def _from_mark(lines: list[str]) -> list[str]:
    """Return the lines from the one on where the trace begins."""
    for number, line in enumerate(lines):
        if _AT.match(line):
            return lines[max(0, number - 1) :]
        if _MARK.search(line.encode("utf-8", "replace")):
            return lines[number:]
    return []


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the strings of a JSON value that could be traces."""
    if isinstance(value, str):
        if value.startswith("{") and depth < 2:  # a program's JSON in Docker's own
            with contextlib.suppress(ValueError, RecursionError):
                yield from _texts(json.loads(value), depth + 1)
        elif "\n" in value and _MARK.search(value.encode("utf-8", "replace")):
            yield value
    elif isinstance(value, dict) and depth < 4:
        for member in value.values():
            yield from _texts(member, depth + 1)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield from _texts("\n".join(value), depth + 1)


# --- counting ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fault:
    """All exceptions of one fingerprint.

    Attributes:
        example: The text of the first one.
        counts: By bucket of time.
        files: The log lines that announce the first and the last one, by number of the file.
    """

    trace: Trace
    example: str
    counts: array[int]
    files: dict[int, Ends]

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.counts)


class Faults:
    """Counts the exceptions of any number of files, in fixed memory.

    Attributes:
        folded: Exceptions that were not counted by fingerprint, since there are too many of those.
    """

    def __init__(self, buckets: int) -> None:
        self.folded = 0
        self._buckets = buckets
        self._faults: dict[str, Fault] = {}
        self._seen: dict[bytes, str | None] = {}

    def add(
        self,
        block: bytes,
        is_head: Callable[[bytes], bool],
        *,
        bucket: int,
        file: int,
        offset: int = 0,
    ) -> None:
        """Count the exceptions in whole lines that belong to one bucket.

        Args:
            is_head: Whether a line begins an entry, with a time.
            offset: Of the block in its file, in bytes.
        """
        for place in find(block):
            fault = self._fault(block, place)
            if fault is None:
                continue
            fault.counts[bucket] += 1
            start = _head(block, place.start, is_head)
            end = block.find(b"\n", start)
            line = block[start : end if end >= 0 else len(block)][:MAX_EXAMPLE_BYTES]
            here = (offset + start, 0)
            ends = fault.files.setdefault(file, Ends(line, offset + start, line, here))
            ends.reach(line, here)

    def _fault(self, block: bytes, place: Place) -> Fault | None:
        """Return what a trace is counted under; None when it is none, or one too many."""
        shape = b"\n".join(shapes_of("\n".join(place.lines).encode("utf-8", "replace")))
        if shape in self._seen:
            known = self._seen[shape]
        else:
            known = self._read(place)
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen[shape] = known
        self.folded += known == TOO_MANY
        return None if known is None else self._faults.get(known)

    def _read(self, place: Place) -> str | None:
        trace = parse(place.lines)
        if trace is None:
            return None
        fingerprint = trace.fingerprint
        if fingerprint not in self._faults:
            if len(self._faults) >= MAX_EXCEPTIONS:
                return TOO_MANY
            counts = array("q", bytes(8 * self._buckets))
            self._faults[fingerprint] = Fault(trace, "\n".join(place.lines), counts, {})
        return fingerprint

    def found(self) -> list[Fault]:
        """Return them, most frequent first."""
        faults = self._faults.values()
        return sorted(faults, key=lambda fault: (-fault.count, fault.trace.fingerprint))


def _head(block: bytes, start: int, is_head: Callable[[bytes], bool]) -> int:
    """Return where the log line begins that announces a trace; the trace itself without one."""
    at = start
    for _ in range(LINES_ABOVE + 1):
        end = block.find(b"\n", at)
        if is_head(block[at : end if end >= 0 else len(block)]):
            return at
        if at == 0:
            break
        at = block.rfind(b"\n", 0, at - 1) + 1
    return start
