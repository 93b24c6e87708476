"""Symbolic links: followed while they stay below the root, by both ways of resolving alike."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ToolError
from core.files import (
    BadPath,
    FileNotThere,
    How,
    NotADirectory,
    NotAFile,
    OutsideRoot,
    Root,
    TooManyLinks,
    parse_rel,
    renameat2,
)
from core.files.syscalls import has_openat2
from tests.core.files.tree import DEEP, INSIDE, SECRET, build, open_descriptors

WAYS: list[How] = ["openat2", "walk"]
Outcome = bytes | type[ToolError]

LINKS = {
    "rel": "file.txt",
    "rel_dot": "./././file.txt",
    "rel_slashes": "dir//sub///deep.txt",
    "chain": "rel",
    "chain_of_chain": "chain",
    "to_dir": "dir",
    "to_dir_slash": "dir/",
    "to_file_slash": "file.txt/",
    "to_file_dot": "file.txt/.",
    "to_self_dot": ".",
    "dir/up": "../file.txt",
    "dir/up_up": "../../outside/secret.txt",
    "dir/sub/up_up": "../../file.txt",
    "dir/sub/up_dir": "..",
    "down_and_up": "dir/sub/../inner.txt",
    "over_link_up": "dir/sub/up_dir/../file.txt",
    "through_missing": "missing/../file.txt",
    "through_file": "file.txt/../file.txt",
    "dangling": "missing",
    "dangling_deep": "dir/missing/x",
    "loop": "loop",
    "loop_a": "loop_b",
    "loop_b": "loop_a",
    "loop_dir": "loop_dir/x",
    "out": "../outside/secret.txt",
    "out_parent": "..",
    "out_dir": "../outside",
    "out_missing": "../nothing/at/all",
    "out_sibling": "../root-sibling/secret.txt",
    "out_and_back": "../root/file.txt",
    "out_late": "dir/../../outside/secret.txt",
    "out_chain": "out",
    "abs_out": "/etc/passwd",
    "abs_null": "/dev/null",
    "abs_root": "/",
    "proc_cwd": "/proc/self/cwd",
    "proc_root": "/proc/self/root/etc/passwd",
    "proc_fd": "/proc/self/fd/0",
    "dev_fd": "/dev/fd/0",
    "dev_stdin": "/dev/stdin",
    "to_fifo": "fifo",
    "to_socket": "socket",
    "backslashes": "..\\outside\\secret.txt",
    "tilde": "~",
    "newline": "file.txt\n",
    "long_name": "n" * 256,
}

CASES: list[tuple[str, Outcome]] = [
    ("rel", INSIDE),
    ("rel_dot", INSIDE),
    ("rel_slashes", DEEP),
    ("chain", INSIDE),
    ("chain_of_chain", INSIDE),
    ("to_dir", NotAFile),
    ("to_dir/inner.txt", INSIDE),
    ("to_dir/../file.txt", INSIDE),
    ("to_dir_slash/sub/deep.txt", DEEP),
    ("to_file_slash", NotADirectory),
    ("to_file_dot", NotADirectory),
    ("to_self_dot/to_self_dot/rel", INSIDE),
    ("dir/up", INSIDE),
    ("dir/up_up", OutsideRoot),
    ("to_dir/up", INSIDE),
    ("dir/sub/up_up", INSIDE),
    ("dir/sub/up_dir/inner.txt", INSIDE),
    ("dir/sub/up_dir/../file.txt", INSIDE),
    ("dir/sub/up_dir/../../x", OutsideRoot),
    ("down_and_up", INSIDE),
    ("over_link_up", INSIDE),
    ("through_missing", FileNotThere),
    ("through_file", NotADirectory),
    ("file.txt/../file.txt", NotADirectory),
    ("rel/x", NotADirectory),
    ("dangling", FileNotThere),
    ("dangling_deep", FileNotThere),
    ("loop", TooManyLinks),
    ("loop_a", TooManyLinks),
    ("loop/x", TooManyLinks),
    ("loop_dir", TooManyLinks),
    ("out", OutsideRoot),
    ("out_parent", OutsideRoot),
    ("out_parent/outside/secret.txt", OutsideRoot),
    ("out_parent/root/file.txt", OutsideRoot),
    ("out_dir/secret.txt", OutsideRoot),
    ("out_missing", OutsideRoot),
    ("out_sibling", OutsideRoot),
    ("out_and_back", OutsideRoot),
    ("out_late", OutsideRoot),
    ("out_chain", OutsideRoot),
    ("to_dir/../out", OutsideRoot),
    ("abs_in", OutsideRoot),
    ("abs_in_dir/inner.txt", OutsideRoot),
    ("abs_out", OutsideRoot),
    ("abs_null", OutsideRoot),
    ("abs_root/etc/passwd", OutsideRoot),
    ("proc_cwd", OutsideRoot),
    ("proc_root", OutsideRoot),
    ("proc_fd", OutsideRoot),
    ("dev_fd", OutsideRoot),
    ("dev_stdin", OutsideRoot),
    ("to_fifo", NotAFile),
    ("to_socket", NotAFile),
    ("to_fifo/x", NotADirectory),
    ("backslashes", FileNotThere),
    ("tilde", FileNotThere),
    ("newline", FileNotThere),
    ("long_name", BadPath),
    ("chain40", INSIDE),
    ("chain41", TooManyLinks),
    ("..", OutsideRoot),
    ("../root/file.txt", OutsideRoot),
    ("dir/../../root/file.txt", OutsideRoot),
    ("dir/../file.txt", INSIDE),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, with all links of the table and those whose targets depend on the place."""
    base = tmp_path_factory.mktemp("links")
    root = build(base)
    for name, target in LINKS.items():
        os.symlink(target, root / name)
    os.symlink(root / "file.txt", root / "abs_in")
    os.symlink(root / "dir", root / "abs_in_dir")
    for length in range(1, 42):
        os.symlink(f"chain{length - 1}" if length > 1 else "file.txt", root / f"chain{length}")
    return base


