"""One write for one answer.

ASGI sends the head and the body of an answer as two messages, and uvicorn looks each over and
writes it by itself. An answer that is whole when it begins, as nearly all of ours are, goes to
uvicorn's connection in one piece instead, which takes a tenth off a tool call. Everything else
(streams, slow readers, other servers, tests) goes the way of ASGI; the client sees the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


def write_whole(
    send: Any, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> bool:
    """Write a whole answer at once; False, with nothing written, where ASGI has to.

    Args:
        send: ASGI's `send`, as the server gave it to the application.
        headers: With `content-length`, every name in lower case.
    """
    cycle = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle or not _is_plain(cycle):
        return False
    lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or b"\nconnection:" in head:
        return False  # a broken value is uvicorn's to refuse, and closing is uvicorn's to do
    cycle.transport.write(b"".join((STATUS_LINE[status], head, b"\r\n", body)))
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    cycle.on_response()
    return True


def cut_off(send: Any) -> None:
    """End the connection at once, with all that waits to be written to it.

    Args:
        send: As above; under another server the answer ends when its client takes what waits.
    """
    cycle = getattr(send, "__self__", None)
    if isinstance(cycle, RequestResponseCycle):
        cycle.transport.abort()


def _is_plain(cycle: RequestResponseCycle) -> bool:
    """Return whether the connection is in the state that nearly all are in."""
    return (
        cycle.keep_alive
        and not cycle.response_started
        and not cycle.disconnected
        and not cycle.waiting_for_100_continue
        and not cycle.flow.write_paused
        and cycle.scope["method"] != "HEAD"
    )
