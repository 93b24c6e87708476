"""Releases and their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.context import Context
from core.errors import NotFound
from core.paging import digest_of, fitting
from core.tools import Annotations, Listing
from services.github.backend.requests import Request
from services.github.errors import NotFoundOrNoAccess
from services.github.excerpts import excerpt
from services.github.models.common import (
    PageArguments,
    RepositoryArguments,
    WriteArguments,
    select,
)
from services.github.models.releases import (
    Asset,
    AssetText,
    Release,
    ReleaseDetails,
    Releases,
    ReleaseWritten,
)
from services.github.policy.names import Repo, parse_ref, parse_tag
from services.github.policy.trust import author_of
from services.github.tools.desk import Call, Desk, Heard
from services.github.tools.files import Blob, seen
from services.github.writes import Plan

TOOLSET = "releases"
READS_RELEASES = Annotations(open_world=True)
WRITES = Annotations(read_only=False, destructive=True, idempotent=False, open_world=True)

LIST = "/repos/{owner}/{repo}/releases"
ONE = "/repos/{owner}/{repo}/releases/{release_id}"
BY_TAG = "/repos/{owner}/{repo}/releases/tags/{+tag}"
NOTES = "/repos/{owner}/{repo}/releases/generate-notes"
ASSET = "/repos/{owner}/{repo}/releases/assets/{asset_id}"
BYTES = "application/octet-stream"
MAX_BODY_CHARS = 125_000

Method = Literal["create", "update", "delete", "delete_asset", "generate_notes"]


class ListReleases(RepositoryArguments, PageArguments):
    """Arguments of list_releases."""

    fields: list[str] = Field([])


class GetRelease(RepositoryArguments):
    """Arguments of get_release_by_tag."""

    tag: str
    asset: str | None = Field(None, description="Text file to read")
    cursor: str | None = None


class ReleaseWrite(RepositoryArguments, WriteArguments):
    """Arguments of release_write."""

    method: Method
    release_id: int | None = Field(None, ge=1, description="Of update and delete.")
    asset_id: int | None = Field(None, ge=1, description="Of delete_asset.")
    tag: str | None = Field(None, description="Created at target when there is none.")
    target: str | None = Field(None, description="Branch or SHA; the default branch.")
    name: str | None = Field(None, max_length=1_000)
    body: str | None = Field(None, max_length=MAX_BODY_CHARS)
    draft: bool | None = None
    prerelease: bool | None = None
    make_latest: Literal["true", "false", "legacy"] | None = None
    generate_release_notes: bool | None = None
    previous_tag: str | None = Field(None, description="Where generate_notes begins.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        wants = {
            "create": "tag",
            "update": "release_id",
            "delete": "release_id",
            "delete_asset": "asset_id",
            "generate_notes": "tag",
        }[self.method]
        if getattr(self, wants) is None:
            raise ValueError(f"{self.method} wants {wants}")
        return self


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of these tools."""
    tools = ReleaseTools(desk)
    return [
        Listing(
            name="list_releases",
            title="List releases",
            description="Releases, newest first.",
            handler=tools.list_releases,
            arguments=ListReleases,
            result=Releases,
            annotations=READS_RELEASES,
        ),
        Listing(
            name="get_latest_release",
            title="Newest release",
            description="No draft, no prerelease.",
            handler=tools.get_latest_release,
            arguments=RepositoryArguments,
            result=ReleaseDetails,
            annotations=READS_RELEASES,
        ),
        Listing(
            name="get_release_by_tag",
            title="Look at a release",
            description="A release, or the text of one of its assets.",
            handler=tools.get_release_by_tag,
            arguments=GetRelease,
            result=ReleaseDetails,
            annotations=READS_RELEASES,
        ),
        Listing(
            name="release_write",
            title="Write releases",
            description="Create, update or delete a release, delete one of its files, or have "
            "notes generated (which creates nothing). Deleting has to be confirmed.",
            handler=tools.release_write,
            arguments=ReleaseWrite,
            result=ReleaseWritten,
            annotations=WRITES,
        ),
    ]