@pytest.fixture(params=WAYS)
def root(request: pytest.FixtureRequest, base: Path) -> Iterator[Root]:
    """The root of the tree, opened in one of the two ways."""
    if request.param == "openat2" and not has_openat2():
        pytest.skip("this kernel, or a sandbox, has no openat2")
    root = Root.open(base / "root", how=request.param)
    yield root
    root.close()


def outcome(root: Root, path: str) -> Outcome:
    """Return the content that opening gives, or the class of the error."""
    try:
        fd = root.open_file(parse_rel(path))
    except ToolError as error:
        return type(error)
    with open(fd, "rb") as file:
        return file.read()


@pytest.mark.parametrize(("path", "expected"), CASES, ids=[case[0] for case in CASES])
def test_link_is_followed_inside_and_refused_outside(
    root: Root, path: str, expected: Outcome
) -> None:
    """The table of shapes; an absolute link is refused also where it points back inside."""
    before = open_descriptors()
    assert outcome(root, path) == expected
    assert open_descriptors() == before


def test_error_of_a_link_names_the_asked_path_only(base: Path, root: Root) -> None:
    """Neither where the link points to, nor where the root is, in message, hint or facts."""
    for name in ("out", "abs_out", "loop", "dangling", "to_fifo", "through_file"):
        with pytest.raises(ToolError) as refused:
            root.open_file((name.encode(),))
        told = str(refused.value.to_dict())
        assert name in told
        assert str(base) not in told
        assert "secret" not in told
        assert "passwd" not in told


def test_link_itself_can_be_looked_at(root: Root) -> None:
    """Also one that leads out or nowhere; only the last name is not followed."""
    for name in (b"out", b"loop", b"dangling", b"rel", b"abs_out"):
        fd = root.open_any((name,), follow=False)
        assert stat.S_ISLNK(os.fstat(fd).st_mode)
        os.close(fd)
    fd = root.open_any((b"to_dir", b"up"), follow=False)
    assert os.readlink(b"", dir_fd=fd) == b"../file.txt"
    os.close(fd)
    with pytest.raises(OutsideRoot):
        root.open_any((b"out_dir", b"secret.txt"), follow=False)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("path", ["cwd", "root", "exe", "root/etc/passwd", "cwd/x", "fd/{fd}"])
def test_magic_link_of_proc_is_not_followed(how: How, path: str, tmp_path: Path) -> None:
    """Below a root that holds /proc itself: openat2 says ELOOP, which is told as what it is."""
    if how == "openat2" and not has_openat2():
        pytest.skip("this kernel, or a sandbox, has no openat2")
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    root = Root.open("/proc/self", how=how)
    fd = os.open(secret, os.O_RDONLY)
    try:
        assert outcome(root, path.format(fd=fd)) is OutsideRoot
    finally:
        os.close(fd)
        root.close()


