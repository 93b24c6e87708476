"""What a line of a log says: its time, level, message and fields, in the formats that are common.

A format is one row of `FORMATS`: which stamps its lines begin with, and a function that takes a
line apart or says that it is none of its own. A file has the format that most of its first lines
have; lines of other formats in it are still read as what they are. A line that begins like none
continues the entry before: a traceback, a statement, a stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from core.redaction import MARK, is_secret_name, redact
from core.untrusted import clean
from services.monitoring.logs.times import (
    JSON_KEYS,
    KINDS,
    MATCHERS,
    MAX_STAMP_BYTES,
    Calendar,
    Stamp,
    from_epoch,
    stamp_of,
)

LEVELS = ("trace", "debug", "info", "notice", "warning", "error", "critical")
"""From the least to the most severe."""
MAX_LINE_BYTES = 64 * 1024
"""What is parsed of a line; the rest is counted as cut."""
MAX_FIELDS = 60
MAX_FIELD_CHARS = 2_000
SAMPLE_LINES = 40


class Line(NamedTuple):
    """What a line says.

    Attributes:
        at: Seconds since 1970; None where it tells no time.
        level: One of `LEVELS`; None where it tells none.
    """

    at: float | None
    level: str | None
    message: str
    fields: dict[str, str]


class Parts(NamedTuple):
    """A line taken apart by its format.

    Attributes:
        stamp: None where the format finds it by itself.
    """

    stamp: Stamp | None
    level: str | None
    message: str
    fields: dict[str, str]


# --- levels --------------------------------------------------------------------------------------

_LEVEL_NAMES = {
    **dict.fromkeys(("trace", "verbose", "finest", "finer", "silly", "v", "t"), "trace"),
    **dict.fromkeys(("debug", "debug1", "debug2", "debug3", "debug4", "debug5"), "debug"),
    **dict.fromkeys(("dbg", "fine", "d"), "debug"),
    **dict.fromkeys(("info", "information", "informational", "log", "i", "inf", "config"), "info"),
    **dict.fromkeys(("notice", "n"), "notice"),
    **dict.fromkeys(("warn", "warning", "wrn", "w"), "warning"),
    **dict.fromkeys(("error", "err", "severe", "e", "fail", "eror"), "error"),
    **dict.fromkeys(("critical", "crit", "fatal", "panic", "alert", "emerg"), "critical"),
    **dict.fromkeys(("emergency", "f", "c", "dpanic", "ftl"), "critical"),
}
_PRIORITIES = (*["critical"] * 3, "error", "warning", "notice", "info", "debug")
"""Of syslog, by severity: RFC 5424, section 6.2.1."""
_PINO = {10: "trace", 20: "debug", 30: "info", 40: "warning", 50: "error", 60: "critical"}
_LEVEL_WORD = re.compile(
    r"(?<![\w/.-])(?:(TRACE|DEBUG[1-5]?|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|SEVERE|CRIT(?:ICAL)?|ALERT"
    r"|EMERG|FATAL|PANIC)(?![\w/-])"
    r"|[\[<(|](trace|debug|info|notice|warn(?:ing)?|error|err|crit(?:ical)?|alert|emerg|fatal|panic"
    r"|Trace|Debug|Info|Warn(?:ing)?|Error|Critical|Fatal)[\]>)|])"
)
_LEVEL_REACH = 120


def level_of(value: object) -> str | None:
    """Return the level that a name or a number of bunyan and pino means."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _PINO.get(int(value) // 10 * 10) if 10 <= value < 100 else None
    return _LEVEL_NAMES.get(str(value).strip().lower()) if value is not None else None


def _guessed(text: str) -> str | None:
    """Return the level that stands near the beginning of a text."""
    found = _LEVEL_WORD.search(text, 0, _LEVEL_REACH)
    return level_of(found[1] or found[2]) if found is not None else None


def is_at_least(level: str | None, least: str) -> bool:
    """Tell whether a level is as severe as another; none is not."""
    return level is not None and LEVELS.index(level) >= LEVELS.index(least)


