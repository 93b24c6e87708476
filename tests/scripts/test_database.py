"""Choosing PostgreSQL's programs, place and port."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from scripts.deploy import database, ports, programs, record
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry


def _fake_programs(folder: Path, major: int) -> Path:
    """Make an installation that tells its version and nothing else."""
    bin_folder = folder / str(major) / "bin"
    bin_folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = bin_folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {major}.4'\n")
        program.chmod(0o755)
    return bin_folder


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with PostgreSQL 12, 14 and 16, and nothing else."""
    folder = tmp_path / "postgresql"
    for major in (14, 16, 12):
        _fake_programs(folder, major)
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", (str(folder),))
    monkeypatch.setenv("PATH", "/nowhere")
    return folder


def test_the_newest_programs_are_taken_for_new_data(project: Project, system: Path) -> None:
    """12 is too old; 16 is newer than 14."""
    found = programs.programs_for(project, project.run / "data", "system")
    assert (found.major, found.from_wheel) == (16, False)
    assert found.folder == system / "16" / "bin"


def test_old_data_keep_their_major_version(project: Project, system: Path) -> None:
    """PostgreSQL cannot read another major version's files."""
    data = project.run / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("14\n")
    assert programs.programs_for(project, data, "system").major == 14


def test_data_of_a_version_that_is_gone_are_explained(project: Project, system: Path) -> None:
    """The sentence names both versions and the two ways out."""
    data = project.run / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("13\n")
    with pytest.raises(DeployError, match="made by PostgreSQL 13; found here: 14, 16") as caught:
        programs.programs_for(project, data, "system")
    assert "deploy.sh clean" in caught.value.hint


def test_a_machine_without_programs_is_told_what_to_do(
    project: Project, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Install it, or name a database that runs."""
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", ())
    with pytest.raises(DeployError) as caught:
        programs.programs_for(project, project.run / "data", "system")
    assert "DATABASE_URL" in caught.value.hint


def test_a_named_folder_without_programs_is_refused(project: Project, tmp_path: Path) -> None:
    """Rather than taking others silently."""
    with pytest.raises(DeployError, match="holds no postgres and initdb"):
        programs.programs_for(project, project.run / "data", str(tmp_path))


def test_a_taken_port_is_replaced_and_remembered(project: Project, known: Registry) -> None:
    """Nobody chose the usual port, so another one will do; from then on it is the one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        row = known.database.model_copy(update={"port": taken})
        chosen = database._choose_port(project, row, {}, is_running=False)
        assert chosen != taken
    assert database._choose_port(project, row, {}, is_running=False) == chosen


def test_a_taken_port_that_was_asked_for_is_an_error(project: Project, known: Registry) -> None:
    """The operator's word is not quietly changed."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        values = {known.database.port_variable: str(other.getsockname()[1])}
        with pytest.raises(DeployError, match="is in use"):
            database._choose_port(project, known.database, values, is_running=False)


def test_a_running_server_keeps_its_port(project: Project, known: Registry) -> None:
    """It is in use, rightly."""
    port = ports.any_free_port()
    record.write(project, database_port=port)
    with socket.create_server(("127.0.0.1", port)):
        assert database._choose_port(project, known.database, {}, is_running=True) == port


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_root_puts_the_database_where_its_user_can_reach_it(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a closed folder such as /root it cannot, so another place is taken."""
    user = database._server_user()
    assert user is not None
    assert pwd.getpwnam(user).pw_uid != 0
    tmp_path.chmod(0o700)
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setattr(database, "ELSEWHERE", elsewhere)
    assert not database._can_enter(user, project.run)
    home = database._home(project, user)
    assert home == elsewhere / project.identity
    assert (home / "clone.txt").read_text().strip() == str(project.root)
    assert home in database.home_folders(project)


def test_lost_passwords_are_explained(project: Project) -> None:
    """A database whose passwords are gone cannot be opened by making new ones."""
    data = project.run / "data"
    data.mkdir()
    with pytest.raises(DeployError, match="passwords of the database"):
        database._passwords(project, data)
