"""Sessions: what is in one, when it closes, what is kept."""

from __future__ import annotations

import random

import pytest

import thalweg as tw
from tests.oracle.formed import Session
from tests.unit.in_order import SECOND, Row, Steps
from thalweg import col, count
from thalweg.engine.embedded import arrangement, open_groups
from thalweg.engine.embedded.rows import ALWAYS


def steps(gap: str = "5s") -> Steps:
    return Steps(lambda s: s.group_by("k").window(tw.session(gap)).agg(n=count(), c=col("x").collect()))


def row(key: str | None, start: float, end: float, values: list[int]) -> dict[str, object]:
    return {"k": key, "window_start": start, "window_end": end, "n": len(values), "c": values}


def test_a_session_runs_from_its_first_row_to_its_last_plus_the_gap() -> None:
    made = steps()
    assert made.take([("a", 1, 10), ("a", 2, 14), ("a", 3, 12)], 18) == []
    assert made.take([], 19) == [row("a", 10, 19, [1, 3, 2])]


def test_rows_exactly_the_gap_apart_are_two_sessions() -> None:
    made = steps()
    assert made.take([("a", 1, 10), ("a", 2, 15)], ALWAYS) == [row("a", 10, 15, [1]), row("a", 15, 20, [2])]


def test_a_row_between_two_makes_them_one() -> None:
    made = steps()
    assert made.take([("a", 1, 10), ("a", 2, 18)], 10) == []
    assert made.take([("a", 3, 14)], 20) == []
    assert made.take([], 23) == [row("a", 10, 23, [1, 3, 2])]


def test_keys_have_sessions_of_their_own_and_null_is_a_key() -> None:
    made = steps()
    given = made.take([("a", 1, 10), (None, 2, 12), ("b", 3, 40)], 20)
    assert given == [row("a", 10, 15, [1]), row(None, 12, 17, [2])]


def test_a_session_over_many_gaps_is_one() -> None:
    made = steps()
    rows: list[Row] = [("a", n, 4 * n) for n in range(50)]
    assert made.take(rows, ALWAYS) == [row("a", 0, 4 * 49 + 5, list(range(50)))]


def test_a_row_before_its_watermark_is_late_and_counts_nowhere() -> None:
    made = steps()
    assert made.take([("a", 1, 20), ("a", 2, 9), ("a", 3, 10)], 10, before=[-100, 10, 10]) == []
    assert [late["x"] for late in made.late] == [2]
    assert "window_start" not in made.late[0]
    assert made.take([], ALWAYS) == [row("a", 10, 15, [3]), row("a", 20, 25, [1])]
    assert made.stage.entry.late == 1


def test_a_row_of_an_operator_that_the_watermark_ran_ahead_of_is_late() -> None:
    made = steps()
    made.take([("a", 1, 10)], 12)
    assert made.take([("a", 2, 11), ("a", 3, 12)], 30) == [row("a", 10, 17, [1, 3])]
    assert [late["x"] for late in made.late] == [2]


def test_a_closed_session_is_not_extended() -> None:
    made = steps()
    assert made.take([("a", 1, 10), ("b", 1, 15)], 15) == [row("a", 10, 15, [1])]
    assert made.take([("a", 2, 15)], 20) == [row("a", 15, 20, [2]), row("b", 15, 20, [1])]
    assert made.stage.held() == made.stage.open_windows() == 0


def test_a_session_is_due_when_the_watermark_has_come_so_far() -> None:
    made = steps()
    made.take([("a", 1, 10)], 11)
    assert not made.stage.due(14 * SECOND)
    assert made.stage.due(15 * SECOND)


