"""What reaches a child's environment, and what never leaves through what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidArguments
from core.settings import SettingsError
from services.bridge.environment import (
    MAX_HEADER_BYTES,
    environment_of,
    header_environment,
    secrets_of,
)
from services.bridge.errors import ChildNotStarted
from services.bridge.specs import ServerSpec
from services.bridge.variables import Unset, expanded, require_assignable, variables_of_file

OURS = {
    "MCP_HTTP_API_KEY": "key-of-the-bridge",
    "MCP_POSTGRES_URL": "postgres://u:pw@h/db",
    "DATABASE_URL": "postgres://u:pw@h/db",
    "AWS_SECRET_ACCESS_KEY": "aws-secret",
    "PATH": "/usr/bin",
    "LC_TIME": "C",
    "https_proxy": "http://proxy:3128",
    "GITHUB_TOKEN": "token-of-github",
}


def _spec(**members: object) -> ServerSpec:
    return ServerSpec(name="git", command=("x",), **members)  # type: ignore[arg-type]  # of any kind


def _secret_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "secret"
    file.write_text(text)
    file.chmod(mode)
    return file


# --- what a child gets ---------------------------------------------------------------------------


def test_a_child_gets_the_usual_variables_and_nothing_of_ours() -> None:
    """A key of the suite in there would be the child's to use and to leak."""
    found = environment_of(_spec(), environ=OURS)
    assert found == {"PATH": "/usr/bin", "LC_TIME": "C", "https_proxy": "http://proxy:3128"}


def test_further_variables_are_handed_on_by_name() -> None:
    """`inheritEnv`; one that is not set is none."""
    found = environment_of(_spec(inherit=("GITHUB_TOKEN", "NONE")), environ=OURS)
    assert found["GITHUB_TOKEN"] == "token-of-github"
    assert "NONE" not in found


def test_the_nearer_source_counts(tmp_path: Path) -> None:
    """The caller's headers over secrets over `env` over what is inherited."""
    secret = _secret_file(tmp_path, "of a file\n")
    spec = _spec(environment={"PATH": "/opt", "A": "1", "B": "1"}, secret_files={"B": secret})
    found = environment_of(spec, {"C": "of a header"}, environ=OURS)
    assert found["PATH"] == "/opt"
    assert (found["A"], found["B"], found["C"]) == ("1", "of a file", "of a header")


def test_secrets_are_read_at_each_start(tmp_path: Path) -> None:
    """So that a rotated one holds from the next child on."""
    spec = _spec(secret_files={"KEY": _secret_file(tmp_path, "first-key")})
    assert environment_of(spec, environ={})["KEY"] == "first-key"
    _secret_file(tmp_path, "second-key")
    assert environment_of(spec, environ={})["KEY"] == "second-key"


@pytest.mark.parametrize(("text", "mode", "why"), [("", 0o600, "empty"), ("k", 0o644, "open to")])
def test_a_secret_that_cannot_be_had_starts_no_child(
    tmp_path: Path, text: str, mode: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error says which one; where it is and why is for the operator's log."""
    spec = _spec(secret_files={"KEY": _secret_file(tmp_path, text, mode)})
    with pytest.raises(ChildNotStarted, match="secret KEY cannot be read") as refused:
        environment_of(spec, environ={})
    assert refused.value.facts == {"server": "git"}
    assert str(tmp_path) not in refused.value.message
    assert why in caplog.text


# --- headers -------------------------------------------------------------------------------------


def test_headers_of_a_request_become_variables() -> None:
    """Those that are named; the same credentials give the same pairs, so the same child."""
    spec = _spec(env_from_headers={"x-token": "TOKEN", "x-account": "ACCOUNT"})
    headers = {b"x-token": b"t", b"x-other": b"o", b"x-account": b"a"}
    assert header_environment(spec, headers) == (("ACCOUNT", "a"), ("TOKEN", "t"))
    assert header_environment(spec, {b"x-token": b""}) == ()
    assert header_environment(_spec(), headers) == ()


@pytest.mark.parametrize("value", [b"a\0b", b"a\nb", b"x" * (MAX_HEADER_BYTES + 1)])
def test_a_header_that_no_variable_should_hold_is_refused(value: bytes) -> None:
    """The message names the header, never its value."""
    spec = _spec(env_from_headers={"x-token": "TOKEN"})
    with pytest.raises(InvalidArguments, match="x-token") as refused:
        header_environment(spec, {b"x-token": value})
    assert value.decode() not in refused.value.message


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "Path", "NODE_OPTIONS", "PYTHONPATH", "GIT_SSH_COMMAND", "BASH_ENV"]
)
def test_no_caller_chooses_what_is_run(name: str) -> None:
    """Each of these makes a program load or run something else."""
    with pytest.raises(ValueError, match="no caller"):
        require_assignable(name)


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "NPM_TOKEN", "NODE_AUTH_TOKEN", "ACCOUNT", "ORG"])
def test_credentials_may_come_from_callers(name: str) -> None:
    """That is what it is for."""
    assert require_assignable(name) == name


