"""Joins of tables: what comes out, what is withdrawn, what is remembered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from tests.oracle.joins import HOWS, How
from tests.oracle.values import Row as OracleRow
from tests.property.test_joins import Case, Drawn, agrees
from thalweg import col, count
from thalweg.connect import call, files, memory, view
from thalweg.engine.embedded import join_sides, keyed
from thalweg.engine.embedded.join_sides import Keys
from thalweg.engine.embedded.joined import BesideRows, table_join
from thalweg.engine.embedded.rows import WEIGHT, Rows
from thalweg.plan import nodes as n

Row = dict[str, Any]

ORDERS: list[Row] = [
    {"id": 1, "what": "tea"},
    {"id": 2, "what": "jam"},
    {"id": None, "what": "ink"},
    {"id": 4, "what": "nib"},
]
PAYMENTS: list[Row] = [{"id": 1, "paid": 5}, {"id": 4, "paid": 7}, {"id": None, "paid": 8}, {"id": 9, "paid": 9}]


def joined(left: Sequence[Row], right: Sequence[Row], how: How, step_rows: int | None = None) -> list[Row]:
    """Return the rows of a join on ``id``, as a batch or in steps."""
    app = tw.App("joined")
    one, other = app.read(memory([list(left)])), app.read(memory([list(right)]))
    one.join(other, on="id", how=how).write(view("v"))
    report = app.batch() if step_rows is None else app.run(data=None, until="end", max_step_rows=step_rows, quiet=True)
    rows: list[Row] = report.view("v").to_pylist()
    return rows


def beside(number: int | None, what: str | None, paid: int | None) -> Row:
    return {"id": number, "what": what, "paid": paid}


PAID = [beside(1, "tea", 5), beside(4, "nib", 7)]
UNPAID = [beside(None, "ink", None), beside(2, "jam", None)]
UNKNOWN = [beside(None, None, 8), beside(9, None, 9)]
EXPECTED: dict[How, list[Row]] = {
    "inner": PAID,
    "left": PAID + UNPAID,
    "right": PAID + UNKNOWN,
    "full": PAID + UNPAID + UNKNOWN,
    "semi": [ORDERS[0], ORDERS[3]],
    "anti": [ORDERS[2], ORDERS[1]],
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("step_rows", [None, 1])
def test_rows_find_their_partners_and_null_finds_none(how: How, step_rows: int | None) -> None:
    assert sorted(map(repr, joined(ORDERS, PAYMENTS, how, step_rows))) == sorted(map(repr, EXPECTED[how]))


def test_nan_finds_nan_and_a_zero_is_shown_as_the_side_that_is_there_has_it() -> None:
    left: list[Row] = [{"id": math.nan, "a": 1}, {"id": -0.0, "a": 2}, {"id": 7.0, "a": 3}]
    right: list[Row] = [{"id": math.nan, "b": 4}, {"id": 0.0, "b": 5}, {"id": -7.5, "b": 6}]
    for step_rows in (None, 1):
        rows = joined(left, right, "full", step_rows)
        assert {(row["a"], row["b"]) for row in rows} == {(1, 4), (2, 5), (3, None), (None, 6)}
        (zero,) = [row["id"] for row in rows if row["a"] == 2]
        assert math.copysign(1, zero) == -1
    for zero in (0.0, -0.0):
        (row,) = joined(left[2:], [{"id": zero, "b": 5}], "right")
        assert math.copysign(1, row["id"]) == math.copysign(1, zero)


def test_a_join_of_streams_that_only_grow_only_grows() -> None:
    app = tw.App("grows")
    got: list[pa.Table] = []
    one, other = app.read(memory([ORDERS])), app.read(memory([PAYMENTS]))
    for how in ("inner", "semi"):
        made = one.join(other, on="id", how=how)
        assert not made.changing
        made.write(call(got.append))
    app.run(data=None, until="end", max_step_rows=1, quiet=True)
    assert {"_weight" in table.column_names for table in got} == {False}
    assert sum(table.num_rows for table in got) == 4


# ---------------------------------------------------------------------- one operator


def driven(how: How, *, changing: tuple[bool, bool] = (False, False)) -> BesideRows:
    """Return the operator of a join on ``k`` of streams with ``a`` and ``b``."""
    kinds = pa.schema([("k", pa.int64())])
    sides = [kinds.append(pa.field(name, pa.string())) for name in ("a", "b")]
    node = Case(how, ("k",), (sides[0], sides[1]), changing, [], set(), None, False).node()
    stage = table_join(node, "join")
    assert isinstance(node, n.Join)
    return stage  # type: ignore[return-value]  # semi and anti joins have the same methods


def frame(name: str, rows: Sequence[tuple[Any, ...]]) -> list[Rows]:
    """Return rows ``(k, value)``, or ``(k, value, weight)`` of a changing side."""
    kinds: dict[str, Any] = {"k": pl.Int64, name: pl.String}
    kinds |= {WEIGHT: pl.Int64} if rows and len(rows[0]) == 3 else {}
    return [Rows(pl.DataFrame(rows, schema=kinds, orient="row"))] if rows else []


def step(stage: BesideRows, left: Sequence[tuple[Any, ...]], right: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Give the rows of a step; return what comes out, sorted."""
    out = stage.process_sides(frame("a", left), frame("b", right), 0)
    return sorted((row for part in out.rows for row in part.frame.rows()), key=repr)


