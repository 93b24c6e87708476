r"""Secrets in text are replaced by `[redacted]` and counted, before a model or a log sees them.

What is known of a secret is its name (`password=…`, `--token …`, `"api_key": "…"`), its place (a
URL's userinfo, an Authorization or Cookie header, `PASSWORD '…'` in SQL) or its shape (`ghp_…`, a
JWT, a PEM block). Each is one row of `_RULES`; a row only finds places in the text as it was given,
and all places are replaced at once, so that no rule sees what another has made. Where it is unsure
how far a secret reaches, more is taken rather than less.

Text is matched as bytes in Latin-1, where each byte is a character, so that broken UTF-8 hides
nothing; by RE2, so that time grows with the text only. Services that use this module name
`google-re2` in their requirements.

```
text ── one search for what secrets come with ── nothing: as it was
                         └── the rows ── places ── joined ── replaced
```
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

MARK = "[redacted]"
_MARK = MARK.encode()

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without secrets.

    Attributes:
        count: Secrets that were replaced.
    """

    text: str
    count: int


@dataclass(frozen=True, slots=True)
class RedactedBytes:
    """Bytes of a text without secrets.

    Attributes:
        count: Secrets that were replaced.
    """

    data: bytes
    count: int


def redact(text: str) -> Redacted:
    """Return a text with its secrets replaced; a clean line costs a microsecond or two."""
    data = text.encode("utf-8", "surrogatepass")
    spans = _spans(data)
    if not spans:
        return Redacted(text, 0)
    return Redacted(_without(data, spans).decode("utf-8", "surrogatepass"), len(spans))


def redact_bytes(data: bytes) -> RedactedBytes:
    """Return what `redact` does for bytes of any encoding that contains ASCII."""
    spans = _spans(data)
    return RedactedBytes(_without(data, spans), len(spans)) if spans else RedactedBytes(data, 0)


def may_have_secrets(data: bytes) -> bool:
    """Tell of bytes, at the cost of one search, that they surely have none, or that they may."""
    return _HINT.search(data) is not None


def redact_argv(argv: Sequence[str]) -> list[str]:
    """Return the arguments of a process with their secrets replaced.

    Knows what text cannot tell: where an argument ends (`--password=two words`), that the argument
    behind `--password` is one, and the short options of common clients (`mysql -pX`), also behind
    another program (`sudo mysql -pX`).
    """
    shown: list[str] = []
    owed = False
    clients: list[str] = []
    for argument in argv:
        if owed and not argument.startswith("--"):
            shown.append(MARK)
            owed = False
            continue
        clients += _client_in(argument)
        shown.append(_argument(clients, argument))
        owed = _owes_value(clients, argument)
    return shown


def is_secret_name(name: str) -> bool:
    """Tell whether what stands behind a name (of a setting, header, option, field) is secret."""
    flat = _SEPARATORS.sub("", name).lower()
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _HARMLESS_LAST or flat in _OWN_RULES:
        return False
    if words[-1] == "id":
        return flat.endswith(("secretid", "sessionid", "sessid"))
    return bool(_SECRET_STEM.search(flat)) or not _SECRET_WORDS.isdisjoint(words)


# --- names ---------------------------------------------------------------------------------------

_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_STEM = re.compile(
    r"passw|passphrase|passcode|secret(?!ar)|credential|tokens?\d*$|cookie|sessionid|sessid|csrf"
    r"|xsrf|(?:api|app|access|auth|private|signing|sign|encryption|encrypt|master|account|shared"
    r"|sealing|session|service|storage|client|ssh|hmac|jwt|license)keys?\d*$|(?:pwd|signature|(?:pg|my|user|db|root|admin|smtp|mail|key|store|require)pass|masterauth)$"
)
_SECRET_WORDS = frozenset(("pass", "pwd", "pw", "token", "creds", "otp", "totp", "sig"))
_OWN_RULES = frozenset(("authorization", "proxyauthorization", "cookie", "setcookie"))
_HARMLESS_LAST = frozenset(
    """
    count type types length len size name names expires expiry expired expiration at ttl age method
    mode status state limit max min url uri endpoint path file dir policy required enabled valid ms
    seconds issuer algorithm alg kind prefix budget used usage total rate version format error
    errors changed rotation timeout scope scopes
    """.split()  # noqa: SIM905 - the list that ruff asks for fills a page
)
_PLAIN_VALUE = re.compile(
    rb"(?i)(?:|true|false|null|none|nil|yes|no|on|off|ok|undefined|required|optional|missing"
    rb"|invalid|expired|failed|\*+|<[a-z _-]*>|\[redacted\]?|\[\]|\$\{?\w*\}?)"
)
_NUMBER = re.compile(rb"[0-9]{1,9}(?:\.[0-9]+)?,?")
_COUNTED = ("tokens", "cookies", "pass", "credentials", "secrets")
_LEAST_TOKEN = 4
_WORKING_DIRECTORIES = frozenset(("pwd", "oldpwd"))


