"""What broke the service, or made it tell something wrong, when it was attacked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import SettingsError
from core.testing import Client
from services.monitoring.alerts import Alert, Reading, Rule, evaluate
from services.monitoring.backend.cgroup import Cgroup
from services.monitoring.backend.host import Host
from services.monitoring.backend.processes import Processes
from services.monitoring.backend.sampler import Clocks, Sampler
from services.monitoring.backend.siblings import Siblings
from services.monitoring.drift import Known
from services.monitoring.registry import Target
from services.monitoring.settings import MonitoringSettings
from services.monitoring.tools import network
from services.monitoring.tools.health import service_health
from tests.services.monitoring.engine import engine
from tests.services.monitoring.served import server_on
from tests.services.monitoring.suite import (
    Behaviour,
    behaving,
    head,
    health_of,
    saying,
    service,
    serving,
    siblings,
)
from tests.services.monitoring.trees import mount_line, plant, stat_line

NOW = 1_000_000.0


@contextlib.asynccontextmanager
async def client_of(state_dir: Path, **settings: object) -> AsyncIterator[Client]:
    """Call a service that watches this machine and no sibling."""
    server = server_on(None, state_dir, **settings)
    async with Client(server) as client:
        yield client


# --- siblings that lie ----------------------------------------------------------------------------


def answering(name: str, **answers: Any) -> Behaviour:
    """Pretend to be a service that answers some of what it is asked in its own way.

    Args:
        answers: By path without slashes (`mcp`, `metrics`, `health`): the body, as text; or by
            `session`, a header.
    """
    lists: dict[str, object] = {"tools": {"tools": []}}

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split(b" ", 2)[1].decode().strip("/")
        if path == "health" and "health" not in answers:
            writer.write(health_of(name))
            return
        text = answers.get(path) or json.dumps(lists.get(path, {}))
        session = f"Mcp-Session-Id: {answers['session']}\r\n" if "session" in answers else ""
        data = text.encode()
        first = head(Content_Length=str(len(data)), Connection="close").removesuffix(b"\r\n")
        writer.write(first + session.encode("latin-1") + b"\r\n" + data)
        await writer.drain()

    return behave


def result(**members: Any) -> str:
    """Return an answer of MCP."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": members})


async def told(watch: Siblings, name: str) -> Any:
    """Probe one service and return what services_health says of it."""
    probe = (await watch.fresh([name]))[name]
    return service_health(probe, watch.memories[name], watch.digest_of(name))


@pytest.mark.parametrize("uptime", ["9" * 400, "1e300", "1e20", "-1", "true", '"1"'])
async def test_what_one_service_says_costs_no_other_its_probe(tmp_path: Path, uptime: str) -> None:
    """An integer of JSON may be larger than any float; such an uptime is none.

    One of them made every call of services_health fail, and every round of probes.
    """
    health = f'{{"status": "healthy", "service": "liar", "version": "1", "uptime": {uptime}}}'
    async with (
        behaving(answering("liar", health=health)) as liar,
        serving(service("one", tmp_path / "one")) as url,
    ):
        watch = siblings(tmp_path, {"liar": liar, "one": url})
        probes = await watch.fresh(["liar", "one"])
        said = await told(watch, "liar")
    assert probes["one"].is_up
    assert probes["one"].trouble is None
    assert (said.uptime_s, said.started_at) == (None, None)


DISCOVERED = {"supportedVersions": ["2026-07-28"], "protocolVersion": "2025-11-25"}


@pytest.mark.parametrize(
    "answers",
    [
        {"mcp": result(**DISCOVERED, _meta=["x"])},
        {"mcp": result(**DISCOVERED, _meta="x")},
        {"mcp": result(supportedVersions=["2026-07-28"], protocolVersion="2025-\u00e9\u2028")},
        {"mcp": result(**DISCOVERED), "session": "s\u00ff"},
        {"mcp": result(**DISCOVERED), "metrics": 'http_requests_total{status="500"} 1.2.3\n'},
        {"mcp": result(**DISCOVERED), "metrics": 'http_requests_total{status="500"} e\n'},
        {"mcp": result(**DISCOVERED), "metrics": 'http_requests_total{status="500"} 1e999\n'},
    ],
)
async def test_a_service_whose_answers_are_odd_is_not_said_to_be_late(
    tmp_path: Path, answers: dict[str, str]
) -> None:
    """It answers, so it is up, whatever is wrong with what it says."""
    async with behaving(answering("liar", **answers)) as url:
        said = await told(siblings(tmp_path, {"liar": url}), "liar")
    assert said.status in ("up", "degraded")
    assert said.code in (None, "WRONG_ANSWER")


