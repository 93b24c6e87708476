"""Landlock, tried in a process of its own: what it may no longer do, opener or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.files import landlock
from tests.core.files.tree import INSIDE, build

CHILD = """
import json, os, subprocess, sys, threading
from core.files import Root
from core.files.landlock import restrict_self

base = sys.argv[1]
os.chdir(base)
root = Root.open("root", how="auto")
kept = os.open("outside/secret.txt", os.O_RDONLY)


def answer(action):
    try:
        action()
    except OSError as error:
        return os.strerror(error.errno)
    return "done"


def read(path):
    return lambda: open(path, "rb").read()


def write(path, mode="wb"):
    return lambda: open(path, mode).write(b"x")


answers = {"restricted": restrict_self(read=["shared", "one.txt", "missing"], write=["root"])}
tries = {
    "read in the root": read("root/file.txt"),
    "write in the root": write("root/new.txt"),
    "truncate in the root": lambda: os.truncate("root/dir/inner.txt", 1),
    "make a directory": lambda: os.makedirs("root/x/y"),
    "link in the root": lambda: os.symlink("file.txt", "root/link"),
    "rename across directories": lambda: os.rename("root/file.txt", "root/dir/moved.txt"),
    "delete in the root": lambda: os.unlink("root/new.txt"),
    "open by the root": lambda: os.close(root.open_file((b"dir", b"moved.txt"))),
    "list shared": lambda: os.listdir("shared"),
    "read shared": read("shared/a.txt"),
    "write shared": write("shared/a.txt"),
    "truncate shared": lambda: os.truncate("shared/a.txt", 0),
    "read one file": read("one.txt"),
    "read what was open": lambda: os.read(kept, 9),
    "read outside": read("outside/secret.txt"),
    "read /etc/passwd": read("/etc/passwd"),
    "list outside": lambda: os.listdir("outside"),
    "write outside": write("outside/new.txt"),
    "truncate outside": lambda: os.truncate("outside/secret.txt", 0),
    "append outside": write("outside/secret.txt", "ab"),
    "read by a link": read("root/out"),
    "read by /proc": read("/proc/self/cwd/outside/secret.txt"),
    "rename out": lambda: os.rename("root/dir/moved.txt", "outside/moved.txt"),
    "rename in": lambda: os.rename("outside/secret.txt", "root/secret.txt"),
    "hard link in": lambda: os.link("outside/secret.txt", "root/secret.txt"),
    "make a FIFO": lambda: os.mkfifo("root/fifo2"),
    "start a program": lambda: subprocess.run(["/bin/true"]),
}
answers |= {name: answer(action) for name, action in tries.items()}
thread = threading.Thread(
    target=lambda: answers.update({"thread reads outside": answer(read("outside/secret.txt"))})
)
thread.start()
thread.join()
print(json.dumps(answers))
"""
ALLOWED = {
    "read in the root",
    "write in the root",
    "truncate in the root",
    "make a directory",
    "link in the root",
    "rename across directories",
    "delete in the root",
    "open by the root",
    "list shared",
    "read shared",
    "read one file",
    "read what was open",
}
needs_landlock = pytest.mark.skipif(
    landlock.version() < 3, reason="the kernel has no Landlock, or one that minds no truncation"
)


@needs_landlock
def test_restricted_process_stays_within_its_directories(tmp_path: Path) -> None:
    """The kernel refuses what no rule allows, by any path, and to threads that start later."""
    root = build(tmp_path)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a.txt").write_bytes(INSIDE)
    (tmp_path / "one.txt").write_bytes(INSIDE)
    (root / "out").symlink_to("../outside/secret.txt")
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True
    )
    answers = json.loads(run.stdout)
    assert answers.pop("restricted") is True
    assert {name for name, answer in answers.items() if answer == "done"} == ALLOWED
    refusals = {answer for name, answer in answers.items() if name not in ALLOWED}
    assert refusals <= {"Permission denied", "Invalid cross-device link"}
    assert (tmp_path / "outside" / "secret.txt").read_bytes() == b"SECRET"
    assert (tmp_path / "shared" / "a.txt").read_bytes() == INSIDE


@pytest.mark.parametrize(
    ("abi", "bits"),
    [(0, 0), (1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (6, 16), (7, 16), (9, 16)],
)
def test_only_rights_that_the_kernel_knows_are_handled(abi: int, bits: int) -> None:
    """An unknown bit would be refused with EINVAL; the table is that of landlock(7)."""
    assert landlock._known_rights(abi) == (1 << bits) - 1


def test_kernel_without_landlock_restricts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so, without an error."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert landlock.restrict_self(read=["/"], write=[]) is False


REFUSED_LAYER = """
from core.files.landlock import restrict_self
print([restrict_self(read=["/", "a\\0b"], write=[]) for _ in range(18)])
"""


@needs_landlock
def test_too_many_layers_are_told() -> None:
    """The kernel stacks at most 16; a path that cannot be one gets no rule and breaks nothing."""
    run = subprocess.run(
        [sys.executable, "-c", REFUSED_LAYER], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str([True] * 16 + [False] * 2)
