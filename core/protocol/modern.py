"""What a 2026-07-28 request has to carry, checked in the order in which the first failure answers.

Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any

from core.context import LOG_LEVELS
from core.errors import HeaderMismatch, InvalidParams, MethodNotFound, UnsupportedVersion
from core.protocol.messages import JSON
from core.protocol.revisions import (
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    META_VERSION,
    MODERN,
    MODERN_METHODS,
    NAMED_BY,
    SUPPORTED,
)
from core.tools import Tool

MCP_HEADERS = b"mcp-"
_ENCODED = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.0+)?")  # Python refuses to convert thousands of digits
_ABSENT = object()


def mcp_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Return the `Mcp-*` headers of a request, trimmed.

    Raises:
        HeaderMismatch: One of them appears twice.
    """
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name.startswith(MCP_HEADERS):
            if name in found:
                raise HeaderMismatch(f"The header {name.decode('latin-1')} appears twice.")
            found[name] = value.decode("latin-1").strip(" \t")
    return found


def check_meta(params: JSON) -> JSON:
    """Return the request's `_meta` after checking its required members.

    Raises:
        InvalidParams: `_meta` is missing or has a member of the wrong type.
    """
    meta = params.get("_meta")
    if type(meta) is not dict:
        raise InvalidParams(f"params._meta has to be an object with {META_VERSION}.")
    if type(meta.get(META_VERSION)) is not str:
        raise InvalidParams(f"params._meta has to name the revision as {META_VERSION}.")
    if type(meta.get(META_CAPABILITIES)) is not dict:
        raise InvalidParams(f"params._meta has to carry {META_CAPABILITIES}, an object.")
    if not isinstance(meta.get(META_CLIENT, {}), dict):
        raise InvalidParams(f"params._meta: {META_CLIENT} has to be an object.")
    level = meta.get(META_LOG_LEVEL)
    if META_LOG_LEVEL in meta and (type(level) is not str or level not in LOG_LEVELS):
        raise InvalidParams(f"params._meta: {META_LOG_LEVEL} is one of {', '.join(LOG_LEVELS)}.")
    return meta


def check_version(meta: JSON, header: str | None, *, header_required: bool) -> None:
    """Check that the named revision is served and that the header agrees with the body.

    Raises:
        HeaderMismatch: The header is absent or names another revision.
        UnsupportedVersion: The revision is not served in this form.
    """
    version = meta[META_VERSION]
    if header != version and (header is not None or header_required):
        raise HeaderMismatch(
            f"The header MCP-Protocol-Version is {header!r}, the body says {version!r}."
            if header is not None
            else "The header MCP-Protocol-Version is missing."
        )
    if version != MODERN:
        raise UnsupportedVersion(
            "Unsupported protocol version.", supported=list(SUPPORTED), requested=version
        )


def check_headers(
    method: str, params: JSON, headers: Mapping[bytes, str], tools: Mapping[str, Tool]
) -> None:
    """Check that `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` repeat what the body says.

    Raises:
        HeaderMismatch: One is missing, contradicts the body or is badly encoded.
    """
    if headers.get(b"mcp-method") != method:
        raise _mismatch("Mcp-Method", headers.get(b"mcp-method"))
    named_by = NAMED_BY.get(method)
    name = params.get(named_by, _ABSENT) if named_by else _ABSENT
    _compare("Mcp-Name", headers.get(b"mcp-name"), name)
    if method == "tools/call":
        tool = tools.get(name) if isinstance(name, str) else None
        if tool is not None and tool.header_params:
            _check_header_params(tool, params.get("arguments"), headers)


def check_method(method: str) -> None:
    """Raise `MethodNotFound` for a method that 2026-07-28 does not have."""
    if method not in MODERN_METHODS:
        raise MethodNotFound(f"Method not found: {method[:100]!r} in revision {MODERN}.")


def _check_header_params(tool: Tool, arguments: Any, headers: Mapping[bytes, str]) -> None:
    for path, suffix in tool.header_params.items():
        value = arguments
        for part in path:
            value = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
        header = "Mcp-Param-" + suffix
        _compare(header, headers.get(header.lower().encode()), _ABSENT if value is None else value)


def _compare(header: str, given: str | None, value: Any) -> None:
    if value is _ABSENT:
        if given is not None:
            raise HeaderMismatch(f"The header {header} is present but the body has no such value.")
        return
    if given is None:
        raise _mismatch(header, None)
    decoded = _decoded(header, given)
    if isinstance(value, bool):
        same = decoded == ("true" if value else "false")
    elif isinstance(value, int | float):
        same = bool(_NUMBER.fullmatch(decoded)) and int(decoded.partition(".")[0]) == value
    else:
        same = decoded == value
    if not same:
        raise _mismatch(header, given)


def _decoded(header: str, given: str) -> str:
    encoded = _ENCODED.fullmatch(given)
    if encoded is None:
        return given
    try:
        raw = base64.b64decode(encoded[1], validate=True)
        if base64.b64encode(raw).decode("ascii") != encoded[1]:
            raise ValueError("not canonical")
        return raw.decode("utf-8")
    except (binascii.Error, ValueError):
        raise HeaderMismatch(f"The header {header} is not valid base64 of UTF-8.") from None


def _mismatch(header: str, given: str | None) -> HeaderMismatch:
    if given is None:
        return HeaderMismatch(f"The header {header} is missing.")
    return HeaderMismatch(f"The header {header} does not match the body.")