class ReleaseTools:
    """The tools about releases."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_releases(self, arguments: ListReleases, context: Context) -> Releases:
        """List releases, with the beginnings of their texts."""
        call, repo = self._desk.call(context), arguments.repository()
        window = call.window(arguments)
        reply = await call.page(LIST, repo=repo, page=window.page, per_page=window.per_page)
        items = window.rest(reply.data)
        heard = await _heard(call, repo, items)
        limit = call.desk.settings.body_chars
        parts = [_release(item, one, limit) for item, one in zip(items, heard, strict=True)]
        shown, members = window.cut(
            select(Release, parts, arguments.fields, always=("id",)), reply.next_page
        )
        return Releases(releases=shown, **members, **call.members())

    async def get_latest_release(
        self, arguments: RepositoryArguments, context: Context
    ) -> ReleaseDetails:
        """Return the newest release."""
        call, repo = self._desk.call(context), arguments.repository()
        return await _whole(call, repo, await call.get(f"{LIST}/latest", repo=repo))

    async def get_release_by_tag(self, arguments: GetRelease, context: Context) -> ReleaseDetails:
        """Return the release of a tag, and the text of one of its files."""
        call, repo = self._desk.call(context), arguments.repository()
        tag = parse_tag(arguments.tag)
        item = await call.get(BY_TAG, repo=repo, tag=tag)
        if arguments.asset is None:
            return await _whole(call, repo, item, arguments.cursor)
        names = [asset["name"] for asset in item["assets"]]
        if arguments.asset not in names:
            raise NotFound(
                f"The release {tag} of {repo} has no such asset.",
                hint=f"It has {', '.join(names[:20]) or 'none'}.",
            )
        asset = item["assets"][names.index(arguments.asset)]
        text = await _read(call, repo, asset, arguments.cursor)
        # Whoever reads a file wants no more of the release than what it is.
        limit = call.desk.settings.body_chars
        (heard,) = await _heard(call, repo, [item])
        return ReleaseDetails(release=_release(item, heard, limit), asset=text, **call.members())

    async def release_write(self, arguments: ReleaseWrite, context: Context) -> ReleaseWritten:
        """Write a release, or delete something of it."""
        call, repo = self._desk.call(context), arguments.repository()
        request, what = _request(arguments, repo)
        if arguments.method == "create" and (there := await _existing(call, repo, arguments)):
            return _written(there, call, repeated=True)
        plan = Plan(
            toolset=TOOLSET,
            what=f"{what} of {repo}",
            requests=[request],
            repo=repo,
            destructive=arguments.method in ("delete", "delete_asset"),
        )
        written = await call.write(plan, arguments)
        return _written(written.data, call, **written.members())


# --- reading -------------------------------------------------------------------------------------


async def _whole(
    call: Call, repo: Repo, item: Mapping[str, Any], cursor: str | None = None
) -> ReleaseDetails:
    """Return a release with its whole text, or a part of it that the cursor goes on behind."""
    (heard,) = await _heard(call, repo, [item])
    release = _release(item, heard, None)
    part = call.passage(release.body, cursor, "release", repo.key, item["id"])
    release.body = part.text
    release.assets = release.assets[: fitting(release.assets, call.desk.settings.answer_bytes)]
    if left := len(item.get("assets") or ()) - len(release.assets):
        call.warnings.append(f"{left} more assets are not shown: there are too many.")
    return ReleaseDetails(release=release, next_cursor=part.next_cursor, **call.members())


async def _read(call: Call, repo: Repo, item: Mapping[str, Any], cursor: str | None) -> AssetText:
    """Return the text of a file of a release, or what is known of one that is none.

    A file that was exchanged for another of the same name has another id, so a cursor never goes on
    in another file.
    """
    digest = digest_of("asset", repo.key, item["id"])
    start_at = call.desk.cursors.position_of(cursor, digest)
    told = AssetText(name=item["name"], size=item["size"])
    found = await _asset_bytes(call, repo, item)
    if found is None or (text := found.text) is None:
        call.warnings.append(f"{item['name']} is no text that could be shown.")
        return told
    part = excerpt(text, start_at=start_at, max_bytes=call.desk.settings.answer_bytes)
    told.content, told.hidden_removed = seen(part.text, await call.origin(repo))
    told.total_lines = part.total_lines
    if part.next_at is not None:
        told.truncated = True
        told.next_cursor = call.desk.cursors.make(part.next_at, digest)
    return told


async def _heard(call: Call, repo: Repo, items: Iterable[Mapping[str, Any]]) -> list[Heard]:
    """Return who is heard in releases.

    Only who may push can make one, so lockdown withholds none; what the text is worth depends on
    whose repository it is.
    """
    trust = await call.origin(repo)
    heard = [(Heard(author_of(item), trust, withheld=False), item) for item in items]
    return [await one.ahead(item.get("body")) for one, item in heard]


async def _asset_bytes(call: Call, repo: Repo, item: Mapping[str, Any]) -> Blob | None:
    """Return a file's bytes; None when there are more of them than are read."""
    limit = call.desk.settings.max_response_bytes
    if item["size"] > limit:
        call.warnings.append(f"The file has more than {limit} bytes and is not read.")
        return None
    values = {"owner": repo.owner, "repo": repo.name, "asset_id": item["id"]}
    request = Request(route=ASSET, values=values, accept=BYTES)
    return Blob((await call.download(request, max_bytes=limit)).content, None)


