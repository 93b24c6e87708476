"""Whose text it is: labels by push access, and what lockdown leaves out.

GitHub says of most texts how their author stands to the repository (`author_association`). OWNER is
trusted; MEMBER and COLLABORATOR may have no push access, so where the credential can, GitHub is
asked once for each of them (a few per call, remembered); everybody else is a stranger, but for the
credential's own user.

Source: https://docs.github.com/en/graphql/reference/enums#commentauthorassociation,
https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from core.errors import NotAllowed, ToolError
from services.github.errors import NotFoundOrNoAccess
from services.github.memory import Memory
from services.github.policy.names import Repo

TrustLabel = Literal["trusted", "untrusted"]
Lockdown = Literal["public", "always", "off"]

PERMISSION = "/repos/{owner}/{repo}/collaborators/{username}/permission"
PUSHING = frozenset({"admin", "maintain", "write"})
RIGHTS = ("read", "triage", "write", "maintain", "admin")
"""GraphQL's `RepositoryPermission`, each of which includes those before it."""
CLOSE = frozenset({"MEMBER", "COLLABORATOR"})
"""Who may have push access, or may not."""
MAX_LOOKUPS = 8
"""Permissions that one call asks GitHub for."""
UNKNOWN = "unknown"
MAX_REMEMBERED = 10_000
REMEMBERED_S = 1_200.0


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote something.

    Attributes:
        login: None for a deleted account.
        association: To the repository; None where GitHub does not say it, as of commits.
    """

    login: str | None
    association: str | None


def author_of(item: Mapping[str, Any]) -> Author:
    """Return the author of a JSON object of REST (`user`) or GraphQL (`author`)."""
    person = item.get("user") or item.get("author") or item.get("creator")
    login = person.get("login") if isinstance(person, Mapping) else None
    return Author(login, item.get("author_association") or item.get("authorAssociation"))


@dataclass(frozen=True, slots=True)
class Repository:
    """What is known of a repository.

    Attributes:
        private: Whether not everybody can read it (internal ones included).
        permissions: Of the credential: admin, maintain, push, triage, pull.
    """

    full_name: str
    private: bool
    visibility: str
    archived: bool
    default_branch: str
    permissions: frozenset[str]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Repository:
        """Read a repository's JSON."""
        private = bool(data.get("private", True))
        given = data.get("permissions") or {}
        return cls(
            full_name=str(data.get("full_name") or ""),
            private=private,
            visibility=str(data.get("visibility") or ("private" if private else "public")),
            archived=bool(data.get("archived")),
            default_branch=str(data.get("default_branch") or ""),
            permissions=frozenset(name for name, given in given.items() if given),
        )

    @classmethod
    def of_graphql(cls, data: Mapping[str, Any]) -> Repository:
        """Read the fields of GraphQL's `Repository`."""
        given = str(data.get("viewerPermission") or "").lower()
        rank = RIGHTS.index(given) + 1 if given in RIGHTS else 0
        return cls(
            full_name=str(data.get("nameWithOwner") or ""),
            private=bool(data.get("isPrivate", True)),
            visibility=str(data.get("visibility") or "private").lower(),
            archived=bool(data.get("isArchived")),
            default_branch=str((data.get("defaultBranchRef") or {}).get("name") or ""),
            permissions=frozenset(("pull", "triage", "push", "maintain", "admin")[:rank]),
        )

    @property
    def can_push(self) -> bool:
        """Whether the credential may write its contents."""
        return "push" in self.permissions


def is_withheld(trust: TrustLabel, facts: Repository | None, lockdown: Lockdown) -> bool:
    """Return whether a text is left out; a repository nothing is known of counts as public."""
    if lockdown == "off" or trust == "trusted":
        return False
    return lockdown == "always" or facts is None or not facts.private


def origin(facts: Repository | None, ref: str | None) -> TrustLabel:
    """Return whose files a repository holds at a ref.

    They are ours where the repository is private or the credential may push to it; what a pull
    request brings (`refs/pull/…`) is its author's.
    """
    if facts is None or "pull/" in (ref or ""):
        return "untrusted"
    return "trusted" if facts.private or facts.can_push else "untrusted"


class Asker(Protocol):
    """Asks GitHub on behalf of a call."""

    def has_credential(self, owner: str) -> bool:
        """Whether requests about an owner's repositories carry a credential."""

    async def ask(self, route: str, /, **values: Any) -> Any:
        """Return the answer to a GET; raises typed errors."""

    async def viewer(self, owner: str) -> str | None:
        """Return the login of the credential's user; None when it has none."""


class Trust:
    """Labels authors, asking GitHub as little as that takes.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pushes: Memory[tuple[str, str], str] = Memory(MAX_REMEMBERED, REMEMBERED_S, clock)
        self._closed: Memory[str, bool] = Memory(MAX_REMEMBERED, REMEMBERED_S, clock)

    async def labels(
        self, asker: Asker, repo: Repo, authors: Sequence[Author], facts: Repository | None
    ) -> list[TrustLabel]:
        """Return a label for each author."""
        can_ask = asker.has_credential(repo.owner) and (facts is None or facts.can_push)
        if can_ask:
            await self._look_up(asker, repo, authors)
        labels = [self._label(repo, author) for author in authors]
        if "untrusted" in labels and asker.has_credential(repo.owner):
            viewer = (await asker.viewer(repo.owner) or "").lower()
            return [
                "trusted" if viewer and (author.login or "").lower() == viewer else label
                for author, label in zip(authors, labels, strict=True)
            ]
        return labels

    def _label(self, repo: Repo, author: Author) -> TrustLabel:
        login = (author.login or "").lower()
        if not login:
            return "untrusted"
        if author.association == "OWNER" or login == repo.owner.lower():
            return "trusted"
        found = self._pushes.get((repo.key, login))
        pushes = author.association in CLOSE if found in (None, UNKNOWN) else found == "yes"
        return "trusted" if pushes else "untrusted"

    async def _look_up(self, asker: Asker, repo: Repo, authors: Iterable[Author]) -> None:
        """Ask for the permissions of those whose association leaves them open."""
        if self._closed.get(repo.key):
            return
        logins = dict.fromkeys(
            author.login
            for author in authors
            if author.login
            and author.login.lower() != repo.owner.lower()
            and (author.association is None or author.association in CLOSE)
            and self._pushes.get((repo.key, author.login.lower())) is None
        )
        wanted = list(logins)[:MAX_LOOKUPS]
        await asyncio.gather(*(self._look_up_one(asker, repo, login) for login in wanted))

    async def _look_up_one(self, asker: Asker, repo: Repo, login: str) -> None:
        """Ask for one permission; where there is no answer, the association has to do."""
        try:
            answer = await asker.ask(PERMISSION, repo=repo, username=login)
        except NotFoundOrNoAccess:  # an App, or an account that is gone
            self._pushes.put((repo.key, login.lower()), UNKNOWN)
        except NotAllowed:
            self._closed.put(repo.key, True)
        except ToolError:
            return
        else:
            pushes = answer.get("permission") in PUSHING
            self._pushes.put((repo.key, login.lower()), "yes" if pushes else "no")