def _is_secret(name: bytes, value: bytes) -> bool:
    """Tell whether a value is a secret by its name, and not just a word about one."""
    text = name.decode("latin-1")
    if _PLAIN_VALUE.fullmatch(value):
        return False
    flat = _SEPARATORS.sub("", text).lower()
    if flat in _WORKING_DIRECTORIES and value.startswith(b"/"):
        return False
    if flat.endswith(_COUNTED) and _NUMBER.fullmatch(value):
        return False
    if flat.endswith("token") and len(value) < _LEAST_TOKEN:
        return False  # "unexpected token: }"
    if flat == "auth":
        return len(value) >= _LONG and any(byte in _DIGITS for byte in value)
    return is_secret_name(text)


_LONG = 16
_DIGITS = b"0123456789="


# --- rules ---------------------------------------------------------------------------------------


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.dot_nl = True
    options.log_errors = False
    return re2.compile(pattern.encode("latin-1"), options=options)


def _first(match: Any) -> Iterator[Span]:
    """The first group is the secret, unless it is marked already."""
    start, end = match.span(1)
    if start < end and not match[1].startswith(_MARK):
        yield start, end


def _named(match: Any) -> Iterator[Span]:
    """Groups: name and value; the value with its quotes, if it has any."""
    start, value = _unquoted(match[2])
    if _is_secret(match[1], value):
        begins = match.start(2) + start
        yield begins, begins + len(value)


def _option(match: Any) -> Iterator[Span]:
    """Groups: an option, and what follows it."""
    if not match[2].startswith(b"-"):
        yield from _named(match)


def _unquoted(value: bytes) -> tuple[int, bytes]:
    r"""Return where a value begins behind its quotes (`"`, `b'`, `\"`), and it without them."""
    opening = _OPENING.match(value)
    if opening is None:
        return 0, value
    inner = value[opening.end() :]
    quote = value[opening.end() - 1 : opening.end()]
    if inner.endswith(quote):
        inner = inner[:-1]
        if opening[0].startswith(b"\\"):
            inner = inner.rstrip(b"\\")
    return opening.end(), inner


_OPENING = re.compile(rb"[A-Za-z]?\\*[\"'`]")


def _basic(match: Any) -> Iterator[Span]:
    """Credentials of RFC 7617 are base64 of `user:password`; the word Basic alone is none."""
    try:
        padded = match[1].rstrip(b"=") + b"=" * (-len(match[1].rstrip(b"=")) % 4)
        if b":" in base64.b64decode(padded, validate=True):
            yield match.span(1)
    except binascii.Error:
        return


def _bearer(match: Any) -> Iterator[Span]:
    """The word behind "bearer" is a token when it is long or has a digit: RFC 6750, section 2.1."""
    token = match[1]
    if len(token) >= _LONG + 4 or any(byte in _DIGITS for byte in token):
        yield match.span(1)


def _userinfo(match: Any) -> Iterator[Span]:
    """Groups: user and password of a URL; without a password a long user is a token."""
    user, password = match[1], match[2]
    if password is None:
        if len(user) >= _LONG:
            yield match.span(1)
    elif not _PORT.match(password) and not _PLAIN_VALUE.fullmatch(password):
        yield match.span(2)


_PORT = re.compile(rb"\d{1,5}[/?#]")  # http://host:80/@x has no password

