"""Whether columns that nobody can see are left out or not, a run says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.cases import Case, build
from tests.property.leaving_out import Sight, sights, told
from tests.property.programs import chains, tables, unions, windowed
from tests.property.shares import share


def sees_no_difference(sight: Sight, folder: Path) -> None:
    """Fail unless a run over files and one over memory say the same with and without."""
    sight.write(folder)
    for where in (folder, None):
        app = sight.app(where)
        without = told(app, leave_out=True, step_rows=sight.step_rows)
        assert without == told(app, leave_out=False, step_rows=sight.step_rows), (
            "from files" if where else "from memory"
        )


def test_programs_that_see_some_columns(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("files")

    @share(0.2)
    @given(sights())
    def holds(sight: Sight) -> None:
        sees_no_difference(sight, folder)

    holds()


@share(0.2)
@given(st.one_of(windowed(max_rows=30), unions(), chains(), tables()), st.sampled_from([None, 3]))
def test_programs_of_the_oracle(case: Case, rows: int | None) -> None:
    app = build(case)
    assert told(app, leave_out=True, step_rows=rows) == told(app, leave_out=False, step_rows=rows)
