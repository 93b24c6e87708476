"""The metrics of several processes as one text, each sample with the label `worker`."""

from __future__ import annotations

from collections.abc import Mapping

_HEADS = (b"# HELP ", b"# TYPE ")


def merged(texts: Mapping[str, bytes]) -> bytes:
    """Return texts in Prometheus' format as one, in which each family is described once.

    Args:
        texts: Worker → what `prometheus_client.generate_latest` made of its registry.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (lines of a family stand
    together, behind one HELP and one TYPE).
    """
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for worker, text in texts.items():
        label = f'worker="{worker}"'.encode()
        heads: list[bytes] = []
        samples: list[bytes] = []
        for line in text.splitlines():
            if line.startswith(_HEADS):
                heads, samples = families.setdefault(line.split(b" ", 3)[2], ([], []))
                if line not in heads and len(heads) < len(_HEADS):
                    heads.append(line)
            elif line:
                samples.append(_labelled(line, label))
    lines = [line for heads, samples in families.values() for line in (*heads, *samples)]
    return b"".join(line + b"\n" for line in lines)


def _labelled(sample: bytes, label: bytes) -> bytes:
    """Return `name{a="b"} 1` or `name 1` with one label more."""
    name, space, value = sample.partition(b" ")
    if b"{" not in name:
        return name + b"{" + label + b"}" + space + value
    name, _, rest = sample.partition(b"{")
    return name + b"{" + label + b"," + rest
