"""The supervisor's configuration, and the places of a clone with a long path."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.supervision import Program, Supervisor


def test_programs_are_written_so_that_supervisord_reads_them_back(project: Project) -> None:
    """Blanks, quotes and percent signs in paths survive."""
    command = ("/opt/my programs/100%/it's", "-m", "x")
    text = Supervisor(project)._render([Program(name="x", command=command, user="nobody")])
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    section = parser["program:x"]
    assert shlex.split(section["command"].replace("%%", "%")) == list(command)
    assert section["user"] == "nobody"
    assert section["autorestart"] == "true"


def test_the_configuration_names_no_absolute_path_of_the_clone(project: Project) -> None:
    """Its format would cut a path with ` #` in it, and the clone may be moved."""
    text = Supervisor(project)._render([])
    socket_line = f"file = {project.relative(project.socket)}"
    assert socket_line in text
    assert str(project.root) not in text.replace(socket_line, "")


def test_the_socket_of_a_deep_clone_moves_to_a_short_place(tmp_path: Path) -> None:
    """Unix sockets have short names; the place is closed to others."""
    deep = tmp_path / ("a long name " * 9).strip()
    deep.mkdir()
    project = Project(deep)
    assert not project.socket.is_relative_to(deep)
    project.make_folders()
    folder = project.socket.parent
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o755)
    with pytest.raises(DeployError, match="open to others"):
        project.make_folders()
    folder.rmdir()


def test_a_supervisor_that_does_not_run_has_no_states(project: Project) -> None:
    """Asking is harmless."""
    supervisor = Supervisor(project)
    assert not supervisor.is_running()
    assert supervisor.states() == {}