def test_a_row_without_a_partner_is_withdrawn_once_it_has_one() -> None:
    stage = driven("left")
    assert step(stage, [(1, "x"), (1, "y")], []) == [(1, "x", None, 1), (1, "y", None, 1)]
    assert step(stage, [], [(1, "r")]) == [
        (1, "x", "r", 1),
        (1, "x", None, -1),
        (1, "y", "r", 1),
        (1, "y", None, -1),
    ]
    assert step(stage, [], [(1, "s")]) == [(1, "x", "s", 1), (1, "y", "s", 1)]


def test_a_row_stands_alone_again_when_its_last_partner_goes() -> None:
    stage = driven("full", changing=(False, True))
    step(stage, [(1, "x")], [(1, "r", 1), (1, "s", 1)])
    assert step(stage, [], [(1, "r", -1)]) == [(1, "x", "r", -1)]
    assert step(stage, [], [(1, "s", -1)]) == [(1, "x", "s", -1), (1, "x", None, 1)]
    assert step(stage, [], [(1, "t", 1)]) == [(1, "x", "t", 1), (1, "x", None, -1)]


def test_rows_that_change_on_both_sides_at_once_are_never_shown_half() -> None:
    stage = driven("inner", changing=(True, True))
    assert step(stage, [(1, "old", 1)], [(1, "was", 1)]) == [(1, "old", "was", 1)]
    changes = step(stage, [(1, "old", -1), (1, "new", 1)], [(1, "was", -1), (1, "is", 1)])
    assert changes == [(1, "new", "is", 1), (1, "old", "was", -1)]


def test_what_is_withdrawn_before_it_came_is_not_there_but_is_remembered() -> None:
    stage = driven("anti", changing=(False, True))
    assert step(stage, [(1, "x")], [(1, "r", -1)]) == [(1, "x", 1)]
    assert step(stage, [], [(1, "r", 1)]) == []
    assert step(stage, [], [(1, "r", 1)]) == [(1, "x", -1)]


def test_a_row_that_has_found_its_key_for_good_is_not_remembered() -> None:
    semi, anti = driven("semi"), driven("anti")
    for stage in (semi, anti):
        step(stage, [(1, "x"), (2, "y")], [(1, "r"), (1, "s")])
        step(stage, [(1, "z"), (None, "n")], [])
        entry = stage.entry
        # The left side's row without its key, and the right side's one key.
        assert (stage.held(), entry.absorbed, entry.released) == (2, 3, 1)
    assert (semi.entry.passed, semi.entry.filtered) == (2, 1)
    assert (anti.entry.passed, anti.entry.filtered) == (1, 2)


def test_frames_of_state_that_did_not_change_are_the_same() -> None:
    for changing in (False, True):
        stage = driven("full", changing=(changing, False))
        rows = [(number, "x", 1)[: 3 if changing else 2] for number in range(100)]
        step(stage, rows, [(number, "r") for number in range(50)])
        first = dict(stage.snapshot())
        step(stage, [], [(7, "r")])
        second = dict(stage.snapshot())
        assert any(name.startswith("left") for name in first)
        assert all(second[name] is frame for name, frame in first.items())
        assert len(second) == len(first) + 1  # a row, and no new key


def test_a_hot_key_does_not_make_the_question_dear_whether_it_is_there() -> None:
    stage = driven("left")
    for number in range(20):
        step(stage, [], [(1, f"r{number}")] * 50)
    keys = [frame for name, frame in stage.snapshot() if "/keys/" in name]
    assert sum(frame.height for frame in keys) == 1
    assert len(step(stage, [(1, "x")], [])) == 1000


