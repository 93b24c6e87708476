"""`POST /rpc`: one JSON-RPC request, one answer, nothing remembered. For curl and scripts.

Not an MCP transport: no session, no stream, no MCP headers. Without `params._meta` the shapes are
those of 2025-11-25; a caller that names 2026-07-28 there gets the modern ones.
"""

from __future__ import annotations

import asyncio
from typing import Any

from core.context import Caller
from core.errors import InvalidRequest, SuiteError
from core.protocol import modern
from core.protocol.dispatch import Reply
from core.protocol.messages import (
    JSON,
    MAX_BATCH,
    Kind,
    RequestId,
    claims_modern,
    encode_error,
    id_of,
    kind_of,
    params_of,
)
from core.protocol.revisions import LATEST_LEGACY, RPC_METHODS
from core.transports.callers import modern_caller, plain_caller
from core.transports.exchange import Exchange
from core.transports.http import HTTPRequest
from core.transports.runtime import Runtime


class RPCDoor:
    """`POST /rpc`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, request: HTTPRequest) -> None:
        """Answer one message or one batch."""
        request.require_method("POST")
        request.require_json()
        message = await self._runtime.bodies.read_json(request)
        if type(message) is list:
            await self._batch(request, message)
            return
        kind = self._kind_or_error(message)
        if isinstance(kind, SuiteError):
            await request.respond_json(200, encode_error(id_of(message), kind))
        elif kind is Kind.REQUEST:
            await self._one(request, message)
        else:
            await request.respond_empty(204)

    async def _one(self, request: HTTPRequest, message: JSON) -> None:
        id_: RequestId = message["id"]
        request.trace["method"] = message["method"]
        exchange = Exchange(request, self._runtime.streams)
        await self._runtime.exchanges.answer(exchange, self._answer(request, message), id_)

    async def _answer(self, request: HTTPRequest, message: JSON) -> Reply:
        id_: RequestId = message["id"]
        try:
            params = params_of(message)
            caller = self._caller(request, message, params)
        except SuiteError as error:
            return Reply(encode_error(id_, error), 200)
        return await self._runtime.dispatcher.answer(
            id_, message["method"], params, caller, RPC_METHODS
        )

    def _caller(self, request: HTTPRequest, message: JSON, params: JSON) -> Caller:
        if not claims_modern(message):
            return plain_caller(request, LATEST_LEGACY, session=None)
        meta = modern.check_meta(params)
        modern.check_version(meta, None, header_required=False)
        return modern_caller(request, meta, None)

    async def _batch(self, request: HTTPRequest, batch: list[Any]) -> None:
        if not batch or len(batch) > MAX_BATCH:
            raise InvalidRequest(f"A batch has 1 to {MAX_BATCH} messages.")
        replies = await asyncio.gather(*(self._of_batch(request, message) for message in batch))
        bodies = [reply.body for reply in replies if reply is not None]
        if bodies:
            await request.respond_json(200, b"[%b]" % b",".join(bodies))
        else:
            await request.respond_empty(204)

    async def _of_batch(self, request: HTTPRequest, message: Any) -> Reply | None:
        kind = self._kind_or_error(message)
        if isinstance(kind, SuiteError):
            return Reply(encode_error(id_of(message), kind), 200)
        return await self._answer(request, message) if kind is Kind.REQUEST else None

    @staticmethod
    def _kind_or_error(message: Any) -> Kind | SuiteError:
        try:
            return kind_of(message)
        except InvalidRequest as error:
            return error
