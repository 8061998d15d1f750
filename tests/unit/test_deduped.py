"""Dedupe within a time: which rows are kept, and what is remembered."""

from __future__ import annotations

import random

import polars as pl
import pytest

import thalweg as tw
from tests.oracle.formed import kept
from tests.unit.in_order import SECOND, Row, Steps
from thalweg.connect import memory, view
from thalweg.engine.embedded.deduped import Deduped, _chosen
from thalweg.engine.embedded.rows import ALWAYS, TIME


def steps(within: str = "10s") -> Steps:
    return Steps(lambda s: s.dedupe("k", within=within))


def values(made: Steps, rows: list[Row], watermark: int) -> list[object]:
    return sorted(row["x"] for row in made.take(rows, watermark))


def test_a_row_is_kept_if_no_kept_row_lies_less_than_the_time_before_it() -> None:
    assert values(steps(), [("a", 0, 0), ("a", 1, 9), ("b", 2, 9)], ALWAYS) == [0, 2]


def test_a_kept_row_exactly_the_time_before_does_not_count() -> None:
    assert values(steps(), [("a", 0, 0), ("a", 1, 10)], ALWAYS) == [0, 1]


def test_what_counts_is_the_last_row_kept_not_the_last_row_seen() -> None:
    rows: list[Row] = [("a", second, second) for second in range(0, 31, 3)]
    assert values(steps(), rows, ALWAYS) == [0, 12, 24]
    made = steps()
    found = [values(made, [row], row[2] + 1) for row in rows]
    assert [x for one in found for x in one] == [0, 12, 24]


def test_rows_come_in_the_order_of_time_not_of_arrival() -> None:
    made = steps()
    assert values(made, [("a", 1, 15), ("a", 2, 10)], 5) == []
    assert values(made, [("a", 3, 7)], ALWAYS) == [3]


def test_of_equal_times_the_first_by_all_columns_is_kept() -> None:
    assert values(steps(), [("a", 3, 5), ("a", 1, 5), ("a", 2, 5)], ALWAYS) == [1]


def test_late_rows_are_put_aside() -> None:
    made = steps()
    assert made.take([("a", 1, 20), ("a", 2, 5)], 10, before=[-100, 10]) == []
    assert [late["x"] for late in made.late] == [2]
    assert values(made, [], ALWAYS) == [1]


def test_keys_are_forgotten_when_they_can_block_nothing_more() -> None:
    made = steps()
    rows: list[Row] = [(f"k{n}", n, n) for n in range(100)]
    made.take(rows, 100)
    made.take([], 1000)
    assert dict(made.stage.snapshot()) == {}


def test_keys_within_the_time_are_not_forgotten() -> None:
    made = steps()
    assert values(made, [("a", 0, 0)], 9) == [0]
    made.restart()
    assert values(made, [("a", 1, 9)], 100) == []


@pytest.mark.parametrize("batches", [True, False])
def test_null_nan_and_zeros_are_keys_like_any_other(batches: bool) -> None:
    app = tw.App("floats")
    keys = [None, float("nan"), 0.0, None, float("nan"), -0.0]
    rows = [{"f": key, "n": number, "ts": number} for number, key in enumerate(keys)]
    stream = app.read(memory([rows]), time="ts", time_unit="s")
    stream.write(view("raw"))  # every row at once
    stream.dedupe("f", within="10s").write(view("v"))
    report = app.batch() if batches else app.run(data=None, until="end", max_step_rows=1, quiet=True)
    assert sorted(report.view("v").column("n").to_pylist()) == [0, 1, 2]


def test_a_hot_key_is_followed_in_few_rounds(rng: random.Random) -> None:
    times = sorted(rng.randrange(200_000) for _ in range(100_000))
    rows = pl.DataFrame({"k": ["a"] * len(times), TIME: times})
    found = _chosen(rows, ["k"], 3).to_list()
    assert found == [place for place, here in enumerate(kept(3, times)) if here]


def test_keys_go_on_after_a_restart_at_any_step(rng: random.Random) -> None:
    made = steps("4s")
    assert isinstance(made.stage, Deduped)
    rows: list[Row] = [(rng.choice("abc"), n, n // 3 + rng.randrange(5)) for n in range(200)]
    found: list[object] = []
    for start in range(0, len(rows), 9):
        found += values(made, rows[start : start + 9], (start + 9) // 3)
        made.restart()
    found += values(made, [], ALWAYS)
    expected: list[int | None] = []
    for key in "abc":
        mine = sorted((second, value) for k, value, second in rows if k == key)
        chosen = kept(4 * SECOND, [second * SECOND for second, _ in mine])
        expected += [value for (_, value), here in zip(mine, chosen, strict=True) if here]
    assert sorted(found) == sorted(expected)  # type: ignore[type-var]  # integers
