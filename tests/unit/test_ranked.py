"""Top-k and the first row per key: what a step withdraws and adds, and what is kept."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from tests.oracle.ranked import Order, first_rows
from tests.property.test_ranked import bag
from thalweg import Stream, col
from thalweg.connect import memory, view
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded import arrangement, ranked, ranking
from thalweg.engine.embedded.podium import Podium
from thalweg.engine.embedded.ranked import RankedRows, RankedTable, RankedWindows, ranked_stage
from thalweg.engine.embedded.ranking import RANK
from thalweg.engine.embedded.rows import ALWAYS, NEVER, ROW, TIME, WATERMARK, WEIGHT, WHY, Rows
from thalweg.engine.embedded.stage import Stage
from thalweg.plan.nodes import Dedupe, TopK

SECOND = 1_000_000
NAN = float("nan")
SCHEMA = pa.schema([("k", pa.int64()), ("x", pa.float64()), ("s", pa.string()), ("ts", TIMESTAMP)])
Row = tuple[int | None, float | None, str, int]
"""Key, value, text, second."""
COUNTED = pa.schema([("k", pa.int64()), ("x", pa.float64())])


@pytest.fixture(autouse=True, params=["few", "few as many"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be treated as they are, or as many are: in sorted runs, looked through for ties, trimmed."""
    if request.param == "few as many":
        monkeypatch.setattr(arrangement, "FEW_ROWS", 0)
        monkeypatch.setattr(ranking, "_FEW", 0)
        monkeypatch.setattr(ranked, "_FIRST_TRIM", 2)
        monkeypatch.setattr(ranked, "_SORTED_TWICE", 1)


def source(*, timed: bool = True) -> Stream:
    return tw.App("ranked").read(memory([[]]), schema=SCHEMA, time="ts" if timed else None)


def of(stream: Stream) -> Stage:
    node = stream._node
    assert isinstance(node, (TopK, Dedupe))
    return ranked_stage(node, "ranked")


def rows_of(rows: Sequence[Row]) -> Rows:
    kinds: dict[str, Any] = {"k": pl.Int64, "x": pl.Float64, "s": pl.String, TIME: pl.Int64}
    frame = pl.DataFrame([(k, x, s, second * SECOND) for k, x, s, second in rows], schema=kinds, orient="row")
    frame = frame.with_columns(pl.col(TIME).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("ts"))
    return Rows(frame, 0, 1000 * SECOND)


def changes(stage: Stage, rows: Sequence[Row], watermark: int = NEVER) -> list[tuple[int, float | None, str, int]]:
    """Give rows to a stage; return weight, value, text and rank of what it gives, withdrawals first, by rank."""
    out = stage.process([rows_of(rows)], watermark)
    given = [row for part in out.rows for row in part.frame.to_dicts()]
    return sorted((row[WEIGHT], row["x"], row["s"], row.get("rank", 0)) for row in given)


# A changing table of distinct rows: what comes in carries its weight.


def table_stage(rows: int, *, per: str | None = None) -> RankedTable:
    table = tw.App("ranked").read(memory([[]]), schema=COUNTED).group_by("k", "x").agg(n=tw.count()).select("k", "x")
    stage = of(table.top_k(rows, by="x", per=per))
    assert isinstance(stage, RankedTable)
    return stage


def weighted(rows: Sequence[tuple[int | None, float | None, int]]) -> Rows:
    return Rows(pl.DataFrame(rows, schema={"k": pl.Int64, "x": pl.Float64, WEIGHT: pl.Int64}, orient="row"))


def table_changes(
    stage: RankedTable, *rows: tuple[int | None, float | None, int]
) -> list[tuple[int, int | None, float | None, int]]:
    out = stage.process([weighted(rows)], NEVER)
    given = [row for part in out.rows for row in part.frame.to_dicts()]
    entry = stage.entry
    assert entry.pairs == entry.absorbed == entry.released + stage.held()
    return sorted((row[WEIGHT], row["k"], row["x"], row["rank"]) for row in given)


def test_a_row_that_comes_in_between_moves_the_ranks_below_it() -> None:
    stage = of(source().top_k(3, by="x"))
    assert changes(stage, [(1, 9.0, "a", 0), (1, 5.0, "b", 0), (1, 3.0, "c", 0)]) == [
        (1, 3.0, "c", 3),
        (1, 5.0, "b", 2),
        (1, 9.0, "a", 1),
    ]
    assert changes(stage, [(1, 7.0, "d", 1)]) == [
        (-1, 3.0, "c", 3),
        (-1, 5.0, "b", 2),
        (1, 5.0, "b", 3),
        (1, 7.0, "d", 2),
    ]


