"""Bound what HTTP wraps around content: the bytes of a connection against those of its bodies.

The limits on bodies do not see headers, interim answers, chunk sizes and chunk extensions. A server
that sends `1;aaaa…` before every byte, or 103 Early Hints without end, would have as much of the
network and the processor as it likes until the time is over.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpcore

FRAMING_BYTES = 256 * 1024
"""More than a header block may have (100 KiB) and one read beyond it."""
FRAMING_SHARE = 0.25
"""Of the content; chunks of 20 bytes have as much."""


class MeteredStream(httpcore.AsyncNetworkStream):
    """One connection; HTTP/1.1 has one exchange on it at a time."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self.begin()

    def begin(self) -> None:
        """Forget what was read: another exchange begins."""
        self._read = self._content = 0

    def count_content(self, length: int) -> None:
        """Note that so many of the bytes were a body's."""
        self._content += length

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
    ) -> bytes:
        """Read.

        Raises:
            httpcore.RemoteProtocolError: There is too much around the content.
        """
        if self._read - self._content > FRAMING_BYTES + FRAMING_SHARE * self._content:
            raise httpcore.RemoteProtocolError("it sends more framing than content")
        data = await self._inner.read(max_bytes, timeout)
        self._read += len(data)
        return data

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
    ) -> None:
        """Write."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
    ) -> httpcore.AsyncNetworkStream:
        """Encrypt; what was decrypted is metered then."""
        return MeteredStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return what the other stream knows."""
        return self._inner.get_extra_info(info)
