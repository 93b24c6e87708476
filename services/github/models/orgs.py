"""What the tools about organisations, teams and people with access return."""

from __future__ import annotations

from core.models import Facts
from services.github.models.common import GitHubPage


class Team(Facts):
    """A team that somebody is a member of."""

    org: str
    slug: str
    name: str
    description: str | None
    url: str


class Teams(GitHubPage, Facts):
    """Teams of a person, by organisation."""

    teams: list[Team]


class Member(Facts):
    """A member of a team, or somebody who has access to a repository.

    Attributes:
        role: In the team (member, maintainer), or in the repository (read, write, admin …).
        permissions: To the repository: pull, triage, push, maintain, admin.
    """

    login: str
    id: int
    type: str | None
    role: str | None
    permissions: list[str] | None = None


class Members(GitHubPage, Facts):
    """People."""

    members: list[Member]
