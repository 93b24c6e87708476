"""Which files are logs, and what belongs together."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from services.monitoring.logs.sources import LogRoot, base_of, chosen, discover, log_roots, matches
from tests.services.monitoring.logbook import NOON, PACKERS, line, scanning, write


@pytest.mark.parametrize(
    ("name", "base", "packing"),
    [
        ("app.log", "app.log", None),
        ("app.log.1", "app.log", None),
        ("app.log.12.gz", "app.log", "gzip"),
        ("app.log-20260101", "app.log", None),
        ("app.log-20260101.zst", "app.log", "zstd"),
        ("app.log-20260101-1767268800.xz", "app.log", "xz"),
        ("app.log.2026-01-01", "app.log", None),
        ("app.log.2026-01-01_12-30", "app.log", None),
        ("app.log.20260101T120000.bz2", "app.log", "bzip2"),
        ("app-2026-01-01.log", "app.log", None),
        ("app-2026-01-01-3.log.gz", "app.log", "gzip"),
        ("app.1.log", "app.log", None),
        ("app.log.old", "app.log", None),
        ("syslog", "syslog", None),
        ("syslog.7.gz", "syslog", "gzip"),
        ("8001.log", "8001.log", None),
        ("web-01.log", "web-01.log", None),
        (".gz", ".gz", None),
    ],
)
def test_rotated_names_belong_to_the_file_they_were(
    name: str, base: str, packing: str | None
) -> None:
    """As logrotate, Python, log4j and newsyslog name them."""
    assert base_of(name) == (base, packing)


@pytest.mark.parametrize(
    ("path", "glob", "fits"),
    [
        ("a.log", "*.log", True),
        ("x/a.log", "*.log", False),
        ("x/a.log", "**/*.log", True),
        ("a.log", "**/*.log", True),
        ("x/y/a.log", "x/*/a.log", True),
        ("x/y/z/a.log", "x/*/a.log", False),
        ("x/y/z/a.log", "x/**", True),
        ("a.txt", "*.log", False),
    ],
)
def test_globs_say_which_files(path: str, glob: str, fits: bool) -> None:
    """A star stays within a name."""
    assert matches(path, glob) is fits


def test_roots_are_read_from_the_setting() -> None:
    """The path ends where a wildcard begins."""
    assert LogRoot.parse("nginx=/var/log/nginx") == LogRoot("nginx", "/var/log/nginx")
    assert LogRoot.parse(" a = /srv/*/logs/**/*.log ") == LogRoot("a", "/srv", "*/logs/**/*.log")
    assert LogRoot.parse("a=/") == LogRoot("a", "/")
    for wrong in ("/var/log", "a=logs", "=/var/log", "a b=/x", "a="):
        with pytest.raises(ValueError, match=r"log root|name=/path"):
            LogRoot.parse(wrong)
    assert [root.name for root in log_roots(["suite=/elsewhere"])] == ["suite"]


def test_rotation_makes_one_log_in_the_order_of_time(tmp_path: Path) -> None:
    """Whatever the files are called, compressed by or modified at."""
    for number, name in enumerate(("app.log-20251230.xz", "app.log.2.gz", "app.log.1", "app.log")):
        text = line(NOON + number * 100, f"m{number}")
        write(tmp_path / name, text, mtime=NOON + 10_000 - number)
    write(tmp_path / "other" / "app.log", line(NOON, "other"))
    with scanning(tmp_path) as scan:
        families = scan.families()
        assert [family.name for family in families] == ["t/app.log", "t/other/app.log"]
        ordered = scan.ordered(families[0])
    assert [first for _, first, _ in ordered] == [NOON + n * 100 for n in range(4)]


@pytest.mark.parametrize("ending", PACKERS)
def test_a_copy_that_rotation_is_making_counts_once(tmp_path: Path, ending: str) -> None:
    """While it compresses, both files are there, the new one cut off anywhere."""
    text = "".join(line(NOON + n, f"m{n}") for n in range(2_000))
    write(tmp_path / "app.log.1", text)
    path = write(tmp_path / f"app.log.1{ending}", text)
    with scanning(tmp_path) as scan:
        (family,) = scan.families()
        ((member, _, _),) = scan.ordered(family)
    assert member.packing is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with scanning(tmp_path) as scan:
        assert len(scan.ordered(scan.families()[0])) == 1


def test_links_out_of_the_root_are_refused_and_said(tmp_path: Path) -> None:
    """A program that may write logs could point anywhere with them."""
    root = tmp_path / "logs"
    secret = write(tmp_path / "secret.log", "not yours\n")
    write(root / "app.log", line(NOON, "a"))
    (root / "out.log").symlink_to(secret)
    (root / "up.log").symlink_to("../secret.log")
    (root / "in.log").symlink_to("app.log")
    (root / "gone.log").symlink_to("nowhere.log")
    (root / "dir.log").symlink_to(tmp_path)
    with scanning(root) as scan:
        names = [family.name for family in scan.families()]
        skipped = scan.told()["skipped"]
    assert names == ["t/app.log"]  # and in.log is the same file
    assert [one for one in skipped if "leads out of its root" in one] == [
        "t/dir.log: leads out of its root",
        "t/out.log: leads out of its root",
        "t/up.log: leads out of its root",
    ]
    assert any(one.startswith("t/gone.log: ") for one in skipped)


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    """A FIFO would wait for its writer for ever, a device may do anything."""
    os.mkfifo(tmp_path / "pipe.log")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.log"))
        (tmp_path / "folder.log").mkdir()
        with scanning(tmp_path) as scan:
            assert scan.families() == []
            skipped = scan.told()["skipped"]
    assert any(one.startswith("t/pipe.log: no file") for one in skipped)
    assert any(one.startswith("t/socket.log: no file") for one in skipped)


def test_a_root_that_is_not_there_is_said() -> None:
    """The others are searched."""
    found = discover([(LogRoot("a", "/nowhere"), None)])
    assert [(skipped.name, skipped.reason) for skipped in found.skipped] == [("a", "not there")]


def test_sources_are_named_as_people_do(tmp_path: Path) -> None:
    """By root, directory, path with and without ending, or glob; who names nothing means all."""
    for name in ("fetch.log", "postgres.log", "nginx/access.log"):
        write(tmp_path / name, "x\n")
    with scanning(tmp_path) as scan:
        families = scan.families()

    def names(*wanted: str) -> list[str]:
        return [family.name for family in chosen(families, wanted)[0]]

    everything = ["t/fetch.log", "t/nginx/access.log", "t/postgres.log"]
    assert names() == names("t") == names("t/") == names("*") == everything
    assert names("t/fetch.log") == names("t/fetch") == names("fetch.log") == ["t/fetch.log"]
    assert names("t/nginx") == ["t/nginx/access.log"]
    assert names("t/*s.log", "t/fetch") == everything
    assert chosen(families, ["nothing", "t"])[1] == ["nothing"]


def test_names_that_hide_something_are_escaped(tmp_path: Path) -> None:
    """A name is shown to a model as well."""
    write(tmp_path / "a\u202eb\n.log", "x\n")
    write(tmp_path / os.fsdecode(b"bad\xff.log"), "x\n")
    with scanning(tmp_path) as scan:
        assert [family.name for family in scan.families()] == [
            r"t/a\u202eb\n.log",
            r"t/bad\udcff.log",
        ]
