"""The shared framework of the tool servers: protocol, transports, security, observability."""

from core.content import ResourceContents, ToolResult
from core.context import Context, Principal
from core.errors import SuiteError, ToolError
from core.mcp_sse import MCPServer
from core.models import InputModel, NoArguments, OutputModel
from core.settings import ServiceSettings, Settings
from core.tools import Annotations

__all__ = [
    "Annotations",
    "Context",
    "InputModel",
    "MCPServer",
    "NoArguments",
    "OutputModel",
    "Principal",
    "ResourceContents",
    "ServiceSettings",
    "Settings",
    "SuiteError",
    "ToolError",
    "ToolResult",
]
