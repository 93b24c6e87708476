"""Answers that are kept to be asked for conditionally: a 304 costs no quota (RFC 9110, 13.1.2)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from services.github.backend.exchange import Answer

OVERHEAD_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two requests the same; one credential never gets another's answers."""

    credential: str
    url: str
    accept: str


class Cache:
    """The answers used last, up to so many bytes.

    Args:
        max_bytes: Of bodies, each counted with `OVERHEAD_BYTES` more; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._answers: OrderedDict[Key, Answer] = OrderedDict()

    def get(self, key: Key) -> Answer | None:
        """Return the kept answer, which is used last from now on."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def put(self, key: Key, answer: Answer) -> None:
        """Keep an answer that has an ETag and is no larger than a quarter of the room."""
        self.drop(key)
        size = _size(answer)
        if "etag" not in answer.headers or 4 * size > self._max_bytes:
            return
        self._answers[key] = answer
        self._held_bytes += size
        while self._held_bytes > self._max_bytes:
            _, oldest = self._answers.popitem(last=False)
            self._held_bytes -= _size(oldest)

    def drop(self, key: Key) -> None:
        """Forget an answer."""
        if (old := self._answers.pop(key, None)) is not None:
            self._held_bytes -= _size(old)


def _size(answer: Answer) -> int:
    return len(answer.body) + OVERHEAD_BYTES
