"""The tools that change files, and diff_files, which shows what changes would be."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from core.context import Context
from core.errors import InvalidArguments
from core.models import Arguments
from core.tools import Annotations, Listing
from services.filesystem.backend import Stop, moving, undoing, writing
from services.filesystem.backend.edits import LineEdit, TextEdit
from services.filesystem.backend.writing import Edits, Job, Put
from services.filesystem.models import writing as models
from services.filesystem.settings import Mode
from services.filesystem.tools.desk import Desk

ADDS = Annotations(read_only=False, destructive=False, idempotent=True)
REMOVES = Annotations(read_only=False, destructive=True, idempotent=True)
CHANGES = Annotations(read_only=False, destructive=True, idempotent=False)
MAX_EDITS = 200
LISTED = 20
"""Changes that undo_change lists where it is not said how many."""


def _sha256(text: str) -> str | None:
    """Return a SHA-256 in small letters; none for an empty one, which some models send for null."""
    text = text.strip().lower()
    if text and re.fullmatch("[0-9a-f]{64}", text) is None:
        raise ValueError("a SHA-256 has 64 hexadecimal digits, as reading and writing tell it")
    return text or None


Sha256 = Annotated[str, AfterValidator(_sha256)]
IfSha256 = Field(None, description="Refused if it has another now.")


class WriteFile(Arguments):
    """Arguments of write_file."""

    path: str
    content: str | None = None
    content_base64: str | None = Field(None, description="Instead of content: bytes.")
    mode: Literal["create", "overwrite", "append"] = "overwrite"
    if_sha256: Sha256 | None = IfSha256
    make_parents: bool = Field(False, description="Make missing directories.")
    encoding: str | None = Field(None, description="Of content; utf-8.")
    dry_run: bool = False

    @model_validator(mode="after")
    def _has_one_content(self) -> Self:
        if (self.content is None) == (self.content_base64 is None):
            raise ValueError("give content or content_base64, one of them")
        return self


_FOREIGN = {
    "old_text": "oldText",
    "new_text": "newText",
    "old_string": "oldText",
    "new_string": "newText",
    "old_str": "oldText",
    "new_str": "newText",
}
"""What other tools call the texts of an edit: models mix them up."""


class Edit(Arguments):
    """A text or lines to replace."""

    oldText: str | None = Field(None, description="As in the file.")
    newText: str
    count: int | None = Field(None, ge=0, description="Places; 0 for all. Default 1.")
    regex: bool = Field(False, description="oldText is RE2, newText may use \\1.")
    start_line: int | None = Field(None, ge=1, description="Instead of oldText.")
    end_line: int | None = Field(None, ge=0, description="start_line - 1 inserts before it.")

    @model_validator(mode="before")
    @classmethod
    def _has_our_names(cls, given: Any) -> Any:
        if isinstance(given, dict) and (foreign := [name for name in given if name in _FOREIGN]):
            first, *more = (f"{name} is called {_FOREIGN[name]}" for name in foreign)
            raise ValueError(", ".join([f"{first} here", *more]))
        return given

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if (self.oldText is None) == (self.start_line is None):
            raise ValueError("give oldText or start_line, one of them")
        if self.start_line is None and self.end_line is not None:
            raise ValueError("end_line needs start_line")
        if self.start_line is not None and (self.regex or self.count is not None):
            raise ValueError("count and regex go with oldText")
        return self

    def to_edit(self) -> TextEdit | LineEdit:
        """Return it as what is applied."""
        if self.start_line is not None:
            end = self.start_line if self.end_line is None else self.end_line
            return LineEdit(self.start_line, end, self.newText)
        count = 1 if self.count is None else self.count
        return TextEdit(self.oldText or "", self.newText, count, self.regex)


class EditFile(Arguments):
    """Arguments of edit_file."""

    path: str
    edits: list[Edit] | None = Field(None, min_length=1, max_length=MAX_EDITS)
    patch: str | None = Field(None, description="Instead of edits: a unified diff.")
    if_sha256: Sha256 | None = IfSha256
    encoding: str | None = Field(None, description="When it is not told right.")
    dryRun: bool = Field(False, description="Only show the diff.")

    @model_validator(mode="before")
    @classmethod
    def _has_texts_in_edits(cls, given: Any) -> Any:
        if isinstance(given, dict) and not _FOREIGN.keys().isdisjoint(given):
            raise ValueError("texts to replace are expected as edits: [{oldText, newText}]")
        return given

    @field_validator("edits", mode="before")
    @classmethod
    def _is_no_string(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError("an array of objects is expected, not a string with one")
        return given

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        if (self.edits is None) == (self.patch is None):
            raise ValueError("give edits or patch, one of them")
        kinds = {edit.start_line is None for edit in self.edits or ()}
        if len(kinds) > 1:
            raise ValueError("edits by text and by lines cannot be mixed in one call")
        return self


class CreateDirectory(Arguments):
    """Arguments of create_directory."""

    path: str
    parents: bool = True


class MoveFile(Arguments):
    """Arguments of move_file."""

    source: str
    destination: str
    overwrite: bool = Field(False, description="Replace a file; it goes to the trash.")


class CopyFile(Arguments):
    """Arguments of copy_file."""

    source: str
    destination: str
    overwrite: bool = Field(False, description="Replace a file.")
    recursive: bool = Field(False, description="Copy a directory with what it holds.")
    dry_run: bool = False


class DeleteFile(Arguments):
    """Arguments of delete_file."""

    path: str
    recursive: bool = Field(False, description="Delete a directory with what it holds.")
    to_trash: bool = Field(True, description="false: for good.")
    dry_run: bool = False
    confirm_count: int | None = Field(None, ge=0, description="The entries that dry_run counted.")


class UndoChange(Arguments):
    """Arguments of undo_change."""

    id: int | None = Field(None, ge=1, description="undo_id of a change; else the last ones.")
    last: int = Field(1, ge=1, le=100)
    list: bool = False


class DiffFiles(Arguments):
    """Arguments of diff_files."""

    a: str
    b: str
    context: int = Field(3, ge=0, le=100, description="Unchanged lines around changes.")


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools that some root allows."""
    tools = WritingTools(desk)
    allowed = max((slot.spec.mode for slot in desk.roots.slots.values()), default=Mode.LIST)
    return [
        *(_comparing(tools) if allowed >= Mode.READ else ()),
        *(_writing(tools) if allowed >= Mode.WRITE else ()),
        *(_removing(tools) if allowed >= Mode.DELETE else ()),
    ]