# --- JSON ----------------------------------------------------------------------------------------

_TIME_KEYS = tuple(key.decode() for key in JSON_KEYS)
_LEVEL_KEYS = (
    *("level", "severity", "levelname", "lvl", "loglevel", "log.level", "level_name", "@l"),
    *("log_level", "severity_text", "PRIORITY"),
)
_MESSAGE_KEYS = (
    *("message", "msg", "@m", "@mt", "short_message", "MESSAGE", "event", "textPayload", "text"),
    "log",
)


def _json(line: bytes, kinds: Sequence[str]) -> Parts | None:
    if not line.startswith(b"{"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not data:
        return None
    time_key = next((key for key in _TIME_KEYS if _json_time(data.get(key)) is not None), None)
    level_key, level = _json_level(data)
    message_key = next((key for key in _MESSAGE_KEYS if isinstance(data.get(key), str)), None)
    rest = {k: v for k, v in data.items() if k not in (time_key, level_key, message_key)}
    message = data[message_key] if message_key is not None else ""
    stamp = _json_time(data[time_key]) if time_key is not None else None
    return Parts(stamp, level, message, dict(_flat(rest)))


def _json_level(data: dict[str, Any]) -> tuple[str | None, str | None]:
    for key in _LEVEL_KEYS:
        value = data.get(key)
        if key in data:
            if (level := level_of(value)) is not None:
                return key, level
            if (priority := _priority(value)) is not None:
                return key, priority
    nested = data.get("log")
    return None, level_of(nested.get("level")) if isinstance(nested, dict) else None


def _priority(value: object) -> str | None:
    """GELF and journald tell the severity of syslog, the latter as text."""
    text = str(value)
    return _PRIORITIES[int(text)] if text in "01234567" and len(text) == 1 else None


def _json_time(value: object) -> Stamp | None:
    if isinstance(value, str):
        return stamp_of(value.encode("utf-8", "replace"), ("iso", "epoch", "clf", "day_first"))
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            at = from_epoch(int(value))
        except (OverflowError, ValueError):
            return None
        fraction = value % 1 if isinstance(value, float) and value < 1e11 else 0
        return Stamp(at + fraction, True, True, 0) if at is not None else None
    return None


def _flat(data: dict[str, Any], above: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the members of an object as text, nested names joined by dots."""
    for count, (key, value) in enumerate(data.items()):
        if count >= MAX_FIELDS:
            return
        name = f"{above}{key}"
        if isinstance(value, dict) and depth < 3 and value:
            yield from _flat(value, f"{name}.", depth + 1)
        elif isinstance(value, str):
            yield name, value
        else:
            yield name, json.dumps(value, ensure_ascii=False)


# --- containers ----------------------------------------------------------------------------------

_DOCKER = re.compile(rb'\{"log": ?"')
_CRI = re.compile(rb"(\d{4}-\d\d-\d\dT\S{9,28}) (stdout|stderr) ([FP])(?::\S*)? ?(.*)", re.DOTALL)


def _docker(line: bytes, kinds: Sequence[str]) -> Parts | None:
    """Docker's json-file: a line of the program in `log`, and when it was read."""
    if not _DOCKER.match(line):
        return None
    try:
        data = json.loads(line)
        stamp, stream = _json_time(data.get("time")), str(data.get("stream", ""))
        log = str(data["log"])
    except (ValueError, KeyError, RecursionError):
        return None
    return _inside(log.rstrip("\r\n"), stamp, stream)


def _cri(line: bytes, kinds: Sequence[str]) -> Parts | None:
    """Kubernetes' container runtimes: time, stream, full or partial, and a line of the program."""
    match = _CRI.match(line)
    if match is None:
        return None
    stamp = stamp_of(match[1], ("iso",))
    return _inside(match[4].decode("utf-8", "replace"), stamp, match[2].decode())


def _inside(text: str, stamp: Stamp | None, stream: str) -> Parts:
    """Return what the line of a program says; it knows better when that was."""
    inner = parts_of(text.encode("utf-8", "replace"), INNER)
    if inner is None:
        return Parts(stamp, _guessed(text), text, {"stream": stream})
    better = inner.stamp if inner.stamp and inner.stamp.has_zone and inner.stamp.has_year else stamp
    return Parts(better, inner.level, inner.message, {"stream": stream, **inner.fields})


# --- texts ---------------------------------------------------------------------------------------

_PAIR = re.compile(r'([A-Za-z_@][\w.@/-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+|$)')


def _logfmt(line: bytes, kinds: Sequence[str]) -> Parts | None:
    text = line.decode("utf-8", "replace")
    if not (first := _PAIR.match(text)) or first.end() == len(text):
        return None
    pairs: dict[str, str] = {}
    at = 0
    while (pair := _PAIR.match(text, at)) is not None and len(pairs) < MAX_FIELDS:
        value = pair[2]
        pairs[pair[1]] = _unquoted(value) if value.startswith('"') else value
        at = pair.end()
    if len(pairs) < 2:
        return None
    level = next((pairs.pop(key) for key in ("level", "lvl", "severity") if key in pairs), None)
    message = next((pairs.pop(key) for key in ("msg", "message", "event") if key in pairs), "")
    for key in ("time", "ts", "timestamp", "t", "at"):
        pairs.pop(key, None)
    return Parts(stamp_of(line, ("logfmt",)), level_of(level), message or text[at:], pairs)


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value))
    except ValueError:
        return value.strip('"')


