"""The keys file: what is taken from it, and what happens while it changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.context import Allowance
from core.errors import Unauthorized
from core.grants import Grant
from core.observability.health import Component
from core.security.auth import ByKey, authenticator_for, presented_key
from core.security.keys import KeysFile, hash_of, is_name, new_key, parse, ring_of
from core.settings import Settings, SettingsError
from core.transports.http import HTTPRequest
from tests.servers.demo import create_server
from tests.servers.key_files import CREATED, key_of, row, write_keys
from tests.wire.harness import BOTH, Wire

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
NEW_YEAR = 1_798_761_600.0
"""2027-01-01 in seconds since the epoch."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what happens once a second or two happen at each tick."""
    monkeypatch.setattr("core.security.keys.CHECK_INTERVAL_S", 0.0)
    monkeypatch.setattr("core.mcp_sse.RECHECK_INTERVAL_S", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the keys file is."""
    return write_keys(tmp_path / "keys.json", row("alice"), row("bob"))


def with_file(path: Path, **auth: Any) -> dict[str, Any]:
    """Return settings with a keys file; wrong keys are refused as often as they come."""
    return {"auth": {"keys_file": path, **auth}, "rate_limit": {"failures_per_minute": 0}}


def headers(name: str, **more: str) -> dict[str, str]:
    """Return headers with the key of a name."""
    return {"authorization": f"Bearer {key_of(name)}", "accept": BOTH, **more}


async def status(wire: Wire, name: str) -> int:
    """Return the status that a name's key gets."""
    return (await wire.ask("POST", "/rpc", json_=PING, headers=headers(name))).status


async def authentication(wire: Wire) -> str:
    """Return what /health says of it."""
    wire.server.health.add("probe", _well)  # forgets what was said in the last second
    body = (await wire.ask("GET", "/health")).json
    return str(body["components"]["authentication"]["status"])


async def _well() -> Component:
    return Component("up")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    for _ in range(500):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to that")


# --- what a file may say -------------------------------------------------------------------------


def test_a_row_says_who_calls_what_for_and_how_often() -> None:
    """Each member has its place in the principal; the name is what logs and limits show."""
    limits: dict[str, Any] = {"calls_per_minute": 30, "burst": 5, "calls_per_day": 1000}
    told = row("alice", scopes=["postgres", "github:get_*"], read_only=True, **limits)
    (key,) = parse(json.dumps({"version": 1, "keys": [told]}).encode()).keys
    assert key.principal.name == "alice"
    assert key.principal.authenticated
    assert key.principal.grant == Grant(("postgres", "github:get_*"), read_only=True)
    assert key.principal.allowance == Allowance(30, 5, 1000)


def test_a_star_is_everything_and_no_limit_is_none() -> None:
    """The plainest key is as free as the one of the settings."""
    told = row("alice", scopes=["postgres", "*"])
    (key,) = parse(json.dumps({"version": 1, "keys": [told]}).encode()).keys
    assert key.principal.grant.is_everything
    assert key.principal.allowance is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Invalid JSON"),
        ("[]", "object"),
        ("{}", "version: Field required"),
        ({"version": 2, "keys": []}, "version: Input should be 1"),
        ({"version": 1, "keys": [], "key": []}, "key: no such member. Did you mean 'keys'?"),
        ([row("a", scops=["*"])], "keys.0.scops: no such member. Did you mean 'scopes'?"),
        (
            [row("a", previous={"hash": hash_of("b"), "expires": CREATED, "expire": 1})],
            "keys.0.previous.expire: no such member. Did you mean 'expires'?",
        ),
        ([row("a"), row("a", key_of("b"))], "two keys of the name 'a'"),
        ([row("a"), row("b", key_of("a"))], "two keys have the same hash"),
        (
            [row("a"), row("b", previous={"hash": hash_of(key_of("a")), "expires": CREATED})],
            "two keys have the same hash",
        ),
        ([row("a", scopes=[])], "keys.0.scopes: Tuple should have at least 1 item"),
        ([row("a", scopes="*")], "keys.0.scopes: Input should be a valid array"),
        ([row("a", scopes=["Postgres"])], "'Postgres' is not a scope"),
        ([row("a", scopes=["github:get *"])], "'github:get *' is not a scope"),
        ([row("a", scopes=[""])], "'' is not a scope"),
        ([row("")], "'' cannot be a key's name"),
        ([row("a b")], "'a b' cannot be a key's name"),
        ([row("sub@issuer")], "'sub@issuer' cannot be a key's name"),
        ([row("api-key")], "'api-key' cannot be a key's name"),
        ([row("anonymous")], "'anonymous' cannot be a key's name"),
        ([row("x" * 65)], "cannot be a key's name"),
        ([{**row("a"), "hash": "sha256:AB"}], "keys.0.hash: String should match pattern"),
        ([{**row("a"), "hash": hash_of("x").upper()}], "keys.0.hash: String should match pattern"),
        ([row("a", "")], "keys.0.hash: it is the hash of an empty text"),
        (
            [row("a", previous={"hash": hash_of(""), "expires": CREATED})],
            "keys.0.previous.hash: it is the hash of an empty text",
        ),
        ([row("a", calls_per_minute=10**10)], "keys.0.calls_per_minute: Input should be less"),
        ([row("a", burst=10**10)], "keys.0.burst: Input should be less"),
        ([row("a", calls_per_day=10**10)], "keys.0.calls_per_day: Input should be less"),
        (json.dumps({"version": 1, "keys": [row("a", calls_per_minute=1e999)]}), "per_minute"),
        ([row("a", expires="2027-01-01")], "keys.0.expires"),
        ([row("a", expires="2027-01-01T00:00:00")], "keys.0.expires: Input should have timezone"),
        ([row("a", expires=1)], "keys.0.expires"),
        ([row("a", read_only="yes")], "keys.0.read_only: Input should be a valid boolean"),
        ([row("a", read_only=1)], "keys.0.read_only: Input should be a valid boolean"),
        ([row("a", burst=0)], "keys.0.burst: Input should be greater than or equal to 1"),
        ([row("a", burst=True)], "keys.0.burst"),
        ([row("a", calls_per_minute=0)], "keys.0.calls_per_minute: Input should be greater than 0"),
        ([row("a", calls_per_day=-1)], "keys.0.calls_per_day"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(content: Any, said: str) -> None:
    """Where, which rule, and the nearest name; a hash is never repeated."""
    if isinstance(content, list):
        content = {"version": 1, "keys": content}
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        parse(text.encode())
    assert hash_of(key_of("a"))[7:] not in str(caught.value)


@given(st.binary(max_size=300))
@example(b'{"version": 1, "keys": [' + b"[" * 5000)
@example(json.dumps({"version": 1, "keys": [{**row("a"), "name": "\ud800"}]}).encode())
def test_no_content_does_more_harm_than_a_refusal(content: bytes) -> None:
    """Whatever stands in the file, one kind of error says that it is wrong."""
    with contextlib.suppress(ValueError):
        parse(content)


@given(st.text(max_size=80))
def test_names_fit_into_logs_and_are_never_those_of_tokens(name: str) -> None:
    """A token's principal has an @; a name has no sign that a log or a table would stumble over."""
    if is_name(name):
        assert name.isascii()
        assert not set(name) & set("@ \t\n\"'/\\:")


def test_new_keys_are_256_random_bits() -> None:
    """The prefix lets scanners for secrets find a leaked one; no two are the same."""
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("mcp_") and len(key) == 47 for key in made)


# --- who may read it -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_file_for_its_owner_and_readers_of_a_group_is_taken(tmp_path: Path, mode: int) -> None:
    """A container's user reads it as a member of a group."""
    path = write_keys(tmp_path / "keys.json", row("alice"), mode=mode)
    assert len(KeysFile(path).ring) == 1


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o620, 0o604, 0o602, 0o601, 0o666])
def test_a_file_that_is_open_to_others_keeps_the_server_from_starting(
    tmp_path: Path, mode: int
) -> None:
    """Whoever could write it could let himself in; the message has the command that mends it."""
    path = write_keys(tmp_path / "keys.json", row("alice"), mode=mode)
    settings = Settings.from_dict({"auth": {"keys_file": path}, "server": {"state_dir": tmp_path}})
    with pytest.raises(SettingsError, match=f"chmod 600 {path}"):
        create_server(settings)


