"""Security advisories: GitHub's own list, and those of repositories.

An advisory that is not published yet may be a report by anybody, and is read by few: its text is
its author's, withheld like other text of strangers, and reading it counts as private reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from core.context import Context
from core.models import Arguments
from core.tools import Annotations, Listing
from services.github.backend.requests import Reply, Request, after_of
from services.github.models.common import PageArguments, RepositoryArguments
from services.github.models.security import Advisories, Advisory, AdvisoryDetails, Affected
from services.github.policy.names import Repo, parse_owner
from services.github.policy.trust import Author
from services.github.tools.context import note_left_out
from services.github.tools.conversations import as_documented
from services.github.tools.desk import Call, Desk, Heard, Window

TOOLSET = "security"
READS_ADVISORIES = Annotations(open_world=True)

GLOBAL = "/advisories"
ONE = "/advisories/{ghsa_id}"
OF_REPOSITORY = "/repos/{owner}/{repo}/security-advisories"
OF_ORGANISATION = "/orgs/{org}/security-advisories"
MAX_REFERENCES = 20
PUBLIC = frozenset({"published", "withdrawn"})
Json = Mapping[str, Any]

Ecosystem = Literal[
    "actions",
    "composer",
    "erlang",
    "go",
    "maven",
    "npm",
    "nuget",
    "other",
    "pip",
    "pub",
    "rubygems",
    "rust",
    "swift",
]
State = Literal["triage", "draft", "published", "closed"]
GhsaId = Annotated[str, Field(pattern=r"^GHSA(-[0-9A-Za-z]{4}){3}$")]


def _known_by(text: str) -> str:
    return text.removeprefix("CWE-")


class ListGlobal(PageArguments):
    """Arguments of list_global_security_advisories."""

    after: str | None = None
    affects: str | None = Field(None, description="Packages: `a,b@1.0.0`.")
    cveId: str | None = None
    cwes: list[Annotated[str, AfterValidator(_known_by)]] | None = Field(None, max_length=50)
    ecosystem: Ecosystem | None = None
    ghsaId: GhsaId | None = None
    isWithdrawn: bool | None = None
    modified: str | None = Field(None, description="Published or updated: ISO date or range.")
    published: str | None = None
    severity: Literal["unknown", "low", "medium", "high", "critical"] | None = None
    type: Literal["reviewed", "malware", "unreviewed"] = "reviewed"
    updated: str | None = None


class GetGlobal(Arguments):
    """Arguments of get_global_security_advisory."""

    ghsaId: GhsaId


class Ordered(PageArguments):
    """Which advisories of a repository or organisation, and in which order."""

    after: str | None = None
    direction: Literal["asc", "desc"] | None = None
    sort: Literal["created", "updated", "published"] | None = None
    state: State | None = None


class ListOfRepository(RepositoryArguments, Ordered):
    """Arguments of list_repository_security_advisories."""


class ListOfOrganisation(Ordered):
    """Arguments of list_org_repository_security_advisories."""

    org: str


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = AdvisoryTools(desk)
    return [
        Listing(
            name="list_global_security_advisories",
            title="Search security advisories",
            description="Advisories of GitHub's database.",
            handler=tools.list_global_security_advisories,
            arguments=ListGlobal,
            result=Advisories,
            annotations=READS_ADVISORIES,
        ),
        Listing(
            name="get_global_security_advisory",
            title="Read a security advisory",
            description="One advisory of GitHub's database.",
            handler=tools.get_global_security_advisory,
            arguments=GetGlobal,
            result=AdvisoryDetails,
            annotations=READS_ADVISORIES,
        ),
        Listing(
            name="list_repository_security_advisories",
            title="List advisories of a repository",
            description="Advisories of a repository, also unpublished ones where you may.",
            handler=tools.list_repository_security_advisories,
            arguments=ListOfRepository,
            result=Advisories,
            annotations=READS_ADVISORIES,
        ),
        Listing(
            name="list_org_repository_security_advisories",
            title="List advisories of an organisation",
            description="Advisories of an organisation's repositories.",
            handler=tools.list_org_repository_security_advisories,
            arguments=ListOfOrganisation,
            result=Advisories,
            annotations=READS_ADVISORIES,
        ),
    ]


class AdvisoryTools:
    """The tools about advisories."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_global_security_advisories(
        self, arguments: ListGlobal, context: Context
    ) -> Advisories:
        """List advisories of GitHub's database."""
        call = self._desk.call(context)
        window = call.window(arguments)
        reply = await call.page(GLOBAL, query=_wanted(arguments, window), per_page=window.per_page)
        limit = call.desk.settings.body_chars
        parts = [await _of_database(call, item, limit) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, after_of(reply.headers))
        return Advisories(advisories=shown, **members, **call.members())

    async def get_global_security_advisory(
        self, arguments: GetGlobal, context: Context
    ) -> AdvisoryDetails:
        """Return one advisory of GitHub's database."""
        call = self._desk.call(context)
        item = await call.get(ONE, ghsa_id=arguments.ghsaId)
        told = await _of_database(call, item, None)
        return AdvisoryDetails(advisory=told, **call.members())

    async def list_repository_security_advisories(
        self, arguments: ListOfRepository, context: Context
    ) -> Advisories:
        """List the advisories of a repository."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        request = Request(
            route=OF_REPOSITORY,
            values={"owner": repo.owner, "repo": repo.name},
            query=_ordered(arguments, window),
        )
        reply = await call.reply(request)
        items = window.rest(reply.data)
        return await _told(call, window, reply, [(repo, item) for item in items])

    async def list_org_repository_security_advisories(
        self, arguments: ListOfOrganisation, context: Context
    ) -> Advisories:
        """List the advisories of an organisation's repositories that may be read."""
        call, org = self._desk.call(context), parse_owner(arguments.org)
        call.desk.access.check_owner(org)
        window = call.window(arguments)
        reply = await call.reply(
            Request(route=OF_ORGANISATION, values={"org": org}, query=_ordered(arguments, window))
        )
        items = [(_repo_of(item), item) for item in reply.data]
        allowed = [(repo, item) for repo, item in items if repo and call.may_read(repo.full_name)]
        note_left_out(call, len(items) - len(allowed))
        return await _told(call, window, reply, window.rest(allowed))


