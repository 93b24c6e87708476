"""Writes: shown exactly, confirmed where they need it, sent once, and nothing but the plan."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import BadConfirmation, ConfirmationRequired
from services.github.backend.requests import Request
from services.github.errors import (
    FlowGuard,
    OutcomeUnknown,
    RepositoryNotAllowed,
    WritesOff,
)
from services.github.models.common import Planned, WriteArguments
from services.github.policy.names import Repo
from services.github.tools.desk import Call, Desk
from services.github.writes import Marker, Permit, Plan, mark_of, mutation, url_of
from tests.services.github.fake import HELLO, ME, FakeGitHub, Person, context_of, desk_of

ISSUES = "/repos/octo/hello/issues"
VALUES = {"owner": "octo", "repo": "hello"}
CREATE = Request(
    method="POST",
    route="/repos/{owner}/{repo}/issues",
    values=VALUES,
    body={"title": "t", "body": "It breaks."},
)
DELETE = Request(
    method="DELETE",
    route="/repos/{owner}/{repo}/git/refs/{+ref}",
    values={**VALUES, "ref": "heads/old"},
)
NOW, DRY = WriteArguments(), WriteArguments(dry_run=True)
SECRET = Repo("octo", "secret")


def creating(request: Request = CREATE, **more: Any) -> Plan:
    """Return the plan to create an issue."""
    facts: dict[str, Any] = {"toolset": "issues", "what": "create an issue", "repo": HELLO}
    return Plan(requests=[request], **{**facts, **more})


def deleting() -> Plan:
    """Return the plan to delete a branch."""
    return creating(DELETE, toolset="branches", what="delete the branch old", destructive=True)


def github() -> FakeGitHub:
    """Return a GitHub on which issues can be created and branches deleted."""
    fake = FakeGitHub()
    fake.on("POST", ISSUES, lambda request: {"number": 7, **request.body})
    fake.on("DELETE", "/repos/octo/hello/git/refs/heads/old", {})
    return fake


def call_of(fake: FakeGitHub, person: Person | None = None, **settings: Any) -> Call:
    """Return a call that may write."""
    return desk_of(fake, **settings).call(context_of(person=person))


def again(desk: Desk, name: str = "alice", person: Person | None = None) -> Call:
    """Return another call at the same desk."""
    return desk.call(context_of(name, person=person))


async def planned(call: Call, plan: Plan) -> Planned:
    """Return what a dry run says."""
    found = (await call.write(plan, DRY)).planned
    assert found is not None
    return found


# --- dry runs and tokens -------------------------------------------------------------------------


async def test_a_dry_run_shows_the_exact_request_and_sends_nothing() -> None:
    """Method, address and body, as they would leave."""
    fake = github()
    found = await planned(call_of(fake), creating())
    (shown,) = found.requests
    assert (shown.method, shown.url) == ("POST", f"https://api.github.com{ISSUES}")
    assert shown.body == CREATE.body
    assert found.needs_confirmation == []
    assert fake.sent == []


async def test_a_harmless_write_needs_no_confirmation() -> None:
    """Whoever switched writing on wants issues to be created."""
    fake = github()
    written = await call_of(fake).write(creating(), NOW)
    assert written.data["number"] == 7
    assert written.planned is None


async def test_a_destructive_write_waits_for_its_token() -> None:
    """The error says how to get one; with it, the request of the dry run is sent."""
    fake = github()
    call = call_of(fake)
    with pytest.raises(ConfirmationRequired, match="delete the branch old") as refused:
        await call.write(deleting(), NOW)
    assert "dry_run" in refused.value.hint
    assert fake.paths("DELETE") == []
    found = await planned(call, deleting())
    assert found.needs_confirmation == ["It cannot be taken back."]
    await call.write(deleting(), WriteArguments(confirm=found.confirm))
    assert fake.paths("DELETE") == ["/repos/octo/hello/git/refs/heads/old"]


async def test_a_token_is_for_one_request_of_one_caller_once() -> None:
    """Nothing that differs from what was shown gets through, and nothing twice."""
    fake = github()
    desk = desk_of(fake)
    token = WriteArguments(confirm=(await planned(again(desk), deleting())).confirm)
    other = replace(DELETE, values={**VALUES, "ref": "heads/main"})
    for plan, name in (
        (creating(other, toolset="branches", what=deleting().what), "alice"),
        (creating(replace(DELETE, body={}), what=deleting().what), "alice"),
        (deleting(), "bob"),
    ):
        with pytest.raises(BadConfirmation):
            await again(desk, name).write(plan, token)
    assert fake.paths("DELETE") == []
    await again(desk).write(deleting(), token)
    with pytest.raises(BadConfirmation, match="used already"):
        await again(desk).write(deleting(), token)
    assert len(fake.paths("DELETE")) == 1


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_person_is_asked_where_the_client_can(agrees: bool) -> None:
    """They are shown the request, and only a yes sends it."""
    fake, person = github(), Person(agrees=agrees)
    call = call_of(fake, person)
    if agrees:
        await call.write(deleting(), NOW)
    else:
        with pytest.raises(ConfirmationRequired, match="was not confirmed"):
            await call.write(deleting(), NOW)
    assert len(fake.paths("DELETE")) == agrees
    assert "DELETE https://api.github.com/repos/octo/hello/git/refs/heads/old" in person.asked[0]


async def test_what_may_not_be_written_is_refused_before_anything_else() -> None:
    """Also in a dry run, which would only raise hopes."""
    fake = github()
    with pytest.raises(WritesOff):
        await call_of(fake, write="pulls").write(creating(), DRY)
    with pytest.raises(RepositoryNotAllowed, match="written to"):
        await call_of(fake, write_repositories="octo/other").write(creating(), DRY)
    marker = Marker(newest=nothing)
    with pytest.raises(WritesOff):
        await call_of(fake, write="pulls").write(creating(), NOW, marker)
    assert fake.sent == []


async def test_several_requests_are_shown_together_and_no_others_are_sent() -> None:
    """A tool that needs two gets a permit for these two places."""
    fake = github()
    call = call_of(fake)
    plan = replace(creating(), requests=[CREATE, DELETE])
    shown = await call.permit(plan, DRY)
    assert isinstance(shown, Planned)
    assert [request.method for request in shown.requests] == ["POST", "DELETE"]
    permit = await call.permit(plan, NOW)
    assert isinstance(permit, Permit)
    await permit.send(replace(CREATE, body={"title": "known only now"}))
    for stray in (
        replace(DELETE, values={**VALUES, "ref": "heads/main"}),
        replace(CREATE, method="DELETE"),
        mutation("mutation { x }", {}),
    ):
        with pytest.raises(ValueError, match="not in the plan"):
            await permit.send(stray)
    assert fake.paths("DELETE") == []


async def test_mutations_are_writes_like_others() -> None:
    """They are shown with their variables and sent to the other endpoint."""
    fake = FakeGitHub()
    fake.on("POST", "/graphql", lambda request: {"got": request.body["variables"]})
    request = mutation("mutation($id: ID!) { x(id: $id) { y } }", {"id": "D_1"})
    call = call_of(fake)
    shown = (await planned(call, creating(request))).requests[0]
    assert shown.url == "https://api.github.com/graphql"
    written = await call.write(creating(request), NOW)
    assert written.data == {"got": {"id": "D_1"}}
    enterprise = url_of("https://git.example/api/v3", request)
    assert enterprise == "https://git.example/api/graphql"


# --- the flow guard ------------------------------------------------------------------------------


async def read_both(call: Call) -> None:
    """Read a private repository, and a stranger's text."""
    await call.get("/repos/{owner}/{repo}", repo=SECRET)
    call.heard_in_public("octo/hello")


