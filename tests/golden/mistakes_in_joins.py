"""Mistakes in joins and in steps that depend on the order of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import thalweg as tw
from tests.golden.mistakes import mistake
from thalweg import Stream, count
from thalweg.connect import memory


@mistake
def join_on_an_unknown_column(app: tw.App, clicks: Stream) -> None:
    clicks.join(clicks, on="pgae")  # wrong


@mistake
def join_with_a_column_that_the_other_side_lacks(app: tw.App, clicks: Stream) -> None:
    other = app.read(memory([{"usr": "ann"}]))
    clicks.join(other, on="user")  # wrong


@mistake
def join_on_columns_of_two_types(app: tw.App, clicks: Stream) -> None:
    other = app.read(memory([{"user": 7}]))
    clicks.join(other, on="user")  # wrong


@mistake
def join_of_an_unknown_kind(app: tw.App, clicks: Stream) -> None:
    clicks.join(clicks, on="user", how="outer")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def join_with_something_else(app: tw.App, clicks: Stream) -> None:
    clicks.join("users", on="user")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def join_in_time_of_a_changing_table(app: tw.App, clicks: Stream) -> None:
    counts = clicks.group_by("user").agg(n=count())
    clicks.join(counts, on="user", within="1m")  # wrong


@mistake
def join_in_time_without_time(app: tw.App, clicks: Stream) -> None:
    other = app.read(memory([{"user": "ann"}]))
    clicks.join(other, on="user", within="1m")  # wrong


@mistake
def join_within_bounds_that_are_crossed(app: tw.App, clicks: Stream) -> None:
    clicks.join(clicks, on="user", within=("5m", "1m"))  # wrong


@mistake
def asof_join_with_a_changing_table(app: tw.App, clicks: Stream) -> None:
    counts = clicks.group_by("user").agg(n=count())
    clicks.join_asof(counts, by="user")  # wrong


@mistake
def lookup_in_a_stream(app: tw.App, clicks: Stream) -> None:
    clicks.lookup(clicks, on="user")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def dedupe_of_a_changing_stream(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("user").agg(n=count()).dedupe("user")  # wrong


@mistake
def dedupe_in_time_without_time(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"user": "ann"}])).dedupe("user", within="1m")  # wrong


@mistake
def first_none_of_an_order(app: tw.App, clicks: Stream) -> None:
    clicks.top_k(0, by="price")  # wrong


@mistake
def order_with_too_few_directions(app: tw.App, clicks: Stream) -> None:
    clicks.top_k(3, by=["price", "page"], reverse=[True])  # wrong


@mistake
def rank_that_is_there_already(app: tw.App, clicks: Stream) -> None:
    clicks.rename({"price": "rank"}).top_k(3, by="rank")  # wrong


@dataclass
class Needy:
    """A state that cannot begin."""

    since: int


def none(row: dict[str, Any], state: Needy) -> list[dict[str, Any]]:
    """Give nothing."""
    return []


@mistake
def state_that_cannot_begin(app: tw.App, clicks: Stream) -> None:
    clicks.process(none, key="user", state=Needy, schema=Needy)  # wrong


@mistake
def process_in_an_unknown_order(app: tw.App, clicks: Stream) -> None:
    clicks.process(none, key="user", state=Needy, schema=Needy, order="random")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def session_that_changes(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("user").window(tw.session("1m"), emit="on_change")  # wrong


@mistake
def window_of_a_changing_stream_without_time(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("user", "ts").agg(n=count()).group_by("user").window("1m", emit="on_change")  # wrong


@mistake
def count_window_of_nothing(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("user").window(tw.count_window(0))  # wrong