_ACCESS = re.compile(
    r"(?:(?P<vhost>\S+:\d+) )?(?P<remote_addr>\S+) \S+ (?P<user>\S+|[^\[]{1,80}) "
    r"\[[^\]]{20,34}\] \"(?:(?P<method>[A-Z]{3,12}) (?P<path>[^\"\s]*)"
    r"(?: (?P<protocol>HTTP/[\d.]+))?"
    r"|(?P<request>(?:[^\"\\]|\\.)*))\" (?P<status>\d{3}) (?P<bytes>\d+|-)"
    r"(?: \"(?P<referer>(?:[^\"\\]|\\.)*)\" \"(?P<user_agent>(?:[^\"\\]|\\.)*)\")?(?P<more>.*)",
    re.DOTALL,
)


def _access(line: bytes, kinds: Sequence[str]) -> Parts | None:
    """Common and combined formats of nginx and Apache; a level is made of the status."""
    stamp = stamp_of(line, ("clf",))
    match = _ACCESS.match(line.decode("utf-8", "replace")) if stamp is not None else None
    if match is None:
        return None
    fields = {k: v for k, v in match.groupdict().items() if v not in (None, "-", "")}
    if (more := fields.pop("more", "").strip()) and re.fullmatch(r"\d+\.\d+", more.split()[0]):
        fields["request_time"] = more.split()[0]
    asked = " ".join(filter(None, (match["method"], match["path"]))) or match["request"] or ""
    status = int(match["status"])
    level = "error" if status >= 500 else "warning" if status >= 400 else "info"
    return Parts(stamp, level, f"{asked} {status}", fields)


_SYSLOG_TAIL = re.compile(
    r" (?P<host>\S+) (?P<program>[^\s:\[]{1,80})(?:\[(?P<pid>[^\]]{1,20})\])?: ?", re.DOTALL
)
_SHORT_ISO_TAIL = re.compile(
    r" (?P<host>[\w.:-]+) (?P<program>[\w./@:-]{1,80}?)(?:\[(?P<pid>\d{1,10})\])?: ", re.DOTALL
)
_PRI = re.compile(rb"<(\d{1,3})>")


def _syslog(line: bytes, kinds: Sequence[str]) -> Parts | None:
    """RFC 3164: `<PRI>Mon dd hh:mm:ss host program[pid]: message`; files often lack the PRI."""
    stamp = stamp_of(line, ("syslog",))
    return _tailed(line, stamp, _SYSLOG_TAIL) if stamp is not None else None


