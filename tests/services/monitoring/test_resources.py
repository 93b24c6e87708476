"""What clients attach and subscribe to: the overview, and alerts of services that really die."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client as OfficialClient
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning

from core.settings import Settings
from core.testing import Client
from services.monitoring.prompts import INCIDENT_TRIAGE
from services.monitoring.resources import ALERTS, OVERVIEW
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings
from tests.servers.processes import ServerProcess, free_port

ERAS = ["legacy", "2026-07-28"]
PATIENCE_S = 10.0
DOWN = {"name": "service_down", "metric": "service.*.up", "below": 0.5, "for_s": 0}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[ServerProcess]:
    """A service of the suite, which the test kills."""
    folder = tmp_path / "filesystem"
    folder.mkdir()
    with ServerProcess(folder, module="services.filesystem") as started:
        yield started


@pytest.fixture
def monitoring(tmp_path: Path, watched: ServerProcess) -> Iterator[ServerProcess]:
    """The service that watches it, in a hurry."""
    folder = tmp_path / "monitoring"
    folder.mkdir()
    environment = {
        "MCP_MONITORING_SERVICES": f"filesystem={watched.url}",
        "MCP_MONITORING_PROBE_INTERVAL_S": "1",
        "MCP_MONITORING_SAMPLE_INTERVAL_S": "0.5",
        "MCP_MONITORING_ALERT_RULES": json.dumps([DOWN]),
    }
    with ServerProcess(folder, environment=environment, module="services.monitoring") as started:
        yield started


@contextlib.asynccontextmanager
async def subscribed(
    server: ServerProcess, era: str
) -> AsyncIterator[tuple[OfficialClient, asyncio.Queue[str]]]:
    """Connect in an era, subscribe to the alerts in its way; the queue has what is told."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            told.put_nowait(str(message.params.uri))

    async with OfficialClient(f"{server.url}/mcp", mode=era, message_handler=hear) as client:
        if era == "legacy":
            await asyncio.sleep(0.2)  # the client opens its stream on its own
            with pytest.warns(MCPDeprecationWarning, match="resources/subscribe"):
                await client.subscribe_resource(ALERTS)
            yield client, told
            return
        async with client.listen(resource_subscriptions=[ALERTS]) as changes:

            async def take() -> None:
                async for change in changes:
                    if isinstance(change, ResourceUpdated):
                        told.put_nowait(str(change.uri))

            taking = asyncio.create_task(take())
            yield client, told
            taking.cancel()


async def read(client: OfficialClient, uri: str) -> dict[str, Any]:
    """Return what a resource has."""
    contents = (await client.read_resource(uri)).contents[0]
    found: dict[str, Any] = json.loads(getattr(contents, "text", "null"))
    return found


async def told_until(
    client: OfficialClient, told: asyncio.Queue[str], *, firing: int
) -> dict[str, Any]:
    """Read the alerts each time that they are told to have changed, until so many fire.

    The client of the newest revision tells of one change in two ways.
    """
    while True:
        assert await asyncio.wait_for(told.get(), PATIENCE_S) == ALERTS
        alerts = await read(client, ALERTS)
        if len(alerts["firing"]) == firing:
            return alerts


async def seen_up(client: OfficialClient) -> None:
    """Wait until the service was seen: only what was there is missed."""
    while True:
        services = (await read(client, OVERVIEW))["services"]
        if any(s["name"] == "filesystem" and s["status"] == "up" for s in services):
            return
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("era", ERAS)
async def test_a_service_that_dies_raises_an_alert_and_coming_back_ends_it(
    monitoring: ServerProcess, watched: ServerProcess, era: str
) -> None:
    """A subscribed client is told both times; the log has a line for each."""
    async with subscribed(monitoring, era) as (client, told), asyncio.timeout(3 * PATIENCE_S):
        await seen_up(client)
        await asyncio.to_thread(watched.kill)
        firing = (await told_until(client, told, firing=1))["firing"]
        assert [(alert["rule"], alert["subject"]) for alert in firing] == [
            ("service_down", "filesystem")
        ]
        health = await client.call_tool("services_health", {"service": "filesystem"})
        assert health.structured_content is not None
        assert health.structured_content["services"][0]["code"] == "NOT_RUNNING"
        await asyncio.to_thread(watched.start)
        alerts = await told_until(client, told, firing=0)
        assert [alert["rule"] for alert in alerts["resolved"]] == ["service_down"]
        history = await client.call_tool("alerts", {"view": "history"})
        assert history.structured_content is not None
        assert history.structured_content["total"] == 1
    await asyncio.to_thread(monitoring.terminate)  # which writes the last lines
    log = monitoring.output.read_text()
    assert "alert firing" in log
    assert "alert resolved" in log
    assert "HTTP Request" not in log, "no line for each request of each probe"


async def test_the_overview_has_machine_services_and_alerts_without_asking_anybody(
    tmp_path: Path,
) -> None:
    """What the last probes saw; reading it again and again costs the services nothing."""
    settings = Settings.from_dict({"server": {"state_dir": str(tmp_path)}})
    services = f"one=http://127.0.0.1:{free_port()}"
    own = MonitoringSettings.from_dict({"services": services, "probe_interval_s": 600})
    async with Client(create_server(settings, own)) as client, asyncio.timeout(PATIENCE_S):
        while True:
            result = (await client.rpc("resources/read", {"uri": OVERVIEW}))["result"]
            overview = json.loads(result["contents"][0]["text"])
            if len(overview["services"]) == 2:
                break
            await asyncio.sleep(0.05)
        probed = (await client.call("services_health", service="one")).structured
    states = {service["name"]: service["status"] for service in overview["services"]}
    assert states == {"one": "down", "monitoring": "up"}
    assert overview["machine"]["summary"]
    assert overview["alerts"] == []
    assert probed is not None
    assert probed["services"][0]["latency"]["probes"] == 1, "of the background"


async def test_the_prompt_names_tools_that_exist(tmp_path: Path) -> None:
    """In the order in which an incident is looked into."""
    settings = Settings.from_dict({"server": {"state_dir": str(tmp_path)}})
    server = create_server(settings, MonitoringSettings.from_dict({}))
    async with Client(server) as client:
        arguments = {"symptom": "chat is slow {x}", "since": "noon"}
        params = {"name": "incident_triage", "arguments": arguments}
        result = (await client.rpc("prompts/get", params))["result"]
    text = result["messages"][0]["content"]["text"]
    assert text.startswith("Something is wrong: chat is slow {x} (since noon).")
    steps = ["alerts", "services_health", "system_overview", "metrics_history", "processes"]
    steps += ["what_changed", "error_summary", "log_patterns", "search_logs", "log_context"]
    assert all(step in INCIDENT_TRIAGE for step in (*steps, "containers"))
