"""What makes an audit log tell when it was changed: lines in a chain, each under a key.

```
{"sequence":7,"previous":"<SHA-256 of line 6>", … ,"key":"<which key>","mac":"<HMAC-SHA-256>"}
```

`previous` binds each line to all before it: whoever changes, inserts, moves or cuts out a line has
to write every later one anew. Nobody can do that without the key, since each line ends with a MAC
of itself. The key is made from the seal key; who has that, and the file, can forge everything. The
last lines can be cut off without a trace in the file, so the end is kept apart, in a head. Each
file begins with a `file` line, so that nobody can cut off its first lines.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_MAC = re.compile(rb'(.*),"mac":"([0-9a-f]{64})"\}', re.DOTALL)
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Link:
    """The end of a chain.

    Attributes:
        sequence: Number of the last line; 0 before the first.
        hash: SHA-256 of the last line, without its line feed, in hexadecimal.
    """

    sequence: int
    hash: str


BEGINNING = Link(0, "0" * 64)


class AuditKey:
    """What lines are signed with.

    Args:
        secret: The seal key; the audit log has a key of its own, made from it.

    Attributes:
        name: Tells which key a line was signed with, and nothing about it.
    """

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"mcp-audit-v1:" + secret.encode()).digest()
        self.name = self.mac(b"name")[:8]

    def mac(self, data: bytes) -> str:
        """Return the MAC of some bytes, in hexadecimal."""
        return hmac.digest(self._key, data, "sha256").hex()

    def has_signed(self, data: bytes, mac: str) -> bool:
        """Return whether a MAC is this key's for these bytes."""
        return hmac.compare_digest(self.mac(data), mac)


def sealed(after: Link, body: bytes, key: AuditKey) -> tuple[bytes, Link]:
    """Return a line, without its line feed, and the end of the chain with it.

    Args:
        body: The line's own members, as a JSON object with at least one.
    """
    unsigned = b'{"sequence":%d,"previous":"%b",%b,"key":"%b"' % (
        after.sequence + 1,
        after.hash.encode(),
        body[1:-1],
        key.name.encode(),
    )
    line = b'%b,"mac":"%b"}' % (unsigned, key.mac(unsigned).encode())
    return line, link_of(after.sequence + 1, line)


def link_of(sequence: int, line: bytes) -> Link:
    """Return the end of a chain whose last line this is."""
    return Link(sequence, hashlib.sha256(line).hexdigest())


