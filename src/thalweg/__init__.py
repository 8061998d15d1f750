"""Thalweg: event-driven processing of large data, one program over history and over live events.

Example:
    >>> import thalweg as tw
    >>> from thalweg import col, count
    >>> print(tw.tumbling("1m"), col("price").sum(), count())
    tumbling(1m) col("price").sum() count()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thalweg.app import App
    from thalweg.core.errors import (
        CheckError,
        FunctionError,
        LedgerError,
        LogDamaged,
        LogError,
        NoSpace,
        OffsetGone,
        PlanError,
        RowsRefused,
        SchemaChange,
        SinkError,
        SinkUnavailable,
        SourceError,
        StateError,
        StoppedError,
        ThalwegError,
        UnsupportedError,
        WriterPoisoned,
    )
    from thalweg.engine.contract import Report
    from thalweg.log import Log
    from thalweg.plan.expr import aggregate, coalesce, col, concat_str, count, lit, when
    from thalweg.plan.windows import count_window, cumulating, hopping, session, tumbling
    from thalweg.stream import Stream

__version__ = "0.1.0.dev0"

_HOMES = {
    "App": "thalweg.app",
    "CheckError": "thalweg.core.errors",
    "FunctionError": "thalweg.core.errors",
    "LedgerError": "thalweg.core.errors",
    "Log": "thalweg.log",
    "LogDamaged": "thalweg.core.errors",
    "LogError": "thalweg.core.errors",
    "NoSpace": "thalweg.core.errors",
    "OffsetGone": "thalweg.core.errors",
    "PlanError": "thalweg.core.errors",
    "Report": "thalweg.engine.contract",
    "RowsRefused": "thalweg.core.errors",
    "SchemaChange": "thalweg.core.errors",
    "SinkError": "thalweg.core.errors",
    "SinkUnavailable": "thalweg.core.errors",
    "SourceError": "thalweg.core.errors",
    "StateError": "thalweg.core.errors",
    "StoppedError": "thalweg.core.errors",
    "Stream": "thalweg.stream",
    "ThalwegError": "thalweg.core.errors",
    "UnsupportedError": "thalweg.core.errors",
    "WriterPoisoned": "thalweg.core.errors",
    "aggregate": "thalweg.plan.expr",
    "coalesce": "thalweg.plan.expr",
    "col": "thalweg.plan.expr",
    "concat_str": "thalweg.plan.expr",
    "count": "thalweg.plan.expr",
    "count_window": "thalweg.plan.windows",
    "cumulating": "thalweg.plan.windows",
    "hopping": "thalweg.plan.windows",
    "lit": "thalweg.plan.expr",
    "session": "thalweg.plan.windows",
    "tumbling": "thalweg.plan.windows",
    "when": "thalweg.plan.expr",
}

__all__ = [
    "App",
    "CheckError",
    "FunctionError",
    "LedgerError",
    "Log",
    "LogDamaged",
    "LogError",
    "NoSpace",
    "OffsetGone",
    "PlanError",
    "Report",
    "RowsRefused",
    "SchemaChange",
    "SinkError",
    "SinkUnavailable",
    "SourceError",
    "StateError",
    "StoppedError",
    "Stream",
    "ThalwegError",
    "UnsupportedError",
    "WriterPoisoned",
    "aggregate",
    "coalesce",
    "col",
    "concat_str",
    "count",
    "count_window",
    "cumulating",
    "hopping",
    "lit",
    "session",
    "tumbling",
    "when",
]


def __getattr__(name: str) -> object:
    # Names load when first used, so that `thalweg --help` need not wait for Arrow.
    if name not in _HOMES:
        raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
