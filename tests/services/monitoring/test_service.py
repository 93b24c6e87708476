"""The monitoring service through its public doors: overview, history, health."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.testing import Client
from tests.services.monitoring.served import server_on
from tests.services.monitoring.trees import plant, stat_line

MAX_ANSWER_BYTES = 64_000
MAX_PNG_BYTES = 60_000


@pytest.fixture
async def client(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service that watches this machine."""
    async with Client(server_on(None, tmp_path)) as connected:
        yield connected


async def _call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call(tool, **arguments)
    assert result.structured is not None, result.text
    assert len(json.dumps(result.structured)) < MAX_ANSWER_BYTES
    return result.structured


# --- system_overview ------------------------------------------------------------------------------


async def test_the_overview_tells_this_machine(client: Client) -> None:
    """With rates, although the service has just begun: it waits for its second sample."""
    overview = await _call(client, "system_overview")
    assert overview["cpu"]["cores"] == len(overview["cpu"]["per_core"])
    assert 0 <= overview["cpu"]["percent"] <= 100
    assert 0 < overview["memory"]["used_bytes"] < overview["memory"]["total_bytes"]
    assert overview["uptime_s"] > 0
    assert overview["processes"]["total"] >= 1
    assert overview["status"] in ("ok", "info", "warning", "critical")
    assert overview["scope"]["kind"] in ("host", "container")
    assert overview["summary"].startswith("load ")


async def test_a_machine_that_tells_nothing_has_reasons_in_place_of_numbers(
    tmp_path: Path,
) -> None:
    """An empty /proc, as in a sandbox: nothing breaks, nothing is made up."""
    (tmp_path / "proc").mkdir()
    async with Client(server_on(tmp_path / "proc", tmp_path)) as client:
        overview = await _call(client, "system_overview")
    assert (overview["cpu"], overview["memory"], overview["load"]) == (None, None, None)
    assert {"cpu", "memory", "load", "io", "network"} <= set(overview["unavailable"])
    assert overview["processes"]["total"] == 0


async def test_a_mounted_proc_of_the_host_is_what_is_told(tmp_path: Path) -> None:
    """In a container whose operator mounted it; the answer says what is whose."""
    net = "a\nb\n  host0: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n"
    proc = plant(
        tmp_path / "proc",
        {
            "stat": "cpu 1 1 1 1\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nbtime 1700000000\n",
            "1/stat": stat_line(1, "systemd", parent=0),
            "1/net/dev": net,
            "777/stat": stat_line(777, "hosts-own"),
            "777/status": "Uid:\t0 0 0 0\n",
        },
    )
    async with Client(server_on(None, tmp_path, host_proc=str(proc))) as client:
        overview = await _call(client, "system_overview")
        processes = await _call(client, "processes", q="hosts-own")
        network = await _call(client, "network")
    assert overview["scope"]["kind"] == "host"
    assert "File systems and control group are this container's" in overview["scope"]["note"]
    assert overview["cpu"]["cores"] == 2
    assert [(row["pid"], row["user"]) for row in processes["processes"]] == [(777, "0")]
    assert [row["name"] for row in network["interfaces"]] == ["host0"]
    assert network["interfaces"][0]["addresses"] == []


# --- metrics_history ------------------------------------------------------------------------------


async def test_without_a_metric_their_names_are_listed(client: Client) -> None:
    """What can be asked for depends on the machine."""
    await _call(client, "system_overview")
    names = (await _call(client, "metrics_history"))["metrics"]
    assert {"cpu.percent", "memory.used_bytes", "load.1m", "processes.total"} <= set(names)


async def test_history_has_steps_statistics_and_a_trend(client: Client) -> None:
    """A step is a value or null, from the start of the window on."""
    await _call(client, "system_overview")
    history = await _call(client, "metrics_history", metrics=["memory.used_bytes"], window_s=60)
    (series,) = history["series"]
    values = [value for value in series["values"] if value is not None]
    assert len(series["values"]) == 30
    assert series["min"] <= series["avg"] <= series["max"]
    assert min(values) >= series["min"]
    assert (series["unit"], series["trend"]["direction"]) == ("bytes", "unknown")
    assert series["limit"] > series["max"]
    assert history["start"] < history["end"]
    assert history["events"] == [] or history["events"][0]["kind"]


async def test_a_day_is_at_most_300_steps(client: Client) -> None:
    """Also when a caller asks for shorter ones."""
    await _call(client, "system_overview")
    history = await _call(
        client, "metrics_history", metrics=["load.1m"], window_s=86_400, step_s=1, agg="max"
    )
    assert len(history["series"][0]["values"]) <= 300


async def test_a_chart_is_a_png_beside_the_numbers(client: Client) -> None:
    """800 by 400 pixels, small enough for a model's context."""
    await _call(client, "system_overview")
    names = ["cpu.percent", "memory.used_percent", "memory.used_bytes", "swap.used_bytes"]
    result = await client.call("metrics_history", metrics=names, window_s=60, plot=True)
    (block,) = [block for block in result.raw["content"] if block["type"] == "image"]
    data = base64.b64decode(block["data"])
    assert block["mimeType"] == "image/png"
    assert len(data) < MAX_PNG_BYTES
    assert Image.open(io.BytesIO(data)).size == (800, 400)
    assert result.structured is not None
    assert len(result.structured["series"]) == 4


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"metrics": ["cpu.percnt"]}, "UNKNOWN_METRIC"),
        ({"metrics": ["load.1m"], "until": "yesterday-ish"}, "INVALID_ARGUMENTS"),
        ({"metrics": ["load.1m"], "window_s": 90_000}, "INVALID_ARGUMENTS"),
        ({"metrics": ["a", "b", "c", "d", "e"]}, "INVALID_ARGUMENTS"),
        (
            {"metrics": ["load.1m", "cpu.percent", "memory.used_bytes"], "plot": True},
            "INVALID_ARGUMENTS",
        ),
    ],
)
async def test_what_cannot_be_answered_is_a_typed_error(
    client: Client, arguments: dict[str, Any], code: str
) -> None:
    """Each says which rule answered; three units have no room on two axes."""
    await _call(client, "system_overview")
    error = (await client.call("metrics_history", **arguments)).error
    assert error is not None
    assert error["code"] == code
    if code == "UNKNOWN_METRIC":
        assert error["nearest"][0] == "cpu.percent"


async def test_the_past_before_the_service_is_empty_and_not_zero(client: Client) -> None:
    """Nothing was recorded, which is something else than nothing having happened."""
    await _call(client, "system_overview")
    history = await _call(client, "metrics_history", metrics=["load.1m"], until="2h", window_s=600)
    (series,) = history["series"]
    assert set(series["values"]) == {None}
    assert (series["avg"], series["readings"]) == (None, 0)
    assert "nothing was recorded" in history["summary"]


# --- health ---------------------------------------------------------------------------------------


async def test_health_names_the_sampler(client: Client) -> None:
    """What the service depends on is itself reading the machine."""
    body = (await client.http.get("/health")).json()
    assert body["components"]["sampler"]["status"] == "up"
