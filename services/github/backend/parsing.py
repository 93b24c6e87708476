"""The bodies of answers as data: JSON, or text where that was asked for."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from services.github.backend.exchange import Answer
from services.github.backend.failures import Redactor
from services.github.errors import BadResponse

_JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json\b", re.IGNORECASE)
_HTML_TYPE = re.compile(r"text/html|application/xhtml", re.IGNORECASE)
# Members of repositories that hold a credential for cloning.
_CLONE_TOKEN = re.compile(rb'("temp_clone_token"\s*:\s*)"[^"]*"')
_SURROGATE = b"\\ud"


def parsed(answer: Answer, asked: str, redactor: Redactor, *, text: bool = False) -> Any:
    """Return the body's JSON; None when empty.

    Args:
        text: Text was asked for, and is returned where the answer is of no JSON type.

    Raises:
        BadResponse: HTML, another media type, or JSON that is none.
    """
    body = redactor.known_bytes(answer.body)
    if not body:
        return None
    media_type = answer.headers.get("content-type", "")
    if _HTML_TYPE.match(media_type):
        raise BadResponse(f"{asked}: what answered sent a web page instead of data.")
    if not _JSON_TYPE.match(media_type):
        if text:
            return body.decode("utf-8", errors="replace")
        raise BadResponse(f"{asked}: what answered sent something else than JSON.")
    if b'"temp_clone_token"' in body:
        body = _CLONE_TOKEN.sub(rb"\1null", body)
    try:
        data = _loads(body)
    except (ValueError, RecursionError) as error:
        raise BadResponse(f"{asked}: the answer is not valid JSON.") from error
    return _unpacked(data, redactor)


def _unpacked(data: Any, redactor: Redactor) -> Any:
    """Take credentials out of a file or blob too, which comes in base64."""
    if not (isinstance(data, dict) and data.get("encoding") == "base64"):
        return data
    try:
        content = base64.b64decode(data["content"])
    except (KeyError, TypeError, ValueError):
        return data
    clean = redactor.known_bytes(content)
    return data if clean is content else {**data, "content": base64.b64encode(clean).decode()}


def _loads(body: bytes) -> Any:
    text = body.decode("utf-8")
    if _SURROGATE in body.lower():
        # Half a surrogate pair is valid in JSON's escapes but in no text: U+FFFD stands for it.
        data = json.dumps(json.loads(text), ensure_ascii=False)
        text = data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.loads(text)
