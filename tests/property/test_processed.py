"""``process`` agrees with a row at a time, whatever the cuts, the interleaving and the restarts."""

from __future__ import annotations

import datetime as dt
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle.processed import REFUSED, SECOND, Given, answer
from tests.oracle.tables import batch_of
from tests.oracle.values import canonical
from tests.property.kinds import TIMESTAMP
from tests.property.shares import share
from thalweg.connect import view
from thalweg.core.schema import schema_of
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded.keyed_state import KeyedStates
from thalweg.engine.embedded.loop import Embedded
from thalweg.engine.embedded.state_table import StateTable
from thalweg.testing.given import Given as Data
from thalweg.testing.scripted import Scripted

KEYS: dict[str, tuple[pa.DataType, Sequence[Any]]] = {
    "float": (pa.float64(), [0.0, -0.0, float("nan"), None, 1.5, -float("nan")]),
    "text": (pa.string(), ["a", "é", "", None, "𝛑"]),
    "integer": (pa.int64(), [0, 1, None, -(2**63)]),
    "time": (TIMESTAMP, [0, 1, None]),
}


@dataclass
class Sum:
    total: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Drawn:
    """A case, and how its rows come.

    Attributes:
        given: The rows.
        schema: Their columns.
        step_rows: How many rows of a partition a step takes at most.
        seed: Which partitions a step takes, and how many rows.
        stops: After how many rows of each partition the program is stopped and started again.
    """

    given: Given
    schema: pa.Schema
    step_rows: int
    seed: int = 0
    stops: tuple[float, ...] = ()


