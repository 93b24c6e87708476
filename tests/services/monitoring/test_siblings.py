"""Probes of the suite's services: right about each, and in time whatever they do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings, TLSSection
from core.testing import Client
from services.monitoring.backend.checks import Counts, counts_of
from services.monitoring.backend.events import Event
from services.monitoring.backend.probes import Memory, Outcome, Probe
from services.monitoring.backend.siblings import Siblings
from services.monitoring.backend.trust import Trust
from services.monitoring.registry import Target
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings
from services.monitoring.tools.health import service_health, verdict
from tests.servers.processes import free_port
from tests.services.fetch.internet.certificates import Authority
from tests.services.monitoring.suite import (
    KEY,
    Behaviour,
    add_tool,
    behaving,
    dribbling,
    endless,
    head,
    health_of,
    saying,
    service,
    serving,
    siblings,
    silent,
)

LIMIT_S = 1.0
SLACK_S = 1.0
NONE_SHALL_PASS = {"auth": {"api_key": KEY}}


class Notebook:
    """Takes in what the sampler would."""

    def __init__(self) -> None:
        self.readings: dict[str, float] = {}
        self.events: list[Event] = []
        self.recorded = asyncio.Event()

    def record(self, metric: str, at: float, value: float) -> None:
        """Keep the newest."""
        self.readings[metric] = value
        self.recorded.set()

    def note(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


async def told(watch: Siblings, name: str, *, deep: bool = False) -> Any:
    """Probe one service and return what services_health says of it."""
    probe = (await watch.fresh([name], deep=deep))[name]
    return service_health(probe, watch.memories[name], watch.digest_of(name))


# --- one that works -------------------------------------------------------------------------------


async def test_every_door_of_a_service_is_tried(tmp_path: Path) -> None:
    """Both eras of MCP, with the end of the session; `deep` adds the list, /rpc and /sse."""
    server = service("one", tmp_path, **NONE_SHALL_PASS)
    async with serving(server) as url:
        watch = siblings(tmp_path, {"one": url}, key=KEY)
        health = await told(watch, "one", deep=True)
    assert (health.status, health.problem, health.version) == ("up", None, "1.0.0")
    assert health.revision == "2026-07-28"
    assert "2025-11-25" in health.revisions
    assert health.tools == 2
    wanted = {"health", "ready", "initialize", "discover", "tools", "metrics"}
    assert {check.check for check in health.checks} == wanted | {"tools_list", "rpc", "sse"}
    assert all(check.ok and check.ms > 0 for check in health.checks)
    assert health.uptime_s < 30


async def test_a_probe_leaves_no_session_behind(tmp_path: Path) -> None:
    """Else a service would hold one more every quarter of a minute."""
    server = service("one", tmp_path)
    async with serving(server) as url:
        watch = siblings(tmp_path, {"one": url})
        for _ in range(3):
            assert (await told(watch, "one")).status == "up"
        await asyncio.sleep(1.1)  # what /health says of components is kept for a second
        probe = (await watch.fresh(["one"]))["one"]
    assert probe.health["components"]["server"]["sessions"] == 0


async def test_those_who_ask_at_the_same_time_get_the_same_probe(tmp_path: Path) -> None:
    """So that callers cannot make a storm of requests to the other services."""
    server = service("one", tmp_path)
    async with serving(server) as url:
        watch = siblings(tmp_path, {"one": url})
        first, second = await asyncio.gather(watch.fresh(["one"]), watch.fresh(["one"]))
    assert first["one"] is second["one"]


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
async def test_one_door_that_hangs_closes_no_other(tmp_path: Path, delay_s: float) -> None:
    """Whether the service is quick, and tried door by door, or slow, and tried all at once."""
    server = service("one", tmp_path)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(delay_s)
        if b"/ready" in request:
            await asyncio.Event().wait()
        away, back = await asyncio.open_connection("127.0.0.1", port)
        back.write(request.replace(b"Connection: keep-alive", b"Connection: close"))
        pumps = [pump(reader, back), pump(away, writer)]
        try:
            await asyncio.wait([asyncio.ensure_future(p) for p in pumps])
        finally:
            back.close()

    async with serving(server) as url, behaving(slow) as front:
        port = int(url.rpartition(":")[2])
        health = await told(siblings(tmp_path, {"one": front}, seconds=3.0), "one")
    failed = {check.check for check in health.checks if not check.ok}
    assert (health.code, failed) == ("TIMED_OUT", {"ready"})


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes."""
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
        target.write_eof()


