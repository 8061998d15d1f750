"""Joins in event time agree with the oracle, whatever the cuts, the interleaving and the restarts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.joins_in_time import JoinCase, Kind, build, differences, expected, join_cases, sources
from tests.property.shares import share
from thalweg.engine.embedded import interval, slabs

STEP_ROWS = st.sampled_from([1, 2, 3, 5, 8, 13])
STOPS = st.lists(st.lists(st.integers(0, 15), min_size=6, max_size=6), max_size=3)
"""How many rows of each partition of both sources there are at each run."""


def agrees_in_every_run(case: JoinCase, *step_rows: int) -> None:
    """Run a case as a batch and live to the end in steps; each run must say what the oracle says."""
    found = expected(case)
    report = build(case, *sources(case)).batch()
    assert not differences(case, report, found), "as a batch"
    for rows in step_rows:
        report = build(case, *sources(case)).run(data=None, until="end", max_step_rows=rows, quiet=True)
        assert not differences(case, report, found), f"in steps of {rows} rows"


@share(0.6)
@given(join_cases("interval"), STEP_ROWS)
def test_joins_within_an_interval(case: JoinCase, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(0.25)
@given(join_cases("windows"), STEP_ROWS)
def test_joins_of_windows(case: JoinCase, rows: int) -> None:
    agrees_in_every_run(case, rows)


@share(0.4)
@given(join_cases("asof"), STEP_ROWS)
def test_joins_with_versions(case: JoinCase, rows: int) -> None:
    agrees_in_every_run(case, rows)


@pytest.mark.parametrize("kind", ["interval", "windows", "asof"])
def test_runs_that_catch_up_one_after_the_other(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> None:
    @share(0.07)
    @given(join_cases(kind, max_rows=20), STOPS, st.sampled_from([None, 1, 4]))
    def holds(case: JoinCase, stops: list[list[int]], rows: int | None) -> None:
        left, right = sources(case)
        directory = tmp_path_factory.mktemp("state")
        there = [0] * 6
        late = rejected = 0
        for stop in [[0] * 6, *stops]:
            there = [max(before, now) for before, now in zip(there, stop, strict=True)]
            for source, shown in ((left, there[:3]), (right, there[3:])):
                source.show({name: shown[int(name)] for name in source.pieces})
            report = build(case, left, right).run(data=directory, until="caught-up", max_step_rows=rows, quiet=True)
            late, rejected = late + report.late_rows, rejected + report.error_rows
        for source in (left, right):
            source.show(None)
        last = build(case, left, right).run(data=directory, until="end", max_step_rows=rows, quiet=True)
        found = expected(case)
        assert not differences(case, last, found, whole=False)
        assert rejected + last.error_rows == found.rejected
        if kind != "windows":
            assert late + last.late_rows == found.late.total()

    holds()


@share(0.25)
@given(join_cases("interval"), STEP_ROWS)
def test_joins_as_of_very_many_rows(case: JoinCase, rows: int) -> None:
    # The ways that many rows are joined by, taken with few.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interval, "_MANY_PAIRS", 0)
        patch.setattr(interval, "_FEW_EACH", 0)
        patch.setattr(slabs, "FEW_ROWS", 2)
        patch.setattr(slabs, "_SCAN", 1)
        agrees_in_every_run(case, rows)
