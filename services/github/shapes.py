"""Answers of another shape than GitHub describes: a member missing, a list for an object, null.

Tools read answers as GitHub describes them. Where one is different (an old Enterprise Server, a
proxy, a change of GitHub's), reading it fails somewhere within the tool, and here that becomes
an error which says so. The log has the traceback, since a fault of ours looks the same.
"""

from __future__ import annotations

import functools
import logging
from contextvars import ContextVar
from typing import Any

from core.tools import Handler
from services.github.backend.failures import outcome_unknown
from services.github.errors import BadResponse

logger = logging.getLogger(__name__)

MISREAD = (LookupError, TypeError, AttributeError, ValueError)
"""What reading a value as something else raises; pydantic's ValidationError is a ValueError."""

_writes: ContextVar[list[str] | None] = ContextVar("writes_of_the_call", default=None)


def note_write(asked: str) -> None:
    """Note that the running call sends a write, which its errors then have to tell."""
    if (writes := _writes.get()) is not None:
        writes.append(asked)


def shaped(handler: Handler) -> Handler:
    """Return the handler of a tool or resource, whose misread answers become errors.

    It raises `BadResponse`, or `OutcomeUnknown` when it had sent a write by then.
    """

    @functools.wraps(handler)
    async def handle(*arguments: Any) -> Any:
        writes: list[str] = []
        token = _writes.set(writes)
        try:
            return await handler(*arguments)
        except MISREAD as error:
            logger.exception("an answer has another shape than GitHub describes")
            what = "the answer has another shape than GitHub describes"
            if writes:
                raise outcome_unknown(writes[-1], what) from error
            raise BadResponse(f"What GitHub sent cannot be read: {what}.") from error
        finally:
            _writes.reset(token)

    return handle
