"""``process`` row at a time: all rows in time are sorted, and a function with a state per key is called with each.

The function is one: it adds up ``x`` per key, refuses some values, sets timers, and says all that it sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from tests.oracle.values import Row, canonical, tie_key

REFUSED = 13
SECOND = 1_000_000

Said = tuple[str, Hashable, int, int]
"""What was called, the key, the sum, the number of calls."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is processed.

    Attributes:
        columns: The columns in schema order; ``k``, ``x`` and ``ts`` are among them.
        partitions: The rows of each partition.
        lateness_us: As declared.
        ttl_us: For how long a state is kept.
        timers: Whether the function sets timers: ``x`` seconds after its row.
    """

    columns: Sequence[str]
    partitions: Sequence[Sequence[Row]]
    lateness_us: int
    ttl_us: int | None
    timers: bool


@dataclass(slots=True)
class _State:
    last_us: int
    total: int = 0
    calls: int = 0
    timers: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Answer:
    """What comes out.

    Attributes:
        said: What the function gave, as a multiset.
        late: How many rows were late.
        refused: How many rows it raised on.
    """

    said: Counter[Said] = field(default_factory=Counter)
    late: int = 0
    refused: int = 0


def answer(given: Given) -> Answer:
    """Return what comes out of rows, wherever they are cut."""
    made = Answer()
    rows: list[Row] = []
    for partition in given.partitions:
        greatest = None
        for row in partition:
            time_us = _time(row)
            if greatest is not None and time_us < greatest - given.lateness_us:
                made.late += 1
            else:
                rows.append(row)
            greatest = time_us if greatest is None else max(greatest, time_us)
    states: dict[Hashable, _State] = {}
    for row in sorted(rows, key=lambda row: tie_key(_time(row), row, given.columns)):
        _call_timers(given, states, _time(row), made)
        _call(given, states, row, made)
    _call_timers(given, states, None, made)
    return made


def _call(given: Given, states: dict[Hashable, _State], row: Row, made: Answer) -> None:
    key, time_us, x = canonical(row["k"]), _time(row), row["x"]
    if x == REFUSED:
        made.refused += 1
        return
    state = states.get(key)
    if state is not None and given.ttl_us is not None and not state.timers and state.last_us + given.ttl_us <= time_us:
        state = None
    state = states.setdefault(key, _State(time_us)) if state is not None else _State(time_us)
    states[key] = state
    state.last_us = time_us
    state.total += x if isinstance(x, int) else 0
    state.calls += 1
    made.said[("row", key, state.total, state.calls)] += 1
    if given.timers and isinstance(x, int) and x % 2 == 0:
        state.timers.add(max(time_us + x * SECOND, time_us))


def _call_timers(given: Given, states: dict[Hashable, _State], until_us: int | None, made: Answer) -> None:
    """Call the timers up to a time, the earliest first; each adds 100, and odd sums set another one a second later."""
    while due := [
        (at, key) for key, state in states.items() for at in state.timers if until_us is None or at <= until_us
    ]:
        at_us, key = min(due, key=lambda one: one[0])
        state = states[key]
        state.timers.remove(at_us)
        state.last_us = max(state.last_us, at_us)
        state.total += 101 if state.total % 2 else 100
        state.calls += 1
        made.said[("timer", key, state.total, state.calls)] += 1
        if state.calls % 3 == 0:
            state.timers.add(at_us + SECOND)


def _time(row: Row) -> int:
    time_us = row["ts"]
    assert isinstance(time_us, int), "every row has a time here"
    return time_us
