"""Whom GitHub is asked as: tokens by owner, installations of an App, nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from core.settings import SettingsError
from services.github.backend.client import Client
from services.github.backend.requests import Request
from services.github.errors import (
    BadCredentials,
    BadResponse,
    GithubDown,
    GithubTimeout,
    NotFoundOrNoAccess,
)
from services.github.settings import GithubSettings
from tests.services.github.certificates import private_pem, public_pem
from tests.services.github.connected import CREATE, REPO, TOKEN, USER, connected, error_of
from tests.services.github.doubles.own import Octo, refusal, reply, silence, unicorn

NOW = 1_800_000_000.0
HOME = "/repos/octo/hello"
ACCESS = "/app/installations/{}/access_tokens"


def app(**further: Any) -> dict[str, Any]:
    """Return the settings of an App without any token."""
    return {"token": None, "app_id": "123", "app_private_key": private_pem(), **further}


def installed(double: Octo, **ids: int) -> None:
    """Let the App be installed for these owners, with tokens ``ghs_ID_1`` and so on, an hour each.

    Two more installations are of no use: a suspended one, and one without an account.
    """
    listed = [{"id": number, "account": {"login": owner}} for owner, number in ids.items()]
    gone = {"id": 99, "account": {"login": "gone"}, "suspended_at": "2026-01-01T00:00:00Z"}
    double.on("GET", "/app/installations", reply([*listed, gone, {"id": 98, "account": None}]))
    for number in ids.values():
        tokens = [
            reply({"token": f"ghs_{number}_{turn}", "expires_at": _time(NOW + 3_600 * turn)}, 201)
            for turn in (1, 2, 3)
        ]
        double.on("POST", ACCESS.format(number), *tokens)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sent_to(double: Octo, path: str) -> list[str | None]:
    """Return the credentials that a path was asked with."""
    return [a.headers.get("authorization") for a in double.asked if a.path == path]


# --- tokens ---------------------------------------------------------------------------------------


async def test_each_owner_has_their_own_token() -> None:
    """Whatever the case of the name; all others get the general one."""
    tokens = "octo=token-of-octo,Acme=token-of-acme"
    async with connected(tokens=tokens) as (double, client):
        double.on("GET", HOME, reply({}))
        for owner in ("OCTO", "acme", "stranger", None):
            await client.send(REPO, owner=owner)
        assert [client.has_credential(o) for o in ("octo", "x", None)] == [True, True, True]
    assert sent_to(double, HOME) == [
        "token token-of-octo",
        "token token-of-acme",
        f"token {TOKEN}",
        f"token {TOKEN}",
    ]


async def test_without_a_general_token_others_are_asked_for_as_nobody() -> None:
    """A token for one organisation is not shown to another's repositories."""
    async with connected(token=None, tokens={"octo": "token-of-octo"}) as (double, client):
        double.on("GET", HOME, reply({}))
        await client.send(REPO, owner="stranger")
        assert not client.has_credential("stranger")
        assert client.has_credential("Octo")
    assert sent_to(double, HOME) == [None]


def test_credentials_show_nowhere() -> None:
    """Neither in the settings' nor the client's representation."""
    settings = GithubSettings.from_dict(app(tokens={"o": "secret-one"}, token="secret-two"))
    client = Client(settings)
    shown = f"{settings!r} {settings} {vars(client)!r} {client._credentials.kinds()}"
    credentials = client._credentials
    shown += f"{vars(credentials)!r} {vars(credentials._app)!r}"
    client.close()
    assert "secret-" not in shown
    assert "PRIVATE KEY" not in shown


async def test_the_log_holds_neither_tokens_nor_bodies(caplog: pytest.LogCaptureFixture) -> None:
    """PyGithub logs whole requests for debugging; issues of private repositories are in them."""
    with caplog.at_level("DEBUG"):
        async with connected(clock=lambda: NOW, **app()) as (double, client):
            installed(double, octo=7)
            double.on("POST", f"{HOME}/issues", reply({"title": "very private"}, 201))
            await client.send(replace(CREATE, body={"title": "very private"}), owner="octo")
    assert "ghs_7_1" not in caplog.text
    assert "Bearer" not in caplog.text
    assert "very private" not in caplog.text


