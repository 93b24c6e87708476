"""Opened servers of either era, as real processes: what is said to them and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.protocol.messages import JSON
from services.bridge.children.child import Child, Face
from services.bridge.children.process import End
from services.bridge.errors import (
    AnswerTooLarge,
    BadAnswer,
    BridgeBusy,
    ChildDied,
    ChildNotStarted,
    RemoteError,
    RequestTimeout,
)
from services.bridge.specs import ServerSpec
from tests.clients import official_servers
from tests.clients.installed import CACHE, HOW
from tests.conftest import missing

HERE = Path(__file__).parent
PREFIX = "io.modelcontextprotocol/"
TIMEOUT_S = 20.0
RICH = Face(
    capabilities={"roots": {}, "sampling": {}, "elicitation": {"form": {}}},
    info={"name": "client", "version": "1"},
)


class Owner:
    """Who is asked and told, and answers as it is set to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, JSON]] = []
        self.questions: list[tuple[str, JSON]] = []
        self.answer: JSON = {"roots": []}
        self.refusals: list[str] = []
        self.ends: list[End] = []

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Answer what the test has set."""
        self.questions.append((method, params))
        return self.answer

    def refused(self, child: Child, method: str, params: JSON) -> None:
        """Note it."""
        self.refusals.append(method)

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Keep it."""
        self.heard.append((method, params))

    def ended(self, child: Child, end: End) -> None:
        """Keep it."""
        self.ends.append(end)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that another process does."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.01)


def own(program: str, *options: str, **settings: Any) -> ServerSpec:
    """Return what one of our own programs is."""
    command = (sys.executable, str(HERE / f"{program}_child.py"), *options)
    return ServerSpec(name="toy", command=command, **settings)


@asynccontextmanager
async def started(spec: ServerSpec, owner: Owner | None = None) -> AsyncIterator[Child]:
    """Run a child, and its clock."""
    child = await Child.start(spec, owner=owner or Owner())

    async def ticking() -> None:
        while True:
            child.tick(time.monotonic())
            await asyncio.sleep(0.02)

    clock = asyncio.create_task(ticking())
    try:
        yield child
    finally:
        clock.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await clock
        await child.stop("stopped")


@asynccontextmanager
async def opened(
    spec: ServerSpec, face: Face | None = None, owner: Owner | None = None
) -> AsyncIterator[Child]:
    """Run a child that is opened."""
    async with started(spec, owner) as child:
        await child.open(face or Face(info={"name": "client", "version": "1"}))
        yield child


async def call(child: Child, name: str, arguments: JSON | None = None, **more: Any) -> JSON:
    """Call a tool."""
    params = {"name": name, "arguments": arguments or {}}
    return await child.request("tools/call", params, **{"timeout_s": TIMEOUT_S, **more})


async def seen(child: Child, method: str) -> list[JSON]:
    """Return the params of all messages of a method that the child has been sent."""
    told = (await call(child, "seen"))["structuredContent"]["seen"]
    return [one.get("params", {}) for one in told if one.get("method") == method]


# --- opening -------------------------------------------------------------------------------------


async def test_a_legacy_child_is_opened_without_a_probe() -> None:
    """The first thing it reads is `initialize`; it is told nothing that it does not know."""
    async with opened(own("legacy"), RICH) as child:
        assert (child.modern, child.revision) == (False, "2025-11-25")
        assert child.info == {"name": "legacy", "version": "1"}
        assert child.instructions == "Call me."
        assert child.face is RICH
        told = (await call(child, "seen"))["structuredContent"]["seen"]
        methods = [message["method"] for message in told]
        assert methods == ["initialize", "notifications/initialized", "tools/call"]
        assert told[0]["params"] == {
            "protocolVersion": "2025-11-25",
            "capabilities": RICH.capabilities,
            "clientInfo": RICH.info,
        }


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18"])
async def test_older_revisions_are_taken_as_the_child_answers_them(revision: str) -> None:
    """2025-11-25, lifecycle: the server answers with another version that it supports."""
    async with opened(own("legacy", "--revision", revision)) as child:
        assert child.revision == revision