def members_of(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None when it is not a line of an audit log."""
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if type(members) is not dict or type(members.get("sequence")) is not int:
        return None
    texts = [members.get(name) for name in ("previous", "key", "mac")]
    return members if all(type(text) is str for text in texts) else None


# --- the end, kept apart --------------------------------------------------------------------------


def head_of(link: Link, key: AuditKey, log: str) -> bytes:
    """Return what is kept of the end of a chain.

    Args:
        log: Name of the log's file, so that no other log's head is taken for this one's.
    """
    content = f"{link.sequence} {link.hash}"
    return f"{content} {key.name} {key.mac(_signed_in_head(log, content))}\n".encode()


def read_head(content: bytes, keys: Iterable[AuditKey] | None, log: str) -> Link | None:
    """Return the end that was kept; None when it is not what one of these keys has signed.

    Args:
        keys: None to believe it as it is.
    """
    parts = content.decode("ascii", "replace").split()
    if len(parts) != 4 or not parts[0].isdecimal() or not _HEX.fullmatch(parts[1]):
        return None
    sequence, hash_, name, mac = parts
    signed = _signed_in_head(log, f"{sequence} {hash_}")
    if keys is None or any(key.name == name and key.has_signed(signed, mac) for key in keys):
        return Link(int(sequence), hash_)
    return None


def _signed_in_head(log: str, content: str) -> bytes:
    return f"{log}\n{content}".encode("utf-8", "surrogateescape")


# --- checking -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, and in which line of it, from 1."""

    line: int
    text: str


@dataclass(slots=True)
class Checked:
    """What checking a file has found.

    Attributes:
        first: Before the file's first line: where the chain of earlier files has to end.
        last: After its last good line.
        lines: Good lines.
        lost: Lines that the server could not write, as later lines say.
        gap: The first line in which the server says that lines before it may be missing.
        services: Whose lines these are.
        since, until: Times of the first and the last line.
        problem: The first thing that is wrong; nothing after it was looked at.
        hashes: Of the good lines, by their sequence numbers.
    """

    first: Link = BEGINNING
    last: Link = BEGINNING
    lines: int = 0
    lost: int = 0
    gap: Problem | None = None
    services: set[str] = field(default_factory=set)
    since: str = ""
    until: str = ""
    problem: Problem | None = None
    hashes: dict[int, str] = field(default_factory=dict)


def check(
    content: Iterator[bytes],
    keys: Mapping[str, AuditKey] | None,
    *,
    log: str,
    begin: int = 1,
) -> Checked:
    """Check the lines of one file.

    Args:
        content: Its lines, with their line feeds.
        keys: By name; None to look at the chain only, which anybody can write anew.
        log: Name of the file that the server writes.
        begin: Number of the first line that is looked at.
    """
    found = Checked()
    for number, raw in enumerate(content, start=1):
        line = raw.removesuffix(b"\n")
        members = members_of(line)
        if number == 1 and members is not None and members.get("event") != "file":
            found.problem = Problem(number, "is not the first of a file: those before were cut off")
        elif not found.lines and members is not None and members["sequence"] < begin:
            continue
        elif not raw.endswith(b"\n"):
            found.problem = Problem(number, "is not finished, as after a crash or a cut")
        elif members is None:
            found.problem = Problem(number, "is not a line of an audit log")
        elif wrong := _wrong_signature(line, members, keys) or _wrong_place(members, found):
            found.problem = Problem(number, wrong)
        else:
            _take(found, line, members)
            if members.get("event") == "gap" and found.gap is None:
                found.gap = _gap(found, number, members, keys, log)
            continue
        break
    return found


def _take(found: Checked, line: bytes, members: dict[str, Any]) -> None:
    sequence, time = members["sequence"], str(members.get("time", ""))
    if not found.lines:
        found.first, found.since = Link(sequence - 1, members["previous"]), time
    found.last, found.until = link_of(sequence, line), time
    found.lines += 1
    found.services.add(str(members.get("service", "?")))
    if members.get("event") == "lost" and type(members.get("lines")) is int:
        found.lost += members["lines"]
    found.hashes[sequence] = found.last.hash


def _gap(
    found: Checked,
    number: int,
    members: dict[str, Any],
    keys: Mapping[str, AuditKey] | None,
    log: str,
) -> Problem | None:
    """Return what a `gap` line tells; None when the head it has seen was good, under an older key.

    What the server cannot know of a head whose key it has no longer, an auditor can.
    """
    head = str(members.get("head") or "").encode("ascii", "replace")
    link = read_head(head, None if keys is None else keys.values(), log)
    known = {found.first.sequence: found.first.hash, **found.hashes}
    if (
        members.get("only_head") is True
        and link is not None
        and known.get(link.sequence) == link.hash
    ):
        return None
    return Problem(number, f"says that lines before it may be missing: {members.get('why')}")


def _wrong_place(members: dict[str, Any], before: Checked) -> str | None:
    sequence, last = members["sequence"], before.last.sequence
    if not before.lines or (members["previous"] == before.last.hash and sequence == last + 1):
        return None
    if sequence > last + 1:
        return f"has the number {sequence} and follows {last}: lines between them are missing"
    return f"has the number {sequence} and does not follow {last}: lines were moved or changed"


def _wrong_signature(
    line: bytes, members: dict[str, Any], keys: Mapping[str, AuditKey] | None
) -> str | None:
    if keys is None:
        return None
    signed = _MAC.fullmatch(line)
    key = keys.get(members["key"])
    if key is None:
        return f"is signed with another key, {members['key'][:20]!r}; give the seal key it had"
    if signed is None or not key.has_signed(signed[1], signed[2].decode()):
        return "was changed: its signature does not fit"
    return None
