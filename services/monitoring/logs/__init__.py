"""The log engine: files below configured roots, read as entries in time order, within a budget.

```
service's process                            worker process (confined, killed when late)
pool.Logs.run(job, payload, …) ── frame ──▶  worker.main ─ JOBS[job](scan, payload) ─▶ JSON
                                              scan.Scan      files of sources, budget, skipped
                                              sources.py     which files, in which families
                                              reading.py     blocks of a file, compressed or not
                                              formats.py     what a line says
                                              times.py       where in a file a time is
                                              search.py      the job "search" (query.py: its words)
                                              streams.py     what fits in a log (counting.py: many)
                                              telling.py     entries as results show them
                                              lookups.py     the jobs "context" and "sources"
                                              mining.py      "patterns", "errors", "changes"
                                                patterns.py    templates; comparison.py  of rates
                                                errors.py      exceptions; access.py  HTTP requests
                                                notable.py     lines of deploys, versions, starts
```

On the service's side (an event loop)::

    logs = Logs(settings)                     # backend.logs
    answer = await logs.run("patterns", {"sources": ["suite"], …}, seconds=5.0)   # a dict

A job is a function that runs in the worker, registered by name in `worker.JOBS`::

    def patterns(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
        for number, file in enumerate(scan.files(payload["sources"], since, until)):
            for chunk in scan.chunks(file, edges):       # edges: since, …, until; seconds of 1970
                chunk.data                               # whole lines, without the last LF
                chunk.bucket, chunk.offset               # edges[bucket] <= at < edges[bucket + 1]
                file.line(line)                          # Line(at, level, message, fields); None
                                                         # where it continues the line before
            for entry in scan.entries(file, since, until):  # parsed, with lines that continue it
                entry.at, entry.level, entry.message, entry.fields, entry.text, entry.ref
        return {…, **scan.told()}     # scanned_bytes, partial (None, "bytes", "seconds"), skipped

`scan.budget` holds the limits (256 MB and 5 s unless the caller gave others); `chunks` and
`entries` end by themselves when it is spent, and `told()` says so. `file.format` is the name of the
file's format ("json", "access", "syslog", …), `file.name` its path below the source
("suite/fetch.log"); `scan.ref(file, offset)` names a line for `log_context`. Times are seconds
since 1970 (UTC); levels are one of `LEVELS`, or None. What is returned to a caller goes through
`shown(text)` of formats.py first: ANSI codes, hidden characters and secrets are taken out there.
"""

from __future__ import annotations
