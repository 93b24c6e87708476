"""Names of owners, repositories, refs and files: what GitHub and git take, and nothing else.

Each `parse_…` takes a caller's string and returns it as a type of its own, unchanged, or raises
`BadName`. Nothing is repaired. Names end up in URLs, where `..`, `%2f`, a backslash or a line
break lead elsewhere: PyGithub's ``get_repo("a/../../user")`` asks for ``/user``, and requests sends
``%2e%2e`` as ``..``. So all of them pass `checked_segments` too, which
`services.github.backend.requests` asks once more when it fills a route.

Sources: https://git-scm.com/docs/git-check-ref-format,
https://docs.github.com/en/enterprise-cloud@latest/admin/managing-iam/iam-configuration-reference/username-considerations-for-external-authentication
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NewType
from urllib.parse import unquote

from services.github.errors import BadName

Login = NewType("Login", str)
Ref = NewType("Ref", str)
Branch = NewType("Branch", str)
Tag = NewType("Tag", str)
Sha = NewType("Sha", str)
RepoPath = NewType("RepoPath", str)

MAX_LOGIN_CHARS = 39
MAX_REPO_CHARS = 100
MAX_REF_BYTES = 255 + len("refs/heads/")
MAX_PATH_BYTES = 4096
MAX_LABEL_CHARS = 100
MAX_SHOWN_CHARS = 80

# Also names of enterprise-managed users (octocat_acme); old accounts may end in a hyphen.
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}")
_BOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\[bot\]")
_REPO = re.compile(r"[A-Za-z0-9._-]{1,100}")
_SLUG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_SHA = re.compile(r"[0-9a-fA-F]{4,64}")
_NODE_ID = re.compile(r"[A-Za-z0-9+/=_-]{1,200}")
_IN_NO_REF = re.compile(r"[\s~^:?*\[\\]|\.\.|@\{|//")
_DOTS = re.compile(r"\.{1,2}(;.*)?")
_FULL_SHA_CHARS = (40, 64)


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository by its name: `owner` and `name` are parsed."""

    owner: str
    name: str

    @classmethod
    def parse(cls, owner: str, repo: str) -> Repo:
        """Return the repository of these two names.

        Raises:
            BadName: One of them is none.
        """
        return cls(parse_owner(owner), parse_repo_name(repo))

    @classmethod
    def parse_full(cls, full_name: str) -> Repo:
        """Return the repository of ``owner/name``; raises as `parse`."""
        owner, slash, name = checked_text(full_name, "repository").partition("/")
        if not slash:
            raise _bad("repository", full_name, "it is written owner/name")
        return cls.parse(owner, name)

    @property
    def full_name(self) -> str:
        """Both names, ``owner/name``."""
        return f"{self.owner}/{self.name}"

    @property
    def key(self) -> str:
        """The full name for comparing; GitHub's names differ in more than case."""
        return self.full_name.lower()

    def __str__(self) -> str:
        return self.full_name


def parse_owner(owner: str) -> Login:
    """Return the login of a user or organisation; raises `BadName`."""
    return _login(owner, "owner")


def parse_login(login: str) -> Login:
    """Return a login of anybody, Apps (``dependabot[bot]``) included; raises `BadName`."""
    text = checked_text(login, "login")
    return Login(text) if _BOT.fullmatch(text) else _login(text, "login")


def _login(value: str, what: str) -> Login:
    text = checked_text(value, what)
    if not _LOGIN.fullmatch(text):
        rule = f"it has 1 to {MAX_LOGIN_CHARS} letters, digits and hyphens"
        raise _bad(what, text, rule)
    return Login(text)


def parse_repo_name(repo: str) -> str:
    """Return the name of a repository without its owner; raises `BadName`."""
    text = checked_text(repo, "repo")
    if "/" in text:
        raise _bad("repo", text, "the owner is an argument of its own")
    if not _REPO.fullmatch(text) or text in (".", ".."):
        rule = f"it has 1 to {MAX_REPO_CHARS} letters, digits, dots, hyphens and underscores"
        raise _bad("repo", text, rule)
    if text.lower().endswith(".git"):
        raise _bad("repo", text, "the .git of clone URLs is no part of it")
    return text


def parse_ref(ref: str) -> Ref:
    """Return a branch, tag, full ref (``refs/pull/1/head``) or commit SHA; raises `BadName`."""
    return Ref(_refname(ref, "ref"))


def parse_branch(branch: str) -> Branch:
    """Return a branch's name, without ``refs/heads/``; raises `BadName`."""
    return Branch(_short_refname(branch, "branch", "refs/heads/"))


def parse_tag(tag: str) -> Tag:
    """Return a tag's name, without ``refs/tags/``; raises `BadName`."""
    return Tag(_short_refname(tag, "tag", "refs/tags/"))


def _short_refname(value: str, what: str, prefix: str) -> str:
    text = _refname(value, what).removeprefix(prefix)
    if text.startswith("refs/"):
        raise _bad(what, value, f"it is no {what}")
    if text.startswith("-"):
        raise _bad(what, value, "it begins with a hyphen")
    return _refname(text, what)


