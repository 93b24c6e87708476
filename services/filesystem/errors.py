"""What can go wrong between a caller and the files, besides what `core.files.errors` has.

```
ToolError
├── InvalidArguments
│   ├── RootNeeded            several roots, and the path names none; fact: roots
│   ├── NotText               the file is no text; fact: mime_type
│   ├── Undecodable           it is no text in that encoding; facts: encoding, offset
│   ├── UnknownEncoding       fact: nearest
│   └── BeyondEnd             the lines or characters asked for lie behind the end
├── NotAllowed
│   ├── PathDenied            a deny glob; fact: rule
│   ├── ModeTooLow            the root does not allow it; facts: mode, needs
│   └── HardLinked            a file with several names, where the operator refuses those
├── Conflict
│   └── FileChanged           it changed between two pages, or since it was read
├── LimitExceeded
│   └── TooBigToRead          facts: size_bytes, limit_bytes
├── TimeLimitExceeded
│   └── Stopped               work in a thread was told to stop
└── DependencyUnavailable
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
    default_hint = "Use a name such as utf-8, utf-16, latin-1, windows-1252 or shift_jis."


class BeyondEnd(InvalidArguments):
    """The file ends before the part that was asked for."""

    code = "BEYOND_END"
    default_hint = "Ask for a part that the file has; tail=N reads its last lines."


class PathDenied(NotAllowed):
    """The operator denies paths like this one."""

    code = "PATH_DENIED"
    default_hint = "The operator decides with MCP_FILESYSTEM_DENY and _DENY_WRITE; use other files."


class ModeTooLow(NotAllowed):
    """The root does not allow this."""

    code = "ROOT_MODE"
    default_hint = "list_allowed_directories shows what each root allows."


class HardLinked(NotAllowed):
    """The file has several names, and one of them may lie outside the roots."""

    code = "HARD_LINKED"
    default_hint = "The operator can allow such files with MCP_FILESYSTEM_HARD_LINKS=allow."


class FileChanged(Conflict):
    """The file is not the one that was seen before."""

    code = "FILE_CHANGED"
    default_hint = "Read it again from the start."


class TooBigToRead(LimitExceeded):
    """The file has more bytes than are read at once."""

    code = "TOO_BIG_TO_READ"


class Stopped(TimeLimitExceeded):
    """The time of the call is over, or its caller left."""

    code = "STOPPED"


class RootUnavailable(DependencyUnavailable):
    """The directory of a root cannot be opened at present."""

    code = "ROOT_UNAVAILABLE"
    default_hint = "The service opens it as soon as it is there; ask the operator if it stays away."
