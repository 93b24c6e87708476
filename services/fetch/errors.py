"""What can go wrong between a caller and a page.

```
ToolError
├── InvalidArguments
│   ├── BadUrl                WHATWG or we cannot read it as an http(s) URL
│   └── BadSelector
├── NotAllowed
│   ├── UrlRefused            a rule on the URL said no: scheme, port, userinfo, host lists
│   ├── AddressRefused        the host has an address that may not be connected to
│   ├── RobotsDisallowed      robots.txt says no (RFC 9309)
│   └── RedirectRefused       a redirect led to one of the above, or was one too many
├── LimitExceeded
│   ├── ResponseTooLarge      on the wire or decoded; a bomb ends here
│   └── ConversionTooLarge    the page needs more memory than a converter may have
├── TimeLimitExceeded
│   ├── FetchTimeout          the page did not arrive in time
│   └── ConversionTimeout     it arrived and could not be converted in time
├── NotFound
│   ├── SnapshotGone          a cursor or snapshot that is no longer kept
│   └── SectionNotFound       the page has no heading of that name, or several
├── BadResponse               the server broke HTTP, or its content-encoding
├── HttpStatusError           the server answered 4xx or 5xx; facts: status
├── ConversionFailed          the document is damaged
└── DependencyUnavailable
    └── HostUnreachable       no such name, refused, TLS failed
```

Every error that refuses carries `reason_code`, a stable word in lower case, as a fact. No message
shows an address that a name resolved to.
"""

from __future__ import annotations

from core.errors import (
    DependencyUnavailable,
    InvalidArguments,
    LimitExceeded,
    NotAllowed,
    NotFound,
    TimeLimitExceeded,
    ToolError,
)


class BadUrl(InvalidArguments):
    """The text is not an http or https URL that every reader understands alike."""

    code = "BAD_URL"
    default_hint = "Give one absolute URL such as https://example.org/page."


class BadSelector(InvalidArguments):
    """A CSS selector that does not parse."""

    code = "BAD_SELECTOR"
    default_hint = "Give a CSS selector such as main article, #content or .post > p."


class UrlRefused(NotAllowed):
    """A rule on the URL itself forbids it."""

    code = "URL_REFUSED"


class AddressRefused(NotAllowed):
    """The host resolves to an address that may not be connected to."""

    code = "ADDRESS_REFUSED"
    default_hint = (
        "Only public addresses are fetched. For an intranet, the operator sets "
        "MCP_FETCH_ALLOW_NETWORKS."
    )


class RobotsDisallowed(NotAllowed):
    """The site's robots.txt disallows this URL for us."""

    code = "ROBOTS_DISALLOWED"
    default_hint = "robots_check shows the rule. Use another source, or ask the person to open it."


class RedirectRefused(NotAllowed):
    """A redirect leads where we do not go, or there are too many."""

    code = "REDIRECT_REFUSED"


class ResponseTooLarge(LimitExceeded):
    """The answer is larger than a limit."""

    code = "RESPONSE_TOO_LARGE"
    default_hint = "Fetch a smaller document; the operator sets MCP_FETCH_MAX_WIRE_BYTES."


class ConversionTooLarge(LimitExceeded):
    """Converting the page needs more memory than allowed."""

    code = "CONVERSION_TOO_LARGE"
    default_hint = "Fetch it with format='raw', which needs no conversion."


class FetchTimeout(TimeLimitExceeded):
    """The page did not arrive in time."""

    code = "FETCH_TIMEOUT"
    default_hint = "Ask for more with timeout_s, or try again later."


class ConversionTimeout(TimeLimitExceeded):
    """The page could not be converted in time."""

    code = "CONVERSION_TIMEOUT"
    default_retryable = False
    default_hint = "Fetch it with format='raw', which needs no conversion."


class SnapshotGone(NotFound):
    """The page is no longer kept."""

    code = "SNAPSHOT_GONE"
    default_hint = "Fetch the URL again; its paging then begins anew."


class SectionNotFound(NotFound):
    """No section of the page is meant, or several are."""

    code = "SECTION_NOT_FOUND"
    default_hint = "The outline of the page lists its sections with their ids."


class BadResponse(ToolError):
    """The server's answer is not valid HTTP, or does not decode."""

    code = "BAD_RESPONSE"


class HttpStatusError(ToolError):
    """The server answered with an error status; what it said is among the facts."""

    code = "HTTP_STATUS"


class ConversionFailed(ToolError):
    """The document is damaged or of a kind that cannot be converted."""

    code = "CONVERSION_FAILED"
    default_hint = "Fetch it with format='raw' to see what came."


class HostUnreachable(DependencyUnavailable):
    """The host cannot be reached: no such name, connection refused, TLS failed."""

    code = "HOST_UNREACHABLE"
