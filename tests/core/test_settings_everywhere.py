"""Each setting of the suite, through each way in: variable, YAML, TOML, dictionary."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Section
from core.settings.check import rows, service_names, settings_class
from core.settings.files import NO_FILE, read_config_file
from core.settings.sections import Settings
from tests.core.settings_samples import COMPANIONS, Sample, as_text, as_toml, plain, samples

SAMPLES = samples()
NAMES = {name for sample in SAMPLES for name in sample.setting.names}
NUMBERS = [s for s in SAMPLES if {type(v) for v in s.values} <= {int, float}]
ALL = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.variable)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine has set."""
    for name in list(os.environ):
        if name.startswith("MCP_") or name in NAMES:
            monkeypatch.delenv(name)


def _nested(sample: Sample, value: Any) -> dict[str, Any]:
    """Return what a file holds: the setting at its place, with what it needs besides."""
    *above, name = sample.setting.key
    table: dict[str, Any] = {name: value, **COMPANIONS.get(sample.variable, {})}
    for part in (*reversed(above), *sample.cls.title()):
        table = {part: table}
    return table


def _found(sample: Sample, settings: Any) -> Any:
    for part in sample.setting.key:
        settings = getattr(settings, part)
    return plain(settings)


def _expected(sample: Sample, value: Any) -> Any:
    """Return what the value is in the object: read from a dictionary."""
    data = _nested(sample, value)
    for part in sample.cls.title():
        data = data[part]
    found = _found(sample, sample.cls.from_dict(data))
    assert found != plain(sample.setting.field.get_default(call_default_factory=True))
    return found


def _yaml(sample: Sample, value: Any) -> str:
    return yaml.safe_dump(_nested(sample, value))


def _toml(sample: Sample, value: Any) -> str:
    table = (*sample.cls.title(), *sample.setting.key[:-1])
    entries = {sample.setting.key[-1]: value, **COMPANIONS.get(sample.variable, {})}
    lines = [f"{name} = {as_toml(item)}" for name, item in entries.items()]
    return "\n".join([f"[{'.'.join(table)}]", *lines])


@ALL
def test_it_arrives_from_a_yaml_file(sample: Sample, tmp_path: Path) -> None:
    """At the place that the documentation names."""
    file = tmp_path / "c.yaml"
    file.write_text(_yaml(sample, sample.values[0]))
    file.chmod(0o600)
    assert _found(sample, sample.cls.from_file(file)) == _expected(sample, sample.values[0])


@ALL
def test_it_arrives_from_a_toml_file(sample: Sample, tmp_path: Path) -> None:
    """Likewise."""
    file = tmp_path / "c.toml"
    file.write_text(_toml(sample, sample.values[0]))
    file.chmod(0o600)
    assert _found(sample, sample.cls.from_file(file)) == _expected(sample, sample.values[0])


@ALL
def test_its_variable_is_over_the_file(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its own name and each further one, which the first of them goes over."""
    file = tmp_path / "c.yaml"
    file.write_text(_yaml(sample, sample.values[0]))
    file.chmod(0o600)
    for name in reversed(sample.setting.names):
        monkeypatch.setenv(name, as_text(sample.values[1]))
        assert _found(sample, sample.cls.from_file(file)) == _expected(sample, sample.values[1])
        monkeypatch.setenv(name, as_text(sample.values[0]))
        assert _found(sample, sample.cls.from_file(file)) == _expected(sample, sample.values[0])
    origins = {key: (value, origin) for key, value, origin in rows(_reading(sample, file))}
    assert origins[".".join(sample.setting.key)][1] == sample.variable


def _reading(sample: Sample, file: Path) -> Any:
    return sample.cls.read(sample.cls.part_of(read_config_file(file)))


@ALL
def test_an_empty_variable_and_null_leave_the_default(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the example files have them where there is no default."""
    file = tmp_path / "c.yaml"
    data = _nested(sample, None)
    table = data
    for part in (*sample.cls.title(), *sample.setting.key[:-1]):
        table = table[part]
    for name in COMPANIONS.get(sample.variable, {}):
        del table[name]
    file.write_text(yaml.safe_dump(data))
    monkeypatch.setenv(sample.variable, "")
    assert sample.cls.from_file(file) == sample.cls.from_dict({})


SECRETS = [s for s in SAMPLES if s.setting.is_secret and f"{s.variable}_FILE" not in NAMES]


@pytest.mark.parametrize("sample", SECRETS, ids=lambda sample: sample.variable)
def test_a_secret_may_stand_in_a_file_of_its_own(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As containers are given them; not together with the variable, and shown nowhere."""
    secret = tmp_path / "secret"
    secret.write_text(as_text(sample.values[1]) + "\n")
    secret.chmod(0o400)
    config = tmp_path / "c.yaml"
    config.write_text(_yaml(sample, sample.values[0]))
    config.chmod(0o600)
    monkeypatch.setenv(f"{sample.variable}_FILE", str(secret))
    assert _found(sample, sample.cls.from_file(config)) == _expected(sample, sample.values[1])
    reading = _reading(sample, config)
    assert as_text(sample.values[1]) not in str(list(rows(reading)))
    monkeypatch.setenv(sample.variable, as_text(sample.values[1]))
    problems = _reading(sample, config).problems
    assert any("are both set" in problem for problem in problems)
    assert as_text(sample.values[1]) not in str(problems)


def test_every_setting_is_among_the_samples() -> None:
    """Counted another way than the samples were made."""

    def count(model: Any) -> int:
        fields = model.model_fields.values()
        sections = [f.annotation for f in fields if isinstance(f.annotation, type)]
        inner = [s for s in sections if issubclass(s, Section)]
        return len(fields) - len(inner) + sum(map(count, inner))

    assert len(SAMPLES) == sum(map(count, [Settings, *map(settings_class, service_names())]))


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e999", "9" * 20])
@pytest.mark.parametrize("sample", NUMBERS, ids=lambda sample: sample.variable)
def test_a_number_without_measure_is_refused(sample: Sample, text: str) -> None:
    """It would overflow in a socket, a timer or a limit, long after the start."""
    problems = sample.cls.read(NO_FILE, {sample.variable: text}).problems
    assert problems
    assert problems[0].startswith(f"{sample.variable}: ")


def test_no_service_has_a_key_of_a_section_that_shares_its_name() -> None:
    """`monitoring:` in a file is a section of every server and a service."""
    for name in set(service_names()) & set(Settings.model_fields):
        section: Any = Settings.model_fields[name].annotation
        assert not set(section.model_fields) & set(settings_class(name).model_fields)
