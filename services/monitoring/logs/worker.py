"""The process that reads logs, started by `pool`.

Before the first job it gives up what it does not need: its memory is bounded, it dies with its
parent, and the kernel lets it read below the roots only (Landlock) and write nothing. Logs are
strangers' text, and scanning them holds the interpreter, so neither happens in the service.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from core.errors import ToolError
from core.workers import give_up_rights, limit_cpu, live_with, memory_of, open_statm, receive, send
from services.monitoring.logs import lookups, mining, search
from services.monitoring.logs.scan import Budget, Scan
from services.monitoring.logs.sources import LogRoot

JOBS: dict[str, Callable[[Scan, dict[str, Any]], dict[str, Any]]] = {
    "search": search.search,
    "sources": lookups.sources,
    "context": lookups.context,
    "patterns": mining.patterns,
    "errors": mining.errors,
    "changes": mining.changes,
}
MAX_KEPT_BYTES = 256 * 1024 * 1024
"""A worker that grew larger ends after the job."""
MAX_OPEN_FILES = 256
_CPU_SLACK_S = 5


def main() -> None:
    """Serve jobs until the parent closes the pipe.

    Arguments of the process: the parent's id, and JSON with `memory_bytes` and `roots`.
    """
    live_with(int(sys.argv[1]))
    given = json.loads(sys.argv[2])
    roots = [LogRoot(*root) for root in given["roots"]]
    time.localtime()  # reads the machine's zone while files can still be opened
    statm = open_statm()
    give_up_rights(
        memory=memory_of(statm)[0] + given["memory_bytes"],
        read=[root.path for root in roots],
        open_files=MAX_OPEN_FILES,
        # Root in a user namespace of its own could not read what belongs to others.
        network=os.geteuid() == 0,
    )
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    send(results, {"ready": True})
    while (job := receive(jobs)) is not None:
        limit_cpu(int(job[0]["seconds"]) + _CPU_SLACK_S)
        result = _result(roots, job[0])
        result["last"] = last = memory_of(statm)[1] > MAX_KEPT_BYTES
        send(results, result)
        if last:
            return


def _result(roots: list[LogRoot], job: dict[str, Any]) -> dict[str, Any]:
    scan = Scan(roots, Budget(bytes=job["bytes"], seconds=job["seconds"]))
    try:
        return {"result": JOBS[job["job"]](scan, job["payload"])}
    except ToolError as error:
        return {"error": error.to_dict()}
    except MemoryError:
        return {"failure": "memory"}
    except Exception as error:  # the outermost handler of this process; the parent logs it
        return {"failure": f"{type(error).__name__}: {error}"[:300]}
    finally:
        scan.close()


if __name__ == "__main__":
    main()
