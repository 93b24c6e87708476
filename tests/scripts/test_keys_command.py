"""`deploy.sh keys`: what it takes, what it writes, and what it says to whom."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.security.keys import hash_of
from core.security.keys import parse as parse_file
from scripts.deploy import command_line, console, environment, keys
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError, UsageError
from scripts.deploy.key_words import ACTIONS, DEFAULT_GRACE, KeysRequest, parse
from scripts.deploy.keys import KeysFile
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry
from tests.servers.processes import ServerProcess

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def request(words: str) -> KeysRequest:
    """Return what a command line asks for."""
    return parse(words.split())


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("list", KeysRequest(action="list")),
        ("create alice", KeysRequest(action="create", name="alice")),
        ("revoke alice", KeysRequest(action="revoke", name="alice")),
        ("rotate alice", KeysRequest(action="rotate", name="alice", grace=DEFAULT_GRACE)),
        ("rotate --grace=0 a", KeysRequest(action="rotate", name="a", grace=timedelta())),
        (
            "rotate a --grace 90m",
            KeysRequest(action="rotate", name="a", grace=timedelta(hours=1.5)),
        ),
        (
            "create --scope postgres a --read-only --scope=github:get_*",
            KeysRequest(
                action="create", name="a", scopes=("postgres", "github:get_*"), read_only=True
            ),
        ),
        (
            "create a --expires 90d --calls-per-minute 7.5 --burst 3 --calls-per-day 100",
            KeysRequest(
                action="create",
                name="a",
                expires=timedelta(days=90),
                calls_per_minute=7.5,
                burst=3,
                calls_per_day=100,
            ),
        ),
        (
            "create a --expires 2027-01-31",
            KeysRequest(action="create", name="a", expires=datetime(2027, 1, 31, tzinfo=UTC)),
        ),
    ],
)
def test_words_are_understood(words: str, expected: KeysRequest) -> None:
    """Options stand anywhere after the action, with = or a blank before their value."""
    assert request(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "keys needs a word more. Known are: create, list, revoke, rotate."),
        ("lst", "keys knows no 'lst'. Did you mean 'list'?"),
        ("--scope a", "keys needs a word more"),
        ("create", "keys create takes the name of one key, not 'none'."),
        ("create a b", "keys create takes the name of one key, not 'a b'."),
        ("list a", "keys list takes no name, not 'a'."),
        ("list --scope a", "keys list does not know --scope. It has no options."),
        ("create a --scop b", "keys create does not know --scop. Did you mean '--scope'?"),
        ("create a --grace 1h", "keys create does not know --grace."),
        ("create a --scope", "--scope needs a value."),
        ("create a --scope --read-only", "--scope needs a value."),
        ("create a --read-only=no", "--read-only takes no value."),
        ("create a --burst 1 --burst 2", "--burst is given twice."),
        ("create a --burst 1.5", "--burst needs a whole number above 0, not '1.5'."),
        ("create a --burst " + "9" * 5000, "--burst needs a whole number above 0"),
        ("create a --burst 0", "--burst needs a whole number above 0, not '0'."),
        ("create a --burst ²", "--burst needs a whole number above 0, not '²'."),
        ("create a --calls-per-minute -1", "--calls-per-minute needs a number above 0"),
        ("create a --calls-per-minute nan", "--calls-per-minute needs a number above 0"),
        ("create a --calls-per-day", "--calls-per-day needs a whole number above 0, not ''."),
        ("create a --expires soon", "or a date such as 2027-01-31, not 'soon'."),
        ("create a --expires 9999-12-31T23:59-12:00", "or a date such as 2027-01-31"),
        ("create a --expires 90", "or a date such as 2027-01-31, not '90'."),
        ("rotate a --grace forever", "--grace needs a time such as 30m, 24h, 90d or 0"),
    ],
)
def test_slips_are_refused_with_what_is_known(words: str, message: str) -> None:
    """Exit code 2, and nothing has happened."""
    with pytest.raises(UsageError) as caught:
        request(words)
    assert message in caught.value.message
    assert caught.value.exit_code == 2


@given(st.lists(st.one_of(st.sampled_from([*ACTIONS, "--scope", "--grace=1h"]), st.text())))
def test_any_words_are_understood_or_refused(words: list[str]) -> None:
    """There is no command line that ends in a traceback."""
    with contextlib.suppress(UsageError):
        assert parse(words).action in ACTIONS


def test_deploy_sh_knows_the_command() -> None:
    """With the place beside it, and help instead of anything else."""
    found = command_line.parse(["keys", "list", "--docker"])
    assert (found.command, found.mode) == ("keys", "docker")
    assert found.keys == KeysRequest(action="list")
    assert command_line.parse(["--local", "keys", "list"]).keys == KeysRequest(action="list")
    with pytest.raises(UsageError, match="needs a word more"):
        command_line.parse(["--local", "keys"])
    assert command_line.parse(["keys", "create", "--help"]).command == "help"
    with pytest.raises(UsageError, match="exclude each other"):
        command_line.parse(["keys", "list", "--docker", "--local"])
    help_text = command_line.help_text()
    assert all(f"keys {action}" in help_text for action in ACTIONS)
    for action in ACTIONS.values():
        assert all(option in help_text for option in action.options)


# --- the file ------------------------------------------------------------------------------------


@pytest.fixture
def file(project: Project) -> KeysFile:
    """The keys of a clone."""
    return KeysFile(project.keys_file, project.own_key, NOW)


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_key_is_in_the_file_as_a_hash(file: KeysFile, project: Project) -> None:
    """What was asked for stands in its row; the key stands nowhere."""
    text = file.create(request("create alice --scope postgres --expires 90d --burst 3"))
    key = file.read()["alice"]
    assert key.hash == hash_of(text)
    assert (key.scopes, key.burst, key.read_only) == (("postgres",), 3, False)
    assert (key.created, key.expires) == (NOW, NOW + timedelta(days=90))
    assert not any(text in path.read_text() for path in project.run.rglob("*") if path.is_file())


def test_the_file_is_for_its_owner_and_its_group(file: KeysFile, project: Project) -> None:
    """Containers read it as a group; new files get the folder's group (setgid, inode(7))."""
    file.create(request("create alice"))
    assert mode_of(project.keys_file) == 0o640
    assert mode_of(project.keys_file.parent) == 0o2750
    assert mode_of(project.secrets) == 0o700
    assert mode_of(project.own_key) == 0o600
    assert [path.name for path in project.keys_file.parent.iterdir()] == ["keys.json"]