@pytest.mark.parametrize("content", [None, "{", '{"version": 1, "keys": [{}]}'])
def test_a_missing_or_wrong_file_keeps_the_server_from_starting(
    tmp_path: Path, content: str | None
) -> None:
    """Nothing is known yet that could stay in force; an open door is no answer."""
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    with pytest.raises(SettingsError, match=r"auth\.keys_file: .*keys\.json"):
        authenticator_for(Settings.from_dict({"auth": {"keys_file": path}}))


# --- who is let in -------------------------------------------------------------------------------


async def test_each_key_is_its_name_in_each_form(path: Path) -> None:
    """Two callers of one server are two principals; the key of the settings works beside them."""
    async with Wire(settings=with_file(path, api_key="k" * 20)) as wire:
        assert await status(wire, "alice") == 200
        assert await status(wire, "bob") == 200
        for form in (
            {"x-api-key": key_of("bob")},
            {"authorization": f"ApiKey {key_of('bob')}"},
            {"authorization": f"Bearer {'k' * 20}"},
        ):
            assert (await wire.ask("POST", "/rpc", json_=PING, headers=form)).status == 200


async def test_a_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    """Revoking the last key closes the door; it does not open it."""
    path = write_keys(tmp_path / "keys.json")
    async with Wire(settings=with_file(path)) as wire:
        assert (await wire.ask("POST", "/rpc", json_=PING)).status == 401
        assert await status(wire, "alice") == 401
        wire.server.check_address()


