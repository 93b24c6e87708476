"""What can go wrong between a caller and GitHub.

```
ToolError
├── InvalidArguments
│   ├── BadName               not a name that GitHub or git knows; facts: what, value
│   └── ValidationFailed      GitHub said no to the values (422); facts: fields
├── NotAllowed
│   ├── WritesOff · RepositoryNotAllowed               the operator's settings
│   ├── FlowGuard · LockedDown         this service's care (core's ConfirmationRequired too)
│   ├── BadCredentials · AuthRequired · MissingScope · SsoRequired · Forbidden  GitHub's rights
│   └── RepositoryArchived · RepositoryBlocked · FeatureDisabled   the repository's state
├── NotFound
│   └── NotFoundOrNoAccess    GitHub does not tell the two apart
├── Conflict
│   ├── GithubConflict        it changed meanwhile, or exists already; facts: sha …
│   └── RepositoryMoved       renamed; writes do not follow
├── RateLimited
│   ├── PrimaryRateLimited    RATE_LIMITED; facts: reset_at, resource, retry_after_s
│   └── SecondaryRateLimited  too fast, whatever is left; facts: retry_after_s
├── LimitExceeded
│   └── ResponseTooLarge      an answer passes max_response_bytes
├── Busy
│   └── NotReady              GitHub is still working it out (202)
├── TimeLimitExceeded
│   └── GithubTimeout         no answer in time
├── DependencyUnavailable
│   ├── GithubDown            5xx · GithubUnreachable  no connection, or it broke
│   └── BadResponse           no JSON, or a redirect to nowhere
├── OutcomeUnknown            a write was sent and nobody knows what became of it
└── GithubError               any other refusal; facts: status
```

No message holds a token, a key, or an address.
"""

from __future__ import annotations

from core.errors import (
    Busy,
    Conflict,
    DependencyUnavailable,
    InvalidArguments,
    LimitExceeded,
    NotAllowed,
    NotFound,
    RateLimited,
    TimeLimitExceeded,
    ToolError,
)


class BadName(InvalidArguments):
    """Not the name of an owner, repository, ref, path or whatever it has to be."""

    code = "BAD_NAME"
    default_hint = "Give the name as GitHub shows it, without a URL around it."


class ValidationFailed(InvalidArguments):
    """GitHub understood the request and refuses its values (422)."""

    code = "VALIDATION_FAILED"
    default_hint = "Correct the fields that GitHub names."


class WritesOff(NotAllowed):
    """The toolset may only read here."""

    code = "WRITES_OFF"
    default_hint = "The operator switches writing on with MCP_GITHUB_WRITE."


class RepositoryNotAllowed(NotAllowed):
    """The operator's lists do not name the repository."""

    code = "REPOSITORY_NOT_ALLOWED"
    default_hint = (
        "The operator names repositories with MCP_GITHUB_ALLOW_REPOSITORIES and "
        "MCP_GITHUB_WRITE_REPOSITORIES."
    )


class FlowGuard(NotAllowed):
    """A write to a public place after strangers' text and private repositories were read."""

    code = "FLOW_GUARD"
    default_hint = (
        "Show the user what would be posted where; repeat the call with the confirm token that "
        "dry_run=true returns."
    )


class LockedDown(NotAllowed):
    """The text is by an author without push access and is withheld."""

    code = "LOCKED_DOWN"
    default_hint = "The operator decides with MCP_GITHUB_LOCKDOWN whose text is shown."


class BadCredentials(NotAllowed):
    """GitHub does not accept the credential (401)."""

    code = "BAD_CREDENTIALS"
    default_hint = (
        "The operator renews the credential: MCP_GITHUB_TOKEN, MCP_GITHUB_TOKENS or the GitHub "
        "App's key."
    )


class AuthRequired(NotAllowed):
    """GitHub answers this only to somebody it knows, and there is no credential."""

    code = "AUTH_REQUIRED"
    default_hint = (
        "The operator sets GITHUB_TOKEN (or MCP_GITHUB_TOKEN), MCP_GITHUB_TOKENS, or "
        "MCP_GITHUB_APP_ID with its key."
    )


