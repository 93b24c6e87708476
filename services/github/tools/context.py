"""Who is asking GitHub, and how much is left of the quota."""

from __future__ import annotations

from core.context import Context
from core.models import Facts, NoArguments
from core.tools import Annotations, Listing
from services.github.backend.requests import iso_time
from services.github.models.common import GitHubResult
from services.github.tools.desk import Desk


class Quota(Facts):
    """One of GitHub's quotas."""

    limit: int
    remaining: int
    used: int
    reset_at: str


class RateLimitResult(GitHubResult):
    """GitHub's quotas by name."""

    quotas: dict[str, Quota]


class ContextTools:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def rate_limit(self, arguments: NoArguments, context: Context) -> RateLimitResult:
        """Ask for the quotas, which costs none."""
        call = self._desk.call(context)
        found = await call.get("/rate_limit")
        quotas = {
            name: Quota(
                limit=quota["limit"],
                remaining=quota["remaining"],
                used=quota["used"],
                reset_at=iso_time(quota["reset"]),
            )
            for name, quota in found["resources"].items()
        }
        return RateLimitResult(quotas=quotas, **call.members())


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools."""
    tools = ContextTools(desk)
    return [
        Listing(
            name="rate_limit",
            title="Show the quotas",
            description="Show how many requests GitHub still takes, and when it takes more.",
            handler=tools.rate_limit,
            arguments=NoArguments,
            result=RateLimitResult,
            annotations=Annotations(read_only=True, idempotent=True, open_world=True),
        )
    ]
