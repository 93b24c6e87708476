"""What must hold of any answer to any bytes, and the bytes that most often break servers."""

from __future__ import annotations

import json

from tests.servers.demo import SECRET
from tests.servers.processes import ROOT

INSIDE = (
    "Traceback",
    'File "',
    "site-packages",
    ".py",
    str(ROOT),
    SECRET,
    "hunter2",
    "/usr/lib",
    "pydantic_core",
    "object at 0x",
)
"""What tells of the inside and is never part of an answer."""

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


def check_harmless(status: int, body: bytes, asked: object) -> None:
    """Check that an answer is neither a failure of the server nor a look inside."""
    assert 200 <= status < 500 or status == 503, (status, body[:500], asked)
    text = body.decode("utf-8", "replace")
    for part in INSIDE:
        assert part not in text, (part, text[:500], asked)


def call(arguments: str, tool: str = "echo") -> bytes:
    """Return a tool call around arguments that are written out."""
    start = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"'
    return f'{start},"arguments":{arguments}}}}}'.encode("utf-8", "surrogatepass")


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \r\n\t ",
    "half an object": b'{"jsonrpc":"2.0","id":1',
    "garbage behind": PING + b"}",
    "two documents": PING + PING,
    "single quotes": b"{'jsonrpc':'2.0'}",
    "a comment": b"/* x */" + PING,
    "a trailing comma": b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
    "100,000 brackets": b"[" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "100,000 balanced brackets": b"[" * 100_000 + b"]" * 100_000,
    "NaN": call('{"text":NaN}'),
    "Infinity": call('{"text":-Infinity}'),
    "UTF-16": PING.decode().encode("utf-16"),
    "UTF-16 without a mark": PING.decode().encode("utf-16-le"),
    "UTF-32": PING.decode().encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + PING,
    "NUL bytes around": b"\0" + PING + b"\0",
    "a raw control character": call('{"text":"a\nb"}'),
    "bytes that are no UTF-8": call('{"text":"x"}').replace(b"x", b"\xff\xfe\xc0\xaf"),
    "a raw surrogate": call('{"text":"\ud800"}'),
    "form data": b"jsonrpc=2.0&method=ping",
    "XML": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "a number of 5,000 digits": b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
}
"""No JSON, or nothing that one should take for it."""

ODD: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "a string": b'"ping"',
    "a number": b"42",
    "an empty object": b"{}",
    "an empty array": b"[]",
    "arrays in arrays": b"[[[]]]",
    "null in an array": b"[null]",
    "another jsonrpc": b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    "jsonrpc as a number": b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
    "no method": b'{"jsonrpc":"2.0","id":1}',
    "method as a number": b'{"jsonrpc":"2.0","id":1,"method":7}',
    "method as null": b'{"jsonrpc":"2.0","id":1,"method":null}',
    "an empty method": b'{"jsonrpc":"2.0","id":1,"method":""}',
    "a dunder method": b'{"jsonrpc":"2.0","id":1,"method":"__class__"}',
    "a method of a megabyte": b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 1_000_000 + b'"}',
    "a method with controls": b'{"jsonrpc":"2.0","id":1,"method":"a\\u0000\\r\\nb"}',
    "a method with a surrogate": b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
    "a null id": b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    "a fractional id": b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    "an id without end": b'{"jsonrpc":"2.0","id":1e99999,"method":"ping"}',
    "an argument without end": call('{"a":1e99999,"b":1}', "add"),
    "a boolean id": b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    "an object as id": b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
    "an array as id": b'{"jsonrpc":"2.0","id":[1],"method":"ping"}',
    "an id of 4,000 digits": b'{"jsonrpc":"2.0","id":' + b"9" * 4000 + b',"method":"ping"}',
    "a negative id of 4,300 digits": b'{"jsonrpc":"2.0","id":-' + b"9" * 4300 + b',"method":"x"}',
    "an id of a megabyte": b'{"jsonrpc":"2.0","id":"' + b"x" * 1_000_000 + b'","method":"ping"}',
    "an id with a surrogate": b'{"jsonrpc":"2.0","id":"\\udfff","method":"ping"}',
    "an empty id": b'{"jsonrpc":"2.0","id":"","method":"ping"}',
    "the same key twice": b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping","method":"tools/list"}',
    "result and method": b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{},"error":{}}',
    "result and error": b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":"x"}}',
    "an error that is a string": b'{"jsonrpc":"2.0","id":1,"error":"no"}',
    "an array as params": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}',
    "a string as params": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"add"}',
    "meta as an array": b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":[]}}',
    "a batch of 1,000": b"[" + b",".join([PING] * 1000) + b"]",
    "a batch of anything": b'[1,null,{},[],"x",' + PING + b"]",
    "an escaped surrogate": call('{"text":"\\ud800"}'),
    "a surrogate as key": call('{"\\udc00":1}'),
    "an escaped NUL": call('{"text":"a\\u0000b"}'),
    "a huge number": call('{"a":1' + "0" * 300 + ',"b":1e308}', "add"),
    "an argument of 4,000 digits": call('{"a":' + "9" * 4000 + ',"b":1}', "add"),
    "arguments as an array": call("[1,2]", "add"),
    "arguments as a string": call('"a"', "add"),
    "150 levels": call('{"text":' + "[" * 150 + "]" * 150 + "}"),
    "a name with a path": call("{}", "../../etc/passwd"),
    "a name of a megabyte": call("{}", "x" * 1_000_000),
    "10,000 unknown arguments": call(json.dumps({f"k{n}": n for n in range(10_000)}), "add"),
    "a prototype": call('{"__proto__":{},"constructor":{}}', "add"),
    "a name that is a number": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1e3}}'
    ),
    "a cursor that is an object": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":{"a":1}}}'
    ),
    "a uri of a megabyte": (
        b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"demo://book/'
        + b"%41" * 300_000
        + b'/1"}}'
    ),
    "a uri with a bad escape": (
        b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"demo://book/%ff%/1"}}'
    ),
    "a token that is an object": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":'
        b'{"name":"count","arguments":{"pause_ms":0},"_meta":{"progressToken":{"a":[]}}}}'
    ),
    "initialize with nonsense": (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":'
        b'{"protocolVersion":{},"capabilities":{"elicitation":7},"clientInfo":{"name":[]}}}'
    ),
    "initialize with 100 kB of capabilities": (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"x":"'
        + b"y" * 100_000
        + b'"},"clientInfo":{}}}'
    ),
}
"""JSON, but not what anybody would send."""
