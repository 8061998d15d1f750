"""The door of a source: watermarks per row, whatever the cuts; the late test is never skipped wrongly."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from thalweg.connect import memory
from thalweg.core.ports import Rejected, SourceBatch
from thalweg.engine.contract import TimeException
from thalweg.engine.embedded import intake as module
from thalweg.engine.embedded.intake import Intake, Partition
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.rows import ALWAYS, LATE_REASONS, NEVER, ROW, TIME, WATERMARK, WHY, Rows
from thalweg.plan.nodes import Read
from thalweg.plan.windows import Window, hopping, tumbling

UTC_US = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema([("id", pa.int64()), ("t", UTC_US)])
IDLE = LATE_REASONS.index("idle")
Times = list[int | None]
Offer = tuple[int, Times]
"""A partition's number, and the times of a batch of it."""

OFFERS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=1, max_size=8)),
    max_size=10,
)


def us(count: int) -> dt.timedelta:
    return dt.timedelta(microseconds=count)


def intake(windows: list[Window], lateness: int = 0, **fields: Any) -> Intake:
    node = tw.App("t").read(memory([[]]), schema=SCHEMA, time="t", lateness=us(lateness))._node
    assert isinstance(node, Read)
    settings: dict[str, Any] = {"eager": False, "numbered": False, "number": 1} | fields
    made = Intake(read=node, entry=Entry("1 read"), source=None, late_tests=windows, **settings)
    made.partitions = {str(number): Partition(str(number)) for number in range(3)}
    return made


def place(partition: str, first: int, row: int) -> str:
    return f"{partition}:{first + row}"


def offered(made: Intake, offers: list[Offer], taken_after: set[int]) -> list[Rows]:
    """Offer batches, taking what waits after some of them; a row's id counts within its partition."""
    taken = []
    seen = dict.fromkeys(made.partitions, 0)
    for index, (number, values) in enumerate(offers):
        name = str(number)
        ids = range(seen[name], seen[name] + len(values))
        data = pa.record_batch([pa.array(ids, pa.int64()), pa.array(values, UTC_US)], schema=SCHEMA)
        made.offer(made.partitions[name], SourceBatch(data, None, partial(place, name, seen[name])))
        seen[name] += len(values)
        if index in taken_after and (rows := made.take()) is not None:
            taken.append(rows)
    if (rows := made.take()) is not None:
        taken.append(rows)
    return taken


def watermarks(offers: list[Offer], lateness: int) -> dict[tuple[str, int], int]:
    """``watermark_before`` by the definition: partition and row number → its watermark."""
    found = {}
    greatest: dict[str, int] = {}
    seen: dict[str, int] = {}
    for number, values in offers:
        name = str(number)
        for value in values:
            row = seen.get(name, 0)
            seen[name] = row + 1
            if value is None:
                continue
            found[(name, row)] = greatest[name] - lateness if name in greatest else NEVER
            greatest[name] = max(greatest.get(name, value), value)
    return found


@given(OFFERS, st.integers(0, 30), st.sets(st.integers(0, 10)))
def test_the_watermark_before_each_row_does_not_depend_on_the_cuts(
    offers: list[Offer], lateness: int, taken_after: set[int]
) -> None:
    # A window that every row may be late for, so that each step has the test.
    made = intake([Window("tumbling", 1, 1, 0)], lateness)
    expected = watermarks(offers, lateness)
    found = {}
    for rows in offered(made, offers, taken_after):
        if WATERMARK not in rows.frame.columns:
            marks = [None] * rows.frame.height
        else:
            marks = rows.frame.get_column(WATERMARK).to_list()
        assert rows.origin is not None
        for number, (row, mark) in enumerate(zip(rows.frame.get_column("id").to_list(), marks, strict=True)):
            name, where = rows.origin.place(number)
            assert where == f"{name}:{row}"
            if mark is not None:
                found[(name, row)] = mark
            else:  # the test was skipped: then it must not have mattered
                time = rows.frame.get_column(TIME)[number]
                assert time + 1 > expected[(name, row)]
                found[(name, row)] = expected[(name, row)]
    assert found == expected


@given(
    OFFERS,
    st.integers(0, 30),
    st.sets(st.integers(0, 10)),
    st.sampled_from([tumbling(us(10)), hopping(us(9), every=us(4))]),
)
def test_the_late_test_is_never_skipped_where_a_row_is_late(
    offers: list[Offer], lateness: int, taken_after: set[int], window: Window
) -> None:
    made = intake([window], lateness)
    expected = watermarks(offers, lateness)
    for rows in offered(made, offers, taken_after):
        if WATERMARK in rows.frame.columns:
            continue
        assert rows.origin is not None
        for number, time in enumerate(rows.frame.get_column(TIME).to_list()):
            name, where = rows.origin.place(number)
            mark = expected[(name, int(where.split(":")[1]))]
            assert window.first_end(time) > mark


