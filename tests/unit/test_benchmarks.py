"""The benchmarks at a tiny size: their answers are right, and wrong ones are found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from benchmarks import __main__ as command
from benchmarks import checkpoints, filtering, hopping, large_state, latency, memory, ndjson, state, tumbling
from benchmarks.contest import OneShot, check_same, compared, take_turns
from benchmarks.endless import Endless, flow
from benchmarks.events import DISORDER_US, Scale, events
from benchmarks.feed import Flow
from benchmarks.nexmark import measure as nexmark
from benchmarks.nexmark import run as nexmark_run
from benchmarks.nexmark.auction_house import auction_house
from benchmarks.nexmark.queries import QUERIES
from benchmarks.nexmark.run import added_up
from benchmarks.outcome import Benchmark, Comparison, Outcome, WrongAnswerError
from benchmarks.streamed import Streamed
from thalweg import Stream, UnsupportedError
from thalweg.connect import memory as in_memory
from thalweg.core.ports import Nothing, SourceBatch
from thalweg.core.schema import schema_of

# Fifty minutes of event time: the first minute's windows close long before the end.
TINY = Scale(rows=60_000, rounds=1, rate=20, keys=200, step_rows=500, soonest=0.6)


def test_events_are_the_same_every_time_and_out_of_order_within_the_bound() -> None:
    frame = events(TINY)
    assert frame.equals(events(TINY))
    assert frame.height == TINY.rows
    assert frame["key"].n_unique() == TINY.keys
    behind = frame.select(pl.col("ts").to_physical().cum_max() - pl.col("ts").to_physical()).to_series()
    assert 0 < behind.max() <= DISORDER_US  # type: ignore[operator]  # integers


def test_tumbling_windows_in_large_and_small_steps() -> None:
    large, small = tumbling.measure(TINY, {2_000: 0.8, 300: 0.25})
    assert (large.rows, large.target, small.target) == (TINY.rows, 0.8, 0.25)
    assert large.reference == small.reference
    assert large.reference.startswith("polars")
    assert "first result after " in small.note


def test_hopping_windows() -> None:
    (outcome,) = hopping.measure(replace(TINY, rows=10_000, step_rows=100))
    assert outcome.reference in hopping.QUERIES


def test_filter() -> None:
    (outcome,) = filtering.measure(TINY)
    assert outcome.reference.startswith("polars")


def test_ndjson_files() -> None:
    (outcome,) = ndjson.measure(TINY)
    assert outcome.reference.startswith("polars")


def test_nexmark_queries_and_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    # So few rows are read before a busy machine turns to the sink's thread: here only the answers are looked at.
    monkeypatch.setattr(nexmark_run, "SOONEST", 2)
    queries = [query for query in QUERIES if query.name in ("q2", "q7", "q10", "q17")]
    *each, overall = nexmark.measure([nexmark.Size(20_000, 500, 1, aimed=False)], queries)
    assert [outcome.name for outcome in each] == [
        "nexmark q2, some auctions, steps of 500 rows",
        "nexmark q7, highest bids, steps of 500 rows",
        "nexmark q10, log to files, steps of 500 rows",
        "nexmark q17, auction statistics, steps of 500 rows",
    ]
    assert all(isinstance(outcome, Comparison) and outcome.rows == 18_400 for outcome in each)
    assert isinstance(overall, nexmark.Overall)
    assert list(overall.ratios) == ["q2", "q7", "q10", "q17"]
    assert overall.mean > 0


def test_a_nexmark_query_that_cannot_run_is_named_and_the_mean_is_missed() -> None:
    def refused(house: object) -> Stream:
        raise UnsupportedError("there is no such step")

    size = nexmark.Size(20_000, 500, 1, aimed=True)
    queries = [QUERIES[2], replace(QUERIES[3], build=refused)]
    _, not_yet, overall = nexmark.measure([size], queries)
    assert not_yet.lines()[-1].startswith("  CANNOT RUN YET: there is no such step")
    assert isinstance(overall, nexmark.Overall)
    assert (len(overall.ratios), overall.queries, overall.met) == (1, 2, False)


def test_a_wrong_nexmark_answer_is_found() -> None:
    wrong = replace(
        QUERIES[2], build=lambda house: house.bids.filter(tw.col("auction") % 122 == 0).select("auction", "price")
    )
    with pytest.raises(WrongAnswerError):
        list(nexmark.measure([nexmark.Size(20_000, 500, 1, aimed=False)], [wrong]))


def test_changes_add_up_to_a_table_and_never_below_nothing() -> None:
    changes = [pa.table({"a": [1, 2, 2], "_weight": [1, 1, 1]}), pa.table({"a": [1, 3], "_weight": [-1, 1]})]
    assert sorted(added_up(changes)["a"]) == [2, 2, 3]
    with pytest.raises(WrongAnswerError, match="withdrawn that were not there"):
        added_up([*changes, pa.table({"a": [4], "_weight": [-1]})])


def test_latency_is_measured_for_every_event_after_the_warm_up() -> None:
    (outcome,) = latency.measure(Flow(rate=2_000, seconds=1.6, keys=20), warm_up_s=0.1)
    assert outcome.measured == 3_000
    assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.max_ms
    assert outcome.steps > 1


def test_state_within_a_budget() -> None:
    (outcome,) = state.measure(300_000, "16MiB")
    assert (outcome.keys, outcome.rows, outcome.budget_bytes) == (300_000, 600_000, 2**24)
    assert 0 < outcome.idle_bytes <= outcome.most_bytes


def test_state_that_lost_a_key_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    true = large_state._ManyKeysReader.read

    def read(self: large_state._ManyKeysReader, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        batch = true(self, max_rows, timeout_s)
        return batch if isinstance(batch, Nothing) else SourceBatch(batch.data.slice(1), batch.position, str)

    monkeypatch.setattr(large_state._ManyKeysReader, "read", read)
    with pytest.raises(WrongAnswerError, match="expected 1000, 2000"):
        large_state.counted(1_000, 2_000, None)


def test_memory_of_an_endless_stream() -> None:
    (outcome,) = memory.measure(4_000_000)
    assert 0 < outcome.start <= outcome.most
    assert outcome.steady <= outcome.most


def test_an_endless_stream_repeats_its_block_later_each_time() -> None:
    block = events(Scale(rows=2_000, rate=10, keys=7))
    source = Endless(5_000, block.to_arrow().combine_chunks().to_batches()[0], 200_000_000)
    reader = source.open(schema_of(source.schema())).reader("0", None)
    parts = []
    while not isinstance(batch := reader.read(700, 0.0), Nothing):
        parts.append(batch.data)
    assert batch is Nothing.EVER
    given = pl.from_arrow(pa.Table.from_batches(parts))
    assert isinstance(given, pl.DataFrame)
    turns = [block.with_columns(pl.col("ts") + pl.duration(seconds=200 * turn)) for turn in range(3)]
    assert given.equals(pl.concat(turns).head(5_000))


def test_an_endless_stream_is_counted_whole() -> None:
    assert flow(5_000, Scale(rows=2_000, rate=10, keys=7))["counted"] == 5_000


@pytest.mark.parametrize(("grown", "met"), [(0, True), (400, True), (50_000, False)])
def test_memory_is_flat_or_grows(grown: int, met: bool) -> None:
    samples = [(0, 100_000)] + [(row, 1_000_000 + row * grown // 10) for row in range(1, 101)]
    outcome = memory.memory_of(100, 100, 1.0, samples)
    assert outcome.start == 100_000
    assert outcome.slope == pytest.approx(grown / 10)
    assert outcome.met is met


def test_rows_that_memory_did_not_count_are_an_error() -> None:
    with pytest.raises(WrongAnswerError, match="counted 99 of 100 rows"):
        memory.memory_of(100, 99, 1.0, [(row, 1) for row in range(100)])


RIGHT = pl.DataFrame({"key": [1, 2, 2], "n": [10, 20, 20]})


@pytest.mark.parametrize(
    "wrong",
    [
        RIGHT.with_columns(n=pl.Series([10, 20, 21])),
        RIGHT.with_columns(n=pl.Series([20, 10, 20])),
        RIGHT.head(2),
        pl.concat([RIGHT, RIGHT.head(1)]),
    ],
    ids=["one value", "values at other keys", "too few", "too many"],
)
def test_another_answer_is_found(wrong: pl.DataFrame) -> None:
    with pytest.raises(WrongAnswerError, match=f"it gave {wrong.height} rows where 3 are right"):
        check_same(wrong, RIGHT, "it")
    with pytest.raises(WrongAnswerError):
        take_turns({"it": OneShot(lambda: wrong)}, 1, RIGHT)


def test_the_order_of_rows_and_columns_is_no_difference() -> None:
    check_same(RIGHT.reverse().select("n", "key"), RIGHT, "it")


def test_a_nexmark_query_that_reads_all_before_its_first_result_is_no_stream() -> None:
    (query,) = [query for query in QUERIES if query.name == "q7"]
    run = nexmark_run.Streamed(query, auction_house(20_000), None)
    run.run()
    with pytest.raises(WrongAnswerError, match="the first result of q7 came when 18400 of 18400 rows had been read"):
        run.answer()


def test_a_run_that_reads_all_before_its_first_result_is_no_stream() -> None:
    run = Streamed(in_memory(events(TINY)), tumbling.counts, replace(TINY, step_rows=None))
    run.run()
    with pytest.raises(WrongAnswerError, match="the first result came when 60000 of 60000 rows had been read"):
        run.answer()


def test_a_run_that_read_too_few_rows_is_wrong() -> None:
    run = Streamed(in_memory(events(TINY)), tumbling.counts, replace(TINY, rows=TINY.rows + 1))
    run.run()
    with pytest.raises(WrongAnswerError, match="read 60000 rows, not 60001"):
        run.answer()


def test_the_ratio_is_that_of_neighbours_against_the_fastest_reference() -> None:
    outcome = compared("it", 1_000_000, (1.0, 2.0, 4.0), {"slow": (9.0, 9.0, 9.0), "fast": (1.0, 1.0, 4.0)}, 0.9)
    assert outcome.reference == "fast"
    assert outcome.ratios == (1.0, 0.5, 1.0)
    assert outcome.ratio == 1.0
    assert outcome.met
    assert outcome.lines()[-1] == "  ratio 1.00 (0.50 to 1.00), target ≥ 0.9: met"


def _missed() -> Iterator[Outcome]:
    yield Comparison("slow", 10, (1.0,), "reference", (0.1,), 0.8)


def _wrong() -> Iterator[Outcome]:
    raise WrongAnswerError("rows are missing")
    yield


@pytest.mark.parametrize(("measure", "code"), [(_missed, 0), (_wrong, 1)])
def test_only_a_wrong_answer_fails_the_command(
    measure: object, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Benchmark("made", "made for this test", measure, measure)  # type: ignore[arg-type]  # one of the two above
    monkeypatch.setattr(command, "BENCHMARKS", (made,))
    assert command.main(["made", "--json"]) == code
    machine, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert machine["processors"] >= 1
    assert result["benchmark"] == "made"
    assert result.get("wrong") == ("rows are missing" if code else None)
    assert command.main(["--quick"]) == code
    assert ("WRONG ANSWER" in capsys.readouterr().out) is bool(code)


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["tumblin"])
    assert caught.value.code == 2
    assert "tumbling, hopping, filter, ndjson, latency, memory" in capsys.readouterr().err


def test_the_page_describes_every_benchmark_and_its_target() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/benchmarks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", page, re.MULTILINE))
    assert list(rows) == [benchmark.name for benchmark in command.BENCHMARKS]
    assert rows["tumbling"] == "; ".join(f"≥ {target:g}" for target in tumbling.TARGETS.values())
    assert rows["hopping"] == f"≥ {hopping.TARGET:g}"
    assert rows["filter"] == f"≥ {filtering.TARGET:g}"
    assert rows["ndjson"] == f"≥ {ndjson.TARGET:g}"
    assert rows["nexmark"] == f"≥ {nexmark.LEAST:g}; ≥ {nexmark.MEAN:g}"
    assert rows["latency"] == f"p99 ≤ {latency.TARGET_MS:g} ms"
    assert rows["memory"] == f"growth ≤ {memory.GROWTH:.0%}"


def test_checkpoints_of_which_little_has_changed_and_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    small, run = checkpoints.measure(50_000, 12, 5)
    assert isinstance(small, checkpoints.Incremental)
    assert len(small.new_bytes) == len(small.seconds) == 12
    # The second checkpoint writes the state in its sorted form; from then on only what has changed.
    assert sorted(small.new_bytes)[-2] < small.full_bytes * 0.25
    assert small.new_bytes.count(min(small.new_bytes)) >= 3
    assert isinstance(run, checkpoints.Overhead)
    assert list(run.seconds) == ["1h", "10s", "1s"]
    assert run.rows == 52_000
    assert [len(outcome.lines()) for outcome in (small, run)] == [4, 5]
    monkeypatch.setattr(checkpoints._Sums, "take", lambda self, change: None)
    with pytest.raises(WrongAnswerError):
        checkpoints.incremental(1_000, 2)
