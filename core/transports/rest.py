"""`POST /tools/{name}`: each tool as one REST operation, for Open WebUI and any OpenAPI client.

The body is the arguments, the answer is the tool's structured result and nothing around it. A
failure is a 4xx with `error` (the whole error) and `detail` (a sentence, which Open WebUI shows).
`openapi_document` describes them with everything inlined, because clients do not resolve `$ref`.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from pydantic_core import from_json, to_json

from core.catalogue import Catalogue
from core.content import Block
from core.errors import PathNotFound
from core.models import Growth, inline_references
from core.observability import tracing
from core.protocol.dispatch import Identity, Outcome
from core.protocol.encode import blocks_in
from core.protocol.messages import JSON
from core.protocol.revisions import LATEST_LEGACY
from core.tools import NAME_PATTERN, Tool
from core.transports.callers import plain_caller
from core.transports.exchange import Exchange
from core.transports.http import HTTPRequest
from core.transports.runtime import Runtime

PREFIX = "/tools/"
MEDIA_BLOCKS = ("image", "audio")
SANDBOX = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox")
"""For pictures in a browser: an SVG is a document, which may have scripts, and is a stranger's."""
MEDIA_TYPE = re.compile(r"(?:image|audio)/[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


class RESTDoor:
    """`POST /tools/{name}`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, request: HTTPRequest) -> None:
        """Call one tool."""
        request.require_method("POST")  # first: a 405 tells nobody which tools there are
        caller = plain_caller(request, LATEST_LEGACY, session=None)
        await self._runtime.dispatcher.catalogue.load(caller)
        tool = self._tool(request)
        request.require_json()
        arguments = await self._runtime.bodies.read_json(request)
        exchange = Exchange(request, self._runtime.streams)
        with tracing.call("tools/call", {}, revision=caller.revision):
            work = self._runtime.dispatcher.run_tool(tool, arguments, caller)
            outcome = await self._runtime.exchanges.watch(exchange, work)
        await _send(request, outcome)

    def _tool(self, request: HTTPRequest) -> Tool:
        dispatcher = self._runtime.dispatcher
        tools = dispatcher.catalogue.tools
        name = request.path.removeprefix(request.mount + PREFIX).rstrip("/")
        if name not in tools:
            caller = plain_caller(request, LATEST_LEGACY, session=None)
            dispatcher.note_unknown_tool(caller, {})
            why = dispatcher.seen_by(request.principal).why_no_tool(name)
            raise PathNotFound(why.message, hint=why.hint or "GET /tools lists all.")
        return tools[name]


async def _send(request: HTTPRequest, outcome: Outcome) -> None:
    status = 422 if outcome.is_error else 200
    if outcome.foreign is not None:
        outcome = _opened(outcome, outcome.foreign)
    if outcome.error is not None:
        await request.refuse(outcome.error)
    elif outcome.structured is not None:
        await request.respond_json(status, outcome.structured)
    elif len(outcome.blocks) == 1 and (medium := _medium(outcome.blocks[0])) is not None:
        media_type, data = medium
        await request.respond(status, data, ((b"content-type", media_type.encode()), SANDBOX))
    elif outcome.is_error:
        detail = " ".join(str(block.get("text", "")) for block in outcome.blocks)
        error = {"code": "TOOL_ERROR", "message": detail}
        await request.respond_json(status, to_json({"error": error, "detail": detail}))
    elif outcome.blocks and all(block["type"] == "text" for block in outcome.blocks):
        await _send_text(request, "\n".join(str(block.get("text")) for block in outcome.blocks))
    else:
        await request.respond_json(status, to_json({"content": list(outcome.blocks)}))


def _opened(outcome: Outcome, result: JSON) -> Outcome:
    """Return an outcome with the parts of a result that another server made."""
    structured = result.get("structuredContent")
    blocks = blocks_in(result.get("content"))
    is_whole = structured is not None and not outcome.is_error
    return Outcome(to_json(structured) if is_whole else None, blocks, outcome.is_error)


def _medium(block: Block) -> tuple[str, bytes] | None:
    """Return the media type and the bytes of a picture or sound; None for what is none."""
    media_type, data = block.get("mimeType"), block.get("data")
    if block["type"] not in MEDIA_BLOCKS or type(media_type) is not str or type(data) is not str:
        return None
    if MEDIA_TYPE.fullmatch(media_type) is None:  # it becomes a header of ours
        return None
    try:
        return media_type, base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


async def _send_text(request: HTTPRequest, text: str) -> None:
    """Answer with a tool's text: as JSON where it is a JSON object or array."""
    try:
        is_json = type(from_json(text, allow_inf_nan=False)) in (dict, list)
    except ValueError:
        is_json = False
    if is_json:
        await request.respond_json(200, text.encode())
    else:
        kind = (b"content-type", b"text/plain; charset=utf-8")
        await request.respond(200, text.encode("utf-8", "replace"), (kind,))


_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "retryable": {"type": "boolean"},
            },
            "required": ["code", "message"],
        },
        "detail": {"type": "string"},
    },
    "required": ["error", "detail"],
}
_ERRORS = {
    "400": "The request is malformed.",
    "401": "No credentials, or wrong ones.",
    "403": "A policy forbids it.",
    "404": "It does not exist.",
    "405": "Only POST is served here.",
    "408": "It took too long.",
    "409": "It conflicts with what is there.",
    "413": "Too large.",
    "415": "Not application/json.",
    "421": "This server does not answer for that host.",
    "422": "The arguments are wrong, or the tool could not do it.",
    "424": "Something the tool depends on is down.",
    "429": "Too many calls.",
    "503": "The server is at its limits.",
}


def openapi_document(
    catalogue: Catalogue, identity: Identity, *, prefix: str, with_key: bool
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of the tools.

    Args:
        prefix: Path below which the server is seen; the `servers` entry.
        with_key: Whether calls need a key.
    """
    growth = Growth()
    told = (identity.info.get("description"), identity.instructions)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": identity.info.get("title") or identity.info["name"],
            "version": identity.info["version"],
            "description": "\n\n".join(filter(None, told)),
        },
        "servers": [{"url": prefix or "/"}],
        "paths": {
            PREFIX + tool.name: {"post": _operation(tool, growth)}
            for tool in catalogue.tools.values()
            if NAME_PATTERN.fullmatch(tool.name)
        },
    }
    if with_key:
        document["components"] = {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
        }
        document["security"] = [{"bearer": []}, {"api_key": []}]
    return document


def _operation(tool: Tool, growth: Growth) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "The tool's result."}
    schema = inline_references(dict(tool.output_schema or {"type": "object"}), growth)
    success["content"] = {"application/json": {"schema": schema}}
    if tool.output_schema is None:  # text, and one picture or sound, is sent as it is
        success["content"] = {"application/json": {}, "text/plain": {"schema": {"type": "string"}}}
        success["content"] |= {f"{kind}/*": {} for kind in MEDIA_BLOCKS}
    closed = {"required": [], **inline_references(dict(tool.input_schema), growth)}
    failures = {
        status: {
            "description": description,
            "content": {"application/json": {"schema": _ERROR_SCHEMA}},
        }
        for status, description in _ERRORS.items()
    }
    return {
        "operationId": tool.name,
        "summary": tool.description or tool.name,
        "description": tool.description or tool.name,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": closed}},
        },
        "responses": {"200": success, **failures},
    }
