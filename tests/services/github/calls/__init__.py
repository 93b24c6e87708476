"""Calls of every tool, a module for each toolset: what test_every_request makes of each.

A module has `ROWS`. Prism answers with the examples of GitHub's description, whatever is asked for:
arguments need not fit them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REPO = {"owner": "octocat", "repo": "Hello-World"}
SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call.

    Attributes:
        graphql: What GraphQL queries find (`doubles.graphql.Graphql.data`).
        operations: Operation ids that have to be among the requests, as "issues/list-for-repo";
            "graphql" for one of those.
        confirmed: A dry run comes first, and the call repeats it with the token that it gave.
        error: Code of the error that is the right answer to the example; requests are judged
            all the same.
    """

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    graphql: Mapping[str, Any] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    confirmed: bool = False
    error: str | None = None

    @property
    def name(self) -> str:
        """What the row is called in the tests' output."""
        return "-".join(
            [
                self.tool,
                *(str(self.arguments[k]) for k in ("method", "action") if k in self.arguments),
            ]
        )


def rows() -> list[Row]:
    """Return the rows of all modules."""
    found: list[Row] = []
    for module in pkgutil.iter_modules(__path__):
        found += importlib.import_module(f"{__name__}.{module.name}").ROWS
    return found