def _release(item: Mapping[str, Any], heard: Heard, limit: int | None) -> Release:
    names = ("id", "target_commitish", "html_url", "created_at", "published_at")
    told = {
        "tag_name": item["tag_name"],
        "name": heard.line(item.get("name")),
        "body": heard.text(item.get("body"), limit=limit, more="get_release_by_tag"),
    }
    return Release(
        **{name: item.get(name) for name in names},
        **told,
        draft=bool(item.get("draft")),
        prerelease=bool(item.get("prerelease")),
        assets=[_asset(asset) for asset in item.get("assets") or ()],
        **heard.members(),
    )


def _asset(item: Mapping[str, Any]) -> Asset:
    names = ("id", "name", "content_type", "digest", "browser_download_url")
    return Asset(
        **{name: item.get(name) for name in names},
        size=item["size"],
        download_count=item.get("download_count") or 0,
    )


# --- writing -------------------------------------------------------------------------------------


def _request(arguments: ReleaseWrite, repo: Repo) -> tuple[Request, str]:
    """Return the request of a method, and what it does, in words."""
    values: dict[str, str | int] = {"owner": repo.owner, "repo": repo.name}
    body = _body(arguments)
    match arguments.method:
        case "create":
            return _sent("POST", LIST, values, body), f"create the release {arguments.tag}"
        case "generate_notes":
            return _sent("POST", NOTES, values, _notes(arguments)), "generate release notes"
        case "delete_asset":
            values["asset_id"] = arguments.asset_id or 0
            return _sent("DELETE", ASSET, values), f"delete the asset {arguments.asset_id}"
    values["release_id"] = arguments.release_id or 0
    if arguments.method == "update":
        return _sent("PATCH", ONE, values, body), f"change the release {arguments.release_id}"
    return _sent("DELETE", ONE, values), f"delete the release {arguments.release_id}"


def _sent(method: str, route: str, values: Mapping[str, str | int], body: Any = None) -> Request:
    return Request(method=method, route=route, values=values, body=body)


def _body(arguments: ReleaseWrite) -> dict[str, Any]:
    members = {
        "tag_name": parse_tag(arguments.tag) if arguments.tag else None,
        "target_commitish": parse_ref(arguments.target) if arguments.target else None,
        "name": arguments.name,
        "body": arguments.body,
        "draft": arguments.draft,
        "prerelease": arguments.prerelease,
        "make_latest": arguments.make_latest,
    }
    if arguments.method == "create":  # GitHub takes it of no update
        members["generate_release_notes"] = arguments.generate_release_notes
    return {name: value for name, value in members.items() if value is not None}


def _notes(arguments: ReleaseWrite) -> dict[str, Any]:
    members = {
        "tag_name": parse_tag(arguments.tag or ""),
        "target_commitish": parse_ref(arguments.target) if arguments.target else None,
        "previous_tag_name": parse_tag(arguments.previous_tag) if arguments.previous_tag else None,
    }
    return {name: value for name, value in members.items() if value is not None}


async def _existing(call: Call, repo: Repo, arguments: ReleaseWrite) -> Mapping[str, Any] | None:
    """Return the release that the same call made before: of that tag, with the same texts.

    A tag has one release that is no draft, so GitHub itself keeps it from being made twice.
    """
    if arguments.draft or arguments.dry_run:
        return None
    try:
        tag = parse_tag(arguments.tag or "")
        found: Mapping[str, Any] = await call.get(BY_TAG, repo=repo, tag=tag)
    except NotFoundOrNoAccess:
        return None
    same = all(
        wanted is None or wanted == (found.get(name) or "")
        for name, wanted in (("name", arguments.name), ("body", arguments.body))
    )
    return found if same else None


def _written(data: Mapping[str, Any] | None, call: Call, **more: Any) -> ReleaseWritten:
    names = ("id", "tag_name", "html_url", "name", "body")
    told = {name: (data or {}).get(name) for name in names}
    return ReleaseWritten(**told, **more, **call.members())
