"""The audit log: who used what, from where, with what outcome; and who was refused.

One JSON line for each tool call, resource read and prompt, on all doors, for each refusal, and for
start and stop. Of arguments it has the names, the sizes and a keyed digest, never a value: values
may be secrets, and a database or an API keeps its own record of what it was asked.

Whoever is audited makes the body of the line and queues it; a thread chains, signs and writes,
every 100 ms. What cannot be written waits, up to 10,000 lines; what is lost after that is counted,
and a line says so when writing goes on. Calls go on meanwhile, and `/health` is degraded.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from core.context import Caller
from core.errors import SuiteError
from core.observability.audit_chain import AuditKey
from core.observability.audit_file import AuditFile, LockTaken
from core.observability.health import Component
from core.settings import LoggingSection, SettingsError
from core.transports.http import HTTPRequest

FLUSH_INTERVAL_S = 0.1
MAX_QUEUED = 10_000
LINES_AT_ONCE = 500
MAX_NAMES = 50
MAX_NAME_CHARS = 100
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
logger = logging.getLogger(__name__)


class AuditLog:
    """The audit log of one server.

    Args:
        section: Names the file; without one nothing is written.
        secret: The seal key.

    Attributes:
        lost: Lines that could not be written, since the start.
    """

    def __init__(self, service: str, version: str, section: LoggingSection, secret: str) -> None:
        self._service = service
        self._version = version
        self._key = AuditKey(secret)
        path = section.audit_file
        self._file = AuditFile(path, self._key, section.max_file_bytes) if path else None
        self._queue: deque[bytes] = deque()
        self._said = 0
        self._problem: str | None = None
        self._stopping = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self.lost = 0

    @property
    def is_on(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    # -- what is noted ----------------------------------------------------------------------------

    def used(
        self,
        event: str,
        name: str,
        caller: Caller,
        arguments: Any,
        outcome: str,
        seconds: float,
    ) -> None:
        """Note one use of a tool, a resource or a prompt."""
        if self._file is None:
            return
        sizes, digest = self._digest(arguments)
        headers = caller.headers
        facts: dict[str, Any] = {
            **_who(caller.principal.name, caller.principal.method, caller.principal.person),
            "address": caller.address,
            "request_id": caller.correlation_id,
        }
        if caller.session is not None:
            facts["session"] = hashlib.sha256(caller.session.encode()).hexdigest()[:16]
        if (traceparent := headers.get(b"traceparent")) is not None:
            facts["traceparent"] = traceparent[:100].decode("latin-1")
        if caller.client is not None:
            facts["client"] = {k: _short(caller.client.get(k)) for k in ("name", "version")}
        facts["name"] = name[:MAX_NAME_CHARS]
        facts["outcome"] = outcome
        facts["duration_ms"] = round(seconds * 1000, 3)
        facts["arguments"] = sizes
        facts["arguments_digest"] = digest
        self.noted(event, **facts)

    def refused(self, request: HTTPRequest, error: SuiteError) -> None:
        """Note credentials that were refused, or that are good for nothing here.

        Whoever sent none is not noted: that is how OAuth begins, and anybody could fill the disk.
        """
        if self._file is None or error.facts.get("reason") == "missing":
            return
        principal = request.principal
        self.noted(
            "refused",
            **_who(principal.name, principal.method, principal.person),
            address=request.address,
            request_id=request.correlation_id,
            path=request.path[:MAX_NAME_CHARS],
            outcome=error.code,
            reason=error.facts.get("reason"),
        )

    def noted(self, event: str, **facts: Any) -> None:
        """Queue one line."""
        if self._file is None:
            return
        if len(self._queue) >= MAX_QUEUED:
            self.lost += 1
            return
        self._queue.append(self._body(event, facts))

    def _body(self, event: str, facts: Mapping[str, Any]) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"time": now, "service": self._service, "event": event, **facts}
        try:
            return to_json(entry, inf_nan_mode="strings")
        except PydanticSerializationError:  # half a surrogate pair
            return to_json({key: ascii(value) for key, value in entry.items()})

    def _digest(self, arguments: Any) -> tuple[dict[str, int], str]:
        """Return the size of each argument in bytes of JSON, and the MAC of all of them."""
        given = arguments if type(arguments) is dict else {"": arguments}
        values = {name: _json(value) for name, value in given.items()}
        shown = sorted(values)[:MAX_NAMES]
        sizes = {name[:MAX_NAME_CHARS]: len(values[name]) for name in shown}
        parts = b"\n".join(_json(name) + b":" + values[name] for name in sorted(values))
        return sizes, self._key.mac(parts)

    # -- the thread -------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin, in a process that stays; also after a fork.

        Raises:
            SettingsError: The file can never be written; a full disk is no such reason.
        """
        if self._file is None:
            return
        try:
            self._file.prepare()
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise SettingsError(f"logging.audit_file: {error.strerror}.") from None
        self.noted("start", version=self._version, process=os.getpid())
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is queued and end."""
        if self._thread is None:
            return
        self.noted("stop", process=os.getpid())
        self._stopping.set()
        self._thread.join(timeout=5)
        self._thread = None
        self.flush()

    def flush(self) -> None:
        """Write what is queued now, as far as that is possible."""
        with self._writing:
            try:
                while self._queue or self._said < self.lost:
                    self._write_some()
            except LockTaken:
                return
            except OSError as error:
                self._note_problem(error.strerror or "it cannot be written")
                return
            self._note_problem(None)

    def _write_some(self) -> None:
        assert self._file is not None
        lost = self.lost
        if self._said < lost and len(self._queue) < MAX_QUEUED:
            self._queue.append(self._body("lost", {"lines": lost - self._said}))
            self._said = lost
        some = [self._queue[n] for n in range(min(LINES_AT_ONCE, len(self._queue)))]
        self._file.append(some)
        for _ in some:
            self._queue.popleft()
        if self._file.set_aside:
            self.noted("set_aside", bytes=self._file.set_aside)
            self._file.set_aside = 0

    def _note_problem(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            if problem is None:
                logger.warning("the audit log is written again; %d lines were lost", self.lost)
            else:
                logger.error("the audit log cannot be written: %s; calls go on", problem)

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_INTERVAL_S):
            try:
                self.flush()
            except Exception:
                logger.exception("the audit log could not be written")

    async def check(self) -> Component:
        """Return how it is doing, for `/health`."""
        if self._file is None:
            return Component("off")
        facts = {"waiting_lines": len(self._queue), "lost_lines": self.lost}
        if self._problem is not None:
            return Component("degraded", f"It cannot be written: {self._problem}.", facts)
        return Component("up", facts=facts)


def _who(name: str, method: str, person: str | None) -> dict[str, Any]:
    who: dict[str, Any] = {"principal": name, "auth": method}
    return who if person is None else {**who, "person": person}


def _short(value: Any) -> str | None:
    return value[:MAX_NAME_CHARS] if type(value) is str else None


def _json(value: Any) -> bytes:
    try:
        return to_json(value, inf_nan_mode="strings")
    except PydanticSerializationError:
        return ascii(value).encode()
