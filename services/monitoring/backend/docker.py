"""Containers, asked of the Docker Engine over its unix socket.

Who can write to that socket is root on the machine, so what is asked is narrowed in one place:
`_answer` sends GET and nothing else, to paths of `ALLOWED` and no others. Ids in them come from the
engine's own list, never from a caller. Environment variables are read for their names only.

Source: https://docs.docker.com/reference/api/engine/ (podman serves the same API)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import httpx
from pydantic_core import from_json

from core.redaction import MARK, redact, redact_argv
from core.untrusted import clean
from services.monitoring.backend.log_stream import LogStream
from services.monitoring.errors import DockerUnavailable
from services.monitoring.logs.formats import shown

ALLOWED = re.compile(
    r"/version|(?:/v[0-9]\.[0-9]{1,3})?/containers/(?:json|[0-9a-f]{12,64}/(?:json|stats|logs))"
)
_ABOUT_ONE = re.compile("/containers/[0-9a-f]+/")
NEWEST_API = (1, 47)
OLDEST_API = (1, 25)
TIME_LIMIT_S = 4.0
STATS_APART_S = 0.5
AT_ONCE = 8
MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_LOG_BYTES = 4 * 1024 * 1024
COPY_BYTES = 64 * 1024
MAX_LINE_CHARS = 2_000
MAX_TEXT_CHARS = 300
MAX_NAMES = 100
_SENSITIVE = {
    "/": "the whole machine",
    "/proc": "the machine's processes",
    "/sys": "the machine's devices",
    "/etc": "the machine's configuration",
    "/root": "the home of root",
}
_ENGINE_SOCKETS = ("docker.sock", "podman.sock", "containerd.sock")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a container wrote, redacted and without control characters.

    Attributes:
        at: As the engine told it, ISO 8601; None when it did not.
    """

    at: str | None
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Mount:
    """What a container sees of elsewhere.

    Attributes:
        source: The name of a volume, or what a sensitive path of the machine is; where else on the
            machine a folder lies is not told.
    """

    target: str
    kind: str
    source: str | None
    writable: bool


