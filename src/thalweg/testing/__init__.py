"""The test kit: breaks a pipeline in every way that production will, and compares.

Example:
    >>> import datetime as dt
    >>> import thalweg as tw
    >>> from thalweg.connect import memory, view
    >>> from thalweg.testing import check, rows
    >>> class Click:
    ...     page: str
    ...     ts: dt.datetime
    >>> app = tw.App("clicks")
    >>> clicks = app.read(memory([[]]), schema=Click, time="ts", lateness="5s")
    >>> _ = clicks.group_by("page").window("1m").agg(n=tw.count()).write(view("views"))
    >>> check(
    ...     app,
    ...     memory=rows(Click, [("/a", "10:00:01"), ("/a", "10:00:59"), ("/b", "10:01:00")]),
    ...     expect={"views": [("/a", "10:00", "10:01", 2), ("/b", "10:01", "10:02", 1)]},
    ... )
"""

from __future__ import annotations

from thalweg.testing.check import check
from thalweg.testing.clock import VirtualClock
from thalweg.testing.given import Given, rows
from thalweg.testing.live import Live, live
from thalweg.testing.scripted import Scripted

__all__ = ["Given", "Live", "Scripted", "VirtualClock", "check", "live", "rows"]
