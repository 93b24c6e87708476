"""Files, directories and trees of a repository, searches in them, and who wrote their lines."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from core import content, untrusted
from core.content import Block, ResourceContents, ToolResult
from core.context import Context
from core.errors import NotFound, ToolError
from core.paging import cut, digest_of, fitting
from core.tools import Annotations, Listing
from services.github.backend.requests import RAW, Request
from services.github.errors import BadResponse, NotFoundOrNoAccess, ResponseTooLarge
from services.github.excerpts import Excerpt, excerpt
from services.github.models.common import PageArguments, RepositoryArguments, select, unbounded
from services.github.models.files import (
    Blame,
    BlameCommit,
    BlameRange,
    CodeHit,
    CodeHits,
    Entry,
    FileContents,
    Kind,
    OneFile,
    Tree,
    TreeEntry,
)
from services.github.policy.names import (
    Ref,
    Repo,
    RepoPath,
    parse_path,
    parse_ref,
    parse_sha,
)
from services.github.policy.trust import TrustLabel
from services.github.tools.context import SearchQuery, note_left_out
from services.github.tools.desk import Call, Desk

CONTENTS = "/repos/{owner}/{repo}/contents/"
TREE = "/repos/{owner}/{repo}/git/trees/{tree_sha}"
BLOB = "/repos/{owner}/{repo}/git/blobs/{file_sha}"
COMMIT = "/repos/{owner}/{repo}/commits/{+ref}"
TEXT_MATCH = "application/vnd.github.text-match+json"
READS_FILES = Annotations(open_world=True)
MAX_FILES = 20
MAX_ENTRIES = 1_000
"""Of a directory, that GitHub lists."""
MAX_BINARY_BYTES = 512_000
MIN_ROOM_BYTES = 500
MAX_RANGES = 1_000
SHOWN_OF_ENTRIES = ("type", "name", "path", "size", "sha")
SHORT_SHA_CHARS = 40
DEFAULT_BRANCHES = frozenset({"main", "master", "refs/heads/main", "refs/heads/master"})
"""Names that callers guess; where there is no such branch, the default branch is meant."""

_LFS = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid (\S+)\nsize (\d+)\n", re.ASCII
)
_IMAGES = (
    (re.compile(rb"\x89PNG\r\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
_BLAME = """query($owner: String!, $repo: String!, $expression: String!, $path: String!) {
  repository(owner: $owner, name: $repo) {
    object(expression: $expression) {
      __typename
      ... on Commit { ...blame }
      ... on Tag { target { __typename ... on Commit { ...blame } } }
    }
  }
}
fragment blame on Commit {
  oid
  blame(path: $path) {
    ranges {
      startingLine
      endingLine
      commit {
        oid
        messageHeadline
        committedDate
        url
        author { name user { login } }
      }
    }
  }
}"""


# --- arguments -----------------------------------------------------------------------------------


class GetFileContents(RepositoryArguments):
    """Arguments of get_file_contents: those of the official server, and parts and several files."""

    path: str | None = None
    paths: list[str] = Field([], description="Several files instead")
    ref: str | None = Field(None, description="Branch, tag, SHA, refs/pull/1/head")
    sha: str | None = None
    fields: list[str] = Field([])
    start_line: int | None = Field(None, ge=1, json_schema_extra=unbounded)
    end_line: int | None = Field(None, ge=1, json_schema_extra=unbounded)
    cursor: str | None = None

    @model_validator(mode="after")
    def _meant(self) -> Self:
        if self.start_line and self.end_line and self.end_line < self.start_line:
            raise ValueError("end_line is before start_line")
        if len(self.paths) > MAX_FILES:
            raise ValueError(f"at most {MAX_FILES} paths are read in one call")
        parts = (self.start_line, self.end_line, self.cursor, self.fields)
        if self.paths and (self.path or any(parts)):
            raise ValueError("paths goes with owner, repo, ref and sha only")
        return self

    @property
    def at(self) -> Ref | None:
        """What is meant; None for the default branch."""
        if self.sha:
            return Ref(parse_sha(self.sha))
        return parse_ref(self.ref) if self.ref else None


class GetRepositoryTree(RepositoryArguments):
    """Arguments of get_repository_tree."""

    tree_sha: str | None = Field(None, description="Or branch, tag")
    recursive: bool = False
    path_filter: str | None = None
    cursor: str | None = None


class SearchCode(PageArguments):
    """Arguments of search_code; `sort` and `order` are taken, though GitHub knows them no more."""

    query: SearchQuery
    sort: SkipJsonSchema[str | None] = None
    order: SkipJsonSchema[str | None] = None
    fields: list[str] = Field([])


class GetFileBlame(RepositoryArguments):
    """Arguments of get_file_blame."""

    path: str
    ref: str | None = None
    start_line: int | None = Field(None, ge=1, json_schema_extra=unbounded)
    end_line: int | None = Field(None, ge=1, json_schema_extra=unbounded)
    perPage: int | None = Field(None, ge=1, le=100, json_schema_extra=unbounded)  # official name
    after: str | None = None  # the official name; takes next_cursor


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = FileTools(desk)
    return [
        Listing(
            name="get_file_contents",
            title="Read files",
            description="Read a file, lines of it, or several; or list a directory.",
            handler=tools.get_file_contents,
            arguments=GetFileContents,
            result=FileContents,
            annotations=READS_FILES,
        ),
        Listing(
            name="get_repository_tree",
            title="List files",
            description="Files and folders, below a prefix (path_filter).",
            handler=tools.get_repository_tree,
            arguments=GetRepositoryTree,
            result=Tree,
            annotations=READS_FILES,
        ),
        Listing(
            name="search_code",
            title="Search code",
            description='Such as `"exact phrase" repo:o/r path:src language:go`.',
            handler=tools.search_code,
            arguments=SearchCode,
            result=CodeHits,
            annotations=READS_FILES,
        ),
        Listing(
            name="get_file_blame",
            title="Blame a file",
            description="Which commit changed each line of a file last.",
            handler=tools.get_file_blame,
            arguments=GetFileBlame,
            result=Blame,
            annotations=READS_FILES,
        ),
    ]


# --- what GitHub has -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blob:
    """A file as it came from GitHub.

    Attributes:
        target: Where a symbolic link points to that GitHub followed.
    """

    data: bytes
    sha: str | None
    target: str | None = None

    @property
    def text(self) -> str | None:
        """The content as text; None for anything else."""
        if b"\0" in self.data:
            return None
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError:
            return None

    @property
    def image_type(self) -> str | None:
        """The media type of an image that models can look at."""
        return next((kind for magic, kind in _IMAGES if magic.match(self.data)), None)

    @property
    def lfs(self) -> dict[str, Any] | None:
        """What a pointer of Git LFS stands for."""
        found = _LFS.fullmatch(self.data)
        return {"oid": found[1].decode(), "size": int(found[2])} if found else None


async def contents(call: Call, repo: Repo, path: RepoPath, ref: str | None) -> Any:
    """Return GitHub's answer for a path: an object for a file, a list for a directory.

    Raises:
        NotFoundOrNoAccess: With the paths that end alike, where there are some.
    """
    request = Request(
        route=f"{CONTENTS}{{+path}}" if path else CONTENTS,
        values={"owner": repo.owner, "repo": repo.name, **({"path": path} if path else {})},
        query={"ref": ref},
    )
    try:
        return (await call.reply(request)).data
    except NotFoundOrNoAccess as error:
        if ref in DEFAULT_BRANCHES and await _is_no_branch(call, repo, ref):
            call.warnings.append(f"There is no {ref}; this is the default branch.")
            return await contents(call, repo, path, None)
        raise await _with_nearest(call, repo, path, ref, error) from error


async def _is_no_branch(call: Call, repo: Repo, ref: str) -> bool:
    branch = ref.removeprefix("refs/heads/")
    try:
        await call.get("/repos/{owner}/{repo}/branches/{+branch}", repo=repo, branch=branch)
    except NotFound:
        facts = await call.facts(repo)
        return facts is not None and facts.default_branch not in ("", branch)
    return False


async def _with_nearest(
    call: Call, repo: Repo, path: str, ref: str | None, error: NotFoundOrNoAccess
) -> NotFoundOrNoAccess:
    """Return the error with paths whose last name is the same."""
    try:
        tree = await _tree(call, repo, ref, recursive=True)
    except ToolError:
        return error
    name = path.rpartition("/")[2].lower()
    nearest = [e["path"] for e in tree["tree"] if e["path"].rpartition("/")[2].lower() == name]
    if not nearest:
        return error
    return NotFoundOrNoAccess(error.message, nearest=nearest[:5])


async def _tree(call: Call, repo: Repo, ref: str | None, *, recursive: bool) -> Any:
    """Return the tree of a ref; one with a slash in its name is looked up first."""
    name = ref or "HEAD"
    if "/" in name:
        commit = await call.get(COMMIT, repo=repo, ref=name, query={"per_page": 1})
        name = commit["commit"]["tree"]["sha"]
    query = {"recursive": "1" if recursive else None}
    return await call.get(TREE, repo=repo, tree_sha=name, query=query)


async def blob_of(call: Call, repo: Repo, item: Mapping[str, Any]) -> Blob:
    """Return the content of a file that the contents API described."""
    sha = item.get("sha")
    if item.get("encoding") == "base64":
        data = _decoded(item.get("content") or "")
        if sha and len(sha) == SHORT_SHA_CHARS and git_sha(data) != sha:
            return Blob(data, sha, target=await _link_target(call, repo, sha))
        return Blob(data, sha)
    return await blob(call, repo, str(sha))


async def blob(call: Call, repo: Repo, sha: str) -> Blob:
    """Return a blob of any size up to `max_response_bytes`.

    Raises:
        ResponseTooLarge: It is larger.
    """
    limit = call.desk.settings.max_response_bytes
    values = {"owner": repo.owner, "repo": repo.name, "file_sha": sha}
    request = Request(route=BLOB, values=values, accept=RAW)
    found = await call.download(request, max_bytes=limit)
    if found.truncated:
        raise ResponseTooLarge(
            f"The file has more than {limit} bytes, which is all that is read of one.",
            hint="Fetch it with git.",
            limit_bytes=limit,
        )
    return Blob(found.content, sha)


async def _link_target(call: Call, repo: Repo, sha: str) -> str | None:
    """Return where a link points to: its blob is the path."""
    try:
        link = await call.get(BLOB, repo=repo, file_sha=sha)
        return _decoded(link["content"]).decode("utf-8", "replace")
    except ToolError:
        return None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        raise BadResponse("GitHub's answer holds content that is no base64.") from None


def git_sha(data: bytes) -> str:
    """Return the name that git gives a blob."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def seen(text: str, trust: TrustLabel) -> untrusted.Cleaned:
    """Return a text exactly where it is ours, without what cannot be seen where it may not be."""
    return untrusted.Cleaned(text, 0) if trust == "trusted" else untrusted.clean(text)


