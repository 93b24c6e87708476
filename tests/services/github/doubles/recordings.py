"""Recorded behaviour of the real GitHub, played back by @octokit/fixtures-server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.services.github.doubles.programs import ENVIRONMENT, running

SCRIPT = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True, slots=True)
class Recordings:
    """The recorded scenarios of `@octokit/fixtures`.

    A scenario is a list of requests with their answers, which have to come in that order and with
    the recorded bodies; another request is answered by 404.
    """

    url: str

    def play(self, scenario: str) -> str:
        """Begin a scenario anew; returns the URL of its API."""
        response = httpx.post(self.url + "/fixtures", json={"scenario": scenario}, trust_env=False)
        assert response.status_code == 201, response.text
        return str(response.json()["url"])


@contextmanager
def playing() -> Iterator[Recordings]:
    """Run the server of the recordings."""
    with running(SCRIPT, str(ENVIRONMENT), str(_free_port())) as url:
        yield Recordings(url)


def _free_port() -> int:
    """Return a port; answers contain URLs of this server, so it has to know its own beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
