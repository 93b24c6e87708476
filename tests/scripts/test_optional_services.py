"""A service that runs only where somebody wants it: the bridge, with a file or a command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scripts.deploy import environment, keys, soundness
from scripts.deploy.contents import Contents
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry, Service
from scripts.deploy.server_files import names_in, variables_for

SERVERS = {
    "mcpServers": {
        "weather": {
            "command": "uvx",
            "args": ["weather-server", "--city", "${CITY:-Bern}"],
            "env": {"WEATHER_TOKEN": "${env:WEATHER_TOKEN}", "KEY": "${MCP_HTTP_API_KEY}"},
            "inheritEnv": ["ZONE"],
        }
    }
}


@pytest.fixture
def bridge(known: Registry) -> Service:
    """Its row."""
    return known.services["bridge"]


@pytest.fixture
def usual(project: Project) -> Path:
    """A file of servers where the clone has it."""
    path = project.root / "config" / "mcp-servers.json"
    path.write_text(json.dumps(SERVERS))
    return path


@pytest.fixture(autouse=True)
def nothing_in_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer may have a bridge of their own."""
    for name in [name for name in os.environ if name.startswith("MCP_")]:
        monkeypatch.delenv(name)


def started(known: Registry, values: dict[str, str], running: tuple[str, ...] = ()) -> list[str]:
    """Return the names of what `up` starts."""
    return [service.name for service in environment.to_start(known, None, values, running)]


# --- when it starts -------------------------------------------------------------------------------


def test_up_starts_the_others_alone_where_nobody_wants_it(
    project: Project, known: Registry
) -> None:
    """And monitoring does not look for it."""
    values = environment.gather(project, known, remember=False)
    assert "bridge" not in started(known, values)
    assert len(started(known, values)) == len(known.regular) == len(known.services) - 1
    watched = environment.of_service(project, known, known.services["monitoring"], values, None)
    assert "bridge" not in watched["MCP_MONITORING_SERVICES"]


def test_a_file_in_the_usual_place_makes_up_start_it(
    project: Project, known: Registry, usual: Path
) -> None:
    """It is told where the file is; so is monitoring, where it listens."""
    values = environment.gather(project, known, remember=False)
    assert values["MCP_BRIDGE_SERVERS"] == str(usual)
    assert started(known, values)[-1] == "bridge"
    watched = environment.of_service(project, known, known.services["monitoring"], values, None)
    assert "bridge=http://127.0.0.1:3000" in watched["MCP_MONITORING_SERVICES"].split(",")


