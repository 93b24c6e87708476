"""JSON-RPC over the pipes of one child.

What goes out is in one table, by ids that are ours, and leaves it in one of these ways:

```
the child answers                     the result, or `RemoteError`
the child's answer is none            `BadAnswer`, `AnswerTooLarge`
the deadline passes                   `RequestTimeout`, and notifications/cancelled to the child
the task that waits is cancelled      the same notification, and nothing else
the process ends                      `ChildDied`
```

A request's id is also its progress token, so that one table serves both. What the child asks is in
a second table, by its ids, with the task that answers it.

Everything else that comes is dropped, counted by what it was (`oddities`), and told to the log once
per kind: answers with ids that we did not give, second answers, lines that are no messages.

Deadlines are looked at when `tick` is called; a request that ends in time costs no timer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic_core import from_json, to_json

from core.protocol.messages import JSON, RequestId, has_overflow
from services.bridge.children.process import ChildGone, End
from services.bridge.errors import (
    AnswerTooLarge,
    BadAnswer,
    BridgeBusy,
    ChildDied,
    RemoteError,
    RequestTimeout,
    RequestTooLarge,
    facts_of,
)

if TYPE_CHECKING:
    from services.bridge.children.process import Process

logger = logging.getLogger(__name__)

MAX_ASKED: Final = 64
"""Requests of the child's that may be open at once; each of them waits for a person or a model."""
MAX_PARTS: Final = 500_000
MANY_BYTES: Final = 1024 * 1024
"""A line with fewer bytes is parsed whatever it has."""
MAX_BATCH: Final = 100
_GIVEN_UP: Final = 1024
_EXCERPT: Final = 200
_END: Final = 128

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603


class Peer(Protocol):
    """Whose connection it is."""

    async def asked(self, method: str, params: JSON) -> JSON:
        """Answer a request of the child's; a `RemoteError` is its error."""
        ...

    def told(self, method: str, params: JSON) -> None:
        """Take a notification that is neither progress nor a cancellation."""
        ...

    def ended(self, end: End) -> None:
        """Hear that the process has ended, when everything that waited for it knows."""
        ...


@dataclass(slots=True, eq=False)
class Pending:
    """A request that the child has not answered.

    Attributes:
        sent: When, on the connection's clock.
        timeout_s: From then, and from each sign of progress.
        deadline: When it is given up.
        last: What progress extends the deadline to at most.
        lost: Bytes that an answer may have, when one that may be this one's had more.
    """

    id: int
    method: str
    answer: asyncio.Future[JSON]
    sent: float
    timeout_s: float
    deadline: float
    last: float
    on_progress: Callable[[JSON], None] | None = None
    lost: int | None = field(default=None, init=False)


