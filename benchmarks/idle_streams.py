"""How much memory an open, silent event stream takes in the server.

`python -m benchmarks.idle_streams [--streams 2000]`

Each server is a process of its own. Some streams are opened first, so that what is made once does
not count; the growth of resident memory from there to all streams open is divided by their number.
On `/mcp` a stream belongs to a session, so the session is part of the figure.
"""

from __future__ import annotations

import argparse
import resource
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from benchmarks import doors
from benchmarks.peers import peer_python, versions
from benchmarks.processes import Server, our_server, peer

GOAL_KIB = 20
WARM_UP = 100
SETTLE_S = 1.0
OPEN_TIME_LIMIT_S = 60.0
SPARE_FILES = 200

Head = Callable[[Server], str]
"""Returns the request line and headers that open one more stream."""


def old_stream(server: Server) -> str:
    """`GET /sse`, the transport of 2024-11-05."""
    return (
        f"GET /sse HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: text/event-stream\r\n\r\n"
    )


def session_stream(server: Server) -> str:
    """`GET /mcp` in a session that begins here."""
    headers = {**doors.BOTH, "MCP-Protocol-Version": doors.LEGACY}
    id_ = doors.begin_session(server.port, headers)
    return (
        f"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: text/event-stream\r\n"
        f"MCP-Protocol-Version: {doors.LEGACY}\r\nMcp-Session-Id: {id_}\r\n\r\n"
    )


def open_streams(server: Server, head: Head, count: int) -> list[socket.socket]:
    """Open streams and wait until each has been answered with 200.

    Raises:
        WrongAnswer: One was not.
    """
    opened: list[socket.socket] = []
    with selectors.DefaultSelector() as waiting:
        for _ in range(count):
            request = head(server).encode()
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            connection.sendall(request)
            opened.append(connection)
            waiting.register(connection, selectors.EVENT_READ)
        deadline = time.monotonic() + OPEN_TIME_LIMIT_S
        while waiting.get_map() and time.monotonic() < deadline:
            for key, _ in waiting.select(timeout=1):
                connection = key.fileobj  # type: ignore[assignment]  # what was registered
                answer = connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise doors.WrongAnswer(f"{server.name}: {answer[:200]!r}")
                waiting.unregister(connection)
        if waiting.get_map():
            raise doors.WrongAnswer(f"{server.name}: {len(waiting.get_map())} streams unanswered")
    return opened


def growth_kib(server: Server, head: Head, count: int) -> float:
    """Return the resident memory in KiB that one more stream takes."""
    with ExitStack() as stack:
        for connection in open_streams(server, head, WARM_UP):
            stack.enter_context(connection)
        time.sleep(SETTLE_S)
        before_kib = server.rss_kib()
        for connection in open_streams(server, head, count):
            stack.enter_context(connection)
        time.sleep(SETTLE_S)
        return (server.rss_kib() - before_kib) / count


def raise_file_limit(count: int) -> None:
    """Raise the limit on open files for this process and the servers that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + WARM_UP + SPARE_FILES
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SystemExit(f"{count} streams need {needed} open files; the limit is {hard}.")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare the memory of idle event streams.")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    runs: list[tuple[str, Callable[[], AbstractContextManager[Server]], Head]] = [
        ("ours GET /sse", lambda: our_server("streams-sse"), old_stream),
        ("ours GET /mcp", lambda: our_server("streams-mcp"), session_stream),
    ]
    if not options.without_peers:
        python = peer_python()
        print(f"peers: {versions(python, 'fastmcp', 'mcp')}")
        runs += [
            ("FastMCP GET /sse", lambda: peer(python, "fastmcp", "sse"), old_stream),
            ("FastMCP GET /mcp", lambda: peer(python, "fastmcp", "stateful"), session_stream),
            ("SDK GET /sse", lambda: peer(python, "sdk", "sse"), old_stream),
            ("SDK GET /mcp", lambda: peer(python, "sdk", "stateful"), session_stream),
        ]
    print(f"{options.streams} idle streams; the goal is at most {GOAL_KIB} KiB each\n")
    print(f"{'':20}{'KiB a stream':>14}{'RSS MB':>9}{'opened in s':>13}")
    raise_file_limit(options.streams)
    for name, start, head in runs:
        with start() as server:
            started = time.monotonic()
            each_kib = growth_kib(server, head, options.streams)
            took_s = time.monotonic() - started - 2 * SETTLE_S
            rss_mib = server.rss_kib() / 1024
            print(f"{name:20}{each_kib:>14.1f}{rss_mib:>9.0f}{took_s:>13.1f}", flush=True)


if __name__ == "__main__":
    main()