def _comparing(tools: WritingTools) -> list[Listing]:
    return [
        Listing(
            name="diff_files",
            title="Compare files",
            description="Show how two files differ, as a unified diff.",
            handler=tools.diff_files,
            arguments=DiffFiles,
            result=models.FileDiff,
        )
    ]


def _writing(tools: WritingTools) -> list[Listing]:
    return [
        Listing(
            name="write_file",
            title="Write a file",
            description="Create, replace or append to a file, exactly as given; edit_file changes "
            "parts. With the if_sha256 that you read, nobody's change is overwritten.",
            handler=tools.write_file,
            arguments=WriteFile,
            result=models.Written,
            annotations=CHANGES,
        ),
        Listing(
            name="edit_file",
            title="Edit a file",
            description="Change parts of a text file, all or nothing: by texts in order, by lines "
            "as numbered before, or by a patch. The rest stays the same to the byte. Ambiguous "
            "text is refused; for text not found the closest is shown.",
            handler=tools.edit_file,
            arguments=EditFile,
            result=models.Edited,
            annotations=CHANGES,
        ),
        Listing(
            name="create_directory",
            title="Create a directory",
            description="Make a directory, and those above; one that exists is fine.",
            handler=tools.create_directory,
            arguments=CreateDirectory,
            result=models.Made,
            annotations=ADDS,
        ),
        Listing(
            name="copy_file",
            title="Copy a file or directory",
            description="Copy a file or directory to a new name; links that lead out, devices and "
            "denied files are skipped.",
            handler=tools.copy_file,
            arguments=CopyFile,
            result=models.CopyMade,
            annotations=REMOVES,
        ),
        Listing(
            name="undo_change",
            title="Undo changes",
            description="Take back your last changes, or one by its undo_id; refused where "
            "something changed since.",
            handler=tools.undo_change,
            arguments=UndoChange,
            result=models.Undone,
            annotations=CHANGES,
        ),
    ]


def _removing(tools: WritingTools) -> list[Listing]:
    return [
        Listing(
            name="move_file",
            title="Move or rename",
            description="Move or rename a file or directory, also between roots.",
            handler=tools.move_file,
            arguments=MoveFile,
            result=models.Moved,
            annotations=CHANGES,
        ),
        Listing(
            name="delete_file",
            title="Delete a file or directory",
            description="Delete a file, link or directory, to a trash from which undo_change "
            "brings it back. A large directory needs the confirm_count that dry_run tells.",
            handler=tools.delete_file,
            arguments=DeleteFile,
            result=models.Deleted,
            annotations=REMOVES,
        ),
    ]


