"""Pages that are kept for reading on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.fetch.convert import Document, Wanted
from services.fetch.errors import SnapshotGone
from services.fetch.snapshots import Key, Snapshots, size_of
from tests.services.fetch.browsing import DOWNLOAD


def document(text: str) -> Document:
    """Return a page with nothing but text."""
    return Document(content=text, format="markdown", kind="html", engine="body")


def key(url: str = "https://example.org/", owner: str = "ann", **wanted: str) -> Key:
    """Return what a request depends on."""
    return Key(owner, url, Wanted(**wanted))  # type: ignore[arg-type]  # Literals as text


class Time:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


def test_a_page_is_found_by_its_id_and_by_its_request() -> None:
    """The body is not kept with it."""
    snapshots = Snapshots(max_bytes=10_000, ttl_s=60)
    kept = snapshots.keep(key(), DOWNLOAD, document("Hello"))
    assert kept.id is not None
    assert snapshots.named(kept.id, "ann") is kept
    assert snapshots.newest(key()) is kept
    assert kept.download.body == b""


def test_a_page_is_nobody_elses() -> None:
    """An id that leaked is of no use; the error does not say that there is such a page."""
    snapshots = Snapshots(max_bytes=10_000, ttl_s=60)
    kept = snapshots.keep(key(), DOWNLOAD, document("Hello"))
    assert kept.id is not None
    with pytest.raises(SnapshotGone) as of_another:
        snapshots.named(kept.id, "bob")
    with pytest.raises(SnapshotGone) as of_nobody:
        snapshots.named("unknown", "bob")
    assert of_another.value.to_dict() == of_nobody.value.to_dict()
    assert snapshots.newest(key(owner="bob")) is None


def test_another_format_is_another_page() -> None:
    """Offsets of markdown mean nothing in the source."""
    snapshots = Snapshots(max_bytes=10_000, ttl_s=60)
    snapshots.keep(key(), DOWNLOAD, document("Hello"))
    assert snapshots.newest(key(format="raw")) is None


def test_a_page_is_gone_when_its_time_is_over() -> None:
    """And its memory with the next one that is kept."""
    clock = Time()
    snapshots = Snapshots(max_bytes=10_000, ttl_s=60, clock=clock)
    kept = snapshots.keep(key(), DOWNLOAD, document("Hello"))
    clock.now = 60
    assert kept.id is not None
    with pytest.raises(SnapshotGone):
        snapshots.named(kept.id, "ann")
    snapshots.keep(key("https://example.org/2"), DOWNLOAD, document("Hello"))
    assert len(snapshots) == 1


def test_the_least_recently_used_goes_first() -> None:
    """Within the bytes that all of them may have."""
    size = size_of(document("x" * 1_000))
    snapshots = Snapshots(max_bytes=2 * size, ttl_s=60)
    first, second, third = (f"https://example.org/{n}" for n in range(3))
    for url in (first, second):
        snapshots.keep(key(url), DOWNLOAD, document("x" * 1_000))
    assert snapshots.newest(key(first)) is not None
    snapshots.keep(key(third), DOWNLOAD, document("x" * 1_000))
    assert snapshots.newest(key(second)) is None
    assert snapshots.newest(key(first)) is not None
    assert snapshots.size_bytes <= 2 * size


def test_an_older_version_stays_while_it_is_read() -> None:
    """A page that is fetched anew does not change under who reads the old one."""
    snapshots = Snapshots(max_bytes=10_000, ttl_s=60)
    old = snapshots.keep(key(), DOWNLOAD, document("old"))
    new = snapshots.keep(key(), DOWNLOAD, document("new"))
    assert old.id is not None
    assert snapshots.named(old.id, "ann").document.content == "old"
    assert snapshots.newest(key()) is new


def test_the_same_bytes_are_not_converted_twice() -> None:
    """Others are, and the same ones for another wish or from another place."""
    snapshots = Snapshots(max_bytes=10_000, ttl_s=60)
    kept = snapshots.keep(key(), DOWNLOAD, document("Hello"))
    assert snapshots.document_of(key(), DOWNLOAD) is kept.document
    assert snapshots.document_of(key(), replace(DOWNLOAD, body=b"<p>Hallo")) is None
    assert snapshots.document_of(key(), replace(DOWNLOAD, content_type="text/plain")) is None
    assert snapshots.document_of(key(), replace(DOWNLOAD, final_url="https://x.org/")) is None
    assert snapshots.document_of(key(format="raw"), DOWNLOAD) is None


def test_a_page_over_the_limit_is_not_kept_and_drives_none_out() -> None:
    """It has no id, so nobody is promised that it can be read on."""
    snapshots = Snapshots(max_bytes=5_000, ttl_s=60)
    small = snapshots.keep(key(), DOWNLOAD, document("Hello"))
    large = snapshots.keep(key("https://example.org/large"), DOWNLOAD, document("x" * 6_000))
    assert large.id is None
    assert small.id is not None
    assert snapshots.named(small.id, "ann") is small


def test_ids_cannot_be_guessed() -> None:
    """96 random bits each."""
    snapshots = Snapshots(max_bytes=10_000_000, ttl_s=60)
    ids = {snapshots.keep(key(), DOWNLOAD, document("x")).id for _ in range(100)}
    assert len(ids) == 100
    assert all(name is not None and len(name) >= 16 for name in ids)
