"""Changes of files: one at a time, or many in one commit.

A commit of many files is made of git's own objects, and the branch moves last, without force: until
then nobody sees anything, and a branch that moved meanwhile is left alone.

```
blobs (what is no text) ─► tree (upon the head's) ─► commit (its parent the head) ─► ref
```

Source: https://docs.github.com/en/rest/git
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import InvalidArguments
from core.models import Arguments
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.errors import GithubConflict, NotFoundOrNoAccess, ValidationFailed
from services.github.models.common import Planned, RepositoryArguments, WriteArguments
from services.github.models.files import FileWritten
from services.github.policy.names import (
    Branch,
    Repo,
    RepoPath,
    parse_branch,
    parse_path,
    parse_sha,
)
from services.github.tools.branches import REF, REFS, commit_of
from services.github.tools.desk import Call, Desk
from services.github.tools.files import CONTENTS, TREE, git_sha
from services.github.writes import Permit, Plan

TOOLSET = "files"
CHANGES = Annotations(read_only=False, destructive=False, idempotent=True, open_world=True)
DELETES = Annotations(read_only=False, destructive=True, idempotent=True, open_world=True)

ONE_FILE = f"{CONTENTS}{{+path}}"
BLOBS = "/repos/{owner}/{repo}/git/blobs"
TREES = "/repos/{owner}/{repo}/git/trees"
COMMITS = "/repos/{owner}/{repo}/git/commits"
GIT_COMMIT = "/repos/{owner}/{repo}/git/commits/{commit_sha}"
MOVED_REF = "/repos/{owner}/{repo}/git/refs/{+ref}"

REGULAR, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
MAX_CHANGES = 300
MAX_MESSAGE_CHARS = 65_000

Encoding = Literal["utf-8", "base64"]


class Change(Arguments):
    """One file of a commit."""

    path: str
    content: str | None = None
    encoding: Encoding = "utf-8"
    executable: bool | None = Field(None, description="Stays as it is when left out.")
    delete: bool = False

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.content is None) != self.delete:
            raise ValueError("give either content or delete")
        return self


class PushFiles(RepositoryArguments, WriteArguments):
    """Arguments of push_files."""

    branch: str = Field(description="Created from from_branch when there is none.")
    files: list[Change] = Field(min_length=1, max_length=MAX_CHANGES)
    message: str = Field(min_length=1, max_length=MAX_MESSAGE_CHARS)
    head_sha: str | None = Field(None, description="Only while this is the branch's head.")
    from_branch: str | None = Field(None, description="The default branch when left out.")


class CreateOrUpdateFile(RepositoryArguments, WriteArguments):
    """Arguments of create_or_update_file."""

    path: str
    content: str
    message: str = Field(min_length=1, max_length=MAX_MESSAGE_CHARS)
    branch: str
    sha: str | None = Field(None, description="Blob that is replaced; of a file that exists.")
    encoding: Encoding = "utf-8"
    allow_symlink_write: bool = Field(False, description="content is the new target of a link.")


class DeleteFile(RepositoryArguments, WriteArguments):
    """Arguments of delete_file."""

    path: str
    message: str = Field(min_length=1, max_length=MAX_MESSAGE_CHARS)
    branch: str
    sha: str | None = Field(None, description="Only while this is its blob.")


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = ChangeTools(desk)
    return [
        Listing(
            name="push_files",
            title="Commit files",
            description="Write and delete many files in one commit. What is so already is left "
            "out, so that repeating a push does no harm.",
            handler=tools.push_files,
            arguments=PushFiles,
            result=FileWritten,
            annotations=CHANGES,
        ),
        Listing(
            name="create_or_update_file",
            title="Write a file",
            description="Create or replace one file; a file that exists wants the sha that "
            "get_file_contents told.",
            handler=tools.create_or_update_file,
            arguments=CreateOrUpdateFile,
            result=FileWritten,
            annotations=CHANGES,
        ),
        Listing(
            name="delete_file",
            title="Delete a file",
            description="Delete one file. Has to be confirmed.",
            handler=tools.delete_file,
            arguments=DeleteFile,
            result=FileWritten,
            annotations=DELETES,
        ),
    ]


# --- what is to be changed -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Head:
    """Where a commit is made.

    Attributes:
        commit: SHA of its parent.
        tree: SHA of the parent's tree.
        modes: Mode and SHA of each file of the parent, by its path; empty where the tree is so
            large that GitHub does not tell all of it.
        is_new: The branch does not exist yet.
    """

    branch: Branch
    commit: str
    tree: str
    modes: Mapping[str, tuple[str, str]]
    is_new: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file as it shall be; `data` is None where it is deleted."""

    path: RepoPath
    mode: str
    data: bytes | None

    @property
    def text(self) -> str | None:
        """The content as text, which can be sent in the tree; None for anything else."""
        try:
            return None if self.data is None else self.data.decode("utf-8")
        except UnicodeDecodeError:
            return None

    def entry(self, blob: str | None) -> dict[str, Any]:
        """Return the entry of a tree, with the SHA of a blob that was sent before."""
        entry: dict[str, Any] = {"path": self.path, "mode": self.mode, "type": "blob"}
        if self.data is not None and blob is None:
            return {**entry, "content": self.text}
        return {**entry, "sha": blob}


