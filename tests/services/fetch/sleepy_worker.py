"""A converter that takes for ever over bodies that say so, and is the real one for all others.

Whatever really takes that long is a fault that gets repaired; tests of the clock outlive it.
"""

from __future__ import annotations

import time

from services.fetch.convert import worker
from services.fetch.convert.conversion import convert
from services.fetch.convert.document import Document, Source, Wanted

SLOW = b"<p>takes for ever"
PROGRAM = "tests.services.fetch.sleepy_worker"


def _sleepy(source: Source, wanted: Wanted) -> Document:
    if source.body.startswith(SLOW):
        time.sleep(600)
    return convert(source, wanted)


if __name__ == "__main__":
    vars(worker)["convert"] = _sleepy
    worker.main()
