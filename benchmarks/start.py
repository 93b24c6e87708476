"""How long a service takes from the start of its process to `/ready`, and its memory then.

`python -m benchmarks.start [--starts 5]`

The demo server shows what `core` takes; the postgres service is started on the database of
`DATABASE_URL`, and without one it starts degraded, which it has to survive anyway. The fetch
service starts its converters when the first page comes.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import time

from benchmarks.processes import START_TIME_LIMIT_S, Server, our_server

GOAL_S = 1.0
SERVICES = {
    "demo": ("benchmarks.servers.ours", 60),
    "postgres": ("services.postgres", 100),
    "fetch": ("services.fetch", 100),
    "filesystem": ("services.filesystem", 60),
    "github": ("services.github", 60),
    "monitoring": ("services.monitoring", 60),
}
"""Name → module to run, goal for its memory in MB."""


def seconds_to_ready(server: Server) -> float:
    """Return the time from the start of the process to the first 200 of `/ready`."""
    deadline = server.started_at + START_TIME_LIMIT_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return time.monotonic() - server.started_at
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise RuntimeError(f"{server.name} did not become ready")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure time to ready and memory after it.")
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    database = "that of DATABASE_URL" if os.environ.get("DATABASE_URL") else "none"
    print(f"medians of {options.starts} starts; database of the postgres service: {database}\n")
    print(f"{'':12}{'ready in s':>12}{'goal':>6}{'CPU s':>8}{'RSS MB':>9}{'goal':>6}")
    for name, (module, goal_mb) in SERVICES.items():
        times_s: list[float] = []
        cpu_s: list[float] = []
        sizes_mb: list[float] = []
        for _ in range(options.starts):
            with our_server(f"start-{name}", module=module) as server:
                times_s.append(seconds_to_ready(server))
                cpu_s.append(server.cpu_s())
                sizes_mb.append(server.rss_kib() / 1024)
        ready_s, size_mb = statistics.median(times_s), statistics.median(sizes_mb)
        print(
            f"{name:12}{ready_s:>12.2f}{GOAL_S:>6.1f}{statistics.median(cpu_s):>8.2f}"
            f"{size_mb:>9.0f}{goal_mb:>6}"
        )


if __name__ == "__main__":
    main()
