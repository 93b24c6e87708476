"""network: interfaces, connections, listeners."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from core.errors import DependencyUnavailable
from core.models import Arguments
from core.paging import Cut
from core.tools import Listing
from services.monitoring.backend.host import InterfaceIo
from services.monitoring.backend.names import printable
from services.monitoring.backend.network import Interface, Network, Owners, Socket, states_of
from services.monitoring.backend.rates import InterfaceRates
from services.monitoring.backend.sample import reason_of
from services.monitoring.models.network import InterfaceFacts, NetworkView, SocketFacts
from services.monitoring.tools.desk import Desk, RowT
from services.monitoring.users import user_name

FIRST_SAMPLE_S = 5.0
View = Literal["interfaces", "connections", "listeners"]


class NetworkArguments(Arguments):
    """Arguments of network."""

    view: View = "interfaces"
    q: str | None = Field(None, description="In names, addresses, ports.")
    state: str | None = Field(None, description="established, close_wait, …")
    port: int | None = Field(None, ge=0, le=65_535)
    pid: int | None = Field(None, ge=1)
    limit: int = Field(100, ge=1, le=1_000)
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """The sockets of one call, with who has them."""

    sockets: list[Socket]
    owners: Owners
    names: dict[int, str]
    cut: bool


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the network's tools."""
    tools = NetworkTools(desk)
    return [
        Listing(
            name="network",
            title="Interfaces, connections, listeners",
            description="Show the network: interfaces with rates, errors and addresses; "
            "connections by state; or who listens on which port.",
            handler=tools.network,
            arguments=NetworkArguments,
            result=NetworkView,
        ),
    ]


