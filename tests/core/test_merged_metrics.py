"""Metrics of several processes in one text."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from core.observability.merged_metrics import merged
from core.observability.metrics import Metrics


def test_samples_keep_their_values_and_say_whose_they_are() -> None:
    """Labels with braces, quotes and spaces in them are not cut; families are described once."""
    texts: dict[str, bytes] = {}
    odd = 'a "b} {c'
    for number in "012":
        metrics = Metrics("demo")
        metrics.tool_done(odd, "ok", 0.5)
        metrics.tool_done(f"only{number}", "ok", 0.5)
        texts[number] = metrics.render()
    whole = {f.name: f for f in text_string_to_metric_families(merged(texts).decode())}
    for worker, text in texts.items():
        for family in text_string_to_metric_families(text.decode()):
            found = whole[family.name]
            assert (found.documentation, found.type) == (family.documentation, family.type)
            for sample in family.samples:
                labels = {**sample.labels, "worker": worker}
                assert [
                    s.value for s in found.samples if s.labels == labels and s.name == sample.name
                ] == [sample.value]
    heads = [line for line in merged(texts).splitlines() if line.startswith(b"# ")]
    assert len(heads) == len(set(heads))
    assert merged({}) == b""
