"""The errors an operator sees: a sentence that says what is wrong, and one that says what to do."""

from __future__ import annotations


class DeployError(Exception):
    """A command cannot do what was asked.

    Args:
        message: What is wrong.
        hint: What to do about it; may have several lines.
        exit_code: 2 for a wrong command line, 1 for everything else.
    """

    def __init__(self, message: str, hint: str = "", *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class UsageError(DeployError):
    """The command line is wrong."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint or "./deploy.sh help lists what there is.", exit_code=2)
