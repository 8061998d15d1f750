"""Every aggregate of every type has one meaning: with nulls, NaN, infinities, −0.0, extremes, and nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from tests.oracle.aggregates import Aggregate, Interpolation
from tests.oracle.programs import Branch, Emit, Pipeline, Program, Stage
from tests.oracle.values import Row, Value
from tests.oracle.windows import Hopping, Read, Tumbling, Window
from tests.property.cases import Case, build
from tests.property.kinds import KINDS, TIMESTAMP, aggregates_of
from tests.property.test_windows import agrees_in_every_run

SECOND = 1_000_000
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "lower", "higher", "midpoint", "linear")


def groups(special: tuple[Value, ...]) -> dict[str, list[Value]]:
    """Return groups of values that each go wrong in their own way."""
    found: dict[str, list[Value]] = {
        "nulls": [None, None],
        "one": [special[0]],
        "one and null": [None, special[1], None],
        "equal": [special[1]] * 3,
        "all": list(special),
        "all twice, backwards": [*special, None, *special[::-1]],
    }
    found |= {f"{value!r} alone": [value, None] for value in special}
    found |= {f"{a!r} and {b!r}": [a, b] for a in special for b in special if a is not b}
    return found


def aggregates(name: str) -> tuple[Aggregate, ...]:
    """Return every aggregate of a type, once or with each of its options."""
    kind = KINDS[name]
    unsigned = name == "uint64"
    made: list[Aggregate] = [Aggregate("n", "rows")]
    for which in dict.fromkeys(aggregates_of(kind)):
        if which in ("arg_min", "arg_max"):
            made += [Aggregate(f"{which}_{by}", which, "x", by=by) for by in ("x", "order", "ts")]
        elif which == "quantile":
            made += [
                Aggregate(f"quantile_{how}_{part}", which, "x", q=q, interpolation=how)
                for how in INTERPOLATIONS
                for part, q in enumerate((0.0, 0.3, 0.5, 1.0))
            ]
        elif which == "approx_quantile":
            made += [Aggregate(f"approx_{part}", which, "x", q=q) for part, q in enumerate((0.0, 0.5, 1.0))]
        else:
            made.append(Aggregate(which, which, "x", unsigned=unsigned))
    return tuple(made)


def matrix_case(name: str, window: Window | None, emit: Emit) -> Case:
    """Return all aggregates of a type over all groups; half of the rows in each of two partitions."""
    kind = KINDS[name]
    rows: list[Row] = []
    for group, values in groups(kind.special).items():
        # Times repeat, so that ties are broken by the columns.
        rows += [{"g": group, "x": x, "order": n % 3, "ts": n // 2 * SECOND} for n, x in enumerate(values)]
    read = Read(("g", "x", "order", "ts"), "ts", (tuple(rows[::2]), tuple(rows[1::2])), 3600 * SECOND)
    fields = [("g", pa.string()), ("x", kind.type), ("order", pa.int64()), ("ts", TIMESTAMP)]
    schema = pa.schema([pa.field(field, arrow) for field, arrow in fields])
    stage = Stage(("g",), aggregates(name), window, emit)
    return Case(Program((read,), (Branch(0),), (Pipeline("v", (stage,)),)), schema, (((1, 7), ()),))


def shapes() -> Iterator[tuple[str, Window | None, Emit]]:
    """Return the ways to group: each evaluates aggregates in its own way."""
    for name in KINDS:
        yield name, Tumbling(60 * SECOND), "on_close"
        yield name, Hopping(5 * SECOND, 2 * SECOND), "on_close"
        yield name, Tumbling(60 * SECOND), "on_change"
        yield name, None, "on_change"


@pytest.mark.parametrize(("name", "window", "emit"), list(shapes()), ids=str)
def test_every_aggregate_of_every_type(name: str, window: Window | None, emit: Emit) -> None:
    agrees_in_every_run(matrix_case(name, window, emit), 7)


@pytest.mark.parametrize("name", KINDS)
def test_every_type_is_a_key(name: str) -> None:
    kind = KINDS[name]
    values = (*kind.special, None, *kind.special[::-1], None)
    rows: tuple[Row, ...] = tuple({"x": x, "ts": n // 8 * SECOND} for n, x in enumerate(values))
    read = Read(("x", "ts"), "ts", (rows[::2], rows[1::2]), 3600 * SECOND)
    counted = (Aggregate("n", "rows"), Aggregate("late", "last", "ts"))
    pipelines = (
        Pipeline("windowed", (Stage(("x",), counted, Hopping(2 * SECOND, SECOND)),)),
        Pipeline("whole", (Stage(("x",), counted),)),
    )
    schema = pa.schema([pa.field("x", kind.type), pa.field("ts", TIMESTAMP)])
    agrees_in_every_run(Case(Program((read,), (Branch(0),), pipelines), schema, (((), (2,)),)), 1, 5)


@pytest.mark.parametrize("distinct", [0, 1, 10, 99, 1_000, 20_000])
def test_approximate_counts_and_quantiles_keep_their_error(distinct: int) -> None:
    rows: tuple[Row, ...] = tuple({"x": n * n % 1_000_003 * 97, "ts": n} for n in range(distinct))
    read = Read(("x", "ts"), "ts", (rows, rows))
    about = [Aggregate(f"q{part}", "approx_quantile", "x", q=q) for part, q in enumerate((0.01, 0.5, 0.99))]
    made = (Aggregate("n", "approx_n_unique", "x"), *about)
    pipelines = (Pipeline("v", (Stage((), made, Tumbling(SECOND)),)), Pipeline("w", (Stage((), made),)))
    schema = pa.schema([pa.field("x", pa.int64()), pa.field("ts", TIMESTAMP)])
    agrees_in_every_run(Case(Program((read,), (Branch(0),), pipelines), schema, (((), ()),)), 512)


def test_the_matrix_covers_what_the_door_offers() -> None:
    """A new aggregate or type is not forgotten here."""
    methods = {aggregate.kind for name in KINDS for aggregate in aggregates(name)}
    named = "count sum mean min max var std first last arg_min arg_max any all n_unique approx_n_unique"
    assert methods >= {*named.split(), "quantile", "approx_quantile", "median", "mode", "collect", "user_sum", "rows"}
    report = build(matrix_case("float64", None, "on_change")).batch()
    assert report.view("v").num_rows == len(groups(KINDS["float64"].special))
