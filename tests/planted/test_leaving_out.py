"""Bugs planted where columns are left out: the property's check finds each, and nothing where none is planted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import polars as pl
import pytest

from tests.property import leaving_out
from tests.property.leaving_out import Sight
from tests.property.test_leaving_out import sees_no_difference
from thalweg.core.ports import SourceBatch
from thalweg.engine.embedded import fused, intake, loop
from thalweg.engine.embedded.aggregate import Recipe
from thalweg.plan import nodes as n
from thalweg.plan import prune

Patch = Callable[[pytest.MonkeyPatch], None]


def _ties_pruned(patch: pytest.MonkeyPatch) -> None:
    """A column is left out by which equal times are ordered."""
    true, prepared = prune._demanded, Recipe.prepared

    def planted(node: n.Node, side: int, live: prune.Names, *, late: bool) -> Collection[str]:
        wanted = true(node, side, live, late=late)
        return set(wanted) - {"dead"} if isinstance(node, n.Aggregate) else wanted

    def lacking(self: Recipe, frame: pl.DataFrame) -> pl.DataFrame:
        return prepared(self, frame if "dead" in frame.columns else frame.with_columns(dead=pl.lit(None, pl.String)))

    patch.setattr(prune, "_demanded", planted)
    patch.setattr(Recipe, "prepared", lacking)


def _late_rows_narrow(patch: pytest.MonkeyPatch) -> None:
    """Rows that are late have only the columns that rows in time need."""
    true = prune.needed_columns

    def planted(plan: n.Plan) -> prune.NeededColumns:
        return {node: prune.Needed(found.columns, found.columns) for node, found in true(plan).items()}

    patch.setattr(loop, "needed_columns", planted)


def _rejected_rows_narrow(patch: pytest.MonkeyPatch) -> None:
    """A row that a query rejects lacks the columns that the query does not need."""
    patch.setattr(prune, "may_raise", lambda node: False)
    patch.setattr(fused, "may_raise", lambda node: False)


def _refused_rows_narrow(patch: pytest.MonkeyPatch) -> None:
    """A row that the schema or the event time rejects lacks the columns that were not read."""
    true = intake.Intake._offer_decoded

    def planted(self: intake.Intake, partition: intake.Partition, batch: SourceBatch) -> None:
        narrow = SourceBatch(batch.data, batch.position, batch.locate, (), batch.left_out, lambda: batch.data)
        true(self, partition, narrow if batch.whole is not None else batch)

    patch.setattr(intake.Intake, "_offer_decoded", planted)


_ROWS: list[leaving_out.Row] = [
    ("b", 1, 1, 10, 1.5, "p", 1),
    ("a", 1, 1, 10, 0.0, "p", 2**62),
    (None, 1, 2, 20, 1.5, "q", 1),
    ("ü", 2, 1, 3, 1.5, "q", None),
    ("a", 2, None, 21, 1.5, None, 1),
    ("a", 2, 1, None, 1.5, None, 1),
]

BUGS: dict[str, tuple[Patch, leaving_out.Shape]] = {
    "a needed tie column is left out": (_ties_pruned, leaving_out._ties),
    "late rows are not whole": (_late_rows_narrow, leaving_out._windows),
    "rows that a query rejects are not whole": (_rejected_rows_narrow, leaving_out._rejecting),
    "rows that are refused at the door are not whole": (_refused_rows_narrow, leaving_out._windows),
}


@pytest.mark.parametrize("bug", BUGS)
def test_without_the_bug_there_is_no_difference(bug: str, tmp_path: Path) -> None:
    sees_no_difference(Sight(BUGS[bug][1], (_ROWS, _ROWS), 2, 3, None), tmp_path)


@pytest.mark.parametrize("bug", BUGS)
def test_the_bug_is_found(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, shape = BUGS[bug]
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        sees_no_difference(Sight(shape, (_ROWS, _ROWS), 2, 3, None), tmp_path)
