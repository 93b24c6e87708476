"""Who waits for whom, as a tree in the order in which people read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def blocking_tree(waits: Mapping[int, Iterable[int]]) -> list[tuple[int, int]]:
    """Return the sessions that block or wait, each below a session it waits for.

    Args:
        waits: Process id → the ids it waits for.

    Returns:
        Process id and depth; roots (who wait for nobody) have depth 0. A session that waits for
        several appears once, below the first that leads to it. A deadlock, which has no root,
        begins at its lowest process id.
    """
    victims: dict[int, list[int]] = {}
    for pid, blockers in waits.items():
        for blocker in set(blockers) - {0}:
            victims.setdefault(blocker, []).append(pid)
    waiting = {pid for pid, blockers in waits.items() if set(blockers) - {0}}
    ordered: list[tuple[int, int]] = []
    seen: set[int] = set()

    def visit(root: int) -> None:
        stack = [(root, 0)]
        while stack:
            pid, depth = stack.pop()
            if pid in seen:
                continue
            seen.add(pid)
            ordered.append((pid, depth))
            stack.extend(
                (victim, depth + 1) for victim in sorted(victims.get(pid, ()), reverse=True)
            )

    for root in sorted(set(victims) - waiting):
        visit(root)
    for pid in sorted(waiting - seen):
        visit(pid)
    return ordered
