"""A wall clock that jumps by a day, as after a long sleep or with a broken time server.

What measures how long something takes does not notice. What other machines have to agree on goes by
the wall clock, and the server goes on serving.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest

from core.confirmations import Confirmations
from core.mcp_sse import MCPServer
from tests.wire.harness import BOTH, Wire

DAY_S = 86_400.0
OPENING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


class WallClock:
    """The wall clock of one server, which tests set."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return time.time() + self.offset_s

    @classmethod
    def of(cls, server: MCPServer) -> WallClock:
        """Put one in the place of every wall clock of a server's parts."""
        clock = cls()
        changed = 0
        for part in (*vars(server).values(), *vars(server.root).values()):
            for name, value in getattr(part, "__dict__", {}).items():
                if value is time.time:
                    setattr(part, name, clock)
                    changed += 1
        assert changed >= 3  # sessions, dispatcher, backplane
        return clock


async def begin_session(wire: Wire) -> dict[str, str]:
    """Return the headers of a new session."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": OPENING}
    answer = await wire.ask("POST", "/mcp", json_=message, headers={"accept": BOTH})
    assert answer.status == 200
    return {"accept": BOTH, "mcp-session-id": answer.headers["mcp-session-id"]}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool call."""
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


async def test_session_of_yesterday_is_over_and_a_new_one_begins() -> None:
    """A day ahead: `session_lifetime_s` has passed as far as anybody can tell; 404 says so."""
    async with Wire() as wire:
        session = await begin_session(wire)
        clock = WallClock.of(wire.server)
        clock.offset_s = DAY_S + 1
        message = call("add", a=1, b=2)
        assert (await wire.ask("POST", "/mcp", json_=message, headers=session)).status == 404
        session = await begin_session(wire)
        answer = await wire.ask("POST", "/mcp", json_=message, headers=session)
        assert answer.json["result"]["structuredContent"] == {"total": 3}


async def test_session_goes_on_when_the_clock_goes_back() -> None:
    """A day back: nothing ends, and what was ended stays so."""
    async with Wire() as wire:
        session, ended = await begin_session(wire), await begin_session(wire)
        assert (await wire.ask("DELETE", "/mcp", headers=ended)).status in (200, 202, 204)
        clock = WallClock.of(wire.server)
        clock.offset_s = -DAY_S
        message = call("add", a=1, b=2)
        assert (await wire.ask("POST", "/mcp", json_=message, headers=session)).status == 200
        assert (await wire.ask("POST", "/mcp", json_=message, headers=ended)).status == 404


@pytest.mark.parametrize("offset_s", [DAY_S, -DAY_S])
async def test_calls_streams_and_time_limits_do_not_notice(offset_s: float) -> None:
    """They count monotonic time."""
    async with Wire() as wire:
        clock = WallClock.of(wire.server)
        stream = await wire.start("GET", "/sse").begun()
        running = wire.start("POST", "/rpc", json_=call("count", steps=5, pause_ms=50))
        late = wire.start("POST", "/rpc", json_=call("overrun"))
        clock.offset_s = offset_s
        counted = await running.whole()
        assert counted.json["result"]["structuredContent"] == {"steps": 5}
        stopped = await late.whole()
        assert "TIME_LIMIT_EXCEEDED" in stopped.body.decode()
        health = (await wire.ask("GET", "/health")).json
        assert health["status"] == "healthy"
        assert 0 <= health["uptime"] < 60
        assert not stream.ended


async def test_confirmations_go_by_a_clock_that_does_not_jump() -> None:
    """By the wall clock, a jump ahead would forget which tokens were used, and one back renew them.

    The token is redeemed, forgotten as expired a day later, and offered again a day earlier.
    """
    assert inspect.signature(Confirmations).parameters["clock"].default is time.monotonic
    jumping = WallClock()
    confirmations = Confirmations(60, jumping)
    token = await confirmations.make(b"delete it")
    await confirmations.redeem(token, b"delete it")
    jumping.offset_s = DAY_S
    await confirmations.redeem(await confirmations.make(b"another"), b"another")
    jumping.offset_s = 0
    await confirmations.redeem(token, b"delete it")  # what the default prevents