def test_state_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()

    def app() -> tw.App:
        made = tw.App("again")
        rows = made.read(files(f"{folder}/*.csv"))
        per_key = rows.group_by("k").agg(n=count(), best=col("v").max()).filter(col("n") % 2 == 1)
        for how in HOWS:
            rows.join(per_key, on="k", how=how).write(view(f"rows_{how}"))
            per_key.join(rows, on="k", how=how).write(view(f"table_{how}"))
        return made

    last = None
    for start, end in ((0, 5), (5, 6), (6, 20)):
        rows = "".join(f"{'' if number % 6 == 5 else number % 4},{number * 7 % 5}\n" for number in range(start, end))
        (folder / f"{start:02}.csv").write_text(f"k,v\n{rows}")
        last = app().run(data=tmp_path / "state", until="caught-up", max_step_rows=3, quiet=True)
    whole = app().batch()
    assert last is not None
    for how in HOWS:
        for name in (f"rows_{how}", f"table_{how}"):
            found, expected = (sorted(map(repr, report.view(name).to_pylist())) for report in (last, whole))
            assert found == expected, name
            assert expected


# ---------------------------------------------------------------------- rows by key


KINDS: dict[str, Any] = {"rising": pl.Int64, "text": pl.String, "few": pl.Int8}


@pytest.mark.parametrize("key", KINDS)
@pytest.mark.parametrize("asked", [1, 40, 3000])
def test_what_is_near_holds_every_partner_once(key: str, asked: int, monkeypatch: pytest.MonkeyPatch, rng: Any) -> None:
    monkeypatch.setattr(keyed, "FEW_ROWS", 64)
    rows = keyed.Keyed([key])
    number = pl.int_range(3000)
    values = {
        "rising": number // 2,
        "text": (number.hash(1) % 700).cast(pl.String),
        "few": (number.hash(2) % 100).cast(pl.Int8),
    }
    every = pl.select(values[key].alias(key), number.alias("row"))
    start = searched = 0
    while start < every.height:
        size = rng.choice([1, 10, 100, 500])
        rows.add(every[start : start + size])
        start += size
        wanted = every.sample(asked, with_replacement=True, seed=rng.randrange(10**6)).select(
            key, asks=pl.int_range(asked)
        )
        found = [asks.join(part, on=key, how="inner").select("asks", "row") for part, asks in rows.near(wanted)]
        expected = wanted.join(every[:start], on=key, how="inner").select("asks", "row")
        got = pl.concat([expected.clear(), *found])
        assert got.sort("asks", "row").equals(expected.sort("asks", "row"))
        searched += any(run.hashes is not None for run in rows._runs)
    assert rows.held() == every.height
    sizes = [run.frame.height for run in rows._runs]
    assert len(sizes) < 20, "runs grow, so they stay few"
    if asked == 1 and key == "text":
        assert searched, "few keys of no order are searched for"


# ---------------------------------------------------------------------- planted bugs


@pytest.fixture
def planted() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


TEXT = pa.schema([("k", pa.string()), ("a", pa.int64())])


def colliding(how: How) -> Case:
    """Two keys with one hash on both sides, one after the other."""
    rows: list[OracleRow] = [{"k": key, "a": number} for number, key in enumerate("abba")]
    steps: list[tuple[Drawn, Drawn]] = [
        ([(rows[0], 1)], [(rows[1], 1)]),
        ([(rows[2], 1)], [(rows[3], 1)]),
        ([(rows[0], 1)], []),
    ]
    return Case(how, ("k",), (TEXT, TEXT), (False, False), steps, {2}, 1, True)


@pytest.mark.parametrize("how", HOWS)
def test_keys_that_share_a_hash_are_two_keys(how: How) -> None:
    agrees(colliding(how))


@pytest.mark.parametrize("how", HOWS)
def test_a_join_that_trusts_hashes_is_found(how: How, planted: pytest.MonkeyPatch) -> None:
    def by_hash(self: Keys, left: pl.DataFrame, right: pl.DataFrame, kind: Any) -> pl.DataFrame:
        left = left.hstack([keyed._hashes(left.select(self.on)).alias("__hash")])
        right = right.hstack([keyed._hashes(right.select(self.on)).alias("__hash")]).drop(self.on)
        return left.join(right, on="__hash", how=kind).drop("__hash")

    planted.setattr(Keys, "_joined", by_hash)
    with pytest.raises(AssertionError):
        agrees(colliding(how))


@pytest.mark.parametrize("how", ["left", "right", "full", "anti"])
def test_a_row_that_is_not_withdrawn_is_found(how: How, planted: pytest.MonkeyPatch) -> None:
    agrees(colliding(how))
    planted.setattr(join_sides.AddedSide, "turned", lambda self, rows: _signed(self._keys.of(rows)).clear())
    with pytest.raises(AssertionError):
        agrees(colliding(how))


def _signed(keys: pl.DataFrame) -> pl.DataFrame:
    return keys.with_columns(pl.lit(1, pl.Int64).alias(join_sides.SIGN))