def _short_iso(line: bytes, kinds: Sequence[str]) -> Parts | None:
    """What `journalctl -o short-iso` writes, and rsyslog: the same with a stamp of ISO 8601."""
    stamp = stamp_of(line, ("iso",))
    return _tailed(line, stamp, _SHORT_ISO_TAIL) if stamp is not None else None


def _tailed(line: bytes, stamp: Stamp, pattern: re.Pattern[str]) -> Parts | None:
    rest = line[stamp.end :].decode("utf-8", "replace")
    match = pattern.match(rest)
    if match is None:
        return None
    fields = {k: v for k, v in match.groupdict().items() if v}
    message = rest[match.end() :]
    priority = _PRI.match(line)
    level = _PRIORITIES[int(priority[1]) & 7] if priority is not None else _guessed(message)
    return Parts(stamp, level, message, fields)


_5424 = re.compile(
    r" (?P<host>\S+) (?P<program>\S+) (?P<pid>\S+) (?P<msgid>\S+) "
    r"(?P<data>-|(?:\[(?:[^\]\"]|\"(?:[^\"\\]|\\.)*\")*\])+)(?: |$)",
)
_SD_PAIR = re.compile(r'([\w.@-]{1,64})="((?:[^"\\\]]|\\.)*)"')


def _syslog5424(line: bytes, kinds: Sequence[str]) -> Parts | None:
    stamp, priority = stamp_of(line, ("syslog5424",)), _PRI.match(line)
    if stamp is None or priority is None:
        return None
    rest = line[stamp.end :].decode("utf-8", "replace")
    match = _5424.match(rest)
    if match is None:
        return None
    fields = {k: v for k, v in match.groupdict().items() if v != "-" and k != "data"}
    fields |= dict(_SD_PAIR.findall(match["data"]))
    message = rest[match.end() :].removeprefix("\ufeff")
    return Parts(stamp, _PRIORITIES[int(priority[1]) & 7], message, fields)


_NGINX = re.compile(
    r" \[(\w+)\] (?P<pid>\d+)#(?P<tid>\d+): (?:\*(?P<connection>\d+) )?(.*)", re.DOTALL
)
_NGINX_FIELD = re.compile(r", (client|server|request|upstream|host|referrer): (\"[^\"]*\"|[^,]*)")


def _nginx_error(line: bytes, kinds: Sequence[str]) -> Parts | None:
    stamp = stamp_of(line, ("iso",))
    if stamp is None or line[4:5] != b"/":
        return None
    match = _NGINX.match(line[stamp.end :].decode("utf-8", "replace"))
    if match is None:
        return None
    fields = {k: v for k, v in match.groupdict().items() if v}
    fields |= {name: value.strip('"') for name, value in _NGINX_FIELD.findall(match[5])}
    return Parts(stamp, level_of(match[1]), match[5], fields)


_APACHE = re.compile(
    r"\] \[(?:(?P<module>[\w-]*):)?(\w+)\](?: \[pid (?P<pid>\d+)(?::tid (?P<tid>\d+))?\])?"
    r"(?: \[client (?P<client>[^\]]+)\])? ?(.*)",
    re.DOTALL,
)


def _apache_error(line: bytes, kinds: Sequence[str]) -> Parts | None:
    stamp = stamp_of(line, ("ctime",)) if line.startswith(b"[") else None
    match = _APACHE.match(line[stamp.end :].decode("utf-8", "replace")) if stamp else None
    if match is None:
        return None
    fields = {k: v for k, v in match.groupdict().items() if v}
    return Parts(stamp, level_of(match[2].rstrip("12345678")), match[6], fields)


