"""The registry: `config/services.yaml` and `config/networks.yaml` as typed rows."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from core.settings import SettingsError, read_config_file
from core.settings.loading import known_keys
from scripts.deploy.command_line import nearest
from scripts.deploy.errors import DeployError, UsageError
from scripts.deploy.paths import Project

SERVICES_FILE = Path("config") / "services.yaml"
NETWORKS_FILE = Path("config") / "networks.yaml"


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Row):
    """The tool call that shows that a service works.

    Attributes:
        errors: Codes with one of which the call has to end, where it is a refusal that shows it.
        if_offered: The service may have tools of others instead: then none is called, as nobody
            knows what it does, and none needs an output schema.
    """

    tool: str
    arguments: dict[str, Any] = {}
    errors: tuple[str, ...] = ()
    if_offered: bool = False


class Mount(_Row):
    """A path of this machine that a container may be given, read-only; nothing without it.

    Attributes:
        variable: Environment variable with the path.
        target: Where the container has it.
        setting: Variable of the service that is told the target, where it has to be.
        group_variable: Variable with the number of the group that may use the path; the path's own
            when not set.
        default: Where the clone has the file that `setting` names, unless it names another. Such a
            setting names the file of this machine, and `variable` is told it by `deploy.sh`.
    """

    variable: str
    target: str = Field(pattern=r"^/")
    setting: str | None = None
    group_variable: str | None = None
    default: Path | None = None


class Service(_Row):
    """One service; `config/services.yaml` explains the members."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    port: int = Field(ge=1, le=65535)
    port_variable: str
    container: str
    module: str
    description: str
    networks: tuple[str, ...]
    environment: tuple[str, ...] = ()
    database: bool = False
    database_given_by: tuple[str, ...] = ()
    folder_variable: str | None = None
    services_variable: str | None = None
    internet: bool = False
    wanted_by: tuple[str, ...] = ()
    home: bool = False
    mounts: tuple[Mount, ...] = ()
    check: Check | None = None
    memory: str = "256m"
    cpus: str = "1.0"
    pids: int = 128

    @property
    def prefix(self) -> str:
        """The prefix of the service's own settings."""
        return f"MCP_{self.name.upper()}_"

    @property
    def env_file_variable(self) -> str:
        """The variable that names the container's environment file to compose."""
        return f"{self.prefix}ENV_FILE"

    @property
    def is_optional(self) -> bool:
        """Whether it runs only where somebody wants it."""
        return bool(self.wanted_by)

    @property
    def files(self) -> dict[str, Mount]:
        """Settings that name a file of this machine, each with how a container gets it."""
        return {m.setting: m for m in self.mounts if m.setting and m.default is not None}


class Bundled(_Row):
    """A container of somebody else's image that comes with ours.

    Attributes:
        name: As the commands and the table of `status` name it.
        title: As a sentence begins with it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    container: str
    image: str
    image_variable: str
    networks: tuple[str, ...]
    memory: str = "1g"


class Database(Bundled):
    """The bundled PostgreSQL, which is a process of this machine without containers."""

    title = "The demo database"
    name = "database"
    port: int = Field(ge=1, le=65535)
    port_variable: str
    binaries_variable: str


class Redis(Bundled):
    """The bundled Redis."""

    title = "Redis"
    name = "redis"


class LiteLLM(Bundled):
    """The bundled gateway."""

    title = "LiteLLM"
    name = "litellm"
    port: int = Field(ge=1, le=65535)
    port_variable: str


class Network(_Row):
    """One container network."""

    description: str


class Registry(_Row):
    """Everything that can be started."""

    services: dict[str, Service]
    mounts: tuple[Mount, ...] = ()
    database: Database
    redis: Redis
    litellm: LiteLLM
    networks: dict[str, Network]

    @property
    def regular(self) -> list[Service]:
        """The services that `up` starts wherever it is called."""
        return [service for service in self.services.values() if not service.is_optional]

    @property
    def bundled(self) -> tuple[Bundled, ...]:
        """The containers of others, in the order in which they are started."""
        return self.database, self.redis, self.litellm

    def mounts_of(self, service: Service) -> tuple[Mount, ...]:
        """Return what the container of a service is given of this machine."""
        return (*self.mounts, *service.mounts)

    def path_variables_of(self, service: Service) -> list[str]:
        """Return the variables that name what is mounted into the container of a service."""
        folder = [service.folder_variable] if service.folder_variable else []
        return [*folder, *(mount.variable for mount in self.mounts_of(service))]

    def chosen(self, name: str | None) -> list[Service]:
        """Return the one service of that name, or all without a name.

        Raises:
            UsageError: No such service.
        """
        if name is None:
            return list(self.services.values())
        if name not in self.services:
            raise UsageError(f"There is no service {name!r}. {nearest(name, self.services)}")
        return [self.services[name]]

    @property
    def variables(self) -> set[str]:
        """Variables that are read here and are no settings of a service."""
        names = {bundled.image_variable for bundled in self.bundled}
        names |= {self.database.port_variable, self.database.binaries_variable}
        names |= {self.litellm.port_variable, "MCP_LITELLM_CONFIG", "MCP_LITELLM_ENV_FILE"}
        for service in self.services.values():
            names |= {service.port_variable, service.env_file_variable}
            names |= {service.folder_variable} if service.folder_variable else set()
            for mount in self.mounts_of(service):
                names |= {mount.variable, mount.group_variable or mount.variable}
        return names


def load(project: Project) -> Registry:
    """Read the registry.

    Raises:
        DeployError: A file is missing or wrong; says where.
    """
    data = _sections(project, SERVICES_FILE, Registry.model_fields.keys() - {"networks"})
    entries = data.get("services")
    if not isinstance(entries, Mapping):
        raise DeployError(f"{SERVICES_FILE} has no section services.")
    named = {
        name: {"name": name, **entry} if isinstance(entry, Mapping) else entry
        for name, entry in entries.items()
    }
    networks = _sections(project, NETWORKS_FILE, {"networks"})
    registry = _validated(Registry, {**data, "services": named, **networks})
    for service in registry.services.values():
        for network in service.networks:
            if network not in registry.networks:
                told = f"{SERVICES_FILE}: {service.name}: {network!r} is not in {NETWORKS_FILE}."
                raise DeployError(f"{told} {nearest(network, registry.networks)}")
    return registry


Model = TypeVar("Model", bound=BaseModel)


def _validated(model: type[Model], data: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise DeployError("\n".join(_explained(model, detail) for detail in details)) from None


def _explained(model: type[BaseModel], detail: ErrorDetails) -> str:
    location = detail["loc"]
    file = NETWORKS_FILE if location[0] == "networks" else SERVICES_FILE
    place = f"{file}: {'.'.join(map(str, location))}"
    if detail["type"] != "extra_forbidden":
        return f"{place}: {detail['msg']}."
    return f"{place}: no such key. {nearest(str(location[-1]), known_keys(model, location))}"


def _sections(project: Project, name: Path, known: Set[str]) -> dict[str, Any]:
    try:
        values = read_config_file(project.root / name).values
    except SettingsError as error:
        raise DeployError(str(error)) from None
    for section in values:
        if section not in known:
            raise DeployError(f"{name}: {section}: no such section. {nearest(section, known)}")
    return values
