"""Plans made from plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from thalweg.plan.nodes import Node, Plan, Read, Step, Union, Write


def rewritten(plan: Plan, read: Callable[[Read], Read], write: Callable[[Write], Write]) -> Plan:
    """Return the plan with other reads and writes; nodes that were shared stay shared."""
    made: dict[Node, Node] = {}
    for node in plan.nodes():
        if isinstance(node, Read):
            made[node] = read(node)
        elif isinstance(node, Union):
            made[node] = replace(node, streams=tuple(made[stream] for stream in node.streams))
        elif isinstance(node, Step):
            moved = replace(node, input=made[node.input])
            made[node] = write(moved) if isinstance(moved, Write) else moved
    ends = tuple(end for node in plan.writes if isinstance(end := made[node], Write))
    return Plan(plan.name, ends)
