"""Answers that are no pages: error statuses, and walls that sites put up against programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from services.fetch.backend.download import Download
from services.fetch.convert import Document
from services.fetch.errors import HttpStatusError
from services.fetch.models import UNTRUSTED

FIRST_ERROR = 400
MAX_EXCERPT_CHARS = 500
MAX_JSON_CHARS = 2_000
MAX_WALL_CHARS = 3_000
"""A page with more text than this has something to read, whatever else is on it."""

_LOGIN = "The page needs a login, a subscription, or a browser that a person uses. Do not try to "
_LOGIN += "get around it: use another source, or ask the person for the text."
_LATER = "Try again later; the server has a problem of its own."
_GONE = "Check the URL for a typo, or look for the page with a search; it may have moved."

_HINTS = {
    401: _LOGIN,
    402: _LOGIN,
    403: _LOGIN,
    404: _GONE,
    405: "This address takes no GET requests; it may be an endpoint that only takes data.",
    406: "Ask for another type with headers={'Accept': …}.",
    408: _LATER,
    410: "The page was removed for good; look for a copy elsewhere.",
    414: "The URL is too long for this server.",
    425: _LATER,
    429: "The server asks for fewer requests. Wait, and do not repeat the call at once.",
    451: "The page is withheld for legal reasons; use another source.",
}
# 520 to 524 and 529 are Cloudflare's, for sites that it does not reach.
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})


@dataclass(frozen=True, slots=True)
class Wall:
    """How one kind of wall is recognised: by a header, or by words on a short page."""

    name: str
    headers: Mapping[str, str]
    words: re.Pattern[str] | None = None


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# Header values are patterns. Sources: developers.cloudflare.com (cf-mitigated), docs.aws.amazon.com
# (x-amzn-waf-action), vercel.com/docs (x-vercel-mitigated), docs.datadome.co (x-dd-b, x-datadome).
_WALLS = (
    Wall("Cloudflare", {"cf-mitigated": "challenge"}),
    Wall("AWS WAF", {"x-amzn-waf-action": "challenge|captcha"}),
    Wall("Vercel", {"x-vercel-mitigated": "challenge|deny"}),
    Wall(
        "Cloudflare",
        {"server": "cloudflare"},
        _words(
            r"just a moment|attention required|checking (?:your browser|if the site connection)"
            r"|verif(?:y|ying) you are human|sorry, you have been blocked|enable javascript and"
            r" cookies to continue"
        ),
    ),
    Wall("DataDome", {}, _words(r"captcha-delivery\.com|datadome")),
    Wall("Imperva", {}, _words(r"incapsula incident id|_incapsula_resource")),
    Wall("Akamai", {}, _words(r"access denied.{0,200}reference\s*#?\s*[0-9a-f.]{12,}")),
    Wall("HUMAN", {}, _words(r"px-captcha|press (?:&|and) hold to confirm you are")),
    Wall("Anubis", {}, _words(r"making sure you're not a bot")),
    Wall(
        "a captcha",
        {},
        _words(
            r"verify (?:that )?you(?:'| a)re (?:a )?human|are you a robot\?|i'm not a robot"
            r"|unusual traffic from your computer|complete the (?:captcha|security check)"
        ),
    ),
)


def wall_of(download: Download, document: Document | None) -> str | None:
    """Return whose wall against programs an answer is; None where it is an answer."""
    text = ""
    if document is not None and len(document.content) <= MAX_WALL_CHARS:
        text = " ".join(f"{document.metadata.title or ''} {document.content}".split())
    return next((wall.name for wall in _WALLS if _is(wall, download.headers, text)), None)


def _is(wall: Wall, headers: Mapping[str, str], text: str) -> bool:
    if not all(
        re.search(pattern, headers.get(name, ""), re.IGNORECASE)
        for name, pattern in wall.headers.items()
    ):
        return False
    return wall.words is None or bool(wall.words.search(text))


def status_error(download: Download, document: Document | None, now: float) -> HttpStatusError:
    """Return an answer with an error status as the error that tells it.

    Args:
        document: Its body as text, where it has a readable one.
        now: Seconds since the epoch, for a Retry-After that names a time.
    """
    status = download.status
    facts = {"status": status, "final_url": download.final_url}
    wall = wall_of(download, document)
    message = f"The server answered {status} {_phrase(status)}".rstrip()
    message += f" (a wall of {wall} against programs)." if wall else "."
    retry_after_s = retry_after(download.headers.get("retry-after"), now)
    return HttpStatusError(
        message,
        hint=_LOGIN if wall else _HINTS.get(status, _LATER if status >= 500 else ""),
        retryable=status in _RETRYABLE and wall is None,
        **facts,
        **({"wall": wall} if wall else {}),
        **({} if retry_after_s is None else {"retry_after_s": retry_after_s}),
        **_said(document),
    )


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks to wait (RFC 9110 §10.2.3)."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        return max(0.0, round(parsedate_to_datetime(value).timestamp() - now, 1))
    except (ValueError, OverflowError):
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _said(document: Document | None) -> dict[str, str]:
    """Return what the server says, and whose words it is; nothing where it says nothing."""
    if document is None or not document.content:
        return {}
    return {"page_text": _excerpt(document), "untrusted": UNTRUSTED}


def _excerpt(document: Document) -> str:
    """Return the beginning of what the server says; JSON keeps its lines."""
    if document.kind == "json":
        return document.content[:MAX_JSON_CHARS]
    text = " ".join(document.content.split())
    return text if len(text) <= MAX_EXCERPT_CHARS else text[: MAX_EXCERPT_CHARS - 1] + "…"
