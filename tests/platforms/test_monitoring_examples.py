"""Prometheus rules and the Grafana dashboard, against what a server really exposes.

promtool, Prometheus' own program, evaluates every expression: a rule or panel that names a metric
or label that there is not would find nothing.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from core.security.tls import DAYS_LEFT
from core.settings import PROJECT_ROOT
from scripts.deploy import key_words, registry
from scripts.deploy.paths import project_here
from tests.platforms.manifests import KUBERNETES, OVERLAY
from tests.platforms.programs import program
from tests.servers.key_files import key_of, row, write_keys
from tests.servers.processes import ServerProcess

EXAMPLES = PROJECT_ROOT / "examples" / "monitoring"
RULES = EXAMPLES / "prometheus" / "rules.yml"
RULE_TESTS = Path(__file__).with_name("rules.test.yml")
DASHBOARD = json.loads((EXAMPLES / "grafana" / "mcp-tool-servers.json").read_text("utf-8"))
JOB = "mcp-tool-servers"
KEY = "a key of sixteen characters".replace(" ", "-")
SERIES = re.compile(r"(?P<name>[a-z_:]+)\{(?P<labels>[^}]*)\}")
# What Grafana and Prometheus put into expressions and onto series themselves.
VARIABLES = {"$job": JOB, "$service": ".+", "$__rate_interval": "5m", "$__range": "1h"}
TARGET_LABELS = {"job", "instance"}


@dataclass(frozen=True)
class Sample:
    """One series of a server, with the labels that Prometheus adds, and its value."""

    name: str
    labels: dict[str, str]
    value: float
    counts: bool

    @property
    def series(self) -> str:
        """As a PromQL selector."""
        pairs = ", ".join(f"{key}={json.dumps(value)}" for key, value in self.labels.items())
        return f"{self.name}{{{pairs}}}"

    @property
    def values(self) -> str:
        """Ten minutes of it: what counts grows by as much as it is, in each of them."""
        step = self.value if self.counts else 0
        return f"{self.value!r}+{step!r}x10"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(
        [program("promtool"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def use(url: str) -> str:
    """Call a server in every way that is counted; return its metrics."""
    good = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=url, trust_env=False) as client:
        for _ in range(3):
            client.post("/tools/add", json={"a": 1, "b": 2}, headers=good)
        client.post("/tools/add", json={"a": "x"}, headers=good)
        client.post("/tools/fail", json={"kind": "unexpected"}, headers=good)
        for _ in range(3):
            client.post("/tools/echo", json={"text": "more than the limit"}, headers=good)
        assert client.get("/tools").status_code == 401
        wrong = {"Authorization": "Bearer of-the-wrong-key"}
        assert client.get("/tools", headers=wrong).status_code == 401
        answer = client.get("/metrics", headers=good)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The series of a running server that has been called."""
    environment = {
        "MCP_HTTP_API_KEY": KEY,
        "MCP_HTTP_RATE_LIMIT__CALLS_PER_MINUTE": "1",
        "MCP_HTTP_RATE_LIMIT__BURST": "6",
    }
    with ServerProcess(tmp_path_factory.mktemp("server"), environment=environment) as server:
        text = use(server.url)
        target = {"job": JOB, "instance": f"127.0.0.1:{server.port}"}
    found = [
        Sample(sample.name, {**sample.labels, **target}, sample.value, family.type != "gauge")
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not math.isnan(sample.value) and not sample.name.endswith("_created")
    ]
    return [*found, Sample("up", target, 1, counts=False)]


def finds(samples: list[Sample], expressions: list[str], folder: Path) -> str:
    """Evaluate expressions on these series; return what promtool has against them, if anything."""
    asked = [
        {
            "expr": f"count({expression}) > bool 0",
            "eval_time": "8m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for expression in expressions
    ]
    test = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": s.series, "values": s.values} for s in samples],
                "promql_expr_test": asked,
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(test), encoding="utf-8")
    result = promtool("test", "rules", str(file))
    return "" if result.returncode == 0 else result.stdout + result.stderr