def late_test(times: Times) -> list[int] | None:
    """Return the watermarks that the rows of a batch carry, with a lateness of 10; None for none."""
    (rows,) = offered(intake([tumbling(us(10))], 10), [(0, times)], set())
    return rows.frame.get_column(WATERMARK).to_list() if WATERMARK in rows.frame.columns else None


def test_rows_carry_their_watermark_only_where_one_lies_behind_it() -> None:
    assert late_test([0, 20, 10, 40]) is None
    assert late_test([0, 20, 9, 40]) == [NEVER, -10, 10, 10]


def test_a_watermark_that_is_too_low_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = module._watermarks
    monkeypatch.setattr(module, "_watermarks", lambda *given: [true(*given)[0] - 1])
    with pytest.raises(AssertionError):
        test_rows_carry_their_watermark_only_where_one_lies_behind_it()


@given(OFFERS, st.integers(0, 30), st.sets(st.integers(0, 10)))
def test_every_row_comes_out_once_or_is_rejected(offers: list[Offer], lateness: int, taken_after: set[int]) -> None:
    made = intake([tumbling(us(10))], lateness)
    taken = offered(made, offers, taken_after)
    times = sorted(time for rows in taken for time in rows.frame.get_column(TIME).to_list())
    assert times == sorted(value for _, values in offers for value in values if value is not None)
    nulls = sum(value is None for _, values in offers for value in values)
    entry = made.entry
    assert (len(made.rejected), entry.rejected) == (nulls, nulls)
    assert entry.rows_in == entry.pairs == entry.passed + entry.rejected == sum(len(values) for _, values in offers)
    for rows in taken:
        assert rows.low == rows.frame.get_column(TIME).min()
        assert rows.high == rows.frame.get_column(TIME).max()


@given(OFFERS, st.integers(0, 30))
def test_the_operator_watermark_is_the_least_of_the_partitions_and_never_falls(
    offers: list[Offer], lateness: int
) -> None:
    made = intake([], lateness)
    greatest = dict.fromkeys(made.partitions, NEVER)
    last = NEVER
    for number, values in offers:
        offered_one = [(number, values)]
        offered(made, offered_one, set())
        usable = [value for value in values if value is not None]
        greatest[str(number)] = max([greatest[str(number)], *usable])
        expected = min(NEVER if top == NEVER else top - lateness for top in greatest.values())
        assert made.watermark() == expected >= last
        last = made.watermark()


def test_a_partition_that_can_give_nothing_more_does_not_hold_the_watermark() -> None:
    made = intake([])
    offered(made, [(0, [50])], set())
    assert made.watermark() == NEVER
    made.partitions["1"].done = True
    made.partitions["2"].done = True
    assert made.watermark() == 50
    made.partitions["0"].done = True
    assert made.watermark() == ALWAYS


def test_an_idle_partition_does_not_hold_the_watermark_and_if_all_are_it_stays() -> None:
    made = intake([])
    offered(made, [(0, [50]), (1, [30])], set())
    made.partitions["2"].idle = True
    assert made.watermark() == 30
    made.partitions["1"].idle = True
    assert made.watermark() == 50
    made.partitions["0"].idle = True
    assert made.watermark() is None  # another source may move what both feed
    assert made.last_watermark == 50
    made.partitions["1"].idle = False
    assert made.watermark() == 50  # it never falls


def test_rows_of_a_partition_that_was_held_up_are_late_by_its_floor_and_say_why() -> None:
    made = intake([tumbling(us(10))])
    partition = made.partitions["0"]
    offered(made, [(0, [5])], set())
    made.hold_up(partition, 40, IDLE)
    (rows,) = offered(made, [(0, [25, 60, 45])], set())
    assert rows.frame.get_column(WATERMARK).to_list() == [40, 40, 60]
    assert [LATE_REASONS[why] for why in rows.frame.get_column(WHY).to_list()] == ["idle", "idle", "late"]
    assert made.exceptions == [TimeException(1, "0", 1, 40, "idle")]


def test_holding_up_below_its_own_watermark_is_no_exception() -> None:
    made = intake([])
    offered(made, [(0, [50])], set())
    made.hold_up(made.partitions["0"], 50, IDLE)
    made.hold_up(made.partitions["0"], 20, IDLE)
    assert made.exceptions == []