class MissingScope(NotAllowed):
    """The credential lacks a permission; facts: needed, has."""

    code = "MISSING_SCOPE"
    default_hint = "The operator gives the token or App the permission that is named in needed."


class SsoRequired(NotAllowed):
    """The organisation wants the token authorised by its single sign-on; fact: sso_url."""

    code = "SSO_REQUIRED"
    default_hint = "The token's owner authorises it for the organisation, in a browser."


class Forbidden(NotAllowed):
    """GitHub says no for a reason of its own (403)."""

    code = "FORBIDDEN"
    default_hint = "GitHub's message names the reason; get_me shows whose credential this is."


class RepositoryArchived(NotAllowed):
    """The repository is archived, so it can only be read."""

    code = "REPOSITORY_ARCHIVED"
    default_hint = "An owner can unarchive it in its settings on GitHub."


class RepositoryBlocked(NotAllowed):
    """GitHub has taken the repository down (403 or 451); fact: reason."""

    code = "REPOSITORY_BLOCKED"
    default_hint = "Nothing can be read from it."


class FeatureDisabled(NotAllowed):
    """The repository has this part switched off, or it is gone (410)."""

    code = "FEATURE_DISABLED"
    default_hint = "get_repo shows which parts a repository has."


class NotFoundOrNoAccess(NotFound):
    """It does not exist, or the credential may not see it: GitHub says 404 to both."""

    code = "NOT_FOUND_OR_NO_ACCESS"
    default_hint = (
        "Check the spelling; when it is private, the credential has to have access to it "
        "(get_me shows whose it is)."
    )


class GithubConflict(Conflict):
    """It changed meanwhile, exists already, or is in no state for this (405, 409, 412)."""

    code = "CONFLICT"
    default_hint = "Read it again and decide anew."


class RepositoryMoved(Conflict):
    """The repository has another name now, and writes do not follow it there."""

    code = "REPOSITORY_MOVED"
    default_hint = "get_repo with the old name shows the new one; use that."


class PrimaryRateLimited(RateLimited):
    """The hour's requests are used up; facts: reset_at, resource, retry_after_s."""

    default_hint = "Wait until reset_at, or do without the call."


class SecondaryRateLimited(RateLimited):
    """Too many requests in a short time; fact: retry_after_s."""

    code = "SECONDARY_RATE_LIMITED"
    default_hint = "Wait retry_after_s seconds before any other call, then ask for less at once."


class ResponseTooLarge(LimitExceeded):
    """GitHub's answer is larger than this service reads; fact: limit_bytes."""

    code = "RESPONSE_TOO_LARGE"
    default_hint = "Ask for less: a smaller page, one file, a part of the lines."


class NotReady(Busy):
    """GitHub is still working the answer out (202); fact: retry_after_s."""

    code = "NOT_READY"
    default_hint = "Try again in a few seconds."


class GithubTimeout(TimeLimitExceeded):
    """GitHub did not answer in time."""

    code = "GITHUB_TIMEOUT"
    default_hint = "Try again, or ask for less in one call."


class GithubDown(DependencyUnavailable):
    """GitHub fails (5xx); fact: status."""

    code = "GITHUB_DOWN"
    default_hint = "Try again in a minute; www.githubstatus.com tells about incidents."


class GithubUnreachable(DependencyUnavailable):
    """GitHub cannot be connected to, or the connection broke."""

    code = "GITHUB_UNREACHABLE"
    default_hint = "Try again in a few seconds; the operator checks the network and GITHUB_API_URL."


class BadResponse(DependencyUnavailable):
    """What answered is not GitHub's API: HTML, broken JSON, a redirect to somewhere else."""

    code = "BAD_RESPONSE"
    default_retryable = False
    default_hint = "The operator checks GITHUB_API_URL and what stands between it and us."


class OutcomeUnknown(ToolError):
    """A write was sent, and whether GitHub carried it out is not known."""

    code = "OUTCOME_UNKNOWN"
    default_hint = "Read the place that was written to before trying again."


class GithubError(ToolError):
    """GitHub refuses for a reason that has no class of its own; fact: status."""

    code = "GITHUB_ERROR"
    default_hint = "Correct what GitHub's message names."