async def test_a_public_write_after_private_and_strangers_text_needs_a_yes() -> None:
    """The question names both; without somebody to ask, the call is refused."""
    fake = github()
    fake.repository(SECRET, private=True)
    call = call_of(fake)
    await read_both(call)
    with pytest.raises(FlowGuard, match="octo/secret") as refused:
        await call.write(creating(), NOW)
    assert "octo/hello" in refused.value.message
    person = Person(agrees=True)
    await again(call.desk, person=person).write(creating(), NOW)
    assert "octo/secret" in person.asked[0]


async def test_a_token_from_before_the_reading_is_not_enough() -> None:
    """What made the write dangerous was not shown with it."""
    fake = github()
    fake.repository(SECRET, private=True)
    call = call_of(fake)
    early = await planned(call, creating())
    await read_both(call)
    with pytest.raises(BadConfirmation):
        await call.write(creating(), WriteArguments(confirm=early.confirm))
    late = await planned(call, creating())
    assert "octo/secret" in late.needs_confirmation[0]
    call.heard_in_public("octo/another")
    await call.write(creating(), WriteArguments(confirm=late.confirm))
    assert fake.paths("POST") == [ISSUES]


async def test_private_places_and_other_readers_are_not_guarded() -> None:
    """What stays private may be written, and somebody else has read nothing."""
    fake = github()
    fake.repository(SECRET, private=True)
    fake.on("POST", "/repos/octo/secret/issues", {"number": 1})
    call = call_of(fake)
    await read_both(call)
    into = replace(CREATE, values={"owner": "octo", "repo": "secret"})
    await call.write(creating(into, repo=SECRET), NOW)
    await call.write(creating(repo=None, public=False), NOW)
    with pytest.raises(FlowGuard):
        await call.write(creating(repo=None, owner="octo"), NOW)
    await again(call.desk, "bob").write(creating(), NOW)


# --- repetitions ---------------------------------------------------------------------------------


async def nothing() -> Iterable[Mapping[str, Any]]:
    """Find nothing."""
    return []


def finding(*items: Mapping[str, Any]) -> Marker:
    """Return a marker that finds these."""

    async def newest() -> Iterable[Mapping[str, Any]]:
        return items

    return Marker(newest=newest)


async def mark_in(marker: Marker, plan: Plan) -> str:
    """Return the mark that a creation gets."""
    return mark_of(marker.digest(plan.requests[0], "alice"))


