"""How rows differ as multisets, where rounding may change some of their values."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tests.oracle.compositions import Kinds
from tests.oracle.values import Row, Value, canonical, order_key


def differences(found: Sequence[Row], expected: Sequence[Row], kinds: Kinds) -> list[str]:
    """Return how rows differ as multisets; numbers that rounding may change are compared with a tolerance."""
    exact = [name for name, kind in kinds.items() if kind != "rough"]
    rough = [name for name, kind in kinds.items() if kind == "rough"]
    groups = [_by_values(rows, exact, rough) for rows in (found, expected)]
    wrong = []
    for key in {**groups[0], **groups[1]}:
        mine, its = (sorted(group.get(key, []), key=_in_order_of_values) for group in groups)
        if len(mine) != len(its) or not all(
            _near(a, b) for one, other in zip(mine, its, strict=True) for a, b in zip(one, other, strict=True)
        ):
            wrong.append(f"{dict(zip(exact, key, strict=True))}: {mine} of {rough}, expected {its}")
    return wrong


def _by_values(
    rows: Sequence[Row], exact: Sequence[str], rough: Sequence[str]
) -> dict[tuple[Hashable, ...], list[tuple[Value, ...]]]:
    groups: dict[tuple[Hashable, ...], list[tuple[Value, ...]]] = {}
    for row in rows:
        key = tuple(canonical(row[name]) for name in exact)
        groups.setdefault(key, []).append(tuple(row[name] for name in rough))
    return groups


def _in_order_of_values(values: Sequence[Value]) -> tuple[object, ...]:
    return tuple(order_key(value) for value in values)


def _near(one: Value, other: Value) -> bool:
    if canonical(one) == canonical(other):
        return True
    if not isinstance(one, float) or not isinstance(other, float):
        return False
    return abs(one - other) <= 1e-9 * max(1.0, abs(one), abs(other))