# --- secrets in what a child writes --------------------------------------------------------------


def test_every_secret_of_a_child_is_taken_out_of_its_words(tmp_path: Path) -> None:
    """Of files, headers, variables and arguments that are named as secrets; and of any shape."""
    spec = ServerSpec(
        name="git",
        command=("x", "--api-key", "argument-secret", "--token=joined-secret"),
        environment={"DB_PASSWORD": "env-secret", "COLOUR": "green"},
        secret_files={"CERT": _secret_file(tmp_path, "file-secret")},
        env_from_headers={"x-account": "ACCOUNT"},
    )
    redact = secrets_of(spec, environment_of(spec, {"ACCOUNT": "header-secret"}, environ={}))
    said = "argument-secret joined-secret env-secret file-secret header-secret green"
    assert redact(said) == " ".join(["[redacted]"] * 5 + ["green"])
    assert redact("https://u:other-secret@h/") == "https://u:[redacted]@h/"


def test_the_folder_of_a_shell_is_no_secret() -> None:
    """`PWD` is one; under other names it means a password."""
    redact = secrets_of(_spec(), {"PWD": "/srv/files", "OLDPWD": "/home", "DB_PWD": "hunter2"})
    assert redact("/srv/files /home hunter2") == "/srv/files /home [redacted]"


def test_a_secret_of_many_lines_is_found_line_by_line(tmp_path: Path) -> None:
    """What a child writes comes in lines."""
    spec = _spec(secret_files={"KEY": _secret_file(tmp_path, "first-line\nsecond-line")})
    redact = secrets_of(spec, environment_of(spec, environ={}))
    assert redact("see second-line here") == "see [redacted] here"


@given(st.text(min_size=4, max_size=40).filter(lambda text: len(text.strip()) >= 4))
def test_a_secret_is_found_in_json_and_urls_too(secret: str) -> None:
    """Programs print what they send."""
    spec = _spec(environment={"API_TOKEN": secret})
    redact = secrets_of(spec, spec.environment)
    for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert form not in redact(f"<{form}>").replace("[redacted]", "")


def test_short_values_do_not_tear_words_apart() -> None:
    """A password of one letter hides nothing and would make every line unreadable."""
    spec = _spec(environment={"DB_PASSWORD": "a"})
    assert secrets_of(spec, spec.environment)("a banana") == "a banana"


# --- variables in files --------------------------------------------------------------------------


def test_a_file_of_variables_is_read_as_others_read_it(tmp_path: Path) -> None:
    """Comments, `export`, quotes; nothing is expanded."""
    file = tmp_path / ".env"
    file.write_text("# c\n\nA=1\nexport B = 'two words'\nC=\"$HOME\"\nD=a=b\nE=\n")
    found = {"A": "1", "B": "two words", "C": "$HOME", "D": "a=b", "E": ""}
    assert variables_of_file(file) == found


def test_a_line_that_sets_nothing_is_refused_by_its_number(tmp_path: Path) -> None:
    """And not repeated: it may be half of a secret."""
    file = tmp_path / ".env"
    file.write_text("A=1\nhunter2\n")
    with pytest.raises(SettingsError, match="line 2: expected NAME=VALUE") as refused:
        variables_of_file(file)
    assert "hunter2" not in str(refused.value)


@given(st.text(), st.dictionaries(st.sampled_from(["A", "B"]), st.text()))
def test_expanding_never_reads_what_it_has_put_in(text: str, environ: dict[str, str]) -> None:
    """A value that looks like a variable is a value."""
    environ = {**environ, "A": "${B}"}
    try:
        assert expanded("${A}" + text, environ).startswith("${B}")
    except Unset:
        assert "${" in text
