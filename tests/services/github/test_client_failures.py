"""What goes wrong with GitHub and the way to it: told at once, by its name, and never twice."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from core.errors import Busy, ToolError
from services.github.backend.requests import Request
from services.github.errors import (
    AuthRequired,
    BadCredentials,
    BadResponse,
    FeatureDisabled,
    Forbidden,
    GithubConflict,
    GithubDown,
    GithubError,
    GithubTimeout,
    GithubUnreachable,
    MissingScope,
    NotFoundOrNoAccess,
    OutcomeUnknown,
    PrimaryRateLimited,
    RepositoryArchived,
    RepositoryBlocked,
    ResponseTooLarge,
    SecondaryRateLimited,
    SsoRequired,
    ValidationFailed,
)
from tests.services.github.connected import CREATE, REPO, TOKEN, USER, connected, error_of
from tests.services.github.doubles.own import (
    Manner,
    cut_short,
    drip,
    echo_credential,
    endless,
    gibberish,
    hang_up,
    raw,
    refusal,
    reply,
    silence,
    slow_body,
    too_fast,
    unicorn,
    used_up,
    zipped,
)

HOME = "/repos/octo/hello"
SEARCH = Request(route="/search/issues", query={"q": "x"})
NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat at once."""
    monkeypatch.setattr("services.github.backend.client.FIRST_PAUSE_S", 0.001)


# --- what GitHub says -----------------------------------------------------------------------------

NO_SSO = "Resource protected by organization SAML enforcement. You must grant your token access."
REFUSALS: list[tuple[Manner, type[ToolError], dict[str, object]]] = [
    (refusal(401, "Bad credentials"), BadCredentials, {}),
    (refusal(404, "Not Found"), NotFoundOrNoAccess, {}),
    (refusal(403, "Repository was archived so is read-only."), RepositoryArchived, {}),
    (
        refusal(403, NO_SSO, X_GitHub_SSO="required; url=https://github.com/orgs/o/sso?a=b"),
        SsoRequired,
        {"sso_url": "https://github.com/orgs/o/sso?a=b"},
    ),
    (
        refusal(
            403,
            "Resource not accessible by personal access token",
            X_Accepted_GitHub_Permissions="issues=write; pull_requests=write",
        ),
        MissingScope,
        {"needed": ["issues=write", "pull_requests=write"]},
    ),
    (refusal(403, "Resource not accessible by integration"), MissingScope, {"needed": []}),
    (
        refusal(403, "No", X_OAuth_Scopes="gist, read:user", X_Accepted_OAuth_Scopes="repo"),
        MissingScope,
        {"needed": ["repo"], "has": ["gist", "read:user"]},
    ),
    (
        refusal(404, "Not Found", X_OAuth_Scopes="gist, read:user", X_Accepted_OAuth_Scopes="repo"),
        NotFoundOrNoAccess,
        {"needed": ["repo"], "has": ["gist", "read:user"]},
    ),
    (
        refusal(404, "Not Found", X_OAuth_Scopes="repo, gist", X_Accepted_OAuth_Scopes="repo"),
        NotFoundOrNoAccess,
        {},
    ),
    (refusal(403, "Must have admin rights to Repository."), Forbidden, {}),
    (
        reply({"message": "Repository access blocked", "block": {"reason": "dmca"}}, 451),
        RepositoryBlocked,
        {"reason": "dmca"},
    ),
    (
        reply({"message": "Repository access blocked", "block": {"reason": "tos"}}, 403),
        RepositoryBlocked,
        {"reason": "tos"},
    ),
    (refusal(410, "Issues are disabled for this repo"), FeatureDisabled, {}),
    (refusal(409, "Git Repository is empty."), GithubConflict, {"status": 409}),
    (refusal(405, "Pull Request is not mergeable"), GithubConflict, {"status": 405}),
    (refusal(409, "README.md does not match abc"), GithubConflict, {}),
    (refusal(422, "Reference already exists"), GithubConflict, {}),
    (refusal(422, "Update is not a fast forward"), GithubConflict, {}),
    (
        reply(
            {
                "message": "Validation Failed",
                "errors": [{"resource": "Issue", "field": "title", "code": "missing_field"}],
            },
            422,
        ),
        ValidationFailed,
        {"fields": [{"resource": "Issue", "field": "title", "code": "missing_field"}]},
    ),
    (
        reply({"message": "Validation Failed", "errors": ["too long"]}, 422),
        ValidationFailed,
        {"fields": [{"message": "too long"}]},
    ),
    (
        reply({"message": "Validation Failed", "errors": "a sentence"}, 422),
        ValidationFailed,
        {"fields": [{"message": "a sentence"}]},
    ),
    (
        reply({"message": "This API returns blobs …", "errors": [{"code": "too_large"}]}, 403),
        ResponseTooLarge,
        {},
    ),
    (refusal(400, "Problems parsing JSON"), GithubError, {"status": 400}),
    (used_up(1_800_000_060), PrimaryRateLimited, {"resource": "core", "retry_after_s": 61}),
    (used_up(1_800_000_060, status=429), PrimaryRateLimited, {"reset_at": "2027-01-15T08:01:00Z"}),
    (too_fast(30), SecondaryRateLimited, {"retry_after_s": 30}),
    (too_fast(30, status=429), SecondaryRateLimited, {"retry_after_s": 30}),
    (refusal(422, "The request was submitted too quickly"), SecondaryRateLimited, {}),
    (raw(b"", 403), Forbidden, {}),
    (raw(b"<html>no</html>", 403, Content_Type="text/html"), BadResponse, {"status": 403}),
    (raw(b"[1]", 404), BadResponse, {"status": 404}),
    (reply({"message": ["odd"], "errors": {"odd": 1}, "block": 3}, 403), RepositoryBlocked, {}),
    (unicorn(503), GithubDown, {"status": 503}),
    (reply({}, 300), BadResponse, {}),
]


