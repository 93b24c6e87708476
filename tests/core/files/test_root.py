"""What a root opens, what it refuses, and where it says an open file is."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import ToolError
from core.files import (
    AccessDenied,
    BadPath,
    FileNotThere,
    NotADirectory,
    NotAFile,
    OutsideRoot,
    Rel,
    Root,
    TooManyOpenFiles,
    parse_rel,
    renameat2,
    shown,
)
from core.files.syscalls import has_openat2, open_beneath
from core.files.walk import walk_beneath
from tests.core.files.tree import DEEP, INSIDE, build, listen, open_descriptors


def show(rel: Rel) -> str:
    """Show a path as a service does: by the alias of its root."""
    return f"work/{shown(rel)}"


@pytest.fixture(params=["openat2", "walk"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """A small tree, opened in one of the two ways."""
    if request.param == "openat2" and not has_openat2():
        pytest.skip("this kernel, or a sandbox, has no openat2")
    root = Root.open(build(tmp_path), how=request.param, show=show)
    yield root
    root.close()


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Every test gives back what it opened; so every path through the opener does."""
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@contextlib.contextmanager
def refused(error: type[ToolError], *words: str) -> Iterator[None]:
    """Expect an error that says these words, and leaves no descriptor behind."""
    before = open_descriptors()
    with pytest.raises(error) as raised:
        yield
    for word in words:
        assert word in raised.value.message
    assert open_descriptors() == before


def content(fd: int) -> bytes:
    """Read a descriptor to its end and close it."""
    with open(fd, "rb") as file:
        return file.read()


# --- files ------------------------------------------------------------------------------------


def test_file_is_opened_without_waiting_and_not_inherited(root: Root) -> None:
    """O_NONBLOCK and O_CLOEXEC are always there, and the flags that were asked for."""
    fd = root.open_file(parse_rel("dir/sub/deep.txt"))
    assert not os.get_blocking(fd)
    assert not os.get_inheritable(fd)
    assert content(fd) == DEEP
    fd = root.open_file((b"file.txt",), os.O_RDWR | os.O_APPEND)
    os.write(fd, b"+")
    os.close(fd)
    assert content(root.open_file((b"file.txt",))) == INSIDE + b"+"


@pytest.mark.parametrize("flag", [os.O_CREAT, os.O_TRUNC, os.O_EXCL, os.O_TMPFILE])
def test_opening_creates_and_empties_nothing(root: Root, flag: int) -> None:
    """That is a mistake of the program, not of the caller."""
    with pytest.raises(ValueError, match="does not create"):
        root.open_file((b"file.txt",), os.O_WRONLY | flag)


@pytest.mark.parametrize(
    ("name", "kind"), [("dir", "directory"), ("fifo", "FIFO"), ("socket", "socket"), ("", "direc")]
)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_only_regular_files_are_opened(root: Root, name: str, kind: str, flags: int) -> None:
    """At once, and the error says what it is; a FIFO without a writer would block for ever."""
    with refused(NotAFile, f"work/{name}", kind):
        root.open_file(parse_rel(name), flags)


def test_writer_that_waits_in_a_fifo_goes_on_waiting(root: Root) -> None:
    """Opening the other end, even for a moment, would let it go and then kill it by SIGPIPE."""
    opened = threading.Event()

    def write() -> None:
        fd = os.open(f"{root.path}/fifo", os.O_WRONLY)
        opened.set()
        os.close(fd)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(200):
        with pytest.raises(NotAFile):
            root.open_file((b"fifo",))
    assert not opened.is_set()
    os.close(os.open(f"{root.path}/fifo", os.O_RDONLY))
    writer.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can create a device")
def test_device_is_not_opened(root: Root) -> None:
    """Looking at it (O_PATH) has no side effect; opening a tape or a watchdog has."""
    try:
        os.mknod(f"{root.path}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this sandbox creates no devices")
    with refused(NotAFile, "character device"):
        root.open_file((b"null",))


@pytest.mark.parametrize(
    ("rel", "error"),
    [
        ((b"missing",), FileNotThere),
        ((b"dir", b"missing"), FileNotThere),
        ((b"file.txt", b"x"), NotADirectory),
        ((b"file.txt", b""), NotADirectory),
        ((b"n" * 256,), BadPath),
        ((b"a" * 200,) * 21, BadPath),
        ((b"file.txt\0",), BadPath),
        ((b"", b"etc", b"passwd"), OutsideRoot),
        ((b"/etc/passwd",), OutsideRoot),
        ((b"dir/../../outside/secret.txt",), OutsideRoot),
    ],
)
def test_names_that_no_parser_made_are_refused_too(
    root: Root, rel: Rel, error: type[ToolError]
) -> None:
    """The opener relies on nobody: a slash or NUL in a name is met where the name is used."""
    with refused(error, "work/"):
        root.open_file(rel)


