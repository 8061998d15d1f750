"""The expression tree: what to compute from a row's columns, as pure data.

Nodes are built by operators and methods, with Polars' names. They hold no engine: ``columnar`` and
the engines compile them. Every function is declared in ``functions.py``, every aggregate in
``aggregates.py``; a node only names it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias
from typing import Literal as OneOf

import pyarrow as pa

from thalweg.core.errors import PlanError
from thalweg.plan.aggregates import UserAggregate, checked_interpolation, checked_share
from thalweg.plan.expr_operators import Operators
from thalweg.plan.literals import literal_type, scalar
from thalweg.plan.namespaces import DtNamespace, ListNamespace, StrNamespace, StructNamespace
from thalweg.plan.type_cast import arrow_type

Options: TypeAlias = tuple[tuple[str, Any], ...]
Interpolation: TypeAlias = OneOf["nearest", "lower", "higher", "midpoint", "linear"]


class Expr(Operators):
    """A value computed per row, or per group where it holds an aggregate.

    ``==`` and the other operators build expressions, so nodes compare by identity in Python and by
    ``show`` everywhere else.

    Example:
        >>> from thalweg.plan.expr import col
        >>> (col("price") * col("amount") > 100) & col("page").str.starts_with("/p")
        (col("price") * col("amount") > 100) & col("page").str.starts_with("/p")
    """

    __slots__ = ()

    # ------------------------------------------------------------------ plumbing

    def _call(self, function: str, *values: object, column: bool = False, **options: object) -> Expr:
        """Return a call of a declared function on this expression."""
        args = (self, *(as_expr(value, column=column) for value in values))
        return Call(function, args, tuple(sorted(options.items())))

    def _reflected(self, function: str, left: object) -> Expr:
        """Return a call with this expression on the right."""
        return as_expr(left, column=False)._call(function, self)

    def _aggregate(self, function: str, *more: object, **options: object) -> Aggregate:
        args = (self, *(as_expr(value, column=True) for value in more))
        return Aggregate(function, args, tuple(sorted(options.items())))

    def __repr__(self) -> str:
        from thalweg.plan.expr_show import show  # show knows every node, and they know it only to be printed

        return show(self)

    def __bool__(self) -> bool:
        raise PlanError(
            f"{self!r} has no truth value while the program is built; use & for and, | for or, ~ for not, "
            ".is_in(…) for in, .is_between(…) for a < x < b"
        )

    def __iter__(self) -> Any:
        raise PlanError(f"{self!r} cannot be iterated over; it stands for one value per row")

    # ------------------------------------------------------------------ names and namespaces

    def alias(self, name: str) -> Expr:
        """Name the result."""
        if not _is_name(name):
            raise PlanError(f".alias({name!r}): a name is a text that is not empty")
        return Alias(self, name)

    @property
    def str(self) -> StrNamespace:
        """Functions of text."""
        return StrNamespace(self)

    @property
    def dt(self) -> DtNamespace:
        """Functions of times, dates and durations."""
        return DtNamespace(self)

    @property
    def list(self) -> ListNamespace:
        """Functions of lists."""
        return ListNamespace(self)

    @property
    def struct(self) -> StructNamespace:
        """Functions of structs."""
        return StructNamespace(self)

    # ------------------------------------------------------------------ numbers

    def abs(self) -> Expr:
        """Give the value without its sign."""
        return self._call("abs")

    def round(self, decimals: int = 0, mode: OneOf["half_to_even", "half_away_from_zero"] = "half_to_even") -> Expr:
        """Round to a number of decimals."""
        if mode not in ("half_to_even", "half_away_from_zero"):
            raise PlanError(f'.round(mode={mode!r}): allowed are "half_to_even" and "half_away_from_zero"')
        if not _is_int(decimals) or not 0 <= decimals <= 15:
            raise PlanError(f".round({decimals!r}): the number of decimals is a whole number from 0 to 15")
        return self._call("round", decimals=decimals, mode=mode)

    def floor(self) -> Expr:
        """Give the greatest whole number that is not above."""
        return self._call("floor")

    def ceil(self) -> Expr:
        """Give the least whole number that is not below."""
        return self._call("ceil")

    def sqrt(self) -> Expr:
        """Give the square root."""
        return self._call("sqrt")

    def exp(self) -> Expr:
        """Give e to the power of the value."""
        return self._call("exp")

    def log(self, base: float | None = None) -> Expr:
        """Give the logarithm, the natural one by default."""
        if base is None:
            return self._call("log")
        if not _is_number(base) or not base > 0 or base == 1 or base == float("inf"):
            raise PlanError(f".log({base!r}): the base is a number above 0 that is not 1")
        return self._call("log", base=float(base))

    def sign(self) -> Expr:
        """Give -1, 0 or 1."""
        return self._call("sign")

    def clip(self, lower_bound: object = None, upper_bound: object = None) -> Expr:
        """Hold the value within bounds; a missing or null bound is none."""
        if lower_bound is None and upper_bound is None:
            raise PlanError(".clip() needs a lower bound, an upper bound, or both")
        return self._call("clip", lower_bound, upper_bound, column=True)

    # ------------------------------------------------------------------ null, NaN, membership

    def is_null(self) -> Expr:
        """Tell whether the value is missing."""
        return self._call("is_null")

    def is_not_null(self) -> Expr:
        """Tell whether there is a value."""
        return self._call("is_not_null")

    def is_nan(self) -> Expr:
        """Tell whether the value is not a number."""
        return self._call("is_nan")

    def is_finite(self) -> Expr:
        """Tell whether the value is neither NaN nor infinite."""
        return self._call("is_finite")

    def fill_null(self, value: object) -> Expr:
        """Put a value where there is none."""
        return self._call("fill_null", value)

    def fill_nan(self, value: object) -> Expr:
        """Put a value where there is NaN."""
        return self._call("fill_nan", value)

    def is_in(self, other: Collection[object] | Expr) -> Expr:
        """Tell whether the value is one of some, or an element of a list column."""
        if isinstance(other, str_type):
            raise PlanError(f".is_in({other!r}): give a list, or .str.contains for a part of a text")
        if isinstance(other, Collection):
            other = list_type(other) if not isinstance(other, (set, frozenset)) else sorted(other, key=repr)
        return self._call("is_in", other)

    def is_between(
        self, lower_bound: object, upper_bound: object, closed: OneOf["both", "left", "right", "none"] = "both"
    ) -> Expr:
        """Tell whether the value lies within bounds."""
        if closed not in ("both", "left", "right", "none"):
            raise PlanError(f'.is_between(closed={closed!r}): allowed are "both", "left", "right", "none"')
        return self._call("is_between", lower_bound, upper_bound, column=True, closed=closed)

    def cast(self, dtype: object, *, strict: bool = True) -> Expr:
        """Change the type.

        Args:
            dtype: A Python type (``int``, ``float``, ``str``, ``bool``, ``bytes``, ``datetime``, ``date``,
                ``timedelta``, ``Decimal``) or an Arrow type.
            strict: Whether a value that the type cannot hold makes its row rejected; else it becomes null.
        """
        return self._call("cast", to=arrow_type(dtype, "cast to"), strict=bool(strict))

    # ------------------------------------------------------------------ aggregates

    def count(self) -> Aggregate:
        """Count the values that are not null."""
        return self._aggregate("count")

    def sum(self) -> Aggregate:
        """Add up; nothing adds up to 0."""
        return self._aggregate("sum")

    def mean(self) -> Aggregate:
        """Give the arithmetic mean."""
        return self._aggregate("mean")

    def min(self) -> Aggregate:
        """Give the least value."""
        return self._aggregate("min")

    def max(self) -> Aggregate:
        """Give the greatest value; NaN is the greatest of all."""
        return self._aggregate("max")

    def var(self, ddof: int = 1) -> Aggregate:
        """Give the variance, divided by ``n - ddof``."""
        return self._aggregate("var", ddof=_ddof("var", ddof))

    def std(self, ddof: int = 1) -> Aggregate:
        """Give the standard deviation, divided by ``n - ddof``."""
        return self._aggregate("std", ddof=_ddof("std", ddof))

    def median(self) -> Aggregate:
        """Give the middle value, or the mean of the two in the middle."""
        return self._aggregate("median")

    def quantile(self, quantile: float, interpolation: Interpolation = "nearest") -> Aggregate:
        """Give the value below which a share of the values lies."""
        q = checked_share("quantile", quantile)
        return self._aggregate("quantile", q=q, interpolation=checked_interpolation(interpolation))

    def approx_quantile(self, quantile: float, error: float = 0.01) -> Aggregate:
        """Give a quantile within a relative error, in little memory."""
        if not _is_number(error) or not 0.0001 <= error <= 0.5:
            raise PlanError(f".approx_quantile(error={error!r}): the relative error is a number from 0.0001 to 0.5")
        return self._aggregate("approx_quantile", q=checked_share("approx_quantile", quantile), error=float(error))

    def first(self) -> Aggregate:
        """Give the first value by time."""
        return self._aggregate("first")

    def last(self) -> Aggregate:
        """Give the last value by time."""
        return self._aggregate("last")

    def arg_min(self, by: object) -> Aggregate:
        """Give the value of the row where ``by`` is least."""
        return self._aggregate("arg_min", by)

    def arg_max(self, by: object) -> Aggregate:
        """Give the value of the row where ``by`` is greatest."""
        return self._aggregate("arg_max", by)

    def mode(self) -> Aggregate:
        """Give the most frequent value, of equals the one that came first."""
        return self._aggregate("mode")

    def any(self) -> Aggregate:
        """Tell whether one is true."""
        return self._aggregate("any")

    def all(self) -> Aggregate:
        """Tell whether none is false."""
        return self._aggregate("all")

    def n_unique(self) -> Aggregate:
        """Count the different values that are not null."""
        return self._aggregate("n_unique")

    def approx_n_unique(self) -> Aggregate:
        """Count the different values with a small error, in little memory."""
        return self._aggregate("approx_n_unique")

    def collect(self) -> Aggregate:
        """Gather the values that are not null into a list, by time."""
        return self._aggregate("collect")


# Within Expr these names are taken by its own methods and properties.
str_type = str
list_type = list


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Column(Expr):
    """The value of a column."""

    name: str_type


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Literal(Expr):
    """A constant.

    Attributes:
        value: A Python value; times are aware and in UTC, lists are tuples.
        type: Its Arrow type; ``null`` for None, which takes the type of what stands beside it.
    """

    value: Any  # a scalar of any type that a column can have, or a tuple of them
    type: pa.DataType


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(Expr):
    """A declared function of expressions.

    Attributes:
        function: Its name in ``functions.FUNCTIONS``.
        args: What it is computed from.
        options: What is fixed when the plan is built, by name, sorted.
    """

    function: str_type
    args: tuple[Expr, ...]
    options: Options = ()

    def option(self, name: str_type, default: Any = None) -> Any:  # options are of many types
        """Return an option's value."""
        return dict(self.options).get(name, default)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Aggregate(Expr):
    """A value per group.

    Attributes:
        function: Its name in ``aggregates.AGGREGATES``; ``user`` for one of the user's.
        args: What it is computed from, per row; empty for ``count()``, which counts rows.
        options: What is fixed when the plan is built, by name, sorted.
        user: The user's functions, where it is one of theirs.
    """

    function: str_type
    args: tuple[Expr, ...]
    options: Options = ()
    user: UserAggregate | None = None

    def option(self, name: str_type, default: Any = None) -> Any:  # options are of many types
        """Return an option's value."""
        return dict(self.options).get(name, default)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Alias(Expr):
    """An expression with a name for its result."""

    expr: Expr
    name: str_type