def encoded(content: str, encoding: Encoding, path: str) -> bytes:
    """Return the bytes that a content stands for.

    Raises:
        InvalidArguments: It is no base64, or no text.
    """
    try:
        if encoding == "base64":
            return base64.b64decode(content, validate=True)
        return content.encode()
    except (binascii.Error, ValueError):
        raise InvalidArguments(f"The content of {path[:200]} is no {encoding}.") from None


def _wanted(changes: Sequence[Change], head: Head, repo: Repo) -> list[Wanted]:
    """Return the files that are to be changed, without those that are so already."""
    found: dict[RepoPath, Wanted] = {}
    for change in changes:
        path = parse_path(change.path)
        if path in found:
            raise InvalidArguments(f"{path} is named twice in files.")
        mode, sha = head.modes.get(path, (REGULAR, ""))
        if mode == SUBMODULE:
            raise GithubConflict(f"{path} is a submodule, which this tool does not replace.")
        if change.content is None:
            if head.modes and not sha:
                raise NotFoundOrNoAccess(f"{repo} has no {path} at {head.commit} to delete.")
            found[path] = Wanted(path, mode, None)
            continue
        wanted = Wanted(path, _mode(change, mode), encoded(change.content, change.encoding, path))
        if (wanted.mode, git_sha(wanted.data or b"")) != (mode, sha):
            found[path] = wanted
    return list(found.values())


def _mode(change: Change, mode: str) -> str:
    """Return the mode of a file that is written; a link becomes a file."""
    if change.executable is not None:
        return EXECUTABLE if change.executable else REGULAR
    return EXECUTABLE if mode == EXECUTABLE else REGULAR


# --- the tools -----------------------------------------------------------------------------------