def issue(body: str, login: str = ME, age: timedelta = timedelta()) -> dict[str, Any]:
    """Return an issue that somebody created some time ago."""
    created = (datetime.now(UTC) - age).isoformat().replace("+00:00", "Z")
    return {"number": 5, "body": body, "user": {"login": login}, "created_at": created}


async def test_what_is_created_carries_a_mark_that_nobody_sees() -> None:
    """At the end of the text, also in the dry run, which is exact."""
    fake = github()
    call = call_of(fake)
    mark = await mark_in(finding(), creating())
    written = await call.write(creating(), DRY, finding())
    assert written.planned is not None
    assert written.planned.requests[0].body == {"title": "t", "body": f"It breaks.\n\n{mark}"}
    await call.write(creating(), NOW, finding())
    assert fake.sent[-1].body["body"].endswith(mark)
    assert mark_of("0" * 32) == "<!-- mcp-github:" + "0" * 32 + " -->"


async def test_a_mark_goes_into_a_text_that_is_not_there_and_into_variables() -> None:
    """An issue may have no body; mutations have theirs deeper."""
    bare = Marker(newest=nothing).put(replace(CREATE, body={"title": "t"}), "d")
    assert bare.body == {"title": "t", "body": mark_of("d")}
    deep = Marker(newest=nothing, within=("variables", "body"))
    marked = deep.put(mutation("mutation { x }", {"body": "hi"}), "d")
    assert marked.body["variables"] == {"body": f"hi\n\n{mark_of('d')}"}
    assert CREATE.body == {"title": "t", "body": "It breaks."}


async def test_a_repetition_finds_what_is_there_and_sends_nothing() -> None:
    """A model that lost an answer asks again; there is still one issue."""
    fake = github()
    mark = await mark_in(finding(), creating())
    there = issue(f"It breaks.\n\n{mark}")
    written = await call_of(fake).write(creating(), NOW, finding(issue("other"), there))
    assert written.repeated is True
    assert written.data == there
    assert fake.paths("POST") == []


async def test_a_quick_repetition_costs_no_request_at_all() -> None:
    """What this process created itself it remembers."""
    fake = github()
    desk = desk_of(fake)
    first = await again(desk).write(creating(), NOW, finding())
    second = await again(desk).write(creating(), NOW, finding())
    assert (first.repeated, second.repeated) == (False, True)
    assert second.data == first.data
    assert fake.paths("POST") == [ISSUES]


async def test_of_two_equal_calls_at_once_one_is_sent() -> None:
    """They take turns."""
    fake = github()
    desk = desk_of(fake)
    both = await asyncio.gather(*(again(desk).write(creating(), NOW, finding()) for _ in range(2)))
    assert sorted(written.repeated for written in both) == [False, True]
    assert fake.paths("POST") == [ISSUES]


async def test_other_content_another_caller_and_another_key_are_other_creations() -> None:
    """Only what is the same is a repetition."""
    fake = github()
    desk = desk_of(fake)
    await again(desk).write(creating(), NOW, finding())
    for plan, name, key in (
        (creating(replace(CREATE, body={"title": "u", "body": "It breaks."})), "alice", None),
        (creating(), "bob", None),
        (creating(), "alice", "my key"),
    ):
        written = await again(desk, name).write(plan, NOW, replace(finding(), key=key))
        assert written.repeated is False
    assert len(fake.paths("POST")) == 4


async def test_a_key_finds_whatever_its_age_and_content_only_lately() -> None:
    """A "+1" may be said again next week; what has a key is one thing for ever."""
    old = timedelta(days=30)
    mark = await mark_in(finding(), creating())
    written = await call_of(github()).write(creating(), NOW, finding(issue(mark, age=old)))
    assert written.repeated is False
    keyed = replace(finding(), key="my key")
    mark = await mark_in(keyed, creating())
    keyed = replace(finding(issue(mark, age=old)), key="my key")
    changed = creating(replace(CREATE, body={"title": "t", "body": "said better"}))
    assert (await call_of(github()).write(changed, NOW, keyed)).repeated is True


async def test_a_mark_that_somebody_else_copied_counts_for_nothing() -> None:
    """Else a stranger could keep us from writing."""
    mark = await mark_in(finding(), creating())
    written = await call_of(github()).write(creating(), NOW, finding(issue(mark, "eve")))
    assert written.repeated is False


async def test_an_unknown_outcome_says_how_to_go_on() -> None:
    """The same call is safe, because of the mark; it is not remembered as done."""
    fake = github()
    fake.on("POST", ISSUES, OutcomeUnknown("No answer came."))
    call = call_of(fake)
    with pytest.raises(OutcomeUnknown) as unknown:
        await call.write(creating(), NOW, finding())
    assert unknown.value.retryable is False
    assert "same arguments" in unknown.value.hint
    assert mark_of(unknown.value.facts["marker"]) == await mark_in(finding(), creating())
    fake.on("POST", ISSUES, {"number": 8})
    written = await call.write(creating(), NOW, finding())
    assert (written.data["number"], written.repeated) == (8, False)
