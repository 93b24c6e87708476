"""Requests made ready: which URL exactly, as whom, how much of the answer is read. No I/O.

`Api` knows where the API is. GitHub Enterprise Server has REST at ``/api/v3`` and GraphQL at
``/api/graphql``; everything stays below the first, or is the second, on the same origin. Only
downloads leave it, to GitHub's storage, and then without the credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from core.errors import InvalidArguments
from services.github.backend.connections import Origin
from services.github.backend.credentials import Credential
from services.github.backend.exchange import Answer, Reading, Target
from services.github.backend.requests import JSON, Request, query_of
from services.github.errors import BadName, BadResponse, RepositoryMoved
from services.github.policy.names import checked_segments
from services.github.settings import GithubSettings

USER_AGENT = "mcp-github (PyGithub)"
MOVED = (301, 302, 307, 308)
MAX_ASKED_CHARS = 200
_MUTATION = re.compile(r"^\s*mutation\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One request, ready to be sent.

    Attributes:
        path: Below the API's base URL, percent-encoded, without the query.
        asked: For messages: method and path.
        writes: Whether it changes something.
        repeats: Whether it may be sent again.
        signed: Whether it goes to the API, with the credential; False for storage.
    """

    method: str
    target: Target
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str]
    body: Any = None
    credential: Credential
    asked: str
    writes: bool
    repeats: bool
    reading: Reading
    signed: bool = True


class Api:
    """Where GitHub's API is.

    Args:
        settings: The base URL, and how much is read of an answer.
    """

    def __init__(self, settings: GithubSettings) -> None:
        base = urlsplit(settings.api_url)
        self._origin = Origin.of(base)
        self._prefix = base.path
        self._graphql = base.path.removesuffix("/v3") + "/graphql"
        self._reading = Reading(settings.max_response_bytes)

    def rest(self, request: Request, credential: Credential) -> Prepared:
        """Make a request of the REST API ready.

        Raises:
            BadName: A value would lead elsewhere than the route says.
            InvalidArguments: A text in the body is none.
        """
        path, parameters = request.path(), request.parameters()
        _check_text(request.body)
        return Prepared(
            method=request.method,
            target=self._target(self._prefix + path, parameters),
            path=path,
            parameters=parameters,
            headers={"Accept": request.accept},
            body=request.body,
            credential=credential,
            asked=_cut(f"{request.method} {path}"),
            writes=not request.reads,
            repeats=request.reads,
            reading=self._reading,
        )

    def graphql(
        self, document: str, variables: Mapping[str, Any], credential: Credential
    ) -> Prepared:
        """Make a GraphQL document ready; a mutation writes."""
        _check_text(variables)
        return Prepared(
            method="POST",
            target=self._target(self._graphql, {}),
            path="/graphql",
            headers={"Accept": JSON},
            body={"query": document, "variables": dict(variables)},
            credential=credential,
            asked="POST /graphql",
            writes=_MUTATION.search(document) is not None,
            repeats=False,
            reading=self._reading,
        )

    def moved(self, prepared: Prepared, answer: Answer) -> Prepared:
        """Return the request for where the API says that something is now.

        Raises:
            RepositoryMoved: The request writes, and what it meant may not be what is there.
            BadResponse: It leads away from the API.
        """
        if not prepared.repeats:
            raise RepositoryMoved(f"{prepared.asked}: the repository has another name now.")
        try:
            parts = _location(answer)
            path = self._below_base(Origin.of(parts), parts.path)
            parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        except (ValueError, BadName):
            raise BadResponse(f"{prepared.asked}: redirected away from GitHub's API.") from None
        target = self._target(self._prefix + path, parameters)
        return replace(prepared, target=target, path=path, parameters=parameters)

    def storage(self, prepared: Prepared, answer: Answer) -> Prepared:
        """Return the request for where a download is kept: https, or the API's own origin.

        Raises:
            BadResponse: It is neither.
        """
        try:
            parts = _location(answer)
            origin = Origin.of(parts)
        except ValueError:
            raise BadResponse(f"{prepared.asked}: redirected to what is no URL.") from None
        if origin.scheme != "https" and origin != self._origin:
            raise BadResponse(f"{prepared.asked}: redirected to a place without TLS.")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return replace(
            prepared,
            target=Target(origin, path),
            headers={"Accept": "*/*", "User-Agent": USER_AGENT},
            signed=False,
        )

    def _target(self, path: str, parameters: Mapping[str, str]) -> Target:
        return Target(self._origin, path + query_of(parameters))

    def _below_base(self, origin: Origin, path: str) -> str:
        if origin != self._origin or not path.startswith(self._prefix + "/"):
            raise ValueError("another origin, or another path of it")
        below = path.removeprefix(self._prefix)
        checked_segments(below[1:], "path")
        return below


def _location(answer: Answer) -> SplitResult:
    """Return where an answer leads; ValueError when that is no URL, or not percent-encoded."""
    url = answer.headers.get("location", "")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("not percent-encoded")
    return urlsplit(url)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ASKED_CHARS else f"{text[:MAX_ASKED_CHARS]}…"


def _check_text(value: Any) -> None:
    """Refuse lone surrogates in what is sent: JSON can write them, GitHub cannot keep them."""
    try:
        _encode_all(value)
    except UnicodeEncodeError:
        raise InvalidArguments("A text has half a surrogate pair, which is no character.") from None


def _encode_all(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, Mapping):
        for name, member in value.items():
            _encode_all(name)
            _encode_all(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _encode_all(member)
