"""Small JSON files in the state folder: what has to survive a restart of this service.

Writing happens on a thread of its own, the latest content only, so that a slow disk holds nothing
up. A folder that cannot be written costs the memory over a restart and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MAX_STATE_BYTES = 8 * 1024 * 1024
logger = logging.getLogger(__name__)


class StateFile:
    """One file that holds one JSON object.

    Args:
        file: Its folder need not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._next: str | None = None
        self._writer: ThreadPoolExecutor | None = None

    def load(self) -> dict[str, Any]:
        """Return what was saved last; empty when nothing was, or it cannot be read."""
        try:
            with self._file.open("rb") as saved:
                data = json.loads(saved.read(MAX_STATE_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            logger.warning("%s is not readable and is begun anew: %s", self._file.name, error)
            return {}
        return data if isinstance(data, dict) else {}

    def save(self, data: dict[str, Any]) -> None:
        """Replace the content, soon; what a later call gives goes over it."""
        text = json.dumps(data, separators=(",", ":"))
        with self._lock:
            is_waiting, self._next = self._next is not None, text
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, thread_name_prefix="state")
        if not is_waiting:
            self._writer.submit(self._write)

    def close(self) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None

    def _write(self) -> None:
        with self._lock:
            text, self._next = self._next, None
        draft = self._file.with_suffix(f".{os.getpid()}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.unlink(missing_ok=True)
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(fd, "w", encoding="utf-8") as out:
                out.write(text or "{}")
            draft.replace(self._file)
        except OSError as error:
            logger.warning("%s is remembered by this process only: %s", self._file.name, error)