_POSTGRES = re.compile(
    r"(?: [A-Z]{3,5})?[ :]{1,2}\[?(?P<pid>\d+)\]?(?P<about>[^\n]{0,200}?)[ :]"
    r"(DEBUG[1-5]?|INFO|NOTICE|WARNING|ERROR|LOG|FATAL|PANIC): {1,2}",
)
_POSTGRES_MORE = re.compile(
    rb"[^\n]{0,240}?\[\d+\][^\n]{0,160}?[ :](?:DETAIL|HINT|QUERY|CONTEXT|LOCATION|STATEMENT): {1,2}"
)
_POSTGRES_WHO = re.compile(r"(?P<user>[\w.\[\]-]+)@(?P<database>[\w.\[\]-]+)")


def _postgres(line: bytes, kinds: Sequence[str]) -> Parts | None:
    stamp = stamp_of(line, ("iso",))
    if stamp is None:
        return None
    rest = line[stamp.end :].decode("utf-8", "replace")
    match = _POSTGRES.match(rest)
    if match is None:
        return None
    who = _POSTGRES_WHO.search(match["about"])
    fields = {"pid": match["pid"], **(who.groupdict() if who else {})}
    return Parts(stamp, level_of(match[3]), rest[match.end() :], fields)


_UVICORN = re.compile(
    rb"(?:\x1b\[[0-9;]*m)?(TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL)(?:\x1b\[[0-9;]*m)?:"
    rb"(?:(?P<logger>[\w.]{1,80}):|\s{1,9})",
)
_UVICORN_ACCESS = re.compile(
    r'(?P<remote_addr>[\d.a-fA-F:\[\]]+):\d+ - "(?P<method>[A-Z]{3,12}) (?P<path>\S+) '
    r'(?P<protocol>HTTP/[\d.]+)" (?P<status>\d{3})'
)


def _uvicorn(line: bytes, kinds: Sequence[str]) -> Parts | None:
    """Uvicorn on a terminal (`INFO:     message`), Python's basicConfig (`INFO:name:message`)."""
    match = _UVICORN.match(line)
    if match is None:
        return None
    message = line[match.end() :].decode("utf-8", "replace")
    fields = {"logger": match["logger"].decode()} if match["logger"] else {}
    access = _UVICORN_ACCESS.match(ANSI.sub("", message))
    return Parts(
        None, level_of(match[1].decode()), message, fields | (access.groupdict() if access else {})
    )


_KLOG = re.compile(r"\s+(?P<pid>\d+) (?P<source>[\w./-]+:\d+)\] (.*)", re.DOTALL)


def _klog(line: bytes, kinds: Sequence[str]) -> Parts | None:
    stamp = stamp_of(line, ("klog",))
    match = _KLOG.match(line[stamp.end :].decode("utf-8", "replace")) if stamp else None
    if match is None:
        return None
    fields = {"pid": match["pid"], "source": match["source"]}
    return Parts(stamp, level_of(line[:1].decode()), match[3], fields)


_PYTHON = re.compile(
    r"\s?(?:- (?P<logger>[\w.]+) - (?P<a>[A-Z]{4,8}) - "
    r"|(?P<b>TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+"
    r"(?:\[(?P<logger2>[\w.]+)\]:?|(?P<logger4>[\w.]+):)\s"
    r"|\[(?P<c>TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL)\s*\]\s(?:(?P<logger3>[\w.]+): )?)"
)


def _python(line: bytes, kinds: Sequence[str]) -> Parts | None:
    stamp = stamp_of(line, ("iso",))
    if stamp is None:
        return None
    rest = line[stamp.end :].decode("utf-8", "replace")
    match = _PYTHON.match(rest)
    if match is None or (level := level_of(match["a"] or match["b"] or match["c"])) is None:
        return None
    logger = next((v for k, v in match.groupdict().items() if k.startswith("logger") and v), None)
    return Parts(stamp, level, rest[match.end() :], {"logger": logger} if logger else {})


_BEHIND_STAMP = re.compile(r"[\])\"',;:|\s-]*")
_LEVEL_FIRST = re.compile(
    r"[\[<(|]?(?:TRACE|DEBUG[1-5]?|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|CRIT(?:ICAL)?|FATAL|PANIC|trace"
    r"|debug|info|notice|warn(?:ing)?|error|crit(?:ical)?|fatal)\b[\]>)|]?[:\s|-]*"
)


