"""Plans made from plans."""

from __future__ import annotations

from collections.abc import Callable

from thalweg.plan.nodes import Node, Plan, Read, Write


def rewritten(plan: Plan, read: Callable[[Read], Read], write: Callable[[Write], Write]) -> Plan:
    """Return the plan with other reads and writes; nodes that were shared stay shared."""
    made: dict[Node, Node] = {}
    for node in plan.nodes():
        if isinstance(node, Read):
            made[node] = read(node)
        else:
            moved = node.with_inputs([made[needed] for needed in node.inputs])
            made[node] = write(moved) if isinstance(moved, Write) else moved
    ends = tuple(end for node in plan.writes if isinstance(end := made[node], Write))
    return Plan(plan.name, ends)
