"""Which services are watched: from configuration, and nothing else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import SettingsError
from services.monitoring import registry
from services.monitoring.registry import Target, containers, parse
from services.monitoring.settings import MonitoringSettings


def test_names_and_addresses_are_read() -> None:
    """As deploy.sh passes them; blanks and a slash at the end do no harm."""
    found = registry.parse(
        "fetch=http://127.0.0.1:8002/, db = https://mcp-postgres ,v=http://[::1]:1"
    )
    assert found == (
        Target("fetch", "http://127.0.0.1:8002"),
        Target("db", "https://mcp-postgres"),
        Target("v", "http://[::1]:1"),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fetch", "expected name=url"),
        ("Fetch=http://a", "expected name=url"),
        ("fetch=ftp://a", "expected http://host:port"),
        ("fetch=http://", "expected http://host:port"),
        ("fetch=http://a:99999", "not a URL"),
        ("fetch=http://a/mcp", "more than scheme, host and port"),
        ("fetch=http://a?b=c", "more than scheme, host and port"),
        ("fetch=http://me:secret@a", "credentials"),
        ("fetch=http://a b", "expected http://host:port"),
        ("fetch=http://ä%", "expected http://host:port"),
        ("a=http://a,a=http://b", "named twice: a"),
        (",".join(f"s{i}=http://a:{i + 1}" for i in range(51)), "the limit is 50"),
    ],
)
def test_what_is_no_address_of_a_service_is_refused(text: str, says: str) -> None:
    """At start, with the reason, and without the password."""
    with pytest.raises(SettingsError, match=says) as caught:
        MonitoringSettings.from_dict({"services": text})
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_whatever_is_given_a_target_is_an_address_and_nothing_more(url: str) -> None:
    """Or it is refused: no path, no credentials, no blanks get through."""
    try:
        (target,) = registry.parse(f"one=http://{url}".replace(",", ""))
    except ValueError:
        return
    parts = urlsplit(target.url)
    assert parts.scheme == "http"
    assert parts.hostname
    assert target.url == f"http://{parts.netloc}"
    assert not set(target.url) & set(" \\@\t\n")
    assert httpx.URL(target.url).host == parts.hostname


def test_a_file_may_have_them_as_a_table() -> None:
    """YAML is easier to read that way."""
    settings = MonitoringSettings.from_dict({"services": {"fetch": "http://127.0.0.1:8002"}})
    assert settings.services == (Target("fetch", "http://127.0.0.1:8002"),)


def test_the_suites_registry_is_the_default() -> None:
    """Every service on its own port of this machine, but not this one, which needs no address."""
    found = {target.name: target.url for target in registry.targets(())}
    assert found["postgres"] == "http://127.0.0.1:8001"
    assert "monitoring" not in found
    own = registry.parse("fetch=http://a,monitoring=http://b")
    assert [target.name for target in registry.targets(own)] == ["fetch"]


def test_containers_of_the_suite_are_those_of_the_registry(tmp_path: Path) -> None:
    """In a container, where there is none, the hosts of the services, which are their names."""
    assert {"mcp-postgres", "mcp-monitoring", "mcp-database"} <= containers(())
    hosts = parse("fetch=http://mcp-fetch:8002, monitoring=http://mcp-monitoring:8005")
    assert containers(hosts, tmp_path / "none.yaml") == {"mcp-fetch", "mcp-monitoring"}


def test_without_a_registry_nothing_is_watched(tmp_path: Path) -> None:
    """As in an image, which has no config folder; a broken file is refused."""
    assert registry.targets((), tmp_path / "none.yaml") == ()
    for text in ("- a", "services: {a: {}}", "services: {a: {port: x}}", "\t", "services: 3"):
        (tmp_path / "services.yaml").write_text(text)
        with pytest.raises(SettingsError, match=r"services\.yaml"):
            registry.targets((), tmp_path / "services.yaml")