@dataclass(frozen=True, slots=True)
class Container:
    """The facts of one container.

    Attributes:
        health: healthy, unhealthy or starting; None without a health check.
        exit_code: Of the last end; None while it runs.
        started_at: And `finished_at`: ISO 8601; None when never.
        cpus: The limit; None for none, as `memory_bytes` and `pids`.
        environment: Names of the variables, never values.
        is_inspected: Whether the engine told more of it than its list does.
    """

    id: str
    name: str
    image: str
    digest: str
    state: str
    status: str
    health: str | None
    restarts: int | None
    restart_policy: str | None
    exit_code: int | None
    oom_killed: bool
    error: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    command: list[str]
    ports: list[str]
    mounts: list[Mount]
    networks: list[str]
    labels: dict[str, str]
    environment: list[str]
    memory_bytes: int | None
    cpus: float | None
    pids: int | None
    privileged: bool
    has_tty: bool
    is_inspected: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container uses now.

    Attributes:
        cpu_percent: Of one processor; None when it could be read once only.
        memory_bytes: Without the file cache that the kernel can take back, as `docker stats`.
    """

    cpu_percent: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    pids: int | None
    rx_bytes: int
    tx_bytes: int
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class Engine:
    """Who answers on the socket.

    Attributes:
        api: The version of the API that is spoken with it.
    """

    name: str
    version: str
    api: str


class Docker:
    """Asks one engine.

    Args:
        socket: Path of its socket.
        seconds: For one request.
    """

    def __init__(self, socket: str, *, seconds: float = TIME_LIMIT_S) -> None:
        self._socket = socket
        self._seconds = seconds
        self._engine: Engine | None = None

    @property
    def has_socket(self) -> bool:
        """Whether there is a socket; without one, there is nothing to complain of."""
        with contextlib.suppress(OSError):
            return stat.S_ISSOCK(os.stat(self._socket).st_mode)
        return False

    async def engine(self) -> Engine:
        """Return who answers.

        Raises:
            DockerUnavailable: Nobody, or not to us; says what to do.
        """
        async with self._client() as client:
            return await self._negotiated(client)

    async def listed(self, *, include_stopped: bool) -> tuple[Engine, list[dict[str, Any]]]:
        """Return the engine, and its containers as it lists them, newest first.

        Raises:
            DockerUnavailable: As `engine`.
        """
        async with self._client() as client:
            engine = await self._negotiated(client)
            path = f"/v{engine.api}/containers/json"
            rows = await self._json(client, path, all=str(include_stopped).lower())
            if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
                raise _misunderstood(path)
            return engine, rows

    async def inspect(self, rows: Sequence[Mapping[str, Any]]) -> list[Container]:
        """Return the facts of listed containers; those that nothing is told of are left out."""
        return [container for container in await self.seen(rows) if container.is_inspected]

    async def seen(self, rows: Sequence[Mapping[str, Any]]) -> list[Container]:
        """Return the facts of listed containers; those that went away meanwhile are left out.

        Of one that the engine does not answer about, there is what its list says.
        """
        gone: set[str] = set()

        async def one(client: httpx.AsyncClient, api: str, row: Mapping[str, Any]) -> Container:
            path = f"/v{api}/containers/{row['Id']}/json"
            try:
                return container_of(row, await self._json(client, path))
            except _Gone:
                gone.add(row["Id"])
                raise

        found = await self._side_by_side(rows, one)
        return [
            container or listed_only(row)
            for row, container in zip(rows, found, strict=True)
            if row["Id"] not in gone
        ]

    async def usage(self, ids: Sequence[str]) -> dict[str, Usage]:
        """Return what running containers use: two readings of each, half a second apart."""

        async def one(client: httpx.AsyncClient, api: str, id_: str) -> Any:
            path = f"/v{api}/containers/{id_}/stats"
            return await self._json(client, path, stream="false", **{"one-shot": "true"})

        first = await self._side_by_side(ids, one)
        await asyncio.sleep(STATS_APART_S)
        second = await self._side_by_side(ids, one)
        rows = zip(ids, first, second, strict=True)
        return {id_: usage_of(old, new) for id_, old, new in rows if isinstance(new, dict)}

    async def logs(
        self, containers: Sequence[tuple[str, bool]], lines: int
    ) -> dict[str, list[LogLine]]:
        """Return the last lines of containers.

        Those that are gone, do not answer or wrote more than is read at once are left out.

        Args:
            containers: Id of each, and whether it has a terminal.
        """

        async def one(
            client: httpx.AsyncClient, api: str, container: tuple[str, bool]
        ) -> tuple[str, list[LogLine]]:
            id_, has_tty = container
            path = f"/v{api}/containers/{id_}/logs"
            parameters = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(lines)}
            data = await self._get(client, path, parameters, max_bytes=MAX_LOG_BYTES)
            return id_, log_lines(data, has_tty=has_tty)[-lines:]

        found = await self._side_by_side(containers, one)
        return dict(pair for pair in found if pair is not None)

    async def copy_logs(
        self,
        wanted: Mapping[str, Mapping[str, str]],
        take: Callable[[str, bytes], None],
        *,
        max_bytes: int,
    ) -> set[str]:
        """Hand over the logs of containers, with times, piece by piece as they come in.

        Args:
            wanted: Id of each, and `since`, `until` and `tail` as the engine takes them.
            take: Is given an id and what came of its log.
            max_bytes: Of one log; what follows is not read.

        Returns:
            The ids of those that were read to their end.

        Raises:
            DockerUnavailable: As `engine`.
        """

        async def one(client: httpx.AsyncClient, api: str, id_: str) -> str | None:
            path, left = f"/v{api}/containers/{id_}/logs", max_bytes
            parameters = {"stdout": "1", "stderr": "1", "timestamps": "1", **wanted[id_]}
            async with self._answer(client, path, parameters) as response:
                # The engine sends each message by itself, which would be one write for each.
                async for chunk in response.aiter_bytes(COPY_BYTES):
                    take(id_, chunk)
                    left -= len(chunk)
                    if left < 0:
                        return None
            return id_

        return {id_ for id_ in await self._side_by_side(list(wanted), one) if id_ is not None}

    # -- how it is asked --------------------------------------------------------------------------

    async def _side_by_side(
        self,
        items: Sequence[Any],
        ask: Callable[[httpx.AsyncClient, str, Any], Awaitable[T]],
    ) -> list[T | None]:
        """Ask about several containers at once; None for those that are gone or do not answer."""
        turns = asyncio.Semaphore(AT_ONCE)
        async with self._client() as client:
            engine = await self._negotiated(client)

            async def one(item: Any) -> T | None:
                async with turns:
                    try:
                        return await ask(client, engine.api, item)
                    except (_Gone, DockerUnavailable):
                        return None

            tasks = [asyncio.create_task(one(item)) for item in items]
            try:
                if tasks:
                    await asyncio.wait(tasks, timeout=self._seconds)
            finally:
                late = [task for task in tasks if task.cancel()]
                await asyncio.gather(*late, return_exceptions=True)
            return [None if task.cancelled() else task.result() for task in tasks]

    def _client(self) -> httpx.AsyncClient:
        # Without TLS on the socket, loading the authorities would be most of a request's time.
        transport = httpx.AsyncHTTPTransport(uds=self._socket, verify=False)
        return httpx.AsyncClient(
            transport=transport, base_url="http://docker", timeout=self._seconds, trust_env=False
        )

    async def _negotiated(self, client: httpx.AsyncClient) -> Engine:
        if self._engine is None:
            self._require_socket()
            self._engine = engine_of(await self._json(client, "/version"))
        return self._engine

    def _require_socket(self) -> None:
        try:
            mode = os.stat(self._socket).st_mode
        except OSError as error:
            raise _unavailable(error.errno) from None
        if not stat.S_ISSOCK(mode):
            raise _unavailable(errno.ENOENT)

    async def _json(self, client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
        data = await self._get(client, path, parameters)
        try:
            return from_json(data)
        except ValueError:
            raise _misunderstood(path) from None

    async def _get(
        self,
        client: httpx.AsyncClient,
        path: str,
        parameters: Mapping[str, str],
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        """Return what the engine answers, as a whole; raises as `_answer`."""
        async with self._answer(client, path, parameters) as response:
            return await _body(response, max_bytes)

    @contextlib.asynccontextmanager
    async def _answer(
        self, client: httpx.AsyncClient, path: str, parameters: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """Ask the engine: the only place from which anything is sent to it.

        Raises:
            _Gone: There is no such container any more.
            DockerUnavailable: It does not answer as it should.
        """
        if not ALLOWED.fullmatch(path):
            raise AssertionError(f"{path!r} is not to be asked of the engine")
        try:
            async with (
                asyncio.timeout(self._seconds),
                client.stream("GET", path, params=dict(parameters)) as response,
            ):
                if response.status_code == 404 and _ABOUT_ONE.search(path):
                    raise _Gone
                if response.status_code != 200:
                    self._engine = None
                    raise _refused(response.status_code)
                yield response
        except (TimeoutError, httpx.TimeoutException):
            raise _unavailable(errno.ETIMEDOUT) from None
        except httpx.HTTPError as error:
            self._engine = None
            raise _unavailable(_errno_of(error)) from None


class _Gone(Exception):
    """The container is not there any more."""


async def _body(response: httpx.Response, max_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > max_bytes:
            raise DockerUnavailable(
                f"An answer of the engine is larger than {max_bytes // 1024} kB.",
                hint="Ask for fewer lines.",
            )
    return bytes(data)


def _errno_of(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


_REASONS: Mapping[int | None, tuple[str, str]] = {
    errno.ENOENT: (
        "There is no Docker socket here.",
        "In a container of ./deploy.sh up --docker: set MCP_MONITORING_SOCKET_MOUNT to the "
        "machine's socket (/var/run/docker.sock) and run up again. On a machine: install Docker, "
        "or name the socket in MCP_MONITORING_DOCKER_SOCKET.",
    ),
    errno.EACCES: (
        "The Docker socket does not let this service in.",
        "Add its user to the group of the socket (docker), or set MCP_MONITORING_SOCKET_GROUP to "
        "the group's number for the container.",
    ),
    errno.ECONNREFUSED: (
        "There is a Docker socket, but no engine behind it.",
        "Start the engine: systemctl start docker.",
    ),
    errno.ETIMEDOUT: (
        "The Docker engine does not answer in time.",
        "It hangs or is overloaded: see system_overview, and the engine's log (journalctl -u "
        "docker).",
    ),
}


def _unavailable(number: int | None) -> DockerUnavailable:
    number = errno.EACCES if number == errno.EPERM else number
    number = errno.ENOENT if number == errno.ENOTDIR else number
    reason = "What answers on the Docker socket is no Docker engine.", "Check which socket it is."
    message, hint = _REASONS.get(number, reason)
    return DockerUnavailable(message, hint=hint)


def _refused(status: int) -> DockerUnavailable:
    hint = "A proxy in front of the socket may forbid it: allow GET of containers and version."
    return DockerUnavailable(f"The Docker engine answered with status {status}.", hint=hint)


def _misunderstood(path: str) -> DockerUnavailable:
    what = path.rpartition("/")[2]
    return DockerUnavailable(
        f"The engine's answer about {what} is not what the Docker Engine API describes.",
        hint="Check which engine listens on the socket; Docker 17.03 or later and podman do.",
    )


# --- what it says ---------------------------------------------------------------------------------


def engine_of(version: Any) -> Engine:
    """Return the engine and the API to speak with it: the newest that both know.

    Raises:
        DockerUnavailable: It is too old, or no Docker engine.
    """
    try:
        newest, oldest = (_number(version[key]) for key in ("ApiVersion", "MinAPIVersion"))
        components = version.get("Components") or []
        name = "podman" if "podman" in str(components[:1]).lower() else "docker"
        told = _text(version["Version"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _misunderstood("/version") from None
    api = max(oldest, min(newest, NEWEST_API))
    if newest < OLDEST_API:
        raise DockerUnavailable(
            f"The engine speaks version {newest[0]}.{newest[1]} of the API at most.",
            hint="Docker 17.03 or later is needed.",
        )
    return Engine(name, told, f"{api[0]}.{api[1]}")


def _number(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and bool(re.fullmatch("[0-9a-f]{12,64}", str(row.get("Id"))))


def name_of(row: Mapping[str, Any]) -> str:
    """Return the name of a listed container."""
    names = row.get("Names")
    name = names[0] if isinstance(names, list) and names else row["Id"][:12]
    return _text(name).removeprefix("/")


def container_of(row: Mapping[str, Any], facts: Any) -> Container:
    """Return what is told of a container.

    Args:
        row: Of the list.
        facts: Of inspect.

    Raises:
        DockerUnavailable: They are not what the API describes.
    """
    try:
        return _container(row, facts, facts["State"], facts["HostConfig"], facts["Config"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise _misunderstood("/inspect") from None


def listed_only(row: Mapping[str, Any]) -> Container:
    """Return what the list alone tells of a container."""
    return replace(_container(row, {}, {}, {}, {}), is_inspected=False)


def _container(
    row: Mapping[str, Any],
    facts: Mapping[str, Any],
    state: Mapping[str, Any],
    host: Mapping[str, Any],
    config: Mapping[str, Any],
) -> Container:
    runs = bool(state.get("Running")) and not state.get("Restarting")
    return Container(
        id=row["Id"][:12],
        name=name_of(row),
        image=_text(row.get("Image") or config.get("Image") or ""),
        digest=_text(facts.get("Image") or row.get("ImageID") or ""),
        state=_text(state.get("Status") or row.get("State") or ""),
        status=_text(row.get("Status") or ""),
        health=_text((state.get("Health") or {}).get("Status") or "") or None,
        restarts=_whole(facts.get("RestartCount")),
        restart_policy=_text((host.get("RestartPolicy") or {}).get("Name") or "") or None,
        exit_code=None if runs else _whole(state.get("ExitCode")),
        oom_killed=bool(state.get("OOMKilled")),
        error=_secretless(state.get("Error") or ""),
        created_at=_text(facts.get("Created") or ""),
        started_at=_time(state.get("StartedAt")),
        finished_at=None if runs else _time(state.get("FinishedAt")),
        command=_command(facts),
        ports=list(_ports((facts.get("NetworkSettings") or {}).get("Ports") or {})),
        mounts=[_mount(mount) for mount in (facts.get("Mounts") or [])[:MAX_NAMES]],
        networks=[_text(n) for n in (facts.get("NetworkSettings") or {}).get("Networks") or {}],
        labels=_labels(config.get("Labels") or {}),
        environment=sorted(_text(v).partition("=")[0] for v in config.get("Env") or [])[:MAX_NAMES],
        memory_bytes=_whole(host.get("Memory")) or None,
        cpus=_cpus(host),
        pids=_positive(host.get("PidsLimit")),
        privileged=bool(host.get("Privileged")),
        has_tty=bool(config.get("Tty")),
    )


def _text(value: Any) -> str:
    return clean(str(value)).text[:MAX_TEXT_CHARS]


def _secretless(value: Any) -> str:
    return redact(clean(str(value)).text[:MAX_LINE_CHARS]).text[:MAX_TEXT_CHARS]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _positive(value: Any) -> int | None:
    number = _whole(value)
    return number if number is not None and number > 0 else None


def _time(value: Any) -> str | None:
    return None if not value or str(value).startswith("0001-") else _text(value)


def _command(facts: Mapping[str, Any]) -> list[str]:
    argv = [str(facts.get("Path") or ""), *map(str, facts.get("Args") or [])]
    redacted = redact_argv([clean(argument).text for argument in argv[:50] if argument])
    return [argument[:MAX_TEXT_CHARS] for argument in redacted]


def _ports(ports: Mapping[str, Any]) -> Iterator[str]:
    for inside, outside in ports.items():
        for binding in outside or [None]:
            if binding is None:
                yield _text(inside)
            else:
                outside_port = f"{_text(binding.get('HostIp'))}:{_text(binding.get('HostPort'))}"
                yield f"{outside_port}->{_text(inside)}"


def _mount(mount: Mapping[str, Any]) -> Mount:
    kind = _text(mount.get("Type") or "")
    source = str(mount.get("Source") or "").rstrip("/") or "/"
    named = _text(mount.get("Name") or "") if kind == "volume" else _sensitive(source)
    target = _text(mount.get("Destination") or "")
    return Mount(target, kind, named or None, bool(mount.get("RW")))


def _sensitive(path: str) -> str | None:
    return "an engine's socket" if path.endswith(_ENGINE_SOCKETS) else _SENSITIVE.get(path)


def _labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels; what looks like a secret, and paths of the machine, are not shown."""
    shown: dict[str, str] = {}
    for name, value in list(labels.items())[:MAX_NAMES]:
        told = _secretless(f"{name}={value}").removeprefix(f"{name}=")
        shown[_text(name)] = "[path]" if told.startswith("/") else told
    return shown