# --- what goes wrong ------------------------------------------------------------------------------

DEEP = b"[" * 200_000
REDIRECT = head("302 Found", Location="http://127.0.0.1:1/", Content_Length="0")
BEHAVIOURS: dict[str, tuple[Behaviour, str]] = {
    "another protocol": (saying(b"SSH-2.0-OpenSSH_9.6\r\n"), "NOT_HTTP"),
    "a page": (saying(head(kind="text/html") + b"<html>hello</html>"), "NOT_JSON"),
    "half an object": (saying(head(Content_Length="400") + b'{"status": "hea'), "NOT_HTTP"),
    "a broken object": (saying(head() + b'{"status": "hea'), "NOT_JSON"),
    "a list": (saying(head() + b"[1]"), "NOT_JSON"),
    "nested without end": (saying(head() + DEEP), "NOT_JSON"),
    "no service": (saying(head() + b'{"ok": true}'), "WRONG_ANSWER"),
    "another service": (saying(health_of("other")), "WRONG_ANSWER"),
    "nothing at all": (saying(b""), "NOT_HTTP"),
    "a redirect": (saying(REDIRECT), "REDIRECTED"),
    "an error": (saying(head("500 Oops", Content_Length="0")), "FAILED"),
    "silence": (silent, "TIMED_OUT"),
    "a dribble": (dribbling, "TIMED_OUT"),
    "no end": (endless, "ENDLESS"),
}


@pytest.mark.parametrize(("behaviour", "code"), BEHAVIOURS.values(), ids=BEHAVIOURS)
async def test_what_is_no_service_is_told_apart_in_time(
    tmp_path: Path, behaviour: Behaviour, code: str
) -> None:
    """A sentence and advice for each way of being wrong, within the limit."""
    limit_s = LIMIT_S if code == "TIMED_OUT" else 5.0
    async with behaving(behaviour) as url:
        watch = siblings(tmp_path, {"one": url}, seconds=limit_s)
        began = time.monotonic()
        health = await told(watch, "one")
        assert time.monotonic() - began < limit_s + SLACK_S
    assert (health.status, health.code) == ("down", code)
    assert "It has never answered so far." in health.problem
    assert health.advice


async def test_a_service_that_is_not_there_is_down(tmp_path: Path) -> None:
    """And the advice starts it."""
    watch = siblings(tmp_path, {"one": f"http://127.0.0.1:{free_port()}"})
    health = await told(watch, "one")
    assert (health.status, health.code) == ("down", "NOT_RUNNING")
    assert "./deploy.sh up one" in health.advice


async def test_a_name_that_is_not_known_may_be_a_container_that_does_not_run(
    tmp_path: Path,
) -> None:
    """Docker's names come and go with the containers (RFC 2606 keeps .invalid free)."""
    watch = siblings(tmp_path, {"one": "http://mcp-one.invalid:8001"}, seconds=LIMIT_S)
    health = await told(watch, "one")
    assert health.code in ("UNKNOWN_HOST", "TIMED_OUT")  # without a name server it takes long
    assert "up one" in health.advice or health.code == "TIMED_OUT"


async def test_a_wrong_key_is_told_although_the_service_is_well(tmp_path: Path) -> None:
    """/health needs none, so that the two can be told apart."""
    server = service("one", tmp_path, **NONE_SHALL_PASS)
    async with serving(server) as url:
        health = await told(siblings(tmp_path, {"one": url}, key="wrong"), "one")
    assert (health.status, health.code) == ("degraded", "KEY_REFUSED")
    assert "MCP_MONITORING_SERVICES_API_KEY" in health.advice
    assert "wrong" not in health.model_dump_json()


async def test_the_key_is_sent_to_the_right_service_only(tmp_path: Path) -> None:
    """What calls itself something else is told no secret."""
    seen = bytearray()

    async def listening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(health_of("other"))

    async with behaving(listening) as url:
        await told(siblings(tmp_path, {"one": url}, key=KEY), "one", deep=True)
    assert b"GET /health" in seen
    assert KEY.encode() not in seen


async def test_a_service_with_health_and_nothing_else_is_degraded(tmp_path: Path) -> None:
    """It runs, but no client could use it."""
    async with behaving(saying(health_of("one"))) as url:
        health = await told(siblings(tmp_path, {"one": url}, seconds=LIMIT_S), "one")
    assert health.status == "degraded"
    assert health.code in ("WRONG_ANSWER", "NOT_HTTP", "NOT_JSON")


