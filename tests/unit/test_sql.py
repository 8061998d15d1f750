from __future__ import annotations

import datetime as dt
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


EXPRESSIONS = """
n + 1, n - small, n * 2, n / 4, n // 2, -n // 2, n // -2, n % 4, -n % 4, n % -4, mod(n, 3), n ** 2, -n
abs(n), round(price), round(price * 1.25, 1), round(n / 8, 2), floor(price), ceil(price), trunc(price), sqrt(abs(n)), exp(small / 10)
ln(n * n + 1), log(n * n + 1), log2(n * n + 1), log10(n * n + 1), sign(n), isnan(price), greatest(n, small, 4), least(n, small)
n = 5, n <> 5, n != 5, n < small, n <= small, n > 2.5, n >= 3, price = price, price > 1e9, usr = 'ann', usr < 'b'
n = 5 and ok, n = 5 or ok, not ok, ok and not (n > 3), n > 3 and small < 3 or ok, not (n > 3 or ok is null)
n between 0 and 5, n not between small and 5, usr between 'a' and 'b'
n in (3, 5), n not in (3, 5), n in (3, null), n not in (3, null), n in (small, small + 4, 12), usr in ('ann', 'cid'), 'x' in (usr, 'y')
n is null, n is not null, ok is true, ok is not true, ok is false, n is distinct from small, n is not distinct from 5
case when n > 3 then 'big' when n < 0 then 'neg' else 'mid' end, case when n > 3 then n end, case usr when 'ann' then 1 when 'bob' then 2 end
if(ok, n, small), coalesce(n, small, 0), ifnull(usr, '?'), nullif(n, 5), nullif(usr, 'ann')
usr || page, usr || n, usr || ok, concat(usr, '-', n), concat_ws('/', usr, page, n), lower(usr), upper(usr), length(page), len(usr)
substr(page, 2), substr(page, 1, 2), substr(page, 0, 2), substr(page, -2), substr(page, -2, 1), substr(page, -9, 3), substring(page from 2 for 1)
left(page, 2), right(page, 2), left(page, -1), trim(page), ltrim(page), rtrim(page), trim(page, '/a'), replace(page, '/', '::'), replace(page, '', 'x')
usr like 'a%', usr like '%n', usr like '%n%', usr like 'ann', page like '/_', page like '%/b%', page like '/c\\_x', page not like '/a%', usr ilike 'A%', page like '/b%x'
starts_with(page, '/'), prefix(page, '/a'), suffix(page, 'a'), ends_with(page, 'a'), contains(page, 'b'), regexp_matches(page, '[ab]$'), regexp_extract(page, '/(.)', 1)
split(page, '/'), string_split(usr, 'n'), split_part(page, '/', 2), split_part(page, '/', -1), split_part(page, '/', 9)
tags[1], tags[-1], tags[0], tags[7], len(tags), array_length(nums), list_contains(nums, 3), list_sum(nums), list_min(nums), list_max(nums), array_to_string(tags, '+')
geo.city, geo.at.lat, clicks.geo.city, clicks.geo.at.lat, geo['city'], struct_extract(geo, 'city'), GEO.CITY
year(ts), quarter(ts), month(ts), day(ts), hour(ts), minute(ts), second(ts), millisecond(ts), microsecond(ts), week(ts), dayofweek(ts), isodow(ts), dayofyear(ts)
extract(year from ts), extract(dow from ts), date_part('hour', ts), extract(epoch from ts), epoch(ts), epoch_ms(ts), epoch_us(ts), year(day), epoch_ms(n)
date_trunc('minute', ts), date_trunc('hour', ts), date_trunc('day', ts), date_trunc('week', ts), date_trunc('month', ts), date_trunc('year', ts), date_trunc('month', day)
time_bucket(interval '5 minutes', ts), strftime(ts, '%Y/%m/%d %H'), strptime(strftime(ts, '%Y-%m-%d %H:%M'), '%Y-%m-%d %H:%M')
ts + interval '90 seconds', ts - interval 1 hour, ts >= '2026-03-14 10:00:00', ts = timestamp '2026-03-14 09:59:30', day < '2026-01-04', day = date '2026-01-02'
ts between '2026-03-14 09:59:31' and '2026-03-14 10:00:30', ts - timestamp '2026-03-14 09:00:00' > interval '1 hour'
cast(n as double), n::varchar, cast(price * 2 as bigint), cast(n / 4 as int), ok::int, n::boolean, cast(usr as varchar), cast('12' as int), cast('2026-01-02' as date), ts::date
try_cast(usr as int), cast(n as smallint), cast(strftime(ts, '%Y-%m-%d') as date), 1, 'it''s', 2.5, true, 1e3, -3, n & 3, n | 8, (n)
"""
LINES = [line for line in EXPRESSIONS.strip().splitlines() if "cast(price" not in line]


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


