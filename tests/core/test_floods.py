"""Floods: too many requests, and too many wrong credentials, from one address."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import TooManyRequests, Unauthorized
from core.observability.metrics import Metrics
from core.security.buckets import LocalBuckets
from core.security.floods import Floods
from core.security.networks import network_of
from core.settings import RateLimitSection
from tests.wire.harness import Answer, Wire

KEY = "the-right-key-of-this-test"
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "add", "arguments": {"a": 1, "b": 2}},
}
WRONG = {"authorization": "Bearer wrong"}


async def guess(wire: Wire, address: str = "203.0.113.7", path: str = "/rpc") -> Answer:
    """Send a wrong key, through the proxy that the default settings trust."""
    return await wire.ask("POST", path, json_=CALL, headers={**WRONG, "x-forwarded-for": address})


def keyed(per_minute: float) -> Wire:
    """Return a server with a key that takes so many wrong ones."""
    settings = {
        "auth": {"api_key": KEY},
        "rate_limit": {"failures_per_minute": per_minute},
    }
    return Wire(settings=settings, key=KEY)


async def test_wrong_keys_are_slowed_down_and_the_right_one_passes() -> None:
    """429 with Retry-After instead of 401; a gateway shares its address with whoever guesses."""
    async with keyed(5) as wire:
        statuses = [(await guess(wire)).status for _ in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        refused = await guess(wire)
        assert int(refused.headers["retry-after"]) >= 1
        error = json.loads(refused.body)["error"]
        assert error["data"]["code"] == "TOO_MANY_REQUESTS"
        right = await wire.ask(
            "POST", "/rpc", json_=CALL, headers={"x-forwarded-for": "203.0.113.7"}
        )
        assert right.status == 200
        assert (await guess(wire, "203.0.113.8")).status == 401
        text = (await wire.ask("GET", "/metrics")).body.decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    exceeded = {
        s.labels["kind"]: s.value for s in samples if s.name == "http_rate_limit_exceeded_total"
    }
    assert exceeded["failures"] == 4


async def test_whoever_sends_no_key_is_told_where_to_get_one() -> None:
    """OAuth begins with a 401; it guesses nothing and is not counted."""
    async with keyed(2) as wire:
        for _ in range(4):
            await guess(wire)
        headers = {"x-forwarded-for": "203.0.113.7", "authorization": ""}
        without = await wire.ask("POST", "/rpc", json_=CALL, headers=headers)
        assert without.status == 401
        assert "www-authenticate" in without.headers


@pytest.mark.parametrize("path", ["/mcp", "/rpc", "/messages", "/tools/add", "/sse", "/metrics"])
async def test_guesses_at_all_doors_are_counted_together(path: str) -> None:
    """And refused in the words of each door."""
    async with keyed(3) as wire:
        for _ in range(4):
            await guess(wire)
        answer = await guess(wire, path=path)
        assert answer.status == 429
        told = json.loads(answer.body)
        code = told["error"].get("code") if "detail" in told else told["error"]["data"]["code"]
        assert code == "TOO_MANY_REQUESTS"


async def test_ipv6_site_is_one_address() -> None:
    """Whoever has a /64 has 2^64 addresses."""
    async with keyed(3) as wire:
        statuses = [(await guess(wire, f"2001:db8::{n:x}")).status for n in range(1, 6)]
        assert statuses == [401, 401, 401, 429, 429]
        assert (await guess(wire, "2001:db8:0:1::1")).status == 401


async def test_too_many_requests_of_any_kind_are_refused_but_probes_are_not() -> None:
    """Off by default. Whatever watches the server gets through."""
    async with Wire(settings={"rate_limit": {"requests_per_minute": 4}}) as wire:
        answers = [await wire.ask("GET", "/tools") for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 4 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert json.loads(answers[-1].body)["error"]["limit"] == "requests"
        for path in ("/health", "/ready", "/health/"):
            assert (await wire.ask("GET", path)).status == 200
        rpc = json.loads((await wire.ask("POST", "/rpc", json_=CALL)).body)
        assert rpc["error"]["data"]["limit"] == "requests"


async def test_thousand_wrong_keys_are_refused_in_no_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each costs less than a call; the log has a line when it begins, and one for the rest."""
    async with keyed(20) as wire:
        with caplog.at_level(logging.WARNING, logger="core.security.floods"):
            started = time.perf_counter()
            statuses = [(await guess(wire)).status for _ in range(1000)]
            took_s = time.perf_counter() - started
    assert statuses.count(429) == 980
    assert took_s < 5
    said = [r.getMessage() for r in caplog.records if r.name == "core.security.floods"]
    assert ["979 refused" in text for text in said] == [False, True]


def test_flood_is_reported_when_it_begins_and_once_a_minute() -> None:
    """A line for each attempt would be a flood of its own."""
    told: list[tuple[str, int, Any]] = []
    floods = Floods(
        RateLimitSection(failures_per_minute=1),
        Metrics("t"),
        LocalBuckets(lambda: 0.0),
        lambda *report: told.append(report),
    )

    def wrong() -> None:
        floods.note_failure("10.0.0.1", Unauthorized("no", reason="wrong"))

    wrong()
    for _ in range(100):
        with pytest.raises(TooManyRequests):
            wrong()
    assert told == [("failures", 1, {"10.0.0.1": 1})]
    floods.tick(100.0)
    floods.tick(159.0)
    assert len(told) == 1
    floods.tick(161.0)
    floods.tick(300.0)
    assert told[1:] == [("failures", 99, {"10.0.0.1": 99})]
    with pytest.raises(TooManyRequests):
        wrong()
    assert len(told) == 3
    with pytest.raises(TooManyRequests):
        wrong()
    floods.close()
    floods.close()
    assert told[3:] == [("failures", 1, {"10.0.0.1": 1})]


def test_report_names_the_addresses_with_the_most_refusals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever comes last with one more request takes nobody's place."""
    told: list[Any] = []
    section = RateLimitSection(requests_per_minute=1)
    clock = LocalBuckets(lambda: 0.0)
    floods = Floods(section, Metrics("t"), clock, lambda *report: told.append(report))
    for number, times in enumerate((2, 50, 9, 30, 4, 3, 2), start=1):
        for _ in range(times):
            with contextlib.suppress(TooManyRequests):
                floods.note_request(f"10.0.0.{number}")
    with caplog.at_level(logging.WARNING, logger="core.security.floods"):
        floods.close()
    most = {"10.0.0.2": 49, "10.0.0.4": 29, "10.0.0.3": 8, "10.0.0.5": 3, "10.0.0.6": 2}
    assert told == [("requests", 1, {"10.0.0.1": 1}), ("requests", 92, most)]
    assert list(told[1][2]) == list(most)
    assert "92 refused, most of them 49 from 10.0.0.2, 29 from 10.0.0.4" in caplog.text


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_address_stands_for_its_network(address: str, network: str) -> None:
    """What one client can hardly change; odd ones count as they are."""
    assert network_of(address) == network
