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
    V2025_11_25,
)
from core.wrapping import is_wrapped, wrap

JSON = dict[str, Any]
_SAMPLED = frozenset(("text", "image", "audio"))


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
        if type(members.get("_meta", {})) is not dict:
            members = {key: value for key, value in members.items() if key != "_meta"}
        if not modern:
            return to_json(members)
        meta = {**self._server_meta, **members.get("_meta", {})}
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

    def foreign_tool_result(
        self, members: JSON, revision: str, schema: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return a `tools/call` result that another server made, in the shape of a revision.

        Structured content is repeated as text where that server has left it at that. Null is
        such content only where there may be other than objects; elsewhere it stands for none.

        Args:
            schema: The tool's output schema, as that server has it.
        """
        modern, wrapped = revision == MODERN, is_wrapped(schema)
        content = blocks_in(members.get("content"))
        has_it = members.get("structuredContent") is not None or (
            wrapped and "structuredContent" in members
        )
        members = {**members, "isError": members.get("isError") is True}
        structured = members.pop("structuredContent", None)
        if has_it and not content:
            content = [_as_text(structured)]
        if has_it and revision >= V2025_06_18:
            if not modern and (wrapped or type(structured) is not dict):
                structured = {"result": structured}
            members["structuredContent"] = structured
        members["content"] = blocks_for(content, revision)
        return self.result(members, modern=modern)


def blocks_in(content: Any) -> list[Block]:
    """Return the blocks of what another server gave as content; a mere text is one."""
    if type(content) is str:
        return [{"type": "text", "text": content}]
    return [as_block(block) for block in content] if type(content) is list else []


def contents_in(contents: Any) -> list[JSON]:
    """Return the contents of a resource of another server's, as far as they are objects."""
    given = contents if type(contents) is list else []
    return [without_nulls(each) for each in given if type(each) is dict]


def as_block(block: Any) -> Block:
    """Return a content block without nulls, which no revision has, and anything else as text."""
    if type(block) is dict and type(block.get("type")) is str:
        return without_nulls(block)
    return _as_text(block)


def _as_text(value: Any) -> Block:
    return {"type": "text", "text": to_json(value).decode()}


def without_nulls(members: JSON) -> JSON:
    """Return an object without the members that are null."""
    if None not in members.values():
        return members
    return {key: value for key, value in members.items() if value is not None}


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


def sampling_for(params: JSON, revision: str) -> JSON:
    """Return the parameters of sampling/createMessage for a revision.

    Before 2025-11-25 a message is one block of text, image or audio, and the model has no tools.
    """
    if revision >= V2025_11_25:
        return params
    given = params.get("messages")
    messages = [
        {**message, "content": block}
        for message in (given if type(given) is list else [])
        if type(message) is dict
        for block in _sampled(message.get("content"), revision)
    ]
    kept = {key: value for key, value in params.items() if key not in ("tools", "toolChoice")}
    return {**kept, "messages": messages}


def _sampled(content: Any, revision: str) -> list[Block]:
    blocks = [as_block(block) for block in (content if type(content) is list else [content])]
    known = [block if block["type"] in _SAMPLED else _as_text(block) for block in blocks]
    return blocks_for(known, revision)


def _block_for(block: Block, revision: str) -> Block:
    if block["type"] == "audio" and revision < V2025_03_26:
        return {"type": "text", "text": f"[audio, {block.get('mimeType')}]"}
    if block["type"] == "resource_link" and revision < V2025_06_18:
        return {"type": "text", "text": f"{block.get('name')}: {block.get('uri')}"}
    return block


def tool_for(entry: JSON, revision: str) -> JSON:
    """Return a `tools/list` entry for a revision."""
    schema = entry.get("outputSchema")
    if revision == MODERN or schema is None:
        return entry
    if revision < V2025_06_18:
        return {k: v for k, v in entry.items() if k != "outputSchema"}
    return {**entry, "outputSchema": wrap(schema)} if is_wrapped(schema) else entry
