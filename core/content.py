"""What a tool, a prompt or a resource hands back besides an output model."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

Block = dict[str, Any]
"""One MCP content block, in the shape of the newest revision."""


def text(value: str, **more: Any) -> Block:
    """Return a text block."""
    return {"type": "text", "text": value, **more}


def image(data: bytes, mime_type: str, **more: Any) -> Block:
    """Return an image block from raw bytes."""
    return {"type": "image", "data": _b64(data), "mimeType": mime_type, **more}


def audio(data: bytes, mime_type: str, **more: Any) -> Block:
    """Return an audio block from raw bytes (a text block before 2025-03-26)."""
    return {"type": "audio", "data": _b64(data), "mimeType": mime_type, **more}


def resource_link(uri: str, name: str, **more: Any) -> Block:
    """Return a link to a resource (a text block before 2025-06-18)."""
    return {"type": "resource_link", "uri": uri, "name": name, **more}


def embedded(contents: ResourceContents) -> Block:
    """Return a block that carries a resource's contents."""
    return {"type": "resource", "resource": contents.to_dict()}


@dataclass(frozen=True, slots=True)
class ResourceContents:
    """The contents of one resource: text, or bytes that travel as base64.

    Attributes:
        uri: The resource's own URI.
        data: `str` for text, `bytes` for anything else.
        mime_type: Its media type.
    """

    uri: str
    data: str | bytes
    mime_type: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the `contents` entry of `resources/read`."""
        result: dict[str, Any] = {"uri": self.uri}
        if self.mime_type is not None:
            result["mimeType"] = self.mime_type
        if isinstance(self.data, str):
            result["text"] = self.data
        else:
            result["blob"] = _b64(self.data)
        return result


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool result with content blocks of its own choice.

    Attributes:
        content: The blocks, in order.
        structured: The output model, when the tool declares one; its JSON becomes the first block.
        is_error: Marks the result as a failure that the model should read.
    """

    content: Sequence[Block] = ()
    structured: BaseModel | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ForeignResult:
    """A result that another MCP server made, for a tool, a prompt, a resource or a completion.

    Attributes:
        members: The result object in the shape of the newest revision, without what belongs to
            the request it answered (`resultType`, caching, who the server is).
    """

    members: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt.

    Attributes:
        role: Who speaks.
        content: Text, or one content block.
    """

    role: Literal["user", "assistant"]
    content: str | Block

    def to_dict(self) -> dict[str, Any]:
        """Return the `messages` entry of `prompts/get`."""
        block = text(self.content) if isinstance(self.content, str) else self.content
        return {"role": self.role, "content": block}


@dataclass(frozen=True, slots=True)
class PromptResult:
    """The answer of a prompt.

    Attributes:
        messages: In the order in which the client should show them to the model.
        description: What this rendering is about.
    """

    messages: Sequence[PromptMessage] = field(default_factory=tuple)
    description: str | None = None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