@pytest.mark.parametrize(("manner", "expected", "facts"), REFUSALS)
async def test_each_refusal_of_github_has_its_own_error(
    manner: Manner, expected: type[ToolError], facts: dict[str, object]
) -> None:
    """With what was asked, GitHub's own words, and the facts that help."""
    async with connected(clock=lambda: NOW) as (double, client):
        double.on("GET", HOME, manner)
        error = await error_of(expected, client.send(REPO, owner="octo"))
    assert f"GET {HOME}" in error.message
    assert error.hint
    assert {**error.facts, **facts} == error.facts


@pytest.mark.parametrize("status", [401, 403])
async def test_without_a_credential_the_error_says_which_one_is_wanted(status: int) -> None:
    """Rather than that something is forbidden."""
    async with connected(token=None) as (double, client):
        double.on("GET", "/user", refusal(status, "Requires authentication"))
        error = await error_of(AuthRequired, client.send(USER, owner=None))
        missing = await error_of(NotFoundOrNoAccess, client.send(REPO, owner="octo"))
    assert "GITHUB_TOKEN" in error.hint
    assert "GITHUB_TOKEN" in missing.hint


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_credential_that_is_echoed_is_not_passed_on(status: int) -> None:
    """Neither in the message nor in a fact nor in the representation."""
    async with connected() as (double, client):
        double.on("GET", HOME, echo_credential(status))
        with pytest.raises(ToolError) as caught:
            await client.send(REPO, owner="octo")
        health = await client.component()
    shown = f"{caught.value!r} {caught.value.to_dict()} {caught.value.args} {health} {client!r}"
    assert TOKEN not in shown
    assert "[redacted]" in caught.value.message


async def test_what_looks_like_a_token_is_not_passed_on_either() -> None:
    """A refusal may name a token that this service does not know."""
    other = "ghp_" + "a1" * 18
    async with connected() as (double, client):
        double.on("GET", HOME, refusal(422, f"Use of {other} is forbidden\nX\x1b[31m"))
        error = await error_of(ValidationFailed, client.send(REPO, owner="octo"))
    assert other not in str(error.to_dict())
    assert error.message.isprintable()


async def test_a_long_message_is_cut() -> None:
    """An error is read by a model, too."""
    async with connected() as (double, client):
        double.on("GET", HOME, refusal(400, "x" * 100_000))
        error = await error_of(GithubError, client.send(REPO, owner="octo"))
    assert len(error.message) < 700


