"""Hooks: code of the operator's that inspects, changes, refuses or answers requests.

A hook is named `module:attribute`, or by an installed entry point of the group `mcp_bridge.hooks`.
That is a class, or another callable, which is called once for each server without arguments; what
it returns has one or both of

```python
async def request(self, call: HookCall) -> None: ...
async def result(self, call: HookCall, result: dict) -> dict | None: ...
```

`request` may change `call.params`, raise a `ToolError` or `ProtocolError` to refuse, or answer
itself with `call.answer(result)`: then neither later hooks nor the server are asked. `result`
returns another result, or None to leave it as it is. Requests go through the hooks in the order in
which they are named, results back in the reverse one, through those that let the request pass.
A call that asks its client something comes again with the answers in 2026-07-28, and passes again.

What else goes wrong in a hook fails the call (`HOOK_FAILED`): a guard that breaks lets nothing by.
examples/bridge_hooks.py has two.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import entry_points
from inspect import iscoroutinefunction
from typing import Any, Self

from core.context import Caller
from core.errors import SuiteError
from core.protocol.messages import JSON
from core.redaction import is_secret_name
from core.settings import SettingsError
from services.bridge.errors import HookFailed
from services.bridge.variables import OWN_CREDENTIALS

GROUP = "mcp_bridge.hooks"
logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class HookCall:
    """One request on its way to a bridged server.

    Attributes:
        server: The server's name.
        method: Such as `tools/call`.
        params: Of the request; a hook may change them or put others there.
        principal: Name of the caller's key or token; `anonymous` without.
        person: The verified human behind a gateway, where there is one.
        session: Key of the caller's session, None where there is none.
        headers: Of the HTTP request, lower-case names; those with credentials are left out.
        address: Where the request came from.
        answered: What a hook has answered in the server's place.
    """

    server: str
    method: str
    params: JSON
    principal: str = "anonymous"
    person: str | None = None
    session: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    answered: JSON | None = None

    @classmethod
    def of(
        cls, server: str, method: str, params: JSON, caller: Caller, credentials: Sequence[str] = ()
    ) -> Self:
        """Return a caller's request.

        Args:
            credentials: Further headers that hooks do not see, in lower case; those that become
                variables of the server are such.
        """
        return cls(
            server=server,
            method=method,
            params=params,
            principal=caller.principal.name,
            person=caller.principal.person,
            session=caller.session,
            headers=_shown(caller.headers, credentials),
            address=caller.address,
        )

    def answer(self, result: JSON) -> None:
        """Answer the request in the server's place."""
        self.answered = result


Forward = Callable[[HookCall], Awaitable[JSON]]


class Hooks:
    """The hooks of one server, in order."""

    def __init__(self, hooks: Sequence[tuple[str, Any]] = ()) -> None:
        self._hooks = tuple(hooks)
        self.is_empty = not hooks

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """Import hooks by their names.

        Raises:
            SettingsError: What could not be imported or made, or is no hook; each of them.
        """
        found: list[tuple[str, Any]] = []
        problems: list[str] = []
        for name in names:
            try:
                found.append((name, _made(name)))
            except SettingsError as error:
                problems += error.problems
        if problems:
            raise SettingsError(*problems)
        return cls(found)

    async def run(self, call: HookCall, forward: Forward) -> JSON:
        """Return the result of a request that goes through all hooks.

        Args:
            forward: Asks the server; not awaited when a hook answers or refuses.

        Raises:
            SuiteError: A hook's refusal, or what `forward` raised.
            HookFailed: A hook broke.
        """
        passed: list[tuple[str, Any]] = []
        for name, hook in self._hooks:
            await self._request(name, hook, call)
            if call.answered is not None:
                break
            passed.append((name, hook))
        result = call.answered if call.answered is not None else await forward(call)
        for name, hook in reversed(passed):
            result = await self._result(name, hook, call, result)
        return result

    async def _request(self, name: str, hook: Any, call: HookCall) -> None:
        if not hasattr(hook, "request"):
            return
        try:
            await hook.request(call)
        except SuiteError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            _require_broken(error)
            logger.exception("the hook %s of %s broke", name, call.server)
            raise _failed(name, call, "broke, and the request was not forwarded") from error
        if not isinstance(call.params, dict) or not isinstance(call.answered, dict | None):
            raise _failed(name, call, "left params or an answer that is no JSON object")

    async def _result(self, name: str, hook: Any, call: HookCall, result: JSON) -> JSON:
        if not hasattr(hook, "result"):
            return result
        try:
            changed = await hook.result(call, result)
        except SuiteError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            _require_broken(error)
            logger.exception("the hook %s of %s broke", name, call.server)
            raise _failed(name, call, "broke, and the result is withheld") from error
        if changed is None:
            return result
        if not isinstance(changed, dict):
            raise _failed(name, call, "returned a result that is no JSON object")
        return changed


def _require_broken(error: BaseException) -> None:
    """Raise a cancellation that is the call's; one that a hook has made up is a broken hook."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error


def _failed(name: str, call: HookCall, what: str) -> HookFailed:
    return HookFailed(f"The hook {name} {what}.", server=call.server, hook=name)


def _shown(headers: Mapping[bytes, bytes], credentials: Sequence[str]) -> dict[str, str]:
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    hidden = OWN_CREDENTIALS.union(credentials)
    return {k: v for k, v in named.items() if k not in hidden and not is_secret_name(k)}


# --- from a name to a hook -----------------------------------------------------------------------


def _made(name: str) -> Any:
    try:
        hook = _factory(name)()
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError(f"hook {name}: {type(error).__name__}: {error}") from error
    methods = [getattr(hook, what) for what in ("request", "result") if hasattr(hook, what)]
    if not methods:
        raise SettingsError(f"hook {name}: it has neither request nor result")
    if not all(map(iscoroutinefunction, methods)):
        raise SettingsError(f"hook {name}: request and result have to be `async def`")
    return hook


def _factory(name: str) -> Callable[[], Any]:
    module, colon, attribute = name.partition(":")
    if colon and module and attribute:
        factory = reduce(getattr, attribute.split("."), importlib.import_module(module))
    else:
        factory = _installed(name)
    if not callable(factory):
        raise SettingsError(f"hook {name}: not a class or another callable")
    return factory


def _installed(name: str) -> Any:
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise SettingsError(
            f"hook {name!r}: no installed entry point of the group {GROUP}, and not written "
            "module:attribute"
        )
    return found.load()