class ChangeTools:
    """The tools that change files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def push_files(self, arguments: PushFiles, context: Context) -> FileWritten:
        """Make one commit of many changes."""
        call, repo = self._desk.call(context), arguments.repository()
        branch = parse_branch(arguments.branch)
        head = await _head(call, repo, branch, arguments.from_branch)
        if arguments.head_sha and not head.commit.startswith(parse_sha(arguments.head_sha)):
            raise GithubConflict(
                f"{branch} of {repo} is at {head.commit} now, not at {arguments.head_sha}.",
                sha=head.commit,
            )
        wanted = _wanted(arguments.files, head, repo)
        if not wanted and not head.is_new:
            return FileWritten(branch=branch, parent=head.commit, unchanged=True, **call.members())
        push = Push(repo, head, wanted, arguments.message)
        permit = await call.permit(push.plan(), arguments)
        if isinstance(permit, Planned):
            return FileWritten(branch=branch, parent=head.commit, dry_run=permit, **call.members())
        commit = await push.carry_out(permit)
        return FileWritten(
            branch=branch,
            commit=commit["sha"],
            parent=head.commit,
            html_url=commit.get("html_url"),
            created_branch=head.is_new,
            **call.members(),
        )

    async def create_or_update_file(
        self, arguments: CreateOrUpdateFile, context: Context
    ) -> FileWritten:
        """Write one file, when it is still the one that was read."""
        call, repo = self._desk.call(context), arguments.repository()
        path, branch = parse_path(arguments.path), parse_branch(arguments.branch)
        data = encoded(arguments.content, arguments.encoding, path)
        there = await _file_at(call, repo, path, branch)
        _check_replaced(there, arguments, path)
        if there is not None and there["sha"] == git_sha(data):
            return FileWritten(
                branch=branch, unchanged=True, content_sha=there["sha"], **call.members()
            )
        body = {
            "message": arguments.message,
            "content": base64.b64encode(data).decode(),
            "branch": branch,
            **({"sha": there["sha"]} if there else {}),
        }
        verb = "replace" if there else "create"
        request = _of_file("PUT", repo, path, body)
        plan = Plan(
            toolset=TOOLSET,
            what=f"{verb} {path} on {branch} of {repo}",
            requests=[request],
            repo=repo,
        )
        return await _written(call, plan, arguments, branch)

    async def delete_file(self, arguments: DeleteFile, context: Context) -> FileWritten:
        """Delete one file."""
        call, repo = self._desk.call(context), arguments.repository()
        path, branch = parse_path(arguments.path), parse_branch(arguments.branch)
        there = await _file_at(call, repo, path, branch)
        if there is None:
            raise NotFoundOrNoAccess(f"{branch} of {repo} has no {path} to delete.")
        if arguments.sha and not there["sha"].startswith(parse_sha(arguments.sha)):
            raise _changed(path, there["sha"])
        body = {"message": arguments.message, "sha": there["sha"], "branch": branch}
        plan = Plan(
            toolset=TOOLSET,
            what=f"delete {path} on {branch} of {repo}",
            requests=[_of_file("DELETE", repo, path, body)],
            repo=repo,
            destructive=True,
        )
        return await _written(call, plan, arguments, branch)


# --- one file ------------------------------------------------------------------------------------


async def _file_at(call: Call, repo: Repo, path: RepoPath, branch: Branch) -> Any:
    """Return what the contents API says of a file; None where there is none.

    Raises:
        GithubConflict: It is a directory or a submodule.
    """
    try:
        found = await call.get(ONE_FILE, repo=repo, path=path, query={"ref": branch})
    except NotFoundOrNoAccess:
        return None
    if isinstance(found, list) or found["type"] == "submodule":
        kind = "directory" if isinstance(found, list) else "submodule"
        raise GithubConflict(f"{path} is a {kind} of {repo}.", hint="Give the path of a file.")
    return found


def _check_replaced(there: Any, arguments: CreateOrUpdateFile, path: RepoPath) -> None:
    """Refuse to write over what the caller has not seen, and through links."""
    if there is None:
        if arguments.sha:
            raise GithubConflict(f"There is no {path} that could be replaced.", hint="Omit sha.")
        return
    if not arguments.sha:
        raise GithubConflict(
            f"{path} exists already.",
            hint="Read it, then pass its sha to replace it.",
            sha=there["sha"],
        )
    if not there["sha"].startswith(parse_sha(arguments.sha)):
        raise _changed(path, there["sha"])
    if is_link(there) and not arguments.allow_symlink_write:
        raise GithubConflict(
            f"{path} is a symbolic link; writing it would change where it points to.",
            hint="Write the file that it points to; or set allow_symlink_write and give the new "
            "target as content; or replace the link by a file with push_files.",
            target=there.get("target"),
        )


def is_link(item: Mapping[str, Any]) -> bool:
    """Whether an item of the contents API is a link; GitHub shows the content of its target."""
    if item["type"] == "symlink":
        return True
    if item.get("encoding") != "base64":
        return False
    return git_sha(base64.b64decode(item["content"])) != str(item["sha"])


def _changed(path: str, sha: str) -> GithubConflict:
    return GithubConflict(f"{path} is another now: its blob is {sha}.", sha=sha)


def _of_file(method: str, repo: Repo, path: RepoPath, body: Mapping[str, Any]) -> Request:
    values = {"owner": repo.owner, "repo": repo.name, "path": path}
    return Request(method=method, route=ONE_FILE, values=values, body=body)


async def _written(
    call: Call, plan: Plan, arguments: WriteArguments, branch: Branch
) -> FileWritten:
    written = await call.write(plan, arguments)
    data = written.data or {}
    commit = data.get("commit") or {}
    return FileWritten(
        branch=branch,
        commit=commit.get("sha"),
        parent=next((parent["sha"] for parent in commit.get("parents") or ()), None),
        html_url=commit.get("html_url"),
        content_sha=(data.get("content") or {}).get("sha"),
        **written.members(),
        **call.members(),
    )


# --- many files ----------------------------------------------------------------------------------


async def _head(call: Call, repo: Repo, branch: Branch, from_branch: str | None) -> Head:
    """Return the head of a branch, or where one that does not exist would begin.

    Raises:
        GithubConflict: The repository has no commit yet.
    """
    try:
        found = await call.get(REF, repo=repo, ref=f"heads/{branch}")
    except NotFoundOrNoAccess:
        commit, is_new = await commit_of(call, repo, from_branch), True
    except GithubConflict as error:
        raise GithubConflict(
            f"{repo} has no commit yet.", hint="Begin with create_or_update_file."
        ) from error
    else:
        commit, is_new = str(found["object"]["sha"]), False
    tree = (await call.get(GIT_COMMIT, repo=repo, commit_sha=commit))["tree"]["sha"]
    listed = await call.get(TREE, repo=repo, tree_sha=tree, query={"recursive": "1"})
    modes = {e["path"]: (e["mode"], e["sha"]) for e in listed["tree"] if e["type"] != "tree"}
    if listed["truncated"]:
        call.warnings.append(
            "The repository is so large that GitHub does not tell which files are executable: "
            "files are written as not executable unless `executable` says so."
        )
        modes = {}
    return Head(branch, commit, str(tree), modes, is_new)


@dataclass(frozen=True, slots=True)
class Push:
    """A commit that is to be made.

    Attributes:
        wanted: Its files, each of which differs from the head.
    """

    repo: Repo
    head: Head
    wanted: Sequence[Wanted]
    message: str

    def plan(self) -> Plan:
        """Return what would be sent; what an earlier answer tells is named in words."""
        binaries = self._binaries()
        blobs = {w.path: f"(SHA of the blob of {w.path})" for w in binaries}
        deleted = sum(w.data is None for w in self.wanted)
        what = f"commit {len(self.wanted)} files ({deleted} deleted) to {self.head.branch}"
        return Plan(
            toolset=TOOLSET,
            what=f"{what} of {self.repo}, upon {self.head.commit}",
            requests=[
                *(self._blob(one) for one in binaries),
                self._tree(blobs),
                self._commit("(SHA of the tree)"),
                self._ref("(SHA of the commit)"),
            ],
            repo=self.repo,
            destructive=deleted > 0,
        )

    async def carry_out(self, permit: Permit) -> Mapping[str, Any]:
        """Send all of it; returns the commit.

        Raises:
            GithubConflict: The branch moved meanwhile; nothing of this is seen by anybody.
        """
        blobs = {
            one.path: str((await permit.send(self._blob(one))).data["sha"])
            for one in self._binaries()
        }
        tree = (await permit.send(self._tree(blobs))).data["sha"]
        commit: Mapping[str, Any] = (await permit.send(self._commit(tree))).data
        try:
            await permit.send(self._ref(commit["sha"]))
        except (GithubConflict, ValidationFailed) as error:
            raise GithubConflict(
                f"{self.head.branch} of {self.repo} did not move to the new commit: "
                f"{error.message}",
                hint="Somebody pushed meanwhile, or the branch is protected. Read the branch and "
                "push again; the commit is not on any branch.",
                commit=commit["sha"],
            ) from error
        return commit

    def _binaries(self) -> list[Wanted]:
        return [one for one in self.wanted if one.data is not None and one.text is None]

    def _blob(self, one: Wanted) -> Request:
        content = base64.b64encode(one.data or b"").decode()
        return self._post(BLOBS, {"content": content, "encoding": "base64"})

    def _tree(self, blobs: Mapping[RepoPath, str]) -> Request:
        entries = [one.entry(blobs.get(one.path)) for one in self.wanted]
        return self._post(TREES, {"base_tree": self.head.tree, "tree": entries})

    def _commit(self, tree: str) -> Request:
        body = {"message": self.message, "tree": tree, "parents": [self.head.commit]}
        return self._post(COMMITS, body)

    def _ref(self, commit: str) -> Request:
        ref = f"heads/{self.head.branch}"
        if self.head.is_new:
            return self._post(REFS, {"ref": f"refs/{ref}", "sha": commit})
        moved = self._post(MOVED_REF, {"sha": commit, "force": False})
        return replace(moved, method="PATCH", values={**moved.values, "ref": ref})

    def _post(self, route: str, body: Mapping[str, Any]) -> Request:
        values = {"owner": self.repo.owner, "repo": self.repo.name}
        return Request(method="POST", route=route, values=values, body=body)