def _cpus(host: Mapping[str, Any]) -> float | None:
    if nano := _positive(host.get("NanoCpus")):
        return nano / 1e9
    quota, period = _positive(host.get("CpuQuota")), _positive(host.get("CpuPeriod"))
    return quota / (period or 100_000) if quota else None


def usage_of(before: Any, now: Mapping[str, Any]) -> Usage:
    """Return what two answers of `stats` come to; what the engine leaves out is None or none."""
    memory = _part(now, "memory_stats")
    detail = _part(memory, "stats")
    # cgroup v2 calls it inactive_file, v1 total_inactive_file.
    cache = _whole(detail.get("total_inactive_file")) or _whole(detail.get("inactive_file")) or 0
    used = _whole(memory.get("usage"))
    networks = [n for n in _part(now, "networks").values() if isinstance(n, Mapping)]
    blocks = _part(now, "blkio_stats").get("io_service_bytes_recursive")
    return Usage(
        cpu_percent=_cpu_percent(before, now),
        memory_bytes=None if used is None else max(0, used - cache),
        memory_limit_bytes=_whole(memory.get("limit")),
        pids=_whole(_part(now, "pids_stats").get("current")),
        rx_bytes=sum(_whole(network.get("rx_bytes")) or 0 for network in networks),
        tx_bytes=sum(_whole(network.get("tx_bytes")) or 0 for network in networks),
        read_bytes=_blocks(blocks, "read"),
        written_bytes=_blocks(blocks, "write"),
    )


