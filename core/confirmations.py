"""Confirmation of calls that change things: a token from a dry run, or a person's yes.

```
dry_run=true      a token is made for exactly what would be done        make
confirm=TOKEN     it is accepted, once and soon                         redeem
neither           the person behind the client is asked                 ask
```

What would be done is handed over as a digest; whoever computes it puts the caller's name in.
Replicas keep tokens and answers together, so that once is once for all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator

from pydantic import BaseModel, Field

from core.backplane import Backplane
from core.context import Context
from core.errors import (
    BadConfirmation,
    ConfirmationRequired,
    DependencyUnavailable,
    ReplicasUnreachable,
)
from core.protocol.dispatch import STATE_LIFETIME_S

CLAIM_S = 2 * STATE_LIFETIME_S
"""Longer than an answer is accepted, by whatever clock."""


class Agreement(BaseModel):
    """The form of the question."""

    run: bool = Field(description="Do it.")


class Confirmations:
    """Tokens and answers that let one thing be done: once, and soon.

    The secret lives as long as the process, so a restart forgets every token.

    Args:
        lifetime_s: Seconds for which a token is accepted.
        backplane: Of replicas that accept each other's tokens; this process only when not given.
        clock: Seconds, monotonic: a wall clock that jumps there and back would let a token be used
            twice.
    """

    def __init__(
        self,
        lifetime_s: float,
        clock: Callable[[], float] = time.monotonic,
        backplane: Backplane | None = None,
    ) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._used: dict[str, float] = {}
        self._others = backplane if backplane is not None and backplane.replica else None

    async def make(self, digest: bytes) -> str:
        """Return a token for what a digest stands for.

        Raises:
            DependencyUnavailable: The other replicas cannot be told of it.
        """
        if self._others is not None:
            token = secrets.token_urlsafe(24)
            with _reachable():
                await self._others.deposit(_place(token, digest), self._lifetime_s)
            return token
        expires_at = self._clock() + self._lifetime_s
        head = f"{expires_at:.0f}.{secrets.token_hex(8)}"
        return f"{head}.{self._seal(head, digest)}"

    async def redeem(self, token: str, digest: bytes) -> None:
        """Accept a token once.

        Raises:
            BadConfirmation: Of something else, expired, used, or not ours.
            DependencyUnavailable: The other replicas cannot be asked about it.
        """
        if self._others is not None:
            with _reachable():
                if not await self._others.withdraw(_place(token, digest)):
                    raise BadConfirmation(
                        "The token is not for exactly this call, has expired, or was used already."
                    )
            return
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
            DependencyUnavailable: The other replicas cannot be asked whether it was.
        """
        answer = await context.elicit(question, Agreement)
        if answer.action != "accept" or answer.content is None or not answer.content.run:
            raise ConfirmationRequired(
                f"{what} was not confirmed.", hint="Do not repeat it; ask the user what to do."
            )
        if context.asked_id is not None:  # without it, an answer cannot be sent again
            await self._use_answer(context.asked_id)

    async def _use_answer(self, asked_id: str) -> None:
        if self._others is None:
            self._use(asked_id, self._clock() + STATE_LIFETIME_S, "answer")
            return
        with _reachable():
            if not await self._others.claim(f"answer {asked_id}", CLAIM_S):
                raise BadConfirmation("The answer was used already.")

    def _use(self, name: str, until: float, what: str) -> None:
        now = self._clock()
        self._used = {known: last for known, last in self._used.items() if last >= now}
        if name in self._used:
            raise BadConfirmation(f"The {what} was used already.")
        self._used[name] = until

    def _seal(self, head: str, digest: bytes) -> str:
        sealed = hmac.new(self._secret, _bytes(head) + b"\0" + digest, hashlib.sha256)
        return sealed.hexdigest()


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    """Say as a tool does that other replicas cannot be reached."""
    try:
        yield
    except ReplicasUnreachable as error:
        raise DependencyUnavailable(
            "Confirmations are kept together with other replicas, which cannot be reached now.",
            hint="Nothing was done. Try again in a few seconds, beginning with the dry run.",
        ) from error


def _place(token: str, digest: bytes) -> str:
    return f"token {hashlib.sha256(_bytes(token) + bytes(1) + digest).hexdigest()}"


def _bytes(text: str) -> bytes:
    """Return what callers sent as bytes, half characters included."""
    return text.encode("utf-8", "surrogatepass")
