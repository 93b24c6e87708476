"""The facade of everything that touches the disk: a bounded pool of threads in front of it.

```
work.py                threads, and Stop, which ends what runs in them
reading.py             files, whole or in parts
  excerpts.py                  a part found with bounded memory
listing.py             directories, trees, one file's facts
  birth.py                     when a file was made
searching.py           names and contents
  walking.py ignore.py globs.py    which files: open directories, .gitignore, callers' globs
  contents.py looking.py       what is in them, file by file
  helpers.py                   the same in other processes
writing.py             what files hold
  edits.py exact.py nearest.py diffs.py    pure: texts in, texts out
  atomic.py                    put in place in one step
moving.py              move, copy, delete
  trees.py trash.py
undoing.py             taking back, and cleaning up
  history.py                   what was changed
watching.py            changes while a call waits
```
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Concatenate, ParamSpec, TypeVar

from core.observability.health import Component
from services.filesystem.backend.helpers import Helpers
from services.filesystem.backend.history import History
from services.filesystem.backend.undoing import clean_up
from services.filesystem.backend.work import Stop, Workers
from services.filesystem.roots import Roots
from services.filesystem.settings import FilesystemSettings

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["Backend", "Stop"]


class Backend:
    """Runs what the tools ask of the disk in threads.

    Args:
        history: What was changed.
        helpers: Processes that help to search; none when not given.
    """

    def __init__(
        self,
        settings: FilesystemSettings,
        roots: Roots,
        history: History,
        helpers: Helpers | None = None,
    ) -> None:
        self.settings = settings
        self.roots = roots
        self.history = history
        self.helpers = helpers or Helpers()
        self.workers = Workers(settings.workers)
        # Whether the roots are there can be told while all workers are at work.
        self._looking = Workers(1)

    async def run(
        self, function: Callable[Concatenate[Stop, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``function(stop, …)`` in a worker thread and return what it returns.

        When the call is cancelled (by its client, or by its time limit) the function goes on until
        it asks its `Stop`.
        """
        return await self.workers.run(function, None, *args, **kwargs)

    async def run_for(
        self,
        limit_s: float,
        function: Callable[Concatenate[Stop, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run as `run` does, with a `Stop` that says `is_late` after so many seconds."""
        return await self.workers.run(function, limit_s, *args, **kwargs)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the roots and clean up; end all work at the end."""
        try:
            await self.run(_states, self.roots)
            await self.run(clean_up, self.roots, self.history)
            yield
        finally:
            self.workers.close()
            self._looking.close()
            self.helpers.close()
            self.history.close()

    async def component(self) -> Component:
        """Say which roots are there, for `/health`."""
        states = await self._looking.run(_states, None, self.roots)
        facts = {
            "roots": {alias: "up" if ok else "unavailable" for alias, ok in states.items()},
            "calls": self.workers.at_work,
            **self.helpers.facts(),
        }
        missing = [alias for alias, ok in states.items() if not ok]
        if not missing:
            return Component("up", facts=facts)
        return Component(
            "down" if len(missing) == len(states) else "degraded",
            f"unavailable: {', '.join(missing)}",
            facts,
        )


def _states(stop: Stop, roots: Roots) -> dict[str, bool]:
    return {state.alias: state.entry is not None for state in roots.states()}
