"""Settings: defaults, under a YAML, TOML or JSON file, under the environment.

`Settings` has the sections of every server (`MCP_HTTP_<SECTION>__<KEY>`); each service adds a
`ServiceSettings` of its own (`MCP_<SERVICE>_<KEY>`). One file may hold both, for all services.

```
sections.py   what can be set: every section, key, default and description
base.py       the base of sections, and the error
loading.py    from sources to a checked, frozen object; what is wrong is told all at once
variables.py  which environment variable is which setting, and what their texts mean
files.py      YAML, TOML and JSON, read strictly
rules.py      what has to fit together: files that exist, keys where strangers can call
check.py      `python -m core.settings --check`: what holds, where it came from, what is wrong
```
"""

from core.settings.base import (
    LOOPBACK_HOSTS,
    MAX_BYTES,
    MAX_CALLS,
    MAX_COUNT,
    MAX_SECONDS,
    PROJECT_ROOT,
    Section,
    SettingsError,
)
from core.settings.files import NO_FILE, read_config_file
from core.settings.sections import (
    AuthSection,
    BackplaneSection,
    CORSSection,
    LoggingSection,
    MonitoringSection,
    OAuthSection,
    RateLimitSection,
    SecuritySection,
    ServerSection,
    ServiceSettings,
    Settings,
    TLSSection,
)
from core.settings.variables import Also, Setting, settings_of, variables_of

__all__ = [
    "LOOPBACK_HOSTS",
    "MAX_BYTES",
    "MAX_CALLS",
    "MAX_COUNT",
    "MAX_SECONDS",
    "NO_FILE",
    "PROJECT_ROOT",
    "Also",
    "AuthSection",
    "BackplaneSection",
    "CORSSection",
    "LoggingSection",
    "MonitoringSection",
    "OAuthSection",
    "RateLimitSection",
    "Section",
    "SecuritySection",
    "ServerSection",
    "ServiceSettings",
    "Setting",
    "Settings",
    "SettingsError",
    "TLSSection",
    "read_config_file",
    "settings_of",
    "variables_of",
]