def test_deploy_sh_has_a_key_that_may_only_read(file: KeysFile, project: Project) -> None:
    """`test` calls with it; it lies outside the folder that containers get."""
    file.create(request("create alice"))
    own = file.read()["deploy"]
    assert own.hash == hash_of(project.own_key.read_text().strip())
    assert own.read_only
    assert project.keys_file.parent not in project.own_key.parents


def test_a_lost_own_key_is_made_anew(file: KeysFile, project: Project) -> None:
    """As the refusal to rotate it says."""
    file.create(request("create alice"))
    before = file.read()["deploy"].hash
    project.own_key.unlink()
    file.create(request("create bob"))
    assert before != file.read()["deploy"].hash == hash_of(project.own_key.read_text().strip())


def test_an_empty_own_key_is_made_anew(file: KeysFile, project: Project) -> None:
    """The hash of nothing would let in whoever sends nothing."""
    file.create(request("create alice"))
    project.own_key.write_text("\n")
    assert environment.key_for_calls({environment.KEYS_FILE: "x"}, project.own_key) is None
    file.create(request("create bob"))
    assert file.read()["deploy"].hash not in (hash_of(""), hash_of("\n"))
    assert file.read()["deploy"].hash == hash_of(project.own_key.read_text().strip())


def test_a_link_to_the_keys_stays_one(tmp_path: Path) -> None:
    """Whoever reads what it leads to goes on seeing the changes."""
    target, link = tmp_path / "real.json", tmp_path / "keys.json"
    link.symlink_to(target)
    linked = KeysFile(link, None, NOW)
    linked.create(request("create alice"))
    linked.create(request("create bob"))
    assert link.is_symlink()
    assert set(KeysFile(target, None).read()) == {"alice", "bob"}


def test_a_keys_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    """With the command that makes it."""
    with pytest.raises(DeployError, match="is not there") as caught:
        KeysFile(tmp_path / "none" / "keys.json", None, NOW).create(request("create alice"))
    assert caught.value.hint == f"mkdir -p {tmp_path / 'none'}"


@pytest.mark.parametrize("name", ["deploy", "api-key", "a b", "a@b", "-x", "x" * 65, "ä"])
def test_names_that_cannot_be_are_refused(file: KeysFile, name: str) -> None:
    """Before anything is written."""
    with pytest.raises(DeployError, match="cannot be a key's name"):
        file.create(KeysRequest(action="create", name=name))
    assert not file.path.exists()


