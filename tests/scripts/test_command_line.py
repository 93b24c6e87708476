"""What deploy.sh understands, and how it refuses the rest."""

from __future__ import annotations

import pytest

from scripts.deploy.command_line import COMMANDS, Request, help_text, parse
from scripts.deploy.errors import UsageError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Request(command="help")),
        ("help", Request(command="help")),
        ("up --help", Request(command="help")),
        ("up", Request(command="up")),
        ("up postgres --local", Request(command="up", service="postgres", mode="local")),
        ("--docker up", Request(command="up", mode="docker")),
        ("up --no-build", Request(command="up", no_build=True)),
        (
            "logs postgres -f -n 5",
            Request(command="logs", service="postgres", follow=True, lines=5),
        ),
        ("logs --lines=7", Request(command="logs", lines=7)),
        ("clean -y", Request(command="clean", yes=True)),
    ],
)
def test_command_lines_are_understood(words: str, expected: Request) -> None:
    """Options may stand anywhere, in their short or long form."""
    assert parse(words.split()) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stats", "There is no command 'stats'. Did you mean 'status'?"),
        ("xyzzy", "There is no command 'xyzzy'. Known are: up, down"),
        ("up --locl", "There is no option '--locl'. Did you mean '--local'?"),
        ("up a b", "up takes one service at most"),
        ("up --yes", "up does not know the option --yes"),
        ("up --local --docker", "exclude each other"),
        ("clean --yes=no", "--yes takes no value, as in '--yes=no'"),
        ("down --no-build", "down does not know the option --no-build"),
        ("logs -n many", "needs a number of lines"),
        ("logs -n", "needs a number of lines"),
        ("logs -n 99999999999999999999", "needs a number of lines"),
        ("-n 5 keys list", "Options of keys stand behind it"),
    ],
)
def test_slips_are_refused_with_what_is_known(words: str, message: str) -> None:
    """Exit code 2, and the nearest name or all of them."""
    with pytest.raises(UsageError) as caught:
        parse(words.split())
    assert message in caught.value.message
    assert caught.value.exit_code == 2


def test_help_names_every_command() -> None:
    """The help is made from the same table as the parser."""
    text = help_text()
    assert all(f"  {name} " in text and row.summary in text for name, row in COMMANDS.items())
