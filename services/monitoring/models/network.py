"""What network returns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Page


class InterfaceFacts(Facts):
    """A network interface; totals since it was made."""

    name: str
    up: bool | None
    speed_mbit: int | None
    mtu: int | None
    addresses: list[str]
    rx_bytes_s: float | None
    tx_bytes_s: float | None
    rx_packets_s: float | None
    tx_packets_s: float | None
    errors_s: float | None
    drops_s: float | None
    rx_bytes: int
    tx_bytes: int
    errors: int
    drops: int


class SocketFacts(Facts):
    """A connection or listener; pid and process are null where they may not be seen."""

    protocol: str
    local: str
    remote: str | None
    state: str
    pid: int | None
    process: str | None
    user: str
    exposed: bool | None
    queued: int
    unsent_bytes: int


class NetworkView(Page):
    """Interfaces, connections or listeners."""

    view: Literal["interfaces", "connections", "listeners"]
    interfaces: list[InterfaceFacts]
    sockets: list[SocketFacts] = Field(
        description="protocol, local, remote, state, pid, process, user, exposed (a listener "
        "others can reach), queued."
    )
    states: dict[str, int]
    notes: list[str]
    summary: str
