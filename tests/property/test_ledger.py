"""No row is lost silently: the ledger balances and says what the oracle counts, around the watermark."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.aggregates import Aggregate
from tests.oracle.expressions import Col, Compare, Filter, Lit
from tests.oracle.programs import Branch, Pipeline, Program, Stage, meaning
from tests.oracle.windows import Cumulating, Hopping, Read, Tumbling, Window
from tests.property.agree import assert_agrees, late_differences, ledger
from tests.property.cases import Case, build
from tests.property.kinds import TIMESTAMP
from tests.property.rows import cut
from tests.property.shares import share

SECOND = 1_000_000
SCHEMA = pa.schema([pa.field("k", pa.int64(), False), pa.field("ts", TIMESTAMP)])
WINDOWS: tuple[Window, ...] = (
    Tumbling(10 * SECOND),
    Hopping(10 * SECOND, 3 * SECOND),
    Hopping(3 * SECOND, 10 * SECOND),
    Cumulating(20 * SECOND, 5 * SECOND, SECOND),
)


@st.composite
def skewed(draw: st.DrawFn) -> Case:
    """Draw rows of which most lie within a few microseconds of the watermark or of a window's end."""
    lateness_us = draw(st.sampled_from([0, 1, 5 * SECOND, 25 * SECOND]))
    partitions, cuts = [], []
    for _ in range(draw(st.integers(1, 3))):
        rows: list[dict[str, Any]] = []
        greatest = 0
        for _ in range(draw(st.integers(0, 20))):
            nudge = draw(st.integers(-2, 2))
            place = draw(st.sampled_from(["watermark", "end", "ahead", "null"]))
            if place == "null":
                rows.append({"k": draw(st.integers(0, 2)), "ts": None})
                continue
            behind = {"watermark": greatest - lateness_us, "end": greatest // (5 * SECOND) * 5 * SECOND}
            time_us = behind.get(place, greatest + 4 * SECOND) + nudge
            greatest = max(greatest, time_us)
            rows.append({"k": draw(st.integers(0, 2)), "ts": time_us})
        partitions.append(tuple(rows))
        cuts.append(draw(cut(len(rows))))
    read = Read(("k", "ts"), "ts", tuple(partitions), lateness_us)
    keep = Filter(Compare(Col("k"), "<", Lit(2)))
    stage = Stage(("k",), (Aggregate("n", "rows"),), draw(st.sampled_from(WINDOWS)), "on_close", (keep,))
    return Case(Program((read,), (Branch(0),), (Pipeline("v", (stage,)),)), SCHEMA, (tuple(cuts),))


@share(1)
@given(skewed(), st.integers(1, 20))
def test_every_row_is_accounted_for(case: Case, rows: int) -> None:
    expected = meaning(case.program)
    app = build(case)
    runs = {
        "as a batch": app.batch(),
        f"in steps of {rows} rows": app.run(data=None, until="end", max_step_rows=rows, quiet=True),
    }
    outcome = expected.outcomes["v"]
    for how, report in runs.items():
        assert_agrees(case, report, how, expected)
        lines = ledger(report)
        assert sum(line["filtered"] for line in lines) == outcome.filtered, how
        assert sum(line["held"] for line in lines) == 0, f"{how}: every window is closed at the end"
        assert report.open_windows == 0, how


def test_late_rows_are_kept_whole() -> None:
    times = [100 * SECOND, 1 * SECOND, 95 * SECOND]
    read = Read(("k", "ts"), "ts", (tuple({"k": 7 + n, "ts": time} for n, time in enumerate(times)),), 10 * SECOND)
    stage = Stage(("k",), (Aggregate("n", "rows"),), Tumbling(10 * SECOND))
    case = Case(Program((read,), (Branch(0),), (Pipeline("v", (stage,)),)), SCHEMA, (((1,),),))
    report = build(case).batch()
    assert late_differences(case, report, meaning(case.program).outcomes.values()) == []
    (late,) = report.late.to_pylist()
    assert late["reason"]
    assert late["encoding"] == "arrow"
    with pa.ipc.open_stream(late["row"]) as reader:
        (row,) = reader.read_all().to_pylist()
    assert row["k"] == 8


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_what_windows_absorb_they_release(rows: int) -> None:
    read = Read(("k", "ts"), "ts", (tuple({"k": 0, "ts": n * SECOND} for n in range(25)),), 0)
    stage = Stage(("k",), (Aggregate("n", "rows"),), Hopping(10 * SECOND, 5 * SECOND))
    case = Case(Program((read,), (Branch(0),), (Pipeline("v", (stage,)),)), SCHEMA, (((),),))
    report = build(case).run(data=None, until="end", max_step_rows=rows, quiet=True)
    assert_agrees(case, report, f"in steps of {rows} rows")
    (windows,) = [line for line in ledger(report) if line["absorbed"]]
    assert windows["rows_in"] == 25
    assert windows["in"] == windows["absorbed"] == windows["released"] == 50  # each row is in two windows
