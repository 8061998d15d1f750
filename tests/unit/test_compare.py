"""Two tables compared: against plain Python, and with values that compare in ways of their own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import PlanError
from thalweg.columnar import compare
from thalweg.columnar.compare import aligned, compared

Row = dict[str, Any]
SCHEMA = pa.schema(
    [("k", pa.int64()), ("s", pa.string()), ("f", pa.float64()), ("l", pa.list_(pa.int64())), ("b", pa.bool_())]
)
NAN = math.nan

rows_of = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.sampled_from([None, 0, 1, 2**63 - 1]),
            "s": st.sampled_from([None, "", "ü"]),
            "f": st.sampled_from([None, NAN, 0.0, -0.0, math.inf, 1.5]),
            "l": st.sampled_from([None, [], [1], [1, None]]),
            "b": st.sampled_from([None, True]),
        }
    ),
    max_size=12,
)


def table(rows: list[Row], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def plain(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return tuple(value) if isinstance(value, list) else value


def counted(rows: list[Row]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(plain(row[name]) for name in SCHEMA.names) for row in rows)


def check_multisets(one: list[Row], other: list[Row]) -> None:
    found = compared(table(one), table(other), shown=100)
    a, b = counted(one), counted(other)
    assert found.only == ((a - b).total(), (b - a).total())
    assert found.equal == (a & b).total()
    assert found.same == (a == b)
    assert counted(found.shown_only[0].to_pylist()) == a - b
    assert counted(found.shown_only[1].to_pylist()) == b - a


def check_keys(one: list[Row], other: list[Row]) -> None:
    sides = [{(row["k"], row["s"]): row for row in rows} for rows in (one, other)]
    found = compared(*(table(list(side.values())) for side in sides), ["k", "s"], shown=100)
    both = sides[0].keys() & sides[1].keys()
    differing = [
        {name for name in ("f", "l", "b") if plain(sides[0][key][name]) != plain(sides[1][key][name])} for key in both
    ]
    assert found.only == (len(sides[0]) - len(both), len(sides[1]) - len(both))
    assert found.changed == sum(map(bool, differing))
    assert found.equal == len(both) - found.changed
    assert found.changed_columns == Counter(name for names in differing for name in names)
    assert [{k: row[k] for k in ("k", "s")} for row in found.shown_changed[0].to_pylist()] == [
        {k: row[k] for k in ("k", "s")} for row in found.shown_changed[1].to_pylist()
    ]


@settings(max_examples=settings.default.max_examples // 2)
@given(rows_of, rows_of)
def test_multisets_differ_as_counters_of_python_do(one: list[Row], other: list[Row]) -> None:
    check_multisets(one, other)


@settings(max_examples=settings.default.max_examples // 2)
@given(rows_of, rows_of)
def test_rows_of_a_key_differ_as_dicts_of_python_do(one: list[Row], other: list[Row]) -> None:
    check_keys(one, other)


A = {"k": 1, "s": "", "f": NAN, "l": [1], "b": None}


def _as_sets(patch: pytest.MonkeyPatch) -> None:
    true = compare._as_multisets
    patch.setattr(compare, "_as_multisets", lambda a, b, *rest: true(a.unique(), b.unique(), *rest))


def _null_is_never_equal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compare, "_differs", lambda a, b, *_: pl.col(a).ne(pl.col(b)).fill_null(True))


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (_as_sets, lambda: check_multisets([A, A], [A])),  # what is there twice is taken for once
        (_null_is_never_equal, lambda: check_keys([A], [A])),
    ],
)
def test_the_checks_find_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    check()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check()


def test_floats_within_the_tolerance_are_equal_by_key() -> None:
    one = pa.table({"k": [1, 2, 3, 4], "f": [1.0, 1e9, NAN, math.inf]})
    other = pa.table({"k": [1, 2, 3, 4], "f": [1.0 + 1e-10, 1e9 + 0.1, NAN, 1.0]})
    assert compared(one, other, ["k"]).changed == 3
    found = compared(one, other, ["k"], tolerance=1e-9)
    assert (found.equal, found.changed) == (3, 1)
    assert found.shown_changed[0].to_pylist() == [{"k": 4, "f": math.inf}]


def test_floats_within_the_tolerance_are_equal_in_whole_rows() -> None:
    one = pa.table({"s": ["a", "a", "b", None], "f": [1.0, 2.0, 3.0, None]})
    other = pa.table({"s": ["a", "a", "b", None], "f": [2.0 + 1e-12, 1.0 - 1e-12, 3.1, None]})
    assert compared(one, other).only == (3, 3)
    found = compared(one, other, tolerance=1e-9)
    assert found.equal == 3
    assert [side.to_pylist() for side in found.shown_only] == [[{"s": "b", "f": 3.0}], [{"s": "b", "f": 3.1}]]


def test_a_tolerance_hides_no_row_that_is_there_more_often() -> None:
    found = compared(pa.table({"f": [1.0, 1.0]}), pa.table({"f": [1.0 + 1e-12]}), tolerance=1e-9)
    assert (found.equal, found.only) == (1, (1, 0))


def test_a_key_that_names_several_rows_is_refused() -> None:
    one = pa.table({"k": [1, 1], "n": [1, 2]})
    with pytest.raises(PlanError, match=r"the key k names several rows of the first: 1 more rows than keys"):
        compared(one, one.slice(0, 1), ["k"])
    with pytest.raises(PlanError, match=r'the key "x" is no column of both; did you mean|the key "x" is no column'):
        compared(one, one, ["x"])


def test_the_first_rows_of_each_difference_are_shown() -> None:
    found = compared(pa.table({"n": list(range(100))}), pa.table({"n": [7]}), shown=3)
    assert (found.only, found.shown_only[0]["n"].to_pylist()) == ((99, 0), [0, 1, 2])


def test_columns_are_compared_in_a_type_that_holds_both() -> None:
    one = pa.table({"n": pa.array([2**63 - 1], pa.int64()), "f": pa.array([1], pa.int32()), "x": ["a"], "o": [1]})
    other = pa.table({"n": pa.array([2**63], pa.uint64()), "f": pa.array([1.0]), "x": [1], "p": [1]})
    found = aligned(one, other)
    assert found.only == (("o",), ("p",))
    assert found.types == {"x": ("string", "int64")}
    assert found.left.column_names == ["n", "f"]
    # As floats both were 2**63.
    assert compared(found.left.select(["n"]), found.right.select(["n"])).only == (1, 1)
    assert compared(found.left.select(["f"]), found.right.select(["f"])).same


def test_a_column_without_a_value_has_the_type_of_the_other() -> None:
    found = aligned(pa.table({"n": pa.array([None], pa.string())}), pa.table({"n": [1]}))
    assert found.same and compared(found.left, found.right).only == (1, 1)


def test_tables_without_rows_are_the_same() -> None:
    assert compared(table([]), table([])).same
    assert compared(table([]), table([A]), ["k"]).only == (0, 1)
