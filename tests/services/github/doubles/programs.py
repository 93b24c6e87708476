"""Node programs that stand in for GitHub: where they are installed, and how one runs."""

from __future__ import annotations

from tests.servers.node import NodeEnvironment

_DOUBLES = NodeEnvironment("node-github", "the doubles of GitHub")
ENVIRONMENT = _DOUBLES.folder
MODULES = _DOUBLES.modules
need = _DOUBLES.need
running = _DOUBLES.running
