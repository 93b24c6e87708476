"""The audit log: who used what, from where, with what outcome; and who was refused.

One JSON line for each tool call, resource read and prompt, on all doors, for each refusal, and for
start and stop. Of arguments it has the names, the sizes and a keyed digest, never a value: values
may be secrets, and a database or an API keeps its own record of what it was asked.

Whoever is audited makes the body of the line and queues it; a thread chains, signs and writes,
every 100 ms. What cannot be written waits, up to 10,000 lines or 8 MB; what is lost after that, or
at a stop, is counted, and a line says so when writing goes on. Calls go on meanwhile, and `/health`
is degraded. Refusals that repeat are summed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from core.context import Caller
from core.errors import SuiteError
from core.observability.audit_chain import AuditKey
from core.observability.audit_file import LOCK_WAIT_S, AuditFile, LockTaken
from core.observability.audit_repeats import Kind, Repeats
from core.observability.health import Component
from core.security.networks import network_of
from core.settings import LoggingSection, SettingsError
from core.transports.http import HTTPRequest

FLUSH_INTERVAL_S = 0.1
MAX_QUEUED = 10_000
MAX_QUEUED_BYTES = 8 * 1024 * 1024
MAX_BODY_BYTES = 16 * 1024
LINES_AT_ONCE = 500
MAX_NAMES = 50
MAX_NAMES_CHARS = 2000
MAX_NAME_CHARS = 100
REFUSALS = frozenset(
    {
        "BAD_REQUEST_STATE",
        "BUSY",
        "INVALID_PARAMS",
        "NOT_PERMITTED",
        "QUOTA_EXCEEDED",
        "RATE_LIMITED",
        "RESOURCE_NOT_FOUND",
        "UNKNOWN_PROMPT",
        "UNKNOWN_TOOL",
    }
)
"""Outcomes of uses that no limit holds back, since they never came so far."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
logger = logging.getLogger(__name__)


