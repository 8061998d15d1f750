"""The bugs: how each is put into the engine, and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

Patch = Callable[[pytest.MonkeyPatch], None]

BUGS = (
    "lateness per batch",  # every row of a batch is judged by one watermark
    "watermark of the fastest partition",  # windows close before the other partitions have got there
    "a partial merged twice",  # part of a group counts double
    "a late hopping row counted",  # a row counts in a window that was over before it came
)

PATCHES: dict[str, Patch] = {}
"""How each bug is planted: replaces internals of the engine through the monkeypatch it is given."""


@contextmanager
def plant(name: str) -> Iterator[None]:
    """Put a bug into the engine for the length of the block.

    Raises:
        LookupError: No such bug is known, or nothing says how to plant it.
    """
    if name not in BUGS or name not in PATCHES:
        raise LookupError(f'no patch plants "{name}"; there are: {", ".join(PATCHES) or "none"}; add it to PATCHES')
    with pytest.MonkeyPatch.context() as patch:
        PATCHES[name](patch)
        yield
