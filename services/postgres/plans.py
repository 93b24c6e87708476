"""Reading a plan: what EXPLAIN (FORMAT JSON) says, as a short text and as findings.

Row counts of EXPLAIN are per loop, and those of parallel workers are averages; totals here are
multiplied by the loops.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.postgres.models import Finding, Misestimate

LARGE_TABLE_ROWS = 100_000
LARGE_TABLE_BYTES = 64 * 1024 * 1024
MISESTIMATE_FACTOR = 10
MANY_LOOPS = 10_000
WASTEFUL_FILTER_ROWS = 10_000
MAX_DEPTH = 200

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """One plan.

    Attributes:
        tree: The root node with its `Plans`.
        settings: Planner settings that differ from the default.
    """

    tree: dict[str, Any]
    planning_ms: float | None
    execution_ms: float | None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def total_cost(self) -> float:
        """The planner's cost of the whole statement."""
        return float(self.tree.get("Total Cost", 0))

    @property
    def estimated_rows(self) -> float:
        """The rows the planner expects."""
        return float(self.tree.get("Plan Rows", 0))

    def nodes(self) -> Iterator[tuple[int, Node]]:
        """Yield depth and node, parents first."""
        stack: list[tuple[int, Node]] = [(0, self.tree)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            stack.extend((depth + 1, child) for child in reversed(node.get("Plans", ())))

    def relations(self) -> list[tuple[str, str]]:
        """Return schema and name of the tables that are read whole."""
        return sorted(
            {
                (node["Schema"], node["Relation Name"])
                for _, node in self.nodes()
                if node["Node Type"] == "Seq Scan" and "Schema" in node
            }
        )

    def indexes(self) -> set[str]:
        """Return the names of the indexes the plan uses."""
        return {node["Index Name"] for _, node in self.nodes() if "Index Name" in node}

    # -- what is worth knowing ------------------------------------------------------------------

    def worst_misestimate(self) -> Misestimate | None:
        """Return the node whose rows differ most from the estimate, when it was measured."""
        worst: Misestimate | None = None
        for _, node in self.nodes():
            found = _misestimate(node)
            if found is not None and (worst is None or found.factor > worst.factor):
                worst = found
        return worst

    def spills(self) -> list[str]:
        """Return what did not fit into work_mem and went to disk."""
        return [text for _, node in self.nodes() if (text := _spill(node))]

    def findings(self, sizes: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Finding]:
        """Return what a reviewer would point out.

        Args:
            sizes: Rows of `catalog.estimated_sizes`.
        """
        found = [f for _, node in self.nodes() for f in _node_findings(node, sizes)]
        worst = self.worst_misestimate()
        if worst is not None and worst.factor >= MISESTIMATE_FACTOR:
            found.append(
                Finding(
                    kind="misestimate",
                    severity="warning",
                    node=worst.node,
                    message=f"{worst.actual_rows:g} rows instead of {worst.estimated_rows:g}: "
                    "ANALYZE the tables, or add extended statistics on correlated columns",
                )
            )
        found += [
            Finding(kind="spill", severity="warning", node=text.partition(":")[0], message=text)
            for text in self.spills()
        ]
        if (
            self.planning_ms is not None
            and self.execution_ms is not None
            and self.planning_ms > max(10.0, self.execution_ms)
        ):
            found.append(
                Finding(
                    kind="planning",
                    severity="info",
                    node="plan",
                    message=f"planning took {self.planning_ms:g} ms, longer than running",
                )
            )
        return sorted(found, key=lambda f: f.severity != "warning")

    def text(self) -> str:
        """Return the tree as indented lines, one or a few for each node."""
        lines: list[str] = []
        for depth, node in self.nodes():
            indent = "  " * min(depth, MAX_DEPTH)
            arrow = "" if depth == 0 else "-> "
            lines.append(f"{indent}{arrow}{label(node)}  {_numbers(node)}")
            pad = indent + ("  " if depth == 0 else "     ")
            lines.extend(f"{pad}{detail}" for detail in _details(node))
        return "\n".join(lines)


def parse(raw: str) -> Plan:
    """Read the answer of EXPLAIN (FORMAT JSON)."""
    top = json.loads(raw)[0]
    return Plan(
        tree=_without_outputs(top["Plan"]),
        planning_ms=top.get("Planning Time"),
        execution_ms=top.get("Execution Time"),
        settings=top.get("Settings", {}),
    )


def _without_outputs(node: dict[str, Any]) -> dict[str, Any]:
    """Drop the column lists, which come with the schema names (VERBOSE) and say little."""
    kept = {key: value for key, value in node.items() if key != "Output"}
    if "Plans" in kept:
        kept["Plans"] = [_without_outputs(child) for child in kept["Plans"]]
    return kept


# --- one node ----------------------------------------------------------------------------------


def label(node: Node) -> str:
    """Return what a node does, on what: `Index Scan using orders_pkey on orders o`."""
    kind = str(node["Node Type"])
    if node.get("Parallel Aware"):
        kind = f"Parallel {kind}"
    join = node.get("Join Type")
    if join not in (None, "Inner"):
        kind += f" ({join})"
    if "Index Name" in node:
        kind += f" using {node['Index Name']}"
    target = node.get("Relation Name") or node.get("CTE Name") or node.get("Function Name")
    if target is not None:
        kind += f" on {target}"
        alias = node.get("Alias")
        if alias not in (None, target):
            kind += f" {alias}"
    return kind


def _numbers(node: Node) -> str:
    text = f"(cost={node.get('Total Cost', 0):g} rows={node.get('Plan Rows', 0):g}"
    if "Actual Rows" not in node:
        return text + ")"
    if not node.get("Actual Loops"):
        return text + "; never executed)"
    time = node.get("Actual Total Time")
    text += f"; actual rows={node['Actual Rows']:g} loops={node['Actual Loops']:g}"
    return text + (f" time={time:g} ms)" if time is not None else ")")


_DETAILS = (
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "Rows Removed by Filter",
    "Rows Removed by Join Filter",
    "Rows Removed by Index Recheck",
    "Heap Fetches",
    "Sort Key",
    "Group Key",
    "Sort Method",
    "Workers Launched",
    "Subplan Name",
)


def _details(node: Node) -> Iterator[str]:
    for name in _DETAILS:
        value = node.get(name)
        if value in (None, 0, []):
            continue
        yield f"{name}: {', '.join(value) if isinstance(value, list) else value}"
    hit, read = node.get("Shared Hit Blocks"), node.get("Shared Read Blocks")
    if hit or read:
        yield f"Buffers: hit={hit or 0} read={read or 0}"
    spill = _spill(node)
    if spill is not None:
        yield spill.partition(": ")[2]


def _misestimate(node: Node) -> Misestimate | None:
    loops = node.get("Actual Loops")
    if "Actual Rows" not in node or not loops:
        return None
    estimated, actual = float(node.get("Plan Rows", 0)), float(node["Actual Rows"])
    factor = max((actual + 1) / (estimated + 1), (estimated + 1) / (actual + 1))
    return Misestimate(
        node=label(node), estimated_rows=estimated, actual_rows=actual, factor=round(factor, 1)
    )


def _spill(node: Node) -> str | None:
    if node.get("Sort Space Type") == "Disk":
        return f"{label(node)}: sorted {node.get('Sort Space Used', 0)} kB on disk"
    batches = node.get("Hash Batches") or node.get("HashAgg Batches") or 1
    if batches > 1:
        return f"{label(node)}: {batches} batches, the others on disk"
    written = node.get("Temp Written Blocks")
    if written and not node.get("Plans"):
        return f"{label(node)}: {written} temporary blocks written"
    return None


def _node_findings(
    node: Node, sizes: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterator[Finding]:
    loops = node.get("Actual Loops") or 1
    removed = node.get("Rows Removed by Filter", 0) * loops
    if node["Node Type"] == "Seq Scan":
        size = sizes.get((node.get("Schema", ""), node.get("Relation Name", "")))
        if size is not None and _is_large(size):
            why = f"reads all of about {size['tuples']:,.0f} rows"
            if "Filter" in node:
                why += f" to find those with {node['Filter']}; an index may help"
            severity = "warning" if "Filter" in node else "info"
            yield _finding("seq_scan_large", severity, node, why)
    if removed >= WASTEFUL_FILTER_ROWS and removed > 10 * node.get("Actual Rows", 0) * loops:
        yield _finding("wasteful_filter", "warning", node, f"throws away {removed:,.0f} rows")
    if node["Node Type"] == "Nested Loop":
        yield from _loop_findings(node)
    if node.get("Lossy Heap Blocks"):
        why = f"{node['Lossy Heap Blocks']} lossy blocks: work_mem is too small for the bitmap"
        yield _finding("lossy_bitmap", "info", node, why)
    if node.get("Workers Planned", 0) > node.get(
        "Workers Launched", node.get("Workers Planned", 0)
    ):
        yield _finding("workers", "info", node, "fewer workers were launched than planned")


def _loop_findings(node: Node) -> Iterator[Finding]:
    inner = node.get("Plans", ())[-1] if node.get("Plans") else {}
    loops = inner.get("Actual Loops", 0)
    if loops >= MANY_LOOPS:
        yield _finding("many_loops", "warning", node, f"its inner side ran {loops:,.0f} times")


def _is_large(size: Mapping[str, Any]) -> bool:
    return bool(size["tuples"] >= LARGE_TABLE_ROWS or size["bytes"] >= LARGE_TABLE_BYTES)


def _finding(kind: str, severity: Any, node: Node, message: str) -> Finding:
    return Finding(kind=kind, severity=severity, node=label(node), message=message)
