"""From a host name to its addresses, in a bounded number of threads and a bounded time."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from services.fetch.errors import HostUnreachable

_NO_SUCH_NAME = frozenset(
    code
    for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")
    if (code := getattr(socket, name, None)) is not None
)


class Resolver(Protocol):
    """Whom the dialler asks for the addresses of a name."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return every address of a host, A and AAAA, in the order to be tried; never none.

        Raises:
            HostUnreachable: The name does not exist or cannot be looked up.
        """
        ...


class SystemResolver:
    """The resolver of the operating system: /etc/hosts, DNS and what else it is set up for.

    A lookup that was given up goes on in its thread until the system's own limit, and counts until
    then: names that never resolve cannot use up the threads of the process.

    Args:
        time_limit_s: Seconds one lookup may take, waiting for a thread included.
        threads: Lookups that run at once.
    """

    def __init__(self, *, time_limit_s: float, threads: int = 16) -> None:
        self._time_limit_s = time_limit_s
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="fetch-resolver")

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses as getaddrinfo orders them (RFC 6724), each once."""
        try:
            async with asyncio.timeout(self._time_limit_s):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._threads, _look_up, host, port
                )
        except TimeoutError as error:
            raise name_timed_out(host, self._time_limit_s) from error
        except (OSError, UnicodeError) as error:
            raise _not_found(host, error) from error
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Let the threads end; lookups that have not begun are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def name_timed_out(host: str, time_limit_s: float) -> HostUnreachable:
    """Return the error for a lookup that took too long."""
    return HostUnreachable(
        f"{host} was not found in DNS within {time_limit_s:g} s.",
        hint="Try again later; the name server does not answer.",
        reason_code="dns_failed",
        host=host,
    )


def _look_up(host: str, port: int) -> list[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(answer[4][0]) for answer in answers]


def _not_found(host: str, error: OSError | UnicodeError) -> HostUnreachable:
    """Tell a name that does not exist from a lookup that failed and may succeed later."""
    if isinstance(error, socket.gaierror) and error.errno not in _NO_SUCH_NAME:
        return HostUnreachable(
            f"The addresses of {host} could not be looked up.",
            hint="Try again later; name resolution fails on this machine or for this name.",
            reason_code="dns_failed",
            host=host,
        )
    return HostUnreachable(
        f"There is no host named {host}.",
        hint="Check the spelling of the host name.",
        retryable=False,
        reason_code="dns_failed",
        host=host,
    )
