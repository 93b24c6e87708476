"""The Kubernetes manifests as kustomize makes them: valid, and right about each other."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from core.settings import Settings, variables_of
from scripts.deploy import registry
from scripts.deploy.contents import image_of
from scripts.deploy.paths import project_here
from scripts.generate.compose import REDIS_MEMORY, REDIS_POLICY
from scripts.generate.discover import settings_class
from scripts.generate.kubernetes import NOT_PUBLIC, NOT_PUBLIC_V6
from tests.platforms.manifests import (
    KUBERNETES,
    OVERLAY,
    Object,
    built,
    copied,
    named,
    of_kind,
    pods,
)
from tests.servers.processes import ServerProcess

SERVICES = registry.load(project_here()).services
CONTAINERS = {service.container: service for service in SERVICES.values()}
OPTIONAL = [name for name, service in SERVICES.items() if service.is_optional]
# The oldest that clouds still support, and the newest that there are schemas of.
VERSIONS = ("1.32", "1.37")
SERVERS = {"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}
HASH = re.compile(r"-[2456789bcdfghkmt]{10}$")
VARIABLE = re.compile(r"\$\(([A-Z_]+)\)")


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with secrets."""
    return copied(tmp_path_factory.mktemp("kubernetes") / "copy")


@pytest.fixture(scope="module")
def objects(overlay: Path) -> list[Object]:
    """What the example applies, with the components for keys and for what is optional besides."""
    added = (*OPTIONAL, *(f"{name}-ingress-hosts" for name in OPTIONAL), "keys")
    return built(variant(overlay, "with-keys", add=added))


@pytest.fixture(scope="module")
def nginx(overlay: Path) -> list[Object]:
    """What it applies with the other Ingress in place of its own, as its comment says."""
    added = ("ingress-nginx", *OPTIONAL, *(f"{name}-ingress-nginx" for name in OPTIONAL))
    return built(variant(overlay, "nginx", add=added, remove="ingress-hosts"))


