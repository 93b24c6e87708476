"""What examples/kubernetes has for each service, from the registry; its rest is written by hand.

| below examples/kubernetes | what |
|---|---|
| base/services/NAME.yaml | Deployment, Service, NetworkPolicy, disruption budget or volume |
| components/autoscaling | an autoscaler for each service that may have replicas |
| components/ingress-hosts | an Ingress for each service on a host name of its own |
| components/ingress-nginx | an Ingress for each service below a path of one host name |
| components/NAME | a service that runs only where it is wanted; its Ingresses are beside it |
| overlays/example | between marks (see `proxies`) the registry and version of each image |

A service has one replica where it keeps what others do not have: files, or readings of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.deploy.contents import image_of
from scripts.deploy.registry import Mount, Registry, Service
from scripts.generate.compose import FILES_FOLDER, HOME_FOLDER

Object = dict[str, Any]

FOLDER = Path("examples") / "kubernetes"
OVERLAY = FOLDER / "overlays" / "example" / "kustomization.yaml"
SUITE = "mcp-tool-servers"
COMMON_SECRET = "mcp-common"  # noqa: S105  the name of a Secret
SETTINGS = "mcp-settings"
SETTINGS_FILE = "/etc/mcp/settings.yaml"
STATE_FOLDER = "/var/lib/mcp"
CALLERS = {"mcp-tool-servers/may-call": "true"}
"""The label of namespaces whose pods may call the services."""
PUBLIC_HOST = "PUBLIC_HOST"
"""What stands in an Ingress where the overlay puts the host name of its settings."""
USER = 10001
REPLICAS, MAX_REPLICAS = 2, 6
GRACE_S = 45
"""Seconds from SIGTERM to SIGKILL; more than drain_delay_s and graceful_timeout_s together."""
DATABASE_PORT = 5432
WEB_PORTS = (80, 443, 8080, 8443)
NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
)
"""Special addresses (IANA registry, RFC 6890) that lie within a cluster or beside it."""
NOT_PUBLIC_V6 = ("::1/128", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8")
WELL_KNOWN = r"\.well-known/oauth-protected-resource"
"""RFC 9728, section 3.1: it stands before the path of the resource, a prefix included."""

_CLUSTER_DOMAIN = ".svc.cluster.local"
_MEBIBYTES = {"m": 1, "g": 1024}
_HEADER = "# Written by scripts/docs from config/services.yaml.\n"


class _Plain(yaml.SafeDumper):
    """Writes what is used twice twice, instead of once with an anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files(registry: Registry) -> Iterator[tuple[Path, str]]:
    """Yield each file below the clone with its text."""
    services = registry.regular
    for service in services:
        yield FOLDER / f"base/services/{service.name}.yaml", _text(_objects(service, services))
    resources = [f"{service.name}.yaml" for service in services]
    yield FOLDER / "base/services/kustomization.yaml", _text([_kustomization(resources)])
    scaled = [service for service in services if _is_replicated(service)]
    yield from _component("autoscaling", scaled, _autoscaler, [_without_replicas(scaled)])
    yield from _component("ingress-hosts", services, _host_ingress)
    yield from _component("ingress-nginx", services, _path_ingress)
    for service in (each for each in registry.services.values() if each.is_optional):
        yield from _optional(service, services)


def _optional(service: Service, services: list[Service]) -> Iterator[tuple[Path, str]]:
    """Yield the components of a service that runs only where it is wanted.

    The file that it is configured with is the overlay's, as a ConfigMap of the container's name:
    generators of an overlay run before its components, so they could not replace one of these.
    """
    name = service.name
    component = _component_of([f"{name}.yaml"])
    yield FOLDER / f"components/{name}/kustomization.yaml", _text([component])
    yield FOLDER / f"components/{name}/{name}.yaml", _text(_objects(service, services))
    yield from _component(f"{name}-ingress-hosts", [service], _host_ingress)
    yield from _component(f"{name}-ingress-nginx", [service], _path_ingress)


