"""States of a user's class per key, and the timers that were set for them."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, TypeAlias

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_frame
from thalweg.core.errors import FunctionError
from thalweg.core.python_rows import array_of
from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.stage import described
from thalweg.engine.embedded.stateless import as_dict
from thalweg.plan.nodes import Process

Key: TypeAlias = Any  # the value of a key column, or a tuple of several

_STATES: Final = "states"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_US: Final = dt.timedelta(microseconds=1)
_STATE: Final = "__state"
_LAST: Final = "__last"
_TIMERS: Final = "__timers"
_THERE: Final = "__there"
_NAN: Final = float("nan")  # one object: it is found in a dict, where another NaN is not


@dataclass(slots=True, eq=False)
class Kept:
    """What is kept of a key.

    Attributes:
        key: The key.
        values: Its columns.
        state: An object of the user's class.
        last_us: When its last row or timer was, in event time.
        timers: When its function is to be called again.
        known: Whether it is among those kept: the first row of a key may be rejected.
    """

    key: Key
    values: tuple[Any, ...]
    state: Any  # the user's class
    last_us: int
    timers: set[int] = field(default_factory=set)
    known: bool = False


class Timers:
    """What a function of ``process`` is given to have itself called again."""

    __slots__ = ("_names", "_now_us", "_of_timer", "_values", "wanted")

    def __init__(self, names: Sequence[str], values: Sequence[Any], now_us: int, *, of_timer: bool) -> None:
        self._names = names
        self._values = values
        self._now_us = now_us
        self._of_timer = of_timer
        self.wanted: list[int] = []

    @property
    def key(self) -> dict[str, Any]:
        """The key columns."""
        return dict(zip(self._names, self._values, strict=True))

    @property
    def now(self) -> dt.datetime:
        """The event time of the row, or the time that the timer was set to."""
        return _EPOCH + self._now_us * _US

    def set(self, time: dt.datetime | dt.timedelta) -> None:
        """Have ``on_timer`` called with the key's state once the watermark is at a time.

        One that is over is called next; one that was set already is called once.

        Args:
            time: When, or how long after ``now``; without a zone it is UTC.

        Raises:
            ValueError: ``on_timer`` sets one that is not after its own time: it would be called for ever.
        """
        at = self.now + time if isinstance(time, dt.timedelta) else time
        at = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
        at_us = (at - _EPOCH) // _US
        if self._of_timer and at_us <= self._now_us:
            raise ValueError(f"on_timer at {self.now} set a timer to {at}; it must be later than its own time")
        self.wanted.append(max(at_us, self._now_us))


class KeyedStates:
    """The states of all keys.

    A checkpoint takes what has changed since the last: states are kept beside as bytes, in an arrangement.

    Args:
        node: The step; it says what a state is and how long it is kept.
    """

    def __init__(self, node: Process) -> None:
        self._node = node
        self._class = node.state
        self._names = list(node.keys)
        self._kinds = [node.input.schema[name].type for name in node.keys]
        self._floats = any(pa.types.is_floating(kind) for kind in self._kinds)
        places = [node.input.schema.names.index(name) for name in node.keys]
        self._columns_of = itemgetter(*places)
        self._kept: dict[Key, Kept] = {}
        self._due: list[tuple[int, int, Kept]] = []
        self._ends: list[tuple[int, int, Kept]] = []
        self._number = 0
        self._saved = Arrangement(self._names)
        self._changed: set[Key] = set()

    def of(self, row: Sequence[Any], now_us: int) -> Kept:
        """Return what is kept of a row's key; a new state where there is none, or it was kept long enough."""
        key = self._columns_of(row)
        if self._floats:
            key = tuple(map(_one_form, key)) if type(key) is tuple else _one_form(key)
        kept = self._kept.get(key)
        if kept is None or self._is_over(kept, now_us):
            return Kept(key, key if len(self._names) > 1 else (key,), self._class.new(), now_us)
        return kept

    def called(
        self,
        kept: Kept,
        now_us: int,
        function: Callable[[Any, Any, Timers], Iterable[Any] | None],
        argument: object,
        *,
        of_timer: bool = False,
    ) -> list[dict[str, Any]]:
        """Call a function with a state; where it raises, state and timers stay as they were.

        Returns:
            The rows that the function gave.

        Raises:
            FunctionError: It set a timer, and there is nothing to call.
        """
        before = self._class.saved(kept.state)
        timers = Timers(self._names, kept.values, now_us, of_timer=of_timer)
        try:
            made = function(argument, kept.state, timers)
            given = [] if made is None else [row if type(row) is dict else as_dict(row) for row in made]
        except BaseException:
            kept.state = self._class.put_back(kept.state, before)
            raise
        self._touch(kept, now_us)
        if timers.wanted:
            if self._node.on_timer is None:
                name = getattr(self._node.function, "__name__", "the function")
                raise FunctionError(f"{name} set a timer, and process(…) has no on_timer= to call")
            for at_us in timers.wanted:
                self._remind(kept, at_us)
        return given

    def due(self, until_us: int) -> Iterator[tuple[int, Kept]]:
        """Give the timers up to a time, in order, those too that are set meanwhile."""
        while self._due and self._due[0][0] <= until_us:
            at_us, _, kept = heapq.heappop(self._due)
            kept.timers.remove(at_us)
            self._touch(kept, at_us)  # also where it raises: until now the state was wanted
            yield at_us, kept

    def next_timer(self) -> int | None:
        """Return when the next timer is due; None if none is set."""
        return self._due[0][0] if self._due else None

    def forget(self, watermark: int) -> None:
        """Forget the states that were kept long enough."""
        ttl_us = self._node.ttl_us
        while ttl_us is not None and self._ends and self._ends[0][0] <= watermark:
            _, _, kept = heapq.heappop(self._ends)
            if self._kept.get(kept.key) is not kept:
                continue  # another one took its place
            if self._is_over(kept, watermark):
                del self._kept[kept.key]
                self._changed.add(kept.key)
            else:
                self._push(self._ends, max([kept.last_us, *kept.timers]) + ttl_us, kept)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give all states and timers as named frames; one that did not change is the same object as before."""
        if self._changed:
            self._saved.insert(self._frame(list(self._changed)))
            self._changed = set()
            if len(self._saved.frames()) == 1:
                self._saved.drop_up_to(_THERE, 0)  # no older frame has the rows of the keys that are gone
        for number, frame in enumerate(self._saved.frames()):
            yield f"{_STATES}/{number}", frame

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the states back."""
        count = sum(name.startswith(f"{_STATES}/") for name in frames)
        if not count:
            return
        self._saved.restore([frames[f"{_STATES}/{number}"] for number in range(count)])
        for part in self._saved.current():
            there = part.filter(pl.col(_THERE) > 0)
            for *values, data, last_us, timers, _ in there.select(*self._names, *_BESIDE).iter_rows():
                key: Key = tuple(map(_one_form, values))
                kept = Kept(key if len(key) > 1 else key[0], key, self._class.decoded(data), last_us, known=True)
                self._kept[kept.key] = kept
                for at_us in timers:
                    self._remind(kept, at_us)
                if self._node.ttl_us is not None:
                    self._push(self._ends, last_us + self._node.ttl_us, kept)

    def _touch(self, kept: Kept, now_us: int) -> None:
        if now_us > kept.last_us:
            kept.last_us = now_us
        self._changed.add(kept.key)
        if not kept.known:
            kept.known = True
            self._kept[kept.key] = kept
            if self._node.ttl_us is not None:
                self._push(self._ends, kept.last_us + self._node.ttl_us, kept)

    def _remind(self, kept: Kept, at_us: int) -> None:
        if at_us not in kept.timers:
            kept.timers.add(at_us)
            self._push(self._due, at_us, kept)

    def _push(self, heap: list[tuple[int, int, Kept]], at_us: int, kept: Kept) -> None:
        self._number += 1  # of those at one time the one that was set first comes first
        heapq.heappush(heap, (at_us, self._number, kept))

    def _is_over(self, kept: Kept, now_us: int) -> bool:
        ttl_us = self._node.ttl_us
        return ttl_us is not None and not kept.timers and kept.last_us + ttl_us <= now_us

    def _frame(self, keys: Sequence[Key]) -> pl.DataFrame:
        """Return the states of keys as they are stored; of one that is gone, that it is."""
        kept = [self._kept.get(key) for key in keys]
        columns = list(zip(*keys, strict=True)) if len(self._names) > 1 else [keys]
        arrays = [array_of(list(values), kind) for values, kind in zip(columns, self._kinds, strict=True)]
        named = to_frame(pa.RecordBatch.from_arrays(arrays, names=self._names))
        beside = {
            _STATE: [None if one is None else self._encoded(one) for one in kept],
            _LAST: [None if one is None else one.last_us for one in kept],
            _TIMERS: [None if one is None else sorted(one.timers) for one in kept],
            _THERE: [int(one is not None) for one in kept],
        }
        return named.hstack(pl.DataFrame(beside, schema=_BESIDE))

    def _encoded(self, kept: Kept) -> bytes:
        try:
            data = self._class.encoded(kept.state)
            self._class.decoded(data)  # what cannot be read again is told now, and not by the next run
        except Exception as error:  # the user's class may raise anything
            raise FunctionError(
                f"a state of process(state={self._class.kind.__name__}) is not what the class says ({self._class}), "
                f"for the key {kept.values!r}: {described(error)}"
            ) from error
        return data


_BESIDE: Final[dict[str, pl.DataType]] = {
    _STATE: pl.Binary(),
    _LAST: pl.Int64(),
    _TIMERS: pl.List(pl.Int64()),
    _THERE: pl.Int64(),
}


def _one_form(value: Any) -> Any:
    """Return the value that stands for all that equal it: every NaN is one, and −0.0 is 0.0."""
    if type(value) is not float:
        return value
    return value + 0.0 if value == value else _NAN
