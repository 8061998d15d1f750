"""Which operator runs which node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thalweg.core.errors import UnsupportedError
from thalweg.engine.embedded.changing import ChangingAggregate
from thalweg.engine.embedded.fused import Fused
from thalweg.engine.embedded.joined import table_join
from thalweg.engine.embedded.outputs import Outlet
from thalweg.engine.embedded.stage import Stage
from thalweg.engine.embedded.stateless import Exploded, MappedBatches, MappedRows, United
from thalweg.engine.embedded.windowed import ClosingWindows
from thalweg.plan import nodes as n
from thalweg.plan.show import describe
from thalweg.plan.windows import Window


def stage_of(node: n.Node, chain: Sequence[n.Node], name: str, outlet: Callable[[n.Write, str], Outlet]) -> Stage:
    """Return the operator that runs a node.

    Args:
        node: The node.
        chain: The nodes that are run as one with it, it last.
        name: The step's name.
        outlet: Makes the end of a stream.

    Raises:
        UnsupportedError: This engine cannot run the node.
    """
    match node:
        case n.Filter() | n.Project() | n.Unnest():
            return Fused(chain, name)  # type: ignore[arg-type]  # only fusible nodes make a chain
        case n.Explode():
            return Exploded(node, name)
        case n.Union():
            return United(node, name)
        case n.Step() if node.input.changing and not isinstance(node, n.Write):
            raise UnsupportedError(f"the embedded engine cannot yet run {describe(node)}", place=node.place)
        case n.MapRows():
            return MappedRows(node, name)
        case n.MapBatches():
            return MappedBatches(node, name)
        case n.Aggregate(window=Window() as window, emit="on_close"):
            return ClosingWindows(node, window, name)
        case n.Aggregate() | n.ReduceByKey():
            return ChangingAggregate(node, name)
        case n.Join(within=None):
            return table_join(node, name)
        case n.Write():
            return outlet(node, name)
        case _:
            raise UnsupportedError(f"the embedded engine cannot yet run {describe(node)}", place=node.place)
