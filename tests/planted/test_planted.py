"""The tests find each planted bug, and find nothing where none is planted."""

from __future__ import annotations

from collections import Counter

import pytest

import thalweg as tw
from tests.oracle.expect import Exactly
from tests.oracle.programs import meaning
from tests.planted.bugs import BUGS, plant
from tests.planted.inputs import INPUTS
from tests.planted.wrong_models import Bug, Closed, run_model
from tests.property.cases import Case
from tests.property.test_windows import agrees_in_every_run

STEP_ROWS = (1, 3, 7, 100)

MODELS: list[tuple[str, Bug]] = [
    ("lateness per batch", "lateness per batch: at its start"),
    ("lateness per batch", "lateness per batch: at its end"),
    ("watermark of the fastest partition", "watermark of the fastest partition"),
    ("a partial merged twice", "a partial merged twice"),
    ("a late hopping row counted", "a late hopping row counted"),
]


def oracle_counts(case: Case) -> dict[str, Closed]:
    """Return per view what a model without a bug gives out, by the oracle."""
    found: dict[str, Closed] = {}
    for name, outcome in meaning(case.program).outcomes.items():
        counts: Closed = Counter()
        for row in outcome.rows.values():
            exact = {column: may.value for column, may in row.items() if isinstance(may, Exactly)}
            start, end, n = exact["window_start"], exact["window_end"], exact["n"]
            assert isinstance(start, int) and isinstance(end, int) and isinstance(n, int)
            counts[(exact["k"], (start, end), n)] += 1
        found[name] = counts
    return found


@pytest.mark.parametrize("bug", BUGS)
def test_a_model_without_a_bug_agrees_with_the_oracle(bug: str) -> None:
    case = INPUTS[bug]
    assert {p.view: run_model(case, p, "none") for p in case.program.pipelines} == oracle_counts(case)


@pytest.mark.parametrize(("bug", "model"), MODELS)
def test_the_input_tells_a_model_with_the_bug_from_one_without(bug: str, model: Bug) -> None:
    case = INPUTS[bug]
    expected = oracle_counts(case)
    for pipeline in case.program.pipelines:
        assert run_model(case, pipeline, model) != expected[pipeline.view], pipeline.view


@pytest.mark.parametrize("bug", BUGS)
def test_the_engine_without_the_bug_passes(bug: str) -> None:
    agrees_in_every_run(INPUTS[bug], *STEP_ROWS)


@pytest.mark.parametrize("bug", BUGS)
def test_the_engine_with_the_bug_is_found(bug: str) -> None:
    with plant(bug), pytest.raises((AssertionError, tw.ThalwegError)):
        agrees_in_every_run(INPUTS[bug], *STEP_ROWS)


def test_every_bug_has_an_input_and_an_unknown_one_is_refused() -> None:
    assert set(INPUTS) == set(BUGS) == {bug for bug, _ in MODELS}
    with pytest.raises(LookupError, match='no patch plants "rust"'), plant("rust"):
        raise AssertionError("the block must not run")