def _stamped(line: bytes, kinds: Sequence[str]) -> Parts | None:
    """Any line that begins with a time."""
    stamp = stamp_of(line, kinds)
    if stamp is None:
        return None
    before = line[: stamp.end].decode("utf-8", "replace")
    rest = line[stamp.end :].decode("utf-8", "replace")
    message = rest[_behind(rest) :]
    level = _guessed(before) or _guessed(rest)
    first = _LEVEL_FIRST.match(message)
    if first is not None and level_of(first[0].strip("[]<>()|: \t-")) == level:
        message = message[first.end() :]
    return Parts(stamp, level, message, {})


def _behind(rest: str) -> int:
    match = _BEHIND_STAMP.match(rest)
    return match.end() if match is not None else 0


# --- the table -----------------------------------------------------------------------------------

ALL_KINDS = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        kinds: Of the stamps that its lines begin with, as in `times.KINDS`.
        parse: Takes a line apart; None where it is not of this format.
    """

    name: str
    kinds: tuple[str, ...]
    parse: Callable[[bytes, Sequence[str]], Parts | None]


FORMATS = (
    Format("docker", ("json",), _docker),
    Format("json", ("json",), _json),
    Format("cri", ("iso",), _cri),
    Format("access", ("clf",), _access),
    Format("syslog5424", ("syslog5424",), _syslog5424),
    Format("syslog", ("syslog",), _syslog),
    Format("nginx_error", ("iso",), _nginx_error),
    Format("apache_error", ("ctime",), _apache_error),
    Format("postgres", ("iso",), _postgres),
    Format("python", ("iso",), _python),
    Format("short_iso", ("iso",), _short_iso),
    Format("klog", ("klog",), _klog),
    Format("logfmt", ("logfmt",), _logfmt),
    Format("stamped", tuple(kind for kind in KINDS if kind not in ("json", "logfmt")), _stamped),
    Format("uvicorn", (), _uvicorn),
)
PLAIN = Format("plain", (), lambda line, kinds: None)
INNER = tuple(row for row in FORMATS if row.name not in ("docker", "cri"))


def parts_of(line: bytes, formats: Iterable[Format]) -> Parts | None:
    """Return what the first format that knows the line makes of it."""
    for row in formats:
        parts = row.parse(line, row.kinds)
        if parts is not None:
            return parts
    return None


def format_of(head: bytes) -> Format:
    """Return the format of a file that begins like this: that of most of its first lines."""
    lines = [line for line in head.split(b"\n")[:400] if line.strip()][: SAMPLE_LINES * 3]
    counts: dict[str, int] = {}
    for line in _spread(lines):
        for row in FORMATS:
            if row.parse(line[:MAX_LINE_BYTES].rstrip(b"\r"), row.kinds) is not None:
                counts[row.name] = counts.get(row.name, 0) + 1
                break
    return max(FORMATS, key=lambda row: counts.get(row.name, 0)) if counts else PLAIN


def _spread(lines: list[bytes]) -> list[bytes]:
    step = max(1, len(lines) // SAMPLE_LINES)
    return lines[::step]


# --- the lines of one file -----------------------------------------------------------------------

_MIXED_KINDS = ("iso", "syslog", "clf", "ctime", "json", "syslog5424", "klog", "day_first")
_IN_DOCKER, _IN_CRI = rb'\{"log": ?"', rb"\S{10,40} std(?:out|err) [FP](?::\S*)? "
_LINKS = rb"Caused by:|During handling of|The above exception"
_CRI_PARTIAL = re.compile(rb"\S{10,40} std(?:out|err) P(?::\S*)? ")
_JOINED = re.compile(
    rb"[ \t})\]]|Caused by:|\.\.\. \d+ more|During handling of|The above exception"
)
_LAST_OF_TRACE = re.compile(rb"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Group|Warning)\b")
_INDENTED_IN = {
    "docker": re.compile(_IN_DOCKER + rb"(?: |\\t|\\n\"|" + _LINKS + rb")"),
    "cri": re.compile(_IN_CRI + rb"(?:[ \t]|" + _LINKS + rb")"),
}
"""Lines in a container's record that continue the one before, and those that end a traceback."""
_LAST_IN = {
    "docker": re.compile(_IN_DOCKER + _LAST_OF_TRACE.pattern),
    "cri": re.compile(_IN_CRI + _LAST_OF_TRACE.pattern),
}
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{1,76}={0,2}\r?")
_HEX = re.compile(rb"[0-9a-fA-F]+")
_PEM_LENGTHS = frozenset((64, 70, 76))
"""Of the lines of RFC 7468, OpenSSH and MIME."""
_TRACEBACK = b"Traceback (most recent call last)"
_CLOCKS = frozenset(kind for kind, pattern in KINDS.items() if "h" in pattern.groupindex) - {
    "json",
    "logfmt",
}
"""Stamps that begin with a day, which may be none of the calendar, and go on with a clock."""
_MAX_DAYS = 10_000
_BRACE = ord("{")