@st.composite
def drawn(draw: st.DrawFn, *, timers: bool | None = None) -> Drawn:
    """Draw rows around the watermark, with equal times, values that are refused, and gaps as long as the ttl."""
    kind, pool = KEYS[draw(st.sampled_from(sorted(KEYS)))]
    lateness_us = draw(st.sampled_from([0, 1, 2 * SECOND, 5 * SECOND]))
    ttl_us = draw(st.sampled_from([None, 3 * SECOND, 1]))
    columns = draw(st.permutations(["k", "x", "ts"]))
    moves = [0, 1, SECOND, -lateness_us, -lateness_us - 1, -SECOND, 3 * SECOND, 3 * SECOND - 1]
    partitions = []
    for _ in range(draw(st.integers(1, 3))):
        greatest, rows = 0, []
        for byte in draw(st.binary(max_size=14)):
            time_us = greatest + moves[byte % 8]
            greatest = max(greatest, time_us)
            values = {"k": pool[byte // 8 % len(pool)], "x": [2, 3, REFUSED, 0, None, 5][byte // 11 % 6], "ts": time_us}
            rows.append({name: values[name] for name in columns})
        partitions.append(tuple(rows))
    wanted = draw(st.booleans()) if timers is None else timers
    found = Given(tuple(columns), tuple(partitions), lateness_us, ttl_us, wanted)
    kinds = {"k": kind, "x": pa.int64(), "ts": TIMESTAMP}
    schema = pa.schema([(name, kinds[name]) for name in columns])
    stops = tuple(sorted(draw(st.lists(st.floats(0, 1), max_size=2)))) if draw(st.booleans()) else ()
    return Drawn(found, schema, draw(st.sampled_from([1, 2, 3, 100])), draw(st.integers(0, 99)), stops)


def summed(row: dict[str, Any], state: Sum, timers: Any) -> Iterator[dict[str, Any]]:
    """Do as the oracle does; what it does before it raises must not last."""
    state.total += row["x"] or 0
    state.calls += 1
    yield {"what": "row", "k": row["k"], "total": state.total, "calls": state.calls}
    if row["x"] == REFUSED:
        timers.set(dt.timedelta(seconds=1))
        raise ValueError("refused")


def summed_with_timers(row: dict[str, Any], state: Sum, timers: Any) -> Iterator[dict[str, Any]]:
    yield from summed(row, state, timers)
    if row["x"] is not None and row["x"] % 2 == 0:
        timers.set(dt.timedelta(seconds=row["x"]))


def on_timer(time: dt.datetime, state: Sum, timers: Any) -> Iterator[dict[str, Any]]:
    state.total += 101 if state.total % 2 else 100
    state.calls += 1
    if state.calls % 3 == 0:
        timers.set(time + dt.timedelta(seconds=1))
    yield {"what": "timer", **timers.key, "total": state.total, "calls": state.calls}


def summed_by_batch(table: pa.Table, states: pa.Table) -> tuple[pa.Table, pa.Table]:
    if REFUSED in table["x"].to_pylist():
        raise ValueError("refused")
    rows, before = pl.DataFrame(table), pl.DataFrame(states)
    if rows.schema["k"].is_float():
        plain = [frame.with_columns(pl.col("k").fill_nan(99.0).alias("of")) for frame in (rows, before)]
    else:
        plain = [frame.with_columns(pl.col("k").alias("of")) for frame in (rows, before)]
    rows, before = plain
    beside = before.drop("k")
    made = rows.join(beside, on="of", how="left", nulls_equal=True, maintain_order="left").with_columns(
        total=pl.col("total") + pl.col("x").fill_null(0).cum_sum().over("of"),
        calls=pl.col("calls") + pl.int_range(1, pl.len() + 1).over("of"),
        what=pl.lit("row"),
    )
    after = made.group_by("of", maintain_order=True).agg(pl.col("k").first(), pl.col("total", "calls").last())
    return made.select("what", "k", "total", "calls").to_arrow(), after.select("k", "total", "calls").to_arrow()


def picker(rng: random.Random, most: int) -> Any:
    """Return who says what a step takes."""

    def pick(names: Sequence[str]) -> Sequence[tuple[str, int]]:
        chosen = [name for name in names if rng.random() < 0.7] or list(names[:1])
        return [(name, rng.randint(1, most)) for name in rng.sample(chosen, len(chosen))]

    return pick


def app_of(case: Drawn, source: Any, *, by_batch: bool = False) -> tw.App:
    """Return the program."""
    app, of = tw.App("processed"), case.given
    lateness, ttl = f"{of.lateness_us}us", None if of.ttl_us is None else f"{of.ttl_us}us"
    stream = app.read(source, schema=case.schema, time="ts", lateness=lateness)
    kind = case.schema.field("k").type
    said = pa.schema([("what", pa.string()), ("k", kind), ("total", pa.int64()), ("calls", pa.int64())])
    function: Any = summed_by_batch if by_batch else summed_with_timers if of.timers else summed
    timer = on_timer if of.timers else None
    stream.process(function, key="k", state=Sum, schema=said, on_timer=timer, ttl=ttl, by_batch=by_batch).write(
        view("v")
    )
    return app


def assert_agrees(case: Drawn, *, by_batch: bool = False) -> None:
    """Fail unless runs in steps, and with stops, give what the oracle says."""
    expected = answer(case.given)
    loose = pa.schema([pa.field(field.name, field.type) for field in case.schema])
    tables = tuple(pa.Table.from_batches([batch_of(rows, loose)], loose) for rows in case.given.partitions)
    source = Scripted.of("s", Data(schema_of(loose), tables))
    with tempfile.TemporaryDirectory() as folder:
        late = errors = 0
        options = RunOptions(
            data=Path(folder) if case.stops else None, pick=picker(random.Random(case.seed), case.step_rows)
        )
        for stop in (*case.stops, None):
            names = source.partitions()
            source.show(None if stop is None else {name: int(source.rows(name) * stop) for name in names})
            until: Any = "end" if stop is None else "caught-up"
            app = app_of(case, source, by_batch=by_batch)
            report = Embedded().start(app.plan, replace(options, until=until)).run()
            late += report.late.num_rows
            errors += report.errors.num_rows
    said = Counter(
        (row["what"], canonical(row["k"]), row["total"], row["calls"]) for row in report.view("v").to_pylist()
    )
    assert said == expected.said, (said - expected.said, expected.said - said)
    assert (late, errors) == (expected.late, expected.refused)
    line = next(line for line in report.ledger.to_pylist() if "process" in line["step"])
    taken = sum(map(len, case.given.partitions))
    assert (line["in"], line["late"], line["rejected"]) == (taken, expected.late, expected.refused)
    assert line["absorbed"] == line["released"] == taken - expected.late - expected.refused
    assert line["held"] == 0


@share(1)
@given(drawn())
def test_rows_and_timers_agree_with_the_oracle(case: Drawn) -> None:
    assert_agrees(case)


@share(0.5)
@given(drawn(timers=False))
def test_batches_agree_with_the_oracle(case: Drawn) -> None:
    assert_agrees(case, by_batch=True)


# ---------------------------------------------------------------------- planted bugs


def rows_of(*seconds_and_x: tuple[int, int]) -> Drawn:
    rows = tuple({"k": "a", "x": x, "ts": second * SECOND} for second, x in seconds_and_x)
    schema = pa.schema([("k", pa.string()), ("x", pa.int64()), ("ts", TIMESTAMP)])
    return Drawn(Given(("k", "x", "ts"), (rows,), 0, 3 * SECOND, True), schema, 1)


def _timers_after_their_rows(patch: pytest.MonkeyPatch) -> None:
    true = KeyedStates.next_timer

    def planted(self: KeyedStates) -> int | None:
        timer = true(self)
        return None if timer is None else timer + 1  # a row of that time is called before

    patch.setattr(KeyedStates, "next_timer", planted)


def _state_not_restored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("thalweg.core.state_class.StateClass.put_back", lambda self, state, saved: state)


def _never_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeyedStates, "_is_over", lambda self, kept, now_us: False)
    patch.setattr(KeyedStates, "forget", lambda self, watermark: None)


def _ttl_by_batch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateTable, "lives", lambda self, rows: [rows])


def _timers_lost(patch: pytest.MonkeyPatch) -> None:
    true = KeyedStates.restore

    def planted(self: KeyedStates, frames: Any) -> None:
        none = pl.col("__timers").list.head(0)
        true(self, {name: f.with_columns(none) for name, f in frames.items() if name.startswith("states")})

    patch.setattr(KeyedStates, "restore", planted)


TIMED = rows_of((0, 2), (2, 3), (9, 3))
WAITING = rows_of((0, 4), (1, 3), (9, 3))
REFUSING = rows_of((0, 3), (1, REFUSED), (2, 3))
SPARSE = rows_of((0, 3), (3, 3), (4, 3))
BUGS = {
    "timers after rows of their own time": (_timers_after_their_rows, TIMED, False),
    "state not restored after an error": (_state_not_restored, REFUSING, False),
    "states never over": (_never_over, SPARSE, False),
    "ttl counted by batch": (
        _ttl_by_batch,
        replace(SPARSE, step_rows=100, given=replace(SPARSE.given, timers=False)),
        True,
    ),
    "timers lost in a checkpoint": (_timers_lost, replace(WAITING, stops=(0.7,)), False),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_comparison_finds_a_planted_bug(bug: str) -> None:
    plant, case, by_batch = BUGS[bug]
    assert_agrees(case, by_batch=by_batch)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        with pytest.raises(AssertionError):
            assert_agrees(case, by_batch=by_batch)
