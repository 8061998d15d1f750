"""States of a user's class per key, and the timers that were set for them."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
import polars as pl

from thalweg.columnar.conform import Conformer
from thalweg.columnar.frames import empty_frame, to_frame
from thalweg.core.errors import FunctionError
from thalweg.core.python_rows import decode_rows
from thalweg.core.schema import Field, Schema
from thalweg.plan.nodes import Process

Key: TypeAlias = tuple[Any, ...]  # the values of the key columns, NaN as a word of its own

_STATES: Final = "states"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_US: Final = dt.timedelta(microseconds=1)
_LAST: Final = "__last"
_TIMERS: Final = "__timers"
_NAN: Final = "__nan"


@dataclass(slots=True)
class Kept:
    """What is kept of a key.

    Attributes:
        values: Its columns, as its first row had them.
        state: An object of the user's class.
        last_us: When its last row or timer was, in event time.
        timers: When its function is to be called again.
    """

    values: tuple[Any, ...]
    state: Any  # the user's class
    last_us: int
    timers: set[int] = field(default_factory=set)


class Timers:
    """What a function of ``process`` is given to have itself called again.

    Attributes:
        key: The key columns.
        now: The event time of the row, or the time that the timer was set to.
    """

    def __init__(self, key: Mapping[str, Any], now_us: int) -> None:
        self.key = key
        self.now = _EPOCH + now_us * _US
        self.wanted: list[int] = []

    def set(self, time: dt.datetime | dt.timedelta) -> None:
        """Have ``on_timer`` called with the key's state once the watermark is at a time.

        One that is over is called next; one that was set already is called once.

        Args:
            time: When, or how long after ``now``; without a zone it is UTC.
        """
        at = self.now + time if isinstance(time, dt.timedelta) else time
        at = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
        self.wanted.append((max(at, self.now) - _EPOCH) // _US)


class KeyedStates:
    """The states of all keys.

    Args:
        node: The step; it says what a state is and how long it is kept.
    """

    def __init__(self, node: Process) -> None:
        self._node = node
        self._names = list(node.keys)
        keys = [node.input.schema[name] for name in node.keys]
        more = [Field(f"__s{number}", part.type) for number, part in enumerate(node.state_schema)]
        self._schema = Schema((*(Field(f.name, f.type) for f in keys), *more))
        self._kept: dict[Key, Kept] = {}
        self._due: list[tuple[int, int, Key]] = []
        self._set = 0

    def of(self, values: tuple[Any, ...], now_us: int) -> Kept:
        """Return what is kept of a key; a new state where there is none, or it was kept long enough."""
        key = key_of(values)
        kept = self._kept.get(key)
        if kept is None or self._is_over(kept, now_us):
            kept = self._kept[key] = Kept(values, self._node.state(), now_us)
        return kept

    def called(self, kept: Kept, now_us: int, call: Callable[[Any, Timers], Iterable[Any]]) -> list[Any]:
        """Call a function with a state; where it raises the state stays as it was.

        Returns:
            What the function gave.
        """
        before = copy.deepcopy(kept.state)
        timers = Timers(dict(zip(self._names, kept.values, strict=True)), now_us)
        try:
            given = list(call(kept.state, timers))
        except BaseException:
            kept.state = before
            raise
        kept.last_us = max(kept.last_us, now_us)
        for at_us in timers.wanted:
            self._remind(kept, at_us)
        return given

    def due(self, until_us: int) -> Iterator[tuple[int, Kept]]:
        """Give the timers up to a time, in order, those too that are set meanwhile."""
        while self._due and self._due[0][0] <= until_us:
            at_us, _, key = heapq.heappop(self._due)
            kept = self._kept[key]
            if at_us in kept.timers:
                kept.timers.remove(at_us)
                yield at_us, kept

    def next_timer(self) -> int | None:
        """Return when the next timer is due; None if none is set."""
        return self._due[0][0] if self._due else None

    def forget(self, watermark: int) -> None:
        """Forget the states that were kept long enough."""
        if self._node.ttl_us is not None:
            for key in [key for key, kept in self._kept.items() if self._is_over(kept, watermark)]:
                del self._kept[key]

    def table(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Return the states of some keys as a frame: the key columns, then the state's fields."""
        found = [self._kept.get(key_of(values)) for values in keys.rows()]
        return self._frame(
            [kept if kept else Kept(row, self._node.state(), 0) for kept, row in zip(found, keys.rows(), strict=True)]
        )

    def put(self, keys: pl.DataFrame, states: Sequence[Mapping[str, Any]], last_us: Sequence[int]) -> None:
        """Keep states of keys, given as dicts of their fields."""
        for values, state, last in zip(keys.rows(), states, last_us, strict=True):
            self._kept[key_of(values)] = Kept(values, self._revived(state), last)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give all states and timers as a named frame."""
        if self._kept:
            kept = list(self._kept.values())
            beside = {_LAST: [one.last_us for one in kept], _TIMERS: [sorted(one.timers) for one in kept]}
            kinds = {_LAST: pl.Int64(), _TIMERS: pl.List(pl.Int64())}
            yield _STATES, self._frame(kept, internal=True).hstack(pl.DataFrame(beside, schema=kinds))

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the states back."""
        if _STATES not in frames:
            return
        fields = self._node.state_schema.names
        for row in frames[_STATES].iter_rows(named=True):
            values = tuple(row[name] for name in self._names)
            state = {name: row[f"__s{number}"] for number, name in enumerate(fields)}
            kept = self._kept[key_of(values)] = Kept(values, self._revived(state), row[_LAST])
            for at_us in row[_TIMERS]:
                self._remind(kept, at_us)

    def _remind(self, kept: Kept, at_us: int) -> None:
        if at_us not in kept.timers:
            kept.timers.add(at_us)
            self._set += 1  # of timers at one time the one that was set first comes first, and keys need no order
            heapq.heappush(self._due, (at_us, self._set, key_of(kept.values)))

    def _is_over(self, kept: Kept, now_us: int) -> bool:
        ttl_us = self._node.ttl_us
        return ttl_us is not None and not kept.timers and kept.last_us + ttl_us <= now_us

    def _frame(self, kept: Sequence[Kept], *, internal: bool = False) -> pl.DataFrame:
        fields = self._node.state_schema.names
        rows = []
        for one in kept:
            values = _values(one.state)
            row = dict(zip(self._names, one.values, strict=True))
            row |= {f"__s{number}": values.get(name) for number, name in enumerate(fields)}
            rows.append(row)
        if not rows:
            frame = empty_frame(self._schema)
        else:
            decoded = decode_rows(rows, self._schema, str)
            if decoded.rejected:
                bad = decoded.rejected[0]
                raise FunctionError(
                    f"a state of process(state={self._node.state.__name__}) is not what the class says, for key "
                    f"{kept[int(bad.place)].values!r}: {bad.reason}"
                )
            frame = to_frame(Conformer(self._schema).conform(decoded.data).data)
        if internal:
            return frame
        return frame.rename({f"__s{number}": name for number, name in enumerate(fields)})

    def _revived(self, values: Mapping[str, Any]) -> Any:
        kind = self._node.state
        if hasattr(kind, "model_validate"):
            return kind.model_validate(dict(values))
        if dataclasses.is_dataclass(kind) or hasattr(kind, "__struct_fields__"):
            return msgspec.convert(dict(values), kind, strict=False)
        state = kind()
        if isinstance(state, dict):
            return state | dict(values)
        for name, value in values.items():
            setattr(state, name, value)
        return state


def key_of(values: Sequence[Any]) -> Key:
    """Return key values so that equal ones are equal: NaN is."""
    return tuple(_NAN if isinstance(value, float) and value != value else value for value in values)


def _values(state: Any) -> Mapping[str, Any]:
    if isinstance(state, Mapping):
        return state
    if hasattr(state, "model_dump"):
        dumped: dict[str, Any] = state.model_dump()
        return dumped
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return dataclasses.asdict(state)
    if hasattr(state, "__struct_fields__"):
        return {name: getattr(state, name) for name in state.__struct_fields__}
    return dict(vars(state))
