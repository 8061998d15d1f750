"""What is said of each mistake in a program, word for word, and of which line.

To write it anew: ``python -m tests.golden.test_plan_errors``.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import thalweg as tw
from tests.golden import mistakes_in_columns, mistakes_in_joins, mistakes_in_streams
from tests.golden.mistakes import MARK, MISTAKES, Click, Mistake
from thalweg import PlanError
from thalweg.connect import memory

GOLDEN = Path(__file__).with_name("plan_errors.txt")
MODULES = (mistakes_in_columns, mistakes_in_streams, mistakes_in_joins)


def made(function: Mistake) -> PlanError:
    """Return the error of a mistake."""
    app = tw.App("clicks")
    clicks = app.read(memory([[]]), schema=Click, time="ts", lateness="5s")
    with pytest.raises(PlanError) as caught:
        function(app, clicks)
    return caught.value


def golden() -> dict[str, str]:
    """Return the messages as they were written down."""
    parts = (part.split("\n", 1) for part in GOLDEN.read_text().strip().split("\n\n"))
    return {name: message.strip() for name, message in parts}


@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_a_mistake_is_told_in_these_words(function: Mistake) -> None:
    assert made(function).message == golden()[function.__name__]


@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_a_mistake_is_found_in_its_line(function: Mistake) -> None:
    lines, first = inspect.getsourcelines(function)
    (wrong,) = [first + index for index, line in enumerate(lines) if MARK in line]
    error = made(function)
    assert error.place is not None
    assert (error.place.file, error.place.line) == (inspect.getfile(function), wrong)
    assert str(error) == f"{error.message} ({inspect.getfile(function)}:{wrong})"


@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_a_message_is_one_line_and_shows_no_object_of_python(function: Mistake) -> None:
    message = made(function).message
    assert "\n" not in message
    assert " at 0x" not in message
    assert len(message) <= 300
    assert not message.endswith(".")


def test_every_module_of_mistakes_is_tried() -> None:
    assert {function.__module__ for function in MISTAKES} == {module.__name__ for module in MODULES}


def test_every_message_that_is_written_down_is_still_made() -> None:
    assert sorted(golden()) == sorted(function.__name__ for function in MISTAKES)


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(f"{function.__name__}\n  {made(function).message}\n" for function in MISTAKES))