# --- the tools -----------------------------------------------------------------------------------


class FileTools:
    """The tools that read files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def get_file_contents(
        self, arguments: GetFileContents, context: Context
    ) -> FileContents | ToolResult:
        """Read a file or several, or list a directory."""
        call = self._desk.call(context)
        repo, at = arguments.repository(), arguments.at
        if arguments.paths:
            return await _several(call, repo, arguments.paths, at)
        path = parse_path(arguments.path or "/", root=True)
        digest = digest_of("contents", repo.key, path, at, arguments.start_line, arguments.end_line)
        state = call.desk.cursors.position_of(arguments.cursor, digest)
        reading = Reading(call, repo, path, at, arguments, digest)
        if isinstance(state, list):
            return await reading.go_on(*state)
        found = await contents(call, repo, path, at)
        if isinstance(found, list):
            return await reading.directory(found, int(state or 0))
        return await reading.file(found)

    async def get_repository_tree(self, arguments: GetRepositoryTree, context: Context) -> Tree:
        """List files and folders, all of them or those of one folder."""
        call = self._desk.call(context)
        repo = arguments.repository()
        at = parse_ref(arguments.tree_sha) if arguments.tree_sha else None
        wanted = arguments.path_filter or ""
        digest = digest_of("tree", repo.key, at, arguments.recursive, wanted)
        sha, offset = call.desk.cursors.position_of(arguments.cursor, digest) or (at, 0)
        tree = await _tree(call, repo, sha, recursive=arguments.recursive)
        entries = [_tree_entry(e) for e in tree["tree"] if e["path"].startswith(wanted)]
        await call.origin(repo, at)
        shown, members = cut(
            entries[offset:],
            limit=len(entries),
            max_bytes=call.desk.settings.answer_bytes,
            offset=offset,
            total=len(entries),
        )
        end = offset + len(shown)
        more = call.desk.cursors.make([tree["sha"], end], digest) if end < len(entries) else None
        return Tree(
            sha=tree["sha"],
            incomplete=bool(tree["truncated"]),
            tree=shown,
            **{**members.members(), "next_cursor": more},
            **call.members(),
        )

    async def search_code(self, arguments: SearchCode, context: Context) -> CodeHits:
        """Search code of all repositories."""
        call = self._desk.call(context)
        window = call.window(arguments)
        query = {
            "q": arguments.query,
            "page": window.page,
            "per_page": window.per_page,
        }
        reply = await call.reply(Request(route="/search/code", query=query, accept=TEXT_MATCH))
        items = [i for i in reply.data["items"] if call.may_read(i["repository"]["full_name"])]
        note_left_out(call, len(reply.data["items"]) - len(items))
        for item in items:
            if item["repository"]["private"]:
                call.read_private(item["repository"]["full_name"])
        call.heard_in_public("a search of code")
        hits = select(CodeHit, [_hit(item) for item in window.rest(items)], arguments.fields)
        shown, members = window.cut(hits, reply.next_page, total=reply.data["total_count"])
        return CodeHits(
            items=shown,
            incomplete=reply.data["incomplete_results"],
            **members,
            **call.members(),
        )

    async def get_file_blame(self, arguments: GetFileBlame, context: Context) -> Blame:
        """Tell which commits changed the lines of a file last."""
        call = self._desk.call(context)
        repo = arguments.repository()
        path = parse_path(arguments.path)
        at = parse_ref(arguments.ref) if arguments.ref else "HEAD"
        limit = arguments.perPage or 100
        lines = (arguments.start_line or 1, arguments.end_line)
        digest = digest_of("blame", repo.key, path, at, lines, limit)
        sha, offset = call.desk.cursors.position_of(arguments.after, digest) or (at, 0)
        data = await call.graphql(_BLAME, repo=repo, expression=sha, path=path)
        commit = _blamed(data, repo, at)
        trust = await call.origin(repo, at)
        ranges = _within(commit["blame"]["ranges"], *lines)
        shown, members = cut(
            [_range(found) for found in ranges[offset:]],
            limit=limit,
            max_bytes=call.desk.settings.answer_bytes // 2,
            offset=offset,
            total=len(ranges),
        )
        end = offset + len(shown)
        cursors = call.desk.cursors
        return Blame(
            path=path,
            sha=commit["oid"],
            ranges=shown,
            commits={
                found["commit"]["oid"]: _blame_commit(found["commit"], trust)
                for found in ranges[offset:end]
            },
            total_ranges=len(ranges),
            **{
                **members.members(),
                "next_cursor": cursors.make([commit["oid"], end], digest)
                if end < len(ranges)
                else None,
            },
            **call.members(),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """One call of get_file_contents, once it is known what is asked for."""

    call: Call
    repo: Repo
    path: RepoPath
    at: Ref | None
    arguments: GetFileContents
    digest: str

    async def directory(self, items: Sequence[Mapping[str, Any]], offset: int) -> FileContents:
        """List a directory."""
        fields = self.arguments.fields or SHOWN_OF_ENTRIES
        entries = select(Entry, [_entry(item) for item in items[offset:]], fields)
        shown = entries[: fitting(entries, self.call.desk.settings.answer_bytes)]
        end = offset + len(shown)
        if len(items) >= MAX_ENTRIES:
            self.call.warnings.append(
                f"GitHub lists {MAX_ENTRIES} entries of a directory; get_repository_tree has all."
            )
        more = self.call.desk.cursors.make(end, self.digest) if end < len(items) else None
        return FileContents(
            path=self.path,
            type="dir",
            ref=self.at,
            sha=None,
            size=None,
            html_url=None,
            trust=await self.call.origin(self.repo, self.at),
            truncated=more is not None,
            next_cursor=more,
            entries=shown,
            **self.call.members(),
        )

    async def file(self, item: Mapping[str, Any]) -> FileContents | ToolResult:
        """Read a file, a link or a submodule."""
        kind: Kind = item["type"]
        if kind == "submodule":
            return await self._told(item, None, submodule_url=item.get("submodule_git_url"))
        if kind == "symlink":
            return await self._told(item, None, target=item.get("target"))
        return await self._told(item, await blob_of(self.call, self.repo, item))

    async def go_on(self, sha: str, start_at: int) -> FileContents | ToolResult:
        """Read on in the very file that the page before was of."""
        found = await blob(self.call, self.repo, sha)
        item = {"type": "file", "sha": sha, "size": len(found.data)}
        return await self._told(item, found, start_at=start_at)

    async def _told(
        self,
        item: Mapping[str, Any],
        found: Blob | None,
        *,
        start_at: int | None = None,
        **more: Any,
    ) -> FileContents | ToolResult:
        result = FileContents(
            path=self.path,
            type=item["type"],
            ref=self.at,
            sha=item.get("sha"),
            size=item.get("size"),
            html_url=item.get("html_url"),
            trust=await self.call.origin(self.repo, self.at),
            **more,
        )
        blocks: list[Block] = []
        if found is not None:
            result.target, result.lfs = found.target, found.lfs
            blocks = self._put(result, found, start_at)
        for name, value in self.call.members().items():
            setattr(result, name, value)
        return ToolResult(content=blocks, structured=result) if blocks else result

    def _put(self, result: FileContents, found: Blob, start_at: int | None) -> list[Block]:
        """Put the text into the result; return the block of a file that is no text."""
        if (text := found.text) is None:
            result.encoding = "binary"
            return self._binary(found)
        part = excerpt(
            text,
            start_line=self.arguments.start_line,
            end_line=self.arguments.end_line,
            start_at=start_at,
            max_bytes=self.call.desk.settings.answer_bytes,
        )
        result.encoding = "utf-8"
        result.content, result.hidden_removed = seen(part.text, result.trust)
        result.start_line, result.end_line = part.first_line, part.last_line
        result.total_lines = part.total_lines
        # A link has another sha than the file that was read.
        sha = found.sha if found.target is None else git_sha(found.data)
        if part.next_at is not None and sha:
            result.truncated = True
            result.next_cursor = self.call.desk.cursors.make([sha, part.next_at], self.digest)
        return []

    def _binary(self, found: Blob) -> list[Block]:
        if len(found.data) > MAX_BINARY_BYTES:
            self.call.warnings.append(
                f"The file is no text and larger than {MAX_BINARY_BYTES} bytes: it is not shown."
            )
            return []
        if kind := found.image_type:
            return [content.image(found.data, kind)]
        uri = f"repo://{self.repo}/contents/{self.path}"
        return [content.embedded(ResourceContents(uri, found.data, "application/octet-stream"))]


# --- several files -------------------------------------------------------------------------------


async def _several(call: Call, repo: Repo, asked: Sequence[str], at: Ref | None) -> FileContents:
    """Read several files; one that cannot be read has an error of its own."""
    paths = [parse_path(path) for path in dict.fromkeys(asked)]
    trust = await call.origin(repo, at)
    read = await asyncio.gather(*(_read(call, repo, path, at) for path in paths))
    files: list[OneFile] = []
    room = call.desk.settings.answer_bytes
    for path, found in zip(paths, read, strict=True):
        if room < MIN_ROOM_BYTES:
            break
        files.append(_one_file(path, found, trust, room))
        room -= len(files[-1].model_dump_json())
    left = paths[len(files) :]
    return FileContents(
        ref=at,
        trust=trust,
        files=files,
        not_read=list(left) or None,
        truncated=bool(left) or any(file.truncated for file in files),
        **call.members(),
    )


async def _read(call: Call, repo: Repo, path: RepoPath, ref: str | None) -> Blob | ToolError:
    """Return a file, or why it cannot be read."""
    try:
        item = await contents(call, repo, path, ref)
        if isinstance(item, list) or item["type"] != "file":
            kind = "dir" if isinstance(item, list) else item["type"]
            return NotFound(f"{path} is no file but a {kind}.", hint="Use get_file_contents.")
        return await blob_of(call, repo, item)
    except ToolError as error:
        return error


def _one_file(path: str, found: Blob | ToolError, trust: TrustLabel, room: int) -> OneFile:
    if isinstance(found, ToolError):
        return OneFile(path=path, error=found.to_dict())
    told = OneFile(path=path, sha=found.sha, size=len(found.data))
    if (text := found.text) is None:
        told.error = NotFound("The file is no text.", hint="Use get_file_contents.").to_dict()
        return told
    part: Excerpt = excerpt(text, max_bytes=room)
    told.content, told.hidden_removed = seen(part.text, trust)
    told.total_lines = part.total_lines
    told.truncated = part.next_at is not None
    return told


# --- telling -------------------------------------------------------------------------------------


def _entry(item: Mapping[str, Any]) -> Entry:
    """Return an entry; GitHub calls submodules files here, for the sake of old clients."""
    names = ("name", "path", "sha", "url", "git_url", "html_url", "download_url")
    is_submodule = item["type"] == "file" and "/git/trees/" in str(item.get("git_url") or "")
    return Entry(
        type="submodule" if is_submodule else item["type"],
        size=item.get("size") or 0,
        **{name: item.get(name) for name in names},
    )


def _tree_entry(item: Mapping[str, Any]) -> TreeEntry:
    return TreeEntry(**{name: item.get(name) for name in ("path", "type", "mode", "sha", "size")})


def _hit(item: Mapping[str, Any]) -> CodeHit:
    matches = item.get("text_matches") or []
    return CodeHit(
        name=item["name"],
        path=item["path"],
        sha=item["sha"],
        repository=item["repository"]["full_name"],
        html_url=item["html_url"],
        text_matches=[untrusted.clean(match.get("fragment") or "").text for match in matches],
    )


def _blamed(data: Mapping[str, Any], repo: Repo, ref: str) -> Mapping[str, Any]:
    """Return the commit that a ref names, through a tag object."""
    found = (data.get("repository") or {}).get("object") or {}
    if found.get("__typename") == "Tag":
        found = found.get("target") or {}
    if found.get("__typename") != "Commit":
        raise NotFoundOrNoAccess(f"{repo} has no commit {ref!r}, or you may not see it.")
    commit: Mapping[str, Any] = found
    return commit


def _within(
    ranges: Sequence[Mapping[str, Any]], first: int, last: int | None
) -> list[dict[str, Any]]:
    """Return the ranges that touch some lines, without what is outside of these."""
    return [
        {
            **found,
            "startingLine": max(found["startingLine"], first),
            "endingLine": min(found["endingLine"], last or found["endingLine"]),
        }
        for found in ranges
        if found["endingLine"] >= first and (last is None or found["startingLine"] <= last)
    ]


def _range(found: Mapping[str, Any]) -> BlameRange:
    return BlameRange(
        start_line=found["startingLine"],
        end_line=found["endingLine"],
        commit=found["commit"]["oid"],
    )


def _blame_commit(commit: Mapping[str, Any], trust: TrustLabel) -> BlameCommit:
    author = commit.get("author") or {}
    return BlameCommit(
        message=seen(commit["messageHeadline"], trust).text,
        author=author.get("name"),
        login=(author.get("user") or {}).get("login"),
        date=commit["committedDate"],
        html_url=commit["url"],
    )