def _part(data: Any, name: str) -> Mapping[str, Any]:
    part = data.get(name) if isinstance(data, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _cpu_percent(before: Any, now: Mapping[str, Any]) -> float | None:
    old, new = (
        _whole(_part(_part(answer, "cpu_stats"), "cpu_usage").get("total_usage"))
        for answer in (before, now)
    )
    try:
        seconds = (_read_at(now) - _read_at(before)).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None
    if old is None or new is None or seconds <= 0:
        return None
    return max(0.0, (new - old) / 1e9 / seconds * 100)


def _read_at(answer: Any) -> datetime:
    return datetime.fromisoformat(_micro(answer["read"]))


def _micro(text: str) -> str:
    """Return a time with at most six digits of a second, which is all that Python reads."""
    return re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text)


def _blocks(entries: Any, operation: str) -> int:
    rows = [row for row in entries or [] if isinstance(row, Mapping)]
    return sum(
        _whole(row.get("value")) or 0 for row in rows if str(row.get("op")).lower() == operation
    )


# --- logs -----------------------------------------------------------------------------------------


def log_lines(data: bytes, *, has_tty: bool) -> list[LogLine]:
    """Return the lines of a log, oldest first; what was cut in the middle is shown as it is.

    Args:
        has_tty: Whether the container has a terminal, whose output has no frames.
    """
    log = LogStream(has_tty=has_tty)
    lines = [_line(stream, line) for stream, line, _ in (*log.feed(data), *log.end())]
    return _without_keys(lines)


