"""The registry, where somebody has mistyped in it."""

from __future__ import annotations

import pytest

from scripts.deploy import registry
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project

SERVICES, NETWORKS = registry.SERVICES_FILE, registry.NETWORKS_FILE


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (
            SERVICES,
            "port: 8002",
            "prot: 8002",
            "services.fetch.prot: no such key. Did you mean",
        ),
        (SERVICES, "port: 8002", "port: many", "services.fetch.port: Input should be a valid int"),
        (SERVICES, "arguments: {owner", "argument: {owner", "github.check.argument: no such key."),
        (
            SERVICES,
            "target: /host/proc",
            "taget: /host/proc",
            "taget: no such key.",
        ),
        (
            SERVICES,
            "\nservices:\n",
            "\nservice:\n",
            "service: no such section. Did you",
        ),
        (SERVICES, "database:\n  port", "databse:\n  port", "databse: no such section"),
        (SERVICES, "[litellm-net]", "[litelm-net]", "Did you mean 'litellm-net'"),
        (SERVICES, "port: 8002", "port: 8002\n    port: 9", "port stands twice"),
        (
            NETWORKS,
            "description: Callers",
            "descripton: Callers",
            "networks.yaml: networks.",
        ),
        (NETWORKS, "networks:", "services:", "networks.yaml: services: no such section"),
        (NETWORKS, "networks:", "- x\nnetworks:", "networks.yaml"),
    ],
)
def test_mistyped_entry_is_told_with_its_place(
    project: Project, file: object, old: str, new: str, told: str
) -> None:
    """And the nearest name that is one; a mistyped limit would hold for nothing."""
    path = project.root / str(file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DeployError) as refused:
        registry.load(project)
    assert told in refused.value.message


def test_everything_that_is_mistyped_is_told(project: Project) -> None:
    """Not one mistake at each attempt."""
    path = project.root / SERVICES
    path.write_text(path.read_text().replace("memory:", "memroy:").replace("pids:", "pid:"))
    with pytest.raises(DeployError) as refused:
        registry.load(project)
    assert refused.value.message.count("Did you mean 'memory'?") >= 5
    assert refused.value.message.count("Did you mean 'pids'?") >= 5
