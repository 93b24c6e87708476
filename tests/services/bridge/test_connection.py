"""JSON-RPC over a child's pipes: whatever it sends, each request ends once and in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.protocol.messages import JSON
from services.bridge.children import connection as subject
from services.bridge.children.connection import Connection, answered_id, has_many_parts
from services.bridge.children.process import ChildGone, End, Process
from services.bridge.errors import (
    AnswerTooLarge,
    BadAnswer,
    BridgeBusy,
    ChildDied,
    RemoteError,
    RequestTimeout,
    RequestTooLarge,
)

LINE_BYTES = 10_000
CRASHED = End(code=3, signal=None, why="exited", stderr=("out of luck",))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what the subject does has no event of its own
            await asyncio.sleep(0)


class Pipe:
    """A process that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[JSON] = []
        self.backlog = 0
        self.end: End | None = None
        self.is_gone = False

    def write(self, data: bytes) -> None:
        """Take one line."""
        if self.is_gone:
            raise ChildGone
        assert data.endswith(b"\n"), "a message is a line"
        assert data.count(b"\n") == 1, "and only one"
        self.sent.append(json.loads(data))


class Person:
    """Who is asked and told by the child."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, JSON]] = []
        self.end: End | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.left = 0

    async def asked(self, method: str, params: JSON) -> JSON:
        """Answer with the question, when that is allowed."""
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        if method == "refused":
            raise RemoteError(-1, "no", {"why": "because"})
        if method == "broken":
            raise KeyError(method)
        return {"you asked": method, **params}

    def told(self, method: str, params: JSON) -> None:
        """Keep it."""
        self.heard.append((method, params))

    def ended(self, end: End) -> None:
        """Keep it."""
        self.end = end


class Desk:
    """A connection, what it is between, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pipe, self.person = Pipe(), Person()
        self.connection = Connection(
            "toy",
            self.person,
            line_bytes=LINE_BYTES,
            redact=lambda text: text,
            clock=lambda: self.now,
        )
        self.connection.attach(cast(Process, self.pipe))

    async def ask(self, method: str = "tools/call", **options: Any) -> asyncio.Task[JSON]:
        """Make a request and return what waits for it, once it is sent."""
        sent = len(self.pipe.sent)
        request = self.connection.request(method, {"a": 1}, **{"timeout_s": 30.0, **options})
        task = asyncio.ensure_future(request)
        await until(lambda: len(self.pipe.sent) > sent or task.done())
        return task

    def says(self, message: Any) -> None:
        """Have the child send one message."""
        self.connection.line(json.dumps(message).encode())

    def answers(self, id_: Any, **outcome: Any) -> None:
        """Have the child answer."""
        self.says({"jsonrpc": "2.0", "id": id_, **(outcome or {"result": {"ok": True}})})

    async def until_idle(self) -> None:
        """Wait until nothing is open; it would never be when something is left."""
        await until(lambda: self.connection.is_idle)


async def test_answers_reach_their_own_requests_in_any_order() -> None:
    """JSON-RPC 2.0, section 5: a response is its request's by the id alone."""
    desk = Desk()
    first, second = await desk.ask("a"), await desk.ask("b")
    ids = [message["id"] for message in desk.pipe.sent]
    desk.answers(ids[1], result={"of": "b"})
    desk.answers(ids[0], result={"of": "a"})
    assert await first == {"of": "a"}
    assert await second == {"of": "b"}
    assert len(set(ids)) == 2
    assert desk.connection.is_idle


async def test_an_error_of_the_child_comes_with_code_message_and_data() -> None:
    """So that -32042 and its like can be handed on as they are."""
    desk = Desk()
    task = await desk.ask()
    desk.answers(1, error={"code": -32042, "message": "first log in", "data": {"u": 1}})
    with pytest.raises(RemoteError) as caught:
        await task
    assert (caught.value.code, caught.value.message, caught.value.data) == (
        -32042,
        "first log in",
        {"u": 1},
    )


async def test_a_request_past_its_time_is_cancelled_in_the_child() -> None:
    """What nobody waits for need not be worked on; its late answer is nothing odd."""
    desk = Desk()
    task = await desk.ask(timeout_s=30.0)
    desk.connection.tick(129.9)
    assert not task.done()
    desk.now = 130.0
    desk.connection.tick(130.0)
    with pytest.raises(RequestTimeout, match="tools/call in 30 s") as caught:
        await task
    assert caught.value.code == "REQUEST_TIMEOUT"
    assert desk.pipe.sent[-1]["method"] == "notifications/cancelled"
    assert desk.pipe.sent[-1]["params"]["requestId"] == 1
    desk.answers(1)
    assert not desk.connection.oddities
    desk.answers(1)
    assert desk.connection.oddities["a second answer to one request"] == 1


