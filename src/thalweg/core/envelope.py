"""Envelopes: how a row that was put aside is kept, with the reason, in reports and in topics."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from thalweg.core.schema import TIMESTAMP

_TEXT = pa.string()

LATE_SCHEMA: Final = pa.schema(
    [
        ("step", _TEXT),
        ("partition", _TEXT),
        ("position", _TEXT),
        ("reason", _TEXT),
        ("time", TIMESTAMP),
        ("watermark", TIMESTAMP),
        ("window_start", TIMESTAMP),
        ("window_end", TIMESTAMP),
        ("row", pa.binary()),
        ("encoding", _TEXT),
    ]
)
"""A row that was late for a window: one for each window that it missed."""

ERROR_SCHEMA: Final = pa.schema(
    [
        ("step", _TEXT),
        ("place", _TEXT),
        ("column", _TEXT),
        ("reason", _TEXT),
        ("traceback", _TEXT),
        ("time", TIMESTAMP),
        ("row", pa.binary()),
        ("encoding", _TEXT),
    ]
)
"""A row that was rejected; ``encoding`` says whether ``row`` is as received, or an Arrow stream of one row."""

REDRIVE_SCHEMA: Final = pa.schema([("error", pa.int64()), *ERROR_SCHEMA])
"""A rejected row that is sent again; ``error`` is its offset in the topic of errors."""
