"""The programs: each of the queries as a pipeline.

What the published texts leave open is settled here, and in ``answers.py`` in the same way: of bids for an auction at
the same price the earlier one wins; q6 is the table that the query of 2008 keeps, with one row per seller; q12 counts
by event time, because a result that depends on when it was computed cannot be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

import thalweg as tw
from benchmarks.nexmark.auction_house import SIDE_KEYS, Columns, Streams
from thalweg import Stream, col, count, lit, when
from thalweg.core.schema import TIMESTAMP
from thalweg.plan.expr import Expr

EURO_PER_DOLLAR: Final = 0.908
_BID: Final = ("auction", "bidder", "price", "date_time", "extra")
_CHANNEL_IDS: Final = {"apple": "0", "google": "1", "facebook": "2", "baidu": "3"}


@dataclass(frozen=True, slots=True)
class Query:
    """One of the queries.

    Attributes:
        name: ``q0`` to ``q22``.
        about: What it asks, in few words.
        build: Makes the pipeline.
        columns: What it reads of which tables.
    """

    name: str
    about: str
    build: Callable[[Streams], Stream]
    columns: Columns


def pass_through(house: Streams) -> Stream:
    """q0: every bid."""
    return house.bids


def currency(house: Streams) -> Stream:
    """q1: every bid, in euro."""
    return house.bids.with_columns(price=col("price") * EURO_PER_DOLLAR)


def selection(house: Streams) -> Stream:
    """q2: the bids for some auctions."""
    return house.bids.filter(col("auction") % 123 == 0).select("auction", "price")


def local_items(house: Streams) -> Stream:
    """q3: who sells things of a category in three states."""
    sellers = house.persons.filter(col("state").is_in(["OR", "ID", "CA"])).rename({"id": "seller"})
    offers = house.auctions.filter(col("category") == 10).select("seller", auction=col("id"))
    joined = offers.join(sellers.select("seller", "name", "city", "state"), on="seller")
    return joined.select("name", "city", "state", "auction")


def category_prices(house: Streams) -> Stream:
    """q4: the average of the winning bids' prices, per category."""
    final = _valid_bids(house, "category").group_by("auction", "category").agg(final=col("price").max())
    return final.group_by("category").agg(average=col("final").mean())


def hot_items(house: Streams) -> Stream:
    """q5: the auctions with the most bids of the last ten seconds, every two."""
    counts = house.bids.group_by("auction").window(tw.hopping("10s", every="2s")).agg(bids=count())
    # A window's rows have a time just before its end, and so have a tumbling window of their own.
    most = counts.group_by().window("2s").agg(most=col("bids").max()).select("window_end", "most")
    hot = counts.join(most, on="window_end").filter(col("bids") >= col("most"))
    return hot.select("auction", "bids", "window_start", "window_end")


def seller_prices(house: Streams) -> Stream:
    """q6: the average price of each seller's last ten auctions, in the order in which they end."""
    valid = _valid_bids(house, "seller", "expires")
    final = valid.group_by("auction", "seller", "expires").agg(final=col("price").max())
    latest = final.top_k(10, by=["expires", "auction"], per="seller")
    return latest.group_by("seller").agg(average=col("final").mean())


def highest_bids(house: Streams) -> Stream:
    """q7: the bids of the highest price of each ten seconds."""
    highest = house.bids.group_by().window("10s").agg(price=col("price").max()).select("price", "window_end")
    # The highest price has the last microsecond of its window as its time; its bids lie in the ten seconds before.
    return house.bids.join(highest, on="price", within=("0s", "9999999us")).select(*_BID, "window_end")


def new_users(house: Streams) -> Stream:
    """q8: who registered and opened an auction within the same ten seconds."""
    users = house.persons.group_by("id", "name").window("10s").agg(registered=count())
    sellers = house.auctions.group_by(id=col("seller")).window("10s").agg(opened=count())
    both = users.join(sellers.drop("window_start"), on=["id", "window_end"])
    return both.select("id", "name", "window_start")


def winning_bids(house: Streams) -> Stream:
    """q9: every auction beside its highest bid."""
    auctions = house.auctions.rename({"id": "auction"})
    bids = house.bids.rename({"date_time": "bid_date_time", "extra": "bid_extra"})
    valid = auctions.join(bids, on="auction").filter(col("bid_date_time").is_between("date_time", "expires"))
    return valid.top_k(1, by=["price", "bid_date_time"], reverse=[False, True], per="auction").drop("rank")


