"""What servers ask behind the bridge reaches the one client it is for, in every pair of eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.bridge.forwarding import questions
from tests.services.bridge.bridges import CONFORMING, bridged
from tests.wire.harness import JSON, Answer, LegacySession, Wire

ASKABLE: JSON = {"elicitation": {}, "sampling": {}, "roots": {}}
CONTACT = {"action": "accept", "content": {"username": "ann", "email": "a@example.org"}}
ERAS = ("legacy", "modern")


@pytest.fixture(params=ERAS)
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """A bridge in front of the conforming server, in either era."""
    async with bridged(command=CONFORMING, protocol=request.param) as made:
        yield made


@pytest.fixture
async def legacy() -> AsyncIterator[Wire]:
    """The same in front of the older era, whose calls have to be parked."""
    async with bridged(command=CONFORMING, protocol="legacy") as made:
        yield made


def text_of(result: JSON) -> str:
    """Return the text of a result that is no error."""
    assert result["isError"] is False, result
    return str(result["content"][0]["text"])


async def call(wire: Wire, tool: str, **more: Any) -> Answer:
    """Call a tool as a 2026-07-28 client that can be asked everything."""
    params: JSON = {"name": tool, "arguments": {"message": "Who?"}}
    for member in ("inputResponses", "requestState"):
        if member in more:
            params[member] = more.pop(member)
    return await wire.ask_modern("tools/call", params, **{"capabilities": ASKABLE, **more})


async def answered(wire: Wire, tool: str, asked: Answer, answer: JSON) -> Answer:
    """Repeat a call with an answer to its one question."""
    assert "inputRequests" in asked.result, asked.result
    (key,) = asked.result["inputRequests"]
    state = asked.result["requestState"]
    return await call(wire, tool, inputResponses={key: answer}, requestState=state)


async def answers_on(session: LegacySession, started: Answer, answer: JSON) -> JSON:
    """Answer the question that comes on a call's stream; return the question."""
    question = await started.message()
    assert "method" in question, question
    await session.post({"jsonrpc": "2.0", "id": question["id"], "result": answer})
    return question


# --- the same question for everybody --------------------------------------------------------------


async def test_question_ends_a_call_of_2026_07_28_and_the_answer_completes_it(wire: Wire) -> None:
    """§13 of the wire, whatever the server behind speaks."""
    asked = await call(wire, "test_elicitation")
    assert asked.result["resultType"] == "input_required"
    (question,) = asked.result["inputRequests"].values()
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == "Who?"
    assert question["params"]["mode"] == "form"
    done = await answered(wire, "test_elicitation", asked, CONTACT)
    assert "ann" in text_of(done.result)
    assert done.result["resultType"] == "complete"


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_question_is_a_request_on_the_calls_stream_of_a_session(
    wire: Wire, revision: str
) -> None:
    """With `mode` only where the revision has it."""
    session = await wire.session(revision, capabilities=ASKABLE)
    started = session.start("tools/call", {"name": "test_elicitation", "arguments": {}})
    question = await answers_on(session, started, CONTACT)
    assert question["method"] == "elicitation/create"
    assert ("mode" in question["params"]) == (revision == "2025-11-25")
    assert "ann" in text_of((await started.whole()).result)


async def test_sampling_and_roots_are_asked_for_likewise(wire: Wire) -> None:
    """In a session and alone."""
    sampled = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "hello"}}
    session = await wire.session(capabilities=ASKABLE)
    started = session.start("tools/call", {"name": "test_sampling", "arguments": {"prompt": "Hi"}})
    question = await answers_on(session, started, sampled)
    assert question["method"] == "sampling/createMessage"
    assert "hello" in text_of((await started.whole()).result)
    asked = await call(wire, "test_sampling")
    assert "hello" in text_of((await answered(wire, "test_sampling", asked, sampled)).result)


async def test_two_clients_are_each_asked_their_own(wire: Wire) -> None:
    """At the same time, in both eras: nobody sees or answers the other's question."""
    session = await wire.session(capabilities=ASKABLE)
    started = session.start("tools/call", {"name": "test_elicitation", "arguments": {}})
    both = await asyncio.gather(call(wire, "test_elicitation"), call(wire, "test_elicitation"))
    names = ["ben", "carla"]
    done = await asyncio.gather(
        *(
            answered(
                wire,
                "test_elicitation",
                asked,
                {**CONTACT, "content": {"username": name, "email": "x@y.z"}},
            )
            for asked, name in zip(both, names, strict=True)
        )
    )
    for name, answer in zip(names, done, strict=True):
        assert name in text_of(answer.result)
    await answers_on(session, started, CONTACT)
    assert "ann" in text_of((await started.whole()).result)