def test_only_rows_that_can_come_among_the_first_are_kept() -> None:
    stage = of(source().top_k(2, by="x", per="k"))
    for number in range(20):
        changes(stage, [(number % 3, float(number), "", number), (0, -1.0, "", 0)])
    entry = stage.entry
    assert stage.held() == 6
    assert (entry.pairs, entry.absorbed, entry.released) == (40, 40, 34)


def test_a_row_below_the_last_changes_nothing() -> None:
    stage = of(source().top_k(2, by="x"))
    changes(stage, [(1, 9.0, "a", 0), (1, 5.0, "b", 0)])
    before = list(stage.snapshot())
    assert changes(stage, [(1, 4.0, "c", 0)]) == []
    assert next(frame for _, frame in stage.snapshot()) is before[0][1]


@pytest.mark.parametrize(("reverse", "texts"), [(False, "nif0zm-"), (True, "m0zifn-")])
def test_null_is_last_and_nan_the_greatest(reverse: bool, texts: str) -> None:
    stage = of(source().top_k(7, by="x", reverse=reverse))
    values = {"-": None, "n": NAN, "i": float("inf"), "f": 7.0, "0": -0.0, "z": 0.0, "m": -7.0}
    out = stage.process([rows_of([(0, x, s, 0) for s, x in values.items()])], NEVER)
    found = "".join(row["s"] for row in sorted(out.rows[0].frame.to_dicts(), key=lambda row: row["rank"]))
    assert found == texts or (reverse and found == "m0zfin-")


def test_ties_are_broken_by_time_and_then_by_all_columns_whatever_came_first() -> None:
    rows: list[Row] = [(2, 1.0, "b", 5), (1, 1.0, "c", 5), (1, 1.0, "a", 5), (3, 1.0, "z", 4)]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        stage = of(source().top_k(4, by="x"))
        standing: Counter[tuple[str, int]] = Counter()
        for row in order:
            for weight, _, text, rank in changes(stage, [row]):
                standing[text, rank] += weight
        assert +standing == Counter({("z", 1): 1, ("a", 2): 1, ("c", 3): 1, ("b", 4): 1})


