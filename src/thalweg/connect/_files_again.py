"""Which files were read up to a position, to read them again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from thalweg.core.errors import SourceError
from thalweg.core.ports import Json


def read_before(there: Mapping[str, str], position: Json, folder: str) -> list[str]:
    """Return the names of the files that a position says were read, in their order.

    Args:
        there: The paths of the files that there are now, by name.
        position: A position of ``files``.
        folder: Where they are, for people.

    Raises:
        SourceError: One of them is gone, or has changed since.
    """
    was: dict[str, Any] = position if isinstance(position, dict) else {}
    current = was.get("file")
    sizes = {name: size for name, size, *_ in was.get("done", ()) if name != current}
    names = [*sizes] if current is None else [*sizes, current]
    # The last one may have grown: what was added comes after all that was read.
    for name in names:
        if name not in there:
            raise SourceError(f"{name} in {folder} was read and is gone; put it back to read it again")
        size = os.path.getsize(there[name])
        if name != names[-1] and size != sizes[name]:
            raise SourceError(
                f"{there[name]} was read when it had {sizes[name]} bytes and has {size} now; restore it to read it again"
            )
    return names
