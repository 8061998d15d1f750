"""Steps grow with a backlog while they take little time."""

from __future__ import annotations

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import col
from thalweg.connect import call, memory
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded import pace
from thalweg.engine.embedded.pace import MOST_STEP_ROWS, STEP_BYTES, STEP_ROWS, STEP_S, Pace
from thalweg.testing import VirtualClock


def sizes(steps: int, s_per_row: float, row_bytes: int = 8, given: float = 1.0, budget: int | None = None) -> list[int]:
    """Return how many rows each of some steps may take, where the source gives a part of them."""
    paced, clock, found = Pace(budget), VirtualClock(), []
    for _ in range(steps):
        found.append(rows := paced.rows(row_bytes))
        taken = int(rows * given)
        with paced.step(taken, clock):
            clock.advance(f"{round(taken * s_per_row * 1e6)}us")
    return found


def test_quick_steps_are_followed_by_larger_ones_up_to_a_bound() -> None:
    assert sizes(6, 1e-9) == [STEP_ROWS << n for n in (0, 1, 2, 3, 3, 3)]
    assert STEP_ROWS << 3 == MOST_STEP_ROWS


def test_steps_do_not_grow_past_the_time_that_one_may_take() -> None:
    quarter = STEP_S / 4 / STEP_ROWS
    assert sizes(4, quarter) == [STEP_ROWS, 2 * STEP_ROWS, 4 * STEP_ROWS, 4 * STEP_ROWS]
    assert sizes(4, 3 * STEP_S / STEP_ROWS) == [STEP_ROWS] * 4


def test_a_slow_step_is_followed_by_a_smaller_one() -> None:
    paced, clock = Pace(), VirtualClock()
    for _ in range(3):
        with paced.step(MOST_STEP_ROWS, clock):
            pass
    for expected in (MOST_STEP_ROWS // 2, MOST_STEP_ROWS // 4, STEP_ROWS, STEP_ROWS):
        with paced.step(1, clock):
            clock.advance("2s")
        assert paced.rows(1) == expected


def test_the_bytes_of_a_step_are_bounded_and_what_is_no_backlog_changes_nothing() -> None:
    assert sizes(3, 1e-9, row_bytes=200) == [STEP_ROWS, STEP_BYTES // 200, STEP_BYTES // 200]
    assert sizes(3, 1e-9, row_bytes=STEP_BYTES) == [STEP_ROWS] * 3
    assert sizes(3, 1e-9, given=0.9) == [STEP_ROWS] * 3
    assert sizes(3, 1e-9, row_bytes=8, budget=64 * 8 * 300_000) == [STEP_ROWS, 300_000, 300_000]
    assert sizes(3, 1e-9, row_bytes=8, budget=1) == [STEP_ROWS] * 3


@pytest.mark.parametrize("state", [False, True])
def test_a_run_takes_its_backlog_so(monkeypatch: pytest.MonkeyPatch, state: bool) -> None:
    monkeypatch.setattr(pace, "STEP_ROWS", 10)
    monkeypatch.setattr(pace, "MOST_STEP_ROWS", 80)
    app, seen = tw.App("paced"), list[int]()
    given = app.read(memory([pa.table({"n": range(300)})]))
    made = given.dedupe("n") if state else given.filter(col("n") >= 0)
    made.select(m=col("n")).write(call(lambda rows: seen.append(rows.num_rows)))
    app.start(RunOptions(until="end", clock=VirtualClock()))
    assert sum(seen) == 300
    assert seen[:4] == [10, 20, 40, 80]