async def test_a_child_that_refuses_and_names_an_older_revision_is_offered_that() -> None:
    """2024-11-05, lifecycle: the error for an unsupported version names those supported."""
    async with opened(own("legacy", "--only", "2024-11-05"), RICH) as child:
        assert child.revision == "2024-11-05"
        offer = (await seen(child, "initialize"))[1]
        assert offer["protocolVersion"] == "2024-11-05"
        assert offer["capabilities"] == {"roots": {}, "sampling": {}}


@pytest.mark.parametrize(
    ("revision", "elicitation", "offered"),
    [
        ("2025-06-18", {"form": {}, "url": {}}, {"sampling": {}, "elicitation": {}}),
        ("2025-06-18", {"url": {}}, {"sampling": {}}),
        ("2025-03-26", {}, {"sampling": {}}),
    ],
)
async def test_an_older_revision_is_offered_the_capabilities_that_it_has(
    revision: str, elicitation: JSON, offered: JSON
) -> None:
    """Elicitation came with 2025-06-18; its modes, and tools of sampling, with 2025-11-25."""
    face = Face(capabilities={"sampling": {"tools": {}}, "elicitation": elicitation})
    async with opened(own("legacy", "--only", revision), face) as child:
        assert (await seen(child, "initialize"))[1]["capabilities"] == offered


@pytest.mark.parametrize("refuses", ["unsupported", "unknown", "params"])
@pytest.mark.parametrize("protocol", ["auto", "modern"])
async def test_a_modern_child_is_found_however_it_refuses_initialize(
    refuses: str, protocol: Any
) -> None:
    """2026-07-28, versioning: the code of that error is the server's own choice."""
    async with opened(own("modern", "--refuses", refuses, protocol=protocol), RICH) as child:
        assert (child.modern, child.revision) == (True, "2026-07-28")
        assert child.info == {"name": "modern", "version": "1"}
        assert child.instructions == "Ask me."
        assert child.capabilities["tools"] == {"listChanged": True}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (own("legacy", "--revision", "2031-01-01"), "revision '2031-01-01', which is unknown"),
        (own("legacy", "--revision", "2026-07-28"), "revision '2026-07-28', which is unknown"),
        (own("legacy", "--dies"), "exited with status 3.*no config file"),
        (
            own("legacy", "--silent", start_timeout_s=0.3),
            r"initialize within 0\.3 s, its startTimeoutS.*protocol: modern",
        ),
        (own("legacy", "--refuses", protocol="legacy"), r"Unsupported protocol version, -32602"),
        (own("modern", "--no-discover"), r"\(Method not found, -32601\); then it refused"),
        (own("modern", "--versions", "2027-01-01"), "revisions 2027-01-01, of which 2026-07-28"),
        (own("legacy", protocol="modern", start_timeout_s=0.3), "did not answer server/discover"),
    ],
)
async def test_a_child_that_does_not_open_says_why(spec: ServerSpec, why: str) -> None:
    """The operator reads it in /health; the process does not stay."""
    owner = Owner()
    async with started(spec, owner) as child:
        with pytest.raises(ChildNotStarted, match=why) as caught:
            await child.open(RICH)
        assert caught.value.facts["server"] == "toy"
        await until(lambda: child.end is not None)
        assert not child.is_alive
    assert len(owner.ends) == 1


async def test_a_child_that_is_no_longer_wanted_while_it_opens_is_killed() -> None:
    """Its client has left; nobody would stop it later."""
    async with started(own("legacy", "--silent")) as child:
        opening = asyncio.create_task(child.open(RICH))
        await asyncio.sleep(0.05)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert opening.cancelled()
        await until(lambda: child.end is not None)


async def test_a_command_that_is_not_there_says_so() -> None:
    """It is the commonest mistake in such files."""
    with pytest.raises(ChildNotStarted, match="toy could not be started"):
        await Child.start(ServerSpec(name="toy", command=("no-such-program",)), owner=Owner())


async def test_a_started_child_can_wait_to_be_opened_for_somebody() -> None:
    """A spare has been told nothing, so nothing of anybody is in it."""
    async with started(own("legacy")) as child:
        assert child.is_alive
        assert (child.face, child.modern, child.revision, child.info) == (None, False, "", {})
        with pytest.raises(ChildNotStarted, match="was not opened"):
            await call(child, "seen")
        await child.open(RICH)
        assert (await call(child, "seen"))["content"] == []


