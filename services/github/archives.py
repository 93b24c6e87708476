"""Zip archives of artifacts and logs: what they hold, and the text of one file.

Nothing is unpacked to a disk, and of one file no more than was asked for, so a bomb stays packed.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
import zlib
from collections.abc import Sequence

from core.errors import LimitExceeded, NotFound
from core.untrusted import clean
from services.github.backend.requests import Download
from services.github.errors import BadResponse
from services.github.models.actions import ArchiveEntry

MAX_LISTED = 200
MAX_READ_BYTES = 1024 * 1024
MAX_NAME_CHARS = 300
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive:
    """An archive in memory.

    Attributes:
        total: Files in it.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._files = [info for info in archive.infolist() if not info.is_dir()]
        self.total = len(self._files)

    @classmethod
    async def open(cls, download: Download) -> Archive:
        """Return the archive that was downloaded.

        Raises:
            LimitExceeded: It is larger than what is downloaded.
            BadResponse: It is no archive.
        """
        if download.truncated:
            size = f" of {download.total_bytes} bytes" if download.total_bytes else ""
            raise LimitExceeded(
                f"The archive{size} is larger than the {len(download.content)} bytes that are "
                "downloaded.",
                hint="Open it on GitHub; the operator sets MCP_GITHUB_MAX_DOWNLOAD_BYTES.",
            )
        return cls(await asyncio.to_thread(_opened, download.content))

    def entries(self) -> list[ArchiveEntry]:
        """Return the first files with their sizes."""
        return [
            ArchiveEntry(path=_name(info), size_bytes=info.file_size)
            for info in self._files[:MAX_LISTED]
        ]

    async def text(self, path: str, max_bytes: int) -> tuple[str, bool]:
        """Return the beginning of a file as text, and whether there is more of it.

        Raises:
            NotFound: There is no such file; names some that there are.
            BadResponse: It is damaged or encrypted.
        """
        named = {_name(info): info for info in reversed(self._files)}
        if path not in named:
            raise NotFound(
                "The archive has no such file.",
                hint="Take a path from files.",
                nearest=_nearest(path, list(named)),
            )
        limit = min(max_bytes, MAX_READ_BYTES)
        data = await asyncio.to_thread(self._read, named[path], limit + 1)
        return data[:limit].decode("utf-8", errors="replace"), len(data) > limit

    def _read(self, info: zipfile.ZipInfo, size: int) -> bytes:
        if info.compress_type not in _METHODS or info.flag_bits & 1:
            raise BadResponse("The file is encrypted or packed in an unusual way.")
        try:
            with self._archive.open(info) as file:
                return file.read(size)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
            raise BadResponse("The file is damaged.") from error


def _opened(content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise BadResponse("What GitHub sent is no zip archive.") from error


def _name(info: zipfile.ZipInfo) -> str:
    return clean(info.filename[:MAX_NAME_CHARS]).text


def _nearest(path: str, names: Sequence[str]) -> list[str]:
    """Return names that end alike, or hold what was asked for."""
    last = path.rsplit("/", 1)[-1].lower()
    return [name for name in names if last and last in name.lower()][:3]
