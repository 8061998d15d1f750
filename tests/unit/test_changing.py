"""Changing tables: what a step withdraws and adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.property.shares import share
from thalweg import col
from thalweg.connect import memory, view
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded import arrangement as arrangement_module
from thalweg.engine.embedded.changing import ChangingAggregate
from thalweg.engine.embedded.rows import ALWAYS, NEVER, TIME, WEIGHT, Rows
from thalweg.plan.nodes import Aggregate
from thalweg.plan.windows import Window, cumulating, hopping, tumbling

SCHEMA = pa.schema([("k", pa.int64()), ("x", pa.float64()), ("i", pa.int64()), ("ts", TIMESTAMP)])
SECOND = 1_000_000
Row = tuple[int | None, float | None, int, int]
"""Key, float, integer, second."""
WINDOWS = {
    "tumbling": tumbling("10s"),
    "hopping": hopping("30s", every="10s"),
    "apart": hopping("10s", every="20s"),
    "cumulating": cumulating("40s", every="10s"),
}


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_sum_stays_wide_when_other_keys_are_touched_in_between(rows: int) -> None:
    values = pa.array([2**64 - 1, 1, 2, 0], pa.uint64())
    app = tw.App("wide")
    sums = app.read(memory([[pa.table({"k": ["a", "b", "b", "a"], "x": values})]])).group_by("k")
    sums.agg(total=col("x").sum()).write(view("sums"))
    report = app.run(data=None, until="end", max_step_rows=rows, quiet=True)
    assert report.view("sums").to_pylist() == [{"k": "a", "total": 2**64 - 1}, {"k": "b", "total": 3}]


def stage(window: Window | None, **aggregates: object) -> ChangingAggregate:
    groups = tw.App("changing").read(memory([[]]), schema=SCHEMA, time="ts").group_by("k")
    made = groups.agg(**aggregates) if window is None else groups.window(window, emit="on_change").agg(**aggregates)
    node = made._node
    assert isinstance(node, Aggregate)
    return ChangingAggregate(node, "changing")


def rows_of(rows: Sequence[Row]) -> Rows:
    kinds: dict[str, Any] = {"k": pl.Int64, "x": pl.Float64, "i": pl.Int64, TIME: pl.Int64}
    frame = pl.DataFrame([(k, x, i, second * SECOND) for k, x, i, second in rows], schema=kinds, orient="row")
    frame = frame.with_columns(pl.col(TIME).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("ts"))
    times = frame.get_column(TIME)
    return Rows(frame, int(times.min()), int(times.max()))  # type: ignore[arg-type]  # integers, none null


def emitted(changing: ChangingAggregate, rows: Sequence[Row], watermark: int = NEVER) -> list[dict[str, Any]]:
    out = changing.process([rows_of(rows)] if rows else [], watermark)
    return [row for part in out.rows for row in part.frame.to_dicts()]


def shown(row: dict[str, Any]) -> tuple[str, ...]:
    """A row to the last bit: −0.0 is not 0.0 here."""
    return tuple(repr(value) for name, value in row.items() if name != WEIGHT)


@pytest.fixture(autouse=True, params=[0, 8, None], ids=["in runs", "soon in runs", "plain"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let state be kept in sorted runs from the beginning, soon, or (being little) not at all."""
    if request.param is not None:
        monkeypatch.setattr(arrangement_module, "FEW_ROWS", request.param)


FLOATS = st.sampled_from([None, 0.0, -0.0, 1.5, -2.0, float("nan")])
STEP = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 4)), FLOATS, st.integers(-3, 3), st.integers(0, 90)),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("window", [None, *WINDOWS.values()], ids=["whole", *WINDOWS])
def test_a_step_withdraws_exactly_what_was_emitted(window: Window | None) -> None:
    @share(0.04)
    @given(st.lists(STEP, max_size=6), st.booleans())
    def holds(steps: list[list[Row]], restarted: bool) -> None:
        def made() -> ChangingAggregate:
            return stage(window, n=tw.count(), low=col("x").min(), total=col("i").sum(), kinds=col("i").n_unique())

        changing = made()
        standing: Counter[tuple[str, ...]] = Counter()
        for step in steps:
            for row in emitted(changing, step):
                standing[shown(row)] += row[WEIGHT]
                assert standing[shown(row)] in (0, 1)
            if restarted:
                frames = dict(changing.snapshot())
                changing = made()
                changing.restore(frames)
        at_once = emitted(made(), [row for step in steps for row in step]) if steps else []
        plain = Counter(tuple(repr(v) for k, v in row.items() if k not in (WEIGHT, "low")) for row in at_once)
        names = [name for name in (at_once[0] if at_once else {}) if name != WEIGHT]
        left = [dict(zip(names, row, strict=True)) for row, weight in standing.items() if weight]
        assert Counter(tuple(v for k, v in row.items() if k != "low") for row in left) == plain

    holds()


def test_a_row_that_is_only_equal_to_the_one_shown_does_not_take_its_place() -> None:
    changing = stage(None, low=col("x").last())
    first = emitted(changing, [(1, -0.0, 0, 0)])
    assert emitted(changing, [(1, 0.0, 0, 1)]) == []
    gone, new = emitted(changing, [(1, 2.0, 0, 2)])
    assert shown(gone) == shown(first[0])
    assert (gone[WEIGHT], new[WEIGHT]) == (-1, 1)


@pytest.mark.parametrize("window", [None, *WINDOWS.values()], ids=["whole", *WINDOWS])
def test_parts_without_a_value_do_not_hide_nan(window: Window | None) -> None:
    changing = stage(window, spread=col("x").std(ddof=0))
    for _ in range(2):
        emitted(changing, [(1, None, 0, 21)])
    assert {repr(row["spread"]) for row in emitted(changing, [(1, float("nan"), 0, 21)]) if row[WEIGHT] > 0} == {"nan"}


def test_many_open_windows_take_as_few_queries_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = 0
    true = pl.DataFrame.lazy

    def counted(frame: pl.DataFrame) -> pl.LazyFrame:
        nonlocal queries
        queries += 1
        return true(frame)

    monkeypatch.setattr(pl.DataFrame, "lazy", counted)
    taken = {}
    for windows in (1, 200):
        changing = stage(tumbling("10s"), n=tw.count(), latest=col("i").max())
        step: list[Row] = [(key, 1.0, key, 10 * (key % windows)) for key in range(200)]
        emitted(changing, step)
        queries = 0
        changed = emitted(changing, step)
        assert len(changed) == 400
        assert changing.open_windows() == windows
        taken[windows] = queries
    assert taken[200] <= taken[1] + 3  # the times of many windows are computed by a query, those of one are not


@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_closed_windows_leave_the_state_and_the_ledger_balances(window: Window) -> None:
    changing = stage(window, n=tw.count(), kinds=col("i").n_unique())
    entry = changing.entry
    for second in range(0, 500, 5):
        emitted(changing, [(second % 7, 1.0, second, second), (1, None, 0, second)], (second - 20) * SECOND)
        assert entry.absorbed == entry.released + changing.held()
        assert changing.open_windows() <= 9
        assert changing.held() <= 200
    emitted(changing, [], ALWAYS)
    assert (changing.held(), changing.open_windows()) == (0, 0)
    assert entry.absorbed == entry.released > 0
    assert entry.pairs == entry.absorbed + entry.filtered + entry.late + entry.rejected
    assert not [frame for name, frame in changing.snapshot() if name != "bounds" and frame.height]
