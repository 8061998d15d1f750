"""Steps of programs that tell two inputs apart: joins of tables, in time, and with versions."""

from __future__ import annotations

from dataclasses import dataclass

from tests.oracle.compositions import Item, Kind, Kinds, Node, Run
from tests.oracle.interval import How, Table, Timed, asof_join, interval_join

FOR_EVER = 2**61
"""An interval that holds all times."""


@dataclass(frozen=True, slots=True, eq=False)
class Paired(Node):
    """A step with two inputs that it tells apart; they have no columns of one name but for the keys."""

    left: Node
    right: Node
    keys: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.left, self.right)

    def _beside(self) -> dict[str, Kind]:
        return {**self.left.kinds, **{k: v for k, v in self.right.kinds.items() if k not in self.keys}}


@dataclass(frozen=True, slots=True, eq=False)
class Join(Paired):
    """Rows that agree in the keys.

    Attributes:
        how: What becomes of rows without a partner.
        within: How far apart rows may be; None for any distance.
    """

    how: How
    within: tuple[int, int] | None = None

    @property
    def kinds(self) -> Kinds:
        return self.left.kinds if self.how in ("semi", "anti") else self._beside()

    @property
    def of_windows(self) -> bool:
        """Whether it is a join of rows of one window, which come when it closes."""
        closes = self.left.closes
        return self.within is None and closes in self.keys and closes == self.right.closes

    @property
    def changing(self) -> bool:
        if self.within is not None or self.of_windows:
            return False
        return self.left.changing or self.right.changing or self.how not in ("inner", "semi")

    @property
    def timed(self) -> bool:
        return self.within is not None or self.of_windows

    @property
    def closes(self) -> str | None:
        # Rows of one window, as above; ``within`` nothing is another way to say it.
        return self.left.closes if self.of_windows else None

    def made(self, run: Run) -> list[Item]:
        if self.within is None and not self.of_windows:
            sides = [[Timed(0, item.row) for item in run.of(side)] for side in self.inputs]
        else:
            sides = [[Timed(item.time_us, item.row) for item in run.in_time(side)] for side in self.inputs]
        left, right = (Table(node.columns, tuple(rows)) for node, rows in zip(self.inputs, sides, strict=True))
        found = interval_join(left, right, self.keys, self.how, self.within or (-FOR_EVER, FOR_EVER))
        return [Item(one.row, one.time_us) for one in found]


@dataclass(frozen=True, slots=True, eq=False)
class AsOf(Paired):
    """Each row of the left side beside the version of its key that was valid at its time."""

    @property
    def kinds(self) -> Kinds:
        return self._beside()

    @property
    def changing(self) -> bool:
        return False

    @property
    def timed(self) -> bool:
        return True

    def made(self, run: Run) -> list[Item]:
        left, right = (
            Table(side.columns, tuple(Timed(item.time_us, item.row) for item in run.in_time(side)))
            for side in self.inputs
        )
        return [Item(one.row, one.time_us) for one in asof_join(left, right, self.keys)]
