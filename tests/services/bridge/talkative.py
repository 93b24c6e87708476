"""A stdio server that tells and asks when it is told to; standard library only, legacy revisions.

subs()              the URIs that it is subscribed to, in order, as JSON
level()             the log level that was set
update(uri)         tells that a resource has changed, whoever is subscribed
log(text)           a log message, then the answer
add(name)           one more tool, and that the list has changed
changed()           that the list of tools has changed, which it has not
ask_in_vain()       asks, withdraws the question, and then answers
ask(message)        what the client answers to elicitation/create, as JSON
roots()             what the client's roots were when it was last told, as JSON
who()               the process id
crash()             exits with status 9
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

JSON = dict[str, Any]
COMMAND = [sys.executable, "-I", "-S", __file__]
TOOLS = """subs level update log add changed ask ask_in_vain roots who crash""".split()  # noqa: SIM905 - one line
FORM = {"requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
ROOTS_MAY_BE_OTHERS = ("notifications/initialized", "notifications/roots/list_changed")
CAPABILITIES = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
}


class Server:
    """What it knows."""

    def __init__(self) -> None:
        self.tools = list(TOOLS)
        self.subs: list[str] = []
        self.level = "none"
        self.roots: Any = None
        self.can_list_roots = False
        self.asked_for_roots = 0
        self.asking: dict[str, Any] = {}

    def run(self) -> None:
        """Answer until the input ends."""
        for line in sys.stdin:
            message = json.loads(line)
            if "method" not in message:
                self.answered(message)
            elif "id" in message:
                self.answer(message["id"], message["method"], message.get("params", {}))
            elif message["method"] in ROOTS_MAY_BE_OTHERS and self.can_list_roots:
                self.asked_for_roots += 1
                say(id=f"roots-{self.asked_for_roots}", method="roots/list", params={})

    def answered(self, message: JSON) -> None:
        """Take the client's answer."""
        if message["id"].startswith("roots-"):
            self.roots = message.get("result", message.get("error"))
            return
        told(
            self.asking.pop(message["id"]), json.dumps(message.get("result", message.get("error")))
        )

    def answer(self, id_: Any, method: str, params: JSON) -> None:
        """Answer a request."""
        if method == "initialize":
            self.can_list_roots = "roots" in params["capabilities"]
            say(
                id=id_,
                result={
                    "protocolVersion": "2025-11-25",
                    "capabilities": CAPABILITIES,
                    "serverInfo": {"name": "talkative", "version": "1"},
                },
            )
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]
            say(id=id_, result={"tools": tools})
        elif method == "tools/call":
            self.call(id_, params["name"], params.get("arguments", {}))
        elif method == "resources/subscribe":
            if params["uri"].startswith("no:"):
                say(id=id_, error={"code": -32602, "message": "There is nothing to hear of it."})
                return
            self.subs.append(params["uri"])
            say(id=id_, result={})
        elif method == "resources/unsubscribe":
            if params["uri"] in self.subs:
                self.subs.remove(params["uri"])
            say(id=id_, result={})
        elif method == "logging/setLevel":
            self.level = params["level"]
            say(id=id_, result={})
        elif method in ("resources/list", "resources/templates/list"):
            say(id=id_, result={"resources": [], "resourceTemplates": []})
        else:
            say(id=id_, result={})

    def call(self, id_: Any, name: str, arguments: JSON) -> None:
        """Run a tool."""
        if name == "subs":
            told(id_, json.dumps(self.subs))
        elif name == "level":
            told(id_, self.level)
        elif name == "roots":
            told(id_, json.dumps(self.roots))
        elif name == "update":
            say(method="notifications/resources/updated", params={"uri": arguments["uri"]})
            told(id_, "told")
        elif name == "log":
            params = {"level": "info", "data": arguments["text"]}
            say(method="notifications/message", params=params)
            told(id_, "logged")
        elif name in ("add", "changed"):
            if name == "add":
                self.tools.append(arguments["name"])
            say(method="notifications/tools/list_changed")
            told(id_, "changed")
        elif name == "ask":
            self.asking[f"ask-{id_}"] = id_
            params = {"message": arguments["message"], **FORM}
            say(id=f"ask-{id_}", method="elicitation/create", params=params)
        elif name == "ask_in_vain":
            say(id="vain", method="elicitation/create", params={"message": "?", **FORM})
            time.sleep(0.2)
            say(method="notifications/cancelled", params={"requestId": "vain"})
            time.sleep(0.1)
            told(id_, "never mind")
        elif name == "crash":
            sys.stderr.write("as I was told\n")
            sys.stderr.flush()
            os._exit(9)
        else:
            told(id_, str(os.getpid()) if name == "who" else f"I am {name}")


def told(id_: Any, text: str) -> None:
    """Answer a call with text."""
    say(id=id_, result={"content": [{"type": "text", "text": text}]})


def say(**message: Any) -> None:
    """Write one message."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Server().run()