async def test_a_caller_that_leaves_cancels_its_request_in_the_child() -> None:
    """Cancelling the task is what a client's cancellation comes down to."""
    desk = Desk()
    task = await desk.ask()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.pipe.sent[-1]["params"]["requestId"] == 1
    assert desk.connection.is_idle


async def test_initialize_is_never_cancelled() -> None:
    """2025-11-25, cancellation: clients must not cancel `initialize`."""
    desk = Desk()
    task = await desk.ask("initialize", timeout_s=1.0)
    desk.connection.tick(101.0)
    with pytest.raises(RequestTimeout):
        await task
    assert [message["method"] for message in desk.pipe.sent] == ["initialize"]


async def test_progress_reaches_its_request_under_a_token_of_ours() -> None:
    """Two clients may choose the same token, so neither of theirs goes to the child."""
    desk = Desk()
    seen: list[JSON] = []
    request = desk.connection.request(
        "tools/call",
        {"_meta": {"progressToken": "theirs", "traceparent": "00-1"}},
        timeout_s=30.0,
        on_progress=seen.append,
    )
    task = asyncio.ensure_future(request)
    await asyncio.sleep(0)
    meta = desk.pipe.sent[0]["params"]["_meta"]
    assert meta == {"progressToken": desk.pipe.sent[0]["id"], "traceparent": "00-1"}
    for token in (meta["progressToken"], "theirs", 99, None, [1], True):
        params = {"progressToken": token, "progress": 1}
        desk.says({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    assert [one["progressToken"] for one in seen] == [meta["progressToken"]]
    desk.answers(1)
    await task


async def test_a_token_is_taken_away_where_nobody_wants_progress() -> None:
    """The child would send what is thrown away."""
    desk = Desk()
    meta = {"progressToken": 7, "x": 1}
    pending = desk.connection.start("tools/call", {"_meta": meta})
    assert desk.pipe.sent[0]["params"]["_meta"] == {"x": 1}
    assert meta == {"progressToken": 7, "x": 1}, "the caller's params are left alone"
    desk.answers(pending.id)


async def test_progress_extends_the_deadline_up_to_the_most() -> None:
    """2026-07-28, cancellation: progress may reset the clock, a maximum has to stand."""
    desk = Desk()
    task = await desk.ask(timeout_s=30.0, max_s=50.0, on_progress=lambda params: None)
    desk.now = 125.0
    progress = {"progressToken": 1, "progress": 1}
    desk.says({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
    desk.connection.tick(149.0)
    assert not task.done()
    desk.connection.tick(150.0)
    with pytest.raises(RequestTimeout):
        await task


async def test_without_a_most_progress_changes_no_deadline() -> None:
    """Whoever sets no maximum has not said that it may take longer."""
    desk = Desk()
    task = await desk.ask(timeout_s=30.0, on_progress=lambda params: None)
    desk.now = 125.0
    progress = {"progressToken": 1, "progress": 1}
    desk.says({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
    desk.connection.tick(130.0)
    with pytest.raises(RequestTimeout):
        await task


async def test_the_end_of_the_process_ends_all_that_waits() -> None:
    """Each hears how it ended, and what is asked later hears the same."""
    desk = Desk()
    desk.person.may_answer.clear()
    tasks = [await desk.ask(), await desk.ask()]
    desk.says({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
    await asyncio.sleep(0)
    desk.pipe.is_gone = True
    desk.connection.ended(CRASHED)
    for task in [*tasks, await desk.ask()]:
        with pytest.raises(ChildDied, match="status 3") as caught:
            await task
        facts = {"server": "toy", "exit_code": 3, "last_stderr": "out of luck"}
        assert caught.value.facts == facts
    await desk.until_idle()
    assert desk.person.left == 1
    assert desk.person.end is CRASHED


async def test_a_child_that_does_not_read_is_given_no_more() -> None:
    """What is written waits in our memory, and a process with too much of it is killed."""
    desk = Desk()
    desk.pipe.backlog = LINE_BYTES
    task = await desk.ask()
    with pytest.raises(BridgeBusy, match="does not read"):
        await task
    assert desk.connection.is_idle


async def test_a_request_longer_than_a_line_is_not_sent() -> None:
    """The limit of what one message may have is for both directions."""
    desk = Desk()
    with pytest.raises(RequestTooLarge, match="at most 10,000"):
        await desk.connection.request("tools/call", {"a": "x" * LINE_BYTES}, timeout_s=1)
    assert desk.pipe.sent == []
    assert desk.connection.is_idle


@pytest.mark.parametrize(
    "outcome",
    [
        {},
        {"result": None},
        {"result": [1]},
        {"result": "text"},
        {"error": "text"},
        {"result": {}, "error": {"code": 1, "message": ""}},
    ],
)
async def test_an_answer_of_no_shape_ends_its_request(outcome: JSON) -> None:
    """It never reaches a client, and waiting longer would bring nothing."""
    desk = Desk()
    task = await desk.ask()
    desk.says({"jsonrpc": "2.0", "id": 1, **outcome})
    with pytest.raises(BadAnswer):
        await task


async def test_an_error_beside_a_null_result_is_an_error_and_the_other_way_round() -> None:
    """JSON-RPC 1.0 has both members always, and some servers still do."""
    desk = Desk()
    task = await desk.ask()
    desk.answers(1, result={"ok": 1}, error=None)
    assert await task == {"ok": 1}
    task = await desk.ask()
    desk.answers(2, result=None, error={"code": 5})
    with pytest.raises(RemoteError, match="no reason"):
        await task


@pytest.mark.parametrize("id_", [2, 0, -1, "1", 1.0, True, None, [1], 10**30])
async def test_answers_to_what_was_never_asked_reach_nobody(id_: Any) -> None:
    """An id is ours or it is nobody's: there is no guessing between types."""
    desk = Desk()
    task = await desk.ask()
    desk.answers(id_, result={"foreign": True})
    assert not task.done()
    assert sum(desk.connection.oddities.values()) == 1
    desk.answers(1)
    assert await task == {"ok": True}


async def test_garbage_is_counted_and_told_to_the_log_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A program that prints to its stdout would fill the log otherwise."""
    desk = Desk()
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            desk.connection.line(b"debug: step %d" % number)
        desk.connection.line(b"  ")
    assert desk.connection.oddities == {"a line that is no JSON": 5}
    assert [record.message for record in caplog.records] == [
        "the server toy sent a line that is no JSON, and maybe again; it was dropped: debug: step 0"
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"x":NaN}}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {"x": Infinity}}',
        b'{"result":{"x":' + b"[" * 1000 + b"]" * 1000 + b'},"jsonrpc":"2.0","id":1}',
    ],
)
async def test_an_answer_that_cannot_be_read_ends_its_request(line: bytes) -> None:
    """Python's json writes NaN, which is not JSON; its request need not wait for the deadline."""
    desk = Desk()
    task = await desk.ask()
    desk.connection.line(line)
    with pytest.raises(BadAnswer):
        await task


async def test_a_number_without_end_spoils_its_message_and_no_other() -> None:
    """1e400 is JSON but no double; written out again it would be `Infinity`."""
    desk = Desk()
    bad, good = await desk.ask(), await desk.ask()
    desk.connection.line(
        b'[{"jsonrpc":"2.0","result":{"x":[1e400]},"id":1},'
        b'{"jsonrpc":"2.0","id":2,"result":{"x":1e308}},'
        b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"x":-1e400}},'
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1e400}},1e400]'
    )
    with pytest.raises(BadAnswer):
        await bad
    assert await good == {"x": 1e308}
    assert (desk.pipe.sent[-1]["id"], desk.pipe.sent[-1]["error"]["code"]) == (7, -32602)
    assert desk.person.heard == []
    assert desk.connection.oddities == {"a number beyond 1.8e308": 4}


async def test_half_an_answer_is_none_and_the_end_is_what_is_told() -> None:
    """Why it ended says more than that its last line cannot be read."""
    desk = Desk()
    task = await desk.ask()
    desk.connection.torn(b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"ty')
    desk.connection.ended(End(code=9, signal=None, why="exited", stderr=()))
    with pytest.raises(ChildDied, match="status 9") as died:
        await task
    assert died.value.facts["exit_code"] == 9
    assert desk.connection.oddities == {"half a line before its end": 1}


async def test_a_whole_answer_without_newline_before_the_end_counts() -> None:
    """Some programs end their last message with the stream."""
    desk = Desk()
    task = await desk.ask()
    desk.connection.torn(b'{"jsonrpc":"2.0","id":1,"result":{"ok":true}}')
    desk.connection.ended(End(code=0, signal=None, why="exited", stderr=()))
    assert await task == {"ok": True}


async def test_the_one_request_on_its_way_hears_that_its_answer_was_too_large() -> None:
    """With one request there is no doubt whose answer it was."""
    desk = Desk()
    task = await desk.ask()
    desk.connection.line_too_long(1000)
    with pytest.raises(AnswerTooLarge, match="more than 1,000 bytes"):
        await task


async def test_a_large_answer_that_shows_its_id_ends_that_request_only() -> None:
    """The Python library begins with the id."""
    desk = Desk()
    tasks = [await desk.ask() for _ in range(3)]
    desk.connection.line_too_long(1000, b'{"jsonrpc":"2.0","id":2,"result":{"content":')
    with pytest.raises(AnswerTooLarge):
        await tasks[1]
    desk.answers(3)
    desk.answers(1)
    assert [await tasks[0], await tasks[2]] == [{"ok": True}] * 2


async def test_of_several_requests_those_without_answer_hear_of_the_large_one() -> None:
    """Whose it was is not known; those that are answered are not harmed."""
    desk = Desk()
    tasks = [await desk.ask(), await desk.ask()]
    desk.connection.line_too_long(1000)
    desk.answers(2)
    assert await tasks[1] == {"ok": True}
    later = await desk.ask()
    desk.now = 131.0
    desk.connection.tick(131.0)
    with pytest.raises(AnswerTooLarge):
        await tasks[0]
    with pytest.raises(RequestTimeout):
        await later


async def test_what_the_child_asks_is_answered_under_its_own_id() -> None:
    """Ids of the two directions have nothing to do with each other."""
    desk = Desk()
    task = await desk.ask()
    desk.person.may_answer.clear()
    for id_, method in (("1", "one"), (1, "two"), (2, "refused"), (3, "broken")):
        desk.says({"jsonrpc": "2.0", "id": id_, "method": method, "params": {"p": 1}})
    desk.says({"jsonrpc": "2.0", "id": 9, "method": "ping"})
    assert desk.pipe.sent[-1] == {"jsonrpc": "2.0", "id": 9, "result": {}}
    desk.person.may_answer.set()
    await until(lambda: len(desk.pipe.sent) >= 6)
    said = {(type(one["id"]), one["id"]): one for one in desk.pipe.sent[2:]}
    assert said[str, "1"]["result"] == {"you asked": "one", "p": 1}
    assert said[int, 1]["result"] == {"you asked": "two", "p": 1}
    assert said[int, 2]["error"] == {"code": -1, "message": "no", "data": {"why": "because"}}
    assert said[int, 3]["error"] == {"code": -32603, "message": "The bridge failed."}
    assert not task.done()
    desk.answers(1)
    await task


async def test_a_question_that_is_withdrawn_is_not_asked_any_longer() -> None:
    """No response is sent to what was cancelled (2025-11-25, cancellation)."""
    desk = Desk()
    desk.person.may_answer.clear()
    desk.says({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create"})
    await asyncio.sleep(0)
    params = {"requestId": "q"}
    desk.says({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    await desk.until_idle()
    assert desk.person.left == 1
    assert desk.pipe.sent == []


async def test_too_many_questions_are_refused() -> None:
    """Each of them waits for a person or a model."""
    desk = Desk()
    desk.person.may_answer.clear()
    for number in range(subject.MAX_ASKED + 2):
        desk.says({"jsonrpc": "2.0", "id": number, "method": "roots/list"})
    assert [one["id"] for one in desk.pipe.sent] == [subject.MAX_ASKED, subject.MAX_ASKED + 1]
    assert all("error" in one for one in desk.pipe.sent)
    desk.says({"jsonrpc": "2.0", "id": 0, "method": "roots/list"})
    assert desk.connection.oddities["a request with the id of one that is open"] == 1
    desk.person.may_answer.set()
    await desk.until_idle()
    assert len(desk.pipe.sent) == subject.MAX_ASKED + 2


async def test_batches_are_taken_apart() -> None:
    """2025-03-26: implementations must be able to receive them."""
    desk = Desk()
    tasks = [await desk.ask(), await desk.ask()]
    told = {"jsonrpc": "2.0", "method": "notifications/x"}
    answers = [{"jsonrpc": "2.0", "id": id_, "result": {"n": id_}} for id_ in (2, 1)]
    desk.says([told, *answers, "rubbish"])
    assert [await task for task in tasks] == [{"n": 1}, {"n": 2}]
    assert desk.person.heard == [("notifications/x", {})]


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        (b'{"jsonrpc":"2.0","id":17,"result":{}}', 17),
        (b'{"result":{"id":3},"jsonrpc":"2.0","id":17}', 17),
        (b'{"jsonrpc":"2.0","id":17,"method":"x","params":{}}', None),
        (b'{"method":"x","params":{"result":{}},"jsonrpc":"2.0","id":17}', None),
        (b'{"result":{"id":3}', None),
        (b'{"jsonrpc":"2.0","id":"17","result":{}}', None),
    ],
)
def test_the_id_of_an_answer_is_found_where_the_libraries_write_it(
    line: bytes, id_: int | None
) -> None:
    """Requests and notifications have no answer to lose, whatever their ids."""
    assert answered_id(line[:128], line[-128:]) == id_


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
_METHODS = st.sampled_from(
    ("ping", "roots/list", "broken", "notifications/progress", "notifications/cancelled", "x")
)
_PARAMS = st.fixed_dictionaries(
    {}, optional={"progressToken": _VALUES, "requestId": _VALUES, "_meta": _VALUES}
)
_MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | _VALUES,
        "id": st.integers(0, 6) | _VALUES,
        "method": _METHODS | _VALUES,
        "params": _PARAMS | _VALUES,
        "result": st.dictionaries(st.text(max_size=3), _VALUES, max_size=2) | _VALUES,
        "error": st.fixed_dictionaries({}, optional={"code": _VALUES, "message": _VALUES})
        | _VALUES,
    },
)
_PROPER = st.builds(
    lambda id_, text: {"jsonrpc": "2.0", "id": id_, "result": {"text": text}},
    st.integers(0, 6),
    st.text(max_size=3),
)
_LINES = st.one_of(
    (_MESSAGES | _PROPER | _VALUES).map(lambda value: json.dumps(value).encode()),
    st.lists(_MESSAGES, max_size=3).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
)


@given(lines=st.lists(_LINES, max_size=25), crashes=st.booleans(), too_long=st.booleans())
@settings(deadline=None)
def test_whatever_a_child_sends_each_request_ends_in_its_own_way(
    lines: list[bytes], crashes: bool, too_long: bool
) -> None:
    """A result that comes back is one that was sent under the request's id; nothing is left."""
    asyncio.run(_fed(lines, crashes=crashes, too_long=too_long))


async def _fed(lines: list[bytes], *, crashes: bool, too_long: bool) -> None:
    desk = Desk()
    tasks = {id_: await desk.ask(on_progress=lambda params: None) for id_ in range(1, 6)}
    tasks[5].cancel()
    for line in lines:
        desk.connection.line(line)
        await asyncio.sleep(0)
    if too_long:
        desk.connection.line_too_long(1000)
    if crashes:
        desk.connection.ended(CRASHED)
    desk.now = 10_000.0
    desk.connection.tick(desk.now)
    for id_, task in tasks.items():
        known = (RemoteError, BadAnswer, RequestTimeout, ChildDied, AnswerTooLarge)
        with contextlib.suppress(*known, asyncio.CancelledError):
            assert _was_sent(id_, await task, lines)
    await desk.until_idle()


def _was_sent(id_: int, result: JSON, lines: list[bytes]) -> bool:
    for line in lines:
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            for one in document if isinstance(document, list) else [document]:
                if isinstance(one, dict) and one.get("id") == id_ and one.get("result") == result:
                    return True
    return False


@pytest.mark.parametrize(
    ("line", "is_many"),
    [
        (b'{"text":"' + b"a,[{" * 1_000_000 + b'"}', False),
        (b'{"text":"' + b'\\\\,\\",' * 1_000_000 + b'"}', False),
        (b"[" + b"0," * 1_000_001 + b"0]", True),
        (b"[" + b'{"a":1},' * 600_000 + b"{}]", True),
        (b"[" * 1_000_001, True),
        (b'\\",' * 1_000_100, False),
        (b'"\\' + b",[" * 600_000, False),
    ],
    ids=["text", "escapes", "numbers", "objects", "brackets", "no end", "no end at all"],
)
def test_values_are_counted_and_not_what_texts_say(line: bytes, is_many: bool) -> None:
    """So that a large text arrives, and an answer that would take gigabytes does not."""
    assert has_many_parts(line) is is_many


async def test_answer_of_too_many_values_is_told_to_who_waits() -> None:
    """At once, and nothing is made of it."""
    desk = Desk()
    task = await desk.ask()
    rows = b",".join([b"0"] * 1_000_002)
    desk.connection.line(b'{"jsonrpc":"2.0","id":1,"result":{"rows":[' + rows + b"]}}")
    with pytest.raises(AnswerTooLarge, match="more than 500,000 values"):
        await task