@pytest.fixture(scope="module")
def own(overlay: Path) -> list[Object]:
    """What a copy applies with settings of its own, and the addresses that it reaches."""
    folder = overlay.with_name("own")
    shutil.copytree(overlay, folder)
    shutil.copy(folder.parent.parent / "base" / "settings.yaml", folder / "settings.yaml")
    with (folder / "settings.yaml").open("a", encoding="utf-8") as settings:
        settings.write("postgres: {pool_max: 3}\n")
    file = folder / "kustomization.yaml"
    text = file.read_text(encoding="utf-8").replace("# - egress.yaml ", "- egress.yaml ")
    content = yaml.safe_load(text)
    content["configMapGenerator"][0]["files"] = ["settings.yaml"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return built(folder)


def variant(overlay: Path, name: str, *, add: tuple[str, ...], remove: str = "") -> Path:
    """Copy an overlay, with other components besides, or in the place of one."""
    folder = overlay.with_name(name)
    shutil.copytree(overlay, folder)
    file = folder / "kustomization.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    kept = [path for path in content["components"] if not remove or not path.endswith(remove)]
    content["components"] = [*kept, *(f"../../components/{each}" for each in add)]
    for name in (each for each in OPTIONAL if each in add):
        # As docs/kubernetes.md has it.
        (folder / "servers.json").write_text(json.dumps(SERVERS), encoding="utf-8")
        made = {"name": SERVICES[name].container, "files": ["servers.json"]}
        content["configMapGenerator"].append(made)
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


# --- schemas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_of_the_api(objects: list[Object], version: str) -> None:
    """Strictly: a key that the API does not know would be dropped silently by the server."""
    assert len(objects) > 30
    for found in objects:
        kubernetes_validate.validate(found, version, strict=True)


def test_a_key_that_the_api_does_not_know_is_noticed(objects: list[Object]) -> None:
    """Otherwise the test above would say nothing."""
    wrong = json.loads(json.dumps(of_kind(objects, "Deployment")[0]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ingress_for_nginx_is_valid_too(nginx: list[Object], version: str) -> None:
    """In the place of the other, as its comment says."""
    for found in of_kind(nginx, "Ingress"):
        kubernetes_validate.validate(found, version, strict=True)
        assert found["spec"]["rules"][0]["host"] == "mcp.example.org"


# --- the suite --------------------------------------------------------------------------------


def test_every_service_is_deployed_from_the_image_that_compose_builds(
    objects: list[Object],
) -> None:
    """The base names compose's images; the example gives each the registry and a version."""
    found = dict(pods(objects))
    assert set(found) == set(CONTAINERS) | {"mcp-redis"}
    for name, service in CONTAINERS.items():
        (container,) = found[name]["containers"]
        prefix = f"registry.example.org/{image_of(service).partition(':')[0]}:"
        assert container["image"].startswith(prefix), "overlays/example: images"
        assert container["image"] != f"{prefix}latest"


def test_pods_keep_the_restricted_standard(objects: list[Object]) -> None:
    """Pod Security Standards, restricted, and the root of the container is read-only besides."""
    for name, pod in pods(objects):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == (999 if name == "mcp-redis" else 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in pod["containers"]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False
            assert inner["readOnlyRootFilesystem"] is True
            assert inner["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    labels = named(objects, "Namespace", "mcp-tools")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_kubernetes_sets_no_variables_that_look_like_ours(objects: list[Object]) -> None:
    """Service links would: MCP_POSTGRES_PORT=tcp://10.0.0.1:8001 for the Service mcp-postgres."""
    for _, pod in pods(objects):
        assert pod["enableServiceLinks"] is False


def test_variables_of_pods_are_settings(objects: list[Object]) -> None:
    """Or are made up of others of the pod, which stand before them."""
    helpers = {"POD_IP", "POD_NAMESPACE", "PUBLIC_HOST", "REDIS_PASSWORD", "MCP_CONFIG_FILE"}
    core = {name for name, _ in variables_of(Settings)}
    for name, pod in pods(objects):
        if name not in CONTAINERS:
            continue
        service = CONTAINERS[name]
        own = {variable for variable, _ in variables_of(settings_class(service.name))}
        seen: set[str] = set()
        for entry in pod["containers"][0]["env"]:
            assert entry["name"] in core | own | helpers
            assert set(VARIABLE.findall(entry.get("value", ""))) <= seen
            seen.add(entry["name"])


def test_the_settings_file_is_read_by_the_servers(objects: list[Object], tmp_path: Path) -> None:
    """As it stands in the ConfigMap; the hosts are a JSON list once the variables are filled in."""
    data = named(objects, "ConfigMap", "mcp-settings")["data"]
    file = tmp_path / "settings.yaml"
    file.write_text(data["settings.yaml"], encoding="utf-8")
    server = Settings.from_file(file).server
    for name, pod in pods(objects):
        if name in CONTAINERS:
            assert pod["terminationGracePeriodSeconds"] > (
                server.drain_delay_s + server.graceful_timeout_s
            )
            env = pod["containers"][0]["env"]
            values = {entry["name"]: entry.get("value", "") for entry in env}
            hosts = json.loads(values["MCP_HTTP_SECURITY__ALLOWED_HOSTS"])
            assert {name, f"{name}.$(POD_NAMESPACE).svc", "$(PUBLIC_HOST)"} <= set(hosts)


def test_probes_ask_what_the_server_answers(objects: list[Object]) -> None:
    """Readiness fails while a server drains, liveness does not; at the port of the container."""
    for name, pod in pods(objects):
        if name not in CONTAINERS:
            continue
        container = pod["containers"][0]
        paths = {
            key: container[f"{key}Probe"]["httpGet"]["path"]
            for key in ("startup", "liveness", "readiness")
        }
        assert paths == {"startup": "/health", "liveness": "/health", "readiness": "/ready"}
        assert container["ports"] == [{"name": "http", "containerPort": CONTAINERS[name].port}]
        server_unready_s = 5
        ready = container["readinessProbe"]
        assert ready["periodSeconds"] * ready["failureThreshold"] < server_unready_s


# --- names that have to be there --------------------------------------------------------------


def references(value: Any) -> list[tuple[str, str, str | None, bool]]:
    """Return kind, name, key and whether it may be missing, of what a pod takes values from."""
    kinds = {
        "configMapKeyRef": "ConfigMap",
        "secretKeyRef": "Secret",
        "configMapRef": "ConfigMap",
        "secretRef": "Secret",
        "configMap": "ConfigMap",
        "secret": "Secret",
    }
    found = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in kinds and isinstance(inner, dict):
                name = inner.get("name") or inner["secretName"]
                found.append((kinds[key], name, inner.get("key"), inner.get("optional", False)))
            found += references(inner)
    elif isinstance(value, list):
        for inner in value:
            found += references(inner)
    return found


def test_what_pods_refer_to_is_there(objects: list[Object]) -> None:
    """Every Secret, ConfigMap and key, but the keys file, which an operator makes by a command."""
    there = {
        (found["kind"], found["metadata"]["name"]): set(found["data"])
        for found in of_kind(objects, "Secret", "ConfigMap")
    }
    for name, pod in pods(objects):
        for kind, target, key, optional in references(pod):
            if optional or target == "mcp-keys":
                continue
            assert (kind, target) in there, f"{name}: {kind} {target}"
            assert key is None or key in there[(kind, target)], f"{name}: {key}"


def test_volumes_are_mounted_and_claimed(objects: list[Object]) -> None:
    """Each mount has its volume, each volume its mount, each claim its object."""
    claims = {found["metadata"]["name"] for found in of_kind(objects, "PersistentVolumeClaim")}
    for name, pod in pods(objects):
        mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}, name
        used = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert used <= claims


def test_selectors_find_the_pods_they_are_for(objects: list[Object]) -> None:
    """Deployments, Services and disruption budgets each exactly their own."""
    labels = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in of_kind(objects, "Deployment")
    }

    def found_by(selector: dict[str, str]) -> list[str]:
        return [name for name, own in labels.items() if selector.items() <= own.items()]

    for found in of_kind(objects, "Deployment", "PodDisruptionBudget"):
        selector = found["spec"]["selector"]["matchLabels"]
        assert found_by(selector) == [found["metadata"]["name"]]
    for found in of_kind(objects, "Service"):
        assert found_by(found["spec"]["selector"]) == [found["metadata"]["name"]]
    for found in of_kind(objects, "NetworkPolicy"):
        assert found_by(found["spec"]["podSelector"].get("matchLabels", {}))


def test_ports_lead_from_the_ingress_to_the_container(
    objects: list[Object], nginx: list[Object]
) -> None:
    """By name from Ingress to Service to container; both kinds of Ingress."""
    services = {found["metadata"]["name"]: found["spec"] for found in of_kind(objects, "Service")}
    assert set(services) == set(CONTAINERS) | {"mcp-redis"}
    for found in of_kind(objects, "Ingress") + of_kind(nginx, "Ingress"):
        for path in found["spec"]["rules"][0]["http"]["paths"]:
            backend = path["backend"]["service"]
            assert backend["name"] == found["metadata"]["name"]
            ports = {port["name"] for port in services[backend["name"]]["ports"]}
            assert backend["port"]["name"] in ports
    pod_of = dict(pods(objects))
    for name, spec in services.items():
        ports = {port["name"] for port in pod_of[name]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in spec["ports"]} <= ports


def test_the_bridge_finds_its_file_of_servers(objects: list[Object]) -> None:
    """Where its variable says, in a folder, so that a new version of the ConfigMap arrives."""
    (found,) = (o for o in of_kind(objects, "ConfigMap") if "servers.json" in o["data"])
    assert json.loads(found["data"]["servers.json"]) == SERVERS
    pod = dict(pods(objects))["mcp-bridge"]
    container = pod["containers"][0]
    env = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (mount,) = (
        m for m in container["volumeMounts"] if env["MCP_BRIDGE_SERVERS"].startswith(m["mountPath"])
    )
    assert volumes[mount["name"]]["configMap"]["name"] == found["metadata"]["name"]
    assert env["MCP_BRIDGE_SERVERS"] == f"{mount['mountPath']}/servers.json"
    assert "subPath" not in mount


# --- the paths of the Ingress for nginx ---------------------------------------------------------

REWRITES = {
    "/postgres/mcp": "/mcp",
    "/postgres/tools/execute_sql": "/tools/execute_sql",
    "/postgres": "/",
    "/postgres/": "/",
    "/.well-known/oauth-protected-resource/postgres/mcp": (
        "/.well-known/oauth-protected-resource/mcp"
    ),
    "/postgresql/mcp": None,
    "/other/postgres/mcp": None,
    "/fetch/mcp": None,
}


@pytest.mark.parametrize(("asked", "passed_on"), REWRITES.items())
def test_nginx_strips_the_prefix(nginx: list[Object], asked: str, passed_on: str | None) -> None:
    """As ingress-nginx writes it: a location that begins with the path, and one rewrite in it."""
    ingress = named(nginx, "Ingress", "mcp-postgres")
    annotations = ingress["metadata"]["annotations"]
    target = annotations["nginx.ingress.kubernetes.io/rewrite-target"].replace("$", "\\")
    assert annotations["nginx.ingress.kubernetes.io/x-forwarded-prefix"] == "/postgres"
    results = [
        re.sub(path["path"], target, asked, count=1)
        for path in ingress["spec"]["rules"][0]["http"]["paths"]
        if re.match(path["path"], asked)
    ]
    assert results == ([passed_on] if passed_on else [])


def test_nginx_neither_buffers_nor_cuts_streams(nginx: list[Object]) -> None:
    """A silent stream stays open for more than five minutes."""
    assert len(of_kind(nginx, "Ingress")) == len(SERVICES)
    for found in of_kind(nginx, "Ingress"):
        own = {
            key.rpartition("/")[2]: value for key, value in found["metadata"]["annotations"].items()
        }
        assert own["proxy-buffering"] == "off"
        assert own["proxy-http-version"] == "1.1"
        assert int(own["proxy-read-timeout"]) > 300
        body_mib = int(own["proxy-body-size"].removesuffix("m"))
        assert body_mib * 2**20 >= Settings.from_dict({}).server.max_body_bytes


# --- replicas -----------------------------------------------------------------------------------


def test_what_keeps_something_of_its_own_has_one_replica(overlay: Path) -> None:
    """Two pods would write to one volume, or watch twice; the others have two and may have more."""
    base = built(overlay.parent.parent / "base")
    scaled = built(overlay)
    autoscaled = {
        found["spec"]["scaleTargetRef"]["name"]
        for found in of_kind(scaled, "HorizontalPodAutoscaler")
    }
    single = {"mcp-filesystem", "mcp-monitoring"}
    for found in of_kind(base, "Deployment"):
        name = found["metadata"]["name"]
        assert found["spec"]["replicas"] == (1 if name in single else 2)
        strategy = "Recreate" if name in single else "RollingUpdate"
        assert found["spec"]["strategy"]["type"] == strategy
    budgets = {found["metadata"]["name"] for found in of_kind(base, "PodDisruptionBudget")}
    regular = {name for name, service in CONTAINERS.items() if not service.is_optional}
    assert autoscaled == budgets == regular - single
    for found in of_kind(scaled, "Deployment"):
        # An autoscaler's number is not overwritten by the next `kubectl apply`.
        assert ("replicas" not in found["spec"]) == (found["metadata"]["name"] in autoscaled)


def test_replicas_share_the_key_that_seals(objects: list[Object]) -> None:
    """From one Secret, and no pod starts without it."""
    for name, pod in pods(objects):
        if name in CONTAINERS:
            (entry,) = (
                entry
                for entry in pod["containers"][0]["env"]
                if entry["name"] == "MCP_HTTP_SECURITY__SEAL_KEY"
            )
            source = entry["valueFrom"]["secretKeyRef"]
            assert source["name"].startswith("mcp-common-")
            assert not source.get("optional")


# --- the network --------------------------------------------------------------------------------


def policy(objects: list[Object], name: str) -> Object:
    """Return the specification of a NetworkPolicy."""
    spec: Object = named(objects, "NetworkPolicy", name)["spec"]
    return spec


def test_nothing_is_allowed_unless_a_policy_names_it(objects: list[Object]) -> None:
    """Both ways, for every pod of the namespace."""
    assert policy(objects, "mcp-default-deny") == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_services_are_called_from_namespaces_that_have_the_label(objects: list[Object]) -> None:
    """At their own port; monitoring calls all of them besides."""
    for name, service in CONTAINERS.items():
        (rule,) = policy(objects, name)["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": service.port}]
        labels, pod = rule["from"]
        assert labels == {
            "namespaceSelector": {"matchLabels": {"mcp-tool-servers/may-call": "true"}}
        }
        assert pod["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "mcp-monitoring"}


def test_who_fetches_reaches_the_internet_and_nothing_private(objects: list[Object]) -> None:
    """What is no public address is left out of it; the others reach no address block at all."""
    for name, service in CONTAINERS.items():
        blocks = [
            target["ipBlock"]
            for rule in policy(objects, name)["egress"]
            for target in rule.get("to", [])
            if "ipBlock" in target
        ]
        assert [block["cidr"] for block in blocks] == (
            ["0.0.0.0/0", "::/0"] if service.internet else []
        )
        for block in blocks:
            whole = ipaddress.ip_network(block["cidr"])
            for text in block["except"]:
                assert ipaddress.ip_network(text).subnet_of(whole)  # type: ignore[arg-type]  # same version


@pytest.mark.parametrize(
    "address",
    [
        *("10.96.0.1", "172.16.0.9", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1"),
        *("fd00:10::1", "fe80::1", "::1", "64:ff9b::a00:1"),
    ],
)
def test_addresses_of_a_cluster_are_not_public(address: str) -> None:
    """Services, pods, nodes, the metadata of clouds."""
    networks = [ipaddress.ip_network(text) for text in NOT_PUBLIC + NOT_PUBLIC_V6]
    assert any(ipaddress.ip_address(address) in network for network in networks)


@pytest.mark.parametrize("address", ["140.82.112.3", "1.1.1.1", "2606:4700::1111", "223.255.255.1"])
def test_addresses_of_the_internet_are(address: str) -> None:
    """Nothing more is left out than has to be."""
    networks = [ipaddress.ip_network(text) for text in NOT_PUBLIC + NOT_PUBLIC_V6]
    assert not any(ipaddress.ip_address(address) in network for network in networks)


def test_only_postgres_reaches_databases(objects: list[Object]) -> None:
    """And filesystem nothing but the name server."""
    for name, service in CONTAINERS.items():
        rules = policy(objects, name)["egress"]
        ports = [port["port"] for rule in rules for port in rule.get("ports", [])]
        assert (5432 in ports) == service.database
    assert policy(objects, "mcp-filesystem")["egress"] == []


def test_the_keys_file_is_where_the_servers_look_for_it(objects: list[Object]) -> None:
    """From a Secret that an operator makes; a change of it reaches the running servers."""
    for name, pod in pods(objects):
        if name not in CONTAINERS:
            continue
        container = pod["containers"][0]
        env = {entry["name"]: entry.get("value", "") for entry in container["env"]}
        (mount,) = (m for m in container["volumeMounts"] if m["name"] == "keys")
        # A subPath would never change.
        assert set(mount) == {"name", "mountPath", "readOnly"}
        assert env["MCP_HTTP_AUTH__KEYS_FILE"] == f"{mount['mountPath']}/keys.json"


def test_all_ask_the_name_server_and_its_cache_on_the_node(objects: list[Object]) -> None:
    """NodeLocal DNSCache runs with hostNetwork, so no selector of pods finds it."""
    (rule,) = policy(objects, "mcp-name-resolution")["egress"]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_identity_and_traces_are_reached_where_the_overlay_says_so(
    objects: list[Object], own: list[Object], version: str
) -> None:
    """By every service, for its tokens and its spans; and not before."""
    added = named(own, "NetworkPolicy", "mcp-egress")
    kubernetes_validate.validate(added, version, strict=True)
    assert added["metadata"]["namespace"] == "mcp-tools"
    spec = added["spec"]
    assert spec["podSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "mcp-tool-servers"}
    assert [rule["ports"][0]["port"] for rule in spec["egress"]] == [443, 4318]
    names = {found["metadata"]["name"] for found in of_kind(objects, "NetworkPolicy")}
    assert "mcp-egress" not in names


# --- settings -----------------------------------------------------------------------------------


def settings_in(objects: list[Object], folder: Path) -> Path:
    """Write the settings file of the pods to a folder of this machine."""
    text = named(objects, "ConfigMap", "mcp-settings")["data"]["settings.yaml"]
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_copy_has_settings_of_its_own(own: list[Object], tmp_path: Path) -> None:
    """In the place of the base's, beside the host name."""
    settings = settings_class("postgres").from_file(settings_in(own, tmp_path))
    assert settings.pool_max == 3  # type: ignore[attr-defined]  # of the class for postgres
    assert named(own, "ConfigMap", "mcp-settings")["data"]["public_host"] == "mcp.example.org"


def test_filesystem_serves_the_volume(objects: list[Object], tmp_path: Path) -> None:
    """What is mounted is what clients see, and may write to."""
    (container,) = dict(pods(objects))["mcp-filesystem"]["containers"]
    (mount,) = (m for m in container["volumeMounts"] if m.get("subPath") == "files")
    settings = settings_class("filesystem").from_file(settings_in(objects, tmp_path))
    (root,) = settings.roots  # type: ignore[attr-defined]  # of the class for filesystem
    assert (root.alias, str(root.path), root.mode.name) == ("work", mount["mountPath"], "WRITE")


# --- Redis --------------------------------------------------------------------------------------


def test_redis_is_that_of_compose(objects: list[Object]) -> None:
    """The same release, as much memory, and nothing that it was told vanishes unnoticed."""
    (container,) = dict(pods(objects))["mcp-redis"]["containers"]
    redis = registry.load(project_here()).redis
    assert container["image"] == redis.image
    limit = container["resources"]["limits"]["memory"]
    assert limit == redis.memory.replace("m", "Mi")
    script = container["command"][-1]
    assert f"--maxmemory {REDIS_MEMORY} --maxmemory-policy {REDIS_POLICY}" in script
    assert REDIS_POLICY == "noeviction"


# --- secrets ------------------------------------------------------------------------------------


def test_a_service_sees_the_common_secret_and_its_own(objects: list[Object]) -> None:
    """Nobody else's, so that a token of GitHub is not in the process that fetches pages."""
    for name, pod in pods(objects):
        if name in CONTAINERS:
            sources = [source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"]]
            assert sources[0].startswith("mcp-common-")
            assert [re.sub(r"-[2456789bcdfghkmt]{10}$", "", source) for source in sources[1:]] == [
                name
            ]


def test_secrets_are_made_once_and_kept(overlay: Path) -> None:
    """With long random values, readable by their owner only; a second run changes nothing."""
    folder = overlay / "secrets"
    common = (folder / "common.env").read_text(encoding="utf-8")
    values = dict(line.split("=", 1) for line in common.splitlines())
    assert set(values) == {"MCP_HTTP_API_KEY", "MCP_HTTP_SECURITY__SEAL_KEY", "REDIS_PASSWORD"}
    assert len(set(values.values())) == 3
    assert all(len(value) == 64 for value in values.values())
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    again = subprocess.run(
        [overlay / "make-secrets.sh"],
        env={"PATH": "/usr/bin:/bin", "DATABASE_URL": "postgresql://other"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "secrets/postgres.env stays" in again.stdout
    assert (folder / "common.env").read_text(encoding="utf-8") == common
    # Not even the database has to be said again.
    subprocess.run([overlay / "make-secrets.sh"], env={"PATH": "/usr/bin:/bin"}, check=True)
    postgres = (folder / "postgres.env").read_text(encoding="utf-8")
    assert postgres == "DATABASE_URL=postgresql://reader:x@db.example.org/shop\n"


def test_no_secrets_are_made_without_a_database(tmp_path: Path) -> None:
    """The first run has to know it, and leaves nothing half done."""
    script = shutil.copy(KUBERNETES / OVERLAY / "make-secrets.sh", tmp_path)
    result = subprocess.run(
        [script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "DATABASE_URL: is not set" in result.stderr
    assert list((tmp_path / "secrets").iterdir()) == []


def test_the_example_has_no_secrets() -> None:
    """They are made by the script, in a folder that git ignores."""
    ignored = (KUBERNETES / OVERLAY / ".gitignore").read_text(encoding="utf-8").split()
    assert "/secrets/" in ignored
    for path in KUBERNETES.rglob("*.yaml"):
        if path.parent.name != "secrets":
            assert not re.search(r"[0-9a-f]{32}|kind: Secret", path.read_text(encoding="utf-8"))


# --- a pod, as far as it goes without a cluster -------------------------------------------------


def environment_of(objects: list[Object], name: str) -> dict[str, str]:
    """Return the variables of a pod as Kubernetes sets them: sources read, variables filled in."""
    (container,) = dict(pods(objects))[name]["containers"]
    known = {"status.podIP": "10.244.1.7", "metadata.namespace": "mcp-tools"}
    data: dict[tuple[str, str], dict[str, str]] = {}
    for found in of_kind(objects, "ConfigMap"):
        data["ConfigMap", found["metadata"]["name"]] = found["data"]
    for found in of_kind(objects, "Secret"):
        decoded = {key: b64decode(value).decode() for key, value in found["data"].items()}
        data["Secret", found["metadata"]["name"]] = decoded
    environment: dict[str, str] = {}
    for source in container["envFrom"]:
        environment |= data.get(("Secret", source["secretRef"]["name"]), {})
    for entry in container["env"]:
        if "value" in entry:
            value = VARIABLE.sub(lambda match: environment[match[1]], entry["value"])
        elif "fieldRef" in entry["valueFrom"]:
            value = known[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        else:
            ((kind, reference),) = entry["valueFrom"].items()
            key = ("Secret" if kind.startswith("secret") else "ConfigMap", reference["name"])
            value = data[key][reference["key"]]
        environment[entry["name"]] = value
    return environment


@pytest.fixture
def pod(objects: list[Object], tmp_path: Path) -> dict[str, str]:
    """The variables of github's pod, with its files and port in the places of this machine."""
    environment = environment_of(objects, "mcp-github")
    settings = tmp_path / "settings.yaml"
    text = named(objects, "ConfigMap", "mcp-settings")["data"]["settings.yaml"]
    settings.write_text(text, encoding="utf-8")
    # Neither Redis nor a file of keys is here.
    del environment["MCP_HTTP_BACKPLANE__REDIS_URL"], environment["MCP_HTTP_AUTH__KEYS_FILE"]
    return environment | {"MCP_CONFIG_FILE": str(settings)}


def test_a_server_starts_as_its_pod_and_answers_for_its_names(
    pod: dict[str, str], tmp_path: Path
) -> None:
    """Probes, callers in the cluster, Prometheus by the pod's address, people; nobody else."""
    with (
        ServerProcess(tmp_path, environment=pod, module="services.github") as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):

        def status(host: str, path: str = "/tools", key: str = pod["MCP_HTTP_API_KEY"]) -> int:
            headers = {"Host": host, "Authorization": f"Bearer {key}"}
            return client.get(path, headers=headers).status_code

        assert client.get("/ready", headers={"Host": "localhost"}).status_code == 200
        for host in (
            *("mcp-github:8004", "mcp-github.mcp-tools.svc.cluster.local:8004"),
            *("10.244.1.7:8004", "mcp.example.org", "github.mcp.example.org"),
        ):
            assert status(host) == 200, host
        assert status("10.244.1.7:8004", "/metrics") == 200
        assert status("evil.example.org") == 421
        assert status("mcp.example.org", key="wrong" * 8) == 401


def test_a_server_refuses_what_service_links_would_set(pod: dict[str, str], tmp_path: Path) -> None:
    """Which is why they are off: the server would not start."""
    linked = pod | {"MCP_GITHUB_PORT_8004_TCP": "tcp://10.96.0.7:8004"}
    with pytest.raises(AssertionError, match="MCP_GITHUB_PORT_8004_TCP: no such setting"):
        ServerProcess(tmp_path, environment=linked, module="services.github").start()
