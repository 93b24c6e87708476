"""What the tools about the credential, people and repositories return."""

from __future__ import annotations

from typing import Any

from core.models import Facts
from services.github.models.common import GitHubPage, GitHubResult, Selectable, WriteResult


class Me(GitHubResult, Facts):
    """Whose credential it is.

    Attributes:
        scopes: Of a classic token; None for other credentials, which do not say.
        public_repos: How many repositories everybody can read.
    """

    login: str
    id: int
    type: str | None
    name: str | None
    company: str | None
    location: str | None
    email: str | None
    bio: str | None
    html_url: str
    created_at: str | None
    public_repos: int | None
    total_private_repos: int | None
    scopes: list[str] | None


class Quota(Facts):
    """One of GitHub's quotas; `reset_at` in ISO 8601, UTC."""

    limit: int
    used: int
    remaining: int
    reset_at: str


class Quotas(GitHubResult, Facts):
    """All quotas of the credential, by resource: core, search, code_search, graphql …."""

    resources: dict[str, Quota]


class RepositoryFacts(Selectable, Facts):
    """A repository as lists and searches show it.

    Attributes:
        more: GitHub's whole object, where it was asked for.
    """

    full_name: str
    html_url: str
    description: str | None
    private: bool
    visibility: str | None
    fork: bool
    archived: bool
    language: str | None
    topics: list[str]
    stargazers_count: int
    forks_count: int
    open_issues_count: int
    default_branch: str | None
    pushed_at: str | None
    updated_at: str | None
    more: dict[str, Any] | None = None


class RepositoryDetails(GitHubResult, Facts):
    """A repository with all that matters for working with it.

    Attributes:
        renamed_from: The name that was asked for, where GitHub led to another one.
        permissions: What the credential may: admin, maintain, push, triage, pull.
        features: Which parts are switched on: issues, wiki, discussions, ….
        merge_methods: How pull requests may be merged: merge, squash, rebase.
        parent: What it is a fork of.
        size_kb: Of the git data, in kB.
    """

    full_name: str
    renamed_from: str | None
    id: int
    node_id: str
    html_url: str
    description: str | None
    homepage: str | None
    private: bool
    visibility: str | None
    archived: bool
    disabled: bool
    fork: bool
    parent: str | None
    template: bool
    default_branch: str | None
    language: str | None
    license: str | None
    topics: list[str]
    stargazers_count: int
    watchers_count: int
    forks_count: int
    open_issues_count: int
    size_kb: int
    created_at: str | None
    updated_at: str | None
    pushed_at: str | None
    permissions: list[str]
    features: list[str]
    merge_methods: list[str]
    delete_branch_on_merge: bool | None


class User(Selectable, Facts):
    """One account that a search found."""

    login: str
    id: int
    type: str
    profile_url: str
    avatar_url: str | None


class Repositories(GitHubPage, Facts):
    """A list of repositories.

    Attributes:
        incomplete: Whether GitHub's search ran out of time and told only a part.
    """

    items: list[RepositoryFacts]
    incomplete: bool = False


class Users(GitHubPage, Facts):
    """Accounts that a search found."""

    items: list[User]
    incomplete: bool = False


class RepositoryMade(WriteResult, Facts):
    """A repository that was created or forked, or would be."""

    full_name: str
    html_url: str | None = None
    private: bool | None = None
    default_branch: str | None = None
