"""Changing tables: what a step withdraws and adds."""

from __future__ import annotations

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import col
from thalweg.connect import memory, view


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_sum_stays_wide_when_other_keys_are_touched_in_between(rows: int) -> None:
    values = pa.array([2**64 - 1, 1, 2, 0], pa.uint64())
    app = tw.App("wide")
    sums = app.read(memory([[pa.table({"k": ["a", "b", "b", "a"], "x": values})]])).group_by("k")
    sums.agg(total=col("x").sum()).write(view("sums"))
    report = app.run(data=None, until="end", max_step_rows=rows, quiet=True)
    assert report.view("sums").to_pylist() == [{"k": "a", "total": 2**64 - 1}, {"k": "b", "total": 3}]
