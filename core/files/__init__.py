"""The one opener for everything that touches disks.

`Root` holds a directory open and opens what lies below it, whatever is swapped meanwhile; paths
are tuples of names (`Rel`); errors are told in the caller's words.

```python
root = Root.open("/srv/docs", show=lambda rel: f"docs/{shown(rel)}")
fd = root.open_file(parse_rel("guide/start.md"))
with telling("docs/guide/start.md"):
    text = os.read(fd, 65536)
```
"""

from __future__ import annotations

from core.files.errors import (
    AccessDenied,
    AcrossDisks,
    BadPath,
    DirectoryNotEmpty,
    DiskFailed,
    DiskFull,
    FileBusy,
    FileExists,
    FileNotThere,
    FileTooLarge,
    NotADirectory,
    NotAFile,
    OutsideRoot,
    ReadOnlyDisk,
    TooManyLinks,
    TooManyOpenFiles,
    kind_of,
    telling,
    told,
)
from core.files.paths import Rel, asks_directory, parse_rel, shown
from core.files.root import How, Root
from core.files.syscalls import renameat2

__all__ = [
    "AccessDenied",
    "AcrossDisks",
    "BadPath",
    "DirectoryNotEmpty",
    "DiskFailed",
    "DiskFull",
    "FileBusy",
    "FileExists",
    "FileNotThere",
    "FileTooLarge",
    "How",
    "NotADirectory",
    "NotAFile",
    "OutsideRoot",
    "ReadOnlyDisk",
    "Rel",
    "Root",
    "TooManyLinks",
    "TooManyOpenFiles",
    "asks_directory",
    "kind_of",
    "parse_rel",
    "renameat2",
    "shown",
    "telling",
    "told",
]