def test_a_name_is_given_once(file: KeysFile) -> None:
    """The second one is told of rotation."""
    file.create(request("create alice"))
    with pytest.raises(DeployError, match="There is a key 'alice' already") as caught:
        file.create(request("create alice --scope postgres"))
    assert "keys rotate alice" in caught.value.hint
    assert file.read()["alice"].scopes == ("*",)


def test_an_end_that_is_past_is_refused(file: KeysFile) -> None:
    """A key that nobody could use."""
    with pytest.raises(DeployError, match="is past"):
        file.create(request("create alice --expires 2026-05-31"))


def test_a_rotated_key_keeps_everything_but_its_secret(file: KeysFile) -> None:
    """The old one is taken for as long as was asked, a day if nothing was."""
    old = file.create(request("create alice --scope postgres --read-only --calls-per-day 9"))
    row = file.read()["alice"]
    new = file.rotate(request("rotate alice"))
    rotated = file.read()["alice"]
    assert rotated.hash == hash_of(new)
    assert rotated.previous is not None
    assert rotated.previous.hash == hash_of(old)
    assert rotated.previous.expires == NOW + timedelta(hours=24)
    assert rotated.principal == row.principal
    assert rotated.created == row.created


def test_a_rotation_without_grace_ends_the_old_key(file: KeysFile) -> None:
    """For a key that has leaked; a still older one ends with it."""
    file.create(request("create alice"))
    file.rotate(request("rotate alice"))
    file.rotate(request("rotate alice --grace 0"))
    assert file.read()["alice"].previous is None


def test_an_expired_key_needs_a_new_end(file: KeysFile, project: Project) -> None:
    """A new secret alone would not open anything."""
    file.create(request("create alice --expires 1d"))
    later = KeysFile(project.keys_file, project.own_key, NOW + timedelta(days=2))
    with pytest.raises(DeployError, match="has expired") as caught:
        later.rotate(request("rotate alice"))
    assert "--expires" in caught.value.hint
    later.rotate(request("rotate alice --expires 30d"))
    assert later.read()["alice"].expires == NOW + timedelta(days=32)


def test_an_expired_secret_does_not_come_back_with_a_new_end(
    file: KeysFile, project: Project
) -> None:
    """Whoever kept it has no key, however long the grace."""
    file.create(request("create alice --expires 1m"))
    later = KeysFile(project.keys_file, project.own_key, NOW + timedelta(minutes=1))
    later.rotate(request("rotate alice --expires 90d"))
    assert later.read()["alice"].previous is None


def test_a_replaced_secret_never_outlives_its_own_end(file: KeysFile) -> None:
    """Nor that of the new one; the grace only shortens."""
    file.create(request("create alice --expires 2h"))
    file.rotate(request("rotate alice --expires 90d"))
    previous = file.read()["alice"].previous
    assert previous is not None
    assert previous.expires == NOW + timedelta(hours=2)


def test_a_revoked_key_is_gone_with_the_one_before_it(file: KeysFile) -> None:
    """Nothing of it is left in the file."""
    file.create(request("create alice"))
    file.rotate(request("rotate alice"))
    file.revoke("alice")
    assert set(file.read()) == {"deploy"}


@pytest.mark.parametrize("action", ["revoke", "rotate"])
def test_an_unknown_key_is_refused_with_the_nearest(file: KeysFile, action: str) -> None:
    """And deploy.sh's own is left alone."""
    file.create(request("create alice"))
    before = file.path.read_bytes()
    for name, message in [("alise", "no key 'alise'"), ("deploy", "deploy.sh's own")]:
        with pytest.raises(DeployError, match=message) as caught:
            file.revoke(name) if action == "revoke" else file.rotate(request(f"rotate {name}"))
        assert caught.value.hint
    assert file.path.read_bytes() == before


def test_a_broken_file_is_named_and_left_as_it_is(file: KeysFile) -> None:
    """Keys that cannot be read must not be lost by writing over them."""
    file.create(request("create alice"))
    file.path.write_text('{"version": 1, "keys": [{"name": "alice"}]}')
    with pytest.raises(DeployError, match=r"keys\.0\.hash: Field required"):
        file.create(request("create bob"))
    assert "alice" in file.path.read_text()