# --- an App ---------------------------------------------------------------------------------------


async def test_an_app_asks_with_the_token_of_the_owners_installation() -> None:
    """It proves itself with a signed JWT, once; all calls share the token."""
    async with connected(clock=lambda: NOW, **app()) as (double, client):
        installed(double, octo=7, acme=8)
        double.on("GET", HOME, reply({}))
        await asyncio.gather(*(client.send(REPO, owner="Octo") for _ in range(5)))
        await client.send(REPO, owner="acme")
        health = await client.component()
    assert sent_to(double, HOME) == 5 * ["token ghs_7_1"] + ["token ghs_8_1"]
    assert [path for path in double.paths if "access_tokens" in path] == [
        "POST /app/installations/7/access_tokens",
        "POST /app/installations/8/access_tokens",
    ]
    (shown,) = sent_to(double, ACCESS.format(7))
    assert shown is not None
    claims = jwt.decode(
        shown.removeprefix("Bearer "), public_pem(), ["RS256"], options={"verify_iat": False}
    )
    assert claims["iss"] == "123"
    assert claims["exp"] - claims["iat"] <= 600
    assert [c["name"] for c in health.facts["credentials"]] == ["app", "app:7", "app:8"]


async def test_a_token_is_renewed_before_it_ends() -> None:
    """Two minutes before; until then nobody is asked."""
    now = [NOW]
    async with connected(clock=lambda: now[0], **app()) as (double, client):
        installed(double, octo=7)
        double.on("GET", HOME, reply({}))
        for moment in (0, 3_400, 3_500, 6_900, 7_150):
            now[0] = NOW + moment
            await client.send(REPO, owner="octo")
    assert sent_to(double, HOME) == [
        "token ghs_7_1",
        "token ghs_7_1",
        "token ghs_7_2",
        "token ghs_7_2",
        "token ghs_7_3",
    ]


async def test_a_token_that_github_refuses_is_fetched_anew() -> None:
    """It was revoked; the call says so, the next one works."""
    async with connected(clock=lambda: NOW, **app()) as (double, client):
        installed(double, octo=7)
        double.on("GET", HOME, refusal(401, "Bad credentials"), reply({}))
        await error_of(BadCredentials, client.send(REPO, owner="octo"))
        await client.send(REPO, owner="octo")
    assert sent_to(double, HOME) == ["token ghs_7_1", "token ghs_7_2"]


async def test_where_the_app_is_not_installed_the_general_token_is_used() -> None:
    """Or nobody; a suspended installation is none. What is installed later is found later."""
    now = [NOW]
    for token, expected in ((TOKEN, f"token {TOKEN}"), (None, None)):
        settings = app(token=token)
        async with connected(clock=lambda: now[0], **settings) as (double, client):
            installed(double, octo=7)
            double.on("GET", HOME, reply({}))
            await client.send(REPO, owner="stranger")
            await client.send(REPO, owner="gone")
            installed(double, octo=7, stranger=9)
            now[0] += 601
            await client.send(REPO, owner="stranger")
            assert sent_to(double, HOME) == [expected, expected, "token ghs_9_1"]
        now[0] = NOW


async def test_a_fixed_installation_is_used_for_everything() -> None:
    """Nobody is asked where the App is installed."""
    async with connected(clock=lambda: NOW, **app(app_installation_id=5)) as (double, client):
        installed(double, octo=5)
        double.on("GET", HOME, reply({}))
        await client.send(REPO, owner="whoever")
        await client.send(REPO, owner=None)
    assert sent_to(double, HOME) == ["token ghs_5_1", "token ghs_5_1"]
    assert "/app/installations" not in [asked.path for asked in double.asked]


