"""Whether the services answer, and what they say about themselves."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from scripts.deploy import console
from scripts.deploy.environment import Endpoint

ANSWER_TIME_LIMIT_S = 5.0
START_TIME_LIMIT_S = 60.0
# A service that answers but misses something, such as its database, gets this long to find it.
DEGRADED_PATIENCE_S = 6.0
POLL_INTERVAL_S = 0.1
# A server answers to this name whatever address it listens on.
HOST_NAME = "localhost"
ANSWERING = ("healthy", "starting", "degraded")
"""What a service says of itself; `starting` is the first start of something that it starts."""


@dataclass(frozen=True)
class Report:
    """What `GET /health` said, or why it said nothing.

    Attributes:
        status: healthy, starting or degraded, as the service says; `no answer` otherwise.
        detail: What is wrong, for people; empty when nothing is.
        is_starting: Whether something that it starts is not up yet: a program may be downloaded.
    """

    status: str
    service: str = ""
    tools: int | None = None
    detail: str = ""
    is_starting: bool = False

    @property
    def answers(self) -> bool:
        """Whether the service runs and answers, healthy or not."""
        return self.status in ANSWERING


@dataclass(frozen=True)
class Row:
    """One line of the table that `up` and `status` show.

    Attributes:
        answers: Whether it is of a service that has said how it is.
    """

    name: str
    url: str
    status: str
    tools: str = "-"
    log: str = "-"
    detail: str = ""
    answers: bool = False

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong; what answers may be starting a program for the first time."""
        if self.status == "starting":
            return self.answers
        return self.status in ("healthy", "running")


def tls_of(endpoint: Endpoint) -> ssl.SSLContext:
    """Return a TLS context for the suite's own address, whose certificate names another host."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if endpoint.client_certificate is not None:
        context.load_cert_chain(endpoint.client_certificate)
    return context


def ask(endpoint: Endpoint) -> Report:
    """Ask a service how it is, with the key that it asks for: others are not told why."""
    headers = {"Host": HOST_NAME}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    request = urllib.request.Request(  # noqa: S310  http and https only
        f"{endpoint.url}/health", headers=headers
    )
    # No proxy of the environment may stand between this machine and itself.
    try:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls_of(endpoint))
        )
        with opener.open(request, timeout=ANSWER_TIME_LIMIT_S) as response:
            body = json.load(response)
    except urllib.error.HTTPError as error:
        return Report("no answer", detail=f"/health answered with status {error.code}")
    except (OSError, ValueError) as error:
        return Report("no answer", detail=f"/health: {getattr(error, 'reason', error)}")
    if not isinstance(body, dict) or "status" not in body:
        return Report("no answer", detail="something else answers on this port")
    components = _components(body)
    return Report(
        str(body["status"]),
        str(body.get("service")),
        body.get("tools_count"),
        _troubles(components),
        any(state.get("state") == "starting" for state in components.values()),
    )


def _components(body: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    found = body.get("components")
    if not isinstance(found, Mapping):
        return {}
    return {str(name): state for name, state in found.items() if isinstance(state, Mapping)}


def _troubles(components: Mapping[str, Mapping[str, object]]) -> str:
    return "; ".join(
        f"{name}: {state.get('detail') or state.get('status')}"
        for name, state in components.items()
        if state.get("status") not in ("up", "off")
    )


def wait(endpoints: Mapping[str, Endpoint], failure_of: Callable[[str], str | None]) -> list[str]:
    """Wait until every service is healthy, or answers and stays degraded.

    `failure_of` says why a service will not come up any more, or None while it may.

    Returns:
        The names of those that do not answer.
    """
    progress = console.Progress(f"Waiting for {', '.join(endpoints)}")
    started = time.monotonic()
    reports = {name: Report("starting") for name in endpoints}
    failed: dict[str, str] = {}
    while time.monotonic() - started < START_TIME_LIMIT_S:
        for name in _open(reports, failed, started):
            reports[name] = ask(endpoints[name])
            reason = None if reports[name].answers else failure_of(name)
            if reason is not None:
                failed[name] = reason
        if not _open(reports, failed, started):
            break
        progress.update(", ".join(f"{name} {report.status}" for name, report in reports.items()))
        time.sleep(POLL_INTERVAL_S)
    silent = [name for name, report in reports.items() if not report.answers]
    if silent:
        progress.stop()
    else:
        progress.done(", ".join(sorted({report.status for report in reports.values()})))
    return silent


def _open(reports: Mapping[str, Report], failed: Iterable[str], started: float) -> list[str]:
    patient = time.monotonic() - started < DEGRADED_PATIENCE_S
    return [
        name
        for name, report in reports.items()
        if name not in failed
        and report.status != "healthy"
        and (report.status != "degraded" or patient or report.is_starting)
    ]
