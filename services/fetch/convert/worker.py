"""The process that converts, started by `backend.workers`.

It reads jobs from its standard input and writes results to its standard output until either ends.
A page may break a parser, so before the first job it gives up what it does not need: its memory is
bounded, it dies with its parent, it can open no file (Landlock) and no socket worth having (a
network of its own, where the kernel lets it), and writes none.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import sys
from typing import Any

from core.errors import ToolError
from core.workers import (
    give_up_rights,
    limit_cpu,
    live_with,
    memory_of,
    open_statm,
    receive,
    send,
)
from services.fetch.convert.conversion import convert
from services.fetch.convert.document import Document, Source, Wanted

MAX_KEPT_BYTES = 192 * 1024 * 1024  # a worker that grew larger ends after the job
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
    live_with(parent)
    _warm_up()
    statm = open_statm()
    give_up_rights(memory=memory_of(statm)[0] + memory)
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    send(results, {"ready": True})
    while (job := receive(jobs)) is not None:
        limit_cpu(seconds)
        result = _result(*job)
        result["last"] = last = memory_of(statm)[1] > MAX_KEPT_BYTES
        send(results, result)
        if last:
            return


def _warm_up() -> None:
    """Load every parser and decoder now, because no file can be read later."""
    from services.fetch.convert.charset import ALL_CODECS

    for codec in ALL_CODECS:
        codecs.lookup(codec)
    for body, content_type in _WARM_UP:
        with contextlib.suppress(ToolError):
            source = Source(body=body, content_type=content_type, url="https://example.org/")
            convert(source, Wanted(main_content="always"))


def _result(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    try:
        source = Source(body=body, content_type=job["content_type"], url=job["url"])
        return {"document": _as_dict(convert(source, Wanted(**job["wanted"])))}
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