def _is_replicated(service: Service) -> bool:
    return service.folder_variable is None and service.services_variable is None


def _text(objects: Iterable[Object]) -> str:
    body = yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=100, allow_unicode=True)
    return _HEADER + body


def _kustomization(resources: list[str]) -> Object:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    }


def _component(
    name: str,
    services: list[Service],
    make: Callable[[Service], Object],
    patches: Sequence[Object] = (),
) -> Iterator[tuple[Path, str]]:
    component = _component_of([f"{name}.yaml"])
    component |= {"patches": list(patches)} if patches else {}
    yield FOLDER / f"components/{name}/kustomization.yaml", _text([component])
    yield FOLDER / f"components/{name}/{name}.yaml", _text(map(make, services))


def _component_of(resources: list[str]) -> Object:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": resources,
    }


# -- what each service has ----------------------------------------------------------------------


def _objects(service: Service, services: list[Service]) -> Iterator[Object]:
    yield _deployment(service, services)
    yield _service(service)
    yield _network_policy(service, services)
    if service.folder_variable:
        yield _volume_claim(service)
    if _is_replicated(service):
        yield _disruption_budget(service)


def _object(api: str, kind: str, service: Service, spec: Object, **metadata: Any) -> Object:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": service.container, "labels": _labels(service), **metadata},
        "spec": spec,
    }


def _labels(service: Service) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": service.container,
        "app.kubernetes.io/part-of": SUITE,
    }


def _selector(service: Service) -> Object:
    return {"matchLabels": {"app.kubernetes.io/name": service.container}}


def _deployment(service: Service, services: list[Service]) -> Object:
    replicated = _is_replicated(service)
    # Two at once would write to one volume, or watch twice.
    strategy: Object = {"type": "Recreate"}
    if replicated:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = {
        "replicas": REPLICAS if replicated else 1,
        "revisionHistoryLimit": 5,
        "strategy": strategy,
        "selector": _selector(service),
        "template": {"metadata": {"labels": _labels(service)}, "spec": _pod(service, services)},
    }
    return _object("apps/v1", "Deployment", service, spec)


def _pod(service: Service, services: list[Service]) -> Object:
    own = bool(service.files)
    return {
        "automountServiceAccountToken": False,
        # Kubernetes would set MCP_POSTGRES_PORT=tcp://…, which is a setting of ours.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": _selector(service),
            }
        ],
        "containers": [_container(service, services)],
        "volumes": [
            _state_volume(service),
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": "settings", "configMap": {"name": SETTINGS}},
            *([{"name": "own-file", "configMap": {"name": service.container}}] if own else []),
        ],
    }


def _container(service: Service, services: list[Service]) -> Object:
    folder = service.folder_variable is not None
    files_mount = {"name": "state", "mountPath": FILES_FOLDER, "subPath": "files"}
    home_mount = {"name": "state", "mountPath": HOME_FOLDER, "subPath": "home"}
    state_mount = {"name": "state", "mountPath": STATE_FOLDER}
    return {
        "name": service.name,
        "image": image_of(service),
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": service.port}],
        "env": _environment(service, services),
        "envFrom": [
            {"secretRef": {"name": COMMON_SECRET}},
            {"secretRef": {"name": service.container, "optional": True}},
        ],
        # An image starts in about two seconds; a node that is busy may take a minute.
        "startupProbe": _probe("/health", periodSeconds=2, failureThreshold=30),
        "livenessProbe": _probe("/health", periodSeconds=10, failureThreshold=3),
        "readinessProbe": _probe("/ready", periodSeconds=2, failureThreshold=1),
        "resources": {
            "requests": {"cpu": "100m", "memory": _memory(service, share=0.25)},
            "limits": {"cpu": service.cpus, "memory": _memory(service)},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            state_mount | {"subPath": "state"} if folder else state_mount,
            *([files_mount] if folder else []),
            *([home_mount] if service.home else []),
            *(_own_file(mount) for mount in service.files.values()),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  the pod's own, in memory
            {"name": "settings", "mountPath": str(Path(SETTINGS_FILE).parent), "readOnly": True},
        ],
    }