def test_null_and_nan_are_keys_and_zeros_are_one() -> None:
    stage = of(source().top_k(1, by="s", per="x"))
    values = [None, NAN, 0.0, None, NAN, -0.0]
    stage.process([rows_of([(0, x, "ab"[n // 3], 0) for n, x in enumerate(values)])], NEVER)
    assert stage.held() == 3
    out = stage.process([rows_of([(0, None, "c", 0), (0, NAN, "c", 0), (0, 0.0, "c", 0)])], NEVER)
    assert sorted(row["s"] for row in out.rows[0].frame.to_dicts()) == ["b", "b", "b", "c", "c", "c"]


def test_a_row_that_is_only_equal_to_the_one_shown_does_not_take_its_place() -> None:
    stage = of(source().top_k(1, by="x"))
    rows = rows_of([(0, -0.0, "a", 3)])
    stage.process([rows], NEVER)
    # The same but for the bits, and earlier: the table does not change, what is withdrawn is what was given out.
    earlier = rows_of([(0, 0.0, "a", 3)])
    earlier = Rows(earlier.frame.with_columns(pl.lit(1, pl.Int64).alias(TIME)), 0, 0)
    assert stage.process([earlier], NEVER).rows == []
    given = stage.process([rows_of([(0, 1.0, "b", 0)])], NEVER).rows[0].frame
    assert sorted((row[WEIGHT], repr(row["x"])) for row in given.to_dicts()) == [(-1, "-0.0"), (1, "1.0")]


def test_a_withdrawal_brings_up_the_next() -> None:
    stage = table_stage(2)
    table_changes(stage, (1, 9.0, 1), (2, 5.0, 1), (3, 4.0, 1), (4, 1.0, 1))
    assert table_changes(stage, (1, 9.0, -1)) == [(-1, 1, 9.0, 1), (-1, 2, 5.0, 2), (1, 2, 5.0, 1), (1, 3, 4.0, 2)]
    assert table_changes(stage, (3, 4.0, -1)) == [(-1, 3, 4.0, 2), (1, 4, 1.0, 2)]
    assert table_changes(stage, (4, 1.0, -1)) == [(-1, 4, 1.0, 2)]
    assert table_changes(stage, (2, 5.0, -1)) == [(-1, 2, 5.0, 1)]
    assert table_changes(stage, (7, 2.0, 1)) == [(1, 7, 2.0, 1)]


def test_equal_rows_count_as_often_as_their_weight_says() -> None:
    stage = table_stage(3)
    assert table_changes(stage, (1, 5.0, 2), (2, 4.0, 7)) == [(1, 1, 5.0, 1), (1, 1, 5.0, 2), (1, 2, 4.0, 3)]
    assert table_changes(stage, (1, 5.0, -1)) == [(-1, 1, 5.0, 2), (1, 2, 4.0, 2)]


def test_a_row_withdrawn_before_it_was_added_is_absent_and_kept() -> None:
    stage = table_stage(2)
    assert table_changes(stage, (1, 9.0, -1), (2, 5.0, 1)) == [(1, 2, 5.0, 1)]
    assert stage.held() == 2
    assert table_changes(stage, (1, 9.0, 1)) == []
    assert table_changes(stage, (1, 9.0, 1)) == [(-1, 2, 5.0, 1), (1, 1, 9.0, 1), (1, 2, 5.0, 2)]


def test_keys_that_have_gone_are_forgotten() -> None:
    stage = table_stage(2, per="k")
    for k in range(50):
        table_changes(stage, (k, 1.0, 1), (k, 2.0, 1))
        table_changes(stage, (k, 1.0, -1), (k, 2.0, -1))
    for _ in range(20):
        table_changes(stage, *[(k, 1.0, 1) for k in range(200)])
        table_changes(stage, *[(k, 1.0, -1) for k in range(200)])
    # What comes and goes cancels when runs are merged: a few of the last changes may still stand side by side.
    assert stage.held() <= 800
    assert sum(frame.height for _, frame in stage.snapshot()) <= 800


def test_a_restart_goes_on_where_it_stopped() -> None:
    before, after = table_stage(2, per="k"), table_stage(2, per="k")
    table_changes(before, (1, 9.0, 1), (1, 5.0, 1), (1, 4.0, 1), (2, 3.0, 1))
    table_changes(before, (2, 3.0, -1))
    after.restore(dict(before.snapshot()))
    assert after.held() == before.held()
    after.entry.absorbed = after.entry.pairs = after.held()
    assert table_changes(after, (1, 9.0, -1)) == [(-1, 1, 5.0, 2), (-1, 1, 9.0, 1), (1, 1, 4.0, 2), (1, 1, 5.0, 1)]


@pytest.mark.parametrize("timed", [True, False])
def test_the_first_row_per_key_is_the_earliest_not_the_first_to_come(timed: bool) -> None:
    stage = of(source(timed=timed).dedupe("k"))
    assert isinstance(stage, RankedRows)
    assert changes(stage, [(1, 5.0, "b", 9), (1, 6.0, "a", 9)]) == [(1, 5.0, "b", 0)]
    assert changes(stage, [(1, 7.0, "c", 10)]) == []
    assert changes(stage, [(1, 4.0, "d", 9), (None, 0.0, "n", 1)]) == [
        (-1, 5.0, "b", 0),
        (1, 0.0, "n", 0),
        (1, 4.0, "d", 0),
    ]
    assert stage.held() == 2


def window_stage(n: int) -> RankedWindows:
    windows = source().group_by("k").window("10s").agg(n=tw.count())
    stage = of(windows.top_k(n, by="n", per="window_end"))
    assert isinstance(stage, RankedWindows)
    return stage


def closed(rows: Sequence[tuple[int, int, int]]) -> Rows:
    """Return rows of key, number of the window and count, as windows give them when they close."""
    kinds: dict[str, Any] = {"k": pl.Int64, "end": pl.Int64, "n": pl.Int64}
    frame = pl.DataFrame([(k, 10 * SECOND * w, n) for k, w, n in rows], schema=kinds, orient="row")
    end = pl.col("end").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    bounds = [(end - pl.duration(seconds=10)).alias("window_start"), end.alias("window_end")]
    return Rows(frame.select("k", *bounds, "n", (pl.col("end") - 1).alias(TIME)), 0, 1000 * SECOND)


def given_of(stage: Stage, rows: Sequence[tuple[int, int, int]], watermark_s: int) -> list[tuple[int, int, int, int]]:
    """Return window, rank, key and count of what a stage gives."""
    out = stage.process([closed(rows)] if rows else [], watermark_s * SECOND)
    stage.watermark = watermark_s * SECOND
    frames = [part.frame for part in out.rows]
    for part in out.rows:
        assert part.frame[TIME].min() == part.low
        assert part.frame[TIME].max() == part.high
    return sorted(
        (row[TIME] // (10 * SECOND) + 1, row["rank"], row["k"], row["n"])
        for frame in frames
        for row in frame.to_dicts()
    )


def test_a_window_waits_for_all_its_rows_and_is_then_forgotten() -> None:
    stage = window_stage(2)
    assert given_of(stage, [(1, 1, 5), (2, 1, 7), (3, 2, 1)], 9) == []
    assert stage.open_windows() == 2
    again = window_stage(2)
    again.restore(dict(stage.snapshot()))
    assert again.held() == stage.held() == 3
    stage.restore({})
    assert not stage.due(9 * SECOND)
    assert stage.due(10 * SECOND)
    assert given_of(stage, [(4, 1, 6), (5, 1, 6)], 10) == [(1, 1, 2, 7), (1, 2, 4, 6)]
    assert (stage.open_windows(), stage.held()) == (1, 1)
    assert given_of(stage, [], ALWAYS // SECOND) == [(2, 1, 3, 1)]
    entry = stage.entry
    assert (entry.pairs, entry.absorbed, entry.released, stage.held()) == (5, 5, 5, 0)
    assert given_of(again, [], 10) == [(1, 1, 2, 7), (1, 2, 1, 5)]


def test_an_open_window_keeps_only_rows_that_can_be_among_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranked, "_FIRST_TRIM", 4)
    stage = window_stage(2)
    for number in range(50):
        given_of(stage, [(number, 1, number % 17)], 0)
        assert stage.held() <= 4
        assert stage.entry.absorbed == stage.entry.released + stage.held()
    assert given_of(stage, [], 10) == [(1, 1, 16, 16), (1, 2, 33, 16)]


def test_a_row_sent_again_for_a_closed_window_is_late() -> None:
    stage = window_stage(2)
    given_of(stage, [(1, 1, 5)], 10)
    sent = closed([(2, 1, 9), (3, 2, 1)])
    hidden = [pl.lit(10 * SECOND).alias(WATERMARK), pl.lit(2, pl.UInt8).alias(WHY), pl.int_range(pl.len()).alias(ROW)]
    out = stage.process([Rows(sent.frame.with_columns(hidden), sent.low, sent.high)], 10 * SECOND)
    assert out.rows == []
    assert [late.rows.frame["k"].to_list() for late in out.late] == [[2]]
    assert (stage.entry.late, stage.held()) == (1, 1)


def test_a_row_whose_order_cannot_be_computed_is_rejected() -> None:
    rows = [{"k": 1, "v": 2**62}, {"k": 2, "v": 5}, {"k": 3, "v": None}]
    app = tw.App("rejected")
    app.read(memory([rows])).top_k(2, by=(col("v") * 4).alias("v")).write(view("v"))
    report = app.batch()
    assert [row["k"] for row in report.view("v").to_pylist()] == [2, 3]
    assert report.errors.num_rows == 1
    (line,) = [line for line in report.ledger.to_pylist() if "top_k" in line["step"]]
    assert (line["rejected"], line["absorbed"], line["held"]) == (1, 2, 2)


def test_a_place_may_hold_lists_and_structs() -> None:
    rows: list[dict[str, Any]] = [{"k": 1, "l": [2, n], "s": {"a": -n}} for n in (3, 1, 2)]
    app = tw.App("nested")
    app.read(memory([rows])).top_k(2, by="k").write(view("v"))
    for report in (app.batch(), app.run(data=None, until="end", max_step_rows=1, quiet=True)):
        assert report.view("v").to_pylist() == [
            {"k": 1, "l": [2, 1], "s": {"a": -1}, "rank": 1},
            {"k": 1, "l": [2, 2], "s": {"a": -2}, "rank": 2},
        ]


def test_many_rows_with_many_ties_are_ranked_as_few_are(rng: random.Random) -> None:
    rows = [
        {"k": rng.choice([1, 2, None]), "x": rng.choice([0.0, -0.0, 1.0, NAN, None]), "s": rng.choice("abcdef")}
        for _ in range(3000)
    ]
    app = tw.App("many")
    source_ = memory([pl.DataFrame(rows, schema={"k": pl.Int64, "x": pl.Float64, "s": pl.String})])
    app.read(source_).top_k(40, by=["x", "s"], reverse=[False, True], per="k").write(view("v"))
    order = Order(40, ("x", "s"), (False, True), ("k",), ("k", "x", "s"))
    expected = bag(first_rows(order, [(0, row) for row in rows]))
    for report in (app.batch(), app.run(data=None, until="end", max_step_rows=700, quiet=True)):
        assert bag(report.view("v").to_pylist()) == expected


def test_a_podium_finds_what_it_was_given() -> None:
    podium = Podium(["k", "x"], [], ["k"], grows=False)
    now = pl.DataFrame({"k": [1, 1, 2], "x": [5, 4, 3], RANK: [1, 2, 1]}, schema_overrides={RANK: pl.Int64})
    podium.replace(None, now)
    keys = pl.DataFrame({"k": [1]})
    was = podium.lookup(keys)
    assert was is not None
    assert sorted(was.rows()) == [(1, 4, 2), (1, 5, 1)]
    given = podium.replace(was, now[:1])
    assert given.rows() == [(1, 4, 2, -1)]
    left = podium.lookup(keys)
    assert left is not None
    assert left.rows() == [(1, 5, 1)]