_VALUE = (
    r"("
    r"[a-z]?\"(?:[^\"\\]|\\.)*\"?"
    r"|[a-z]?'(?:[^'\\]|\\.)*'?"
    r"|\\+[\"'][^\"']*[\"']?"
    r"|\[[^\[\]]*\]?"
    r"|(?:(?:bearer|basic|token|apikey)[ \t]+)?[^\s\"'&;{\[][^\s\"'&;]*"
    r")"
)
_STEMS = "pass|pwd|pw|secret|token|key|cred|cookie|sess|csrf|xsrf|otp|sig|auth"
_NAME = rf"([a-z0-9_.\-]*(?:{_STEMS})[a-z0-9_.\-]*)"
_SHAPES = (
    r"gh[opsur]_[a-z0-9]{20,}",
    r"github_pat_[a-z0-9_]{20,}",
    r"gl(?:pat|ptt|rt|dt|soat|cbt)-[a-z0-9_\-]{16,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"xox[a-z]-[a-z0-9\-]{10,}",
    r"xapp-[a-z0-9\-]{10,}",
    r"hooks\.slack\.com/(?:services|workflows)/[a-z0-9/_]+",
    r"discord(?:app)?\.com/api/webhooks/[0-9]+/[a-z0-9_\-]+",
    r"\bsk-[a-z0-9_\-]{16,}",
    r"\b[sr]k_(?:live|test)_[a-z0-9]{10,}",
    r"\bwhsec_[a-z0-9+/=]{16,}",
    r"\bAIza[a-z0-9_\-]{35}",
    r"\bya29\.[a-z0-9_\-]{20,}",
    r"\bGOCSPX-[a-z0-9_\-]{20,}",
    r"\bnpm_[a-z0-9]{30,}",
    r"\bpypi-AgE[a-z0-9_\-]{30,}",
    r"\bdckr_[a-z]{3}_[a-z0-9_\-]{20,}",
    r"\bhf_[a-z0-9]{30,}",
    r"\bSG\.[a-z0-9_\-]{16,}\.[a-z0-9_\-]{16,}",
    r"\bshp(?:at|ca|pa|ss)_[a-f0-9]{32}",
    r"\bdo[opr]_v1_[a-f0-9]{40,}",
    r"\bhv[bsr]\.[a-z0-9_\-]{20,}",
    r"\b[0-9]{8,10}:AA[a-z0-9_\-]{33}",
    r"\bAGE-SECRET-KEY-1[a-z0-9]{20,}",
    r"\beyJ[a-z0-9_\-]{6,}\.[a-z0-9_\-]{6,}(?:\.[a-z0-9_\-]*){1,3}",
)
_PAIR = r"[^\s=;,\"'\\]+=(?:\\*\"[^\"]*\"|[^\s;,\"']*)"
_SEPARATOR = r"\\*[\"'`]?\s{0,8}(?:=>|:=|==?|:)\s{0,8}"

_Places = Callable[[Any], Iterator[Span]]
_RULES: tuple[tuple[Any, _Places], ...] = tuple(
    (_compiled(pattern), places)
    for pattern, places in (
        # A block that has no end was cut, and is secret to where it was cut.
        (
            r"-----BEGIN [a-z0-9 ]*PRIVATE KEY[a-z ]*-----(.*?)"
            r"(?:-----END [a-z0-9 ]*PRIVATE KEY[a-z ]*-----|\z)",
            _first,
        ),
        # And one of which only the end is left.
        (r"((?:[a-z0-9+/=]{16,}\s{1,4}|\\n)+)-----END [a-z0-9 ]*PRIVATE KEY", _first),
        (f"({'|'.join(_SHAPES)})", _first),
        (r"[a-z][a-z0-9+.\-]*://([^\s/?#:@\[\"'<>]*)(?::([^\s\"'<>]*))?@", _userinfo),
        (
            r"authorization\\*[\"']?\s{0,8}[:=,]\s{0,8}b?\\*[\"']?\s{0,8}"
            r"(?:[a-z][a-z0-9\-]*[ \t]+)?([^\s\"',;\\]+)",
            _first,
        ),
        (r"\b(?:digest|aws4-hmac-sha256)\s+([a-z]+=[^\r\n]*)", _first),
        (r"\bbearer[ \t]+([a-z0-9._~+/\-]{6,}=*)", _bearer),
        (r"\bbasic[ \t]+([a-z0-9+/]{4,}={0,2})", _basic),
        (
            rf"cookie\\*[\"']?\s{{0,8}}[:=,]\s{{0,8}}b?\\*[\"']?({_PAIR}(?:;\s*{_PAIR})*)",
            _first,
        ),
        (_NAME + _SEPARATOR + _VALUE, _named),
        (rf"(?:^|[\s\"'\[,=(])(--?{_NAME[1:]}(?:[ \t]+|[\"'],\s*){_VALUE}", _option),
        (rf"<{_NAME}(?:\s[^<>]*)?>([^<>]+)</", _named),
        (r"\b(?:password|identified\s+by)\s+e?('(?:[^']|'')*'?|\"[^\"]*\"?)", _first),
        (r"\bx-api-key['\"],\s*b?['\"]([^'\"]*)", _first),
        (r"\b(?:mysql|mariadb)[a-z\-]*\s(?:[^\n|;]*?\s)??-p([^\s\"'=]+)", _first),
        (r"\bsshpass\s+-p\s*(\"[^\"]*\"?|'[^']*'?|[^\s\"']+)", _first),
        (r"\bredis-cli\s(?:[^\n|;]*?\s)??-a\s*([^\s\"']+)", _first),
        (r"\bcurl\s(?:[^\n|;]*?\s)??(?:-u|--user)[\s=]*[\"']?[^\s:\"']+:([^\s\"']+)", _first),
        (r"\bpass:([^\s\"':]+)", _first),
    )
)
# Every rule needs one of these words, which a test holds against all examples.
_HINT = _compiled(
    rf"{_STEMS}|://|bearer|basic|digest|aws4|PRIVATE KEY|identified|curl|redis|mysql|mariadb"
    r"|gh[opsur]_|github_|gl[a-z]+-|AKIA|ASIA|xox|xapp-|hooks\.slack|discord|sk-|[sr]k_|whsec_|AIza"
    r"|ya29|GOCSPX|npm_|pypi-|dckr_|hf_|SG\.|shp[a-z]+_|_v1_|hv[bsr]\.|:AA|eyJ"
)


