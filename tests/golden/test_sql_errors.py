"""What is said of each mistake in a query, word for word, and of which place in it.

To write it anew: ``python -m tests.golden.test_sql_errors``.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import thalweg as tw
from tests.golden.mistakes_in_sql import QUERIES
from thalweg import PlanError
from thalweg.connect import memory

GOLDEN = Path(__file__).with_name("sql_errors.txt")


class Click:
    user: str
    page: str
    price: float | None
    n: int
    ts: dt.datetime
    other: dt.datetime


def made(name: str) -> PlanError:
    """Return the error of a query."""
    app = tw.App("asked")
    clicks = app.read(memory([[]]), schema=Click, time="ts", lateness="5s")
    places = app.read(memory([{"geo": {"city": "Ulm"}, "tags": ["a"]}]))
    query = QUERIES[name].replace("{", "").replace("}", "")
    with pytest.raises(PlanError) as caught:
        app.sql(query, clicks=clicks, places=places)
    return caught.value


def golden() -> dict[str, str]:
    """Return the messages as they were written down."""
    parts = (part.split("\n", 1) for part in GOLDEN.read_text(encoding="utf-8").strip().split("\n\n"))
    return {name: message.strip() for name, message in parts}


@pytest.mark.parametrize("name", QUERIES)
def test_a_mistake_in_a_query_is_told_in_these_words(name: str) -> None:
    error = made(name)
    assert f"{type(error).__name__}: {error.message}" == golden()[name]


@pytest.mark.parametrize("name", QUERIES)
def test_a_message_says_where_in_the_query_the_mistake_is(name: str) -> None:
    before, mark, _ = QUERIES[name].partition("{")
    message = made(name).message
    if mark:
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        assert message.startswith(f"sql, line {line} column {column}: ")
    else:
        assert message.startswith("sql")


@pytest.mark.parametrize("name", QUERIES)
def test_a_message_is_one_line_and_shows_no_object_of_python(name: str) -> None:
    message = made(name).message
    assert "\n" not in message
    assert " at 0x" not in message and "exp." not in message
    assert len(message) <= 360
    assert not message.endswith(".")


@pytest.mark.parametrize("name", QUERIES)
def test_the_line_of_the_program_is_named_too(name: str) -> None:
    place = made(name).place
    assert place is not None and place.file == __file__


def test_every_message_that_is_written_down_is_still_made() -> None:
    assert sorted(golden()) == sorted(QUERIES)


if __name__ == "__main__":
    texts = ((name, made(name)) for name in QUERIES)
    written = (f"{name}\n  {type(error).__name__}: {error.message}\n" for name, error in texts)
    GOLDEN.write_text("\n".join(written), encoding="utf-8")
