"""One request to a service, with every way in which its answer can be wrong told apart.

Time and bytes are bounded as a whole, so that a server that dribbles, never ends or says nothing
costs what was set aside for it and no more. Redirects are not followed and proxies of the
environment not used: what is asked is the configured address and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic_core import from_json, to_json

from core.untrusted import clean

MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_SHOWN_CHARS = 160

# It writes a line for each request at INFO: some twenty a minute for each service.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Trouble(Exception):
    """A request that did not end as it should.

    Args:
        code: Stable, upper-case.
        problem: What is wrong, in a sentence for people and models.
        advice: What to do about it.
    """

    def __init__(self, code: str, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.advice = advice


LOOK_AT_LOG = "Its log says why (search_logs, ./deploy.sh logs {name}); ./deploy.sh restart {name}."
_START = "Start it with ./deploy.sh up {name}; its log says why it ended."
_NO_SUCH_HOST = (
    "A container that does not run has no name: ./deploy.sh up {name} starts it. Else the address "
    "in MCP_MONITORING_SERVICES is wrong."
)
_ADDRESS = "Something else has its port, or the address in MCP_MONITORING_SERVICES is wrong."
_BY_STATUS: Mapping[int, tuple[str, str, str]] = {
    401: ("KEY_REFUSED", "It refuses the key.", "Set MCP_MONITORING_SERVICES_API_KEY to its key."),
    403: ("KEY_REFUSED", "It refuses access.", "Set MCP_MONITORING_SERVICES_API_KEY to its key."),
    404: ("NOT_SERVED", "It does not serve {path}.", _ADDRESS),
    421: (
        "HOST_REFUSED",
        "It does not answer to this host name.",
        "Add the name to its MCP_HTTP_SECURITY__ALLOWED_HOSTS.",
    ),
    429: ("BUSY", "It says that it gets too many requests.", "Look at who calls it so often."),
    503: ("BUSY", "It is starting, stopping or at one of its limits.", LOOK_AT_LOG),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        ms: From before the connection to the last byte.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    ms: float

    def json(self, path: str) -> dict[str, Any]:
        """Return the object that it is.

        Raises:
            Trouble: It is no JSON object.
        """
        return json_object(self.body, self.headers, path)


class Line:
    """Asks one service.

    Args:
        client: Bound to its address.
        name: Of the service, for the advice.
        key: None to send none.
        deadline: The loop's time at which everything has to be over.
    """

    def __init__(
        self, client: httpx.AsyncClient, name: str, key: str | None, deadline: float
    ) -> None:
        self._client = client
        self._name = name
        self._key = key
        self._deadline = deadline
        self.certificate: bytes | None = None

    def until(self, deadline: float) -> Line:
        """Return a line to the same service with another deadline."""
        later = Line(self._client, self._name, self._key, deadline)
        later.certificate = self.certificate
        return later

    async def ask(
        self,
        method: str,
        path: str,
        message: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        with_key: bool = True,
        statuses: tuple[int, ...] = (200,),
    ) -> Answer:
        """Make a request and return its whole answer.

        Args:
            message: Sent as JSON.
            statuses: Those that are right.

        Raises:
            Trouble: It fails in any way, or is answered with another status.
        """
        started = time.perf_counter()
        opened = self.opened(
            method, path, message, headers=headers, with_key=with_key, statuses=statuses
        )
        async with opened as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise endless(path)
        ms = (time.perf_counter() - started) * 1000
        return Answer(response.status_code, response.headers, bytes(body), ms)

    @contextlib.asynccontextmanager
    async def opened(
        self,
        method: str,
        path: str,
        message: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        with_key: bool = True,
        statuses: tuple[int, ...] = (200,),
    ) -> AsyncIterator[httpx.Response]:
        """Make a request whose answer is read inside the context.

        Raises:
            Trouble: As `ask`, also for what is raised while reading.
        """
        content = None if message is None else to_json(message)
        all_headers = self._headers(content, headers or {}, with_key)
        request = self._client.stream(method, path, content=content, headers=all_headers)
        try:
            async with asyncio.timeout_at(self._deadline), request as response:
                self._remember_certificate(response)
                if response.status_code not in statuses:
                    raise self._refused(response, path)
                yield response
        except (TimeoutError, httpx.TimeoutException):
            raise self.late(path) from None
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise self._failed(error, path) from error

    def late(self, path: str) -> Trouble:
        """Return the trouble of a request that takes too long."""
        return Trouble(
            "TIMED_OUT",
            f"{path} was not answered in the time for it.",
            f"It hangs or is overloaded: {self._said(LOOK_AT_LOG)}",
        )

    def _headers(
        self, content: bytes | None, headers: Mapping[str, str], with_key: bool
    ) -> dict[str, str]:
        all_of_them = {"Accept-Encoding": "identity", "Accept": "application/json", **headers}
        if content is not None:
            all_of_them["Content-Type"] = "application/json"
        if with_key and self._key is not None:
            all_of_them["Authorization"] = f"Bearer {self._key}"
        return all_of_them

    def _remember_certificate(self, response: httpx.Response) -> None:
        stream = response.extensions.get("network_stream")
        connection = stream.get_extra_info("ssl_object") if stream is not None else None
        if connection is not None:
            self.certificate = connection.getpeercert(binary_form=True)

    def _said(self, text: str, path: str = "") -> str:
        return text.replace("{name}", self._name).replace("{path}", path)

    def _refused(self, response: httpx.Response, path: str) -> Trouble:
        status = response.status_code
        if status in _BY_STATUS:
            code, problem, advice = _BY_STATUS[status]
            problem = f"{self._said(problem, path)} ({path}: status {status})"
            return Trouble(code, problem, self._said(advice))
        if status in range(300, 400):
            return Trouble(
                "REDIRECTED", f"{path} is answered with a redirect (status {status}).", _ADDRESS
            )
        return Trouble(
            "FAILED", f"{path} is answered with status {status}.", self._said(LOOK_AT_LOG)
        )

    def _failed(self, error: Exception, path: str) -> Trouble:
        for cause in _causes(error):
            trouble = self._cause(cause)
            if trouble is not None:
                return trouble
        if isinstance(error, httpx.ConnectError):
            return Trouble("UNREACHABLE", "No connection can be made.", _ADDRESS)
        if isinstance(error, httpx.ProtocolError | httpx.ReadError):
            problem = f"What answers to {path} is not HTTP, or only half of it: {_short(error)}."
            return Trouble("NOT_HTTP", problem, _ADDRESS)
        return Trouble("FAILED", f"{path}: {_short(error)}.", self._said(LOOK_AT_LOG))

    def _cause(self, cause: BaseException) -> Trouble | None:
        match cause:
            case ssl.SSLCertVerificationError():
                return Trouble(
                    "CERTIFICATE_REFUSED",
                    f"Its certificate is not accepted: {cause.verify_message}.",
                    "Renew it, or name its authority in MCP_MONITORING_SERVICES_CA.",
                )
            case ssl.SSLError():
                return Trouble("NOT_TLS", "What answers there does not speak TLS.", _ADDRESS)
            case socket.gaierror():
                problem = "Its host name is not known here."
                return Trouble("UNKNOWN_HOST", problem, self._said(_NO_SUCH_HOST))
            case ConnectionRefusedError():
                return Trouble("NOT_RUNNING", "Nothing listens there.", self._said(_START))
            case OSError(errno=errno.ECONNREFUSED):
                # What asyncio makes of several refusals, one for each address of a name.
                return Trouble("NOT_RUNNING", "Nothing listens there.", self._said(_START))
        return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):  # one for each address of a name
            for inner in error.exceptions:
                yield from _causes(inner)
        error = error.__cause__ or error.__context__


def _short(error: Exception) -> str:
    text = clean(str(error) or type(error).__name__).text
    return text[:MAX_SHOWN_CHARS].rstrip(".")


def json_object(body: bytes, headers: httpx.Headers, path: str) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Raises:
        Trouble: It is none.
    """
    try:
        data = from_json(body)
    except ValueError:
        kind = clean(headers.get("content-type", "without a type")).text[:60]
        raise Trouble("NOT_JSON", f"The answer to {path} is not JSON ({kind}).", _ADDRESS) from None
    if not isinstance(data, dict):
        raise Trouble("NOT_JSON", f"The answer to {path} is JSON, but no object.", _ADDRESS)
    return data


def endless(path: str) -> Trouble:
    """Return the trouble of an answer that does not come to an end."""
    limit = MAX_ANSWER_BYTES // 1024**2
    return Trouble("ENDLESS", f"The answer to {path} is larger than {limit} MB.", _ADDRESS)


def wrong_answer(path: str, what: str) -> Trouble:
    """Return the trouble of an answer that is not the one of a service of this suite."""
    return Trouble("WRONG_ANSWER", f"The answer to {path} {what}.", _ADDRESS)
