"""Fingerprints of plan nodes: equal for the same computation, whatever its place in the program."""

from __future__ import annotations

import hashlib

from thalweg.plan import nodes as n
from thalweg.plan.functions_of_user import function_fingerprint
from thalweg.plan.prune import NeededColumns, join_columns
from thalweg.plan.show import describe

_VERSIONS = {"Aggregate": 1, "ReduceByKey": 1}
"""Raised when an operator's state or meaning changes."""


def fingerprints(plan: n.Plan) -> dict[n.Node, str]:
    """Return each node's fingerprint: 16 hexadecimal digits over what it does and all that it reads.

    A node that occurs twice with the same inputs gets a second, third … fingerprint in the program's order.
    """
    return _prints(plan, None)


def state_fingerprints(plan: n.Plan, needed: NeededColumns) -> dict[n.Node, str]:
    """Return what the state of each node is found by: its fingerprint, which covers what joins leave out of their rows.

    Args:
        plan: The plan.
        needed: The columns that can be seen of each node's rows.
    """
    return _prints(plan, needed)


def _prints(plan: n.Plan, needed: NeededColumns | None) -> dict[n.Node, str]:
    found: dict[n.Node, str] = {}
    times: dict[str, int] = {}
    for node in plan.nodes():
        parts = [type(node).__name__, str(_VERSIONS.get(type(node).__name__, 0)), describe(node), str(node.schema)]
        parts += [function_fingerprint(function) for function in _functions(node)]
        parts += [found[each] for each in node.inputs]
        if needed is not None and isinstance(node, n.Join):
            kept = join_columns(node, needed[node])
            if kept != (node.left.schema.names, node.right.schema.names):
                parts.append(repr(kept))
        digest = hashlib.sha256("\x00".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]
        times[digest] = times.get(digest, 0) + 1
        found[node] = digest if times[digest] == 1 else f"{digest}-{times[digest]}"
    return found


def _functions(node: n.Node) -> tuple[n.UserFunction, ...]:
    match node:
        case n.MapRows() | n.MapBatches() | n.ReduceByKey():
            return (node.function,)
        case n.Process(on_timer=on_timer):
            return (node.function, node.state.kind) if on_timer is None else (node.function, node.state.kind, on_timer)
        case _:
            return ()