def test_owner_and_mode_of_a_file_elsewhere_stay(tmp_path: Path) -> None:
    """A systemd service reads its file as a member of a group."""
    path = tmp_path / "keys.json"
    elsewhere = KeysFile(path, None, NOW)
    elsewhere.create(request("create alice"))
    assert set(elsewhere.read()) == {"alice"}
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    elsewhere.create(request("create bob"))
    after = path.stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert mode_of(path) == 0o600
    assert after.st_ino != before.st_ino


def test_the_table_tells_everything_but_hashes(file: KeysFile, project: Project) -> None:
    """Who may do what until when."""
    text = file.create(request("create alice --scope github:get_* --expires 2d --burst 5"))
    file.rotate(request("rotate alice"))
    later = KeysFile(project.keys_file, project.own_key, NOW + timedelta(hours=1))
    for word in ("alice", "github:get_*", "2026-06-03", "the one before: 2026-06-02", "5 at once"):
        assert word in later.table()
    expired = KeysFile(project.keys_file, project.own_key, NOW + timedelta(days=3))
    assert "expired 2026-06-03" in expired.table()
    assert "sha256" not in later.table()
    assert hash_of(text)[7:20] not in later.table()


@settings(deadline=None, max_examples=50)  # each change is written through to the disk
@given(
    st.lists(
        st.sampled_from(
            ["create a", "create b --scope postgres", "rotate a", "rotate a --grace 0", "revoke a"]
        ),
        max_size=8,
    )
)
def test_whatever_is_done_the_file_is_one_that_servers_take(commands: list[str]) -> None:
    """No order of commands leaves two keys of one name, or a hash twice."""
    with tempfile.TemporaryDirectory() as folder:
        file = KeysFile(Path(folder) / "keys.json", Path(folder) / "own.key", NOW)
        for words in commands:
            asked = request(words)
            with contextlib.suppress(DeployError):
                file.revoke("a") if asked.action == "revoke" else getattr(file, asked.action)(asked)
        if file.path.exists():
            assert parse_file(file.path.read_bytes()).version == 1


# --- the command ---------------------------------------------------------------------------------


def run(project: Project, known: Registry, words: str, **running: Endpoint) -> int:
    """Run one command of a clone without settings."""
    return keys.run(project, known, request(words), running, {})


