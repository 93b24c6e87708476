"""A Docker engine for one test run, which leaves the machine and its own engine alone.

`dockerd` runs in namespaces of its own (network, mounts, processes; unshare(1)), with its data,
socket and state in one folder. What it mounts and starts ends with its first process; its bridges,
rules and published ports are in its own network, in which `Engine.run` starts commands too. On the
machine there is one pair of interfaces and what forwards its packets; `stop` removes both.

Images come from Debian packages where no registry can be reached: `scripts/make-base-image` makes
the base, `stand_ins` PostgreSQL and Redis. They are kept in `.cache/containers` between runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "containers"
FIRST_PROCESS = Path(__file__).resolve().parent / "start-engine"
STAND_INS = Path(__file__).resolve().parent / "stand_ins"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE_IMAGE = "mcp-test/python:bookworm"
DATA_IMAGE = "mcp-test/data:bookworm"
PROGRAMS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
START_TIME_LIMIT_S = 30.0
STOP_TIME_LIMIT_S = 30.0
COMMAND_TIME_LIMIT_S = 300.0
# RFC 2544's addresses for tests of networks: no machine has them.
OUTER, INNER = "198.18.{}.1", "198.18.{}.2"
BRIDGE, POOL = "198.19.0.1/24", "base=198.19.128.0/17,size=24"


class EngineError(Exception):
    """The engine did not start; the message has the last lines of its log."""


def lacking() -> list[str]:
    """Return the packages that an engine needs and that are not here."""
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return sorted(
        {package for name, package in PROGRAMS.items() if not shutil.which(name, path=search)}
    )


@dataclass(frozen=True)
class Answer:
    """What a command printed, both streams together, and its exit code."""

    code: int
    text: str


class Engine:
    """One engine.

    Args:
        folder: An empty folder for all that it keeps; a short path, as it holds a socket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = os.getpid() % 250
        self._outer: subprocess.Popen[bytes] | None = None
        self._rules: list[list[str]] = []

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._folder / "docker.sock"

    @property
    def log(self) -> Path:
        """What it says."""
        return self._folder / "dockerd.log"

    def variables(self) -> dict[str, str]:
        """Return this process's environment without settings of the suite, led to this engine."""
        foreign = ("MCP_", "COMPOSE_", "DOCKER_", "DATABASE_URL", "PYTHON_IMAGE")
        plain = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        return {**plain, "PATH": path, "DOCKER_HOST": f"unix://{self.socket}"}

    # --- its life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            EngineError: It does not answer.
        """
        own = "--net --mount --pid --fork --kill-child --mount-proc"
        with self.log.open("wb") as log:
            self._outer = subprocess.Popen(
                ["unshare", *own.split(), FIRST_PROCESS, self._folder, BRIDGE, POOL],
                env=self.variables(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._connect()
        (self._folder / "connected").touch()
        deadline = time.monotonic() + START_TIME_LIMIT_S
        while self.docker("version").code != 0:
            if self._outer.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace").splitlines()[-15:]
                raise EngineError("dockerd does not answer:\n" + "\n".join(said))
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and all that runs in it, and remove what was made on the machine."""
        if self._outer is None:
            return
        self.clear()
        first = self._first_pid()
        if first is not None:
            os.kill(first, signal.SIGTERM)
        try:
            self._outer.wait(STOP_TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            # Its first process goes with it (--kill-child), and everything else with that.
            self._outer.kill()
            self._outer.wait()
        for rule in self._rules:
            subprocess.run(["iptables", *rule], env=self.variables(), check=False)
        subprocess.run(
            ["ip", "link", "delete", self._interface],
            env=self.variables(),
            stderr=subprocess.DEVNULL,
            check=False,
        )

    # --- what runs in it ------------------------------------------------------------------------

    def run(
        self, *command: str | Path, folder: Path = ROOT, variables: Mapping[str, str] | None = None
    ) -> Answer:
        """Run a command in the engine's network, where its containers' ports are published."""
        inside = ["nsenter", f"--net=/proc/{self._first_pid()}/ns/net"]
        return self._run([*inside, *command], folder, variables or {})

    def docker(self, *arguments: str) -> Answer:
        """Run `docker`."""
        return self._run(["docker", *arguments], ROOT, {})

    def clear(self) -> None:
        """Remove all containers, also those that it would start again and again.

        Those that it removes itself leave neither control groups nor mounted folders behind.
        """
        left = self.docker("ps", "--all", "--quiet").text.split()
        if left:
            self.docker("rm", "--force", *left)

    def kill(self, pid: int) -> None:
        """Kill a process by the number that the engine knows it by."""
        inside = ["nsenter", "--target", str(self._first_pid()), "--pid"]
        subprocess.run([*inside, "sh", "-c", f"kill -KILL {pid}"], check=True)

    def _run(
        self, command: Sequence[str | Path], folder: Path, variables: Mapping[str, str]
    ) -> Answer:
        result = subprocess.run(
            command,
            cwd=folder,
            env={**self.variables(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_TIME_LIMIT_S,
        )
        return Answer(result.returncode, result.stdout)

    # --- its network ----------------------------------------------------------------------------

    @property
    def _interface(self) -> str:
        return f"mcptest{self._number}"

    def _first_pid(self) -> int | None:
        """Return the first process of the namespaces, as the machine numbers it."""
        assert self._outer is not None, "it was started"
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        found = children.read_text().split() if children.exists() else []
        return int(found[0]) if found else None

    def _connect(self) -> None:
        """Lead packets of the engine's network through the machine's."""
        while (pid := self._first_pid()) is None:
            assert self._outer is not None
            if self._outer.poll() is not None:
                raise EngineError(self.log.read_text(errors="replace"))
            time.sleep(0.02)
        outer, inner = OUTER.format(self._number), INNER.format(self._number)
        name = self._interface
        self._do(
            "ip", "link", "add", name, "type", "veth", "peer", "name", "up0", "netns", str(pid)
        )
        self._do("ip", "address", "add", f"{outer}/30", "dev", name)
        self._do("ip", "link", "set", name, "up")
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
        self._do(*inside, "address", "add", f"{inner}/30", "dev", "up0")
        self._do(*inside, "link", "set", "up0", "up")
        self._do(*inside, "link", "set", "lo", "up")
        self._do(*inside, "route", "add", "default", "via", outer)
        # As a router; dockerd sets the same.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        known = "conntrack --ctstate RELATED,ESTABLISHED"
        self._allow(f"-t nat {{}} POSTROUTING -s {inner} -j MASQUERADE", "-A")
        self._allow(f"{{}} FORWARD -i {name} -j ACCEPT", "-I")
        self._allow(f"{{}} FORWARD -o {name} -m {known} -j ACCEPT", "-I")

    def _allow(self, rule: str, how: str) -> None:
        self._do("iptables", *rule.format(how).split())
        self._rules.append(rule.format("-D").split())

    def _do(self, *command: str) -> None:
        subprocess.run(command, env=self.variables(), check=True, capture_output=True, text=True)


def provide_images(engine: Engine, *, keep: bool) -> None:
    """Load the images to build on, or make them.

    Args:
        keep: Save what was made for the next run on this machine.

    Raises:
        EngineError: They could not be made.
    """
    kept = CACHE / f"{_digest()}.tar"
    if kept.exists():
        engine.docker("load", "--quiet", "--input", str(kept))
        return
    _require(engine.run(ROOT / "scripts" / "make-base-image", BASE_IMAGE))
    build = ["build", "--quiet", "--build-arg", f"PYTHON_IMAGE={BASE_IMAGE}", "--tag", DATA_IMAGE]
    _require(engine.docker(*build, str(STAND_INS)))
    if not keep:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    new = kept.with_suffix(".new")
    _require(engine.docker("save", "--output", str(new), BASE_IMAGE, DATA_IMAGE))
    for old in CACHE.glob("*.tar"):
        old.unlink()
    new.replace(kept)


def _digest() -> str:
    """Return what the images are made of, as a short name."""
    files = [ROOT / "scripts" / "make-base-image", *sorted(STAND_INS.iterdir()), AUTHORITIES]
    digest = hashlib.sha256()
    for file in filter(Path.exists, files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _require(answer: Answer) -> None:
    if answer.code != 0:
        raise EngineError(answer.text)
