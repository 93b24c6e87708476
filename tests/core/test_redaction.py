"""Secrets are replaced wherever they stand, and what is none stays readable."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.redaction import (
    MARK,
    Redacted,
    RedactedBytes,
    is_secret_name,
    redact,
    redact_argv,
    redact_bytes,
)

S = "hUnter2-zQ9"
"""The secret of all examples; none of its parts may be seen afterwards."""
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXNpZw"

HIDDEN = [
    f"password={S}",
    f"PASSWORD: {S} for bob",
    f"db_password='{S} and more' host=x",
    f'{{"password": "{S}\\"{S}", "user": "bob"}}',
    f'{{"outer": "{{\\"api_key\\": \\"{S}\\"}}"}}',
    f"{{'secret': b'{S}', 'n': 1}}",
    f"{{password={S}, user=bob}}",
    f'{{"tokens": ["{S}", "{S}"]}}',
    f"export GITHUB_TOKEN={S}",
    f"MCP_SEALING_KEY={S}",
    f"X-Api-Key: {S}",
    f"x-auth-token:{S}",
    f"GET /a?access_token={S}&page=1 HTTP/1.1",
    f"GET /blob?sv=2024&sig={S}%3D&se=1",
    f"https://s3/x?X-Amz-Signature={S}&X-Amz-Date=1",
    f"Server=db;User Id=sa;Password={S};Timeout=3",
    f"DefaultEndpointsProtocol=https;AccountKey={S}==;EndpointSuffix=x",
    f"host=db user=bob password={S} dbname=x",
    f"postgres://bob:{S}@db:5432/x",
    f"redis://:{S}@cache/0",
    f"amqp://bob:p@{S}/x@host/v",
    f"https://{S}{S}@example.org/path",
    f"Authorization: Bearer {S}",
    f"authorization: Token {S} 200",
    f'"Authorization": "Basic {S}"',
    f"[(b'authorization', b'Bearer {S}')]",
    f"curl -H 'Authorization: Bearer {S}' https://example.org",
    f'Authorization: Digest username="bob", response="{S}"',
    f"Authorization: AWS4-HMAC-SHA256 Credential=A/2/x, Signature={S}",
    f"sent Bearer {S}",
    f"Cookie: sid={S}; theme=dark",
    f"Set-Cookie: session={S}; Path=/; HttpOnly",
    f'{{"cookie": "a={S}; b={S}"}}',
    f"jsessionid={S}",
    f"psql --password {S} -h db",
    f"tool --api-key={S}",
    f"run ['--token', '{S}', '-v']",
    f"mysqldump -u root -p{S} db",
    f"sshpass -p {S} ssh bob@host",
    f"redis-cli -h cache -a {S} ping",
    f"curl -s -u bob:{S} https://example.org",
    f"openssl rsa -passin pass:{S}",
    f"CREATE ROLE bob PASSWORD '{S}''{S}'",
    f"CREATE USER bob IDENTIFIED BY '{S}'",
    f"<password>{S}</password>",
    f"-----BEGIN RSA PRIVATE KEY-----\n{S}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\\n{S}\\n",
    f"{'MIIE' * 16}zQ9\n{'a' * 40}\n-----END RSA PRIVATE KEY-----",
    f"client_secret = {S}",
    f"passphrase => {S}",
    f"\x80\xffpassword={S}",
]
SHAPES = [
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2_" * 10,
    "glpat-" + "a1B2" * 5,
    "AKIA" + "ABCD1234" * 2,
    "xoxb-1234567890-abcdefghij",
    "sk-proj-" + "a1B2" * 8,
    "sk-ant-api03-" + "a1B2" * 8,
    "sk_live_" + "a1B2" * 5,
    "AIza" + "a" * 35,
    "npm_" + "a1" * 18,
    "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 10,
    "hf_" + "aB" * 17,
    "SG." + "a" * 22 + "." + "b" * 43,
    "dop_v1_" + "ab12" * 16,
    "hvs." + "a1B2" * 6,
    "123456789:AA" + "b" * 33,
    JWT,
]
SHOWN = [
    "",
    "max_tokens=4096 prompt_tokens: 15",
    "password authentication failed for user bob",
    "basic authentication failed, bearer token missing",
    "unexpected token: } at line 3",
    "PWD=/home/bob OLDPWD=/srv",
    "tests pass: 12",
    "token_type=access expires_in=3600",
    "password_file=/run/secrets/db",
    "author=bob monkey=1 keyboard=de primary_key=id",
    'password="" token=null secret: None',
    "password=******",
    "http://host:8080/path?mail=a@b",
    "http://host:80/@scope/package",
    "git clone ssh://git@example.org/x",
    '10.0.0.1 - bob [20/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 12 "-" "curl/8"',
    "cookie: deleted",
    "key=value",
    "sha256 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_a_secret_with_a_name_or_a_place_is_replaced_and_counted(text: str) -> None:
    """No part of it is left, whatever quotes, separators or encodings surround it."""
    redacted = redact(text)
    assert S not in redacted.text
    assert "zQ9" not in redacted.text
    assert MARK in redacted.text
    assert redacted.count >= 1


@pytest.mark.parametrize("token", SHAPES)
@pytest.mark.parametrize("around", ["{}", "got {} from x", '"{}"', "a={}", "https://x/{}/y"])
def test_tokens_of_known_shape_need_no_name(token: str, around: str) -> None:
    """Services give their tokens prefixes so that they are recognised."""
    redacted = redact(around.format(token))
    assert token not in redacted.text
    assert redacted.count == 1


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_no_secret_stays(text: str) -> None:
    """A log whose every number is hidden helps nobody."""
    assert redact(text) == Redacted(text, 0)


def test_what_surrounds_a_secret_stays() -> None:
    """The name tells what was hidden, and the rest of the line is why it was looked for."""
    text = f'at=1 url=postgres://bob:{S}@db/x header="Authorization: Bearer {S}" token={S} end=1'
    assert redact(text) == Redacted(
        f"at=1 url=postgres://bob:{MARK}@db/x "
        f'header="Authorization: Bearer {MARK}" token={MARK} end=1',
        3,
    )


@pytest.mark.parametrize("text", HIDDEN + SHAPES)
def test_bytes_are_treated_as_text_is(text: str) -> None:
    """Logs are searched as bytes, and must not show more for it."""
    redacted = redact(text)
    assert redact_bytes(text.encode()) == RedactedBytes(redacted.text.encode(), redacted.count)
    assert redact_bytes(b"\xff" + text.encode() + b"\xfe").count >= 1


@pytest.mark.parametrize("text", HIDDEN + SHAPES)
def test_redacting_twice_changes_nothing(text: str) -> None:
    """What passes through two hands (a log of a redacted answer) is counted once."""
    once = redact(text)
    assert redact(once.text) == Redacted(once.text, 0)


@given(st.text(max_size=200))
def test_any_text_is_taken(text: str) -> None:
    """Half surrogates and controls too; what is not replaced stays exact."""
    redacted = redact(text)
    assert redacted.text == text if redacted.count == 0 else MARK in redacted.text


_NOISE = st.text(st.sampled_from("ab =:;,\"'\\{}[]()<>@/\n\t\x1b\u200b\u00e9"), max_size=12)
_SECRET = st.from_regex(r"[A-Za-z0-9!#%*+.^_~-]{5,30}[0-9]", fullmatch=True)


@given(_NOISE, st.sampled_from(["password", "API_TOKEN", "clientSecret"]), _SECRET, _NOISE)
def test_a_quoted_value_of_a_secret_name_is_never_seen(
    before: str, name: str, secret: str, after: str
) -> None:
    """Whatever stands before and after: JSON is where most secrets in logs are."""
    redacted = redact(f'{before}\n"{name}": "Zq{secret}Q" {after}')
    assert f"Zq{secret}Q" not in redacted.text


@pytest.mark.parametrize(
    "part",
    [
        *(
            "password=",
            "://a:",
            "a",
            "pass",
            "-----BEGIN PRIVATE KEY-----",
            "--password ",
            "a://b:",
        ),
        *("cookie: a=b;", "<password>", "password=[", 'password="\\', "eyJaaaaaaa.", "mysql "),
        *("curl -u ", "mysql -p", "authorization: ", "://a:b@", "x://a:b@c ", "password '", "\\"),
        *(
            'password=\\"a',
            "token=a ",
            "-p",
            "sk-",
            "a" * 16 + "\n",
            "aws4-hmac-sha256 a=\n",
            "bearer a1",
        ),
    ],
)
def test_hostile_text_takes_time_that_grows_with_it(part: str) -> None:
    """Half a megabyte of what rules begin with: a quadratic rule would take minutes."""
    text = (part * (500_000 // len(part)))[:500_000]
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["psql", "--password", S, "-h", "db"], ["psql", "--password", MARK, "-h", "db"]),
        (["x", f"--password={S} {S}"], ["x", f"--password={MARK}"]),
        (["x", "--token", "--verbose"], ["x", "--token", "--verbose"]),
        (["x", "--token", f"-{S}"], ["x", "--token", MARK]),
        (["env", f"DB_SECRET={S} x", "run"], ["env", f"DB_SECRET={MARK}", "run"]),
        (["/usr/bin/mysql", f"-p{S}", "db"], ["/usr/bin/mysql", f"-p{MARK}", "db"]),
        (["mysql", "-p", "db"], ["mysql", "-p", "db"]),
        (["sshpass", "-p", S, "ssh", "h"], ["sshpass", "-p", MARK, "ssh", "h"]),
        (["redis-cli", "-a", S], ["redis-cli", "-a", MARK]),
        (["curl", "-u", f"bob:{S}", "https://x/"], ["curl", "-u", f"bob:{MARK}", "https://x/"]),
        (["curl", f"--user=bob:{S}"], ["curl", f"--user=bob:{MARK}"]),
        (["sudo", "mysql", f"-p{S}"], ["sudo", "mysql", f"-p{MARK}"]),
        (["timeout", "9", "sshpass", "-p", S], ["timeout", "9", "sshpass", "-p", MARK]),
        (["curl", "h/mysql", "-u", f"bob:{S}"], ["curl", "h/mysql", "-u", f"bob:{MARK}"]),
        (["curl", "-b", f"session={S}"], ["curl", "-b", MARK]),
        (["curl", "--cookie", f"session={S}"], ["curl", "--cookie", MARK]),
        (["mongosh", "-p", S], ["mongosh", "-p", MARK]),
        (["ldapsearch", "-w", S], ["ldapsearch", "-w", MARK]),
        (["docker", "login", "-p", S], ["docker", "login", "-p", MARK]),
        (["docker", "run", "-p", "80:80", "web"], ["docker", "run", "-p", "80:80", "web"]),
        (["7z", "a", f"-p{S}"], ["7z", "a", f"-p{MARK}"]),
        (["zip", "-P", S, "a.zip"], ["zip", "-P", MARK, "a.zip"]),
        (["redis-server", "--requirepass", S], ["redis-server", "--requirepass", MARK]),
        (["sh", "-c", f"mysql -p{S} db"], ["sh", "-c", f"mysql -p{MARK} db"]),
        (["ssh", "-p2222", "bob@host"], ["ssh", "-p2222", "bob@host"]),
        (["tar", "-pxvf", "a.tar"], ["tar", "-pxvf", "a.tar"]),
        (["x", "--token-file", "/run/t"], ["x", "--token-file", "/run/t"]),
        (["x", f"postgres://u:{S}@h/d"], ["x", f"postgres://u:{MARK}@h/d"]),
        ([], []),
        ([""], [""]),
    ],
)
def test_arguments_of_processes_are_shown_without_secrets(
    argv: list[str], shown: list[str]
) -> None:
    """Everyone on a machine can read them, which is why they often hold what they should not."""
    assert redact_argv(argv) == shown


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_arguments_are_taken(argv: list[str]) -> None:
    """As many come back as were given."""
    assert len(redact_argv(argv)) == len(argv)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("password", "DB_PASSWORD", "apiKey", "x-api-key", "PGPASS")),
        *((name, True) for name in ("client.secret", "sessionId", "AWS_SECRET_ACCESS_KEY")),
        *((name, False) for name in ("user", "token_count", "password_file", "key", "", "author")),
    ],
)
def test_names_tell_whether_what_they_name_is_secret(name: str, secret: bool) -> None:
    """Whatever the style that the name is written in."""
    assert is_secret_name(name) is secret


@pytest.mark.parametrize(
    "command", [f"curl -u bob:{S} x", f"mysql -p{S} x", f"mariadb -h x -p{S}", f"redis-cli -a {S}"]
)
def test_a_command_that_a_line_has_twice_is_redacted_twice(command: str) -> None:
    """As logs in JSON do, which have the line once more in a field."""
    redacted = redact(f'{{"message": "{command}", "cmd": "{command}"}} {command} {command}')
    assert S not in redacted.text
    assert redacted.count == 4
