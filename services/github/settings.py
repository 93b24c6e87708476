"""Every knob of the github service: `MCP_GITHUB_<KEY>`, or `github:` in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from core.settings import LOOPBACK_HOSTS, MAX_BYTES, MAX_COUNT, MAX_SECONDS, Also, ServiceSettings

MIB = 1024 * 1024
DEFAULT_API_URL = "https://api.github.com"

DEFAULT_TOOLSETS = ("context", "files", "branches", "issues", "pulls", "actions", "releases")
FURTHER_TOOLSETS = (
    "discussions",
    "projects",
    "gists",
    "notifications",
    "security",
    "orgs",
    "stargazers",
)
TOOLSETS = DEFAULT_TOOLSETS + FURTHER_TOOLSETS

# What github-mcp-server calls them, so that its lists keep working.
TOOLSET_ALIASES: dict[str, tuple[str, ...]] = {
    "default": DEFAULT_TOOLSETS,
    "all": TOOLSETS,
    "repos": ("files", "branches", "releases"),
    "git": ("files",),
    "pull_requests": ("pulls",),
    "labels": ("issues",),
    "users": ("context",),
    "code_security": ("security",),
    "code_quality": ("security",),
    "dependabot": ("security",),
    "secret_protection": ("security",),
    "security_advisories": ("security",),
}

Names = tuple[str, ...]
Token = Annotated[SecretStr | None, Also("GITHUB_TOKEN", "GITHUB_PERSONAL_ACCESS_TOKEN")]


class GithubSettings(ServiceSettings):
    """Which GitHub is asked, as whom, what may be read and written, within which limits."""

    section = "github"

    api_url: Annotated[str, Also("GITHUB_API_URL")] = Field(
        DEFAULT_API_URL,
        description="Where the REST API begins; https://HOST/api/v3 for GitHub Enterprise Server. "
        "Also GITHUB_API_URL.",
    )
    token: Token = Field(
        None,
        description="Token for every owner that has none of its own. Without any credential public "
        "repositories can be read, 60 requests an hour. Also GITHUB_TOKEN, "
        "GITHUB_PERSONAL_ACCESS_TOKEN.",
    )
    tokens: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Tokens for the repositories of single users and organisations: "
        "owner=token, comma-separated, or JSON.",
    )
    app_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Id or client id of a GitHub App; it is used where no token is for the owner.",
    )
    app_private_key: SecretStr | None = Field(
        None, description="The App's private key, PEM; \\n stands for a line break."
    )
    app_private_key_file: Path | None = Field(
        None, description="File with the App's private key, instead of the key itself."
    )
    app_installation_id: int | None = Field(
        None,
        ge=1,
        le=2**63 - 1,
        description="The one installation to use; found for each owner when not set.",
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file with further certificate authorities, for an Enterprise Server.",
    )
    proxy_url: SecretStr | None = Field(
        None,
        description="http://user:password@host:port of a proxy to reach https servers through "
        "(CONNECT). Proxies of the environment are not used.",
    )
    toolsets: Names = Field(
        DEFAULT_TOOLSETS,
        description="Toolsets that are on: default, all, or some of "
        f"{', '.join(TOOLSETS)}; comma-separated.",
    )
    write: Names = Field(
        (),
        description="Toolsets that may write: all, or a list; none when empty, and the service "
        "only reads.",
    )
    allow_repositories: Names = Field(
        (),
        description="Repositories that may be used, as owner/name or owner/*, comma-separated; "
        "every one that the credential reaches when empty.",
    )
    write_repositories: Names = Field(
        (),
        description="Repositories that may be written to, likewise; those that may be used when "
        "empty.",
    )
    lockdown: Literal["public", "always", "off"] = Field(
        "public",
        description="Withhold text by authors without push access: in public repositories, in "
        "all, or not at all.",
    )
    flow_guard: bool = Field(
        True,
        description="Ask for confirmation of writes to public places once both strangers' text "
        "and private repositories were read.",
    )
    flow_memory_s: float = Field(
        3600,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds for which flow_guard remembers what was read.",
    )
    workers: int = Field(8, ge=1, le=64, description="Requests to GitHub that run at once.")
    connect_timeout_s: float = Field(
        4, gt=0, le=60, description="Seconds in which a connection has to be made."
    )
    timeout_s: float = Field(
        20, gt=0, le=600, description="Seconds one request may take, its repetitions included."
    )
    retries: int = Field(
        2, ge=0, le=5, description="Times a reading request is repeated when GitHub fails."
    )
    write_interval_s: float = Field(
        0.25, ge=0, le=10, description="Seconds between the writes of one credential."
    )
    cache_bytes: int = Field(
        16 * MIB,
        ge=0,
        le=MAX_BYTES,
        description="Bytes of answers kept to be asked for conditionally, which costs no quota; 0 "
        "for none.",
    )
    max_response_bytes: int = Field(
        16 * MIB, ge=4_096, le=MAX_BYTES, description="Bytes of one answer of GitHub that are read."
    )
    max_download_bytes: int = Field(
        64 * MIB, ge=4_096, le=MAX_BYTES, description="Bytes of a log or archive that are read."
    )
    answer_bytes: int = Field(
        32_000,
        ge=4_096,
        le=1_000_000,
        description="Bytes of JSON after which a list or text is cut; whole answers have at most "
        "twice as many.",
    )
    body_chars: int = Field(
        2_000,
        ge=100,
        le=MAX_COUNT,
        description="Characters of one body or comment that lists show.",
    )
    confirm_ttl_s: float = Field(
        300,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds for which the confirm token of a dry run is accepted.",
    )
    repeat_window_s: float = Field(
        600,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds in which the same content is not posted twice, unless an "
        "idempotency_key says otherwise.",
    )

    @field_validator("tokens")
    @classmethod
    def _owners_in_lower_case(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        return {owner.strip().lower(): _header_value(token) for owner, token in value.items()}

    @field_validator("token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        return value and _header_value(value)

    @field_validator("api_url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        return _checked_url(value)

    @field_validator("proxy_url")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_proxy_url(value.get_secret_value()):
            raise ValueError("a proxy is written http://host:port")
        return value

    @field_validator("toolsets", "write")
    @classmethod
    def _are_toolsets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _spelled_out(value)

    @field_validator("allow_repositories", "write_repositories")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if pattern.count("/") != 1 or pattern.startswith("/") or pattern.endswith("/"):
                raise ValueError("a repository is written owner/name, or owner/* for all of them")
        return value

    @model_validator(mode="after")
    def _app_is_whole(self) -> GithubSettings:
        keys = [k for k in (self.app_private_key, self.app_private_key_file) if k is not None]
        if len(keys) == 2:
            raise ValueError("app_private_key and app_private_key_file exclude each other")
        if (self.app_id is None) != (not keys):
            raise ValueError("a GitHub App needs app_id and one of its private keys")
        return self


def _spelled_out(names: tuple[str, ...]) -> tuple[str, ...]:
    wanted: set[str] = set()
    for name in names:
        known = TOOLSET_ALIASES.get(name.lower(), (name.lower(),))
        if not set(known) <= set(TOOLSETS):
            raise ValueError(f"no such toolset; there are {', '.join(('all', *TOOLSETS))}")
        wanted.update(known)
    return tuple(name for name in TOOLSETS if name in wanted)


def _header_value(token: SecretStr) -> SecretStr:
    text = token.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a token is one word of printable ASCII characters")
    return SecretStr(text)


def _is_proxy_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        whole = parts.scheme == "http" and parts.hostname is not None and parts.port is not None
    except ValueError:
        return False
    return whole and parts.path in ("", "/") and not parts.query and not parts.fragment


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("the API's URL is https://HOST or https://HOST/api/v3")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the API's URL has no user, query or fragment")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("http would show the token to everybody on the way; use https")
    return url.rstrip("/")
