"""What a version of an app calls its outputs: one rule for every kind of place.

The first version uses the names that the program gives. Every other one writes beside it::

    state      .thalweg/apps/clicks    .thalweg/apps/clicks@2
    folders    late/                   late@2/
    topics     clicks.late             clicks.late.v2
    tables     page_views              page_views_v2

A view is a part of the state, so it needs no name of its own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

FIRST: Final = "1"
"""The version that has the program's own names."""
DEV: Final = "dev"
"""The version of ``thalweg dev``."""

_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}|dev", re.ASCII)


def is_version(name: str) -> bool:
    """Tell whether a version can be called so: a number from 1 or ``dev``.

    Example:
        >>> is_version("2"), is_version("dev"), is_version("02")
        (True, True, False)
    """
    return _VERSION.fullmatch(name) is not None


def path_of(path: Path, version: str) -> Path:
    """Return the folder of a version.

    Example:
        >>> path_of(Path("out/late"), "2").as_posix(), path_of(Path("out/late"), "1").as_posix()
        ('out/late@2', 'out/late')
    """
    if version == FIRST:
        return path
    named = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    return named.with_name(f"{named.name}@{version}")


def topic_of(topic: str, version: str) -> str:
    """Return the topic of a version.

    Example:
        >>> topic_of("clicks", "2"), topic_of("clicks.late", "dev"), topic_of("clicks", "1")
        ('clicks.v2', 'clicks.late.dev', 'clicks')
    """
    return topic if version == FIRST else f"{topic}.{_word(version)}"


def table_of(table: str, version: str) -> str:
    """Return the database table of a version.

    Example:
        >>> table_of("page_views", "2"), table_of("page_views", "1")
        ('page_views_v2', 'page_views')
    """
    return table if version == FIRST else f"{table}_{_word(version)}"


def parted(name: str) -> tuple[str, str | None]:
    """Return an app's name and the version that is named with it, if one is.

    Example:
        >>> parted("clicks@2"), parted("clicks")
        (('clicks', '2'), ('clicks', None))
    """
    app, at, version = name.rpartition("@")
    return (app, version) if at and is_version(version) else (name, None)


def _word(version: str) -> str:
    return version if version == DEV else f"v{version}"
