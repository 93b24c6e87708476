"""A stdio MCP server whose every word is given to it: `python scripted.py ANSWERS`.

ANSWERS is a JSON object: a method, or `tools/call NAME`, to the result as text, which is written as
it stands and so may be anything. Of 2025-11-25, standard library only. `tools/call echo` answers
with the arguments as text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

CAPABILITIES: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}


def command(answers: Mapping[str, Any]) -> list[str]:
    """Return how to start it; answers that are no texts are written as JSON."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in answers.items()}
    return [sys.executable, "-I", "-S", __file__, json.dumps(texts)]


def result_of(answers: Mapping[str, str], method: str, params: Any) -> str:
    """Return the result of a request as JSON."""
    if method == "initialize":
        return json.dumps(
            {
                "protocolVersion": "2025-11-25",
                "capabilities": CAPABILITIES,
                "serverInfo": {"name": "scripted", "version": "1"},
            }
        )
    name = f"{method} {params.get('name')}" if method == "tools/call" else method
    if name == "tools/call echo":
        text = json.dumps(params.get("arguments"))
        return json.dumps({"content": [{"type": "text", "text": text}]})
    return answers.get(name, "{}")


def main() -> None:
    """Answer line by line."""
    answers = json.loads(sys.argv[1])
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            result = result_of(answers, message["method"], message.get("params") or {})
            id_ = json.dumps(message["id"])
            sys.stdout.write(f'{{"jsonrpc":"2.0","id":{id_},"result":{result}}}\n')
            sys.stdout.flush()


if __name__ == "__main__":
    main()
