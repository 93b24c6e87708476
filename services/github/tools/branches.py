"""Branches and tags: lists, one tag, and making and deleting them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from core.context import Context
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.errors import GithubConflict
from services.github.models.branches import (
    Branch,
    Branches,
    RefWritten,
    Tag,
    TagDetails,
    Tags,
)
from services.github.models.common import (
    PageArguments,
    Planned,
    RepositoryArguments,
    WriteArguments,
)
from services.github.policy.names import (
    Repo,
    is_full_sha,
    parse_branch,
    parse_ref,
    parse_sha,
    parse_tag,
)
from services.github.policy.trust import TrustLabel
from services.github.tools.desk import Call, Desk
from services.github.tools.files import COMMIT, seen
from services.github.writes import Plan

TOOLSET = "branches"
READS_REFS = Annotations(open_world=True)
MAKES = Annotations(read_only=False, destructive=False, idempotent=False, open_world=True)
DELETES = Annotations(read_only=False, destructive=True, idempotent=True, open_world=True)

REF = "/repos/{owner}/{repo}/git/ref/{+ref}"
REFS = "/repos/{owner}/{repo}/git/refs"
ONE_OF_REFS = "/repos/{owner}/{repo}/git/refs/{+ref}"
TAG_OBJECTS = "/repos/{owner}/{repo}/git/tags"
TAG_OBJECT = "/repos/{owner}/{repo}/git/tags/{tag_sha}"


class ListRefs(RepositoryArguments, PageArguments):
    """Arguments of list_branches and list_tags."""


class GetTag(RepositoryArguments):
    """Arguments of get_tag."""

    tag: str


class CreateBranch(RepositoryArguments, WriteArguments):
    """Arguments of create_branch."""

    branch: str
    from_branch: str | None = Field(None, description="Branch, tag or SHA; the default branch.")


class DeleteBranch(RepositoryArguments, WriteArguments):
    """Arguments of delete_branch."""

    branch: str
    sha: str | None = Field(None, description="Only while this is its head.")


class CreateTag(RepositoryArguments, WriteArguments):
    """Arguments of create_tag."""

    tag: str
    target: str | None = Field(None, description="Branch, tag or SHA; the default branch.")
    message: str | None = Field(None, description="Makes it an annotated tag.", max_length=65_000)


class DeleteTag(RepositoryArguments, WriteArguments):
    """Arguments of delete_tag."""

    tag: str


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = BranchTools(desk)
    return [
        Listing(
            name="list_branches",
            title="List branches",
            description="Branches with their heads.",
            handler=tools.list_branches,
            arguments=ListRefs,
            result=Branches,
            annotations=READS_REFS,
        ),
        Listing(
            name="list_tags",
            title="List tags",
            description="Tags with their commits.",
            handler=tools.list_tags,
            arguments=ListRefs,
            result=Tags,
            annotations=READS_REFS,
        ),
        Listing(
            name="get_tag",
            title="Look at a tag",
            description="A tag: its commit, message, tagger.",
            handler=tools.get_tag,
            arguments=GetTag,
            result=TagDetails,
            annotations=READS_REFS,
        ),
        Listing(
            name="create_branch",
            title="Create a branch",
            description="Create a branch.",
            handler=tools.create_branch,
            arguments=CreateBranch,
            result=RefWritten,
            annotations=MAKES,
        ),
        Listing(
            name="delete_branch",
            title="Delete a branch",
            description="Delete a branch; never the default branch. Has to be confirmed.",
            handler=tools.delete_branch,
            arguments=DeleteBranch,
            result=RefWritten,
            annotations=DELETES,
        ),
        Listing(
            name="create_tag",
            title="Create a tag",
            description="Create a tag, annotated when it has a message.",
            handler=tools.create_tag,
            arguments=CreateTag,
            result=RefWritten,
            annotations=MAKES,
        ),
        Listing(
            name="delete_tag",
            title="Delete a tag",
            description="Delete a tag. Has to be confirmed.",
            handler=tools.delete_tag,
            arguments=DeleteTag,
            result=RefWritten,
            annotations=DELETES,
        ),
    ]


class BranchTools:
    """The tools about branches and tags."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- reading --------------------------------------------------------------------------------

    async def list_branches(self, arguments: ListRefs, context: Context) -> Branches:
        """List branches."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        reply = await call.page(
            "/repos/{owner}/{repo}/branches",
            repo=repo,
            page=window.page,
            per_page=window.per_page,
        )
        parts = [
            Branch(name=b["name"], sha=b["commit"]["sha"], protected=bool(b.get("protected")))
            for b in window.rest(reply.data)
        ]
        await call.origin(repo)
        shown, members = window.cut(parts, reply.next_page)
        return Branches(branches=shown, **members, **call.members())

    async def list_tags(self, arguments: ListRefs, context: Context) -> Tags:
        """List tags."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        reply = await call.page(
            "/repos/{owner}/{repo}/tags", repo=repo, page=window.page, per_page=window.per_page
        )
        parts = [Tag(name=t["name"], sha=t["commit"]["sha"]) for t in window.rest(reply.data)]
        await call.origin(repo)
        shown, members = window.cut(parts, reply.next_page)
        return Tags(tags=shown, **members, **call.members())

    async def get_tag(self, arguments: GetTag, context: Context) -> TagDetails:
        """Return a tag, with its object where it has one."""
        call, repo = self._desk.call(context), arguments.repository()
        name = parse_tag(arguments.tag)
        target = (await call.get(REF, repo=repo, ref=f"tags/{name}"))["object"]
        trust = await call.origin(repo)
        if target["type"] != "tag":
            return TagDetails(
                tag=name,
                sha=target["sha"],
                annotated=False,
                target=target["sha"],
                target_type=target["type"],
                **call.members(),
            )
        found = await call.get(TAG_OBJECT, repo=repo, tag_sha=target["sha"])
        return TagDetails(**_annotated(found, trust), **call.members())

    # -- writing --------------------------------------------------------------------------------

    async def create_branch(self, arguments: CreateBranch, context: Context) -> RefWritten:
        """Create a branch at a commit."""
        call, repo = self._desk.call(context), arguments.repository()
        branch = parse_branch(arguments.branch)
        sha = await commit_of(call, repo, arguments.from_branch)
        ref = f"refs/heads/{branch}"
        plan = Plan(
            toolset=TOOLSET,
            what=f"create the branch {branch} of {repo} at {sha}",
            requests=[_creation(repo, ref, sha)],
            repo=repo,
        )
        written = await call.write(plan, arguments)
        return RefWritten(ref=ref, sha=sha, **written.members(), **call.members())

    async def delete_branch(self, arguments: DeleteBranch, context: Context) -> RefWritten:
        """Delete a branch, unless it is the default one or has moved."""
        call, repo = self._desk.call(context), arguments.repository()
        branch = parse_branch(arguments.branch)
        if (await call.repository(repo)).default_branch == branch:
            raise GithubConflict(
                f"{branch} is the default branch of {repo}, which this tool does not delete.",
                hint="Make another branch the default one on GitHub first.",
            )
        wanted = parse_sha(arguments.sha) if arguments.sha else None
        return await _delete(call, arguments, repo, f"heads/{branch}", wanted)

    async def create_tag(self, arguments: CreateTag, context: Context) -> RefWritten:
        """Create a tag; with a message, its object first."""
        call, repo = self._desk.call(context), arguments.repository()
        name = parse_tag(arguments.tag)
        sha = await commit_of(call, repo, arguments.target)
        ref = f"refs/tags/{name}"
        creation, requests = _creation(repo, ref, sha), []
        if arguments.message is not None:
            creation = _creation(repo, ref, "(SHA of the tag object)")
            requests.append(_tag_object(repo, name, arguments.message, sha))
        plan = Plan(
            toolset=TOOLSET,
            what=f"create the tag {name} of {repo} at {sha}",
            requests=[*requests, creation],
            repo=repo,
        )
        permit = await call.permit(plan, arguments)
        if isinstance(permit, Planned):
            return RefWritten(ref=ref, sha=sha, dry_run=permit, **call.members())
        for request in requests:
            sha = (await permit.send(request)).data["sha"]
        await permit.send(_creation(repo, ref, sha))
        return RefWritten(ref=ref, sha=sha, **call.members())

    async def delete_tag(self, arguments: DeleteTag, context: Context) -> RefWritten:
        """Delete a tag."""
        call, repo = self._desk.call(context), arguments.repository()
        return await _delete(call, arguments, repo, f"tags/{parse_tag(arguments.tag)}", None)


