"""Sources and sinks, one module per system, exported by name.

Importing this package loads no client: what needs more than Arrow itself is loaded when it is named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thalweg.connect._call import call
from thalweg.connect._memory import memory
from thalweg.connect._stdout import stdout
from thalweg.connect._view import View, view

if TYPE_CHECKING:
    from thalweg.connect._duckdb import duckdb
    from thalweg.connect._files import files
    from thalweg.connect._flights import flights
    from thalweg.connect._nexmark import nexmark
    from thalweg.connect._sqlite import sqlite
    from thalweg.connect._tail import tail
    from thalweg.connect._topic import topic

__all__ = [
    "View",
    "call",
    "duckdb",
    "files",
    "flights",
    "memory",
    "nexmark",
    "sqlite",
    "stdout",
    "tail",
    "topic",
    "view",
]

_LOADED_WHEN_NAMED = {
    "duckdb": "_duckdb",
    "files": "_files",
    "flights": "_flights",
    "nexmark": "_nexmark",
    "sqlite": "_sqlite",
    "tail": "_tail",
    "topic": "_topic",
}


def __getattr__(name: str) -> Any:  # a module's attribute may be anything
    if name not in _LOADED_WHEN_NAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there are: {', '.join(__all__)}")
    loaded = getattr(import_module(f"{__name__}.{_LOADED_WHEN_NAMED[name]}"), name)
    globals()[name] = loaded
    return loaded


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