# --- limits ---------------------------------------------------------------------------------------


async def test_a_used_up_quota_refuses_the_next_call_without_a_request() -> None:
    """Until the reset; other quotas, other credentials and /rate_limit are not concerned."""
    now = [NOW]
    tokens = "other=another-token-of-the-tests"
    async with connected(clock=lambda: now[0], tokens=tokens) as (double, client):
        double.on("GET", HOME, used_up(int(NOW) + 100), reply({}))
        double.on("GET", "/search/issues", reply({}, X_RateLimit_Resource="search"))
        double.on("GET", "/rate_limit", reply({}))
        await error_of(PrimaryRateLimited, client.send(REPO, owner="octo"))
        error = await error_of(PrimaryRateLimited, client.send(REPO, owner="octo"))
        assert len(double.asked) == 1
        assert error.facts["retry_after_s"] == 101
        await client.send(SEARCH, owner=None)
        await client.send(Request(route="/rate_limit"), owner=None)
        await client.send(REPO, owner="other")
        now[0] += 101
        await client.send(REPO, owner="octo")
    assert len(double.asked) == 5


async def test_the_last_request_of_a_quota_is_remembered_too() -> None:
    """It succeeded, and the next one would not."""
    async with connected(clock=lambda: NOW) as (double, client):
        reset = str(int(NOW) + 60)
        double.on("GET", HOME, reply({}, X_RateLimit_Remaining="0", X_RateLimit_Reset=reset))
        await client.send(REPO, owner="octo")
        await error_of(PrimaryRateLimited, client.send(REPO, owner="octo"))
    assert len(double.asked) == 1


async def test_quotas_that_nobody_knows_fill_no_memory() -> None:
    """Whatever a server calls them."""
    async with connected(clock=lambda: NOW) as (double, client):
        named = [reply({}, X_RateLimit_Resource=f"quota{number}") for number in range(300)]
        double.on("GET", HOME, *named)
        for _ in named:
            await client.send(REPO, owner="octo")
        health = await client.component()
    assert len(health.facts["credentials"][0]["quotas"]) == 200


async def test_a_wrong_clock_does_not_shut_the_service_for_days() -> None:
    """No quota lasts longer than an hour."""
    now = [NOW]
    async with connected(clock=lambda: now[0]) as (double, client):
        double.on("GET", HOME, used_up(int(NOW) + 1_000_000), reply({}))
        await error_of(PrimaryRateLimited, client.send(REPO, owner="octo"))
        now[0] += 3_601
        await client.send(REPO, owner="octo")


async def test_the_secondary_limit_silences_everything_for_its_time() -> None:
    """GitHub blocks those who go on."""
    now = [NOW]
    async with connected(clock=lambda: now[0]) as (double, client):
        double.on("GET", HOME, too_fast(30))
        double.on("GET", "/search/issues", reply({}))
        await error_of(SecondaryRateLimited, client.send(REPO, owner="octo"))
        error = await error_of(SecondaryRateLimited, client.send(SEARCH, owner=None))
        assert len(double.asked) == 1
        assert 29 <= error.facts["retry_after_s"] <= 31
        now[0] += 31
        await client.send(SEARCH, owner=None)


# --- repeating ------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", [unicorn(500), unicorn(502), unicorn(503), hang_up, cut_short])
async def test_reading_is_tried_again_when_github_fails(manner: Manner) -> None:
    """Twice; then it works, or the error is told."""
    async with connected() as (double, client):
        double.on("GET", "/user", manner, manner, reply({"a": 1}))
        assert (await client.send(USER, owner=None)).data == {"a": 1}
        double.on("GET", "/user", manner)
        with pytest.raises((GithubDown, GithubUnreachable)) as caught:
            await client.send(USER, owner=None)
    assert caught.value.retryable
    assert len(double.asked) == 6


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("manner", [unicorn(502), unicorn(500), hang_up, cut_short, gibberish])
async def test_a_write_is_sent_once_and_its_outcome_said_to_be_unknown(
    method: str, manner: Manner
) -> None:
    """GitHub may have carried it out before it failed."""
    request = Request(method=method, route="/x", body={"a": 1})
    async with connected() as (double, client):
        double.on(method, "/x", manner)
        error = await error_of(OutcomeUnknown, client.send(request, owner=None))
    assert len(double.asked) == 1
    assert not error.retryable
    assert error.code == "OUTCOME_UNKNOWN"


