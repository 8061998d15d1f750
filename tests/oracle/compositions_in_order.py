"""Steps of programs that depend on the order of rows: lists, first rows, numbers."""

from __future__ import annotations

from dataclasses import dataclass

from tests.oracle.compositions import Item, Kinds, Run, Step, in_order
from tests.oracle.formed import kept
from tests.oracle.ranked import Order, first_rows, unranked
from tests.oracle.values import Row


@dataclass(frozen=True, slots=True, eq=False)
class Listed(Step):
    """The values of a column per key, collected and then exploded: null is left out, but for a key without others."""

    keys: tuple[str, ...]
    column: str
    name: str

    @property
    def kinds(self) -> Kinds:
        return {**{key: self.input.kinds[key] for key in self.keys}, self.name: self.input.kinds[self.column]}

    @property
    def changing(self) -> bool:
        return True

    @property
    def timed(self) -> bool:
        return False

    def made(self, run: Run) -> list[Item]:
        found = []
        for items in in_order(run.of(self.input), self.keys, self.input.columns):
            key = {name: items[0].row[name] for name in self.keys}
            values = [value for item in items if (value := item.row[self.column]) is not None]
            found += [Item({**key, self.name: value}) for value in values]
            if not values:
                found.append(Item({**key, self.name: None}))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TopK(Step):
    """The first rows of an order, per key."""

    rows: int
    by: tuple[str, ...]
    reverse: tuple[bool, ...]
    per: tuple[str, ...]

    @property
    def kinds(self) -> Kinds:
        return {**self.input.kinds, "rank": "int"}

    @property
    def changing(self) -> bool:
        return self.closes is None

    @property
    def timed(self) -> bool:
        return self.closes is not None

    @property
    def closes(self) -> str | None:
        return self.input.closes if self.input.closes in self.per else None

    def made(self, run: Run) -> list[Item]:
        order = Order(self.rows, self.by, self.reverse, self.per, self.input.columns)
        rows = first_rows(order, [(item.time_us, item.row) for item in run.of(self.input)])
        return [Item(row, _last_instant(row, self.closes)) for row in rows]


@dataclass(frozen=True, slots=True, eq=False)
class Dedupe(Step):
    """The first row per key, or of those that are near each other."""

    keys: tuple[str, ...]
    within_us: int | None

    @property
    def changing(self) -> bool:
        return self.within_us is None

    @property
    def timed(self) -> bool:
        return self.within_us is not None

    @property
    def closes(self) -> str | None:
        return None if self.changing else self.input.closes

    def made(self, run: Run) -> list[Item]:
        if self.within_us is None:
            order = Order(1, (), (), self.keys, self.input.columns)
            rows = first_rows(order, [(item.time_us, item.row) for item in run.of(self.input)])
            return [Item(row) for row in unranked(rows)]
        found = []
        for items in in_order(run.in_time(self.input), self.keys, self.input.columns):
            stays = kept(self.within_us, [item.time_us for item in items])
            found += [Item(item.row, item.time_us) for item, stay in zip(items, stays, strict=True) if stay]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Numbered(Step):
    """A function with a state per key: rows with the number that they have in the order of their key's."""

    keys: tuple[str, ...]
    name: str

    @property
    def kinds(self) -> Kinds:
        return {**self.input.kinds, self.name: "int"}

    def made(self, run: Run) -> list[Item]:
        return [
            Item({**item.row, self.name: number}, item.time_us)
            for items in in_order(run.in_time(self.input), self.keys, self.input.columns)
            for number, item in enumerate(items, start=1)
        ]


def _last_instant(row: Row, closes: str | None) -> int:
    end = 1 if closes is None else row[closes]
    assert isinstance(end, int)
    return end - 1