def test_only_the_key_goes_to_standard_output(
    project: Project, known: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a script can take it, and a person reads the rest."""
    assert run(project, known, "create alice") == 0
    out, err = capsys.readouterr()
    assert hash_of(out.strip()) == KeysFile(project.keys_file, None).read()["alice"].hash
    assert out.strip() not in err
    assert "shown this once" in err
    assert run(project, known, "rotate alice --grace 90m") == 0
    out, err = capsys.readouterr()
    assert out.startswith("mcp_")
    assert "The key before it is taken until 20" in err
    assert "The one before" not in err
    assert run(project, known, "rotate alice --grace 0") == 0
    err = capsys.readouterr().err
    assert "The key before it is not taken any more." in err
    assert re.search(r"The one before that, .* until 20\S+ \S+ UTC, ends now\.", err)
    assert run(project, known, "revoke alice") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "alice is revoked" in err


def test_a_key_that_could_not_be_shown_is_taken_back(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One made for nobody; a rotation would shut out whoever has the old one."""

    def full(_text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(console, "result", full)
    monkeypatch.setattr(console, "forget_output", lambda: None)
    with pytest.raises(DeployError, match="could not be shown"):
        run(project, known, "create alice")
    assert not project.keys_file.exists()
    KeysFile(project.keys_file, project.own_key).create(request("create alice"))
    before = project.keys_file.read_bytes()
    with pytest.raises(DeployError, match="could not be shown"):
        run(project, known, "rotate alice")
    assert project.keys_file.read_bytes() == before


def test_services_with_another_keys_file_are_named(
    project: Project, known: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They do not go by the one that was changed; a container's is that of its folder."""
    elsewhere = tmp_path / "elsewhere.json"
    fetch, github = known.services["fetch"], known.services["github"]
    environment.save(project, fetch, {environment.KEYS_FILE: str(project.keys_file)})
    inside = {
        environment.KEYS_FILE: "/run/mcp/keys/keys.json",
        environment.KEYS_FOLDER: str(project.keys_file.parent),
    }
    environment.save(project, github, inside)
    running = {name: Endpoint("127.0.0.1", 1) for name in ("fetch", "github")}
    keys.run(project, known, request("create alice"), running, {})
    err = capsys.readouterr().err
    assert "another keys file" not in err
    assert "within 3 s" in err
    values = {environment.KEYS_FILE: str(elsewhere)}
    keys.run(project, known, request("create alice"), running, values)
    err = capsys.readouterr().err
    assert f"fetch and github started with another keys file than {elsewhere}" in err
    assert "within" not in err


@pytest.mark.parametrize(
    ("scope", "message", "hint"),
    [
        ("postgers", "names no service", "Did you mean 'postgres'?"),
        ("xyzzy:*", "names no service", "Services are: postgres"),
        ("z*", "names no service", "Services are: postgres"),
        ("postgres:", "is not a scope", ""),
        ("postgres:a b", "is not a scope", ""),
        ("Postgres", "is not a scope", ""),
    ],
)
def test_a_scope_that_opens_nothing_is_refused(
    project: Project, known: Registry, scope: str, message: str, hint: str
) -> None:
    """With what it may have meant; no key is made."""
    asked = KeysRequest(action="create", name="alice", scopes=("postgres", scope))
    with pytest.raises(DeployError, match=message) as caught:
        keys.run(project, known, asked, {}, {})
    assert hint in caught.value.hint
    assert not project.keys_file.exists()


def test_a_file_that_the_operator_names_is_the_one(
    project: Project, known: Registry, tmp_path: Path
) -> None:
    """deploy.sh puts no key of its own into it."""
    named = tmp_path / "elsewhere.json"
    values = {environment.KEYS_FILE: str(named)}
    keys.run(project, known, request("create alice"), {}, values)
    assert set(KeysFile(named, None).read()) == {"alice"}
    assert not project.keys_file.exists()
    assert not project.own_key.exists()


def test_services_get_the_file_once_there_is_one(project: Project, known: Registry) -> None:
    """Without one they are as they were; the operator's own wins."""
    service = known.services["fetch"]

    def given() -> str | None:
        found = environment.of_service(project, known, service, values, None)
        return found.get(environment.KEYS_FILE)

    values: dict[str, str] = {}
    assert given() is None
    run(project, known, "create alice")
    assert given() == str(project.keys_file)
    values = {environment.KEYS_FILE: "/etc/keys.json"}
    assert given() == "/etc/keys.json"


def test_deploy_sh_calls_with_its_own_key_where_nothing_else_is_set(
    project: Project, known: Registry
) -> None:
    """The one of the settings comes first; a service without keys is sent none."""
    run(project, known, "create alice")
    own = project.own_key.read_text().strip()
    with_file = {environment.PORT: "1", environment.KEYS_FILE: str(project.keys_file)}
    assert environment.endpoint_of(with_file, project.own_key).api_key == own
    both = {**with_file, "MCP_HTTP_API_KEY": "k"}
    assert environment.endpoint_of(both, project.own_key).api_key == "k"
    assert environment.endpoint_of({environment.PORT: "1"}, project.own_key).api_key is None


def test_the_service_that_asks_the_others_gets_a_key_for_it(
    project: Project, known: Registry
) -> None:
    """It would find that they refuse it; what the operator sets comes first."""
    monitoring, values = known.services["monitoring"], dict[str, str]()

    def given() -> str | None:
        found = environment.of_service(project, known, monitoring, values, None)
        return found.get("MCP_MONITORING_SERVICES_API_KEY")

    assert given() is None
    run(project, known, "create alice")
    assert given() == project.own_key.read_text().strip()
    values = {"MCP_HTTP_API_KEY": "one for all"}
    assert given() is None
    values = {"MCP_MONITORING_SERVICES_API_KEY": "other"}
    assert given() == "other"
    fetch = environment.of_service(project, known, known.services["fetch"], {}, None)
    assert project.own_key.read_text().strip() not in fetch.values()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server that stands for the service `fetch`."""
    with ServerProcess(tmp_path) as server:
        yield server


def test_patterns_that_fit_no_tool_are_told(
    project: Project,
    known: Registry,
    server: ServerProcess,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A warning only: tools come and go with settings. The key is made."""
    endpoint = Endpoint("127.0.0.1", server.port)
    words = "create alice --scope fetch:ecko --scope fetch:e* --scope fetch:prompts/get"
    assert run(project, known, words, fetch=endpoint) == 0
    err = capsys.readouterr().err
    assert "No tool of fetch fits 'fetch:ecko' now. Did you mean 'echo'?" in err
    assert "e*" not in err
    assert "prompts" not in err
    assert "fetch started without keys" in err
    assert "./deploy.sh restart" in err
