"""Random small queries give what DuckDB gives, in one batch and in steps cut anywhere."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
from hypothesis import given, note
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle.sql import answer, rows_of
from tests.property.shares import share
from thalweg.connect import memory, view
from thalweg.core.schema import TIMESTAMP

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
KEYS = st.sampled_from(["a", "b", "ü", "", None])
INTEGERS = st.one_of(st.none(), st.integers(-20, 20))
FLOATS = st.sampled_from([None, 0.0, -0.0, 1.5, -2.25, 1e9, float("nan")])
BOOLS = st.sampled_from([True, False, None])
SCHEMA = pa.schema(
    [
        ("k", pa.string()),
        ("i", pa.int64()),
        ("j", pa.int32()),
        ("f", pa.float64()),
        ("o", pa.bool_()),
        ("ts", TIMESTAMP),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.lists(st.tuples(KEYS, INTEGERS, INTEGERS, FLOATS, BOOLS, st.integers(0, 90)), max_size=12))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    *values, seconds = columns
    times = [START + dt.timedelta(seconds=second) for second in seconds]
    return pa.table(dict(zip(SCHEMA.names, [*map(list, values), times], strict=True)), schema=SCHEMA)


def numbers(depth: int) -> st.SearchStrategy[str]:
    """Return expressions of numbers; those of floats stay away from infinities, whose casts differ."""
    plain = st.sampled_from(["i", "j", "f", "3", "-2", "0.5", "length(k)"])
    if depth == 0:
        return plain
    inner = numbers(depth - 1)
    return st.one_of(
        plain,
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*"]), inner),
        st.builds("({} / {})".format, st.sampled_from(["i", "j"]), st.sampled_from(["4", "-8", "2"])),
        st.builds("(i {} {})".format, st.sampled_from(["%", "//"]), st.sampled_from(["3", "(-4)"])),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("nullif({}, {})".format, inner, st.sampled_from(["i", "3"])),
        st.builds("{}({}, {})".format, st.sampled_from(["greatest", "least"]), inner, inner),
        st.builds("case when {} then {} else {} end".format, conditions(depth - 1), inner, inner),
        st.builds("case when {} then {} end".format, conditions(depth - 1), inner),
        st.builds("abs({})".format, inner),
    )


def conditions(depth: int) -> st.SearchStrategy[str]:
    compared = st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"])
    value = numbers(0)
    plain = st.one_of(
        st.sampled_from(["o", "o is true", "o is not false", "k is null", "k is not null", "k like 'a%'", "k <> 'b'"]),
        st.builds("{} {} {}".format, value, compared, value),
        st.builds("{} {}between {} and {}".format, value, st.sampled_from(["", "not "]), value, value),
        st.builds("i {}in ({}, {})".format, st.sampled_from(["", "not "]), value, st.sampled_from(["null", "j", "4"])),
        st.builds("k {}in ('a', {})".format, st.sampled_from(["", "not "]), st.sampled_from(["null", "'b'", "k"])),
        st.sampled_from(["ts >= '2026-01-01 00:00:30'", "ts < timestamp '2026-01-01 00:01:00'"]),
    )
    if depth == 0:
        return plain
    inner = conditions(depth - 1)
    return st.one_of(
        plain,
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("(not ({}))".format, inner),
    )


def aggregates() -> st.SearchStrategy[str]:
    value = st.sampled_from(["i", "j", "i + j", "f", "abs(i)"])
    plain = st.one_of(
        st.just("count(*)"),
        st.builds("{}({})".format, st.sampled_from(["count", "sum", "avg", "min", "max", "median"]), value),
        st.builds("count(distinct {})".format, st.sampled_from(["k", "i", "f"])),
        st.builds("bool_{}({})".format, st.sampled_from(["and", "or"]), conditions(0)),
        st.just("min(k)"),
        st.just("quantile_cont(i, 0.25)"),
        st.just("var_samp(j)"),
    )
    filtered = st.builds("{} filter (where {})".format, plain, conditions(1))
    one = st.one_of(plain, filtered)
    return st.one_of(one, st.builds("{} + {}".format, st.just("count(*)"), st.sampled_from(["sum(i)", "max(j)", "1"])))


KEY = st.sampled_from(["k", "o", "i % 3", "lower(k)", "i > j", "f"])


@st.composite
def queries(draw: st.DrawFn) -> str:
    source = draw(st.sampled_from(["t", "(select * from t where o is not null)", "t2 union"]))
    if source == "t2 union":
        source = "(select * from t union all select * from t where i > 0)"
    where = f" where {draw(conditions(2))}" if draw(st.booleans()) else ""
    kind = draw(st.sampled_from(["rows", "distinct", "groups", "joined", "nested"]))
    if kind in ("rows", "distinct"):
        items = draw(st.lists(st.one_of(numbers(2), conditions(2)), min_size=1, max_size=3))
        word = "distinct " if kind == "distinct" else ""
        return f"select {word}{_named(items)} from {source} as t{where}"
    if kind == "joined":
        how = draw(st.sampled_from(["", "left", "right", "full", "semi", "anti"]))
        shown = "a.k as x, a.i as y" + ("" if how in ("semi", "anti") else ", b.k as z, b.j as w")
        side = draw(st.sampled_from(["", " and b.i > 0"])) if how in ("", "left", "semi", "anti") else ""
        on = draw(st.sampled_from(["a.k = b.k", "a.i = b.j", "a.k = b.k and a.o = b.o", "a.i + 1 = b.i"]))
        return f"select {shown} from {source} a {how} join t b on {on}{side}"
    keys = draw(st.lists(KEY, max_size=2, unique=True))
    found = draw(st.lists(aggregates(), min_size=1, max_size=3))
    having = draw(st.sampled_from(["", " having count(*) > 1", " having sum(i) > 0 or min(j) is null"])) if keys else ""
    group = f" group by {', '.join(keys)}" if keys else ""
    query = f"select {_named([*keys, *found])} from {source} as t{where}{group}{having}"
    if kind == "nested" and keys:
        return f"select c0, count(*) as n from ({query}) group by c0"
    return query


def _named(items: list[str]) -> str:
    return ", ".join(f"{item} as c{number}" for number, item in enumerate(items))


@share(0.5)
@given(tables(), queries(), st.integers(1, 5), st.integers(0, 12))
def test_a_query_gives_what_duckdb_gives(table: pa.Table, query: str, step: int, cut: int) -> None:
    note(query)
    _, expected = answer(query, {"t": table})
    cut = min(cut, table.num_rows)
    for partitions in ([[table]], [[table.slice(0, cut)], [table.slice(cut)]]):
        app = tw.App("asked")
        rows = app.read(memory(partitions), schema=SCHEMA, time="ts", lateness="2m")
        app.sql(query, t=rows).write(view("answer"))
        if len(partitions) == 1:
            report = app.batch()
        else:
            report = app.run(data=None, until="end", max_step_rows=step, quiet=True)
        assert report.errors.num_rows == 0
        found = rows_of(report.view("answer"))
        # An aggregate of a whole stream gives a row once there is one; DuckDB's gives one of nothing, too.
        of_nothing = not found and expected.total() == 1 and expected == answer(query, {"t": table.slice(0, 0)})[1]
        assert found == expected or of_nothing