async def test_many_installations_are_listed_page_by_page() -> None:
    """A hundred at a time."""
    page = [{"id": n, "account": {"login": f"owner{n}"}} for n in range(1, 101)]
    async with connected(clock=lambda: NOW, **app()) as (double, client):
        installed(double, octo=777)
        later = reply([{"id": 777, "account": {"login": "octo"}}])
        double.on("GET", "/app/installations", reply(page), later)
        double.on("GET", HOME, reply({}))
        await client.send(REPO, owner="octo")
    assert sent_to(double, HOME) == ["token ghs_777_1"]


async def test_no_installation_token_is_shown_in_an_error() -> None:
    """Not even one of a shape that nobody knows."""
    async with connected(clock=lambda: NOW, **app()) as (double, client):
        installed(double, octo=7)
        double.on("GET", HOME, refusal(401, "no: ghs_7_1"))
        error = await error_of(BadCredentials, client.send(REPO, owner="octo"))
    assert "ghs_7_1" not in str(error.to_dict())


async def test_an_app_that_github_does_not_know_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So is one that gets nonsense, or nothing in time."""
    monkeypatch.setattr("services.github.backend.client.FIRST_PAUSE_S", 0.001)
    async with connected(clock=lambda: NOW, **app()) as (double, client):
        double.on(
            "GET", "/app/installations", refusal(401, "A JSON web token could not be decoded")
        )
        await error_of(BadCredentials, client.send(REPO, owner="octo"))
        double.on("GET", "/app/installations", unicorn(502))
        await error_of(GithubDown, client.send(REPO, owner="octo"))
        double.on("GET", "/app/installations", silence)
        call = asyncio.create_task(client.send(REPO, owner="octo", timeout_s=0.3))
        await error_of(GithubTimeout, client.send(REPO, owner="octo", timeout_s=0.2))
        await error_of(GithubTimeout, call)
        installed(double, octo=7)
        double.on("POST", ACCESS.format(7), reply({"token": 3}, 201))
        await error_of(BadResponse, client.send(REPO, owner="octo"))


async def test_an_installation_that_has_gone_is_looked_for_again() -> None:
    """The App was uninstalled and installed anew, with another number."""
    async with connected(clock=lambda: NOW, **app()) as (double, client):
        installed(double, octo=7)
        double.on("POST", ACCESS.format(7), refusal(404, "Not Found"))
        double.on("GET", HOME, reply({}))
        await error_of(NotFoundOrNoAccess, client.send(REPO, owner="octo"))
        installed(double, octo=8)
        await client.send(REPO, owner="octo")
    assert sent_to(double, HOME) == ["token ghs_8_1"]


async def test_one_caller_who_leaves_does_not_take_the_others_token() -> None:
    """The lock is given back, and the next caller fetches it."""
    async with connected(clock=lambda: NOW, **app()) as (double, client):
        installed(double, octo=7)
        double.on("POST", ACCESS.format(7), silence)
        double.on("GET", HOME, reply({}))
        call = asyncio.create_task(client.send(REPO, owner="octo"))
        await double.wait_for(2)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        installed(double, octo=7)
        await client.send(REPO, owner="octo")
    assert sent_to(double, HOME) == ["token ghs_7_1"]


# --- settings -------------------------------------------------------------------------------------


async def test_the_key_can_be_a_file_or_one_line(tmp_path: Path) -> None:
    r"""Environment files hold no line breaks, so \n stands for them."""
    file = tmp_path / "app.pem"
    file.write_text(private_pem())
    one_line = private_pem().replace("\n", "\\n")
    for settings in (
        app(app_private_key=None, app_private_key_file=file),
        app(app_private_key=one_line),
    ):
        async with connected(clock=lambda: NOW, **settings) as (double, client):
            installed(double, octo=7)
            double.on("GET", "/user", reply({}))
            await client.send(USER, owner=None)
            assert sent_to(double, "/user") == ["token ghs_7_1"]


@pytest.mark.parametrize(
    ("key", "file", "said"),
    [
        ("no key at all", None, "not an RSA private key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", None, "RSA"),
        (None, "missing.pem", "No such file"),
        (None, ".", "Is a directory"),
    ],
)
def test_a_key_that_is_none_is_refused_at_the_start(
    key: str | None, file: str | None, said: str, tmp_path: Path
) -> None:
    """With the setting's name, and nothing of the key."""
    given = {
        "app_id": "1",
        "app_private_key": key,
        "app_private_key_file": None if file is None else tmp_path / file,
    }
    with pytest.raises(SettingsError, match=said) as caught:
        Client(GithubSettings.from_dict(given))
    assert "app_private_key" in str(caught.value)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("x", "not a PEM file")])
