"""Python's operators on expressions: each builds a call of the function that it is a symbol of."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thalweg.plan.expr_nodes import Expr


class Operators:
    """The operators, on top of the two ways to build a call."""

    __slots__ = ()
    # == builds an expression, so nodes are told apart by identity.
    __hash__ = object.__hash__

    @abstractmethod
    def _call(self, function: str, *values: object) -> Expr: ...

    @abstractmethod
    def _reflected(self, function: str, left: object) -> Expr: ...

    def __add__(self, other: object) -> Expr:
        return self._call("add", other)

    def __radd__(self, other: object) -> Expr:
        return self._reflected("add", other)

    def __sub__(self, other: object) -> Expr:
        return self._call("sub", other)

    def __rsub__(self, other: object) -> Expr:
        return self._reflected("sub", other)

    def __mul__(self, other: object) -> Expr:
        return self._call("mul", other)

    def __rmul__(self, other: object) -> Expr:
        return self._reflected("mul", other)

    def __truediv__(self, other: object) -> Expr:
        return self._call("truediv", other)

    def __rtruediv__(self, other: object) -> Expr:
        return self._reflected("truediv", other)

    def __floordiv__(self, other: object) -> Expr:
        return self._call("floordiv", other)

    def __rfloordiv__(self, other: object) -> Expr:
        return self._reflected("floordiv", other)

    def __mod__(self, other: object) -> Expr:
        return self._call("mod", other)

    def __rmod__(self, other: object) -> Expr:
        return self._reflected("mod", other)

    def __pow__(self, other: object) -> Expr:
        return self._call("pow", other)

    def __rpow__(self, other: object) -> Expr:
        return self._reflected("pow", other)

    def __neg__(self) -> Expr:
        return self._call("neg")

    def __abs__(self) -> Expr:
        return self._call("abs")

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]  # == builds an expression
        return self._call("eq", other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]  # != builds an expression
        return self._call("ne", other)

    def __lt__(self, other: object) -> Expr:
        return self._call("lt", other)

    def __le__(self, other: object) -> Expr:
        return self._call("le", other)

    def __gt__(self, other: object) -> Expr:
        return self._call("gt", other)

    def __ge__(self, other: object) -> Expr:
        return self._call("ge", other)

    def __and__(self, other: object) -> Expr:
        return self._call("and", other)

    def __rand__(self, other: object) -> Expr:
        return self._reflected("and", other)

    def __or__(self, other: object) -> Expr:
        return self._call("or", other)

    def __ror__(self, other: object) -> Expr:
        return self._reflected("or", other)

    def __xor__(self, other: object) -> Expr:
        return self._call("xor", other)

    def __rxor__(self, other: object) -> Expr:
        return self._reflected("xor", other)

    def __invert__(self) -> Expr:
        return self._call("not")
