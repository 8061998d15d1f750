"""Operators one after the other agree with their oracles one after the other, in every run and after every step."""

from __future__ import annotations

import datetime as dt
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.property.composed_runs import (
    assert_advances,
    assert_agrees,
    in_steps,
    insides,
    watched,
    with_restarts,
)
from tests.property.compositions import Composition
from tests.property.drawn_compositions import compositions
from tests.property.shares import share
from thalweg import col, count
from thalweg.connect import topic, view
from thalweg.testing import check, rows

SEEDS = st.integers(0, 2**32 - 1)
MOST = st.sampled_from([1, 2, 3, 5, 30])
"""The most rows that a step takes of a partition."""


@share(1.7)
@given(compositions(), SEEDS, MOST, st.booleans())
def test_a_batch_and_steps_of_any_size(case: Composition, seed: int, most: int, few_are_many: bool) -> None:
    expected = case.meaning()
    with insides(few_are_many=few_are_many):
        assert_agrees(case, case.app(case.sources()).batch(), expected, "as a batch")
        steps = in_steps(case, random.Random(seed), most)
        assert_agrees(case, steps, expected, f"in steps of up to {most} rows, seed {seed}")


def test_runs_that_go_on_from_their_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    @share(0.15)
    @given(compositions(), SEEDS, MOST, st.integers(1, 3), st.booleans())
    def holds(case: Composition, seed: int, most: int, stops: int, few_are_many: bool) -> None:
        expected = case.meaning()
        with insides(few_are_many=few_are_many):
            runs = with_restarts(case, tmp_path_factory.mktemp("state"), random.Random(seed), most, stops)
        assert_agrees(case, runs.report, expected, f"{stops} restarts, seed {seed}", runs)

    holds()


@share(1.1)
@given(compositions(prefixes=True, most=16), SEEDS, st.sampled_from([1, 1, 2, 4]), st.booleans())
def test_every_step_shows_the_answers_over_one_prefix(
    case: Composition, seed: int, most: int, few_are_many: bool
) -> None:
    with insides(few_are_many=few_are_many):
        assert_advances(case, watched(case, random.Random(seed), most).tables)


@share(0.05)
@given(compositions(), SEEDS)
def test_the_test_kit_finds_no_difference(case: Composition, seed: int) -> None:
    if case.meaning().errors is not None:  # how often a row of a changing table is rejected depends on the steps
        check(case.app(case.sources()), seed=seed, cases=2)


class Order:
    """An order of a shop."""

    id: int
    item: str
    ts: dt.datetime


class Payment:
    """What was paid for one."""

    id: int
    amount: int
    ts: dt.datetime


def test_the_test_kit_on_operators_that_remember() -> None:
    app = tw.App("shop")
    orders = app.read(topic("orders"), schema=Order, time="ts", lateness="5s")
    payments = app.read(topic("payments"), schema=Payment, time="ts", lateness="5s")
    paid = orders.join(payments, on="id", how="left", within="1m")
    paid.group_by("item").window(tw.session("1m")).agg(n=count(), paid=col("amount").sum()).write(view("sessions"))
    totals = orders.join(payments, on="id").group_by("item").agg(total=col("amount").sum())
    totals.top_k(1, "total").select("item", "total", "rank").write(view("best"))
    orders.dedupe("item", within="1m").join_asof(payments, by="id").write(view("first"))
    check(
        app,
        orders=rows(
            Order,
            [(1, "tea", "10:00:00"), (2, "cup", "10:00:20"), (3, "tea", "10:00:50")],
            [(5, "cup", "10:00:01"), (4, "tea", "10:02:00")],
        ),
        payments=rows(Payment, [(1, 5, "10:00:30"), (3, 7, "10:03:00")], [(5, 9, "10:00:01"), (2, 4, "10:00:25")]),
        expect={
            "sessions": [
                {"item": "tea", "window_start": "10:00:30", "n": 2, "paid": 5},
                {"item": "tea", "window_start": "10:02:00", "n": 1, "paid": 0},
                {"item": "cup", "window_start": "10:00:01", "n": 2, "paid": 13},
            ],
            "best": [("cup", 13, 1)],
            "first": [
                {"id": 1, "item": "tea", "amount": None},
                {"id": 4, "item": "tea", "amount": None},
                {"id": 5, "item": "cup", "amount": 9},
            ],
        },
        seed=1,
    )