@pytest.mark.parametrize("line", EXPRESSIONS.strip().splitlines())
def test_expressions_mean_what_they_mean_in_duckdb(line: str) -> None:
    where = " where not isnan(price)" if "cast(price" in line else ""  # NaN is no integer, here and there
    items = _items(line.replace("'/c\\_x'", "'/c_x'"))
    agrees(f"select {', '.join(f'{item} as c{i}' for i, item in enumerate(items))} from clicks{where}")


@pytest.mark.parametrize(
    "query",
    [
        "select * from clicks",
        "select clicks.* exclude (geo, tags) from clicks",
        "select Usr, PAGE as Page, c.n from clicks as c where C.n > 0 and page is not null",
        "select n + 1 as m, m * 2 as k from clicks where m > 3",
        "select a, b from (select usr as a, n as b from clicks) t where b > 2",
        "select x.a from clicks as x(a) where a is not null",
        "with big as (select * from clicks where n > 2), few(who) as (select usr from big) select who from few",
        "select usr, n from clicks union all select usr, age from users",
        "select usr from clicks union select usr from users",
        "select distinct usr, n > 2 as big from clicks",
        "select usr from clicks where not (n > 2 and ok)",
        "select usr from clicks where n not in (3, null)",
    ],
)
def test_rows_are_chosen_and_named_as_in_duckdb(query: str) -> None:
    agrees(query)


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) as a, count(n) as b, count(distinct usr) as c, sum(n) as d, avg(n) as e, mean(n) as f from clicks",
        "select min(usr) as a, max(n) as b, min(price) as c, max(price) as d, max(ts) as e, count(1) as f from clicks",
        "select usr, var_samp(n) as a, stddev(n) as b, var_pop(n) as c, stddev_pop(n) as d from clicks group by usr",
        "select usr, median(n) as a, quantile_cont(n, 0.3) as b from clicks group by usr",
        "select percentile_cont(0.5) within group (order by n) as a from clicks",
        "select arg_min(usr, n) as a, arg_max(page, n) as b, max_by(usr, n) as c from clicks",
        "select usr, bool_and(ok) as a, bool_or(ok) as b, sum(price) as c, any_value(n) as d from clicks group by usr",
        "select count(*) filter (where n > 2) as a, sum(n) filter (where ok) as b, min(n) filter (where n > 99) as c, "
        "count_if(n > 2) as d, bool_or(ok) filter (where n > 99) as e from clicks",
        "select usr, count(*) as n_rows from clicks group by usr having count(*) > 1 and sum(n) > -100",
        "select lower(usr) as who, sum(n) + count(*) as t from clicks group by lower(usr)",
        "select lower(usr) as who, sum(n) as t from clicks group by who having t > 2",
        "select n > 2 as big, usr, count(*) as c from clicks group by 1, 2",
        "select upper(usr) || '!' as u, count(*) * 2 + 1 as c from clicks group by usr",
        "select usr from clicks group by usr",
        "select usr, ok, 1 as one, count(*) as c from clicks group by usr, ok",
        "select case when sum(n) > 0 then 'up' else 'down' end as way, clicks.usr from clicks group by clicks.usr",
        "select avg(t) as mean_total from (select usr, sum(n) as t from clicks group by usr)",
        "select t, count(*) as users from (select usr, sum(n) as t from clicks group by usr) group by t",
        "select sum(n) + min(n) as a, sum(n) as b, usr from clicks group by usr having min(n) < 5",
        "select price, count(*) as c from clicks group by price",
    ],
)
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


BUCKET = (
    "select usr, {start} as window_start, {end} as window_end, count(*) as c, sum(n) as s from {source} group by all"
)


def test_tumbling_windows_are_duckdbs_time_buckets() -> None:
    start = "time_bucket(interval '1 minute', ts)"
    agrees(
        "select usr, window_start, window_end, count(*) as c, sum(n) as s from clicks group by usr, tumble(ts, '1m')",
        BUCKET.format(start=start, end=f"{start} + interval '1 minute'", source="clicks"),
    )


def test_hopping_windows_count_a_row_in_each_that_holds_its_time() -> None:
    start = "time_bucket(interval '30 seconds', ts) - interval '30 seconds' * k"
    agrees(
        "select usr, window_start, window_end, count(*) as c, sum(n) as s from clicks group by usr, hop(ts, '1m', '30s')",
        BUCKET.format(start=start, end=f"{start} + interval '1 minute'", source="clicks, range(2) t(k)"),
    )


