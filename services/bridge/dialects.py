"""Entries as other programs write them: which of their keys are ours, and which say nothing here.

Files of Claude Desktop, Cursor, VS Code, Cline, mcp-proxy, mcpo and MetaMCP are taken as they are,
as long as each key has one meaning. Where it has not, who wrote it is told what to write instead.

Sources: https://github.com/sparfenyuk/mcp-proxy (README, config_example.json),
https://github.com/open-webui/mcpo (README), https://docs.cline.bot/mcp/configuring-mcp-servers,
https://code.visualstudio.com/docs/copilot/reference/mcp-configuration
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from core.errors import did_you_mean

_OF_CLIENTS: Final = frozenset(
    {"alwaysAllow", "autoApprove", "dev", "enabled", "gallery", "trust", "version", "watchPaths"}
)
"""Keys by which programs remember something for themselves; `enabled` is looked at before."""
_ALIASES: Final = {
    "disabledTools": "deny_tools",
    "disabled_tools": "deny_tools",
    "excludeTools": "deny_tools",
    "includeTools": "allow_tools",
    "environment": "env",
    "transport": "type",
    "transportType": "type",
}
"""Key of another program → the field that means the same."""
_HEADERS: Final = 'write envFromHeaders: {"X-Token": "TOKEN"}, header → variable'
_HINTS: Final = dict.fromkeys(("headerToEnv", "headersToEnv", "header_to_env"), _HEADERS)
_BY_URL: Final = (
    "the bridge starts programs that speak over stdio; a server that has a URL already is "
    "reached there, without the bridge. Leave the entry out, or disable it"
)
_URLS: Final = ("url", "serverUrl", "httpUrl", "headers")
_OVER_HTTP: Final = frozenset({"http", "sse", "streamable-http", "streamablehttp", "ws"})


@dataclass(frozen=True, slots=True)
class Keys:
    """What the keys of an entry are.

    Attributes:
        written: Field → its key, as it is written.
        problems: Key, and why it is refused.
    """

    written: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    has_url: bool = False


def is_disabled(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry is to be left out: `disabled`, or mcp-proxy's `enabled: false`."""
    return entry.get("disabled") is True or entry.get("enabled") is False


def keys_of(entry: Mapping[str, Any], fields: Mapping[str, str]) -> Keys:
    """Return what the keys of an entry are.

    Args:
        fields: Each key of ours as it may be written → its field.
    """
    if (key := _url_of(entry)) is not None:
        return Keys({}, [(key, _BY_URL)], has_url=True)
    found = Keys()
    for key in entry:
        name = fields.get(key) or _alias(key, entry)
        if name in found.written:
            found.problems.append((key, f"stands twice, {found.written[name]} says it too"))
        elif name is not None:
            found.written[name] = key
        else:
            found.problems.extend((key, why) for why in _refusals(key, entry[key], fields))
    return found


def _url_of(entry: Mapping[str, Any]) -> str | None:
    """Return the key that tells that a server is reached over a network; None where none does."""
    for key in ("type", "transport", "transportType"):
        value = entry.get(key)
        if isinstance(value, str) and value.lower().replace("_", "-") in _OVER_HTTP:
            return key
    return next((key for key in _URLS if key in entry), None)


def _alias(key: str, entry: Mapping[str, Any]) -> str | None:
    # Who writes `transportType` (Cline, and after it mcp-proxy) counts `timeout` in seconds.
    if key == "timeout" and "transportType" in entry:
        return "request_timeout_s"
    return _ALIASES.get(key)


def _refusals(key: str, value: Any, fields: Mapping[str, str]) -> Iterator[str]:
    """Yield why a key that is no field is refused, if it is."""
    if key == "timeout":
        yield _of_timeout(value)
    elif key == "enabled" and not isinstance(value, bool):
        yield "has to be true or false"
    elif key in _HINTS:
        yield f"no such key; {_HINTS[key]}"
    elif key not in _OF_CLIENTS:
        like = [known for known in fields if ("_" in known) == ("_" in key)]
        yield f"no such key. {did_you_mean(key, like)}".strip()


def _of_timeout(value: Any) -> str:
    told = "programs count it in different units; write requestTimeoutS, in seconds"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return told
    return f"{told}: {value:g} if it is in seconds, {value / 1000:g} if in milliseconds"