def _spans(data: bytes) -> list[Span]:
    """Return the places of all secrets, in order, none touching another."""
    if _HINT.search(data) is None:
        return []
    found: list[Span] = []
    for pattern, places in _RULES:
        for match in pattern.finditer(data):
            found += places(match)
    return _joined(sorted(found))


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _without(data: bytes, spans: list[Span]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for start, end in spans:
        parts += (data[at:start], _MARK)
        at = end
    parts.append(data[at:])
    return b"".join(parts)


# --- arguments of processes ----------------------------------------------------------------------

_ASSIGNED = re.compile(r"(-{0,2}[A-Za-z0-9_.\-]+)=(.*)", re.DOTALL)
_SHORT: tuple[tuple[tuple[str, ...], str, bool], ...] = (
    (("mysql", "mariadb", "7z"), "-p", False),  # these ask, when -p stands alone
    (("sshpass", "mongo", "login"), "-p", True),
    (("redis-cli",), "-a", True),
    (("ldap",), "-w", True),
    (("zip", "sqlcmd"), "-P", True),
    (("curl",), "-b", True),
)
"""How the names of clients begin, their option for a secret, and whether it takes the next
argument."""
_CLIENTS = tuple(name for names, _, _ in _SHORT for name in names)
_USER_OPTIONS = ("-u", "--user", "--proxy-user", "-U")


def _client_in(argument: str) -> Iterator[str]:
    """Yield the client that an argument may be the name of."""
    word = argument.rsplit("/", 1)[-1].lower()
    if word.startswith(_CLIENTS):
        yield word


def _argument(clients: Sequence[str], argument: str) -> str:
    assigned = _ASSIGNED.fullmatch(argument)
    if assigned is not None and _is_secret(assigned[1].encode(), _bytes(assigned[2])):
        return f"{assigned[1]}={MARK}"
    for option, _ in _short_options(clients):
        if argument.startswith(option) and len(argument) > len(option):
            return option + MARK
    if "curl" in clients and ":" in argument and "://" not in argument:
        return _curl_user(argument)
    return redact(argument).text


def _curl_user(argument: str) -> str:
    """`-u user:password`, of which the second part is the secret (curl(1))."""
    name, _, secret = argument.partition(":")
    if not secret or " " in name or argument.startswith(("http", "/")):
        return redact(argument).text
    return f"{name}:{MARK}" if _is_user(name) else redact(argument).text


def _is_user(name: str) -> bool:
    return bool(re.fullmatch(r"(?:-u|--user=|-U)?[\w.@+-]+", name))


def _owes_value(clients: Sequence[str], argument: str) -> bool:
    """Tell whether the next argument is the secret of this one."""
    if (argument, True) in _short_options(clients):
        return True
    is_option = argument.startswith("-") and "=" not in argument and " " not in argument
    name = argument.lstrip("-")
    is_header = _SEPARATORS.sub("", name).lower() in _OWN_RULES
    return is_option and len(name) > 1 and (is_header or is_secret_name(name))


def _short_options(clients: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield the options of these clients that have a secret, and whether it stands behind them."""
    return (
        (option, takes_next)
        for names, option, takes_next in _SHORT
        if any(client.startswith(names) for client in clients)
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