def log_to_files(house: Streams) -> Stream:
    """q10: every bid with its day and minute, for files."""
    day, minute = col("date_time").dt.strftime("%Y-%m-%d"), col("date_time").dt.strftime("%H:%M")
    return house.bids.with_columns(day=day, minute=minute)


def sessions(house: Streams) -> Stream:
    """q11: how many bids each person makes without a pause of ten seconds."""
    return house.bids.group_by("bidder").window(tw.session("10s")).agg(bids=count())


def bids_per_window(house: Streams) -> Stream:
    """q12: how many bids each person makes, every ten seconds."""
    return house.bids.group_by("bidder").window("10s").agg(bids=count())


def side_input(house: Streams) -> Stream:
    """q13: every bid beside a row of a reference."""
    found = house.bids.with_columns(key=col("auction") % SIDE_KEYS).lookup(house.side, on="key", refresh=None)
    return found.filter(col("value").is_not_null()).drop("key")


def calculation(house: Streams) -> Stream:
    """q14: bids of a range of prices, in euro, with the time of the day and what a user's function counts."""
    hour = col("date_time").dt.hour()
    kind = when(hour.is_between(8, 18)).then(lit("dayTime")).when((hour <= 6) | (hour >= 20)).then(lit("nightTime"))
    euro = col("price") * EURO_PER_DOLLAR
    bids = house.bids.with_columns(price=euro).filter((col("price") > 1_000_000) & (col("price") < 50_000_000))
    return bids.with_columns(bid_time_type=kind.otherwise(lit("otherTime"))).map_batches(_count_c, schema=_CALCULATED)


def bidding_statistics(house: Streams) -> Stream:
    """q15: per day, how many bids, bidders and auctions there are, of every price and in three ranges."""
    return house.bids.group_by(day=_day()).agg(**_statistics())


def channel_statistics(house: Streams) -> Stream:
    """q16: the same per channel and day, with the last minute."""
    minute = col("date_time").dt.strftime("%H:%M")
    return house.bids.group_by("channel", day=_day()).agg(minute=minute.max(), **_statistics())


def auction_statistics(house: Streams) -> Stream:
    """q17: the number of bids and their prices, per auction and day."""
    ranks = {name: _number(condition) for name, condition in _ranks().items()}
    counts = {f"{name}_bids": number.count() for name, number in ranks.items()}
    price = col("price")
    prices = {"least": price.min(), "greatest": price.max(), "average": price.mean(), "total": price.sum()}
    return house.bids.group_by("auction", day=_day()).agg(total_bids=count(), **counts, **prices)


def last_bids(house: Streams) -> Stream:
    """q18: each person's last bid for each auction."""
    return house.bids.top_k(1, by="date_time", per=["bidder", "auction"]).drop("rank")


def top_bids(house: Streams) -> Stream:
    """q19: the ten highest bids of each auction."""
    return house.bids.top_k(10, by=["price", "date_time"], reverse=[False, True], per="auction")


def expanded_bids(house: Streams) -> Stream:
    """q20: every bid beside its auction, for auctions of a category."""
    auctions = house.auctions.filter(col("category") == 10)
    names = {"id": "auction", "date_time": "auction_date_time", "extra": "auction_extra"}
    return house.bids.join(auctions.rename(names), on="auction")


def channel_ids(house: Streams) -> Stream:
    """q21: bids with a number for their channel, known or found in the address."""
    channel = col("channel").str.to_lowercase()
    first, *rest = _CHANNEL_IDS.items()
    known = when(channel == first[0]).then(lit(first[1]))
    for name, number in rest:
        known = known.when(channel == name).then(lit(number))
    found = col("url").str.extract("(&|^)channel_id=([^&]*)", 2)
    bids = house.bids.with_columns(channel_id=known.otherwise(found)).filter(col("channel_id").is_not_null())
    return bids.drop("url", "date_time")


def directories(house: Streams) -> Stream:
    """q22: bids with the directories of their address."""
    parts = col("url").str.split("/")
    made = {f"dir{number}": parts.list.get(number + 2) for number in (1, 2, 3)}
    return house.bids.with_columns(**made).drop("url", "date_time")


_CALCULATED: Final = pa.schema(
    [
        ("auction", pa.int64()),
        ("bidder", pa.int64()),
        ("price", pa.float64()),
        ("date_time", TIMESTAMP),
        ("extra", pa.string()),
        ("bid_time_type", pa.string()),
        ("c_counts", pa.int64()),
    ]
)


