"""An authorisation server on loopback that also does what no honest one does.

It has its own keys, signs whatever it is told to, and can be down, slow, huge, redirecting or
silent. What an honest one does is shown by the real one in `authorisation.py`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

JSON = dict[str, Any]
RESOURCE = "http://127.0.0.1:8099/mcp"
METADATA = "/.well-known/oauth-authorization-server"


def private_key(name: str, algorithm: str = "RS256") -> Any:
    """Return a private key; the same for the same name, since making one takes long.

    A name that ends in `short` has an RSA key of 1024 bits.
    """
    return _private_key(name, algorithm[:2].replace("PS", "RS"))


@cache
def _private_key(name: str, family: str) -> Any:
    if family == "ES":
        return ec.generate_private_key(ec.SECP256R1())
    if family == "Ed":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if name.endswith("short") else 2048)


def public_jwk(name: str, algorithm: str = "RS256", **more: Any) -> JSON:
    """Return the public half of a key as its issuer publishes it."""
    key = private_key(name, algorithm).public_key()
    written: Any
    if algorithm.startswith("ES"):
        written = ECAlgorithm.to_jwk(key, as_dict=True)
    elif algorithm == "EdDSA":
        written = OKPAlgorithm.to_jwk(key, as_dict=True)
    else:
        written = RSAAlgorithm.to_jwk(key, as_dict=True)
    written.pop("key_ops", None)
    return {**written, "kid": name, "use": "sig", **more}


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that leave in the middle of an answer, which tests make them do."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Issuer:
    """The server; a context manager.

    Attributes:
        url: Its issuer identifier.
        keys: What it publishes.
        asked: The paths that it was asked for.
        answer: Does something else than answering, given the handler.
        metadata: Members that its metadata has instead of the honest ones.
    """

    def __init__(self) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                if issuer.answer is not None:
                    issuer.answer(self)
                else:
                    send(self, issuer.document(self.path))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.keys = [public_jwk("first")]
        self.asked: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.metadata: JSON = {}

    def document(self, path: str) -> JSON | None:
        """Return what an honest server shows at a path; None for nothing."""
        if path == METADATA:
            return {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.metadata}
        return {"keys": self.keys} if path == "/jwks" else None

    def claims(self, **changed: Any) -> JSON:
        """Return the claims of a good token, with changes; None takes a claim away."""
        now = time.time()
        claims = {
            "iss": self.url,
            "aud": RESOURCE,
            "sub": "ada",
            "client_id": "chat",
            "scope": "mcp:demo",
            "iat": now,
            "exp": now + 600,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, headers: JSON | None = None, **changed: Any) -> str:
        """Return a token signed with the first key."""
        return sign(self.claims(**changed), headers=headers)

    def settings(self, **more: Any) -> JSON:
        """Return the settings of a server that takes its tokens."""
        return {"issuer": self.url, "resource": RESOURCE, **more}

    def stop(self) -> None:
        """Stop answering, as a server that is down."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End it."""
        self.stop()


def sign(
    claims: JSON, key: str = "first", *, algorithm: str = "RS256", headers: JSON | None = None
) -> str:
    """Return a JWT of type `at+jwt`, signed with a named key."""
    header = {"typ": "at+jwt", "kid": key, **(headers or {})}
    return jwt.encode(claims, private_key(key, algorithm), algorithm, headers=header)


def sign_with_secret(claims: JSON, secret: bytes) -> str:
    """Return a JWT signed with HS256; PyJWT would not, with secrets that are public keys."""
    header = {"alg": "HS256", "typ": "at+jwt", "kid": "first"}
    signed = f"{part(header)}.{part(claims)}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def part(value: Any) -> str:
    """Return a part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def send(handler: BaseHTTPRequestHandler, document: Any, status: int = 200) -> None:
    """Answer with JSON; 404 when there is nothing to answer with."""
    body = json.dumps(document).encode()
    handler.send_response(status if document is not None else 404)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