def test_cumulating_windows_grow_to_their_end() -> None:
    start, end = (
        "time_bucket(interval '2 minutes', ts)",
        "time_bucket(interval '1 minute', ts) + interval '1 minute' * (k + 1)",
    )
    agrees(
        "select usr, window_start, window_end, count(*) as c, sum(n) as s from clicks group by usr, cumulate(ts, '2m', '1m')",
        BUCKET.format(start=start, end=end, source="clicks, range(2) t(k)").replace(
            " group by", f" where {end} <= {start} + interval '2 minutes' group by"
        ),
    )


SESSIONS = """
select usr, min(ts) as window_start, max(ts) + interval '45 seconds' as window_end, count(*) as c from (
    select *, sum(fresh) over (partition by usr order by ts) as number from (
        select *, case when ts - lag(ts) over (partition by usr order by ts) < interval '45 seconds' then 0 else 1 end as fresh
        from clicks)) group by usr, number
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


@pytest.mark.parametrize(
    "query",
    [
        "select usr, n from clicks order by n desc limit 3",
        "select usr, n from clicks order by n nulls first, ts limit 2",
        "select n from clicks where n is not null order by small * -1 limit 2 offset 1",
        "select usr, n as m from clicks where n is not null order by m limit 2",
        "select ts, n from clicks order by 1 limit 3",
        "select usr, sum(n) as t from clicks group by usr order by sum(n) desc, usr limit 2",
        "select usr, count(*) as c from clicks group by usr order by c desc, usr nulls first limit 3",
        "select distinct usr from clicks order by usr limit 2",
        "select usr from clicks union all select usr from users where age > 10 order by usr desc limit 1",
        "select usr, n from clicks qualify row_number() over (partition by usr order by ts desc) <= 1",
        "select usr, n, row_number() over (partition by usr order by ts) as r from clicks qualify r < 3",
        "select usr, n from (select *, row_number() over (partition by usr order by ts) as r from clicks) where r <= 1 and n > 2",
        "select * from (select usr, n, row_number() over (order by ts) as r from clicks) where r <= 3",
        "select lower(usr) as u, n from clicks qualify row_number() over (partition by lower(usr) order by n, ts) = 1",
        "select usr, c from (select usr, count(*) as c from clicks group by usr) order by c, usr limit 2",
    ],
)
def test_the_first_rows_of_an_order_are_duckdbs(query: str) -> None:
    agrees(query)


def test_the_first_rows_of_each_window_are_final() -> None:
    query = (
        "select window_end, usr, c from (select *, row_number() over (partition by window_end order by c desc, usr) as r "
        "from (select usr, window_end, count(*) as c from clicks group by usr, tumble(ts, '1m'))) where r <= 1"
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


@pytest.mark.parametrize(
    "query",
    [
        "select c.usr, u.usr as other, c.n, u.age from clicks c join users u on c.usr = u.usr",
        "select c.usr, u.usr as other, c.n, u.age from clicks c left join users u on c.usr = u.usr",
        "select c.usr, u.usr as other, c.n, u.age from clicks c right join users u on c.usr = u.usr",
        "select c.usr, u.usr as other, c.n, u.age from clicks c full join users u on c.usr = u.usr",
        "select usr, n, age from clicks join users using (usr)",
        "select usr, n, age from clicks left join users using (usr)",
        "select usr, n, age from clicks full outer join users using (usr)",
        "select c.usr as a, u.usr as b from clicks c full join users u using (usr)",
        "select * exclude (geo) from clicks c semi join users u on c.usr = u.usr",
        "select usr, n from clicks c anti join users u on c.usr = u.usr",
        "select usr, n from clicks c anti join users u on c.usr = u.usr and u.age > 41",
        "select c.n, u.age from clicks c join users u on c.small = u.age - 38 and c.n > -100",
        "select c.n, u.age from clicks c left join users u on c.n + 4 = u.age and u.usr = 'eve'",
        "select c.n, u.age from clicks c join users u on upper(u.usr) = upper(c.usr) and u.age > c.n * 10",
        "select a.n, b.n as m from clicks a join clicks b on a.usr = b.usr where a.n < b.n",
        "select c.usr, sum(c.n) as t, max(u.age) as m from clicks c join users u on c.usr = u.usr group by c.usr",
        "select a.usr, t, age from (select usr, sum(n) as t from clicks group by usr) a left join users u on a.usr = u.usr",
        "select c.usr, u.age, d.day from clicks c join users u on c.usr = u.usr join clicks d on u.usr = d.usr and d.n = c.n",
        "select usr, n from clicks where n = (select max(n) from clicks)",
        "select usr, n from clicks where n > (select avg(n) from clicks) / 2 and n < (select max(n) from clicks)",
        "select usr, n from clicks where usr in (select usr from users where age > 10) and n > 0",
    ],
)
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
