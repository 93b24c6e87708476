"""The tools: each module has the rows of its subject, joined here by toolset.

Every row of `listings` is one tool. It is registered when its toolset is on, and a tool that writes
only when the toolset may write too; whoever calls one that is not is told which setting decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from core.mcp_sse import MCPServer
from core.tools import Listing, icons
from services.github import budget
from services.github.shapes import shaped
from services.github.tools import (
    actions,
    advisories,
    alerts,
    branches,
    changes,
    commits,
    context,
    discussions,
    failures,
    files,
    gists,
    issue_writes,
    issues,
    notifications,
    orgs,
    project_writes,
    projects,
    pull_writes,
    pulls,
    releases,
    repositories,
    stargazers,
)
from services.github.tools.desk import Desk


class Subject(Protocol):
    """A module with tools."""

    def listings(self, desk: Desk) -> list[Listing]:
        """Return the rows of its tools."""


SUBJECTS: tuple[tuple[str, Subject], ...] = (
    ("context", context),
    ("context", repositories),
    ("files", files),
    ("files", changes),
    ("branches", branches),
    ("branches", commits),
    ("issues", issues),
    ("issues", issue_writes),
    ("pulls", pulls),
    ("pulls", pull_writes),
    ("actions", failures),
    ("actions", actions),
    ("releases", releases),
    ("discussions", discussions),
    ("projects", projects),
    ("projects", project_writes),
    ("gists", gists),
    ("notifications", notifications),
    ("security", alerts),
    ("security", advisories),
    ("orgs", orgs),
    ("stargazers", stargazers),
)
"""The toolset of each module, in the order in which their tools are listed."""


def register(server: MCPServer, desk: Desk) -> None:
    """Register the tools that are switched on, and say of the others how they would be."""
    offered = []
    max_bytes = budget.ANSWER_BUDGETS * desk.settings.answer_bytes
    for toolset, row in listings(desk):
        if not desk.access.is_on(toolset):
            server.withhold(
                row.name,
                f"{row.name} is switched off here: it belongs to the toolset {toolset}.",
                hint=f"The operator adds {toolset} to MCP_GITHUB_TOOLSETS.",
            )
        elif not row.annotations.read_only and not desk.access.writes(toolset):
            server.withhold(
                row.name,
                f"{row.name} is switched off here: the toolset {toolset} only reads.",
                hint=f"The operator adds {toolset} to MCP_GITHUB_WRITE.",
            )
        else:
            handler = budget.within(shaped(row.handler), max_bytes)
            offered.append(replace(row, handler=handler))
    server.register_listings(offered, icons=icons("🐙"))


def listings(desk: Desk) -> Iterator[tuple[str, Listing]]:
    """Yield each tool's toolset and row."""
    for toolset, subject in SUBJECTS:
        for row in subject.listings(desk):
            yield toolset, row
