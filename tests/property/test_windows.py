"""Windowed aggregates over one read agree with the oracle, in one batch and in steps of any size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.programs import meaning
from tests.property.agree import assert_agrees
from tests.property.cases import Case, build
from tests.property.programs import unwindowed, windowed
from tests.property.shares import share

STEP_ROWS = st.sampled_from([1, 2, 3, 5, 8, 13, 60])


def agrees_in_every_run(case: Case, *step_rows: int) -> None:
    """Run one app as a batch and live to the end in steps; each run must say what the oracle says."""
    expected = meaning(case.program)
    app = build(case)
    assert_agrees(case, app.batch(), "as a batch", expected)
    for rows in step_rows:
        report = app.run(data=None, until="end", max_step_rows=rows, quiet=True)
        assert_agrees(case, report, f"in steps of {rows} rows", expected)


@share(3)
@given(windowed(), STEP_ROWS)
def test_windows_that_emit_on_close(case: Case, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(1.5)
@given(windowed(emit="on_change"), STEP_ROWS)
def test_windows_that_emit_on_change(case: Case, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(1.5)
@given(unwindowed(), STEP_ROWS)
def test_changing_tables(case: Case, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(0.25)
@given(windowed(most=1, max_rows=12))
def test_every_step_size(case: Case) -> None:
    agrees_in_every_run(case, *range(1, 13))
