"""The process that converts, started by `backend.workers`.

It reads jobs from its standard input and writes results to its standard output until either ends.
A page may break a parser, so before the first job it gives up what it does not need: its memory is
bounded, it dies with its parent, it can open no file (Landlock) and no socket worth having (a
network of its own, where the kernel lets it), and writes none.

A frame is four bytes of length and JSON; the body of a job follows its frame as it is.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

from core.errors import ToolError
from core.files import landlock
from core.files.syscalls import libc
from core.processes import end_with
from services.fetch.convert.conversion import convert
from services.fetch.convert.document import Document, Source, Wanted

MAX_KEPT_BYTES = 192 * 1024 * 1024  # a worker that grew larger ends after the job
_MAX_OPEN_FILES = 16
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_LENGTH = struct.Struct("!I")
_WARM_UP = (
    (b"<html><body><article><h1>T</h1><p>caf\xe9 and some words</p></article>", "text/html"),
    (b"<rss><channel><item><title>T</title></item></channel></rss>", "application/xml"),
    ('<meta charset="shift_jis"><p>テスト'.encode("cp932"), None),
    ("Пример текста без объявленной кодировки".encode("cp1251"), "text/plain"),
    (b"%PDF-1.4 broken", "application/pdf"),
    (b"# T", "text/markdown"),
    (b'{"a": 1}', "application/json"),
)


def main() -> None:
    """Serve jobs until the parent closes the pipe.

    Arguments of the process: the parent's id, the bytes of memory and the seconds of processor time
    a job may take.
    """
    parent, memory, seconds = map(int, sys.argv[1:4])
    _die_with(parent)
    _warm_up()
    statm = os.open("/proc/self/statm", os.O_RDONLY)  # later no file can be opened
    _give_up_rights(_bytes_of(statm)[0] + memory)
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    _send(results, {"ready": True})
    while (job := _receive(jobs)) is not None:
        _limit_cpu(seconds)
        result = _result(job)
        result["last"] = last = _bytes_of(statm)[1] > MAX_KEPT_BYTES
        _send(results, result)
        if last:
            return


def _die_with(parent: int) -> None:
    if not end_with(parent):
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us


def _warm_up() -> None:
    """Load every parser and decoder now, because no file can be read later."""
    from services.fetch.convert.charset import ALL_CODECS

    for codec in ALL_CODECS:
        codecs.lookup(codec)
    for body, content_type in _WARM_UP:
        with contextlib.suppress(ToolError):
            source = Source(body=body, content_type=content_type, url="https://example.org/")
            convert(source, Wanted(main_content="always"))


def _give_up_rights(address_space: int) -> None:
    """Bound memory and files, and shut the file system and the network."""
    libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # best effort: not every kernel allows it
    landlock.restrict_self(read=(), write=())
    for limit, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
    ):
        resource.setrlimit(limit, (value, value))


def _bytes_of(statm: int) -> tuple[int, int]:
    """Return the bytes of address space and of memory in use (proc(5)); most is parsers' code.

    Not getrusage: its maximum is that of the process that started this one, where that is larger.
    """
    pages = os.pread(statm, 100, 0).split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def _limit_cpu(seconds: int) -> None:
    """Let the kernel end a job that the parent for some reason does not (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _receive(jobs: BinaryIO) -> tuple[Source, Wanted] | None:
    head = jobs.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    job = json.loads(jobs.read(_LENGTH.unpack(head)[0]))
    body = jobs.read(job["size"])
    source = Source(body=body, content_type=job["content_type"], url=job["url"])
    return source, Wanted(**job["wanted"])


def _send(results: BinaryIO, result: dict[str, Any]) -> None:
    data = json.dumps(result).encode()
    results.write(_LENGTH.pack(len(data)) + data)
    results.flush()


def _result(job: tuple[Source, Wanted]) -> dict[str, Any]:
    try:
        return {"document": _as_dict(convert(*job))}
    except ToolError as error:
        return {"error": error.to_dict()}
    except MemoryError:
        return {"failure": "memory"}
    except Exception as error:  # the outermost handler of this process; the parent logs it
        return {"failure": f"{type(error).__name__}: {error}"[:200]}


def _as_dict(document: Document) -> dict[str, Any]:
    """Return a document without its image, whose bytes the parent has."""
    return dataclasses.asdict(dataclasses.replace(document, binary=None))


if __name__ == "__main__":
    main()
