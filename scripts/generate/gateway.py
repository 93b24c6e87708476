"""examples/litellm/config.yaml: LiteLLM's settings for all services, from the registry."""

from __future__ import annotations

from typing import Any

import yaml

from scripts.deploy.environment import API_KEYS
from scripts.deploy.registry import Registry

HEADER = """\
# Written by scripts/docs from config/services.yaml: LiteLLM with all services, by the names that
# they have in the network litellm-net. COMPOSE_PROFILES=litellm ./deploy.sh up --docker runs it.
# For models, copy this file, add them under model_list and name the copy in MCP_LITELLM_CONFIG.
# It needs LiteLLM 1.106 or later. The bridge's servers are yours: docs/bridge.md has their entries.
#
# protocol_version saves the handshake before each call. Names take no hyphen.
"""
REVISION = "2026-07-28"


def render(registry: Registry) -> str:
    """Return the text of the configuration file."""
    document: dict[str, Any] = {
        "model_list": [],
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
        "mcp_servers": {
            service.name: {
                "url": f"http://{service.container}:{service.port}/mcp",
                "transport": "http",
                "protocol_version": REVISION,
                "auth_type": "bearer_token",
                "auth_value": f"os.environ/{API_KEYS[-1]}",
                "description": service.description,
            }
            for service in registry.regular
        },
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=100)