# --- requests to legacy children -----------------------------------------------------------------


async def test_a_legacy_child_is_sent_nothing_of_other_revisions() -> None:
    """2025-11-25's tasks are not offered, and `_meta` of 2026-07-28 is the bridge's own."""
    meta = {"x": 1, PREFIX + "clientCapabilities": {}, "progressToken": "p"}
    async with opened(own("legacy")) as child:
        params = {"name": "params", "_meta": meta, "task": {"ttl": 1}, "requestState": "s"}
        result = await child.request("tools/call", params, timeout_s=TIMEOUT_S, log_level="info")
        assert result == {
            "content": [],
            "structuredContent": {"name": "params", "_meta": {"x": 1}},
        }
        for method in ("server/discover", "subscriptions/listen", "initialize", "tasks/list", "x"):
            with pytest.raises(RemoteError, match="not found") as caught:
                await child.request(method, {}, timeout_s=TIMEOUT_S)
            assert caught.value.code == -32601
        assert await seen(child, "server/discover") == []


async def test_all_pages_are_listed_and_what_has_no_name_is_left_out() -> None:
    """Of two entries with one name there is one, since a call could mean one only."""
    async with opened(own("legacy")) as child:
        lists = await child.lists()
        assert [tool["name"] for tool in lists.tools] == [f"tool{n}" for n in range(5)]
        assert (lists.resources, lists.templates) == ((), ())


async def test_what_is_not_declared_is_not_asked_for() -> None:
    """2025-11-25, lifecycle: both sides only use what was negotiated."""
    async with opened(own("legacy", "--bare")) as child:
        assert (await child.lists()).tools == ()
        for refused in (child.subscribe("toy://x"), child.set_level("info")):
            with pytest.raises(RemoteError) as caught:
                await refused
            assert caught.value.code == -32601
        assert await seen(child, "tools/list") == []


async def test_a_declared_list_that_never_comes_is_a_timeout() -> None:
    """The child declares prompts and says nothing when it is asked for them."""
    async with opened(own("legacy", "--prompts", request_timeout_s=0.3)) as child:
        with pytest.raises(RequestTimeout, match="prompts/list"):
            await child.lists()


async def test_subscriptions_levels_and_pings_are_requests_of_their_own() -> None:
    """As legacy revisions have them."""
    async with opened(own("legacy")) as child:
        await child.subscribe("toy://x")
        await child.unsubscribe("toy://x")
        await child.set_level("warning")
        assert 0 < await child.ping(TIMEOUT_S) < TIMEOUT_S
        assert await seen(child, "resources/subscribe") == [{"uri": "toy://x"}]
        assert await seen(child, "resources/unsubscribe") == [{"uri": "toy://x"}]
        assert await seen(child, "logging/setLevel") == [{"level": "warning"}]


async def test_a_missing_resource_has_one_code_for_both_eras() -> None:
    """-32002 is of the legacy revisions, -32602 of 2026-07-28 and of the TypeScript library."""
    for program in ("legacy", "modern"):
        async with opened(own(program)) as child:
            with pytest.raises(RemoteError) as caught:
                await child.request("resources/read", {"uri": "toy://no"}, timeout_s=TIMEOUT_S)
            assert caught.value.code == -32002


async def test_a_child_that_ends_during_a_call_says_how() -> None:
    """Its status and last words are what there is to go by."""
    owner = Owner()
    async with opened(own("legacy"), owner=owner) as child:
        with pytest.raises(ChildDied, match=r"status 7.*as I was told") as caught:
            await call(child, "exit")
        assert caught.value.facts["exit_code"] == 7
        assert caught.value.facts["last_stderr"] == "as I was told"
        assert not child.is_alive
        with pytest.raises(ChildDied, match="status 7"):
            await call(child, "seen")
    assert [end.code for end in owner.ends] == [7]


async def test_more_requests_than_may_wait_are_refused() -> None:
    """A ping goes through all the same, or a busy child would look like a dead one."""
    async with opened(own("legacy", max_in_flight=2)) as child:
        waiting = [asyncio.create_task(call(child, "never")) for _ in range(2)]
        await until(lambda: child.in_flight == 2)
        with pytest.raises(BridgeBusy, match="2 requests wait"):
            await call(child, "seen")
        await child.ping(TIMEOUT_S)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert child.in_flight == 0
        cancelled = await seen(child, "notifications/cancelled")
        assert sorted(one["requestId"] for one in cancelled) == [2, 3]


