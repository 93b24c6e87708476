"""Calls of the toolset security."""

from __future__ import annotations

from tests.services.github.calls import REPO, Row

ALERT = {**REPO, "alertNumber": 42}
GHSA = "GHSA-abcd-1234-efgh"
ROWS = [
    Row(
        tool="list_code_scanning_alerts",
        arguments={**REPO, "ref": "main", "state": "fixed", "tool_name": "CodeQL", "perPage": 5},
        operations=("code-scanning/list-alerts-for-repo",),
    ),
    Row(tool="get_code_scanning_alert", arguments=ALERT, operations=("code-scanning/get-alert",)),
    Row(
        tool="get_code_quality_finding",
        arguments={**REPO, "findingNumber": 42},
        operations=("code-quality/get-finding",),
    ),
    Row(
        tool="list_dependabot_alerts",
        arguments={**REPO, "severity": "high", "state": "auto_dismissed", "after": "Y3Vyc29y"},
        operations=("dependabot/list-alerts-for-repo",),
    ),
    Row(tool="get_dependabot_alert", arguments=ALERT, operations=("dependabot/get-alert",)),
    Row(
        tool="list_secret_scanning_alerts",
        arguments={
            **REPO,
            "state": "resolved",
            "resolution": "revoked",
            "secret_type": "mailchimp_api_key,slack_api_token",
        },
        operations=("secret-scanning/list-alerts-for-repo",),
    ),
    Row(
        tool="get_secret_scanning_alert",
        arguments=ALERT,
        operations=("secret-scanning/get-alert", "secret-scanning/list-locations-for-alert"),
    ),
    Row(
        tool="list_global_security_advisories",
        arguments={
            "affects": "django,flask@1.0",
            "cveId": "CVE-2050-00000",
            "cwes": ["CWE-79", "22"],
            "ecosystem": "pip",
            "ghsaId": GHSA,
            "isWithdrawn": False,
            "modified": ">2026-01-01",
            "published": "2026-01-01",
            "severity": "high",
            "type": "unreviewed",
            "updated": "2026-01-01..2026-02-01",
            "perPage": 5,
        },
        operations=("security-advisories/list-global-advisories",),
    ),
    Row(
        tool="get_global_security_advisory",
        arguments={"ghsaId": GHSA},
        operations=("security-advisories/get-global-advisory",),
    ),
    Row(
        tool="list_repository_security_advisories",
        arguments={**REPO, "direction": "asc", "sort": "updated", "state": "triage"},
        operations=("security-advisories/list-repository-advisories",),
    ),
    Row(
        tool="list_org_repository_security_advisories",
        arguments={"org": "octo-org", "direction": "desc", "sort": "created", "state": "draft"},
        operations=("security-advisories/list-org-repository-advisories",),
    ),
]