def _refname(value: str, what: str) -> str:
    """Apply the rules of git check-ref-format."""
    text = checked_text(value, what, max_bytes=MAX_REF_BYTES)
    checked_segments(text, what)
    if found := _IN_NO_REF.search(text):
        raise _bad(what, text, f"git takes no {found.group()!r} in it")
    if text == "@" or text.endswith("."):
        raise _bad(what, text, "git takes no '@' alone and no '.' at the end")
    for part in text.split("/"):
        if part.startswith(".") or part.endswith(".lock"):
            raise _bad(what, text, "no part of it begins with '.' or ends with '.lock'")
    return text


def parse_sha(sha: str, *, full: bool = False) -> Sha:
    """Return a commit's, tree's or blob's SHA of 4 to 64 hexadecimal digits; raises `BadName`.

    Args:
        full: Take 40 (SHA-1) or 64 (SHA-256) digits only.
    """
    text = checked_text(sha, "sha")
    if not _SHA.fullmatch(text) or (full and len(text) not in _FULL_SHA_CHARS):
        digits = "40 or 64" if full else "4 to 64"
        raise _bad("sha", text, f"it has {digits} hexadecimal digits")
    return Sha(text.lower())


def is_full_sha(text: str) -> bool:
    """Whether a ref is a whole SHA, which names the same commit for ever."""
    return len(text) in _FULL_SHA_CHARS and _SHA.fullmatch(text) is not None


def parse_path(path: str, *, root: bool = False) -> RepoPath:
    """Return the path of a file or folder, relative to the top of a repository; raises `BadName`.

    Args:
        root: Take ``""`` and ``"/"`` for the top folder, which comes back as ``""``. With it, one
            slash in front or at the end is left out, as github-mcp-server does for folders.
    """
    if root and path in ("", "/"):
        return RepoPath("")
    text = checked_text(path, "path", max_bytes=MAX_PATH_BYTES)
    if root:
        text = text.removeprefix("/").removesuffix("/")
    checked_segments(text, "path")
    if text.split("/")[0].lower() == ".git":
        raise _bad("path", text, "git keeps no files below .git")
    return RepoPath(text)


def parse_slug(value: str, what: str = "slug") -> str:
    """Return the slug of a team, App or advisory, or a workflow's file name; raises `BadName`."""
    text = checked_text(value, what)
    if not _SLUG.fullmatch(text):
        raise _bad(what, text, "it has letters, digits, dots, hyphens and underscores")
    return text


def parse_node_id(value: str, what: str = "node id") -> str:
    """Return a GraphQL node id; raises `BadName`."""
    text = checked_text(value, what)
    if not _NODE_ID.fullmatch(text):
        raise _bad(what, text, "it has letters, digits and +/=_-")
    return text


def parse_label(value: str, what: str = "label") -> str:
    """Return a name of a label or environment, which may hold blanks and slashes."""
    text = checked_text(value, what, max_bytes=4 * MAX_LABEL_CHARS)
    checked_segments(text, what)
    return text


def checked_segments(text: str, what: str) -> list[str]:
    """Return the parts between slashes, when none of them can lead elsewhere in a URL.

    Refused: empty parts, ``.`` and ``..`` (also ``..;x``, which some servers take for ``..``),
    backslashes, control characters, and whatever becomes one of these, or a slash, when somebody on
    the way decodes percent signs once more than we do.

    Raises:
        BadName: Says which of these.
    """
    checked_text(text, what, max_bytes=MAX_PATH_BYTES)
    parts = text.split("/")
    for part in parts:
        decoded = _fully_decoded(part)
        if not decoded:
            raise _bad(what, text, "it has an empty part; one slash stands between two names")
        if _DOTS.fullmatch(decoded):
            raise _bad(what, text, "it has a '.' or '..' part")
        if "/" in decoded or "\\" in decoded:
            raise _bad(what, text, "it has a backslash or an encoded slash")
        if _has_controls(decoded):
            raise _bad(what, text, "it has an encoded control character")
    return parts


def _fully_decoded(text: str) -> str:
    while "%" in text and (decoded := unquote(text)) != text:
        text = decoded
    return text


def checked_text(value: str, what: str, *, max_bytes: int = 1024) -> str:
    """Return a string that is not empty, fits, and has neither controls nor lone surrogates."""
    if not value:
        raise _bad(what, value, "it is empty")
    if len(value) > max_bytes or len(_encoded(value, what)) > max_bytes:
        raise _bad(what, value, f"it is longer than {max_bytes} bytes")
    if _has_controls(value):
        raise _bad(what, value, "it has a control character")
    return value


def _encoded(value: str, what: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise _bad(what, value, "it has half a surrogate pair, which is no text") from None


def _has_controls(text: str) -> bool:
    """Whether it has control characters, or line and paragraph separators."""
    if text.isascii() and text.isprintable():
        return False
    return any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in text)


def _bad(what: str, value: str, rule: str) -> BadName:
    shown = value.encode("ascii", "backslashreplace").decode()
    if not _has_controls(value) and not any("\ud800" <= char <= "\udfff" for char in value):
        shown = value
    if len(shown) > MAX_SHOWN_CHARS:
        shown = f"{shown[:MAX_SHOWN_CHARS]}…"
    return BadName(f"{shown!r} is not a {what}: {rule}.", what=what)