async def test_what_a_legacy_child_tells_is_handed_on() -> None:
    """Log messages of its only client included."""
    owner = Owner()
    async with opened(own("legacy"), owner=owner) as child:
        for method in ("notifications/message", "notifications/tools/list_changed"):
            await call(child, "tell", {"method": method, "params": {"n": 1}})
    assert owner.heard == [
        ("notifications/message", {"n": 1}),
        ("notifications/tools/list_changed", {"n": 1}),
    ]


async def test_roots_are_told_changed_to_children_that_know_of_them_only() -> None:
    """2025-11-25, roots: clients that have them may tell."""
    changed = "notifications/roots/list_changed"
    for face, times in ((RICH, 1), (Face(), 0)):
        async with opened(own("legacy"), face) as child:
            child.notify(changed, {})
            child.notify("notifications/other", {})
            assert len(await seen(child, changed)) == times
            assert await seen(child, "notifications/other") == []


@pytest.mark.parametrize(
    ("habit", "arguments"),
    [
        ("twice", {"text": "first"}),
        ("foreign_id", {"id": 10**6}),
        ("foreign_id", {"id": "1"}),
        ("garbage", {"lines": 50}),
        ("wrong_shape", {"of": "result"}),
        ("wrong_shape", {"of": "error"}),
        ("wrong_shape", {"of": "neither"}),
        ("wrong_shape", {"of": "both"}),
    ],
)
async def test_the_calls_beside_a_bad_one_get_their_own_answers(
    habit: str, arguments: JSON
) -> None:
    """Whatever a child adds to its answers reaches no client, and is counted."""
    async with opened(hostile()) as child:
        bad = [asyncio.create_task(call(child, habit, arguments)) for _ in range(3)]
        echoes = [call(child, "echo", {"text": f"number {n}"}) for n in range(20)]
        for number, echoed in enumerate(await asyncio.gather(*echoes)):
            assert echoed["content"][0]["text"] == f"number {number}"
        for outcome in await asyncio.gather(*bad, return_exceptions=True):
            assert isinstance(outcome, dict | BadAnswer)
        assert child.in_flight == 0
        assert sum(child.oddities.values()) >= 3


def hostile(**settings: Any) -> ServerSpec:
    """Return the program with all bad habits."""
    return ServerSpec(
        name="hostile", command=(sys.executable, str(HERE / "hostile.py")), **settings
    )


async def test_an_answer_longer_than_a_line_is_told_at_once_and_calls_go_on() -> None:
    """8 MiB, where 1 MiB is the limit: what is read on behind it is whole again."""
    async with opened(hostile(line_bytes=1 << 20)) as child:
        with pytest.raises(AnswerTooLarge, match="more than 1,048,576 bytes") as caught:
            await call(child, "big", {"bytes": 8 << 20})
        assert caught.value.facts["limit_bytes"] == 1 << 20
        assert (await call(child, "echo", {"text": "on"}))["content"][0]["text"] == "on"


async def test_an_answer_of_eight_mebibytes_comes_whole() -> None:
    """Readers with a buffer of 64 KiB hang on it."""
    async with opened(hostile()) as child:
        answer = await call(child, "big", {"bytes": 8 << 20})
        assert len(answer["content"][0]["text"]) == 8 << 20


async def test_a_child_that_reads_no_more_is_sent_no_more_than_one_line() -> None:
    """What is refused was not sent; what was sent times out."""
    async with opened(hostile(line_bytes=1 << 20)) as child:
        await call(child, "stop_reading")
        sent = []
        for _ in range(4):
            much = call(child, "echo", {"text": "x" * 400_000}, timeout_s=0.3)
            sent.append(asyncio.create_task(much))
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert set(kinds) == {RequestTimeout, BridgeBusy}
        assert child.is_alive
        assert child.in_flight == 0


# --- questions of legacy children ----------------------------------------------------------------


