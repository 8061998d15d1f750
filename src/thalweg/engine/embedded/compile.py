"""Which operator runs which node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thalweg.core.clock import Clock
from thalweg.core.errors import UnsupportedError
from thalweg.engine.embedded.asof import AsofJoin
from thalweg.engine.embedded.changing import ChangingAggregate
from thalweg.engine.embedded.counted import CountWindows
from thalweg.engine.embedded.deduped import Deduped
from thalweg.engine.embedded.fused import Fused
from thalweg.engine.embedded.interval import IntervalJoin
from thalweg.engine.embedded.joined import table_join
from thalweg.engine.embedded.looked_up import LookedUp
from thalweg.engine.embedded.outputs import Outlet
from thalweg.engine.embedded.processed_batches import ProcessedBatches
from thalweg.engine.embedded.processed_rows import ProcessedRows
from thalweg.engine.embedded.ranked import ranked_stage
from thalweg.engine.embedded.remembered import Remembered
from thalweg.engine.embedded.retracting import RetractingAggregate
from thalweg.engine.embedded.sessions import Sessions
from thalweg.engine.embedded.stage import Stage
from thalweg.engine.embedded.stateless import Exploded, MappedBatches, MappedRows, United
from thalweg.engine.embedded.windowed import ClosingWindows
from thalweg.plan import nodes as n
from thalweg.plan.prune import NeededColumns
from thalweg.plan.show import describe
from thalweg.plan.windows import CountWindow, SessionWindow, Window


def stage_of(
    node: n.Node,
    chain: Sequence[n.Node],
    name: str,
    outlet: Callable[[n.Write, str], Outlet],
    clock: Clock,
    needed: NeededColumns,
) -> Stage:
    """Return the operator that runs a node.

    Args:
        node: The node.
        chain: The nodes that are run as one with it, it last.
        name: The step's name.
        outlet: Makes the end of a stream.
        clock: Where time comes from, for what looks at it.
        needed: The columns that can be seen of each node's rows.

    Raises:
        UnsupportedError: This engine cannot run the node.
    """
    match node:
        case n.Filter() | n.Project() | n.Unnest():
            return Fused(chain, name, needed)  # type: ignore[arg-type]  # only fusible nodes make a chain
        case n.Explode():
            return Exploded(node, name)
        case n.Union():
            return United(node, name)
        case n.TopK() | n.Dedupe(within_us=None):
            return ranked_stage(node, name)
        case n.Aggregate() | n.ReduceByKey() if node.input.changing:
            return RetractingAggregate(node, name)
        case n.MapRows() | n.MapBatches() | n.Lookup() if node.input.changing:
            return Remembered(_row_by_row(node, name, clock))
        case n.MapRows() | n.MapBatches() | n.Lookup():
            return _row_by_row(node, name, clock)
        case n.Join(within=(low, high)):
            return IntervalJoin(node, low, high, name, needed[node])
        case n.JoinAsof():
            return AsofJoin(node, name)
        case n.Aggregate(window=Window() as window, emit="on_close"):
            return ClosingWindows(node, window, name)
        case n.Aggregate(window=SessionWindow() as window):
            return Sessions(node, window, name)
        case n.Aggregate(window=CountWindow() as window):
            return CountWindows(node, window, name)
        case n.Dedupe(within_us=int()):
            return Deduped(node, name)
        case n.Aggregate() | n.ReduceByKey():
            return ChangingAggregate(node, name)
        case n.Join(within=None):
            return table_join(node, name, needed[node])
        case n.Process():
            return ProcessedBatches(node, name) if node.by_batch else ProcessedRows(node, name)
        case n.Write():
            return outlet(node, name)
        case _:
            raise UnsupportedError(f"the embedded engine cannot yet run {describe(node)}", place=node.place)


def _row_by_row(node: n.MapRows | n.MapBatches | n.Lookup, name: str, clock: Clock) -> Stage:
    match node:
        case n.MapRows():
            return MappedRows(node, name)
        case n.MapBatches():
            return MappedBatches(node, name)
        case n.Lookup():
            return LookedUp(node, name, clock)