class Reader:
    """Reads the lines of one file.

    Attributes:
        format: That of most of its lines.
        calendar: Completes its stamps.
    """

    __slots__ = ("_days", "_kinds", "calendar", "format")

    def __init__(self, row: Format, calendar: Calendar) -> None:
        self.format = row
        self.calendar = calendar
        self._kinds = (*row.kinds, *(kind for kind in _MIXED_KINDS if kind not in row.kinds))
        self._days: dict[bytes, bool] = {}

    def is_start(self, line: bytes, before: bytes | None = None) -> bool:
        """Tell whether a line begins an entry.

        Args:
            before: The line above, where it is known.
        """
        if not line or line[0] in b" \t\r":
            return False
        name = self.format.name
        if before is not None and name == "cri" and _CRI_PARTIAL.match(before):
            return False
        if name in ("json", "docker", "cri", "plain", "uvicorn"):
            return self._starts_alone(name, line, before)
        if name == "postgres" and _POSTGRES_MORE.match(line):
            return False
        return stamp_of(line, self._kinds) is not None

    def begins(self, data: bytearray, at: int, end: int) -> bool:
        """Tell quickly whether the line between two places of a buffer surely begins an entry.

        Returns:
            False also where only `is_start` can tell.
        """
        name = self.format.name
        if name == "json":
            return data[at] == _BRACE
        if name == "docker":
            may_continue = (_INDENTED_IN[name], _LAST_IN[name])
            return data[at] == _BRACE and not any(p.match(data, at, end) for p in may_continue)
        if name in ("cri", "postgres"):
            return False
        for kind in self.format.kinds:
            if kind not in _CLOCKS:
                continue
            match = MATCHERS[kind](data, at, min(end, at + MAX_STAMP_BYTES))
            if match is not None:
                return self._is_day(bytes(data[at : match.end()]), match.start("h") - at)
        return False

    def _is_day(self, stamp: bytes, clock: int) -> bool:
        """Tell whether the day before the clock of a stamp is one of the calendar."""
        day = stamp[:clock]
        known = self._days.get(day)
        if known is None:
            if len(self._days) >= _MAX_DAYS:
                self._days.clear()
            known = self._days[day] = stamp_of(stamp, self.format.kinds) is not None
        return known

    def _starts_alone(self, name: str, line: bytes, before: bytes | None) -> bool:
        """Where lines of a program without stamps stand among others, or alone."""
        if (indented := _INDENTED_IN.get(name)) is not None:
            ends_trace = (
                before is not None and indented.match(before) and _LAST_IN[name].match(line)
            )
            return not (ends_trace or indented.match(line))
        if line.startswith(b"{"):
            return True
        if _JOINED.match(line):
            return False
        return before is None or not _continues(before, line)

    def at(self, line: bytes) -> float | None:
        """Return the time of a line; None where it begins with none."""
        stamp = stamp_of(line, self._kinds)
        return self.calendar.resolve(stamp) if stamp is not None else None

    def line(self, line: bytes) -> Line | None:
        """Return what a line says; None for one that continues the line before."""
        line = line[:MAX_LINE_BYTES].rstrip(b"\r")
        if not self.is_start(line):
            return None
        row = self.format
        parts = None if _is_of_other(row, line) else row.parse(line, row.kinds)
        parts = parts or parts_of(line, FORMATS)
        if parts is None:
            text = line.decode("utf-8", "replace")
            return Line(self.at(line), _guessed(text) or _of_trace(line), text, {})
        at = self.calendar.resolve(parts.stamp) if parts.stamp is not None else None
        return Line(at, parts.level, parts.message, parts.fields)

    def entry(self, lines: Sequence[bytes]) -> Line:
        """Return what an entry says: its first line, with the text of those that continue it."""
        first = self.line(lines[0])
        if first is None:  # the file, or what may be read of it, begins inside an entry
            first = Line(None, _of_trace(lines[0]), lines[0].decode("utf-8", "replace"), {})
        if len(lines) == 1:
            return first
        level = first.level or next(filter(None, map(_of_trace, lines)), None)
        partial = self.format.name == "cri"
        message = first.message
        for before, line in pairwise(lines):
            glue = "" if partial and _CRI_PARTIAL.match(before) else "\n"
            message += glue + self._inner(line)
        return Line(first.at, level, message, first.fields)

    def _inner(self, line: bytes) -> str:
        """Return the text of a line that continues an entry, out of its container's record."""
        line = line.rstrip(b"\r")
        if self.format.name == "cri" and (match := _CRI.match(line)) is not None:
            return match[4].decode("utf-8", "replace")
        if self.format.name == "docker" and (parts := _docker(line, ())) is not None:
            try:
                return str(json.loads(line)["log"]).rstrip("\r\n")
            except (ValueError, KeyError):
                return parts.message
        return line.decode("utf-8", "replace")


