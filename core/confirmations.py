"""Confirmation of calls that change things: a token from a dry run, or a person's yes.

```
dry_run=true      a token is made for exactly what would be done        make
confirm=TOKEN     it is accepted, once and soon                         redeem
neither           the person behind the client is asked                 ask
```

What would be done is handed over as a digest; whoever computes it puts the caller's name in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from pydantic import BaseModel, Field

from core.context import Context
from core.errors import BadConfirmation, ConfirmationRequired
from core.protocol.dispatch import STATE_LIFETIME_S


class Agreement(BaseModel):
    """The form of the question."""

    run: bool = Field(description="Do it.")


class Confirmations:
    """Tokens and answers that let one thing be done: once, and soon.

    The secret lives as long as the process, so a restart forgets every token.

    Args:
        lifetime_s: Seconds for which a token is accepted.
        clock: Seconds, monotonic: a wall clock that jumps there and back would let a token be used
            twice.
    """

    def __init__(self, lifetime_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._used: dict[str, float] = {}

    def make(self, digest: bytes) -> str:
        """Return a token for what a digest stands for."""
        expires_at = self._clock() + self._lifetime_s
        head = f"{expires_at:.0f}.{secrets.token_hex(8)}"
        return f"{head}.{self._seal(head, digest)}"

    def redeem(self, token: str, digest: bytes) -> None:
        """Accept a token once.

        Raises:
            BadConfirmation: Of something else, expired, used, or not ours.
        """
        head, _, seal = token.rpartition(".")
        if not hmac.compare_digest(_bytes(seal), self._seal(head, digest).encode()):
            raise BadConfirmation("The token is not for exactly this call.")
        expires_at = float(head.partition(".")[0])
        if expires_at < self._clock():
            raise BadConfirmation("The token has expired.")
        self._use(head, expires_at, "token")

    async def ask(self, context: Context, question: str, what: str) -> None:
        """Ask the person behind the client; return when they say yes.

        Args:
            what: Named in the refusal, such as "The UPDATE".

        Raises:
            ConfirmationRequired: They said no.
            BadConfirmation: The same answer was used already.
        """
        answer = await context.elicit(question, Agreement)
        if answer.action != "accept" or answer.content is None or not answer.content.run:
            raise ConfirmationRequired(
                f"{what} was not confirmed.", hint="Do not repeat it; ask the user what to do."
            )
        if context.asked_id is not None:  # without it, an answer cannot be sent again
            self._use(context.asked_id, self._clock() + STATE_LIFETIME_S, "answer")

    def _use(self, name: str, until: float, what: str) -> None:
        now = self._clock()
        self._used = {known: last for known, last in self._used.items() if last >= now}
        if name in self._used:
            raise BadConfirmation(f"The {what} was used already.")
        self._used[name] = until

    def _seal(self, head: str, digest: bytes) -> str:
        sealed = hmac.new(self._secret, _bytes(head) + b"\0" + digest, hashlib.sha256)
        return sealed.hexdigest()


def _bytes(text: str) -> bytes:
    """Return what callers sent as bytes, half characters included."""
    return text.encode("utf-8", "surrogatepass")