async def test_client_that_cannot_be_asked_is_told_which_capability_is_missing(wire: Wire) -> None:
    """-32021 for 2026-07-28; a result that the model reads for a session."""
    refused = await wire.ask_modern("tools/call", {"name": "test_sampling", "arguments": {}})
    assert refused.error["code"] == -32021
    assert refused.error["data"]["requiredCapabilities"] == {"sampling": {}}
    session = await wire.session()
    result = await session.call("test_sampling")
    assert result["isError"] is True
    assert "sampling" in result["content"][0]["text"]


async def test_progress_and_log_messages_reach_the_call_they_belong_to(wire: Wire) -> None:
    """On its own stream, under the client's own token."""
    asked = {"io.modelcontextprotocol/logLevel": "debug", "progressToken": 7}
    params = {"name": "test_tool_with_progress", "arguments": {}}
    told = (await wire.ask_modern("tools/call", params, meta=asked, capabilities=ASKABLE)).messages
    progress = [m["params"] for m in told if m.get("method") == "notifications/progress"]
    assert [each["progress"] for each in progress] == [0, 50, 100]
    assert {each["progressToken"] for each in progress} == {7}
    session = await wire.session(capabilities=ASKABLE)
    await session.ask("logging/setLevel", {"level": "debug"})
    answer = await session.ask("tools/call", {"name": "test_tool_with_logging", "arguments": {}})
    logs = [m for m in answer.messages if m.get("method") == "notifications/message"]
    assert len(logs) == 3


# --- parked calls ---------------------------------------------------------------------------------


async def test_answer_is_taken_once_and_from_who_was_asked(legacy: Wire) -> None:
    """The call that waited goes on once; a second answer, and one for nothing, are refused."""
    asked = await call(legacy, "test_elicitation")
    assert "ann" in text_of((await answered(legacy, "test_elicitation", asked, CONTACT)).result)
    again = (await answered(legacy, "test_elicitation", asked, CONTACT)).result
    assert again["isError"] is True
    assert json.loads(again["content"][0]["text"])["code"] == "CALL_GONE"


async def test_call_whose_client_does_not_come_back_is_given_up(
    legacy: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that its state is taken for; its process goes with it."""
    monkeypatch.setattr(questions, "PARKED_S", 0.3)
    await call(legacy, "test_elicitation")

    async def parked() -> Any:
        stats = (await legacy.ask("GET", "/stats")).json["servers"]["bridge"]
        return stats["parked_calls"], [c for c in stats["children"] if c["kind"] == "call"]

    assert (await parked())[0] == 1
    async with asyncio.timeout(10):
        while any(await parked()):  # noqa: ASYNC110 - what is asked is a server
            await asyncio.sleep(0.05)


async def test_unanswered_question_is_asked_again(legacy: Wire) -> None:
    """A request that brings nothing, or nonsense, is asked the same."""
    asked = await call(legacy, "test_elicitation")
    state = asked.result["requestState"]
    again = await call(legacy, "test_elicitation", inputResponses={}, requestState=state)
    assert again.result["inputRequests"] == asked.result["inputRequests"]
    once_more = await answered(legacy, "test_elicitation", again, "nonsense")  # type: ignore[arg-type]  # on purpose
    assert once_more.result["inputRequests"] == asked.result["inputRequests"]
    assert text_of((await answered(legacy, "test_elicitation", once_more, CONTACT)).result)


async def test_time_that_a_person_takes_is_not_the_servers() -> None:
    """A call may take as long as its answer does; the time limit is the server's own."""
    async with bridged(
        command=CONFORMING, protocol="legacy", request_timeout_s=2, max_request_timeout_s=60
    ) as wire:
        session = await wire.session(capabilities=ASKABLE)
        started = session.start("tools/call", {"name": "test_elicitation", "arguments": {}})
        question = await started.message()
        await asyncio.sleep(2.5)
        await session.post({"jsonrpc": "2.0", "id": question["id"], "result": CONTACT})
        assert "ann" in text_of((await started.whole()).result)
