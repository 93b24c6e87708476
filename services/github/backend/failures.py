"""What GitHub and the network say when they refuse, as our errors.

`refusal` is for answers of 400 and above, `graphql_refusal` for GraphQL's errors, `breakage` for
connections that fail. Everything that is shown of an answer passes `Redactor` first: GitHub and
what stands before it have echoed tokens in error texts.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from urllib3 import exceptions

from core.errors import ToolError
from core.redaction import MARK, redact
from services.github.backend.exchange import Answer
from services.github.backend.requests import Rate, moment
from services.github.errors import (
    AuthRequired,
    BadCredentials,
    BadResponse,
    FeatureDisabled,
    Forbidden,
    GithubConflict,
    GithubDown,
    GithubError,
    GithubUnreachable,
    MissingScope,
    NotFoundOrNoAccess,
    OutcomeUnknown,
    PrimaryRateLimited,
    RepositoryArchived,
    RepositoryBlocked,
    ResponseTooLarge,
    SecondaryRateLimited,
    SsoRequired,
    ValidationFailed,
)

MAX_MESSAGE_CHARS = 500
MAX_FIELDS = 20
MAX_SECRETS = 100
SECONDARY_WAIT_S = 60
MAX_WAIT_S = 3600.0
MAX_DIGITS = 15  # more would be inf for the arithmetic, or no float at all

_SECONDARY = re.compile(
    r"secondary rate limit|abuse detection|submitted too quickly|retry your request again later"
    r"|wait a few minutes before you try again",
    re.IGNORECASE,
)
_PRIMARY = re.compile(r"api rate limit (already )?exceeded", re.IGNORECASE)
_CONFLICTS = re.compile(
    r"already exists|not a fast.?forward|is not mergeable|was modified|does not match"
    r"|update is not|out of date",
    re.IGNORECASE,
)
_GAVE_UP = re.compile(r"something went wrong while executing your query", re.IGNORECASE)
"""GraphQL's timeout, answered 200: what it had done by then stays done."""
_SSO_URL = re.compile(r"url=(https://[^\s;,]+)")


class Redactor:
    """Takes credentials out of text: the ones in use, and whatever looks like one."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()  # replaced as a whole: other threads read it

    def learn(self, secret: str) -> None:
        """Remember a value that no text may show; the newest hundred."""
        others = (known for known in self._secrets if known != secret)
        self._secrets = (*others, secret)[-MAX_SECRETS:]

    def known(self, text: str) -> str:
        """Return the text without the credentials in use."""
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return text

    def known_bytes(self, data: bytes) -> bytes:
        """Return bytes without the credentials in use."""
        for secret in self._secrets:
            if secret.encode() in data:
                data = data.replace(secret.encode(), MARK.encode())
        return data

    def __call__(self, text: str) -> str:
        """Return a text to be shown, cut to a readable length."""
        clean = " ".join(redact(self.known(text)).text.split())
        clean = "".join(char for char in clean if char.isprintable())
        return clean if len(clean) <= MAX_MESSAGE_CHARS else f"{clean[:MAX_MESSAGE_CHARS]}…"


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer of 400 or above, with what decides which error it is.

    Attributes:
        asked: ``GET /repos/octo/hello``, for messages.
        message: GitHub's own, redacted.
        authenticated: Whether a credential was sent.
        now: Seconds since 1970.
    """

    answer: Answer
    asked: str
    message: str
    details: Mapping[str, Any]
    authenticated: bool
    now: float

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        return self.answer.headers

    def said(self, what: str) -> str:
        """Return a sentence with what was asked and what GitHub said to it."""
        return f"{self.asked}: {what}" + (f" GitHub says: {self.message}" if self.message else "")