def test_file_that_may_not_be_read_is_denied(root: Root) -> None:
    """By the permissions of the user that the server runs as."""
    os.chmod(f"{root.path}/file.txt", 0)
    with as_nobody(), refused(AccessDenied, "work/file.txt"):
        root.open_file((b"file.txt",))
    os.chmod(f"{root.path}/dir", 0)
    with as_nobody(), refused(AccessDenied, "work/dir"):
        root.open_any((b"dir", b"inner.txt"))


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the privilege of root for a moment, where the tests have it."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_tree_that_is_too_deep_for_the_walk_costs_no_descriptors(tmp_path: Path) -> None:
    """Each directory on the way is held open, so there is a bound; the kernel needs none."""
    path = "/".join("d" * 300)
    os.makedirs(tmp_path / path)
    (tmp_path / path / "file").write_bytes(INSIDE)
    root = Root.open(tmp_path, how="walk")
    with refused(BadPath, "too long"):
        root.open_file(parse_rel(path + "/file"))
    root.close()
    shutil.rmtree(tmp_path / "d")


# --- directories and parents --------------------------------------------------------------------


def test_directory_is_opened_for_reading_and_syncing(root: Root) -> None:
    """A listing reads it, a writer syncs it."""
    for rel, names in (
        ((), {"dir", "file.txt", "fifo", "socket"}),
        ((b"dir", b"sub"), {"deep.txt"}),
    ):
        fd = root.open_dir(rel)
        assert set(os.listdir(fd)) == names
        os.fsync(fd)
        os.close(fd)


@pytest.mark.parametrize(
    ("name", "kind"), [("file.txt", "regular"), ("fifo", "FIFO"), ("socket", "socket")]
)
def test_only_directories_are_opened_as_such(root: Root, name: str, kind: str) -> None:
    """The error says what it is instead."""
    with refused(NotADirectory, f"work/{name}", kind):
        root.open_dir((name.encode(),))


def test_parent_is_the_directory_and_the_last_name(root: Root) -> None:
    """What a change needs; the name may be there, or not, or be a link that is not followed."""
    os.symlink("../outside", f"{root.path}/dir/link")
    for path in ("dir/new", "dir/inner.txt", "dir/link", "dir/sub/../new"):
        parent, name = root.open_parent(parse_rel(path))
        assert name == path.rpartition("/")[2].encode()
        assert os.path.samestat(os.fstat(parent), os.stat(f"{root.path}/dir"))
        os.close(parent)


@pytest.mark.parametrize(
    "rel",
    [(), (b"..",), (b"dir", b".."), (b"dir", b"."), (b"dir", b""), (b"a/b",), (b"a\0b",), (b"/",)],
)
def test_change_needs_a_name_of_its_own(root: Root, rel: Rel) -> None:
    """`a/..` could be any directory, and the root is no entry of one."""
    for make in (False, True):
        with refused(BadPath, "not the name"):
            root.open_parent(rel, make=make)


def test_parent_outside_is_refused(root: Root) -> None:
    """A change through a link that leads out."""
    os.symlink("../outside", f"{root.path}/out")
    for make in (False, True):
        for path in ("out/new", "../new", "../outside/new", "out/sub/new"):
            with refused(OutsideRoot, "work/"):
                root.open_parent(parse_rel(path), make=make)
    assert set(os.listdir(f"{root.path}/../outside")) == {"secret.txt"}


def test_missing_directories_are_made_below_the_root(root: Root) -> None:
    """As `mkdir -p` does, through links that stay inside, with the mode less the umask."""
    os.symlink("dir", f"{root.path}/link")
    parent, name = root.open_parent(parse_rel("link/x/y/../z/new.txt"), make=True, mode=0o700)
    assert name == b"new.txt"
    assert root.real(parent) == (b"dir", b"x", b"z")
    os.close(parent)
    assert stat.S_IMODE(os.stat(f"{root.path}/dir/x/z").st_mode) == 0o700
    assert os.path.isdir(f"{root.path}/dir/x/y")


def test_directories_are_not_made_through_what_is_there(root: Root) -> None:
    """Not below a file, and not where a link dangles."""
    os.symlink("nowhere", f"{root.path}/dangling")
    with refused(NotADirectory, "work/file.txt"):
        root.open_parent(parse_rel("file.txt/x/new"), make=True)
    with refused(FileNotThere, "work/dangling"):
        root.open_parent(parse_rel("dangling/x/new"), make=True)
    assert not os.path.lexists(f"{root.path}/nowhere")


def test_many_may_make_the_same_directories_at_once(root: Root) -> None:
    """Whoever comes second finds them made."""
    rel = parse_rel("a/b/c/d/e/f/new")
    with ThreadPoolExecutor(8) as pool:
        for parent, _ in pool.map(lambda _: root.open_parent(rel, make=True), range(32)):
            os.close(parent)
    assert os.path.isdir(f"{root.path}/a/b/c/d/e/f")


# --- where it really is -------------------------------------------------------------------------


def test_real_path_of_a_file_is_told_through_links(root: Root) -> None:
    """What a rule about names has to look at, beside the path as it was asked for."""
    os.symlink("dir/sub", f"{root.path}/link")
    for path, real in (("link/deep.txt", "dir/sub/deep.txt"), ("link/..", "dir"), ("", "")):
        fd = root.open_any(parse_rel(path))
        assert root.real(fd) == parse_rel(real)
        os.close(fd)