async def _asks(child: Child, method: str, params: JSON) -> JSON:
    result = await call(child, "ask", {"method": method, "params": params})
    answer: JSON = result["structuredContent"]
    return answer


async def test_questions_come_out_as_the_newest_legacy_revision_has_them() -> None:
    """2025-06-18 has no mode; 2025-11-25 takes it for a form then."""
    owner = Owner()
    owner.answer = {"action": "accept", "content": {"name": "x"}}
    async with opened(own("legacy", "--revision", "2025-06-18"), RICH, owner) as child:
        answer = await _asks(child, "elicitation/create", {"message": "Who?"})
    assert answer == {"result": owner.answer}
    assert owner.questions == [("elicitation/create", {"message": "Who?", "mode": "form"})]


@pytest.mark.parametrize(
    ("revision", "capabilities", "method", "params", "code"),
    [
        ("2025-03-26", {"elicitation": {}}, "elicitation/create", {}, -32601),
        ("2025-11-25", {}, "elicitation/create", {}, -32601),
        ("2025-11-25", {"elicitation": {}}, "elicitation/create", {"mode": "url"}, -32602),
        ("2025-11-25", {"elicitation": {"url": {}}}, "elicitation/create", {}, -32602),
        ("2025-11-25", {"elicitation": {}}, "elicitation/create", {"mode": ["form"]}, -32602),
        ("2025-11-25", {"roots": {}}, "sampling/createMessage", {}, -32601),
        ("2025-11-25", {"roots": {}}, "tasks/list", {}, -32601),
        ("2025-11-25", {"roots": {}}, "tools/list", {}, -32601),
    ],
)
async def test_a_client_is_not_asked_what_it_has_not_said_it_can_be_asked(
    revision: str, capabilities: JSON, method: str, params: JSON, code: int
) -> None:
    """2025-11-25, lifecycle: only what was negotiated; the owner never hears of the rest."""
    owner = Owner()
    spec = own("legacy", "--revision", revision)
    async with opened(spec, Face(capabilities=capabilities), owner) as child:
        assert (await _asks(child, method, params))["error"]["code"] == code
    assert owner.questions == []


@pytest.mark.parametrize(
    ("revision", "content", "told"),
    [
        ("2025-11-25", [{"type": "text", "text": "a"}], [{"type": "text", "text": "a"}]),
        ("2025-06-18", [{"type": "text", "text": "a"}], {"type": "text", "text": "a"}),
        ("2025-06-18", {"type": "text", "text": "a"}, {"type": "text", "text": "a"}),
        ("2024-11-05", [], {"type": "text", "text": ""}),
        ("2024-11-05", [{"type": "image"}], {"type": "image"}),
        (
            "2025-03-26",
            [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}],
            {"type": "text", "text": "a\nb"},
        ),
    ],
)
async def test_a_models_message_has_one_block_for_older_children(
    revision: str, content: Any, told: Any
) -> None:
    """Lists of blocks came with 2025-11-25 (changelog, sampling)."""
    owner = Owner()
    owner.answer = {"role": "assistant", "model": "m", "content": content}
    async with opened(own("legacy", "--revision", revision), RICH, owner) as child:
        answer = await _asks(child, "sampling/createMessage", {"messages": []})
    assert answer["result"] == {**owner.answer, "content": told}


# --- modern children -----------------------------------------------------------------------------


async def test_each_request_to_a_modern_child_says_whose_it_is() -> None:
    """2026-07-28: nothing may be remembered, so one process serves any number of clients."""
    async with opened(own("modern"), RICH) as child:
        params = {"name": "params", "task": {}, "_meta": {"traceparent": "t", PREFIX + "x": 1}}
        own_meta = (await child.request("tools/call", params, timeout_s=TIMEOUT_S))[
            "structuredContent"
        ]
        assert own_meta == {
            "name": "params",
            "_meta": {
                "traceparent": "t",
                PREFIX + "protocolVersion": "2026-07-28",
                PREFIX + "clientCapabilities": RICH.capabilities,
                PREFIX + "clientInfo": RICH.info,
            },
        }
        others = await call(
            child, "params", capabilities={}, client={"name": "o"}, log_level="error"
        )
        assert others["structuredContent"]["_meta"] == {
            PREFIX + "protocolVersion": "2026-07-28",
            PREFIX + "clientCapabilities": {},
            PREFIX + "clientInfo": {"name": "o"},
            PREFIX + "logLevel": "error",
        }
        for method in ("initialize", "ping", "logging/setLevel", "subscriptions/listen"):
            with pytest.raises(RemoteError) as caught:
                await child.request(method, {}, timeout_s=TIMEOUT_S)
            assert caught.value.code == -32601