def refusal(
    answer: Answer, asked: str, *, authenticated: bool, now: float, redactor: Redactor
) -> ToolError:
    """Return the error that an answer of 400 or above means."""
    details = _details(answer, redactor)
    if details is None and answer.status < 500:
        return BadResponse(
            f"{asked}: what answered with {answer.status} is not GitHub's API.",
            status=answer.status,
        )
    message = redactor(str((details or {}).get("message") or ""))
    refused = Refused(answer, asked, message, details or {}, authenticated, now)
    for applies, make in _CASES:
        if applies(refused):
            return make(refused)
    return GithubError(refused.said(f"refused with {answer.status}."), status=answer.status)


def _details(answer: Answer, redactor: Redactor) -> Mapping[str, Any] | None:
    """Return the JSON object of an error, {} for nothing, None for another thing."""
    if not answer.body.strip():
        return {}
    try:
        data = json.loads(redactor.known_bytes(answer.body))
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, an hour at most; None without a number."""
    wait_s = seconds(headers.get("retry-after", ""))
    return None if wait_s is None else min(wait_s, MAX_WAIT_S)


def seconds(text: str) -> float | None:
    """Return a header's whole number; None for what is none, or none that a time has."""
    return float(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


# --- which error an answer is ---------------------------------------------------------------------


def _is_primary(r: Refused) -> bool:
    if r.status not in (403, 429):
        return False
    used_up = r.headers.get("x-ratelimit-remaining") == "0" and not _SECONDARY.search(r.message)
    return used_up or bool(_PRIMARY.search(r.message))


def _primary(r: Refused) -> ToolError:
    rate = Rate.of(r.headers)
    resource = (rate and rate.resource) or "core"
    return rate_limited(resource, _reset_s(r.headers), r.now, r.asked)


def _reset_s(headers: Mapping[str, str]) -> float | None:
    return seconds(headers.get("x-ratelimit-reset", ""))


def rate_limited(
    resource: str, reset_s: float | None, now: float, asked: str
) -> PrimaryRateLimited:
    """Return the error of a used-up quota; `reset_s` and `now` are seconds since 1970."""
    wait = None if reset_s is None else max(0, int(reset_s - now) + 1)
    reset_at = moment(reset_s)
    return PrimaryRateLimited(
        f"{asked}: the {resource} quota of this credential is used up"
        f"{f' until {reset_at}' if reset_at else ''}.",
        resource=resource,
        reset_at=reset_at,
        retry_after_s=wait,
    )


def _is_secondary(r: Refused) -> bool:
    if r.status == 422:
        return bool(_SECONDARY.search(r.message))
    return r.status in (403, 429) and (
        r.status == 429 or "retry-after" in r.headers or bool(_SECONDARY.search(r.message))
    )


def _secondary(r: Refused) -> ToolError:
    return secondary_limited(retry_after(r.headers) or SECONDARY_WAIT_S, r.asked)


def secondary_limited(wait_s: float, asked: str) -> SecondaryRateLimited:
    """Return the error of too many requests in a short time."""
    return SecondaryRateLimited(
        f"{asked}: GitHub's secondary rate limit answers; it wants {wait_s:g} s of silence.",
        retry_after_s=wait_s,
    )


def _unauthorized(r: Refused) -> ToolError:
    if r.authenticated:
        return BadCredentials(r.said("GitHub does not accept the credential."))
    return AuthRequired(r.said("this needs a credential, and none is configured."))


def _sso(r: Refused) -> ToolError:
    url = _SSO_URL.search(r.headers["x-github-sso"])
    return SsoRequired(
        r.said("the organisation wants the token authorised by its single sign-on."),
        sso_url=url.group(1) if url else None,
    )


def _lacks_scope(r: Refused) -> bool:
    return r.status == 403 and bool(_missing_scopes(r.headers))


def _missing_scopes(headers: Mapping[str, str]) -> list[str]:
    """Return the scopes of which a classic token needs one and has none.

    Source: https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
    """
    accepted = _words(headers.get("x-accepted-oauth-scopes", ""))
    if "x-oauth-scopes" not in headers:
        return []
    return [] if set(_words(headers["x-oauth-scopes"])) & set(accepted) else accepted


def _scope(r: Refused) -> ToolError:
    return MissingScope(r.said("the token lacks a scope."), **_scopes(r.headers))


def _scopes(headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "needed": _missing_scopes(headers),
        "has": _words(headers.get("x-oauth-scopes", "")),
    }


def _lacks_permission(r: Refused) -> bool:
    return r.status == 403 and "resource not accessible by" in r.message.lower()


def _permission(r: Refused) -> ToolError:
    needed = r.headers.get("x-accepted-github-permissions", "")
    return MissingScope(
        r.said("the credential lacks a permission."),
        needed=[part.strip() for part in needed.split(";") if part.strip()],
        has=None,
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _too_large(r: Refused) -> bool:
    codes = [e.get("code") for e in r.details.get("errors") or () if isinstance(e, dict)]
    return r.status in (403, 406, 422) and ("too_large" in codes or "too large" in r.message)


def _conflicts(r: Refused) -> bool:
    if r.status == 422:
        return bool(_CONFLICTS.search(f"{r.message} {_fields(r.details)}"))
    return r.status in (405, 409, 412)


def _forbidden(r: Refused) -> ToolError:
    if not r.authenticated:
        return AuthRequired(r.said("GitHub refuses this without a credential."))
    return Forbidden(r.said("GitHub refuses this."))


def _blocked(r: Refused) -> ToolError:
    block = r.details.get("block")
    reason = block.get("reason") if isinstance(block, dict) else None
    return RepositoryBlocked(r.said("GitHub has blocked access."), reason=reason)


def _validation(r: Refused) -> ToolError:
    return ValidationFailed(r.said("GitHub refuses the values."), fields=_fields(r.details))


def _fields(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return GitHub's list of what is wrong, reduced to what helps: field, code, message."""
    errors = details.get("errors")
    if not isinstance(errors, list):
        return [] if errors is None else [{"message": _cut(str(errors))}]
    return [_field(error) for error in errors[:MAX_FIELDS]]


def _field(error: Any) -> dict[str, Any]:
    if not isinstance(error, dict):
        return {"message": _cut(str(error))}
    names = ("resource", "field", "code", "message")
    return {name: _cut(str(error[name])) for name in names if error.get(name) is not None}


def _cut(text: str) -> str:
    return redact(text).text[:MAX_MESSAGE_CHARS]


def _not_found(r: Refused) -> ToolError:
    """GitHub also says 404 where a scope is missing, but it does not say that it is for that."""
    said = r.said("not found, or not visible.")
    if not r.authenticated:
        return NotFoundOrNoAccess(said, hint=_WITHOUT_CREDENTIAL)
    if not _missing_scopes(r.headers):
        return NotFoundOrNoAccess(said)
    hint = f"{NotFoundOrNoAccess.default_hint} The token lacks the scopes in needed."
    return NotFoundOrNoAccess(said, hint=hint, **_scopes(r.headers))


_WITHOUT_CREDENTIAL = (
    "Check the spelling. There is no credential here, so private repositories look like missing "
    "ones; the operator sets GITHUB_TOKEN."
)
_Test = Callable[[Refused], bool]
_CASES: Sequence[tuple[_Test, Callable[[Refused], ToolError]]] = (
    (_is_primary, _primary),
    (_is_secondary, _secondary),
    (lambda r: r.status == 401, _unauthorized),
    (lambda r: r.status == 403 and "x-github-sso" in r.headers, _sso),
    (
        lambda r: r.status == 403 and "archived" in r.message.lower(),
        lambda r: RepositoryArchived(r.said("the repository is archived.")),
    ),
    (lambda r: r.status == 451 or (r.status == 403 and "block" in r.details), _blocked),
    (
        _too_large,
        lambda r: ResponseTooLarge(r.said("it is too large for this endpoint.")),
    ),
    (_lacks_permission, _permission),
    (_lacks_scope, _scope),
    (lambda r: r.status == 403, _forbidden),
    (lambda r: r.status == 404, _not_found),
    (
        lambda r: r.status == 410,
        lambda r: FeatureDisabled(r.said("gone, or switched off in this repository.")),
    ),
    (_conflicts, lambda r: GithubConflict(r.said("not in this state."), **_facts(r))),
    (lambda r: r.status == 422, _validation),
    (
        lambda r: r.status >= 500,
        lambda r: GithubDown(f"{r.asked}: GitHub fails with {r.status}.", status=r.status),
    ),
)


def _facts(r: Refused) -> dict[str, Any]:
    facts: dict[str, Any] = {"status": r.status}
    if fields := _fields(r.details):
        facts["fields"] = fields
    return facts


# --- GraphQL --------------------------------------------------------------------------------------


def graphql_refusal(
    errors: Iterable[Any],
    headers: Mapping[str, str],
    redactor: Redactor,
    now: float,
    *,
    writes: bool,
) -> ToolError:
    """Return the error that the first of GraphQL's errors means; five of them are told.

    Args:
        writes: Whether they answer a mutation.
    """
    listed = [error for error in errors if isinstance(error, dict)] or [{}]
    said = redactor("; ".join(str(error.get("message") or "") for error in listed[:5]))
    kind = str(listed[0].get("type") or _extension(listed[0]) or "").upper()
    if kind == "RATE_LIMITED":
        return rate_limited("graphql", _reset_s(headers), now, "GraphQL")
    if _SECONDARY.search(said):
        return secondary_limited(SECONDARY_WAIT_S, "GraphQL")
    if _GAVE_UP.search(said):
        if writes:
            return outcome_unknown("POST /graphql", "GitHub gave up on it")
        return GithubDown(f"GraphQL: GitHub says: {said}")
    make = _GRAPHQL.get(kind, GithubError)
    return make(f"GraphQL: GitHub says: {said}", type=kind or None)


def _extension(error: Mapping[str, Any]) -> Any:
    extensions = error.get("extensions")
    return extensions.get("code") if isinstance(extensions, dict) else None


_GRAPHQL: Mapping[str, type[ToolError]] = {
    "NOT_FOUND": NotFoundOrNoAccess,
    "FORBIDDEN": Forbidden,
    "INSUFFICIENT_SCOPES": MissingScope,
    "UNPROCESSABLE": ValidationFailed,
    "VALIDATION": ValidationFailed,
    "STALE_DATA": GithubConflict,
    "SERVICE_UNAVAILABLE": GithubDown,
    "MAX_NODE_LIMIT_EXCEEDED": ResponseTooLarge,
    "RESOURCE_LIMITS_EXCEEDED": ResponseTooLarge,
}


# --- the network ----------------------------------------------------------------------------------

BREAKAGES = (OSError, exceptions.HTTPError, http.client.HTTPException)


def breakage(error: Exception, asked: str, *, writes: bool, sent: bool) -> ToolError:
    """Return the error that a failing connection means.

    Args:
        writes: Whether the request changes something.
        sent: Whether any of it went out, after which nobody knows what became of a write.
    """
    if writes and sent:
        return outcome_unknown(asked, "the connection broke before an answer came")
    if isinstance(error, ssl.SSLCertVerificationError):
        return GithubUnreachable(f"{asked}: GitHub's certificate does not verify.", retryable=False)
    if not sent:
        return GithubUnreachable(f"{asked}: no connection to GitHub.")
    return GithubUnreachable(f"{asked}: the connection to GitHub broke.")


def outcome_unknown(asked: str, why: str) -> OutcomeUnknown:
    """Return the error of a write that was sent and not answered for."""
    return OutcomeUnknown(f"{asked}: sent, but {why}; it may or may not have been carried out.")


def unreadable(error: ToolError, asked: str, *, writes: bool) -> ToolError:
    """Return the error of an answer that cannot be read: the write before it may have happened."""
    return outcome_unknown(asked, "the answer cannot be read") if writes else error