class AuditLog:
    """The audit log of one server.

    Args:
        section: Names the file; without one nothing is written.
        secret: The seal key.

    Attributes:
        lost: Lines that could not be written, since the start and at the stop before it.
    """

    def __init__(self, service: str, version: str, section: LoggingSection, secret: str) -> None:
        self._service = service
        self._version = version
        self._key = AuditKey(secret)
        path = section.audit_file
        self._file = (
            AuditFile(path, self._key, section.max_file_bytes, self._body) if path else None
        )
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._queueing = threading.Lock()
        self._repeats = Repeats(self._note_repeated)
        self._locked_out_since: float | None = None
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
        if outcome in REFUSALS and not self._repeats.has_room(
            _kind(event, caller, outcome, name=name[:MAX_NAME_CHARS])
        ):
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
        principal, reason = request.principal, error.facts.get("reason")
        if not self._repeats.has_room(_kind("refused", request, error.code, reason=reason)):
            return
        self.noted(
            "refused",
            **_who(principal.name, principal.method, principal.person),
            address=request.address,
            request_id=request.correlation_id,
            path=request.path[:MAX_NAME_CHARS],
            outcome=error.code,
            reason=reason,
        )

    def _note_repeated(self, kind: Kind, count: int) -> None:
        """Note how many uses or refusals of a kind had no line of their own."""
        known = {name: value for name, value in kind._asdict().items() if value is not None}
        self.noted("repeated", **{"of": known.pop("event"), **known, "lines": count})

    def noted(self, event: str, **facts: Any) -> None:
        """Queue one line."""
        if self._file is None:
            return
        body = self._body(event, facts)
        with self._queueing:
            if len(self._queue) >= MAX_QUEUED or self._queued_bytes >= MAX_QUEUED_BYTES:
                self.lost += 1
                return
            self._queue.append(body)
            self._queued_bytes += len(body)

    def _body(self, event: str, facts: Mapping[str, Any]) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"time": now, "service": self._service, "event": event, **facts}
        try:
            body = to_json(entry, inf_nan_mode="strings")
        except PydanticSerializationError:  # half a surrogate pair
            body = to_json({key: ascii(value) for key, value in entry.items()})
        if len(body) > MAX_BODY_BYTES:
            sizes = {key: len(_json(value)) for key, value in entry.items()}
            body = to_json(
                {k: v if sizes[k] < 1000 else f"{sizes[k]} bytes" for k, v in entry.items()}
            )
        return body

    def _digest(self, arguments: Any) -> tuple[dict[str, int], str]:
        """Return the size of each argument in bytes of JSON, and the MAC of all of them.

        Of names callers may make up as many as they like; not all are shown, nor all of each.
        """
        given = arguments if type(arguments) is dict else {"": arguments}
        values = {name: _json(value) for name, value in given.items()}
        sizes: dict[str, int] = {}
        left = MAX_NAMES_CHARS
        for name in sorted(values)[:MAX_NAMES]:
            shown = _printable(name[:MAX_NAME_CHARS])
            left -= len(shown)
            if left < 0:
                break
            sizes[shown] = len(values[name])
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
            self._file.leave_lost(0)
        except LockTaken as error:
            self._note_problem(str(error.strerror))
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise SettingsError(f"logging.audit_file: {error.strerror}.") from None
        with contextlib.suppress(OSError):
            self.lost += self._file.take_lost()
        self.noted("start", version=self._version, process=os.getpid())
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is queued and end; what cannot be written is counted for the next start."""
        if self._thread is None:
            return
        self._repeats.say()
        self.noted("stop", process=os.getpid())
        self._stopping.set()
        self._thread.join(timeout=5)
        self._thread = None
        until = time.monotonic() + LOCK_WAIT_S
        self.flush()
        while self._locked_out_since is not None and time.monotonic() < until:
            time.sleep(FLUSH_INTERVAL_S)
            self.flush()
        self._leave_lost()

    def _leave_lost(self) -> None:
        lines = len(self._queue) + self.lost - self._said
        if not lines or self._file is None:
            return
        logger.error("%d lines of the audit log could not be written before the stop", lines)
        try:
            self._file.leave_lost(lines)
        except OSError as error:
            logger.error("nor could their number: %s; the next start cannot tell", error.strerror)

    def flush(self) -> None:
        """Write what is queued now, as far as that is possible."""
        with self._writing:
            try:
                while self._queue or self._said < self.lost:
                    self._write_some()
            except LockTaken as error:
                self._note_lock(str(error.strerror))
                return
            except OSError as error:
                self._locked_out_since = None
                self._note_problem(error.strerror or "it cannot be written")
                return
            self._locked_out_since = None
            self._note_problem(None)

    def _note_lock(self, problem: str) -> None:
        """Say that somebody holds the lock, once that is longer than another process writes."""
        now = time.monotonic()
        if self._locked_out_since is None:
            self._locked_out_since = now
        if now >= self._locked_out_since + LOCK_WAIT_S:
            self._note_problem(problem)

    def _write_some(self) -> None:
        assert self._file is not None
        some = [self._queue[n] for n in range(min(LINES_AT_ONCE, len(self._queue)))]
        lost = self.lost
        says_lost = self._said < lost and len(some) == len(self._queue)
        about = [self._body("lost", {"lines": lost - self._said})] if says_lost else []
        self._file.append([*some, *about])
        if says_lost:
            self._said = lost
        with self._queueing:
            for body in some:
                self._queue.popleft()
                self._queued_bytes -= len(body)

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
                self._repeats.tick()
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


def _kind(
    event: str,
    whose: Caller | HTTPRequest,
    outcome: str,
    *,
    name: str | None = None,
    reason: str | None = None,
) -> Kind:
    who, network = whose.principal, network_of(whose.address)
    return Kind(event, who.name, network, outcome, person=who.person, name=name, reason=reason)


def _short(value: Any) -> str | None:
    return _printable(value[:MAX_NAME_CHARS]) if type(value) is str else None


def _printable(text: str) -> str:
    """Return a text in which no character takes six bytes of JSON, as control characters do."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _json(value: Any) -> bytes:
    try:
        return to_json(value, inf_nan_mode="strings")
    except PydanticSerializationError:
        return ascii(value).encode()