def rules(kind: str) -> list[dict[str, Any]]:
    """Return the recording (`record`) or alerting (`alert`) rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


# --- rules ------------------------------------------------------------------------------------


def test_prometheus_takes_the_rules() -> None:
    """Syntax, names and templates, by its own checker, with its lint."""
    result = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-kubernetes.yml"])
def test_prometheus_takes_the_configuration(name: str, tmp_path: Path) -> None:
    """With the rules and targets beside it, and a file with a key where it looks for one.

    Debian builds Prometheus without Kubernetes, so its part is given other targets.
    """
    shutil.copytree(EXAMPLES / "prometheus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "key").write_text(KEY, encoding="utf-8")
    content = yaml.safe_load((tmp_path / name).read_text(encoding="utf-8"))
    (scrape,) = content["scrape_configs"]
    assert scrape["job_name"] == JOB
    scrape["authorization"]["credentials_file"] = str(tmp_path / "key")
    if scrape.pop("kubernetes_sd_configs", None):
        scrape["static_configs"] = [{"targets": ["127.0.0.1:1"]}]
    (tmp_path / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    result = promtool("check", "config", str(tmp_path / name))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_pods_that_are_scraped_are_those_of_the_manifests() -> None:
    """By namespace, label and the name of their port."""
    file = EXAMPLES / "prometheus" / "prometheus-kubernetes.yml"
    (scrape,) = yaml.safe_load(file.read_text(encoding="utf-8"))["scrape_configs"]
    overlay = yaml.safe_load((KUBERNETES / OVERLAY / "kustomization.yaml").read_text("utf-8"))
    assert scrape["kubernetes_sd_configs"] == [
        {"role": "pod", "namespaces": {"names": [overlay["namespace"]]}}
    ]
    kept = {
        rule["source_labels"][0].removeprefix("__meta_kubernetes_pod_"): rule["regex"]
        for rule in scrape["relabel_configs"]
        if rule.get("action") == "keep"
    }
    service = KUBERNETES / "base" / "services" / "postgres.yaml"
    template = next(yaml.safe_load_all(service.read_text(encoding="utf-8")))["spec"]["template"]
    label = template["metadata"]["labels"]["app.kubernetes.io/part-of"]
    (port,) = template["spec"]["containers"][0]["ports"]
    assert kept == {
        "label_app_kubernetes_io_part_of": label,
        "container_port_name": port["name"],
    }


def test_every_service_is_scraped() -> None:
    """On the port of the registry."""
    (targets,) = yaml.safe_load((EXAMPLES / "prometheus" / "targets.yml").read_text("utf-8"))
    services = registry.load(project_here()).regular
    assert targets["targets"] == [f"127.0.0.1:{service.port}" for service in services]


@pytest.mark.parametrize(
    "file", ["examples/monitoring/prometheus/prometheus.yml", "docs/deploy.md"]
)
def test_the_key_for_prometheus_opens_the_metrics_and_nothing_more(
    file: str, tmp_path: Path
) -> None:
    """Made as the command says that is shown: no tool, no resource."""
    text = (PROJECT_ROOT / file).read_text(encoding="utf-8")
    (command,) = re.findall(r"\./deploy\.sh (keys create [^\n)]+)", text)
    request = key_words.parse(shlex.split(command)[1:])
    assert request.read_only
    made = row(request.name, scopes=list(request.scopes), read_only=True)
    keys = write_keys(tmp_path / "keys.json", made)
    headers = {"Authorization": f"Bearer {key_of(request.name)}"}
    environment = {"MCP_HTTP_AUTH__KEYS_FILE": str(keys)}
    with (
        ServerProcess(tmp_path, environment=environment) as server,
        httpx.Client(base_url=server.url, trust_env=False, headers=headers) as client,
    ):
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert "http_open_connections" in answer.text
        assert client.get("/tools").json()["tools"] == []
        assert client.post("/tools/add", json={"a": 1, "b": 2}).status_code == 403


def test_every_metric_is_documented(samples: list[Sample]) -> None:
    """Those of a running server, and that of one with TLS."""
    families = {
        re.sub(r"_(bucket|sum|count)$", "", sample.name)
        for sample in samples
        if sample.name.startswith("http_")
    }
    text = (PROJECT_ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    assert {name for name in {*families, DAYS_LEFT[0]} if f"| `{name}` |" not in text} == set()


def test_each_alert_fires_when_it_has_to_and_only_then(tmp_path: Path) -> None:
    """Unit tests of Prometheus' own kind, in rules.test.yml."""
    file = tmp_path / "rules.test.yml"
    file.write_text(RULE_TESTS.read_text("utf-8").replace("RULES", str(RULES)), encoding="utf-8")
    result = promtool("test", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    """And a severity, a summary and a description."""
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    fired = {
        row["alertname"] for test in tests for row in test["alert_rule_test"] if row["exp_alerts"]
    }
    assert {rule["alert"] for rule in rules("alert")} == fired
    for rule in rules("alert"):
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_alerts_are_tested_on_series_as_servers_have_them(samples: list[Sample]) -> None:
    """Each series of rules.test.yml is a metric of a real server, with the same labels."""
    real = {sample.name: set(sample.labels) for sample in samples}
    # Only where the server itself ends TLS (tests/core/test_tls.py), added as that one is.
    real[DAYS_LEFT[0]] = real["http_open_connections"]
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    series = [row["series"] for test in tests for row in test["input_series"]]
    assert len(series) > 20
    for text in series:
        match = SERIES.fullmatch(text)
        assert match is not None, text
        labels = {pair.partition("=")[0].strip() for pair in match["labels"].split(",")}
        assert labels | TARGET_LABELS == real[match["name"]], text


def test_recording_rules_find_what_servers_expose(samples: list[Sample], tmp_path: Path) -> None:
    """Each by its name, so that it is evaluated as a rule."""
    names = [rule["record"] for rule in rules("record")]
    assert finds(samples, names, tmp_path) == ""


def test_an_expression_that_finds_nothing_is_noticed(samples: list[Sample], tmp_path: Path) -> None:
    """Otherwise the tests around it would say nothing."""
    assert "http_requests_totals" in finds(samples, ["http_requests_totals"], tmp_path)
    assert finds(samples, ['http_requests_total{tool="add"}'], tmp_path)


# --- dashboard --------------------------------------------------------------------------------


def panels() -> Iterator[dict[str, Any]]:
    """Yield each panel, rows left out."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def test_every_panel_finds_what_servers_expose(samples: list[Sample], tmp_path: Path) -> None:
    """Each expression as Grafana would ask it, with the variables filled in."""
    expressions = []
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression
            expressions.append(expression)
    assert len(expressions) > 20
    assert finds(samples, expressions, tmp_path) == ""


def test_every_metric_that_servers_document_is_on_the_dashboard(samples: list[Sample]) -> None:
    """All families of ours but the two that count what a limit let pass."""
    shown = json.dumps([panel["targets"] for panel in panels()])
    families = {
        re.sub(r"_(bucket|sum|count)$", "", sample.name)
        for sample in samples
        if sample.name.startswith("http_")
    }
    not_shown = {family for family in families if family not in shown}
    assert not_shown == {"http_rate_limit_hit_total", "http_rate_limit_remaining"}


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana's import relies on: ids, places, a data source that is chosen, known types."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert set(variables) == {"datasource", "job", "service"}
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["type"] in {"stat", "timeseries", "table"}
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"] == source
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        assert all(target["datasource"] == source for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    """On Grafana's grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