class Then(Call):
    """``when(…).then(…)``: null where no condition holds, until ``otherwise`` says better."""

    __slots__ = ()

    def when(self, predicate: object) -> When:
        """Add a condition for the rows where none before held."""
        return When(self.args[:-1], as_expr(predicate, column=True))

    def otherwise(self, statement: object) -> Expr:
        """Give the value for the rows where no condition holds."""
        return Call("when", (*self.args[:-1], as_expr(statement, column=True)))


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """A condition that waits for its ``then``."""

    before: tuple[Expr, ...]
    predicate: Expr

    def then(self, statement: object) -> Then:
        """Give the value for the rows where the condition holds."""
        null = Literal(None, pa.null())
        return Then("when", (*self.before, self.predicate, as_expr(statement, column=True), null))


def as_expr(value: object, *, column: bool) -> Expr:
    """Return an expression for what a program may write in place of one.

    Args:
        value: An expression, or a Python value.
        column: Whether a text names a column; else it is a literal.

    Raises:
        PlanError: The value is of a type that no column can have.

    Example:
        >>> as_expr("price", column=True), as_expr("price", column=False)
        (col("price"), lit("price"))
    """
    if isinstance(value, Expr):
        return value
    if isinstance(value, When):
        raise PlanError("when(…) needs .then(…)")
    if isinstance(value, str_type) and column:
        return Column(value)
    plain = scalar(value)
    return Literal(plain, literal_type(plain))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str_type) and value != ""


def _ddof(name: str_type, ddof: int) -> int:
    if not _is_int(ddof) or ddof < 0:
        raise PlanError(f".{name}(ddof={ddof!r}): ddof is a whole number, 0 or more")
    return ddof
