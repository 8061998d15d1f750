"""Durations as a program writes them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.duration import duration_text, duration_us
from thalweg.core.errors import PlanError


@pytest.mark.parametrize(
    ("value", "us"),
    [
        ("0s", 0),
        ("5us", 5),
        ("2ms", 2_000),
        ("90s", 90_000_000),
        ("1m", 60_000_000),
        ("1h30m", 5_400_000_000),
        ("1h 30m", 5_400_000_000),
        (" 1 d ", 86_400_000_000),
        ("2w", 14 * 86_400_000_000),
        ("+1s", 1_000_000),
        (dt.timedelta(seconds=1, microseconds=5), 1_000_005),
    ],
)
def test_durations_are_read(value: str | dt.timedelta, us: int) -> None:
    assert duration_us(value, "lateness") == us


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is not a duration"),
        ("5", "is not a duration"),
        ("s", "is not a duration"),
        ("1.5s", '"s"|is not a duration|not a unit'),
        ("1mo", "months are not of one length"),
        ("1M", "months are not of one length"),
        ("1y", "years are not of one length"),
        ("1q", "quarters are not of one length"),
        ("1min", '"min" is not a unit; allowed: whole numbers with the units us, ms, s, m, h, d, w'),
        ("1ns", '"ns" is not a unit'),
        ("--1s", "is not a duration"),
        ("1s-1s", "not a unit|is not a duration"),
        ("-5m", "zero or more"),
        (dt.timedelta(-1), "zero or more"),
        ("9" * 30 + "s", "the longest duration"),
        (5, "allowed: a text such as"),
        (None, "allowed: a text such as"),
    ],
)
def test_what_is_no_duration_is_refused_by_name(value: object, words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        duration_us(value, "lateness")  # type: ignore[arg-type]  # what a user may write
    assert caught.value.message.startswith("lateness is ")


def test_a_negative_one_is_taken_where_it_may_be() -> None:
    assert duration_us("-1h30m", "within", negative=True) == -5_400_000_000


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_the_text_reads_back(us: int) -> None:
    assert duration_us(duration_text(us), "it", negative=True) == us