def _is_of_other(row: Format, line: bytes) -> bool:
    """Tell whether a line of a file with any stamps looks like one of syslog, or of an access."""
    return row.name == "stamped" and (line[:1] == b"<" or b'] "' in line[:200])


def _continues(before: bytes, line: bytes) -> bool:
    """Tell whether a line ends the traceback above it, or is part of the key that began there."""
    if before[:1] in (b" ", b"\t"):
        return _LAST_OF_TRACE.match(line) is not None
    in_key = before.startswith(b"-----BEGIN") or _is_of_key(before)
    return in_key and (line.startswith(b"-----END") or _BASE64.fullmatch(line) is not None)


def _is_of_key(line: bytes) -> bool:
    """Tell whether a line is a full one of a PEM block, and no sum in hexadecimal digits."""
    line = line.rstrip(b"\r")
    return (
        len(line) in _PEM_LENGTHS
        and _BASE64.fullmatch(line) is not None
        and _HEX.fullmatch(line) is None
    )


def _of_trace(line: bytes) -> str | None:
    return "error" if line.startswith(_TRACEBACK) else None


# --- what is shown -------------------------------------------------------------------------------

ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]"
)


class Shown(NamedTuple):
    """A text as results show it.

    Attributes:
        redacted: Secrets that were replaced.
        removed: Characters that were taken out: terminal sequences, controls, hidden ones.
    """

    text: str
    redacted: int
    removed: int


def shown(text: str) -> Shown:
    """Return a text without terminal sequences, hidden characters and secrets."""
    plain = ANSI.sub("", text) if "\x1b" in text else text
    cleaned = clean(plain)
    redacted = redact(cleaned.text)
    removed = len(text) - len(plain) + cleaned.removed
    return Shown(redacted.text, redacted.count, removed)


def shown_field(name: str, value: str) -> Shown:
    """Return the value of a field likewise; it is secret also by its name."""
    if value and is_secret_name(name) and value not in ("null", "true", "false", MARK):
        return Shown(MARK, 1, 0)
    return shown(value[:MAX_FIELD_CHARS])