async def test_a_thousand_wrong_keys_do_no_harm(path: Path) -> None:
    """They are refused, and nothing of them is kept; the right one still works."""
    async with Wire(settings=with_file(path)) as wire:
        for number in range(1000):
            assert await status(wire, f"guess{number}") == 401
        assert await status(wire, "alice") == 200


async def test_the_hash_of_a_key_is_no_key(path: Path) -> None:
    """Who has read the file has not got in."""
    async with Wire(settings=with_file(path)) as wire:
        stolen = hash_of(key_of("alice"))
        for text in (stolen, stolen.removeprefix("sha256:")):
            answer = await wire.ask("POST", "/rpc", json_=PING, headers={"x-api-key": text})
            assert answer.status == 401


async def test_an_empty_credential_is_none() -> None:
    """Whatever hash is known: `X-API-Key:` of a variable that was not set is nobody's key."""
    assert await who(ByKey(""), "") == "missing"
    assert await who(ByKey(""), "  ") == "missing"
    blanks = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"authorization", b"Bearer   ")],
    }
    assert presented_key(HTTPRequest(blanks, _nothing, _nothing)) is None


async def _nothing(*_: Any) -> Any:
    raise AssertionError


async def who(keys: ByKey, key: str) -> str:
    """Return the name behind a key, or why there is none."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"x-api-key", key.encode())],
    }

    try:
        return (await keys.authenticate(HTTPRequest(scope, _nothing, _nothing))).name
    except Unauthorized as error:
        return str(error.facts["reason"])


async def test_a_key_ends_at_its_moment_and_stays_ended(tmp_path: Path) -> None:
    """A clock that goes back does not bring it back; a new end in the file does."""
    path = write_keys(tmp_path / "k", row("alice", expires="2027-01-01T00:00:00Z"), row("bob"))
    now, file = [NEW_YEAR - 1], KeysFile(path)
    keys = ByKey(None, file, clock=lambda: now[0])
    assert await who(keys, key_of("alice")) == "alice"
    now[0] = NEW_YEAR
    assert await who(keys, key_of("alice")) == "expired"
    assert await who(keys, key_of("bob")) == "bob"
    now[0] = NEW_YEAR - 1000
    assert await who(keys, key_of("alice")) == "expired"
    write_keys(path, row("alice", expires="2027-06-01T00:00:00Z"))
    keys.tick(1.0)
    assert await who(keys, key_of("alice")) == "alice"


async def test_a_replaced_key_is_taken_until_its_grace_ends(tmp_path: Path) -> None:
    """Both are the same principal, so sessions go on; afterwards the new one alone is."""
    previous = {"hash": hash_of(key_of("old")), "expires": "2027-01-01T00:00:00Z"}
    path = write_keys(tmp_path / "k", row("alice", key_of("new"), previous=previous))
    now = [NEW_YEAR - 1]
    keys = ByKey(None, KeysFile(path), clock=lambda: now[0])
    assert [await who(keys, key_of(name)) for name in ("old", "new")] == ["alice", "alice"]
    now[0] = NEW_YEAR
    assert [await who(keys, key_of(name)) for name in ("old", "new")] == ["expired", "alice"]


def test_a_replaced_key_ends_with_its_successor() -> None:
    """A long grace does not outlive the key's own end."""
    previous = {"hash": hash_of("old"), "expires": "2028-01-01T00:00:00Z"}
    told = row("alice", expires="2027-01-01T00:00:00Z", previous=previous)
    keys = parse(json.dumps({"version": 1, "keys": [told]}).encode()).keys
    assert {entry.ends_at for entry in ring_of(keys).values()} == {NEW_YEAR}


# --- while it changes ----------------------------------------------------------------------------


