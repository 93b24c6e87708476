"""The bridges that are compared, each as a process in front of a child; versions stand here.

Others keep their defaults, also in what they log, except that each serves sessions (supergateway
has to be told) and that fastmcp answers with JSON, which is its fastest.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bridges import children
from benchmarks.peers import CACHE, peer_python, python_environment, versions
from benchmarks.processes import Server, free_port, our_server, running

UVICORN = "uvicorn[standard]==0.54.0"
MCP_PROXY = ("mcp-proxy==0.13.0", "mcp==1.30.0", UVICORN)
STREAMABLE_PROXY = ("mcp-streamablehttp-proxy==0.2.0", UVICORN)
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Peer:
    """A bridge of others.

    Attributes:
        command: Of the bridge on a port in front of a child's command.
    """

    name: str
    command: Callable[[int, list[str]], list[str]]


def _program(environment: str, requirements: tuple[str, ...], name: str) -> str:
    python_environment(environment, requirements)
    return str(CACHE / environment / "bin" / name)


def _mcp_proxy(port: int, child: list[str]) -> list[str]:
    program = _program("bridges-mcp-proxy", MCP_PROXY, "mcp-proxy")
    return [program, "--port", str(port), "--", *child]


def _streamable_proxy(port: int, child: list[str]) -> list[str]:
    name = "mcp-streamablehttp-proxy"
    return [_program(f"bridges-{name}", STREAMABLE_PROXY, name), "--port", str(port), *child]


def _supergateway(port: int, child: list[str]) -> list[str]:
    script = children.node_packages() / "node_modules/supergateway/dist/index.js"
    options = ["--outputTransport", "streamableHttp", "--stateful", "--port", str(port)]
    return [children.node(), str(script), "--stdio", shlex.join(child), *options]


def _fastmcp(port: int, child: list[str]) -> list[str]:
    script = Path(__file__).resolve().parent / "peer_fastmcp.py"
    return [peer_python(), str(script), str(port), *child]


PEERS = (
    Peer("mcp-proxy", _mcp_proxy),
    Peer("supergateway", _supergateway),
    Peer("mcp-streamablehttp-proxy", _streamable_proxy),
    Peer("fastmcp", _fastmcp),
)


def install() -> None:
    """Install every peer, so that no measurement waits for it."""
    for peer in PEERS:
        peer.command(0, [])


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
        *(" ".join(pin.split("==")) for pin in (MCP_PROXY[0], STREAMABLE_PROXY[0])),
        f"supergateway {manifest['dependencies']['supergateway']}",
        versions(peer_python(), "fastmcp"),
    ]
