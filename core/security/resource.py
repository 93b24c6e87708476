"""This server as a protected resource of OAuth 2.1: how clients find out who gives them tokens.

```
client ──POST /mcp──► 401, WWW-Authenticate: Bearer resource_metadata="https://…", scope="mcp:…"
client ──GET that───► {"resource": …, "authorization_servers": [issuer], …}     this module
client ──────────────► the issuer's own metadata, registration, login, token    not ours
client ──POST /mcp, Authorization: Bearer token──► 200
```

Sources: RFC 9728 (metadata of protected resources), RFC 6750 §3 (challenges), MCP 2025-11-25,
authorization
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit, urlunsplit

from pydantic_core import to_json

from core.settings import OAuthSection
from core.transports.http import HTTPRequest

WELL_KNOWN = "/.well-known/oauth-protected-resource"
DOORS = ("/mcp", "/sse")
"""The ways in that clients are given the address of."""


@dataclass(frozen=True, slots=True)
class ProtectedResource:
    """What clients are told about one endpoint of a server; each is a resource of its own.

    Attributes:
        url: Its canonical address, which clients name when they ask for a token.
        issuer: The authorisation server.
        scope_prefix: What the scopes for these servers begin with.
        service: What scopes call it.
        name: For people.
        mount: The part of the path that names the endpoint, `/NAME`; empty for the root.
    """

    url: str
    issuer: str
    scope_prefix: str
    service: str
    name: str
    mount: str = ""

    @property
    def scope(self) -> str:
        """The scope that opens everything here."""
        return self.scope_prefix + self.service

    @property
    def metadata_url(self) -> str:
        """Where the document is: the well-known part goes between host and path (RFC 9728 §3.1)."""
        parts = urlsplit(self.url)
        path = WELL_KNOWN + parts.path.rstrip("/")
        return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))

    def at(self, mount: str) -> ProtectedResource:
        """Return the resource of an endpoint of the server at whose root this one is."""
        if not mount:
            return self
        parts = urlsplit(self.url)
        base, door = _parted(parts.path)
        url = urlunsplit(parts._replace(path=base + mount + door))
        name = mount.removeprefix("/")
        return replace(self, url=url, service=name, name=f"{self.name}: {name}", mount=mount)

    def paths(self) -> Iterator[str]:
        """Yield the paths that show the document.

        For each address that a client may have been given: with and without the prefix below which
        a proxy shows this server, of each door and of none. Where an endpoint is called like that
        prefix, what it would have without is the root's with it.
        """
        base, _ = _parted(urlsplit(self.url).path)
        prefix = base.removesuffix(self.mount)
        for shown in (base,) if self.mount in (base, prefix) else (base, self.mount):
            for door in ("", *DOORS):
                yield WELL_KNOWN + shown + door

    def document(self) -> bytes:
        """Return the document.

        Only the scope that opens all of this server is named: some clients ask for all that are
        listed, and an authorisation server refuses those that it does not know.
        """
        return to_json(
            {
                "resource": self.url,
                "authorization_servers": [self.issuer],
                "scopes_supported": [self.scope],
                "bearer_methods_supported": ["header"],
                "resource_name": self.name,
            }
        )

    async def door(self, request: HTTPRequest) -> None:
        """Show the document; it is public."""
        request.require_method("GET", "HEAD")
        await request.respond_json(200, self.document())


def _parted(path: str) -> tuple[str, str]:
    """Return what of an address is before the door, and the door; `/mcp` where it names none."""
    path = path.rstrip("/")
    door = next((door for door in DOORS if path.endswith(door)), "")
    return path.removesuffix(door), door or DOORS[0]


def protected_resource(section: OAuthSection, service: str, name: str) -> ProtectedResource | None:
    """Return what is told about the root of a service; None without OAuth.

    Args:
        service: Stands in for `{service}` in the resource's address.
        name: For people.
    """
    if section.issuer is None:
        return None
    assert section.resource is not None  # the section has checked it
    url = section.resource.replace("{service}", service)
    return ProtectedResource(url, section.issuer, section.scope_prefix, service, name)