# --- asking --------------------------------------------------------------------------------------


def _wanted(arguments: ListGlobal, window: Window) -> dict[str, Any]:
    return {
        "after": window.after,
        "affects": arguments.affects,
        "cve_id": arguments.cveId,
        "cwes": arguments.cwes,
        "ecosystem": arguments.ecosystem,
        "ghsa_id": arguments.ghsaId,
        "is_withdrawn": arguments.isWithdrawn,
        "modified": arguments.modified,
        "published": arguments.published,
        "severity": arguments.severity,
        "type": arguments.type,
        "updated": arguments.updated,
    }


def _ordered(arguments: Ordered, window: Window) -> dict[str, Any]:
    return {
        "after": window.after,
        "per_page": window.per_page,
        "direction": arguments.direction,
        "sort": arguments.sort,
        "state": arguments.state,
    }


def _repo_of(item: Json) -> Repo | None:
    """Return the repository of an advisory, which its addresses name."""
    parts = str(item.get("url") or "").partition("/repos/")[2].split("/")
    return Repo.parse(parts[0], parts[1]) if len(parts) > 2 else None


# --- telling -------------------------------------------------------------------------------------


async def _told(
    call: Call, window: Window, reply: Reply, items: Sequence[tuple[Repo, Json]]
) -> Advisories:
    limit = call.desk.settings.body_chars
    parts = [
        advisory(item, await _heard(call, repo, item), limit, "its html_url")
        for repo, item in items
    ]
    shown, members = window.cut(parts, after_of(reply.headers))
    return Advisories(advisories=shown, **members, **call.members())


async def _heard(call: Call, repo: Repo, item: Json) -> Heard:
    """Return who is heard: in a published one the maintainers, else who wrote it."""
    if item.get("state") in PUBLIC:
        author = (item.get("publisher") or item.get("author") or {}).get("login")
        heard = Heard(Author(author, None), await call.origin(repo), withheld=False)
        return await heard.ahead(item.get("description"))
    call.read_private(f"unpublished advisories of {repo}")
    (heard,) = await call.heard(repo, [{"author": item.get("author")}])
    return await heard.ahead(item.get("description"))


async def _of_database(call: Call, item: Json, limit: int | None) -> Advisory:
    """Return an advisory of GitHub's database; what GitHub has not reviewed is as anybody wrote."""
    call.untrusted = True
    if item.get("type") != "reviewed":
        call.heard_in_public("unreviewed security advisories")
    heard = Heard(Author(None, None), "untrusted", withheld=False)
    await heard.ahead(item.get("description"))
    return advisory(item, heard, limit, "get_global_security_advisory")


@as_documented
def advisory(item: Json, heard: Heard, limit: int | None, more: str) -> Advisory:
    """Return an advisory of any of GitHub's lists.

    Args:
        limit: Characters of the description; None for all.
        more: What shows all of it.
    """
    summary = heard.line(item.get("summary"))
    description = heard.text(item.get("description"), limit=limit, more=more)
    names = ("html_url", "type", "state", "severity", "published_at", "updated_at", "withdrawn_at")
    return Advisory(
        **heard.members(),
        **{name: item.get(name) for name in names},
        ghsa_id=item["ghsa_id"],
        cve_id=item.get("cve_id"),
        cvss_score=(item.get("cvss") or {}).get("score"),
        cwes=[one["cwe_id"] for one in item.get("cwes") or ()],
        affected=[_affected(one) for one in item.get("vulnerabilities") or ()],
        references=_references(item),
        summary=summary,
        description=description,
    )


def _affected(item: Json) -> Affected:
    """Return a package; each of GitHub's lists names the patched version in its own way."""
    package, patched = item.get("package") or {}, item.get("first_patched_version")
    if isinstance(patched, Mapping):
        patched = patched.get("identifier")
    return Affected(
        ecosystem=package.get("ecosystem"),
        package=package.get("name"),
        vulnerable_versions=item.get("vulnerable_version_range"),
        patched_version=patched or item.get("patched_versions"),
    )


def _references(item: Json) -> list[str]:
    found = item.get("references") or ()
    urls = [one if isinstance(one, str) else one.get("url") for one in found]
    return [url for url in urls if url][:MAX_REFERENCES]
