"""Exploded lists."""

from __future__ import annotations

import pyarrow as pa

import thalweg as tw
from thalweg import col
from thalweg.connect import memory, view


def test_an_empty_list_and_null_give_a_row_with_null() -> None:
    app = tw.App("lists")
    rows = pa.table({"k": [1, 2, 3], "x": pa.array([[], None, [7, None, 8]], pa.list_(pa.int64()))})
    app.read(memory([[rows]])).explode("x").write(view("items"))
    found = [(row["k"], row["x"]) for row in app.batch().view("items").to_pylist()]
    assert sorted(found, key=repr) == [(1, None), (2, None), (3, 7), (3, 8), (3, None)]


def test_the_row_of_an_empty_list_is_withdrawn_when_the_list_fills() -> None:
    app = tw.App("lists")
    rows = pa.table({"k": [1, 1, 1], "x": pa.array([None, None, 7], pa.int64())})
    lists = app.read(memory([[rows]])).group_by("k").agg(x=col("x").collect())
    lists.explode("x").write(view("items"))
    report = app.run(data=None, until="end", max_step_rows=1, quiet=True)
    assert report.view("items").to_pylist() == [{"k": 1, "x": 7}]
