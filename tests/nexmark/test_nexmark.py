"""Each query of Nexmark, streamed however it is cut, dealt and interrupted, gives what SQL over whole tables gives."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from benchmarks.contest import check_same
from benchmarks.nexmark import queries as programs
from benchmarks.nexmark.answers import ANSWERS
from benchmarks.nexmark.auction_house import Streams, TableName, streams
from benchmarks.nexmark.queries import QUERIES, Query
from benchmarks.outcome import WrongAnswerError
from tests.nexmark.houses import BY_NAME, Growing, answer_of, asked, dealt, house_of
from tests.property.shares import share
from thalweg import Stream, col
from thalweg.connect import files, memory, view
from thalweg.core.ports import Source
from thalweg.engine.contract import Pick, Report, RunOptions

NAMES = [query.name for query in QUERIES]
# What closes with a window is not there before; all others show at any time what is right for the rows so far.
CLOSING = ("q5", "q7", "q8", "q11", "q12")
SEEDS = st.integers(0, 2**32 - 1)
MOST = st.sampled_from([700, 2_000, 9_000])


def app_of(query: Query, sources: Mapping[TableName, Source], lateness: str) -> tw.App:
    app = tw.App("nexmark")
    query.build(streams(app, sources, lateness, query.columns)).write(view("answer"))
    return app


def picker(rng: random.Random, most: int) -> Pick:
    """Some of the partitions in each step, and of each some rows."""

    def pick(partitions: Sequence[str]) -> Sequence[tuple[str, int]]:
        some = rng.sample(partitions, rng.randint(1, len(partitions))) if partitions else []
        return [(name, rng.randint(1, most)) for name in some]

    return pick


def shown(report: Report) -> pl.DataFrame:
    frame = pl.from_arrow(report.view("answer"))
    assert isinstance(frame, pl.DataFrame)
    return frame


def check_counts(report: Report) -> None:
    """Every row is in one place of the ledger, and none was late or rejected."""
    for line in report.ledger.to_pylist():
        counted = line["passed"] + line["filtered"] + line["late"] + line["rejected"] + line["absorbed"]
        assert line["in"] == counted, line
        assert line["absorbed"] == line["released"] + line["held"], line
    assert (report.late_rows, report.error_rows) == (0, 0)


def test_every_query_has_an_answer_that_is_not_empty() -> None:
    assert [f"q{number}" for number in range(23)] == NAMES
    assert list(ANSWERS) == NAMES
    for name in NAMES:
        assert answer_of(name).height, name


def test_the_answers_are_about_what_is_hard() -> None:
    assert answer_of("q5").group_by("window_end").len()["len"].max() > 1, "several items are the hottest"
    assert answer_of("q7").group_by("window_end").len()["len"].max() > 1, "several bids are the highest"
    assert answer_of("q11").group_by("bidder").len()["len"].max() > 1, "a person has several sessions"
    assert answer_of("q14")["bid_time_type"].n_unique() == 3
    assert answer_of("q15")["day"].n_unique() == 4
    top = answer_of("q19")
    assert top.group_by("auction", "price").len()["len"].max() > 1, "several top bids have one price"
    assert answer_of("q21")["channel_id"].n_unique() > 4, "channels are known, and found in the address"


@pytest.mark.parametrize("name", NAMES)
def test_any_cuts_and_partitions_give_the_answer(name: str) -> None:
    house = house_of(name)

    @share(0.01)
    @given(SEEDS, MOST)
    def holds(seed: int, most: int) -> None:
        rng = random.Random(seed)
        sources = {table: memory([[part] for part in parts]) for table, parts in dealt(house, seed).items()}
        app = app_of(BY_NAME[name], sources, house.lateness)
        report = app.start(RunOptions(until="end", pick=picker(rng, most)))
        check_same(shown(report), answer_of(name), name)
        check_counts(report)

    holds()


@pytest.mark.parametrize("name", NAMES)
def test_runs_that_catch_up_show_the_answer_so_far(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    house = house_of(name)

    @share(0.005)
    @given(SEEDS, MOST)
    def holds(seed: int, most: int) -> None:
        rng = random.Random(seed)
        growing = Growing.of(dealt(house, seed))
        options = RunOptions(data=tmp_path_factory.mktemp(name), pick=picker(rng, most))

        def run(until: Any) -> Report:
            app = app_of(BY_NAME[name], growing.sources, house.lateness)
            report = app.start(replace(options, until=until))
            check_counts(report)
            return report

        for part in sorted(rng.uniform(0.1, 0.9) for _ in range(2)):
            there = growing.show(part, rng)
            report = run("caught-up")
            if name not in CLOSING:
                check_same(shown(report), asked(name, there), f"{name} so far")
        growing.show(2.0, rng)
        check_same(shown(run("end")), answer_of(name), name)

    holds()


def test_bids_in_files_are_those_of_each_day(tmp_path: Path) -> None:
    house = house_of("q10")
    rng = random.Random(5)
    growing = Growing.of(dealt(house, 5))
    for part in (0.3, 0.7, 2.0):
        growing.show(part, rng)
        app = tw.App("nexmark")
        made = programs.log_to_files(streams(app, growing.sources, house.lateness, BY_NAME["q10"].columns))
        made.write(files(tmp_path / "bids", format="parquet"))
        until: Any = "end" if part > 1 else "caught-up"
        app.run(data=tmp_path / "state", until=until, max_step_rows=3_000, quiet=True)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for (day,), expected in answer_of("q10").group_by("day"):
            text = f"SELECT * FROM read_parquet('{tmp_path}/bids/*.parquet') WHERE day = '{day}'"
            written = pl.from_arrow(connection.sql(text).to_arrow_table())
            assert isinstance(written, pl.DataFrame)
            check_same(written, expected, f"q10, {day}")


def _only_nine(house: Streams) -> Stream:
    return house.bids.top_k(9, by=["price", "date_time"], reverse=[False, True], per="auction")


def _later_of_equal_bids(house: Streams) -> Stream:
    return house.bids.top_k(10, by=["price", "date_time"], per="auction")


def _first_bids(house: Streams) -> Stream:
    return house.bids.top_k(1, by="date_time", reverse=True, per=["bidder", "auction"]).drop("rank")


def _all_bids_count(house: Streams) -> Stream:
    bids = house.bids.select("auction", "price")
    final = house.auctions.select("category", auction=col("id")).join(bids, on="auction")
    highest = final.group_by("auction", "category").agg(final=col("price").max())
    return highest.group_by("category").agg(average=col("final").mean())


def _longer_sessions(house: Streams) -> Stream:
    return house.bids.group_by("bidder").window(tw.session("10001ms")).agg(bids=tw.count())


def _bids_of_the_window_before(house: Streams) -> Stream:
    highest = house.bids.group_by().window("10s").agg(price=col("price").max()).select("price", "window_end")
    joined = house.bids.join(highest, on="price", within=("0s", "12s"))
    return joined.select("auction", "bidder", "price", "date_time", "extra", "window_end")


WRONG: Mapping[str, tuple[str, Callable[[Streams], Stream]]] = {
    "nine instead of ten": ("q19", _only_nine),
    "the later of equal bids": ("q19", _later_of_equal_bids),
    "first instead of last bids": ("q18", _first_bids),
    "bids for closed auctions": ("q4", _all_bids_count),
    "sessions a millisecond longer": ("q11", _longer_sessions),
    "bids of the window before": ("q7", _bids_of_the_window_before),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_program_that_is_wrong_is_found(what: str) -> None:
    name, build = WRONG[what]
    house = house_of(name)
    sources = {table: memory([[part] for part in parts]) for table, parts in dealt(house, 1).items()}
    report = app_of(replace(BY_NAME[name], build=build), sources, house.lateness).batch()
    with pytest.raises(WrongAnswerError, match=f"{name} gave"):
        check_same(shown(report), answer_of(name), name)


@pytest.mark.parametrize("name", CLOSING)
def test_the_rows_are_in_disorder_so_that_without_lateness_the_answer_is_wrong(name: str) -> None:
    house = house_of(name)
    sources = {table: memory(part) for table, part in house.tables.items()}
    report = app_of(BY_NAME[name], sources, "0s").batch(max_step_rows=1_000)
    assert report.late_rows > 0
    with pytest.raises(WrongAnswerError):
        check_same(shown(report), answer_of(name), name)
