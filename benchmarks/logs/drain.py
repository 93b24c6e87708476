"""Runs in the peer's environment: finds templates in the files or messages it is given, by drain3.

`python drain.py FILE…` prints seconds, lines and templates as JSON; with `-` it reads messages from
standard input and prints the number of each one's template. It imports nothing of this project.
"""

import importlib
import json
import resource
import sys
import time
from typing import Any

MASKS = (
    (r"((?<=[^A-Za-z0-9])|^)(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))((?=[^A-Za-z0-9])|$)", "ID"),
    (r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9a-f]{6,} ?){3,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
    (r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
)
"""As in drain3's own example, examples/drain3.ini."""


def miner() -> Any:
    """Return drain3 with its example's masks."""
    drain3 = importlib.import_module("drain3")
    config = importlib.import_module("drain3.template_miner_config").TemplateMinerConfig()
    instruction = importlib.import_module("drain3.masking").MaskingInstruction
    config.masking_instructions = [instruction(pattern, name) for pattern, name in MASKS]
    return drain3.TemplateMiner(config=config)


def main() -> None:
    """Find templates and print what came of it."""
    found = miner()
    if sys.argv[1:] == ["-"]:
        for line in sys.stdin:
            sys.stdout.write(f"{found.add_log_message(line.rstrip())['cluster_id']}\n")
        return
    started, lines = time.perf_counter(), 0
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            for line in file:
                found.add_log_message(line.rstrip())
                lines += 1
    facts = {
        "seconds": time.perf_counter() - started,
        "lines": lines,
        "templates": len(found.drain.clusters),
        "rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
