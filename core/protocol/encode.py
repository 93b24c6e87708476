"""One internal shape, the newest, and what each revision sees of it.

Legacy objects are open, so unknown *fields* may stay; what has to change is listed here: content
block types that a revision does not know, structured content before it existed, output schemas that
are not objects, and the members that only 2026-07-28 has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from core.content import Block
from core.protocol.revisions import (
    META_SERVER,
    MODERN,
    V2025_03_26,
    V2025_06_18,
)

JSON = dict[str, Any]


class Encoder:
    """Writes results for every revision.

    Args:
        server_info: `name`, `version` and the rest of our `Implementation`.
    """

    def __init__(self, server_info: JSON) -> None:
        meta = to_json({META_SERVER: server_info})
        self._modern_tail = b',"resultType":"complete","_meta":' + meta + b"}"
        self._server_meta = {META_SERVER: server_info}

    def tail(self, modern: bool) -> bytes:
        """Return what closes a hand-written result object that has at least one member."""
        return self._modern_tail if modern else b"}"

    def result(
        self, members: JSON, *, modern: bool, cacheable: bool = False, kind: str = "complete"
    ) -> bytes:
        """Return a result object; `cacheable` ones say how long they stay true."""
        if not modern:
            return to_json(members)
        meta = {**self._server_meta, **members.pop("_meta", {})}
        members = {**members, "resultType": kind, "_meta": meta}
        if cacheable:
            members |= {"ttlMs": 0, "cacheScope": "private"}
        return to_json(members)

    def tool_result(
        self,
        *,
        structured: bytes | None,
        blocks: Sequence[Block],
        is_error: bool,
        revision: str,
        wrapped: bool = False,
    ) -> bytes:
        """Return a `tools/call` result around structured content that is JSON already.

        The text block repeats the whole structured content, because several clients show their
        model nothing else.
        """
        modern = revision == MODERN
        content: list[bytes] = []
        if structured is not None:
            content.append(b'{"type":"text","text":' + to_json(structured.decode()) + b"}")
        content += [to_json(block) for block in blocks_for(blocks, revision)]
        result = b'{"content":[' + b",".join(content) + b"]"
        if structured is not None and revision >= V2025_06_18:
            if wrapped and not modern:
                structured = b'{"result":' + structured + b"}"
            result += b',"structuredContent":' + structured
        result += b',"isError":true' if is_error else b',"isError":false'
        return result + self.tail(modern)

    def foreign_tool_result(self, members: JSON, revision: str) -> bytes:
        """Return a `tools/call` result that another server made, in the shape of a revision.

        Structured content is repeated as text where that server has left it at that.
        """
        modern = revision == MODERN
        given = members.get("content")
        content = [as_block(block) for block in given] if type(given) is list else []
        members = {**members, "isError": members.get("isError") is True}
        structured = members.get("structuredContent")
        if structured is not None and not content:
            content = [{"type": "text", "text": to_json(structured).decode()}]
        if "structuredContent" in members and revision < V2025_06_18:
            del members["structuredContent"]
        elif structured is not None and type(structured) is not dict and not modern:
            members["structuredContent"] = {"result": structured}
        members["content"] = blocks_for(content, revision)
        return self.result(members, modern=modern)


def as_block(block: Any) -> Block:
    """Return a content block as it is, and anything else as text."""
    if type(block) is dict and type(block.get("type")) is str:
        return block
    return {"type": "text", "text": to_json(block).decode()}


def blocks_for(blocks: Sequence[Block], revision: str) -> list[Block]:
    """Return content blocks with those that the revision lacks turned into text."""
    return [_block_for(block, revision) for block in blocks]


def messages_for(messages: Any, revision: str) -> list[JSON]:
    """Return messages of a prompt, with blocks that the revision lacks turned into text."""
    given = messages if type(messages) is list else []
    return [
        {**message, "content": _block_for(as_block(message.get("content")), revision)}
        for message in given
        if type(message) is dict
    ]


def _block_for(block: Block, revision: str) -> Block:
    if block["type"] == "audio" and revision < V2025_03_26:
        return {"type": "text", "text": f"[audio, {block.get('mimeType')}]"}
    if block["type"] == "resource_link" and revision < V2025_06_18:
        return {"type": "text", "text": f"{block.get('name')}: {block.get('uri')}"}
    return block


def is_wrapped(schema: Mapping[str, Any] | None) -> bool:
    """Return whether legacy revisions see the structured content inside an object."""
    return schema is not None and schema.get("type") != "object"


def tool_for(entry: JSON, revision: str) -> JSON:
    """Return a `tools/list` entry for a revision."""
    schema = entry.get("outputSchema")
    if revision == MODERN or schema is None:
        return entry
    if revision < V2025_06_18:
        return {k: v for k, v in entry.items() if k != "outputSchema"}
    return {**entry, "outputSchema": wrap(schema)} if is_wrapped(schema) else entry


def wrap(schema: JSON) -> JSON:
    """Return an object schema around one that is not (legacy output schemas are objects)."""
    inner = _moved(schema)
    definitions = {k: inner.pop(k) for k in ("$schema", "$defs") if k in inner}
    return {
        **definitions,
        "type": "object",
        "properties": {"result": inner},
        "required": ["result"],
    }


def _moved(node: Any) -> Any:
    """Rewrite local pointers for a schema that now lies below `properties/result`."""
    if isinstance(node, list):
        return [_moved(item) for item in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(value) for key, value in node.items()}
    pointer = moved.get("$ref")
    if isinstance(pointer, str) and pointer.startswith("#") and not pointer.startswith("#/$defs/"):
        moved["$ref"] = "#/properties/result" + pointer[1:]
    return moved
