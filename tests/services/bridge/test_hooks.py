"""Hooks: in which order they see a call, what they may do, and what happens when they break."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import pytest

from core.context import Caller, Principal
from core.errors import NotAllowed
from core.settings import SettingsError
from services.bridge import hooks as module
from services.bridge.errors import HookFailed, ServerError
from services.bridge.hooks import HookCall, Hooks

HERE = f"{__name__}:"


class Trace:
    """Writes down what passes, and leaves its name in both directions."""

    seen: ClassVar[list[str]] = []
    name = "trace"

    async def request(self, call: HookCall) -> None:
        """Add the name to the parameters."""
        self.seen.append(f"> {self.name}")
        call.params = {**call.params, self.name: True}

    async def result(self, call: HookCall, result: dict[str, Any]) -> dict[str, Any]:
        """Add the name to the result."""
        self.seen.append(f"< {self.name}")
        return {**result, self.name: call.method}


class Second(Trace):
    """Another one."""

    name = "second"


class Answers:
    """Answers in the server's place."""

    async def request(self, call: HookCall) -> None:
        """Answer."""
        call.answer({"from": "hook"})


class Refuses:
    """Refuses in the words of the suite."""

    async def request(self, call: HookCall) -> None:
        """Refuse."""
        raise NotAllowed(f"{call.principal} may not.")


class Looks:
    """Only looks: has no `request`, and returns nothing."""

    async def result(self, call: HookCall, result: dict[str, Any]) -> None:
        """Look."""


class BreaksBefore:
    """Has a mistake in `request`."""

    async def request(self, call: HookCall) -> None:
        """Break."""
        raise KeyError("hunter2")


class BreaksAfter:
    """Has a mistake in `result`."""

    async def result(self, call: HookCall, result: dict[str, Any]) -> None:
        """Break."""
        raise KeyError("hunter2")


class LeavesNoObject:
    """Puts in place of the parameters what is no JSON object."""

    async def request(self, call: HookCall) -> None:
        """Break, more quietly."""
        call.params = []  # type: ignore[assignment]  # what the hook does wrong


class ReturnsNoObject:
    """Returns what is no JSON object."""

    async def result(self, call: HookCall, result: dict[str, Any]) -> Any:
        """Break, more quietly."""
        return "text"


class Neither:
    """Is no hook."""


class NotAsync:
    """Is one of a simpler kind that is not there."""

    def request(self, call: HookCall) -> None:
        """Look."""


def broken_factory() -> None:
    """Cannot make its hook."""
    raise RuntimeError("no database")


NOT_CALLABLE = 5


def _hooks(*names: str) -> Hooks:
    Trace.seen.clear()
    return Hooks.of([HERE + name for name in names])


def _call() -> HookCall:
    return HookCall(server="git", method="tools/call", params={"name": "status"}, principal="ann")


async def _server(call: HookCall) -> dict[str, Any]:
    Trace.seen.append("server")
    return {"params": sorted(call.params)}


async def test_requests_pass_in_order_and_results_in_reverse() -> None:
    """As through doors in a row; each may change what it sees."""
    result = await _hooks("Trace", "Looks", "Second").run(_call(), _server)
    assert Trace.seen == ["> trace", "> second", "server", "< second", "< trace"]
    assert result == {
        "params": ["name", "second", "trace"],
        "second": "tools/call",
        "trace": "tools/call",
    }


async def test_a_hook_may_answer_itself() -> None:
    """Neither the server nor later hooks are asked; earlier ones see the result."""
    result = await _hooks("Trace", "Answers", "Second").run(_call(), _server)
    assert Trace.seen == ["> trace", "< trace"]
    assert result == {"from": "hook", "trace": "tools/call"}


async def test_a_refusal_reaches_the_caller_as_it_is() -> None:
    """And the server is not asked."""
    with pytest.raises(NotAllowed, match="ann may not"):
        await _hooks("Refuses", "Trace").run(_call(), _server)
    assert not Trace.seen


async def test_errors_of_the_server_are_not_the_hooks() -> None:
    """They pass unchanged."""

    async def fails(call: HookCall) -> dict[str, Any]:
        raise ServerError("no such file")

    with pytest.raises(ServerError, match="no such file"):
        await _hooks("Trace").run(_call(), fails)


@pytest.mark.parametrize(
    ("name", "is_asked"),
    [("BreaksBefore", 0), ("LeavesNoObject", 0), ("BreaksAfter", 1), ("ReturnsNoObject", 1)],
)
async def test_a_hook_that_breaks_fails_the_call(
    name: str, is_asked: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A guard that breaks lets nothing by, and only the log says why."""
    with (
        caplog.at_level(logging.ERROR, module.__name__),
        pytest.raises(HookFailed, match=name) as failed,
    ):
        await _hooks(name).run(_call(), _server)
    assert len(Trace.seen) == is_asked
    assert failed.value.facts == {"server": "git", "hook": HERE + name}
    assert "hunter2" not in failed.value.message
    assert ("hunter2" in caplog.text) == name.startswith("Breaks")


def test_no_hooks_are_known_to_be_none() -> None:
    """Calls then take the short way."""
    assert Hooks().is_empty
    assert Hooks.of(()).is_empty
    assert not _hooks("Trace").is_empty


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no.such.module:Hook", "ModuleNotFoundError: No module named 'no'"),
        (HERE + "Missing", "AttributeError: .*no attribute 'Missing'"),
        (HERE + "broken_factory", "RuntimeError: no database"),
        (HERE + "NOT_CALLABLE", "not a class or another callable"),
        (HERE + "Neither", "has neither request nor result"),
        (HERE + "NotAsync", "have to be `async def`"),
        ("audit", "'audit': no installed entry point of the group mcp_bridge.hooks"),
        (":Hook", "not written module:attribute"),
    ],
)
def test_a_name_that_is_no_hook_is_refused_at_the_start(name: str, told: str) -> None:
    """With what could not be imported."""
    with pytest.raises(SettingsError, match=told):
        Hooks.of([name])


def test_all_wrong_names_are_told_at_once() -> None:
    """And good ones do not hide them."""
    with pytest.raises(SettingsError) as refused:
        Hooks.of(["nowhere:a", HERE + "Trace", "nowhere:b"])
    assert len(refused.value.problems) == 2


async def test_an_installed_entry_point_is_a_hook(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of hooks is installed and then named, as plugins of other programs are."""
    info = tmp_path / "our_hooks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-hooks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mcp_bridge.hooks]\nanswers = our_hooks:Answers\n")
    (tmp_path / "our_hooks.py").write_text(
        "class Answers:\n    async def request(self, call):\n        call.answer({'a': 1})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert await Hooks.of(["answers"]).run(_call(), _server) == {"a": 1}


def test_a_hook_sees_who_calls_but_no_credentials() -> None:
    """Neither ours, nor those that become variables of the server, nor what is named like one."""
    caller = Caller(
        "2025-11-25",
        Principal("litellm", person="ann@example.org"),
        session="s1",
        address="192.0.2.1",
        headers={
            b"authorization": b"Bearer hunter2",
            b"cookie": b"hunter2",
            b"x-api-key": b"hunter2",
            b"x-github-token": b"hunter2",
            b"x-account": b"hunter2",
            b"user-agent": b"curl",
        },
    )
    call = HookCall.of("git", "tools/call", {}, caller, credentials=("x-account",))
    assert call.headers == {"user-agent": "curl"}
    assert (call.principal, call.person) == ("litellm", "ann@example.org")
    assert (call.session, call.address) == ("s1", "192.0.2.1")
