"""Lists in pages: signed cursors, and answers cut by bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from core.errors import CursorRefused
from core.sealing import Sealer

FRAME_BYTES = 1_500
"""Room for the members of an answer besides its list."""

ItemT = TypeVar("ItemT", bound=BaseModel)


def digest_of(*parts: Any) -> str:
    """Return what binds a cursor to the call it was made for."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Cursors:
    """Seals where the next page begins together with the call it belongs to.

    Args:
        service: Whose cursors these are; those of another service are refused.
    """

    def __init__(self, sealer: Sealer, service: str) -> None:
        self._sealer = sealer
        self._purpose = f"{service}-cursor"

    def offset_of(self, cursor: str | None, digest: str) -> int:
        """Return where the page begins; 0 without a cursor, or with the "" that models fill in.

        Raises:
            CursorRefused: Not a cursor of ours, or of another call.
        """
        return int(self.position_of(cursor, digest) or 0)

    def position_of(self, cursor: str | None, digest: str) -> Any:
        """Return the position that a cursor was made of; None where `offset_of` returns 0.

        Raises:
            CursorRefused: As `offset_of`.
        """
        if not cursor:
            return None
        try:
            bound, position = json.loads(self._sealer.open(self._purpose, cursor))
        except ValueError:
            raise CursorRefused("The cursor was not made by this server.") from None
        if bound != digest:
            raise CursorRefused("The cursor belongs to a call with other arguments.")
        return position

    def make(self, position: Any, digest: str) -> str:
        """Return the cursor of the page that begins at an offset, or a position of JSON values."""
        return self._sealer.seal(self._purpose, to_json([digest, position]))


@dataclass(frozen=True, slots=True)
class Cut:
    """The members that say how much of a list was returned."""

    returned: int
    total: int | None
    truncated: bool
    truncated_by: Literal["limit", "bytes"] | None
    next_cursor: str | None

    def members(self) -> dict[str, Any]:
        """Return them as arguments of a `Page`."""
        return {
            "returned": self.returned,
            "total": self.total,
            "truncated": self.truncated,
            "truncated_by": self.truncated_by,
            "next_cursor": self.next_cursor,
        }


def fitting(items: Iterable[BaseModel], max_bytes: int) -> int:
    """Return how many items fit into an answer of so many bytes; at least one if there is one."""
    count, size = 0, FRAME_BYTES
    for item in items:
        size += len(to_json(item)) + 1
        if size > max_bytes and count:
            break
        count += 1
    return count


def cut(
    items: Sequence[ItemT],
    *,
    limit: int,
    max_bytes: int,
    offset: int = 0,
    total: int | None = None,
    cursors: Cursors | None = None,
    digest: str = "",
) -> tuple[list[ItemT], Cut]:
    """Return the items of one page and what to say about the rest.

    Args:
        items: From `offset` on; more than `limit` of them means that there is a next page.
        total: Of the whole list, when it is known.
        cursors: None where a list has no further pages to offer.
    """
    wanted = items[:limit]
    fit = fitting(wanted, max_bytes)
    shown = list(wanted[:fit])
    end = offset + len(shown)
    more = len(shown) < len(items) or (total is not None and end < total)
    by_bytes = len(shown) < len(wanted)
    return shown, Cut(
        returned=len(shown),
        total=total,
        truncated=more,
        truncated_by=("bytes" if by_bytes else "limit") if more else None,
        next_cursor=cursors.make(end, digest) if more and cursors is not None else None,
    )