class NetworkTools:
    """The handler."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._network = Network(desk.backend.host)

    async def network(self, arguments: NetworkArguments) -> NetworkView:
        """Return one view of the network.

        Raises:
            DependencyUnavailable: The system does not tell it.
        """
        try:
            if arguments.view == "interfaces":
                return await self._interfaces(arguments)
            # Rows of some thousand sockets take a tenth of a second and more.
            return await asyncio.to_thread(self._sockets, arguments)
        except OSError as error:
            raise DependencyUnavailable(
                f"The {arguments.view} cannot be read: {reason_of(error)}.", retryable=False
            ) from None

    async def _interfaces(self, arguments: NetworkArguments) -> NetworkView:
        sample = await self._desk.backend.sampler.with_rates(FIRST_SAMPLE_S)
        known = await asyncio.to_thread(self._network.interfaces)
        counters = await asyncio.to_thread(self._desk.backend.host.interfaces)
        rates = sample.interfaces if sample else {}
        rows = [
            _interface(name, io, known.get(name), rates.get(name)) for name, io in counters.items()
        ]
        if arguments.q:
            word = arguments.q.lower()
            rows = [row for row in rows if word in f"{row.name} {row.addresses}".lower()]
        rows.sort(key=lambda row: -(row.rx_bytes + row.tx_bytes))
        shown, page = self._page(arguments, rows)
        busiest = ", ".join(f"{r.name} {r.rx_bytes_s} in {r.tx_bytes_s} out" for r in shown[:3])
        return NetworkView(
            **page.members(),
            view="interfaces",
            interfaces=shown,
            sockets=[],
            states={},
            notes=self._notes(),
            summary=f"{len(rows)} interfaces; bytes/s: {busiest}.",
        )

    def _sockets(self, arguments: NetworkArguments) -> NetworkView:
        seen = self._look()
        listening = arguments.view == "listeners"
        of_view = [s for s in seen.sockets if (s.state == "listen") == listening]
        user_of = str if self._desk.backend.host.foreign else user_name
        pairs = ((_socket(s, seen, user_of), s) for s in sorted(of_view, key=_by_port))
        rows = [row for row, s in pairs if _is_wanted(row, s, arguments)]
        shown, page = self._page(arguments, rows)
        notes = self._notes()
        if seen.owners.unseen:
            notes.append(
                f"The sockets of {seen.owners.unseen} processes may not be looked at by this "
                "service's user; where pid is null, one of them has it."
            )
        if seen.cut:
            notes.append("There are more sockets than are read.")
        states = states_of(of_view)
        return NetworkView(
            **page.members(),
            view=arguments.view,
            interfaces=[],
            sockets=shown,
            states=states,
            notes=notes,
            summary=f"{len(of_view)} {arguments.view}, {len(rows)} of them match: "
            f"{', '.join(f'{state} {count}' for state, count in states.items())}.",
        )

    def _look(self) -> _Seen:
        sockets, is_cut = self._network.sockets()
        owners = self._network.owners({s.inode for s in sockets if s.inode})
        names = {}
        for pid in set(owners.pids.values()):
            name = self._desk.backend.processes.status(pid).get("Name")
            if name is not None:
                names[pid] = printable(name)
        return _Seen(sockets, owners, names, is_cut)

    def _notes(self) -> list[str]:
        scope = self._desk.backend.scope
        return [scope.note] if scope.kind == "container" else []

    def _page(self, arguments: NetworkArguments, rows: Sequence[RowT]) -> tuple[list[RowT], Cut]:
        asked = arguments.model_dump(exclude={"cursor", "limit"})
        return self._desk.page(
            rows,
            lambda row: row,
            limit=arguments.limit,
            cursor=arguments.cursor,
            call=("network", asked),
        )


# --- rows -----------------------------------------------------------------------------------------


def _interface(
    name: str, io: InterfaceIo, known: Interface | None, rates: InterfaceRates | None
) -> InterfaceFacts:
    return InterfaceFacts(
        name=name,
        up=known.is_up if known else None,
        speed_mbit=known.speed_mbit if known else None,
        mtu=known.mtu if known else None,
        addresses=list(known.addresses) if known else [],
        rx_bytes_s=round(rates.rx_bytes_s) if rates else None,
        tx_bytes_s=round(rates.tx_bytes_s) if rates else None,
        rx_packets_s=round(rates.rx_packets_s, 1) if rates else None,
        tx_packets_s=round(rates.tx_packets_s, 1) if rates else None,
        errors_s=round(rates.errors_s, 2) if rates else None,
        drops_s=round(rates.drops_s, 2) if rates else None,
        rx_bytes=io.rx_bytes,
        tx_bytes=io.tx_bytes,
        errors=io.rx_errors + io.tx_errors,
        drops=io.rx_drops + io.tx_drops,
    )


def _by_port(found: Socket) -> tuple[bool, int, str, str, str, int]:
    """Return the order of the sockets; those that no process has any more come last."""
    return (
        found.inode == 0,
        found.local_port,
        found.protocol,
        found.local_address,
        found.remote_address,
        found.remote_port,
    )


def _socket(found: Socket, seen: _Seen, user_of: Callable[[int], str]) -> SocketFacts:
    pid = seen.owners.pids.get(found.inode) if found.inode else None
    listens = found.state == "listen"
    remote = endpoint(found.remote_address, found.remote_port)
    return SocketFacts(
        protocol=found.protocol,
        local=endpoint(found.local_address, found.local_port),
        remote=None if listens else remote,
        state=found.state,
        pid=pid,
        process=None if pid is None else seen.names.get(pid),
        user=user_of(found.uid),
        exposed=not ipaddress.ip_address(found.local_address).is_loopback if listens else None,
        queued=found.queued_bytes,
        unsent_bytes=found.unsent_bytes,
    )


def endpoint(address: str, port: int) -> str:
    """Return address and port as one; IPv6 in brackets (RFC 5952 §6)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _is_wanted(row: SocketFacts, found: Socket, arguments: NetworkArguments) -> bool:
    if arguments.port is not None and arguments.port not in (found.local_port, found.remote_port):
        return False
    if arguments.pid is not None and row.pid != arguments.pid:
        return False
    if arguments.state and row.state != arguments.state.lower():
        return False
    text = f"{row.local} {row.remote} {row.process} {row.user} {row.protocol} {row.state}"
    return not arguments.q or arguments.q.lower() in text.lower()
