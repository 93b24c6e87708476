"""docker-compose.yml and the Dockerfiles, as far as they can be judged without an engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from scripts.deploy import docker, engine, environment, registry
from scripts.deploy.command_line import Request
from scripts.deploy.contents import Contents
from scripts.deploy.docker import Docker
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import DEMO_FOLDER, ROLE_FILE, Project, project_here
from scripts.deploy.ports import any_free_port
from scripts.deploy.registry import Registry
from tests.conftest import missing

ROOT = project_here().root
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = list(registry.load(project_here()).services.values())


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Nothing is reachable from other machines without a proxy."""
    ports = COMPOSE["services"][name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_logs_of_containers_do_not_fill_the_disk(name: str) -> None:
    """The engine keeps everything unless it is told otherwise."""
    assert COMPOSE["services"][name]["logging"]["options"] == {"max-size": "20m", "max-file": "4"}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_containers_have_no_more_than_they_need(service: registry.Service) -> None:
    """No capabilities, no new privileges, a root that cannot be written, limits, a restart."""
    row = COMPOSE["services"][service.container]
    assert row["container_name"] == service.container
    assert row["cap_drop"] == ["ALL"]
    assert row["security_opt"] == ["no-new-privileges:true"]
    assert row["read_only"] is True
    assert row["restart"] == "unless-stopped"
    assert row["networks"] == list(service.networks)
    assert {"mem_limit", "cpus", "pids_limit", "healthcheck", "env_file"} <= row.keys()


def test_a_folder_of_the_machine_is_mounted_where_its_variable_names_one() -> None:
    """Else an empty volume; the variable is for compose, the service never gets it."""
    known = registry.load(project_here())
    volumes = COMPOSE["services"]["mcp-filesystem"]["volumes"]
    assert "${MCP_FILESYSTEM_FOLDER:-mcp-filesystem-files}:/srv/files" in volumes
    assert "mcp-filesystem-files" in COMPOSE["volumes"]
    assert "MCP_FILESYSTEM_FOLDER" in known.variables
    assert "mcp-postgres-files" not in COMPOSE["volumes"]


def test_images_run_as_an_unprivileged_user() -> None:
    """And install what the lock names, with its hashes, on a base that is named to the patch."""
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER mcpuser$", text, re.MULTILINE)
    installs = re.findall(r"pip(?: --python \S+)? install(.*)", text)
    assert installs
    assert all("--require-hashes" in line for line in installs)
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim", text, re.MULTILINE)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_each_image_is_of_its_service(service: registry.Service) -> None:
    """One Dockerfile makes them all."""
    build = COMPOSE["services"][service.container]["build"]
    given = {name: build["args"][name] for name in ("SERVICE", "PORT", "CONTAINER")}
    assert given == {
        "SERVICE": service.name,
        "PORT": str(service.port),
        "CONTAINER": service.container,
    }


def test_the_networks_have_fixed_names() -> None:
    """Other compose projects join them by name."""
    assert COMPOSE["networks"]["litellm-net"] == {"name": "litellm-net"}
    assert COMPOSE["networks"]["postgres-net"] == {"name": "postgres-net"}


def test_monitoring_sees_socket_and_processes_of_the_machine_only_where_it_is_asked_to() -> None:
    """Who can use the socket is root on the machine; by default there is /dev/null, read-only."""
    row = COMPOSE["services"]["mcp-monitoring"]
    assert "${MCP_MONITORING_SOCKET_MOUNT:-/dev/null}:/var/run/docker.sock:ro" in row["volumes"]
    assert "${MCP_MONITORING_PROC_MOUNT:-/dev/null}:/host/proc:ro" in row["volumes"]
    assert row["group_add"] == ["${MCP_MONITORING_SOCKET_GROUP:-10001}"]
    others = [service for name, service in COMPOSE["services"].items() if name != "mcp-monitoring"]
    assert "docker.sock" not in str(others)


def test_what_is_mounted_is_told_to_the_service_and_its_group_to_compose(
    project: Project, known: Registry
) -> None:
    """The number of the socket's group differs from machine to machine."""
    socket = project.root / "engine.sock"
    socket.touch()
    values = {"MCP_MONITORING_SOCKET_MOUNT": str(socket), "MCP_MONITORING_PROC_MOUNT": "/proc"}
    given = Contents(project, known, values).inside(known.services["monitoring"])
    assert given["MCP_MONITORING_HOST_PROC"] == "/host/proc"
    assert given["MCP_MONITORING_DOCKER_SOCKET"] == "/var/run/docker.sock"
    assert "postgres=http://mcp-postgres:8001" in given["MCP_MONITORING_SERVICES"].split(",")
    assert "MCP_MONITORING_SOCKET_MOUNT" not in given
    variables = Contents(project, known, values).variables()
    assert variables["MCP_MONITORING_SOCKET_GROUP"] == str(socket.stat().st_gid)
    without = Contents(project, known, {}).inside(known.services["monitoring"])
    assert "MCP_MONITORING_HOST_PROC" not in without


@pytest.mark.usefixtures("fake_docker")
def test_a_mount_of_something_that_is_not_there_is_refused(
    project: Project, known: Registry
) -> None:
    """The engine would make an empty folder in its place, as root."""
    values = {"MCP_MONITORING_SOCKET_MOUNT": str(project.root / "none.sock")}
    request = Request(command="up", service="monitoring")
    with pytest.raises(DeployError, match=r"MCP_MONITORING_SOCKET_MOUNT=.* is not the absolute"):
        Docker(project, known).up(request, values=values)


@pytest.mark.usefixtures("fake_docker")
def test_a_folder_that_is_not_there_is_refused(project: Project, known: Registry) -> None:
    """The same: an empty folder, which only root may write to."""
    values = {"MCP_FILESYSTEM_FOLDER": str(project.root / "none")}
    with pytest.raises(DeployError, match=r"MCP_FILESYSTEM_FOLDER=.* is not the absolute"):
        Docker(project, known).up(Request(command="up", service="filesystem"), values=values)


@pytest.mark.parametrize(
    "given",
    [{}, {"MCP_FILESYSTEM_FOLDER": "/"}],
    ids=["no folder", "another folder"],
)
def test_roots_of_this_machine_are_refused_in_a_container(
    project: Project, known: Registry, fake_docker: Path, given: dict[str, str]
) -> None:
    """It would start, degraded: there is only /srv/files. Nothing is stopped for it."""
    values = {"MCP_FILESYSTEM_ROOTS": "in=/srv/files/in:write,docs=/srv/docs", **given}
    with pytest.raises(DeployError, match="serve /srv/docs, which a container does not") as caught:
        Docker(project, known).up(Request(command="up"), values=values)
    assert "MCP_FILESYSTEM_FOLDER=/srv/docs gives" in caught.value.hint
    assert "say /srv/files then" in caught.value.hint
    words = fake_docker.read_text()
    assert not any(f" {order} " in words for order in ("build", "up", "rm"))


def test_roots_in_the_folder_that_containers_have_are_taken(
    project: Project, known: Registry, fake_docker: Path
) -> None:
    """As the container sees them."""
    values = {
        "MCP_FILESYSTEM_FOLDER": str(project.root),
        "MCP_FILESYSTEM_ROOTS": "docs=/srv/files,work=/srv/filesystem",
    }
    with pytest.raises(DeployError, match="serve /srv/filesystem, which"):
        Docker(project, known)._prepare(Request(command="up"), known.regular, values)
    values["MCP_FILESYSTEM_ROOTS"] = "docs=/srv/files/docs,work=/srv/files/work:write"
    Docker(project, known)._prepare(Request(command="up"), known.regular, values)
    assert " build " in fake_docker.read_text()


def test_nothing_secret_can_get_into_an_image() -> None:
    """The build context is a list of what is let in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert not [line for line in lines if line.startswith("!") and "config" in line]


def test_compose_itself_accepts_the_file() -> None:
    """Where a compose is installed; it needs no engine for that."""
    command = engine.compose_command()
    if command is None:
        if shutil.which("docker-compose") is None:
            missing("compose", "apt-get install docker-compose")
        raise AssertionError("docker-compose is installed and was not found")
    result = subprocess.run(
        [*command, "--project-directory", str(ROOT), "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_without_an_engine_docker_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three things may be missing; each has its own sentence."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DeployError, match="no docker command"):
        engine.require_engine()
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(engine, "succeeds", lambda *command: False)
    with pytest.raises(DeployError, match="engine does not answer"):
        engine.require_engine()
    monkeypatch.setattr(engine, "succeeds", lambda *command: command == ("docker", "version"))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "docker" else None)
    with pytest.raises(DeployError, match="compose is not"):
        engine.require_engine()


def test_a_container_gets_settings_but_no_address_of_this_machine(
    project: Project, known: Registry
) -> None:
    """Inside, the image's own address, port and folders hold."""
    service = known.services["postgres"]
    values = {"MCP_HTTP_API_KEY": "k" * 20, "MCP_POSTGRES_PORT": "9001"}
    Contents(project, known, values).write()
    given = settings_of(project.secrets / "containers.json")
    assert given["MCP_HTTP_API_KEY"] == "k" * 20
    assert given["DATABASE_URL"].endswith("@mcp-database:5432/demo")
    assert not [name for name in given if re.search("SERVER__(HOST|PORT|STATE_DIR)", name)]
    assert Docker(project, known)._endpoint(service).url == "http://127.0.0.1:9001"
    assert (project.secrets / "containers.json").stat().st_mode & 0o777 == 0o600


def settings_of(file: Path) -> dict[str, str]:
    """Return the variables that the second compose file gives the postgres container."""
    found: dict[str, str] = json.loads(file.read_text())["services"]["mcp-postgres"]["environment"]
    return found


SPECIAL = """ab$cd${HOME}$$ #x"y'z\\n"""


def test_compose_reads_secrets_as_they_are(project: Project, known: Registry) -> None:
    """Dollars, quotes, hashes, backslashes and several lines; asked of a real compose."""
    command = engine.compose_command()
    if command is None:
        missing("compose", "apt-get install docker-compose")
    assert command is not None
    values = {"MCP_HTTP_API_KEY": SPECIAL, "DATABASE_URL": "a\nb", "COMPOSE_PROFILES": "redis"}
    Contents(project, known, values).write()
    (project.root / "docker-compose.yml").write_text((ROOT / "docker-compose.yml").read_text())
    files = ["--file", "docker-compose.yml", "--file", str(project.secrets / "containers.json")]
    result = subprocess.run(
        [*command, "--project-directory", str(project.root), *files, "config"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = yaml.safe_load(result.stdout)["services"]["mcp-postgres"]["environment"]
    # `config` prints what would be read again, with the dollars doubled.
    assert shown["MCP_HTTP_API_KEY"].replace("$$", "$") == SPECIAL
    assert shown["DATABASE_URL"] == "a\nb"


FAKE_DOCKER = """\
#!/bin/sh
echo "$@" >> "$FAKE_LOG"
case "$*" in
  "compose version"|version) exit 0 ;;
  *" up "*) touch "$FAKE_LOG.up" ;;
  *" rm --stop --force mcp-postgres"*) rm -f "$FAKE_LOG.up" ;;
  "container inspect"*mcp-redis|"container inspect"*mcp-litellm) exit 1 ;;
  "network rm litellm-net") exit 1 ;;
  *pg_isready*) [ -z "${FAKE_DEAD_DATABASE:-}" ]; exit $? ;;
  *fill.sh*) echo "${FAKE_FILL:-}" >&2; [ -z "${FAKE_FILL:-}" ]; exit $? ;;
  "container inspect --format {{.State.Running}}"*) [ -e "$FAKE_LOG.up" ] && echo true ;;
  "container inspect --format {{.Id}}"*) [ -e "$FAKE_LOG.up" ] && echo 1234 ;;
  "container inspect --format {{index"*) [ -e "$FAKE_LOG.up" ] && echo "$FAKE_FOLDER" ;;
  "container inspect --format {{.RestartCount}}"*) echo "${FAKE_DEAD_DATABASE:-0}" ;;
esac
exit 0
"""


class Healthy(BaseHTTPRequestHandler):
    """Answers as a service would."""

    def do_GET(self) -> None:
        """Be healthy."""
        body = json.dumps({"status": "healthy", "service": "postgres", "tools_count": 3}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def fake_docker(tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command with the plugin; returns the file that it writes its arguments to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(FAKE_DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    log = tmp_path / "docker.log"
    monkeypatch.setenv("FAKE_LOG", str(log))
    monkeypatch.setenv("FAKE_FOLDER", str(project.root))
    return log


@pytest.mark.parametrize("given", [False, True], ids=["bundled database", "DATABASE_URL"])
def test_up_hands_compose_everything_it_asks_for(
    project: Project,
    known: Registry,
    fake_docker: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: bool,
) -> None:
    """The service, the database only where none is given, and a closed file of settings."""
    with service_on_a_port() as port:
        values = all_on(known, port)
        if given:
            values["DATABASE_URL"] = "postgresql://elsewhere/db"
        # The stand-in holds the port that the container would publish.
        monkeypatch.setattr("scripts.deploy.ports.require_free", lambda *arguments: None)
        deployment = Docker(project, known)
        deployment.up(Request(command="up"), values=values)
        rows = list(deployment.rows())
    # Of every container that it is asked about, the stand-in says that it runs.
    up = [row for row in rows if row.name != "database"]
    assert [(row.name, row.status, row.tools) for row in up] == [
        (name, "healthy", "3") for name in known.services
    ]
    calls = [line.partition(" up ")[2] for line in fake_docker.read_text().splitlines()]
    services = " ".join(service.container for service in known.regular)
    database = [] if given else ["--detach --no-build mcp-database"]
    assert list(filter(None, calls)) == [*database, f"--detach --no-build {services}"]
    url = settings_of(project.secrets / "containers.json")["DATABASE_URL"]
    assert url.endswith("//elsewhere/db" if given else "@mcp-database:5432/demo")
    deployment.down(Request(command="down"))
    assert {row.status for row in deployment.rows()} == {"stopped"}


def all_on(known: Registry, port: int) -> dict[str, str]:
    """Return the variables that put every service on one port, where a stand-in answers."""
    return {service.port_variable: str(port) for service in known.services.values()}


@contextlib.contextmanager
def service_on_a_port() -> Iterator[int]:
    """A service that is healthy, on a port of this machine."""
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_demo_database_is_ready_before_the_service_starts(
    project: Project, known: Registry, fake_docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And made whole each time: an interrupted creation would stay so otherwise."""
    monkeypatch.setattr("scripts.deploy.ports.require_free", lambda *arguments: None)
    with service_on_a_port() as port:
        values = all_on(known, port)
        Docker(project, known).up(Request(command="up"), values=values)
    words = (
        "up --detach --no-build mcp-database",
        "pg_isready",
        docker.DATABASE_FILL,
        "no-build mcp-postgres",
    )
    text = fake_docker.read_text()
    assert [text.index(word) for word in words] == sorted(text.index(word) for word in words)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FAKE_DEAD_DATABASE", "3", "did not start"),
        ("FAKE_FILL", "permission denied", "could not be made: permission denied"),
    ],
)
@pytest.mark.usefixtures("fake_docker")
def test_a_demo_database_that_cannot_be_is_explained(
    project: Project,
    known: Registry,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    says: str,
) -> None:
    """Instead of a service that stays degraded."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(DeployError, match=says):
        Docker(project, known)._start_database(Contents(project, known, {}))


def test_a_changed_port_has_to_be_free(
    project: Project, known: Registry, fake_docker: Path
) -> None:
    """Also while the container runs, on the port of before."""
    deployment = Docker(project, known)
    Contents(project, known, {"MCP_POSTGRES_PORT": str(any_free_port())}).write()
    fake_docker.with_name("docker.log.up").touch()
    with (
        service_on_a_port() as taken,
        pytest.raises(DeployError, match=f"Port {taken} for postgres is in use"),
    ):
        deployment.up(Request(command="up"), values={"MCP_POSTGRES_PORT": str(taken)})


@pytest.mark.usefixtures("fake_docker")
def test_containers_of_another_folder_are_left_alone(
    project: Project, known: Registry, fake_docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of containers are the same in every clone."""
    fake_docker.with_name("docker.log.up").touch()
    monkeypatch.setenv("FAKE_FOLDER", "/srv/other")
    deployment = Docker(project, known)
    assert {row.status for row in deployment.rows()} == {"stopped"}
    with pytest.raises(DeployError, match="belongs to /srv/other"):
        deployment.up(Request(command="up"), values={})
    monkeypatch.setenv("FAKE_FOLDER", "")
    with pytest.raises(DeployError, match="did not make"):
        deployment.up(Request(command="up"), values={})


@pytest.mark.usefixtures("fake_docker")
def test_down_leaves_a_network_that_others_use(
    project: Project, known: Registry, fake_docker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LiteLLM's containers may be in it; compose's own `down` fails then."""
    Docker(project, known).down(Request(command="down"))
    assert "The network litellm-net stays" in capsys.readouterr().out
    assert "network rm postgres-net" in fake_docker.read_text()


def test_a_restart_that_cannot_be_stops_nothing(
    project: Project, known: Registry, fake_docker: Path
) -> None:
    """What runs goes on with the settings of before until the new ones have been judged."""
    values = {"MCP_HTTP_TLS__CERTIFICATE": "/etc/server.pem"}
    with pytest.raises(DeployError, match="does not have"):
        Docker(project, known).restart(Request(command="restart"), values=values)
    assert " rm " not in fake_docker.read_text()


@pytest.mark.parametrize("name", ["MCP_HTTP_SERVER__WORKERS", "MCP_FETCH_NO_SUCH_SETTING"])
def test_wrong_settings_stop_no_container(
    project: Project, known: Registry, fake_docker: Path, name: str
) -> None:
    """A container with them would end again and again; the one of before runs on."""
    with pytest.raises(DeployError, match=f"{name}: "):
        Docker(project, known).up(Request(command="up"), values={name: "abc"})
    words = fake_docker.read_text()
    assert not any(f" {order} " in words for order in ("build", "up", "rm"))


def test_paths_of_containers_are_not_looked_for_here(
    project: Project, known: Registry, fake_docker: Path
) -> None:
    """/host/proc is there once the container is."""
    values = {
        "MCP_MONITORING_PROC_MOUNT": "/proc",
        "MCP_FILESYSTEM_FOLDER": str(project.root),
        "MCP_HTTP_LOGGING__AUDIT_FILE": "",
    }
    Docker(project, known)._prepare(Request(command="up"), known.regular, values)
    assert " build " in fake_docker.read_text()
    inside = Contents(project, known, values).inside(known.services["monitoring"])
    assert inside["MCP_MONITORING_HOST_PROC"]
    assert inside["MCP_HTTP_LOGGING__AUDIT_FILE"] == ""


def test_images_that_were_to_be_here_are_named(
    project: Project, known: Registry, fake_docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--no-build` is for machines that can build none; compose would try to pull them."""
    there = engine.succeeds
    monkeypatch.setattr(
        "scripts.deploy.docker.succeeds", lambda *words: "image" not in words and there(*words)
    )
    with pytest.raises(DeployError, match="no image mcp-tool-servers/fetch here") as refused:
        Docker(project, known).up(
            Request(command="up", service="fetch", no_build=True), values={"MCP_FETCH_PORT": "1"}
        )
    assert "docker load" in refused.value.hint
    assert " build " not in fake_docker.read_text()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with certificate and key, open to the containers."""
    folder = tmp_path / "tls"
    folder.mkdir()
    for name in ("certificate.pem", "key.pem"):
        (folder / name).write_text("PEM")
        (folder / name).chmod(0o644)
    return folder


def test_certificates_that_containers_do_not_have_are_refused(
    project: Project, known: Registry, certificates: Path
) -> None:
    """With the folder to name; a link that leads out of it leads nowhere inside."""
    outside = {"MCP_HTTP_TLS__CERTIFICATE": "/etc/server.pem"}
    with pytest.raises(DeployError, match="does not have") as refused:
        Contents(project, known, outside).write()
    assert refused.value.hint.startswith("MCP_TLS_FOLDER=/etc ")
    (certificates / "linked.pem").symlink_to("/etc/hostname")
    linked = {
        "MCP_TLS_FOLDER": str(certificates),
        "MCP_HTTP_TLS__CERTIFICATE": str(certificates / "linked.pem"),
    }
    with pytest.raises(DeployError, match="is no file inside"):
        Contents(project, known, linked).write()


def test_a_folder_of_certificates_switches_tls_on(
    project: Project, known: Registry, certificates: Path
) -> None:
    """As the containers see the files, in their settings and where they look for each other."""
    values = {"MCP_TLS_FOLDER": str(certificates)}
    given = Contents(project, known, values).inside(known.services["monitoring"])
    assert given["MCP_HTTP_TLS__CERTIFICATE"] == "/run/mcp/tls/certificate.pem"
    assert given["MCP_HTTP_TLS__KEY"] == "/run/mcp/tls/key.pem"
    assert "MCP_HTTP_TLS__CLIENT_CA" not in given
    assert "postgres=https://mcp-postgres:8001" in given["MCP_MONITORING_SERVICES"]
    assert Docker(project, known)._endpoint(known.services["monitoring"]).secure


def test_a_key_that_the_containers_cannot_read_is_refused(
    project: Project, known: Registry, certificates: Path
) -> None:
    """Their user is another one, and would find out in an endless row of restarts."""
    (certificates / "key.pem").chmod(0o600)
    values = {"MCP_TLS_FOLDER": str(certificates)}
    with pytest.raises(
        DeployError, match=r"key\.pem cannot be read by .* \(uid 10001\)"
    ) as refused:
        Contents(project, known, values).write()
    assert "chmod 640" in refused.value.hint


def test_whoever_wants_certificates_of_callers_gives_one_to_deploy(
    project: Project, known: Registry, certificates: Path
) -> None:
    """It could not ask the services how they are otherwise."""
    (certificates / "client-ca.pem").write_text("PEM")
    values = {"MCP_TLS_FOLDER": str(certificates)}
    with pytest.raises(DeployError, match="MCP_HTTP_TLS__CLIENT_CA makes the services ask"):
        Contents(project, known, values).write()
    values["MCP_CLIENT_CERTIFICATE"] = str(certificates / "key.pem")
    given = Contents(project, known, values).inside(known.services["fetch"])
    assert given["MCP_HTTP_TLS__CLIENT_CA"] == "/run/mcp/tls/client-ca.pem"
    assert "MCP_CLIENT_CERTIFICATE" not in given
    endpoint = Docker(project, known)._endpoint(known.services["fetch"])
    assert endpoint.client_certificate == str(certificates / "key.pem")


def test_containers_have_the_folder_of_keys_and_its_file_once_there_is_one(
    project: Project, known: Registry
) -> None:
    """Keys that are made while they run are seen without a restart."""
    made = Contents(project, known, {})
    made.write()
    folder = project.secrets / "keys"
    assert made.variables()["MCP_KEYS_FOLDER"] == str(folder)
    assert folder.stat().st_mode & 0o7777 == 0o2750
    assert "MCP_HTTP_AUTH__KEYS_FILE" not in made.inside(known.services["fetch"])
    (folder / "keys.json").write_text("{}")
    given = made.inside(known.services["fetch"])
    assert given["MCP_HTTP_AUTH__KEYS_FILE"] == "/run/mcp/keys/keys.json"
    own = Contents(project, known, {"MCP_HTTP_AUTH__KEYS_FILE": str(folder / "keys.json")})
    assert own.variables()["MCP_KEYS_FOLDER"] == str(folder)


def test_redis_comes_where_it_is_asked_for(project: Project, known: Registry) -> None:
    """With a password of its own, and the services wait for it; another Redis wins."""
    fetch = known.services["fetch"]
    without = Contents(project, known, {})
    assert not without.wants(known.redis)
    assert "MCP_HTTP_BACKPLANE__REDIS_URL" not in without.inside(fetch)
    asked = Contents(project, known, {"COMPOSE_PROFILES": "redis"})
    password = asked.variables()["MCP_REDIS_PASSWORD"]
    url = asked.inside(fetch)["MCP_HTTP_BACKPLANE__REDIS_URL"]
    assert url == f"redis://:{password}@mcp-redis:6379/0"
    asked.write()
    entry = json.loads(asked.settings_path.read_text())["services"]["mcp-fetch"]
    assert entry["depends_on"] == {"mcp-redis": {"condition": "service_healthy"}}
    other = {"COMPOSE_PROFILES": "redis", "MCP_HTTP_BACKPLANE__REDIS_URL": "redis://elsewhere"}
    given = Contents(project, known, other).inside(fetch)
    assert given["MCP_HTTP_BACKPLANE__REDIS_URL"] == "redis://elsewhere"


@pytest.mark.usefixtures("fake_docker")
def test_litellm_is_not_started_without_a_key_of_its_own(project: Project, known: Registry) -> None:
    """Said before anything is built; without deploy.sh its container says it."""
    values = {"COMPOSE_PROFILES": "litellm"}
    with pytest.raises(DeployError, match="LiteLLM needs LITELLM_MASTER_KEY"):
        Docker(project, known).up(Request(command="up"), values=values)
    given = COMPOSE["services"]["mcp-litellm"]["environment"]["LITELLM_MASTER_KEY"]
    assert given == "${LITELLM_MASTER_KEY:-}"


@pytest.mark.parametrize(
    ("key", "started"), [("", ""), ("sk-a b", "--config /app/config.yaml --port 4000")]
)
def test_litellms_container_ends_without_its_key(tmp_path: Path, key: str, started: str) -> None:
    """An old release would serve everybody, or take the key of its examples."""
    litellm = tmp_path / "litellm"
    litellm.write_text('#!/bin/sh\necho "$@"\n')
    litellm.chmod(0o755)
    service = COMPOSE["services"]["mcp-litellm"]
    entrypoint = [part.replace("$$", "$") for part in service["entrypoint"]]
    result = subprocess.run(
        [*entrypoint, *service["command"]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LITELLM_MASTER_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.rstrip() == started
    assert (result.returncode == 0) == bool(started)
    assert ("LITELLM_MASTER_KEY: is not set" in result.stderr) == (not started)


def test_localhost_in_a_database_url_is_explained(
    known: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container it is the container."""
    service = known.services["postgres"]
    docker._say_what_localhost_is(service, {"DATABASE_URL": "postgresql://u:secret@localhost/d"})
    said = capsys.readouterr().out
    assert "host.docker.internal" in said
    assert "secret" not in said
    docker._say_what_localhost_is(service, {"DATABASE_URL": "postgresql://db.example.org/d"})
    assert not capsys.readouterr().out


def test_restart_builds_from_the_same_base_image(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `up` had from its shell holds, and is handed to compose, but to no service."""
    monkeypatch.setenv("PYTHON_IMAGE", "mirror.example/python:3.12")
    environment.keep_shell(project, known, remember=False)
    monkeypatch.delenv("PYTHON_IMAGE")
    values = environment.gather(project, known, remember=True)
    made = Contents(project, known, values)
    assert made.variables()["PYTHON_IMAGE"] == "mirror.example/python:3.12"
    made.write()
    assert "PYTHON_IMAGE" not in settings_of(project.secrets / "containers.json")


def test_the_database_is_asked_over_tcp() -> None:
    """While the image makes its data, a passing server answers on the socket."""
    probe = COMPOSE["services"]["mcp-database"]["healthcheck"]["test"]
    assert probe[1:4] == ["pg_isready", "--host", "127.0.0.1"]


def test_what_the_database_image_reads_is_open_to_its_user(project: Project) -> None:
    """It looks into the mounted folder as another user; a umask of 077 has closed it."""
    folder = project.root / DEMO_FOLDER / "container"
    folder.mkdir(parents=True, mode=0o700)
    script = folder / "fill.sh"
    script.touch(0o700)
    role = project.root / ROLE_FILE
    role.parent.mkdir(parents=True)
    role.touch(0o600)
    docker._open_to_read(project)
    modes = [path.stat().st_mode & 0o777 for path in (folder, script, role)]
    assert modes == [0o755, 0o755, 0o644]


def test_the_fill_script_can_be_run() -> None:
    """The image's entry point would read it into its own shell otherwise."""
    assert os.access(ROOT / "scripts" / "demo_database" / "container" / "fill.sh", os.X_OK)
