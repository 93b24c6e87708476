"""The bytes of a file as text in UTF-8, to search and to edit, and back to the byte.

What is not edited comes back as it was. A file that is no text in any known encoding is left as
bytes, in which ASCII means ASCII: that is enough to edit it without harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.filesystem import text
from services.filesystem.errors import NotText, Undecodable, Unencodable


@dataclass(frozen=True, slots=True)
class Exact:
    """The text of a file.

    Attributes:
        body: In UTF-8, without the byte order mark; or the file's bytes themselves.
        charset: How the file is written; None where `body` are its bytes.
        takes_any: Whether other text than ASCII may be put in.
    """

    body: bytes
    charset: text.Charset | None
    takes_any: bool = True

    @property
    def encoding(self) -> str | None:
        """The encoding's name; None where it is not known."""
        return None if self.charset is None else self.charset.name

    def bytes_of(self, body: bytes) -> bytes:
        """Return the bytes of the file with another text.

        Raises:
            Unencodable: The file's encoding lacks a character.
        """
        if self.charset is None:
            return body
        if self.charset.name == "utf-8":
            return self.charset.mark + body
        file = text.TextFile(body.decode(), self.charset, "none")
        try:
            return text.encode(file)
        except Undecodable as error:
            raise Unencodable(error.message, encoding=self.charset.name) from None

    def check_new(self, new: str) -> None:
        """Refuse new text in a file of unknown encoding, unless every encoding has it.

        Raises:
            Unencodable: It is not ASCII.
        """
        if not self.takes_any and not new.isascii():
            raise Unencodable(
                "The file is not UTF-8, and how it writes other characters than ASCII is unknown.",
                hint="Give its encoding, such as encoding='windows-1252'.",
            )


def exact(raw: bytes, encoding: str | None = None) -> Exact:
    """Return the text of a file's bytes.

    Args:
        encoding: What the caller says; found out when not given.

    Raises:
        UnknownEncoding: There is no such encoding.
        Undecodable: The bytes are not text in the encoding that was given.
    """
    try:
        found = text.decode(raw, encoding or None)
    except (NotText, Undecodable):
        if encoding:
            raise
        return Exact(raw, None, takes_any=_is_mostly_utf8(raw))
    return Exact(found.text.encode(), found.charset)


def _is_mostly_utf8(raw: bytes) -> bool:
    """Tell whether it is UTF-8 but for some broken bytes: text is then added in UTF-8."""
    decoded = raw.decode("utf-8", "surrogateescape")
    broken = sum("\udc80" <= char <= "\udcff" for char in decoded)
    return sum(char > "\x7f" for char in decoded) > 2 * broken
