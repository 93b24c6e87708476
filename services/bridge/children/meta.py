"""What `_meta` carries of the protocol itself in 2026-07-28, and results without gaps in them."""

from __future__ import annotations

from core.protocol.messages import JSON
from core.protocol.revisions import (
    META_CAPABILITIES,
    META_CLIENT,
    META_VERSION,
    MODERN,
    PREFIX,
)
from services.bridge.children.identity import Face


def meta_of(face: Face) -> JSON:
    """Return what a request says that no client has made."""
    meta: JSON = {META_VERSION: MODERN, META_CAPABILITIES: face.capabilities}
    return {**meta, META_CLIENT: face.info} if face.info else meta


def without_ours(meta: object) -> JSON:
    """Return a `_meta` without the members that belong to the protocol; empty when it is none."""
    if type(meta) is not dict:
        return {}
    return {name: value for name, value in meta.items() if not name.startswith(PREFIX)}


def without_gaps(result: JSON) -> JSON:
    """Return a result without members that are null, and without a `_meta` that is no object.

    Nothing in a result may be null but structured content, which means something then.
    """
    return {
        name: value
        for name, value in result.items()
        if (value is not None or name == "structuredContent")
        and (name != "_meta" or type(value) is dict)
    }
