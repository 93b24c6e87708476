"""`python -m scripts.deploy COMMAND …`: understand, install what is missing, and do it.

Runs twice for most commands: first on any Python, to make the virtual environment, then on that
one's. Everything that needs installed packages is therefore imported late.
"""

from __future__ import annotations

import errno
import os
import sys

from scripts.deploy import bootstrap, console
from scripts.deploy.command_line import COMMANDS, Request, help_text, parse
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, project_here

INTERRUPTED = 130


def main() -> int:
    """Run one command line and return its exit code."""
    closed = _closed_streams()
    try:
        request = parse(sys.argv[1:])
        if request.command == "keys":
            console.keep_output_for_results()
            if "stdout" in closed:
                raise DeployError("Standard output is closed: nobody would see the key.")
        return _run(request)
    except DeployError as error:
        _tell(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        console.complain("\nInterrupted. Run the same command again to go on.")
        return INTERRUPTED
    except BrokenPipeError:
        console.forget_output()  # whoever read it has seen enough
        return 1
    except OSError as error:
        what = error.filename or "Reading or writing"
        _tell(f"{what}: {error.strerror or error}.", _remedy(error.errno))
        console.forget_output()
        return 1


def _closed_streams() -> set[str]:
    """Open the null device where a standard stream is closed, and return which were.

    Otherwise Python has no object for it, and the next file that is opened gets its number.
    """
    closed = set()
    for number, (name, mode) in enumerate([("stdin", "r"), ("stdout", "w"), ("stderr", "w")]):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            if opened != number:
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))
            closed.add(name)
    return closed


def _run(request: Request) -> int:
    project = project_here()
    if request.command == "help":
        console.say(help_text())
        return 0
    if COMMANDS[request.command].installs:
        _require_permission(project)
        bootstrap.ensure(project, "runtime")
    elif not bootstrap.was_installed(project):
        return _nothing_there(request)
    if not bootstrap.is_inside(project):
        python = str(bootstrap.venv_python(project))
        os.execv(python, [python, "-P", "-m", "scripts.deploy", *sys.argv[1:]])  # noqa: S606
    from scripts.deploy import commands

    return commands.run(project, request)


def _nothing_there(request: Request) -> int:
    """Answer a command that only makes sense after a first `up`."""
    console.say("Nothing was ever started here; ./deploy.sh up does.")
    return 1 if request.command == "status" else 0


def _require_permission(project: Project) -> None:
    if not bootstrap.venv_folder(project).exists():
        project.make_folders()


def _tell(message: str, hint: str) -> None:
    console.complain(f"\n{message}")
    for line in hint.splitlines():
        console.complain(f"  {line}")


def _remedy(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space on the disk and run the same command again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Run as the user that the clone belongs to, or take a clone of your own."
    return ""


if __name__ == "__main__":
    sys.exit(main())
