"""`python -m scripts.generate [--check]`: write what is generated, or say what of it is old."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from scripts.deploy import registry as registry_module
from scripts.deploy.paths import project_here
from scripts.deploy.registry import Registry
from scripts.generate import (
    compose,
    config_example,
    env_example,
    gateway,
    kubernetes,
    prometheus,
    proxies,
    systemd,
    tables,
)

_DOCUMENTS = ("README.md", "docs/**/*.md", "services/*/README.md", "scripts/README.md")


def generated(root: Path, registry: Registry) -> Iterator[tuple[Path, str]]:
    """Yield each generated file with the text that it should have."""
    yield root / "docker-compose.yml", compose.render(registry)
    yield root / "requirements.txt", requirements(root)
    yield root / "config" / "secrets.env.example", env_example.render(registry)
    yield root / "config" / "mcp.example.yaml", config_example.render(registry)
    for platform in (systemd, kubernetes, prometheus):
        for path, text in platform.files(registry):
            yield root / path, text
    yield from proxies.files(root, registry)
    overlay = root / kubernetes.OVERLAY
    yield overlay, proxies.refresh(overlay.read_text(encoding="utf-8"), registry)
    yield root / "examples" / "litellm" / "config.yaml", gateway.render(registry)
    for pattern in _DOCUMENTS:
        for path in sorted(root.glob(pattern)):
            to_root = "../" * (len(path.relative_to(root).parts) - 1)
            text = path.read_text(encoding="utf-8")
            yield path, tables.refresh(text, registry, to_root=to_root)


def requirements(root: Path) -> str:
    """Return what every service needs, for the images: the dependencies of pyproject.toml."""
    data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    header = "# Written by scripts/docs from pyproject.toml: what every service needs.\n"
    return header + "\n".join(data["project"]["dependencies"]) + "\n"


def stale(root: Path, registry: Registry) -> Iterator[tuple[Path, str]]:
    """Yield the generated files whose text is not what it should be."""
    for path, text in generated(root, registry):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path, text


def main() -> int:
    """Write what is stale or, with --check, only name it."""
    project = project_here()
    found = list(stale(project.root, registry_module.load(project)))
    checking = sys.argv[1:] == ["--check"]
    for path, text in found:
        print(f"{'old' if checking else 'written'}: {project.relative(path)}")
        if not checking:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if checking and found:
        print("scripts/docs writes them anew.")
    return 1 if checking and found else 0


if __name__ == "__main__":
    sys.exit(main())