async def test_results_of_a_modern_child_are_without_what_is_the_protocols() -> None:
    """So that they can be shown to clients of any revision."""
    async with opened(own("modern")) as child:
        listed = await child.request("tools/list", {}, timeout_s=TIMEOUT_S)
        assert listed == {"tools": [{"name": "a"}]}
        assert (await child.lists()).tools == ({"name": "a"},)
        assert await child.ping(TIMEOUT_S) > 0


async def test_a_modern_child_asks_by_a_result_and_goes_on_with_the_answer() -> None:
    """The forwarding asks the client, and repeats the call with what it said."""
    async with opened(own("modern")) as child:
        asked = await call(child, "ask", capabilities={"elicitation": {}})
        assert asked["resultType"] == "input_required"
        answers = {asked_for: {"content": {"name": "Ann"}} for asked_for in asked["inputRequests"]}
        again = {"name": "ask", "arguments": {}, "inputResponses": answers}
        result = await child.request("tools/call", again, timeout_s=TIMEOUT_S)
        assert result == {"content": [{"type": "text", "text": "Ann"}]}


async def test_a_result_of_a_kind_that_was_not_offered_is_no_answer() -> None:
    """Tasks are an extension, which the bridge does not declare."""
    async with opened(own("modern")) as child:
        with pytest.raises(BadAnswer, match="kind 'task'"):
            await call(child, "later")


async def test_a_modern_child_may_not_ask_by_a_request() -> None:
    """2026-07-28, stdio: the server must not write requests."""
    owner = Owner()
    async with opened(own("modern"), RICH, owner) as child:
        await call(child, "question")
        told = (await call(child, "seen"))["structuredContent"]["seen"]
        assert all("method" in message for message in told), "nor may we answer"
        assert child.oddities == {"a request, which its revision does not allow": 1}
    assert owner.questions == []


async def test_progress_and_cancellation_are_the_same_in_both_eras() -> None:
    """2026-07-28, stdio: tokens and notifications/cancelled, for want of streams."""
    async with opened(own("modern")) as child:
        steps: list[Any] = []
        await call(child, "work", on_progress=lambda params: steps.append(params["progress"]))
        assert steps == [1, 2]
        with pytest.raises(RequestTimeout):
            await call(child, "wait", timeout_s=0.1)
        cancelled = await seen(child, "notifications/cancelled")
        assert len(cancelled) == 1


async def test_log_messages_are_told_while_it_is_clear_whose_they_are() -> None:
    """2026-07-28: they belong to a request and do not name it; another client's are not shown."""
    owner = Owner()
    async with opened(own("modern"), owner=owner) as child:
        logs: list[Any] = []
        await call(child, "log", {"times": 2}, log_level="info", on_log=logs.append)
        assert [one["data"] for one in logs] == [0, 1]
        other = call(child, "wait", log_level="info", on_log=logs.append, timeout_s=TIMEOUT_S)
        waiting = asyncio.create_task(other)
        await until(lambda: child.in_flight == 1)
        await call(child, "log", {"times": 2}, log_level="info", on_log=logs.append)
        assert len(logs) == 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await call(child, "log", {"times": 2}, log_level="info", on_log=logs.append)
        assert len(logs) == 2, "they might be late ones of the call that was cancelled"
    assert owner.heard == []


# --- listening -----------------------------------------------------------------------------------

LISTS_ONLY = {"toolsListChanged": True}


async def _listens(child: Child) -> list[JSON]:
    return [params["notifications"] for params in await seen(child, "subscriptions/listen")]


