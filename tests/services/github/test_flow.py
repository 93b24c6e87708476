"""The flow guard remembers what was read, for whom, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.github.policy.flow import MAX_SOURCES, FlowGuard, Seen, reader_of
from tests.services.github.fake import context_of, moving

ALICE = ("alice", "")
HOUR_S = 3_600.0

readers = st.tuples(st.sampled_from(["alice", "bob"]), st.sampled_from(["", "s1", "s2"]))
steps = st.lists(
    st.tuples(
        readers,
        st.sampled_from(["untrusted", "private"]),
        st.sampled_from(["octo/a", "octo/b", "octo/c"]),
        st.floats(0, 2 * HOUR_S),
    ),
    max_size=30,
)


def guard(clock: object = None) -> FlowGuard:
    """Return a guard that remembers for an hour."""
    _, standing = moving()
    return FlowGuard(on=True, lifetime_s=HOUR_S, clock=clock or standing)  # type: ignore[arg-type]


def test_either_kind_alone_is_harmless() -> None:
    """What is private cannot leave by a stranger's word that nobody read, nor the other way."""
    flow = guard()
    flow.read_private(ALICE, "octo/secret")
    assert not flow.seen(ALICE).meets
    other = guard()
    other.read_untrusted(ALICE, "octo/public")
    assert not other.seen(ALICE).meets


def test_both_meet_in_either_order_and_are_named() -> None:
    """The person who is asked has to know what it is about."""
    for first, second in (("untrusted", "private"), ("private", "untrusted")):
        flow = guard()
        for kind in (first, second):
            getattr(flow, f"read_{kind}")(ALICE, f"octo/{kind}")
        seen = flow.seen(ALICE)
        assert seen.meets
        assert "octo/untrusted" in seen.sentence()
        assert "octo/private" in seen.sentence()


def test_sessions_of_one_principal_are_kept_apart() -> None:
    """A session is a conversation; what one read, the model of another has not."""
    flow = guard()
    one, other = reader_of(context_of(session="1")), reader_of(context_of(session="2"))
    flow.read_private(one, "octo/secret")
    flow.read_untrusted(other, "octo/public")
    assert not flow.seen(one).meets
    assert not flow.seen(other).meets


def test_many_sources_are_counted_and_cost_no_more_room() -> None:
    """Names are bounded, the fact is not lost."""
    flow = guard()
    flow.read_private(ALICE, "octo/secret")
    for number in range(MAX_SOURCES * 3):
        flow.read_untrusted(ALICE, f"octo/public{number}")
    seen = flow.seen(ALICE)
    assert seen.meets
    assert len(seen.untrusted) == MAX_SOURCES
    assert "and 45 more" in seen.sentence()


def test_a_guard_that_is_off_remembers_nothing() -> None:
    """The operator decides."""
    flow = FlowGuard(on=False, lifetime_s=HOUR_S)
    flow.read_private(ALICE, "octo/secret")
    flow.read_untrusted(ALICE, "octo/public")
    assert flow.seen(ALICE) == Seen()


@given(steps)
def test_what_is_seen_is_what_was_read_within_the_hour(
    taken: list[tuple[tuple[str, str], str, str, float]],
) -> None:
    """Against a model that keeps everything: no reader sees another's, nothing is forgotten early.

    A source counts from when it was read last, for exactly the guard's lifetime.
    """
    now, clock = moving()
    flow = guard(clock)
    kept: dict[tuple[tuple[str, str], str, str], float] = {}
    for reader, kind, source, waited in taken:
        now[0] += waited
        getattr(flow, f"read_{kind}")(reader, source)
        kept[reader, kind, source] = now[0]
        for who in {reader for reader, *_ in kept}:
            seen = flow.seen(who)
            for name, found in (("untrusted", seen.untrusted), ("private", seen.private)):
                expected = {
                    place
                    for (owner, sort, place), at in kept.items()
                    if owner == who and sort == name and at + HOUR_S >= now[0]
                }
                assert set(found) == expected
            assert seen.meets == bool(seen.untrusted and seen.private)
