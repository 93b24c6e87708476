"""Who posted a message to another replica, as far as the one that takes it has to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self

from core.context import Allowance, Principal
from core.grants import Grant

CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"cookie", b"proxy-authorization"})
"""Headers that stay where they were checked."""


class Sender(Protocol):
    """What is known of who sent a message: the HTTP request, or what another replica tells."""

    principal: Principal
    address: str
    correlation_id: str
    trace: dict[str, Any]

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """The request's headers."""


@dataclass(slots=True)
class Posted:
    """The sender of a request that another replica has let in.

    Attributes:
        headers: Of the request, without its credentials.
    """

    principal: Principal
    address: str
    correlation_id: str
    headers: dict[bytes, bytes]
    trace: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, sender: Sender) -> Self:
        """Return what is to be told of a sender."""
        headers = {k: v for k, v in sender.headers.items() if k not in CREDENTIALS}
        return cls(sender.principal, sender.address, sender.correlation_id, headers)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        headers = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in self.headers.items()]
        return {
            "principal": asdict(self.principal),
            "address": self.address,
            "correlation_id": self.correlation_id,
            "headers": headers,
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Self:
        """Return what `to_dict` told."""
        principal = dict(told["principal"])
        grant, allowance = principal["grant"], principal["allowance"]
        scopes = grant["scopes"]
        principal["grant"] = Grant(None if scopes is None else tuple(scopes), grant["read_only"])
        principal["allowance"] = None if allowance is None else Allowance(**allowance)
        headers = {k.encode("latin-1"): v.encode("latin-1") for k, v in told["headers"]}
        return cls(Principal(**principal), told["address"], told["correlation_id"], headers)