async def test_changes_of_a_modern_child_are_told_as_those_of_a_legacy_one() -> None:
    """One stream carries them; its id, and what is on streams that are none, stay here."""
    owner = Owner()
    async with opened(own("modern"), owner=owner) as child:
        await child.subscribe("toy://one")
        await asyncio.gather(child.subscribe("toy://two"), child.subscribe("toy://three"))
        await call(child, "change", {"uri": "toy://two"})
        assert owner.heard == [
            ("notifications/resources/updated", {"uri": "toy://two"}),
            ("notifications/tools/list_changed", {}),
        ]
        await child.unsubscribe("toy://two")
        owner.heard.clear()
        await call(child, "change", {"uri": "toy://two"})
        assert owner.heard == [("notifications/tools/list_changed", {})]
        listens = await _listens(child)
        assert listens[0] == LISTS_ONLY
        wanted = [set(one["resourceSubscriptions"]) for one in listens[1:]]
        assert wanted[0] == {"toy://one"}
        assert wanted[-2:] == [
            {"toy://one", "toy://two", "toy://three"},
            {"toy://one", "toy://three"},
        ]
        cancelled = await seen(child, "notifications/cancelled")
        assert len(cancelled) == len(listens) - 1, "one stream is left"


@pytest.mark.parametrize("by_answer", [True, False])
async def test_a_stream_that_ends_is_opened_again(by_answer: bool) -> None:
    """2026-07-28, subscriptions: by the response, or by notifications/cancelled over stdio."""
    owner = Owner()
    async with opened(own("modern"), owner=owner) as child:
        await child.subscribe("toy://one")
        await call(child, "end", {"by_answer": by_answer})
        before = len(await _listens(child))
        async with asyncio.timeout(TIMEOUT_S):
            while len(await _listens(child)) == before:  # noqa: ASYNC110 - as in `until`
                await asyncio.sleep(0.05)
        await call(child, "change", {"uri": "toy://one"})
        assert ("notifications/resources/updated", {"uri": "toy://one"}) in owner.heard


async def test_a_child_without_streams_is_not_asked_again() -> None:
    """It is told to the log; calls go on, and a subscription is refused."""
    async with opened(own("modern", "--listens", "never")) as child:
        await until(lambda: child.is_alive)
        with pytest.raises(RemoteError) as caught:
            await child.subscribe("toy://one")
        assert caught.value.code == -32601
        assert (await call(child, "params"))["content"] == []
        assert len(await _listens(child)) == 2


async def test_a_stream_that_is_not_acknowledged_is_given_up() -> None:
    """2026-07-28, subscriptions: the acknowledgement is the first that comes on it."""
    spec = own("modern", "--listens", "mutely", request_timeout_s=0.3)
    async with opened(spec) as child:
        with pytest.raises(RequestTimeout, match="did not acknowledge"):
            await child.subscribe("toy://one")
        listens = len(await _listens(child))
        assert len(await seen(child, "notifications/cancelled")) == listens


async def test_a_subscription_that_the_child_does_not_honour_is_refused() -> None:
    """2026-07-28, subscriptions: the acknowledgement has what the server agreed to."""
    async with opened(own("modern", "--listens", "not-to-resources")) as child:
        with pytest.raises(RemoteError, match="tell of changes") as caught:
            await child.subscribe("toy://one")
        assert caught.value.code == -32602


async def test_streams_that_end_at_once_are_opened_again_now_and_then() -> None:
    """The end may come with the same read as the acknowledgement; each attempt waits longer."""
    async with opened(own("modern", "--listens", "briefly")) as child:
        await child.subscribe("toy://one")
        before = len(await _listens(child))
        assert before <= 2
        async with asyncio.timeout(TIMEOUT_S):
            while len(await _listens(child)) == before:  # noqa: ASYNC110 - as in `until`
                await asyncio.sleep(0.05)
        assert len(await _listens(child)) == before + 1
        assert child.in_flight == 0


# --- servers that others made --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "revision"),
    [
        ("1.3", "2024-11-05"),
        ("1.9", "2025-03-26"),
        ("1.12", "2025-06-18"),
        ("1.30", "2025-11-25"),
        ("", "2025-11-25"),
    ],
)
async def test_servers_on_each_release_of_the_python_library_open_and_answer(
    release: str, revision: str
) -> None:
    """1.3 ends when it reads an unknown method; 2.3 speaks the era it is opened with."""
    python = CACHE / f"python-{release}" / "bin" / "python" if release else Path(sys.executable)
    if not python.exists():
        missing(f"the Python library {release}", HOW)
    spec = ServerSpec(name="library", command=(str(python), str(HERE / "library_child.py")))
    async with opened(spec, RICH) as child:
        assert (child.modern, child.revision) == (False, revision)
        assert [tool["name"] for tool in (await child.lists()).tools] == ["add"]
        result = await call(child, "add", {"a": 2, "b": 3})
        assert result["content"][0]["text"] == "5"
        await child.ping(TIMEOUT_S)


