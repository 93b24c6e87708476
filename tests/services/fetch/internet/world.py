"""Names, addresses and servers of one test, in its own process.

```python
async with Internet() as internet:
    site = await internet.site("example.org")          # ports 80 and 443, own certificate
    site.route("/", answer("<p>Hello</p>"))
    internet.names["rebind.example"] = [[site_address], ["127.0.0.1"]]     # in turn
    web = Web(settings, network=internet.dialler(), ssl_context=internet.client_context())
    …
    assert internet.canary.requests == []
```
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from services.fetch.backend.dialler import Dialler
from services.fetch.errors import HostUnreachable
from services.fetch.policy.addresses import AddressRule, IPNetwork
from tests.services.fetch.internet.cable import Cable
from tests.services.fetch.internet.certificates import authority
from tests.services.fetch.internet.site import Site, answer

Answer = list[str] | Exception
"""Addresses of one lookup, or how it fails."""


class Names:
    """The resolver of the little internet: a name's answers, in turn; the last one stays.

    Attributes:
        lookups: Every host that was looked up, in order.
    """

    def __init__(self) -> None:
        self._answers: dict[str, list[Answer]] = {}
        self.lookups: list[str] = []

    def __setitem__(self, host: str, said: Sequence[str] | Sequence[Answer]) -> None:
        """Give a name its addresses, or a list of answers for one lookup after the other."""
        addresses = [member for member in said if isinstance(member, str)]
        in_turn = [member for member in said if not isinstance(member, str)]
        self._answers[host] = in_turn or [addresses]

    def __getitem__(self, host: str) -> list[str]:
        """Return the addresses of the next lookup."""
        coming = self._answers[host][0]
        assert isinstance(coming, list)
        return coming

    async def resolve(self, host: str, port: int) -> list[str]:
        """Answer a lookup."""
        self.lookups.append(host)
        answers = self._answers.get(host)
        if answers is None:
            raise HostUnreachable(f"There is no host named {host}.", reason_code="dns_failed")
        coming = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(coming, Exception):
            raise coming
        return list(coming)


class Internet:
    """Sites with public-looking addresses, a cable to them, and a canary behind all others.

    Attributes:
        names: Who has which addresses.
        cable: What connects; knows what was reached.
        canary: Behind every address that is not public; no request may ever come here.
    """

    def __init__(self) -> None:
        self.names = Names()
        self.cable = Cable()
        self.canary = Site(authority().server_context("canary.invalid"))
        self.canary.route("*", answer("CANARY"))
        self._sites = [self.canary]

    async def __aenter__(self) -> Self:
        """Start the canary."""
        await self.canary.start()
        self.cable.canary = (self.canary.plain_port, self.canary.secure_port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop every server."""
        for site in self._sites:
            await site.stop()

    async def site(
        self, *hosts: str, addresses: Iterable[str] = (), tls: ssl.SSLContext | None = None
    ) -> Site:
        """Start a server and give its names and addresses to it, on ports 80, 8080, 443, 8443.

        Args:
            hosts: Names; none for a server that is called by its address.
            addresses: By default the next free one of 93.184.216.0/24.
            tls: Another certificate than one for these hosts.
        """
        where = list(addresses) or [f"93.184.216.{len(self._sites)}"]
        site = Site(tls or authority().server_context(*hosts, *where))
        await site.start()
        self._sites.append(site)
        for address in where:
            self.plug(address, site)
        for host in hosts:
            self.names[host] = where
        return site

    def plug(self, address: str, site: Site) -> None:
        """Give a site one more address."""
        for port in (80, 8080):
            self.cable.ends[address, port] = site.plain_port
        for port in (443, 8443):
            self.cable.ends[address, port] = site.secure_port

    def dialler(
        self, allow_networks: Iterable[IPNetwork] = (), *, connect_timeout_s: float = 2
    ) -> Dialler:
        """Return the service's own dialler, with this internet behind it."""
        return Dialler(
            AddressRule(allow_networks),
            self.names,
            connect_timeout_s=connect_timeout_s,
            network=self.cable,
        )

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts the certificates of the sites."""
        return authority().client_context()
