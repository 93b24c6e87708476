"""What a grant keeps from a caller is neither listed nor run, through whichever door."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalogue import MAX_KEPT
from core.context import Principal
from core.grants import EVERYTHING, PROMPTS, RESOURCES, Grant, is_scope
from core.protocol.revisions import META_CAPABILITIES, META_VERSION, MODERN
from core.security.auth import Authenticator
from core.transports.http import HTTPRequest
from tests.servers.demo import create_server
from tests.wire.harness import Wire

JSON = dict[str, Any]
CALLS: dict[str, JSON] = {"add": {"a": 1, "b": 2}, "echo": {"text": "x"}, "numbers": {}}
READS_ONLY = {"add"}
"""The tools of the demo server that say that they change nothing."""
TOOLS = sorted(create_server().catalogue.tools)
KEEPS_OUT = Grant(("demo:add",))
READING = Grant(("demo:*",), read_only=True)


class AsGranted(Authenticator):
    """Everybody is one caller, whose grant the test sets."""

    def __init__(self) -> None:
        self.grant = EVERYTHING

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return the caller."""
        return Principal("carol", authenticated=True, method="api_key", grant=self.grant)


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> AsGranted:
    """Who calls the servers that are made from now on."""
    made = AsGranted()
    monkeypatch.setattr("core.security.callers.authenticator_for", lambda *_: made)
    return made


@pytest.fixture
async def wire(callers: AsGranted) -> AsyncIterator[Wire]:
    """A running demo server."""
    async with Wire() as made:
        yield made


# --- every door ----------------------------------------------------------------------------------


def _message(method: str, params: JSON) -> JSON:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def _modern(params: JSON) -> JSON:
    return {**params, "_meta": {META_VERSION: MODERN, META_CAPABILITIES: {}}}


async def _rpc(wire: Wire, method: str, params: JSON) -> JSON:
    return dict((await wire.ask("POST", "/rpc", json_=_message(method, params))).json)


async def _modern_rpc(wire: Wire, method: str, params: JSON) -> JSON:
    return await _rpc(wire, method, _modern(params))


async def _rpc_batch(wire: Wire, method: str, params: JSON) -> JSON:
    answer = await wire.ask("POST", "/rpc", json_=[_message(method, params)])
    return dict(answer.json[0])


async def _session(wire: Wire, method: str, params: JSON) -> JSON:
    return (await (await wire.session("2025-11-25")).ask(method, params)).response


async def _batch(wire: Wire, method: str, params: JSON) -> JSON:
    answer = await (await wire.session("2025-03-26")).post([_message(method, params)])
    return dict(answer.json[0])


async def _modern_mcp(wire: Wire, method: str, params: JSON) -> JSON:
    return (await wire.ask_modern(method, params)).response


async def _old(wire: Wire, method: str, params: JSON) -> JSON:
    stream = await wire.old_stream()
    try:
        return await stream.request(method, params)
    finally:
        stream.stream.leave()


async def _modern_old(wire: Wire, method: str, params: JSON) -> JSON:
    return await _old(wire, method, _modern(params))


Door = Callable[[Wire, str, JSON], Awaitable[JSON]]
DOORS: list[Door] = [
    _rpc,
    _modern_rpc,
    _rpc_batch,
    _session,
    _batch,
    _modern_mcp,
    _old,
    _modern_old,
]


async def listed(door: Door, wire: Wire, method: str, member: str, name: str) -> set[str]:
    """Return the names on all pages of a list."""
    found: set[str] = set()
    params: JSON = {}
    while True:
        result = (await door(wire, method, params))["result"]
        found |= {entry[name] for entry in result[member]}
        if "nextCursor" not in result:
            return found
        params = {"cursor": result["nextCursor"]}


async def shown(wire: Wire) -> list[set[str]]:
    """Return the tools that the doors show that are not of JSON-RPC."""
    tools = (await wire.ask("GET", "/tools")).json
    document = (await wire.ask("GET", "/openapi.json", headers={"x-api-key": "k"})).json
    stream = wire.start("GET", "/sse")
    await stream.event()
    announced = (await stream.event()).json["tools"]
    stream.leave()
    assert tools["tools_count"] == len(tools["tools"])
    paths = {path.removeprefix("/tools/") for path in document["paths"]}
    return [{tool["name"] for tool in tools["tools"]}, paths, set(announced)]


# --- the property --------------------------------------------------------------------------------

PATTERNS = st.one_of(
    st.sampled_from(["*", "add", "a*", "*o", "e*o", "n*s", "*/*", RESOURCES, PROMPTS, "none"]),
    st.sampled_from(TOOLS),
)
SCOPES = st.one_of(
    st.sampled_from(["demo", "de*", "*", "other", "*:echo"]), PATTERNS.map("demo:{}".format)
)
GRANTS = st.builds(
    Grant,
    st.one_of(st.none(), st.lists(SCOPES, min_size=1, max_size=4).map(lambda s: (*s, "demo:zz"))),
    st.booleans(),
    st.lists(SCOPES, max_size=2).map(tuple),
)


