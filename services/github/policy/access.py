"""The operator's lists: which repositories and toolsets may be used, and which written to."""

from __future__ import annotations

from fnmatch import fnmatchcase

from services.github.errors import RepositoryNotAllowed, WritesOff
from services.github.policy.names import Repo
from services.github.settings import GithubSettings


class Access:
    """What the settings allow; names are compared without regard to case, as GitHub does.

    Args:
        settings: The lists. Patterns are ``owner/name`` with ``*`` and ``?``.
    """

    def __init__(self, settings: GithubSettings) -> None:
        self._read = tuple(pattern.lower() for pattern in settings.allow_repositories)
        self._write = tuple(pattern.lower() for pattern in settings.write_repositories)
        self.toolsets = frozenset(settings.toolsets)
        self.writing = frozenset(settings.write) & self.toolsets

    @property
    def narrowed(self) -> bool:
        """Whether only some repositories may be read, so that lists over many are filtered."""
        return bool(self._read)

    def may_read(self, repo: Repo) -> bool:
        """Whether the repository may be read."""
        return not self._read or _matches(repo, self._read)

    def may_write(self, repo: Repo) -> bool:
        """Whether the repository may be written to; only what may be read may be."""
        return self.may_read(repo) and (not self._write or _matches(repo, self._write))

    def may_use_owner(self, owner: str, *, writes: bool = False) -> bool:
        """Whether some repository of the owner may be read, or written to."""
        lists = (self._read, self._write) if writes else (self._read,)
        return all(not patterns or _names_owner(owner, patterns) for patterns in lists)

    def check_owner(self, owner: str, *, writes: bool = False) -> None:
        """Raise `RepositoryNotAllowed` for an owner of whom no repository may be used.

        What belongs to an owner and to no repository (projects, teams) is decided by this.
        """
        if not self.may_use_owner(owner, writes=writes):
            raise RepositoryNotAllowed(
                f"Nothing of {owner} may be {'written to' if writes else 'read'} through this "
                "service.",
                owner=owner,
            )

    def check_read(self, repo: Repo) -> None:
        """Raise `RepositoryNotAllowed` when the repository may not be read."""
        if not self.may_read(repo):
            raise _refusal(repo, "be read", "MCP_GITHUB_ALLOW_REPOSITORIES")

    def check_write(self, repo: Repo) -> None:
        """Raise `RepositoryNotAllowed` when the repository may not be written to."""
        self.check_read(repo)
        if not self.may_write(repo):
            raise _refusal(repo, "be written to", "MCP_GITHUB_WRITE_REPOSITORIES")

    def is_on(self, toolset: str) -> bool:
        """Whether the tools of a toolset are offered."""
        return toolset in self.toolsets

    def writes(self, toolset: str) -> bool:
        """Whether the tools of a toolset that write are offered."""
        return toolset in self.writing

    def check_writes(self, toolset: str) -> None:
        """Raise `WritesOff` when a toolset may only read."""
        if not self.writes(toolset):
            raise WritesOff(f"The toolset {toolset} only reads here.", toolset=toolset)


def _matches(repo: Repo, patterns: tuple[str, ...]) -> bool:
    """Match owner and name each for themselves, so that no ``*`` reaches over the slash."""
    return any(
        fnmatchcase(repo.owner.lower(), owner) and fnmatchcase(repo.name.lower(), name)
        for owner, _, name in (pattern.partition("/") for pattern in patterns)
    )


def _names_owner(owner: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(owner.lower(), pattern.split("/", 1)[0]) for pattern in patterns)


def _refusal(repo: Repo, what: str, variable: str) -> RepositoryNotAllowed:
    return RepositoryNotAllowed(
        f"{repo} may not {what} through this service.",
        hint=f"The operator adds it to {variable}.",
        repository=repo.full_name,
    )
