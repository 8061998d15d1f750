"""The order of values and their equality, against what is written by hand."""

from __future__ import annotations

import datetime as dt
import itertools
import math

import pytest

from tests.oracle.values import Row, canonical, order_key, tie_key

NAN = math.nan


@pytest.mark.parametrize(
    "ascending",
    [
        [None, -math.inf, -1.5, 0.0, 5e-324, 1.0, math.inf, NAN],
        [None, False, True],
        [None, "", "A", "a", "b", "ä", "好", "\U0001f600"],
        [None, dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(9999, 12, 31)],
        [None, -(2**63), 0, 2**64 - 1],
    ],
    ids=["floats", "booleans", "text", "dates", "integers"],
)
def test_null_is_smallest_and_nan_is_greatest(ascending: list[float | None]) -> None:
    keys = [order_key(value) for value in ascending]
    assert all(a < b for a, b in itertools.pairwise(keys))


def test_text_is_ordered_as_its_bytes_are() -> None:
    texts = ["\uffff", "\U0001f600", "z", "é", "zz", ""]
    assert sorted(texts, key=order_key) == sorted(texts, key=lambda text: text.encode())


def test_negative_zero_is_zero_in_order_and_equality() -> None:
    assert order_key(-0.0) == order_key(0.0)
    assert canonical([-0.0]) == canonical([0.0])
    assert math.copysign(1.0, canonical(-0.0)) == 1.0  # type: ignore[arg-type]  # a float by construction


def test_every_nan_is_one_value() -> None:
    assert len({canonical(NAN), canonical(float("-nan")), canonical(math.inf - math.inf)}) == 1
    assert canonical(NAN) != canonical(math.inf)


def test_ties_go_by_time_then_by_columns_in_schema_order() -> None:
    rows: list[tuple[int, Row]] = [
        (7, {"b": 1.0, "a": NAN}),
        (7, {"b": 1.0, "a": None}),
        (7, {"b": None, "a": 9.0}),
        (6, {"b": NAN, "a": 1.0}),
    ]
    ordered = sorted(rows, key=lambda item: tie_key(item[0], item[1], ["b", "a"]))
    assert ordered == [rows[3], rows[2], rows[1], rows[0]]
