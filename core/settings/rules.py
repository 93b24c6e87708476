"""What has to fit together, beyond each setting for itself: asked at the start and by `--check`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from core.security.keys import KeysFile
from core.security.tls import TLS
from core.settings.base import SettingsError, is_loopback
from core.settings.loading import Reading
from core.settings.sections import (
    LoggingSection,
    OAuthSection,
    ServiceSettings,
    Settings,
    TLSSection,
)

Own = TypeVar("Own", bound=ServiceSettings)


def broken(settings: Settings) -> Iterator[str]:
    """Yield what does not fit together, or names a file that is not to be had."""
    yield from _tls(settings.tls)
    yield from _oauth(settings.oauth)
    yield from _keys(settings.auth.keys_file)
    if problem := workers_alone(settings):
        yield problem
    yield from _writable(settings.logging)
    yield from _state_dir(settings.server.state_dir)
    endpoint = settings.monitoring.otlp_endpoint
    if endpoint is not None and not _is_url(endpoint, "http", "https"):
        yield "monitoring.otlp_endpoint: has to be http://HOST:PORT or https://…"
    redis = settings.backplane.redis_url
    if redis is not None and not _is_url(redis.get_secret_value(), "redis", "rediss", "unix"):
        yield "backplane.redis_url: has to be redis://HOST:PORT, rediss://… or unix://…"


def chosen_port(
    common: Reading[Settings], own: Reading[Own], environ: Mapping[str, str] = os.environ
) -> tuple[int | None, str]:
    """Return the port of a service, and where it came from; None for its default."""
    return _chosen("port", common, own, environ)


def with_own(
    common: Reading[Settings], own: Reading[Own], environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings of every server, with those of them that the service gives itself."""
    changes: dict[str, dict[str, Any]] = {}
    for name, (section, key) in type(own.settings).of_every_server.items():
        value, _ = _chosen(name, common, own, environ)
        if value is not None:
            changes.setdefault(section, {})[key] = value
    return changed(common.settings, changes)


def changed(settings: Settings, changes: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return settings with other values, which are right: section → key → value."""
    sections = {
        section: getattr(settings, section).model_copy(update=dict(values))
        for section, values in changes.items()
    }
    return settings.model_copy(update=sections)


def _chosen(
    name: str, common: Reading[Settings], own: Reading[Own], environ: Mapping[str, str]
) -> tuple[Any, str]:
    """Return a setting of every server that a service has, too, and where it came from.

    The environment is over the file. Within one of them that of every server is over the service's
    own: images set server.port, as what is published is the port of their inside.
    """
    section, key = type(own.settings).of_every_server[name]
    found = (
        (getattr(getattr(common.settings, section), key), common.places.get((section, key))),
        (getattr(own.settings, name), own.places.get((name,))),
    )
    given = [(value, place) for value, place in found if value is not None and place is not None]
    nearer = [(value, place) for value, place in given if place in environ]
    return next(iter(nearer or given), (None, "default"))


def workers_alone(settings: Settings) -> str | None:
    """Return what to set when several processes are to serve and cannot reach each other."""
    if settings.server.workers == 1 or settings.backplane.redis_url is not None:
        return None
    return (
        f"server.workers: {settings.server.workers} processes share sessions and limits through "
        "Redis; set backplane.redis_url (MCP_HTTP_BACKPLANE__REDIS_URL), or server.workers to 1"
    )


def too_many_workers(settings: Settings, service: type[ServiceSettings]) -> Iterator[str]:
    """Yield why several processes cannot serve a service, when they are to."""
    if settings.server.workers > 1 and service.one_process:
        yield (
            f"server.workers: one process serves {service.section}, not "
            f"{settings.server.workers}: {service.one_process}. Set MCP_HTTP_SERVER__WORKERS "
            "for services that allow it only"
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
        there = _nearest_there(path)
        if path.is_dir() or (there != path.absolute() and not _takes_files(there)):
            yield f"logging.{name}: {there} is not what it has to be for {path}"
        elif not os.access(there, os.W_OK):
            yield f"logging.{name}: this user may not write to {there}"


def _state_dir(path: Path) -> Iterator[str]:
    """One that may not be written to is fine: what it would keep ends with the process."""
    there = _nearest_there(path)
    if not _takes_files(there):
        yield f"server.state_dir: {there} is not what it has to be for the folder {path}"


def _nearest_there(path: Path) -> Path:
    """Return a path, or the nearest above it that exists."""
    whole = path.absolute()
    return next((p for p in (whole, *whole.parents) if os.path.lexists(p)), whole)


def _takes_files(path: Path) -> bool:
    """Return whether something is a folder, and not one of the kernel's (proc(5), sysfs(5))."""
    kernels = any(path.resolve().is_relative_to(top) for top in ("/proc", "/sys"))
    return path.is_dir() and not kernels


def _is_url(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        whole = parts.scheme in schemes and parts.port != 0
        return whole and bool(parts.hostname or parts.scheme == "unix")
    except ValueError:
        return False
