"""Tokens and answers that let one thing be done: once, soon, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from core.confirmations import Confirmations
from core.context import Caller, Context
from core.errors import BadConfirmation, ConfirmationRequired
from core.questions import Answers

DIGEST = b"delete the branch, alice"


class Person:
    """A channel to somebody who gives one answer to everything.

    Attributes:
        asked: The questions that were seen.
    """

    can_request = True

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer
        self.asked: list[str] = []

    async def notify(self, message: bytes) -> None:
        """Take a notification."""

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        """Answer a question."""
        self.asked.append(params["message"])
        return self._answer

    async def pause(self, retry_ms: int) -> None:
        """Close nothing."""


async def test_a_token_is_accepted_once() -> None:
    """What was confirmed is one run, not a licence."""
    confirmations = Confirmations(60)
    token = await confirmations.make(DIGEST)
    await confirmations.redeem(token, DIGEST)
    with pytest.raises(BadConfirmation, match="used already"):
        await confirmations.redeem(token, DIGEST)


async def test_a_token_is_for_one_thing_of_one_process() -> None:
    """Another digest, another secret and every change of the token are refused."""
    confirmations = Confirmations(60)
    token = await confirmations.make(DIGEST)
    with pytest.raises(BadConfirmation):
        await confirmations.redeem(token, b"delete the branch, bob")
    with pytest.raises(BadConfirmation):
        await Confirmations(60).redeem(token, DIGEST)
    for nonsense in ("", "x", "1.2.3", "ü.ü.ü", "\ud800.x.y", token[:-1], "9" + token):
        with pytest.raises(BadConfirmation):
            await confirmations.redeem(nonsense, DIGEST)
    await confirmations.redeem(token, DIGEST)


async def test_a_token_expires() -> None:
    """On a clock that the test moves."""
    now = [1000.0]
    confirmations = Confirmations(60, clock=lambda: now[0])
    token = await confirmations.make(DIGEST)
    now[0] += 61
    with pytest.raises(BadConfirmation, match="expired"):
        await confirmations.redeem(token, DIGEST)


@pytest.mark.parametrize(
    "answer",
    [{"action": "accept", "content": {"run": False}}, {"action": "decline"}, {"action": "cancel"}],
)
async def test_only_a_clear_yes_confirms(answer: dict[str, Any]) -> None:
    """Everything else is a no, and the model is told not to try again."""
    person = Person(answer)
    caller = Caller(revision="2025-06-18", capabilities={"elicitation": {}}, channel=person)
    with pytest.raises(ConfirmationRequired, match="The merge was not confirmed") as refused:
        await Confirmations(60).ask(Context(caller), "Merge it?", "The merge")
    assert person.asked == ["Merge it?"]
    assert "Do not repeat" in refused.value.hint


async def test_a_yes_that_is_sent_again_is_refused() -> None:
    """In 2026-07-28 answers travel with the call, so a call could be repeated with its yes."""
    confirmations = Confirmations(60)
    caller = Caller(revision="2026-07-28", modern=True, capabilities={"elicitation": {}})
    answers = Answers({"input": {"action": "accept", "content": {"run": True}}}, "asked-once")
    await confirmations.ask(Context(caller, answers=answers), "Merge it?", "The merge")
    with pytest.raises(BadConfirmation, match="answer was used already"):
        await confirmations.ask(Context(caller, answers=answers), "Merge it?", "The merge")
