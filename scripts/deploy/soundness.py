"""Whether services would start with the settings that they are about to get.

Asked before anything is stopped, so that a slip in a variable takes no healthy service down. Each
service asks the same of itself when it starts.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from core.settings import NO_FILE, Settings
from core.settings.check import settings_class
from core.settings.rules import broken, open_to_strangers, with_own
from scripts.deploy.contents import FILES_INSIDE
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.registry import Service

Values = Mapping[str, str]
_OF_CONTAINER = re.compile(r"\.env_?[Ff]ile: ")


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


def require_folders_inside(service: Service, values: Values) -> None:
    """Refuse folders of this machine that a service's container would not have.

    Args:
        service: One whose settings are sound.
        values: The variables that its container gets.

    Raises:
        DeployError: Says which variable would give the container one of them.
    """
    folders = settings_class(service.name).read(NO_FILE, values).settings.folders
    outside = [f for f in folders if not PurePosixPath(f).is_relative_to(FILES_INSIDE)]
    if service.folder_variable is None or not outside:
        return
    raise DeployError(
        f"{service.name} is to serve {', '.join(outside)}, which a container does not have.",
        f"It has one folder of this machine, as {FILES_INSIDE}. "
        f"{service.folder_variable}={outside[0]} gives it that one; where its settings say "
        f"{outside[0]}, they have to say {FILES_INSIDE} then.",
    )


def require_files(service: Service, values: Values) -> None:
    """Check the files of this machine that a service's container is given.

    Args:
        service: One whose settings are sound.
        values: The variables that its container gets, with those files as they are called here.

    Raises:
        DeployError: All that is wrong with them.
    """
    own = settings_class(service.name).read(NO_FILE, values).settings
    problems = list(own.broken({**os.environ, **values})) if service.files else []
    # Further files that one of these names are the container's.
    problems = [problem for problem in problems if not _OF_CONTAINER.search(problem)]
    if problems:
        raise DeployError("\n".join(problems), "Nothing was stopped or started.")


def _wrong(name: str, values: Values, inside: bool) -> Iterator[str]:
    common, own = Settings.read(NO_FILE, values), settings_class(name).read(NO_FILE, values)
    yield from common.problems
    yield from own.problems
    if common.problems or own.problems or inside:
        return
    settings = with_own(common, own, values)
    yield from broken(settings)
    yield from own.settings.broken({**os.environ, **values})
    problem = open_to_strangers(settings)
    if problem is not None:
        yield problem
