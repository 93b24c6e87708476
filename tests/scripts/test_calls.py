"""The tool call of `deploy.sh test`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from scripts.deploy.calls import STEPS, CallFailed, Door
from scripts.deploy.environment import Endpoint
from scripts.deploy.registry import Check, Registry

REFUSED = {"isError": True, "content": [{"type": "text", "text": '{"code": "ADDRESS_REFUSED"}'}]}
BROKEN = {"isError": True, "content": [{"type": "text", "text": '{"code": "TOOL_FAILED"}'}]}
FINE = {"isError": False, "content": [{"type": "text", "text": '{"answer": 42}'}]}


@dataclass(frozen=True)
class Answering(Door):
    """A door behind which every call has the same result."""

    result: Any = None

    def rpc(self, method: str, **params: Any) -> Any:
        """Return the result."""
        return json.loads(json.dumps(self.result))


def call(known: Registry, result: Any, *errors: str) -> str:
    """Make the tool call of a service that has to be refused with these codes."""
    check = Check(tool="fetch", arguments={}, errors=errors)
    service = known.services["postgres"].model_copy(update={"check": check})
    endpoint = Endpoint("127.0.0.1", 1)
    return STEPS["tool call"](Answering(service, endpoint, result))


def test_a_call_passes_when_it_succeeds(known: Registry) -> None:
    """Its answer is shown."""
    assert "42" in call(known, FINE)
    with pytest.raises(CallFailed):
        call(known, BROKEN)


def test_a_call_that_has_to_be_refused_passes_by_its_code(known: Registry) -> None:
    """What a service refuses without the internet shows that its rules are in force."""
    assert "ADDRESS_REFUSED" in call(known, REFUSED, "ADDRESS_REFUSED", "URL_REFUSED")


@pytest.mark.parametrize("result", [FINE, BROKEN])
def test_a_call_that_has_to_be_refused_fails_otherwise(known: Registry, result: Any) -> None:
    """An answer would mean that the rule is not in force."""
    with pytest.raises(CallFailed):
        call(known, result, "ADDRESS_REFUSED")


@dataclass(frozen=True)
class Offering(Answering):
    """A door that offers tools by these names, none of them with an output schema."""

    names: tuple[str, ...] = ()

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the list of tools."""
        return {"tools": [{"name": name} for name in self.names]}


def behind_the_bridge(known: Registry, *names: str) -> Offering:
    """Return the door of a bridge that offers tools by these names."""
    return Offering(known.services["bridge"], Endpoint("127.0.0.1", 1), FINE, names)


def test_a_tool_of_another_server_is_not_called(known: Registry) -> None:
    """It may delete files. With a file of servers there is one that is the bridge's own."""
    assert "42" in STEPS["tool call"](behind_the_bridge(known, "list_servers"))
    assert "none" in STEPS["tool call"](behind_the_bridge(known, "delete_everything"))


def test_tools_of_another_server_need_no_output_schema(known: Registry) -> None:
    """Most have none; those of this suite have to."""
    assert "1 tools" in STEPS["tools"](behind_the_bridge(known, "echo"))
    with pytest.raises(CallFailed, match="no output schema: list_servers"):
        STEPS["tools"](behind_the_bridge(known, "list_servers"))
