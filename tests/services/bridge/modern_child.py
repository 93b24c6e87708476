"""A server over stdio that speaks 2026-07-28 only, for the tests of what the bridge says to it.

It does one thing after the other and knows what it was sent, which its tool `seen` tells. Options
say how it refuses `initialize`, and how it misbehaves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

JSON = dict[str, Any]
VERSION = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("--refuses", choices=("unsupported", "unknown", "params"), default="unknown")
OPTIONS.add_argument("--versions", default=VERSION)
OPTIONS.add_argument(
    "--listens", choices=("well", "never", "mutely", "briefly", "not-to-resources"), default="well"
)
OPTIONS.add_argument("--no-discover", action="store_true")


class Refused(Exception):
    """An error to answer with: code, message, data."""


class Server:
    """What the program knows."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.versions = options.versions.split(",")
        self.streams: dict[Any, JSON] = {}
        self.seen: list[JSON] = []

    def run(self) -> None:
        """Answer until the input ends."""
        for line in sys.stdin:
            message = json.loads(line)
            self.seen.append(message)
            if "id" not in message:
                self.streams.pop(message["params"].get("requestId"), None)
                continue
            try:
                result = self.answer(message["id"], message["method"], message["params"])
            except Refused as error:
                code, text, *data = error.args
                body = {"code": code, "message": text, **({"data": data[0]} if data else {})}
                say(id=message["id"], error=body)
            else:
                if result is not None:
                    say(id=message["id"], result={"resultType": "complete", **result})

    def answer(self, id_: Any, method: str, params: JSON) -> JSON | None:
        """Return a result; None when there is none yet."""
        if method == "initialize":
            raise self.refusal()
        meta = params["_meta"]
        if meta[PREFIX + "protocolVersion"] not in self.versions:
            raise Refused(-32022, "Unsupported protocol version", {"supported": self.versions})
        assert isinstance(meta[PREFIX + "clientCapabilities"], dict)
        handlers: dict[str, Callable[[], JSON | None]] = {
            "server/discover": self.discover,
            "subscriptions/listen": lambda: self.listen(id_, params),
            "tools/list": lambda: {"tools": [{"name": "a"}], "ttlMs": 5, "cacheScope": "private"},
            "tools/call": lambda: self.call(params["name"], params.get("arguments", {}), params),
            "resources/read": lambda: self.read(params["uri"]),
        }
        if method not in handlers:
            raise Refused(-32601, f"Method not found: {method}")
        return handlers[method]()

    def refusal(self) -> Refused:
        """Return the error that `initialize` gets."""
        return {
            "unsupported": Refused(-32022, "not that one", {"supported": self.versions}),
            "unknown": Refused(-32601, "Method not found"),
            "params": Refused(-32602, "params._meta is missing"),
        }[self.options.refuses]

    def discover(self) -> JSON:
        """Say what this is."""
        if self.options.no_discover:
            raise Refused(-32601, "Method not found")
        return {
            "supportedVersions": self.versions,
            "capabilities": {
                "tools": {"listChanged": True},
                "resources": {"subscribe": True},
                "logging": {},
            },
            "instructions": "Ask me.",
            "ttlMs": 1000,
            "cacheScope": "public",
            "_meta": {PREFIX + "serverInfo": {"name": "modern", "version": "1"}},
        }

    def listen(self, id_: Any, params: JSON) -> None:
        """Begin a stream."""
        how = self.options.listens
        if how == "never":
            raise Refused(-32601, "Method not found")
        if how == "mutely":
            return
        heard = dict(params["notifications"])
        if how == "not-to-resources":
            heard.pop("resourceSubscriptions", None)
        self.streams[id_] = heard
        self.tell(id_, "subscriptions/acknowledged", {"notifications": heard})
        if how == "briefly":
            self.end(by_answer=True)

    def tell(self, id_: Any, what: str, params: JSON) -> None:
        """Send a notification on a stream."""
        meta = {PREFIX + "subscriptionId": id_}
        say(method=f"notifications/{what}", params={**params, "_meta": meta})

    def read(self, uri: str) -> JSON:
        """Return a resource; there is one."""
        if uri != "toy://there":
            raise Refused(-32602, "Unknown resource", {"uri": uri})
        return {"contents": [{"uri": uri, "text": "x"}], "ttlMs": 0, "cacheScope": "public"}

    def call(self, name: str, arguments: JSON, params: JSON) -> JSON | None:
        """Run a tool."""
        tools: dict[str, Callable[[], JSON | None]] = {
            "params": lambda: {"content": [], "structuredContent": params},
            "seen": lambda: {"content": [], "structuredContent": {"seen": self.seen}},
            "wait": lambda: None,
            "ask": lambda: self.ask(params),
            "later": lambda: {"resultType": "task", "taskId": "1"},
            "log": lambda: self.log(arguments["times"]),
            "work": lambda: self.work(params["_meta"]["progressToken"]),
            "question": self.question,
            "change": lambda: self.change(arguments["uri"]),
            "end": lambda: self.end(by_answer=arguments["by_answer"]),
        }
        return tools[name]()

    def ask(self, params: JSON) -> JSON:
        """Ask for a name, once."""
        if "inputResponses" in params:
            name = params["inputResponses"]["name"]["content"]["name"]
            return {"content": [{"type": "text", "text": name}]}
        question = {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?"}}
        return {"resultType": "input_required", "inputRequests": {"name": question}}

    def question(self) -> JSON:
        """Ask by a request, which the revision forbids."""
        say(id="q", method="roots/list", params={})
        return {"content": []}

    def log(self, times: int) -> JSON:
        """Send log messages before the result."""
        for number in range(times):
            say(method="notifications/message", params={"level": "info", "data": number})
        return {"content": []}

    def work(self, token: Any) -> JSON:
        """Send progress before the result."""
        for step in (1, 2):
            params = {"progressToken": token, "progress": step}
            say(method="notifications/progress", params=params)
        return {"content": []}

    def change(self, uri: str) -> JSON:
        """Tell of changes on each stream that wants it, and of one on a stream that is none."""
        self.tell(9999, "tools/list_changed", {})
        for id_, wanted in self.streams.items():
            if uri in wanted.get("resourceSubscriptions", ()):
                self.tell(id_, "resources/updated", {"uri": uri})
            if wanted.get("toolsListChanged"):
                self.tell(id_, "tools/list_changed", {})
        return {"content": []}

    def end(self, *, by_answer: bool) -> JSON:
        """End all streams."""
        for id_ in self.streams:
            if by_answer:
                meta = {PREFIX + "subscriptionId": id_}
                say(id=id_, result={"resultType": "complete", "_meta": meta})
            else:
                say(method="notifications/cancelled", params={"requestId": id_})
        self.streams.clear()
        return {"content": []}


def say(**message: Any) -> None:
    """Write one message."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Server(OPTIONS.parse_args()).run()
