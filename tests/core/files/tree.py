"""A small tree with a root, things of every kind in it, and secrets around it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

SECRET = b"SECRET"
INSIDE = b"inside"
DEEP = b"deep"


def build(base: Path) -> Path:
    """Create the tree below `base` and return the root, ``base/root``.

    Beside the root are `outside/` and `root-sibling/`, each with `secret.txt`.
    """
    for aside in ("outside", "root-sibling"):
        (base / aside).mkdir()
        (base / aside / "secret.txt").write_bytes(SECRET)
    root = base / "root"
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "file.txt").write_bytes(INSIDE)
    (root / "dir" / "inner.txt").write_bytes(INSIDE)
    (root / "dir" / "sub" / "deep.txt").write_bytes(DEEP)
    os.mkfifo(root / "fifo")
    listen(root / "socket")
    return root


def listen(path: Path) -> None:
    """Leave a socket file; `path` may be longer than an address can be."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{parent}/{path.name}")
    finally:
        os.close(parent)


def open_descriptors() -> int:
    """Return how many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