def _own_file(mount: Mount) -> Object:
    """Return how a pod has its own file: in a folder, where changes of the ConfigMap are seen."""
    return {"name": "own-file", "mountPath": str(_own_folder(mount)), "readOnly": True}


def _own_folder(mount: Mount) -> Path:
    return Path(mount.target).with_suffix("")


def _environment(service: Service, services: list[Service]) -> list[Object]:
    """Return what the settings file has not: what Kubernetes knows, and what must be there."""
    name = service.container
    hosts = [name, *(f"{name}.$(POD_NAMESPACE){end}" for end in ("", ".svc", _CLUSTER_DOMAIN))]
    # Prometheus and probes call the pod by its address, people by the public name.
    hosts += ["$(POD_IP)", "$(PUBLIC_HOST)", f"{service.name}.$(PUBLIC_HOST)"]
    environment: list[Object] = [
        _from("POD_IP", fieldRef={"fieldPath": "status.podIP"}),
        _from("POD_NAMESPACE", fieldRef={"fieldPath": "metadata.namespace"}),
        _from("PUBLIC_HOST", configMapKeyRef={"name": SETTINGS, "key": "public_host"}),
        {"name": "MCP_CONFIG_FILE", "value": SETTINGS_FILE},
        {
            "name": "MCP_HTTP_SECURITY__ALLOWED_HOSTS",
            "value": "[" + ", ".join(f'"{host}"' for host in hosts) + "]",
        },
        # Not optional: with a key of its own, no replica would know another's sessions.
        _from(
            "MCP_HTTP_SECURITY__SEAL_KEY",
            secretKeyRef={"name": COMMON_SECRET, "key": "MCP_HTTP_SECURITY__SEAL_KEY"},
        ),
    ]
    for setting, mount in service.files.items():
        value = str(_own_folder(mount) / Path(mount.target).name)
        environment.append({"name": setting, "value": value})
    if service.services_variable:
        urls = ",".join(f"{other.name}=http://{other.container}:{other.port}" for other in services)
        environment.append({"name": service.services_variable, "value": urls})
    return environment


def _from(name: str, **source: Object) -> Object:
    return {"name": name, "valueFrom": source}


def _probe(path: str, **times: int) -> Object:
    # A name that every server answers for, whatever the pod's address looks like.
    headers = [{"name": "Host", "value": "localhost"}]
    request = {"path": path, "port": "http", "httpHeaders": headers}
    return {"httpGet": request, "timeoutSeconds": 5, **times}


def _memory(service: Service, share: float = 1.0) -> str:
    number, unit = int(service.memory[:-1]), service.memory[-1]
    return f"{round(number * _MEBIBYTES[unit] * share)}Mi"


def _state_volume(service: Service) -> Object:
    if service.folder_variable:
        return {"name": "state", "persistentVolumeClaim": {"claimName": service.container}}
    return {"name": "state", "emptyDir": {"sizeLimit": "256Mi"}}


def _volume_claim(service: Service) -> Object:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "10Gi"}},
    }
    return _object("v1", "PersistentVolumeClaim", service, spec)


def _service(service: Service) -> Object:
    spec = {
        "type": "ClusterIP",
        "selector": _selector(service)["matchLabels"],
        "ports": [{"name": "http", "port": service.port, "targetPort": "http"}],
    }
    return _object("v1", "Service", service, spec)


def _disruption_budget(service: Service) -> Object:
    spec = {"maxUnavailable": 1, "selector": _selector(service)}
    return _object("policy/v1", "PodDisruptionBudget", service, spec)


# -- who reaches whom ---------------------------------------------------------------------------


