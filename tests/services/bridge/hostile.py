"""A stdio MCP server that does what no server should: one bad habit per tool.

Stand-alone (`python hostile.py`, standard library only) and as legacy as they come: initialize,
ping, tools/list, tools/call. What stands on its command line is done before anything is read: the
name of a tool, or `NAME=JSON` with its arguments, for instance `hostile.py garbage
crash={"code":3}`.

Well behaved, to see what becomes of the neighbours of a bad call:

    echo(text)                    the text
    who()                         the process id
    environment(names)            those variables as a JSON object, null for what is not set
    slow(seconds)                 an answer after that time; other calls go on
    progress(steps, seconds)      that many progress notifications, evenly over that time
    cancelled()                   the ids of requests that were cancelled so far, as JSON

On stdout:

    garbage(lines)                lines that are no JSON, or JSON but no message, then the answer
    big(bytes)                    an answer in one line of at least that length
    twice(text)                   the answer, and a second, different one
    foreign_id(id)                first an answer to a request of that id (default: one that waits,
                                  else the next), then its own
    wrong_shape(of)               a `result` or an `error` that is a string, `neither`, or `both`
    notify_forever(every_s)       log notifications without end; the call is answered at once
    half_line(code)               half an answer, then the end
    close_stdout()                an answer, then nothing more, though the process lives

On stderr:

    stderr(lines, bytes, raw, newline)    that many lines of that length; not UTF-8 when `raw`; one
                                          endless line without `newline`

Not there:

    hang()                        this call is never answered
    deaf()                        this call and all after it are never answered
    stop_reading()                an answer, then nothing is ever read again
    crash(code, by)               exits at once with a code, or by a signal (`"SIGSEGV"`)
    random_exits(chance, code)    each later request ends the process with that probability

As a process:

    ignore_sigterm()              so that only SIGKILL helps; descendants inherit it
    fork(kind)                    a grandchild that sleeps and holds stdout and stderr open, in the
                                  same `group`, in its own `session`, or a `double` fork in its own
                                  session whose parent is gone; the answer is its process id
    memory(bytes)                 takes and touches that much memory, and keeps it
    spin(seconds)                 uses the processor, answers nobody meanwhile
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

COMMAND = (sys.executable, "-I", "-S", __file__)
"""How to start it; arguments may follow."""

_writing = threading.Lock()
_waiting: set[int | str] = set()
_cancelled: list[int | str] = []
_kept: list[bytearray] = []
_exits: dict[str, float] = {"chance": 0.0, "code": 1}
_is_deaf = threading.Event()
_reads_no_more = threading.Event()

TOOLS: dict[str, Callable[..., str | None]] = {}
IN_THREADS = frozenset(("slow", "progress", "hang"))


def tool(function: Callable[..., str | None]) -> Callable[..., str | None]:
    """Offer a function as a tool: what it returns is the answer, None when it saw to that."""
    TOOLS[function.__name__] = function
    return function


class Call:
    """One call of a tool; without an id when it came from the command line."""

    def __init__(self, id: int | str | None, token: int | str | None = None) -> None:
        self.id = id
        self.token = token

    def answer(self, text: str) -> None:
        """Answer it."""
        if self.id is not None and not _is_deaf.is_set():
            _waiting.discard(self.id)
            write(_text_result(self.id, text))


def write(message: dict[str, Any]) -> None:
    """Write one message as a line."""
    write_bytes(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout, all of them, while no other thread does."""
    with _writing:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(1, rest) :]


def _text_result(id: int | str | None, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}


# --- well behaved --------------------------------------------------------------------------------


@tool
def echo(call: Call, text: str = "") -> str:
    """Return the text."""
    return text


@tool
def who(call: Call) -> str:
    """Return the process id."""
    return str(os.getpid())


@tool
def environment(call: Call, names: list[str] | None = None) -> str:
    """Return variables of the environment, all of them without names."""
    return json.dumps({name: os.environ.get(name) for name in names or os.environ})


@tool
def slow(call: Call, seconds: float = 1) -> str:
    """Answer after a time."""
    time.sleep(seconds)
    return f"after {seconds} s"


