"""What the arguments and results of all tools share.

`rate`, `warnings` and `untrusted` stand in every result and are left out of the listed schemas,
where they would be repeated for each tool; the server's instructions tell of them once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import SkipJsonSchema

from core.errors import InvalidArguments, did_you_mean
from core.models import Arguments, Facts, Page, Part, Result
from services.github.policy.names import Repo

TrustLabel = Literal["trusted", "untrusted"]


# --- arguments -----------------------------------------------------------------------------------


def unbounded(schema: dict[str, Any]) -> None:
    """Leave out of a listed schema what only mistakes would need to know."""
    for option in schema.get("anyOf", (schema,)):
        option.pop("minimum", None)
        option.pop("maximum", None)


class RepositoryArguments(Arguments):
    """Names a repository."""

    owner: str
    repo: str

    def repository(self) -> Repo:
        """Return what is named; raises `BadName`."""
        return Repo.parse(self.owner, self.repo)


class PageArguments(Arguments):
    """Names a page of a list: by number, or by the cursor that the last page came with."""

    page: int | None = Field(None, ge=1, json_schema_extra=unbounded)
    perPage: int | None = Field(None, ge=1, le=100, json_schema_extra=unbounded)  # official name
    cursor: str | None = None


class WriteArguments(Arguments):
    """What every tool that writes takes besides its own arguments."""

    dry_run: bool = Field(False, description="Show the request, send nothing.")
    confirm: str | None = Field(None, max_length=200, description="Token of the dry run.")


# --- results -------------------------------------------------------------------------------------


class RateState(Facts):
    """What is left of GitHub's quota after the last request of a call.

    Attributes:
        reset_at: When `remaining` is `limit` again; ISO 8601, UTC.
        resource: Which of GitHub's quotas it is, such as core or search.
    """

    remaining: int | None
    limit: int | None
    reset_at: str | None
    resource: str | None


class GitHubResult(Result):
    """Base of all results.

    Attributes:
        rate: Of the last request; None when nothing was asked of GitHub.
        untrusted: Whether text of people without push access is in it.
    """

    rate: SkipJsonSchema[RateState | None] = None
    warnings: SkipJsonSchema[list[str]] = Field(default_factory=list)
    untrusted: SkipJsonSchema[bool] = False


class GitHubPage(GitHubResult, Page):
    """Base of the results that are lists."""


class PlannedRequest(Facts):
    """A request exactly as it would be sent, but for what an earlier one has to answer first."""

    method: str
    url: str
    body: object = None


class Planned(Facts):
    """What a dry run found: nothing was sent.

    Attributes:
        confirm: Token that lets exactly these requests be sent, once.
        needs_confirmation: Whether the call is refused without it, and why.
    """

    what: str
    requests: list[PlannedRequest]
    confirm: str
    confirm_expires_s: float
    needs_confirmation: list[str]


class WriteResult(GitHubResult):
    """Base of what writing tools return.

    Attributes:
        dry_run: What would have been done; None when it was done.
        repeated: The thing was there already, made by the same call before; nothing was sent.
    """

    dry_run: Planned | None = None
    repeated: bool = False


class Voice(Part):
    """Base of the parts that hold text of a person.

    Attributes:
        author_association: To the repository, as GitHub says it: OWNER, MEMBER, NONE ….
        trust: Whether they have push access.
        withheld: Whether their text is left out (MCP_GITHUB_LOCKDOWN).
        hidden_removed: Characters of the text that GitHub does not show and that are left out.
    """

    author: str | None = None
    author_association: str | None = None
    trust: TrustLabel = "untrusted"
    withheld: bool = False
    hidden_removed: int = 0


# --- some members only ---------------------------------------------------------------------------


class Selectable(Part):
    """Base of the parts of lists whose members the argument `fields` chooses from."""

    _kept: frozenset[str] | None = PrivateAttr(None)

    @model_serializer(mode="wrap")
    # With a type, pydantic would list that type instead of the members.
    def _chosen(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        members = handler(self)
        if self._kept is None:
            return members
        return {name: value for name, value in members.items() if name in self._kept}

    def keep(self, names: frozenset[str]) -> None:
        """Show these members only."""
        self._kept = names


SelectableT = TypeVar("SelectableT", bound=Selectable)


def select(
    model: type[SelectableT],
    parts: Iterable[SelectableT],
    fields: Sequence[str] | None,
    *,
    always: Iterable[str] = (),
) -> list[SelectableT]:
    """Return the parts with the members that were asked for; all of them without `fields`.

    Args:
        always: Members that are shown whatever was asked for, such as the number of an issue.

    Raises:
        InvalidArguments: There is no such member; says which there are.
    """
    chosen, known = list(parts), list(model.model_fields)
    if not fields:
        return chosen
    for name in fields:
        if name not in known:
            raise InvalidArguments(
                f"fields: there is no {name[:80]!r}. {did_you_mean(name, known)}".rstrip(),
                hint=f"Choose from: {', '.join(known)}.",
            )
    kept = frozenset((*fields, *always))
    for part in chosen:
        part.keep(kept)
    return chosen
