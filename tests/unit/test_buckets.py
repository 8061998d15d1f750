"""Rows that wait by window come out once for each of their windows, however they were added and folded."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tests.property.shares import share
from thalweg.engine.embedded import buckets as module
from thalweg.engine.embedded.buckets import Bucket, Buckets, Slice
from thalweg.engine.embedded.partial import COUNT, Folding, IntegerSum
from thalweg.engine.embedded.sides import Distinct
from thalweg.plan.windows import Window, cumulating, hopping, tumbling


def us(count: int) -> timedelta:
    return timedelta(microseconds=count)


WINDOWS = st.sampled_from(
    [
        tumbling(us(10)),
        hopping(us(10), every=us(5)),
        hopping(us(10), every=us(3)),
        hopping(us(4), every=us(6)),
        cumulating(us(20), every=us(5)),
    ]
)
ROW = st.tuples(st.integers(0, 120), st.sampled_from(["a", "b", None]), st.integers(0, 3))
"""Time, key, value."""
STEP = st.tuples(st.lists(ROW, max_size=12), st.integers(0, 140), st.booleans())
"""Rows, the watermark after them, and whether they are folded before they are added."""
Groups = dict[str | None, tuple[int, int, int]]


def folding() -> Folding:
    return Folding(["k"], [IntegerSum(0, pl.Int64())], [Distinct(1, ["k"])])


def frame(rows: list[tuple[int, str | None, int]]) -> pl.DataFrame:
    values = [value for _, _, value in rows]
    keys = pl.Series("k", [key for _, key, _ in rows], pl.String)
    return pl.DataFrame([keys, pl.Series("__a0_0", values, pl.Int64), pl.Series("__a1_0", values, pl.Int64)])


def naive(rows: list[tuple[int, str | None, int]]) -> Groups:
    groups: dict[str | None, list[int]] = defaultdict(list)
    for _, key, value in rows:
        groups[key].append(value)
    return {key: (len(values), sum(values), len(set(values))) for key, values in groups.items()}


def ends(window: Window, time: int) -> range:
    return range(window.first_end(time), window.last_end(time) + 1, window.every_us)


@share(0.5)
@given(WINDOWS, st.lists(STEP, min_size=1, max_size=6), st.sampled_from([1, 3, 1_000]))
def test_each_window_closes_once_with_all_of_its_rows(
    window: Window, steps: list[tuple[list[tuple[int, str | None, int]], int, bool]], fold_at: int
) -> None:
    how = folding()
    buckets = Buckets(window, how)
    expected: dict[int, list[tuple[int, str | None, int]]] = defaultdict(list)
    closed: dict[int, Groups] = {}
    watermark = 0
    for rows, mark, folded in [*steps, ([], 10_000, False)]:
        parts: dict[Slice, list[tuple[int, str | None, int]]] = defaultdict(list)
        for row in rows:
            open_ends = [end for end in ends(window, row[0]) if end > watermark]
            if open_ends:
                parts[(open_ends[0], open_ends[-1])].append(row)
            for end in open_ends:
                expected[end].append(row)
        for key, part in parts.items():
            if key not in dict(buckets.contents()):
                buckets.restore(key, Bucket(fold_at=fold_at))
            if folded:
                buckets.add_partial(key, how.fold(frame(part)))
            else:
                buckets.add(key, frame(part))
        watermark = max(watermark, mark)
        for end, partial in buckets.close(watermark):
            assert end not in closed
            finished = how.finish(partial)
            columns = (finished.get_column(name).to_list() for name in ("k", COUNT, "__r0", "__r1"))
            closed[end] = {key: (n, total, distinct) for key, n, total, distinct in zip(*columns, strict=True)}
        waiting = {end: rows for end, rows in expected.items() if end > watermark}
        assert buckets.held() == sum(len(rows) for rows in waiting.values())
        assert buckets.open_windows() == set(waiting)
        assert buckets.next_end() == min(waiting, default=None)
    assert closed == {end: naive(rows) for end, rows in expected.items()}
    assert list(closed) == sorted(closed)


def test_rows_are_folded_when_enough_wait() -> None:
    buckets = Buckets(tumbling(us(10)), folding())
    buckets.restore((10, 10), Bucket(fold_at=3))
    (bucket,) = [bucket for _, bucket in buckets.contents()]
    for _ in range(2):
        buckets.add((10, 10), frame([(1, "a", 1)]))
    assert (len(bucket.frames), len(bucket.partials)) == (2, 0)
    buckets.add((10, 10), frame([(1, "a", 1)]))
    assert (len(bucket.frames), bucket.waiting, len(bucket.partials)) == (0, 0, 1)
    assert bucket.rows() == 3


def test_partials_stay_few() -> None:
    buckets = Buckets(tumbling(us(10)), folding())
    for number in range(64):
        buckets.add_partial((10, 10), folding().fold(frame([(1, str(number), 1)])))
    (bucket,) = [bucket for _, bucket in buckets.contents()]
    assert len(bucket.partials) <= 7  # one for each binary digit of their number
    assert buckets.held() == 64


def test_a_window_that_shares_rows_with_later_ones_leaves_them_there() -> None:
    window = hopping(us(20), every=us(10))
    buckets = Buckets(window, folding())
    buckets.add((20, 30), frame([(15, "a", 1), (15, "a", 2)]))
    assert buckets.held() == 4
    (first,) = buckets.close(20)
    assert first[0] == 20
    assert buckets.held() == 2
    assert buckets.open_windows() == {30}
    (second,) = buckets.close(30)
    assert second[0] == 30
    assert buckets.held() == 0


def test_nothing_closes_before_the_watermark_reaches_an_end() -> None:
    buckets = Buckets(tumbling(us(10)), folding())
    buckets.add((10, 10), frame([(1, "a", 1)]))
    assert list(buckets.close(9)) == []
    assert [end for end, _ in buckets.close(10)] == [10]
    assert list(buckets.close(10)) == []


def test_the_first_fold_waits_for_many_rows() -> None:
    assert Bucket().fold_at == module.FOLD_ROWS >= 100_000  # folding early costs more than it saves
