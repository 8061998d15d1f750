"""The comparison of a report with the oracle finds every kind of difference."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.oracle.aggregates import Aggregate
from tests.oracle.programs import Branch, Pipeline, Program, Stage
from tests.oracle.values import Row
from tests.oracle.windows import Read, Tumbling
from tests.property.agree import assert_agrees
from tests.property.cases import Case
from tests.property.kinds import TIMESTAMP

SCHEMA = pa.schema([pa.field("k", pa.string()), pa.field("ts", TIMESTAMP)])
ROWS: tuple[Row, ...] = tuple({"k": "a", "ts": ts} for ts in (1, 25, 3, None, 26))
READ = Read(("k", "ts"), "ts", (ROWS,))
STAGE = Stage(("k",), (Aggregate("n", "rows"),), Tumbling(10))
CASE = Case(Program((READ,), (Branch(0),), (Pipeline("v", (STAGE,)),)), SCHEMA, (((),),))

RIGHT: dict[str, Any] = {
    "view": {"k": ["a", "a"], "window_start": [20, 0], "window_end": [30, 10], "n": [2, 1]},
    "late": {"partition": ["0"], "time": [3], "watermark": [25], "window_start": [0], "window_end": [10]},
    "errors": {"place": ["memory[partition 0]:3"], "reason": ["the time is null"]},
    "ledger": [
        {"in": 5, "passed": 4, "filtered": 0, "late": 0, "rejected": 1, "absorbed": 0, "released": 0, "held": 0},
        {"in": 4, "passed": 0, "filtered": 0, "late": 1, "rejected": 0, "absorbed": 3, "released": 3, "held": 0},
    ],
    "rows_in": 5,
}


def report_of(given: dict[str, Any]) -> SimpleNamespace:
    """Return a report as a run gives it."""
    types = {"time": TIMESTAMP, "watermark": TIMESTAMP, "window_start": TIMESTAMP, "window_end": TIMESTAMP}
    view, late = (
        pa.table({name: pa.array(values, types.get(name)) for name, values in given[table].items()})
        for table in ("view", "late")
    )
    return SimpleNamespace(
        view=lambda name: view,
        late=late,
        errors=pa.table(given["errors"]),
        ledger=pa.Table.from_pylist(given["ledger"]),
        rows_in=given["rows_in"],
    )


def test_a_right_report_agrees() -> None:
    assert_agrees(CASE, report_of(RIGHT), "as it is")


def line(number: int, **changes: int) -> list[dict[str, int]]:
    """Return the ledger with a line changed."""
    lines = [dict(one) for one in RIGHT["ledger"]]
    lines[number] |= changes
    return lines


WRONG: list[tuple[str, Any, str]] = [
    ("view", {**RIGHT["view"], "n": [2, 2]}, "n is 2, expected"),
    ("view", {**RIGHT["view"], "window_end": [30, 11]}, "is missing"),
    ("view", {name: [*values, values[0]] for name, values in RIGHT["view"].items()}, "another row has"),
    ("late", {name: [] for name in RIGHT["late"]}, "late pair is missing"),
    ("late", {name: values * 2 for name, values in RIGHT["late"].items()}, "late pair should not be there"),
    ("late", {**RIGHT["late"], "watermark": [24]}, "late pair should not be there"),
    ("late", {**RIGHT["late"], "partition": ["1"]}, "late pair is missing"),
    ("errors", {"place": [], "reason": []}, "0 errors, expected 1 rejected"),
    ("ledger", line(0, passed=3), "5 in, 4 out"),
    ("ledger", line(1, released=2), "absorbed is not released"),
    ("ledger", line(1, late=0, absorbed=4, released=4), "0 late, expected 1"),
    ("ledger", line(0, rejected=0, passed=5), "0 rejected, expected 1"),
    ("rows_in", 4, "rows_in is 4"),
]


@pytest.mark.parametrize(("part", "value", "words"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_report_does_not(part: str, value: Any, words: str) -> None:
    with pytest.raises(AssertionError, match="as it is") as caught:
        assert_agrees(CASE, report_of({**RIGHT, part: value}), "as it is")
    assert words in str(caught.value)
