"""Whether something happens more or less often than before, told only when counts can tell it.

Two counts of a Poisson process in windows of known lengths are compared by the exact conditional
test: of all events, those of the later window are binomial (Przyborowski and Wilenski, 1940). Logs
come in bursts, so both counts are first divided by the dispersion that the earlier window shows
(variance over mean of its buckets, the quasi-Poisson scale): what was bursty before has to change
by more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["new", "gone", "spike", "drop", "few", "same"]

CERTAIN = 0.001
"""How improbable a spike or drop has to be by chance, after correction for many tests."""

CERTAIN_OF_NONE = 0.02
"""Likewise for what one window lacks altogether; six events in windows of equal length."""

LEAST_FACTOR = 2.0
"""What is certain but smaller than this is no news."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Events in one window.

    Attributes:
        seconds: Its length.
        buckets: The counts of equal parts of it, in order; empty when they are not known.
    """

    count: int
    seconds: float
    buckets: Sequence[int] = ()

    @property
    def per_minute(self) -> float:
        """The rate."""
        return 60 * self.count / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """How the later window differs.

    Attributes:
        kind: `few` is a difference that so few events cannot prove.
        factor: Later rate over earlier rate; None where there was none earlier.
        chance: Probability that equal rates would differ as much, uncorrected.
    """

    kind: Kind
    factor: float | None
    chance: float


def compare(before: Counted, after: Counted, *, tests: int = 1) -> Change:
    """Say how the rate has changed.

    Args:
        tests: How many such comparisons are made at once; the threshold is divided by it
            (Bonferroni), for spikes and drops.
    """
    total = before.count + after.count
    if not total or before.seconds <= 0 or after.seconds <= 0:
        return Change("same", None, 1.0)
    factor = after.per_minute / before.per_minute if before.count else None
    grew = factor is None or factor >= 1
    chance = _chance(before, after, grew=grew)
    return Change(_kind(before.count, after.count, factor, chance, tests), factor, chance)


def _kind(before: int, after: int, factor: float | None, chance: float, tests: int) -> Kind:
    if not before:
        return "new" if chance <= CERTAIN_OF_NONE else "few"
    if not after:
        return "gone" if chance <= CERTAIN_OF_NONE else "few"
    assert factor is not None
    if 1 / LEAST_FACTOR < factor < LEAST_FACTOR:
        return "same"
    if chance > CERTAIN / max(1, tests):
        return "few"
    return "spike" if factor > 1 else "drop"


def _chance(before: Counted, after: Counted, *, grew: bool) -> float:
    """Return the one-sided probability of the conditional test."""
    scale = max(1.0, dispersion(before.buckets))
    earlier, later = round(before.count / scale), round(after.count / scale)
    share = after.seconds / (before.seconds + after.seconds)
    trials = earlier + later
    if grew:
        return upper_tail(later, trials, share)
    return upper_tail(earlier, trials, 1 - share)


def dispersion(buckets: Sequence[int]) -> float:
    """Return variance over mean, 1 for a Poisson process; 1 where it cannot be told."""
    if len(buckets) < 2 or not any(buckets):
        return 1.0
    mean = sum(buckets) / len(buckets)
    return sum((count - mean) ** 2 for count in buckets) / (len(buckets) - 1) / mean


def upper_tail(successes: int, trials: int, share: float) -> float:
    """Return P(X ≥ successes) of a binomial; exact up to 1,000 trials, then by its normal limit."""
    if successes <= 0 or trials <= 0:
        return 1.0
    if trials > 1_000:
        spread = math.sqrt(trials * share * (1 - share))
        return 0.5 * math.erfc((successes - 0.5 - trials * share) / spread / math.sqrt(2))
    log_hit, log_miss = math.log(share), math.log1p(-share)
    terms = (
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * log_hit
        + (trials - k) * log_miss
        for k in range(successes, trials + 1)
    )
    return min(1.0, sum(math.exp(term) for term in terms))


# --- without two windows -------------------------------------------------------------------------


def step_in(counts: Sequence[int]) -> tuple[int, float]:
    """Return the bucket at which a rate most likely changed, and twice the log-likelihood ratio.

    Source: the likelihood ratio of two Poisson rates against one, at every split.
    """
    total = sum(counts)
    if len(counts) < 2 or not total:
        return 0, 0.0
    single = _likelihood(total, len(counts))
    best, place, seen = 0.0, 0, 0
    for split in range(1, len(counts)):
        seen += counts[split - 1]
        rest = total - seen
        both = _likelihood(seen, split) + _likelihood(rest, len(counts) - split)
        if both - single > best:
            best, place = both - single, split
    return place, 2 * best


def _likelihood(events: int, buckets: int) -> float:
    return events * math.log(events / buckets) if events else 0.0
