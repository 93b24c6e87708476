"""What has to fit together, beyond each setting for itself: asked at the start and by `--check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from core.security.keys import KeysFile
from core.security.tls import TLS
from core.settings.base import SettingsError, is_loopback
from core.settings.sections import LoggingSection, OAuthSection, Settings, TLSSection


def broken(settings: Settings) -> Iterator[str]:
    """Yield what does not fit together, or names a file that is not to be had."""
    yield from _tls(settings.tls)
    yield from _oauth(settings.oauth)
    yield from _keys(settings.auth.keys_file)
    if problem := too_many_workers(settings):
        yield problem
    yield from _writable(settings.logging)
    endpoint = settings.monitoring.otlp_endpoint
    if endpoint is not None and not _is_url(endpoint, "http", "https"):
        yield "monitoring.otlp_endpoint: has to be http://HOST:PORT or https://…"
    redis = settings.backplane.redis_url
    if redis is not None and not _is_url(redis.get_secret_value(), "redis", "rediss", "unix"):
        yield "backplane.redis_url: has to be redis://…, rediss://… or unix://…"


def too_many_workers(settings: Settings) -> str | None:
    """Return what to do instead when more than one process is to serve a port."""
    if settings.server.workers == 1:
        return None
    return (
        f"server.workers: one process serves a port, not {settings.server.workers}: audit log, "
        "metrics and limits are one process's. Start replicas on ports of their own that share "
        "backplane.redis_url and security.seal_key"
    )


def open_to_strangers(settings: Settings) -> str | None:
    """Return what to set when anybody on the network could call; None when nobody can."""
    auth, host = settings.auth, settings.server.host
    asks = auth.api_key or auth.keys_file or settings.oauth.issuer
    if asks or settings.security.allow_unauthenticated or is_loopback(host):
        return None
    return (
        f"Without a key this server listens on loopback only, not on {host}. Set "
        "MCP_HTTP_API_KEY (openssl rand -hex 32), or MCP_HTTP_SERVER__HOST=127.0.0.1, or, "
        "where something else keeps strangers out, MCP_HTTP_SECURITY__ALLOW_UNAUTHENTICATED=1."
    )


def _tls(tls: TLSSection) -> Iterator[str]:
    if tls == TLSSection():
        return
    try:
        TLS(tls)
    except SettingsError as error:
        yield f"tls: {error}"


def _oauth(oauth: OAuthSection) -> Iterator[str]:
    if oauth.issuer is None and (oauth.resource or oauth.audience or oauth.jwks_url):
        yield "oauth: without issuer nothing of it is used; set oauth.issuer"


def _keys(path: Path | None) -> Iterator[str]:
    try:
        if path is not None:
            KeysFile(path)
    except SettingsError as error:
        yield str(error)


def _writable(logging: LoggingSection) -> Iterator[str]:
    for name in ("file", "audit_file"):
        path = getattr(logging, name)
        if path is None:
            continue
        there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        if path.is_dir() or (there != path.absolute() and not there.is_dir()):
            yield f"logging.{name}: {there} is not what it has to be for {path}"
        elif not os.access(there, os.W_OK):
            yield f"logging.{name}: this user may not write to {there}"


def _is_url(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname or parts.scheme == "unix")
    except ValueError:
        return False