@pytest.mark.parametrize("variable", ["MCP_BRIDGE_SERVERS", "MCP_BRIDGE_COMMAND"])
def test_a_variable_makes_up_start_it(
    project: Project,
    known: Registry,
    usual: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """Then the file in the usual place is not meant."""
    named = str(usual.with_name("other.json"))
    monkeypatch.setenv(variable, named)
    values = environment.gather(project, known, remember=False)
    assert values[variable] == named
    assert str(usual) not in values.values()
    assert "bridge" in started(known, values)


def test_one_that_runs_is_started_anew_with_the_others(known: Registry) -> None:
    """`restart` leaves nothing behind with the settings of before; `up` goes on with it."""
    assert "bridge" in started(known, {}, running=("bridge",))


def test_named_it_starts_with_nothing_and_waits_for_the_usual_file(
    project: Project, known: Registry, bridge: Service
) -> None:
    """`./deploy.sh up bridge` before there is anything to serve."""
    values = environment.gather(project, known, remember=False)
    assert environment.to_start(known, "bridge", values, ()) == [bridge]
    mine = environment.of_service(project, known, bridge, values, None)
    assert mine["MCP_BRIDGE_SERVERS"] == str(project.root / "config" / "mcp-servers.json")
    contents = Contents(project, known, values)
    assert contents.inside(bridge)["MCP_BRIDGE_SERVERS"] == "/var/lib/mcp/servers.json"
    contents.require_files(bridge)
    soundness.require_files(bridge, contents.of_files_here(bridge))


# --- what it is given -----------------------------------------------------------------------------


def test_it_gets_the_variables_that_its_file_asks_for_and_no_other(
    project: Project, known: Registry, bridge: Service, usual: Path
) -> None:
    """Nothing of the suite's own, whatever the file says; and no other service gets them.

    Nor what every process has: in a container the home folder is another one.
    """
    (project.root / "config" / "secrets.env").write_text(
        "CITY=Basel\nWEATHER_TOKEN=t0ken\nZONE=4\nOTHER=x\nMCP_HTTP_API_KEY=0123456789abcdef\n"
    )
    (project.root / "config" / "secrets.env").chmod(0o600)
    values = environment.gather(project, known, remember=False)
    mine = environment.of_service(project, known, bridge, values, None)
    assert (mine["CITY"], mine["WEATHER_TOKEN"], mine["ZONE"]) == ("Basel", "t0ken", "4")
    assert "OTHER" not in mine
    asked = variables_for(project, bridge, {**values, "MCP_BRIDGE_COMMAND": "run ${HOME} ${PATH}"})
    assert asked == {"CITY", "WEATHER_TOKEN", "ZONE"}
    assert variables_for(project, bridge, {"MCP_BRIDGE_INHERIT_ENV": "A, B"}) == {"A", "B"}
    fetch = environment.of_service(project, known, known.services["fetch"], values, None)
    assert not {"CITY", "WEATHER_TOKEN", "ZONE"} & fetch.keys()
    inside = Contents(project, known, values).inside(bridge)
    assert inside["WEATHER_TOKEN"] == "t0ken"


def test_restart_remembers_those_of_the_shell(
    project: Project,
    known: Registry,
    bridge: Service,
    usual: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it does settings."""
    monkeypatch.setenv("WEATHER_TOKEN", "of the shell")
    environment.keep_shell(project, known, remember=False)
    monkeypatch.delenv("WEATHER_TOKEN")
    values = environment.gather(project, known, remember=True)
    mine = environment.of_service(project, known, bridge, values, None)
    assert mine["WEATHER_TOKEN"] == "of the shell"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"env": {"A": "${B}", "C": "x-${D:-y}-${env:E}"}}', {"B", "D", "E"}),
        ('{"inheritEnv": ["ONE", "TWO"]}', {"ONE", "TWO"}),
        ("inherit_env:\n  - ONE\n  - TWO\nenv: {A: b}\n", {"ONE", "TWO"}),
        ("inherit_env = ['ONE']\n[mcpServers.a]\n", {"ONE"}),
        ("npx -y server ${NOTES}/of/${HOME}", {"NOTES", "HOME"}),
        ("$A $(B) ${} ${1} ${A-b} ${input:x}", set()),
    ],
)
def test_names_are_found_where_a_file_may_have_them(text: str, names: set[str]) -> None:
    """In JSON, YAML, TOML, and in a command."""
    assert names_in(text) == names


def test_its_container_has_the_file_and_is_told_where(
    project: Project, known: Registry, bridge: Service, usual: Path
) -> None:
    """Compose is told of the file of this machine; a home of its own holds what it loads."""
    contents = Contents(project, known, environment.gather(project, known, remember=False))
    assert contents.inside(bridge)["MCP_BRIDGE_SERVERS"] == "/run/mcp/servers.json"
    assert contents.variables()["MCP_BRIDGE_SERVERS_MOUNT"] == str(usual)
    contents.require_files(bridge)


def test_a_file_that_its_container_could_not_read_is_refused(
    project: Project, known: Registry, bridge: Service, usual: Path
) -> None:
    """Before anything is stopped; with the commands that open it."""
    usual.chmod(0o600)
    contents = Contents(project, known, environment.gather(project, known, remember=False))
    with pytest.raises(DeployError, match=r"mcp-servers\.json cannot be read") as refused:
        contents.require_files(bridge)
    assert f"chmod 640 {usual}" in refused.value.hint


@pytest.mark.parametrize(("name", "told"), [("gone.json", "is not there"), ("", "is a folder")])
def test_what_is_no_file_is_not_mounted(
    project: Project, known: Registry, bridge: Service, name: str, told: str
) -> None:
    """The engine would make a folder of a file that is not there."""
    values = {"MCP_BRIDGE_SERVERS": str(project.root / "config" / name)}
    with pytest.raises(DeployError, match=told):
        Contents(project, known, values).require_files(bridge)


def required(project: Project, known: Registry, bridge: Service, *, inside: bool) -> None:
    """Check the bridge's file as `up` does, locally or in a container."""
    values = environment.gather(project, known, remember=False)
    if inside:
        soundness.require_files(bridge, Contents(project, known, values).of_files_here(bridge))
    else:
        mine = environment.of_service(project, known, bridge, values, None)
        soundness.require(project, {"bridge": mine})


def test_files_that_only_the_container_has_are_not_looked_for_here(
    project: Project, known: Registry, bridge: Service, usual: Path
) -> None:
    """Locally one that is missing is an error."""
    entry = {"command": "run", "envFile": "/srv/files/its.env"}
    usual.write_text(json.dumps({"mcpServers": {"notes": entry}}))
    required(project, known, bridge, inside=True)
    with pytest.raises(DeployError, match=r"its\.env"):
        required(project, known, bridge, inside=False)


@pytest.mark.parametrize("inside", [False, True], ids=["local", "container"])
def test_a_wrong_file_is_refused_before_anything_is_stopped(
    project: Project, known: Registry, bridge: Service, usual: Path, inside: bool
) -> None:
    """With what is wrong in it, where it stands; `${HOME}` is known wherever it runs."""
    entry = {"command": "run", "env": {"AT": "${HOME}/notes"}}
    usual.write_text(json.dumps({"mcpServers": {"notes": entry}}))
    required(project, known, bridge, inside=inside)
    usual.write_text(json.dumps({"mcpServers": {"notes": {"comand": "run"}}}))
    with pytest.raises(DeployError, match=r"mcpServers\.notes"):
        required(project, known, bridge, inside=inside)


def test_scopes_may_name_the_servers_of_its_file(
    project: Project, known: Registry, usual: Path
) -> None:
    """`./deploy.sh keys create alice --scope weather`; a slip is told with the nearest name."""
    values = environment.gather(project, known, remember=False)
    names = keys._services(project, known, values)
    assert {"bridge", "weather", "postgres"} <= set(names)
    keys._check_scope("weather:get_*", names)
    with pytest.raises(DeployError, match="names no service") as refused:
        keys._check_scope("wether", names)
    assert "weather" in refused.value.hint


def test_a_broken_file_is_the_services_business(
    project: Project, known: Registry, usual: Path
) -> None:
    """It keeps nothing else from being done."""
    usual.write_text("{")
    values = environment.gather(project, known, remember=False)
    assert "bridge" in keys._services(project, known, values)
