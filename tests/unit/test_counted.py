"""Count windows: runs of rows in the order of time."""

from __future__ import annotations

import random

import pytest

import thalweg as tw
from tests.oracle.formed import runs
from tests.unit.in_order import SECOND, Row, Steps
from thalweg import col, count
from thalweg.connect import memory, view
from thalweg.engine.embedded import counted
from thalweg.engine.embedded.counted import CountWindows
from thalweg.engine.embedded.rows import ALWAYS
from thalweg.plan.nodes import key_of


def steps(size: int) -> Steps:
    return Steps(lambda s: s.group_by("k").window(tw.count_window(size)).agg(n=count(), c=col("x").collect()))


def row(key: str, first: int, last: int, values: list[int]) -> dict[str, object]:
    end = (last * SECOND + 1) / SECOND
    return {"k": key, "window_start": first, "window_end": end, "n": len(values), "c": values}


def test_a_run_is_of_rows_in_the_order_of_time_not_of_arrival() -> None:
    made = steps(2)
    assert made.take([("a", 1, 30), ("a", 2, 10), ("b", 9, 11)], 5) == []
    assert made.take([("a", 3, 20)], 25) == [row("a", 10, 20, [2, 3])]
    assert made.take([], ALWAYS) == [row("a", 30, 30, [1]), row("b", 11, 11, [9])]


def test_rows_at_the_watermark_wait() -> None:
    made = steps(2)
    assert made.take([("a", 1, 10), ("a", 3, 20)], 20) == []
    assert made.take([("a", 2, 20)], 21) == [row("a", 10, 20, [1, 2])]


def test_equal_times_are_ordered_by_all_columns() -> None:
    made = steps(2)
    assert made.take([("a", 3, 10), ("a", 1, 10), ("a", 2, 10)], ALWAYS) == [
        row("a", 10, 10, [3]),
        row("a", 10, 10, [1, 2]),
    ]


def test_a_smaller_last_run_closes_only_when_the_input_is_complete() -> None:
    made = steps(3)
    assert made.take([("a", 1, 1), ("a", 2, 2)], 10_000) == []
    assert made.stage.open_windows() == 1
    assert made.take([], ALWAYS) == [row("a", 1, 2, [1, 2])]
    assert made.stage.open_windows() == made.stage.held() == 0


def test_one_step_can_fill_several_runs_of_a_key() -> None:
    made = steps(2)
    made.take([("a", 0, 0)], 1)
    rows: list[Row] = [("a", n, n) for n in range(1, 6)]
    assert made.take(rows, 6) == [row("a", 0, 1, [0, 1]), row("a", 2, 3, [2, 3]), row("a", 4, 5, [4, 5])]


def test_late_rows_are_in_no_run() -> None:
    made = steps(2)
    assert made.take([("a", 1, 20), ("a", 2, 5)], 10, before=[-100, 10]) == []
    assert [late["x"] for late in made.late] == [2]
    assert made.take([], ALWAYS) == [row("a", 20, 20, [1])]


def test_open_runs_hold_the_watermark_of_what_follows() -> None:
    made = steps(2)
    made.take([("a", 1, 10), ("b", 2, 20)], 50)
    assert made.stage.watermark_out() == 10 * SECOND
    made.take([("a", 3, 60)], 70)
    assert made.stage.watermark_out() == 20 * SECOND
    made.take([("b", 3, 80), ("c", 3, 81)], 90)
    assert made.stage.watermark_out() == 81 * SECOND
    made.take([], ALWAYS)
    assert made.stage.watermark_out() == ALWAYS


@pytest.mark.parametrize("rows", [1, 100])
def test_windows_of_runs_hold_runs_that_close_at_the_end(rows: int) -> None:
    app = tw.App("nested")
    data = [{"k": key, "ts": second * SECOND} for key, second in [("a", 1), ("b", 2), ("b", 3), ("b", 40), ("b", 41)]]
    stream = app.read(memory([data]), time="ts", time_unit="us")
    stream.write(view("raw"))  # every row at once
    counted = stream.group_by("k").window(tw.count_window(2)).agg(n=count())
    counted.group_by().window("10s").agg(t=col("n").sum()).write(view("v"))
    report = app.run(data=None, until="end", max_step_rows=rows, quiet=True)
    assert [r["t"] for r in report.view("v").to_pylist()] == [3, 2]


def test_a_key_that_is_seldom_seen_lets_no_entries_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "_FEW_ENTRIES", 10)
    made = steps(1000)
    made.take([("seldom", 0, 0)], 1)
    for second in range(1, 100):
        made.take([("often", 0, second)], second + 1)
        assert made.stage.watermark_out() == 0
    assert isinstance(made.stage, CountWindows)
    assert len(made.stage._timeline) <= 11
    assert made.stage.held() == 100


def test_runs_have_no_key_for_two_may_have_the_same_bounds() -> None:
    stream = tw.App("key").read(memory([[{"k": "a", "ts": 1}]]), time="ts", time_unit="us")
    assert key_of(stream.group_by("k").window(tw.count_window(2)).agg(n=count())._node) is None


def test_a_row_that_user_code_raises_on_takes_no_place() -> None:
    def add(total: int, value: int | None) -> int:
        if value is None:
            raise ValueError("nothing")
        return total + value

    total = tw.aggregate(init=int, step=add, merge=lambda a, b: a + b, finish=lambda t: t, returns=int)
    made = Steps(lambda s: s.group_by("k").window(tw.count_window(2)).agg(n=count(), t=total(col("x"))))
    assert [r["t"] for r in made.take([("a", 1, 1), ("a", None, 2), ("a", 2, 3)], 10)] == [3]
    assert made.rejected == ["ValueError: nothing"]


def test_runs_go_on_after_a_restart_at_any_step(rng: random.Random) -> None:
    made = steps(3)
    rows: list[Row] = [(rng.choice("abc"), n, n // 3 + rng.randrange(5)) for n in range(120)]
    found = []
    for start in range(0, len(rows), 7):
        found += made.take(rows[start : start + 7], (start + 7) // 3)
        made.restart()
    found += made.take([], ALWAYS)
    expected = []
    for key in "abc":
        mine = sorted((second, value) for k, value, second in rows if k == key)
        of = runs(3, [second for second, _ in mine])
        for number in range(of[-1][0] + 1):
            run = [one for one, (at, _) in zip(mine, of, strict=True) if at == number]
            expected.append(row(key, run[0][0], run[-1][0], [value for _, value in run]))
    assert sorted(found, key=repr) == sorted(expected, key=repr)
