"""Sizes as a program writes them: ``"256MiB"`` or a number of bytes."""

from __future__ import annotations

import os
import re
from typing import Final

from thalweg.core.errors import PlanError, short

UNITS: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def size_bytes(value: str | int, what: str) -> int:
    """Return a size in bytes.

    Args:
        value: A number with a unit (``B kB MB GB KiB MiB GiB``), or of bytes.
        what: What the size is of, for the message: ``memory``.

    Raises:
        PlanError: It is none.

    Example:
        >>> size_bytes("1.5GiB", "memory"), size_bytes("2 kB", "memory")
        (1610612736, 2000)
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    unit = UNITS.get(found[2].upper()) if found is not None else None
    size = int(float(found[1]) * unit) if found is not None and unit is not None else 0
    if size <= 0:
        raise PlanError(f'{what} is {short(value)}; a size is wanted, such as "256MiB" or "4GB"')
    return size


def size_text(size: int) -> str:
    """Return a size as one number that a person can take in.

    Example:
        >>> size_text(700), size_text(812 * 2**20), size_text(2**30)
        ('700 B', '812.0 MiB', '1.0 GiB')
    """
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size} B"


def half_of_memory() -> int | None:
    """Return half of the machine's memory in bytes; None where it cannot be told."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None
