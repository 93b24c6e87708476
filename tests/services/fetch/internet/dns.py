"""A name server that says what a test wants, differently each time if need be (RFC 1035)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from typing import cast

A, CNAME, AAAA = 1, 5, 28
NO_ERROR, SERVER_FAILURE, NAME_ERROR = 0, 2, 3
_AUTHORITATIVE_ANSWER = 0x8580
_HEADER_BYTES = 12
_NAME_OF_QUESTION = b"\xc0\x0c"  # a pointer to where the name of the question begins

Said = Sequence[str] | int | None
"""Of one lookup: addresses, an error code of DNS, or silence."""


class NameServer(asyncio.DatagramProtocol):
    """Answers A and AAAA over UDP, with a TTL of 0, so that nobody has a reason to remember.

    Attributes:
        names: Name → what is said to one lookup after the other; the last stays. A member that is
            no address is a CNAME, and the addresses behind it are that name's.
        others: What is said about every other name.
        questions: Every (name, type) that was asked.
    """

    def __init__(self) -> None:
        self.names: dict[str, Sequence[Said]] = {}
        self.others: Said = NAME_ERROR
        self.questions: list[tuple[str, int]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        # asyncio's own class of them does not say that it is one before Python 3.12.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str | int, int]) -> None:
        """Answer one question."""
        name, kind, end = _question(data)
        said = self._next(name, kind)
        if said is None:
            return
        code, records = (said, []) if isinstance(said, int) else (NO_ERROR, _records(said, kind))
        counts = struct.pack("!HHHHH", _AUTHORITATIVE_ANSWER | code, 1, len(records), 0, 0)
        question = data[_HEADER_BYTES:end]
        self._transport.sendto(data[:2] + counts + question + b"".join(records), address)

    def _next(self, name: str, kind: int) -> Said:
        """Return what is said to the n-th question of a type: a lookup asks one of each."""
        self.questions.append((name, kind))
        answers = self.names.get(name, [self.others])
        return answers[min(self.questions.count((name, kind)), len(answers)) - 1]


def _question(data: bytes) -> tuple[str, int, int]:
    """Return name and type of the only question, and where it ends."""
    labels, at = [], _HEADER_BYTES
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    (kind,) = struct.unpack_from("!H", data, at + 1)
    return ".".join(labels), kind, at + 5


def _records(said: Sequence[str], kind: int) -> list[bytes]:
    owner, records = _NAME_OF_QUESTION, []
    for member in said:
        try:
            address = ip_address(member)
        except ValueError:
            alias = _encoded(member)
            records.append(_record(owner, CNAME, alias))
            owner = alias
            continue
        if kind == (A if isinstance(address, IPv4Address) else AAAA):
            records.append(_record(owner, kind, address.packed))
    return records


def _record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def _encoded(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