async def test_a_write_that_was_never_sent_says_so() -> None:
    """Nobody listens: nothing happened, and trying again is safe."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with connected(api_url=address) as (_, client):
            error = await error_of(GithubUnreachable, client.send(CREATE, owner="octo"))
            health = await client.component()
    assert error.retryable
    assert "127.0.0.1" not in str(error.to_dict())
    assert health.status == "degraded"


async def test_a_refusal_is_not_tried_again() -> None:
    """It would be the same."""
    async with connected() as (double, client):
        double.on("GET", "/user", refusal(403, "no"))
        await error_of(Forbidden, client.send(USER, owner=None))
    assert len(double.asked) == 1


async def test_gibberish_is_no_answer() -> None:
    """Something else listens there."""
    async with connected() as (double, client):
        double.on("GET", "/user", gibberish)
        await error_of(GithubUnreachable, client.send(USER, owner=None))


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", [silence, drip, slow_body])
async def test_a_server_that_hangs_is_left_at_the_deadline(manner: Manner) -> None:
    """However it hangs; the connection is closed and the one worker takes the next request."""
    async with connected(workers=1) as (double, client):
        double.on("GET", "/user", manner)
        double.on("GET", HOME, reply({}))
        loop = asyncio.get_running_loop()
        began = loop.time()
        error = await error_of(GithubTimeout, client.send(USER, owner=None, timeout_s=0.3))
        assert loop.time() - began < 3
        await client.send(REPO, owner="octo", timeout_s=5)
        await double.wait_for_ends(1)
    assert error.retryable


@pytest.mark.parametrize("manner", [silence, drip, slow_body, endless()])
async def test_a_cancelled_call_gives_its_place_back(manner: Manner) -> None:
    """Its thread does not read on for a caller who has gone."""
    async with connected(workers=1, max_response_bytes=2**40) as (double, client):
        double.on("GET", "/user", manner)
        double.on("GET", HOME, reply({}))
        call = asyncio.create_task(client.send(USER, owner=None))
        await double.wait_for(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await client.send(REPO, owner="octo", timeout_s=5)
        await double.wait_for_ends(1)


async def test_a_write_that_is_not_answered_in_time_has_an_unknown_outcome() -> None:
    """Not a timeout that looks as if nothing had happened."""
    async with connected() as (double, client):
        double.on("POST", f"{HOME}/issues", silence)
        call = client.send(CREATE, owner="octo", timeout_s=0.3)
        await error_of(OutcomeUnknown, call)
    assert len(double.asked) == 1


async def test_a_call_that_finds_no_free_worker_has_sent_nothing() -> None:
    """So a write may be tried again."""
    async with connected(workers=1) as (double, client):
        double.on("GET", "/user", silence)
        first = asyncio.create_task(client.send(USER, owner=None))
        await double.wait_for(1)
        error = await error_of(Busy, client.send(CREATE, owner="octo", timeout_s=0.2))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert error.retryable
    assert len(double.asked) == 1


async def test_a_write_whose_turn_comes_too_late_is_not_sent() -> None:
    """The distance between writes would take it past its deadline."""
    async with connected(write_interval_s=5) as (double, client):
        double.on("POST", f"{HOME}/issues", reply({}, 201))
        await client.send(CREATE, owner="octo")
        error = await error_of(Busy, client.send(CREATE, owner="octo", timeout_s=1))
    assert error.retryable
    assert len(double.asked) == 1


async def test_repeating_ends_with_the_deadline() -> None:
    """The last error is told rather than the time being over."""
    async with connected(retries=5) as (double, client):
        client_pause = 0.2
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("services.github.backend.client.FIRST_PAUSE_S", client_pause)
            double.on("GET", "/user", unicorn(502))
            await error_of(GithubDown, client.send(USER, owner=None, timeout_s=0.5))
    assert len(double.asked) == 2


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a socket that nobody accepts from: its queue is full, so connecting hangs."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_connecting_takes_no_longer_than_its_limit(deaf: str) -> None:
    """Though the call has time; three tries were made, and nothing was sent."""
    loop = asyncio.get_running_loop()
    async with connected(api_url=deaf, connect_timeout_s=0.1) as (_, client):
        began = loop.time()
        await error_of(GithubUnreachable, client.send(USER, owner=None))
        assert 0.25 < loop.time() - began < 3
        error = await error_of(GithubUnreachable, client.send(CREATE, owner="octo"))
    assert error.retryable


async def test_connecting_ends_with_the_call(deaf: str) -> None:
    """The one worker is free again, for another call that also has no more time than it has."""
    loop = asyncio.get_running_loop()
    async with connected(api_url=deaf, connect_timeout_s=30, workers=1) as (_, client):
        began = loop.time()
        for _ in range(3):
            with pytest.raises((GithubTimeout, GithubUnreachable)):
                await client.send(USER, owner=None, timeout_s=0.2)
        assert loop.time() - began < 5


# --- size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 403, 404, 422])
async def test_an_answer_without_end_is_left(status: int) -> None:
    """Refusals too; the connection is not used again."""
    async with connected(max_response_bytes=100_000) as (double, client):
        double.on("GET", "/user", endless(status))
        error = await error_of(ResponseTooLarge, client.send(USER, owner=None))
        await double.wait_for_ends(1)
    assert error.facts["limit_bytes"] == 100_000


async def test_a_bomb_is_not_unpacked() -> None:
    """100 MB of nothing are 100 kB on the wire."""
    async with connected(max_response_bytes=100_000) as (double, client):
        double.on("GET", "/user", zipped(b" " * 100_000_000))
        await error_of(ResponseTooLarge, client.send(USER, owner=None))


async def test_an_answer_of_just_the_limit_is_read() -> None:
    """One byte more is not."""
    async with connected(max_response_bytes=5_000) as (double, client):
        double.on("GET", "/user", reply("x" * 4_998), reply("x" * 4_999))
        assert len((await client.send(USER, owner=None)).data) == 4_998
        await error_of(ResponseTooLarge, client.send(USER, owner=None))


# --- what is left ---------------------------------------------------------------------------------


async def test_no_thread_or_connection_is_left_behind() -> None:
    """After everything that can go wrong has gone wrong; a warning of a socket fails the test."""
    async with connected() as (double, client):
        for manner in (silence, drip, hang_up, cut_short, gibberish, endless(), unicorn(502)):
            double.on("GET", "/user", manner)
            with pytest.raises(ToolError):
                await client.send(USER, owner=None, timeout_s=0.1)
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("github"):
            await asyncio.to_thread(thread.join, 2)
    assert not [t for t in threading.enumerate() if t.name.startswith("github")]


async def test_health_tells_how_the_last_request_went() -> None:
    """Without sending one; a refusal is an answer, and well."""
    async with connected(tokens="acme=one-more-token-of-the-tests") as (double, client):
        fresh = await client.component()
        double.on("GET", "/user", reply({}), unicorn(502))
        await client.send(USER, owner=None)
        well = await client.component()
        await error_of(NotFoundOrNoAccess, client.send(REPO, owner="octo"))
        refused = await client.component()
        await error_of(GithubDown, client.send(USER, owner=None))
        down = await client.component()
    assert [c.status for c in (fresh, well, refused, down)] == ["up", "up", "up", "degraded"]
    assert fresh.facts["last_outcome"] is None
    assert refused.facts["last_outcome"] == "NOT_FOUND_OR_NO_ACCESS"
    assert down.facts["last_outcome"] == "GITHUB_DOWN"
    owner, general = well.facts["credentials"]
    assert (owner["name"], owner["kind"], owner["quotas"]) == ("token:acme", "token", [])
    assert general["quotas"][0]["remaining"] == 4987
    assert "token-of-the-tests" not in str(down.to_dict())
