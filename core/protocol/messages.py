"""JSON-RPC 2.0 messages: reading them, telling them apart, and writing answers.

Source: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import enum
import math
from typing import Any

from pydantic_core import from_json, to_json

from core.errors import (
    ForeignError,
    HeaderMismatch,
    InvalidParams,
    InvalidRequest,
    MissingClientCapability,
    ParseError,
    SuiteError,
    TooDeep,
    UnsupportedVersion,
    wire_of,
)
from core.protocol.revisions import META_VERSION

JSON = dict[str, Any]
RequestId = str | int
CANCELLED_CODE = -32800
MAX_ID_CHARS = 1024
MAX_BATCH = 100
PARSER_DEPTH = 200
"""Levels that the parser takes, about."""

_DATA_IS_SPECIFIED = (HeaderMismatch, MissingClientCapability, UnsupportedVersion)


class Kind(enum.Enum):
    """What a message is: its keys decide."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


def parse(body: bytes, max_depth: int = PARSER_DEPTH) -> Any:
    """Return the JSON document in a request body.

    Args:
        max_depth: Arrays and objects within each other; `PARSER_DEPTH` is the parser's own limit.

    Raises:
        ParseError: Not UTF-8, not JSON, or a number that JSON or a double does not have.
        TooDeep: Nested too deeply.
    """
    try:
        document = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        if "recursion limit" in str(error):
            raise _too_deep(max_depth) from None
        raise ParseError(f"The body is not valid JSON: {error}.") from None
    # Fewer brackets than levels cannot nest deeper, which settles it for nearly every body.
    if body.count(b"[") + body.count(b"{") > max_depth and _is_deeper(document, max_depth):
        raise _too_deep(max_depth)
    if has_overflow(document):
        raise ParseError("The body has a number beyond 1.8e308, the largest that there is here.")
    return document


def has_overflow(document: Any) -> bool:
    """Return whether a parsed document has a number that became infinite, as 1e400 does.

    Written out again it would not be JSON. Looking at values costs less than looking at bytes:
    what makes messages long is mostly text.
    """
    open_ = [[document]]
    while open_:
        outer: Any = open_.pop()
        for value in outer.values() if type(outer) is dict else outer:
            kind = type(value)
            if kind is dict or kind is list:
                open_.append(value)
            elif kind is float and (value == math.inf or value == -math.inf):
                return True
    return False


def _is_deeper(document: Any, levels: int) -> bool:
    """Return whether there are containers below so many levels of them."""
    inner = [document] if type(document) in (dict, list) else []
    for _ in range(levels):
        inner = [
            child
            for outer in inner
            for child in (outer.values() if type(outer) is dict else outer)
            if type(child) is dict or type(child) is list
        ]
        if not inner:
            return False
    return True


def _too_deep(max_depth: int) -> TooDeep:
    limit = min(max_depth, PARSER_DEPTH)
    return TooDeep(
        f"The body nests arrays and objects more than {limit} deep.",
        hint="Send flatter JSON; the operator sets MCP_HTTP_SERVER__MAX_JSON_DEPTH.",
        limit_depth=limit,
    )


def kind_of(message: Any) -> Kind:
    """Return what a message is.

    Raises:
        InvalidRequest: It is not a JSON-RPC 2.0 message; a present `id` has to be a string or an
            integer.
    """
    if type(message) is not dict:
        raise InvalidRequest("A JSON-RPC message has to be an object.")
    if message.get("jsonrpc") != "2.0":
        raise InvalidRequest('The member "jsonrpc" has to be "2.0".')
    method = message.get("method")
    if method is None:
        if "result" in message or "error" in message:
            return Kind.RESPONSE
        raise InvalidRequest('The member "method" is missing.')
    if type(method) is not str:
        raise InvalidRequest('The member "method" has to be a string.')
    if "id" not in message:
        return Kind.NOTIFICATION
    id_ = message["id"]
    if type(id_) is int or (type(id_) is str and len(id_) <= MAX_ID_CHARS):
        return Kind.REQUEST
    raise InvalidRequest('The member "id" has to be a string or an integer.')


def id_of(message: Any) -> RequestId | None:
    """Return the id to answer under, as far as the message has a usable one."""
    id_ = message.get("id") if type(message) is dict else None
    return id_ if type(id_) is int or type(id_) is str else None


def params_of(message: JSON) -> JSON:
    """Return the parameters of a request or notification; empty when there are none.

    Raises:
        InvalidParams: They are not an object.
    """
    params = message.get("params")
    if params is None:
        return {}
    if type(params) is not dict:
        raise InvalidParams('The member "params" has to be an object.')
    return params


def claims_modern(message: Any) -> bool:
    """Return whether a message carries its protocol version itself, as 2026-07-28 does."""
    if type(message) is not dict:
        return False
    params = message.get("params")
    if type(params) is not dict:
        return False
    meta = params.get("_meta")
    return type(meta) is dict and META_VERSION in meta


def encode_id(id_: RequestId | None) -> bytes:
    """Return an id as JSON."""
    return b"%d" % id_ if type(id_) is int else to_json(id_)


def encode_result(id_: RequestId, result: bytes) -> bytes:
    """Return a response from an id and a result that is JSON already."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (encode_id(id_), result)


def encode_error(id_: RequestId | None, error: SuiteError, *, modern: bool = False) -> bytes:
    """Return an error response; the id is null where none could be read."""
    if isinstance(error, ForeignError):
        foreign: JSON = {"code": error.jsonrpc, "message": error.message}
        foreign |= {} if error.data is None else {"data": error.data}
        return to_json({"jsonrpc": "2.0", "id": id_, "error": foreign})
    data: JSON = dict(error.facts)
    if not isinstance(error, _DATA_IS_SPECIFIED):
        data |= {"code": error.code, "retryable": error.retryable}
        if error.hint:
            data["hint"] = error.hint
    code = wire_of(error).jsonrpc
    if error.code == "RESOURCE_NOT_FOUND" and not modern:
        code = -32002
    body: JSON = {"code": code, "message": error.message}
    if data:
        body["data"] = data
    return to_json({"jsonrpc": "2.0", "id": id_, "error": body})


def encode_cancelled(id_: RequestId) -> bytes:
    """Return what closes a JSON answer whose request the client cancelled."""
    error = {"code": CANCELLED_CODE, "message": "The request was cancelled by the client."}
    return to_json({"jsonrpc": "2.0", "id": id_, "error": error})
