"""Whole programs through the oracle, worked out by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest

from tests.oracle.aggregates import Aggregate
from tests.oracle.expect import Exactly
from tests.oracle.expressions import (
    Both,
    Choose,
    Col,
    Compare,
    Either,
    Expression,
    FillNull,
    Filter,
    IsNull,
    Lit,
    Not,
    WithColumn,
)
from tests.oracle.programs import Branch, Late, Meaning, Pipeline, Program, Stage, meaning
from tests.oracle.tables import differences
from tests.oracle.values import Value
from tests.oracle.windows import Hopping, Read, Tumbling

COLUMNS = ("k", "x", "ts")
COUNT = Aggregate("n", "rows")
SUM = Aggregate("s", "sum", "x")
LAST = Aggregate("l", "last", "x")


def source(*partitions: Sequence[tuple[Value, Value, int | None]], lateness_us: int = 0) -> Read:
    rows = tuple(tuple(dict(zip(COLUMNS, row, strict=True)) for row in partition) for partition in partitions)
    return Read(COLUMNS, "ts", rows, lateness_us)


def run(read: Read, *stages: Stage, branches: Sequence[Branch] = (Branch(0),), steps: Sequence[Filter] = ()) -> Meaning:
    return meaning(Program((read,), tuple(branches), (Pipeline("v", stages, tuple(steps)),)))


def rows(result: Meaning) -> list[tuple[Value, ...]]:
    """Return the exact rows of the view, sorted."""
    outcome = result.outcomes["v"]
    exact = [[may.value if isinstance(may, Exactly) else may for may in row.values()] for row in outcome.rows.values()]
    return sorted(map(tuple, exact), key=repr)  # type: ignore[arg-type]  # an inexact one fails the comparison


# Windows of 10, lateness 2; one partition. The watermark stands before each row:
#
#   row        a1@1   a2@12   b3@9    a4@11   a5@21   a6@9        a7@19
#   watermark  −∞     −1      10      10      10      19          19
#   window     0–10   10–20   0–10!   10–20   20–30   0–10!       10–20
#
# b3 and a6 are late: their window's end, 10, is ≤ 10 and ≤ 19. a7 is not: 20 > 19.
LINE = source(
    [("a", 1, 1), ("a", 2, 12), ("b", 3, 9), ("a", 4, 11), ("a", 5, 21), ("a", 6, 9), ("a", 7, 19)], lateness_us=2
)


def test_a_tumbling_window_with_late_rows() -> None:
    result = run(LINE, Stage(("k",), (COUNT, SUM, LAST), Tumbling(10)))
    assert rows(result) == [("a", 0, 10, 1, 1, 1), ("a", 10, 20, 3, 13, 7), ("a", 20, 30, 1, 5, 5)]
    outcome = result.outcomes["v"]
    assert outcome.late == Counter([Late(0, 0, 9, 10, (0, 10)), Late(0, 0, 9, 19, (0, 10))])
    assert (outcome.counted, outcome.filtered, outcome.overflows) == (5, 0, 0)
    assert (result.read, result.rejected, result.filtered) == (7, 0, 0)


def test_a_changing_window_adds_up_to_the_same() -> None:
    on_close, on_change = (
        run(LINE, Stage(("k",), (COUNT, SUM, LAST), Tumbling(10), emit)) for emit in ("on_close", "on_change")
    )
    assert rows(on_close) == rows(on_change)
    assert on_close.outcomes["v"].late == on_change.outcomes["v"].late


def test_nothing_is_late_without_a_window() -> None:
    result = run(LINE, Stage(("k",), (COUNT, SUM, LAST)))
    assert rows(result) == [("a", 6, 25, 5), ("b", 1, 3, 3)]
    assert not result.outcomes["v"].late


def test_filtered_rows_move_the_watermark_and_are_not_late() -> None:
    keep = Filter(Compare(Col("x"), "<", Lit(5)))
    result = run(LINE, Stage(("k",), (COUNT,), Tumbling(10), steps=(keep,)))
    # 5@21 is dropped but moves the watermark to 19; 6@9 would be late but is dropped first.
    assert rows(result) == [("a", 0, 10, 1), ("a", 10, 20, 2)]
    assert result.outcomes["v"].late == Counter([Late(0, 0, 9, 10, (0, 10))])
    assert result.outcomes["v"].filtered == 3


def test_a_hopping_row_counts_in_the_windows_that_it_is_not_late_for() -> None:
    # Size 10, every 4. 13 closes the window 0–10 (watermark 13); then 9 is late for it,
    # and counts in 4–14 and 8–18.
    result = run(source([("a", 1, 13), ("a", 2, 9)]), Stage(("k",), (COUNT,), Hopping(10, 4)))
    assert rows(result) == [("a", 12, 22, 1), ("a", 4, 14, 2), ("a", 8, 18, 2)]
    assert result.outcomes["v"].late == Counter([Late(0, 0, 9, 13, (0, 10))])


def test_ties_are_broken_by_the_columns_in_schema_order() -> None:
    read = source([("a", 2, 5), ("a", None, 5), ("a", 1, 5)], [("a", 9, 4)])
    first, last, both = Aggregate("f", "first", "x"), LAST, Aggregate("c", "collect", "x")
    assert rows(run(read, Stage(("k",), (first, last, both), Tumbling(10)))) == [("a", 0, 10, 9, 2, [9, 1, 2])]


def test_keys_group_null_nan_and_zero_each_as_one() -> None:
    nan = float("nan")
    read = source([(None, 1, 0), (nan, 1, 0), (0.0, 1, 0), (-nan, 1, 0), (-0.0, 1, 0), (None, 1, 0)])
    result = run(read, Stage(("k",), (COUNT,)))
    assert [row[-1] for row in rows(result)] == [2, 2, 2]


def test_an_overflowing_sum_is_absent_on_close_and_null_in_a_changing_table() -> None:
    read = source([("a", 2**63 - 1, 0), ("a", 1, 1), ("b", 1, 2)])
    closed = run(read, Stage(("k",), (COUNT, SUM), Tumbling(10)))
    assert rows(closed) == [("b", 0, 10, 1, 1)]
    assert closed.outcomes["v"].overflows == 1
    changing = run(read, Stage(("k",), (COUNT, SUM)))
    assert rows(changing) == [("a", 2, None), ("b", 1, 1)]
    assert changing.outcomes["v"].overflows == 0


def test_replacing_the_time_column_changes_no_window() -> None:
    result = run(LINE, Stage(("k",), (COUNT,), Tumbling(10), steps=(WithColumn("ts", Lit(0, timestamp=True)),)))
    assert rows(result) == [("a", 0, 10, 1), ("a", 10, 20, 3), ("a", 20, 30, 1)]


def test_rows_of_a_closed_window_have_its_last_microsecond_and_are_never_late() -> None:
    small = Stage(("k",), (COUNT,), Tumbling(10))
    large = Stage((), (Aggregate("t", "sum", "n"), Aggregate("w", "rows")), Tumbling(20))
    assert rows(run(LINE, small, large)) == [(0, 20, 4, 2), (20, 40, 1, 1)]


def test_a_table_of_a_table() -> None:
    per_key = Stage(("k",), (COUNT,))
    per_count = Stage(("n",), (Aggregate("keys", "rows"),))
    read = source([("a", 1, 0), ("b", 1, 0), ("a", 1, 0), ("c", 1, 0)])
    assert rows(run(read, per_key, per_count)) == [(1, 2), (2, 1)]


def test_a_union_of_branches_of_one_read() -> None:
    small, large = Filter(Compare(Col("x"), "<", Lit(3))), Filter(Compare(Col("x"), ">", Lit(1)))
    result = run(LINE, Stage((), (COUNT, SUM)), branches=(Branch(0, (small,)), Branch(0, (large,))))
    assert rows(result) == [(8, 30)]  # 1 2 and 2 3 4 5 6 7
    assert result.filtered == 6
    assert result.read == 14


def test_steps_after_the_aggregate() -> None:
    many = Filter(Compare(Col("n"), ">", Lit(1)))
    result = run(LINE, Stage(("k",), (COUNT,), Tumbling(10)), steps=(many,))
    assert rows(result) == [("a", 10, 20, 3)]
    assert result.outcomes["v"].filtered == 2


def test_an_aggregate_of_nothing_may_have_one_row() -> None:
    outcome = run(source([]), Stage((), (COUNT, SUM))).outcomes["v"]
    assert not outcome.rows
    assert outcome.of_nothing == {"n": Exactly(0), "s": Exactly(0)}
    assert run(source([]), Stage(("k",), (COUNT,))).outcomes["v"].of_nothing is None


NULL, TRUE, FALSE = Lit(None), Lit(True), Lit(False)
LOGIC: list[tuple[Expression, Value]] = [
    (Both(NULL, FALSE), False),
    (Both(NULL, TRUE), None),
    (Either(NULL, TRUE), True),
    (Either(FALSE, NULL), None),
    (Not(NULL), None),
    (IsNull(NULL), True),
    (Compare(NULL, "==", NULL), None),
    (Compare(Lit(float("nan")), "==", Lit(float("nan"))), True),
    (Compare(Lit(float("nan")), ">", Lit(float("inf"))), True),
    (Compare(Lit(-0.0), "<", Lit(0.0)), False),
    (Compare(Lit(1), "!=", Lit(2)), True),
    (Compare(Lit("a"), ">=", Lit("B")), True),
    (FillNull(NULL, Lit(3)), 3),
    (Choose(NULL, Lit(1), Lit(2)), 2),
]


@pytest.mark.parametrize(("expression", "value"), LOGIC, ids=str)
def test_expressions_have_three_values(expression: Expression, value: Value) -> None:
    assert expression.value({}) is value or expression.value({}) == value


def test_a_view_is_compared_row_by_row() -> None:
    outcome = run(LINE, Stage(("k",), (COUNT, SUM))).outcomes["v"]
    table = pa.table({"k": ["b", "a"], "n": [1, 6], "s": [3, 25]})
    assert differences(table, outcome) == []
    wrong = {
        "missing": table.slice(0, 1),
        "should not be there": pa.concat_tables([table, pa.table({"k": ["c"], "n": [1], "s": [1]})]),
        "s is 26": pa.table({"k": ["b", "a"], "n": [1, 6], "s": [3, 26]}),
        "another row has": pa.concat_tables([table, table.slice(0, 1)]),
        "columns": table.drop_columns("s"),
    }
    for words, other in wrong.items():
        assert words in "\n".join(differences(other, outcome)), words
