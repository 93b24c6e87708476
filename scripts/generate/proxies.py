"""What examples/mcp-reverse-proxy needs of each service, from the registry.

In configuration files it stands between two marks, below the pattern that it is made of:

```
# each service:
# server <name> 127.0.0.1:<port>
server postgres 127.0.0.1:8001
server fetch 127.0.0.1:8002
# each service: end
```

Words of a pattern are `<name>`, `<NAME>`, `<container>` and `<port>`; none of its lines begins with
`#`. Services that run only where they are wanted stand there like the others: a caller of one that
does not run is told so by the proxy (502). In the client settings, which are JSON, the first server
is the pattern of the others; the optional ones are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from scripts.deploy.registry import Registry, Service

FOLDER = Path("examples") / "mcp-reverse-proxy"
_MARKED = re.compile(
    r"^(?P<indent>[ \t]*)# each service:\n"
    r"(?P<pattern>(?:(?P=indent)# (?!each service: end)[^\n]*\n)+)"
    r"(?P<lines>.*?)"
    r"^(?P=indent)# each service: end\n",
    re.DOTALL | re.MULTILINE,
)


def files(root: Path, registry: Registry) -> Iterator[tuple[Path, str]]:
    """Yield each file below the clone that names services, with the text it should have."""
    for path in sorted((root / FOLDER).rglob("*")):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            yield path, clients(text, registry)
        elif _MARKED.search(text):
            yield path, refresh(text, registry)


def refresh(text: str, registry: Registry) -> str:
    """Return a configuration with everything between its marks written anew."""

    def fill(match: re.Match[str]) -> str:
        indent, pattern = match["indent"], match["pattern"]
        lines = [line[len(indent) + 2 :] for line in pattern.splitlines(keepends=True)]
        made = "".join(
            indent + _filled(line, service)
            for service in registry.services.values()
            for line in lines
        )
        return f"{indent}# each service:\n{pattern}{made}{indent}# each service: end\n"

    return _MARKED.sub(fill, text)


def _filled(line: str, service: Service) -> str:
    words = {
        "name": service.name,
        "NAME": service.name.upper(),
        "container": service.container,
        "port": str(service.port),
    }
    return re.sub(r"<(name|NAME|container|port)>", lambda match: words[match[1]], line)


def clients(text: str, registry: Registry) -> str:
    """Return a client's settings with an entry for each service, made like the first one."""
    settings = json.loads(text)
    first, entry = next(iter(settings["mcpServers"].items()))
    pattern = json.dumps(entry)
    settings["mcpServers"] = {
        service.name: json.loads(pattern.replace(f"/{first}/", f"/{service.name}/"))
        for service in registry.regular
    }
    return json.dumps(settings, indent=2) + "\n"
