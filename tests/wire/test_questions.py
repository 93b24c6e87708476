"""Input from the client in both eras: §13."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.wire.harness import JSON, Answer, Wire

EVERYTHING: JSON = {"elicitation": {}, "sampling": {}, "roots": {}}
SAMPLED = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "sampled"}}
ROOTS = {"roots": [{"uri": "file:///work"}]}
FORM = {
    "type": "object",
    "properties": {"name": {"type": "string", "description": "Your name."}},
    "required": ["name"],
}


def named(name: str) -> JSON:
    """Return an accepted form."""
    return {"action": "accept", "content": {"name": name}}


async def call(wire: Wire, tool: str, arguments: JSON | None = None, **more: Any) -> Answer:
    """Call a tool as a 2026-07-28 client that can everything."""
    params: JSON = {"name": tool, "arguments": arguments or {}}
    for member in ("inputResponses", "requestState"):
        if member in more:
            params[member] = more.pop(member)
    return await wire.ask_modern("tools/call", params, **{"capabilities": EVERYTHING, **more})


# --- 2026-07-28 -------------------------------------------------------------------------------


async def test_question_is_a_result(wire: Wire) -> None:
    """§13: `input_required` with method and params, and a state; nothing that a request has."""
    answer = await call(wire, "ask_name")
    result = answer.result
    assert answer.status == 200
    assert result["resultType"] == "input_required"
    assert result["inputRequests"] == {
        "name": {
            "method": "elicitation/create",
            "params": {"mode": "form", "message": "Who are you?", "requestedSchema": FORM},
        }
    }
    assert isinstance(result["requestState"], str)
    assert not {"ttlMs", "cacheScope", "content"} & set(result)


async def test_repeated_call_with_the_answer_completes(wire: Wire) -> None:
    """§13: the same method and parameters under a new id."""
    asked = await call(wire, "ask_name", {"text": "Hi"})
    state = asked.result["requestState"]
    answer = await call(
        wire, "ask_name", {"text": "Hi"}, inputResponses={"name": named("Ada")}, requestState=state
    )
    assert answer.result["resultType"] == "complete"
    assert answer.result["structuredContent"] == {"text": "Hi, Ada!"}


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_person_may_decline(wire: Wire, action: str) -> None:
    """§13: which is an answer."""
    asked = (await call(wire, "ask_name")).result
    answer = await call(
        wire,
        "ask_name",
        inputResponses={"name": {"action": action}},
        requestState=asked["requestState"],
    )
    assert answer.result["structuredContent"] == {"text": action}


async def test_answer_to_a_question_that_was_not_asked_is_none(wire: Wire) -> None:
    """§13: a yes that nobody was asked for must not run what waits for a yes."""
    answer = await call(wire, "ask_name", inputResponses={"name": named("Ada")})
    assert answer.result["resultType"] == "input_required"


@pytest.mark.parametrize(
    "responses",
    [
        {},
        {"other": named("Ada")},
        {"name": "Ada"},
        {"name": None},
        {"name": ["accept"]},
        {"name": {"action": "accept"}},
        {"name": {"action": "accept", "content": {}}},
        {"name": {"action": "accept", "content": {"name": 7}}},
        {"name": {"action": "maybe"}},
        [],
        "Ada",
        None,
    ],
)
async def test_missing_or_invalid_answer_is_asked_for_again(wire: Wire, responses: Any) -> None:
    """§13: not an error; a non-object answer is never valid; unknown keys are ignored."""
    state = (await call(wire, "ask_name")).result["requestState"]
    answer = await call(wire, "ask_name", inputResponses=responses, requestState=state)
    assert answer.result["resultType"] == "input_required"
    assert set(answer.result["inputRequests"]) == {"name"}


async def test_partial_answers_are_kept_in_the_state(wire: Wire) -> None:
    """§13: only what is open is asked again, until everything is there."""
    asked = await call(wire, "ask_all")
    assert set(asked.result["inputRequests"]) == {"name", "model", "roots"}
    state = asked.result["requestState"]
    for key, response in (("name", named("Ada")), ("model", SAMPLED)):
        asked = await call(wire, "ask_all", inputResponses={key: response}, requestState=state)
        assert key not in asked.result["inputRequests"]
        state = asked.result["requestState"]
    assert set(asked.result["inputRequests"]) == {"roots"}
    done = await call(wire, "ask_all", inputResponses={"roots": ROOTS}, requestState=state)
    assert done.result["structuredContent"]["answers"] == {
        "name": "Ada",
        "model": SAMPLED["content"],
        "roots": ROOTS["roots"],
    }


async def test_several_rounds_go_through_any_server() -> None:
    """§13: the state carries everything, so another process with the same key goes on."""
    state: str | None = None
    answers: JSON = {}
    for key, name in (("first", "Ada"), ("second", "Byron")):
        async with Wire() as wire:
            more: JSON = {} if state is None else {"inputResponses": answers, "requestState": state}
            asked = await call(wire, "ask_twice", **more)
            assert set(asked.result["inputRequests"]) == {key}
            assert asked.result["requestState"] != state
            state, answers = asked.result["requestState"], {key: named(name)}
    async with Wire() as wire:
        done = await call(wire, "ask_twice", inputResponses=answers, requestState=state)
        assert done.result["structuredContent"] == {"text": "Ada Byron"}


@pytest.mark.parametrize(
    ("method", "params"),
    [("prompts/get", {"name": "interview"}), ("resources/read", {"uri": "demo://guarded"})],
)
async def test_prompts_and_resources_ask_too(wire: Wire, method: str, params: JSON) -> None:
    """§13: three methods, no others."""
    asked = await wire.ask_modern(method, params, capabilities=EVERYTHING)
    assert asked.result["resultType"] == "input_required"
    assert not {"ttlMs", "cacheScope"} & set(asked.result)
    state = asked.result["requestState"]
    more = {"inputResponses": {"name": named("Ada")}, "requestState": state}
    done = await wire.ask_modern(method, {**params, **more}, capabilities=EVERYTHING)
    assert done.result["resultType"] == "complete"
    assert "Ada" in done.body.decode()


@pytest.mark.parametrize(
    ("tool", "declared", "required"),
    [
        ("ask_name", {}, {"elicitation": {}}),
        ("ask_name", {"sampling": {}}, {"elicitation": {}}),
        ("ask_name", {"elicitation": {"url": {}}}, {"elicitation": {}}),
        ("ask_model", {"elicitation": {}}, {"sampling": {}}),
        ("ask_roots", {}, {"roots": {}}),
        ("ask_all", {"elicitation": {}, "roots": {}}, None),
        ("ask_name", {"elicitation": None}, {"elicitation": {}}),
        ("ask_name", {"elicitation": True}, {"elicitation": {}}),
    ],
)
async def test_only_declared_capabilities_are_asked(
    wire: Wire, tool: str, declared: JSON, required: JSON | None
) -> None:
    """§13: 400, -32021 where the call cannot work; a URL-only client has no forms."""
    answer = await call(wire, tool, capabilities=declared)
    assert answer.status == 400
    assert answer.error["code"] == -32021
    if required is not None:
        assert answer.error["data"] == {"requiredCapabilities": required}


@pytest.mark.parametrize("declared", [{}, {"form": {}}, {"form": {}, "url": {}}])
async def test_clients_with_forms_are_asked(wire: Wire, declared: JSON) -> None:
    """§13: `elicitation: {}` means forms."""
    answer = await call(wire, "ask_name", capabilities={"elicitation": declared})
    assert answer.result["resultType"] == "input_required"


# --- the sealed state -------------------------------------------------------------------------


def check_refused(answer: Answer) -> None:
    """Check that a state was refused, with a fixed message that tells nothing."""
    assert answer.error["code"] == -32602
    assert answer.error["message"].startswith("requestState ")


async def test_changed_state_is_refused(wire: Wire) -> None:
    """§13: any character of it."""
    state = (await call(wire, "ask_name")).result["requestState"]
    for position in range(0, len(state), 7):
        other = "A" if state[position] != "A" else "B"
        changed = state[:position] + other + state[position + 1 :]
        check_refused(await call(wire, "ask_name", requestState=changed))


@pytest.mark.parametrize("state", ["", "x", "=", "é", 7, True, {}, [], "A" * 300_000])
async def test_state_that_is_none_of_ours_is_refused(wire: Wire, state: Any) -> None:
    """§13: whatever it is."""
    check_refused(await call(wire, "ask_name", requestState=state))


async def test_state_belongs_to_its_request(wire: Wire) -> None:
    """§13: other arguments, another tool, another method: refused."""
    state = (await call(wire, "ask_name", {"text": "Hi"})).result["requestState"]
    check_refused(await call(wire, "ask_name", {"text": "Ho"}, requestState=state))
    check_refused(await call(wire, "ask_twice", {"text": "Hi"}, requestState=state))
    params = {"name": "interview", "arguments": {"text": "Hi"}, "requestState": state}
    other = await wire.ask_modern("prompts/get", params, capabilities=EVERYTHING)
    assert other.error["code"] == -32602


async def test_order_of_arguments_does_not_matter(wire: Wire) -> None:
    """§13: the digest is of the values, since JSON objects have no order."""
    params: JSON = {"name": "ask_name", "arguments": {"text": "Hi"}}
    state = (await wire.ask_modern("tools/call", params, capabilities=EVERYTHING)).result
    again = {"arguments": {"text": "Hi"}, "name": "ask_name"}
    more = {"requestState": state["requestState"], "inputResponses": {"name": named("Ada")}}
    done = await wire.ask_modern("tools/call", {**again, **more}, capabilities=EVERYTHING)
    assert done.result["structuredContent"] == {"text": "Hi, Ada!"}


async def test_state_belongs_to_its_principal() -> None:
    """§13: another caller cannot use it."""
    async with Wire(settings={"auth": {"api_key": "k" * 32}}, key="k" * 32) as wire:
        state = (await call(wire, "ask_name")).result["requestState"]
        answer = await call(
            wire, "ask_name", requestState=state, inputResponses={"name": named("A")}
        )
        assert answer.result["resultType"] == "complete"
    async with Wire() as wire:
        check_refused(await call(wire, "ask_name", requestState=state))


async def test_state_belongs_to_its_person() -> None:
    """§13: behind a gateway, which calls for many with one key."""
    settings = {"auth": {"api_key": "k" * 32, "user_headers": True}}
    ada, eve = ({"x-openwebui-user-email": f"{name}@example.org"} for name in ("ada", "eve"))
    async with Wire(settings=settings, key="k" * 32) as wire:
        state = (await call(wire, "ask_name", headers=ada)).result["requestState"]
        answers = {"inputResponses": {"name": named("Ada")}, "requestState": state}
        for headers in (eve, {}):
            check_refused(await call(wire, "ask_name", headers=headers, **answers))
        answer = await call(wire, "ask_name", headers=ada, **answers)
        assert answer.result["resultType"] == "complete"


async def test_state_expires(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """§13: after ten minutes."""
    state = (await call(wire, "ask_name")).result["requestState"]
    dispatcher = wire.server.root.dispatcher
    monkeypatch.setattr(dispatcher, "_clock", lambda: time.time() + 590)
    fine = await call(wire, "ask_name", requestState=state)
    assert fine.result["resultType"] == "input_required"
    monkeypatch.setattr(dispatcher, "_clock", lambda: time.time() + 610)
    check_refused(await call(wire, "ask_name", requestState=state))


async def test_session_id_and_cursor_are_no_state(wire: Wire) -> None:
    """§13: each sealed token has one purpose."""
    session = await wire.session()
    cursor = (await session.ask("resources/list")).result["nextCursor"]
    for token in (session.id, cursor):
        check_refused(await call(wire, "ask_name", requestState=token))


# --- the older revisions ----------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_legacy_question_is_a_request_on_the_stream_of_the_call(
    wire: Wire, revision: str
) -> None:
    """§13: answered by a POST, which is 202; `mode` came with 2025-11-25."""
    session = await wire.session(revision, capabilities={"elicitation": {}})
    answer = session.start("tools/call", {"name": "ask_name", "arguments": {}})
    question = await answer.message()
    params: JSON = {"message": "Who are you?", "requestedSchema": FORM}
    if revision == "2025-11-25":
        params["mode"] = "form"
    assert question["method"] == "elicitation/create"
    assert question["params"] == params
    posted = await session.post({"jsonrpc": "2.0", "id": question["id"], "result": named("Ada")})
    assert posted.status == 202
    await answer.whole()
    assert answer.result["structuredContent"] == {"text": "Hello, Ada!"}


async def test_legacy_call_fails_where_the_client_cannot_be_asked(wire: Wire) -> None:
    """§13: not declared, not in the revision, or no stream to ask on."""
    none = await wire.session("2025-11-25")
    old = await wire.session("2025-03-26", capabilities=EVERYTHING)
    for session, accept in ((none, None), (old, None)):
        answer = await session.ask("tools/call", {"name": "ask_name", "arguments": {}})
        assert answer.result["isError"] is True
        assert "CLIENT_CAPABILITY_MISSING" in answer.body.decode()
        assert accept is None
    able = await wire.session("2025-11-25", capabilities=EVERYTHING)
    answer = await able.ask(
        "tools/call", {"name": "ask_name", "arguments": {}}, accept="application/json"
    )
    assert answer.result["isError"] is True


async def test_refused_question_fails_the_call(wire: Wire) -> None:
    """§13: an error response of the client is told to the model."""
    session = await wire.session(capabilities=EVERYTHING)
    answer = session.start("tools/call", {"name": "ask_model", "arguments": {}})
    question = await answer.message()
    error = {"code": -1, "message": "user rejected sampling"}
    await session.post({"jsonrpc": "2.0", "id": question["id"], "error": error})
    await answer.whole()
    assert answer.result["isError"] is True
    assert "user rejected sampling" in answer.body.decode()


async def test_wrong_answer_is_asked_for_again_and_not_for_ever(wire: Wire) -> None:
    """§13: bounded rounds."""
    session = await wire.session(capabilities=EVERYTHING)
    answer = session.start("tools/call", {"name": "ask_name", "arguments": {}})
    rounds = 0
    while True:
        message = await answer.message()
        if "method" not in message:
            break
        rounds += 1
        await session.post({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "?"}})
    assert rounds == 8
    assert message["result"]["isError"] is True


async def test_answer_of_another_session_is_ignored(wire: Wire) -> None:
    """§13: questions are matched by session and id."""
    mine = await wire.session(capabilities=EVERYTHING)
    theirs = await wire.session(capabilities=EVERYTHING)
    answer = mine.start("tools/call", {"name": "ask_name", "arguments": {}})
    question = await answer.message()
    forged = {"jsonrpc": "2.0", "id": question["id"], "result": named("Eve")}
    assert (await theirs.post(forged)).status == 202
    await mine.post({"jsonrpc": "2.0", "id": question["id"], "result": named("Ada")})
    await answer.whole()
    assert answer.result["structuredContent"] == {"text": "Hello, Ada!"}


@pytest.mark.parametrize("id_", ["none", 1, None, True, {}])
async def test_response_to_nothing_is_accepted(wire: Wire, id_: Any) -> None:
    """§5: 202; it may answer a question that was withdrawn."""
    session = await wire.session()
    assert (await session.post({"jsonrpc": "2.0", "id": id_, "result": {}})).status == 202


async def test_cancelling_a_call_that_asks_withdraws_it(wire: Wire) -> None:
    """§10: also while it waits for the client."""
    session = await wire.session(capabilities=EVERYTHING)
    answer = session.start("tools/call", {"name": "ask_name", "arguments": {}}, id_="q")
    question = await answer.message()
    await session.notify("notifications/cancelled", {"requestId": "q"})
    await answer.whole()
    late = await session.post({"jsonrpc": "2.0", "id": question["id"], "result": named("Ada")})
    assert late.status == 202
    assert not any("result" in message for message in answer.messages)


async def test_ending_the_session_ends_what_waits(wire: Wire) -> None:
    """§5: DELETE while the server waits for an answer."""
    session = await wire.session(capabilities=EVERYTHING)
    answer = session.start("tools/call", {"name": "ask_name", "arguments": {}})
    await answer.message()
    deleted = await wire.ask("DELETE", "/mcp", headers=session.headers())
    assert deleted.status in (200, 204)
    await answer.finished()


async def test_questions_at_once_are_answered_in_any_order(wire: Wire) -> None:
    """§13: three legs of one call."""
    session = await wire.session(capabilities=EVERYTHING)
    answer = session.start("tools/call", {"name": "ask_all", "arguments": {}})
    results = {
        "elicitation/create": named("Ada"),
        "sampling/createMessage": SAMPLED,
        "roots/list": ROOTS,
    }

    async def serve() -> None:
        for _ in range(3):
            question = await answer.message()
            result = results[question["method"]]
            await session.post({"jsonrpc": "2.0", "id": question["id"], "result": result})

    await asyncio.wait_for(serve(), 5)
    await answer.whole()
    assert answer.result["structuredContent"]["answers"]["name"] == "Ada"
