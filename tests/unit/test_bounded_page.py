"""The numbers of the page "What is bounded, and by what" are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.core import outage, signals
from thalweg.core.sizes import size_text
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded import crash_loop, delivery, intake, pace, prefetch
from thalweg.state import outbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "bounded.md"
ROWS = dict(line.strip("| ").split(" | ", 1) for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| "))


def mib(size: int) -> str:
    """Return a size as the page writes it."""
    return size_text(size).replace(".0 ", " ")


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("decoded rows that were read ahead", [mib(prefetch.QUEUE_BYTES)]),
        ("rows gathered for a step", [f"{intake.GATHER_ROWS:,} rows", mib(intake.GATHER_BYTES)]),
        (
            "rows that one step takes",
            [f"{pace.STEP_ROWS:,};", f"{pace.MOST_STEP_ROWS:,} ", mib(pace.STEP_BYTES), f"{pace.STEP_S} s"],
        ),
        ("rows on their way to a sink", [mib(delivery.QUEUE_BYTES)]),
        ("the outbox", [mib(outbox.OUTBOX_BYTES)]),
        (
            "tries of a sink",
            [f"{outage.FIRST_PAUSE_S} s", f"{outage.LONGEST_PAUSE_S:.0f} s", f"{outage.PATIENCE_S:.0f} s"],
        ),
        ("a run that is told to stop", [f"{RunOptions().stop_timeout_us // 10**6} s"]),
        ("failures in a row", [f"{crash_loop.MOST_CRASHES} "]),
    ],
)
def test_each_bound_is_the_one_of_the_code(what: str, numbers: list[str]) -> None:
    (row,) = [rest for name, rest in ROWS.items() if name.startswith(what)]
    assert [number for number in numbers if number not in row] == []


def test_the_text_has_the_numbers_of_the_code_too() -> None:
    text = PAGE.read_text("utf-8")
    assert f"{crash_loop.CAREFUL_ROWS:,} rows until a checkpoint" in text
    assert f"After {crash_loop.MOST_CRASHES} failures in a row" in text
    assert signals.INTERRUPTED_S == 3
    assert "three seconds later" in text