@tool
def progress(call: Call, steps: int = 3, seconds: float = 0.3) -> str:
    """Report progress, evenly over a time."""
    for step in range(1, steps + 1):
        time.sleep(seconds / steps)
        if call.token is not None:
            params = {"progressToken": call.token, "progress": step, "total": steps}
            write({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    return f"{steps} steps"


@tool
def cancelled(call: Call) -> str:
    """Return the ids of requests that were cancelled."""
    return json.dumps(_cancelled)


# --- on stdout -----------------------------------------------------------------------------------

_GARBAGE = (
    b"Server started, have fun!",
    b"",
    b"\xff\xfe not UTF-8 \x80\x00\x1b[31m",
    b'{"jsonrpc": "2.0", "id": 1, "resu',
    b"[]",
    b"null",
    b"17",
    b'"text"',
    b"{}",
    b'{"jsonrpc":"1.0","id":0,"result":{}}',
    b'{"jsonrpc":"2.0","id":{"a":1},"result":{}}',
    b'{"jsonrpc":"2.0","id":null,"result":{}}',
    b'{"jsonrpc":"2.0","method":17}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":[]}',
    b"[" * 100_000,
    b'{"jsonrpc":"2.0","id":1e400,"result":NaN}',
)


@tool
def garbage(call: Call, lines: int = len(_GARBAGE)) -> str:
    """Write lines that are no messages."""
    for number in range(lines):
        write_bytes(_GARBAGE[number % len(_GARBAGE)] + b"\n")
    return f"{lines} lines of garbage before this"


@tool
def big(call: Call, bytes: int = 8 * 1024 * 1024) -> str:
    """Answer in one long line."""
    return "x" * bytes


@tool
def twice(call: Call, text: str = "once") -> str:
    """Answer twice."""
    call.answer(text)
    return f"{text}, and again"


@tool
def foreign_id(call: Call, id: int | str | None = None) -> str:
    """Answer another's request first."""
    others = sorted((other for other in _waiting if other != call.id), key=str)
    after = call.id + 1 if isinstance(call.id, int) else "another"
    write(_text_result(id if id is not None else (others or [after])[0], "not yours"))
    return "mine"


@tool
def wrong_shape(call: Call, of: str = "result") -> None:
    """Answer in a shape that no answer has."""
    wrong: dict[str, dict[str, Any]] = {
        "result": {"result": "a string"},
        "error": {"error": "a string"},
        "neither": {},
        "both": {"result": {}, "error": {"code": -32603, "message": "and an error"}},
    }
    write({"jsonrpc": "2.0", "id": call.id} | wrong[of])


@tool
def notify_forever(call: Call, every_s: float = 0) -> str:
    """Send notifications without end."""

    def notify() -> None:
        while True:
            params = {"level": "info", "logger": "hostile", "data": "still here"}
            write({"jsonrpc": "2.0", "method": "notifications/message", "params": params})
            time.sleep(every_s)

    threading.Thread(target=notify, daemon=True).start()
    return "and so it goes on"


@tool
def half_line(call: Call, code: int = 1) -> None:
    """Write half an answer and exit."""
    line = json.dumps(_text_result(call.id, "the whole of it")).encode()
    write_bytes(line[: len(line) // 2])
    os._exit(code)


@tool
def close_stdout(call: Call) -> None:
    """Close stdout and live on."""
    call.answer("goodbye")
    silence = os.open(os.devnull, os.O_WRONLY)
    with _writing:
        os.dup2(silence, 1)


# --- on stderr -----------------------------------------------------------------------------------


@tool
def stderr(
    call: Call, lines: int = 1, bytes: int = 40, raw: bool = False, newline: bool = True
) -> str:
    """Write to stderr."""
    for number in range(lines):
        head = b"line %d " % (number + 1)
        line = head + (b"\xff" if raw else b".") * (bytes - len(head))
        rest = memoryview(line + b"\n" * newline)
        while rest:
            rest = rest[os.write(2, rest) :]
    return f"{lines} lines"


# --- not there -----------------------------------------------------------------------------------


@tool
def hang(call: Call) -> None:
    """Never answer."""


@tool
def deaf(call: Call) -> None:
    """Never answer anything again."""
    _is_deaf.set()


@tool
def stop_reading(call: Call) -> str:
    """Never read again."""
    _reads_no_more.set()
    return "the last that I have heard"


@tool
def crash(call: Call, code: int = 1, by: str | None = None) -> None:
    """Exit at once."""
    if by is not None:
        os.kill(os.getpid(), signal.Signals[by])
    os._exit(code)


@tool
def random_exits(call: Call, chance: float = 0.1, code: int = 1) -> str:
    """Exit at random from now on."""
    _exits.update(chance=chance, code=code)
    return "from now on"


# --- as a process --------------------------------------------------------------------------------


@tool
def ignore_sigterm(call: Call) -> str:
    """Ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return "ignored"


@tool
def fork(call: Call, kind: str = "group") -> str:
    """Leave a grandchild behind."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if kind != "group":
            os.setsid()
        if kind == "double" and os.fork():
            os._exit(0)
        os.write(writing, str(os.getpid()).encode())
        os.close(writing)
        time.sleep(600)
        os._exit(0)
    os.close(writing)
    pid = os.read(reading, 20).decode()
    os.close(reading)
    if kind == "double":
        os.waitpid(child, 0)
    return pid


@tool
def memory(call: Call, bytes: int = 100 * 1024 * 1024) -> str:
    """Take memory and keep it."""
    _kept.append(bytearray(b"x") * bytes)
    return f"{bytes} bytes more"


@tool
def spin(call: Call, seconds: float = 1) -> str:
    """Use the processor."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return f"span for {seconds} s"


# --- the server ----------------------------------------------------------------------------------


def _run(name: str, call: Call, arguments: dict[str, Any]) -> None:
    try:
        text = TOOLS[name](call, **arguments)
    except Exception as error:
        if call.id is None:
            raise
        text = f"{type(error).__name__}: {error}"
    if text is not None:
        call.answer(text)


def _call_tool(id: int | str, params: dict[str, Any]) -> None:
    name = params.get("name")
    if name not in TOOLS:
        error = {"code": -32602, "message": f"no tool is called {name!r}"}
        write({"jsonrpc": "2.0", "id": id, "error": error})
        return
    _waiting.add(id)
    call = Call(id, (params.get("_meta") or {}).get("progressToken"))
    if name in IN_THREADS:
        arguments = (name, call, params.get("arguments") or {})
        threading.Thread(target=_run, args=arguments, daemon=True).start()
    else:
        _run(name, call, params.get("arguments") or {})


def _initialized(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "protocolVersion": params.get("protocolVersion", "2025-11-25"),
        "capabilities": {"tools": {}, "logging": {}},
        "serverInfo": {"name": "hostile", "version": "1"},
    }


def _listed() -> dict[str, Any]:
    return {
        "tools": [
            {"name": name, "description": function.__doc__, "inputSchema": {"type": "object"}}
            for name, function in TOOLS.items()
        ]
    }


def _take(message: dict[str, Any]) -> None:
    id, method, params = message.get("id"), message.get("method"), message.get("params") or {}
    if method == "notifications/cancelled":
        _cancelled.append(params["requestId"])
    if id is None or method is None or _is_deaf.is_set():
        return
    if random.random() < _exits["chance"]:
        os._exit(int(_exits["code"]))
    if method == "tools/call":
        _call_tool(id, params)
    elif method == "initialize":
        write({"jsonrpc": "2.0", "id": id, "result": _initialized(params)})
    elif method == "tools/list":
        write({"jsonrpc": "2.0", "id": id, "result": _listed()})
    elif method in ("ping", "logging/setLevel"):
        write({"jsonrpc": "2.0", "id": id, "result": {}})
    else:
        error = {"code": -32601, "message": f"no method is called {method!r}"}
        write({"jsonrpc": "2.0", "id": id, "error": error})


def main() -> None:
    """Do what the command line says, then serve until stdin ends."""
    for wish in sys.argv[1:]:
        name, _, arguments = wish.partition("=")
        _run(name, Call(None), json.loads(arguments or "{}"))
    for line in sys.stdin.buffer:
        _take(json.loads(line))
        while _reads_no_more.is_set():
            time.sleep(600)


if __name__ == "__main__":
    main()
