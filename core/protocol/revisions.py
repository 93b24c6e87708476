"""The published MCP revisions, and which methods each of them has.

*Legacy* revisions are opened with `initialize`; the *modern* one (2026-07-28) has no handshake, and
every request carries its own metadata. One server speaks all of them.

Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning
"""

from __future__ import annotations

V2024_11_05 = "2024-11-05"
V2025_03_26 = "2025-03-26"
V2025_06_18 = "2025-06-18"
V2025_11_25 = "2025-11-25"
V2026_07_28 = "2026-07-28"

LEGACY = frozenset({V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25})
LATEST_LEGACY = V2025_11_25
ASSUMED_LEGACY = V2025_03_26
"""What a client speaks that names no revision (2025-06-18, transports, version header)."""
MODERN = V2026_07_28
SUPPORTED = (V2026_07_28, V2025_11_25, V2025_06_18, V2025_03_26, V2024_11_05)

PREFIX = "io.modelcontextprotocol/"
META_VERSION = PREFIX + "protocolVersion"
META_CAPABILITIES = PREFIX + "clientCapabilities"
META_CLIENT = PREFIX + "clientInfo"
META_LOG_LEVEL = PREFIX + "logLevel"
META_SERVER = PREFIX + "serverInfo"
META_SUBSCRIPTION = PREFIX + "subscriptionId"

SHARED_METHODS = frozenset(
    {
        "tools/list",
        "tools/call",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
    }
)
LEGACY_METHODS = SHARED_METHODS | {
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
}
MODERN_METHODS = SHARED_METHODS | {"server/discover", "subscriptions/listen"}
RPC_METHODS = SHARED_METHODS | {"initialize", "ping", "server/discover"}
"""What `POST /rpc` answers: everything that one request and one answer can carry."""

NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The parameter that the `Mcp-Name` header repeats (2026-07-28, transports)."""


def negotiated(requested: object) -> str:
    """Return the revision that `initialize` settles on: the requested one, or our newest legacy."""
    return requested if isinstance(requested, str) and requested in LEGACY else LATEST_LEGACY
