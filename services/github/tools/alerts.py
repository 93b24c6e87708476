"""Alerts of code scanning, Dependabot and secret scanning, and findings of code quality.

Who cannot push does not see them, also not those of a public repository, so reading them counts as
private reading. Secrets are not asked for (`hide_secret`), and no result has a place for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.tools import Annotations, Listing
from services.github.backend.requests import after_of
from services.github.models.common import PageArguments, RepositoryArguments, unbounded
from services.github.models.security import (
    CodeAlert,
    CodeAlertDetails,
    CodeAlerts,
    DependencyAlert,
    DependencyAlertDetails,
    DependencyAlerts,
    Finding,
    FindingDetails,
    Location,
    SecretAlert,
    SecretAlertDetails,
    SecretAlerts,
    SecretPlace,
)
from services.github.policy.names import Repo, parse_ref
from services.github.policy.trust import Author
from services.github.tools.advisories import advisory
from services.github.tools.conversations import as_documented, login
from services.github.tools.desk import Call, Desk, Heard

TOOLSET = "security"
READS_ALERTS = Annotations(open_world=True)

CODE = "/repos/{owner}/{repo}/code-scanning/alerts"
DEPENDENCIES = "/repos/{owner}/{repo}/dependabot/alerts"
SECRETS = "/repos/{owner}/{repo}/secret-scanning/alerts"
ONE = "/{alert_number}"
FINDING = "/repos/{owner}/{repo}/code-quality/findings/{finding_number}"
HIDDEN = {"hide_secret": True}
MAX_LOCATIONS = 100
MAX_LINE_CHARS = 1_000
Json = Mapping[str, Any]

CodeSeverity = Literal["critical", "high", "medium", "low", "warning", "note", "error"]
Severity = Literal["low", "medium", "high", "critical"]
DependencyState = Literal["open", "fixed", "dismissed", "auto_dismissed"]
Resolution = Literal[
    "false_positive", "wont_fix", "revoked", "pattern_edited", "pattern_deleted", "used_in_tests"
]


class ListCodeAlerts(RepositoryArguments, PageArguments):
    """Arguments of list_code_scanning_alerts."""

    ref: str | None = None
    severity: CodeSeverity | None = None
    state: Literal["open", "closed", "dismissed", "fixed"] = "open"
    tool_name: str | None = None


class ListDependencyAlerts(RepositoryArguments, PageArguments):
    """Arguments of list_dependabot_alerts."""

    after: str | None = None
    severity: Severity | None = None
    state: DependencyState = "open"


class ListSecretAlerts(RepositoryArguments, PageArguments):
    """Arguments of list_secret_scanning_alerts."""

    resolution: Resolution | None = None
    secret_type: str | None = Field(None, description="Comma-separated.")
    state: Literal["open", "resolved"] | None = None


class GetAlert(RepositoryArguments):
    """Arguments of the tools that show one alert."""

    alertNumber: int = Field(ge=1, le=2**31 - 1, json_schema_extra=unbounded)


class GetFinding(RepositoryArguments):
    """Arguments of get_code_quality_finding."""

    findingNumber: int = Field(ge=1, le=2**31 - 1, json_schema_extra=unbounded)


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = AlertTools(desk)
    return [
        Listing(
            name="list_code_scanning_alerts",
            title="List alerts of code scanning",
            description="Alerts of code scanning.",
            handler=tools.list_code_scanning_alerts,
            arguments=ListCodeAlerts,
            result=CodeAlerts,
            annotations=READS_ALERTS,
        ),
        Listing(
            name="get_code_scanning_alert",
            title="Look at an alert of code scanning",
            description="One alert of code scanning, with help.",
            handler=tools.get_code_scanning_alert,
            arguments=GetAlert,
            result=CodeAlertDetails,
            annotations=READS_ALERTS,
        ),
        Listing(
            name="get_code_quality_finding",
            title="Look at a finding of code quality",
            description="One finding of code quality.",
            handler=tools.get_code_quality_finding,
            arguments=GetFinding,
            result=FindingDetails,
            annotations=READS_ALERTS,
        ),
        Listing(
            name="list_dependabot_alerts",
            title="List alerts of Dependabot",
            description="Vulnerable dependencies that Dependabot found.",
            handler=tools.list_dependabot_alerts,
            arguments=ListDependencyAlerts,
            result=DependencyAlerts,
            annotations=READS_ALERTS,
        ),
        Listing(
            name="get_dependabot_alert",
            title="Look at an alert of Dependabot",
            description="One alert of Dependabot with its advisory.",
            handler=tools.get_dependabot_alert,
            arguments=GetAlert,
            result=DependencyAlertDetails,
            annotations=READS_ALERTS,
        ),
        Listing(
            name="list_secret_scanning_alerts",
            title="List alerts of secret scanning",
            description="Secrets found in a repository; never the secrets themselves.",
            handler=tools.list_secret_scanning_alerts,
            arguments=ListSecretAlerts,
            result=SecretAlerts,
            annotations=READS_ALERTS,
        ),
        Listing(
            name="get_secret_scanning_alert",
            title="Look at an alert of secret scanning",
            description="One alert of secret scanning and where the secret is; never the secret.",
            handler=tools.get_secret_scanning_alert,
            arguments=GetAlert,
            result=SecretAlertDetails,
            annotations=READS_ALERTS,
        ),
    ]


class AlertTools:
    """The tools about alerts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- code -------------------------------------------------------------------------------------

    async def list_code_scanning_alerts(
        self, arguments: ListCodeAlerts, context: Context
    ) -> CodeAlerts:
        """List alerts of code scanning."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        query = {
            "ref": parse_ref(arguments.ref) if arguments.ref else None,
            "state": arguments.state,
            "tool_name": arguments.tool_name,
        }
        reply = await call.page(
            CODE, repo=repo, query=query, page=window.page, per_page=window.per_page
        )
        items = [item for item in reply.data if _is_severe(item, arguments.severity)]
        if arguments.severity is not None:
            call.warnings.append("severity was looked for on this page of GitHub's list only.")
        heard = await _heard(call, repo)
        parts = [_code_alert(item, heard) for item in window.rest(items)]
        shown, members = window.cut(parts, reply.next_page)
        return CodeAlerts(alerts=shown, **_trust(heard), **members, **call.members())

    async def get_code_scanning_alert(
        self, arguments: GetAlert, context: Context
    ) -> CodeAlertDetails:
        """Return one alert of code scanning."""
        call, repo = self._desk.call(context), arguments.repository()
        item = await call.get(CODE + ONE, repo=repo, alert_number=arguments.alertNumber)
        heard = await _heard(call, repo)
        alert = _code_alert(item, heard)
        about = (item.get("rule") or {}).get("help")
        alert.help = (await heard.ahead(about)).text(about, limit=_room(call))
        return CodeAlertDetails(alert=alert, **_trust(heard), **call.members())

    async def get_code_quality_finding(
        self, arguments: GetFinding, context: Context
    ) -> FindingDetails:
        """Return one finding of code quality."""
        call, repo = self._desk.call(context), arguments.repository()
        item = await call.get(FINDING, repo=repo, finding_number=arguments.findingNumber)
        heard = await _heard(call, repo)
        await heard.ahead((item.get("rule") or {}).get("help"))
        finding = _finding(item, heard, _room(call))
        return FindingDetails(finding=finding, **_trust(heard), **call.members())

    # -- dependencies -----------------------------------------------------------------------------

    async def list_dependabot_alerts(
        self, arguments: ListDependencyAlerts, context: Context
    ) -> DependencyAlerts:
        """List alerts of Dependabot."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        reply = await call.page(
            DEPENDENCIES,
            repo=repo,
            query={
                "state": arguments.state,
                "severity": arguments.severity,
                "after": window.after,
            },
            per_page=window.per_page,
        )
        heard = await _heard(call, repo)
        call.untrusted = True  # advisories, which GitHub has reviewed but not written
        limit = call.desk.settings.body_chars
        parts = [await _dependency_alert(item, heard, limit) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, after_of(reply.headers))
        return DependencyAlerts(alerts=shown, **_trust(heard), **members, **call.members())

    async def get_dependabot_alert(
        self, arguments: GetAlert, context: Context
    ) -> DependencyAlertDetails:
        """Return one alert of Dependabot."""
        call, repo = self._desk.call(context), arguments.repository()
        item = await call.get(DEPENDENCIES + ONE, repo=repo, alert_number=arguments.alertNumber)
        heard = await _heard(call, repo)
        call.untrusted = True
        alert = await _dependency_alert(item, heard, None)
        return DependencyAlertDetails(alert=alert, **_trust(heard), **call.members())

    # -- secrets ----------------------------------------------------------------------------------

    async def list_secret_scanning_alerts(
        self, arguments: ListSecretAlerts, context: Context
    ) -> SecretAlerts:
        """List alerts of secret scanning."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        query = {
            **HIDDEN,
            "state": arguments.state,
            "secret_type": arguments.secret_type,
            "resolution": arguments.resolution,
        }
        reply = await call.page(
            SECRETS, repo=repo, query=query, page=window.page, per_page=window.per_page
        )
        heard = await _heard(call, repo)
        parts = [_secret_alert(item, heard) for item in window.rest(reply.data)]
        shown, members = window.cut(parts, reply.next_page)
        return SecretAlerts(alerts=shown, **_trust(heard), **members, **call.members())

    async def get_secret_scanning_alert(
        self, arguments: GetAlert, context: Context
    ) -> SecretAlertDetails:
        """Return one alert of secret scanning, and where the secret was found."""
        call, repo, number = self._desk.call(context), arguments.repository(), arguments.alertNumber
        item = await call.get(SECRETS + ONE, repo=repo, alert_number=number, query=HIDDEN)
        places = await call.page(
            f"{SECRETS}{ONE}/locations", repo=repo, alert_number=number, per_page=MAX_LOCATIONS
        )
        if places.next_page is not None:
            call.warnings.append(f"It was found in more places than these {len(places.data)}.")
        heard = await _heard(call, repo)
        alert = _secret_alert(item, heard)
        alert.locations = [_place(place, heard) for place in places.data]
        return SecretAlertDetails(alert=alert, **_trust(heard), **call.members())


# --- asking --------------------------------------------------------------------------------------


async def _heard(call: Call, repo: Repo) -> Heard:
    """Return who is heard in alerts: whoever wrote the files that they are about."""
    call.read_private(f"security alerts of {repo}")
    return Heard(Author(None, None), await call.origin(repo), withheld=False)


def _room(call: Call) -> int:
    """Return how many characters of help are shown."""
    return call.desk.settings.answer_bytes // 2


def _is_severe(item: Json, severity: str | None) -> bool:
    rule = item.get("rule") or {}
    return severity in (None, rule.get("severity"), rule.get("security_severity_level"))


def _trust(heard: Heard) -> dict[str, Any]:
    return {"trust": heard.trust, "hidden_removed": heard.hidden_removed}


# --- telling -------------------------------------------------------------------------------------


def _common(item: Json, heard: Heard) -> dict[str, Any]:
    """Return what all alerts have that can be dismissed."""
    names = ("number", "state", "html_url", "created_at", "updated_at", "fixed_at")
    return {
        **{name: item.get(name) for name in names},
        "dismissed_at": item.get("dismissed_at"),
        "dismissed_by": login(item.get("dismissed_by")),
        "dismissed_reason": item.get("dismissed_reason"),
        "dismissed_comment": heard.line(item.get("dismissed_comment")),
    }


@as_documented
def _code_alert(item: Json, heard: Heard) -> CodeAlert:
    rule, found = item["rule"], item.get("most_recent_instance") or {}
    return CodeAlert(
        **_common(item, heard),
        tool=(item.get("tool") or {}).get("name"),
        rule=rule.get("id"),
        severity=rule.get("severity"),
        security_severity=rule.get("security_severity_level"),
        description=heard.line(rule.get("full_description") or rule.get("description")),
        tags=rule.get("tags") or [],
        ref=found.get("ref"),
        location=_location(found.get("location"), heard, found.get("commit_sha")),
        message=_message(found, heard),
    )


@as_documented
def _finding(item: Json, heard: Heard, limit: int) -> Finding:
    rule = item["rule"]
    return Finding(
        number=item["number"],
        state=item["state"],
        rule=rule.get("id"),
        title=heard.line(rule.get("title")),
        severity=rule.get("severity"),
        category=rule.get("category"),
        location=_location(item.get("location"), heard),
        message=_message(item, heard),
        help=heard.text(rule.get("help"), limit=limit),
        created_at=item.get("created_at"),
    )


def _message(item: Json, heard: Heard) -> str | None:
    return heard.plain((item.get("message") or {}).get("text"), limit=MAX_LINE_CHARS)


def _location(place: Json | None, heard: Heard, sha: str | None = None) -> Location | None:
    if place is None:
        return None
    return Location(
        path=heard.line(place.get("path")),
        start_line=place.get("start_line"),
        end_line=place.get("end_line"),
        commit_sha=sha,
    )


async def _dependency_alert(item: Json, heard: Heard, limit: int | None) -> DependencyAlert:
    stranger = Heard(Author(None, None), "untrusted", withheld=False)
    await stranger.ahead((item.get("security_advisory") or {}).get("description"))
    return _told_alert(item, heard, stranger, limit)


@as_documented
def _told_alert(item: Json, heard: Heard, stranger: Heard, limit: int | None) -> DependencyAlert:
    dependency, hole = item["dependency"], item["security_vulnerability"]
    package = dependency.get("package") or {}
    return DependencyAlert(
        **_common(item, heard),
        ecosystem=package.get("ecosystem"),
        package=package.get("name"),
        manifest_path=heard.line(dependency.get("manifest_path")),
        scope=dependency.get("scope"),
        vulnerable_versions=hole.get("vulnerable_version_range"),
        patched_version=(hole.get("first_patched_version") or {}).get("identifier"),
        severity=hole.get("severity"),
        advisory=advisory(item["security_advisory"], stranger, limit, "get_dependabot_alert"),
    )


SECRET_FACTS = (
    "number",
    "state",
    "html_url",
    "secret_type",
    "secret_type_display_name",
    "validity",
    "publicly_leaked",
    "multi_repo",
    "push_protection_bypassed",
    "resolution",
    "resolved_at",
    "created_at",
    "updated_at",
)
"""What is taken of an alert of secret scanning; whatever else GitHub sends is left out."""


@as_documented
def _secret_alert(item: Json, heard: Heard) -> SecretAlert:
    return SecretAlert(
        **{name: item.get(name) for name in SECRET_FACTS},
        push_protection_bypassed_by=login(item.get("push_protection_bypassed_by")),
        resolved_by=login(item.get("resolved_by")),
        resolution_comment=heard.line(item.get("resolution_comment")),
    )


@as_documented
def _place(item: Json, heard: Heard) -> SecretPlace:
    details = item.get("details") or {}
    url = next((v for name, v in details.items() if name == f"{item['type']}_url"), None)
    return SecretPlace(
        type=item["type"],
        url=url or details.get("page_url"),
        path=heard.line(details.get("path")),
        start_line=details.get("start_line"),
        end_line=details.get("end_line"),
        commit_sha=details.get("commit_sha"),
    )
