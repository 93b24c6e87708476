"""The objects that kustomize makes of examples/kubernetes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from core.settings import PROJECT_ROOT
from tests.platforms.programs import program

KUBERNETES = PROJECT_ROOT / "examples" / "kubernetes"
OVERLAY = Path("overlays") / "example"
Object = dict[str, Any]


def copied(folder: Path) -> Path:
    """Copy the example, and make its secrets as its script does; return the overlay's folder."""
    shutil.copytree(KUBERNETES, folder, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run(
        [folder / OVERLAY / "make-secrets.sh"],
        env={"PATH": "/usr/bin:/bin", "DATABASE_URL": "postgresql://reader:x@db.example.org/shop"},
        capture_output=True,
        check=True,
        timeout=30,
    )
    return folder / OVERLAY


def built(folder: Path) -> list[Object]:
    """Return the objects of a kustomization, in the order in which kubectl would apply them."""
    found = program("kustomize", "kubectl")
    command = [found, "kustomize" if found.endswith("kubectl") else "build", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stderr
    return [found for found in yaml.safe_load_all(result.stdout) if found]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [found for found in objects if found["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """Return the one object of that kind and name; names of generated ones have a hash behind."""
    (found,) = (
        found
        for found in of_kind(objects, kind)
        if found["metadata"]["name"] == name or found["metadata"]["name"].rpartition("-")[0] == name
    )
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield the name and the pod's specification of each Deployment."""
    for found in of_kind(objects, "Deployment"):
        yield found["metadata"]["name"], found["spec"]["template"]["spec"]