def _line(stream: str, data: bytes) -> LogLine:
    text = data.decode("utf-8", "replace").rstrip("\r")
    begin, _, rest = text.partition(" ")
    at = begin if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-])", begin) else None
    plain = (rest if at else text).replace("\r", " ")
    # Cut after it was redacted, so that no secret is left that the cut made unrecognisable.
    return LogLine(at, stream, shown(plain[: 4 * MAX_LINE_CHARS]).text[:MAX_LINE_CHARS])


def _without_keys(lines: Sequence[LogLine]) -> list[LogLine]:
    """Return the lines without those of private keys, which are secret only as a whole.

    A key may have begun before the first line that was asked for, or end after the last.
    """
    begins = [i for i, line in enumerate(lines) if _KEY_BEGINS.search(line.text)]
    ends = [i for i, line in enumerate(lines) if _KEY_ENDS.search(line.text)]
    secret: set[int] = set()
    for begin in begins:
        secret |= set(range(begin + 1, next((end for end in ends if end >= begin), len(lines))))
    for end in ends:
        if not any(begin <= end for begin in begins):
            secret |= set(range(end))
    return [replace(line, text=MARK) if i in secret else line for i, line in enumerate(lines)]


_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_KEY_ENDS = re.compile(r"-----END [A-Z ]*PRIVATE KEY")