def _network_policy(service: Service, services: list[Service]) -> Object:
    watchers = [other for other in services if other.services_variable]
    callers: list[Object] = [{"namespaceSelector": {"matchLabels": CALLERS}}]
    callers += [{"podSelector": _selector(watcher)} for watcher in watchers]
    spec = {
        "podSelector": _selector(service),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": callers, "ports": _ports(service.port)}],
        "egress": list(_egress(service, services)),
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", service, spec)


def _egress(service: Service, services: list[Service]) -> Iterator[Object]:
    """Yield where a service may connect to, besides the name server (base/network.yaml)."""
    if service.database:
        yield {"ports": _ports(DATABASE_PORT)}
    if service.internet:
        yield {
            "to": [
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(NOT_PUBLIC)}},
                {"ipBlock": {"cidr": "::/0", "except": list(NOT_PUBLIC_V6)}},
            ],
            "ports": _ports(*WEB_PORTS),
        }
    if service.services_variable:
        yield {
            "to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": SUITE}}}],
            "ports": _ports(*(other.port for other in services)),
        }


def _ports(*ports: int) -> list[Object]:
    return [{"protocol": "TCP", "port": port} for port in ports]


# -- components ---------------------------------------------------------------------------------


def _without_replicas(services: list[Service]) -> Object:
    """Return the patch without which each `kubectl apply` would undo what the autoscaler did."""
    names = "|".join(service.container for service in services)
    return {
        "target": {"kind": "Deployment", "name": names},
        "patch": "- op: remove\n  path: /spec/replicas\n",
    }


def _autoscaler(service: Service) -> Object:
    use = {"type": "AverageValue", "averageValue": "300m"}
    spec = {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": service.container,
        },
        "minReplicas": REPLICAS,
        "maxReplicas": MAX_REPLICAS,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": use}}],
        # Streams are cut when a replica goes, so it goes late and alone.
        "behavior": {
            "scaleDown": {
                "stabilizationWindowSeconds": 600,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
            }
        },
    }
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", service, spec)


def _backend(service: Service) -> Object:
    return {"service": {"name": service.container, "port": {"name": "http"}}}


def _host_ingress(service: Service) -> Object:
    path = {"path": "/", "pathType": "Prefix", "backend": _backend(service)}
    host = f"{service.name}.{PUBLIC_HOST}"
    spec = {
        "tls": [{"hosts": [host], "secretName": f"{service.container}-tls"}],
        "rules": [{"host": host, "http": {"paths": [path]}}],
    }
    return _ingress("hosts", service, spec)


def _ingress(kind: str, service: Service, spec: Object, **metadata: Any) -> Object:
    """Return an Ingress with the label by which an overlay finds where the public host belongs."""
    found = _object("networking.k8s.io/v1", "Ingress", service, spec, **metadata)
    found["metadata"]["labels"]["mcp-tool-servers/ingress"] = kind
    return found


def _path_ingress(service: Service) -> Object:
    """Return an Ingress of ingress-nginx: an annotation holds for the whole of one, so one each."""
    name = service.name
    patterns = (f"/{name}()(?:/(.*))?$", f"/({WELL_KNOWN})/{name}(/.*)?$")
    paths = [
        {"path": pattern, "pathType": "ImplementationSpecific", "backend": _backend(service)}
        for pattern in patterns
    ]
    nginx = "nginx.ingress.kubernetes.io/"
    annotations = {
        f"{nginx}use-regex": "true",
        f"{nginx}rewrite-target": "/$1$2",
        f"{nginx}x-forwarded-prefix": f"/{name}",
        # Event streams: passed on at once, and silent for up to an hour.
        f"{nginx}proxy-buffering": "off",
        f"{nginx}proxy-request-buffering": "off",
        f"{nginx}proxy-read-timeout": "3600",
        f"{nginx}proxy-send-timeout": "3600",
        f"{nginx}proxy-http-version": "1.1",
        f"{nginx}proxy-body-size": "8m",
    }
    spec = {
        "ingressClassName": "nginx",
        "tls": [{"hosts": [PUBLIC_HOST], "secretName": "mcp-tls"}],
        "rules": [{"host": PUBLIC_HOST, "http": {"paths": paths}}],
    }
    return _ingress("paths", service, spec, annotations=annotations)
