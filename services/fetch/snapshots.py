"""Pages as they were fetched and converted, kept for a while so that they can be read in parts.

Paging, sections, search and lists of links all read a snapshot, never the web again: page two is
of the version that page one was of. A snapshot belongs to the caller who made it; its id is random
and means nothing to anybody else.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.fetch.backend.download import Download
from services.fetch.convert import Document, Wanted
from services.fetch.errors import SnapshotGone

ID_BYTES = 12
ENTRY_BYTES = 200
"""About what a heading or link takes besides its text."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a page depends on: the same key, the same request.

    Attributes:
        owner: The principal who asked.
        url: As it was asked for, without its fragment.
        headers: Those that the caller gave, lower-case names, sorted.
    """

    owner: str
    url: str
    wanted: Wanted
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One page, fetched and converted.

    Attributes:
        id: None where it is too large to be kept.
        download: The facts of its arrival; the body is dropped.
        source: What was converted, in short.
        size_bytes: Memory that it takes, about.
    """

    id: str | None
    key: Key
    download: Download
    document: Document
    source: str
    size_bytes: int
    expires_at: float


class Snapshots:
    """The pages that can still be read on; the least recently used go first.

    Args:
        max_bytes: Memory for all of them.
        ttl_s: Seconds for which one is kept.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, *, max_bytes: int, ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: OrderedDict[str, Snapshot] = OrderedDict()
        self._newest: dict[Key, str] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, download: Download, document: Document) -> Snapshot:
        """Keep a page, unless it alone is larger than the limit; return it."""
        size = size_of(document)
        snapshot = Snapshot(
            id=secrets.token_urlsafe(ID_BYTES) if size <= self._max_bytes else None,
            key=key,
            download=replace(download, body=b""),
            document=document,
            source=source_of(download),
            size_bytes=size,
            expires_at=self._clock() + self._ttl_s,
        )
        if snapshot.id is not None:
            self._kept[snapshot.id] = snapshot
            self._newest[key] = snapshot.id
            self.size_bytes += size
            self._drop_old()
        return snapshot

    def named(self, snapshot_id: str, owner: str) -> Snapshot:
        """Return a kept page.

        Raises:
            SnapshotGone: It is no longer kept, or never was, or is another caller's.
        """
        snapshot = self._kept.get(snapshot_id)
        if snapshot is None or snapshot.key.owner != owner or self._is_over(snapshot):
            raise SnapshotGone("This page is no longer kept.")
        self._kept.move_to_end(snapshot_id)
        return snapshot

    def newest(self, key: Key) -> Snapshot | None:
        """Return the page that was last kept for a request; None when it is gone."""
        try:
            return self.named(self._newest.get(key, ""), key.owner)
        except SnapshotGone:
            return None

    def document_of(self, key: Key, download: Download) -> Document | None:
        """Return what the same bytes were converted to, when they last came for the request."""
        last = self.newest(key)
        return last.document if last and last.source == source_of(download) else None

    def _is_over(self, snapshot: Snapshot) -> bool:
        return snapshot.expires_at <= self._clock()

    def _drop_old(self) -> None:
        for snapshot in [s for s in self._kept.values() if self._is_over(s)]:
            self._drop(snapshot)
        while self.size_bytes > self._max_bytes:
            self._drop(next(iter(self._kept.values())))

    def _drop(self, snapshot: Snapshot) -> None:
        assert snapshot.id is not None
        del self._kept[snapshot.id]
        self.size_bytes -= snapshot.size_bytes
        if self._newest.get(snapshot.key) == snapshot.id:
            del self._newest[snapshot.key]


def source_of(download: Download) -> str:
    """Return a fingerprint of all that a conversion depends on besides the wishes."""
    facts = f"{download.final_url}\n{download.content_type}\n".encode()
    return hashlib.sha256(facts + download.body).hexdigest()


def size_of(document: Document) -> int:
    """Return the bytes of memory that a document takes, about."""
    texts = [document.content, *(heading.text for heading in document.outline)]
    texts += [text for link in document.links for text in (link.url, link.text)]
    entries = len(document.outline) + len(document.links) + 1
    binary = len(document.binary or b"")
    return sum(map(sys.getsizeof, texts)) + ENTRY_BYTES * entries + binary
