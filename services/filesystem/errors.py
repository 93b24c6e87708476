"""What can go wrong between a caller and the files, besides what `core.files.errors` has.

```
ToolError
├── InvalidArguments
│   ├── RootNeeded            several roots, and the path names none; fact: roots
│   ├── NotText               the file is no text; fact: mime_type
│   ├── Undecodable           it is no text in that encoding; facts: encoding, offset
│   ├── UnknownEncoding       fact: nearest
│   ├── BeyondEnd             the lines or characters asked for lie behind the end
│   ├── Unencodable           the new text has characters that the file's encoding lacks
│   └── BadPatch              a patch that is no unified diff of one file
├── NotAllowed
│   ├── PathDenied            a deny glob; fact: rule
│   ├── ModeTooLow            the root does not allow it; facts: mode, needs
│   ├── HardLinked            a file with several names, where the operator refuses those
│   ├── HoldsDenied           a directory with things that may not be changed; fact: entries
│   └── NothingInCommon       the client's roots are all elsewhere; facts: client_roots, roots
├── NotFound
│   ├── EditNotFound          the text to replace is not there; facts: edit or hunk, closest
│   └── ChangeUnknown         no change of that id can be undone
├── Conflict
│   ├── FileChanged           it changed since it was read, or between pages; facts: sha256, kept
│   ├── EditAmbiguous         the text to replace is there more often; facts: places, lines
│   └── CountNeeded           much would be deleted; fact: confirm_count
├── LimitExceeded
│   └── TooBigToRead          facts: size_bytes, limit_bytes
├── TimeLimitExceeded
│   └── Stopped               work in a thread was told to stop
└── DependencyUnavailable
    ├── WatchUnavailable      the system lets the server's user watch no more
    └── RootUnavailable       the root's directory is not there; fact: root
```

No message holds the path of a root's directory, of anything outside, or a file's contents.
"""

from __future__ import annotations

from core.errors import (
    Conflict,
    DependencyUnavailable,
    InvalidArguments,
    LimitExceeded,
    NotAllowed,
    NotFound,
    TimeLimitExceeded,
)


class RootNeeded(InvalidArguments):
    """There are several roots and the path begins with none of them."""

    code = "ROOT_NEEDED"
    default_hint = "list_allowed_directories shows the roots."


class NotText(InvalidArguments):
    """The file holds something else than text."""

    code = "NOT_TEXT"
    default_hint = "Use read_media_file, which returns any file as it is."


class Undecodable(InvalidArguments):
    """The file is not text in the encoding that was tried; nothing was replaced."""

    code = "UNDECODABLE"
    default_hint = (
        "Give the file's encoding, such as encoding='latin-1', or use read_media_file for its "
        "bytes."
    )


class UnknownEncoding(InvalidArguments):
    """No text encoding of that name."""

    code = "UNKNOWN_ENCODING"
    default_hint = (
        "Use a name such as utf-8, utf-16, latin-1, windows-1252 or shift_jis; bytes are read with "
        "read_media_file and written with content_base64 of write_file."
    )


class BeyondEnd(InvalidArguments):
    """The file ends before the part that was asked for."""

    code = "BEYOND_END"
    default_hint = "Ask for a part that the file has; tail=N reads its last lines."


class Unencodable(InvalidArguments):
    """The encoding of the file has no way to write a character."""

    code = "UNENCODABLE"
    default_hint = "Use other characters, or write the whole file in utf-8 with write_file."


class BadPatch(InvalidArguments):
    """The patch cannot be read, or is one of several files."""

    code = "BAD_PATCH"
    default_hint = "Send the unified diff of one file, or use edits."


class PathDenied(NotAllowed):
    """The operator denies paths like this one."""

    code = "PATH_DENIED"
    default_hint = "The operator decides with MCP_FILESYSTEM_DENY and _DENY_WRITE; use other files."


class ModeTooLow(NotAllowed):
    """The root does not allow this."""

    code = "ROOT_MODE"
    default_hint = "list_allowed_directories shows what each root allows."


class NothingInCommon(NotAllowed):
    """The roots that the client gave leave nothing of the operator's."""

    code = "CLIENT_ROOTS"
    default_hint = (
        "Give the client a root that contains one of the allowed directories or lies in one, or "
        "let the operator set MCP_FILESYSTEM_CLIENT_ROOTS=ignore."
    )


class HardLinked(NotAllowed):
    """The file has several names, and one of them may lie outside the roots."""

    code = "HARD_LINKED"
    default_hint = "The operator can allow such files with MCP_FILESYSTEM_HARD_LINKS=allow."


class HoldsDenied(NotAllowed):
    """The directory holds things that the operator does not let anybody change."""

    code = "HOLDS_DENIED"
    default_hint = "Work on the other things in the directory one by one."


class EditNotFound(NotFound):
    """What an edit replaces is not in the file; nothing was changed."""

    code = "EDIT_NOT_FOUND"
    default_hint = "Repeat the text as it is in the file; `closest` shows where they differ."


class ChangeUnknown(NotFound):
    """There is no such change, or it is too long ago, or another's."""

    code = "CHANGE_UNKNOWN"
    default_hint = "undo_change with list=true shows the changes that can be undone."


class FileChanged(Conflict):
    """The file is not the one that was seen before."""

    code = "FILE_CHANGED"
    default_hint = "Read it again from the start."


class EditAmbiguous(Conflict):
    """What an edit replaces is in the file more or less often than it says; nothing was changed."""

    code = "EDIT_AMBIGUOUS"
    default_hint = "Repeat more of the lines around it, or give count (0 for all places)."


class CountNeeded(Conflict):
    """So much would be deleted that the caller has to say how much it is."""

    code = "COUNT_NEEDED"
    default_hint = "Check with dry_run=true, then repeat the call with this confirm_count."


class TooBigToRead(LimitExceeded):
    """The file has more bytes than are read at once."""

    code = "TOO_BIG_TO_READ"


class Stopped(TimeLimitExceeded):
    """The time of the call is over, or its caller left."""

    code = "STOPPED"


class WatchUnavailable(DependencyUnavailable):
    """The system does not let changes be watched at present."""

    code = "WATCH_UNAVAILABLE"
    default_hint = "Call again later, or list the directory again instead."


class RootUnavailable(DependencyUnavailable):
    """The directory of a root cannot be opened at present."""

    code = "ROOT_UNAVAILABLE"
    default_hint = "The service opens it as soon as it is there; ask the operator if it stays away."