class Connection:
    """What is said to and by one child; the listener of its process.

    Attributes:
        oddities: What was dropped, and how often.
        last_heard: When the last message came.
        takes_questions: Whether the child may ask; where it may not, it gets no answer either.

    Args:
        server: The child's name, for errors and the log.
        peer: Hears what the child says by itself.
        line_bytes: The longest message that is sent, and the most that may wait to be read.
        redact: Takes the secrets out of what the log is told.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        server: str,
        peer: Peer,
        *,
        line_bytes: int,
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.oddities: Counter[str] = Counter()
        self.last_heard = clock()
        self.takes_questions = True
        self._peer = peer
        self._line_bytes = line_bytes
        self._redact = redact
        self._clock = clock
        self._process: Process | None = None
        self._end: End | None = None
        self._ticked = clock()
        self._next_id = 1
        self._pending: dict[int, Pending] = {}
        self._asked: dict[RequestId, asyncio.Task[None]] = {}
        self._given_up: deque[int] = deque(maxlen=_GIVEN_UP)

    def attach(self, process: Process) -> None:
        """Say what is written to; once, before anything is sent."""
        self._process = process

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open in either direction."""
        return not self._pending and not self._asked

    # --- to the child -----------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        params: JSON,
        *,
        timeout_s: float,
        max_s: float | None = None,
        on_progress: Callable[[JSON], None] | None = None,
    ) -> JSON:
        """Send a request and return its result.

        Args:
            timeout_s: Seconds for the answer, anew after each sign of progress.
            max_s: Seconds at most when there is progress; without it, progress changes nothing.
            on_progress: Called with the params of each progress notification; the child is asked
                for them only then.

        Raises:
            RemoteError: The child answered with an error.
            BadAnswer: It answered with something that is neither a result nor an error.
            AnswerTooLarge: Its answer was longer than a line may be.
            RequestTimeout: It did not answer in time.
            ChildDied: It ended, or had ended before.
            BridgeBusy: It does not read, and too much waits for it.
            RequestTooLarge: The message is longer than a line may be; nothing was sent.
        """
        pending = self.start(
            method, params, timeout_s=timeout_s, max_s=max_s, on_progress=on_progress
        )
        try:
            return await pending.answer
        except asyncio.CancelledError:
            self.give_up(pending, "The caller no longer waits for it.")
            raise

    def start(
        self,
        method: str,
        params: JSON,
        *,
        timeout_s: float = math.inf,
        max_s: float | None = None,
        on_progress: Callable[[JSON], None] | None = None,
    ) -> Pending:
        """Send a request and return what waits for its answer; arguments as for `request`."""
        id_ = self._next_id
        self._next_id += 1
        params = _with_token(params, id_ if on_progress else None)
        self._write(_request(id_, method, params), method)
        now = self._clock()
        pending = Pending(
            id=id_,
            method=method,
            answer=asyncio.get_running_loop().create_future(),
            sent=now,
            timeout_s=timeout_s,
            deadline=now + timeout_s,
            last=now + (timeout_s if max_s is None else max(max_s, timeout_s)),
            on_progress=on_progress,
        )
        self._pending[id_] = pending
        return pending

    def give_up(self, pending: Pending, reason: str) -> None:
        """Forget a request and have the child stop working on it; nothing when it has answered."""
        if self._pending.pop(pending.id, None) is None:
            return
        self._given_up.append(pending.id)
        if pending.method != "initialize":  # which may not be cancelled: 2025-11-25, cancellation
            self.notify("notifications/cancelled", {"requestId": pending.id, "reason": reason})

    def notify(self, method: str, params: JSON) -> None:
        """Send a notification; to a child that has ended it is not worth an error."""
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self._send(to_json(message) + b"\n")

    def tick(self, now: float) -> None:
        """Give up what is past its deadline; while the child asks, no time passes."""
        since, self._ticked = now - self._ticked, now
        if self._asked:  # a person may be reading
            for pending in self._pending.values():
                pending.deadline += since
                pending.last += since
        late = [pending for pending in self._pending.values() if pending.deadline <= now]
        for pending in late:
            self.give_up(pending, "It took too long.")
            _fail(pending, self._too_late(pending))

    def _too_late(self, pending: Pending) -> Exception:
        if pending.lost is not None:
            return self._too_large(pending.method, pending.lost)
        waited = self._clock() - pending.sent
        return RequestTimeout(
            f"The server {self.server} did not answer {pending.method} in {waited:.3g} s.",
            server=self.server,
        )

    def _write(self, line: bytes, method: str) -> None:
        process = self._process
        if process is None or self._end is not None:
            raise self._died(method)
        if len(line) > self._line_bytes:
            raise self._too_long(method, len(line))
        if process.backlog and process.backlog + len(line) > self._line_bytes:
            raise BridgeBusy(
                f"The server {self.server} does not read what it is sent; "
                f"{process.backlog:,} bytes wait for it.",
                server=self.server,
            )
        try:
            process.write(line)
        except ChildGone:
            raise self._died(method) from None

    def _send(self, line: bytes) -> None:
        """Write what nobody waits for."""
        if self._process is None or self._end is not None:
            return
        try:
            self._process.write(line)
        except ChildGone:
            return  # `ended` is about to be called

    def _died(self, method: str) -> ChildDied:
        process = self._process
        end = self._end or (process.end if process is not None else None)
        how = f" It {end.sentence()}." if end is not None else ""
        return ChildDied(
            f"The server {self.server} ended before it answered {method}.{how}",
            **facts_of(self.server, end),
        )

    # --- from the child ---------------------------------------------------------------------------

    def line(self, line: bytes) -> None:
        """Take one line of the child's output."""
        if len(line) > MANY_BYTES and has_many_parts(line):
            self._too_intricate(line)
            return
        try:
            message = from_json(line, allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            self._unreadable(line)
            return
        batch = message if type(message) is list else [message]  # as 2025-03-26 allowed
        if len(batch) > MAX_BATCH:
            self.note_odd(f"a batch of more than {MAX_BATCH} messages", line[:_END])
            return
        for one in batch:
            if has_overflow(one):
                self._overflowing(one)
            else:
                self._take(one)

    def torn(self, begun: bytes) -> None:
        """Take a last line without its newline; half a message is none, and the end is told."""
        try:
            from_json(begun)
        except ValueError:
            self.note_odd("half a line before its end", begun)
        else:
            self.line(begun)

    def line_too_long(self, limit: int, head: bytes = b"") -> None:
        """Hear that a line was thrown away, and end the request whose answer it was.

        Where its beginning does not show whose it was, it was that of the only request on its way;
        of several, those that get no answer in time are told what probably became of it.

        Args:
            head: The first bytes of the line, as far as they were kept.
        """
        self.note_odd("a line longer than the limit", f"more than {limit:,} bytes")
        waiting = [one for one in self._pending.values() if one.deadline < math.inf]
        if (id_ := answered_id(head[:_END], b"")) is not None:
            waiting = [one for one in waiting if one.id == id_]
        if len(waiting) == 1:
            self.give_up(waiting[0], "The answer was too large.")
            _fail(waiting[0], self._too_large(waiting[0].method, limit))
            return
        for pending in waiting:
            pending.lost = limit

    def ended(self, end: End) -> None:
        """Let everything know that the process has ended."""
        self._end = end
        waiting, self._pending = list(self._pending.values()), {}
        for pending in waiting:
            _fail(pending, self._died(pending.method))
        for task in self._asked.values():
            task.cancel()
        self._peer.ended(end)

    def _take(self, message: Any) -> None:
        if type(message) is not dict or message.get("jsonrpc") != "2.0":
            self.note_odd("a line that is no JSON-RPC message", message)
            return
        self.last_heard = self._clock()
        method = message.get("method")
        if method is None:
            self._answered(message)
            return
        params = message.get("params", {})
        if type(method) is not str or type(params) is not dict:
            self.note_odd("a message without a proper method or params", message)
        elif "id" in message:
            self._asks(message["id"], method, params)
        else:
            self._notified(method, params)

    def _answered(self, message: JSON) -> None:
        id_ = message.get("id")
        pending = self._pending.pop(id_, None) if type(id_) is int else None
        if pending is None:
            self._nobodys(id_, message)
            return
        result, error = message.get("result"), message.get("error")
        if type(result) is dict and error is None:
            if not pending.answer.done():
                pending.answer.set_result(result)
        elif type(error) is dict and result is None:
            _fail(pending, _remote(error))
        else:
            self.note_odd("an answer that is neither result nor error", message)
            _fail(pending, self._bad_answer(pending.method))

    def _nobodys(self, id_: Any, message: JSON) -> None:
        if type(id_) is int and id_ in self._given_up:
            self._given_up.remove(id_)  # it crossed our cancellation on its way, as it may
        elif type(id_) is int and 0 < id_ < self._next_id:
            self.note_odd("a second answer to one request", message)
        else:
            self.note_odd("an answer to a request that was never made", message)

    def _unreadable(self, line: bytes) -> None:
        """Drop a line that is no JSON; what can be seen to wait for it need not wait longer.

        Python's `json` writes NaN, which is not JSON, and some answers are nested too deeply.
        """
        if not line.strip():
            return
        self.note_odd("a line that is no JSON", line)
        id_ = answered_id(line[:_END], line[-_END:])
        pending = self._pending.pop(id_, None) if id_ is not None else None
        if pending is not None:
            _fail(pending, self._bad_answer(pending.method))

    def _too_intricate(self, line: bytes) -> None:
        """Drop a line whose values would take gigabytes; tell who can be seen to wait."""
        self.note_odd("a line of too many parts", line[:_END])
        id_ = answered_id(line[:_END], line[-_END:])
        waiting = [one for one in self._pending.values() if one.deadline < math.inf]
        if id_ is not None:
            waiting = [one for one in waiting if one.id == id_]
        if len(waiting) == 1:
            self.give_up(waiting[0], "The answer was too large.")
            _fail(
                waiting[0],
                AnswerTooLarge(
                    f"The answer of the server {self.server} to {waiting[0].method} had more than "
                    f"{MAX_PARTS:,} values.",
                    server=self.server,
                    limit_values=MAX_PARTS,
                ),
            )

    def _overflowing(self, message: Any) -> None:
        """Drop what has a number such as 1e400, which cannot be handed on; tell who waits."""
        self.note_odd("a number beyond 1.8e308", message)
        if type(message) is not dict:
            return
        id_ = message.get("id")
        if "method" in message:
            if self.takes_questions and (type(id_) is int or type(id_) is str):
                error = {"code": INVALID_PARAMS, "message": "A number is beyond 1.8e308."}
                self._reply(id_, {"error": error})
        elif type(id_) is int and (pending := self._pending.pop(id_, None)) is not None:
            _fail(pending, self._bad_answer(pending.method))

    def _asks(self, id_: Any, method: str, params: JSON) -> None:
        if type(id_) is not int and type(id_) is not str:
            self.note_odd("a request with an id that is none", id_)
        elif not self.takes_questions:
            self.note_odd("a request, which its revision does not allow", method)
        elif id_ in self._asked:
            self.note_odd("a request with the id of one that is open", id_)
        elif method == "ping":
            self._reply(id_, {"result": {}})
        elif len(self._asked) >= MAX_ASKED:
            full = f"{MAX_ASKED} requests are open; no more are taken until some are answered."
            self._reply(id_, {"error": {"code": INTERNAL_ERROR, "message": full}})
        else:
            self._asked[id_] = asyncio.create_task(
                self._answer(id_, method, params), name=f"{self.server} asks {method}"
            )

    async def _answer(self, id_: RequestId, method: str, params: JSON) -> None:
        try:
            outcome: JSON = {"result": await self._peer.asked(method, params)}
        except RemoteError as error:
            data = {} if error.data is None else {"data": error.data}
            outcome = {"error": {"code": error.code, "message": error.message, **data}}
        except Exception:
            logger.exception("a question of the server %s could not be asked", self.server)
            outcome = {"error": {"code": INTERNAL_ERROR, "message": "The bridge failed."}}
        finally:
            self._asked.pop(id_, None)
        self._reply(id_, outcome)

    def _reply(self, id_: RequestId, outcome: JSON) -> None:
        self._send(to_json({"jsonrpc": "2.0", "id": id_, **outcome}) + b"\n")

    def _notified(self, method: str, params: JSON) -> None:
        if method == "notifications/progress":
            self._progressed(params)
        elif method == "notifications/cancelled":
            self._withdrawn(params.get("requestId"))
        else:
            self._peer.told(method, params)

    def _progressed(self, params: JSON) -> None:
        token = params.get("progressToken")
        pending = self._pending.get(token) if type(token) is int else None
        if pending is None or pending.on_progress is None:
            return  # its request was answered or given up meanwhile
        pending.deadline = min(self._clock() + pending.timeout_s, pending.last)
        pending.on_progress(params)

    def _withdrawn(self, id_: Any) -> None:
        """Stop asking, or take a stream for ended: 2026-07-28 has that for listen streams only."""
        if type(id_) is not int and type(id_) is not str:
            return
        task = self._asked.get(id_)
        if task is not None:
            task.cancel()
            return
        pending = self._pending.get(id_) if type(id_) is int else None
        if pending is not None and pending.deadline == math.inf:
            del self._pending[pending.id]
            _fail(pending, RemoteError(INTERNAL_ERROR, "The server has ended the stream."))

    # --- what went wrong --------------------------------------------------------------------------

    def note_odd(self, what: str, seen: Any) -> None:
        """Count what is dropped; the log is told of the first of a kind."""
        self.oddities[what] += 1
        if self.oddities[what] == 1:
            logger.warning(
                "the server %s sent %s, and maybe again; it was dropped: %s",
                self.server,
                what,
                self._redact(_excerpt(seen)),
            )

    def _too_large(self, method: str, limit: int) -> AnswerTooLarge:
        return AnswerTooLarge(
            f"The answer of the server {self.server} to {method} had more than {limit:,} bytes.",
            server=self.server,
            limit_bytes=limit,
        )

    def _too_long(self, method: str, length: int) -> RequestTooLarge:
        return RequestTooLarge(
            f"{method} has {length:,} bytes; at most {self._line_bytes:,} are sent to a server.",
            server=self.server,
            limit_bytes=self._line_bytes,
        )

    def _bad_answer(self, method: str) -> BadAnswer:
        return BadAnswer(
            f"The server {self.server} answered {method} with something that is no answer.",
            server=self.server,
        )


_STRING_OR_PART = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|([,\[{])', re.DOTALL)
"""Each match begins where the one before ended, and a string without end goes to the end: what it
costs grows with the line and no faster."""


def has_many_parts(line: bytes) -> bool:
    """Return whether JSON has more than `MAX_PARTS` values, without making them.

    Each takes up to 200 bytes of memory: 56 MB of small objects were 1.7 GB, and 4 s of the loop.
    """
    if line.count(b",") + line.count(b"[") + line.count(b"{") <= MAX_PARTS:
        return False
    parts = (1 for match in _STRING_OR_PART.finditer(line) if match.lastindex)
    return next(itertools.islice(parts, MAX_PARTS, None), None) is not None


_ID_FIRST = re.compile(rb'\s*\{"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,18})\s*,\s*"result"')
_ID_LAST = re.compile(rb'\}\s*,\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,18})\s*\}\s*$')


def answered_id(head: bytes, tail: bytes) -> int | None:
    """Return the id of a response that cannot be read, as the official libraries write theirs.

    Args:
        head: Its first bytes; the Python one begins with the id.
        tail: Its last bytes; the TypeScript one ends with it.
    """
    if found := _ID_FIRST.match(head):
        return int(found[1])
    found = _ID_LAST.search(tail) if head.lstrip().startswith(b'{"result"') else None
    return int(found[1]) if found else None


def _request(id_: int, method: str, params: JSON) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}\n' % (
        id_,
        to_json(method),
        to_json(params),
    )


def _with_token(params: JSON, token: int | None) -> JSON:
    """Return params with our progress token instead of the caller's."""
    meta = params.get("_meta")
    given: JSON = meta if type(meta) is dict else {}
    if token is not None:
        return {**params, "_meta": {**given, "progressToken": token}}
    if "progressToken" not in given:
        return params
    rest = {key: value for key, value in given.items() if key != "progressToken"}
    return {**params, "_meta": rest}


def _remote(error: JSON) -> RemoteError:
    code, message = error.get("code"), error.get("message")
    return RemoteError(
        code if type(code) is int else INTERNAL_ERROR,
        message if type(message) is str else "The server gave no reason.",
        error.get("data"),
    )


def _fail(pending: Pending, error: Exception) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(error)


def _excerpt(seen: Any) -> str:
    """Return the beginning of something."""
    if isinstance(seen, bytes):
        text = seen[:_EXCERPT].decode("utf-8", "replace")
    else:
        text = seen if isinstance(seen, str) else to_json(seen).decode()
    return text[:_EXCERPT]
