"""Rules of a schema on a batch."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.columnar.rules import RuleSet
from thalweg.core.errors import PlanError
from thalweg.core.schema import TIMESTAMP, Field, Rule, Schema

NOON = dt.datetime(2013, 1, 1, 12)


def broken(given: pa.DataType, rule: Rule, values: list[Any]) -> list[int]:
    rules = RuleSet(Schema((Field("v", given, True, (rule,)),)))
    return [bad.row for bad in rules.check(pa.record_batch({"v": pa.array(values, given)}))]


@pytest.mark.parametrize(
    ("given", "rule", "values", "rows"),
    [
        (pa.int64(), Rule("ge", 0), [0, -1, None], [1]),
        (pa.int64(), Rule("gt", 2**63), [2**63 - 1], [0]),
        (pa.int64(), Rule("gt", 2.0**53), [2**53, 2**53 + 1], [0]),
        (pa.int64(), Rule("lt", 1.5), [1, 2], [1]),
        (pa.int64(), Rule("le", float("inf")), [2**63 - 1], []),
        (pa.int64(), Rule("ge", float("inf")), [2**63 - 1], [0]),
        (pa.uint64(), Rule("ge", -5), [0], []),
        (pa.float64(), Rule("le", 1), [1.0, 1.5, float("nan"), float("-inf")], [1, 2]),
        (pa.float32(), Rule("le", 0.1), [0.1], []),
        (pa.decimal128(38, 9), Rule("ge", 1), [Decimal(1), Decimal("0.999999999")], [1]),
        (pa.decimal128(38, 9), Rule("multiple_of", 0.1), [Decimal("0.3"), Decimal("0.35")], [1]),
        (pa.float64(), Rule("multiple_of", 0.1), [0.3, 0.7, 0.35], [2]),
        (pa.int64(), Rule("multiple_of", 3), [9, 10, -3], [1]),
        (TIMESTAMP, Rule("ge", NOON), [NOON, NOON - dt.timedelta(microseconds=1)], [1]),
        (TIMESTAMP, Rule("lt", NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))), [NOON], [0]),
        (pa.date32(), Rule("lt", dt.date(2013, 1, 1)), [dt.date(2013, 1, 1), dt.date(2012, 12, 31)], [0]),
        (pa.time64("us"), Rule("ge", dt.time(1)), [dt.time(1), dt.time(0, 59)], [1]),
        (pa.duration("us"), Rule("ge", dt.timedelta(1)), [dt.timedelta(1), dt.timedelta(0)], [1]),
        (pa.string(), Rule("ge", "b"), ["a", "b"], [0]),
        (pa.string(), Rule("min_length", 1), ["", "é", None], [0]),
        (pa.string(), Rule("max_length", 1), ["éé", "é"], [0]),
        (pa.string(), Rule("pattern", "^a"), ["ab", "ba"], [1]),
        (pa.string(), Rule("pattern", re.compile("b")), ["ab", "aa"], [1]),
        (pa.string(), Rule("one_of", ("a", None)), ["a", "c", None], [1]),
        (pa.bool_(), Rule("one_of", (True,)), [True, False], [1]),
        (pa.binary(), Rule("max_length", 1), [b"a", b"ab"], [1]),
        (pa.list_(pa.int64()), Rule("min_length", 1), [[1], [], None], [1]),
    ],
)
def test_a_rule_names_the_rows_that_break_it(
    given: pa.DataType, rule: Rule, values: list[Any], rows: list[int]
) -> None:
    assert broken(given, rule, values) == rows


@pytest.mark.parametrize(
    ("given", "rule", "says"),
    [
        (pa.int64(), Rule("pattern", "x"), "it is for text"),
        (pa.int64(), Rule("min_length", 1), "text, bytes and lists"),
        (pa.string(), Rule("pattern", "(?=x)"), "does not compile"),
        (pa.string(), Rule("ge", 1), "does not compare"),
        (pa.int64(), Rule("ge", "1"), "does not compare"),
        (TIMESTAMP, Rule("ge", "x"), "does not compare"),
        (pa.string(), Rule("multiple_of", 2), "for numbers"),
        (pa.int64(), Rule("one_of", ("x",)), "convert"),
    ],
)
def test_a_rule_that_does_not_fit_is_a_mistake_in_the_program(given: pa.DataType, rule: Rule, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        RuleSet(Schema((Field("v", given, True, (rule,)),)))


def test_each_row_is_named_once_with_the_first_column_at_fault() -> None:
    rules = RuleSet(
        Schema((Field("a", pa.int64(), False), Field("b", pa.int64(), True, (Rule("ge", 0), Rule("multiple_of", 2)))))
    )
    bad = rules.check(pa.record_batch({"a": [1, None, 1, None], "b": [-1, -1, 2, 2]}))
    assert [(one.row, one.column) for one in bad] == [(0, "b"), (1, "a"), (3, "a")]
    assert bad[1].reason == "null, but the column must have a value"
    assert bad[0].reason == "-1 breaks the rule: ≥ 0"


def test_a_long_value_is_cut_in_the_reason() -> None:
    rules = RuleSet(Schema((Field("v", pa.string(), True, (Rule("max_length", 3),)),)))
    (bad,) = rules.check(pa.record_batch({"v": ["x" * 10_000]}))
    assert bad.value == "x" * 10_000
    assert len(bad.reason) < 150


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), st.integers(-(2**65), 2**65))
def test_integers_compare_exactly_with_any_bound(values: list[int | None], bound: int) -> None:
    compare = {
        "ge": lambda v: v >= bound,
        "gt": lambda v: v > bound,
        "le": lambda v: v <= bound,
        "lt": lambda v: v < bound,
    }
    for kind, keeps in compare.items():
        wrong = [row for row, value in enumerate(values) if value is not None and not keeps(value)]
        assert broken(pa.int64(), Rule(kind, bound), values) == wrong  # type: ignore[arg-type]  # one of the kinds
