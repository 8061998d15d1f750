"""Filters and projections over many rows: the same as over few, without the time where nothing asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.unit.rejections import checked, told
from thalweg import Stream, col, count, lit
from thalweg.columnar import integer_bounds
from thalweg.connect import call, memory, view
from thalweg.core.ports import SourceBatch
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded import fused
from thalweg.engine.embedded.intake import Intake, Partition
from thalweg.engine.embedded.loop import EmbeddedRun
from thalweg.engine.embedded.rows import TIME

GREATEST = 2**63 - 1
Build = Callable[[Stream], Stream]

CHAINS: list[Build] = [
    lambda s: s.filter(col("n") * 2 > 0).select("id", m=col("n") * 2 + 1),
    lambda s: s.select("id", n=col("n") - 1, half=col("n") // 2).filter(col("n") * col("half") >= 0),
    lambda s: s.select("id", n=col("n") * 1_000).with_columns(m=-col("n") * 3).drop("n"),
    lambda s: s.with_columns(m=col("u") - col("u") * 2),
    lambda s: s.unnest("pair").with_columns(m=col("x") * col("n")),
    lambda s: s.select(one=lit(1), two=lit("b")),
]
VALUES = st.one_of(st.integers(-1_000, 1_000), st.sampled_from([-GREATEST - 1, GREATEST, 2**62, -(2**62), 2**54]))


def table(values: list[int | None], unsigned: list[int | None]) -> pa.Table:
    columns: dict[str, Any] = {
        "id": pa.array(range(len(values)), pa.int64()),
        "n": pa.array(values, pa.int64()),
        "u": pa.array(unsigned, pa.uint64()),
        "pair": pa.array([{"x": value} for value in values], pa.struct([("x", pa.int64())])),
        "ts": pa.array([0] * len(values), TIMESTAMP),
    }
    return pa.table(columns)


def outcome(rows: pa.Table, build: Build, large_rows: int) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Run a pipeline, taking so many rows for many; return its rows and the rejected ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "LARGE_ROWS", large_rows)
        app = tw.App("t")
        build(app.read(memory([rows]))).write(view("v"))
        report = checked(app.batch())
    return report.view("v").to_pylist(), told(report)


@given(
    st.lists(st.tuples(st.one_of(st.none(), VALUES), st.sampled_from([0, 7, None, 2**63, 2**64 - 1])), min_size=1),
    st.sampled_from(CHAINS),
)
def test_many_rows_give_what_few_give(rows: list[tuple[int | None, int | None]], build: Build) -> None:
    given_rows = table([n for n, _ in rows], [u for _, u in rows])
    assert outcome(given_rows, build, 1) == outcome(given_rows, build, 10**9)


def test_a_wrong_proof_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, build = table([GREATEST, 1], [0, 0]), CHAINS[0]
    expected = outcome(rows, build, 10**9)
    assert outcome(rows, build, 1) == expected
    monkeypatch.setattr(integer_bounds, "_loosened", lambda low, high: integer_bounds.Bounds(0, 255))
    assert outcome(rows, build, 1) != expected


def test_the_one_row_of_many_that_leaves_64_bits_is_rejected() -> None:
    height, bad = fused.LARGE_ROWS + 10_000, 70_001
    values: list[int | None] = list(range(height))
    values[bad] = GREATEST
    kept, rejected = outcome(table(values, [0] * height), lambda s: s.select(m=col("n") * 2 + 1), fused.LARGE_ROWS)
    assert [row["m"] for row in kept] == [2 * value + 1 for value in values if value is not None and value != GREATEST]
    assert [(place.rsplit(":", 1)[-1], reason) for place, reason, _ in rejected] == [
        (str(bad), "the result is outside the range of int64")
    ]


def compilations(values: list[list[int | None]]) -> int:
    """Return how many compilations steps of these values needed, beside the checked one."""
    stages: list[fused.Fused] = []

    class Seen(fused.Fused):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            stages.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "LARGE_ROWS", 1)
        patch.setattr("thalweg.engine.embedded.compile.Fused", Seen)
        app = tw.App("t")
        tables = [table(part, [0] * len(part)) for part in values]
        app.read(memory([tables])).select(m=col("n") * 2).write(view("v"))
        app.run(data=None, until="end", max_step_rows=len(values[0]), quiet=True)
    (stage,) = stages
    return len(stage._narrow._bounded)


def test_steps_of_like_values_share_a_compilation() -> None:
    assert compilations([[1, 2], [100, -100], [7, 0]]) == 1
    assert compilations([[1, 2], [1_000, 1], [2**40, 1], [3, 3]]) == 3


def test_columns_that_are_only_named_anew_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(stream: Stream) -> Stream:
        return stream.rename({"n": "a", "u": "n"}).select("n", b="a", c="a")

    assert outcome(table([1, None], [3, 4]), build, 10**9) == (
        [{"n": 3, "b": 1, "c": 1}, {"n": 4, "b": None, "c": None}],
        [],
    )
    monkeypatch.setattr(fused, "_taken", lambda parts: {"n": "n", "b": "n", "c": "n"})
    wrong, _ = outcome(table([1, None], [3, 4]), build, 10**9)
    assert wrong[0]["n"] != 3


# ---------------------------------------------------------------------- what a source's rows carry


def intake_of(build: Build) -> Intake:
    """Return the intake of a run that has not begun."""
    app = tw.App("t")
    build(app.read(memory([table([1], [1])]), time="ts", lateness="0s")).write(call(print))
    run = EmbeddedRun(app.plan, RunOptions())
    (intake,) = run._intakes
    return intake


@pytest.mark.parametrize(
    ("build", "timed"),
    [
        (lambda s: s.filter(col("n") > 0).select("id"), False),
        (lambda s: s.union(s.filter(col("n") > 0)), False),
        (lambda s: s.map(lambda row: {"id": row["id"]}, schema=pa.schema([("id", pa.int64())])), False),
        (lambda s: s.filter(col("n") > 0).group_by("id").window("1m").agg(n=count()), True),
        (lambda s: s.group_by("id").agg(last=col("n").last()), True),
    ],
)
def test_rows_carry_their_time_only_to_what_looks_at_it(build: Build, timed: bool) -> None:
    intake = intake_of(build)
    assert intake.timed == timed
    partition = intake.partitions["0"] = Partition("0")
    (batch,) = table([5, 6], [0, 0]).to_batches()
    intake.offer(partition, SourceBatch(batch, None, str))
    rows = intake.take()
    assert rows is not None
    assert (TIME in rows.frame.columns) == timed
    assert (partition.running_max, rows.low, rows.high) == (0, 0, 0)
    assert rows.place(rows.frame, 1) == "1"