async def test_what_a_service_says_is_one_line_without_secrets(tmp_path: Path) -> None:
    """Drivers put the URL of a database into what a component says of its trouble."""
    parts = {"db": {"status": "down", "detail": "no answer\nfrom postgres://u:hunter2222@db/x"}}
    health = {"status": "degraded", "service": "liar", "version": "1\n2", "components": parts}
    async with behaving(answering("liar", health=json.dumps(health))) as url:
        said = await told(siblings(tmp_path, {"liar": url}), "liar")
    assert said.components == {"db": "no answer from postgres://u:[redacted]@db/x"}
    assert said.version == "1 2"


async def test_restarts_are_remembered_when_this_service_is_killed(tmp_path: Path) -> None:
    """Else a restart loop ended because the one who watched it ended too."""
    watch = siblings(tmp_path, {"one": "http://127.0.0.1:1"}, every_s=600)
    file = tmp_path / "monitoring-services.json"
    async with watch.running():
        for uptime in (50.0, 1.0):
            async with behaving(saying(health_of("one", uptime=uptime))) as url:
                watch.targets["one"] = Target("one", url)
                await watch.fresh(["one"])
        await asyncio.to_thread(watch._file.close)  # waits for what is being written
        assert len(json.loads(file.read_text())["one"]["restarts"]) == 1


# --- an engine that does not tell -----------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["refused", "silent", "odd", "huge"])
async def test_a_container_that_the_engine_does_not_tell_of_is_listed(
    tmp_path: Path, trouble: str
) -> None:
    """Just the one that hangs is looked for; it was left out, as if it were not there."""
    async with engine(tmp_path) as docker:
        ids = [row["Id"] for row in docker.recorded["list"] if row["State"] != "exited"]
        one = ids[0]
        if trouble == "refused":
            docker.statuses = {f"{one}/json": 500}
        elif trouble == "silent":
            docker.silent = (f"{one}/json",)
        elif trouble == "odd":
            docker.recorded["inspect"][one] = {"State": 5}
        else:
            docker.recorded["inspect"][one]["HostConfig"]["NanoCpus"] = 10**400
        async with client_of(tmp_path / "state", docker_socket=docker.socket) as client:
            answer = (await client.call("containers")).structured
    assert answer is not None
    assert answer["total"] == len(ids)
    listed = {container["id"]: container for container in answer["containers"]}
    assert listed[one[:12]]["state"] == "running"
    assert any("its list" in finding for finding in listed[one[:12]]["findings"])


# --- state files that hold anything ---------------------------------------------------------------

ODD = ("x", [1], {"a": 1}, True, float("nan"), float("inf"), None)


@pytest.mark.parametrize("odd", ["x", [1], float("nan")], ids=repr)
@pytest.mark.parametrize("member", ["tools", "version", "started_at", "restarts", "seen_at"])
async def test_an_odd_state_file_of_the_probes_is_no_obstacle(
    tmp_path: Path, member: str, odd: object
) -> None:
    """Whatever stands in it, the services are probed and told."""
    saved = {"one": {**Known().to_dict(), "seen_at": 5.0, "restarts": [6.0], member: odd}}
    (tmp_path / "monitoring-services.json").write_text(json.dumps(saved))
    async with serving(service("one", tmp_path / "one")) as url:
        watch = siblings(tmp_path, {"one": url}, every_s=600)
        async with watch.running():
            assert (await told(watch, "one")).status == "up"


@pytest.mark.parametrize("odd", ODD, ids=repr)
async def test_an_odd_state_file_of_the_alerts_is_no_obstacle(tmp_path: Path, odd: object) -> None:
    """Whatever stands in it, the alerts are told, and /health as well; what is well is kept."""
    alert = Alert("disk_full", "disk./x.used_percent", "/x", "critical", "firing", NOW, 2, 3, NOW)
    odd_ones = [{**alert.to_dict(), member: odd} for member in alert.to_dict()]
    over = {**alert.to_dict(), "state": "resolved"}
    lists = {"active": odd_ones, "history": [over, *({**o, "state": "resolved"} for o in odd_ones)]}
    (tmp_path / "monitoring-alerts.json").write_text(json.dumps(lists))
    async with client_of(tmp_path) as client:
        for view in ("active", "history"):
            answer = await client.call("alerts", view=view, q="disk")
            assert not answer.is_error, answer.text
        assert answer.structured is not None
        assert answer.structured["returned"] >= 1
        assert (await client.http.get("/health")).status_code == 200


