"""Whether services would start with the settings that they are about to get.

Asked before anything is stopped, so that a slip in a variable takes no healthy service down. Each
service asks the same of itself when it starts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from core.settings import NO_FILE, Settings
from core.settings.check import settings_class
from core.settings.rules import broken, open_to_strangers
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project

Values = Mapping[str, str]


def require(project: Project, started: Mapping[str, Values], *, inside: bool = False) -> None:
    """Check what services would be started with.

    Args:
        started: The variables of each service.
        inside: They are of a container, so that files in them are not of this machine.

    Raises:
        DeployError: All that is wrong, each with its variable; no value is repeated.
    """
    # Paths in settings are as the services see them, which run in the clone.
    with contextlib.chdir(project.root):
        problems = [p for name, values in started.items() for p in _wrong(name, values, inside)]
    if problems:
        raise DeployError(
            "\n".join(dict.fromkeys(problems)),
            "Nothing was stopped or started. docs/configuration.md lists every setting.",
        )


def _wrong(name: str, values: Values, inside: bool) -> Iterator[str]:
    common, own = Settings.read(NO_FILE, values), settings_class(name).read(NO_FILE, values)
    yield from common.problems
    yield from own.problems
    if common.problems or own.problems or inside:
        return
    yield from broken(common.settings)
    problem = open_to_strangers(common.settings)
    if problem is not None:
        yield problem
