"""Mistakes in expressions, columns and aggregates."""

from __future__ import annotations

import thalweg as tw
from tests.golden.mistakes import mistake
from thalweg import Stream, col, count, lit, when

# ---------------------------------------------------------------------- columns and types


@mistake
def unknown_column_with_a_near_name(app: tw.App, clicks: Stream) -> None:
    (
        clicks.filter(col("prise") > 1).select("user")  # wrong
    )


@mistake
def unknown_column_without_a_near_name(app: tw.App, clicks: Stream) -> None:
    clicks.select("user", total=col("zzz") + 1)  # wrong


@mistake
def unknown_column_to_drop(app: tw.App, clicks: Stream) -> None:
    clicks.drop("pages")  # wrong


@mistake
def unknown_column_to_rename(app: tw.App, clicks: Stream) -> None:
    clicks.rename({"User": "who"})  # wrong


@mistake
def unknown_column_as_a_key(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("pge").agg(n=count())  # wrong


@mistake
def unknown_column_in_an_aggregate(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(revenue=col("pric").sum())  # wrong


@mistake
def constant_text_where_a_text_names_a_column(app: tw.App, clicks: Stream) -> None:
    clicks.select(size=when(col("n") > 9).then("large").otherwise("small"))  # wrong


@mistake
def wrong_type_in_arithmetic(app: tw.App, clicks: Stream) -> None:
    clicks.select(x=col("user") - col("n"))  # wrong


@mistake
def text_function_of_a_number(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("n").str.starts_with("/product"))  # wrong


@mistake
def comparison_of_text_and_number(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("user") > 3)  # wrong


@mistake
def sum_of_text(app: tw.App, clicks: Stream) -> None:
    clicks.agg(x=col("user").sum())  # wrong


@mistake
def condition_that_is_a_number(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price"))  # wrong


@mistake
def filter_without_a_condition(app: tw.App, clicks: Stream) -> None:
    clicks.filter()  # wrong


@mistake
def python_and_between_conditions(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price") > 1 and col("n") > 2)  # wrong


@mistake
def python_not_of_a_condition(app: tw.App, clicks: Stream) -> None:
    clicks.filter(not col("user").is_null())  # wrong


@mistake
def python_chain_of_comparisons(app: tw.App, clicks: Stream) -> None:
    clicks.filter(1 < col("n") < 9)  # wrong


@mistake
def python_in_of_an_expression(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("user") in ["ann", "bob"])  # wrong


@mistake
def null_without_a_type(app: tw.App, clicks: Stream) -> None:
    clicks.with_columns(discount=None)  # wrong


@mistake
def comparison_with_none(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price") == None)  # wrong  # noqa: E711  # the mistake itself


@mistake
def explode_of_something_else(app: tw.App, clicks: Stream) -> None:
    clicks.explode("user")  # wrong


@mistake
def unnest_of_something_else(app: tw.App, clicks: Stream) -> None:
    clicks.unnest("tags")  # wrong


@mistake
def constant_without_a_name(app: tw.App, clicks: Stream) -> None:
    clicks.select("user", lit(3))  # wrong


@mistake
def value_that_no_column_can_have(app: tw.App, clicks: Stream) -> None:
    clicks.with_columns(x={"a": 1})  # wrong


@mistake
def all_columns_dropped(app: tw.App, clicks: Stream) -> None:
    clicks.select("user").drop("user")  # wrong


@mistake
def two_columns_of_one_name(app: tw.App, clicks: Stream) -> None:
    clicks.select("user", col("page").alias("user"))  # wrong


@mistake
def rename_to_a_name_that_is_there(app: tw.App, clicks: Stream) -> None:
    clicks.rename({"user": "page"})  # wrong


@mistake
def reserved_name(app: tw.App, clicks: Stream) -> None:
    clicks.with_columns(__time=col("ts"))  # wrong


@mistake
def reserved_name_of_the_weight(app: tw.App, clicks: Stream) -> None:
    clicks.select(_weight=col("n"))  # wrong


@mistake
def quantile_out_of_range(app: tw.App, clicks: Stream) -> None:
    clicks.agg(p99=col("price").quantile(99))  # wrong


# ---------------------------------------------------------------------- aggregates


@mistake
def aggregate_in_a_filter(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price") > col("price").mean())  # wrong


@mistake
def aggregate_in_a_select(app: tw.App, clicks: Stream) -> None:
    clicks.select(total=col("price").sum())  # wrong


@mistake
def value_per_row_in_agg(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(price=col("price"))  # wrong


@mistake
def rows_and_groups_mixed(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(share=col("price") / col("price").sum())  # wrong


@mistake
def aggregate_of_an_aggregate(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(x=col("price").sum().max())  # wrong


@mistake
def nothing_to_aggregate(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg()  # wrong


@mistake
def result_named_as_a_key(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(page=count())  # wrong


@mistake
def key_named_as_the_window(app: tw.App, clicks: Stream) -> None:
    clicks.group_by(window_start="ts").window("1m").agg(n=count())  # wrong


@mistake
def aggregate_without_a_result_type(app: tw.App, clicks: Stream) -> None:
    tw.aggregate(init=lambda: 0, step=max, merge=max)  # wrong
