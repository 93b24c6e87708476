"""The roots that a client gives (MCP `roots/list`) narrow the operator's, and never widen them.

A client's root inside one of the operator's leaves that part of it, one that contains an operator's
root leaves all of it, and one elsewhere adds nothing. That nothing is left is an error which names
both sides, rather than a service in which nothing can be found. An empty list is no wish.

Roots say what a client's user wants to work on; what may be done at all, the operator decides. So a
client that does not answer, or speaks through a door where nobody can be asked, may use what the
operator gave. In a session the client is asked once, and again after it said that its roots are
others. Revision 2026-07-28 has no sessions: a question is a result, and the call is sent again, so
each call is sent twice. That is only done where the operator wants it (`client_roots=always`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from core.context import Context
from core.errors import ClientCapabilityMissing, ToolError
from core.files import Rel
from services.filesystem.backend import Backend, Stop
from services.filesystem.errors import NothingInCommon
from services.filesystem.roots import Place, Roots
from services.filesystem.settings import FilesystemSettings, Mode

KEY = "client_roots"
ANSWER_LIMIT_S = 5.0
ASK_AGAIN_S = 60.0
MAX_SESSIONS = 10_000
MAX_ROOTS = 100
_MAX_TOLD = 5

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Answer:
    """What a session's client has answered.

    Attributes:
        changes: `Caller.roots_changes` when it was asked.
        uris: None until it has answered.
        again_at: The loop's time before which it is not asked, since it did not answer.
    """

    changes: int
    uris: tuple[str, ...] | None = None
    again_at: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class ClientRoots:
    """Narrows the roots for calls."""

    def __init__(self, settings: FilesystemSettings, backend: Backend) -> None:
        self._mode = settings.client_roots if settings.roots else "ignore"
        self._backend = backend
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    async def of(self, context: Context, roots: Roots) -> Roots:
        """Return what a call may use of the roots.

        Raises:
            NothingInCommon: That is nothing.
            InputRequired: The call has to come again with the client's answer (2026-07-28).
        """
        if self._mode == "ignore" or not context.client_can("roots"):
            return roots
        if context.caller.modern:
            uris = await self._asked_each_time(context)
        else:
            uris = await self._asked_once(context)
        return await self._backend.run(_narrowed, roots, uris) if uris else roots

    async def _asked_each_time(self, context: Context) -> tuple[str, ...]:
        if self._mode != "always":
            return ()
        return _uris(await context.list_roots(key=KEY))

    async def _asked_once(self, context: Context) -> tuple[str, ...]:
        caller = context.caller
        if not caller.session:
            return ()
        answer = self._answer(caller.session, caller.roots_changes)
        if answer.uris is None and caller.channel is not None and caller.channel.can_request:
            async with answer.asking:
                await self._ask(context, answer)
        return answer.uris or ()

    def _answer(self, session: str, changes: int) -> _Answer:
        answer = self._answers.get(session)
        if answer is None or answer.changes != changes:
            answer = self._answers[session] = _Answer(changes)
        self._answers.move_to_end(session)
        if len(self._answers) > MAX_SESSIONS:
            self._answers.popitem(last=False)
        return answer

    async def _ask(self, context: Context, answer: _Answer) -> None:
        now = asyncio.get_running_loop().time()
        if answer.uris is not None or now < answer.again_at:
            return
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                answer.uris = _uris(await context.list_roots(key=KEY))
        except (TimeoutError, ClientCapabilityMissing) as error:
            logger.warning("a client that has roots did not tell them: %s", error or "no answer")
            answer.again_at = now + ANSWER_LIMIT_S + ASK_AGAIN_S


def _uris(answer: Iterable[dict[str, object]]) -> tuple[str, ...]:
    return tuple(str(root.get("uri", "")) for root in answer)


def _narrowed(stop: Stop, roots: Roots, uris: tuple[str, ...]) -> Roots:
    within: dict[str, tuple[Rel, ...]] = {}
    for uri in uris[:MAX_ROOTS]:
        with contextlib.suppress(ToolError):  # of another machine or kind: it adds nothing
            for alias, rel in roots.common(uri):
                within[alias] = (*within.get(alias, ()), rel, *_where_links_lead(roots, alias, rel))
    if not within:
        raise _nothing(roots, uris)
    return roots.narrowed(within)


def _where_links_lead(roots: Roots, alias: str, rel: Rel) -> Iterable[Rel]:
    """Return where a directory really is, for what is opened is compared by that."""
    try:
        entry = roots.entry(alias)
        fd = roots.open_dir(Place(entry, rel), Mode.LIST)
    except ToolError:
        return ()
    try:
        real = entry.root.real(fd)
    except ToolError:
        return ()
    finally:
        os.close(fd)
    return () if real == rel else (real,)


def _nothing(roots: Roots, uris: tuple[str, ...]) -> NothingInCommon:
    told = [uri[:200] for uri in uris[:_MAX_TOLD]]
    more = f" and {len(uris) - len(told)} more" if len(uris) > len(told) else ""
    allowed = [f"{slot.spec.alias} ({slot.spec.path})" for slot in roots.slots.values()]
    return NothingInCommon(
        f"The client's roots ({', '.join(told)}{more}) have nothing in common with the allowed "
        f"directories: {', '.join(allowed)}.",
        client_roots=told,
        roots=allowed,
    )
