"""What the tools about alerts and advisories return; no model has a member for a secret."""

from __future__ import annotations

from core.models import Facts
from services.github.models.common import GitHubPage, GitHubResult, TrustLabel, Voice


class Location(Facts):
    """A place in a file at a commit."""

    path: str | None
    start_line: int | None
    end_line: int | None
    commit_sha: str | None = None


class Alert(Facts):
    """What alerts have in common; dismissed_… are None unless somebody decided about it."""

    number: int
    state: str
    html_url: str | None
    created_at: str | None
    updated_at: str | None
    fixed_at: str | None
    dismissed_at: str | None
    dismissed_by: str | None
    dismissed_reason: str | None
    dismissed_comment: str | None


class CodeAlert(Alert):
    """An alert of code scanning.

    Attributes:
        severity: Of the rule: error, warning or note.
        security_severity: critical, high, medium or low; None where the rule is not about security.
        help: How to fix it; only of one alert.
        ref: Where it was found last, with `location` and `message`.
    """

    tool: str | None
    rule: str | None
    severity: str | None
    security_severity: str | None
    description: str | None
    tags: list[str]
    ref: str | None
    location: Location | None
    message: str | None
    help: str | None = None


class Finding(Facts):
    """A finding of code quality."""

    number: int
    state: str
    rule: str | None
    title: str | None
    severity: str | None
    category: str | None
    location: Location | None
    message: str | None
    help: str | None
    created_at: str | None


class Affected(Facts):
    """A package that an advisory is about; versions as GitHub writes ranges."""

    ecosystem: str | None
    package: str | None
    vulnerable_versions: str | None
    patched_version: str | None


class Advisory(Voice, Facts):
    """A security advisory; `description` is cut in lists.

    Attributes:
        state: Of a repository's one: triage, draft, published, closed, withdrawn.
        cvss_score: 0 to 10.
    """

    ghsa_id: str
    cve_id: str | None
    html_url: str | None
    type: str | None
    state: str | None
    severity: str | None
    cvss_score: float | None
    cwes: list[str]
    affected: list[Affected]
    references: list[str]
    published_at: str | None
    updated_at: str | None
    withdrawn_at: str | None
    summary: str | None
    description: str | None


class DependencyAlert(Alert):
    """An alert of Dependabot; `advisory` says what is wrong with the package."""

    ecosystem: str | None
    package: str | None
    manifest_path: str | None
    scope: str | None
    vulnerable_versions: str | None
    patched_version: str | None
    severity: str | None
    advisory: Advisory


class SecretPlace(Location):
    """Where a secret was found; `url` of what is no file, such as an issue."""

    type: str
    url: str | None


class SecretAlert(Facts):
    """An alert of secret scanning; the secret itself is not asked for.

    Attributes:
        validity: Whether the secret still works: active, inactive or unknown.
        locations: Only of one alert: the first hundred.
    """

    number: int
    state: str
    html_url: str | None
    secret_type: str | None
    secret_type_display_name: str | None
    validity: str | None
    publicly_leaked: bool | None
    multi_repo: bool | None
    push_protection_bypassed: bool | None
    push_protection_bypassed_by: str | None
    resolution: str | None
    resolved_by: str | None
    resolved_at: str | None
    resolution_comment: str | None
    created_at: str | None
    updated_at: str | None
    locations: list[SecretPlace] | None = None


class AlertsPage(GitHubPage, Facts):
    """Base of lists of alerts; `trust` is of what the scanned files brought into them."""

    trust: TrustLabel
    hidden_removed: int


class CodeAlerts(AlertsPage):
    """Alerts of code scanning, newest first."""

    alerts: list[CodeAlert]


class DependencyAlerts(AlertsPage):
    """Alerts of Dependabot, newest first."""

    alerts: list[DependencyAlert]


class SecretAlerts(AlertsPage):
    """Alerts of secret scanning, newest first."""

    alerts: list[SecretAlert]


class AlertResult(GitHubResult, Facts):
    """Base of results that are one alert; `trust` as in lists."""

    trust: TrustLabel
    hidden_removed: int


class CodeAlertDetails(AlertResult):
    """One alert of code scanning."""

    alert: CodeAlert


class DependencyAlertDetails(AlertResult):
    """One alert of Dependabot."""

    alert: DependencyAlert


class SecretAlertDetails(AlertResult):
    """One alert of secret scanning."""

    alert: SecretAlert


class FindingDetails(AlertResult):
    """One finding of code quality."""

    finding: Finding


class Advisories(GitHubPage, Facts):
    """Security advisories."""

    advisories: list[Advisory]


class AdvisoryDetails(GitHubResult, Facts):
    """One security advisory with its whole text."""

    advisory: Advisory
