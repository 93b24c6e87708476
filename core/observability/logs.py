"""Structured logs: one JSON object a line, or text on a terminal, written by a thread of its own.

Whoever logs makes the line, which takes two microseconds, and appends it to a queue; writing
happens in batches on the writer's thread, so that a slow disk or terminal holds no request up.
(Lines made on that thread would take the interpreter from the requests for milliseconds at a time.)
Lines that a full disk does not take wait. The queue is bounded, and what it had to drop is counted
and said as soon as there is space.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from pydantic_core import to_json

from core.observability import tracing
from core.observability.log_file import LogFile
from core.settings import LoggingSection

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""Set by the guard for the time of a request; every log line of it carries the value."""

FLUSH_INTERVAL_S = 0.1
MAX_QUEUED = 20_000
CLOSE_LIMIT_S = 5.0
_OWN_RECORD_KEYS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "taskName",
    "color_message",  # uvicorn's, the message again for terminals
}


_TOLD = ("timestamp", "level", "message", "service", "logger", "context", "exception")
"""What a line of text has elsewhere, or what tells people nothing."""
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_SHOWN = {code: ascii(chr(code))[1:-1] for code in _CONTROLS}
"""How control characters look in text: strangers' would otherwise reach the terminal."""
_SHOWN_LINES = {code: shown for code, shown in _SHOWN.items() if chr(code) not in "\n\t"}


class Sink(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> int:
        """Take bytes and return how many; raise `OSError` or `ValueError` for none."""


class _StreamSink:
    """A text stream as a sink."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        self._stream.write(data.decode("utf-8"))
        self._stream.flush()
        return len(data)


class _Descriptor:
    """An open file descriptor as a sink; unlike a text stream it keeps nothing that failed.

    Args:
        shared: With other processes: what a pipe takes at once is 4 KiB (pipe(7), PIPE_BUF), so
            they write one at a time.
    """

    def __init__(self, fd: int, *, shared: bool) -> None:
        self._fd = fd
        self._shared = shared

    def write(self, data: bytes) -> int:
        if not self._shared:
            return os.write(self._fd, data)
        # Not flock: the descriptor is inherited, and its holders count as one there.
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            return os.write(self._fd, data)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


class LineWriter:
    """Writes log entries (dictionaries) as lines, in batches, on a daemon thread.

    Args:
        stream: Written to instead of what the settings name.
        shared: Other processes write there, too.
    """

    def __init__(
        self, section: LoggingSection, stream: TextIO | None = None, *, shared: bool = False
    ) -> None:
        self._as_text = _is_for_people(section, stream or sys.stdout)
        self._sink = _sink(section, shared=shared) if stream is None else _StreamSink(stream)
        self._batch = b""
        self._queue: deque[str] = deque()
        self._dropped = 0
        self._second = (0, "")
        self._stopping = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, entry: dict[str, Any]) -> None:
        """Queue one entry as a line; its `timestamp` is seconds since the epoch."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(self._line(entry))
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what is queued and end the thread; a reader that blocks it is not waited for."""
        self._stopping.set()
        self._thread.join(timeout=CLOSE_LIMIT_S)

    def flush(self) -> None:
        """Write what is queued now; what cannot be written stays for the next time."""
        with self._writing:
            while self._batch or self._queue or self._dropped:
                self._batch = self._batch or self._next_batch()
                try:
                    written = self._sink.write(self._batch)
                except (OSError, ValueError):  # a full disk or closed pipe must not stop a service
                    return
                self._batch = self._batch[written:]

    def _next_batch(self) -> bytes:
        lines = [self._queue.popleft() for _ in range(len(self._queue))]
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            note = {"level": "WARNING", "logger": __name__, "message": "log lines were dropped"}
            lines.append(self._line({"timestamp": time.time(), **note, "dropped": dropped}))
        return "".join(lines).encode("utf-8", "replace")

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_INTERVAL_S):
            self.flush()
        self.flush()

    def _line(self, entry: dict[str, Any]) -> str:
        entry["timestamp"] = self._time(entry["timestamp"])
        if not self._as_text:
            try:
                return to_json(entry, fallback=repr, inf_nan_mode="strings").decode() + "\n"
            except ValueError:  # a value that contains itself, or half a surrogate pair
                plain = {key: ascii(value).strip("'") for key, value in entry.items()}
                return to_json(plain).decode() + "\n"
        rest = {**entry, **entry.get("context", {})}
        facts = " ".join(f"{key}={value}" for key, value in rest.items() if key not in _TOLD)
        line = f"{entry['timestamp']} {entry['level']:<7} {entry['message']}  {facts}".rstrip()
        trace = f"\n{entry['exception']}" if "exception" in entry else ""
        return f"{line.translate(_SHOWN)}{trace.translate(_SHOWN_LINES)}\n"

    def _time(self, timestamp: float) -> str:
        """Return a time in ISO 8601; the text of the latest second is remembered."""
        second, text = self._second
        if int(timestamp) != second:
            second = int(timestamp)
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (second, text)
        return f"{text}.{int(timestamp % 1 * 1000):03d}Z"


class QueueingHandler(logging.Handler):
    """Turns log records into entries for the writer."""

    def __init__(self, writer: LineWriter, service: str) -> None:
        super().__init__()
        self._writer = writer
        self._service = service

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg!r} with arguments that do not fit"
        entry: dict[str, Any] = {
            "timestamp": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            "service": self._service,
        }
        if current := correlation_id.get():
            entry["correlation_id"] = current
        if trace_id := tracing.trace_id():
            entry["trace_id"] = trace_id
        context = {k: v for k, v in vars(record).items() if k not in _OWN_RECORD_KEYS}
        if context:
            entry["context"] = context
        if record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = "".join(traceback.format_exception(*record.exc_info))
        self._writer.put(entry)


class RequestLog:
    """Writes the one line that each request leaves.

    Attributes:
        writer: None to write nothing.
    """

    def __init__(self, service: str) -> None:
        self.writer: LineWriter | None = None
        self._service = service

    def write(
        self,
        *,
        method: str,
        path: str,
        status: int,
        seconds: float,
        principal: str,
        request_id: str,
        facts: dict[str, Any],
    ) -> None:
        """Write the line of one request."""
        if self.writer is None:
            return
        trace_id = tracing.trace_id()
        self.writer.put(
            {
                "timestamp": time.time(),
                "level": "INFO",
                "logger": "core.request",
                "message": "request",
                "service": self._service,
                "correlation_id": request_id,
                **({"trace_id": trace_id} if trace_id else {}),
                "context": {
                    "http_method": method,
                    "path": path[:200],
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                    "principal": principal,
                    **facts,
                },
            }
        )


def set_up(section: LoggingSection, service: str, *, shared: bool = False) -> LineWriter:
    """Send all logging of this process through a writer and return it.

    Args:
        shared: Other processes write to the same place.
    """
    writer = LineWriter(section, shared=shared)
    handler = QueueingHandler(writer, service)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(section.level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = name != "uvicorn.access"  # the request line says it already
    return writer


def _is_for_people(section: LoggingSection, stream: TextIO) -> bool:
    if section.format == "auto":
        return section.file is None and stream.isatty()
    return section.format == "text"


def _sink(section: LoggingSection, *, shared: bool) -> Sink:
    if section.file is None:
        return _Descriptor(sys.stdout.fileno(), shared=shared)
    return LogFile(section.file, max_bytes=section.max_file_bytes, old_files=section.old_files)
