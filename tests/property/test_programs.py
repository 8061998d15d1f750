"""Unions and chains of aggregates agree with the oracle; the test kit finds no difference between runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.property.cases import Case, build
from tests.property.programs import chains, tables, unions, unwindowed, windowed
from tests.property.shares import share
from tests.property.test_windows import STEP_ROWS, agrees_in_every_run
from thalweg.testing import check


@share(1.2)
@given(unions(), STEP_ROWS)
def test_unions(case: Case, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(1)
@given(chains(), STEP_ROWS)
def test_aggregates_of_aggregates(case: Case, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(1)
@given(tables(), STEP_ROWS)
def test_aggregates_of_changing_tables(case: Case, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(0.3)
@given(st.one_of(windowed(max_rows=30), unwindowed(), unions(), chains(), tables()), st.integers(0, 2**32 - 1))
def test_the_test_kit_finds_no_difference(case: Case, seed: int) -> None:
    check(build(case), seed=seed, cases=3)
