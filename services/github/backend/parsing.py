"""The bodies of answers as data: JSON, or text where that was asked for."""

from __future__ import annotations

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


def parsed(answer: Answer, asked: str, redactor: Redactor) -> Any:
    """Return the body's JSON, or its text when it is of another media type; None when empty.

    Raises:
        BadResponse: HTML, or JSON that is none.
    """
    body = redactor.known_bytes(answer.body)
    if not body:
        return None
    media_type = answer.headers.get("content-type", "")
    if _HTML_TYPE.match(media_type):
        raise BadResponse(f"{asked}: what answered sent a web page instead of data.")
    if not _JSON_TYPE.match(media_type):
        return body.decode("utf-8", errors="replace")
    if b'"temp_clone_token"' in body:
        body = _CLONE_TOKEN.sub(rb"\1null", body)
    try:
        return _loads(body)
    except (ValueError, RecursionError) as error:
        raise BadResponse(f"{asked}: the answer is not valid JSON.") from error


def _loads(body: bytes) -> Any:
    text = body.decode("utf-8")
    if _SURROGATE in body.lower():
        # Half a surrogate pair is valid in JSON's escapes but in no text: U+FFFD stands for it.
        data = json.dumps(json.loads(text), ensure_ascii=False)
        text = data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.loads(text)
