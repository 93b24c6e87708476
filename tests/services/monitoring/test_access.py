"""HTTP requests in logs: every format, routes and percentiles."""

from __future__ import annotations

import random
import time

import pytest

from services.monitoring.logs import access
from services.monitoring.logs.access import Latencies, Traffic, requests_of, route_of

NGINX = '10.0.0.1 - - [20/Nov/2026:11:00:00 +0000] "GET /api/users/12?x=1 HTTP/1.1" '


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f'{NGINX}200 612 "-" "Mozilla 5.0" 0.012', ("GET", "/api/users/12", 200, 12.0)),
        (f'{NGINX}502 612 "-" "Mozilla 5.0" rt=1.5', ("GET", "/api/users/12", 502, 1500.0)),
        (f'{NGINX}200 612 "-" "curl/8" 12000', ("GET", "/api/users/12", 200, 12.0)),
        (f'{NGINX}404 612 "-" "curl/8.1"', ("GET", "/api/users/12", 404, None)),
        (f"{NGINX}404 612", ("GET", "/api/users/12", 404, None)),
        ('INFO:     10.0.0.1:5000 - "POST /a HTTP/1.1" 201 Created', ("POST", "/a", 201, None)),
        ("GET /a/b?c=d 500 12.345 ms - 15", ("GET", "/a/b", 500, 12.345)),
        ("level=info method=GET path=/a?b status=503 duration=12ms", ("GET", "/a", 503, 12.0)),
        ('t=1 method=PUT path="/a b" status=200 took=1.5s', ("PUT", "/a b", 200, 1500.0)),
        (
            '{"timestamp":"2026-11-20T11:00:00Z","level":"INFO","message":"request",'
            '"context":{"http_method":"POST","path":"/rpc","status":200,"duration_ms":1.5}}',
            ("POST", "/rpc", 200, 1.5),
        ),
        (
            '{"level":"info","request":{"method":"GET","uri":"/c?x"},"duration":0.5,"status":500}',
            ("GET", "/c", 500, 500.0),
        ),
        (
            '{"RequestMethod":"GET","RequestPath":"/t","DownstreamStatus":500,"Duration":5000000}',
            ("GET", "/t", 500, 5.0),
        ),
    ],
)
def test_every_format_of_requests_is_read(
    line: str, told: tuple[str, str, int, float | None]
) -> None:
    """Method, path without query, status and latency in ms, whatever unit the server logs."""
    (request,) = requests_of(f"something else\n{line}\nand more".encode())
    assert request.start == len("something else\n")
    assert (request.method, request.path, request.status) == told[:3]
    assert request.latency_ms == (None if told[3] is None else pytest.approx(told[3]))


@pytest.mark.parametrize(
    "line",
    [
        'say "GET lost" 404 times',
        '{"method":"GET","path":"/x"}',
        '{"method":"GET","path":"/x","status":"fine"}',
        '{"http_method":"GET","path":',
        "method=call path=/x status=200",
    ],
)
def test_what_is_no_request_is_none(line: str) -> None:
    """Method, path and a status of HTTP have to stand there."""
    assert list(requests_of(line.encode())) == []


@pytest.mark.parametrize(
    "part", ["GET /a 200 5 ms ", '{"method": "GET" ', '"GET /a HTTP/1.1" 200 5 ', "method=GET "]
)
def test_a_line_is_one_request_however_often_it_looks_like_one(part: str) -> None:
    """A megabyte of such a line takes time that grows with its length only."""
    started = time.perf_counter()
    assert len(list(requests_of((part * 60_000).encode()))) <= 1
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/health", "/health"),
        ("/api/v1/users/123", "/api/v1/users/{id}"),
        ("/api/users/123/orders/9f8e7d6c5b4a", "/api/users/{id}/orders/{id}"),
        ("/o/6ba7b810-9dad-11d1-80b4-00c04fd430c8/x", "/o/{id}/x"),
        ("https://example.com/a/1", "/a/{id}"),
        ("/mail/ann@example.com", "/mail/{id}"),
        ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/…"),
    ],
)
def test_segments_that_look_like_ids_are_one_route(path: str, route: str) -> None:
    """Users and orders differ, the route does not; versions of an API stay."""
    assert route_of(path) == route


def test_percentiles_are_within_a_fortieth_of_the_exact_ones() -> None:
    """Buckets a twentieth wide put a value at most half of that away."""
    chance = random.Random(2)
    values = sorted(chance.lognormvariate(3, 1.5) for _ in range(5_000))
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    for share in (0.5, 0.95, 0.99):
        exact = values[int(share * 5_000) - 1]
        assert latencies.percentile(share) == pytest.approx(exact, rel=0.03)
    assert Latencies().percentile(0.5) is None


def test_failures_know_their_first_and_last_line() -> None:
    """Failed requests are what somebody wants to look at; of others the first is enough."""
    lines = [f'{NGINX}{status} {n} "-" "a b" 0.1' for n, status in enumerate((200, 500, 200, 500))]
    traffic = Traffic(2)
    traffic.add("\n".join(lines).encode(), bucket=1, file=3, offset=10)
    ok, failed = traffic.found()
    assert [(a.route, a.status, list(a.counts)) for a in (ok, failed)] == [
        ("/api/users/{id}", 200, [0, 2]),
        ("/api/users/{id}", 500, [0, 2]),
    ]
    assert failed.files[3].first == lines[1].encode()
    assert failed.files[3].last == lines[3].encode()
    assert failed.files[3].offset == 10 + len(lines[0]) + 1


def test_endlessly_many_routes_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scanner asks for anything; memory stays bounded and no request is lost."""
    monkeypatch.setattr(access, "MAX_ROUTES", 10)
    letters = random.Random(1)
    paths = ["/" + "".join(letters.choices("ghijk", k=9)) for _ in range(400)]
    lines = "\n".join(f'1.2.3.4 - - [x] "GET {path} HTTP/1.1" 404 0' for path in paths)
    traffic = Traffic(1)
    traffic.add(lines.encode(), bucket=0, file=0)
    found = traffic.found()
    assert len(found) == 11
    assert found[0].route == access.OTHER_ROUTES
    assert sum(answers.count for answers in found) == 400
