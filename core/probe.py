"""Whether the server on this machine answers: `python core/probe.py`, the health check of images.

Exit status 0 when `GET /health` is answered with 200, 1 with a sentence on standard error when not.
It runs as a file and with the standard library alone: an engine calls it every few seconds, and
importing `core` takes ten times as long as asking.

Where it asks comes from the variables that the server reads. A port that is not set is the one of
the image; TLS is spoken where a certificate is set, and tried where plain HTTP is not understood,
because a configuration file may have set one. The certificate is not verified: it names the
server's public host, not this one. A server that wants a certificate of its clients (`client_ca`)
gets none from here, and its refusal is its answer: the alert `certificate_required` (RFC 8446
section 6.2), or that it closes the connection after the handshake, as asyncio does.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

TIME_LIMIT_S = 4.0
HOST_VARIABLE = "MCP_HTTP_SERVER__HOST"
PORT_VARIABLE = "MCP_HTTP_SERVER__PORT"
CERTIFICATE_VARIABLE = "MCP_HTTP_TLS__CERTIFICATE"
EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with
WANTS_CERTIFICATE = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        # What a server says before TLS 1.3.
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
    }
)


class Unhealthy(Exception):
    """The server did not answer as a healthy one does; the message says what it did."""


def main() -> int:
    """Ask the server that the environment describes, and return the exit status."""
    host = os.environ.get(HOST_VARIABLE, "127.0.0.1")
    try:
        port = int(os.environ[PORT_VARIABLE])
        ask(EVERY_ADDRESS.get(host, host), port, secure=bool(os.environ.get(CERTIFICATE_VARIABLE)))
    except (KeyError, ValueError):
        return _failed(f"{PORT_VARIABLE} does not say on which port to ask")
    except Unhealthy as error:
        return _failed(str(error))
    return 0


def ask(host: str, port: int, *, secure: bool) -> None:
    """Return when the server answers.

    Args:
        secure: Speak TLS at once, instead of only where plain HTTP is not understood.

    Raises:
        Unhealthy: It does not answer within `TIME_LIMIT_S`, or with another status than 200.
    """
    try:
        status = _status(host, port, secure=secure)
    except http.client.HTTPException:
        status = _status(host, port, secure=True)
    if status != http.client.OK:
        raise Unhealthy(f"/health was answered with status {status}")


def _status(host: str, port: int, *, secure: bool) -> int:
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIME_LIMIT_S, context=_unverified())
        if secure
        else http.client.HTTPConnection(host, port, timeout=TIME_LIMIT_S)
    )
    try:
        connection.connect()
        return _answer(connection, secure=secure)
    except ssl.SSLError as error:
        if error.reason in WANTS_CERTIFICATE:
            return http.client.OK
        raise Unhealthy(f"TLS: {error.reason}") from None
    except OSError as error:
        raise Unhealthy(f"port {port}: {error.strerror or error}") from None
    finally:
        connection.close()


def _answer(connection: http.client.HTTPConnection, *, secure: bool) -> int:
    """Return the status of `/health`; a server that closes a TLS connection has refused us."""
    try:
        connection.request("GET", "/health", headers={"Host": "localhost"})
        return connection.getresponse().status
    except (ConnectionError, ssl.SSLEOFError) as error:
        if secure:
            return http.client.OK
        raise http.client.HTTPException(str(error)) from None


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _failed(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