def test_a_file_of_authorities_that_is_none_is_refused_at_the_start(
    content: str | None, said: str, tmp_path: Path
) -> None:
    """Rather than with the first request."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=said):
        Client(GithubSettings.from_dict({"ca_file": file}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"api_url": "http://github.example"}, "use https"),
        ({"api_url": "https://user:pw@github.example"}, "no user"),
        ({"api_url": "https://github.example/?x=1"}, "no user, query"),
        ({"api_url": "github.example"}, "https://HOST"),
        ({"token": "two words"}, "one word"),
        ({"proxy_url": "https://proxy.example:3128"}, "http://host:port"),
        ({"proxy_url": "http://proxy.example"}, "http://host:port"),
        ({"proxy_url": "http://proxy.example:3128/x"}, "http://host:port"),
        ({"proxy_url": "http://[::1:3128"}, "http://host:port"),
        ({"token": "line\nbreak"}, "one word"),
        ({"tokens": "octo"}, "name=value"),
        ({"tokens": "{"}, "JSON"),
        ({"tokens": {"octo": "ü"}}, "ASCII"),
        ({"app_id": "1"}, "private keys"),
        ({"app_private_key": "x"}, "private keys"),
        ({"app_id": "1", "app_private_key": "x", "app_private_key_file": "y"}, "exclude"),
        ({"toolsets": "context,nonsense"}, "no such toolset"),
        ({"write": "nonsense"}, "no such toolset"),
        ({"allow_repositories": "octo"}, "owner/name"),
        ({"write_repositories": "a/b/c"}, "owner/name"),
        ({"lockdown": "sometimes"}, "public"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_be_right(
    values: dict[str, Any], said: str
) -> None:
    """At the start, and without the value, which may be a secret."""
    with pytest.raises(SettingsError, match=said) as caught:
        GithubSettings.from_dict(values)
    assert "two words" not in str(caught.value)


def test_the_usual_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """GITHUB_TOKEN and GITHUB_API_URL stand in runners of Actions; our own names come first."""
    monkeypatch.setenv("GITHUB_TOKEN", "from-actions")
    monkeypatch.setenv("GITHUB_API_URL", "https://github.example/api/v3/")
    settings = GithubSettings.from_env()
    assert settings.token is not None
    assert settings.token.get_secret_value() == "from-actions"
    assert settings.api_url == "https://github.example/api/v3"
    monkeypatch.setenv("MCP_GITHUB_TOKEN", "our-own")
    monkeypatch.setenv("MCP_GITHUB_TOKENS", "Octo=one, acme=two=2")
    settings = GithubSettings.from_env()
    assert settings.token is not None
    assert settings.token.get_secret_value() == "our-own"
    shown = {owner: token.get_secret_value() for owner, token in settings.tokens.items()}
    assert shown == {"octo": "one", "acme": "two=2"}


def test_requests_can_be_written_before_there_is_a_client() -> None:
    """They are values."""
    request = Request(route="/user", query={"a": None})
    assert (request.path(), request.parameters(), request.reads) == ("/user", {}, True)