@given(OFFERS, st.integers(0, 8), st.integers(0, 100), st.sets(st.integers(0, 10)))
def test_a_replayed_exception_holds_from_the_same_row_on_whatever_the_cuts(
    offers: list[Offer], row: int, floor: int, taken_after: set[int]
) -> None:
    known = TimeException(1, "0", row, floor, "idle")
    window = Window("tumbling", 1, 1, 0)
    first, second = intake([window], replayed=[known]), intake([window], replayed=[known])
    in_batches = offered(first, offers, taken_after)
    one_by_one = offered(second, [(number, [value]) for number, values in offers for value in values], set())
    assert marks_by_place(in_batches) == marks_by_place(one_by_one)
    assert first.exceptions == second.exceptions
    for (name, number), (_, mark) in marks_by_place(in_batches).items():
        if name == "0" and number >= row and mark is not None:
            assert mark >= floor


def marks_by_place(taken: list[Rows]) -> dict[tuple[str, int], tuple[int, int | None]]:
    """Each row's time and watermark; None for one that is not late for a window of one microsecond."""
    found: dict[tuple[str, int], tuple[int, int | None]] = {}
    for rows in taken:
        assert rows.origin is not None
        columns = rows.frame.columns
        for number, time in enumerate(rows.frame.get_column(TIME).to_list()):
            name, where = rows.origin.place(number)
            mark = rows.frame.get_column(WATERMARK)[number] if WATERMARK in columns else None
            late = mark is not None and time + 1 <= mark
            found[(name, int(where.split(":")[1]))] = (time, mark if late else None)
    return found


def test_rows_that_a_source_rejected_are_counted_and_kept() -> None:
    made = intake([])
    data = pa.record_batch([pa.array([1], pa.int64()), pa.array([5], UTC_US)], schema=SCHEMA)
    bad = Rejected("0:1", "not JSON", b"{", "t")
    assert made.offer(made.partitions["0"], SourceBatch(data, 7, partial(place, "0", 0), (bad,))) == 2
    (rejected,) = made.rejected
    assert (rejected.place, rejected.reason, rejected.row, rejected.column) == ("0:1", "not JSON", b"{", "t")
    assert made.partitions["0"].position == 7
    assert made.partitions["0"].rows == 1  # only decoded rows count in the order of time
    assert (made.entry.rows_in, made.entry.passed, made.entry.rejected) == (2, 1, 1)


def test_rejected_rows_do_not_move_the_watermark() -> None:
    made = intake([])
    offered(made, [(0, [10, None]), (1, [20]), (2, [30])], set())
    assert made.watermark() == 10


def test_enough_rows_are_worth_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = intake([])
    monkeypatch.setattr(module, "GATHER_ROWS", 3)
    data = pa.record_batch([pa.array([1, 2], pa.int64()), pa.array([5, 6], UTC_US)], schema=SCHEMA)
    made.offer(made.partitions["0"], SourceBatch(data, None, partial(place, "0", 0)))
    assert (made.gathered, made.full) == (2, False)
    made.offer(made.partitions["0"], SourceBatch(data, None, partial(place, "0", 2)))
    assert (made.gathered, made.full) == (4, True)
    rows = made.take()
    assert rows is not None
    assert rows.frame.height == 4
    assert (made.gathered, made.full, made.take()) == (0, False, None)


def test_rows_carry_their_number_where_user_code_may_reject_them() -> None:
    made = intake([], numbered=True)
    (rows,) = offered(made, [(1, [5, None, 7]), (0, [1])], set())
    assert rows.frame.get_column(ROW).to_list() == [0, 1, 2]
    filtered = rows.replaced(rows.frame.filter(pl.col("t").dt.microsecond() == 7))
    assert filtered.place(filtered.frame, 0) == "1:2"


def test_what_was_known_of_partitions_is_restored() -> None:
    made = intake([tumbling(us(10))])
    known = [TimeException(1, "0", 3, 40, "new")]
    made.restore(
        35,
        known,
        [
            ("0", 3, 50, 40, LATE_REASONS.index("new"), 3, False, False, 4),
            ("1", None, NEVER, NEVER, 0, 0, False, True, 0),
        ],
    )
    assert made.partitions["0"].read == 4
    assert made.watermark() == 35  # of partition 2, which is new here, nothing is known; it never falls
    assert made.exceptions == known
    assert made.partitions["1"].exhausted
    (rows,) = offered(made, [(0, [25])], set())
    assert rows.frame.get_column(WATERMARK).to_list() == [50]