def test_real_path_is_seen_from_where_the_root_is_now(root: Root) -> None:
    """A root that is renamed stays the root."""
    os.rename(root.path, root.path + "-renamed")
    fd = root.open_file((b"file.txt",))
    assert root.real(fd) == (b"file.txt",)
    os.close(fd)


def test_file_that_went_is_not_below_the_root(root: Root) -> None:
    """Moved out, moved to a sibling whose name begins alike, deleted."""
    for number, away in enumerate(("../outside/x", "../root-sibling/x", None)):
        path = f"{root.path}/gone{number}"
        Path(path).write_bytes(INSIDE)
        fd = root.open_file((f"gone{number}".encode(),))
        os.rename(path, f"{root.path}/{away}") if away else os.unlink(path)
        with refused(OutsideRoot):
            root.real(fd)
        os.close(fd)


def test_file_that_is_called_deleted_is_there(root: Root) -> None:
    """/proc marks deleted files by a suffix that a name may have too."""
    name = b"file.txt (deleted)"
    Path(f"{root.path}/{name.decode()}").write_bytes(INSIDE)
    fd = root.open_file((name,))
    assert root.real(fd) == (name,)
    os.unlink(f"{root.path}/{name.decode()}")
    with refused(OutsideRoot):
        root.real(fd)
    os.close(fd)
    fd = root.open_file((b"file.txt",))
    os.link(f"{root.path}/file.txt", f"{root.path}/other")
    os.unlink(f"{root.path}/file.txt")
    with refused(OutsideRoot):
        root.real(fd)
    os.close(fd)


def test_what_is_no_file_of_a_disk_is_nowhere(root: Root) -> None:
    """A pipe has no path, and a closed descriptor is nothing."""
    reader, writer = os.pipe()
    os.close(writer)
    with refused(OutsideRoot):
        root.real(reader)
    os.close(reader)
    with refused(OutsideRoot):
        root.real(reader)


def test_root_of_the_whole_system_holds_everything(tmp_path: Path) -> None:
    """Its path ends in a slash, as no other's does."""
    root = Root.open("/")
    fd = root.open_any(parse_rel(str(tmp_path)[1:]))
    assert root.real(fd) == parse_rel(os.path.realpath(tmp_path)[1:])
    os.close(fd)
    root.close()


# --- opening a root -----------------------------------------------------------------------------


def test_root_is_where_its_link_leads(tmp_path: Path) -> None:
    """The operator may name it by a link; its path is the real one."""
    build(tmp_path)
    os.symlink("root", tmp_path / "alias")
    root = Root.open(tmp_path / "alias")
    assert root.path == os.path.realpath(tmp_path / "root")
    assert content(root.open_file((b"file.txt",))) == INSIDE
    root.close()


@pytest.mark.parametrize("name", ["missing", "root/file.txt", "root/fifo"])
def test_only_a_directory_can_be_a_root(tmp_path: Path, name: str) -> None:
    """An OSError: this is the operator's matter, at start."""
    build(tmp_path)
    with pytest.raises(OSError, match=name):
        Root.open(tmp_path / name)


def test_both_ways_give_numbers_of_errors_alike(tmp_path: Path) -> None:
    """The two have one interface: a descriptor or an OSError."""
    fd = os.open(build(tmp_path), os.O_PATH)
    ways = [walk_beneath, open_beneath] if has_openat2() else [walk_beneath]
    for way in ways:
        with pytest.raises(OSError, match="cross-device"):
            way(fd, b"/etc", follow=True)
        with pytest.raises(FileNotFoundError):
            way(fd, b"missing", follow=True)
    os.close(fd)


def test_process_without_descriptors_is_told(root: Root) -> None:
    """A limit of the process is not the caller's mistake, and passes."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        with pytest.raises(TooManyOpenFiles, match=r"work/file\.txt") as told:
            root.open_file((b"file.txt",))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert told.value.retryable


def test_socket_far_down_is_seen(tmp_path: Path) -> None:
    """Its path is longer than an address of a socket can be."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    listen(deep / "socket")
    root = Root.open(tmp_path)
    with refused(NotAFile, "socket"):
        root.open_file((b"d" * 120, b"socket"))
    root.close()


# --- renaming -------------------------------------------------------------------------------------


def test_rename_replaces_or_refuses_or_exchanges(tmp_path: Path) -> None:
    """In one step each, by renameat2(2)."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(FileExistsError):
            renameat2(fd, b"a", fd, b"b", no_replace=True)
        renameat2(fd, b"a", fd, b"b", exchange=True)
        assert (tmp_path / "a").read_bytes() == b"b"
        renameat2(fd, b"a", fd, b"c", no_replace=True)
        renameat2(fd, b"c", fd, b"b")
        assert os.listdir(tmp_path) == ["b"]
        assert (tmp_path / "b").read_bytes() == b"b"
        with pytest.raises(FileNotFoundError):
            renameat2(fd, b"a", fd, b"b", exchange=True)
        with pytest.raises(ValueError, match="NUL"):
            renameat2(fd, b"b\0x", fd, b"c")
    finally:
        os.close(fd)
