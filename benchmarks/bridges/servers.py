"""The bridges that are compared, each as a process in front of a child; versions stand here.

Others keep their defaults, also in what they log, except that each serves sessions (supergateway
has to be told) and that fastmcp answers with JSON, which is its fastest. Those in Python get
`uvicorn[standard]`, which none of them asks for; `plain_peers` are as pip installs them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bridges import children
from benchmarks.peers import CACHE, python_environment
from benchmarks.processes import Server, free_port, our_server, running

UVICORN = "uvicorn{}==0.54.0"
PACKAGES = {
    "mcp-proxy": ("mcp-proxy==0.13.0", "mcp==1.30.0"),
    "mcp-streamablehttp-proxy": ("mcp-streamablehttp-proxy==0.2.0",),
    "fastmcp": ("fastmcp==4.1.2", "mcp==2.3.0"),
}
"""Peer in Python → what is installed for it."""

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Peer:
    """A bridge of others.

    Attributes:
        command: Of the bridge on a port in front of a child's command.
    """

    name: str
    command: Callable[[int, list[str]], list[str]]


def fast_peers() -> tuple[Peer, ...]:
    """Return the peers with the fastest uvicorn; what is missing is installed."""
    return _peers("[standard]")


def plain_peers() -> tuple[Peer, ...]:
    """Return the peers as pip installs them; what is missing is installed."""
    return _peers("")


def _peers(extra: str) -> tuple[Peer, ...]:
    folders = {name: f"bridges-{name}{extra and '-fast'}" for name in PACKAGES}
    pythons = {
        name: python_environment(folder, (*PACKAGES[name], UVICORN.format(extra)))
        for name, folder in folders.items()
    }
    programs = {name: CACHE / folder / "bin" / name for name, folder in folders.items()}
    return (
        Peer("mcp-proxy", partial(_mcp_proxy, programs["mcp-proxy"])),
        Peer("supergateway", partial(_supergateway, children.node_packages())),
        Peer(
            "mcp-streamablehttp-proxy",
            partial(_streamable_proxy, programs["mcp-streamablehttp-proxy"]),
        ),
        Peer("fastmcp", partial(_fastmcp, pythons["fastmcp"])),
    )


def _mcp_proxy(program: Path, port: int, child: list[str]) -> list[str]:
    return [str(program), "--port", str(port), "--", *child]


def _streamable_proxy(program: Path, port: int, child: list[str]) -> list[str]:
    return [str(program), "--port", str(port), *child]


def _supergateway(packages: Path, port: int, child: list[str]) -> list[str]:
    script = packages / "node_modules/supergateway/dist/index.js"
    options = ["--outputTransport", "streamableHttp", "--stateful", "--port", str(port)]
    return [children.node(), str(script), "--stdio", shlex.join(child), *options]


def _fastmcp(python: str, port: int, child: list[str]) -> list[str]:
    script = Path(__file__).resolve().parent / "peer_fastmcp.py"
    return [python, str(script), str(port), *child]


@contextmanager
def peer(bridge: Peer, child: str) -> Iterator[Server]:
    """Run a bridge of others in front of a child."""
    port = free_port()
    command = bridge.command(port, children.command(child))
    with running(f"bridge-{bridge.name}", command, port=port) as server:
        yield server


@contextmanager
def ours(child: str) -> Iterator[Server]:
    """Run our bridge in front of a child, as in production."""
    command = children.command(child)
    with our_server("bridge-ours", module="services.bridge", arguments=command) as server:
        yield server


def versions_of_peers() -> list[str]:
    """Return name and version of each peer."""
    manifest = json.loads((children.PLACE / "node" / "package.json").read_text(encoding="utf-8"))
    return [
        *(" ".join(packages[0].split("==")) for packages in PACKAGES.values()),
        f"supergateway {manifest['dependencies']['supergateway']}",
    ]
