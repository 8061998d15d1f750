from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Hashable
from pathlib import Path

import pyarrow as pa
import pytest

import thalweg as tw
from tests.oracle.sql import answer, rows_of
from thalweg import PlanError, Stream, col, count
from thalweg.connect import files, memory, view
from thalweg.core.schema import TIMESTAMP
from thalweg.plan.show import tree

START = dt.datetime(2026, 3, 14, 9, 59, 30, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


GEO = pa.struct([("city", pa.string()), ("at", pa.struct([("lat", pa.float64())]))])
CLICKS = pa.table(
    {
        "usr": ["ann", "bob", "ann", None, "cid", "bob", "ann", "Zoë"],
        "page": ["/a", "/b%", "/a", "/c_x", None, "/a", "  pad ", "/b\nx"],
        "n": pa.array([3, -7, None, 12, 0, 5, -2, 7], pa.int64()),
        "small": pa.array([1, 2, 3, None, 5, -6, 7, 8], pa.int16()),
        "price": [1.5, 2.5, None, float("nan"), -0.5, 1e6, 0.0, 2.0],
        "ok": [True, False, None, True, True, False, True, None],
        "tags": pa.array([["x", "y"], [], None, ["z", None], ["x"], ["y"], [], ["q"]], pa.list_(pa.string())),
        "nums": pa.array([[1, 2], [], None, [3, None], [5], [4], [], [9]], pa.list_(pa.int64())),
        "geo": pa.array(
            [
                {"city": "Ulm", "at": {"lat": 1.5}},
                None,
                *({"city": f"c{i}", "at": {"lat": float(i)}} for i in range(6)),
            ],
            GEO,
        ),
        "day": pa.array([dt.date(2026, 1, i + 1) for i in range(8)], pa.date32()),
        "ts": pa.array([at(s) for s in (0, 10.25, 31, 40, 75, 75.5, 130, 200)], TIMESTAMP),
    }
)
USERS = pa.table(
    {
        "usr": ["ann", "bob", "bob", None, "eve"],
        "age": pa.array([31, 42, 43, 1, 9], pa.int32()),
        "seen": pa.array([at(s) for s in (5, 15, 80, 41, 60)], TIMESTAMP),
    }
)
TABLES = {"clicks": CLICKS, "users": USERS}


def app_of(query: str) -> tuple[tw.App, Stream]:
    app = tw.App("asked")
    clicks = app.read(memory(CLICKS), time="ts", lateness="5m")
    users = app.read(memory(USERS), time="seen", lateness="5m")
    stream = app.sql(query, clicks=clicks, users=users)
    stream.write(view("answer"))
    return app, stream


def answers(query: str) -> tuple[tuple[str, ...], Counter[Hashable]]:
    """Return what a query gives, in one batch and in steps of one row alike."""
    app, stream = app_of(query)
    batch = rows_of(app.batch().view("answer"))
    steps = rows_of(app_of(query)[0].run(data=None, until="end", max_step_rows=1, quiet=True).view("answer"))
    assert batch == steps
    return stream.schema.names, batch


def agrees(query: str, same: str | None = None) -> None:
    """Fail unless a query, or another that says the same, gives in DuckDB what it gives here."""
    names, rows = answers(query)
    expected_names, expected = answer(same or query, TABLES)
    assert rows == expected
    assert [name.lower() for name in names] == [name.lower() for name in expected_names]


QUERIES = Path(__file__).with_name("sql")


def lines(name: str) -> list[str]:
    """Return the lines of a file of queries or expressions."""
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8").splitlines()


def _items(line: str) -> list[str]:
    """Return the expressions of a line: commas between brackets or quotes don't part them."""
    made, depth, quoted, begin = [], 0, False, 0
    for position, letter in enumerate(line):
        quoted ^= letter == "'"
        depth += (letter in "([") - (letter in ")]") if not quoted else 0
        if letter == "," and depth == 0 and not quoted:
            made.append(line[begin:position].strip())
            begin = position + 1
    return [*made, line[begin:].strip()]


@pytest.mark.parametrize("line", lines("expressions"))
def test_expressions_mean_what_they_mean_in_duckdb(line: str) -> None:
    where = " where not isnan(price)" if "cast(price" in line else ""  # NaN is no integer, here and there
    items = _items(line)
    agrees(f"select {', '.join(f'{item} as c{i}' for i, item in enumerate(items))} from clicks{where}")


@pytest.mark.parametrize("query", lines("rows"))
def test_rows_are_chosen_and_named_as_in_duckdb(query: str) -> None:
    agrees(query)


@pytest.mark.parametrize("query", lines("groups"))
def test_groups_add_up_to_what_duckdb_says(query: str) -> None:
    agrees(query)


def test_lists_are_gathered_by_time() -> None:
    agrees(
        "select usr, array_agg(n) filter (where n is not null) as ns from clicks group by usr",
        "select usr, array_agg(n order by ts) filter (where n is not null) as ns from clicks group by usr",
    )


def test_first_and_last_go_by_time() -> None:
    agrees(
        "select usr, first(n) as a, last(page) as b from clicks group by usr",
        "select usr, first(n order by ts) filter (where n is not null) as a, "
        "last(page order by ts) filter (where page is not null) as b from clicks group by usr",
    )


BOUNDED = "select usr, window_start, window_end, count(*) as c, sum(n) as s from clicks"
BUCKET = (
    "select usr, {start} as window_start, {end} as window_end, count(*) as c, sum(n) as s from {source} group by all"
)


def test_tumbling_windows_are_duckdbs_time_buckets() -> None:
    start = "time_bucket(interval '1 minute', ts)"
    agrees(
        f"{BOUNDED} group by usr, tumble(ts, '1m')",
        BUCKET.format(start=start, end=f"{start} + interval '1 minute'", source="clicks"),
    )


def test_hopping_windows_count_a_row_in_each_that_holds_its_time() -> None:
    start = "time_bucket(interval '30 seconds', ts) - interval '30 seconds' * k"
    agrees(
        f"{BOUNDED} group by usr, hop(ts, '1m', '30s')",
        BUCKET.format(start=start, end=f"{start} + interval '1 minute'", source="clicks, range(2) t(k)"),
    )


def test_cumulating_windows_grow_to_their_end() -> None:
    start, end = (
        "time_bucket(interval '2 minutes', ts)",
        "time_bucket(interval '1 minute', ts) + interval '1 minute' * (k + 1)",
    )
    agrees(
        f"{BOUNDED} group by usr, cumulate(ts, '2m', '1m')",
        BUCKET.format(start=start, end=end, source="clicks, range(2) t(k)").replace(
            " group by", f" where {end} <= {start} + interval '2 minutes' group by"
        ),
    )


SESSIONS = """
select usr, min(ts) as window_start, max(ts) + interval '45 seconds' as window_end, count(*) as c from (
    select *, sum(fresh) over (partition by usr order by ts) as number from (
        select *, coalesce(ts - lag(ts) over (partition by usr order by ts) >= interval '45 seconds', true)::int
        as fresh from clicks)) group by usr, number
"""


def test_sessions_are_rows_less_than_the_gap_apart() -> None:
    query = "select usr, window_start, window_end, count(*) as c from clicks group by usr, session(ts, '45s')"
    agrees(query, SESSIONS)


def test_a_window_needs_no_other_key() -> None:
    agrees(
        "select window_end, count(*) as c from clicks group by tumble(ts, '1m') having count(*) > 1",
        "select time_bucket(interval '1 minute', ts) + interval '1 minute' as window_end, count(*) as c from clicks "
        "group by 1 having count(*) > 1",
    )


def test_a_window_over_windows_goes_by_their_time() -> None:
    agrees(
        "with minutes as (select usr, count(*) as c from clicks group by usr, tumble(ts, '1m')) "
        "select window_start, sum(c) as c from minutes group by tumble('1h')",
        "select date_trunc('hour', ts) as window_start, count(*) as c from clicks group by 1",
    )


def test_a_window_over_a_changing_table_labels_rows_by_a_column() -> None:
    _, stream = app_of("select usr, ts, count(*) as c from clicks group by usr, ts")
    assert stream.changing
    agrees(
        "select window_start, sum(c) as c from (select usr, ts, count(*) as c from clicks group by usr, ts) "
        "group by tumble(ts, '1m')",
        "select time_bucket(interval '1 minute', ts) as window_start, count(*) as c from clicks group by 1",
    )


def test_windows_emit_when_they_close_unless_told_otherwise() -> None:
    closing = "select window_end, count(*) as c from clicks group by tumble(ts, '1m'{})"
    assert not app_of(closing.format(""))[1].changing
    assert app_of(closing.format(", emit => 'on_change'"))[1].changing
    assert answers(closing.format("")) == answers(closing.format(", emit := 'on_change'"))


@pytest.mark.parametrize("query", lines("ranks"))
def test_the_first_rows_of_an_order_are_duckdbs(query: str) -> None:
    agrees(query)


def test_the_first_rows_of_each_window_are_final() -> None:
    query = (
        "select window_end, usr, c from ("
        "select *, row_number() over (partition by window_end order by c desc, usr) as r from "
        "(select usr, window_end, count(*) as c from clicks group by usr, tumble(ts, '1m'))) where r <= 1"
    )
    assert not app_of(query)[1].changing
    agrees(
        query,
        query.replace("usr, tumble(ts, '1m')", "all").replace("window_end, count", f"{MINUTE} as window_end, count"),
    )


MINUTE = "time_bucket(interval '1 minute', ts) + interval '1 minute'"


def test_joins_in_a_range_of_event_time() -> None:
    agrees(
        "select c.usr, u.age, c.n from clicks c join users u on c.usr = u.usr "
        "and u.seen between c.ts - interval '1 minute' and c.ts + interval '20 seconds'"
    )
    agrees(
        "select c.usr, age, n from clicks c left join users u on u.usr = c.usr and u.age > 41 "
        "and c.ts <= u.seen and u.seen < c.ts + interval '70 seconds' + interval '5 seconds'"
    )


def test_a_window_over_joined_rows_goes_by_the_later_time() -> None:
    join = "clicks c join users u on c.usr = u.usr and u.seen >= c.ts and u.seen - interval '1 minute' <= c.ts"
    agrees(
        f"select window_end, count(*) as k from {join} group by tumble(u.seen, '1m')",
        f"select {MINUTE.replace('ts)', 'seen)')} as window_end, count(*) as k from {join} group by 1",
    )


@pytest.mark.parametrize("query", lines("joins"))
def test_tables_are_joined_as_in_duckdb(query: str) -> None:
    agrees(query)


def test_columns_of_two_tables_with_one_name_are_told_apart() -> None:
    _, stream = app_of("select * from users a join users b on a.usr = b.usr")
    assert stream.schema.names == ("usr", "age", "seen", "usr_1", "age_1", "seen_1")
    agrees("select * from (select * from users a join users b on a.usr = b.usr)")


def test_a_query_makes_the_plan_that_the_methods_make() -> None:
    def plan(make: str) -> str:
        app = tw.App("same")
        clicks = app.read(memory(CLICKS), time="ts")
        if make == "sql":
            found = app.sql(
                "SELECT page, window_start, window_end, count(*) AS views, count(DISTINCT usr) AS users FROM clicks "
                "WHERE page LIKE '/%' GROUP BY page, tumble(ts, '1m')",
                clicks=clicks,
            )
        else:
            grouped = clicks.filter(col("page").str.starts_with("/")).group_by("page").window("1m")
            found = grouped.agg(views=count(), users=col("usr").n_unique())
        found.write(view("same"))
        return "\n".join(tree(app.plan))

    assert plan("sql") == plan("methods")


def test_names_are_found_in_any_case_and_quoted_ones_as_they_are() -> None:
    app = tw.App("cases")
    both = app.read(memory([{"Id": 1, "ID": 2, "Käse": 3}]))
    stream = app.sql('SELECT "Id" AS a, ID AS b, käse FROM BOTH', both=both)
    assert stream.schema.names == ("a", "b", "Käse")
    with pytest.raises(PlanError, match='column "Id" is ambiguous'):
        app.sql("SELECT id FROM both", both=both)


def test_a_table_can_be_what_the_app_reads(tmp_path: Path) -> None:
    (tmp_path / "sales.ndjson").write_text('{"item": "tea", "price": 3}\n{"item": "tea", "price": 4}\n')
    app = tw.App("shop")
    source = files(str(tmp_path / "sales.ndjson"))
    app.read(source)
    app.sql(f'SELECT item, sum(price) AS total FROM "{source.name}" GROUP BY item').write(view("totals"))
    assert app.batch().view("totals").to_pylist() == [{"item": "tea", "total": 7}]


def test_two_reads_of_one_name_are_told_apart_by_the_program() -> None:
    app = tw.App("two")
    app.read(memory([{"a": 1}]))
    app.read(memory([{"a": 2}]))
    with pytest.raises(PlanError, match='there are 2 sources named "memory"'):
        app.sql("SELECT a FROM memory")


def test_a_query_goes_on_with_methods_and_methods_with_a_query() -> None:
    app = tw.App("mixed")
    clicks = app.read(memory(CLICKS), time="ts")
    named = app.sql("SELECT usr, n FROM clicks WHERE usr IS NOT NULL", clicks=clicks.filter(col("n") > 0))
    twice = app.sql("SELECT usr, sum(n) AS t FROM named GROUP BY usr", named=named.with_columns(n=col("n") * 2))
    twice.write(view("twice"))
    assert (
        rows_of(app.batch().view("twice"))
        == answer("select usr, sum(n) * 2 from clicks where n > 0 and usr is not null group by usr", TABLES)[1]
    )


def test_a_long_condition_is_no_deep_one() -> None:
    conditions = " or ".join(f"n = {number}" for number in range(600))
    agrees(f"select n from clicks where {conditions}")


def test_the_parser_is_loaded_by_the_first_query_only() -> None:
    program = (
        "import sys, thalweg.app, thalweg.cli.commands; sys.exit(any(m.startswith('sqlglot') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_every_example_of_the_reference_means_what_it_means_in_duckdb() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "sql.md").read_text(encoding="utf-8")
    table = page.partition("<!-- table: tested -->")[2].partition("<!-- end -->")[0]
    examples = [example.replace("\\|", "|") for example in re.findall(r"`([^`]+)`", table)]
    assert len(examples) > 90
    agrees(f"select {', '.join(f'{example} as c{i}' for i, example in enumerate(examples))} from clicks")