async def commit_of(call: Call, repo: Repo, ref: str | None) -> str:
    """Return the full SHA of the commit that a ref names; of the default branch without one."""
    if ref and is_full_sha(ref):
        return parse_sha(ref, full=True)
    name = parse_ref(ref) if ref else (await call.repository(repo)).default_branch
    commit = await call.get(COMMIT, repo=repo, ref=name, query={"per_page": 1})
    return str(commit["sha"])


async def _delete(
    call: Call,
    arguments: WriteArguments,
    repo: Repo,
    ref: str,
    wanted: str | None,
) -> RefWritten:
    """Delete a ref; the token of a dry run is for the commit that it names now."""
    sha = str((await call.get(REF, repo=repo, ref=ref))["object"]["sha"])
    if wanted is not None and not sha.startswith(wanted):
        raise GithubConflict(f"refs/{ref} is at {sha} now, not at {wanted}.", sha=sha)
    values = {"owner": repo.owner, "repo": repo.name, "ref": ref}
    plan = Plan(
        toolset=TOOLSET,
        what=f"delete refs/{ref} of {repo}, which is at {sha}",
        requests=[Request(method="DELETE", route=ONE_OF_REFS, values=values)],
        repo=repo,
        destructive=True,
    )
    written = await call.write(plan, arguments)
    return RefWritten(ref=f"refs/{ref}", sha=sha, **written.members(), **call.members())


def _creation(repo: Repo, ref: str, sha: str) -> Request:
    values = {"owner": repo.owner, "repo": repo.name}
    return Request(method="POST", route=REFS, values=values, body={"ref": ref, "sha": sha})


def _tag_object(repo: Repo, name: str, message: str, sha: str) -> Request:
    return Request(
        method="POST",
        route=TAG_OBJECTS,
        values={"owner": repo.owner, "repo": repo.name},
        body={"tag": name, "message": message, "object": sha, "type": "commit"},
    )


def _annotated(found: Mapping[str, Any], trust: TrustLabel) -> dict[str, Any]:
    message = seen(found["message"], trust)
    return {
        "tag": found["tag"],
        "sha": found["sha"],
        "annotated": True,
        "target": found["object"]["sha"],
        "target_type": found["object"]["type"],
        "message": message.text,
        "tagger": dict(found["tagger"]) if found.get("tagger") else None,
        "verified": (found.get("verification") or {}).get("verified"),
        "hidden_removed": message.removed,
    }
