"""The systemd units as shipped: systemd reads them without complaint, and finds them closed."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import PROJECT_ROOT, ServerSection, Settings, variables_of
from scripts.deploy import registry
from scripts.deploy.paths import project_here
from scripts.generate.discover import settings_class
from tests.platforms.programs import program

UNITS = PROJECT_ROOT / "examples" / "systemd"
TEMPLATE = "mcp-tool-servers@.service"
INSTALLED = "/opt/mcp-tool-servers"
SERVICES = registry.load(project_here()).services
# In tenths. systemd rates an unhardened service 96; those that need more see their drop-ins.
MOST_EXPOSED = {"monitoring": 22, "fetch": 18, "filesystem": 18}
EXPOSED = 16


def analyze(*arguments: str, units: Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on units in a folder, before those of the machine."""
    return subprocess.run(
        [program("systemd-analyze"), *arguments],
        cwd=units,
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def keys_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each `Key=value` line of a unit; keys may repeat."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield key, value


def values(path: Path, key: str) -> list[str]:
    """Return all values of a key in a unit."""
    return [value for name, value in keys_of(path) if name == key]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The shipped units, with this clone in the place of the installed one.

    Behind links, since a clone's own path may have blanks, which a unit would have to escape.
    """
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    here, python = tmp_path / "here", tmp_path / "python"
    here.symlink_to(PROJECT_ROOT)
    python.symlink_to(sys.executable)
    for path in (*folder.glob("*.service"), *folder.glob("*.target")):
        text = path.read_text(encoding="utf-8")
        text = text.replace(f"{INSTALLED}/.venv/bin/python", str(python))
        path.write_text(text.replace(INSTALLED, str(here)), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_has_nothing_to_say_about_a_service(units: Path, name: str) -> None:
    """Unknown keys, programs that are not there and wrong values would each be a line."""
    result = analyze("verify", "--man=no", f"mcp-tool-servers@{name}.service", units=units)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["mcp-tool-servers.target", "mcp-deploy@root.service"])
def test_systemd_has_nothing_to_say_about_the_other_units(units: Path, unit: str) -> None:
    """The target of all services, and the unit that calls deploy.sh."""
    result = analyze("verify", "--man=no", unit, units=units)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_a_wrong_key_is_noticed(units: Path) -> None:
    """Otherwise the tests above would say nothing."""
    template = units / TEMPLATE
    text = template.read_text(encoding="utf-8").replace("PrivateTmp=", "PrivateTemp=")
    template.write_text(text, encoding="utf-8")
    result = analyze("verify", "--man=no", "mcp-tool-servers@postgres.service", units=units)
    assert "PrivateTemp" in result.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardly_exposed(units: Path, name: str) -> None:
    """By systemd's own count, in tenths, with the drop-ins that widen what a service may do."""
    limit = MOST_EXPOSED.get(name, EXPOSED)
    unit = f"./mcp-tool-servers@{name}.service"
    result = analyze(
        "security", "--offline=yes", "--no-pager", f"--threshold={limit}", unit, units=units
    )
    assert result.returncode == 0, result.stdout[-400:] + result.stderr


def test_a_service_without_a_sandbox_is_found_exposed(units: Path) -> None:
    """The count notices when a wall is taken away."""
    template = units / TEMPLATE
    lines = template.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("SystemCall", "Capability", "Protect"))]
    template.write_text("\n".join(kept), encoding="utf-8")
    unit = "./mcp-tool-servers@github.service"
    result = analyze("security", "--offline=yes", f"--threshold={EXPOSED}", unit, units=units)
    assert result.returncode == 1


def test_environment_variables_of_the_units_are_settings() -> None:
    """A misspelt one would stop the service."""
    known = {name for name, _ in variables_of(Settings)}
    for service in SERVICES:
        known |= {name for name, _ in variables_of(settings_class(service))}
    lines = [line for path in UNITS.rglob("*") if path.is_file() for line in keys_of(path)]
    used = re.findall(r"\b(MCP_[A-Z0-9_]+)=", "\n".join(v for k, v in lines if k == "Environment"))
    assert len(used) >= 4
    assert set(used) <= known


def test_systemd_waits_longer_than_the_server_drains() -> None:
    """Otherwise running calls would be killed before their time is over."""
    (stop,) = values(UNITS / TEMPLATE, "TimeoutStopSec")
    server = ServerSection.model_validate({})
    assert float(stop.removesuffix("s")) > server.graceful_timeout_s + server.drain_delay_s


def test_each_service_has_its_user_and_the_limits_of_its_container() -> None:
    """Written from the registry, so that a new service has them."""
    users = (UNITS / "sysusers.conf").read_text(encoding="utf-8")
    for service in SERVICES.values():
        assert f"u mcp-{service.name} - " in users
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(UNITS / f"mcp-tool-servers@{service.name}.service.d" / "50-limits.conf")
        assert parser["Service"]["TasksMax"] == str(service.pids)
        assert parser["Service"]["MemoryMax"] == service.memory.upper()


def test_sysusers_makes_the_users(tmp_path: Path) -> None:
    """In an empty root, by the program that reads such files."""
    (tmp_path / "etc").mkdir()
    result = subprocess.run(
        [program("systemd-sysusers"), f"--root={tmp_path}", str(UNITS / "sysusers.conf")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr
    passwd = (tmp_path / "etc" / "passwd").read_text(encoding="utf-8")
    group = (tmp_path / "etc" / "group").read_text(encoding="utf-8")
    for name in SERVICES:
        assert f"\nmcp-{name}:" in f"\n{passwd}"
        assert re.search(rf"^mcp-tools:.*\bmcp-{name}\b", group, re.MULTILINE)