def fits(pattern: str, name: str) -> bool:
    """Say what a pattern means, in other words than the code."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def may(grant: Grant, name: str, *, reads: bool) -> bool:
    """Say what a grant means, in other words than the code."""
    scopes = ("*",) if grant.scopes is None else grant.scopes
    usable = () if grant.read_only and not reads else scopes
    usable += grant.reading if reads else ()
    pairs = [[*scope.split(":", 1), "*"][:2] for scope in usable]
    return any(fits(service, "demo") and fits(pattern, name) for service, pattern in pairs)


@settings(max_examples=25, deadline=None)
@given(grant=GRANTS)
def test_no_door_lists_or_runs_what_a_grant_excludes(grant: Grant) -> None:
    """Whatever the grant: the lists are what it allows, and nothing else comes to a handler."""
    with pytest.MonkeyPatch.context() as patch:
        callers = AsGranted()
        patch.setattr("core.security.callers.authenticator_for", lambda *_: callers)
        callers.grant = grant
        asyncio.run(_hold_against(grant))


async def _hold_against(grant: Grant) -> None:
    allowed = {name for name in TOOLS if may(grant, name, reads=name in READS_ONLY)}
    async with Wire() as wire:
        assert await shown(wire) == [allowed] * 3
        for door in DOORS:
            assert await listed(door, wire, "tools/list", "tools", "name") == allowed
            for tool in CALLS:
                await _call(door, wire, tool, allowed=tool in allowed)
        for tool, arguments in CALLS.items():
            answer = await wire.ask("POST", f"/tools/{tool}", json_=arguments)
            assert answer.status == (200 if tool in allowed else 403)
        assert ("add" in wire.demo.record.calls) is ("add" in allowed)
        await _hold_prompts_and_resources_against(wire, grant)


async def _call(door: Door, wire: Wire, tool: str, *, allowed: bool) -> None:
    response = await door(wire, "tools/call", {"name": tool, "arguments": CALLS[tool]})
    result = response["result"]
    assert result["isError"] is not allowed
    if not allowed:
        error = json.loads(result["content"][0]["text"])
        assert error["code"] == "NOT_PERMITTED"
        assert tool in error["message"]
        assert "carol" in error["message"]


async def _hold_prompts_and_resources_against(wire: Wire, grant: Grant) -> None:
    for name, questions in ASKED.items():
        allowed = may(grant, name, reads=True)
        for door in DOORS:
            for method, member, key in LISTS[name]:
                assert bool(await listed(door, wire, method, member, key)) is allowed
            for method, params in questions:
                response = await door(wire, method, params)
                assert ("result" in response) is allowed, response
                if not allowed:
                    assert response["error"]["data"]["code"] == "NOT_PERMITTED"


LISTS = {
    PROMPTS: [("prompts/list", "prompts", "name")],
    RESOURCES: [
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ],
}
ASKED: dict[str, list[tuple[str, JSON]]] = {
    PROMPTS: [("prompts/get", {"name": "show"})],
    RESOURCES: [
        ("resources/read", {"uri": "demo://item/1"}),
        ("resources/read", {"uri": "demo://book/b/1"}),
    ],
}


@given(st.lists(SCOPES, min_size=1).map(tuple), st.sampled_from(TOOLS), st.booleans())
def test_more_scopes_never_allow_less(scopes: tuple[str, ...], tool: str, reads: bool) -> None:
    """Scopes add up; reading only takes away."""
    whole = Grant(scopes)
    assert all(is_scope(scope) for scope in scopes)
    for scope in scopes:
        if Grant((scope,)).allows("demo", tool, reads=reads):
            assert whole.allows("demo", tool, reads=reads)
            assert whole.reaches("demo")
    if Grant(scopes, read_only=True).allows("demo", tool, reads=reads):
        assert reads
        assert whole.allows("demo", tool, reads=reads)


# --- the rest ------------------------------------------------------------------------------------


async def test_completions_are_of_what_may_be_used(wire: Wire, callers: AsGranted) -> None:
    """Their values come from the same place as prompts and resources do."""
    asked = {
        PROMPTS: ({"type": "ref/prompt", "name": "explain"}, "language"),
        RESOURCES: ({"type": "ref/resource", "uri": "demo://book/{book}/{number}"}, "book"),
    }
    for name, (ref, argument) in asked.items():
        params = {"ref": ref, "argument": {"name": argument, "value": "E"}}
        for other in asked:
            callers.grant = Grant((f"demo:{other}",))
            response = await _session(wire, "completion/complete", params)
            assert ("result" in response) is (name == other)


async def test_nobody_hears_of_resources_that_he_may_not_read(
    wire: Wire, callers: AsGranted
) -> None:
    """A subscription would tell when something behind it changes."""
    callers.grant = KEEPS_OUT
    session = await wire.session("2025-11-25")
    answer = await session.ask("resources/subscribe", {"uri": "demo://item/1"})
    assert answer.error["data"]["code"] == "NOT_PERMITTED"
    wanted = {"notifications": {"resourceSubscriptions": ["demo://item/1"]}}
    listening = await wire.ask_modern("subscriptions/listen", wanted)
    assert listening.error["data"]["code"] == "NOT_PERMITTED"


async def test_unknown_tools_are_not_answered_with_names_that_are_not_listed(
    wire: Wire, callers: AsGranted
) -> None:
    """What was perhaps meant is a list, too."""
    callers.grant = KEEPS_OUT
    response = await _rpc(wire, "tools/call", {"name": "ecko", "arguments": {}})
    assert "echo" not in json.dumps(response)
    assert "echo" not in (await wire.ask("POST", "/tools/ecko", json_={})).body.decode()
    assert "'add'" in json.dumps(await _rpc(wire, "tools/call", {"name": "addd"}))


async def test_a_refusal_says_which_scope_would_do(wire: Wire, callers: AsGranted) -> None:
    """The model can tell its user what to ask for."""
    callers.grant = KEEPS_OUT
    answer = await wire.ask("POST", "/tools/echo", json_={"text": "x"})
    assert answer.status == 403
    assert answer.json["error"]["scope"] == "demo:echo"
    assert "demo:echo" in answer.json["detail"]
    callers.grant = READING
    answer = await wire.ask("POST", "/tools/echo", json_={"text": "x"})
    assert "may only read" in answer.json["error"]["message"]
    assert "not read-only" in answer.json["error"]["hint"]


async def test_a_refused_call_has_its_own_label(wire: Wire, callers: AsGranted) -> None:
    """Metrics tell refusals by grants from failures of tools."""
    callers.grant = KEEPS_OUT
    await wire.ask("POST", "/tools/echo", json_={"text": "x"})
    metrics = (await wire.ask("GET", "/metrics")).body.decode()
    assert "NOT_PERMITTED" in metrics


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/mcp"), ("POST", "/rpc"), ("GET", "/sse"), ("GET", "/tools"), ("GET", "/metrics")],
)
async def test_a_key_for_other_services_is_refused_at_the_door(
    wire: Wire, callers: AsGranted, method: str, path: str
) -> None:
    """RFC 6750 §3.1: 403 with insufficient_scope and the scope that is needed."""
    callers.grant = Grant(("postgres", "github:*"))
    body = _message("ping", {}) if method == "POST" else None
    answer = await wire.ask(method, path, json_=body)
    assert answer.status == 403
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="demo"' in challenge
    assert "INSUFFICIENT_SCOPE" in answer.body.decode()
    assert (await wire.ask("GET", "/health")).status == 200


async def test_openapi_is_whole_without_a_key_and_ones_own_with_it(
    wire: Wire, callers: AsGranted
) -> None:
    """Open WebUI reads it with the key of the connection; documentation without one."""
    callers.grant = KEEPS_OUT
    everything = (await wire.ask("GET", "/openapi.json")).json
    own = (await wire.ask("GET", "/openapi.json", headers={"x-api-key": "k"})).json
    assert {path.removeprefix("/tools/") for path in everything["paths"]} == set(TOOLS)
    assert list(own["paths"]) == ["/tools/add"]


async def test_a_wrong_key_is_told_where_what_is_shown_depends_on_it() -> None:
    """The whole document for a wrong key would hide that the key is wrong."""
    async with Wire(settings={"auth": {"api_key": "k" * 20}}) as wire:
        for path, status in [("/openapi.json", 401), ("/health", 200), ("/", 200)]:
            answer = await wire.ask("GET", path, headers={"x-api-key": "wrong"})
            assert answer.status == status


async def test_lists_follow_the_catalogue_for_every_grant(wire: Wire, callers: AsGranted) -> None:
    """What is kept ready for a grant is made anew when tools come and go."""
    callers.grant = Grant(("demo:a*", "demo:e*"))
    assert "echo" in await listed(_rpc, wire, "tools/list", "tools", "name")
    wire.server.catalogue.remove_tool("echo")
    assert "echo" not in await listed(_rpc, wire, "tools/list", "tools", "name")
    assert "echo" not in {t["name"] for t in (await wire.ask("GET", "/tools")).json["tools"]}


async def test_any_number_of_grants_takes_bounded_room(wire: Wire, callers: AsGranted) -> None:
    """Tokens may name any scopes; lists are kept ready for so many of them."""
    for number in range(MAX_KEPT + 50):
        callers.grant = Grant(("demo:add", f"demo:x{number}"))
        assert (await wire.ask("GET", "/tools")).status == 200
    assert len(wire.server.catalogue.kept) <= MAX_KEPT
