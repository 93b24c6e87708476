"""A server over stdio that opens with `initialize`, for the tests of what the bridge says to it.

It never answers a method that it does not know. Its tool `ask` asks the client and returns what
came back; options say which revisions it speaks.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

JSON = dict[str, Any]
OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("--revision", default="2025-11-25", help="what it answers initialize with")
OPTIONS.add_argument("--only", help="the one revision it takes; it refuses the others by name")
OPTIONS.add_argument("--refuses", action="store_true", help="it refuses initialize")
OPTIONS.add_argument("--silent", action="store_true", help="it answers nothing at all")
OPTIONS.add_argument("--dies", action="store_true", help="it ends instead of opening")
OPTIONS.add_argument("--bare", action="store_true", help="it declares nothing")
OPTIONS.add_argument("--prompts", action="store_true", help="it declares them and has none")
PAGE = 2
TOOLS = [{"name": f"tool{number}", "inputSchema": {"type": "object"}} for number in range(5)]


class Server:
    """What the program knows."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.seen: list[JSON] = []
        self.asking: dict[str, Any] = {}

    def run(self) -> None:
        """Answer until the input ends."""
        if self.options.dies:
            sys.stderr.write("no config file\n")
            sys.exit(3)
        for line in sys.stdin:
            message = json.loads(line)
            self.seen.append(message)
            if "method" not in message:
                self.answered(message)
            elif "id" in message and not self.options.silent:
                self.answer(message["id"], message["method"], message.get("params", {}))

    def answered(self, message: JSON) -> None:
        """Give a call the answer that the client gave us."""
        call = self.asking.pop(message["id"])
        outcome = {key: value for key, value in message.items() if key in ("result", "error")}
        say(id=call, result={"content": [], "structuredContent": outcome})

    def answer(self, id_: Any, method: str, params: JSON) -> None:
        """Answer what is known."""
        if method == "initialize":
            self.initialize(id_, params)
        elif method == "tools/list":
            self.list_tools(id_, int(params.get("cursor", "0")))
        elif method == "tools/call":
            self.call(id_, params)
        elif method in ("resources/subscribe", "resources/unsubscribe", "logging/setLevel", "ping"):
            say(id=id_, result={})
        elif method == "resources/list":
            say(id=id_, result={"resources": []})
        elif method == "resources/templates/list":
            say(id=id_, error={"code": -32601, "message": "Method not found"})
        elif method == "resources/read":
            say(id=id_, error={"code": -32602, "message": f"Resource {params['uri']} not found"})

    def initialize(self, id_: Any, params: JSON) -> None:
        """Open, or refuse as 2024-11-05 shows it (lifecycle, error handling)."""
        offered, only = params["protocolVersion"], self.options.only
        if self.options.refuses or (only and offered != only):
            data = {"supported": [only] if only else [], "requested": offered}
            error = {"code": -32602, "message": "Unsupported protocol version", "data": data}
            say(id=id_, error=error)
            return
        offers = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True},
            "logging": {},
            **({"prompts": {}} if self.options.prompts else {}),
        }
        result = {
            "protocolVersion": only or self.options.revision,
            "capabilities": {} if self.options.bare else offers,
            "serverInfo": {"name": "legacy", "version": "1"},
            "instructions": "Call me.",
        }
        say(id=id_, result=result)

    def list_tools(self, id_: Any, start: int) -> None:
        """Return a page; the last one but one has a tool twice and one without a name."""
        page: JSON = {"tools": TOOLS[start : start + PAGE]}
        if start + PAGE < len(TOOLS):
            page["nextCursor"] = str(start + PAGE)
            page["tools"] = [*page["tools"], TOOLS[start], {"title": "no name"}, "no tool"]
        say(id=id_, result=page)

    def call(self, id_: Any, params: JSON) -> None:
        """Run a tool."""
        name, arguments = params["name"], params.get("arguments", {})
        if name == "ask":
            self.asking[f"ask-{id_}"] = id_
            say(id=f"ask-{id_}", method=arguments["method"], params=arguments["params"])
        elif name == "seen":
            say(id=id_, result={"content": [], "structuredContent": {"seen": self.seen}})
        elif name == "params":
            say(id=id_, result={"content": [], "structuredContent": params, "resultType": "x"})
        elif name == "tell":
            say(method=arguments["method"], params=arguments["params"])
            say(id=id_, result={"content": []})
        elif name == "exit":
            sys.stderr.write("as I was told\n")
            sys.exit(7)


def say(**message: Any) -> None:
    """Write one message."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Server(OPTIONS.parse_args()).run()