class WritingTools:
    """The tools that change files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def write_file(self, arguments: WriteFile, context: Context) -> models.Written:
        """Write a whole file."""
        desk = await self._desk.for_call(context)
        how = Put(
            if_sha256=arguments.if_sha256,
            must_exist=False if arguments.mode == "create" else None,
            make_parents=arguments.make_parents,
            dry_run=arguments.dry_run,
        )
        data = _content(arguments)

        def work(stop: Stop) -> models.Written:
            place = desk.roots.place(arguments.path, Mode.WRITE)
            append = arguments.mode == "append"
            return writing.write_file(stop, _job(desk, context), place, data, how, append=append)

        return await desk.backend.run(work)

    async def edit_file(self, arguments: EditFile, context: Context) -> models.Edited:
        """Edit parts of a file."""
        desk = await self._desk.for_call(context)
        how = Put(if_sha256=arguments.if_sha256, must_exist=True, dry_run=arguments.dryRun)
        encoding = arguments.encoding or None

        def work(stop: Stop) -> models.Edited:
            place = desk.roots.place(arguments.path, Mode.WRITE)
            job, edits = _job(desk, context), _edits(arguments)
            return writing.edit_file(stop, job, place, edits, how, encoding=encoding)

        return await desk.backend.run(work)

    async def create_directory(self, arguments: CreateDirectory, context: Context) -> models.Made:
        """Make a directory."""
        desk = await self._desk.for_call(context)

        def work(stop: Stop) -> models.Made:
            place = desk.roots.place(arguments.path, Mode.WRITE)
            job = _job(desk, context)
            return writing.create_directory(stop, job, place, parents=arguments.parents)

        return await desk.backend.run(work)

    async def move_file(self, arguments: MoveFile, context: Context) -> models.Moved:
        """Move or rename."""
        desk = await self._desk.for_call(context)

        def work(stop: Stop) -> models.Moved:
            source = desk.roots.place(arguments.source, Mode.DELETE)
            target = desk.roots.place(arguments.destination, Mode.WRITE)
            job = _job(desk, context)
            return moving.move_file(stop, job, source, target, overwrite=arguments.overwrite)

        return await desk.backend.run(work)

    async def copy_file(self, arguments: CopyFile, context: Context) -> models.CopyMade:
        """Copy a file or directory."""
        desk = await self._desk.for_call(context)

        def work(stop: Stop) -> models.CopyMade:
            return moving.copy_file(
                stop,
                _job(desk, context),
                desk.roots.place(arguments.source, Mode.READ),
                desk.roots.place(arguments.destination, Mode.WRITE),
                overwrite=arguments.overwrite,
                recursive=arguments.recursive,
                dry_run=arguments.dry_run,
            )

        return await desk.backend.run(work)

    async def delete_file(self, arguments: DeleteFile, context: Context) -> models.Deleted:
        """Delete a file or directory."""
        desk = await self._desk.for_call(context)

        def work(stop: Stop) -> models.Deleted:
            return moving.delete_file(
                stop,
                _job(desk, context),
                desk.roots.place(arguments.path, Mode.DELETE),
                recursive=arguments.recursive,
                to_trash=arguments.to_trash,
                dry_run=arguments.dry_run,
                confirm_count=arguments.confirm_count,
            )

        return await desk.backend.run(work)

    async def undo_change(self, arguments: UndoChange, context: Context) -> models.Undone:
        """Take changes back, or list them."""
        desk = await self._desk.for_call(context)

        def work(stop: Stop) -> models.Undone:
            job = _job(desk, context)
            if arguments.list:
                said = "last" in arguments.model_fields_set
                return undoing.list_changes(stop, job, arguments.last if said else LISTED)
            return undoing.undo(stop, job, change_id=arguments.id, last=arguments.last)

        return await desk.backend.run(work)

    async def diff_files(self, arguments: DiffFiles, context: Context) -> models.FileDiff:
        """Compare two files."""
        desk = await self._desk.for_call(context)

        def work(stop: Stop) -> models.FileDiff:
            return writing.diff_files(
                stop,
                _job(desk, context),
                desk.roots.place(arguments.a, Mode.READ),
                desk.roots.place(arguments.b, Mode.READ),
                context=arguments.context,
                max_chars=desk.settings.answer_bytes // 2,
            )

        return await desk.backend.run(work)


def _job(desk: Desk, context: Context) -> Job:
    return Job(desk.roots, desk.settings, desk.backend.history, context.principal.name)


def _content(arguments: WriteFile) -> bytes:
    if arguments.content is not None:
        return writing.encoded(arguments.content, arguments.encoding or None)
    try:
        return base64.b64decode(arguments.content_base64 or "", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArguments("content_base64 is not base64 (RFC 4648 §4).") from None


def _edits(arguments: EditFile) -> Edits:
    if arguments.patch is not None:
        return arguments.patch
    edits = [edit.to_edit() for edit in arguments.edits or ()]
    lines = [edit for edit in edits if isinstance(edit, LineEdit)]
    return lines or [edit for edit in edits if isinstance(edit, TextEdit)]
