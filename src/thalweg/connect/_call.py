"""The sink that calls a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from thalweg.core.errors import PlanError, SinkError
from thalweg.core.ports import WriteRequest

Receiver = Callable[[pa.Table], Any]  # what the function returns is not looked at


@dataclass(frozen=True, slots=True)
class Call:
    """Describes a sink that hands every step's rows to a function."""

    fn: Receiver

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.fn, "__qualname__", None) or type(self.fn).__qualname__)

    @property
    def changes(self) -> Literal["passed on"]:
        """Rows of a changing stream come with their weight."""
        return "passed on"

    @property
    def target(self) -> None:
        """A function is no path or address."""
        return None

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"call({self.name})"

    def open(self, request: WriteRequest) -> _CallWriter:
        """Start to call."""
        return _CallWriter(self.fn, self.name)


class _CallWriter:
    def __init__(self, fn: Receiver, name: str) -> None:
        self._fn = fn
        self._name = name

    def write(self, rows: pa.Table) -> None:
        try:
            self._fn(rows)
        except Exception as error:
            raise SinkError(
                f"the function {self._name} raised {type(error).__name__} on {rows.num_rows} rows: {error}; "
                "mend it or catch the error in it"
            ) from error

    def flush(self) -> None:
        """The function had the rows already."""

    def close(self) -> None:
        """Nothing is held."""


def call(fn: Receiver) -> Call:
    """Hand every step's rows to a function, as an Arrow table.

    Shape: the stream's columns; a changing stream has ``_weight`` (int64) last: 1 for a row that was added, -1 for
    one that was withdrawn.

    Order and delivery: one call per step that has rows, from one thread, as soon as the step is done. A run that
    starts again after a crash calls again for the steps since its last checkpoint.

    Args:
        fn: Takes one Arrow table. What it raises stops the run.

    Raises:
        PlanError: ``fn`` cannot be called.

    Example:
        >>> seen = []
        >>> call(seen.append).describe()
        'call(list.append)'
    """
    if not callable(fn):
        raise PlanError(f"call() was given {fn!r}; allowed: a function that takes an Arrow table")
    return Call(fn)