async def test_the_python_library_is_spoken_to_as_2026_07_28_where_that_is_wanted() -> None:
    """Its server takes a first request with an envelope for the beginning of that era."""
    command = (sys.executable, str(HERE / "library_child.py"))
    spec = ServerSpec(name="library", command=command, protocol="modern")
    async with opened(spec, RICH) as child:
        assert child.modern
        result = await call(child, "add", {"a": 2, "b": 3})
        assert result["content"][0]["text"] == "5"
        await child.subscribe("toy://one")
        await child.unsubscribe("toy://one")
        assert await child.ping(TIMEOUT_S) > 0
        assert not child.oddities


async def test_a_server_on_the_typescript_library_that_refuses_legacy_revisions_is_served() -> None:
    """What others wrote of 2026-07-28: found by its refusal, listened to, asked and logging."""
    owner = Owner()
    spec = ServerSpec(name="typescript", command=tuple(_typescript()))
    async with opened(spec, RICH, owner) as child:
        assert (child.modern, child.info["name"]) == (True, "typescript")
        logs: list[JSON] = []
        numbers = {"a": 2, "b": 3}
        added = await call(child, "add", numbers, log_level="info", on_log=logs.append)
        assert added == {"content": [{"type": "text", "text": "5"}]}
        assert logs == [{"level": "info", "data": "2 and 3"}]
        await call(child, "grow")
        await until(lambda: owner.heard)
        assert owner.heard == [("notifications/tools/list_changed", {})]
        assert "another" in [tool["name"] for tool in (await child.lists()).tools]
        assert not child.oddities


def _typescript() -> list[str]:
    node, *_ = official_servers.everything()
    return [node, str(HERE / "typescript_child.mjs"), str(CACHE / "node-servers")]


async def test_the_official_everything_server_is_served_whole() -> None:
    """Questions, progress, subscriptions, levels and lists, against a server nobody here wrote."""
    owner = Owner()
    owner.answer = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "hi"}}
    spec = ServerSpec(name="everything", command=tuple(official_servers.everything()))
    async with opened(spec, RICH, owner) as child:
        lists = await child.lists()
        assert "echo" in [tool["name"] for tool in lists.tools]
        assert lists.prompts
        assert lists.resources
        assert lists.templates
        echoed = await call(child, "echo", {"message": "round and round"})
        assert "round and round" in echoed["content"][0]["text"]
        steps: list[JSON] = []
        work = {"duration": 0.2, "steps": 2}
        await call(child, "trigger-long-running-operation", work, on_progress=steps.append)
        assert len(steps) >= 2
        sampled = await call(
            child, "trigger-sampling-request", {"prompt": "say hi", "maxTokens": 5}
        )
        assert "hi" in sampled["content"][-1]["text"]
        assert "sampling/createMessage" in [method for method, _ in owner.questions]
        await child.subscribe(lists.resources[0]["uri"])
        await child.set_level("debug")
        await child.ping(TIMEOUT_S)
        assert not child.oddities


async def test_the_official_memory_server_keeps_what_it_is_told(tmp_path: Path) -> None:
    """Its file is named by the environment, which reaches it from the spec."""
    spec = ServerSpec(
        name="memory",
        command=tuple(official_servers.memory()),
        environment={"MEMORY_FILE_PATH": str(tmp_path / "memory.json")},
    )
    async with opened(spec) as child:
        entity = {"name": "Ann", "entityType": "person", "observations": ["likes tea"]}
        await call(child, "create_entities", {"entities": [entity]})
        found = await call(child, "search_nodes", {"query": "tea"})
        assert "Ann" in found["content"][0]["text"]
    assert "Ann" in (tmp_path / "memory.json").read_text()