async def test_a_component_that_is_down_is_named(tmp_path: Path) -> None:
    """The service's own words about what it depends on."""
    parts = {"database": {"status": "down", "detail": "no connection"}, "a": {"status": "up"}}
    data = health_of("one", status="degraded", components=parts)
    async with behaving(saying(data)) as url:
        watch = siblings(tmp_path, {"one": url}, seconds=LIMIT_S)
        probe = (await watch.fresh(["one"]))["one"]
    assert probe.troubled_components == {"database": "no connection"}


@pytest.mark.parametrize(("status", "code"), [("starting", None), ("degraded", "DEGRADED")])
def test_a_program_that_is_started_for_the_first_time_is_no_trouble(
    status: str, code: str | None
) -> None:
    """As the bridge says it of itself."""
    answered = Outcome("health", True, 1.0, "", None)
    probe = Probe(Target("one", "http://127.0.0.1:1"), 0.0, (answered,), {"status": status})
    assert verdict(probe, Memory())[1] == code


async def test_one_that_hangs_delays_no_other(tmp_path: Path) -> None:
    """All at once: down, garbage, hanging three ways, a wrong key, and one that works."""
    targets = {"gone": f"http://127.0.0.1:{free_port()}"}
    async with contextlib.AsyncExitStack() as stack:
        for name, behaviour in {
            "garbage": saying(b"\x00\xff garbage"),
            "silent": silent,
            "dribbling": dribbling,
            "endless": endless,
            "page": saying(head(kind="text/html") + b"<p>"),
        }.items():
            targets[name] = await stack.enter_async_context(behaving(behaviour))
        closed = service("closed", tmp_path, auth={"api_key": "another-key-of-somebody"})
        targets["closed"] = await stack.enter_async_context(serving(closed))
        well = service("well", tmp_path, **NONE_SHALL_PASS)
        targets["well"] = await stack.enter_async_context(serving(well))
        watch = siblings(tmp_path, targets, seconds=LIMIT_S, key=KEY)
        began = time.monotonic()
        probes = await watch.fresh(list(targets), deep=True)
        assert time.monotonic() - began < LIMIT_S + SLACK_S
    told_of = {
        name: service_health(probe, watch.memories[name], None) for name, probe in probes.items()
    }
    codes = {name: health.code for name, health in told_of.items()}
    assert codes.pop("endless") in ("ENDLESS", "TIMED_OUT")  # two megabytes, or the time for them
    assert codes == {
        "gone": "NOT_RUNNING",
        "garbage": "NOT_HTTP",
        "silent": "TIMED_OUT",
        "dribbling": "TIMED_OUT",
        "page": "NOT_JSON",
        "closed": "KEY_REFUSED",
        "well": None,
    }


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Signs the certificates of the services."""
    return Authority()


@contextlib.asynccontextmanager
async def secured(
    folder: Path, authority: Authority, *, expires_in: timedelta, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """A service that speaks TLS, and the file of the authority beside it."""
    (folder / "ca.pem").write_text(authority.pem)
    context = authority.server_context(host, expires_in=expires_in)
    async with serving(service("one", folder), context) as url:
        yield url


async def test_a_certificate_is_checked_and_its_end_told(
    tmp_path: Path, authority: Authority
) -> None:
    """Long enough before it happens."""
    async with secured(tmp_path, authority, expires_in=timedelta(days=40)) as url:
        trust = Trust(tmp_path / "ca.pem")
        health = await told(siblings(tmp_path, {"one": url}, trust=trust), "one", deep=True)
    assert health.status == "up"
    assert health.certificate.trusted
    assert 39 < health.certificate.days_left <= 40


async def test_a_certificate_that_expires_soon_is_a_problem(
    tmp_path: Path, authority: Authority
) -> None:
    """Although everything works today."""
    async with secured(tmp_path, authority, expires_in=timedelta(days=3)) as url:
        notebook = Notebook()
        trust = Trust(tmp_path / "ca.pem")
        watch = siblings(tmp_path, {"one": url}, trust=trust, recorder=notebook)
        health = await told(watch, "one")
    assert (health.status, health.code) == ("degraded", "CERTIFICATE_EXPIRES")
    assert notebook.readings["service.one.certificate_days"] < 3


@pytest.mark.parametrize(
    ("days", "host", "says"),
    [(-1, "127.0.0.1", "expired"), (9, "other.example.org", "IP address mismatch")],
)
async def test_a_wrong_certificate_is_shown_but_never_sent_the_key(
    tmp_path: Path, authority: Authority, days: int, host: str, says: str
) -> None:
    """When it expired is told all the same: it is looked at on a connection without a request."""
    async with secured(tmp_path, authority, expires_in=timedelta(days=days), host=host) as url:
        trust = Trust(tmp_path / "ca.pem")
        health = await told(siblings(tmp_path, {"one": url}, trust=trust, key=KEY), "one")
    assert (health.status, health.code) == ("down", "CERTIFICATE_REFUSED")
    assert says in health.problem
    assert not health.certificate.trusted
    assert health.certificate.days_left == pytest.approx(days, abs=0.1)


async def test_the_suites_own_certificate_is_trusted_whatever_name_it_is_for(
    tmp_path: Path, authority: Authority
) -> None:
    """deploy.sh gives all services the same one, for a name that is not 127.0.0.1."""
    async with secured(
        tmp_path, authority, expires_in=timedelta(days=40), host="mcp.example.org"
    ) as url:
        port = int(url.rpartition(":")[2])
        pem = await asyncio.to_thread(_certificate_of, port)
        (tmp_path / "own.pem").write_text(pem)
        own = TLSSection(certificate=tmp_path / "own.pem")
        health = await told(siblings(tmp_path, {"one": url}, trust=Trust(own=own)), "one")
    assert health.status == "up"


def _certificate_of(port: int) -> str:
    import ssl

    return ssl.get_server_certificate(("127.0.0.1", port))


async def test_http_and_https_are_not_mixed_up_in_silence(
    tmp_path: Path, authority: Authority
) -> None:
    """Either way the address is what is wrong."""
    async with secured(tmp_path, authority, expires_in=timedelta(days=40)) as url:
        plain = url.replace("https", "http")
        health = await told(siblings(tmp_path, {"one": plain}, seconds=LIMIT_S), "one")
    assert health.code in ("NOT_HTTP", "FAILED")
    async with serving(service("one", tmp_path)) as url:
        secure = url.replace("http", "https")
        health = await told(siblings(tmp_path, {"one": secure}, seconds=LIMIT_S), "one")
    assert health.code == "NOT_TLS"


# --- over time ------------------------------------------------------------------------------------


async def test_a_restart_and_a_new_version_are_noticed(tmp_path: Path) -> None:
    """By the time it has run, on a clock that nobody sets; each is an event, too."""
    now = {"wall": 1_000_000.0, "monotonic": 500.0, "uptime": 50.0, "version": 1}
    notebook = Notebook()

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = str(now["version"])
        await saying(health_of("one", uptime=now["uptime"], version=version))(reader, writer)

    def pass_time(seconds: float) -> None:
        now["wall"] += seconds
        now["monotonic"] += seconds
        now["uptime"] += seconds

    async with behaving(answering) as url:
        watch = siblings(
            tmp_path,
            {"one": url},
            recorder=notebook,
            clock=lambda: now["wall"],
            monotonic=lambda: now["monotonic"],
        )
        await told(watch, "one")
        pass_time(15)
        now["wall"] += 3_600  # the clock is set: no restart
        assert (await told(watch, "one")).restarts_1h == 0
        pass_time(15)
        now.update(uptime=1.0, version=2)
        health = await told(watch, "one")
    assert health.restarts_1h == 1
    assert notebook.readings["service.one.restarts_1h"] == 1
    assert [event.kind for event in notebook.events] == ["restarted", "version_changed"]


async def test_down_and_up_again_are_events_and_readings(tmp_path: Path) -> None:
    """What was never there is neither: nobody misses it."""
    notebook = Notebook()
    targets = {"one": f"http://127.0.0.1:{free_port()}"}
    watch = siblings(tmp_path, targets, recorder=notebook)
    await told(watch, "one")
    assert not notebook.events
    assert not notebook.readings
    watch.memories["one"].known.seen_at = time.time()
    await told(watch, "one")
    assert notebook.readings["service.one.up"] == 0
    assert notebook.events == []  # it was down before, too
    watch.memories["one"].was_up = True
    await told(watch, "one")
    assert [event.kind for event in notebook.events] == ["down"]


async def test_what_is_known_survives_a_restart_of_the_watcher(tmp_path: Path) -> None:
    """Tools that change while nobody looks are noticed afterwards; a torn file is no obstacle."""
    server = service("one", tmp_path / "one")
    async with serving(server) as url:
        first = siblings(tmp_path, {"one": url}, every_s=600)
        async with first.running():
            assert (await told(first, "one")).drift == []
        add_tool(server, "third")
        second = siblings(tmp_path, {"one": url}, every_s=600)
        async with second.running():
            health = await told(second, "one")
        assert [drift.added for drift in health.drift] == [["third"]]
        (tmp_path / "monitoring-services.json").write_text('{"one": {"too')
        third = siblings(tmp_path, {"one": url}, every_s=600)
        async with third.running():
            assert (await told(third, "one")).drift == []


async def test_the_background_probes_again_and_again(tmp_path: Path) -> None:
    """And what it sees goes to the sampler."""
    notebook = Notebook()
    async with serving(service("one", tmp_path)) as url:
        watch = siblings(tmp_path, {"one": url}, every_s=0.05, recorder=notebook)
        async with watch.running(), asyncio.timeout(5):
            while "service.one.latency_ms" not in notebook.readings:
                notebook.recorded.clear()
                await notebook.recorded.wait()
            for _ in range(2):
                notebook.recorded.clear()
                await notebook.recorded.wait()
    assert notebook.readings["service.one.up"] == 1
    assert notebook.readings["service.one.latency_ms"] > 0
    assert watch.memories["one"].percentile(0.5) is not None


def test_percentiles_are_of_the_probes_that_succeeded() -> None:
    """Nearest rank: a value that was really seen."""
    memory = Memory()
    memory.latencies.extend((float(i), float(i)) for i in range(1, 101))
    memory.latencies.append((101.0, None))
    assert memory.percentile(0.5) == 50
    assert memory.percentile(0.95) == 95
    assert Memory().percentile(0.5) is None


def test_the_share_of_failures_is_of_the_last_minutes_and_survives_a_restart() -> None:
    """A counter that went back began anew; what callers got wrong is no failure of the service."""
    memory = Memory()
    steps = [(0, 100, 50), (100, 110, 50), (200, 4, 2), (290, 10, 3)]
    memory.counts.extend((at, Counts(calls, faults)) for at, calls, faults in steps)
    assert memory.fault_percent(300) == pytest.approx(100 * 3 / 20)
    assert memory.fault_percent(1_000) is None
    text = (
        b'http_tool_execution_total{outcome="success",service="a",tool="t"} 7.0\n'
        b'http_tool_execution_total{outcome="TOOL_FAILED",service="a",tool="t"} 2.0\n'
        b'http_tool_execution_total{outcome="NOT_FOUND",service="a",tool="t"} 1.0\n'
        b'http_requests_total{endpoint="/mcp",method="POST",service="a",status="503"} 4.0\n'
    )
    assert counts_of(text) == Counts(calls=10, faults=6)


# --- through the door -----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def watching(folder: Path, services: str) -> AsyncIterator[Client]:
    """The service itself, watching these."""
    settings = Settings.from_dict({"server": {"state_dir": str(folder)}, **NONE_SHALL_PASS})
    own = MonitoringSettings.from_dict({"services": services, "probe_time_limit_s": LIMIT_S})
    headers = {"Authorization": f"Bearer {KEY}"}
    async with Client(create_server(settings, own), headers=headers) as client:
        yield client


async def test_the_tool_shows_every_service_and_itself(tmp_path: Path) -> None:
    """Itself is asked through its own doors, without a socket and without a deadlock."""
    server = service("one", tmp_path / "one", **NONE_SHALL_PASS)
    async with (
        serving(server) as url,
        watching(tmp_path, f"one={url},two=http://127.0.0.1:{free_port()}") as client,
    ):
        result = await client.call("services_health", deep=True)
    assert result.structured is not None
    assert (result.structured["up"], result.structured["down"]) == (2, 1)
    states = {row["name"]: row["status"] for row in result.structured["services"]}
    assert states == {"one": "up", "two": "down", "monitoring": "up"}


async def test_a_service_is_chosen_by_name_and_never_by_address(tmp_path: Path) -> None:
    """Nothing that a caller says becomes a target."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}"
        async with watching(tmp_path, f"one=http://127.0.0.1:{free_port()}") as client:
            only = await client.call("services_health", service="one")
            refused = [await client.call("services_health", service=s) for s in (url, "onne")]
        with pytest.raises(TimeoutError):
            trap.accept()
    assert only.structured is not None
    assert [row["name"] for row in only.structured["services"]] == ["one"]
    assert [result.error and result.error["code"] for result in refused] == ["UNKNOWN_SERVICE"] * 2
    assert refused[1].error is not None
    assert refused[1].error["nearest"] == ["one"]
    assert json.loads(refused[1].text)["hint"].startswith("Did you mean one?")