# --- names ----------------------------------------------------------------------------------------


def test_the_name_of_a_control_group_is_shown_without_control_characters(tmp_path: Path) -> None:
    """Who may make groups names them; a group may have any byte but a slash and a new line."""
    name, point = "/a\x1b[31m\u202eb", tmp_path / "cgroup"
    proc = plant(
        tmp_path / "proc",
        {
            "7/cgroup": f"0::{name}\n",
            "7/mountinfo": mount_line(point, "cgroup2"),
            "7/stat": stat_line(7, "x"),
        },
    )
    (point / name[1:]).mkdir(parents=True)
    assert Cgroup(proc / "7").read().path == "/a[31mb"
    assert Processes(proc).details(7).cgroup == "/a[31mb"


# --- a host that is not there ---------------------------------------------------------------------


async def test_without_the_hosts_proc_processes_says_what_to_look_at(tmp_path: Path) -> None:
    """A mount that goes away is the operator's to mend, and no failure of the tool."""
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "stat").touch()
    async with client_of(tmp_path / "state", host_proc=str(proc)) as client:
        proc.rename(tmp_path / "gone")
        answer = await client.call("processes")
    assert answer.error is not None
    assert answer.error["code"] == "DEPENDENCY_UNAVAILABLE"
    assert "MCP_MONITORING_HOST_PROC" in answer.error["hint"]


@pytest.mark.parametrize("place", ["/etc", "/nonexistent", "proc"])
def test_a_folder_that_is_no_proc_is_refused_at_the_start(place: str) -> None:
    """A service that watches nothing would call itself healthy."""
    with pytest.raises(SettingsError, match="host_proc"):
        MonitoringSettings.from_dict({"host_proc": place})


def test_a_key_that_no_header_takes_is_refused_at_the_start() -> None:
    """Each service would look as if it spoke no HTTP."""
    with pytest.raises(SettingsError, match="services_api_key") as refused:
        MonitoringSettings.from_dict({"services_api_key": "half\nkey"})
    assert "half" not in str(refused.value)


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_pending_alert_does_not_wait_while_the_clock_is_set_or_the_machine_sleeps(
    jump_s: float,
) -> None:
    """Two readings with an hour between them are no hour over the limit."""
    rule = Rule(name="busy", metric="cpu.percent", above=90, for_s=60)
    active = evaluate([rule], [Reading("cpu.percent", NOW, 99)], {}, NOW).active
    later = NOW + jump_s
    found = evaluate([rule], [Reading("cpu.percent", later, 99)], active, later)
    assert [(alert.state, alert.since) for alert in found.active.values()] == [("pending", later)]


def test_the_time_of_boot_follows_the_clock(tmp_path: Path) -> None:
    """Btime of /proc/stat is told by the clock of the moment; else uptime and starts were wrong."""
    stat = "cpu 1 0 0 1 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0\nbtime {}\n"
    proc = plant(tmp_path / "proc", {"stat": stat.format(1_000)})
    wall, monotonic = [5_000.0], [100.0]
    clocks = Clocks(lambda: wall[0], lambda: monotonic[0], lambda: monotonic[0])
    sampler = Sampler(Host(proc), clocks=clocks)
    sampler.tick()
    assert sampler.booted_at == 1_000
    plant(proc, {"stat": stat.format(4_600)})
    wall[0] += 3_602
    monotonic[0] += 2
    sampler.tick()
    assert sampler.booted_at == 4_600


# --- load -----------------------------------------------------------------------------------------


async def test_the_rows_of_sockets_are_not_made_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand sockets held everything else up for a tenth of a second."""
    threads: list[str] = []
    make = network._socket

    def watched(*arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return make(*arguments)

    monkeypatch.setattr(network, "_socket", watched)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with client_of(tmp_path) as client:
            answer = await client.call("network", view="listeners", port=listener.getsockname()[1])
    assert (answer.structured or {})["returned"] == 1
    assert threads
    assert threading.main_thread().name not in threads