def _count_c(rows: pa.Table) -> pa.Table:
    return rows.append_column("c_counts", pc.cast(pc.count_substring(rows["extra"], "c"), pa.int64()))


def _valid_bids(house: Streams, *columns: str) -> Stream:
    """Return bids made while their auction was open, with some columns of the auction."""
    wanted = dict.fromkeys((*columns, "expires"))
    auctions = house.auctions.select(*wanted, auction=col("id"), opened=col("date_time"))
    bids = house.bids.select("auction", "price", made=col("date_time"))
    return auctions.join(bids, on="auction").filter(col("made").is_between("opened", "expires"))


def _day() -> Expr:
    return col("date_time").dt.strftime("%Y-%m-%d")


def _ranks() -> Mapping[str, Expr]:
    price = col("price")
    return {"rank1": price < 10_000, "rank2": (price >= 10_000) & (price < 1_000_000), "rank3": price >= 1_000_000}


def _number(condition: Expr, value: object = 1) -> Expr:
    """Return a value where a condition holds, else null, which aggregates skip."""
    return when(condition).then(value).otherwise(lit(None))


def _statistics() -> Mapping[str, Expr]:
    ranks = _ranks()
    made: dict[str, Expr] = {"total_bids": count()}
    made |= {f"{name}_bids": _number(condition).count() for name, condition in ranks.items()}
    for column in ("bidder", "auction"):
        made[f"total_{column}s"] = col(column).n_unique()
        made |= {f"{name}_{column}s": _number(condition, col(column)).n_unique() for name, condition in ranks.items()}
    return made


_AUCTION: Final = (
    "id",
    "item_name",
    "description",
    "initial_bid",
    "reserve",
    "date_time",
    "expires",
    "seller",
    "category",
    "extra",
)
_PRICED: Final[Columns] = {"bids": ("auction", "price", "date_time")}
_BIDDER: Final[Columns] = {"bids": ("bidder", "date_time")}
_COUNTED: Final = ("auction", "bidder", "price", "date_time")
_LOCATED: Final = ("auction", "bidder", "price", "channel", "url", "date_time")

QUERIES: Final[tuple[Query, ...]] = (
    Query("q0", "every bid", pass_through, {"bids": _BID}),
    Query("q1", "currency", currency, {"bids": _BID}),
    Query("q2", "some auctions", selection, _PRICED),
    Query(
        "q3",
        "local items",
        local_items,
        {
            "persons": ("id", "name", "city", "state", "date_time"),
            "auctions": ("id", "date_time", "seller", "category"),
        },
    ),
    Query(
        "q4",
        "average price per category",
        category_prices,
        {"auctions": ("id", "date_time", "expires", "category"), **_PRICED},
    ),
    Query("q5", "hot items", hot_items, {"bids": ("auction", "date_time")}),
    Query(
        "q6",
        "average price per seller",
        seller_prices,
        {"auctions": ("id", "date_time", "expires", "seller"), **_PRICED},
    ),
    Query("q7", "highest bids", highest_bids, {"bids": _BID}),
    Query("q8", "new users", new_users, {"persons": ("id", "name", "date_time"), "auctions": ("date_time", "seller")}),
    Query("q9", "winning bids", winning_bids, {"auctions": _AUCTION, "bids": _BID}),
    Query("q10", "log to files", log_to_files, {"bids": _BID}),
    Query("q11", "sessions", sessions, _BIDDER),
    Query("q12", "bids per window", bids_per_window, _BIDDER),
    Query("q13", "side input", side_input, {"bids": _BID[:4]}),
    Query("q14", "calculation", calculation, {"bids": _BID}),
    Query("q15", "bidding statistics", bidding_statistics, {"bids": _COUNTED}),
    Query("q16", "channel statistics", channel_statistics, {"bids": (*_COUNTED, "channel")}),
    Query("q17", "auction statistics", auction_statistics, _PRICED),
    Query("q18", "last bids", last_bids, {"bids": _BID}),
    Query("q19", "top bids", top_bids, {"bids": _BID}),
    Query("q20", "bids with auctions", expanded_bids, {"auctions": _AUCTION, "bids": (*_LOCATED, "extra")}),
    Query("q21", "channel ids", channel_ids, {"bids": _LOCATED}),
    Query("q22", "directories", directories, {"bids": _LOCATED}),
)