def test_the_time_of_a_session_is_its_last_instant() -> None:
    app = tw.App("nested")
    rows = [{"k": "a", "ts": second * SECOND} for second in (1, 2, 9, 14)]
    stream = app.read(tw.connect.memory([rows]), time="ts", time_unit="us")
    sessions = stream.group_by("k").window(tw.session("3s")).agg(n=count())
    sessions.group_by("k").window("5s").agg(sessions=count()).write(tw.connect.view("v"))
    found = {r["window_end"].second: r["sessions"] for r in app.batch().view("v").to_pylist()}
    assert found == {5: 1, 15: 1, 20: 1}  # ends at 5, 12 and 17: the last instants are before


def test_a_sum_that_does_not_fit_is_rejected_when_its_session_closes() -> None:
    made = Steps(lambda s: s.group_by("k").window(tw.session("5s")).agg(t=col("x").sum()))
    largest = 2**63 - 1
    assert made.take([("a", largest, 1), ("b", largest, 1)], 2) == []
    assert [r["t"] for r in made.take([("a", 1, 3), ("b", -1, 3)], ALWAYS)] == [largest - 1]
    assert made.rejected == ["a sum does not fit in 64 bits; cast the column to float, or sum a part of it"]


def test_rows_that_user_code_raises_on_do_not_join_sessions() -> None:
    def add(total: int, value: int | None) -> int:
        if value is None:
            raise ValueError("nothing")
        return total + value

    total = tw.aggregate(init=int, step=add, merge=lambda a, b: a + b, finish=lambda t: t, returns=int)
    made = Steps(lambda s: s.group_by("k").window(tw.session("5s")).agg(t=total(col("x"))))
    found = made.take([("a", 1, 10), ("a", None, 14), ("a", 2, 18)], 16)
    found += made.take([], ALWAYS)
    assert [(r["window_start"], r["window_end"], r["t"]) for r in found] == [(10, 15, 1), (18, 23, 2)]
    assert made.rejected == ["ValueError: nothing"]
    assert made.stage.entry.rejected == 1


@pytest.mark.parametrize("large", [False, True], ids=["plain", "sorted"])
def test_sessions_go_on_after_a_restart_at_any_step(
    large: bool, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(arrangement, "FEW_ROWS", 4)
        for name in ("FEW_ROWS", "_FEW_DEAD", "_PLAIN_FROM", "_SORTED_FROM"):
            monkeypatch.setattr(open_groups, name, 0)
    made = Steps(
        lambda s: s.group_by("k").window(tw.session("4s")).agg(n=count(), c=col("x").collect(), u=col("x").n_unique())
    )
    rows: list[Row] = [(rng.choice("abcdef"), n % 5, n // 3 + rng.randrange(5)) for n in range(150)]
    found = []
    for start in range(0, len(rows), 10):
        # All later rows lie at this watermark or behind it.
        found += made.take(rows[start : start + 10], (start + 10) // 3)
        made.restart()
    found += made.take([], ALWAYS)
    expected = []
    for key in "abcdef":
        mine = sorted((second, value) for k, value, second in rows if k == key)
        spans = Session(4).spans([second for second, _ in mine])
        for span in dict.fromkeys(spans):
            values = [value for (_, value), of in zip(mine, spans, strict=True) if of == span]
            expected.append(row(key, *span, [v for v in values if v is not None]) | {"u": len(set(values))})
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert made.stage.held() == 0


def test_a_step_looks_up_only_the_keys_that_it_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    made = steps("1h")
    many: list[Row] = [(f"k{n}", n, n % 100) for n in range(20_000)]
    made.take(many, 200)
    looked_up: list[int] = []
    true = arrangement.Arrangement.lookup

    def watched(self: arrangement.Arrangement, keys: object) -> object:
        looked_up.append(keys.height)  # type: ignore[attr-defined]  # a frame
        return true(self, keys)  # type: ignore[arg-type]  # as above

    monkeypatch.setattr(arrangement.Arrangement, "lookup", watched)
    made.take([("k1", 1, 300), ("new", 2, 300)], 400)
    assert looked_up == [2, 1]  # two sessions, and the side rows of the one that is open