async def test_a_revoked_key_is_refused_without_a_restart(path: Path) -> None:
    """The file is looked at by the ticker; everybody else goes on."""
    async with Wire(settings=with_file(path)) as wire:
        session = await wire.ask("POST", "/mcp", json_=_initialize(), headers=headers("alice"))
        id_ = session.headers["mcp-session-id"]
        write_keys(path, row("bob"))

        async def refused() -> bool:
            return await status(wire, "alice") == 401

        await until(refused)
        in_session = headers("alice", **{"mcp-session-id": id_})
        assert (await wire.ask("POST", "/mcp", json_=PING, headers=in_session)).status == 401
        assert await status(wire, "bob") == 200


def _initialize(revision: str = "2025-11-25") -> dict[str, Any]:
    client = {"name": "t", "version": "1"}
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


async def streams_of(wire: Wire, name: str) -> list[Any]:
    """Open one event stream of each kind with a name's key."""
    opened = await wire.ask("POST", "/mcp", json_=_initialize(), headers=headers(name))
    id_ = opened.headers["mcp-session-id"]
    streams = [
        wire.start("GET", "/sse", headers=headers(name)),
        wire.start("GET", "/mcp", headers=headers(name, **{"mcp-session-id": id_})),
        wire.modern(
            "subscriptions/listen",
            {"notifications": {"toolsListChanged": True}},
            headers={"authorization": f"Bearer {key_of(name)}"},
        ),
        wire.modern(
            "tools/call",
            {"name": "count", "arguments": {"steps": 25, "pause_ms": 100}},
            meta={"progressToken": 1},
            headers={"authorization": f"Bearer {key_of(name)}"},
        ),
    ]
    for stream in streams:
        assert (await stream.begun()).is_stream, stream.body
    return streams


@pytest.mark.parametrize("change", ["revoked", "narrowed", "expired"])
async def test_open_streams_end_with_their_key(path: Path, change: str) -> None:
    """Listening is a use of the key; a stream that was opened with more rights is opened anew."""
    async with Wire(settings=with_file(path)) as wire:
        streams, others = await streams_of(wire, "alice"), await streams_of(wire, "bob")
        now = {
            "revoked": [],
            "narrowed": [row("alice", scopes=["demo:add"])],
            "expired": [row("alice", expires="2026-01-02T00:00:00Z")],
        }[change]
        write_keys(path, row("bob"), *now)
        for stream in streams:
            await stream.until(lambda answer: answer.ended)
        assert not any(stream.ended for stream in others)


async def test_open_streams_outlive_a_rotation_with_grace(path: Path) -> None:
    """The old key is still taken, so nothing that was opened with it is cut."""
    async with Wire(settings=with_file(path)) as wire:
        streams = await streams_of(wire, "alice")
        previous = {"hash": hash_of(key_of("alice")), "expires": "2099-01-01T00:00:00Z"}
        write_keys(path, row("alice", key_of("new"), previous=previous))

        async def new_is_taken() -> bool:
            return await status(wire, "new") == 200

        await until(new_is_taken)
        await asyncio.sleep(0.2)  # twice the interval at which streams are looked at
        assert not any(stream.ended for stream in streams)


def _vanish(path: Path) -> None:
    path.unlink()


def _break(path: Path) -> None:
    path.write_text('{"version": 1, "keys": [')


def _open_up(path: Path) -> None:
    path.chmod(0o666)


def _name_twice(path: Path) -> None:
    write_keys(path, row("bob"), row("bob", key_of("other")))


async def test_a_file_that_comes_back_as_it_was_is_well_again(tmp_path: Path) -> None:
    """Its folder was away for a moment, as with a network's; nothing of the file has changed."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    file = KeysFile(write_keys(folder / "keys.json", row("alice")))
    folder.rename(tmp_path / "away")
    file.tick(1.0)
    assert file.problem is not None
    (tmp_path / "away").rename(folder)
    file.tick(2.0)
    assert file.problem is None
    assert len(file.ring) == 1


@pytest.mark.parametrize("harm", [_vanish, _break, _open_up, _name_twice])
async def test_a_broken_file_changes_nothing_until_it_is_mended(
    path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is everybody locked out nor anybody let in; health and log say what is wrong."""
    async with Wire(settings=with_file(path)) as wire:
        with caplog.at_level(logging.ERROR, "core.security.keys"):
            harm(path)

            async def degraded() -> bool:
                return await authentication(wire) == "degraded"

            await until(degraded)
            await asyncio.sleep(0.3)  # further ticks
        assert len(caplog.records) == 1
        assert "keys.json" in caplog.text
        assert hash_of(key_of("alice"))[7:] not in caplog.text
        assert await status(wire, "alice") == 200
        assert await status(wire, "other") == 401
        write_keys(path, row("other"))

        async def mended() -> bool:
            return await authentication(wire) == "up"

        await until(mended)
        assert await status(wire, "other") == 200
        assert await status(wire, "alice") == 401
