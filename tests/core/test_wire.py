"""Answers in one write: only where nothing is special about the connection or the answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from core.transports.wire import write_whole

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"2")]


def cycle(**changes: Any) -> tuple[RequestResponseCycle, list[bytes]]:
    """Return uvicorn's side of a request that waits for its answer, and what was written."""
    written: list[bytes] = []
    made = RequestResponseCycle.__new__(RequestResponseCycle)
    state = {
        "keep_alive": True,
        "response_started": False,
        "response_complete": False,
        "disconnected": False,
        "waiting_for_100_continue": False,
        "flow": SimpleNamespace(write_paused=False),
        "scope": {"method": "GET"},
        "default_headers": [(b"date", b"today")],
        "transport": SimpleNamespace(write=written.append),
        "message_event": asyncio.Event(),
        "on_response": lambda: written.append(b"<done>"),
    }
    for name, value in (state | changes).items():
        setattr(made, name, value)
    return made, written


def test_plain_answer_is_one_write() -> None:
    """Head and body, as ASGI's two messages would have written them."""
    plain, written = cycle()
    assert write_whole(plain.send, 200, HEADERS, b"ok")
    assert written == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\n"
        b"content-type: text/plain\r\ncontent-length: 2\r\n\r\nok",
        b"<done>",
    ]
    assert plain.response_complete


@pytest.mark.parametrize(
    "changes",
    [
        {"keep_alive": False},
        {"response_started": True},
        {"disconnected": True},
        {"waiting_for_100_continue": True},
        {"flow": SimpleNamespace(write_paused=True)},
        {"scope": {"method": "HEAD"}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_connection_in_another_state_is_left_to_asgi(changes: dict[str, Any]) -> None:
    """Nothing is written then."""
    other, written = cycle(**changes)
    assert not write_whole(other.send, 200, HEADERS, b"ok")
    assert written == []


@pytest.mark.parametrize(
    "header", [(b"x-kind", b"a\r\nset-cookie: b"), (b"x-kind", b"a\nb"), (b"connection", b"close")]
)
def test_broken_or_closing_headers_are_left_to_asgi(header: tuple[bytes, bytes]) -> None:
    """It refuses a line feed in a value, and closes when it is told to."""
    plain, written = cycle()
    assert not write_whole(plain.send, 200, [*HEADERS, header], b"ok")
    assert written == []


def test_other_servers_are_left_to_asgi() -> None:
    """Also the ones of tests."""

    async def send(message: Any) -> None:
        raise AssertionError(message)

    assert not write_whole(send, 200, HEADERS, b"ok")
