"""The log file: put aside when full, made anew when moved away, whole on a full disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from core.observability import logs
from core.observability.log_file import LogFile
from core.observability.logs import LineWriter
from core.settings import LoggingSection

LINE = b"x" * 99 + b"\n"


def entry(number: int) -> dict[str, Any]:
    """Return a log entry."""
    return {"timestamp": float(number), "level": "INFO", "message": f"line {number}"}


def messages(path: Path) -> list[str]:
    """Return the messages of a log; each line of it is JSON."""
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


def test_full_file_is_put_aside(tmp_path: Path) -> None:
    """The newest of the old ones is .1; more than `old_files` are not kept."""
    path = tmp_path / "logs" / "service.log"
    log = LogFile(path, max_bytes=1000, old_files=2)
    for number in range(45):
        log.write(b"%99d\n" % number)
    log.close()
    first_lines = {p.name: int(p.read_text().split()[0]) for p in path.parent.iterdir()}
    assert first_lines == {"service.log": 40, "service.log.1": 30, "service.log.2": 20}
    assert all(p.stat().st_size <= 1000 for p in path.parent.iterdir())
    assert path.stat().st_mode & 0o777 == 0o640


def test_without_old_files_it_begins_anew(tmp_path: Path) -> None:
    """`old_files=0`: never more than one file."""
    path = tmp_path / "service.log"
    log = LogFile(path, max_bytes=1000, old_files=0)
    for _ in range(25):
        log.write(LINE)
    log.close()
    assert [p.name for p in tmp_path.iterdir()] == ["service.log"]
    assert path.stat().st_size == 500


@pytest.mark.parametrize("how", ["moved", "removed", "folder removed", "replaced"])
def test_file_that_was_taken_away_is_made_anew(tmp_path: Path, how: str) -> None:
    """As logrotate does it; no signal is needed."""
    path = tmp_path / "logs" / "service.log"
    log = LogFile(path, max_bytes=10_000, old_files=1)
    log.write(LINE)
    if how == "moved":
        path.rename(path.with_suffix(".old"))
    else:
        path.unlink()
    if how == "folder removed":
        path.parent.rmdir()
    if how == "replaced":
        path.write_bytes(b"")
    log.write(LINE)
    log.close()
    assert path.read_bytes() == LINE


def test_file_grows_on_where_it_cannot_be_put_aside(tmp_path: Path) -> None:
    """Too large a log is better than none."""
    path = tmp_path / "service.log"
    log = LogFile(path, max_bytes=100, old_files=1)
    (tmp_path / "service.log.1").mkdir()
    (tmp_path / "service.log.1" / "in the way").touch()
    for _ in range(3):
        log.write(LINE)
    log.close()
    assert path.stat().st_size == 300


def _write_many(path: Path, name: int) -> None:
    log = LogFile(path, max_bytes=2000, old_files=1000)
    for number in range(200):
        log.write(b"%d %97d\n" % (name, number))
    log.close()


def test_processes_that_share_a_file_lose_no_line(tmp_path: Path) -> None:
    """One puts it aside, the others notice."""
    path = tmp_path / "service.log"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, name)) for name in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    lines = [line for p in tmp_path.iterdir() for line in p.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == 600


# --- a disk that is full ----------------------------------------------------------------------


class Disk:
    """Takes so many bytes; a sink for tests."""

    def __init__(self, space: int) -> None:
        self.space = space
        self.content = b""

    def write(self, data: bytes) -> int:
        """Take what fits."""
        taken = data[: self.space]
        if not taken:
            raise OSError(28, "No space left on device")
        self.space -= len(taken)
        self.content += taken
        return len(taken)


def writer_on(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> LineWriter:
    """Return a writer that writes when it is told to."""
    monkeypatch.setattr(logs, "_sink", lambda section, shared: disk)
    monkeypatch.setattr(logs, "FLUSH_INTERVAL_S", 3600)
    return LineWriter(LoggingSection())


def test_lines_wait_for_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the rest of a line of which half was written; none is there twice."""
    disk = Disk(100)
    writer = writer_on(disk, monkeypatch)
    for number in range(10):
        writer.put(entry(number))
    writer.flush()
    assert len(disk.content) == 100
    writer.flush()
    disk.space = 1_000_000
    writer.put(entry(10))
    writer.close()
    lines = [json.loads(line)["message"] for line in disk.content.splitlines()]
    assert lines == [f"line {number}" for number in range(11)]


def test_what_does_not_fit_into_the_queue_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """And said as soon as there is space."""
    monkeypatch.setattr(logs, "MAX_QUEUED", 100)
    disk = Disk(0)
    writer = writer_on(disk, monkeypatch)
    for number in range(150):
        writer.put(entry(number))
    writer.flush()
    disk.space = 1_000_000
    writer.close()
    lines = [json.loads(line) for line in disk.content.splitlines()]
    assert [line["message"] for line in lines[:100]] == [f"line {n}" for n in range(100)]
    (note,) = lines[100:]
    assert (note["message"], note["dropped"]) == ("log lines were dropped", 50)


def test_full_device_holds_nobody_up() -> None:
    """/dev/full: each write fails, and the process ends as always."""
    writer = LineWriter(LoggingSection(file=Path("/dev/full"), max_file_bytes=4096))
    for number in range(1000):
        writer.put(entry(number))
    writer.close()
    assert not any(thread.name == "log-writer" for thread in threading.enumerate())


def test_reader_that_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal or pipe that blocks: the process can end all the same."""
    monkeypatch.setattr(logs, "CLOSE_LIMIT_S", 0.2)
    reading, writing = os.pipe()
    with open(writing, "w") as pipe:
        writer = LineWriter(LoggingSection(), pipe)
        for number in range(5000):
            writer.put(entry(number))
        writer.close()
        while os.read(reading, 1_000_000).count(b"line 4999") == 0:
            pass  # so that the thread ends
    os.close(reading)


def test_rotation_is_what_the_settings_say(tmp_path: Path) -> None:
    """`max_file_bytes` and `old_files` of the logging section."""
    path = tmp_path / "service.log"
    writer = LineWriter(LoggingSection(file=path, max_file_bytes=4096, old_files=1))
    for number in range(200):
        writer.put(entry(number))
        if number % 20 == 0:
            writer.flush()
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["service.log", "service.log.1"]
    kept = messages(path.with_name("service.log.1")) + messages(path)
    assert kept == [f"line {number}" for number in range(200 - len(kept), 200)]


def _write_lines(fd: int, letter: str) -> None:
    sink = logs._Descriptor(fd, shared=True)
    for _ in range(20):
        sink.write(letter.encode() * 100_000 + b"\n")


def test_lines_of_processes_that_share_a_pipe_are_whole() -> None:
    """A pipe takes 4 KiB at once and lets others in between; the lock does not."""
    source, sink = os.pipe()
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_lines, args=(sink, c)) for c in "ab"]
    for writer in writers:
        writer.start()
    os.close(sink)
    with open(source, "rb") as reader:
        lines = reader.read().splitlines()
    for writer in writers:
        writer.join()
    assert len(lines) == 40
    assert all(len(line) == 100_000 and len(set(line)) == 1 for line in lines)