def test_ordinary_link_of_proc_is_followed(root: Root) -> None:
    """`/proc/self` is a relative link to a directory; magic is only what the kernel makes up."""
    how: How = "openat2" if root._openat2 else "walk"
    proc = Root.open("/proc", how=how)
    try:
        content = outcome(proc, "self/comm")
        assert isinstance(content, bytes)
        assert content.strip()
    finally:
        proc.close()


# --- any tree of links --------------------------------------------------------------------------

PARTS = ["a", "b", "c", "d", "..", ".", ""]
PATHS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("/".join)
TREES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "a/a", "a/b", "b/a", "b/b", "a/a/a"]),
    st.one_of(st.just("dir"), st.just("file"), PATHS.map("-> ".__add__)),
    min_size=2,
)


@pytest.mark.skipif(not has_openat2(), reason="nothing to compare with")
@settings(max_examples=120, deadline=None)
@given(tree=TREES, paths=st.lists(PATHS, min_size=4, max_size=12))
def test_both_ways_find_the_same_in_any_tree(tree: dict[str, str], paths: list[str]) -> None:
    """The kernel's answer is the model of ours: the same file, or the same error."""
    with tempfile.TemporaryDirectory() as base:
        grow(base, tree)
        roots = [Root.open(f"{base}/d", how=how) for how in WAYS]
        before = open_descriptors()
        for path in paths:
            for follow in (True, False):
                by_kernel, by_walk = (found(root, path, follow=follow) for root in roots)
                assert by_kernel == by_walk, path
        assert open_descriptors() == before
        for root in roots:
            root.close()


def grow(base: str, tree: dict[str, str]) -> None:
    """Create what can be created of a tree below ``base/d``, and the same names beside it."""
    os.mkdir(f"{base}/d")
    for name in ("a", "b", "c"):
        os.mkdir(f"{base}/{name}")
    for name, kind in sorted(tree.items()):
        path = f"{base}/d/{name}"
        with contextlib.suppress(OSError):
            if kind == "dir":
                os.mkdir(path)
            elif kind == "file":
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            else:
                os.symlink(kind[3:] or ".", path)


def found(root: Root, path: str, *, follow: bool) -> tuple[int, int] | type[ToolError]:
    """Return which file a path leads to, slash at the end included, or the class of the error."""
    try:
        fd = root.open_any(tuple(path.encode().split(b"/")), follow=follow)
    except ToolError as error:
        return type(error)
    try:
        there = os.fstat(fd)
        return there.st_dev, there.st_ino
    finally:
        os.close(fd)


# --- races --------------------------------------------------------------------------------------


def swap_until(stop: threading.Event, parent: Path, one: str, other: str) -> None:
    """Swap two names of a directory as fast as can be."""
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while not stop.is_set():
            renameat2(fd, one.encode(), fd, other.encode(), exchange=True)
    finally:
        os.close(fd)


@pytest.mark.parametrize("trap", ["../outside", "/abs"])
@pytest.mark.parametrize("path", ["swapped/secret.txt", "dir/../swapped/../swapped/secret.txt"])
def test_swapped_directory_never_leads_outside(
    root: Root, tmp_path: Path, trap: str, path: str
) -> None:
    """CVE-2025-53109 and its kin: between check and use, a directory becomes a link to outside."""
    inside = build(tmp_path)
    (inside / "swapped").mkdir()
    (inside / "swapped" / "secret.txt").write_bytes(INSIDE)
    os.symlink(trap if trap != "/abs" else str(tmp_path / "outside"), inside / "trap")
    contested = Root.open(inside, how="openat2" if root._openat2 else "walk")
    stop = threading.Event()
    swapper = threading.Thread(target=swap_until, args=(stop, inside, "swapped", "trap"))
    before = open_descriptors()
    swapper.start()
    try:
        seen = [outcome(contested, path) for _ in while_time_lasts(0.4)]
    finally:
        stop.set()
        swapper.join()
    assert open_descriptors() == before
    contested.close()
    assert SECRET not in seen
    assert INSIDE in seen
    assert OutsideRoot in seen


def while_time_lasts(seconds: float) -> Iterator[None]:
    """Yield again and again for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
