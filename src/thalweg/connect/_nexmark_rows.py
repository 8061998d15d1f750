"""The rows of Nexmark: a person, an auction or a bid as a function of the seed and the event's number.

Every 50 events are one person, three auctions and 46 bids, in this order. ``docs/reference/data.md`` states every
distribution, its source, and where this differs from the generators of Apache Beam and Apache Flink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.connect._nexmark_draw import below, bits, key_of, mixed, texts, whole, words
from thalweg.core.schema import TIMESTAMP

Table: TypeAlias = Literal["persons", "auctions", "bids"]

CYCLE = 50
SHARES: Mapping[Table | None, tuple[int, int]] = {  # the first of a cycle's events that are of the table, and how many
    "persons": (0, 1),
    "auctions": (1, 3),
    "bids": (4, 46),
    None: (0, CYCLE),
}
BASE_US = 1_436_918_400_000_000  # 2015-07-15T00:00:00Z
FIRST_ID = 1_000
_FIRST_CATEGORY, _CATEGORIES = 10, 5
_ACTIVE_PEOPLE = 1_000
_OPEN_AUCTIONS = 100
_HOT = 100  # the first of every hundred is a hot one
_CHANNELS = 10_000
_HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
_CITIES = (
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
)
_STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
_GIVEN_NAMES = ("Ada", "Blaise", "Carl", "Dorothy", "Emmy", "Felix", "Grace", "Henri", "Ida", "Joan", "Kurt")
_FAMILY_NAMES = ("Archer", "Brook", "Carter", "Dale", "Ford", "Hill", "Marsh", "Rivers", "Wells")


def _schema(**types: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, type, nullable=False) for name, type in types.items()])


PERSON = _schema(
    id=pa.int64(),
    name=pa.string(),
    email_address=pa.string(),
    credit_card=pa.string(),
    city=pa.string(),
    state=pa.string(),
    date_time=TIMESTAMP,
    extra=pa.string(),
)
AUCTION = _schema(
    id=pa.int64(),
    item_name=pa.string(),
    description=pa.string(),
    initial_bid=pa.int64(),
    reserve=pa.int64(),
    date_time=TIMESTAMP,
    expires=TIMESTAMP,
    seller=pa.int64(),
    category=pa.int64(),
    extra=pa.string(),
)
BID = _schema(
    auction=pa.int64(),
    bidder=pa.int64(),
    price=pa.int64(),
    channel=pa.string(),
    url=pa.string(),
    date_time=TIMESTAMP,
    extra=pa.string(),
)
EVENT = pa.schema(
    [
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("date_time", TIMESTAMP, nullable=False),
        pa.field("person", pa.struct(list(PERSON))),
        pa.field("auction", pa.struct(list(AUCTION))),
        pa.field("bid", pa.struct(list(BID))),
    ]
)
SCHEMAS: Mapping[Table | None, pa.Schema] = {"persons": PERSON, "auctions": AUCTION, "bids": BID, None: EVENT}

_Makers: TypeAlias = dict[str, Callable[[], pa.Array]]


class World:
    """Makes the columns of any run of events."""

    def __init__(self, seed: int, rate: int) -> None:
        self._seed = seed
        self._rate = rate
        self._keys = {purpose: key_of(seed, purpose) for purpose in ("person", "email", "auction", "item", "bid", "ad")}

    def columns(self, table: Table | None, numbers: pa.Array, names: Sequence[str]) -> list[pa.Array]:
        """Return the named columns of the events with these numbers, all of which are of the table."""
        make = {"persons": self._persons, "auctions": self._auctions, "bids": self._bids, None: self._events}[table]
        makers = make(numbers)
        return [makers[name]() for name in names]

    def _time_us(self, numbers: pa.Array) -> pa.Array:
        since = pc.divide(pc.multiply(numbers, whole(1_000_000)), whole(self._rate))
        return pc.cast(pc.add(since, whole(BASE_US)), pa.int64())

    def _time(self, numbers: pa.Array) -> pa.Array:
        return pc.cast(self._time_us(numbers), TIMESTAMP)

    def _persons(self, numbers: pa.Array) -> _Makers:
        pools = _person_pools(self._seed)
        word = words(self._keys["person"], numbers)
        second = words(self._keys["email"], numbers)

        def credit_card() -> pa.Array:
            groups = [pools.digits.take(below(second, 16 * group, 16, 10_000)) for group in range(4)]
            return pc.binary_join_element_wise(*groups, " ")

        def email() -> pa.Array:
            user, host = pools.users.take(bits(word, 0, 12)), pools.hosts.take(bits(word, 12, 12))
            return pc.binary_join_element_wise(user, host, "@")

        return {
            "id": lambda: _identity(pc.divide(numbers, whole(CYCLE))),
            "name": lambda: pools.names.take(below(word, 24, 12, len(pools.names))),
            "email_address": email,
            "credit_card": credit_card,
            "city": lambda: pools.cities.take(below(word, 36, 10, len(_CITIES))),
            "state": lambda: pools.states.take(below(word, 46, 8, len(_STATES))),
            "date_time": lambda: self._time(numbers),
            "extra": lambda: pools.extra.take(bits(word, 54, 10)),
        }

    def _auctions(self, numbers: pa.Array) -> _Makers:
        pools = _auction_pools(self._seed)
        word = words(self._keys["auction"], numbers)
        second = words(self._keys["item"], numbers)
        cycle = pc.divide(numbers, whole(CYCLE))
        place = pc.subtract(numbers, pc.multiply(cycle, whole(CYCLE)))  # 1, 2 or 3
        initial = _prices().take(bits(second, 0, 16))

        def expires() -> pa.Array:
            # Half of the auctions close before a hundred more have opened, so about a hundred are open.
            horizon_us = _OPEN_AUCTIONS * CYCLE // 3 * 1_000_000 // self._rate
            length = below(word, 0, 20, max(2 * horizon_us, 1))
            return pc.cast(pc.add(self._time_us(numbers), pc.add(pc.cast(length, pa.int64()), 1_000)), TIMESTAMP)

        def seller() -> pa.Array:
            hot = pc.multiply(pc.divide(cycle, whole(_HOT)), whole(_HOT))
            return _identity(pc.if_else(_three_in_four(word, 62), hot, _active_person(cycle, word)))

        return {
            "id": lambda: _identity(pc.subtract(pc.add(pc.multiply(cycle, whole(3)), place), whole(1))),
            "item_name": lambda: pools.items.take(bits(second, 32, 12)),
            "description": lambda: pools.descriptions.take(bits(second, 44, 10)),
            "initial_bid": lambda: initial,
            "reserve": lambda: pc.add(initial, _prices().take(bits(second, 16, 16))),
            "date_time": lambda: self._time(numbers),
            "expires": expires,
            "seller": seller,
            "category": lambda: pc.add(pc.cast(below(word, 20, 10, _CATEGORIES), pa.int64()), _FIRST_CATEGORY),
            "extra": lambda: pools.extra.take(bits(second, 54, 10)),
        }

    def _bids(self, numbers: pa.Array) -> _Makers:
        pools = _bid_pools(self._seed)
        cycle = pc.divide(numbers, whole(CYCLE))
        word = words(self._keys["bid"], numbers)

        @cache
        def second() -> pa.Array:
            return words(self._keys["ad"], numbers)

        @cache
        def channel() -> pa.Array:
            cold = pc.add(below(second(), 19, 20, _CHANNELS), whole(len(_HOT_CHANNELS)))
            return pc.if_else(pc.equal(bits(second(), 16, 1), whole(1)), bits(second(), 17, 2), cold)

        def auction() -> pa.Array:
            last = pc.add(pc.multiply(cycle, whole(3)), whole(2))
            hot = pc.multiply(pc.divide(last, whole(_HOT)), whole(_HOT))
            count = pc.min_element_wise(pc.add(last, whole(1)), whole(_OPEN_AUCTIONS + 1))
            cold = pc.add(pc.subtract(pc.add(last, whole(1)), count), below(word, 0, 32, count))
            return _identity(pc.if_else(pc.equal(bits(word, 61, 1), whole(1)), hot, cold))

        def bidder() -> pa.Array:
            # The second of every hundred, so that hot bidders and hot sellers are not the same.
            hot = pc.add(pc.multiply(pc.divide(cycle, whole(_HOT)), whole(_HOT)), whole(1))
            hot = pc.min_element_wise(hot, cycle)
            return _identity(pc.if_else(_three_in_four(word, 62), hot, _active_person(cycle, word)))

        return {
            "auction": auction,
            "bidder": bidder,
            "price": lambda: _prices().take(bits(second(), 0, 16)),
            "channel": lambda: pools.channels.take(channel()),
            "url": lambda: pools.urls.take(channel()),
            "date_time": lambda: self._time(numbers),
            "extra": lambda: pools.extra.take(bits(second(), 39, 10)),
        }

    def _events(self, numbers: pa.Array) -> _Makers:
        place = pc.modulo(numbers, whole(CYCLE))
        kind = pc.add(
            pc.cast(pc.greater_equal(place, whole(SHARES["auctions"][0])), pa.int8()),
            pc.cast(pc.greater_equal(place, whole(SHARES["bids"][0])), pa.int8()),
        )

        def nested(number: int, table: Table) -> pa.Array:
            own = pc.equal(kind, number)
            schema = SCHEMAS[table]
            rows = pa.StructArray.from_arrays(
                self.columns(table, numbers.filter(own), schema.names), fields=list(schema)
            )
            index = pc.subtract(pc.cumulative_sum(pc.cast(own, pa.int64())), 1)
            return rows.take(pc.if_else(own, index, pa.scalar(None, pa.int64())))

        return {
            "event_type": lambda: pa.array(["person", "auction", "bid"]).take(kind),
            "date_time": lambda: self._time(numbers),
            "person": lambda: nested(0, "persons"),
            "auction": lambda: nested(1, "auctions"),
            "bid": lambda: nested(2, "bids"),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _PersonPools:
    names: pa.Array
    users: pa.Array
    hosts: pa.Array
    digits: pa.Array
    cities: pa.Array
    states: pa.Array
    extra: pa.Array


@dataclass(frozen=True, slots=True, eq=False)
class _AuctionPools:
    items: pa.Array
    descriptions: pa.Array
    extra: pa.Array


@dataclass(frozen=True, slots=True, eq=False)
class _BidPools:
    channels: pa.Array
    urls: pa.Array
    extra: pa.Array


# The pools are kept, because a test kit opens one source many times. They are a function of the seed alone.


@lru_cache(maxsize=4)
def _person_pools(seed: int) -> _PersonPools:
    return _PersonPools(
        names=pa.array([f"{given} {family}" for given in _GIVEN_NAMES for family in _FAMILY_NAMES]),
        users=_texts(seed, "user", 4_096, 3, 6),
        hosts=pa.array([f"{host}.com" for host in texts(key_of(seed, "host"), 4_096, 3, 4)]),
        digits=pa.array([f"{number:04}" for number in range(10_000)]),
        cities=pa.array(_CITIES),
        states=pa.array(_STATES),
        extra=_texts(seed, "person extra", 1_024, 110, 164),
    )


@lru_cache(maxsize=4)
def _auction_pools(seed: int) -> _AuctionPools:
    return _AuctionPools(
        items=_texts(seed, "item name", 4_096, 3, 19),
        descriptions=_texts(seed, "description", 1_024, 3, 99),
        extra=_texts(seed, "auction extra", 1_024, 312, 467),
    )


@lru_cache(maxsize=4)
def _bid_pools(seed: int) -> _BidPools:
    hot = len(_HOT_CHANNELS)
    parts = texts(key_of(seed, "url"), 3 * (hot + _CHANNELS), 3, 4)
    urls = [f"https://www.nexmark.com/{'/'.join(parts[i : i + 3])}/item.htm?query=1" for i in range(0, len(parts), 3)]
    key = key_of(seed, "channel")
    for number in range(_CHANNELS):
        drawn = mixed((key + number) % 2**64)
        if drawn % 10:
            urls[hot + number] += f"&channel_id={drawn >> 33}"
    return _BidPools(
        channels=pa.array([*_HOT_CHANNELS, *(f"channel-{number}" for number in range(_CHANNELS))]),
        urls=pa.array(urls),
        extra=_texts(seed, "bid extra", 1_024, 54, 81),
    )


@cache
def _prices() -> pa.Array:
    """Return prices from 1.00 to 1,000,000.00 in cents, their logarithms evenly spread."""
    return pa.array([round(10 ** ((step + 0.5) / 65_536 * 6) * 100) for step in range(65_536)], pa.int64())


def _texts(seed: int, purpose: str, count: int, shortest: int, longest: int) -> pa.Array:
    return pa.array(texts(key_of(seed, purpose), count, shortest, longest))


def _identity(number: pa.Array) -> pa.Array:
    return pc.add(pc.cast(number, pa.int64()), FIRST_ID)


def _three_in_four(word: pa.Array, low: int) -> pa.Array:
    return pc.not_equal(bits(word, low, 2), whole(0))


def _active_person(cycle: pa.Array, word: pa.Array) -> pa.Array:
    """Return one of the last thousand people who exist in the event's cycle, from the bits 32 to 60 of the word."""
    people = pc.add(cycle, whole(1))
    active = pc.min_element_wise(people, whole(_ACTIVE_PEOPLE))
    return pc.add(pc.subtract(people, active), below(word, 32, 29, active))
