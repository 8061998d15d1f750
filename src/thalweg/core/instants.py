"""The instants of a checkpoint at which a process may die: the test kit has it die at each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

Instant: TypeAlias = Literal[
    "write",  # a file of state will be written
    "written",  # it is whole, and synced
    "rename",  # a manifest is whole beside the one that it will replace
    "renamed",  # it is the one that counts
    "seal",  # an epoch's rows for an output are in the outbox, but not synced
    "sealed",  # they are
    "deliver",  # the output will be given an epoch
    "delivered",  # it has it
]
"""What is about to happen, or has just happened, to a file of state or an output."""

INSTANTS: tuple[Instant, ...] = get_args(Instant)
"""All of them, in the order in which a checkpoint comes to them."""

Reached: TypeAlias = Callable[[Instant, str], None]
"""Is told of an instant, and of which file or output; what it raises ends the run there."""


def goes_on(instant: Instant, what: str) -> None:
    """Let a run go on: what all runs do but those of tests."""
