"""Every aggregate, declared once: argument, result type, meaning; and what a user's own one is.

Common to all: a null value is skipped, NaN compares as the greatest float, -0.0 equals 0.0. Where an
order is needed it is by time, then by all column values.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.errors import PlanError
from thalweg.plan import type_rules as r
from thalweg.plan.functions_of_user import function_fingerprint, qualified_name
from thalweg.plan.type_cast import arrow_type

INTERPOLATIONS: Final = ("nearest", "lower", "higher", "midpoint", "linear")


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """The declaration of an aggregate.

    Attributes:
        name: The method's name.
        takes: The kinds of its arguments.
        result: The rule for the result's type.
        meaning: One line: what it gives, and of no values.
        nullable: Whether the result can be null, by its type.
    """

    name: str
    takes: tuple[r.Kind, ...]
    result: r.TypeRule
    meaning: str
    nullable: Callable[[pa.DataType], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class UserAggregate:
    """An aggregate of the user's functions.

    Attributes:
        name: The name of the function that steps, for people.
        init: Gives a new state.
        step: Gives the state after a row (or after a batch of Arrow arrays).
        merge: Gives one state for two; associative and commutative.
        finish: Gives the result of a state.
        type: The result's type.
        batches: Whether ``step`` gets Arrow arrays rather than a row's values.
        fingerprint: Changes when one of the functions does.
    """

    name: str
    init: Callable[[], Any]
    step: Callable[..., Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any]
    type: pa.DataType
    batches: bool
    fingerprint: str


def _listed(types: r.Types, _options: Mapping[str, Any]) -> pa.DataType:
    return pa.list_(pa.field("item", types[0]))


def _never(_: pa.DataType) -> bool:
    return False


def _unless_float(given: pa.DataType) -> bool:
    # A sum of integers, decimals or durations can leave its type; it is null then in a changing table.
    return not t.is_floating(given)


_COUNT: Final = r.gives(r.INT64)
_FLOAT: Final = r.gives(r.FLOAT64)
_BOOL: Final = r.gives(r.BOOL_TYPE)

AGGREGATES: Final[Mapping[str, AggregateFunction]] = MappingProxyType(
    {
        found.name: found
        for found in (
            AggregateFunction("count", (r.ANY,), _COUNT, "the number of values; of rows without an argument", _never),
            AggregateFunction("sum", (r.SUMMABLE,), r.summed, "the sum; 0 of none", _unless_float),
            AggregateFunction("mean", (r.NUMBER_OR_BOOLEAN,), _FLOAT, "the arithmetic mean; null of none"),
            AggregateFunction("var", (r.NUMBER_OR_BOOLEAN,), _FLOAT, "the variance; null of ddof or fewer"),
            AggregateFunction("std", (r.NUMBER_OR_BOOLEAN,), _FLOAT, "the standard deviation; null of ddof or fewer"),
            AggregateFunction("median", (r.NUMBER_OR_BOOLEAN,), _FLOAT, "the middle or the mean of two; null of none"),
            AggregateFunction("quantile", (r.NUMBER_OR_BOOLEAN,), _FLOAT, "the value at a share; null of none"),
            AggregateFunction("approx_quantile", (r.NUMBER,), _FLOAT, "about the value at a share; null of none"),
            AggregateFunction("min", (r.ORDERED,), r.same, "the least; null of none"),
            AggregateFunction("max", (r.ORDERED,), r.same, "the greatest; null of none"),
            AggregateFunction("first", (r.ANY,), r.same, "the earliest; null of none"),
            AggregateFunction("last", (r.ANY,), r.same, "the latest; null of none"),
            AggregateFunction("arg_min", (r.ANY, r.ORDERED), r.same, "the value at the least by, then the earliest"),
            AggregateFunction("arg_max", (r.ANY, r.ORDERED), r.same, "the value at the greatest by, then the earliest"),
            AggregateFunction("mode", (r.ORDERED,), r.same, "the most frequent, of equals the earliest; null of none"),
            AggregateFunction("any", (r.BOOLEAN,), _BOOL, "whether one is true; false of none", _never),
            AggregateFunction("all", (r.BOOLEAN,), _BOOL, "whether none is false; true of none", _never),
            AggregateFunction("n_unique", (r.ORDERED,), _COUNT, "the number of different values", _never),
            AggregateFunction("approx_n_unique", (r.ORDERED,), _COUNT, "about the number of different values", _never),
            AggregateFunction("collect", (r.ANY,), _listed, "the values as a list, by time; empty of none", _never),
        )
    }
)  # fmt: skip


def user_aggregate(
    functions: tuple[Callable[[], Any], Callable[..., Any], Callable[[Any, Any], Any], Callable[[Any], Any] | None],
    returns: object,
    *,
    batches: bool,
    version: str | None,
) -> UserAggregate:
    """Return the aggregate of a user's ``init, step, merge, finish``.

    Raises:
        PlanError: One is not callable, or the result's type is not said.
    """
    init, step, merge, finish = functions
    for name, function in (("init", init), ("step", step), ("merge", merge), ("finish", finish)):
        if not callable(function) and not (name == "finish" and function is None):
            raise PlanError(f"aggregate({name}={function!r}): {name} is a function")
    named = qualified_name(step)
    marks = ",".join("-" if function is None else function_fingerprint(function, version) for function in functions)
    return UserAggregate(
        name=named,
        init=init,
        step=step,
        merge=merge,
        finish=_itself if finish is None else finish,
        type=_result_type(named, finish, returns),
        batches=batches,
        fingerprint=function_fingerprint(_itself, version=f"{marks},{batches}"),
    )


def _itself(state: Any) -> Any:
    return state


def _result_type(name: str, finish: Callable[[Any], Any] | None, returns: object) -> pa.DataType:
    hint = returns
    if hint is None and isinstance(finish, type):
        hint = finish  # finish=float
    elif hint is None and finish is not None:
        try:
            hint = typing.get_type_hints(finish).get("return")
        except (NameError, TypeError) as error:
            raise PlanError(f"aggregate of {name}: the annotations of finish cannot be read: {error}") from error
    if hint is None or hint is type(None):
        raise PlanError(
            f"aggregate of {name}: the type of its result is not known; say returns=float, or annotate what finish "
            "returns"
        )
    return arrow_type(hint, f"aggregate of {name}: returns")


def checked_share(method: str, share: object) -> float:
    """Return a share from 0 to 1, or raise PlanError."""
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or math.isnan(share) or not 0 <= share <= 1:  # type: ignore[arg-type, operator]  # a number here
        raise PlanError(f".{method}({share!r}): the share is a number from 0 to 1, such as 0.99")
    return float(share)  # type: ignore[arg-type]  # a number here


def checked_interpolation(name: object) -> str:
    """Return the name of a way to interpolate, or raise PlanError."""
    if name not in INTERPOLATIONS:
        raise PlanError(f".quantile(interpolation={name!r}): allowed are {', '.join(INTERPOLATIONS)}")
    return str(name)
